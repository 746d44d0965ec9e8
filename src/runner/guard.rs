//! The runner's eye on the daemon: when it was killed and does not come back, its job is started, since the service manager may
//! hold that back for hours. One that ended in order is left alone: somebody has told it to.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Runner;
use crate::model::paths::Paths;
use crate::model::{Mono, Signal};
use crate::process::lock::{self, Standing};
use crate::process::spawn::{self, Launch};
use crate::process::{identity, signal};

/// From its death to our first look: by then its service manager has usually started it again.
const AFTER_DEATH: Duration = Duration::from_secs(2);

/// The same for a daemon that has never followed us: at boot we may come first.
const AFTER_START: Duration = Duration::from_secs(30);

/// Between two further looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// When to look for the daemon.
#[derive(Debug, Default)]
pub(super) struct Guard {
    due: Option<Mono>,
    /// Who was asked last to start it, with its start token.
    asked: Option<(i32, u64)>,
}

/// What of `installed.json` a runner needs.
#[derive(Deserialize)]
struct Installed {
    loaded: bool,
    revive: Vec<String>,
}

impl Guard {
    /// We have just come to be.
    pub(super) fn begin(&mut self, now: Mono) {
        self.due = Some(now.plus(AFTER_START));
    }

    /// The daemon follows us.
    pub(super) fn seen(&mut self) {
        self.due = None;
    }

    /// It does not any more.
    pub(super) fn lost(&mut self, now: Mono) {
        self.due = Some(now.plus(AFTER_DEATH));
    }

    /// When to look.
    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }
}

impl Runner {
    /// Looks for the daemon if it is time to, and starts its job if it was killed.
    pub(super) fn look_for_daemon(&mut self, now: Mono) {
        if self.guard.due.is_none_or(|due| due > now) {
            return;
        }
        // Where nothing is installed nobody could start it.
        let Some(revive) = revive(&self.paths) else {
            self.guard.due = None;
            return;
        };
        self.guard.due = Some(now.plus(LOOK_EVERY));
        if self.going_down || lock::standing(&self.paths.daemon_lock()) != Standing::Left {
            return;
        }
        let name = revive.first().cloned().unwrap_or_default();
        // One that hangs is not joined by another each minute.
        if let Some((pid, start)) = self.guard.asked.take() {
            signal::process(pid, start, Signal::KILL);
        }
        match ask(revive) {
            Ok(pid) => self.guard.asked = identity::start_token(pid).map(|start| (pid, start)),
            Err(why) => self.trouble(format!("the daemon is gone, and {name} could not be asked to start it: {why}")),
        }
    }
}

fn revive(paths: &Paths) -> Option<Vec<String>> {
    let installed: Installed = serde_json::from_slice(&std::fs::read(paths.installed()).ok()?).ok()?;
    Some(installed.revive).filter(|argv| installed.loaded && !argv.is_empty())
}

/// Nobody waits for it: it is reaped as any child of ours, and if it hangs, it hangs alone. Its pid.
fn ask(argv: Vec<String>) -> Result<i32, String> {
    let nowhere = || OpenOptions::new().write(true).open("/dev/null").map_err(|e| e.to_string());
    let env = std::env::vars().filter(|(name, _)| name != "NOTIFY_SOCKET").collect();
    let program = PathBuf::from(argv.first().ok_or("there is no command")?);
    let (stdout, stderr) = (nowhere()?.into(), nowhere()?.into());
    spawn::spawn(Launch { program, argv, env, cwd: "/".into(), stdout, stderr })
        .map(|spawned| spawned.pid)
        .map_err(|e| e.to_string())
}
