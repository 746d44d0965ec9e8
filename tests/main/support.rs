//! A supervisor of one's own for each test: a folder, a services.toml, a state directory, and the promise that nothing of it
//! lives on when the test is over, however it ends.
#![allow(dead_code, reason = "every theme takes what it needs")]

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take before the test has failed. A bound on a loaded machine, and no measure.
const DEADLINE: Duration = Duration::from_secs(20);

/// One supervisor: `{dir}` in its services.toml stands for its folder.
pub struct Env {
    dir: PathBuf,
    daemon: Mutex<Option<Child>>,
    /// Removes the folder; last, when nothing runs in it any more.
    _folder: tempfile::TempDir,
}

impl Env {
    /// A folder with a services.toml of `body` below a `[supervisor]` table with the embedded manager. Nothing runs yet.
    pub fn new(body: &str) -> Self {
        // Sockets need short paths, and macOS's own temporary folder has none.
        let folder = tempfile::Builder::new().prefix("sv").tempdir_in("/tmp").unwrap();
        let dir = folder.path().canonicalize().unwrap();
        let env = Self { dir, daemon: Mutex::new(None), _folder: folder };
        env.configure(body);
        env
    }

    /// Writes services.toml anew, as `new` does.
    pub fn configure(&self, body: &str) {
        let head = format!("[supervisor]\nstate_dir = \"{}\"\nmanager = \"embedded\"\n", self.state_dir().display());
        self.write_config(&(head + &body.replace("{dir}", &self.dir.display().to_string())));
    }

    /// Writes services.toml as it is given.
    pub fn write_config(&self, text: &str) {
        // By rename, so that whoever reads it now sees one or the other.
        let new = self.dir.join("services.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(new, self.config()).unwrap();
    }

    /// The folder of everything; also HOME.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("services.toml")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// An executable /bin/sh script in the folder.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    /// The program with `args`, in the folder, with PATH and HOME for its only environment. Its output goes to
    /// `terminal.log`, unless the test wants it.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_supervisor")), args)
    }

