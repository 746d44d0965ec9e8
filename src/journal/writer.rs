//! The writing side: one per journal, in the runner (which holds the runner's lock, so there is no second one).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::{Map, Value};

use super::backlog::{Backlog, Gap, Limits};
use super::line::{self, Heading};
use super::segments::{self, FileId, Segments};
use crate::model::{EventType, Moment, UnitName};

/// Segments that were set aside and not synced yet; with more than this the oldest is synced at once, so that a caller
/// who never syncs holds a bounded number of descriptors.
const UNSYNCED: usize = 4;

/// Appends to a journal.
#[derive(Debug)]
pub struct Writer {
    files: Segments,
    boot_id: String,
    limits: Limits,
    next_seq: u64,
    current: Option<Current>,
    /// Set aside since the last sync.
    aside: Vec<File>,
    backlog: Backlog,
    trouble: Option<String>,
    /// A segment that could not be set aside keeps taking lines; that is a trouble too, but a lesser one.
    rotation_trouble: Option<String>,
    dirty: bool,
    /// A name in the folder is new and not synced.
    dir_dirty: bool,
    last_at: Moment,
    buffer: Vec<u8>,
    #[cfg(test)]
    pub(super) room: Option<usize>,
}

#[derive(Debug)]
struct Current {
    file: File,
    id: FileId,
    first_seq: Option<u64>,
    /// Half a line stands behind this length and could not be cut off.
    torn: Option<u64>,
}

impl Writer {
    /// Continues the journal `id` in `dir`, or begins it. A torn last line is cut off. `boot_ns` is the time since boot.
    ///
    /// # Errors
    /// Only when `id` cannot be part of a file name. Whatever is wrong with the disk is told by [`Self::trouble`], and
    /// lines wait in memory: a runner has to run its services all the same.
    pub fn open(dir: &Path, id: &str, boot_id: &str, boot_ns: u64) -> io::Result<Self> {
        Self::open_with(dir, id, boot_id, boot_ns, Limits::default())
    }

