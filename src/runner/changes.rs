//! Tells when something changed that a held service was held for: its `watch_config`, its program, its `env_file`, its
//! working directory.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::environment;
use crate::model::{Program, ServiceSpec, UnitName};
use crate::process::folders::Folders;

/// The files that held services wait for. Folders are watched only while something is held.
pub(super) struct Changes {
    folders: Folders,
    /// Folders watched, with how many files in them are waited for.
    counts: BTreeMap<PathBuf, usize>,
    waiting: BTreeMap<UnitName, Waiting>,
}

struct Waiting {
    files: BTreeSet<PathBuf>,
    look: Look,
}

/// What a set of files looks like: enough to see that one was made, replaced, written or permitted.
pub(super) type Look = Vec<Option<(u64, u64, i64, i64)>>;

/// Looks at the files that a service names in `watch_config`.
pub(super) fn look(spec: &ServiceSpec) -> Look {
    look_at(spec.watch_config.iter())
}

fn look_at<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Look {
    use std::os::unix::fs::MetadataExt;
    // A folder's times change with every file in it; that it is there is all that is waited for.
    let one = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some(if meta.is_dir() {
            (meta.ino(), 0, 0, 0)
        } else {
            (meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec())
        })
    };
    files.map(one).collect()
}

impl Changes {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { folders: Folders::new()?, counts: BTreeMap::new(), waiting: BTreeMap::new() })
    }

    pub(super) fn watches(&self, name: &UnitName) -> bool {
        self.waiting.contains_key(name)
    }

    /// Begins to watch what `spec` may be held for. A folder that cannot be watched is left to the slow retry.
    pub(super) fn watch(&mut self, spec: &ServiceSpec) {
        if self.watches(&spec.name) {
            return;
        }
        let files = waited_for(spec);
        for folder in folders_of(&files) {
            *self.counts.entry(folder.into()).or_insert(0) += 1;
            let inside: Vec<&Path> =
                files.iter().map(PathBuf::as_path).filter(|file| file.parent() == Some(folder)).collect();
            let _ = self.folders.watch(folder, &inside);
        }
        let look = look_at(files.iter());
        self.waiting.insert(spec.name.clone(), Waiting { files, look });
    }

    /// Ends it.
    pub(super) fn unwatch(&mut self, name: &UnitName) {
        let Some(waiting) = self.waiting.remove(name) else { return };
        for folder in folders_of(&waiting.files) {
            let Some(count) = self.counts.get_mut(folder) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(folder);
                self.folders.unwatch(folder);
            }
        }
    }

    /// The services whose files have changed since the last call.
    pub(super) fn take(&mut self) -> Vec<UnitName> {
        let changed = self.folders.take();
        let mut names = Vec::new();
        for (name, waiting) in &mut self.waiting {
            if folders_of(&waiting.files).iter().any(|folder| changed.iter().any(|c| c == folder)) {
                let look = look_at(waiting.files.iter());
                if look != waiting.look {
                    waiting.look = look;
                    names.push(name.clone());
                }
            }
        }
        names
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folders.as_fd()
    }
}

fn folders_of(files: &BTreeSet<PathBuf>) -> BTreeSet<&Path> {
    files.iter().filter_map(|file| file.parent()).collect()
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
