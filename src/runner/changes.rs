//! Tells when something changed that a held service was held for: its `watch_config`, its program, its `env_file`.
//!
//! The watcher (inotify, FSEvents) has a thread of its own, which exists only while something is held.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use polling::Poller;

use super::environment;
use crate::model::{Program, ServiceSpec, UnitName};

type Touched = Arc<Mutex<BTreeSet<PathBuf>>>;

/// The files that held services wait for.
pub(super) struct Changes {
    waker: Arc<Poller>,
    touched: Touched,
    watcher: Option<RecommendedWatcher>,
    /// Folders watched, with how many files in them are waited for.
    folders: BTreeMap<PathBuf, usize>,
    files: BTreeMap<UnitName, BTreeSet<PathBuf>>,
}

/// What a set of files looked like: enough to see that one was replaced, written or made.
pub(super) type Look = Vec<Option<(u64, u64, i64, i64)>>;

/// Looks at the files that a service names in `watch_config`.
pub(super) fn look(spec: &ServiceSpec) -> Look {
    use std::os::unix::fs::MetadataExt;
    let one = |path: &PathBuf| std::fs::metadata(path).ok().map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
    spec.watch_config.iter().map(one).collect()
}

impl Changes {
    pub(super) fn new(waker: Arc<Poller>) -> Self {
        Self { waker, touched: Touched::default(), watcher: None, folders: BTreeMap::new(), files: BTreeMap::new() }
    }

    /// Begins to watch what `spec` may be held for. A folder that cannot be watched is left to the slow retry.
    pub(super) fn watch(&mut self, spec: &ServiceSpec) {
        if self.watches(&spec.name) {
            return;
        }
        if self.watcher.is_none() {
            let (waker, touched) = (self.waker.clone(), self.touched.clone());
            let tell = move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                if event.kind.is_access() {
                    return;
                }
                touched.lock().unwrap_or_else(PoisonError::into_inner).extend(event.paths);
                // A loop that is gone needs no waking.
                let _ = waker.notify();
            };
            self.watcher = notify::recommended_watcher(tell).ok();
        }
        let files = waited_for(spec);
        for file in &files {
            let Some(folder) = file.parent() else { continue };
            let count = self.folders.entry(folder.into()).or_insert(0);
            *count += 1;
            if *count == 1
                && let Some(watcher) = &mut self.watcher
            {
                let _ = watcher.watch(folder, RecursiveMode::NonRecursive);
            }
        }
        self.files.insert(spec.name.clone(), files);
    }

    pub(super) fn watches(&self, name: &UnitName) -> bool {
        self.files.contains_key(name)
    }

    /// Ends it.
    pub(super) fn unwatch(&mut self, name: &UnitName) {
        let Some(files) = self.files.remove(name) else { return };
        for folder in files.iter().filter_map(|file| file.parent()) {
            let Some(count) = self.folders.get_mut(folder) else { continue };
            *count -= 1;
            if *count == 0 {
                self.folders.remove(folder);
                if let Some(watcher) = &mut self.watcher {
                    let _ = watcher.unwatch(folder);
                }
            }
        }
        if self.files.is_empty() {
            self.watcher = None;
        }
    }

    /// The services that wait for a file touched since the last call.
    pub(super) fn take(&mut self) -> Vec<UnitName> {
        if self.files.is_empty() {
            return Vec::new();
        }
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        if touched.is_empty() {
            return Vec::new();
        }
        let hit = |file: &PathBuf| touched.iter().any(|t| t == file || same_name(t, file));
        self.files.iter().filter(|(_, files)| files.iter().any(hit)).map(|(name, _)| name.clone()).collect()
    }
}

/// Events carry real paths (on macOS `/private/tmp` for `/tmp`), so the last part decides where the folders differ in spelling.
fn same_name(touched: &Path, file: &Path) -> bool {
    touched.file_name() == file.file_name()
        && touched.parent().and_then(|p| p.canonicalize().ok()) == file.parent().and_then(|p| p.canonicalize().ok())
}

fn waited_for(spec: &ServiceSpec) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = spec.watch_config.iter().chain(&spec.env_file).cloned().collect();
    if let Program::Command(argv) = &spec.program
        && let Some(program) = argv.first()
    {
        if program.contains('/') {
            files.insert(program.into());
        } else {
            let nothing = BTreeMap::new();
            let path = environment::search_path(spec, &nothing);
            files.extend(path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(program)));
        }
    }
    files.insert(spec.cwd.clone());
    files
}
