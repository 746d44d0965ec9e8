//! The runner's side of one service.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::records::{self, End};
use super::types::{Effect, Hold, Input, Phase, Refusal, Run, SavedPhase, Then};
use crate::model::{
    EventType, Exit, ExitClass, Fraction, Intent, LastExit, Moment, Readiness, ServiceSpec, Signal, StopCause,
    wire::Verb,
};
use crate::policy::{Backoff, HOLD_OVER, HOLD_RETRY, KILL_AGAIN, Next, classify, next_after};

/// One service: what is wanted, what is happening, and what follows from what comes in.
///
/// It is plain data, and goes whole from one program to the next when a runner is upgraded in place; what a successor of a
/// dead runner begins from is [`super::Saved`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceMachine {
    pub(super) spec: ServiceSpec,
    pub(super) intent: Intent,
    pub(super) phase: Phase,
    /// When `phase` was entered, for people.
    pub(super) since_ms: i64,
    /// Number of the current or last run.
    pub(super) run_id: u64,
    /// The starts of runs up to this one are in a journal for good.
    #[serde(default)]
    pub(super) safe_starts: u64,
    pub(super) backoff: Backoff,
    pub(super) last_exit: Option<LastExit>,
    /// What the last `service_held` row said: the same is not told again by a retry.
    pub(super) told_hold: Option<String>,
    /// Why the last start did not come about although it may the next time.
    pub(super) short_of: Option<String>,
    /// The last line on stderr of the run that is ending.
    last_words: String,
    pub(super) deps: (bool, std::time::Duration),
    /// Whether the adopted run had been ready.
    pub(super) was_ready: bool,
    pub(super) epoch: u64,
}

/// One step's surroundings.
pub(super) struct Step {
    pub(super) at: Moment,
    pub(super) rng: Fraction,
    pub(super) effects: Vec<Effect>,
}

impl Step {
    pub(super) fn record(&mut self, event: EventType, data: Map<String, Value>) {
        self.effects.push(Effect::Record { event, data, with_tail: false });
    }
}

impl ServiceMachine {
    /// A machine that has not begun.
    pub fn new(spec: ServiceSpec, intent: Intent) -> Self {
        // Until the runner has looked at them, they are waited for as long as the service itself may take.
        let deps = (spec.after.is_empty(), spec.start_timeout);
        Self {
            spec,
            intent,
            phase: Phase::Idle,
            since_ms: 0,
            run_id: 0,
            safe_starts: 0,
            backoff: Backoff::default(),
            last_exit: None,
            told_hold: None,
            short_of: None,
            last_words: String::new(),
            deps,
            was_ready: false,
            epoch: 0,
        }
    }

    /// What was out of memory when the last run ended: that is found out when its end is put on record.
    pub fn ran_out_of_memory(&mut self, what: &str) {
        if let Some(exit) = &mut self.last_exit {
            exit.out_of_memory = Some(what.to_owned());
        }
    }

