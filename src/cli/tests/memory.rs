//! `memory`, but for `replay`, which has its tests beside it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{golden, info, report, usage};
use crate::cli::context::MemoryKept;
use crate::cli::testing::{Facts, NOW, name};
use crate::error::ErrorKind;
use crate::model::{
    EventType, Growth, Life, MemoryInfo, MemorySample, MemorySpec, MemoryVerdict, Metric, Moment, OnGrowth,
    ServiceInfo, Status,
};
use crate::store::{EventRow, HistoryPoint, KeptSample};

const MIB: u64 = 1 << 20;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn spec(limit: Option<u64>) -> MemorySpec {
    MemorySpec {
        growth: Some(10_000_000),
        limit,
        interval: Duration::from_secs(60),
        plateau: None,
        recycle: None,
        on_growth: OnGrowth::Alert,
        idle: None,
        quiet: vec![],
        max_wait: Duration::from_secs(3600),
        ceiling: None,
        heap: None,
        requests: None,
        snapshot_signal: None,
    }
}

/// A sample of run 7.
fn point(ago_ms: i64, bytes: u64) -> HistoryPoint {
    HistoryPoint { at_ms: NOW - ago_ms, span_ms: 0, run_id: 7, bytes }
}

fn newest(bytes: u64) -> KeptSample {
    let at = Moment { wall_ms: NOW - 20 * MINUTE, ..Moment::default() };
    let sample = MemorySample { at, metric: Metric::AnonSwap, bytes, processes: vec![], count: 3 };
    let life = Life { boot_id: "b".into(), pid: 7, start: 1 };
    KeptSample { service: name("gateway"), run_id: 7, life, sample }
}

/// A service called gateway with these points and no daemon.
fn seen(points: Vec<HistoryPoint>) -> Facts {
    let mut facts = Facts::new(&["gateway", "other"]);
    facts.declared().services[0].memory = Some(spec(None));
    let newest = points.last().map(|point| newest(point.bytes));
    facts.memory = Some(vec![MemoryKept { service: name("gateway"), newest, points }]);
    facts
}

fn growth() -> Growth {
    let mib = MIB as f64;
    Growth {
        verdict: MemoryVerdict::Growing,
        bytes_per_hour: 14.2 * mib,
        low: 11.0 * mib,
        high: 17.5 * mib,
        grown: 300.0 * mib,
        hours: 20.0,
        hours_left: Some(61.5),
        bytes_per_request: None,
        test: "L".into(),
    }
}

fn row(event: EventType, run_id: u64, ago_ms: i64, metadata: Value) -> EventRow {
    EventRow {
        id: 1,
        timestamp_ms: NOW - ago_ms,
        event_type: event.to_string(),
        service_name: Some("gateway".into()),
        run_id: Some(run_id),
        metadata,
    }
}

/// Two days: a run that crashed, one that leaks under a sawtooth, with the least of quarters at first, and a night asleep.
fn story() -> Facts {
    let mut points = Vec::new();
    for ago in (0..48 * 60).rev().step_by(5) {
        let asleep = (12 * 60..19 * 60).contains(&ago);
        let (run_id, hours) = if ago > 40 * 60 { (6, 0.0) } else { (7, (40 * 60 - ago) as f64 / 60.0) };
        let span_ms = if ago > 36 * 60 { 15 * MINUTE } else { 0 };
        let tooth = if span_ms > 0 { 0 } else { ago as u64 % 60 };
        if !asleep && (span_ms == 0 || ago % 15 == 4) {
            let bytes = 400 * MIB + (hours * 14.0) as u64 * MIB + tooth * MIB;
            points.push(HistoryPoint { span_ms, run_id, ..point(ago * MINUTE, bytes) });
        }
    }
    let mut facts = seen(points);
    facts.declared().services[0].memory = Some(spec(Some(1100 * MIB)));
    let mut grown = json!(growth());
    grown["since_ms"] = json!(NOW - 41 * HOUR);
    facts.events = Some(vec![
        row(EventType::ServiceStart, 6, 47 * HOUR, json!({})),
        row(
            EventType::ServiceCrash,
            6,
            40 * HOUR,
            json!({"class": "crash", "signal": "SIGKILL", "uptime_ms": 7 * HOUR}),
        ),
        row(EventType::ServiceStart, 7, 40 * HOUR - 1000, json!({})),
        row(EventType::MemoryGrowth, 7, 20 * HOUR, grown),
        row(EventType::MemoryLimit, 7, 2 * HOUR, json!({"bytes": 940 * MIB, "stage": "near"})),
    ]);
    facts
}

