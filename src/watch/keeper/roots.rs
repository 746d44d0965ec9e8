//! The folders of services.toml: there, absent, denied, watched or polled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::eye::Unwatched;
use super::super::look::{self, Place};
use super::super::own;
use super::super::table::Told;
use super::Keeper;
use super::hints::bytes;
use super::scanning::Scan;
use crate::model::{Moment, Mono, WatchState, WatchedFolder};
use crate::process::volume;

/// Between two scans where the system tells of no changes.
const POLL_EVERY: Duration = Duration::from_secs(30);

/// Troubles that are remembered of a root.
const TROUBLES: usize = 20;

/// A folder of services.toml.
#[derive(Debug)]
pub(in crate::watch) struct Root {
    /// Its set's number.
    pub(in crate::watch) set: usize,
    /// As it is written there.
    pub(in crate::watch) declared: PathBuf,
    /// Its number in the table.
    pub(in crate::watch) id: i64,
    /// Files that are older were there when watching began; `None`: all of those are known.
    pub(in crate::watch) since: Option<i64>,
    pub(in crate::watch) there: Option<There>,
    pub(in crate::watch) scan: Scan,
    pub(in crate::watch) next_poll: Option<Mono>,
    pub(in crate::watch) was_scanned: bool,
    /// Where it cannot be told of changes, and why.
    pub(in crate::watch) unwatched: Option<(PathBuf, String)>,
    denied: Option<(String, String)>,
    troubles: BTreeMap<PathBuf, String>,
    /// Watched while there is none: the nearest folder above it that there is.
    vigil: Option<PathBuf>,
}

/// A folder that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct There {
    /// Where it is when all links are followed.
    pub(in crate::watch) real: PathBuf,
    identity: (u64, u64),
    poll: Option<Duration>,
    /// What is the supervisor's own below it.
    own: Vec<Vec<u8>>,
}

impl Root {
    pub(in crate::watch) fn new(set: usize, declared: PathBuf, known: super::super::table::Root) -> Self {
        Self {
            set,
            declared,
            id: known.id,
            since: known.since,
            there: None,
            scan: Scan::default(),
            next_poll: None,
            was_scanned: false,
            unwatched: None,
            denied: None,
            troubles: BTreeMap::new(),
            vigil: None,
        }
    }

    /// A path below it; empty: the root itself.
    pub(super) fn below(&self, path: &Path) -> Option<Vec<u8>> {
        let there = self.there.as_ref()?;
        path.strip_prefix(&there.real).ok().map(|below| bytes(below).to_vec())
    }

    /// Whether a path below it is the supervisor's own.
    pub(super) fn is_own(&self, below: &[u8]) -> bool {
        self.there.as_ref().is_some_and(|there| own::holds(&there.own, below))
    }

    /// A part of it cannot be read.
    pub(super) fn trouble(&mut self, path: &Path, why: String) {
        if self.troubles.len() < TROUBLES || self.troubles.contains_key(path) {
            self.troubles.insert(path.to_owned(), why);
        }
    }

    /// It can.
    pub(super) fn is_well(&mut self, path: &Path) {
        self.troubles.remove(path);
    }

    /// Nothing is there any more, nor below.
    pub(super) fn has_lost(&mut self, path: &Path) {
        self.troubles.retain(|of, _| !of.starts_with(path));
        self.has_one_less(|of| of.starts_with(path));
    }

    /// It has been scanned: what could not be read and is gone is no trouble.
    pub(super) fn forget_troubles_gone(&mut self) {
        let is_gone = |of: &Path| matches!(look::at(of), look::Found::Absent);
        self.troubles.retain(|of, _| !is_gone(of));
        self.has_one_less(is_gone);
    }

    /// What could not be read is looked at again: nobody tells that it can be.
    pub(super) fn scan_troubles(&mut self) {
        let again: Vec<Vec<u8>> = self.troubles.keys().filter_map(|path| self.below(path)).collect();
        again.into_iter().for_each(|below| self.scan.push(below));
    }

    /// Whether it is not there, and something that has come or gone at this path may change that.
    pub(super) fn waits_for(&self, told: &Path) -> bool {
        let is_near = |vigil: &PathBuf| told == vigil || told.parent() == Some(vigil);
        self.there.is_none() && self.vigil.as_ref().is_some_and(is_near)
    }

    /// Nobody tells of changes there: it is polled.
    pub(super) fn is_unwatched(&mut self, path: &Path, why: &str) {
        self.unwatched.get_or_insert_with(|| (path.to_owned(), why.to_owned()));
    }

    /// A part of it that nobody told of is watched, or gone. It was the first of such parts: a scan tells whether there are more.
    pub(super) fn has_one_less(&mut self, is_meant: impl FnOnce(&Path) -> bool) {
        if self.unwatched.take_if(|(path, _)| is_meant(path)).is_some() {
            self.scan.once_more();
        }
    }

    /// How often it is scanned because nobody tells of changes.
    pub(super) fn poll(&self) -> Option<Duration> {
        let there = self.there.as_ref()?;
        there.poll.or(self.unwatched.as_ref().map(|_| POLL_EVERY))
    }

