//! What `check` says of calendar jobs: when they are due, in words and next, who starts them, and what may surprise.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::Context;
use crate::config::show_duration;
use crate::machine::words::{JobClock, calendar_words, day_time};
use crate::manager::{drivers, job};
use crate::model::{CalendarRule, Fleet, ManagerKind, Overlap, Schedule, TaskSpec};
use crate::policy::Calendar;
use crate::policy::calendar::table_fields;

/// Slots that are looked at for the shortest time between two.
const SLOTS: usize = 64;

/// A zone that has not changed its clocks for so long does not.
const YEAR_MS: i64 = 400 * 86_400_000;

/// One calendar job in `check --json`.
#[derive(Debug, Serialize)]
pub(super) struct JobLine {
    name: String,
    schedule: String,
    next_ms: Option<i64>,
    #[serde(skip)]
    zone: Option<TimeZone>,
    /// Why the daemon starts it and not launchd or systemd; null where those can, or where the daemon starts all.
    by_daemon: Option<String>,
}

/// The enabled jobs.
pub(super) fn lines(fleet: &Fleet, context: &Context<'_>) -> Vec<JobLine> {
    let line = |task: &TaskSpec| {
        let native = job::native(task, drivers::of_manager(fleet.manager));
        JobLine {
            name: task.name.to_string(),
            schedule: calendar_words(task),
            next_ms: Calendar::new(&task.calendar).next_after(context.now_ms, &context.zone_of(task)),
            zone: context.own_zone(task),
            by_daemon: native.err().filter(|_| fleet.manager != ManagerKind::Embedded),
        }
    };
    fleet.tasks.iter().filter(|task| task.enabled).map(line).collect()
}

/// A line for each.
pub(super) fn text(lines: &[JobLine], context: &Context<'_>) -> String {
    let line = |line: &JobLine| {
        let clock = JobClock::of(line.zone.as_ref(), context.reader());
        let next = line.next_ms.map_or_else(|| "never".to_owned(), |next| day_time(next, clock));
        let by = line.by_daemon.as_ref().map(|why| format!("; the daemon starts it, as {why}")).unwrap_or_default();
        format!("{}: {}; next {next}{by}\n", line.name, line.schedule)
    };
    lines.iter().map(line).collect()
}

/// What of a job may surprise.
pub(super) fn notes(task: &TaskSpec, now_ms: i64, zone: &TimeZone) -> Vec<String> {
    let mut notes = Vec::new();
    let name = &task.name;
    let fixed = task.calendar.iter().filter_map(|entry| match entry {
        Schedule::Words { rule: CalendarRule::Every { .. }, .. } => None,
        Schedule::Words { rule: CalendarRule::Fields(fields), .. } => Some(*fields),
        Schedule::Table(table) => Some(table_fields(table)),
    });
    let fixed: Vec<_> = fixed.collect();
    let tables = task.calendar.iter().filter_map(|entry| match entry {
        Schedule::Table(table) => Some(table),
        Schedule::Words { .. } => None,
    });
    if let Some(table) = tables.into_iter().find(|table| table.minute.is_none()) {
        let (what, once) = match table.hour {
            Some(hour) => (format!("{{ hour = {hour} }} without a minute"), "write `minute = 0` with it"),
            None => ("a table without a minute".to_owned(), "write `hour = 0, minute = 0` with it"),
        };
        notes.push(format!(
            "{name}: {what} is due each minute then, as in launchd what is left out means any; {once} if once is meant"
        ));
    }
    // One, two and three o'clock.
    if fixed.iter().any(|fields| !fields.stepped && fields.hours & 0b1110 != 0) && changes(now_ms, zone) {
        notes.push(format!(
            "{name}: where a change of the clock leaves a time out, it runs right after that; where a time comes twice, it runs once"
        ));
    }
    // Where a weekday is given too, it is due in each month.
    let late = fixed.iter().filter(|fields| fields.weekdays == 0x7f && fields.days & 0x1fff_fffe == 0);
    if let Some(fields) = late.min_by_key(|fields| fields.days.trailing_zeros()) {
        notes.push(format!("{name}: a month without a day {} has no run", fields.days.trailing_zeros()));
    }
    let Some(gap) = shortest_gap(task, now_ms, zone) else { return notes };
    if task.start_within > gap {
        notes.push(format!(
            "{name}: start_within is {}, and the next run can be due after {}",
            show_duration(task.start_within),
            show_duration(gap)
        ));
    }
    if task.max_runtime > gap {
        let then = match task.overlap {
            Overlap::Skip => "the one due then is left out (overlap = \"skip\")",
            Overlap::Queue => "the one due then waits (overlap = \"queue\")",
            Overlap::Replace => "it is ended for the one due then (overlap = \"replace\")",
        };
        notes.push(format!(
            "{name}: a run may take {}, and the next can be due after {}: {then}",
            show_duration(task.max_runtime),
            show_duration(gap)
        ));
    }
    notes
}

/// Whether the clock is changed within a year.
fn changes(now_ms: i64, zone: &TimeZone) -> bool {
    let now = Timestamp::from_millisecond(now_ms).ok();
    let next = now.and_then(|now| zone.following(now).next());
    next.is_some_and(|next| next.timestamp().as_millisecond() - now_ms < YEAR_MS)
}

/// The shortest time between two of the next slots.
fn shortest_gap(task: &TaskSpec, now_ms: i64, zone: &TimeZone) -> Option<Duration> {
    let calendar = Calendar::new(&task.calendar);
    let next = |ms: &i64| calendar.next_after(*ms, zone);
    let slots: Vec<i64> = std::iter::successors(next(&now_ms), next).take(SLOTS).collect();
    let gaps = slots.windows(2).filter_map(|pair| u64::try_from(pair.get(1)? - pair.first()?).ok());
    gaps.min().map(Duration::from_millis)
}
