//! A run against a small model of what its steps come to, and the words that people read.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Overlap, SlotEnd, SlotKey, SlotState, UnitName};

const START_MS: i64 = 1_795_334_100_000;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn job(steps: Vec<StepSpec>) -> TaskSpec {
    TaskSpec {
        name: UnitName::new("job").unwrap(),
        enabled: true,
        calendar: Vec::new(),
        timezone: None,
        steps,
        catch_up: crate::model::CatchUp::Once,
        overlap: Overlap::Skip,
        start_within: secs(600),
        max_runtime: secs(3600),
        min_runtime: Duration::ZERO,
        stop_signal: Signal::TERM,
        stop_timeout: secs(10),
        cwd: "/".into(),
        env: [].into(),
        env_file: None,
    }
}

fn plan(timing: Timing) -> TaskPlan {
    TaskPlan { slot: SlotKey::Due(START_MS), timing, place: 0, resumes: None }
}

/// How a try goes: after so many seconds it ends so; `None` for a program that cannot be started.
type Try = Option<(u64, Behaviour)>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    Code(i32),
    /// Runs until it is asked to end, and ends so many seconds after that.
    Hangs(u64),
    /// Ends upon SIGKILL only.
    Deaf,
}

/// The machine in a world of its own.
struct World {
    machine: TaskMachine,
    now: Moment,
    tries: Vec<Vec<Try>>,
    /// What the process that runs does by itself, and when; when it follows SIGTERM.
    ends: Option<(Mono, Exit)>,
    hang: Option<u64>,
    deaf: bool,
    process: Option<ProcessRef>,
    rng: f64,
    said: Vec<String>,
    signals: Vec<(u64, Signal)>,
    starts: Vec<(usize, u32, u64)>,
    records: Vec<StepRecord>,
    began: u32,
    end: Option<SlotEnd>,
}

impl World {
    fn new(spec: TaskSpec, plan: TaskPlan, tries: Vec<Vec<Try>>) -> Self {
        Self {
            machine: TaskMachine::new(spec, plan),
            now: Moment { mono: Mono(0), boot_ns: 7, wall_ms: START_MS },
            tries,
            ends: None,
            hang: None,
            deaf: false,
            process: None,
            rng: 0.5,
            said: Vec::new(),
            signals: Vec::new(),
            starts: Vec::new(),
            records: Vec::new(),
            began: 0,
            end: None,
        }
    }

    fn at(&self) -> u64 {
        self.now.mono.0 / 1_000_000_000
    }

    fn pass(&mut self, to: Mono) {
        let time = to.since(self.now.mono);
        self.now.mono = self.now.mono.plus(time);
        self.now.boot_ns += u64::try_from(time.as_nanos()).unwrap();
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
    }

    fn sleep(&mut self, time: Duration) {
        self.now.boot_ns += u64::try_from(time.as_nanos()).unwrap();
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
    }

    fn tell(&mut self, input: TaskInput) {
        assert!(self.end.is_none() || self.machine.due().is_none());
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let effects = self.machine.step(self.now, Fraction::new(self.rng), input);
            for effect in effects {
                assert!(self.end.is_none(), "{effect:?} after the end");
                inputs.extend(self.perform(effect));
            }
        }
    }

    fn perform(&mut self, effect: TaskEffect) -> Option<TaskInput> {
        match effect {
            TaskEffect::Began => self.began += 1,
            TaskEffect::Start { step, attempt } => {
                assert!(self.process.is_none(), "two steps at a time");
                assert_eq!(self.records.len(), step, "the steps before are over");
                self.starts.push((step, attempt, self.at()));
                let tries = &self.tries[step];
                let nth = usize::try_from(attempt - 1).unwrap().min(tries.len() - 1);
                let Some((after, behaviour)) = tries[nth] else {
                    return Some(TaskInput::NotSpawned("it is missing".into()));
                };
                let process = ProcessRef { pid: i32::try_from(self.starts.len()).unwrap() + 1, start: 9 };
                (self.process, self.ends, self.hang, self.deaf) = (Some(process), None, None, false);
                match behaviour {
                    Behaviour::Code(code) => self.ends = Some((self.now.mono.plus(secs(after)), Exit::Code(code))),
                    Behaviour::Hangs(after) => self.hang = Some(after),
                    Behaviour::Deaf => self.deaf = true,
                }
                return Some(TaskInput::Spawned(process));
            }
            TaskEffect::Signal(process, signal) => {
                assert_eq!(Some(process), self.process, "a signal for somebody else");
                self.signals.push((self.at(), signal));
                if signal == Signal::KILL {
                    self.ends = Some((self.now.mono, Exit::Signal { signal, core: false }));
                } else if let Some(after) = self.hang {
                    self.ends = Some((self.now.mono.plus(secs(after)), Exit::Signal { signal, core: false }));
                }
            }
            TaskEffect::Say(text) => self.said.push(text),
            TaskEffect::Note(record) => {
                assert_eq!(record.step, self.records.len() + 1, "one record for each step, in order");
                assert!(self.process.is_none());
                self.records.push(record);
            }
            TaskEffect::End(end) => self.end = Some(end),
        }
        None
    }

    /// Goes on to whatever is next, at most up to `until`; whether it got there.
    fn advance(&mut self, until: Mono) -> bool {
        let due = [self.machine.due(), self.ends.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(due) = due.filter(|due| *due <= until) else {
            self.pass(until);
            return true;
        };
        self.pass(due.max(self.now.mono));
        match self.ends.filter(|(at, _)| *at <= self.now.mono) {
            Some((_, exit)) => {
                (self.ends, self.process) = (None, None);
                self.tell(TaskInput::Exited(exit));
            }
            None => self.tell(TaskInput::Tick),
        }
        false
    }

    fn run(&mut self) -> SlotEnd {
        self.tell(TaskInput::Begin);
        self.finish()
    }

    fn finish(&mut self) -> SlotEnd {
        for _ in 0..10_000 {
            if let Some(end) = &self.end {
                assert_eq!(self.machine.due(), None);
                return end.clone();
            }
            assert!(!self.advance(Mono(u64::MAX / 2)), "it stands still: {:?}", self.machine);
        }
        panic!("it does not end");
    }
}

