//! `tasks`, and jobs in `status` and `why`.

use serde_json::{Value, json};

use super::{golden, usage};
use crate::cli::context::Tallies;
use crate::cli::testing::{Facts, NOW, name};
use crate::error::ErrorKind;
use crate::manager::job::tests::task;
use crate::model::{
    CalendarTable, Claim, ExposureSpec, Moment, Schedule, SlotEnd, SlotKey, SlotLine, SlotRow, SlotState, StepOutcome,
    StepRecord, Timing, Trigger,
};
use crate::process::testing::{Guard, sh};
use crate::process::{clock, identity};
use crate::slots::{Taken, TaskSlots};
use crate::store::LastSlots;

pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;

/// 2026-11-22 07:55 UTC, two hours and eight minutes ago.
pub(super) const DUE: i64 = NOW - 2 * HOUR - 8 * 60_000;

pub(super) fn daily() -> Vec<Schedule> {
    vec![Schedule::Table(CalendarTable { hour: Some(7), minute: Some(55), ..CalendarTable::default() })]
}

/// Something that is made to hold.
pub(super) fn exposure(service: &str) -> ExposureSpec {
    ExposureSpec::for_tests(service, "/bin/true")
}

pub(super) fn row(due_ms: i64, state: SlotState) -> SlotRow {
    let missed = matches!(state, SlotState::MissedAsleep | SlotState::MissedOff | SlotState::SkippedOverlap);
    let of_run = |value| Some(value).filter(|_| !missed);
    SlotRow {
        task: name("backup"),
        slot: SlotKey::Due(due_ms),
        due_ms,
        state: Some(state),
        trigger: Some(Trigger::Manager).filter(|_| !missed),
        timing: Some(Timing::InTime).filter(|_| !missed),
        started_ms: of_run(due_ms + 2000),
        ended_ms: Some(due_ms + 14_000),
        awake_ms: Some(12_000).filter(|_| !missed),
        frozen_ms: Some(0).filter(|_| !missed),
        why: String::new(),
        made_up_by: None,
        resumes: None,
        steps: Vec::new(),
        pid: Some(4711).filter(|_| !missed),
    }
}

pub(super) fn failed(due_ms: i64) -> SlotRow {
    let step = |step, what: &str, outcome, code, why: Option<&str>| StepRecord {
        step,
        what: what.into(),
        outcome,
        tries: u32::from(outcome != StepOutcome::Skipped),
        code,
        signal: None,
        awake_ms: if outcome == StepOutcome::Skipped { 0 } else { 6000 },
        why: why.map(Into::into),
        mark: None,
    };
    let steps = vec![
        step(1, "mkdir", StepOutcome::Ok, Some(0), None),
        step(2, "pg_dump", StepOutcome::Failed, Some(1), None),
        step(3, "upload", StepOutcome::Skipped, None, Some("the job had failed")),
    ];
    SlotRow { why: "step 2 (pg_dump): exit code 1".into(), steps, ..row(due_ms, SlotState::Failed) }
}

/// A job `backup` with these slots on record, a service, a job that has not run yet and one that is switched off.
pub(super) fn facts(rows: Vec<SlotRow>) -> Facts {
    let mut facts = Facts::new(&["gateway"]);
    let mut off = task("off", daily());
    off.enabled = false;
    let mut report =
        task("report", vec![Schedule::Table(CalendarTable { minute: Some(30), ..CalendarTable::default() })]);
    report.timezone = Some("Europe/Berlin".into());
    facts.declared().tasks = vec![task("backup", daily()), report, off];
    let mut tallies = Tallies::default();
    let ended = rows.last().cloned();
    tallies.last_slots.insert(name("backup"), LastSlots { ended, under_way: None });
    facts.tallies = Ok(Some(tallies));
    facts.slots = Some(rows);
    facts
}

