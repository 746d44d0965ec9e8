//! What the steps of a job write: from their pipes to its log, with rotation on the way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::logs::{Block, Sink, fifo};
use crate::model::paths::{Paths, Stream};
use crate::model::{LogSpec, Moment, UnitName};
use crate::policy::redact;

/// Most bytes moved for one stream in one turn, so that a flood does not keep a step from being ended in time.
const BUDGET: usize = 1 << 20;

/// Rotation of a job's log.
const SPEC: LogSpec = LogSpec { max_size: 10 << 20, keep: 5 };

/// Of a step that failed, bytes.
const TAIL: usize = 8 << 10;

impl One {
    fn tail(&self) -> Option<String> {
        let tail = self.sink.tail(TAIL);
        let lines: Vec<String> = String::from_utf8_lossy(&tail).lines().map(redact).collect();
        Some(lines.join("\n")).filter(|text| !text.is_empty())
    }
}

pub(super) struct Output {
    name: UnitName,
    block: Block,
    stdout: One,
    stderr: One,
}

struct One {
    fifo: OwnedFd,
    sink: Sink,
}

impl Output {
    /// Of a job whose lock is ours. What a run that was killed had not written yet is written first.
    pub(super) fn open(paths: &Paths, name: &UnitName, at: Moment) -> io::Result<Self> {
        let one = |stream: Stream| -> io::Result<One> {
            let path = paths.fifo(name, stream);
            fifo::ensure(&path)?;
            let sink = Sink::open(&paths.log(name, stream), &paths.log_index(name, stream), SPEC);
            Ok(One { fifo: fifo::open_reader(&path)?, sink })
        };
        let (stdout, stderr) = (one(Stream::Stdout)?, one(Stream::Stderr)?);
        let mut output =
            Self { name: name.clone(), block: Block::open(paths.state_dir(), name.as_str())?, stdout, stderr };
        for one in [&mut output.stdout, &mut output.stderr] {
            one.sink.recover(&mut output.block, at);
        }
        output.drain(at);
        Ok(output)
    }

    /// Readable when there is something to move.
    pub(super) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.stdout.fifo.as_fd(), self.stderr.fifo.as_fd()]
    }

    /// Moves some of what is there.
    pub(super) fn pump(&mut self, at: Moment) {
        for one in [&mut self.stdout, &mut self.stderr] {
            one.sink.pump(&mut self.block, one.fifo.as_fd(), BUDGET, at);
        }
    }

    /// Moves what somebody who has ended left.
    pub(super) fn drain(&mut self, at: Moment) {
        for one in [&mut self.stdout, &mut self.stderr] {
            one.sink.drain(&mut self.block, one.fifo.as_fd(), at);
        }
    }

    /// What comes from here on is another step's, or another try's.
    pub(super) fn mark(&mut self) {
        self.stdout.sink.mark();
        self.stderr.sink.mark();
    }

    /// What was written last on stderr since then, without what looks like a secret.
    pub(super) fn complaint(&self) -> Option<String> {
        self.stderr.tail()
    }

    /// What was written last on stdout.
    pub(super) fn remark(&self) -> Option<String> {
        self.stdout.tail()
    }

    /// Puts a line of our own between them.
    pub(super) fn say(&mut self, what: &str, at: Moment) {
        let line = format!("supervisor: {}: {what}\n", self.name);
        // Through the pipe, as there is one writer of the log. What has no room there after that is a flood's.
        self.drain(at);
        while nix::unistd::write(&self.stderr.fifo, line.as_bytes()) == Err(Errno::EINTR) {}
        self.drain(at);
    }

    /// The end in order.
    pub(super) fn close(&mut self, at: Moment) {
        self.drain(at);
        self.block.remove();
    }
}
