//! Looks at the machine. Everything that can take long has a time limit; nothing is changed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::facts::*;
use crate::alert;
use crate::config::alert_path;
use crate::manager::driver::Driver;
use crate::manager::drivers;
use crate::manager::job::{self, Job, Role, Site};
use crate::manager::owners::{self, Around};
use crate::model::paths::Paths;
use crate::model::{
    DEFAULT_PATH, Fleet, ManagerKind, Moment, Program, SecretSpec, SinkKind, SinkSpec, SinkState, StepAction,
};
use crate::process::{command, describe, handover, host, lock, ports, spawn};
use crate::runner::environment;
use crate::store::{Reader, StoreErrorKind};

/// `node --version` takes some 50 ms, and longer after an upgrade of macOS, which then looks at the program first.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// A network volume that is not there answers after minutes.
const FOLDER_WITHIN: Duration = Duration::from_secs(3);

/// `launchctl print` is known to hang.
const SESSION_WITHIN: Duration = Duration::from_secs(5);

/// For some hundred megabytes.
const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// What is looked at.
pub struct Asked<'a> {
    /// What services.toml declares.
    pub fleet: &'a Fleet,
    /// services.toml, absolute.
    pub config: &'a Path,
    /// How many faults it has.
    pub faults: usize,
    /// The state directory.
    pub paths: &'a Paths,
    /// The user's home.
    pub home: &'a Path,
    /// The time.
    pub now: Moment,
    /// The service manager, if there is one to be asked.
    pub driver: Option<&'a dyn Driver>,
}

/// All facts.
pub fn gather(asked: &Asked<'_>) -> Facts {
    let own_program = handover::own_program().unwrap_or_default();
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let mut facts = Facts {
        is_mac: cfg!(target_os = "macos"),
        home: asked.home.to_owned(),
        lingers: lingers(&user),
        user,
        uid: uid.as_raw(),
        now: asked.now,
        zone: jiff::tz::TimeZone::try_system().map(|_| ()).map_err(|error| error.to_string()),
        config: config(asked),
        own_program: own_program.clone(),
        state: vec![
            state_folder(asked.paths.state_dir(), "the state directory"),
            state_folder(&asked.paths.logs(), "the folder of logs"),
        ],
        disk: disk(asked.paths.state_dir()),
        database: database(&asked.paths.database()),
        programs: Vec::new(),
        places: Vec::new(),
        env_files: Vec::new(),
        ports: Vec::new(),
        manager: asked.fleet.manager,
        jobs: Vec::new(),
        unfit: Vec::new(),
        owners: Vec::new(),
        alerts: alerts(asked),
        has_session: has_session(uid.as_raw()),
    };
    services(asked, &mut facts);
    let around = Around::gather(asked.home, asked.paths.state_dir());
    facts.owners = owners::find(&asked.fleet.services, &asked.fleet.label_prefix, &around);
    if let Some(driver) = asked.driver {
        jobs(asked, driver, own_program, &mut facts);
    }
    facts
}

fn config(asked: &Asked<'_>) -> ConfigFacts {
    let data = std::fs::metadata(asked.config).ok();
    ConfigFacts {
        path: asked.config.to_owned(),
        faults: asked.faults,
        mode_and_owner: data.map(|data| (data.mode() & 0o7777, data.uid())),
    }
}

fn state_folder(path: &Path, what: &'static str) -> StateFolder {
    let mode = std::fs::metadata(path).ok().map(|data| data.mode() & 0o7777);
    let there = nearest(path);
    let writable = access(&there, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| errno.desc().to_owned());
    StateFolder { path: path.to_owned(), what, writable, mode }
}

/// The folder itself, or the first above it that is there.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn disk(folder: &Path) -> Option<Disk> {
    let folder = nearest(folder);
    let (free, size) = host::disk(&folder)?;
    Some(Disk { folder, free, size })
}

fn database(path: &Path) -> DatabaseFacts {
    let check = match Reader::open(path).and_then(|reader| reader.check(CHECK_WITHIN)) {
        Err(error) if error.kind == StoreErrorKind::Gone => None,
        Err(error) => Some(Err(error.to_string())),
        Ok(check) => Some(Ok(check)),
    };
    DatabaseFacts { path: path.to_owned(), check }
}

/// What can be told of the ways out without sending anything.
fn alerts(asked: &Asked<'_>) -> AlertFacts {
    const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
    let ledger = Reader::open(&asked.paths.database()).ok();
    // A database that cannot be read is told as such.
    let states = ledger.as_ref().and_then(|ledger| ledger.sink_states().ok()).unwrap_or_default();
    let given_up =
        ledger.and_then(|ledger| ledger.given_up_since(asked.now.wall_ms - WEEK_MS).ok()).unwrap_or_default();
    let sink = |spec: &SinkSpec| {
        let state = states.iter().find(|state| state.sink == spec.name).cloned();
        SinkFacts {
            name: spec.name.clone(),
            unusable: alert::unreachable_why(spec).filter(|_| !(of_the_environment(spec) && works(state.as_ref()))),
            never_used: state.as_ref().is_none_or(|state| state.delivered_ms.is_none())
                && given_up.iter().all(|(name, _)| *name != spec.name),
            state,
        }
    };
    AlertFacts {
        sinks: asked.fleet.alerts.sinks.iter().map(sink).collect(),
        only_through_our_own: alert_path(asked.fleet).warning(),
        given_up,
    }
}