    /// As a person is told.
    pub(in crate::watch) fn told(&self) -> WatchedFolder {
        let path = self.declared.to_string_lossy().into_owned();
        let (state, why, remedy) = match (&self.denied, &self.there) {
            (Some((why, remedy)), _) => (WatchState::Denied, Some(why.clone()), Some(remedy.clone())),
            (None, None) => (WatchState::Absent, None, None),
            (None, Some(there)) => match (self.troubles.first_key_value(), &self.unwatched, there.poll) {
                (Some((_, why)), ..) => {
                    let more = self.troubles.len() - 1;
                    let why = if more > 0 { format!("{why}; and {more} more") } else { why.clone() };
                    let remedy = "let this user read it, or put it into `ignore`";
                    (WatchState::Partly, Some(why), Some(remedy.to_owned()))
                }
                (None, Some((path, why)), every) => {
                    let every = every.unwrap_or(POLL_EVERY).as_secs_f64();
                    let why = format!("{} is scanned every {every} s: {why}", path.display());
                    let remedy = "raise fs.inotify.max_user_watches, or put folders that do not matter into `ignore`";
                    (WatchState::Partly, Some(why), cfg!(target_os = "linux").then(|| remedy.to_owned()))
                }
                (None, None, Some(every)) => {
                    let why = format!("scanned every {} s", every.as_secs_f64());
                    (WatchState::Polled, Some(why), None)
                }
                (None, None, None) => (WatchState::Watched, None, None),
            },
        };
        WatchedFolder { path, state, why, remedy }
    }
}

impl Keeper {
    /// Looks whether a folder of services.toml is there, and is the one it was.
    pub(super) fn check_root(&mut self, index: usize, now: Moment) -> Told<()> {
        let place = look::place(&self.roots[index].declared);
        let root = &mut self.roots[index];
        root.denied = None;
        match place {
            Place::There(real, stat) => {
                let identity = (stat.dev, stat.ino);
                if root.there.as_ref().is_some_and(|there| there.real == real && there.identity == identity) {
                    return Ok(());
                }
                let written = self.sets[root.set].spec.poll;
                let poll = written.or_else(|| (!volume::tells_of_changes(&real)).then_some(POLL_EVERY));
                let own = self.own.below(&real);
                let before = root.there.replace(There { real, identity, poll, own });
                root.next_poll = poll.map(|every| now.mono.plus(every));
                root.unwatched = None;
                root.troubles.clear();
                root.scan.begin_whole();
                let vigil = root.vigil.take();
                self.work_due = Some(0);
                self.forget_watches(before.map(|there| there.real), vigil);
            }
            Place::Absent => {
                if root.since.take().is_some() {
                    // What comes there now has not been there before.
                    self.table.begin()?;
                    self.table.taken(root.id)?;
                }
                self.leave(index);
                if !self.keep_vigil(index) {
                    self.next_check = now.mono;
                }
            }
            Place::Denied(why, remedy) => {
                root.denied = Some((why, remedy));
                self.leave(index);
            }
        }
        Ok(())
    }

    /// Nothing of a root can be looked at for now.
    fn leave(&mut self, index: usize) {
        let root = &mut self.roots[index];
        let before = root.there.take();
        root.next_poll = None;
        root.scan = Scan::default();
        let set = root.set;
        self.items.forget(|of| of == index, |_| set);
        self.reload = true;
        self.forget_watches(before.map(|there| there.real), None);
    }

    /// Looks at those that are not there.
    pub(super) fn check_absent_roots(&mut self, now: Moment) -> Told<()> {
        for root in 0..self.roots.len() {
            if self.roots[root].there.is_none() {
                self.check_root(root, now)?;
            }
        }
        Ok(())
    }

    /// Roots that nobody tells of are scanned when it is time.
    pub(super) fn poll_roots(&mut self, now: Mono) {
        for root in &mut self.roots {
            let Some(every) = root.poll() else {
                root.next_poll = None;
                continue;
            };
            if root.next_poll.is_none_or(|due| due <= now) {
                root.next_poll = Some(now.plus(every));
                if !root.scan.is_under_way() {
                    root.scan.begin_whole();
                }
            }
        }
    }

    /// Watches the nearest folder above a root that there is. `false`: something has come or gone before it was watched, which nobody
    /// tells of.
    fn keep_vigil(&mut self, index: usize) -> bool {
        let declared = self.roots[index].declared.clone();
        let nearest = || declared.ancestors().skip(1).find_map(|above| above.canonicalize().ok());
        let above = nearest();
        if above != self.roots[index].vigil {
            let old = self.roots[index].vigil.take();
            self.forget_watches(None, old);
        }
        let (Some(above), Some(eye)) = (above, &mut self.eye) else { return true };
        // One that is watched already may be another one under the same name.
        match eye.watch(&above, false) {
            Ok(()) => {
                self.roots[index].vigil = Some(above);
                nearest() == self.roots[index].vigil && matches!(look::place(&declared), Place::Absent)
            }
            Err(why) => why != Unwatched::Absent,
        }
    }

    /// Gives up watches of a root that is elsewhere now, and of a folder above one; what another root needs is watched again by its scan.
    fn forget_watches(&mut self, real: Option<PathBuf>, vigil: Option<PathBuf>) {
        let Some(eye) = &mut self.eye else { return };
        if let Some(real) = real {
            eye.forget(&real);
            for root in &mut self.roots {
                let shares = |there: &There| there.real.starts_with(&real) || real.starts_with(&there.real);
                if root.there.as_ref().is_some_and(shares) {
                    root.scan.begin_whole();
                }
            }
        }
        if let Some(vigil) = vigil {
            let is_needed = self.roots.iter().any(|root| {
                root.vigil.as_ref() == Some(&vigil)
                    || root.there.as_ref().is_some_and(|there| vigil.starts_with(&there.real))
            });
            if !is_needed {
                eye.forget_one(&vigil);
            }
        }
    }
}
