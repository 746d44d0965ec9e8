//! The shared table `events`, which may have been made by somebody else, in another shape.
//!
//! Two shapes are known in the wild: `(timestamp INTEGER in ms, category, event_type, service_name, metadata)` and
//! `(trace_id, timestamp TEXT in ISO 8601, category, action, metadata)`; readers of the second also know `source` and
//! `error`. We fill what we know and leave the rest to its default. Where that cannot be done without inventing values,
//! rows stand in `supervisor_events` only, and a note says so.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

/// The shape that we make where there is none (CONTRACT).
const TABLE: &str = "CREATE TABLE events (id INTEGER PRIMARY KEY, timestamp INTEGER, category TEXT, event_type TEXT, \
                     service_name TEXT, metadata TEXT)";

/// What our own records are about.
pub(super) const OWN_CATEGORY: &str = "system";

/// Whose rows these are, in columns that ask for it.
const SELF: &str = "supervisor";

/// What a row of ours says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) category: &'a str,
    pub(super) event_type: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) metadata: &'a str,
}

/// What we put into one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Millis,
    Iso,
    Category,
    EventType,
    Service,
    /// As `Service`, where something must be said: our own events have no service.
    ServiceOrSelf,
    Metadata,
    Source,
}

impl Fill {
    fn value(self, told: &Told<'_>) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        match self {
            Self::Millis => Value::Integer(told.timestamp_ms),
            Self::Iso => Value::Text(iso(told.timestamp_ms)),
            Self::Category => text(told.category),
            Self::EventType => text(told.event_type),
            Self::Service => told.service.map_or(Value::Null, text),
            Self::ServiceOrSelf => text(told.service.unwrap_or(SELF)),
            Self::Metadata => text(told.metadata),
            Self::Source => text(SELF),
        }
    }
}

/// How rows are written to `events`, and taken out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    fills: Vec<Fill>,
    /// The statement for `insert`.
    pub(super) insert_sql: String,
    /// The statement for `delete`; `None` where a row cannot be told from others.
    pub(super) delete_sql: Option<String>,
}

impl Mirror {
    /// Writes one row; gives its rowid where it has one that can be found again.
    pub(super) fn insert(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        told: &Told<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let rowid = statement.insert(params_from_iter(self.fills.iter().map(|fill| fill.value(told))))?;
        Ok(self.delete_sql.is_some().then_some(rowid))
    }

    /// Deletes the row if it still is what we wrote.
    pub(super) fn delete(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        rowid: i64,
        told: &Told<'_>,
    ) -> rusqlite::Result<usize> {
        let values = self.fills.iter().map(|fill| fill.value(told));
        statement.execute(params_from_iter(std::iter::once(Value::Integer(rowid)).chain(values)))
    }
}

/// What is known of `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    /// `None`: rows stand in `supervisor_events` only.
    pub(super) mirror: Option<Mirror>,
    /// What people should know; `None` for the shape of the contract.
    pub(super) note: Option<String>,
    /// `PRAGMA schema_version` at the time of looking.
    pub(super) version: i64,
}

impl Foreign {
    /// The same table, which takes no rows of ours because of what hangs on it.
    pub(super) fn shut(&self, why: &str) -> Self {
        let note = format!("`events` takes no rows of ours ({why}); they stand in supervisor_events only");
        Self { mirror: None, note: Some(note), version: self.version }
    }
}

/// The number that changes with every change of any table.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA schema_version", [], |row| row.get(0))
}

/// Makes `events` if there is nothing of that name, and looks at it; to be called inside a transaction.
pub(super) fn prepare(tx: &Connection) -> rusqlite::Result<Foreign> {
    if !super::schema::exists(tx, "events")? {
        tx.execute_batch(TABLE)?;
    }
    let (mirror, note) = match inspect(tx)? {
        Ok((mirror, note)) => (Some(mirror), note),
        Err(why) => (None, Some(format!("{why}; rows stand in supervisor_events only"))),
    };
    Ok(Foreign { mirror, note, version: version(tx)? })
}

/// What people should know about a table `events` that is there; for whoever only reads.
pub(super) fn look(conn: &Connection) -> rusqlite::Result<Option<String>> {
    if !super::schema::exists(conn, "events")? {
        return Ok(None);
    }
    Ok(match inspect(conn)? {
        Ok((_, note)) => note,
        Err(why) => Some(format!("{why}; rows stand in supervisor_events only")),
    })
}

struct Column {
    name: String,
    declared: String,
    not_null: bool,
    has_default: bool,
    in_key: bool,
}

