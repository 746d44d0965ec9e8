//! A machine of alerts with clocks, a fleet and a ledger around it, all made up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::machine::alerts::{AlertMachine, Declared, DeclaredUnit, Heard};
use crate::model::{
    Alert, AlertChange, CrashKind, EventType, HeardAt, Moment, Mono, Notice, Record, Remembered, Silence, StoppedAt,
    UnitName,
};

/// 2026-11-22 10:00:00 UTC.
pub(super) const BASE_MS: i64 = 1_795_341_600_000;

/// All runs have been alive for so long when a trace begins, ms.
const BEFORE_MS: i64 = 3_600_000;

pub(super) fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

/// gateway, then worker, then leaf; plain says nothing of being ready; job is a task.
pub(super) fn declared() -> Declared {
    let service = |after: &[&str], has_ready| DeclaredUnit {
        after: after.iter().map(|name| unit(name)).collect(),
        start_timeout: Duration::from_secs(60),
        min_uptime: Duration::from_secs(10),
        has_ready,
        zone: None,
    };
    let units = [
        ("gateway", service(&[], true)),
        ("worker", service(&["gateway"], true)),
        ("leaf", service(&["worker"], true)),
        ("plain", service(&[], false)),
        ("job", DeclaredUnit { zone: Some(berlin()), ..DeclaredUnit::default() }),
    ];
    Declared { units: units.into_iter().map(|(name, unit_)| (unit(name), unit_)).collect(), ..Declared::default() }
}

/// What is in the database.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) alerts: BTreeMap<String, Alert>,
    pub(super) silences: BTreeMap<u64, Silence>,
    pub(super) kinds: BTreeMap<(UnitName, String), CrashKind>,
    pub(super) notices: Vec<Notice>,
    /// What is only for sinks that do not take less.
    pub(super) worse: Vec<Notice>,
    pub(super) stopped: BTreeMap<UnitName, StoppedAt>,
    pub(super) rows: Vec<(EventType, Map<String, Value>)>,
    pub(super) keeps: usize,
}

pub(super) struct World {
    pub(super) machine: AlertMachine,
    pub(super) declared: Declared,
    pub(super) stored: Stored,
    pub(super) records: Vec<Record>,
    /// Since the trace began, ms.
    pub(super) now: i64,
    boot: u32,
    boot_at: i64,
    slept: i64,
    started: BTreeMap<UnitName, i64>,
    pub(super) runs: BTreeMap<UnitName, u64>,
    pub(super) programs: BTreeMap<UnitName, String>,
    pub(super) sick_since: Option<i64>,
    /// Begin anew from what is on record after each event.
    pub(super) cuts: bool,
    pub(super) silence_count: u64,
}

