//! What goes into a `ServiceMachine`, what comes out, and what it writes down between two runners.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{EventType, Exit, ExitClass, LastExit, Moment, Mono, ServiceSpec, Signal, StopCause, wire::Verb};
use crate::policy::Backoff;

/// A process that cannot be mistaken for another one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Its pid, also its process group.
    pub pid: i32,
    /// The kernel's exact start time, in its own unit.
    pub start: u64,
}

/// One run, from its spawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number; rises by one with each run of the service.
    pub id: u64,
    /// Its main process.
    pub process: ProcessRef,
    /// When it was started.
    pub started: Moment,
    /// Automatic starts that led to it.
    pub attempt: u32,
    /// Whether another runner started it.
    pub adopted: bool,
}

/// Why a service is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// In words, without times: `exit code 78 (EX_CONFIG)`, `port 18789 is taken by node (pid 511)`.
    pub reason: String,
    /// What a person can do, in words; may be empty.
    pub remedy: String,
    /// The run's own last line on stderr; may be empty. Not part of the reason, since it may hold a time: the same refusal is
    /// told once.
    #[serde(default)]
    pub last_words: String,
}

/// What is done when the process being stopped is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Stay down.
    Down,
    /// Start again, as the operator asked: without throttle.
    Start,
    /// Start again, as a verdict or a change of services.toml demands: throttle holds.
    Again,
    /// Leave it: the runner ends, or the service is no longer ours.
    Leave,
}

/// What is happening to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing yet, or nothing any more.
    Idle,
    /// Another runner holds its lock.
    LockedOut {
        /// Which process, if it could be read.
        owner: Option<i32>,
    },
    /// Waits for the services in `after`.
    Blocked {
        /// Since when. It starts all the same when it has been longer than the slowest of them may take.
        since: Mono,
        /// Whether nobody asked for this start.
        automatic: bool,
    },
    /// Waits for throttle or back-off.
    Delayed {
        /// When it is due.
        until: Mono,
    },
    /// The spawn was asked for and is answered in the same turn of the loop.
    Spawning {
        /// Whether nobody asked for this start.
        automatic: bool,
        /// Whether something in `after` was not ready in time.
        impatient: bool,
    },
    /// Running, not ready.
    Starting(Run),
    /// Running and ready.
    Up(Run),
    /// Being ended.
    Stopping {
        /// The run.
        run: Run,
        /// Why.
        cause: StopCause,
        /// Whether SIGKILL was sent.
        killed: bool,
        /// When SIGKILL is due (again).
        until: Mono,
        /// What follows.
        then: Then,
    },
    /// Starting it again would not help.
    Held {
        /// Why.
        hold: Hold,
        /// When it is tried all the same.
        until: Mono,
    },
    /// Not wanted.
    Down,
    /// Ended well, for good.
    Done,
    /// Ended badly, for good.
    Failed,
}

/// A start that did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It would not come about the next time either: program missing, port taken.
    Hold(Hold),
    /// The system was short of something (processes, memory): tried again.
    Short(String),
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The service's lock is ours now; what the predecessor left, and what became of its run.
    Begin {
        /// The predecessor's record, if there is one that can be read.
        saved: Option<Box<Saved>>,
        /// What became of the run in it.
        fate: Fate,
        /// A run of this service that lives and is watched: the one in `saved`, or a later one that its runner had no time
        /// to write down.
        alive: Option<Found>,
        /// Whether the record was written in this boot of the machine.
        same_boot: bool,
    },
    /// Before `Begin`: a run of an earlier boot of the machine whose end went with the power before it was on the disk.
    Missed {
        /// Its number.
        run_id: u64,
        /// Whether its start is in the journal.
        start_recorded: bool,
    },
    /// The service's lock is held by another runner.
    LockedOut {
        /// Which process, if it could be read.
        owner: Option<i32>,
    },
    /// Somebody asks for something.
    Order {
        /// What.
        verb: Verb,
        /// Who, for the record.
        by: String,
        /// Why, when it is a verdict of the daemon.
        cause: Option<StopCause>,
        /// Only while this is the current run.
        run_id: Option<u64>,
    },
    /// Whether all of `after` are ready now, and until when to wait for those that are not.
    Deps {
        /// Whether they are.
        ready: bool,
        /// The longest start timeout among those that are not.
        patience: std::time::Duration,
    },
    /// The spawn came about.
    Spawned {
        /// The new process.
        process: ProcessRef,
    },
    /// The spawn did not come about.
    NotSpawned(Refusal),
    /// The last line on stderr of the run whose end follows.
    LastWords(String),
    /// A process of ours ended.
    Exited {
        /// Whose run it was.
        run_id: u64,
        /// How.
        exit: Exit,
    },
    /// A run is ready.
    Ready {
        /// Which.
        run_id: u64,
    },
    /// A watched file, the program, or a port's owner changed.
    Changed,
    /// The moment of [`super::ServiceMachine::due`] has come.
    Tick,
    /// The specification changed. `restart` when the running process was started from something that did.
    Spec {
        /// The new one.
        spec: Box<ServiceSpec>,
        /// Whether a running process has to be replaced.
        restart: bool,
    },
    /// End the run and leave it; intent stays as it is.
    Leave {
        /// `Shutdown`, or `Reload` for a service that is no longer ours.
        cause: StopCause,
    },
}

