//! What several themes need beside `support`: small services, rows of the ledger, processes.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::support::{Env, wait_for};

/// A service that runs `script` in /bin/sh; `more` are further lines of its table.
pub fn service(name: &str, script: &str, more: &str) -> String {
    format!("[service.{name}]\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n{more}\n")
}

/// A perl program that leaves its session, writes its pid to the file named first and becomes a sleep: what a program
/// that makes itself a daemon does. It ignores what it inherited as ignored.
pub const AWAY: &str = "use POSIX; POSIX::setsid(); open(F, '>', \"$ARGV[0].new\"); print F $$; close F; \
                        rename(\"$ARGV[0].new\", $ARGV[0]); exec('sleep', '1000');";

/// The same as a script in the home folder, `~/away FILE`.
pub fn with_away(env: Env) -> Env {
    std::fs::write(env.dir().join("away"), AWAY).unwrap();
    env
}

pub fn alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// SIGKILL, or another end for a process that must be there.
pub fn end(pid: i32, with: Signal) {
    kill(Pid::from_raw(pid), with).unwrap();
}

pub fn wait_dead(pid: i32) {
    wait_for("the end of a process", || (!alive(pid)).then_some(()));
}

/// The number that a service wrote into a file of the home folder.
pub fn number_in(env: &Env, file: &str) -> i32 {
    let path = env.dir().join(file);
    wait_for(file, || std::fs::read_to_string(&path).ok()?.trim().parse().ok())
}

pub fn wait_file(path: &Path) {
    wait_for(&path.display().to_string(), || path.exists().then_some(()));
}

pub fn home(env: &Env, file: &str) -> PathBuf {
    env.dir().join(file)
}

/// The pid of a service that is up.
pub fn main_pid(env: &Env, name: &str) -> i32 {
    env.wait_status(name, "up");
    i32::try_from(env.service(name)["pid"].as_i64().unwrap()).unwrap()
}

/// Waits until a service is up in a run after `run_id`; its new pid.
pub fn up_after(env: &Env, name: &str, run_id: u64) -> i32 {
    let pid = wait_for(&format!("a run of {name} after {run_id}"), || {
        let info = env.service(name);
        (info["status"] == "up" && info["run_id"].as_u64()? > run_id).then(|| info["pid"].as_i64())?
    });
    i32::try_from(pid).unwrap()
}

pub fn run_id(env: &Env, name: &str) -> u64 {
    env.service(name)["run_id"].as_u64().unwrap_or(0)
}

/// Runs the command line; its stdout, its stderr and its exit code.
pub fn run(env: &Env, args: &[&str]) -> (String, String, i32) {
    let Output { status, stdout, stderr } = env.cli(args);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(stdout), text(stderr), status.code().unwrap_or(-1))
}

/// Runs the command line, which must end with `code`; everything it printed.
pub fn ends_with(env: &Env, code: i32, args: &[&str]) -> String {
    let (out, err, got) = run(env, args);
    assert_eq!(got, code, "supervisor {args:?}\nstdout: {out}\nstderr: {err}");
    format!("{out}{err}")
}

pub fn ok(env: &Env, args: &[&str]) -> String {
    ends_with(env, 0, args)
}

/// One row of `supervisor_events`.
#[derive(Debug, Clone)]
pub struct Row {
    pub event: String,
    pub service: Option<String>,
    pub at_ms: i64,
    pub seq: i64,
    pub data: Value,
}

impl Row {
    pub fn is(&self, event: &str) -> bool {
        self.event == event
    }

    pub fn run(&self) -> u64 {
        self.data["run_id"].as_u64().unwrap_or(0)
    }
}

/// All rows, in the order in which they were journaled; none while the database cannot be read.
pub fn all_rows(env: &Env) -> Vec<Row> {
    try_rows(env).unwrap_or_default()
}

fn try_rows(env: &Env) -> rusqlite::Result<Vec<Row>> {
    let path = env.state_dir().join("observability.sqlite");
    let conn = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    let sql = "SELECT event_type, service_name, timestamp_ms, seq, metadata FROM supervisor_events ORDER BY seq, id";
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let data: String = row.get(4)?;
        Ok(Row {
            event: row.get(0)?,
            service: row.get(1)?,
            at_ms: row.get(2)?,
            seq: row.get(3)?,
            data: serde_json::from_str(&data).unwrap(),
        })
    })?;
    rows.collect()
}

/// The rows of one service.
pub fn rows_of(env: &Env, name: &str) -> Vec<Row> {
    all_rows(env).into_iter().filter(|row| row.service.as_deref() == Some(name)).collect()
}

/// Returns once the daemon has taken in what was journaled until now.
pub fn sync(env: &Env) {
    let mut stream = std::os::unix::net::UnixStream::connect(env.state_dir().join("supervisor/daemon.sock")).unwrap();
    stream.write_all(b"POST /v1/sync HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

pub fn count(env: &Env, name: &str, event: &str) -> usize {
    rows_of(env, name).iter().filter(|row| row.is(event)).count()
}

/// Waits for the row of one service that `wanted` picks.
pub fn wait_row(env: &Env, name: &str, wanted: impl Fn(&Row) -> bool) -> Row {
    wait_for(&format!("a row of {name}"), || rows_of(env, name).into_iter().find(&wanted))
}

/// Replaces a file the way editors do: written beside, made executable, renamed over.
pub fn put(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// A small disk of its own, mounted for a test where that is permitted.
pub struct Disk(pub PathBuf);

impl Disk {
    /// `None`, and a loud word, where nothing can be mounted.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(at).unwrap();
        let options = format!("size={size},mode=0700");
        Self::run(&["-t", "tmpfs", "-o", &options, "tmpfs", at.to_str()?]).then(|| Self(at.to_path_buf()))
    }

    /// The file at `path`, read-only from now on.
    pub fn read_only(path: &Path) -> Option<Self> {
        let path_text = path.to_str()?;
        let bound = Self::run(&["--bind", path_text, path_text]).then(|| Self(path.to_path_buf()))?;
        Self::run(&["-o", "remount,ro,bind", path_text]).then_some(bound)
    }

    fn run(args: &[&str]) -> bool {
        #[expect(clippy::disallowed_methods, reason = "the system's own program; its privileges are not ours to have")]
        let output = std::process::Command::new("mount").args(args).output();
        let mounted = cfg!(target_os = "linux") && output.as_ref().is_ok_and(|output| output.status.success());
        if !mounted {
            println!("SKIPPED: nothing can be mounted here: mount {args:?}: {output:?}");
        }
        mounted
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Detached at once, whoever still has a file open there.
        #[expect(clippy::disallowed_methods, reason = "the system's own program")]
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
