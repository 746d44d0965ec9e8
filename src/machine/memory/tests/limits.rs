//! Above the limit: told before, restarted when that may be, and not without end.

use super::world::{GIB, H, M, MIB, S, World, growth, idle, limited};
use crate::machine::memory::{MemoryAct, MemorySeen};
use crate::model::{DayHours, EventType, MemorySpec, OnGrowth};

#[test]
fn one_spike_is_nothing_and_what_comes_near_is_told_before() {
    let mut world = World::new(limited());
    world.run(5 * M);
    world.next = vec![3 * GIB];
    world.run(10 * M);
    assert_eq!((world.rows.len(), world.ordered.len()), (0, 0));
    world.bytes = GIB - 50 * MIB;
    world.run(10 * M);
    assert_eq!(world.limits(), ["near warning"]);
    world.bytes = 300 * MIB;
    world.run(10 * M);
    assert_eq!(world.limits(), ["near warning", "true"]);
    assert_eq!(world.ordered.len(), 0);
}

#[test]
fn without_anything_to_wait_for_it_is_restarted_at_once_and_told_again_to() {
    for interval in [S, M, H] {
        let mut world = World::new(MemorySpec { interval, ..limited() });
        world.restarts = false;
        world.bytes = GIB + MIB;
        // With an hour between two samples the next two do not wait for one.
        world.run(10 * S + 3 * interval.min(M));
        assert_eq!(world.limits(), ["over warning", "restart warning any"], "{interval:?}");
        let ordered = world.ordered.len();
        world.run(30 * S);
        assert_eq!(world.ordered.len(), ordered + 3, "{interval:?}: its runner may have died with the order");
        assert_eq!(world.limits().len(), 2);
        world.restarts = true;
        world.run(10 * M + 3 * interval);
        assert_eq!(world.view.run_id, 2);
        assert_eq!(world.limits().len(), 2, "what is told of a run ends with it");
    }
}

#[test]
fn one_that_nothing_starts_again_is_told_and_never_ended() {
    for on_growth in [OnGrowth::Alert, OnGrowth::RestartWhenIdle] {
        let mut world = World::new(MemorySpec { idle: idle(), on_growth, ..limited() });
        world.machine = world.machine.clone().restarts(false);
        (world.bytes, world.idle) = (2 * GIB, Some(true));
        world.grows(growth(14e6, Some(3.0)));
        world.run(25 * H);
        assert_eq!((world.ordered.len(), world.waiting().as_str()), (0, ""));
        assert_eq!(world.told(EventType::MemoryLimit, &["stage", "restarts", "restart_in_ms"]), ["over false"]);
        assert_eq!(world.told(EventType::MemoryGrowth, &["stage", "restarts"]), ["false"]);
    }
}

#[test]
fn a_restart_waits_for_quiet_hours() {
    // It is noon.
    let quiet = vec![DayHours { from: 23 * 60, until: 60 }];
    let mut world = World::new(MemorySpec { quiet, ..limited() });
    world.bytes = GIB + MIB;
    world.run(10 * H + 59 * M);
    assert_eq!((world.limits().len(), world.ordered.len()), (1, 0));
    assert_eq!(
        world.waiting(),
        "it is above its limit of 1.0 GiB: its restart waits for 23:00-01:00, at 2026-11-23 12:01:43 at the latest"
    );
    world.run(2 * M);
    assert_eq!(world.limits(), ["over warning", "restart warning quiet"]);
    assert_eq!(world.ordered.len(), 1);
}

#[test]
fn a_restart_waits_until_the_service_is_idle_and_not_for_ever() {
    let waits = || World::new(MemorySpec { idle: idle(), max_wait: 2 * H, ..limited() });
    let mut world = waits();
    world.bytes = GIB + MIB;
    world.idle = Some(false);
    world.run(H);
    assert_eq!(world.ordered.len(), 0);
    assert!((100..=120).contains(&world.idle_asked), "each 30 s: {}", world.idle_asked);
    world.idle = Some(true);
    world.run(M);
    assert_eq!(world.limits(), ["over warning", "restart warning idle"]);
    for idle in [None, Some(false)] {
        let mut world = waits();
        (world.bytes, world.idle) = (GIB + MIB, idle);
        world.run(H);
        // Whoever allows two hours means two hours, also asleep.
        world.wakes(30 * M);
        world.run(20 * M);
        assert_eq!(world.ordered.len(), 0);
        world.run(15 * M);
        assert_eq!(world.limits(), ["over warning", "restart warning waited"]);
    }
}

#[test]
fn a_former_daemons_wait_counts() {
    let mut world = World::new(MemorySpec { idle: idle(), max_wait: 2 * H, ..limited() });
    (world.bytes, world.idle) = (GIB + MIB, Some(false));
    world.run(H + 30 * M);
    world.successor();
    world.run(20 * M);
    assert_eq!(world.ordered.len(), 0);
    // It is said to be as late as it was said before.
    let until = " waits until it is idle, at 14:01:43 at the latest";
    assert!(world.waiting().ends_with(until), "{}", world.waiting());
    world.run(15 * M);
    assert_eq!(world.limits(), ["over warning", "restart warning waited"]);
    let over = world.told(EventType::MemoryLimit, &["idle", "max_wait_ms", "restart_in_ms"]);
    assert_eq!(over[0], "true 7200000", "it is not restarted in 0 s");
}

