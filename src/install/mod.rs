//! Installing: what a service manager has on disk and loaded is brought to what services.toml says, and back again.
//!
//! `plan` and `drift` decide and are pure; `apply` does what was planned, through [`crate::manager::driver::Driver`], and undoes what
//! fails half-way; `record` is what a later call, the daemon and the runners know of it. Nothing here starts a service: jobs
//! are loaded, and the runners in them do the rest.

pub mod apply;
pub mod drift;
pub mod handover;
pub mod plan;
pub mod record;
pub mod verify;

pub use record::Record;