fn daemon(facts: &Facts, times: usize) {
    let memory = MemoryInfo {
        bytes: 960 * MIB,
        metric: Metric::AnonSwap,
        bytes_per_hour: Some(growth().bytes_per_hour),
        verdict: Some(MemoryVerdict::Growing),
        processes: 3,
        sampled_ms: NOW - 12_000,
        growth: Some(growth()),
        growing_since_ms: Some(NOW - 38 * HOUR),
        waiting: Some("a restart waits for a quiet hour".into()),
        heap_bytes: None,
        troubles: Vec::new(),
    };
    let info = ServiceInfo { memory: Some(memory), ..info("gateway", Status::Up, "healthy") };
    let said = serde_json::to_string(&report(vec![info])).unwrap();
    facts.daemon(&vec![("GET /v1/status ", 200, said); times]);
}

#[test]
fn a_history_is_drawn() {
    let mut facts = story();
    daemon(&facts, 3);
    let mut text = String::new();
    for width in [Some(40), Some(80), Some(200)] {
        facts.width = width;
        let ran = facts.run("memory gateway");
        assert_eq!((&ran.code, ran.notes.as_str()), (&Ok(0), ""));
        let widest = ran.out.lines().skip(3).take(15).map(|line| line.chars().count()).max();
        assert!(widest <= width.map(usize::from), "{width:?}: {widest:?}");
        text.push_str(&format!("width {width:?}\n{}\n", ran.out));
    }
    facts.width = Some(60);
    let odd: [(&str, Vec<HistoryPoint>); 7] = [
        ("one", vec![point(HOUR, 70 * MIB)]),
        ("all equal", (0..60).rev().map(|ago| point(ago * MINUTE, 70 * MIB)).collect()),
        ("nothing", (0..60).rev().map(|ago| point(ago * MINUTE, 0)).collect()),
        ("bytes", vec![point(2 * MINUTE, 1), point(MINUTE, 2), point(0, 3)]),
        ("all there is", vec![point(2 * MINUTE, 0), point(MINUTE, u64::MAX / 2), point(0, u64::MAX)]),
        ("a year", (0..365).rev().map(|ago| point(ago * 24 * HOUR, (400 - ago as u64) * MIB)).collect()),
        ("the future", vec![point(HOUR, MIB), point(0, 2 * MIB), point(-400 * 24 * HOUR, 900 * MIB)]),
    ];
    for (what, points) in odd {
        let mut facts = seen(points);
        facts.width = Some(60);
        text.push_str(&format!("{what}\n{}\n", facts.run("memory gateway --since 400d").out));
    }
    golden("memory.txt", &text);
}

#[test]
fn without_a_daemon_the_database_tells() {
    let mut facts = story();
    let ran = facts.run("memory gateway");
    let lines: Vec<_> = ran.out.lines().take(2).collect();
    assert!(
        lines[0].starts_with("gateway: last ") && lines[0].ends_with(" (anon+swap, 3 processes), 20m ago"),
        "{}",
        lines[0]
    );
    assert_eq!(
        lines[1],
        "growing by +14.2 MiB/h (11.0 to 17.5) since 2026-11-20 17:03, 2d 13h awake until there is no more room, limit 1.0 GiB"
    );
    assert!(facts.run("memory gateway --color always").out.contains("\u{1b}["));
    assert!(!ran.out.contains('\u{1b}'));
    let types = facts.filters.borrow()[0].event_type.clone();
    assert!(types.contains(&EventType::ServiceCrash) && types.contains(&EventType::MemoryLimit));

    // What is told beside it leaves it as it is.
    let beside = [
        (json!({"of": "heap", "cleared": true}), None),
        (json!({"of": "heap", "bytes_per_hour": 1.0}), Some("its heap grows: +0.0 MiB/h")),
        (json!({"stage": "restart", "bytes": 1}), Some("restarted for its growth")),
    ];
    for (metadata, mark) in beside {
        facts.events.as_mut().unwrap().push(row(EventType::MemoryGrowth, 7, 1, metadata));
        let ran = facts.run("memory gateway");
        assert!(ran.out.contains("growing by +14.2 MiB/h"), "{}", ran.out);
        assert!(mark.is_none_or(|mark| ran.out.contains(mark)), "{}", ran.out);
    }

    // Growth of a run that is over is none of this one; nor is one that is over.
    for metadata in [json!({"cleared": true}), Value::Null] {
        let run = if metadata.is_null() { 6 } else { 7 };
        facts.events.as_mut().unwrap().push(row(EventType::MemoryGrowth, run, 1, metadata));
        assert!(facts.run("memory gateway").out.contains("no trend is known"));
    }
}

