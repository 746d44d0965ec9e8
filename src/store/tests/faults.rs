use std::fs;

use super::*;

fn kind(outcome: Result<impl std::fmt::Debug, StoreError>) -> StoreErrorKind {
    outcome.unwrap_err().kind
}

/// Nothing of a failed batch is there, and the same batch goes in afterwards.
fn untouched_then_well(scratch: &Scratch, ledger: &mut Ledger, batch: &[Record]) {
    assert_eq!(scratch.count("supervisor_events"), 1);
    assert_eq!(scratch.count("events"), 1);
    assert_eq!(ledger.position("gateway", "boot-a").unwrap(), Some(1));
    assert!(ledger.counters().unwrap().is_empty());
    assert_eq!(ledger.ingest("gateway", batch).unwrap(), batch.len());
}

#[test]
fn locked_by_another_program() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1)]).unwrap();
    ledger.conn.busy_timeout(std::time::Duration::from_millis(20)).unwrap();
    let other = scratch.other();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO events (timestamp) VALUES (1)").unwrap();
    let error = ledger.ingest("gateway", &[start(2), crash(3)]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Busy);
    let told = error.to_string();
    assert!(
        told.contains("observability.sqlite") && told.contains("locked") && told.contains("another program"),
        "{told}"
    );
    assert_eq!(scratch.reader().events(&Filter::default()).unwrap().len(), 1, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    untouched_then_well(&scratch, &mut ledger, &[start(2), crash(3)]);
}

#[test]
fn every_connection_waits_five_seconds_for_a_lock() {
    let scratch = Scratch::new();
    let ledger = scratch.ledger();
    assert_eq!(number(&ledger.conn, "PRAGMA busy_timeout"), 5000);
    assert_eq!(number(&ledger.conn, "PRAGMA synchronous"), 2);
    assert_eq!(super::super::ledger::BUSY_TIMEOUT.as_millis(), 5000);
}

#[test]
fn read_only() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1)]).unwrap();
    // Permission bits mean nothing to root; this is the same refusal.
    ledger.conn.execute_batch("PRAGMA query_only = 1").unwrap();
    let error = ledger.ingest("gateway", &[start(2), crash(3)]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::ReadOnly);
    assert!(error.to_string().contains("writable"), "{error}");
    ledger.conn.execute_batch("PRAGMA query_only = 0").unwrap();
    untouched_then_well(&scratch, &mut ledger, &[start(2), crash(3)]);
}

#[test]
fn full() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1)]).unwrap();
    let pages = number(&ledger.conn, "PRAGMA page_count");
    let limit = |ledger: &Ledger, pages: i64| number(&ledger.conn, &format!("PRAGMA max_page_count = {pages}"));
    limit(&ledger, pages + 2);
    let large = |seq| record(seq, EventType::ServiceCrash, json!({"class": "crash", "stderr_tail": "x".repeat(8000)}));
    let batch: Vec<Record> = (2..20).map(large).collect();
    let error = ledger.ingest("gateway", &batch).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full);
    assert!(error.to_string().contains("free some space"), "{error}");
    limit(&ledger, 1 << 30);
    untouched_then_well(&scratch, &mut ledger, &batch);
}

#[test]
fn corrupt_pages_and_no_database_at_all() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let batch: Vec<Record> = (1..400).map(crash).collect();
    ledger.ingest("gateway", &batch).unwrap();
    drop(ledger); // the last connection takes the -wal in
    let mut bytes = fs::read(scratch.path()).unwrap();
    let well = bytes.clone();
    bytes[4096..].fill(0x5a);
    fs::write(scratch.path(), &bytes).unwrap();
    assert_eq!(kind(Ledger::open(&scratch.path())), StoreErrorKind::Corrupt);
    bytes.fill(b'n');
    fs::write(scratch.path(), &bytes).unwrap();
    assert_eq!(kind(Ledger::open(&scratch.path())), StoreErrorKind::Corrupt);
    assert_eq!(kind(Reader::open(&scratch.path())), StoreErrorKind::Corrupt);
    assert!(fs::read(scratch.path()).unwrap() == bytes, "what is damaged is not touched");
    fs::write(scratch.path(), well).unwrap();
    let mut ledger = scratch.ledger();
    assert_eq!(ledger.ingest("gateway", &batch).unwrap(), 0);
    // Damage that comes while it is open.
    let pages = fs::metadata(scratch.path()).unwrap().len();
    ledger.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory").unwrap();
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(scratch.path()).unwrap();
    file.write_all_at(&vec![0x5a; pages as usize - 4096], 4096).unwrap();
    let later: Vec<Record> = (400..900).map(crash).collect();
    assert_eq!(kind(ledger.ingest("gateway", &later)), StoreErrorKind::Corrupt);
}

