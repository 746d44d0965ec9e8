//! Runs handlers: each in a process group of its own, with the event on its stdin, its output in the service's log, and a time limit.
//! Nothing in here waits: the loop does, for their descriptors too.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::PollFd;

use crate::model::{Exit, Mono};
use crate::process::command::{self, Begun, Given};
use crate::process::notify;

/// Of our environment what is meant for us.
const OURS: [&str; 3] = [notify::SOCKET, "WATCHDOG_USEC", "WATCHDOG_PID"];

/// What is to be run.
#[derive(Debug)]
pub(super) struct Job {
    /// Comes back with its end.
    pub(super) id: u64,
    pub(super) argv: Vec<OsString>,
    pub(super) stdin: Vec<u8>,
    pub(super) timeout: Duration,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With 0.
    Well,
    /// Otherwise: how.
    Failed(String),
    /// It could not be started: why. The file has nothing to do with it.
    NotStarted(String),
}

/// Those that run.
#[derive(Debug)]
pub(super) struct Handlers {
    cwd: PathBuf,
    output: [File; 2],
    under_way: Vec<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    id: u64,
    command: Begun,
    /// When its time is over; `None`: it was, and it has been killed.
    until: Option<Mono>,
    timeout: Duration,
}

impl Handlers {
    /// None yet.
    ///
    /// # Errors
    /// When our own stdout and stderr cannot be handed on.
    pub(super) fn new(cwd: PathBuf) -> std::io::Result<Self> {
        let output = [
            File::from(std::io::stdout().as_fd().try_clone_to_owned()?),
            File::from(std::io::stderr().as_fd().try_clone_to_owned()?),
        ];
        Ok(Self { cwd, output, under_way: Vec::new() })
    }

    /// Has it run at once.
    ///
    /// # Errors
    /// Why it could not be started.
    pub(super) fn begin(&mut self, job: &Job, now: Mono) -> Result<(), String> {
        let (program, arguments) = job.argv.split_first().ok_or("nothing to run")?;
        let program = Path::new(program);
        let program = match program.is_absolute() {
            true => Cow::Borrowed(program),
            false => Cow::Owned(
                command::find(&program.to_string_lossy())
                    .map_err(|why| why.replace("the daemon's PATH", "the service's PATH"))?,
            ),
        };
        let given = Given {
            without: &OURS,
            stdin: &job.stdin,
            cwd: Some(&self.cwd),
            output: Some([&self.output[0], &self.output[1]]),
            ..Given::default()
        };
        let command = command::begin(&program, arguments, &given).map_err(|e| e.to_string())?;
        let until = Some(now.plus(job.timeout));
        self.under_way.push(UnderWay { id: job.id, command, until, timeout: job.timeout });
        Ok(())
    }

    /// Those that have ended since this was asked last. Whose time is over is killed, and has ended when it is gone.
    pub(super) fn ended(&mut self, now: Mono) -> Vec<(u64, End)> {
        let mut ends = Vec::new();
        self.under_way.retain_mut(|one| {
            if let Some(exit) = one.command.try_end() {
                ends.push((one.id, one.end(exit)));
                return false;
            }
            if one.until.is_some_and(|until| until <= now) {
                one.command.kill();
                one.until = None;
            }
            true
        });
        ends
    }

    /// What to poll for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.under_way.iter().flat_map(|one| one.command.descriptors())
    }

    /// When they are to be looked at, though no descriptor is ready.
    pub(super) fn next_due(&self, now: Mono) -> Option<Mono> {
        let pauses = self.under_way.iter().filter_map(|one| one.command.pause()).map(|pause| now.plus(pause));
        self.under_way.iter().filter_map(|one| one.until).chain(pauses).min()
    }
}

impl UnderWay {
    fn end(&self, exit: Exit) -> End {
        match self.until {
            _ if exit == Exit::Code(0) => End::Well,
            Some(_) => End::Failed(format!("it ended with {exit}")),
            None => End::Failed(format!("it did not end within {} s, and was ended", self.timeout.as_secs_f64())),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollTimeout, poll};

    use super::*;
    use crate::process::clock;

    fn job(id: u64, script: &str, timeout: Duration) -> Job {
        Job { id, argv: ["/bin/sh", "-c", script].map(Into::into).to_vec(), stdin: b"word\n".to_vec(), timeout }
    }

    fn all_ends(handlers: &mut Handlers) -> Vec<(u64, End)> {
        let mut all = Vec::new();
        while !handlers.under_way.is_empty() {
            let now = clock::now().mono;
            all.extend(handlers.ended(now));
            let left = handlers.next_due(now).map_or(Duration::from_secs(60), |due| due.since(now));
            let mut descriptors: Vec<PollFd<'_>> = handlers.descriptors().collect();
            if !descriptors.is_empty() {
                poll(&mut descriptors, PollTimeout::try_from(left).unwrap()).unwrap();
            }
        }
        all
    }

    #[test]
    fn ends_are_told_and_who_hangs_is_ended_with_all_that_it_started() {
        const LONG: Duration = Duration::from_secs(60);
        let folder = tempfile::tempdir().unwrap();
        let mut handlers = Handlers::new(folder.path().to_owned()).unwrap();
        let now = clock::now().mono;
        handlers.begin(&job(1, "cat > said; pwd > where", LONG), now).unwrap();
        handlers.begin(&job(2, "exit 7", LONG), now).unwrap();
        handlers.begin(&job(3, "sleep 600 & echo $! > pid; wait", Duration::from_secs(1)), now).unwrap();
        let mut ends = all_ends(&mut handlers);
        ends.sort_by_key(|(id, _)| *id);
        assert_eq!(ends[0], (1, End::Well));
        assert!(matches!(&ends[1], (2, End::Failed(why)) if why.contains('7')), "{ends:?}");
        assert!(matches!(&ends[2], (3, End::Failed(why)) if why.contains("within 1 s")), "{ends:?}");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("said"), "word\n");
        assert_eq!(read("where").trim(), folder.path().canonicalize().unwrap().display().to_string());
        let child: i32 = read("pid").trim().parse().unwrap();
        crate::process::testing::wait_for("its child to end", || {
            use crate::process::identity::{State, state};
            matches!(state(child), State::Gone | State::Zombie(_)).then_some(())
        });
    }

    #[test]
    fn what_cannot_be_started_is_told() {
        let mut handlers = Handlers::new("/".into()).unwrap();
        let mut nowhere = job(1, "", Duration::ZERO);
        nowhere.argv = vec!["/no/such/program".into()];
        let why = handlers.begin(&nowhere, clock::now().mono).unwrap_err();
        assert!(why.contains("/no/such/program"), "{why}");
        nowhere.argv = vec!["no-such-program".into()];
        let why = handlers.begin(&nowhere, clock::now().mono).unwrap_err();
        assert!(why.contains("the service's PATH"), "{why}");
    }
}
