//! Alerts from outside: real services crash, a real receiver is told, once.

use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::receiver::{OK, Receiver, Reply, Sent};
use super::support::{Env, wait_for, wait_within};
use super::tools::*;

/// A service that crashes again and again, and says why.
const BROKEN: &str =
    "echo 'token=abcdef0123456789abcdef0123456789 refused' >&2; echo 'fatal: no such thing' >&2; exit 3";

fn webhook(receiver: &Receiver) -> String {
    format!("[[alerts.sink]]\ntype = \"webhook\"\nurl = \"{}\"\ntimeout = \"2s\"\n", receiver.url())
}

fn crashing(receiver: &Receiver) -> Env {
    let env = Env::new(&(service("a", BROKEN, "throttle = \"50ms\"\nbackoff_max = \"1s\"") + &webhook(receiver)));
    env.start_daemon();
    env
}

fn alerts(env: &Env, args: &[&str]) -> Value {
    let all: Vec<&str> = ["alerts", "--json"].iter().chain(args).copied().collect();
    let out = env.cli(&all);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"))
}

fn fired(receiver: &Receiver) -> Vec<Sent> {
    receiver.sent().into_iter().filter(|sent| sent.notices().iter().any(|(_, kind)| kind == "fired")).collect()
}

#[test]
fn a_crash_loop_is_told_once_with_what_a_person_needs_and_once_when_it_is_over() {
    let receiver = Receiver::start(|_, _| OK);
    let env = crashing(&receiver);
    let told = receiver.wait_notice("fired", "crash-loop");
    let alert = &told["alert"];
    let key = told["key"].as_str();
    assert_eq!(receiver.sent()[0].header("idempotency-key"), key);
    assert_eq!((&alert["service"], &alert["state"]), (&json!("a"), &json!("open")), "{alert:#}");
    let title = alert["title"].as_str().unwrap();
    assert!(title.contains('a') && title.contains('3'), "{title}");
    let tail = alert["tail"].to_string();
    assert!(tail.contains("fatal: no such thing") && tail.contains("[redacted]"), "{tail}");
    assert!(!tail.contains("abcdef0123456789"), "{tail}");
    assert!(alert["doing"].as_str().is_some_and(|text| !text.is_empty()), "{alert:#}");
    assert!(alert["advice"].to_string().contains("supervisor why a"), "{alert:#}");
    // It goes on crashing, and nobody is told again.
    wait_for("20 crashes", || (count(&env, "a", "service_crash") >= 20).then_some(()));
    assert_eq!(fired(&receiver).len(), 1, "{:#?}", receiver.sent());
    let open = env.status()["alerts"].clone();
    assert_eq!(open[0]["id"], alert["id"], "{open:#}");
    let listed = alerts(&env, &[]);
    assert_eq!(listed["alerts"][0]["id"], alert["id"], "{listed:#}");
    wait_for("a row alert_fired", || {
        (!env.rows("SELECT 1 FROM events WHERE event_type = 'alert_fired'").is_empty()).then_some(())
    });
    assert!(env.cli(&["stop", "a"]).status.success());
    // By then it has become a storm: the same alert.
    let over = receiver.wait_kind("resolved");
    assert_eq!((&over["alert"]["id"], &over["alert"]["state"]), (&alert["id"], &json!("resolved")));
    wait_for("no open alert", || env.status()["alerts"].as_array().is_some_and(Vec::is_empty).then_some(()));
    assert_eq!(receiver.sent().len(), 2, "{:#?}", receiver.sent());
}

#[test]
fn what_could_not_be_sent_is_sent_by_the_next_daemon_once() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let sink = format!("[[alerts.sink]]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hook\"\n");
    let env = Env::new(&(service("a", BROKEN, "throttle = \"50ms\"") + &sink));
    env.start_daemon();
    wait_for("a failed try", || {
        let sinks = alerts(&env, &[])["sinks"].clone();
        sinks.as_array()?.iter().find(|sink| sink["failures"].as_u64() > Some(0)).cloned()
    });
    let status = wait_for("trouble in status", || {
        let troubles = env.status()["troubles"].to_string();
        troubles.contains("webhook").then_some(troubles)
    });
    assert!(status.contains("wait"), "{status}");
    env.kill_daemon();
    let receiver = Receiver::on(TcpListener::bind(("127.0.0.1", port)).unwrap(), |_, _| OK);
    env.start_daemon();
    let told = receiver.wait_notice("fired", "crash-loop");
    wait_for("the delivery on record", || {
        env.rows("SELECT state FROM supervisor_outbox").iter().any(|row| row[0] == "delivered").then_some(())
    });
    // Killed once more: it is not told again.
    env.kill_daemon();
    env.start_daemon();
    assert!(env.cli(&["stop", "a"]).status.success());
    let over = receiver.wait_kind("resolved");
    assert_eq!(over["alert"]["id"], told["alert"]["id"]);
    let keys: Vec<_> = receiver.sent().iter().flat_map(Sent::notices).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
}

