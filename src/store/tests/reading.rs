use std::ops::ControlFlow;

use super::*;

fn of(service: &str, seq: u64) -> Record {
    Record { service: Some(name(service)), ..crash(seq) }
}

fn seen(reader: &Reader, filter: &Filter) -> Vec<u64> {
    reader.events(filter).unwrap().iter().map(|row| row.run_id.unwrap()).collect()
}

#[test]
fn rows_come_filtered_and_newest_last() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let late = Record { wall_ms: T0 - 5, ..start(6) };
    ledger
        .ingest("gateway", &[start(1), of("gateway", 2), of("embedder", 3), start(4), of("gateway", 5), late])
        .unwrap();
    let reader = scratch.reader();
    let all = Filter::default();
    assert_eq!(seen(&reader, &all), [6, 1, 2, 3, 4, 5], "by time, also what came in late");
    assert_eq!(seen(&reader, &Filter { limit: Some(2), ..all.clone() }), [4, 5]);
    assert_eq!(seen(&reader, &Filter { limit: Some(0), ..all.clone() }), [0u64; 0]);
    assert_eq!(seen(&reader, &Filter { since_ms: Some(T0 + 3), ..all.clone() }), [3, 4, 5]);
    let crashes = Filter { event_type: vec![EventType::ServiceCrash, EventType::ServiceLost], ..all.clone() };
    assert_eq!(seen(&reader, &crashes), [2, 3, 5]);
    let gateway = Filter { service: Some(name("gateway")), ..crashes };
    assert_eq!(seen(&reader, &gateway), [2, 5]);
    assert_eq!(seen(&reader, &Filter { limit: Some(1), since_ms: Some(T0), ..gateway }), [5]);
    let row = &reader.events(&Filter { limit: Some(1), ..all.clone() }).unwrap()[0];
    assert_eq!((row.id, row.timestamp_ms, row.event_type.as_str()), (5, T0 + 5, "service_crash"));
    assert_eq!(
        (row.service_name.as_deref(), row.run_id, &row.metadata["signal"]),
        (Some("gateway"), Some(5), &json!("SIGKILL"))
    );
    let mut visited = 0;
    let stop_at_two = |_| {
        visited += 1;
        if visited == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    reader.visit(&all, stop_at_two).unwrap();
    assert_eq!(visited, 2);
    assert_eq!(reader.counters().unwrap(), ledger.counters().unwrap());
    assert_eq!(reader.last_exits().unwrap(), ledger.last_exits().unwrap());
    assert_eq!(reader.counters().unwrap().keys().map(UnitName::as_str).collect::<Vec<_>>(), ["embedder", "gateway"]);
}

#[test]
fn rows_with_evidence_are_found_among_whatever_else_is_there() {
    let scratch = Scratch::new();
    let with = |seq: u64, evidence: Value| {
        let mut record = start(seq);
        record.data.insert(EVIDENCE.into(), evidence);
        record
    };
    let records =
        [with(1, json!("a.txt")), start(2), with(3, Value::Null), with(4, json!({"x": 1})), crash(5), crash(6)];
    scratch.ledger().ingest("gateway", &records).unwrap();
    let spoil = "UPDATE supervisor_events SET metadata = 'evidence, no json' WHERE run_id = 5;
                 UPDATE supervisor_events SET metadata = '[\"evidence\"]' WHERE run_id = 6";
    scratch.other().execute_batch(spoil).unwrap();
    let evidence = Filter { evidence: true, ..Filter::default() };
    assert_eq!(seen(&scratch.reader(), &evidence), [1]);
    assert_eq!(seen(&scratch.reader(), &Filter { limit: Some(1), ..evidence.clone() }), [1]);
    assert_eq!(seen(&scratch.reader(), &Filter { service: Some(name("other")), ..evidence }), [0u64; 0]);
}

#[test]
fn a_reader_sees_what_was_committed_and_disturbs_nobody() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let reader = scratch.reader();
    for n in 1..20 {
        ledger.ingest("gateway", &[start(n)]).unwrap();
        let mut count = 0;
        reader
            .visit(&Filter::default(), |_| {
                // In the middle of a result the writer is not held up.
                if count == 0 {
                    ledger.ingest("other", &[start(n)]).unwrap();
                }
                count += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(count, 2 * n - 1);
    }
    let refused = reader.conn.execute_batch("DELETE FROM events");
    assert!(refused.is_err(), "it is open for reading only");
}

#[test]
fn a_database_without_our_tables_has_no_rows() {
    let scratch =
        Scratch::with("CREATE TABLE events (timestamp INTEGER, event_type TEXT); INSERT INTO events VALUES (1, 'x')");
    let reader = scratch.reader();
    assert!(reader.events(&Filter::default()).unwrap().is_empty());
    assert!(reader.counters().unwrap().is_empty() && reader.last_exits().unwrap().is_empty());
    assert_eq!(scratch.count("sqlite_schema"), 1, "and reading makes none");
    assert_eq!(Reader::open(&scratch.dir.path().join("none")).unwrap_err().kind, StoreErrorKind::Gone);
    assert!(!scratch.dir.path().join("none").exists());
}

#[test]
fn what_others_made_of_our_rows_is_shown_as_it_is() {
    let scratch = Scratch::new();
    scratch.ledger().ingest("gateway", &[crash(1)]).unwrap();
    let spoil = "UPDATE supervisor_events SET metadata = 'not json', run_id = -1;
                 INSERT INTO supervisor_counters VALUES ('no name', 'crash', 1), ('gateway', 'novel', 3);
                 UPDATE supervisor_last_exits SET code = 99999999999";
    scratch.other().execute_batch(spoil).unwrap();
    let reader = scratch.reader();
    let row = &reader.events(&Filter::default()).unwrap()[0];
    assert_eq!((&row.metadata, row.run_id), (&json!("not json"), None));
    assert_eq!(reader.counters().unwrap().len(), 1);
    assert_eq!(reader.last_exits().unwrap()[&name("gateway")].code, None);
}
