//! How long rows are kept.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use super::error::StoreError;
use super::foreign::{Mirror, OWN_CATEGORY, Told};
use super::ledger::Ledger;
use super::slots;

/// Rows in one transaction: the lock is held for milliseconds, so that other programs never wait long for theirs.
const BATCH: i64 = 500;

/// Rows that are too old.
const BY_AGE: &str = "WHERE timestamp_ms < ?1 ORDER BY timestamp_ms LIMIT ?2";

/// The rows that came in first.
const BY_COUNT: &str = "WHERE id > ?1 ORDER BY id LIMIT ?2";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is left of alerts, and of services that are gone: the table, whose rows have ended (and may go), what tells their age in
/// milliseconds, and how long and how many of them are kept. What is open, pending or in force stays however old it is; a leak
/// detector's state is written anew while its service is there.
const ENDED: [(&str, &str, &str, Duration, u32); 5] = [
    ("supervisor_outbox", "state <> 'pending'", "settled_ms", DAY.saturating_mul(90), 20_000),
    ("supervisor_alerts", "state = 'resolved'", "resolved_ms", DAY.saturating_mul(365), 10_000),
    ("supervisor_crash_kinds", "1", "last_ms", DAY.saturating_mul(365), 10_000),
    ("supervisor_silences", "until_ms < ?1", "until_ms", DAY.saturating_mul(30), 1_000),
    ("supervisor_memory_trends", "1", "at_ms", DAY.saturating_mul(365), 1_000),
];

/// Of those, what tells only what happened: it is kept no longer than events are. (A kind of crash is known for longer, so that it is
/// not new when it comes again.)
const HISTORY: [&str; 2] = ["supervisor_outbox", "supervisor_alerts"];

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records, each with its row in `events` where it had one.
    pub events: usize,
    /// Rows of other tables of ours, by table; those of which none went are not there.
    pub others: Vec<(&'static str, usize)>,
}

impl Ledger {
    /// Deletes our rows that are older than `max_age` or beyond the newest `max_rows`, here and in `events`; gives
    /// what went. Other people's rows, counters and last exits stay. What is left of alerts that are over, and of
    /// services that are gone, goes after times of its own, or sooner where it is history.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`]; batches that were done stay done.
    pub fn prune(&mut self, now_ms: i64, max_age: Duration, max_rows: u64) -> Result<Pruned, StoreError> {
        self.check_place()?;
        self.prune_all(now_ms, max_age, max_rows).map_err(|error| self.cannot_write(&error))
    }

