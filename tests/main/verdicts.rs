//! The runner's part in a verdict of the daemon: what it hears of a service's signs of life, and what it does when it is told that
//! a run hangs or does not come up.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::support::{Env, signal, wait_for};
use super::tools::*;

/// A connection to the embedded runner.
struct Line(BufReader<UnixStream>);

impl Line {
    fn new(env: &Env) -> Self {
        let stream = UnixStream::connect(env.state_dir().join("supervisor/runners/_embedded.sock")).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    fn say(&mut self, request: &Value) {
        writeln!(self.0.get_mut(), "{request}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.say(request);
        self.hear()
    }
}

fn view(env: &Env, name: &str) -> Value {
    let all = Line::new(env).ask(&json!({ "op": "snapshot" }));
    let found = all["snapshot"]["views"].as_array().unwrap().iter().find(|view| view["name"] == name);
    found.unwrap_or_else(|| panic!("{all:#}")).clone()
}

/// What the runner says to the daemon's order.
fn judge(env: &Env, name: &str, cause: &str, run_id: Option<u64>) -> Value {
    let mut order = json!({
        "op": "order", "verb": "restart", "names": [name], "by": "daemon", "cause": cause, "wait": false,
    });
    if let Some(run_id) = run_id {
        order["run_id"] = run_id.into();
    }
    let reply = Line::new(env).ask(&order);
    assert_eq!(reply["done"][0]["ok"], true, "{reply:#}");
    reply["done"][0]["text"].clone()
}

const STEADY: &str = "exec sleep 1000";

#[test]
fn a_run_that_hangs_or_does_not_come_up_ends_with_that_class_and_the_throttle_is_kept() {
    let unready = "notify = true";
    let env = Env::new(
        &[
            service("hangs", STEADY, "throttle = \"0s\""),
            service("starts", STEADY, &format!("throttle = \"0s\"\n{unready}")),
            service("throttled", STEADY, "throttle = \"10m\""),
            service("stormy", STEADY, "throttle = \"50ms\"\nbackoff_max = \"10m\""),
            service("once", STEADY, "throttle = \"0s\"\nrestart = \"never\""),
            service("once-start", STEADY, &format!("throttle = \"0s\"\nrestart = \"never\"\n{unready}")),
        ]
        .concat(),
    );
    env.start_daemon();
    let first = main_pid(&env, "hangs");
    judge(&env, "hangs", "hung", Some(1));
    assert_ne!(up_after(&env, "hangs", 1), first);
    let end = wait_row(&env, "hangs", |row| row.is("service_crash"));
    assert_eq!((&end.data["class"], &end.data["cause"]), (&"hung".into(), &"hung".into()));
    assert_eq!((end.run(), &end.data["signal"]), (1, &"SIGTERM".into()));

    env.wait_status("starts", "starting");
    judge(&env, "starts", "start_timeout", Some(1));
    let end = wait_row(&env, "starts", |row| row.is("service_crash"));
    assert_eq!((&end.data["class"], end.run()), (&"start_timeout".into(), 1));
    wait_row(&env, "starts", |row| row.is("service_start") && row.run() == 2);

    // What nobody wished for waits like any other crash,
    main_pid(&env, "throttled");
    judge(&env, "throttled", "hung", Some(1));
    let info = env.wait_status("throttled", "waiting");
    assert!(info["why"].as_str().unwrap().contains("next start"), "{info}");
    // counts towards a storm,
    for run in 1..=5 {
        up_after(&env, "stormy", run - 1);
        judge(&env, "stormy", "hung", Some(run));
        wait_row(&env, "stormy", |row| row.is("service_crash") && row.run() == run);
    }
    up_after(&env, "stormy", 5);
    // and is the end of what is to run once.
    main_pid(&env, "once");
    judge(&env, "once", "hung", Some(1));
    assert_eq!(env.wait_status("once", "failed")["last_exit"]["class"], "hung");
    env.wait_status("once-start", "starting");
    judge(&env, "once-start", "start_timeout", Some(1));
    assert_eq!(env.wait_status("once-start", "failed")["last_exit"]["class"], "start_timeout");

    sync(&env);
    for (name, class, wanted) in
        [("hangs", "hung", 1), ("starts", "start_timeout", 1), ("stormy", "hung", 5), ("once", "hung", 1)]
    {
        assert_eq!(env.service(name)["restarts"][class], wanted, "{name}");
    }
    assert_eq!(env.service("stormy")["restart_attempt"], 5, "a verdict is no operator's wish");
    assert_eq!(env.rows("SELECT count(*) FROM events WHERE event_type = 'service_restart'")[0][0], 0);
}

#[test]
fn a_verdict_on_a_run_that_is_over_does_nothing_to_the_next() {
    let env = Env::new(&service("a", STEADY, "throttle = \"0s\""));
    env.start_daemon();
    end(main_pid(&env, "a"), Signal::SIGKILL);
    let second = up_after(&env, "a", 1);
    let before = view(&env, "a");
    assert_eq!(judge(&env, "a", "hung", Some(1)), "run 1 is over");
    assert_eq!(view(&env, "a"), before);
    assert!(alive(second));
    ok(&env, &["stop", "a"]);
    assert_eq!(judge(&env, "a", "hung", Some(2)), "run 2 is over");
    assert_eq!(env.service("a")["status"], "down");
    let refused = json!({ "op": "order", "verb": "restart", "names": [], "by": "daemon", "run_id": 1, "wait": false });
    assert_eq!(
        Line::new(&env).ask(&refused)["done"][0]["text"],
        "run 1 is over",
        "it has one service, so it is clear which"
    );
}

/// A stop that waits for its turn is somebody's wish: a verdict on the run meanwhile does not take it back.
#[test]
fn a_verdict_takes_nobodys_stop_back() {
    let slow =
        "trap 'until test -e $HOME/go; do sleep 0.02; done; exit 0' TERM; : >$HOME/up; while :; do sleep 0.02; done";
    let services = service("base", STEADY, "throttle = \"0s\"") + &service("top", slow, "after = [\"base\"]");
    let env = Env::new(&services);
    env.start_daemon();
    wait_file(&home(&env, "up"));
    main_pid(&env, "base");
    ok(&env, &["stop", "--all", "--no-wait"]);
    judge(&env, "base", "hung", Some(1));
    wait_row(&env, "base", |row| row.is("service_crash"));
    std::fs::write(home(&env, "go"), "").unwrap();
    env.wait_status("top", "down");
    env.wait_status("base", "down");
    assert_eq!(count(&env, "base", "service_start"), 1);
}

#[test]
fn a_stopped_process_gets_to_act_on_its_stop_signal() {
    let polite = "trap 'echo bye >$HOME/bye; exit 0' TERM; : >$HOME/up; while :; do sleep 0.02; done";
    let env = Env::new(&service("a", polite, "throttle = \"0s\"\nstop_timeout = \"10m\""));
    env.start_daemon();
    wait_file(&home(&env, "up"));
    let pid = main_pid(&env, "a");
    killpg(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    judge(&env, "a", "hung", Some(1));
    let end = wait_row(&env, "a", |row| row.is("service_crash"));
    assert_eq!((&end.data["exit_code"], &end.data["killed_after_timeout"]), (&0.into(), &Value::Null), "{end:?}");
    assert!(home(&env, "bye").exists());
    assert_eq!(end.data["class"], "hung");
}

/// Says WATCHDOG=1 as often as the file `beats` has lines, and then once at each SIGUSR1.
const BEATS: &str = r#"
use Socket;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; connect($s, sockaddr_un($ENV{NOTIFY_SOCKET})) or die;
my $beat = 0; $SIG{USR1} = sub { $beat = 1 };
open(F, '>', "$ENV{HOME}/told"); print F join(' ', map { $ENV{$_} // '-' } qw(WATCHDOG_USEC WATCHDOG_PID)); close F;
send($s, "READY=1", 0);
while (1) { select(undef, undef, undef, 0.01); if ($beat) { $beat = 0; send($s, "STATUS=x\nWATCHDOG=1\n", 0) for 1..300 } }
"#;

#[test]
fn signs_of_life_are_told_for_the_run_that_gave_them_and_written_down_nowhere() {
    let more = "notify = true\nthrottle = \"0s\"\nhealth = { notify = true, interval = \"10m\", timeout = \"1m\", failures = 4 }";
    let env = Env::new(&format!("[service.a]\ncommand = [\"perl\", \"{{dir}}/beats\"]\n{more}\n"));
    std::fs::write(home(&env, "beats"), BEATS).unwrap();
    env.start_daemon();
    let pid = main_pid(&env, "a");
    assert_eq!(std::fs::read_to_string(home(&env, "told")).unwrap(), "1860000000 -", "3 x 10 min + 1 min");
    let before = view(&env, "a");
    assert!(before["beat"].is_null(), "{before}");
    let program = before["program"].as_str().unwrap().to_owned();
    let start = wait_row(&env, "a", |row| row.is("service_start"));
    assert_eq!(start.data["program_id"], program);
    let record = || supervisor::process::record::read(&env.state_dir().join("supervisor/services/a/adopt")).unwrap();
    let written = record();

    let mut follows = Line::new(&env);
    follows.ask(&json!({ "op": "subscribe" }));
    signal(pid, Signal::SIGUSR1);
    let pushed = loop {
        let view = follows.hear()["push"]["views"][0].clone();
        if view["beat"].is_u64() {
            break view;
        }
    };
    // A verdict that was passed before it was heard of comes to nothing.
    let order = json!({ "op": "order", "verb": "restart", "names": ["a"], "by": "daemon", "cause": "hung", "wait": false, "run_id": 1 });
    let refused = Line::new(&env).ask(&order);
    assert!(refused["error"]["message"].as_str().unwrap().contains("gave a sign of life"), "{refused}");
    // Three hundred at once are a few pushes.
    let mut pushes = 1;
    signal(pid, Signal::SIGUSR2);
    loop {
        let views = follows.hear()["push"]["views"].clone();
        if views[0]["pid"] != pid {
            break;
        }
        pushes += u32::from(views[0]["status"] == "up");
    }
    assert!(pushes < 30, "{pushes} pushes");
    assert_eq!(pushed["epoch"], before["epoch"]);
    let crash = wait_row(&env, "a", |row| row.is("service_crash"));
    assert_eq!(crash.data["signal"], "SIGUSR2");
    assert_ne!(written, record());

    // The next run has given none yet. What it was started from, a successor knows, and what the program becomes.
    let pid = up_after(&env, "a", 1);
    assert!(view(&env, "a")["beat"].is_null());
    let written = record();
    signal(pid, Signal::SIGUSR1);
    let beat = wait_for("a sign of life", || view(&env, "a")["beat"].as_u64());
    assert_eq!(written, record(), "it is no change that is written down");
    ok(&env, &["upgrade"]);
    let after = view(&env, "a");
    assert!(after["beat"].as_u64().unwrap() >= beat, "{after}");
    assert_eq!((&after["program"], &after["pid"]), (&json!(program), &json!(pid)));
    let runner = env.runner_pid().unwrap();
    end(runner, Signal::SIGKILL);
    let adopted = wait_for("its successor", || {
        let successor = env.runner_pid().filter(|pid| *pid != runner)?;
        (env.service("a")["runner_pid"] == successor && env.service("a")["status"] == "up").then(|| view(&env, "a"))
    });
    assert_eq!((&adopted["program"], &adopted["pid"]), (&json!(program), &json!(pid)));
    assert!(adopted["beat"].is_null());
}
