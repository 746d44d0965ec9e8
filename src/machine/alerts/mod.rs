//! When somebody is told: the rules over what goes on record, and the life of an alert from its firing to its end.
//!
//! [`AlertMachine`] is fed every new record of the ledger, in the order of taking in, and its changes are put on record in the
//! same transaction. It is a fold: fed the same, it says the same, alert ids and notice keys included.
//!
//! It does not know of sinks, of the database, or of time but through its arguments.

mod hear;
mod identity;
mod kinds;
mod lapse;
mod life;
mod service;
mod tasks;
#[cfg(test)]
mod tests;
mod unwell;
mod weekly;
mod windows;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
pub use weekly::{Week, WeekOf, weekly_lines};

use self::identity::Key;
use self::life::{Draft, Step, after};
use self::service::{Kind, Planned, Service};
use self::windows::Crossing;
use crate::model::{
    Alert, AlertChange, AlertSpec, CrashWindow, HeardAt, NoticeKind, Record, Remembered, Rule, Silence, StoppedAt,
    UnitName,
};
use crate::policy::{Reading, Recent, Stamp};

/// A restart that was asked for may take so much longer than the service's start.
const AFTER_BUDGET: Duration = Duration::from_secs(30);

/// What differs from services.toml for less than this is being seen to.
const DRIFT_FOR: Duration = Duration::from_secs(5 * 60);

/// A drift that is still there is found again within this time after the supervisor's start, however many jobs there are.
const DRIFT_AGAIN: Duration = Duration::from_secs(30 * 60);

/// A database that is sick for less than this was only busy.
const DATABASE_FOR: Duration = Duration::from_secs(60);

/// Unclean ends of the supervisor, each of which alone would be no more than good to know.
const GAPS: CrashWindow = CrashWindow { count: 3, within: Duration::from_secs(5 * 60) };

/// What the rules have to know of what is declared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// `[alerts]`.
    pub spec: AlertSpec,
    /// Services and tasks.
    pub units: BTreeMap<UnitName, DeclaredUnit>,
}

/// What the rules have to know of a service or task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeclaredUnit {
    /// Whose trouble explains this one's.
    pub after: Vec<UnitName>,
    /// How long a start may take before a planned restart has failed.
    pub start_timeout: Duration,
    /// A run that ends well sooner than this counts for the loop windows.
    pub min_uptime: Duration,
    /// Whether a `service_ready` tells that it is up; otherwise it is up once it is started.
    pub has_ready: bool,
    /// Where a calendar job's times of day are; `None`: they are told in UTC.
    pub zone: Option<TimeZone>,
}

