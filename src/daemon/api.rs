//! What the control socket asks, answered.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Daemon, Event, link, tasks};
use crate::control::server::{Answer, Request};
use crate::model::paths::EMBEDDED_RUNNER;
use crate::model::wire::{OrderBody, OrderReply, Outcome, RunnerReply, RunnerRequest, Verb, WireError};
use crate::model::{TaskSpec, UnitName, paths::Paths};
use crate::process::clock;

/// How long a runner that is being started again is waited for.
const RUNNER_BACK_WITHIN: Duration = Duration::from_secs(10);

impl Daemon {
    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Knock => {
                self.find_runners();
                // A job's process makes itself known so as well.
                self.tasks.look_soon();
            }
            Request::Status(answer) => drop(answer.send(Ok(self.report()))),
            Request::Why(name, answer) => drop(answer.send(self.why(&name))),
            Request::Order(body, answer) => self.order(body, answer),
            Request::Reload(body, answer) => self.reload(body, Some(answer)),
            Request::Upgrade(body, answer) => self.upgrade(body, answer),
            Request::Alert(body, answer) => self.ledger.alert(body, answer),
            Request::Digest(body, answer) => self.ledger.digest(body, answer),
            Request::HeapSnapshot(name, answer) => self.want_heap_snapshot(name, answer),
            Request::RunTask(body, answer) => self.run_task(body, answer),
            Request::Version(answer) => drop(answer.send(Ok(self.version()))),
            Request::Sync(answer) => {
                self.find_runners();
                let (done, is_done) = tokio::sync::oneshot::channel();
                self.ledger.sync(done);
                tokio::spawn(async move {
                    // A database that is not well is told of in `status`.
                    let _ = is_done.await;
                    let _ = answer.send(Ok(()));
                });
            }
        }
    }

    /// Carries an order out. The same order asked for while it is under way is done once and answered to both.
    fn order(&mut self, body: OrderBody, answer: Answer<OrderReply>) {
        if let Some(waiting) = self.orders.get_mut(&body) {
            waiting.push(answer);
            return;
        }
        let parts = match self.split(&body) {
            Ok(parts) => parts,
            Err(e) => return drop(answer.send(Err(e))),
        };
        tracing::info!(names = ?body.names, "operator: {}", body.verb.as_str());
        self.orders.insert(body.clone(), vec![answer]);
        let ours = parts.exposures.iter().map(|name| self.order_exposure(name, body.verb, body.wait)).collect();
        let (paths, events) = (self.paths.clone(), self.events.clone());
        tokio::spawn(async move {
            let result = carry_out(&paths, &body, parts, ours).await;
            let _ = events.send(Event::Ordered(body, result)).await;
        });
    }

    pub(super) fn on_ordered(&mut self, body: &OrderBody, result: &Result<OrderReply, WireError>) {
        self.tasks.look_soon();
        // Who asks for the status right after an order sees what it was told.
        let views = result.iter().flat_map(|reply| &reply.outcomes).filter_map(|outcome| outcome.view.as_ref());
        for view in views {
            let known = self.runners.values_mut().find_map(|linked| linked.views.get_mut(&view.name));
            if let Some(known) = known.filter(|known| known.epoch < view.epoch) {
                self.ledger.saw(Some(known), view);
                *known = view.clone();
            }
        }
        for answer in self.orders.remove(body).unwrap_or_default() {
            let _ = answer.send(result.clone());
        }
    }

    /// Which runner is asked about whom; what no runner can do has its outcome already.
    fn split(&self, body: &OrderBody) -> Result<Parts, WireError> {
        let mut parts = Parts::default();
        let all = || self.runner_names().into_iter().chain(self.exposures.enabled().cloned()).collect();
        let names: Vec<UnitName> = if body.names.is_empty() { all() } else { body.names.clone() };
        for name in names {
            if let Some(task) = self.fleet.task(&name) {
                parts.tasks.push(task.clone());
                continue;
            }
            if self.exposures.enabled().any(|known| *known == name) {
                parts.exposures.push(name);
                continue;
            }
            if let Some(id) = self.runner_of(&name) {
                parts.asks.entry(id.into()).or_default().push(name);
                continue;
            }
            let refused = match self.fleet.service(&name) {
                Some(spec) if spec.enabled && self.embedded.is_some() => {
                    parts.asks.entry(EMBEDDED_RUNNER.into()).or_default().push(name);
                    continue;
                }
                Some(spec) if spec.enabled => "no runner serves it".into(),
                Some(_) => "disabled in services.toml".to_string(),
                None if self.exposures.has(&name) => "disabled in services.toml".to_string(),
                None => match self.fleet.unusable.iter().find(|u| u.name == name) {
                    Some(unusable) => format!("invalid: {}", unusable.why),
                    None => {
                        return Err(WireError {
                            code: 2,
                            message: format!("services.toml has no service called {name}"),
                            // The command line, which has nothing better from us, says what was probably meant.
                            hint: None,
                        });
                    }
                },
            };
            parts.outcomes.push(Outcome { name, ok: false, text: refused, view: None, refused: false });
        }
        Ok(parts)
    }
}

#[derive(Default)]
struct Parts {
    asks: BTreeMap<String, Vec<UnitName>>,
    tasks: Vec<TaskSpec>,
    /// Those that the daemon looks after itself.
    exposures: Vec<UnitName>,
    outcomes: Vec<Outcome>,
}

async fn carry_out(
    paths: &Paths,
    body: &OrderBody,
    parts: Parts,
    ours: Vec<oneshot::Receiver<Outcome>>,
) -> Result<OrderReply, WireError> {
    let mut outcomes = parts.outcomes;
    for task in parts.tasks {
        outcomes.push(tasks::orders::order(paths, task, body.verb, body.wait).await);
    }
    let mut asked = tokio::task::JoinSet::new();
    for (id, names) in parts.asks {
        let path = paths.runner_socket(&id);
        let whom = names.clone();
        let request = RunnerRequest::Order {
            verb: body.verb,
            names,
            by: "operator".into(),
            cause: None,
            run_id: None,
            wait: body.wait,
        };
        // A runner that dies before it answers has stored the intent; only a restart might be done twice.
        let again = body.verb != Verb::Restart;
        asked.spawn(async move {
            let until = clock::now().mono.plus(RUNNER_BACK_WITHIN);
            loop {
                let reached = link::connect(&path).is_ok();
                if reached || clock::now().mono >= until {
                    match link::ask(path.clone(), request.clone()).await {
                        Err(e) if e.code == 4 && again && clock::now().mono < until => {}
                        result => return (whom, result),
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    // What one runner cannot do is told of its services; the others' outcomes stand.
    let mut failures = Vec::new();
    while let Some(reply) = asked.join_next().await {
        match reply.map_err(|e| WireError { code: 70, message: e.to_string(), hint: None })? {
            (_, Ok(RunnerReply::Done(done))) => outcomes.extend(done),
            (_, Ok(_)) => {}
            (whom, Err(e)) => failures.push((whom, e)),
        }
    }
    for told in ours {
        outcomes.extend(told.await);
    }
    if outcomes.is_empty()
        && let Some((_, e)) = failures.pop()
    {
        return Err(e);
    }
    for (whom, e) in failures {
        let failed = |name| Outcome { name, ok: false, text: e.message.clone(), view: None, refused: false };
        outcomes.extend(whom.into_iter().map(failed));
    }
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(OrderReply { outcomes })
}
