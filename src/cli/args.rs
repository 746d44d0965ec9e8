//! The words of the command line. clap reads them; what it refuses becomes one sentence that says what to type.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use super::alerts::args::Alerts;
use super::examples::*;
pub use super::memory::args::Memory;
use super::serve::Serve;
pub use super::tasks::args::Tasks;
pub use super::watch::args::Watch;
use super::{plain, wrong};
use crate::error::{Error, ErrorKind};

/// Keeps local services alive, and puts every exit on record.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "supervisor", version, after_long_help = EXIT_CODES, max_term_width = 100, subcommand_required = true)]
#[command(disable_help_subcommand = true)]
pub struct Invocation {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Global {
    /// Read this services.toml [default: $SUPERVISOR_CONFIG, ./services.toml, then the one in your config folder]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Keep state here, whatever services.toml says [default: $OPENCLAW_STATE_DIR, then services.toml]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON; errors too, on stderr
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Colour the output: always, never, or auto (on a terminal, and not with NO_COLOR)
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub color: Color,
    /// Say more: once for details, twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = "SIGTERM and SIGINT stop what it started, in order. SIGHUP is `supervisor reload`.")]
    Run(Run),
    /// Run a runner: the parent of the services named (service managers call this)
    #[command(
        after_help = "SIGTERM stops its services and ends it; what is wanted of them (`start`, `stop`) stays as it was.",
        override_usage = "supervisor exec [OPTIONS] <NAME>..."
    )]
    Exec(Exec),
    /// Everything that asks, and ends when it has its answer.
    #[command(flatten)]
    Ask(Ask),
}

/// What the command line does itself; the other commands become the daemon or a runner.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Ask {
    /// Tell what everything is doing
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Start services, and keep them up from now on
    #[command(after_help = ORDER_EXAMPLES, override_usage = "supervisor start [OPTIONS] <NAME>...|--all")]
    Start(Order),
    /// Stop services, and keep them down, also over a reboot
    #[command(after_help = ORDER_EXAMPLES, override_usage = "supervisor stop [OPTIONS] <NAME>...|--all")]
    Stop(Order),
    /// Stop services, let them finish their work first, and start them again
    #[command(after_help = ORDER_EXAMPLES, override_usage = "supervisor restart [OPTIONS] <NAME>...|--all")]
    Restart(Order),
    /// Take over a changed services.toml, touching only what changed
    #[command(after_help = "A file with faults changes nothing. Needs the daemon.")]
    Reload(Reload),
    /// Have daemon and runners become this program, in place: no service is touched
    #[command(after_help = UPGRADE_EXAMPLES)]
    Upgrade,
    /// Have launchd or systemd start everything at login, from now on
    #[command(after_help = INSTALL_EXAMPLES)]
    Install(Install),
    /// Undo `install`: end everything, and bring back what was there before
    #[command(after_help = UNINSTALL_EXAMPLES)]
    Uninstall(Uninstall),
    /// Explain one service: what it is doing, why, since when, what would change it
    Why(Why),
    /// Print what a service has written
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(Logs),
    /// Print the ledger: starts, exits, crashes and all else that happened
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(Events),
    /// Tell what a person should look at, and what stands in the way of telling them
    #[command(after_help = ALERTS_EXAMPLES)]
    Alerts(Alerts),
    /// Tell when calendar jobs run and what became of each time they were due, or run one now
    #[command(after_help = TASKS_EXAMPLES, override_usage = "supervisor tasks [OPTIONS] [NAME]\n       supervisor tasks run [OPTIONS] <NAME>\n       supervisor tasks stop [OPTIONS] <NAME>")]
    Tasks(Tasks),
    /// Draw what a service's memory did, and tell whether it grows
    #[command(after_help = MEMORY_EXAMPLES, override_usage = "supervisor memory [OPTIONS] [NAME]\n       supervisor memory replay [OPTIONS] --growth <RATE> [FILE]")]
    Memory(Memory),
    /// Tell how watched folders stand, or have files handled again
    Watch(Watch),
    /// Tell what is wrong with this machine's set-up, each with what mends it
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Do one step of a calendar job that is part of this program (runs of jobs call this)
    #[command(hide = true)]
    Step(Step),
    /// Be a service that is part of this program (runners call this)
    #[command(hide = true)]
    Serve(Serve),
    /// Check services.toml, and tell every fault with its place
    #[command(after_help = CHECK_EXAMPLES)]
    Check,
    /// Make a services.toml of what other service managers have
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Print the JSON schema of services.toml
    Schema,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
}

