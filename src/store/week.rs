//! What the report of the week is made from.

use rusqlite::{Connection, params};

use super::error::StoreError;
use super::ledger::Ledger;
use super::query::{self, class_named};
use crate::model::{ExitClass, RestartCounts, Rule, UnitName};

/// How the runs of one service or task ended in a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Whose.
    pub unit: UnitName,
    /// How many, by class.
    pub counts: RestartCounts,
    /// When those were that nobody had asked for and that are no good ends, milliseconds since 1970 UTC, oldest first; none
    /// where there were more than was asked for.
    pub unwanted_ms: Vec<i64>,
}

impl Ledger {
    /// How runs ended from `from_ms` to before `to_ms`, by unit; moments of no more than `most` ends of each.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn ends(&self, from_ms: i64, to_ms: i64, most: u64) -> Result<Vec<Ends>, StoreError> {
        self.try_ends(from_ms, to_ms, most).map_err(|error| self.cannot_read(&error))
    }

    /// How many alerts fired in that time; tests and reports are none.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn fired(&self, from_ms: i64, to_ms: i64) -> Result<u64, StoreError> {
        fired(&self.conn, from_ms, to_ms).map_err(|error| self.cannot_read(&error))
    }

    fn try_ends(&self, from_ms: i64, to_ms: i64, most: u64) -> rusqlite::Result<Vec<Ends>> {
        let mut statement = self.conn.prepare(
            "SELECT service_name, class, count(*) FROM supervisor_events WHERE timestamp_ms >= ?1 AND timestamp_ms < ?2 \
             AND class IS NOT NULL AND service_name IS NOT NULL GROUP BY 1, 2 ORDER BY 1",
        )?;
        let mut rows = statement.query(params![from_ms, to_ms])?;
        let mut all: Vec<Ends> = Vec::new();
        while let Some(row) = rows.next()? {
            let (unit, class, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (Ok(unit), Some(class)) = (UnitName::new(&unit), class_named(&class)) else { continue };
            if all.last().is_none_or(|last| last.unit != unit) {
                all.push(Ends { unit, counts: RestartCounts::default(), unwanted_ms: Vec::new() });
            }
            if let Some(last) = all.last_mut() {
                *last.counts.of(class) = count.unsigned_abs();
            }
        }
        let unwanted: Vec<String> = ExitClass::ALL
            .iter()
            .filter(|class| class.is_crash())
            .map(|class| format!("'{}'", class.as_str()))
            .collect();
        let mut moments = self.conn.prepare(&format!(
            "SELECT timestamp_ms FROM supervisor_events WHERE service_name = ?1 AND timestamp_ms >= ?2 AND timestamp_ms < ?3 \
             AND class IN ({}) ORDER BY timestamp_ms",
            unwanted.join(", ")
        ))?;
        for ends in &mut all {
            let mut counts = ends.counts;
            let count: u64 =
                ExitClass::ALL.into_iter().filter(|class| class.is_crash()).map(|class| *counts.of(class)).sum();
            if count > most {
                continue;
            }
            let found = moments.query_map(params![ends.unit.as_str(), from_ms, to_ms], |row| row.get(0))?;
            ends.unwanted_ms = found.collect::<rusqlite::Result<_>>()?;
        }
        Ok(all)
    }
}

fn fired(conn: &Connection, from_ms: i64, to_ms: i64) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM supervisor_alerts WHERE fired_ms >= ?1 AND fired_ms < ?2 AND rule NOT IN (?3, ?4)";
    let notes = (Rule::Test.as_str(), Rule::Weekly.as_str());
    let count = conn.query_row(sql, params![from_ms, to_ms, notes.0, notes.1], |row| row.get::<_, i64>(0));
    count.map(i64::unsigned_abs)
}

impl query::Reader {
    /// How many alerts fired in that time; tests and reports are none.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn fired(&self, from_ms: i64, to_ms: i64) -> Result<u64, StoreError> {
        self.ask("supervisor_alerts", |conn| fired(conn, from_ms, to_ms))
    }

    /// The time of the oldest record, milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn begins_ms(&self) -> Result<Option<i64>, StoreError> {
        self.ask("supervisor_events", |conn| {
            conn.query_row("SELECT min(timestamp_ms) FROM supervisor_events", [], |row| row.get(0))
        })
    }

    /// How many notices came to nothing since then, by sink: refused, or pending for too long.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn given_up_since(&self, since_ms: i64) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "SELECT sink, count(*) FROM supervisor_outbox WHERE state IN ('refused', 'expired') AND settled_ms >= ?1 \
                   GROUP BY sink ORDER BY sink";
        self.ask("supervisor_outbox", |conn| {
            let mut statement = conn.prepare(sql)?;
            let rows =
                statement.query_map([since_ms], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            rows.collect()
        })
    }
}
