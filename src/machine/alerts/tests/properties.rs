//! What holds for every story.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::traces::happen;
use super::world::{BASE_MS, World, unit};
use crate::model::{Alert, EventType, NoticeKind, Severity, UnitName};

/// One thing that happens, and how long after the one before, ms.
fn event() -> impl Strategy<Value = (i64, String)> {
    let gap = prop_oneof![
        3 => 0i64..90_000,
        2 => Just(60_000i64),
        2 => 90_000i64..900_000,
        1 => 900_000i64..30_000_000,
    ];
    let service = prop_oneof![3 => Just("gateway"), 2 => Just("worker"), 1 => Just("leaf"), 1 => Just("plain")];
    let what = prop_oneof![
        8 => Just("crash S"),
        2 => Just("crash S says Error: one"),
        2 => Just("crash S says Error: two"),
        2 => Just("dies S"),
        3 => Just("start S"),
        2 => Just("ready S"),
        2 => Just("exit S 1s"),
        1 => Just("finishes S 1s"),
        2 => Just("hang S"),
        2 => Just("timeout S"),
        1 => Just("overmem S"),
        1 => Just("lost S"),
        1 => Just("stop S"),
        2 => Just("restart S"),
        1 => Just("reload S"),
        2 => Just("refuse S"),
        1 => Just("refuse-again S"),
        1 => Just("held S"),
        1 => Just("growth S"),
        1 => Just("limit S"),
        1 => Just("growth S over"),
        1 => Just("probe S"),
        1 => Just("drift S by_hand"),
        1 => Just("drift S over"),
        1 => Just("task job failed"),
        1 => Just("task job ran"),
        1 => Just("missed job missed-off"),
        1 => Just("gap 1s"),
        1 => Just("silence S * 20m"),
        1 => Just("silence * held 2h"),
        1 => Just("unsilence 1"),
        1 => Just("ack"),
        1 => Just("sleep 2h"),
        1 => Just("reboot 1m"),
        1 => Just("wait"),
    ];
    (gap, service, what).prop_map(|(gap, service, what)| (gap, what.replace('S', service)))
}

fn story() -> impl Strategy<Value = Vec<(i64, String)>> {
    prop::collection::vec(event(), 1..60)
}

/// Plays it; `restarts`: after which events the daemon is killed.
fn played(story: &[(i64, String)], restarts: impl Fn(usize) -> bool) -> World {
    let mut world = World::new(false);
    for (at, (gap, event)) in story.iter().enumerate() {
        world.advance(world.now + gap);
        if event == "ack" && !world.stored.alerts.values().any(Alert::is_open) {
            continue;
        }
        happen(&mut world, event);
        if restarts(at) {
            world.restart();
        }
        one_open_each(&world);
    }
    world.advance(world.now + 3 * 86_400_000);
    world
}

/// At most one open alert per (family, service, cause), in the machine's eyes and on record.
fn one_open_each(world: &World) {
    let open: Vec<&Alert> = world.stored.alerts.values().filter(|alert| alert.is_open()).collect();
    let keys: BTreeSet<_> = open.iter().map(|a| super::super::Key::of(a)).collect();
    assert_eq!(keys.len(), open.len(), "{open:?}");
    let mut mine: Vec<(String, Option<UnitName>)> =
        world.machine.open().map(|alert| (alert.rule.to_string(), alert.service.clone())).collect();
    let mut theirs: Vec<_> = open.iter().map(|alert| (alert.rule.to_string(), alert.service.clone())).collect();
    mine.sort();
    theirs.sort();
    assert_eq!(mine, theirs, "what is on record is not what is known");
}

fn keys(world: &World) -> Vec<(String, i64)> {
    world.stored.notices.iter().map(|notice| (notice.key.clone(), notice.at_ms - BASE_MS)).collect()
}

