//! The daemon's side of one service: when it is probed, what the answers mean, and when it is restarted for them.
//!
//! ```text
//!   runner: Starting ──► probes each second ──first good answer──► ready ──► probes each interval ──H of silence──► convicted
//!                              │ over budget, no progress                            ▲ │ any byte: back                  │
//!                              └──────────────► convicted (start_timeout)            └─┴─────────────────────────────────┤
//!                                                                                                evidence, wait ──► Restart
//! ```
//! What one probe weighs is [`policy::verdict`](crate::policy::verdict)'s; how long a start may take
//! [`startup`](crate::policy::startup)'s; when a restart waits [`relapse`](crate::policy::relapse)'s. A machine that slept shows as
//! [`Seen::Gap`]. This machine puts them together, and forgets a run when it is over: what is kept longer is what was learned, ends
//! by force, and how named parts stand.

mod asking;
mod convict;
mod excuse;
mod info;
mod parts;
mod row;
mod start;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::{
    EventType, Facts, Fraction, HealthSpec, Learned, Moment, Mono, Part, PartInfo, ProbeKind, Probed, Readiness,
    RunView, ServiceSpec, StopCause,
};
use crate::policy::gap::Gap;
use crate::policy::redact;
use convict::Convicted;
use parts::Parts;
use row::Row;
use start::Start;

/// What of a service's declaration matters here.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorSpec {
    /// How it is probed, if at all.
    pub health: Option<HealthSpec>,
    /// Whether a start has to become ready.
    pub is_gated: bool,
    /// How long a start may take at least.
    pub start_timeout: Duration,
    /// Whether restarts may wait; `throttle = "0s"` says no.
    pub spaced: bool,
}

impl MonitorSpec {
    /// Of a service; `None` when there is nothing to watch.
    pub fn of(spec: &ServiceSpec) -> Option<Self> {
        let is_gated = spec.readiness() != Readiness::Exec;
        (is_gated || spec.health.is_some()).then(|| Self {
            health: spec.health.clone(),
            is_gated,
            start_timeout: spec.start_timeout,
            spaced: !spec.throttle.is_zero(),
        })
    }
}

/// One service's probing.
#[derive(Debug, Clone)]
pub struct MonitorMachine {
    spec: MonitorSpec,
    learned: Learned,
    /// Ends of runs that nobody asked for, or that took force, the newest last.
    unclean: Vec<Mono>,
    /// The end that was last counted there.
    last_end_ms: Option<i64>,
    parts: Parts,
    /// The machine woke (or we did) at this time: until [`GRACE`](crate::policy::gap::GRACE) later failures do not count.
    woke: Option<Woke>,
    /// A run that is known to be busy until then with what we asked of it.
    excused: Option<(u64, Mono)>,
    /// A probe is under way, for this run.
    in_flight: Option<Flight>,
    told: Told,
    parts_in_flight: bool,
    /// Why the parts were not to be had, the last time.
    parts_unknown: Option<String>,
    watched: Option<Watched>,
    /// What was known of the start of a run that we have lost sight of.
    left: Option<Begun>,
}

/// When a run was started.
#[derive(Debug, Clone, Copy)]
struct Begun {
    run_id: u64,
    at: Mono,
    /// How much of the time since then could not be used, see [`Start`].
    lost: Duration,
    /// Whether we have not seen it begin.
    is_guess: bool,
}

#[derive(Debug, Clone, Copy)]
struct Woke {
    at: Mono,
    gap: Gap,
    /// The service has answered since.
    is_answered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    run_id: u64,
    at: Moment,
    /// We slept since: what comes of it says nothing.
    is_void: bool,
}

/// What is known of the run that is there.
#[derive(Debug, Clone)]
struct Watched {
    run_id: u64,
    pid: i32,
    is_ready: bool,
    /// When it was started, on the awake clock.
    begun: Mono,
    started_ms: i64,
    program: Option<String>,
    next: Mono,
    row: Row,
    start: Start,
    convicted: Option<Convicted>,
    /// The last sign of life that it gave of its own accord.
    beat: Option<u64>,
    /// The last one that was taken for one.
    last_beat: Option<u64>,
    /// When it last showed life: what is silent is silent since then at most.
    lived: Option<Moment>,
}

