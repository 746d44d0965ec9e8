//! Hints are looked at.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::eye::Hint;
use super::super::items::{Key, Seen, Stage};
use super::super::judge::{Stat, Verdict, judge, was_there};
use super::super::look::{self, Found};
use super::super::table::{Elsewhere, Gone, Known, Told, split};
use super::{GRACE, Keeper};
use crate::model::{Moment, WatchOn};

/// A path's bytes.
pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// A path of bytes.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Both together.
pub(super) fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Hints that are looked at in one turn.
const LOOKS: usize = 32;

impl Keeper {
    /// Looks at what was told; at the rest of it in the next turn, so that handlers begin meanwhile.
    pub(super) fn take_hints(&mut self, now: Moment) -> Told<()> {
        let Some(eye) = &self.eye else { return Ok(()) };
        if self.hints.is_empty() {
            let hints = eye.take();
            if hints.lost {
                self.scan_all(true);
            }
            self.hints = hints.paths.into_iter().collect();
        }
        let left = self.hints.len().saturating_sub(LOOKS);
        for (told, hint) in self.hints.split_off(left) {
            if self.canary.sees(&told, now) {
                continue;
            }
            let mut is_covered = false;
            for root in 0..self.roots.len() {
                let Some(below) = self.roots[root].below(&told) else { continue };
                is_covered = true;
                if below.is_empty() {
                    self.check_root(root, now)?;
                    // Word of one that was there before may have ended the watch of the one that is there now, and those below it.
                    if hint.name && self.roots[root].there.is_some() {
                        self.roots[root].scan.push(Vec::new());
                    }
                } else {
                    self.take_hint(root, below, hint, now)?;
                }
            }
            // The folder above one that is not there may be another root's.
            if !is_covered || (hint.name && self.roots.iter().any(|root| root.waits_for(&told))) {
                self.check_absent_roots(now)?;
            }
        }
        Ok(())
    }

    fn take_hint(&mut self, root: usize, below: Vec<u8>, hint: Hint, now: Moment) -> Told<()> {
        let set = &self.sets[self.roots[root].set];
        if !set.spec.recursive && below.contains(&b'/') {
            return Ok(());
        }
        let key = (root, below);
        let item = self.items.get(&key);
        let settles = item.is_some_and(|item| matches!(item.stage, Stage::Settling { .. }));
        if !hint.name && !hint.made && !set.wants_content() && !settles {
            return Ok(());
        }
        if set.ignores_all_of(path(&key.1)) || self.roots[root].is_own(&key.1) {
            return Ok(());
        }
        match item.map(|item| &item.stage) {
            Some(Stage::Settling { .. }) => self.look_again(&key, now),
            // It is looked at when its handler begins, and when it has ended.
            Some(Stage::Ready { .. } | Stage::Running) => {
                self.items.is_told(&key);
                Ok(())
            }
            None => self.look(&key, hint, now),
        }
    }

    /// Looks at what may have come, gone or changed, of which that was told.
    pub(super) fn look(&mut self, key: &Key, hint: Hint, now: Moment) -> Told<()> {
        let root = &self.roots[key.0];
        let Some(there) = &root.there else { return Ok(()) };
        let at = there.real.join(path(&key.1));
        match look::at(&at) {
            Found::File(stat) => {
                let known = self.table.known(root.id, &key.1)?;
                // What has got a further name was made before.
                let made = Hint { made: hint.made && !hint.name && stat.links < 2, ..hint };
                self.consider(key, &known, stat, made, now)
            }
            Found::Folder(_) => {
                if self.sets[root.set].spec.recursive && !self.sets[root.set].ignores(path(&key.1), true) {
                    self.roots[key.0].scan.push(key.1.clone());
                }
                Ok(())
            }
            Found::Absent | Found::Other => self.is_gone(key, &at, now),
            Found::Denied(error) => {
                let (why, _) = look::denied(&at, &error);
                self.roots[key.0].trouble(&at, why);
                Ok(())
            }
        }
    }

