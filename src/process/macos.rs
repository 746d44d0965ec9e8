//! The macOS half: libproc, sysctl, kqueue. `linux.rs` has the same names.

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use nix::time::ClockId;
use nix::unistd::{Pid, getpeereid, getsid};

use super::procargs;
use super::table::Entry;
use super::watch::Ended;
use crate::model::{Exit, Moment, Signal};

/// Stands still while the machine sleeps.
pub(super) const AWAKE_CLOCK: ClockId = ClockId::from_raw(libc::CLOCK_UPTIME_RAW);
/// Counts sleep (clock_gettime(3) on macOS: it is mach_continuous_time).
pub(super) const BOOT_CLOCK: ClockId = ClockId::from_raw(libc::CLOCK_MONOTONIC_RAW);
/// OPEN_MAX of sys/syslimits.h: setrlimit(2) refuses more where the hard limit says 'unlimited'.
pub(super) const MOST_DESCRIPTORS: u64 = 10_240;

/// The boot session's UUID, else the time of boot in seconds.
pub(super) fn boot_id() -> Option<String> {
    if let Some(text) = sysctl_by_name(c"kern.bootsessionuuid") {
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_end_matches('\0').trim();
        if !text.is_empty() {
            return Some(text.to_owned());
        }
    }
    let boot_time = sysctl_by_name(c"kern.boottime")?;
    let seconds = i64::from_ne_bytes(boot_time.get(..8)?.try_into().ok()?);
    Some(format!("boottime-{seconds}"))
}

/// What proc_pidinfo says.
pub(super) fn entry(pid: i32) -> Option<Entry> {
    let info = bsd_info(pid)?;
    Some(Entry {
        pid,
        ppid: i32::try_from(info.pbi_ppid).ok()?,
        pgid: i32::try_from(info.pbi_pgid).ok()?,
        sid: getsid(Some(Pid::from_raw(pid))).map_or(0, Pid::as_raw),
        start: started(&info),
        zombie: info.pbi_status == libc::SZOMB,
    })
}

/// The start token.
pub(super) fn started(info: &libc::proc_bsdinfo) -> u64 {
    info.pbi_start_tvsec.wrapping_mul(1_000_000).wrapping_add(info.pbi_start_tvusec)
}

/// Who a process is, also when it is a zombie.
#[expect(unsafe_code, reason = "the structure is made of integers and arrays of them")]
pub(super) fn bsd_info(pid: i32) -> Option<libc::proc_bsdinfo> {
    // An argument of 1 asks for zombies too (xnu, `proc_pidinfo`).
    // SAFETY: the structure is made of integers and arrays of them, so any bytes are a valid value.
    unsafe { pid_info(pid, libc::PROC_PIDTBSDINFO, 1) }
}

/// The structure that proc_pidinfo fills in for `flavor`; `None` when it does not fill in all of it.
///
/// # Safety
/// `T` is the structure of `flavor`, and any bytes are a valid value of it.
#[expect(unsafe_code, reason = "libproc has no wrapper in nix")]
pub(super) unsafe fn pid_info<T>(pid: i32, flavor: i32, argument: u64) -> Option<T> {
    if pid <= 0 {
        return None;
    }
    let mut info = std::mem::MaybeUninit::<T>::zeroed();
    let size = i32::try_from(size_of::<T>()).ok()?;
    // SAFETY: the buffer is as long as is said, and outlives the call.
    let got = unsafe { libc::proc_pidinfo(pid, flavor, argument, info.as_mut_ptr().cast(), size) };
    // SAFETY: it is zeroed or filled in, and by the contract any bytes are a valid value.
    (got == size).then(|| unsafe { info.assume_init() })
}

/// All pids.
#[expect(unsafe_code, reason = "libproc has no wrapper in nix")]
pub(super) fn pids() -> io::Result<Vec<i32>> {
    let mut pids = vec![0_i32; 4096];
    loop {
        let bytes = i32::try_from(size_of_val(pids.as_slice())).unwrap_or(i32::MAX);
        // SAFETY: the buffer is as long as is said, and outlives the call.
        let count = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast(), bytes) };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        // A full buffer may be one that was too short.
        if count < pids.len() {
            pids.truncate(count);
            return Ok(pids);
        }
        pids.resize(pids.len() * 2, 0);
    }
}

/// NUL-separated `KEY=value` entries of the environment that `pid` was started with.
pub(super) fn environment(pid: i32) -> Option<Vec<u8>> {
    procargs::environment(&sysctl(&mut [libc::CTL_KERN, libc::KERN_PROCARGS2, pid])?).map(<[u8]>::to_vec)
}

/// Not known: libproc does not tell which signals a process catches.
pub(super) fn takes(_pid: i32, _signal: Signal) -> Option<bool> {
    None
}

/// Nothing: `si_status` is zero here for children that a signal ended (xnu, `waitid`).
pub(super) fn exit_of_siginfo(_code: i32, _status: i32) -> Option<Exit> {
    None
}

