//! `supervisor exec TASK`: one run of a calendar job, started by the service manager's calendar. Its steps run one after the
//! other, each with its time limit and its further tries; the first that fails ends the job.
//!
//! This process is the steps' parent and nothing else: it has no socket and no journal.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::environment::{self, Base, RunFacts};
use super::signals::Signals;
use super::{Options, reload};
use crate::error::{Error, ErrorKind};
use crate::model::paths::{Paths, Stream};
use crate::model::{Exit, Mono, Signal, StepAction, StepSpec, TaskSpec};
use crate::process::lock::{Lock, NotLocked};
use crate::process::{clock, files, identity, reap, signal, spawn};

/// From SIGTERM to SIGKILL, for a step that is over its time or whose job is ended.
const GRACE: Duration = Duration::from_secs(10);

/// A log that is longer when the job begins is put aside, bytes.
const LONG_LOG: u64 = 10 << 20;

/// The calendar job that `options` name, if they do.
pub(super) fn named(options: &Options) -> Option<(TaskSpec, Paths)> {
    let [name] = &options.names[..] else { return None };
    let (fleet, _) = reload::load(options).ok()?;
    let task = fleet.tasks.iter().find(|task| task.name == *name)?;
    Some((task.clone(), Paths::new(&fleet.state_dir)))
}

/// Runs it once.
///
/// # Errors
/// `Refused` when it is switched off or runs already, `NotUp` when a step failed or it was ended.
pub(super) fn run(task: &TaskSpec, paths: &Paths) -> Result<(), Error> {
    if !task.enabled {
        let message = format!("task {} has `enabled = false` in services.toml", task.name);
        return Err(Error::new(ErrorKind::Refused, message).hint("remove that line to have it run"));
    }
    for dir in [paths.service(&task.name), paths.logs()] {
        files::ensure_dir(&dir).map_err(|e| Error::io("cannot make the folder", &dir, &e))?;
    }
    let path = paths.service_lock(&task.name);
    let _lock = Lock::acquire(&path).map_err(|e| match e {
        NotLocked::Held { pid } => {
            let who = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            Error::new(ErrorKind::Refused, format!("task {} runs already{who}", task.name))
        }
        NotLocked::Io(e) => Error::io("cannot take the lock", &path, &e),
    })?;
    let file = match &task.env_file {
        Some(path) => environment::read_env_file(path).map_err(|why| Error::new(ErrorKind::Config, why))?,
        None => BTreeMap::new(),
    };
    let signals = Signals::open().map_err(|e| Error::new(ErrorKind::Internal, format!("cannot catch signals: {e}")))?;
    let end = clock::now().mono.plus(task.max_runtime);
    let logs = Logs { out: open_log(paths, task, Stream::Stdout)?, err: open_log(paths, task, Stream::Stderr)? };
    Job { task, paths, file, base: Base::of_process(), logs, signals, end }.run()
}

/// Where the steps' output goes; the job's own lines stand between.
struct Logs {
    out: File,
    err: File,
}

fn open_log(paths: &Paths, task: &TaskSpec, stream: Stream) -> Result<File, Error> {
    let path = paths.log(&task.name, stream);
    let failed = |e: std::io::Error| Error::io("cannot open the log", &path, &e);
    if path.metadata().is_ok_and(|data| data.len() > LONG_LOG) {
        crate::logs::put_aside(&path, 5).map_err(failed)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed)
}

struct Job<'a> {
    task: &'a TaskSpec,
    paths: &'a Paths,
    file: BTreeMap<String, String>,
    base: Base,
    logs: Logs,
    signals: Signals,
    /// When `max_runtime` is over.
    end: Mono,
}

/// Why a step did not end well.
enum Failed {
    /// Another try may help.
    Step(String),
    /// The whole job is over.
    Job(String),
}

