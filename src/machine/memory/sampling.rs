//! When the tree of a run is looked at, and what of a look goes to the detectors.

use std::time::Duration;

use super::kept::{MemoryKept, Slept};
use super::restart::Waiting;
use super::{MemoryAct, MemoryMachine, Step};
use crate::model::{Growth, Life, MemorySample, MemorySpec, Metric, Moment, Mono, RunView, Status, stable_hash};
use crate::policy::limit::{Level, Stage};
use crate::policy::trend::{Point, Trend, TrendSpec};

/// A run is looked at for the first time within this ...
const FIRST: Duration = Duration::from_secs(10);

/// ... and at least so often while it is near its limit: with an hour between two samples the machine would be full first.
const TENSE: Duration = Duration::from_secs(60);

/// What nobody uses, bytes: such a number was misread.
const ABSURD: u64 = 1 << 50;

/// What is known of the run that is there.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) run_id: u64,
    pub(super) pid: i32,
    pub(super) started_ms: i64,
    /// When it is looked at next.
    pub(super) next: Mono,
    /// Its place among the services: so they are not all looked at at once.
    phase: f64,
    pub(super) level: Level,
    pub(super) newest: Option<Newest>,
    /// What a restart of it waits for.
    pub(super) waiting: Option<Waiting>,
}

/// What of the last look is asked for later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    pub(super) at: Moment,
    pub(super) bytes: u64,
    pub(super) metric: Metric,
    pub(super) processes: u32,
    /// By its own word.
    pub(super) heap: Option<u64>,
    /// What its growth comes to first, where it is known.
    pub(super) end: Option<End>,
    minute: u16,
}

/// Where growth ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At the limit.
    Limit,
    /// Where the machine has no more.
    Machine,
}

impl Newest {
    /// The minute of the day that it is by now.
    pub(super) fn minute(&self, now: Moment) -> u16 {
        const MINUTE: u64 = 60_000_000_000;
        let since = now.boot_ns.saturating_sub(self.at.boot_ns) / MINUTE;
        u16::try_from((u64::from(self.minute) + since) % 1440).unwrap_or(self.minute)
    }
}

/// A look at the tree.
pub(super) struct Looked {
    pub(super) sample: Option<(MemorySample, Life)>,
    pub(super) free: Option<u64>,
    pub(super) heap: Option<Result<f64, String>>,
    pub(super) requests: Option<Result<f64, String>>,
    pub(super) minute: u16,
}

/// What goes to the detectors.
pub(super) struct Points {
    pub(super) tree: Point,
    pub(super) heap: Option<Point>,
    /// Whether the last ones were of another life.
    pub(super) is_new_life: bool,
}

/// The detectors.
#[derive(Debug, Clone, Default)]
pub(super) struct Trends {
    pub(super) tree: Trend,
    pub(super) heap: Option<Trend>,
}

/// What the detectors say after a sample.
#[derive(Debug, Clone, Default)]
pub(super) struct Judged {
    pub(super) tree: Said,
    pub(super) heap: Said,
}

/// What one detector says.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// Growth that is to be told.
    pub(super) new: Option<Growth>,
    /// Whether what was told goes on.
    pub(super) stands: bool,
}

impl Trends {
    pub(super) fn judge(&mut self, spec: &MemorySpec, points: &Points) -> Judged {
        let say = |trend: &mut Trend, spec: &TrendSpec, point: Point| {
            let new = trend.sample(spec, point);
            Said { new, stands: trend.told().is_some() }
        };
        let of_tree = TrendSpec { growth: spec.growth, plateau: spec.plateau, recycle: spec.recycle };
        let tree = say(&mut self.tree, &of_tree, points.tree);
        // The cap is of the whole tree.
        let of_heap = TrendSpec { plateau: None, ..of_tree };
        if spec.heap.is_none() {
            self.heap = None;
        }
        let heap = match (points.heap, &mut self.heap) {
            (Some(point), trend) => say(trend.get_or_insert_default(), &of_heap, point),
            // What grew in another life is over, also while this one does not tell its heap yet.
            (None, Some(trend)) => Said { new: None, stands: !points.is_new_life && trend.told().is_some() },
            (None, None) => Said::default(),
        };
        Judged { tree, heap }
    }
}

impl Run {
    fn new(view: &RunView, pid: i32, at: Moment, interval: Duration) -> Self {
        let mut run = Self {
            run_id: view.run_id,
            pid,
            started_ms: view.started_ms.unwrap_or(at.wall_ms),
            next: at.mono,
            phase: phase(view.name.as_str()),
            level: Level::default(),
            newest: None,
            waiting: None,
        };
        run.next = run.soon(at.mono, interval);
        run
    }

    /// Takes up where a daemon before us left off.
    pub(super) fn resume(&mut self, kept: &MemoryKept) {
        if let Some(told) = kept.level.filter(|told| told.run_id == self.run_id) {
            self.level = Level::at(told.stage);
        }
    }

    /// A moment in the near future, another one for each service.
    pub(super) fn soon(&self, now: Mono, interval: Duration) -> Mono {
        now.plus(interval.min(FIRST).mul_f64(self.phase))
    }

