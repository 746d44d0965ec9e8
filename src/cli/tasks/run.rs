//! `tasks run NAME`: has a job run now, and tells what became of it.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::json;

use super::args::Run as Args;
use super::{named, slots};
use crate::cli::context::Place;
use crate::cli::table::harmless;
use crate::cli::{Context, Output, Stop};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::machine::history;
use crate::machine::words::{self, JobClock};
use crate::manager::task::{self, Start, Wanted};
use crate::model::wire::{TaskRunBody, TaskRunReply};
use crate::model::{SlotFile, SlotKey, SlotRow, SlotState, TaskSpec, UnitName};
use crate::process::wait;
use crate::slots::TaskSlots;

/// How long a run that was started may take until its slot is there: it has nothing to do before.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);

/// A run has a time limit of its own; nobody waits longer than any of them.
const FOR_EVER: Duration = Duration::from_secs(400 * 24 * 3600);

/// Its file is read at each so many looks: a job may run for hours.
const READ_EACH: u32 = 20;

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let task = named(&args.name, &place)?;
    let files = TaskSlots::of(&place.paths, &task.name);
    if !task.enabled {
        let message = format!("{} has `enabled = false` in services.toml", task.name);
        return Err(Error::new(ErrorKind::Refused, message).hint("remove that line to have it run").into());
    }
    if let Some(run) = under_way(&task.name, &files, &place)? {
        let message = format!("{} runs already (pid {})", task.name, run.claim.pid);
        let hint =
            format!("`supervisor tasks {0}` shows how far it is, `supervisor tasks stop {0}` ends it", task.name);
        return Err(Error::new(ErrorKind::Refused, message).hint(hint).into());
    }
    let resume = if args.resume { Some(failed_run(task, context, &place)?) } else { None };
    let body = TaskRunBody { name: task.name.clone(), resume };
    let begun = match Daemon::connect_if_running(&place.paths)? {
        Some(daemon) => daemon.run_task(&body)?,
        None => start(&body, &files, context, &place)?,
    };
    if args.no_wait {
        if context.json {
            writeln!(output.out, "{}", json!({ "name": task.name, "slot": begun.slot, "pid": begun.pid }))?;
        } else {
            writeln!(output.out, "{}: started, pid {}", task.name, begun.pid)?;
        }
        return Ok(0);
    }
    let row = ended(&task.name, begun.slot, &files, context, output)?;
    tell(context.own_zone(task).as_ref(), &row, context, output)?;
    let is_well = matches!(row.state, Some(SlotState::Ran | SlotState::Late | SlotState::CaughtUp));
    Ok(if is_well { 0 } else { ErrorKind::NotUp.exit_code() })
}

/// The run of a job that is under way.
pub(super) fn under_way(task: &UnitName, files: &TaskSlots, place: &Place<'_>) -> Result<Option<SlotFile>, Error> {
    let folder = place.paths.slots(task);
    let mut running = files.running().map_err(|e| Error::io("cannot read the folder", &folder, &e))?;
    Ok(running.pop())
}

/// The last run, which has to have failed.
fn failed_run(task: &TaskSpec, context: &Context<'_>, place: &Place<'_>) -> Result<SlotKey, Error> {
    let refused = |message: String| {
        Err(Error::new(ErrorKind::Refused, message)
            .hint(format!("`supervisor tasks run {}` runs all of it", task.name)))
    };
    let all = slots(&task.name, None, None, context, place)?;
    let Some(last) = all.iter().rfind(|row| row.trigger.is_some()) else {
        return refused(format!("{} has not run yet, so there is nothing to go on with", task.name));
    };
    match last.state {
        Some(SlotState::Failed | SlotState::TooLong) => Ok(last.slot),
        _ => {
            let own = context.own_zone(task);
            let what = words::last_run(last, JobClock::of(own.as_ref(), context.reader()));
            refused(format!("the last run of {} has no failed step to go on with: it {what}", task.name))
        }
    }
}

