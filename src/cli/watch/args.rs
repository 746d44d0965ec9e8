//! The words of `watch`.

use clap::{Args, Subcommand};

use crate::cli::examples;

/// `watch`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Watch {
    /// What of it.
    #[command(subcommand)]
    pub what: What,
}

/// What can be asked of, and said to, the file-watcher.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum What {
    /// Tell how each watched folder stands, what waits, and which files were given up
    #[command(after_help = examples::WATCH_STATUS_EXAMPLES)]
    Status(Shown),
    /// Have files handled again whose handler failed for the last time
    #[command(after_help = examples::WATCH_RETRY_EXAMPLES, override_usage = "supervisor watch retry [OPTIONS] <ID>...|--all")]
    Retry(Retry),
    /// Have files handled again that were handled, or given up, since then
    #[command(after_help = examples::WATCH_REPLAY_EXAMPLES)]
    Replay(Replay),
}

/// `watch status`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Shown {
    /// Which service, where there is more than one with builtin = "file-watcher"
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// `watch retry`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Retry {
    /// Which, by the numbers that `watch status` shows
    #[arg(value_name = "ID", required_unless_present = "all", value_parser = clap::value_parser!(i64).range(1..))]
    pub ids: Vec<i64>,
    /// All that were given up
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Only files of this watch set
    #[arg(long, value_name = "SET")]
    pub set: Option<String>,
    /// Which service, where there is more than one with builtin = "file-watcher"
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// `watch replay`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Replay {
    /// From then on: a duration (10m, 24h, 7d) or a time (2026-11-22, 2026-11-22T10:00)
    #[arg(long, value_name = "WHEN")]
    pub since: String,
    /// Only files of this watch set
    #[arg(long, value_name = "SET")]
    pub set: Option<String>,
    /// Which service, where there is more than one with builtin = "file-watcher"
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}
