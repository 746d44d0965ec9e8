//! What voids a probe, what stays the sentence, and what is told of it.

use std::time::Duration;

use super::world::{Does, S, World, health, spec};
use crate::machine::monitor::{Act, MonitorMachine, MonitorSpec, Seen};
use crate::model::{Answer, EventType, HealthSpec, Part, ProbeKind, Probed, ProcessState, StopCause, Verdict};

#[test]
fn a_service_that_is_not_let_run_is_starved_and_left_alone() {
    let mut world = World::up(spec(), 1);
    world.pass(100 * S);
    world.starved = true;
    world.change(Does::Pauses);
    world.pass(3600 * S);
    assert_eq!(world.verdict(), Verdict::Starved);
    assert!(world.monitor.info(world.now).unwrap().note.unwrap().contains("waited for a processor"));
    assert_eq!(world.convictions(), []);
    // It is let run, and still says nothing.
    world.starved = false;
    world.pass(60 * S);
    assert_eq!(world.convictions().len(), 1);
}

#[test]
fn a_debugger_and_our_own_lateness_are_no_hang_and_a_stop_signal_is() {
    let mut world = World::up(spec(), 1);
    world.pass(100 * S);
    world.state = Some(ProcessState::Traced);
    world.change(Does::Pauses);
    world.pass(3600 * S);
    assert_eq!(world.convictions(), []);
    world.state = Some(ProcessState::Stopped);
    world.pass(60 * S);
    let found = world.convictions();
    assert!(found[0].2["reason"].as_str().unwrap().ends_with("its main process is stopped by a signal"));
}

#[test]
fn an_answer_before_the_order_acquits() {
    let mut world = World::up(spec(), 1);
    world.restarts = false;
    world.pass(100 * S);
    // Two ends by force a moment ago: the restart for this one waits.
    for _ in 0..2 {
        world.change(Does::Pauses);
        world.restarts = true;
        world.pass(50 * S);
        world.restarts = false;
        world.pass(5 * S);
    }
    let restarts = world.restarted().len();
    assert_eq!(restarts, 2);
    world.change(Does::Pauses);
    world.pass(50 * S);
    assert_eq!(world.verdict(), Verdict::Hung);
    let info = world.monitor.info(world.now).unwrap();
    assert!(info.restart_at_ms.unwrap() > world.now.wall_ms && info.note.unwrap().contains("restarted for a hang"));
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(20 * S);
    assert_ne!(world.verdict(), Verdict::Hung);
    assert_eq!(world.records(EventType::ServiceHung).last().unwrap()["cleared"], true);
    world.pass(3600 * S);
    assert_eq!(world.restarted().len(), restarts);
}

#[test]
fn restarts_that_do_not_help_get_rarer_and_say_so() {
    let mut world = World::up(spec(), 1);
    let mut at = Vec::new();
    for _ in 0..7 {
        world.pass(600 * S);
        world.change(Does::Pauses);
        while world.restarted().len() == at.len() {
            world.pass(S);
        }
        at.push(world.now.mono);
    }
    let waits: Vec<u64> =
        world.convictions().iter().map(|(_, _, data)| data["restart_in_ms"].as_u64().unwrap() / 60_000).collect();
    assert_eq!(waits, [0, 0, 0, 5, 10, 20, 40]);
}

#[test]
fn without_throttle_no_restart_waits() {
    let mut world = World::up(MonitorSpec { spaced: false, ..spec() }, 1);
    for _ in 0..10 {
        world.pass(20 * S);
        world.change(Does::Pauses);
        world.pass(46 * S);
    }
    assert_eq!(world.restarted(), vec![StopCause::Hung; 10]);
}

