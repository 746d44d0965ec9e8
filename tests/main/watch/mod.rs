//! The built-in file-watcher, as a whole: files that come in every way, handlers that misbehave, folders that come and go.

mod files;
mod folders;
mod handlers;
#[path = "../../real/watch/watcher.rs"]
mod watcher;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use supervisor::model::{WatchSetStatus, WatcherStatus};

use crate::support::{Env, Guard, pass, pid_of, signal, wait_for};

/// Longer than an event takes to come and a handler to begin; for what must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// A watcher alone, without daemon and runner, and the lines of its handler.
struct Watched {
    env: Env,
    root: PathBuf,
    process: Option<Guard>,
}

impl Watched {
    /// With these lines of the set beside its folder and its handler, which writes down `event attempt path`.
    fn new(more: &str) -> Self {
        Self::with("printf '%s %s %s\\n' \"$1\" \"$2\" \"$3\" >>\"$0\"", more)
    }

    /// With a script for a handler; `$0` is the file of its lines, `$1` the event, `$2` the attempt, `$3` the path, `$4` the one before.
    fn with(script: &str, more: &str) -> Self {
        let watched = Self::at_rest(script, more);
        watched.starting()
    }

    /// The same, which does not run yet.
    fn at_rest(script: &str, more: &str) -> Self {
        let env = Env::new("");
        let root = env.dir().canonicalize().unwrap().join("folder");
        std::fs::create_dir(&root).unwrap();
        let watched = Self { env, root, process: None };
        watched.declare(&watched.root, script, more);
        watched
    }

    fn declare(&self, folder: &Path, script: &str, more: &str) {
        let lines = self.env.dir().join("lines").display().to_string();
        let run = ["/bin/sh", "-c", script, &lines, "{event}", "{attempt}", "{path}", "{from}"];
        let defaults = [("settle", "\"0s\""), ("recursive", "true"), ("retry_delay", "\"0s\"")];
        let is_said = |key: &str| more.lines().any(|line| line.starts_with(key));
        let defaults: String =
            defaults.iter().filter(|(key, _)| !is_said(key)).map(|(key, value)| format!("{key} = {value}\n")).collect();
        self.env.configure(&format!(
            "[service.watcher]\nbuiltin = \"file-watcher\"\nstop_timeout = \"20s\"\n\
             [[service.watcher.watch]]\nname = \"all\"\npaths = [{folder:?}]\nrun = {run:?}\n{defaults}{more}\n"
        ));
    }

    fn starting(mut self) -> Self {
        self.start();
        self
    }

    fn start(&mut self) {
        let process = self.process.insert(watcher::start(&self.env));
        let pid = u32::try_from(pid_of(&process.0)).unwrap();
        wait_for("the watcher to watch", || {
            let status = watcher::status(&self.env).filter(|status| status.pid == Some(pid))?;
            status.sets.iter().all(|set| !set.scanning).then_some(())
        });
    }

    /// Ends it by a signal; gives its exit code, if it has one.
    fn end(&mut self, by: Signal) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        assert!(signal(pid_of(&process.0), by));
        wait_for("the watcher's end", || process.0.try_wait().unwrap()).code()
    }

    fn status(&self) -> WatcherStatus {
        wait_for("an answer", || watcher::status(&self.env))
    }

    fn set(&self) -> WatchSetStatus {
        self.status().sets.remove(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// A file of another folder.
    fn beside(&self, name: &str) -> PathBuf {
        let path = self.env.dir().join(name);
        std::fs::write(&path, "beside\n").unwrap();
        path
    }

    /// What the handlers have written, each line once ended; `/` stands for the folder.
    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.env.dir().join("lines")).unwrap_or_default();
        let root = format!("{}/", self.root.display());
        text.lines().map(|line| line.replace(&root, "/")).collect()
    }

    /// Waits for exactly these lines, in whatever order, and a little for one too many.
    fn wait_for_lines(&self, wanted: &[&str]) {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        let sorted = || {
            let mut lines = self.lines();
            lines.sort_unstable();
            lines
        };
        let mut last = Vec::new();
        let found = crate::support::try_wait(Duration::from_secs(30), || {
            last = sorted();
            (last == wanted).then_some(())
        });
        assert!(found.is_some(), "wanted {wanted:?}, there is {last:?}; {:?}", watcher::status(&self.env));
        pass(A_WHILE, || assert_eq!(sorted(), wanted));
    }

    /// Waits until nothing is on its way.
    fn wait_until_idle(&self) -> WatchSetStatus {
        wait_for("nothing to be on its way", || {
            let set = self.set();
            (set.waiting + u64::from(set.running) + set.retrying == 0).then_some(set)
        })
    }
}
