//! The process table: pids that are reused, groups, parents, zombies, signals, watches on processes that are nobody's child.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use supervisor::model::{Exit, Signal};
use supervisor::process::table::Entry;

/// Adopts and reaps what has no parent.
pub const INIT: i32 = 1;

/// So few that they are reused all the time.
const FIRST_PID: i32 = 100;
const PIDS: i32 = 60;

/// What a process does with a polite signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Manners {
    /// How long it takes to end, nanoseconds; `None`: it does not end.
    pub ends_within: Option<u64>,
    /// Whether it ends by `exit(0)` and not by the signal.
    pub exits: bool,
}

#[derive(Debug, Clone)]
pub struct Process {
    /// Never reused.
    pub uid: u64,
    pub pid: i32,
    pub ppid: i32,
    pub pgid: i32,
    pub start: u64,
    /// Service and run in its environment.
    pub mark: Option<(usize, u64)>,
    /// The start token in its environment: that of the first process of its run.
    pub mark_token: u64,
    pub manners: Manners,
    /// How it ended, until it is reaped.
    pub zombie: Option<Exit>,
    /// In uninterruptible sleep: a SIGKILL takes effect when it is over.
    pub stuck: bool,
    killed: bool,
    /// A signal is on its way.
    ending: bool,
}

/// What a signal leads to.
#[derive(Debug, PartialEq)]
pub enum Consequence {
    Nothing,
    /// It ends so, after so many nanoseconds.
    Ends(u64, Exit),
}

/// What a watch shows.
#[derive(Debug, PartialEq)]
pub enum Watched {
    NotYet,
    AwaitReap,
    Exited(Exit),
}

#[derive(Debug)]
pub struct Kernel {
    processes: BTreeMap<i32, Process>,
    cursor: i32,
    uids: u64,
    /// Start tokens of the last owners of pids: no kernel comes round within a tick.
    last: HashMap<i32, u64>,
    /// Who watches which process.
    watches: HashMap<u64, i32>,
    /// Watched processes that were reaped.
    reaped: HashMap<u64, Exit>,
    /// Whether the status of a process that is nobody's child can be had (Linux 6.15, macOS).
    tells_status: bool,
    /// Whether orphans come to the runner (Linux) or to init.
    subreaper: bool,
    /// Runners that have something to look at.
    pub wake: BTreeSet<i32>,
    runners: BTreeSet<i32>,
}

impl Kernel {
    pub fn new(tells_status: bool, subreaper: bool) -> Self {
        Self {
            processes: BTreeMap::new(),
            cursor: 0,
            uids: 0,
            last: HashMap::new(),
            watches: HashMap::new(),
            reaped: HashMap::new(),
            tells_status,
            subreaper,
            wake: BTreeSet::new(),
            runners: BTreeSet::new(),
        }
    }

    fn free_pid(&mut self, token: u64) -> i32 {
        for n in 1.. {
            let pid = FIRST_PID + if n <= PIDS { (self.cursor + n) % PIDS } else { n };
            let in_use = self.processes.contains_key(&pid) || self.processes.values().any(|p| p.pgid == pid);
            if !in_use && self.last.get(&pid) != Some(&token) {
                self.cursor = (pid - FIRST_PID) % PIDS;
                return pid;
            }
        }
        unreachable!("numbers do not end")
    }

    /// A new process; `pgid` `None` for the leader of its own group.
    pub fn spawn(
        &mut self,
        ppid: i32,
        pgid: Option<i32>,
        mark: Option<(usize, u64)>,
        token: u64,
        manners: Manners,
    ) -> i32 {
        let pid = self.free_pid(token);
        self.uids += 1;
        let heir = self.processes.get(&ppid).filter(|parent| mark.is_some() && parent.mark == mark);
        let mark_token = heir.map_or(token, |parent| parent.mark_token);
        let process = Process {
            uid: self.uids,
            pid,
            ppid,
            pgid: pgid.unwrap_or(pid),
            start: token,
            mark,
            mark_token,
            manners,
            zombie: None,
            stuck: false,
            killed: false,
            ending: false,
        };
        self.processes.insert(pid, process);
        pid
    }

    pub fn spawn_runner(&mut self, token: u64) -> i32 {
        let manners = Manners { ends_within: None, exits: true };
        let pid = self.spawn(INIT, None, None, token, manners);
        self.runners.insert(pid);
        pid
    }

