//! The ledger: everything that happened, in `observability.sqlite`, a database that other programs read and write too.
//!
//! The daemon is the only writer of our tables; runners journal to files, and their lines are taken in here exactly once:
//! rows, counters and the journal position change in one transaction, and a line is known by (runner, boot id, seq).
//!
//! ```text
//! events                   shared. Made if absent; else only the columns that exist are filled (`foreign`)
//! supervisor_events        every record, whatever `events` looks like
//! supervisor_journal       how far each journal was taken in
//! supervisor_counters      run ends by service and class over the ledger's lifetime; pruning leaves them alone
//! supervisor_last_exits    how each service's last run ended; pruning leaves it alone
//! supervisor_meta          the schema number of the four above
//! ```
//!
//! Decision, schema number: `PRAGMA user_version` is one number for the whole file, and this file has several owners. Our
//! number therefore stands in `supervisor_meta`, and nobody else's `user_version` is ever read or changed; it is set only
//! when we made the file ourselves, for people and tools that look there first. A number above ours means that a newer
//! supervisor was here: we do not write then, reading still works.
//!
//! Decision, durability: `synchronous = FULL`. A journal segment is deleted once its lines are in here, so a commit must
//! outlive a loss of power; the price is one fsync for each batch, in the daemon, where nobody waits for it.
//!
//! Decision, other people's rows: `events` is never altered, and from it only rows are deleted that we wrote, known by
//! rowid *and* content, as a rowid alone can come to belong to somebody else's row (reuse after a delete, VACUUM).
//!
//! No clock in here, no journal files, no judgement about what a record means beyond counting run ends.

mod check;
mod error;
mod foreign;
mod ledger;
mod query;
mod retention;
mod schema;
#[cfg(test)]
mod tests;

pub use check::Check;
pub use error::{StoreError, StoreErrorKind};
pub use ledger::Ledger;
pub use query::{EventRow, Filter, Reader};
