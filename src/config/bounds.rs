//! Between what bounds a value may be. They are wide: what they keep out is a slip of the keyboard (`"10h"` for `"10s"`)
//! and values that would switch a duty off without saying so.

use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) type Bounds = RangeInclusive<Duration>;

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Zero switches back-off off; above an hour a service would seem dead.
pub(super) const THROTTLE: Bounds = secs(0)..=secs(HOUR);
pub(super) const BACKOFF_MAX: Bounds = secs(1)..=secs(DAY);
pub(super) const MIN_UPTIME: Bounds = secs(0)..=secs(DAY);
pub(super) const START_TIMEOUT: Bounds = ms(100)..=secs(DAY);
/// Zero would be SIGKILL at once: that is what `stop_signal = "KILL"` says.
pub(super) const STOP_TIMEOUT: Bounds = ms(100)..=secs(HOUR);
pub(super) const DRAIN_TIMEOUT: Bounds = ms(100)..=secs(DAY);

pub(super) const PROBE_INTERVAL: Bounds = ms(10)..=secs(DAY);
/// The product's promise: zero is refused and 120 s is the top.
pub(super) const PROBE_TIMEOUT: Bounds = ms(1)..=secs(120);
pub(super) const MEMORY_INTERVAL: Bounds = ms(100)..=secs(DAY);
pub(super) const RECYCLE: Bounds = secs(1)..=secs(366 * DAY);
/// Zero would be not to wait: that is what leaving `idle` and `quiet` out says.
pub(super) const MAX_WAIT: Bounds = secs(1)..=secs(31 * DAY);

pub(super) const SETTLE: Bounds = secs(0)..=secs(HOUR);
pub(super) const HANDLER_TIMEOUT: Bounds = ms(100)..=secs(DAY);
/// Below a second a scan would follow the last without a pause; above an hour the scan that is made in any case comes first.
pub(super) const POLL: Bounds = secs(1)..=secs(HOUR);

pub(super) const LOOK_INTERVAL: Bounds = ms(100)..=secs(DAY);
pub(super) const LOOK_TIMEOUT: Bounds = ms(100)..=secs(HOUR);
/// Zero would be a loop without a pause.
pub(super) const RETRY_DELAY: Bounds = ms(10)..=secs(HOUR);

pub(super) const STEP_TIMEOUT: Bounds = ms(100)..=secs(7 * DAY);
/// Doubled for each further try, and five minutes at most.
pub(super) const STEP_RETRY_DELAY: Bounds = secs(0)..=secs(300);
/// Zero would be to keep nothing.
pub(super) const KEPT_FOR: Bounds = secs(HOUR)..=secs(3660 * DAY);
pub(super) const CATCH_UP: Bounds = secs(60)..=secs(31 * DAY);
pub(super) const START_WITHIN: Bounds = secs(1)..=secs(7 * DAY);
pub(super) const MAX_RUNTIME: Bounds = ms(100)..=secs(7 * DAY);
pub(super) const MIN_RUNTIME: Bounds = secs(0)..=secs(7 * DAY);

pub(super) const CRASH_WINDOW: Bounds = secs(1)..=secs(31 * DAY);
/// Below a minute a reminder is a burst.
pub(super) const REMINDER: Bounds = secs(60)..=secs(30 * DAY);
pub(super) const RESOLVE_AFTER: Bounds = secs(60)..=secs(DAY);
pub(super) const EXPIRE_AFTER: Bounds = secs(HOUR)..=secs(60 * DAY);
pub(super) const DEADMAN_INTERVAL: Bounds = secs(10)..=secs(DAY);
pub(super) const SINK_TIMEOUT: Bounds = secs(1)..=secs(120);
