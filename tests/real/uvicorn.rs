//! uvicorn with a limit of requests ends with exit code 0 when it has served them, and expects to be started again.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::Env;
use super::{free_port, get, installed, wait};

/// On a loaded machine.
const START: Duration = Duration::from_secs(60);

const APP: &str = r#"
from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
def health():
    return {"status": "ok"}


@app.get("/embed")
def embed():
    return {"vector": [0.0, 1.0]}
"#;

#[test]
#[ignore = "needs uvicorn; .ci/run runs it"]
fn at_its_limit_of_requests_it_is_recycled() {
    let (python, port) = (installed("REAL_PYTHON"), free_port());
    let env = Env::new(&format!(
        r#"
[service.embedding-server]
command = [{python:?}, "-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", "{port}", "--limit-max-requests", "20"]
cwd = "{{dir}}"
env = {{ PYTHONUNBUFFERED = "1" }}
ports = [{port}]
throttle = "1s"

[service.embedding-server.health]
http = "http://127.0.0.1:{port}/health"
expect_json = {{ status = "ok" }}
"#
    ));
    std::fs::write(env.dir().join("main.py"), APP).unwrap();
    env.start_daemon();
    let mut before = Value::Null;
    for recycled in 0..3 {
        let info = wait("uvicorn is up and healthy", START, || {
            let info = env.service("embedding-server");
            let up = info["status"] == "up" && info["health"]["verdict"] == "healthy" && info["pid"] != before;
            up.then_some(info)
        });
        assert_eq!(info["restarts"]["recycled"], json!(recycled), "{info:#}");
        assert_eq!(info["restarts"]["crash"], json!(0), "{info:#}");
        before = info["pid"].clone();
        if recycled < 2 {
            // It counts when it looks up from its work, so a few more are answered than the limit says.
            let answers = std::iter::from_fn(|| get(port, "/embed")).take_while(|(status, _)| *status == 200).count();
            assert!(answers >= 10, "{answers} answers of one run with a limit of 20");
        }
    }
    assert_eq!(env.stop_daemon(), Some(0), "{}", env.terminal());
    assert!(env.processes().is_empty(), "{:#?}", env.processes());
    let ends =
        env.rows("SELECT metadata FROM events WHERE event_type IN ('service_crash', 'service_exit') ORDER BY id");
    let ends: Vec<Value> = ends.iter().map(|row| serde_json::from_str(row[0].as_str().unwrap()).unwrap()).collect();
    let classes: Vec<(&Value, &Value)> = ends.iter().map(|end| (&end["class"], &end["exit_code"])).collect();
    assert_eq!(classes[..2], [(&json!("recycled"), &json!(0)); 2], "{ends:#?}");
    assert_eq!((classes.len(), classes[2].0), (3, &json!("requested")), "{ends:#?}");
    for ready in env.rows("SELECT metadata FROM events WHERE event_type = 'service_ready' ORDER BY id") {
        let ready: Value = serde_json::from_str(ready[0].as_str().unwrap()).unwrap();
        eprintln!("  for information: run {} was up {} ms after its start", ready["run_id"], ready["start_ms"]);
    }
}
