//! The reading side: the daemon follows a journal that its runner writes at the same time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::line::{self, MAX_LINE};
use super::segments::{self, FileId, Segments};
use crate::model::Record;

const BLOCK: usize = 64 * 1024;

/// How long after its last line an old segment stays, in nanoseconds: adoption records are not synced, so after a loss of power
/// the disk may have one of before that line (systems write back within half a minute), and then only the line itself tells
/// a runner what is on record already.
const STAYS: u64 = 60_000_000_000;

/// No more of them stay for that: a journal that grows so fast has no room to wait in.
const STAY_MOST: usize = 16;

/// Follows a journal across its segments.
///
/// Lines come in the order they were written. Only a new `Reader` gives a line twice (it begins with the oldest segment
/// there is), or a file that somebody cut short; who takes them in skips what is known.
#[derive(Debug)]
pub struct Reader {
    files: Segments,
    source: Option<Source>,
    /// Old segments with numbers up to this one are done.
    floor: Option<u64>,
    skipped: u64,
    /// Old segments that were read to their ends and are still there.
    done: Vec<Done>,
    /// Boot ids in the order of their lines, and the time of the first line of each that was read.
    boots: Vec<(String, u64)>,
    /// Place of the last record that was read.
    last: Option<Place>,
}

#[derive(Debug)]
struct Source {
    file: File,
    id: FileId,
    /// Its number; `None` for what was the current segment when it was opened.
    number: Option<u64>,
    /// Everything before this was read.
    offset: u64,
    /// The line that `offset` is in is too long, and is being passed over.
    in_long_line: bool,
    /// Nothing more will be written to it.
    closed: bool,
}

/// How reading goes on.
enum Next {
    /// In the same segment.
    Read,
    /// Not now: more lines are still to be written.
    Wait,
    /// In another segment.
    Leave,
}

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Index into `Reader::boots`.
    boot: usize,
    seq: u64,
    boot_ns: u64,
}

#[derive(Debug)]
struct Done {
    number: u64,
    last: Option<Place>,
}

impl Reader {
    /// A reader that begins with the oldest line on disk. A journal that does not exist yet is followed once it does.
    ///
    /// # Errors
    /// When `id` cannot be part of a file name.
    pub fn open(dir: &Path, id: &str) -> io::Result<Self> {
        let files = Segments::new(dir, id)?;
        Ok(Self { files, source: None, floor: None, skipped: 0, done: Vec::new(), boots: Vec::new(), last: None })
    }

    /// The next whole lines, at most `max`; fewer (or none) when there are no more yet.
    ///
    /// # Errors
    /// What the kernel says. The place is kept: nothing is passed over by an error. Records read before it in the same
    /// call are given first; the error comes again with the next call if it lasts.
    pub fn read_new(&mut self, max: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        match self.read_into(&mut records, max) {
            Err(error) if records.is_empty() => Err(error),
            Ok(()) | Err(_) => Ok(records),
        }
    }

