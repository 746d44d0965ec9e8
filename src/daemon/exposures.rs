//! What is made to hold: its commands are run here, each in a group of its own and on a thread that waits for it, so that the loop never
//! does. What is run when is decided by [`ExposureMachine`].
//!
//! They are the daemon's own children. With the embedded manager its end undoes them, as it stops all that it has started; under launchd
//! or systemd they stay, since another daemon comes at once, and looks before it does anything.

mod command;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use self::command::{Run, kill_left_over};
use super::{Daemon, Event};
use crate::machine::words::{Reader, Recorded};
use crate::machine::{ExposureAct, ExposureInput, ExposureMachine, ExposureSaved};
use crate::model::paths::Paths;
use crate::model::wire::{Outcome, Verb};
use crate::model::{ExposureSpec, Fleet, Mono, ServiceInfo, UnitName};
use crate::process::intent;
use crate::process::{clock, files};

pub(super) struct Exposures {
    by_name: BTreeMap<UnitName, Exposure>,
    boot_id: String,
}

struct Exposure {
    machine: ExposureMachine,
    /// Of the command under way: set, it is ended.
    cancelled: Arc<AtomicBool>,
    /// Who waits for what becomes of an order.
    waiting: Vec<(Verb, oneshot::Sender<Outcome>)>,
}

impl Exposure {
    fn new(machine: ExposureMachine) -> Self {
        Self { machine, cancelled: Arc::default(), waiting: Vec::new() }
    }
}

impl Exposures {
    /// As services.toml has them; and those that it has no more, and that were made to hold all the same.
    pub(super) fn new(fleet: &Fleet, paths: &Paths) -> Self {
        let mut exposures = Self { by_name: BTreeMap::new(), boot_id: clock::boot_id() };
        for name in left_over(fleet, paths) {
            let saved = read_saved(paths, &name);
            if let Some(made) = saved.made.clone() {
                exposures.add(made, saved, paths);
                exposures.step(&name, ExposureInput::Remove);
            }
        }
        for spec in &fleet.exposures {
            let saved = read_saved(paths, &spec.name);
            exposures.add(spec.clone(), saved, paths);
        }
        exposures
    }

    fn add(&mut self, spec: ExposureSpec, saved: ExposureSaved, paths: &Paths) {
        let name = spec.name.clone();
        for folder in [paths.service(&name), paths.logs()] {
            if let Err(e) = files::ensure_dir(&folder) {
                tracing::warn!("{} cannot be made: {e}", folder.display());
            }
        }
        // Nobody waits for it any more; before anything is run, its end is waited for.
        kill_left_over(paths, &name);
        let intent = intent::read(paths, &name);
        let machine = ExposureMachine::new(spec, intent, saved, &self.boot_id, clock::now());
        self.by_name.insert(name, Exposure::new(machine));
    }

