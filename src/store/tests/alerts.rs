use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::model::testing::{alert, notice};
use crate::model::{
    Alert, AlertChange, AlertSpec, AlertState, CrashKind, HeardAt, Moment, Mono, Rule, Severity, Silence, SinkKind,
    SinkSpec,
};

pub(super) const NOBODY: &BTreeSet<(String, String)> = &BTreeSet::new();

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Two sinks: `hook` takes warnings and worse, `log` everything.
pub(super) fn spec() -> AlertSpec {
    let hook = SinkSpec { name: "hook".into(), ..SinkSpec::new(SinkKind::Webhook) };
    AlertSpec { sinks: vec![hook, SinkSpec::new(SinkKind::Log)], ..AlertSpec::default() }
}

pub(super) fn telling(spec: &AlertSpec, wall_ms: i64) -> Telling<'_> {
    let at = Moment { mono: Mono(7), boot_ns: 8, wall_ms };
    Telling { at: HeardAt { boot_id: "boot-a", at }, spec, only: None, delivered: NOBODY }
}

/// What a crash of this run leads to: an alert, what is told of it, and a row.
pub(super) fn fires(record: &Record) -> Vec<AlertChange> {
    let alert = Alert { since_ms: record.wall_ms, fired_ms: record.wall_ms, ..alert(&format!("a{}", record.seq)) };
    let data = serde_json::Map::from_iter([("alert".to_owned(), alert.id.clone().into())]);
    vec![
        AlertChange::Keep(Box::new(alert.clone())),
        AlertChange::Tell(Box::new(notice(alert, "0", record.wall_ms))),
        AlertChange::Record { event: EventType::AlertFired, service: record.service.clone(), data },
    ]
}

fn all_fire(new: &[&Record]) -> Vec<AlertChange> {
    new.iter().flat_map(|record| fires(record)).collect()
}

/// Rows in (events, supervisor_events, supervisor_alerts, supervisor_outbox, supervisor_journal).
fn counts(scratch: &Scratch) -> [i64; 5] {
    ["events", "supervisor_events", "supervisor_alerts", "supervisor_outbox", "supervisor_journal"]
        .map(|table| scratch.count(table))
}

#[test]
fn what_comes_of_new_records_goes_in_with_them_and_each_is_shown_once() {
    let (scratch, spec) = (Scratch::new(), spec());
    let mut ledger = scratch.ledger();
    let mut shown = Vec::new();
    for lines in [&[crash(1), crash(2)][..], &[crash(2), crash(1)], &[crash(2), crash(3)]] {
        let mut decide = |new: &[&Record]| {
            shown.push(new.iter().map(|record| record.seq).collect::<Vec<_>>());
            all_fire(new)
        };
        ledger.ingest_watched("gateway", lines, &telling(&spec, T0), &mut decide).unwrap();
    }
    assert_eq!(shown, [vec![1, 2], vec![3]]);
    // Three crashes and three rows about alerts; each notice for two sinks; the position of two journals.
    assert_eq!(counts(&scratch), [6, 6, 3, 6, 2]);
    let sql = "SELECT group_concat(concat_ws(' ', seq, event_type, service_name, timestamp_ms, boot_ns, mono_ns), ', ') \
               FROM supervisor_events WHERE runner = '_alerts' AND boot_id = 'boot-a'";
    let row = |seq| format!("{seq} alert_fired gateway {T0} 8 7");
    assert_eq!(text(&scratch.other(), sql), [row(1), row(2), row(3)].join(", "));
    let sent: Vec<_> = ledger.pending("hook", 9).unwrap().into_iter().map(|row| (row.id, row.notice.key)).collect();
    assert_eq!(sent.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["a1.0", "a2.0", "a3.0"]);
    assert!(sent.is_sorted());
    assert_eq!(
        ledger.pending("hook", 1).unwrap()[0].notice,
        notice(Alert { since_ms: T0 + 1, fired_ms: T0 + 1, ..alert("a1") }, "0", T0 + 1)
    );
}

