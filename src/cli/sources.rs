//! Where the command line's facts come from in the real program: services.toml, the database, the logs.

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};

use super::args::Global;
use super::context::{AlertsSeen, AlertsWanted, FaultLine, Loaded, LogFrom, LogWanted, MemoryKept, Sources, Tallies};
use super::unread;
use crate::config::{self, Source, Surroundings};
use crate::error::{Error, ErrorKind};
use crate::logs::read::{self, Begin};
use crate::model::paths::Paths;
use crate::model::{OutboxRow, RowState, SlotRow, UnitName};
use crate::store::{
    AlertFilter, EventRow, Filter, OutboxFilter, Reader, SlotCounts, SlotFilter, StoreError, StoreErrorKind,
};

const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

/// So many messages that went wrong are counted: whether it is more is no news.
const LATELY: usize = 1000;

/// The files of this machine.
pub struct Files {
    config: Option<PathBuf>,
    surroundings: Surroundings,
    /// services.toml, once it was read: all of a command speaks of the same text.
    source: OnceCell<Result<Source, Error>>,
}

impl Files {
    /// As `--config`, `--state-dir` and the environment say.
    pub fn of_process(global: &Global) -> Result<Self, Error> {
        let surroundings = Surroundings::of_process(global.state_dir.as_deref())?;
        Ok(Self { config: global.config.clone(), surroundings, source: OnceCell::new() })
    }

    /// services.toml, absolute; it need not exist where it was named.
    pub fn config(&self) -> Result<PathBuf, Error> {
        let cwd = std::env::current_dir().map_err(|e| Error::io("cannot find", Path::new("."), &e))?;
        config::locate(self.config.as_deref(), &cwd, &self.surroundings)
    }

    /// What may be referred to in it.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    fn source(&self) -> Result<&Source, Error> {
        let read = self.source.get_or_init(|| config::read(&self.config()?));
        read.as_ref().map_err(Clone::clone)
    }
}

impl Sources for Files {
    fn fleet(&self, color: bool) -> Result<Loaded, Error> {
        let source = self.source()?;
        let parsed = config::parse(source, &self.surroundings);
        let rendered =
            if parsed.faults.is_empty() { String::new() } else { config::render(&parsed.faults, source, color) };
        let faults = parsed.faults.into_iter().map(|fault| FaultLine {
            code: fault.code.into(),
            unit: fault.unit,
            line: fault.line,
            column: fault.column,
            message: fault.message,
            help: fault.help,
        });
        Ok(Loaded { path: source.path.clone(), fleet: parsed.fleet, faults: faults.collect(), rendered })
    }

    fn state_dir(&self) -> PathBuf {
        config::state_dir(|| self.source().ok(), &self.surroundings)
    }

    fn surroundings(&self) -> Surroundings {
        self.surroundings.clone()
    }

    fn schema(&self) -> String {
        config::schema()
    }

    fn tallies(&self, database: &Path) -> Result<Option<Tallies>, Error> {
        let Some(reader) = open(database)? else { return Ok(None) };
        let counters = reader.counters().map_err(told)?;
        let last_exits = reader.last_exits().map_err(told)?;
        let last_slots = reader.last_slots().map_err(told)?;
        Ok(Some(Tallies { counters, last_exits, last_slots }))
    }

    fn events(&self, paths: &Paths, filter: &Filter) -> Result<Option<Vec<EventRow>>, Error> {
        let Some(reader) = open(&paths.database())? else { return Ok(None) };
        let mut rows = reader.events(filter).map_err(told)?;
        let waiting = unread::rows(&reader, paths, filter).map_err(told)?;
        if !waiting.is_empty() {
            rows.extend(waiting);
            rows.sort_by_key(|row| row.timestamp_ms);
            let surplus = filter.limit.map_or(0, |limit| rows.len().saturating_sub(limit));
            rows.drain(..surplus);
        }
        Ok(Some(rows))
    }

    fn alerts(&self, database: &Path, wanted: &AlertsWanted, now_ms: i64) -> Result<Option<AlertsSeen>, Error> {
        let Some(reader) = open(database)? else { return Ok(None) };
        alerts(&reader, wanted, now_ms).map(Some).map_err(told)
    }

