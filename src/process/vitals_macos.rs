//! The macOS half: libproc. `vitals_linux.rs` has the same names.

use std::sync::OnceLock;
use std::time::Duration;

use super::super::sys;
use super::{Seen, Thread};
use crate::model::ProcessState;

/// sys/proc_info.h: the process is traced.
const PROC_FLAG_TRACED: u32 = 2;

/// sys/proc_info.h: the handles of a process's threads.
const PROC_PIDLISTTHREADS: i32 = 6;

#[expect(unsafe_code, reason = "the structure is made of integers")]
pub(super) fn seen(pid: i32) -> Option<Seen> {
    let info = sys::bsd_info(pid)?;
    // SAFETY: the structure of this flavor, made of integers.
    let task: Option<libc::proc_taskinfo> = unsafe { sys::pid_info(pid, libc::PROC_PIDTASKINFO, 0) };
    let zombie = info.pbi_status == libc::SZOMB;
    // Of another user's process there is no more to be had, and no processor time is not the same as none that is known.
    if task.is_none() && !zombie {
        return None;
    }
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let state = match (info.pbi_status, &task) {
        (libc::SZOMB, _) => ProcessState::Zombie,
        (libc::SSTOP, _) if info.pbi_flags & PROC_FLAG_TRACED != 0 => ProcessState::Traced,
        (libc::SSTOP, _) => ProcessState::Stopped,
        // Here the status of all that live is `runnable`; their threads know more.
        (_, Some(task)) if task.pti_numrunning > 0 => ProcessState::Running,
        (_, Some(_)) => ProcessState::Sleeping,
        (_, None) => ProcessState::Unknown,
    };
    let name = text(&info.pbi_name);
    Some(Seen {
        pid,
        ppid: i32::try_from(info.pbi_ppid).ok()?,
        name: if name.is_empty() { text(&info.pbi_comm) } else { name },
        state,
        cpu: task
            .as_ref()
            .map_or(Duration::ZERO, |task| ticks(task.pti_total_user.saturating_add(task.pti_total_system))),
        threads: task.as_ref().map_or(0, |task| count(task.pti_threadnum)),
        resident: task.as_ref().map_or(0, |task| task.pti_resident_size),
        start: sys::started(&info),
    })
}

#[expect(unsafe_code, reason = "libproc has no wrapper in nix")]
pub(super) fn children(pid: i32) -> Vec<i32> {
    let mut pids = vec![0_i32; super::MOST_PROCESSES];
    loop {
        let bytes = i32::try_from(size_of_val(pids.as_slice())).unwrap_or(i32::MAX);
        // SAFETY: the buffer is as long as is said, and outlives the call.
        let count = unsafe { libc::proc_listchildpids(pid, pids.as_mut_ptr().cast(), bytes) };
        let count = usize::try_from(count).unwrap_or(0);
        // A full buffer may be one that was too short.
        if count < pids.len() {
            pids.truncate(count);
            return pids;
        }
        pids.resize(pids.len() * 4, 0);
    }
}

/// Nothing: what a thread waits for a processor is known of all threads of a process together only, and many that wait at the same
/// time would look like one that waits for long.
pub(super) fn first_thread(_pid: i32) -> Option<(Duration, Duration)> {
    None
}

#[expect(unsafe_code, reason = "the structure is made of integers")]
pub(super) fn threads(pid: i32, most: usize) -> Vec<Thread> {
    let thread = |id: u64| {
        // SAFETY: the structure of this flavor, made of integers.
        let info: libc::proc_threadinfo = unsafe { sys::pid_info(pid, libc::PROC_PIDTHREADINFO, id)? };
        let state = match info.pth_run_state {
            libc::TH_STATE_RUNNING => ProcessState::Running,
            libc::TH_STATE_STOPPED => ProcessState::Stopped,
            libc::TH_STATE_WAITING => ProcessState::Sleeping,
            libc::TH_STATE_UNINTERRUPTIBLE => ProcessState::Uninterruptible,
            _ => ProcessState::Unknown,
        };
        // Nanoseconds (xnu, `fill_taskthreadinfo`).
        let cpu = Duration::from_nanos(info.pth_user_time.saturating_add(info.pth_system_time));
        Some(Thread { id, name: text(&info.pth_name), state, cpu, waits_in: None })
    };
    handles(pid, most).into_iter().filter_map(thread).collect()
}

#[expect(unsafe_code, reason = "libproc has no wrapper in nix")]
fn handles(pid: i32, most: usize) -> Vec<u64> {
    let mut handles = vec![0_u64; most];
    let bytes = i32::try_from(size_of_val(handles.as_slice())).unwrap_or(i32::MAX);
    // SAFETY: the buffer is as long as is said, and outlives the call.
    let got = unsafe { libc::proc_pidinfo(pid, PROC_PIDLISTTHREADS, 0, handles.as_mut_ptr().cast(), bytes) };
    handles.truncate(usize::try_from(got).unwrap_or(0) / size_of::<u64>());
    handles
}

#[expect(unsafe_code, reason = "libproc has no wrapper in nix")]
pub(super) fn open_descriptors(pid: i32) -> Option<usize> {
    // A table that is full may have been too short.
    let mut table = vec![libc::proc_fdinfo { proc_fd: 0, proc_fdtype: 0 }; 1024];
    loop {
        let bytes = i32::try_from(size_of_val(table.as_slice())).ok()?;
        // SAFETY: the buffer is as long as is said, and outlives the call.
        let got = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, table.as_mut_ptr().cast(), bytes) };
        let count = usize::try_from(got).ok().filter(|got| *got > 0)? / size_of::<libc::proc_fdinfo>();
        if count < table.len() {
            return Some(count);
        }
        table.resize(table.len() * 2, libc::proc_fdinfo { proc_fd: 0, proc_fdtype: 0 });
    }
}

/// Nothing: here `sample` tells where threads wait.
pub(super) fn waits_in(_pid: i32) -> Option<String> {
    None
}

/// Ticks of mach_absolute_time: nanoseconds on Intel's processors, and 125/3 of them on Apple's.
fn ticks(count: u64) -> Duration {
    static UNIT: OnceLock<(u64, u64)> = OnceLock::new();
    let (numerator, denominator) = *UNIT.get_or_init(timebase);
    let nanoseconds = u128::from(count) * u128::from(numerator) / u128::from(denominator);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[expect(unsafe_code, reason = "there is no wrapper in nix")]
#[expect(deprecated, reason = "libc points to another crate for it, which has nothing else that we need")]
fn timebase() -> (u64, u64) {
    let mut info = libc::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: the pointer is to one such structure that outlives the call.
    let result = unsafe { libc::mach_timebase_info(&mut info) };
    if result != 0 || info.numer == 0 || info.denom == 0 { (1, 1) } else { (info.numer.into(), info.denom.into()) }
}

/// The text before the first NUL.
fn text(characters: &[libc::c_char]) -> String {
    let bytes: Vec<u8> = characters.iter().take_while(|c| **c != 0).map(|c| c.to_ne_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
