//! The reading side: for the command line, with and without a daemon, and for the daemon's own questions.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params_from_iter};
use serde_json::Value;

use super::error::{StoreError, StoreErrorKind};
use super::ledger::BUSY_TIMEOUT;
use super::schema;
use crate::model::{EventType, ExitClass, LastExit, RestartCounts, UnitName};

/// The member of a crash's metadata that names the run whose row has the whole of `stderr_tail`, which is the same.
pub(super) const SAME_TAIL: &str = "same_tail_as_run";

/// The member of a row's metadata that names the file with what was seen then, in the folder of evidence.
pub const EVIDENCE: &str = "evidence";

/// Which rows of the ledger; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not older than this, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// Of this service or task only.
    pub service: Option<UnitName>,
    /// Of these types only; empty means all.
    pub event_type: Vec<EventType>,
    /// Those only that name a file of evidence.
    pub evidence: bool,
    /// At most so many, the newest ones.
    pub limit: Option<usize>,
}

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Rises with the order of taking in.
    pub id: i64,
    /// When it happened, milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
    /// What happened; text, as a newer version may know more types than this one.
    pub event_type: String,
    /// To which service or task.
    pub service_name: Option<String>,
    /// In which run.
    pub run_id: Option<u64>,
    /// All members of the record.
    pub metadata: Value,
}

/// The ledger, open for reading only; nothing is made or changed, whoever writes meanwhile is not disturbed.
#[derive(Debug)]
pub struct Reader {
    pub(super) conn: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the database for reading. One without our tables has no rows.
    ///
    /// # Errors
    /// [`StoreErrorKind::Gone`] when there is no file; else see there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(|error| StoreError::io("read", path, &error))? {
            return Err(StoreError::new(StoreErrorKind::Gone, "read", path, "there is no such file"));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).and_then(|conn| {
            conn.busy_timeout(BUSY_TIMEOUT)?;
            // SQLite opens lazily: this is the first look into the file.
            schema::exists(&conn, "supervisor_events")?;
            Ok(conn)
        });
        match opened {
            Ok(conn) => Ok(Self { conn, path: path.to_path_buf() }),
            Err(error) => Err(StoreError::sqlite("read", path, &error)),
        }
    }

    /// The rows that `filter` lets through, by time, newest last.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn events(&self, filter: &Filter) -> Result<Vec<EventRow>, StoreError> {
        let mut rows = Vec::new();
        self.visit(filter, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// The same, one by one, for results that need not fit into memory; `each` may end it early.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn visit(&self, filter: &Filter, each: impl FnMut(EventRow) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.told(visit(&self.conn, filter, each))
    }

    /// Run ends by service, over the ledger's lifetime.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn counters(&self) -> Result<BTreeMap<UnitName, RestartCounts>, StoreError> {
        self.told(counters(&self.conn))
    }

    /// How each service's last run ended.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn last_exits(&self) -> Result<BTreeMap<UnitName, LastExit>, StoreError> {
        self.told(last_exits(&self.conn))
    }

    /// The last line of a runner's journal in this boot that is in the ledger.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn position(&self, runner: &str, boot_id: &str) -> Result<Option<u64>, StoreError> {
        if !self.told(schema::exists(&self.conn, "supervisor_journal"))? {
            return Ok(None);
        }
        let found = self.told(position(&self.conn, runner, boot_id))?;
        Ok(found.and_then(|seq| u64::try_from(seq).ok()))
    }

    /// What `ask` finds in our `table`; nothing where there is no such table.
    pub(super) fn ask<T: Default>(
        &self,
        table: &str,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let exists = schema::exists(&self.conn, table);
        self.told(exists.and_then(|exists| if exists { ask(&self.conn) } else { Ok(T::default()) }))
    }

    pub(super) fn told<T>(&self, outcome: rusqlite::Result<T>) -> Result<T, StoreError> {
        outcome.map_err(|error| StoreError::sqlite("read", &self.path, &error))
    }
}

pub(super) fn position(conn: &Connection, runner: &str, boot_id: &str) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT seq FROM supervisor_journal WHERE runner = ?1 AND boot_id = ?2";
    conn.query_row(sql, [runner, boot_id], |row| row.get(0)).optional()
}

