//! What the processes of a service use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use super::clock;
use crate::model::{MemorySample, ProcessMemory};

#[cfg(target_os = "linux")]
#[path = "memory_linux.rs"]
mod half;
#[cfg(target_os = "macos")]
#[path = "memory_macos.rs"]
mod half;

/// Processes that a sample lists; its sum has all.
const LISTED: usize = 64;

/// Above so many processes the tree is cut: first who is new is left out, so that the sum does not jump between looks.
const MOST_MEMBERS: usize = 16_384;

/// No process has more: a number above is none. 1 PiB.
#[cfg(any(target_os = "linux", test))]
const ABSURD: u64 = 1 << 50;

/// The tree of one service, over time: who was once seen in it belongs to it, also when its parent is gone.
#[derive(Debug, Default)]
pub struct Tree {
    root: Option<(i32, u64)>,
    /// Members by pid, with their start tokens.
    members: BTreeMap<i32, u64>,
}

/// What the kernel shows of one process.
#[derive(Debug, Clone, Copy)]
struct Shown {
    ppid: i32,
    start: u64,
    /// Of the metric; `None` where it cannot be had.
    bytes: Option<u64>,
}

/// Whom to ask about processes: the kernel; in tests a table.
trait Processes {
    /// `None` when there is no such process, or its zombie: that has neither memory nor children.
    fn show(&mut self, pid: i32) -> Option<Shown>;
    /// Whoever has it as its parent.
    fn children(&mut self, pid: i32) -> Vec<i32>;
}

impl Tree {
    /// A look at the tree whose main process is `root` with this start token; `None` when that is gone or its number cannot be
    /// had. Who vanishes meanwhile, and whose number is not shown, is left out; nothing is put in its place. Of a tree of more than
    /// 16,384 processes so many are counted. Blocking, about 15 microseconds a process and 3 for each of its further threads: not for
    /// the daemon's loop.
    pub fn look(&mut self, root: i32, start: u64) -> Option<MemorySample> {
        let at = clock::now();
        let (bytes, processes, count) = self.gather(root, start, &mut half::Kernel::new())?;
        Some(MemorySample { at, metric: half::METRIC, bytes, processes, count })
    }

    /// The sum, the list and the number of processes. The tree is walked from whoever is known to be in it: a pass over all
    /// processes of the machine would cost more on most machines, and the more the less of them are ours.
    fn gather(
        &mut self,
        root: i32,
        start: u64,
        processes: &mut impl Processes,
    ) -> Option<(u64, Vec<ProcessMemory>, u32)> {
        // Another life: who outlived the former one is no part of it.
        if self.root != Some((root, start)) {
            *self = Self { root: Some((root, start)), members: BTreeMap::new() };
        }
        let Some(main) = processes.show(root).filter(|main| main.start == start) else {
            self.members.clear();
            return None;
        };
        let mut met = HashSet::from([root]);
        let mut found = vec![(root, start, main.bytes)];
        for (&pid, &token) in &self.members {
            if let Some(shown) = processes.show(pid).filter(|shown| shown.start == token)
                && met.insert(pid)
            {
                found.push((pid, token, shown.bytes));
            }
        }
        let mut next = 0;
        'walk: while let Some((parent, ..)) = found.get(next).copied() {
            next += 1;
            for child in processes.children(parent) {
                if found.len() >= MOST_MEMBERS {
                    break 'walk;
                }
                // Whoever has another parent by now has the pid anew, or lost its own while we looked.
                if met.insert(child)
                    && let Some(shown) = processes.show(child).filter(|shown| shown.ppid == parent)
                {
                    found.push((child, shown.start, shown.bytes));
                }
            }
        }
        self.members = found[1..].iter().map(|(pid, token, _)| (*pid, *token)).collect();
        sum(&found)
    }
}

/// The sum, the list and the number of those that show their number; the first one is the main process.
fn sum(found: &[(i32, u64, Option<u64>)]) -> Option<(u64, Vec<ProcessMemory>, u32)> {
    found.first()?.2?;
    let shown = found.iter().filter_map(|(pid, start, bytes)| Some((*pid, *start, (*bytes)?)));
    let mut list: Vec<_> = shown.map(|(pid, start, bytes)| ProcessMemory { pid, start, bytes }).collect();
    let bytes = list.iter().fold(0_u64, |sum, one| sum.saturating_add(one.bytes));
    let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
    list[1..].sort_unstable_by_key(|one| (Reverse(one.bytes), one.pid));
    list.truncate(LISTED);
    Some((bytes, list, count))
}

/// RssAnon and VmSwap of /proc/PID/status, bytes. A thread of the kernel, and one that has ended, has no such lines and uses none; with one of the two there is no number: what it resembles is of another kind.
#[cfg(any(target_os = "linux", test))]
fn anon_and_swap(status: &[u8]) -> Option<u64> {
    let (mut anon, mut swap, mut any) = (None, None, false);
    for line in status.split(|byte| *byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"RssAnon:") {
            anon = kib(rest);
        } else if let Some(rest) = line.strip_prefix(b"VmSwap:") {
            swap = kib(rest);
        }
        any |= line.starts_with(b"Vm") || line.starts_with(b"Rss");
    }
    if !any {
        // What is cut before its end says nothing.
        return status.starts_with(b"Name:").then_some(0).filter(|_| status.ends_with(b"\n"));
    }
    anon?.checked_add(swap?).filter(|bytes| *bytes <= ABSURD)
}

/// `   12345 kB`, in bytes.
#[cfg(any(target_os = "linux", test))]
fn kib(text: &[u8]) -> Option<u64> {
    let number = text.trim_ascii().strip_suffix(b"kB")?.trim_ascii_end();
    // `parse` would take a sign.
    let number = number.first().is_some_and(u8::is_ascii_digit).then(|| std::str::from_utf8(number).ok())??;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
