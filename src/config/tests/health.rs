//! Faults of a health table, and what is asked without one.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::{expect, in_service};
use super::{around, fleet, read, source};
use crate::config::fault::code::{ADDRESS, BAD_FORM, CONFLICT, MISSING, OUT_OF_BOUNDS, PATH, UNKNOWN_KEY, WRONG_TYPE};
use crate::config::{Surroundings, parse};
use crate::model::{ProbeKind, ProbeSpec};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A line in a health table that is right but for it, at line 5.
pub(super) fn in_health(line: &str, column: usize, code: &'static str, word: &'static str) {
    let text = format!("[service.a]\ncommand = [\"x\"]\n[service.a.health]\nhttp = \"http://127.0.0.1:1/\"\n{line}\n");
    expect(&text, &[(code, 5, column, word)]);
}

#[test]
fn diagnostic_signals() {
    for (signal, why) in [
        ("KILL", "ends a process"),
        ("SIGINT", "ends a process"),
        ("HUP", "ends a process"),
        ("STOP", "stops a process"),
        ("TTIN", "stops a process"),
        ("CONT", "no program takes"),
        ("CHLD", "no program takes"),
    ] {
        in_health(&format!("diagnostic_signal = \"{signal}\""), 21, BAD_FORM, why);
    }
    in_health("diagnostic_signal = \"quit\"", 21, BAD_FORM, "write \"QUIT\"");
    let health =
        |signal: &str| format!("health = {{ http = \"http://127.0.0.1/\", diagnostic_signal = \"{signal}\" }}\n");
    let of = |command: &str, signal: &str| format!("[service.a]\ncommand = [{command}]\n{}", health(signal));
    // Its own debugger, or its restart: neither is evidence.
    for command in
        ["\"openclaw\", \"gateway\"", "\"/opt/OpenClaw/bin/node\"", "\"node\", \"/x/openclaw/dist/index.js\""]
    {
        expect(&of(command, "USR1"), &[(BAD_FORM, 3, 60, "opens its debugger or restarts")]);
        expect(&of(command, "SIGUSR2"), &[(BAD_FORM, 3, 60, "write \"QUIT\"")]);
        assert_eq!(read(&of(command, "QUIT")).faults, []);
    }
    for command in ["\"x\"", "\"~/.openclaw/projects/embedding-server/bin/python\""] {
        assert_eq!(read(&of(command, "USR2")).faults, []);
    }
    let text = format!("[service.a]\ncommand = [\"x\"]\nstop_signal = \"QUIT\"\n{}", health("QUIT"));
    expect(&text, &[(BAD_FORM, 4, 60, "`stop_signal`")]);
}

