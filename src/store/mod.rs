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
//! supervisor_alerts        open and past ones
//! supervisor_outbox        one row for each notice and sink, until long after it was delivered
//! supervisor_sinks         how each sink is doing
//! supervisor_silences      who is not told of what, until when
//! supervisor_crash_kinds   the kinds of crashes that were seen
//! supervisor_memory        samples, and the least of 15 minutes and of an hour, of memory
//! supervisor_memory_lives  of which service, run, process and metric those are
//! supervisor_memory_trends each leak detector's state
//! supervisor_slots         what became of each slot of the calendar jobs
//! supervisor_emitted       events that other programs have sent to the emit-server
//! supervisor_meta          the schema number of our tables, and single values
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
//! Decision, newer tables and columns: they are added without a new number, so that an older supervisor, after a step back,
//! still writes. What it wrote has nothing in those columns.
//!
//! Decision, the same complaint again: the stderr tail of a crash that is the same as that of the service's crash before is
//! kept once; later rows keep its end and name the run that has it (`same_tail_as_run`). A service that crashes ten thousand
//! times a day of one thing would else fill a disk with it.
//!
//! Decision, other people's rows: `events` is never altered, and from it only rows are deleted that we wrote, known by
//! rowid *and* content, as a rowid alone can come to belong to somebody else's row (reuse after a delete, VACUUM).
//!
//! No clock in here, no journal files, no judgement about what a record means beyond counting run ends.

mod alerts;
mod batch;
mod check;
mod emitted;
mod error;
mod foreign;
mod learned;
mod ledger;
mod memory;
mod outbox;
mod past;
mod query;
mod retention;
mod schema;
mod slots;
#[cfg(test)]
mod tests;
mod upkeep;
mod week;

pub use alerts::{AlertFilter, Telling};
pub use check::Check;
pub use emitted::EmittedFilter;
pub use error::{StoreError, StoreErrorKind};
pub use ledger::{Decide, Ledger};
pub use memory::{HistoryPoint, KeptSample};
pub use outbox::OutboxFilter;
pub use query::{EVIDENCE, EventRow, Filter, Reader};
pub use retention::Pruned;
pub use slots::{LastSlots, SlotCounts, SlotFilter};
pub use upkeep::{Room, Upkeep, Verified, verify_copy};
pub use week::Ends;
