//! A loaded job: its process, when it is started, and what its end leads to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use supervisor::model::Exit;

use crate::spec::{KeepAlive, Spec};

/// Where launchd looks for programs without a folder, and the PATH of jobs that have none.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// Signals whose default is a core image: a crash.
const CRASHES: [i32; 7] =
    [libc::SIGILL, libc::SIGABRT, libc::SIGFPE, libc::SIGBUS, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];

/// One label in one domain.
pub struct Job {
    /// Of all jobs that were ever loaded only this one has it.
    pub id: u64,
    pub domain: String,
    pub spec: Spec,
    pub process: Option<Process>,
    pub due: Option<Due>,
    /// Why the start that is due is held back.
    pub pended: Option<&'static str>,
    /// Attempts to start it, and those that came to something.
    pub runs: u64,
    pub spawns: u64,
    pub end: Option<Exit>,
    pub is_spawn_failed: bool,
    pub crashes: u64,
    pub last_start: Option<Instant>,
    /// Why it was started last.
    pub reason: &'static str,
    /// It goes when its process has gone.
    pub is_removed: bool,
    /// kickstart -k has ended it.
    pub is_restarted: bool,
}

/// Its main process, which leads a group of its own.
pub struct Process {
    pub pid: i32,
    pub state: &'static str,
    pub kill_at: Option<Instant>,
}

/// A start that is to come.
#[derive(Clone, Copy)]
pub struct Due {
    pub at: Instant,
    pub reason: &'static str,
    /// Somebody has asked for it: it is never held back.
    pub is_demand: bool,
}

/// What a job is started with beside its plist.
pub struct Around<'a> {
    pub dir: &'a Path,
    /// What is held back: see the file `pend`.
    pub pend: Option<&'a str>,
}

impl Job {
    pub fn new(id: u64, domain: String, spec: Spec, now: Instant) -> Self {
        let load = Due { at: now, reason: "speculative", is_demand: false };
        let due = spec.run_at_load.then_some(load);
        Self {
            id,
            domain,
            spec,
            process: None,
            due,
            pended: None,
            runs: 0,
            spawns: 0,
            end: None,
            is_spawn_failed: false,
            crashes: 0,
            last_start: None,
            reason: "",
            is_removed: false,
            is_restarted: false,
        }
    }

    /// The throttle is counted from the last start, and the first is free.
    fn start_later(&mut self, now: Instant, reason: &'static str, is_demand: bool) {
        let least = Duration::from_secs(self.spec.throttle_s);
        let at = self.last_start.map_or(now, |last| now.max(last + least));
        self.due = Some(Due { at, reason, is_demand });
    }

    /// Somebody or the calendar asks for a start.
    pub fn demand(&mut self, now: Instant, reason: &'static str) {
        self.pended = None;
        if self.process.is_none() {
            self.start_later(now, reason, true);
        }
    }

    /// SIGTERM to the main process, and SIGKILL after its time.
    pub fn stop(&mut self, now: Instant) {
        self.due = None;
        self.pended = None;
        if let Some(process) = self.process.as_mut().filter(|process| process.state == "running") {
            kill(Pid::from_raw(process.pid), Signal::SIGTERM).ok();
            process.state = "SIGTERMed";
            let grace = self.spec.exit_timeout_s;
            process.kill_at = (grace > 0).then(|| now + Duration::from_secs(grace));
        }
    }

