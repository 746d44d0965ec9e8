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

/// The program that it is asked through. `SUPERVISOR_LAUNCHCTL` and `SUPERVISOR_SYSTEMCTL` name another one, for tests.
pub fn tool(kind: ManagerKind) -> PathBuf {
    let (variable, usual): (_, &[&str]) = match kind {
        ManagerKind::Launchd => ("SUPERVISOR_LAUNCHCTL", &["/bin/launchctl"]),
        _ => ("SUPERVISOR_SYSTEMCTL", &["/usr/bin/systemctl", "/bin/systemctl"]),
    };
    if let Some(named) = std::env::var_os(variable).filter(|named| !named.is_empty()) {
        return named.into();
    }
    let there = usual.iter().map(Path::new).find(|path| path.exists());
    there.unwrap_or(Path::new(usual[0])).to_owned()
}

/// Where it looks for the jobs of the user with this home.
pub fn folder(kind: ManagerKind, home: &Path) -> PathBuf {
    match kind {
        ManagerKind::Launchd => home.join("Library/LaunchAgents"),
        _ => {
            let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            config.unwrap_or_else(|| home.join(".config")).join("systemd/user")
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