/// A place to fail in: what is written there, and how it is recognised.
const PLACES: [(&str, &str); 6] = [
    ("supervisor_events", "new.runner = 'gateway' AND new.seq = 2"),
    ("supervisor_alerts", "new.id = 'a2'"),
    ("supervisor_outbox", "new.key = 'a2.0' AND new.sink = 'log'"),
    ("supervisor_events", "new.runner = '_alerts' AND new.seq = 2"),
    ("supervisor_journal", "new.runner = 'gateway'"),
    ("supervisor_journal", "new.runner = '_alerts'"),
];

#[test]
fn a_transaction_that_fails_half_way_leaves_nothing_and_goes_in_later() {
    for (table, when) in PLACES {
        let (scratch, spec) = (Scratch::new(), spec());
        let mut ledger = scratch.ledger();
        ledger
            .conn
            .execute_batch(&format!(
                "CREATE TEMP TRIGGER full BEFORE INSERT ON main.{table} WHEN {when} \
                 BEGIN SELECT RAISE(ABORT, 'as if the disk were full'); END"
            ))
            .unwrap();
        let lines = [crash(1), crash(2)];
        let told = telling(&spec, T0);
        let mut asked = 0;
        let mut decide = |new: &[&Record]| {
            asked += new.len();
            all_fire(new)
        };
        assert!(ledger.ingest_watched("gateway", &lines, &told, &mut decide).is_err(), "{table} {when}");
        assert_eq!(counts(&scratch), [0; 5], "{table} {when}");
        drop(ledger);
        let mut ledger = scratch.ledger();
        assert_eq!(ledger.ingest_watched("gateway", &lines, &told, &mut decide).unwrap(), 2);
        assert!(asked >= 2, "they are shown to whoever comes after the failure");
        assert_eq!(counts(&scratch), [4, 4, 2, 4, 2], "{table} {when}");
    }
}

#[test]
fn changes_without_a_record_are_one_transaction_too() {
    let (scratch, spec) = (Scratch::new(), spec());
    let mut ledger = scratch.ledger();
    let mut changes = fires(&crash(1));
    changes.extend(fires(&crash(2)));
    for (table, when) in PLACES.into_iter().filter(|(_, when)| !when.contains("gateway")) {
        let fail = format!(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON main.{table} WHEN {when} BEGIN SELECT RAISE(ABORT, 'no'); END"
        );
        ledger.conn.execute_batch(&fail).unwrap();
        assert!(ledger.change(&changes, &telling(&spec, T0)).is_err());
        assert_eq!(counts(&scratch), [0; 5], "{table} {when}");
        ledger.conn.execute_batch("DROP TRIGGER temp.full").unwrap();
    }
    ledger.change(&[], &telling(&spec, T0)).unwrap();
    ledger.change(&changes, &telling(&spec, T0)).unwrap();
    assert_eq!(counts(&scratch), [2, 2, 2, 4, 1]);
    // Told again, it is not sent again; rows are rows of what happened, and it happened again.
    ledger.change(&changes, &telling(&spec, T0)).unwrap();
    assert_eq!(counts(&scratch), [4, 4, 2, 4, 1]);
}

#[test]
fn what_events_rolls_back_is_decided_again_and_written_once() {
    let scratch = Scratch::new();
    let spec = spec();
    let mut ledger = scratch.ledger();
    let refuses = "CREATE TRIGGER no BEFORE INSERT ON events WHEN new.event_type = 'alert_fired' \
                   BEGIN SELECT RAISE(ROLLBACK, 'theirs to say'); END";
    scratch.other().execute_batch(refuses).unwrap();
    // The rules, of which the last attempt is kept: each attempt begins with what was before.
    let before = 10u64;
    let mut after = before;
    let mut asked = 0;
    let mut decide = |new: &[&Record]| {
        asked += 1;
        after = before + new.len() as u64;
        all_fire(new)
    };
    let lines = [crash(1), crash(2)];
    assert_eq!(ledger.ingest_watched("gateway", &lines, &telling(&spec, T0), &mut decide).unwrap(), 2);
    assert_eq!((asked, after), (2, 12));
    assert_eq!(counts(&scratch), [0, 4, 2, 4, 2]);
    assert!(ledger.note().is_some_and(|note| note.contains("theirs to say")));
}

