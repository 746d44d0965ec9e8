//! Tells when something in a folder changes. Only that it may have: who asks looks for himself.
//!
//! Not by crate `notify`: on Linux it listens for every `open` too, and a runner that waits for a program to be installed would
//! be woken by each command that anybody runs from /usr/bin (measured: 190 times a second on a busy machine), in a thread of
//! its own.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Folders that are watched. Readable (in the sense of poll) when one of them may have changed.
#[derive(Debug)]
pub struct Folders(imp::Folders);

impl Folders {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        imp::Folders::new().map(Self)
    }

    /// Watches exactly these folders from now on and, where a folder's own events do not tell of writes to files in it, these
    /// files as far as they exist. Whether a watch was added. What cannot be watched is passed over.
    pub fn follow(&mut self, wanted: &BTreeMap<PathBuf, Vec<&Path>>) -> bool {
        self.0.retain(|folder| wanted.contains_key(folder));
        let mut added = false;
        for (folder, files) in wanted {
            added |= !self.0.watches(folder) && self.0.watch(folder, files).is_ok();
        }
        added
    }

    /// Whether something may have changed since the last call. Never blocks. A folder that was removed or renamed is not
    /// watched any more.
    pub fn take(&mut self) -> bool {
        self.0.take()
    }
}

impl AsFd for Folders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::collections::BTreeMap;
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::path::{Path, PathBuf};

    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

    #[derive(Debug)]
    pub(super) struct Folders {
        inotify: Inotify,
        watched: BTreeMap<PathBuf, WatchDescriptor>,
    }

    impl Folders {
        pub(super) fn new() -> io::Result<Self> {
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
            Ok(Self { inotify, watched: BTreeMap::new() })
        }

        pub(super) fn watches(&self, folder: &Path) -> bool {
            self.watched.contains_key(folder)
        }

        /// inotify(7): a watch on a folder tells of the files in it too. What is only read or opened is not asked for.
        pub(super) fn watch(&mut self, folder: &Path, _files: &[&Path]) -> io::Result<()> {
            let what = AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_ATTRIB
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE_SELF
                | AddWatchFlags::IN_ONLYDIR;
            let descriptor = self.inotify.add_watch(folder, what)?;
            self.watched.insert(folder.into(), descriptor);
            Ok(())
        }

        pub(super) fn retain(&mut self, wanted: impl Fn(&Path) -> bool) {
            let gone: Vec<PathBuf> = self.watched.keys().filter(|folder| !wanted(folder)).cloned().collect();
            for folder in gone {
                self.forget(&folder);
            }
        }

        fn forget(&mut self, folder: &Path) {
            if let Some(descriptor) = self.watched.remove(folder)
                // Two names of one folder share a descriptor: it goes with the last of them.
                && !self.watched.values().any(|other| *other == descriptor)
            {
                // A folder that has gone has taken its watch along.
                let _ = self.inotify.rm_watch(descriptor);
            }
        }

        pub(super) fn take(&mut self) -> bool {
            let over = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
            let mut changed = false;
            while let Ok(events) = self.inotify.read_events() {
                for event in events {
                    let names =
                        self.watched.iter().filter(|(_, wd)| **wd == event.wd).map(|(folder, _)| folder.clone());
                    let names: Vec<PathBuf> = names.collect();
                    // A full queue has dropped events of anybody; an event of a watch that was given up is no news.
                    changed |= !names.is_empty() || event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                    if event.mask.intersects(over) {
                        names.iter().for_each(|folder| self.forget(folder));
                    }
                }
            }
            changed
        }
    }

    impl AsFd for Folders {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.inotify.as_fd()
        }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::collections::BTreeMap;
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};

    use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

    #[derive(Debug)]
    pub(super) struct Folders {
        queue: Kqueue,
        /// Each folder's descriptor and those of the files in it; closing one takes its event out of the queue.
        watched: BTreeMap<PathBuf, Vec<File>>,
    }

    impl Folders {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self { queue: Kqueue::new()?, watched: BTreeMap::new() })
        }

        pub(super) fn watches(&self, folder: &Path) -> bool {
            self.watched.contains_key(folder)
        }

        /// kqueue(2): a folder tells of names that come and go, only a file itself of writes to it.
        pub(super) fn watch(&mut self, folder: &Path, files: &[&Path]) -> io::Result<()> {
            let mut held = vec![self.add(folder)?];
            held.extend(files.iter().filter_map(|file| self.add(file).ok()));
            self.watched.insert(folder.into(), held);
            Ok(())
        }

        fn add(&self, path: &Path) -> io::Result<File> {
            let file = OpenOptions::new().read(true).custom_flags(libc::O_EVTONLY | libc::O_NONBLOCK).open(path)?;
            let what = FilterFlag::NOTE_WRITE
                | FilterFlag::NOTE_EXTEND
                | FilterFlag::NOTE_ATTRIB
                | FilterFlag::NOTE_DELETE
                | FilterFlag::NOTE_RENAME;
            let ident = usize::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
            let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
            let change = KEvent::new(ident, EventFilter::EVFILT_VNODE, flags, what, 0, 0);
            self.queue.kevent(&[change], &mut [], None)?;
            Ok(file)
        }

        pub(super) fn retain(&mut self, wanted: impl Fn(&Path) -> bool) {
            self.watched.retain(|folder, _| wanted(folder));
        }

        pub(super) fn take(&mut self) -> bool {
            let nothing = KEvent::new(0, EventFilter::EVFILT_VNODE, EvFlags::empty(), FilterFlag::empty(), 0, 0);
            let mut events = [nothing; 16];
            let mut changed = false;
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            while let Ok(n) = self.queue.kevent(&[], &mut events, Some(at_once)) {
                if n == 0 {
                    break;
                }
                changed = true;
                for event in &events[..n] {
                    let is = |file: &File| usize::try_from(file.as_raw_fd()).ok() == Some(event.ident());
                    // Another file may have the name of one that was written anew: the folder is watched afresh, with what
                    // is in it by then.
                    self.watched.retain(|_, held| !held.iter().any(is));
                }
            }
            changed
        }
    }

    impl AsFd for Folders {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.queue.as_fd()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::process::testing::wait_for;

    #[test]
    fn what_is_made_written_renamed_removed_or_permitted_is_told_and_what_is_read_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let file = inner.join("f");
        let other = inner.join("g");
        std::fs::write(&file, "1").unwrap();
        let wanted = BTreeMap::from([(inner.clone(), vec![file.as_path()])]);
        let mut folders = Folders::new().unwrap();
        assert!(folders.follow(&wanted));
        assert!(!folders.follow(&wanted), "nothing new");
        assert!(!folders.take());
        let mut told = |what: &str| {
            wait_for(what, || folders.take().then_some(()));
            folders.follow(&wanted);
        };
        std::fs::write(&file, "22").unwrap();
        told("a write");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        told("a permission");
        std::fs::write(&other, "3").unwrap();
        told("a new file");
        std::fs::rename(&other, &file).unwrap();
        told("a rename");
        std::fs::remove_file(&file).unwrap();
        told("a removal");
        std::fs::remove_dir(&inner).unwrap();
        std::fs::create_dir(&inner).unwrap();
        told("a folder that is another one now");
        std::fs::write(&file, "4").unwrap();
        told("a file in it");
        assert_eq!(std::fs::read(&file).unwrap(), b"4");
        assert!(!folders.take(), "reading changes nothing");
        folders.follow(&BTreeMap::new());
        std::fs::write(&file, "5").unwrap();
        assert!(!folders.take(), "not watched any more");
    }
}
