//! What was told and done, as it outlives runs and daemons.

use serde::{Deserialize, Serialize};

use crate::model::{Growth, Moment};
use crate::policy::limit::Stage;

/// So many sleeps of a life are remembered: of ten days with one each hour, which is as far back as a detector looks.
const SLEEPS: usize = 256;

/// Shorter ones do not matter to anybody who reads a date, milliseconds.
const SLEPT_MS: i64 = 60_000;

/// What was told and done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryKept {
    /// Growth that was told and has not ended.
    pub(super) growing: Option<Episode>,
    /// The same of the heap.
    pub(super) heap_growing: Option<Episode>,
    /// A heap snapshot was written for it.
    pub(super) has_snapshot: bool,
    /// What was said last of the limit.
    pub(super) level: Option<LevelTold>,
    /// The last restart above the limit.
    pub(super) restarted: Option<Restarted>,
    /// So many of these in a row did not help.
    pub(super) unhelped: u32,
    /// When it was last restarted for growth alone, milliseconds since 1970 UTC.
    pub(super) growth_restart_ms: Option<i64>,
    /// When the machine slept during this life, the oldest first: detectors count hours awake, and people do not.
    pub(super) slept: Vec<Slept>,
}

/// A sleep of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slept {
    /// It was over by then, milliseconds since 1970 UTC.
    until_ms: i64,
    /// How long it was, milliseconds.
    ms: i64,
}

impl Slept {
    /// Takes in that one sample came after the other; whether there was a sleep between them.
    pub(super) fn note(all: &mut Vec<Self>, before: Moment, at: Moment) -> bool {
        let passed_ns = at.boot_ns.saturating_sub(before.boot_ns);
        let awake_ns = at.mono.0.saturating_sub(before.mono.0);
        let ms = i64::try_from(passed_ns.saturating_sub(awake_ns) / 1_000_000).unwrap_or(i64::MAX);
        let has_slept = ms >= SLEPT_MS;
        if has_slept {
            if all.len() >= SLEEPS {
                all.remove(0);
            }
            all.push(Self { until_ms: at.wall_ms, ms });
        }
        has_slept
    }

    /// So many hours awake before, milliseconds since 1970 UTC.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "hours of a history have few milliseconds; what is absurd saturates"
    )]
    pub(super) fn awake_before(all: &[Self], ms: i64, hours: f64) -> i64 {
        let began = ms.saturating_sub((hours.max(0.0) * 3_600_000.0) as i64);
        let later =
            |began: i64, slept: &Self| if slept.until_ms > began { began.saturating_sub(slept.ms) } else { began };
        all.iter().rev().fold(began, later)
    }
}

/// Growth from when it was told to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Episode {
    /// Since when it grows, milliseconds since 1970 UTC.
    pub(super) since_ms: i64,
    /// As it was told last.
    pub(super) growth: Growth,
}

/// What was said of a run and the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LevelTold {
    pub(super) run_id: u64,
    pub(super) stage: Stage,
    /// Whether it was not said to be over yet.
    pub(super) is_open: bool,
    /// Since when, milliseconds since 1970 UTC.
    pub(super) since_ms: i64,
}

/// A restart above the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restarted {
    /// Of this run.
    pub(super) run_id: u64,
    /// When, milliseconds since 1970 UTC.
    pub(super) at_ms: i64,
    /// The run after it that showed whether it helped.
    pub(super) judged_by: Option<u64>,
}
