//! One output stream of a service, from its FIFO to its log file.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::block::{self, Block, Taken};
use super::index::Index;
use super::out::{Out, Place};
use super::{read, rotate};
use crate::model::{LogSpec, Moment, Mono};

/// A line may make a file larger than its limit by this much, before it is cut after all.
const LONGEST_LINE: u64 = 1 << 20;

/// What a FIFO can hold, and as much again: more is not from one who has died.
const DRAIN: usize = 2 << 20;

/// A file that cannot be written is tried again that often.
const RETRY: Duration = Duration::from_secs(1);

/// What one call of [`Sink::pump`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pumped {
    /// Bytes that are now in the file.
    pub moved: u64,
    /// Bytes that are lost, as the file could not be written.
    pub dropped: u64,
    /// The budget ended before the FIFO was empty.
    pub more: bool,
}

/// A place in a log that outlives renaming; for the adoption record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file.
    pub inode: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// Moves what a service writes from its FIFO to its log file, with rotation on the way.
///
/// Making one never fails, and neither does moving bytes: when the file cannot be written, bytes are read and counted,
/// for a service must not stand still because of its log. When it can be written again, one line says what is missing.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    /// Names our log in the block.
    key: u64,
    spec: LogSpec,
    index: Index,
    out: Option<Out>,
    /// How many bytes at the end of the log are of the current run.
    run_bytes: u64,
    /// Bytes that were lost, in all.
    dropped: u64,
    failing: Option<Failing>,
    /// Why the last rotation failed, and when the next may be tried.
    stuck: Option<(Mono, String)>,
}

/// The file cannot be written.
#[derive(Debug)]
struct Failing {
    /// Since when, once something was lost.
    since_ms: Option<i64>,
    dropped: u64,
    retry: Mono,
    error: String,
}

impl Sink {
    /// A sink that goes on at the end of the log at `path`, with its time index at `index`.
    pub fn open(path: &Path, index: &Path, spec: LogSpec) -> Self {
        let (out, failing) = match Out::open(path) {
            Ok(out) => (Some(out), None),
            Err(error) => (None, Some(Failing { since_ms: None, dropped: 0, retry: Mono(0), error: describe(&error) })),
        };
        Self {
            path: path.to_path_buf(),
            key: block::key(path),
            spec,
            index: Index::new(index),
            out,
            run_bytes: 0,
            dropped: 0,
            failing,
            stuck: None,
        }
    }

    /// Writes what a predecessor had taken out of the FIFO when it was killed, as far as it had not written it. To be done
    /// before anything else goes through `block`, and before [`Sink::resume`] counts.
    pub fn recover(&mut self, block: &mut Block, at: Moment) -> Pumped {
        let mut pumped = Pumped::default();
        let Some(left) = block.left(self.key) else { return pumped };
        let here = self.out.as_ref().map(Out::spot);
        let mut rest = left.bytes;
        if let Some(meant) = left.spot {
            let written = here
                .filter(|here| (here.device, here.inode) == (meant.device, meant.inode))
                .and_then(|here| usize::try_from(here.offset.checked_sub(meant.offset)?).ok());
            // Another file, or one that was emptied: somebody took away what was written, and may have meant all of it.
            rest.start = written.map_or(rest.end, |written| rest.start.saturating_add(written).min(rest.end));
        }
        block.go_on_with(self.key, rest, here);
        if let Err(error) = self.put(block, at, &mut pumped) {
            self.fail(&error, at);
            self.count_lost(pumped.dropped, at);
        }
        pumped
    }

    /// Other limits from now on; files beyond the new number go with the next rotation.
    pub fn set_spec(&mut self, spec: LogSpec) {
        self.spec = spec;
    }

    /// A new run begins: what is in the log up to here is not its output. The position is for [`Sink::resume`].
    pub fn mark(&mut self) -> Position {
        self.run_bytes = 0;
        self.out.as_ref().map_or_else(Position::default, |out| Position { inode: out.inode, offset: out.size })
    }

    /// The current run began at `position`, as another process's [`Sink::mark`] said. A file that has gone since was older
    /// than all that is there.
    pub fn resume(&mut self, position: Position) {
        self.run_bytes = read::bytes_since(&self.path, position);
    }

