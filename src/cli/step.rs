//! `step`: one step of a calendar job that is part of this binary. Runs of jobs start it; a person may, too.

use jiff::tz::TimeZone;

use super::args::Step;
use super::{Context, Output, Stop, doctor, error_text};
use crate::builtin::{self, Work};
use crate::error::{Error, ErrorKind};
use crate::manager::drivers;
use crate::model::{StepAction, UnitName};
use crate::process::clock;

pub(super) fn run(args: &Step, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    if let Some(fault) = place.fault() {
        return Err(fault.into());
    }
    let Some(fleet) = place.fleet() else { return Ok(ErrorKind::Config.exit_code()) };
    let wrong = |message: String| Error::new(ErrorKind::Usage, message);
    let name = UnitName::new(&args.task).map_err(|e| wrong(format!("{:?} is no name: {e}", args.task)))?;
    let task = fleet.task(&name);
    let task = task.ok_or_else(|| wrong(format!("services.toml has no calendar job called {name}")))?;
    let step = args.number.checked_sub(1).and_then(|place| task.steps.get(place));
    let step = step.ok_or_else(|| {
        wrong(format!("{name} has no step {}", args.number))
            .hint(format!("write a number from 1 to {}", task.steps.len()))
    })?;
    let StepAction::Builtin(step) = &step.action else {
        let message =
            format!("step {} of {name} is a program of its own, which this command does not start", args.number);
        return Err(wrong(message).hint("`supervisor tasks run` starts whole jobs").into());
    };
    let kind = drivers::of_manager(fleet.manager);
    let home = context.sources.surroundings().home;
    let job_logs = drivers::logs(kind, &home, place.paths.logs());
    let slot = std::env::var(builtin::SLOT).ok().filter(|slot| !slot.is_empty());
    let loaded = context.sources.fleet(false)?;
    let zone = task.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
    let mut told = Ok(());
    let wrong = builtin::perform(
        step,
        &mut Work {
            paths: &place.paths,
            fleet,
            task: &name,
            slot: slot.as_deref(),
            now: clock::now(),
            zone: zone.as_ref().unwrap_or_else(|| context.zone()),
            job_logs: &job_logs,
            examine: &|| doctor::findings(fleet, &loaded, &place.paths, &home),
            // A log that cannot be written keeps no work from being done.
            say: &mut |line| {
                if told.is_ok() {
                    told = writeln!(output.out, "{line}").and_then(|()| output.out.flush());
                }
            },
        },
    );
    for error in &wrong {
        output.notes.write_all(error_text(error, context.json).as_bytes())?;
    }
    told?;
    Ok(if wrong.is_empty() { 0 } else { ErrorKind::NotUp.exit_code() })
}
