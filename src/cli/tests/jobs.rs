//! What is told of calendar jobs beside how they run: their times, those that are gone or held back, what `check` and `uninstall` say.

use serde_json::{Value, json};

use super::tasks::{DAY, DUE, HOUR, daily, exposure, facts, failed, installed, row, sleeper, take_alive};
use super::usage;
use crate::cli::testing::{Facts, NOW, name};
use crate::model::{CalendarTable, ExposureSpec, Intent, Schedule, SlotKey, SlotRow, SlotState, Trigger};
use crate::process::intent;

#[test]
fn a_jobs_times_are_those_of_its_own_zone_everywhere() {
    let mut facts = facts(vec![row(DUE, SlotState::Ran)]);
    facts.declared().tasks[0].timezone = Some("Asia/Tokyo".into());
    let out = |line: &str| facts.run(line).out;
    for (line, words) in [
        ("tasks", "backup  ran   16:55 JST"),
        ("tasks backup", "Its last run: ran 16:55 JST in 12s, well"),
        ("tasks backup", "\n2026-11-22 16:55 JST  ran"),
        ("why backup", "ran 16:55 JST in 12s"),
        ("status backup", "next run   2026-11-23 07:55 JST"),
    ] {
        let told = out(line);
        assert!(told.contains(words), "{line}: {told}");
    }
}

#[test]
fn an_extra_run_is_named_and_is_no_slot_that_was_due() {
    let slot = SlotKey::Extra(NOW - 60_000);
    let extra = SlotRow { slot, trigger: Some(Trigger::Operator), ..failed(slot.at_ms()) };
    let both = facts(vec![row(DUE, SlotState::Ran), extra]);
    let out = both.run("tasks backup").out;
    assert!(out.contains("Its last run: failed 10:02") && !out.contains("was due:"), "{out}");
    assert!(out.contains(&format!("step 2 (pg_dump): exit code 1; run {slot}")), "{out}");
    assert!(out.contains(&format!("steps of the run of Sun 2026-11-22 10:02 UTC ({slot})")), "{out}");
    let missed = SlotRow { why: "the machine slept".into(), ..row(DUE, SlotState::MissedAsleep) };
    let out = facts(vec![missed]).run("tasks backup").out;
    assert!(out.contains("The last time it was due: missed 07:55"), "{out}");
}

#[test]
fn of_a_job_that_is_held_back_no_time_to_come_is_told() {
    let facts = facts(vec![row(DUE, SlotState::Ran)]);
    installed(&facts);
    assert!(facts.run("tasks backup").out.contains("\nnext  Mon 2026-11-23 07:55"));
    let held = Intent { up: false, by: "operator".into(), since_ms: NOW - HOUR };
    intent::write(&facts.paths(), &name("backup"), &held).unwrap();
    let out = facts.run("tasks backup").out;
    assert!(
        !out.contains("\nnext") && out.contains("its slots are cancelled until `supervisor start backup`"),
        "{out}"
    );
    assert!(facts.run("tasks").out.contains("  held back  every day at 07:55\n"));
    let json: Value = serde_json::from_str(&facts.run("--json tasks").out).unwrap();
    assert_eq!((&json["jobs"][0]["next_ms"], &json["jobs"][1]["next_ms"][0]), (&json!([]), &json!(NOW + 27 * 60_000)));
    let out = facts.run("status backup").out;
    assert!(!out.contains("next run") && !out.contains("ends"), "{out}");
}

#[test]
fn a_job_that_is_gone_has_its_history() {
    let mut facts = facts(vec![row(DUE - DAY, SlotState::Ran), failed(DUE)]);
    facts.declared().tasks.retain(|task| task.name.as_str() != "backup");
    let ran = facts.run("tasks backup");
    assert_eq!(ran.code, Ok(0));
    assert!(ran.notes.contains("services.toml has no job backup any more; this is what is on record"), "{}", ran.notes);
    assert!(ran.out.contains("\n2026-11-22 07:55  failed  in time  12s"), "{}", ran.out);
    assert!(ran.out.contains("steps of the run of 2026-11-22 07:55 (20261122T075500Z)"), "{}", ran.out);
    let json: Value = serde_json::from_str(&facts.run("--json tasks backup").out).unwrap();
    assert_eq!(
        (&json["jobs"][0]["declared"], json["jobs"][0]["history"].as_array().unwrap().len()),
        (&json!(false), 2)
    );
    // Of what has no slots the name is told as before; and nothing runs it.
    usage(&facts.run("tasks bakup"));
    usage(&facts.run("tasks run backup"));
    let child = sleeper();
    take_alive(&facts, SlotKey::Due(NOW - 60_000), &child);
    assert!(facts.run("tasks backup").notes.contains("; its run goes on; "));
    // It can be ended all the same; this one dies of it without a word.
    assert_eq!(facts.run("tasks stop backup").code, Ok(0));
    usage(&facts.run("tasks stop backup"));
}

