//! What a runner leaves undone its successor does; nothing is started twice, nothing is left over, nothing is forgotten.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Child;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Env, Guard, pid_of, signal, wait_for};

/// A script that says in `{dir}/starts` that it was started, and then does `body`.
fn script(env: &Env, name: &str, body: &str) {
    let starts = env.dir().join("starts");
    env.script(name, &format!("echo {name} $$ >> {}\n{body}", starts.display()));
}

/// The pids of all starts of `name`, in order.
fn starts(env: &Env, name: &str) -> Vec<i32> {
    let text = std::fs::read_to_string(env.dir().join("starts")).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok()).collect()
}

fn service(name: &str, more: &str) -> String {
    format!("[service.{name}]\ncommand = [\"{{dir}}/{name}\"]\nstop_timeout = \"1s\"\ndrain_timeout = \"1s\"\n{more}\n")
}

/// A process that leaves group and session of the script it stands in and takes no SIGTERM; its pid goes into `{dir}/stray`.
#[cfg(target_os = "linux")]
fn stray(env: &Env) -> String {
    let path = env.dir().join("stray");
    let say = format!("trap '' TERM; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 0.1; done", path.display());
    format!(
        "setsid /bin/sh -c \"{}\" &\nwhile [ ! -e {} ]; do sleep 0.01; done",
        say.replace('$', "\\$"),
        path.display()
    )
}

#[cfg(target_os = "linux")]
fn stray_pid(env: &Env) -> Option<i32> {
    std::fs::read_to_string(env.dir().join("stray")).ok()?.trim().parse().ok()
}

fn lives(env: &Env, pid: i32) -> bool {
    env.processes().iter().any(|p| p.pid == pid)
}

fn kill_runner(env: &Env) {
    let pid = env.runner_pid().expect("a runner lives");
    signal(pid, Signal::SIGKILL);
    wait_for("the runner's death", || (!lives(env, pid)).then_some(()));
}