#[test]
fn json_has_points_and_marks() {
    let facts = story();
    daemon(&facts, 1);
    let ran = facts.run("memory gateway --since 3h --json");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["schema"], &json["service"], &json["limit"]), (&json!(1), &json!("gateway"), &json!(1100 * MIB)));
    assert_eq!(json["points"].as_array().unwrap().len(), 36);
    assert_eq!(json["points"][0]["run_id"], 7);
    assert_eq!(json["marks"], json!([{"at_ms": NOW - 2 * HOUR, "kind": "limit", "text": "near its limit: 940.0 MiB"}]));
    assert_eq!(json["now"]["growth"]["test"], "L");
    assert_eq!(json["trend"]["to_ms"], NOW);
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn a_picture_is_a_file_of_its_own() {
    let mut facts = story();
    let odd = row(EventType::MemoryLimit, 7, HOUR, json!({"reason": "<b>&\"\u{7}'</b>"}));
    facts.events.as_mut().unwrap().push(odd);
    let path = facts.dir.path().join("picture.svg");
    std::fs::write(&path, "what was there").unwrap();
    let ran = facts.run(&format!("memory gateway --svg {}", path.display()));
    assert_eq!(ran.code, Ok(0));
    assert!(ran.out.ends_with(&format!("the picture is in {}\n", path.display())), "{}", ran.out);
    let svg = std::fs::read_to_string(&path).unwrap();
    golden("memory.svg", &svg);
    assert!(svg.contains("&lt;b&gt;&amp;&quot; '&lt;/b&gt;</title>"));
    for (to, message, hint) in [
        (facts.dir.path().to_path_buf(), "it is a folder", "memory.svg"),
        (facts.dir.path().join("none/a.svg"), "cannot write the picture to", "a folder that you may write to"),
    ] {
        let error = facts.run(&format!("memory gateway --svg {}", to.display())).code.unwrap_err();
        assert!(error.message.contains(message), "{}", error.message);
        assert!(error.hint.unwrap().contains(hint));
    }
}

#[test]
fn where_there_is_nothing_it_is_said_what_to_type() {
    let mut facts = Facts::new(&["gateway", "other"]);
    facts.declared().services[0].memory = Some(spec(None));
    for memory in [None, Some(vec![])] {
        facts.memory = memory;
        assert_eq!(usage(&facts.run("memory gatewy")).hint.as_deref(), Some("did you mean `gateway`?"));
        let ran = facts.run("memory gateway");
        let note = "note: there are no samples of the memory of gateway since 2026-11-20 10:03; while it is up the daemon takes one each 1m\n";
        assert_eq!((ran.code, ran.out.as_str(), ran.notes.as_str()), (Ok(0), "", note));
        let notes = facts.run("memory other").notes;
        assert!(notes.contains("\n\n[service.other.memory]\ngrowth = \"10MB/h\"\n"), "{notes}");
        let json: Value = serde_json::from_str(&facts.run("memory other --json").out).unwrap();
        assert_eq!((&json["points"], &json["now"]), (&json!([]), &Value::Null));
    }
    // What is gone from services.toml still has its history.
    facts.memory = Some(vec![MemoryKept { service: name("gone"), newest: None, points: vec![point(HOUR, MIB)] }]);
    assert!(facts.run("memory gone").out.starts_with("gone: there is no sample of the last two days\n\n"));

    let facts = Facts::new(&["gateway"]);
    let ran = facts.run("memory");
    assert!(ran.out.is_empty() && ran.notes.contains("[service.NAME.memory]"), "{}", ran.notes);
}

#[test]
fn all_services_are_told_in_a_line_each() {
    let mut facts = story();
    facts.memory.as_mut().unwrap().insert(
        0,
        MemoryKept { service: name("gone"), newest: None, points: vec![point(HOUR, MIB), point(0, 2 * MIB)] },
    );
    facts.declared().services[1].memory = Some(spec(None));
    daemon(&facts, 1);
    assert_eq!(
        facts.run("memory").out,
        "NAME     VERDICT        NOW        TREND  LAST 48 H\n\
         gateway  growing  960.0 MiB  +14.2 MiB/h  ▁▁▁▁▁▁▂▂▂▃▃▃▄▄▅··▆▆▆▇▇▇█\n\
         other    -                -            -  ························\n\
         gone     -                -            -  ·······················▁\n"
    );
    let json: Value = serde_json::from_str(&facts.run("memory --json").out).unwrap();
    assert_eq!(json["services"][0]["service"], "gateway");
    assert_eq!(json["services"][1]["now"], Value::Null);
}

