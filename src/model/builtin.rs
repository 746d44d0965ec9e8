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

/// One watched set of folders of the built-in file-watcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchSpec {
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
}

/// A kind of change to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