fn claim(slot: SlotKey, pid: i32, start_token: u64) -> Claim {
    let at = Moment { wall_ms: slot.at_ms(), ..Moment::default() };
    let (trigger, timing) = (Trigger::Operator, Timing::InTime);
    Claim { slot, trigger, timing, pid, start_token, boot_id: clock::boot_id(), at, resumes: None }
}

/// Takes a slot of `backup` in the name of a process, and writes these lines.
fn take(facts: &Facts, claim: &Claim, lines: &[SlotLine]) {
    let slots = TaskSlots::of(&facts.paths(), &name("backup"));
    let Taken::Ours(mut holding) = slots.take(claim).unwrap() else { panic!("it was taken") };
    lines.iter().for_each(|line| holding.note(line).unwrap());
}

/// One that is under way, until the process ends.
pub(super) fn take_alive(facts: &Facts, slot: SlotKey, child: &Guard) {
    let token = identity::start_token(child.pid()).unwrap();
    take(facts, &claim(slot, child.pid(), token), &[SlotLine::Began(slot.at_ms() + 2000)]);
}

fn end(state: SlotState, why: &str) -> SlotLine {
    SlotLine::End(SlotEnd { state, why: why.into(), ended_ms: NOW, awake_ms: 12_000, frozen_ms: 0 })
}

/// launchd has the job.
pub(super) fn installed(facts: &Facts) {
    let job = json!({"label": "l.backup", "name": "backup", "role": "task", "files": []});
    let record = json!({
        "v": 1, "manager": "launchd", "embedded": false, "loaded": true, "folder": "/f", "tool": "/t", "program": "/p",
        "config": "/c", "home": "/h", "logs": "/l", "revive": [], "jobs": [job],
    });
    let record: crate::install::Record = serde_json::from_value(record).unwrap();
    record.write(&facts.paths()).unwrap();
}

pub(super) fn sleeper() -> Guard {
    Guard(sh("exec sleep 1000").spawn().unwrap())
}

#[test]
fn jobs_are_told_of_in_tables_that_fit() {
    let caught_up = SlotRow { started_ms: Some(DUE - DAY + HOUR), ..row(DUE - DAY, SlotState::CaughtUp) };
    let made_up = SlotRow {
        why: "the machine slept".into(),
        made_up_by: Some(SlotKey::Due(DUE - DAY)),
        ..row(DUE - 2 * DAY, SlotState::MissedAsleep)
    };
    let facts = facts(vec![row(DUE - 3 * DAY, SlotState::Ran), made_up, caught_up, failed(DUE)]);
    let mut text = String::new();
    for line in ["tasks", "tasks backup", "tasks backup -n 1", "tasks off", "tasks report", "why backup", "why report"]
    {
        let ran = facts.run(line);
        assert_eq!(ran.code, Ok(0), "{line}");
        text.push_str(&format!("$ supervisor {line}\n{}{}\n", ran.out, ran.notes));
    }
    golden("tasks.txt", &text);
    let coloured = facts.run("tasks --color always").out;
    assert!(coloured.contains("\u{1b}[31mfailed\u{1b}[0m"), "{coloured:?}");
}

#[test]
fn a_job_in_json_has_what_is_due_and_what_was() {
    let facts = facts(vec![row(DUE - DAY, SlotState::Ran), failed(DUE)]);
    let json = |line: &str| -> Value { serde_json::from_str(&facts.run(line).out).unwrap() };
    let all = json("--json tasks");
    assert_eq!((&all["schema"], all["jobs"].as_array().unwrap().len()), (&json!(1), 3));
    let job = &all["jobs"][0];
    let next: Vec<i64> = (1..=5).map(|n| DUE + n * DAY).collect();
    assert_eq!((&job["name"], &job["next_ms"]), (&json!("backup"), &json!(next)));
    assert_eq!((&job["last"]["state"], &job["running"]), (&json!("failed"), &Value::Null));
    assert_eq!(job["counts"], json!({"ran": 1, "failed": 1}));
    assert_eq!(
        (&job["calendar"], &all["jobs"][1]["timezone"]),
        (&json!(["every day at 07:55"]), &json!("Europe/Berlin"))
    );
    assert_eq!((&all["jobs"][2]["enabled"], &all["jobs"][2]["next_ms"]), (&json!(false), &json!([])));
    let one = json("--json tasks backup --since 12h");
    assert_eq!((one["jobs"].as_array().unwrap().len(), &one["jobs"][0]["counts"]), (1, &json!({"failed": 1})));
    assert_eq!(one["jobs"][0]["history"][0]["slot"], json!(SlotKey::Due(DUE)));
    assert_eq!(one["jobs"][0]["history"].as_array().unwrap().len(), 1);
}

