//! Installing: what a service manager has on disk and loaded is brought to what services.toml says, and back again.
//!
//! `plan` and `drift` decide and are pure; `apply` does what was planned, through [`crate::manager::driver::Driver`], and undoes what
//! fails half-way; `record` is what a later call, the daemon and the runners know of it. Nothing here starts a service: jobs
//! are loaded, and the runners in them do the rest.

pub mod apply;
pub mod drift;
pub mod handover;
pub mod plan;
pub mod record;
pub mod verify;

pub use record::Record;

use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::process::files;
use crate::process::lock::{self, Lock, NotLocked, Standing};

/// Takes the lock of whoever changes what is installed.
///
/// # Errors
/// `Refused` while somebody else does.
pub fn alone(paths: &Paths) -> Result<Lock, Error> {
    let path = paths.install_lock();
    files::ensure_dir(&paths.supervisor()).map_err(|e| Error::io("cannot make the folder", &paths.supervisor(), &e))?;
    Lock::acquire(&path).map_err(|e| match e {
        NotLocked::Held { pid } => {
            let who = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            Error::new(ErrorKind::Refused, format!("another install or uninstall is under way{who}"))
        }
        NotLocked::Io(e) => Error::io("cannot take the lock", &path, &e),
    })
}

/// Whether somebody changes what is installed just now.
pub fn is_under_way(paths: &Paths) -> bool {
    lock::standing(&paths.install_lock()) == Standing::Held
}
