//! What is made to hold, in a world that is made up.

mod world;

use std::time::Duration;

use self::world::{SECOND, World, argv, moment, spec};
use super::*;
use crate::model::Status;
use crate::model::testing::Numbers;

#[test]
fn it_fails_at_first_and_then_holds_and_nobody_is_alarmed() {
    let mut world = World::new(spec("ensure"));
    assert_eq!(world.status(), Status::Starting);
    world.rng = 0.0;
    world.tell(ExposureInput::Tick);
    for wait in [2, 4, 8] {
        world.ends(false);
        world.ends(false);
        assert_eq!((world.status(), world.ran().as_str()), (Status::Starting, "check ensure"));
        assert_eq!(world.wait(), Duration::from_secs(wait));
    }
    assert!(world.words().0.contains("tried 3x: `ensure` ended with exit code 1"), "{:?}", world.words());
    assert!(world.words().1.contains("no route"), "{:?}", world.words());
    world.ends(false);
    world.ends(true);
    world.ends(true);
    assert_eq!((world.status(), world.events()), (Status::Up, vec!["exposure_up"]));
    world.now += 60 * SECOND;
    let (short, long) = world.words();
    assert_eq!(short, "holds for 1m, checked 1m ago");
    assert!(long.contains("looked at again every 5m"), "{long}");
}

#[test]
fn one_that_holds_already_is_left_alone_and_looked_at_from_start_to_start() {
    let mut world = World::new(spec("ensure"));
    world.tell(ExposureInput::Tick);
    world.now += 7 * SECOND;
    world.ends(true);
    assert_eq!((world.ran().as_str(), world.status()), ("check", Status::Up));
    assert_eq!(world.wait(), Duration::from_secs(293));
    // What takes longer than the interval is followed by one look, not by those that were left out.
    world.now += 1000 * SECOND;
    world.ran();
    world.ends(true);
    assert_eq!(world.ran(), "check");
    world.ends(true);
    assert_eq!((world.ran().as_str(), world.wait()), ("", Duration::from_secs(300)));
}

#[test]
fn what_does_not_hold_any_more_is_made_to_hold_again_and_told_when_it_lasts() {
    let mut world = World::new(spec("ensure")).up();
    world.wait();
    world.ends(false);
    assert_eq!((world.ran().as_str(), world.status()), ("check ensure", Status::Degraded));
    assert_eq!(world.events(), ["exposure_down"]);
    for _ in 0..5 {
        assert_eq!(world.events(), [""; 0]);
        world.ends(true);
        world.ends(false);
        world.wait();
        world.ends(false);
    }
    assert_eq!((world.status(), world.events()), (Status::Failed, vec!["exposure_failed"]));
    world.ends(true);
    world.ends(true);
    assert_eq!((world.status(), world.events()), (Status::Up, vec!["exposure_up"]));
}

#[test]
fn a_few_long_tries_are_told_after_a_while_too() {
    let mut world = World::new(ExposureSpec {
        retry_delay: Duration::from_secs(1500),
        backoff_max: Duration::from_secs(3600),
        ..spec("e")
    });
    world.tell(ExposureInput::Tick);
    world.ends(false);
    world.ends(false);
    assert_eq!(world.wait(), TOLD_AFTER);
    assert_eq!((world.ran().as_str(), world.events()), ("check e", vec!["exposure_failed"]));
    assert_eq!(world.wait(), Duration::from_secs(900));
    assert_eq!(world.ran(), "check");
}

#[test]
fn without_a_check_ensure_is_what_is_asked_again() {
    let mut world = World::new(ExposureSpec { check: None, ..spec("ensure") });
    world.tell(ExposureInput::Tick);
    world.ends(true);
    assert_eq!((world.status(), world.ran().as_str()), (Status::Up, "ensure"));
    assert_eq!(world.wait(), Duration::from_secs(300));
    world.ends(false);
    assert_eq!((world.status(), world.ran().as_str()), (Status::Degraded, "ensure"));
    assert_eq!(world.events(), ["exposure_up", "exposure_down"]);
}

