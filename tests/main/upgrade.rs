//! Upgrade in place: the same pids, the same services, nothing lost, whatever is under way.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::chaos::TALKERS;
use super::support::{Env, Guard, pid_of, signal, wait_for};
use super::witness::{Chance, Witness};

/// The program as it is, upgraded to itself; its report.
fn upgrade(env: &Env) -> Value {
    let output = env.cli(&["upgrade", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", String::from_utf8_lossy(&output.stderr), env.terminal()));
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    report
}

/// What the runner says to one request, from a connection of its own.
fn ask_runner(env: &Env, request: &Value) -> Value {
    let mut stream = UnixStream::connect(env.state_dir().join("supervisor/runners/_embedded.sock")).unwrap();
    writeln!(stream, "{request}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn fifty_upgrades_under_load_touch_no_service_and_lose_nothing() {
    let chance = Chance::new("upgrade");
    let env = Env::new(&Witness::tables(&TALKERS));
    let witness = Witness::new(&env);
    let daemon = env.start_daemon();
    for (name, _) in &TALKERS[..5] {
        env.wait_status(name, "up");
    }
    let runner = env.runner_pid().unwrap();
    let stays = ["steady-1", "printer-1", "printer-2"].map(|name| witness.alive(name).unwrap());
    for n in 1..=50 {
        witness.pass(chance.millis(60));
        if chance.once_in(3) {
            let victim = chance.pick(&["victim-1", "victim-2"]);
            if let Some(run) = witness.alive(victim) {
                signal(run.pid, Signal::SIGKILL);
            }
        }
        let report = upgrade(&env);
        assert_eq!(report["daemon"]["pid"], daemon);
        assert_eq!(report["runners"][0]["pid"], runner, "{report:#}");
        let status = env.status();
        assert_eq!(status["daemon"]["upgrades"], n);
        let steady = status["services"].as_array().unwrap().iter().find(|s| s["name"] == "steady-1").unwrap();
        assert_eq!((&steady["status"], &steady["pid"]), (&json!("up"), &json!(stays[0].pid)), "seen at once");
    }
    witness.calm(&TALKERS);
    assert_eq!(env.runner_pid(), Some(runner));
    assert_eq!(stays.clone().map(|run| witness.alive(&run.service).unwrap()), stays);
    assert_eq!(env.stop_daemon(), Some(0));
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    assert_eq!(witness.audit(), 0, "the parent sees every end");
    witness.nothing_printed_is_missing(&["printer-1", "printer-2", "spiller-1", "spiller-2"], &[]);
    let rows = |event: &str| {
        let sql = format!("SELECT count(*) FROM events WHERE event_type = '{event}'");
        env.rows(&sql)[0][0].clone()
    };
    assert_eq!((rows("runner_started"), rows("supervisor_start")), (json!(51), json!(51)));
    assert_eq!((rows("runner_adopted"), rows("service_restart")), (json!(0), json!(0)));
}

#[test]
fn killed_in_the_middle_of_an_upgrade_nothing_is_doubled_or_lost() {
    let chance = Chance::new("killed upgrade");
    let env = Env::new(&Witness::tables(&TALKERS));
    let witness = Witness::new(&env);
    env.start_daemon();
    for (name, _) in &TALKERS[..5] {
        env.wait_status(name, "up");
    }
    let stays = ["steady-1", "printer-1", "printer-2"].map(|name| witness.alive(name).unwrap());
    for _ in 0..40 {
        let mut upgrading = Guard(env.command(&["upgrade"]).spawn().unwrap());
        witness.pass(chance.millis(25));
        if chance.once_in(2) {
            env.kill_daemon();
            env.spawn_daemon();
        } else if let Some(runner) = env.runner_pid() {
            signal(runner, Signal::SIGKILL);
        }
        wait_for("the end of `upgrade`", || upgrading.0.try_wait().unwrap());
        env.start_daemon_if_gone();
        // What waits in a pipe is held by one of the two at least.
        wait_for("the runner at work", || {
            let pid = env.runner_pid()?;
            (env.service("spiller-2")["runner_pid"] == pid).then_some(())
        });
    }
    witness.calm(&TALKERS);
    assert_eq!(stays.clone().map(|run| witness.alive(&run.service).unwrap()), stays);
    assert_eq!(env.stop_daemon(), Some(0));
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    println!("{} ends unseen of {} runs", witness.audit(), witness.starts().len());
    witness.nothing_printed_is_missing(&["printer-1", "printer-2", "spiller-1", "spiller-2"], &[]);
}

#[test]
fn a_stop_under_way_goes_on_with_its_deadline_and_its_caller() {
    let env = Env::new("[service.slow]\ncommand = [\"{dir}/slow\"]\nstop_timeout = \"2s\"\n");
    let dir = env.dir().display();
    env.script(
        "slow",
        &format!("trap 'echo term >> {dir}/told' TERM\necho up >> {dir}/told\nwhile :; do sleep 0.1; done"),
    );
    env.start_daemon();
    env.wait_status("slow", "up");
    wait_for("its trap", || std::fs::read_to_string(env.dir().join("told")).ok());
    let runner = env.runner_pid().unwrap();
    // One caller waits at the daemon, another one at the runner.
    let mut stop = Guard(env.command(&["stop", "slow"]).spawn().unwrap());
    wait_for("the stop", || (env.service("slow")["status"] == "stopping").then_some(()));
    let mut waits = UnixStream::connect(env.state_dir().join("supervisor/runners/_embedded.sock")).unwrap();
    let order = json!({"op": "order", "verb": "stop", "names": ["slow"], "by": "test", "wait": true});
    writeln!(waits, "{order}").unwrap();
    let program = env!("CARGO_BIN_EXE_supervisor");
    for _ in 0..3 {
        assert_eq!(ask_runner(&env, &json!({"op": "upgrade", "program": program})), json!({"done": []}));
        assert_eq!(env.service("slow")["status"], "stopping");
    }
    assert_eq!(stop.0.try_wait().unwrap(), None, "it still waits");
    // The daemon waits for the order before it becomes the new program.
    let report = upgrade(&env);
    assert_eq!(report["runners"][0]["pid"], runner);
    let code = wait_for("the caller's answer", || stop.0.try_wait().unwrap());
    assert_eq!(code.code(), Some(0), "{}", env.terminal());
    let mut line = String::new();
    BufReader::new(waits).read_line(&mut line).unwrap();
    let reply: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(reply["done"][0]["ok"], true, "{line}");
    assert_eq!(env.service("slow")["status"], "down");
    let told = std::fs::read_to_string(env.dir().join("told")).unwrap();
    assert_eq!(told, "up\nterm\n", "it was asked once");
    let ends = env.rows("SELECT metadata FROM events WHERE event_type = 'service_exit'");
    let end: Value = serde_json::from_str(ends[0][0].as_str().unwrap()).unwrap();
    assert_eq!((&end["class"], &end["killed_after_timeout"]), (&json!("requested"), &json!(true)));
}

#[test]
fn held_and_adopted_services_stay_what_they_are() {
    let table = |name: &str, more: &str| format!("[service.{name}]\ncommand = [\"{{dir}}/{name}\"]\n{more}\n");
    let body = table("held", "watch_config = [\"{dir}/wanted\"]") + &table("adopted", "throttle = \"0s\"");
    let env = Env::new(&body);
    let dir = env.dir().display();
    env.script("held", &format!("[ -e {dir}/wanted ] && exec sleep 1000\nexit 78"));
    env.script("adopted", &format!("[ -e {dir}/ended ] && exec sleep 1000\ntouch {dir}/ended\nwhile [ ! -e {dir}/end ]; do sleep 0.02; done\nexit 7"));
    env.start_daemon();
    env.wait_status("held", "held");
    let pid = env.wait_status("adopted", "up")["pid"].clone();
    wait_for("its first act", || env.dir().join("ended").exists().then_some(()));
    let dead = env.runner_pid().unwrap();
    signal(dead, Signal::SIGKILL);
    let runner = wait_for("a successor", || env.runner_pid().filter(|pid| *pid != dead));
    wait_for("the adoption", || (env.service("adopted")["runner_pid"] == runner).then_some(()));
    upgrade(&env);
    assert_eq!(env.service("adopted")["pid"], pid);
    assert_eq!(env.service("held")["status"], "held");
    std::fs::write(env.dir().join("end"), "").unwrap();
    std::fs::write(env.dir().join("wanted"), "").unwrap();
    env.wait_status("held", "up");
    wait_for("the next run", || (env.service("adopted")["run_id"] == 2).then_some(()));
    let last = env.service("adopted")["last_exit"].clone();
    // macOS tells the status of a process to its parent only.
    let expected = if cfg!(target_os = "linux") { json!(["crash", 7]) } else { json!(["lost", null]) };
    assert_eq!(json!([last["class"], last["code"]]), expected);
    assert_eq!(env.runner_pid(), Some(runner));
}

#[test]
fn what_is_no_program_is_refused_and_all_goes_on() {
    let env = Env::new("[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
    let daemon = env.start_daemon();
    let before = env.wait_status("a", "up");
    let garbage = env.dir().join("garbage");
    std::fs::write(&garbage, "\x7fELF garbage").unwrap();
    let refused = |program: &Path| {
        let reply = ask_runner(&env, &json!({"op": "upgrade", "program": program}));
        reply["error"]["message"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    };
    assert!(refused(&garbage).contains("a file that can be executed"));
    assert!(refused(Path::new("relative")).contains("the absolute path"));
    std::fs::set_permissions(&garbage, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(refused(&garbage).contains("could not become"));
    // The daemon, too, comes back to itself, with its socket open again.
    let body = json!({"program": garbage}).to_string();
    let mut stream = UnixStream::connect(env.state_dir().join("supervisor/daemon.sock")).unwrap();
    let head = "POST /v1/upgrade HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.contains("could not become"), "{answer}");
    let trouble = wait_for("the daemon's word", || {
        let troubles = env.status()["troubles"].as_array().unwrap().clone();
        troubles.into_iter().find(|t| t.as_str().is_some_and(|t| t.starts_with("the daemon could not become")))
    });
    assert!(trouble.as_str().unwrap().contains("garbage"), "{trouble}");
    let after = env.service("a");
    assert_eq!((&after["pid"], &after["runner_pid"]), (&before["pid"], &before["runner_pid"]));
    assert_eq!(env.cli(&["restart", "a"]).status.code(), Some(0));
    let report = upgrade(&env);
    assert_eq!(report["daemon"]["pid"], daemon);
    assert_eq!(env.status()["troubles"], json!([]));
}

#[test]
fn an_edited_file_that_nobody_has_reloaded_stays_so() {
    let env = Env::new("[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
    env.start_daemon();
    let before = env.wait_status("a", "up");
    env.configure("[service.a]\ncommand = [\"sleep\", \"2000\"]\n[service.b]\ncommand = [\"sleep\", \"1000\"]\n");
    upgrade(&env);
    let names = |status: Value| status["services"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    let all: Vec<Value> = names(env.status());
    assert_eq!((all, env.service("a")["pid"].clone()), (vec![json!("a")], before["pid"].clone()));
    assert_eq!(env.cli(&["reload"]).status.code(), Some(0));
    env.wait_status("b", "up");
    wait_for("its new command", || (env.wait_status("a", "up")["pid"] != before["pid"]).then_some(()));
}

#[test]
fn without_the_daemon_the_runners_are_told() {
    let env = Env::new("[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
    let none = env.cli(&["upgrade"]);
    assert_eq!(none.status.code(), Some(4), "{}", String::from_utf8_lossy(&none.stderr));
    env.start_daemon();
    let before = env.wait_status("a", "up");
    env.kill_daemon();
    let report = upgrade(&env);
    assert_eq!(report["runners"][0]["pid"], before["runner_pid"]);
    assert_eq!(report["daemon"], Value::Null);
    let reply = ask_runner(&env, &json!({"op": "snapshot"}));
    assert_eq!(reply["snapshot"]["upgrades"], 1);
    env.start_daemon();
    assert_eq!(env.service("a")["pid"], before["pid"]);
}

#[test]
fn who_is_told_to_go_during_an_upgrade_goes() {
    for n in 0..8 {
        let env = Env::new("[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
        env.start_daemon();
        env.wait_status("a", "up");
        let mut upgrading = Guard(env.command(&["upgrade"]).spawn().unwrap());
        let chance = Chance::new("told to go");
        super::support::pass(chance.millis(4 * n + 1), || {});
        assert_eq!(env.stop_daemon(), Some(0), "{}", env.terminal());
        assert_eq!(
            env.processes().iter().filter(|p| p.pid != pid_of(&upgrading.0)).count(),
            0,
            "{:?}",
            env.processes()
        );
        wait_for("the end of `upgrade`", || upgrading.0.try_wait().unwrap());
    }
}

/// A copy of the program that says it is another version. Its text is all that differs.
#[cfg(target_os = "linux")]
fn other_version(env: &Env) -> std::path::PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    let (major, rest) = version.split_once('.').unwrap();
    let (minor, patch) = rest.split_once('.').unwrap();
    let other = format!("{major}.{}.{patch}", (minor.parse::<u32>().unwrap() + 1) % 10);
    let mut bytes = std::fs::read(env!("CARGO_BIN_EXE_supervisor")).unwrap();
    assert_eq!(other.len(), version.len());
    let places: Vec<usize> =
        bytes.windows(version.len()).enumerate().filter(|(_, w)| *w == version.as_bytes()).map(|(at, _)| at).collect();
    for at in places {
        bytes[at..at + other.len()].copy_from_slice(other.as_bytes());
    }
    let path = env.dir().join("supervisor-other");
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// A daemon and a runner one minor version apart: it works, it is shown, and an upgrade makes them one.
#[test]
#[cfg(target_os = "linux")]
fn two_versions_work_together_and_are_shown() {
    let env = Env::new("[service.a]\ncommand = [\"sleep\", \"1000\"]\nthrottle = \"0s\"\n");
    let other = other_version(&env);
    env.start_daemon();
    let before = env.wait_status("a", "up");
    env.kill_daemon();
    let mut daemon = Guard(env.command_of(&other, &["run"]).spawn().unwrap());
    let theirs = wait_for("the other daemon", || {
        let status = env.try_status()?;
        (status["daemon"]["pid"] == pid_of(&daemon.0)).then(|| status["daemon"]["version"].clone())
    });
    assert_ne!(theirs, env!("CARGO_PKG_VERSION"));
    wait_for("the runner's version", || {
        let troubles = env.status()["troubles"].to_string();
        troubles
            .contains(&format!(
                "runner _embedded is version {}, the daemon {}",
                env!("CARGO_PKG_VERSION"),
                theirs.as_str().unwrap()
            ))
            .then_some(())
    });
    signal(i32::try_from(before["pid"].as_i64().unwrap()).unwrap(), Signal::SIGKILL);
    wait_for("the next run", || (env.service("a")["restarts"]["crash"] == 1).then_some(()));
    assert_eq!(env.cli(&["restart", "a"]).status.code(), Some(0));
    let run = env.service("a")["pid"].clone();
    // Upgraded by the older program to itself: a way back is an upgrade like any other.
    let report = upgrade(&env);
    assert_eq!(report["daemon"]["from"], theirs);
    assert_eq!(
        (&report["daemon"]["to"], &report["runners"][0]["to"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(env.status()["troubles"], json!([]));
    assert_eq!((&env.service("a")["pid"], &env.service("a")["runner_pid"]), (&run, &before["runner_pid"]));
    signal(pid_of(&daemon.0), Signal::SIGTERM);
    wait_for("its end in order", || daemon.0.try_wait().unwrap());
}
