//! The block through which output goes from its FIFO to its log, in memory that outlives us: at no moment is a byte only
//! where our death would lose it.
//!
//! Before anything is read, a heading says where it is to go (which log, which file, at what offset), and the block is full
//! of a byte that no text has. A successor finds the heading: what stands before those bytes was taken out of the FIFO, and
//! the size of the file says how much of it was written. There are two places for the heading and one number that says
//! which of them counts, written last. That is as good as a transaction against death, since memory shows what was written to
//! it in order. (Against a loss of power it is nothing: then FIFO and memory go too.)
//!
//! The length of what was read is found, not announced, because nobody can say before how much a read will give: FIONREAD
//! on a FIFO opened for reading and writing answers for the wrong end on macOS.
//!
//! Where there is no such memory (a container without /dev/shm), or once it was taken away (`systemd-logind` removes it after a
//! user's last session where `RemoveIPC` is set and the user does not linger), SIGKILL between read and write costs at most one
//! block. So does output that is no UTF-8 and whose last byte in a block is 0xFF, by those bytes, when the kill falls between
//! the return of read(2) and the next instruction of ours.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use nix::errno::Errno;
use nix::unistd::{geteuid, read};

use crate::model::stable_hash;
use crate::process::shared::{Shared, WORDS};

/// Bytes of the block: larger ones were no faster.
const SIZE: usize = 64 * 1024;

/// So much of it is used until somebody writes more at once: a runner of quiet services keeps few pages.
const FIRST: usize = 4096;

/// In no UTF-8 text.
const EMPTY: u8 = 0xff;

/// The layout is this one. To be changed with it.
const FORMAT: u64 = u64::from_le_bytes(*b"SVBLOCK1");

/// Where in the heading's page what stands: the format, which of the two places counts (0: none), the places.
const FORMAT_AT: usize = 0;
const CHOICE_AT: usize = 1;
const PLACES_AT: [usize; 2] = [8, 16];

/// Bytes on their way from one FIFO to one log at a time. A runner has one block for all its services.
#[derive(Debug)]
pub struct Block {
    shared: Shared,
    /// What is in it and not in the log yet.
    rest: Range<usize>,
    /// How much of it is used for a read.
    window: usize,
    /// So many bytes at its beginning have to be emptied before the next read.
    dirty: usize,
    #[cfg(test)]
    pub(super) fuse: Fuse,
}

/// Where bytes go in a file that may be renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Of the file.
    pub(super) device: u64,
    /// Of the file.
    pub(super) inode: u64,
    /// Bytes from its beginning.
    pub(super) offset: u64,
}

/// What a successor has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heading {
    /// [`key`] of the log's path.
    log: u64,
    /// Where the bytes go; `None` while the log is rotated and they are in no file.
    pub(super) spot: Option<Spot>,
    /// Which bytes of the block.
    pub(super) bytes: Range<usize>,
    /// Whether they are there; or else they are about to be read.
    taken: bool,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes; 0 when the FIFO is empty.
    pub(super) bytes: usize,
    /// As many as were asked for: there may be more.
    pub(super) all: bool,
}

impl Block {
    /// The block of the runner `id` of this state directory, with what its predecessor may have left in it; where it cannot
    /// be had, one that goes with us. For who holds the runner's lock.
    ///
    /// # Errors
    /// There is no memory at all.
    pub fn open(state_dir: &Path, id: &str) -> io::Result<Self> {
        let shared = Shared::open(&name(state_dir, id), SIZE).or_else(|_| Shared::private(SIZE))?;
        Ok(Self::over(shared))
    }

    /// A block that nobody else finds.
    ///
    /// # Errors
    /// There is no memory.
    pub fn private() -> io::Result<Self> {
        Ok(Self::over(Shared::private(SIZE)?))
    }

    fn over(mut shared: Shared) -> Self {
        let (words, _) = shared.parts();
        if words[FORMAT_AT].load(Ordering::Relaxed) != FORMAT {
            words[CHOICE_AT].store(0, Ordering::Release);
            words[FORMAT_AT].store(FORMAT, Ordering::Release);
        }
        Self {
            shared,
            rest: 0..0,
            window: FIRST,
            dirty: FIRST,
            #[cfg(test)]
            fuse: Fuse::default(),
        }
    }

    /// Whether what is in it goes on after our death.
    pub fn outlives_us(&self) -> bool {
        self.shared.outlives_us()
    }

    /// Leaves nothing for a successor: the end in order.
    pub fn remove(&mut self) {
        self.clear();
        self.shared.remove();
    }

    /// Whether a predecessor died with output of the log at `path` in hand.
    pub fn has_left(&mut self, path: &Path) -> bool {
        self.left(key(path)).is_some()
    }

    /// What a predecessor had in hand of this log, as far as it was taken out of the FIFO.
    pub(super) fn left(&mut self, log: u64) -> Option<Heading> {
        let (words, data) = self.shared.parts();
        let mut heading = read_heading(words).filter(|heading| heading.log == log)?;
        let bytes = data.get(heading.bytes.clone())?;
        if !heading.taken {
            let length = bytes.iter().rposition(|byte| *byte != EMPTY).map_or(0, |last| last + 1);
            heading.bytes.end = heading.bytes.start + length;
        }
        (!heading.bytes.is_empty()).then_some(heading)
    }

    /// Goes on with `bytes`, which a predecessor left, at `spot`.
    pub(super) fn go_on_with(&mut self, log: u64, bytes: Range<usize>, spot: Option<Spot>) {
        self.rest = bytes;
        self.note(log, spot, true);
    }