    fn memory(&self, database: &Path, of: Option<&UnitName>, since_ms: i64) -> Result<Option<Vec<MemoryKept>>, Error> {
        let Some(reader) = open(database)? else { return Ok(None) };
        let services = match of {
            Some(service) => vec![service.clone()],
            None => reader.memory_services().map_err(told)?,
        };
        let kept = |service: UnitName| {
            let (newest, points) = (reader.newest_memory(&service)?, reader.memory_history(&service, since_ms)?);
            Ok(MemoryKept { service, newest, points })
        };
        services.into_iter().map(kept).collect::<Result<_, StoreError>>().map(Some).map_err(told)
    }

    fn slots(&self, database: &Path, filter: &SlotFilter) -> Result<Option<Vec<SlotRow>>, Error> {
        let Some(reader) = open(database)? else { return Ok(None) };
        reader.slots(filter).map(Some).map_err(told)
    }

    fn slot_counts(&self, database: &Path, since_ms: i64) -> Result<Option<SlotCounts>, Error> {
        let Some(reader) = open(database)? else { return Ok(None) };
        reader.slot_counts(since_ms, i64::MAX).map(Some).map_err(told)
    }

    fn log(&self, wanted: &LogWanted, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if wanted.follow {
            let from = match wanted.from {
                LogFrom::LastLines(n) => Begin::Lines(n),
                LogFrom::Since(wall_ms) => Begin::Since { index: &wanted.index, wall_ms },
            };
            return read::follow(&wanted.log, from, to, &mut || false);
        }
        to(&match wanted.from {
            LogFrom::LastLines(n) => read::last_lines(&wanted.log, n)?,
            LogFrom::Since(wall_ms) => read::since(&wanted.log, &wanted.index, wall_ms)?,
        })
    }
}

fn alerts(reader: &Reader, wanted: &AlertsWanted, now_ms: i64) -> Result<AlertsSeen, StoreError> {
    let mut seen = AlertsSeen { silences: reader.silences(now_ms)?, ..AlertsSeen::default() };
    let open = AlertFilter { open: true, ..AlertFilter::default() };
    match wanted {
        AlertsWanted::Open => seen.alerts = reader.alerts(&open)?,
        AlertsWanted::Listed { since_ms, past } => {
            seen.alerts = reader.alerts(&open)?;
            // Those that are open may be among the newest, too.
            let limit = past.map(|past| past + seen.alerts.len());
            let mut past_ones = reader.alerts(&AlertFilter { since_ms: *since_ms, limit, ..AlertFilter::default() })?;
            past_ones.retain(|alert| !alert.is_open());
            past_ones.sort_by_key(|alert| std::cmp::Reverse(alert.fired_ms));
            past_ones.truncate(past.unwrap_or(usize::MAX));
            seen.alerts.extend(past_ones);
            seen.rows = reader.outbox(&OutboxFilter { states: vec![RowState::Pending], ..OutboxFilter::default() })?;
            let states = vec![RowState::Refused, RowState::Expired];
            let went_wrong = reader.outbox(&OutboxFilter { states, limit: Some(LATELY), ..OutboxFilter::default() })?;
            let lately = |row: &OutboxRow| row.settled_ms.is_some_and(|at| at >= now_ms - WEEK_MS);
            seen.rows.extend(went_wrong.into_iter().filter(lately));
            seen.sinks = reader.sink_states()?;
        }
        AlertsWanted::One(id) => {
            seen.alerts = reader.alert(id)?;
            for alert in &seen.alerts {
                let its = OutboxFilter { alert: Some(alert.id.clone()), ..OutboxFilter::default() };
                seen.rows.extend(reader.outbox(&its)?);
            }
        }
    }
    Ok(seen)
}

fn open(database: &Path) -> Result<Option<Reader>, Error> {
    match Reader::open(database) {
        Ok(reader) => Ok(Some(reader)),
        Err(e) if e.kind == StoreErrorKind::Gone => Ok(None),
        Err(e) => Err(told(e)),
    }
}

fn told(e: StoreError) -> Error {
    Error::new(ErrorKind::Internal, e.to_string())
}