    fn prune_all(&mut self, now_ms: i64, max_age: Duration, max_rows: u64) -> rusqlite::Result<Pruned> {
        self.refresh_foreign()?;
        let mirror = self.foreign.mirror.clone();
        let mirror = mirror.as_ref();
        let oldest = now_ms.saturating_sub(i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX));
        let deleted = self.prune_told(mirror, "supervisor_events", oldest, max_rows)?;
        let emitted = self.prune_told(mirror, "supervisor_emitted", oldest, max_rows)?;
        let mut others = self.prune_ended(now_ms, max_age)?;
        if emitted > 0 {
            others.push(("supervisor_emitted", emitted));
        }
        let slots = slots::prune(&self.conn, oldest)?;
        if slots > 0 {
            others.push(("supervisor_slots", slots));
        }
        Ok(Pruned { events: deleted, others })
    }

    /// What is too old or too much of a table whose rows stand in `events` as well.
    fn prune_told(
        &mut self,
        mirror: Option<&Mirror>,
        table: &str,
        oldest: i64,
        max_rows: u64,
    ) -> rusqlite::Result<usize> {
        let mut deleted = 0;
        loop {
            let count = self.prune_batch(mirror, table, BY_AGE, oldest, BATCH)?;
            if count == 0 {
                break;
            }
            deleted += count;
        }
        let rows: i64 = self.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        let mut beyond = rows.saturating_sub(i64::try_from(max_rows).unwrap_or(i64::MAX));
        while beyond > 0 {
            let count = self.prune_batch(mirror, table, BY_COUNT, i64::MIN, beyond.min(BATCH))?;
            if count == 0 {
                break;
            }
            deleted += count;
            beyond -= count as i64;
        }
        Ok(deleted)
    }

    fn prune_ended(&mut self, now_ms: i64, max_age: Duration) -> rusqlite::Result<Vec<(&'static str, usize)>> {
        let mut gone = Vec::new();
        for (table, ended, age, kept_for, kept) in ENDED {
            let kept_for = if HISTORY.contains(&table) { kept_for.min(max_age) } else { kept_for };
            let key = match table {
                "supervisor_crash_kinds" => "(service, fingerprint)",
                "supervisor_memory_trends" => "service",
                _ => "id",
            };
            let columns = key.trim_matches(['(', ')']);
            let oldest = now_ms.saturating_sub(i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX));
            let delete = format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {columns} FROM {table} WHERE {ended} AND {age} < ?2 LIMIT ?3) \
                 OR {key} IN (SELECT {columns} FROM {table} WHERE {ended} ORDER BY {age} DESC LIMIT ?3 OFFSET {kept})"
            );
            // Each statement is a transaction of its own.
            let mut count = 0;
            loop {
                match self.conn.execute(&delete, params![now_ms, oldest, BATCH])? {
                    0 => break,
                    more => count += more,
                }
            }
            gone.extend((count > 0).then_some((table, count)));
        }
        Ok(gone)
    }

    fn prune_batch(
        &mut self,
        mirror: Option<&Mirror>,
        table: &str,
        which: &str,
        bound: i64,
        limit: i64,
    ) -> rusqlite::Result<usize> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let rows = doomed(&tx, table, which, bound, limit)?;
        if let Some(mirror) = mirror {
            delete_mirrored(&tx, mirror, &rows)?;
        }
        {
            let mut delete = tx.prepare(&format!("DELETE FROM {table} WHERE id = ?1"))?;
            for row in &rows {
                delete.execute([row.id])?;
            }
        }
        tx.commit()?;
        Ok(rows.len())
    }
}

struct Doomed {
    id: i64,
    timestamp_ms: i64,
    category: String,
    event_type: String,
    service: Option<String>,
    metadata: String,
    mirror_rowid: Option<i64>,
}

fn doomed(tx: &Connection, table: &str, which: &str, bound: i64, limit: i64) -> rusqlite::Result<Vec<Doomed>> {
    let category = if table == "supervisor_events" { format!("'{OWN_CATEGORY}'") } else { "category".to_owned() };
    let columns = format!("id, timestamp_ms, event_type, service_name, metadata, mirror_rowid, {category}");
    let mut statement = tx.prepare(&format!("SELECT {columns} FROM {table} {which}"))?;
    let rows = statement.query_map(params![bound, limit], |row| {
        Ok(Doomed {
            id: row.get(0)?,
            timestamp_ms: row.get(1)?,
            event_type: row.get(2)?,
            service: row.get(3)?,
            metadata: row.get(4)?,
            mirror_rowid: row.get(5)?,
            category: row.get(6)?,
        })
    })?;
    rows.collect()
}

fn delete_mirrored(tx: &Connection, mirror: &Mirror, rows: &[Doomed]) -> rusqlite::Result<()> {
    let Some(sql) = &mirror.delete_sql else { return Ok(()) };
    let mut statement = tx.prepare(sql)?;
    for row in rows {
        let Some(rowid) = row.mirror_rowid else { continue };
        let told = Told {
            timestamp_ms: row.timestamp_ms,
            category: &row.category,
            event_type: &row.event_type,
            service: row.service.as_deref(),
            metadata: &row.metadata,
        };
        match mirror.delete(&mut statement, rowid, &told) {
            Ok(_) => {}
            // Somebody's foreign key or trigger holds on to the row.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
