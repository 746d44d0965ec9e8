//! `alerts` alone: those that are open, the newest past ones, what waits or went wrong on its way, silences.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::Alerts;
use crate::cli::context::{AlertsSeen, AlertsWanted};
use crate::cli::table::{Grid, harmless};
use crate::cli::{Context, Output, Stop, since, style};
use crate::control::client::Daemon;
use crate::machine::words;
use crate::model::paths::Paths;
use crate::model::{Alert, AlertState, Breaker, OpenAlert, OutboxRow, RowState, Silence, SinkState};

/// So many past ones are shown when nobody says how many.
const FEW: usize = 10;

/// Fewest digits of an id that are shown.
const SHORT: usize = 6;

pub(super) fn run(args: &Alerts, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let since_ms = args.since.as_ref().map(|text| since::parse(text, context.now_ms, context.zone())).transpose()?;
    let past = if args.all || since_ms.is_some() { None } else { Some(FEW) };
    let seen = super::seen(&AlertsWanted::Listed { since_ms, past }, context, output)?;
    let is_there = seen.is_some();
    let mut seen = seen.unwrap_or_default();
    seen.alerts.sort_by_key(|alert| (!alert.is_open(), std::cmp::Reverse(alert.fired_ms)));
    let place = context.place();
    let untold = unrecorded(&place.paths, &seen.alerts);
    let declared = place.fleet().map(|fleet| fleet.alerts.sinks.iter().map(|sink| sink.name.clone()).collect());
    let sinks = sinks(&seen, declared.unwrap_or_default());
    if context.json {
        writeln!(output.out, "{}", object(&seen, &sinks))?;
        return Ok(0);
    }
    for alert in &untold {
        let title = harmless(&alert.title);
        writeln!(output.notes, "note: open, and not on record as the ledger cannot be written: {title}")?;
    }
    if seen.alerts.is_empty() && is_there && untold.is_empty() {
        writeln!(output.notes, "note: no alerts are on record{}", if since_ms.is_some() { " since then" } else { "" })?;
    } else if !seen.alerts.is_empty() {
        output.out.write_all(table(&seen.alerts, context).as_bytes())?;
    }
    let mut blocks = sinks.iter().filter_map(|sink| sink.trouble(context)).collect::<Vec<_>>();
    blocks.extend(seen.silences.iter().map(|silence| self::silence(silence, context)));
    if !(blocks.is_empty() || seen.alerts.is_empty()) {
        writeln!(output.out)?;
    }
    for line in blocks {
        writeln!(output.out, "{}", harmless(&line))?;
    }
    Ok(0)
}

/// What only the daemon knows of, while its ledger cannot be written. Who has no daemon to ask has nothing of it.
fn unrecorded(paths: &Paths, recorded: &[Alert]) -> Vec<OpenAlert> {
    let daemon = Daemon::connect_if_running(paths).ok().flatten();
    let report = daemon.and_then(|daemon| daemon.status().ok()).filter(|report| !report.ledger.ok);
    let mut open = report.map(|report| report.alerts).unwrap_or_default();
    open.retain(|alert| recorded.iter().all(|known| known.id != alert.id));
    open
}

fn table(alerts: &[Alert], context: &Context<'_>) -> String {
    let grid = Grid {
        header: &["ID", "SEVERITY", "SERVICE", "RULE", "SINCE", "COUNT", "STATE", "TITLE"],
        right: &[5],
        painted: (1, style::of_severity),
    };
    let digits = digits(alerts);
    let row = |alert: &Alert| {
        vec![
            alert.id.chars().take(digits).collect(),
            alert.severity.to_string(),
            alert.service.as_ref().map_or("-".into(), ToString::to_string),
            alert.rule.to_string(),
            words::local(alert.since_ms, context.zone()),
            alert.count.to_string(),
            state(alert),
            alert.title.clone(),
        ]
    };
    grid.render(&alerts.iter().map(row).collect::<Vec<_>>(), context.width, context.color)
}

/// How an alert stands, in a word or two.
pub(super) fn state(alert: &Alert) -> String {
    match (alert.state, &alert.quiet) {
        (AlertState::Resolved, _) => "over".into(),
        (AlertState::Acknowledged, _) => "acknowledged".into(),
        (AlertState::Open, Some(why)) => format!("quiet: {why}"),
        (AlertState::Open, None) => "open".into(),
    }
}

/// How many digits tell all of these apart.
fn digits(alerts: &[Alert]) -> usize {
    let mut ids: Vec<&str> = alerts.iter().map(|alert| alert.id.as_str()).collect();
    ids.sort_unstable();
    let alike = |pair: &[&str]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    ids.windows(2).map(|pair| alike(pair) + 1).max().unwrap_or(SHORT).max(SHORT)
}

/// What is known of one sink.
struct Seen {
    state: SinkState,
    pending: usize,
    refused: usize,
    expired: usize,
}