/// `exec`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Exec {
    /// The services this runner owns
    #[arg(required_unless_present = "embedded", value_name = "NAME")]
    pub names: Vec<String>,
    /// Started by the daemon's embedded manager
    #[arg(long, hide = true)]
    pub embedded: bool,
    /// What the program that this process was before has handed over
    #[arg(long, hide = true)]
    pub handover: Option<i32>,
    /// Who starts this run of a calendar job, where it is not a service manager
    #[arg(long, hide = true)]
    pub trigger: Option<Starter>,
    /// A run of a calendar job that a person wants, whatever its calendar says
    #[arg(long, hide = true, conflicts_with = "trigger")]
    pub extra: bool,
    /// The run that it is to go on with, from its failed step
    #[arg(long, hide = true, requires = "extra", value_name = "SLOT")]
    pub resume: Option<String>,
}

/// Who starts a run of a calendar job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the name says it")]
pub enum Starter {
    Daemon,
}

/// `run`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Run {
    /// What the program that this process was before has handed over
    #[arg(long, hide = true)]
    pub handover: Option<i32>,
}

/// `status`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Status {
    /// Only these, with more of what is known
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `start`, `stop`, `restart`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Order {
    /// Which services
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,
    /// All services
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
}

/// `reload`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Reload {
    /// Only tell what would change
    #[arg(long)]
    pub dry_run: bool,
}

/// `install`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Install {
    /// Who is to load it: launchd or systemd (the usual: what services.toml says, else the system's)
    #[arg(long, value_enum, value_name = "WHO", hide_possible_values = true)]
    pub manager: Option<Loader>,
    /// Where to write plists or units, if not where the service manager looks at login
    #[arg(long, visible_alias = "unit-dir", value_name = "DIR")]
    pub plist_dir: Option<PathBuf>,
    /// Only write them
    #[arg(long)]
    pub no_load: bool,
    /// Only tell what would be done, with a diff of each file
    #[arg(long)]
    pub dry_run: bool,
    /// Take over jobs of the same labels that were not written by us
    #[arg(long)]
    pub adopt: bool,
    /// Install even though somebody else starts the same programs
    #[arg(long)]
    pub beside: bool,
    /// For a machine that nobody logs in to: write jobs for root to load, which start everything as you
    #[arg(long)]
    pub system: bool,
}

/// Who loads jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Loader {
    Launchd,
    Systemd,
}

/// `uninstall`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Uninstall {
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// `why`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Why {
    /// Which service or task
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `logs`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Logs {
    /// Which service
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Go on printing what is written, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: usize,
    /// Everything from then on: a duration (10m, 24h, 7d) or a time (2026-11-22, 2026-11-22T10:00)
    #[arg(long, value_name = "WHEN", conflicts_with = "lines")]
    pub since: Option<String>,
    /// What was written to stderr instead of stdout
    #[arg(long)]
    pub stderr: bool,
}

/// `events`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Events {
    /// From then on: a duration (10m, 24h, 7d) or a time (2026-11-22, 2026-11-22T10:00)
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only of this service or task
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only of this type, such as service_crash; may be given more than once
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only those for which something was written down, and where that is
    #[arg(long)]
    pub evidence: bool,
    /// At most so many, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
}

/// `import`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Import {
    /// launchd plists, systemd units, a Procfile, supervisord.conf, PM2's JSON; - is stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What all of them are [default: by name and content]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<ImportFormat>,
    /// Write a new file, for your eyes only, instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `import` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ImportFormat {
    Launchd,
    Systemd,
    Procfile,
    Supervisord,
    Pm2,
}

/// `doctor`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Doctor {
    /// Try the service manager with a job of its own
    #[arg(long)]
    pub self_test: bool,
    /// Try a calendar job, too, which takes up to two minutes
    #[arg(long, requires = "self_test")]
    pub calendar: bool,
}

/// `step`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Step {
    /// Which job
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Which of its steps, from 1
    #[arg(value_name = "N")]
    pub number: usize,
}

/// `completions`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Man {
    /// Folder to write all pages to; without it the main page is printed
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Why there is nothing to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Early {
    /// Help or version was asked for: print this and exit 0.
    Text {
        /// Without colours.
        plain: String,
        /// With ANSI colours.
        coloured: String,
    },
    /// The command line is wrong.
    Wrong {
        /// What, and what to type.
        error: Error,
        /// Whether the error is to be JSON; clap cannot say, as it did not get that far.
        json: bool,
    },
}