#[test]
fn probes() {
    in_health("tcp = \"127.0.0.1:1\"", 7, CONFLICT, "a probe already, `http`");
    in_health("timeout = \"11s\"", 11, CONFLICT, "above `interval` (10s by default)");
    in_health("startup = { http = \"http://127.0.0.1\", exec = [\"x\"] }", 47, CONFLICT, "a probe already, `http`");
    expect(
        "[service.a]\ncommand = [\"x\"]\nhealth = { tcp = \"127.0.0.1:1\", startup = { notify = true } }\n",
        &[(MISSING, 3, 43, "write one of http"), (UNKNOWN_KEY, 3, 45, "possible here")],
    );
    in_health("expect_json = { when = 1979-05-27 }", 24, WRONG_TYPE, "a value that JSON has");
    in_health("expect_json = { n = nan }", 21, WRONG_TYPE, "a value that JSON has");
    in_service("health = { tcp = \"127.0.0.1:1\", expect_status = 200 }", 49, CONFLICT, "only an `http` probe");
    in_service("health = { notify = true }", 21, CONFLICT, "write notify = true in the service's own table");
    in_service("health = { http = \"https://127.0.0.1/\" }", 19, ADDRESS, "write \"http://127.0.0.1/\"");
    in_service("health = { http = \"http://0.0.0.0/\" }", 19, ADDRESS, "use 127.0.0.1");
    in_service("health = { tcp = \"localhost\" }", 18, ADDRESS, "has no port");
    in_service("health = { tcp = \"example.org:80\" }", 18, ADDRESS, "this machine only");
    in_service("health = { ws = \"http://127.0.0.1\" }", 17, ADDRESS, "ws://");
    in_service("health = { unix = \"x.sock\" }", 19, PATH, "absolute");
    in_service("health = { heartbeat_file = \"beat\" }", 29, PATH, "write an absolute path or \"~/beat\"");
    in_service("health = { exec = [] }", 19, MISSING, "no program");
    in_service("health = { mcp = \"https://127.0.0.1/\" }", 18, ADDRESS, "write \"http://127.0.0.1/\"");
    in_service("health = { mcp = \"http://10.0.0.1/mcp\" }", 18, ADDRESS, "use 127.0.0.1");
    in_service("health = { mcp = \"http://127.0.0.1/\", expect_status = 204 }", 55, CONFLICT, "only an `http` probe");
    in_service("health = { unix = \"/x\", expect_status = 204 }", 41, CONFLICT, "`unix` with `path`");
    in_service("health = { unix = \"/x\", path = \"healthz\" }", 32, ADDRESS, "write e.g. \"/healthz\"");
    in_service("health = { unix = \"/x\", path = \"/a b\" }", 32, ADDRESS, "path of a URL");
    in_health("path = \"/healthz\"", 8, CONFLICT, "over the socket of `unix`");
    in_health("startup = { tcp = \"127.0.0.1:1\", path = \"/\" }", 41, CONFLICT, "over the socket of `unix`");
    in_health("parts = {}", 9, MISSING, "write one of http, unix, exec");
    in_health("parts = { unix = \"/x\" }", 18, CONFLICT, "write path = \"/readyz\"");
    in_health("parts = { http = \"http://127.0.0.1\", exec = [\"x\"] }", 45, CONFLICT, "a probe already, `http`");
    in_health(
        "parts = { http = \"http://127.0.0.1\", expect_status = 200 }",
        38,
        UNKNOWN_KEY,
        "possible here: http, unix",
    );
    let long = format!("health = {{ unix = \"/{}\" }}", "x".repeat(103));
    in_service(&long, 19, OUT_OF_BOUNDS, "shorter path");
    expect("[service.a]\nbuiltin = \"emit-server\"\nlisten = \"0.0.0.0:1\"\n", &[(ADDRESS, 3, 10, "127.0.0.1")]);
}

#[test]
fn the_file_watcher_is_asked_at_its_socket_in_the_state_directory() {
    let text = |more: &str| {
        format!(
            "[supervisor]\nstate_dir = \"/state\"\n[service.w]\nbuiltin = \"file-watcher\"\n{more}\n[[service.w.watch]]\npaths = [\"/x\"]\nrun = [\"y\"]\n"
        )
    };
    let spec = fleet(&text("")).services.remove(0);
    let over = |path: &str| ProbeSpec {
        kind: ProbeKind::HttpUnix { socket: "/state/supervisor/services/w/watch.sock".into(), path: path.into() },
        expect_status: 200,
        expect_json: None,
    };
    let health = spec.health.unwrap();
    assert!(spec.notify, "it tells when it is ready");
    assert_eq!((health.probe, health.parts), (over("/healthz"), Some(over("/parts"))));
    assert_eq!((health.interval, health.timeout, health.failures), (secs(10), secs(5), 4));
    // What is written goes first, all of it.
    let spec = fleet(&text("notify = false\nhealth.heartbeat_file = \"/beat\"")).services.remove(0);
    let health = spec.health.unwrap();
    assert!(!spec.notify && health.parts.is_none());
    assert_eq!(health.probe.kind, ProbeKind::HeartbeatFile("/beat".into()));
    // An override of the state directory moves the socket, too.
    let moved = Surroundings { state_dir: Some("/given".into()), ..around() };
    let fleet = parse(&source(&text("")), &moved).fleet.unwrap();
    let health = fleet.services[0].health.as_ref().unwrap();
    let socket = PathBuf::from("/given/supervisor/services/w/watch.sock");
    assert!(matches!(&health.probe.kind, ProbeKind::HttpUnix { socket: at, .. } if *at == socket));
    // Of the others only the emit-server has something to be asked by itself.
    let fleet = self::fleet("[service.a]\ncommand = [\"x\"]\n[service.b]\nbuiltin = \"emit-server\"\n");
    assert!(fleet.services[0].health.is_none() && !fleet.services[0].notify);
    let kind = &fleet.services[1].health.as_ref().unwrap().probe.kind;
    assert_eq!(*kind, ProbeKind::Http("http://127.0.0.1:18790/healthz".into()));
}
