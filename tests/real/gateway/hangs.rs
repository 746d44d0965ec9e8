//! The gateway falls silent, with the health that is the default: it is found in time, looked at, and restarted.
//!
//! One round of each kind takes a good minute; SUPERVISOR_GATEWAY_ROUNDS says how many there are.

use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use supervisor::process::clock;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{Gateway, Run, SOON, kill};
use crate::support::pass;
use crate::{free_port, get, wait};

/// P, T and k of a gateway whose health says nothing of them.
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
const FAILURES: u32 = 4;

/// (k - 1) P + T is tolerated; what was in flight when the silence began makes that a little less than it seems from here.
const LEAST_MS: i64 = 34_000;

/// k P + T, and a second.
fn most_ms() -> i64 {
    i64::try_from((INTERVAL * FAILURES + TIMEOUT).as_millis()).unwrap() + 1000
}

/// What a restart waits for is not what is looked at here.
const QUICK: &str = "throttle = \"0s\"\nstop_timeout = \"5s\"";

fn rounds() -> usize {
    std::env::var("SUPERVISOR_GATEWAY_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// A gateway with a channel that cannot begin, so that one of its parts is not well from its start on.
fn with_a_dead_channel(node_args: &[&str]) -> Gateway {
    let gateway = Gateway::with(node_args, QUICK);
    let token = json!({ "source": "env", "provider": "default", "id": "A_VARIABLE_THAT_IS_NOT_SET" });
    gateway.configure(json!({ "telegram": { "enabled": true, "botToken": token } }));
    gateway
}

/// Waits until it has answered the probe by which a hang is found, and said how its parts are.
fn wait_probed(gateway: &Gateway) {
    wait("its first probe", SOON, || {
        let health = &gateway.env.service("gateway")["health"];
        let part = &health["parts"][0];
        (health["latencies"].is_object() && part["name"] == "telegram" && part["ok"] == false).then_some(())
    });
}

/// At any moment between two probes.
fn pass_a_part_of_an_interval() {
    pass(INTERVAL.mul_f64(clock::fraction().get()), || ());
}

/// When its row was written, and its metadata.
fn hung(gateway: &Gateway, run_id: &Value) -> Option<(i64, Value)> {
    let sql = format!(
        "SELECT timestamp_ms, metadata FROM supervisor_events WHERE event_type = 'service_hung' \
         AND json_extract(metadata, '$.run_id') = {run_id}"
    );
    let mut rows = gateway.env.rows(&sql);
    assert!(rows.len() <= 1, "found more than once: {rows:#?}");
    let row = rows.pop()?;
    Some((row[0].as_i64().unwrap(), serde_json::from_str(row[1].as_str().unwrap()).unwrap()))
}

/// Rounds of one fault, which says when it began and what it needs to last; how long each was not found, milliseconds.
fn try_out<T>(gateway: &Gateway, first: Run, fault: impl Fn(i32) -> (i64, T), looks: [&str; 2]) -> Vec<i64> {
    let (mut run, mut took) = (first, Vec::new());
    for round in 1..=rounds() {
        wait_probed(gateway);
        pass_a_part_of_an_interval();
        let (at, _lasts) = fault(run.pid);
        let run_id = &run.info["run_id"];
        let (found, row) = wait("it is found to hang", Duration::from_secs(120), || hung(gateway, run_id));
        took.push(found - at);
        let next = gateway.up(Some(run.pid));
        let back = clock::now().wall_ms - found;
        eprintln!(
            "  for information: round {round}: found after {} ms, up again {back} ms later; {}",
            found - at,
            row["reason"]
        );
        let ends: Vec<Value> =
            gateway.wait_rows("service_crash", round).into_iter().filter(|end| &end["run_id"] == run_id).collect();
        assert_eq!(ends.iter().map(|end| &end["class"]).collect::<Vec<_>>(), [&json!("hung")], "{ends:#?}");
        is_told(gateway, &row, looks);
        run = next;
    }
    assert_eq!(gateway.rows("service_hung").len(), rounds());
    took.sort_unstable();
    println!(
        "found after {took:?} ms: {} rounds, least {}, median {}, most {}",
        took.len(),
        took[0],
        took[(took.len() - 1) / 2].midpoint(took[took.len() / 2]),
        took[took.len() - 1]
    );
    took
}

/// What is on record says what it was doing.
fn is_told(gateway: &Gateway, row: &Value, [reason, state]: [&str; 2]) {
    assert!(row["reason"].as_str().unwrap().contains(reason), "{row:#}");
    let file = gateway.env.state_dir().join("supervisor/evidence").join(row["evidence"].as_str().unwrap());
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let section = |title: &str| {
        let (_, rest) = text.split_once(&format!("== {title}\n")).unwrap_or_else(|| panic!("no {title} in:\n{text}"));
        rest.split("\n== ").next().unwrap()
    };
    let first = section("processes").lines().take(2).collect::<String>();
    assert!(first.starts_with(&row["pid"].to_string()) && first.contains(state), "{text}");
    let probes: Vec<&str> = section("last probes").lines().collect();
    let silent = probes.iter().rev().take_while(|probe| probe.contains("said nothing within")).count();
    assert!((3..=4).contains(&silent) && probes.iter().any(|probe| probe.ends_with("well")), "{text}");
    assert!(section("parts").starts_with("telegram: not well for "), "{text}");
    let listed = String::from_utf8(gateway.env.cli(&["events", "--evidence", "--json"]).stdout).unwrap();
    assert!(listed.contains(file.to_str().unwrap()), "{listed}");
}

fn judge(took: &[i64]) {
    let range = LEAST_MS..=most_ms();
    assert!(took.iter().all(|took| range.contains(took)), "not all within {range:?} ms: {took:?}");
}

#[test]
#[ignore = "needs the gateway; .ci/run runs it"]
fn stopped_it_is_found_and_restarted_and_continued_in_time_it_is_left_alone() {
    let gateway = with_a_dead_channel(&[]);
    gateway.env.start_daemon();
    let first = gateway.up(None);
    wait_probed(&gateway);
    pass_a_part_of_an_interval();
    kill(first.pid, Signal::SIGSTOP);
    pass(Duration::from_secs(30), || ());
    let paused = gateway.env.service("gateway");
    kill(first.pid, Signal::SIGCONT);
    assert!(paused["health"]["failing_since_ms"].is_number(), "nobody noticed: {paused:#}");
    // Its next answer is the end of it.
    let after = wait("a good answer", SOON, || {
        let info = gateway.env.service("gateway");
        (info["health"]["failing_since_ms"].is_null() && info["health"]["checked_ms"] != paused["health"]["checked_ms"])
            .then_some(info)
    });
    assert_eq!((&after["pid"], &after["run_id"]), (&first.info["pid"], &first.info["run_id"]), "{after:#}");
    assert_eq!((hung(&gateway, &first.info["run_id"]), gateway.rows("service_crash")), (None, vec![]));
    let stop = |pid| (clock::now().wall_ms, kill(pid, Signal::SIGSTOP));
    let took = try_out(&gateway, first, stop, ["is stopped by a signal", ": stopped"]);
    judge(&took);
    gateway.go_down(took.len());
}

#[test]
#[ignore = "needs the gateway; .ci/run runs it"]
fn spinning_it_is_found_and_restarted() {
    let port = free_port();
    let gateway = with_a_dead_channel(&[&format!("--inspect-port=127.0.0.1:{port}")]);
    gateway.env.start_daemon();
    let first = gateway.up(None);
    // Where the system does not say how long a thread waits for a processor, a busy machine looks like a lazy gateway.
    let reason = if cfg!(target_os = "linux") { "it spins" } else { "of a processor" };
    let took = try_out(&gateway, first, |pid| spin(pid, port), [reason, ": running"]);
    judge(&took);
    gateway.go_down(took.len());
}

/// Has its debugger evaluate a loop without end; when, and the connection to it.
fn spin(pid: i32, port: u16) -> (i64, WebSocket<TcpStream>) {
    kill(pid, Signal::SIGUSR1);
    let url = wait("its debugger", SOON, || {
        let targets: Value = serde_json::from_str(&get(port, "/json/list")?.1).ok()?;
        Some(targets[0]["webSocketDebuggerUrl"].as_str()?.to_owned())
    });
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let order = json!({ "id": 1, "method": "Runtime.evaluate", "params": { "expression": "for (;;) {}" } });
    let at = clock::now().wall_ms;
    socket.send(Message::text(order.to_string())).unwrap();
    (at, socket)
}