#[test]
fn a_shutdown_that_was_cut_off_does_not_keep_a_service_down() {
    let env = Env::new(&service("a", "stop_timeout = \"60s\"").replace("stop_timeout = \"1s\"\n", ""));
    script(&env, "a", "trap '' TERM\nwhile :; do sleep 0.05; done");
    let daemon = env.start_daemon();
    env.wait_status("a", "up");
    signal(daemon, Signal::SIGTERM);
    env.wait_status("a", "stopping");
    env.kill_daemon();
    kill_runner(&env);
    env.configure(&service("a", ""));
    env.start_daemon();
    wait_for("a second run", || (env.service("a")["run_id"] == 2).then_some(()));
    env.wait_status("a", "up");
    assert_eq!(starts(&env, "a").len(), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_no_longer_declared_is_ended_and_not_started_though_only_a_descendant_lives() {
    let b = service("b", "");
    let env = Env::new(&(service("a", "") + &b));
    script(&env, "a", &format!("{}\nwhile :; do sleep 0.05; done", stray(&env)));
    script(&env, "b", "exec sleep 1000");
    env.start_daemon();
    env.wait_status("a", "up");
    let stray = wait_for("the stray", || stray_pid(&env));
    env.kill_daemon();
    kill_runner(&env);
    signal(starts(&env, "a")[0], Signal::SIGKILL);
    env.configure(&b);
    env.start_daemon();
    env.wait_status("b", "up");
    wait_for("the end of the stray", || (!lives(&env, stray)).then_some(()));
    wait_for("the end of all of a", || (env.processes().iter().filter(|p| p.marked).count() == 1).then_some(()));
    assert_eq!(starts(&env, "a").len(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn what_an_ended_run_left_behind_is_ended_by_the_next_runner_too() {
    let env = Env::new(&service("a", "throttle = \"1h\"\nbackoff_max = \"2h\""));
    script(&env, "a", &format!("{}\nexit 1", stray(&env)));
    env.start_daemon();
    wait_for("the end of the run", || (env.service("a")["last_exit"]["class"] == "crash").then_some(()));
    // Before the sweep gets to SIGKILL, which is after two seconds.
    kill_runner(&env);
    let stray = stray_pid(&env).unwrap();
    wait_for("the end of the stray", || (!lives(&env, stray)).then_some(()));
    assert_eq!(env.wait_status("a", "waiting")["run_id"], 1);
}

#[test]
fn what_waits_for_one_another_is_started_in_one_go() {
    let names = ["a", "b", "c", "d", "e"];
    let after = |i: usize| if i == 0 { String::new() } else { format!("after = [\"{}\"]", names[i - 1]) };
    let body: String = names.iter().enumerate().map(|(i, name)| service(name, &after(i))).collect();
    let env = Env::new(&body);
    for name in names {
        script(&env, name, "exec sleep 1000");
    }
    env.start_daemon();
    env.wait_status("e", "up");
    // One turn of the runner's loop has one reading of the clock.
    let rows = "SELECT DISTINCT timestamp FROM events WHERE event_type = 'service_start'";
    let times = wait_for("the starts in the ledger", || {
        let all = env.rows("SELECT 1 FROM events WHERE event_type = 'service_start'").len() == names.len();
        all.then(|| env.rows(rows))
    });
    assert_eq!(times.len(), 1, "{times:?}");
}

fn second_runner(env: &Env, name: &str) -> Guard {
    let child: Child = env.command(&["exec", name]).spawn().unwrap();
    Guard(child)
}

#[test]
fn a_runner_that_waited_for_a_service_keeps_it_down_when_it_was_stopped_meanwhile() {
    let env = Env::new(&service("a", ""));
    script(&env, "a", "exec sleep 1000");
    env.start_daemon();
    env.wait_status("a", "up");
    let second = second_runner(&env, "a");
    let socket = env.state_dir().join("supervisor/runners/a.sock");
    wait_for("the second runner", || socket.exists().then_some(()));
    assert!(env.cli(&["stop", "a"]).status.success());
    env.stop_daemon();
    let pid = pid_of(&second.0);
    let info = wait_for("its turn", || {
        let info = env.service("a");
        (info["runner_pid"] == pid && info["status"] != "waiting").then_some(info)
    });
    assert_eq!(info["status"], "down");
    assert_eq!(starts(&env, "a").len(), 1);
}

#[test]
fn the_ready_mark_of_a_run_that_ended_is_not_the_next_ones() {
    let env = Env::new(&service("a", "notify = true\nthrottle = \"0s\""));
    script(&env, "a", "exec sleep 1000");
    env.start_daemon();
    let first = env.wait_status("a", "starting");
    let runner = env.runner_pid().unwrap();
    // Both the mark and the end wait for the runner when it goes on.
    signal(runner, Signal::SIGSTOP);
    let socket = env.state_dir().join("supervisor/services/a/notify.sock");
    UnixDatagram::unbound().unwrap().send_to(b"READY=1", socket).unwrap();
    signal(i32::try_from(first["pid"].as_i64().unwrap()).unwrap(), Signal::SIGKILL);
    signal(runner, Signal::SIGCONT);
    let ready = "SELECT json_extract(metadata, '$.run_id') FROM events WHERE event_type = 'service_ready'";
    let rows = wait_for("the mark", || Some(env.rows(ready)).filter(|rows| !rows.is_empty()));
    assert_eq!(rows, [[1]]);
    let second = wait_for("the second run", || Some(env.service("a")).filter(|info| info["run_id"] == 2));
    assert_eq!(second["status"], "starting");
}

#[test]
fn a_service_that_is_being_removed_cannot_be_started() {
    let b = service("b", "");
    let env = Env::new(&(service("a", "") + &b));
    script(&env, "a", "trap '' TERM\nwhile :; do sleep 0.05; done");
    script(&env, "b", "exec sleep 1000");
    env.start_daemon();
    env.wait_status("a", "up");
    env.configure(&b);
    assert!(env.cli(&["reload"]).status.success());
    assert!(!env.cli(&["start", "a"]).status.success());
    wait_for("the end of a", || (env.processes().iter().filter(|p| p.marked).count() == 1).then_some(()));
    assert_eq!(starts(&env, "a").len(), 1);
}

#[test]
fn a_reload_while_the_runner_is_started_again_is_not_lost() {
    let env = Env::new(&service("a", ""));
    script(&env, "a", "exec sleep 1000");
    script(&env, "b", "exec sleep 1000");
    env.start_daemon();
    env.wait_status("a", "up");
    // The second death comes within the second for which a runner that keeps dying is not started again.
    kill_runner(&env);
    let second = wait_for("its successor", || env.runner_pid());
    wait_for("its socket", || (env.service("a")["runner_pid"] == second).then_some(()));
    kill_runner(&env);
    env.configure(&(service("a", "") + &service("b", "")));
    assert!(env.cli(&["reload"]).status.success());
    env.wait_status("b", "up");
}

#[test]
fn a_daemon_whose_folder_was_taken_away_stops_its_services_and_ends() {
    let env = Env::new(&service("a", ""));
    script(&env, "a", "exec sleep 1000");
    env.start_daemon();
    env.wait_status("a", "up");
    std::fs::remove_dir_all(env.state_dir()).unwrap();
    env.stop_daemon();
    wait_for("the end of everything", || env.processes().is_empty().then_some(()));
}

#[test]
fn who_asks_a_runner_and_closes_its_end_is_answered() {
    let env = Env::new(&service("a", ""));
    script(&env, "a", "exec sleep 1000");
    env.start_daemon();
    env.wait_status("a", "up");
    let mut stream = UnixStream::connect(env.state_dir().join("supervisor/runners/_embedded.sock")).unwrap();
    stream.write_all(b"{\"op\":\"snapshot\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let reply: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(reply["snapshot"]["views"][0]["name"], "a");
}
