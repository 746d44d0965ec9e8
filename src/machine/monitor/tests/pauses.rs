//! Hangs are found in their time, and pauses that are shorter than what is tolerated are not hangs.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Does, S, World, health, spec};
use crate::machine::monitor::MonitorSpec;
use crate::model::{Answer, EventType, HealthSpec, StopCause, Verdict};

fn probed(interval: Duration, timeout: Duration, failures: u32) -> MonitorSpec {
    MonitorSpec { health: Some(HealthSpec { interval, timeout, failures, ..health() }), ..spec() }
}

#[test]
fn a_hang_is_found_within_k_intervals_and_a_timeout_at_any_phase() {
    for luck in 0..500 {
        let mut world = World::up(spec(), luck);
        let before = 300.0 + 40.0 * world.luck();
        world.pass(Duration::from_secs_f64(before));
        let began = world.now;
        world.change(if luck % 2 == 0 { Does::Pauses } else { Does::Spins });
        world.pass(120 * S);
        let restarted = world.restarted();
        let found = world.convictions();
        let (at, cause, data) = &found[0];
        let after = at.mono.since(began.mono);
        assert!(after >= 34 * S && after <= 45 * S + Duration::from_millis(10), "{after:?}");
        assert_eq!((*cause, restarted), (StopCause::Hung, vec![StopCause::Hung]));
        assert_eq!(data["failed_probes"], 4);
        let since = data["failing_since_ms"].as_i64().unwrap();
        assert!((since - began.wall_ms).abs() <= 10_010, "dated from the first failure");
        let reason = data["reason"].as_str().unwrap();
        assert!(reason.contains(if luck % 2 == 0 { "hardly any processor time" } else { "it spins" }), "{reason}");
        assert_eq!(found.len(), 1, "once");
    }
}

proptest! {
    #[test]
    fn no_pause_that_is_tolerated_is_a_hang_and_every_longer_one_is(
        interval_ms in 100_u64..20_000, part in 0.05_f64..1.0, failures in 1_u32..8, phase in 0.0_f64..3.0,
        pause in 0.0_f64..1.0, luck in any::<u64>(),
    ) {
        let interval = Duration::from_millis(interval_ms);
        let timeout = interval.mul_f64(part);
        let spec = probed(interval, timeout, failures);
        let tolerated = spec.health.as_ref().unwrap().tolerated();
        let mut world = World::up(spec.clone(), luck);
        world.pass(interval * 5 + interval.mul_f64(phase));
        world.change(Does::Pauses);
        // A question that was under way when it began is answered 2 ms late at most.
        world.pass(tolerated.saturating_sub(Duration::from_millis(3)).mul_f64(pause));
        world.change(Does::Answers(Duration::from_millis(2)));
        world.pass(interval * 3);
        prop_assert_eq!(world.convictions(), vec![]);
        world.change(Does::Pauses);
        world.pass(interval * failures + timeout + Duration::from_millis(3));
        prop_assert_eq!(world.convictions().len(), 1);
    }
}

#[test]
fn a_week_of_slow_answers_and_pauses_restarts_nothing() {
    let mut world = World::up(spec(), 7);
    let week = 7 * 24 * 3600 * S;
    let end = world.now.mono.plus(week);
    let tolerated = health().tolerated();
    let (mut pauses, mut longest) = (0, Duration::ZERO);
    while world.now.mono < end {
        // Fifty pauses a day at random, lognormal with a median of 4 s, cut at 0.8 of what is tolerated.
        let until = Duration::from_secs_f64(-f64::ln(1.0 - world.luck()) * 24.0 * 3600.0 / 50.0);
        let resumes = world.now.mono.plus(until);
        while world.now.mono < resumes {
            let is_slow = world.luck() < 0.01;
            let latency = if is_slow { 5.0 + 4.9 * world.luck() } else { 0.002 };
            world.change(Does::Answers(Duration::from_secs_f64(latency)));
            world.pass(10 * S);
        }
        let normal = (-2.0 * f64::ln(1.0 - world.luck())).sqrt() * f64::cos(std::f64::consts::TAU * world.luck());
        let pause = Duration::from_secs_f64((1.4 + 1.1 * normal).exp()).min(tolerated.mul_f64(0.8));
        world.change(Does::Pauses);
        world.pass(pause);
        world.change(Does::Answers(Duration::from_millis(2)));
        (pauses, longest) = (pauses + 1, longest.max(pause));
    }
    assert!(pauses > 250 && longest >= tolerated.mul_f64(0.79), "{pauses} pauses up to {longest:?}");
    assert!(world.asked > 50_000, "{}", world.asked);
    assert_eq!(world.convictions(), []);
}

