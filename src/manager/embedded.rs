//! The embedded manager: one runner for all services, a child of the daemon that outlives it.

use std::path::Path;
use std::process::Stdio;

use crate::model::{UnitName, paths::Paths};
use crate::process::{handover, notify};

/// What a runner is started with.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// services.toml, absolute.
    pub config: &'a Path,
    /// The state directory.
    pub paths: &'a Paths,
    /// The services it is to own.
    pub names: &'a [UnitName],
}

/// Starts the runner. It leaves our session by itself, so that a key pressed at our terminal reaches us only; its own panics
/// go to `logs/runner.log`.
pub fn start(start: &Start<'_>) -> std::io::Result<tokio::process::Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(start.paths.runner_log())?;
    #[expect(clippy::disallowed_methods, reason = "the one place where a runner is started")]
    let mut command = tokio::process::Command::new(handover::own_program()?);
    command
        .arg("--config")
        .arg(start.config)
        .arg("--state-dir")
        .arg(start.paths.state_dir())
        .args(["exec", "--embedded", "--"])
        .args(start.names.iter().map(UnitName::as_str))
        // The daemon's own: its service manager hears no other process.
        .env_remove(notify::SOCKET)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn()
}
