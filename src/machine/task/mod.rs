//! One run of a calendar job: its steps one after the other, each with its time limit and its further tries, until the job is done,
//! has failed, or is ended. Limits are counted in awake time: what is frozen while the machine sleeps has used up nothing.
//!
//! ```text
//!   Waiting ──► Starting ──► Running ──────────► next step, or End
//!  (caught up)    ▲    └ not started ─┐ exit       ▲
//!                 └──── Pausing ◄─────┴────────────┤ no further try
//!                          Stopping ◄── limit, stop ┘ exit
//! ```
//!
//! Exactly one record is told for each step, in order, and exactly one end.

mod end;
mod reason;
mod records;
mod stop;
#[cfg(test)]
mod tests;
mod types;

use std::time::Duration;

use super::ProcessRef;
use super::words::exactly_time;
use crate::model::{
    Exit, Fraction, Moment, Mono, StepAction, StepOutcome, StepRecord, StepSpec, StepWhen, TaskSpec, Timing,
    stable_hash,
};

pub use records::{finished, started};
pub use types::{TaskEffect, TaskInput, TaskPlan};

/// The longest pause between two tries of a step.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// From waking up (or coming up) to the first run that makes up for a missed one: the network is there then.
const CATCH_UP_GRACE: Duration = Duration::from_secs(30);

/// What nobody calls a pause.
const SHORT: Duration = Duration::from_millis(500);

/// Between the runs of several jobs that make up for missed ones.
const CATCH_UP_STAGGER: Duration = Duration::from_secs(20);

/// What is happening.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Nothing yet.
    Idle,
    /// Until the machine has come to itself.
    Waiting(Mono),
    /// `Start` was asked for, and is answered in the same turn.
    Starting,
    /// A step runs, until then at most.
    Running { process: ProcessRef, since: Mono, until: Mono },
    /// A step is being ended; SIGKILL is due (again) then.
    Stopping { process: ProcessRef, since: Mono, killed: bool, timed_out: bool, until: Mono },
    /// Before the next try of a step.
    Pausing(Mono),
    /// It is over.
    Over,
}

/// Why the whole run is being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// `max_runtime` is over.
    TooLong,
    /// Somebody said so: why.
    Stopped(String),
}

/// What became of the last step that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Ok,
    Failed,
}

/// One run of a job.
#[derive(Debug)]
pub struct TaskMachine {
    spec: TaskSpec,
    plan: TaskPlan,
    phase: Phase,
    /// When the first step was started.
    began: Option<Moment>,
    /// The step that is looked at, from 0.
    step: usize,
    tries: u32,
    /// Of the tries of this step that are over.
    spent: Duration,
    last: Option<Last>,
    /// Why the job has failed, with the step.
    failed: Option<String>,
    /// Failures that the job goes on without.
    tolerated: Vec<String>,
    ended: Option<Ended>,
    /// Somebody wants the run to end at once, and its step was not killed before that.
    at_once: bool,
    /// Which step did not end by itself when the run was ended, and what became of it.
    killed: Option<String>,
    /// How many steps at the beginning a run before has done.
    done: usize,
}

impl TaskMachine {
    /// Of a slot that has just been taken.
    pub fn new(spec: TaskSpec, plan: TaskPlan) -> Self {
        Self {
            done: done_before(&spec, &plan),
            spec,
            plan,
            phase: Phase::Idle,
            began: None,
            step: 0,
            tries: 0,
            spent: Duration::ZERO,
            last: None,
            failed: None,
            tolerated: Vec::new(),
            ended: None,
            at_once: false,
            killed: None,
        }
    }

