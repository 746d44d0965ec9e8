//! `why`, `events`, `logs`, `check` and what is generated.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{golden, usage};
use crate::cli::context::{FaultLine, LogFrom};
use crate::cli::testing::{Facts, NOW, Ran, name, no_config, view};
use crate::model::paths::Stream;
use crate::model::{AlertSpec, EventType, RunView, SinkKind, SinkSpec, Status};
use crate::store::EventRow;

#[test]
fn why_is_one_paragraph() {
    let facts = Facts::new(&["gateway"]);
    facts.daemon(&[("GET /v1/why/gateway ", 200, json!({"name": "gateway", "text": "It is up."}).to_string())]);
    assert_eq!(facts.run("why gateway"), Ran { code: Ok(0), out: "It is up.\n".into(), notes: String::new() });

    let facts = Facts::new(&["gateway", "other"]);
    facts.runner("gateway", 2, vec![RunView { reason: "exit code 78".into(), ..view("gateway", Status::Held) }]);
    let ran = facts.run("why gateway");
    assert!(ran.out.starts_with("gateway is held since 2026-11-22 09:51 (12m)"), "{}", ran.out);
    assert!(ran.notes.starts_with("note: the daemon is not running; asked 1 runner"), "{}", ran.notes);
    let ran = facts.run("why other --json");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        json["text"],
        "other is down: no runner serves it; start one with `supervisor install` or `supervisor run`."
    );
    assert_eq!(usage(&facts.run("why gateways")).hint.as_deref(), Some("did you mean `gateway`?"));
}

fn rows() -> Vec<EventRow> {
    let row = |event: EventType, service: Option<&str>, run_id, metadata| EventRow {
        id: 1,
        timestamp_ms: NOW,
        event_type: event.to_string(),
        service_name: service.map(Into::into),
        run_id,
        metadata,
    };
    vec![
        row(EventType::SupervisorStart, None, None, json!({"version": "0.1.0", "pid": 411})),
        row(EventType::ServiceStart, Some("gateway"), Some(7), json!({"run_id": 7, "pid": 512})),
        row(
            EventType::ServiceCrash,
            Some("gateway"),
            Some(7),
            json!({"run_id": 7, "class": "crash", "signal": "SIGKILL", "uptime_ms": 10_920_000, "restart_attempt": 2}),
        ),
    ]
}

#[test]
fn events_are_a_table_or_lines_of_json() {
    let mut facts = Facts::new(&["gateway"]);
    facts.events = Some(rows());
    let mut text = String::new();
    for width in [Some(50), Some(60), Some(80), None] {
        facts.width = width;
        text.push_str(&format!("width {width:?}\n{}\n", facts.run("events").out));
    }
    golden("events.txt", &text);
    let out = facts.run("events --json").out;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["timestamp"], NOW);
    assert_eq!(lines[2]["event_type"], "service_crash");
    assert_eq!(lines[2]["service_name"], "gateway");
    assert_eq!(lines[2]["run_id"], 7);
    assert_eq!(lines[2]["metadata"]["signal"], "SIGKILL");
    assert_eq!(lines[0]["service_name"], Value::Null);
}

#[test]
fn events_are_filtered_by_what_was_typed() {
    let mut facts = Facts::new(&["gateway"]);
    facts.events = Some(rows());
    facts.run("events --since 24h --service gateway --type service_crash --type service_lost -n 5");
    let filter = facts.filters.borrow()[0].clone();
    assert_eq!(filter.since_ms, Some(NOW - 24 * 3_600_000));
    assert_eq!(filter.service, Some(name("gateway")));
    assert_eq!(filter.event_type, [EventType::ServiceCrash, EventType::ServiceLost]);
    assert_eq!(filter.limit, Some(5));
    for line in ["events --type crash", "events --since soon", "events --service a/b"] {
        usage(&facts.run(line));
    }
    assert_eq!(facts.filters.borrow().len(), 1, "what is wrong is found before the database is asked");
}

