//! What an alert about a calendar job says.

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Text, because, quoted, tail, utc};
use crate::machine::words::{capital, code_text, count, exactly, lasting};
use crate::model::{Record, Rule, SlotKey, SlotState, StepOutcome, StepRecord, UnitName};
use crate::policy::redact;

/// Less than this is not worth a word.
const NOTABLE_MS: i64 = 60_000;

/// Whether slots were left out because the run before still went on.
pub(in crate::machine::alerts) fn is_left_out(data: &Map<String, Value>) -> bool {
    state_of(data) == Some(SlotState::SkippedOverlap)
}

/// Of a run, or of slots that were not run; times of day are those of `zone`, the job's own.
pub(in crate::machine::alerts) fn of_task(
    rule: Rule,
    name: &UnitName,
    record: &Record,
    zone: Option<&TimeZone>,
) -> Text {
    let data = &record.data;
    let state = state_of(data);
    if matches!(state, Some(SlotState::MissedAsleep | SlotState::MissedOff | SlotState::SkippedOverlap)) {
        return of_missed(name, data, zone);
    }
    let title = match (rule, state) {
        (_, Some(SlotState::TooLong)) => format!("{name} took too long and was ended"),
        (_, Some(SlotState::Late)) => format!("{name} ran late"),
        (_, Some(SlotState::TooShort)) => format!("{name} ended suspiciously soon"),
        _ => format!("{name} ran and failed"),
    };
    // A step whose failure was allowed is in the job's log.
    let failed = failed_step(data).filter(|_| !matches!(state, Some(SlotState::Late | SlotState::TooShort)));
    let mut facts: Vec<String> = ran(record, zone).into_iter().collect();
    let title = match (&failed, quoted(data, "why")) {
        (Some(step), None) => format!("{title}: {}", step_text(step)),
        (step, _) => {
            facts.extend(step.as_ref().map(|step| format!("{}.", capital(&step_text(step)))));
            because(title, data)
        }
    };
    let doing = match state {
        Some(SlotState::Late) => "It has run, and runs again when its calendar says so.",
        _ => "It runs again when its calendar says so.",
    };
    let mut advice = vec![format!("supervisor tasks {name}")];
    match state {
        Some(SlotState::Late) => {}
        Some(SlotState::TooShort) => advice.push(format!("supervisor logs {name}")),
        _ => {
            advice.push(format!("supervisor logs {name} --stderr"));
            advice.push(format!("supervisor tasks run {name} --resume"));
        }
    }
    Text { title, facts, tail: tail(data), doing: doing.into(), advice }
}

fn of_missed(name: &UnitName, data: &Map<String, Value>, zone: Option<&TimeZone>) -> Text {
    let slots: Vec<i64> = data.get("slots").and_then(|slots| Deserialize::deserialize(slots).ok()).unwrap_or_default();
    let many = data.get("count").and_then(Value::as_u64).and_then(|many| usize::try_from(many).ok());
    let many = many.unwrap_or(slots.len());
    let last = data.get("slot").and_then(|slot| SlotKey::deserialize(slot).ok()).map(SlotKey::at_ms);
    let last = last.or(slots.last().copied()).map(|ms| when(ms, zone));
    let left_out = is_left_out(data);
    let what = if left_out { "was left out" } else { "did not run" };
    let title = match (many, &last) {
        (0 | 1, Some(last)) => format!("{name} {what} at {last}"),
        (0 | 1, None) => format!("{name} {what}"),
        (many, _) => format!("{name} {what} {}", count(many, "time")),
    };
    let mut facts = Vec::new();
    if many > 1
        && let (Some(first), Some(last)) = (slots.first(), last)
    {
        facts.push(format!("It was due from {} to {last}.", when(*first, zone)));
    }
    let doing = match left_out {
        true => "The run before still went on when it was due; it runs again when its calendar says so.",
        false => "That is not made up for; it runs again when its calendar says so.",
    };
    let mut advice = vec![format!("supervisor tasks {name}")];
    if !left_out {
        advice.push(format!("supervisor tasks run {name}"));
    }
    Text { title: because(title, data), facts, tail: Vec::new(), doing: doing.into(), advice }
}

/// When it was due, and how it went.
fn ran(record: &Record, zone: Option<&TimeZone>) -> Option<String> {
    let data = &record.data;
    let number = |key: &str| data.get(key).and_then(Value::as_i64);
    let slot = data.get("slot").and_then(|slot| SlotKey::deserialize(slot).ok())?;
    let mut text = match slot {
        SlotKey::Due(ms) => format!("It was due at {}", when(ms, zone)),
        SlotKey::Extra(ms) => format!("It was asked for at {}", when(ms, zone)),
    };
    if let Some(late) = number("wall_ms").map(|wall_ms| record.wall_ms - wall_ms - slot.at_ms())
        && late >= NOTABLE_MS
    {
        text.push_str(&format!(", began {} later", lasting(late)));
    }
    if let Some(awake) = number("awake_ms") {
        text.push_str(&format!(", and ran for {}", exactly(awake)));
    }
    if let Some(frozen) = number("frozen_ms").filter(|frozen| *frozen >= NOTABLE_MS) {
        text.push_str(&format!("; the machine slept for {} meanwhile", lasting(frozen)));
    }
    Some(text + ".")
}

/// The step that made the run a failed one.
fn failed_step(data: &Map<String, Value>) -> Option<StepRecord> {
    let steps: Vec<StepRecord> = Deserialize::deserialize(data.get("steps")?).ok()?;
    let failed = |step: &StepRecord| {
        use StepOutcome::{Failed, Interrupted, NotStarted, TimedOut};
        matches!(step.outcome, Failed | TimedOut | NotStarted | Interrupted)
    };
    steps.into_iter().rfind(failed)
}

fn step_text(step: &StepRecord) -> String {
    let outcome = match step.outcome {
        StepOutcome::TimedOut => "was over its time limit",
        StepOutcome::NotStarted => "could not be started",
        StepOutcome::Interrupted => "was cut off",
        _ => "failed",
    };
    let tries = if step.tries > 1 { format!(" after {} tries", step.tries) } else { String::new() };
    let end = match (&step.why, step.signal, step.code) {
        (Some(why), ..) => format!(": {}", redact(why)),
        (None, Some(signal), _) => format!(": {signal}"),
        (None, None, Some(code)) => format!(": {}", code_text(code)),
        (None, None, None) => String::new(),
    };
    format!("step {} ({}) {outcome}{tries}{end}", step.step, redact(&step.what))
}

fn state_of(data: &Map<String, Value>) -> Option<SlotState> {
    SlotState::parse(data.get("result")?.as_str()?)
}

/// As the job's own clock shows it: that is how its schedule is written.
fn when(ms: i64, zone: Option<&TimeZone>) -> String {
    match (zone, jiff::Timestamp::from_millisecond(ms)) {
        (Some(zone), Ok(at)) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string(),
        _ => utc(ms),
    }
}
