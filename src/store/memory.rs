//! The history of memory: samples for 48 h, the least of each 15 minutes for 10 days, the least of each hour for a year; and the
//! detectors' state.
//!
//! A sample and the stretches that it is in are written in one transaction, the stretches as minima over what is there
//! already: a daemon that begins anew goes on where the last one ended, and a sample that is delivered again changes nothing.
//! Each row belongs to one life in one metric, so that no stretch is the least of two things.
//!
//! Decision, bounds: by age, and by number for each service and form (`FORMS`). A service that is sampled each second has
//! 20,000 samples in 5.5 h; the oldest are dropped, not thinned, as the least of 15 minutes stand for them.
//!
//! Decision, pruning: with each sample at most two rows of each form go for their age, whosever they are, and rows are
//! counted once in 256 samples of a service. Nobody waits for a large delete, what a service leaves behind that is gone is
//! dropped while others are sampled, and a clock that is wrong for an hour costs hours of the far end, not all of it.
//!
//! Decision, clocks: age is told by the earlier of two clocks, the wall clock and the one that it was when the ledger was opened,
//! gone on with the machine's own. What lies in the future (the clock was put back) is no reason to delete it: it goes by
//! number, and number goes by the order in which rows came, which no wall clock changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::error::StoreError;
use super::ledger::Ledger;
use super::query::Reader;
use crate::model::{Life, MemorySample, Metric, Moment, Mono, ProcessMemory, UnitName};

/// A sample as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptSample {
    /// Of which service.
    pub service: UnitName,
    /// In which run.
    pub run_id: u64,
    /// Of which life of its main process.
    pub life: Life,
    /// The sample.
    pub sample: MemorySample,
}

/// One number of the history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistoryPoint {
    /// When (of a stretch: when it began), milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// How long a stretch it is the least of, milliseconds; 0 for a sample.
    pub span_ms: i64,
    /// In which run.
    pub run_id: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A form in which numbers are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// The stretch that one is the least of, milliseconds; 0 for samples.
    pub(super) span_ms: i64,
    /// How old one may get, milliseconds.
    pub(super) kept_ms: i64,
    /// How many there may be of a service, beside those that came since they were last counted.
    pub(super) most: u32,
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// From the finest on; each stretch is a whole number of those before it.
pub(super) const FORMS: [Form; 3] = [
    Form { span_ms: 0, kept_ms: 48 * HOUR_MS, most: 20_000 },
    Form { span_ms: 15 * MINUTE_MS, kept_ms: 10 * DAY_MS, most: 5_000 },
    Form { span_ms: HOUR_MS, kept_ms: 365 * DAY_MS, most: 20_000 },
];

/// So many samples of a service come before its rows are counted again.
pub(super) const COUNTED_EVERY: u32 = 256;

/// So many rows of each form may go for their age with each sample.
const DROPPED_WITH_ONE: usize = 2;

/// What an open ledger knows of its pruning.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    /// What the wall clock showed at the machine's start, as it was when the first samples came, milliseconds since 1970 UTC.
    boot_ms: Option<i64>,
    /// Samples of each service since its rows were counted.
    uncounted: BTreeMap<UnitName, u32>,
}

impl Pruning {
    /// The earlier of the two clocks: a wall clock that was set far ahead makes nothing old.
    fn now_ms(&mut self, now_ms: i64, boot_ns: u64) -> i64 {
        let up_ms = i64::try_from(boot_ns / 1_000_000).unwrap_or(i64::MAX);
        let boot_ms = *self.boot_ms.get_or_insert(now_ms.saturating_sub(up_ms));
        now_ms.min(boot_ms.saturating_add(up_ms))
    }

    /// Whose rows are to be counted, with these samples.
    fn due<'a>(&mut self, samples: &'a [KeptSample]) -> BTreeSet<&'a UnitName> {
        let mut due = BTreeSet::new();
        for KeptSample { service, .. } in samples {
            // The first after an open counts, else a daemon that begins anew often would never.
            let uncounted = self.uncounted.entry(service.clone()).or_insert(COUNTED_EVERY);
            *uncounted += 1;
            if *uncounted > COUNTED_EVERY {
                *uncounted = 0;
                due.insert(service);
            }
        }
        due
    }
}

