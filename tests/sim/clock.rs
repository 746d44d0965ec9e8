//! The machine's clocks. Stories are told in awake time, which never stands still for them: `now` goes on over reboots.

use std::time::Duration;

use supervisor::model::{Moment, Mono};

pub const SECOND: u64 = 1_000_000_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;

/// Milliseconds since 1970 when stories begin.
const EPOCH_MS: i64 = 1_760_000_000_000;

/// Resolution of the kernel's start times (Linux: a hundredth of a second).
pub const TICK: u64 = SECOND / 100;

#[derive(Debug)]
pub struct Clock {
    /// Nanoseconds that the machine was awake, since the story's beginning.
    pub now: u64,
    booted: u64,
    boots: u32,
    slept: u64,
    /// What the wall clock has that `now` does not: sleep, time off, steps; milliseconds.
    wall_extra_ms: i64,
}

impl Clock {
    pub fn new() -> Self {
        // Something is always up for a while before the first runner.
        Self { now: 100 * SECOND, booted: 0, boots: 1, slept: 0, wall_extra_ms: 0 }
    }

    pub fn moment(&self) -> Moment {
        let awake = self.now - self.booted;
        let wall_ms = EPOCH_MS + i64::try_from(self.now / 1_000_000).unwrap_or(i64::MAX / 4) + self.wall_extra_ms;
        Moment { mono: Mono(awake), boot_ns: awake + self.slept, wall_ms }
    }

    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// The start token of a process that is started now.
    pub fn token(&self) -> u64 {
        self.moment().boot_ns / TICK
    }

    /// The time between two tokens.
    pub fn between(&self, earlier: u64, later: u64) -> Duration {
        Duration::from_nanos(later.saturating_sub(earlier) * TICK)
    }

    /// When a process with this token was started, as `process::identity::age` tells it.
    pub fn began(&self, token: u64) -> Moment {
        let now = self.moment();
        let age = now.boot_ns.saturating_sub(token * TICK);
        Moment {
            mono: Mono(now.mono.0.saturating_sub(age)),
            boot_ns: now.boot_ns - age,
            wall_ms: now.wall_ms - i64::try_from(age / 1_000_000).unwrap_or(0),
        }
    }

    /// The awake time at which this boot's clock shows `due`.
    pub fn at(&self, due: Mono) -> u64 {
        self.booted.saturating_add(due.0)
    }

    pub fn sleep(&mut self, nanos: u64) {
        self.slept += nanos;
        self.step_wall(i64::try_from(nanos / 1_000_000).unwrap_or(0));
    }

    pub fn step_wall(&mut self, ms: i64) {
        self.wall_extra_ms += ms;
    }

    /// The machine was off for `nanos`, and is on again.
    pub fn reboot(&mut self, nanos: u64) {
        self.step_wall(i64::try_from(nanos / 1_000_000).unwrap_or(0));
        self.booted = self.now.saturating_sub(5 * SECOND);
        self.boots += 1;
        self.slept = 0;
    }
}
