//! Stretches of time in which we did not run: the machine slept, or nobody let us.

use std::time::Duration;

use crate::model::{Moment, Mono};

/// The clock that counts sleep has run ahead of the other by more than this: the machine slept.
const SLEPT: Duration = Duration::from_secs(2);

/// We were woken this much too late: on machines whose awake clock runs on in a light sleep, in a stopped virtual machine, or when
/// somebody stopped us, no clock tells otherwise (systemd#20284).
pub const STALLED: Duration = Duration::from_secs(5);

/// How long after a gap, in awake time, no failure counts: what slept with us wakes in its own time.
pub const GRACE: Duration = Duration::from_secs(30);

/// A stretch of time in which we did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// How long the machine slept, as far as its clocks tell.
    pub slept: Duration,
    /// How much of it the awake clock has counted: our lateness.
    pub stalled: Duration,
}

impl Gap {
    /// All of it.
    pub fn length(self) -> Duration {
        self.slept.saturating_add(self.stalled)
    }
}

/// Whether there was a gap between `before`, when we began to wait for `due`, and now. Steps of the wall clock are none.
pub fn gap(before: Moment, due: Option<Mono>, now: Moment) -> Option<Gap> {
    let all = Duration::from_nanos(now.boot_ns.saturating_sub(before.boot_ns));
    let slept = all.saturating_sub(now.mono.since(before.mono));
    let stalled = due.map_or(Duration::ZERO, |due| now.mono.since(due.max(before.mono)));
    let slept = if slept > SLEPT { slept } else { Duration::ZERO };
    let stalled = if stalled > STALLED { stalled } else { Duration::ZERO };
    (!slept.is_zero() || !stalled.is_zero()).then_some(Gap { slept, stalled })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_s: u64, boot_s: u64) -> Moment {
        let nanos = 1_000_000_000;
        Moment { mono: Mono(mono_s * nanos), boot_ns: boot_s * nanos, wall_ms: 0 }
    }

    #[test]
    fn sleep_shows_in_the_clocks_and_a_stall_in_lateness() {
        let due = |s: u64| Some(Mono(s * 1_000_000_000));
        let seconds = Duration::from_secs;
        assert_eq!(gap(at(100, 500), due(110), at(110, 510)), None);
        assert_eq!(gap(at(100, 500), due(110), at(112, 514)), None, "neither is long enough");
        let slept = Gap { slept: seconds(3600), stalled: Duration::ZERO };
        assert_eq!(gap(at(100, 500), due(110), at(103, 4103)), Some(slept));
        let stalled = Gap { slept: Duration::ZERO, stalled: seconds(20) };
        assert_eq!(gap(at(100, 500), due(110), at(130, 530)), Some(stalled), "the awake clock ran on");
        assert_eq!(gap(at(100, 500), None, at(130, 530)), None, "nobody was waited for");
        let late = Gap { slept: Duration::ZERO, stalled: seconds(9) };
        assert_eq!(gap(at(100, 500), due(40), at(109, 509)), Some(late), "what was due before is late from then on");
    }

    #[test]
    fn a_step_of_the_wall_clock_is_no_gap() {
        let mut now = at(101, 501);
        now.wall_ms = 1_000_000_000;
        assert_eq!(gap(at(100, 500), Some(Mono(101_000_000_000)), now), None);
    }
}
