//! Random jobs against a small model of what their steps come to, and ended at random times.

use proptest::prelude::*;

use super::super::*;
use super::world::{Behaviour, Try, World, job, plan, secs, step};
use crate::model::SlotState;

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
        stops in proptest::collection::vec((0u64..150, any::<bool>()), 0..3),
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
        let first_stop = stops.first().map(|(at, _)| *at);
        let mut stopped = false;
        for (stop, at_once) in stops {
            while world.end.is_none() && !world.advance(Mono(stop * 1_000_000_000)) {}
            stopped |= world.end.is_none();
            world.sleep(secs(slept));
            world.stop("stopped by the operator", at_once);
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
