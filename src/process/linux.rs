//! The Linux half: /proc, pidfd, prctl. `macos.rs` has the same names.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use nix::time::ClockId;

use super::procstat::Stat;
use super::table::Entry;
use super::watch::Ended;
use crate::model::{Exit, Moment, Signal};

/// Stands still while the machine sleeps.
pub(super) const AWAKE_CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
/// Counts sleep.
pub(super) const BOOT_CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// No more descriptors than this are asked for; the kernel's own bound is `fs.nr_open`, about a million.
pub(super) const MOST_DESCRIPTORS: u64 = 65_536;

/// proc(5), /proc/sys/kernel/random/boot_id: a UUID made anew at each boot.
pub(super) fn boot_id() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// What /proc/PID/stat says.
pub(super) fn entry(pid: i32) -> Option<Entry> {
    let stat = stat(&format!("/proc/{pid}/stat"))?;
    let zombie = stat.is_zombie();
    Some(Entry { pid, ppid: stat.ppid, pgid: stat.pgid, sid: stat.sid, start: stat.start, zombie })
}

/// What the file at `path` says of a process or a thread.
pub(super) fn stat(path: &str) -> Option<Stat> {
    // Its size is said to be zero, so that std would read it in five pieces; it is a third of this long.
    let mut bytes = [0; 1024];
    let length = std::fs::File::open(path).ok()?.read(&mut bytes).ok()?;
    Stat::parse(&bytes[..length])
}

/// All pids.
pub(super) fn pids() -> io::Result<Vec<i32>> {
    Ok(std::fs::read_dir("/proc")?.filter_map(|item| item.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// NUL-separated `KEY=value` entries of the environment that `pid` was started with.
pub(super) fn environment(pid: i32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/environ")).ok()
}

/// Whether it catches the signal, or holds it back to read it: else the system ends it, or nothing comes of it.
pub(super) fn takes(pid: i32, signal: Signal) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bit = u32::try_from(signal.0).ok()?.checked_sub(1)?;
    let has = |key: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(u64::from_str_radix(mask.trim(), 16).ok()?.checked_shr(bit)? & 1 == 1)
    };
    Some(has("SigCgt:")? || has("SigBlk:")?)
}

/// `si_code` and `si_status` of a SIGCHLD siginfo.
pub(super) fn exit_of_siginfo(code: i32, status: i32) -> Option<Exit> {
    match code {
        libc::CLD_EXITED => Some(Exit::Code(status)),
        libc::CLD_KILLED => Some(Exit::Signal { signal: Signal(status), core: false }),
        libc::CLD_DUMPED => Some(Exit::Signal { signal: Signal(status), core: true }),
        _ => None,
    }
}

/// A clock tick in nanoseconds.
pub(super) fn tick() -> u64 {
    // sysconf cannot fail for a value that every kernel has; 100 is what all Linux systems of today say.
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    1_000_000_000 / u64::try_from(ticks).unwrap_or(100).max(1)
}

/// The start token of a process that is started now: it counts clock ticks since boot, sleep included.
pub(super) fn token_at(now: Moment) -> u64 {
    now.boot_ns / tick()
}

pub(super) fn between(earlier: u64, later: u64) -> Duration {
    Duration::from_nanos(later.saturating_sub(earlier).saturating_mul(tick()))
}

/// A pidfd.
#[derive(Debug)]
pub(super) struct ExitWatch(OwnedFd);

impl ExitWatch {
    #[expect(unsafe_code, reason = "pidfd_open has no wrapper in nix or std")]
    pub(super) fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor (close-on-exec is set), and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// A pidfd is the same after execve, and what the kernel keeps about its process stays.
    pub(super) fn handed_over(fd: OwnedFd) -> Option<Self> {
        Some(Self(fd))
    }

    pub(super) fn poll_end(&self) -> Ended {
        if !self.readable() {
            return Ended::NotYet;
        }
        match self.info() {
            Ok(info) if info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0 => {
                Ended::Exited(super::reap::exit_of_wait_status(info.exit_code))
            }
            Ok(_) => Ended::AwaitReap,
            // Before 6.13 there is no such request; before 6.15 it fails once the process has been reaped.
            Err(_) => Ended::Exited(Exit::Unknown),
        }
    }

    #[expect(unsafe_code, reason = "poll; nix has it under a feature that nothing else here needs")]
    fn readable(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one pollfd that outlives the call.
        unsafe { libc::poll(&mut poll, 1, 0) > 0 }
    }

    /// linux/pidfd.h: PIDFD_GET_INFO, `_IOWR(0xFF, 11, struct pidfd_info)`; the mask says what is asked for and, after
    /// it, what was filled in.
    #[expect(unsafe_code, reason = "an ioctl that has no wrapper")]
    fn info(&self) -> io::Result<libc::pidfd_info> {
        // SAFETY: the structure is made of integers only, so all zeros are a valid value.
        let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
        info.mask = u64::from(libc::PIDFD_INFO_EXIT);
        // SAFETY: the request number carries the size of exactly this structure, and the pointer outlives the call.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::PIDFD_GET_INFO, &mut info) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
    }
}

impl AsFd for ExitWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The user at the other end of a Unix socket.
pub(super) fn peer_uid(socket: BorrowedFd<'_>) -> Option<u32> {
    getsockopt(&socket, sockopt::PeerCredentials).ok().map(|peer| peer.uid())
}

/// Whether sockets of `port` are there that are more than remains of closed connections. /proc/net/tcp: the second
/// column ends in the local port, the fourth is the state, 06 is TIME_WAIT.
pub(super) fn port_is_only_lingering(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let suffix = format!(":{port:04X}");
    let mut states = tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace().skip(1);
            let local = columns.next()?;
            local.ends_with(&suffix).then(|| columns.nth(1)).flatten()
        })
        .peekable();
    states.peek().is_some() && states.all(|state| state == "06")
}

/// Orphaned grandchildren become our children instead of init's.
pub(super) fn become_subreaper() -> bool {
    nix::sys::prctl::set_child_subreaper(true).is_ok()
}

/// Volumes on which changes by other machines are not told (linux/magic.h, and what file systems in user space have).
const REMOTE: [i64; 10] = [
    0x6969,      // NFS
    0x517B,      // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x6573_5546, // FUSE: sshfs, s3fs, rclone
    0x0102_1997, // 9P
    0x5346_414F, // AFS
    0x7375_7245, // Coda
    0x00C3_6400, // Ceph
    0x564c,      // NCP
];

/// Whether the volume of `path` is one of this machine's own.
pub(super) fn is_local(path: &Path) -> Option<bool> {
    let kind = nix::sys::statfs::statfs(path).ok()?.filesystem_type().0;
    Some(!REMOTE.contains(&(kind & 0xFFFF_FFFF)))
}

/// By which signal the holder of a lease is told (fcntl.h).
const F_SETSIG: libc::c_int = 10;

/// Whether somebody has `file`, which is open for reading only, open for writing: a lease on it is refused then (fcntl(2), `F_SETLEASE`).
/// It is given back at once. Who opens the file in between would have us told by a signal: one that is ignored unless somebody asks for it.
#[expect(unsafe_code, reason = "leases have no wrapper in nix")]
pub(super) fn is_being_written(file: &std::fs::File) -> Option<bool> {
    let fd = file.as_raw_fd();
    // SAFETY: the descriptor is open for as long as the calls last, and each takes a number.
    let (told, taken) =
        unsafe { (libc::fcntl(fd, F_SETSIG, libc::SIGURG), libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK)) };
    if told != 0 {
        return None;
    }
    if taken != 0 {
        return (std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock).then_some(true);
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    Some(false)
}