    /// The last bytes, at most `most`, that the current run has written, also from files rotated since.
    pub fn tail(&self, most: usize) -> Vec<u8> {
        let most = most.min(usize::try_from(self.run_bytes).unwrap_or(usize::MAX));
        // Many services end without a word, and this stands between an end and the next start.
        if most == 0 {
            return Vec::new();
        }
        read::last_bytes(&self.path, most).unwrap_or_default()
    }

    /// Bytes that were lost since this sink was made.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What is wrong with the log now, if anything is.
    pub fn trouble(&self) -> Option<String> {
        if let Some(Failing { dropped, error, .. }) = &self.failing {
            return Some(format!("{} cannot be written: {error}; {dropped} bytes of output lost", self.path.display()));
        }
        let (_, error) = self.stuck.as_ref()?;
        Some(format!("{} cannot be rotated and grows: {error}", self.path.display()))
    }

    /// Moves up to `budget` bytes, or until the FIFO seems to be empty. The FIFO must be non-blocking.
    pub fn pump(&mut self, block: &mut Block, fifo: BorrowedFd<'_>, budget: usize, at: Moment) -> Pumped {
        self.run(block, fifo, budget, false, at)
    }

    /// Moves what somebody who has died left in the FIFO. Bounded, as others may go on writing to it.
    pub fn drain(&mut self, block: &mut Block, fifo: BorrowedFd<'_>, at: Moment) -> Pumped {
        self.run(block, fifo, DRAIN, true, at)
    }

    /// Whoever looks again when there is more need not be told so by a read that finds nothing.
    fn run(&mut self, block: &mut Block, fifo: BorrowedFd<'_>, budget: usize, to_the_end: bool, at: Moment) -> Pumped {
        let mut pumped = Pumped::default();
        let mut left = budget;
        self.prepare(at);
        let start = self.spot();
        while left > 0 {
            let result = if self.failing.is_some() {
                discard(block, fifo, left, &mut pumped)
            } else {
                self.advance(block, fifo, left, at, &mut pumped)
            };
            match result {
                Ok(taken) => {
                    left = left.saturating_sub(taken.bytes);
                    if taken.bytes == 0 || !(taken.all || to_the_end) {
                        break;
                    }
                }
                Err(error) if self.failing.is_none() => self.fail(&error, at),
                Err(_) => break,
            }
        }
        self.count_lost(pumped.dropped, at);
        pumped.more = left == 0;
        if pumped.moved > 0
            && let (Some(start), Some(end)) = (start, self.spot())
        {
            let path = &self.path;
            self.index.note(at, start, end, || read::inodes(path));
        }
        pumped
    }

    fn spot(&self) -> Option<(u64, u64)> {
        self.out.as_ref().map(|out| (out.inode, out.size))
    }

    /// Sees to it that the open file is the one at the path, and ends trouble that is over.
    fn prepare(&mut self, at: Moment) {
        if self.failing.as_ref().is_some_and(|failing| at.mono < failing.retry) {
            return;
        }
        if let Err(error) = self.find_place().and_then(|()| self.end_trouble(at)) {
            self.fail(&error, at);
        }
    }

