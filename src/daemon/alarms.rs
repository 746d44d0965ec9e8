//! Alerts, in the ledger's thread: what is taken in is shown to the rules, what they say is put on record in the same
//! transaction, and what is on record is sent, one message at a time for each sink.
//!
//! While the database is not well the rules go on on a copy, and their notices are sent from memory ([`Sick`]). Alert ids
//! and notice keys are made from what fired them: once the ledger takes the same records in, it comes to the same notices,
//! and what was sent already is not sent again.

mod deadman;
mod send;
mod sick;
mod sinks;
#[cfg(test)]
mod tests;
mod trials;
mod week;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::ledger::Call;
use crate::control::server::Answer;
use crate::machine::alerts::{AlertMachine, Declared, DeclaredUnit, Heard};
use crate::machine::words;
use crate::model::paths::Paths;
use crate::model::wire::{AlertBody, AlertReply, WireError};
use crate::model::{
    Alert, AlertChange, AlertSpec, AlertState, Fleet, HeardAt, Moment, OpenAlert, Readiness, Record, Remembered,
    Severity, Silence, UnitName,
};
use crate::process::clock;
use crate::store::{Ledger, StoreError, Telling};
use deadman::Deadman;
use send::Served;
use sick::Sick;
use trials::Trial;

/// So many records of each service fill the windows again after a restart: no window counts further.
const REFILL_MOST: usize = 256;

/// The longest wait between two looks at what is due: wall clocks are set.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Between two looks for what has waited for too long.
const EXPIRE_EVERY_MS: i64 = 60_000;

/// All that is done about alerts.
pub(super) struct Alarms {
    boot_id: String,
    evidence: PathBuf,
    /// What this machine is called.
    host: String,
    declared: Declared,
    /// services.toml has faults: what it does not name may be named in what could not be read.
    has_faults: bool,
    /// A calendar job makes reports: then there is no other one.
    has_digest: bool,
    /// `[alerts]`, with the sinks that are served.
    spec: AlertSpec,
    machine: AlertMachine,
    served: BTreeMap<String, Served>,
    back: Sender<Call>,
    sick: Option<Sick>,
    /// What was delivered in this life, sink and key.
    told: Told,
    trials: Vec<Trial>,
    deadman: Deadman,
    /// Nothing more is sent; who wants to know when nothing is on its way.
    paused: Option<Vec<Sender<()>>>,
    next_expiry_ms: i64,
    /// How many messages were sent on their way in this life.
    flights: u64,
}

/// The newest deliveries, sink and key, so many that no outage of the database outgrows them.
#[derive(Debug, Default)]
pub(super) struct Told {
    known: BTreeSet<(String, String)>,
    order: VecDeque<(String, String)>,
}

impl Told {
    const MOST: usize = 4000;

