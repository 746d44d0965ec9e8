//! What was told and done, as it outlives runs and daemons.

use serde::{Deserialize, Serialize};

use crate::model::Growth;
use crate::policy::limit::Stage;

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
