//! Metadata of the rows that a service's life leaves (CONTRACT, observability.sqlite).

use serde_json::{Map, Value, json};

use super::types::{Hold, Run};
use crate::model::{Exit, ExitClass, Moment, StopCause};

/// Everything known about the end of a run.
pub(super) struct End<'a> {
    pub(super) run: &'a Run,
    pub(super) exit: Exit,
    pub(super) class: ExitClass,
    pub(super) cause: Option<StopCause>,
    pub(super) killed: bool,
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn start(run: &Run) -> Map<String, Value> {
    map(json!({ "run_id": run.id, "pid": run.process.pid, "restart_attempt": run.attempt }))
}

pub(super) fn ready(run: &Run, at: Moment) -> Map<String, Value> {
    map(json!({
        "run_id": run.id,
        "pid": run.process.pid,
        "restart_attempt": run.attempt,
        "start_ms": millis(at.mono.since(run.started.mono)),
    }))
}

pub(super) fn end(end: &End<'_>, at: Moment) -> Map<String, Value> {
    let mut data = map(json!({
        "run_id": end.run.id,
        "class": end.class,
        "exit_code": end.exit.code(),
        "signal": end.exit.signal(),
        "restart_attempt": end.run.attempt,
        "uptime_ms": millis(at.mono.since(end.run.started.mono)),
        "started_ms": end.run.started.wall_ms,
        "pid": end.run.process.pid,
    }));
    if let Exit::Signal { core: true, .. } = end.exit {
        data.insert("core_dumped".into(), true.into());
    }
    if let Some(cause) = end.cause {
        data.insert("cause".into(), json!(cause));
    }
    if end.killed {
        data.insert("killed_after_timeout".into(), true.into());
    }
    if end.run.adopted {
        data.insert("adopted".into(), true.into());
    }
    data
}

pub(super) fn held(hold: &Hold, run_id: u64) -> Map<String, Value> {
    map(json!({ "run_id": run_id, "reason": hold.reason, "remedy": hold.remedy }))
}

pub(super) fn adopted(run: &Run) -> Map<String, Value> {
    map(json!({ "run_id": run.id, "pid": run.process.pid, "started_ms": run.started.wall_ms }))
}

pub(super) fn ordered(run_id: u64, by: &str) -> Map<String, Value> {
    map(json!({ "run_id": run_id, "by": by }))
}

/// A length of time as rows have it.
pub(super) fn millis(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
