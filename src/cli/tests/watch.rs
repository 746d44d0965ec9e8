//! `watch`: what a file-watcher says of itself, and what it is told.

use serde_json::{Value, json};

use super::{golden, usage};
use crate::cli::testing::{Facts, NOW};
use crate::error::ErrorKind;
use crate::model::{Canary, DeadLetter, WatchOn, WatchSetStatus, WatchState, WatchedFolder, WatcherStatus};

const MINUTE: i64 = 60_000;

fn folder(path: &str, state: WatchState, why: Option<&str>, remedy: Option<&str>) -> WatchedFolder {
    WatchedFolder { path: path.into(), state, why: why.map(str::to_owned), remedy: remedy.map(str::to_owned) }
}

/// Two sets, of which one is in trouble; three files that were given up, one of them with a name that steers terminals.
fn status() -> WatcherStatus {
    let letter = |id, set: &str, path: &str, why: &str| DeadLetter {
        id,
        set: set.into(),
        path: path.into(),
        event: WatchOn::Created,
        attempts: 4,
        at_ms: NOW - 5 * MINUTE,
        why: why.into(),
    };
    WatcherStatus {
        schema: 1,
        service: "file-watcher".into(),
        pid: Some(4711),
        events: Some("FSEvents".into()),
        canary: Some(Canary { proved_ms: Some(NOW - 2 * MINUTE), trouble: None }),
        sets: vec![
            WatchSetStatus {
                name: "invoices".into(),
                run: ["/usr/local/bin/file it", "{path}"].map(str::to_owned).to_vec(),
                folders: vec![
                    folder("/Users/u/Downloads", WatchState::Watched, None, None),
                    folder(
                        "/Users/u/Documents",
                        WatchState::Denied,
                        Some("macOS does not let it in"),
                        Some("allow it under System Settings, Privacy & Security, Files and Folders"),
                    ),
                ],
                known: 1_204,
                waiting: 3,
                running: 1,
                retrying: 2,
                dead: 104,
                handled: 17,
                handled_ms: Some(NOW - 3 * MINUTE),
                scanned_ms: Some(NOW - 30 * MINUTE),
                ..WatchSetStatus::default()
            },
            WatchSetStatus {
                name: "/mnt/nas".into(),
                run: vec!["ingest".into()],
                folders: vec![folder("/mnt/nas", WatchState::Polled, None, None)],
                behind: true,
                scanning: true,
                ..WatchSetStatus::default()
            },
        ],
        dead: vec![
            letter(19, "invoices", "/Users/u/Downloads/a\u{1b}[31m.pdf", "exit code 1: no\nsuch\u{7}"),
            letter(18, "invoices", "/Users/u/Downloads/b.pdf", &format!("exit code 2: {}", "long ".repeat(30))),
            letter(7, "invoices", "/Users/u/Downloads/c.pdf", "ended by SIGKILL"),
        ],
    }
}

fn body(status: &WatcherStatus) -> String {
    serde_json::to_string(status).unwrap()
}

#[test]
fn how_it_stands_is_told_in_tables() {
    let mut text = String::new();
    for (width, color) in [(None, ""), (Some(100), ""), (Some(60), ""), (Some(100), "--color always ")] {
        let mut facts = Facts::new(&["gateway"]);
        facts.width = width;
        facts.watcher("file-watcher", &[("GET /status ", 200, body(&status()))]);
        let ran = facts.run(&format!("{color}watch status"));
        assert_eq!((&ran.code, ran.notes.as_str()), (&Ok(0), ""));
        text.push_str(&format!("--- width {width:?} {color}\n{}", ran.out));
        if color.is_empty() {
            assert!(ran.out.chars().all(|c| c == '\n' || !c.is_control()), "foreign text steers the terminal");
        } else {
            assert!(!ran.out.contains("\u{1b}[31m.pdf") && !ran.out.contains('\u{7}'));
        }
    }
    golden("watch.txt", &text);
}

#[test]
fn json_is_what_it_says() {
    let mut facts = Facts::new(&[]);
    facts.watcher("w", &[("GET /status ", 200, body(&status()))]);
    let ran = facts.run("--json watch status w");
    let said: WatcherStatus = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, said), (Ok(0), status()));
}

#[test]
fn one_that_does_not_run_is_not_up() {
    let mut facts = Facts::new(&[]);
    facts.declare_watcher("w");
    let ran = facts.run("watch status");
    assert_eq!((ran.code, ran.out.as_str()), (Ok(3), ""));
    assert_eq!(ran.notes, "note: w does not run; it has never run so far\n");
    let ran = facts.run("--json watch status");
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&said["schema"], &said["service"], &said["pid"]), (&json!(1), &json!("w"), &Value::Null));
    for line in ["watch retry 3", "watch retry --all", "watch replay --since 24h"] {
        let error = facts.run(line).code.unwrap_err();
        assert_eq!((error.kind, error.kind.exit_code()), (ErrorKind::Unreachable, 4), "{line}");
        assert!(error.message.contains("w does not run") && error.hint.unwrap().contains("supervisor start w"));
    }
}

