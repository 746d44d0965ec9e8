//! What the report is made of, from the ledger and the disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::super::{Work, remove};
use super::fold::{Fold, Folded};
use crate::error::Error;
use crate::model::{CrashKind, EventType, UnitName};
use crate::process::host;
use crate::store::{AlertFilter, Filter, Reader, StoreError, StoreErrorKind};

/// All that the report tells. Times are milliseconds since 1970 UTC.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Digest {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// Since when there is a ledger, where that is less than the whole stretch.
    pub(super) begins_ms: Option<i64>,
    pub(super) folded: Folded,
    /// Kinds of crashes that were seen in it.
    pub(super) kinds: Vec<CrashKind>,
    /// Bytes, by what they are of.
    pub(super) disk: BTreeMap<&'static str, u64>,
    pub(super) free: Option<u64>,
    /// Alerts that fired.
    pub(super) fired: u64,
    /// Titles of those that are open.
    pub(super) open: Vec<String>,
}

pub(super) fn gather(period: Duration, work: &Work<'_>) -> Result<Digest, Error> {
    let to_ms = work.now.wall_ms;
    let from_ms = to_ms.saturating_sub(i64::try_from(period.as_millis()).unwrap_or(i64::MAX));
    let mut digest = Digest { from_ms, to_ms, ..Digest::default() };
    match Reader::open(&work.paths.database()) {
        Ok(reader) => told(&reader, &mut digest, work)?,
        Err(e) if e.kind == StoreErrorKind::Gone => digest.begins_ms = Some(to_ms),
        Err(e) => return Err(e.into()),
    }
    let paths = work.paths;
    let folders = [
        ("logs", paths.logs()),
        ("evidence", paths.evidence()),
        ("copies of the database", paths.database_copies()),
        ("reports", paths.reports()),
    ];
    for (what, folder) in folders {
        digest.disk.insert(what, remove::files(&folder)?.iter().map(|file| file.bytes).sum());
    }
    let database = paths.database();
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
    digest.disk.insert("database", bytes(&database) + bytes(&database.with_extension("sqlite-wal")));
    digest.free = host::free_disk(paths.state_dir());
    Ok(digest)
}

fn told(reader: &Reader, digest: &mut Digest, work: &Work<'_>) -> Result<(), StoreError> {
    let (from_ms, to_ms) = (digest.from_ms, digest.to_ms);
    let mut fold = Fold::new(from_ms);
    reader.visit(&Filter { since_ms: Some(from_ms), ..Filter::default() }, |row| {
        // A clock that was set back has left rows of times to come.
        if row.timestamp_ms <= to_ms {
            fold.row(&row);
        }
        ControlFlow::Continue(())
    })?;
    let begins_ms = reader.begins_ms()?.unwrap_or(to_ms);
    digest.begins_ms = (begins_ms > from_ms).then_some(begins_ms);
    let declared = work.fleet.services.iter().filter(|service| service.enabled).map(|service| &service.name);
    let quiet: Vec<&UnitName> = declared.filter(|name| !fold.knows(name)).collect();
    for name in quiet {
        let event_type =
            vec![EventType::ServiceStart, EventType::ServiceCrash, EventType::ServiceExit, EventType::ServiceLost];
        let last = Filter { service: Some(name.clone()), event_type, limit: Some(1), ..Filter::default() };
        if reader.events(&last)?.iter().any(|row| row.event_type == EventType::ServiceStart.as_str()) {
            fold.was_up(name.clone());
        }
    }
    digest.folded = fold.end(to_ms);
    digest.kinds = reader.crash_kinds(from_ms)?;
    digest.fired = reader.fired(from_ms, to_ms)?;
    let open = reader.alerts(&AlertFilter { open: true, ..AlertFilter::default() })?;
    digest.open = open.into_iter().map(|alert| alert.title).collect();
    Ok(())
}
