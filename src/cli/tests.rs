//! The commands as a whole: what is printed where, and the exit code.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::context::{EventRow, FaultLine, LogFrom, Tallies};
use super::testing::{Facts, NOW, Ran, name, no_config, up, view};
use super::{Stop, error_text, flush};
use crate::error::{Error, ErrorKind};
use crate::model::wire::{OrderReply, Outcome, ReloadAction, ReloadChange, ReloadReply, RunnerRequest, Verb};
use crate::model::{
    DaemonInfo, EventType, ExitClass, HealthInfo, LastExit, LedgerInfo, MemoryInfo, RestartCounts, RunView,
    ServiceInfo, Status, StatusReport, UnitKind, Unusable,
};

fn info(service: &str, status: Status, why: &str) -> ServiceInfo {
    ServiceInfo {
        name: name(service),
        kind: UnitKind::Service,
        status,
        why: why.into(),
        enabled: true,
        pid: None,
        runner_pid: Some(498),
        run_id: Some(7),
        since_ms: Some(NOW - 720_000),
        uptime_s: None,
        restart_attempt: Some(0),
        restarts: Some(RestartCounts::default()),
        last_exit: None,
        health: None,
        memory: None,
        next_run_ms: None,
        log_dropped: Some(0),
    }
}

fn report(services: Vec<ServiceInfo>) -> StatusReport {
    StatusReport {
        schema: StatusReport::SCHEMA,
        daemon: DaemonInfo {
            running: true,
            pid: Some(411),
            version: Some("0.1.0".into()),
            uptime_s: Some(86_400),
            config: None,
        },
        services,
        ledger: LedgerInfo { ok: true, note: None, waiting: 0 },
        troubles: vec![],
    }
}

/// One of each kind of row.
fn six() -> StatusReport {
    let restarts = RestartCounts { crash: 1, recycled: 3, requested: 9, refused: 9, ..RestartCounts::default() };
    report(vec![
        ServiceInfo {
            pid: Some(512),
            uptime_s: Some(10_920),
            restarts: Some(restarts),
            ..info("gateway", Status::Up, "healthy for 3h 2m")
        },
        ServiceInfo { next_run_ms: Some(NOW + 180_000), ..info("embedding-server", Status::Held, HELD) },
        ServiceInfo {
            pid: Some(1_234_567),
            uptime_s: Some(400_000),
            ..info("file-watcher", Status::Degraded, "degraded for 12s: 503")
        },
        ServiceInfo { restarts: None, ..info("emit-server", Status::Waiting, "waiting, next start in 12s") },
        ServiceInfo { kind: UnitKind::Task, ..info("daily-tasks", Status::Scheduled, "next run in 21h 52m") },
        ServiceInfo { enabled: false, ..info("weekly-tasks", Status::Disabled, "disabled in services.toml") },
    ])
}

const HELD: &str = "held for 12m: exit code 78 (EX_CONFIG); next try in 3m, or at once when \
                    ~/.openclaw/openclaw.json changes or you say `supervisor start embedding-server`";

fn told(report: &StatusReport) -> Facts {
    let facts = Facts::new(&[]);
    facts.daemon(&[("GET /v1/status ", 200, serde_json::to_string(report).unwrap())]);
    facts
}

/// Compares with a file in `golden`. Set UPDATE_GOLDEN to write it anew, then read the difference.
fn golden(file: &str, text: &str) {
    let path = format!("{}/src/cli/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{file}");
}

fn usage(ran: &Ran) -> &Error {
    let error = ran.code.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage, "{error:?}");
    assert_eq!(ran.out, "");
    error
}

