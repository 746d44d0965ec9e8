//! Asking the built-in file-watcher, which speaks as the daemon does, at a socket of its own.

use std::path::Path;

use super::{Line, Patience, Who};
use crate::error::Error;
use crate::model::{Again, ReplayRequest, RetryRequest, WatcherStatus};

/// A connection to a file-watcher, good for one request.
#[derive(Debug)]
pub struct Watcher {
    line: Line,
}

impl Watcher {
    /// Connects to the file-watcher behind `socket`; `None` when it does not run.
    pub fn connect_if_running(socket: &Path) -> Result<Option<Self>, Error> {
        Line::open_if_running(Who::Watcher, socket).map(|line| line.map(|line| Self { line }))
    }

    /// How its folders and its handlers stand.
    pub fn status(self) -> Result<WatcherStatus, Error> {
        self.line.ask("GET", "/status", None, Patience::Short)
    }

    /// Has dead letters tried again.
    pub fn retry(self, body: &RetryRequest) -> Result<Again, Error> {
        self.line.post("/retry", body, Patience::UntilDone)
    }

    /// Has files handled again that were.
    pub fn replay(self, body: &ReplayRequest) -> Result<Again, Error> {
        self.line.post("/replay", body, Patience::UntilDone)
    }
}
