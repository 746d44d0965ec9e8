//! Growth: told, over, restarted for, and written down.

use super::world::{GIB, H, M, MIB, S, World, growth, idle, limited, prof, spec};
use crate::machine::memory::MemorySeen;
use crate::machine::memory::sampling::{Points, Said, Trends};
use crate::model::{DayHours, EventType, FigureSpec, Growth, MemorySpec, MemoryVerdict, OnGrowth};
use crate::policy::trend::Point;

#[test]
fn growth_is_told_with_what_is_known_of_it_and_its_end_as_well() {
    let mut world = World::new(MemorySpec { growth: Some(5_000_000), ..limited() });
    world.run(M);
    assert_eq!(world.info().unwrap().growth, None);
    let told_at = world.now.wall_ms;
    world.grows(growth(6e6, Some(100.0)));
    world.run(2 * M);
    let row = &world.rows[0].1;
    let members =
        "run_id limit bytes metric severity since_ms verdict bytes_per_hour low high grown hours hours_left test"
            .split(' ');
    assert!(members.clone().all(|key| !row[key].is_null()), "{row:?}");
    assert!(row["bytes_per_request"].is_null(), "it does not say how many it serves");
    assert_eq!(row.len(), members.count() + 1, "{row:?}");
    let since = row["since_ms"].as_i64().unwrap();
    assert!((told_at - since - 36_000_000).abs() < 120_000, "ten hours before");
    let info = world.info().unwrap();
    assert_eq!((info.growing_since_ms, info.verdict), (Some(since), Some(MemoryVerdict::Growing)));
    // Told again a day later: the same growth.
    world.run(24 * H);
    world.grows(Growth { hours: 5.0, ..growth(3e6, Some(100.0)) });
    world.run(2 * M);
    assert_eq!(world.growths(), ["warning", "info"]);
    assert_eq!(world.rows[1].1["since_ms"], since);
    world.says.tree.stands = false;
    world.run(2 * M);
    assert_eq!(world.growths().last().unwrap(), "true");
    assert_eq!(world.info().unwrap().growth, None);
    assert_eq!((world.rows.len(), world.ordered.len()), (3, 0), "it is told, and nothing else");
}

#[test]
fn growth_is_since_when_by_the_clock_on_the_wall() {
    let mut world = World::new(spec());
    world.run(2 * M);
    for slept in [9 * H, 2 * H] {
        world.wakes(slept);
        world.run(M);
        world.successor();
        world.run(M);
    }
    world.run(7 * H);
    world.grows(growth(1e6, None));
    world.run(M);
    let since_ms = world.info().unwrap().growing_since_ms.unwrap();
    let hours = (world.now.wall_ms - since_ms) / 3_600_000;
    assert_eq!(hours, 10 + 11, "ten of them awake, the last seven after both sleeps");
    world.says.tree.stands = false;
    world.run(12 * H);
    world.grows(growth(1e6, None));
    world.run(M);
    let since_ms = world.info().unwrap().growing_since_ms.unwrap();
    assert_eq!((world.now.wall_ms - since_ms) / 3_600_000, 10, "they were before it");
}

#[test]
fn how_much_it_matters_is_how_fast_it_is_and_how_long_there_is() {
    let said = |growth_declared: Option<u64>, growth: Growth| {
        let mut world = World::new(MemorySpec { growth: growth_declared, ..spec() });
        world.grows(growth);
        world.run(M);
        world.growths().remove(0)
    };
    assert_eq!(said(None, growth(1e6, None)), "info");
    assert_eq!(said(None, growth(1e7, None)), "warning", "10 MB/h is fast where nothing is declared");
    assert_eq!(said(Some(20_000_000), growth(1.9e7, Some(24.0))), "info");
    assert_eq!(said(Some(20_000_000), growth(2e7, Some(24.0))), "warning");
    assert_eq!(said(None, growth(1e6, Some(23.9))), "warning");
    assert_eq!(said(None, Growth { verdict: MemoryVerdict::Urgent, ..growth(1e6, None) }), "critical");
}

#[test]
fn the_heap_is_told_beside_the_tree() {
    let mut world = World::new(spec());
    world.says.heap = Said { new: Some(growth(1e6, None)), stands: true };
    world.run(M);
    world.grows(growth(1e6, None));
    world.run(M);
    world.says.heap.stands = false;
    world.run(M);
    assert_eq!(world.growths(), ["heap info", "info", "heap true"]);
}

