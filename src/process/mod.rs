//! Facts about the operating system and the few acts on it: clocks, processes, signals, locks, sockets, files.
//!
//! Everything here is small and says or does one thing. No decision is made in this room, nothing is retried or waited
//! for, and what differs between Linux and macOS stands in `linux.rs` and `macos.rs` with the same names in both.

pub mod clock;
pub mod command;
pub mod describe;
pub mod files;
pub mod folders;
pub mod handover;
pub mod host;
pub mod identity;
pub mod inside;
pub mod intent;
pub mod lock;
pub mod memory;
pub mod notify;
pub mod oom;
pub mod ports;
#[cfg(any(target_os = "macos", test))]
mod procargs;
#[cfg(any(target_os = "linux", test))]
mod procstat;
pub mod reap;
pub mod record;
pub mod shared;
pub mod signal;
pub mod socket;
#[cfg(any(target_os = "linux", test))]
mod sockets;
pub mod spawn;
pub mod table;
pub mod tune;
pub mod vitals;
pub mod volume;
pub mod wait;
pub mod watch;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod sys;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod sys;

pub use describe::describe;

#[cfg(test)]
pub(crate) mod testing;
