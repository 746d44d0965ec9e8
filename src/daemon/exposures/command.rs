//! One command of something that is made to hold: run with its time limit, its output in the log, what a killed daemon left ended.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::logs;
use crate::machine::{Failure, Work};
use crate::model::paths::{Paths, Stream};
use crate::model::{ExposureSpec, Signal, UnitName};
use crate::policy::redact;
use crate::process::command::{self, Given, NoAnswer, Onlooker};
use crate::process::{clock, files, identity, signal, spawn, wait};
use crate::runner::environment::{self, Base, RunFacts};

/// A log that is longer when a command begins is put aside, bytes.
const LONG_LOG: u64 = 10 << 20;

/// Logs that are kept of each stream beside the current one.
const KEPT_LOGS: u32 = 3;

/// What writes more than this at a time is ended, bytes.
const FLOOD: u64 = 16 << 20;

/// What is read back of its stderr, bytes and lines.
const TAIL: (u64, usize) = (4096, 10);

/// How long what a killed daemon left may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The process of a command, written down while it is under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Running {
    boot_id: String,
    pid: i32,
    start: u64,
}

/// Ends what a daemon that was killed, or became another program, had under way; its process, if it was there.
pub(super) fn kill_left_over(paths: &Paths, name: &UnitName) -> Option<Running> {
    let bytes = std::fs::read(paths.exposure_process(name)).ok()?;
    let running: Running = serde_json::from_slice(&bytes).ok()?;
    let lives = running.boot_id == clock::boot_id() && identity::start_token(running.pid) == Some(running.start);
    if lives {
        tracing::info!(service = %name, pid = running.pid, "what an earlier daemon had under way is ended");
        signal::group(running.pid, Signal::KILL);
    }
    lives.then_some(running)
}

/// One command.
pub(super) struct Run {
    pub(super) work: Work,
    pub(super) spec: ExposureSpec,
    pub(super) paths: Paths,
    pub(super) boot_id: String,
    /// Set, it is ended.
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Run {
    /// Runs it, and waits for its end.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let bare = |why: String| Failure { why: redact(&why), stderr_tail: String::new() };
        self.await_left_over().map_err(bare)?;
        let [out, mut err] = self.logs().map_err(|e| bare(format!("could not be run: its log: {e}")))?;
        let from = err.seek(SeekFrom::End(0)).unwrap_or(0);
        let result = self.command([&out, &err]);
        let _ = std::fs::remove_file(self.paths.exposure_process(&self.spec.name));
        result.map_err(|why| Failure { why: redact(&why), stderr_tail: tail(&mut err, from) })
    }

    fn argv(&self) -> &[String] {
        let spec = &self.spec;
        match self.work {
            Work::Ensure => &spec.ensure,
            Work::Check => spec.check.as_deref().unwrap_or_default(),
            Work::Undo => spec.undo.as_deref().unwrap_or_default(),
        }
    }

    fn command(&self, [out, err]: [&File; 2]) -> Result<(), String> {
        let spec = &self.spec;
        let not_run = |why: String| format!("could not be run: {why}");
        let file = spec.env_file.as_deref().map(environment::read_env_file).transpose().map_err(not_run)?;
        let file = file.unwrap_or_default();
        if !spec.cwd.is_dir() {
            return Err(not_run(format!("its working directory {} does not exist", spec.cwd.display())));
        }
        let path = environment::search_path(&spec.env, &file);
        let argv = self.argv();
        let program = spawn::find_program(argv.first().map_or("", String::as_str), path, &spec.cwd).map_err(not_run)?;
        let facts = RunFacts {
            name: &spec.name,
            run_id: 0,
            attempt: 0,
            token: identity::token_at(clock::now()),
            state_dir: self.paths.state_dir(),
            notify_socket: None,
            watchdog: None,
        };
        let env = environment::compose(&spec.env, &file, &Base::of_process(), facts);
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let watch = Watch { run: self, out, err, from: [length(out), length(err)] };
        let given = Given {
            environment: &env,
            only_these: true,
            cwd: Some(&spec.cwd),
            output: Some([out, err]),
            onlooker: Some(&watch),
            ..Given::default()
        };
        match command::run_with(&program, argv.get(1..).unwrap_or_default(), &given, spec.timeout) {
            Ok(done) if done.is_good() => Ok(()),
            Ok(done) => Err(format!("ended with {}", done.exit)),
            Err(NoAnswer::NotStarted { source, .. }) => Err(not_run(format!("{}: {source}", program.display()))),
            Err(NoAnswer::TimedOut { .. }) if self.cancelled.load(Ordering::Relaxed) => Err("was ended".into()),
            Err(NoAnswer::TimedOut { .. }) if watch.is_flooded() => {
                Err(format!("wrote more than {} MiB, and was ended", FLOOD >> 20))
            }
            Err(NoAnswer::TimedOut { limit, .. }) => {
                Err(format!("did not end within {} s, and was ended with all that it had started", limit.as_secs_f64()))
            }
        }
    }

    /// Two at once there are never, also not after the death of a daemon.
    fn await_left_over(&self) -> Result<(), String> {
        let Some(running) = kill_left_over(&self.paths, &self.spec.name) else { return Ok(()) };
        let is_gone = || (identity::start_token(running.pid) != Some(running.start)).then_some(());
        wait::until(GONE_WITHIN, is_gone)
            .ok_or_else(|| format!("waits for pid {}, which was killed and does not end", running.pid))
    }

    fn logs(&self) -> io::Result<[File; 2]> {
        let open = |stream| {
            let path = self.paths.log(&self.spec.name, stream);
            if path.metadata().is_ok_and(|file| file.len() > LONG_LOG) {
                logs::put_aside(&path, KEPT_LOGS)?;
            }
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)
        };
        Ok([open(Stream::Stdout)?, open(Stream::Stderr)?])
    }
}

/// Looks after a command under way.
struct Watch<'a> {
    run: &'a Run,
    out: &'a File,
    err: &'a File,
    /// How long its logs were before.
    from: [u64; 2],
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.run.work.as_str(), self.run.spec.name)
    }
}

impl Watch<'_> {
    fn is_flooded(&self) -> bool {
        let grown =
            [self.out, self.err].into_iter().zip(self.from).map(|(file, from)| length(file).saturating_sub(from));
        grown.sum::<u64>() > FLOOD
    }
}

impl Onlooker for Watch<'_> {
    fn started(&self, pid: i32) {
        // One that has ended by now leaves nothing to be ended.
        let Some(start) = identity::start_token(pid) else { return };
        let running = Running { boot_id: self.run.boot_id.clone(), pid, start };
        let path: &Path = &self.run.paths.exposure_process(&self.run.spec.name);
        // On a full disk a killed daemon's command goes on to its end.
        let _ = serde_json::to_vec(&running).map(|bytes| files::write_atomic(path, &bytes, false));
    }

    fn is_enough(&self) -> bool {
        self.run.cancelled.load(Ordering::Relaxed) || self.is_flooded()
    }
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |data| data.len())
}

/// The last lines that were written after `from`, as they may be shown.
fn tail(file: &mut File, from: u64) -> String {
    let (bytes, lines) = TAIL;
    let from = from.max(length(file).saturating_sub(bytes));
    let mut read = Vec::new();
    let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(bytes).read_to_end(&mut read));
    let text = String::from_utf8_lossy(&read);
    let all: Vec<String> = text.lines().map(redact).filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
