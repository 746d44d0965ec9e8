//! The writing side: one connection, opened once and kept, in the daemon.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::error::{StoreError, StoreErrorKind};
use super::foreign::{self, Foreign, Mirror, Told};
use super::{query, schema};
use crate::model::{LastExit, Record, RestartCounts, UnitName};

/// How long to wait for another program's lock; every connection has this.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The -wal file is cut back to this after a checkpoint, so that one long reader does not leave a large one for weeks.
const WAL_KEPT: i64 = 16 << 20;

/// The ledger, open for writing. After an error drop it and open again later: nothing half done is left behind, and what
/// was not taken in is still in the journals. After [`StoreErrorKind::Gone`] journals must be read from their beginning,
/// as the new file knows nothing.
#[derive(Debug)]
pub struct Ledger {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    id: (u64, u64),
    pub(super) foreign: Foreign,
    /// What `events` said when it refused a row.
    refused: Option<String>,
}

/// How one attempt at a batch ended.
enum Taken {
    /// So many records were new; what is known of `events` now, and what it said when it refused a row.
    Committed(usize, Foreign, Option<String>),
    /// Something that hangs on `events` rolled the whole transaction back: it is done again without it.
    WithoutMirror(Foreign),
}

impl Ledger {
    /// Opens the database, makes it (0600) if it is not there, and brings our tables up to date.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: &io::Error| StoreError::io("open", path, error);
        create(path).map_err(|error| failed(&error))?;
        let id = identity(path).map_err(|error| failed(&error))?;
        let wrong = |error: rusqlite::Error| StoreError::sqlite("open", path, &error);
        let mut conn = connect(path).map_err(wrong)?;
        let foreign = prepare(&mut conn).map_err(wrong)?.map_err(|schema::Newer(found)| {
            let ours = schema::SCHEMA;
            let detail = format!("its tables have schema {found}, this version knows {ours}");
            StoreError::new(StoreErrorKind::NewerSchema, "write to", path, detail)
        })?;
        let ledger = Self { conn, path: path.to_path_buf(), id, foreign, refused: None };
        ledger.check_place()?;
        Ok(ledger)
    }

    /// Takes records of one runner's journal in, in one transaction; gives how many were new. What was taken in before
    /// is passed over, so that delivering again is always right.
    ///
    /// # Errors
    /// See [`StoreErrorKind`]; nothing of the batch is in the database then.
    pub fn ingest(&mut self, runner: &str, records: &[Record]) -> Result<usize, StoreError> {
        if records.is_empty() {
            return Ok(0);
        }
        self.check_place()?;
        loop {
            match self.try_ingest(runner, records).map_err(|error| self.cannot_write(&error))? {
                Taken::Committed(new, foreign, refused) => {
                    if foreign != self.foreign {
                        self.refused = None; // that was about another shape
                        self.foreign = foreign;
                    }
                    self.refused = refused.or(self.refused.take());
                    return Ok(new);
                }
                Taken::WithoutMirror(foreign) => self.foreign = foreign,
            }
        }
    }

    /// The last seq that was taken in of a runner's journal in a boot.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn position(&self, runner: &str, boot_id: &str) -> Result<Option<u64>, StoreError> {
        let found = query::position(&self.conn, runner, boot_id).map_err(|error| self.cannot_read(&error))?;
        Ok(found.and_then(|seq| u64::try_from(seq).ok()))
    }

    /// Run ends by service, over the ledger's lifetime.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn counters(&self) -> Result<BTreeMap<UnitName, RestartCounts>, StoreError> {
        query::counters(&self.conn).map_err(|error| self.cannot_read(&error))
    }

    /// How each service's last run ended.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn last_exits(&self) -> Result<BTreeMap<UnitName, LastExit>, StoreError> {
        query::last_exits(&self.conn).map_err(|error| self.cannot_read(&error))
    }

    /// What people should know of the shared table `events`: which columns are filled, or why none are.
    pub fn note(&self) -> Option<String> {
        let refused = self.refused.as_ref().map(|why| {
            format!("`events` refused rows of ours, which stand in supervisor_events only; it last said: {why}")
        });
        refused.or_else(|| self.foreign.note.clone())
    }

    /// Looks at `events` again if any table changed since.
    pub(super) fn refresh_foreign(&mut self) -> rusqlite::Result<()> {
        if foreign::version(&self.conn)? != self.foreign.version {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let foreign = foreign::prepare(&tx)?;
            tx.commit()?;
            self.foreign = foreign;
        }
        Ok(())
    }

    pub(super) fn cannot_write(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite("write to", &self.path, error)
    }

    fn cannot_read(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite("read", &self.path, error)
    }

    /// SQLite would go on writing to a file that has no name any more, and report success.
    pub(super) fn check_place(&self) -> Result<(), StoreError> {
        let gone = |detail: &str| StoreError::new(StoreErrorKind::Gone, "write to", &self.path, detail);
        match identity(&self.path) {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(gone("another file is in its place")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(gone("the file was deleted")),
            Err(error) => Err(StoreError::io("write to", &self.path, &error)),
        }
    }

    fn try_ingest(&mut self, runner: &str, records: &[Record]) -> rusqlite::Result<Taken> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Inside the transaction nobody can change a table any more. What is found is kept only after the commit: a
        // table that we made is not there after a rollback.
        let unchanged = foreign::version(&tx)? == self.foreign.version;
        let foreign = if unchanged { self.foreign.clone() } else { foreign::prepare(&tx)? };
        let mut refused = None;
        let mut new = 0;
        {
            let mut batch = Batch::new(&tx, runner, foreign.mirror.as_ref())?;
            for record in records {
                match batch.take(record, &mut refused)? {
                    Step::Known => {}
                    Step::New => new += 1,
                    Step::RolledBack(why) => return Ok(Taken::WithoutMirror(foreign.shut(&why))),
                }
            }
            batch.write_positions()?;
        }
        tx.commit()?;
        Ok(Taken::Committed(new, foreign, refused))
    }
}

