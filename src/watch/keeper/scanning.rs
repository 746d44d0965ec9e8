//! Scans: what is on disk is held against the table, a few entries a turn.
//!
//! A folder is watched before it is listed, so nothing that comes in between is missed. A scan stands still while as many files as are
//! kept in mind are on their way.

use std::fs::{self, ReadDir};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::eye::{Hint, Unwatched, sees_below};
use super::super::judge::Stat;
use super::super::look::{self, Found};
use super::super::table::{Folder, Told};
use super::hints::{joined, path};
use super::{ENTRIES, Keeper};
use crate::model::Moment;

/// A folder that was changed less than this before it was listed may be changed again without its time telling, nanoseconds. FAT counts
/// in two seconds.
const COARSE: i64 = 3_000_000_000;

/// What is to be listed of a root.
#[derive(Debug, Default)]
pub(in crate::watch) struct Scan {
    /// Folders below the root.
    stack: Vec<Vec<u8>>,
    listing: Option<Listing>,
    /// All of the root is being listed.
    is_whole: bool,
    /// Folders are held against their times: after this number.
    quick_after: Option<i64>,
    /// When it has ended all of it is listed again: something came in between that was not looked at.
    again: bool,
}

/// A folder that is being listed.
#[derive(Debug)]
struct Listing {
    id: i64,
    below: Vec<u8>,
    real: PathBuf,
    stat: Stat,
    begun_ns: i64,
    entries: Option<ReadDir>,
    /// Known files that were met.
    met: u64,
    /// Known files are looked for: after this one.
    after: Option<Vec<u8>>,
}

impl Scan {
    fn is_at_work(&self) -> bool {
        self.listing.is_some() || !self.stack.is_empty() || self.quick_after.is_some() || self.is_whole
    }

    pub(in crate::watch) fn is_under_way(&self) -> bool {
        self.is_at_work() || self.again
    }

    /// A folder is listed, and what is below it.
    pub(in crate::watch) fn push(&mut self, below: Vec<u8>) {
        if !self.stack.contains(&below) {
            self.stack.push(below);
        }
    }

    /// All is listed when what is under way has ended.
    pub(in crate::watch) fn once_more(&mut self) {
        self.again = true;
    }

    /// All is listed.
    pub(in crate::watch) fn begin_whole(&mut self) {
        *self = Self { stack: vec![Vec::new()], is_whole: true, ..Self::default() };
    }

    /// Folders are held against their times.
    pub(in crate::watch) fn begin_quick(&mut self) {
        if !self.is_under_way() {
            self.quick_after = Some(0);
        }
    }

    /// More is on its way than is kept in mind.
    pub(in crate::watch) fn is_behind(&self) -> bool {
        self.again
    }
}

impl Keeper {
    /// All roots are scanned: whole, or as far as the times of folders tell of changes.
    pub(super) fn scan_all(&mut self, whole: bool) {
        for root in &mut self.roots {
            if root.there.is_none() {
                continue;
            }
            let by_times = !whole && !self.sets[root.set].wants_content() && root.since.is_none();
            if by_times { root.scan.begin_quick() } else { root.scan.begin_whole() }
        }
    }

    /// Whether a scan is under way and may go on.
    pub(super) fn has_to_scan(&self) -> bool {
        let has_room = self.items.has_room();
        let may_go_on = |scan: &Scan| scan.is_at_work() || (scan.again && has_room);
        !self.items.is_full() && self.roots.iter().any(|root| root.there.is_some() && may_go_on(&root.scan))
    }

    /// Whether a scan is under way.
    pub(super) fn is_scanning(&self) -> bool {
        self.roots.iter().any(|root| root.scan.is_under_way())
    }

    /// Goes on with the scans for a turn.
    pub(super) fn scan(&mut self, now: Moment) -> Told<()> {
        let mut left = ENTRIES;
        for root in 0..self.roots.len() {
            while left > 0 && self.roots[root].there.is_some() && !self.items.is_full() {
                if let Some(listing) = self.roots[root].scan.listing.take() {
                    self.table.begin()?;
                    self.go_on(root, listing, &mut left, now)?;
                } else if let Some(below) = self.roots[root].scan.stack.pop() {
                    self.table.begin()?;
                    left -= 1;
                    self.begin_listing(root, below, now)?;
                } else if let Some(after) = self.roots[root].scan.quick_after {
                    self.table.begin()?;
                    self.compare_times(root, after, &mut left, now)?;
                } else if self.roots[root].scan.is_whole {
                    self.table.begin()?;
                    self.whole_is_done(root, now)?;
                } else if self.roots[root].scan.again && self.items.has_room() {
                    self.roots[root].scan.begin_whole();
                } else {
                    break;
                }
            }
        }
        Ok(())
    }

