//! What was asked of the runner and is not done yet: stops that wait for dependents to be down first, and callers that wait
//! for an answer.

use std::collections::BTreeMap;

use super::{Runner, Turn};
use serde::{Deserialize, Serialize};

use crate::machine::{Input, Ticket, TicketState};
use crate::model::wire::{Outcome, RunnerReply, Verb, WireError};
use crate::model::{Mono, StopCause, UnitName};

/// A caller waits for one service no longer than its start and its stop may take, and this.
const SLACK: std::time::Duration = std::time::Duration::from_secs(15);

/// What is still to be done.
#[derive(Default)]
pub(super) struct Orders {
    /// Services that are to be stopped once nothing that comes after them runs.
    stops: BTreeMap<usize, Stop>,
    waiters: Vec<Waiter>,
}

/// A stop that waits for its turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stop {
    /// Somebody wants it down.
    Order {
        by: String,
        cause: Option<StopCause>,
        #[serde(default)]
        run_id: Option<u64>,
    },
    /// We go down.
    Leave { cause: StopCause },
}

impl From<Stop> for Input {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Order { by, cause, run_id } => Self::Order { verb: Verb::Stop, by, cause, run_id },
            Stop::Leave { cause } => Self::Leave { cause },
        }
    }
}

/// What is still to be done, for the program that this one becomes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OrdersNote {
    stops: Vec<(UnitName, Stop)>,
    waiters: Vec<Waiter>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiter {
    connection: u64,
    services: Vec<(UnitName, Ticket)>,
    until: Mono,
}

/// One caller's order.
pub(super) struct Asked {
    pub(super) verb: Verb,
    pub(super) names: Vec<UnitName>,
    pub(super) by: String,
    pub(super) cause: Option<StopCause>,
    pub(super) run_id: Option<u64>,
    pub(super) wait: bool,
}

impl Orders {
    /// When the first caller has waited long enough.
    pub(super) fn due(&self) -> Option<Mono> {
        self.waiters.iter().map(|w| w.until).min()
    }

    /// Everything is to be ended and left, dependents first. What somebody wants down is still to be down afterwards.
    pub(super) fn leave(&mut self, all: Vec<usize>) {
        for index in all {
            self.stops.entry(index).or_insert(Stop::Leave { cause: StopCause::Shutdown });
        }
    }

    /// The place may be another service's soon.
    pub(super) fn forget_service(&mut self, index: usize) {
        self.stops.remove(&index);
    }

    pub(super) fn forget_connection(&mut self, connection: u64) {
        self.waiters.retain(|w| w.connection != connection);
    }
}

impl Runner {
    /// Takes an order in; the answer now, or `None` when the caller waits.
    pub(super) fn order(&mut self, connection: u64, asked: Asked, turn: &mut Turn) -> Option<RunnerReply> {
        if self.going_down {
            return Some(refuse(format!("cannot {} anything: the runner is going down", asked.verb.as_str())));
        }
        let names: Vec<UnitName> =
            if asked.names.is_empty() { self.names.keys().cloned().collect() } else { asked.names };
        if asked.run_id.is_some() && names.len() != 1 {
            return Some(refuse(format!(
                "cannot {} one run of {} services: name one",
                asked.verb.as_str(),
                names.len()
            )));
        }
        if let Some(unknown) = names.iter().find(|name| !self.names.contains_key(*name)) {
            return Some(refuse(format!("this runner has no service called {unknown}")));
        }
        if asked.cause == Some(StopCause::Hung)
            && let Some(&index) = names.first().and_then(|name| self.names.get(name))
            && let Some(ago) = self.has_just_beaten(index, turn)
        {
            let ago = ago.as_millis();
            return Some(refuse(format!("{} gave a sign of life {ago} ms ago: it does not hang", names[0])));
        }
        let mut services = Vec::new();
        let mut longest = std::time::Duration::ZERO;
        for name in names {
            let Some(&index) = self.names.get(&name) else { continue };
            let Some(service) = &self.services[index] else { continue };
            let spec = service.machine.spec();
            longest = longest.max(spec.start_timeout + spec.drain_timeout.max(spec.stop_timeout));
            let ticket = service.machine.ticket(asked.verb, asked.run_id);
            services.push((name, ticket));
            let (by, cause, run_id) = (asked.by.clone(), asked.cause, asked.run_id);
            match asked.verb {
                _ if ticket.over.is_some() => {}
                Verb::Stop => {
                    self.orders.stops.insert(index, Stop::Order { by, cause, run_id });
                }
                Verb::Start | Verb::Restart => {
                    // A verdict of the daemon is no word against somebody who wants it down.
                    if cause.is_none() {
                        self.orders.stops.remove(&index);
                    }
                    self.drive(index, Input::Order { verb: asked.verb, by, cause, run_id }, turn);
                }
            }
        }
        let waiter = Waiter { connection, services, until: turn.now.mono.plus(longest + SLACK) };
        if asked.wait {
            self.orders.waiters.push(waiter);
            return None;
        }
        self.spawn_all(turn);
        self.proceed_stops(turn);
        Some(RunnerReply::Done(self.outcomes(&waiter, turn, true)))
    }

