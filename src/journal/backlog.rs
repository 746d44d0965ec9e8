//! Lines that could not be written yet, and the account of those that never will be.

use std::collections::VecDeque;

use crate::model::Moment;

/// How much a journal may take, on disk and in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment that would grow beyond this many bytes is set aside and a new one begun.
    pub segment: u64,
    /// All segments together; beyond this the oldest is dropped.
    pub total: u64,
    /// Lines waiting in memory while the disk takes none.
    pub waiting_lines: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment: 1 << 20, total: 64 << 20, waiting_lines: 10_000, waiting_bytes: 8 << 20 }
    }
}

/// A line with its seq.
pub(super) type Waiting = (u64, Box<[u8]>);

/// What was lost since the last `journal_gap` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// How many lines.
    pub(super) lines: u64,
    /// When the first of them was made.
    pub(super) since_ms: i64,
    /// When the last loss was noticed.
    pub(super) until: Moment,
    /// Why, in words.
    pub(super) reason: String,
}

/// The queue. The oldest lines are kept: how a trouble began says more than its hundredth repetition, and their seqs
/// stay without holes.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    lines: VecDeque<Waiting>,
    bytes: usize,
    gap: Option<Gap>,
    lost: u64,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether there is nothing to write before a new line.
    pub(super) fn is_clear(&self) -> bool {
        self.lines.is_empty() && self.gap.is_none()
    }

    /// Keeps a line, or counts it as lost when there is no room.
    pub(super) fn keep(&mut self, limits: &Limits, seq: u64, line: &[u8], at: Moment, reason: &str) {
        if self.lines.len() < limits.waiting_lines && self.bytes + line.len() <= limits.waiting_bytes {
            self.bytes += line.len();
            self.lines.push_back((seq, line.into()));
        } else {
            self.lose(1, at.wall_ms, at, reason);
        }
    }

    /// Counts lost lines.
    pub(super) fn lose(&mut self, lines: u64, since_ms: i64, until: Moment, reason: &str) {
        if lines == 0 {
            return;
        }
        self.lost += lines;
        let gap = self.gap.get_or_insert_with(|| Gap { lines: 0, since_ms, until, reason: String::new() });
        gap.lines += lines;
        gap.since_ms = gap.since_ms.min(since_ms);
        gap.until = until;
        reason.clone_into(&mut gap.reason);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let first = self.lines.pop_front()?;
        self.bytes -= first.1.len();
        Some(first)
    }

    /// Puts back what `pop` gave.
    pub(super) fn unpop(&mut self, first: Waiting) {
        self.bytes += first.1.len();
        self.lines.push_front(first);
    }

    pub(super) fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// The gap stands in the journal now.
    pub(super) fn gap_told(&mut self) {
        self.gap = None;
    }

    /// It does not after all.
    pub(super) fn gap_untold(&mut self, gap: &Gap) {
        self.lost -= gap.lines;
        self.lose(gap.lines, gap.since_ms, gap.until, &gap.reason);
    }
}
