//! A real gateway under a supervisor of its own.

mod adoption;
mod ends;
mod hangs;

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Env, signal};
use crate::{free_port, get, installed, wait};

/// As long as its own tools allow it for a start.
const START: Duration = Duration::from_secs(300);

/// What our own steps may take beside it, on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

pub struct Gateway {
    pub env: Env,
    pub port: u16,
}

impl Gateway {
    /// Configured, and nothing started.
    pub fn new() -> Self {
        Self::with(&[], "stop_timeout = \"60s\"\ndrain_timeout = \"60s\"")
    }

    /// The same with arguments for Node, and these members in its table.
    pub fn with(node_args: &[&str], members: &str) -> Self {
        let (node, entry) = (installed("REAL_NODE"), installed("REAL_OPENCLAW"));
        let port = free_port();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", node.parent().unwrap().display());
        let node_args: String = node_args.iter().map(|arg| format!("{arg:?}, ")).collect();
        let body = format!(
            r#"
[service.gateway]
command = [{node:?}, {node_args}{entry:?}, "gateway", "run", "--port", "{port}", "--bind", "loopback"]
cwd = "{{dir}}/home"
hold_exit_codes = [78]
watch_config = ["{{dir}}/openclaw/openclaw.json"]
ports = [{port}]
start_timeout = "300s"
{members}

[service.gateway.env]
HOME = "{{dir}}/home"
TMPDIR = "{{dir}}/tmp"
PATH = "{path}"
NODE_ENV = "production"
OPENCLAW_SUPERVISOR_MODE = "external"
OPENCLAW_SERVICE_REPAIR_POLICY = "external"
OPENCLAW_STATE_DIR = "{{dir}}/openclaw"
OPENCLAW_CONFIG_PATH = "{{dir}}/openclaw/openclaw.json"
OPENCLAW_GATEWAY_PORT = "{port}"
OPENCLAW_DISABLE_BONJOUR = "1"
OPENCLAW_NO_AUTO_UPDATE = "1"
DO_NOT_TRACK = "1"

[service.gateway.health]
http = "http://127.0.0.1:{port}/healthz"
expect_json = {{ ok = true }}
startup = {{ http = "http://127.0.0.1:{port}/startupz" }}
parts = {{ http = "http://127.0.0.1:{port}/readyz" }}
"#
        );
        let env = Env::new(&body);
        for folder in ["home", "tmp", "openclaw"] {
            std::fs::create_dir(env.dir().join(folder)).unwrap();
        }
        let gateway = Self { env, port };
        gateway.mend();
        gateway
    }

    pub fn config(&self) -> PathBuf {
        self.env.dir().join("openclaw/openclaw.json")
    }

    /// Writes a configuration that is well and asks nobody outside this machine for anything.
    pub fn mend(&self) {
        self.configure(json!({}));
    }

    /// The same with these channels.
    pub fn configure(&self, channels: Value) {
        let config = json!({
            "gateway": {
                "mode": "local",
                "port": self.port,
                "bind": "loopback",
                "auth": { "mode": "token", "token": "a-token-of-this-test" },
            },
            "logging": { "file": self.env.dir().join("gateway.log") },
            "update": { "checkOnStart": false },
            "telemetry": { "enabled": false },
            "models": { "catalogRefresh": { "enabled": false } },
            "discovery": { "mdns": { "mode": "off" } },
            "channels": channels,
        });
        std::fs::write(self.config(), config.to_string()).unwrap();
    }

    /// Writes one that no parser takes.
    pub fn spoil(&self) {
        std::fs::write(self.config(), "{ \"gateway\": { \"mode\": \"local\", ").unwrap();
    }

    /// Waits until a run with another pid than `before` is up and healthy, by our status and by its own word.
    pub fn up(&self, before: Option<i32>) -> Run {
        let run = wait("the gateway is up and healthy", START, || {
            let info = self.env.service("gateway");
            let pid = pid(&info["pid"]).filter(|pid| Some(*pid) != before)?;
            (info["status"] == "up" && info["health"]["verdict"] == "healthy").then_some(Run { pid, info })
        });
        let (status, body) = get(self.port, "/healthz").expect("it answers");
        assert_eq!((status, body.contains("\"ok\":true")), (200, true), "{body}");
        run
    }

