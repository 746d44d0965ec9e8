//! The words of `alerts`.

use clap::{Args, Subcommand};

/// `alerts`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Alerts {
    /// What is said to them; without it they are listed.
    #[command(subcommand)]
    pub say: Option<Say>,
    /// All that are on record, however old
    #[arg(long, conflicts_with = "since")]
    pub all: bool,
    /// Past ones that still held then, too: a duration (10m, 24h, 7d) or a time (2026-11-22, 2026-11-22T10:00)
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
}

/// What can be asked of, and said to, alerts.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Say {
    /// Tell everything about one alert: what broke, the last lines, what to do, who was told
    Show(One),
    /// Say that you know of an alert: no more reminders
    Ack(One),
    /// Tell nobody of what a service does, for so long; it goes on record all the same
    #[command(override_usage = "supervisor alerts silence [OPTIONS] <NAME>|--all <TIME>", after_help = super::super::examples::SILENCE_EXAMPLES)]
    Silence(Silence),
    /// End a silence
    Unsilence(Unsilence),
    /// Send a marked test the way that alerts go, and tell whether it arrived
    #[command(after_help = "Exits 6 when it was not delivered to each sink. Needs the daemon.")]
    Test(Test),
    /// Print what a sink would be sent for a made-up alert; nothing is sent
    Preview(Preview),
}

/// `alerts show`, `alerts ack`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct One {
    /// Its id, or as much of the beginning as no other has
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `alerts silence`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Silence {
    /// Which service or task; left out with --all
    // clap cannot say that: with --all this is the time.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// For how long: 30m, 2h, 7d
    #[arg(value_name = "TIME")]
    pub time: Option<String>,
    /// Of all services, and of the supervisor itself
    #[arg(long)]
    pub all: bool,
    /// Only what this rule says, such as crash-loop
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
}

/// `alerts unsilence`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Unsilence {
    /// The silence's number, or a service: all silences of that
    #[arg(value_name = "ID|NAME")]
    pub which: String,
}

/// `alerts test`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Test {
    /// Only through this one
    #[arg(value_name = "SINK")]
    pub sink: Option<String>,
}

/// `alerts preview`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Preview {
    /// What the alert is about [default: crash-loop]
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// Only for this one
    #[arg(long, value_name = "SINK")]
    pub sink: Option<String>,
}
