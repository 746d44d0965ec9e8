//! A supervisor that is measured, with its services, from its start to its end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{self, Process};
use crate::programs::Programs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Floor,
    Ours,
}

/// A service: its name, and svc's MODE and ARGS.
pub struct Service {
    pub name: String,
    pub mode: &'static str,
    pub args: Vec<String>,
    /// More lines of its table.
    pub more: String,
}

/// So many services of one mode.
pub fn services(n: usize, mode: &'static str) -> Vec<Service> {
    (0..n).map(|i| Service { name: format!("s{i}"), mode, args: Vec::new(), more: String::new() }).collect()
}

/// What a service wrote as its first act.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub ns: u64,
    pub pid: i32,
}

pub struct Peer<'a> {
    pub which: Which,
    programs: &'a Programs,
    /// Removed with it.
    _folder: tempfile::TempDir,
    dir: PathBuf,
    child: Option<Child>,
    events: File,
    /// The last stamp of each service.
    pub last: BTreeMap<String, Stamp>,
    /// All stamps so far.
    pub starts: u64,
    began: u64,
}

impl<'a> Peer<'a> {
    /// Writes what it needs, and does not start it.
    pub fn new(programs: &'a Programs, which: Which, services: &[Service]) -> Self {
        let folder = tempfile::Builder::new().prefix("svbench").tempdir().expect("a folder for temporary files");
        let dir = folder.path().canonicalize().expect("the folder");
        fs::create_dir(dir.join("log")).expect("the folder for logs");
        File::create(dir.join("events")).expect("the file of stamps");
        let events = File::open(dir.join("events")).expect("the file of stamps");
        let (last, starts, began) = (BTreeMap::new(), 0, 0);
        let peer = Self { which, programs, _folder: folder, dir, child: None, events, last, starts, began };
        peer.configure(services);
        peer
    }