#[test]
fn retry_after_is_waited_for_also_by_the_next_daemon() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Reply::Status(429, &[("Retry-After", "3")]),
        _ => OK,
    });
    let env = crashing(&receiver);
    let first = receiver.wait("the first try", |_| true);
    // When to try again is on record before the first answer comes, too, as if nobody answered.
    wait_for("what was told is on record", || {
        alerts(&env, &[])["sinks"].as_array()?.iter().find(|sink| sink["failures"].as_u64() > Some(0)).map(drop)
    });
    env.kill_daemon();
    env.start_daemon();
    let second = wait_for("the second try", || receiver.sent().get(1).cloned());
    let after = second.at.mono.since(first.at.mono);
    assert!(after >= Duration::from_secs(3), "{after:?}");
    assert_eq!(first.notices(), second.notices());
}

#[test]
fn hundreds_of_alerts_through_faults_and_kills_arrive_in_order_and_double_only_under_the_same_key() {
    // Of ten: two are refused for now, one is taken without an answer, one is dropped.
    let receiver = Receiver::start(|number, _| match number % 10 {
        2 => Reply::Status(500, &[]),
        4 => Reply::Status(429, &[("Retry-After", "1")]),
        6 => Reply::Reset,
        8 => Reply::Hang,
        _ => OK,
    });
    let tasks = 60;
    let jobs: String = (0..tasks)
        .map(|n| format!("[task.t{n}]\ncalendar = [\"daily 03:00\"]\nsteps = [{{ run = [\"/bin/true\"] }}]\n"))
        .collect();
    let env = Env::new(&(jobs + &webhook(&receiver)));
    // Whoever runs tasks journals what becomes of them: here we do.
    let runners = env.state_dir().join("supervisor/runners");
    std::fs::create_dir_all(&runners).unwrap();
    let boot = supervisor::process::clock::boot_id();
    let now = supervisor::process::clock::now();
    let mut journal = supervisor::journal::Writer::open(&runners, "maker", &boot, now.boot_ns).unwrap();
    let mut made = 0u64;
    for round in 0..5 {
        env.start_daemon();
        for n in 0..tasks {
            let (event, data) = match round % 2 {
                0 => ("task_missed", json!({ "run_id": null, "result": "missed-off" })),
                _ => ("task_finished", json!({ "run_id": null, "result": "ran" })),
            };
            let name = supervisor::model::UnitName::new(&format!("t{n}")).unwrap();
            let event = supervisor::model::EventType::parse(event).unwrap();
            journal.append(supervisor::process::clock::now(), event, Some(&name), data.as_object().unwrap().clone());
            made += 1;
        }
        env.cli(&["events", "-n", "1"]);
        let before = receiver.sent().len();
        wait_for("something to arrive", || (receiver.sent().len() > before).then_some(()));
        env.kill_daemon();
    }
    env.start_daemon();
    wait_within("everything to arrive", Duration::from_secs(90), || {
        let pending = env.rows("SELECT count(*) FROM supervisor_outbox WHERE state = 'pending'")[0][0].clone();
        (pending == json!(0)).then_some(())
    });
    let rows = env.rows("SELECT key FROM supervisor_outbox ORDER BY id");
    // That it was killed again and again is told, too.
    let killed = env.rows("SELECT count(*) FROM supervisor_outbox o JOIN supervisor_alerts a ON a.id = o.alert WHERE a.rule = 'unclean-end'");
    assert_eq!(json!(rows.len()), json!(made + killed[0][0].as_u64().unwrap()), "one notice for each");
    let mut first: Vec<String> = Vec::new();
    for (key, _) in receiver.sent().iter().flat_map(Sent::notices) {
        if !first.contains(&key) {
            first.push(key);
        }
    }
    // What came first came in the order of firing; what came again came under its old key.
    let fired: Vec<String> = rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
    assert_eq!(first, fired);
}

