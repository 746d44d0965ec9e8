//! The macOS half: what the kernel keeps of a child that has ended. `oom_linux.rs` has the same names.

use super::super::sys;
use crate::model::{KillEvidence, Moment, Mono};

/// sys/proc_info_private.h (xnu): what a kqueue's NOTE_EXIT would tell, of a process that may be a zombie; its parent may ask.
const PROC_PIDNOTEEXIT: i32 = 21;

#[derive(Debug, Default)]
pub(super) struct Kills {
    /// The child that ended last, if the kernel killed it for lack of memory.
    jetsam: Option<i32>,
}

impl Kills {
    pub(super) fn remember(&mut self, _now: Mono) {}

    #[expect(unsafe_code, reason = "the structure is an integer")]
    pub(super) fn ended(&mut self, pid: i32) {
        // SAFETY: the structure of this flavor is a `uint32_t`.
        let told: Option<u32> = unsafe { sys::pid_info(pid, PROC_PIDNOTEEXIT, libc::NOTE_EXIT_DETAIL.into()) };
        self.jetsam = told.filter(|told| told & libc::NOTE_EXIT_MEMORY != 0).map(|_| pid);
    }

    pub(super) fn evidence(&mut self, pid: i32, _started: Moment) -> KillEvidence {
        if self.jetsam.take() == Some(pid) { KillEvidence::Jetsam } else { KillEvidence::Nothing }
    }
}
