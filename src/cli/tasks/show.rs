//! `tasks NAME`: one job, its slots to come and what became of those before, the steps of its last run.

use serde_json::json;

use super::{Known, next, object, or_dash, slots, style_of, took};
use crate::cli::table::{Grid, harmless};
use crate::cli::{Context, Output, Stop};
use crate::error::Error;
use crate::machine::words::{self, JobClock, TaskSeen};
use crate::model::{SlotKey, SlotRow, SlotState, StepOutcome, StepRecord, TaskSpec, Trigger, UnitName};

/// Less than this after its time is in time, milliseconds: nobody starts a job within the minute's first second.
const PROMPT_MS: i64 = 60_000;

pub(super) fn run(
    name: &str,
    since_ms: Option<i64>,
    limit: usize,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<u8, Stop> {
    let place = context.place();
    let task = match super::named(name, &place) {
        Ok(task) => task,
        Err(error) => return gone(name, error, since_ms, limit, context, output),
    };
    let known = Known::look(context, &place)?;
    let seen = known.seen(task, context, &place);
    let history = slots(&task.name, since_ms, Some(limit), context, &place)?;
    if context.json {
        let from_ms = since_ms.unwrap_or(i64::MIN);
        let counts = context.sources.slot_counts(&place.paths.database(), from_ms)?.unwrap_or_default();
        let mut job = object(task, &seen, counts.get(&task.name), context);
        job["history"] = json!(history);
        writeln!(output.out, "{}", json!({ "schema": 1, "jobs": [job] }))?;
        return Ok(0);
    }
    let mut text = head(task, &seen, context);
    if history.is_empty() {
        let since = if since_ms.is_some() { " since then" } else { " yet" };
        text.push_str(&format!("\nno slot is on record{since}\n"));
    } else {
        text.push('\n');
        text.push_str(&table(&history, seen.clock(context.reader()), context));
    }
    let run = seen.stands.running.as_ref().or(history.iter().rfind(|row| row.trigger.is_some()));
    if let Some(run) = run.filter(|run| !run.steps.is_empty()) {
        text.push_str(&format!("\nsteps of the run of {} ({})\n", at(run.due_ms, task, context), run.slot));
        text.push_str(&steps(&run.steps, context));
    }
    output.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// A job that services.toml has no more and that has slots on record; `error` when nothing of that name has.
fn gone(
    name: &str,
    error: Error,
    since_ms: Option<i64>,
    limit: usize,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<u8, Stop> {
    let place = context.place();
    let Ok(name) = UnitName::new(name) else { return Err(error.into()) };
    if place.names().contains(&name) {
        return Err(error.into());
    }
    // Where that cannot be read, the name is unknown all the more.
    let history = slots(&name, since_ms, Some(limit), context, &place).unwrap_or_default();
    if history.is_empty() {
        return Err(error.into());
    }
    if context.json {
        let job = json!({ "name": name, "enabled": false, "declared": false, "next_ms": [], "history": history });
        writeln!(output.out, "{}", json!({ "schema": 1, "jobs": [job] }))?;
        return Ok(0);
    }
    let runs = history.iter().any(|row| row.state.is_none());
    let goes_on = if runs { "; its run goes on" } else { "" };
    writeln!(output.notes, "note: services.toml has no job {name} any more{goes_on}; this is what is on record of it")?;
    let clock = JobClock::of(None, context.reader());
    let mut text = table(&history, clock, context);
    if let Some(run) = history.iter().rfind(|row| !row.steps.is_empty()) {
        text.push_str(&format!("\nsteps of the run of {} ({})\n", clock.time(run.due_ms), run.slot));
        text.push_str(&steps(&run.steps, context));
    }
    output.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// What it is, how it stands, when it is due.
fn head(task: &TaskSpec, seen: &TaskSeen, context: &Context<'_>) -> String {
    let mut text = format!("{}\n", harmless(&words::why_task(task, seen, context.reader())));
    if seen.held_ms.is_some() {
        return text;
    }
    let titles = std::iter::once("\nnext").chain(std::iter::repeat(""));
    for (ms, title) in next(task, false, context).into_iter().zip(titles) {
        let ahead = words::lasting(ms - context.now_ms);
        let gap = if title.is_empty() { "      " } else { "  " };
        text.push_str(&format!("{title}{gap}{}  in {ahead}\n", at(ms, task, context)));
    }
    text
}

/// As the clock shows it by which the job goes.
fn at(ms: i64, task: &TaskSpec, context: &Context<'_>) -> String {
    let zone = context.zone_of(task);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(zone).strftime("%a %Y-%m-%d %H:%M %Z").to_string(),
        Err(_) => words::local(ms, &zone),
    }
}

fn table(history: &[SlotRow], clock: JobClock<'_>, context: &Context<'_>) -> String {
    let grid = Grid {
        header: &["DUE", "STATE", "BEGAN", "TOOK", "BY", "WHY"],
        right: &[],
        painted: (1, |word| SlotState::parse(word).map(style_of)),
    };
    let cells = |row: &SlotRow| {
        vec![
            clock.time(row.due_ms),
            row.state.map_or("under-way", SlotState::as_str).to_owned(),
            or_dash(row.started_ms.map(|started| began(row, started))),
            or_dash(took(row)),
            or_dash(row.trigger.map(|trigger| by(row, trigger).to_owned())),
            why(row, clock),
        ]
    };
    grid.render(&history.iter().map(cells).collect::<Vec<_>>(), context.width, context.color)
}

fn began(row: &SlotRow, started_ms: i64) -> String {
    match started_ms - row.due_ms {
        late if late < PROMPT_MS => "in time".into(),
        late => format!("{} late", words::lasting(late)),
    }
}

fn by(row: &SlotRow, trigger: Trigger) -> &'static str {
    match (trigger, row.slot) {
        (Trigger::Operator, _) | (_, SlotKey::Extra(_)) => "operator",
        (Trigger::Manager, _) => "manager",
        (Trigger::Daemon, _) => "daemon",
    }
}

fn why(row: &SlotRow, clock: JobClock<'_>) -> String {
    let when = |key: SlotKey| clock.time(key.at_ms());
    let mut parts: Vec<String> = Some(row.why.clone()).filter(|why| !why.is_empty()).into_iter().collect();
    // Its time does not tell which it is.
    parts.extend(matches!(row.slot, SlotKey::Extra(_)).then(|| format!("run {}", row.slot)));
    parts.extend(row.resumes.map(|run| format!("went on with the run of {}", when(run))));
    parts.extend(row.made_up_by.map(|run| format!("the run of {} stands for it", when(run))));
    parts.join("; ")
}

/// The steps of a run.
fn steps(steps: &[StepRecord], context: &Context<'_>) -> String {
    let grid = Grid {
        header: &["STEP", "OUTCOME", "TRIES", "TOOK", "WHAT"],
        right: &[0, 2],
        painted: (1, |word| {
            let outcome: Option<StepOutcome> = serde_json::from_value(word.into()).ok();
            outcome.map(|outcome| match outcome {
                StepOutcome::Ok => anstyle::AnsiColor::Green.on_default(),
                StepOutcome::Skipped => anstyle::Style::new().dimmed(),
                StepOutcome::Cancelled => anstyle::AnsiColor::Yellow.on_default(),
                _ => anstyle::AnsiColor::Red.on_default(),
            })
        }),
    };
    let rows: Vec<_> = steps.iter().map(step).collect();
    grid.render(&rows, context.width, context.color)
}

fn step(step: &StepRecord) -> Vec<String> {
    vec![
        step.step.to_string(),
        outcome(step),
        step.tries.to_string(),
        or_dash(length(step)),
        format!("{}{}", step.what, end(step)),
    ]
}

/// The same in one line: `pg_dump failed after 12s: exit code 1`.
pub(super) fn step_line(step: &StepRecord) -> String {
    let length = length(step).map(|length| format!(" after {length}")).unwrap_or_default();
    let tries = if step.tries > 1 { format!(" ({} tries)", step.tries) } else { String::new() };
    format!("{} {}{length}{}{tries}", step.what, outcome(step), end(step))
}

fn outcome(step: &StepRecord) -> String {
    let word = serde_json::to_value(step.outcome).ok();
    or_dash(word.and_then(|word| word.as_str().map(str::to_owned)))
}

fn length(step: &StepRecord) -> Option<String> {
    (step.tries > 0).then(|| words::exactly(i64::try_from(step.awake_ms).unwrap_or(i64::MAX)))
}

fn end(step: &StepRecord) -> String {
    match (&step.why, step.signal, step.code) {
        (Some(why), ..) => format!(": {why}"),
        (None, Some(signal), _) => format!(": {signal}"),
        (None, None, Some(code)) if code != 0 => format!(": {}", words::code_text(code)),
        _ => String::new(),
    }
}
