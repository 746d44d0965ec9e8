//! What an ended run has left behind is ended too (DESIGN section 4): members of its process group, descendants that were
//! seen when its stop began, and processes that carry its mark in their environment.
//!
//! One pass over the process table serves all runs that ended lately, and comes after their successors were spawned. Pid and
//! start time are checked before each signal.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::ProcessRef;
use crate::model::{Mono, Signal, Sweep, UnitName, paths::Paths};
use crate::process::signal;
use crate::process::table::{self, Entry};

/// From the end of a run to the first pass: deaths close together share it.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// Between two passes while something is left.
const NEXT_LOOK: Duration = Duration::from_millis(200);

/// From TERM to KILL for what was left behind.
const GRACE: Duration = Duration::from_secs(2);

/// What cannot be killed by then is in the kernel's hands (uninterruptible sleep) and is left to it.
const GIVE_UP: Duration = Duration::from_secs(30);

/// An ended run whose leftovers are looked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ended {
    service: UnitName,
    run_id: u64,
    leader: ProcessRef,
    reach: Sweep,
    descendants: Vec<ProcessRef>,
    since: Mono,
    told: HashSet<ProcessRef>,
}

/// All ended runs that are not yet known to have left nothing.
#[derive(Debug, Default)]
pub struct Sweeper {
    ended: Vec<Ended>,
    due: Option<Mono>,
}

/// A run that is to be swept.
#[derive(Debug)]
pub struct Job {
    /// Whose.
    pub service: UnitName,
    /// Its number.
    pub run_id: u64,
    /// Its main process.
    pub leader: ProcessRef,
    /// Whether what has left the group is looked for too.
    pub reach: Sweep,
    /// What was seen to descend from it.
    pub descendants: Vec<ProcessRef>,
}

impl Sweeper {
    /// From now on the leftovers of this run are looked for.
    pub fn add(&mut self, job: Job, now: Mono) {
        let Job { service, run_id, leader, reach, descendants } = job;
        self.ended.push(Ended { service, run_id, leader, reach, descendants, since: now, told: HashSet::new() });
        self.due.get_or_insert(now.plus(FIRST_LOOK));
    }

    /// What is looked for, for the program that this one becomes.
    pub(super) fn note(&self) -> Vec<Ended> {
        self.ended.clone()
    }

    /// Goes on where that was written.
    pub(super) fn resume(note: Vec<Ended>, now: Mono) -> Self {
        Self { due: (!note.is_empty()).then(|| now.plus(FIRST_LOOK)), ended: note }
    }

    /// When the next pass is wanted.
    pub fn due(&self) -> Option<Mono> {
        self.due
    }

    /// Whether nothing is looked for.
    pub fn is_done(&self) -> bool {
        self.ended.is_empty()
    }

    /// Whether leftovers of `service` are looked for.
    pub fn concerns(&self, service: &UnitName) -> bool {
        self.ended.iter().any(|ended| ended.service == *service)
    }

    /// One pass. Whether something ended its sweep.
    pub(super) fn pass(&mut self, paths: &Paths, now: Mono) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let before = self.ended.len();
        match table::scan() {
            Ok(entries) => {
                let marks = self.marks(&entries, paths);
                for (process, signal) in self.look(&entries, &marks, now) {
                    signal::process(process.pid, process.start, signal);
                }
            }
            // Without a process table nothing can be found; the group has had its signal when the leader ended.
            Err(_) => {
                self.ended.clear();
                self.due = None;
            }
        }
        self.ended.len() < before
    }

    /// Whom to send what after a look at the process table and at the marks (service and run) by pid.
    pub fn look(
        &mut self,
        entries: &[Entry],
        marks: &HashMap<i32, (String, u64)>,
        now: Mono,
    ) -> Vec<(ProcessRef, Signal)> {
        let mut told = Vec::new();
        self.ended.retain_mut(|ended| !ended.look(entries, marks, now, &mut told));
        self.due = (!self.ended.is_empty()).then(|| now.plus(NEXT_LOOK));
        told
    }

    /// Reads the mark of each process that may be a leftover: those that began after one of the ended leaders.
    fn marks(&self, entries: &[Entry], paths: &Paths) -> HashMap<i32, (String, u64)> {
        let trees = self.ended.iter().filter(|ended| ended.reach == Sweep::Tree);
        let Some(earliest) = trees.map(|ended| ended.leader.start).min() else { return HashMap::new() };
        let ours = paths.state_dir().to_string_lossy();
        let candidates = entries.iter().filter(|entry| entry.start >= earliest && !entry.zombie);
        candidates
            .filter_map(|entry| {
                let mark = table::marker(entry.pid)?;
                (mark.state_dir == ours).then_some((entry.pid, (mark.service, mark.run_id)))
            })
            .collect()
    }
}