    pub fn get(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    pub fn alive(&self) -> impl Iterator<Item = &Process> {
        self.processes.values().filter(|p| p.zombie.is_none())
    }

    pub fn set_manners(&mut self, pid: i32, manners: Manners) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.manners = manners;
        }
    }

    pub fn set_stuck(&mut self, pid: i32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.stuck = true;
        }
    }

    /// Whether it was killed meanwhile, and ends now.
    pub fn unstick(&mut self, pid: i32) -> bool {
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        std::mem::take(&mut process.stuck) && process.killed
    }

    /// It ends; whether it was alive. Its children go to the next reaper; init reaps its own at once.
    pub fn exit(&mut self, pid: i32, exit: Exit) -> bool {
        let Some(process) = self.processes.get_mut(&pid).filter(|p| p.zombie.is_none()) else { return false };
        process.zombie = Some(exit);
        let (uid, parent) = (process.uid, process.ppid);
        if let Some(watcher) = self.watches.get(&uid) {
            self.wake.insert(*watcher);
        }
        let was_runner = self.runners.remove(&pid);
        if was_runner {
            self.watches.retain(|_, watcher| *watcher != pid);
            self.wake.remove(&pid);
        }
        let heir = if self.subreaper && !was_runner && self.runners.contains(&parent) { parent } else { INIT };
        let children: Vec<i32> = self.processes.values().filter(|p| p.ppid == pid).map(|p| p.pid).collect();
        for child in children {
            if let Some(process) = self.processes.get_mut(&child) {
                process.ppid = heir;
                if process.zombie.is_some() {
                    self.orphaned_zombie(child, heir);
                }
            }
        }
        if self.runners.contains(&parent) {
            self.wake.insert(parent);
        } else {
            // Nobody else here leaves zombies about.
            self.reap(pid);
        }
        true
    }

    fn orphaned_zombie(&mut self, pid: i32, heir: i32) {
        if heir == INIT {
            self.reap(pid);
        } else {
            self.wake.insert(heir);
        }
    }

    /// The first dead child of `parent`.
    pub fn dead_child(&self, parent: i32) -> Option<(i32, Exit)> {
        self.processes.values().filter(|p| p.ppid == parent).find_map(|p| p.zombie.map(|exit| (p.pid, exit)))
    }

    pub fn reap(&mut self, pid: i32) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.last.insert(pid, process.start);
        if let Some(watcher) = self.watches.get(&process.uid) {
            let known = if self.tells_status { process.zombie } else { None };
            self.reaped.insert(process.uid, known.unwrap_or(Exit::Unknown));
            self.wake.insert(*watcher);
        }
    }

    /// Delivers a signal to one process.
    pub fn signal(&mut self, pid: i32, signal: Signal) -> Consequence {
        let Some(process) = self.processes.get_mut(&pid).filter(|p| p.zombie.is_none()) else {
            return Consequence::Nothing;
        };
        let by_signal = Exit::Signal { signal, core: false };
        if signal == Signal::KILL {
            process.killed = true;
            return if process.stuck { Consequence::Nothing } else { Consequence::Ends(0, by_signal) };
        }
        match process.manners.ends_within {
            Some(nanos) if !process.ending && !process.stuck => {
                process.ending = true;
                Consequence::Ends(nanos, if process.manners.exits { Exit::Code(0) } else { by_signal })
            }
            _ => Consequence::Nothing,
        }
    }

    pub fn group(&self, pgid: i32) -> Vec<i32> {
        self.alive().filter(|p| p.pgid == pgid).map(|p| p.pid).collect()
    }

    /// The process table as a runner reads it.
    pub fn table(&self) -> Vec<Entry> {
        let entry = |p: &Process| Entry {
            pid: p.pid,
            ppid: p.ppid,
            pgid: p.pgid,
            sid: p.pgid,
            start: p.start,
            zombie: p.zombie.is_some(),
        };
        self.processes.values().map(entry).collect()
    }

    /// Watches a process that is not a child; `None` when it is not there any more.
    pub fn watch(&mut self, pid: i32, start: u64, watcher: i32) -> Option<u64> {
        let process = self.processes.get(&pid).filter(|p| p.start == start)?;
        self.watches.insert(process.uid, watcher);
        if process.zombie.is_some() {
            self.wake.insert(watcher);
        }
        Some(process.uid)
    }

    pub fn poll_watch(&self, uid: u64) -> Watched {
        if let Some(exit) = self.reaped.get(&uid) {
            return Watched::Exited(*exit);
        }
        match self.processes.values().find(|p| p.uid == uid) {
            Some(process) if process.zombie.is_none() => Watched::NotYet,
            _ => Watched::AwaitReap,
        }
    }

    pub fn unwatch(&mut self, uid: u64) {
        self.watches.remove(&uid);
        self.reaped.remove(&uid);
    }

    /// Whether a living runner will learn how this process ends.
    pub fn is_seen(&self, process: &Process) -> bool {
        let watched = self.watches.get(&process.uid).is_some_and(|watcher| self.runners.contains(watcher));
        self.runners.contains(&process.ppid) || (watched && self.tells_status)
    }

    /// Everything is gone.
    pub fn power_loss(&mut self) {
        self.processes.clear();
        self.watches.clear();
        self.reaped.clear();
        self.last.clear();
        self.wake.clear();
        self.runners.clear();
    }
}
