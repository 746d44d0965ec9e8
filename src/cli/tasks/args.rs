//! The words of `tasks`.

use clap::{Args, Subcommand};

/// `tasks`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Tasks {
    /// What is to be done; without it jobs are told of
    #[command(subcommand)]
    pub what: Option<What>,
    /// Which job; without it all of them, in a line each
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Slots from then on: a duration (10m, 24h, 7d) or a time (2026-11-22, 2026-11-22T10:00)
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// At most so many slots, the latest
    #[arg(short = 'n', long, value_name = "N", requires = "name", default_value_t = 20)]
    pub limit: usize,
}

/// What can be done to a job.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum What {
    /// Run a job now, and tell what became of it
    #[command(after_help = super::super::examples::TASKS_RUN_EXAMPLES)]
    Run(Run),
    /// End the run of a job that is under way
    #[command(
        after_help = "The run ends as cancelled; its step is sent its stop signal first. Said a second time meanwhile, the step is killed at once. Exits 6 when none is under way."
    )]
    Stop(Stop),
}

/// `tasks run`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Run {
    /// Which job
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Go on with the failed step of the last run
    #[arg(long)]
    pub resume: bool,
    /// Do not wait until it has ended
    #[arg(long)]
    pub no_wait: bool,
}

/// `tasks stop`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Stop {
    /// Which job
    #[arg(value_name = "NAME")]
    pub name: String,
}
