//! `alerts preview`: what a sink would be sent, for an alert that is made up. Nothing is sent, and no secret is read.

use std::time::Duration;

use serde_json::json;

use super::args::Preview;
use super::say::known_sink;
use crate::alert;
use crate::cli::{Context, Output, Stop};
use crate::config;
use crate::machine::alerts::{AlertMachine, Declared, DeclaredUnit, Heard};
use crate::model::{
    AlertChange, AlertSpec, EventType, HeardAt, Message, Moment, Mono, Notice, NoticeKind, Record, Remembered, Rule,
    SinkSpec, SlotKey, UnitName,
};

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const MINUTE: Duration = Duration::from_secs(60);

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
    // Each rule has its story; that it is told is tested.
    let Some(notice) = sample(rule, service, context.now_ms) else { return Ok(0) };
    let message = Message::One(Box::new(notice));
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

/// What the rules would tell of a story that is made up for this one: their own words, of nothing that has happened.
fn sample(rule: Rule, service: Option<UnitName>, now_ms: i64) -> Option<Notice> {
    let name = service.unwrap_or(UnitName::new("gateway").ok()?);
    let unit = DeclaredUnit { start_timeout: 4 * MINUTE, has_ready: true, ..DeclaredUnit::default() };
    let declared = Declared { spec: AlertSpec::default(), units: [(name.clone(), unit)].into() };
    let mut machine = AlertMachine::new(declared, Remembered::default());
    let mut told: Vec<AlertChange> = Vec::new();
    let start = now_ms - 10 * MINUTE_MS;
    let at = |ms: i64| {
        let ns = u64::try_from(ms - start).unwrap_or(0) * 1_000_000;
        HeardAt { boot_id: "preview", at: Moment { mono: Mono(ns), boot_ns: ns, wall_ms: ms } }
    };
    for (seq, (after, event, data)) in (1..).zip(story(rule, start)) {
        let at = at(start + after * SECOND_MS);
        let serde_json::Value::Object(data) = data else { continue };
        let about = !matches!(event, EventType::SupervisorStart);
        let record = Record {
            v: Record::VERSION,
            boot_id: at.boot_id.into(),
            seq,
            wall_ms: at.at.wall_ms,
            boot_ns: at.at.boot_ns,
            mono: Some(at.at.mono),
            event,
            service: about.then(|| name.clone()),
            data,
        };
        told.extend(machine.step(at, Heard::Record("preview", &record)));
    }
    told.extend(match rule {
        Rule::Test => machine.step(at(now_ms), Heard::Test("preview")),
        Rule::Weekly => {
            let lines = vec![format!("{name} crashed 7 times, about once a day")];
            machine.step(at(now_ms), Heard::Weekly { key: "preview", lines })
        }
        Rule::Database => machine.step(at(now_ms), Heard::Database(Some((start, "the disk is full")))),
        _ => machine.step(at(now_ms), Heard::Tick),
    });
    let mut notices = told.into_iter().filter_map(|change| match change {
        AlertChange::Tell(notice) if notice.kind != NoticeKind::Resolved => Some(*notice),
        _ => None,
    });
    notices.rfind(|notice| notice.alert.rule == rule)
}

