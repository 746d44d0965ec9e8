//! `tasks stop NAME`: ends the run of a job that is under way; said a second time meanwhile, at once.

use super::args::Stop as Args;
use super::named;
use super::run::{ended, tell, under_way};
use crate::cli::{Context, Output, Stop, names};
use crate::error::{Error, ErrorKind};
use crate::slots::TaskSlots;

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let typed = names::one(&args.name)?;
    let files = TaskSlots::of(&place.paths, &typed);
    let own = match named(&args.name, &place) {
        Ok(task) => context.own_zone(task),
        // One that was taken out of services.toml while it runs has a run all the same.
        Err(_) if matches!(under_way(&typed, &files, &place), Ok(Some(_))) => None,
        Err(error) => return Err(error.into()),
    };
    let task = &typed;
    let nothing = || Error::new(ErrorKind::Refused, format!("no run of {task} is under way"));
    let run = under_way(task, &files, &place)?.ok_or_else(nothing)?;
    let slot = run.claim.slot;
    let asked = files.stop_by_person(slot, "stopped by the operator").map_err(|e| {
        Error::new(ErrorKind::Internal, format!("the run of {task} (pid {}) cannot be told: {e}", run.claim.pid))
    })?;
    if !asked {
        return Err(nothing().into());
    }
    let row = ended(task, slot, &files, context, output)?;
    tell(own.as_ref(), &row, context, output)?;
    Ok(0)
}
