//! Locks that end with their holder, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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

impl Lock {
    /// Takes the lock at `path`, or says at once who has it.
    pub fn acquire(path: &Path) -> Result<Self, NotLocked> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NotLocked::Held { pid: read_pid(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // The lock holds whatever becomes of the text in it, which is for messages only: a full disk is no reason to
        // leave services alone.
        write_pid(&mut file).ok();
        Ok(Self { file })
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

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
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
    fn what_cannot_be_opened_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Lock::acquire(folder.path()), Err(NotLocked::Io(_))));
        assert!(matches!(Lock::acquire(&folder.path().join("no/lock")), Err(NotLocked::Io(_))));
    }
}
