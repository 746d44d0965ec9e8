//! `alerts` and what it says, and where else open alerts are told.

use serde_json::{Value, json};

use super::{golden, info, report, told, usage};
use crate::cli::context::{AlertsSeen, AlertsWanted, Sources};
use crate::cli::testing::{Facts, NOW, Ran, name, up};
use crate::cli::{Files, Global};
use crate::model::testing::notice;
use crate::model::wire::{AlertReply, TestDelivery};
use crate::model::{
    Alert, AlertChange, AlertSpec, AlertState, Breaker, Cause, HeardAt, Message, Moment, Mono, Notice, NoticeKind,
    OpenAlert, OutboxRow, RowState, Rule, Severity, Silence, SinkKind, SinkSpec, SinkState, Status,
};
use crate::store::{Ledger, Telling};

const MINUTE: i64 = 60_000;

fn alert(id: &str, rule: Rule, service: &str) -> Alert {
    Alert {
        id: id.into(),
        rule,
        service: Some(name(service)),
        cause: Some(Cause::Crash),
        severity: Severity::Critical,
        state: AlertState::Open,
        since_ms: NOW - 12 * MINUTE,
        fired_ms: NOW - 10 * MINUTE,
        last_ms: NOW - MINUTE,
        count: 5,
        title: format!("{service} crashed 3 times in 5 minutes: exit code 1"),
        facts: vec!["first seen after /usr/bin/node changed".into()],
        tail: vec!["Error: boom".into(), "  at main".into()],
        doing: "It is started again in 40s.".into(),
        advice: vec![format!("supervisor logs {service} --stderr")],
        fingerprint: Some("a1b2c3d4".into()),
        told: true,
        quiet: None,
        reminders: 1,
        remind_ms: Some(NOW + 50 * MINUTE),
        acknowledged_ms: None,
        resolved_ms: None,
        outcome: String::new(),
        memory: json!({"secret of the rules": 1}).as_object().cloned().unwrap(),
    }
}

fn row(id: i64, sink: &str, alert: &Alert, state: RowState) -> OutboxRow {
    let key = format!("{}.0", alert.id);
    OutboxRow {
        id,
        sink: sink.into(),
        notice: Notice { key, kind: NoticeKind::Fired, at_ms: alert.fired_ms, alert: alert.clone(), beyond: None },
        state,
        attempts: 3,
        expires_ms: NOW + 1_000_000,
        settled_ms: Some(NOW - 2 * MINUTE),
        error: (state != RowState::Delivered).then(|| "connection refused".into()),
        digest: None,
    }
}

/// Two open, one acknowledged, one over; a sink in trouble; a silence.
fn seen() -> AlertsSeen {
    let first = alert("5f21c0aa0011", Rule::CrashLoop, "gateway");
    let second = Alert {
        severity: Severity::Warning,
        quiet: Some("gateway is in trouble".into()),
        fired_ms: NOW - 9 * MINUTE,
        title: "worker grows by 14 MB an hour, which has to be told in more words than a line of a terminal holds"
            .into(),
        ..alert("5f21c0ab0011", Rule::MemoryGrowth, "worker")
    };
    let known = Alert {
        state: AlertState::Acknowledged,
        fired_ms: NOW - 60 * MINUTE,
        ..alert("0a0000000000", Rule::Held, "emit")
    };
    let over = Alert {
        state: AlertState::Resolved,
        service: None,
        rule: Rule::UncleanEnd,
        severity: Severity::Info,
        fired_ms: NOW - 3 * MINUTE,
        resolved_ms: Some(NOW - MINUTE),
        outcome: "well for 10m".into(),
        title: "the supervisor was gone for 3h\u{1b}[2J".into(),
        ..alert("ff0000000000", Rule::UncleanEnd, "x")
    };
    let rows = vec![
        row(1, "slack", &known, RowState::Pending),
        row(2, "slack", &first, RowState::Pending),
        row(3, "hook", &first, RowState::Refused),
        row(4, "hook", &known, RowState::Expired),
    ];
    let slack = SinkState {
        sink: "slack".into(),
        breaker: Breaker::Open,
        failures: 5,
        not_before_ms: Some(NOW + MINUTE),
        failing_since_ms: Some(NOW - 30 * MINUTE),
        error: Some("hooks.slack.com: connection refused".into()),
        ..SinkState::default()
    };
    let silence = Silence {
        id: 3,
        service: Some(name("worker")),
        rule: Some(Rule::Held),
        from_ms: NOW,
        until_ms: NOW + 120 * MINUTE,
    };
    AlertsSeen { alerts: vec![over, known, first, second], rows, sinks: vec![slack], silences: vec![silence] }
}

