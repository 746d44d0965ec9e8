//! The history of memory.

use std::time::Duration;

use super::*;
use crate::model::{Life, MemorySample, Metric, Moment, Mono, ProcessMemory};
use crate::store::memory::{COUNTED_EVERY, FORMS, Form};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A full hour.
const BASE: i64 = T0 - T0 % HOUR;

fn life(pid: i32) -> Life {
    Life { boot_id: "boot-a".into(), pid, start: u64::from(pid.unsigned_abs()) + (1 << 63) }
}

/// The sample of a service that was taken so long after [`BASE`].
fn sample(service: &str, after_ms: i64, bytes: u64) -> KeptSample {
    let ns = u64::try_from(after_ms.max(0)).unwrap() * 1_000_000;
    let processes = vec![ProcessMemory { pid: 7, start: 9, bytes }];
    let at = Moment { mono: Mono(ns), boot_ns: ns, wall_ms: BASE + after_ms };
    let sample = MemorySample { at, metric: Metric::AnonSwap, bytes, processes, count: 1 };
    KeptSample { service: name(service), run_id: 3, life: life(7), sample }
}

fn keep(ledger: &mut Ledger, samples: &[KeptSample]) {
    ledger.keep_memory(samples, samples.last().unwrap().sample.at.wall_ms).unwrap();
}

/// (minutes after [`BASE`], minutes of the stretch, bytes).
fn history(scratch: &Scratch, since_ms: i64) -> Vec<(i64, i64, u64)> {
    let points = scratch.reader().memory_history(&name("gateway"), since_ms).unwrap();
    points.iter().map(|point| ((point.at_ms - BASE) / MINUTE, point.span_ms / MINUTE, point.bytes)).collect()
}

fn rows(scratch: &Scratch, span_ms: i64) -> i64 {
    number(&scratch.other(), &format!("SELECT count(*) FROM supervisor_memory WHERE span_ms = {span_ms}"))
}

#[test]
fn a_sample_is_kept_whole_and_again_changes_nothing() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let mut one = sample("gateway", 5 * MINUTE, 100);
    one.sample.count = 900;
    one.sample.processes = (1..=3).map(|pid| ProcessMemory { pid, start: u64::MAX, bytes: 1 << 60 }).collect();
    for _ in 0..3 {
        keep(&mut ledger, std::slice::from_ref(&one));
    }
    assert_eq!((scratch.count("supervisor_memory"), scratch.count("supervisor_memory_lives")), (3, 1));
    // Over a restart of the daemon, too, and with another number for the same time.
    drop(ledger);
    let mut ledger = scratch.ledger();
    let mut other = one.clone();
    other.sample.bytes = 50;
    keep(&mut ledger, &[one.clone(), other]);
    assert_eq!(scratch.count("supervisor_memory"), 3);
    let newest = scratch.reader().newest_memory(&name("gateway")).unwrap().unwrap();
    one.sample.at.boot_ns = 0;
    assert_eq!(newest, one);
    assert_eq!(scratch.reader().memory_services().unwrap(), [name("gateway")]);
    assert_eq!(scratch.reader().newest_memory(&name("other")), Ok(None));
    ledger.keep_memory(&[], BASE).unwrap();
}