/// Whether what it needs is in the daemon's environment, which may be another than this one.
fn of_the_environment(spec: &SinkSpec) -> bool {
    let looked_up = spec.command.first().is_some_and(|program| !program.contains('/'));
    looked_up || spec.kind == SinkKind::Desktop || matches!(spec.secret, Some(SecretSpec::Env(_)))
}

/// Whether the last that the daemon sent through it arrived.
fn works(state: Option<&SinkState>) -> bool {
    state.is_some_and(|state| state.failures == 0 && state.delivered_ms.is_some())
}

/// Linux: what `loginctl enable-linger` leaves. On a machine without systemd it is no question.
fn lingers(user: &str) -> Option<bool> {
    let has_systemd = cfg!(target_os = "linux") && Path::new("/run/systemd/system").is_dir();
    has_systemd.then(|| Path::new("/var/lib/systemd/linger").join(user).exists())
}

/// macOS: whether there is a log-in at the screen. A launchctl that does not answer says nothing.
fn has_session(uid: u32) -> Option<bool> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let domain = format!("gui/{uid}");
    let done = command::run(Path::new("/bin/launchctl"), &["print", &domain], &[], SESSION_WITHIN).ok()?;
    Some(done.is_good())
}

/// What services and calendar jobs need that are to run.
fn services(asked: &Asked<'_>, facts: &mut Facts) {
    let ours = owners::own_processes(&describe::command_lines(), asked.paths.state_dir());
    for spec in asked.fleet.services.iter().filter(|spec| spec.enabled) {
        let unit = spec.name.to_string();
        let file = env_file(&unit, spec.env_file.as_deref(), facts);
        let program = if let Program::Command(argv) = &spec.program {
            let found = self::program(&unit, argv, environment::search_path(&spec.env, &file), &spec.cwd);
            let its = found.found.as_ref().ok().cloned();
            facts.programs.push(found);
            its
        } else {
            // What is built in reads with this program's rights.
            Some(facts.own_program.clone())
        };
        for set in &spec.watch {
            facts.programs.push(self::program(&unit, &set.run, environment::search_path(&spec.env, &file), &spec.cwd));
        }
        let mut place = |what, path: &Path, needed| {
            facts.places.push(Place {
                unit: unit.clone(),
                what,
                path: path.to_owned(),
                needed,
                seen: look(path),
                program: program.clone(),
            });
        };
        place("its working directory", &spec.cwd, true);
        for path in spec.watch.iter().flat_map(|watch| &watch.paths) {
            place("the folder that it watches", path, false);
        }
        for port in &spec.ports {
            let stranger = ports::taken(*port).filter(|owner| owner.pid.is_none_or(|pid| !ours.contains(&pid)));
            facts.ports.push(PortFacts { unit: unit.clone(), port: *port, stranger });
        }
    }
    for spec in asked.fleet.tasks.iter().filter(|spec| spec.enabled) {
        let unit = spec.name.to_string();
        let file = env_file(&unit, spec.env_file.as_deref(), facts);
        let path = spec.env.get("PATH").or_else(|| file.get("PATH")).map_or(DEFAULT_PATH, String::as_str);
        for step in &spec.steps {
            if let StepAction::Run(argv) = &step.action {
                facts.programs.push(program(&unit, argv, path, &spec.cwd));
            }
        }
        let (what, path) = ("its working directory", spec.cwd.clone());
        let seen = look(&path);
        facts.places.push(Place { unit, what, path, needed: true, seen, program: None });
    }
    for spec in asked.fleet.exposures.iter().filter(|spec| spec.enabled) {
        let unit = spec.name.to_string();
        let file = env_file(&unit, spec.env_file.as_deref(), facts);
        let path = environment::search_path(&spec.env, &file);
        for argv in [Some(&spec.ensure), spec.check.as_ref(), spec.undo.as_ref()].into_iter().flatten() {
            facts.programs.push(program(&unit, argv, path, &spec.cwd));
        }
        let (what, path) = ("its working directory", spec.cwd.clone());
        let seen = look(&path);
        facts.places.push(Place { unit, what, path, needed: true, seen, program: None });
    }
}

fn env_file(unit: &str, path: Option<&Path>, facts: &mut Facts) -> BTreeMap<String, String> {
    let Some(path) = path else { return BTreeMap::new() };
    let (read, values) = match environment::read_env_file(path) {
        Ok(values) => (Ok(()), values),
        Err(why) => (Err(why), BTreeMap::new()),
    };
    facts.env_files.push(EnvFile { unit: unit.to_owned(), path: path.to_owned(), read });
    values
}

