//! Service managers: who starts runners, at boot and after their death. launchd and `systemd --user` behind one trait
//! ([`driver::Driver`]), and the embedded one, where the daemon itself does.
//!
//! `job` says what is to be installed and is pure, as is all rendering and reading of texts here. Nothing in here restarts services;
//! that is the runner's alone. Nothing here decides that a job is to be loaded or repaired; who asks does.

mod command_line;
pub mod driver;
pub mod drivers;
pub mod embedded;
pub mod job;
pub mod launchctl;
pub mod lint;
mod lint_keys;
mod lint_read;
pub mod owners;
pub mod plist;
pub mod print;
pub mod systemctl;
pub mod task;
pub mod unit;