#[test]
fn a_heap_snapshot_is_taken_once_for_each_growth() {
    let mut world = World::new(MemorySpec { snapshot_signal: prof(), ..limited() });
    world.grows(growth(1e6, None));
    world.run(M);
    assert_eq!(world.snapshots, 1);
    // While it is written nothing is looked at, and nothing restarted: a snapshot takes memory itself.
    let asked = world.asked.len();
    world.bytes = 2 * GIB;
    world.run(5 * M);
    assert_eq!((world.asked.len(), world.ordered.len()), (asked, 0));
    world.bytes = 300 * MIB;
    let no_room = || MemorySeen::SnapshotTaken { run_id: 1, taken: Err("there is no room for it".into()) };
    world.see(no_room());
    world.run(5 * M);
    assert!(world.asked.len() > asked);
    // Told again it is tried again, and not when there is one.
    for (count, is_taken) in [(2, true), (2, true)] {
        world.run(24 * H);
        world.grows(growth(1e6, None));
        world.run(2 * M);
        assert_eq!(world.snapshots, count);
        if is_taken {
            world.see(MemorySeen::SnapshotTaken { run_id: 1, taken: Ok("s-7.heapsnapshot".into()) });
        }
    }
    world.says.tree.stands = false;
    world.run(2 * M);
    world.grows(growth(1e6, None));
    world.run(2 * M);
    assert_eq!(world.snapshots, 3, "another growth");
    let told = world.told(EventType::MemorySnapshot, &["run_id", "file", "failed"]);
    assert_eq!(told[..2], ["1 there is no room for it", "1 s-7.heapsnapshot"]);
}

#[test]
fn a_heap_snapshot_that_was_asked_for_comes_or_is_refused_in_words() {
    let refused = |world: &World| world.told(EventType::MemorySnapshot, &["failed"]).pop().unwrap_or_default();
    let mut world = World::new(spec());
    world.run(M);
    world.see(MemorySeen::SnapshotWanted);
    assert!(refused(&world).contains("no snapshot_signal"), "{}", refused(&world));
    let mut world = World::new(MemorySpec { snapshot_signal: prof(), ..spec() });
    world.see(MemorySeen::SnapshotWanted);
    assert!(refused(&world).contains("not been looked at"), "{}", refused(&world));
    world.run(M);
    world.see(MemorySeen::SnapshotWanted);
    world.see(MemorySeen::SnapshotWanted);
    assert_eq!((world.snapshots, refused(&world).as_str()), (1, "one is being written"));
    // One that never comes is not waited for without end.
    world.run(11 * M);
    world.see(MemorySeen::SnapshotWanted);
    assert_eq!(world.snapshots, 2);
    world.see(MemorySeen::RunnerGone);
    world.see(MemorySeen::SnapshotWanted);
    assert_eq!(refused(&world), "it does not run");
}

#[test]
fn for_growth_alone_it_is_restarted_where_that_is_declared_when_it_is_idle_and_once_a_day() {
    let on_growth = OnGrowth::RestartWhenIdle;
    let mut world = World::new(MemorySpec { idle: idle(), on_growth, max_wait: H, ..limited() });
    world.idle = Some(false);
    world.grows(growth(1e7, Some(1.0)));
    world.run(30 * H);
    assert_eq!(world.ordered.len(), 0, "not after max_wait");
    assert_eq!(world.waiting(), "it grows: its restart waits until it is idle");
    world.idle = Some(true);
    world.run(M);
    assert_eq!(world.ordered.len(), 1);
    assert_eq!(world.growths()[..2], ["warning", "restart idle"]);
    // It grows again in the next life: not before a day has gone by.
    for (time, count) in [(23 * H, 1), (2 * H, 2)] {
        world.grows(growth(1e7, None));
        world.run(time);
        assert_eq!(world.ordered.len(), count);
    }
    let mut never = World::new(MemorySpec { idle: idle(), ..limited() });
    never.idle = Some(true);
    never.grows(growth(1e9, Some(0.1)));
    never.run(30 * H);
    assert_eq!((never.ordered.len(), never.idle_asked), (0, 0), "it is not declared");
}

#[test]
fn an_order_for_growth_is_given_again_while_the_run_is_there() {
    let quiet = vec![DayHours { from: 0, until: 1440 }];
    let mut world = World::new(MemorySpec { quiet, on_growth: OnGrowth::RestartWhenIdle, ..spec() });
    world.restarts = false;
    world.grows(growth(1e6, None));
    world.run(20 * S);
    let ordered = world.ordered.len();
    assert!(ordered >= 1);
    world.run(30 * S);
    assert_eq!(world.ordered.len(), ordered + 3);
    assert_eq!(world.growths(), ["info", "restart quiet"], "told once");
    assert_eq!(world.waiting(), "it is being restarted for its memory");
}

#[test]
fn what_the_heap_of_a_former_life_did_is_not_held_against_one_that_does_not_tell_its_own() {
    let point = |hour: f64, life: u64, mib: f64| {
        let wall = 1.7e9 + hour * 3600.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some MiB")]
        let bytes = (mib * 1_048_576.0) as u64;
        Point { awake: hour * 3600.0, wall, bytes, life, room: None, requests: None }
    };
    let heap = Some(FigureSpec { url: "http://127.0.0.1:1/".into(), pointer: "/heap".into() });
    let (spec, mut trends, mut stands) = (MemorySpec { heap, ..spec() }, Trends::default(), false);
    for minute in 0..48 * 60 {
        let hour = f64::from(minute) / 60.0;
        let (tree, heap) = (point(hour, 1, 900.0), Some(point(hour, 1, 200.0 + 20.0 * hour)));
        stands = trends.judge(&spec, &Points { tree, heap, is_new_life: minute == 0 }).heap.stands;
    }
    assert!(stands, "it grows");
    let next = Points { tree: point(48.1, 2, 100.0), heap: None, is_new_life: true };
    assert!(!trends.judge(&spec, &next).heap.stands);
}
