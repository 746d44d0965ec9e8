//! `reload` and SIGHUP: validate first, touch only what changed, keep the old on error.

use super::{Daemon, Event, Options, link};
use crate::config;
use crate::control::server::Answer;
use crate::error::{Error, ErrorKind};
use crate::model::paths::EMBEDDED_RUNNER;
use crate::model::wire::{ReloadBody, ReloadReply, RunnerRequest, WireError};
use crate::model::{EventType, Fleet, UnitName};
use crate::process::clock;

/// A reload that the runners have been asked to carry out.
pub(super) struct Reloading {
    old: Fleet,
    reply: ReloadReply,
    answer: Option<Answer<ReloadReply>>,
}

/// Reads services.toml. What is wrong inside one service is told and disables that one; a file that is broken as a whole is
/// an error. What runs already goes on all the same: its runner needs no daemon.
pub(super) fn first_fleet(options: &Options) -> Result<(Fleet, Vec<String>), Error> {
    let source = config::read(&options.config)?;
    let parsed = config::parse(&source, &options.surroundings);
    let faults = parsed.faults.iter().map(|fault| fault.one_line(&source.path)).collect();
    if !parsed.faults.is_empty() {
        let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
        anstream::eprintln!("{}", config::render(&parsed.faults, &source, colour));
    }
    match parsed.fleet {
        Some(fleet) => Ok((fleet, faults)),
        None => Err(Error::new(ErrorKind::Config, format!("{} cannot be used", options.config.display()))
            .hint("mend what is shown above; `supervisor check` tells whether it is well")),
    }
}

impl Daemon {
    /// Starts a reload; `answer` is told when it is done. One that is asked for while one is under way comes after it, as the
    /// file may have changed again since that one read it; then there is nothing left to do, or just that change.
    pub(super) fn reload(&mut self, body: ReloadBody, answer: Option<Answer<ReloadReply>>) {
        if !body.dry_run
            && let Some(next) = &mut self.reloading
        {
            next.push(answer);
            return;
        }
        let fleet = match self.read_anew() {
            Ok(fleet) => fleet,
            Err(e) => {
                tracing::error!("services.toml was not reloaded: {}", e.message.lines().next().unwrap_or_default());
                return tell(answer, Err(e));
            }
        };
        let (changes, globals) = (config::diff(&self.fleet, &fleet), config::changed_globals(&self.fleet, &fleet));
        if body.dry_run {
            return tell(answer, Ok(ReloadReply { applied: false, changes, globals }));
        }
        if changes.is_empty() {
            self.fleet = fleet;
            self.faults.clear();
            self.ledger.declared(&self.fleet);
            self.jobs.declared_anew(clock::now().mono);
            // What could not be used before may be gone now.
            self.follow_tasks();
            return tell(answer, Ok(ReloadReply { applied: true, changes, globals }));
        }
        self.reloading = Some(Vec::new());
        let old = std::mem::replace(&mut self.fleet, fleet);
        if let Some(embedded) = &mut self.embedded {
            embedded.outdated = embedded.is_attaching();
        }
        let reply = ReloadReply { applied: true, changes, globals };
        let reloading = Box::new(Reloading { old, reply, answer });
        let mut asks = Vec::new();
        for (id, linked) in &self.runners {
            let is_enabled = |name: &UnitName| self.fleet.service(name).is_some_and(|s| s.enabled);
            let names: Vec<UnitName> = if id == EMBEDDED_RUNNER {
                self.runner_names()
            } else if linked.info.pid == 0 {
                // It has just come, and has not said yet what it has: told to have nothing it would end its service.
                match UnitName::new(id).ok().filter(is_enabled) {
                    Some(name) => vec![name],
                    None => continue,
                }
            } else {
                linked.views.keys().filter(|name| is_enabled(name)).cloned().collect()
            };
            asks.push((self.paths.runner_socket(id), names));
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            let mut errors = Vec::new();
            for (path, names) in asks {
                errors.extend(link::ask(path, RunnerRequest::Reload { names }).await.err());
            }
            let _ = events.send(Event::RunnersReloaded(reloading, errors)).await;
        });
    }

    fn read_anew(&self) -> Result<Fleet, WireError> {
        let config = &self.options.config;
        let failed = |code: u8, message: String, hint: &str| WireError { code, message, hint: Some(hint.into()) };
        let source = config::read(config).map_err(|e| WireError {
            code: e.kind.exit_code(),
            message: e.message,
            hint: e.hint,
        })?;
        let parsed = config::parse(&source, &self.options.surroundings);
        let kept = "nothing was changed; mend the file and reload again";
        if !parsed.faults.is_empty() {
            let text = config::render(&parsed.faults, &source, false);
            return Err(failed(5, format!("{} has faults\n{text}", config.display()), kept));
        }
        let Some(fleet) = parsed.fleet else {
            return Err(failed(5, format!("{} cannot be used", config.display()), kept));
        };
        let what = if fleet.state_dir != self.fleet.state_dir {
            "state_dir"
        } else if fleet.manager != self.fleet.manager {
            "manager"
        } else {
            return Ok(fleet);
        };
        let message = format!("`{what}` in [supervisor] changed, which a running daemon cannot take over");
        Err(failed(6, message, "stop the daemon and start it again; nothing was changed"))
    }

    pub(super) fn on_reloaded(&mut self, reloading: Reloading, errors: Vec<WireError>) {
        let next = self.reloading.take().unwrap_or_default();
        let Reloading { old, reply, answer } = reloading;
        // A runner that is not there reads the file when it comes; any other error means that the old holds.
        let refused = errors.into_iter().find(|e| e.code != 4);
        let result = match refused {
            Some(e) => {
                tracing::error!("a runner did not take services.toml over: {e}");
                self.fleet = old;
                Err(e)
            }
            None => {
                self.faults.clear();
                self.ledger.declared(&self.fleet);
                self.jobs.declared_anew(clock::now().mono);
                self.monitors.follow(&self.fleet);
                self.memories.follow(&self.fleet);
                self.follow_tasks();
                self.follow_exposures();
                self.pipes.follow(&self.fleet, &self.paths);
                self.view_again();
                tracing::info!(changes = reply.changes.len(), "services.toml was reloaded");
                let data = serde_json::json!({ "run_id": null, "changes": reply.changes });
                self.record(EventType::ConfigReloaded, data);
                self.attach();
                Ok(reply)
            }
        };
        tell(answer, result);
        for answer in next {
            self.reload(ReloadBody::default(), answer);
        }
    }
}

fn tell<T>(answer: Option<Answer<T>>, result: Result<T, WireError>) {
    if let Some(answer) = answer {
        // Who asked may have gone.
        let _ = answer.send(result);
    }
}