#[test]
fn stopped_is_undone_once_and_stays_so_over_the_daemons_death() {
    let mut world = World::new(spec("ensure")).up();
    world.tell(ExposureInput::Order(Verb::Stop));
    world.tell(ExposureInput::Order(Verb::Stop));
    assert_eq!((world.status(), world.ran().as_str(), world.intent.up), (Status::Stopping, "undo", false));
    world.ends(true);
    assert_eq!((world.status(), world.events()), (Status::Down, vec!["exposure_undone"]));
    assert_eq!(world.settled, [Ok("down".to_owned())]);
    assert_eq!(world.words().0, "stopped by operator");
    assert!(world.machine.is_settled() && world.saved.made.is_none());
    let next = World::after(spec("ensure"), world.intent, world.saved);
    assert!(next.machine.is_settled());
    let mut next = next;
    next.tell(ExposureInput::Order(Verb::Start));
    assert_eq!((next.intent.up, next.ran().as_str()), (true, "check"));
}

#[test]
fn what_cannot_be_undone_is_tried_a_few_times_and_told() {
    let mut world = World::new(spec("ensure")).up();
    world.tell(ExposureInput::Order(Verb::Stop));
    for _ in 1..UNDO_TRIES {
        world.ends(false);
        assert_eq!(world.status(), Status::Stopping);
        world.wait();
    }
    world.ends(false);
    assert_eq!((world.ran().as_str(), world.status()), ("undo undo undo", Status::Failed));
    assert_eq!(world.rows[0].1["result"], "failed");
    assert!(world.settled[0].as_ref().is_err_and(|why| why.contains("could not be undone")));
    assert!(world.saved.made.is_some() && world.machine.due().is_none());
    // Whoever comes next tries again, and so does a further order.
    let mut next = World::after(spec("ensure"), world.intent.clone(), world.saved.clone());
    next.tell(ExposureInput::Tick);
    assert_eq!(next.ran(), "undo");
    world.tell(ExposureInput::Order(Verb::Stop));
    world.ends(true);
    assert_eq!((world.status(), world.saved.made), (Status::Down, None));
}

#[test]
fn a_stop_ends_what_is_under_way_and_undoes_what_it_may_have_done() {
    let mut world = World::new(spec("ensure"));
    world.tell(ExposureInput::Tick);
    world.ends(false);
    world.tell(ExposureInput::Order(Verb::Stop));
    assert_eq!(world.ran(), "check ensure");
    // It had ended well a moment before it was ended; that changes nothing.
    world.ends(true);
    assert_eq!(world.ran(), "undo");
    world.ends(true);
    assert_eq!((world.status(), world.events()), (Status::Down, vec!["exposure_undone"]));
    // Nothing was made before the first look, so there is nothing to undo.
    let mut world = World::new(spec("ensure"));
    world.tell(ExposureInput::Tick);
    world.tell(ExposureInput::Order(Verb::Stop));
    world.ends(true);
    assert_eq!((world.ran().as_str(), world.status(), world.events().len()), ("check", Status::Down, 0));
}

#[test]
fn two_triggers_at_once_do_it_once() {
    let mut world = World::new(spec("ensure"));
    world.tell(ExposureInput::Tick);
    for input in [ExposureInput::Order(Verb::Start), ExposureInput::Gap, ExposureInput::Tick] {
        world.tell(input);
    }
    world.ends(true);
    assert_eq!((world.ran().as_str(), world.status()), ("check", Status::Up));
    assert_eq!(world.settled, [Ok("it held already".to_owned())]);
    world.tell(ExposureInput::Order(Verb::Start));
    assert_eq!((world.ran().as_str(), world.settled.len()), ("", 2));
}

