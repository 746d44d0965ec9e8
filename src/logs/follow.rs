//! Following a log as it grows and rotates.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read::{self, Piece};

/// A person does not see the difference, and nothing is missed by looking seldom: a rotated file stays open here.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Where in a log to begin.
#[derive(Debug, Clone, Copy)]
pub enum Begin<'a> {
    /// With the last so many lines.
    Lines(usize),
    /// With what was written at that time.
    Since {
        /// The log's time index.
        index: &'a Path,
        /// Milliseconds since 1970 UTC.
        wall_ms: i64,
    },
}

/// Gives `out` what the log at `path` has from `begin` on, and then what is added, until `stop` says so (it is asked about
/// five times a second) or `out` fails. No byte is left out and none is given twice, also when the log is rotated
/// meanwhile, as long as no file is deleted by rotation before it was looked at.
pub fn follow(
    path: &Path,
    begin: Begin<'_>,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    stop: &mut dyn FnMut() -> bool,
) -> io::Result<()> {
    let mut follower = Follower::open(path, begin)?;
    while !stop() {
        follower.step(out)?;
        pause();
    }
    follower.step(out)
}

#[expect(clippy::disallowed_methods, reason = "for a person at a terminal; nothing waits behind it")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

/// A reader's place in a log.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    /// Files still to be read, oldest first; the last one is read again and again.
    pieces: VecDeque<Piece>,
    /// How far the first of them has been read.
    offset: u64,
}

impl Follower {
    pub(super) fn open(path: &Path, begin: Begin<'_>) -> io::Result<Self> {
        let mut pieces = read::pieces(path)?;
        let (place, mut offset) = match begin {
            Begin::Lines(0) => (pieces.len(), 0),
            Begin::Lines(n) => read::start_of_lines(&pieces, n)?,
            Begin::Since { index, wall_ms } => read::start_of_time(&pieces, index, wall_ms)?,
        };
        // The newest file is kept even when nothing of it is wanted: what is added to it is.
        if place >= pieces.len() {
            offset = pieces.back().map_or(0, |piece| piece.data.len());
        }
        pieces.drain(..place.min(pieces.len().saturating_sub(1)));
        Ok(Self { path: path.to_path_buf(), pieces, offset })
    }

    /// Gives what there is now.
    pub(super) fn step(&mut self, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.read_opened(out)?;
        if self.is_rotated() {
            // Only now: what was written before the rotation and after the reading above is still to be read first.
            self.add_newer()?;
            self.read_opened(out)?;
        }
        Ok(())
    }

    /// Gives what is in the files that are open.
    pub(super) fn read_opened(&mut self, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut block = vec![0; 64 * 1024];
        while let Some(piece) = self.pieces.front() {
            match piece.file.read_at(&mut block, self.offset) {
                Ok(0) if self.pieces.len() > 1 => {
                    self.pieces.pop_front();
                    self.offset = 0;
                }
                Ok(0) => {
                    if piece.file.metadata()?.len() >= self.offset {
                        break;
                    }
                    // Somebody has emptied the file.
                    self.offset = 0;
                }
                Ok(n) => {
                    out(&block[..n])?;
                    self.offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether there is a current file other than the last one open. While there is none, the next one is waited for.
    fn is_rotated(&self) -> bool {
        let ours = self.pieces.back().map(Piece::identity);
        fs::metadata(&self.path).is_ok_and(|data| Some((data.dev(), data.ino())) != ours)
    }

    /// Opens what is newer than the last file open. If that one has been deleted, everything is.
    fn add_newer(&mut self) -> io::Result<()> {
        let mut all = read::pieces(&self.path)?;
        let last = self.pieces.back().map(Piece::identity);
        let newer = all.iter().position(|piece| Some(piece.identity()) == last).map_or(0, |place| place + 1);
        self.pieces.extend(all.drain(newer..));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::logs::rotate;

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        /// Appends, rotations (several between two looks) and looks in any order.
        #[test]
        fn no_byte_is_missed_or_doubled(acts in prop::collection::vec(0_u8..4, 1..60)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.log");
            append(&path, "before\n");
            let mut follower = Follower::open(&path, Begin::Lines(1)).unwrap();
            let (mut written, mut seen) = ("before\n".to_owned(), Vec::new());
            for (n, act) in acts.iter().enumerate() {
                match act {
                    0 | 1 => {
                        let line = format!("line {n}\n");
                        append(&path, &line);
                        written.push_str(&line);
                    }
                    2 => rotate::rotate(&path, 100).unwrap(),
                    _ => follower.step(&mut |bytes| { seen.extend_from_slice(bytes); Ok(()) }).unwrap(),
                }
            }
            follower.step(&mut |bytes| { seen.extend_from_slice(bytes); Ok(()) }).unwrap();
            // With no current file (it was just rotated away), rotated ones that are newer wait for the next one.
            append(&path, "last\n");
            written.push_str("last\n");
            follower.step(&mut |bytes| { seen.extend_from_slice(bytes); Ok(()) }).unwrap();
            prop_assert_eq!(String::from_utf8(seen).unwrap(), written);
        }
    }

    #[test]
    fn nothing_old_is_shown_when_nothing_old_is_wanted_and_an_emptied_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut follower = Follower::open(&path, Begin::Lines(0)).unwrap();
        let mut seen = Vec::new();
        let mut step = |follower: &mut Follower| {
            seen.clear();
            follower
                .step(&mut |bytes| {
                    seen.extend_from_slice(bytes);
                    Ok(())
                })
                .unwrap();
            String::from_utf8(seen.clone()).unwrap()
        };
        assert_eq!(step(&mut follower), "");
        append(&path, "a long first line\n");
        assert_eq!(step(&mut follower), "a long first line\n", "a log that begins later is seen from its beginning");
        let mut other = Follower::open(&path, Begin::Lines(0)).unwrap();
        append(&path, "more\n");
        assert_eq!(step(&mut other), "more\n");
        fs::write(&path, "anew\n").unwrap();
        assert_eq!(step(&mut other), "anew\n");
    }

    #[test]
    fn it_ends_when_asked_to_and_when_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        append(&path, "1\n2\n");
        let (mut seen, mut rounds) = (Vec::new(), 0);
        let mut out = |bytes: &[u8]| {
            seen.extend_from_slice(bytes);
            Ok(())
        };
        let mut stop = || {
            rounds += 1;
            append(&path, "x\n");
            rounds == 3
        };
        follow(&path, Begin::Lines(1), &mut out, &mut stop).unwrap();
        assert_eq!(String::from_utf8(seen).unwrap(), "2\nx\nx\nx\n");
        let closed = &mut |_: &[u8]| Err(io::ErrorKind::BrokenPipe.into());
        let error = follow(&path, Begin::Lines(1), closed, &mut || false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