enum Step {
    Known,
    New,
    RolledBack(String),
}

/// The statements of one transaction. They are prepared once for each batch, which takes microseconds, and so can never
/// be older than the tables.
struct Batch<'tx> {
    tx: &'tx Connection,
    runner: &'tx str,
    mirror: Option<(&'tx Mirror, rusqlite::Statement<'tx>)>,
    known: rusqlite::Statement<'tx>,
    event: rusqlite::Statement<'tx>,
    counter: rusqlite::Statement<'tx>,
    last_exit: rusqlite::Statement<'tx>,
    positions: BTreeMap<String, Option<i64>>,
}

impl<'tx> Batch<'tx> {
    fn new(tx: &'tx Connection, runner: &'tx str, mirror: Option<&'tx Mirror>) -> rusqlite::Result<Self> {
        let mirror = match mirror {
            Some(mirror) => Some((mirror, tx.prepare(&mirror.insert_sql)?)),
            None => None,
        };
        Ok(Self {
            tx,
            runner,
            mirror,
            known: tx.prepare("SELECT 1 FROM supervisor_events WHERE runner = ?1 AND boot_id = ?2 AND seq = ?3")?,
            event: tx.prepare(
                "INSERT INTO supervisor_events (timestamp_ms, event_type, service_name, run_id, class, metadata, runner, \
                 boot_id, seq, mirror_rowid) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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

    fn take(&mut self, record: &Record, refused: &mut Option<String>) -> rusqlite::Result<Step> {
        let seq = i64::try_from(record.seq).unwrap_or(i64::MAX);
        let reached = match self.positions.get(&record.boot_id) {
            Some(reached) => *reached,
            None => query::position(self.tx, self.runner, &record.boot_id)?,
        };
        self.positions.insert(record.boot_id.clone(), reached.max(Some(seq)));
        let key = params![self.runner, record.boot_id, seq];
        if reached.is_some_and(|reached| seq <= reached) || self.known.exists(key)? {
            return Ok(Step::Known);
        }
        let metadata = serde_json::to_string(&record.data).unwrap_or_else(|_| "{}".into());
        let told = Told {
            timestamp_ms: record.wall_ms,
            event_type: record.event_name(),
            service: record.service.as_ref().map(UnitName::as_str),
            metadata: &metadata,
        };
        let mut mirrored = None;
        if let Some((mirror, statement)) = &mut self.mirror {
            match mirror.insert(statement, &told) {
                Ok(rowid) => mirrored = rowid,
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    // A CHECK, a UNIQUE or a trigger of somebody else's: theirs to decide about their table, not to
                    // keep our record from being kept.
                    if self.tx.is_autocommit() {
                        return Ok(Step::RolledBack(error.to_string()));
                    }
                    *refused = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
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
            mirrored
        ])?;
        if record.event.is_run_end() {
            self.count(record)?;
        }
        Ok(Step::New)
    }

    fn count(&mut self, record: &Record) -> rusqlite::Result<()> {
        let class = record.data.get("class").and_then(serde_json::Value::as_str);
        let class = class.and_then(query::class_named);
        let (Some(service), Some(class)) = (&record.service, class) else { return Ok(()) };
        let (service, class) = (service.as_str(), class.as_str());
        let code = record.data.get("exit_code").and_then(serde_json::Value::as_i64);
        let code = code.and_then(|code| i32::try_from(code).ok());
        let signal = record.data.get("signal").and_then(serde_json::Value::as_str);
        let boot_ns = i64::try_from(record.boot_ns).unwrap_or(i64::MAX);
        self.counter.execute([service, class])?;
        self.last_exit.execute(params![service, class, code, signal, record.wall_ms, record.boot_id, boot_ns])?;
        Ok(())
    }

    fn write_positions(&self) -> rusqlite::Result<()> {
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

/// Makes the file if it is not there. O_EXCL makes nothing behind a dangling link; SQLite's own -wal and -shm take the
/// file's mode. An existing database is never opened here: closing a second descriptor of it would drop the locks that
/// another connection of this process holds (sqlite.org/howtocorrupt.html, section 2.2).
fn create(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(path)?;
    if meta.is_file() {
        Ok((meta.dev(), meta.ino()))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Without CREATE: the file is there, with the right mode. Without URI: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // A file system without shared memory stays in another mode, which works as well.
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.query_row(&format!("PRAGMA journal_size_limit = {WAL_KEPT}"), [], |_| Ok(()))?;
    Ok(conn)
}

fn prepare(conn: &mut Connection) -> rusqlite::Result<Result<Foreign, schema::Newer>> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Err(newer) = schema::migrate(&tx)? {
        return Ok(Err(newer));
    }
    let foreign = foreign::prepare(&tx)?;
    tx.commit()?;
    Ok(Ok(foreign))
}