/// What was put on record and is not over. It outlives runs: what is told of one is over when a later one is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    /// It is asked the wrong question.
    misasked: bool,
    /// It is not well, or slow.
    degraded: bool,
    /// Its start takes longer than its budget.
    start: bool,
}

/// What the monitor is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// The runner's view changed.
    View(Box<RunView>),
    /// The runner is gone; nothing is known until it is back.
    RunnerGone,
    /// A probe of this run ended; `facts` where they were wanted and it found nothing good.
    Probed {
        /// The run it was started for.
        run_id: u64,
        /// How.
        probed: Probed,
        /// What was seen beside it.
        facts: Option<Facts>,
    },
    /// A probe was answered after its time.
    Late {
        /// The run it was started for.
        run_id: u64,
        /// How.
        probed: Probed,
    },
    /// Named parts were asked for: what they say, or why they cannot be read.
    Parts {
        /// The run it was started for.
        run_id: u64,
        /// How they are.
        parts: Result<Vec<Part>, String>,
    },
    /// A start was looked at.
    Looked {
        /// The run it was looked at for.
        run_id: u64,
        /// What was seen.
        facts: Option<Facts>,
    },
    /// We did not run for a while.
    Gap(Gap),
    /// Until then this run is busy with what was asked of it: silence is not held against it. What is said later replaces this.
    Excused {
        /// Which run.
        run_id: u64,
        /// When it is to answer again.
        until: Mono,
    },
    /// What the ledger knows of it.
    Learned(Learned),
    /// The evidence of what [`Act::Convict`] said is taken (or could not be).
    EvidenceTaken {
        /// Of which run.
        run_id: u64,
    },
    /// The moment of [`MonitorMachine::due`] has come.
    Tick,
}

/// What the daemon is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Ask; answer with `Probed`.
    Probe {
        /// The run it is for.
        run_id: u64,
        /// Its main process.
        pid: i32,
        /// Whether the question is that of the start.
        startup: bool,
        /// For how long.
        timeout: Duration,
        /// For how long after its time an answer is still of interest: tell it with `Late`.
        linger: Option<Duration>,
        /// Whether facts are wanted beside an answer that is not good.
        facts: bool,
    },
    /// Ask for the named parts; answer with `Parts`.
    Parts {
        /// The run it is for.
        run_id: u64,
        /// For how long.
        timeout: Duration,
    },
    /// Ask its runner for the last WATCHDOG=1; answer with `Probed`: a beat, or that it could not be asked.
    AskRunner {
        /// The run it is for.
        run_id: u64,
        /// For how long.
        timeout: Duration,
    },
    /// Look at the processes; answer with `Looked`.
    Look {
        /// The run it is for.
        run_id: u64,
        /// Its main process.
        pid: i32,
    },
    /// Tell the runner.
    TellReady {
        /// Which run.
        run_id: u64,
    },
    /// Put it on record.
    Record {
        /// Which kind.
        event: EventType,
        /// Metadata.
        data: Map<String, Value>,
    },
    /// It is to be ended: put it on record with the name of the evidence, take that, answer with `EvidenceTaken`.
    Convict(Box<Conviction>),
    /// Have the runner restart this run.
    Restart {
        /// Which run.
        run_id: u64,
        /// For what.
        cause: StopCause,
    },
}

/// Why a run is to be ended, and what was known then.
#[derive(Debug, Clone, PartialEq)]
pub struct Conviction {
    /// Which run.
    pub run_id: u64,
    /// Its main process.
    pub pid: i32,
    /// [`StopCause::Hung`] or [`StopCause::StartTimeout`].
    pub cause: StopCause,
    /// In words.
    pub reason: String,
    /// What is put on record, and as which kind.
    pub event: EventType,
    /// Metadata.
    pub data: Map<String, Value>,
    /// The last probes, one line each, the oldest first.
    pub probes: Vec<String>,
    /// How the named parts were last.
    pub parts: Vec<PartInfo>,
}

/// One step's surroundings.
struct Step {
    at: Moment,
    rng: Fraction,
    acts: Vec<Act>,
}

impl Step {
    fn record(&mut self, event: EventType, data: Value) {
        if let Value::Object(data) = data {
            self.acts.push(Act::Record { event, data });
        }
    }
}

