//! Records of one journal on their way into the tables, inside a transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::foreign::{Foreign, Mirror, OWN_CATEGORY, Told};
use super::{query, slots};
use crate::model::{EventType, Record, UnitName};

/// What is kept of a tail that already stands in an earlier row: who looks at this row alone still sees the complaint.
const TAIL_KEPT: usize = 256;

/// So many tails of one service are kept whole in an hour; of more there is the end, so that a storm does not fill the disk
/// with what it says.
const WHOLE_AN_HOUR: u32 = 60;

/// That end, bytes.
const TAIL_IN_A_STORM: usize = 1024;

/// What each service's last crash had to say.
pub(super) type Tails = BTreeMap<UnitName, LastTail>;

/// The stderr tail of a service's last crash.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastTail {
    hash: [u8; 32],
    /// The run whose row has it whole.
    run_id: u64,
    /// In which hour since 1970 that was, and how many were kept whole in it.
    hour: i64,
    whole: u32,
}

/// What a transaction found out, to be kept once it is committed.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// What `events` said when it refused a row.
    pub(super) refused: Option<String>,
    pub(super) tails: Tails,
}

/// An open transaction, and what is to be known in it.
pub(super) struct Writing<'tx> {
    pub(super) tx: &'tx Connection,
    pub(super) foreign: &'tx Foreign,
    pub(super) tails: &'tx Tails,
    pub(super) learned: Learned,
}

impl<'tx> Writing<'tx> {
    /// For rows of `events`.
    pub(super) fn mirroring(&self) -> rusqlite::Result<Mirroring<'tx>> {
        let Self { tx, foreign, .. } = *self;
        let mirror = match &foreign.mirror {
            Some(mirror) => Some((mirror, tx.prepare(&mirror.insert_sql)?)),
            None => None,
        };
        Ok(Mirroring { tx, foreign, mirror })
    }
}

/// Writes rows to `events`, as far as that takes them.
pub(super) struct Mirroring<'tx> {
    tx: &'tx Connection,
    foreign: &'tx Foreign,
    mirror: Option<(&'tx Mirror, rusqlite::Statement<'tx>)>,
}

