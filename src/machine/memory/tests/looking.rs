//! When it is looked at, and what outlives the daemon.

use std::time::Duration;

use super::world::{GIB, H, M, MIB, S, World, growth, limited, spec};
use crate::machine::memory::MemorySeen;
use crate::model::testing::Numbers;
use crate::model::{DayHours, MemorySpec, Mono, OnGrowth, Status};

#[test]
fn a_run_is_looked_at_soon_and_then_in_each_interval() {
    for interval in [S, 15 * S, M, H] {
        let mut world = World::new(MemorySpec { interval, ..spec() });
        let began = world.now.mono;
        world.run(10 * interval + 10 * S);
        let at: Vec<Mono> = world.asked.iter().map(|at| at.mono).collect();
        assert!(at[0].since(began) <= 10 * S, "{interval:?}");
        assert!((10..=21).contains(&at.len()), "{interval:?}: {}", at.len());
        for pair in at[1..].windows(2) {
            assert_eq!(pair[1].since(pair[0]), interval);
        }
        assert_eq!(world.kept as usize, at.len());
        let info = world.info().unwrap();
        assert_eq!((info.bytes, info.processes, info.waiting), (300 * MIB, 1, None));
    }
}

#[test]
fn a_daemon_that_ends_leaves_what_is_known_to_the_next_one() {
    let mut world = World::new(MemorySpec { interval: S, ..spec() });
    world.see(MemorySeen::Ending);
    assert_eq!(world.saved, [], "nothing is known yet");
    world.run(M);
    let before = world.saved.len();
    world.see(MemorySeen::Ending);
    assert_eq!(world.saved.len(), before + 1);
    world.pass(M);
    world.see(MemorySeen::RunnerGone);
    assert_eq!(world.saved.len(), before + 1, "once");
}

#[test]
fn a_hundred_services_are_not_looked_at_at_once() {
    let mut each_second = vec![0; 60];
    for n in 0..100 {
        let mut world = World::called(&format!("service-{n}"), spec());
        world.run(3 * M);
        let last = world.asked.last().unwrap().mono.0 / 1_000_000_000;
        each_second[usize::try_from(last % 60).unwrap()] += 1;
    }
    assert!(each_second.iter().all(|n| *n <= 8), "{each_second:?}");
}

#[test]
fn a_slow_look_is_waited_for_and_one_of_an_old_run_is_dropped() {
    let mut world = World::new(MemorySpec { interval: S, ..spec() });
    world.takes = 7 * S;
    world.run(60 * S);
    assert!((7..=9).contains(&world.asked.len()), "{}", world.asked.len());
    // `World` fails where there are two at a time.
    let kept = world.kept;
    world.new_run();
    world.run(5 * S);
    assert_eq!(world.kept, kept, "what was asked of the old run says nothing of the new one");
    world.run(20 * S);
    assert!(world.kept > kept);
    let kept = world.kept;
    world.answer(world.view.run_id + 5);
    assert_eq!(world.kept, kept, "nobody asked for that");
}

#[test]
fn a_look_that_says_nothing_does_not_put_off_the_next_one() {
    let mut world = World::new(MemorySpec { interval: H, ..spec() });
    world.takes = 20 * S;
    let under_way = |world: &mut World| {
        while world.machine.due().is_some() {
            world.run(S);
        }
        world.asked.len()
    };
    let asked = under_way(&mut world);
    world.new_run();
    world.takes = Duration::from_millis(5);
    world.run(30 * S);
    assert_eq!(world.asked.len(), asked + 1, "it was of the run before");
    world.takes = 20 * S;
    let asked = under_way(&mut world);
    world.wakes(8 * H);
    world.takes = Duration::from_millis(5);
    world.run(30 * S);
    assert_eq!(world.asked.len(), asked + 1, "it was from before a sleep");
}

