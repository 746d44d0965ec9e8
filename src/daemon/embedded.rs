//! The embedded manager's side of the daemon: there is one runner for all services, it is found again if it lives, started
//! if it does not, and ended when we are told to go.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{Daemon, Event, link};
use crate::manager::embedded;
use crate::model::paths::{EMBEDDED_RUNNER, Paths};
use crate::model::wire::RunnerRequest;
use crate::model::{Mono, Signal, UnitName};
use crate::process::clock;
use crate::process::lock::{Lock, NotLocked};
use crate::process::{identity, signal};

/// A runner that keeps dying is not started more often than this.
const START_EVERY: Duration = Duration::from_secs(1);

/// Between two looks at a socket that is about to appear.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a runner may take to open its socket: it reads the process table and its journal first.
const START_WITHIN: Duration = Duration::from_secs(30);

/// What is known about our runner.
pub(super) struct Embedded {
    /// Whether we are getting through to it, or starting it.
    attaching: bool,
    /// Whether it is connected.
    connected: bool,
    /// When we last started one.
    last_start: Option<Mono>,
    /// Whether there is nothing (left) to run.
    idle: bool,
    /// Whether services.toml was reloaded while we were getting through to it: it may have read the old one.
    pub(super) outdated: bool,
    /// Whether the runner is known to have what we have: we were another program a moment ago.
    pub(super) in_step: bool,
    /// The process we started and have not reaped.
    pub(super) child: Option<i32>,
    /// Why it could not be started, until it is.
    pub(super) trouble: Option<String>,
}

/// A runner that we got through to.
pub(super) struct Attached {
    stream: UnixStream,
    /// When it was started by us just now.
    started: Option<Mono>,
}

impl Embedded {
    /// Before anything was looked at; `in_step` as in the member of that name.
    pub(super) fn new(in_step: bool) -> Self {
        Self {
            attaching: false,
            connected: false,
            last_start: None,
            idle: false,
            outdated: false,
            in_step,
            child: None,
            trouble: None,
        }
    }

    /// Whether `pid` is the runner that we started.
    pub(super) fn started(&self, pid: i32) -> bool {
        self.child == Some(pid)
    }

    /// Whether we are getting through to it.
    pub(super) fn is_attaching(&self) -> bool {
        self.attaching
    }

    pub(super) fn is_down(&self) -> bool {
        self.idle && !self.attaching && !self.connected
    }
}

impl Daemon {
    /// The services that our runner is to have.
    pub(super) fn runner_names(&self) -> Vec<UnitName> {
        self.fleet.services.iter().filter(|s| s.enabled).map(|s| s.name.clone()).collect()
    }

    /// Gets through to our runner, starting it if none lives.
    pub(super) fn attach(&mut self) {
        // On the way down a successor is there only to end what its predecessor left alive.
        let names = if self.going_down { Vec::new() } else { self.runner_names() };
        let paths = self.paths.clone();
        let Some(embedded) = &mut self.embedded else { return };
        if embedded.attaching || embedded.connected {
            return;
        }
        embedded.idle = false;
        embedded.attaching = true;
        let wait = match embedded.last_start {
            Some(last) => last.plus(START_EVERY).since(clock::now().mono),
            None => Duration::ZERO,
        };
        let config = self.options.config.clone();
        let events = self.events.clone();
        tokio::spawn(async move {
            let start = embedded::Start { config: &config, paths: &paths, names: &names };
            let result = get_through(&start, wait, &events).await;
            let _ = events.send(Event::Attached(result)).await;
        });
    }

    pub(super) fn on_attached(&mut self, result: Result<Attached, String>) {
        let names = self.runner_names();
        let path = self.paths.runner_socket(EMBEDDED_RUNNER);
        let Some(embedded) = &mut self.embedded else { return };
        embedded.attaching = false;
        match result {
            Ok(Attached { stream, started }) => {
                embedded.connected = true;
                embedded.trouble = None;
                embedded.last_start = started.or(embedded.last_start);
                tokio::spawn(link::follow(EMBEDDED_RUNNER.into(), stream, self.events.clone()));
                if self.going_down {
                    self.shut_runner_down();
                } else if std::mem::take(&mut embedded.outdated)
                    || (!std::mem::take(&mut embedded.in_step) && started.is_none())
                {
                    // It may have been started from another services.toml than the one we have read.
                    tokio::spawn(async move {
                        if let Err(e) = link::ask(path, RunnerRequest::Reload { names }).await {
                            tracing::warn!("the runner did not take services.toml over: {e}");
                        }
                    });
                }
            }
            Err(why) if why.is_empty() => embedded.idle = true,
            Err(why) => {
                tracing::error!("the runner could not be started: {why}");
                embedded.trouble = Some(format!("the runner could not be started: {why}"));
                embedded.last_start = Some(clock::now().mono);
                if self.going_down {
                    embedded.idle = true;
                } else {
                    self.attach();
                }
            }
        }
    }