impl Mirroring<'_> {
    /// Writes one; gives its rowid where it has one that can be found again.
    pub(super) fn insert(&mut self, told: &Told<'_>, learned: &mut Learned) -> Result<Option<i64>, Stop> {
        let Some((mirror, statement)) = &mut self.mirror else { return Ok(None) };
        match mirror.insert(statement, told) {
            Ok(rowid) => Ok(rowid),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                // A CHECK, a UNIQUE or a trigger of somebody else's: theirs to decide about their table, not to
                // keep our record from being kept.
                if self.tx.is_autocommit() {
                    return Err(Stop::Shut(Box::new(self.foreign.shut(&error.to_string()))));
                }
                learned.refused = Some(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a transaction did not come to its end.
pub(super) enum Stop {
    Sqlite(rusqlite::Error),
    /// Something that hangs on `events` rolled all of it back: it is to be done again without that table.
    Shut(Box<Foreign>),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The statements of one transaction. They are prepared once for each batch, which takes microseconds, and so can never
/// be older than the tables.
pub(super) struct Batch<'tx> {
    tx: &'tx Connection,
    runner: &'tx str,
    tails: &'tx Tails,
    mirroring: Mirroring<'tx>,
    known: rusqlite::Statement<'tx>,
    event: rusqlite::Statement<'tx>,
    counter: rusqlite::Statement<'tx>,
    last_exit: rusqlite::Statement<'tx>,
    positions: BTreeMap<String, Option<i64>>,
}

impl<'tx> Batch<'tx> {
    pub(super) fn new(writing: &Writing<'tx>, runner: &'tx str) -> rusqlite::Result<Self> {
        let Writing { tx, tails, .. } = *writing;
        Ok(Self {
            tx,
            runner,
            tails,
            mirroring: writing.mirroring()?,
            known: tx.prepare("SELECT 1 FROM supervisor_events WHERE runner = ?1 AND boot_id = ?2 AND seq = ?3")?,
            event: tx.prepare(
                "INSERT INTO supervisor_events (timestamp_ms, event_type, service_name, run_id, class, metadata, runner, \
                 boot_id, seq, mirror_rowid, boot_ns, mono_ns) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            counter: tx.prepare(
                "INSERT INTO supervisor_counters (service, class, count) VALUES (?1, ?2, 1) \
                 ON CONFLICT (service, class) DO UPDATE SET count = count + 1",
            )?,
            // Several runners can have served one service, and their journals come in any order: within a boot the
            // clock that never steps decides which end was the last, across boots the wall clock has to.
            last_exit: tx.prepare(
                "INSERT INTO supervisor_last_exits (service, class, code, signal, at_ms, boot_id, boot_ns) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (service) DO UPDATE SET class = excluded.class, \
                 code = excluded.code, signal = excluded.signal, at_ms = excluded.at_ms, boot_id = excluded.boot_id, \
                 boot_ns = excluded.boot_ns WHERE CASE WHEN excluded.boot_id = boot_id \
                 THEN excluded.boot_ns >= boot_ns ELSE excluded.at_ms >= at_ms END",
            )?,
            positions: BTreeMap::new(),
        })
    }

    /// Writes the record unless it was taken in before, or says of a slot what is known; whether it is new.
    pub(super) fn take(&mut self, record: &Record, learned: &mut Learned) -> Result<bool, Stop> {
        let seq = i64::try_from(record.seq).unwrap_or(i64::MAX);
        let reached = match self.positions.get(&record.boot_id) {
            Some(reached) => *reached,
            None => query::position(self.tx, self.runner, &record.boot_id)?,
        };
        self.positions.insert(record.boot_id.clone(), reached.max(Some(seq)));
        let key = params![self.runner, record.boot_id, seq];
        if reached.is_some_and(|reached| seq <= reached) || self.known.exists(key)? {
            return Ok(false);
        }
        if !slots::take(self.tx, record)? {
            return Ok(false);
        }
        let metadata = serde_json::to_string(&*self.kept(record, learned)).unwrap_or_else(|_| "{}".into());
        let told = Told {
            timestamp_ms: record.wall_ms,
            category: OWN_CATEGORY,
            event_type: record.event_name(),
            service: record.service.as_ref().map(UnitName::as_str),
            metadata: &metadata,
        };
        let mirrored = self.mirroring.insert(&told, learned)?;
        let run_id = record.data.get("run_id").and_then(serde_json::Value::as_i64);
        let class = record.data.get("class").and_then(serde_json::Value::as_str);
        self.event.execute(params![
            told.timestamp_ms,
            told.event_type,
            told.service,
            run_id,
            class,
            metadata,
            self.runner,
            record.boot_id,
            seq,
            mirrored,
            nanos(record.boot_ns),
            record.mono.map(|mono| nanos(mono.0))
        ])?;
        if record.event.is_run_end() {
            self.count(record)?;
        }
        Ok(true)
    }

    /// What is written of the record's data. A service that dies of the same thing ten thousand times has the same to say
    /// each time: it stands in the first row, and the others name that run. One that has something else to say each time is
    /// heard out so many times an hour.
    fn kept<'a>(&self, record: &'a Record, learned: &mut Learned) -> Cow<'a, Map<String, Value>> {
        let whole = Cow::Borrowed(&record.data);
        let tail = record.data.get("stderr_tail").and_then(Value::as_str).filter(|tail| tail.len() > TAIL_KEPT);
        let run_id = record.data.get("run_id").and_then(Value::as_u64);
        let (EventType::ServiceCrash, Some(service), Some(tail), Some(run_id)) =
            (record.event, &record.service, tail, run_id)
        else {
            return whole;
        };
        let hash: [u8; 32] = Sha256::digest(tail).into();
        let hour = record.wall_ms.div_euclid(3_600_000);
        let last = learned.tails.get(service).or_else(|| self.tails.get(service)).copied();
        let ends_with = |kept: usize| tail[tail.ceil_char_boundary(tail.len().saturating_sub(kept))..].into();
        if let Some(same) = last.filter(|last| last.hash == hash) {
            let mut data = record.data.clone();
            data.insert("stderr_tail".into(), ends_with(TAIL_KEPT));
            data.insert(query::SAME_TAIL.into(), same.run_id.into());
            return Cow::Owned(data);
        }
        let whole_before = last.filter(|last| last.hour == hour).map_or(0, |last| last.whole);
        if whole_before >= WHOLE_AN_HOUR && tail.len() > TAIL_IN_A_STORM {
            let mut data = record.data.clone();
            data.insert("stderr_tail".into(), ends_with(TAIL_IN_A_STORM));
            data.insert("stderr_tail_cut".into(), true.into());
            return Cow::Owned(data);
        }
        learned.tails.insert(service.clone(), LastTail { hash, run_id, hour, whole: whole_before + 1 });
        whole
    }

    fn count(&mut self, record: &Record) -> rusqlite::Result<()> {
        let class = record.data.get("class").and_then(serde_json::Value::as_str);
        let class = class.and_then(query::class_named);
        let (Some(service), Some(class)) = (&record.service, class) else { return Ok(()) };
        let (service, class) = (service.as_str(), class.as_str());
        let code = record.data.get("exit_code").and_then(serde_json::Value::as_i64);
        let code = code.and_then(|code| i32::try_from(code).ok());
        let signal = record.data.get("signal").and_then(serde_json::Value::as_str);
        self.counter.execute([service, class])?;
        self.last_exit.execute(params![
            service,
            class,
            code,
            signal,
            record.wall_ms,
            record.boot_id,
            nanos(record.boot_ns)
        ])?;
        Ok(())
    }

    /// The last statement of a journal's part of the transaction.
    pub(super) fn write_positions(&self) -> rusqlite::Result<()> {
        let mut statement = self.tx.prepare(
            "INSERT INTO supervisor_journal (runner, boot_id, seq) VALUES (?1, ?2, ?3) \
             ON CONFLICT (runner, boot_id) DO UPDATE SET seq = excluded.seq",
        )?;
        for (boot_id, seq) in &self.positions {
            statement.execute(params![self.runner, boot_id, seq])?;
        }
        Ok(())
    }
}

/// A clock's nanoseconds as SQLite has numbers.
fn nanos(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
