//! Alerts while the database cannot be written.

use std::collections::{BTreeMap, BTreeSet};

use super::Alarms;
use crate::machine::alerts::{AlertMachine, Heard};
use crate::model::{AlertChange, AlertSpec, HeardAt, Moment, Notice, OutboxRow, Record, RowState, SinkSpec};
use crate::store::{Ledger, StoreError};

/// Rows in memory have numbers from here on: a courier takes none of them for a row of the database that is in doubt.
const FIRST_ID: i64 = i64::MAX / 2;

/// A copy of the rules that goes on without the ledger, and what it has to tell. It ends with the outage: what it heard, the
/// real one hears then, too.
pub(super) struct Sick {
    /// Since when, milliseconds since 1970 UTC.
    pub(super) since_ms: i64,
    /// What is wrong now.
    pub(super) why: String,
    pub(super) machine: AlertMachine,
    /// What is to be sent, or was.
    pub(super) rows: Vec<OutboxRow>,
    /// The last line of each journal that was shown, by runner and boot.
    shown: BTreeMap<(String, String), u64>,
}

impl Sick {
    pub(super) fn new(since_ms: i64, machine: AlertMachine) -> Self {
        Self { since_ms, why: String::new(), machine, rows: Vec::new(), shown: BTreeMap::new() }
    }

    pub(super) fn take_in(&mut self, boot_id: &str, now: Moment, runner: &str, records: &[Record], spec: &AlertSpec) {
        for record in records {
            let shown = self.shown.entry((runner.to_owned(), record.boot_id.clone())).or_default();
            if record.seq > *shown {
                *shown = record.seq;
                self.hear(HeardAt { boot_id, at: now }, Heard::Record(runner, record), spec, None);
            }
        }
    }

    /// Gives the keys of what is told, through `only` or through all sinks that take it.
    pub(super) fn hear(
        &mut self,
        at: HeardAt<'_>,
        heard: Heard<'_>,
        spec: &AlertSpec,
        only: Option<&BTreeSet<String>>,
    ) -> Vec<String> {
        let changes = self.machine.step(at, heard);
        for change in &changes {
            if let AlertChange::Tell(notice) = change {
                for sink in spec.sinks_for(notice, only) {
                    self.put(sink, notice, at.at.wall_ms + super::millis(spec.expire_after));
                }
            }
        }
        super::keys(&changes)
    }

    fn put(&mut self, sink: &SinkSpec, notice: &Notice, expires_ms: i64) {
        let id = i64::try_from(self.rows.len()).map_or(i64::MAX, |count| FIRST_ID + count);
        self.rows.push(OutboxRow {
            id,
            sink: sink.name.clone(),
            notice: notice.clone(),
            state: RowState::Pending,
            attempts: 0,
            expires_ms,
            settled_ms: None,
            error: None,
            digest: None,
        });
    }
}

impl Alarms {
    /// The outage is over once all that waited is in the database: one that opens, and then takes nothing in, is as sick as
    /// before, and since then.
    pub(super) fn recover(&mut self, ledger: &mut Ledger) -> Result<(), StoreError> {
        let Some(sick) = &self.sick else { return Ok(()) };
        let (since_ms, why) = (sick.since_ms, sick.why.clone());
        for database in [Some((since_ms, why.as_str())), None] {
            self.hear(Some(&mut *ledger), Heard::Database(database))?;
        }
        self.sick = None;
        Ok(())
    }
}