#[test]
fn an_uninstall_undoes_what_was_made_to_hold_or_tells_how() {
    let place = || {
        let facts = Facts::new(&[]);
        installed(&facts);
        let path = facts.paths().installed();
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        record["jobs"] = json!([]);
        std::fs::write(path, record.to_string()).unwrap();
        for (service, undo) in [("with", Some(vec!["/bin/undo".to_owned(), "it's".to_owned()])), ("without", None)] {
            let made = ExposureSpec { undo, ..exposure(service) };
            let saved = json!({"boot_id": "b", "made": made, "up_since_ms": 1});
            std::fs::create_dir_all(facts.paths().service(&name(service))).unwrap();
            std::fs::write(facts.paths().exposure(&name(service)), saved.to_string()).unwrap();
        }
        facts
    };
    let facts = place();
    let ran = facts.run("uninstall");
    assert_eq!(ran.code, Ok(0), "{ran:?}");
    assert!(ran.notes.contains("with still holds and was not undone"), "{}", ran.notes);
    assert!(ran.notes.contains(r"this undoes it: /bin/undo 'it'\''s'"), "{}", ran.notes);
    assert!(ran.notes.contains("without has no `undo`: what `/bin/true` has made stays as it is"), "{}", ran.notes);
    let facts = place();
    let outcomes = json!({"outcomes": [{"name": "with", "ok": true, "text": "undone", "view": null}]}).to_string();
    let heard = facts.daemon(&[("POST /v1/order ", 200, outcomes)]);
    let ran = facts.run("uninstall");
    assert!(heard.all()[0].ends_with(r#"{"verb":"stop","names":["with"],"wait":true}"#), "{:?}", heard.all());
    assert!(ran.out.starts_with("with: undone\n") && !ran.notes.contains("with still"), "{ran:?}");
    // This daemon writes nothing down: what stands there is what was put back.
    assert!(facts.paths().intent(&name("with")).exists());
    assert!(intent::read(&facts.paths(), &name("with")).up, "whoever installs it again wants it");
    assert!(!place().run("uninstall --dry-run").notes.contains("holds"));
}

#[test]
fn check_says_what_a_table_without_a_minute_means() {
    let mut facts = facts(Vec::new());
    let hourly = CalendarTable { hour: Some(3), ..CalendarTable::default() };
    facts.declared().tasks[0].calendar = vec![Schedule::Table(hourly)];
    facts.declared().tasks[1].calendar =
        vec![Schedule::Table(CalendarTable { weekday: Some(1), ..CalendarTable::default() })];
    let out = facts.run("check").out;
    assert!(out.contains("backup: every minute from 03:00 to 03:59; next tomorrow 03:00"), "{out}");
    assert!(out.contains("note: backup: { hour = 3 } without a minute is due each minute then"), "{out}");
    assert!(out.contains("note: report: a table without a minute is due each minute then"), "{out}");
    assert!(out.contains("write `hour = 0, minute = 0` with it if once is meant"), "{out}");
    facts.declared().tasks[0].calendar = daily();
    assert!(!facts.run("check").out.contains("note: backup: { hour"));
    // Of both commands the same is wrong.
    let ensure = vec!["/nowhere/tool".to_owned()];
    facts.declared().exposures = vec![ExposureSpec { undo: Some(ensure.clone()), ensure, ..exposure("expose") }];
    let out = facts.run("check").out;
    assert_eq!(out.matches("/nowhere/tool does not exist").count(), 1, "{out}");
}
