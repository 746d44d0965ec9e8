//! What a run ended as, and why, in words.

use std::time::Duration;

use super::{Ended, TaskMachine};
use crate::machine::words::{exactly_time, lasting};
use crate::model::{Moment, SlotEnd, SlotState, Timing};

/// A machine that slept for less has held nobody up.
const WORTH_TELLING_MS: u64 = 1000;

impl TaskMachine {
    /// The end, now that no step is left.
    pub(super) fn end(&self, at: Moment) -> SlotEnd {
        let (awake, frozen_ms) = self.times(at);
        let state = match (&self.ended, &self.failed) {
            (Some(Ended::TooLong), _) => SlotState::TooLong,
            (Some(Ended::Stopped(_)), _) => SlotState::Cancelled,
            (None, Some(_)) => SlotState::Failed,
            (None, None) if awake < self.spec.min_runtime => SlotState::TooShort,
            (None, None) => match self.plan.timing {
                Timing::InTime => SlotState::Ran,
                Timing::Late => SlotState::Late,
                Timing::CaughtUp => SlotState::CaughtUp,
            },
        };
        let mut why: Vec<String> = Vec::new();
        why.extend(self.ended.as_ref().map(|_| self.why_ended()));
        why.extend(self.killed.clone());
        // What the end of the run itself has made fail is told by that.
        why.extend(self.failed.clone().filter(|_| state == SlotState::Failed));
        if state == SlotState::TooShort {
            let (took, least) = (exactly_time(awake), exactly_time(self.spec.min_runtime));
            why.push(format!("it took {took}, less than its min_runtime of {least}"));
        }
        why.extend(self.tolerated.iter().map(|words| format!("{words} (the job goes on without it)")));
        why.extend(self.why_then());
        if frozen_ms >= WORTH_TELLING_MS {
            let time = lasting(i64::try_from(frozen_ms).unwrap_or(i64::MAX));
            why.push(format!("frozen for {time} while the machine slept"));
        }
        SlotEnd {
            state,
            why: why.join("; "),
            ended_ms: at.wall_ms,
            awake_ms: u64::try_from(awake.as_millis()).unwrap_or(u64::MAX),
            frozen_ms,
        }
    }

    /// Why the whole run was ended by us.
    pub(super) fn why_ended(&self) -> String {
        match &self.ended {
            Some(Ended::Stopped(why)) => why.clone(),
            Some(Ended::TooLong) | None => {
                format!("the job did not end within its max_runtime of {}", exactly_time(self.spec.max_runtime))
            }
        }
    }

    /// Why it ran then and not at its time.
    fn why_then(&self) -> Option<String> {
        let late = lasting(self.began?.wall_ms - self.plan.slot.at_ms());
        match self.plan.timing {
            Timing::InTime => None,
            Timing::Late => Some(format!("begun {late} after it was due")),
            Timing::CaughtUp => Some(format!("made up for {late} after it was due")),
        }
    }

    /// How long it has run in awake time, and for how many milliseconds the machine slept meanwhile.
    fn times(&self, at: Moment) -> (Duration, u64) {
        let Some(began) = self.began else { return (Duration::ZERO, 0) };
        let awake = at.mono.since(began.mono);
        let all = Duration::from_nanos(at.boot_ns.saturating_sub(began.boot_ns));
        (awake, u64::try_from(all.saturating_sub(awake).as_millis()).unwrap_or(u64::MAX))
    }
}