    pub(super) fn note_orders(&self) -> OrdersNote {
        let named = |(index, stop): (&usize, &Stop)| {
            self.services[*index].as_ref().map(|service| (service.name().clone(), stop.clone()))
        };
        OrdersNote { stops: self.orders.stops.iter().filter_map(named).collect(), waiters: self.orders.waiters.clone() }
    }

    pub(super) fn resume_orders(&mut self, note: OrdersNote) {
        let indexed = |(name, stop): (UnitName, Stop)| self.names.get(&name).map(|index| (*index, stop));
        self.orders.stops = note.stops.into_iter().filter_map(indexed).collect();
        self.orders.waiters = note.waiters;
    }

    /// Does what can be done now, and answers who has waited for it.
    pub(super) fn proceed_orders(&mut self, turn: &mut Turn) {
        self.proceed_stops(turn);
        let waiters = std::mem::take(&mut self.orders.waiters);
        for waiter in waiters {
            let over = waiter.until <= turn.now.mono;
            let pending = waiter.services.iter().any(|(name, ticket)| self.is_pending(name, *ticket));
            if pending && !over {
                self.orders.waiters.push(waiter);
                continue;
            }
            let outcomes = self.outcomes(&waiter, turn, false);
            self.answer(waiter.connection, &RunnerReply::Done(outcomes));
        }
    }

    /// What was to be stopped in its turn and has ended by itself needs no turn, and must not be started before.
    pub(super) fn stop_ended(&mut self, index: usize, turn: &mut Turn) {
        if let Some(stop) = self.orders.stops.remove(&index) {
            self.drive(index, stop.into(), turn);
        }
    }

    fn proceed_stops(&mut self, turn: &mut Turn) {
        loop {
            let free: Vec<usize> = self.orders.stops.keys().copied().filter(|index| !self.is_needed(*index)).collect();
            if free.is_empty() {
                return;
            }
            for index in free {
                if let Some(stop) = self.orders.stops.remove(&index) {
                    self.drive(index, stop.into(), turn);
                }
            }
        }
    }

    /// Whether something that is to be stopped before it still runs, or is to be stopped itself.
    fn is_needed(&self, index: usize) -> bool {
        let Some(service) = &self.services[index] else { return false };
        let name = service.name();
        self.names.values().any(|other| {
            let Some(dependent) = &self.services[*other] else { return false };
            let stopping = self.orders.stops.contains_key(other)
                || matches!(dependent.machine.phase(), crate::machine::Phase::Stopping { .. });
            *other != index
                && stopping
                && dependent.machine.spec().after.contains(name)
                && dependent.machine.run().is_some()
        })
    }

    fn is_pending(&self, name: &UnitName, ticket: Ticket) -> bool {
        let Some(index) = self.names.get(name) else { return false };
        if self.orders.stops.contains_key(index) {
            return true;
        }
        let Some(service) = &self.services[*index] else { return false };
        let state = service.machine.ticket_state(ticket);
        // A stop is done when nothing of the service is left.
        state == TicketState::Pending || (ticket.verb == Verb::Stop && self.sweeper.concerns(name))
    }

    fn outcomes(&self, waiter: &Waiter, turn: &Turn, accepted: bool) -> Vec<Outcome> {
        let one = |(name, ticket): &(UnitName, Ticket)| {
            let service = self.names.get(name).and_then(|index| self.services[*index].as_ref());
            let view = service.map(|s| s.view(turn.now));
            // A stop that waits for its turn is not known to the machine yet.
            let waits = self.names.get(name).is_some_and(|index| self.orders.stops.contains_key(index));
            let state = service.map(|s| if waits { TicketState::Pending } else { s.machine.ticket_state(*ticket) });
            let (ok, text) = match state {
                None => (ticket.verb == Verb::Stop, "it is no longer declared".into()),
                Some(TicketState::Done(text)) => (true, text),
                Some(TicketState::Failed(text)) => (false, text),
                Some(TicketState::Pending) if accepted => (true, format!("{} is under way", ticket.verb.as_str())),
                Some(TicketState::Pending) => {
                    let status = view.as_ref().map_or("unknown", |v| v.status.as_str());
                    (false, format!("still {status} after the time it may take"))
                }
            };
            Outcome { name: name.clone(), ok, text, view, refused: false }
        };
        waiter.services.iter().map(one).collect()
    }
}

/// An order that is not taken.
pub(super) fn refuse(message: String) -> RunnerReply {
    RunnerReply::Error(WireError { code: 6, message, hint: None })
}
