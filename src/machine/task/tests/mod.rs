//! What becomes of a run, and the words that people read.

mod chance;
mod world;

use super::*;
use crate::model::{Signal, SlotKey, SlotState};
use world::{Behaviour, START_MS, World, fails, job, ok, outcomes, plan, secs, step};

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
    world.stop("stopped by the operator", false);
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
    assert_eq!(
        end.why,
        "step 1 of 1 (backup): it did not end within its timeout of 5s; it ignored SIGTERM and was killed"
    );
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
    // One that does not listen.
    let spec = TaskSpec { max_runtime: secs(20), ..job(vec![step()]) };
    let end = World::new(spec, plan(Timing::InTime), vec![vec![Some((0, Behaviour::Deaf))]]).run();
    let why = "the job did not end within its max_runtime of 20s; step 1 of 1 (backup) ignored SIGTERM and was killed";
    assert_eq!(end.why, why);
    // Between two tries.
    let retried = StepSpec { retries: 9, retry_delay: secs(100), ..step() };
    let spec = TaskSpec { max_runtime: secs(20), ..job(vec![retried]) };
    let mut world = World::new(spec, plan(Timing::InTime), vec![fails(1)]);
    let end = world.run();
    assert_eq!((end.state, end.awake_ms, outcomes(&world)), (SlotState::TooLong, 20_000, vec![StepOutcome::TimedOut]));
}

#[test]
fn a_run_that_is_stopped_has_its_time_however_often_it_is_told_unless_it_is_wished_at_once() {
    // When it is told, and whether to end at once; the signals; what became of the first step.
    type Case<'a> = (&'a [(u64, bool)], &'a [(u64, Signal)], &'a str);
    let cases: [Case<'_>; 5] = [
        (
            &[(3, false), (4, false), (5, false)],
            &[(3, Signal::TERM), (13, Signal::KILL)],
            "ignored SIGTERM and was killed",
        ),
        (&[(3, false), (4, true), (4, false)], &[(3, Signal::TERM), (4, Signal::KILL)], "was killed at once"),
        (&[(3, false), (4, true)], &[(3, Signal::TERM), (4, Signal::KILL)], "was killed at once"),
        (&[(3, true)], &[(3, Signal::KILL)], "was killed at once"),
        (&[(3, false), (4, false), (5, true)], &[(3, Signal::TERM), (5, Signal::KILL)], "was killed at once"),
    ];
    for (told, signals, how) in cases {
        let deaf = vec![Some((0, Behaviour::Deaf))];
        let mut world = World::new(job(vec![step(), step()]), plan(Timing::InTime), vec![deaf, ok()]);
        world.tell(TaskInput::Begin);
        for (nth, (at, at_once)) in told.iter().enumerate() {
            while world.end.is_none() && !world.advance(Mono(at * 1_000_000_000)) {}
            // Whose word was first has given the reason.
            world.stop(if nth == 0 { "stopped by the operator" } else { "ended by its service manager" }, *at_once);
        }
        let end = world.finish();
        assert_eq!(world.signals, signals);
        assert_eq!(outcomes(&world), [StepOutcome::Cancelled, StepOutcome::Skipped]);
        assert_eq!(end.state, SlotState::Cancelled);
        assert_eq!(end.why, format!("stopped by the operator; step 1 of 2 (backup) {how}"));
        assert_eq!(world.records[0].why.as_ref().unwrap(), &format!("stopped by the operator; it {how}"));
    }
    // One that listens is not told of.
    let mut world = World::new(job(vec![step()]), plan(Timing::InTime), vec![vec![Some((0, Behaviour::Hangs(2)))]]);
    world.tell(TaskInput::Begin);
    world.stop("stopped by the operator", false);
    world.stop("stopped by the operator", false);
    assert_eq!((world.finish().why.as_str(), world.signals.len()), ("stopped by the operator", 1));
}

#[test]
fn a_short_pause_is_told_as_what_it_is() {
    for (delay_ms, rng, when) in
        [(900, 1.0, "in 900ms"), (900, 0.0, "at once"), (1700, 1.0, "in 1.7s"), (0, 1.0, "at once")]
    {
        let spec = StepSpec { retries: 1, retry_delay: Duration::from_millis(delay_ms), ..step() };
        let mut world = World::new(job(vec![spec]), plan(Timing::InTime), vec![fails(1)]);
        world.rng = rng;
        world.run();
        assert_eq!(world.said[0], format!("step 1 of 1 (backup): exit code 1; it is tried again {when}"));
    }
}

#[test]
fn a_maintenance_step_that_fails_says_why_in_the_end_of_the_run() {
    let vacuum = StepAction::Builtin(crate::model::BuiltinStep::Vacuum { backups: 1 });
    for (action, why) in [
        (vacuum, "step 1 of 1 (vacuum): the copy cannot be written"),
        (step().action, "step 1 of 1 (backup): exit code 3"),
    ] {
        let spec = StepSpec { action, ..step() };
        let mut world = World::new(job(vec![spec]), plan(Timing::InTime), vec![fails(3)]);
        world.stderr = Some("supervisor: the copy cannot be written\n  hint: make room\n".into());
        let end = world.run();
        assert_eq!((end.why.as_str(), world.records[0].code), (why, Some(3)));
        assert!(why.ends_with(world.records[0].why.as_ref().unwrap()));
    }
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
    // Steps without names are called by their programs: what they do tells them apart, when one was taken out meanwhile.
    let sh = |script: &str| StepSpec::for_tests(&["sh", "-c", script]);
    let mut first = World::new(job(vec![sh("a"), sh("b"), sh("c")]), plan(Timing::InTime), vec![ok(), fails(1), ok()]);
    first.run();
    let mut world = World::new(job(vec![sh("b"), sh("c")]), resumed(first.records), vec![ok(), ok()]);
    world.run();
    assert_eq!(outcomes(&world), [Ok, Ok]);
}
