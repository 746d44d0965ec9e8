//! Intent (what the operator wants) and status (what people see).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the operator wants of a service. Stored and fsynced; it survives reboots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Up or down.
    pub up: bool,
    /// Who said so: `operator`, or `config` where nobody has said anything.
    pub by: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
}

impl Default for Intent {
    fn default() -> Self {
        Self { up: true, by: "config".into(), since_ms: 0 }
    }
}

/// The public status of a service or task (CONTRACT, `status --json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Running and ready.
    Up,
    /// Running, not ready yet.
    Starting,
    /// Running, but its health probe fails.
    Degraded,
    /// Being stopped.
    Stopping,
    /// Wants to start, but must wait: throttle, back-off, `after`, or a lock held by another runner.
    Waiting,
    /// Starting it again would not help; a person or a changed file has to act.
    Held,
    /// Found not to answer.
    Hung,
    /// Not running because somebody said so, or because nothing runs it.
    Down,
    /// Ended well and is not to be started again.
    Done,
    /// Ended badly and is not to be started again.
    Failed,
    /// A calendar job between its runs.
    Scheduled,
    /// A calendar job in a run.
    Running,
    /// `enabled = false`.
    Disabled,
    /// Its part of services.toml has faults.
    Invalid,
}

impl Status {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Hung => "hung",
            Self::Down => "down",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Disabled => "disabled",
            Self::Invalid => "invalid",
        }
    }

    /// Whether `status` may exit 0 with an enabled service in this state (CONTRACT).
    pub fn is_well(self) -> bool {
        match self {
            Self::Up | Self::Degraded | Self::Scheduled | Self::Running | Self::Done | Self::Disabled => true,
            Self::Starting
            | Self::Stopping
            | Self::Waiting
            | Self::Held
            | Self::Hung
            | Self::Down
            | Self::Failed
            | Self::Invalid => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