/// Without the daemon: starts it here, and waits until it has its slot.
fn start(
    body: &TaskRunBody,
    files: &TaskSlots,
    context: &Context<'_>,
    place: &Place<'_>,
) -> Result<TaskRunReply, Error> {
    let config = context.sources.fleet(false)?.path;
    let log = place.paths.runner_log();
    let said_before = log.metadata().map_or(0, |data| data.len());
    let start = Start { config: &config, paths: &place.paths, name: &body.name, run: Wanted::Extra(body.resume) };
    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::Internal, format!("the run of {} could not be started: {e}", body.name))
    };
    let mut child = task::start(&start).map_err(failed)?;
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    let mut over = None;
    let slot = wait::until(BEGUN_WITHIN, || {
        // Looked for after its end, so that a run that is over at once is found.
        over = over.or(child.try_wait().ok().flatten());
        let all = files.read(context.now_ms - 60_000).unwrap_or_default();
        let ours = all.iter().find(|file| file.claim.pid == pid && matches!(file.claim.slot, SlotKey::Extra(_)));
        match ours {
            Some(file) => Some(Some(file.claim.slot)),
            None => over.map(|_| None),
        }
    });
    match (slot, over.and_then(|status| status.code())) {
        (Some(Some(slot)), _) => Ok(TaskRunReply { slot, pid }),
        (Some(None), code) => {
            let kind =
                code.and_then(|code| u8::try_from(code).ok()).map_or(ErrorKind::Internal, ErrorKind::from_exit_code);
            let said = said_since(&log, said_before);
            let said = said.trim().strip_prefix("supervisor: ").unwrap_or(said.trim());
            let why = if said.is_empty() { "it ended at once".to_owned() } else { harmless(said) };
            Err(Error::new(kind, format!("{} was not run: {why}", body.name)))
        }
        (None, _) => Err(Error::new(
            ErrorKind::Internal,
            format!("the run of {} (pid {pid}) has not begun within {} s", body.name, BEGUN_WITHIN.as_secs()),
        )
        .hint(format!("{} may tell why", log.display()))),
    }
}

/// What stands in a log from there on; of much, the beginning.
fn said_since(log: &std::path::Path, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut said = Vec::new();
        file.take(2000).read_to_end(&mut said)?;
        Ok(said)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Waits for the end of a run; steps are told as they end.
pub(super) fn ended(
    task: &UnitName,
    slot: SlotKey,
    files: &TaskSlots,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<SlotRow, Stop> {
    let mut told = 0;
    let mut looks = 0_u32;
    let mut unwritten = None;
    let found = wait::until(FOR_EVER, || {
        looks = looks.wrapping_add(1);
        if looks % READ_EACH != 1 {
            return None;
        }
        // One that is gone was cleared away, as it was over.
        let Some(file) = files.read_one(slot) else { return Some(None) };
        for step in file.steps.iter().skip(told).filter(|_| !context.json) {
            let line = format!("step {}: {}", step.step, super::show::step_line(step));
            unwritten = unwritten
                .take()
                .or(writeln!(output.out, "{}", harmless(&line)).and_then(|()| output.out.flush()).err());
        }
        told = told.max(file.steps.len());
        (!file.running || unwritten.is_some()).then_some(Some(file))
    });
    if let Some(error) = unwritten {
        return Err(error.into());
    }
    match found.flatten() {
        Some(file) => Ok(history::of_file(task, &file)),
        None => {
            let message = format!("what became of the run of {task} cannot be read any more");
            let hint = format!("`supervisor tasks {task}` tells what is on record");
            Err(Error::new(ErrorKind::Internal, message).hint(hint).into())
        }
    }
}

/// What became of it; `own` is the job's own zone.
pub(super) fn tell(
    own: Option<&TimeZone>,
    row: &SlotRow,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    if context.json {
        let line = serde_json::to_string(row).map_err(std::io::Error::other)?;
        writeln!(output.out, "{line}")?;
    } else {
        let what = words::last_run(row, JobClock::of(own, context.reader()));
        writeln!(output.out, "{}: {}", row.task, harmless(&what))?;
    }
    Ok(())
}