#[test]
fn stretches_are_minima_and_each_number_is_told_once() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    for minute in 0..120 {
        // Falls within each quarter to its number.
        let bytes = 1000 + (14 - minute % 15) as u64 * 10 + (minute / 15) as u64;
        keep(&mut ledger, &[sample("gateway", minute * MINUTE, bytes)]);
        keep(&mut ledger, &[sample("other", minute * MINUTE, 1)]);
    }
    let least =
        "SELECT group_concat(m.bytes, ' ') FROM supervisor_memory m JOIN supervisor_memory_lives l ON l.id = m.life
                 WHERE l.service = 'gateway' AND span_ms =";
    assert_eq!(text(&scratch.other(), &format!("{least} {}", 15 * MINUTE)), "1000 1001 1002 1003 1004 1005 1006 1007");
    assert_eq!(text(&scratch.other(), &format!("{least} {HOUR}")), "1000 1004");
    let all = history(&scratch, BASE);
    assert_eq!((all.len(), all[0], all[119]), (120, (0, 0, 1140), (119, 0, 1007)));
    assert_eq!(history(&scratch, BASE + 100 * MINUTE).len(), 20);

    // The samples of the first 40 minutes are gone, of the quarters the first two.
    let first = "DELETE FROM supervisor_memory WHERE span_ms = 0 AND at_ms < ?1 OR span_ms = ?2 AND at_ms < ?3";
    scratch.other().execute(first, [BASE + 40 * MINUTE, 15 * MINUTE, BASE + 30 * MINUTE]).unwrap();
    let all = history(&scratch, i64::MIN);
    // The first hour's least was in what is gone; all of it is told by the hour.
    assert_eq!((all.len(), all[0], all[1]), (61, (0, 60, 1000), (60, 0, 1144)));
    assert_eq!(history(&scratch, BASE + 50 * MINUTE)[0], (0, 60, 1000), "a stretch that was not over then");
    let second = "DELETE FROM supervisor_memory WHERE span_ms = 0 AND at_ms < ?1";
    scratch.other().execute(second, [BASE + 80 * MINUTE]).unwrap();
    let all = history(&scratch, BASE + 60 * MINUTE);
    let told: Vec<_> = all.iter().take(3).copied().collect();
    // What is left of the second quarter has its least: the samples that are left tell it.
    assert_eq!(told, [(60, 15, 1004), (80, 0, 1095), (81, 0, 1085)]);
}

#[test]
fn lives_and_metrics_share_no_stretch_and_one_metric_is_told() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let mut second = sample("gateway", MINUTE, 10);
    second.life = life(8);
    second.run_id = 4;
    let mut reused = sample("gateway", 2 * MINUTE, 5);
    reused.life.start = 1;
    keep(&mut ledger, &[sample("gateway", 0, 1000), second, reused]);
    assert_eq!(rows(&scratch, HOUR), 3);
    assert_eq!(history(&scratch, BASE), [(0, 0, 1000), (1, 0, 10), (2, 0, 5)]);
    let points = scratch.reader().memory_history(&name("gateway"), BASE).unwrap();
    assert_eq!(points.iter().map(|point| point.run_id).collect::<Vec<_>>(), [3, 4, 3]);

    let mut footprint = sample("gateway", 3 * MINUTE, 77);
    footprint.sample.metric = Metric::Footprint;
    keep(&mut ledger, &[footprint]);
    assert_eq!(rows(&scratch, HOUR), 4);
    assert_eq!(history(&scratch, BASE), [(3, 0, 77)]);
    assert_eq!(scratch.reader().newest_memory(&name("gateway")).unwrap().unwrap().sample.metric, Metric::Footprint);
}

#[test]
fn rows_go_when_they_are_too_old_each_form_at_its_age() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let mut gone = sample("gone", 0, 1);
    gone.life = life(1);
    keep(&mut ledger, &[gone]);
    // Every three hours, for a little more than each form is kept.
    let mut left = Vec::new();
    for at in (0..=12 * DAY).step_by(3 * HOUR as usize) {
        keep(&mut ledger, &[sample("gateway", at, 1)]);
        if at == 2 * DAY || at == 2 * DAY + 6 * HOUR || at == 12 * DAY {
            left.push(FORMS.map(|form| rows(&scratch, form.span_ms)));
        }
    }
    // A sample of the service that is gone, and 17 of ours; then those of two days, and the quarters of ten.
    assert_eq!(left, [[18, 18, 18], [17, 20, 20], [17, 81, 98]]);
    keep(&mut ledger, &[sample("gateway", 364 * DAY, 1)]);
    assert_eq!(rows(&scratch, HOUR), 99);
    keep(&mut ledger, &[sample("gateway", 365 * DAY + HOUR, 1)]);
    assert_eq!(
        (rows(&scratch, HOUR), scratch.count("supervisor_memory_lives")),
        (98, 1),
        "what is gone leaves nothing"
    );
}

