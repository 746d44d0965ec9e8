//! The two control sockets, spoken to by hand: every route, every broken frame; and the command line's exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Env, wait_for};
use super::tools::*;

const SLEEP: &str = "exec sleep 1000";

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    // A server that neither answers nor hangs up fails the test.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn daemon_socket(env: &Env) -> std::path::PathBuf {
    env.state_dir().join("supervisor/daemon.sock")
}

/// Sends bytes to the daemon and reads until it hangs up; `no_more` says that nothing will follow.
fn raw(env: &Env, bytes: &[u8], no_more: bool) -> String {
    let mut stream = connect(&daemon_socket(env));
    // One that has answered already takes no more.
    let _ = stream.write_all(bytes);
    if no_more {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// One request; the status and the body.
fn http(env: &Env, method: &str, path: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    parse(&raw(env, (head + body).as_bytes(), false))
}

fn parse(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status: {answer:?}"));
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn sentence(answer: &(u16, Value)) -> &str {
    answer.1["error"]["message"].as_str().unwrap_or_else(|| panic!("no sentence: {answer:?}"))
}

fn up() -> Env {
    let env = Env::new(&[service("a", SLEEP, ""), service("b", SLEEP, "")].concat());
    env.start_daemon();
    main_pid(&env, "a");
    main_pid(&env, "b");
    env
}

#[test]
fn each_route_answers() {
    let env = up();
    let (code, status) = http(&env, "GET", "/v1/status", "");
    assert_eq!((code, &status["schema"], &status["daemon"]["running"]), (200, &json!(1), &json!(true)));
    assert_eq!(status["services"].as_array().unwrap().len(), 2);
    let (code, version) = http(&env, "GET", "/v1/version", "");
    assert_eq!((code, version["pid"].as_i64()), (200, env.daemon_pid().map(i64::from)));
    let (code, why) = http(&env, "GET", "/v1/why/a", "");
    assert_eq!(code, 200);
    assert!(why["text"].as_str().unwrap().starts_with("a is up"), "{why}");
    let (code, done) = http(&env, "POST", "/v1/order", r#"{"verb":"stop","names":["a"]}"#);
    assert_eq!((code, &done["outcomes"][0]["ok"], &done["outcomes"][0]["text"]), (200, &json!(true), &json!("down")));
    let (code, done) = http(&env, "POST", "/v1/order", r#"{"verb":"start"}"#);
    assert_eq!((code, done["outcomes"].as_array().unwrap().len()), (200, 2), "without names: all");
    let (code, done) = http(&env, "POST", "/v1/reload", r#"{"dry_run":true}"#);
    assert_eq!((code, done), (200, json!({ "applied": false, "changes": [] })));
    assert_eq!(http(&env, "POST", "/v1/reload", "").0, 200, "an empty body is an empty object");
    assert_eq!(http(&env, "POST", "/v1/sync", ""), (200, json!({ "ok": true })));
    assert_eq!(count(&env, "a", "service_start"), 2, "sync answered before all was in the ledger");
}

#[test]
fn broken_frames_get_a_sentence_and_the_daemon_lives() {
    let env = up();
    let daemon = env.daemon_pid();
    let bad = |method: &str, path: &str, body: &str, code: u16, wanted: &str| {
        let answer = http(&env, method, path, body);
        assert_eq!(answer.0, code, "{method} {path} {body}: {answer:?}");
        assert!(sentence(&answer).contains(wanted), "{method} {path} {body}: {answer:?}");
    };
    bad("GET", "/v1/nothing", "", 404, "there is no /v1/nothing; there are: GET /v1/status");
    bad("GET", "/", "", 404, "there is no /");
    bad("DELETE", "/v1/status", "", 405, "DELETE is not served at /v1/status");
    bad("GET", "/v1/order", "", 405, "GET is not served");
    bad("POST", "/v1/order", "{", 400, "cannot be read: EOF");
    bad("POST", "/v1/order", "", 400, "missing field `verb`");
    bad("POST", "/v1/order", "[1]", 400, "cannot be read");
    bad("POST", "/v1/order", r#"{"verb":"explode"}"#, 400, "unknown variant `explode`");
    bad("POST", "/v1/order", r#"{"verb":"stop","name":["a"]}"#, 400, "unknown field `name`");
    bad("POST", "/v1/order", r#"{"verb":"stop","names":["../a"]}"#, 400, "cannot be read");
    bad("POST", "/v1/order", r#"{"verb":"stop","names":["nobody"]}"#, 400, "no service called nobody");
    bad("POST", "/v1/reload", r#"{"dry-run":true}"#, 400, "unknown field `dry-run`");
    bad("POST", "/v1/alerts", "", 400, "missing field `op`");
    bad("POST", "/v1/alerts", r#"{"op":"silence"}"#, 400, "missing field `for_s`");
    bad("POST", "/v1/alerts", r#"{"op":"silence","rule":"boredom","for_s":1}"#, 400, "unknown variant `boredom`");
    bad("POST", "/v1/alerts", r#"{"op":"ack","id":"a","who":"me"}"#, 400, "unknown field `who`");
    bad("GET", "/v1/why/nobody", "", 400, "no service or task called nobody");
    bad("GET", "/v1/why/%2e%2e", "", 400, "is no name");
    let giant = format!(r#"{{"verb":"stop","names":["{}"]}}"#, "a".repeat(100_000));
    bad("POST", "/v1/order", &giant, 400, "at most 65536 bytes");

    for garbage in
        ["\0\u{1}\u{2}garbage\r\n\r\n", "GET\r\n\r\n", "{\"op\":\"snapshot\"}\n", "GET /v1/status HTTP/9.9\r\n\r\n"]
    {
        let answer = raw(&env, garbage.as_bytes(), true);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{garbage:?}: {answer:?}");
    }
    let head = format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nbig: {}\r\n\r\n", "y".repeat(200_000));
    let answer = raw(&env, head.as_bytes(), false);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    let lied = "POST /v1/order HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n{}";
    assert!(raw(&env, lied.as_bytes(), false).starts_with("HTTP/1.1 400"));
    // Half a head, half a body, and gone.
    for half in ["GET /v1/sta", "POST /v1/order HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\r\n{\"verb\":\"stop\""] {
        let answer = raw(&env, half.as_bytes(), true);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{half:?}: {answer:?}");
    }
    assert_eq!(http(&env, "GET", "/v1/status", "").0, 200);
    assert_eq!(env.status()["daemon"]["pid"].as_i64(), daemon.map(i64::from));
    assert_eq!((run_id(&env, "a"), run_id(&env, "b")), (1, 1), "something of all that was taken for an order");
}

#[test]
fn more_silent_clients_than_there_are_places_do_not_shut_others_out() {
    let env = up();
    let silent: Vec<UnixStream> = (0..80).map(|_| connect(&daemon_socket(&env))).collect();
    // The places are given back when those who have said nothing are hung up on.
    wait_for("an answer", || (run(&env, &["status"]).2 == 0).then_some(()));
    drop(silent);
    let runner = env.state_dir().join("supervisor/runners/_embedded.sock");
    let silent: Vec<UnixStream> = (0..80).map(|_| connect(&runner)).collect();
    drop(silent);
    wait_for("an answer of the runner", || {
        let mut stream = connect(&runner);
        stream.write_all(b"{\"op\":\"snapshot\"}\n").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        line.contains("snapshot").then_some(())
    });
}

#[test]
fn a_runner_answers_each_line_and_hangs_up_on_nonsense() {
    let env = up();
    let runner = env.runner_pid().unwrap();
    let socket = env.state_dir().join("supervisor/runners/_embedded.sock");
    let say = |bytes: &[u8]| -> Vec<Value> {
        let mut stream = connect(&socket);
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let refused = |bytes: &[u8], wanted: &str| {
        let mut stream = connect(&socket);
        let _ = stream.write_all(bytes);
        let mut text = String::new();
        let _ = BufReader::new(stream).read_to_string(&mut text);
        let reply: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap();
        assert_eq!(reply["error"]["code"], 2, "{text}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains(wanted), "{message}");
        assert_eq!(text.lines().count(), 1, "it went on after nonsense: {text}");
    };
    refused(b"garbage\n", "cannot be read");
    refused(b"\xff\xfe\0\n{\"op\":\"snapshot\"}\n", "cannot be read");
    refused(b"{\"op\":\"dance\"}\n", "unknown variant `dance`");
    // A daemon of a newer version may say more than this one understands.
    assert_eq!(say(b"{\"op\":\"ready\",\"name\":\"a\",\"run_id\":1,\"extra\":1}\n"), [json!({"done": []})]);
    refused(b"{\"op\":\"ready\",\"name\":\"a\",\"run_id\":-1}\n", "cannot be read");
    refused(&[b'x'; 70_000], "at most 65536 bytes");
    assert!(say(b"{\"op\":\"snap").is_empty(), "half a line was answered");
    let mut stream = connect(&socket);
    stream.write_all(b"\n{\"op\":\"snapshot\"}\n{\"op\":\"ready\",\"name\":\"nobody\",\"run_id\":1}\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let snapshot = lines.next().unwrap();
    assert_eq!(snapshot["snapshot"]["pid"], runner);
    assert_eq!(snapshot["snapshot"]["views"].as_array().unwrap().len(), 2);
    assert_eq!(lines.next().unwrap()["error"]["code"], 6);
    assert_eq!(env.runner_pid(), Some(runner));
    assert_eq!((run_id(&env, "a"), run_id(&env, "b")), (1, 1));
}

#[test]
fn the_same_restart_asked_for_twice_at_once_is_done_once() {
    let slow =
        "trap 'until test -e $HOME/go; do sleep 0.02; done; exit 0' TERM; : >$HOME/ready; while :; do sleep 0.02; done";
    let env = Env::new(&service("a", slow, ""));
    env.start_daemon();
    wait_file(&home(&env, "ready"));
    let order = r#"{"verb":"restart","names":["a"]}"#;
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..2).map(|_| scope.spawn(|| http(&env, "POST", "/v1/order", order))).collect();
        env.wait_status("a", "stopping");
        // The command line's is a third of the same kind while they are under way, status is asked twice meanwhile.
        let third = scope.spawn(|| ok(&env, &["restart", "a"]));
        let both = [scope.spawn(|| env.status()), scope.spawn(|| env.status())].map(|asked| asked.join().unwrap());
        assert_eq!(both[0]["services"][0]["pid"], both[1]["services"][0]["pid"]);
        ok(&env, &["restart", "--no-wait", "a"]);
        std::fs::write(home(&env, "go"), "").unwrap();
        third.join().unwrap();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for (code, answer) in &answers {
        assert_eq!((*code, &answer["outcomes"][0]["ok"]), (200, &json!(true)), "{answer}");
    }
    let second = run_id(&env, "a");
    wait_row(&env, "a", |row| row.is("service_start") && row.run() == second);
    // The third may have come when the work was done; the first two and the one without a wait were one.
    assert!(second <= 3, "{second} runs");
    let (orders, starts) = (count(&env, "a", "service_restart"), count(&env, "a", "service_start"));
    assert_eq!(orders + 1, starts, "{:?}", rows_of(&env, "a"));
    assert_eq!(answers[0].1["outcomes"][0]["view"]["run_id"], answers[1].1["outcomes"][0]["view"]["run_id"]);
}

#[test]
fn the_command_line_ends_with_the_codes_of_its_manual() {
    let env = Env::new(
        &[service("a", SLEEP, ""), service("off", SLEEP, "enabled = false"), service("bad", "exit 78", "")].concat(),
    );
    let text = ends_with(&env, 4, &["reload"]);
    assert!(text.contains("supervisor run"), "{text}");
    ends_with(&env, 4, &["stop", "a"]);
    ends_with(&env, 3, &["status"]);
    env.start_daemon();
    main_pid(&env, "a");
    env.wait_status("bad", "held");
    ok(&env, &["status", "a"]);
    ends_with(&env, 3, &["status"]);
    ends_with(&env, 3, &["status", "bad"]);
    for wrong in [
        &["stop", "nobody"][..],
        &["why", "nobody"],
        &["status", "nobody"],
        &["stop"],
        &["frobnicate"],
        &["stop", "A B"],
    ] {
        ends_with(&env, 2, wrong);
    }
    assert!(ends_with(&env, 2, &["stop", "of"]).contains("off"), "no suggestion");
    assert!(ends_with(&env, 3, &["start", "off"]).contains("disabled in services.toml"));
    assert!(ok(&env, &["stop", "a"]).contains("a: down"));
    assert!(ok(&env, &["stop", "a"]).contains("a: down"), "what is so already is well");
    assert!(ok(&env, &["start", "--no-wait", "a"]).starts_with("a: "));
    env.wait_status("a", "up");
    let text = ends_with(&env, 6, &["run"]);
    assert!(text.contains(&format!("pid {}", env.daemon_pid().unwrap())), "{text}");
    let text = ends_with(&env, 6, &["exec", "--embedded", "a"]);
    assert!(text.contains(&format!("pid {}", env.runner_pid().unwrap())), "{text}");
    let error: Value = serde_json::from_str(&ends_with(&env, 2, &["--json", "stop", "nobody"])).unwrap();
    assert_eq!(error["error"]["code"], 2);
    env.configure("[service.a]\ncommand = 5\n");
    ends_with(&env, 5, &["check"]);
    ends_with(&env, 5, &["reload"]);
}

#[test]
fn without_a_daemon_the_runner_is_asked_and_told() {
    let env = up();
    let a = main_pid(&env, "a");
    env.kill_daemon();
    let report = env.status();
    assert_eq!((&report["daemon"]["running"], &report["ledger"]["ok"]), (&json!(false), &json!(false)));
    assert!(report["troubles"].to_string().contains("the daemon is not running"), "{report}");
    assert_eq!(main_pid(&env, "a"), a);
    assert!(ok(&env, &["why", "a"]).contains("a is up"));
    let text = ok(&env, &["stop", "a"]);
    assert!(text.contains("a: down") && text.contains("the daemon is not running"), "{text}");
    assert!(!alive(a));
    ok(&env, &["start", "a"]);
    ok(&env, &["restart", "a"]);
    assert_eq!(env.service("a")["run_id"], 3);
    assert!(ends_with(&env, 2, &["stop", "nobody"]).contains("nobody"));
    ends_with(&env, 4, &["reload"]);
    ok(&env, &["stop", "--all"]);
    // What was ordered meanwhile is known to the next daemon, and all of it gets into the ledger.
    env.start_daemon();
    assert_eq!(env.service("a")["status"], "down");
    wait_for("the rows", || {
        (count(&env, "a", "service_start") == 3 && count(&env, "b", "service_exit") == 1).then_some(())
    });
    assert_eq!(count(&env, "a", "service_restart"), 1);
}

#[test]
fn a_state_directory_with_a_long_path_works() {
    let env = Env::new("");
    let deep = env.dir().join("x".repeat(70)).join("y".repeat(70));
    let toml = |body: &str| format!("[supervisor]\nstate_dir = \"{}\"\nmanager = \"embedded\"\n{body}", deep.display());
    let talk = "use IO::Socket::UNIX; use Socket; IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET})\
                ->send('READY=1'); sleep 1000";
    let notify = format!("[service.n]\ncommand = [\"perl\", \"-e\", '''{talk}''']\nnotify = true\n");
    env.write_config(&toml(&(service("a", SLEEP, "") + &notify)));
    env.start_daemon();
    let pid = main_pid(&env, "a");
    main_pid(&env, "n");
    ok(&env, &["restart", "a"]);
    assert_ne!(main_pid(&env, "a"), pid);
    env.kill_daemon();
    ok(&env, &["stop", "a"]);
    env.start_daemon();
    assert_eq!(env.service("a")["status"], "down");
    assert_eq!(env.service("n")["run_id"], 1);
    // The support looks for processes by another folder.
    let runner = i32::try_from(env.service("n")["runner_pid"].as_i64().unwrap()).unwrap();
    assert_eq!(env.stop_daemon(), Some(0));
    wait_dead(runner);
}