fn facts() -> Facts {
    let mut facts = Facts::new(&["gateway", "worker"]);
    facts.alerts = Some(seen());
    facts.declared().alerts.sinks.push(SinkSpec { name: "slack".into(), ..SinkSpec::new(SinkKind::Slack) });
    facts
}

fn daemon_reply(facts: &Facts, reply: &AlertReply) -> crate::cli::testing::Heard<String> {
    facts.daemon(&[("POST /v1/alerts ", 200, serde_json::to_string(reply).unwrap())])
}

fn done(line: &str) -> AlertReply {
    AlertReply { done: vec![line.into()], ..AlertReply::default() }
}

fn sent(heard: &crate::cli::testing::Heard<String>) -> Value {
    let all = heard.all();
    serde_json::from_str(all.last().unwrap().split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn alerts_are_a_table_with_what_stands_in_their_way() {
    let mut facts = facts();
    let mut text = String::new();
    for width in [Some(60), Some(120), None] {
        facts.width = width;
        let ran = facts.run("alerts");
        assert_eq!(ran.code, Ok(0));
        assert!(
            ran.notes.starts_with("note: the daemon does not answer; this is what the database has"),
            "{}",
            ran.notes
        );
        text.push_str(&format!("width {width:?}\n{}\n", ran.out));
    }
    text.push_str(&facts.run("alerts show 5f21c0aa").out);
    text.push('\n');
    text.push_str(&facts.run("alerts show ff").out);
    golden("alerts.txt", &text);
    assert!(!text.contains('\u{1b}'));
    let coloured = facts.run("alerts --color always").out;
    assert!(coloured.contains("\u{1b}[31mcritical\u{1b}[0m") && coloured.contains("\u{1b}[33mwarning\u{1b}[0m"));
}

#[test]
fn what_is_asked_of_the_database_is_what_was_typed() {
    let facts = facts();
    let hour = 60 * MINUTE;
    for (line, wanted) in [
        ("alerts", AlertsWanted::Listed { since_ms: None, past: Some(10) }),
        ("alerts --all", AlertsWanted::Listed { since_ms: None, past: None }),
        ("alerts --since 1h", AlertsWanted::Listed { since_ms: Some(NOW - hour), past: None }),
        ("alerts show 5F21C0AA", AlertsWanted::One("5f21c0aa".into())),
    ] {
        facts.run(line).code.unwrap();
        assert_eq!(facts.alerts_wanted.borrow().last(), Some(&wanted), "{line}");
    }
    usage(&facts.run("alerts --since soon"));
}

#[test]
fn alerts_in_json_are_all_of_it_but_what_only_the_rules_need() {
    let facts = facts();
    let heard = facts.daemon(&[("POST /v1/sync ", 200, "{\"ok\":true}".into())]);
    let ran = facts.run("alerts --json");
    assert_eq!(
        (ran.code, ran.notes.as_str(), heard.all().len()),
        (Ok(0), "", 1),
        "with a daemon there is nothing to note"
    );
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["schema"], 1);
    let ids: Vec<_> = json["alerts"].as_array().unwrap().iter().map(|alert| alert["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["5f21c0ab0011", "5f21c0aa0011", "0a0000000000", "ff0000000000"]);
    assert!(json["alerts"].as_array().unwrap().iter().all(|alert| alert.get("memory").is_none()));
    assert_eq!(json["outbox"], json!({"pending": 2, "refused": 1, "expired": 1}));
    let sinks: Vec<_> = json["sinks"].as_array().unwrap().iter().map(|sink| sink["sink"].as_str().unwrap()).collect();
    assert_eq!(sinks, ["desktop", "log", "slack", "hook"]);
    assert_eq!((&json["sinks"][2]["breaker"], &json["sinks"][2]["pending"]), (&json!("open"), &json!(2)));
    assert_eq!(json["silences"][0]["id"], 3);

    let shown: Value = serde_json::from_str(&facts.run("alerts show ff --json").out).unwrap();
    assert_eq!(
        (&shown["schema"], &shown["alert"]["state"], &shown["outbox"]),
        (&json!(1), &json!("resolved"), &json!([]))
    );
}

#[test]
fn without_a_database_there_are_none() {
    let facts = Facts::new(&["gateway"]);
    let ran = facts.run("alerts");
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), ""));
    assert!(ran.notes.contains("there is no database yet at "), "{}", ran.notes);
    let json: Value = serde_json::from_str(&facts.run("alerts --json").out).unwrap();
    assert_eq!((&json["alerts"], &json["outbox"]["pending"]), (&json!([]), &json!(0)));
    let mut empty = Facts::new(&["gateway"]);
    empty.alerts = Some(AlertsSeen::default());
    let ran = empty.run("alerts");
    assert!(ran.out.is_empty() && ran.notes.ends_with("note: no alerts are on record\n"), "{ran:?}");
}

