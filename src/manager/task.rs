//! A run of a calendar job: a process that is started by whoever has reason to, and on its own from then on.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::model::paths::Paths;
use crate::model::{SlotKey, UnitName};
use crate::process::{files, handover, notify};

/// What it is started with.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// services.toml, absolute.
    pub config: &'a Path,
    /// The state directory.
    pub paths: &'a Paths,
    /// Which job.
    pub name: &'a UnitName,
    /// Which of its runs.
    pub run: Wanted,
}

/// Which run is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// That of the slot that is due, which it finds out itself; the daemon asks for it.
    Due,
    /// One of its own, whatever the calendar says, that goes on with another one's failed step where that is named.
    Extra(Option<SlotKey>),
}

/// Starts it. It leaves our session by itself, so that a key pressed at our terminal reaches us only; what it has to say before it
/// has a log goes to `logs/runner.log`.
///
/// # Errors
/// When it cannot be started.
pub fn start(start: &Start<'_>) -> io::Result<Child> {
    // The first run there is on this machine may be this one, before any daemon.
    files::ensure_dir(&start.paths.logs())?;
    let mut log = OpenOptions::new();
    let log = log.create(true).append(true).mode(0o600).open(start.paths.runner_log())?;
    #[expect(clippy::disallowed_methods, reason = "the one place where a run of a job is started")]
    let mut command = Command::new(handover::own_program()?);
    command.arg("--config").arg(start.config).arg("--state-dir").arg(start.paths.state_dir()).arg("exec");
    match start.run {
        Wanted::Due => command.args(["--trigger", "daemon"]),
        Wanted::Extra(resume) => command.arg("--extra").args(resume.map(|slot| format!("--resume={slot}"))),
    };
    command
        .args(["--", start.name.as_str()])
        .env_remove(notify::SOCKET)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn()
}
