//! Decisions put together: `ServiceMachine` (the runner's side of one service), `MonitorMachine` (the daemon's), and the
//! sentences that explain both.
//!
//! `step(at, rng, input) -> effects` and nothing else: no clock, no randomness, no IO. What comes in late about an old run
//! is dropped here, in one place.
//!
//! ```text
//!              begin / start             deps ready, due                  ready mark
//!   Idle ───────────────► Blocked ─────► Spawning ─────► Starting ──────────────► Up
//!     ▲                   Delayed ──┘       │ refused        │ exit                │ exit
//!     │ shutdown, retire     ▲              ▼                ▼                     ▼
//!     └── Stopping ──► Down  └──────────── Held ◄──── exit 78 │ crash, recycled, lost: Delayed or Spawning
//!            ▲                                               └► restart = never, on-failure: Done, Failed
//!            └── stop, restart, verdict of the daemon (from Starting and Up)
//! ```

pub mod agenda;
pub mod alerts;
mod begin;
pub mod courier;
mod explain;
mod exposure;
pub mod history;
mod memory;
#[cfg(test)]
mod model_test;
mod monitor;
pub mod past;
#[cfg(test)]
mod past_tests;
mod read;
mod records;
mod service;
#[cfg(test)]
mod service_tests;
pub mod task;
mod types;
pub mod words;

pub use exposure::{ExposureAct, ExposureInput, ExposureMachine, ExposureSaved, Failure, Work, unattended};
pub use memory::{MemoryAct, MemoryMachine, MemorySaved, MemorySeen};
pub use monitor::{Act, Conviction, MonitorMachine, MonitorSpec, Seen};
pub use service::ServiceMachine;
pub use types::{
    Effect, Fate, Found, Hold, Input, Phase, ProcessRef, RecordedEnd, Refusal, Run, Saved, SavedPhase, Then, Ticket,
    TicketState,
};
