//! What became of the slots of calendar jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::model::{AlertSpec, SlotKey, SlotState, StepOutcome, Timing, Trigger};

/// 2026-11-22T07:55:00Z.
const DUE: i64 = 1_795_334_100_000;

const DAY_MS: i64 = 24 * 3600 * 1000;

fn task(seq: u64, event: EventType, at_ms: i64, data: Value) -> Record {
    Record { service: Some(name("backup")), wall_ms: at_ms, ..record(seq, event, data) }
}

fn started(seq: u64, due_ms: i64) -> Record {
    let data = json!({"slot": SlotKey::Due(due_ms), "due_ms": due_ms, "extra": false, "trigger": "manager",
        "timing": "in-time", "pid": 4711, "late_ms": 2000, "resumes": null, "run_id": null});
    task(seq, EventType::TaskStarted, due_ms + 2000, data)
}

fn finished(seq: u64, due_ms: i64, result: &str) -> Record {
    let steps = json!([{"step": 1, "what": "pg_dump", "outcome": "ok", "tries": 2, "code": 0, "signal": null,
        "awake_ms": 11_000, "why": null}]);
    let data = json!({"slot": SlotKey::Due(due_ms), "due_ms": due_ms, "extra": false, "result": result, "why": "why",
        "timing": "in-time", "trigger": "manager", "awake_ms": 11_500, "wall_ms": 12_000, "frozen_ms": 500, "steps": steps,
        "run_id": null});
    task(seq, EventType::TaskFinished, due_ms + 14_000, data)
}

fn missed(seq: u64, due: &[i64], result: &str, made_up_by: Option<i64>) -> Record {
    let data = json!({"slot": SlotKey::Due(due[due.len() - 1]), "slots": due, "count": due.len(), "result": result,
        "why": "the machine slept", "made_up_by": made_up_by.map(SlotKey::Due), "run_id": null});
    task(seq, EventType::TaskMissed, due[due.len() - 1] + 3_600_000, data)
}

fn all(scratch: &Scratch) -> Vec<SlotRow> {
    scratch.reader().slots(&SlotFilter::default()).unwrap()
}

fn states(scratch: &Scratch) -> Vec<Option<&'static str>> {
    all(scratch).into_iter().map(|row| row.state.map(SlotState::as_str)).collect()
}

#[test]
fn a_run_is_a_row_from_its_start_to_its_end() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    assert_eq!(all(&scratch), []);
    assert_eq!(ledger.ingest("backup", &[started(1, DUE)]).unwrap(), 1);
    let row = &all(&scratch)[0];
    assert_eq!((row.state, row.started_ms, row.ended_ms, row.pid), (None, Some(DUE + 2000), None, Some(4711)));
    assert_eq!((row.slot, row.due_ms, row.trigger), (SlotKey::Due(DUE), DUE, Some(Trigger::Manager)));
    assert_eq!(ledger.ingest("backup", &[started(1, DUE), finished(2, DUE, "ran")]).unwrap(), 1);
    let row = &all(&scratch)[0];
    assert_eq!((row.state, row.started_ms, row.ended_ms), (Some(SlotState::Ran), Some(DUE + 2000), Some(DUE + 14_000)));
    assert_eq!((row.awake_ms, row.frozen_ms, row.timing), (Some(11_500), Some(500), Some(Timing::InTime)));
    assert_eq!((row.steps[0].outcome, row.steps[0].tries, row.why.as_str()), (StepOutcome::Ok, 2, "why"));
    assert_eq!((scratch.count("supervisor_slots"), scratch.count("supervisor_events")), (1, 2));
}

#[test]
fn a_run_ends_once_whoever_tells_of_it() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    ledger.ingest("backup", &[started(1, DUE), finished(2, DUE, "ran")]).unwrap();
    // The daemon took it for dead; the same again from a journal that is delivered twice.
    let mut shown = 0;
    let spec = AlertSpec::default();
    let told = alerts::telling(&spec, DUE);
    let mut decide = |new: &[&Record]| {
        shown += new.len();
        Vec::new()
    };
    assert_eq!(ledger.ingest_watched("_daemon", &[finished(1, DUE, "failed")], &told, &mut decide).unwrap(), 0);
    assert_eq!(ledger.ingest_watched("_daemon", &[finished(1, DUE, "failed")], &told, &mut decide).unwrap(), 0);
    assert_eq!((shown, states(&scratch)), (0, vec![Some("ran")]));
    assert_eq!((scratch.count("supervisor_events"), scratch.count("events")), (2, 2));
    assert_eq!(ledger.position("_daemon", "boot-a").unwrap(), Some(1), "it is not read again for ever");
    // Twice in one batch, and the daemon's word before the run's own.
    let (two, three) = (DUE + 60_000, DUE + 120_000);
    assert_eq!(ledger.ingest("_daemon", &[finished(2, two, "failed"), finished(3, two, "ran")]).unwrap(), 1);
    ledger.ingest("_daemon", &[finished(4, three, "failed")]).unwrap();
    assert_eq!(ledger.ingest("backup", &[started(3, three), finished(4, three, "ran")]).unwrap(), 1);
    assert_eq!(states(&scratch), [Some("ran"), Some("failed"), Some("failed")]);
    let row = &all(&scratch)[2];
    assert_eq!((row.pid, row.started_ms, row.ended_ms), (Some(4711), Some(three + 2000), Some(three + 14_000)));
}