#[test]
fn files_of_slots_are_ahead_of_the_ledger() {
    let facts = facts(vec![row(DUE - DAY, SlotState::Ran), row(DUE, SlotState::MissedOff)]);
    // One that is told to be missed and runs, one that has ended and is not in the ledger, one in the ledger as it is.
    let child = sleeper();
    take(&facts, &claim(SlotKey::Due(DUE - DAY), 1, 1), &[end(SlotState::Failed, "of another opinion")]);
    take_alive(&facts, SlotKey::Due(DUE), &child);
    take(&facts, &claim(SlotKey::Extra(NOW - 60_000), 1, 1), &[end(SlotState::Cancelled, "stopped by the operator")]);
    let json: Value = serde_json::from_str(&facts.run("--json tasks backup").out).unwrap();
    let history = json["jobs"][0]["history"].as_array().unwrap();
    let states: Vec<_> = history.iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, [json!("ran"), Value::Null, json!("cancelled")]);
    assert_eq!(json["jobs"][0]["running"]["pid"], child.pid());
    let out = facts.run("tasks").out;
    assert!(out.lines().any(|line| line.starts_with("backup  running  07:55  2h 7m  ")), "{out}");
    assert!(out.contains("\nbackup: it has been running for 2h 7m; step 1 goes on\n"), "{out}");
    let status: Value = serde_json::from_str(&facts.run("--json status backup").out).unwrap();
    assert_eq!(status["services"][0]["status"], "running");
    assert_eq!(status["services"][0]["pid"], child.pid());
    drop(child);
    // It has died without a word.
    let out = facts.run("tasks backup").out;
    assert!(out.contains("failed") && out.contains("nobody saw its end"), "{out}");
}

#[test]
fn names_that_are_no_jobs_are_told_with_what_was_meant() {
    let facts = facts(Vec::new());
    for line in ["tasks bakup", "tasks run bakup", "tasks stop bakup"] {
        assert_eq!(usage(&facts.run(line)).hint.as_deref(), Some("did you mean `backup`?"), "{line}");
        let ran = facts.run(&line.replace("bakup", "gateway"));
        let error = usage(&ran);
        assert_eq!(error.message, "gateway is a service, not a calendar job");
        assert!(error.hint.as_ref().unwrap().contains("`supervisor restart gateway`"), "{error:?}");
    }
    let mut exposing = Facts::new(&[]);
    exposing.declared().exposures = vec![exposure("expose")];
    for line in ["tasks expose", "tasks run expose", "tasks stop expose"] {
        let ran = exposing.run(line);
        let error = usage(&ran);
        assert!(error.message.starts_with("expose is no calendar job: it has `ensure`"), "{error:?}");
        assert!(error.hint.as_ref().unwrap().contains("`supervisor restart expose`"), "{error:?}");
    }
    let ran = Facts::new(&["gateway"]).run("tasks");
    assert!(ran.code == Ok(0) && ran.notes.contains("[task.NAME]"), "{ran:?}");
}