fn inspect(conn: &Connection) -> rusqlite::Result<Result<(Mirror, Option<String>), String>> {
    let sql = "SELECT type, wr FROM pragma_table_list('events') WHERE schema = 'main'";
    let found = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let without_rowid: bool = match found {
        Some((kind, without_rowid)) if String::as_str(&kind) == "table" => without_rowid,
        Some((kind, _)) => return Ok(Err(format!("`events` is a {kind}, not a plain table"))),
        None => return Ok(Err("`events` is no table".into())),
    };
    let columns = columns(conn)?;
    let key = columns.iter().filter(|column| column.in_key).count();
    let mut fills = Vec::new();
    for column in &columns {
        // The rowid by another name fills itself.
        let is_rowid = column.in_key && key == 1 && !without_rowid && column.declared.eq_ignore_ascii_case("integer");
        if is_rowid {
            continue;
        }
        let must = column.not_null || (column.in_key && without_rowid);
        match fill_for(conn, column, must)? {
            Some(fill) => fills.push((column.name.as_str(), fill)),
            None if must && !column.has_default => {
                return Ok(Err(format!(
                    "`events` has a column {:?} that must be filled, and we know no value for it",
                    column.name
                )));
            }
            None => {}
        }
    }
    if !fills.iter().any(|(_, fill)| *fill == Fill::EventType) {
        return Ok(Err("`events` has neither a column event_type nor action".into()));
    }
    let rowid = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|alias| !without_rowid && columns.iter().all(|column| !column.name.eq_ignore_ascii_case(alias)));
    Ok(Ok((mirror(&fills, rowid), note(&fills))))
}

fn columns(conn: &Connection) -> rusqlite::Result<Vec<Column>> {
    // Generated and hidden columns are not listed by table_info, and cannot be filled.
    let mut statement =
        conn.prepare("SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk FROM pragma_table_info('events')")?;
    let rows = statement.query_map([], |row| {
        Ok(Column {
            name: row.get(0)?,
            declared: row.get(1)?,
            not_null: row.get(2)?,
            has_default: row.get(3)?,
            in_key: row.get::<_, i64>(4)? > 0,
        })
    })?;
    rows.collect()
}

fn fill_for(conn: &Connection, column: &Column, must: bool) -> rusqlite::Result<Option<Fill>> {
    Ok(Some(match column.name.to_ascii_lowercase().as_str() {
        "timestamp" => timestamp_fill(conn, &column.declared)?,
        "category" => Fill::Category,
        "event_type" | "action" => Fill::EventType,
        "service_name" if must => Fill::ServiceOrSelf,
        "service_name" => Fill::Service,
        "metadata" => Fill::Metadata,
        "source" => Fill::Source,
        _ => return Ok(None),
    }))
}

/// Milliseconds or text? The declared type says it (SQLite's own rules of affinity); where it does not, the rows that
/// are there do.
fn timestamp_fill(conn: &Connection, declared: &str) -> rusqlite::Result<Fill> {
    let declared = declared.to_ascii_uppercase();
    let says = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if says(&["INT"]) {
        return Ok(Fill::Millis);
    }
    if says(&["CHAR", "CLOB", "TEXT"]) {
        return Ok(Fill::Iso);
    }
    let sql = "SELECT typeof(\"timestamp\") FROM \"events\" WHERE \"timestamp\" IS NOT NULL LIMIT 1";
    let stored: Option<String> = conn.query_row(sql, [], |row| row.get(0)).optional()?;
    let as_text = stored.map_or_else(|| says(&["DATE", "TIME"]), |stored| stored == "text");
    Ok(if as_text { Fill::Iso } else { Fill::Millis })
}

fn mirror(fills: &[(&str, Fill)], rowid: Option<&str>) -> Mirror {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<String> = fills.iter().map(|(name, _)| quoted(name)).collect();
    let marks: Vec<String> = (1..=fills.len()).map(|n| format!("?{n}")).collect();
    // OR ABORT overrides what the table's own constraints say: ON CONFLICT REPLACE would delete other people's rows.
    let insert_sql = format!("INSERT OR ABORT INTO \"events\" ({}) VALUES ({})", names.join(", "), marks.join(", "));
    let delete_sql = rowid.map(|rowid| {
        let same: String = names.iter().zip(2..).map(|(name, n)| format!(" AND {name} IS ?{n}")).collect();
        format!("DELETE FROM \"events\" WHERE {rowid} = ?1{same}")
    });
    Mirror { fills: fills.iter().map(|(_, fill)| *fill).collect(), insert_sql, delete_sql }
}

/// Says which columns are filled where the shape is not the contract's.
fn note(fills: &[(&str, Fill)]) -> Option<String> {
    let ours = ["timestamp", "category", "event_type", "service_name", "metadata"];
    let has = |name: &&str| fills.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
    let is_iso = fills.iter().any(|(_, fill)| *fill == Fill::Iso);
    if ours.iter().all(has) && !is_iso {
        return None;
    }
    let filled: Vec<&str> = fills.iter().map(|(name, _)| *name).collect();
    let form = if is_iso { " (timestamp as ISO 8601 text)" } else { "" };
    Some(format!(
        "`events` was made by another program; filled are {}{form}; everything stands in supervisor_events",
        filled.join(", ")
    ))
}

/// ISO 8601 in UTC with milliseconds, as JavaScript's `toISOString` writes it.
fn iso(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}