impl Ended {
    /// Tells what is left to end; whether nothing is.
    fn look(
        &mut self,
        entries: &[Entry],
        marks: &HashMap<i32, (String, u64)>,
        now: Mono,
        told: &mut Vec<(ProcessRef, Signal)>,
    ) -> bool {
        let left = self.left(entries, marks);
        let age = now.since(self.since);
        for process in &left {
            let signal = if age >= GRACE { Signal::KILL } else { Signal::TERM };
            if signal == Signal::KILL || self.told.insert(*process) {
                told.push((*process, signal));
            }
        }
        left.is_empty() || age >= GIVE_UP
    }

    fn left(&self, entries: &[Entry], marks: &HashMap<i32, (String, u64)>) -> Vec<ProcessRef> {
        // While somebody else has the leader's old pid, the group of that number is theirs.
        let reused = entries.iter().any(|e| e.pid == self.leader.pid && e.start != self.leader.start);
        let as_ref = |entry: &Entry| ProcessRef { pid: entry.pid, start: entry.start };
        let in_group = |e: &Entry| e.pgid == self.leader.pid && !reused && e.start >= self.leader.start;
        let marked = |e: &Entry| {
            self.reach == Sweep::Tree
                && marks.get(&e.pid).is_some_and(|(name, run)| *name == *self.service.as_str() && *run == self.run_id)
        };
        let seen = |e: &Entry| self.reach == Sweep::Tree && self.descendants.contains(&as_ref(e));
        let mut left: Vec<ProcessRef> =
            entries.iter().filter(|e| !e.zombie && (in_group(e) || marked(e) || seen(e))).map(as_ref).collect();
        if self.reach == Sweep::Tree {
            for root in left.clone() {
                for entry in table::descendants(entries, root.pid) {
                    if !entry.zombie && !left.contains(&as_ref(&entry)) {
                        left.push(as_ref(&entry));
                    }
                }
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: i32, ppid: i32, pgid: i32, start: u64) -> Entry {
        Entry { pid, ppid, pgid, sid: pgid, start, zombie: false }
    }

    fn ended(reach: Sweep) -> Ended {
        Ended {
            service: UnitName::new("s").unwrap(),
            run_id: 3,
            leader: ProcessRef { pid: 100, start: 50 },
            reach,
            descendants: vec![ProcessRef { pid: 130, start: 53 }],
            since: Mono(0),
            told: HashSet::new(),
        }
    }

    fn pids(mut left: Vec<ProcessRef>) -> Vec<i32> {
        left.sort_by_key(|p| p.pid);
        left.iter().map(|p| p.pid).collect()
    }

    #[test]
    fn group_mark_and_ancestry_are_found_and_nobody_else() {
        let table = [
            entry(1, 0, 1, 1),
            entry(101, 1, 100, 51),   // left in the group
            entry(120, 1, 120, 52),   // its own session, with our mark
            entry(121, 120, 120, 53), // a child of that one, without any mark
            entry(130, 1, 130, 53),   // seen as a descendant
            entry(131, 1, 131, 54),   // the pid of one seen, but another process
            entry(140, 1, 140, 55),   // the next run of the same service
            entry(150, 1, 150, 56),   // a stranger
        ];
        let marks = HashMap::from([(120, ("s".to_string(), 3)), (140, ("s".into(), 4)), (150, ("t".into(), 3))]);
        assert_eq!(pids(ended(Sweep::Tree).left(&table, &marks)), [101, 120, 121, 130]);
        assert_eq!(pids(ended(Sweep::Group).left(&table, &marks)), [101]);
    }

    #[test]
    fn a_leader_that_lives_after_all_is_left_too() {
        let table = [entry(100, 1, 100, 50), entry(101, 100, 100, 51)];
        assert_eq!(pids(ended(Sweep::Tree).left(&table, &HashMap::new())), [100, 101]);
    }

    #[test]
    fn a_reused_pid_keeps_its_group() {
        let table = [entry(100, 1, 100, 90), entry(101, 100, 100, 91)];
        assert!(ended(Sweep::Tree).left(&table, &HashMap::new()).is_empty());
    }
}
