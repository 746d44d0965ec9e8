//! What people are told: alerts, the notices about them, and how far each has come on its way.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{EventType, Moment, Mono, UnitName};

/// What an alert is about; each has a name that silences, JSON and people use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// So many ends of one cause within so long (`alerts.crash_loop`).
    CrashLoop,
    /// The same, faster (`alerts.storm`).
    Storm,
    /// The same, over hours (`alerts.slow_loop`).
    SlowLoop,
    /// It answers no more, and was or is being restarted for it.
    Hung,
    /// It is not started again until something changes.
    Held,
    /// It does not come up within its time, again and again; or a start goes on beyond its budget.
    StartTimeout,
    /// Its memory grows without end.
    MemoryGrowth,
    /// Its memory was above its limit.
    MemoryLimit,
    /// The probe asks the wrong question (401, 404).
    ProbeMisconfigured,
    /// A part of it, a channel or a peer, is not well; the whole is.
    PartFailing,
    /// A calendar job ran and failed.
    TaskFailed,
    /// A calendar job did not run.
    TaskMissed,
    /// A calendar job ran late or too long.
    TaskLate,
    /// What is to be made to hold does not, try after try; or it could not be undone.
    ExposureDown,
    /// What is loaded is not what is declared.
    Drift,
    /// The ledger cannot be written.
    Database,
    /// The supervisor itself was gone, and did not say goodbye.
    UncleanEnd,
    /// A restart that was asked for did not lead to a healthy service in its time.
    RestartFailed,
    /// The report of the week.
    Weekly,
    /// Somebody tries a sink.
    Test,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::CrashLoop,
        Self::Storm,
        Self::SlowLoop,
        Self::Hung,
        Self::Held,
        Self::StartTimeout,
        Self::MemoryGrowth,
        Self::MemoryLimit,
        Self::ProbeMisconfigured,
        Self::PartFailing,
        Self::TaskFailed,
        Self::TaskMissed,
        Self::TaskLate,
        Self::ExposureDown,
        Self::Drift,
        Self::Database,
        Self::UncleanEnd,
        Self::RestartFailed,
        Self::Weekly,
        Self::Test,
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash-loop",
            Self::Storm => "storm",
            Self::SlowLoop => "slow-loop",
            Self::Hung => "hung",
            Self::Held => "held",
            Self::StartTimeout => "start-timeout",
            Self::MemoryGrowth => "memory-growth",
            Self::MemoryLimit => "memory-limit",
            Self::ProbeMisconfigured => "probe-misconfigured",
            Self::PartFailing => "part-failing",
            Self::TaskFailed => "task-failed",
            Self::TaskMissed => "task-missed",
            Self::TaskLate => "task-late",
            Self::ExposureDown => "exposure-down",
            Self::Drift => "drift",
            Self::Database => "database",
            Self::UncleanEnd => "unclean-end",
            Self::RestartFailed => "restart-failed",
            Self::Weekly => "weekly",
            Self::Test => "test",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == text)
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How much it matters; a sink can be told to take no less than one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// A person should look at it.
    Warning,
    /// A service is down or about to be.
    Critical,
}

impl Severity {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Ends of runs are counted apart by what caused them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It crashed, out of memory included.
    Crash,
    /// It ended well, but sooner than `min_uptime`.
    CleanExit,
    /// It hung and was ended for it.
    Hung,
    /// It did not come up and was ended for it.
    StartTimeout,
    /// It was above its memory limit and was ended for it.
    OverMemory,
}

/// How an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It holds.
    Open,
    /// It holds, and somebody has said that they know.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// Something that a person should know, from the moment it holds until it is over.
///
/// All texts in it are ready to be shown: secrets are taken out and control characters replaced before it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// 12 hex digits, made from what fired it: whoever works it out anew comes to the same.
    pub id: String,
    /// What it is about.
    pub rule: Rule,
    /// Whom, unless it is the supervisor itself.
    pub service: Option<UnitName>,
    /// What was counted, where something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// How much it matters.
    pub severity: Severity,
    /// How it stands.
    pub state: AlertState,
    /// The first of what made it fire, milliseconds since 1970 UTC (all `_ms` here are).
    pub since_ms: i64,
    /// When it fired.
    pub fired_ms: i64,
    /// The last time that what it is about happened.
    pub last_ms: i64,
    /// How often that happened since `since_ms`.
    pub count: u64,
    /// One line: what broke.
    pub title: String,
    /// What else is known, a line each.
    pub facts: Vec<String>,
    /// The last lines of the service's stderr.
    pub tail: Vec<String>,
    /// What the supervisor does about it, a sentence; may be empty.
    pub doing: String,
    /// What a person could do, a line each.
    pub advice: Vec<String>,
    /// Which kind of crash, where it is one: the same for the same exit with the same complaint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Whether anybody was told that it holds.
    pub told: bool,
    /// Why nobody is told for now: a silence, or the trouble of another service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<String>,
    /// How many reminders went out.
    pub reminders: u32,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_ms: Option<i64>,
    /// When somebody said that they know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_ms: Option<i64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_ms: Option<i64>,
    /// Why it is over, in words; empty until then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    /// What the rules remember of it while it is open; for nobody else.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub memory: Map<String, Value>,
}

