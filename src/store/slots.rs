//! What became of each slot of the calendar jobs: one row each, made from what runs and the daemon put on record, in the same
//! transaction.
//!
//! A run's word is final once: the daemon may have ended a run for dead whose own last word comes in later, or the other way
//! round. A slot that was told to be missed can still be run, and then it is the run that counts.

use std::collections::BTreeMap;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params, params_from_iter};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::StoreError;
use super::ledger::Ledger;
use super::query::Reader;
use crate::model::{EventType, Record, SlotKey, SlotRow, SlotState, UnitName};

const COLUMNS: &str = "task, slot, due_ms, state, \"trigger\", timing, started_ms, ended_ms, awake_ms, frozen_ms, why, \
                       made_up_by, resumes, steps, pid";

/// Which rows; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotFilter {
    /// Of this job only.
    pub task: Option<UnitName>,
    /// Due, or asked for, not earlier than this: milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// Only those that ended as one of these; empty means all, also what is under way.
    pub states: Vec<SlotState>,
    /// At most so many, the latest ones.
    pub limit: Option<usize>,
}

/// How many slots of each job ended as what.
pub type SlotCounts = BTreeMap<UnitName, BTreeMap<SlotState, u64>>;

/// How a job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastSlots {
    /// The latest slot that has ended; one that was left out because the run before went on is none.
    pub ended: Option<SlotRow>,
    /// The latest whose run is under way, as far as is on record.
    pub under_way: Option<SlotRow>,
}

impl LastSlots {
    /// Both.
    pub fn into_rows(self) -> Vec<SlotRow> {
        self.ended.into_iter().chain(self.under_way).collect()
    }
}

impl Reader {
    /// The slots that `filter` lets through, by time, latest last.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn slots(&self, filter: &SlotFilter) -> Result<Vec<SlotRow>, StoreError> {
        self.ask("supervisor_slots", |conn| {
            let (sql, values) = select(filter);
            let mut statement = conn.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(values), slot_row)?;
            // What cannot be read is of a newer version.
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// How each job stands that has a slot on record.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn last_slots(&self) -> Result<BTreeMap<UnitName, LastSlots>, StoreError> {
        self.ask("supervisor_slots", last_slots)
    }

    /// How many slots of each job that were due, or asked for, from `from_ms` to before `to_ms` ended as what; those under way
    /// are not counted.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn slot_counts(&self, from_ms: i64, to_ms: i64) -> Result<SlotCounts, StoreError> {
        let sql = "SELECT task, state, count(*) FROM supervisor_slots WHERE state IS NOT NULL AND due_ms >= ?1 AND due_ms < ?2 \
                   GROUP BY 1, 2";
        self.ask("supervisor_slots", |conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([from_ms, to_ms])?;
            let mut found: SlotCounts = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let (task, state, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (Ok(task), Some(state)) = (UnitName::new(&task), SlotState::parse(&state)) else { continue };
                found.entry(task).or_default().insert(state, count.unsigned_abs());
            }
            Ok(found)
        })
    }
}

impl Ledger {
    /// How each job stands that has a slot on record.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn last_slots(&self) -> Result<BTreeMap<UnitName, LastSlots>, StoreError> {
        last_slots(&self.conn).map_err(|error| self.cannot_read(&error))
    }
}

fn last_slots(conn: &Connection) -> rusqlite::Result<BTreeMap<UnitName, LastSlots>> {
    // From one name to the next: a job that runs each minute has thousands of rows.
    let names = "WITH RECURSIVE names (task) AS (SELECT min(task) FROM supervisor_slots UNION ALL \
                 SELECT (SELECT min(task) FROM supervisor_slots WHERE task > names.task) FROM names WHERE task IS NOT NULL) \
                 SELECT task FROM names WHERE task IS NOT NULL";
    let latest = |which: &str| {
        format!(
            "SELECT {COLUMNS} FROM supervisor_slots WHERE task = ?1 AND {which} ORDER BY due_ms DESC, slot DESC LIMIT 1"
        )
    };
    let mut names = conn.prepare(names)?;
    let mut ended = conn.prepare(&latest(&format!("state <> '{}'", SlotState::SkippedOverlap.as_str())))?;
    let mut under_way = conn.prepare(&latest("state IS NULL"))?;
    let mut found = BTreeMap::new();
    for task in names.query_map([], |row| row.get::<_, String>(0))? {
        let task = task?;
        let one = |statement: &mut Statement<'_>| statement.query_row([&task], slot_row).optional();
        let last = LastSlots { ended: one(&mut ended)?.flatten(), under_way: one(&mut under_way)?.flatten() };
        if let Ok(task) = UnitName::new(&task) {
            found.insert(task, last);
        }
    }
    Ok(found)
}

