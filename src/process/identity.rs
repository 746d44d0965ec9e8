//! Who a pid is: a pid alone is reused, a pid with its exact start time is one process for ever (within a boot).

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::sys;
use crate::model::{Moment, ProgramId};

/// What the kernel says about a pid. The number is the start token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running(u64),
    /// It has ended, and its parent has not reaped it yet.
    Zombie(u64),
    /// There is no such process.
    Gone,
}

/// What has become of `pid`.
pub fn state(pid: i32) -> State {
    match sys::entry(pid) {
        Some(entry) if entry.zombie => State::Zombie(entry.start),
        Some(entry) => State::Running(entry.start),
        None => State::Gone,
    }
}

/// The exact start time as the kernel keeps it (Linux: clock ticks since boot, macOS: microseconds since 1970), to be
/// compared only. `None` when there is no such process or only its zombie.
pub fn start_token(pid: i32) -> Option<u64> {
    match state(pid) {
        State::Running(token) => Some(token),
        State::Zombie(_) | State::Gone => None,
    }
}

/// Which file is at `path`.
pub fn program_id(path: &Path) -> Option<ProgramId> {
    path.metadata().ok().map(|file| ProgramId { dev: file.dev(), ino: file.ino() })
}

/// Which file is at `path`, and which state of it: another text when it was replaced or written to.
pub fn file_version(path: &Path) -> Option<String> {
    let file = path.metadata().ok()?;
    Some(format!("{:x}.{:x}.{:x}.{:x}", file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

/// How long ago the process with this start token was started, sleep included.
pub fn age(start_token: u64, now: Moment) -> Duration {
    between(start_token, token_at(now))
}

/// The start token of a process that is started now.
pub fn token_at(now: Moment) -> u64 {
    sys::token_at(now)
}

/// The time between the starts of two processes; zero if the second was started first.
pub fn between(earlier: u64, later: u64) -> Duration {
    sys::between(earlier, later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::{Guard, sh, wait_for};

    #[test]
    fn the_token_is_the_same_each_time_and_gone_with_the_process() {
        let mut child = Guard(sh("read _").stdin(std::process::Stdio::piped()).spawn().unwrap());
        let pid = child.pid();
        let token = start_token(pid).unwrap();
        assert_eq!(start_token(pid), Some(token));
        assert_eq!(state(pid), State::Running(token));
        drop(child.0.stdin.take());
        wait_for("zombie", || (state(pid) == State::Zombie(token)).then_some(()));
        assert_eq!(start_token(pid), None);
        child.0.wait().unwrap();
        assert_eq!(state(pid), State::Gone);
    }

    #[test]
    fn no_process_has_these_pids() {
        for pid in [0, -1, i32::MAX] {
            assert_eq!(state(pid), State::Gone);
        }
    }
}