#[test]
fn ids_are_short_and_not_ambiguous() {
    let facts = facts();
    let error = usage(&facts.run("alerts show 5f21c0")).clone();
    assert_eq!(error.message, "2 ids begin with \"5f21c0\": 5f21c0aa0011, 5f21c0ab0011");
    assert!(usage(&facts.run("alerts show abc")).message.contains("no alert whose id begins with \"abc\""));
    assert!(usage(&facts.run("alerts show gateway")).message.contains("0-9 and a-f"));
    for reply in ["alerts ack 5f21c0", "alerts ack abc", "alerts ack xyz"] {
        let facts = facts_with_listener();
        usage(&facts.run(reply));
    }
}

/// With a daemon that is there and is asked nothing.
fn facts_with_listener() -> Facts {
    let facts = facts();
    drop(daemon_reply(&facts, &done("acknowledged")));
    facts
}

#[test]
fn what_a_person_says_goes_to_the_daemon() {
    for (line, body) in [
        ("alerts ack 5f21c0aa", json!({"op": "ack", "id": "5f21c0aa0011"})),
        ("alerts silence gateway 2h", json!({"op": "silence", "service": "gateway", "for_s": 7200})),
        ("alerts silence --all 30m --rule held", json!({"op": "silence", "rule": "held", "for_s": 1800})),
        ("alerts unsilence 3", json!({"op": "unsilence", "id": 3})),
        ("alerts unsilence worker", json!({"op": "unsilence", "id": 3})),
    ] {
        let facts = facts();
        let heard = daemon_reply(&facts, &done("it is so\u{7}"));
        let expected = Ran { code: Ok(0), out: "it is so \n".into(), notes: String::new() };
        assert_eq!(facts.run(line), expected, "{line}");
        assert_eq!(sent(&heard), body, "{line}");
    }
    let facts = facts();
    let reply = AlertReply { silence: Some(4), ..done("silenced") };
    daemon_reply(&facts, &reply);
    assert_eq!(facts.run("alerts silence gateway 2h --json").out, "{\"done\":[\"silenced\"],\"silence\":4}\n");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
    let facts = facts();
    for (line, hint) in [
        ("alerts silence gatewy 2h", "did you mean `gateway`?"),
        ("alerts silence gateway", "supervisor alerts silence gateway 2h"),
        ("alerts silence gateway 2h --all", "--all 30m"),
        ("alerts silence gateway soon", "30m, 2h or 7d"),
        ("alerts silence gateway 2h --rule crash", "did you mean `crash-loop`?"),
        ("alerts silence gateway 2h --rule zzz", "the rules are: crash-loop, storm"),
        ("alerts test slak", "did you mean `slack`?"),
        ("alerts preview --sink slak", "did you mean `slack`?"),
        ("alerts preview --rule zzz", "the rules are"),
    ] {
        assert!(usage(&facts.run(line)).hint.as_ref().unwrap().contains(hint), "{line}: {:?}", facts.run(line));
    }
    let daemon = facts_with_listener();
    assert_eq!(usage(&daemon.run("alerts unsilence 9")).hint.as_deref(), Some("there are: 3 (worker)"));
}

#[test]
fn without_the_daemon_nothing_is_said() {
    let facts = facts();
    for line in
        ["alerts ack 5f21c0aa", "alerts silence gateway 2h", "alerts unsilence 3", "alerts test", "alerts test slack"]
    {
        let error = facts.run(line).code.unwrap_err();
        assert_eq!(error.kind.exit_code(), 4, "{line}");
        assert!(error.hint.unwrap().contains("supervisor run"), "{line}");
    }
}

