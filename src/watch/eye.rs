//! Is told of changes by the system: FSEvents or inotify, through `notify`. What it hands on are hints, each a path that is worth a
//! look: nothing is concluded from what an event says has happened.
//!
//! Hints are bounded. When more come than are looked at, or the system itself says that it has lost some, all that is left of them is
//! one word: scan.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind};
use notify::{Config, ErrorKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher, WatcherKind};

/// Hints that are kept; more than are are worth a scan.
const MOST: usize = 50_000;

/// What is told of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hint {
    /// It has come, gone, or changed its name.
    pub(super) name: bool,
    /// Its content or its times have changed.
    pub(super) content: bool,
    /// Somebody who wrote it has closed it.
    pub(super) closed: bool,
    /// It is a file that has just been made, and that its writer closes it will be told.
    pub(super) made: bool,
}

/// What has been told since it was asked last.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Paths.
    pub(super) paths: HashMap<PathBuf, Hint>,
    /// Something was lost: everything has to be looked at.
    pub(super) lost: bool,
}

impl Hints {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.lost
    }

    fn take_in(&mut self, path: PathBuf, hint: Hint) {
        let known = self.paths.len();
        if known >= MOST && !self.paths.contains_key(&path) {
            self.paths = HashMap::new();
            self.lost = true;
            return;
        }
        let all = self.paths.entry(path).or_default();
        all.name |= hint.name;
        all.content |= hint.content;
        all.closed |= hint.closed;
        all.made |= hint.made;
    }
}

/// Why a folder is not watched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unwatched {
    /// The system watches no more for this user.
    Most,
    /// It is not there (any more).
    Absent,
    /// It may not be read, so not listed either.
    Denied,
    /// Something else.
    Other(String),
}

/// Watches folders.
pub(super) struct Eye {
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
    hints: Arc<Mutex<Hints>>,
}

/// Whether one watch has all that is below a folder. Else each folder needs its own, and is listed only after it has it: so nothing that
/// comes between the two is missed.
pub(super) fn sees_below() -> bool {
    !matches!(RecommendedWatcher::kind(), WatcherKind::Inotify)
}

/// What tells of changes.
pub(super) fn kind() -> &'static str {
    match RecommendedWatcher::kind() {
        WatcherKind::Inotify => "inotify",
        WatcherKind::Fsevent => "FSEvents",
        _ => "events",
    }
}

impl Eye {
    /// Begins; `content`: changes of content are of interest to somebody. `wake` is called whenever there are hints where there were
    /// none.
    ///
    /// # Errors
    /// When the system gives no more of what it takes (inotify instances).
    pub(super) fn open(content: bool, wake: impl Fn() + Send + 'static) -> notify::Result<Self> {
        let hints = Arc::<Mutex<Hints>>::default();
        let into = Arc::clone(&hints);
        // Who reads a file is no matter of ours, and where thousands are read would drown the rest.
        let names = EventKindMask::CREATE | EventKindMask::REMOVE | EventKindMask::MODIFY_NAME;
        let mut kinds = names | EventKindMask::ACCESS_CLOSE;
        if content {
            kinds |= EventKindMask::MODIFY_DATA | EventKindMask::MODIFY_META;
        }
        let watcher = RecommendedWatcher::new(
            move |event: notify::Result<Event>| {
                let mut hints = lock(&into);
                let was_empty = hints.is_empty();
                take_in(&mut hints, event, content);
                let is_news = was_empty && !hints.is_empty();
                drop(hints);
                if is_news {
                    wake();
                }
            },
            Config::default().with_follow_symlinks(false).with_event_kinds(kinds),
        )?;
        Ok(Self { watcher, watched: HashSet::new(), hints })
    }

    /// What was told since this was asked last.
    pub(super) fn take(&self) -> Hints {
        std::mem::take(&mut *lock(&self.hints))
    }

