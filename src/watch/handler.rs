//! Runs handlers: each in a process group of its own, with the event on its stdin, its output in the service's log, and a time limit.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process::command::{self, Given, NoAnswer};
use crate::process::notify;

/// What is to be run.
#[derive(Debug)]
pub(super) struct Job {
    /// Comes back with its end.
    pub(super) id: i64,
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

/// Threads that each run one handler after the other.
pub(super) struct Handlers {
    jobs: Sender<Job>,
    inbox: Arc<Mutex<Receiver<Job>>>,
    done: Arc<dyn Fn(i64, End) + Send + Sync>,
    surroundings: Arc<Surroundings>,
    threads: Vec<JoinHandle<()>>,
}

struct Surroundings {
    environment: Vec<(String, String)>,
    cwd: PathBuf,
    output: [File; 2],
}

impl Handlers {
    /// `done` is called, on another thread, with each end.
    ///
    /// # Errors
    /// When our own stdout and stderr cannot be handed on.
    pub(super) fn new(cwd: PathBuf, done: impl Fn(i64, End) + Send + Sync + 'static) -> std::io::Result<Self> {
        let output = [
            File::from(std::io::stdout().as_fd().try_clone_to_owned()?),
            File::from(std::io::stderr().as_fd().try_clone_to_owned()?),
        ];
        let ours = [notify::SOCKET, "WATCHDOG_USEC", "WATCHDOG_PID"];
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| !ours.contains(&name.as_str()))
            .collect();
        let (jobs, inbox) = channel();
        let surroundings = Arc::new(Surroundings { environment, cwd, output });
        let (inbox, done) = (Arc::new(Mutex::new(inbox)), Arc::new(done));
        Ok(Self { jobs, inbox, done, surroundings, threads: Vec::new() })
    }

    /// Has it run at once: there are never fewer threads than `running`, with this one.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn run(&mut self, job: Job, running: usize) -> std::io::Result<()> {
        if self.threads.len() < running {
            let (inbox, done) = (Arc::clone(&self.inbox), Arc::clone(&self.done));
            let surroundings = Arc::clone(&self.surroundings);
            let thread = std::thread::Builder::new().name("handler".into()).spawn(move || {
                loop {
                    let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    done(job.id, perform(&job, &surroundings));
                }
            })?;
            self.threads.push(thread);
        }
        // The other end is in our hands.
        let _ = self.jobs.send(job);
        Ok(())
    }
}

fn perform(job: &Job, around: &Surroundings) -> End {
    let Some((program, arguments)) = job.argv.split_first() else { return End::NotStarted("nothing to run".into()) };
    let program = match command::find(&program.to_string_lossy()) {
        Ok(program) => program,
        Err(why) => return End::NotStarted(why.replace("the daemon's PATH", "the service's PATH")),
    };
    let environment: Vec<(&str, &str)> =
        around.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let given = Given {
        environment: &environment,
        only_these: true,
        stdin: &job.stdin,
        cwd: Some(&around.cwd),
        output: Some([&around.output[0], &around.output[1]]),
        ..Given::default()
    };
    match command::run_with(&program, arguments, &given, job.timeout) {
        Ok(finished) if finished.is_good() => End::Well,
        Ok(finished) => End::Failed(format!("it ended with {}", finished.exit)),
        Err(NoAnswer::TimedOut { limit, .. }) => {
            End::Failed(format!("it did not end within {} s, and was ended", limit.as_secs_f64()))
        }
        Err(e @ NoAnswer::NotStarted { .. }) => End::NotStarted(e.to_string()),
    }
}
