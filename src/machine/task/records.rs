//! What the journal is told of a run; also by who accounts for one that was cut off.

use serde_json::{Map, Value, json};

use crate::model::{Claim, SlotEnd, SlotKey, StepRecord};

/// `task_started`: its first step is started. `began_ms`: then, milliseconds since 1970 UTC.
pub fn started(claim: &Claim, began_ms: i64) -> Map<String, Value> {
    let late_ms = match claim.slot {
        SlotKey::Due(due_ms) => (began_ms - due_ms).max(0),
        SlotKey::Extra(_) => 0,
    };
    let mut data = heading(claim);
    data.extend([
        ("timing".to_owned(), json!(claim.timing)),
        ("pid".to_owned(), claim.pid.into()),
        ("late_ms".to_owned(), late_ms.into()),
        ("resumes".to_owned(), json!(claim.resumes)),
    ]);
    data
}

/// `task_finished`: it has ended. `stderr_tail` is what a step that failed said last, without secrets.
pub fn finished(claim: &Claim, steps: &[StepRecord], end: &SlotEnd, stderr_tail: Option<&str>) -> Map<String, Value> {
    let mut data = heading(claim);
    data.extend([
        ("result".to_owned(), json!(end.state)),
        ("why".to_owned(), end.why.as_str().into()),
        ("timing".to_owned(), json!(claim.timing)),
        ("awake_ms".to_owned(), end.awake_ms.into()),
        // The wall clock may have been set meanwhile.
        ("wall_ms".to_owned(), end.awake_ms.saturating_add(end.frozen_ms).into()),
        ("frozen_ms".to_owned(), end.frozen_ms.into()),
        ("steps".to_owned(), json!(steps)),
    ]);
    if let Some(tail) = stderr_tail {
        data.insert("stderr_tail".to_owned(), tail.into());
    }
    data
}

fn heading(claim: &Claim) -> Map<String, Value> {
    let data = json!({
        "slot": claim.slot,
        "due_ms": claim.slot.at_ms(),
        "extra": matches!(claim.slot, SlotKey::Extra(_)),
        "trigger": claim.trigger,
        "run_id": null,
    });
    data.as_object().cloned().unwrap_or_default()
}