    /// When it wants to be told the time.
    pub fn due(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Waiting(until) | Phase::Running { until, .. } | Phase::Stopping { until, .. } => Some(*until),
            Phase::Pausing(until) => Some((*until).min(self.last_moment())),
            Phase::Idle | Phase::Starting | Phase::Over => None,
        }
    }

    /// When the first step was started; `None` before.
    pub fn began(&self) -> Option<Moment> {
        self.began
    }

    /// Takes an input in.
    pub fn step(&mut self, at: Moment, rng: Fraction, input: TaskInput) -> Vec<TaskEffect> {
        let mut effects = Vec::new();
        match (input, self.phase.clone()) {
            (TaskInput::Begin, Phase::Idle) => match self.plan.timing {
                Timing::CaughtUp => {
                    let wait = CATCH_UP_GRACE + CATCH_UP_STAGGER * self.plan.place;
                    self.phase = Phase::Waiting(at.mono.plus(wait));
                }
                Timing::InTime | Timing::Late => self.begin(at, &mut effects),
            },
            (TaskInput::Spawned(process), Phase::Starting) => {
                let until = at.mono.plus(self.current_limit()).min(self.last_moment());
                self.phase = Phase::Running { process, since: at.mono, until };
                if self.ended.is_some() {
                    self.ask_to_end(process, at.mono, false, at, &mut effects);
                }
            }
            (TaskInput::NotSpawned(why), Phase::Starting) => {
                self.tried(StepOutcome::NotStarted, Exit::Unknown, why, at, rng, &mut effects);
            }
            (TaskInput::Exited { exit, said }, Phase::Running { since, .. }) => {
                self.spent += at.mono.since(since);
                self.exited(exit, said.as_deref(), at, rng, &mut effects);
            }
            (TaskInput::Exited { exit, .. }, Phase::Stopping { since, timed_out, killed, .. }) => {
                self.spent += at.mono.since(since);
                self.was_stopped(exit, (timed_out, killed), at, rng, &mut effects);
            }
            (TaskInput::Stop { why, at_once }, phase) => self.stop(why, at_once, &phase, at, &mut effects),
            (TaskInput::Tick, phase) if self.due().is_some_and(|due| due <= at.mono) => {
                self.on_time(&phase, at, &mut effects);
            }
            // Late about what is over already.
            _ => {}
        }
        effects
    }

    /// The job's limit, which begins with its first step.
    fn last_moment(&self) -> Mono {
        self.began.map_or(Mono(u64::MAX), |began| began.mono.plus(self.spec.max_runtime))
    }

    fn current(&self) -> Option<&StepSpec> {
        self.spec.steps.get(self.step)
    }

    fn current_limit(&self) -> Duration {
        self.current().map_or(Duration::ZERO, |step| step.timeout)
    }

    fn begin(&mut self, at: Moment, effects: &mut Vec<TaskEffect>) {
        self.began = Some(at);
        effects.push(TaskEffect::Began);
        self.proceed(at, effects);
    }

    fn on_time(&mut self, phase: &Phase, at: Moment, effects: &mut Vec<TaskEffect>) {
        match *phase {
            Phase::Waiting(_) => self.begin(at, effects),
            Phase::Pausing(_) if at.mono >= self.last_moment() => {
                self.ended.get_or_insert(Ended::TooLong);
                let why = self.why_ended();
                self.note(StepOutcome::TimedOut, Exit::Unknown, Some(why), effects);
                self.proceed(at, effects);
            }
            Phase::Pausing(_) => self.try_now(effects),
            Phase::Running { process, since, .. } => {
                let timed_out = at.mono < self.last_moment();
                if !timed_out {
                    self.ended.get_or_insert(Ended::TooLong);
                }
                self.ask_to_end(process, since, timed_out, at, effects);
            }
            Phase::Stopping { process, since, timed_out, .. } => {
                self.kill(process, since, timed_out, at, effects);
            }
            Phase::Idle | Phase::Starting | Phase::Over => {}
        }
    }

    fn exited(&mut self, exit: Exit, said: Option<&str>, at: Moment, rng: Fraction, effects: &mut Vec<TaskEffect>) {
        let good = |step: &StepSpec| exit.code().is_some_and(|code| step.success_exit_codes.contains(&code));
        if self.current().is_some_and(good) {
            self.note(StepOutcome::Ok, exit, None, effects);
            self.proceed(at, effects);
        } else {
            let why = reason::of_failure(self.current().map(|step| &step.action), exit, said);
            self.tried(StepOutcome::Failed, exit, why, at, rng, effects);
        }
    }

    /// A try did not end well: another one, or that was it.
    fn tried(
        &mut self,
        outcome: StepOutcome,
        exit: Exit,
        why: String,
        at: Moment,
        rng: Fraction,
        effects: &mut Vec<TaskEffect>,
    ) {
        let more = self.current().is_some_and(|step| self.tries <= step.retries);
        if !more || self.ended.is_some() || at.mono >= self.last_moment() {
            self.note(outcome, exit, Some(why), effects);
            self.proceed(at, effects);
            return;
        }
        let pause = self.current().map_or(Duration::ZERO, |step| pause(step.retry_delay, self.tries, rng));
        let when = if pause < SHORT { "at once".into() } else { format!("in {}", exactly_time(pause)) };
        effects.push(TaskEffect::Say(format!("{}: {why}; it is tried again {when}", self.place())));
        self.phase = Phase::Pausing(at.mono.plus(pause));
    }

    /// The step that is looked at is over.
    fn note(&mut self, outcome: StepOutcome, exit: Exit, why: Option<String>, effects: &mut Vec<TaskEffect>) {
        let Some(step) = self.current() else { return };
        let tolerated = step.continue_on_failure;
        let record = StepRecord {
            step: self.step + 1,
            what: step_name(step),
            outcome,
            tries: self.tries,
            code: exit.code(),
            signal: exit.signal(),
            awake_ms: u64::try_from(self.spent.as_millis()).unwrap_or(u64::MAX),
            why,
            mark: self.current().map(step_mark),
        };
        let words = record.why.as_ref().map(|why| format!("{}: {why}", self.place()));
        match outcome {
            StepOutcome::Ok => self.last = Some(Last::Ok),
            StepOutcome::Skipped => {}
            StepOutcome::Cancelled | StepOutcome::Interrupted => effects.extend(words.map(TaskEffect::Say)),
            StepOutcome::Failed | StepOutcome::TimedOut | StepOutcome::NotStarted => {
                self.last = Some(Last::Failed);
                let words = words.unwrap_or_default();
                effects.push(TaskEffect::Say(words.clone()));
                if tolerated {
                    self.tolerated.push(words);
                } else {
                    self.failed.get_or_insert(words);
                }
            }
        }
        effects.push(TaskEffect::Note(record));
        self.step += 1;
        self.tries = 0;
        self.spent = Duration::ZERO;
    }

    /// The next step that is to be done, or the end.
    fn proceed(&mut self, at: Moment, effects: &mut Vec<TaskEffect>) {
        // A step that ended by itself in the last moment leaves no time for another.
        if at.mono >= self.last_moment() && self.step < self.spec.steps.len() {
            self.ended.get_or_insert(Ended::TooLong);
        }
        while let Some(step) = self.current() {
            let why = self.left_out(step);
            let Some(why) = why else {
                self.try_now(effects);
                return;
            };
            if self.step < self.done {
                self.last = Some(Last::Ok);
            }
            self.note(StepOutcome::Skipped, Exit::Unknown, Some(why), effects);
        }
        self.phase = Phase::Over;
        effects.push(TaskEffect::End(self.end(at)));
    }

    fn try_now(&mut self, effects: &mut Vec<TaskEffect>) {
        self.tries += 1;
        self.phase = Phase::Starting;
        effects.push(TaskEffect::Start { step: self.step, attempt: self.tries });
    }

    /// Why a step is not done; `None` when it is.
    fn left_out(&self, step: &StepSpec) -> Option<String> {
        let why = match (&self.ended, &self.plan.resumes) {
            (Some(Ended::TooLong), _) => "the job was over its max_runtime".to_owned(),
            (Some(Ended::Stopped(_)), _) => "the run was ended before".to_owned(),
            (None, Some((run, _))) if self.step < self.done => format!("done by run {run}"),
            (None, _) => match (step.when, &self.failed, self.last) {
                (StepWhen::Going, None, _) | (StepWhen::Ok, None, Some(Last::Ok)) => return None,
                (StepWhen::Failed, _, Some(Last::Failed)) => return None,
                (StepWhen::Going | StepWhen::Ok, Some(_), _) => "the job had failed".to_owned(),
                (StepWhen::Ok, None, _) => "the step before had failed (if = \"ok\")".to_owned(),
                (StepWhen::Failed, ..) => "the step before had not failed (if = \"failed\")".to_owned(),
            },
        };
        Some(why)
    }

    /// `step 2 of 3 (backup)`.
    fn place(&self) -> String {
        let name = self.current().map(step_name).unwrap_or_default();
        format!("step {} of {} ({name})", self.step + 1, self.spec.steps.len())
    }
}

