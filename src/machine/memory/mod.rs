//! The daemon's side of one service's memory: when it is looked at, what is told, and when it is restarted for it.
//!
//! Whether it grows is [`policy::trend`](crate::policy::trend)'s to say; what is too much, and when a restart may be,
//! [`policy::limit`](crate::policy::limit)'s. This machine puts them together, and outlives the daemon by [`MemorySaved`].
//!
//! ```text
//!   run seen ──► Sample each interval ──► Keep
//!                        ├─► trend: grows ──► memory_growth, Snapshot ── on_growth ──┐
//!                        └─► level: near, over ──► memory_limit ─────────────────────┤
//!                                          idle, quiet, waited, above the ceiling ◄──┘──► Restart
//! ```

mod growth;
mod info;
mod kept;
mod restart;
mod sampling;
#[cfg(test)]
mod tests;
mod troubles;

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use self::kept::MemoryKept;
use self::restart::Waiting;
use self::sampling::{Judged, Points, Run, Trends};
use self::troubles::Troubles;
use crate::model::{EventType, Life, MemorySample, MemorySpec, Moment, Mono, RunView, Signal, StopCause};
use crate::policy::gap::Gap;
use crate::policy::trend::Trend;

/// How often the state is put by for a later daemon while nothing happens: what a sample adds is not worth a write.
const SAVE_EVERY: Duration = Duration::from_secs(15 * 60);

/// A heap snapshot that has not come by then is not waited for.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(10 * 60);

/// One service's memory.
#[derive(Debug, Clone)]
pub struct MemoryMachine {
    spec: MemorySpec,
    /// Whether restarts may be held back; `throttle = "0s"` says no.
    spaced: bool,
    /// Whether it is started again once it has ended: without that it is told what is too much, and never ended for it.
    restarts: bool,
    trends: Trends,
    kept: MemoryKept,
    /// What the trends know last.
    life: Option<Life>,
    /// Whether something is to be put by at once.
    is_dirty: bool,
    saved: Option<Mono>,
    run: Option<Run>,
    /// A look at the tree is under way.
    sampling: Option<Flight>,
    /// The question whether it is idle is under way.
    asking: Option<Flight>,
    /// A heap snapshot is being written, since then.
    snapshot: Option<Mono>,
    troubles: Troubles,
}

/// Something asked for, and not answered yet.
#[derive(Debug, Clone, Copy)]
struct Flight {
    run_id: u64,
    /// We slept since: what comes of it says nothing.
    is_void: bool,
}

impl Flight {
    /// Takes the answer: whether it is one about this run.
    fn land(flight: &mut Option<Self>, run_id: u64) -> bool {
        flight.take().is_some_and(|flight| flight.run_id == run_id && !flight.is_void)
    }

    fn void(flight: &mut Option<Self>) {
        if let Some(flight) = flight {
            flight.is_void = true;
        }
    }
}

/// One step's surroundings.
struct Step {
    at: Moment,
    acts: Vec<MemoryAct>,
    /// The run that is to be restarted, after all else.
    restart: Option<u64>,
}

impl Step {
    fn record(&mut self, event: EventType, data: Value) {
        if let Value::Object(data) = data {
            self.acts.push(MemoryAct::Record { event, data });
        }
    }
}

/// What of it outlives the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemorySaved {
    /// Of which life; in another one only what is known of former lives is of use.
    pub life: Life,
    /// The detector.
    #[serde(default, deserialize_with = "or_new")]
    pub trend: Trend,
    /// The detector of the heap, where the service tells it.
    #[serde(default, deserialize_with = "or_new")]
    pub heap: Option<Trend>,
    /// What was told and done.
    #[serde(default)]
    pub kept: MemoryKept,
}

/// A detector of another version's form is learned anew: what was told and done is not to be lost with it.
fn or_new<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

