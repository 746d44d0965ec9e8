//! What is declared, written, loaded and running, compared: the first layer that differs is told, with what mends it. Pure.

use serde::Serialize;

use super::plan::{self, Wanted};
use super::record::{RecordedJob, is_ours};
use crate::manager::driver::{JobState, Standing};

/// Where two things that should be the same differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// services.toml and what was installed.
    Declared,
    /// What was installed and what is on disk.
    Disk,
    /// What is on disk and what is loaded.
    Loaded,
    /// What is loaded and what runs.
    Running,
}

/// What mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// A person's word: `supervisor install`, or what `what` says.
    ByHand,
    /// Load it: it has vanished.
    Load,
    /// Load it anew; a runner leaves its service to be adopted.
    Reload,
    /// Start it: its start is held back.
    Kick,
    /// A person's word: `supervisor upgrade`.
    Upgrade,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The job's label.
    pub label: String,
    /// The service or calendar job.
    pub name: String,
    /// Where.
    pub layer: Layer,
    /// What, in words.
    pub what: String,
    /// What mends it.
    pub repair: Repair,
}

impl Drift {
    /// As `status` tells it.
    pub fn words(&self) -> String {
        let repair = match self.repair {
            Repair::ByHand => "; run `supervisor install`",
            Repair::Load => "; it is loaded again",
            Repair::Reload => "; it is loaded anew",
            Repair::Kick => "; it is started",
            Repair::Upgrade => "; run `supervisor upgrade`",
        };
        format!("{}: {}{repair}", self.label, self.what)
    }
}

/// Everything that is known of one installed job.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What services.toml says now; `None` when it does not want the job any more.
    pub declared: Option<&'a Wanted>,
    /// What was installed.
    pub recorded: &'a RecordedJob,
    /// What is on disk, in the order of the recorded files.
    pub disk: &'a [Option<Vec<u8>>],
    /// What the service manager has.
    pub state: &'a JobState,
    /// Whether the file that it runs is another one than the file that it would be started from.
    pub replaced: bool,
    /// Whether its service lives and no runner has it: nobody who wants it down leaves that.
    pub orphaned: bool,
}

/// The first difference of one installed job, from the outside in: what a person has changed is told and left alone, what
/// the service manager has lost is mended.
pub fn of_job(facts: Facts<'_>) -> Option<Drift> {
    let Facts { declared, recorded, disk, state, replaced, orphaned } = facts;
    let drift = |layer, what: String, repair| {
        Some(Drift { label: recorded.label.clone(), name: recorded.name.clone(), layer, what, repair })
    };
    for (file, there) in recorded.files.iter().zip(disk) {
        match there {
            None => return drift(Layer::Disk, format!("{} is gone", file.name), Repair::ByHand),
            Some(bytes) if !is_ours(Some(file), bytes) => {
                return drift(Layer::Disk, format!("{} was changed by somebody else", file.name), Repair::ByHand);
            }
            Some(_) => {}
        }
    }
    let Some(wanted) = declared else {
        return drift(Layer::Declared, "services.toml does not want it any more".into(), Repair::ByHand);
    };
    let same = |file: &crate::manager::driver::JobFile| is_ours(recorded.file(&file.name), &file.bytes);
    if wanted.files.len() != recorded.files.len() || !wanted.files.iter().all(same) {
        return drift(
            Layer::Declared,
            "services.toml says something else than what is installed".into(),
            Repair::ByHand,
        );
    }
    let job = &wanted.job;
    if state.disabled {
        return drift(Layer::Loaded, "somebody has switched it off".into(), Repair::ByHand);
    }
    let difference = plan::difference(job, state);
    match &state.standing {
        Standing::Absent => drift(Layer::Loaded, "it is not loaded any more".into(), Repair::Load),
        Standing::CannotStart(why) => drift(Layer::Running, format!("it cannot be started: {why}"), Repair::ByHand),
        _ if difference.is_some() => drift(Layer::Loaded, difference.unwrap_or_default(), Repair::Reload),
        Standing::Pended(why) if job.is_kept() => {
            drift(Layer::Running, format!("its start is held back ({why})"), Repair::Kick)
        }
        // Its runner has left, and whoever was to load the next one was killed.
        Standing::Stopped if orphaned => {
            drift(Layer::Running, "its service runs without a runner".into(), Repair::Kick)
        }
        // Ended in order: somebody has told it to (`systemctl stop`, `launchctl kill TERM`).
        Standing::Stopped if job.is_kept() && !ended_in_order(state) => {
            drift(Layer::Running, "it does not run".into(), Repair::Kick)
        }
        Standing::Stopped if job.is_kept() => {
            drift(Layer::Running, "it was stopped by somebody else, and does not run".into(), Repair::ByHand)
        }
        Standing::Running if replaced => {
            drift(Layer::Running, "its program was replaced since it was started".into(), Repair::Upgrade)
        }
        Standing::Stopped | Standing::Pended(_) | Standing::Running | Standing::Delayed | Standing::Stopping => None,
    }
}

fn ended_in_order(state: &JobState) -> bool {
    state.last_exit.as_deref().is_some_and(|how| how.ends_with(" 0"))
}

/// A service or calendar job that is declared, enabled, and was never installed.
pub fn uninstalled(wanted: &Wanted) -> Drift {
    Drift {
        label: wanted.job.label.clone(),
        name: wanted.job.name.clone(),
        layer: Layer::Declared,
        what: "it is declared and not installed".into(),
        repair: Repair::ByHand,
    }
}

#[cfg(test)]
#[path = "drift_tests.rs"]
pub(super) mod tests;