    /// Takes one input in and tells what is to be done about it.
    pub fn step(&mut self, at: Moment, rng: Fraction, input: Input) -> Vec<Effect> {
        let mut step = Step { at, rng, effects: Vec::new() };
        match input {
            Input::Begin { saved, fate, alive, same_boot } => {
                self.was_ready = saved.as_ref().is_some_and(|s| matches!(s.phase, SavedPhase::Up(_)))
                    && alive.is_some_and(|found| saved.as_ref().is_some_and(|s| s.run_id == found.run.id));
                self.begin(saved.map(|saved| *saved), fate, alive, same_boot, &mut step);
            }
            Input::Missed { run_id, start_recorded } => self.miss(run_id, start_recorded, &mut step),
            Input::LockedOut { owner } => self.enter(Phase::LockedOut { owner }, &mut step),
            Input::Order { verb, by, cause, run_id } => {
                if !self.is_over(run_id) {
                    self.order(verb, by, cause, &mut step);
                }
            }
            Input::Deps { ready, patience } => {
                self.deps = (ready, patience);
                if let Phase::Blocked { automatic, .. } = self.phase {
                    // The deadline may have moved.
                    self.epoch += 1;
                    if ready {
                        self.spawn(automatic, false, &mut step);
                    }
                }
            }
            Input::Spawned { process } => self.spawned(process, &mut step),
            Input::NotSpawned(refusal) => self.not_spawned(refusal, &mut step),
            Input::LastWords(words) => self.last_words = words,
            Input::Exited { run_id, exit } => self.exited(run_id, exit, &mut step),
            Input::Ready { run_id } => {
                if let Phase::Starting(run) = self.phase
                    && run.id == run_id
                {
                    step.record(EventType::ServiceReady, records::ready(&run, at));
                    self.enter(Phase::Up(run), &mut step);
                }
            }
            Input::Changed => {
                if matches!(self.phase, Phase::Held { .. }) {
                    self.want_start(true, &mut step);
                }
            }
            Input::Tick => self.tick(&mut step),
            Input::Spec { spec, restart } => self.respec(*spec, restart, &mut step),
            Input::Leave { cause } => match self.phase {
                Phase::Starting(run) | Phase::Up(run) => self.stop(run, cause, Then::Leave, &mut step),
                Phase::Stopping { ref mut then, .. } => {
                    *then = Then::Leave;
                    self.hasten(cause, &step);
                }
                _ => self.enter(Phase::Idle, &mut step),
            },
        }
        step.effects
    }

    fn order(&mut self, verb: Verb, by: String, cause: Option<StopCause>, step: &mut Step) {
        // Its orders are for who has it; ours would not reach the process.
        if matches!(self.phase, Phase::LockedOut { .. }) {
            return;
        }
        let cause = cause.unwrap_or(StopCause::Operator);
        // A verdict of the daemon is no wish of the operator: it neither brings up what is to be down, nor forgives.
        let wish = cause == StopCause::Operator;
        if wish {
            let up = verb != Verb::Stop;
            if self.intent.up != up || self.intent.by == "config" {
                self.intent = Intent { up, by: by.clone(), since_ms: step.at.wall_ms };
                self.epoch += 1;
                step.effects.push(Effect::SaveIntent);
            }
            if up {
                self.told_hold = None;
            }
        }
        if verb == Verb::Restart && wish && !self.is_joining_restart() {
            step.record(EventType::ServiceRestart, records::ordered(self.run_id, &by));
        }
        match (verb, &mut self.phase) {
            (Verb::Start | Verb::Restart, Phase::Spawning { .. }) => {}
            // It is not ours yet, or not any more.
            (_, Phase::LockedOut { .. } | Phase::Idle) => {}
            (Verb::Start, Phase::Starting(_) | Phase::Up(_)) => {}
            (Verb::Start, Phase::Stopping { then, .. }) => {
                if *then == Then::Down {
                    *then = Then::Start;
                    self.epoch += 1;
                }
            }
            (Verb::Restart, Phase::Starting(run) | Phase::Up(run)) => {
                let run = *run;
                let then = if wish { Then::Start } else { Then::Again };
                self.stop(run, cause, then, step);
            }
            (Verb::Restart, Phase::Stopping { then, .. }) => {
                if wish && *then != Then::Leave {
                    *then = Then::Start;
                    self.epoch += 1;
                }
            }
            (Verb::Start | Verb::Restart, _) => {
                if wish {
                    self.backoff.forgive();
                    self.want_start(false, step);
                }
            }
            (Verb::Stop, Phase::Starting(run) | Phase::Up(run)) => {
                let run = *run;
                self.stop(run, cause, Then::Down, step);
            }
            (Verb::Stop, Phase::Stopping { then, .. }) => {
                if *then != Then::Leave {
                    *then = Then::Down;
                    self.hasten(cause, step);
                }
            }
            (Verb::Stop, _) => self.enter(Phase::Down, step),
        }
    }