fn ok() -> Vec<Try> {
    vec![Some((1, Behaviour::Code(0)))]
}

fn fails(code: i32) -> Vec<Try> {
    vec![Some((1, Behaviour::Code(code)))]
}

fn step() -> StepSpec {
    StepSpec::for_tests(&["/usr/local/bin/backup", "now"])
}

fn outcomes(world: &World) -> Vec<StepOutcome> {
    world.records.iter().map(|record| record.outcome).collect()
}

#[test]
fn steps_run_in_order_and_the_timing_names_the_end() {
    for (timing, state, why) in [
        (Timing::InTime, SlotState::Ran, ""),
        (Timing::Late, SlotState::Late, "begun 12m after it was due"),
        (Timing::CaughtUp, SlotState::CaughtUp, "made up for 12m 30s after it was due"),
    ] {
        let mut world = World::new(job(vec![step(), step()]), plan(timing), vec![ok(), ok()]);
        if timing != Timing::InTime {
            world.sleep(secs(720));
        }
        let end = world.run();
        assert_eq!((end.state, end.why.as_str(), end.awake_ms, end.frozen_ms), (state, why, 2000, 0));
        assert_eq!((world.began, outcomes(&world)), (1, vec![StepOutcome::Ok; 2]));
        assert_eq!(world.records[1].what, "backup");
    }
}

#[test]
fn runs_that_make_up_for_missed_ones_wait_and_do_not_begin_together() {
    for (place, begins) in [(0, 30), (1, 50), (7, 170)] {
        let plan = TaskPlan { place, ..plan(Timing::CaughtUp) };
        let mut world = World::new(job(vec![step()]), plan, vec![ok()]);
        world.run();
        assert_eq!(world.starts, [(0, 1, begins)]);
    }
    // Ended while it waits, it has not begun.
    let mut world = World::new(job(vec![step()]), plan(Timing::CaughtUp), vec![ok()]);
    world.tell(TaskInput::Begin);
    assert!(world.advance(Mono(5_000_000_000)));
    world.tell(TaskInput::Stop("stopped by the operator".into()));
    let end = world.end.clone().unwrap();
    assert_eq!((end.state, end.why.as_str(), world.began), (SlotState::Cancelled, "stopped by the operator", 0));
    assert_eq!(outcomes(&world), [StepOutcome::Skipped]);
}

