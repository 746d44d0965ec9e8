//! What a service manager's job starts: a runner of one service, which can leave it to a successor, and one run of a calendar job.

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

fn task(steps: &str, more: &str) -> String {
    format!("[task.job]\ncalendar = [\"daily 07:55\"]\nsteps = [{steps}]\n{more}\n")
}

fn sh(script: &str, more: &str) -> String {
    format!("{{ run = [\"/bin/sh\", \"-c\", '{script}'] {more} }}")
}

fn log(env: &Env, stream: &str) -> String {
    std::fs::read_to_string(env.state_dir().join(format!("logs/job-{stream}.log"))).unwrap_or_default()
}

#[test]
fn a_calendar_job_runs_its_steps_in_order() {
    let steps = [
        sh("echo one $A $SUPERVISOR_SERVICE $PWD; echo err >&2", ""),
        "{ builtin = \"prune\" }".into(),
        sh("echo two", ""),
    ];
    let env = Env::new(&task(&steps.join(", "), "env = { A = \"b\" }\ncwd = \"{dir}\""));
    ok(&env, &["exec", "job"]);
    assert_eq!(log(&env, "stdout"), format!("one b job {}\ntwo\n", env.dir().display()));
    assert!(log(&env, "stderr").starts_with("err\nsupervisor: job: step 2 of 3 (prune): the daemon does it by itself"));
    env.configure(&task(&steps.join(", "), "enabled = false"));
    assert!(ends_with(&env, 6, &["exec", "job"]).contains("enabled = false"));
    assert!(ends_with(&env, 2, &["exec", "jib"]).contains("jib"));
}

#[test]
fn a_step_that_fails_is_tried_again_and_then_ends_the_job() {
    let step = sh("echo try >> {dir}/tries; [ $(wc -l < {dir}/tries) -ge 3 ]", ", retries = 2");
    let env = Env::new(&task(&format!("{step}, {}", sh("exit 7", "")), ""));
    let text = ends_with(&env, 3, &["exec", "job"]);
    assert!(text.contains("task job: step 2 of 2 (sh): exit code 7") && text.contains("supervisor logs job"), "{text}");
    assert_eq!(std::fs::read_to_string(env.dir().join("tries")).unwrap().lines().count(), 3);
    assert_eq!(log(&env, "stderr").matches("it is tried again").count(), 2);
    env.configure(&task("{ run = [\"/no/such/thing\"] }, { run = [\"/bin/sh\", \"-c\", \"touch {dir}/ran\"] }", ""));
    assert!(ends_with(&env, 3, &["exec", "job"]).contains("/no/such/thing does not exist"));
    assert!(!env.dir().join("ran").exists());
}

#[test]
fn a_step_over_its_time_is_ended_with_all_that_it_started() {
    let deaf =
        sh("trap \"\" TERM; sleep 1000 & echo $! > {dir}/child; echo $$ > {dir}/pid; wait; wait", ", timeout = \"1s\"");
    let env = Env::new(&task(&deaf, ""));
    let text = ends_with(&env, 3, &["exec", "job"]);
    assert!(text.contains("did not end within its timeout of 1 s"), "{text}");
    wait_dead(pid(&env).unwrap());
    wait_dead(number_in(&env, "child"));
    // Ended from outside, and only one at a time.
    env.configure(&task(&sh("echo $$ > {dir}/second; sleep 1000", ""), ""));
    let mut child = env.command(&["exec", "job"]).spawn().unwrap();
    let step = wait_for("the step", || std::fs::read_to_string(env.dir().join("second")).ok()?.trim().parse().ok());
    assert!(ends_with(&env, 6, &["exec", "job"]).contains(&format!("runs already (pid {})", pid_of(&child))));
    signal(pid_of(&child), Signal::SIGTERM);
    assert_eq!(wait_for("its end", || child.try_wait().unwrap()).code(), Some(3));
    wait_dead(step);
}
