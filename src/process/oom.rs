//! What the system tells of its kills for lack of memory.
//!
//! Linux counts them for each control group (or, where there is none, for the machine), and its log names them, where that may be
//! read. A count means something only beside an earlier one, so one is taken now and then while there is work anyway. macOS tells a
//! parent how its child was ended, until that is reaped.

use crate::model::{KillEvidence, Moment, Mono};

#[cfg(target_os = "linux")]
#[path = "oom_linux.rs"]
mod half;
#[cfg(target_os = "macos")]
#[path = "oom_macos.rs"]
mod half;

/// Kills for lack of memory, as the parent of processes sees them.
#[derive(Debug, Default)]
pub struct Kills(half::Kills);

impl Kills {
    /// To be called now and then, best when nobody waits: remembers how many kills there were. Reads at most one small file, and
    /// mostly nothing.
    pub fn remember(&mut self, now: Mono) {
        self.0.remember(now);
    }

    /// To be called for a child that has ended and is not reaped yet.
    pub fn ended(&mut self, pid: i32) {
        self.0.ended(pid);
    }

    /// What is known about the end of `pid`, which was started then and for whose SIGKILL there is no other reason. Each kill that was
    /// counted is evidence once.
    pub fn evidence(&mut self, pid: i32, started: Moment) -> KillEvidence {
        self.0.evidence(pid, started)
    }
}

/// Counts of kills, of which the older one is known to be of before a kill that is found now.
#[cfg(any(target_os = "linux", test))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    older: Option<u64>,
    newer: Option<(Mono, u64)>,
}

#[cfg(any(target_os = "linux", test))]
impl Counts {
    /// Between two counts that are kept. A process may take some seconds to end once it is killed, and its kill must not be in the
    /// older count by then.
    const APART: std::time::Duration = std::time::Duration::from_secs(30);

    fn is_due(&self, now: Mono) -> bool {
        self.newer.is_none_or(|(at, _)| now.since(at) >= Self::APART)
    }

    fn remember(&mut self, now: Mono, count: u64) {
        self.older = self.newer.map(|(_, count)| count);
        self.newer = Some((now, count));
    }

    /// Whether there is a kill that no end has been explained with; it is used up.
    fn takes_one(&mut self, count: u64) -> bool {
        let Some(known) = self.older.or(self.newer.map(|(_, count)| count)) else { return false };
        if count <= known {
            return false;
        }
        let known = known + 1;
        self.older = Some(known);
        self.newer = self.newer.map(|(at, newer)| (at, newer.max(known)));
        true
    }
}

/// The line `oom_kill N` of memory.events, memory.oom_control or /proc/vmstat.
#[cfg(any(target_os = "linux", test))]
fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Where our control group's count may be, from /proc/self/cgroup, below `/sys/fs/cgroup`, the best first. Within a container paths
/// may be those of outside, and the top is ours then.
#[cfg(any(target_os = "linux", test))]
fn counters(cgroups: &str) -> Vec<String> {
    let mut places = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(kind), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let path = path.trim_end_matches('/');
        match kind {
            "" => {
                let tops = ["", "/unified"];
                places.extend(tops.iter().map(|top| format!("{top}{path}/memory.events")));
            }
            kind if kind.split(',').any(|kind| kind == "memory") => {
                places.push(format!("/memory{path}/memory.oom_control"));
                places.push("/memory/memory.oom_control".to_owned());
            }
            _ => {}
        }
    }
    places
}

/// Whether the kernel's log says that it killed `pid` for lack of memory after it was started, `seconds` after boot. The clock of the
/// log parts from ours by some seconds a day.
#[cfg(any(target_os = "linux", test))]
fn log_names(log: &str, pid: i32, seconds: u64) -> bool {
    const SLACK: u64 = 600;
    let words = format!("Killed process {pid} (");
    log.lines().filter(|line| line.contains("ut of memory") && line.contains(&words)).any(|line| {
        let stamp = line.split_once('[').and_then(|(_, rest)| rest.split_once('.')).map(|(whole, _)| whole.trim());
        // Without times in the log there is no telling, and a pid is seldom used again so soon.
        stamp.and_then(|whole| whole.parse::<u64>().ok()).is_none_or(|stamp| stamp + SLACK >= seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn a_count_that_rose_explains_one_end() {
        let mut counts = Counts::default();
        assert!(!counts.takes_one(5), "nothing to hold it against");
        assert!(counts.is_due(at(1)));
        counts.remember(at(1), 5);
        assert!(!counts.is_due(at(30)) && counts.is_due(at(31)));
        assert!(!counts.takes_one(5));
        assert!(counts.takes_one(7) && counts.takes_one(7) && !counts.takes_one(7), "two kills, two ends");
        assert!(!counts.takes_one(3), "a counter that was reset");
    }

    #[test]
    fn a_kill_that_was_counted_before_its_process_had_ended_is_found_and_an_old_one_is_not() {
        let mut counts = Counts::default();
        counts.remember(at(0), 5);
        counts.remember(at(40), 6);
        assert!(counts.takes_one(6), "it took a while to end");
        assert!(!counts.takes_one(6));
        counts.remember(at(80), 6);
        assert!(!counts.takes_one(6));
        // Somebody else's, long ago.
        counts.remember(at(120), 7);
        counts.remember(at(160), 7);
        assert!(!counts.takes_one(7));
    }

    #[test]
    fn counters_are_read_and_what_is_none_is_not() {
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 9\n"), Some(2));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(oom_kills("pgfault 1\noom_kill 0\ndrop_pagecache 0\n"), Some(0));
        for bad in ["", "oom_kill", "oom_kill x", "oom_kill -1", "oom_kill_disable 1", "oom_kill 99999999999999999999"]
        {
            assert_eq!(oom_kills(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_group_is_found_in_both_kinds_of_trees() {
        let v2 = counters("0::/user.slice/user-1000.slice/app.slice/supervisor.service\n");
        assert_eq!(v2[0], "/user.slice/user-1000.slice/app.slice/supervisor.service/memory.events");
        assert_eq!(counters("0::/\n")[0], "/memory.events");
        let v1 = counters("8:pids:/\n4:memory:/a:b\n1:cpu,cpuacct:/\n0::/\n");
        assert_eq!(v1[..2], ["/memory/a:b/memory.oom_control", "/memory/memory.oom_control"]);
        for bad in ["", "x", "4:memory", "4:memories:/a"] {
            assert_eq!(counters(bad), Vec::<String>::new(), "{bad}");
        }
    }

    #[test]
    fn the_log_names_who_was_killed() {
        let log = "<6>[  900.000001] node invoked oom-killer: gfp_mask=0xcc0, order=0\n\
            <3>[ 1000.123456] Out of memory: Killed process 4711 (node) total-vm:9kB, anon-rss:8kB\n\
            <3>[50000.123456] Memory cgroup out of memory: Killed process 99 (a) [b) total-vm:9kB\n";
        assert!(log_names(log, 4711, 990));
        assert!(log_names(log, 4711, 1500), "the clocks are not the same");
        assert!(!log_names(log, 4711, 2000), "that was another with this pid");
        assert!(log_names(log, 99, 40_000) && !log_names(log, 471, 0) && !log_names(log, 9, 0));
        assert!(log_names("<3>Out of memory: Killed process 7 (x) total", 7, 5000), "a log without times");
        assert!(!log_names("<3>[ 1.0] x: Killed process 7 (x)", 7, 0));
    }
}
