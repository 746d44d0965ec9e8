//! Proof that the system's queue of changes has overflowed.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::watcher::Tree;

/// Another one who does not read either: what became of its queue became of the stopped watcher's.
pub struct Beside(Inotify);

impl Beside {
    pub fn new(tree: &Tree) -> Self {
        let beside = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        for folder in tree.all() {
            beside.add_watch(folder, AddWatchFlags::IN_CLOSE_WRITE).unwrap();
        }
        Self(beside)
    }

    /// After so many files: they were more than the queue takes, and it has overflowed.
    pub fn assert_overflow(&self, files: usize) {
        let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        assert!(files > most.trim().parse().unwrap(), "{files} files are not more than the queue takes: {most}");
        let mut overflowed = false;
        while let Ok(events) = self.0.read_events() {
            overflowed |= events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW));
        }
        assert!(overflowed, "{files} files have not made a queue of {most} events overflow");
    }
}
