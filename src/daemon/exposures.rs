//! What is made to hold: its commands are run here, each in a group of its own and on a thread that waits for it, so that the loop never
//! does. What is run when is decided by [`ExposureMachine`].
//!
//! They are the daemon's own children. With the embedded manager its end undoes them, as it stops all that it has started; under launchd
//! or systemd they stay, since another daemon comes at once, and looks before it does anything.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use nix::poll::{PollTimeout, poll};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Daemon, Event};
use crate::logs;
use crate::machine::words::{Reader, Recorded};
use crate::machine::{ExposureAct, ExposureInput, ExposureMachine, ExposureSaved, Failure, Work};
use crate::model::paths::{Paths, Stream};
use crate::model::wire::{Outcome, Verb};
use crate::model::{ExposureSpec, Fleet, Mono, ServiceInfo, Signal, UnitName};
use crate::policy::redact;
use crate::process::command::{self, Given, NoAnswer, Onlooker};
use crate::process::{clock, files, identity, intent, signal, spawn};
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

pub(super) struct Exposures {
    by_name: BTreeMap<UnitName, Exposure>,
    boot_id: String,
}

struct Exposure {
    machine: ExposureMachine,
    /// Of the command under way: set, it is ended.
    cancelled: Arc<AtomicBool>,
    /// Who waits for what becomes of an order.
    waiting: Vec<(Verb, oneshot::Sender<Outcome>)>,
}

impl Exposure {
    fn new(machine: ExposureMachine) -> Self {
        Self { machine, cancelled: Arc::default(), waiting: Vec::new() }
    }
}

impl Exposures {
    /// As services.toml has them; and those that it has no more, and that were made to hold all the same.
    pub(super) fn new(fleet: &Fleet, paths: &Paths) -> Self {
        let mut exposures = Self { by_name: BTreeMap::new(), boot_id: clock::boot_id() };
        for name in left_over(fleet, paths) {
            let saved = read_saved(paths, &name);
            if let Some(made) = saved.made.clone() {
                exposures.add(made, saved, paths);
                exposures.step(&name, ExposureInput::Remove);
            }
        }
        for spec in &fleet.exposures {
            let saved = read_saved(paths, &spec.name);
            exposures.add(spec.clone(), saved, paths);
        }
        exposures
    }

    fn add(&mut self, spec: ExposureSpec, saved: ExposureSaved, paths: &Paths) {
        let name = spec.name.clone();
        for folder in [paths.service(&name), paths.logs()] {
            if let Err(e) = files::ensure_dir(&folder) {
                tracing::warn!("{} cannot be made: {e}", folder.display());
            }
        }
        // Nobody waits for it any more; before anything is run, its end is waited for.
        kill_left_over(paths, &name);
        let intent = intent::read(paths, &name);
        let machine = ExposureMachine::new(spec, intent, saved, &self.boot_id, clock::now());
        self.by_name.insert(name, Exposure::new(machine));
    }

