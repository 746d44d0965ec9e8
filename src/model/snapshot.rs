//! What readers see: a runner's view of its services, and the report behind `status --json` (CONTRACT).

use serde::{Deserialize, Serialize};

use super::{
    Alert, Exit, ExitClass, Growth, HealthInfo, Intent, MemoryVerdict, Metric, Mono, Rule, Severity, Status, UnitName,
};

/// What a runner knows of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Which service.
    pub name: UnitName,
    /// Rises with each change, within one runner.
    pub epoch: u64,
    /// As the runner sees it (it knows nothing of health).
    pub status: Status,
    /// The reason, in words without relative times: `exit code 78`, `port 18789 is taken by ...`. May be empty.
    pub reason: String,
    /// What would change it, in words; may be empty.
    pub remedy: String,
    /// The main process, while there is one.
    pub pid: Option<i32>,
    /// Number of the current or last run; 0 before the first.
    pub run_id: u64,
    /// Whether the current run was told to be ready.
    pub ready: bool,
    /// Since when `status` holds, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// When the current run was started.
    pub started_ms: Option<i64>,
    /// When the next automatic start is due.
    pub next_start_ms: Option<i64>,
    /// Automatic starts since the last operator start or 10 minutes of uptime.
    pub restart_attempt: u32,
    /// How the last run ended.
    pub last_exit: Option<LastExit>,
    /// What the operator wants.
    pub intent: Intent,
    /// Whether the current run was taken over from a dead runner.
    pub adopted: bool,
    /// Log bytes dropped because they could not be written (disk full, folder gone).
    pub log_dropped: u64,
    /// When WATCHDOG=1 last came over the NOTIFY_SOCKET, in the current run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat: Option<Mono>,
    /// Which state of which program the current run was started from: another text when the file was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// A runner and what it knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerInfo {
    /// Its id: the service's name, or `_embedded`.
    pub id: String,
    /// Its pid.
    pub pid: i32,
    /// Its program version.
    pub version: String,
    /// How often it has become another program in place.
    #[serde(default)]
    pub upgrades: u32,
    /// The file that it runs, as it was when it began to.
    #[serde(default)]
    pub program: Option<ProgramId>,
    /// Its services.
    pub views: Vec<RunView>,
    /// Journal lines it could not write and had to drop.
    pub journal_lost: u64,
    /// What is wrong with the runner itself, in words.
    pub troubles: Vec<String>,
}

/// Which file a program is: one that was replaced has another number under the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramId {
    /// The file system's number.
    pub dev: u64,
    /// The file's number in it.
    pub ino: u64,
}

/// How a run ended, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastExit {
    /// What it counts as.
    pub class: ExitClass,
    /// Exit code, if there was one.
    pub code: Option<i32>,
    /// Signal name, if one ended it.
    pub signal: Option<String>,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What was out of memory, where that ended it: a word as in the record's `out_of_memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<String>,
}

impl LastExit {
    /// Puts an end into words for JSON.
    pub fn new(class: ExitClass, exit: Exit, at_ms: i64) -> Self {
        Self { class, code: exit.code(), signal: exit.signal().map(|s| s.to_string()), at_ms, out_of_memory: None }
    }
}

/// `status --json` as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of this form: 1.
    pub schema: u32,
    /// The daemon that answered, or that it is not running.
    pub daemon: DaemonInfo,
    /// Services and tasks, in file order.
    pub services: Vec<ServiceInfo>,
    /// The ledger's state.
    pub ledger: LedgerInfo,
    /// What a person should look at, the newest first.
    #[serde(default)]
    pub alerts: Vec<OpenAlert>,
    /// What is wrong beyond single services, in words.
    pub troubles: Vec<String>,
}

impl StatusReport {
    /// The form's version.
    pub const SCHEMA: u32 = 1;
}

/// An alert that holds, in `status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAlert {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub rule: Rule,
    /// Whom, unless it is the supervisor itself.
    pub service: Option<UnitName>,
    /// How much it matters.
    pub severity: Severity,
    /// The first of what made it fire, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// One line: what broke.
    pub title: String,
}

impl From<&Alert> for OpenAlert {
    fn from(alert: &Alert) -> Self {
        Self {
            id: alert.id.clone(),
            rule: alert.rule,
            service: alert.service.clone(),
            severity: alert.severity,
            since_ms: alert.since_ms,
            title: alert.title.clone(),
        }
    }
}