    pub fn wait_held(&self) -> Value {
        wait("the gateway is held", START, || {
            let info = self.env.service("gateway");
            (info["status"] == "held").then_some(info)
        })
    }

    /// The metadata of its rows of one type, oldest first.
    pub fn rows(&self, event: &str) -> Vec<Value> {
        let sql = format!(
            "SELECT metadata FROM events WHERE event_type = '{event}' AND service_name = 'gateway' ORDER BY timestamp, id"
        );
        let rows = self.env.rows(&sql);
        rows.iter().map(|row| serde_json::from_str(row[0].as_str().unwrap()).unwrap()).collect()
    }

    /// The same once there are so many; more are a failure. The ledger follows what it records.
    pub fn wait_rows(&self, event: &str, count: usize) -> Vec<Value> {
        wait(&format!("{count} {event}"), SOON, || {
            let rows = self.rows(event);
            assert!(rows.len() <= count, "more than {count} {event}: {rows:#?}");
            (rows.len() == count).then_some(rows)
        })
    }

    /// Its own processes: itself, its broker, its workers.
    pub fn tree(&self) -> Vec<i32> {
        self.env.processes().iter().filter(|process| process.marked).map(|process| process.pid).collect()
    }

    /// Ends the daemon with SIGTERM: everything is down by then, with nothing left of any run, and the ledger has exactly one
    /// row for the end of each run. `crashes` of them were crashes.
    pub fn go_down(&self, crashes: usize) {
        let tree = self.tree();
        // Its broker leads a session of its own, out of the reach of a signal to its group.
        let sessions = tree.iter().filter_map(|pid| session(*pid)).collect::<std::collections::BTreeSet<_>>();
        assert!(sessions.len() > 1, "its tree {tree:?} has the sessions {sessions:?}: no broker was to be seen");
        assert_eq!(self.env.stop_daemon(), Some(0), "{}", self.env.terminal());
        let left = self.env.processes();
        assert!(left.is_empty(), "left behind: {left:#?}");
        let alive: Vec<&i32> = tree.iter().filter(|pid| lives(**pid)).collect();
        assert!(alive.is_empty(), "left behind: {alive:?}");
        drop(std::net::TcpListener::bind(("127.0.0.1", self.port)).expect("its port is free"));
        let ends = ["service_crash", "service_exit", "service_lost"].map(|event| self.rows(event));
        assert_eq!(ends[0].len(), crashes, "{:#?}", ends[0]);
        assert_eq!(ends[1].last().map(|end| &end["class"]), Some(&json!("requested")), "{:#?}", ends[1]);
        assert_eq!(ends[2], [] as [Value; 0]);
        let starts = self.rows("service_start");
        let mut ended: Vec<u64> = ends.iter().flatten().map(|end| end["run_id"].as_u64().unwrap()).collect();
        ended.sort_unstable();
        assert_eq!(ended, starts.iter().map(|start| start["run_id"].as_u64().unwrap()).collect::<Vec<_>>());
        for ready in self.rows("service_ready") {
            eprintln!("  for information: run {} was up {} ms after its start", ready["run_id"], ready["start_ms"]);
        }
    }
}

/// A run that is up.
pub struct Run {
    pub pid: i32,
    pub info: Value,
}

pub fn pid(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|pid| i32::try_from(pid).ok())
}

pub fn kill(pid: i32, what: Signal) {
    assert!(signal(pid, what), "there is no process {pid}");
}

/// The session of a living process.
fn session(pid: i32) -> Option<i32> {
    nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}

/// Whether the process table has it, other than as one that has ended and waits for the system's own first process to take
/// notice.
fn lives(pid: i32) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the system's own process table")]
    let output = std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    !matches!(output.stdout.trim_ascii_start().first(), None | Some(b'Z'))
}