/// Takes in what a record says of slots; whether it says anything that is not on record yet.
pub(super) fn take(tx: &Connection, record: &Record) -> rusqlite::Result<bool> {
    let Some(task) = &record.service else { return Ok(true) };
    match (record.event, get::<SlotKey>(&record.data, "slot")) {
        (EventType::TaskStarted, Some(slot)) => started(tx, task, slot, record).map(|()| true),
        (EventType::TaskFinished, Some(slot)) => finished(tx, task, slot, record),
        (EventType::TaskMissed, Some(_)) => missed(tx, task, record),
        _ => Ok(true),
    }
}

fn started(tx: &Connection, task: &UnitName, slot: SlotKey, record: &Record) -> rusqlite::Result<()> {
    let data = &record.data;
    // A row without a trigger is of a missed slot, which is run after all. One that has ended stays so: its start was taken in
    // after its end, which was in another journal.
    tx.prepare(
        "INSERT INTO supervisor_slots (task, slot, due_ms, extra, \"trigger\", timing, started_ms, resumes, pid) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (task, slot) DO UPDATE SET \
         state = CASE WHEN \"trigger\" IS NULL THEN NULL ELSE state END, \
         ended_ms = CASE WHEN \"trigger\" IS NULL THEN NULL ELSE ended_ms END, \
         why = CASE WHEN \"trigger\" IS NULL THEN '' ELSE why END, \
         made_up_by = CASE WHEN \"trigger\" IS NULL THEN NULL ELSE made_up_by END, \
         \"trigger\" = excluded.\"trigger\", timing = excluded.timing, started_ms = excluded.started_ms, \
         resumes = excluded.resumes, pid = excluded.pid",
    )?
    .execute(params![
        task.as_str(),
        slot.to_string(),
        slot.at_ms(),
        matches!(slot, SlotKey::Extra(_)),
        // Whose run it is tells that there is one, so it is never empty.
        text(data, "trigger").unwrap_or(UNTOLD),
        text(data, "timing"),
        record.wall_ms,
        text(data, "resumes"),
        get::<i32>(data, "pid"),
    ])?;
    Ok(())
}

/// In the place of a trigger that a record does not tell.
const UNTOLD: &str = "unknown";

fn finished(tx: &Connection, task: &UnitName, slot: SlotKey, record: &Record) -> rusqlite::Result<bool> {
    let data = &record.data;
    let Some(state) = get::<SlotState>(data, "result") else { return Ok(true) };
    let key = params![task.as_str(), slot.to_string()];
    let is_final = "SELECT 1 FROM supervisor_slots WHERE task = ?1 AND slot = ?2 AND state IS NOT NULL AND \"trigger\" IS NOT NULL";
    if tx.prepare(is_final)?.exists(key)? {
        return Ok(false);
    }
    let wall_ms = get::<i64>(data, "wall_ms");
    let steps = data.get("steps").filter(|steps| steps.is_array()).map(Value::to_string);
    tx.prepare(
        "INSERT INTO supervisor_slots (task, slot, due_ms, extra, state, \"trigger\", timing, started_ms, ended_ms, awake_ms, \
         frozen_ms, why, steps) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
         ON CONFLICT (task, slot) DO UPDATE SET state = excluded.state, \
         \"trigger\" = CASE WHEN excluded.\"trigger\" = ?14 THEN coalesce(\"trigger\", ?14) ELSE excluded.\"trigger\" END, \
         timing = coalesce(excluded.timing, timing), started_ms = coalesce(started_ms, excluded.started_ms), \
         ended_ms = excluded.ended_ms, awake_ms = excluded.awake_ms, frozen_ms = excluded.frozen_ms, why = excluded.why, \
         made_up_by = NULL, steps = excluded.steps",
    )?
    .execute(params![
        task.as_str(),
        slot.to_string(),
        slot.at_ms(),
        matches!(slot, SlotKey::Extra(_)),
        state.as_str(),
        text(data, "trigger").unwrap_or(UNTOLD),
        text(data, "timing"),
        wall_ms.map(|wall_ms| record.wall_ms - wall_ms),
        record.wall_ms,
        get::<i64>(data, "awake_ms"),
        get::<i64>(data, "frozen_ms"),
        text(data, "why").unwrap_or_default(),
        steps.as_deref().unwrap_or("[]"),
        UNTOLD,
    ])?;
    Ok(true)
}