    fn whole_is_done(&mut self, root: usize, now: Moment) -> Told<()> {
        let root = &mut self.roots[root];
        root.scan.is_whole = false;
        root.forget_troubles_gone();
        self.table.scanned(root.id, now.wall_ms)?;
        if root.since.take().is_some() {
            self.table.taken(root.id)?;
        }
        if !std::mem::replace(&mut root.was_scanned, true) {
            let watches = self.eye.as_ref().map_or(0, super::Eye::watches);
            anstream::eprintln!("watches {} ({watches} watches)", root.declared.display());
        }
        Ok(())
    }

    /// Folders whose times have changed are listed, those that are gone are told.
    fn compare_times(&mut self, root: usize, after: i64, left: &mut usize, now: Moment) -> Told<()> {
        let found = self.table.folders(self.roots[root].id, after, *left)?;
        *left = left.saturating_sub(found.len().max(1));
        self.roots[root].scan.quick_after = found.last().map(|folder| folder.id);
        if found.is_empty() {
            self.roots[root].forget_troubles_gone();
            self.table.scanned(self.roots[root].id, now.wall_ms)?;
        }
        for folder in found {
            let key = (root, folder.path.clone());
            let real = self.real_path(&key);
            match look::at(&real) {
                Found::Folder(stat) if is_as_listed(&folder, &stat) => {}
                Found::Folder(_) => self.roots[root].scan.push(folder.path),
                // A root that is gone is seen to elsewhere.
                _ if folder.path.is_empty() => {}
                Found::Absent | Found::Other | Found::File(_) => self.is_gone(&key, &real, now)?,
                Found::Denied(error) => self.cannot_read(root, &real, &error),
            }
        }
        Ok(())
    }

    fn begin_listing(&mut self, root: usize, below: Vec<u8>, now: Moment) -> Told<()> {
        let key = (root, below);
        let real = self.real_path(&key);
        let Found::Folder(stat) = look::at(&real) else {
            if key.1.is_empty() {
                self.has_left(root, now);
                return Ok(());
            }
            return self.is_gone(&key, &real, now);
        };
        if !self.watch(root, &real) && key.1.is_empty() {
            self.has_left(root, now);
            return Ok(());
        }
        let entries = match fs::read_dir(&real) {
            Ok(entries) => entries,
            Err(_) if key.1.is_empty() => {
                self.has_left(root, now);
                return Ok(());
            }
            Err(e) => {
                self.cannot_read(root, &real, &e);
                return Ok(());
            }
        };
        self.roots[root].is_well(&real);
        let id = self.table.folder_id(self.roots[root].id, &key.1)?;
        let begun_ns = now.wall_ms.saturating_mul(1_000_000);
        let listing = Listing { id, below: key.1, real, stat, begun_ns, entries: Some(entries), met: 0, after: None };
        self.roots[root].scan.listing = Some(listing);
        Ok(())
    }

    /// A root that was there is not, or not any more as it was: nobody tells when it comes back, until that is seen to.
    fn has_left(&mut self, root: usize, now: Moment) {
        self.next_check = now.mono;
        self.roots[root].scan.once_more();
    }

    /// Watches a folder. `false`: it is not there any more.
    fn watch(&mut self, root: usize, real: &Path) -> bool {
        let below = self.sets[self.roots[root].set].spec.recursive;
        let root = &mut self.roots[root];
        // One watch has seen to all of it.
        if sees_below() && root.there.as_ref().is_some_and(|there| there.real != real) {
            return true;
        }
        match self.eye.as_mut().map(|eye| eye.watch(real, below)) {
            Some(Ok(())) => root.has_one_less(|path| path == real),
            // Its parent's listing sees that.
            Some(Err(Unwatched::Absent)) => return false,
            // Its own listing says so, and what to do; it is tried again with that.
            Some(Err(Unwatched::Denied)) => root.has_one_less(|path| path == real),
            Some(Err(Unwatched::Most)) => root.is_unwatched(real, "the system watches no more folders for this user"),
            Some(Err(Unwatched::Other(why))) => root.is_unwatched(real, &why),
            None => {
                let why = self.no_eye.clone().unwrap_or_default();
                root.is_unwatched(real, &format!("the system tells of no changes: {why}"));
            }
        }
        true
    }

