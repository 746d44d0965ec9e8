//! What becomes of a slot: the one place that decides it, for whoever is about to start a run and for the daemon that accounts for
//! what nobody has started.

use crate::model::{SlotState, TaskSpec, Timing};

use super::Attendance;

/// What is known of a slot that nobody has taken. `_ms`: milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotFacts {
    /// When it was due.
    pub due_ms: i64,
    /// Now.
    pub now_ms: i64,
    /// Whether a later slot of the job is due already.
    pub superseded: bool,
    /// Who was there when it was due.
    pub attendance: Attendance,
    /// Whether another run of the job went on when it was due.
    pub busy_then: bool,
    /// Whether another run of the job goes on now.
    pub busy_now: bool,
    /// Whether a person holds the job back.
    pub held: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It is run.
    Run(Timing),
    /// It is run when the run under way has ended.
    Wait,
    /// The run under way is ended, and then it is run.
    Replace,
    /// It is not run any more: that is its end.
    Leave(SlotState),
}

/// Decides.
pub fn rule(task: &TaskSpec, facts: &SlotFacts) -> Ruling {
    let _ = task;
    if facts.superseded { Ruling::Leave(SlotState::MissedOff) } else { Ruling::Run(Timing::InTime) }
}
