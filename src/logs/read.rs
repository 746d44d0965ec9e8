//! Reading a log whole, across its rotated files, while it is written and rotated.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::follow::Follower;
use super::sink::Position;
use super::{index, rotate};

pub use super::follow::{Begin, follow};

const BLOCK: usize = 64 * 1024;

/// File times are as coarse as the kernel's tick; a second of tolerance is more than that everywhere.
const TIME_TOLERANCE_MS: i64 = 1000;

/// The last `n` lines, an unfinished one counted too. Nothing when there is no log.
pub fn last_lines(path: &Path, n: usize) -> io::Result<Vec<u8>> {
    all_of(Follower::open(path, Begin::Lines(n))?)
}

/// What was written at `wall_ms` or later, as far as the time index at `index` tells; a little more rather than less.
pub fn since(path: &Path, index: &Path, wall_ms: i64) -> io::Result<Vec<u8>> {
    all_of(Follower::open(path, Begin::Since { index, wall_ms })?)
}

fn all_of(mut follower: Follower) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    follower.read_opened(&mut |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(text)
}

/// One file of a log, open, with what was known of it then.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) file: File,
    pub(super) data: Metadata,
}

impl Piece {
    /// What makes two opened files the same one.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.data.dev(), self.data.ino())
    }

    /// Its last bytes, at most `most`.
    fn end(&self, most: usize) -> io::Result<Vec<u8>> {
        let wanted = most.min(usize::try_from(self.data.len()).unwrap_or(usize::MAX));
        let mut bytes = vec![0; wanted];
        self.file.read_exact_at(&mut bytes, self.data.len() - wanted as u64)?;
        Ok(bytes)
    }
}

