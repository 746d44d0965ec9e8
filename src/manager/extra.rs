//! A run of a calendar job that a person wants: started by whoever is asked, and on its own from then on.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::model::paths::Paths;
use crate::model::{SlotKey, UnitName};
use crate::process::{handover, notify};

/// What it is started with.
#[derive(Debug, Clone, Copy)]
pub struct Extra<'a> {
    /// services.toml, absolute.
    pub config: &'a Path,
    /// The state directory.
    pub paths: &'a Paths,
    /// Which job.
    pub name: &'a UnitName,
    /// The run that it goes on with.
    pub resume: Option<SlotKey>,
}

/// Starts it. It leaves our session by itself, so that a key pressed at our terminal reaches us only; what it has to say before it
/// has a log goes to `logs/runner.log`.
///
/// # Errors
/// When it cannot be started.
pub fn start(extra: &Extra<'_>) -> io::Result<Child> {
    let mut log = OpenOptions::new();
    let log = log.create(true).append(true).mode(0o600).open(extra.paths.runner_log())?;
    #[expect(clippy::disallowed_methods, reason = "the one place where a run by hand is started")]
    let mut command = Command::new(handover::own_program()?);
    command
        .arg("--config")
        .arg(extra.config)
        .arg("--state-dir")
        .arg(extra.paths.state_dir())
        .args(["exec", "--extra"])
        .args(extra.resume.map(|slot| format!("--resume={slot}")))
        .args(["--", extra.name.as_str()])
        .env_remove(notify::SOCKET)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn()
}
