//! Calendar jobs as services.toml declares them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Signal, UnitName};

/// A calendar job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its name.
    pub name: UnitName,
    /// Whether it is to run at all.
    pub enabled: bool,
    /// When it is due: the union of these.
    pub calendar: Vec<Schedule>,
    /// IANA zone name; `None` is the machine's own.
    pub timezone: Option<String>,
    /// What it does, in order.
    pub steps: Vec<StepSpec>,
    /// What happens with slots that were missed.
    pub catch_up: CatchUp,
    /// What happens when one is due while the one before still runs.
    pub overlap: Overlap,
    /// A slot nobody has started by then is late.
    pub start_within: Duration,
    /// A longer run is ended; counted in awake time.
    pub max_runtime: Duration,
    /// A shorter run is suspicious.
    pub min_runtime: Duration,
    /// What its steps are sent when they are to end.
    pub stop_signal: Signal,
    /// From that to SIGKILL.
    pub stop_timeout: Duration,
    /// Working directory of its steps, absolute.
    pub cwd: PathBuf,
    /// Environment of its steps.
    pub env: BTreeMap<String, String>,
    /// File with KEY=value lines.
    pub env_file: Option<PathBuf>,
}

impl TaskSpec {
    /// One that services.toml does not have: never due, and with the defaults for ending what is left of it.
    pub fn undeclared(name: UnitName) -> Self {
        Self {
            name,
            enabled: false,
            calendar: Vec::new(),
            timezone: None,
            steps: Vec::new(),
            catch_up: CatchUp::Once,
            overlap: Overlap::Skip,
            start_within: Duration::from_secs(600),
            max_runtime: Duration::from_secs(3600),
            min_runtime: Duration::ZERO,
            stop_signal: Signal::TERM,
            stop_timeout: Duration::from_secs(10),
            cwd: "/".into(),
            env: BTreeMap::new(),
            env_file: None,
        }
    }
}

/// One schedule of a calendar job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Words such as `daily 07:55`, or a cron line; checked for its form.
    Words {
        /// As it was written.
        text: String,
        /// What it says.
        rule: CalendarRule,
        /// The same as launchd's tables; `None` where those cannot say it.
        tables: Option<Vec<CalendarTable>>,
    },
    /// launchd's table.
    Table(CalendarTable),
}

/// launchd's StartCalendarInterval: what is absent matches everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarTable {
    /// 0 to 59.
    pub minute: Option<u8>,
    /// 0 to 23.
    pub hour: Option<u8>,
    /// 1 to 31.
    pub day: Option<u8>,
    /// 0 to 7, both 0 and 7 are Sunday.
    pub weekday: Option<u8>,
    /// 1 to 12.
    pub month: Option<u8>,
}

/// When a calendar entry is due, in the job's own zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalendarRule {
    /// At certain minutes of certain days.
    Fields(CalendarFields),
    /// So many minutes of elapsed time apart, counted from 1970-01-01T00:00Z: what does not go into a day evenly.
    Every {
        /// How many.
        minutes: u32,
    },
}

/// Bit sets: bit n stands for the value n. All days together with some weekdays mean those weekdays, all weekdays together with some
/// days mean those days, some of both mean either (as cron and launchd have it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarFields {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u32,
    /// 1 to 31.
    pub days: u32,
    /// 1 to 12.
    pub months: u16,
    /// 0 to 6, 0 is Sunday.
    pub weekdays: u8,
    /// Whether it is meant as an interval: then it runs in both halves of a fold, and nothing is moved out of a gap.
    pub stepped: bool,
}

impl CalendarFields {
    /// Every minute of every day, not as an interval.
    pub const ANY: Self = Self {
        minutes: (1 << 60) - 1,
        hours: 0xff_ffff,
        days: 0xffff_fffe,
        months: 0x1ffe,
        weekdays: 0x7f,
        stepped: false,
    };
}

