//! Which files go, by age and by size, and removing them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;

/// A file that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// When it was last written, milliseconds since 1970 UTC.
    pub(super) written_ms: i64,
    pub(super) bytes: u64,
    id: (u64, u64),
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// The regular files of a folder; none where there is no folder. What ends while we look is left out.
pub(super) fn files(folder: &Path) -> Result<Vec<Found>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io("cannot read", folder, &e).hint("make it readable for this user"))?,
    };
    let found = |entry: fs::DirEntry| {
        // Of the entry itself: a link is no file of ours.
        let data = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let written_ms = data.mtime().saturating_mul(1000).saturating_add(data.mtime_nsec() / 1_000_000);
        Some(Found { path: entry.path(), written_ms, bytes: data.len(), id: (data.dev(), data.ino()) })
    };
    Ok(entries.flatten().filter_map(found).collect())
}

/// Of `files`, those that were last written longer ago than `age`, and the oldest of the others until all, with `fixed` bytes that
/// stay whatever happens, are no more than `most` bytes.
pub(super) fn doomed(mut files: Vec<Found>, fixed: u64, now_ms: i64, age: Duration, most: u64) -> Vec<Found> {
    let oldest = now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    files.sort_by(|a, b| (a.written_ms, &b.path).cmp(&(b.written_ms, &a.path)));
    let mut total = files.iter().fold(fixed, |sum, file| sum.saturating_add(file.bytes));
    let goes = |file: &Found| {
        let goes = file.written_ms < oldest || total > most;
        total = if goes { total.saturating_sub(file.bytes) } else { total };
        goes
    };
    files.into_iter().filter(goes).collect()
}

/// Removes them, if they still are what was found: whoever rotates gives files the names of others.
pub(super) fn remove(files: &[Found]) -> (Removed, Vec<Error>) {
    let (mut removed, mut wrong) = (Removed::default(), Vec::new());
    for file in files {
        let same = fs::symlink_metadata(&file.path).is_ok_and(|data| (data.dev(), data.ino()) == file.id);
        if !same {
            continue;
        }
        match fs::remove_file(&file.path) {
            Ok(()) => {
                removed.files += 1;
                removed.bytes += file.bytes;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                let hint = "make its folder writable for this user, or remove it by hand";
                wrong.push(Error::io("cannot remove", &file.path, &e).hint(hint));
            }
        }
    }
    (removed, wrong)
}
