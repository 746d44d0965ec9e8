//! A job's process: started, told to end.

use super::super::Daemon;
use crate::manager::embedded;
use crate::model::{Signal, SlotKey, UnitName};
use crate::process::signal;
use crate::slots::TaskSlots;

impl Daemon {
    /// Starts `supervisor exec TASK`: which slot it takes it decides itself.
    pub(super) fn start_task(&mut self, name: &UnitName) {
        match embedded::start_task(&self.options.config, &self.paths, name, &["--trigger", "daemon"]) {
            Ok(pid) => {
                tracing::info!(job = %name, pid, "calendar job started");
                self.tasks.children.insert(pid, name.clone());
            }
            // The agenda asks again.
            Err(e) => tracing::error!(job = %name, "the calendar job could not be started: {e}"),
        }
    }

    /// Ends all runs, which we have started or found.
    pub(in crate::daemon) fn stop_tasks(&mut self) {
        let runs = self.tasks.by_name.iter().flat_map(|(name, job)| job.running.iter().map(move |run| (name, run)));
        let runs: Vec<(UnitName, SlotKey)> = runs.map(|(name, run)| (name.clone(), run.claim.slot)).collect();
        for (name, slot) in runs {
            self.stop_run(&name, slot, "the supervisor was stopped");
        }
        for pid in self.tasks.children.keys() {
            // One that has just been started and has taken nothing yet.
            signal::group(*pid, Signal::TERM);
        }
    }

    /// Tells the run of a slot to end.
    pub(super) fn stop_run(&mut self, name: &UnitName, slot: SlotKey, why: &str) {
        let run = self.tasks.by_name.get(name).and_then(|job| job.running.iter().find(|run| run.claim.slot == slot));
        let Some(run) = run else { return };
        tracing::info!(job = %name, %slot, "the run is told to end: {why}");
        if let Err(e) = TaskSlots::of(&self.paths, name).stop(run.claim.slot, why) {
            tracing::warn!(job = %name, %slot, "the run cannot be told to end: {e}");
        }
    }
}
