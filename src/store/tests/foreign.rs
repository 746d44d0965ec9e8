use super::*;

/// The crash logger's and hook logger's shape, without an id.
const BY_MILLIS: &str =
    "CREATE TABLE events (timestamp INTEGER, category TEXT, event_type TEXT, service_name TEXT, metadata TEXT);
     INSERT INTO events VALUES (1, 'tool', 'tool_call', 'x', '{}');";

/// The health check's and alert dispatcher's shape.
const BY_TRACE: &str = "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, trace_id TEXT, timestamp TEXT NOT NULL,
       category TEXT NOT NULL, action TEXT NOT NULL, metadata TEXT, error TEXT, source TEXT DEFAULT 'unknown');
     INSERT INTO events (timestamp, category, action) VALUES ('2026-01-01T00:00:00.000Z', 'monitoring', 'alert_dispatched');";

fn taken_in(scratch: &Scratch) -> Ledger {
    let mut ledger = scratch.ledger();
    assert_eq!(ledger.ingest("gateway", &[start(1), crash(2)]).unwrap(), 2);
    assert_eq!(scratch.count("supervisor_events"), 2);
    ledger
}

#[test]
fn a_new_file_gets_the_shape_of_the_contract_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let ledger = taken_in(&scratch);
    assert_eq!(ledger.note(), None);
    let other = scratch.other();
    let row = "SELECT timestamp || category || event_type || service_name || metadata FROM events WHERE id = 2";
    let metadata = r#"{"class":"crash","exit_code":null,"restart_attempt":2,"run_id":2,"signal":"SIGKILL"}"#;
    assert_eq!(text(&other, row), format!("{}systemservice_crashgateway{metadata}", T0 + 2));
    assert_eq!(text(&other, "SELECT typeof(timestamp) FROM events WHERE id = 2"), "integer");
    assert_eq!(text(&other, "PRAGMA journal_mode"), "wal");
    assert_eq!(number(&other, "PRAGMA user_version"), 1);
    for file in ["observability.sqlite", "observability.sqlite-wal", "observability.sqlite-shm"] {
        let mode = std::fs::metadata(scratch.dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn the_millisecond_shape_is_filled_beside_what_is_there() {
    let scratch = Scratch::with(BY_MILLIS);
    assert_eq!(taken_in(&scratch).note(), None);
    let other = scratch.other();
    assert_eq!(number(&other, "SELECT count(*) FROM events"), 3);
    let ours = "SELECT count(*) FROM events WHERE category = 'system' AND service_name = 'gateway' AND typeof(timestamp) = 'integer'";
    assert_eq!(number(&other, ours), 2);
    assert_eq!(number(&other, "SELECT count(*) FROM pragma_table_info('events')"), 5, "never altered");
}

#[test]
fn the_trace_shape_gets_iso_text_and_the_event_as_action() {
    let scratch = Scratch::with(BY_TRACE);
    let note = taken_in(&scratch).note().unwrap();
    assert!(note.contains("timestamp, category, action, metadata, source") && note.contains("ISO 8601"), "{note}");
    let other = scratch.other();
    let row = "SELECT timestamp || ' ' || category || ' ' || source || ' ' || (trace_id IS NULL) FROM events WHERE action = 'service_crash'";
    assert_eq!(text(&other, row), "2026-11-22T03:19:34.002Z system supervisor 1");
    assert_eq!(number(&other, "SELECT count(*) FROM events"), 3);
}

#[test]
fn a_column_that_must_be_filled_and_cannot_be_keeps_rows_to_ourselves() {
    for column in ["trace_id TEXT NOT NULL", "session INTEGER NOT NULL", "id TEXT NOT NULL PRIMARY KEY"] {
        let scratch =
            Scratch::with(&format!("CREATE TABLE events ({column}, timestamp TEXT, category TEXT, action TEXT)"));
        let note = taken_in(&scratch).note().unwrap();
        let name = column.split(' ').next().unwrap();
        assert!(note.contains(name) && note.contains("supervisor_events only"), "{note}");
        assert_eq!(scratch.count("events"), 0);
    }
}

#[test]
fn columns_that_have_a_default_or_make_themselves_are_left_alone() {
    let scratch = Scratch::with(
        "CREATE TABLE events (id INTEGER PRIMARY KEY NOT NULL, \"Timestamp\" INTEGER NOT NULL, event_type TEXT,
         category TEXT, service_name TEXT NOT NULL, metadata TEXT, level TEXT NOT NULL DEFAULT 'info',
         day TEXT GENERATED ALWAYS AS (date(timestamp / 1000, 'unixepoch')) STORED NOT NULL)",
    );
    let mut ledger = taken_in(&scratch);
    assert_eq!(ledger.note(), None);
    ledger.ingest("_daemon", &[record(1, EventType::SupervisorStart, json!({}))]).unwrap();
    let other = scratch.other();
    assert_eq!(number(&other, "SELECT count(*) FROM events WHERE level = 'info' AND day = '2026-11-22'"), 3);
    // A name must stand there, and the supervisor's own events are of no service.
    assert_eq!(text(&other, "SELECT service_name FROM events WHERE event_type = 'supervisor_start'"), "supervisor");
}

#[test]
fn an_undeclared_timestamp_is_filled_as_the_rows_that_are_there() {
    for (declared, rows, expected) in [
        ("", "(1700000000000)", "integer"),
        ("", "('2026-01-01T00:00:00Z')", "text"),
        ("DATETIME", "('2026-01-01 00:00:00')", "text"),
        ("DATETIME", "(1700000000000)", "integer"),
        ("DATETIME", "(NULL)", "text"),
        ("BIGINT", "('2026-01-01')", "integer"),
        ("VARCHAR(30)", "(1)", "text"),
    ] {
        let sql = format!(
            "CREATE TABLE events (timestamp {declared}, event_type TEXT); INSERT INTO events (timestamp) VALUES {rows}"
        );
        let scratch = Scratch::with(&sql);
        taken_in(&scratch);
        let kind = text(&scratch.other(), "SELECT typeof(timestamp) FROM events WHERE event_type = 'service_crash'");
        assert_eq!(kind, expected, "{declared} {rows}");
    }
}

#[test]
fn what_is_no_plain_table_of_events_is_left_alone() {
    for (sql, word) in [
        ("CREATE TABLE log (a); CREATE VIEW events AS SELECT a AS event_type FROM log", "view"),
        ("CREATE VIRTUAL TABLE events USING fts5 (event_type)", "virtual"),
        ("CREATE TABLE events (name TEXT, date TEXT)", "event_type"),
        ("CREATE TABLE log (a); CREATE INDEX events ON log (a)", "no table"),
    ] {
        let note = taken_in(&Scratch::with(sql)).note().unwrap();
        assert!(note.contains(word), "{note}");
    }
}

#[test]
fn a_table_without_rowid_is_filled_but_never_pruned() {
    let scratch = Scratch::with(
        "CREATE TABLE events (timestamp INTEGER, event_type TEXT, metadata TEXT, PRIMARY KEY (timestamp, event_type)) WITHOUT ROWID",
    );
    let mut ledger = taken_in(&scratch);
    assert_eq!(ledger.prune(T0 + 10, std::time::Duration::ZERO, 0).unwrap().events, 2);
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events")), (2, 0));
}

#[test]
fn a_row_that_the_table_refuses_still_stands_in_ours() {
    for refusal in [
        "CREATE TABLE events (timestamp INTEGER, event_type TEXT CHECK (event_type <> 'service_crash'))",
        "CREATE TABLE events (timestamp INTEGER, event_type TEXT) STRICT;
         CREATE TRIGGER no BEFORE INSERT ON events WHEN new.event_type = 'service_crash' BEGIN SELECT RAISE(ABORT, 'not here'); END",
    ] {
        let scratch = Scratch::with(refusal);
        let note = taken_in(&scratch).note().unwrap();
        assert!(note.contains("refused"), "{note}");
        assert_eq!(scratch.count("events"), 1);
    }
}

#[test]
fn a_conflict_clause_of_others_cannot_make_us_delete_their_rows() {
    let scratch = Scratch::with(&format!(
        "CREATE TABLE events (timestamp INTEGER UNIQUE ON CONFLICT REPLACE, event_type TEXT);
         INSERT INTO events VALUES ({}, 'theirs')",
        T0 + 2
    ));
    taken_in(&scratch);
    assert_eq!(number(&scratch.other(), "SELECT count(*) FROM events WHERE event_type = 'theirs'"), 1);
}

#[test]
fn a_trigger_that_rolls_back_turns_the_mirror_off_and_loses_nothing() {
    let scratch = Scratch::with(
        "CREATE TABLE events (timestamp INTEGER, event_type TEXT);
         CREATE TRIGGER no BEFORE INSERT ON events WHEN new.event_type = 'service_crash' BEGIN SELECT RAISE(ROLLBACK, 'never'); END",
    );
    let mut ledger = taken_in(&scratch);
    let note = ledger.note().unwrap();
    assert!(note.contains("never"), "{note}");
    assert_eq!(scratch.count("events"), 0);
    assert_eq!(ledger.counters().unwrap()[&name("gateway")].crash, 1);
    scratch.other().execute_batch("DROP TRIGGER no").unwrap();
    ledger.ingest("gateway", &[crash(3)]).unwrap();
    assert_eq!((scratch.count("events"), ledger.note().is_some()), (1, true), "it is looked at again");
}

#[test]
fn a_table_that_changes_shape_or_goes_while_we_write_is_looked_at_again() {
    let scratch = Scratch::with(BY_MILLIS);
    let mut ledger = taken_in(&scratch);
    scratch
        .other()
        .execute_batch("ALTER TABLE events ADD COLUMN source TEXT; ALTER TABLE events RENAME event_type TO action")
        .unwrap();
    ledger.ingest("gateway", &[start(3)]).unwrap();
    let row = "SELECT action || source FROM events ORDER BY rowid DESC LIMIT 1";
    assert_eq!(text(&scratch.other(), row), "service_startsupervisor");
    scratch.other().execute_batch("ALTER TABLE events ADD COLUMN must TEXT NOT NULL DEFAULT 'x'").unwrap();
    ledger.ingest("gateway", &[start(4)]).unwrap();
    scratch
        .other()
        .execute_batch("DROP TABLE events; CREATE TABLE events (event_type TEXT, must TEXT NOT NULL)")
        .unwrap();
    ledger.ingest("gateway", &[start(5)]).unwrap();
    assert!(ledger.note().unwrap().contains("must"));
    scratch.other().execute_batch("DROP TABLE events").unwrap();
    ledger.ingest("gateway", &[start(6)]).unwrap();
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events"), ledger.note()), (1, 6, None));
}

#[test]
fn the_user_version_of_others_is_theirs() {
    let scratch = Scratch::with("PRAGMA user_version = 7");
    taken_in(&scratch);
    assert_eq!(number(&scratch.other(), "PRAGMA user_version"), 7);
    let scratch = Scratch::with(BY_MILLIS);
    taken_in(&scratch);
    assert_eq!(number(&scratch.other(), "PRAGMA user_version"), 0, "somebody else made this file");
    scratch.other().execute_batch("PRAGMA user_version = 99").unwrap();
    scratch.ledger();
    assert_eq!(number(&scratch.other(), "PRAGMA user_version"), 99);
}