#[test]
fn each_sink_gets_what_it_takes() {
    let (scratch, spec) = (Scratch::new(), spec());
    let mut ledger = scratch.ledger();
    let tell =
        |id: &str, rule, severity| AlertChange::Tell(Box::new(notice(Alert { rule, severity, ..alert(id) }, "0", T0)));
    let mut told = telling(&spec, T0);
    ledger.change(&[tell("info", Rule::CrashLoop, Severity::Info)], &told).unwrap();
    ledger.change(&[tell("warning", Rule::CrashLoop, Severity::Warning)], &told).unwrap();
    let mut test = notice(Alert { rule: Rule::Test, severity: Severity::Info, ..alert("test") }, "0", T0);
    test.kind = crate::model::NoticeKind::Note;
    ledger.change(&[AlertChange::Tell(Box::new(test))], &told).unwrap();
    let mut worse = notice(Alert { severity: Severity::Critical, ..alert("worse") }, "0", T0);
    worse.beyond = Some(Severity::Warning);
    ledger.change(&[AlertChange::Tell(Box::new(worse))], &told).unwrap();
    let hook = BTreeSet::from(["hook".to_owned()]);
    told.only = Some(&hook);
    ledger.change(&[tell("picked", Rule::Test, Severity::Info)], &told).unwrap();
    let delivered = BTreeSet::from([("log".to_owned(), "early.0".to_owned())]);
    let told = Telling { delivered: &delivered, ..telling(&spec, T0) };
    ledger.change(&[tell("early", Rule::Database, Severity::Critical)], &told).unwrap();
    let keys = |sink: &str| -> Vec<String> {
        ledger.pending(sink, 99).unwrap().into_iter().map(|row| row.notice.key).collect()
    };
    assert_eq!(keys("hook"), ["warning.0", "test.0", "picked.0", "early.0"]);
    assert_eq!(keys("log"), ["info.0", "warning.0", "test.0"]);
    let filter = OutboxFilter { alert: Some("early".into()), sink: Some("log".into()), ..OutboxFilter::default() };
    let row = &scratch.reader().outbox(&filter).unwrap()[0];
    assert_eq!((row.state, row.attempts, row.settled_ms), (crate::model::RowState::Delivered, 1, Some(T0)));
    assert_eq!(row.expires_ms, T0 + 7 * DAY_MS);
}

fn kind(fingerprint: &str, last_ms: i64) -> CrashKind {
    let sample = "exit 1".to_owned();
    let (service, fingerprint) = (name("gateway"), fingerprint.to_owned());
    CrashKind { service, fingerprint, sample, first_ms: 1, last_ms, count: 1, after_change_of: None }
}

fn silence(id: u64, until_ms: i64) -> Silence {
    Silence { id, service: None, rule: Some(Rule::Held), from_ms: T0, until_ms }
}

fn over(id: &str, resolved_ms: i64) -> AlertChange {
    let state = AlertState::Resolved;
    AlertChange::Keep(Box::new(Alert { state, resolved_ms: Some(resolved_ms), fired_ms: 1, ..alert(id) }))
}