#[test]
fn what_was_told_and_done_outlives_a_detector_of_another_form() {
    let mut world = World::new(limited());
    world.bytes = GIB + MIB;
    world.run(5 * M);
    let saved = world.saved.pop().unwrap();
    let mut text = serde_json::to_value(&saved).unwrap();
    text["trend"] = serde_json::json!({ "of": "another version" });
    text["heap"] = serde_json::json!(7);
    text["kept"].as_object_mut().unwrap().remove("has_snapshot");
    let read: crate::machine::memory::MemorySaved = serde_json::from_value(text).unwrap();
    assert_eq!((read.kept, read.heap), (saved.kept, None));
}

#[test]
fn what_is_not_there_or_is_being_stopped_is_not_looked_at() {
    let mut world = World::new(spec());
    world.run(M);
    let asked = world.asked.len();
    world.view.status = Status::Stopping;
    world.push();
    world.run(10 * M);
    assert_eq!((world.asked.len(), world.machine.due(), world.info()), (asked, None, None));
    world.view.status = Status::Starting;
    world.push();
    world.run(M);
    assert!(world.asked.len() > asked);
    world.see(MemorySeen::RunnerGone);
    assert_eq!(world.machine.due(), None);
}

#[test]
fn after_a_sleep_nothing_is_made_up_for_and_what_was_under_way_does_not_count() {
    let mut world = World::new(spec());
    world.run(M);
    world.takes = 20 * S;
    while world.machine.due().is_some() {
        world.run(S);
    }
    let (asked, kept) = (world.asked.len(), world.kept);
    world.wakes(8 * H);
    world.run(19 * S);
    assert_eq!((world.asked.len(), world.kept), (asked, kept));
    world.takes = Duration::from_millis(5);
    world.run(10 * M);
    assert!((10..=12).contains(&(world.asked.len() - asked)), "{}", world.asked.len() - asked);
}

#[test]
fn numbers_that_cannot_be_are_not_taken() {
    let mut world = World::new(limited());
    world.run(3 * M);
    let (kept, info) = (world.kept, world.info());
    world.next = vec![0, u64::MAX, 1 << 50];
    world.run(3 * M);
    assert_eq!((world.kept, world.info()), (kept, info));
    world.run(M);
    assert!(world.kept > kept && world.rows.is_empty());
}

#[test]
fn the_state_is_put_by_at_a_new_life_and_now_and_then() {
    let mut world = World::new(MemorySpec { interval: S, ..spec() });
    world.run(10 * S);
    assert_eq!(world.saved.len(), 1);
    world.run(H);
    assert!((4..=5).contains(&world.saved.len()), "{}", world.saved.len());
    let saved = world.saved.len();
    world.new_run();
    world.run(10 * S);
    assert_eq!(world.saved.len(), saved + 1);
    assert_eq!(world.saved.last().unwrap().life.pid, 8);
}

#[test]
fn a_later_daemon_goes_on_and_says_nothing_twice() {
    let mut world = World::new(MemorySpec { quiet: vec![DayHours { from: 0, until: 1 }], ..limited() });
    world.bytes = GIB + 1;
    world.grows(growth(1e6, None));
    world.run(10 * M);
    let rows = world.rows.len();
    assert_eq!(rows, 2, "{:?}", world.rows);
    world.run(H);
    world.successor();
    world.run(10 * M);
    assert_eq!(world.rows.len(), rows, "{:?}", world.rows);
    assert!(world.waiting().contains("its restart waits for 00:00-00:01"), "{}", world.waiting());
    // What was told and is over by now is told as that.
    world.successor();
    world.says.tree.stands = false;
    world.bytes = 300 * MIB;
    world.run(10 * M);
    assert_eq!(world.growths().last().unwrap(), "true");
    assert_eq!(world.limits().last().unwrap(), "true");
    assert_eq!(world.ordered.len(), 0);
}

