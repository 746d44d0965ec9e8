//! What rows of the ledger come to, service by service and job by job.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::{EventType, ExitClass, RestartCounts, SlotState, UnitName};
use crate::store::EventRow;

/// Runners and daemon come up within this of each other: records among them tell nothing of who was there before.
const TOGETHER_MS: i64 = 120_000;

/// One service.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ServicePart {
    /// How long it was up, milliseconds.
    pub(super) up_ms: i64,
    /// How long nobody knows, milliseconds: its end was seen by nobody.
    pub(super) unknown_ms: i64,
    /// How its runs ended.
    pub(super) ends: RestartCounts,
    /// How often it was silent for too long.
    pub(super) hangs: u64,
    /// How often its memory was told to grow, and how often it was above its limit.
    pub(super) leaks: (u64, u64),
    /// How long its starts took, milliseconds, in order.
    pub(super) starts_ms: Vec<i64>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Folded {
    pub(super) services: BTreeMap<UnitName, ServicePart>,
    /// How slots ended, by job.
    pub(super) jobs: BTreeMap<UnitName, BTreeMap<SlotState, u64>>,
    /// How long the machine slept, milliseconds.
    pub(super) slept_ms: i64,
    /// How often the daemon was started.
    pub(super) daemon_starts: u64,
}

/// How a service stands while rows are read.
#[derive(Debug, Clone, Copy)]
enum Standing {
    Up(i64),
    Down,
}

/// Reads rows one by one, in the order of time.
pub(super) struct Fold {
    from_ms: i64,
    folded: Folded,
    standing: BTreeMap<UnitName, Standing>,
    /// The last time that anybody wrote anything before the supervisor came up, and when it did.
    gap: (i64, i64),
    last_ms: i64,
    /// Slots whose end has been counted: one may be told twice.
    slots: BTreeSet<(UnitName, String)>,
}

impl Fold {
    pub(super) fn new(from_ms: i64) -> Self {
        Self {
            from_ms,
            folded: Folded::default(),
            standing: BTreeMap::new(),
            gap: (from_ms, i64::MIN),
            last_ms: from_ms,
            slots: BTreeSet::new(),
        }
    }

    pub(super) fn row(&mut self, row: &EventRow) {
        let at = row.timestamp_ms.max(self.from_ms);
        let kind = EventType::parse(&row.event_type);
        let service = row.service_name.as_deref().and_then(|name| UnitName::new(name).ok());
        match (kind, service) {
            (Some(EventType::SupervisorStart), _) => {
                self.folded.daemon_starts += 1;
                self.came_up(at);
            }
            (Some(EventType::RunnerStarted), _) => self.came_up(at),
            (Some(EventType::ClockGap), _) => {
                self.folded.slept_ms += row.metadata["slept_ms"].as_i64().unwrap_or(0).max(0);
            }
            (Some(kind), Some(name)) => self.of_unit(kind, name, at, &row.metadata),
            _ => {}
        }
        self.last_ms = at;
    }

    fn came_up(&mut self, at: i64) {
        if at.saturating_sub(self.gap.1) > TOGETHER_MS {
            self.gap = (self.last_ms, at);
        }
    }

    fn of_unit(&mut self, kind: EventType, name: UnitName, at: i64, data: &Value) {
        match kind {
            EventType::TaskFinished => return self.finished(name, data),
            EventType::TaskMissed => {
                let count = data["count"].as_u64().unwrap_or(1);
                return self.slot(name, data, count);
            }
            EventType::TaskStarted => return,
            _ => {}
        }
        let part = self.folded.services.entry(name.clone()).or_default();
        match kind {
            EventType::ServiceStart => {
                // Up already: the end between was not put on record.
                let since = match self.standing.get(&name) {
                    Some(Standing::Up(since)) => *since,
                    _ => at,
                };
                self.standing.insert(name, Standing::Up(since));
            }
            EventType::ServiceCrash | EventType::ServiceExit | EventType::ServiceLost => {
                let since = match self.standing.insert(name, Standing::Down) {
                    Some(Standing::Up(since)) => since,
                    Some(Standing::Down) => at,
                    // The first that is heard of it: it was up all the time.
                    None => self.from_ms,
                };
                let class = ExitClass::ALL.into_iter().find(|class| data["class"] == class.as_str());
                if let Some(class) = class {
                    *part.ends.of(class) += 1;
                }
                let seen = if kind == EventType::ServiceLost { self.gap.0.clamp(since, at) } else { at };
                part.up_ms += seen - since;
                part.unknown_ms += at - seen;
            }
            EventType::ServiceReady => part.starts_ms.extend(data["start_ms"].as_i64()),
            EventType::ServiceHung => part.hangs += 1,
            EventType::MemoryGrowth => part.leaks.0 += 1,
            EventType::MemoryLimit => part.leaks.1 += 1,
            _ => {}
        }
    }

    fn finished(&mut self, name: UnitName, data: &Value) {
        let slot = data["slot"].as_str().unwrap_or_default().to_owned();
        if slot.is_empty() || self.slots.insert((name.clone(), slot)) {
            self.slot(name, data, 1);
        }
    }

    fn slot(&mut self, name: UnitName, data: &Value, count: u64) {
        if let Some(state) = data["result"].as_str().and_then(SlotState::parse) {
            *self.folded.jobs.entry(name).or_default().entry(state).or_default() += count;
        }
    }

    /// The services that rows have told something of, but not whether they were up.
    pub(super) fn knows(&self, name: &UnitName) -> bool {
        self.standing.contains_key(name)
    }

    /// It was up all the time, as its last start was before.
    pub(super) fn was_up(&mut self, name: UnitName) {
        self.folded.services.entry(name.clone()).or_default();
        self.standing.insert(name, Standing::Up(self.from_ms));
    }

    pub(super) fn end(mut self, to_ms: i64) -> Folded {
        for (name, standing) in self.standing {
            if let Standing::Up(since) = standing {
                self.folded.services.entry(name).or_default().up_ms += to_ms.saturating_sub(since).max(0);
            }
        }
        self.folded
    }
}
