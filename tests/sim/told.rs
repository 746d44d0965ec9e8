//! Who is told: the real `AlertMachine` over the rows of the ledger (mirrors src/daemon/alarms.rs), held against a plain count.
//! What it changes is on record with the row it comes from, so a daemon that is killed takes nothing of it along.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use supervisor::machine::alerts::{AlertMachine, Declared, DeclaredUnit, Heard};
use supervisor::model::{
    Alert, AlertChange, AlertSpec, Cause, CrashKind, CrashWindow, EventType, HeardAt, Notice, NoticeKind, Record,
    Remembered, RunView, ServiceSpec, Status, StoppedAt, UnitName,
};

use crate::clock::Clock;

/// Rows of which a new daemon is told; more than any window counts.
const PAST: usize = 4000;

/// An end that counts: in which boot, when on its awake clock (nanoseconds), and by the wall clock (milliseconds).
#[derive(Debug, Clone)]
struct End {
    boot: String,
    mono: u64,
    wall_ms: i64,
}

impl End {
    /// The oldest still counts at exactly this age. How long another boot slept nobody knows.
    fn is_within(&self, now: &Self, window: Duration) -> bool {
        let age = if self.boot == now.boot {
            Duration::from_nanos(now.mono.saturating_sub(self.mono))
        } else {
            Duration::from_millis(u64::try_from(now.wall_ms - self.wall_ms).unwrap_or(0))
        };
        age <= window
    }
}

/// One service by a plain count.
#[derive(Debug, Default)]
struct Counted {
    ends: BTreeMap<Cause, Vec<End>>,
    /// The boot in which it was started last, while it runs.
    runs_in: Option<String>,
    ordered: bool,
    down: bool,
    /// What ended until then counts no more, also when it is taken in later.
    stopped: Option<End>,
}

pub struct Told {
    declared: Declared,
    /// While a daemon lives.
    machine: Option<AlertMachine>,
    open: BTreeMap<String, Alert>,
    kinds: BTreeMap<(UnitName, String), CrashKind>,
    stopped: BTreeMap<UnitName, StoppedAt>,
    past: VecDeque<Record>,
    counted: BTreeMap<UnitName, Counted>,
    /// What does not hold.
    pub wrong: Option<String>,
}

impl Told {
    pub fn new(services: &[ServiceSpec]) -> Self {
        let unit = |spec: &ServiceSpec| DeclaredUnit {
            zone: None,
            after: Vec::new(),
            start_timeout: spec.start_timeout,
            min_uptime: spec.min_uptime,
            has_ready: spec.health.is_some(),
        };
        let units = services.iter().map(|spec| (spec.name.clone(), unit(spec))).collect();
        Self {
            declared: Declared { spec: AlertSpec::default(), units },
            machine: None,
            open: BTreeMap::new(),
            kinds: BTreeMap::new(),
            stopped: BTreeMap::new(),
            past: VecDeque::new(),
            counted: BTreeMap::new(),
            wrong: None,
        }
    }

    /// A new daemon reads what the last one has left.
    pub fn begin(&mut self, clock: &Clock) {
        let remembered = Remembered {
            open: self.open.values().filter(|alert| alert.is_open()).cloned().collect(),
            silences: Vec::new(),
            kinds: self.kinds.values().cloned().collect(),
            stopped: self.stopped.clone().into_iter().collect(),
        };
        let mut machine = AlertMachine::new(self.declared.clone(), remembered);
        let from = machine.past_from(clock.moment().wall_ms);
        for record in self.past.iter().filter(|record| record.wall_ms >= from) {
            machine.step(HeardAt { boot_id: &record.boot_id, at: record.at() }, Heard::Past("r", record));
        }
        self.machine = Some(machine);
        for counted in self.counted.values_mut() {
            counted.down = false;
        }
    }

    pub fn end(&mut self) {
        self.machine = None;
    }

    /// When the rules want to look at the clock, in the story's time.
    pub fn due(&self, clock: &Clock) -> Option<u64> {
        let (boot_id, at) = (clock.boot_id(), clock.moment());
        let due = self.machine.as_ref()?.due(HeardAt { boot_id: &boot_id, at })?;
        Some(clock.now + u64::try_from(due - at.wall_ms).unwrap_or(0) * 1_000_000)
    }

    pub fn tick(&mut self, clock: &Clock) {
        if self.due(clock).is_some_and(|due| due <= clock.now) {
            let told = self.hear(clock, Heard::Tick);
            if let Some(notice) = told.iter().find(|notice| notice.kind == NoticeKind::Fired && is_loop(notice)) {
                self.wrong.get_or_insert(format!("the clock alone made {} fire", notice.alert.title));
            }
        }
    }

    /// A runner has told how a service is.
    pub fn saw(&mut self, clock: &Clock, view: &RunView) {
        let counted = self.counted.entry(view.name.clone()).or_default();
        let is_down = view.status == Status::Down && !view.intent.up;
        if is_down && !std::mem::replace(&mut counted.down, is_down) {
            if counted.runs_in.as_deref() != Some(&clock.boot_id()) {
                let at = clock.moment();
                counted.ends.clear();
                counted.stopped = Some(End { boot: clock.boot_id(), mono: at.mono.0, wall_ms: at.wall_ms });
            }
            self.hear(clock, Heard::Stopped(&view.name));
        }
        self.counted.entry(view.name.clone()).or_default().down = is_down;
    }

