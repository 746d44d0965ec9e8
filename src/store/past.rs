//! What a new life of the daemon has to know of those before: what happened lately, and single values.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::alerts::json;
use super::error::StoreError;
use super::ledger::Ledger;
use super::query::SAME_TAIL;
use crate::model::{EventType, Mono, Record, UnitName};

impl Ledger {
    /// The records since then that fill the windows of the rules, with the runner of each, in the order of taking in: at
    /// most `limit` of each unit, and as many about the supervisor itself, the newest. What rows of older versions do not
    /// have is `None` (the awake clock) or 0 (the clock since boot).
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn past<'a>(
        &self,
        units: impl IntoIterator<Item = &'a UnitName>,
        limit: usize,
        since_ms: i64,
    ) -> Result<Vec<(String, Record)>, StoreError> {
        let whom = units.into_iter().map(Some).chain([None]);
        let past = || {
            let mut found = Vec::new();
            for unit in whom {
                found.extend(past_of(&self.conn, unit, limit, since_ms)?);
            }
            found.sort_by_key(|(id, ..)| *id);
            Ok(found.into_iter().map(|(_, runner, record)| (runner, record)).collect())
        };
        past().map_err(|error| self.cannot_read(&error))
    }

    /// A single value that was kept; `None` when there is none, or none that this version can read.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn meta_get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let sql = "SELECT CAST(value AS TEXT) FROM supervisor_meta WHERE key = ?1";
        let found: Option<String> =
            self.conn.query_row(sql, [key], |row| row.get(0)).optional().map_err(|error| self.cannot_read(&error))?;
        Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Keeps a single value under `key`.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn meta_set<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT OR REPLACE INTO supervisor_meta (key, value) VALUES (?1, ?2)",
                params![key, json(value)?],
            )?;
            Ok(())
        })
    }
}

/// Rows of one unit, or of the supervisor itself: their number, runner and record.
fn past_of(
    conn: &Connection,
    unit: Option<&UnitName>,
    limit: usize,
    since_ms: i64,
) -> rusqlite::Result<Vec<(i64, String, Record)>> {
    let types: &[EventType] = match unit {
        Some(_) => &[
            EventType::ServiceStart,
            EventType::ServiceReady,
            EventType::ServiceCrash,
            EventType::ServiceExit,
            EventType::ServiceLost,
            EventType::ServiceHeld,
            EventType::ServiceHung,
        ],
        None => &[EventType::SupervisorStart, EventType::SupervisorStop],
    };
    let types: Vec<String> = types.iter().map(|kind| format!("'{kind}'")).collect();
    let mut statement = conn.prepare(&format!(
        "SELECT id, runner, boot_id, seq, timestamp_ms, boot_ns, mono_ns, event_type, metadata FROM supervisor_events \
         WHERE service_name IS ?1 AND timestamp_ms >= ?2 AND event_type IN ({}) ORDER BY id DESC LIMIT ?3",
        types.join(", ")
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![unit.map(UnitName::as_str), since_ms, limit], |row| record(row, unit))?;
    let mut found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    if let Some(unit) = unit {
        let mut known = BTreeMap::new();
        for (_, _, record) in &mut found {
            give_tail_back(conn, unit, &mut record.data, &mut known)?;
        }
    }
    Ok(found)
}

fn record(row: &Row<'_>, unit: Option<&UnitName>) -> rusqlite::Result<(i64, String, Record)> {
    let count = |column| row.get::<_, Option<i64>>(column).map(|value| value.map(i64::unsigned_abs));
    let (event, metadata): (String, String) = (row.get(7)?, row.get(8)?);
    let record = Record {
        v: Record::VERSION,
        boot_id: row.get(2)?,
        seq: count(3)?.unwrap_or(0),
        wall_ms: row.get(4)?,
        boot_ns: count(5)?.unwrap_or(0),
        mono: count(6)?.map(Mono),
        event: EventType::parse(&event).unwrap_or(EventType::Unknown),
        service: unit.cloned(),
        data: serde_json::from_str(&metadata).unwrap_or_default(),
    };
    Ok((row.get(0)?, row.get(1)?, record))
}

/// Which kind of crash it was shows at the top of its tail, which only the first row of its like has.
fn give_tail_back(
    conn: &Connection,
    unit: &UnitName,
    data: &mut Map<String, Value>,
    known: &mut BTreeMap<u64, Option<Value>>,
) -> rusqlite::Result<()> {
    let Some(first) = data.get(SAME_TAIL).and_then(Value::as_u64) else { return Ok(()) };
    if let std::collections::btree_map::Entry::Vacant(entry) = known.entry(first) {
        let sql = "SELECT metadata FROM supervisor_events WHERE service_name = ?1 AND event_type = ?2 AND run_id = ?3 \
                   ORDER BY timestamp_ms DESC LIMIT 1";
        let asked = params![unit.as_str(), EventType::ServiceCrash.as_str(), i64::try_from(first).unwrap_or(i64::MAX)];
        let row: Option<String> = conn.query_row(sql, asked, |row| row.get(0)).optional()?;
        let whole = row.and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).ok());
        entry.insert(whole.and_then(|mut data| data.remove("stderr_tail")));
    }
    let ends = |whole: &Value| Some(whole.as_str()?.ends_with(data.get("stderr_tail")?.as_str()?));
    if let Some(Some(whole)) = known.get(&first)
        && ends(whole) == Some(true)
    {
        data.insert("stderr_tail".into(), whole.clone());
    }
    Ok(())
}
