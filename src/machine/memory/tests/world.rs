//! A service that uses what it is told to, on clocks of its own.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::machine::ServiceMachine;
use crate::machine::memory::sampling::{Judged, Said};
use crate::machine::memory::{MemoryAct, MemoryMachine, MemorySaved, MemorySeen};
use crate::machine::words::Reader;
use crate::model::{
    EventType, Growth, Intent, Life, MemoryInfo, MemorySample, MemorySpec, MemoryVerdict, Metric, Moment, Mono,
    OnGrowth, ProbeKind, ProbeSpec, ProcessMemory, RunView, ServiceSpec, Signal, Status, UnitName,
};
use crate::policy::gap::Gap;

pub(super) const S: Duration = Duration::from_secs(1);
pub(super) const M: Duration = Duration::from_secs(60);
pub(super) const H: Duration = Duration::from_secs(3600);
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// 12:00 UTC of some day.
const WALL_MS: i64 = 1_795_348_800_000;

pub(super) fn spec() -> MemorySpec {
    MemorySpec {
        growth: None,
        limit: None,
        interval: M,
        plateau: None,
        recycle: None,
        on_growth: OnGrowth::Alert,
        idle: None,
        quiet: Vec::new(),
        max_wait: 24 * H,
        ceiling: None,
        heap: None,
        requests: None,
        snapshot_signal: None,
    }
}

/// One with a limit of 1 GiB, and a quarter beyond.
pub(super) fn limited() -> MemorySpec {
    MemorySpec { limit: Some(GIB), ceiling: Some(GIB + GIB / 4), ..spec() }
}

pub(super) fn idle() -> Option<ProbeSpec> {
    let kind = ProbeKind::Exec(vec!["/bin/idle".into()]);
    Some(ProbeSpec { kind, expect_status: 200, expect_json: None })
}

pub(super) fn growth(bytes_per_hour: f64, hours_left: Option<f64>) -> Growth {
    Growth {
        verdict: MemoryVerdict::Growing,
        bytes_per_hour,
        low: bytes_per_hour * 0.9,
        high: bytes_per_hour * 1.1,
        grown: bytes_per_hour * 10.0,
        hours: 10.0,
        hours_left,
        bytes_per_request: None,
        test: "level".into(),
    }
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) machine: MemoryMachine,
    pub(super) view: RunView,
    /// What the tree uses.
    pub(super) bytes: u64,
    /// What it uses after a restart, if that helps.
    pub(super) fresh: Option<u64>,
    /// In place of that, for each look in turn.
    pub(super) next: Vec<u64>,
    pub(super) free: Option<u64>,
    pub(super) idle: Option<bool>,
    /// What it tells of its heap.
    pub(super) heap: Option<Result<f64, String>>,
    /// What the detectors say of the next sample.
    pub(super) says: Judged,
    /// How long a look takes.
    pub(super) takes: Duration,
    /// Whether restarts are carried out.
    pub(super) restarts: bool,
    /// Looks under way: when they end.
    flights: Vec<(Mono, u64)>,
    pub(super) asked: Vec<Moment>,
    pub(super) idle_asked: u32,
    pub(super) rows: Vec<(EventType, Map<String, Value>)>,
    pub(super) ordered: Vec<(Moment, u64)>,
    pub(super) kept: u32,
    pub(super) snapshots: u32,
    pub(super) saved: Vec<MemorySaved>,
}

impl World {
    pub(super) fn new(spec: MemorySpec) -> Self {
        Self::called("s", spec)
    }

    pub(super) fn called(name: &str, spec: MemorySpec) -> Self {
        let now = Moment { mono: Mono(1_000_000_000_000), boot_ns: 5_000_000_000_000, wall_ms: WALL_MS };
        let mut view = ServiceMachine::new(ServiceSpec::for_tests("s"), Intent::default()).view(now, 0);
        view.name = UnitName::new(name).unwrap();
        (view.run_id, view.pid, view.status, view.started_ms) = (1, Some(7), Status::Up, Some(now.wall_ms));
        let mut world = Self {
            now,
            machine: MemoryMachine::new(spec),
            view,
            bytes: 300 * MIB,
            fresh: Some(300 * MIB),
            next: Vec::new(),
            free: Some(8 * GIB),
            idle: None,
            heap: None,
            says: Judged::default(),
            takes: Duration::from_millis(5),
            restarts: true,
            flights: Vec::new(),
            asked: Vec::new(),
            idle_asked: 0,
            rows: Vec::new(),
            ordered: Vec::new(),
            kept: 0,
            snapshots: 0,
            saved: Vec::new(),
        };
        world.push();
        world
    }

    pub(super) fn push(&mut self) {
        self.see(MemorySeen::View(Box::new(self.view.clone())));
    }

    pub(super) fn new_run(&mut self) {
        self.view.run_id += 1;
        self.view.pid = self.view.pid.map(|pid| pid + 1);
        self.view.started_ms = Some(self.now.wall_ms);
        self.bytes = self.fresh.unwrap_or(self.bytes);
        // What stood was of the life before.
        self.says = Judged::default();
        self.push();
    }

    pub(super) fn see(&mut self, seen: MemorySeen) {
        let said = self.says.clone();
        let is_look = matches!(seen, MemorySeen::Sampled { .. });
        let acts = self.machine.step_by(self.now, seen, |_, _, _| said);
        if is_look {
            (self.says.tree.new, self.says.heap.new) = (None, None);
        }
        let restart = acts.iter().position(|act| matches!(act, MemoryAct::Restart { .. }));
        assert!(restart.is_none_or(|at| at + 1 == acts.len()), "nothing is kept after the order: {acts:?}");
        for act in acts {
            self.act(act);
        }
    }

