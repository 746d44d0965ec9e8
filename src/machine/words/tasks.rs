//! Calendar jobs in words.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::calendar::entry_words;
use super::{Reader, Recorded, bare, calendar_words, capital, exactly, lasting, local, soon};
use crate::machine::history::{self, JobStands};
use crate::model::{
    Intent, ManagerKind, Schedule, ServiceInfo, SlotFile, SlotRow, SlotState, Status, TaskSpec, UnitKind,
};
use crate::policy::Calendar;

/// Who starts a job when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// launchd or systemd has its calendar.
    Manager(ManagerKind),
    /// The daemon, which is running.
    Daemon,
    /// Nobody: no service manager has it, and no daemon is running.
    Nobody,
}

/// The clock that a job goes by: that of its own zone, which is then named beside each time, or else the reader's.
#[derive(Debug, Clone, Copy)]
pub struct JobClock<'a> {
    at: Reader<'a>,
    is_own: bool,
}

impl<'a> JobClock<'a> {
    /// `own`: the zone that services.toml gives the job.
    pub fn of(own: Option<&'a TimeZone>, at: Reader<'a>) -> Self {
        Self { at: Reader { zone: own.unwrap_or(at.zone), ..at }, is_own: own.is_some() }
    }

    /// A point in time to the minute: `2026-11-22 07:55`, in a zone of its own `2026-11-22 07:55 JST`.
    pub fn time(self, ms: i64) -> String {
        self.with_zone(local(ms, self.at.zone), ms)
    }

    fn with_zone(self, text: String, ms: i64) -> String {
        let then = Timestamp::from_millisecond(ms).ok().filter(|_| self.is_own);
        match then {
            Some(then) => format!("{text} {}", then.to_zoned(self.at.zone.clone()).strftime("%Z")),
            None => text,
        }
    }
}

/// What is known of a job.
#[derive(Debug, Clone)]
pub struct TaskSeen {
    /// Who starts it.
    pub by: Starter,
    /// How it stands.
    pub stands: JobStands,
    /// When it is due next, milliseconds since 1970 UTC.
    pub next_ms: Option<i64>,
    /// Since when a person holds it back, milliseconds since 1970 UTC.
    pub held_ms: Option<i64>,
    /// Its own zone, where services.toml gives it one.
    pub zone: Option<TimeZone>,
}

/// From when on files of slots are newer than `rows`, the newest of the ledger: milliseconds since 1970 UTC. A run that ends later
/// than one that was due after it is within its `max_runtime` of that.
pub fn files_from(spec: &TaskSpec, rows: &[SlotRow]) -> i64 {
    let longest = i64::try_from(spec.max_runtime.as_millis()).unwrap_or(i64::MAX);
    rows.iter().map(|row| row.due_ms).min().map_or(i64::MIN, |due_ms| due_ms.saturating_sub(longest))
}

impl TaskSeen {
    /// From rows of the ledger and files of slots; `zone` is that of the job's calendar.
    pub fn new(
        spec: &TaskSpec,
        by: Starter,
        rows: Vec<SlotRow>,
        files: &[SlotFile],
        now_ms: i64,
        zone: &TimeZone,
    ) -> Self {
        let stands = JobStands::of(history::merged(&spec.name, rows, files), files);
        let next_ms = spec.enabled.then(|| Calendar::new(&spec.calendar).next_after(now_ms, zone)).flatten();
        Self { by, stands, next_ms, held_ms: None, zone: spec.timezone.as_ref().map(|_| zone.clone()) }
    }

    /// The clock that the job goes by.
    pub fn clock<'a>(&'a self, at: Reader<'a>) -> JobClock<'a> {
        JobClock::of(self.zone.as_ref(), at)
    }

    /// With what the operator wants: of a job that is held back no slot is run.
    pub fn with_intent(self, intent: &Intent) -> Self {
        if intent.up { self } else { Self { next_ms: None, held_ms: Some(intent.since_ms), ..self } }
    }
}

