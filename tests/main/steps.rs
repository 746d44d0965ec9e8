//! Built-in steps of calendar jobs, as their runs start them: `supervisor step TASK N`.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use supervisor::model::{EventType, Record, UnitName};
use supervisor::store::Ledger;

use super::support::{Env, try_wait, wait_for};
use super::tools::{run, service};

const JOB: &str = "[task.care]\ncalendar = [\"weekly Sun 03:00\"]\nsteps = [\n\
    { builtin = \"prune\", events = \"1d\" },\n{ builtin = \"vacuum\", backups = 2 },\n{ builtin = \"verify-backup\" },\n\
    { builtin = \"digest\" },\n{ builtin = \"rotate\" },\n{ builtin = \"doctor\" },\n{ run = [\"/usr/bin/true\"] },\n]\n";

const OLD_MS: i64 = 1_700_000_000_000;

/// So many records of long ago, some megabytes of them.
fn fill(env: &Env, first: u64, count: u64) {
    let long = "x".repeat(2000);
    let record = |seq: u64| Record {
        v: 1,
        boot_id: "boot".into(),
        seq,
        wall_ms: OLD_MS + i64::try_from(seq).unwrap(),
        boot_ns: seq,
        mono: None,
        event: EventType::ServiceStart,
        service: Some(UnitName::new("gateway").unwrap()),
        data: json!({"run_id": seq, "note": long}).as_object().unwrap().clone(),
    };
    let records: Vec<Record> = (first..first + count).map(record).collect();
    Ledger::open(&env.state_dir().join("observability.sqlite")).unwrap().ingest("old", &records).unwrap();
}

