//! `alerts preview`: what a sink would be sent, for an alert that is made up. Nothing is sent, and no secret is read.

use super::args::Preview;
use super::say::known_sink;
use crate::alert;
use crate::cli::{Context, Output, Stop};
use crate::config;
use crate::model::{
    Alert, AlertSpec, AlertState, Cause, Message, Notice, NoticeKind, Rule, Severity, SinkSpec, UnitName,
};

const MINUTE_MS: i64 = 60_000;

/// In the place of the machine's name.
const HOST: &str = "this-machine";

pub(super) fn run(args: &Preview, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let rule = args.rule.as_ref().map_or(Ok(Rule::CrashLoop), |text| super::rule(text))?;
    let place = context.place();
    if let Some(fault) = place.fault() {
        writeln!(output.notes, "note: {}; these are the sinks without it", fault.message)?;
    }
    let spec = place.fleet().map_or_else(AlertSpec::default, |fleet| fleet.alerts.clone());
    if let Some(sink) = &args.sink {
        known_sink(sink, spec.sinks.iter().map(|sink| sink.name.as_str()))?;
    }
    let service = place.fleet().and_then(|fleet| fleet.services.first()).map(|service| service.name.clone());
    let message = Message::One(Box::new(sample(rule, service, context.now_ms)));
    let wanted: Vec<&SinkSpec> =
        spec.sinks.iter().filter(|sink| args.sink.as_ref().is_none_or(|name| sink.name == *name)).collect();
    if context.json {
        let one =
            |sink: &&SinkSpec| serde_json::json!({ "sink": sink.name, "text": alert::preview(sink, &message, HOST) });
        let all = serde_json::json!({ "schema": 1, "previews": wanted.iter().map(one).collect::<Vec<_>>() });
        writeln!(output.out, "{all}")?;
        return Ok(0);
    }
    for (number, sink) in wanted.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        writeln!(output.out, "{gap}== {} ==", config::describe_sink(sink))?;
        writeln!(output.out, "{}", alert::preview(sink, &message, HOST).trim_end())?;
    }
    Ok(0)
}

/// An alert of this rule that nobody has.
fn sample(rule: Rule, service: Option<UnitName>, now_ms: i64) -> Notice {
    let service = service.filter(|_| !matches!(rule, Rule::Database | Rule::UncleanEnd | Rule::Weekly | Rule::Test));
    let name = service.as_ref().map_or("gateway", UnitName::as_str);
    let (severity, title) = title(rule, name);
    let crashes = matches!(rule, Rule::CrashLoop | Rule::Storm | Rule::SlowLoop);
    let lines = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
    let tail = [
        "Error: listen EADDRINUSE: address already in use 127.0.0.1:18789 <&>",
        "    at *Server*.setupListenHandle 🦞",
    ];
    let alert = Alert {
        id: "000000000000".into(),
        rule,
        service: service.clone(),
        cause: crashes.then_some(Cause::Crash),
        severity,
        state: AlertState::Open,
        since_ms: now_ms - 4 * MINUTE_MS,
        fired_ms: now_ms,
        last_ms: now_ms,
        count: if crashes { 3 } else { 1 },
        title,
        facts: lines(&["this is a preview: nothing of the kind has happened"]),
        tail: if crashes { lines(&tail) } else { Vec::new() },
        doing: if crashes { "It is started again in 40 s.".into() } else { String::new() },
        advice: if service.is_some() { vec![format!("supervisor logs {name} --stderr")] } else { Vec::new() },
        fingerprint: crashes.then(|| "00000000".into()),
        told: true,
        quiet: None,
        reminders: 0,
        remind_ms: None,
        acknowledged_ms: None,
        resolved_ms: None,
        outcome: String::new(),
        memory: serde_json::Map::new(),
    };
    let kind = if matches!(rule, Rule::Weekly | Rule::Test) { NoticeKind::Note } else { NoticeKind::Fired };
    Notice { key: "000000000000.0".into(), kind, at_ms: now_ms, alert, beyond: None }
}

fn title(rule: Rule, name: &str) -> (Severity, String) {
    use Severity::{Critical, Info, Warning};
    let (severity, rest) = match rule {
        Rule::CrashLoop => (Warning, "crashed 3 times in 5 minutes: exit code 1"),
        Rule::Storm => (Critical, "crashed 5 times in 10 minutes: exit code 1"),
        Rule::SlowLoop => (Warning, "crashed 4 times in 1 hour: exit code 1"),
        Rule::Hung => (Critical, "does not answer for 35 s"),
        Rule::Held => (Critical, "is held: exit code 78"),
        Rule::StartTimeout => (Warning, "did not come up in 5 minutes, 3 times"),
        Rule::MemoryGrowth => (Warning, "grows by 14 MB an hour"),
        Rule::MemoryLimit => (Warning, "was above its memory limit of 3 GiB"),
        Rule::ProbeMisconfigured => (Warning, "has a probe that asks the wrong question: 404"),
        Rule::TaskFailed => (Warning, "failed in step 1: exit code 2"),
        Rule::TaskMissed => (Warning, "did not run at 07:55"),
        Rule::TaskLate => (Warning, "ran 25 minutes late"),
        Rule::Drift => (Warning, "is not loaded as it is declared"),
        Rule::RestartFailed => (Critical, "was restarted and did not come up in its time"),
        Rule::Database => return (Critical, "the ledger cannot be written: disk full".into()),
        Rule::UncleanEnd => return (Warning, "the supervisor was gone for 3 hours".into()),
        Rule::Weekly => return (Info, "the week in one look".into()),
        Rule::Test => return (Info, "a test, nothing has happened".into()),
    };
    (severity, format!("{name} {rest}"))
}
