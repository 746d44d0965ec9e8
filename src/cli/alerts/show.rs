//! `alerts show`: everything about one alert.

use serde_json::{Value, json};

use super::args::One;
use super::list;
use crate::cli::context::{AlertsSeen, AlertsWanted};
use crate::cli::table::harmless;
use crate::cli::{Context, Output, Stop};
use crate::machine::words;
use crate::model::{Alert, OutboxRow};

pub(super) fn run(args: &One, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let id = super::id(&args.id)?;
    let AlertsSeen { alerts, rows, .. } =
        super::seen(&AlertsWanted::One(id.clone()), context, output)?.unwrap_or_default();
    let alert = super::one(&id, alerts)?;
    let rows: Vec<OutboxRow> = rows.into_iter().filter(|row| row.notice.alert.id == alert.id).collect();
    if context.json {
        let object = json!({
            "schema": 1,
            "alert": list::alert(&alert),
            "outbox": rows.iter().map(object).collect::<Vec<_>>(),
        });
        writeln!(output.out, "{object}")?;
        return Ok(0);
    }
    for line in lines(&alert, &rows, context) {
        writeln!(output.out, "{}", harmless(&line).trim_end())?;
    }
    Ok(0)
}

/// A row of the outbox without the alert, which stands beside it.
fn object(row: &OutboxRow) -> Value {
    json!({
        "sink": row.sink,
        "key": row.notice.key,
        "kind": row.notice.kind,
        "at_ms": row.notice.at_ms,
        "state": row.state,
        "attempts": row.attempts,
        "expires_ms": row.expires_ms,
        "settled_ms": row.settled_ms,
        "error": row.error,
        "digest": row.digest,
    })
}

fn lines(alert: &Alert, rows: &[OutboxRow], context: &Context<'_>) -> Vec<String> {
    let when = |ms| words::local_seconds(ms, context.zone());
    let ago = |ms| format!("{} ({} ago)", when(ms), words::lasting(context.now_ms - ms));
    let whom = alert.service.as_ref().map_or("the supervisor".into(), ToString::to_string);
    let mut lines = vec![alert.title.clone()];
    let mut pair = |title: &str, text: String| lines.push(format!("  {title:<11}{text}"));
    pair("id", alert.id.clone());
    pair("about", format!("{whom}, {} ({})", alert.rule, alert.severity));
    pair("state", list::state(alert));
    pair("since", ago(alert.since_ms));
    pair("fired", ago(alert.fired_ms));
    if alert.count > 1 {
        pair("count", format!("{} times, the last one {}", alert.count, ago(alert.last_ms)));
    }
    if let Some(kind) = &alert.fingerprint {
        pair("kind", format!("{kind} (the same for the same complaint)"));
    }
    if let Some(at) = alert.acknowledged_ms {
        pair("known", ago(at));
    }
    if let Some(at) = alert.resolved_ms {
        let outcome = if alert.outcome.is_empty() { String::new() } else { format!(": {}", alert.outcome) };
        pair("over", format!("{}{outcome}", ago(at)));
    }
    if let Some(at) = alert.remind_ms.filter(|_| alert.is_open()) {
        pair("reminder", format!("{} so far, the next at {}", alert.reminders, when(at)));
    }
    let mut block = |title: &str, texts: Vec<String>| {
        if !texts.is_empty() {
            lines.push(title.to_owned());
            lines.extend(texts.into_iter().map(|text| format!("  {text}")));
        }
    };
    block("what is known", alert.facts.clone());
    block("the last lines of its stderr", alert.tail.iter().map(|line| format!("| {line}")).collect());
    block(
        "what the supervisor does",
        Some(alert.doing.clone()).filter(|doing| !doing.is_empty()).into_iter().collect(),
    );
    block("what you could do", alert.advice.clone());
    let told = |row: &OutboxRow| {
        let (kind, at) = (row.notice.kind.as_str(), when(row.notice.at_ms));
        format!("{at} {kind} through {}: {}", row.sink, list::progress(row, context))
    };
    block("who was told", rows.iter().map(told).collect());
    if rows.is_empty() {
        lines.push("nobody was told through a sink".into());
    }
    lines
}