/// What is told to it.
#[derive(Debug, Clone, PartialEq)]
pub enum MemorySeen {
    /// The runner's view changed.
    View(Box<RunView>),
    /// The runner is gone; nothing is known until it is back.
    RunnerGone,
    /// What was known when a daemon last ran.
    Restored(Box<MemorySaved>),
    /// The tree was looked at.
    Sampled {
        /// For which run.
        run_id: u64,
        /// What was seen; `None` when its main process is gone.
        sample: Option<MemorySample>,
        /// The main process, known over restarts.
        life: Option<Life>,
        /// Memory that the machine has left, bytes, where it tells.
        free: Option<u64>,
        /// Heap in use, bytes, where it is declared, or why it was not told.
        heap: Option<Result<f64, String>>,
        /// Requests served, where it is declared, or why they were not told.
        requests: Option<Result<f64, String>>,
        /// The minute of the day, local time.
        minute: u16,
    },
    /// It was asked whether it is idle; an error tells why it did not say.
    Idle {
        /// Which run.
        run_id: u64,
        /// What it says.
        idle: Result<bool, String>,
    },
    /// A heap snapshot was asked for by the operator.
    SnapshotWanted,
    /// The heap snapshot is written, or why it is not.
    SnapshotTaken {
        /// Of which run.
        run_id: u64,
        /// The file, or why there is none.
        taken: Result<String, String>,
    },
    /// We did not run for a while.
    Gap(Gap),
    /// The daemon is about to end: whatever is known is put by.
    Ending,
    /// The moment of [`MemoryMachine::due`] has come.
    Tick,
}

/// What the daemon is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum MemoryAct {
    /// Look at the tree (and ask for the declared figures); answer with `Sampled`.
    Sample {
        /// The run it is for.
        run_id: u64,
        /// Its main process.
        pid: i32,
    },
    /// Keep this sample in the history.
    Keep {
        /// Of which run.
        run_id: u64,
        /// Of which life.
        life: Life,
        /// The sample.
        sample: MemorySample,
    },
    /// Keep this for a later daemon, in place of what was kept.
    Save(Box<MemorySaved>),
    /// Ask whether it is idle; answer with `Idle`.
    AskIdle {
        /// The run it is for.
        run_id: u64,
        /// For how long.
        timeout: Duration,
    },
    /// Put it on record.
    Record {
        /// Which kind.
        event: EventType,
        /// Metadata.
        data: Map<String, Value>,
    },
    /// Have the runner restart this run, drained, once what was to be kept before is written.
    Restart {
        /// Which run.
        run_id: u64,
        /// For what.
        cause: StopCause,
    },
    /// Have its main process write a heap snapshot, where there is room for it; answer with `SnapshotTaken`. Hang verdicts wait.
    Snapshot {
        /// Which run.
        run_id: u64,
        /// Its main process.
        pid: i32,
        /// The start token of that: a pid that is used anew is not signalled.
        start: u64,
        /// By which signal.
        signal: Signal,
        /// What the tree uses now, bytes: free memory of twice as much is needed.
        bytes: u64,
    },
}

impl MemoryMachine {
    /// One that has seen nothing.
    pub fn new(spec: MemorySpec) -> Self {
        Self {
            spec,
            spaced: true,
            restarts: true,
            trends: Trends::default(),
            kept: MemoryKept::default(),
            life: None,
            is_dirty: false,
            saved: None,
            run: None,
            sampling: None,
            asking: None,
            snapshot: None,
            troubles: Troubles::default(),
        }
    }

    /// The same, and whether restarts that do not help get rarer: `throttle = "0s"` says no.
    #[must_use]
    pub fn spaced(self, spaced: bool) -> Self {
        Self { spaced, ..self }
    }

    /// The same, and whether anything starts the service again: `restart = "never"` says no.
    #[must_use]
    pub fn restarts(self, restarts: bool) -> Self {
        Self { restarts, ..self }
    }

    /// What of the declaration it goes by.
    pub fn spec(&self) -> &MemorySpec {
        &self.spec
    }

    /// One for another declaration of the same service: what is known is kept.
    pub fn redeclared(&self, spec: MemorySpec) -> Self {
        let mut new = Self { spec, troubles: Troubles::default(), ..self.clone() };
        // What was asked may have been another question, and what was waited for another thing.
        Flight::void(&mut new.asking);
        if let Some(run) = &mut new.run {
            run.waiting = None;
        }
        new
    }

    /// Takes in what was seen.
    pub fn step(&mut self, at: Moment, seen: MemorySeen) -> Vec<MemoryAct> {
        self.step_by(at, seen, Trends::judge)
    }

