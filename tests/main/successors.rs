//! What the next runner, or the next daemon, finds when the one before was killed in the middle of something.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::support::{Env, Guard, pid_of, signal, wait_for};
use super::witness::Witness;

/// Steady services, and one that ends on SIGTERM only when a file called `gate` is there.
const STUBBORN: &str =
    "[service.stubborn]\ncommand = [\"{dir}/stubborn\"]\nthrottle = \"0s\"\nstop_timeout = \"60s\"\n";

fn stubborn(env: &Env) {
    let body = "echo \"start $SUPERVISOR_SERVICE $SUPERVISOR_RUN_ID $$\" >> {dir}/witness
        trap 'while [ ! -e {dir}/gate ]; do sleep 0.02; done; exit 0' TERM
        while :; do sleep 1000 & wait; done";
    env.script("stubborn", &body.replace("{dir}", &env.dir().display().to_string()));
}

fn open_gate(env: &Env) {
    std::fs::write(env.dir().join("gate"), "").unwrap();
}

/// SIGKILL to the embedded runner; returns when its successor serves `service`.
fn replace_runner(env: &Env, service: &str) {
    let before = env.runner_pid().expect("no runner to kill");
    signal(before, Signal::SIGKILL);
    wait_for("the next runner", || {
        let owner = env.service(service)["runner_pid"].as_i64()?;
        (owner != i64::from(before) && env.runner_pid() == i32::try_from(owner).ok()).then_some(())
    });
}

/// SIGKILL to both at once; returns when a new daemon has a new runner that serves `service`.
fn replace_both(env: &Env, service: &str, while_dead: impl FnOnce()) {
    let runner = env.runner_pid().expect("no runner to kill");
    env.kill_daemon();
    signal(runner, Signal::SIGKILL);
    wait_for("the runner's end", || (env.runner_pid() != Some(runner)).then_some(()));
    while_dead();
    env.start_daemon();
    wait_for("the next runner", || env.service(service)["runner_pid"].as_i64().filter(|pid| *pid != i64::from(runner)));
}

fn starts(witness: &Witness<'_>, service: &str) -> usize {
    witness.starts().iter().filter(|run| run.service == service).count()
}

/// The ledger's ends of one service: (run, class).
fn ends(env: &Env, service: &str) -> Vec<(u64, String)> {
    let rows = env.rows(&format!(
        "SELECT run_id, class FROM supervisor_events WHERE service_name = '{service}'
         AND event_type IN ('service_crash', 'service_exit', 'service_lost') ORDER BY id"
    ));
    rows.into_iter().map(|row| (row[0].as_u64().unwrap(), row[1].as_str().unwrap().to_owned())).collect()
}

#[test]
fn the_daemon_starts_the_next_runner_and_nothing_is_lost() {
    let services = [("steady", "steady"), ("printer", "printer"), ("spiller", "spiller"), ("crasher", "crasher")];
    let env = Env::new(&Witness::tables(&services));
    let witness = Witness::new(&env);
    env.start_daemon();
    env.wait_status("steady", "up");
    env.wait_status("printer", "up");
    let stays = ["steady", "printer"].map(|name| witness.alive(name).unwrap());
    for _ in 0..4 {
        replace_runner(&env, "steady");
        witness.nothing_runs_twice();
    }
    witness.calm(&services);
    assert_eq!(stays.clone().map(|run| witness.alive(&run.service).unwrap()), stays);
    assert_eq!(env.stop_daemon(), Some(0));
    witness.audit();
    witness.nothing_printed_is_missing(&["printer", "spiller"], &[]);
}

#[test]
fn a_stop_under_way_is_finished_and_what_is_stopped_stays_down() {
    let env = Env::new(&(Witness::tables(&[("steady", "steady"), ("stopped", "steady")]) + STUBBORN));
    let witness = Witness::new(&env);
    stubborn(&env);
    env.start_daemon();
    for name in ["steady", "stopped", "stubborn"] {
        env.wait_status(name, "up");
    }
    let run = wait_for("its first act", || witness.alive("stubborn"));
    let steady = wait_for("its first act", || witness.alive("steady"));
    assert!(env.cli(&["stop", "stopped"]).status.success());
    assert!(env.cli(&["stop", "--no-wait", "stubborn"]).status.success());
    env.wait_status("stubborn", "stopping");
    replace_runner(&env, "stubborn");
    env.wait_status("stubborn", "stopping");
    assert_eq!(witness.alive("stubborn"), Some(run), "it is waited for");
    open_gate(&env);
    env.wait_status("stubborn", "down");
    replace_both(&env, "steady", || {});
    for name in ["stopped", "stubborn"] {
        env.wait_status(name, "down");
        assert_eq!(starts(&witness, name), 1);
    }
    assert_eq!(witness.alive("steady"), Some(steady));
    assert_eq!(env.stop_daemon(), Some(0));
    witness.audit();
    assert_eq!(ends(&env, "stubborn"), [(1, "requested".to_owned())]);
}

