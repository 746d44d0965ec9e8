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

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::process::files;
use crate::process::lock::{self, Lock, NotLocked};
use crate::process::wait::until;

/// How long the daemon may take to mend what it is just mending.
const DAEMON_WITHIN: Duration = Duration::from_secs(60);

/// For as long as it lives nobody else changes what is installed.
#[derive(Debug)]
pub struct Alone(Lock);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// Takes the lock of whoever changes what is installed. The daemon, which looks every minute, is waited for.
///
/// # Errors
/// `Refused` while somebody else does.
pub fn alone(paths: &Paths) -> Result<Alone, Error> {
    let path = paths.install_lock();
    files::ensure_dir(&paths.supervisor()).map_err(|e| Error::io("cannot make the folder", &paths.supervisor(), &e))?;
    let mut last = None;
    let taken = until(DAEMON_WITHIN, || match Lock::acquire(&path) {
        Ok(lock) => Some(Ok(lock)),
        Err(e) => {
            let is_daemon = e.pid().is_some() && e.pid() == lock::holder(&paths.daemon_lock());
            // Nobody's name is in it for a moment when it is taken, and when it is given back.
            if is_daemon || matches!(e, NotLocked::Held { pid: None }) {
                last = Some(e);
                return None;
            }
            Some(Err(e))
        }
    });
    let held = || Err(last.unwrap_or(NotLocked::Held { pid: None }));
    taken.unwrap_or_else(held).map(Alone).map_err(|e| match e {
        NotLocked::Held { pid } => {
            let who = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            Error::new(ErrorKind::Refused, format!("another install or uninstall is under way{who}"))
        }
        NotLocked::Io(e) => Error::io("cannot take the lock", &path, &e),
    })
}

/// The same, unless somebody else does just now. The lock itself is asked: the pid in it may be another process's by now.
pub fn alone_if_nobody_is(paths: &Paths) -> Option<Alone> {
    Lock::acquire(&paths.install_lock()).ok().map(Alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_a_pid_left_behind_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let one = alone(&paths).unwrap();
        assert!(alone_if_nobody_is(&paths).is_none());
        assert_eq!(alone(&paths).unwrap_err().kind, ErrorKind::Refused);
        drop(one);
        assert_eq!(std::fs::read(paths.install_lock()).unwrap(), b"");
        // Whoever was killed left its pid, which is somebody else's by now: ours, for one.
        std::fs::write(paths.install_lock(), format!("{}\n", std::process::id())).unwrap();
        assert!(alone_if_nobody_is(&paths).is_some());
    }

    #[test]
    fn the_daemon_that_mends_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        files::ensure_dir(&paths.supervisor()).unwrap();
        let _daemon = Lock::acquire(&paths.daemon_lock()).unwrap();
        let mends = alone_if_nobody_is(&paths).unwrap();
        std::thread::scope(|scope| {
            let install = scope.spawn(|| alone(&paths));
            drop(mends);
            assert!(install.join().unwrap().is_ok());
        });
    }
}