#[test]
fn what_was_missed_is_told_once_and_never_instead_of_a_run() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let at = |n: i64| DUE + n * DAY_MS;
    ledger.ingest("backup", &[started(1, at(0)), finished(2, at(0), "failed"), started(3, at(1))]).unwrap();
    let three = [at(0), at(1), at(2)];
    assert_eq!(ledger.ingest("_daemon", &[missed(1, &three, "missed-asleep", None)]).unwrap(), 1, "one is new");
    assert_eq!(states(&scratch), [Some("failed"), None, Some("missed-asleep")]);
    assert_eq!(ledger.ingest("_daemon", &[missed(2, &three, "missed-off", Some(at(9)))]).unwrap(), 0);
    assert_eq!(ledger.ingest("_daemon", &[missed(3, &[at(2), at(3)], "missed-off", Some(at(9)))]).unwrap(), 1);
    let rows = all(&scratch);
    assert_eq!((rows[2].state, rows[2].made_up_by), (Some(SlotState::MissedAsleep), None));
    assert_eq!((rows[3].state, rows[3].made_up_by), (Some(SlotState::MissedOff), Some(SlotKey::Due(at(9)))));
    assert_eq!((rows[3].trigger, rows[3].ended_ms), (None, Some(at(3) + 3_600_000)));
    assert_eq!(scratch.count("supervisor_events"), 5);
}

#[test]
fn a_missed_slot_that_is_run_after_all_is_that_run() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let (one, two) = (DUE, DUE + DAY_MS);
    ledger.ingest("_daemon", &[missed(1, &[one, two], "missed-off", Some(two))]).unwrap();
    ledger.ingest("backup", &[started(1, one)]).unwrap();
    let row = &all(&scratch)[0];
    assert_eq!((row.state, row.ended_ms, row.made_up_by, row.why.as_str()), (None, None, None, ""));
    assert_eq!(ledger.ingest("backup", &[finished(2, one, "caught-up"), finished(3, two, "failed")]).unwrap(), 2);
    assert_eq!(states(&scratch), [Some("caught-up"), Some("failed")]);
    let row = &all(&scratch)[1];
    assert_eq!((row.started_ms, row.made_up_by), (Some(two + 2000), None), "its start is gone: reckoned from its end");
    assert_eq!(ledger.ingest("_daemon", &[missed(2, &[one, two], "missed-off", None)]).unwrap(), 0);
}

#[test]
fn a_journal_that_is_delivered_in_any_pieces_gives_the_same_rows() {
    let at = |n: i64| DUE + n * DAY_MS;
    let lines = [
        started(1, at(0)),
        finished(2, at(0), "ran"),
        missed(3, &[at(1), at(2)], "missed-asleep", Some(at(3))),
        started(4, at(3)),
        finished(5, at(3), "caught-up"),
        finished(6, at(3), "failed"),
        missed(7, &[at(0), at(3)], "missed-off", None),
        started(8, at(4)),
    ];
    let whole = Scratch::new();
    whole.ledger().ingest("backup", &lines).unwrap();
    assert_eq!(all(&whole).len(), 5);
    for piece in 1..lines.len() {
        let scratch = Scratch::new();
        for end in (piece..=lines.len()).step_by(piece).chain([lines.len()]) {
            // Each time by a ledger that was opened anew, from before what it took in last.
            scratch.ledger().ingest("backup", &lines[end.saturating_sub(2 * piece)..end]).unwrap();
        }
        assert_eq!(all(&scratch), all(&whole), "{piece}");
        assert_eq!(scratch.count("supervisor_events"), whole.count("supervisor_events"), "{piece}");
    }
}

#[test]
fn records_without_a_slot_are_rows_of_the_ledger_only() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let bare = |seq, event, data| task(seq, event, DUE, data);
    let lines = [
        bare(1, EventType::TaskStarted, json!({"slot": "yesterday"})),
        bare(2, EventType::TaskFinished, json!({"result": "ran"})),
        bare(3, EventType::TaskFinished, json!({"slot": SlotKey::Due(DUE), "result": "of a newer version"})),
        bare(4, EventType::TaskMissed, json!({"slot": SlotKey::Due(DUE), "slots": "all", "result": "missed-off"})),
    ];
    assert_eq!(ledger.ingest("backup", &lines).unwrap(), 4);
    assert_eq!((scratch.count("supervisor_slots"), scratch.count("supervisor_events")), (0, 4));
}

