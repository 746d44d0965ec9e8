//! Starts: no liveness before the first good answer, and only one that stands still is ended.

use std::time::Duration;

use super::world::{Does, S, World, health, spec};
use crate::machine::monitor::{Act, MonitorMachine, MonitorSpec, Seen};
use crate::model::{Answer, EventType, HealthSpec, Learned, StopCause, Told, Verdict};

fn nobody() -> Does {
    Does::Says(Answer::Failed("nobody listens".into()))
}

#[test]
fn it_is_asked_each_second_and_told_ready_once() {
    let mut world = World::starting(spec(), 1);
    world.pass(10 * S);
    assert!((10..=11).contains(&world.asked), "{}", world.asked);
    assert_eq!(world.verdict(), Verdict::Starting);
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(30 * S);
    let ready = world.acts.iter().filter(|(_, act)| matches!(act, Act::TellReady { .. })).count();
    assert_eq!(ready, 1);
    assert_eq!(world.verdict(), Verdict::Healthy);
    let start = world.monitor.info(world.now).unwrap().start.unwrap();
    assert_eq!((start.learned_from, &start.progress), (1, &None));
    assert!((10_000..12_000).contains(&start.learned_p95_ms.unwrap()), "{start:?}");
}

#[test]
fn a_start_that_works_is_never_ended_and_told_of_once() {
    let mut world = World::starting(spec(), 2);
    world.change(Does::Spins);
    world.pass(240 * S);
    assert_eq!(world.records(EventType::ProbeDegraded).len(), 1);
    let info = world.monitor.info(world.now).unwrap();
    assert!(info.start.unwrap().progress.unwrap().starts_with("working (CPU 23"));
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(10 * S);
    let told = world.records(EventType::ProbeDegraded);
    assert_eq!((told[0]["start"].as_bool(), told[1]["cleared"].as_bool()), (Some(true), Some(true)));
    assert_eq!(world.convictions(), []);
}

/// However short its budget is: it is judged by two looks.
#[test]
fn a_start_over_its_budget_is_looked_at_before_it_is_ended() {
    for start_timeout in [Duration::from_millis(100), S, 2 * S, 3 * S] {
        let mut world = World::starting(MonitorSpec { start_timeout, ..spec() }, 2);
        world.change(Does::Spins);
        world.pass(60 * S);
        assert_eq!(world.convictions(), [], "{start_timeout:?}");
        let mut world = World::starting(MonitorSpec { start_timeout, ..spec() }, 2);
        world.pass(8 * S);
        assert_eq!(world.convictions().len(), 1, "{start_timeout:?}");
    }
}

#[test]
fn one_that_writes_to_its_log_or_answers_is_not_ended_either() {
    let mut world = World::starting(spec(), 2);
    for _ in 0..100 {
        world.pass(3 * S);
        world.logged += 20;
    }
    assert_eq!(world.convictions(), []);
    for answer in [Answer::Unwell("503 starting".into()), Answer::Misasked("404".into())] {
        let mut world = World::starting(spec(), 2);
        world.change(Does::Says(answer));
        world.pass(3600 * S);
        assert_eq!(world.convictions(), []);
    }
}

/// Nobody knows whether it is up: we cannot ask, or the machine lets it do nothing.
#[test]
fn one_that_cannot_be_asked_or_is_not_let_run_is_not_ended() {
    let mut world = World::starting(spec(), 2);
    world.change(Does::Says(Answer::NotAsked("no descriptor".into())));
    world.pass(600 * S);
    let told = world.records(EventType::ProbeDegraded);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0]["reason"]
            .as_str()
            .unwrap()
            .ends_with("nobody knows how it gets on (no descriptor), so it is left alone")
    );
    assert_eq!(world.convictions(), []);
    world.change(nobody());
    world.pass(20 * S);
    assert_eq!(world.convictions().len(), 1, "now it can be asked, and stands still");
    let mut world = World::starting(spec(), 2);
    world.starved = true;
    world.pass(600 * S);
    assert_eq!(world.convictions(), []);
}

/// The wall clock counts what the machine slept: it says nothing of how long a start has taken.
#[test]
fn a_start_that_is_lost_sight_of_keeps_its_time_and_a_sleep_is_none_of_it() {
    for (is_reload, runs_on) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::starting(spec(), 2);
        world.pass(Duration::from_millis(5500));
        world.sleep(8 * 3600 * S, runs_on);
        match is_reload {
            true => world.watched_by(world.monitor.redeclared(MonitorSpec { spaced: false, ..spec() })),
            false => world.reconnect(),
        }
        world.pass(50 * S);
        assert_eq!(world.convictions(), []);
        world.pass(30 * S);
        assert_eq!(world.convictions().len(), 1, "its time goes on");
    }
}

