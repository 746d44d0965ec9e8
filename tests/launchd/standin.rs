//! A launchd for tests, with its launchctl: on machines that have none, and on Macs beside the real one, which it never touches.
//!
//! `standin-launchctl VERB ...` is launchctl. It talks to a launchd of its own for the folder $STANDIN_DIR, which the first call
//! starts (or `standin-launchctl --serve DIR`). That one really starts the jobs' processes, and behaves as has been measured of
//! the real one: bootout comes back before the job is gone, bootstrap fails until then, a throttle is counted from the last start,
//! a missing program is a 78, only the main process gets SIGTERM and SIGKILL, its group one SIGTERM when it has ended.
//!
//! It ends, with all that it has started (on Linux with all descendants, wherever they went), on `standin-launchctl shutdown`, when
//! the process whose pid is in $STANDIN_DIR/parent is gone, and when $STANDIN_DIR is gone.
//!
//! Files in $STANDIN_DIR say what kind of Mac this is; they are read anew each time:
//!
//! - `parent`: a pid; see above
//! - `no-gui`: nobody is logged in at the screen, there is no gui domain
//! - `rich`: the caller counts as root, who is told the reason of a refusal and not just 5
//! - `pend`: starts that nobody has asked for are held back until a kickstart; holds `speculative` (only those at load),
//!   `inefficient` (only those after an end), or nothing (both)
//! - `btm`: labels, one a line, that are switched off in Login Items
//! - `hang`: verbs, one a line, on which launchctl hangs
//! - `answer`: lines `VERB NUMBER TIMES`: so often launchctl VERB does nothing and answers NUMBER
//! - `old-texts`: `print-disabled` as older systems have it
//!
//! It writes `calls.log` (each call, one a line) and `standin.log` (what it did, keys it does not know).
//!
//! Verbs beside those of launchctl: `shutdown`; `vanish LABEL` (forgets a label, leaving its process alone); `tick TIME` (it is now
//! TIME, such as 2026-11-22T03:00: what the calendar has between the time before and this one is run once, as after a sleep);
//! `login FOLDER` (loads what a login loads). A job finds STANDIN_DIR and SUPERVISOR_LAUNCHCTL in its environment, so that it
//! talks to the same launchd.
#![expect(clippy::disallowed_methods, reason = "it is part of the world around the program, with clocks and processes")]

mod calendar;
mod codes;
mod job;
mod server;
mod show;
mod spec;
mod verbs;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long a launchd may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// One call of launchctl.
#[derive(Serialize, Deserialize)]
struct Call {
    args: Vec<String>,
    uid: u32,
}

/// What launchctl prints and exits with.
#[derive(Serialize, Deserialize, Default)]
struct Reply {
    code: u8,
    out: String,
    err: String,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", dir] => server::serve(Path::new(dir)).map(|()| Reply::default()),
        ["error", number] => Ok(codes::error(number)),
        _ => client(&args),
    };
    match done {
        Ok(reply) => {
            print!("{}", reply.out);
            eprint!("{}", reply.err);
            ExitCode::from(reply.code)
        }
        Err(e) => {
            eprintln!("standin-launchctl: {e}");
            ExitCode::from(70)
        }
    }
}

fn client(args: &[String]) -> io::Result<Reply> {
    let dir = std::env::var_os("STANDIN_DIR").map(PathBuf::from);
    let dir = dir.ok_or_else(|| io::Error::other("STANDIN_DIR is not set: which launchd is meant?"))?;
    let verb = args.first().map(String::as_str).unwrap_or_default();
    if server::words(&dir, "hang").iter().any(|hangs| hangs == verb) {
        loop {
            nix::unistd::pause();
        }
    }
    let mut stream = match UnixStream::connect(server::socket(&dir)) {
        Ok(stream) => stream,
        // Nobody needs to be started to be ended.
        Err(_) if verb == "shutdown" => return Ok(Reply::default()),
        Err(_) => start(&dir)?,
    };
    let call = Call { args: args.to_vec(), uid: nix::unistd::getuid().as_raw() };
    serde_json::to_writer(&stream, &call)?;
    stream.write_all(b"\n")?;
    let mut text = String::new();
    BufReader::new(stream).read_to_string(&mut text)?;
    if verb == "shutdown" {
        // Its lock is free when nothing of it is left.
        server::wait_for_end(&dir)?;
        return Ok(Reply::default());
    }
    match serde_json::from_str(&text) {
        Ok(reply) => Ok(reply),
        Err(e) => Err(io::Error::other(format!("no answer from launchd: {e}"))),
    }
}

/// Starts the launchd of this folder and connects to it. Of two that are started at once one goes away by itself.
fn start(dir: &Path) -> io::Result<UnixStream> {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("standin.log"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--serve")
        .arg(dir)
        .current_dir("/")
        // Whoever ends this launchctl with its group does not end launchd.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(File::try_clone(&log)?)
        .stderr(log)
        .spawn()?;
    let end = Instant::now() + UP_WITHIN;
    loop {
        if let Ok(stream) = UnixStream::connect(server::socket(dir)) {
            return Ok(stream);
        }
        if Instant::now() >= end {
            child.kill().ok();
            child.wait().ok();
            return Err(io::Error::other("launchd does not come up"));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