    /// A row is in the ledger: it is told if and only if it crosses a window, or one is crossed already.
    pub fn row(&mut self, clock: &Clock, record: &Record) {
        let told = self.hear(clock, Heard::Record("r", record));
        self.past.push_back(record.clone());
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        let Some(name) = &record.service else { return };
        let Some(cause) = self.count(name, record) else { return };
        let spec = &self.declared.spec;
        let ends = &self.counted[name].ends[&cause];
        let Some(now) = ends.last() else { return };
        let is_full = |window: &CrashWindow| {
            let inside = ends.iter().rev().take_while(|end| end.is_within(now, window.within)).count();
            inside >= window.count as usize
        };
        let crossed = [spec.crash_loop, spec.storm].iter().chain(&spec.slow_loop).any(is_full);
        let fired = told.iter().any(|n| n.kind == NoticeKind::Fired && is_loop(n) && n.alert.cause == Some(cause));
        let is_open = self
            .machine
            .iter()
            .flat_map(AlertMachine::open)
            .any(|alert| alert.service.as_ref() == Some(name) && alert.cause == Some(cause));
        let count = ends.len();
        if crossed && !is_open {
            self.wrong
                .get_or_insert(format!("{name}: a window of {cause:?} is crossed, and nobody is told: {record:?}"));
        }
        if fired && !crossed {
            self.wrong.get_or_insert(format!("{name}: {count} of {cause:?} cross no window, and it fired: {told:?}"));
        }
    }

    /// The plain count; the cause, if it counts.
    fn count(&mut self, name: &UnitName, record: &Record) -> Option<Cause> {
        let word = |key: &str| record.data.get(key).and_then(serde_json::Value::as_str);
        let min_uptime = self.declared.units[name].min_uptime;
        let counted = self.counted.entry(name.clone()).or_default();
        match record.event {
            EventType::ServiceStart => {
                counted.runs_in = Some(record.boot_id.clone());
                counted.ordered = false;
            }
            EventType::RunnerAdopted if counted.runs_in.as_ref() != Some(&record.boot_id) => {
                counted.runs_in = Some(record.boot_id.clone());
                counted.ordered = false;
            }
            EventType::ServiceRestart => counted.ordered = true,
            _ => {}
        }
        if !record.event.is_run_end() {
            return None;
        }
        counted.runs_in = None;
        let uptime = record.data.get("uptime_ms").and_then(serde_json::Value::as_u64);
        let cause = match word("class")? {
            "crash" => Cause::Crash,
            "hung" => Cause::Hung,
            "start_timeout" => Cause::StartTimeout,
            "over_memory" => Cause::OverMemory,
            "recycled" if Duration::from_millis(uptime?) < min_uptime => Cause::CleanExit,
            "requested" => {
                let ordered = std::mem::take(&mut counted.ordered);
                if word("cause") == Some("operator") && !ordered {
                    counted.ends.clear();
                }
                return None;
            }
            _ => return None,
        };
        let (boot, at) = (record.boot_id.clone(), record.at());
        if let Some(stopped) = &counted.stopped {
            let before = if stopped.boot == boot { at.mono.0 <= stopped.mono } else { at.wall_ms <= stopped.wall_ms };
            if before {
                return None;
            }
        }
        let ends = counted.ends.entry(cause).or_default();
        ends.push(End { boot, mono: at.mono.0, wall_ms: at.wall_ms });
        if ends.len() > 64 {
            ends.remove(0);
        }
        Some(cause)
    }

    fn hear(&mut self, clock: &Clock, heard: Heard<'_>) -> Vec<Notice> {
        let boot_id = clock.boot_id();
        let Some(machine) = &mut self.machine else { return Vec::new() };
        let mut told = Vec::new();
        for change in machine.step(HeardAt { boot_id: &boot_id, at: clock.moment() }, heard) {
            match change {
                AlertChange::Keep(alert) if alert.is_open() => _ = self.open.insert(alert.id.clone(), *alert),
                AlertChange::Keep(alert) => {
                    if self.open.remove(&alert.id).is_none() && is_of_loop(&alert) {
                        self.wrong.get_or_insert(format!("{} is over and was never open", alert.title));
                    }
                }
                AlertChange::Tell(notice) if notice.beyond.is_none() => told.push(*notice),
                AlertChange::Stopped(name, at) => _ = self.stopped.insert(name, at),
                AlertChange::KeepKind(kind) => {
                    self.kinds.insert((kind.service.clone(), kind.fingerprint.clone()), kind);
                }
                AlertChange::Tell(_)
                | AlertChange::Record { .. }
                | AlertChange::KeepSilence(_)
                | AlertChange::DropSilence(_) => {}
            }
        }
        told
    }
}

fn is_of_loop(alert: &Alert) -> bool {
    alert.cause.is_some()
}

fn is_loop(notice: &Notice) -> bool {
    is_of_loop(&notice.alert)
}
