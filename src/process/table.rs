//! The process table: one pass over all processes, and the marks that ours carry.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use super::sys;

/// One process as the table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its pid.
    pub pid: i32,
    /// Its parent.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
    /// Its start token (see [`super::identity`]).
    pub start: u64,
    /// It has ended and waits to be reaped.
    pub zombie: bool,
}

/// What the runner wrote into the environment of the run that a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// SUPERVISOR_SERVICE.
    pub service: String,
    /// SUPERVISOR_RUN_ID.
    pub run_id: u64,
    /// SUPERVISOR_RUN_STARTED: the start token that the run's first process has, or a slightly earlier one. Older runners
    /// did not write it.
    pub started: Option<u64>,
    /// SUPERVISOR_STATE_DIR: tells our processes from those of another supervisor of the same user.
    pub state_dir: String,
}

/// All processes, in one pass. What ends while we look is left out.
pub fn scan() -> io::Result<Vec<Entry>> {
    Ok(sys::pids()?.into_iter().filter_map(sys::entry).collect())
}

/// The marks in the environment that `pid` was started with. `None` when it has none, when it is another user's, or when the
/// system does not show it (macOS hides the environment of Apple's own programs, `/bin/sh` among them; such processes are
/// found by their ancestry); nor while it is between two programs: see [`marker_in_time`].
pub fn marker(pid: i32) -> Option<Marker> {
    parse_marker(&sys::environment(pid)?)
}

/// The same for a process that may be between two programs, when the kernel shows an empty environment: then it is looked at
/// again, `patience` times in all, a millisecond apart; they are used up.
pub fn marker_in_time(pid: i32, patience: &mut u32) -> Option<Marker> {
    loop {
        let environment = sys::environment(pid)?;
        if !environment.is_empty() || *patience == 0 {
            return parse_marker(&environment);
        }
        *patience -= 1;
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the kernel tells nobody when an exec is through")]
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

/// All living and dead descendants of `root`, parents before children, `root` itself not among them.
pub fn descendants(entries: &[Entry], root: i32) -> Vec<Entry> {
    let mut children: HashMap<i32, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        children.entry(entry.ppid).or_default().push(entry);
    }
    let mut found: Vec<Entry> = Vec::new();
    let mut next = 0;
    let mut parent = root;
    loop {
        // Removing makes the walk end even if the table, read while it changed, holds a circle.
        found.extend(children.remove(&parent).into_iter().flatten().filter(|entry| entry.pid != root));
        let Some(entry) = found.get(next) else { return found };
        parent = entry.pid;
        next += 1;
    }
}

/// Reads the marks from NUL-separated `KEY=value` entries.
fn parse_marker(environment: &[u8]) -> Option<Marker> {
    let value = |key: &str| {
        environment
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    Some(Marker {
        service: value("SUPERVISOR_SERVICE")?.to_owned(),
        run_id: value("SUPERVISOR_RUN_ID")?.parse().ok()?,
        started: value("SUPERVISOR_RUN_STARTED").and_then(|token| token.parse().ok()),
        state_dir: value("SUPERVISOR_STATE_DIR")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::{Guard, sh, wait_for};

    #[test]
    fn a_child_and_its_child_are_found_with_their_marks() {
        let child = Guard(
            sh("sleep 60 & wait")
                .env("SUPERVISOR_SERVICE", "gate.way")
                .env("SUPERVISOR_RUN_ID", "7")
                .env("SUPERVISOR_STATE_DIR", "/state")
                .spawn()
                .unwrap(),
        );
        let me = i32::try_from(std::process::id()).unwrap();
        let grandchild = wait_for("grandchild with its marks", || {
            let below = descendants(&scan().unwrap(), child.pid());
            below.first().copied().filter(|entry| marker(entry.pid).is_some())
        });
        let all = descendants(&scan().unwrap(), me);
        let place = |pid| all.iter().position(|entry| entry.pid == pid);
        assert!(place(child.pid()).unwrap() < place(grandchild.pid).unwrap());
        assert_eq!(grandchild.ppid, child.pid());
        assert_eq!(Some(grandchild.start), crate::process::identity::start_token(grandchild.pid));
        let mark = Marker { service: "gate.way".into(), run_id: 7, started: None, state_dir: "/state".into() };
        assert_eq!(marker(grandchild.pid), Some(mark));
        assert_eq!(marker(me), None);
        crate::process::signal::process(grandchild.pid, grandchild.start, crate::model::Signal::KILL);
    }

    #[test]
    fn a_circle_in_the_table_ends() {
        let entry = |pid, ppid| Entry { pid, ppid, pgid: 1, sid: 1, start: 1, zombie: false };
        let table = [entry(2, 4), entry(3, 2), entry(4, 3), entry(9, 1)];
        let pids: Vec<i32> = descendants(&table, 2).iter().map(|entry| entry.pid).collect();
        assert_eq!(pids, [3, 4]);
    }

    #[test]
    fn marks_must_be_complete_and_exact() {
        let whole = b"A=1\0SUPERVISOR_SERVICE=x\0SUPERVISOR_RUN_ID=3\0SUPERVISOR_STATE_DIR=/s\0";
        assert_eq!(parse_marker(whole).unwrap().run_id, 3);
        assert_eq!(parse_marker(whole).unwrap().started, None, "as older runners wrote it");
        assert_eq!(parse_marker(b"SUPERVISOR_SERVICE=x\0SUPERVISOR_STATE_DIR=/s\0"), None);
        assert_eq!(parse_marker(b"SUPERVISOR_SERVICE=x\0SUPERVISOR_RUN_ID=z\0SUPERVISOR_STATE_DIR=/s"), None);
        assert_eq!(parse_marker(b"SUPERVISOR_SERVICES=x\0SUPERVISOR_RUN_ID=3\0SUPERVISOR_STATE_DIR=/s"), None);
    }
}
