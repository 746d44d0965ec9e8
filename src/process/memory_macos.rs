//! The macOS half: libproc. `memory_linux.rs` has the same names.

use super::super::{sys, vitals};
use super::{Processes, Shown};
use crate::model::Metric;

pub(super) const METRIC: Metric = Metric::Footprint;

/// libproc.
pub(super) struct Kernel;

impl Kernel {
    pub(super) fn new() -> Self {
        Self
    }
}

impl Processes for Kernel {
    fn show(&mut self, pid: i32) -> Option<Shown> {
        let bytes = footprint(pid);
        // Who it is comes last: a number is never taken for that of one who has had the pid later.
        let entry = sys::entry(pid).filter(|entry| !entry.zombie)?;
        Some(Shown { ppid: entry.ppid, start: entry.start, bytes })
    }

    fn children(&mut self, pid: i32) -> Vec<i32> {
        vitals::children(pid)
    }
}

/// Dirty and compressed pages, bytes: `ri_phys_footprint`, in the structure since its first version (libproc.h, sys/resource.h).
#[expect(unsafe_code, reason = "libproc has no wrapper in nix")]
fn footprint(pid: i32) -> Option<u64> {
    if pid <= 0 {
        return None;
    }
    let mut info = std::mem::MaybeUninit::<libc::rusage_info_v0>::zeroed();
    // SAFETY: the buffer is the structure of this flavor, and outlives the call.
    let result = unsafe { libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V0, info.as_mut_ptr().cast()) };
    // SAFETY: it is zeroed or filled in, and made of integers, so any bytes are a valid value.
    (result == 0).then(|| unsafe { info.assume_init() }.ri_phys_footprint)
}
