//! The Linux half: /proc. `vitals_macos.rs` has the same names.

use std::fs;
use std::time::Duration;

use super::super::{procstat, sys};
use super::{Seen, Thread};

/// Threads of one process whose children are looked for.
const MOST_THREADS: usize = 1024;

pub(super) fn seen(pid: i32) -> Option<Seen> {
    let stat = sys::stat(&format!("/proc/{pid}/stat"))?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    Some(Seen {
        pid,
        ppid: stat.ppid,
        state: stat.state(),
        cpu: ticks(stat.cpu),
        threads: stat.threads,
        resident: stat.resident_pages.saturating_mul(u64::try_from(page).unwrap_or(4096)),
        start: stat.start,
        name: stat.name,
    })
}

/// Each thread has the children that it has started. None where the kernel was built without CONFIG_PROC_CHILDREN.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let texts = tasks(pid).take(MOST_THREADS).map(|id| fs::read_to_string(format!("/proc/{pid}/task/{id}/children")));
    texts.flat_map(|text| procstat::pids(&text.unwrap_or_default()).collect::<Vec<_>>()).collect()
}

/// How long the first thread has run, and waited for a processor.
pub(super) fn first_thread(pid: i32) -> Option<(Duration, Duration)> {
    procstat::schedstat(&fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?)
}

pub(super) fn threads(pid: i32, most: usize) -> Vec<Thread> {
    let thread = |id: u64| {
        let stat = sys::stat(&format!("/proc/{pid}/task/{id}/stat"))?;
        let waits_in = wchan(&format!("/proc/{pid}/task/{id}/wchan"));
        Some(Thread { id, state: stat.state(), cpu: ticks(stat.cpu), waits_in, name: stat.name })
    };
    tasks(pid).filter_map(thread).take(most).collect()
}

pub(super) fn open_descriptors(pid: i32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

pub(super) fn waits_in(pid: i32) -> Option<String> {
    wchan(&format!("/proc/{pid}/wchan"))
}

fn tasks(pid: i32) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `0` is for who runs, and for who may not be looked at.
fn wchan(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().filter(|name| !matches!(name.as_str(), "" | "0"))
}

fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(sys::tick()))
}