    /// Reads at most `most` bytes, which are to go to `spot` of the log.
    pub(super) fn take(&mut self, fifo: BorrowedFd<'_>, most: usize, log: u64, spot: Spot) -> io::Result<Taken> {
        let most = most.min(self.window);
        self.empty();
        self.rest = 0..most;
        self.note(log, Some(spot), false);
        let taken = self.fill(fifo, most);
        self.rest = 0..taken.as_ref().map_or(0, |taken| taken.bytes);
        if self.rest.is_empty() {
            self.clear();
        } else {
            // From here on it counts whatever bytes it has.
            self.note(log, Some(spot), true);
        }
        taken
    }

    /// Takes at most `most` bytes out of the FIFO for nothing.
    pub(super) fn discard(&mut self, fifo: BorrowedFd<'_>, most: usize) -> io::Result<Taken> {
        self.clear();
        self.fill(fifo, most.min(self.window))
    }

    /// What is not in the log yet.
    pub(super) fn rest(&mut self) -> &[u8] {
        let rest = self.rest.clone();
        #[cfg(test)]
        let rest = rest.start..rest.end.min(rest.start.saturating_add(self.fuse.write_most));
        &self.shared.parts().1[rest]
    }

    /// How many bytes are not in the log yet.
    pub(super) fn left_over(&self) -> usize {
        self.rest.len()
    }

    /// So many more bytes are in the log. Its size tells a successor.
    pub(super) fn written(&mut self, n: usize) {
        self.rest.start += n;
        self.reached();
    }

    /// The rest is in no file and goes to the next one: the log is about to be rotated.
    pub(super) fn between_files(&mut self, log: u64) {
        self.note(log, None, true);
    }

    /// The rest goes to `spot`.
    pub(super) fn in_file(&mut self, log: u64, spot: Spot) {
        self.note(log, Some(spot), true);
    }

    /// Nothing is in hand any more.
    pub(super) fn clear(&mut self) {
        self.rest = 0..0;
        self.shared.parts().0[CHOICE_AT].store(0, Ordering::Release);
        self.reached();
    }

    /// Makes sure that what is read can be told from what was there.
    fn empty(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        // It also has the pages at hand, so that none of them is missing in the middle of a read.
        self.shared.parts().1[..dirty].fill(EMPTY);
        compiler_fence(Ordering::SeqCst);
        self.reached();
    }

    fn fill(&mut self, fifo: BorrowedFd<'_>, most: usize) -> io::Result<Taken> {
        let data = &mut self.shared.parts().1[..most];
        let n = loop {
            match read(fifo, data) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break 0,
                result => break result?,
            }
        };
        self.dirty = self.dirty.max(n);
        if n == self.window && self.window < SIZE {
            self.window = (self.window * 4).min(SIZE);
            self.dirty = self.window;
        }
        self.reached();
        Ok(Taken { bytes: n, all: n == most })
    }

    /// Writes the heading for the rest, into the place that does not count, and then has it count.
    fn note(&mut self, log: u64, spot: Option<Spot>, taken: bool) {
        let heading = Heading { log, spot, bytes: self.rest.clone(), taken };
        let (words, _) = self.shared.parts();
        let next = usize::from(words[CHOICE_AT].load(Ordering::Relaxed) == 1);
        for (word, value) in words[PLACES_AT[next]..].iter().zip(heading.encode()) {
            word.store(value, Ordering::Relaxed);
        }
        words[CHOICE_AT].store(next as u64 + 1, Ordering::Release);
        // A system call comes next or has just been: neither the compiler nor we move anything across it.
        compiler_fence(Ordering::SeqCst);
        self.reached();
    }

    /// A point at which a test may have us die: after each thing that a successor could see.
    fn reached(&mut self) {
        #[cfg(test)]
        self.fuse.burn();
    }
}

impl Heading {
    fn encode(&self) -> [u64; 7] {
        let Spot { device, inode, offset } = self.spot.unwrap_or(Spot { device: 0, inode: 0, offset: 0 });
        let kind = u64::from(self.taken) << 1 | u64::from(self.spot.is_some());
        [self.log, kind, device, inode, offset, self.bytes.start as u64, self.bytes.end as u64]
    }
}

fn read_heading(words: &[AtomicU64; WORDS]) -> Option<Heading> {
    let load = |at: usize| words[at].load(Ordering::Acquire);
    let at = *PLACES_AT.get(usize::try_from(load(CHOICE_AT)).ok()?.checked_sub(1)?)?;
    let [log, kind, device, inode, offset, start, end] = std::array::from_fn(|n| load(at + n));
    let bytes = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    let spot = (kind & 1 == 1).then_some(Spot { device, inode, offset });
    Some(Heading { log, spot, bytes, taken: kind & 2 == 2 })
}

/// What tells the logs of one state directory apart.
pub(super) fn key(log: &Path) -> u64 {
    hash(&[log.file_name().unwrap_or_default().as_encoded_bytes()])
}

/// The name of a runner's block, which has to be short (28 characters).
fn name(state_dir: &Path, id: &str) -> String {
    // A state directory may be reached by several paths.
    let real = state_dir.canonicalize();
    let real = real.as_deref().unwrap_or(state_dir).as_os_str().as_encoded_bytes();
    format!("/supervisor-{:016x}", hash(&[&geteuid().as_raw().to_le_bytes(), real, id.as_bytes()]))
}

/// Predecessor and successor have to agree on it.
fn hash(parts: &[&[u8]]) -> u64 {
    stable_hash(parts.iter().flat_map(|part| part.iter().chain(&[0])).copied())
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
#[cfg(test)]
pub(super) use tests::{Fuse, Killed};
