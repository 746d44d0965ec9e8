use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::{ExitClass, RestartCounts};

#[test]
fn each_line_is_taken_in_once_however_often_it_comes() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let lines: Vec<Record> = (1..=6).map(crash).collect();
    assert_eq!(ledger.ingest("gateway", &lines[..3]).unwrap(), 3);
    assert_eq!(ledger.ingest("gateway", &lines[..3]).unwrap(), 0);
    assert_eq!(ledger.ingest("gateway", &lines[1..5]).unwrap(), 2);
    drop(ledger);
    let mut ledger = scratch.ledger();
    assert_eq!(ledger.ingest("gateway", &lines).unwrap(), 1);
    assert_eq!(ledger.ingest("gateway", &[]).unwrap(), 0);
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events")), (6, 6));
    assert_eq!(ledger.position("gateway", "boot-a").unwrap(), Some(6));
    assert_eq!(ledger.position("gateway", "boot-b").unwrap(), None);
    assert_eq!(ledger.position("other", "boot-a").unwrap(), None);
    assert_eq!(ledger.counters().unwrap()[&name("gateway")].crash, 6);
    // The same numbers of another runner or boot are other lines.
    assert_eq!(ledger.ingest("other", &lines).unwrap(), 6);
    let rebooted: Vec<Record> = lines.into_iter().map(|line| Record { boot_id: "boot-b".into(), ..line }).collect();
    assert_eq!(ledger.ingest("gateway", &rebooted).unwrap(), 6);
}

#[test]
fn columns_say_what_the_record_says() {
    let scratch = Scratch::new();
    scratch.ledger().ingest("gateway", &[crash(7)]).unwrap();
    let sql = "SELECT timestamp_ms || ' ' || event_type || ' ' || service_name || ' ' || run_id || ' ' || class || ' ' || runner \
               || ' ' || boot_id || ' ' || seq FROM supervisor_events";
    assert_eq!(text(&scratch.other(), sql), format!("{} service_crash gateway 7 crash gateway boot-a 7", T0 + 7));
}

#[test]
fn every_class_has_its_counter_and_only_run_ends_count() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let mut lines = vec![start(1)];
    for (n, class) in (2..).zip(ExitClass::ALL) {
        let data = json!({"class": class.as_str(), "exit_code": 78, "signal": null});
        lines.push(record(n, EventType::of_end(class), data));
    }
    // A verdict names a class before the run has ended by it, and an end without a class cannot be counted as one.
    lines.push(record(20, EventType::ServiceHung, json!({"class": "hung"})));
    lines.push(record(21, EventType::ServiceExit, json!({"class": "of a newer version"})));
    ledger.ingest("gateway", &lines).unwrap();
    let mut expected = RestartCounts::default();
    ExitClass::ALL.into_iter().for_each(|class| *expected.of(class) = 1);
    assert_eq!(ledger.counters().unwrap(), BTreeMap::from([(name("gateway"), expected)]));
    let last = &ledger.last_exits().unwrap()[&name("gateway")];
    assert_eq!((last.class, last.code, &last.signal, last.at_ms), (ExitClass::Lost, Some(78), &None, T0 + 9));
}

#[test]
fn the_last_exit_is_the_last_by_the_clock_that_never_steps_within_a_boot() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let ends = |ledger: &mut Ledger, runner: &str, boot: &str, boot_ns, wall_ms| {
        let line = Record { boot_id: boot.into(), boot_ns, wall_ms, ..crash(boot_ns) };
        ledger.ingest(runner, &[line]).unwrap();
        ledger.last_exits().unwrap()[&name("gateway")].at_ms
    };
    assert_eq!(ends(&mut ledger, "a", "boot-a", 10, 5000), 5000);
    assert_eq!(ends(&mut ledger, "a", "boot-a", 11, 4000), 4000, "the wall clock was put back");
    assert_eq!(ends(&mut ledger, "b", "boot-a", 9, 6000), 4000, "an older journal comes late");
    assert_eq!(ends(&mut ledger, "b", "boot-0", 99, 3000), 4000, "from an older boot");
    assert_eq!(ends(&mut ledger, "b", "boot-z", 1, 7000), 7000);
}

#[test]
fn what_another_program_is_writing_is_waited_for() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let other = scratch.other();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO events (timestamp, event_type) VALUES (1, 'theirs')").unwrap();
    // The moment at which the ledger finds the lock taken is the moment at which the other program commits.
    let commit = move |_| other.is_autocommit() || other.execute_batch("COMMIT").is_ok();
    ledger.conn.busy_handler(Some(commit)).unwrap();
    assert_eq!(ledger.ingest("gateway", &[start(1)]).unwrap(), 1);
    assert_eq!(scratch.count("events"), 2);
}

/// What is in the tables, in an order that does not depend on the order of coming in.
fn contents(scratch: &Scratch) -> (Vec<String>, Vec<String>, Vec<String>) {
    let conn = scratch.other();
    let all = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(|row| row.unwrap()).collect()
    };
    (
        all(
            "SELECT concat_ws(' ', runner, boot_id, seq, timestamp_ms, event_type, service_name, run_id, class, metadata) \
             FROM supervisor_events ORDER BY runner, boot_id, seq",
        ),
        all("SELECT concat_ws(' ', timestamp, category, event_type, service_name, metadata) FROM events ORDER BY 1"),
        all("SELECT concat_ws(' ', service, class, count) FROM supervisor_counters ORDER BY 1"),
    )
}

