//! Events that the database does not take just now, in a file: a line each, in order. Each has a key, so that what has come into the
//! database shortly before we were killed is passed over when it is offered again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::model::Emitted;
use crate::process::files;

/// The file grows to this, bytes.
pub(super) const ROOM: u64 = 64 << 20;

/// Longest line that is read back, bytes: an event, with room.
const LONGEST_LINE: u64 = 4 << 20;

/// The file, open for as long as we run.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    /// Whole lines end here.
    end: u64,
    /// Up to here the database has them.
    taken: u64,
    /// Events between those two.
    waiting: u64,
    /// Behind the end stands what could neither be written whole nor be cut off.
    soiled: bool,
    /// For keys of events that have none: what nobody else has, and a number.
    mark: String,
    next: u64,
    outlive_power: bool,
}

/// Why events are not kept.
#[derive(Debug)]
pub(super) enum NotKept {
    /// The file is as long as it may be.
    Full,
    /// It cannot be written.
    Io(io::Error),
}

impl Spool {
    /// Opens the file, or makes it; half a line at its end is of events that nobody was told to be kept, and is cut off. `mark` is
    /// told apart from every mark before it.
    pub(super) fn open(path: &Path, mark: String, outlive_power: bool) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let (mut end, mut waiting) = (0, 0);
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            if length == 0 || line.last() != Some(&b'\n') {
                break;
            }
            end += length as u64;
            waiting += 1;
        }
        file.set_len(end)?;
        if let Some(folder) = path.parent().filter(|_| outlive_power) {
            files::sync_folder(folder)?;
        }
        Ok(Self { path: path.to_path_buf(), file, end, taken: 0, waiting, soiled: false, mark, next: 0, outlive_power })
    }

    /// Events that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Keeps all of them, or none.
    pub(super) fn put(&mut self, events: &[Emitted]) -> Result<(), NotKept> {
        let mut lines = Vec::new();
        let mut next = self.next;
        for event in events {
            let keyed = event.key.is_none().then(|| {
                next += 1;
                Emitted { key: Some(format!("spool:{}:{next}", self.mark)), ..event.clone() }
            });
            serde_json::to_writer(&mut lines, keyed.as_ref().unwrap_or(event)).map_err(|e| NotKept::Io(e.into()))?;
            lines.push(b'\n');
        }
        if self.end + lines.len() as u64 > ROOM {
            return Err(NotKept::Full);
        }
        if self.soiled {
            self.file.set_len(self.end).map_err(NotKept::Io)?;
            self.soiled = false;
        }
        let written =
            self.file.write_all(&lines).and_then(|()| if self.outlive_power { self.file.sync_data() } else { Ok(()) });
        if let Err(e) = written {
            // What stands of it is nobody's.
            self.soiled = self.file.set_len(self.end).is_err();
            return Err(NotKept::Io(e));
        }
        (self.end, self.next) = (self.end + lines.len() as u64, next);
        self.waiting += events.len() as u64;
        Ok(())
    }

    /// The next ones, in order, at most so many, and no further one when they have so many bytes; and what [`Self::taken`] is to be told when the database has them. A line that tells
    /// nothing (a disk has spoiled it) is passed over.
    pub(super) fn next(&mut self, most: usize, most_bytes: u64) -> io::Result<(Vec<Emitted>, Lines)> {
        let mut reader = BufReader::new(File::open(&self.path)?);
        reader.seek(SeekFrom::Start(self.taken))?;
        let mut lines = Lines { bytes: 0, count: 0 };
        let mut events = Vec::new();
        let mut line = Vec::new();
        while events.len() < most && lines.bytes < most_bytes && self.taken + lines.bytes < self.end {
            line.clear();
            let length = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            lines.bytes += length as u64;
            lines.count += 1;
            match serde_json::from_slice(&line) {
                Ok(event) => events.push(event),
                Err(e) => anstream::eprintln!("an event in {} cannot be read and is lost: {e}", self.path.display()),
            }
        }
        Ok((events, lines))
    }

    /// The database has those that [`Self::next`] gave.
    pub(super) fn taken(&mut self, lines: &Lines) -> io::Result<()> {
        self.taken += lines.bytes;
        self.waiting = self.waiting.saturating_sub(lines.count);
        if self.taken >= self.end {
            self.file.set_len(0)?;
            (self.end, self.taken, self.waiting) = (0, 0, 0);
        }
        Ok(())
    }

    /// Removes the file when nothing waits in it.
    pub(super) fn close(self) {
        if self.waiting == 0 {
            // An empty one is as good as none.
            let _ = fs::remove_file(self.path);
        }
    }
}

