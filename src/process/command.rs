//! A command that is asked for something and ends: with a time limit, since launchctl and others are known to hang.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clock;
use super::reap;
use super::spawn::find_program;
use super::sys::ExitWatch;
use super::watch::Ended;
use crate::model::{Exit, Mono, Signal};

/// What is kept of each stream unless less is wanted, bytes.
const KEEP: usize = 1 << 20;

/// Longest wait; what is waited for tells of itself, this is for nothing but care.
const LONGEST: Duration = Duration::from_secs(1);

/// What a program of the owner's has of our environment; the rest may hold secrets.
const KEPT: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];

/// How often an end is looked for that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The same when the end has been told and there is nothing to reap yet: macOS tells a little before (xnu, `proc_exit`).
const LOOK_SOON: Duration = Duration::from_millis(1);

/// Children that their commands wait for: nobody else may reap them.
static CLAIMED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How a command ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote, at most 1 MiB or what was to be kept; what is no UTF-8 is replaced.
    pub stdout: String,
    /// The same of its stderr.
    pub stderr: String,
}

impl Finished {
    /// Whether it ended with 0.
    pub fn is_good(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// Its exit code, unless a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.exit.code()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It could not be started.
    #[error("{} could not be started: {source}", program.display())]
    NotStarted {
        /// What was to be started.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was ended after its time.
    #[error("{} did not end within {} s, and was ended{}", program.display(), limit.as_secs_f64(), said_so_far(said))]
    TimedOut {
        /// What was asked.
        program: PathBuf,
        /// Its time.
        limit: Duration,
        /// What it had written by then, both streams.
        said: String,
    },
}

impl NoAnswer {
    /// Whether there is no such program.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NotStarted { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn said_so_far(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!("; until then it said: {said}"),
    }
}

/// Whether `pid` is a child that [`run`] waits for and reaps: who reaps all children must leave it alone.
pub fn is_claimed(pid: i32) -> bool {
    claimed().contains(&pid)
}

fn claimed() -> MutexGuard<'static, BTreeSet<i32>> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a program of the owner's is, as our own PATH says; else a sentence that says what was looked for.
pub fn find(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') && !name.starts_with('/') {
        return Err(format!("the program {name} is no absolute path: write where it is from the root"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    find_program(name, &path, Path::new("/")).map_err(|why| why.replace("the service's PATH", "the daemon's PATH"))
}

/// What a program of the owner's is given of our environment.
pub fn kept_environment() -> Vec<(&'static str, String)> {
    KEPT.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect()
}

/// Runs `program` with `arguments` and `extra` beside our environment, in a group of its own, with nothing on its stdin, and waits
/// for its end for at most `limit`; then the whole group is killed. Blocks.
pub fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    extra: &[(&str, &str)],
    limit: Duration,
) -> Result<Finished, NoAnswer> {
    run_with(program, arguments, &Given { environment: extra, ..Given::default() }, limit)
}

/// What a command is given beside its arguments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// Variables of its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// Whether it gets these only, and nothing of our environment.
    pub only_these: bool,
    /// Variables of our environment that it does not get.
    pub without: &'a [&'a str],
    /// What is on its stdin. It need not read it.
    pub stdin: &'a [u8],
    /// What is kept of each stream, bytes; 1 MiB unless told.
    pub keep: Option<usize>,
    /// Its working directory; ours unless told.
    pub cwd: Option<&'a Path>,
    /// Where its stdout and stderr go instead of to us: what it leaves running has somewhere to write.
    pub output: Option<[&'a std::fs::File; 2]>,
    /// Who wants to know of it while it is under way.
    pub onlooker: Option<&'a dyn Onlooker>,
}

/// Who wants to know of a command while it is under way.
pub trait Onlooker: std::fmt::Debug {
    /// It was started just now; its pid is its group's number too.
    fn started(&self, pid: i32);