/// A calendar job as `status` shows it.
pub fn task(spec: &TaskSpec, seen: &TaskSeen, recorded: &Recorded, at: Reader<'_>) -> ServiceInfo {
    let running = seen.stands.running.as_ref();
    let clock = seen.clock(at);
    let status = match running {
        Some(_) => Status::Running,
        None if !spec.enabled => Status::Disabled,
        None if seen.held_ms.is_some() || seen.by == Starter::Nobody => Status::Down,
        None if seen.stands.is_failed() => Status::Failed,
        None => Status::Scheduled,
    };
    let then = seen.next_ms.map(|next| format!("; next {}", day_time(next, clock))).unwrap_or_default();
    let last = seen.stands.last.as_ref();
    let why = match (running, status) {
        (Some(run), _) => under_way(run, at),
        (None, Status::Disabled) => "disabled in services.toml".into(),
        (None, Status::Down) => seen.held_ms.map_or_else(|| NOBODY.to_owned(), |since| held(spec, since, clock)),
        (None, _) => match last {
            Some(last) => format!("{}{then}", last_run(last, clock)),
            None => format!("{} starts it: {}{then}", starter(seen.by), schedule(&spec.calendar)),
        },
    };
    ServiceInfo {
        pid: running.and_then(|run| run.pid),
        since_ms: running.map_or(last.and_then(|last| last.ended_ms), |run| run.started_ms),
        next_run_ms: seen.next_ms,
        ..bare(&spec.name, UnitKind::Task, status, why, spec.enabled, recorded)
    }
}

const NOBODY: &str = "nobody starts it, as no daemon is running: `supervisor run` does, or launchd or systemd after \
                      `supervisor install`";

/// One paragraph: when it runs, who starts it, what it does, what became of its last run, what to do about it.
pub fn why_task(spec: &TaskSpec, seen: &TaskSeen, at: Reader<'_>) -> String {
    let name = &spec.name;
    let clock = seen.clock(at);
    let mut said = Vec::new();
    let calendar = calendar_words(spec);
    match (spec.enabled, seen.by) {
        (false, _) => said.push(format!(
            "{name} is disabled in services.toml: `enabled = true` and `supervisor reload` have it run ({calendar})"
        )),
        (true, _) if seen.held_ms.is_some() => {
            let since = seen.held_ms.unwrap_or_default();
            said.push(format!("{name} is a calendar job ({calendar}); {}", held(spec, since, clock)));
        }
        (true, Starter::Nobody) => said.push(format!("{name} is a calendar job ({calendar}), and {NOBODY}")),
        (true, by) => said.push(format!("{name} is a calendar job ({calendar}), which {} starts", starter(by))),
    }
    if let Some(run) = &seen.stands.running {
        said.push(capital(&under_way(run, at)));
    }
    match &seen.stands.last {
        None if seen.stands.running.is_none() => said.push("It has not run yet, as far as is on record".into()),
        None => {}
        Some(last) => {
            // What a person asked for was not due.
            let which = if last.trigger.is_some() { "Its last run" } else { "The last time it was due" };
            said.push(format!("{which}: {}", last_run(last, clock)));
            if seen.stands.is_failed() && seen.stands.running.is_none() {
                // One that was too short has no step to go on with.
                let has_failed = matches!(last.state, Some(SlotState::Failed | SlotState::TooLong));
                let resume = if has_failed { " --resume" } else { "" };
                said.push(format!(
                    "`supervisor tasks {name}` shows its steps, and `supervisor tasks run {name}{resume}` runs it now"
                ));
            }
        }
    }
    if let Some(next) = seen.next_ms.filter(|_| seen.by != Starter::Nobody) {
        said.push(format!("It is due next {} ({})", day_time(next, clock), soon(next, at.now_ms)));
    }
    format!("{}.", said.iter().map(|text| text.trim_end_matches('.')).collect::<Vec<_>>().join(". "))
}

fn held(spec: &TaskSpec, since_ms: i64, clock: JobClock<'_>) -> String {
    let since = day_time(since_ms, clock);
    format!("stopped by a person ({since}): its slots are cancelled until `supervisor start {}`", spec.name)
}

fn starter(by: Starter) -> String {
    match by {
        Starter::Manager(kind) => kind.to_string(),
        Starter::Daemon => "the daemon".into(),
        Starter::Nobody => "nobody".into(),
    }
}

