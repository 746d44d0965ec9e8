//! Numbering rotated files: `x.log.1` is the newest. What is on disk is the only truth, so that a process that was killed
//! in the middle leaves nothing that its successor could misread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Numbers above it are not ours. It bounds how many names a reader tries.
const HIGHEST: u32 = 9999;

/// One act of a rotation. After each of them every byte is in exactly one file, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Number `.0` becomes the next higher one; 0 is the current file.
    Shift(u32),
    /// The file of this number goes; 0 is the current file.
    Remove(u32),
}

/// Makes room for a new current file at `path`: rotated files move up by one as far as there is no gap among them (a gap
/// is what a killed rotation leaves), the current one becomes number 1, what is beyond `keep` is removed. Afterwards
/// nothing is at `path`.
pub fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    plan(&numbers(path)?, keep).into_iter().try_for_each(|act| perform(path, act))
}

/// The file of number `n`.
pub(super) fn numbered(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The numbers of the rotated files that are there, lowest (newest) first.
pub(super) fn numbers(path: &Path) -> io::Result<Vec<u32>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} cannot be a log file", path.display())));
    };
    let number = |file: &str| {
        let digits = file.strip_prefix(name)?.strip_prefix('.')?;
        digits.parse::<u32>().ok().filter(|n| (1..=HIGHEST).contains(n) && n.to_string() == digits)
    };
    let mut found: Vec<u32> =
        fs::read_dir(folder)?.filter_map(|entry| number(entry.ok()?.file_name().to_str()?)).collect();
    found.sort_unstable();
    Ok(found)
}

/// What is to be done, given the numbers on disk.
pub(super) fn plan(on_disk: &[u32], keep: u32) -> Vec<Act> {
    let keep = keep.min(HIGHEST);
    let too_old = on_disk.iter().rev().filter(|n| **n > keep).map(|n| Act::Remove(*n));
    if keep == 0 {
        return too_old.chain([Act::Remove(0)]).collect();
    }
    // Without a gap, the shift onto number `keep` removes what was there.
    let gap = (1..=keep).find(|n| !on_disk.contains(n)).unwrap_or(keep);
    too_old.chain((0..gap).rev().map(Act::Shift)).collect()
}

/// Does one act. What has gone meanwhile needs nothing done.
pub(super) fn perform(path: &Path, act: Act) -> io::Result<()> {
    let result = match act {
        Act::Shift(n) => fs::rename(numbered(path, n), numbered(path, n + 1)),
        Act::Remove(n) => fs::remove_file(numbered(path, n)),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_moves_first_and_a_gap_stops_the_shift() {
        use Act::{Remove, Shift};
        assert_eq!(plan(&[], 3), [Shift(0)]);
        assert_eq!(plan(&[1, 2], 3), [Shift(2), Shift(1), Shift(0)]);
        assert_eq!(plan(&[1, 2, 3], 3), [Shift(2), Shift(1), Shift(0)]);
        assert_eq!(plan(&[2, 3], 3), [Shift(0)]);
        assert_eq!(plan(&[1, 3, 4, 9], 3), [Remove(9), Remove(4), Shift(1), Shift(0)]);
        assert_eq!(plan(&[1, 2], 0), [Remove(2), Remove(1), Remove(0)]);
        assert_eq!(plan(&[1], 1), [Shift(0)]);
    }

    #[test]
    fn only_whole_numbers_without_ornaments_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        for name in [
            "x.log",
            "x.log.2",
            "x.log.10",
            "x.log.01",
            "x.log.0",
            "x.log.+3",
            "x.log.gz",
            "y.log.1",
            "x.log.1.gz",
            "x.log.10000",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        assert_eq!(numbers(&path).unwrap(), [2, 10]);
        rotate(&path, 5).unwrap();
        assert_eq!(numbers(&path).unwrap(), [1, 2]);
        assert_eq!(fs::read_to_string(numbered(&path, 1)).unwrap(), "x.log");
        assert!(!path.exists());
        rotate(&path, 5).unwrap();
        assert_eq!(numbers(&path).unwrap(), [2, 3], "the places of files count, present or not");
    }
}