    /// Whether a restart that is asked for now would be the one under way.
    fn is_joining_restart(&self) -> bool {
        matches!(self.phase, Phase::Stopping { then: Then::Start, .. })
    }

    /// A start is wanted; `automatic` ones keep throttle and back-off.
    pub(super) fn want_start(&mut self, automatic: bool, step: &mut Step) {
        if !self.intent.up {
            return self.enter(Phase::Down, step);
        }
        if automatic {
            let until = self.backoff.due(&self.spec, step.rng);
            if until > step.at.mono {
                return self.enter(Phase::Delayed { until }, step);
            }
        }
        self.start_after_deps(automatic, step);
    }

    fn start_after_deps(&mut self, automatic: bool, step: &mut Step) {
        if self.deps.0 {
            self.spawn(automatic, false, step);
        } else {
            self.enter(Phase::Blocked { since: step.at.mono, automatic }, step);
        }
    }

    fn spawn(&mut self, automatic: bool, impatient: bool, step: &mut Step) {
        let attempt = self.backoff.attempts + u32::from(automatic);
        step.effects.push(Effect::Spawn { run_id: self.run_id + 1, attempt });
        self.enter(Phase::Spawning { automatic, impatient }, step);
    }

    fn spawned(&mut self, process: super::ProcessRef, step: &mut Step) {
        let Phase::Spawning { automatic, impatient } = self.phase else { return };
        self.run_id += 1;
        self.short_of = None;
        self.backoff.started(step.at.mono, automatic);
        let run = Run { id: self.run_id, process, started: step.at, attempt: self.backoff.attempts, adopted: false };
        let mut data = records::start(&run);
        if impatient {
            data.insert("without_waiting_longer_for".into(), self.spec.after.iter().map(ToString::to_string).collect());
        }
        step.record(EventType::ServiceStart, data);
        self.enter_started(run, step);
    }

    pub(super) fn enter_started(&mut self, run: Run, step: &mut Step) {
        match self.spec.readiness() {
            Readiness::Exec => self.enter(Phase::Up(run), step),
            Readiness::Probe | Readiness::Notify => self.enter(Phase::Starting(run), step),
        }
    }

    fn not_spawned(&mut self, refusal: Refusal, step: &mut Step) {
        let Phase::Spawning { automatic, .. } = self.phase else { return };
        match refusal {
            // Nothing was started, so there is nothing to keep a distance from when it is mended.
            Refusal::Hold(hold) => self.hold(hold, false, step),
            Refusal::Short(what) => {
                self.backoff.started(step.at.mono, automatic);
                self.short_of = Some(what);
                self.backoff.failed_start(step.at.mono);
                // Without throttle too: a system that is short of processes must not be asked in a busy loop.
                let due = self.backoff.due(&self.spec, step.rng);
                let until = due.max(step.at.mono.plus(std::time::Duration::from_secs(1)));
                self.enter(Phase::Delayed { until }, step);
            }
        }
    }

    fn hold(&mut self, hold: Hold, with_tail: bool, step: &mut Step) {
        if self.told_hold.as_ref() != Some(&hold.reason) {
            self.told_hold = Some(hold.reason.clone());
            let data = records::held(&hold, self.run_id);
            step.effects.push(Effect::Record { event: EventType::ServiceHeld, data, with_tail });
        }
        self.enter(Phase::Held { hold, until: step.at.mono.plus(HOLD_RETRY) }, step);
    }