/// One step of a calendar job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// What it is called; `None`: by its program.
    pub name: Option<String>,
    /// What it does.
    pub action: StepAction,
    /// For this step, in awake time.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// Before the first further try; doubled for each further one, with jitter.
    pub retry_delay: Duration,
    /// Its failure does not end the job and does not make it a failed one.
    pub continue_on_failure: bool,
    /// Whether it is done, by what was before.
    pub when: StepWhen,
    /// Exit codes that are no failure.
    pub success_exit_codes: Vec<i32>,
    /// Added to the job's environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute; `None` is the job's.
    pub cwd: Option<PathBuf>,
}

/// Whether a step is done, by what was before (`if` in services.toml).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepWhen {
    /// Unless the job has failed already (the default).
    Going,
    /// Only when the last step that was done ended well.
    Ok,
    /// Only when the last step that was done failed, also when that has made the job a failed one: for cleaning up.
    Failed,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// argv, no shell.
    Run(Vec<String>),
    /// Maintenance that is part of this binary.
    Builtin(BuiltinStep),
}

/// Maintenance that is part of this binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltinStep {
    /// Removes what is old or too much.
    Prune(PruneSpec),
    /// Gives the database's free pages back, checks it and keeps copies of it.
    Vacuum {
        /// Copies that are kept; 0: none is made.
        backups: u32,
    },
    /// Writes and sends a report.
    Digest {
        /// How far it looks back.
        period: Duration,
        /// Reports that are kept.
        keep: u32,
    },
    /// Looks what is wrong with the machine's set-up.
    Doctor,
    /// Puts logs aside that are long.
    Rotate {
        /// From how many bytes on.
        max_size: u64,
        /// Files that are kept of each.
        keep: u32,
    },
    /// Opens the newest copy of the database and reads all of it.
    VerifyBackup {
        /// An older one is a failure.
        max_age: Duration,
    },
}

impl BuiltinStep {
    /// Its name in services.toml.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prune(_) => "prune",
            Self::Vacuum { .. } => "vacuum",
            Self::Digest { .. } => "digest",
            Self::Doctor => "doctor",
            Self::Rotate { .. } => "rotate",
            Self::VerifyBackup { .. } => "verify-backup",
        }
    }
}

/// What `prune` leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneSpec {
    /// Age of the oldest event.
    pub events: Duration,
    /// Age of the oldest rotated log.
    pub logs: Duration,
    /// Bytes of all logs together.
    pub logs_size: u64,
    /// Age of the oldest piece of evidence.
    pub evidence: Duration,
    /// Bytes of all evidence together.
    pub evidence_size: u64,
    /// Age of the oldest memory sample.
    pub samples: Duration,
}

/// Something that is made to hold and looked at again and again: a tailnet's `serve`, a port forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposureSpec {
    /// Its name.
    pub name: UnitName,
    /// Whether it is wanted at all.
    pub enabled: bool,
    /// Makes it hold; argv, no shell.
    pub ensure: Vec<String>,
    /// Ends with 0 while it holds; `None`: `ensure` is what is asked again.
    pub check: Option<Vec<String>>,
    /// Undoes it, when it is stopped.
    pub undo: Option<Vec<String>>,
    /// Between two looks.
    pub interval: Duration,
    /// For each of the three.
    pub timeout: Duration,
    /// Before the second try; doubled for each further one, with jitter.
    pub retry_delay: Duration,
    /// The longest time between two tries.
    pub backoff_max: Duration,
    /// Working directory, absolute.
    pub cwd: PathBuf,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// File with KEY=value lines.
    pub env_file: Option<PathBuf>,
}

impl ExposureSpec {
    /// Whether `other` makes the same hold in the same way: only how it is looked at and undone may differ.
    pub fn is_made_as(&self, other: &Self) -> bool {
        self.ensure == other.ensure && self.cwd == other.cwd && self.env == other.env && self.env_file == other.env_file
    }
}

/// What happens when a slot is due while the run before still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// It runs when the one before has ended; of several the last.
    Queue,
    /// The one before is ended.
    Replace,
}

/// What happens with slots that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Nothing.
    Skip,
    /// One run for all of them.
    Once,
    /// One run, if the last missed slot is not longer ago than this.
    Within(Duration),
}