const SMALL: [Form; 3] = [Form { most: 100, ..FORMS[0] }, Form { most: 20, ..FORMS[1] }, Form { most: 30, ..FORMS[2] }];

#[test]
fn a_sample_each_second_and_a_life_each_sample_stay_bounded() {
    let slack = i64::from(COUNTED_EVERY);
    for lives in [false, true] {
        let scratch = Scratch::new();
        let mut ledger = scratch.ledger();
        let mut most = 0;
        for batch in 0..20_i64 {
            let one = |at: i64| {
                let mut one = sample("gateway", at * 1000, 1000 + at as u64);
                one.life = life(if lives { at as i32 } else { 1 });
                one
            };
            let samples: Vec<_> = (batch * 150..(batch + 1) * 150).map(one).collect();
            ledger.keep_within(&samples, BASE + batch * 150_000, &SMALL).unwrap();
            most = most.max(rows(&scratch, 0));
            let newest = scratch.reader().newest_memory(&name("gateway")).unwrap().unwrap();
            assert_eq!(newest.sample.bytes, 1000 + (batch as u64 + 1) * 150 - 1);
        }
        assert!(most > 100 && most <= 100 + slack + 150, "{most}");
        assert!(rows(&scratch, 15 * MINUTE) <= 20 + slack + 150);
        assert!(scratch.count("supervisor_memory_lives") <= if lives { 100 + slack + 150 } else { 1 });
        if !lives {
            let told = history(&scratch, i64::MIN);
            assert_eq!((told[0], told[1].1), ((0, 15, 1000), 15), "older samples are told by the quarters");
        }
        // A daemon that begins anew often counts too.
        for at in 3000..3010 {
            drop(ledger);
            ledger = scratch.ledger();
            ledger.keep_within(&[sample("gateway", at * 1000, 1)], BASE + at * 1000, &SMALL).unwrap();
            assert!(rows(&scratch, 0) <= 101);
        }
    }
}

#[test]
fn a_clock_that_is_wrong_neither_deletes_nor_grows_without_end() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    for minute in 0..60 {
        keep(&mut ledger, &[sample("gateway", minute * MINUTE, 1000 + minute as u64)]);
    }
    // Put ahead by a year for an hour, then back to right.
    for minute in 60..120 {
        let mut wrong = sample("gateway", minute * MINUTE, 2000);
        wrong.sample.at.wall_ms += 365 * DAY;
        keep(&mut ledger, &[wrong]);
    }
    assert_eq!(rows(&scratch, 0), 120, "the machine's own clock says that no year went by");
    keep(&mut ledger, &[sample("gateway", 120 * MINUTE, 3000)]);
    assert_eq!(history(&scratch, BASE).len(), 121);

    // Opened with the wrong clock, the far end goes slowly.
    drop(ledger);
    let mut ledger = scratch.ledger();
    let mut wrong = sample("gateway", 121 * MINUTE, 2000);
    wrong.sample.at.wall_ms += 365 * DAY;
    keep(&mut ledger, &[wrong]);
    assert_eq!(rows(&scratch, 0), 120);

    // Put back by a year: all else is in the future, and stays; what comes is kept, beyond its number the first that came goes.
    drop(ledger);
    let mut ledger = scratch.ledger();
    for minute in 122..822 {
        let mut wrong = sample("gateway", minute * MINUTE, 500);
        wrong.sample.at.wall_ms -= 365 * DAY;
        ledger.keep_within(std::slice::from_ref(&wrong), wrong.sample.at.wall_ms, &SMALL).unwrap();
        if minute == 122 {
            assert_eq!(rows(&scratch, 0), 100);
        }
    }
    let newest = scratch.reader().newest_memory(&name("gateway")).unwrap().unwrap();
    assert_eq!(newest.sample.at.wall_ms, BASE + 821 * MINUTE - 365 * DAY);
    assert!(rows(&scratch, 0) <= 100 + i64::from(COUNTED_EVERY));

    // Times at the end of what there is.
    for wall_ms in [i64::MIN, i64::MAX, 0, -1] {
        let mut odd = sample("gateway", 822 * MINUTE, u64::MAX);
        odd.sample.at = Moment { mono: Mono(u64::MAX), boot_ns: u64::MAX, wall_ms };
        ledger.keep_memory(&[odd], wall_ms).unwrap();
        scratch.reader().memory_history(&name("gateway"), wall_ms).unwrap();
    }
}