/// Two runners' journals over two boots, of events drawn from `kinds`.
fn journals(kinds: &[u8]) -> BTreeMap<&'static str, Vec<Record>> {
    let mut journals: BTreeMap<&'static str, Vec<Record>> = BTreeMap::new();
    for (n, kind) in (1u64..).zip(kinds) {
        let line = match kind % 4 {
            0 => start(n),
            1 => crash(n),
            2 => record(n, EventType::ServiceExit, json!({"class": "recycled", "exit_code": 0, "n": n})),
            _ => record(n, EventType::SupervisorStart, json!({})),
        };
        let boot_id = if n as usize * 2 > kinds.len() { "boot-b" } else { "boot-a" };
        let runner = if kind & 4 == 0 { "gateway" } else { "_embedded" };
        journals.entry(runner).or_default().push(Record { boot_id: boot_id.into(), ..line });
    }
    journals
}

#[derive(Debug, Clone)]
enum Delivery {
    /// So many lines back, and then so many on, of one of the runners.
    Batch(bool, usize, usize),
    /// The same, but the database takes nothing in the middle of it.
    Failing(bool, usize),
    Reopen,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        6 => (any::<bool>(), 0usize..6, 1usize..9).prop_map(|(who, back, on)| Delivery::Batch(who, back, on)),
        2 => (any::<bool>(), 1usize..9).prop_map(|(who, on)| Delivery::Failing(who, on)),
        1 => Just(Delivery::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_splitting_and_repetition_gives_the_same_rows(
        kinds in prop::collection::vec(any::<u8>(), 1..40),
        deliveries in prop::collection::vec(delivery(), 0..30),
    ) {
        let journals = journals(&kinds);
        let whole = Scratch::new();
        let mut at_once = whole.ledger();
        for (runner, lines) in &journals {
            prop_assert_eq!(at_once.ingest(runner, lines).unwrap(), lines.len());
        }

        let scratch = Scratch::new();
        let mut ledger = scratch.ledger();
        let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
        let mut new = 0;
        for delivery in deliveries {
            match delivery {
                Delivery::Batch(who, back, on) => {
                    let runner = if who { "gateway" } else { "_embedded" };
                    let Some(lines) = journals.get(runner) else { continue };
                    let reached = reached.entry(runner).or_default();
                    let end = (*reached + on).min(lines.len());
                    new += ledger.ingest(runner, &lines[reached.saturating_sub(back)..end]).unwrap();
                    *reached = end;
                }
                Delivery::Failing(who, on) => {
                    let runner = if who { "gateway" } else { "_embedded" };
                    let Some(lines) = journals.get(runner) else { continue };
                    let from = reached.get(runner).copied().unwrap_or(0);
                    let end = (from + on).min(lines.len());
                    // The positions come last in a transaction: everything else has been written when this fails.
                    let conn = &ledger.conn;
                    conn.execute_batch("CREATE TEMP TRIGGER full BEFORE INSERT ON main.supervisor_journal \
                                        BEGIN SELECT RAISE(ABORT, 'as if the disk were full'); END").unwrap();
                    prop_assert_eq!(ledger.ingest(runner, &lines[from..end]).is_err(), from < end);
                    ledger.conn.execute_batch("DROP TRIGGER temp.full").unwrap();
                }
                Delivery::Reopen => {
                    drop(ledger);
                    ledger = scratch.ledger();
                }
            }
        }
        for (runner, lines) in &journals {
            new += ledger.ingest(runner, lines).unwrap();
        }
        prop_assert_eq!(new, kinds.len());
        prop_assert_eq!(contents(&scratch), contents(&whole));
        prop_assert_eq!(ledger.last_exits().unwrap(), at_once.last_exits().unwrap());

        // Counters are what a count over the rows gives.
        let rows = scratch.reader().events(&Filter::default()).unwrap();
        let ends = rows.iter().filter_map(|row| row.metadata.get("class")?.as_str().map(str::to_owned));
        let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
        ends.for_each(|class| *by_class.entry(class).or_default() += 1);
        let counts = ledger.counters().unwrap().remove(&name("gateway")).unwrap_or_default();
        prop_assert_eq!(counts.crash, by_class.get("crash").copied().unwrap_or(0));
        prop_assert_eq!(counts.recycled, by_class.get("recycled").copied().unwrap_or(0));
        prop_assert_eq!(rows.iter().map(|row| row.id).collect::<BTreeSet<_>>().len(), kinds.len());
    }
}

#[test]
fn a_type_of_a_newer_version_is_kept_under_its_name() {
    let scratch = Scratch::new();
    let mut record = Record { event: crate::model::EventType::Unknown, ..crash(1) };
    record.data.insert(Record::UNKNOWN_TYPE.into(), "service_hatched".into());
    scratch.ledger().ingest("gateway", &[record]).unwrap();
    for table in ["events", "supervisor_events"] {
        assert_eq!(text(&scratch.other(), &format!("SELECT event_type FROM {table}")), "service_hatched");
    }
    assert_eq!(scratch.ledger().counters().unwrap().len(), 0);
}
