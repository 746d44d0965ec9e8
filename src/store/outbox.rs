//! Notices on their way out: what is pending, what became of it, and how each sink is doing.

use rusqlite::{Connection, Row, ToSql, params, params_from_iter};

use super::alerts::{json, read};
use super::error::StoreError;
use super::ledger::Ledger;
use super::query::Reader;
use crate::model::{Message, OutboxRow, RowState, SinkState};

/// As [`row`] reads them.
const COLUMNS: &str = "id, sink, state, attempts, expires_ms, settled_ms, error, digest, body";

const SINKS: &str = "SELECT body FROM supervisor_sinks ORDER BY sink";

/// Which rows of the outbox; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxFilter {
    /// Only for this sink.
    pub sink: Option<String>,
    /// Only about the alert with this id.
    pub alert: Option<String>,
    /// Only those that stand so; empty means all.
    pub states: Vec<RowState>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

impl Ledger {
    /// The oldest rows that are to be sent through this sink, oldest first.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn pending(&self, sink: &str, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM supervisor_outbox WHERE sink = ?1 AND state = 'pending' ORDER BY id LIMIT ?2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        rows(&self.conn, &sql, &[&sink, &limit]).map_err(|error| self.cannot_read(&error))
    }

    /// Puts on record how a sink stands; to be done before anything is sent, see
    /// [`Courier::begin`](crate::machine::courier::Courier::begin).
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`]; nothing is to be sent then.
    pub fn begin_sending(&mut self, state: &SinkState) -> Result<(), StoreError> {
        self.write(|tx| keep_sink(tx, state))
    }

    /// Puts on record how a try ended: for what `message` carried, and for the sink.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`]; nothing of it is in the database then.
    pub fn settle(
        &mut self,
        message: &Message,
        rows: RowState,
        error: Option<&str>,
        state: &SinkState,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let digest = match message {
            Message::Digest { key, .. } => Some(key),
            Message::One(_) => None,
        };
        self.write(|tx| {
            // What was given up or dropped while it was under way stays so, unless it arrived after all.
            let mut update = tx.prepare(
                "UPDATE supervisor_outbox SET state = ?1, attempts = attempts + 1, settled_ms = ?2, error = ?3, digest = ?4 \
                 WHERE sink = ?5 AND key = ?6 AND (state = 'pending' OR ?1 = 'delivered')",
            )?;
            for notice in message.notices() {
                update.execute(params![rows.as_str(), now_ms, error, digest, state.sink, notice.key])?;
            }
            keep_sink(tx, state)
        })
    }

    /// Gives up what was pending for too long, and tells what that is.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn expire(&mut self, now_ms: i64) -> Result<Vec<OutboxRow>, StoreError> {
        self.write(|tx| {
            let sql = format!(
                "UPDATE supervisor_outbox SET state = 'expired', settled_ms = ?1 \
                 WHERE state = 'pending' AND expires_ms <= ?1 RETURNING {COLUMNS}"
            );
            let mut expired = rows(tx, &sql, &[&now_ms])?;
            expired.sort_by_key(|row| row.id);
            Ok(expired)
        })
    }

    /// Gives up what is pending for sinks other than these, and forgets how they were doing; how many rows that is.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn drop_sinks(&mut self, remain: &[&str], now_ms: i64) -> Result<usize, StoreError> {
        self.write(|tx| {
            let remain = json(&remain)?;
            tx.execute("DELETE FROM supervisor_sinks WHERE sink NOT IN (SELECT value FROM json_each(?1))", [&remain])?;
            tx.execute(
                "UPDATE supervisor_outbox SET state = 'dropped', settled_ms = ?2 \
                 WHERE state = 'pending' AND sink NOT IN (SELECT value FROM json_each(?1))",
                params![remain, now_ms],
            )
        })
    }

    /// How each sink was doing, by name.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn sink_states(&self) -> Result<Vec<SinkState>, StoreError> {
        read(&self.conn, SINKS, []).map_err(|error| self.cannot_read(&error))
    }
}

impl Reader {
    /// The rows that `filter` lets through, oldest first.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn outbox(&self, filter: &OutboxFilter) -> Result<Vec<OutboxRow>, StoreError> {
        let mut conditions = vec!["1".to_owned()];
        let mut values: Vec<&dyn ToSql> = Vec::new();
        let limit = filter.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        for (column, wanted) in [("sink", &filter.sink), ("alert", &filter.alert)] {
            if let Some(wanted) = wanted {
                conditions.push(format!("{column} = ?"));
                values.push(wanted);
            }
        }
        if !states.is_empty() {
            conditions.push(format!("state IN ({})", vec!["?"; states.len()].join(", ")));
            values.extend(states.iter().map(|state| state as &dyn ToSql));
        }
        values.push(&limit);
        let sql = format!(
            "SELECT {COLUMNS} FROM supervisor_outbox WHERE {} ORDER BY id DESC LIMIT ?",
            conditions.join(" AND ")
        );
        self.ask("supervisor_outbox", |conn| {
            let mut found = rows(conn, &sql, &values)?;
            found.reverse();
            Ok(found)
        })
    }

    /// How each sink was doing, by name.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn sink_states(&self) -> Result<Vec<SinkState>, StoreError> {
        self.ask("supervisor_sinks", |conn| read(conn, SINKS, []))
    }
}

fn keep_sink(tx: &Connection, state: &SinkState) -> rusqlite::Result<()> {
    tx.prepare("INSERT OR REPLACE INTO supervisor_sinks (sink, body) VALUES (?1, ?2)")?
        .execute(params![state.sink, json(state)?])?;
    Ok(())
}

/// A row whose notice this version cannot read was written by a newer one, which sends it when it is back.
fn rows(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<OutboxRow>> {
    let mut statement = conn.prepare(sql)?;
    let found = statement.query_map(params_from_iter(values), row)?;
    found.filter_map(Result::transpose).collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<Option<OutboxRow>> {
    let (state, body): (String, String) = (row.get(2)?, row.get(8)?);
    let (Some(state), Ok(notice)) = (RowState::parse(&state), serde_json::from_str(&body)) else { return Ok(None) };
    Ok(Some(OutboxRow {
        id: row.get(0)?,
        sink: row.get(1)?,
        notice,
        state,
        attempts: row.get(3)?,
        expires_ms: row.get(4)?,
        settled_ms: row.get(5)?,
        error: row.get(6)?,
        digest: row.get(7)?,
    }))
}