/// Lines that were read.
#[derive(Debug)]
pub(super) struct Lines {
    bytes: u64,
    count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, key: Option<&str>) -> Emitted {
        Emitted {
            timestamp_ms: 1,
            category: "app".into(),
            event_type: name.into(),
            service: None,
            metadata: serde_json::Map::new(),
            key: key.map(str::to_owned),
        }
    }

    fn open(folder: &Path, mark: &str) -> Spool {
        Spool::open(&folder.join("spool"), mark.into(), true).unwrap()
    }

    fn all(spool: &mut Spool) -> Vec<(String, String)> {
        let (events, _) = spool.next(usize::MAX, u64::MAX).unwrap();
        events.into_iter().map(|event| (event.event_type, event.key.unwrap())).collect()
    }

    #[test]
    fn what_is_kept_comes_back_in_order_and_once_it_is_taken_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "a");
        spool.put(&[event("one", None), event("two", Some("k"))]).unwrap();
        spool.put(&[event("three", None)]).unwrap();
        assert_eq!(spool.waiting(), 3);
        assert_eq!(spool.next(2, 1).unwrap().0.len(), 1, "one at least");
        let (first, lines) = spool.next(2, u64::MAX).unwrap();
        assert_eq!(first.len(), 2);
        spool.taken(&lines).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(all(&mut spool), [pair("three", "spool:a:2")]);
        // Killed here: the database is asked about all of them again.
        drop(spool);
        let mut spool = open(folder.path(), "b");
        assert_eq!(spool.waiting(), 3);
        assert_eq!(all(&mut spool), [pair("one", "spool:a:1"), pair("two", "k"), pair("three", "spool:a:2")]);
        spool.put(&[event("four", None)]).unwrap();
        let (events, lines) = spool.next(10, u64::MAX).unwrap();
        assert_eq!(events.last().unwrap().key.as_deref(), Some("spool:b:1"));
        spool.taken(&lines).unwrap();
        assert_eq!((spool.waiting(), spool.bytes()), (0, 0));
        spool.close();
        assert!(!folder.path().join("spool").exists());
    }

    #[test]
    fn half_a_line_is_cut_off_and_a_spoiled_one_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "a");
        spool.put(&[event("one", None)]).unwrap();
        drop(spool);
        let path = folder.path().join("spool");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [b"rubbish\n", &whole[..], &whole[..9]].concat()).unwrap();
        let mut spool = open(folder.path(), "b");
        assert_eq!((spool.waiting(), spool.bytes()), (2, 8 + whole.len() as u64));
        let (events, lines) = spool.next(10, u64::MAX).unwrap();
        assert_eq!(events.len(), 1);
        spool.taken(&lines).unwrap();
        assert_eq!(spool.waiting(), 0);
    }

    #[test]
    fn what_could_neither_be_written_whole_nor_cut_off_is_cut_off_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "a");
        let path = folder.path().join("spool");
        spool.put(&[event("one", None)]).unwrap();
        // A disk that takes half a line and then neither this nor that.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"timest").unwrap();
        let well = std::mem::replace(&mut spool.file, File::open(&path).unwrap());
        assert!(matches!(spool.put(&[event("two", None)]), Err(NotKept::Io(_))));
        spool.file = well;
        spool.put(&[event("three", None)]).unwrap();
        let names = |spool: &mut Spool| all(spool).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&mut spool), ["one", "three"]);
        assert_eq!(names(&mut open(folder.path(), "b")), ["one", "three"]);
    }

    #[test]
    fn it_grows_to_its_room_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "a");
        let mut big = event("big", None);
        big.metadata.insert("a".into(), "x".repeat(1 << 20).into());
        let mut count = 0;
        while spool.put(std::slice::from_ref(&big)).is_ok() {
            count += 1;
        }
        assert_eq!(count, 63);
        assert!(matches!(spool.put(&[big]), Err(NotKept::Full)));
        spool.put(&[event("small", None)]).unwrap();
        assert_eq!(open(folder.path(), "b").waiting(), 64);
    }
}
