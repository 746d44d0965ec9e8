//! The version before this one, as it was built from its own sources, together with this one.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::installed;
use super::support::{Env, Guard, pid_of, signal, wait_for};

const BODY: &str = "[service.steady]\ncommand = [\"sleep\", \"1000\"]\n\
                    [service.crasher]\ncommand = [\"/bin/sh\", \"-c\", \"sleep 0.2; exit 3\"]\nthrottle = \"0s\"\nmin_uptime = \"0s\"\n";

fn daemon(env: &Env, program: &Path) -> Guard {
    let daemon = Guard(env.command_of(program, &["run"]).spawn().unwrap());
    wait_for("an answer from the daemon", || (env.try_status()?["daemon"]["pid"] == pid_of(&daemon.0)).then_some(()));
    daemon
}

fn killed(mut daemon: Guard) {
    daemon.0.kill().unwrap();
    daemon.0.wait().unwrap();
}

/// Crashes on record, once there are some more of them.
fn more_crashes(env: &Env) {
    let count = || env.service("crasher")["restarts"]["crash"].as_i64().unwrap_or_default();
    let before = count();
    wait_for("more crashes on record", || (count() > before + 2).then_some(()));
}

fn pids(env: &Env) -> (Value, Value) {
    let steady = env.service("steady");
    (steady["pid"].clone(), steady["runner_pid"].clone())
}

fn both_versions_are_shown(env: &Env, runner: &str, daemon: &str) {
    let shown = format!("runner _embedded is version {runner}");
    wait_for("both versions in the status", || {
        let status = env.status();
        (status["daemon"]["version"] == daemon && status["troubles"].to_string().contains(&shown)).then_some(())
    });
}

#[test]
#[ignore = "needs the version before this one; .ci/run runs it"]
fn one_minor_version_apart_daemon_and_runner_work_together_and_services_stay() {
    let (older, newer) = (installed("REAL_OLDER"), Path::new(env!("CARGO_BIN_EXE_supervisor")).to_owned());
    let env = Env::new(BODY);
    let said = env.command_of(&older, &["--version"]).stdout(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let (old, new) = (said.trim().strip_prefix("supervisor ").unwrap(), env!("CARGO_PKG_VERSION"));
    assert_ne!(old, new);

    // The older runner under the newer daemon.
    let first = daemon(&env, &older);
    env.wait_status("steady", "up");
    let before = pids(&env);
    killed(first);
    let second = daemon(&env, &newer);
    both_versions_are_shown(&env, old, new);
    assert_eq!(pids(&env), before);
    more_crashes(&env);
    assert_eq!(env.cli(&["restart", "crasher"]).status.code(), Some(0));
    assert_eq!(
        (env.cli(&["stop", "crasher"]).status.code(), env.service("crasher")["status"].clone()),
        (Some(0), json!("down"))
    );
    assert_eq!(env.cli(&["start", "crasher"]).status.code(), Some(0));
    let output = env.cli(&["upgrade"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains(&format!("still {old}: version {old} cannot be upgraded in place")), "{text}");
    assert_eq!(pids(&env), before);

    // The newer runner takes over what the older one wrote down.
    let runner = i32::try_from(before.1.as_i64().unwrap()).unwrap();
    signal(runner, Signal::SIGKILL);
    wait_for("the newer runner", || (pids(&env).1 != before.1 && pids(&env).0 == before.0).then_some(()));
    wait_for("one version", || (env.status()["troubles"] == json!([])).then_some(()));
    more_crashes(&env);

    // And under the older daemon.
    let now = pids(&env);
    killed(second);
    let mut third = daemon(&env, &older);
    both_versions_are_shown(&env, new, old);
    assert_eq!(pids(&env), now);
    more_crashes(&env);
    let runs = |what: &str| {
        let sql =
            format!("SELECT count(*) FROM supervisor_events WHERE event_type {what} AND service_name = 'crasher'");
        env.rows(&sql)[0][0].as_i64().unwrap()
    };
    signal(pid_of(&third.0), Signal::SIGTERM);
    wait_for("the end of everything", || third.0.try_wait().unwrap());
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    assert_eq!(runs("= 'service_start'"), runs("IN ('service_crash', 'service_exit', 'service_lost')"));
    let doubled = "SELECT run_id FROM supervisor_events WHERE event_type = 'service_start' GROUP BY service_name, run_id HAVING count(*) > 1";
    assert_eq!(env.rows(doubled), Vec::<Vec<Value>>::new());
}