#[test]
fn replay_reads_its_options_and_its_file() {
    let facts = Facts::new(&[]);
    let file = facts.dir.path().join("a.csv");
    std::fs::write(&file, "t_seconds,rss_bytes,pid\n0,1000000,1\n60,1000000,1\n").unwrap();
    let run = |line: &str| facts.run(&format!("memory replay {line} {}", file.display()));
    let ran = run("--growth 10MB/h --plateau 1GiB --limit 3GiB --recycle 24h");
    let note = "note: 2 samples over 1m: nothing to tell\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.notes.as_str()), (Ok(0), "", note));
    for (line, message, hint) in [
        ("--growth 0MB/h", "--growth: 0MB/h is outside its bounds", "from 1KB/h"),
        ("--growth 10MB/h --limit 0MB", "--limit: 0MB is outside its bounds", "from 1MiB"),
        ("--growth 10MB/h --plateau 0MB", "--plateau: 0MB is outside its bounds", "from 1MiB"),
        ("--growth 10MB/h --recycle 0s", "--recycle: 0s is outside its bounds", "from 1s"),
        (
            "--growth 10MB/h --plateau 3GiB --limit 3GiB",
            "--plateau: it is not below --limit",
            "a plateau below the limit",
        ),
        ("--growth 10mb/h", "--growth: \"10mb/h\" is not a rate", "write \"10MB/h\""),
        ("--growth 10MB", "--growth: \"10MB\" is not a rate", "10MB/h"),
        ("--growth 10MB/h --plateau 1", "--plateau: \"1\" has no unit", "1MiB"),
        ("--growth 10MB/h --limit x", "--limit: \"x\" is not a size", "3GiB"),
        ("--growth 10MB/h --recycle 1", "--recycle: \"1\" has no unit", "1s"),
    ] {
        let ran = run(line);
        let error = usage(&ran);
        assert!(error.message.contains(message), "{}", error.message);
        assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error:?}");
    }
    for path in ["/nowhere/a.csv", facts.dir.path().to_str().unwrap()] {
        let error = facts.run(&format!("memory replay --growth 10MB/h {path}")).code.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.message.starts_with(&format!("cannot read {path}: ")), "{}", error.message);
    }
}

/// What the daemon says of a gateway with this status and memory.
fn standing(facts: &Facts, status: Status, memory: Option<MemoryInfo>, times: usize) {
    let info = ServiceInfo { memory, ..info("gateway", status, "") };
    let said = serde_json::to_string(&report(vec![info])).unwrap();
    facts.daemon(&vec![("GET /v1/status ", 200, said); times]);
}

fn early() -> MemoryInfo {
    MemoryInfo {
        bytes: 26 * MIB,
        metric: Metric::AnonSwap,
        bytes_per_hour: None,
        verdict: Some(MemoryVerdict::Early),
        processes: 1,
        sampled_ms: NOW - 2 * MINUTE,
        growth: None,
        growing_since_ms: None,
        waiting: None,
        heap_bytes: None,
        troubles: Vec::new(),
    }
}

#[test]
fn what_does_not_run_uses_nothing_now() {
    let seen_before = || {
        let mut facts = seen((2..40).rev().map(|ago| point(ago * MINUTE, 26 * MIB)).collect());
        facts.memory.as_mut().unwrap()[0].newest.as_mut().unwrap().sample.at.wall_ms = NOW - 2 * MINUTE;
        facts
    };
    let facts = seen_before();
    let ran = facts.run("memory gateway").out;
    assert!(ran.starts_with("gateway: last 26.0 MiB (anon+swap, 3 processes), 2m ago\n"), "{ran}");
    assert!(facts.run("memory").out.contains("  last 26.0 MiB, 2m ago  "), "{}", facts.run("memory").out);
    for (status, word) in
        [(Status::Down, "it is down"), (Status::Held, "it is held"), (Status::Failed, "it has failed")]
    {
        for memory in [None, Some(early())] {
            let facts = seen_before();
            standing(&facts, status, memory, 2);
            let ran = facts.run("memory gateway").out;
            let first = ran.lines().next().unwrap();
            assert!(
                first.starts_with("gateway: last 26.0 MiB (") && first.ends_with(&format!("2m ago; {word}")),
                "{first}"
            );
            let list = facts.run("memory").out;
            assert!(list.contains("  last 26.0 MiB, 2m ago  "), "{list}");
        }
    }
    let facts = seen_before();
    standing(&facts, Status::Degraded, Some(early()), 1);
    assert!(facts.run("memory gateway").out.starts_with("gateway: 26.0 MiB now (anon+swap, 1 process)\n"));
}

