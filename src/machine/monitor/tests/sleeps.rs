//! A machine that sleeps blames nobody; and a hang that outlives a sleep is found all the same.

use std::time::Duration;

use super::world::{Does, S, World, spec};
use crate::model::{StopCause, Verdict};
use crate::policy::gap::GRACE;

/// 30 s to 12 h.
fn night(world: &mut World) -> Duration {
    Duration::from_secs_f64(30.0 * (1440.0_f64).powf(world.luck()))
}

#[test]
fn a_thousand_sleeps_at_any_phase_restart_nothing() {
    for runs_on in [false, true] {
        let mut world = World::up(spec(), 17);
        for n in 0..1000 {
            let awake = 90.0 * world.luck();
            world.pass(Duration::from_secs_f64(awake));
            // Some are in the middle of a pause of its own, or of a start.
            match n % 4 {
                0 => world.change(Does::Pauses),
                1 => {
                    world.new_run();
                    let begun = 70.0 * world.luck();
                    world.pass(Duration::from_secs_f64(begun));
                }
                _ => {}
            }
            let asleep = night(&mut world);
            world.sleep(asleep, runs_on);
            // What slept takes its time to wake, and dark wakes last for seconds only.
            world.change(Does::Pauses);
            let thaw = 20.0 * world.luck();
            world.pass(Duration::from_secs_f64(thaw));
            if n % 3 == 0 {
                let again = night(&mut world);
                world.sleep(again, runs_on);
            }
            world.change(Does::Answers(Duration::from_millis(3)));
        }
        world.pass(100 * S);
        assert_eq!(world.verdict(), Verdict::Healthy);
        assert_eq!(world.convictions(), [], "runs on: {runs_on}");
    }
}

#[test]
fn a_start_that_sleep_interrupts_has_its_whole_time() {
    for runs_on in [false, true] {
        let mut world = World::starting(spec(), 3);
        world.pass(30 * S);
        world.sleep(8 * 3600 * S, runs_on);
        // It does nothing; but half of its time is left, and then its patience.
        world.pass(29 * S);
        assert_eq!(world.convictions(), [], "runs on: {runs_on}");
        world.pass(60 * S);
        assert_eq!(world.convictions()[0].1, StopCause::StartTimeout);
    }
}

#[test]
fn a_hang_that_outlives_a_sleep_is_found_within_the_grace_and_its_time() {
    for luck in 0..400 {
        let mut world = World::up(spec(), luck);
        let before = 100.0 + 30.0 * world.luck();
        world.pass(Duration::from_secs_f64(before));
        world.change(Does::Pauses);
        let hung_for = 30.0 * world.luck();
        world.pass(Duration::from_secs_f64(hung_for));
        let asleep = night(&mut world);
        world.sleep(asleep, luck % 2 == 0);
        let woke = world.now.mono;
        assert_eq!(world.verdict(), Verdict::Asleep);
        world.pass(200 * S);
        let found = world.convictions();
        let after = found[0].0.mono.since(woke);
        assert!(after <= GRACE + 45 * S + Duration::from_millis(10), "{after:?}");
        assert!(after >= GRACE, "{after:?}");
    }
}

#[test]
fn after_a_wake_it_is_healthy_with_its_first_answer() {
    let mut world = World::up(spec(), 9);
    world.pass(100 * S);
    world.sleep(3600 * S, false);
    assert_eq!(world.verdict(), Verdict::Asleep);
    assert!(world.monitor.info(world.now).unwrap().note.unwrap().starts_with("the machine slept for 1h"));
    world.pass(6 * S);
    assert_eq!(world.verdict(), Verdict::Healthy);
}