impl Ledger {
    /// Keeps samples, and the least of the stretches they are in; drops what is too old. One transaction.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn keep_memory(&mut self, samples: &[KeptSample], now_ms: i64) -> Result<(), StoreError> {
        self.keep_within(samples, now_ms, &FORMS)
    }

    pub(super) fn keep_within(
        &mut self,
        samples: &[KeptSample],
        now_ms: i64,
        forms: &[Form; 3],
    ) -> Result<(), StoreError> {
        let Some(last) = samples.last() else { return Ok(()) };
        let now_ms = self.pruning.now_ms(now_ms, last.sample.at.boot_ns);
        let due = self.pruning.due(samples);
        self.write(|tx| {
            keep(tx, samples, forms)?;
            let mut touched = BTreeSet::new();
            for form in forms {
                drop_old(tx, form, now_ms, samples.len().saturating_mul(DROPPED_WITH_ONE), &mut touched)?;
                for service in &due {
                    drop_surplus(tx, service, form, &mut touched)?;
                }
            }
            drop_lives(tx, &touched)
        })
    }

    /// Deletes samples and stretches that are older than `max_age`, or than they may get at all; gives how many went.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`]; batches that were done stay done.
    pub fn prune_memory(&mut self, now_ms: i64, max_age: Duration) -> Result<usize, StoreError> {
        /// Rows in one transaction: the lock is held for milliseconds.
        const BATCH: usize = 500;
        let max_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let mut deleted = 0;
        for form in FORMS {
            let form = Form { kept_ms: form.kept_ms.min(max_ms), ..form };
            loop {
                let gone = self.write(|tx| {
                    let mut touched = BTreeSet::new();
                    let gone = drop_old(tx, &form, now_ms, BATCH, &mut touched)?;
                    drop_lives(tx, &touched)?;
                    Ok(gone)
                })?;
                if gone == 0 {
                    break;
                }
                deleted += gone;
            }
        }
        Ok(deleted)
    }

    /// Keeps a detector's state (JSON) in place of the one before.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn save_trend(&mut self, service: &UnitName, at_ms: i64, state: &str) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO supervisor_memory_trends (service, at_ms, state) VALUES (?1, ?2, ?3)";
        self.write(|tx| tx.execute(sql, params![service.as_str(), at_ms, state]).map(drop))
    }
}

fn keep(tx: &Connection, samples: &[KeptSample], forms: &[Form; 3]) -> rusqlite::Result<()> {
    let mut lives = Lives::new(tx)?;
    let mut insert = tx.prepare(
        "INSERT INTO supervisor_memory (life, span_ms, at_ms, bytes, awake_ns, count, processes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET bytes = excluded.bytes, count = excluded.count \
         WHERE span_ms > 0 AND excluded.bytes < bytes",
    )?;
    for kept in samples {
        let life = lives.of(kept)?;
        let sample = &kept.sample;
        // SQLite has no larger number, and no machine so much memory.
        let bytes = i64::try_from(sample.bytes).unwrap_or(i64::MAX);
        let awake_ns = i64::try_from(sample.at.mono.0).unwrap_or(i64::MAX);
        for form in forms {
            let at_ms = begin(sample.at.wall_ms, form.span_ms);
            let processes = (form.span_ms == 0).then(|| listed(&sample.processes));
            insert.execute(params![life, form.span_ms, at_ms, bytes, awake_ns, sample.count, processes])?;
        }
    }
    Ok(())
}

/// When the stretch began that `at_ms` is in.
fn begin(at_ms: i64, span_ms: i64) -> i64 {
    if span_ms == 0 { at_ms } else { at_ms.saturating_sub(at_ms.rem_euclid(span_ms)) }
}

/// The rows that say whose life in which metric a number is of.
struct Lives<'tx> {
    known: Statement<'tx>,
    new: Statement<'tx>,
}

