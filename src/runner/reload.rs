//! services.toml in the runner: read at the start and at `reload`. What changed is taken over; nothing else is touched.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::begin::{Traces, was_cut_off};
use super::{Options, Runner, Turn, service};
use crate::config;
use crate::error::{Error, ErrorKind};
use crate::machine::Input;
use crate::model::paths::Paths;
use crate::model::{Fleet, ServiceSpec, StopCause, UnitName};
use crate::process::clock;

/// The state directory and the specifications to begin with.
///
/// A successor must not drop what lives because somebody is in the middle of editing the file: what a predecessor ran when
/// it was cut off goes on from the specification it was started from, wherever services.toml is faulty now.
pub(super) fn first_specs(options: &Options) -> Result<(PathBuf, Vec<ServiceSpec>), Error> {
    let fleet = load(options);
    let state_dir = match (&fleet, &options.surroundings.state_dir) {
        (Ok((fleet, _)), _) => fleet.state_dir.clone(),
        (Err(_), Some(dir)) => dir.clone(),
        (Err(e), None) => return Err(e.clone()),
    };
    let paths = Paths::new(&state_dir);
    let boot_id = clock::boot_id();
    let living = |name: &UnitName| {
        service::read_adoption(&paths, name)
            .filter(|record| was_cut_off(&record.saved, &boot_id))
            .and_then(|_| service::read_spec(&paths, name))
    };
    let mut specs = Vec::new();
    let mut first_fault = None;
    for name in &options.names {
        let declared = fleet.as_ref().ok().and_then(|(fleet, _)| fleet.service(name));
        match declared {
            Some(spec) if spec.enabled => specs.push(spec.clone()),
            Some(_) => {
                first_fault.get_or_insert(
                    Error::new(ErrorKind::Refused, format!("service {name} has `enabled = false` in services.toml"))
                        .hint("remove that line to have it run"),
                );
            }
            None => match living(name) {
                Some(spec) => specs.push(spec),
                None => {
                    first_fault.get_or_insert_with(|| absent(name, &fleet));
                }
            },
        }
    }
    match first_fault {
        // The daemon leaves out what is faulty; who names a service by hand is told.
        Some(fault) if specs.is_empty() && !options.names.is_empty() => Err(fault),
        _ => Ok((state_dir, specs)),
    }
}

fn absent(name: &UnitName, fleet: &Result<(Fleet, String), Error>) -> Error {
    match fleet {
        Err(e) => e.clone(),
        Ok((fleet, faults)) => match fleet.unusable.iter().find(|u| u.name == *name) {
            Some(unusable) => {
                Error::new(ErrorKind::Config, format!("service {name} cannot run: {}\n{faults}", unusable.why))
            }
            None => Error::new(ErrorKind::Usage, format!("services.toml has no service called {name}")),
        },
    }
}

/// The fleet as it is written now, and the faults in it, rendered.
pub(super) fn load(options: &Options) -> Result<(Fleet, String), Error> {
    let source = config::read(&options.config)?;
    let parsed = config::parse(&source, &options.surroundings);
    let faults = if parsed.faults.is_empty() { String::new() } else { config::render(&parsed.faults, &source, false) };
    match parsed.fleet {
        Some(fleet) => Ok((fleet, faults)),
        None => Err(Error::new(ErrorKind::Config, format!("services.toml cannot be used\n{faults}"))),
    }
}

impl Runner {
    /// Takes over services.toml as it is now and serves exactly `names`. What became of whom, or the old holds on.
    pub(super) fn reload(&mut self, names: Vec<UnitName>, turn: &mut Turn) -> Result<Vec<(UnitName, String)>, Error> {
        if self.going_down {
            return Err(Error::new(ErrorKind::Refused, "cannot reload: the runner is going down"));
        }
        let (fleet, _) = load(&self.options)?;
        let retiring = |name: &&UnitName| {
            self.names.get(*name).and_then(|index| self.services[*index].as_ref()).is_some_and(|s| s.retiring)
        };
        if let Some(name) = names.iter().find(retiring) {
            let what = format!("cannot reload: {name} is still being stopped by an earlier reload");
            return Err(Error::new(ErrorKind::Refused, what).hint("reload again when it is down"));
        }
        let wanted: BTreeSet<UnitName> = names.iter().cloned().collect();
        let mut told = Vec::new();
        let mut admitted = Vec::new();
        for name in &names {
            let Some(spec) = fleet.service(name).filter(|spec| spec.enabled) else { continue };
            let Some(&index) = self.names.get(name) else {
                admitted.push(spec.clone());
                continue;
            };
            let Some(service) = self.services[index].as_mut() else { continue };
            if service.machine.spec() == spec {
                continue;
            }
            service.spec_saved = false;
            let restart = config::needs_restart(service.machine.spec(), spec);
            told.push((name.clone(), if restart { "restarted" } else { "changed without a restart" }.to_string()));
            self.drive(index, Input::Spec { spec: Box::new(spec.clone()), restart }, turn);
            if let Some(service) = self.services[index].as_mut() {
                service.set_log_spec();
            }
        }
        let declared = |name: &UnitName| wanted.contains(name) && !fleet.unusable.iter().any(|u| u.name == *name);
        let gone: Vec<UnitName> = self
            .names
            .keys()
            .filter(|name| {
                !wanted.contains(*name) || (declared(name) && !fleet.service(name).is_some_and(|s| s.enabled))
            })
            .cloned()
            .collect();
        for name in gone {
            self.retire(&name, turn);
            told.push((name, "stopped: it is no longer declared".into()));
        }
        if !admitted.is_empty() {
            let traces = Traces::read(&self.paths, &self.id);
            for spec in admitted {
                told.push((spec.name.clone(), "added".into()));
                self.admit(spec, &traces, turn);
            }
        }
        self.options.names = names;
        Ok(told)
    }

    /// Ends a service in order and forgets it then.
    pub(super) fn retire(&mut self, name: &UnitName, turn: &mut Turn) {
        let Some(&index) = self.names.get(name) else { return };
        if let Some(service) = &mut self.services[index] {
            service.retiring = true;
        }
        self.drive(index, Input::Leave { cause: StopCause::Reload }, turn);
    }
}
