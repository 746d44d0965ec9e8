//! Handlers that hang, fail, flood, are not there, or are cut off.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Watched, watcher};
use crate::support::{wait_for, wait_within};

const FAILS_TILL_GOOD: &str = "printf '%s %s\\n' \"$2\" \"$3\" >>\"$0\"; [ -e \"$0.good\" ]";

#[test]
fn one_that_fails_is_tried_again_given_up_and_taken_up_again_when_told() {
    let watched = Watched::with(FAILS_TILL_GOOD, "retries = 2");
    watched.write("a", "");
    watched.wait_for_lines(&["1 /a", "2 /a", "3 /a"]);
    let set = watched.wait_until_idle();
    assert_eq!((set.dead, set.handled), (1, 0));
    let told = watched.env.cli(&["watch", "status"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && text.contains("1 given up") && text.contains("exit code 1"), "{text}");
    assert!(text.contains(&watched.path("a").display().to_string()), "{text}");
    let parts = parts(&watched);
    assert!(parts["given up"].as_str().unwrap().contains("1 file"), "{parts}");
    let id = watched.status().dead[0].id.to_string();
    // Not by itself, not by a change of its name's folder, and not by the next start.
    watched.write("b", "");
    watched.wait_for_lines(&["1 /a", "2 /a", "3 /a", "1 /b", "2 /b", "3 /b"]);
    let wrong = watched.env.cli(&["watch", "retry", "4711"]);
    assert!(!wrong.status.success() && !wrong.stderr.is_empty(), "{wrong:?}");
    fs::write(watched.env.dir().join("lines.good"), "").unwrap();
    let again = watched.env.cli(&["watch", "retry", &id]);
    assert!(again.status.success(), "{again:?}");
    watched.wait_for_lines(&["1 /a", "2 /a", "3 /a", "1 /b", "2 /b", "3 /b", "4 /a"]);
    assert_eq!(watched.wait_until_idle().dead, 1);
    assert!(watched.env.cli(&["watch", "retry", "--all"]).status.success());
    watched.wait_for_lines(&["1 /a", "2 /a", "3 /a", "1 /b", "2 /b", "3 /b", "4 /a", "4 /b"]);
    assert_eq!(watched.wait_until_idle().dead, 0);
    // And once more, though all was well.
    let replayed = watched.env.cli(&["watch", "replay", "--since", "1h", "--json"]);
    assert_eq!(String::from_utf8_lossy(&replayed.stdout).trim(), "{\"files\":2}");
    watched.wait_for_lines(&["1 /a", "2 /a", "3 /a", "1 /b", "2 /b", "3 /b", "4 /a", "4 /b", "1 /a", "1 /b"]);
}

/// Its parts, as a probe is told.
fn parts(watched: &Watched) -> serde_json::Value {
    use std::io::{Read, Write};
    let socket = watched.env.state_dir().join("supervisor/services/watcher/watch.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /parts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn one_that_hangs_is_ended_with_all_that_it_started() {
    let script = "printf '%s\\n' \"$2\" >>\"$0\"; [ \"$2\" = 2 ] || { sleep 600 & echo $! >\"$0.child\"; wait; }";
    let watched = Watched::with(script, "timeout = \"500ms\"\nretries = 1");
    watched.write("a", "");
    watched.wait_for_lines(&["1", "2"]);
    assert_eq!(watched.wait_until_idle().dead, 0);
    let child = fs::read_to_string(watched.env.dir().join("lines.child")).unwrap();
    let child = nix::unistd::Pid::from_raw(child.trim().parse().unwrap());
    wait_for("what it had started to end", || nix::sys::signal::kill(child, None).is_err().then_some(()));
}

#[test]
fn one_that_floods_does_not_swell_the_watcher() {
    let watched = Watched::with("head -c 30000000 /dev/zero; printf '%s\\n' \"$3\" >>\"$0\"", "concurrency = 4");
    let process = watched.process.as_ref().map(watcher::pid).unwrap();
    let start = supervisor::process::identity::start_token(process).unwrap();
    let bytes = || supervisor::process::memory::Tree::default().look(process, start).unwrap().bytes;
    let before = bytes();
    for name in ["a", "b", "c", "d"] {
        watched.write(name, "");
    }
    watched.wait_for_lines(&["/a", "/b", "/c", "/d"]);
    watched.wait_until_idle();
    let more = bytes().saturating_sub(before);
    assert!(more < 8 << 20, "{more} bytes more than before 120 MB went by");
}

#[test]
fn one_that_is_not_there_loses_no_file() {
    let mut watched = Watched::new("");
    let program = watched.env.dir().join("handler");
    let lines = watched.env.dir().join("lines");
    watched.end(Signal::SIGTERM);
    let declared =
        fs::read_to_string(watched.env.config()).unwrap().replacen("\"/bin/sh\"", &format!("{program:?}"), 1);
    fs::write(watched.env.config(), declared).unwrap();
    watched.start();
    for name in ["a", "b"] {
        watched.write(name, "");
    }
    let why = wait_for("the parts to tell", || {
        let why = parts(&watched)["handler of all"].as_str()?.to_owned();
        (why != "ok").then_some(why)
    });
    assert!(why.contains(&program.display().to_string()), "{why}");
    assert_eq!(watched.set().dead, 0);
    fs::write(&program, format!("#!/bin/sh\nprintf '%s %s\\n' \"$5\" \"$6\" >>{lines:?}\n")).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    // It would be tried again half a minute later by itself.
    watched.end(Signal::SIGTERM);
    watched.start();
    watched.wait_for_lines(&["1 /a", "1 /b"]);
    assert_eq!(watched.wait_until_idle().dead, 0);
}

#[test]
fn one_that_is_cut_off_by_a_kill_is_told_so_the_next_time() {
    let script = "printf '%s %s\\n' \"$2\" \"$3\" >>\"$0\"; until [ -e \"$0.go\" ]; do sleep 0.02; done";
    let mut watched = Watched::with(script, "");
    watched.write("a", "");
    watched.wait_for_lines(&["1 /a"]);
    watched.end(Signal::SIGKILL);
    watched.start();
    watched.wait_for_lines(&["1 /a", "2 /a"]);
    fs::write(watched.env.dir().join("lines.go"), "").unwrap();
    let set = watched.wait_until_idle();
    assert_eq!((set.handled, set.dead), (1, 0));
}

#[test]
fn who_is_told_to_end_waits_for_it_and_begins_none() {
    let script =
        "printf 'begun %s\\n' \"$3\" >>\"$0\"; until [ -e \"$0.go\" ]; do sleep 0.02; done; echo ended >>\"$0\"";
    let mut watched = Watched::with(script, "");
    watched.write("a", "");
    watched.write("b", "");
    let first = wait_for("one to begin", || watched.lines().pop());
    let mut process = watched.process.take().unwrap();
    assert!(crate::support::signal(watcher::pid(&process), Signal::SIGTERM));
    crate::support::pass(super::A_WHILE, || assert!(process.0.try_wait().unwrap().is_none(), "it waits"));
    fs::write(watched.env.dir().join("lines.go"), "").unwrap();
    let code = wait_within("its end", Duration::from_secs(20), || process.0.try_wait().unwrap());
    assert_eq!((code.code(), watched.lines()), (Some(0), vec![first.clone(), "ended".to_owned()]));
    watched.start();
    let other = if first.ends_with('a') { "begun /b" } else { "begun /a" };
    watched.wait_for_lines(&[&first, "ended", other, "ended"]);
}
