//! `doctor` on a machine where something runs: our own services are nobody else, and whoever is somebody else is named and left alone.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use super::support::{Env, Guard, pid_of, wait_for};

/// Nobody else sleeps for so long.
const SLEEP: &str = "86399.25";

fn findings(env: &Env) -> Vec<Value> {
    let done = env.cli(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let is_bad = report["findings"].as_array().unwrap().iter().any(|finding| finding["level"] == "bad");
    assert_eq!((done.status.code(), &report["ok"]), (Some(if is_bad { 3 } else { 0 }), &Value::Bool(!is_bad)));
    report["findings"].as_array().unwrap().clone()
}

fn about<'a>(found: &'a [Value], subject: &str, word: &str) -> Vec<&'a Value> {
    let of = |finding: &&Value| finding["subject"] == subject && finding["what"].as_str().unwrap().contains(word);
    found.iter().filter(of).collect()
}

#[test]
fn a_running_service_is_its_own_and_a_second_copy_or_a_taken_port_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = format!(
        "[service.a]\ncommand = [\"sleep\", \"{SLEEP}\"]\n[service.b]\ncommand = [\"true\"]\nports = [{port}]\n"
    );
    let env = Env::new(&body);
    env.start_daemon();
    env.wait_status("a", "up");
    let found = findings(&env);
    assert!(
        found.iter().filter(|finding| finding["subject"] == "a").all(|finding| finding["level"] == "ok"),
        "{found:#?}"
    );
    let taken = about(&found, "b", &format!("port {port} is taken by"));
    assert!(taken.len() == 1 && taken[0]["level"] == "bad", "{found:#?}");
    assert!(taken[0]["remedy"].as_str().unwrap().contains(&format!("kill {}", std::process::id())), "{taken:?}");

    #[expect(clippy::disallowed_methods, reason = "somebody who starts the same thing by hand")]
    let mut command = std::process::Command::new("sleep");
    let mut child = Guard(command.arg(SLEEP).stdin(Stdio::null()).spawn().unwrap());
    let pid = pid_of(&child.0);
    let seen = wait_for("the second copy", || {
        about(&findings(&env), "a", "somebody else starts it too: process").first().map(|finding| (*finding).clone())
    });
    assert!(seen["level"] == "bad" && seen["remedy"].as_str().unwrap().contains(&format!("kill {pid}")), "{seen}");
    assert!(child.0.try_wait().unwrap().is_none(), "it was left alone");
    assert_eq!(env.service("a")["status"], "up");

    drop((child, listener));
    let whole = findings(&env);
    assert_eq!(about(&whole, "b", "is taken"), Vec::<&Value>::new());
    assert_eq!(about(&whole, "supervisor", "is whole").len(), 1, "{whole:#?}");
}
