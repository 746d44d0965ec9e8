//! Becoming another program in place: execve(2) with the same pid and the same children, descriptors and a note handed over.
//!
//! The note is in a file without a name, whose descriptor is told on the new program's command line; it lists the other
//! descriptors by name. Signals that would be lost or deadly between the old program's handlers and the new one's are blocked
//! meanwhile, and come in once [`accept_signals`] is called.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::spawn::is_executable;
use super::tune;

/// The form of the letter; another one is not read.
const VERSION: u32 = 1;

/// What is handed over.
#[derive(Debug, Default)]
pub struct Parcel<'a> {
    fds: BTreeMap<String, BorrowedFd<'a>>,
}

impl<'a> Parcel<'a> {
    /// Adds a descriptor under a name.
    pub fn add(&mut self, name: impl Into<String>, fd: &'a impl AsFd) {
        self.fds.insert(name.into(), fd.as_fd());
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    v: u32,
    /// Whom it is for: descriptors mean something in one process only.
    pid: u32,
    fds: BTreeMap<String, RawFd>,
    note: Value,
}

/// Becomes `program`, with the arguments that `args` makes of the letter's descriptor (the program's name first) and our
/// environment. Returns only when that failed; then everything is as before. `scratch` is a folder of ours, where the letter
/// is for a moment.
pub fn become_program(
    program: &Path,
    args: impl FnOnce(RawFd) -> Vec<OsString>,
    parcel: &Parcel<'_>,
    note: Value,
    scratch: &Path,
) -> io::Error {
    let attempt = || -> io::Result<(File, CString, Vec<CString>, Vec<CString>)> {
        let fds = parcel.fds.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())).collect();
        let letter = write_letter(&Letter { v: VERSION, pid: std::process::id(), fds, note }, scratch)?;
        let args = args(letter.as_raw_fd()).into_iter().map(c_string).collect::<io::Result<_>>()?;
        let variable = |(mut key, value): (OsString, OsString)| {
            key.push("=");
            key.push(value);
            c_string(key)
        };
        let env = std::env::vars_os().map(variable).collect::<io::Result<_>>()?;
        Ok((letter, c_string(program.into())?, args, env))
    };
    let (letter, program, args, env) = match attempt() {
        Ok(ready) => ready,
        Err(error) => return error,
    };
    let all = || parcel.fds.values().copied().chain([letter.as_fd()]);
    let raised = tune::restore_descriptor_limit();
    let mask = SigSet::thread_get_mask();
    // Not by std's `exec`: that may change the mask of blocked signals and what is ignored.
    let result = held_back().thread_block().and_then(|()| {
        // A signal that came just before is in our handlers' hands, and would be forgotten with them.
        if STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(nix::errno::Errno::EINTR);
        }
        all().try_for_each(|fd| survive_exec(fd, true))?;
        nix::unistd::execve(&program, &args, &env)
    });
    // Still here.
    for fd in all() {
        // It was possible the other way a moment ago.
        survive_exec(fd, false).ok();
    }
    if let Ok(mask) = mask {
        mask.thread_set_mask().ok();
    }
    if raised {
        tune::raise_descriptor_limit();
    }
    result.map_or_else(io::Error::from, |never| match never {})
}

/// What was handed over to us.
#[derive(Debug)]
pub struct Received {
    fds: BTreeMap<String, OwnedFd>,
}

impl Received {
    /// Reads the letter at `fd`, and takes charge of what it lists: the note of our predecessor in this process, and its
    /// descriptors. To be called once, with the number from our command line.
    ///
    /// # Errors
    /// When there is no letter for this process, or its note has a form that is not known. What it lists is closed then, so
    /// that its locks are free again.
    #[expect(unsafe_code, reason = "descriptors that arrive as numbers")]
    pub fn take<T: DeserializeOwned>(fd: RawFd) -> io::Result<(T, Self)> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if fd <= 2 || !is_open(fd) {
            return Err(wrong("no letter was handed over"));
        }
        // SAFETY: it is open, and the command line names it as ours alone.
        let file = unsafe { File::from_raw_fd(fd) };
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        let letter: Letter = serde_json::from_slice(&bytes)?;
        if letter.v != VERSION || letter.pid != std::process::id() {
            return Err(wrong("what was handed over is for another program"));
        }
        let mut fds = BTreeMap::new();
        for (name, fd) in letter.fds {
            if !is_open(fd) || fd <= 2 {
                continue;
            }
            // SAFETY: it is open, and the process that we were has left it to us under this name.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            survive_exec(fd.as_fd(), false)?;
            fds.insert(name, fd);
        }
        Ok((serde_json::from_value(letter.note)?, Self { fds }))
    }

    /// The descriptor of this name, once.
    pub fn fd(&mut self, name: &str) -> Option<OwnedFd> {
        self.fds.remove(name)
    }
}