#[test]
fn with_a_database_that_cannot_be_written_alerts_go_out_all_the_same_and_not_twice() {
    let receiver = Receiver::start(|_, _| OK);
    let env = Env::new(&(service("a", "exec sleep 1000", "throttle = \"0s\"") + &webhook(&receiver)));
    env.start_daemon();
    main_pid(&env, "a");
    wait_row(&env, "a", |row| row.is("service_start"));
    let other = rusqlite::Connection::open(env.state_dir().join("observability.sqlite")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for _ in 0..3 {
        let run = run_id(&env, "a");
        end(main_pid(&env, "a"), Signal::SIGKILL);
        up_after(&env, "a", run);
    }
    let told = receiver.wait_notice("fired", "crash-loop");
    let open = env.status()["alerts"].clone();
    assert_eq!(open[0]["id"], told["alert"]["id"], "{open:#}");
    let listed = env.cli(&["alerts"]);
    let notes = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(notes.contains("not on record as the ledger cannot be written: a crashed"), "{notes}");
    other.execute_batch("ROLLBACK").unwrap();
    let row = wait_for("the notice in the outbox", || {
        env.rows("SELECT key, state FROM supervisor_outbox").into_iter().find(|row| row[1] == "delivered")
    });
    assert_eq!(row[0], told["key"]);
    assert!(env.cli(&["stop", "a"]).status.success());
    receiver.wait_kind("resolved");
    assert_eq!(receiver.sent().len(), 2, "{:#?}", receiver.sent());
}

#[test]
fn a_storm_of_crashes_is_one_alert_and_every_crash_is_on_record() {
    let receiver = Receiver::start(|_, _| OK);
    let env = Env::new(&(service("a", BROKEN, "throttle = \"0s\"") + &webhook(&receiver)));
    env.start_daemon();
    wait_within("1000 crashes", Duration::from_secs(60), || (run_id(&env, "a") > 1000).then_some(()));
    assert!(env.cli(&["stop", "a"]).status.success());
    receiver.wait("its end", |sent| sent.notices().iter().any(|(_, kind)| kind == "resolved"));
    let kinds: Vec<String> = receiver.sent().iter().flat_map(Sent::notices).map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["fired", "resolved"]);
    env.cli(&["events", "-n", "1"]);
    let runs = env.rows(
        "SELECT max(run_id), count(*) FROM supervisor_events WHERE event_type IN ('service_crash', 'service_exit')",
    );
    assert_eq!(runs[0][0], runs[0][1], "each run has its end");
    let alerts = env.rows("SELECT count(*) FROM supervisor_alerts");
    assert_eq!(alerts[0][0], json!(1));
}

