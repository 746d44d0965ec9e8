//! The journal: a runner's append-only record of what happened to its services, kept where the ledger cannot be.
//!
//! A runner writes no SQLite: a locked, full or corrupt database must not keep it from starting a service again, nor
//! from putting an end on record before it does. It appends one JSON line ([`crate::model::Record`]) per event; the
//! daemon takes the lines into the ledger, exactly once by (runner, boot id, seq), and removes what it has taken.
//!
//! ```text
//! <id>.journal                          the current segment, open for appending (O_APPEND, 0600)
//! <id>.journal.00000000000000004711     an older segment, never written again; the number is its first seq
//! ```
//!
//! What holds:
//! - A line is one write(2). When `append` returns and nothing is pending, the line survives the death of every process.
//!   Against a power loss it is safe after `sync`, which the caller groups.
//! - A line that cannot be written waits in memory, bounded, oldest first; what has to be dropped is counted, and told by
//!   one `journal_gap` line once writing works again. `append` never fails and never waits.
//! - Half a line never stands before a whole one: it is cut off, by the writer that made it or by the next to open.
//! - seq rises within a boot, even when files are deleted meanwhile: a newly opened journal goes on from the last seq on
//!   disk or from the microseconds since boot, whichever is more.
//! - The reader follows by inode and offset, so that no rotation, deletion or replacement can slip a line past it.
//!
//! No clock in here (time is an argument), no SQLite, no knowledge of what a record means.

mod backlog;
mod line;
mod reader;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

pub use backlog::Limits;
pub use reader::Reader;
pub use segments::ids;
pub use writer::Writer;
