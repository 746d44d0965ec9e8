//! Watching a process that need not be our child, as an adopted one is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::identity::{self, State};
use super::sys::ExitWatch;
use crate::model::Exit;

/// What a [`Watch`] can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It still runs.
    NotYet,
    /// It has ended; [`Exit::Unknown`] where the system does not tell how.
    Exited(Exit),
    /// It has ended, and how will be known once its parent has reaped it. The descriptor stays readable meanwhile, so
    /// ask again by a timer; who has waited for about a second takes [`Exit::Unknown`].
    AwaitReap,
}

/// Tells when one certain process ends. Readable (in the sense of poll) when it may have.
///
/// Linux: a pidfd, and from kernel 6.15 on the exit status of whatever process, child or not (`PIDFD_INFO_EXIT`,
/// linux/pidfd.h). macOS: kqueue `EVFILT_PROC`; the status is asked for by `NOTE_EXITSTATUS`, which the kernel grants to
/// the parent only (xnu, `filt_procattach`), otherwise it stays unknown.
#[derive(Debug)]
pub struct Watch {
    pid: i32,
    inner: ExitWatch,
}

impl Watch {
    /// Watches `pid` if it is still the process with this start token; else the error is of kind `NotFound`.
    pub fn open(pid: i32, start_token: u64) -> io::Result<Self> {
        let inner = ExitWatch::open(pid)?;
        // The watch is bound to whoever had the pid when it was opened, so the look after it settles who that was.
        match identity::state(pid) {
            State::Running(token) | State::Zombie(token) if token == start_token => Ok(Self { pid, inner }),
            _ => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended; its pid may be reused")))
            }
        }
    }

    /// The watch that was handed over by execve as `fd`; where the system hands none over, a new one.
    ///
    /// # Errors
    /// As [`Watch::open`].
    pub fn handed_over(pid: i32, start_token: u64, fd: Option<OwnedFd>) -> io::Result<Self> {
        match fd.and_then(ExitWatch::handed_over) {
            Some(inner) => Ok(Self { pid, inner }),
            None => Self::open(pid, start_token),
        }
    }

    /// The pid watched.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has ended, and how. Never blocks.
    pub fn poll_end(&self) -> Ended {
        self.inner.poll_end()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;
    use crate::model::Signal;
    use crate::process::testing::{Guard, sh, wait_for};
    use crate::process::{clock, signal};

    fn end_of(watch: &Watch) -> Exit {
        wait_for("the end and its status", || match watch.poll_end() {
            Ended::Exited(exit) => Some(exit),
            Ended::NotYet | Ended::AwaitReap => None,
        })
    }

    /// Starts `script` as a process that is nobody's child here; it ends when the test ends it or by itself.
    fn stranger(script: &str) -> (i32, u64) {
        let mut parent =
            sh(&format!("({script}) </dev/null >/dev/null & echo $!")).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        let token = identity::start_token(pid).unwrap();
        parent.wait().unwrap();
        (pid, token)
    }

    #[test]
    fn the_exit_code_of_a_process_that_is_not_our_child_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("gate");
        let script = format!("while [ ! -e {} ]; do sleep 0.01; done; exit 42", gate.display());
        let (pid, token) = stranger(&script);
        let watch = Watch::open(pid, token).unwrap();
        assert_eq!(watch.poll_end(), Ended::NotYet);
        std::fs::write(&gate, "").unwrap();
        let exit = end_of(&watch);
        if cfg!(target_os = "linux") && kernel_tells() {
            assert_eq!(exit, Exit::Code(42));
        } else {
            assert_eq!(exit, Exit::Unknown);
        }
        assert_eq!(watch.poll_end(), Ended::Exited(exit), "asked again, it says the same");
    }

    #[test]
    fn a_signal_is_read_too() {
        let (pid, token) = stranger("exec sleep 60");
        let watch = Watch::open(pid, token).unwrap();
        assert!(signal::process(pid, token, Signal::KILL));
        let exit = end_of(&watch);
        if cfg!(target_os = "linux") && kernel_tells() {
            assert_eq!(exit, Exit::Signal { signal: Signal::KILL, core: false });
        }
    }

    #[test]
    fn a_zombie_awaits_its_reaping() {
        let mut child = Guard(sh("exit 3").spawn().unwrap());
        let token = match identity::state(child.pid()) {
            State::Running(token) | State::Zombie(token) => token,
            State::Gone => panic!("a child that nobody reaped cannot be gone"),
        };
        let watch = match Watch::open(child.pid(), token) {
            // kqueue takes no zombies, a pidfd does.
            Err(_) if cfg!(target_os = "macos") => return,
            opened => opened.unwrap(),
        };
        if kernel_tells() {
            wait_for("zombie", || (watch.poll_end() == Ended::AwaitReap).then_some(()));
        }
        child.0.wait().unwrap();
        let exit = end_of(&watch);
        assert!(exit == Exit::Code(3) || !kernel_tells(), "{exit}");
    }

    #[test]
    fn another_start_token_is_another_process() {
        let me = i32::try_from(std::process::id()).unwrap();
        let token = identity::start_token(me).unwrap();
        assert!(Watch::open(me, token).is_ok());
        assert_eq!(Watch::open(me, token + 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(Watch::open(i32::MAX, 1).is_err());
        assert!(clock::now().wall_ms > 0);
    }

    /// Linux 6.15 and later.
    fn kernel_tells() -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
    }
}
