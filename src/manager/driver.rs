//! What every service manager can be told and asked, whichever it is.

use std::fmt;
use std::path::{Path, PathBuf};

use super::job::{Job, Unfit};
use crate::model::{CalendarTable, ManagerKind};

/// A file of a job, as it lies in [`Driver::folder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFile {
    /// Its name, without a folder.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// launchd or `systemd --user`. Everything blocks, for a bounded time.
pub trait Driver: Send + Sync {
    /// Which it is.
    fn kind(&self) -> ManagerKind;

    /// Where it looks for the files of jobs at boot.
    fn folder(&self) -> &Path;

    /// A job in its words; all of its files belong into [`Self::folder`]. Pure.
    fn render(&self, job: &Job) -> Result<Vec<JobFile>, Unfit>;

    /// What it has under this job's label.
    fn look(&self, job: &Job) -> Result<JobState, Trouble>;

    /// Loads a job whose files are in place, and starts it unless the calendar does. It is not loaded now, or under systemd
    /// with older files. Waits until it was started, not until it is ready. `by_hand`: a person has just asked for it,
    /// which overrides that it was switched off.
    fn load(&self, job: &Job, by_hand: bool) -> Result<(), Trouble>;

    /// Ends a job and forgets it, and waits until both are done. One that is not there is no trouble. Its files stay.
    fn unload(&self, job: &Job) -> Result<(), Trouble>;

    /// Starts a job that is loaded and not running, at once; one that runs is left alone.
    fn kick(&self, job: &Job) -> Result<(), Trouble>;

    /// The command that does the same, for processes that must not wait for it: program and arguments.
    fn kick_command(&self, job: &Job) -> Vec<String>;

    /// After files were removed: what is to be forgotten of them is.
    fn forget(&self, job: &Job) -> Result<(), Trouble>;
}

/// What a service manager says of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// How it stands.
    pub standing: Standing,
    /// Its process.
    pub pid: Option<i32>,
    /// The file it was loaded from.
    pub file: Option<PathBuf>,
    /// argv as it is loaded, where the manager tells.
    pub argv: Option<Vec<String>>,
    /// Names of the variables it is loaded with, sorted, without what the manager itself adds; where it tells.
    pub env_names: Option<Vec<String>>,
    /// Its calendar as it is loaded, where the manager tells; sorted.
    pub calendar: Option<Vec<CalendarTable>>,
    /// Whether it is switched off for the next login or boot.
    pub disabled: bool,
    /// How it ended last, in the manager's words.
    pub last_exit: Option<String>,
    /// Starts since it was loaded.
    pub runs: Option<u64>,
    /// Where it is loaded (launchd: `gui/501`, `user/501`, `system`).
    pub domain: Option<String>,
}

/// How a job stands, in the order in which these are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is loaded under this label.
    Absent,
    /// Loaded, and its program could not be started: why.
    CannotStart(String),
    /// A start is due and held back by the manager: why.
    Pended(String),
    /// It has a process.
    Running,
    /// Its next start waits for a throttle or restart delay.
    Delayed,
    /// It is being ended.
    Stopping,
    /// Loaded, without a process.
    Stopped,
}

impl JobState {
    /// Nothing under this label.
    pub fn absent(disabled: bool) -> Self {
        Self {
            standing: Standing::Absent,
            pid: None,
            file: None,
            argv: None,
            env_names: None,
            calendar: None,
            disabled,
            last_exit: None,
            runs: None,
            domain: None,
        }
    }
}

/// Why a service manager did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of trouble it is.
    pub kind: TroubleKind,
    /// What was attempted, on what, and what was answered.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Kinds of trouble that are met differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// The manager cannot be reached, or is not there at all.
    NoManager,
    /// No session that could hold the job: nobody is logged in.
    NoSession,
    /// A person has switched the job off (launchctl disable, Login Items, `systemctl mask`).
    SwitchedOff,
    /// The manager refuses the file.
    BadFile,
    /// It has not happened in time.
    TimedOut,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Of this kind.
    pub fn new(kind: TroubleKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for Trouble {}