/// What has to happen for it: seconds, and what goes on record.
fn story(rule: Rule, start_ms: i64) -> Vec<(i64, EventType, serde_json::Value)> {
    const TAIL: &str =
        "Error: listen EADDRINUSE: address already in use 127.0.0.1:18789 <&>\n    at *Server*.listen 🦞";
    let end = |class: &str| json!({ "class": class, "run_id": 7, "exit_code": 1, "uptime_ms": 40_000, "restart_attempt": 2, "stderr_tail": TAIL });
    let ends = |class: &str, seconds: &[i64]| {
        seconds.iter().map(|at| (*at, EventType::ServiceCrash, end(class))).collect::<Vec<_>>()
    };
    let one = |event, data| vec![(60, event, data)];
    let slot = SlotKey::Due(start_ms - 30 * MINUTE_MS);
    match rule {
        Rule::CrashLoop => ends("crash", &[0, 90, 180]),
        // Three within five minutes would be a loop first.
        Rule::Storm => ends("crash", &[0, 0, 0, 0, 0]),
        Rule::SlowLoop => ends("crash", &[0, 1, 302, 303]),
        Rule::StartTimeout => ends("start_timeout", &[0, 90, 180]),
        Rule::Hung => one(
            EventType::ServiceHung,
            json!({ "run_id": 7, "reason": "not one byte came in 5 s", "failing_since_ms": start_ms + 25_000,
                "failed_probes": 4, "tolerated_ms": 35_000, "uptime_ms": 12 * MINUTE_MS, "restart_in_ms": 5 * MINUTE_MS,
                "unhelped": 3 }),
        ),
        Rule::Held => one(
            EventType::ServiceHeld,
            json!({ "run_id": 7, "reason": "exit code 78 (EX_CONFIG)", "remedy": "mend its configuration, and it is started at once" }),
        ),
        Rule::MemoryGrowth => one(
            EventType::MemoryGrowth,
            json!({ "run_id": 7, "bytes": 2_500_000_000_i64, "metric": "anon+swap", "severity": "critical", "limit": 3_i64 << 30,
                "since_ms": start_ms - 15 * 60 * MINUTE_MS, "verdict": "growing", "bytes_per_hour": 230_000_000, "low": 210_000_000,
                "high": 250_000_000, "grown": 3_450_000_000_i64, "hours": 15.0, "hours_left": 3.1, "test": "level" }),
        ),
        Rule::MemoryLimit => one(
            EventType::MemoryLimit,
            json!({ "run_id": 7, "stage": "over", "severity": "warning", "bytes": 3_300_000_000_i64, "metric": "anon+swap",
                "limit": 3_i64 << 30, "unhelped": 0, "restart_in_ms": 0, "idle": false, "quiet": true, "max_wait_ms": 24 * 60 * MINUTE_MS }),
        ),
        Rule::ProbeMisconfigured => {
            one(EventType::ProbeMisconfigured, json!({ "run_id": 7, "reason": "/healthz answered 404 instead of 200" }))
        }
        Rule::PartFailing => {
            one(EventType::ProbeDegraded, json!({ "run_id": 7, "part": "telegram", "reason": "not connected" }))
        }
        Rule::TaskFailed => one(
            EventType::TaskFinished,
            json!({ "run_id": null, "slot": slot, "result": "failed", "why": "step 2 (pg_dump): exit code 1", "awake_ms": 11_500,
                "wall_ms": 12_000, "frozen_ms": 0, "stderr_tail": TAIL, "steps": [{ "step": 2, "what": "pg_dump",
                "outcome": "failed", "tries": 3, "code": 1, "signal": null, "awake_ms": 11_000, "why": null }] }),
        ),
        Rule::TaskLate => one(
            EventType::TaskFinished,
            json!({ "run_id": null, "slot": slot, "result": "late", "why": "begun 30m after it was due", "awake_ms": 11_500,
                "wall_ms": 12_000, "frozen_ms": 0 }),
        ),
        Rule::TaskMissed => one(
            EventType::TaskMissed,
            json!({ "run_id": null, "slot": slot, "slots": [slot.at_ms()], "count": 1, "result": "missed-off",
                "why": "the machine was off", "made_up_by": null }),
        ),
        Rule::ExposureDown => one(
            EventType::ExposureFailed,
            json!({ "run_id": null, "tries": 5, "since_ms": start_ms, "held": false, "work": "ensure",
                "why": "ended with exit code 1", "stderr_tail": "tailscale: not logged in" }),
        ),
        Rule::Drift => one(
            EventType::DriftFound,
            json!({ "run_id": null, "label": "ai.openclaw.gateway", "repair": "by_hand", "what": "its file was changed by hand" }),
        ),
        Rule::UncleanEnd => {
            let (gap_ms, rebooted) = (180 * MINUTE_MS, false);
            let gap = json!({ "last_alive_ms": start_ms - gap_ms, "boot_ms": start_ms - 600 * MINUTE_MS, "up_ms": start_ms,
                "gap_ms": gap_ms, "rebooted": rebooted, "why": "the supervisor was killed or has crashed" });
            one(EventType::SupervisorStart, json!({ "run_id": null, "gap": gap }))
        }
        Rule::RestartFailed => vec![
            (0, EventType::ServiceRestart, json!({ "run_id": 7, "by": "operator" })),
            (
                1,
                EventType::ServiceExit,
                json!({ "class": "requested", "cause": "operator", "run_id": 7, "exit_code": 0 }),
            ),
            (1, EventType::ServiceStart, json!({ "run_id": 8, "pid": 4711, "restart_attempt": 0 })),
        ],
        Rule::Database | Rule::Weekly | Rule::Test => Vec::new(),
    }
}
