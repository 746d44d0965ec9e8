//! The ways in which the gateway ends or cannot begin.

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Gateway, kill, pid};
use crate::support::{Guard, pid_of};
use crate::{get, installed, wait};

#[test]
#[ignore = "needs the gateway; .ci/run runs it"]
fn killed_it_is_back_with_one_crash_on_record() {
    let gateway = Gateway::new();
    gateway.env.start_daemon();
    let first = gateway.up(None);
    let tree = gateway.tree();
    kill(first.pid, Signal::SIGKILL);
    let second = gateway.up(Some(first.pid));
    let crash = &gateway.wait_rows("service_crash", 1)[0];
    assert_eq!((&crash["signal"], &crash["exit_code"]), (&json!("SIGKILL"), &json!(null)), "{crash:#}");
    assert_eq!((&crash["class"], pid(&crash["pid"])), (&json!("crash"), Some(first.pid)), "{crash:#}");
    assert!(crash["stderr_tail"].is_string(), "{crash:#}");
    assert_eq!(second.info["restarts"]["crash"], 1, "{:#}", second.info);
    assert_eq!(second.info["last_exit"]["signal"], "SIGKILL", "{:#}", second.info);
    // The helpers of the killed one did not outlive it.
    let now = gateway.tree();
    assert!(!now.iter().any(|pid| tree.contains(pid)), "{now:?} has some of {tree:?}");
    gateway.go_down(1);
}

#[test]
#[ignore = "needs the gateway; .ci/run runs it"]
fn asked_to_restart_itself_it_is_recycled() {
    let gateway = Gateway::new();
    gateway.env.start_daemon();
    let first = gateway.up(None);
    kill(first.pid, Signal::SIGUSR2);
    let second = gateway.up(Some(first.pid));
    let exit = &gateway.wait_rows("service_exit", 1)[0];
    assert_eq!((&exit["class"], &exit["exit_code"]), (&json!("recycled"), &json!(0)), "{exit:#}");
    let restarts = &second.info["restarts"];
    assert_eq!((&restarts["recycled"], &restarts["crash"]), (&json!(1), &json!(0)), "{restarts:#}");
    gateway.go_down(0);
}

#[test]
#[ignore = "needs the gateway; .ci/run runs it"]
fn with_a_broken_configuration_it_is_held_until_that_is_mended() {
    let gateway = Gateway::new();
    gateway.env.start_daemon();
    let first = gateway.up(None);
    gateway.spoil();
    gateway.env.cli(&["restart", "gateway"]);
    let held = gateway.wait_held();
    assert!(held["why"].as_str().unwrap().contains("78"), "{held:#}");
    assert_eq!(held["pid"], json!(null), "{held:#}");
    let row = &gateway.wait_rows("service_held", 1)[0];
    let tail = row["stderr_tail"].as_str().unwrap();
    assert!(tail.contains("openclaw.json") || tail.contains("gateway.mode"), "{row:#}");
    eprintln!("  for information: {}; its last words:\n{tail}", held["why"]);
    gateway.mend();
    gateway.up(Some(first.pid));
    assert_eq!(gateway.rows("service_held").len(), 1, "one hold");
    gateway.go_down(0);
}

#[test]
#[ignore = "needs the gateway; .ci/run runs it"]
fn with_its_port_taken_it_is_held_until_that_is_free() {
    let gateway = Gateway::new();
    let port = gateway.port;
    let squat = format!("require('net').createServer().listen({port}, '127.0.0.1')");
    #[expect(clippy::disallowed_methods, reason = "a program that has nothing to do with us")]
    let mut command = std::process::Command::new(installed("REAL_NODE"));
    let squatter = Guard(command.args(["-e", &squat]).stdin(std::process::Stdio::null()).spawn().unwrap());
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
    wait("somebody else on its port", std::time::Duration::from_secs(30), listens);
    gateway.env.start_daemon();
    let held = gateway.wait_held();
    let why = held["why"].as_str().unwrap();
    let owner = pid_of(&squatter.0).to_string();
    assert!(why.contains(&port.to_string()) && why.contains(&owner) && why.contains("createServer"), "{why}");
    eprintln!("  for information: {why}");
    assert!(gateway.rows("service_start").is_empty(), "it was not started at all");
    drop(squatter);
    gateway.up(None);
    assert_eq!(get(port, "/startupz").map(|(status, _)| status), Some(200));
    gateway.go_down(0);
}
