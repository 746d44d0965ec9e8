//! A service, a machine and a daemon, on clocks of their own.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use crate::machine::ServiceMachine;
use crate::machine::monitor::{Act, MonitorMachine, MonitorSpec, Seen};
use crate::model::{
    Answer, EventType, Facts, Fraction, HealthSpec, HostLoad, Moment, Mono, ProbeKind, ProbeSpec, Probed, ProcessState,
    RunView, ServiceSpec, Status, StopCause, Vitals,
};
use crate::policy::gap::gap;

pub(super) const S: Duration = Duration::from_secs(1);
const WALL_MS: i64 = 1_795_317_574_000;

pub(super) fn health() -> HealthSpec {
    let ask = |url: &str| ProbeSpec { kind: ProbeKind::Http(url.into()), expect_status: 200, expect_json: None };
    HealthSpec {
        probe: ask("health"),
        interval: 10 * S,
        timeout: 5 * S,
        failures: 4,
        startup: Some(ask("startup")),
        parts: None,
        diagnostic_signal: None,
    }
}

pub(super) fn spec() -> MonitorSpec {
    MonitorSpec { health: Some(health()), is_gated: true, start_timeout: 60 * S, spaced: true }
}

/// What the service does from some time on, until it does something else.
#[derive(Debug, Clone)]
pub(super) enum Does {
    /// It answers after so long.
    Answers(Duration),
    /// It answers this after a millisecond.
    Says(Answer),
    /// It neither answers nor listens to anything; what was asked meanwhile it answers when it goes on.
    Pauses,
    /// The same, with one processor in use.
    Spins,
}

#[derive(Debug)]
struct Flight {
    run_id: u64,
    asked: Mono,
    deadline: Mono,
    linger: Option<Duration>,
    facts: bool,
    is_over: bool,
    /// Whether it is a look at a start.
    is_look: bool,
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) monitor: MonitorMachine,
    run: RunView,
    /// What it does, and since when.
    pub(super) does: Does,
    since: Mono,
    cpu: Duration,
    pub(super) logged: u64,
    flights: Vec<Flight>,
    /// What the monitor wanted, apart from questions.
    pub(super) acts: VecDeque<(Moment, Act)>,
    pub(super) asked: u32,
    luck: u64,
    /// Whether restarts are carried out.
    pub(super) restarts: bool,
    /// Whether evidence is taken.
    pub(super) evidence: bool,
    /// How the processes and the machine look, beside what follows from what the service does.
    pub(super) state: Option<ProcessState>,
    pub(super) starved: bool,
    /// Its runner stands still.
    pub(super) runner_stands: bool,
}

impl World {
    /// A service that is up and answers at once.
    pub(super) fn up(spec: MonitorSpec, luck: u64) -> Self {
        let mut world = Self::starting(spec, luck);
        world.does = Does::Answers(Duration::from_millis(2));
        world.ready();
        world
    }

    /// One that is just being started, and does not listen yet.
    pub(super) fn starting(spec: MonitorSpec, luck: u64) -> Self {
        let now = Moment { mono: Mono(1_000_000_000_000), boot_ns: 5_000_000_000_000, wall_ms: WALL_MS };
        let machine = ServiceMachine::new(ServiceSpec::for_tests("s"), crate::model::Intent::default());
        let mut run = machine.view(now, 0);
        (run.run_id, run.pid, run.status, run.started_ms) = (1, Some(7), Status::Starting, Some(now.wall_ms));
        let mut world = Self {
            now,
            monitor: MonitorMachine::new(spec),
            run,
            does: Does::Says(Answer::Failed("nobody listens".into())),
            since: now.mono,
            cpu: Duration::ZERO,
            logged: 0,
            flights: Vec::new(),
            acts: VecDeque::new(),
            asked: 0,
            luck,
            restarts: true,
            evidence: true,
            state: None,
            starved: false,
            runner_stands: false,
        };
        world.push();
        world
    }

    pub(super) fn luck(&mut self) -> f64 {
        self.luck = self.luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = u32::try_from(self.luck >> 33).unwrap_or(0);
        f64::from(high) / f64::from(1_u32 << 31)
    }

    fn push(&mut self) {
        let view = self.run.clone();
        self.see(Seen::View(Box::new(view)));
    }

    pub(super) fn ready(&mut self) {
        (self.run.status, self.run.ready) = (Status::Up, true);
        self.push();
    }

    pub(super) fn change(&mut self, does: Does) {
        if matches!(self.does, Does::Spins) {
            self.cpu += self.now.mono.since(self.since);
        }
        (self.does, self.since) = (does, self.now.mono);
    }

    pub(super) fn new_run(&mut self) {
        self.run.run_id += 1;
        self.run.pid = self.run.pid.map(|pid| pid + 1);
        (self.run.status, self.run.ready, self.run.started_ms) = (Status::Starting, false, Some(self.now.wall_ms));
        self.push();
    }