    fn exited(&mut self, run_id: u64, exit: Exit, step: &mut Step) {
        let (run, stopping, killed) = match self.phase {
            Phase::Starting(run) | Phase::Up(run) => (run, None, false),
            Phase::Stopping { run, cause, killed, then, .. } => (run, Some((cause, then)), killed),
            _ => return,
        };
        if run.id != run_id {
            return;
        }
        let uptime = step.at.mono.since(run.started.mono);
        let cause = stopping.map(|(cause, _)| cause);
        let class = classify(exit, cause, &self.spec.success_exit_codes, &self.spec.hold_exit_codes);
        self.last_exit = Some(LastExit::new(class, exit, step.at.wall_ms));
        self.backoff.ended(&self.spec, class, uptime, step.at.mono);
        // After a run that was well for a while the same refusal is a new one.
        if uptime >= HOLD_OVER || (uptime >= self.spec.min_uptime && class != ExitClass::Refused) {
            self.told_hold = None;
        }
        let data = records::end(&End { run: &run, exit, class, cause, killed }, step.at);
        let with_tail = class.is_crash() || class == ExitClass::Refused || class == ExitClass::Lost;
        step.effects.push(Effect::Record { event: EventType::of_end(class), data, with_tail });
        match stopping.map(|(_, then)| then) {
            Some(Then::Down) => self.enter(Phase::Down, step),
            Some(Then::Leave) => self.enter(Phase::Idle, step),
            Some(Then::Start) => {
                self.backoff.forgive();
                self.want_start(false, step);
            }
            Some(Then::Again) | None => self.follow(class, exit, step),
        }
        step.effects.push(Effect::Sweep { run_id: run.id, process: run.process });
    }

    /// What follows the end of a run while it is wanted up.
    pub(super) fn follow(&mut self, class: ExitClass, exit: Exit, step: &mut Step) {
        match next_after(class, self.spec.restart) {
            Next::Again => self.want_start(true, step),
            Next::Done => self.enter(Phase::Done, step),
            Next::Failed => self.enter(Phase::Failed, step),
            Next::Hold => {
                let code = exit.code().unwrap_or_default();
                let last_words = std::mem::take(&mut self.last_words);
                let reason = super::words::code_text(code);
                self.hold(Hold { reason, remedy: String::new(), last_words }, true, step);
            }
        }
    }

    fn tick(&mut self, step: &mut Step) {
        match self.phase {
            Phase::Delayed { until } if until <= step.at.mono => self.start_after_deps(true, step),
            Phase::Blocked { since, automatic } if since.plus(self.deps.1) <= step.at.mono => {
                self.spawn(automatic, true, step);
            }
            Phase::Held { until, .. } if until <= step.at.mono => self.want_start(true, step),
            Phase::Stopping { run, cause, until, then, .. } if until <= step.at.mono => {
                step.effects.push(Effect::Signal { process: run.process, signal: Signal::KILL });
                let until = step.at.mono.plus(KILL_AGAIN);
                self.enter(Phase::Stopping { run, cause, killed: true, until, then }, step);
            }
            _ => {}
        }
    }

    fn respec(&mut self, spec: ServiceSpec, restart: bool, step: &mut Step) {
        if spec.after.is_empty() {
            self.deps = (true, spec.start_timeout);
        }
        let same_mode = self.spec.restart == spec.restart;
        self.spec = spec;
        self.epoch += 1;
        match self.phase {
            Phase::Starting(run) | Phase::Up(run) if restart => self.stop(run, StopCause::Reload, Then::Start, step),
            Phase::Starting(run) if self.spec.readiness() == Readiness::Exec => self.enter(Phase::Up(run), step),
            // What has run its course does not run again because its log may be longer now.
            Phase::Done | Phase::Failed if !restart && same_mode => {}
            // What it was held for may be what has changed.
            Phase::Held { .. } | Phase::Done | Phase::Failed => {
                self.told_hold = None;
                self.want_start(true, step);
            }
            Phase::Delayed { .. } => self.want_start(true, step),
            Phase::Blocked { automatic, .. } if self.deps.0 => self.spawn(automatic, false, step),
            _ => {}
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, step: &mut Step) {
        // Being killed is the same stop, and a later retry the same wait.
        if std::mem::discriminant(&self.phase) != std::mem::discriminant(&phase) || self.since_ms == 0 {
            self.since_ms = step.at.wall_ms;
        }
        self.phase = phase;
        self.epoch += 1;
    }
}
