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
        let Some(run) = self.read_one(slot).filter(|run| !run.running) else { return Vec::new() };
        if run.unreadable.is_none() && run.claim.boot_id != clock::boot_id() {
            return Vec::new();
        }
        // In which boot a run was that cannot be read is not known: what carries its mark is its all the same.
        let leader = if run.unreadable.is_none() { self.last_spawned(slot) } else { None };
        let entries = table::scan().unwrap_or_default();
        // While somebody else has the leader's old pid, the group of that number is theirs.
        let reused = |leader: &Left| entries.iter().any(|e| e.pid == leader.pid && e.start != leader.token);
        let leader = leader.filter(|leader| !reused(leader));
        let lives = |leader: &Left| entries.iter().any(|e| e.pid == leader.pid && e.start == leader.token);
        let leader = leader.map(|leader| (leader, lives(&leader)));
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let is_ours = |mark: &Marker| {
            mark.state_dir == self.state_dir.to_string_lossy()
                && mark.service == *self.task.as_str()
                && mark.run_id == run_mark(slot)
        };
        let is_left = |entry: &&Entry| {
            // One that a step has started to run the job anew carries its mark.
            if entry.zombie || entry.pid == me {
                return false;
            }
            // A mark says for sure; some systems do not show it. The times of starts are no more than a guess: where they are by the
            // wall clock, that may have been set back since. While the leader itself lives nobody else has its group.
            let in_group = leader
                .is_some_and(|(leader, lives)| entry.pgid == leader.pid && (lives || entry.start >= leader.token));
            table::marker(entry.pid).map_or(in_group, |mark| is_ours(&mark))
        };
        entries.iter().filter(is_left).map(|entry| Left { pid: entry.pid, token: entry.start }).collect()
    }

    /// Ends what is left of the run of `slot`: `first`, and SIGKILL to what lives after `patience`. Blocks until nothing is left, for
    /// some seconds more at most. How many processes there were.
    pub fn end_leftover(&self, slot: SlotKey, first: Signal, patience: Duration) -> usize {
        self.end_leftovers(&[slot], first, patience, || false).iter().map(|(_, count)| count).sum()
    }

    /// The same for several runs at once, in the same time all together; and not any longer than until `enough` says so, which is asked
    /// again and again meanwhile. How many processes there were of which run.
    pub fn end_leftovers(
        &self,
        slots: &[SlotKey],
        first: Signal,
        patience: Duration,
        mut enough: impl FnMut() -> bool,
    ) -> Vec<(SlotKey, usize)> {
        let left = slots.iter().map(|slot| (*slot, self.leftover(*slot)));
        let left: Vec<(SlotKey, Vec<Left>)> = left.filter(|(_, left)| !left.is_empty()).collect();
        let now = || left.iter().flat_map(|(slot, _)| self.leftover(*slot));
        let tell = |what: Signal| {
            for process in now() {
                signal::process(process.pid, process.token, what);
                // A stopped process acts on no signal but SIGKILL until it is continued.
                signal::process(process.pid, process.token, Signal(libc::SIGCONT));
            }
        };
        // The process table is read again only when those that are known have gone: some may have come of them.
        let lives = |process: &Left| identity::state(process.pid) == State::Running(process.token);
        let is_gone = || !left.iter().flat_map(|(_, left)| left).any(lives) && now().next().is_none();
        let mut is_over = || (enough() || is_gone()).then_some(());
        if !left.is_empty() {
            tell(first);
            if wait::until(patience, &mut is_over).is_none() {
                tell(Signal::KILL);
                let _ = wait::until(KILLED_WITHIN, &mut is_over);
            }
        }
        left.into_iter().map(|(slot, left)| (slot, left.len())).collect()
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
