//! `upgrade`.

use serde_json::json;

use crate::cli::testing::{Facts, up};
use crate::error::ErrorKind;
use crate::model::wire::RunnerRequest;

fn version(version: &str, upgrades: u32) -> serde_json::Value {
    json!({"version": version, "protocol": 1, "pid": std::process::id(), "upgrades": upgrades, "upgrade_failed": null})
}

fn reply(why_not: Option<&str>) -> String {
    let (to, ok) = if why_not.is_some() { ("0.1.0", false) } else { ("9.0.0", true) };
    let runner = json!({"id": "_embedded", "pid": 12, "ok": ok, "from": "0.1.0", "to": to, "why_not": why_not});
    json!({"runners": [runner], "daemon": version("0.1.0", 3)}).to_string()
}

#[test]
fn runners_and_daemon_are_told_with_both_versions() {
    let facts = Facts::new(&["a"]);
    let heard = facts.daemon(&[
        ("POST /v1/upgrade ", 200, reply(None)),
        ("GET /v1/version ", 200, version("0.1.0", 3).to_string()),
        ("GET /v1/version ", 200, version("9.0.0", 4).to_string()),
    ]);
    let ran = facts.run("upgrade");
    let pid = std::process::id();
    let expected = format!("runner _embedded (pid 12): 0.1.0 → 9.0.0\ndaemon (pid {pid}): 0.1.0 → 9.0.0\n");
    assert_eq!((ran.code, ran.out, ran.notes), (Ok(0), expected, String::new()));
    let program = std::env::current_exe().unwrap();
    assert!(heard.all()[0].ends_with(&json!({"program": program}).to_string()), "{:?}", heard.all());
}

#[test]
fn who_could_not_is_told_with_the_reason() {
    let facts = Facts::new(&["a"]);
    let failed =
        json!({"version": "0.1.0", "protocol": 1, "pid": std::process::id(), "upgrade_failed": "no such thing"});
    facts.daemon(&[("POST /v1/upgrade ", 200, reply(Some("busy"))), ("GET /v1/version ", 200, failed.to_string())]);
    let ran = facts.run("upgrade");
    let pid = std::process::id();
    let expected =
        format!("runner _embedded (pid 12): still 0.1.0: busy\ndaemon (pid {pid}): still 0.1.0: no such thing\n");
    assert_eq!((ran.code, ran.out), (Ok(6), expected));

    let facts = Facts::new(&["a"]);
    let unknown = json!({"error": {"code": 2, "message": "there is no /v1/upgrade"}}).to_string();
    facts.daemon(&[("POST /v1/upgrade ", 404, unknown)]);
    let error = facts.run("upgrade").code.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.hint.unwrap().contains("kill -9"));
}

#[test]
fn without_the_daemon_each_runner_is_told() {
    let facts = Facts::new(&["a", "b"]);
    assert_eq!(facts.run("upgrade").code.unwrap_err().kind, ErrorKind::Unreachable);
    let first = facts.runner("a", 11, vec![up("a", 1)]);
    let ran = facts.run("upgrade --json");
    assert_eq!(ran.code, Ok(0));
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["runners"][0]["pid"], &report["daemon"]), (&json!(11), &json!(null)));
    assert!(ran.notes.starts_with("note: the daemon is not running"), "{}", ran.notes);
    let program = std::env::current_exe().unwrap();
    assert_eq!(first.all(), [RunnerRequest::Snapshot, RunnerRequest::Upgrade { program }]);
}