#[test]
fn slots_are_found_by_job_time_and_state() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let at = |n: i64| DUE + n * DAY_MS;
    let other = |record: Record| Record { service: Some(name("report")), ..record };
    let lines = [
        finished(1, at(0), "ran"),
        finished(2, at(1), "failed"),
        started(3, at(2)),
        missed(4, &[at(3)], "skipped-overlap", None),
        other(finished(5, at(0), "ran")),
        other(finished(6, at(1), "ran")),
    ];
    ledger.ingest("both", &lines).unwrap();
    let reader = scratch.reader();
    let find = |filter: &SlotFilter| reader.slots(filter).unwrap().len();
    assert_eq!(find(&SlotFilter::default()), 6);
    let backup = SlotFilter { task: Some(name("backup")), ..SlotFilter::default() };
    assert_eq!(find(&backup), 4);
    assert_eq!(find(&SlotFilter { since_ms: Some(at(2)), ..backup.clone() }), 2);
    let ran = SlotFilter { states: vec![SlotState::Ran, SlotState::Failed], ..SlotFilter::default() };
    assert_eq!(find(&ran), 4);
    let latest = reader.slots(&SlotFilter { limit: Some(2), ..backup }).unwrap();
    assert_eq!(latest.iter().map(|row| row.due_ms).collect::<Vec<_>>(), [at(2), at(3)]);
    let last = reader.last_slots().unwrap();
    let due = |row: &Option<SlotRow>| row.as_ref().map(|row| row.due_ms);
    let one = &last[&name("backup")];
    assert_eq!((due(&one.ended), due(&one.under_way)), (Some(at(1)), Some(at(2))));
    let one = &last[&name("report")];
    assert_eq!((due(&one.ended), due(&one.under_way)), (Some(at(1)), None));
    let counts = reader.slot_counts(at(1), at(9)).unwrap();
    let backup = BTreeMap::from([(SlotState::Failed, 1), (SlotState::SkippedOverlap, 1)]);
    assert_eq!(
        counts,
        BTreeMap::from([(name("backup"), backup), (name("report"), BTreeMap::from([(SlotState::Ran, 1)]))])
    );
    assert_eq!(reader.slot_counts(at(1), at(1)).unwrap(), BTreeMap::new());
}

#[test]
fn a_database_from_before_has_no_slots_until_it_is_opened_for_writing() {
    let scratch = Scratch::new();
    drop(scratch.ledger());
    scratch.other().execute_batch("DROP TABLE supervisor_slots").unwrap();
    assert_eq!(all(&scratch), []);
    assert!(scratch.reader().last_slots().unwrap().is_empty());
    scratch.ledger().ingest("backup", &[finished(1, DUE, "ran")]).unwrap();
    assert_eq!(states(&scratch), [Some("ran")]);
}

#[test]
fn old_slots_go_but_for_the_latest_of_each_job() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let minute = 60_000;
    let slots: Vec<i64> = (0..1200).map(|n| DUE + n * minute).collect();
    ledger.ingest("_daemon", &[started(1, slots[0]), missed(2, &slots, "missed-off", None)]).unwrap();
    let other = Record { service: Some(name("report")), ..finished(3, DUE, "ran") };
    ledger.ingest("_daemon", &[other]).unwrap();
    let now = slots[1199];
    ledger.prune(now, Duration::from_secs(500 * 60), u64::MAX).unwrap();
    let of =
        |task: &str| scratch.reader().slots(&SlotFilter { task: Some(name(task)), ..SlotFilter::default() }).unwrap();
    let left = of("backup");
    assert_eq!((left.len(), left[0].state, left[1].due_ms), (502, None, slots[699]), "and what is under way");
    ledger.prune(now + 365 * DAY_MS, Duration::ZERO, 0).unwrap();
    let left = of("backup");
    assert_eq!((left.len(), left[0].state, left[1].due_ms), (401, None, slots[800]));
    assert_eq!(of("report").len(), 1);
}

#[test]
fn of_no_job_more_than_a_bounded_number_is_kept() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let sql = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 20999) \
               INSERT INTO supervisor_slots (task, slot, due_ms, extra, state) SELECT 'backup', 's' || i, i, 0, 'ran' FROM n";
    scratch.other().execute_batch(sql).unwrap();
    ledger.prune(0, Duration::MAX, u64::MAX).unwrap();
    assert_eq!(number(&scratch.other(), "SELECT min(due_ms) FROM supervisor_slots"), 1000);
    assert_eq!(scratch.count("supervisor_slots"), 20_000);
}
