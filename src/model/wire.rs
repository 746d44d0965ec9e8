//! What is said on the control sockets: to a runner (one JSON object a line) and to the daemon (JSON bodies over HTTP).

use serde::{Deserialize, Serialize};

use super::{RowState, Rule, RunView, RunnerInfo, SlotKey, StopCause, UnitKind, UnitName};

/// Version of both protocols. A reader takes what it knows and ignores other members.
pub const PROTOCOL: u32 = 1;

/// Longest request on a runner's socket, in bytes, newline included.
pub const MAX_REQUEST: usize = 64 * 1024;

/// A request to a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum RunnerRequest {
    /// Everything it knows, now.
    Snapshot,
    /// The same, and from then on a `push` for each change. Answered with pushes only.
    Subscribe,
    /// Start, stop or restart services.
    Order {
        /// What to do.
        verb: Verb,
        /// Whom; empty means all.
        names: Vec<UnitName>,
        /// Who asks, for the record: `operator`, `daemon`.
        by: String,
        /// The cause, for a restart that the daemon orders.
        #[serde(default)]
        cause: Option<StopCause>,
        /// Only while this is the current run: what is judged of one run is not done to the next. Needs exactly one name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_id: Option<u64>,
        /// Answer when done instead of at once.
        wait: bool,
    },
    /// The daemon's word that a run is ready.
    Ready {
        /// Which service.
        name: UnitName,
        /// Which run; another one's word is ignored.
        run_id: u64,
    },
    /// Read services.toml again and take over what changed. The runner then serves exactly `names`.
    Reload {
        /// The services this runner is to have.
        names: Vec<UnitName>,
    },
    /// Become this program, with the same pid and nothing else touched. Answered by the new one.
    Upgrade {
        /// The program, absolute.
        program: std::path::PathBuf,
    },
    /// End, and leave the services alive for a successor, which is about to be started.
    Leave,
    /// Stop everything in order and end.
    Shutdown,
}

/// What can be ordered of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Intent up.
    Start,
    /// Intent down.
    Stop,
    /// Down and up again.
    Restart,
}

impl Verb {
    /// The word in URLs and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// A runner's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerReply {
    /// To `snapshot`.
    Snapshot(RunnerInfo),
    /// To `order`, `ready`, `reload`, `leave`, `shutdown`: what became of it, one per service.
    Done(Vec<Outcome>),
    /// The request cannot be served.
    Error(WireError),
    /// To subscribers: these services changed (all of them the first time).
    Push(RunnerInfo),
    /// To subscribers: the journal has lines up to this one.
    Journal {
        /// The last line's sequence number.
        seq: u64,
    },
}

/// What became of an order for one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which service.
    pub name: UnitName,
    /// Whether what was asked for holds (or was accepted, when nobody waits).
    pub ok: bool,
    /// In words: `up, pid 4711`, `already up`, `held: ...`.
    pub text: String,
    /// The service as it is now.
    pub view: Option<RunView>,
    /// Whether it was refused: a calendar job is nothing that could be up, so that what it cannot be told is no matter of its state.
    #[serde(default, skip_serializing_if = "is_false")]
    pub refused: bool,
}

/// An error on a control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// The exit code the command line ends with (CONTRACT).
    pub code: u8,
    /// What was attempted, on what, what is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Body of `POST /v1/order`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// What to do.
    pub verb: Verb,
    /// Whom; empty means all.
    #[serde(default)]
    pub names: Vec<UnitName>,
    /// Answer when done (the default) instead of at once.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Answer to `POST /v1/order`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderReply {
    /// One per service.
    pub outcomes: Vec<Outcome>,
}

/// Answer to `GET /v1/why/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReply {
    /// Which service or task.
    pub name: UnitName,
    /// One paragraph: what it is doing, why, since when, what would change it.
    pub text: String,
}

/// Body of `POST /v1/reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadBody {
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /v1/upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeBody {
    /// The program to become, absolute.
    pub program: std::path::PathBuf,
}