#[test]
fn what_is_held_or_delayed_stays_so() {
    let table = |name: &str, more: &str| format!("[service.{name}]\ncommand = [\"{{dir}}/{name}\"]\n{more}\n");
    let body = Witness::tables(&[("steady", "steady")])
        + &table("refusing", "throttle = \"0s\"")
        + &table("throttled", "throttle = \"10m\"\nbackoff_max = \"1h\"")
        + &table("storming", "throttle = \"250ms\"\nbackoff_max = \"1h\"");
    let env = Env::new(&body);
    let witness = Witness::new(&env);
    witness.script_ending_with("refusing", 78);
    witness.script_ending_with("throttled", 1);
    witness.script_ending_with("storming", 1);
    env.start_daemon();
    env.wait_status("refusing", "held");
    let far = |service: &Value| {
        let now = std::fs::metadata(env.script("now", "")).unwrap().modified().unwrap();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        service["next_run_ms"].as_i64().filter(|due| *due > i64::try_from(now).unwrap() + 4000)
    };
    let delayed = ["throttled", "storming"].map(|name| {
        wait_for("a long pause", || {
            let service = env.service(name);
            let due = far(&service)?;
            (service["status"] == "waiting")
                .then(|| (name, due, starts(&witness, name), service["restart_attempt"].clone()))
        })
    });
    replace_runner(&env, "refusing");
    replace_both(&env, "refusing", || {});
    env.wait_status("refusing", "held");
    assert_eq!(starts(&witness, "refusing"), 1, "held means no start");
    for (name, due, runs, attempt) in delayed {
        let service = env.wait_status(name, "waiting");
        let now_due = service["next_run_ms"].as_i64().unwrap();
        assert!((now_due - due).abs() < 1000, "{name} was due at {due}, and is now at {now_due}");
        assert_eq!(service["restart_attempt"], attempt);
        assert_eq!(starts(&witness, name), runs, "{name}");
    }
    assert_eq!(env.stop_daemon(), Some(0));
    witness.audit();
    assert_eq!(
        env.rows("SELECT count(*) FROM supervisor_events WHERE event_type = 'service_held'"),
        [[Value::from(1)]]
    );
}

#[test]
fn services_that_were_removed_meanwhile_are_ended_and_the_others_go_on() {
    let steady = Witness::tables(&[("steady", "steady")]);
    let env = Env::new(&(steady.clone() + &Witness::tables(&[("removed", "steady"), ("removed-and-dead", "steady")])));
    let witness = Witness::new(&env);
    env.start_daemon();
    let runs = ["steady", "removed", "removed-and-dead"].map(|name| {
        env.wait_status(name, "up");
        wait_for("its first act", || witness.alive(name))
    });
    replace_both(&env, "steady", || {
        signal(runs[2].pid, Signal::SIGKILL);
        wait_for("its end", || witness.alive("removed-and-dead").is_none().then_some(()));
        env.configure(&steady);
    });
    wait_for("the end of what is no longer declared", || witness.alive("removed").is_none().then_some(()));
    assert_eq!(witness.alive("steady"), Some(runs[0].clone()));
    assert_eq!(env.stop_daemon(), Some(0));
    witness.audit();
    assert_eq!(ends(&env, "removed"), [(1, "requested".to_owned())]);
    for name in ["removed", "removed-and-dead"] {
        assert_eq!(starts(&witness, name), 1, "{name} is not wanted any more");
    }
}