fn visit(
    conn: &Connection,
    filter: &Filter,
    mut each: impl FnMut(EventRow) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    if !schema::exists(conn, "supervisor_events")? {
        return Ok(());
    }
    let (sql, values) = select(filter);
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        if each(event_row(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

fn select(filter: &Filter) -> (String, Vec<Sql>) {
    let mut conditions = vec!["1".to_owned()];
    let mut values = Vec::new();
    if let Some(since) = filter.since_ms {
        conditions.push("timestamp_ms >= ?".into());
        values.push(Sql::Integer(since));
    }
    if let Some(service) = &filter.service {
        conditions.push("service_name = ?".into());
        values.push(Sql::Text(service.to_string()));
    }
    if !filter.event_type.is_empty() {
        let marks = vec!["?"; filter.event_type.len()].join(", ");
        conditions.push(format!("event_type IN ({marks})"));
        values.extend(filter.event_type.iter().map(|kind| Sql::Text(kind.as_str().to_owned())));
    }
    if filter.evidence {
        // What is no JSON would be an error rather than no match.
        let named = format!("json_type(metadata, '$.{EVIDENCE}') = 'text'");
        conditions.push(format!("CASE WHEN json_valid(metadata) THEN {named} END"));
    }
    let columns = "id, timestamp_ms, event_type, service_name, run_id, metadata";
    let rows = format!("SELECT {columns} FROM supervisor_events WHERE {}", conditions.join(" AND "));
    let sql = match filter.limit {
        None => format!("{rows} ORDER BY timestamp_ms, id"),
        Some(limit) => {
            values.push(Sql::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
            format!("SELECT * FROM ({rows} ORDER BY timestamp_ms DESC, id DESC LIMIT ?) ORDER BY timestamp_ms, id")
        }
    };
    (sql, values)
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let metadata: String = row.get(5)?;
    Ok(EventRow {
        id: row.get(0)?,
        timestamp_ms: row.get(1)?,
        event_type: row.get(2)?,
        service_name: row.get(3)?,
        run_id: row.get::<_, Option<i64>>(4)?.and_then(|id| u64::try_from(id).ok()),
        // We write JSON only; what somebody else made of it is shown as it is.
        metadata: serde_json::from_str(&metadata).unwrap_or(Value::String(metadata)),
    })
}

/// What a class is called in the database; `None` for one of a newer version.
pub(super) fn class_named(name: &str) -> Option<ExitClass> {
    ExitClass::ALL.into_iter().find(|class| class.as_str() == name)
}

pub(super) fn counters(conn: &Connection) -> rusqlite::Result<BTreeMap<UnitName, RestartCounts>> {
    let mut found: BTreeMap<UnitName, RestartCounts> = BTreeMap::new();
    if !schema::exists(conn, "supervisor_counters")? {
        return Ok(found);
    }
    let mut statement = conn.prepare("SELECT service, class, count FROM supervisor_counters")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (service, class, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if let (Ok(service), Some(class)) = (UnitName::new(&service), class_named(&class)) {
            *found.entry(service).or_default().of(class) = count.unsigned_abs();
        }
    }
    Ok(found)
}

pub(super) fn last_exits(conn: &Connection) -> rusqlite::Result<BTreeMap<UnitName, LastExit>> {
    let mut found = BTreeMap::new();
    if !schema::exists(conn, "supervisor_last_exits")? {
        return Ok(found);
    }
    let mut statement = conn.prepare("SELECT service, class, code, signal, at_ms FROM supervisor_last_exits")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (service, class): (String, String) = (row.get(0)?, row.get(1)?);
        if let (Ok(service), Some(class)) = (UnitName::new(&service), class_named(&class)) {
            let code = row.get::<_, Option<i64>>(2)?.and_then(|code| i32::try_from(code).ok());
            let exit = LastExit { class, code, signal: row.get(3)?, at_ms: row.get(4)?, out_of_memory: None };
            found.insert(service, exit);
        }
    }
    Ok(found)
}