fn missed(tx: &Connection, task: &UnitName, record: &Record) -> rusqlite::Result<bool> {
    let data = &record.data;
    let (Some(state), Some(slots)) = (get::<SlotState>(data, "result"), get::<Vec<i64>>(data, "slots")) else {
        return Ok(true);
    };
    let mut insert = tx.prepare(
        "INSERT INTO supervisor_slots (task, slot, due_ms, extra, state, ended_ms, why, made_up_by) \
         VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7) ON CONFLICT (task, slot) DO NOTHING",
    )?;
    let mut new = 0;
    for ms in slots {
        new += insert.execute(params![
            task.as_str(),
            SlotKey::Due(ms).to_string(),
            ms,
            state.as_str(),
            record.wall_ms,
            text(data, "why").unwrap_or_default(),
            text(data, "made_up_by"),
        ])?;
    }
    Ok(new > 0)
}

fn text<'a>(data: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    data.get(key).and_then(Value::as_str)
}

fn get<T: DeserializeOwned>(data: &Map<String, Value>, key: &str) -> Option<T> {
    T::deserialize(data.get(key)?).ok()
}

fn select(filter: &SlotFilter) -> (String, Vec<Sql>) {
    let mut conditions = vec!["1".to_owned()];
    let mut values = Vec::new();
    if let Some(task) = &filter.task {
        conditions.push("task = ?".into());
        values.push(Sql::Text(task.to_string()));
    }
    if let Some(since_ms) = filter.since_ms {
        conditions.push("due_ms >= ?".into());
        values.push(Sql::Integer(since_ms));
    }
    if !filter.states.is_empty() {
        let marks = vec!["?"; filter.states.len()].join(", ");
        conditions.push(format!("state IN ({marks})"));
        values.extend(filter.states.iter().map(|state| Sql::Text(state.as_str().to_owned())));
    }
    let rows = format!("SELECT {COLUMNS} FROM supervisor_slots WHERE {}", conditions.join(" AND "));
    let limit = filter.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    values.push(Sql::Integer(limit));
    let sql = format!(
        "SELECT * FROM ({rows} ORDER BY due_ms DESC, task DESC, slot DESC LIMIT ?) ORDER BY due_ms, task, slot"
    );
    (sql, values)
}

/// `None` for one that this version cannot read.
fn slot_row(row: &Row<'_>) -> rusqlite::Result<Option<SlotRow>> {
    let word = |column| row.get::<_, Option<String>>(column);
    let state = word(3)?;
    let (Ok(task), Some(slot)) = (UnitName::new(&row.get::<_, String>(0)?), SlotKey::parse(&row.get::<_, String>(1)?))
    else {
        return Ok(None);
    };
    let known = state.as_deref().map(SlotState::parse);
    if known == Some(None) {
        return Ok(None);
    }
    let steps = word(13)?.and_then(|steps| serde_json::from_str(&steps).ok());
    let length = |column| row.get::<_, Option<i64>>(column).map(|ms| ms.and_then(|ms| u64::try_from(ms).ok()));
    Ok(Some(SlotRow {
        task,
        slot,
        due_ms: row.get(2)?,
        state: known.flatten(),
        trigger: of_word(word(4)?),
        timing: of_word(word(5)?),
        started_ms: row.get(6)?,
        ended_ms: row.get(7)?,
        awake_ms: length(8)?,
        frozen_ms: length(9)?,
        why: row.get(10)?,
        made_up_by: of_word(word(11)?),
        resumes: of_word(word(12)?),
        steps: steps.unwrap_or_default(),
        pid: row.get(14)?,
    }))
}

fn of_word<T: DeserializeOwned>(word: Option<String>) -> Option<T> {
    serde_json::from_value(Value::String(word?)).ok()
}

/// Rows in one transaction.
const BATCH: i64 = 500;

/// So many of the latest slots of each job stay however old they are: what a job that runs monthly did is asked for years later.
const STAY: i64 = 400;

/// More are kept of no job.
const MOST: i64 = 20_000;

/// Deletes slots that ended and were due before `oldest_ms`, or are too many.
pub(super) fn prune(conn: &Connection, oldest_ms: i64) -> rusqlite::Result<usize> {
    let mut delete = conn.prepare(
        "DELETE FROM supervisor_slots WHERE (task, slot) IN (SELECT task, slot FROM (SELECT task, slot, due_ms, state, \
         row_number() OVER (PARTITION BY task ORDER BY due_ms DESC, slot DESC) AS place FROM supervisor_slots) \
         WHERE state IS NOT NULL AND (place > ?1 OR (place > ?2 AND due_ms < ?3)) LIMIT ?4)",
    )?;
    // Each statement is a transaction of its own.
    let mut gone = 0;
    loop {
        match delete.execute(params![MOST, STAY, oldest_ms, BATCH])? {
            0 => return Ok(gone),
            count => gone += count,
        }
    }
}