#[test]
fn events_with_evidence_say_where_it_is() {
    let mut facts = Facts::new(&["gateway"]);
    let file = |name: &str| {
        let data = json!({"run_id": 7, "reason": "no answer for 35 s", "evidence": name});
        let (event_type, service_name) = ("service_hung".into(), Some("gateway".into()));
        EventRow { id: 1, timestamp_ms: NOW, event_type, service_name, run_id: Some(7), metadata: data }
    };
    facts.events =
        Some(vec![file("hung-gateway-7-1.txt"), file("hung-gateway-8-1.txt"), file("/etc/passwd"), file("..")]);
    let folder = facts.paths().evidence();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hung-gateway-7-1.txt"), "x".repeat(12_697)).unwrap();

    let out = facts.run("events --evidence").out;
    let there = format!("run 7: no answer for 35 s: {}/hung-gateway-7-1.txt (12.3 KiB)\n", folder.display());
    assert!(out.contains(&there), "{out}");
    assert!(out.contains(&format!("{}/hung-gateway-8-1.txt (gone)\n", folder.display())), "{out}");
    assert!(out.contains(&format!("{}/passwd (gone)\n", folder.display())) && !out.contains(" /etc"), "{out}");
    assert!(facts.filters.borrow()[0].evidence);
    let out = facts.run("events --evidence --json").out;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["evidence_path"], folder.join("hung-gateway-7-1.txt").to_str().unwrap());
    assert_eq!((&lines[0]["evidence_bytes"], &lines[1]["evidence_bytes"]), (&json!(12_697), &Value::Null));
    assert_eq!(lines[1]["evidence_path"], folder.join("hung-gateway-8-1.txt").to_str().unwrap());

    let out = facts.run("events").out;
    assert!(out.contains("run 7: no answer for 35 s, evidence hung-gateway-7-1.txt\n"), "{out}");
    assert!(!facts.run("events --json").out.contains("evidence_path") && !facts.filters.borrow()[2].evidence);
}

#[test]
fn no_events_and_no_database_are_notes() {
    let mut facts = Facts::new(&["gateway"]);
    let ran = facts.run("events --json");
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), ""));
    assert!(ran.notes.starts_with("note: there is no database yet at "), "{}", ran.notes);
    facts.events = Some(vec![]);
    let ran = facts.run("events");
    assert_eq!((ran.code, ran.out.as_str(), ran.notes.as_str()), (Ok(0), "", "note: no such events are on record\n"));
    assert_eq!(usage(&facts.run("events --service gatewy")).hint.as_deref(), Some("did you mean `gateway`?"));
}

#[test]
fn logs_in_json_are_an_object_a_line() {
    let facts = Facts::new(&["gateway"]);
    std::fs::create_dir_all(facts.paths().logs()).unwrap();
    std::fs::write(facts.paths().log(&name("gateway"), Stream::Stderr), b"one \"1\"\n\nt\xffo\nno end").unwrap();
    let out = facts.run("--json logs gateway --stderr").out;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = lines.iter().map(|line| line["line"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one \"1\"", "", "t\u{fffd}o", "no end"]);
    assert_eq!(lines[0], json!({"service": "gateway", "stream": "stderr", "line": "one \"1\""}));
}

#[test]
fn logs_are_printed_as_they_are() {
    let facts = Facts::new(&["gateway", "quiet"]);
    let log = facts.paths().log(&name("gateway"), Stream::Stderr);
    std::fs::write(&log, b"\xff\x1b[31mred\0\r\n").unwrap();
    let mut out = Vec::new();
    assert_eq!(facts.run_to("logs gateway --stderr -n 3", &mut out), (Ok(0), String::new()));
    assert_eq!(out, b"\xff\x1b[31mred\0\r\n");
    let wanted = facts.logs.borrow()[0].clone();
    assert_eq!((wanted.log, wanted.from, wanted.follow), (log, LogFrom::LastLines(3), false));

    assert_eq!(facts.run_to("logs gateway --stderr --since 10m -f", &mut io::sink()).0, Ok(0));
    let wanted = facts.logs.borrow()[1].clone();
    assert_eq!((wanted.from, wanted.follow), (LogFrom::Since(NOW - 600_000), true));

    let ran = facts.run("logs quiet");
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), ""));
    assert!(ran.notes.starts_with("note: quiet has no log yet"), "{}", ran.notes);
    assert_eq!(usage(&facts.run("logs gatewy")).hint.as_deref(), Some("did you mean `gateway`?"));
    usage(&facts.run("logs gateway --since whenever"));
}

