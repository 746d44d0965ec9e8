//! `supervisor exec TASK`: one run of a calendar job. Whoever has started it (launchd, systemd, the daemon, a person), the calendar is
//! asked here which slot that is, and who takes the slot's file first runs it; all others find that there is nothing to do.
//!
//! This process is the steps' parent and has no socket. What happens is put on record in the slot's file and in a journal of the job's
//! name, in this order, so that SIGKILL at any point leaves a run that is known to have been cut off, and never one that nobody knows:
//! slot taken → `task_started` → the steps' records → `task_finished` (on disk) → end of the slot's file.
//!
//! Output goes through pipes that the steps hold open themselves, as a service's does: a step that outlives us is neither ended by
//! that nor does it lose a byte as long as the pipe has room.

mod claim;
mod job;
mod launch;
mod output;
mod tools;

use claim::Answer;
use job::Job;
use launch::Around;

use super::environment::Base;
use super::signals::Signals;
use super::{Options, reload};
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::{Fleet, SlotEnd, SlotKey, SlotState, TaskSpec, Trigger};
use crate::process::{files, tune};

/// Which run of a calendar job is wanted, where `exec` is given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The one that is due.
    Due(Trigger),
    /// One that a person asks for, whatever the calendar says; with the run that it is to go on with.
    Extra(Option<SlotKey>),
}

/// The calendar job that `options` name, if they do, and the fleet it is of.
pub(super) fn named(options: &Options) -> Option<(Fleet, usize)> {
    let [name] = &options.names[..] else { return None };
    let (fleet, _) = reload::load(options).ok()?;
    let place = fleet.tasks.iter().position(|task| task.name == *name)?;
    Some((fleet, place))
}

/// Runs it once, or finds that there is nothing to do. How a run of the calendar ended is no error: the ledger has it.
///
/// # Errors
/// `Refused` when it is switched off, or when a person wants a run and one is under way; `NotUp` when a person's run did not end well.
pub(super) fn run(options: &Options, fleet: &Fleet, place: usize) -> Result<(), Error> {
    let task = &fleet.tasks[place];
    if !task.enabled {
        let message = format!("task {} has `enabled = false` in services.toml", task.name);
        return Err(Error::new(ErrorKind::Refused, message).hint("remove that line to have it run"));
    }
    tune::raise_descriptor_limit();
    tune::own_session();
    tune::become_subreaper();
    let paths = Paths::new(&fleet.state_dir);
    for dir in [paths.service(&task.name), paths.logs(), paths.runners()] {
        files::ensure_dir(&dir).map_err(|e| Error::io("cannot make the folder", &dir, &e))?;
    }
    // Before the slot is taken: whoever finds it taken may ask us to end.
    let mut signals =
        Signals::open().map_err(|e| Error::new(ErrorKind::Internal, format!("cannot catch signals: {e}")))?;
    let (claimed, tools) = match claim::claim(task, &paths, options.wanted, &mut signals)? {
        Answer::Run(claimed, tools) => (claimed, tools),
        Answer::Nothing(why) => {
            anstream::eprintln!("task {}: {why}", task.name);
            return Ok(());
        }
    };
    let before = fleet.tasks[..place].iter().filter(|task| task.enabled).count();
    let around = Around { task, options, paths: &paths, base: Base::of_process() };
    let job = Job::new(around, claimed, tools, u32::try_from(before).unwrap_or(u32::MAX), signals);
    let end = job.run();
    match options.wanted {
        Wanted::Due(_) => Ok(()),
        Wanted::Extra(_) => told(task, &end),
    }
}

/// For the person who wanted the run.
fn told(task: &TaskSpec, end: &SlotEnd) -> Result<(), Error> {
    if matches!(end.state, SlotState::Ran | SlotState::Late | SlotState::CaughtUp) {
        return Ok(());
    }
    let message = format!("task {}: {}: {}", task.name, end.state.as_str(), end.why);
    Err(Error::new(ErrorKind::NotUp, message).hint(format!("see: supervisor logs {}", task.name)))
}