#[test]
fn a_quota_that_makes_most_answers_late_restarts_nothing_and_shows() {
    let mut world = World::up(probed(S, Duration::from_millis(500), 4), 3);
    world.change(Does::Answers(Duration::from_millis(900)));
    world.pass(600 * S);
    assert_eq!(world.verdict(), Verdict::Degraded);
    let latencies = world.monitor.info(world.now).unwrap().latencies.unwrap();
    assert!(latencies.p50_ms >= 900.0, "{latencies:?}");
    assert_eq!(world.records(EventType::ProbeDegraded).len(), 1, "told once");
    assert_eq!(world.convictions(), []);
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(30 * S);
    assert_eq!(world.verdict(), Verdict::Healthy);
    assert_eq!(world.records(EventType::ProbeDegraded)[0]["cleared"], true);
}

#[test]
fn an_outage_elsewhere_and_a_wrong_question_are_no_hang() {
    for (answer, verdict) in [
        (Answer::Unwell("503".into()), Verdict::Degraded),
        (Answer::Unwell("500".into()), Verdict::Degraded),
        (Answer::Misasked("401".into()), Verdict::Misconfigured),
        (Answer::Misasked("a web page".into()), Verdict::Misconfigured),
        (Answer::Slow("a byte a second".into()), Verdict::Degraded),
        (Answer::NotAsked("no descriptor is left".into()), Verdict::Unknown),
    ] {
        let mut world = World::up(spec(), 11);
        world.pass(100 * S);
        world.change(Does::Says(answer.clone()));
        world.pass(24 * 3600 * S);
        assert_eq!(world.verdict(), verdict, "{answer:?}");
        let told = world.records(EventType::ProbeMisconfigured).len();
        assert_eq!(told, usize::from(verdict == Verdict::Misconfigured), "{answer:?}");
        world.change(Does::Answers(Duration::from_millis(2)));
        world.pass(100 * S);
        assert_eq!(world.verdict(), Verdict::Healthy, "{answer:?}");
        assert_eq!(world.records(EventType::ProbeMisconfigured).len(), 2 * told);
        assert_eq!(world.convictions(), [], "{answer:?}");
    }
}

#[test]
fn a_refusal_is_silence_too_but_not_before_its_time() {
    let mut world = World::up(spec(), 5);
    world.pass(95 * S);
    let began = world.now.mono;
    // A restart in the same process: nobody listens for 30 s.
    world.change(Does::Says(Answer::Failed("nobody listens".into())));
    world.pass(30 * S);
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(100 * S);
    assert_eq!(world.convictions(), []);
    assert!(world.now.mono.since(began) > 120 * S);
    let began = world.now.mono;
    world.change(Does::Says(Answer::Failed("nobody listens".into())));
    world.pass(46 * S);
    let found = world.convictions();
    assert!(found[0].0.mono.since(began) >= 35 * S, "{:?}", found[0].0.mono.since(began));
}

/// Each answer takes longer than the timeout, and less than what is tolerated: it is always alive.
#[test]
fn answers_that_are_all_late_but_within_what_is_tolerated_restart_nothing() {
    for (spec, late_s) in [(spec(), 12.0), (spec(), 34.0), (probed(S, S / 2, 4), 1.5), (probed(S, S / 2, 4), 3.2)] {
        let mut world = World::up(spec.clone(), 5);
        world.pass(100 * S);
        world.change(Does::Answers(Duration::from_secs_f64(late_s)));
        world.pass(3600 * S);
        assert_eq!(world.convictions(), [], "{late_s}");
        assert_eq!(world.verdict(), Verdict::Degraded);
        // Silent from now on: it is hung H after its last sign of life, and not before.
        let tolerated = spec.health.as_ref().unwrap().tolerated();
        let last = world.now.mono;
        world.change(Does::Pauses);
        world.pass(tolerated * 3);
        let found = world.convictions();
        let after = found[0].0.mono.since(last);
        let interval = spec.health.as_ref().unwrap().interval;
        assert!(after <= tolerated + interval + Duration::from_millis(10), "{after:?}");
        assert!(after >= tolerated.saturating_sub(interval), "{after:?}");
    }
}

/// The same while it starts: it is not up, and it does something.
#[test]
fn late_answers_are_progress_of_a_start() {
    let mut world = World::starting(spec(), 5);
    world.change(Does::Answers(12 * S));
    world.pass(3600 * S);
    assert_eq!(world.convictions(), []);
}
