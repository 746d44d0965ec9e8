//! Who is busy with what was asked of it is not called hung for that, and is after it.

use std::time::Duration;

use super::world::{Does, S, World, spec};
use crate::machine::monitor::Seen;
use crate::model::{StopCause, Verdict};

fn excuse(world: &mut World, run_id: u64, time: Duration) {
    let until = world.now.mono.plus(time);
    world.see(Seen::Excused { run_id, until });
}

#[test]
fn silence_that_is_excused_is_no_hang_at_any_phase() {
    for luck in 0..200 {
        let mut world = World::up(spec(), luck);
        let before = 100.0 + 20.0 * world.luck();
        world.pass(Duration::from_secs_f64(before));
        world.change(Does::Pauses);
        // What has been silent for a while already is excused for that as well.
        let silent = 30.0 * world.luck();
        world.pass(Duration::from_secs_f64(silent));
        excuse(&mut world, 1, 300 * S);
        world.pass(290 * S);
        assert!(world.monitor.info(world.now).unwrap().note.unwrap().contains("heap snapshot"));
        excuse(&mut world, 1, Duration::ZERO);
        world.change(Does::Answers(Duration::from_millis(2)));
        world.pass(100 * S);
        assert_eq!((world.convictions(), world.verdict()), (vec![], Verdict::Healthy), "luck {luck}");
    }
}

#[test]
fn a_hang_that_outlives_its_excuse_is_found_in_its_time_after_it() {
    for said in [false, true] {
        for luck in 0..200 {
            let mut world = World::up(spec(), luck);
            let before = 100.0 + 20.0 * world.luck();
            world.pass(Duration::from_secs_f64(before));
            world.change(Does::Pauses);
            excuse(&mut world, 1, if said { 300 * S } else { 60 * S });
            world.pass(60 * S);
            let over = world.now.mono;
            if said {
                excuse(&mut world, 1, Duration::ZERO);
            }
            world.pass(60 * S);
            let found = world.convictions();
            assert_eq!(found.len(), 1, "luck {luck}");
            let after = found[0].0.mono.since(over);
            assert_eq!(found[0].1, StopCause::Hung);
            assert!(after >= 34 * S && after <= 55 * S + Duration::from_millis(10), "{after:?}");
        }
    }
}

#[test]
fn a_restart_that_is_due_waits_for_the_end_of_the_excuse() {
    let mut world = World::up(spec(), 5);
    world.evidence = false;
    world.pass(100 * S);
    world.change(Does::Pauses);
    world.pass(46 * S);
    assert_eq!((world.convictions().len(), world.restarted()), (1, vec![]), "its evidence is being taken");
    excuse(&mut world, 1, 100 * S);
    world.pass(90 * S);
    assert_eq!(world.restarted(), []);
    world.pass(20 * S);
    assert_eq!(world.restarted(), [StopCause::Hung]);
}

#[test]
fn the_next_run_has_no_excuse() {
    let mut world = World::up(spec(), 11);
    world.pass(100 * S);
    excuse(&mut world, 1, 300 * S);
    world.new_run();
    world.ready();
    world.pass(30 * S);
    world.change(Does::Pauses);
    world.pass(50 * S);
    assert_eq!(world.convictions().len(), 1);
}
