//! What goes on record: event types (CONTRACT) and the journal's lines.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ExitClass, Moment, Mono, UnitName};

/// The kinds of ledger row (CONTRACT, observability.sqlite). `log_gap`, `journal_gap`, `memory_snapshot`
/// and `exposure_*` are additions of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it, and the contract defines them")]
pub enum EventType {
    SupervisorStart,
    SupervisorStop,
    ServiceStart,
    ServiceReady,
    ServiceCrash,
    ServiceExit,
    ServiceHung,
    ServiceHeld,
    ServiceRestart,
    ServiceLost,
    MemoryGrowth,
    MemoryLimit,
    MemorySnapshot,
    ProbeMisconfigured,
    TaskStarted,
    TaskFinished,
    TaskMissed,
    AlertFired,
    AlertResolved,
    DriftFound,
    ClockGap,
    RunnerStarted,
    RunnerAdopted,
    ConfigReloaded,
    ProbeDegraded,
    BreakerChanged,
    LogGap,
    JournalGap,
    ExposureUp,
    ExposureDown,
    ExposureFailed,
    ExposureUndone,
    /// Of a version that knows more types than this one; its name is [`Record::event_name`].
    Unknown,
}

impl EventType {
    /// All types that this version writes.
    pub const ALL: [Self; 32] = [
        Self::SupervisorStart,
        Self::SupervisorStop,
        Self::ServiceStart,
        Self::ServiceReady,
        Self::ServiceCrash,
        Self::ServiceExit,
        Self::ServiceHung,
        Self::ServiceHeld,
        Self::ServiceRestart,
        Self::ServiceLost,
        Self::MemoryGrowth,
        Self::MemoryLimit,
        Self::MemorySnapshot,
        Self::ProbeMisconfigured,
        Self::TaskStarted,
        Self::TaskFinished,
        Self::TaskMissed,
        Self::AlertFired,
        Self::AlertResolved,
        Self::DriftFound,
        Self::ClockGap,
        Self::RunnerStarted,
        Self::RunnerAdopted,
        Self::ConfigReloaded,
        Self::ProbeDegraded,
        Self::BreakerChanged,
        Self::LogGap,
        Self::JournalGap,
        Self::ExposureUp,
        Self::ExposureDown,
        Self::ExposureFailed,
        Self::ExposureUndone,
    ];

    /// The name in the database, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SupervisorStart => "supervisor_start",
            Self::SupervisorStop => "supervisor_stop",
            Self::ServiceStart => "service_start",
            Self::ServiceReady => "service_ready",
            Self::ServiceCrash => "service_crash",
            Self::ServiceExit => "service_exit",
            Self::ServiceHung => "service_hung",
            Self::ServiceHeld => "service_held",
            Self::ServiceRestart => "service_restart",
            Self::ServiceLost => "service_lost",
            Self::MemoryGrowth => "memory_growth",
            Self::MemoryLimit => "memory_limit",
            Self::MemorySnapshot => "memory_snapshot",
            Self::ProbeMisconfigured => "probe_misconfigured",
            Self::TaskStarted => "task_started",
            Self::TaskFinished => "task_finished",
            Self::TaskMissed => "task_missed",
            Self::AlertFired => "alert_fired",
            Self::AlertResolved => "alert_resolved",
            Self::DriftFound => "drift_found",
            Self::ClockGap => "clock_gap",
            Self::RunnerStarted => "runner_started",
            Self::RunnerAdopted => "runner_adopted",
            Self::ConfigReloaded => "config_reloaded",
            Self::ProbeDegraded => "probe_degraded",
            Self::BreakerChanged => "breaker_changed",
            Self::LogGap => "log_gap",
            Self::JournalGap => "journal_gap",
            Self::ExposureUp => "exposure_up",
            Self::ExposureDown => "exposure_down",
            Self::ExposureFailed => "exposure_failed",
            Self::ExposureUndone => "exposure_undone",
            Self::Unknown => "unknown",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == text)
    }

    /// The row that the end of a run becomes (DESIGN section 3).
    pub fn of_end(class: ExitClass) -> Self {
        match class {
            ExitClass::Requested | ExitClass::Recycled | ExitClass::Refused => Self::ServiceExit,
            ExitClass::Crash | ExitClass::Hung | ExitClass::StartTimeout | ExitClass::OverMemory => Self::ServiceCrash,
            ExitClass::Lost => Self::ServiceLost,
        }
    }

    /// Whether it is the end of a run.
    pub fn is_run_end(self) -> bool {
        matches!(self, Self::ServiceCrash | Self::ServiceExit | Self::ServiceLost)
    }

    /// Whether it tells of slots of a calendar job.
    pub fn is_of_slots(self) -> bool {
        matches!(self, Self::TaskStarted | Self::TaskFinished | Self::TaskMissed)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of a runner's journal. Unique by (runner, `boot_id`, `seq`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form: 1.
    pub v: u32,
    /// Which boot of the machine.
    pub boot_id: String,
    /// Rises within a runner's journal.
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub wall_ms: i64,
    /// Nanoseconds since boot, sleep counted.
    pub boot_ns: u64,
    /// The awake clock of that boot; absent in what older versions wrote.
    #[serde(default, rename = "mono_ns", skip_serializing_if = "Option::is_none")]
    pub mono: Option<Mono>,
    /// What happened.
    pub event: EventType,
    /// To which service or task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<UnitName>,
    /// The metadata of the row to be (CONTRACT names the members).
    pub data: Map<String, Value>,
}

impl Record {
    /// The form's version.
    pub const VERSION: u32 = 1;

    /// The member of `data` that holds the name of a type that is not known here.
    pub const UNKNOWN_TYPE: &str = "event_type";

    /// When it happened, on all clocks.
    pub fn at(&self) -> Moment {
        Moment { mono: self.mono.unwrap_or(Mono(self.boot_ns)), boot_ns: self.boot_ns, wall_ms: self.wall_ms }
    }

    /// The name of the type, also of one that a newer version has written.
    pub fn event_name(&self) -> &str {
        match self.event {
            EventType::Unknown => self.data.get(Self::UNKNOWN_TYPE).and_then(Value::as_str).unwrap_or("unknown"),
            known => known.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_the_ones_of_serde_and_read_back() {
        for t in EventType::ALL {
            assert_eq!(serde_json::to_value(t).unwrap(), t.as_str());
            assert_eq!(EventType::parse(t.as_str()), Some(t));
        }
    }
}
