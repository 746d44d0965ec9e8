//! Reaping children in two steps, so that something can be done between a child's end and its pid becoming free.

use super::sys;
use crate::model::{Exit, Signal};

/// A child that has ended, which stays a zombie until [`reap`] is called with its pid; `None` when there is none. Never
/// blocks.
///
/// As long as it is a zombie, neither its pid nor the process group of that number can be given to anybody else, so that a
/// signal to the group reaches only what the child left. And who writes the end down before reaping loses nothing to a
/// SIGKILL in between.
///
/// How it ended is told on Linux; on macOS not before it is reaped, as `si_status` is zero there for children that a signal
/// ended (xnu, `waitid`).
#[expect(unsafe_code, reason = "waitid with WNOWAIT; nix has it on Linux only and fails on real-time signals")]
pub fn peek() -> Option<(i32, Option<Exit>)> {
    loop {
        // SAFETY: a siginfo_t of zeros is valid, it is what the kernel leaves when no child has ended.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a siginfo_t that outlives the call.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) };
        if result == 0 {
            // SAFETY: after waitid the structure is of the SIGCHLD kind, or all zero.
            let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
            return (pid > 0).then(|| (pid, sys::exit_of_siginfo(info.si_code, status)));
        }
        if nix::errno::Errno::last() != nix::errno::Errno::EINTR {
            return None;
        }
    }
}

/// Reaps exactly `pid`, a child that has ended.
#[expect(unsafe_code, reason = "nix's waitpid fails on real-time signals, and the child is gone by then")]
pub fn reap(pid: i32) -> Exit {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to an integer that outlives the call.
        let result = unsafe { libc::waitpid(pid, &mut status, 0) };
        if result == pid {
            return exit_of_wait_status(status);
        }
        if nix::errno::Errno::last() != nix::errno::Errno::EINTR {
            return Exit::Unknown;
        }
    }
}

/// Reaps `pid` if it is a child that has ended. Never blocks. A child that somebody else has reaped ended in a way that is not
/// known.
#[expect(unsafe_code, reason = "nix's waitpid fails on real-time signals, and the child is gone by then")]
pub fn try_reap(pid: i32) -> Option<Exit> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to an integer that outlives the call.
        let result = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        match result {
            0 => return None,
            _ if result == pid => return Some(exit_of_wait_status(status)),
            _ if nix::errno::Errno::last() == nix::errno::Errno::EINTR => {}
            _ => return Some(Exit::Unknown),
        }
    }
}

/// wait(2)'s status word.
pub(super) fn exit_of_wait_status(status: i32) -> Exit {
    if libc::WIFEXITED(status) {
        Exit::Code(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Exit::Signal { signal: Signal(libc::WTERMSIG(status)), core: libc::WCOREDUMP(status) }
    } else {
        Exit::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Signal;
    use crate::process::identity::{State, state};
    use crate::process::testing::wait_for;

    /// All children of a process are reaped by whoever asks first, so this is played in a process of its own: the test
    /// binary, started again for this one test.
    #[test]
    fn children_are_seen_as_zombies_and_reaped_with_their_end() {
        const INNER: &str = "SUPERVISOR_TEST_REAP";
        if std::env::var_os(INNER).is_some() {
            return inner();
        }
        let output = crate::process::testing::again("process::reap::tests::children_are_seen", INNER).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }

    #[expect(clippy::zombie_processes, reason = "they are reaped by what is tested")]
    fn inner() {
        use crate::process::testing::sh;
        assert_eq!(peek(), None);
        let mut expected = std::collections::HashMap::new();
        for (script, exit) in [
            ("exit 0", Exit::Code(0)),
            ("exit 255", Exit::Code(255)),
            ("kill -KILL $$", Exit::Signal { signal: Signal::KILL, core: false }),
            ("kill -TERM $$", Exit::Signal { signal: Signal::TERM, core: false }),
            #[cfg(target_os = "linux")]
            ("kill -35 $$", Exit::Signal { signal: Signal(35), core: false }),
        ] {
            let child = sh(script).spawn().unwrap();
            expected.insert(i32::try_from(child.id()).unwrap(), exit);
        }
        while !expected.is_empty() {
            let (pid, told) = wait_for("a child's end", peek);
            assert!(matches!(state(pid), State::Zombie(_)));
            let exit = reap(pid);
            assert_eq!(told, cfg!(target_os = "linux").then_some(exit));
            assert_eq!(state(pid), State::Gone);
            assert_eq!(expected.remove(&pid), Some(exit));
        }
        assert_eq!(peek(), None, "all are reaped");
    }
}