impl World {
    pub(super) fn new(cuts: bool) -> Self {
        let declared = declared();
        let mut world = Self {
            machine: AlertMachine::new(declared.clone(), Remembered::default()),
            declared,
            stored: Stored::default(),
            records: Vec::new(),
            now: -BEFORE_MS,
            boot: 1,
            boot_at: -2 * BEFORE_MS,
            slept: 0,
            started: BTreeMap::new(),
            runs: BTreeMap::new(),
            programs: BTreeMap::new(),
            sick_since: None,
            cuts: false,
            silence_count: 0,
        };
        for name in ["gateway", "worker", "leaf", "plain"] {
            world.start(&unit(name));
        }
        world.now = 0;
        world.cuts = cuts;
        world
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    fn moment(&self) -> Moment {
        let ns = |ms: i64| u64::try_from(ms).unwrap() * 1_000_000;
        let up = self.now - self.boot_at;
        Moment { mono: Mono(ns(up - self.slept)), boot_ns: ns(up), wall_ms: BASE_MS + self.now }
    }

    pub(super) fn tell(&mut self, heard: Heard<'_>) {
        let boot_id = self.boot_id();
        let changes = self.machine.step(HeardAt { boot_id: &boot_id, at: self.moment() }, heard);
        for change in changes {
            match change {
                AlertChange::Keep(alert) => {
                    self.stored.keeps += 1;
                    self.stored.alerts.insert(alert.id.clone(), *alert);
                }
                // Sinks that take everything have heard of it.
                AlertChange::Tell(notice) if notice.beyond.is_some() => self.stored.worse.push(*notice),
                AlertChange::Tell(notice) => self.stored.notices.push(*notice),
                AlertChange::Record { event, data, .. } => self.stored.rows.push((event, data)),
                AlertChange::KeepSilence(silence) => {
                    self.stored.silences.insert(silence.id, silence);
                }
                AlertChange::DropSilence(id) => {
                    self.stored.silences.remove(&id);
                }
                AlertChange::Stopped(name, at) => {
                    self.stored.stopped.insert(name, at);
                }
                AlertChange::KeepKind(kind) => {
                    self.stored.kinds.insert((kind.service.clone(), kind.fingerprint.clone()), kind);
                }
            }
        }
    }

    /// The daemon is gone, and the next begins from what is on record.
    pub(super) fn restart(&mut self) {
        let open = self.stored.alerts.values().filter(|alert| alert.is_open()).cloned().collect();
        let silences = self.stored.silences.values().cloned().collect();
        let kinds = self.stored.kinds.values().cloned().collect();
        let stopped = self.stored.stopped.clone().into_iter().collect();
        self.machine = AlertMachine::new(self.declared.clone(), Remembered { open, silences, kinds, stopped });
        let from = self.machine.past_from(BASE_MS + self.now);
        for record in self.records.clone().iter().filter(|record| record.wall_ms >= from) {
            self.tell(Heard::Past("r", record));
        }
        if let Some(since) = self.sick_since {
            self.tell(Heard::Database(Some((since, "disk full"))));
        }
    }

    /// Time passes, and the machine is woken as it asks to be.
    pub(super) fn advance(&mut self, to: i64) {
        assert!(to >= self.now, "time does not go back: {to} after {}", self.now);
        let mut idle = 0;
        loop {
            let boot_id = self.boot_id();
            let due = self.machine.due(HeardAt { boot_id: &boot_id, at: self.moment() });
            let Some(due) = due.map(|due| due - BASE_MS).filter(|due| *due <= to) else { break };
            idle = if due > self.now { 0 } else { idle + 1 };
            assert!(idle < 4, "the machine asks for the same moment again and again");
            self.now = self.now.max(due);
            self.tell(Heard::Tick);
        }
        self.now = to;
    }

    pub(super) fn sleep(&mut self, ms: i64) {
        self.now += ms;
        self.slept += ms;
        self.tell(Heard::Tick);
    }

    pub(super) fn reboot(&mut self, ms: i64) {
        self.now += ms;
        (self.boot, self.boot_at, self.slept) = (self.boot + 1, self.now - 1000, 0);
        self.restart();
    }

    pub(super) fn record(&mut self, event: EventType, service: Option<&UnitName>, data: Value) {
        let at = self.moment();
        let Value::Object(data) = data else { panic!("not an object") };
        let record = Record {
            v: 1,
            boot_id: self.boot_id(),
            seq: self.records.len() as u64 + 1,
            wall_ms: at.wall_ms,
            boot_ns: at.boot_ns,
            mono: Some(at.mono),
            event,
            service: service.cloned(),
            data,
        };
        self.records.push(record.clone());
        self.tell(Heard::Record("r", &record));
    }

    pub(super) fn start(&mut self, name: &UnitName) {
        let run = self.runs.entry(name.clone()).or_default();
        *run += 1;
        let mut data = json!({ "run_id": *run, "pid": 7 });
        if let Some(program) = self.programs.get(name) {
            data["program"] = "/opt/program".into();
            data["program_id"] = program.clone().into();
        }
        self.started.insert(name.clone(), self.now);
        self.record(EventType::ServiceStart, Some(name), data);
    }

    pub(super) fn end(&mut self, name: &UnitName, class: &str, more: Value) {
        let uptime = self.now - self.started.get(name).copied().unwrap_or(self.now);
        let mut data = json!({ "run_id": self.runs[name], "class": class, "uptime_ms": uptime, "exit_code": 1 });
        for (key, value) in more.as_object().unwrap() {
            data[key] = value.clone();
        }
        let event = match class {
            "requested" | "recycled" | "refused" => EventType::ServiceExit,
            "lost" => EventType::ServiceLost,
            _ => EventType::ServiceCrash,
        };
        self.record(event, Some(name), data);
    }
}