#[test]
fn a_start_that_was_not_seen_to_begin_has_its_time_and_teaches_nothing() {
    let mut world = World::starting(spec(), 2);
    world.pass(Duration::from_millis(5500));
    world.sleep(8 * 3600 * S, false);
    world.watched_by(MonitorMachine::new(spec()));
    world.pass(55 * S);
    assert_eq!(world.convictions(), []);
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(15 * S);
    assert_eq!(world.verdict(), Verdict::Healthy);
    assert_eq!(world.monitor.info(world.now).unwrap().start.unwrap().learned_from, 0);
}

#[test]
fn one_that_stands_still_beyond_its_budget_is_ended() {
    // It does not listen, it accepts and is silent: both.
    for (does, latest) in [(nobody(), 68), (Does::Pauses, 68)] {
        let mut world = World::starting(spec(), 2);
        world.change(does);
        world.pass(59 * S);
        assert_eq!(world.acts.len(), 0);
        world.pass(141 * S);
        assert_eq!(world.restarted(), [StopCause::StartTimeout]);
        let found = world.convictions();
        let after = found[0].0.wall_ms - 1_795_317_574_000;
        assert!((60_000..=latest * 1000).contains(&after), "{after}");
        assert!(found[0].2["reason"].as_str().unwrap().contains("it makes no progress"));
        // What was told of the start is over when a later run is up.
        assert_eq!(world.verdict(), Verdict::Healthy);
    }
}

#[test]
fn a_service_that_only_tells_when_it_is_ready_has_a_budget_too() {
    let mut world = World::starting(MonitorSpec { health: None, ..spec() }, 4);
    world.restarts = false;
    world.pass(70 * S);
    assert_eq!(world.convictions()[0].1, StopCause::StartTimeout);
    let mut world = World::starting(MonitorSpec { health: None, ..spec() }, 4);
    world.pass(30 * S);
    world.ready();
    assert_eq!(world.monitor.due(), None, "nothing is left to be watched");
    world.pass(1000 * S);
    assert_eq!(world.convictions(), []);
}

#[test]
fn former_starts_and_a_new_program_give_more_time() {
    let learned =
        |program: &str| Learned { starts: vec![50 * S; 20], program: Some(program.into()), ..Learned::default() };
    let budget = |known: Option<&str>| {
        let mut world = World::starting(spec(), 1);
        world.see(Seen::RunnerGone);
        if let Some(program) = known {
            world.see(Seen::Learned(learned(program)));
        }
        world.run_of_program("b");
        world.monitor.info(world.now).unwrap().start.unwrap()
    };
    assert_eq!(budget(None).budget_ms, 60_000);
    assert_eq!(budget(Some("b")).budget_ms, 150_000);
    let first = budget(Some("a"));
    assert_eq!((first.budget_ms, first.first_of_program), (300_000, true));
    // The ledger is read while the first start is under way already.
    let mut world = World::starting(spec(), 1);
    world.run_of_program("b");
    world.see(Seen::Learned(learned("a")));
    assert!(world.monitor.info(world.now).unwrap().start.unwrap().first_of_program);
}

#[test]
fn what_a_daemon_before_has_told_is_over_when_it_is() {
    let told = Told { misasked: true, start: true, parts: vec!["telegram".into()] };
    let health = HealthSpec { parts: Some(health().probe), ..health() };
    let mut world = World::starting(MonitorSpec { health: Some(health), ..spec() }, 1);
    world.see(Seen::Learned(Learned { told, ..Learned::default() }));
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(20 * S);
    world.see(Seen::Parts { run_id: 1, parts: Ok(Vec::new()) });
    assert_eq!(world.records(EventType::ProbeMisconfigured)[0]["cleared"], true);
    let degraded = world.records(EventType::ProbeDegraded);
    assert_eq!((&degraded[0]["start"], &degraded[1]["part"]), (&true.into(), &"telegram".into()));
    assert_eq!(degraded.len(), 2);
}

#[test]
fn the_first_start_of_a_new_program_teaches_nothing_but_itself() {
    let mut world = World::starting(spec(), 1);
    world.see(Seen::RunnerGone);
    world.see(Seen::Learned(Learned { starts: vec![10 * S], program: Some("a".into()), ..Learned::default() }));
    world.run_of_program("b");
    world.pass(100 * S);
    world.change(Does::Answers(Duration::from_millis(2)));
    world.pass(10 * S);
    let start = world.monitor.info(world.now).unwrap().start.unwrap();
    assert_eq!((start.learned_from, start.learned_p95_ms), (1, Some(10_000)));
    world.run_of_program("b");
    assert!(!world.monitor.info(world.now).unwrap().start.unwrap().first_of_program);
}