/// Our own program. Linux calls a file that was replaced by an upgrade `... (deleted)`; what is there now is what to start.
pub fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    match path.to_str().and_then(|p| p.strip_suffix(" (deleted)")) {
        Some(replaced) if !path.exists() => Ok(PathBuf::from(replaced)),
        _ => Ok(path),
    }
}

/// Whether there is a program that a process can become.
pub fn is_program(path: &Path) -> bool {
    path.is_absolute() && is_executable(path)
}

/// Whether SIGTERM or SIGINT has come to this program.
static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Lets in what was held back. To be called when handlers are in place.
pub fn accept_signals() {
    let stop = STOP.get_or_init(Arc::default);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // These two can always be handled.
        signal_hook::flag::register(signal as i32, stop.clone()).ok();
    }
    // The set holds signals that exist.
    held_back().thread_unblock().ok();
}

fn held_back() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

fn survive_exec(fd: BorrowedFd<'_>, survive: bool) -> nix::Result<()> {
    let flags = if survive { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop)
}

#[expect(unsafe_code, reason = "a number that may be no descriptor at all")]
fn is_open(fd: RawFd) -> bool {
    // SAFETY: the call takes integers and touches no memory; a number that is not open is what it is asked about.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

fn write_letter(letter: &Letter, scratch: &Path) -> io::Result<File> {
    let path = scratch.join(format!(".handover.{}.tmp", std::process::id()));
    // Left by a process that had our pid and was killed in the three lines below.
    std::fs::remove_file(&path).ok();
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(&serde_json::to_vec(letter)?)?;
    Ok(file)
}

fn c_string(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::again;

    const NAME: &str = "process::handover::tests::descriptors_note_and_signals_come_through";

    /// It becomes itself, so it is played in a process of its own: first as the one that hands over, then as the successor.
    #[test]
    fn descriptors_note_and_signals_come_through() {
        const STAGE: &str = "SUPERVISOR_TEST_HANDOVER";
        match std::env::var(STAGE) {
            Err(_) => {
                let output = again(NAME, STAGE).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
                assert!(text.contains("1 passed"), "{text}");
                assert!(text.contains("the successor was here"), "{text}");
            }
            Ok(stage) if std::env::args().any(|arg| arg.starts_with("handover-")) => successor(&stage),
            Ok(_) => predecessor(),
        }
    }

    fn predecessor() {
        let folder = tempfile::tempdir().unwrap();
        let kept = File::create(folder.path().join("kept")).unwrap();
        let mut parcel = Parcel::default();
        parcel.add("kept", &kept);
        tune::raise_descriptor_limit();
        let note = serde_json::json!({ "pid": std::process::id() });
        // What cannot be executed leaves us as we were.
        let error = become_program(Path::new("/no/such"), |_| vec!["x".into()], &parcel, note.clone(), folder.path());
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(fcntl(&kept, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() != 0);
        assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no letter is left");
        let program = std::env::current_exe().unwrap();
        // Arguments that libtest takes for filters carry the number; the thread of the test becomes the process.
        let args = |fd: RawFd| {
            [program.to_str().unwrap(), NAME, "--exact", "--nocapture", "--test-threads=1", "--skip"]
                .into_iter()
                .map(OsString::from)
                .chain([format!("handover-{fd}").into()])
                .collect()
        };
        let error = become_program(&program, args, &parcel, note, folder.path());
        panic!("{error}");
    }

    fn successor(_: &str) {
        let number = std::env::args().find_map(|arg| arg.strip_prefix("handover-").map(str::to_owned)).unwrap();
        let (note, mut received) = Received::take::<Value>(number.parse().unwrap()).unwrap();
        assert_eq!(note["pid"], std::process::id());
        let kept = received.fd("kept").unwrap();
        assert!(received.fd("kept").is_none());
        assert!(fcntl(&kept, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() != 0);
        nix::unistd::write(&kept, b"still ours").unwrap();
        accept_signals();
        println!("the successor was here");
    }

    #[test]
    fn numbers_that_are_no_letters_are_refused() {
        for number in [-1, 0, 2, 1_000_000] {
            assert!(Received::take::<Value>(number).is_err());
        }
    }
}
