//! The gateway does not notice the death of those who watch it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Gateway, kill};
use crate::{get, wait};

#[test]
#[ignore = "needs the gateway; .ci/run runs it"]
fn the_same_gateway_lives_on_when_daemon_and_runner_are_killed() {
    let gateway = Gateway::new();
    let env = &gateway.env;
    env.start_daemon();
    let first = gateway.up(None);
    let runner = env.runner_pid().expect("a runner");

    env.kill_daemon();
    assert_eq!(get(gateway.port, "/healthz").map(|(status, _)| status), Some(200));
    env.start_daemon();
    let second = gateway.up(None);
    assert_eq!((second.pid, &second.info["run_id"]), (first.pid, &first.info["run_id"]));
    assert_eq!(env.runner_pid(), Some(runner));

    kill(runner, Signal::SIGKILL);
    wait("another runner", Duration::from_secs(30), || env.runner_pid().filter(|pid| *pid != runner));
    gateway.wait_rows("runner_adopted", 1);
    let third = gateway.up(None);
    assert_eq!((third.pid, &third.info["run_id"]), (first.pid, &first.info["run_id"]));

    // It tells that it does not take this over: in a log that goes on.
    let logs = || ["stdout", "stderr"].map(|stream| env.state_dir().join(format!("logs/gateway-{stream}.log")));
    let said = || logs().map(|path| std::fs::read_to_string(path).unwrap_or_default()).concat();
    let before = said().len();
    gateway.spoil();
    let words = wait("a word in its log", Duration::from_secs(60), || {
        said().get(before..).map(str::to_owned).filter(|s| !s.is_empty())
    });
    eprintln!("  for information: after the runner's death it said {:?}", words.lines().next().unwrap_or_default());
    gateway.mend();

    let starts = gateway.rows("service_start");
    assert_eq!(starts.len(), 1, "{starts:#?}");
    assert_eq!(third.info["restarts"]["crash"], json!(0));
    gateway.go_down(0);
}