    /// The same with another program.
    pub fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let terminal = std::fs::File::options().create(true).append(true).open(self.dir.join("terminal.log")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", &self.dir)
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .current_dir(&self.dir)
            .arg("--config")
            .arg(self.config())
            .args(args)
            .stdin(Stdio::null())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal);
        command
    }

    /// Runs the program to its end. One that does not end is killed and fails the test.
    pub fn cli(&self, args: &[&str]) -> Output {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes).map(|_| bytes)
            })
        };
        let (out, err) = (read(Box::new(out)), read(Box::new(err)));
        let mut child = Guard(child);
        // Longer than any deadline of the program itself.
        let status = wait_within(&format!("the end of {args:?}"), 4 * DEADLINE, || child.0.try_wait().unwrap());
        Output { status, stdout: out.join().unwrap().unwrap(), stderr: err.join().unwrap().unwrap() }
    }

    /// Starts the daemon, and does not wait for it; one that still lives is killed before. Its pid.
    pub fn spawn_daemon(&self) -> i32 {
        self.kill_daemon();
        let child = self.command(&["run"]).spawn().unwrap();
        let pid = pid_of(&child);
        *self.daemon.lock().unwrap() = Some(child);
        pid
    }

    /// Waits until the daemon answers, and starts one if none lives.
    pub fn start_daemon_if_gone(&self) {
        let lives = self.daemon.lock().unwrap().as_mut().is_some_and(|child| child.try_wait().unwrap().is_none());
        if !lives {
            self.start_daemon();
        }
        wait_for("an answer from the daemon", || (self.try_status()?["daemon"]["running"] == true).then_some(()));
    }

    /// Starts the daemon and waits until it answers. Its pid.
    pub fn start_daemon(&self) -> i32 {
        let pid = self.spawn_daemon();
        wait_for("an answer from the daemon", || {
            let ended = self.daemon.lock().unwrap().as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "the daemon ended with {ended:?}; it said:\n{}", self.terminal());
            (self.try_status()?["daemon"]["pid"] == pid).then_some(())
        });
        pid
    }

    /// What programs without a terminal of their own said.
    pub fn terminal(&self) -> String {
        std::fs::read_to_string(self.dir.join("terminal.log")).unwrap_or_default()
    }

    /// The daemon that was started last, whether it lives or not.
    pub fn daemon_pid(&self) -> Option<i32> {
        self.daemon.lock().unwrap().as_ref().map(pid_of)
    }

    /// SIGKILL to the daemon; it is reaped when this returns.
    pub fn kill_daemon(&self) {
        if let Some(mut child) = self.daemon.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM to the daemon, and its exit code once it is down (`None` when a signal ended it).
    pub fn stop_daemon(&self) -> Option<i32> {
        let child = self.daemon.lock().unwrap().take();
        let mut child = Guard(child.expect("no daemon was started"));
        signal(pid_of(&child.0), Signal::SIGTERM);
        wait_within("the daemon's end in order", 4 * DEADLINE, || child.0.try_wait().unwrap()).code()
    }

    /// The embedded runner that lives now.
    pub fn runner_pid(&self) -> Option<i32> {
        let is_runner = |p: &&Process| p.args.iter().any(|arg| arg == "--embedded");
        self.processes().iter().find(is_runner).map(|p| p.pid)
    }

    /// `status --json`; the program's own report where there is no daemon.
    pub fn status(&self) -> Value {
        self.try_status().expect("status --json gave no JSON")
    }

    pub fn try_status(&self) -> Option<Value> {
        serde_json::from_slice(&self.cli(&["status", "--json"]).stdout).ok()
    }

    /// One service of `status --json`.
    pub fn service(&self, name: &str) -> Value {
        let all = self.status();
        let found = all["services"].as_array().and_then(|s| s.iter().find(|s| s["name"] == name)).cloned();
        found.unwrap_or_else(|| panic!("status has no {name}: {all:#}"))
    }

    /// Waits until the service has this status; what `status --json` says of it then.
    pub fn wait_status(&self, name: &str, status: &str) -> Value {
        let mut last = Value::Null;
        let found = try_wait(DEADLINE, || {
            last = self.service(name);
            (last["status"] == status).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("{name} is not {status} but {last:#}\n{}", self.terminal()))
    }

    /// The ledger, read-only, once it is made: a daemon answers before that.
    pub fn db(&self) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = self.state_dir().join("observability.sqlite");
        wait_for("the tables of the ledger", || {
            let db = rusqlite::Connection::open_with_flags(&path, flags).ok()?;
            db.busy_timeout(DEADLINE).ok()?;
            let made = db.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_master)", [], |row| row.get(0)).ok()?;
            Some(db).filter(|_| made)
        })
    }

    /// All rows of a query, as JSON values.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        use rusqlite::types::ValueRef;
        let db = self.db();
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let value = |row: &rusqlite::Row<'_>, i| {
            Ok(match row.get_ref(i)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(n) => n.into(),
                ValueRef::Real(x) => x.into(),
                ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into(),
            })
        };
        let rows = statement.query_map([], |row| (0..columns).map(|i| value(row, i)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// Every living process of ours: those with our folder among their arguments, and those of our services.
    pub fn processes(&self) -> Vec<Process> {
        processes(&self.dir, &self.state_dir())
    }

    fn end_everything(&self) {
        if let Some(child) = self.daemon.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            let mut child = Guard(child);
            signal(pid_of(&child.0), Signal::SIGTERM);
            try_wait(Duration::from_secs(5), || child.0.try_wait().ok().flatten());
        }
        // Runners first: they would start again what is ended.
        try_wait(DEADLINE, || {
            let mut all = self.processes();
            all.sort_by_key(|p| p.marked);
            for process in &all {
                signal(process.pid, Signal::SIGKILL);
            }
            for pid in self.recorded_leaders() {
                killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            all.is_empty().then_some(())
        });
    }

    /// Takes away what runners that were killed leave in shared memory for successors, which they will not have.
    fn forget_blocks(&self) {
        let locks = std::fs::read_dir(self.state_dir().join("supervisor/runners"));
        let id = |file: std::fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".lock")?.to_owned());
        let ids = locks.into_iter().flatten().flatten().filter_map(id);
        for id in ids.chain([supervisor::model::paths::EMBEDDED_RUNNER.to_owned()]) {
            supervisor::logs::Block::open(&self.state_dir(), &id).unwrap().remove();
        }
    }

    /// Main processes that the adoption records name: where the environment of /bin/sh cannot be seen (macOS), they are
    /// found so.
    fn recorded_leaders(&self) -> Vec<i32> {
        if cfg!(target_os = "linux") {
            return Vec::new();
        }
        let Ok(folders) = std::fs::read_dir(self.state_dir().join("supervisor/services")) else { return Vec::new() };
        let record = |folder: std::fs::DirEntry| {
            let record: Value =
                serde_json::from_slice(&supervisor::process::record::read(&folder.path().join("adopt"))?).ok()?;
            let phase = record["saved"]["phase"].as_object()?.values().next()?.clone();
            let run = if phase["run"].is_null() { phase } else { phase["run"].clone() };
            i32::try_from(run["process"]["pid"].as_i64()?).ok()
        };
        folders.flatten().filter_map(record).collect()
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what was said in {}:\n{}", self.dir.display(), self.terminal());
        }
        self.end_everything();
        self.forget_blocks();
    }
}

