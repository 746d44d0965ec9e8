//! What a run that was killed has left running: its step's process group, and whatever carries its mark. It is ended before the job
//! is run again, so that no step ever runs twice at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use super::{LONGEST_LINE, TaskSlots};
use crate::model::{Signal, SlotKey, SlotLine};
use crate::process::identity::{self, State};
use crate::process::table::{self, Entry, Marker};
use crate::process::{clock, signal, wait};

/// How long SIGKILL may take. What is left then is in the kernel's hands.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// A process that is left, which cannot be mistaken for another one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Its pid.
    pub pid: i32,
    /// When it started, as the system counts it.
    pub token: u64,
}

/// SUPERVISOR_RUN_ID of the steps of a run: by it they are told from those of other runs.
pub fn run_mark(slot: SlotKey) -> u64 {
    u64::try_from(slot.at_ms()).unwrap_or(0)
}

impl TaskSlots {
    /// What lives of the run of `slot` now; nothing while the run itself lives, or when it was of an earlier boot.
    pub fn leftover(&self, slot: SlotKey) -> Vec<Left> {
        let dead = |run: &crate::model::SlotFile| !run.running && run.claim.boot_id == clock::boot_id();
        let Some(run) = self.read_one(slot).filter(dead) else { return Vec::new() };
        let leader = self.last_spawned(slot);
        let entries = table::scan().unwrap_or_default();
        // While somebody else has the leader's old pid, the group of that number is theirs.
        let reused = |leader: &Left| entries.iter().any(|e| e.pid == leader.pid && e.start != leader.token);
        let leader = leader.filter(|leader| !reused(leader));
        let is_ours = |mark: &Marker| {
            mark.state_dir == self.state_dir.to_string_lossy()
                && mark.service == *self.task.as_str()
                && mark.run_id == run_mark(slot)
        };
        let is_left = |entry: &&Entry| {
            if entry.zombie || entry.start < run.claim.start_token {
                return false;
            }
            let in_group = leader.is_some_and(|leader| entry.pgid == leader.pid && entry.start >= leader.token);
            // A mark says for sure; some systems do not show it.
            table::marker(entry.pid).map_or(in_group, |mark| is_ours(&mark))
        };
        entries.iter().filter(is_left).map(|entry| Left { pid: entry.pid, token: entry.start }).collect()
    }

    /// Ends what is left of the run of `slot`: `first`, and SIGKILL to what lives after `patience`. Blocks until nothing is left, for
    /// some seconds more at most. How many processes there were.
    pub fn end_leftover(&self, slot: SlotKey, first: Signal, patience: Duration) -> usize {
        let left = self.leftover(slot);
        let tell = |what: Signal| {
            for process in self.leftover(slot) {
                signal::process(process.pid, process.token, what);
                // A stopped process acts on no signal but SIGKILL until it is continued.
                signal::process(process.pid, process.token, Signal(libc::SIGCONT));
            }
        };
        // The process table is read again only when those that are known have gone: some may have come of them.
        let lives = |process: &Left| identity::state(process.pid) == State::Running(process.token);
        let is_gone = || (!left.iter().any(lives) && self.leftover(slot).is_empty()).then_some(());
        if !left.is_empty() {
            tell(first);
            if wait::until(patience, is_gone).is_none() {
                tell(Signal::KILL);
                let _ = wait::until(KILLED_WITHIN, is_gone);
            }
        }
        left.len()
    }

    /// The step that was started last.
    fn last_spawned(&self, slot: SlotKey) -> Option<Left> {
        let file = File::open(self.path(slot)).ok()?;
        let lines = BufReader::new(std::io::Read::take(file, 256 * LONGEST_LINE)).lines().map_while(Result::ok);
        let spawned = |line: String| match serde_json::from_str(&line).ok()? {
            SlotLine::Spawned { pid, token } => Some(Left { pid, token }),
            _ => None,
        };
        lines.filter_map(spawned).last()
    }
}