/// Whatever happens in whatever order: one look at a time (the world sees to that), no restart without a reason, and no end of
/// anything that was not told.
#[test]
fn any_order_of_events_is_stood() {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let on_growth = [OnGrowth::Alert, OnGrowth::RestartWhenIdle][numbers.below(2)];
        let interval = [10 * S, M, H][numbers.below(3)];
        let has_idle = numbers.below(2) == 0;
        let spec = MemorySpec { on_growth, interval, snapshot_signal: super::world::prof(), ..limited() };
        let quiet = vec![DayHours { from: 180, until: 300 }];
        let idle = if has_idle { super::world::idle() } else { None };
        let mut world = World::new(MemorySpec { quiet, idle, max_wait: 3 * H, ..spec.clone() });
        let mut was_high = false;
        for _ in 0..120 {
            match numbers.below(16) {
                0 => world.bytes = 300 * MIB,
                1 => (world.bytes, was_high) = (GIB + 5, true),
                2 => (world.bytes, was_high) = (2 * GIB, true),
                3 => world.next = vec![[0, 3 * GIB, u64::MAX][numbers.below(3)]],
                4 => world.grows(growth(1e7, Some(3.0))),
                5 => world.says.tree.stands = false,
                6 => world.wakes(H),
                7 => world.new_run(),
                8 => world.successor(),
                9 => world.see(MemorySeen::RunnerGone),
                10 => world.idle = [None, Some(true), Some(false)][numbers.below(3)],
                11 => world.see(MemorySeen::SnapshotWanted),
                12 => {
                    let taken = if numbers.below(2) == 0 { Ok("f".into()) } else { Err("no room".into()) };
                    world.see(MemorySeen::SnapshotTaken { run_id: world.view.run_id, taken });
                }
                13 => world.restarts = numbers.below(2) == 0,
                14 => world.takes = Duration::from_millis(5 + 40_000 * numbers.below(2) as u64),
                _ => world.push(),
            }
            world.run([S, 40 * S, 10 * M, 2 * H][numbers.below(4)]);
        }
        let grown = on_growth == OnGrowth::RestartWhenIdle && !world.growths().is_empty();
        assert!(world.ordered.is_empty() || was_high || grown, "seed {seed}: {:?}", world.rows);
        for told in [world.growths(), world.limits()] {
            let mut is_open = false;
            for row in told.iter().filter(|row| !row.starts_with("restart")) {
                assert!(row != "true" || is_open, "seed {seed}: {told:?}");
                is_open = row != "true";
            }
        }
    }
}

#[test]
fn a_question_that_stays_without_an_answer_is_told_until_it_is_answered() {
    let mut world = World::new(MemorySpec { limit: Some(GIB), ..spec() });
    let told = |world: &World| world.info().unwrap().troubles;
    let since = world.now.wall_ms;
    world.heap = Some(Err("http://127.0.0.1:1/: nobody is there".into()));
    world.run(90 * S);
    let [trouble] = &told(&world)[..] else { panic!("{:?}", told(&world)) };
    assert_eq!((trouble.of.as_str(), trouble.why.as_str()), ("heap", "http://127.0.0.1:1/: nobody is there"));
    assert!((since..since + 60_000).contains(&trouble.since_ms), "since the first one");
    world.heap = Some(Ok(5e6));
    world.run(60 * S);
    assert_eq!((told(&world), world.info().unwrap().heap_bytes), (vec![], Some(5_000_000)));
    // What is no size is no answer, and one that fails once is nothing to speak of.
    world.heap = Some(Ok(-3.0));
    world.run(60 * S);
    assert_eq!((told(&world), world.info().unwrap().heap_bytes), (vec![], None));
    world.run(60 * S);
    assert!(told(&world)[0].why.contains("-3"), "{:?}", told(&world));
    let another = MemorySpec { limit: Some(2 * GIB), ..spec() };
    world.machine = world.machine.redeclared(another);
    assert_eq!(told(&world), vec![]);
}