pub(super) fn program(unit: &str, argv: &[String], path: &str, cwd: &Path) -> ProgramFacts {
    let name = argv.first().map_or("", String::as_str);
    let found = spawn::find_program(name, path, cwd);
    let real = found.as_ref().ok().and_then(|file| std::fs::canonicalize(file).ok());
    let interpreter = found.as_ref().ok().and_then(|file| interpreter(file, path, cwd));
    let runs_openclaw = argv.iter().take(2).any(|word| word.contains("openclaw"))
        || real.as_ref().is_some_and(|real| real.to_string_lossy().contains("/openclaw/"));
    let node = [found.as_ref().ok(), interpreter.as_ref().and_then(|(_, found)| found.as_ref().ok())]
        .into_iter()
        .flatten()
        .find(|file| runs_openclaw && file.file_name().is_some_and(|name| name == "node"));
    ProgramFacts {
        unit: unit.to_owned(),
        argv: argv.to_vec(),
        leads_nowhere: leads_nowhere(&cwd.join(name)).filter(|_| found.is_err()),
        venv: found.as_ref().ok().and_then(|file| venv(file)),
        node: node.map(|node| version(node)),
        found,
        real,
        interpreter,
    }
}

fn leads_nowhere(path: &Path) -> Option<(PathBuf, PathBuf)> {
    Some((path.to_owned(), std::fs::read_link(path).ok()?)).filter(|_| !path.exists())
}

/// What the `#!` line names, as it is written, and where that is: `env` looks on PATH.
fn interpreter(program: &Path, path: &str, cwd: &Path) -> Option<(String, Result<PathBuf, String>)> {
    let words = spawn::interpreter_line(program)?;
    let written = words.join(" ");
    let first = words.first()?;
    if Path::new(first).file_name().is_none_or(|name| name != "env") || !Path::new(first).exists() {
        return Some((written, spawn::find_program(first, "", cwd)));
    }
    // `env -S name option`, `env VAR=value name`.
    let name = words.iter().skip(1).find(|word| !word.starts_with('-') && !word.contains('='))?;
    Some((written, spawn::find_program(name, path, cwd)))
}

/// The Python that a virtual environment was made from (its pyvenv.cfg), and whether it is still there.
fn venv(program: &Path) -> Option<(PathBuf, bool)> {
    let text = std::fs::read_to_string(program.parent()?.parent()?.join("pyvenv.cfg")).ok()?;
    let home = text.lines().find_map(|line| line.split_once('=').filter(|(key, _)| key.trim() == "home"))?.1.trim();
    Some((home.into(), Path::new(home).is_dir()))
}

fn version(program: &Path) -> Result<String, String> {
    let done = command::run(program, &["--version"], &[], VERSION_WITHIN).map_err(|error| error.to_string())?;
    if done.is_good() { Ok(done.stdout.trim().to_owned()) } else { Err(done.stderr.trim().to_owned()) }
}

pub(super) fn look(folder: &Path) -> Seen {
    let (tell, told) = mpsc::channel();
    let path = folder.to_owned();
    // Left behind when it hangs; it goes with this process.
    std::thread::spawn(move || tell.send(std::fs::read_dir(path).map(drop)).ok());
    match told.recv_timeout(FOLDER_WITHIN) {
        Ok(Ok(())) => Seen::Fine,
        Ok(Err(error)) => match error.kind() {
            ErrorKind::NotFound => Seen::Absent,
            ErrorKind::PermissionDenied => Seen::Denied,
            _ => Seen::Other(error.to_string()),
        },
        Err(_) => Seen::Slow,
    }
}

fn jobs(asked: &Asked<'_>, driver: &dyn Driver, program: PathBuf, facts: &mut Facts) {
    let site = Site {
        program,
        config: asked.config.to_owned(),
        state_dir: asked.paths.state_dir().to_owned(),
        home: asked.home.to_owned(),
        logs: drivers::logs(driver.kind(), asked.home, asked.paths.logs()),
        user: None,
        embedded: asked.fleet.manager == ManagerKind::Embedded,
        manager: driver.kind(),
    };
    let (jobs, unfit) = job::jobs(asked.fleet, &site, false);
    facts.unfit = unfit;
    for job in jobs {
        if let Err(unfit) = driver.render(&job) {
            facts.unfit.push(unfit);
            continue;
        }
        facts.jobs.push(JobFacts {
            wanted: asked.fleet.manager == driver.kind(),
            manager: driver.kind(),
            state: driver.look(&job),
            runner: runner_of(&job, asked.paths),
            warnings: if driver.kind() == ManagerKind::Launchd {
                crate::manager::plist::warnings(&job)
            } else {
                Vec::new()
            },
            job,
        });
    }
}

/// Who holds the lock of a service (or the daemon's), by the pid in it.
fn runner_of(job: &Job, paths: &Paths) -> Option<i32> {
    let lock = match job.role {
        Role::Daemon => paths.daemon_lock(),
        Role::Runner | Role::Task => paths.services().join(&job.name).join("lock"),
    };
    lock::holder(&lock)
}
