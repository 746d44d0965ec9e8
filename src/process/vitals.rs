//! How the processes of a service are: what the kernel knows of them without asking them.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::clock;
use crate::model::{ProcessState, Vitals};

#[cfg(target_os = "linux")]
#[path = "vitals_linux.rs"]
mod half;
#[cfg(target_os = "macos")]
#[path = "vitals_macos.rs"]
mod half;

/// A look stays cheap, whatever a service has started.
const MOST_PROCESSES: usize = 256;

/// What the kernel knows of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its pid.
    pub pid: i32,
    /// Its parent.
    pub ppid: i32,
    /// What it calls itself: bytes of its own choice.
    pub name: String,
    /// What it is doing.
    pub state: ProcessState,
    /// Processor time so far, without that of ended children.
    pub cpu: Duration,
    /// Its threads.
    pub threads: u32,
    /// Its resident memory, bytes.
    pub resident: u64,
    /// Its start token (see [`super::identity`]).
    pub start: u64,
}

/// What the kernel knows of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: u64,
    /// What it calls itself: bytes of its own choice.
    pub name: String,
    /// What it is doing.
    pub state: ProcessState,
    /// Processor time so far.
    pub cpu: Duration,
    /// The function of the kernel it waits in, where the system tells.
    pub waits_in: Option<String>,
}

/// A look at the service whose main process is `pid`; `None` when that is gone, or another user's where the system shows nothing of
/// such. No other process is looked at than it and its descendants. Who left the tree, by outliving a parent, is not found.
pub fn look(pid: i32) -> Option<Vitals> {
    let at = clock::now().mono;
    let tree = tree(pid, MOST_PROCESSES);
    let main = tree.first()?;
    let first = half::first_thread(pid);
    Some(Vitals {
        at,
        cpu: tree.iter().map(|one| one.cpu).sum(),
        ran: first.map(|(ran, _)| ran),
        waited: first.map(|(_, waited)| waited),
        state: main.state,
        processes: u32::try_from(tree.len()).unwrap_or(u32::MAX),
    })
}

/// `root` and its descendants, parents before children, at most `most`; nothing when `root` is gone.
pub fn tree(root: i32, most: usize) -> Vec<Seen> {
    let mut found: Vec<Seen> = half::seen(root).into_iter().collect();
    // A pid that is used anew while we look may be met twice.
    let mut met = HashSet::from([root]);
    let mut parents: VecDeque<i32> = found.iter().map(|one| one.pid).collect();
    while let Some(parent) = parents.pop_front() {
        for child in half::children(parent) {
            if found.len() >= most {
                return found;
            }
            if met.insert(child)
                && let Some(seen) = half::seen(child)
            {
                found.push(seen);
                parents.push_back(child);
            }
        }
    }
    found
}

/// Who has `pid` as its parent.
pub(super) fn children(pid: i32) -> Vec<i32> {
    half::children(pid)
}

/// The threads of `pid`, the first one first where the system has an order, at most `most`.
pub fn threads(pid: i32, most: usize) -> Vec<Thread> {
    half::threads(pid, most)
}

/// How many descriptors `pid` has open; `None` where that cannot be seen.
pub fn open_descriptors(pid: i32) -> Option<usize> {
    half::open_descriptors(pid)
}

/// The function of the kernel in which the first thread of `pid` waits, where the system tells.
pub fn waits_in(pid: i32) -> Option<String> {
    half::waits_in(pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Signal;
    use crate::process::testing::{Guard, sh, wait_for};
    use crate::process::{identity, signal};

    fn until(pid: i32, state: ProcessState) -> Vitals {
        wait_for("its state", || look(pid).filter(|vitals| vitals.state == state))
    }

    #[test]
    fn a_sleeping_one_sleeps_and_a_stopped_one_is_stopped() {
        let child = Guard(sh("exec sleep 60").spawn().unwrap());
        let vitals = until(child.pid(), ProcessState::Sleeping);
        assert_eq!(vitals.processes, 1);
        assert!(vitals.cpu < Duration::from_secs(5), "{vitals:?}");
        assert_eq!(cfg!(target_os = "linux"), vitals.ran.is_some() && vitals.waited.is_some());
        let token = identity::start_token(child.pid()).unwrap();
        assert!(signal::process(child.pid(), token, Signal(libc::SIGSTOP)));
        let stopped = until(child.pid(), ProcessState::Stopped);
        assert!(stopped.at >= vitals.at && stopped.cpu >= vitals.cpu);
    }

    #[test]
    fn a_busy_one_uses_the_processor() {
        let child = Guard(sh("while :; do :; done").spawn().unwrap());
        let first = until(child.pid(), ProcessState::Running);
        wait_for("processor time", || {
            look(child.pid()).filter(|vitals| vitals.cpu >= first.cpu + Duration::from_millis(50))
        });
        if cfg!(target_os = "linux") {
            assert!(look(child.pid()).unwrap().ran > first.ran);
        }
    }

    #[test]
    fn a_grandchild_and_its_processor_time_belong_to_the_tree() {
        let child = Guard(sh("sh -c 'while :; do :; done' & echo; wait").spawn().unwrap());
        let below = wait_for("the grandchild", || {
            let all = tree(child.pid(), 9);
            (all.len() == 2).then(|| all[1].clone())
        });
        let _end = End(below.pid, below.start);
        assert_eq!(below.ppid, child.pid());
        let vitals = wait_for("its processor time", || {
            look(child.pid()).filter(|vitals| vitals.cpu >= Duration::from_millis(50))
        });
        assert_eq!((vitals.processes, vitals.state), (2, ProcessState::Sleeping));
        assert_eq!(tree(child.pid(), 1).len(), 1);
    }

    /// Ends a process that is nobody's child any more.
    struct End(i32, u64);

    impl Drop for End {
        fn drop(&mut self) {
            signal::process(self.0, self.1, Signal::KILL);
        }
    }

    #[test]
    fn one_that_ended_is_a_zombie_and_then_gone() {
        let mut child = Guard(sh("exit 0").spawn().unwrap());
        until(child.pid(), ProcessState::Zombie);
        child.0.wait().unwrap();
        assert_eq!(look(child.pid()), None);
        assert_eq!((tree(child.pid(), 9), threads(child.pid(), 9)), (vec![], vec![]));
        assert_eq!((open_descriptors(child.pid()), waits_in(child.pid())), (None, None));
        for pid in [0, -1, i32::MAX] {
            assert_eq!(look(pid), None, "{pid}");
        }
    }

    #[test]
    fn our_own_threads_and_descriptors_are_seen() {
        let me = i32::try_from(std::process::id()).unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("a-thread".into()).spawn(move || stopped.recv()).unwrap();
        wait_for("the thread", || threads(me, 500).into_iter().find(|thread| thread.name == "a-thread"));
        assert_eq!(threads(me, 1).len(), 1);
        drop(stop);
        assert!(thread.join().unwrap().is_err());
        assert!(open_descriptors(me).unwrap() >= 3);
        let seen = tree(me, 1).remove(0);
        assert!(seen.resident > 1 << 20 && seen.threads >= 2 && seen.start == identity::start_token(me).unwrap());
    }
}
