//! What can be wrong with the ledger, for code (the kind) and for people (the text).

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_READONLY_DBMOVED;

use crate::error::{Error, ErrorKind};

/// What kind of thing is wrong; decides what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Somebody else holds it locked, longer than we waited.
    Busy,
    /// It may be read but not written.
    ReadOnly,
    /// The disk (or a quota) is full.
    Full,
    /// Not a database, or a damaged one.
    Corrupt,
    /// There is no file, or it is another file than the one that was opened.
    Gone,
    /// Our tables were made by a newer supervisor.
    NewerSchema,
    /// Anything else.
    Other,
}

/// A ledger operation that failed. Nothing of it is in the database; the records are still in their journals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What kind of thing is wrong.
    pub kind: StoreErrorKind,
    what: &'static str,
    path: PathBuf,
    detail: String,
}

impl StoreError {
    pub(super) fn new(kind: StoreErrorKind, what: &'static str, path: &Path, detail: impl Into<String>) -> Self {
        Self { kind, what, path: path.to_path_buf(), detail: detail.into() }
    }

    /// `what` is a verb with its preposition: `open`, `write to`.
    pub(super) fn sqlite(what: &'static str, path: &Path, error: &rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            _ if error.sqlite_extended_error_code() == Some(SQLITE_READONLY_DBMOVED) => StoreErrorKind::Gone,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorKind::Busy,
            Some(ErrorCode::ReadOnly) => StoreErrorKind::ReadOnly,
            Some(ErrorCode::DiskFull) => StoreErrorKind::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Other,
        };
        Self::new(kind, what, path, error.to_string())
    }

    pub(super) fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => StoreErrorKind::Gone,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
            _ => StoreErrorKind::Other,
        };
        Self::new(kind, what, path, error.to_string())
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            StoreErrorKind::Busy => "another program holds it locked; close what keeps a transaction open in it",
            StoreErrorKind::ReadOnly => "make the file and its folder writable for this user",
            StoreErrorKind::Full => "free some space on its disk; until then records wait in the journals",
            StoreErrorKind::Corrupt => {
                "move the file away, with its -wal and -shm (`sqlite3 FILE .recover` saves what can be read); a new one \
                 is begun by itself"
            }
            StoreErrorKind::Gone => "if somebody moved it, move it back; else `supervisor run` begins a new one",
            StoreErrorKind::NewerSchema => "run the newer supervisor that wrote it, or move the file away",
            StoreErrorKind::Other => "see that the file and its folder belong to this user, and that the disk is well",
        }
    }

    fn message(&self) -> String {
        format!("cannot {} the ledger {}: {}", self.what, self.path.display(), self.detail)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message(), self.hint())
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorKind::Internal, error.message()).hint(error.hint())
    }
}
