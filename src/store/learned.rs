//! What former runs teach: how long starts take, and how soon a service hangs.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use super::alerts::AlertFilter;
use super::error::StoreError;
use super::query::Reader;
use crate::model::{Alert, EventType, Hang, Learned, Rule, Told, UnitName};

/// So many starts and so many hangs are looked at.
const MOST: usize = 20;

/// Rows that are read of one service, so that a ledger of any size is read in no time.
const ROWS: i64 = 200;

/// A run's start stands at most so many rows of its service before the row that says that it is ready.
const START_WITHIN: i64 = 1000;

/// The newest rows. The condition is that of the index `supervisor_events_learned`, to the letter: else it is not used.
pub(super) const NEWEST: &str = "SELECT timestamp_ms, event_type, run_id, metadata FROM supervisor_events \
    WHERE service_name = ?1 AND event_type IN ('service_ready', 'service_hung') ORDER BY id DESC LIMIT ?2";

/// The start of a run, among the rows before this time.
pub(super) const START: &str = "SELECT metadata FROM (SELECT event_type, run_id, metadata FROM supervisor_events \
    WHERE service_name = ?1 AND timestamp_ms <= ?2 ORDER BY timestamp_ms DESC, id DESC LIMIT ?3) \
    WHERE event_type = ?4 AND run_id = ?5 LIMIT 1";

impl Reader {
    /// What the ledger knows of former starts and hangs, for each of these services that has any rows.
    ///
    /// Starts of a program that is not the one which came up the time before are left out; the first start ever known is not.
    /// A hang that was told more than once counts once, and one that was over before its restart not at all.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn learned(&self, names: &[UnitName]) -> Result<BTreeMap<UnitName, Learned>, StoreError> {
        self.ask("supervisor_events", |conn| {
            let mut all = BTreeMap::new();
            for name in names {
                let learned = learned(conn, name)?;
                if learned != Learned::default() {
                    all.insert(name.clone(), learned);
                }
            }
            Ok(all)
        })
        .and_then(|mut all: BTreeMap<UnitName, Learned>| {
            let open = AlertFilter { open: true, ..AlertFilter::default() };
            for alert in self.alerts(&open)? {
                if let Some(name) = alert.service.as_ref().filter(|name| names.contains(name)) {
                    tell(&mut all.entry(name.clone()).or_default().told, &alert);
                }
            }
            Ok(all)
        })
    }
}

/// What of an open alert is over when a probe says so.
fn tell(told: &mut Told, alert: &Alert) {
    match (alert.rule, alert.cause) {
        (Rule::ProbeMisconfigured, _) => told.misasked = true,
        (Rule::StartTimeout, None) => told.start = true,
        (Rule::PartFailing, _) => {
            told.parts.extend(alert.memory.get("part").and_then(Value::as_str).map(str::to_owned))
        }
        _ => {}
    }
}

/// A row of `service_ready` or `service_hung`.
struct Row {
    at_ms: i64,
    event: Option<EventType>,
    run_id: Option<i64>,
    data: Map<String, Value>,
}

impl Row {
    fn lasting(&self, key: &str) -> Option<Duration> {
        self.data.get(key).and_then(Value::as_u64).map(Duration::from_millis)
    }
}

fn learned(conn: &Connection, name: &UnitName) -> rusqlite::Result<Learned> {
    let mut statement = conn.prepare(NEWEST)?;
    let rows = statement.query_map(params![name.as_str(), ROWS], |row| {
        let (event, metadata): (String, String) = (row.get(1)?, row.get(3)?);
        Ok(Row {
            at_ms: row.get(0)?,
            event: EventType::parse(&event),
            run_id: row.get(2)?,
            data: serde_json::from_str(&metadata).unwrap_or_default(),
        })
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<Row>>>()?;
    let of = |event| rows.iter().filter(move |row| row.event == Some(event));

    let mut ups = Vec::new();
    // One more than counts: what the oldest of them is compared with.
    for row in of(EventType::ServiceReady).take(MOST + 1) {
        ups.push((row.lasting("start_ms"), program(conn, name, row)?));
    }
    let is_first_of_program = |at: usize| match (&ups[at].1, ups.get(at + 1)) {
        (Some(program), Some((_, Some(before)))) => program != before,
        _ => false,
    };
    let mut starts: Vec<Duration> =
        (0..ups.len().min(MOST)).filter(|at| !is_first_of_program(*at)).filter_map(|at| ups[at].0).collect();
    starts.reverse();

    let mut hangs: Vec<(Option<i64>, Hang)> = Vec::new();
    // From the oldest on: what is told first dates the hang.
    for row in of(EventType::ServiceHung).collect::<Vec<_>>().into_iter().rev() {
        let is_of_run = |(run, _): &(Option<i64>, Hang)| run.is_some() && *run == row.run_id;
        if row.data.get("cleared") == Some(&Value::Bool(true)) {
            // It answered again, and no restart was tried for it.
            hangs.retain(|hang| !is_of_run(hang));
        } else if !hangs.iter().any(is_of_run)
            && let Some(after) = row.lasting("uptime_ms")
        {
            let run_id = row.run_id.and_then(|run| u64::try_from(run).ok()).unwrap_or(0);
            hangs.push((row.run_id, Hang { run_id, at_ms: row.at_ms, after }));
        }
    }
    let mut hangs: Vec<Hang> = hangs.into_iter().map(|(_, hang)| hang).collect();
    hangs.drain(..hangs.len().saturating_sub(MOST));
    let program = ups.into_iter().next().and_then(|(_, program)| program);
    Ok(Learned { starts, program, hangs, told: Told::default() })
}

/// Which state of which program the run was that this row says is ready, as its start has it.
fn program(conn: &Connection, name: &UnitName, ready: &Row) -> rusqlite::Result<Option<String>> {
    let mut statement = conn.prepare(START)?;
    let start = EventType::ServiceStart.as_str();
    let asked = params![name.as_str(), ready.at_ms, START_WITHIN, start, ready.run_id];
    let found: Option<String> = statement.query_row(asked, |row| row.get(0)).optional()?;
    let data: Option<Map<String, Value>> = found.and_then(|text: String| serde_json::from_str(&text).ok());
    Ok(data.and_then(|data| data.get("program_id").and_then(Value::as_str).map(str::to_owned)))
}
