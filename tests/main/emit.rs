//! The built-in event server: what is answered for is on record once, whoever dies; and who is not answered.

use std::sync::Barrier;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::emit_client::Client;
use super::emit_load::{client, counts, killed_under_load, main_pid, on_record, served};
use super::frail::free_port;
use super::support::{Env, signal, wait_for};

#[test]
fn what_is_posted_is_on_record_listed_and_shown_as_it_comes() {
    let (env, port) = served("");
    let mut sender = client(port);
    let mut follower = client(port);
    follower.subscribe("", "").unwrap();
    let one = json!({
        "timestamp": "2026-11-22T07:55:00.250Z", "category": "hook", "event_type": "sent", "service_name": "gateway",
        "metadata": { "to": "a" }, "bytes": 7,
    });
    assert_eq!(counts(&sender.post(&one.to_string()).unwrap()), [1, 0, 0]);
    assert_eq!(counts(&sender.post("[{\"event_type\":\"a\"},{\"event_type\":\"b\"}]").unwrap()), [2, 0, 0]);
    assert_eq!(counts(&sender.post("{\"event_type\":\"c\"}\n{\"event_type\":\"d\"}\n").unwrap()), [2, 0, 0]);
    assert_eq!(counts(&sender.post("[]").unwrap()), [0, 0, 0]);
    let rows =
        env.rows("SELECT timestamp, category, event_type, service_name, metadata FROM events WHERE category = 'hook'");
    let metadata: Value = serde_json::from_str(rows[0][4].as_str().unwrap()).unwrap();
    assert_eq!(rows[0][..4], [json!(1_795_334_100_250_i64), json!("hook"), json!("sent"), json!("gateway")]);
    assert_eq!(metadata, json!({ "to": "a", "bytes": 7 }));
    // As it came.
    let shown = follower.follow(5).unwrap();
    let types =
        |rows: &[Value]| rows.iter().map(|row| row["event_type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(types(&shown), ["sent", "a", "b", "c", "d"]);
    assert_eq!((&shown[0]["timestamp"], &shown[0]["metadata"]["to"]), (&json!(1_795_334_100_250_i64), &json!("a")));
    // Later, page by page, from a number, from a time, of a sort.
    let mut list = |query: &str| sender.ask(&format!("GET /events{query}"), "", b"").unwrap().body;
    let first = list("?limit=2");
    assert_eq!(types(first["events"].as_array().unwrap()), ["sent", "a"]);
    assert_eq!(types(list(&format!("?after={}", first["next"]))["events"].as_array().unwrap()), ["b", "c", "d"]);
    assert_eq!(types(list("?category=hook")["events"].as_array().unwrap()), ["sent"]);
    assert_eq!(types(list("?service_name=gateway&event_type=sent")["events"].as_array().unwrap()), ["sent"]);
    let since = list("?since=2026-11-22T07:55:00.251Z");
    assert!(since["events"].as_array().unwrap().iter().all(|row| row["event_type"] != "sent"), "{since}");
    assert!(list("?since=yesterday")["error"]["message"].as_str().unwrap().contains("since=yesterday"));
    assert!(list("?sinse=1")["error"]["message"].as_str().unwrap().contains("sinse"));
    // From where somebody has stopped reading.
    let mut again = client(port);
    again.subscribe("", "Last-Event-ID: 3\r\n").unwrap();
    assert_eq!(types(&again.follow(2).unwrap()), ["c", "d"]);
    let health = sender.ask("GET /healthz", "", b"").unwrap();
    assert_eq!((health.status, &health.body["ok"], &health.body["database"]), (200, &json!(true), &json!("well")));
    wait_for("its health", || (env.service("emit")["health"]["verdict"] == "healthy").then_some(()));
    // Those who follow keep nobody from going down.
    assert_eq!(env.stop_daemon(), Some(0));
    assert_eq!(env.processes().len(), 0);
}

#[test]
fn who_is_not_answered_is_told_why() {
    let env = Env::new("");
    let token = env.dir().join("token");
    std::fs::write(&token, "sesame-open\n").unwrap();
    let port = free_port();
    env.configure(&format!(
        "[service.emit]\nbuiltin = \"emit-server\"\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"{}\"\n",
        token.display()
    ));
    env.start_daemon();
    // A token that others can read is none.
    let held = env.wait_status("emit", "held");
    assert!(held["why"].as_str().unwrap().contains("78"), "{held:#}");
    let log = std::fs::read_to_string(env.state_dir().join("logs/emit-stderr.log")).unwrap();
    assert!(log.contains("can be read by others: run: chmod 600"), "{log}");
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(env.cli(&["restart", "emit"]).status.code(), Some(0));
    env.wait_status("emit", "up");
    let mut client = client(port);
    let mut told = |what: &str, head: &str, body: &str| {
        let answer = client.ask(what, head, body.as_bytes()).unwrap();
        (answer.status, answer.body["error"].clone())
    };
    let pass = "Authorization: Bearer sesame-open\r\n";
    let event = "{\"event_type\":\"x\"}";
    for (what, head, body, status, says) in [
        ("POST /events", "", event, 401, "Authorization"),
        ("POST /events", "Authorization: Bearer sesame\r\n", event, 401, "Authorization"),
        ("GET /events", "", "", 401, "Authorization"),
        ("POST /events", &format!("{pass}Host: example.org\r\n"), event, 421, "Host"),
        ("POST /events", &format!("{pass}Origin: https://example.org\r\n"), event, 403, "origins"),
        ("POST /events", &format!("{pass}Origin: null\r\n"), event, 403, "origins"),
        ("POST /events", pass, "{", 400, "ends too early"),
        ("POST /events", pass, "[{\"event_type\":\"x\"},{\"event_type\":null}]", 400, "event 2: `event_type` is null"),
        ("DELETE /events", pass, "", 405, "POST /events"),
        ("GET /event", pass, "", 404, "there are: POST /events"),
        ("POST /events", &format!("{pass}Idempotency-Key: {}\r\n", "k".repeat(300)), event, 400, "Idempotency-Key"),
    ] {
        let (found, error) = told(what, head, body);
        assert_eq!(found, status, "{what} {head}: {error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{what} {head}: {error}");
    }
    let (_, error) = told("POST /events", pass, "[{\"event_type\":\"x\"},{\"event_type\":\"y\",\"service_name\":3}]");
    assert_eq!((&error["event"], &error["member"]), (&json!(2), &json!("service_name")));
    assert_eq!(told("POST /events", pass, "[]").0, 200);
    assert_eq!(told("GET /healthz", "", "").0, 200, "whoever looks after it has no token");
    // Half of a body that is refused is not stored.
    assert_eq!(on_record(&env).len(), 0);
    // More than is taken at once is refused, and who sends it hears that.
    let mut long = Client::open(port).unwrap();
    let answer = long.ask("POST /events", pass, &vec![b' '; 5 << 20]).unwrap();
    assert!(
        answer.status == 413 && answer.body["error"]["message"].as_str().unwrap().contains("4 MiB"),
        "{}",
        answer.body
    );
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn one_key_is_one_row_however_many_bring_it_at_once() {
    let (env, port) = served("durability = \"full\"");
    let all = Barrier::new(8);
    let stored: i64 = std::thread::scope(|scope| {
        let send = || {
            let mut client = client(port);
            all.wait();
            let mut stored = 0;
            for n in 0..20 {
                let body = format!("{{\"event_type\":\"e{n}\",\"idempotency_key\":\"k{n}\"}}");
                stored += counts(&client.post(&body).unwrap())[0];
            }
            stored
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(stored, 20);
    let rows = on_record(&env);
    assert!(rows.len() == 20 && rows.values().all(|count| *count == 1), "{rows:?}");
    // A request as a whole, sent again because its answer was lost.
    let mut client = client(port);
    let body = "[{\"event_type\":\"r1\"},{\"event_type\":\"r2\"}]";
    let send =
        |client: &mut Client| counts(&client.ask("POST /events", "Idempotency-Key: q\r\n", body.as_bytes()).unwrap());
    assert_eq!((send(&mut client), send(&mut client)), ([2, 0, 0], [0, 2, 0]));
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn what_was_answered_for_is_there_once_after_every_kill() {
    killed_under_load(4);
}

#[test]
fn while_the_database_is_locked_events_wait_on_disk_and_are_not_lost() {
    let (env, port) = served("");
    let mut sender = client(port);
    assert_eq!(counts(&sender.post("{\"event_type\":\"before\"}").unwrap()), [1, 0, 0]);
    let other = rusqlite::Connection::open(env.state_dir().join("observability.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..50 {
        let keyed = if n % 2 == 0 { format!(",\"idempotency_key\":\"k{n}\"") } else { String::new() };
        let answer = sender.post(&format!("{{\"event_type\":\"e{n}\"{keyed}}}")).unwrap();
        assert_eq!(counts(&answer), [0, 0, 1]);
    }
    let health = sender.ask("GET /healthz", "", b"").unwrap();
    assert_eq!((health.status, &health.body["spooled"]), (200, &json!(50)), "{}", health.body);
    assert!(health.body["database"].as_str().unwrap().contains("locked"), "{}", health.body);
    // Killed while they wait, and again while they go in.
    signal(main_pid(&env), Signal::SIGKILL);
    let mut sender = wait_for("the next one", || {
        let mut client = Client::open(port).ok()?;
        client.ask("GET /healthz", "", b"").ok().filter(|health| health.body["spooled"] == 50)?;
        Some(client)
    });
    assert_eq!(counts(&sender.post("{\"event_type\":\"e0\",\"idempotency_key\":\"k0\"}").unwrap()), [0, 0, 1]);
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    wait_for("all of them", || (on_record(&env).len() == 51).then_some(()));
    let rows = on_record(&env);
    assert!(rows.values().all(|count| *count == 1), "{rows:?}");
    wait_for("an empty spool", || (sender.ask("GET /healthz", "", b"").ok()?.body["spooled"] == 0).then_some(()));
    assert_eq!(counts(&sender.post("{\"event_type\":\"after\"}").unwrap()), [1, 0, 0]);
    assert_eq!(env.stop_daemon(), Some(0));
}

#[test]
fn a_port_that_is_taken_holds_it_until_somebody_does_something() {
    let port = free_port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let env = Env::new(&format!("[service.emit]\nbuiltin = \"emit-server\"\nlisten = \"127.0.0.1:{port}\"\n"));
    env.start_daemon();
    env.wait_status("emit", "held");
    let log = std::fs::read_to_string(env.state_dir().join("logs/emit-stderr.log")).unwrap();
    assert!(log.contains("another process listens at 127.0.0.1"), "{log}");
    drop(taken);
    assert_eq!(env.cli(&["restart", "emit"]).status.code(), Some(0));
    env.wait_status("emit", "up");
    assert_eq!(env.stop_daemon(), Some(0));
}
