//! The daemon's own end.

use super::Daemon;
use super::embedded::Embedded;
use crate::machine::ExposureInput;
use crate::model::EventType;
use crate::process::{clock, notify};

impl Daemon {
    /// Stops everything that we started, in order. Under another manager that is nothing.
    pub(super) fn go_down(&mut self) {
        if self.going_down {
            return;
        }
        self.going_down = true;
        self.jobs.end();
        tracing::info!("going down");
        notify::tell("STOPPING=1\nSTATUS=stopping");
        self.expose_all(&ExposureInput::Leave { undo: self.embedded.is_some() });
        self.shut_runner_down();
        if self.embedded.is_some() {
            self.stop_tasks();
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.embedded.as_ref().is_none_or(|embedded: &Embedded| embedded.is_down() && self.tasks.are_down())
            && self.exposures.are_settled()
    }

    pub(super) fn finish(&mut self) {
        self.put_memory_by();
        let data = serde_json::json!({ "run_id": null, "pid": std::process::id() });
        self.record(EventType::SupervisorStop, data);
        self.alive.end(clock::now());
        // Who connects from now on finds nobody, and a successor makes its own.
        let _ = std::fs::remove_file(self.paths.daemon_socket());
        self.lock.give_back();
        tracing::info!("down");
    }
}
