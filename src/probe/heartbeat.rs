//! A file that the service touches.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::exec::aside;
use super::words::millis;
use crate::model::Answer;

/// When the file was last modified. On a thread: a file system that hangs shall not take the daemon with it.
pub(super) async fn look(path: &Path, timeout: Duration) -> Answer {
    let path = path.to_owned();
    let stat = move || std::fs::metadata(path).map(|file| modified(file.mtime(), file.mtime_nsec()));
    match aside(stat, timeout).await {
        Ok(Some(stat)) => read(stat),
        Ok(None) => Answer::NotAsked(format!("its file system did not answer within {}", millis(timeout))),
        Err(error) => Answer::NotAsked(format!("the file could not be looked at: {error}")),
    }
}

/// Nanoseconds since 1970.
fn modified(seconds: i64, nanoseconds: i64) -> u64 {
    let whole = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    u64::try_from(whole.max(0)).unwrap_or(u64::MAX)
}

fn read(stat: io::Result<u64>) -> Answer {
    match stat {
        Ok(modified) => Answer::Beat(Some(modified)),
        Err(error) if error.kind() == ErrorKind::NotFound => Answer::Beat(None),
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotADirectory) => {
            Answer::Misasked(format!(
                "the file cannot be looked at: {error}; check its path and the rights on its folders"
            ))
        }
        Err(error) => Answer::NotAsked(format!("the file could not be looked at: {error}")),
    }
}
