//! Plain data: names, times, what a service is declared to be, how a run ends, what is told to whom.
//!
//! Nothing in this room does IO, reads a clock, or decides. Everything else may use it; it uses nothing of ours.

mod event;
mod exit;
mod name;
pub mod paths;
mod phase;
mod snapshot;
mod spec;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod time;
pub mod wire;

pub use event::{EventType, Record};
pub use exit::{Exit, ExitClass, Signal, StopCause};
pub use name::{BadName, UnitName};
pub use phase::{Intent, Status};
pub use snapshot::{
    DaemonInfo, HealthInfo, LastExit, LedgerInfo, MemoryInfo, ProgramId, RestartCounts, RunView, RunnerInfo,
    ServiceInfo, Standing, StatusReport, UnitKind, UnitStanding,
};
pub use spec::{
    AlertSpec, Builtin, CrashWindow, DEFAULT_PATH, Fleet, HealthSpec, LogSpec, ManagerKind, MemorySpec, ProbeKind,
    ProbeSpec, ProcessType, Program, Readiness, RestartMode, ServiceSpec, SinkKind, SinkSpec, Sweep, Unusable, WatchOn,
    WatchSpec,
};
pub use task::{CalendarTable, CatchUp, Schedule, StepAction, StepSpec, TaskSpec};
pub use time::{Fraction, Moment, Mono};