/// What the machine is told.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A record that is new in the ledger, of this runner's journal.
    Record(&'a str, &'a Record),
    /// One that was taken in during an earlier life: it fills the windows, and fires nothing.
    Past(&'a str, &'a Record),
    /// The operator wants this service down, and no end of a run tells so: it was held, or waited for its next start.
    Stopped(&'a UnitName),
    /// services.toml was read.
    Declared(Box<Declared>),
    /// Whether the ledger can be written: since when not (milliseconds since 1970 UTC) and why, or that it can.
    Database(Option<(i64, &'a str)>),
    /// Somebody knows of this alert.
    Acknowledge(&'a str),
    /// Tell nobody of what it covers.
    Silence(Silence),
    /// Tell again.
    Unsilence(u64),
    /// Try all sinks, or those that the caller picks: gives one notice of rule `test` with this key.
    Test(&'a str),
    /// The report of the week is due, with these lines; the key makes it go out once.
    Weekly {
        /// Of the week it is about.
        key: &'a str,
        /// What is in it.
        lines: Vec<String>,
    },
    /// The moment of [`AlertMachine::due`] has come.
    Tick,
}

/// All rules, and all open alerts.
///
/// Plain data: whoever cannot put on record what came of a step goes back to a clone from before it.
#[derive(Debug, Clone)]
pub struct AlertMachine {
    declared: Declared,
    /// `None`: what is about the supervisor itself.
    services: BTreeMap<Option<UnitName>, Service>,
    open: BTreeMap<Key, Alert>,
    /// When each open alert was put on record last, milliseconds since 1970 UTC.
    kept_ms: BTreeMap<Key, i64>,
    silences: BTreeMap<u64, Silence>,
    /// Unclean ends of the supervisor.
    gaps: Recent<Stamp>,
    database: Option<Sick>,
    /// Whether the past has been told.
    settled: bool,
}

/// A ledger that cannot be written.
#[derive(Debug, Clone)]
struct Sick {
    /// Milliseconds since 1970 UTC.
    since_ms: i64,
    why: String,
    /// When that was heard first, and how much longer it may be so from then on.
    heard: Stamp,
    patience: Duration,
}

impl AlertMachine {
    /// As the last life left it.
    pub fn new(declared: Declared, remembered: Remembered) -> Self {
        let Remembered { open, silences, kinds, stopped } = remembered;
        let mut services: BTreeMap<Option<UnitName>, Service> = BTreeMap::new();
        for known in kinds {
            let kept_ms = known.last_ms;
            let kinds = &mut services.entry(Some(known.service.clone())).or_default().kinds;
            kinds.insert(known.fingerprint.clone(), Kind { known, recent: Recent::default(), kept_ms });
        }
        for (name, StoppedAt { boot_id, mono, wall_ms }) in stopped {
            let stopped = Stamp { boot: boot_id.into(), mono, wall_ms };
            services.entry(Some(name)).or_default().stopped_at = Some(stopped);
        }
        let open = open.into_iter().filter(Alert::is_open);
        Self {
            declared,
            services,
            open: open.map(|alert| (Key::of(&alert), alert)).collect(),
            kept_ms: BTreeMap::new(),
            silences: silences.into_iter().map(|silence| (silence.id, silence)).collect(),
            gaps: Recent::default(),
            database: None,
            settled: false,
        }
    }

    /// From when on the machine wants to hear of the past, milliseconds since 1970 UTC: what its windows reach back to, and
    /// what the open alerts are about.
    pub fn past_from(&self, now_ms: i64) -> i64 {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        let oldest = self.open.values().map(|alert| alert.since_ms).min().unwrap_or(now_ms);
        // A window of a day of awake time is several days of a machine that sleeps a lot.
        (now_ms - 7 * DAY_MS).min(oldest - DAY_MS)
    }

    /// Takes in what was heard. What comes of it is to be put on record as a whole, or the machine is to be put back to what
    /// it was before.
    pub fn step(&mut self, at: HeardAt<'_>, heard: Heard<'_>) -> Vec<AlertChange> {
        let mut step = match &heard {
            Heard::Record(_, record) | Heard::Past(_, record) => {
                let at_record = HeardAt { boot_id: &record.boot_id, at: record.at() };
                Step::new(stamp(at_record), at.at.wall_ms, matches!(heard, Heard::Past(..)))
            }
            _ => Step::new(stamp(at), at.at.wall_ms, false),
        };
        if !step.is_past && !self.settled {
            self.settle();
        }
        let mut looks = true;
        match heard {
            Heard::Record(runner, record) | Heard::Past(runner, record) => {
                self.hear(&mut step, runner, record);
                looks = step.moved;
            }
            Heard::Declared(declared) => {
                self.declared = *declared;
                self.forget_undeclared(&mut step);
            }
            Heard::Stopped(name) => {
                // Of a run that lives its end tells.
                let service = self.services.entry(Some(name.clone())).or_default();
                if service.runs_since(&step.now).is_none() {
                    let Stamp { boot, mono, wall_ms } = step.now.clone();
                    let at = StoppedAt { boot_id: boot.to_string(), mono, wall_ms };
                    step.more.push(AlertChange::Stopped(name.clone(), at));
                    service.stopped_at = Some(step.now.clone());
                    self.stopped(&mut step, name);
                }
            }
            Heard::Database(state) => self.hear_of_database(&mut step, state),
            Heard::Acknowledge(id) => self.acknowledge(&mut step, id),
            Heard::Silence(silence) => {
                step.more.push(AlertChange::KeepSilence(silence.clone()));
                self.silences.insert(silence.id, silence);
            }
            Heard::Unsilence(id) => {
                if self.silences.remove(&id).is_some() {
                    step.more.push(AlertChange::DropSilence(id));
                }
            }
            Heard::Test(key) => {
                let draft = Draft::of(Rule::Test, None, step.wall_ms, words::of_test());
                self.note(&mut step, NoticeKind::Note, key, draft);
            }
            Heard::Weekly { key, lines } => {
                let draft = Draft::of(Rule::Weekly, None, step.wall_ms, words::of_week(&lines));
                self.note(&mut step, NoticeKind::Note, key, draft);
            }
            Heard::Tick => self.tick(&mut step),
        }
        if step.is_past {
            return Vec::new();
        }
        if looks {
            self.settle_quiet(&mut step);
        }
        step.into_changes(&self.open)
    }

    fn tick(&mut self, step: &mut Step) {
        let ended: Vec<u64> = self.silences.values().filter(|s| s.until_ms <= step.wall_ms).map(|s| s.id).collect();
        for id in ended {
            self.silences.remove(&id);
            step.more.push(AlertChange::DropSilence(id));
        }
        self.forget_undeclared(step);
        for name in self.services.keys().cloned().collect::<Vec<_>>() {
            self.lapse(step, name.as_ref());
        }
        self.lapse_database(step);
        // Who may be told now is not reminded of it in the same breath.
        self.settle_quiet(step);
        self.remind(step);
    }

    /// When the next `Tick` is wanted, milliseconds since 1970 UTC, seen from `at`.
    pub fn due(&self, at: HeardAt<'_>) -> Option<i64> {
        let now = stamp(at);
        let when = |from: &Stamp, wait: Duration| after(now.wall_ms, wait.saturating_sub(now.since(from)));
        let reminders = self.open.values().filter(|alert| alert.quiet.is_none()).filter_map(|alert| alert.remind_ms);
        let silences = self.silences.values().map(|silence| silence.until_ms);
        let database = self.database.as_ref().filter(|_| !self.open.contains_key(&database_key()));
        let database = database.map(|sick| when(&sick.heard, sick.patience));
        let resolve_after = self.declared.spec.resolve_after;
        let loops = self.services.values().flat_map(|service| {
            let over = service.loops.values().filter_map(|one| service.loop_over(one, resolve_after, &now));
            over.collect::<Vec<_>>()
        });
        let others = self.open.iter().filter_map(|(key, alert)| self.over_in(key, alert, &now));
        let planned = self.services.iter().filter_map(|(name, service)| match &service.planned {
            Some(Planned::Begun { since, .. }) => Some((since.clone(), self.budget(name.as_ref()?)?)),
            _ => None,
        });
        let drifts =
            self.services.values().filter_map(|service| Some((service.drift.as_ref()?.since.clone(), DRIFT_FOR)));
        let doubted = self.open.values().filter_map(|alert| Some((lapse::doubted_since(alert)?, DRIFT_AGAIN)));
        let awake =
            loops.chain(others).chain(planned).chain(drifts).chain(doubted).map(|(from, wait)| when(&from, wait));
        reminders.chain(silences).chain(database).chain(awake).min()
    }

    /// Alerts that hold.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.open.values()
    }

    /// Those in force, and some that were not long ago.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }

    /// The past has been told: what it says and what is open are made one.
    fn settle(&mut self) {
        self.settled = true;
        let ends = |name: &Option<UnitName>, cause| Key::new(Rule::CrashLoop, name.as_ref(), Some(cause));
        for (name, service) in &mut self.services {
            for (cause, one) in &mut service.loops {
                // It was over, and the last life saw that.
                if one.crossed.is_some() && !self.open.contains_key(&ends(name, *cause)) {
                    one.crossed = None;
                }
            }
        }
        for (key, alert) in &self.open {
            let service = self.services.entry(key.service.clone()).or_default();
            if let Some(cause) = key.cause {
                let memory = |key: &str| alert.memory.get(key);
                let window = memory("window").and_then(|w| Rule::parse(w.as_str()?)).unwrap_or(alert.rule);
                let within = memory("within_ms").and_then(serde_json::Value::as_u64).map(Duration::from_millis);
                let crossing = Crossing { window, within: within.unwrap_or_default() };
                // How it stood is on record; who hears of the past again has not seen the quiet times in it.
                service.loops.entry(cause).or_default().crossed = Some(crossing);
            }
            // Those have been told of.
            match alert.rule {
                Rule::Drift => service.drift = None,
                Rule::RestartFailed => service.planned = None,
                _ => {}
            }
        }
    }

    fn hear_of_database(&mut self, step: &mut Step, state: Option<(i64, &str)>) {
        match (state, &mut self.database) {
            (None, _) => {
                self.database = None;
                self.resolve(step, &database_key(), "the ledger can be written again");
            }
            (Some((_, why)), Some(known)) => known.why = why.into(),
            (Some((since_ms, why)), None) => {
                let been = u64::try_from(step.wall_ms.saturating_sub(since_ms)).unwrap_or(0);
                let patience = DATABASE_FOR.saturating_sub(Duration::from_millis(been));
                self.database = Some(Sick { since_ms, why: why.into(), heard: step.now.clone(), patience });
            }
        }
        self.lapse_database(step);
    }

    fn lapse_database(&mut self, step: &mut Step) {
        let Some(sick) = &self.database else { return };
        if step.now.since(&sick.heard) < sick.patience || self.open.contains_key(&database_key()) {
            return;
        }
        let since_ms = sick.since_ms;
        let mut data = serde_json::Map::new();
        data.insert("why".into(), sick.why.clone().into());
        let text = words::of_record(Rule::Database, None, &data);
        let seed = since_ms.to_string();
        let draft = Draft::of(Rule::Database, None, since_ms, text);
        self.fire(step, &seed, draft);
    }
}

fn database_key() -> Key {
    Key::new(Rule::Database, None, None)
}

fn stamp(at: HeardAt<'_>) -> Stamp {
    Stamp { boot: at.boot_id.into(), mono: at.at.mono, wall_ms: at.at.wall_ms }
}
