//! Which service manager there is, and where it is on this machine.

use std::path::{Path, PathBuf};

use super::driver::{Driver, Trouble, TroubleKind};
use super::launchctl::{self, Launchctl};
use super::systemctl::{self, Scope, Systemctl};
use crate::model::ManagerKind;

/// The service manager of this system.
pub fn of_system() -> ManagerKind {
    if cfg!(target_os = "macos") { ManagerKind::Launchd } else { ManagerKind::Systemd }
}

/// The one that `manager` in services.toml means for jobs: where it names none, the system's.
pub fn of_manager(said: ManagerKind) -> ManagerKind {
    match said {
        ManagerKind::Auto | ManagerKind::Embedded => of_system(),
        ManagerKind::Launchd | ManagerKind::Systemd => said,
    }
}

/// The program that it is asked through. `SUPERVISOR_LAUNCHCTL` and `SUPERVISOR_SYSTEMCTL` name another one, for tests.
pub fn tool(kind: ManagerKind) -> PathBuf {
    let variable = if kind == ManagerKind::Launchd { "SUPERVISOR_LAUNCHCTL" } else { "SUPERVISOR_SYSTEMCTL" };
    if let Some(named) = std::env::var_os(variable).filter(|named| !named.is_empty()) {
        return named.into();
    }
    match kind {
        ManagerKind::Launchd => launchctl::LAUNCHCTL.into(),
        _ => Systemctl::find().unwrap_or_else(|| "/usr/bin/systemctl".into()),
    }
}

/// Where it looks for the jobs of the user with this home.
pub fn folder(kind: ManagerKind, home: &Path) -> PathBuf {
    match kind {
        ManagerKind::Launchd => home.join("Library/LaunchAgents"),
        _ => {
            let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            Systemctl::folder_of(Scope::User, home, config.as_deref())
        }
    }
}

/// Where what the jobs print themselves goes.
pub fn logs(kind: ManagerKind, home: &Path, state_logs: PathBuf) -> PathBuf {
    match kind {
        ManagerKind::Launchd => home.join("Library/Logs"),
        _ => state_logs,
    }
}

/// A driver for it, asked through `tool`, with the files of its jobs in `folder`.
///
/// # Errors
/// `NoManager` where that program is not.
pub fn driver(kind: ManagerKind, tool: &Path, folder: &Path) -> Result<Box<dyn Driver>, Trouble> {
    let (tool, folder) = (tool.to_owned(), folder.to_owned());
    match kind {
        ManagerKind::Launchd => {
            let uid = nix::unistd::getuid().as_raw();
            Ok(Box::new(Launchctl::new(tool, folder, uid, launchctl::Limits::default())))
        }
        ManagerKind::Systemd => Ok(Box::new(Systemctl::new(tool, folder, Scope::User, systemctl::Limits::default()))),
        ManagerKind::Auto | ManagerKind::Embedded => {
            Err(Trouble::new(TroubleKind::NoManager, "the embedded manager has no jobs"))
        }
    }
}
