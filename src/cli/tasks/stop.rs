//! `tasks stop NAME`: ends the run of a job that is under way; said a second time meanwhile, at once.

use super::args::Stop as Args;
use super::named;
use super::run::{ended, tell, under_way};
use crate::cli::{Context, Output, Stop};
use crate::error::{Error, ErrorKind};
use crate::slots::TaskSlots;

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let task = named(&args.name, &place)?;
    let files = TaskSlots::of(&place.paths, &task.name);
    let nothing = || Error::new(ErrorKind::Refused, format!("no run of {} is under way", task.name));
    let run = under_way(task, &files, &place)?.ok_or_else(nothing)?;
    let slot = run.claim.slot;
    let asked = files.stop_by_person(slot, "stopped by the operator").map_err(|e| {
        Error::new(ErrorKind::Internal, format!("the run of {} (pid {}) cannot be told: {e}", task.name, run.claim.pid))
    })?;
    if !asked {
        return Err(nothing().into());
    }
    let row = ended(task, slot, &files, context, output)?;
    tell(task, &row, context, output)?;
    Ok(0)
}