    /// Watches a folder, and where the system does so by itself all that is below it.
    pub(super) fn watch(&mut self, folder: &Path, below: bool) -> Result<(), Unwatched> {
        // A folder that is another one under the same name has no watch any more: only notify knows, and to ask again costs little.
        let is_new = !self.watched.contains(folder);
        if !is_new && sees_below() {
            return Ok(());
        }
        let mode = if below && sees_below() { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        self.watcher.watch(folder, mode).map_err(|e| match e.kind {
            ErrorKind::MaxFilesWatch => Unwatched::Most,
            ErrorKind::PathNotFound => Unwatched::Absent,
            ErrorKind::Io(e) if e.kind() == std::io::ErrorKind::NotFound => Unwatched::Absent,
            ErrorKind::Io(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Unwatched::Denied,
            _ => Unwatched::Other(e.to_string()),
        })?;
        if is_new {
            self.watched.insert(folder.to_owned());
            if sees_below() {
                // A stream of events ends and another one begins: what came in between is told by nobody.
                lock(&self.hints).lost = true;
            }
        }
        Ok(())
    }

    /// Watches a folder, and what is below it, no more.
    pub(super) fn forget(&mut self, folder: &Path) {
        let gone: Vec<PathBuf> = self.watched.iter().filter(|path| path.starts_with(folder)).cloned().collect();
        for path in gone {
            // One that is gone from the disk is gone from there too.
            let _ = self.watcher.unwatch(&path);
            self.watched.remove(&path);
        }
    }

    /// Watches this folder no more.
    pub(super) fn forget_one(&mut self, folder: &Path) {
        if self.watched.remove(folder) {
            // As above.
            let _ = self.watcher.unwatch(folder);
        }
    }

    /// How many watches there are.
    pub(super) fn watches(&self) -> usize {
        self.watched.len()
    }
}

fn lock(hints: &Mutex<Hints>) -> MutexGuard<'_, Hints> {
    hints.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_in(hints: &mut Hints, event: notify::Result<Event>, content: bool) {
    let Ok(event) = event else {
        // Whatever it is that could not be told.
        hints.lost = true;
        return;
    };
    if event.need_rescan() {
        hints.lost = true;
    }
    let hint = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Hint { closed: true, ..Hint::default() },
        EventKind::Access(_) | EventKind::Other => return,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) if content => {
            Hint { content: true, ..Hint::default() }
        }
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => return,
        // Only inotify tells of who closes a file.
        EventKind::Create(CreateKind::File) if !sees_below() => Hint { made: true, ..Hint::default() },
        _ => Hint { name: true, ..Hint::default() },
    };
    for path in event.paths {
        hints.take_in(path, hint);
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, Flag};

    use super::*;

    fn event(kind: EventKind, path: &str) -> notify::Result<Event> {
        Ok(Event::new(kind).add_path(path.into()))
    }

    #[test]
    fn hints_of_one_path_are_one_and_reading_is_none() {
        let mut hints = Hints::default();
        take_in(&mut hints, event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/a"), true);
        assert!(hints.is_empty());
        take_in(&mut hints, event(EventKind::Modify(ModifyKind::Data(DataChange::Any)), "/a"), false);
        assert!(hints.is_empty(), "nobody asks for content");
        take_in(&mut hints, event(EventKind::Create(CreateKind::File), "/a"), true);
        take_in(&mut hints, event(EventKind::Modify(ModifyKind::Data(DataChange::Any)), "/a"), true);
        take_in(&mut hints, event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/a"), true);
        let is_told = !sees_below();
        assert_eq!(hints.paths[Path::new("/a")], Hint { name: !is_told, content: true, closed: true, made: is_told });
        assert_eq!(hints.paths.len(), 1);
    }

    #[test]
    fn what_is_lost_or_too_much_is_worth_a_scan() {
        let mut hints = Hints::default();
        take_in(&mut hints, Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), false);
        assert!(hints.lost);
        let mut hints = Hints::default();
        for n in 0..=MOST {
            take_in(&mut hints, event(EventKind::Create(CreateKind::File), &format!("/{n}")), false);
        }
        assert!(hints.lost && hints.paths.is_empty());
    }
}
