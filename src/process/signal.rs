//! Sending signals, never to the wrong process.

use nix::sys::signal::{Signal as NixSignal, kill, killpg};
use nix::unistd::Pid;

use super::{identity, sys};
use crate::model::Signal;

/// Sends `signal` to the process group led by `leader`; whether anybody was there to get it. The number is safe to use
/// as long as its leader has not been reaped (see [`super::reap::peek`]) or a member of the group is known to live.
pub fn group(leader: i32, signal: Signal) -> bool {
    // 0 would be our own group, 1 and below everybody.
    leader > 1 && NixSignal::try_from(signal.0).is_ok_and(|signal| killpg(Pid::from_raw(leader), signal).is_ok())
}

/// Sends `signal` to `pid` if it is still the process with this start token; whether it was.
pub fn process(pid: i32, start_token: u64, signal: Signal) -> bool {
    pid > 1
        && identity::start_token(pid) == Some(start_token)
        && NixSignal::try_from(signal.0).is_ok_and(|signal| kill(Pid::from_raw(pid), signal).is_ok())
}

/// Whether `pid` does something of its own upon `signal`; else it ends by it, or nothing comes of it. `None` where the system does not
/// tell, as on macOS.
pub fn takes(pid: i32, signal: Signal) -> Option<bool> {
    sys::takes(pid, signal)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    #[cfg(target_os = "linux")]
    use std::{io::Read, process::Stdio};

    use super::*;
    use crate::process::testing::{Guard, sh};

    #[test]
    fn only_the_process_with_that_start_is_signalled() {
        let mut child = Guard(sh("exec sleep 60").spawn().unwrap());
        let token = identity::start_token(child.pid()).unwrap();
        assert!(!process(child.pid(), token + 1, Signal::KILL));
        assert!(child.0.try_wait().unwrap().is_none());
        assert!(process(child.pid(), token, Signal::KILL));
        assert_eq!(child.0.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(!process(child.pid(), token, Signal::KILL), "it is gone");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_handler_is_seen_and_ignoring_is_none() {
        let usr2 = Signal::parse("USR2").unwrap();
        for (trap, takes_it) in [("trap : USR2", true), ("trap '' USR2", false), ("trap : USR1", false)] {
            let mut child = sh(&format!("{trap}; echo; read _"));
            let mut child = Guard(child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
            child.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            assert_eq!(takes(child.pid(), usr2), Some(takes_it), "{trap}");
        }
        assert_eq!(takes(i32::MAX, usr2), None);
    }

    #[test]
    fn a_group_gets_it_as_a_whole_and_dangerous_numbers_nothing() {
        let mut child = Guard(sh("sleep 60 & sleep 60 & wait").process_group(0).spawn().unwrap());
        assert!(group(child.pid(), Signal::TERM));
        assert_eq!(child.0.wait().unwrap().signal(), Some(libc::SIGTERM));
        for number in [1, 0, -1] {
            assert!(!group(number, Signal(libc::SIGWINCH)));
            assert!(!process(number, 0, Signal(libc::SIGWINCH)));
        }
    }
}
