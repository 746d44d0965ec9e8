//! Calendar jobs in the daemon: started, held back, asked for, killed, accounted for.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use supervisor::model::paths::Paths;
use supervisor::model::{Claim, SlotFile, SlotState, Timing, Trigger};
use supervisor::process::{clock, identity};
use supervisor::slots::Taken;

use super::support::{Env, pid_of, signal, wait_for};
use super::tasks::{due, only, runs, sh, slots, with_due_slot};
use super::tools::number_in;

/// Rows of the ledger's slots, by time: slot, state, why.
fn rows(env: &Env) -> Vec<(String, Option<String>, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = env.rows("SELECT slot, state, why FROM supervisor_slots WHERE task = 'job' ORDER BY due_ms, slot");
    rows.iter().map(|row| (text(&row[0]), row[1].as_str().map(str::to_owned), text(&row[2]))).collect()
}

/// The rows, once each has its end and there are so many.
fn ended(env: &Env, count: usize) -> Vec<(String, Option<String>, String)> {
    wait_for(&format!("{count} slots that have ended"), || {
        Some(rows(env)).filter(|rows| rows.len() >= count && rows.iter().all(|row| row.1.is_some()))
    })
}

fn events(env: &Env, event: &str) -> Vec<Vec<Value>> {
    env.rows(&format!("SELECT metadata FROM supervisor_events WHERE event_type = '{event}' ORDER BY id"))
}

fn own_log(env: &Env) -> String {
    std::fs::read_to_string(Paths::new(&env.state_dir()).own_log()).unwrap_or_default()
}

fn running(env: &Env) -> SlotFile {
    wait_for("a run under way", || runs(env).into_iter().find(|run| run.running && run.began_ms.is_some()))
}

