//! Upgrade in place: first the runners become the new program, then the daemon does, each with its own pid.
//!
//! The daemon waits until orders and reloads under way are done and every answer is out. What it knows of services.toml goes
//! along, so that an upgrade takes over no change that nobody has reloaded; its lock and its listener go along too, so that
//! whoever connects meanwhile is served by the new program. All else it learns again from runners and journals, as after a
//! death; a transaction that is cut off is taken in again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Daemon, Event, link};
use crate::control::server::Answer;
use crate::model::paths::EMBEDDED_RUNNER;
use crate::model::wire::{
    PROTOCOL, RunnerReply, RunnerRequest, UpgradeBody, UpgradeReply, Upgraded, VersionReply, WireError,
};
use crate::model::{Fleet, Moment};
use crate::process::handover::{self, Parcel};

/// How long clients may take to read their last answers.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// How long runners may take to say how things stand.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// How far an upgrade has come.
#[derive(Debug, Default)]
pub(super) enum Progress {
    #[default]
    None,
    /// The runners are becoming the program.
    Runners,
    /// Orders and reloads are waited for.
    Waiting(PathBuf),
    /// The last answers are going out.
    Closing(PathBuf),
}

/// What the new program is told. Members are only ever added, with a default.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The version that wrote this.
    pub(super) from: String,
    /// How many upgrades there were before.
    pub(super) upgrades: u32,
    /// When the daemon was started.
    pub(super) started: Moment,
    /// services.toml as it was last taken over, read apart: it may have a form that is not known.
    pub(super) fleet: serde_json::Value,
    /// What is wrong with it.
    pub(super) faults: Vec<String>,
}

impl Note {
    /// What was declared, if it can be read.
    pub(super) fn fleet(&mut self) -> Option<Fleet> {
        serde_json::from_value(self.fleet.take()).ok()
    }
}

impl Daemon {
    pub(super) fn version(&self) -> VersionReply {
        VersionReply {
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            pid: std::process::id(),
            upgrades: self.upgrades,
            upgrade_failed: self.upgrade_trouble.clone(),
        }
    }

    pub(super) fn is_upgrading(&self) -> bool {
        !matches!(self.progress, Progress::None)
    }

    /// Has the runners become `program`, and then the daemon.
    pub(super) fn upgrade(&mut self, body: UpgradeBody, answer: Answer<UpgradeReply>) {
        let UpgradeBody { program } = body;
        let refused = if self.going_down {
            Some("the daemon is going down".to_owned())
        } else if self.is_upgrading() {
            Some("another upgrade is under way".to_owned())
        } else if self.memories.is_taking_snapshot() {
            // A daemon that knows nothing of it would call the service hung.
            Some("a service is writing a heap snapshot, which takes five minutes at most".to_owned())
        } else if self.journal.pending() > 0 {
            Some(self.journal.trouble().unwrap_or_else(|| "records of the daemon wait to be written".into()))
        } else if !handover::is_program(&program) {
            Some(format!("{} is not the absolute path of a file that can be executed", program.display()))
        } else {
            None
        };
        if let Some(why) = refused {
            let error = WireError { code: 6, message: format!("cannot upgrade now: {why}"), hint: None };
            // Who asked may have gone.
            let _ = answer.send(Err(error));
            return;
        }
        tracing::info!(program = %program.display(), "upgrading");
        self.progress = Progress::Runners;
        self.upgrade_trouble = None;
        let runners: BTreeMap<_, _> = self
            .runners
            .iter()
            .filter(|(_, linked)| linked.connected)
            .map(|(id, linked)| (id.clone(), (linked.info.pid, linked.info.version.clone())))
            .collect();
        let (paths, events) = (self.paths.clone(), self.events.clone());
        tokio::spawn(async move {
            let mut done = Vec::new();
            for (id, (pid, from)) in runners {
                done.push(upgrade_runner(paths.runner_socket(&id), id, pid, from, program.clone()).await);
            }
            let _ = events.send(Event::RunnersUpgraded(program, done, answer)).await;
        });
    }

    pub(super) fn on_runners_upgraded(
        &mut self,
        program: PathBuf,
        runners: Vec<Upgraded>,
        answer: Answer<UpgradeReply>,
    ) {
        for runner in &runners {
            match &runner.why_not {
                None => tracing::info!(id = runner.id, pid = runner.pid, "runner: {} → {}", runner.from, runner.to),
                Some(why) => tracing::error!(id = runner.id, pid = runner.pid, "the runner is as it was: {why}"),
            }
        }
        let _ = answer.send(Ok(UpgradeReply { runners, daemon: self.version() }));
        self.progress = Progress::Waiting(program);
    }

