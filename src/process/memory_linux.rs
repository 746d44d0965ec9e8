//! The Linux half: /proc. `memory_macos.rs` has the same names.

use std::fs::{self, File};
use std::io::Read;

use super::super::{sys, vitals};
use super::{Processes, Shown};
use crate::model::Metric;

pub(super) const METRIC: Metric = Metric::AnonSwap;

/// /proc, with the buffer that each file is read into.
pub(super) struct Kernel(Vec<u8>);

impl Kernel {
    pub(super) fn new() -> Self {
        // It is a third of this long, but for who is in many groups.
        Self(vec![0; 4096])
    }

    fn read(&mut self, path: &str) -> Option<&[u8]> {
        let mut file = File::open(path).ok()?;
        let mut length = 0;
        loop {
            match file.read(&mut self.0[length..]).ok()? {
                // The kernel gives all that there is room for.
                got if length + got < self.0.len() => return Some(&self.0[..length + got]),
                got => length += got,
            }
            // 65,536 groups are the most that one can be in.
            if length >= 1 << 20 {
                return None;
            }
            self.0.resize(self.0.len() * 2, 0);
        }
    }

    fn bytes(&mut self, pid: i32) -> Option<u64> {
        match super::anon_and_swap(self.read(&format!("/proc/{pid}/status"))?) {
            // A first thread that ended before the others has no memory any more; they show what is theirs together.
            Some(0) => Some(self.of_another_thread(pid)),
            bytes => bytes,
        }
    }

    fn of_another_thread(&mut self, pid: i32) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let others = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).filter(|id: &i32| *id != pid);
        let mut other = others.take(1).filter_map(|id| {
            let status = self.read(&format!("/proc/{pid}/task/{id}/status"))?;
            super::anon_and_swap(status)
        });
        other.next().unwrap_or(0)
    }
}

impl Processes for Kernel {
    fn show(&mut self, pid: i32) -> Option<Shown> {
        let bytes = self.bytes(pid);
        // Who it is comes last: a number is never taken for that of one who has had the pid later.
        let entry = sys::entry(pid).filter(|entry| !entry.zombie)?;
        Some(Shown { ppid: entry.ppid, start: entry.start, bytes })
    }

    fn children(&mut self, pid: i32) -> Vec<i32> {
        vitals::children(pid)
    }
}