#[test]
fn an_order_without_effect_is_given_again_and_evidence_is_not_waited_for_for_ever() {
    let mut world = World::up(spec(), 1);
    world.restarts = false;
    world.pass(100 * S);
    world.change(Does::Pauses);
    world.pass(80 * S);
    assert!(world.restarted().len() >= 3, "{:?}", world.restarted());
    world.see(Seen::RunnerGone);
    assert_eq!(world.monitor.due(), None);
    // The same, where evidence never comes.
    let mut world = World::up(spec(), 1);
    world.evidence = false;
    world.pass(100 * S);
    world.change(Does::Pauses);
    world.pass(54 * S);
    assert_eq!(world.restarted(), []);
    world.pass(12 * S);
    assert_eq!(world.restarted(), [StopCause::Hung]);
}

/// The order did not reach its runner, or was refused, and the service goes on.
#[test]
fn an_order_without_effect_is_not_given_again_to_one_that_answers() {
    let mut world = World::up(spec(), 1);
    world.restarts = false;
    world.pass(100 * S);
    world.change(Does::Pauses);
    while world.restarted().is_empty() {
        world.pass(S);
    }
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(3600 * S);
    assert_eq!((world.restarted().len(), world.verdict()), (1, Verdict::Healthy));
    assert_eq!(world.records(EventType::ServiceHung).last().unwrap()["cleared"], true);
    // A hang after that is found like any other.
    world.change(Does::Pauses);
    world.pass(46 * S);
    assert_eq!(world.restarted().len(), 2);
}

#[test]
fn a_heartbeat_makes_it_ready_though_the_clock_was_set_back() {
    let health = HealthSpec { startup: None, ..health() };
    let mut world = World::starting(MonitorSpec { health: Some(health), ..spec() }, 1);
    let back = world.now.wall_ms - 3_600_000;
    for n in 0..5 {
        world.change(Does::Says(Answer::Beat(u64::try_from(back + n * 1000).ok().map(|ms| ms * 1_000_000))));
        world.pass(2 * S);
    }
    assert_eq!(world.verdict(), Verdict::Healthy);
}

#[test]
fn beats_are_signs_of_life_and_their_absence_is_silence() {
    let health = HealthSpec {
        probe: crate::model::ProbeSpec { kind: ProbeKind::Notify, expect_status: 200, expect_json: None },
        startup: None,
        ..health()
    };
    let spec = MonitorSpec { health: Some(health), ..spec() };
    let mut world = World::up(spec, 1);
    // Every 17.5 s, as systemd's advice is to halve what is tolerated.
    for n in 0..40 {
        world.beat(n);
        world.pass(Duration::from_millis(17_500));
    }
    assert_eq!(world.verdict(), Verdict::Healthy);
    assert_eq!(world.asked, 0, "nobody need be asked");
    let last = world.now.mono;
    world.pass(60 * S);
    let found = world.convictions();
    let after = found[0].0.mono.since(last);
    assert!(after <= 45 * S, "{after:?}");
}

#[test]
fn a_heartbeat_of_the_run_before_does_not_make_this_one_ready() {
    let health = HealthSpec { startup: None, ..health() };
    let mut world = World::starting(MonitorSpec { health: Some(health), ..spec() }, 1);
    let ms = |ms: i64| Some(u64::try_from(ms).unwrap() * 1_000_000);
    let began = world.now.wall_ms;
    world.change(Does::Says(Answer::Beat(ms(began - 60_000))));
    world.pass(10 * S);
    assert_eq!(world.verdict(), Verdict::Starting);
    world.change(Does::Says(Answer::Beat(ms(began + 9_000))));
    world.pass(10 * S);
    assert_eq!(world.verdict(), Verdict::Healthy);
    world.pass(60 * S);
    assert_eq!(world.convictions().len(), 1, "the file does not change any more");
}

