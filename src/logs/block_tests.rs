//! Tests of the block, and what the sink's tests need to kill it.

use std::io::Write;
use std::os::fd::AsFd;

use super::*;
use crate::logs::fifo;

/// The cause of a panic that stands for SIGKILL: nothing that a panic does on its way changes what a successor finds.
pub(in crate::logs) struct Killed;

/// When we are killed, and how much the system takes at once.
#[derive(Debug)]
pub(in crate::logs) struct Fuse {
    /// Points that are still passed.
    pub(in crate::logs) points: Option<usize>,
    /// Most bytes of one write(2): less than the rest is what a kill in the middle of it leaves.
    pub(in crate::logs) write_most: usize,
}

impl Default for Fuse {
    fn default() -> Self {
        Self { points: None, write_most: usize::MAX }
    }
}

impl Fuse {
    pub(super) fn burn(&mut self) {
        if let Some(points) = &mut self.points {
            match points.checked_sub(1) {
                Some(left) => *points = left,
                None => std::panic::resume_unwind(Box::new(Killed)),
            }
        }
    }
}

impl Block {
    /// As a successor opens it.
    pub(in crate::logs) fn reborn(&mut self) {
        let shared = std::mem::replace(&mut self.shared, Shared::private(0).unwrap());
        *self = Self::over(shared);
    }

    /// Whether a rotation was on its way.
    pub(in crate::logs) fn died_between_files(&mut self) -> bool {
        read_heading(self.shared.parts().0).is_some_and(|heading| heading.spot.is_none())
    }
}

const SPOT: Spot = Spot { device: 1, inode: 2, offset: 3 };

#[test]
fn of_two_headings_the_one_that_was_finished_counts() {
    let mut block = Block::private().unwrap();
    let log = key(Path::new("/logs/x.log"));
    assert_eq!(block.left(log), None);
    block.go_on_with(log, 10..20, Some(SPOT));
    let first = Heading { log, spot: Some(SPOT), bytes: 10..20, taken: true };
    assert_eq!(block.left(log), Some(first.clone()));
    assert!(block.has_left(Path::new("/other/way/x.log")) && !block.has_left(Path::new("/logs/y.log")));
    // A second one is written beside it, so that it counts as long as the second is not finished.
    let chosen = |block: &mut Block| block.shared.parts().0[CHOICE_AT].load(Ordering::Relaxed);
    let place = PLACES_AT[usize::try_from(chosen(&mut block)).unwrap() - 1];
    let words = |block: &mut Block| {
        block.shared.parts().0[place..place + 7].iter().map(|w| w.load(Ordering::Relaxed)).collect()
    };
    let (choice, before): (u64, Vec<u64>) = (chosen(&mut block), words(&mut block));
    block.go_on_with(log, 12..20, None);
    assert_eq!(words(&mut block), before);
    assert_eq!(block.left(log), Some(Heading { log, spot: None, bytes: 12..20, taken: true }));
    block.shared.parts().0[CHOICE_AT].store(choice, Ordering::Relaxed);
    assert_eq!(block.left(log), Some(first));
    block.go_on_with(log, 15..20, None);
    assert_eq!(block.left(log), Some(Heading { log, spot: None, bytes: 15..20, taken: true }));
    block.clear();
    assert_eq!(block.left(log), None);
}

#[test]
fn nonsense_is_nothing() {
    let mut block = Block::private().unwrap();
    let log = key(Path::new("x.log"));
    for (choice, bytes) in [
        (3, 0..1),
        (u64::MAX, 0..1),
        (1, 0..SIZE + 1),
        (1, Range { start: 5, end: 4 }),
        (1, usize::MAX - 1..usize::MAX),
    ] {
        block.go_on_with(log, bytes, None);
        block.shared.parts().0[CHOICE_AT].store(choice, Ordering::Relaxed);
        block.shared.parts().0[PLACES_AT[0]].store(log, Ordering::Relaxed);
        assert_eq!(block.left(log), None);
    }
    block.go_on_with(log, 0..1, None);
    block.shared.parts().0[FORMAT_AT].store(FORMAT + 1, Ordering::Relaxed);
    block.reborn();
    assert_eq!(block.left(log), None, "another layout");
}

#[test]
fn what_was_read_is_found_whatever_was_there_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    fifo::ensure(&path).unwrap();
    let reader = fifo::open_reader(&path).unwrap();
    let mut writer = std::fs::File::from(fifo::open_writer(&path).unwrap());
    let mut block = Block::private().unwrap();
    let log = key(Path::new("x.log"));
    let mut window = 0;
    for n in [1, 5000, 3, 9000, 40_000, 2, 60_000, 30_000, 7] {
        let text: Vec<u8> = (0..n).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        writer.write_all(&text).unwrap();
        let mut seen = Vec::new();
        while seen.len() < n {
            // The third point is after the read and before anything is said of it.
            for points in [0, 1, 2] {
                block.fuse.points = Some(points);
                let take = std::panic::AssertUnwindSafe(|| block.take(reader.as_fd(), SIZE, log, SPOT));
                assert!(std::panic::catch_unwind(take).is_err_and(|cause| cause.is::<Killed>()));
                let window_before = block.window;
                let left = block.left(log);
                if points < 2 {
                    assert_eq!(left, None, "nothing was read yet");
                    continue;
                }
                let left = left.unwrap().bytes;
                seen.extend_from_slice(&block.shared.parts().1[left]);
                block.reborn();
                (block.window, block.dirty) = (window_before, window_before);
                window = window.max(window_before);
            }
        }
        assert!(seen == text, "{n} bytes");
    }
    assert_eq!(window, SIZE, "it has grown with what was written at once");
}

#[test]
fn a_runners_block_is_found_by_its_successor_only() {
    let folder = tempfile::tempdir().unwrap();
    let log = key(Path::new("x.log"));
    let mut block = Block::open(folder.path(), "one").unwrap();
    if !block.outlives_us() {
        eprintln!("SKIPPED: there is no shared memory here");
        return;
    }
    block.go_on_with(log, 0..5, None);
    drop(block);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let mut other = Block::open(folder.path(), "two").unwrap();
    let mut successor = Block::open(&link, "one").unwrap();
    assert_eq!((other.left(log).is_some(), successor.left(log).is_some()), (false, true));
    other.remove();
    successor.remove();
    let mut later = Block::open(folder.path(), "one").unwrap();
    assert_eq!(later.left(log), None);
    later.remove();
}

#[test]
fn names_stay_what_they_are() {
    // FNV-1a of "foobar" and a zero.
    assert_eq!(hash(&[b"foobar"]), 0x85944171f73967e8_u64.wrapping_mul(0x0100_0000_01b3));
    assert_eq!(name(Path::new("/nowhere"), "x").len(), 28);
    assert_ne!(name(Path::new("/nowhere"), "x"), name(Path::new("/nowher"), "ex"));
}