    pub(super) fn on_embedded_gone(&mut self) {
        let names = self.runner_names();
        let Some(embedded) = &mut self.embedded else { return };
        embedded.connected = false;
        // In order, a runner takes its socket away before it ends; what it leaves behind says that it was cut off, and then
        // services live that a successor has to take over, be it to stop them.
        let in_order = !self.paths.runner_socket(EMBEDDED_RUNNER).exists();
        if in_order && (self.going_down || names.is_empty()) {
            self.runners.remove(EMBEDDED_RUNNER);
            embedded.attaching = true;
            let (paths, events) = (self.paths.clone(), self.events.clone());
            tokio::spawn(async move {
                // A lock that cannot be looked at (its folder was taken away) tells nothing to wait for.
                while matches!(Lock::acquire(&paths.runner_lock(EMBEDDED_RUNNER)), Err(NotLocked::Held { .. })) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                let _ = events.send(Event::Attached(Err(String::new()))).await;
            });
        } else {
            if !self.going_down {
                tracing::warn!("the runner is gone; its successor takes its services over");
            }
            self.attach();
        }
    }

    pub(super) fn on_runner_exited(&mut self, how: &str) {
        tracing::debug!("the runner's process ended: {how}");
        if let Some(embedded) = &mut self.embedded {
            embedded.child = None;
        }
        // What ended while the runner's own zombie was first in line.
        self.reap_orphans();
    }

    /// Asks our runner to end everything, if it is there; if it is not, nothing runs, or it is asked once we get through.
    pub(super) fn shut_runner_down(&mut self) {
        let Some(embedded) = &mut self.embedded else { return };
        if embedded.connected {
            let path = self.paths.runner_socket(EMBEDDED_RUNNER);
            let pid = self.runners.get(EMBEDDED_RUNNER).map(|linked| linked.info.pid);
            let process = pid.and_then(|pid| Some((pid, identity::start_token(pid)?)));
            tokio::spawn(async move {
                // A runner that dies now is succeeded, and asked again. One whose socket was taken away is still told.
                if link::ask(path, RunnerRequest::Shutdown).await.is_err()
                    && let Some((pid, start)) = process
                {
                    signal::process(pid, start, Signal::TERM);
                }
            });
        }
    }
}

/// Connects to the living runner, or starts one and connects to it. An empty error says that there is nothing to run.
async fn get_through(
    start: &embedded::Start<'_>,
    wait: Duration,
    events: &mpsc::Sender<Event>,
) -> Result<Attached, String> {
    let socket = start.paths.runner_socket(EMBEDDED_RUNNER);
    let lock = start.paths.runner_lock(EMBEDDED_RUNNER);
    let mut started: Option<(Mono, tokio::sync::oneshot::Receiver<String>)> = None;
    let began = clock::now().mono;
    loop {
        if let Ok(stream) = link::connect(&socket) {
            return Ok(Attached { stream, started: started.map(|(at, _)| at) });
        }
        match &mut started {
            Some((_, ended)) => {
                if let Ok(how) = ended.try_recv() {
                    let log = start.paths.logs().join("runner.log");
                    return Err(format!("it ended with {how}; {}", last_words(&log)));
                }
            }
            None => match Lock::acquire(&lock) {
                Ok(free) => {
                    drop(free);
                    if start.names.is_empty() && !left_alive(start.paths) {
                        return Err(String::new());
                    }
                    tokio::time::sleep(wait).await;
                    started = Some(spawn(start, events).map_err(|e| e.to_string())?);
                }
                Err(e) if clock::now().mono.since(began) > START_WITHIN => {
                    return Err(format!("another runner is {e}, but it does not answer at its socket"));
                }
                // One that is starting or ending.
                Err(_) => {}
            },
        }
        if clock::now().mono.since(began) > START_WITHIN + wait {
            return Err("it does not open its socket".into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether an adoption record speaks of a run that may live: a runner without services of its own still has to end it.
fn left_alive(paths: &Paths) -> bool {
    let Ok(folders) = std::fs::read_dir(paths.services()) else { return false };
    folders.flatten().any(|folder| {
        let name = folder.file_name().into_string().ok().and_then(|name| UnitName::new(&name).ok());
        name.is_some_and(|name| crate::runner::may_live(paths, &name))
    })
}

fn spawn(
    start: &embedded::Start<'_>,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<(Mono, tokio::sync::oneshot::Receiver<String>)> {
    let mut child = embedded::start(start)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let (tell, ended) = tokio::sync::oneshot::channel();
    let events = events.clone();
    tokio::spawn(async move {
        if let Some(pid) = pid {
            let _ = events.send(Event::RunnerStarted(pid)).await;
        }
        let how = match child.wait().await {
            Ok(status) => status.to_string(),
            Err(e) => e.to_string(),
        };
        let _ = tell.send(how.clone());
        let _ = events.send(Event::RunnerExited(how)).await;
    });
    Ok((clock::now().mono, ended))
}

fn last_words(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    match text.trim_end().lines().next_back() {
        Some(line) => format!("its last words: {line}"),
        None => "it said nothing".into(),
    }
}