#[test]
fn the_daemon_starts_what_is_due_once_whoever_dies() {
    let env = with_due_slot(&[sh("echo ran >> {dir}/ran; sleep 1", "")], "");
    env.start_daemon();
    running(&env);
    // The run needs no daemon, and the next daemon no second run.
    env.kill_daemon();
    env.start_daemon();
    assert_eq!(ended(&env, 1), [(due().to_string(), Some("ran".into()), String::new())]);
    env.kill_daemon();
    env.start_daemon();
    wait_for("it is accounted for", || {
        slots(&env).accounted().unwrap().filter(|known| known.through_ms > due().at_ms())
    });
    assert_eq!(std::fs::read_to_string(env.dir().join("ran")).unwrap(), "ran\n");
    assert_eq!((events(&env, "task_started").len(), events(&env, "task_finished").len()), (1, 1));
    assert_eq!(only(&env).claim.trigger, Trigger::Daemon);
    let job = env.service("job");
    assert_eq!(job["status"], "scheduled", "{job:#}");
    assert!(job["next_run_ms"].is_i64(), "{job:#}");
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn a_run_that_is_killed_is_on_record_as_cut_off_and_leaves_nothing() {
    let env = with_due_slot(
        &[sh("trap '' TERM; echo $$ > {dir}/pid; while :; do sleep 0.1; done", "")],
        "stop_timeout = \"1s\"",
    );
    env.start_daemon();
    let run = running(&env);
    let step: i32 = wait_for("its step", || std::fs::read_to_string(env.dir().join("pid")).ok()?.trim().parse().ok());
    signal(run.claim.pid, Signal::SIGKILL);
    let rows = ended(&env, 1);
    assert_eq!(rows[0].1.as_deref(), Some("failed"), "{rows:?}");
    assert!(rows[0].2.contains("interrupted: its process was killed"), "{rows:?}");
    wait_for("its end in its file", || only(&env).end.filter(|end| end.state == SlotState::Failed));
    wait_for("the end of what it left", || (!alive(step)).then_some(()));
    assert_eq!(events(&env, "task_finished").len(), 1);
    let job = env.wait_status("job", "failed");
    assert!(job["why"].as_str().unwrap().contains("interrupted"), "{job:#}");
    assert_eq!(env.stop_daemon(), Some(0));
}

fn alive(pid: i32) -> bool {
    matches!(supervisor::process::identity::state(pid), supervisor::process::identity::State::Running(_))
}

#[test]
fn a_job_that_is_held_back_runs_when_a_person_says_so_only() {
    let job = |more: &str| {
        let steps = sh("echo ran >> {dir}/ran", "");
        format!("[task.job]\ncalendar = [\"monthly 1 00:00\"]\nsteps = [{steps}]\n{more}\n")
    };
    let env = Env::new(&job("enabled = false"));
    let stop = env.cli(&["stop", "job"]);
    assert_eq!(stop.status.code(), Some(4), "without a daemon there is nobody to tell");
    env.start_daemon();
    let refused = env.cli(&["tasks", "run", "job"]);
    assert_eq!(refused.status.code(), Some(6), "{}", String::from_utf8_lossy(&refused.stderr));
    env.configure(&job(""));
    assert_eq!(env.cli(&["reload"]).status.code(), Some(0));
    assert_eq!(env.cli(&["stop", "job"]).status.code(), Some(0));
    let held = env.service("job");
    assert_eq!(held["status"], "down", "{held:#}");
    let run = env.cli(&["tasks", "run", "job"]);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(std::fs::read_to_string(env.dir().join("ran")).unwrap(), "ran\n");
    assert_eq!(env.cli(&["start", "job"]).status.code(), Some(0));
    env.wait_status("job", "scheduled");
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn runs_end_with_the_daemon_that_started_them() {
    let env = with_due_slot(&[sh("exec sleep 1000", "")], "");
    env.start_daemon();
    running(&env);
    let other = env.cli(&["tasks", "run", "job", "--no-wait"]);
    assert_eq!(other.status.code(), Some(6), "one at a time");
    assert_eq!(env.stop_daemon(), Some(0));
    let end = only(&env).end.unwrap();
    assert_eq!((end.state, end.why.as_str()), (SlotState::Cancelled, "the supervisor was stopped"));
    assert_eq!(env.processes().len(), 0);
    env.start_daemon();
    let rows = ended(&env, 1);
    assert_eq!(rows[0].1.as_deref(), Some("cancelled"));
    assert_eq!(env.stop_daemon(), Some(0));
}

/// The job is due each minute, and nobody has looked for ten.
fn ten_minutes_unseen() -> Env {
    let env = Env::new(
        "[task.job]\ncalendar = [\"* * * * *\"]\nsteps = [{ run = [\"/bin/sh\", \"-c\", \"echo ran >> {dir}/ran\"] }]\ncatch_up = \"skip\"\nstart_within = \"5m\"\n",
    );
    let now = clock::now().wall_ms;
    let accounted = supervisor::model::Accounted {
        v: 1,
        through_ms: now / 60_000 * 60_000 - 10 * 60_000 + 1,
        open_ms: None,
        calendar: fleet(&env).tasks[0].calendar.clone(),
        timezone: None,
    };
    slots(&env).account(&accounted).unwrap();
    env
}

/// Its slots, once those that were missed are on record.
fn nine_missed(env: &Env) {
    let told = wait_for("nine slots", || Some(rows(env)).filter(|rows| rows.len() >= 9));
    let missed = told.iter().filter(|row| row.1.as_deref() == Some("missed-off")).count();
    assert!((9..=10).contains(&missed), "{told:#?}");
}

#[test]
fn slots_that_nobody_ran_are_told_once() {
    let env = ten_minutes_unseen();
    env.start_daemon();
    nine_missed(&env);
    env.kill_daemon();
    env.start_daemon();
    let told = events(&env, "task_missed");
    let count: i64 = told
        .iter()
        .map(|row| serde_json::from_str::<Value>(row[0].as_str().unwrap()).unwrap()["count"].as_i64().unwrap())
        .sum();
    assert!((9..=10).contains(&count), "{told:#?}");
    // Told once, though the daemon that told it first was killed.
    let alerts = wait_for("an alert", || {
        let alerts = env.rows("SELECT rule FROM supervisor_alerts WHERE service = 'job'");
        (!alerts.is_empty()).then_some(alerts)
    });
    assert_eq!(alerts, [[json!("task-missed")]]);
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn nothing_is_accounted_for_while_the_journal_takes_nothing() {
    let env = ten_minutes_unseen();
    let before = slots(&env).accounted().unwrap().unwrap();
    let journal = Paths::new(&env.state_dir()).runners().join("_daemon.journal");
    std::fs::create_dir_all(&journal).unwrap();
    env.start_daemon();
    wait_for("the refusal in its log", || own_log(&env).contains("cannot be written down").then_some(()));
    assert_eq!(slots(&env).accounted().unwrap().unwrap(), before);
    std::fs::remove_dir(&journal).unwrap();
    nine_missed(&env);
    wait_for("it is accounted for", || {
        slots(&env).accounted().unwrap().filter(|known| known.through_ms > before.through_ms)
    });
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process that stands for a run")]
fn a_run_that_just_begins_is_ended_by_a_stop_too() {
    let env = with_due_slot(&[sh("true", "")], "");
    let files = slots(&env);
    // As a run that has seen that the job is not held back, and is about to take its slot.
    let alone = files.alone_soon().unwrap();
    env.start_daemon();
    let mut run = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let pid = pid_of(&run);
    let claim = Claim {
        slot: due(),
        trigger: Trigger::Manager,
        timing: Timing::InTime,
        pid,
        start_token: identity::start_token(pid).unwrap(),
        boot_id: clock::boot_id(),
        at: clock::now(),
        resumes: None,
    };
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| env.cli(&["stop", "job"]));
        wait_for("the order", || own_log(&env).contains("operator: stop").then_some(()));
        assert!(matches!(files.take(&claim).unwrap(), Taken::Ours(_)));
        drop(alone);
        let ended = scope.spawn(move || run.wait().unwrap());
        let stopped = stop.join().unwrap();
        let text = String::from_utf8_lossy(&stopped.stdout).into_owned();
        assert!(stopped.status.code() == Some(0) && text.contains("its run was ended"), "{text}");
        assert_eq!(ended.join().unwrap().signal(), Some(Signal::SIGTERM as i32));
    });
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn a_job_that_is_removed_is_looked_after_until_nothing_of_it_is_open() {
    let env = with_due_slot(&[sh("exec sleep 1000", "")], "");
    env.start_daemon();
    let run = running(&env);
    env.configure("");
    assert_eq!(env.cli(&["reload"]).status.code(), Some(0));
    assert!(only(&env).running, "the run goes on");
    signal(run.claim.pid, Signal::SIGKILL);
    let rows = ended(&env, 1);
    assert_eq!(rows[0].1.as_deref(), Some("failed"), "{rows:?}");
    wait_for("it is forgotten", || own_log(&env).contains("it is forgotten").then_some(()));
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn what_was_open_of_a_job_that_was_removed_while_nobody_looked_has_its_end() {
    let env = with_due_slot(&[sh("echo $$ > {dir}/pid; exec sleep 1000", "")], "");
    env.start_daemon();
    let run = running(&env);
    let step = number_in(&env, "pid");
    env.kill_daemon();
    signal(run.claim.pid, Signal::SIGKILL);
    env.configure("");
    env.start_daemon();
    let rows = ended(&env, 1);
    assert_eq!(rows[0].1.as_deref(), Some("failed"), "{rows:?}");
    wait_for("the end of what it left", || (!alive(step)).then_some(()));
    assert_eq!(env.stop_daemon(), Some(0));
    // And one that was due and that nobody started is told.
    let env = with_due_slot(&[sh("true", "")], "");
    env.configure("");
    env.start_daemon();
    let rows = ended(&env, 1);
    assert_eq!(rows[0].0, due().to_string(), "{rows:?}");
    assert_eq!(env.stop_daemon(), Some(0));
}

fn fleet(env: &Env) -> supervisor::model::Fleet {
    let around = supervisor::config::Surroundings { home: env.dir().into(), vars: [].into(), state_dir: None };
    supervisor::config::parse(&supervisor::config::read(&env.config()).unwrap(), &around).fleet.unwrap()
}
