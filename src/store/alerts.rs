//! Alerts, silences and kinds of crashes: written with what made them, read by the rules' next life and by people.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::batch::{Batch, Stop, Writing};
use super::error::StoreError;
use super::ledger::Ledger;
use super::query::{self, Reader};
use crate::model::{
    Alert, AlertChange, AlertSpec, CrashKind, HeardAt, Notice, Record, Remembered, RowState, Silence, StoppedAt,
    UnitName,
};

/// Under whose name rows about alerts stand, where others have their runner. No runner has it: names of services begin
/// with a letter or a digit.
const ALERTS: &str = "_alerts";

/// What has to be known to put changes of alerts on record.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'a> {
    /// The time of the rows.
    pub at: HeardAt<'a>,
    /// Which sinks there are, what they take, and for how long a notice is kept for them.
    pub spec: &'a AlertSpec,
    /// Only these sinks get the notices, and they get all of them; `None`: each gets what it takes.
    pub only: Option<&'a BTreeSet<String>>,
    /// (sink, key) of what was delivered while it could not be put on record: it is not sent again.
    pub delivered: &'a BTreeSet<(String, String)>,
}

/// The beginning of keys in `supervisor_meta`; the service's name follows.
const STOPPED: &str = "stopped:";

/// Which alerts; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Only those that are not over.
    pub open: bool,
    /// Only those that are not over or were not yet over at this time, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// At most so many, those that fired last.
    pub limit: Option<usize>,
}

/// Writes all of `changes`, in their order.
pub(super) fn put(writing: &mut Writing<'_>, changes: &[AlertChange], telling: &Telling<'_>) -> Result<(), Stop> {
    let tx = writing.tx;
    let mut records = Vec::new();
    for change in changes {
        match change {
            AlertChange::Keep(alert) => keep(tx, alert)?,
            AlertChange::Tell(notice) => tell(tx, notice, telling)?,
            AlertChange::Record { event, service, data } => records.push((*event, service, data)),
            AlertChange::KeepSilence(silence) => {
                tx.prepare("INSERT OR REPLACE INTO supervisor_silences (id, until_ms, body) VALUES (?1, ?2, ?3)")?
                    .execute(params![signed(silence.id), silence.until_ms, json(silence)?])?;
            }
            AlertChange::DropSilence(id) => {
                tx.execute("DELETE FROM supervisor_silences WHERE id = ?1", [signed(*id)])?;
            }
            AlertChange::Stopped(service, at) => {
                tx.prepare("INSERT OR REPLACE INTO supervisor_meta (key, value) VALUES (?1, ?2)")?
                    .execute(params![format!("{STOPPED}{service}"), json(at)?])?;
            }
            AlertChange::KeepKind(kind) => {
                tx.prepare(
                    "INSERT OR REPLACE INTO supervisor_crash_kinds (service, fingerprint, last_ms, body) \
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    kind.service.as_str(),
                    kind.fingerprint,
                    kind.last_ms,
                    json(kind)?
                ])?;
            }
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    let HeardAt { boot_id, at } = telling.at;
    let reached = query::position(tx, ALERTS, boot_id)?.map_or(0, i64::unsigned_abs);
    let mut batch = Batch::new(writing, ALERTS)?;
    for (seq, (event, service, data)) in (reached + 1..).zip(records) {
        let record = Record {
            v: Record::VERSION,
            boot_id: boot_id.into(),
            seq,
            wall_ms: at.wall_ms,
            boot_ns: at.boot_ns,
            mono: Some(at.mono),
            event,
            service: service.clone(),
            data: data.clone(),
        };
        batch.take(&record, &mut writing.learned)?;
    }
    Ok(batch.write_positions()?)
}

fn keep(tx: &Connection, alert: &Alert) -> rusqlite::Result<()> {
    tx.prepare(
        "INSERT OR REPLACE INTO supervisor_alerts (id, rule, service, severity, state, fired_ms, resolved_ms, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        alert.id,
        alert.rule.as_str(),
        alert.service.as_ref().map(UnitName::as_str),
        alert.severity.as_str(),
        serde_json::to_value(alert.state).ok().as_ref().and_then(Value::as_str),
        alert.fired_ms,
        alert.resolved_ms,
        json(alert)?
    ])?;
    Ok(())
}

/// A row for each sink that takes it. What is there already stays as it is: the same notice is told once.
fn tell(tx: &Connection, notice: &Notice, telling: &Telling<'_>) -> rusqlite::Result<()> {
    let now_ms = telling.at.at.wall_ms;
    let expire_after = i64::try_from(telling.spec.expire_after.as_millis()).unwrap_or(i64::MAX);
    let body = json(notice)?;
    let mut insert = tx.prepare(
        "INSERT INTO supervisor_outbox (sink, key, alert, state, created_ms, expires_ms, attempts, settled_ms, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (sink, key) DO NOTHING",
    )?;
    for sink in telling.spec.sinks_for(notice, telling.only) {
        let delivered = telling.delivered.contains(&(sink.name.clone(), notice.key.clone()));
        let state = if delivered { RowState::Delivered } else { RowState::Pending };
        insert.execute(params![
            sink.name,
            notice.key,
            notice.alert.id,
            state.as_str(),
            notice.at_ms,
            now_ms.saturating_add(expire_after),
            i64::from(delivered),
            delivered.then_some(now_ms),
            body
        ])?;
    }
    Ok(())
}