/// Reads the command line, program name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Early> {
    let args: Vec<OsString> = args.into_iter().collect();
    let json = args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let mut invocation = match plain::status(&args) {
        Some(plain) => plain,
        None => Invocation::try_parse_from(args).map_err(|error| wrong::early(&error, json))?,
    };
    for path in [&mut invocation.global.config, &mut invocation.global.state_dir].into_iter().flatten() {
        *path = std::path::absolute(&*path).map_err(|fault| Early::Wrong {
            error: Error::new(ErrorKind::Usage, format!("the path {:?} cannot be used: {fault}", path.display())),
            json,
        })?;
    }
    Ok(invocation)
}

/// The command line's grammar, for manuals and completions.
pub fn grammar() -> clap::Command {
    Invocation::command()
}

#[cfg(test)]
mod tests {
    use super::super::alerts::args::{One, Preview, Say, Silence, Test, Unsilence};
    use super::super::memory::args::{Replay, What};
    use super::super::watch::args::{Replay as Once, Retry as Again, Shown, What as Asked};
    use super::*;

    fn read(line: &str) -> Result<Invocation, Early> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn command(line: &str) -> Command {
        read(line).unwrap_or_else(|early| panic!("{line}: {early:?}")).command
    }

    fn wrong(line: &str) -> Error {
        match read(line) {
            Err(Early::Wrong { error, .. }) => error,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_grammar_is_consistent() {
        grammar().debug_assert();
    }

    fn say(what: Say) -> Command {
        Command::Ask(Ask::Alerts(Alerts { say: Some(what), ..Alerts::default() }))
    }

    fn watch(what: Asked) -> Command {
        Command::Ask(Ask::Watch(Watch { what }))
    }

    #[test]
    fn right_lines_are_read() {
        let logs = Logs { name: "a".into(), follow: false, lines: 100, since: None, stderr: false };
        let events = Events { since: None, service: None, types: vec![], evidence: false, limit: 100 };
        let table = [
            ("supervisor run", Command::Run(Run::default())),
            ("supervisor exec a b", Command::Exec(Exec { names: names(&["a", "b"]), ..Exec::default() })),
            ("supervisor status", Command::Ask(Ask::Status(Status::default()))),
            ("supervisor status a", Command::Ask(Ask::Status(Status { names: names(&["a"]) }))),
            ("supervisor start a b", Command::Ask(Ask::Start(Order { names: names(&["a", "b"]), ..Order::default() }))),
            ("supervisor stop --all", Command::Ask(Ask::Stop(Order { all: true, ..Order::default() }))),
            (
                "supervisor restart --no-wait a",
                Command::Ask(Ask::Restart(Order { names: names(&["a"]), all: false, no_wait: true })),
            ),
            ("supervisor reload", Command::Ask(Ask::Reload(Reload::default()))),
            ("supervisor reload --dry-run", Command::Ask(Ask::Reload(Reload { dry_run: true }))),
            ("supervisor why a", Command::Ask(Ask::Why(Why { name: "a".into() }))),
            ("supervisor logs a", Command::Ask(Ask::Logs(logs.clone()))),
            (
                "supervisor logs a -f -n 5 --stderr",
                Command::Ask(Ask::Logs(Logs { follow: true, lines: 5, stderr: true, ..logs.clone() })),
            ),
            ("supervisor logs a --since 10m", Command::Ask(Ask::Logs(Logs { since: Some("10m".into()), ..logs }))),
            ("supervisor events", Command::Ask(Ask::Events(events.clone()))),
            (
                "supervisor events --since 24h --service a --type x --type y --evidence -n 7",
                Command::Ask(Ask::Events(Events {
                    since: Some("24h".into()),
                    service: Some("a".into()),
                    types: names(&["x", "y"]),
                    evidence: true,
                    limit: 7,
                })),
            ),
            ("supervisor alerts", Command::Ask(Ask::Alerts(Alerts::default()))),
            ("supervisor alerts --all", Command::Ask(Ask::Alerts(Alerts { all: true, ..Alerts::default() }))),
            (
                "supervisor alerts --since 7d",
                Command::Ask(Ask::Alerts(Alerts { since: Some("7d".into()), ..Alerts::default() })),
            ),
            ("supervisor alerts show 5f", say(Say::Show(One { id: "5f".into() }))),
            ("supervisor alerts ack 5f", say(Say::Ack(One { id: "5f".into() }))),
            (
                "supervisor alerts silence a 2h --rule held",
                say(Say::Silence(Silence {
                    name: "a".into(),
                    time: Some("2h".into()),
                    all: false,
                    rule: Some("held".into()),
                })),
            ),
            (
                "supervisor alerts silence --all 2h",
                say(Say::Silence(Silence { name: "2h".into(), time: None, all: true, rule: None })),
            ),
            ("supervisor alerts unsilence 3", say(Say::Unsilence(Unsilence { which: "3".into() }))),
            ("supervisor alerts test", say(Say::Test(Test::default()))),
            ("supervisor alerts test ops", say(Say::Test(Test { sink: Some("ops".into()) }))),
            (
                "supervisor alerts preview --rule held --sink ops",
                say(Say::Preview(Preview { rule: Some("held".into()), sink: Some("ops".into()) })),
            ),
            ("supervisor memory", Command::Ask(Ask::Memory(Memory::default()))),
            (
                "supervisor memory a --since 10d --svg /tmp/a.svg",
                Command::Ask(Ask::Memory(Memory {
                    name: Some("a".into()),
                    since: Some("10d".into()),
                    svg: Some("/tmp/a.svg".into()),
                    ..Memory::default()
                })),
            ),
            (
                "supervisor memory a --snapshot",
                Command::Ask(Ask::Memory(Memory { name: Some("a".into()), snapshot: true, ..Memory::default() })),
            ),
            (
                "supervisor memory -- replay",
                Command::Ask(Ask::Memory(Memory { name: Some("replay".into()), ..Memory::default() })),
            ),
            (
                "supervisor memory replay --growth 10MB/h --plateau 1GiB --limit 3GiB --recycle 24h -",
                Command::Ask(Ask::Memory(Memory {
                    what: Some(What::Replay(Replay {
                        growth: "10MB/h".into(),
                        plateau: Some("1GiB".into()),
                        limit: Some("3GiB".into()),
                        recycle: Some("24h".into()),
                        file: Some("-".into()),
                    })),
                    ..Memory::default()
                })),
            ),
            ("supervisor watch status", watch(Asked::Status(Shown::default()))),
            ("supervisor watch status a", watch(Asked::Status(Shown { name: Some("a".into()) }))),
            ("supervisor watch retry --all", watch(Asked::Retry(Again { all: true, ..Again::default() }))),
            (
                "supervisor watch retry 3 4 --set in --service a",
                watch(Asked::Retry(Again {
                    ids: vec![3, 4],
                    all: false,
                    set: Some("in".into()),
                    service: Some("a".into()),
                })),
            ),
            (
                "supervisor watch replay --since 24h --set in",
                watch(Asked::Replay(Once { since: "24h".into(), set: Some("in".into()), service: None })),
            ),
            ("supervisor doctor", Command::Ask(Ask::Doctor(Doctor::default()))),
            (
                "supervisor doctor --self-test --calendar",
                Command::Ask(Ask::Doctor(Doctor { self_test: true, calendar: true })),
            ),
            ("supervisor check", Command::Ask(Ask::Check)),
            (
                "supervisor import a b --format pm2 -o c",
                Command::Ask(Ask::Import(Import {
                    files: vec!["a".into(), "b".into()],
                    format: Some(ImportFormat::Pm2),
                    output: Some("c".into()),
                })),
            ),
            ("supervisor schema", Command::Ask(Ask::Schema)),
            (
                "supervisor completions zsh",
                Command::Ask(Ask::Completions(Completions { shell: clap_complete::Shell::Zsh })),
            ),
            ("supervisor man", Command::Ask(Ask::Man(Man::default()))),
            ("supervisor man /tmp/m", Command::Ask(Ask::Man(Man { dir: Some("/tmp/m".into()) }))),
        ];
        for (line, expected) in table {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "supervisor --config /c --state-dir /s --json --color never -vv status",
            "supervisor status --config /c --state-dir /s --json --color never -vv",
        ] {
            let expected = Global {
                config: Some("/c".into()),
                state_dir: Some("/s".into()),
                json: true,
                color: Color::Never,
                verbose: 2,
            };
            assert_eq!(read(line).unwrap().global, expected, "{line}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(read("supervisor --config x.toml run").unwrap().global.config, Some(here.join("x.toml")));
    }

    #[test]
    fn every_wrong_line_ends_with_2_and_says_what_to_type() {
        for (line, message, hint) in [
            ("supervisor", "no command was given", "supervisor status"),
            ("supervisor statsu", "unrecognized subcommand 'statsu'", "'status'"),
            ("supervisor help", "unrecognized subcommand 'help'", "supervisor [OPTIONS] <COMMAND>"),
            ("supervisor exec", "<NAME>...", "supervisor exec [OPTIONS] <NAME>..."),
            ("supervisor start", "<NAME>...", "supervisor start [OPTIONS] <NAME>...|--all"),
            ("supervisor stop", "<NAME>...", "supervisor stop"),
            ("supervisor restart --no-wait", "<NAME>...", "supervisor restart"),
            ("supervisor start a --all", "cannot be used with", "supervisor start"),
            ("supervisor start --wait a", "unexpected argument '--wait'", "supervisor start"),
            ("supervisor reload a", "unexpected argument 'a'", "supervisor reload [OPTIONS]"),
            ("supervisor why", "<NAME>", "supervisor why <NAME>"),
            ("supervisor why a b", "unexpected argument 'b'", "supervisor why"),
            ("supervisor logs", "<NAME>", "supervisor logs <NAME>"),
            ("supervisor watch", "no command was given", "`supervisor watch --help`"),
            ("supervisor watch retry", "<ID>...", "supervisor watch retry [OPTIONS] <ID>...|--all"),
            ("supervisor watch retry --set in", "<ID>...", "supervisor watch retry"),
            ("supervisor watch retry 0", "0 is not in 1..", "--help"),
            ("supervisor watch retry 1 --all", "cannot be used with", "supervisor watch retry"),
            ("supervisor watch replay", "--since <WHEN>", "supervisor watch replay"),
            ("supervisor logs a -n x", "invalid value 'x'", "--help"),
            ("supervisor logs a -n -1", "unexpected argument '-1'", "supervisor logs"),
            ("supervisor logs a -n 5 --since 1h", "cannot be used with", "supervisor logs"),
            ("supervisor events a", "unexpected argument 'a'", "supervisor events"),
            ("supervisor events --type", "a value is required for '--type <TYPE>'", "--help"),
            ("supervisor alerts ack", "<ID>", "supervisor alerts ack <ID>"),
            ("supervisor alerts silence", "<NAME>", "supervisor alerts silence [OPTIONS] <NAME>|--all <TIME>"),
            ("supervisor alerts --all --since 1h", "cannot be used with", "supervisor alerts"),
            ("supervisor alerts frob", "unrecognized subcommand 'frob'", "supervisor alerts"),
            ("supervisor memory a b", "'b' cannot be used with '[NAME]'", "supervisor memory"),
            ("supervisor memory --svg x", "<NAME>", "supervisor memory"),
            ("supervisor memory replay", "--growth <RATE>", "supervisor memory replay --growth <RATE>"),
            ("supervisor memory replay --growth 1MB/h a b", "unexpected argument 'b'", "supervisor memory replay"),
            ("supervisor doctor --calendar", "--self-test", "supervisor doctor"),
            ("supervisor check x", "unexpected argument 'x'", "supervisor check"),
            ("supervisor import", "<FILE>...", "supervisor import <FILE>..."),
            ("supervisor import x --format yaml", "invalid value 'yaml'", "--help"),
            ("supervisor schema x", "unexpected argument 'x'", "supervisor schema"),
            ("supervisor completions tcsh", "invalid value 'tcsh'", "'zsh'"),
            ("supervisor man a b", "unexpected argument 'b'", "supervisor man"),
            ("supervisor --color blue status", "invalid value 'blue'", "--help"),
            ("supervisor --config", "a value is required", "--help"),
        ] {
            let error = wrong(line);
            assert_eq!(error.kind.exit_code(), 2, "{line}");
            assert!(error.message.contains(message), "{line}: {}", error.message);
            let said = error.hint.unwrap_or_default();
            assert!(said.contains(hint), "{line}: {said}");
            assert!(!error.message.contains('\n') && !error.message.starts_with("error"), "{line}: {}", error.message);
        }
    }

    #[test]
    fn a_wrong_line_that_asked_for_json_is_answered_in_json() {
        assert!(matches!(read("supervisor status --json --nonsense"), Err(Early::Wrong { json: true, .. })));
        assert!(matches!(read("supervisor statsu -- --json"), Err(Early::Wrong { json: false, .. })));
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["supervisor --help", "supervisor -h", "supervisor stop --help", "supervisor --version"] {
            assert!(matches!(read(line), Err(Early::Text { .. })), "{line}");
        }
    }

    /// All help texts, at a width of 100, as users see them. Set UPDATE_GOLDEN to write the file anew, then read the
    /// difference.
    #[test]
    fn help_texts_are_the_ones_in_the_golden_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/golden/help.txt");
        let mut text = String::new();
        let mut names = Vec::new();
        for command in grammar().get_subcommands() {
            names.push(format!("{} ", command.get_name()));
            let below = command.get_subcommands().map(|below| format!("{} {} ", command.get_name(), below.get_name()));
            names.extend(below);
        }
        for name in std::iter::once(String::new()).chain(names) {
            let line = format!("supervisor {name}--help");
            let asked = grammar().term_width(100).try_get_matches_from(line.split_whitespace());
            text.push_str(&format!("$ {line}\n{}\n", asked.unwrap_err().render()));
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap());
    }
}
