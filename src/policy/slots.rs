//! What becomes of a slot: the one place that decides it, for whoever is about to start a run and for the daemon that accounts for
//! what nobody has started.
//!
//! ```text
//! held                                                    cancelled
//! a later one is due   a run went on then (*)             skipped-overlap
//!                      the machine slept                  missed-asleep
//!                      otherwise                          missed-off
//! the latest           a run went on then (*),
//!                        overlap = "skip"                 skipped-overlap
//!                      since start_within or less         run in time
//!                      we were there                      run late
//!                      catch_up allows it                 run as caught up
//!                      otherwise                          as when a later one is due
//! ... and if it is to be run, but a run goes on now       it waits; with overlap = "replace" that one is ended
//!
//! (*) and the machine was awake, and, with overlap = "replace", we were there
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
    // A run goes on while the machine is awake, whether a daemon watches or not; but one that would have been replaced was in nobody's
    // way: it was the daemon that was missing.
    let overlapped = match facts.attendance {
        Attendance::There => facts.busy_then,
        Attendance::Unwatched => facts.busy_then && task.overlap != Overlap::Replace,
        Attendance::Asleep | Attendance::Off | Attendance::SetOver => false,
    };
    let left = if overlapped { SlotState::SkippedOverlap } else { missed(facts.attendance) };
    if facts.superseded || (overlapped && task.overlap == Overlap::Skip) {
        return Ruling::Leave(left);
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
            CatchUp::Within(_) | CatchUp::Skip => return Ruling::Leave(left),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn task(overlap: Overlap, catch_up: CatchUp) -> TaskSpec {
        TaskSpec { catch_up, overlap, ..TaskSpec::for_tests("job") }
    }

    fn overlaps() -> impl Strategy<Value = Overlap> {
        prop_oneof![Just(Overlap::Skip), Just(Overlap::Queue), Just(Overlap::Replace)]
    }

    fn catch_ups() -> impl Strategy<Value = CatchUp> {
        let within = any::<u64>().prop_map(|s| CatchUp::Within(Duration::from_secs(s)));
        prop_oneof![Just(CatchUp::Skip), Just(CatchUp::Once), within]
    }

    fn facts() -> impl Strategy<Value = SlotFacts> {
        use Attendance::{Asleep, Off, SetOver, There, Unwatched};
        let attendance = prop_oneof![Just(There), Just(Asleep), Just(Off), Just(Unwatched), Just(SetOver)];
        let ms = || prop_oneof![-20 * MINUTE..20 * MINUTE, any::<i64>()];
        (ms(), ms(), attendance, any::<[bool; 4]>()).prop_map(|(due_ms, now_ms, attendance, is)| SlotFacts {
            due_ms,
            now_ms,
            superseded: is[0],
            attendance,
            busy_then: is[1],
            busy_now: is[2],
            held: is[3],
        })
    }

    proptest! {
        #[test]
        fn whatever_is_known_the_table_says_one_thing(overlap in overlaps(), catch_up in catch_ups(), facts in facts()) {
            let task = task(overlap, catch_up);
            let ruling = rule(&task, &facts);
            let runs = matches!(ruling, Ruling::Run(_) | Ruling::Wait | Ruling::Replace);
            prop_assert!(!runs || (!facts.held && !facts.superseded), "{ruling:?}");
            prop_assert!(!matches!(ruling, Ruling::Run(_)) || !facts.busy_now, "never two at once: {ruling:?}");
            prop_assert!(ruling != Ruling::Replace || overlap == Overlap::Replace);
            prop_assert!(ruling != Ruling::Run(Timing::Late) || facts.attendance == Attendance::There);
            prop_assert!(ruling != Ruling::Run(Timing::CaughtUp) || facts.attendance != Attendance::There);
            if let Ruling::Leave(state) = ruling {
                use SlotState::{Cancelled, MissedAsleep, MissedOff, SkippedOverlap};
                prop_assert!([Cancelled, MissedAsleep, MissedOff, SkippedOverlap].contains(&state), "{state:?}");
                prop_assert_eq!(state == Cancelled, facts.held);
                prop_assert!(state != MissedAsleep || facts.attendance == Attendance::Asleep);
                prop_assert!(state != SkippedOverlap || facts.busy_then);
            }
            // What is left is left for good: neither time nor a later slot changes it, only what is learned of the time it was due.
            if let (Ruling::Leave(state), false) = (ruling, facts.superseded) {
                let later = SlotFacts { now_ms: facts.now_ms.saturating_add(86_400_000), superseded: true, ..facts };
                prop_assert_eq!(rule(&task, &later), Ruling::Leave(state));
            }
            prop_assert!(!facts.superseded || matches!(ruling, Ruling::Leave(_)));
        }
    }

    #[test]
    fn the_table_line_by_line() {
        use Attendance::{Asleep, Off, SetOver, There, Unwatched};
        let within = CatchUp::Within(Duration::from_secs(3600));
        let latest = |age: i64, attendance| SlotFacts {
            due_ms: 0,
            now_ms: age * MINUTE,
            superseded: false,
            attendance,
            busy_then: false,
            busy_now: false,
            held: false,
        };
        let asleep = Ruling::Leave(SlotState::MissedAsleep);
        let off = Ruling::Leave(SlotState::MissedOff);
        for (age, attendance, catch_up, ruling) in [
            (0, There, CatchUp::Skip, Ruling::Run(Timing::InTime)),
            (10, Asleep, CatchUp::Skip, Ruling::Run(Timing::InTime)),
            (11, There, CatchUp::Skip, Ruling::Run(Timing::Late)),
            (11, Asleep, CatchUp::Skip, asleep),
            (11, Off, CatchUp::Skip, off),
            (11, SetOver, CatchUp::Skip, off),
            (60, Unwatched, within, Ruling::Run(Timing::CaughtUp)),
            (61, Unwatched, within, off),
            (9999, Asleep, CatchUp::Once, Ruling::Run(Timing::CaughtUp)),
        ] {
            let facts = latest(age, attendance);
            assert_eq!(rule(&task(Overlap::Skip, catch_up), &facts), ruling, "{facts:?}");
            let superseded = SlotFacts { superseded: true, ..facts };
            let left = if attendance == Asleep { asleep } else { off };
            assert_eq!(rule(&task(Overlap::Skip, catch_up), &superseded), left, "{superseded:?}");
        }
        let busy = SlotFacts { busy_then: true, busy_now: true, ..latest(0, There) };
        for (overlap, ruling) in [
            (Overlap::Skip, Ruling::Leave(SlotState::SkippedOverlap)),
            (Overlap::Queue, Ruling::Wait),
            (Overlap::Replace, Ruling::Replace),
        ] {
            let task = task(overlap, CatchUp::Once);
            assert_eq!(rule(&task, &busy), ruling);
            let over = SlotFacts { busy_now: false, ..busy };
            let run = Ruling::Run(Timing::InTime);
            assert_eq!(rule(&task, &over), if overlap == Overlap::Skip { ruling } else { run });
            let frozen = SlotFacts { attendance: Asleep, ..busy };
            let waits = if overlap == Overlap::Replace { ruling } else { Ruling::Wait };
            assert_eq!(rule(&task, &frozen), waits, "who slept through it has not seen it");
            let unwatched = SlotFacts { attendance: Unwatched, superseded: true, ..busy };
            let overlapped = Ruling::Leave(SlotState::SkippedOverlap);
            let left = if overlap == Overlap::Replace { off } else { overlapped };
            assert_eq!(rule(&task, &unwatched), left, "it would have been replaced, had the daemon been there");
        }
    }
}