#[test]
fn a_services_toml_that_broke_meanwhile_ends_nothing() {
    let both = Witness::tables(&[("steady", "steady"), ("faulty", "steady")]);
    let env = Env::new(&both);
    let witness = Witness::new(&env);
    env.start_daemon();
    let runs = ["steady", "faulty"].map(|name| {
        env.wait_status(name, "up");
        wait_for("its first act", || witness.alive(name))
    });
    let adopted = |times: u64| {
        wait_for("the adoption of both", || {
            let rows = env.rows("SELECT count(*) FROM supervisor_events WHERE event_type = 'runner_adopted'");
            (rows[0][0].as_u64() == Some(times)).then_some(())
        });
        assert_eq!(runs.clone().map(|run| witness.alive(&run.service).unwrap()), runs);
    };
    // One table, then the whole file.
    env.configure(&(both.clone() + "stop_timeout = \"soon\"\n"));
    replace_runner(&env, "steady");
    adopted(2);
    env.write_config("no [toml");
    signal(env.runner_pid().unwrap(), Signal::SIGKILL);
    adopted(4);
    env.configure(&both);
    assert!(env.cli(&["reload"]).status.success());
    adopted(4);
    assert_eq!(env.stop_daemon(), Some(0));
    witness.audit();
}

#[test]
fn the_daemon_goes_down_in_order_though_its_runner_is_killed_meanwhile() {
    let env = Env::new(&(Witness::tables(&[("steady", "steady")]) + STUBBORN));
    let witness = Witness::new(&env);
    stubborn(&env);
    env.start_daemon();
    for name in ["steady", "stubborn"] {
        env.wait_status(name, "up");
        wait_for("its first act", || witness.alive(name));
    }
    let runner = env.runner_pid().unwrap();
    signal(env.daemon_pid().unwrap(), Signal::SIGTERM);
    wait_for("the end of the first", || witness.alive("steady").is_none().then_some(()));
    signal(runner, Signal::SIGKILL);
    wait_for("the next runner", || env.runner_pid().filter(|pid| *pid != runner));
    open_gate(&env);
    assert_eq!(env.stop_daemon(), Some(0));
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    for name in ["steady", "stubborn"] {
        assert_eq!(starts(&witness, name), 1, "{name} was started again on the way down");
        assert_eq!(ends(&env, name), [(1, "requested".to_owned())]);
    }
}

#[test]
fn a_runner_killed_while_it_went_down_leaves_no_service_down() {
    let env = Env::new(STUBBORN);
    let witness = Witness::new(&env);
    stubborn(&env);
    let start = || Guard(env.command(&["exec", "stubborn"]).spawn().unwrap());
    let mut runner = start();
    let run = wait_for("its first act", || witness.alive("stubborn"));
    env.wait_status("stubborn", "up");
    signal(pid_of(&runner.0), Signal::SIGTERM);
    env.wait_status("stubborn", "stopping");
    runner.0.kill().unwrap();
    runner.0.wait().unwrap();
    runner = start();
    env.wait_status("stubborn", "stopping");
    assert_eq!(witness.alive("stubborn"), Some(run));
    open_gate(&env);
    wait_for("the next run", || witness.alive("stubborn").filter(|run| run.run == 2));
    signal(pid_of(&runner.0), Signal::SIGTERM);
    assert_eq!(runner.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_daemon_names_the_first_and_leaves() {
    let env = Env::new("");
    let first = env.start_daemon();
    let second = env.cli(&["run"]);
    assert_eq!(second.status.code(), Some(6));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("pid {first}")), "{said}");
    assert_eq!(env.status()["daemon"]["pid"], first);
}

#[test]
fn a_second_runner_waits_and_takes_over() {
    let services = [("shared", "steady"), ("other", "steady")];
    let env = Env::new(&Witness::tables(&services));
    let witness = Witness::new(&env);
    let mut first = Guard(env.command(&["exec", "shared"]).spawn().unwrap());
    let run = wait_for("its first act", || witness.alive("shared"));
    let _second = Guard(env.command(&["exec", "shared", "other"]).spawn().unwrap());
    let seen = |status: &str| {
        wait_for("what the second says", || {
            let snapshot = ask(&env.state_dir().join("supervisor/runners/_embedded.sock"))?;
            let views = snapshot.pointer("/snapshot/views").or_else(|| snapshot.get("views"))?.as_array()?.clone();
            views.into_iter().find(|view| view["name"] == "shared" && view["status"] == status)
        })
    };
    let view = seen("waiting");
    assert!(view["reason"].as_str().unwrap().contains(&pid_of(&first.0).to_string()), "{view:#}");
    wait_for("the service that is free", || witness.alive("other"));
    let same = env.cli(&["exec", "shared"]);
    assert_eq!(same.status.code(), Some(6), "one runner of a name is enough");
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    assert_eq!(seen("up")["pid"], run.pid);
    assert_eq!(witness.alive("shared"), Some(run));
    assert_eq!(starts(&witness, "shared"), 1);
}

/// One question to a runner's socket.
fn ask(socket: &std::path::Path) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(b"{\"op\":\"snapshot\"}\n").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}