#[test]
fn how_early_it_is_is_told() {
    let mut facts = seen((2..14).rev().map(|ago| point(ago * MINUTE, 26 * MIB)).collect());
    facts.memory.as_mut().unwrap()[0].newest.as_mut().unwrap().sample.at.wall_ms = NOW - MINUTE;
    standing(&facts, Status::Up, Some(early()), 2);
    assert_eq!(facts.run("memory gateway").out.lines().nth(1), Some("too early for a trend"), "its start is not known");
    facts.events = Some(vec![row(EventType::ServiceStart, 7, 14 * MINUTE, json!({}))]);
    let ran = facts.run("memory gateway").out;
    assert_eq!(ran.lines().nth(1), Some("too early for a trend: 12m of about 4h"));
}

#[test]
fn a_limit_far_away_and_minutes_are_told_as_they_are() {
    for (limit, told) in
        [(40, "the limit of 40.0 MiB is below the picture"), (3000, "the limit of 2.9 GiB is above the picture")]
    {
        let mut facts = seen((0..5).rev().map(|ago| point(ago * MINUTE, 200 * MIB)).collect());
        facts.width = Some(80);
        facts.events = Some(vec![
            row(EventType::MemorySnapshot, 7, MINUTE, json!({"run_id": 7, "file": "/var/a.heapsnapshot"})),
            row(EventType::MemorySnapshot, 7, 0, json!({"run_id": 7, "failed": "it does not run"})),
            row(EventType::MemoryLimit, 7, 0, json!({"stage": "over", "bytes": 200 * MIB})),
            row(EventType::MemoryLimit, 7, 0, json!({"stage": "restart", "bytes": 200 * MIB})),
        ]);
        facts.declared().services[0].memory = Some(spec(Some(limit * MIB)));
        let memory = MemoryInfo { waiting: Some("it is above its limit of 40.0 MiB, and waits".into()), ..early() };
        standing(&facts, Status::Up, Some(memory), 2);
        let out = facts.run("memory gateway").out;
        assert!(out.contains(told) && !out.contains('╌'), "{out}");
        assert_eq!(out.lines().nth(1), Some("too early for a trend, it is above its limit of 40.0 MiB, and waits"));
        assert!(out.contains("11-22 09:59:00") && out.contains("11-22 10:03:00\n"), "{out}");
        for mark in [
            "S  heap snapshot in /var/a.heapsnapshot\n",
            "S  no heap snapshot: it does not run\n",
            "L  above its limit: 200.0 MiB\n",
            "L  restarted for its limit: 200.0 MiB\n",
        ] {
            assert!(out.contains(mark), "{mark}: {out}");
        }
        let ran = facts.run("memory gateway --svg -");
        assert!(ran.out.starts_with("<svg ") && ran.out.ends_with("</svg>\n") && ran.out.contains(told), "{}", ran.out);
    }
    let facts = seen(vec![point(0, MIB)]);
    assert_eq!(facts.run("memory gateway --svg - --json").code.unwrap_err().kind, ErrorKind::Usage);
}

#[test]
fn without_samples_no_picture_is_written() {
    let mut facts = Facts::new(&["gateway"]);
    facts.declared().services[0].memory = Some(spec(None));
    facts.memory = Some(vec![]);
    let path = facts.dir.path().join("none.svg");
    for more in ["", " --json"] {
        let ran = facts.run(&format!("memory gateway --svg {}{more}", path.display()));
        assert_eq!(ran.code, Ok(0));
        assert!(ran.notes.starts_with("note: there are no samples of the memory of gateway"), "{}", ran.notes);
    }
    assert_eq!(facts.run("memory gateway --svg -").out, "");
    assert!(!path.exists());
    let task = crate::manager::job::tests::task("nightly", vec![]);
    facts.declared().tasks.push(task);
    assert_eq!(facts.run("memory nightly").notes, "note: nightly is a task, and tasks have no memory history\n");
}
