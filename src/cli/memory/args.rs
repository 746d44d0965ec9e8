//! The words of `memory`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `memory`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Memory {
    /// What else there is to it; without it a history is shown.
    #[command(subcommand)]
    pub what: Option<What>,
    /// Which service; without it all of them, in a line each
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// From then on: a duration (10m, 24h, 7d) or a time (2026-11-22, 2026-11-22T10:00) [default: 48h]
    #[arg(long, value_name = "WHEN", requires = "name")]
    pub since: Option<String>,
    /// Write the picture to this file, as SVG, instead of drawing it here; - is stdout
    #[arg(long, value_name = "FILE", requires = "name")]
    pub svg: Option<PathBuf>,
    /// Have it write its heap to a file now, by its `snapshot_signal`, and wait for that
    #[arg(long, requires = "name", conflicts_with_all = ["since", "svg"])]
    pub snapshot: bool,
}

/// What else there is to `memory`.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum What {
    /// Show when the leak detector would have told of a recorded history
    #[command(after_help = super::super::examples::REPLAY_EXAMPLES)]
    Replay(Replay),
}

/// `memory replay`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Replay {
    /// What counts as fast growth, as in services.toml: 10MB/h
    #[arg(long, value_name = "RATE")]
    pub growth: String,
    /// A cache that fills up to this size is none
    #[arg(long, value_name = "SIZE")]
    pub plateau: Option<String>,
    /// Where it would be restarted for its memory
    #[arg(long, value_name = "SIZE")]
    pub limit: Option<String>,
    /// How often it is replaced on purpose
    #[arg(long, value_name = "TIME")]
    pub recycle: Option<String>,
    /// The lines; - or nothing is stdin
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}
