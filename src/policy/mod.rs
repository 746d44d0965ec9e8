//! Pure decisions, each a plain function or a small value of (state, time, input).
//!
//! Nothing here reads a clock, does IO, or knows of processes; it uses `model` only. That is what property tests and
//! simulations live on.

pub mod breaker;
pub mod calendar;
pub mod delivery;
pub mod gap;
pub mod limit;
mod oom;
mod periodic;
mod presence;
mod redact;
pub mod relapse;
mod restart;
mod slots;
mod slots_kept;
pub mod startup;
mod stop;
pub mod trend;
pub mod verdict;
mod week;
mod window;

pub use calendar::Calendar;
pub use oom::{may_be_kill, recognise_kill, recognise_oom};
pub use periodic::periodic;
pub use presence::{Absence, Attendance, Presence};
pub use redact::redact;
pub use restart::{Backoff, Next, STABLE_UPTIME, backed_off, classify, next_after};
pub use slots::{Ruling, SlotFacts, rule};
pub use slots_kept::{SLOTS_KEPT, is_day_of_clearing, is_outlived, slots_kept_from};
pub use stop::{KILL_AGAIN, StopPlan, stop_plan};
pub use week::weekly_slot;
pub use window::{Reading, Recent, Stamp};

use std::time::Duration;

/// How often a held service is tried again without anything having changed.
pub const HOLD_RETRY: Duration = Duration::from_secs(15 * 60);

/// A service that was held and has run for so long (awake time) is held no more.
pub const HOLD_OVER: Duration = Duration::from_secs(60);

/// The value that so many percent of a sorted list do not exceed; `None` of an empty one.
pub fn nearest_rank<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}
