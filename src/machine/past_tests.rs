//! What a successor concludes, case by case.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::past::{Left, Marked, Past, Takeover, leftovers};
use super::{Fate, Found, Input, ProcessRef, Run, Saved, SavedPhase};
use crate::model::{EventType, Exit, ExitClass, Moment, Record, Signal, UnitName};
use crate::policy::Backoff;

fn name() -> UnitName {
    UnitName::new("s").unwrap()
}

fn record(seq: u64, event: EventType, data: Value) -> Record {
    let Value::Object(data) = data else { unreachable!() };
    Record { v: 1, boot_id: "b".into(), seq, wall_ms: 9, boot_ns: 0, mono: None, event, service: Some(name()), data }
}

fn start(seq: u64, run: u64) -> Record {
    record(seq, EventType::ServiceStart, json!({ "run_id": run }))
}

fn end(seq: u64, run: u64, class: &str, more: Value) -> Record {
    let mut data = Map::from_iter([("run_id".into(), run.into()), ("class".into(), class.into())]);
    data.extend(more.as_object().cloned().unwrap_or_default());
    record(seq, EventType::ServiceCrash, data.into())
}

fn past(records: &[Record]) -> Past {
    let mut past = Past::of("s");
    records.iter().for_each(|record| past.take("s", record));
    past
}

fn run(id: u64) -> Run {
    let process = ProcessRef { pid: 100, start: 50 };
    Run { id, process, started: Moment::default(), attempt: 1, adopted: false }
}

fn left(run_id: u64, phase: SavedPhase, start_seq: u64) -> Option<Left> {
    let (v, mut backoff) = (Saved::VERSION, Backoff::default());
    backoff.attempts = 4;
    let saved = Saved { v, boot_id: "b".into(), run_id, phase, backoff, last_exit: None, safe_starts: 0 };
    Some(Left { saved, runner: "s".into(), start_seq, end_seq: 0 })
}

fn up(id: u64, start_seq: u64) -> Option<Left> {
    left(id, SavedPhase::Up(run(id)), start_seq)
}

fn marked(run_id: u64, pid: i32, ppid: i32, pgid: i32, start: u64) -> Marked {
    Marked { run_id, process: ProcessRef { pid, start }, ppid, pgid, late: Duration::ZERO }
}

fn candidates(left: Option<Left>, past: &Past, marked: &[Marked], boot_id: &str) -> Vec<Found> {
    let began = |start| Moment { boot_ns: start, ..Moment::default() };
    Takeover::new(&name(), left, past, boot_id).candidates(marked, began)
}

