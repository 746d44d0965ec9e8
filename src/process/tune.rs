//! Settings of our own process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::sys;

/// What children are to find; `None` while our limit has not been raised.
static CHILDREN: Mutex<Option<Children>> = Mutex::new(None);

#[derive(Debug)]
struct Children {
    /// Their soft limit of descriptors.
    soft: u64,
    /// Three low descriptors kept for the moment of a spawn.
    low: Vec<File>,
}

/// Orphaned descendants become our children rather than init's, so that we see and reap them. Linux only; `false` where
/// it is not so.
pub fn become_subreaper() -> bool {
    sys::become_subreaper()
}

/// Leaves the terminal's session, so that its end does not reach us; `false` when we lead a process group already (as
/// under launchd and systemd, where there is no terminal either).
pub fn own_session() -> bool {
    nix::unistd::setsid().is_ok()
}

/// Raises our soft limit of open descriptors as far as is useful, and returns the one before. Children get that one
/// back (see [`super::spawn::spawn`]): programs that close all descriptors up to the limit, or use select(2), rely on
/// it. To be called early, while low descriptors are free, and by programs that spawn from one thread.
pub fn raise_descriptor_limit() -> Option<u64> {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(children) = children.as_ref() {
        return Some(children.soft);
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = hard.min(sys::MOST_DESCRIPTORS);
    if wanted > soft {
        let low = keep_low().ok()?;
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).ok()?;
        *children = Some(Children { soft, low });
    }
    Some(soft)
}

/// Puts the limit back to what it was. Before a re-exec of ourselves: our successor is to find the limit that we found,
/// not the raised one, or its children would inherit that. Whether it had been raised.
pub fn restore_descriptor_limit() -> bool {
    let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Children { soft, .. }) = children else { return false };
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).ok();
    }
    true
}

/// Runs `spawn` under the limit of descriptors that children are to inherit, and with descriptors that are below it.
///
/// posix_spawn has no way to set limits, and a limit set on the child afterwards comes too late for programs that read
/// it first thing (as Node does). Under the lower limit glibc's posix_spawn refuses descriptors at or above it
/// (`__spawn_valid_fd`), and with a thousand services open ours are; so they are moved down to numbers kept free for
/// that. `spawn` must close them before it returns, and needs everything else it uses to be open already.
pub(super) fn with_child_limits<T>(
    stdio: [OwnedFd; 3],
    spawn: impl FnOnce([OwnedFd; 3]) -> io::Result<T>,
) -> io::Result<T> {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Children { soft, low }) = children.as_mut() else { return spawn(stdio) };
    let (ours, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    low.clear();
    let [stdin, stdout, stderr] = stdio;
    let moved = lowest(stdin).and_then(|stdin| Ok([stdin, lowest(stdout)?, lowest(stderr)?]));
    let result = moved.and_then(|stdio| {
        setrlimit(Resource::RLIMIT_NOFILE, *soft, hard)?;
        let result = spawn(stdio);
        setrlimit(Resource::RLIMIT_NOFILE, ours, hard)?;
        result
    });
    *low = keep_low().unwrap_or_default();
    result
}

/// Takes the three lowest descriptors that are free.
fn keep_low() -> io::Result<Vec<File>> {
    (0..3).map(|_| File::open("/dev/null")).collect()
}

/// The same file under the lowest number that is free.
#[expect(unsafe_code, reason = "std duplicates to any number, fcntl to the lowest")]
fn lowest(fd: OwnedFd) -> io::Result<OwnedFd> {
    let number = fcntl(fd.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::again;

    /// All of it changes the whole process, so it is played in one of its own.
    #[test]
    fn own_process() {
        const INNER: &str = "SUPERVISOR_TEST_TUNE";
        if std::env::var_os(INNER).is_none() {
            let output = again("process::tune::tests::own_process", INNER).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
            return;
        }
        let soft = || getrlimit(Resource::RLIMIT_NOFILE).unwrap().0;
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        assert_eq!(raise_descriptor_limit(), Some(64));
        assert!(soft() > 64);

        // More is open than the child may have, and still it is started, with its own limit.
        let many: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let file = std::fs::File::create(&out).unwrap();
        let launch = crate::process::spawn::Launch {
            program: "/bin/sh".into(),
            argv: ["sh", "-c", "ulimit -n"].map(str::to_owned).into(),
            env: Vec::new(),
            cwd: "/".into(),
            stdout: file.try_clone().unwrap().into(),
            stderr: file.into(),
        };
        let child = crate::process::spawn::spawn(launch).unwrap();
        let (pid, _) = crate::process::testing::wait_for("its end", crate::process::reap::peek);
        assert_eq!(pid, child.pid);
        crate::process::reap::reap(pid);
        assert_eq!(std::fs::read_to_string(out).unwrap(), "64\n");
        assert!(soft() > 64, "ours is as high as before");
        drop(many);
        restore_descriptor_limit();
        assert_eq!(soft(), 64);

        assert_eq!(become_subreaper(), cfg!(target_os = "linux"));
        assert!(own_session());
        assert!(!own_session(), "we lead one already");
    }
}