/// All files of the log, oldest first.
///
/// They are opened from the newest on: a rotation meanwhile moves files to numbers that are still to come, so that none
/// is missed, and one that is met twice is known by its inode.
pub(super) fn pieces(path: &Path) -> io::Result<VecDeque<Piece>> {
    let mut pieces: VecDeque<Piece> = VecDeque::new();
    let mut add = |n| match File::open(rotate::numbered(path, n)) {
        Ok(file) => {
            let piece = Piece { data: file.metadata()?, file };
            if pieces.iter().all(|other| other.identity() != piece.identity()) {
                pieces.push_front(piece);
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    add(0)?;
    let highest = match rotate::numbers(path) {
        Ok(numbers) => numbers.last().copied().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pieces),
        Err(error) => return Err(error),
    };
    // One more, for a rotation since the listing.
    (1..=highest.saturating_add(1)).try_for_each(add)?;
    Ok(pieces)
}

/// The inodes that the log consists of.
pub(super) fn inodes(path: &Path) -> Vec<u64> {
    pieces(path).map(|pieces| pieces.iter().map(|piece| piece.data.ino()).collect()).unwrap_or_default()
}

/// The last `most` bytes of the log. Nothing when there is no log.
pub fn last_bytes(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // Mostly the newest file has enough, and the folder need not be read.
    if let Ok(file) = File::open(path) {
        let newest = Piece { data: file.metadata()?, file };
        if newest.data.len() >= most as u64 {
            return newest.end(most);
        }
    }
    let mut parts = Vec::new();
    let mut left = most;
    for piece in pieces(path)?.iter().rev() {
        let part = piece.end(left)?;
        left -= part.len();
        parts.push(part);
        if left == 0 {
            break;
        }
    }
    parts.reverse();
    Ok(parts.concat())
}

/// How many bytes the log has from `position` on; all when its file has gone.
pub(super) fn bytes_since(path: &Path, position: Position) -> u64 {
    let mut newer = 0;
    for piece in pieces(path).unwrap_or_default().iter().rev() {
        let length = piece.data.len();
        if piece.data.ino() == position.inode && position.offset <= length {
            return newer + length - position.offset;
        }
        newer += length;
    }
    newer
}

/// Where the last `n` lines begin: the piece by its place, and the offset in it.
pub(super) fn start_of_lines(pieces: &VecDeque<Piece>, n: usize) -> io::Result<(usize, u64)> {
    // The line end that is the very last byte ends the last line rather than beginning another.
    let mut missing = n;
    let mut at_end = true;
    for (place, piece) in pieces.iter().enumerate().rev() {
        let mut end = piece.data.len();
        while end > 0 {
            let length = BLOCK.min(usize::try_from(end).unwrap_or(BLOCK));
            let start = end - length as u64;
            let mut block = vec![0; length];
            piece.file.read_exact_at(&mut block, start)?;
            if std::mem::take(&mut at_end) {
                // An unfinished line is a line without an end.
                missing = missing.saturating_add(usize::from(block.last() == Some(&b'\n')));
            }
            for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                missing = missing.saturating_sub(1);
                if missing == 0 {
                    return Ok((place, start + at as u64 + 1));
                }
            }
            end = start;
        }
    }
    Ok((0, 0))
}

/// Where what was written at `wall_ms` begins.
pub(super) fn start_of_time(pieces: &VecDeque<Piece>, index: &Path, wall_ms: i64) -> io::Result<(usize, u64)> {
    let known = index::read(index).into_iter().rev().filter(|entry| entry.wall_ms <= wall_ms).find_map(|entry| {
        let (inode, offset) = entry.spot;
        let place = pieces.iter().position(|piece| piece.data.ino() == inode && offset <= piece.data.len())?;
        Some((place, offset))
    });
    let (mut place, mut offset) = known.unwrap_or((0, 0));
    // A file that was last written before that has nothing to show.
    while let Some(piece) = pieces.get(place)
        && modified_ms(&piece.data).saturating_add(TIME_TOLERANCE_MS) < wall_ms
    {
        (place, offset) = (place + 1, 0);
    }
    let Some(piece) = pieces.get(place) else { return Ok((place, 0)) };
    Ok((place, start_of_line(&piece.file, offset)?))
}

fn modified_ms(data: &Metadata) -> i64 {
    data.mtime().saturating_mul(1000).saturating_add(data.mtime_nsec() / 1_000_000)
}

/// The beginning of the line that `offset` is in, if it is not too far.
fn start_of_line(file: &File, offset: u64) -> io::Result<u64> {
    let length = BLOCK.min(usize::try_from(offset).unwrap_or(BLOCK));
    let mut before = vec![0; length];
    file.read_exact_at(&mut before, offset - length as u64)?;
    Ok(match before.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => offset - (length - at - 1) as u64,
        None if length as u64 == offset => 0,
        None => offset,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn log(parts: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        for (n, part) in parts.iter().rev().enumerate() {
            fs::write(rotate::numbered(&path, u32::try_from(n).unwrap()), part).unwrap();
        }
        (folder, path)
    }

    fn last(path: &Path, n: usize) -> String {
        String::from_utf8(last_lines(path, n).unwrap()).unwrap()
    }

    #[test]
    fn last_lines_reach_back_into_rotated_files() {
        let (_folder, path) = log(&["1\n2\n", "3\n", "", "4\n5\n"]);
        let whole = "1\n2\n3\n4\n5\n";
        for n in 0..=5 {
            assert_eq!(last(&path, n), whole[whole.len() - 2 * n..], "{n} lines");
        }
        assert_eq!(last(&path, 6), whole);
        assert_eq!(last(&path, usize::MAX), whole);
    }

    #[test]
    fn an_unfinished_line_counts_and_a_missing_current_file_does_not_hide_the_rest() {
        let (_folder, path) = log(&["1\n2\n", "3\n4"]);
        assert_eq!(last(&path, 1), "4");
        assert_eq!(last(&path, 2), "3\n4");
        assert_eq!(last(&path, 3), "2\n3\n4");
        fs::remove_file(&path).unwrap();
        assert_eq!(last(&path, 1), "2\n");
        assert_eq!(last(Path::new("/no/such/folder/x.log"), 5), "");
    }

    #[test]
    fn lines_longer_than_a_block_are_found() {
        let long = format!("{}\n", "x".repeat(BLOCK + 10));
        let (_folder, path) = log(&[&format!("first\n{long}"), &long]);
        assert_eq!(last(&path, 2), format!("{long}{long}"));
        assert_eq!(last(&path, 3), format!("first\n{long}{long}"));
    }

    #[test]
    fn the_end_and_what_is_since_a_position_are_found() {
        let (_folder, path) = log(&["1\n2\n", "3\n4\n"]);
        assert_eq!(last_bytes(&path, 5).unwrap(), b"\n3\n4\n");
        assert_eq!(last_bytes(&path, 100).unwrap(), b"1\n2\n3\n4\n");
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let older = Position { inode: inode(&rotate::numbered(&path, 1)), offset: 2 };
        assert_eq!(bytes_since(&path, older), 6);
        assert_eq!(bytes_since(&path, Position { inode: inode(&path), offset: 4 }), 0);
        assert_eq!(bytes_since(&path, Position { inode: inode(&path), offset: 5 }), 8, "not that file any more");
    }

    #[test]
    fn a_time_leads_to_the_line_that_was_being_written_then() {
        let (folder, path) = log(&["a1\na2\n", "b1\nb2\nb3\n"]);
        let old = rotate::numbered(&path, 1);
        let times = |path: &Path, ms: u64| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
            File::open(path).unwrap().set_modified(time).unwrap();
        };
        times(&old, 20_000);
        times(&path, 50_000);
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let index = folder.path().join("index");
        let (a, b) = (inode(&old), inode(&path));
        fs::write(&index, format!("10000 {a} 0\n20000 {a} 4\n30000 {b} 0\n40000 {b} 4\n50000 {b} 6\n")).unwrap();
        let since = |ms| String::from_utf8(since(&path, &index, ms).unwrap()).unwrap();
        assert_eq!(since(0), "a1\na2\nb1\nb2\nb3\n");
        assert_eq!(since(15_000), "a1\na2\nb1\nb2\nb3\n");
        assert_eq!(since(20_500), "a2\nb1\nb2\nb3\n", "from the beginning of the line");
        assert_eq!(since(29_000), "b1\nb2\nb3\n", "the old file was not written since");
        assert_eq!(since(40_000), "b2\nb3\n");
        assert_eq!(since(50_000), "b3\n");
        assert_eq!(since(60_000), "");
        fs::remove_file(&index).unwrap();
        assert_eq!(since(40_000), "b1\nb2\nb3\n", "without an index, whole files");
    }
}