#[test]
fn the_next_life_remembers_what_is_open() {
    let (scratch, spec) = (Scratch::new(), spec());
    let mut ledger = scratch.ledger();
    let told = telling(&spec, T0);
    let acknowledged = Alert { state: AlertState::Acknowledged, fired_ms: 5, ..alert("b") };
    let late = Alert { fired_ms: 9, ..alert("a") };
    let changes = [
        AlertChange::Keep(Box::new(late.clone())),
        AlertChange::Keep(Box::new(acknowledged.clone())),
        AlertChange::Keep(Box::new(alert("c"))),
        over("c", T0),
        AlertChange::KeepSilence(silence(1, T0 + 5)),
        AlertChange::KeepSilence(silence(2, T0 + 5)),
        AlertChange::KeepSilence(silence(2, T0 + 6)),
        AlertChange::DropSilence(1),
        AlertChange::KeepKind(kind("f", 1)),
        AlertChange::KeepKind(kind("f", 2)),
    ];
    ledger.change(&changes, &told).unwrap();
    drop(ledger);
    let remembered = scratch.ledger().remembered().unwrap();
    assert_eq!(remembered.open, [acknowledged, late]);
    assert_eq!(remembered.silences, [silence(2, T0 + 6)]);
    assert_eq!(remembered.kinds, [kind("f", 2)]);
    assert_eq!(scratch.reader().silences(T0 + 5).unwrap(), [silence(2, T0 + 6)]);
    assert_eq!(scratch.reader().silences(T0 + 6).unwrap(), []);
}

#[test]
fn readers_find_alerts_and_a_ledger_of_an_older_version_has_none() {
    let (scratch, spec) = (Scratch::new(), spec());
    let mut ledger = scratch.ledger();
    let open = |id, fired_ms| AlertChange::Keep(Box::new(Alert { fired_ms, ..alert(id) }));
    let changes = [open("aa1", 30), over("ab2", T0), over("b3", T0 + 9), open("b4", 40)];
    ledger.change(&changes, &telling(&spec, T0)).unwrap();
    let ids = |open, since_ms, limit| -> Vec<String> {
        let filter = AlertFilter { open, since_ms, limit };
        scratch.reader().alerts(&filter).unwrap().into_iter().map(|alert| alert.id).collect()
    };
    assert_eq!(ids(false, None, None), ["ab2", "b3", "aa1", "b4"]);
    assert_eq!(ids(true, Some(0), None), ["aa1", "b4"]);
    assert_eq!(ids(false, Some(T0 + 1), None), ["b3", "aa1", "b4"]);
    assert_eq!(ids(false, None, Some(2)), ["aa1", "b4"], "those that fired last");
    let by_prefix = |prefix: &str| scratch.reader().alert(prefix).unwrap().len();
    assert_eq!(["a", "aa", "ab2", "ab20", "%", ""].map(by_prefix), [2, 1, 1, 0, 0, 4]);
    // A row that a newer version wrote is not ours to read.
    scratch
        .other()
        .execute("UPDATE supervisor_alerts SET body = '{\"rule\":\"of-later\"}' WHERE id = 'b4'", [])
        .unwrap();
    assert_eq!(ids(true, None, None), ["aa1"]);
    drop(ledger);
    let tables = ["alerts", "outbox", "sinks", "silences", "crash_kinds"];
    let drop: String = tables.iter().map(|table| format!("DROP TABLE supervisor_{table};")).collect();
    scratch.other().execute_batch(&drop).unwrap();
    let reader = scratch.reader();
    assert!(reader.alerts(&AlertFilter::default()).unwrap().is_empty() && reader.alert("a").unwrap().is_empty());
    assert!(reader.outbox(&OutboxFilter::default()).unwrap().is_empty() && reader.sink_states().unwrap().is_empty());
    assert!(reader.silences(0).unwrap().is_empty());
}

