//! Events that other programs have sent to the emit-server: each stands in `supervisor_emitted`, with a number that rises, and in
//! `events` as far as that table takes it, in one transaction.

use rusqlite::types::Value as Sql;
use rusqlite::{Statement, params, params_from_iter};
use serde_json::Value;

use super::batch::{Stop, Writing};
use super::error::StoreError;
use super::foreign::Told;
use super::ledger::Ledger;
use super::query::Reader;
use crate::model::{Emitted, EmittedRow};

/// Which events; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmittedFilter {
    /// Later in the order of taking in than this one.
    pub after: i64,
    /// Not older than this, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// Of this sort only.
    pub category: Option<String>,
    /// Only those that tell this.
    pub event_type: Option<String>,
    /// About this service only.
    pub service: Option<String>,
}

impl Ledger {
    /// Writes events, in one transaction; gives the number of each. What has come before under its key is passed over, and has none.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`]; none of them is in the database then.
    pub fn emit(&mut self, events: &[Emitted]) -> Result<Vec<Option<i64>>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.write_told(|writing| put(writing, events))
    }

    /// Whether a commit outlives a loss of power, or only our own end (and costs no fsync). At first it does.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn outlive_power(&self, outlive: bool) -> Result<(), StoreError> {
        let word = if outlive { "FULL" } else { "NORMAL" };
        self.conn.pragma_update(None, "synchronous", word).map_err(|error| self.cannot_write(&error))
    }
}

fn put(writing: &mut Writing<'_>, events: &[Emitted]) -> Result<Vec<Option<i64>>, Stop> {
    let tx = writing.tx;
    let mut mirroring = writing.mirroring()?;
    let mut known = tx.prepare("SELECT 1 FROM supervisor_emitted WHERE key = ?1")?;
    let mut insert = tx.prepare(
        "INSERT INTO supervisor_emitted (timestamp_ms, category, event_type, service_name, metadata, key, mirror_rowid) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut ids = Vec::with_capacity(events.len());
    for event in events {
        if let Some(key) = &event.key
            && known.exists([key])?
        {
            ids.push(None);
            continue;
        }
        let metadata = serde_json::to_string(&event.metadata).unwrap_or_else(|_| "{}".into());
        let told = Told {
            timestamp_ms: event.timestamp_ms,
            category: &event.category,
            event_type: &event.event_type,
            service: event.service.as_deref(),
            metadata: &metadata,
        };
        let mirrored = mirroring.insert(&told, &mut writing.learned)?;
        let row =
            params![event.timestamp_ms, event.category, event.event_type, event.service, metadata, event.key, mirrored];
        ids.push(Some(insert.insert(row)?));
    }
    Ok(ids)
}

impl Reader {
    /// The events that `filter` lets through, in the order of taking in, the first `limit` of them.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn emitted(&self, filter: &EmittedFilter, limit: usize) -> Result<Vec<EmittedRow>, StoreError> {
        let mut conditions = vec!["id > ?"];
        let mut values = vec![Sql::Integer(filter.after)];
        if let Some(since_ms) = filter.since_ms {
            conditions.push("timestamp_ms >= ?");
            values.push(Sql::Integer(since_ms));
        }
        for (column, wanted) in [
            ("category = ?", &filter.category),
            ("event_type = ?", &filter.event_type),
            ("service_name = ?", &filter.service),
        ] {
            if let Some(wanted) = wanted {
                conditions.push(column);
                values.push(Sql::Text(wanted.clone()));
            }
        }
        values.push(Sql::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let sql = format!(
            "SELECT id, timestamp_ms, category, event_type, service_name, metadata FROM supervisor_emitted WHERE {} \
             ORDER BY id LIMIT ?",
            conditions.join(" AND ")
        );
        self.ask("supervisor_emitted", |conn| {
            let mut statement: Statement<'_> = conn.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| {
                let metadata: String = row.get(5)?;
                Ok(EmittedRow {
                    id: row.get(0)?,
                    timestamp: row.get(1)?,
                    category: row.get(2)?,
                    event_type: row.get(3)?,
                    service_name: row.get(4)?,
                    metadata: serde_json::from_str(&metadata).unwrap_or(Value::Null),
                })
            })?;
            rows.collect()
        })
    }

    /// The number of the event that was taken in last; 0 before the first.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn last_emitted(&self) -> Result<i64, StoreError> {
        let last: Option<i64> = self.ask("supervisor_emitted", |conn| {
            let sql = "SELECT coalesce(max(id), 0) FROM supervisor_emitted";
            conn.query_row(sql, [], |row| row.get(0)).map(Some)
        })?;
        Ok(last.unwrap_or_default())
    }
}