    /// Goes a step further if nothing is under way any more.
    pub(super) fn proceed_upgrade(&mut self) {
        let idle = self.orders.is_empty() && self.reloading.is_none() && !self.going_down;
        let Progress::Waiting(program) = &self.progress else { return };
        if !idle {
            return;
        }
        self.progress = Progress::Closing(program.clone());
        let Some((closing, served)) = self.server.take() else { return };
        let events = self.events.clone();
        tokio::spawn(async move {
            // Nobody is served any more where nobody is told.
            let _ = closing.send(());
            // Who has not read an answer by then asks again.
            let _ = tokio::time::timeout(CLOSED_WITHIN, served).await;
            let _ = events.send(Event::Closed).await;
        });
    }

    /// Becomes the program. Returns only when that is not possible: then everything goes on as before.
    pub(super) fn become_program(&mut self) {
        let Progress::Closing(program) = std::mem::take(&mut self.progress) else { return };
        let error = match self.going_down {
            // It was told to go while the last answers went out.
            true => "it is going down".to_owned(),
            false => self.try_to_become(&program),
        };
        tracing::error!("the daemon could not become {}: {error}", program.display());
        self.upgrade_trouble = Some(format!("the daemon could not become {}: {error}", program.display()));
        self.ledger.resume();
        match self.listener.try_clone() {
            Ok(listener) => self.serve_socket(listener),
            Err(e) => tracing::error!("the control socket cannot be opened again: {e}"),
        }
    }

    /// Right after an upgrade nobody is answered before the runners have said how things stand: who asks is not to notice
    /// that it was another program a moment ago. Connections wait in the listener's queue.
    pub(super) fn await_runners(&mut self) {
        if self.unserved.is_none() {
            return;
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(KNOWN_WITHIN).await;
            let _ = events.send(Event::Waited).await;
        });
        self.serve_when_known();
    }

    pub(super) fn serve_when_known(&mut self) {
        let attached = self.embedded.as_ref().is_none_or(|e| e.is_down() || self.runners.contains_key(EMBEDDED_RUNNER));
        if attached && self.runners.values().all(|linked| linked.info.pid != 0) {
            self.serve_unserved();
        }
    }

    pub(super) fn serve_unserved(&mut self) {
        if let Some(listener) = self.unserved.take() {
            self.serve_socket(listener);
        }
    }

    fn try_to_become(&mut self, program: &std::path::Path) -> String {
        self.put_memory_by();
        // What is on its way would be sent a second time by the next program, which cannot know what became of it.
        self.ledger.pause();
        if let Err(e) = self.journal.sync() {
            tracing::warn!("the daemon's journal could not be synced: {e}");
        }
        let note = Note {
            from: env!("CARGO_PKG_VERSION").into(),
            upgrades: self.upgrades,
            started: self.started,
            fleet: serde_json::to_value(&self.fleet).unwrap_or_default(),
            faults: self.faults.clone(),
        };
        let note = match serde_json::to_value(note) {
            Ok(note) => note,
            Err(e) => return e.to_string(),
        };
        let mut parcel = Parcel::default();
        parcel.add("lock", &self.lock);
        parcel.add("listener", &self.listener);
        self.pipes.hand_over(&mut parcel);
        let args = |letter: i32| {
            let mut args: Vec<OsString> = vec![program.into(), "--config".into(), self.options.config.clone().into()];
            args.extend(self.options.surroundings.state_dir.iter().flat_map(|dir| ["--state-dir".into(), dir.into()]));
            args.extend(self.options.verbose.then(|| "-v".into()));
            args.extend(["run".into(), "--handover".into(), letter.to_string().into()]);
            args
        };
        handover::become_program(program, args, &parcel, note, &self.paths.supervisor()).to_string()
    }
}

async fn upgrade_runner(socket: PathBuf, id: String, pid: i32, from: String, program: PathBuf) -> Upgraded {
    let done = link::ask(socket.clone(), RunnerRequest::Upgrade { program }).await;
    let now = match done {
        Ok(_) => link::ask(socket, RunnerRequest::Snapshot).await,
        // A runner that does not know the word.
        Err(e) if e.code == 2 => Err(WireError {
            message: format!(
                "version {from} cannot be upgraded in place; after kill -9 {pid} its successor takes its services over"
            ),
            ..e
        }),
        Err(e) => Err(e),
    };
    match now {
        Ok(RunnerReply::Snapshot(info)) => {
            Upgraded { id, pid: info.pid, ok: true, from, to: info.version, why_not: None }
        }
        Ok(_) => Upgraded { id, pid, ok: true, from, to: String::new(), why_not: None },
        Err(e) => Upgraded { id, pid, ok: false, to: from.clone(), from, why_not: Some(e.message) },
    }
}