    pub(super) fn see(&mut self, seen: Seen) {
        let rng = Fraction::new(self.luck());
        for act in self.monitor.step(self.now, rng, seen) {
            self.act(act);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Probe { run_id, timeout, linger, facts, .. } => {
                assert!(self.flights.iter().all(|flight| flight.is_over), "two questions at a time");
                self.asked += 1;
                let (asked, deadline) = (self.now.mono, self.now.mono.plus(timeout));
                self.flights.push(Flight { run_id, asked, deadline, linger, facts, is_over: false, is_look: false });
            }
            // Its runner is well, and has said what it has heard.
            Act::AskRunner { run_id, .. } => {
                let probed = Probed::new(Answer::Beat(self.run.beat.map(|beat| beat.0)), Duration::ZERO);
                if self.runner_stands {
                    let probed = Probed { answer: Answer::NotAsked("its runner does not answer".into()), ..probed };
                    return self.see(Seen::Probed { run_id, probed, facts: None });
                }
                self.see(Seen::Probed { run_id, probed, facts: None });
            }
            Act::Look { run_id, .. } => {
                let asked = self.now.mono;
                self.flights.push(Flight {
                    run_id,
                    asked,
                    deadline: asked,
                    linger: None,
                    facts: true,
                    is_over: false,
                    is_look: true,
                });
            }
            act => {
                if let Act::Convict(conviction) = &act {
                    let run_id = conviction.run_id;
                    self.acts.push_back((self.now, act));
                    if self.evidence {
                        self.see(Seen::EvidenceTaken { run_id });
                    }
                    return;
                }
                let restart = matches!(act, Act::Restart { .. });
                let ready = matches!(act, Act::TellReady { .. });
                self.acts.push_back((self.now, act));
                if ready {
                    self.ready();
                } else if restart && self.restarts {
                    let hung = self.run.run_id;
                    self.run.last_exit = Some(crate::model::LastExit {
                        class: crate::model::ExitClass::Hung,
                        code: None,
                        signal: Some("SIGKILL".into()),
                        at_ms: self.now.wall_ms,
                        out_of_memory: None,
                    });
                    self.run.status = Status::Stopping;
                    self.push();
                    assert_eq!(hung, self.run.run_id);
                    self.change(Does::Answers(Duration::from_millis(2)));
                    self.new_run();
                }
            }
        }
    }

    fn facts(&self) -> Facts {
        let spins = matches!(self.does, Does::Spins);
        let here = self.now.mono.since(self.since);
        let cpu = self.cpu + if spins && !self.starved { here } else { Duration::ZERO };
        let vitals = Vitals {
            at: self.now.mono,
            cpu,
            ran: Some(cpu),
            waited: Some(if self.starved { self.now.mono.since(Mono(0)) } else { Duration::ZERO }),
            state: self.state.unwrap_or(if spins { ProcessState::Running } else { ProcessState::Sleeping }),
            processes: 1,
        };
        let host = HostLoad { load: 1.0, processors: 2, memory_stall: Some(0.0) };
        Facts { vitals: Some(vitals), host, logged: self.logged }
    }

    /// When a question that was asked then is answered, if nothing changes.
    fn answered_at(&self, asked: Mono) -> Option<Mono> {
        match &self.does {
            Does::Answers(latency) => Some(asked.max(self.since).plus(*latency)),
            Does::Says(_) => Some(asked.max(self.since).plus(Duration::from_millis(1))),
            Does::Pauses | Does::Spins => None,
        }
    }

    fn answer(&self) -> Answer {
        match &self.does {
            Does::Says(answer) => answer.clone(),
            Does::Answers(_) | Does::Pauses | Does::Spins => Answer::Good,
        }
    }

    /// What is answered after its time by now.
    fn answer_late(&mut self) {
        let now = self.now.mono;
        let mut late = Vec::new();
        for flight in std::mem::take(&mut self.flights) {
            let answered = self.answered_at(flight.asked).filter(|at| flight.is_over && *at <= now);
            match (answered, flight.linger) {
                (Some(at), Some(linger)) if at <= flight.deadline.plus(linger) => {
                    late.push((flight.run_id, at.since(flight.asked)));
                }
                (Some(_), _) => {}
                (None, _) => self.flights.push(flight),
            }
        }
        for (run_id, took) in late {
            let probed = Probed::new(self.answer(), took);
            self.see(Seen::Late { run_id, probed });
        }
    }

    /// When something happens next, apart from what the test does.
    fn next(&self) -> Mono {
        let ends = self.flights.iter().filter(|flight| !flight.is_over).map(|flight| {
            self.answered_at(flight.asked).map_or(flight.deadline, |answered| answered.min(flight.deadline))
        });
        let lates = self
            .flights
            .iter()
            .filter(|flight| flight.is_over && flight.linger.is_some())
            .filter_map(|flight| self.answered_at(flight.asked).filter(|at| *at > flight.deadline));
        ends.chain(lates).chain(self.monitor.due()).min().unwrap_or(Mono(u64::MAX)).max(self.now.mono)
    }

