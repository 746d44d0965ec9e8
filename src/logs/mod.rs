//! Output of services: named FIFOs, the files their bytes are moved to, rotation, and reading it all back.
//!
//! A service holds its FIFO open for reading and writing itself, so that it neither gets SIGPIPE nor blocks at once when
//! the runner dies. Here bytes are moved, counted and found again; nothing here knows what a service is, decides what
//! becomes of one, or waits for a service. The rule is that each byte is in exactly one file, in order, and that a full
//! disk costs output but never stops the one who writes it.

mod follow;
mod index;
mod out;
mod own;
mod rotate;
mod sink;

pub mod fifo;
pub mod read;

pub use own::OwnLog;
pub use sink::{Position, Pumped, Sink};
