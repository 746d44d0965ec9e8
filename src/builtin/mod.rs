//! Maintenance that is a step of a calendar job: each is a process of its own (`supervisor step TASK N`), so that its time limit and
//! its end are those of any other step.
//!
//! It may be killed at any moment: what it deletes it deletes in small transactions and file by file, what it makes gets its name when
//! it is whole, and what is left half made the next one clears away. It works beside a daemon and without one.

mod database;
mod digest;
mod examine;
mod prune;
mod remove;
mod rotate;
#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::tz::TimeZone;

use crate::doctor::Finding;
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::{BuiltinStep, Fleet, Moment, UnitName};

/// Names the slot to a step: its runs over and again are one.
pub const SLOT: &str = "SUPERVISOR_SLOT";

/// What a step works on.
pub struct Work<'a> {
    /// Where everything is.
    pub paths: &'a Paths,
    /// What is declared.
    pub fleet: &'a Fleet,
    /// Whose step it is.
    pub task: &'a UnitName,
    /// The slot that it is a step of, in words (see [`SLOT`]); `None` when a person has started it.
    pub slot: Option<&'a str>,
    /// When it was started.
    pub now: Moment,
    /// For times of day.
    pub zone: &'a TimeZone,
    /// Where the service manager puts what jobs print themselves.
    pub job_logs: &'a Path,
    /// All that `doctor` looks at.
    pub examine: &'a dyn Fn() -> Vec<Finding>,
    /// Is told what was done, a line each.
    pub say: &'a mut dyn FnMut(&str),
}

impl Work<'_> {
    fn say(&mut self, line: impl AsRef<str>) {
        (self.say)(line.as_ref());
    }
}

/// Does it; gives what went wrong or was found to be wrong, each with what to do. None: all is well.
pub fn perform(step: &BuiltinStep, work: &mut Work<'_>) -> Vec<Error> {
    let done = match step {
        BuiltinStep::Prune(spec) => return prune::run(spec, work),
        BuiltinStep::Doctor => return examine::run(work),
        BuiltinStep::Rotate { max_size, keep } => return rotate::run(*max_size, *keep, work),
        BuiltinStep::Vacuum { backups } => database::vacuum(*backups, work),
        BuiltinStep::VerifyBackup { max_age } => database::verify_backup(*max_age, work),
        BuiltinStep::Digest { period, keep } => digest::run(*period, *keep, work),
    };
    done.err().into_iter().collect()
}

/// A step that did not do what it is for.
fn failed(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(ErrorKind::NotUp, message).hint(hint)
}