    /// [`Self::open`] with other limits.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(dir: &Path, id: &str, boot_id: &str, boot_ns: u64, limits: Limits) -> io::Result<Self> {
        let mut writer = Self {
            files: Segments::new(dir, id)?,
            boot_id: boot_id.to_owned(),
            limits,
            // Microseconds since boot: more than any seq that a deleted journal of this boot can have reached, as no
            // runner writes a line per microsecond.
            next_seq: boot_ns / 1000,
            current: None,
            aside: Vec::new(),
            backlog: Backlog::default(),
            trouble: None,
            rotation_trouble: None,
            dirty: false,
            dir_dirty: false,
            last_at: Moment::default(),
            buffer: Vec::new(),
            #[cfg(test)]
            room: None,
        };
        let opened = writer.open_current();
        let known = writer.current.as_ref().is_some_and(|current| current.first_seq.is_some());
        let counted = if known { Ok(()) } else { writer.go_on_after_old() };
        if let Err(error) = opened.and(counted) {
            writer.troubled(&error);
        }
        Ok(writer)
    }

    /// Puts an event on record and returns its seq. Never fails and never waits: a line that cannot be written now is
    /// kept for later (see [`Self::pending`]).
    pub fn append(
        &mut self,
        at: Moment,
        event: EventType,
        service: Option<&UnitName>,
        data: Map<String, Value>,
    ) -> u64 {
        self.last_at = at;
        let clear = self.backlog.is_clear() || self.retry();
        let seq = self.take_seq();
        let mut line = std::mem::take(&mut self.buffer);
        line::encode(&mut line, &Heading { boot_id: &self.boot_id, seq, at, event, service }, &data);
        if !clear || !self.write_or_say(seq, &line) {
            let reason = self.trouble.as_deref().unwrap_or_default();
            self.backlog.keep(&self.limits, seq, &line, at, reason);
        }
        self.buffer = line;
        seq
    }

    /// Tries to write what waits; `true` when nothing waits any longer.
    pub fn retry(&mut self) -> bool {
        while let Some((seq, line)) = self.backlog.pop() {
            if !self.write_or_say(seq, &line) {
                self.backlog.unpop((seq, line));
                return false;
            }
        }
        match self.backlog.gap().cloned() {
            Some(gap) => self.write_gap(&gap),
            None => true,
        }
    }

    /// The least seq that the next line can have.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// How many lines wait in memory.
    pub fn pending(&self) -> usize {
        self.backlog.len()
    }

    /// How many lines were lost since the journal was opened: no room in memory while the disk took none, or dropped
    /// with the oldest segment at the size limit.
    pub fn lost(&self) -> u64 {
        self.backlog.lost()
    }

    /// What is wrong with the journal, in words, while it is.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.clone().or_else(|| self.rotation_trouble.clone())
    }

    /// Whether something was written since the last [`Self::sync`].
    pub fn dirty(&self) -> bool {
        self.dirty
    }

    /// Makes what was written safe against a loss of power (fdatasync; `F_FULLFSYNC` on macOS).
    ///
    /// # Errors
    /// What the kernel says; it stays [`Self::dirty`] then.
    pub fn sync(&mut self) -> io::Result<()> {
        while let Some(file) = self.aside.first() {
            file.sync_data()?;
            self.aside.remove(0);
        }
        if let Some(current) = &self.current {
            current.file.sync_data()?;
        }
        if self.dir_dirty {
            File::open(self.files.dir())?.sync_all()?;
            self.dir_dirty = false;
        }
        self.dirty = false;
        Ok(())
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// seqs go on after those of the newest old segment; the current one is read when it is opened.
    fn go_on_after_old(&mut self) -> io::Result<()> {
        for number in self.files.numbers()?.into_iter().rev() {
            let last = segments::ends(&fs::read(self.files.old(number))?).last;
            self.next_seq = self.next_seq.max(last.unwrap_or(number) + 1);
            if last.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn write_gap(&mut self, gap: &Gap) -> bool {
        let mut data = Map::new();
        data.insert("lines".into(), gap.lines.into());
        data.insert("since_ms".into(), gap.since_ms.into());
        data.insert("reason".into(), gap.reason.as_str().into());
        let mut line = Vec::new();
        let seq = self.take_seq();
        let (at, event) = (gap.until, EventType::JournalGap);
        line::encode(&mut line, &Heading { boot_id: &self.boot_id, seq, at, event, service: None }, &data);
        // It is taken as told first: writing it may set a segment aside, and so begin the account of the next gap.
        self.backlog.gap_told();
        let written = self.write_or_say(seq, &line);
        if !written {
            self.backlog.gap_untold(gap);
        }
        written
    }

    fn write_or_say(&mut self, seq: u64, line: &[u8]) -> bool {
        match self.write(seq, line) {
            Ok(()) => self.trouble = None,
            Err(error) => self.troubled(&error),
        }
        self.trouble.is_none()
    }

    fn troubled(&mut self, error: &io::Error) {
        self.trouble = Some(format!("cannot write the journal {}: {error}", self.files.current().display()));
    }

    fn write(&mut self, seq: u64, line: &[u8]) -> io::Result<()> {
        let mut size = self.make_ready()?;
        if let Some(torn) = self.current.as_ref().and_then(|current| current.torn) {
            self.cut(torn)?;
            size = torn;
        }
        if size > 0 && size + line.len() as u64 > self.limits.segment {
            self.rotation_trouble = self.rotate().err().map(|error| {
                let name = self.files.current().display();
                format!("cannot set the full journal {name} aside: {error}")
            });
            size = self.make_ready()?;
        }
        let mut done = 0;
        while done < line.len() {
            match self.write_some(&line[done..]) {
                Ok(0) => return self.give_up(size, io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.give_up(size, error),
            }
        }
        if let Some(current) = &mut self.current {
            current.first_seq.get_or_insert(seq);
        }
        self.dirty = true;
        Ok(())
    }

    /// Makes sure that the open file is the one that the journal's name means; gives its size. Costs one lstat: it is
    /// what notices that somebody deleted or replaced the file, or the whole folder.
    fn make_ready(&mut self) -> io::Result<u64> {
        let found = segments::look(self.files.current())?;
        match (&self.current, found) {
            (Some(current), Some(meta)) if current.id == FileId::of(&meta) => Ok(meta.len()),
            _ => {
                self.open_current()?;
                match &self.current {
                    Some(current) => Ok(current.file.metadata()?.len()),
                    None => Err(io::ErrorKind::NotFound.into()),
                }
            }
        }
    }

    fn open_current(&mut self) -> io::Result<()> {
        self.current = None;
        self.files.make_dir()?;
        let mut file = self.files.open_to_append()?;
        let meta = file.metadata()?;
        let mut first_seq = None;
        if meta.len() == 0 {
            self.dir_dirty = true;
            self.dirty = true;
        } else {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let ends = segments::ends(&bytes);
            if ends.whole < meta.len() {
                file.set_len(ends.whole)?;
            }
            first_seq = ends.first;
            self.next_seq = self.next_seq.max(ends.last.map_or(0, |last| last + 1));
        }
        self.current = Some(Current { file, id: FileId::of(&meta), first_seq, torn: None });
        Ok(())
    }

    /// One write(2).
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        let bytes = match &mut self.room {
            Some(0) => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Some(room) => {
                let count = bytes.len().min(*room);
                *room -= count;
                &bytes[..count]
            }
            None => bytes,
        };
        match &mut self.current {
            Some(current) => current.file.write(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A line was written in part or not at all: what stands of it is cut off, now or before the next one.
    fn give_up(&mut self, size: u64, error: io::Error) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            current.torn = Some(size);
        }
        // What matters to people is why the line could not be written; a failing cut is tried again before the next.
        let _ = self.cut(size);
        Err(error)
    }

    fn cut(&mut self, size: u64) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            current.file.set_len(size)?;
            current.torn = None;
        }
        Ok(())
    }

    /// Sets the current segment aside under its first seq, and drops the oldest ones beyond the limit.
    fn rotate(&mut self) -> io::Result<()> {
        let mut numbers = self.files.numbers()?;
        let first = self.current.as_ref().and_then(|current| current.first_seq).unwrap_or(self.next_seq);
        // The order of the names is the order of the lines, also where somebody put older files into the folder.
        let number = numbers.last().map_or(first, |newest| first.max(newest + 1));
        fs::rename(self.files.current(), self.files.old(number))?;
        self.dir_dirty = true;
        numbers.push(number);
        if let Some(full) = self.current.take() {
            self.aside.push(full.file);
        }
        if self.aside.len() > UNSYNCED {
            self.aside.remove(0).sync_data()?;
        }
        self.drop_oldest(&numbers)
    }

    fn drop_oldest(&mut self, numbers: &[u64]) -> io::Result<()> {
        let mut sizes = Vec::with_capacity(numbers.len());
        for number in numbers {
            let path = self.files.old(*number);
            // The daemon may have removed it meanwhile.
            sizes.extend(segments::look(&path)?.map(|meta| (path, meta.len())));
        }
        let mut total: u64 = sizes.iter().map(|(_, size)| size).sum();
        for (path, size) in sizes {
            if total + self.limits.segment <= self.limits.total {
                break;
            }
            let bytes = fs::read(&path)?;
            fs::remove_file(&path)?;
            total -= size;
            let lines = bytes.iter().filter(|b| **b == b'\n').count() as u64;
            let since = bytes.split(|b| *b == b'\n').find_map(line::mark).map_or(self.last_at.wall_ms, |m| m.wall_ms);
            let reason = format!("the journal reached {} bytes with lines that no daemon had taken", self.limits.total);
            self.backlog.lose(lines, since, self.last_at, &reason);
        }
        Ok(())
    }
}
