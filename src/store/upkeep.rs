//! Upkeep of the database file, beside those who write to it: giving free pages back, cutting the -wal file, copies.
//!
//! Decision, no full VACUUM: it holds the write lock for as long as it takes to write the whole file anew, and it may give new rowids
//! to rows of tables without a key of their own, by which we (and others) find rows again. A file that we made gives its free
//! pages back a few at a time (`auto_vacuum = incremental`); another one keeps them for the rows to come.
//!
//! Decision, copies: SQLite's online backup, page by page, out of one snapshot. Without the snapshot each write of anybody's would
//! begin it anew; with it a writer never waits, and the -wal file grows meanwhile. The copy has every page of the original as it is,
//! so that a check of the copy speaks of both.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::{StoreError, StoreErrorKind};
use super::ledger::BUSY_TIMEOUT;

/// Pages that are given back in one transaction: milliseconds.
const GIVEN_AT_ONCE: u32 = 64;

/// Pages that are copied between two pauses.
const COPIED_AT_ONCE: i32 = 1024;

/// Emptying the -wal file keeps writers out while it waits for readers, so it does not wait for long.
const EMPTY_WITHIN: Duration = Duration::from_millis(300);

/// The database file, open for upkeep.
#[derive(Debug)]
pub struct Upkeep {
    conn: Connection,
    path: PathBuf,
}

/// How large the file is, and what of it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All of it, bytes.
    pub bytes: u64,
    /// Bytes in pages that hold nothing.
    pub free: u64,
    /// Whether free pages can be given back a few at a time.
    pub can_give_back: bool,
}

/// What a copy turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What SQLite complains of, at most ten things; empty when all is well.
    pub troubles: Vec<String>,
    /// Our tables and `events` with their rows, by name.
    pub rows: Vec<(String, u64)>,
}

impl Upkeep {
    /// Opens the database that is there; none is made.
    ///
    /// # Errors
    /// [`StoreErrorKind::Gone`] when there is no file; else see there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(|error| StoreError::io("open", path, &error))? {
            return Err(StoreError::new(StoreErrorKind::Gone, "open", path, "there is no such file"));
        }
        let opened = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
        opened.map(|conn| Self { conn, path: path.into() }).map_err(|error| StoreError::sqlite("open", path, &error))
    }

    /// How large it is.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn room(&self) -> Result<Room, StoreError> {
        let number = |name: &str| -> rusqlite::Result<u64> {
            self.conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        };
        let room = || -> rusqlite::Result<Room> {
            let page = number("page_size")?;
            Ok(Room {
                bytes: number("page_count")? * page,
                free: number("freelist_count")? * page,
                can_give_back: number("auto_vacuum")? == 2,
            })
        };
        room().map_err(|error| StoreError::sqlite("read", &self.path, &error))
    }

    /// Gives free pages back, a few at a time; `between` is called without any lock, so that others have their turn there.
    ///
    /// # Errors
    /// See [`StoreErrorKind`]; what was given back stays so.
    pub fn give_back(&self, between: &mut dyn FnMut()) -> Result<(), StoreError> {
        let mut last = self.room()?;
        while last.can_give_back && last.free > 0 {
            let give = || {
                let mut statement = self.conn.prepare(&format!("PRAGMA incremental_vacuum({GIVEN_AT_ONCE})"))?;
                let mut rows = statement.query([])?;
                // Each row that is asked for is a page.
                while rows.next()?.is_some() {}
                Ok(())
            };
            give().map_err(|error| self.cannot_write(&error))?;
            let now = self.room()?;
            if now.free >= last.free {
                // Others free pages as fast as we give them back: another time.
                break;
            }
            last = now;
            between();
        }
        Ok(())
    }

    /// Moves what is in the -wal file to the database and empties it; whether that could be done: somebody may be reading.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    pub fn empty_wal(&self) -> Result<bool, StoreError> {
        let ask = |how: &str| {
            let busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            self.conn.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], busy).map(|busy| busy == 0)
        };
        let empty = || {
            // Most of it in a way that keeps nobody waiting.
            ask("PASSIVE")?;
            self.conn.busy_timeout(EMPTY_WITHIN)?;
            let emptied = ask("TRUNCATE");
            self.conn.busy_timeout(BUSY_TIMEOUT)?;
            match emptied {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
                emptied => emptied,
            }
        };
        empty().map_err(|error| self.cannot_write(&error))
    }

    /// Writes a copy of it to `to`, a new file (0600) that needs no other file beside it; on the disk when this returns. `between` is
    /// called between its parts, with the copied and all pages.
    ///
    /// # Errors
    /// See [`StoreErrorKind`]; what is at `to` then is no copy.
    pub fn copy_to(&self, to: &Path, between: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let failed = |error: &std::io::Error| StoreError::io("write", to, error);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|error| failed(&error))?;
        self.copy(to, between).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
                StoreError::sqlite("write", to, &error)
            }
            _ => StoreError::sqlite("copy", &self.path, &error),
        })?;
        // No connection of ours has it open any more.
        File::open(to).and_then(|file| file.sync_all()).map_err(|error| failed(&error))
    }

    fn copy(&self, to: &Path, between: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
        let mut copy = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // What is half done is thrown away, so nothing need be safe before the end.
        copy.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
        copy.pragma_update(None, "synchronous", "OFF")?;
        let mode: String = self.conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        // In another mode whoever reads keeps writers out: there, a write begins the copy anew.
        let snapshot = mode.eq_ignore_ascii_case("wal").then(|| self.conn.unchecked_transaction()).transpose()?;
        if let Some(snapshot) = &snapshot {
            snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        }
        let backup = Backup::new(&self.conn, &mut copy)?;
        loop {
            let step = backup.step(COPIED_AT_ONCE)?;
            if step == StepResult::Done {
                break;
            }
            let progress = backup.progress();
            let [left, all] = [progress.remaining, progress.pagecount].map(|n| u64::try_from(n).unwrap_or(0));
            between(all.saturating_sub(left), all);
        }
        drop(backup);
        drop(snapshot);
        copy.close().map_err(|(_, error)| error)?;
        // It says of itself that it has a -wal file; from now on it has none.
        let copy = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        copy.close().map_err(|(_, error)| error)
    }

    fn cannot_write(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite("write to", &self.path, error)
    }
}

/// Reads all of a copy, and counts its rows; nothing of it is changed.
///
/// # Errors
/// See [`StoreErrorKind`].
pub fn verify_copy(path: &Path) -> Result<Verified, StoreError> {
    let read = || -> rusqlite::Result<Verified> {
        let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let lines = |sql: &str| -> rusqlite::Result<Vec<String>> {
            conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        let mut troubles = lines("PRAGMA integrity_check(10)")?;
        troubles.retain(|line| line != "ok");
        let ours = "SELECT name FROM sqlite_schema WHERE type = 'table' AND (name GLOB 'supervisor_*' OR name = 'events') \
                    ORDER BY name";
        let mut rows = Vec::new();
        for table in lines(ours)? {
            let sql = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
            let count = conn.query_row(&sql, [], |row| row.get::<_, i64>(0))?;
            rows.push((table, count.unsigned_abs()));
        }
        Ok(Verified { troubles, rows })
    };
    read().map_err(|error| StoreError::sqlite("read", path, &error))
}

fn connect(path: &Path, how: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}