#[test]
fn deleted_or_replaced_under_us() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1)]).unwrap();
    let aside = scratch.dir.path().join("aside");
    fs::rename(scratch.path(), &aside).unwrap();
    let error = ledger.ingest("gateway", &[start(2)]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Gone);
    assert!(error.to_string().contains("deleted"), "{error}");
    assert_eq!(kind(ledger.prune(0, std::time::Duration::ZERO, 0)), StoreErrorKind::Gone);
    fs::write(scratch.path(), "").unwrap();
    let error = ledger.ingest("gateway", &[start(2)]).unwrap_err();
    assert!(error.kind == StoreErrorKind::Gone && error.to_string().contains("another file"), "{error}");
    drop(ledger);
    let mut ledger = scratch.ledger();
    assert_eq!(ledger.position("gateway", "boot-a").unwrap(), None);
    assert_eq!(ledger.ingest("gateway", &[start(1), start(2)]).unwrap(), 2);
    assert_eq!(scratch.count("supervisor_events"), 2);
}

#[test]
fn closing_a_ledger_whose_file_was_replaced_does_not_hurt_the_new_one() {
    let scratch = Scratch::new();
    let mut old = scratch.ledger();
    old.ingest("gateway", &[start(1)]).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", scratch.path().display())).unwrap();
    }
    let mut new = scratch.ledger();
    new.ingest("gateway", &[start(1), start(2)]).unwrap();
    assert_eq!(kind(old.ingest("gateway", &[start(2)])), StoreErrorKind::Gone);
    drop(old);
    new.ingest("gateway", &[start(3)]).unwrap();
    drop(new);
    assert_eq!(scratch.reader().events(&Filter::default()).unwrap().len(), 3);
    assert_eq!(text(&scratch.other(), "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_newer_schema_is_not_written_but_read() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1)]).unwrap();
    drop(ledger);
    let newer =
        "UPDATE supervisor_meta SET value = 2 WHERE key = 'schema'; ALTER TABLE supervisor_events ADD COLUMN more";
    scratch.other().execute_batch(newer).unwrap();
    let error = Ledger::open(&scratch.path()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NewerSchema);
    assert!(error.to_string().contains("schema 2") && error.to_string().contains("newer supervisor"), "{error}");
    assert_eq!(scratch.reader().events(&Filter::default()).unwrap().len(), 1);
    assert_eq!(number(&scratch.other(), "SELECT value FROM supervisor_meta WHERE key = 'schema'"), 2);
}

#[test]
fn tables_of_ours_that_somebody_dropped_come_back_at_the_next_open() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("gateway", &[start(1)]).unwrap();
    scratch.other().execute_batch("DROP TABLE supervisor_counters; DROP TABLE supervisor_journal").unwrap();
    assert_eq!(kind(ledger.ingest("gateway", &[crash(2)])), StoreErrorKind::Other);
    drop(ledger);
    let mut ledger = scratch.ledger();
    // The position is gone, but not the rows: their key still tells what is known.
    assert_eq!(ledger.ingest("gateway", &[start(1), crash(2)]).unwrap(), 1);
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events")), (2, 2));
}

#[test]
fn what_is_no_file_is_no_ledger() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path()).unwrap();
    assert_eq!(kind(Ledger::open(&scratch.path())), StoreErrorKind::Other);
    fs::remove_dir(scratch.path()).unwrap();
    std::os::unix::fs::symlink("/nonexistent/elsewhere", scratch.path()).unwrap();
    assert_eq!(kind(Ledger::open(&scratch.path())), StoreErrorKind::Gone);
    let error: crate::error::Error = Reader::open(&scratch.path()).unwrap_err().into();
    assert!(error.message.contains("no such file") && error.hint.is_some());
}