    /// Makes what was read safe against a loss of power (fdatasync; `F_FULLFSYNC` on macOS), so that nothing is taken into the
    /// ledger that could be missing here later: its runner would put those ends on record a second time.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sync(&self) -> io::Result<()> {
        self.source.as_ref().map_or(Ok(()), |source| source.file.sync_data())
    }

    /// How many lines were no records (garbage, half lines in closed segments, newer forms) and were passed over.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Removes the old segments whose lines are all in the ledger, which is at `seq` of `boot_id`. The current segment
    /// stays, and for a while what was written last (a minute). Gives the number of removed files.
    ///
    /// # Errors
    /// What the kernel says; the segment is tried again next time.
    pub fn drop_acked(&mut self, boot_id: &str, seq: u64) -> io::Result<usize> {
        let Some(boot) = self.boots.iter().position(|(known, _)| known == boot_id) else { return Ok(0) };
        let mut removed = 0;
        // The newest stays until a line after it was read (and synced by the caller): a journal that lost its only lines with
        // the power would count its seqs anew, below those that were taken in.
        let kept = usize::from(self.source.as_ref().is_none_or(|source| source.offset == 0));
        // Only what this reader itself has read to the end is removed: a number alone could belong to another history.
        while self.done.len() > kept
            && let Some(oldest) = self.done.first()
        {
            if oldest.last.is_some_and(|last| (last.boot, last.seq) > (boot, seq)) {
                break;
            }
            if self.done.len() <= STAY_MOST && oldest.last.is_some_and(|last| self.is_young(last)) {
                break;
            }
            match fs::remove_file(self.files.old(oldest.number)) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.done.remove(0);
        }
        Ok(removed)
    }

    fn read_into(&mut self, records: &mut Vec<Record>, max: usize) -> io::Result<()> {
        let mut block = Vec::new();
        while records.len() < max {
            if self.source.is_none() {
                self.source = self.next_source()?;
            }
            let Some(mut source) = self.source.take() else { return Ok(()) };
            let step = self.read_block(&mut source, &mut block, records, max);
            let next = step.and_then(|at_end| if at_end { self.at_end(&mut source) } else { Ok(Next::Read) });
            // Whatever goes wrong, the place is kept.
            if !matches!(next, Ok(Next::Leave)) {
                self.source = Some(source);
            }
            if matches!(next?, Next::Wait) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What to do where a segment has nothing more for now.
    fn at_end(&mut self, source: &mut Source) -> io::Result<Next> {
        if source.closed {
            self.finish(source)?;
            return Ok(Next::Leave);
        }
        if self.is_current(source)? {
            return Ok(Next::Wait);
        }
        // It was set aside or replaced: lines may have come between our reading and our looking, so it is read on once.
        source.closed = true;
        Ok(Next::Read)
    }

    /// Reads one block and takes its whole lines; `true` when there is nothing more for now.
    fn read_block(
        &mut self,
        source: &mut Source,
        block: &mut Vec<u8>,
        records: &mut Vec<Record>,
        max: usize,
    ) -> io::Result<bool> {
        if source.file.metadata()?.len() < source.offset {
            // Somebody cut it short: what stands there now was written later.
            source.offset = 0;
            source.in_long_line = false;
        }
        block.resize(BLOCK.max(block.len()), 0);
        let count = read_full(&source.file, block, source.offset)?;
        let bytes = &block[..count];
        let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else {
            if count < block.len() {
                return Ok(true);
            }
            if block.len() < MAX_LINE {
                block.resize(block.len() * 2, 0);
            } else {
                source.offset += count as u64;
                source.in_long_line = true;
            }
            return Ok(false);
        };
        for line in bytes[..end].split(|b| *b == b'\n') {
            if records.len() == max {
                return Ok(false);
            }
            source.offset += line.len() as u64 + 1;
            match line::decode(line).filter(|_| !source.in_long_line) {
                Some(record) => {
                    self.note_place(&record);
                    records.push(record);
                }
                None => self.skipped += 1,
            }
            source.in_long_line = false;
        }
        Ok(false)
    }

    fn note_place(&mut self, record: &Record) {
        // Boots are few, and almost always it is the last one.
        let boot = self.boots.iter().rposition(|(known, _)| *known == record.boot_id).unwrap_or_else(|| {
            self.boots.push((record.boot_id.clone(), record.boot_ns));
            self.boots.len() - 1
        });
        self.last = Some(Place { boot, seq: record.seq, boot_ns: record.boot_ns });
    }

    /// Whether the disk may still have adoption records of before the line at `place`, by the time of the last line that was
    /// read. Of a line of another boot they speak until this boot's have taken their place.
    fn is_young(&self, place: Place) -> bool {
        let Some(last) = self.last else { return true };
        let since = if place.boot == last.boot { Some(place.boot_ns) } else { self.boots.get(last.boot).map(|b| b.1) };
        since.is_some_and(|since| last.boot_ns < since.saturating_add(STAYS))
    }

    /// Whether lines may still be appended to it.
    fn is_current(&self, source: &Source) -> io::Result<bool> {
        if source.number.is_some() {
            return Ok(false);
        }
        Ok(segments::look(self.files.current())?.is_some_and(|meta| FileId::of(&meta) == source.id))
    }

    fn finish(&mut self, source: &Source) -> io::Result<()> {
        if source.number.is_none() {
            // What was read of it as the current one is not reached by `sync` any more.
            source.file.sync_data()?;
        }
        let number = match source.number {
            Some(number) => Some(number),
            None => self.number_of(source.id)?,
        };
        if source.in_long_line || source.file.metadata()?.len() > source.offset {
            self.skipped += 1; // half a line, which nobody will finish
        }
        if let Some(number) = number {
            self.done.push(Done { number, last: self.last });
        }
        self.floor = self.floor.max(number.or(self.last.map(|last| last.seq)));
        Ok(())
    }

    /// Under which number the file was set aside; `None` when it was deleted.
    fn number_of(&self, id: FileId) -> io::Result<Option<u64>> {
        for number in self.files.numbers()?.into_iter().rev() {
            if segments::look(&self.files.old(number))?.is_some_and(|meta| FileId::of(&meta) == id) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The oldest segment that is not done.
    fn next_source(&self) -> io::Result<Option<Source>> {
        loop {
            // First open, then list: a current segment that is set aside in between is found in the list, and so is
            // every one that was between the last we read and this one.
            let current = segments::open_to_read(self.files.current())?;
            let numbers = self.files.numbers()?;
            let Some(number) = numbers.into_iter().find(|number| self.floor.is_none_or(|floor| *number > floor)) else {
                return current.map(|file| Source::new(file, None)).transpose();
            };
            if let Some(file) = segments::open_to_read(&self.files.old(number))? {
                return Source::new(file, Some(number)).map(Some);
            }
        }
    }
}

impl Source {
    fn new(file: File, number: Option<u64>) -> io::Result<Self> {
        let id = FileId::of(&file.metadata()?);
        Ok(Self { file, id, number, offset: 0, in_long_line: false, closed: false })
    }
}

/// Fills `block` from `offset` on as far as the file goes.
fn read_full(file: &File, block: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < block.len() {
        match file.read_at(&mut block[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