#[test]
fn a_test_says_for_each_sink_whether_it_arrived() {
    let to = |sink: &str, state, error: Option<&str>| TestDelivery {
        sink: sink.into(),
        state,
        error: error.map(Into::into),
        attempts: 2,
    };
    let run = |line: &str, deliveries: Vec<TestDelivery>| {
        let facts = facts();
        let heard = daemon_reply(&facts, &AlertReply { deliveries, key: Some("t.0".into()), ..AlertReply::default() });
        let ran = facts.run(line);
        (ran, sent(&heard))
    };
    let (ran, body) = run("alerts test slack", vec![to("slack", RowState::Delivered, None)]);
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), "slack: delivered\n"));
    assert_eq!(body, json!({"op": "test", "sink": "slack"}));
    let all = vec![
        to("log", RowState::Delivered, None),
        to("slack", RowState::Pending, Some("connection refused")),
        to("hook", RowState::Refused, Some("404")),
    ];
    let (ran, body) = run("alerts test", all.clone());
    assert_eq!(ran.code, Ok(6));
    let expected = "log: delivered\nslack: not delivered after 2 tries: connection refused; it is tried again\nhook: refused: 404\n";
    assert_eq!((ran.out.as_str(), body), (expected, json!({"op": "test"})));
    let (ran, _) = run("alerts test --json", all);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["deliveries"][1]["state"]), (Ok(6), &json!("pending")));
    let (ran, _) = run("alerts test", vec![]);
    assert_eq!((ran.code, ran.notes.as_str()), (Ok(6), "note: no sink was tried\n"), "silence is no success");
}

#[test]
fn each_sink_has_a_preview_of_each_rule() {
    let facts = facts();
    for rule in Rule::ALL {
        let ran = facts.run(&format!("alerts preview --rule {rule}"));
        assert_eq!((ran.code, ran.notes.as_str()), (Ok(0), ""));
        let heads: Vec<_> = ran.out.lines().filter(|line| line.starts_with("== ")).collect();
        assert_eq!(heads, ["== desktop ==", "== log ==", "== slack =="], "{rule}");
    }
    let json: Value = serde_json::from_str(&facts.run("alerts preview --sink log --json").out).unwrap();
    assert_eq!(json["previews"].as_array().unwrap().len(), 1);
    assert_eq!(json["previews"][0]["sink"], "log");
}

#[test]
fn status_and_why_name_what_is_open() {
    let open = |id: &str, rule, service: &str| OpenAlert::from(&alert(id, rule, service));
    let mut told_by = report(vec![info("gateway", Status::Up, "up"), info("worker", Status::Up, "up")]);
    told_by.alerts = vec![open("1", Rule::CrashLoop, "gateway"), open("2", Rule::Held, "worker")];
    let line = "alerts: 2 open (gateway crash-loop, worker held): supervisor alerts\n";
    assert!(told(&told_by).run("status").out.ends_with(&format!("\n{line}")));
    assert!(told(&told_by).run("status worker").out.ends_with("alerts: 1 open (worker held): supervisor alerts\n"));
    let json: Value = serde_json::from_str(&told(&told_by).run("status --json").out).unwrap();
    let first = json!({"id": "1", "rule": "crash-loop", "service": "gateway", "severity": "critical",
        "since_ms": NOW - 12 * MINUTE, "title": "gateway crashed 3 times in 5 minutes: exit code 1"});
    assert_eq!(json["alerts"][0], first);

    // Without the daemon, from the database: the newest first, and none that is over.
    let facts = facts();
    facts.runner("gateway", 11, vec![up("gateway", 1), up("worker", 2)]);
    let out = facts.run("status").out;
    assert!(
        out.contains("alerts: 3 open (worker memory-growth, gateway crash-loop, emit held): supervisor alerts\n"),
        "{out}"
    );
    let why = facts.run("why gateway").out;
    let said =
        "There is an alert: gateway crashed 3 times in 5 minutes: exit code 1 (`supervisor alerts show 5f21c0`).\n";
    assert!(why.ends_with(said), "{why}");
}