/// The start token of a process that is started now: microseconds of wall time.
pub(super) fn token_at(now: Moment) -> u64 {
    u64::try_from(now.wall_ms).unwrap_or(0).saturating_mul(1000)
}

pub(super) fn between(earlier: u64, later: u64) -> Duration {
    Duration::from_micros(later.saturating_sub(earlier))
}

/// A kqueue that waits for one process.
#[derive(Debug)]
pub(super) struct ExitWatch {
    queue: Kqueue,
    with_status: bool,
    /// The event is delivered once; what it said is kept for who asks again.
    ended: Cell<Option<Exit>>,
}

impl ExitWatch {
    /// What a queue has delivered already is known to who had it only, so a new one is made: its event comes again for a
    /// process that has ended and is not reaped.
    pub(super) fn handed_over(_fd: OwnedFd) -> Option<Self> {
        None
    }

    pub(super) fn open(pid: i32) -> io::Result<Self> {
        let ident = usize::try_from(pid).map_err(|_| io::Error::from(Errno::ESRCH))?;
        let queue = Kqueue::new()?;
        fcntl(queue.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let add = |flags: FilterFlag| {
            let event =
                KEvent::new(ident, EventFilter::EVFILT_PROC, EvFlags::EV_ADD | EvFlags::EV_ONESHOT, flags, 0, 0);
            queue.kevent(&[event], &mut [], None)
        };
        // xnu, `filt_procattach`: the status is for the parent only, everybody else gets EACCES.
        let with_status = match add(FilterFlag::NOTE_EXIT | FilterFlag::NOTE_EXITSTATUS) {
            Ok(_) => true,
            Err(Errno::ESRCH) => return Err(Errno::ESRCH.into()),
            Err(_) => {
                add(FilterFlag::NOTE_EXIT)?;
                false
            }
        };
        Ok(Self { queue, with_status, ended: Cell::new(None) })
    }

    pub(super) fn poll_end(&self) -> Ended {
        if let Some(exit) = self.ended.get() {
            return Ended::Exited(exit);
        }
        let nothing = KEvent::new(0, EventFilter::EVFILT_PROC, EvFlags::empty(), FilterFlag::empty(), 0, 0);
        let mut events = [nothing];
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        if self.queue.kevent(&[], &mut events, Some(at_once)) != Ok(1) {
            return Ended::NotYet;
        }
        let exit = if self.with_status {
            i32::try_from(events[0].data()).map_or(Exit::Unknown, super::reap::exit_of_wait_status)
        } else {
            Exit::Unknown
        };
        self.ended.set(Some(exit));
        Ended::Exited(exit)
    }
}

impl AsFd for ExitWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// The user at the other end of a Unix socket.
pub(super) fn peer_uid(socket: BorrowedFd<'_>) -> Option<u32> {
    getpeereid(socket).ok().map(|(uid, _)| uid.as_raw())
}

/// Here bind with SO_REUSEADDR looks at unconnected sockets only (xnu, `in_pcbbind`), so what it refuses is in use.
pub(super) fn port_is_only_lingering(_port: u16) -> bool {
    false
}

/// There is no such thing here; orphans are found by their marks or by recorded ancestry.
pub(super) fn become_subreaper() -> bool {
    false
}

/// The value of a sysctl by its name.
#[expect(unsafe_code, reason = "sysctl has no wrapper in nix")]
pub(super) fn sysctl_by_name(name: &CStr) -> Option<Vec<u8>> {
    let mut buffer = vec![0_u8; 256];
    let mut length = buffer.len();
    // SAFETY: name is NUL-terminated, the buffer is as long as is said, and both outlive the call.
    let result =
        unsafe { libc::sysctlbyname(name.as_ptr(), buffer.as_mut_ptr().cast(), &mut length, std::ptr::null_mut(), 0) };
    if result != 0 {
        return None;
    }
    buffer.truncate(length);
    Some(buffer)
}

/// The value of a sysctl by its numbers. The buffer is as large as arguments and environment together can be (ARG_MAX, 1 MiB).
#[expect(unsafe_code, reason = "sysctl has no wrapper in nix")]
fn sysctl(mib: &mut [i32; 3]) -> Option<Vec<u8>> {
    let mut buffer = vec![0_u8; 1 << 20];
    let mut length = buffer.len();
    // SAFETY: three numbers are given as three, the buffer is as long as is said, and both outlive the call.
    let result =
        unsafe { libc::sysctl(mib.as_mut_ptr(), 3, buffer.as_mut_ptr().cast(), &mut length, std::ptr::null_mut(), 0) };
    if result != 0 {
        return None;
    }
    buffer.truncate(length);
    Some(buffer)
}

/// Whether the volume of `path` is one of this machine's own.
pub(super) fn is_local(path: &Path) -> Option<bool> {
    let volume = nix::sys::statfs::statfs(path).ok()?;
    Some(volume.flags().contains(nix::mount::MntFlags::MNT_LOCAL))
}

/// macOS has no leases, and to look through all descriptors of all processes for each file costs more than it tells.
pub(super) fn is_being_written(_file: &std::fs::File) -> Option<bool> {
    None
}
