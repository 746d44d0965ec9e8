//! Who takes part: ours, and what people have in its place, each in the form and with the options that serve it best.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::support::{Env, Guard, pid_of};
use crate::{Plan, watcher};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contestant {
    Ours,
    /// Its list of files, read by a loop in a shell. The shortest latency that it takes.
    FswatchLoop,
    /// The same of inotifywait, which as ours waits until a file is closed.
    InotifywaitLoop,
    /// The same of watchexec.
    WatchexecLoop,
    /// watchexec itself runs the handler, which is told on stdin what has changed; one run at a time, and once more for what came
    /// meanwhile. Without the wait that collects changes.
    Watchexec,
}

pub const THEIRS: [Contestant; 4] =
    [Contestant::FswatchLoop, Contestant::InotifywaitLoop, Contestant::WatchexecLoop, Contestant::Watchexec];

impl Contestant {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::FswatchLoop => "fswatch and a loop",
            Self::InotifywaitLoop => "inotifywait and a loop",
            Self::WatchexecLoop => "watchexec and a loop",
            Self::Watchexec => "watchexec",
        }
    }

    fn program(self) -> Option<PathBuf> {
        let (variable, name) = match self {
            Self::Ours => return None,
            Self::FswatchLoop => ("REAL_FSWATCH", "fswatch"),
            Self::InotifywaitLoop => ("REAL_INOTIFYWAIT", "inotifywait"),
            Self::WatchexecLoop | Self::Watchexec => ("REAL_WATCHEXEC", "watchexec"),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = || std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists());
        std::env::var_os(variable).map(PathBuf::from).or_else(in_path)
    }

    pub fn is_there(self) -> bool {
        self == Self::Ours || self.program().is_some()
    }

    /// Starts it on a tree, with the handler and the file of records.
    pub fn start(self, plan: &Plan, tree: &Path, records: &Path) -> Running {
        let [handler, records] = plan.handler(records);
        if self == Self::Ours {
            let env = Env::new(&watcher::declared(tree, &[&handler, &records, "{path}"], 4));
            let watcher = watcher::start(&env);
            return Running::Ours { _watcher: watcher, _env: Box::new(env) };
        }
        const TELLING: &str = "--debounce 0ms --ignore-nothing --postpone --fs-events create";
        let script = match self {
            Self::Ours => unreachable!("it is no script"),
            Self::FswatchLoop => {
                r#""$1" -r -l 0.1 --event Created "$2" | while IFS= read -r path; do "$3" "$4" "$path"; done"#
                    .to_owned()
            }
            Self::InotifywaitLoop => {
                r#""$1" -m -q -r -e close_write -e moved_to --format %w%f "$2" | while IFS= read -r path; do "$3" "$4" "$path"; done"#
                    .to_owned()
            }
            Self::WatchexecLoop => format!(
                r#""$1" {TELLING} --only-emit-events --emit-events-to=stdio -w "$2" |
                   while IFS= read -r line; do [ -z "$line" ] || "$3" "$4" "${{line#create:}}"; done"#
            ),
            Self::Watchexec => format!(
                r#"exec "$1" {TELLING} --quiet --on-busy-update=queue --emit-events-to=json-stdio -n -w "$2" -- "$3" "$4" -"#
            ),
        };
        let program = self.program().expect("a program that is there");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script, "sh"]).arg(program).arg(tree).args([handler, records]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn();
        Running::Theirs(child.expect("a shell starts"))
    }
}

/// One that runs; it ends with this, and all that it started.
pub enum Running {
    Ours { _watcher: Guard, _env: Box<Env> },
    Theirs(Child),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Theirs(child) = self {
            // It may have ended by itself.
            let _ = killpg(Pid::from_raw(pid_of(child)), Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}
