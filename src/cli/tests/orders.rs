//! `start`, `stop`, `restart` and `reload`.

use serde_json::json;

use super::{outcome, six, usage};
use crate::cli::testing::{Facts, Ran, name, up};
use crate::model::UnitKind;
use crate::model::wire::{OrderReply, Outcome, ReloadAction, ReloadChange, ReloadReply, RunnerRequest, Verb};

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
    let refused = |name| Outcome { refused: true, ..outcome(name, false, "disabled in services.toml") };
    for (outcomes, code) in [
        (vec![refused("a")], 6),
        (vec![refused("a"), outcome("b", true, "up")], 6),
        (vec![refused("a"), outcome("b", false, "held")], 3),
    ] {
        let facts = Facts::new(&["a", "b"]);
        facts.daemon(&[("POST /v1/order ", 200, serde_json::to_string(&OrderReply { outcomes }).unwrap())]);
        assert_eq!(facts.run("start a b").code, Ok(code));
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
        run_id: None,
        wait: true,
    };
    let ran = facts.run("restart stray a");
    assert_eq!((ran.code, ran.out.as_str()), (Ok(0), "a: up, pid 11\nstray: up, pid 12\n"));
    assert!(ran.notes.starts_with("note: the daemon is not running"), "{}", ran.notes);
    assert_eq!(first.all(), [RunnerRequest::Snapshot, order(&["a"])]);
    assert_eq!(second.all(), [RunnerRequest::Snapshot, order(&["stray"])]);

    let ran = facts.run("restart --all");
    let expected = "a: up, pid 11\nb: up, pid 12\nc: no runner serves it; start one with `supervisor install` or `supervisor run`\n\
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
        kind: UnitKind::Service,
        disabled: false,
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
        let globals = changes.iter().take(1).map(|_| "alerts.storm".to_owned()).collect();
        let facts = Facts::new(&[]);
        let reply = serde_json::to_string(&ReloadReply { applied, changes, globals }).unwrap();
        let heard = facts.daemon(&[("POST /v1/reload ", 200, reply)]);
        let ran = facts.run(line);
        assert_eq!(ran.code, Ok(0));
        assert!(heard.all()[0].ends_with(&format!("{{\"dry_run\":{}}}", !applied)), "{:?}", heard.all());
        ran.out
    };
    assert_eq!(
        run("reload", true, changes.clone()),
        "a: added\nb: stopped and removed\nc: restarted (command, env)\nd: taken over without a restart (throttle)\nalerts.storm: taken over\n"
    );
    let dry = run("reload --dry-run", false, changes);
    assert!(dry.contains("c: would be restarted (command, env)\n") && dry.ends_with("this was a dry run\n"), "{dry}");
    assert_eq!(run("reload", true, vec![]), "nothing has changed\n");
    let gone =
        |service: &str, kind, disabled| ReloadChange { kind, disabled, ..change(service, ReloadAction::Remove, &[]) };
    let all = vec![
        gone("a", UnitKind::Service, true),
        gone("j", UnitKind::Task, false),
        gone("k", UnitKind::Task, true),
        gone("e", UnitKind::Exposure, false),
    ];
    let told = run("reload", true, all.clone());
    let wanted = "a: stopped and disabled\nj: removed\nk: disabled\ne: removed; it is undone where it has an `undo`\n";
    assert!(told.starts_with(wanted), "{told}");
    let dry = run("reload --dry-run", false, all);
    assert!(dry.contains("j: would be removed\n") && dry.contains("k: would be disabled\n"), "{dry}");
}
