//! What becomes of a slot: the one place that decides it, for whoever is about to start a run and for the daemon that accounts for
//! what nobody has started.
//!
//! ```text
//! held                                                    cancelled
//! a later one is due   a run went on then, we were there  skipped-overlap
//!                      the machine slept                  missed-asleep
//!                      otherwise                          missed-off
//! the latest           a run went on then, we were there,
//!                        overlap = "skip"                 skipped-overlap
//!                      since start_within or less         run in time
//!                      we were there                      run late
//!                      catch_up allows it                 run as caught up
//!                      otherwise                          missed-asleep, missed-off
//! ... and if it is to be run, but a run goes on now       it waits; with overlap = "replace" that one is ended
//! ```

use crate::model::{CatchUp, Overlap, SlotState, TaskSpec, Timing};

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
    if facts.held {
        return Ruling::Leave(SlotState::Cancelled);
    }
    // A run goes on while the machine is awake, whether a daemon watches or not.
    let awake = matches!(facts.attendance, Attendance::There | Attendance::Unwatched);
    if facts.busy_then && awake && (facts.superseded || task.overlap == Overlap::Skip) {
        return Ruling::Leave(SlotState::SkippedOverlap);
    }
    let missed = missed(facts.attendance);
    if facts.superseded {
        return Ruling::Leave(missed);
    }
    let age = u128::try_from(facts.now_ms.saturating_sub(facts.due_ms)).unwrap_or(0);
    let timing = if age <= task.start_within.as_millis() {
        Timing::InTime
    } else if facts.attendance == Attendance::There {
        Timing::Late
    } else {
        match task.catch_up {
            CatchUp::Within(most) if age <= most.as_millis() => Timing::CaughtUp,
            CatchUp::Once => Timing::CaughtUp,
            CatchUp::Within(_) | CatchUp::Skip => return Ruling::Leave(missed),
        }
    };
    match (facts.busy_now, task.overlap) {
        (false, _) => Ruling::Run(timing),
        (true, Overlap::Skip | Overlap::Queue) => Ruling::Wait,
        (true, Overlap::Replace) => Ruling::Replace,
    }
}

/// What a slot ends as that was due then and is not run.
fn missed(attendance: Attendance) -> SlotState {
    match attendance {
        Attendance::Asleep => SlotState::MissedAsleep,
        Attendance::There | Attendance::Off | Attendance::Unwatched | Attendance::SetOver => SlotState::MissedOff,
    }
}