    fn act(&mut self, act: MemoryAct) {
        match act {
            MemoryAct::Sample { run_id, pid } => {
                assert!(self.flights.is_empty(), "two looks at a time");
                assert_eq!((run_id, Some(pid)), (self.view.run_id, self.view.pid));
                self.asked.push(self.now);
                self.flights.push((self.now.mono.plus(self.takes), run_id));
            }
            MemoryAct::Keep { run_id, life, sample } => {
                assert_eq!((run_id, Some(life.pid)), (self.view.run_id, self.view.pid));
                assert!(sample.bytes > 0);
                self.kept += 1;
            }
            MemoryAct::Save(saved) => self.saved.push(*saved),
            MemoryAct::AskIdle { run_id, .. } => {
                self.idle_asked += 1;
                let idle = self.idle.ok_or_else(|| "it does not say".into());
                self.see(MemorySeen::Idle { run_id, idle });
            }
            MemoryAct::Record { event, data } => self.rows.push((event, data)),
            MemoryAct::Restart { run_id, .. } => {
                self.ordered.push((self.now, run_id));
                if self.restarts {
                    self.new_run();
                }
            }
            MemoryAct::Snapshot { run_id, pid, bytes, .. } => {
                assert_eq!((run_id, Some(pid)), (self.view.run_id, self.view.pid));
                assert!(bytes > 0);
                self.snapshots += 1;
            }
        }
    }

    /// All clocks go on.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono.plus(time);
        self.sleep(time);
    }

    /// The awake clock stands still.
    pub(super) fn sleep(&mut self, time: Duration) {
        self.now.boot_ns += u64::try_from(time.as_nanos()).unwrap();
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
    }

    pub(super) fn wakes(&mut self, slept: Duration) {
        self.sleep(slept);
        self.see(MemorySeen::Gap(Gap { slept, stalled: Duration::ZERO }));
    }

    /// Lets time go by, with everything that is due in it.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        let mut in_place = 0;
        loop {
            let landing = self.flights.first().map(|(at, _)| *at);
            let Some(next) = [self.machine.due(), landing].into_iter().flatten().min().filter(|next| *next <= end)
            else {
                return self.pass(end.since(self.now.mono));
            };
            in_place = if next > self.now.mono { 0 } else { in_place + 1 };
            assert!(in_place < 50, "it is due without end");
            self.pass(next.since(self.now.mono));
            if landing.is_some_and(|at| at <= self.now.mono) {
                let (_, run_id) = self.flights.remove(0);
                self.answer(run_id);
            } else {
                self.see(MemorySeen::Tick);
            }
        }
    }

    /// A look at this run ends.
    pub(super) fn answer(&mut self, run_id: u64) {
        let bytes = if self.next.is_empty() { self.bytes } else { self.next.remove(0) };
        let pid = self.view.pid.unwrap_or(7);
        let sample = MemorySample {
            at: self.now,
            metric: Metric::AnonSwap,
            bytes,
            processes: vec![ProcessMemory { pid, start: 1, bytes }],
            count: 1,
        };
        let life = Life { boot_id: "boot".into(), pid, start: 1 };
        let minute = u16::try_from(self.now.wall_ms.rem_euclid(86_400_000) / 60_000).unwrap();
        let (free, sample, life) = (self.free, Some(sample), Some(life));
        self.see(MemorySeen::Sampled { run_id, sample, life, free, heap: self.heap.clone(), requests: None, minute });
    }

    /// The detector begins to tell of growth.
    pub(super) fn grows(&mut self, growth: Growth) {
        self.says.tree = Said { new: Some(growth), stands: true };
    }

    /// What a daemon after this one begins with.
    pub(super) fn successor(&mut self) {
        let saved = self.saved.last().cloned().map(Box::new);
        self.flights.clear();
        self.machine = MemoryMachine::new(self.machine.spec().clone());
        if let Some(saved) = saved {
            let text = serde_json::to_string(&saved).unwrap();
            self.see(MemorySeen::Restored(Box::new(serde_json::from_str(&text).unwrap())));
        }
        self.push();
    }

    /// The rows of a kind, each as the values of some members.
    pub(super) fn told(&self, event: EventType, keys: &[&str]) -> Vec<String> {
        let shown = |data: &Map<String, Value>| {
            let shown = keys.iter().filter_map(|key| data.get(*key)).map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        self.rows.iter().filter(|(is, _)| *is == event).map(|(_, data)| shown(data)).collect()
    }

    pub(super) fn limits(&self) -> Vec<String> {
        self.told(EventType::MemoryLimit, &["stage", "cleared", "severity", "chance"])
    }

    pub(super) fn growths(&self) -> Vec<String> {
        self.told(EventType::MemoryGrowth, &["of", "stage", "cleared", "severity", "chance"])
    }

    pub(super) fn info(&self) -> Option<MemoryInfo> {
        self.machine.info(Reader { now_ms: self.now.wall_ms, zone: &TimeZone::UTC })
    }

    pub(super) fn waiting(&self) -> String {
        self.info().and_then(|info| info.waiting).unwrap_or_default()
    }
}

pub(super) fn prof() -> Option<Signal> {
    Signal::parse("PROF")
}
