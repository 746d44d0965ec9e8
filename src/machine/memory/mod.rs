//! The daemon's side of one service's memory: when it is looked at, what is told, and when it is restarted for it.
//!
//! Whether it grows is [`policy::trend`](crate::policy::trend)'s to say; what is too much, and when a restart may be, `policy::limit`'s.
//! This machine puts them together, and outlives the daemon by [`MemorySaved`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{EventType, Life, MemoryInfo, MemorySample, MemorySpec, Moment, Mono, RunView, Signal, StopCause};
use crate::policy::gap::Gap;
use crate::policy::trend::Trend;

/// One service's memory.
#[derive(Debug, Clone)]
pub struct MemoryMachine {
    spec: MemorySpec,
}

/// What of it outlives the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemorySaved {
    /// Of which life; in another one only what is known of former lives is of use.
    pub life: Life,
    /// The detector.
    pub trend: Trend,
    /// The detector of the heap, where the service tells it.
    pub heap: Option<Trend>,
}

/// What is told to it.
#[derive(Debug, Clone, PartialEq)]
pub enum MemorySeen {
    /// The runner's view changed.
    View(Box<RunView>),
    /// The runner is gone; nothing is known until it is back.
    RunnerGone,
    /// What was known when a daemon last ran.
    Restored(Box<MemorySaved>),
    /// The tree was looked at.
    Sampled {
        /// For which run.
        run_id: u64,
        /// What was seen; `None` when its main process is gone.
        sample: Option<MemorySample>,
        /// The main process, known over restarts.
        life: Option<Life>,
        /// Memory that the machine has left, bytes, where it tells.
        free: Option<u64>,
        /// Heap in use, bytes, where it is declared and was told.
        heap: Option<f64>,
        /// Requests served, where it is declared and was told.
        requests: Option<f64>,
        /// The minute of the day, local time.
        minute: u16,
    },
    /// It was asked whether it is idle; `None` when it did not say.
    Idle {
        /// Which run.
        run_id: u64,
        /// What it says.
        idle: Option<bool>,
    },
    /// A heap snapshot was asked for by the operator.
    SnapshotWanted,
    /// The heap snapshot is written, or why it is not.
    SnapshotTaken {
        /// Of which run.
        run_id: u64,
        /// The file, or why there is none.
        taken: Result<String, String>,
    },
    /// We did not run for a while.
    Gap(Gap),
    /// The moment of [`MemoryMachine::due`] has come.
    Tick,
}

/// What the daemon is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum MemoryAct {
    /// Look at the tree (and ask for the declared figures); answer with `Sampled`.
    Sample {
        /// The run it is for.
        run_id: u64,
        /// Its main process.
        pid: i32,
    },
    /// Keep this sample in the history.
    Keep {
        /// Of which run.
        run_id: u64,
        /// Of which life.
        life: Life,
        /// The sample.
        sample: MemorySample,
    },
    /// Keep this for a later daemon, in place of what was kept.
    Save(Box<MemorySaved>),
    /// Ask whether it is idle; answer with `Idle`.
    AskIdle {
        /// The run it is for.
        run_id: u64,
        /// For how long.
        timeout: Duration,
    },
    /// Put it on record.
    Record {
        /// Which kind.
        event: EventType,
        /// Metadata.
        data: Map<String, Value>,
    },
    /// Have the runner restart this run, drained.
    Restart {
        /// Which run.
        run_id: u64,
        /// For what.
        cause: StopCause,
    },
    /// Have its main process write a heap snapshot, where there is room for it; answer with `SnapshotTaken`. Hang verdicts wait.
    Snapshot {
        /// Which run.
        run_id: u64,
        /// Its main process.
        pid: i32,
        /// By which signal.
        signal: Signal,
        /// What the tree uses now, bytes: free memory of twice as much is needed.
        bytes: u64,
    },
}

impl MemoryMachine {
    /// One that has seen nothing.
    pub fn new(spec: MemorySpec) -> Self {
        Self { spec }
    }

    /// What of the declaration it goes by.
    pub fn spec(&self) -> &MemorySpec {
        &self.spec
    }

    /// One for another declaration of the same service: what is known is kept.
    pub fn redeclared(&self, spec: MemorySpec) -> Self {
        Self { spec }
    }

    /// Takes in what was seen.
    pub fn step(&mut self, at: Moment, seen: MemorySeen) -> Vec<MemoryAct> {
        let _ = (at, seen);
        Vec::new()
    }

    /// When the next `Tick` is wanted.
    pub fn due(&self) -> Option<Mono> {
        None
    }

    /// For `status`.
    pub fn info(&self) -> Option<MemoryInfo> {
        None
    }
}
