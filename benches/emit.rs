//! What the built-in event server takes: events a second from eight senders that wait for each answer, in batches of 100 and singly, and
//! how long they wait, beside a bare loop of transactions over the same rows.
//!
//! ```text
//! cargo bench --bench emit                 both kinds of durability, five seconds each
//! cargo bench --bench emit -- --strict     ... and exit 1 when a mark is missed
//! cargo bench --bench emit -- --quick      a trial of one second each, in which no time is judged
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, and fails by panicking"
)]

#[path = "../tests/main/emit_client.rs"]
mod emit_client;

use std::net::TcpListener;
use std::process::{Child, Command};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use emit_client::Client;
use supervisor::model::Emitted;
use supervisor::store::Ledger;

const SENDERS: usize = 8;
const LASTS: Duration = Duration::from_secs(5);
const TRIAL: Duration = Duration::from_secs(1);

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn main() {
    let strict = std::env::args().any(|arg| arg == "--strict");
    let quick = std::env::args().any(|arg| arg == "--quick");
    let lasts = if quick { TRIAL } else { LASTS };
    let mut missed = false;
    println!(
        "{SENDERS} senders, {} s each; events/s, then milliseconds to the answer: median, p99, longest",
        lasts.as_secs()
    );
    for durability in ["process", "full"] {
        for (batch, least) in [(100, 20_000.0), (1, 2_000.0)] {
            let (rate, mut waits) = measure(durability, batch, lasts);
            waits.sort_unstable();
            let at = |part: usize| waits[(waits.len() - 1) * part / 1000].as_secs_f64() * 1000.0;
            let is_well = quick || rate >= least && at(990) < 50.0;
            missed |= !is_well;
            let word = if is_well { "" } else { "  MISSED" };
            println!(
                "{durability:8} {batch:4} a request  {rate:8.0}/s  {:7.2} {:7.2} {:7.2}   floor {:8.0}/s{word}",
                at(500),
                at(990),
                at(1000),
                floor(durability, batch, lasts)
            );
        }
    }
    if missed && strict {
        std::process::exit(1);
    }
}

fn body(batch: usize) -> String {
    let event = r#"{"event_type":"message_sent","category":"hook","service_name":"gateway","metadata":{"to":"telegram","bytes":71}}"#;
    vec![event; batch].join("\n")
}

fn measure(durability: &str, batch: usize, lasts: Duration) -> (f64, Vec<Duration>) {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = folder.path().join("services.toml");
    let text = format!(
        "[supervisor]\nstate_dir = \"{}\"\n[service.emit]\nbuiltin = \"emit-server\"\nlisten = \"127.0.0.1:{port}\"\ndurability = \"{durability}\"\n",
        folder.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let _server = Server(
        Command::new(env!("CARGO_BIN_EXE_supervisor"))
            .arg("--config")
            .arg(&config)
            .args(["serve", "emit"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    );
    let body = body(batch);
    let begin = Barrier::new(SENDERS);
    let results: Vec<(Duration, Vec<Duration>)> = std::thread::scope(|scope| {
        let send = || {
            let mut client = loop {
                if let Ok(client) = Client::open(port) {
                    break client;
                }
                std::thread::yield_now();
            };
            assert_eq!(client.post(&body).unwrap().status, 200);
            begin.wait();
            let from = Instant::now();
            let mut waits = Vec::new();
            while from.elapsed() < lasts {
                let asked = Instant::now();
                let answer = client.post(&body).unwrap();
                assert!(answer.status == 200 && answer.body["spooled"] == 0, "{}", answer.body);
                waits.push(asked.elapsed());
            }
            (from.elapsed(), waits)
        };
        let threads: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let rate = results.iter().map(|(took, waits)| (waits.len() * batch) as f64 / took.as_secs_f64()).sum();
    (rate, results.into_iter().flat_map(|(_, waits)| waits).collect())
}

/// The same transactions without anybody asking, one after the other: as many events as eight senders have under way.
fn floor(durability: &str, batch: usize, lasts: Duration) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&folder.path().join("observability.sqlite")).unwrap();
    ledger.outlive_power(durability == "full").unwrap();
    let event = Emitted {
        timestamp_ms: 1_795_334_100_000,
        category: "hook".into(),
        event_type: "message_sent".into(),
        service: Some("gateway".into()),
        metadata: serde_json::json!({ "to": "telegram", "bytes": 71 }).as_object().unwrap().clone(),
        key: None,
    };
    let events = vec![event; batch * SENDERS];
    let from = Instant::now();
    let mut count = 0;
    while from.elapsed() < lasts / 5 {
        count += ledger.emit(&events).unwrap().len();
    }
    count as f64 / from.elapsed().as_secs_f64()
}