#[test]
fn the_windows_are_refilled_with_the_newest_of_each() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let of = |service: &str, record: Record| Record { service: Some(name(service)), ..record };
    let ours = |seq, event| Record { service: None, mono: Some(Mono(seq)), ..record(seq, event, json!({})) };
    let ready = record(5, EventType::ServiceReady, json!({"run_id": 5}));
    let lines = [
        Record { wall_ms: T0 - 1, ..crash(1) }, // too old
        start(2),
        crash(3),
        record(4, EventType::ProbeDegraded, json!({})), // of no matter
        Record { mono: Some(Mono(99)), ..ready },
        of("other", start(6)),
        of("unknown", start(7)),
        of("other", record(8, EventType::ServiceHung, json!({"run_id": 6}))),
    ];
    ledger.ingest("_embedded", &lines).unwrap();
    let own =
        [ours(1, EventType::SupervisorStop), ours(2, EventType::ConfigReloaded), ours(3, EventType::SupervisorStart)];
    ledger.ingest("_daemon", &own).unwrap();
    let past = |limit| ledger.past(&[name("gateway"), name("other")], limit, T0).unwrap();
    let expected = [&lines[1], &lines[2], &lines[4], &lines[5], &lines[7], &own[0], &own[2]];
    let runners = ["_embedded"; 5].into_iter().chain(["_daemon"; 2]);
    let expected: Vec<_> = runners.map(str::to_owned).zip(expected.into_iter().cloned()).collect();
    assert_eq!(past(256), expected);
    assert_eq!(
        past(1).into_iter().map(|(_, record)| record.event).collect::<Vec<_>>(),
        [EventType::ServiceReady, EventType::ServiceHung, EventType::SupervisorStart]
    );
}

#[test]
fn a_table_of_an_older_version_gets_its_columns_and_that_version_still_writes() {
    let scratch = Scratch::with(
        "CREATE TABLE supervisor_meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
         INSERT INTO supervisor_meta VALUES ('schema', 1);
         CREATE TABLE supervisor_events (id INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL, event_type TEXT NOT NULL,
           service_name TEXT, run_id INTEGER, class TEXT, metadata TEXT NOT NULL, runner TEXT NOT NULL,
           boot_id TEXT NOT NULL, seq INTEGER NOT NULL, mirror_rowid INTEGER, UNIQUE (runner, boot_id, seq))",
    );
    let insert = "INSERT INTO supervisor_events (timestamp_ms, event_type, service_name, run_id, class, metadata, runner, \
                  boot_id, seq, mirror_rowid) VALUES (?1, 'service_start', 'gateway', 1, NULL, '{}', 'gateway', 'b', ?1, NULL)";
    scratch.other().execute(insert, [1]).unwrap();
    let mut ledger = scratch.ledger();
    scratch.other().execute(insert, [2]).unwrap();
    ledger.ingest("gateway", &[Record { mono: Some(Mono(4)), ..start(3) }]).unwrap();
    drop(ledger);
    let ledger = scratch.ledger();
    let clocks: Vec<_> = ledger
        .past(&[name("gateway")], 9, 0)
        .unwrap()
        .into_iter()
        .map(|(_, record)| (record.wall_ms, record.boot_ns, record.mono))
        .collect();
    assert_eq!(clocks, [(1, 0, None), (2, 0, None), (T0 + 3, 3_000_000, Some(Mono(4)))]);
}

#[test]
fn single_values_are_kept() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.meta_set("weekly", &"2026-W47").unwrap();
    drop(ledger);
    let ledger = scratch.ledger();
    assert_eq!(ledger.meta_get::<String>("weekly").unwrap().as_deref(), Some("2026-W47"));
    assert_eq!(ledger.meta_get::<u64>("weekly").unwrap(), None, "what cannot be read is not there");
    assert_eq!(ledger.meta_get::<i64>("schema").unwrap(), Some(1));
}