#[test]
fn parts_are_told_on_their_own_and_restart_nothing() {
    let health = HealthSpec { parts: Some(health().probe), ..health() };
    let mut world = World::up(MonitorSpec { health: Some(health), ..spec() }, 1);
    let part = |name: &str, trouble: Option<&str>| Part { name: name.into(), trouble: trouble.map(Into::into) };
    let report = |world: &mut World, parts: &[Part]| {
        world.pass(10 * S);
        let asked = world.acts.iter().filter(|(_, act)| matches!(act, Act::Parts { .. })).count();
        assert!(asked > 0);
        world.see(Seen::Parts { run_id: 1, parts: Ok(parts.to_vec()) });
    };
    for _ in 0..3 {
        report(&mut world, &[part("telegram", Some("failing"))]);
    }
    assert_eq!(world.records(EventType::ProbeDegraded).len(), 0, "it may come back by itself");
    for _ in 0..10 {
        report(&mut world, &[part("telegram", Some("failing")), part("judge", None)]);
    }
    let told = world.records(EventType::ProbeDegraded);
    assert_eq!((told.len(), &told[0]["part"]), (1, &"telegram".into()));
    let shown = world.monitor.info(world.now).unwrap().parts;
    assert_eq!((shown[0].name.as_str(), shown[0].ok, shown.len()), ("telegram", false, 2));
    assert_eq!(world.verdict(), Verdict::Healthy);
    report(&mut world, &[]);
    assert_eq!(world.records(EventType::ProbeDegraded).last().unwrap()["cleared"], true);
    assert_eq!(world.monitor.info(world.now).unwrap().parts, []);
    assert_eq!(world.convictions(), []);
}

#[test]
fn a_late_answer_of_an_old_run_is_dropped_and_a_redeclared_monitor_keeps_what_was_learned() {
    let mut world = World::up(spec(), 1);
    world.pass(100 * S);
    world.change(Does::Pauses);
    world.pass(20 * S);
    world.new_run();
    let probed = Probed::new(Answer::Good, S);
    world.see(Seen::Late { run_id: 1, probed: probed.clone() });
    world.see(Seen::Probed { run_id: 1, probed, facts: None });
    assert_eq!(world.verdict(), Verdict::Starting);
    let other = MonitorSpec { start_timeout: S, ..spec() };
    let monitor: MonitorMachine = world.monitor.redeclared(other);
    assert_eq!(monitor.info(world.now), None);
    assert_eq!(monitor.learned, world.monitor.learned);
}

#[test]
fn beats_that_a_runner_keeps_to_itself_are_no_silence() {
    let probe = crate::model::ProbeSpec { kind: ProbeKind::Notify, expect_status: 200, expect_json: None };
    let health = HealthSpec { probe, startup: None, ..health() };
    let mut world = World::up(MonitorSpec { health: Some(health), ..spec() }, 1);
    world.beat(1);
    world.pass(20 * S);
    world.runner_stands = true;
    world.pass(3600 * S);
    assert_eq!(world.convictions(), []);
    assert_eq!(world.verdict(), Verdict::Unknown);
    world.runner_stands = false;
    world.pass(50 * S);
    assert_eq!(world.convictions().len(), 1);
}

#[test]
fn a_daemon_that_comes_back_goes_on_with_the_same_hang_and_its_wait() {
    let mut world = World::up(spec(), 1);
    let mut told = 0;
    while told < 4 {
        world.pass(600 * S);
        world.change(Does::Pauses);
        while !world.acts.iter().any(|(_, act)| matches!(act, Act::Convict(_))) {
            world.pass(S);
        }
        told += 1;
        if told < 4 {
            world.pass(S);
            world.acts.clear();
        }
    }
    let first = world.convictions();
    assert_eq!((&first[0].2["unhelped"], &first[0].2["restart_in_ms"]), (&3.into(), &300_000.into()));
    // The daemon is killed; another learns from the ledger and finds the same run.
    let learned = world.monitor.learned.clone();
    world.pass(60 * S);
    world.monitor = MonitorMachine::new(spec());
    world.see(Seen::Learned(learned));
    world.seen_again();
    world.pass(50 * S);
    let again = world.convictions();
    assert_eq!(again[0].2["unhelped"], 3, "no restart was between");
    let rest = again[0].2["restart_in_ms"].as_u64().unwrap();
    assert!((190_000..=205_000).contains(&rest), "{rest}");
}