    fn add(&mut self, sink: &str, key: &str) {
        let one = (sink.to_owned(), key.to_owned());
        if self.known.insert(one.clone()) {
            self.order.push_back(one);
            if self.order.len() > Self::MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    fn has(&self, sink: &str, key: &str) -> bool {
        self.known.contains(&(sink.to_owned(), key.to_owned()))
    }
}

impl Alarms {
    pub(super) fn new(
        paths: &Paths,
        boot_id: &str,
        fleet: &Fleet,
        has_faults: bool,
        back: Sender<Call>,
        beat: Arc<AtomicU64>,
    ) -> Self {
        let declared = declared(fleet);
        let machine = AlertMachine::new(declared.clone(), Remembered::default());
        let mut alarms = Self {
            boot_id: boot_id.to_owned(),
            evidence: paths.evidence(),
            host: host(),
            machine,
            served: BTreeMap::new(),
            deadman: Deadman::new(fleet.alerts.deadman.clone(), beat, clock::now().mono),
            has_digest: week::has_digest(fleet),
            spec: fleet.alerts.clone(),
            declared,
            has_faults,
            back,
            sick: None,
            told: Told::default(),
            trials: Vec::new(),
            paused: None,
            next_expiry_ms: 0,
            flights: 0,
        };
        alarms.serve_sinks(&fleet.alerts.sinks);
        alarms
    }

    /// services.toml was read.
    pub(super) fn declared(&mut self, ledger: Option<&mut Ledger>, fleet: &Fleet) -> Result<(), StoreError> {
        self.declared = declared(fleet);
        self.has_digest = week::has_digest(fleet);
        // With faults it would not have been taken.
        self.has_faults = false;
        self.deadman.declared(fleet.alerts.deadman.clone(), clock::now().mono);
        self.serve_sinks(&fleet.alerts.sinks);
        let declared = self.declared.clone();
        let Some(ledger) = ledger else { return self.hear(None, Heard::Declared(Box::new(declared))) };
        self.hear(Some(&mut *ledger), Heard::Declared(Box::new(declared)))?;
        self.follow_sinks(ledger)
    }

    /// The operator wants this service down, and it is.
    pub(super) fn stopped(&mut self, ledger: Option<&mut Ledger>, name: &UnitName) -> Result<(), StoreError> {
        self.hear(ledger, Heard::Stopped(name))
    }

    /// The database is open: what it knows is where we begin.
    pub(super) fn opened(&mut self, ledger: &mut Ledger) -> Result<(), StoreError> {
        let at = clock::now();
        let mut machine = AlertMachine::new(self.declared.clone(), ledger.remembered()?);
        let from_ms = machine.past_from(at.wall_ms);
        for (runner, record) in ledger.past(self.declared.units.keys(), REFILL_MOST, from_ms)? {
            machine.step(HeardAt { boot_id: &record.boot_id, at: record.at() }, Heard::Past(&runner, &record));
        }
        self.machine = machine;
        for state in ledger.sink_states()? {
            if let Some(served) = self.served.get_mut(&state.sink) {
                served.remember(state, at);
            }
        }
        if self.sick.is_none() {
            // A life that ended between the two words on an outage has left its alert open.
            self.hear(Some(&mut *ledger), Heard::Database(None))?;
        }
        self.follow_sinks(ledger)
    }

    /// Takes records into the ledger, and what the rules say of those that are new; gives how many were.
    pub(super) fn take_in(
        &mut self,
        ledger: &mut Ledger,
        runner: &str,
        records: &[Record],
    ) -> Result<usize, StoreError> {
        let now = clock::now();
        // Of what the copy has told already, the reminders that it gave are not due once more.
        let heard_by_copy = self.sick.as_ref().map(|sick| sick.since_ms);
        let telling = Telling {
            at: HeardAt { boot_id: &self.boot_id, at: now },
            spec: &self.spec,
            only: None,
            delivered: &self.told.known,
        };
        let mut after = None;
        let new = ledger.ingest_watched(runner, records, &telling, &mut |fresh| {
            let mut machine = self.machine.clone();
            let mut changes = Vec::new();
            for record in fresh.iter().copied() {
                let wall_ms = heard_by_copy.map_or(now.wall_ms, |since_ms| record.wall_ms.max(since_ms));
                let at = HeardAt { boot_id: &self.boot_id, at: Moment { wall_ms, ..now } };
                changes.extend(machine.step(at, Heard::Record(runner, record)));
            }
            after = Some(machine);
            changes
        })?;
        // Only what is on record has happened.
        if let Some(machine) = after {
            self.machine = machine;
            self.look_again();
        }
        // Should the outage go on, the copy has heard of this, too.
        if let Some(sick) = &mut self.sick {
            sick.take_in(&self.boot_id, now, runner, records, &self.spec);
        }
        Ok(new)
    }

    /// Has the rules hear something, and puts what they say on record; without a ledger it is kept in memory.
    fn hear(&mut self, ledger: Option<&mut Ledger>, heard: Heard<'_>) -> Result<(), StoreError> {
        self.hear_through(ledger, clock::now(), heard, None).map(drop)
    }

    /// The same, through these sinks only; gives the keys of what is told.
    fn hear_through(
        &mut self,
        ledger: Option<&mut Ledger>,
        at: Moment,
        heard: Heard<'_>,
        only: Option<&Only>,
    ) -> Result<Vec<String>, StoreError> {
        let heard_at = HeardAt { boot_id: &self.boot_id, at };
        let spec = only.map_or(&self.spec, |only| &only.spec);
        match (ledger, &mut self.sick) {
            (Some(ledger), _) => {
                let mut machine = self.machine.clone();
                let changes = machine.step(heard_at, heard);
                let only = only.map(|only| &only.sinks);
                ledger.change(&changes, &Telling { at: heard_at, spec, only, delivered: &self.told.known })?;
                self.machine = machine;
                self.look_again();
                Ok(keys(&changes))
            }
            (None, Some(sick)) => {
                let told = sick.hear(heard_at, heard, spec, only.map(|only| &only.sinks));
                self.look_again();
                Ok(told)
            }
            // Nothing is known yet of what the database knows: what is declared is known when it is opened.
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The database cannot be written: what is unsaved is shown to a copy of the rules.
    pub(super) fn without_ledger(&mut self, why: &str, unsaved: &BTreeMap<String, Vec<Record>>) {
        let at = clock::now();
        let sick = self.sick.get_or_insert_with(|| Sick::new(at.wall_ms, self.machine.clone()));
        why.clone_into(&mut sick.why);
        for (runner, records) in unsaved {
            sick.take_in(&self.boot_id, at, runner, records, &self.spec);
        }
        let (since_ms, why) = (sick.since_ms, sick.why.clone());
        sick.hear(HeardAt { boot_id: &self.boot_id, at }, Heard::Database(Some((since_ms, &why))), &self.spec, None);
        self.look_again();
        // Nothing here needs the database, so nothing can fail.
        let _ = self.tick(None);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, mut ledger: Option<&mut Ledger>) -> Result<(), StoreError> {
        let at = clock::now();
        if let Some(ledger) = ledger.as_deref_mut() {
            self.recover(ledger)?;
        }
        let due = self.rules().due(HeardAt { boot_id: &self.boot_id, at });
        if due.is_some_and(|due| due <= at.wall_ms) {
            self.hear(ledger.as_deref_mut(), Heard::Tick)?;
        }
        let expires = at.wall_ms >= self.next_expiry_ms;
        if expires {
            // With a database or without: what stays due would be looked at without a pause.
            self.next_expiry_ms = at.wall_ms + EXPIRE_EVERY_MS;
            // Somebody may have logged in at the screen meanwhile.
            if self.spec.sinks.len() < self.declared.spec.sinks.len() {
                let sinks = self.declared.spec.sinks.clone();
                self.serve_sinks(&sinks);
            }
        }
        if let Some(ledger) = ledger.as_deref_mut().filter(|_| expires) {
            self.report_week(ledger, at)?;
            for row in ledger.expire(at.wall_ms)? {
                let (sink, title) = (&row.sink, &row.notice.alert.title);
                tracing::warn!(sink, "a notice was given up, it could not be delivered in time: {title}");
            }
        }
        // Who has been silenced, or knows, is not to be told this way round.
        let bad = |alert: &&Alert| {
            alert.severity == Severity::Critical && alert.state == AlertState::Open && alert.quiet.is_none()
        };
        // That the database is sick is one of them, once it is more than busy.
        let ill: Vec<String> = self.open().filter(bad).map(|alert| alert.title.clone()).collect();
        self.deadman.tick(at.mono, &ill, &self.back);
        self.send(ledger, at)?;
        self.answer_trials(at);
        Ok(())
    }

    /// The dead man's switch was called.
    pub(super) fn pinged(&mut self, result: Result<(), String>) {
        self.deadman.called(result, clock::now().mono);
    }

    /// How long nothing is to be done here; `None`: until something comes.
    pub(super) fn due(&self, now: Moment) -> Option<Duration> {
        let ms = |due: i64| Duration::from_millis(u64::try_from(due - now.wall_ms).unwrap_or(0));
        let rules = self.rules().due(HeardAt { boot_id: &self.boot_id, at: now }).map(ms);
        let trials = self.trials.iter().map(|trial| trial.until.since(now.mono)).min();
        let sends = self.sends_due(now).map(ms);
        let expiry = ms(self.next_expiry_ms);
        let all = [rules, trials, sends, self.deadman.due().map(|due| due.since(now.mono)), Some(expiry)];
        all.into_iter().flatten().min().map(|wait| wait.min(LONGEST_WAIT))
    }

    /// Alerts that hold, and what is wrong with the ways out.
    pub(super) fn standing(&self) -> (Vec<OpenAlert>, Vec<String>) {
        let mut open: Vec<OpenAlert> = self.open().map(OpenAlert::from).collect();
        open.sort_by_key(|alert| std::cmp::Reverse(alert.since_ms));
        let sinks = self.served.values().filter_map(Served::trouble);
        (open, sinks.chain(self.deadman.trouble()).collect())
    }

    fn rules(&self) -> &AlertMachine {
        self.sick.as_ref().map_or(&self.machine, |sick| &sick.machine)
    }

    fn open(&self) -> impl Iterator<Item = &Alert> {
        self.rules().open()
    }

    /// Acknowledges, silences, tries.
    pub(super) fn asked(
        &mut self,
        ledger: Option<&mut Ledger>,
        body: AlertBody,
        answer: Answer<AlertReply>,
    ) -> Result<(), StoreError> {
        let at = clock::now();
        let mut reply = AlertReply::default();
        // A test is for trying the ways out, which work without a database.
        if ledger.is_none() && !matches!(body, AlertBody::Test { .. }) {
            drop(answer.send(Err(not_on_record())));
            return Ok(());
        }
        match body {
            AlertBody::Ack { id } => {
                if !self.open().any(|alert| alert.id == id) {
                    let message = format!("no alert {id} is open");
                    let hint = Some("`supervisor alerts` lists those that are".to_owned());
                    drop(answer.send(Err(WireError { code: 2, message, hint })));
                    return Ok(());
                }
                self.hear(ledger, Heard::Acknowledge(&id))?;
                reply.done.push(format!("{id}: acknowledged; there are no more reminders of it"));
            }
            AlertBody::Silence { service, rule, for_s } => {
                let number = self.rules().silences().map(|silence| silence.id).max().unwrap_or(0) + 1;
                let for_ms = i64::try_from(for_s).unwrap_or(i64::MAX).saturating_mul(1000);
                let until_ms = at.wall_ms.saturating_add(for_ms);
                let silence = Silence { id: number, service, rule, from_ms: at.wall_ms, until_ms };
                self.hear(ledger, Heard::Silence(silence))?;
                reply.silence = Some(number);
                let until = words::local_seconds(until_ms, &jiff::tz::TimeZone::system());
                reply.done.push(format!("silence {number} is in force until {until}"));
            }
            AlertBody::Unsilence { id } => {
                self.hear(ledger, Heard::Unsilence(id))?;
                reply.done.push(format!("silence {id} is over"));
            }
            AlertBody::Test { sink } => return self.try_sinks(ledger, at, sink.as_deref(), answer),
        }
        let _ = answer.send(Ok(reply));
        Ok(())
    }
}

/// What a notice goes through, when it does not go through all sinks.
struct Only {
    sinks: BTreeSet<String>,
    spec: AlertSpec,
}

/// There is no ledger now.
fn not_on_record() -> WireError {
    let message = "this cannot be put on record: the ledger cannot be written".to_owned();
    let hint = Some("`supervisor status` says why; try again when it is well".to_owned());
    WireError { code: 70, message, hint }
}

/// What is told of these changes.
fn keys(changes: &[AlertChange]) -> Vec<String> {
    let key = |change: &AlertChange| match change {
        AlertChange::Tell(notice) => Some(notice.key.clone()),
        _ => None,
    };
    changes.iter().filter_map(key).collect()
}

fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "this machine".into(), |name| name.to_string_lossy().into_owned())
}

/// What the rules have to know of a fleet.
fn declared(fleet: &Fleet) -> Declared {
    let services = fleet.services.iter().filter(|spec| spec.enabled).map(|spec| {
        let unit = DeclaredUnit {
            after: spec.after.clone(),
            start_timeout: spec.start_timeout,
            min_uptime: spec.min_uptime,
            has_ready: spec.readiness() != Readiness::Exec,
            zone: None,
        };
        (spec.name.clone(), unit)
    });
    let tasks = fleet.tasks.iter().map(|task| {
        let zone = Some(clock::zone(task.timezone.as_deref()));
        (task.name.clone(), DeclaredUnit { zone, ..DeclaredUnit::default() })
    });
    let others = fleet.unusable.iter().map(|unit| &unit.name);
    // Also where it is not enabled: that it could not be undone is to be told.
    let others = others.chain(fleet.exposures.iter().map(|exposure| &exposure.name));
    let others = others.map(|name: &UnitName| (name.clone(), DeclaredUnit::default()));
    Declared { spec: fleet.alerts.clone(), units: services.chain(tasks).chain(others).collect() }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX / 4)
}