#[test]
fn status_tells_how_jobs_stand() {
    let status = |rows: Vec<SlotRow>| {
        let facts = facts(rows);
        installed(&facts);
        let json: Value = serde_json::from_str(&facts.run("--json status backup").out).unwrap();
        let info = json["services"][0].clone();
        assert_eq!(info["next_run_ms"], DUE + DAY);
        (info["status"].as_str().unwrap().to_owned(), info["why"].as_str().unwrap().to_owned())
    };
    let told = |status: &str, why: &str| (status.to_owned(), why.to_owned());
    assert_eq!(status(Vec::new()), told("scheduled", "launchd starts it: every day at 07:55; next tomorrow 07:55"));
    assert_eq!(
        status(vec![row(DUE, SlotState::Ran)]),
        told("scheduled", "ran 07:55 in 12s, well; next tomorrow 07:55")
    );
    assert_eq!(
        status(vec![failed(DUE)]),
        told("failed", "failed 07:55 after 12s: step 2 (pg_dump): exit code 1; next tomorrow 07:55")
    );
    let asleep = SlotRow { why: "the machine slept".into(), ..row(DUE, SlotState::MissedAsleep) };
    assert_eq!(status(vec![asleep.clone()]), told("failed", "missed 07:55: the machine slept; next tomorrow 07:55"));
    let made_up = SlotRow { made_up_by: Some(SlotKey::Due(DUE + 60_000)), ..asleep };
    assert_eq!(status(vec![made_up]).0, "scheduled");
    let why = "it took 5ms, less than its min_runtime of 10s".to_owned();
    let short = SlotRow { awake_ms: Some(5), why, ..row(DUE, SlotState::TooShort) };
    assert_eq!(
        status(vec![short]),
        told(
            "failed",
            "ran 07:55 in 5ms, suspiciously short: it took 5ms, less than its min_runtime of 10s; next tomorrow 07:55"
        )
    );
    let short = facts(vec![row(DUE, SlotState::TooShort)]).run("why backup").out;
    assert!(short.contains("`supervisor tasks run backup` runs it now"), "{short}");
    let late = SlotRow { started_ms: Some(DUE + HOUR), ..row(DUE, SlotState::Late) };
    assert_eq!(status(vec![late]), told("scheduled", "ran 08:55 in 12s, well, 1h late; next tomorrow 07:55"));
    let old = row(DUE - 40 * DAY, SlotState::Cancelled);
    assert_eq!(status(vec![old]).1, "cancelled 2026-10-13 07:55; next tomorrow 07:55");
    // A failed job is not in order; one that nobody starts neither.
    let one = facts(vec![failed(DUE)]);
    installed(&one);
    assert_eq!(one.run("status backup").code, Ok(3));
    let nobody = facts(Vec::new()).run("status backup");
    assert!(nobody.code == Ok(3) && nobody.out.contains("nobody starts it, as no daemon is running"), "{nobody:?}");
}

#[test]
fn a_run_by_hand_is_waited_for() {
    let run = |line: &str, state: SlotState| {
        let facts = facts(vec![failed(DUE)]);
        let slot = SlotKey::Extra(NOW);
        let step = failed(DUE).steps.remove(0);
        take(&facts, &claim(slot, 1, 1), &[SlotLine::Began(NOW), SlotLine::Step(step), end(state, "")]);
        let heard = facts.daemon(&[("POST /v1/tasks/run ", 200, json!({"slot": slot, "pid": 4711}).to_string())]);
        (facts.run(line), heard.all())
    };
    let (ran, heard) = run("tasks run backup", SlotState::Ran);
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), "step 1: mkdir ok after 6s\nbackup: ran 10:03 in 12s, well\n"));
    assert!(heard[0].ends_with(r#"{"name":"backup"}"#), "{heard:?}");
    assert_eq!(run("tasks run backup", SlotState::Failed).0.code, Ok(3));
    let again = |tries| {
        let facts = facts(Vec::new());
        let slot = SlotKey::Extra(NOW);
        let step = StepRecord { tries, ..failed(DUE).steps.remove(1) };
        take(&facts, &claim(slot, 1, 1), &[SlotLine::Began(NOW), SlotLine::Step(step), end(SlotState::Failed, "")]);
        let _heard = facts.daemon(&[("POST /v1/tasks/run ", 200, json!({"slot": slot, "pid": 4711}).to_string())]);
        facts.run("tasks run backup").out
    };
    assert!(again(1).starts_with("step 2: pg_dump failed after 6s: exit code 1\n"));
    assert!(again(3).starts_with("step 2: pg_dump failed after 6s: exit code 1 (3 tries)\n"));
    assert_eq!(run("tasks run backup --no-wait", SlotState::Failed).0.out, "backup: started, pid 4711\n");
    let (ran, heard) = run("--json tasks run backup", SlotState::TooShort);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["state"], "too-short");
    assert_eq!((ran.code, heard.len()), (Ok(3), 1));
}