#[test]
fn what_is_over_goes_in_time_and_what_is_not_stays() {
    let (scratch, spec) = (Scratch::new(), spec());
    let mut ledger = scratch.ledger();
    let now = T0 + 400 * DAY_MS;
    let changes = [
        over("old", now - 366 * DAY_MS),
        over("new", now - 364 * DAY_MS),
        AlertChange::Keep(Box::new(alert("open"))),
        AlertChange::KeepKind(kind("old", now - 366 * DAY_MS)),
        AlertChange::KeepKind(kind("new", now - 364 * DAY_MS)),
        AlertChange::KeepSilence(silence(1, now - 31 * DAY_MS)),
        AlertChange::KeepSilence(silence(2, now + DAY_MS)),
        AlertChange::Tell(Box::new(notice(alert("told"), "0", T0))),
    ];
    ledger.change(&changes, &telling(&spec, T0)).unwrap();
    let other = scratch.other();
    let settle = "UPDATE supervisor_outbox SET state = 'delivered', settled_ms = ?1 WHERE sink = 'hook'";
    other.execute(settle, [now - 91 * DAY_MS]).unwrap();
    ledger.prune(now, Duration::MAX, u64::MAX).unwrap();
    let left = |table: &str, column: &str| {
        text(
            &other,
            &format!("SELECT group_concat({column}, ' ') FROM (SELECT {column} FROM supervisor_{table} ORDER BY 1)"),
        )
    };
    assert_eq!(left("alerts", "id"), "new open");
    assert_eq!(left("crash_kinds", "fingerprint"), "new");
    assert_eq!(left("silences", "id"), "2");
    assert_eq!(left("outbox", "sink"), "log", "what is pending stays however old it is");
    // And no more than so many.
    let fill = |table: &str, rest: &str| {
        let count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 21000)";
        other.execute_batch(&format!("{count} INSERT INTO supervisor_{table} {rest} FROM n")).unwrap();
    };
    fill("outbox", "SELECT NULL, 's', 'k' || i, 'a', 'expired', i, i, 0, 9000000000000 + i, NULL, NULL, '{}'");
    fill("alerts", "SELECT 'x' || i, 'held', NULL, 'info', 'resolved', i, 9000000000000 + i, '{}'");
    fill("crash_kinds", "SELECT 's', 'f' || i, 9000000000000 + i, '{}'");
    ledger.prune(now, Duration::MAX, u64::MAX).unwrap();
    let kept = ["outbox", "alerts", "crash_kinds"].map(|table| scratch.count(&format!("supervisor_{table}")));
    assert_eq!(kept, [20_001, 10_001, 10_000]);
    let oldest = number(&other, "SELECT min(settled_ms) FROM supervisor_outbox WHERE state = 'expired'");
    assert_eq!(oldest, 9_000_000_001_001, "the newest stay");
    ledger.prune(now, Duration::MAX, u64::MAX).unwrap();
    assert_eq!(scratch.count("supervisor_outbox"), 20_001);
}

/// A crash of this run that complains like this.
pub(super) fn complains(run: u64, tail: &str) -> Record {
    let data = json!({"run_id": run, "class": "crash", "exit_code": 1, "signal": null, "stderr_tail": tail});
    record(run, EventType::ServiceCrash, data)
}

#[test]
fn another_complaint_stands_as_a_whole() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let (one, two, short) = ("one ".repeat(100), "two ".repeat(100), "short".to_owned());
    let other = |record| Record { service: Some(name("other")), ..record };
    let lines = [
        complains(1, &one),
        complains(2, &one),
        other(complains(3, &one)),
        complains(4, &short),
        complains(5, &short),
        complains(6, &two),
        complains(7, &one),
        complains(8, &one),
    ];
    // What a transaction that failed has seen does not count.
    let fail = "CREATE TEMP TRIGGER full BEFORE INSERT ON main.supervisor_journal BEGIN SELECT RAISE(ABORT, 'no'); END";
    ledger.conn.execute_batch(fail).unwrap();
    assert!(ledger.ingest("gateway", &lines).is_err());
    ledger.conn.execute_batch("DROP TRIGGER temp.full").unwrap();
    for half in [&lines[..3], &lines[3..]] {
        ledger.ingest("gateway", half).unwrap();
    }
    let rows = scratch.reader().events(&Filter::default()).unwrap();
    let same: Vec<_> = rows.iter().map(|row| row.metadata["same_tail_as_run"].as_u64()).collect();
    assert_eq!(same, [None, Some(1), None, None, None, None, None, Some(7)]);
    assert_eq!(rows[6].metadata["stderr_tail"], one.as_str());
    // The mirrored row says the same, and is known for ours when it is to go.
    let mirrored = "SELECT count(*) FROM events JOIN supervisor_events s ON s.mirror_rowid = events.id \
                    WHERE events.metadata = s.metadata";
    assert_eq!(number(&scratch.other(), mirrored), 8);
}
