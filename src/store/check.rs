//! Is the database whole? For `doctor`; nothing of it is changed.

use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{ErrorCode, OptionalExtension};

use super::error::StoreError;
use super::query::Reader;
use super::{foreign, schema};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// What SQLite complains of, at most ten things; empty when all is well.
    pub troubles: Vec<String>,
    /// Whether it came to its end in time.
    pub finished: bool,
    /// What people should know about a table `events` that another program has made.
    pub foreign: Option<String>,
    /// The time of the newest record, milliseconds since 1970 UTC.
    pub newest_ms: Option<i64>,
}

impl Reader {
    /// Looks at the whole file, for at most `limit`.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn check(&self, limit: Duration) -> Result<Check, StoreError> {
        let mut check = Check { foreign: self.told(foreign::look(&self.conn))?, ..Check::default() };
        if self.told(schema::exists(&self.conn, "supervisor_events"))? {
            let sql = "SELECT max(timestamp_ms) FROM supervisor_events";
            check.newest_ms = self.told(self.conn.query_row(sql, [], |row| row.get(0)).optional())?.flatten();
        }
        let (done, ended) = mpsc::channel::<()>();
        let handle = self.conn.get_interrupt_handle();
        let asked = std::thread::scope(|scope| {
            scope.spawn(move || {
                if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    handle.interrupt();
                }
            });
            let asked = self.quick_check();
            drop(done);
            asked
        });
        match asked {
            Ok(lines) => {
                check.finished = true;
                check.troubles = lines.into_iter().filter(|line| line != "ok").collect();
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {}
            Err(error) => return self.told(Err(error)),
        }
        Ok(check)
    }

    fn quick_check(&self) -> rusqlite::Result<Vec<String>> {
        self.conn.prepare("PRAGMA quick_check(10)")?.query_map([], |row| row.get(0))?.collect()
    }
}
