//! The built-in event server for longer: killed fifty times, and a week of all that comes to it.

use crate::emit_client::Client;
use crate::emit_load::{client, counts, killed_under_load, main_pid, stored};
use crate::free_port;
use crate::support::Env;
use crate::week::{TEN_MINUTES_EACH, week};

#[test]
#[ignore = "takes most of a minute; .ci/run runs it"]
fn what_was_answered_for_is_there_once_after_fifty_kills() {
    killed_under_load(50);
}

const PASS: &str = "Authorization: Bearer sesame-open\r\n";

/// In ten minutes: one each second, from senders that save them up.
const EVENTS: usize = 600;

/// In one request.
const BATCH: usize = 100;

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn a_week_of_events_followers_and_nonsense_leaves_it_as_it_was() {
    let env = Env::new("");
    let token = env.dir().join("token");
    std::fs::write(&token, "sesame-open\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let port = free_port();
    env.configure(&format!(
        "[service.emit]\nbuiltin = \"emit-server\"\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"{}\"\n",
        token.display()
    ));
    env.start_daemon();
    let pid = main_pid(&env);
    // The week begins when it has warmed up: caches have their size, and threads are there.
    for n in 0..10 {
        ten_minutes(port, n);
    }
    let seen = week(pid, TEN_MINUTES_EACH, |n| ten_minutes(port, n + 10));
    // SQLite keeps what its readers had open for the next ones, as long as the one that writes is there: of as many as there are at a time.
    seen.was_flat("the event server", 4);
    assert_eq!(main_pid(&env), pid, "it is the same one");
    assert_eq!(stored(&env), ((TEN_MINUTES_EACH + 10) * (EVENTS + 1)) as i64);
    assert_eq!(env.stop_daemon(), Some(0));
}

/// What comes in that time.
fn ten_minutes(port: u16, number: usize) {
    let mut sender = client(port);
    let event = format!(
        r#"{{"event_type":"message_sent","category":"hook","service_name":"gateway","to":"telegram","bytes":{number}}}"#
    );
    let body = vec![event; BATCH].join("\n");
    for part in 0..EVENTS / BATCH {
        let key = format!("{PASS}Idempotency-Key: {number}-{part}\r\n");
        let mut send = |body: &str| counts(&sender.ask("POST /events", &key, body.as_bytes()).unwrap());
        assert_eq!(send(&body), [BATCH as i64, 0, 0]);
        // Now and then an answer is lost, and it is sent again.
        if part == 0 {
            assert_eq!(send(&body), [0, BATCH as i64, 0]);
        }
    }
    // Who looks on for a while.
    let mut follower = client(port);
    follower.subscribe("", PASS).unwrap();
    assert_eq!(counts(&sender.ask("POST /events", PASS, b"{\"event_type\":\"seen\"}").unwrap()), [1, 0, 0]);
    assert_eq!(follower.follow(1).unwrap()[0]["event_type"], "seen");
    for query in ["?limit=50", "?limit=20&event_type=seen", "?since=2026-01-01T00:00:00Z&limit=20"] {
        assert_eq!(sender.ask(&format!("GET /events{query}"), PASS, b"").unwrap().status, 200);
    }
    assert_eq!(sender.ask("GET /healthz", "", b"").unwrap().status, 200);
    // And who does it wrong.
    for (what, head, body, status) in [
        ("POST /events", PASS, "{", 400),
        ("POST /events", PASS, "[{\"event_type\":\"x\"},{\"event_type\":null}]", 400),
        ("POST /events", PASS, "\u{1f4a5}", 400),
        ("POST /events", "Authorization: Bearer guess\r\n", "{\"event_type\":\"x\"}", 401),
        ("POST /events", "", "{\"event_type\":\"x\"}", 401),
        ("GET /nowhere", PASS, "", 404),
        ("DELETE /events", PASS, "", 405),
    ] {
        assert_eq!(sender.ask(what, head, body.as_bytes()).unwrap().status, status, "{what} {head} {body}");
    }
    // Who goes in the middle of a word, and who speaks something else.
    for half in [
        &b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"event"[..],
        b"EHLO localhost\r\n\r\n",
    ] {
        Client::open(port).unwrap().send(half).unwrap();
    }
}
