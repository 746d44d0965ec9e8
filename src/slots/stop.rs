//! Ending a run with a reason: a signal has none, so it is written down before.

use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::TaskSlots;
use crate::model::{Signal, SlotKey};
use crate::process::{files, signal};

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
struct StopNote {
    slot: SlotKey,
    why: String,
}

impl TaskSlots {
    /// Asks the run of `slot` to end; `why` is what its record says then: "stopped by the operator", "replaced by the run of ...". Asked
    /// a second time, its step is killed at once. Whether there is such a run.
    ///
    /// # Errors
    /// When the reason cannot be written down; then nobody was asked.
    pub fn stop(&self, slot: SlotKey, why: &str) -> io::Result<bool> {
        let Some(run) = self.read_one(slot).filter(|run| run.running) else { return Ok(false) };
        let note = StopNote { slot, why: why.to_owned() };
        files::write_atomic(&self.folder.join("stop"), &serde_json::to_vec(&note)?, false)?;
        Ok(signal::process(run.claim.pid, run.claim.start_token, Signal::TERM))
    }

    /// For the run of `slot`, which has got SIGTERM: why, if somebody said so.
    pub fn stop_asked(&self, slot: SlotKey) -> Option<String> {
        let note: StopNote = serde_json::from_slice(&fs::read(self.folder.join("stop")).ok()?).ok()?;
        (note.slot == slot).then_some(note.why)
    }
}