/// What was told of each alert makes sense.
fn notices_make_sense(world: &World) -> Result<(), TestCaseError> {
    let mut told: BTreeMap<&str, Vec<NoticeKind>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for notice in &world.stored.notices {
        prop_assert!(seen.insert(&notice.key), "{} was told twice", notice.key);
        prop_assert!(notice.alert.told || notice.kind == NoticeKind::Note, "{}", notice.key);
        let before = told.entry(&notice.alert.id).or_default();
        prop_assert_eq!(before.is_empty(), matches!(notice.kind, NoticeKind::Fired | NoticeKind::Note));
        prop_assert!(!before.contains(&NoticeKind::Resolved), "{} came after the end", notice.key);
        before.push(notice.kind);
        let alert = &notice.alert;
        let texts = alert.facts.iter().chain(&alert.tail).chain(&alert.advice).chain([
            &alert.title,
            &alert.doing,
            &alert.outcome,
        ]);
        for text in texts {
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
    let fired = world.stored.rows.iter().filter(|(event, _)| *event == EventType::AlertFired).count();
    let over = world.stored.rows.iter().filter(|(event, _)| *event == EventType::AlertResolved).count();
    let open = world.stored.alerts.values().filter(|alert| alert.is_open()).count();
    prop_assert_eq!(fired, over + open);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_is_told_whoever_tells_it_and_however_often_the_daemon_is_killed(story in story(), cut in 0usize..60) {
        let whole = played(&story, |_| false);
        notices_make_sense(&whole)?;
        prop_assert_eq!(keys(&whole), keys(&played(&story, |_| false)));
        prop_assert_eq!(keys(&whole), keys(&played(&story, |at| at == cut)), "cut after event {}", cut);
        prop_assert_eq!(keys(&whole), keys(&played(&story, |_| true)), "cut everywhere");
    }
}

#[test]
fn ten_thousand_crashes_in_a_minute_are_one_alert_and_few_rows() {
    let mut world = World::new(false);
    let gateway = unit("gateway");
    for _ in 0..10_000 {
        world.advance(world.now + 6);
        happen(&mut world, "crash gateway says Error: gone at 0x7f");
    }
    let kinds: Vec<_> = world.stored.notices.iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::Fired]);
    assert!(world.stored.keeps < 30, "{} rows", world.stored.keeps);
    assert_eq!(world.stored.kinds.len(), 1);
    // However often, the machine is no larger than its largest window.
    let service = &world.machine.services[&Some(gateway)];
    assert!(service.loops.values().all(|one| one.recent.len() <= 6));
    assert!(service.kinds.values().all(|kind| kind.recent.len() <= 3));
    world.advance(world.now + 9 * 60_000);
    let worse: Vec<_> = world.stored.worse.iter().map(|n| (n.kind, n.beyond, n.alert.severity)).collect();
    assert_eq!(worse, [(NoticeKind::Fired, Some(Severity::Warning), Severity::Critical)]);
    assert_eq!(world.stored.notices.len(), 1);
    world.advance(world.now + 60_000);
    let last = &world.stored.notices[1];
    assert_eq!((last.kind, last.alert.count), (NoticeKind::Resolved, 10_000));
}

#[test]
fn kinds_are_forgotten_before_they_are_too_many() {
    let mut world = World::new(false);
    let word = |n: i32| -> String { format!("{n:04}").bytes().map(|b| char::from(b - b'0' + b'a')).collect() };
    for n in 0..300 {
        world.advance(world.now + 1000);
        happen(&mut world, &format!("crash gateway says Error: {}", word(n)));
    }
    assert_eq!(world.machine.services[&Some(unit("gateway"))].kinds.len(), super::super::service::KINDS);
}

#[test]
fn what_stderr_says_does_no_harm() {
    let mut world = World::new(false);
    let says = "\u{1b}[31mError: \u{7}x\u{0}\\n".repeat(30) + &"y".repeat(5000);
    for _ in 0..3 {
        world.advance(world.now + 1000);
        happen(&mut world, &format!("crash gateway says {says}"));
    }
    let alert = &world.stored.notices[0].alert;
    assert_eq!(alert.tail.len(), 10);
    for text in alert.tail.iter().chain(&alert.facts) {
        assert!(text.chars().count() <= 260 && !text.chars().any(char::is_control), "{text:?}");
    }
}

#[test]
fn a_restart_more_that_did_not_help_stands_in_the_alert_that_is_on_record() {
    let mut world = World::new(false);
    for line in ["over warning", "over critical 1", "restart critical"] {
        happen(&mut world, &format!("level gateway {line}"));
        world.advance(world.now + 1_000);
    }
    happen(&mut world, "level gateway over critical 2");
    let alert = world.stored.alerts.values().next().unwrap();
    assert_eq!(alert.title, "gateway is above its memory limit of 3.0 GiB again, 2 restarts did not help");
    assert_eq!((world.stored.alerts.len(), alert.count), (1, 3));
}