/// All sinks that are declared, or of which something is known.
fn sinks(seen: &AlertsSeen, declared: Vec<String>) -> Vec<Seen> {
    let mut states: BTreeMap<&str, &SinkState> = seen.sinks.iter().map(|state| (state.sink.as_str(), state)).collect();
    let mut names = declared;
    let of_rows = seen.rows.iter().map(|row| &row.sink).chain(seen.sinks.iter().map(|state| &state.sink));
    for name in of_rows {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let count = |name: &str, state| seen.rows.iter().filter(|row| row.sink == name && row.state == state).count();
    let one = |name: String| Seen {
        pending: count(&name, RowState::Pending),
        refused: count(&name, RowState::Refused),
        expired: count(&name, RowState::Expired),
        state: states
            .remove(name.as_str())
            .cloned()
            .unwrap_or_else(|| SinkState { sink: name.clone(), ..SinkState::default() }),
    };
    names.into_iter().map(one).collect()
}

impl Seen {
    /// What is wrong with it, or waits; `None` when all is well.
    fn trouble(&self, context: &Context<'_>) -> Option<String> {
        let state = &self.state;
        let when = |ms| words::local_seconds(ms, context.zone());
        let messages = |n: usize| if n == 1 { "1 message".to_owned() } else { format!("{n} messages") };
        let mut parts = Vec::new();
        if self.pending > 0 {
            parts.push(format!("{} to be sent", messages(self.pending)));
        }
        if self.refused > 0 {
            parts.push(format!("{} refused in the last week", messages(self.refused)));
        }
        if self.expired > 0 {
            parts.push(format!("{} given up in the last week", messages(self.expired)));
        }
        if state.failures > 0 {
            let tries = if state.failures == 1 { "the last try" } else { "the last tries" };
            let since = state.failing_since_ms.map(|ms| format!(" since {}", when(ms))).unwrap_or_default();
            parts.push(format!("{tries} failed ({} in a row{since})", state.failures));
        }
        match state.breaker {
            Breaker::Closed => {}
            Breaker::Open => parts.push("not tried for a while, as too much failed".into()),
            Breaker::HalfOpen => parts.push("tried with one message, to see".into()),
        }
        let next = state.not_before_ms.filter(|at| *at > context.now_ms);
        parts.extend(next.map(|at| format!("next try at {}", when(at))));
        parts.extend(state.note.clone());
        if parts.is_empty() {
            return None;
        }
        let error = state.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        Some(format!("sink {}: {}{error}", state.sink, parts.join(", ")))
    }

    fn object(&self) -> Value {
        let mut object = json!(self.state);
        if let Some(members) = object.as_object_mut() {
            members.extend(
                [("pending", self.pending), ("refused", self.refused), ("expired", self.expired)]
                    .map(|(key, count)| (key.to_owned(), json!(count))),
            );
        }
        object
    }
}

fn silence(silence: &Silence, context: &Context<'_>) -> String {
    let whom = silence.service.as_ref().map_or("all services".into(), ToString::to_string);
    let rule = silence.rule.map(|rule| format!(", only {rule}")).unwrap_or_default();
    let until = words::local(silence.until_ms, context.zone());
    let left = words::lasting(silence.until_ms - context.now_ms);
    format!("silence {}: {whom}{rule}, until {until} ({left} left)", silence.id)
}

/// An alert as it is printed in JSON: without what only the rules need.
pub(super) fn alert(alert: &Alert) -> Value {
    json!(Alert { memory: serde_json::Map::new(), ..alert.clone() })
}

fn object(seen: &AlertsSeen, sinks: &[Seen]) -> Value {
    let total = |of: fn(&Seen) -> usize| sinks.iter().map(of).sum::<usize>();
    json!({
        "schema": 1,
        "alerts": seen.alerts.iter().map(alert).collect::<Vec<_>>(),
        "sinks": sinks.iter().map(Seen::object).collect::<Vec<_>>(),
        "silences": seen.silences,
        "outbox": {
            "pending": total(|sink| sink.pending),
            "refused": total(|sink| sink.refused),
            "expired": total(|sink| sink.expired),
        },
    })
}

/// A row of the outbox in a few words: how far it has come.
pub(super) fn progress(row: &OutboxRow, context: &Context<'_>) -> String {
    let tries = if row.attempts == 1 { "1 try".to_owned() } else { format!("{} tries", row.attempts) };
    let at = row.settled_ms.map(|ms| format!(" at {}", words::local_seconds(ms, context.zone()))).unwrap_or_default();
    let error = row.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    match row.state {
        RowState::Delivered if row.digest.is_some() => format!("delivered in a digest{at}"),
        RowState::Delivered => format!("delivered{at}"),
        RowState::Pending if row.attempts == 0 => "to be sent".into(),
        RowState::Pending => format!("to be sent again, after {tries}{error}"),
        RowState::Refused => format!("refused{at}{error}"),
        RowState::Expired => format!("given up after {tries}{error}"),
        RowState::Dropped => "dropped: the sink is not declared any more".into(),
    }
}