    /// What time alone brings.
    pub fn tick(&mut self, now: Instant, around: &Around<'_>) -> Option<String> {
        if let Some(process) = &mut self.process {
            if process.kill_at.is_some_and(|at| at <= now) {
                kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
                process.state = "SIGKILLed";
                process.kill_at = None;
            }
            return None;
        }
        let due = self.due.filter(|due| due.at <= now && !self.is_removed)?;
        self.due = None;
        let kind = if self.runs == 0 { "speculative" } else { "inefficient" };
        if !due.is_demand && around.pend.is_some_and(|what| what.is_empty() || what == kind) {
            self.pended = Some(kind);
            return Some(format!("{} is held back ({kind})", self.spec.label));
        }
        self.runs += 1;
        self.last_start = Some(now);
        self.reason = due.reason;
        match self.spawn(around.dir) {
            Ok(pid) => {
                self.process = Some(Process { pid, state: "running", kill_at: None });
                self.spawns += 1;
                self.is_spawn_failed = false;
                Some(format!("{} is process {pid} ({})", self.spec.label, due.reason))
            }
            Err(why) => {
                self.is_spawn_failed = true;
                self.end = Some(Exit::Code(78));
                if self.spec.keep_alive != KeepAlive::Never {
                    self.start_later(now, "semaphore", false);
                }
                Some(format!("{} could not be started: {why}", self.spec.label))
            }
        }
    }

    /// Its main process has ended and is not reaped yet: the rest of its group gets one SIGTERM.
    pub fn sweep(&self) {
        if let Some(process) = self.process.as_ref().filter(|_| !self.spec.abandon) {
            killpg(Pid::from_raw(process.pid), Signal::SIGTERM).ok();
        }
    }

    /// Its main process has ended so.
    pub fn ended(&mut self, exit: Exit, now: Instant) {
        self.process = None;
        self.end = Some(exit);
        let is_crash = exit.signal().is_some_and(|signal| CRASHES.contains(&signal.0));
        self.crashes = if is_crash { self.crashes + 1 } else { 0 };
        let is_good = exit == Exit::Code(0);
        let again = match self.spec.keep_alive {
            KeepAlive::Never => false,
            KeepAlive::Always => true,
            KeepAlive::After { success } => is_good == success,
        };
        if self.is_removed {
            return;
        }
        if std::mem::take(&mut self.is_restarted) {
            self.start_later(now, "non-ipc demand", true);
        } else if again {
            self.start_later(now, "semaphore", false);
        }
    }

    /// Opens its logs, as launchd does before the program is there, and starts it as the leader of a group.
    fn spawn(&self, dir: &Path) -> io::Result<i32> {
        let spec = &self.spec;
        let open = |path: &Option<PathBuf>| match path {
            Some(path) => OpenOptions::new().create(true).append(true).open(path).map(Stdio::from),
            None => Ok(Stdio::null()),
        };
        let (out, err) = (open(&spec.out)?, open(&spec.err)?);
        if !spec.cwd.is_dir() {
            return Err(io::Error::other(format!("no folder {}", spec.cwd.display())));
        }
        let program = find(&spec.program).ok_or_else(|| io::Error::other(format!("no program {}", spec.program)))?;
        let mut command = Command::new(program);
        command.arg0(&spec.argv[0]).args(&spec.argv[1..]).current_dir(&spec.cwd).env_clear();
        for name in ["HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("PATH", PATH).env("XPC_SERVICE_NAME", &spec.label).env("OSLogRateLimit", "64");
        command.env("STANDIN_DIR", dir).env("SUPERVISOR_LAUNCHCTL", std::env::current_exe()?).envs(&spec.env);
        command.stdin(File::open("/dev/null")?).stdout(out).stderr(err).process_group(0);
        // Inherited; nothing else makes files meanwhile, since all else is done under the same lock.
        let mask = spec.umask.map(|mask| umask(Mode::from_bits_truncate(mask as libc::mode_t)));
        let child = command.spawn();
        if let Some(mask) = mask {
            umask(mask);
        }
        child.map(|child| i32::try_from(child.id()).unwrap_or(i32::MAX))
    }
}

/// The program's file, if it can be run.
fn find(program: &str) -> Option<PathBuf> {
    let can_run = |path: &PathBuf| path.metadata().is_ok_and(|s| s.is_file() && s.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_absolute() && can_run(path));
    }
    PATH.split(':').map(|folder| Path::new(folder).join(program)).find(can_run)
}
