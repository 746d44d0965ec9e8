//! The services that are part of this binary, as services.toml declares them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What outlives what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// An event that was answered for outlives every process.
    #[default]
    Process,
    /// And a loss of power, at the price of an fsync for each transaction.
    Full,
}

/// Services that are part of this binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// Reacts to new files in watched folders.
    FileWatcher,
    /// Takes events over loopback HTTP.
    EmitServer,
}

/// What no watch set takes for a file, unless its `ignore` has the same glob with `!` before it: what browsers write before a
/// download is whole, and what the Finder leaves in each folder.
pub const NEVER_WATCHED: &[&str] = &[
    "*.crdownload",
    "*.part",
    "*.partial",
    "*.download",
    "*.opdownload",
    ".com.google.Chrome.*",
    ".org.chromium.Chromium.*",
    ".DS_Store",
    "._*",
];

/// What a word of `run` may have in braces: it stands for something of the file.
pub const PLACEHOLDERS: [&str; 6] = ["path", "name", "dir", "attempt", "event", "from"];

/// What becomes of the files that are there when a folder is watched for the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Initial {
    /// They are known from then on, and left alone.
    #[default]
    Seen,
    /// They are new.
    Handle,
}

/// One watched set of folders of the built-in file-watcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchSpec {
    /// What its files are remembered under: no other set of the service has it.
    pub name: String,
    /// Folders, absolute.
    pub paths: Vec<PathBuf>,
    /// What is reacted to.
    pub on: Vec<WatchOn>,
    /// Sub-folders too.
    pub recursive: bool,
    /// Size and modification time unchanged for that long.
    pub settle: Duration,
    /// Globs in gitignore syntax.
    pub ignore: Vec<String>,
    /// argv of the handler with `{path}`, `{name}`, `{dir}`.
    pub run: Vec<String>,
    /// Handlers at the same time.
    pub concurrency: u32,
    /// For one handler.
    pub timeout: Duration,
    /// How often a handler that fails is run again.
    pub retries: u32,
    /// Before the first of them; twice as long before each further one, an hour at most.
    pub retry_delay: Duration,
    /// What becomes of the files that are there at the first start.
    pub initial: Initial,
    /// Between two scans of a folder whose volume tells of no changes; `None`: 30 s where that is so, never elsewhere.
    pub poll: Option<Duration>,
}

/// A kind of change to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatchOn {
    /// A new file.
    Created,
    /// New content.
    Modified,
    /// Gone.
    Removed,
    /// Another name.
    Renamed,
}

impl WatchOn {
    /// The word in services.toml and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
        }
    }
}