#[test]
fn a_run_goes_on_only_with_one_that_failed() {
    let facts_of = |rows| {
        let facts = facts(rows);
        let reply = json!({"slot": SlotKey::Extra(NOW), "pid": 4711}).to_string();
        (facts.daemon(&[("POST /v1/tasks/run ", 200, reply)]), facts)
    };
    let (heard, facts) = facts_of(vec![failed(DUE), row(DUE + 60_000, SlotState::MissedOff)]);
    assert_eq!(facts.run("tasks run backup --resume --no-wait").code, Ok(0));
    assert!(heard.all()[0].ends_with(r#"{"name":"backup","resume":"20261122T075500Z"}"#), "{:?}", heard.all());
    for (rows, why) in [
        (vec![failed(DUE - DAY), row(DUE, SlotState::Ran)], "has no failed step to go on with: it ran 07:55"),
        (vec![row(DUE, SlotState::MissedOff)], "has not run yet"),
    ] {
        let (heard, facts) = facts_of(rows);
        let error = facts.run("tasks run backup --resume").code.unwrap_err();
        assert!(error.kind == ErrorKind::Refused && error.message.contains(why), "{error:?}");
        assert!(heard.all().is_empty());
    }
}

#[test]
fn a_job_runs_once_at_a_time_and_not_while_it_is_switched_off() {
    let facts = facts(Vec::new());
    let child = sleeper();
    take_alive(&facts, SlotKey::Due(DUE), &child);
    let error = facts.run("tasks run backup").code.unwrap_err();
    assert_eq!((error.kind, error.message), (ErrorKind::Refused, format!("backup runs already (pid {})", child.pid())));
    let error = facts.run("tasks run off").code.unwrap_err();
    assert!(error.kind == ErrorKind::Refused && error.message.contains("enabled = false"), "{error:?}");
}

#[test]
fn a_run_that_ends_before_it_has_begun_is_told_with_what_it_said() {
    // What is started here is this test program, which knows no such option.
    let error = facts(Vec::new()).run("tasks run backup").code.unwrap_err();
    assert!(error.message.starts_with("backup was not run: "), "{error:?}");
    assert!(error.message.contains("config"), "{error:?}");
}

#[test]
fn a_run_is_ended_by_a_word() {
    let facts = facts(Vec::new());
    let error = facts.run("tasks stop backup").code.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Refused, "no run of backup is under way"));
    let mut child = sleeper();
    let slot = SlotKey::Due(DUE);
    take_alive(&facts, slot, &child);
    let ran = facts.run("tasks stop backup");
    // This one dies of it without a word.
    assert_eq!((ran.code, child.0.wait().unwrap().code()), (Ok(0), None));
    assert!(ran.out.starts_with("backup: failed 07:55: interrupted"), "{}", ran.out);
    let why = TaskSlots::of(&facts.paths(), &name("backup")).stop_asked(slot);
    assert_eq!(why.map(|note| (note.why, note.at_once)), Some(("stopped by the operator".into(), false)));
}
