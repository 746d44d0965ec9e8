//! Service managers: who starts runners. Here the embedded one, where the daemon itself does.
//!
//! Nothing in here restarts services; that is the runner's alone.

pub mod embedded;
