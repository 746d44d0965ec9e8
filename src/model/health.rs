//! Health: what a probe has found, the facts beside it, and what readers are told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mono;

/// What is thought of a service's health (CONTRACT, `status --json`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It has not come up yet.
    Starting,
    /// It answers well, and in time.
    Healthy,
    /// It lives and is slow, or says itself that it is not well.
    Degraded,
    /// It has said nothing for longer than is tolerated.
    Hung,
    /// It is silent because the machine does not let it run: its probes are void.
    Starved,
    /// The machine slept a moment ago, and it has not answered since.
    Asleep,
    /// It answers, and the question cannot be the right one.
    Misconfigured,
    /// Nothing is known.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Verdict {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Hung => "hung",
            Self::Starved => "starved",
            Self::Asleep => "asleep",
            Self::Misconfigured => "misconfigured",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What came of one question. The texts are for people: what was asked, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All is well.
    Good,
    /// It answers, and says that it is not well (5xx, a member with another value): it lives.
    Unwell(String),
    /// Bytes came, and the whole answer did not come in time: it lives and is slow.
    Slow(String),
    /// It answers, and this cannot be the right question (401, 404, a web page, no HTTP at all, an answer without end): it lives.
    Misasked(String),
    /// Not a byte came in time.
    Silent(String),
    /// Nobody listens there; or a check of the owner's own says no.
    Failed(String),
    /// It could not be asked, for want of something on our side (descriptors, memory, a process): nothing is known of it.
    NotAsked(String),
    /// When it last gave a sign of life of its own accord, in nanoseconds of some clock (a file's modification time, the awake clock of
    /// WATCHDOG=1): another number than before is a new sign. `None`: never yet.
    Beat(Option<u64>),
}

/// One part of what a probe reports on: a channel of the gateway, a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What is wrong with it; `None` when it is well.
    pub trouble: Option<String>,
}

/// How one probe ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// What came of it.
    pub answer: Answer,
    /// From its start to its end.
    pub took: Duration,
    /// How long after its deadline its end was seen: our own lateness.
    pub late: Duration,
    /// The parts that it reported on; `None` when it reports on none.
    pub parts: Option<Vec<Part>>,
}

impl Probed {
    /// One that ended in time.
    pub fn new(answer: Answer, took: Duration) -> Self {
        Self { answer, took, late: Duration::ZERO, parts: None }
    }
}

/// What a process is doing, as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It runs, or would if it were let.
    Running,
    /// It waits for something.
    Sleeping,
    /// It waits for a device and cannot be interrupted.
    Uninterruptible,
    /// A signal has stopped it (SIGSTOP, SIGTSTP).
    Stopped,
    /// A debugger has stopped it.
    Traced,
    /// It has ended and is not reaped.
    Zombie,
    /// The system does not say.
    Unknown,
}

/// A look at a service's processes.
#[derive(Debug, Clone, PartialEq)]
pub struct Vitals {
    /// When.
    pub at: Mono,
    /// Processor time of the whole tree so far. It can become less, when a process of the tree ends.
    pub cpu: Duration,
    /// Processor time of the main process's first thread so far, where the system tells.
    pub ran: Option<Duration>,
    /// How long that thread has waited for a processor so far, where the system tells.
    pub waited: Option<Duration>,
    /// What the main process is doing.
    pub state: ProcessState,
    /// How many processes the tree has.
    pub processes: u32,
}

/// A look at the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostLoad {
    /// Load average of the last minute.
    pub load: f64,
    /// Processors.
    pub processors: u32,
    /// Share of the last ten seconds in which all that could run waited for memory, 0 to 1, where the system tells (PSI `full`).
    pub memory_stall: Option<f64>,
}

/// What was seen beside a probe that found nothing good.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The service's processes; `None` when they could not be looked at.
    pub vitals: Option<Vitals>,
    /// The machine.
    pub host: HostLoad,
    /// Bytes of both logs so far; rises while the service says something.
    pub logged: u64,
}

/// What the ledger knows of a service's former starts and hangs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learned {
    /// How long former starts took until they were ready, the newest last; first starts of a new program are not among them.
    pub starts: Vec<Duration>,
    /// Which state of which program was last seen to come up.
    pub program: Option<String>,
    /// Former hangs, the newest last.
    pub hangs: Vec<Hang>,
    /// What somebody was told of it, and was not told to be over.
    pub told: Told,
}

/// What was told of a service, by its probes, and is not over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// That it is asked the wrong question.
    pub misasked: bool,
    /// That its start takes longer than it may.
    pub start: bool,
    /// That these parts of it are not well.
    pub parts: Vec<String>,
}

/// A hang for which a service was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hang {
    /// Of which run.
    pub run_id: u64,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// How long after its start it began.
    pub after: Duration,
}

/// What probes say, in `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthInfo {
    /// What follows from all of it.
    pub verdict: Verdict,
    /// Of the last good probe.
    pub latency_ms: Option<f64>,
    /// When the last probe ended.
    pub checked_ms: Option<i64>,
    /// When the first of the failures in a row began, until a probe is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since_ms: Option<i64>,
    /// What the last failed probe said, until one is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Since when the verdict is what it is, milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// When it fell silent, as far as is known, until any byte comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since_ms: Option<i64>,
    /// What else there is to know, in words: a machine that slept, a restart that waits, a probe that is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long answers took lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latencies: Option<Latencies>,
    /// The start: under way, and those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartInfo>,
    /// Named parts, those that are not well first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartInfo>,
    /// When it is restarted for its hang, where that waits: milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at_ms: Option<i64>,
}

/// How long the last answers took, milliseconds; late ones count with what they took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Half of them were faster.
    pub p50_ms: f64,
    /// Nineteen in twenty.
    pub p95_ms: f64,
    /// Ninety-nine in a hundred.
    pub p99_ms: f64,
    /// Of so many answers.
    pub answers: u32,
}

/// A service's starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartInfo {
    /// How long the start may take before it has to show that it makes progress, milliseconds.
    pub budget_ms: u64,
    /// Nineteen in twenty former starts took no longer, milliseconds; `None` before there were any.
    pub learned_p95_ms: Option<u64>,
    /// Of so many former starts.
    pub learned_from: u32,
    /// Whether it is the first start of a new state of its program, which has twice the budget and teaches nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first_of_program: bool,
    /// How far the start under way has come, in words; `None` once it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// A named part in `status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// Its name.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