/// What of a [`StatusReport`] decides the exit code, for a reader that passes the rest on as it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Standing {
    /// Services and tasks, in file order.
    pub services: Vec<UnitStanding>,
}

/// One service or task in a [`Standing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct UnitStanding {
    /// Whether services.toml wants it at all.
    pub enabled: bool,
    /// What it is doing.
    pub status: Status,
}

/// The daemon in `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Whether one answered.
    pub running: bool,
    /// Its pid.
    pub pid: Option<i32>,
    /// Its program version.
    pub version: Option<String>,
    /// Seconds since it started.
    pub uptime_s: Option<u64>,
    /// How often it has become another program in place.
    #[serde(default)]
    pub upgrades: u32,
    /// The services.toml in force.
    pub config: Option<String>,
}

/// Whether something is a service, a calendar job, or made to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// Long-running.
    #[default]
    Service,
    /// Calendar job.
    Task,
    /// Something that is made to hold and looked at again and again.
    Exposure,
}

/// One service or task in `status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Its name.
    pub name: UnitName,
    /// Service, task or exposure.
    pub kind: UnitKind,
    /// What it is doing.
    pub status: Status,
    /// Why, in words.
    pub why: String,
    /// Whether services.toml wants it at all.
    pub enabled: bool,
    /// Main process.
    pub pid: Option<i32>,
    /// The runner's process.
    pub runner_pid: Option<i32>,
    /// Number of the current or last run.
    pub run_id: Option<u64>,
    /// Since when `status` holds.
    pub since_ms: Option<i64>,
    /// Seconds since the current run started.
    pub uptime_s: Option<u64>,
    /// Automatic starts since the last operator start or 10 minutes of uptime.
    pub restart_attempt: Option<u32>,
    /// Counts over the ledger's lifetime.
    pub restarts: Option<RestartCounts>,
    /// How the last run ended.
    pub last_exit: Option<LastExit>,
    /// What probes say.
    pub health: Option<HealthInfo>,
    /// What samples say.
    pub memory: Option<MemoryInfo>,
    /// When the next start (held, waiting) or calendar slot is due.
    pub next_run_ms: Option<i64>,
    /// Log bytes dropped because they could not be written.
    pub log_dropped: Option<u64>,
}

/// Ends of runs by class, over the ledger's lifetime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the classes of ExitClass")]
pub struct RestartCounts {
    pub crash: u64,
    pub hung: u64,
    pub start_timeout: u64,
    pub over_memory: u64,
    pub recycled: u64,
    pub requested: u64,
    pub lost: u64,
    pub refused: u64,
}

impl RestartCounts {
    /// The count of one class.
    pub fn of(&mut self, class: ExitClass) -> &mut u64 {
        match class {
            ExitClass::Requested => &mut self.requested,
            ExitClass::Recycled => &mut self.recycled,
            ExitClass::Refused => &mut self.refused,
            ExitClass::Crash => &mut self.crash,
            ExitClass::Hung => &mut self.hung,
            ExitClass::StartTimeout => &mut self.start_timeout,
            ExitClass::OverMemory => &mut self.over_memory,
            ExitClass::Lost => &mut self.lost,
        }
    }
}

/// What samples say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// Bytes of the tree.
    pub bytes: u64,
    /// Which metric: `anon+swap` on Linux, `footprint` on macOS.
    pub metric: Metric,
    /// Trend, bytes per hour awake.
    pub bytes_per_hour: Option<f64>,
    /// What the trend means.
    pub verdict: Option<MemoryVerdict>,
    /// Processes of the tree.
    pub processes: u32,
    /// When the sample was taken.
    pub sampled_ms: i64,
    /// The growth that was told and has not ended.
    pub growth: Option<Growth>,
    /// Since when that holds, milliseconds since 1970 UTC.
    pub growing_since_ms: Option<i64>,
    /// A restart for memory that waits, in words.
    pub waiting: Option<String>,
    /// Heap in use by the service's own word, bytes, where it is declared and was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_bytes: Option<u64>,
    /// Declared questions that are answered in no way that is of use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<MemoryTrouble>,
}

/// A question about memory that is answered in no way that is of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryTrouble {
    /// Its key in the declaration: `heap`, `requests` or `idle`.
    pub of: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// What is wrong.
    pub why: String,
}

/// The ledger's state in `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerInfo {
    /// Whether rows are being written.
    pub ok: bool,
    /// What is wrong, or a note such as which columns of a foreign `events` table are filled.
    pub note: Option<String>,
    /// Records that wait in journals or memory for the database to be well again.
    pub waiting: u64,
}
