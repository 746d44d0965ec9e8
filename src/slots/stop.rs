//! Ending a run with a reason: a signal has none, so it is written down before. Nor does a signal say how soon: `systemctl stop` sends it
//! to everybody of a group, scripts and daemons repeat it, and the step has its time all the same.

use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::TaskSlots;
use crate::model::{Signal, SlotKey};
use crate::process::{files, signal};

/// What is written down for a run that is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopNote {
    /// Which run.
    pub slot: SlotKey,
    /// Whose wish was first: "stopped by the operator", "replaced by a newer slot".
    pub why: String,
    /// A person wants it to end: `supervisor tasks stop`.
    #[serde(default)]
    pub by_person: bool,
    /// And not to wait for its step.
    #[serde(default)]
    pub at_once: bool,
}

impl TaskSlots {
    /// Asks the run of `slot` to end; `why` is what its record says then. Asked again, nothing changes. Whether there is such a run.
    ///
    /// # Errors
    /// When the reason cannot be written down; then nobody was asked.
    pub fn stop(&self, slot: SlotKey, why: &str) -> io::Result<bool> {
        self.ask(slot, why, |note| note)
    }

    /// The same for a person's own word about this run: said a second time, its step is killed at once.
    ///
    /// # Errors
    /// As `stop`.
    pub fn stop_by_person(&self, slot: SlotKey, why: &str) -> io::Result<bool> {
        self.ask(slot, why, |note| StopNote { at_once: note.by_person, by_person: true, ..note })
    }

    fn ask(&self, slot: SlotKey, why: &str, wish: impl FnOnce(StopNote) -> StopNote) -> io::Result<bool> {
        let Some(run) = self.read_one(slot).filter(|run| run.running) else { return Ok(false) };
        let first = || StopNote { slot, why: why.to_owned(), by_person: false, at_once: false };
        // What was wished before holds.
        let note = wish(self.stop_asked(slot).unwrap_or_else(first));
        files::write_atomic(&self.folder.join("stop"), &serde_json::to_vec(&note)?, false)?;
        Ok(signal::process(run.claim.pid, run.claim.start_token, Signal::TERM))
    }

    /// For the run of `slot`, which has got SIGTERM: what is wished of it, if somebody said so.
    pub fn stop_asked(&self, slot: SlotKey) -> Option<StopNote> {
        let note: StopNote = serde_json::from_slice(&fs::read(self.folder.join("stop")).ok()?).ok()?;
        (note.slot == slot).then_some(note)
    }
}