#[test]
fn a_log_that_cannot_be_read_is_an_error_with_its_path() {
    let facts = Facts::new(&["gateway"]);
    let log = facts.paths().log(&name("gateway"), Stream::Stdout);
    std::fs::create_dir(&log).unwrap();
    let error = facts.run("logs gateway").code.unwrap_err();
    assert!(error.message.contains(log.to_str().unwrap()), "{error}");
}

/// A stdout whose reader has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_closed_stdout_ends_every_command_quietly() {
    let mut facts = Facts::new(&["gateway"]);
    facts.events = Some(rows());
    std::fs::write(facts.paths().log(&name("gateway"), Stream::Stdout), "x").unwrap();
    for line in [
        "status",
        "status --json",
        "events",
        "events --json",
        "logs gateway",
        "check",
        "check --json",
        "schema",
        "completions bash",
        "man",
        "why gateway",
    ] {
        assert_eq!(facts.run_to(line, &mut Gone).0, Ok(0), "{line}");
    }
}

#[test]
fn check_says_fine_or_all_faults() {
    let mut facts = Facts::new(&["a", "b"]);
    let alerts = "note: alerts go to the desktop and the log only; with an [[alerts.sink]] they reach you elsewhere\n";
    assert_eq!(facts.run("check").out, format!("services.toml is fine: 2 services, 0 tasks\n{alerts}"));
    assert_eq!(facts.run("check").code, Ok(0));
    facts.declared().services[0].program = crate::model::Program::Command(vec!["no-such-program".into()]);
    let ran = facts.run("check");
    assert_eq!(ran.code, Ok(0), "notes do not change the exit code");
    assert!(
        ran.out.contains("\nnote: a: `no-such-program` is not on the service's PATH (/opt/homebrew/bin:"),
        "{}",
        ran.out
    );
    facts.declared().services[0].enabled = false;
    assert!(facts.run("check").out.ends_with(&format!(" tasks\n{alerts}")));
    facts.declared().alerts.sinks = vec![SinkSpec::new(SinkKind::Log)];
    let ran = facts.run("check");
    assert!(
        ran.out.contains("note: alerts go to log\nwarning: alerts go to the log only, where nobody is told"),
        "{}",
        ran.out
    );
    assert_eq!(ran.code, Ok(0), "nor do warnings");
    let json: Value = serde_json::from_str(&facts.run("check --json").out).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    facts.declared().alerts = AlertSpec::default();

    facts.loaded().faults.push(FaultLine {
        code: "CFG002".into(),
        unit: Some(name("a")),
        line: 3,
        column: 5,
        message: "unknown key `comand`".into(),
        help: Some("type `command`".into()),
    });
    facts.loaded().rendered = "error[CFG002]: unknown key `comand`\n".into();
    let ran = facts.run("check");
    assert_eq!(ran.code, Ok(5));
    assert_eq!(ran.out, format!("error[CFG002]: unknown key `comand`\n\nservices.toml has 1 fault\n{alerts}"));
    let json: Value = serde_json::from_str(&facts.run("check --json").out).unwrap();
    assert_eq!(json["ok"], false);
    let fault = json!({"code": "CFG002", "unit": "a", "line": 3, "column": 5, "message": "unknown key `comand`",
        "help": "type `command`"});
    assert_eq!(json["faults"], json!([fault]));

    facts.fleet = Err(no_config());
    assert_eq!(facts.run("check").code.unwrap_err().kind.exit_code(), 5);
}

#[test]
fn manuals_are_made_from_the_grammar() {
    let facts = Facts::new(&[]);
    assert_eq!(facts.run("schema").out, "{\"title\":\"services.toml\"}\n");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = facts.run(&format!("completions {shell}")).out;
        assert!(script.contains("supervisor") && script.contains("dry-run"), "{shell}");
    }
    assert!(facts.run("man").out.contains(".TH supervisor 1"));
    let dir = facts.dir.path().join("share/man");
    assert_eq!(facts.run(&format!("man {}", dir.display())).code, Ok(0));
    for page in ["supervisor.1", "supervisor-status.1", "supervisor-exec.1"] {
        assert!(dir.join(page).is_file(), "{page}");
    }
    std::fs::write(facts.dir.path().join("file"), "").unwrap();
    let into_file = facts.run(&format!("man {}/file/x", facts.dir.path().display()));
    assert!(into_file.code.unwrap_err().message.contains("manual pages"));
}