impl Job<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let steps = &self.task.steps;
        for (number, step) in (1..).zip(steps) {
            let what = format!("step {number} of {} ({})", steps.len(), words(step));
            if let Err(why) = self.step(step, &what) {
                self.say(&format!("{what}: {why}"));
                let message = format!("task {}: {what}: {why}", self.task.name);
                return Err(
                    Error::new(ErrorKind::NotUp, message).hint(format!("see: supervisor logs {}", self.task.name))
                );
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &StepSpec, what: &str) -> Result<(), String> {
        let argv = match &step.action {
            StepAction::Run(argv) => argv,
            // What the only one does, the daemon does all the time: old rows go, logs are bounded as they are written.
            StepAction::Builtin(_) => {
                self.say(&format!("{what}: the daemon does it by itself; nothing is left to do"));
                return Ok(());
            }
        };
        let mut tries = 0..=step.retries;
        loop {
            tries.next();
            match self.try_once(argv, step.timeout) {
                Ok(()) => return Ok(()),
                Err(Failed::Job(why)) => return Err(why),
                Err(Failed::Step(why)) if tries.is_empty() => return Err(why),
                Err(Failed::Step(why)) => self.say(&format!("{what}: {why}; it is tried again")),
            }
        }
    }

    fn try_once(&mut self, argv: &[String], limit: Duration) -> Result<(), Failed> {
        let pid = self.start(argv).map_err(Failed::Step)?;
        let now = clock::now().mono;
        let by = now.plus(limit).min(self.end);
        let ended = self.wait(pid, by);
        // What it left in its group does not outlive it.
        let (exit, why) = match ended {
            Waited::Ended(exit) => (exit, None),
            Waited::Stopped => (self.end_it(pid), Some(Failed::Job("the job was ended by a signal".into()))),
            Waited::Late if by == self.end => {
                let why =
                    format!("the job did not end within its max_runtime of {} s", self.task.max_runtime.as_secs());
                (self.end_it(pid), Some(Failed::Job(why)))
            }
            Waited::Late => {
                let why = format!("it did not end within its timeout of {} s", limit.as_secs_f64());
                (self.end_it(pid), Some(Failed::Step(why)))
            }
        };
        match (why, exit) {
            (Some(why), _) => Err(why),
            (None, Exit::Code(0)) => Ok(()),
            (None, exit) => Err(Failed::Step(exit.to_string())),
        }
    }

    fn start(&self, argv: &[String]) -> Result<i32, String> {
        let task = self.task;
        let path_var = environment::search_path(&task.env, &self.file);
        let program = spawn::find_program(argv.first().map_or("", String::as_str), path_var, &task.cwd)?;
        let facts = RunFacts {
            name: &task.name,
            run_id: 0,
            attempt: 0,
            token: identity::token_at(clock::now()),
            state_dir: self.paths.state_dir(),
            notify_socket: None,
            watchdog: None,
        };
        let open = |file: &File| file.try_clone().map_err(|e| format!("its log cannot be handed on: {e}"));
        let launch = spawn::Launch {
            program,
            argv: argv.to_vec(),
            env: environment::compose(&task.env, &self.file, &self.base, facts),
            cwd: task.cwd.clone(),
            stdout: open(&self.logs.out)?.into(),
            stderr: open(&self.logs.err)?.into(),
        };
        spawn::spawn(launch).map(|spawned| spawned.pid).map_err(|e| e.to_string())
    }

    /// Waits for the end of `pid` until `by`; it is reaped then, and what it left in its group is killed.
    fn wait(&mut self, pid: i32, by: Mono) -> Waited {
        loop {
            while let Some((ended, _)) = reap::peek() {
                if ended == pid {
                    // Not reaped yet, so that the number is still its group's.
                    signal::group(pid, Signal::KILL);
                    return Waited::Ended(reap::reap(pid));
                }
                reap::reap(ended);
            }
            let now = clock::now().mono;
            if now >= by {
                return Waited::Late;
            }
            let left = Duration::from_nanos(by.0 - now.0) + Duration::from_millis(1);
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            if self.signals.take() {
                return Waited::Stopped;
            }
        }
    }

    /// Ends a step: SIGTERM, a while, SIGKILL. A further signal to go shortens the while.
    fn end_it(&mut self, pid: i32) -> Exit {
        signal::group(pid, Signal::TERM);
        if let Waited::Ended(exit) = self.wait(pid, clock::now().mono.plus(GRACE)) {
            return exit;
        }
        signal::group(pid, Signal::KILL);
        reap::reap(pid)
    }

    fn say(&mut self, what: &str) {
        // A full disk keeps the line; the exit code says that something failed.
        let _ = writeln!(self.logs.err, "supervisor: {}: {what}", self.task.name);
    }
}

enum Waited {
    Ended(Exit),
    Late,
    Stopped,
}

fn words(step: &StepSpec) -> String {
    match &step.action {
        StepAction::Run(argv) => {
            let program = argv.first().map_or("", String::as_str);
            Path::new(program)
                .file_name()
                .map_or_else(|| program.to_owned(), |name| name.to_string_lossy().into_owned())
        }
        StepAction::Builtin(builtin) => builtin.name().to_owned(),
    }
}
