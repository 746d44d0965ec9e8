//! Handlers that run with files of which nothing else is down: a beginning for each, in a small file beside the table.
//!
//! A row for each beginning would be a transaction before every handler, and two for every file: more than all else that is done for
//! it. What is written here is read only by the successor of a watcher that was killed: such a file is not known as dealt with, so it is
//! found again in any case, and here stands how often its handler was started. After a loss of power it may be older or newer than the
//! table, and some files are handled a second time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::params;

use super::work::{WAITING, event};
use super::{Table, Told};
use crate::model::{WatchOn, stable_hash};
use crate::watch::judge::Stat;

/// From one beginning to the next, bytes: more than any path has.
const ROOM: u64 = 8 * 1024;

/// Hash and length.
const HEAD: usize = 12;

/// What follows is as it is below.
const FORM: u8 = 1;

/// Longest word for an event.
const WORD: usize = 8;

/// A handler that began with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Beginning {
    pub(in crate::watch) root: i64,
    /// The file, below the root.
    pub(in crate::watch) path: Vec<u8>,
    pub(in crate::watch) event: WatchOn,
    /// How often its handler was started.
    pub(in crate::watch) attempts: u32,
    /// As it was then.
    pub(in crate::watch) stat: Stat,
}

/// Where a beginning stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::watch) struct Place(u32);

/// The file.
#[derive(Debug)]
pub(super) struct Beginnings {
    file: File,
    free: Vec<Place>,
    places: u32,
}

impl Beginnings {
    /// Opens it, or makes it; and what its last writer left in it.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Beginning>)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let places = u32::try_from(file.metadata()?.len().div_ceil(ROOM)).map_err(io::Error::other)?;
        let mut left = Vec::new();
        for place in 0..places {
            left.extend(read(&file, Place(place))?);
        }
        Ok((Self { file, free: (0..places).rev().map(Place).collect(), places }, left))
    }

    /// It outlives us from now on.
    fn put(&mut self, beginning: &Beginning) -> io::Result<Place> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places += 1;
            Place(self.places - 1)
        });
        self.file.write_all_at(&written(beginning)?, at(place)).inspect_err(|_| self.free.push(place))?;
        Ok(place)
    }

    /// It has ended.
    fn erase(&mut self, place: Place) -> io::Result<()> {
        self.free.push(place);
        self.file.write_all_at(&[0; HEAD], at(place))
    }

    /// All have.
    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.free, self.places) = (Vec::new(), 0);
        Ok(())
    }
}

fn at(place: Place) -> u64 {
    u64::from(place.0) * ROOM
}

fn written(beginning: &Beginning) -> io::Result<Vec<u8>> {
    let Beginning { root, path, event, attempts, stat } = beginning;
    let mut word = [0; WORD];
    word[..event.as_str().len()].copy_from_slice(event.as_str().as_bytes());
    let mut body = vec![FORM];
    body.extend(word);
    body.extend(attempts.to_le_bytes());
    for number in [*root, stat.born, stat.modified] {
        body.extend(number.to_le_bytes());
    }
    for number in [stat.dev, stat.ino, stat.size] {
        body.extend(number.to_le_bytes());
    }
    body.extend(path);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let whole = [stable_hash(body.iter().copied()).to_le_bytes().as_slice(), &length.to_le_bytes(), &body].concat();
    if whole.len() as u64 > ROOM { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(whole) }
}

/// What stands there; half of one is none: its handler was not started yet.
fn read(file: &File, place: Place) -> io::Result<Option<Beginning>> {
    let mut whole = vec![0; usize::try_from(ROOM).map_err(io::Error::other)?];
    let mut had = 0;
    while had < whole.len() {
        match file.read_at(&mut whole[had..], at(place) + had as u64)? {
            0 => break,
            more => had += more,
        }
    }
    whole.truncate(had);
    Ok(beginning(&whole))
}