    fn find_place(&mut self) -> io::Result<()> {
        let place = self.out.as_ref().map_or(Place::Gone, |out| out.place(&self.path));
        match (place, &mut self.out) {
            (Place::Resized(size), Some(out)) => {
                // Emptied by somebody, or added to: in both cases the end is where we go on.
                self.run_bytes = size.checked_sub(out.size).map_or(0, |added| self.run_bytes + added);
                out.go_on_at(size)
            }
            (Place::Gone, out) => {
                // Somebody took it away. (Our own rotation that failed half-way has left us without an open file.)
                if out.take().is_some() {
                    self.run_bytes = 0;
                }
                *out = Some(Out::open(&self.path)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// After trouble, says in the log what is missing from it.
    fn end_trouble(&mut self, at: Moment) -> io::Result<()> {
        let (Some(failing), Some(out)) = (&self.failing, &mut self.out) else { return Ok(()) };
        if failing.dropped > 0 {
            let line_end = if out.ends_at_line() { "" } else { "\n" };
            let since = time(failing.since_ms.unwrap_or(at.wall_ms));
            let note = format!(
                "{line_end}[supervisor: {} bytes of output could not be written between {since} and {}: {}]\n",
                failing.dropped,
                time(at.wall_ms),
                failing.error
            );
            out.write_whole(note.as_bytes())?;
            self.run_bytes += note.len() as u64;
        }
        self.failing = None;
        Ok(())
    }

    fn fail(&mut self, error: &io::Error, at: Moment) {
        let (since_ms, dropped) = self.failing.take().map_or((None, 0), |failing| (failing.since_ms, failing.dropped));
        let error = describe(error);
        self.failing = Some(Failing { since_ms, dropped, retry: at.mono.plus(RETRY), error });
    }

    fn count_lost(&mut self, bytes: u64, at: Moment) {
        self.dropped += bytes;
        if let Some(failing) = self.failing.as_mut().filter(|_| bytes > 0) {
            failing.dropped += bytes;
            failing.since_ms.get_or_insert(at.wall_ms);
        }
    }

    /// Reads a block and writes it, rotating where it is time. What was read when the writing fails is lost.
    fn advance(
        &mut self,
        block: &mut Block,
        fifo: BorrowedFd<'_>,
        most: usize,
        at: Moment,
        pumped: &mut Pumped,
    ) -> io::Result<Taken> {
        let spot = self.out.as_ref().map(Out::spot).ok_or(io::ErrorKind::NotConnected)?;
        let taken = block.take(fifo, most, self.key, spot)?;
        self.put(block, at, pumped)?;
        Ok(taken)
    }

    /// Writes what is in the block.
    fn put(&mut self, block: &mut Block, at: Moment, pumped: &mut Pumped) -> io::Result<()> {
        while block.left_over() > 0 {
            match self.put_some(block, at) {
                Ok(n) => {
                    pumped.moved += n as u64;
                    self.run_bytes += n as u64;
                }
                Err(error) => {
                    pumped.dropped += block.left_over() as u64;
                    block.clear();
                    return Err(error);
                }
            }
        }
        block.clear();
        Ok(())
    }

    fn put_some(&mut self, block: &mut Block, at: Moment) -> io::Result<usize> {
        let room = self.room(block, at)?;
        let out = self.out.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let rest = block.rest();
        let part = match room {
            Room::Bytes(room) => &rest[..room.min(rest.len())],
            Room::LineEnd(room) => &rest[..line_end(&rest[..room.min(rest.len())])],
        };
        let n = out.write_some(part)?;
        block.written(n);
        Ok(n)
    }

    /// How much the file may take before it is looked at again; rotates first when it is full.
    fn room(&mut self, block: &mut Block, at: Moment) -> io::Result<Room> {
        let limit = self.spec.max_size.max(1);
        let out = self.out.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut size = out.size;
        if size >= limit
            && (out.ends_at_line() || size >= limit.saturating_add(LONGEST_LINE))
            && self.stuck.as_ref().is_none_or(|(retry, _)| at.mono >= *retry)
        {
            block.between_files(self.key);
            match rotate::rotate(&self.path, self.spec.keep) {
                Ok(()) => {
                    self.stuck = None;
                    // Opened in two steps, so that a failure leaves us without a file rather than with a rotated one.
                    self.out = None;
                    let out = self.out.insert(Out::open(&self.path)?);
                    size = out.size;
                }
                Err(error) => self.stuck = Some((at.mono.plus(RETRY), describe(&error))),
            }
            if let Some(out) = &self.out {
                block.in_file(self.key, out.spot());
            }
        }
        Ok(if size < limit {
            Room::Bytes(usize::try_from(limit - size).unwrap_or(usize::MAX))
        } else if self.stuck.is_some() {
            // It cannot be rotated. Better a file that is too large than output that is lost.
            Room::Bytes(usize::MAX)
        } else {
            let most = limit.saturating_add(LONGEST_LINE).saturating_sub(size).max(1);
            Room::LineEnd(usize::try_from(most).unwrap_or(usize::MAX))
        })
    }
}

/// How much a file may take.
enum Room {
    /// So many bytes, whatever they are.
    Bytes(usize),
    /// Bytes up to the end of the line that has begun, and not more than so many.
    LineEnd(usize),
}

/// The length of `bytes` up to and with its first line end, or all of it.
fn line_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

/// Takes bytes out of the FIFO for nothing.
fn discard(block: &mut Block, fifo: BorrowedFd<'_>, most: usize, pumped: &mut Pumped) -> io::Result<Taken> {
    let taken = block.discard(fifo, most)?;
    pumped.dropped += taken.bytes as u64;
    Ok(taken)
}

/// The error as its own words, without our runtime's additions.
fn describe(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

fn time(wall_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(wall_ms).unwrap_or_default().to_string()
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
