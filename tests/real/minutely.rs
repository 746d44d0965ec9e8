//! A job each minute, for minutes, while the daemon is killed: every slot is run once, and on record once. `SUPERVISOR_JOB_MINUTES`
//! (10) says for how long.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Env, signal, wait_for, wait_within};
use crate::systemd::manager::UserManager;

const MINUTE: Duration = Duration::from_secs(60);

const TICK: &str = r#"
[task.tick]
calendar = ["* * * * *"]
steps = [{ run = ["/bin/sh", "-c", "echo $SUPERVISOR_SLOT >> {dir}/ticks; sleep 2"] }]
start_within = "20s"
"#;

fn minutes() -> u32 {
    std::env::var("SUPERVISOR_JOB_MINUTES").map_or(10, |text| text.parse().unwrap())
}

fn now() -> Duration {
    Duration::from_millis(u64::try_from(supervisor::process::clock::now().wall_ms).unwrap())
}

/// Waits until the machine's clock says so.
fn until(time: Duration) {
    wait_within("that time", time.saturating_sub(now()) + MINUTE, || (now() >= time).then_some(()));
}

/// The beginning of the minute after this one, since 1970.
fn next_minute() -> Duration {
    Duration::from_secs((now().as_secs() / 60 + 1) * 60)
}

/// Every minute from `first` on has its row, once, and its run, once; what the rows say.
fn accounted(env: &Env, first: Duration, count: u32) -> BTreeMap<String, u32> {
    let from = i64::try_from(first.as_millis()).unwrap();
    let to = from + i64::from(count) * 60_000;
    let query = format!(
        "SELECT slot, due_ms, state FROM supervisor_slots WHERE task = 'tick' AND due_ms >= {from} AND due_ms < {to} ORDER BY due_ms"
    );
    let is_whole = |rows: &[Vec<Value>]| rows.len() == count as usize && rows.iter().all(|row| !row[2].is_null());
    let rows = wait_within("an end for each slot", 2 * MINUTE, || Some(env.rows(&query)).filter(|rows| is_whole(rows)));
    let mut states = BTreeMap::new();
    let ticks = std::fs::read_to_string(env.dir().join("ticks")).unwrap();
    for (row, due) in rows.iter().zip((from..).step_by(60_000)) {
        assert_eq!(row[1], due, "{rows:?}");
        let name = row[0].as_str().unwrap();
        assert_eq!(ticks.lines().filter(|line| *line == name).count(), 1, "{name} in:\n{ticks}\n{rows:?}");
        *states.entry(row[2].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let ends = env.rows("SELECT metadata ->> 'slot', count(*) AS n FROM supervisor_events WHERE event_type = 'task_finished' GROUP BY 1 HAVING n > 1");
    assert_eq!(ends, Vec::<Vec<Value>>::new(), "ends on record twice");
    states
}

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn every_slot_runs_once_under_the_embedded_manager() {
    let env = Env::new(TICK);
    env.start_daemon();
    let (first, count) = (next_minute(), minutes());
    // Just before a slot: nobody is there to start it; and in the moment in which it is started.
    until(first + MINUTE * (count / 3) - Duration::from_millis(300));
    env.kill_daemon();
    until(first + MINUTE * (count / 3) + Duration::from_secs(5));
    env.start_daemon();
    until(first + MINUTE * (2 * count / 3) + Duration::from_millis(30));
    env.kill_daemon();
    env.start_daemon();
    until(first + MINUTE * count);
    let states = accounted(&env, first, count);
    println!("embedded: {states:?}");
    assert_eq!(states, [("ran".to_owned(), count)].into());
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
#[ignore = "takes minutes, and needs a systemd --user of its own; .ci/run runs it"]
fn every_slot_runs_once_under_systemd() {
    let env = Env::new("");
    let tick = TICK.replace("{dir}", &env.dir().display().to_string());
    env.write_config(&format!("[supervisor]\nstate_dir = \"{}\"\n{tick}", env.state_dir().display()));
    let manager = UserManager::start(&env);
    let install = |args: &[&str]| {
        let mut command = manager.command(Path::new(env!("CARGO_BIN_EXE_supervisor")));
        let output = command.arg("--config").arg(env.config()).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    install(&["install"]);
    let (first, count) = (next_minute(), minutes());
    for third in [1, 2] {
        until(first + MINUTE * (third * count / 3) - Duration::from_millis(300) * (2 - third));
        let daemon = wait_for("a daemon", || i32::try_from(env.try_status()?["daemon"]["pid"].as_i64()?).ok());
        signal(daemon, Signal::SIGKILL);
    }
    until(first + MINUTE * count);
    let states = accounted(&env, first, count);
    println!("systemd: {states:?}");
    assert_eq!(states, [("ran".to_owned(), count)].into());
    let by: Vec<Vec<Value>> = env.rows("SELECT \"trigger\", count(*) FROM supervisor_slots WHERE extra = 0 GROUP BY 1");
    println!("started by: {by:?}");
    assert!(by.iter().any(|row| row[0] == "manager"), "systemd started none: {by:?}");
    install(&["uninstall"]);
}