/// A process of a test.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub args: Vec<String>,
    /// Whether it carries the mark of a service of this state directory.
    pub marked: bool,
}

#[cfg(target_os = "linux")]
fn processes(dir: &Path, state_dir: &Path) -> Vec<Process> {
    let mark = format!("SUPERVISOR_STATE_DIR={}", state_dir.display());
    let dir = dir.display().to_string();
    let split = |bytes: Vec<u8>| -> Vec<String> {
        bytes.split(|b| *b == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    };
    let process = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let args = split(std::fs::read(entry.path().join("cmdline")).ok()?);
        let marked = split(std::fs::read(entry.path().join("environ")).unwrap_or_default()).contains(&mark);
        // A zombie has neither.
        let ours = marked || args.iter().any(|arg| arg.starts_with(&dir));
        ours.then_some(Process { pid, args, marked })
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(process).collect()
}

#[cfg(not(target_os = "linux"))]
fn processes(dir: &Path, state_dir: &Path) -> Vec<Process> {
    let mark = format!("SUPERVISOR_STATE_DIR={}", state_dir.display());
    let dir = dir.display().to_string();
    #[expect(clippy::disallowed_methods, reason = "the system's own process table")]
    let output = Command::new("ps").args(["-axEww", "-o", "pid=,command="]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let process = |line: &str| {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let pid = args.first()?.parse().ok()?;
        let marked = args.contains(&mark);
        let ours = marked || args.iter().any(|arg| arg.starts_with(&dir));
        ours.then_some(Process { pid, args, marked })
    };
    text.lines().filter_map(process).collect()
}

/// For a test that changes its whole process: runs it again in one of its own. Whether this is that one.
pub fn in_own_process(test: &str) -> bool {
    const INNER: &str = "SUPERVISOR_TEST_INNER";
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    #[expect(clippy::disallowed_methods, reason = "this test binary")]
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INNER, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "{test} failed in its own process");
    false
}

/// Ends and reaps its child.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// Sends a signal; whether there was somebody to get it.
pub fn signal(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}

/// Asks `ready` again and again until it answers, and fails the test when it has not in time.
pub fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    wait_within(what, DEADLINE, ready)
}

/// The same with a bound of one's own.
pub fn wait_within<T>(what: &str, within: Duration, ready: impl FnMut() -> Option<T>) -> T {
    try_wait(within, ready).unwrap_or_else(|| panic!("not within {} s: {what}", within.as_secs()))
}

/// Lets time pass, and looks at things all the while.
pub fn pass(time: Duration, mut look: impl FnMut()) {
    try_wait(time, || {
        look();
        None::<()>
    });
}

/// Waits for an answer; `None` when there was none in time. The only place that sleeps.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
pub fn try_wait<T>(within: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_of_an_env_outlives_it() {
    let env = Env::new("[service.a]\ncommand = [\"{dir}/a\"]\nthrottle = \"0s\"\n");
    env.script("a", "sleep 1000 & exec sleep 1000");
    env.start_daemon();
    env.wait_status("a", "up");
    assert!(env.runner_pid().is_some());
    wait_for("service and its child", || (env.processes().iter().filter(|p| p.marked).count() == 2).then_some(()));
    env.kill_daemon();
    let (dir, state) = (env.dir().to_path_buf(), env.state_dir());
    drop(env);
    assert_eq!(processes(&dir, &state).len(), 0);
    assert!(!dir.exists());
}
