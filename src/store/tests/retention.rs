use std::time::Duration;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn aged(seq: u64, days: i64) -> Record {
    Record { wall_ms: T0 - days * DAY.as_millis() as i64, ..crash(seq) }
}

#[test]
fn old_rows_go_in_both_tables_and_counters_stay() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    // The clock was wrong for a while: age goes by time, not by order.
    ledger.ingest("gateway", &[aged(1, 40), aged(2, 10), aged(3, 50), aged(4, 1)]).unwrap();
    let theirs = "INSERT INTO events (timestamp, category, event_type) VALUES (1, 'system', 'service_crash')";
    scratch.other().execute_batch(theirs).unwrap();
    assert_eq!(ledger.prune(T0, 30 * DAY, u64::MAX).unwrap().events, 2);
    let left = scratch.reader().events(&Filter::default()).unwrap();
    assert_eq!(left.iter().map(|row| row.run_id).collect::<Vec<_>>(), [Some(2), Some(4)]);
    assert_eq!(scratch.count("events"), 3, "two of ours, one of theirs");
    assert_eq!(number(&scratch.other(), "SELECT count(*) FROM events WHERE timestamp = 1"), 1);
    assert_eq!(ledger.prune(T0, 30 * DAY, u64::MAX).unwrap().events, 0);
    assert_eq!(ledger.prune(T0, Duration::MAX, u64::MAX).unwrap().events, 0);
    assert_eq!(ledger.counters().unwrap()[&name("gateway")].crash, 4);
    assert_eq!(ledger.prune(T0, Duration::ZERO, 0).unwrap().events, 2);
    assert_eq!(ledger.last_exits().unwrap()[&name("gateway")].at_ms, T0 - DAY.as_millis() as i64);
    assert_eq!(ledger.ingest("gateway", &[aged(1, 40), aged(4, 1)]).unwrap(), 0, "what was pruned does not come back");
}

#[test]
fn only_the_newest_rows_stay_over_many_batches() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let lines: Vec<Record> = (1..=1700).map(start).collect();
    ledger.ingest("gateway", &lines).unwrap();
    assert_eq!(ledger.prune(T0, Duration::MAX, 100).unwrap().events, 1600);
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events")), (100, 100));
    assert_eq!(number(&scratch.other(), "SELECT min(seq) FROM supervisor_events"), 1601);
    assert_eq!(ledger.prune(T0 + 1_000_000, Duration::from_secs(1), 100).unwrap().events, 100);
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events")), (0, 0));
}

#[test]
fn a_rowid_that_came_to_belong_to_somebody_else_is_not_ours() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1), start(2)]).unwrap();
    let other = scratch.other();
    other
        .execute_batch(
            "DELETE FROM events WHERE id = 2; INSERT INTO events (event_type, metadata) VALUES ('theirs', '{}')",
        )
        .unwrap();
    assert_eq!(number(&other, "SELECT id FROM events WHERE event_type = 'theirs'"), 2, "the rowid is used again");
    assert_eq!(ledger.prune(T0, Duration::ZERO, 0).unwrap().events, 2);
    assert_eq!(text(&other, "SELECT group_concat(event_type) FROM events"), "theirs");
}

#[test]
fn rows_written_in_one_shape_are_not_looked_for_in_another() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1)]).unwrap();
    let shape = "DROP TABLE events; CREATE TABLE events (id INTEGER PRIMARY KEY, timestamp TEXT, action TEXT);
                 INSERT INTO events (timestamp, action) VALUES ('2026-11-22', 'theirs')";
    scratch.other().execute_batch(shape).unwrap();
    assert_eq!(ledger.prune(T0, Duration::ZERO, 0).unwrap().events, 1);
    assert_eq!(scratch.count("events"), 1);
}

#[test]
fn rows_that_others_hold_on_to_stay_in_their_table() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1), start(2)]).unwrap();
    let hold = "CREATE TABLE notes (event INTEGER REFERENCES events (id)); INSERT INTO notes VALUES (1)";
    scratch.other().execute_batch(hold).unwrap();
    assert_eq!(ledger.prune(T0 + 9, Duration::ZERO, 0).unwrap().events, 2);
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events")), (1, 0));
}

#[test]
fn what_only_tells_what_happened_is_kept_no_longer_than_events() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let old = T0 - 50 * DAY.as_millis() as i64;
    scratch
        .other()
        .execute_batch(&format!(
            "INSERT INTO supervisor_alerts (id, rule, severity, state, fired_ms, resolved_ms, body) \
             VALUES ('a', 'crash', 'info', 'resolved', {old}, {old}, '{{}}'), ('b', 'crash', 'info', 'firing', {old}, NULL, '{{}}'); \
             INSERT INTO supervisor_outbox (sink, key, alert, state, created_ms, expires_ms, settled_ms, body) \
             VALUES ('log', 'a', 'a', 'delivered', {old}, {old}, {old}, '{{}}'); \
             INSERT INTO supervisor_crash_kinds (service, fingerprint, last_ms, body) VALUES ('gateway', 'f', {old}, '{{}}')"
        ))
        .unwrap();
    assert_eq!(ledger.prune(T0, 60 * DAY, u64::MAX).unwrap(), Pruned::default());
    let pruned = ledger.prune(T0, 40 * DAY, u64::MAX).unwrap();
    assert_eq!(pruned.others, [("supervisor_outbox", 1), ("supervisor_alerts", 1)]);
    let left = |table| scratch.count(table);
    assert_eq!((left("supervisor_alerts"), left("supervisor_crash_kinds")), (1, 1), "what is open, and what is known");
}