    fn forward(&mut self, to: Mono) {
        let passed = to.0.saturating_sub(self.now.mono.0);
        self.now.mono = to.max(self.now.mono);
        self.now.boot_ns += passed;
        self.now.wall_ms = WALL_MS + i64::try_from((self.now.boot_ns - 5_000_000_000_000) / 1_000_000).unwrap_or(0);
    }

    /// Lets so much awake time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        loop {
            let next = self.next();
            if next > end {
                return self.forward(end);
            }
            self.forward(next);
            self.turn();
        }
    }

    /// One turn of the daemon's loop.
    fn turn(&mut self) {
        let now = self.now.mono;
        let mut seen = Vec::new();
        for at in 0..self.flights.len() {
            let flight = &self.flights[at];
            let answered = self.answered_at(flight.asked).filter(|at| *at <= now);
            if flight.is_over {
                continue;
            }
            let (run_id, asked, deadline) = (flight.run_id, flight.asked, flight.deadline);
            if flight.is_look {
                seen.push(Seen::Looked { run_id, facts: Some(self.facts()) });
                self.flights[at].linger = None;
                self.flights[at].is_over = true;
            } else if let Some(answered) = answered.filter(|at| *at <= deadline) {
                let probed = Probed::new(self.answer(), answered.since(asked));
                let wanted = flight.facts && probed.answer != Answer::Good;
                let facts = wanted.then(|| self.facts());
                seen.push(Seen::Probed { run_id, probed, facts });
                self.flights[at].linger = None;
                self.flights[at].is_over = true;
            } else if deadline <= now {
                let took = now.since(asked);
                let answer = Answer::Silent("no byte came in time".into());
                let probed = Probed { answer, took, late: now.since(deadline), parts: None };
                let facts = flight.facts.then(|| self.facts());
                seen.push(Seen::Probed { run_id, probed, facts });
                self.flights[at].is_over = true;
            }
        }
        for seen in seen {
            self.see(seen);
        }
        self.answer_late();
        self.flights.retain(|flight| !flight.is_over || flight.linger.is_some());
        if self.monitor.due().is_some_and(|due| due <= now) {
            self.see(Seen::Tick);
        }
    }

    /// The machine sleeps for so long; on some its awake clock runs on.
    pub(super) fn sleep(&mut self, time: Duration, runs_on: bool) {
        let (before, due) = (self.now, self.next());
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = self.now.mono;
        if runs_on {
            self.now.mono = now.plus(time);
            // Who slept has not got on.
            self.since = self.since.max(now.plus(time));
        }
        self.now.boot_ns += nanos;
        self.forward(self.now.mono);
        // Whatever the daemon finds first, it looks at its clocks before.
        if let Some(gap) = gap(before, Some(due), self.now) {
            self.see(Seen::Gap(gap));
        }
        self.turn();
    }

    /// When it was first told to be hung (or not to come up), and so forth; forgotten by this.
    pub(super) fn convictions(&mut self) -> Vec<(Moment, StopCause, Value)> {
        let acts = std::mem::take(&mut self.acts);
        acts.into_iter()
            .filter_map(|(at, act)| match act {
                Act::Convict(conviction) => Some((at, conviction.cause, Value::Object(conviction.data))),
                _ => None,
            })
            .collect()
    }

    pub(super) fn records(&self, event: EventType) -> Vec<Value> {
        let of = |(_, act): &(Moment, Act)| match act {
            Act::Record { event: kind, data } if *kind == event => Some(Value::Object(data.clone())),
            _ => None,
        };
        self.acts.iter().filter_map(of).collect()
    }

    pub(super) fn restarted(&self) -> Vec<StopCause> {
        let of = |(_, act): &(Moment, Act)| match act {
            Act::Restart { cause, .. } => Some(*cause),
            _ => None,
        };
        self.acts.iter().filter_map(of).collect()
    }

    pub(super) fn verdict(&self) -> crate::model::Verdict {
        self.monitor.info(self.now).expect("a run").verdict
    }
}

impl World {
    /// Another run, of this state of its program.
    pub(super) fn run_of_program(&mut self, program: &str) {
        self.run.program = Some(program.into());
        self.new_run();
    }

    /// The runner is gone, and back with the same run.
    pub(super) fn reconnect(&mut self) {
        self.see(Seen::RunnerGone);
        self.push();
    }

    /// Another monitor goes on, while nothing is asked.
    pub(super) fn watched_by(&mut self, monitor: MonitorMachine) {
        assert!(self.flights.is_empty());
        self.monitor = monitor;
        self.push();
    }

    /// WATCHDOG=1 comes.
    pub(super) fn beat(&mut self, n: u64) {
        self.run.beat = Some(Mono(n + 1));
        self.push();
    }
}

impl World {
    /// Another daemon sees the run that is there.
    pub(super) fn seen_again(&mut self) {
        self.flights.clear();
        self.push();
    }
}