#[test]
fn an_order_on_top_of_another_answers_both() {
    let mut world = World::new(spec("ensure")).up();
    world.tell(ExposureInput::Order(Verb::Stop));
    world.tell(ExposureInput::Order(Verb::Start));
    assert!(world.settled[0].is_err());
    assert_eq!(world.status(), Status::Starting);
    world.ends(true);
    assert_eq!(world.ran(), "undo check");
    world.ends(false);
    world.ends(true);
    world.ends(true);
    assert_eq!((world.status(), world.settled[1].clone()), (Status::Up, Ok("it holds".into())));
    world.tell(ExposureInput::Order(Verb::Restart));
    world.ends(true);
    world.ends(true);
    world.ends(true);
    assert_eq!((world.ran().as_str(), world.status()), ("ensure check undo ensure check", Status::Up));
}

#[test]
fn a_machine_that_wakes_looks_at_once() {
    let mut world = World::new(spec("ensure")).up();
    world.now += SECOND;
    world.tell(ExposureInput::Gap);
    assert_eq!(world.ran(), "check");
}

#[test]
fn declared_otherwise_the_old_is_undone_by_its_own_word() {
    let old = ExposureSpec { undo: Some(argv("undo-old")), ..spec("old") };
    let new = ExposureSpec { undo: Some(argv("undo-new")), ..spec("new") };
    let mut world = World::new(old.clone());
    world.tell(ExposureInput::Tick);
    world.ends(true);
    world.ran();
    world.tell(ExposureInput::Declare(Box::new(new.clone())));
    assert_eq!(world.ran(), "undo-old");
    world.ends(true);
    world.ends(true);
    world.ends(true);
    assert_eq!((world.ran().as_str(), world.status()), ("new check", Status::Up));
    // The same while no daemon ran.
    let saved = ExposureSaved { boot_id: "boot".into(), made: Some(old.clone()), up_since_ms: Some(5) };
    let mut world = World::after(new, Intent::default(), saved);
    world.tell(ExposureInput::Tick);
    assert_eq!(world.ran(), "undo-old");
    // How it is undone is taken over where nothing else changes, and it is looked at.
    let mut world = World::new(old.clone());
    world.tell(ExposureInput::Tick);
    world.ends(true);
    world.tell(ExposureInput::Declare(Box::new(ExposureSpec { undo: Some(argv("undo-better")), ..old })));
    assert_eq!(world.ran(), "check check");
    world.ends(true);
    world.tell(ExposureInput::Remove);
    assert_eq!(world.ran(), "undo-better");
    world.ends(true);
    assert!(world.machine.is_settled() && world.machine.is_removed());
}

#[test]
fn disabled_is_undone_and_what_nothing_undoes_is_let_go() {
    let mut world = World::new(spec("ensure")).up();
    world.tell(ExposureInput::Declare(Box::new(ExposureSpec { enabled: false, ..spec("ensure") })));
    assert_eq!(world.ran(), "undo");
    world.ends(true);
    assert_eq!(world.status(), Status::Disabled);
    let mut world = World::new(ExposureSpec { undo: None, ..spec("ensure") });
    world.tell(ExposureInput::Tick);
    world.ends(true);
    world.events();
    world.tell(ExposureInput::Order(Verb::Stop));
    assert_eq!((world.status(), world.rows[0].1["result"].as_str()), (Status::Down, Some("nothing")));
}