fn beginning(whole: &[u8]) -> Option<Beginning> {
    let (hash, rest) = whole.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let body = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if stable_hash(body.iter().copied()) != u64::from_le_bytes(*hash) {
        return None;
    }
    let mut rest = body.strip_prefix(&[FORM])?;
    let word: [u8; WORD] = take(&mut rest)?;
    let attempts = u32::from_le_bytes(take(&mut rest)?);
    let (root, born, modified) = (signed(&mut rest)?, signed(&mut rest)?, signed(&mut rest)?);
    let (dev, ino, size) = (unsigned(&mut rest)?, unsigned(&mut rest)?, unsigned(&mut rest)?);
    let stat = Stat { dev, ino, born, size, modified, ..Stat::default() };
    let event = event(std::str::from_utf8(&word).ok()?.trim_end_matches('\0'));
    Some(Beginning { root, path: rest.to_vec(), event, attempts, stat })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn signed(rest: &mut &[u8]) -> Option<i64> {
    take(rest).map(i64::from_le_bytes)
}

fn unsigned(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

/// Who cannot write one of the two files can go on as little as who cannot write the other.
fn told(error: io::Error) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    rusqlite::Error::SqliteFailure(code, Some(format!("the beginning of a handler cannot be written: {error}")))
}

impl Table {
    /// A handler begins with a file of which nothing is down yet.
    pub(in crate::watch) fn begins(&mut self, beginning: &Beginning) -> Told<Place> {
        self.begun.put(beginning).map_err(told)
    }

    /// What became of it is down.
    pub(in crate::watch) fn is_over(&mut self, place: Place) -> Told<()> {
        self.begun.erase(place).map_err(told)
    }

    /// Whether handlers ran when our predecessor ended. To be asked before that is taken over.
    pub(in crate::watch) fn was_cut_off(&self) -> Told<bool> {
        Ok(!self.left.is_empty() || self.any_runs()?)
    }

    /// What ran when our predecessor was killed is due again, but for what it had written down the end of.
    pub(in crate::watch) fn take_over(&mut self) -> Told<()> {
        let left = std::mem::take(&mut self.left);
        self.begin()?;
        for beginning in &left {
            if !self.is_dealt_with(beginning)? {
                self.is_due_again(beginning)?;
            }
        }
        self.commit()?;
        self.begun.clear().map_err(told)
    }

    fn is_dealt_with(&self, beginning: &Beginning) -> Told<bool> {
        let known = self.known(beginning.root, &beginning.path)?;
        Ok(known.file.is_some_and(|(known, _)| known.is_file(&beginning.stat) && known.has_content_of(&beginning.stat)))
    }

    fn is_due_again(&self, beginning: &Beginning) -> Told<()> {
        let Beginning { root, path, event, attempts, .. } = beginning;
        let mut put = self.conn.prepare_cached(
            "INSERT INTO work (root, path, event, state, attempts, failures, due_ms, at_ms) \
             SELECT ?1, ?2, ?3, ?4, ?5, 0, 0, 0 WHERE EXISTS (SELECT 1 FROM root WHERE id = ?1) \
             ON CONFLICT (root, path) DO UPDATE SET event = excluded.event, state = excluded.state, \
             attempts = excluded.attempts, failures = 0, due_ms = 0 WHERE state = ?6",
        )?;
        // Of one that failed more is down there than here; who was given up before has changed since.
        put.execute(params![root, path, event.as_str(), WAITING, attempts, super::work::DEAD])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(path: &[u8], attempts: u32) -> Beginning {
        let stat = Stat { dev: 1, ino: u64::MAX, born: -5, size: 3, modified: 7, ..Stat::default() };
        Beginning { root: 4, path: path.to_vec(), event: WatchOn::Modified, attempts, stat }
    }

    #[test]
    fn what_has_not_ended_is_found_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("begun");
        let (mut begun, left) = Beginnings::open(&path).unwrap();
        assert_eq!(left, []);
        let long = vec![b'x'; 4096];
        let all = [beginning(b"a/b\xff", 1), beginning(&long, 2), beginning(b"", 3)];
        let places: Vec<Place> = all.iter().map(|one| begun.put(one).unwrap()).collect();
        begun.erase(places[0]).unwrap();
        let (mut next, left) = Beginnings::open(&path).unwrap();
        assert_eq!(left, all[1..]);
        next.clear().unwrap();
        assert_eq!(next.put(&all[0]).unwrap(), places[0]);
        assert_eq!(Beginnings::open(&path).unwrap().1, all[..1]);
        // Places are used again.
        begun.clear().unwrap();
        for _ in 0..3 {
            let place = begun.put(&all[1]).unwrap();
            begun.erase(place).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() < ROOM);
        assert_eq!(begun.put(&beginning(&vec![b'x'; 9000], 1)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn half_of_one_is_none_and_any_bytes_do_no_harm() {
        let whole = written(&beginning(b"folder/file", 1)).unwrap();
        assert_eq!(super::beginning(&whole), Some(beginning(b"folder/file", 1)));
        for end in 0..whole.len() {
            assert_eq!(super::beginning(&whole[..end]), None);
            let mut torn = whole.clone();
            torn[end] ^= 1;
            assert_eq!(super::beginning(&torn), None, "{end}");
        }
    }
}