    /// Asked some fifty times a second: whether its time is over before its limit is.
    fn is_enough(&self) -> bool;
}

/// Runs `program` as [`run`] does, with what is `given`.
pub fn run_with<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    given: &Given<'_>,
    limit: Duration,
) -> Result<Finished, NoAnswer> {
    let mut asked = start(program, arguments, given, Cow::Borrowed(given.stdin))?;
    let end = clock::now().mono.plus(limit);
    if let Some(onlooker) = given.onlooker {
        onlooker.started(asked.pid);
    }
    let exit = asked.wait(end, given.onlooker);
    let (stdout, stderr) = (text(&asked.out.said), text(&asked.err.said));
    match exit {
        Some(exit) => Ok(Finished { exit, stdout, stderr }),
        None => Err(NoAnswer::TimedOut { program: program.to_owned(), limit, said: format!("{stdout}{stderr}") }),
    }
}

/// Runs `program` as [`run_with`] does, for who waits for more than its end. Nothing of what it writes is kept, but what
/// `output` takes.
pub fn begin<S: AsRef<OsStr>>(program: &Path, arguments: &[S], given: &Given<'_>) -> Result<Begun, NoAnswer> {
    start(program, arguments, given, Cow::Owned(given.stdin.to_vec())).map(Begun)
}

fn start<'a, S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    given: &Given<'_>,
    stdin: Cow<'a, [u8]>,
) -> Result<Asked<'a>, NoAnswer> {
    Asked::start(program, arguments, given, stdin)
        .map_err(|source| NoAnswer::NotStarted { program: program.to_owned(), source })
}