#[test]
fn states_are_replaced_and_what_is_no_text_is_left_out() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.save_trend(&name("gateway"), BASE, "{\"a\":1}").unwrap();
    ledger.save_trend(&name("other"), BASE, "{}").unwrap();
    ledger.save_trend(&name("gateway"), BASE - 1, "{\"a\":2").unwrap();
    let others =
        "INSERT INTO supervisor_memory_trends VALUES ('blob', 1, x'ff00'), ('no name', 1, '{}'), ('number', 1, 7),
                  (x'61', 1, '{}'), (CAST(x'ff' AS TEXT), 1, '{}'), ('bytes', 1, CAST(x'ff' AS TEXT))";
    scratch.other().execute_batch(others).unwrap();
    let found = scratch.reader().trends().unwrap();
    // Whether it is JSON is for those to see who read it.
    let found: Vec<_> = found.iter().map(|(service, state)| (service.as_str(), state.as_str())).collect();
    assert_eq!(found, [("gateway", "{\"a\":2"), ("number", "7"), ("other", "{}")]);
}

#[test]
fn the_state_of_a_service_that_is_gone_is_dropped_after_a_year() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.save_trend(&name("gone"), BASE, "{}").unwrap();
    ledger.save_trend(&name("gateway"), BASE + 2 * DAY, "{}").unwrap();
    ledger.prune(BASE + 366 * DAY, std::time::Duration::from_secs(1), 1).unwrap();
    let found = scratch.reader().trends().unwrap();
    assert_eq!(found.keys().map(UnitName::as_str).collect::<Vec<_>>(), ["gateway"]);
}

#[test]
fn a_database_without_our_tables_has_no_history() {
    let scratch = Scratch::with("CREATE TABLE theirs (x)");
    let reader = scratch.reader();
    assert_eq!(reader.trends(), Ok(Default::default()));
    assert_eq!(reader.memory_history(&name("gateway"), 0), Ok(vec![]));
    assert_eq!((reader.memory_services(), reader.newest_memory(&name("gateway"))), (Ok(vec![]), Ok(None)));
}

/// Whoever has a year of a hundred services waits for none of it.
#[test]
fn the_oldest_are_found_by_their_index() {
    let scratch = Scratch::new();
    let ledger = scratch.ledger();
    let sql = "EXPLAIN QUERY PLAN SELECT life, span_ms, at_ms FROM supervisor_memory WHERE span_ms = 0 AND at_ms < 5 ORDER BY at_ms LIMIT 2";
    let plan = ledger.conn.query_row(sql, [], |row| row.get::<_, String>(3)).unwrap();
    assert!(plan.contains("supervisor_memory_by_age"), "{plan}");
}

#[test]
fn old_samples_go_on_request_many_at_a_time_with_the_lives_they_were_of() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    for minute in 0..700 {
        keep(&mut ledger, &[sample("gateway", minute * MINUTE, 10)]);
    }
    let all = scratch.count("supervisor_memory");
    let now_ms = BASE + 700 * MINUTE;
    assert_eq!(ledger.prune_memory(now_ms, Duration::from_secs(86_400)).unwrap(), 0);
    let gone = ledger.prune_memory(now_ms, Duration::from_secs(3600)).unwrap() as i64;
    assert_eq!((rows(&scratch, 0), all - gone), (60, scratch.count("supervisor_memory")));
    ledger.prune_memory(now_ms, Duration::ZERO).unwrap();
    assert_eq!((scratch.count("supervisor_memory"), scratch.count("supervisor_memory_lives")), (0, 0));
}
