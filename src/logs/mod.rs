//! Output of services: named FIFOs, the files their bytes are moved to, rotation, and reading it all back.
//!
//! A service holds its FIFO open for reading and writing itself, so that it neither gets SIGPIPE nor blocks at once when
//! the runner dies. Here bytes are moved, counted and found again; nothing here knows what a service is, decides what
//! becomes of one, or waits for a service. The rule is that each byte is in exactly one file, in order, whoever is killed
//! when, and that a full disk costs output but never stops the one who writes it.
//!
//! Bytes are copied, through a block that outlives us (`block.rs`). splice(2), which leaves no moment at which a byte is in
//! neither FIFO nor file, holds the pipe's lock during the whole write to the file: service and runner never work at the same
//! time, and a flood gets through at three quarters of the speed; and macOS has nothing like it.

mod block;
mod follow;
mod index;
mod out;
mod own;
mod rotate;
mod sink;

pub mod fifo;
pub mod read;

pub use block::Block;
pub use own::OwnLog;
pub use rotate::{Aside, copy_aside, rotate as put_aside};
pub use sink::{Position, Pumped, Sink};
