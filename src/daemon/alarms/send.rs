//! Messages on their way: one at a time for each sink, on a thread of its own, and what comes of it put on record.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

use super::{Alarms, Call};
use crate::alert;
use crate::machine::courier::Courier;
use crate::model::{
    AlertChange, Breaker, Delivery, EventType, HeardAt, Message, Moment, OutboxRow, RowState, SinkSpec, SinkState,
};
use crate::process::clock;
use crate::store::{Ledger, StoreError, Telling};

/// Rows that are looked at for the next message.
const IN_VIEW: usize = Courier::LOOK;

/// One sink.
pub(super) struct Served {
    pub(super) spec: SinkSpec,
    courier: Courier,
    /// What is on its way, and which of our flights that is.
    flight: Option<(u64, Message)>,
    /// It was declared anew meanwhile, and begins anew when that has ended.
    anew: bool,
    /// Whether there may be something to send.
    pub(super) waits: bool,
    /// How much waits, as far as it was looked at.
    waiting: usize,
}

impl Served {
    pub(super) fn new(spec: &SinkSpec, at: Moment) -> Self {
        let state = SinkState { sink: spec.name.clone(), ..SinkState::default() };
        Self {
            spec: spec.clone(),
            courier: Courier::new(state, at),
            flight: None,
            anew: false,
            waits: true,
            waiting: 0,
        }
    }

    /// It is declared anew; what was mended is tried at once.
    pub(super) fn declared(mut self, spec: &SinkSpec) -> Self {
        let addressee = |spec: &SinkSpec| (spec.kind, spec.url.clone(), spec.command.clone(), spec.secret.clone());
        // Who has asked to be left alone has asked for it whatever else is written of them.
        if addressee(&self.spec) != addressee(spec) {
            self.anew = true;
            self.begin_anew(clock::now());
        }
        self.spec = spec.clone();
        self.waits = true;
        self
    }

    /// Forgets how it was doing, if it is another one now and what was on its way has ended. What may have arrived goes again
    /// as the message it was.
    fn begin_anew(&mut self, at: Moment) {
        if self.anew && self.flight.is_none() {
            let in_doubt = self.courier.state().in_doubt;
            let state = SinkState { sink: self.spec.name.clone(), in_doubt, ..SinkState::default() };
            self.courier = Courier::new(state, at);
            self.anew = false;
        }
    }

    /// What the database knows of it, unless we have tried it ourselves.
    pub(super) fn remember(&mut self, state: SinkState, at: Moment) {
        self.waits = true;
        let ours = self.courier.state();
        if self.flight.is_none() && ours.failures == 0 && ours.delivered_ms.is_none() {
            self.courier = Courier::new(state, at);
        }
    }

    /// Why nothing is sent at this moment.
    pub(super) fn held_back(&self, at: Moment) -> Option<String> {
        let state = self.courier.state();
        let wait = self.courier.due(at).map_or(0, |due| (due - at.wall_ms) / 1000);
        match &state.error {
            Some(error) if wait > 0 => {
                Some(format!("not tried yet: the next try is in {wait} s; the last failed: {error}"))
            }
            _ if self.waiting > 1 => Some(format!("not tried yet: {} notices are before it", self.waiting - 1)),
            _ => None,
        }
    }

    /// What is wrong with it, in a line.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.courier.state();
        let error = state.error.as_ref()?;
        let waiting = match self.waiting {
            0 => String::new(),
            1 => ", 1 notice waits".to_owned(),
            n if n >= IN_VIEW => format!(", {IN_VIEW} notices and more wait"),
            n => format!(", {n} notices wait"),
        };
        Some(format!("alerts through {} fail: {error}{waiting}", self.spec.name))
    }
}

impl Alarms {
    /// Sends what is due.
    pub(super) fn send(&mut self, mut ledger: Option<&mut Ledger>, at: Moment) -> Result<(), StoreError> {
        if self.paused.is_some() {
            return Ok(());
        }
        for served in self.served.values_mut() {
            if !served.waits || served.courier.due(at).is_none_or(|due| due > at.wall_ms) {
                continue;
            }
            let name = &served.spec.name;
            let pending: Vec<OutboxRow> = match (&mut ledger, &self.sick) {
                (Some(ledger), _) => ledger.pending(name, IN_VIEW)?,
                (None, Some(sick)) => {
                    let waits = |row: &&OutboxRow| row.sink == *name && row.state == RowState::Pending;
                    sick.rows.iter().filter(waits).take(IN_VIEW).cloned().collect()
                }
                (None, None) => Vec::new(),
            };
            // What was delivered while that could not be put on record.
            let (done, pending): (Vec<_>, Vec<_>) =
                pending.into_iter().partition(|row| self.told.has(name, &row.notice.key));
            if let Some(ledger) = &mut ledger {
                for row in done {
                    let told = Message::One(Box::new(row.notice));
                    ledger.settle(&told, RowState::Delivered, None, served.courier.state(), at.wall_ms)?;
                }
            }
            served.waiting = pending.len();
            if pending.is_empty() {
                served.waits = false;
                continue;
            }
            // What cannot be put on record is not sent, and has not begun.
            let mut courier = served.courier.clone();
            let Some(message) = courier.begin(at, clock::fraction(), &pending) else { continue };
            if let Some(ledger) = &mut ledger {
                ledger.begin_sending(courier.state())?;
            }
            served.courier = courier;
            self.flights += 1;
            served.flight = Some((self.flights, message.clone()));
            let way = Way { sink: served.spec.clone(), evidence: self.evidence.clone(), host: self.host.clone() };
            start(way, self.flights, message, self.back.clone());
        }
        Ok(())
    }

