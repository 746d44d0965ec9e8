//! What the built-in file-watcher says of itself.

use serde::{Deserialize, Serialize};

use super::WatchOn;

/// All of it: `supervisor watch status --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WatcherStatus {
    /// Of this shape: 1.
    pub schema: u32,
    /// Which service.
    pub service: String,
    /// Its process; `None`: it does not run, and this is what it has written down.
    pub pid: Option<u32>,
    /// Where changes are told from: `inotify`, `FSEvents`.
    pub events: Option<String>,
    /// Its proof on a file of its own.
    pub canary: Option<Canary>,
    /// Each watch set.
    pub sets: Vec<WatchSetStatus>,
    /// What was given up, the newest first, 100 at most.
    pub dead: Vec<DeadLetter>,
}

/// The watcher's proof on a file of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// When it was told of that file last, milliseconds since 1970 UTC.
    pub proved_ms: Option<i64>,
    /// What is wrong.
    pub trouble: Option<String>,
}

/// One watch set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchSetStatus {
    /// Its name.
    pub name: String,
    /// What is run.
    pub run: Vec<String>,
    /// Its folders.
    pub folders: Vec<WatchedFolder>,
    /// Files that are known.
    pub known: u64,
    /// Files that settle, or wait for a handler.
    pub waiting: u64,
    /// More wait than are kept in mind: the rest is found by the next scan.
    pub behind: bool,
    /// Handlers that run.
    pub running: u32,
    /// Failed ones that are tried again.
    pub retrying: u64,
    /// Those that are not.
    pub dead: u64,
    /// Handled well since the watcher's start.
    pub handled: u64,
    /// When one was, milliseconds since 1970 UTC.
    pub handled_ms: Option<i64>,
    /// Whether a scan is under way.
    pub scanning: bool,
    /// When the last one ended, milliseconds since 1970 UTC.
    pub scanned_ms: Option<i64>,
}

/// A folder of a watch set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchedFolder {
    /// Where; what is no UTF-8 is replaced.
    pub path: String,
    /// How it is watched.
    pub state: WatchState,
    /// Why it is so, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// What a person can do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

/// How a folder is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchState {
    /// It has not been looked at yet.
    #[default]
    Unknown,
    /// The system tells of each change.
    Watched,
    /// It is scanned again and again.
    Polled,
    /// There is none: it is watched from when there is.
    Absent,
    /// It cannot be read.
    Denied,
    /// A part of it cannot be watched or read.
    Partly,
}

impl WatchState {
    /// The word in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Watched => "watched",
            Self::Polled => "polled",
            Self::Absent => "absent",
            Self::Denied => "denied",
            Self::Partly => "partly",
        }
    }

    /// The state that has this word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Unknown, Self::Watched, Self::Polled, Self::Absent, Self::Denied, Self::Partly];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

/// A file whose handler has failed for the last time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// By this number `watch retry` knows it.
    pub id: i64,
    /// Of which set.
    pub set: String,
    /// Which file; what is no UTF-8 is replaced.
    pub path: String,
    /// What had happened to it.
    pub event: WatchOn,
    /// How often its handler was started.
    pub attempts: u32,
    /// When it failed last, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// How.
    pub why: String,
}

/// Which dead letters are tried again: `POST /retry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRequest {
    /// By number; empty: all.
    pub ids: Vec<i64>,
    /// Only those of this set.
    pub set: Option<String>,
}

/// Which files are handled again: `POST /replay`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayRequest {
    /// Those that were handled, or given up, since then; milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Only those of this set.
    pub set: Option<String>,
}

/// What came of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// So many files are handled again.
    pub files: u64,
}
