//! Upgrade in place: the runner becomes another program by execve, with the same pid, and so stays the parent of its services.
//!
//! Locks, FIFOs, sockets, connections and watches go along as descriptors, everything else as a note of plain data. Nothing is
//! told, started, stopped or signalled for it. What the new program cannot read of a service it takes over from the adoption
//! record, as after a death; what happens meanwhile waits: signals are blocked, the dead are zombies, output is in the FIFOs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::begin::Traces;
use super::control::ControlNote;
use super::orders::{OrdersNote, refuse};
use super::poll::Token;
use super::service::{Service, ServiceNote};
use super::sweep::{Ended, Sweeper};
use super::{Options, Runner, Turn, reload};
use crate::error::Error;
use crate::model::wire::RunnerReply;
use crate::model::{EventType, UnitName};
use crate::process::handover::{self, Parcel, Received};

/// An upgrade that is to be made at the end of this turn.
pub(super) struct Wanted {
    /// The program to become.
    pub(super) program: PathBuf,
    /// Who wants it.
    pub(super) connection: u64,
}

/// What the new program is told. Members are only ever added, with a default: the two programs are of different versions.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The version that wrote this.
    from: String,
    /// How many upgrades there were before.
    upgrades: u32,
    /// Who waits for the answer.
    connection: u64,
    /// One [`ServiceNote`] each; read one by one, so that what cannot be read costs only itself.
    services: Vec<(UnitName, Value)>,
    pub(super) control: ControlNote,
    orders: OrdersNote,
    sweeps: Vec<Ended>,
    troubles: BTreeSet<String>,
}

impl Runner {
    /// Whether nothing would be lost by an upgrade now; else why.
    pub(super) fn may_upgrade(&self) -> Result<(), String> {
        let reason = if self.going_down {
            Some("it is going down".to_owned())
        } else if self.upgrade.is_some() {
            Some("another upgrade is under way".to_owned())
        } else if self.journal.pending() > 0 {
            self.journal.trouble().or_else(|| Some("records wait to be written".to_owned()))
        } else {
            self.services.iter().flatten().find_map(Service::log_trouble)
        };
        reason.map_or(Ok(()), |reason| Err(format!("runner {} cannot be upgraded now: {reason}", self.id)))
    }

    /// Becomes the program that is wanted. Returns only when that is not possible; whoever asked is told then.
    pub(super) fn become_program(&mut self, wanted: &Wanted) {
        // In the same turn it may have been told to go.
        if let Err(why) = self.may_upgrade() {
            return self.answer(wanted.connection, &refuse(why));
        }
        self.sync_journal();
        let program = &wanted.program;
        let why = if handover::is_program(program) {
            let mut parcel = Parcel::default();
            parcel.add("lock", &self.lock);
            let mut services = Vec::new();
            for service in self.services.iter().flatten() {
                services.push((service.name().clone(), service.note(&mut parcel)));
            }
            let note = Note {
                from: env!("CARGO_PKG_VERSION").into(),
                upgrades: self.upgrades,
                connection: wanted.connection,
                services,
                control: self.control.note(&mut parcel),
                orders: self.note_orders(),
                sweeps: self.sweeper.note(),
                troubles: self.troubles.clone(),
            };
            match serde_json::to_value(note) {
                Ok(note) => {
                    let args = |fd| self.arguments(&wanted.program, fd);
                    handover::become_program(program, args, &parcel, note, &self.paths.runners()).to_string()
                }
                Err(e) => e.to_string(),
            }
        } else {
            "it is not the absolute path of a file that can be executed".into()
        };
        let reply = refuse(format!("runner {} could not become {}: {why}", self.id, program.display()));
        self.answer(wanted.connection, &reply);
    }

    fn arguments(&self, program: &std::path::Path, letter: i32) -> Vec<OsString> {
        let Options { config, names, embedded, .. } = &self.options;
        let mut args: Vec<OsString> = vec![program.into(), "--config".into(), config.into(), "--state-dir".into()];
        args.extend([self.paths.state_dir().into(), "exec".into()]);
        args.extend(embedded.then(|| "--embedded".into()));
        args.extend(["--handover".into(), letter.to_string().into(), "--".into()]);
        args.extend(names.iter().map(|name| name.as_str().into()));
        args
    }

    /// Goes on where the program that this one was before left off.
    pub(super) fn resume(&mut self, note: Note, mut received: Received) -> Result<(), Error> {
        let mut turn = Turn::new();
        let Note { from, upgrades, connection, services, control, orders, sweeps, troubles } = note;
        self.upgrades = upgrades.saturating_add(1);
        self.troubles = troubles;
        self.sweeper = Sweeper::resume(sweeps, turn.now.mono);
        let data = serde_json::json!({
            "run_id": null, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "upgraded_from": from,
            "services": services.len(),
        });
        self.record(EventType::RunnerStarted, None, data.as_object().cloned().unwrap_or_default(), &turn);
        let mut unread = Vec::new();
        for (name, value) in services {
            match serde_json::from_value::<ServiceNote>(value) {
                Ok(note) => self.resume_service(&name, note, &mut received),
                Err(e) => unread.push((name, e)),
            }
        }
        self.resume_orders(orders);
        self.control.resume(control, &mut received, &self.poll);
        if self.control.is_followed() {
            self.guard.seen();
        }
        // What is left belongs to what could not be read: closing it gives its locks back.
        drop(received);
        self.resume_unread(unread, &mut turn)?;
        for key in self.control.keys() {
            self.on_connection(key, &mut turn);
        }
        // Whoever ended meanwhile.
        self.on_signals(&mut turn);
        turn.changed.extend(self.names.values());
        self.update_deps(&mut turn);
        self.finish(turn);
        self.answer(connection, &RunnerReply::Done(Vec::new()));
        Ok(())
    }

    fn resume_service(&mut self, name: &UnitName, note: ServiceNote, received: &mut Received) {
        let index = self.services.len();
        let watched = note.watched;
        let (service, troubles) = Service::resumed(note, received, &self.paths, &self.poll, index);
        for what in troubles {
            self.trouble(format!("{name}: {what}"));
        }
        if let Some(run) = service.machine.run().filter(|_| !watched) {
            self.pids.insert(run.process.pid, index);
        }
        for (watch, token) in [(&service.watch, Token::Watch(index)), (&service.port_owner, Token::PortOwner(index))] {
            if let Some(watch) = watch
                && let Err(e) = self.poll.add(watch, token, false)
            {
                self.troubles.insert(format!("{name}: its process cannot be watched: {e}"));
            }
        }
        self.services.push(Some(service));
        self.names.insert(name.clone(), index);
    }

    /// Takes over from the adoption records what was written in a form that we do not know.
    fn resume_unread(&mut self, unread: Vec<(UnitName, serde_json::Error)>, turn: &mut Turn) -> Result<(), Error> {
        if unread.is_empty() {
            return Ok(());
        }
        for (name, e) in &unread {
            self.trouble(format!("{name} was taken over as after a death: {e}"));
        }
        let names = unread.into_iter().map(|(name, _)| name).collect();
        let (_, specs) = reload::first_specs(&Options { names, ..self.options.clone() })?;
        let traces = Traces::read(&self.paths, &self.id);
        for spec in specs {
            self.admit(spec, &traces, turn);
        }
        Ok(())
    }
}