/// 12 alerts that are over, a minute apart, one that is open, and rows of each kind.
fn database(path: &std::path::Path) {
    let boot = HeardAt { boot_id: "boot", at: Moment { mono: Mono(1), boot_ns: 1, wall_ms: NOW } };
    let spec = AlertSpec { sinks: vec![SinkSpec::new(SinkKind::Log)], ..AlertSpec::default() };
    let telling = Telling { at: boot, spec: &spec, only: None, delivered: &std::collections::BTreeSet::new() };
    let mut ledger = Ledger::open(path).unwrap();
    let first = alert("f00000000000", Rule::Held, "gateway");
    let over = |n: i64| {
        let at = NOW - n * MINUTE;
        let alert = alert(&format!("{n:012x}"), Rule::CrashLoop, "worker");
        Alert { state: AlertState::Resolved, fired_ms: at, resolved_ms: Some(at + 1), ..alert }
    };
    let silence = |id, until_ms| Silence { id, service: None, rule: None, from_ms: 0, until_ms };
    let mut changes: Vec<AlertChange> = (1..=12).map(|n| AlertChange::Keep(Box::new(over(n)))).collect();
    changes.push(AlertChange::Keep(Box::new(Alert { fired_ms: NOW - 5 * MINUTE, ..first.clone() })));
    changes.extend([AlertChange::KeepSilence(silence(1, NOW - 1)), AlertChange::KeepSilence(silence(2, NOW + 1))]);
    let notices: Vec<Notice> = ["0", "r1", "r2", "r3"].map(|what| notice(first.clone(), what, NOW)).into();
    changes.extend(notices.iter().map(|notice| AlertChange::Tell(Box::new(notice.clone()))));
    ledger.change(&changes, &telling).unwrap();
    let week = 7 * 24 * 60 * MINUTE;
    for (notice, state, at) in
        [(0, RowState::Delivered, NOW), (1, RowState::Refused, NOW - week), (2, RowState::Refused, NOW - week - 1)]
    {
        let message = Message::One(Box::new(notices[notice].clone()));
        let sink = SinkState { sink: "log".into(), failures: 1, ..SinkState::default() };
        ledger.settle(&message, state, Some("no"), &sink, at).unwrap();
    }
}

#[test]
fn the_database_gives_what_is_wanted_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("observability.sqlite");
    let global = Global { state_dir: Some(dir.path().into()), ..Global::default() };
    let files = Files::of_process(&global).unwrap();
    let ask = |wanted: AlertsWanted| files.alerts(&path, &wanted, NOW).unwrap();
    assert_eq!(ask(AlertsWanted::Open), None, "there is no database, and none is made");
    database(&path);
    let ids = |seen: &AlertsSeen| seen.alerts.iter().map(|alert| alert.id.clone()).collect::<Vec<_>>();
    let keys = |seen: &AlertsSeen| seen.rows.iter().map(|row| row.notice.key.clone()).collect::<Vec<_>>();

    let open = ask(AlertsWanted::Open).unwrap();
    assert_eq!((ids(&open), keys(&open)), (vec!["f00000000000".into()], vec![]));
    assert_eq!(open.silences.iter().map(|silence| silence.id).collect::<Vec<_>>(), [2], "in force");

    let few = ask(AlertsWanted::Listed { since_ms: None, past: Some(10) }).unwrap();
    let newest: Vec<String> = (1..=10).map(|n| format!("{n:012x}")).collect();
    assert_eq!(ids(&few)[0], "f00000000000");
    assert_eq!(ids(&few)[1..], newest);
    let in_the_way = ["f00000000000.r3", "f00000000000.r1"];
    assert_eq!(keys(&few), in_the_way, "what waits, and what went wrong in the last week");
    assert_eq!(few.sinks.iter().map(|state| state.failures).collect::<Vec<_>>(), [1]);
    assert_eq!(ids(&ask(AlertsWanted::Listed { since_ms: None, past: None }).unwrap()).len(), 13);
    let since = ask(AlertsWanted::Listed { since_ms: Some(NOW - 2 * MINUTE), past: None }).unwrap();
    assert_eq!(ids(&since).len(), 3, "the open one and two");

    let one = ask(AlertsWanted::One("f0".into())).unwrap();
    assert_eq!((ids(&one).len(), keys(&one).len()), (1, 4), "all that was sent of it");
    assert_eq!(ids(&ask(AlertsWanted::One("00000000000".into())).unwrap()).len(), 12);
}