fn copies(env: &Env) -> Vec<String> {
    let entries = std::fs::read_dir(env.state_dir().join("supervisor/backups-db")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn without_a_database_there_is_nothing_to_do_and_without_a_copy_it_is_told_who_makes_one() {
    let other = "[task.other]\ncalendar = \"weekly Sun 03:00\"\nsteps = [{ builtin = \"verify-backup\" }]\n";
    let env = Env::new(&(JOB.to_owned() + other));
    let (out, _, code) = run(&env, &["step", "care", "2"]);
    assert!(code == 0 && out.contains("there is no database yet") && out.contains("nothing to vacuum"), "{out}");
    let (out, _, code) = run(&env, &["step", "care", "3"]);
    assert_eq!((out.as_str(), code), ("there is no database yet, so there is no copy of it to read\n", 0));
    fill(&env, 1, 1);
    let hint = |task: &str, step: &str| {
        let (_, err, code) = run(&env, &["step", task, step]);
        assert_eq!(code, 3, "{err}");
        err
    };
    let words = hint("care", "3");
    assert!(words.contains("its step 2 (vacuum) makes one, and did not: `supervisor logs care --stderr`"), "{words}");
    let words = hint("other", "1");
    assert!(words.contains("hint: `supervisor tasks run care` makes one, by its step `vacuum`"), "{words}");
    let steps = "steps = [{ builtin = \"verify-backup\" }, { builtin = \"vacuum\" }]\n";
    env.configure(&format!("[task.care]\ncalendar = \"weekly Sun 03:00\"\n{steps}"));
    assert!(hint("care", "1").contains("step 2 of care (vacuum) makes one, and comes after this one: put it before"));
    env.configure("[task.care]\ncalendar = \"weekly Sun 03:00\"\nsteps = [{ builtin = \"verify-backup\" }]\n");
    assert!(
        hint("care", "1").contains("nothing makes one: put a step { builtin = \"vacuum\" } before this one of care")
    );
}

#[test]
fn steps_do_their_work_and_tell_it() {
    let env = Env::new(JOB);
    fill(&env, 1, 50);
    let (out, err, code) = run(&env, &["step", "care", "2"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("read back: "), "{out}");
    let (out, _, code) = run(&env, &["step", "care", "3"]);
    assert!(code == 0 && out.contains("observability-"), "{out}");
    let (out, _, code) = run(&env, &["step", "care", "1"]);
    assert!(code == 0 && out.contains("events: 50 older than 1d removed"), "{out}");
    let (out, _, code) = run(&env, &["step", "care", "5"]);
    assert_eq!((out.as_str(), code), ("0 logs of more than 10.0 MiB put aside\n", 0));
    let (out, _, code) = run(&env, &["step", "care", "6"]);
    assert!(matches!(code, 0 | 3) && out.contains(" to be warned of, "), "{out}");
    for (args, words) in [
        (["step", "care", "7"], "is a program of its own"),
        (["step", "care", "8"], "care has no step 8"),
        (["step", "care", "0"], "care has no step 0"),
        (["step", "other", "1"], "no calendar job called other"),
    ] {
        let (_, err, code) = run(&env, &args);
        assert!(code == 2 && err.contains(words), "{args:?}: {err}");
    }
}

/// Whatever is cut off, the database is whole, the copies that have a name are whole, and the next run clears up.
#[test]
fn steps_that_are_killed_at_any_moment_lose_nothing() {
    let env = Env::new(JOB);
    fill(&env, 1, 6000);
    for round in 0..12_u64 {
        let step = if round % 3 == 2 { "1" } else { "2" };
        let mut child = env.command(&["step", "care", step]).stderr(Stdio::null()).spawn().unwrap();
        // Moments that differ from run to run, as machines do: no test of when, but of whatever is under way then.
        let at = Duration::from_millis(5 + round * 17 % 150);
        let ended = try_wait(at, || child.try_wait().unwrap());
        eprintln!("ROUND {round} {ended:?}");
        child.kill().ok();
        child.wait().unwrap();
        let db = env.db();
        let whole: String = db.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok", "after round {round}");
    }
    fill(&env, 10_000, 10);
    let (out, err, code) = run(&env, &["step", "care", "2"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let names = copies(&env);
    assert!(
        names.iter().all(|name| name == "lock" || (name.starts_with("observability-") && name.ends_with(".sqlite"))),
        "{names:?}"
    );
    assert!(names.len() <= 3, "{names:?}");
    let folder = env.state_dir().join("supervisor/backups-db");
    for name in names.iter().filter(|name| *name != "lock") {
        assert_eq!(supervisor::store::verify_copy(&folder.join(name)).unwrap().troubles, [""; 0], "{name}");
    }
    let (out, _, code) = run(&env, &["step", "care", "1"]);
    assert!(code == 0, "{out}");
    assert_eq!(env.rows("SELECT count(*) FROM supervisor_events"), [[json!(0)]]);
    assert_eq!(env.rows("SELECT count(*) FROM events"), [[json!(0)]]);
}

#[test]
fn a_digest_is_sent_once_for_its_slot_and_kept_until_it_can_be() {
    let env = Env::new(&(JOB.to_owned() + &service("a", "exec sleep 1000", "") + "[[alerts.sink]]\ntype = \"log\"\n"));
    let digest = || {
        let child = env
            .command(&["step", "care", "4"])
            .env("SUPERVISOR_SLOT", "20261122T030000Z")
            .stderr(Stdio::piped())
            .spawn();
        child.unwrap().wait_with_output().unwrap()
    };
    let told = || env.rows("SELECT count(*) FROM supervisor_outbox WHERE body LIKE '%\"rule\":\"weekly\"%'");
    let first = digest();
    let words = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(3), "{words}");
    let again = "hint: start the daemon (`supervisor run`), then `supervisor tasks run care --resume` sends it";
    assert!(words.contains("could not be sent") && words.contains(again), "{words}");
    let (_, words, code) = run(&env, &["step", "care", "4"]);
    assert!(code == 3 && words.contains("then `supervisor step care 4` sends it"), "{words}");
    env.start_daemon();
    env.wait_status("a", "up");
    for _ in 0..3 {
        assert_eq!(digest().status.code(), Some(0));
    }
    wait_for("the report on record", || (told() == [[json!(1)]]).then_some(()));
    let body = env.rows("SELECT body FROM supervisor_outbox WHERE body LIKE '%\"rule\":\"weekly\"%'");
    let body = body[0][0].as_str().unwrap();
    assert!(body.contains("a: up ") && body.contains("\"severity\":\"info\""), "{body}");
    let reports = std::fs::read_dir(env.state_dir().join("reports")).unwrap().count();
    assert_eq!(reports, 1);
}

#[test]
fn what_a_job_cannot_be_told_is_refused_and_a_reload_says_what_becomes_of_its_run() {
    let job = |name: &str, more: &str, script: &str| {
        format!(
            "[task.{name}]\ncalendar = \"weekly Sun 03:00\"\n{more}steps = [{{ run = [\"/bin/sh\", \"-c\", \"{script}\"] }}]\n"
        )
    };
    let off = job("off", "enabled = false\n", "true");
    let env = Env::new(&(job("long", "", "while [ ! -e {dir}/over ]; do sleep 0.05; done") + &off));
    env.start_daemon();
    let (out, _, code) = run(&env, &["restart", "long"]);
    assert!(code == 6 && out.contains("a calendar job is not restarted"), "{out}");
    let (out, _, code) = run(&env, &["start", "off"]);
    assert!(code == 6 && out.contains("disabled in services.toml"), "{out}");
    let (out, err, code) = run(&env, &["tasks", "run", "long", "--no-wait"]);
    assert_eq!(code, 0, "{out}{err}");
    env.configure(&off);
    let (out, _, code) = run(&env, &["reload"]);
    assert_eq!((out.as_str(), code), ("long: removed; its run goes on\n", 0));
    let (_, err, code) = run(&env, &["tasks", "long"]);
    assert!(code == 0 && err.contains("services.toml has no job long any more; its run goes on"), "{err}");
    std::fs::write(env.dir().join("over"), "").unwrap();
    let ran = || run(&env, &["tasks", "long"]).0.contains("  ran  ").then_some(());
    wait_for("the end of the run of a job that is gone", ran);
}

/// The first thing that anybody does on this machine: no daemon, no folder of state.
#[test]
fn a_job_is_run_by_hand_where_there_is_nothing_yet() {
    let env = Env::new("[task.first]\ncalendar = [\"weekly Sun 03:00\"]\nsteps = [{ run = [\"/usr/bin/true\"] }]\n");
    std::fs::remove_dir_all(env.state_dir()).ok();
    let (out, err, code) = run(&env, &["tasks", "run", "first"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("step 1: true ok") && out.contains("\nfirst: ran "), "{out}");
}