#[test]
fn a_failed_step_ends_the_job_and_what_cleans_up_is_done() {
    let cleanup = StepSpec { when: StepWhen::Failed, ..step() };
    let last = StepSpec { when: StepWhen::Ok, ..step() };
    let mut world = World::new(
        job(vec![step(), step(), cleanup, last, step()]),
        plan(Timing::Late),
        vec![ok(), fails(7), ok(), ok(), ok()],
    );
    let end = world.run();
    use StepOutcome::{Failed, Ok, Skipped};
    assert_eq!(outcomes(&world), [Ok, Failed, Ok, Skipped, Skipped]);
    assert_eq!(
        (end.state, end.why.as_str()),
        (SlotState::Failed, "step 2 of 5 (backup): exit code 7; begun 0s after it was due")
    );
    assert_eq!(world.records[4].why.as_deref(), Some("the job had failed"));
    assert_eq!(world.records[1].code, Some(7));

    let tolerated = StepSpec { continue_on_failure: true, ..step() };
    let only_ok = StepSpec { when: StepWhen::Ok, ..step() };
    let only_failed = StepSpec { when: StepWhen::Failed, success_exit_codes: vec![3], ..step() };
    let mut world = World::new(
        job(vec![tolerated, only_ok, only_failed, step()]),
        plan(Timing::InTime),
        vec![fails(1), ok(), fails(3), ok()],
    );
    let end = world.run();
    assert_eq!(outcomes(&world), [Failed, Skipped, Ok, Ok]);
    assert_eq!(
        (end.state, end.why.as_str()),
        (SlotState::Ran, "step 1 of 4 (backup): exit code 1 (the job goes on without it)")
    );
}

#[test]
fn tries_are_repeated_with_growing_pauses() {
    let spec = StepSpec { retries: 8, retry_delay: secs(10), ..step() };
    let tries = vec![None, Some((0, Behaviour::Code(1))), Some((0, Behaviour::Code(2)))];
    let mut world = World::new(job(vec![spec.clone()]), plan(Timing::InTime), vec![tries.clone()]);
    world.rng = 1.0;
    let end = world.run();
    let times: Vec<u64> = world.starts.iter().map(|(_, _, at)| *at).collect();
    let pauses: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]).div_ceil(10) * 10).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!((end.state, world.records[0].tries, world.records[0].code), (SlotState::Failed, 9, Some(2)));
    assert!(
        world.said[0].starts_with("step 1 of 1 (backup): it is missing; it is tried again in 10s"),
        "{:?}",
        world.said
    );
    // The luckiest waits half as long.
    let mut world = World::new(job(vec![spec]), plan(Timing::InTime), vec![tries]);
    world.rng = 0.0;
    world.run();
    assert_eq!(world.starts[2].2, 15);
}

#[test]
fn a_step_over_its_time_is_asked_and_then_killed() {
    let slow = StepSpec { timeout: secs(5), ..step() };
    let mut world = World::new(job(vec![slow.clone()]), plan(Timing::InTime), vec![vec![Some((0, Behaviour::Deaf))]]);
    let end = world.run();
    assert_eq!(world.signals, [(5, Signal::TERM), (15, Signal::KILL)]);
    assert_eq!(end.why, "step 1 of 1 (backup): it did not end within its timeout of 5s, nor upon SIGTERM");
    assert_eq!((outcomes(&world), end.state), (vec![StepOutcome::TimedOut], SlotState::Failed));
    assert_eq!((world.records[0].awake_ms, world.records[0].signal), (15_000, Some(Signal::KILL)));
    let mut world = World::new(job(vec![slow]), plan(Timing::InTime), vec![vec![Some((0, Behaviour::Hangs(1)))]]);
    assert!(!world.run().why.contains("SIGTERM"));
    assert_eq!(world.signals, [(5, Signal::TERM)]);
}

#[test]
fn a_job_over_its_time_is_ended_and_nothing_follows() {
    let spec = TaskSpec {
        max_runtime: secs(20),
        stop_signal: Signal::parse("INT").unwrap(),
        ..job(vec![step(), StepSpec { when: StepWhen::Failed, ..step() }])
    };
    let mut world = World::new(spec, plan(Timing::Late), vec![vec![Some((0, Behaviour::Hangs(2)))], ok()]);
    let end = world.run();
    assert_eq!(world.signals, [(20, Signal::parse("INT").unwrap())]);
    assert_eq!(outcomes(&world), [StepOutcome::TimedOut, StepOutcome::Skipped]);
    assert_eq!((end.state, end.awake_ms), (SlotState::TooLong, 22_000));
    assert_eq!(end.why, "the job did not end within its max_runtime of 20s; begun 0s after it was due");
    // Between two tries.
    let retried = StepSpec { retries: 9, retry_delay: secs(100), ..step() };
    let spec = TaskSpec { max_runtime: secs(20), ..job(vec![retried]) };
    let mut world = World::new(spec, plan(Timing::InTime), vec![fails(1)]);
    let end = world.run();
    assert_eq!((end.state, end.awake_ms, outcomes(&world)), (SlotState::TooLong, 20_000, vec![StepOutcome::TimedOut]));
}

