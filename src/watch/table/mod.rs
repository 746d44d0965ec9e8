//! What was seen and what is to be done, on disk: one SQLite file for each watcher, which nobody else writes. It outlives a kill at any
//! moment; after a loss of power it may be a little older, and some files are handled a second time.
//!
//! `files` are those that are dealt with: a file that is there and is not in it, or is in it otherwise, is to be handled. `work` has
//! what cannot be seen by looking: files that are gone or have another name, handlers that failed and are tried again, and those that
//! were given up. `begun` has the other handlers that run.

mod begun;
mod files;
mod folders;
mod reader;
mod work;

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionState};

use begun::Beginnings;
pub(super) use begun::{Beginning, Place};
pub(super) use files::{Elsewhere, Gone, Known};
pub(super) use folders::{Folder, Root};
pub(super) use reader::Reader;
pub(super) use work::{Outcome, Work};

use crate::error::{Error, ErrorKind};

/// The number of the tables below, in SQLite's own `user_version`.
const SCHEMA: i64 = 1;

/// How long a reader (`supervisor watch status`) is waited for.
const LOCKED_FOR: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS root (
  id INTEGER PRIMARY KEY, watch_set TEXT NOT NULL, path BLOB NOT NULL, shape TEXT NOT NULL, since INTEGER NOT NULL,
  taken INTEGER NOT NULL, scanned_ms INTEGER, UNIQUE (watch_set, path)
);
CREATE TABLE IF NOT EXISTS folder (
  id INTEGER PRIMARY KEY, root INTEGER NOT NULL, path BLOB NOT NULL, parent INTEGER, dev INTEGER NOT NULL,
  ino INTEGER NOT NULL, modified INTEGER NOT NULL, UNIQUE (root, path)
);
CREATE INDEX IF NOT EXISTS folder_by_parent ON folder (parent);
CREATE TABLE IF NOT EXISTS file (
  folder INTEGER NOT NULL, name BLOB NOT NULL, dev INTEGER NOT NULL, ino INTEGER NOT NULL, born INTEGER NOT NULL,
  size INTEGER NOT NULL, modified INTEGER NOT NULL, handled_ms INTEGER, gone_ms INTEGER, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS file_by_number ON file (ino, dev);
CREATE INDEX IF NOT EXISTS file_gone ON file (gone_ms) WHERE gone_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS work (
  id INTEGER PRIMARY KEY, root INTEGER NOT NULL, path BLOB NOT NULL, event TEXT NOT NULL, origin BLOB,
  state INTEGER NOT NULL, attempts INTEGER NOT NULL, failures INTEGER NOT NULL, due_ms INTEGER NOT NULL,
  at_ms INTEGER NOT NULL, why TEXT, UNIQUE (root, path)
);
CREATE INDEX IF NOT EXISTS work_due ON work (due_ms) WHERE state = 0;
";

/// Most of the log that is kept when all of it is in the tables, bytes.
const LOG_LIMIT: i64 = 16 << 20;

/// Pages of the log that are moved to the tables at a time: each waits for the disk, and most are written again and again until then.
const LOG_PAGES: i64 = 4_000;

/// The watcher's table.
pub(super) struct Table {
    conn: Connection,
    begun: Beginnings,
    /// What our predecessor left in there.
    left: Vec<Beginning>,
}

/// What SQLite says when it does not take or give something.
pub(super) type Told<T> = rusqlite::Result<T>;

impl Table {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// `Refused` when it was written by a newer version or is no such table: a person has to do something.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let conn = Connection::open(path).map_err(|e| cannot("open", path, &e))?;
        let prepare = || -> Told<i64> {
            conn.busy_timeout(LOCKED_FOR)?;
            conn.pragma_update(None, "journal_mode", "WAL")?;
            // A kill loses nothing; a loss of power loses what came last, which is looked at again.
            conn.pragma_update(None, "synchronous", "NORMAL")?;
            conn.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
            conn.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
            let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found <= SCHEMA {
                conn.execute_batch(TABLES)?;
                conn.pragma_update(None, "user_version", SCHEMA)?;
            }
            Ok(found)
        };
        let found = prepare().map_err(|e| cannot("read", path, &e))?;
        if found > SCHEMA {
            let message = format!("{} was written by a newer version of the supervisor", path.display());
            return Err(Error::new(ErrorKind::Refused, message).hint("install that version again"));
        }
        conn.set_prepared_statement_cache_capacity(64);
        // Else SQLite plans many a statement anew for each value, in case another plan serves it better.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(|e| cannot("open", path, &e))?;
        let begun = path.with_extension("begun");
        let (begun, left) = Beginnings::open(&begun).map_err(|e| Error::io("cannot open", &begun, &e))?;
        Ok(Self { conn, begun, left })
    }

    /// Begins a transaction, unless one has begun.
    pub(super) fn begin(&self) -> Told<()> {
        // Nobody else writes: who has been reading for long sees the last state, and is not refused when it comes to write.
        if self.conn.is_autocommit() { self.now("BEGIN") } else { Ok(()) }
    }

    /// Ends it: all of it is kept. One in which nothing has been written goes on, and another one begins at once: to be let in as a
    /// reader takes SQLite as long as a question, and somebody may be waiting for the answer to the next one.
    pub(super) fn commit(&self) -> Told<()> {
        if self.conn.transaction_state::<&str>(None)? == TransactionState::Write {
            self.now("COMMIT")?;
        }
        if self.conn.is_autocommit() {
            // All is well without it.
            let _ = self.begin().and_then(|()| self.alive());
        }
        Ok(())
    }

    fn now(&self, word: &str) -> Told<()> {
        self.conn.prepare_cached(word)?.raw_execute().map(|_| ())
    }

    /// Ends it: nothing of it is.
    pub(super) fn roll_back(&self) {
        if !self.conn.is_autocommit() {
            // What cannot be rolled back has been already.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }
}

fn cannot(what: &str, path: &Path, error: &rusqlite::Error) -> Error {
    let message = format!("cannot {what} the table of watched files {}: {error}", path.display());
    let broken = matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
    );
    if broken {
        let hint = "move it away; the files that are there now are taken as seen then";
        return Error::new(ErrorKind::Refused, message).hint(hint);
    }
    Error::new(ErrorKind::Internal, message)
}

/// Folder and name of a path below a root.
pub(super) fn split(below: &[u8]) -> (&[u8], &[u8]) {
    match below.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&below[..at], &below[at + 1..]),
        None => (b"", below),
    }
}

/// SQLite's numbers have a sign; nothing but equality is asked of these.
fn signed(number: u64) -> i64 {
    i64::from_ne_bytes(number.to_ne_bytes())
}

fn unsigned(number: i64) -> u64 {
    u64::from_ne_bytes(number.to_ne_bytes())
}

#[cfg(test)]
mod tests;