#[test]
fn above_the_ceiling_nothing_is_waited_for() {
    let mut world = World::new(MemorySpec { idle: idle(), ..limited() });
    (world.bytes, world.idle) = (GIB + MIB, Some(false));
    world.run(H);
    world.next = vec![2 * GIB];
    world.run(H);
    assert_eq!(world.ordered.len(), 0, "once is a spike");
    world.bytes = 2 * GIB;
    world.run(3 * M);
    assert_eq!(world.limits(), ["over warning", "restart warning ceiling"]);
    let mut full = World::new(MemorySpec { idle: idle(), ..limited() });
    (full.bytes, full.idle, full.free) = (2 * GIB, Some(false), Some(50 * MIB));
    full.run(15 * S);
    assert_eq!(full.ordered.len(), 1, "the machine has hardly anything left");
}

#[test]
fn what_falls_below_by_itself_is_not_restarted() {
    let mut world = World::new(MemorySpec { idle: idle(), ..limited() });
    (world.bytes, world.idle) = (GIB + MIB, Some(false));
    world.run(10 * M);
    assert!(!world.waiting().is_empty());
    world.bytes = GIB * 88 / 100;
    world.run(10 * M);
    assert_eq!((world.limits(), world.waiting().as_str()), (vec!["over warning".into(), "true".into()], ""));
    world.bytes = 300 * MIB;
    world.run(10 * M);
    assert_eq!(world.limits().len(), 2, "what is over is not over again");
    world.bytes = GIB + MIB;
    world.run(10 * M);
    assert_eq!(world.limits().last().unwrap(), "over warning");
}

/// How often it is restarted in a day when it is above its limit as soon as it runs.
fn restarts_of_a_hungry_one(spaced: bool, bytes: u64) -> (World, usize) {
    let mut world = World::new(limited());
    world.machine = world.machine.clone().spaced(spaced);
    (world.bytes, world.fresh) = (bytes, None);
    world.run(24 * H);
    let count = world.ordered.len();
    (world, count)
}

#[test]
fn restarts_that_do_not_help_get_rarer_and_that_is_told() {
    for bytes in [GIB + MIB, 3 * GIB] {
        let (world, count) = restarts_of_a_hungry_one(true, bytes);
        // After 0, 10, 20, 40, 80, 160, 320 and 360 minutes more.
        assert!((7..=10).contains(&count), "{count}");
        let over = world.told(EventType::MemoryLimit, &["stage", "severity", "unhelped"]);
        assert_eq!(over[0], "over warning 0");
        assert!(over.contains(&"over critical 4".to_owned()), "{over:?}");
        assert!(
            world.waiting().contains("restarts for that did not help: the next one is put off until "),
            "{}",
            world.waiting()
        );
        let (_, count) = restarts_of_a_hungry_one(false, bytes);
        assert!(count > 200, "throttle = \"0s\" switches that off: {count}");
    }
}

#[test]
fn a_restart_that_helped_for_a_while_is_followed_by_another_one_at_once() {
    let mut world = World::new(limited());
    for _ in 0..5 {
        world.run(11 * M);
        world.bytes = GIB + MIB;
        world.run(5 * M);
    }
    assert_eq!(world.ordered.len(), 5);
    assert!(world.limits().iter().all(|row| !row.contains("critical")));
}

#[test]
fn another_declaration_is_followed_from_the_next_sample_on() {
    let mut world = World::new(MemorySpec { idle: idle(), ..limited() });
    (world.bytes, world.idle) = (GIB + MIB, Some(false));
    world.run(10 * M);
    world.machine = world.machine.redeclared(MemorySpec { limit: None, ceiling: None, idle: None, ..limited() });
    world.run(10 * M);
    assert_eq!(world.limits(), ["over warning", "true"]);
    assert_eq!((world.ordered.len(), world.waiting().as_str()), (0, ""));
    world.machine = world.machine.redeclared(limited());
    world.run(10 * M);
    assert_eq!(world.ordered.len(), 1);
}

#[test]
fn an_answer_to_a_former_declaration_restarts_nothing() {
    let mut world = World::new(MemorySpec { idle: idle(), ..limited() });
    (world.bytes, world.idle) = (GIB + MIB, Some(false));
    world.run(10 * M);
    world.pass(31 * S);
    let acts = world.machine.step(world.now, MemorySeen::Tick);
    assert!(acts.iter().any(|act| matches!(act, MemoryAct::AskIdle { .. })), "{acts:?}");
    let higher = MemorySpec { limit: Some(4 * GIB), ceiling: Some(5 * GIB), ..limited() };
    world.machine = world.machine.redeclared(higher);
    world.see(MemorySeen::Idle { run_id: 1, idle: Ok(false) });
    assert_eq!(world.ordered.len(), 0, "it is far below the limit that holds now");
    world.run(10 * M);
    assert_eq!((world.limits(), world.ordered.len()), (vec!["over warning".into(), "true".into()], 0));
}

#[test]
fn what_a_former_daemon_said_restarts_nothing_that_is_below_by_now() {
    let mut world = World::new(MemorySpec { idle: idle(), ..limited() });
    (world.bytes, world.idle) = (GIB + MIB, Some(false));
    world.run(10 * M);
    (world.bytes, world.idle) = (300 * MIB, Some(true));
    world.successor();
    world.run(10 * M);
    assert_eq!((world.limits(), world.ordered.len()), (vec!["over warning".into(), "true".into()], 0));
}

#[test]
fn who_is_looked_at_rarely_and_is_above_it_at_once_is_not_restarted_at_each_look() {
    let mut world = World::new(MemorySpec { interval: 30 * M, ..limited() });
    for _ in 0..8 {
        // The first look comes before it has what it needs.
        world.bytes = 300 * MIB;
        world.run(M);
        world.bytes = GIB + MIB;
        world.run(49 * M);
    }
    assert!(world.limits().iter().any(|row| row == "over critical"), "{:?}", world.limits());
}