#[test]
fn status_is_a_table_that_fits() {
    let mut text = String::new();
    for width in [Some(30), Some(60), Some(80), Some(120), None] {
        let mut facts = told(&six());
        facts.width = width;
        let ran = facts.run("status");
        assert_eq!(ran.code, Ok(3), "embedding-server is held");
        // What has no room at all, names and figures, runs over; words are cut.
        let limit = width.map_or(usize::MAX, usize::from).max(55);
        assert!(ran.out.lines().all(|line| line.chars().count() <= limit), "{width:?}:\n{}", ran.out);
        text.push_str(&format!("width {width:?}\n{}\n", ran.out));
    }
    golden("status.txt", &text);
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let plain = told(&six()).run("status").out;
    let coloured = told(&six()).run("status --color always").out;
    assert_ne!(plain, coloured);
    assert!(coloured.contains("\u{1b}[32mup\u{1b}[0m"), "{coloured:?}");
    assert!(coloured.contains("\u{1b}[31mheld\u{1b}[0m"), "{coloured:?}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}

#[test]
fn a_table_cannot_be_broken_from_inside() {
    let facts = told(&report(vec![info("a", Status::Up, "up\nfor\u{1b}[2Jever\u{7}")]));
    let out = facts.run("status").out;
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(!out.contains('\u{1b}') && !out.contains('\u{7}'), "{out:?}");
}

#[test]
fn status_of_names_has_details() {
    let mut report = six();
    report.services[0].last_exit =
        Some(LastExit { class: ExitClass::Crash, code: None, signal: Some("SIGKILL".into()), at_ms: NOW - 10_920_000 });
    report.services[0].restart_attempt = Some(2);
    report.services[0].health =
        Some(HealthInfo { verdict: "healthy".into(), latency_ms: Some(2.1), checked_ms: Some(NOW), failure: None });
    report.services[0].memory = Some(MemoryInfo {
        bytes: 612_368_384,
        metric: "anon+swap".into(),
        bytes_per_hour: Some(1_200_000.0),
        verdict: Some("flat".into()),
    });
    let ran = told(&report).run("status embedding-server gateway");
    assert_eq!(ran.code, Ok(3));
    golden("status_names.txt", &ran.out);
    assert_eq!(told(&report).run("status gateway").code, Ok(0), "only what was asked for counts");
}

#[test]
fn status_in_json_is_the_report_on_one_line() {
    let ran = told(&six()).run("status --json");
    assert_eq!(ran.out, format!("{}\n", serde_json::to_string(&six()).unwrap()));
    assert_eq!(ran.code, Ok(3));
    let ran = told(&six()).run("status --json gateway");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((json["services"].as_array().unwrap().len(), ran.code), (1, Ok(0)));
}

#[test]
fn status_of_a_name_that_nothing_has_says_what_was_meant() {
    for line in ["status gatewy", "status --json gateway gatewy"] {
        let ran = told(&six()).run(line);
        assert_eq!(usage(&ran).hint.as_deref(), Some("did you mean `gateway`?"));
    }
    assert_eq!(
        usage(&Facts::new(&["a"]).run("status a/b")).hint.as_deref(),
        Some("`supervisor status` shows all names")
    );
}

#[test]
fn every_unwell_status_of_an_enabled_service_ends_with_3() {
    for (status, code) in [
        (Status::Up, 0),
        (Status::Degraded, 0),
        (Status::Scheduled, 0),
        (Status::Running, 0),
        (Status::Done, 0),
        (Status::Starting, 3),
        (Status::Stopping, 3),
        (Status::Waiting, 3),
        (Status::Held, 3),
        (Status::Hung, 3),
        (Status::Down, 3),
        (Status::Failed, 3),
        (Status::Invalid, 3),
    ] {
        assert_eq!(told(&report(vec![info("a", status, "")])).run("status").code, Ok(code), "{status}");
    }
    let disabled = ServiceInfo { enabled: false, ..info("a", Status::Down, "") };
    assert_eq!(told(&report(vec![disabled])).run("status").code, Ok(0));
}

#[test]
fn troubles_stand_below_the_table() {
    let mut bad = report(vec![ServiceInfo { log_dropped: Some(9), ..info("a", Status::Up, "up for 1s") }]);
    bad.ledger = LedgerInfo { ok: false, note: Some("the disk is full".into()), waiting: 12 };
    bad.troubles = vec!["runner a: slow".into()];
    let out = told(&bad).run("status").out;
    let tail: Vec<_> = out.lines().skip(3).collect();
    assert_eq!(
        tail,
        [
            "runner a: slow",
            "ledger: the disk is full; 12 records wait",
            "a: 9 bytes of output could not be written to its log"
        ]
    );
}

#[test]
fn without_the_daemon_status_asks_runners_file_and_database() {
    let mut facts = Facts::new(&["gateway", "off", "lost"]);
    facts.declared().services[1].enabled = false;
    let why = "services.toml:12: no such key".to_owned();
    facts.declared().unusable.push(Unusable { name: name("bad"), is_task: false, why });
    let mut tallies = Tallies::default();
    tallies.counters.insert(name("gateway"), RestartCounts { crash: 2, ..RestartCounts::default() });
    facts.tallies = Ok(Some(tallies));
    facts.runner("_embedded", 498, vec![up("gateway", 512), up("stray", 513)]);
    // The socket of a runner that died is passed over.
    drop(std::os::unix::net::UnixListener::bind(facts.paths().runner_socket("dead")).unwrap());
    let ran = facts.run("status");
    assert_eq!(ran.code, Ok(3));
    assert_eq!(
        ran.out,
        "\
NAME     STATUS    PID  UPTIME  RESTARTS  WHY
gateway  up        512  12m            2  up for 12m
off      disabled    -  -              0  disabled in services.toml
lost     down        -  -              0  no runner serves it; start one with `supervisor run`
bad      invalid     -  -              0  invalid: services.toml:12: no such key
stray    up        513  12m            0  up for 12m

the daemon is not running; asked 1 runner and the database
"
    );
    let json: Value = serde_json::from_str(&facts.run("status --json").out).unwrap();
    assert_eq!(json["daemon"]["running"], false);
    assert_eq!(json["services"][0]["runner_pid"], 498);
    assert_eq!(json["services"][4]["enabled"], false);
}

#[test]
fn without_the_daemon_and_the_database_nothing_is_made_up() {
    let mut facts = Facts::new(&["gateway"]);
    let out = facts.run("status").out;
    assert!(out.contains("asked 0 runners, and there is no database yet"), "{out}");
    facts.tallies = Err(Error::new(ErrorKind::Internal, "the database is corrupt"));
    let out = facts.run("status").out;
    assert!(out.contains("not running; asked 0 runners\nthe database is corrupt\n"), "{out}");
    let json: Value = serde_json::from_str(&facts.run("status --json").out).unwrap();
    assert_eq!(json["services"][0]["restarts"], Value::Null);
    assert_eq!(json["ledger"]["ok"], false);
}

#[test]
fn of_two_runners_the_one_with_the_process_speaks_for_the_service() {
    let facts = Facts::new(&["gateway"]);
    facts.runner("_embedded", 1, vec![view("gateway", Status::Waiting)]);
    facts.runner("gateway", 2, vec![up("gateway", 512)]);
    let json: Value = serde_json::from_str(&facts.run("status --json").out).unwrap();
    assert_eq!((&json["services"][0]["status"], &json["services"][0]["runner_pid"]), (&json!("up"), &json!(2)));
    let why = facts.run("why gateway").out;
    assert!(why.starts_with("gateway is up"), "{why}");
}

#[test]
fn without_a_services_toml_what_runs_is_still_shown() {
    let mut facts = Facts::new(&[]);
    facts.fleet = Err(no_config());
    assert_eq!(facts.run("status").code, Err(no_config()));
    facts.runner("gateway", 2, vec![up("gateway", 512)]);
    let ran = facts.run("status");
    assert_eq!(ran.code, Ok(0));
    assert!(ran.out.contains("512") && ran.out.contains("there is no services.toml"), "{}", ran.out);
}

#[test]
fn a_daemon_that_hangs_up_is_like_none_for_readers_and_not_for_orders() {
    let facts = Facts::new(&["gateway"]);
    facts.runner("gateway", 2, vec![up("gateway", 512)]);
    let listener = std::os::unix::net::UnixListener::bind(facts.paths().daemon_socket()).unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let ran = facts.run("status");
    assert_eq!(ran.code, Ok(0));
    assert!(ran.out.contains("ended before it had answered; asked 1 runner"), "{}", ran.out);
    // Whether the order was taken is not known, so it may not be given a second time.
    assert_eq!(facts.run("stop gateway").code.unwrap_err().kind, ErrorKind::Unreachable);
}

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
    assert_eq!(json["text"], "other is down: no runner serves it; start one with `supervisor run`.");
    assert_eq!(usage(&facts.run("why gateways")).hint.as_deref(), Some("did you mean `gateway`?"));
}

#[test]
fn an_unknown_name_gets_a_suggestion_when_the_daemon_gives_none() {
    let unknown = json!({"error": {"code": 2, "message": "there is no such service"}}).to_string();
    let status = serde_json::to_string(&six()).unwrap();
    for (line, route) in [("why gatewy", "GET /v1/why/gatewy "), ("stop gateway gatewy", "POST /v1/order ")] {
        let facts = Facts::new(&[]);
        facts.daemon(&[(route, 404, unknown.clone()), ("GET /v1/status ", 200, status.clone())]);
        assert_eq!(usage(&facts.run(line)).hint.as_deref(), Some("did you mean `gateway`?"), "{line}");
    }
}

fn outcome(service: &str, ok: bool, text: &str) -> Outcome {
    Outcome { name: name(service), ok, text: text.into(), view: None }
}

#[test]
fn orders_go_to_the_daemon() {
    let reply = OrderReply { outcomes: vec![outcome("a", true, "up, pid 4711"), outcome("b", false, "held: code 78")] };
    let body = serde_json::to_string(&reply).unwrap();
    for (line, sent) in [
        ("start a b", r#"{"verb":"start","names":["a","b"],"wait":true}"#),
        ("stop --all", r#"{"verb":"stop","names":[],"wait":true}"#),
        ("restart a --no-wait", r#"{"verb":"restart","names":["a"],"wait":false}"#),
    ] {
        let facts = Facts::new(&["a", "b"]);
        let heard = facts.daemon(&[("POST /v1/order ", 200, body.clone())]);
        let expected = "a: up, pid 4711\nb: held: code 78\n".to_owned();
        assert_eq!(facts.run(line), Ran { code: Ok(3), out: expected, notes: String::new() }, "{line}");
        assert!(heard.all()[0].ends_with(sent), "{:?}", heard.all());
    }
    let facts = Facts::new(&["a"]);
    facts.daemon(&[("POST /v1/order ", 200, body.clone())]);
    assert_eq!(facts.run("start a --json").out, format!("{body}\n"));
}

#[test]
fn without_the_daemon_orders_go_to_the_runners() {
    let facts = Facts::new(&["a", "b", "c"]);
    let first = facts.runner("a", 11, vec![up("a", 1)]);
    let second = facts.runner("_embedded", 12, vec![up("b", 2), up("stray", 3)]);
    let order = |names: &[&str]| RunnerRequest::Order {
        verb: Verb::Restart,
        names: names.iter().map(|text| name(text)).collect(),
        by: "operator".into(),
        cause: None,
        wait: true,
    };
    let ran = facts.run("restart stray a");
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), "a: up, pid 11\nstray: up, pid 12\n"));
    assert!(ran.notes.starts_with("note: the daemon is not running"), "{}", ran.notes);
    assert_eq!(first.all(), [RunnerRequest::Snapshot, order(&["a"])]);
    assert_eq!(second.all(), [RunnerRequest::Snapshot, order(&["stray"])]);

    let ran = facts.run("restart --all");
    let expected = "a: up, pid 11\nb: up, pid 12\nc: no runner serves it; start one with `supervisor run`\n\
                    stray: up, pid 12\n";
    assert_eq!((ran.code, ran.out.as_str()), (Ok(3), expected));
    assert_eq!(first.all().pop(), Some(order(&[])));

    assert_eq!(usage(&facts.run("stop strai")).hint.as_deref(), Some("did you mean `stray`?"));
}

#[test]
fn without_anybody_orders_are_unreachable() {
    let facts = Facts::new(&["a"]);
    for line in ["start a", "stop --all", "reload", "reload --dry-run"] {
        let error = facts.run(line).code.unwrap_err();
        assert_eq!(error.kind.exit_code(), 4, "{line}");
        assert!(error.hint.unwrap().contains("supervisor run"), "{line}");
    }
    usage(&facts.run("start b"));
}

#[test]
fn reload_tells_what_changes() {
    let change = |service: &str, action, keys: &[&str]| ReloadChange {
        name: name(service),
        action,
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    let changes = vec![
        change("a", ReloadAction::Add, &[]),
        change("b", ReloadAction::Remove, &[]),
        change("c", ReloadAction::Restart, &["command", "env"]),
        change("d", ReloadAction::Live, &["throttle"]),
    ];
    let run = |line: &str, applied, changes: Vec<ReloadChange>| {
        let facts = Facts::new(&[]);
        let reply = serde_json::to_string(&ReloadReply { applied, changes }).unwrap();
        let heard = facts.daemon(&[("POST /v1/reload ", 200, reply)]);
        let ran = facts.run(line);
        assert_eq!(ran.code, Ok(0));
        assert!(heard.all()[0].ends_with(&format!("{{\"dry_run\":{}}}", !applied)), "{:?}", heard.all());
        ran.out
    };
    assert_eq!(
        run("reload", true, changes.clone()),
        "a: added\nb: stopped and removed\nc: restarted (command, env)\nd: taken over without a restart (throttle)\n"
    );
    let dry = run("reload --dry-run", false, changes);
    assert!(dry.contains("c: would be restarted (command, env)\n") && dry.ends_with("this was a dry run\n"), "{dry}");
    assert_eq!(run("reload", true, vec![]), "nothing has changed\n");
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
fn logs_are_printed_as_they_are() {
    let facts = Facts::new(&["gateway", "quiet"]);
    let log = facts.paths().log(&name("gateway"), crate::model::paths::Stream::Stderr);
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
    let log = facts.paths().log(&name("gateway"), crate::model::paths::Stream::Stdout);
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
    std::fs::write(facts.paths().log(&name("gateway"), crate::model::paths::Stream::Stdout), "x").unwrap();
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
    assert_eq!(facts.run("check").out, "services.toml is fine: 2 services, 0 tasks\n");
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
    assert!(!facts.run("check").out.contains("note:"));

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
    assert_eq!(ran.out, "error[CFG002]: unknown key `comand`\n\nservices.toml has 1 fault\n");
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

#[test]
fn errors_are_told_in_one_form() {
    let error = Error::new(ErrorKind::Unreachable, "the daemon is not running").hint("start it");
    assert_eq!(error_text(&error, false), "supervisor: the daemon is not running\n  hint: start it\n");
    let json: Value = serde_json::from_str(&error_text(&error, true)).unwrap();
    assert_eq!(json["error"], json!({"code": 4, "message": "the daemon is not running", "hint": "start it"}));
    assert_eq!(error_text(&Error::new(ErrorKind::Internal, "x"), false), "supervisor: x\n");
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    assert!(matches!(Stop::from(io::Error::from(io::ErrorKind::StorageFull)), Stop::Failed(_)));
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut writer = io::BufWriter::new(writer);
    writer.write_all(b"x").unwrap();
    assert_eq!(flush(&mut writer), Ok(false));
}
