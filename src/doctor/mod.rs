//! What is wrong with this machine's set-up, and the command that mends it.
//!
//! `gather` looks at the machine, once, and changes nothing; each check is a small function from facts to findings. `self_test` tries
//! the service manager itself, with a job of its own.

mod alerts;
mod facts;
mod gather;
mod jobs;
mod machine;
mod places;
mod programs;
pub mod self_test;

use serde::Serialize;

pub use facts::*;
pub use gather::{Asked, gather};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works now, and will not for ever or not always.
    Warn,
    /// It does not work.
    Bad,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// A service, a calendar job, or what else it is about.
    pub subject: String,
    /// What is so, in a sentence.
    pub what: String,
    /// The command or the sentence that mends it.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(level: Level, subject: &str, what: impl Into<String>) -> Self {
        Self { level, subject: subject.to_owned(), what: what.into(), remedy: None }
    }

    fn ok(subject: &str, what: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, what)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// What the supervisor itself is called as a subject.
const SELF: &str = "supervisor";

/// ... and what the machine is.
const MACHINE: &str = "machine";

/// All checks, by subject.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(places::config(&facts.config));
    found.extend(programs::own(&facts.own_program));
    found.extend(places::state(&facts.state));
    found.extend(facts.disk.iter().map(places::disk));
    found.push(places::database(&facts.database, facts.now));
    found.extend(machine::clocks(facts.now, &facts.zone));
    found.extend(machine::manager(facts));
    found.extend(machine::session(facts));
    for program in &facts.programs {
        found.extend(programs::program(program));
    }
    found.extend(facts.places.iter().flat_map(|place| places::place(place, facts)));
    found.extend(facts.env_files.iter().map(places::env_file));
    found.extend(facts.ports.iter().map(jobs::port));
    found.extend(facts.unfit.iter().map(jobs::unfit));
    found.extend(facts.jobs.iter().flat_map(jobs::job));
    found.extend(facts.owners.iter().map(jobs::owner));
    found.extend(alerts::alerts(&facts.alerts));
    found
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

#[cfg(test)]
mod tests;
