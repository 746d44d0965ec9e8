//! What a person orders of calendar jobs: `stop` holds one back (and ends its run), `start` lets it go on.

use std::time::Duration;

use super::super::Daemon;
use crate::install::Record;
use crate::model::paths::Paths;
use crate::model::wire::{Outcome, Verb};
use crate::model::{Intent, TaskSpec};
use crate::process::{clock, intent};
use crate::slots::TaskSlots;

/// Between two looks whether a run that was told to end has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// On top of its steps' stop_timeout, for SIGKILL and its own end.
const MARGIN: Duration = Duration::from_secs(10);

impl Daemon {
    /// Goes on with the jobs that are declared now.
    pub(in crate::daemon) fn follow_tasks(&mut self) {
        // Without it the daemon starts them, which launchd or systemd may do as well.
        let installed = Record::read(&self.paths).ok().flatten();
        self.tasks.follow(&self.fleet, &self.paths, installed.as_ref());
    }
}

/// Carries an order for a job out.
pub(in crate::daemon) async fn order(paths: &Paths, task: TaskSpec, verb: Verb, wait: bool) -> Outcome {
    let (paths, name) = (paths.clone(), task.name.clone());
    let done = tokio::task::spawn_blocking({
        let task = task.clone();
        move || carry_out(&paths, &task, verb)
    })
    .await;
    let (ok, text, left, refused) = match done {
        Ok(Ok(Done { text, left })) => (true, text, left, false),
        Ok(Err(Failed { text, refused })) => (false, text, Vec::new(), refused),
        Err(e) => (false, e.to_string(), Vec::new(), false),
    };
    let mut outcome = Outcome { name, ok, text, view: None, refused };
    if wait && !left.is_empty() {
        let by = clock::now().mono.plus(task.stop_timeout + MARGIN);
        while left.iter().any(|(pid, token)| crate::process::identity::start_token(*pid) == Some(*token)) {
            if clock::now().mono >= by {
                outcome.ok = false;
                outcome.text = "it is held back, but its run does not end".into();
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    outcome
}

struct Done {
    text: String,
    /// Processes that were told to end: pid and start token.
    left: Vec<(i32, u64)>,
}

struct Failed {
    text: String,
    /// Whether it makes no sense, rather than that it did not succeed.
    refused: bool,
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self { text, refused: false }
    }
}

fn carry_out(paths: &Paths, task: &TaskSpec, verb: Verb) -> Result<Done, Failed> {
    let was = intent::read(paths, &task.name);
    let said = |up| Intent { up, by: "operator".into(), since_ms: clock::now().wall_ms };
    let write =
        |up| intent::write(paths, &task.name, &said(up)).map_err(|e| format!("its intent cannot be stored: {e}"));
    let refused = |text: String| Err(Failed { text, refused: true });
    let done = |text: &str| Done { text: text.into(), left: Vec::new() };
    match verb {
        Verb::Start if !task.enabled => refused("disabled in services.toml".into()),
        Verb::Start if was.up => Ok(done("already scheduled")),
        Verb::Start => Ok(write(true).map(|()| done("scheduled again"))?),
        Verb::Restart => {
            refused(format!("a calendar job is not restarted; `supervisor tasks run {}` runs it now", task.name))
        }
        Verb::Stop => {
            let slots = TaskSlots::of(paths, &task.name);
            // Who is about to begin a run has either begun it before, or finds that the job is held back. On a disk on which nobody can
            // be kept away nobody takes a slot.
            let alone = slots.alone_soon();
            write(false)?;
            let runs = slots.running().map_err(|e| e.to_string())?;
            drop(alone);
            let runs: Vec<_> = runs.into_iter().map(|slot| slot.claim).collect();
            for run in &runs {
                let stopped = slots.stop(run.slot, "the job was stopped by a person");
                stopped.map_err(|e| format!("it is held back, but its run cannot be told to end: {e}"))?;
            }
            let text = match (runs.is_empty(), was.up) {
                (false, _) => "held back; its run was ended",
                (true, true) => "held back: its slots are cancelled until `supervisor start`",
                (true, false) => "already held back",
            };
            Ok(Done { text: text.into(), left: runs.iter().map(|run| (run.pid, run.start_token)).collect() })
        }
    }
}