#[test]
fn a_daemon_that_goes_leaves_it_or_undoes_it() {
    let mut world = World::new(spec("ensure")).up();
    world.tell(ExposureInput::Leave { undo: false });
    assert!(world.machine.is_settled() && world.ran.is_empty());
    // The next one looks first, and as it holds nothing is done or told.
    let mut next = World::after(spec("ensure"), world.intent.clone(), world.saved.clone());
    next.tell(ExposureInput::Tick);
    next.ends(true);
    assert_eq!((next.ran().as_str(), next.status(), next.events().len()), ("check", Status::Up, 0));
    assert_eq!(next.saved.up_since_ms, world.saved.up_since_ms);
    // If it does not hold, that is told: it did.
    let mut next = World::after(spec("ensure"), world.intent.clone(), world.saved.clone());
    next.tell(ExposureInput::Tick);
    next.ends(false);
    assert_eq!((next.ran().as_str(), next.events()), ("check ensure", vec!["exposure_down"]));
    // In another boot it is not there yet, and nobody is told.
    let saved = ExposureSaved { boot_id: "before".into(), ..world.saved.clone() };
    let mut next = World::after(spec("ensure"), world.intent, saved);
    next.tell(ExposureInput::Tick);
    next.ends(false);
    assert_eq!((next.ran().as_str(), next.events().len(), next.status()), ("check ensure", 0, Status::Starting));
    next.ends(true);
    next.ends(true);
    next.tell(ExposureInput::Leave { undo: true });
    assert_eq!((next.ran().as_str(), next.intent.up), ("check undo", true));
    next.ends(true);
    assert!(next.machine.is_settled());
}

/// Whatever happens in whatever order: one command at a time, never stuck, the row of each change once; and in the end, when it is
/// wanted and its commands end well it holds, and when it is not wanted it is undone.
#[test]
fn whatever_happens_it_comes_to_rest_where_it_is_wanted() {
    for seed in 0..2000 {
        let mut numbers = Numbers(seed);
        let mut first = spec("e0");
        first.check = (numbers.below(3) > 0).then(|| argv("check"));
        first.undo = (numbers.below(3) > 0).then(|| argv("undo"));
        let mut world = World::new(first.clone());
        let mut declared = first;
        for _ in 0..60 {
            world.rng = numbers.below(100) as f64 / 100.0;
            world.now += numbers.below(20) as u64 * SECOND;
            match numbers.below(14) {
                0 => world.tell(ExposureInput::Order(Verb::Start)),
                1 => world.tell(ExposureInput::Order(Verb::Stop)),
                2 => world.tell(ExposureInput::Order(Verb::Restart)),
                3 => world.tell(ExposureInput::Gap),
                4 => {
                    declared.ensure = argv(["e0", "e1"][numbers.below(2)]);
                    declared.enabled = numbers.below(4) > 0;
                    world.tell(ExposureInput::Declare(Box::new(declared.clone())));
                }
                5 => {
                    // The daemon is killed; what it ran is ended.
                    let (saved, intent) = (world.saved.clone(), world.intent.clone());
                    let now = world.now;
                    world.machine = ExposureMachine::new(declared.clone(), intent, saved, "boot", moment(now));
                    world.running = None;
                    world.tell(ExposureInput::Tick);
                }
                _ if world.running.is_some() => world.ends(numbers.below(2) > 0),
                _ if world.machine.due().is_some() => drop(world.wait()),
                _ => world.tell(ExposureInput::Tick),
            }
            let _ = world.words();
        }
        for _ in 0..20 {
            match world.running.is_some() {
                true => world.ends(true),
                false if world.machine.is_settled() || world.status() == Status::Up => break,
                false => drop(world.wait()),
            }
        }
        let wanted = declared.enabled && world.intent.up;
        let end = if wanted { Status::Up } else { world.status() };
        assert_eq!(world.status(), end, "seed {seed}: {:?}", world.words());
        if wanted {
            assert_eq!(world.saved.made.as_ref(), Some(&declared), "seed {seed}");
        } else {
            assert!(world.machine.is_settled(), "seed {seed}: {:?}", world.words());
            let undone = world.saved.made.is_none() || world.status() == Status::Failed;
            assert!(undone, "seed {seed}: {:?}", world.status());
        }
        // Up and down take turns.
        let turns: Vec<EventType> = world
            .rows
            .iter()
            .map(|(event, _)| *event)
            .filter(|e| *e == EventType::ExposureUp || *e == EventType::ExposureDown)
            .collect();
        assert!(turns.windows(2).all(|pair| pair != [EventType::ExposureDown, EventType::ExposureDown]), "seed {seed}");
    }
}
