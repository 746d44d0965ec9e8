//! The daemon's side of one service: when it is probed, and what the answers mean.
//!
//! It tells the runner that a run is ready, and readers how the service answers. It orders no restart: that takes a verdict
//! that can tell a hang from a machine that sleeps, a host that stalls and an address that is wrong.

use std::time::Duration;

use crate::model::{Fraction, HealthInfo, HealthSpec, Moment, Mono, ProbeSpec, RunView, Status};

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

/// How one probe ended.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeOutcome {
    /// A good answer, and how long it took, milliseconds.
    Pass(f64),
    /// None, or another one; in words.
    Fail(String),
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
        outcome: ProbeOutcome,
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
    /// A monitor that has seen nothing. A probe of a kind that this version does not ask is as good as none.
    pub fn new(spec: Option<HealthSpec>) -> Self {
        let spec = spec.filter(|s| s.probe.kind.is_asked());
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
                    let probe = if self.ready { None } else { spec.startup.clone().filter(|p| p.kind.is_asked()) };
                    acts.push(Act::Probe { run_id, probe: probe.unwrap_or(spec.probe), timeout: spec.timeout });
                }
            }
            Seen::Probed { run_id, outcome } => {
                self.in_flight = false;
                // An answer of an earlier run says nothing about this one.
                if self.run_id == Some(run_id) {
                    self.on_outcome(run_id, outcome, at, &mut acts);
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

    fn on_outcome(&mut self, run_id: u64, outcome: ProbeOutcome, at: Moment, acts: &mut Vec<Act>) {
        self.checked_ms = Some(at.wall_ms);
        match outcome {
            ProbeOutcome::Pass(latency) => {
                self.latency_ms = Some(latency);
                self.failures = 0;
                self.failing_since_ms = None;
                self.failure = None;
                if !self.ready {
                    acts.push(Act::TellReady { run_id });
                }
            }
            ProbeOutcome::Fail(why) => {
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
            (false, _) => "starting",
            (true, None) => "unknown",
            (true, Some(_)) if self.failures >= spec.failures => "degraded",
            (true, Some(_)) if self.failures > 0 && self.latency_ms.is_none() => "unknown",
            (true, Some(_)) => "healthy",
        };
        Some(HealthInfo {
            verdict: verdict.into(),
            latency_ms: self.latency_ms,
            checked_ms: self.checked_ms,
            failing_since_ms: self.failing_since_ms,
            failure: self.failure.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProbeKind, ServiceSpec};

    fn spec() -> HealthSpec {
        let ask = |url: &str| ProbeSpec { kind: ProbeKind::Http(url.into()), expect_status: 200, expect_json: None };
        HealthSpec {
            probe: ask("health"),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failures: 3,
            startup: Some(ask("startup")),
        }
    }

    fn view(run_id: u64, status: Status) -> Seen {
        let machine = crate::machine::ServiceMachine::new(ServiceSpec::for_tests("s"), Default::default());
        let mut view = machine.view(Moment::default(), 0);
        (view.run_id, view.status, view.ready) = (run_id, status, status == Status::Up);
        view.pid = Some(7);
        Seen::View(Box::new(view))
    }

    fn at(seconds: u64) -> Moment {
        Moment { mono: Mono(seconds * 1_000_000_000), boot_ns: 0, wall_ms: 1 }
    }

    fn asked(acts: &[Act]) -> Option<&str> {
        match acts {
            [Act::Probe { probe: ProbeSpec { kind: ProbeKind::Http(url), .. }, .. }] => Some(url),
            _ => None,
        }
    }

    #[test]
    fn a_start_is_asked_for_its_startup_and_told_ready_once() {
        let mut monitor = MonitorMachine::new(Some(spec()));
        let rng = Fraction::new(0.5);
        assert_eq!(monitor.info(), None);
        monitor.step(at(0), rng, view(1, Status::Starting));
        assert_eq!(asked(&monitor.step(at(0), rng, Seen::Tick)), Some("startup"));
        assert_eq!(monitor.step(at(1), rng, Seen::Tick), [], "one in flight");
        monitor.step(at(1), rng, Seen::Probed { run_id: 1, outcome: ProbeOutcome::Fail("refused".into()) });
        assert_eq!(monitor.info().unwrap().verdict, "starting");
        assert_eq!(monitor.due(), Some(at(1).mono), "a start is probed each second");
        assert_eq!(asked(&monitor.step(at(1), rng, Seen::Tick)), Some("startup"));
        let acts = monitor.step(at(2), rng, Seen::Probed { run_id: 1, outcome: ProbeOutcome::Pass(2.0) });
        assert_eq!(acts, [Act::TellReady { run_id: 1 }]);
        monitor.step(at(2), rng, view(1, Status::Up));
        assert_eq!(monitor.info().unwrap().verdict, "healthy");
        assert_eq!(asked(&monitor.step(at(2), rng, Seen::Tick)), Some("health"));
    }

    #[test]
    fn degraded_after_so_many_failures_and_healthy_again_with_one_success() {
        let mut monitor = MonitorMachine::new(Some(spec()));
        let rng = Fraction::new(0.0);
        monitor.step(at(0), rng, view(1, Status::Up));
        assert_eq!(monitor.info().unwrap().verdict, "unknown", "nothing was asked yet");
        let mut probed = |outcome: ProbeOutcome| {
            monitor.step(at(3), rng, Seen::Probed { run_id: 1, outcome });
            monitor.info().unwrap().verdict
        };
        assert_eq!(probed(ProbeOutcome::Pass(1.0)), "healthy");
        let fail = || ProbeOutcome::Fail("timed out".into());
        assert_eq!([probed(fail()), probed(fail()), probed(fail())], ["healthy", "healthy", "degraded"]);
        assert_eq!(probed(ProbeOutcome::Pass(1.0)), "healthy");
    }

    #[test]
    fn a_late_answer_of_an_old_run_is_dropped() {
        let mut monitor = MonitorMachine::new(Some(spec()));
        let rng = Fraction::new(0.0);
        monitor.step(at(0), rng, view(1, Status::Starting));
        monitor.step(at(0), rng, Seen::Tick);
        monitor.step(at(1), rng, view(2, Status::Starting));
        assert_eq!(monitor.due(), None, "the old probe is still in flight");
        let acts = monitor.step(at(1), rng, Seen::Probed { run_id: 1, outcome: ProbeOutcome::Pass(1.0) });
        assert_eq!(acts, []);
        assert_eq!(asked(&monitor.step(at(1), rng, Seen::Tick)), Some("startup"));
    }
}