/// Answer to `POST /v1/upgrade`: the runners are upgraded then, and the daemon is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeReply {
    /// One per runner.
    pub runners: Vec<Upgraded>,
    /// The daemon as it was before; it has become the program when `upgrades` is greater than here.
    pub daemon: VersionReply,
}

/// What became of one runner's upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Its id.
    pub id: String,
    /// Its pid, which stays.
    pub pid: i32,
    /// Whether it is the new program now.
    pub ok: bool,
    /// Its version before.
    pub from: String,
    /// Its version now.
    pub to: String,
    /// Why it is not, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// Answer to `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReply {
    /// The daemon's program version.
    pub version: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Its pid.
    pub pid: u32,
    /// How often it has become another program in place.
    #[serde(default)]
    pub upgrades: u32,
    /// Why the last upgrade came to nothing, if it did.
    #[serde(default)]
    pub upgrade_failed: Option<String>,
}

/// Body of `POST /v1/alerts`: what a person has to say to alerts. What there is to read of them stands in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum AlertBody {
    /// Somebody knows of it: no more reminders.
    Ack {
        /// Which alert, as a whole.
        id: String,
    },
    /// Tell nobody of what matches, for so long.
    Silence {
        /// Only of this service or task; otherwise of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<UnitName>,
        /// Only by this rule; otherwise by all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<Rule>,
        /// For how long, seconds.
        for_s: u64,
    },
    /// Tell again.
    Unsilence {
        /// The silence's number.
        id: u64,
    },
    /// Send a marked test the way that alerts go. Answered when each sink has been tried.
    Test {
        /// Only through this one; otherwise through all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sink: Option<String>,
    },
}

/// Answer to `POST /v1/alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertReply {
    /// What was done, a line each.
    pub done: Vec<String>,
    /// To `test`: what became of it, one per sink.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<TestDelivery>,
    /// To `silence`: its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<u64>,
    /// To `test`: the key that receivers see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Body of `POST /v1/digest`: a report that is told as the report of the week is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestBody {
    /// Makes it go out once, however often it is sent.
    pub key: String,
    /// What is in it.
    pub lines: Vec<String>,
}

/// Body of `POST /v1/heap-snapshot`: a service is to write its heap to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeapSnapshotBody {
    /// Which service.
    pub name: UnitName,
}

/// Answer to `POST /v1/heap-snapshot`, once the file is whole; that may take five minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapSnapshotReply {
    /// The file, absolute.
    pub file: String,
}

/// Body of `POST /v1/tasks/run`: a calendar job is to run now, whatever its calendar says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRunBody {
    /// Which job.
    pub name: UnitName,
    /// The run that it goes on with, from its failed step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<SlotKey>,
}

/// Answer to `POST /v1/tasks/run`, once the run has its slot; what becomes of it stands in the slot's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRunReply {
    /// Which run it is.
    pub slot: SlotKey,
    /// Its process.
    pub pid: i32,
}

/// What became of a test at one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestDelivery {
    /// Which sink.
    pub sink: String,
    /// Where it stands; `pending` when the first tries failed and it is tried again.
    pub state: RowState,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
}

/// Answer to `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReloadReply {
    /// Whether it was done (false for a dry run).
    pub applied: bool,
    /// One line per service that changes: what, and what happens to it.
    pub changes: Vec<ReloadChange>,
    /// What changed beside services and tasks: `alerts.storm`, `alerts.sink.slack`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub globals: Vec<String>,
}

/// What a reload means for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadChange {
    /// Which service or task.
    pub name: UnitName,
    /// What it is.
    #[serde(default)]
    pub kind: UnitKind,
    /// Of one that is removed: it stays in the file, and is switched off there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// What happens to it.
    pub action: ReloadAction,
    /// Changed keys (empty for added and removed ones).
    pub keys: Vec<String>,
}

/// What happens to a service at reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadAction {
    /// New: started.
    Add,
    /// Gone from the file, or disabled: stopped.
    Remove,
    /// Its process is started with things that changed: restarted, drained first.
    Restart,
    /// Only policy changed: taken over without touching the process.
    Live,
}