/// A run that goes on.
pub fn under_way(run: &SlotRow, at: Reader<'_>) -> String {
    let done = run.steps.len();
    match run.started_ms {
        Some(started) => {
            format!("it has been running for {}; step {} goes on", so_far(at.now_ms - started), done + 1)
        }
        None => "it is about to begin".into(),
    }
}

/// How long a run has lasted that goes on: to say more than seconds of it would be old when it is read.
pub fn so_far(ms: i64) -> String {
    if ms < 1000 { "less than 1s".into() } else { lasting(ms) }
}

/// What became of a slot, in a few words: `ran 07:55 in 12s, well`.
pub fn last_run(row: &SlotRow, clock: JobClock<'_>) -> String {
    let when = |ms: i64| day_time(ms, clock);
    let begun = when(row.started_ms.unwrap_or(row.due_ms));
    let took = row.awake_ms.map(|ms| format!(" in {}", exactly(whole(ms)))).unwrap_or_default();
    let frozen = row.frozen_ms.map(whole).filter(|ms| *ms >= 60_000);
    let frozen = frozen.map(|ms| format!(" and {} asleep", lasting(ms))).unwrap_or_default();
    let why = if row.why.is_empty() { String::new() } else { format!(": {}", row.why.trim_end_matches('.')) };
    match row.state {
        None => format!("began {begun}"),
        Some(SlotState::Ran) => format!("ran {begun}{took}{frozen}, well"),
        Some(SlotState::Late) => {
            let late = row.started_ms.map(|started| format!(", {} late", lasting(started - row.due_ms)));
            format!("ran {begun}{took}{frozen}, well{}", late.unwrap_or_else(|| ", late".into()))
        }
        Some(SlotState::CaughtUp) => format!("made up for {begun}{took}{frozen}, well (due {})", when(row.due_ms)),
        Some(SlotState::TooShort) => format!("ran {begun}{took}{frozen}, suspiciously short{why}"),
        Some(SlotState::Failed) => format!("failed {begun}{}{frozen}{why}", took.replacen(" in ", " after ", 1)),
        Some(SlotState::TooLong) => {
            format!("took too long {begun} and was ended{}{frozen}{why}", took.replacen(" in ", " after ", 1))
        }
        Some(SlotState::SkippedOverlap) => format!("left out {}{why}", when(row.due_ms)),
        Some(SlotState::MissedAsleep | SlotState::MissedOff) => {
            let by = row.made_up_by.map(|run| format!("; the run of {} stands for it", when(run.at_ms())));
            format!("missed {}{why}{}", when(row.due_ms), by.unwrap_or_default())
        }
        Some(SlotState::Cancelled) => format!("cancelled {begun}{why}"),
    }
}

fn whole(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A time near now as people say it: `07:55`, `tomorrow 07:55`, `Sun 03:00`, `2026-12-01 09:00`, in a zone of its own `07:55 JST`.
pub fn day_time(ms: i64, clock: JobClock<'_>) -> String {
    let at = clock.at;
    let in_zone = |ms: i64| Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(at.zone.clone()));
    let (Some(then), Some(now)) = (in_zone(ms), in_zone(at.now_ms)) else { return clock.time(ms) };
    let off = |days: i64| now.date().checked_add(days.days()).ok() == Some(then.date());
    let near = |then: &Zoned| (then.timestamp().as_millisecond() - at.now_ms).abs() < 6 * 24 * 3_600_000;
    let form = match () {
        () if off(0) => "%H:%M",
        () if off(1) => "tomorrow %H:%M",
        () if off(-1) => "yesterday %H:%M",
        () if near(&then) => "%a %H:%M",
        () => "%Y-%m-%d %H:%M",
    };
    clock.with_zone(then.strftime(form).to_string(), ms)
}

/// A calendar as it was written; a table in words.
pub fn schedule(entries: &[Schedule]) -> String {
    let entry = |entry: &Schedule| match entry {
        Schedule::Words { text, .. } => text.clone(),
        Schedule::Table(_) => entry_words(entry),
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}