    fn step(&mut self, name: &UnitName, input: ExposureInput) -> Vec<ExposureAct> {
        let Some(exposure) = self.by_name.get_mut(name) else { return Vec::new() };
        exposure.machine.step(clock::now(), clock::fraction(), input)
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Mono> {
        self.by_name.values().filter_map(|exposure| exposure.machine.due()).min()
    }

    /// Whether nothing is under way and nothing is to come.
    pub(super) fn are_settled(&self) -> bool {
        self.by_name.values().all(|exposure| exposure.machine.is_settled())
    }

    pub(super) fn names(&self) -> Vec<UnitName> {
        self.by_name.keys().cloned().collect()
    }

    /// Whether there is one that is declared under this name.
    pub(super) fn has(&self, name: &UnitName) -> bool {
        self.by_name.get(name).is_some_and(|exposure| !exposure.machine.is_removed())
    }

    /// Those that are wanted at all.
    pub(super) fn enabled(&self) -> impl Iterator<Item = &UnitName> {
        let enabled = |exposure: &Exposure| exposure.machine.spec().enabled && !exposure.machine.is_removed();
        self.by_name.iter().filter(move |(_, exposure)| enabled(exposure)).map(|(name, _)| name)
    }

    /// As `status` shows one.
    pub(super) fn info(&self, name: &UnitName, recorded: &Recorded, at: Reader<'_>) -> Option<ServiceInfo> {
        let mut info = self.by_name.get(name)?.machine.info(recorded, clock::now(), at);
        // What is left to be undone is wanted by nobody.
        info.enabled &= self.has(name);
        Some(info)
    }

    /// The paragraph of `why`.
    pub(super) fn why(&self, name: &UnitName, at: Reader<'_>) -> Option<String> {
        Some(self.by_name.get(name)?.machine.why(clock::now(), at))
    }
}

impl Daemon {
    /// Tells one what happens, and does what it says.
    pub(super) fn expose(&mut self, name: &UnitName, input: ExposureInput) {
        for act in self.exposures.step(name, input) {
            self.act_on_exposure(name, act);
        }
        let is_over = |exposure: &Exposure| exposure.machine.is_removed() && exposure.machine.is_settled();
        if self.exposures.by_name.get(name).is_some_and(is_over)
            && let Some(gone) = self.exposures.by_name.remove(name)
            && gone.machine.saved().made.is_none()
        {
            // It is forgotten, the operator's word with it; what could not be undone is left for the next daemon.
            for path in [self.paths.exposure(name), self.paths.intent(name)] {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Tells all of them.
    pub(super) fn expose_all(&mut self, input: &ExposureInput) {
        for name in self.exposures.names() {
            self.expose(&name, input.clone());
        }
    }

    /// Does what is due.
    pub(super) fn tick_exposures(&mut self) {
        if self.exposures.due().is_some_and(|due| due <= clock::now().mono) {
            self.expose_all(&ExposureInput::Tick);
        }
    }

    /// Takes a changed services.toml over.
    pub(super) fn follow_exposures(&mut self) {
        let declared = self.fleet.exposures.clone();
        for name in self.exposures.names() {
            if declared.iter().all(|spec| spec.name != name) {
                self.expose(&name, ExposureInput::Remove);
            }
        }
        for spec in declared {
            let name = spec.name.clone();
            match self.exposures.by_name.get(&name) {
                Some(known) if *known.machine.spec() == spec && !known.machine.is_removed() => {}
                Some(_) => self.expose(&name, ExposureInput::Declare(Box::new(spec))),
                None => {
                    let saved = read_saved(&self.paths, &name);
                    self.exposures.add(spec, saved, &self.paths);
                }
            }
        }
    }

    /// Gives an operator's order on; what becomes of it, or with `wait` at once that it was given.
    pub(super) fn order_exposure(&mut self, name: &UnitName, verb: Verb, wait: bool) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        match self.exposures.by_name.get_mut(name) {
            Some(exposure) if wait => exposure.waiting.push((verb, tell)),
            _ => drop(tell.send(Outcome {
                name: name.clone(),
                ok: true,
                text: "ordered".into(),
                view: None,
                refused: false,
            })),
        }
        self.expose(name, ExposureInput::Order(verb));
        told
    }

    /// One as it is, in the order of the file, then those that are only left to be undone.
    pub(super) fn exposure_infos(&self, recorded: impl Fn(&UnitName) -> Recorded, at: Reader<'_>) -> Vec<ServiceInfo> {
        let declared = self.fleet.exposures.iter().map(|spec| &spec.name);
        let left = self.exposures.by_name.keys().filter(|name| !self.exposures.has(name));
        declared.chain(left).filter_map(|name| self.exposures.info(name, &recorded(name), at)).collect()
    }

    pub(super) fn why_exposure(&self, name: &UnitName) -> Option<String> {
        let zone = TimeZone::system();
        self.exposures.why(name, Reader { now_ms: clock::now().wall_ms, zone: &zone })
    }

    fn act_on_exposure(&mut self, name: &UnitName, act: ExposureAct) {
        let Some(exposure) = self.exposures.by_name.get_mut(name) else { return };
        let failed = |what: &str, e: io::Error| tracing::error!(service = %name, "{what} cannot be stored: {e}");
        match act {
            ExposureAct::Run(work, spec) => {
                exposure.cancelled = Arc::default();
                let run = Run {
                    work,
                    spec: *spec,
                    paths: self.paths.clone(),
                    boot_id: self.exposures.boot_id.clone(),
                    cancelled: Arc::clone(&exposure.cancelled),
                };
                let (name, events) = (name.clone(), self.events.clone());
                tokio::task::spawn_blocking(move || {
                    let result = run.run();
                    // When nobody listens the daemon is gone.
                    let _ = events.blocking_send(Event::Exposed(name, result));
                });
            }
            ExposureAct::Cancel => exposure.cancelled.store(true, Ordering::Relaxed),
            ExposureAct::Record(event, data) => {
                tracing::info!(service = %name, "{event}");
                self.record_of(event, Some(name.clone()), data.into());
            }
            ExposureAct::Save => {
                let saved = serde_json::to_vec(&exposure.machine.saved()).map_err(io::Error::other);
                let stored = saved.and_then(|bytes| files::write_atomic(&self.paths.exposure(name), &bytes, false));
                let _ = stored.map_err(|e| failed("what is made to hold", e));
            }
            ExposureAct::SaveIntent => {
                let stored = intent::write(&self.paths, name, exposure.machine.intent());
                let _ = stored.map_err(|e| failed("what the operator wants", e));
            }
            ExposureAct::Settled(verb, result) => {
                let (ok, text) = match result {
                    Ok(text) => (true, text),
                    Err(text) => (false, text),
                };
                for (_, tell) in exposure.waiting.extract_if(.., |(asked, _)| *asked == verb) {
                    // Who asked may have gone.
                    let _ =
                        tell.send(Outcome { name: name.clone(), ok, text: text.clone(), view: None, refused: false });
                }
            }
        }
    }
}

/// What was made to hold and is not declared any more. Of what has faults nobody knows what is wanted: it stays as it is.
fn left_over(fleet: &Fleet, paths: &Paths) -> Vec<UnitName> {
    let names = files::units_in(&paths.services()).unwrap_or_default();
    let is_known = |name: &UnitName| {
        fleet.exposures.iter().any(|spec| spec.name == *name) || fleet.unusable.iter().any(|unit| unit.name == *name)
    };
    names.into_iter().filter(|name| !is_known(name) && paths.exposure(name).exists()).collect()
}

fn read_saved(paths: &Paths, name: &UnitName) -> ExposureSaved {
    let read = std::fs::read(paths.exposure(name)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
