//! Which time stands where in a log: `wall_ms inode offset` lines, at most about one a second, for `logs --since`. It is
//! a convenience: whatever goes wrong with it is ignored, and what is unknown is shown rather than hidden.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::Moment;
use crate::process::files;

/// A larger index is thinned out.
const MOST_BYTES: u64 = 128 * 1024;

const STEP: Duration = Duration::from_secs(1);

/// A place in a log: the file by its inode, which stays when the file is renamed.
pub(super) type Spot = (u64, u64);

/// One line: what stands from `spot` on was written at `wall_ms` or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) wall_ms: i64,
    pub(super) spot: Spot,
}

/// Writes an index.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    noted: Option<Moment>,
    /// When output was last written, and where it ended.
    last: Option<(Moment, Spot)>,
}

impl Index {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), noted: None, last: None }
    }

    /// Output was written at `at`, from `start` to `end`. `alive` tells the inodes that the log still consists of.
    pub(super) fn note(&mut self, at: Moment, start: Spot, end: Spot, alive: impl FnOnce() -> Vec<u64>) {
        let since = |earlier: &Moment| at.mono.since(earlier.mono);
        let last = self.last.replace((at, end));
        if self.noted.as_ref().is_some_and(|noted| since(noted) < STEP) {
            return;
        }
        self.noted = Some(at);
        let mut lines = String::new();
        // Silence: a line where the output before it ended, else that output would seem to have lasted until now. A
        // millisecond later than it, so that who asks for its very time gets it.
        if let Some((when, spot)) = last
            && spot == start
            && since(&when) > STEP
        {
            write!(lines, "{}", line(Entry { wall_ms: when.wall_ms.saturating_add(1), spot })).ok();
        }
        write!(lines, "{}", line(Entry { wall_ms: at.wall_ms, spot: start })).ok();
        if let Ok(size) = self.append(&lines)
            && size > MOST_BYTES
        {
            self.thin(&alive()).ok();
        }
    }

    fn append(&self, lines: &str) -> io::Result<u64> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(lines.as_bytes())?;
        Ok(file.metadata()?.len())
    }

    /// Forgets files that are gone, and every second line of the older three quarters of the rest: what is long ago
    /// needs less precision.
    fn thin(&self, alive: &[u64]) -> io::Result<()> {
        let entries: Vec<Entry> = read(&self.path).into_iter().filter(|entry| alive.contains(&entry.spot.0)).collect();
        let old = entries.len() / 4 * 3;
        let kept = entries.iter().enumerate().filter(|(n, _)| *n >= old || n % 2 == 0);
        let text: String = kept.map(|(_, entry)| line(*entry)).collect();
        files::write_atomic(&self.path, text.as_bytes(), false)
    }
}

/// All entries, in the order they were written.
pub(super) fn read(path: &Path) -> Vec<Entry> {
    fs::read_to_string(path).unwrap_or_default().lines().filter_map(parse).collect()
}

fn line(entry: Entry) -> String {
    format!("{} {} {}\n", entry.wall_ms, entry.spot.0, entry.spot.1)
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let entry = Entry {
        wall_ms: words.next()?.parse().ok()?,
        spot: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
    };
    words.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mono;

    fn at(ms: u64) -> Moment {
        Moment { mono: Mono(ms * 1_000_000), boot_ns: 0, wall_ms: i64::try_from(ms).unwrap() + 1_000_000 }
    }

    #[test]
    fn one_line_a_second_and_one_for_the_end_before_a_silence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let mut index = Index::new(&path);
        let mut note = |ms, start, end| index.note(at(ms), (7, start), (7, end), || panic!("small"));
        note(0, 0, 10);
        note(500, 10, 20);
        note(999, 20, 30);
        note(1000, 30, 40);
        note(9000, 40, 50);
        let expected = [(0, 0), (1000, 30), (1001, 40), (9000, 40)];
        let expected = expected.map(|(ms, offset)| Entry { wall_ms: at(ms).wall_ms, spot: (7, offset) });
        assert_eq!(read(&path), expected);
    }

    #[test]
    fn it_stays_small_and_forgets_what_is_gone_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let mut index = Index::new(&path);
        for n in 0..20_000 {
            let inode = if n < 1000 { 1 } else { 2 };
            index.note(at(n * 1000), (inode, n), (inode, n + 1), || vec![2]);
            assert!(fs::metadata(&path).unwrap().len() < MOST_BYTES + 100);
        }
        let entries = read(&path);
        assert!(entries.iter().all(|entry| entry.spot.0 == 2));
        assert!(entries.is_sorted_by_key(|entry| entry.wall_ms));
        assert_eq!(entries.last().unwrap().spot, (2, 19_999));
        assert!(entries.first().unwrap().spot.1 < 1100, "the oldest time is still there, if coarser");
    }

    #[test]
    fn garbage_in_it_and_a_place_that_cannot_be_written_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        fs::write(&path, "x\n1 2\n1 2 3 4\n1 2 3\n").unwrap();
        assert_eq!(read(&path), [Entry { wall_ms: 1, spot: (2, 3) }]);
        Index::new(&folder.path().join("no/index")).note(at(0), (1, 0), (1, 1), Vec::new);
    }
}