impl<'tx> Lives<'tx> {
    fn new(tx: &'tx Connection) -> rusqlite::Result<Self> {
        let known = tx.prepare(
            "SELECT id FROM supervisor_memory_lives \
             WHERE service = ?1 AND boot_id = ?2 AND pid = ?3 AND start = ?4 AND run_id = ?5 AND metric = ?6",
        )?;
        let new = tx.prepare(
            "INSERT INTO supervisor_memory_lives (service, boot_id, pid, start, run_id, metric) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        Ok(Self { known, new })
    }

    fn of(&mut self, kept: &KeptSample) -> rusqlite::Result<i64> {
        let KeptSample { service, run_id, life, sample } = kept;
        let key = params![
            service.as_str(),
            life.boot_id,
            life.pid,
            life.start.cast_signed(),
            run_id.cast_signed(),
            sample.metric.as_str()
        ];
        match self.known.query_row(key, |row| row.get(0)).optional()? {
            Some(id) => Ok(id),
            None => self.new.insert(key),
        }
    }
}

/// `[[pid,start,bytes],...]`: what SQLite's JSON functions read too, in half the bytes of named members.
fn listed(processes: &[ProcessMemory]) -> String {
    let all: Vec<(i32, u64, u64)> = processes.iter().map(|p| (p.pid, p.start, p.bytes)).collect();
    serde_json::json!(all).to_string()
}

/// Deletes rows of any service that are too old, the oldest first, at most `most`; gives how many went.
fn drop_old(
    tx: &Connection,
    form: &Form,
    now_ms: i64,
    most: usize,
    touched: &mut BTreeSet<i64>,
) -> rusqlite::Result<usize> {
    let mut delete = tx.prepare(
        "DELETE FROM supervisor_memory WHERE (life, span_ms, at_ms) IN (\
         SELECT life, span_ms, at_ms FROM supervisor_memory WHERE span_ms = ?1 AND at_ms < ?2 ORDER BY at_ms LIMIT ?3) \
         RETURNING life",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let gone = delete.query_map(params![form.span_ms, now_ms.saturating_sub(form.kept_ms), most], |row| row.get(0))?;
    let mut count = 0;
    for life in gone {
        touched.insert(life?);
        count += 1;
    }
    Ok(count)
}

/// Deletes what a service has beyond the number of rows that it may have, in the order in which they came.
fn drop_surplus(tx: &Connection, service: &UnitName, form: &Form, touched: &mut BTreeSet<i64>) -> rusqlite::Result<()> {
    let its = "FROM supervisor_memory_lives l JOIN supervisor_memory m ON m.life = l.id WHERE l.service = ?1 AND m.span_ms = ?2";
    let count: i64 = tx
        .prepare(&format!("SELECT count(*) {its}"))?
        .query_row(params![service.as_str(), form.span_ms], |row| row.get(0))?;
    let surplus = count.saturating_sub(i64::from(form.most));
    if surplus <= 0 {
        return Ok(());
    }
    let mut delete = tx.prepare(&format!(
        "DELETE FROM supervisor_memory WHERE (life, span_ms, at_ms) IN (\
         SELECT m.life, m.span_ms, m.at_ms {its} ORDER BY m.life, m.awake_ns LIMIT ?3) RETURNING life"
    ))?;
    let gone = delete.query_map(params![service.as_str(), form.span_ms, surplus], |row| row.get(0))?;
    for life in gone {
        touched.insert(life?);
    }
    Ok(())
}

/// Forgets those of these lives of which nothing is left.
fn drop_lives(tx: &Connection, touched: &BTreeSet<i64>) -> rusqlite::Result<()> {
    let mut delete = tx.prepare(
        "DELETE FROM supervisor_memory_lives WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM supervisor_memory WHERE life = ?1)",
    )?;
    touched.iter().try_for_each(|life| delete.execute([life]).map(drop))
}

impl Reader {
    /// The detectors' states, as they were saved, by service. What is no text is left out: whoever has none begins anew.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn trends(&self) -> Result<BTreeMap<UnitName, String>, StoreError> {
        self.ask("supervisor_memory_trends", |conn| {
            let mut statement = conn.prepare(
                "SELECT service, state FROM supervisor_memory_trends WHERE typeof(service) = 'text' AND typeof(state) = 'text'",
            )?;
            let mut rows = statement.query([])?;
            let mut found = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let (service, state) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str());
                if let (Ok(Ok(service)), Ok(state)) = (service.map(UnitName::new), state) {
                    found.insert(service, state.to_owned());
                }
            }
            Ok(found)
        })
    }

    /// What is known of a service's memory since then, in the finest form that is still there, the oldest first; all of one metric, that of the
    /// newest.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn memory_history(&self, service: &UnitName, since_ms: i64) -> Result<Vec<HistoryPoint>, StoreError> {
        let [samples, quarters, hours] = FORMS.map(|form| form.span_ms);
        let rows = self.ask("supervisor_memory", |conn| {
            let mut statement = conn.prepare(
                "SELECT m.life, m.span_ms, m.at_ms, m.bytes, l.run_id \
                 FROM supervisor_memory_lives l JOIN supervisor_memory m ON m.life = l.id \
                 WHERE l.service = ?1 AND m.span_ms IN (?3, ?4, ?5) AND m.at_ms >= ?2 AND l.metric = \
                 (SELECT metric FROM supervisor_memory_lives WHERE service = ?1 ORDER BY id DESC LIMIT 1)",
            )?;
            let found = statement.query_map(
                params![service.as_str(), begin(since_ms, hours), samples, quarters, hours],
                |row| {
                    let point = HistoryPoint {
                        at_ms: row.get(2)?,
                        span_ms: row.get(1)?,
                        run_id: row.get::<_, i64>(4)?.cast_unsigned(),
                        bytes: row.get::<_, i64>(3)?.unsigned_abs(),
                    };
                    Ok((row.get(0)?, point))
                },
            )?;
            found.collect::<rusqlite::Result<Vec<(i64, HistoryPoint)>>>()
        })?;
        let of = |span: i64| rows.iter().copied().filter(move |(_, point)| point.span_ms == span);
        let mut finest = finer(of(samples).collect(), of(quarters).collect());
        finest = finer(finest, of(hours).collect());
        finest.retain(|(_, point)| point.at_ms.saturating_add(point.span_ms.max(1)) > since_ms);
        finest.sort_by_key(|(life, point)| (point.at_ms, *life));
        Ok(finest.into_iter().map(|(_, point)| point).collect())
    }

    /// The services that have a history of memory.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn memory_services(&self) -> Result<Vec<UnitName>, StoreError> {
        self.ask("supervisor_memory_lives", |conn| {
            let mut statement =
                conn.prepare("SELECT DISTINCT service FROM supervisor_memory_lives ORDER BY service")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(names
                .collect::<rusqlite::Result<Vec<_>>>()?
                .iter()
                .filter_map(|name| UnitName::new(name).ok())
                .collect())
        })
    }

    /// The sample of a service that came last, while it is kept.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn newest_memory(&self, service: &UnitName) -> Result<Option<KeptSample>, StoreError> {
        self.ask("supervisor_memory", |conn| {
            let sql = "SELECT l.boot_id, l.pid, l.start, l.run_id, l.metric, m.at_ms, m.awake_ns, m.bytes, m.count, m.processes \
                       FROM supervisor_memory_lives l JOIN supervisor_memory m ON m.life = l.id \
                       WHERE m.span_ms = 0 AND l.id = (SELECT max(id) FROM supervisor_memory_lives WHERE service = ?1) \
                       ORDER BY m.awake_ns DESC LIMIT 1";
            conn.query_row(sql, [service.as_str()], |row| kept(service, row)).optional()
        })
    }
}