    fn cannot_read(&mut self, root: usize, real: &Path, error: &std::io::Error) {
        let (why, _) = look::denied(real, error);
        self.roots[root].trouble(real, why);
    }

    fn go_on(&mut self, root: usize, mut listing: Listing, left: &mut usize, now: Moment) -> Told<()> {
        if let Some(mut entries) = listing.entries.take() {
            loop {
                if *left == 0 || self.items.is_full() {
                    listing.entries = Some(entries);
                    self.roots[root].scan.listing = Some(listing);
                    return Ok(());
                }
                *left -= 1;
                match entries.next() {
                    Some(Ok(entry)) => self.take_entry(root, &mut listing, &entry, now)?,
                    // What cannot be read of a listing is looked at with the next one.
                    Some(Err(_)) => {}
                    None => break,
                }
            }
            // None that is known is missing.
            if self.table.count_in(listing.id)? == listing.met {
                return self.listed(root, &listing, now);
            }
        }
        let names = self.table.names_in(listing.id, listing.after.as_deref(), (*left).max(1))?;
        *left = left.saturating_sub(names.len().max(1));
        let Some((last, _)) = names.last() else { return self.listed(root, &listing, now) };
        listing.after = Some(last.clone());
        for (name, dev) in names {
            let key = (root, joined(&listing.below, &name));
            // What is known of another volume is there when that volume is.
            let is_ours = dev == listing.stat.dev;
            if is_ours && !matches!(look::at(&listing.real.join(path(&name))), Found::File(_) | Found::Denied(_)) {
                self.table.gone(listing.id, &name, now.wall_ms)?;
                self.gone_due = Some(now.mono.plus(super::GRACE));
                self.items.remove_settling(&key, self.roots[root].set);
            }
        }
        self.roots[root].scan.listing = Some(listing);
        Ok(())
    }

    fn take_entry(&mut self, root: usize, listing: &mut Listing, entry: &fs::DirEntry, now: Moment) -> Told<()> {
        let name = entry.file_name();
        let key = (root, joined(&listing.below, name.as_bytes()));
        let set = &self.sets[self.roots[root].set];
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if set.ignores(path(&key.1), is_folder) || self.roots[root].is_own(&key.1) {
            return Ok(());
        }
        if is_folder {
            if set.spec.recursive {
                self.roots[root].scan.stack.push(key.1);
            }
            return Ok(());
        }
        let Found::File(stat) = look::at(&listing.real.join(&name)) else { return Ok(()) };
        let known = self.table.known(self.roots[root].id, &key.1)?;
        if known.file.is_some_and(|(_, gone)| !gone) {
            listing.met += 1;
        }
        self.consider(&key, &known, stat, Hint::default(), now)
    }

    /// A folder has been listed to its end.
    fn listed(&mut self, root: usize, listing: &Listing, now: Moment) -> Told<()> {
        for folder in self.table.folders_in(listing.id)? {
            let key = (root, folder.path.clone());
            let real = self.real_path(&key);
            let is_of_another_volume = folder.ino != 0 && folder.dev != listing.stat.dev;
            if !is_of_another_volume && matches!(look::at(&real), Found::Absent | Found::Other | Found::File(_)) {
                self.is_gone(&key, &real, now)?;
            }
        }
        let is_sure = listing.stat.modified < listing.begun_ns.saturating_sub(COARSE);
        let modified = if is_sure { listing.stat.modified } else { 0 };
        // A file that is on its way is not in the table yet: that folder is listed again.
        let modified = if self.roots[root].scan.again { 0 } else { modified };
        self.table.listed(listing.id, listing.stat.dev, listing.stat.ino, modified)
    }
}

fn is_as_listed(folder: &Folder, now: &Stat) -> bool {
    folder.modified != 0 && (folder.dev, folder.ino, folder.modified) == (now.dev, now.ino, now.modified)
}
