//! What is to be done for each job, given what is wanted, what is on disk, and what the service manager has. Pure.

use std::path::Path;

use super::record::{RecordedJob, is_ours};
use crate::manager::driver::{JobFile, JobState, Standing};
use crate::manager::job::{Job, written_out};

/// A job as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is.
    pub job: Job,
    /// Its files.
    pub files: Vec<JobFile>,
}

/// What lies where a job's files belong, in their order.
pub type Disk = Vec<Option<Vec<u8>>>;

/// What there is now under a job's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its files.
    pub disk: Disk,
    /// What the service manager has; `None` when it is not asked.
    pub state: Option<JobState>,
}

/// What is to be done for one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The job.
    pub wanted: Wanted,
    /// Which of its files are written, by their place.
    pub write: Vec<usize>,
    /// Which of those somebody else had, so that it is put back when we go.
    pub foreign: Vec<usize>,
    /// What is told to the service manager.
    pub load: Load,
}

/// What is told to the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// It has what it is to have.
    Nothing,
    /// It has nothing under this label.
    Load,
    /// It has something else there. A runner leaves its service to its successor.
    Reload,
    /// It has it, and it does not run.
    Kick,
}

impl Step {
    /// Whether nothing is to be done.
    pub fn is_nothing(&self) -> bool {
        self.write.is_empty() && self.load == Load::Nothing
    }

    /// In a few words, for people: what is to be done, or what was.
    pub fn words(&self, is_done: bool) -> String {
        let loaded = match self.load {
            Load::Nothing => None,
            Load::Load => Some("loaded"),
            Load::Reload => Some("loaded anew"),
            Load::Kick => Some("started"),
        };
        let written = (!self.write.is_empty()).then_some("written");
        let acts: Vec<&str> = written.into_iter().chain(loaded).collect();
        match (acts.is_empty(), is_done) {
            (true, true) => "as it is to be".into(),
            (true, false) => "nothing to do".into(),
            (false, true) => acts.join(" and "),
            (false, false) => format!("to be {}", acts.join(" and ")),
        }
    }
}

/// What is in the way, and is taken over only when a person says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InTheWay {
    /// The job's label.
    pub label: String,
    /// What it is, in words.
    pub what: String,
}

/// The step for one job, or what is in its way unless it is to be adopted.
pub fn step(
    wanted: Wanted,
    seen: &Seen,
    before: Option<&RecordedJob>,
    folder: &Path,
    adopt: bool,
) -> Result<Step, InTheWay> {
    let label = wanted.job.label.clone();
    let in_the_way = |what: String| InTheWay { label: label.clone(), what };
    let (mut write, mut foreign) = (Vec::new(), Vec::new());
    for (place, (file, there)) in wanted.files.iter().zip(&seen.disk).enumerate() {
        match there {
            Some(bytes) if *bytes == file.bytes => {}
            Some(bytes) => {
                let recorded = before.and_then(|job| job.file(&file.name));
                // One that we wrote and somebody has changed since is still ours to write: it is kept beside.
                let ours = recorded.is_some() || is_ours(recorded, bytes) || looks_like_ours(bytes, &wanted.job);
                if !ours && !adopt {
                    let path = folder.join(&file.name);
                    return Err(in_the_way(format!("{} is there and was not written by us", path.display())));
                }
                write.push(place);
                if !ours {
                    foreign.push(place);
                }
            }
            None => write.push(place),
        }
    }
    let load = match &seen.state {
        None => Load::Nothing,
        Some(state) => {
            // Who was killed half-way may have left an older version loaded, which need not show.
            let anew = !write.is_empty() || before.is_some_and(|job| job.pending);
            load(&wanted.job, state, anew)
        }
    };
    let elsewhere = seen.state.as_ref().and_then(|state| state.file.as_ref()).filter(|file| !file.starts_with(folder));
    if let (Some(file), false) = (elsewhere, adopt) {
        return Err(in_the_way(format!("a job of this label is loaded from {}", file.display())));
    }
    Ok(Step { wanted, write, foreign, load })
}

fn load(job: &Job, state: &JobState, written: bool) -> Load {
    match &state.standing {
        Standing::Absent => Load::Load,
        _ if written || difference(job, state).is_some() => Load::Reload,
        Standing::Running | Standing::Delayed | Standing::Stopping => Load::Nothing,
        // Between its runs a calendar job has no process.
        Standing::Stopped | Standing::Pended(_) | Standing::CannotStart(_) if !job.is_kept() => Load::Nothing,
        Standing::CannotStart(_) => Load::Reload,
        Standing::Stopped | Standing::Pended(_) => Load::Kick,
    }
}

/// The first thing in which what is loaded differs from the job, as far as the manager tells, in words.
pub fn difference(job: &Job, state: &JobState) -> Option<String> {
    if let Some(argv) = state.argv.as_ref().filter(|argv| **argv != job.argv) {
        return Some(format!("it is loaded with the command {}", argv.join(" ")));
    }
    if let Some(names) = &state.env_names {
        let wanted: Vec<&String> = job.env.keys().collect();
        if names.iter().collect::<Vec<_>>() != wanted {
            return Some(format!("it is loaded with the environment variables {}", names.join(", ")));
        }
    }
    let calendar = state.calendar.as_ref().filter(|_| !job.is_kept());
    if calendar.is_some_and(|loaded| written_out(loaded) != written_out(&job.calendar)) {
        return Some("it is loaded with another calendar".into());
    }
    None
}

/// Whether a file of which there is no record any more (a new state directory) was written by an earlier install: it starts
/// this program for the same job.
fn looks_like_ours(bytes: &[u8], job: &Job) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let tail = job.argv.iter().skip(5);
    text.contains("--state-dir")
        && tail.clone().count() > 0
        && tail.into_iter().all(|word| text.contains(word.as_str()))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