impl Alert {
    /// Whether it still holds.
    pub fn is_open(&self) -> bool {
        self.state != AlertState::Resolved
    }
}

/// Why a notice goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// It began.
    Fired,
    /// It is still so.
    Reminder,
    /// It is still so, in another way: a new kind of crash.
    Changed,
    /// It is over.
    Resolved,
    /// Nothing is to be done: a report or a test.
    Note,
}

impl NoticeKind {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Reminder => "reminder",
            Self::Changed => "changed",
            Self::Resolved => "resolved",
            Self::Note => "note",
        }
    }
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The idempotency key: the same whenever the same notice is sent again. The alert's id, a dot, and what of it:
    /// `0`, `r1` for the first reminder, `c1`, `ok`.
    pub key: String,
    /// Why.
    pub kind: NoticeKind,
    /// When it was decided, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The alert as it was then.
    pub alert: Alert,
    /// Only for those sinks that do not take an alert of this severity: it was no worse until now, and they have not heard
    /// of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<Severity>,
}

impl Notice {
    /// Whether a sink with this least severity is told.
    pub fn is_for(&self, min_severity: Severity) -> bool {
        let is_new = self.beyond.is_none_or(|before| min_severity > before);
        // What somebody has asked for is for all.
        is_new && (self.alert.severity >= min_severity || self.kind == NoticeKind::Note)
    }
}

/// Nobody is told of what matches, until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its number, from 1.
    pub id: u64,
    /// Only of this service; `None`: of all.
    pub service: Option<UnitName>,
    /// Only by this rule; `None`: by all.
    pub rule: Option<Rule>,
    /// When it began, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// When it ends.
    pub until_ms: i64,
}

impl Silence {
    /// Whether it covers an alert of this rule and service at that time.
    pub fn covers(&self, rule: Rule, service: Option<&UnitName>, now_ms: i64) -> bool {
        now_ms < self.until_ms
            && self.rule.is_none_or(|only| only == rule)
            && self.service.as_ref().is_none_or(|only| Some(only) == service)
    }
}

/// A kind of crash of a service that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashKind {
    /// Whose.
    pub service: UnitName,
    /// Which, as in [`Alert::fingerprint`].
    pub fingerprint: String,
    /// How it ended, and the line of the complaint that stands for it, shortened.
    pub sample: String,
    /// When it was first seen, milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// When it was last seen.
    pub last_ms: i64,
    /// How often.
    pub count: u64,
    /// The program that had changed when it was seen first: its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_change_of: Option<String>,
}

/// What comes of what the rules were told; all of one step is put on record together.
#[derive(Debug, Clone, PartialEq)]
pub enum AlertChange {
    /// The alert is now like this.
    Keep(Box<Alert>),
    /// Tell it through every sink that it is for ([`Notice::is_for`]).
    Tell(Box<Notice>),
    /// A row of the ledger.
    Record {
        /// `alert_fired` or `alert_resolved`.
        event: EventType,
        /// Whom it is about.
        service: Option<UnitName>,
        /// Its metadata.
        data: Map<String, Value>,
    },
    /// The silence is now in force.
    KeepSilence(Silence),
    /// The silence is no more.
    DropSilence(u64),
    /// The kind is now known like this.
    KeepKind(CrashKind),
    /// The operator stopped it while nothing of it ran: what ended until then counts no more.
    Stopped(UnitName, StoppedAt),
}

/// What is remembered of alerts between two lives of the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remembered {
    /// Those that are open.
    pub open: Vec<Alert>,
    /// In force, or not long ago.
    pub silences: Vec<Silence>,
    /// Known kinds of crashes.
    pub kinds: Vec<CrashKind>,
    /// Until when what ended counts no more ([`AlertChange::Stopped`]).
    pub stopped: Vec<(UnitName, StoppedAt)>,
}

/// When the operator stopped a service, on the clock that nobody sets and on the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedAt {
    /// In which boot.
    pub boot_id: String,
    /// On its awake clock.
    pub mono: Mono,
    /// Milliseconds since 1970 UTC, for other boots.
    pub wall_ms: i64,
}

/// When something is heard: the clocks of a boot, so that windows on the awake clock can be told across a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardAt<'a> {
    /// Which boot of the machine.
    pub boot_id: &'a str,
    /// Its clocks. In rows of versions that did not write the awake clock down, `mono` is that of `boot_ns`.
    pub at: Moment,
}