    /// The same, with somebody to judge the samples.
    fn step_by(
        &mut self,
        at: Moment,
        seen: MemorySeen,
        judge: impl FnOnce(&mut Trends, &MemorySpec, &Points) -> Judged,
    ) -> Vec<MemoryAct> {
        let mut step = Step { at, acts: Vec::new(), restart: None };
        match seen {
            MemorySeen::View(view) => self.on_view(&view, at),
            MemorySeen::RunnerGone => self.run = None,
            MemorySeen::Restored(saved) => self.restore(*saved, at),
            MemorySeen::Sampled { run_id, sample, life, free, heap, requests, minute } => {
                let is_ours = Flight::land(&mut self.sampling, run_id);
                let looked = sampling::Looked { sample: sample.zip(life), free, heap, requests, minute };
                // A run that has come meanwhile, or has slept, is looked at soon all the same.
                if is_ours {
                    self.on_look(run_id, looked, &mut step, judge);
                    self.plan(run_id, at.mono);
                }
            }
            MemorySeen::Idle { run_id, idle } => {
                // What was asked for another declaration decides nothing: how it stands by the new one shows the next sample.
                if Flight::land(&mut self.asking, run_id) {
                    let (idle, why) = sampling::split(Some(idle));
                    self.troubles.note("idle", why, at.wall_ms);
                    self.consider(idle, &mut step);
                }
            }
            MemorySeen::SnapshotWanted => self.on_snapshot_wanted(&mut step),
            MemorySeen::SnapshotTaken { run_id, taken } => self.on_snapshot(run_id, taken, &mut step),
            MemorySeen::Gap(_) => {
                Flight::void(&mut self.sampling);
                Flight::void(&mut self.asking);
                if let Some(run) = &mut self.run {
                    run.next = run.soon(at.mono, self.spec.interval);
                }
            }
            MemorySeen::Ending => self.is_dirty = true,
            MemorySeen::Tick => self.tick(&mut step),
        }
        self.save(&mut step);
        // A daemon that is killed soon after it is not to have forgotten it.
        step.acts.extend(step.restart.map(|run_id| MemoryAct::Restart { run_id, cause: StopCause::OverMemory }));
        step.acts
    }

    fn tick(&mut self, step: &mut Step) {
        let now = step.at.mono;
        if self.snapshot.is_some_and(|since| since.plus(SNAPSHOT_WITHIN) <= now) {
            self.snapshot = None;
        }
        if self.sample_due().is_some_and(|due| due <= now)
            && let Some(run) = &self.run
        {
            self.sampling = Some(Flight { run_id: run.run_id, is_void: false });
            step.acts.push(MemoryAct::Sample { run_id: run.run_id, pid: run.pid });
        }
        if self.run.as_ref().and_then(|run| run.waiting.as_ref()).is_some_and(|waiting| waiting.due() <= now) {
            self.consider(None, step);
        }
    }

    /// When the tree is looked at next. While a heap snapshot is written, its size is that of the snapshot as well.
    fn sample_due(&self) -> Option<Mono> {
        let run = self.run.as_ref()?;
        (self.sampling.is_none() && self.snapshot.is_none()).then_some(run.next)
    }

    /// When the next `Tick` is wanted.
    pub fn due(&self) -> Option<Mono> {
        let waiting = self.run.as_ref().and_then(|run| run.waiting.as_ref());
        let restart = waiting.filter(|_| self.snapshot.is_none()).map(Waiting::due);
        let snapshot = self.snapshot.map(|since| since.plus(SNAPSHOT_WITHIN));
        [self.sample_due(), restart, snapshot].into_iter().flatten().min()
    }

    fn restore(&mut self, saved: MemorySaved, at: Moment) {
        let MemorySaved { life, trend, heap, kept } = saved;
        (self.life, self.trends, self.kept) = (Some(life), Trends { tree: trend, heap }, kept);
        self.saved = Some(at.mono);
        if let Some(run) = &mut self.run {
            run.resume(&self.kept);
        }
    }

    /// Puts by what a later daemon needs: at once when something was told or done, else now and then.
    fn save(&mut self, step: &mut Step) {
        let now = step.at.mono;
        let is_due = self.is_dirty || self.saved.is_some_and(|saved| now.since(saved) >= SAVE_EVERY);
        if let Some(life) = self.life.clone().filter(|_| is_due) {
            self.is_dirty = false;
            self.saved = Some(now);
            let Trends { tree: trend, heap } = self.trends.clone();
            let kept = self.kept.clone();
            step.acts.push(MemoryAct::Save(Box::new(MemorySaved { life, trend, heap, kept })));
        }
    }
}
