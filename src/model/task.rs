//! Calendar jobs as services.toml declares them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::UnitName;

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
    /// A slot nobody has started by then is late.
    pub start_within: Duration,
    /// A longer run is ended.
    pub max_runtime: Duration,
    /// A shorter run is suspicious.
    pub min_runtime: Duration,
    /// Working directory of its steps, absolute.
    pub cwd: PathBuf,
    /// Environment of its steps.
    pub env: BTreeMap<String, String>,
    /// File with KEY=value lines.
    pub env_file: Option<PathBuf>,
}

/// One schedule of a calendar job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Words such as `daily 07:55`, or a cron line; checked for its form.
    Words {
        /// As it was written.
        text: String,
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

/// One step of a calendar job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// What it does.
    pub action: StepAction,
    /// For this step.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// argv, no shell.
    Run(Vec<String>),
    /// Maintenance that is part of this binary, by name.
    Builtin(String),
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