/// A command that is under way. Who drops it ends it, with all that is in its group.
#[derive(Debug)]
pub struct Begun(Asked<'static>);

impl Begun {
    /// How it ended, once it has. Never blocks. To be asked when one of its descriptors is ready, and after its pause.
    pub fn try_end(&mut self) -> Option<Exit> {
        self.0.try_end()
    }

    /// What to poll for.
    pub fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.0.descriptors()
    }

    /// After this it is to be looked at, though no descriptor is ready; `None`: they tell of everything.
    pub fn pause(&self) -> Option<Duration> {
        self.0.pause()
    }

    /// Kills it, with all that is in its group. Its end is still to be waited for.
    pub fn kill(&self) {
        super::signal::group(self.0.pid, Signal::KILL);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command under way.
#[derive(Debug)]
struct Asked<'a> {
    pid: i32,
    /// Tells of its end, where the system does.
    exit: Option<ExitWatch>,
    /// It has told.
    is_told: bool,
    /// Its stdin, until all is written or it will not have more.
    stdin: Option<std::fs::File>,
    /// What is written there, and how much of it has been.
    words: Cow<'a, [u8]>,
    written: usize,
    out: Stream,
    err: Stream,
    reaped: bool,
}

/// One of its pipes, until its end.
#[derive(Debug)]
struct Stream {
    pipe: Option<std::fs::File>,
    said: Vec<u8>,
    /// Most bytes of it; the rest is read and thrown away.
    keep: usize,
}

impl<'a> Asked<'a> {
    #[expect(clippy::disallowed_methods, reason = "the one place where commands are asked")]
    fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: &[S],
        given: &Given<'_>,
        words: Cow<'a, [u8]>,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        if given.only_these {
            command.env_clear();
        }
        // Who takes nothing away has nothing copied.
        for name in given.without.iter().filter(|name| std::env::var_os(name).is_some()) {
            command.env_remove(name);
        }
        command.args(arguments).envs(given.environment.iter().copied()).process_group(0);
        command.stdin(if words.is_empty() { Stdio::null() } else { Stdio::piped() });
        let (out, err) = match given.output {
            Some([out, err]) => (out.try_clone()?.into(), err.try_clone()?.into()),
            None => (Stdio::piped(), Stdio::piped()),
        };
        command.stdout(out).stderr(err);
        if let Some(cwd) = given.cwd {
            command.current_dir(cwd);
        }
        // Held until its pid is in it, so that nobody takes it for an orphan meanwhile.
        let mut claimed = claimed();
        let mut child: Child = command.spawn()?;
        let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
        claimed.insert(pid);
        drop(claimed);
        let keep = given.keep.unwrap_or(KEEP);
        let out = Stream::new(child.stdout.take().map(OwnedFd::from), keep);
        let err = Stream::new(child.stderr.take().map(OwnedFd::from), keep);
        let stdin = child.stdin.take().map(|pipe| nonblocking(OwnedFd::from(pipe)));
        // One that has ended by now need not tell.
        let exit = ExitWatch::open(pid).ok();
        let mut asked = Self { pid, exit, is_told: false, stdin, words, written: 0, out, err, reaped: false };
        // All of it, most of the time: so nobody has to wait for that.
        asked.write();
        Ok(asked)
    }

    /// Writes what its stdin takes.
    fn write(&mut self) {
        while let Some(pipe) = &mut self.stdin {
            let unread = &self.words[self.written..];
            match pipe.write(unread) {
                Ok(n) if n > 0 && n < unread.len() => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // All is written, or nobody reads it any more.
                _ => self.stdin = None,
            }
        }
    }

    /// How it ended; `None` when it did not until `end`.
    fn wait(&mut self, end: Mono, onlooker: Option<&dyn Onlooker>) -> Option<Exit> {
        loop {
            if let Some(exit) = self.try_end() {
                return Some(exit);
            }
            let now = clock::now().mono;
            if now >= end || onlooker.is_some_and(Onlooker::is_enough) {
                return None;
            }
            let left = Duration::from_nanos(end.0.saturating_sub(now.0));
            let left = left.min(self.pause().or(onlooker.map(|_| LOOK_EVERY)).unwrap_or(LONGEST));
            let mut descriptors: Vec<PollFd<'_>> = self.descriptors().collect();
            // A signal ends it early, and that is as good as a look.
            let _ = poll(&mut descriptors, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        }
    }

    /// How it ended, once it has; and what is to be written and read meanwhile.
    fn try_end(&mut self) -> Option<Exit> {
        self.write();
        self.out.read();
        self.err.read();
        let Some(exit) = reap::try_reap(self.pid) else {
            self.is_told = self.exit.as_ref().is_some_and(|exit| exit.poll_end() != Ended::NotYet);
            return None;
        };
        self.reaped = true;
        // What it wrote last. Whoever it left behind may hold the pipes open; that is not waited for.
        self.out.read();
        self.err.read();
        Some(exit)
    }

    fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let exit = self.exit.as_ref().filter(|_| !self.is_told);
        [&self.out, &self.err]
            .into_iter()
            .filter_map(|stream| Some(PollFd::new(stream.pipe.as_ref()?.as_fd(), PollFlags::POLLIN)))
            .chain(self.stdin.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)))
            .chain(exit.map(|exit| PollFd::new(exit.as_fd(), PollFlags::POLLIN)))
    }

    fn pause(&self) -> Option<Duration> {
        if self.exit.is_none() { Some(LOOK_EVERY) } else { self.is_told.then_some(LOOK_SOON) }
    }
}

impl Drop for Asked<'_> {
    /// What it left behind in its group is ended too.
    fn drop(&mut self) {
        if !self.reaped {
            super::signal::group(self.pid, Signal::KILL);
            reap::reap(self.pid);
        }
        claimed().remove(&self.pid);
    }
}

/// Our end of a pipe, which neither a read nor a write waits at for the one who holds the other.
fn nonblocking(pipe: OwnedFd) -> std::fs::File {
    let _ = fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    pipe.into()
}

impl Stream {
    fn new(pipe: Option<OwnedFd>, keep: usize) -> Self {
        Self { pipe: pipe.map(nonblocking), said: Vec::new(), keep }
    }