#[test]
fn acknowledged_silenced_and_tried_from_the_command_line() {
    let receiver = Receiver::start(|_, _| OK);
    let env = Env::new(&(service("a", BROKEN, "throttle = \"50ms\"") + &webhook(&receiver)));
    env.write_config(
        &std::fs::read_to_string(env.config()).unwrap().replace("[service.a]", "[service.a]\nenabled = true"),
    );
    env.start_daemon();
    let tried = env.cli(&["alerts", "test"]);
    assert!(tried.status.success(), "{tried:?}");
    let test = receiver.wait("the test", |sent| sent.json()["alert"]["rule"] == "test").json();
    assert!(String::from_utf8_lossy(&tried.stdout).contains("delivered"), "{tried:?}");
    assert_eq!(test["kind"], "note");
    let id = receiver.wait_notice("fired", "crash-loop")["alert"]["id"].as_str().unwrap().to_owned();
    let out = env.cli(&["alerts", "ack", &id[..6]]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(alerts(&env, &[])["alerts"][0]["state"], "acknowledged");
    let out = env.cli(&["alerts", "silence", "a", "2h"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(alerts(&env, &[])["silences"].as_array().unwrap().len(), 1);
    // A daemon that is killed has not forgotten them.
    env.kill_daemon();
    env.start_daemon();
    assert_eq!(alerts(&env, &[])["alerts"][0]["state"], "acknowledged");
    assert_eq!(alerts(&env, &[])["silences"].as_array().unwrap().len(), 1);
    assert!(env.cli(&["alerts", "unsilence", "a"]).status.success());
    assert_eq!(alerts(&env, &[])["silences"].as_array().unwrap().len(), 0);
    assert_eq!(env.cli(&["alerts", "ack", "ffffff"]).status.code(), Some(2));
    env.stop_daemon();
    assert_eq!(env.cli(&["alerts", "test"]).status.code(), Some(4));
    assert!(env.cli(&["alerts"]).status.success(), "the list needs no daemon");
}

#[test]
fn a_test_through_a_sink_that_is_wrong_says_what_is_wrong() {
    let receiver = Receiver::start(|_, _| Reply::Status(401, &[]));
    let sinks = webhook(&receiver)
        + "[[alerts.sink]]\ntype = \"command\"\ncommand = [\"/no/such/program\"]\n\
           [[alerts.sink]]\ntype = \"command\"\nname = \"hangs\"\ncommand = [\"/bin/sleep\", \"1000\"]\ntimeout = \"1s\"\n";
    let env = Env::new(&(service("a", "exec sleep 1000", "") + &sinks));
    env.start_daemon();
    let pid = main_pid(&env, "a");
    let out = env.cli(&["alerts", "test"]);
    assert!(!out.status.success());
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    for word in ["webhook", "401", "/no/such/program", "hangs"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(main_pid(&env, "a"), pid, "supervision is untouched");
}

#[test]
fn the_dead_mans_switch_is_called_while_all_is_well_and_told_when_it_is_not() {
    let receiver = Receiver::start(|_, _| OK);
    let deadman =
        format!("[alerts]\ndeadman = {{ url = \"http://127.0.0.1:{}/ping\", interval = \"10s\" }}\n", receiver.port);
    let env = Env::new(&(deadman + &service("a", "exec sleep 1000", "")));
    env.start_daemon();
    let lines = || receiver.sent().into_iter().map(|sent| sent.line).collect::<Vec<_>>();
    wait_for("a start and a success", || {
        let lines = lines();
        let path = |n: usize| lines.get(n)?.split_whitespace().nth(1).map(str::to_owned);
        (path(0)? == "/ping/start" && path(1)? == "/ping").then_some(())
    });
    // A held service is not well.
    env.configure(
        &(format!("[alerts]\ndeadman = {{ url = \"http://127.0.0.1:{}/ping\", interval = \"10s\" }}\n", receiver.port)
            + &service("a", "exit 78", "")),
    );
    assert!(env.cli(&["reload"]).status.success());
    receiver.wait("a failure", |sent| sent.line.contains("/ping/fail"));
}

#[test]
fn slack_gets_blocks_and_where_those_are_refused_plain_text() {
    let receiver = Receiver::start(|_, sent| match sent.json().get("blocks") {
        Some(_) => Reply::Status(400, &[]),
        None => OK,
    });
    let sink = format!("[[alerts.sink]]\ntype = \"slack\"\nurl = \"{}\"\n", receiver.url());
    let env = Env::new(&(service("a", "exec sleep 1000", "") + &sink));
    env.start_daemon();
    assert!(env.cli(&["alerts", "test"]).status.success());
    let sent = receiver.sent();
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert!(sent[0].json()["text"].is_string() && sent[1].json()["text"].is_string());
    let sinks = alerts(&env, &[])["sinks"].to_string();
    assert!(sinks.contains("plain text"), "{sinks}");
}

#[test]
fn a_program_is_told_on_its_stdin_and_a_desktop_through_its_notifier() {
    let env = Env::new("");
    let hook = env.script("hook", "cat > \"$HOME/got.new\"; env > \"$HOME/env\"; mv \"$HOME/got.new\" \"$HOME/got\"");
    let sinks = format!(
        "[[alerts.sink]]\ntype = \"command\"\ncommand = [\"{}\"]\n[[alerts.sink]]\ntype = \"log\"\n",
        hook.display()
    );
    env.configure(&(service("a", "echo dead >&2; exit 78", "") + &sinks));
    env.start_daemon();
    wait_file(&home(&env, "got"));
    let got: Value = serde_json::from_str(&std::fs::read_to_string(home(&env, "got")).unwrap()).unwrap();
    assert_eq!(
        (&got["kind"], &got["alert"]["rule"], &got["alert"]["service"]),
        (&json!("fired"), &json!("held"), &json!("a"))
    );
    let vars = std::fs::read_to_string(home(&env, "env")).unwrap();
    assert!(vars.contains("SUPERVISOR_ALERT_RULE=held") && !vars.contains("CARGO"), "{vars}");
    wait_for("the alert in the log", || {
        let log = std::fs::read_to_string(env.state_dir().join("logs/supervisor.log")).unwrap_or_default();
        log.contains(got["key"].as_str()?).then_some(())
    });
}

#[test]
fn a_supervisor_that_was_killed_says_so_and_one_that_was_stopped_does_not() {
    let receiver = Receiver::start(|_, _| OK);
    let sink = webhook(&receiver) + "min_severity = \"info\"\n";
    let env = Env::new(&(service("a", "exec sleep 1000", "") + &sink));
    env.start_daemon();
    main_pid(&env, "a");
    env.stop_daemon();
    env.start_daemon();
    main_pid(&env, "a");
    env.kill_daemon();
    env.start_daemon();
    let told = receiver.wait("the gap", |sent| sent.json()["alert"]["rule"] == "unclean-end").json();
    assert_eq!(told["alert"]["severity"], "info", "{told:#}");
    assert_eq!(receiver.sent().len(), 1, "{:#?}", receiver.sent());
    let gaps = env.rows("SELECT count(*) FROM supervisor_events WHERE event_type = 'supervisor_start' AND json_extract(metadata, '$.gap') IS NOT NULL");
    assert_eq!(gaps[0][0], json!(1));
}

#[test]
fn a_sink_that_takes_the_place_of_another_hears_of_what_is_open() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = format!("http://127.0.0.1:{}/hook", closed.local_addr().unwrap().port());
    drop(closed);
    let held = service("a", "echo dead >&2; exit 78", "");
    let env =
        Env::new(&(held.clone() + &format!("[[alerts.sink]]\ntype = \"webhook\"\nname = \"old\"\nurl = \"{deaf}\"\n")));
    env.start_daemon();
    wait_for("an open alert", || (!env.status()["alerts"].as_array()?.is_empty()).then_some(()));
    let receiver = Receiver::start(|_, _| OK);
    env.configure(&(held + &webhook(&receiver)));
    let reloaded = env.cli(&["reload"]);
    assert!(String::from_utf8_lossy(&reloaded.stdout).contains("alerts.sink.webhook"), "{reloaded:?}");
    let told = receiver.wait_notice("fired", "held");
    // What was sent, and is not on record yet, a daemon that is killed sends again under its key: that is not what is asked here.
    wait_for("its delivery on record", || {
        env.rows("SELECT state FROM supervisor_outbox WHERE sink = 'webhook'")
            .iter()
            .all(|row| row[0] == "delivered")
            .then_some(())
    });
    // Once.
    assert!(env.cli(&["reload"]).status.success());
    env.kill_daemon();
    env.start_daemon();
    assert!(env.cli(&["stop", "a"]).status.success());
    assert_eq!(receiver.wait_kind("resolved")["alert"]["id"], told["alert"]["id"]);
    let kinds: Vec<String> = receiver.sent().iter().flat_map(Sent::notices).map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["fired", "resolved"]);
}

#[test]
fn a_crash_that_came_with_a_changed_program_says_so() {
    let receiver = Receiver::start(|_, _| OK);
    let env = Env::new("");
    let program = env.script("program", "exec sleep 1000");
    let table = format!("[service.a]\ncommand = [\"{}\"]\nthrottle = \"0s\"\n", program.display());
    env.configure(&(table + &webhook(&receiver)));
    env.start_daemon();
    let pid = main_pid(&env, "a");
    put(&program, "#!/bin/sh\necho 'Error: no such module' >&2\nexit 1\n", 0o755);
    end(pid, Signal::SIGKILL);
    let told = receiver.wait_notice("fired", "crash-loop");
    let facts = told["alert"]["facts"].to_string();
    assert!(facts.contains("no such module") && facts.contains(program.to_str().unwrap()), "{facts}");
    assert!(facts.contains("changed"), "{facts}");
}
