//! Small servers of both kinds, one that leaks and one that does not, under real load: what the supervisor samples of them each second,
//! read as two minutes each, is told as growth for the leaking ones and for no other.
//!
//! `SUPERVISOR_MEMORY_MINUTES` says how long; 20 is the whole of it.

use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::gateway::Gateway;
use crate::support::{Env, pass};
use crate::{free_port, get, installed, wait};

/// Where the environment says nothing.
const MINUTES: u64 = 12;

/// So many seconds is what one second of the recording is read as: a leak of half a MiB per second as one of 15 MiB per hour.
const TIME_SCALE: i64 = 120;

/// On a loaded machine.
const START: Duration = Duration::from_secs(60);

/// Between the end of one answer and the next question.
const PACE: Duration = Duration::from_millis(100);

struct Server {
    name: &'static str,
    port: u16,
    leaks: bool,
}

fn minutes() -> u64 {
    let said = std::env::var("SUPERVISOR_MEMORY_MINUTES").ok();
    said.map_or(MINUTES, |said| said.parse().unwrap_or_else(|e| panic!("SUPERVISOR_MEMORY_MINUTES is {said:?}: {e}")))
}

/// Seconds since the first sample, bytes and pid of each second's sample.
fn samples(env: &Env, service: &str) -> Vec<(i64, i64, i64)> {
    let rows = env.rows(&format!(
        "SELECT m.at_ms, m.bytes, l.pid FROM supervisor_memory m JOIN supervisor_memory_lives l ON l.id = m.life \
         WHERE l.service = '{service}' AND m.span_ms = 0 ORDER BY m.at_ms"
    ));
    let number = |value: &Value| value.as_i64().unwrap();
    let first = rows.first().map_or(0, |row| number(&row[0]));
    // Two samples of one second would be one time twice.
    let mut samples: Vec<_> =
        rows.iter().map(|row| ((number(&row[0]) - first) / 1000, number(&row[1]), number(&row[2]))).collect();
    samples.dedup_by_key(|(second, ..)| *second);
    samples
}

/// What `memory replay` says to them when each second was `scale`.
fn replayed(env: &Env, service: &str, samples: &[(i64, i64, i64)], scale: i64) -> Vec<String> {
    let mut text = String::from("t_seconds,rss_bytes,pid\n");
    for (second, bytes, pid) in samples {
        writeln!(text, "{},{bytes},{pid}", second * scale).unwrap();
    }
    let path = env.dir().join(format!("{service}-{scale}.csv"));
    std::fs::write(&path, text).unwrap();
    let output = env.cli(&["memory", "replay", "--growth", "10MB/h", path.to_str().unwrap()]);
    assert!(output.status.success(), "memory replay: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Services that growth was told of.
fn told(env: &Env) -> Vec<String> {
    let rows = env.rows("SELECT DISTINCT service_name FROM events WHERE event_type = 'memory_growth'");
    rows.iter().map(|row| row[0].as_str().unwrap_or_default().to_owned()).collect()
}

/// Its course, for whoever reads the output: MiB at eleven times.
fn course(samples: &[(i64, i64, i64)]) -> String {
    let at = |tenth: usize| samples[(samples.len() - 1) * tenth / 10].1 >> 20;
    (0..=10).map(|tenth| at(tenth).to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "needs Node and Python and takes minutes; .ci/run runs it"]
fn of_small_servers_those_that_leak_are_told_and_no_others() {
    let (node, python) = (installed("REAL_NODE"), installed("REAL_PYTHON"));
    let server = |name, leaks| Server { name, port: free_port(), leaks };
    let servers = [
        server("node-leak", true),
        server("node-steady", false),
        server("python-leak", true),
        server("python-steady", false),
    ];
    let table = |server: &Server| {
        let Server { name, port, leaks } = server;
        let (program, script) = if name.starts_with("node") { (&node, "server.mjs") } else { (&python, "server.py") };
        let mode = if *leaks { "leak" } else { "steady" };
        format!(
            r#"
[service.{name}]
command = [{program:?}, "{{dir}}/{script}", "{port}", "{mode}"]
ports = [{port}]

[service.{name}.health]
http = "http://127.0.0.1:{port}/healthz"

[service.{name}.memory]
growth = "10MB/h"
interval = "1s"
"#
        )
    };
    let env = Env::new(&servers.iter().map(table).collect::<String>());
    std::fs::write(env.dir().join("server.mjs"), include_str!("server.mjs")).unwrap();
    std::fs::write(env.dir().join("server.py"), include_str!("server.py")).unwrap();
    env.start_daemon();
    for server in &servers {
        wait(&format!("{} is up", server.name), START, || {
            (env.service(server.name)["status"] == "up" && get(server.port, "/healthz").is_some()).then_some(())
        });
    }
    let seconds = minutes() * 60;
    let served = under_load(&servers, Duration::from_secs(seconds));
    for (server, served) in servers.iter().zip(served) {
        println!("{}: {served} requests", server.name);
        assert!(served > seconds, "{} has hardly served anything: {served} requests", server.name);
        let info = env.service(server.name);
        assert!(info["memory"]["bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{info:#}");
    }
    let told = told(&env);
    for server in &servers {
        let samples = samples(&env, server.name);
        assert!(samples.len() as u64 > seconds * 8 / 10, "{} samples of {} in {seconds} s", samples.len(), server.name);
        assert!(samples.iter().all(|sample| sample.2 == samples[0].2), "{} was not restarted", server.name);
        let alerts = replayed(&env, server.name, &samples, TIME_SCALE);
        println!("{}: MiB {}; told {alerts:?}", server.name, course(&samples));
        if server.leaks {
            assert!(!alerts.is_empty(), "{} leaks, and nothing is told", server.name);
        } else {
            assert!(alerts.is_empty(), "{} does not leak: {alerts:?}", server.name);
            assert!(
                !told.contains(&server.name.to_owned()),
                "{} does not leak, and the daemon tells growth",
                server.name
            );
        }
    }
    env.stop_daemon();
}

/// Asks each of them for work all the time; how often each answered.
fn under_load(servers: &[Server], time: Duration) -> Vec<u64> {
    // Nobody sends anything: what is not heard is the pace, and the end.
    let ask = |port: u16, end: Receiver<()>| {
        let mut served = 0;
        while end.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
            served += u64::from(get(port, "/work").is_some_and(|(status, _)| status == 200));
        }
        served
    };
    std::thread::scope(|scope| {
        let asking = servers.iter().map(|server| {
            let (open, end) = channel();
            (open, scope.spawn(move || ask(server.port, end)))
        });
        let asking: Vec<_> = asking.collect();
        pass(time, || {});
        let (open, asking): (Vec<_>, Vec<_>) = asking.into_iter().unzip();
        drop(open);
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    })
}

#[test]
#[ignore = "needs a gateway and takes minutes; .ci/run runs it"]
fn of_an_idle_gateway_no_growth_is_told() {
    let gateway = Gateway::with(&[], "memory = { growth = \"10MB/h\", interval = \"1s\" }");
    gateway.env.start_daemon();
    gateway.up(None);
    let seconds = (minutes() * 60).min(600);
    pass(Duration::from_secs(seconds), || {});
    let samples = samples(&gateway.env, "gateway");
    assert!(samples.len() as u64 > seconds * 8 / 10, "{} samples in {seconds} s", samples.len());
    println!("an idle gateway: MiB {}", course(&samples));
    let alerts = replayed(&gateway.env, "gateway", &samples, 1);
    assert!(alerts.is_empty(), "{alerts:?}");
    assert_eq!(told(&gateway.env), [""; 0]);
    gateway.env.stop_daemon();
}