impl MonitorMachine {
    /// A monitor that has seen nothing.
    pub fn new(spec: MonitorSpec) -> Self {
        Self {
            spec,
            learned: Learned::default(),
            unclean: Vec::new(),
            last_end_ms: None,
            parts: Parts::default(),
            woke: None,
            excused: None,
            in_flight: None,
            told: Told::default(),
            parts_in_flight: false,
            parts_unknown: None,
            watched: None,
            left: None,
        }
    }

    /// What of the declaration it goes by.
    pub fn spec(&self) -> &MonitorSpec {
        &self.spec
    }

    /// One for another declaration of the same service: what is known of the run is learned anew, everything else is kept.
    pub fn redeclared(&self, spec: MonitorSpec) -> Self {
        // What is being asked is about the old one, and has to end before anything else is asked.
        let in_flight = self.in_flight.map(|flight| Flight { is_void: true, ..flight });
        let mut new = Self { spec, in_flight, parts: Parts::default(), ..self.clone() };
        new.parts.told_before = self.parts.told();
        new.lose_sight();
        new
    }

    /// Takes in what was seen.
    pub fn step(&mut self, at: Moment, rng: Fraction, seen: Seen) -> Vec<Act> {
        let mut step = Step { at, rng, acts: Vec::new() };
        match seen {
            Seen::View(view) => self.on_view(&view, &mut step),
            Seen::RunnerGone => self.lose_sight(),
            Seen::Tick => self.tick(&mut step),
            Seen::Probed { run_id, probed, facts } => self.on_probed(run_id, &probed, facts, &mut step),
            Seen::Late { run_id, probed } => self.on_late(run_id, &probed, &mut step),
            Seen::Parts { run_id, parts } => {
                self.parts_in_flight = false;
                if self.is_watched(run_id) {
                    self.parts_unknown = parts.as_ref().err().map(|why| redact(why));
                    if let Ok(parts) = parts {
                        self.on_parts(parts, &mut step);
                    }
                }
            }
            Seen::Looked { run_id, facts } => {
                self.in_flight = None;
                if self.is_watched(run_id) {
                    self.on_facts_of_start(facts, false, &mut step);
                }
            }
            Seen::Gap(gap) => self.on_gap(gap, &step),
            Seen::Excused { run_id, until } => self.excuse(run_id, until),
            Seen::Learned(learned) => self.learn(learned),
            Seen::EvidenceTaken { run_id } => self.on_evidence(run_id, &mut step),
        }
        step.acts
    }

    /// Nothing is known of the run until it is seen again, but when it began.
    fn lose_sight(&mut self) {
        self.left = self.watched.take().map(|watched| watched.begun()).or(self.left);
    }

    /// When the next `Tick` is wanted.
    pub fn due(&self) -> Option<Mono> {
        let watched = self.watched.as_ref()?;
        let next = (self.asks(watched) && self.in_flight.is_none()).then_some(watched.next);
        let verdict = self.spec.health.as_ref().and_then(|health| watched.verdict_due(health));
        // A sentence is not carried out while what it was about may just be waking.
        let restart = watched.convicted.as_ref().map(|convicted| convicted.due().max(self.grace_end()));
        [next, verdict, restart].into_iter().flatten().min()
    }

    /// What was learned before, and what was told: when that is over now, it is to be told as well.
    fn learn(&mut self, mut learned: Learned) {
        let before = std::mem::take(&mut learned.told);
        self.told.misasked |= before.misasked;
        self.told.start |= before.start;
        self.parts.told_before = before.parts.into_iter().collect();
        self.learned = learned;
        // The ledger may answer later than the first start is seen.
        let program = self.watched.as_ref().filter(|watched| !watched.is_ready).map(|watched| &watched.program);
        if let Some(is_first) = program.map(|program| self.is_new_program(program.as_ref()))
            && let Some(watched) = &mut self.watched
        {
            watched.start.is_first_of_program(is_first);
        }
    }

    fn is_watched(&self, run_id: u64) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.run_id == run_id)
    }

    /// Whether there is anything to ask for: a service that only tells when it is ready is looked at while it starts.
    fn asks(&self, watched: &Watched) -> bool {
        self.spec.health.is_some() || !watched.is_ready
    }

    /// Whether the probe only looks at what the runner's view says.
    fn is_notify(&self) -> bool {
        self.spec.health.as_ref().is_some_and(|health| health.probe.kind == ProbeKind::Notify)
    }
}
