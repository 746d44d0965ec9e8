//! The daemon's side of one service: when it is probed, and what the answers mean.
//!
//! It tells the runner that a run is ready, and readers how the service answers. It orders no restart: that takes a verdict
//! that can tell a hang from a machine that sleeps, a host that stalls and an address that is wrong.

use std::time::Duration;

use crate::model::{
    Answer, Fraction, HealthInfo, HealthSpec, Moment, Mono, ProbeSpec, Probed, RunView, Status, Verdict,
};

/// While a start is under way it is probed at least this often: nobody wants to wait a whole interval to see it up.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// One service's probing.
#[derive(Debug, Clone)]
pub struct MonitorMachine {
    spec: Option<HealthSpec>,
    run_id: Option<u64>,
    ready: bool,
    next: Option<Mono>,
    in_flight: bool,
    failures: u32,
    failing_since_ms: Option<i64>,
    latency_ms: Option<f64>,
    checked_ms: Option<i64>,
    failure: Option<String>,
}

/// What the monitor is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// The runner's view changed.
    View(Box<RunView>),
    /// The runner is gone; nothing is known until it is back.
    RunnerGone,
    /// A probe of this run ended.
    Probed {
        /// The run it was started for.
        run_id: u64,
        /// How.
        probed: Probed,
    },
    /// The moment of [`MonitorMachine::due`] has come.
    Tick,
}

/// What the daemon is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Ask this; answer with `Probed`.
    Probe {
        /// The run it is for.
        run_id: u64,
        /// What to ask.
        probe: ProbeSpec,
        /// For how long.
        timeout: Duration,
    },
    /// Tell the runner.
    TellReady {
        /// Which run.
        run_id: u64,
    },
}

impl MonitorMachine {
    /// A monitor that has seen nothing.
    pub fn new(spec: Option<HealthSpec>) -> Self {
        Self {
            spec,
            run_id: None,
            ready: false,
            next: None,
            in_flight: false,
            failures: 0,
            failing_since_ms: None,
            latency_ms: None,
            checked_ms: None,
            failure: None,
        }
    }

    /// Takes in what was seen.
    pub fn step(&mut self, at: Moment, rng: Fraction, seen: Seen) -> Vec<Act> {
        let mut acts = Vec::new();
        let Some(spec) = self.spec.clone() else { return acts };
        match seen {
            Seen::View(view) => self.on_view(&view, &spec, at, rng),
            Seen::RunnerGone => self.forget(),
            Seen::Tick => {
                if let Some(run_id) = self.run_id
                    && !self.in_flight
                    && self.next.is_some_and(|next| next <= at.mono)
                {
                    self.in_flight = true;
                    self.next = Some(at.mono.plus(self.interval(&spec)));
                    let probe = if self.ready { None } else { spec.startup.clone() };
                    acts.push(Act::Probe { run_id, probe: probe.unwrap_or(spec.probe), timeout: spec.timeout });
                }
            }
            Seen::Probed { run_id, probed } => {
                self.in_flight = false;
                // An answer of an earlier run says nothing about this one.
                if self.run_id == Some(run_id) {
                    self.on_outcome(run_id, probed, at, &mut acts);
                }
            }
        }
        acts
    }

    fn on_view(&mut self, view: &RunView, spec: &HealthSpec, at: Moment, rng: Fraction) {
        let runs = matches!(view.status, Status::Starting | Status::Up) && view.pid.is_some();
        if !runs {
            return self.forget();
        }
        if self.run_id != Some(view.run_id) {
            self.forget();
            self.run_id = Some(view.run_id);
            // What starts is asked at once; what is already up after a restart of the daemon at its own moment.
            let wait = if view.ready { spec.interval.mul_f64(rng.get()) } else { Duration::ZERO };
            self.next = Some(at.mono.plus(wait));
        }
        self.ready = view.ready;
    }

    fn on_outcome(&mut self, run_id: u64, probed: Probed, at: Moment, acts: &mut Vec<Act>) {
        self.checked_ms = Some(at.wall_ms);
        match probed.answer {
            Answer::Good | Answer::Beat(_) => {
                self.latency_ms = Some(probed.took.as_secs_f64() * 1000.0);
                self.failures = 0;
                self.failing_since_ms = None;
                self.failure = None;
                if !self.ready {
                    acts.push(Act::TellReady { run_id });
                }
            }
            Answer::Unwell(why)
            | Answer::Slow(why)
            | Answer::Misasked(why)
            | Answer::Silent(why)
            | Answer::Failed(why)
            | Answer::NotAsked(why) => {
                self.failures = self.failures.saturating_add(1);
                // Dated from the first failure of the row, whatever comes after.
                self.failing_since_ms.get_or_insert(at.wall_ms);
                self.failure = Some(why);
            }
        }
    }

    fn forget(&mut self) {
        *self = Self { in_flight: self.in_flight, ..Self::new(self.spec.take()) };
    }

    fn interval(&self, spec: &HealthSpec) -> Duration {
        if self.ready { spec.interval } else { spec.interval.min(START_INTERVAL) }
    }

    /// When the next `Tick` is wanted.
    pub fn due(&self) -> Option<Mono> {
        self.next.filter(|_| !self.in_flight)
    }

    /// What readers see; `None` without a probe or without a run.
    pub fn info(&self) -> Option<HealthInfo> {
        let spec = self.spec.as_ref()?;
        self.run_id?;
        let verdict = match (self.ready, self.checked_ms) {
            (false, _) => Verdict::Starting,
            (true, None) => Verdict::Unknown,
            (true, Some(_)) if self.failures >= spec.failures => Verdict::Degraded,
            (true, Some(_)) if self.failures > 0 && self.latency_ms.is_none() => Verdict::Unknown,
            (true, Some(_)) => Verdict::Healthy,
        };
        Some(HealthInfo {
            verdict,
            latency_ms: self.latency_ms,
            checked_ms: self.checked_ms,
            failing_since_ms: self.failing_since_ms,
            failure: self.failure.clone(),
            ..HealthInfo::default()
        })
    }
}
