//! The writing side: one connection, opened once and kept, in the daemon.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::alerts::{self, Telling};
use super::batch::{Batch, Learned, Stop, Tails, Writing};
use super::error::{StoreError, StoreErrorKind};
use super::foreign::{self, Foreign};
use super::memory::Pruning;
use super::{query, schema};
use crate::model::{AlertChange, LastExit, Record, RestartCounts, UnitName};

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
    /// The last tail of each service's stderr that stands in a row as a whole.
    tails: Tails,
    /// How far pruning the history of memory is.
    pub(super) pruning: Pruning,
}

/// What comes of the records that are new. It may be asked again about the same ones, when a transaction has to be done
/// again: each time it starts from what was before.
pub type Decide<'a> = &'a mut dyn FnMut(&[&Record]) -> Vec<AlertChange>;

impl Ledger {
    /// Opens the database, makes it (0600) if it is not there, and brings our tables up to date.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_within(path, BUSY_TIMEOUT)
    }

    /// The same, by somebody who waits so long for another program's lock, now and later.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn open_within(path: &Path, locked_for: Duration) -> Result<Self, StoreError> {
        let failed = |error: &io::Error| StoreError::io("open", path, error);
        create(path).map_err(|error| failed(&error))?;
        let id = identity(path).map_err(|error| failed(&error))?;
        let wrong = |error: rusqlite::Error| StoreError::sqlite("open", path, &error);
        let mut conn = connect(path, locked_for).map_err(wrong)?;
        let foreign = prepare(&mut conn).map_err(wrong)?.map_err(|schema::Newer(found)| {
            let ours = schema::SCHEMA;
            let detail = format!("its tables have schema {found}, this version knows {ours}");
            StoreError::new(StoreErrorKind::NewerSchema, "write to", path, detail)
        })?;
        let ledger = Self {
            conn,
            path: path.to_path_buf(),
            id,
            foreign,
            refused: None,
            tails: Tails::new(),
            pruning: Pruning::default(),
        };
        ledger.check_place()?;
        Ok(ledger)
    }

    /// Takes records of one runner's journal in, in one transaction; gives how many were new. What was taken in before
    /// is passed over, so that delivering again is always right.
    ///
    /// # Errors
    /// See [`StoreErrorKind`]; nothing of the batch is in the database then.
    pub fn ingest(&mut self, runner: &str, records: &[Record]) -> Result<usize, StoreError> {
        self.take_in(runner, records, None)
    }

    /// The same, and what `decide` makes of the new records goes on record in the same transaction: each is shown exactly
    /// once over all that is committed, in order. What `decide` changed is to be kept only when this gives `Ok`; after an
    /// error whoever decides begins anew, with [`Self::remembered`] and [`Self::past`].
    ///
    /// # Errors
    /// See [`StoreErrorKind`]; nothing of the batch is in the database then.
    pub fn ingest_watched(
        &mut self,
        runner: &str,
        records: &[Record],
        telling: &Telling<'_>,
        decide: Decide<'_>,
    ) -> Result<usize, StoreError> {
        self.take_in(runner, records, Some((telling, decide)))
    }

    fn take_in(
        &mut self,
        runner: &str,
        records: &[Record],
        mut watch: Option<(&Telling<'_>, Decide<'_>)>,
    ) -> Result<usize, StoreError> {
        if records.is_empty() {
            return Ok(0);
        }
        self.write_told(|writing| {
            let mut batch = Batch::new(writing, runner)?;
            let mut new = Vec::new();
            for record in records {
                if batch.take(record, &mut writing.learned)? {
                    new.push(record);
                }
            }
            batch.write_positions()?;
            if let Some((telling, decide)) = &mut watch
                && !new.is_empty()
            {
                alerts::put(writing, &decide(&new), telling)?;
            }
            Ok(new.len())
        })
    }

    /// Puts on record what came of something else than a record: of time, of a person.
    ///
    /// # Errors
    /// See [`StoreErrorKind`]; nothing of it is in the database then.
    pub fn change(&mut self, changes: &[AlertChange], telling: &Telling<'_>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write_told(|writing| alerts::put(writing, changes, telling))
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

    pub(super) fn cannot_read(&self, error: &rusqlite::Error) -> StoreError {
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

    /// One transaction over our tables alone.
    pub(super) fn write<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.check_place()?;
        let write = || -> rusqlite::Result<T> {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        };
        write().map_err(|error| self.cannot_write(&error))
    }

    /// One transaction over our tables and `events`; `work` is done again where something that hangs on `events` has
    /// rolled it back.
    pub(super) fn write_told<T>(
        &mut self,
        mut work: impl FnMut(&mut Writing<'_>) -> Result<T, Stop>,
    ) -> Result<T, StoreError> {
        self.check_place()?;
        loop {
            match self.try_write_told(&mut work) {
                Ok(done) => return Ok(done),
                Err(Stop::Sqlite(error)) => return Err(self.cannot_write(&error)),
                Err(Stop::Shut(foreign)) => self.foreign = *foreign,
            }
        }
    }

    fn try_write_told<T>(&mut self, work: &mut impl FnMut(&mut Writing<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Inside the transaction nobody can change a table any more. What is found is kept only after the commit: a
        // table that we made is not there after a rollback.
        let unchanged = foreign::version(&tx)? == self.foreign.version;
        let foreign = if unchanged { self.foreign.clone() } else { foreign::prepare(&tx)? };
        let mut writing = Writing { tx: &tx, foreign: &foreign, tails: &self.tails, learned: Learned::default() };
        let done = work(&mut writing)?;
        let learned = writing.learned;
        tx.commit()?;
        if foreign != self.foreign {
            self.refused = None; // that was about another shape
            self.foreign = foreign;
        }
        self.refused = learned.refused.or(self.refused.take());
        self.tails.extend(learned.tails);
        Ok(done)
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

fn connect(path: &Path, locked_for: Duration) -> rusqlite::Result<Connection> {
    // Without CREATE: the file is there, with the right mode. Without URI: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(locked_for)?;
    // In a file that is made now, free pages can be given back; in one that has tables this changes nothing.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
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