/// What a step is called: its name, else that of its program or of the maintenance it does.
pub fn step_name(step: &StepSpec) -> String {
    let of_program = |argv: &Vec<String>| {
        let program = argv.first().map_or("", String::as_str);
        program.rsplit('/').find(|part| !part.is_empty()).unwrap_or(program).to_owned()
    };
    step.name.clone().unwrap_or_else(|| match &step.action {
        StepAction::Run(argv) => of_program(argv),
        StepAction::Builtin(builtin) => builtin.name().to_owned(),
    })
}

/// After so many tries: doubled each time, and from half of that to all of it, so that jobs that fail for one reason do not try again
/// at one time.
fn pause(delay: Duration, tries: u32, rng: Fraction) -> Duration {
    let doubled = delay.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + rng.get() / 2.0)
}

/// How many steps at the beginning the run before has done; a list of other steps has none in common with it from there on.
fn done_before(spec: &TaskSpec, plan: &TaskPlan) -> usize {
    let Some((_, records)) = &plan.resumes else { return 0 };
    let done = |(number, (step, record)): &(usize, (&StepSpec, &StepRecord))| {
        matches!(record.outcome, StepOutcome::Ok | StepOutcome::Skipped)
            && record.step == number + 1
            && record.what == step_name(step)
            && record.mark.is_none_or(|mark| mark == step_mark(step))
    };
    spec.steps.iter().zip(records).enumerate().take_while(done).count()
}

/// Of what a step does: steps without names are often called the same.
fn step_mark(step: &StepSpec) -> u32 {
    let bytes = serde_json::to_vec(&step.action).unwrap_or_default();
    u32::try_from(stable_hash(bytes) & u64::from(u32::MAX)).unwrap_or_default()
}
