//! `status`, with and without the daemon.

use serde_json::{Value, json};

use super::{golden, info, report, six, told, usage};
use crate::cli::context::Tallies;
use crate::cli::testing::{Facts, NOW, name, no_config, up, view};
use crate::error::{Error, ErrorKind};
use crate::model::{
    Exit, ExitClass, Growth, HealthInfo, LastExit, Latencies, LedgerInfo, MemoryInfo, MemoryVerdict, Metric, PartInfo,
    RestartCounts, ServiceInfo, StartInfo, Status, Unusable, Verdict,
};

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
    report.services[0].last_exit = Some(LastExit {
        signal: Some("SIGKILL".into()),
        ..LastExit::new(ExitClass::Crash, Exit::Unknown, NOW - 10_920_000)
    });
    report.services[0].restart_attempt = Some(2);
    report.services[0].health = Some(HealthInfo {
        verdict: Verdict::Healthy,
        latency_ms: Some(2.1),
        checked_ms: Some(NOW),
        note: Some("two probes were void: the machine slept 20m ago".into()),
        latencies: Some(Latencies { p50_ms: 1.9, p95_ms: 80.0, p99_ms: 1250.0, answers: 200 }),
        start: Some(StartInfo {
            budget_ms: 300_000,
            learned_p95_ms: Some(41_000),
            learned_from: 12,
            first_of_program: false,
            progress: None,
        }),
        parts: vec![
            PartInfo {
                name: "telegram".into(),
                ok: false,
                since_ms: NOW - 720_000,
                trouble: Some("not connected".into()),
            },
            PartInfo { name: "slack".into(), ok: true, since_ms: NOW - 10_920_000, trouble: None },
        ],
        ..HealthInfo::default()
    });
    report.services[0].memory = Some(MemoryInfo {
        bytes: 612_368_384,
        metric: Metric::AnonSwap,
        bytes_per_hour: Some(1_200_000.0),
        verdict: Some(MemoryVerdict::Growing),
        processes: 3,
        sampled_ms: NOW - 20_000,
        growth: Some(Growth {
            verdict: MemoryVerdict::Growing,
            bytes_per_hour: 14_680_064.0,
            low: 13_000_000.0,
            high: 16_000_000.0,
            grown: 220_200_960.0,
            hours: 15.0,
            hours_left: Some(20.5),
            bytes_per_request: None,
            test: "level".into(),
        }),
        growing_since_ms: Some(NOW - 54_000_000),
        waiting: Some("it grows: its restart waits for 03:00-05:00".into()),
        heap_bytes: None,
        troubles: Vec::new(),
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
fn services_toml_is_read_as_a_whole_only_where_the_daemon_does_not_answer() {
    for line in ["status", "status --json", "status gateway"] {
        let facts = told(&six());
        facts.run(line).code.unwrap();
        assert_eq!(facts.fleets_read.get(), 0, "{line}");
    }
    let facts = Facts::new(&["a"]);
    facts.run("status --json").code.unwrap();
    assert_eq!(facts.fleets_read.get(), 1);
}

#[test]
fn a_daemon_of_another_version_has_the_word_in_json() {
    let answer = |body: &str| {
        let facts = Facts::new(&[]);
        facts.daemon(&[("GET /v1/status ", 200, body.into())]);
        facts.run("status --json")
    };
    let newer = r#"{"schema":2,"services":[{"name":"a","enabled":true,"status":"up","mood":"fine"}],"more":{}}"#;
    let ran = answer(&format!("{newer}\n"));
    assert_eq!((ran.out, ran.code), (format!("{newer}\n"), Ok(0)));
    assert_eq!(answer(&newer.replace("\"up\"", "\"down\"")).code, Ok(3));
    assert_eq!(answer(&newer.replace("\"up\"", "\"down\"").replace("true", "false")).code, Ok(0), "nobody wants it up");
    for wrong in [newer.replace("\"up\"", "\"elated\""), newer.replace("services", "serfs"), newer.replace("{}}", "{}")]
    {
        let ran = answer(&wrong);
        assert_eq!((ran.code.unwrap_err().kind, ran.out), (ErrorKind::Internal, String::new()), "{wrong}");
    }
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
lost     down        -  -              0  no runner serves it; start one with `supervisor install` or `supervisor run`
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
