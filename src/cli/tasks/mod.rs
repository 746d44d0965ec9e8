//! `tasks`: when calendar jobs run, what became of each of their slots, and a run by hand.

pub(super) mod args;
mod list;
mod run;
mod show;
mod stop;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::args::{Tasks as Args, What};
use super::context::{Place, Tallies};
use super::{Context, Output, Stop, names, since};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::install::Record;
use crate::machine::history;
use crate::machine::words::{self, Starter, TaskSeen};
use crate::model::{SlotRow, SlotState, TaskSpec, UnitName};
use crate::policy::Calendar;
use crate::slots::TaskSlots;
use crate::store::SlotFilter;

/// So many of the slots to come are told.
const NEXT: usize = 5;

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    match &args.what {
        Some(What::Run(args)) => return run::run(args, context, output),
        Some(What::Stop(args)) => return stop::run(args, context, output),
        None => {}
    }
    let since_ms = args.since.as_ref().map(|text| since::parse(text, context.now_ms, context.zone())).transpose()?;
    match &args.name {
        Some(name) => show::run(name, since_ms, args.limit, context, output),
        None => list::run(since_ms, context, output),
    }
}

/// The job of that name.
fn named<'a>(name: &str, place: &'a Place<'_>) -> Result<&'a TaskSpec, Error> {
    let name = names::one(name)?;
    let Some(fleet) = place.fleet() else {
        return Err(place.fault().unwrap_or_else(|| names::unknown(&name, [])));
    };
    if let Some(task) = fleet.task(&name) {
        return Ok(task);
    }
    if fleet.services.iter().any(|service| service.name == name) {
        return Err(Error::new(ErrorKind::Usage, format!("{name} is a service, not a calendar job"))
            .hint(format!("see `supervisor status {name}`; `supervisor restart {name}` starts it again")));
    }
    if fleet.exposures.iter().any(|exposure| exposure.name == name) {
        let message =
            format!("{name} is no calendar job: it has `ensure`, so it is made to hold and looked at again and again");
        let hint = format!(
            "`supervisor restart {name}` makes it hold now, `supervisor stop {name}` undoes it, `supervisor why {name}` tells how it stands"
        );
        return Err(Error::new(ErrorKind::Usage, message).hint(hint));
    }
    if let Some(unit) = fleet.unusable.iter().find(|unit| unit.name == name) {
        return Err(Error::new(ErrorKind::Config, format!("{name} cannot be used: {}", unit.why))
            .hint("`supervisor check` tells what is wrong"));
    }
    Err(names::unknown(&name, fleet.tasks.iter().map(|task| &task.name)))
}

/// All that is known of jobs beside their slots.
struct Known {
    installed: Option<Record>,
    tallies: Option<Tallies>,
    /// Whether a daemon is there to start them.
    daemon: bool,
}

impl Known {
    /// The ledger is a moment behind the journals. A daemon that does not answer is no reason not to tell what is there.
    fn look(context: &Context<'_>, place: &Place<'_>) -> Result<Self, Error> {
        let daemon = Daemon::connect_if_running(&place.paths);
        let is_there = !matches!(daemon, Ok(None));
        if let Ok(Some(daemon)) = daemon {
            drop(daemon.sync());
        }
        let tallies = context.sources.tallies(&place.paths.database())?;
        // Where that cannot be read nothing is known of it; `doctor` says so.
        Ok(Self { installed: Record::read(&place.paths).ok().flatten(), tallies, daemon: is_there })
    }

    fn seen(&self, task: &TaskSpec, context: &Context<'_>, place: &Place<'_>) -> TaskSeen {
        let seen =
            super::gather::task_seen(context, &place.paths, task, self.installed.as_ref(), self.tallies.as_ref());
        match seen.by {
            Starter::Nobody if self.daemon => TaskSeen { by: Starter::Daemon, ..seen },
            _ => seen,
        }
    }
}

/// The slots of a job by time, the latest last.
fn slots(
    task: &UnitName,
    since_ms: Option<i64>,
    limit: Option<usize>,
    context: &Context<'_>,
    place: &Place<'_>,
) -> Result<Vec<SlotRow>, Error> {
    let filter = SlotFilter { task: Some(task.clone()), since_ms, limit, ..SlotFilter::default() };
    let rows = context.sources.slots(&place.paths.database(), &filter)?.unwrap_or_default();
    // What is older than the rows asked for is on record, or was not asked for.
    let from_ms = match (since_ms, limit) {
        (None, Some(limit)) if rows.len() >= limit => rows.first().map_or(i64::MIN, |row| row.due_ms),
        (since_ms, _) => since_ms.unwrap_or(i64::MIN),
    };
    let slots = TaskSlots::of(&place.paths, task);
    let files = slots.read(from_ms).map_err(|e| Error::io("cannot read the folder", &place.paths.slots(task), &e))?;
    let mut all = history::merged(task, rows, &files);
    all.drain(..limit.map_or(0, |limit| all.len().saturating_sub(limit)));
    Ok(all)
}

/// The slots to come, milliseconds since 1970 UTC; of one that is held back they are cancelled.
fn next(task: &TaskSpec, is_held: bool, context: &Context<'_>) -> Vec<i64> {
    let (calendar, zone) = (Calendar::new(&task.calendar), context.zone_of(task));
    let first = Some(context.now_ms).filter(|_| task.enabled && !is_held);
    std::iter::successors(first, |ms| calendar.next_after(*ms, &zone)).skip(1).take(NEXT).collect()
}

/// A job in JSON.
fn object(task: &TaskSpec, seen: &TaskSeen, counts: Option<&BTreeMap<SlotState, u64>>, context: &Context<'_>) -> Value {
    let counts: BTreeMap<&str, u64> = counts.into_iter().flatten().map(|(state, n)| (state.as_str(), *n)).collect();
    json!({
        "name": task.name,
        "enabled": task.enabled,
        "calendar": task.calendar.iter().map(|entry| words::schedule(std::slice::from_ref(entry))).collect::<Vec<_>>(),
        "timezone": task.timezone,
        "started_by": match seen.by {
            Starter::Manager(kind) => Some(kind.to_string()),
            Starter::Daemon => Some("daemon".to_owned()),
            Starter::Nobody => None,
        },
        "next_ms": next(task, seen.held_ms.is_some(), context),
        "last": seen.stands.last,
        "running": seen.stands.running,
        "counts": counts,
    })
}

/// How a state is coloured: green went well, red a person should look at, yellow is in between.
fn style_of(state: SlotState) -> anstyle::Style {
    use anstyle::AnsiColor::{Green, Red, Yellow};
    match state {
        SlotState::Ran | SlotState::CaughtUp => Green.on_default(),
        SlotState::Failed
        | SlotState::TooLong
        | SlotState::TooShort
        | SlotState::MissedAsleep
        | SlotState::MissedOff => Red.on_default(),
        SlotState::Late | SlotState::SkippedOverlap | SlotState::Cancelled => Yellow.on_default(),
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// A length in awake time, and how long the machine slept meanwhile where that is worth a word.
fn took(row: &SlotRow) -> Option<String> {
    let length = |ms: u64| words::exactly(i64::try_from(ms).unwrap_or(i64::MAX));
    let awake = row.awake_ms.map(length)?;
    Some(match row.frozen_ms.filter(|frozen| *frozen >= 1000) {
        Some(frozen) => format!("{awake} (+{} asleep)", length(frozen)),
        None => awake,
    })
}