fn kept(service: &UnitName, row: &Row<'_>) -> rusqlite::Result<KeptSample> {
    let wrong = |index, what: String| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, what.into());
    let metric: String = row.get(4)?;
    let metric = [Metric::AnonSwap, Metric::Footprint].into_iter().find(|known| known.as_str() == metric);
    let processes: Vec<(i32, u64, u64)> =
        serde_json::from_str(&row.get::<_, String>(9)?).map_err(|error| wrong(9, error.to_string()))?;
    let sample = MemorySample {
        // The clock that counts sleep is of use for pruning only, and not kept.
        at: Moment { mono: Mono(row.get::<_, i64>(6)?.unsigned_abs()), boot_ns: 0, wall_ms: row.get(5)? },
        metric: metric.ok_or_else(|| wrong(4, "a metric that this version does not know".into()))?,
        bytes: row.get::<_, i64>(7)?.unsigned_abs(),
        processes: processes.into_iter().map(|(pid, start, bytes)| ProcessMemory { pid, start, bytes }).collect(),
        count: row.get(8)?,
    };
    let life = Life { boot_id: row.get(0)?, pid: row.get(1)?, start: row.get::<_, i64>(2)?.cast_unsigned() };
    Ok(KeptSample { service: service.clone(), run_id: row.get::<_, i64>(3)?.cast_unsigned(), life, sample })
}

/// Each of `stretches` is told by its `parts` where their least is its least; else some of them are gone already, and it
/// stands for all of them.
fn finer(parts: Vec<(i64, HistoryPoint)>, stretches: Vec<(i64, HistoryPoint)>) -> Vec<(i64, HistoryPoint)> {
    let span_ms = stretches.first().map_or(0, |(_, stretch)| stretch.span_ms);
    let mut told: BTreeMap<(i64, i64), Vec<(i64, HistoryPoint)>> = BTreeMap::new();
    for part in parts {
        told.entry((part.0, begin(part.1.at_ms, span_ms))).or_default().push(part);
    }
    for stretch in stretches {
        let of = told.entry((stretch.0, stretch.1.at_ms)).or_default();
        if of.iter().map(|(_, part)| part.bytes).min() != Some(stretch.1.bytes) {
            *of = vec![stretch];
        }
    }
    told.into_values().flatten().collect()
}
