//! A job's process: started, told to end.

use std::time::Duration;

use super::super::Daemon;
use crate::control::server::Answer;
use crate::manager::task::{self, Start, Wanted};
use crate::model::wire::{TaskRunBody, TaskRunReply, WireError};
use crate::model::{Signal, SlotKey, UnitName};
use crate::process::identity::{self, State};
use crate::process::{clock, signal};
use crate::slots::TaskSlots;

/// A run has its slot within this, unless somebody decides about the job meanwhile.
const BEGUN_WITHIN: Duration = Duration::from_secs(15);

/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Daemon {
    /// Starts `supervisor exec TASK`: which slot it takes it decides itself. The agenda asks again when nothing came of it.
    pub(super) fn start_task(&mut self, name: &UnitName) {
        match self.start_run(name, Wanted::Due) {
            Ok(pid) => tracing::info!(job = %name, pid, "calendar job started"),
            Err(e) => tracing::error!(job = %name, "the calendar job could not be started: {e}"),
        }
    }

    /// Starts a process for a run of the job; it is reaped as whatever becomes our child.
    fn start_run(&mut self, name: &UnitName, run: Wanted) -> std::io::Result<i32> {
        let start = Start { config: &self.options.config, paths: &self.paths, name, run };
        let pid = i32::try_from(task::start(&start)?.id()).map_err(std::io::Error::other)?;
        self.tasks.children.insert(pid, name.clone());
        Ok(pid)
    }

    /// Runs a job now, whatever its calendar says; answers once the run has its slot.
    pub(in crate::daemon) fn run_task(&mut self, body: TaskRunBody, answer: Answer<TaskRunReply>) {
        let refuse = |code, message: String, hint: Option<String>| WireError { code, message, hint };
        let TaskRunBody { name, resume } = body;
        let Some(task) = self.fleet.task(&name) else {
            let message = format!("services.toml has no calendar job called {name}");
            return drop(answer.send(Err(refuse(2, message, None))));
        };
        if !task.enabled {
            let message = format!("task {name} has `enabled = false` in services.toml");
            let hint = "remove that line to have it run".to_owned();
            return drop(answer.send(Err(refuse(6, message, Some(hint)))));
        }
        if self.going_down {
            return drop(answer.send(Err(refuse(6, format!("{name} is not run: the daemon is going down"), None))));
        }
        let pid = match self.start_run(&name, Wanted::Extra(resume)) {
            Ok(pid) => pid,
            Err(e) => {
                let message = format!("a run of {name} cannot be started: {e}");
                return drop(answer.send(Err(refuse(70, message, None))));
            }
        };
        let token = identity::start_token(pid);
        let (slots, from_ms) = (TaskSlots::of(&self.paths, &name), clock::now().wall_ms - 60_000);
        tokio::spawn(async move {
            let by = clock::now().mono.plus(BEGUN_WITHIN);
            let reply = loop {
                let files = slots.read(from_ms).unwrap_or_default();
                if let Some(file) =
                    files.iter().find(|file| file.claim.pid == pid && Some(file.claim.start_token) == token)
                {
                    break Ok(TaskRunReply { slot: file.claim.slot, pid });
                }
                // Before it takes a slot it ends only when it may not run.
                if token.is_none() || !matches!(identity::state(pid), State::Running(now) if Some(now) == token) {
                    let running = files.iter().find(|file| file.running).map(|file| file.claim.pid);
                    let message = match running {
                        Some(other) => format!("task {name} runs already (pid {other})"),
                        None => format!("the run of {name} has ended before it began"),
                    };
                    let hint = match running {
                        Some(_) => format!("wait for its end, or end it: supervisor tasks stop {name}"),
                        None => "logs/runner.log in the state directory has its last words".into(),
                    };
                    break Err(refuse(6, message, Some(hint)));
                }
                if clock::now().mono >= by {
                    break Err(refuse(70, format!("the run of {name} (pid {pid}) takes no slot"), None));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            let _ = answer.send(reply);
        });
    }

    /// Ends all runs, whoever has started them.
    pub(in crate::daemon) fn stop_tasks(&self) {
        let mut told = Vec::new();
        // Read anew: what has begun since the last look is not to be told less.
        for name in self.tasks.by_name.keys() {
            let runs = TaskSlots::of(&self.paths, name).running().unwrap_or_default();
            for run in &runs {
                self.stop_run(name, run.claim.slot, "the supervisor was stopped");
                told.push(run.claim.pid);
            }
        }
        for pid in self.tasks.children.keys().filter(|pid| !told.contains(pid)) {
            // One that has just been started: it is ours until it is reaped.
            if let Some(token) = identity::start_token(*pid) {
                signal::process(*pid, token, Signal::TERM);
            }
        }
    }

    /// Tells the run of a slot to end.
    pub(super) fn stop_run(&self, name: &UnitName, slot: SlotKey, why: &str) {
        tracing::info!(job = %name, %slot, "the run is told to end: {why}");
        if let Err(e) = TaskSlots::of(&self.paths, name).stop(slot, why) {
            tracing::warn!(job = %name, %slot, "the run cannot be told to end: {e}");
        }
    }
}
