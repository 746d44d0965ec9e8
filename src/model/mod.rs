//! Plain data: names, times, what a service is declared to be, how a run ends, what is told to whom.
//!
//! Nothing in this room does IO, reads a clock, or decides. Everything else may use it; it uses nothing of ours.

mod alert;
mod alert_spec;
mod builtin;
mod emitted;
mod event;
mod exit;
mod hash;
mod health;
mod memory;
mod name;
mod outbox;
pub mod paths;
mod phase;
mod slot;
mod slot_row;
mod snapshot;
mod spec;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod time;
mod watched;
pub mod wire;

pub use alert::{
    Alert, AlertChange, AlertState, Cause, CrashKind, HeardAt, Notice, NoticeKind, Remembered, Rule, Severity, Silence,
    StoppedAt,
};
pub use alert_spec::{AlertSpec, CrashWindow, DeadmanSpec, SecretSpec, SinkKind, SinkSpec};
pub use builtin::{Builtin, Durability, Initial, NEVER_WATCHED, PLACEHOLDERS, WatchOn, WatchSpec};
pub use emitted::{Emitted, EmittedRow};
pub use event::{EventType, Record};
pub use exit::{Exit, ExitClass, Signal, StopCause};
pub use hash::stable_hash;
pub use health::{
    Answer, Facts, Hang, HealthInfo, HostLoad, Latencies, Learned, Part, PartInfo, Probed, ProcessState, StartInfo,
    Told, Verdict, Vitals,
};
pub use memory::{Growth, KillEvidence, Life, MemorySample, MemoryVerdict, Metric, ProcessMemory};
pub use name::{BadName, UnitName};
pub use outbox::{Breaker, Delivery, Message, OutboxRow, RowState, SinkState};
pub use phase::{Intent, Status};
pub use slot::{
    Accounted, Claim, SlotEnd, SlotFile, SlotKey, SlotLine, SlotState, StepOutcome, StepRecord, Timing, Trigger,
};
pub use slot_row::SlotRow;
pub use snapshot::{
    DaemonInfo, LastExit, LedgerInfo, MemoryInfo, MemoryTrouble, OpenAlert, ProgramId, RestartCounts, RunView,
    RunnerInfo, ServiceInfo, Standing, StatusReport, UnitKind, UnitStanding,
};
pub use spec::{
    DEFAULT_PATH, DayHours, FigureSpec, Fleet, HealthSpec, LogSpec, ManagerKind, MemorySpec, OnGrowth, ProbeKind,
    ProbeSpec, ProcessType, Program, Readiness, RestartMode, ServiceSpec, Sweep, Unusable,
};
pub use task::{
    BuiltinStep, CalendarFields, CalendarRule, CalendarTable, CatchUp, ExposureSpec, Overlap, PruneSpec, Schedule,
    StepAction, StepSpec, StepWhen, TaskSpec,
};
pub use time::{Fraction, Moment, Mono};
pub use watched::{
    Again, Canary, DeadLetter, ReplayRequest, RetryRequest, WatchSetStatus, WatchState, WatchedFolder, WatcherStatus,
};
