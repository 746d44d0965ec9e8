//! Numbering rotated files: `x.log.1` is the newest. What is on disk is the only truth, so that a process that was killed
//! in the middle leaves nothing that its successor could misread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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

/// What became of a log whose writer goes on with the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// So many bytes of it are in number 1 now, and it begins anew.
    Copied(u64),
    /// It was left alone: its writer does not append, but goes on where it was, so that a log that was cut has a hole.
    Sparse,
}

/// Makes number 1 of what is in the file at `path`, and cuts the file to nothing: for a writer that has it open for appending, and is
/// not to be told. Killed in the middle, it leaves every byte in at least one file.
pub fn copy_aside(path: &Path, keep: u32) -> io::Result<Aside> {
    let mut log = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let data = log.metadata()?;
    if !data.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    // A file system that compresses may take less than half, too, but has no zeros at its beginning.
    if data.blocks() * 512 < data.len() / 2 && begins_with_zeros(&log)? {
        return Ok(Aside::Sparse);
    }
    let scratch = path.with_file_name(format!(".{}.copy.tmp", path.file_name().unwrap_or_default().to_string_lossy()));
    fs::remove_file(&scratch).or_else(absent)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
    let copied = (|| {
        let mut bytes = io::copy(&mut log, &mut copy)?;
        copy.sync_all()?;
        // Our own names are moved up; the current file stays where it is.
        for act in plan(&numbers(path)?, keep) {
            if !matches!(act, Act::Shift(0) | Act::Remove(0)) {
                perform(path, act)?;
            }
        }
        if keep > 0 {
            fs::rename(&scratch, numbered(path, 1))?;
        }
        // What has come meanwhile, until nothing has.
        loop {
            let more = io::copy(&mut log, &mut copy)?;
            bytes += more;
            if more == 0 {
                break;
            }
        }
        log.set_len(0)?;
        Ok(bytes)
    })();
    fs::remove_file(&scratch).or_else(absent)?;
    copied.map(Aside::Copied)
}

fn begins_with_zeros(log: &File) -> io::Result<bool> {
    let mut head = [1; 512];
    let read = std::os::unix::fs::FileExt::read_at(log, &mut head, 0)?;
    Ok(read > 0 && head[..read].iter().all(|byte| *byte == 0))
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
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
    fn a_log_that_somebody_appends_to_is_copied_and_begins_anew() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let text = |n: u32| fs::read_to_string(numbered(&path, n)).unwrap();
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for round in 1..=4 {
            writeln!(writer, "round {round}").unwrap();
            // Left by one that was killed.
            fs::write(folder.path().join(".x.log.copy.tmp"), "half").unwrap();
            assert_eq!(copy_aside(&path, 2).unwrap(), Aside::Copied(8));
            assert_eq!(text(0), "");
        }
        writeln!(writer, "and on").unwrap();
        assert_eq!((text(0).as_str(), text(1).as_str(), text(2).as_str()), ("and on\n", "round 4\n", "round 3\n"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        // One who does not append leaves a hole after a cut, and is left alone from then on.
        let mut stubborn = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        stubborn.write_all(&vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(copy_aside(&path, 2).unwrap(), Aside::Copied(1 << 20));
        stubborn.write_all(b"more").unwrap();
        assert_eq!(copy_aside(&path, 2).unwrap(), Aside::Sparse);
        assert_eq!(text(1).len(), 1 << 20);
        // Not through a link.
        std::os::unix::fs::symlink(&path, folder.path().join("link.log")).unwrap();
        copy_aside(&folder.path().join("link.log"), 2).unwrap_err();
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