    /// The next moment of this service: the same in each interval, whenever it was started.
    fn next_after(&self, now: Mono, interval: Duration) -> Mono {
        let every = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let offset = u64::try_from(interval.mul_f64(self.phase).as_nanos()).unwrap_or(0);
        let earliest = now.0.saturating_add(every / 2);
        let number = earliest.saturating_sub(offset).div_ceil(every);
        Mono(offset.saturating_add(number.saturating_mul(every)))
    }
}

impl MemoryMachine {
    pub(super) fn on_view(&mut self, view: &RunView, at: Moment) {
        let pid = view.pid.filter(|_| matches!(view.status, Status::Starting | Status::Up));
        let Some(pid) = pid else {
            // One that is being stopped is neither looked at nor restarted.
            self.run = None;
            return;
        };
        if self.run.as_ref().is_none_or(|run| (run.run_id, run.pid) != (view.run_id, pid)) {
            let mut run = Run::new(view, pid, at, self.spec.interval);
            run.resume(&self.kept);
            self.run = Some(run);
        }
    }

    /// Says when the tree of this run is looked at next.
    pub(super) fn plan(&mut self, run_id: u64, now: Mono) {
        let bounds = self.bounds();
        let Some(run) = self.run.as_mut().filter(|run| run.run_id == run_id) else { return };
        let is_tense = bounds.is_some_and(|bounds| run.level.is_tense(bounds) || run.level.stage() == Stage::Over);
        let interval = if is_tense { self.spec.interval.min(TENSE) } else { self.spec.interval };
        run.next = run.next_after(now, interval);
    }

    pub(super) fn on_look(
        &mut self,
        run_id: u64,
        looked: Looked,
        step: &mut Step,
        judge: impl FnOnce(&mut Trends, &MemorySpec, &Points) -> Judged,
    ) {
        let Looked { sample, free, heap, requests, minute } = looked;
        let Some(run) = self.run.as_mut().filter(|run| run.run_id == run_id) else { return };
        // Without its main process it is about to end: the runner will say so. What cannot be is not taken for a fall or a leak.
        let Some((sample, life)) = sample.filter(|(sample, _)| (1..ABSURD).contains(&sample.bytes)) else { return };
        let (bytes, metric) = (sample.bytes, sample.metric);
        let to_limit = self.spec.limit.map(|limit| (limit.saturating_sub(bytes), End::Limit));
        let room =
            [to_limit, free.map(|free| (free, End::Machine))].into_iter().flatten().min_by_key(|(room, _)| *room);
        let heap =
            heap.map(|told| told.and_then(|told| whole(told).ok_or(format!("it tells {told}, which is no heap"))));
        let served =
            |told: f64| if told.is_finite() && told >= 0.0 { Ok(told) } else { Err(format!("it tells {told}")) };
        let ((heap, no_heap), (requests, no_requests)) =
            (split(heap), split(requests.map(|told| told.and_then(served))));
        self.troubles.note("heap", no_heap, sample.at.wall_ms);
        self.troubles.note("requests", no_requests, sample.at.wall_ms);
        let is_new_life = self.life.as_ref() != Some(&life);
        match run.newest {
            _ if is_new_life => self.kept.slept.clear(),
            Some(before) => self.is_dirty |= Slept::note(&mut self.kept.slept, before.at, sample.at),
            None => {}
        }
        run.newest = Some(Newest {
            at: sample.at,
            bytes,
            metric,
            processes: sample.count,
            heap,
            end: room.map(|(_, end)| end),
            minute: minute % 1440,
        });
        let tree = Point {
            awake: seconds(sample.at.mono),
            wall: wall_seconds(sample.at.wall_ms),
            bytes,
            life: number_of(&life, metric),
            room: room.map(|(room, _)| room),
            requests,
        };
        let heap = heap.map(|bytes| Point { bytes, room: None, ..tree });
        step.acts.push(MemoryAct::Keep { run_id, life: life.clone(), sample });
        let judged = judge(&mut self.trends, &self.spec, &Points { tree, heap, is_new_life });
        if is_new_life {
            self.life = Some(life);
            self.is_dirty = true;
        }
        self.on_judged(judged, step);
        self.on_level(bytes, free, step);
        self.consider(None, step);
    }
}

/// What was told, and why it was not.
pub(super) fn split<T>(told: Option<Result<T, String>>) -> (Option<T>, Option<String>) {
    match told {
        Some(Ok(told)) => (Some(told), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    }
}

/// Seconds of the awake clock. A float holds the milliseconds of any time that a machine is up.
fn seconds(at: Mono) -> f64 {
    Duration::from_nanos(at.0).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a float holds every millisecond of the next 285,000 years")]
fn wall_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A number of bytes that a service tells; `None` for what cannot be one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and within bounds")]
fn whole(bytes: f64) -> Option<u64> {
    const MOST: f64 = (1_u64 << 50) as f64;
    (1.0..MOST).contains(&bytes).then_some(bytes as u64)
}

/// A number that stands for a life: it is written down.
fn number_of(life: &Life, metric: Metric) -> u64 {
    let boot = life.boot_id.bytes();
    let process = life.pid.to_le_bytes().into_iter().chain(life.start.to_le_bytes());
    stable_hash(boot.chain(process).chain(metric.as_str().bytes()))
}

/// Which part of each interval has gone by when a service of this name is looked at.
fn phase(name: &str) -> f64 {
    // The last bits of this sum hardly mix; the upper ones do after another round.
    let mixed = stable_hash(name.bytes().chain(*b"phase"));
    f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}