    /// When the next message is due, milliseconds since 1970 UTC; `None` while nothing waits.
    pub(super) fn sends_due(&self, at: Moment) -> Option<i64> {
        if self.paused.is_some() {
            return None;
        }
        self.served.values().filter(|served| served.waits).filter_map(|served| served.courier.due(at)).min()
    }

    /// There may be something to send.
    pub(super) fn look_again(&mut self) {
        for served in self.served.values_mut() {
            served.waits = true;
        }
    }

    /// A try has ended.
    pub(in crate::daemon) fn sent(
        &mut self,
        ledger: Option<&mut Ledger>,
        sink: &str,
        flight: u64,
        delivery: &Delivery,
    ) -> Result<(), StoreError> {
        let at = clock::now();
        let Some(served) = self.served.get_mut(sink) else { return Ok(()) };
        // A sink of this name that is declared no more, or was not for a while.
        let Some((_, message)) = served.flight.take_if(|(number, _)| *number == flight) else { return Ok(()) };
        let settled = served.courier.ended(at, clock::fraction(), delivery);
        let breaker = settled.breaker.map(|(from, to)| breaker_changed(sink, from, to, served.courier.state()));
        served.begin_anew(at);
        served.waits = true;
        match (&settled.error, settled.rows) {
            (Some(error), _) => tracing::warn!(sink, "an alert could not be delivered: {error}"),
            (None, state) => tracing::debug!(sink, "{} notices: {}", message.notices().len(), state.as_str()),
        }
        if settled.rows == RowState::Delivered {
            for notice in message.notices() {
                self.told.add(sink, &notice.key);
            }
        }
        if let Some(sick) = &mut self.sick {
            for row in sick.rows.iter_mut().filter(|row| row.sink == sink) {
                if message.notices().iter().any(|notice| notice.key == row.notice.key) {
                    row.state = settled.rows;
                    row.error.clone_from(&settled.error);
                    row.attempts += 1;
                }
            }
        }
        self.note_trial(sink, &message, settled.rows, settled.error.as_deref());
        if let (Some(ledger), Some(served)) = (ledger, self.served.get(sink)) {
            let state = served.courier.state();
            ledger.settle(&message, settled.rows, settled.error.as_deref(), state, at.wall_ms)?;
            if let Some(change) = breaker {
                let at = HeardAt { boot_id: &self.boot_id, at };
                let told = Telling { at, spec: &self.spec, only: None, delivered: &self.told.known };
                ledger.change(&[change], &told)?;
            }
        }
        self.tell_paused();
        Ok(())
    }

    /// Whether anything is on its way.
    pub(in crate::daemon) fn is_sending(&self) -> bool {
        self.served.values().any(|served| served.flight.is_some())
    }

    /// Sends nothing more, and tells when nothing is on its way.
    pub(in crate::daemon) fn pause(&mut self, done: Option<Sender<()>>) {
        self.paused.get_or_insert_default().extend(done);
        self.tell_paused();
    }

    /// Goes on.
    pub(in crate::daemon) fn resume(&mut self) {
        self.paused = None;
    }

    fn tell_paused(&mut self) {
        if !self.is_sending()
            && let Some(paused) = &mut self.paused
        {
            for done in paused.drain(..) {
                let _ = done.send(());
            }
        }
    }
}

/// What a message needs on its way.
struct Way {
    sink: SinkSpec,
    evidence: PathBuf,
    host: String,
}

fn start(way: Way, flight: u64, message: Message, back: Sender<Call>) {
    let (name, tell) = (way.sink.name.clone(), back.clone());
    let sending = move || {
        let around = alert::Around { evidence: &way.evidence, host: &way.host };
        let delivery = alert::deliver(&way.sink, &message, &around);
        let _ = back.send(Call::Sent(way.sink.name.clone(), flight, delivery));
    };
    if let Err(e) = std::thread::Builder::new().name(format!("sink {name}")).spawn(sending) {
        let _ =
            tell.send(Call::Sent(name, flight, Delivery::Failed(format!("no thread could be started for it: {e}"))));
    }
}

fn breaker_changed(sink: &str, from: Breaker, to: Breaker, state: &SinkState) -> AlertChange {
    let data = serde_json::json!({
        "run_id": null, "sink": sink, "from": from, "to": to, "failures": state.failures, "reason": state.error,
    });
    AlertChange::Record {
        event: EventType::BreakerChanged,
        service: None,
        data: data.as_object().cloned().unwrap_or_default(),
    }
}