    /// Writes its configuration.
    pub fn configure(&self, services: &[Service]) {
        let (log, events) = (self.dir.join("log").display().to_string(), self.dir.join("events").display().to_string());
        let argv = |s: &Service| {
            let fixed = [self.programs.svc.display().to_string(), s.mode.into(), s.name.clone(), events.clone()];
            fixed.into_iter().chain(s.args.iter().cloned()).collect::<Vec<_>>()
        };
        let (file, text) = match self.which {
            Which::Floor => {
                let line = |s: &Service| format!("{0}\t{log}/{0}.log\t{1}\n", s.name, argv(s).join("\t"));
                ("conf", services.iter().map(line).collect::<String>())
            }
            Which::Ours => {
                let head = format!("[supervisor]\nmanager = \"embedded\"\nstate_dir = {:?}\n", self.dir.join("state"));
                // No pauses between starts, logs as the floor has them; everything else at its default.
                let rest = "throttle = \"0s\"\nmin_uptime = \"0s\"\nstop_timeout = \"2s\"\n\
                            log = { max_size = \"50MB\", keep = 20 }\n";
                let table = |s: &Service| format!("\n[service.{}]\ncommand = {:?}\n{rest}{}", s.name, argv(s), s.more);
                ("services.toml", head + &services.iter().map(table).collect::<String>())
            }
        };
        fs::write(self.dir.join(file), text).expect("the configuration");
        // One that others can write is refused.
        fs::set_permissions(self.dir.join(file), fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// A command of the supervisor that is measured.
    pub fn command(&self, words: &[&str]) -> Command {
        let program = match self.which {
            Which::Floor => &self.programs.floor,
            Which::Ours => &self.programs.ours,
        };
        #[expect(clippy::disallowed_methods, reason = "a benchmark starts programs")]
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        command.env_clear().env("HOME", &self.dir).env("PATH", path).current_dir(&self.dir).stdin(Stdio::null());
        if self.which == Which::Ours {
            command.arg("--config").arg(self.dir.join("services.toml"));
        }
        command.args(words);
        command
    }

    /// Starts it, and waits for the first act of so many services. Milliseconds to the last of them.
    pub fn start(&mut self, n: usize) -> f64 {
        let paths = ["conf", "socket", "exits"].map(|name| self.dir.join(name).display().to_string());
        let command = match self.which {
            Which::Floor => self.command(&["run", &paths[0], &paths[1], &paths[2]]),
            Which::Ours => self.command(&["run"]),
        };
        self.spawn(command);
        wait_for("the start of all services", Duration::from_secs(60), 5, || {
            self.poll();
            (self.last.len() >= n).then_some(())
        });
        let last = self.last.values().map(|stamp| stamp.ns).max().unwrap_or(0);
        host::ms(self.began, last)
    }

    /// Starts `command` as the supervisor, or as one more of its processes.
    pub fn spawn(&mut self, mut command: Command) {
        let out = File::options().create(true).append(true).open(self.dir.join("out")).expect("a file for its output");
        command.stdout(out.try_clone().expect("its output")).stderr(out);
        self.began = host::now();
        self.child = Some(command.spawn().expect("it does not start"));
    }

    /// Takes in the stamps that are new.
    pub fn poll(&mut self) {
        let mut bytes = Vec::new();
        self.events.read_to_end(&mut bytes).expect("the file of stamps");
        assert!(bytes.len().is_multiple_of(32), "a record of a service is in pieces");
        for record in bytes.chunks_exact(32) {
            let ns = u64::from_ne_bytes(record[..8].try_into().expect("8 bytes"));
            let pid = i32::from_ne_bytes(record[8..12].try_into().expect("4 bytes"));
            let name = String::from_utf8_lossy(&record[16..]).trim_end_matches('\0').to_owned();
            self.last.insert(name, Stamp { ns, pid });
            self.starts += 1;
        }
    }

    /// `status` as a whole process, from before its start to its end: milliseconds, and what it said.
    pub fn status(&self) -> (f64, Vec<u8>) {
        let socket = self.dir.join("socket").display().to_string();
        let mut command = match self.which {
            Which::Floor => self.command(&["status", &socket]),
            Which::Ours => self.command(&["status", "--json"]),
        };
        let before = host::now();
        let output = command.output().expect("status does not start");
        let took = host::ms(before, host::now());
        // 3: not every service is up, as it is in a storm.
        assert!(matches!(output.status.code(), Some(0 | 3)) && !output.stdout.is_empty(), "status failed: {output:?}");
        (took, output.stdout)
    }

    /// Waits until it says that all services are up, and some more for what follows a start (the ledger).
    pub fn settle(&self, time: Duration) {
        wait_for("all services up", Duration::from_secs(60), 100, || {
            let said = self.status().1;
            let all_up = || {
                let report: serde_json::Value = serde_json::from_slice(&said).ok()?;
                report["services"].as_array().map(|s| s.iter().all(|s| s["status"] == "up"))
            };
            (self.which == Which::Floor || all_up() == Some(true)).then_some(())
        });
        host::sleep(time);
    }

    /// Its own processes and those of its services.
    pub fn processes(&self) -> (Vec<Process>, Vec<Process>) {
        let svc = self.programs.svc.display().to_string();
        host::processes(&self.dir).into_iter().partition(|p| p.args[0] != svc)
    }

    /// SIGTERM; milliseconds until neither it nor a service is left.
    pub fn stop(&mut self) -> f64 {
        let child = self.child.as_mut().expect("it runs");
        let before = host::now();
        signal(i32::try_from(child.id()).expect("a pid"), Signal::SIGTERM);
        let mut after = before;
        wait_for("its end", Duration::from_secs(60), 1, || {
            let ended = child.try_wait().expect("its status");
            after = host::now();
            ended
        });
        self.child = None;
        wait_for("the end of all its processes", Duration::from_secs(60), 1, || {
            let none = host::processes(&self.dir).is_empty();
            if !none {
                after = host::now();
            }
            none.then_some(())
        });
        self.poll();
        host::ms(before, after)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log files of a service, oldest first.
    pub fn logs(&self, service: &str) -> Vec<PathBuf> {
        let first = match self.which {
            Which::Floor => self.dir.join(format!("log/{service}.log")),
            Which::Ours => self.dir.join(format!("state/logs/{service}-stdout.log")),
        };
        let numbered = (1..).map(|n| PathBuf::from(format!("{}.{n}", first.display()))).take_while(|p| p.exists());
        let mut files: Vec<PathBuf> = std::iter::once(first.clone()).chain(numbered).collect();
        files.reverse();
        files
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = fs::read_to_string(self.dir.join("out")).unwrap_or_default();
            eprintln!("--- {:?} in {} said:\n{said}", self.which, self.dir.display());
        }
        // Again and again, as a runner or the floor may have started one meanwhile.
        for _ in 0..100 {
            if let Some(child) = &mut self.child {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
            let (own, services) = self.processes();
            if own.is_empty() && services.is_empty() {
                return;
            }
            own.iter().chain(&services).for_each(|p| signal(p.pid, Signal::SIGKILL));
            host::sleep(Duration::from_millis(50));
        }
        eprintln!("processes of {} are left", self.dir.display());
    }
}

/// Sends a signal, to a process that may have gone by now.
pub fn signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT and SIGTERM end the next wait, with everything that was started.
pub fn stop_on_signals() {
    let flag = STOP.get_or_init(Arc::default);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        signal_hook::flag::register(signal as i32, flag.clone()).expect("a handler for signals");
    }
}

/// Looks every `step` milliseconds until there is an answer.
pub fn wait_for<T>(what: &str, within: Duration, step: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let end = host::now() + u64::try_from(within.as_nanos()).expect("a bound");
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(host::now() < end, "not within {} s: {what}", within.as_secs());
        assert!(!STOP.get().is_some_and(|flag| flag.load(Ordering::Relaxed)), "stopped by a signal");
        host::sleep(Duration::from_millis(step));
    }
}
