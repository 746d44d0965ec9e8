//! Locks that end with their holder, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::clock;
use super::identity::{self, State};

/// How long a dead holder's lock is waited for, and how often it is tried meanwhile.
const HEIR_WITHIN: Duration = Duration::from_secs(2);
const TRY_EVERY: Duration = Duration::from_millis(1);

/// An exclusive lock (flock) on a file that holds our pid. Given back when it is dropped and when we die; not inherited
/// by children. The file itself stays: whoever removes a lock file lets two hold 'the' lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// Somebody else has it.
    #[error("{}", match pid { Some(pid) => format!("held by process {pid}"), None => "held by another process".to_owned() })]
    Held {
        /// Its pid, unless it has not been written yet.
        pid: Option<i32>,
    },
    /// The file cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl NotLocked {
    /// The holder's pid, where it is known.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Held { pid } => *pid,
            Self::Io(_) => None,
        }
    }
}

/// How a lock stands, for who does not want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody has it (or a pid was reused).
    Held,
    /// Whoever had it last was killed.
    Left,
    /// It was given back in order, or nobody ever had it.
    Free,
}

/// The process that holds the lock at `path`, as its text has it.
pub fn holder(path: &Path) -> Option<i32> {
    let pid = File::open(path).ok().and_then(|mut file| read_pid(&mut file))?;
    matches!(identity::state(pid), State::Running(_)).then_some(pid)
}

/// How the lock at `path` stands, as its text has it: trying it would make others believe for a moment that it is held.
pub fn standing(path: &Path) -> Standing {
    let pid = File::open(path).ok().and_then(|mut file| read_pid(&mut file));
    match pid.map(identity::state) {
        Some(State::Running(_)) => Standing::Held,
        Some(State::Zombie(_) | State::Gone) => Standing::Left,
        None => Standing::Free,
    }
}

impl Lock {
    /// Notes that it is given back in order, see [`Standing`]. It stays ours until it is dropped.
    pub fn give_back(&mut self) {
        // A full disk lets it look like a death, which costs one start too many.
        self.file.set_len(0).ok();
    }

    /// Takes the lock at `path`, or says at once who has it.
    ///
    /// Who was killed while starting a program leaves the lock to that child, until exec closes it or fails. That is waited
    /// for: the lock is free in a moment, and before that moment the child cannot be told from its parent by its marks, so
    /// that whoever looked around now would not see it.
    pub fn acquire(path: &Path) -> Result<Self, NotLocked> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut give_up = None;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            let pid = read_pid(&mut file);
            let dead = pid.is_some_and(|pid| !matches!(identity::state(pid), State::Running(_)));
            let now = clock::now().mono;
            if !dead || now >= *give_up.get_or_insert(now.plus(HEIR_WITHIN)) {
                return Err(NotLocked::Held { pid });
            }
            pause();
        }
        // The lock holds whatever becomes of the text in it, which is for messages only: a full disk is no reason to
        // leave services alone.
        write_pid(&mut file).ok();
        Ok(Self { file })
    }
}

/// A lock that was handed over by execve: it belongs to the open file.
impl From<OwnedFd> for Lock {
    fn from(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lock {
    /// Closing alone would not do: a child that another thread has just forked, and that has not called exec yet, has the
    /// same open file.
    fn drop(&mut self) {
        self.file.unlock().ok();
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells nobody when a lock becomes free, but who blocks in flock"
)]
fn pause() {
    std::thread::sleep(TRY_EVERY);
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::process::testing::{Guard, sh};

    #[test]
    fn one_has_it_and_the_other_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::acquire(&path).unwrap();
        let me = i32::try_from(std::process::id()).ok();
        assert!(matches!(Lock::acquire(&path), Err(NotLocked::Held { pid }) if pid == me));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // A child that lives on does not keep it.
        let _child = Guard(sh("exec sleep 60").spawn().unwrap());
        drop(lock);
        let again = Lock::acquire(&path).unwrap();
        assert!(path.exists());
        drop(again);
    }

    #[test]
    fn what_a_dead_holder_left_to_its_child_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (path, gate) = (folder.path().join("lock"), folder.path().join("gate"));
        let mut dead = sh("exit 0").spawn().unwrap();
        std::fs::write(&path, format!("{}\n", dead.id())).unwrap();
        dead.wait().unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.lock().unwrap();
        let script = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
        // The same open file, as a child has it that has not called exec yet.
        let _child = Guard(sh(&script).stdin(file).spawn().unwrap());
        assert!(File::open(&path).unwrap().try_lock().is_err());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Lock::acquire(&path));
            std::fs::write(&gate, "").unwrap();
            assert!(waiting.join().unwrap().is_ok());
        });
    }

    #[test]
    fn what_cannot_be_opened_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Lock::acquire(folder.path()), Err(NotLocked::Io(_))));
        assert!(matches!(Lock::acquire(&folder.path().join("no/lock")), Err(NotLocked::Io(_))));
    }
}