#[test]
fn a_run_that_is_stopped_ends_its_step_and_a_second_word_kills() {
    let mut world =
        World::new(job(vec![step(), step()]), plan(Timing::InTime), vec![vec![Some((0, Behaviour::Deaf))], ok()]);
    world.tell(TaskInput::Begin);
    assert!(world.advance(Mono(3_000_000_000)));
    world.tell(TaskInput::Stop("stopped by the operator".into()));
    assert!(world.advance(Mono(4_000_000_000)));
    world.tell(TaskInput::Stop("ended by its service manager".into()));
    let end = world.finish();
    assert_eq!(world.signals, [(3, Signal::TERM), (4, Signal::KILL)]);
    assert_eq!(outcomes(&world), [StepOutcome::Cancelled, StepOutcome::Skipped]);
    assert_eq!((end.state, end.why.as_str()), (SlotState::Cancelled, "stopped by the operator"));
    assert_eq!(world.records[0].why.as_deref(), Some("stopped by the operator, nor upon SIGTERM"));
}

#[test]
fn a_run_that_is_too_short_says_so() {
    let spec = TaskSpec { min_runtime: secs(60), ..job(vec![step()]) };
    let end = World::new(spec, plan(Timing::InTime), vec![ok()]).run();
    assert_eq!((end.state, end.why.as_str()), (SlotState::TooShort, "it took 1s, less than its min_runtime of 1m"));
}

#[test]
fn time_in_which_the_machine_slept_is_told_and_uses_up_nothing() {
    let spec = StepSpec { timeout: secs(60), ..step() };
    let mut world = World::new(job(vec![spec]), plan(Timing::InTime), vec![vec![Some((50, Behaviour::Code(0)))]]);
    world.tell(TaskInput::Begin);
    assert!(world.advance(Mono(10_000_000_000)));
    world.sleep(secs(5 * 3600 + 120));
    let end = world.finish();
    assert_eq!((end.state, end.awake_ms, end.frozen_ms), (SlotState::Ran, 50_000, 18_120_000));
    assert_eq!(end.why, "frozen for 5h 2m while the machine slept");
    assert_eq!(world.records[0].awake_ms, 50_000);
}

#[test]
fn a_run_goes_on_from_the_first_step_that_failed() {
    let named = |name: &str| StepSpec { name: Some(name.into()), ..step() };
    let spec = job(vec![named("a"), named("b"), StepSpec { when: StepWhen::Ok, ..named("c") }, named("d")]);
    let mut first = World::new(spec.clone(), plan(Timing::InTime), vec![ok(), ok(), fails(1), ok()]);
    first.run();
    let extra = SlotKey::Extra(START_MS + 60_000);
    let resumed = |records: Vec<StepRecord>| TaskPlan {
        slot: extra,
        timing: Timing::InTime,
        place: 0,
        resumes: Some((SlotKey::Due(START_MS), records)),
    };
    let mut again = World::new(spec.clone(), resumed(first.records.clone()), vec![ok(), ok(), ok(), ok()]);
    let end = again.run();
    use StepOutcome::{Ok, Skipped};
    assert_eq!(outcomes(&again), [Skipped, Skipped, Ok, Ok]);
    assert_eq!((end.state, again.records[1].why.as_deref()), (SlotState::Ran, Some("done by run 20261122T075500Z")));
    assert_eq!(again.starts.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), [2, 3]);
    // Another list of steps is another job.
    let other = job(vec![named("a"), named("x"), named("c")]);
    let mut world = World::new(other, resumed(first.records), vec![ok(), ok(), ok()]);
    world.run();
    assert_eq!(outcomes(&world), [Skipped, Ok, Ok]);
}

/// What a run without a word from outside comes to, and how often each step is tried.
fn expected(spec: &TaskSpec, tries: &[Vec<Try>]) -> (SlotState, Vec<(StepOutcome, u32)>) {
    let (mut failed, mut last, mut steps) = (false, None, Vec::new());
    for (step, tries) in spec.steps.iter().zip(tries) {
        let wanted = match step.when {
            StepWhen::Going => !failed,
            StepWhen::Ok => !failed && last == Some(true),
            StepWhen::Failed => last == Some(false),
        };
        if !wanted {
            steps.push((StepOutcome::Skipped, 0));
            continue;
        }
        let outcome = |nth: u32| match tries[usize::try_from(nth).unwrap().min(tries.len() - 1)] {
            None => StepOutcome::NotStarted,
            Some((after, Behaviour::Code(code))) if secs(after) <= step.timeout => {
                if step.success_exit_codes.contains(&code) { StepOutcome::Ok } else { StepOutcome::Failed }
            }
            Some(_) => StepOutcome::TimedOut,
        };
        let good = (0..=step.retries).find(|nth| outcome(*nth) == StepOutcome::Ok);
        steps.push(match good {
            Some(nth) => (StepOutcome::Ok, nth + 1),
            None => (outcome(step.retries), step.retries + 1),
        });
        last = Some(good.is_some());
        failed |= good.is_none() && !step.continue_on_failure;
    }
    (if failed { SlotState::Failed } else { SlotState::Ran }, steps)
}