/// A living run that a successor takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The run.
    pub run: Run,
    /// Whether its start is in the journal already.
    pub start_recorded: bool,
}

/// What became of the run in the predecessor's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// There was none, or it lives.
    Fine,
    /// It is gone, and its end is in the journal already.
    Recorded(RecordedEnd),
    /// It is gone, and nobody saw how; or it was about to be started, and whether it ever was nobody saw.
    Gone {
        /// Whether its start is in the journal already.
        start_recorded: bool,
    },
}

/// An end that the predecessor put on record, and then had no time to act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedEnd {
    /// What it counted as.
    pub class: ExitClass,
    /// How it ended.
    pub exit: Exit,
    /// How long it had lived; zero where that is not known.
    pub uptime: std::time::Duration,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start a process; answer with `Spawned` or `NotSpawned`.
    Spawn {
        /// Number of the run it becomes.
        run_id: u64,
        /// SUPERVISOR_RESTART_COUNT.
        attempt: u32,
    },
    /// Signal the run's whole process group.
    Signal {
        /// The group's leader.
        process: ProcessRef,
        /// What to send.
        signal: Signal,
    },
    /// Store the intent, fsynced, before anything after this.
    SaveIntent,
    /// Put it on record.
    Record {
        /// Which kind.
        event: EventType,
        /// Metadata.
        data: Map<String, Value>,
        /// Add the last words of this run's stderr.
        with_tail: bool,
    },
    /// Look for what the ended run has left behind, and end it.
    Sweep {
        /// Number of the run.
        run_id: u64,
        /// Its main process.
        process: ProcessRef,
    },
}

/// The adoption record: what a successor has to know. Written by rename after every change of phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of this form: 1.
    pub v: u32,
    /// Which boot of the machine its `Mono` times belong to.
    pub boot_id: String,
    /// Number of the current or last run.
    pub run_id: u64,
    /// What was happening.
    pub phase: SavedPhase,
    /// Spacing of starts.
    pub backoff: Backoff,
    /// How the last run ended.
    pub last_exit: Option<LastExit>,
    /// The starts of runs up to this one are in a journal for good.
    #[serde(default)]
    pub safe_starts: u64,
}

impl Saved {
    /// The form's version.
    pub const VERSION: u32 = 1;

    /// The highest run number that is taken.
    pub fn last_number(&self) -> u64 {
        self.run_id + u64::from(matches!(self.phase, SavedPhase::Spawning { .. }))
    }

    /// The run that was alive when this was written.
    pub fn run(&self) -> Option<&Run> {
        match &self.phase {
            SavedPhase::Starting(run) | SavedPhase::Up(run) | SavedPhase::Stopping { run, .. } => Some(run),
            SavedPhase::Idle
            | SavedPhase::Spawning { .. }
            | SavedPhase::Waiting { .. }
            | SavedPhase::Held { .. }
            | SavedPhase::Down
            | SavedPhase::Done
            | SavedPhase::Failed => None,
        }
    }
}

/// [`Phase`] as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedPhase {
    /// Nothing.
    Idle,
    /// Blocked or delayed.
    Waiting {
        /// When the start is due.
        until: Mono,
    },
    /// About to be started, as the run after `run_id`: written down before, as the process may have come and gone before
    /// anybody could write down that it is there.
    Spawning {
        /// Whether nobody asked for this start.
        automatic: bool,
    },
    /// Running, not ready.
    Starting(Run),
    /// Running and ready.
    Up(Run),
    /// Being ended.
    Stopping {
        /// The run.
        run: Run,
        /// Why.
        cause: StopCause,
        /// What follows.
        then: Then,
    },
    /// Held.
    Held {
        /// Why.
        hold: Hold,
        /// When it is tried all the same.
        until: Mono,
    },
    /// Not wanted.
    Down,
    /// Ended well, for good.
    Done,
    /// Ended badly, for good.
    Failed,
}

/// Remembers what somebody who waits has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// What was asked.
    pub verb: Verb,
    /// The run that was current then.
    pub run_id: u64,
    /// The run that it was about, if that was over by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
}

/// Whether what was asked for holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketState {
    /// Not yet.
    Pending,
    /// It does.
    Done(String),
    /// It will not, as far as can be seen.
    Failed(String),
}
