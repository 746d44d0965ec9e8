//! A slot as it is told of: one row of the ledger, or the same from the slot's file.

use serde::{Deserialize, Serialize};

use super::{SlotKey, SlotState, StepRecord, Timing, Trigger, UnitName};

/// What became of a slot so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRow {
    /// Of which job.
    pub task: UnitName,
    /// Which one.
    pub slot: SlotKey,
    /// When it was due, or asked for: milliseconds since 1970 UTC.
    pub due_ms: i64,
    /// What it ended as; `None` while its run is under way.
    pub state: Option<SlotState>,
    /// Who asked for its run; `None` where there was none.
    pub trigger: Option<Trigger>,
    /// How its run stands to its time; `None` where there was none.
    pub timing: Option<Timing>,
    /// When its first step was started, milliseconds since 1970 UTC.
    pub started_ms: Option<i64>,
    /// When it ended, or was found to be missed: milliseconds since 1970 UTC.
    pub ended_ms: Option<i64>,
    /// How long its run took in awake time, milliseconds.
    pub awake_ms: Option<u64>,
    /// How long the machine slept meanwhile, milliseconds.
    pub frozen_ms: Option<u64>,
    /// Why, in words; empty when all is well.
    pub why: String,
    /// The run that stands for it, where it was missed.
    pub made_up_by: Option<SlotKey>,
    /// The run that it went on with.
    pub resumes: Option<SlotKey>,
    /// Steps that have ended.
    pub steps: Vec<StepRecord>,
    /// The process of its run.
    pub pid: Option<i32>,
}