    /// Reads what is there.
    fn read(&mut self) {
        let mut block = [0; 16 * 1024];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut block) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    let room = self.keep.saturating_sub(self.said.len());
                    self.said.extend_from_slice(&block[..n.min(room)]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Finished, NoAnswer> {
        run(Path::new("/bin/sh"), &["-c", script], &[("ASKED", "yes")], limit)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn it_says_how_it_ended_and_what_it_wrote() {
        let done = sh("echo out; echo err >&2; echo $ASKED; exit 113", LONG).unwrap();
        assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(113), "out\nyes\n", "err\n"));
        assert!(!done.is_good());
        let done = sh("kill -9 $$", LONG).unwrap();
        assert_eq!(done.exit, Exit::Signal { signal: Signal::KILL, core: false });
        let much = sh("head -c 3000000 /dev/zero | tr '\\0' x", LONG).unwrap();
        assert_eq!((much.stdout.len(), much.is_good()), (KEEP, true));
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_that_it_started() {
        let started = clock::now().mono;
        let error = sh("echo begun; sleep 600 & echo $!; wait", Duration::from_millis(300)).unwrap_err();
        let NoAnswer::TimedOut { said, .. } = &error else { panic!("{error}") };
        let child: i32 = said.lines().nth(1).unwrap().parse().unwrap();
        assert!(
            error.to_string().contains("did not end within 0.3 s") && error.to_string().contains("begun"),
            "{error}"
        );
        crate::process::testing::wait_for("its child to end", || {
            matches!(
                super::super::identity::state(child),
                super::super::identity::State::Gone | super::super::identity::State::Zombie(_)
            )
            .then_some(())
        });
        assert!(clock::now().mono.since(started) < LONG);
    }

    #[test]
    fn who_holds_its_pipe_open_is_not_waited_for() {
        let done = sh("sleep 60 & echo $!", LONG).unwrap();
        let left: i32 = done.stdout.trim().parse().unwrap();
        assert!(super::super::signal::process(left, super::super::identity::start_token(left).unwrap(), Signal::KILL));
    }

    #[test]
    fn it_gets_what_it_is_given_and_nothing_else() {
        let much = "0123456789".repeat(100_000);
        let given =
            Given { environment: &[("ONLY", "this")], only_these: true, stdin: much.as_bytes(), ..Given::default() };
        let ask = |script| run_with(Path::new("/bin/sh"), &["-c", script], &given, LONG).unwrap();
        // Both ways at once, each more than a pipe holds.
        let done = ask("cat");
        assert!(done.is_good() && done.stdout == much);
        let done = ask("echo $ONLY $HOME; /usr/bin/env");
        assert!(done.stdout.starts_with("this\n") && !done.stdout.contains("CARGO"), "{}", done.stdout);
        // Who does not read is not waited for.
        assert_eq!(ask("exit 7").code(), Some(7));
        assert_eq!(ask("exec 0<&-; exit 8").code(), Some(8));
        let given = Given { keep: Some(10), ..given };
        let done = run_with(Path::new("/bin/sh"), &["-c", "cat"], &given, LONG).unwrap();
        assert_eq!(done.stdout, much[..10]);
    }

    #[test]
    fn an_onlooker_may_end_it_and_its_output_goes_where_it_is_told() {
        #[derive(Debug)]
        struct Until(std::path::PathBuf, std::sync::atomic::AtomicI32);
        impl Onlooker for Until {
            fn started(&self, pid: i32) {
                self.1.store(pid, std::sync::atomic::Ordering::Relaxed);
            }
            fn is_enough(&self) -> bool {
                self.0.metadata().is_ok_and(|file| file.len() > 0)
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let file = std::fs::File::create(&path).unwrap();
        let until = Until(path.clone(), 0.into());
        let given = Given {
            cwd: Some(folder.path()),
            output: Some([&file, &file]),
            onlooker: Some(&until),
            ..Given::default()
        };
        let ended = run_with(Path::new("/bin/sh"), &["-c", "pwd; exec sleep 600"], &given, LONG);
        assert!(matches!(ended, Err(NoAnswer::TimedOut { .. })), "{ended:?}");
        let here = folder.path().canonicalize().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), here.display().to_string());
        let pid = until.1.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(super::super::identity::state(pid), super::super::identity::State::Gone);
    }

    #[test]
    fn a_missing_program_is_told() {
        let error = run::<&str>(Path::new("/no/such/program"), &[], &[], LONG).unwrap_err();
        assert!(error.is_missing() && error.to_string().contains("/no/such/program could not be started"), "{error}");
    }
}