#[test]
fn which_one_is_meant() {
    let mut facts = Facts::new(&["gateway"]);
    let error = facts.run("watch status");
    assert!(usage(&error).hint.as_ref().unwrap().contains("builtin = \"file-watcher\""), "{error:?}");
    facts.declare_watcher("one");
    assert_eq!(facts.run("watch status").code, Ok(3));
    let ran = facts.run("watch status gateway");
    assert_eq!(usage(&ran).message, "service gateway is no file-watcher");
    assert_eq!(usage(&facts.run("watch status onn")).hint.as_deref(), Some("did you mean `one`?"));
    facts.declare_watcher("two");
    assert_eq!(usage(&facts.run("watch status")).hint.as_deref(), Some("name one of one, two"));
    usage(&facts.run("watch retry --all"));
    assert!(facts.run("watch retry --all --service two").code.unwrap_err().message.contains("two does not run"));
    // Of two the one that is enabled is meant.
    facts.declared().services[1].enabled = false;
    assert!(facts.run("watch status").notes.contains("two does not run"));
    // One that cannot be used is not there, and the reason is elsewhere.
    facts.declared().services.clear();
    facts.loaded().faults.push(crate::cli::FaultLine {
        code: "CFG007".into(),
        unit: None,
        line: 1,
        column: 1,
        message: "x".into(),
        help: None,
    });
    assert!(usage(&facts.run("watch status")).hint.as_ref().unwrap().contains("supervisor check"));
}

#[test]
fn files_are_handled_again_as_it_is_told() {
    let mut facts = Facts::new(&[]);
    let script = [
        ("POST /retry ", 200, json!({"files": 2})),
        ("POST /retry ", 200, json!({"files": 1})),
        ("POST /retry ", 200, json!({"files": 0})),
        ("POST /replay ", 200, json!({"files": 12})),
        ("POST /replay ", 200, json!({"files": 0})),
        ("POST /replay ", 200, json!({"files": 3})),
    ];
    let heard = facts.watcher("w", &script.map(|(request, status, body)| (request, status, body.to_string())));
    let out = |line: &str| {
        let ran = facts.run(line);
        assert_eq!((&ran.code, ran.notes.as_str()), (&Ok(0), ""), "{line}");
        ran.out
    };
    assert_eq!(out("watch retry 3 4"), "2 files are handled again\n");
    assert_eq!(out("watch retry --all --set invoices"), "1 file is handled again\n");
    assert_eq!(out("watch retry --all"), "no such file is given up, so none is handled again\n");
    assert_eq!(out("watch replay --since 24h --set in --service w"), "12 files are handled again\n");
    assert_eq!(out("watch replay --since 2026-11-22"), "no file was handled since then, so none is handled again\n");
    assert_eq!(out("--json watch replay --since 1h"), "{\"files\":3}\n");
    let bodies: Vec<Value> = heard
        .all()
        .iter()
        .map(|request| serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap())
        .collect();
    assert_eq!(bodies[0], json!({"ids": [3, 4], "set": null}));
    assert_eq!(bodies[1], json!({"ids": [], "set": "invoices"}));
    assert_eq!(bodies[3], json!({"since_ms": NOW - 24 * 60 * MINUTE, "set": "in"}));
    assert_eq!(bodies[4]["since_ms"], json!(NOW - (10 * 60 + 3) * MINUTE));
}

#[test]
fn what_it_refuses_is_told_in_its_words() {
    let mut facts = Facts::new(&[]);
    let no = json!({"error": {"message": "there is no set `x`; there are: in"}}).to_string();
    let hinted = json!({"error": {"code": 2, "message": "no", "hint": "yes"}}).to_string();
    facts
        .watcher("w", &[("POST /retry ", 404, no), ("POST /replay ", 400, hinted), ("GET /status ", 200, "{}".into())]);
    let error = facts.run("watch retry --all --set x").code.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Refused, "there is no set `x`; there are: in"));
    let error = facts.run("watch replay --since 1h").code.unwrap_err();
    assert_eq!((error.kind, error.hint.as_deref()), (ErrorKind::Usage, Some("yes")));
    let error = facts.run("watch status").code.unwrap_err();
    assert!(error.kind == ErrorKind::Internal && error.message.contains("the file-watcher at"), "{error:?}");
    usage(&facts.run("watch replay --since yesterday"));
}