fn some_try() -> impl Strategy<Value = Try> {
    prop_oneof![
        1 => Just(None),
        4 => (0u64..20, prop_oneof![3 => Just(0), 1 => 1..4]).prop_map(|(after, code)| Some((after, Behaviour::Code(code)))),
        1 => (0u64..20).prop_map(|after| Some((0, Behaviour::Hangs(after)))),
        1 => Just(Some((0, Behaviour::Deaf))),
    ]
}

fn some_step() -> impl Strategy<Value = (StepSpec, Vec<Try>)> {
    let when = prop_oneof![Just(StepWhen::Going), Just(StepWhen::Ok), Just(StepWhen::Failed)];
    let codes = prop_oneof![Just(vec![0]), Just(vec![0, 3])];
    (1u64..30, 0u32..4, 0u64..10, any::<bool>(), when, codes, proptest::collection::vec(some_try(), 1..4)).prop_map(
        |(timeout, retries, delay, continue_on_failure, when, success_exit_codes, tries)| {
            let (timeout, retry_delay) = (secs(timeout), secs(delay));
            (StepSpec { timeout, retries, retry_delay, continue_on_failure, when, success_exit_codes, ..step() }, tries)
        },
    )
}

/// A job, and what its steps do. As in services.toml the first goes by nothing before it.
fn some_job() -> impl Strategy<Value = (TaskSpec, Vec<Vec<Try>>)> {
    proptest::collection::vec(some_step(), 1..7).prop_map(|steps| {
        let (mut steps, tries): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        steps[0].when = StepWhen::Going;
        (TaskSpec { max_runtime: secs(100_000), ..job(steps) }, tries)
    })
}

proptest! {
    #[test]
    fn it_comes_to_what_the_model_says((spec, tries) in some_job(), rng in 0.0..1.0f64) {
        let mut world = World::new(spec.clone(), plan(Timing::InTime), tries.clone());
        world.rng = rng;
        let end = world.run();
        let (state, steps) = expected(&spec, &tries);
        prop_assert_eq!(end.state, state);
        let found: Vec<_> = world.records.iter().map(|record| (record.outcome, record.tries)).collect();
        let is_bad = |(outcome, _): &(StepOutcome, u32)| !matches!(outcome, StepOutcome::Ok | StepOutcome::Skipped);
        prop_assert_eq!(end.why.is_empty(), !steps.iter().any(is_bad));
        prop_assert_eq!(found, steps);
    }

    /// Ended at any time, for whatever reason: one record for each step, one end, no process left, and the time it may take is kept.
    #[test]
    fn whatever_ends_it_it_ends_in_time(
        (spec, tries) in some_job(),
        rng in 0.0..1.0f64,
        most in 1u64..120,
        stops in proptest::collection::vec(0u64..150, 0..3),
        slept in 0u64..100_000,
        caught_up in any::<bool>(),
    ) {
        let spec = TaskSpec { max_runtime: secs(most), ..spec };
        let timing = if caught_up { Timing::CaughtUp } else { Timing::InTime };
        let (count, patience) = (spec.steps.len(), 10);
        let mut world = World::new(spec, plan(timing), tries);
        world.rng = rng;
        world.tell(TaskInput::Begin);
        let mut stops = stops;
        stops.sort_unstable();
        let first_stop = stops.first().copied();
        let mut stopped = false;
        for stop in stops {
            while world.end.is_none() && !world.advance(Mono(stop * 1_000_000_000)) {}
            stopped |= world.end.is_none();
            world.sleep(secs(slept));
            world.tell(TaskInput::Stop("stopped by the operator".into()));
        }
        let end = world.finish();
        prop_assert_eq!(world.records.len(), count);
        prop_assert!(world.process.is_none());
        prop_assert!(end.awake_ms <= (most + patience) * 1000);
        if let Some(first) = first_stop.filter(|_| stopped) {
            prop_assert!(world.at() <= first + patience, "{} s after the word", world.at() - first);
            prop_assert!(matches!(end.state, SlotState::Cancelled | SlotState::TooLong));
        }
        if !stopped {
            prop_assert!(end.state != SlotState::Cancelled);
        }
    }
}
