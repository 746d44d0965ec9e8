//! What a service manager's job starts: a runner of one service, which can leave it to a successor.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Child;

use nix::sys::signal::Signal;

use super::support::{Env, pid_of, signal, wait_for};
use super::tools::*;

/// A runner for `name`, as a job starts it.
fn runner(env: &Env, name: &str) -> Child {
    let child = env.command(&["exec", name]).spawn().unwrap();
    let socket = env.state_dir().join(format!("supervisor/runners/{name}.sock"));
    wait_for("the runner's socket", || UnixStream::connect(&socket).ok());
    child
}

fn ask(env: &Env, name: &str, request: &str) -> String {
    let socket = env.state_dir().join(format!("supervisor/runners/{name}.sock"));
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{request}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

fn pid(env: &Env) -> Option<i32> {
    std::fs::read_to_string(env.dir().join("pid")).ok()?.trim().parse().ok()
}

#[test]
fn a_runner_that_leaves_is_followed_by_one_that_adopts() {
    let script = "echo $$ > {dir}/pid; i=0; while :; do i=$((i + 1)); echo line $i; sleep 0.01; done";
    let env = Env::new(&service("a", script, ""));
    let mut first = runner(&env, "a");
    let service = wait_for("the service", || pid(&env));
    for _ in 0..5 {
        let reply = ask(&env, "a", "{\"op\":\"leave\"}");
        assert!(reply.contains("done"), "{reply}");
        let status = wait_for("its end", || first.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "launchd and systemd must not start it again by themselves");
        assert!(alive(service));
        first = runner(&env, "a");
        assert_eq!(main_pid(&env, "a"), service);
    }
    signal(pid_of(&first), Signal::SIGTERM);
    assert_eq!(wait_for("its end", || first.try_wait().unwrap()).code(), Some(0));
    wait_dead(service);
    let log = std::fs::read_to_string(env.state_dir().join("logs/a-stdout.log")).unwrap();
    let numbers: Vec<u64> = log.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "no line is lost or doubled");
    let reply = {
        let mut last = runner(&env, "a");
        signal(pid_of(&last), Signal::SIGTERM);
        last.wait().unwrap()
    };
    assert_eq!(reply.code(), Some(0));
}