fn stopped(conn: &Connection) -> rusqlite::Result<Vec<(UnitName, StoppedAt)>> {
    let mut statement = conn.prepare("SELECT substr(key, ?2), value FROM supervisor_meta WHERE key GLOB ?1 || '*'")?;
    let from = i64::try_from(STOPPED.len() + 1).unwrap_or(1);
    let rows = statement.query_map(params![STOPPED, from], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    // What a newer version wrote in another way is nothing to us.
    let named = |row: rusqlite::Result<(String, String)>| {
        row.map(|(name, at)| UnitName::new(&name).ok().zip(serde_json::from_str(&at).ok())).transpose()
    };
    rows.filter_map(named).collect()
}

impl Ledger {
    /// Has sinks that take these notices, and have never had one about their alerts, told of them; how many messages that is.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`]; nothing of it is in the database then.
    pub fn acquaint(&mut self, open: &[Notice], telling: &Telling<'_>) -> Result<usize, StoreError> {
        self.write(|tx| {
            let mut known = tx.prepare("SELECT 1 FROM supervisor_outbox WHERE sink = ?1 AND alert = ?2")?;
            let mut count = 0;
            for notice in open {
                let mut strangers = BTreeSet::new();
                for sink in telling.spec.sinks_for(notice, None) {
                    if !known.exists(params![sink.name, notice.alert.id])? {
                        strangers.insert(sink.name.clone());
                    }
                }
                if !strangers.is_empty() {
                    tell(tx, notice, &Telling { only: Some(&strangers), ..*telling })?;
                    count += strangers.len();
                }
            }
            Ok(count)
        })
    }

    /// What the rules have to know of earlier lives.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn remembered(&self) -> Result<Remembered, StoreError> {
        let remembered = || {
            Ok(Remembered {
                open: read(
                    &self.conn,
                    "SELECT body FROM supervisor_alerts WHERE state <> 'resolved' ORDER BY fired_ms, id",
                    [],
                )?,
                silences: read(&self.conn, "SELECT body FROM supervisor_silences ORDER BY id", [])?,
                kinds: read(&self.conn, "SELECT body FROM supervisor_crash_kinds ORDER BY service, fingerprint", [])?,
                stopped: stopped(&self.conn)?,
            })
        };
        remembered().map_err(|error| self.cannot_read(&error))
    }
}

impl Reader {
    /// The alerts that `filter` lets through, by the time of firing, newest last.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
        let limit = filter.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        self.ask("supervisor_alerts", |conn| {
            let mut found = read(
                conn,
                "SELECT body FROM supervisor_alerts \
                 WHERE state <> 'resolved' OR (NOT ?1 AND resolved_ms >= ?2) ORDER BY fired_ms DESC, id DESC LIMIT ?3",
                params![filter.open, filter.since_ms.unwrap_or(i64::MIN), limit],
            )?;
            found.reverse();
            Ok(found)
        })
    }

    /// The alerts whose id begins like this: people type the first few digits.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn alert(&self, prefix: &str) -> Result<Vec<Alert>, StoreError> {
        self.ask("supervisor_alerts", |conn| {
            let sql = "SELECT body FROM supervisor_alerts WHERE substr(id, 1, length(?1)) = ?1 ORDER BY fired_ms, id";
            read(conn, sql, [prefix])
        })
    }

    /// The kinds of crashes that were seen since then, the newest first.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn crash_kinds(&self, since_ms: i64) -> Result<Vec<CrashKind>, StoreError> {
        self.ask("supervisor_crash_kinds", |conn| {
            let sql = "SELECT body FROM supervisor_crash_kinds WHERE last_ms >= ?1 ORDER BY last_ms DESC, service, fingerprint";
            read(conn, sql, [since_ms])
        })
    }

    /// The silences that are in force.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn silences(&self, now_ms: i64) -> Result<Vec<Silence>, StoreError> {
        self.ask("supervisor_silences", |conn| {
            read(conn, "SELECT body FROM supervisor_silences WHERE until_ms > ?1 ORDER BY id", [now_ms])
        })
    }
}

/// What the first column holds as JSON. What this version cannot read, a newer one has written: it is passed over.
pub(super) fn read<T: DeserializeOwned>(
    conn: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for body in rows {
        found.extend(serde_json::from_str(&body?).ok());
    }
    Ok(found)
}

/// As it stands in a column.
pub(super) fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}
