//! The built-in event server when there is no more room, on the disk or in memory: who is not answered with 200 is told why and when to
//! come again, and what was answered with 200 is on record once in the end.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::emit_client::{Answer, Client};
use super::emit_load::{client, counts, on_record, served};
use super::support::{Env, Guard, wait_for};
use super::tools::Disk;

/// An emit-server alone, with no daemon that would write to the same disk. `longest`: no file of it may grow beyond so many blocks of 512
/// bytes.
struct Alone {
    env: Env,
    port: u16,
}

impl Alone {
    fn new() -> Self {
        let port = super::frail::free_port();
        let env = Env::new(&format!("[service.emit]\nbuiltin = \"emit-server\"\nlisten = \"127.0.0.1:{port}\"\n"));
        Self { env, port }
    }

    fn start(&self, longest: &str) -> Guard {
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' XFSZ; ulimit -S -f $0 && exec \"$@\"", longest]);
        command.arg(env!("CARGO_BIN_EXE_supervisor")).arg("--config").arg(self.env.config()).args(["serve", "emit"]);
        Guard(command.spawn().unwrap())
    }

    /// Sends one event after the other until one is refused; how many were stored and how many are in the spool, and the refusal.
    fn fill(&self, sent: &mut Vec<String>) -> (i64, i64, Answer) {
        let mut client = client(self.port);
        let (mut stored, mut spooled) = (0, 0);
        loop {
            assert!(sent.len() < 5_000, "it is never full");
            let name = format!("e{}", sent.len());
            let answer = post(&mut client, &name);
            if answer.status != 200 {
                return (stored, spooled, answer);
            }
            sent.push(name);
            let [new, _, waiting] = counts(&answer);
            (stored, spooled) = (stored + new, spooled + waiting);
        }
    }

    fn health(&self) -> Answer {
        client(self.port).ask("GET /healthz", "", b"").unwrap()
    }

    /// Waits until nothing is in the spool, and holds what is on record against what was answered for.
    fn settles(&self, sent: &[String]) {
        wait_for("an empty spool and a database that is well", || {
            let health = self.health();
            (health.status == 200 && health.body["spooled"] == 0 && health.body["database"] == "well").then_some(())
        });
        let rows = on_record(&self.env);
        assert!(rows.len() == sent.len() && rows.values().all(|count| *count == 1), "{} {rows:?}", sent.len());
        assert!(sent.iter().all(|name| rows.contains_key(name)), "{sent:?} {rows:?}");
    }
}

/// One event of some 10 kB.
fn post(client: &mut Client, name: &str) -> Answer {
    client.post(&json!({ "event_type": name, "filler": "x".repeat(10_000) }).to_string()).unwrap()
}

fn is_refused(answer: &Answer, health: &Answer, whys: &[&str]) {
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert_eq!((answer.status, answer.retry_after), (503, Some(1)), "{message}");
    assert!(message.starts_with("the events are not kept: cannot write to the ledger "), "{message}");
    assert!(
        whys.iter().any(|why| message.contains(why)) && message.contains("; and the spool cannot be written"),
        "{message}"
    );
    assert_eq!((health.status, &health.body["ok"]), (503, &json!(false)), "{}", health.body);
    let why = health.body["why"].as_str().unwrap();
    assert!(why.contains("the spool cannot be written"), "{why}");
}

#[test]
fn with_a_full_disk_events_wait_in_the_spool_and_with_no_room_there_either_they_are_refused() {
    let alone = Alone::new();
    // The database on one small disk, the spool on another.
    let Some(database) = Disk::mount(&alone.env.state_dir(), "24m") else { return };
    let Some(spool) = Disk::mount(&alone.env.state_dir().join("supervisor"), "2m") else { return };
    let _server = alone.start("unlimited");
    let mut sent = vec!["first".to_owned()];
    assert_eq!(counts(&post(&mut client(alone.port), "first")), [1, 0, 0]);
    fill(&database.0);
    let (stored, spooled, refused) = {
        let mut client = client(alone.port);
        // There is room yet in the pages that SQLite has already.
        wait_for("an event in the spool", || {
            let name = format!("e{}", sent.len());
            let answer = post(&mut client, &name);
            sent.push(name);
            (counts(&answer)[2] == 1).then_some(())
        });
        let health = alone.health();
        assert_eq!((health.status, &health.body["ok"], &health.body["spooled"]), (200, &json!(true), &json!(1)));
        let trouble = health.body["database"].as_str().unwrap();
        assert!(trouble.contains("full") && trouble.contains("free some space"), "{trouble}");
        alone.fill(&mut sent)
    };
    println!("{stored} more stored, {spooled} in the spool, then: {}", refused.body);
    assert!(spooled > 50, "{spooled}");
    is_refused(&refused, &alone.health(), &["full"]);
    std::fs::remove_file(database.0.join("filler")).unwrap();
    alone.settles(&sent);
    drop(spool);
}

/// Takes all the room of a disk.
fn fill(disk: &Path) {
    let mut file = std::fs::File::create(disk.join("filler")).unwrap();
    while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|n| n > 0) {}
}

#[test]
fn where_no_file_may_grow_any_more_they_are_refused_and_what_waits_goes_in_after_a_kill() {
    let alone = Alone::new();
    let mut sent = Vec::new();
    let server = alone.start("4096");
    let (stored, spooled, refused) = alone.fill(&mut sent);
    println!("{stored} stored, {spooled} in the spool, then: {}", refused.body);
    assert!(stored > 20 && spooled > 50, "{stored} {spooled}");
    is_refused(&refused, &alone.health(), &["disk I/O", "full"]);
    // It can be asked what it has, all the while.
    let rows = client(alone.port).ask("GET /events?limit=5", "", b"").unwrap();
    assert_eq!((rows.status, rows.body["events"].as_array().unwrap().len()), (200, 5));
    drop(server);
    let _server = alone.start("unlimited");
    alone.settles(&sent);
}

#[test]
fn bodies_that_are_under_way_have_so_much_room_and_who_comes_then_is_told_to_come_again() {
    let (env, port) = served("");
    let length = 4 << 20;
    let mut slow: Vec<Client> = (0..8).map(|_| client(port)).collect();
    for sender in &mut slow {
        sender
            .send(format!("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n").as_bytes())
            .unwrap();
    }
    let mut late = client(port);
    let mut stored = 0;
    // Until it has read the heads of them all.
    let refused = wait_for("a refusal", || {
        let answer = late.post("{\"event_type\":\"late\"}").unwrap();
        stored += i64::from(answer.status == 200);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((refused.status, refused.retry_after), (429, Some(1)), "{}", refused.body);
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("come again"), "{}", refused.body);
    // Also who has much to send hears it, and not that the connection is gone.
    let refused = late.post(&" ".repeat(3 << 20)).unwrap();
    assert_eq!((refused.status, refused.retry_after), (429, Some(1)), "{}", refused.body);
    let health = client(port).ask("GET /healthz", "", b"").unwrap();
    assert_eq!(health.status, 200, "it is busy, and well: {}", health.body);
    let mut body = b"{\"event_type\":\"slow\"}".to_vec();
    body.resize(length, b' ');
    for sender in &mut slow {
        sender.send(&body).unwrap();
        assert_eq!(counts(&sender.answer().unwrap()), [1, 0, 0]);
    }
    // Who comes again is let in.
    assert_eq!(counts(&client(port).post("{\"event_type\":\"late\"}").unwrap()), [1, 0, 0]);
    let rows = on_record(&env);
    assert_eq!((rows["slow"], rows["late"]), (8, stored + 1));
    assert_eq!(env.stop_daemon(), Some(0));
}
