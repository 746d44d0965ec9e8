//! Tells when something changed that a held service was held for: its `watch_config`, its program and what reads that, its
//! `env_file`, its working directory.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::environment;
use crate::model::{Program, ServiceSpec, UnitName};
use crate::process::folders::Folders;
use crate::process::spawn::interpreter;

/// So many folders that appear one below the other are followed at once.
const DEEPEST: usize = 32;

/// The files that held services wait for. Folders are watched only while something is held.
pub(super) struct Changes {
    folders: Folders,
    waiting: BTreeMap<UnitName, Waiting>,
}

struct Waiting {
    files: BTreeSet<PathBuf>,
    look: Look,
}

/// What a set of files looks like: enough to see that one was made, replaced, written or permitted.
pub(super) type Look = Vec<Option<(u64, u64, i64, i64)>>;

/// Looks at the files that the program itself reads when it starts.
pub(super) fn look(spec: &ServiceSpec) -> Look {
    look_at(spec.watch_config.iter().chain(&spec.env_file))
}

fn look_at<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Look {
    use std::os::unix::fs::MetadataExt;
    let one = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        // What is in a folder changes all the time, not least by the service itself; it counts that it is there.
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
        Ok(Self { folders: Folders::new()?, waiting: BTreeMap::new() })
    }

    pub(super) fn watches(&self, name: &UnitName) -> bool {
        self.waiting.contains_key(name)
    }

    /// Begins to watch what `spec` may be held for. A folder that cannot be watched is left to the slow retry.
    pub(super) fn watch(&mut self, spec: &ServiceSpec) {
        if self.watches(&spec.name) {
            return;
        }
        self.waiting.insert(spec.name.clone(), Waiting { files: waited_for(spec), look: Look::new() });
        self.follow();
        if let Some(waiting) = self.waiting.get_mut(&spec.name) {
            waiting.look = look_at(waiting.files.iter());
        }
    }

    /// Ends it.
    pub(super) fn unwatch(&mut self, name: &UnitName) {
        if self.waiting.remove(name).is_some() {
            self.follow();
        }
    }

    /// The services whose files have changed since the last call.
    pub(super) fn take(&mut self) -> Vec<UnitName> {
        if !self.folders.take() {
            return Vec::new();
        }
        // Before anybody looks: what is made while a new watch is set up tells nobody, but is there by then.
        self.follow();
        let mut names = Vec::new();
        for (name, waiting) in &mut self.waiting {
            let look = look_at(waiting.files.iter());
            if look != waiting.look {
                waiting.look = look;
                names.push(name.clone());
            }
        }
        names
    }

    /// Watches the folder of each file, or the nearest one above it that there is.
    fn follow(&mut self) {
        for _ in 0..DEEPEST {
            let mut wanted: BTreeMap<PathBuf, Vec<&Path>> = BTreeMap::new();
            for file in self.waiting.values().flat_map(|waiting| &waiting.files) {
                if let Some(folder) = file.ancestors().skip(1).find(|folder| folder.is_dir()) {
                    wanted.entry(folder.into()).or_default().push(file);
                }
            }
            if !self.folders.follow(&wanted) {
                return;
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folders.as_fd()
    }
}

fn waited_for(spec: &ServiceSpec) -> BTreeSet<PathBuf> {
    let programs = programs(spec);
    // A script waits for the program that is to read it, too.
    let readers = programs.iter().filter(|path| path.is_file()).filter_map(|path| interpreter(path)).map(PathBuf::from);
    let mut files: BTreeSet<PathBuf> = readers.filter(|path| path.is_absolute()).collect();
    files.extend(spec.watch_config.iter().chain(&spec.env_file).chain([&spec.cwd]).cloned());
    files.extend(programs);
    files
}

/// Where the service's program is, or may come to be.
fn programs(spec: &ServiceSpec) -> Vec<PathBuf> {
    match &spec.program {
        Program::Command(argv) => match argv.first() {
            Some(program) if program.contains('/') => vec![spec.cwd.join(program)],
            Some(program) => {
                let path = environment::search_path(&spec.env, &BTreeMap::new()).to_owned();
                path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(program)).collect()
            }
            None => Vec::new(),
        },
        Program::Builtin(_) => Vec::new(),
    }
}