    fn step(&mut self, name: &UnitName, input: ExposureInput) -> Vec<ExposureAct> {
        let Some(exposure) = self.by_name.get_mut(name) else { return Vec::new() };
        exposure.machine.step(clock::now(), clock::fraction(), input)
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Mono> {
        self.by_name.values().filter_map(|exposure| exposure.machine.due()).min()
    }

    /// Whether nothing is under way and nothing is to come.
    pub(super) fn are_settled(&self) -> bool {
        self.by_name.values().all(|exposure| exposure.machine.is_settled())
    }

    pub(super) fn names(&self) -> Vec<UnitName> {
        self.by_name.keys().cloned().collect()
    }

    /// Whether there is one that is declared under this name.
    pub(super) fn has(&self, name: &UnitName) -> bool {
        self.by_name.get(name).is_some_and(|exposure| !exposure.machine.is_removed())
    }

    /// Those that are wanted at all.
    pub(super) fn enabled(&self) -> impl Iterator<Item = &UnitName> {
        let enabled = |exposure: &Exposure| exposure.machine.spec().enabled && !exposure.machine.is_removed();
        self.by_name.iter().filter(move |(_, exposure)| enabled(exposure)).map(|(name, _)| name)
    }

    /// As `status` shows one.
    pub(super) fn info(&self, name: &UnitName, recorded: &Recorded, at: Reader<'_>) -> Option<ServiceInfo> {
        let mut info = self.by_name.get(name)?.machine.info(recorded, clock::now(), at);
        // What is left to be undone is wanted by nobody.
        info.enabled &= self.has(name);
        Some(info)
    }

    /// The paragraph of `why`.
    pub(super) fn why(&self, name: &UnitName, at: Reader<'_>) -> Option<String> {
        Some(self.by_name.get(name)?.machine.why(clock::now(), at))
    }
}

impl Daemon {
    /// Tells one what happens, and does what it says.
    pub(super) fn expose(&mut self, name: &UnitName, input: ExposureInput) {
        for act in self.exposures.step(name, input) {
            self.act_on_exposure(name, act);
        }
        let is_over = |exposure: &Exposure| exposure.machine.is_removed() && exposure.machine.is_settled();
        if self.exposures.by_name.get(name).is_some_and(is_over)
            && let Some(gone) = self.exposures.by_name.remove(name)
            && gone.machine.saved().made.is_none()
        {
            // It is forgotten, the operator's word with it; what could not be undone is left for the next daemon.
            for path in [self.paths.exposure(name), self.paths.intent(name)] {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Tells all of them.
    pub(super) fn expose_all(&mut self, input: &ExposureInput) {
        for name in self.exposures.names() {
            self.expose(&name, input.clone());
        }
    }

    /// Does what is due.
    pub(super) fn tick_exposures(&mut self) {
        if self.exposures.due().is_some_and(|due| due <= clock::now().mono) {
            self.expose_all(&ExposureInput::Tick);
        }
    }

    /// Takes a changed services.toml over.
    pub(super) fn follow_exposures(&mut self) {
        let declared = self.fleet.exposures.clone();
        for name in self.exposures.names() {
            if declared.iter().all(|spec| spec.name != name) {
                self.expose(&name, ExposureInput::Remove);
            }
        }
        for spec in declared {
            let name = spec.name.clone();
            match self.exposures.by_name.get(&name) {
                Some(known) if *known.machine.spec() == spec && !known.machine.is_removed() => {}
                Some(_) => self.expose(&name, ExposureInput::Declare(Box::new(spec))),
                None => {
                    let saved = read_saved(&self.paths, &name);
                    self.exposures.add(spec, saved, &self.paths);
                }
            }
        }
    }

    /// Gives an operator's order on; what becomes of it, or with `wait` at once that it was given.
    pub(super) fn order_exposure(&mut self, name: &UnitName, verb: Verb, wait: bool) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        match self.exposures.by_name.get_mut(name) {
            Some(exposure) if wait => exposure.waiting.push((verb, tell)),
            _ => drop(tell.send(Outcome { name: name.clone(), ok: true, text: "ordered".into(), view: None })),
        }
        self.expose(name, ExposureInput::Order(verb));
        told
    }

    /// One as it is, in the order of the file, then those that are only left to be undone.
    pub(super) fn exposure_infos(&self, recorded: impl Fn(&UnitName) -> Recorded, at: Reader<'_>) -> Vec<ServiceInfo> {
        let declared = self.fleet.exposures.iter().map(|spec| &spec.name);
        let left = self.exposures.by_name.keys().filter(|name| !self.exposures.has(name));
        declared.chain(left).filter_map(|name| self.exposures.info(name, &recorded(name), at)).collect()
    }

    pub(super) fn why_exposure(&self, name: &UnitName) -> Option<String> {
        let zone = TimeZone::system();
        self.exposures.why(name, Reader { now_ms: clock::now().wall_ms, zone: &zone })
    }

    fn act_on_exposure(&mut self, name: &UnitName, act: ExposureAct) {
        let Some(exposure) = self.exposures.by_name.get_mut(name) else { return };
        let failed = |what: &str, e: io::Error| tracing::error!(service = %name, "{what} cannot be stored: {e}");
        match act {
            ExposureAct::Run(work, spec) => {
                exposure.cancelled = Arc::default();
                let run = Run {
                    work,
                    spec: *spec,
                    paths: self.paths.clone(),
                    boot_id: self.exposures.boot_id.clone(),
                    cancelled: Arc::clone(&exposure.cancelled),
                };
                let (name, events) = (name.clone(), self.events.clone());
                tokio::task::spawn_blocking(move || {
                    let result = run.run();
                    // When nobody listens the daemon is gone.
                    let _ = events.blocking_send(Event::Exposed(name, result));
                });
            }
            ExposureAct::Cancel => exposure.cancelled.store(true, Ordering::Relaxed),
            ExposureAct::Record(event, data) => {
                tracing::info!(service = %name, "{event}");
                self.record_of(event, Some(name.clone()), data.into());
            }
            ExposureAct::Save => {
                let saved = serde_json::to_vec(&exposure.machine.saved()).map_err(io::Error::other);
                let stored = saved.and_then(|bytes| files::write_atomic(&self.paths.exposure(name), &bytes, false));
                let _ = stored.map_err(|e| failed("what is made to hold", e));
            }
            ExposureAct::SaveIntent => {
                let stored = intent::write(&self.paths, name, exposure.machine.intent());
                let _ = stored.map_err(|e| failed("what the operator wants", e));
            }
            ExposureAct::Settled(verb, result) => {
                let (ok, text) = match result {
                    Ok(text) => (true, text),
                    Err(text) => (false, text),
                };
                for (_, tell) in exposure.waiting.extract_if(.., |(asked, _)| *asked == verb) {
                    // Who asked may have gone.
                    let _ = tell.send(Outcome { name: name.clone(), ok, text: text.clone(), view: None });
                }
            }
        }
    }
}

/// What was made to hold and is not declared any more. Of what has faults nobody knows what is wanted: it stays as it is.
fn left_over(fleet: &Fleet, paths: &Paths) -> Vec<UnitName> {
    let folders = std::fs::read_dir(paths.services()).into_iter().flatten().flatten();
    let names = folders.filter_map(|folder| UnitName::new(folder.file_name().to_str()?).ok());
    let is_known = |name: &UnitName| {
        fleet.exposures.iter().any(|spec| spec.name == *name) || fleet.unusable.iter().any(|unit| unit.name == *name)
    };
    names.filter(|name| !is_known(name) && paths.exposure(name).exists()).collect()
}

fn read_saved(paths: &Paths, name: &UnitName) -> ExposureSaved {
    let read = std::fs::read(paths.exposure(name)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// The process of a command, written down while it is under way.
#[derive(Serialize, Deserialize)]
struct Running {
    boot_id: String,
    pid: i32,
    start: u64,
}

/// Ends what a daemon that was killed, or became another program, had under way; its process, if it was there.
fn kill_left_over(paths: &Paths, name: &UnitName) -> Option<Running> {
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
struct Run {
    work: Work,
    spec: ExposureSpec,
    paths: Paths,
    boot_id: String,
    cancelled: Arc<AtomicBool>,
}

impl Run {
    fn run(&self) -> Result<(), Failure> {
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
        let end = clock::now().mono.plus(GONE_WITHIN);
        while identity::start_token(running.pid) == Some(running.start) {
            if clock::now().mono >= end {
                return Err(format!("waits for pid {}, which was killed and does not end", running.pid));
            }
            let _ = poll(&mut [], PollTimeout::from(5_u8));
        }
        Ok(())
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
