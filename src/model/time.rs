//! Points in time, as arguments: nothing in the pure layers reads a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds on the clock that stands still while the machine sleeps (CLOCK_MONOTONIC on Linux, CLOCK_UPTIME_RAW on
/// macOS). It is the same for all processes of one boot, so it may be written down beside the boot id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(pub u64);

impl Mono {
    /// The point `d` later (the end of time when that is beyond it).
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// One reading of all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moment {
    /// Awake time: for durations, throttle, windows.
    pub mono: Mono,
    /// Nanoseconds since boot with sleep counted (CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW on macOS): for the journal's order.
    pub boot_ns: u64,
    /// Milliseconds since 1970 UTC: for records and people only.
    pub wall_ms: i64,
}

/// The only randomness decisions get: a number in [0, 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fraction(f64);

impl Fraction {
    /// Takes `value` into [0, 1); what is not a number counts as 0.
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0 - f64::EPSILON) })
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}
