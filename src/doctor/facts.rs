//! What is known of the machine. Plain data, so that each check can be tried with any machine.

use std::path::PathBuf;

use crate::manager::driver::{JobState, Trouble};
use crate::manager::job::{Job, Unfit};
use crate::manager::owners::Owner;
use crate::model::{ManagerKind, Moment, SinkState};
use crate::process::ports;

/// All of it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whether it is a Mac.
    pub is_mac: bool,
    /// The user's home.
    pub home: PathBuf,
    /// The user's name.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// One reading of the clocks.
    pub now: Moment,
    /// Why the machine's time zone cannot be read.
    pub zone: Result<(), String>,
    /// services.toml.
    pub config: ConfigFacts,
    /// This program.
    pub own_program: PathBuf,
    /// The state directory and the folder of logs.
    pub state: Vec<StateFolder>,
    /// The disk that they are on.
    pub disk: Option<Disk>,
    /// The database.
    pub database: DatabaseFacts,
    /// The program of each enabled service and step.
    pub programs: Vec<ProgramFacts>,
    /// Folders that services need.
    pub places: Vec<Place>,
    /// Files with secrets of services.
    pub env_files: Vec<EnvFile>,
    /// Ports that services need.
    pub ports: Vec<PortFacts>,
    /// What `manager` says.
    pub manager: ManagerKind,
    /// What the service manager has of each job; empty where none can be asked.
    pub jobs: Vec<JobFacts>,
    /// What it cannot be told.
    pub unfit: Vec<Unfit>,
    /// Who else starts our services.
    pub owners: Vec<Owner>,
    /// The ways that alerts go out.
    pub alerts: AlertFacts,
    /// Whether there is a session that agents run in (macOS: `gui/UID`); `None` where that is no question.
    pub has_session: Option<bool>,
    /// Whether systemd keeps the user's services after log-out; `None` without systemd.
    pub lingers: Option<bool>,
}

/// services.toml.
#[derive(Debug, Clone)]
pub struct ConfigFacts {
    /// Where it is.
    pub path: PathBuf,
    /// How many faults it has.
    pub faults: usize,
    /// Its permissions, and its owner's number.
    pub mode_and_owner: Option<(u32, u32)>,
}

/// A folder of ours.
#[derive(Debug, Clone)]
pub struct StateFolder {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, for people.
    pub what: &'static str,
    /// Whether we can write there. One that is not there yet counts as the one that it would be made in.
    pub writable: Result<(), String>,
    /// Its permissions; `None` when it is not there yet.
    pub mode: Option<u32>,
}

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The folder that was asked about.
    pub folder: PathBuf,
    /// Bytes that we may still fill.
    pub free: u64,
    /// Its size, bytes.
    pub size: u64,
}

/// The ledger.
#[derive(Debug, Clone)]
pub struct DatabaseFacts {
    /// Where it is.
    pub path: PathBuf,
    /// What its check said; `None` when there is none yet.
    pub check: Option<Result<crate::store::Check, String>>,
}

/// The program of a service or step.
#[derive(Debug, Clone)]
pub struct ProgramFacts {
    /// The service or calendar job.
    pub unit: String,
    /// Its command.
    pub argv: Vec<String>,
    /// The program, or why it cannot be found.
    pub found: Result<PathBuf, String>,
    /// The same with links followed.
    pub real: Option<PathBuf>,
    /// A link in its place, and where it leads: to nothing.
    pub leads_nowhere: Option<(PathBuf, PathBuf)>,
    /// What its `#!` names, as it is written, and the program.
    pub interpreter: Option<(String, Result<PathBuf, String>)>,
    /// What the interpreter says about its version, where it matters.
    pub node: Option<Result<String, String>>,
    /// If it is in a virtual environment: the folder with the Python that it was made from, and whether that is there.
    pub venv: Option<(PathBuf, bool)>,
}

/// A folder that a service needs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The service or calendar job.
    pub unit: String,
    /// What it is to it.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Whether the service cannot do without.
    pub needed: bool,
    /// What became of looking into it.
    pub seen: Seen,
    /// The program that reads it: macOS grants access by program.
    pub program: Option<PathBuf>,
}

/// What became of looking into a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It can be read.
    Fine,
    /// There is none.
    Absent,
    /// It is there, and we may not.
    Denied,
    /// It did not answer in time.
    Slow,
    /// Something else: what the system said.
    Other(String),
}

/// A file with a service's secrets.
#[derive(Debug, Clone)]
pub struct EnvFile {
    /// The service or calendar job.
    pub unit: String,
    /// Where it is.
    pub path: PathBuf,
    /// Why it cannot be used, with what to do.
    pub read: Result<(), String>,
}

/// A port that a service needs.
#[derive(Debug, Clone)]
pub struct PortFacts {
    /// The service.
    pub unit: String,
    /// The port.
    pub port: u16,
    /// Who has it, unless the service itself does.
    pub stranger: Option<ports::Owner>,
}

/// The ways that alerts go out.
#[derive(Debug, Clone, Default)]
pub struct AlertFacts {
    /// Each.
    pub sinks: Vec<SinkFacts>,
    /// If all of them need services that we supervise: which, in words.
    pub only_through_our_own: Option<String>,
    /// How many notices of the last seven days were refused or too old, by sink.
    pub given_up: Vec<(String, u64)>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct SinkFacts {
    /// Its name in services.toml.
    pub name: String,
    /// What keeps it from working, as far as that can be told without sending.
    pub unusable: Option<String>,
    /// Whether nothing was ever sent through it.
    pub never_used: bool,
    /// How it fared.
    pub state: Option<SinkState>,
}

/// What the service manager has of a job.
#[derive(Debug, Clone)]
pub struct JobFacts {
    /// The job.
    pub job: Job,
    /// Whether its manager was named in services.toml: then it is to be there.
    pub wanted: bool,
    /// Which manager.
    pub manager: ManagerKind,
    /// What it has under the label.
    pub state: Result<JobState, Trouble>,
    /// The pid of the runner that has the service, or of the daemon.
    pub runner: Option<i32>,
    /// What a person might not expect of its schedule.
    pub warnings: Vec<String>,
}