fn fate(left: Option<Left>, past: &Past, alive: Option<u64>) -> Fate {
    let alive = alive.map(|id| Found { run: run(id), start_recorded: true });
    match &Takeover::new(&name(), left, past, "b").inputs(alive, &[])[..] {
        [Input::Begin { fate, alive: told, .. }] => {
            assert_eq!(*told, alive);
            *fate
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_recorded_run_is_watched_first_and_a_later_marked_one_next() {
    let later = [marked(8, 210, 1, 210, 60), marked(7, 100, 1, 100, 50)];
    let found = candidates(up(7, 0), &past(&[start(3, 7)]), &later, "b");
    let known = Found { run: run(7), start_recorded: true };
    let process = ProcessRef { pid: 210, start: 60 };
    let started = Moment { boot_ns: 60, ..Moment::default() };
    let newer = Found { run: Run { id: 8, process, started, attempt: 4, adopted: true }, start_recorded: false };
    assert_eq!(found, [known, newer]);
    let of_other_boot = candidates(up(7, 0), &past(&[]), &later, "c");
    assert_eq!(of_other_boot.iter().map(|f| f.run.id).collect::<Vec<_>>(), [8], "that pid is somebody else's now");
    assert_eq!(candidates(None, &past(&[start(3, 8)]), &later, "b")[0].run.id, 8);
    assert!(candidates(None, &past(&[start(3, 8)]), &later, "b")[0].start_recorded);
}

/// A predecessor did not see it (in the middle of exec a process has no environment), put it on record as lost, and was killed.
#[test]
fn a_run_whose_end_is_on_record_is_not_adopted() {
    let journal = past(&[start(3, 7), record(4, EventType::ServiceLost, json!({ "run_id": 8, "class": "lost" }))]);
    let about = left(7, SavedPhase::Spawning { automatic: true }, 0);
    let alive = [marked(8, 210, 1, 210, 60)];
    assert_eq!(candidates(about.clone(), &journal, &alive, "b"), []);
    assert!(matches!(fate(about.clone(), &journal, None), Fate::Recorded(end) if end.class == ExitClass::Lost));
    assert_eq!(candidates(about, &past(&[start(3, 7)]), &alive, "b").len(), 1);
    assert_eq!(leftovers(&alive, None).len(), 1, "it is swept");
}

#[test]
fn a_leader_leads_its_group_and_descends_from_nobody_of_its_run() {
    let tree = [
        marked(8, 211, 210, 210, 61), // a member of its group
        marked(8, 212, 210, 212, 59), // a child that leads its own group
        marked(8, 210, 1, 210, 60),
        marked(8, 213, 1, 213, 62), // has left, and lost its parent
        marked(6, 214, 1, 214, 1),  // an older run's
    ];
    let pids = |marked: &[Marked]| -> Vec<i32> {
        candidates(up(7, 0), &past(&[]), marked, "c").iter().map(|found| found.run.process.pid).collect()
    };
    assert_eq!(pids(&tree), [210]);
    assert_eq!(pids(&tree[..1]), [0; 0], "without its leader a run has ended");
    assert_eq!(pids(&tree[4..]), [0; 0]);
    let oldest = leftovers(&tree, Some(6));
    assert_eq!(oldest.into_iter().collect::<Vec<_>>(), [(8, ProcessRef { pid: 212, start: 59 })]);
    assert_eq!(leftovers(&tree, None).len(), 2);
}

#[test]
fn what_became_of_a_run_that_is_gone() {
    assert_eq!(fate(up(7, 0), &past(&[]), Some(7)), Fate::Fine);
    assert_eq!(fate(left(7, SavedPhase::Down, 0), &past(&[]), None), Fate::Fine);
    assert_eq!(fate(None, &past(&[start(1, 7)]), None), Fate::Fine);
    let gone = |start_recorded| Fate::Gone { start_recorded };
    assert_eq!(fate(up(7, 9), &past(&[start(3, 6)]), None), gone(false));
    assert_eq!(fate(up(7, 9), &past(&[start(3, 7)]), None), gone(true));
    assert_eq!(fate(up(7, 9), &past(&[start(3, 7)]), Some(8)), gone(true), "it is a later one that lives");
    // Its start was at 3 or later, and the journal begins at 5: it was there, taken in and dropped. One that may have been
    // at 5 or later would be there still.
    assert_eq!(fate(up(7, 3), &past(&[start(5, 6)]), None), gone(true));
    assert_eq!(fate(up(7, 5), &past(&[start(5, 6)]), None), gone(false));
}

#[test]
fn an_end_on_record_is_the_last_one_of_that_run_or_a_later() {
    let killed = json!({ "signal": "SIGKILL", "exit_code": null, "uptime_ms": 1500 });
    let journal = [start(1, 7), end(2, 7, "crash", killed), end(3, 6, "recycled", json!({ "exit_code": 0 }))];
    match fate(up(7, 0), &past(&journal), None) {
        Fate::Recorded(end) => {
            assert_eq!(end.class, ExitClass::Crash);
            assert_eq!(end.exit, Exit::Signal { signal: Signal::KILL, core: false });
            assert_eq!((end.uptime, end.at_ms), (Duration::from_millis(1500), 9));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fate(up(8, 9), &past(&journal), None), Fate::Gone { start_recorded: false });
    // What cannot be read is no end.
    let garbled = [start(1, 7), end(2, 7, "vanished", json!({}))];
    assert_eq!(fate(up(7, 0), &past(&garbled), None), Fate::Gone { start_recorded: true });
}

#[test]
fn a_run_that_was_about_to_be_started_is_the_one_after_the_last() {
    let about = || left(7, SavedPhase::Spawning { automatic: true }, 0);
    assert_eq!(fate(about(), &past(&[start(1, 7)]), None), Fate::Gone { start_recorded: false });
    assert_eq!(fate(about(), &past(&[start(1, 8)]), None), Fate::Gone { start_recorded: true });
    let journal = [start(1, 8), end(2, 8, "crash", json!({ "exit_code": 1 }))];
    assert!(matches!(fate(about(), &past(&journal), None), Fate::Recorded(end) if end.exit == Exit::Code(1)));
    let journal = [start(1, 7), end(2, 7, "crash", json!({ "exit_code": 1 }))];
    assert_eq!(fate(about(), &past(&journal), None), Fate::Gone { start_recorded: false }, "that end was acted upon");
}

fn begins(left: Option<Left>, past: &Past, boot_id: &str) -> (Vec<Input>, u64, SavedPhase, Fate) {
    begins_among(left, past, boot_id, &[])
}

fn begins_among(
    left: Option<Left>,
    past: &Past,
    boot_id: &str,
    marked: &[Marked],
) -> (Vec<Input>, u64, SavedPhase, Fate) {
    let mut inputs = Takeover::new(&name(), left, past, boot_id).inputs(None, marked);
    match inputs.pop() {
        Some(Input::Begin { saved: Some(saved), fate, .. }) => (inputs, saved.run_id, saved.phase, fate),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_of_a_run_that_nobody_wrote_down_is_not_that_run_and_its_number_is_taken() {
    let mut child = marked(9, 300, 1, 300, 400);
    child.late = Duration::from_millis(1001);
    assert_eq!(candidates(left(7, SavedPhase::Down, 0), &past(&[]), &[child], "b"), []);
    child.late = Duration::from_secs(1);
    assert_eq!(candidates(left(7, SavedPhase::Down, 0), &past(&[]), &[child], "b").len(), 1, "the machine was busy");
    let about = |left, journal: &Past| {
        let (missed, run_id, phase, fate) = begins_among(left, journal, "b", &[child]);
        assert_eq!((run_id, phase), (8, SavedPhase::Spawning { automatic: true }));
        assert_eq!(fate, Fate::Gone { start_recorded: false });
        missed
    };
    let missed = |run_id, start_recorded| Input::Missed { run_id, start_recorded };
    assert_eq!(about(left(7, SavedPhase::Down, 0), &past(&[])), [missed(8, false)]);
    assert_eq!(about(up(7, 9), &past(&[start(3, 7)])), [missed(7, true), missed(8, false)]);
    let ended = past(&[start(3, 7), end(4, 7, "crash", json!({}))]);
    assert_eq!(about(up(7, 9), &ended), [missed(8, false)]);
    assert_eq!(about(left(8, SavedPhase::Down, 0), &past(&[])), []);
    let (missed, run_id, ..) =
        begins_among(left(8, SavedPhase::Spawning { automatic: true }, 0), &past(&[]), "b", &[child]);
    assert_eq!((missed, run_id), (Vec::new(), 8), "known already");
}

#[test]
fn a_record_that_is_older_than_the_journals_does_not_give_a_number_twice() {
    let about = || SavedPhase::Spawning { automatic: true };
    let journal = [start(3, 7), end(4, 7, "crash", json!({})), start(5, 8)];
    for boot_id in ["b", "c"] {
        let (missed, run_id, phase, fate) = begins(left(6, SavedPhase::Down, 2), &past(&journal), boot_id);
        assert_eq!((missed, run_id, phase, fate), (Vec::new(), 7, about(), Fate::Gone { start_recorded: true }));
    }
    let (_, run_id, _, fate) = begins(left(6, SavedPhase::Down, 2), &past(&journal[..2]), "c");
    assert_eq!(run_id, 6);
    assert!(matches!(fate, Fate::Recorded(_)));
}

#[test]
fn a_record_that_is_newer_than_the_journals_speaks_of_runs_that_went_with_the_power() {
    let newer = |run_id, phase| left(run_id, phase, 9).map(|left| Left { end_seq: 9, ..left });
    let missed = |run_id, start_recorded| Input::Missed { run_id, start_recorded };
    let journal = past(&[start(3, 7), end(4, 7, "crash", json!({})), start(5, 8)]);
    let (lost, run_id, ..) = begins(newer(9, SavedPhase::Down), &journal, "c");
    assert_eq!((lost, run_id), (vec![missed(8, true), missed(9, false)], 9));
    assert_eq!(begins(newer(9, SavedPhase::Down), &journal, "b").0, [], "a death of processes takes no line away");
    // The run that is open in the record is what `Begin` is about.
    let (lost, _, _, fate) = begins(newer(9, SavedPhase::Up(run(9))), &journal, "c");
    assert_eq!((lost, fate), (vec![missed(8, true)], Fate::Gone { start_recorded: false }));
    // It was up for so long that its start was dropped, and ended just before.
    let about = newer(9, SavedPhase::Spawning { automatic: true }).map(|left| Left { end_seq: 20, ..left });
    let (lost, run_id, phase, fate) = begins(about, &past(&[record(12, EventType::RunnerStarted, json!({}))]), "c");
    assert_eq!((lost, run_id), (vec![missed(9, true)], 9));
    assert_eq!((phase, fate), (SavedPhase::Spawning { automatic: true }, Fate::Gone { start_recorded: false }));
    // The next one was there already, and so what the record says of the journal is about that one.
    let next = newer(10, SavedPhase::Up(run(10))).map(|left| Left { start_seq: 20, end_seq: 20, ..left });
    let next = |safe_starts| next.clone().map(|left| Left { saved: Saved { safe_starts, ..left.saved }, ..left });
    assert_eq!(begins(next(9), &past(&[]), "c").0, [missed(9, true)]);
    assert_eq!(begins(next(8), &past(&[]), "c").0, [missed(9, false)]);
    // Its end was at 9 or later, and the journal begins at 12: it was taken in and dropped.
    assert_eq!(begins(newer(9, SavedPhase::Down), &past(&[start(12, 4)]), "c").0, []);
    // Of a service without any line only the last run is in question.
    assert_eq!(begins(newer(9, SavedPhase::Down), &past(&[]), "c").0, [missed(9, false)]);
}

#[test]
fn what_is_concluded_from_a_line_may_outlive_it() {
    let lines = [start(3, 7), end(9, 7, "crash", json!({}))];
    let seqs = |reader: &str, left: Option<Left>| {
        let mut past = Past::of(reader);
        lines.iter().for_each(|line| past.take("s", line));
        Takeover::new(&name(), left, &past, "b").seqs()
    };
    // The record was written before the end was.
    assert_eq!(seqs("s", up(7, 3)), (3, 9));
    assert_eq!(seqs("s", up(7, 5)), (5, 9));
    assert_eq!(seqs("s", None), (3, 9));
    assert_eq!(seqs("other", up(7, 3)), (0, 0), "they are about another journal");
    // It counts as taken in and dropped once the journal begins behind it, and not where only the power took it.
    let next = |reached: u64| {
        let left = left(7, SavedPhase::Spawning { automatic: true }, 3).map(|left| Left { end_seq: 9, ..left });
        begins(left, &past(&[record(reached, EventType::RunnerStarted, json!({}))]), "c").0
    };
    assert_eq!(next(8), [Input::Missed { run_id: 7, start_recorded: true }]);
    assert_eq!(next(10), []);
}