    /// A file that is there: what that means, and what follows.
    pub(super) fn consider(
        &mut self,
        key: &Key,
        known: &Known,
        stat: Stat,
        Hint { made, closed, .. }: Hint,
        now: Moment,
    ) -> Told<()> {
        let root = &self.roots[key.0];
        let (id, since, set) = (root.id, root.since, root.set);
        if self.items.is_told(key) || known.is_under_way {
            return Ok(());
        }
        let Known { folder, file: known, .. } = *known;
        let is_known = known.is_some_and(|(known, _)| stat.is_file(&known));
        let elsewhere = if is_known || made { None } else { self.elsewhere(key, &stat)? };
        let on = self.sets[set].on;
        match judge(on, &stat, known.as_ref().map(|(known, _)| known), elsewhere.is_some()) {
            Verdict::Known => {
                if let (Some(folder), Some((_, true))) = (folder, known) {
                    self.table.begin()?;
                    self.table.back(folder, split(&key.1).1)?;
                }
            }
            Verdict::Refresh => self.know(key, folder, &stat)?,
            Verdict::Moved => {
                let Some(from) = elsewhere else { return Ok(()) };
                let to = self.folder_id(key, folder)?;
                self.table.move_file((from.folder, &from.name), (to, split(&key.1).1), &stat)?;
                if on.renamed {
                    let origin = joined(&from.path, &from.name);
                    self.table.put(id, &key.1, WatchOn::Renamed, Some(&origin), now.wall_ms)?;
                    self.work_due = Some(0);
                }
            }
            Verdict::Handle(_) if known.is_none() && since.is_some_and(|since| was_there(&stat, since)) => {
                self.know(key, folder, &stat)?;
            }
            Verdict::Handle(_) if self.items.is_full() => self.roots[key.0].scan.once_more(),
            Verdict::Handle(event) => {
                // That its writer closes it will be told.
                let seen = if made && !closed { Seen { stat, is_open: true } } else { self.seen(key, stat) };
                let settle = self.sets[set].spec.settle;
                self.items.settle(key.clone(), set, event, seen, now.mono, settle);
            }
        }
        Ok(())
    }

    /// It is as it is, and that is nothing to be handled.
    fn know(&self, key: &Key, folder: Option<i64>, stat: &Stat) -> Told<()> {
        self.table.know(self.folder_id(key, folder)?, split(&key.1).1, stat, None)
    }

    /// The number of a file's folder, unless it is known, for writing.
    fn folder_id(&self, key: &Key, known: Option<i64>) -> Told<i64> {
        self.table.begin()?;
        known.map_or_else(|| self.table.folder_id(self.roots[key.0].id, split(&key.1).0), Ok)
    }

    /// With whether somebody writes it.
    pub(super) fn seen(&self, key: &Key, stat: Stat) -> Seen {
        Seen { stat, is_open: look::is_being_written(&self.real_path(key)) }
    }

    /// Where a file really is.
    pub(super) fn real_path(&self, key: &Key) -> PathBuf {
        let root = &self.roots[key.0];
        root.there.as_ref().map_or_else(|| root.declared.clone(), |there| there.real.clone()).join(path(&key.1))
    }

    /// Where the same file is known to have been, and is not any more.
    fn elsewhere(&self, key: &Key, stat: &Stat) -> Told<Option<Elsewhere>> {
        let root = &self.roots[key.0];
        for other in self.table.by_number(root.id, stat)? {
            let below = joined(&other.path, &other.name);
            if below == key.1 || !stat.is_file(&other.stat) {
                continue;
            }
            // A file with one name that is seen under another has got that one: where names differ in case only, or in how an accent
            // is written, it is found under both.
            let is_gone = stat.links == 1
                || !matches!(look::at(&self.real_path(&(key.0, below))), Found::File(there) if there.is_file(stat));
            if is_gone {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Nothing that counts is at a path: what was known of it may be found under another name.
    pub(super) fn is_gone(&mut self, key: &Key, at: &Path, now: Moment) -> Told<()> {
        self.roots[key.0].has_lost(at);
        let root = self.roots[key.0].id;
        let (folder, name) = split(&key.1);
        self.table.begin()?;
        let mut any = match self.table.folder(root, folder)? {
            Some(folder) => self.table.gone(folder.id, name, now.wall_ms)?,
            None => false,
        };
        if self.table.folder(root, &key.1)?.is_some() {
            any |= self.table.folder_gone(root, &key.1, now.wall_ms)? > 0;
            if let Some(eye) = &mut self.eye {
                eye.forget(at);
            }
        }
        if any {
            self.gone_due = Some(now.mono.plus(GRACE));
        }
        Ok(())
    }

    /// What is gone for long enough is forgotten, or handled as removed.
    pub(super) fn finish_gone(&mut self, now: Moment) -> Told<()> {
        // A scan that is under way may still find it.
        if self.gone_due.is_none_or(|due| due > now.mono) || self.is_scanning() {
            return Ok(());
        }
        self.gone_due = None;
        let gone = self.table.gone_files(super::ENTRIES)?;
        self.table.begin()?;
        if gone.is_empty() {
            return self.table.forget_empty_folders();
        }
        // There may be more.
        self.gone_due = Some(now.mono);
        for Gone { folder, name, root: id, path } in gone {
            let root = self.roots.iter().find(|root| root.id == id);
            if root.is_some_and(|root| self.sets[root.set].on.removed) {
                let below = joined(&path, &name);
                self.table.put(id, &below, WatchOn::Removed, None, now.wall_ms)?;
                self.work_due = Some(0);
            }
            self.table.forget(folder, &name)?;
        }
        Ok(())
    }
}
