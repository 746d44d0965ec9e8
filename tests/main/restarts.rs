//! What follows the end of a run: held, recycled, done, failed or another run, in which order and how soon.

use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::support::{Env, Guard, signal, wait_for};
use super::tools::*;

/// Ends with 78 until `conf` says `good`.
const PICKY: &str = "grep -q good $HOME/conf && exec sleep 1000; echo 'no token in conf' >&2; exit 78";

#[test]
fn exit_78_holds_and_a_touched_configuration_or_the_operator_tries_again() {
    let env = Env::new(&service("picky", PICKY, "watch_config = [\"{dir}/conf\"]\nthrottle = \"0s\""));
    let conf = home(&env, "conf");
    std::fs::write(&conf, "bad\n").unwrap();
    env.start_daemon();
    let info = env.wait_status("picky", "held");
    assert_eq!(info["run_id"], 1);
    let why = info["why"].as_str().unwrap();
    assert!(why.contains("exit code 78 (EX_CONFIG)") && why.contains("conf changes"), "{why}");
    let end = wait_row(&env, "picky", |row| row.is("service_exit"));
    assert_eq!((&end.data["class"], &end.data["exit_code"]), (&"refused".into(), &78.into()));
    assert_eq!(end.data["stderr_tail"], "no token in conf\n");
    let held = wait_row(&env, "picky", |row| row.is("service_held"));
    assert_eq!(held.data["stderr_tail"], "no token in conf\n");
    assert!(end.seq < held.seq);
    assert_eq!(count(&env, "picky", "service_crash"), 0);

    std::fs::write(&conf, "still bad\n").unwrap();
    held_after(&env, 1);
    // Emptying it and filling it may have been two changes, so there may have been two tries.
    let before = run_id(&env, "picky");
    put(&conf, "bad in another way\n", 0o600);
    held_after(&env, before);
    assert_eq!(count(&env, "picky", "service_held"), 1, "the same hold was told again");

    let before = run_id(&env, "picky");
    // It is up for as long as it takes to read its configuration, so either answer is a true one.
    run(&env, &["start", "picky"]);
    held_after(&env, before);

    let before = run_id(&env, "picky");
    put(&conf, "good\n", 0o600);
    up_after(&env, "picky", before);
    sync(&env);
    let all = rows_of(&env, "picky");
    let (starts, ends): (Vec<&Row>, Vec<&Row>) =
        (all.iter().filter(|r| r.is("service_start")).collect(), all.iter().filter(|r| r.is("service_exit")).collect());
    assert_eq!(starts.len(), ends.len() + 1, "{all:?}");
}

fn held_after(env: &Env, run: u64) {
    wait_for("another try, and held again", || {
        let info = env.service("picky");
        (info["status"] == "held" && info["run_id"].as_u64()? > run).then_some(())
    });
}

#[test]
fn a_port_that_somebody_else_has_holds_with_his_name_until_he_is_gone() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let env = Env::new(&service("web", "exec sleep 1000", &format!("ports = [{port}]\nthrottle = \"0s\"")));
    let talk = format!(
        "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => {port}, \
         ReuseAddr => 1) or die; syswrite(STDOUT, 'x'); sleep 1000"
    );
    #[expect(clippy::disallowed_methods, reason = "somebody who has nothing to do with us")]
    let mut foreign =
        Guard(std::process::Command::new("perl").args(["-e", &talk]).stdout(Stdio::piped()).spawn().unwrap());
    foreign.0.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    env.start_daemon();
    let info = env.wait_status("web", "held");
    let why = info["why"].as_str().unwrap().to_owned();
    assert!(why.contains(&format!("port {port} is taken by")), "{why}");
    assert!(why.contains(&format!("(pid {})", foreign.0.id())), "the pid is not named: {why}");
    assert!(why.contains("perl -e"), "the command is not named: {why}");
    assert!(info["run_id"].is_null());
    let held = wait_row(&env, "web", |row| row.is("service_held"));
    assert!(held.data["reason"].as_str().unwrap().contains(&foreign.0.id().to_string()), "{held:?}");
    drop(foreign);
    env.wait_status("web", "up");
    assert_eq!(count(&env, "web", "service_held"), 1);
    assert!(rows_of(&env, "web").iter().all(|row| !row.is("service_exit") && !row.is("service_crash")));
}

#[test]
fn v8_that_gives_up_its_heap_is_on_record_as_out_of_memory() {
    // As node prints it, between lines of its own, before it aborts.
    let script = "printf '<--- Last few GCs --->\\n\\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap \
        out of memory\\n----- Native stack trace -----\\n' >&2; kill -ABRT $$";
    let env = Env::new(&service("node", script, "restart = \"never\""));
    env.start_daemon();
    env.wait_status("node", "failed");
    let row = wait_row(&env, "node", |row| row.is("service_crash"));
    assert_eq!((&row.data["signal"], &row.data["out_of_memory"]), (&"SIGABRT".into(), &"v8".into()), "{row:?}");
    assert!(row.data["stderr_tail"].as_str().unwrap().contains("heap limit"));
    let why = ok(&env, &["why", "node"]);
    assert!(why.contains("crashed (SIGABRT: V8's heap was full)"), "{why}");
}

#[test]
fn restart_modes_decide_between_again_done_and_failed() {
    let fails_once = "test -e $HOME/tried && exec sleep 1000; : >$HOME/tried; exit 5";
    let env = Env::new(
        &[
            service("ok-fail", "exit 0", "restart = \"on-failure\""),
            service("bad-fail", fails_once, "restart = \"on-failure\"\nthrottle = \"0s\""),
            service("ok-never", "exit 0", "restart = \"never\""),
            service("bad-never", "exit 7", "restart = \"never\""),
            service("listed", "exit 3", "restart = \"on-failure\"\nsuccess_exit_codes = [0, 3]"),
            service("other-hold", "exit 9", "hold_exit_codes = [9]"),
        ]
        .concat(),
    );
    env.start_daemon();
    for (name, status) in [
        ("ok-fail", "done"),
        ("ok-never", "done"),
        ("bad-never", "failed"),
        ("listed", "done"),
        ("other-hold", "held"),
        ("bad-fail", "up"),
    ] {
        let info = env.wait_status(name, status);
        assert_eq!(info["run_id"], if name == "bad-fail" { 2 } else { 1 }, "{info}");
    }
    let end = wait_row(&env, "bad-fail", |row| row.is("service_crash"));
    assert_eq!((&end.data["exit_code"], &end.data["restart_attempt"]), (&5.into(), &0.into()));
    let end = wait_row(&env, "bad-never", |row| row.is("service_crash"));
    assert_eq!(end.data["exit_code"], 7);
    let end = wait_row(&env, "listed", |row| row.is("service_exit"));
    assert_eq!((&end.data["class"], &end.data["exit_code"]), (&"recycled".into(), &3.into()));
    let end = wait_row(&env, "other-hold", |row| row.is("service_exit"));
    assert_eq!(end.data["class"], "refused");
    // `failed` and `held` are no good ends; `done` is.
    ends_with(&env, 3, &["status"]);
    ok(&env, &["status", "ok-fail", "ok-never", "listed", "bad-fail"]);
    // The operator runs it once more.
    ok(&env, &["start", "ok-never"]);
    wait_row(&env, "ok-never", |row| row.is("service_exit") && row.run() == 2);
}

#[test]
fn signals_are_crashes_with_their_names_and_attempts_count_up_until_an_operator_starts() {
    let script = "echo \"$SUPERVISOR_RESTART_COUNT/$LAUNCHD_RESTART_COUNT/$SUPERVISOR_RUN_ID\" >>$HOME/counts; \
                  echo \"run $SUPERVISOR_RUN_ID dies\" >&2; exec sleep 1000";
    let env = Env::new(&service("victim", script, "throttle = \"0s\""));
    env.start_daemon();
    for (run, with) in [(1, Signal::SIGSEGV), (2, Signal::SIGKILL), (3, Signal::SIGABRT)] {
        let pid = up_after(&env, "victim", run - 1);
        // The shell has become the sleep, so its words are on their way.
        wait_for("its words", || {
            ok(&env, &["logs", "victim", "--stderr"]).contains(&format!("run {run} dies")).then_some(())
        });
        end(pid, with);
        let row = wait_row(&env, "victim", |row| row.is("service_crash") && row.run() == run);
        assert_eq!(row.data["signal"], with.as_str());
        assert!(row.data["exit_code"].is_null());
        assert_eq!(row.data["class"], "crash");
        assert!(row.data.get("out_of_memory").is_none(), "memory has nothing to do with it: {row:?}");
        assert_eq!(row.data["pid"], pid);
        assert_eq!(row.data["restart_attempt"].as_u64(), Some(run - 1));
        assert!(row.data["uptime_ms"].is_u64());
        assert_eq!(row.data["stderr_tail"], format!("run {run} dies\n"), "the tail is not this run's");
    }
    up_after(&env, "victim", 3);
    assert_eq!(env.service("victim")["restart_attempt"], 3);
    ok(&env, &["restart", "victim"]);
    up_after(&env, "victim", 4);
    assert_eq!(env.service("victim")["restart_attempt"], 0);
    wait_for("what the runs were told", || {
        let text = std::fs::read_to_string(home(&env, "counts")).ok()?;
        (text == "0/0/1\n1/1/2\n2/2/3\n3/3/4\n0/0/5\n").then_some(())
    });
    let info = wait_for("the counts", || {
        let info = env.service("victim");
        (info["restarts"]["requested"] == 1).then_some(info)
    });
    assert_eq!(info["restarts"]["crash"], 3);
    assert_eq!(count(&env, "victim", "service_restart"), 1, "only what an operator orders is a service_restart");
}

#[test]
fn what_ran_longer_than_the_throttle_is_restarted_at_once_and_what_did_not_waits() {
    let env = Env::new(&service("steady", "exec sleep 1000", "throttle = \"3s\""));
    env.start_daemon();
    let first = main_pid(&env, "steady");
    wait_for("three seconds of uptime", || (env.service("steady")["uptime_s"].as_u64()? >= 3).then_some(()));
    end(first, Signal::SIGKILL);
    let second = up_after(&env, "steady", 1);
    end(second, Signal::SIGKILL);
    let info = env.wait_status("steady", "waiting");
    assert!(info["next_run_ms"].is_i64() && info["why"].as_str().unwrap().contains("next start"), "{info}");
    up_after(&env, "steady", 2);
    sync(&env);
    let rows = rows_of(&env, "steady");
    let at = |event: &str, run: u64| rows.iter().find(|row| row.is(event) && row.run() == run).unwrap().at_ms;
    assert!(at("service_start", 2) - at("service_crash", 1) < 3000, "the throttle was counted from the end");
    assert!(at("service_start", 3) - at("service_start", 2) >= 2999, "the throttle was not kept");
}

#[test]
fn services_start_after_and_stop_before_what_they_need() {
    let slow_end = "trap 'sleep 0.2; exit 0' TERM; : >$HOME/NAME; while :; do sleep 0.05; done";
    let env = Env::new(
        &[
            service("base", &slow_end.replace("NAME", "base"), ""),
            service("middle", &slow_end.replace("NAME", "middle"), "after = [\"base\"]"),
            service("top", &slow_end.replace("NAME", "top"), "after = [\"middle\", \"base\"]"),
        ]
        .concat(),
    );
    env.start_daemon();
    let names = ["base", "middle", "top"];
    for name in names {
        wait_file(&home(&env, name));
        env.wait_status(name, "up");
    }
    ok(&env, &["stop", "--all"]);
    let seq = |name: &str, event: &str| wait_row(&env, name, |row| row.is(event)).seq;
    let starts = names.map(|name| seq(name, "service_start"));
    assert!(starts.is_sorted(), "{starts:?}");
    let ends = names.map(|name| seq(name, "service_exit"));
    assert!(ends.is_sorted_by(|a, b| a > b), "{ends:?}");
    for name in names {
        let end = wait_row(&env, name, |row| row.is("service_exit"));
        assert_eq!((&end.data["class"], &end.data["exit_code"]), (&"requested".into(), &0.into()));
        assert!(end.data["killed_after_timeout"].is_null());
    }
    // `start` of one does not start the others: they are to be down.
    ok(&env, &["start", "base"]);
    assert_eq!(env.service("top")["status"], "down");
}

/// On the way down a service that ends by itself before its turn is not started again, and one that the operator has stopped
/// meanwhile stays down afterwards.
#[test]
fn on_the_way_down_nothing_is_started_and_no_stop_is_forgotten() {
    let slow =
        "trap 'until test -e $HOME/go; do sleep 0.02; done; exit 0' TERM; : >$HOME/top; while :; do sleep 0.02; done";
    let base = "echo $$ >>$HOME/base; while :; do test -e $HOME/die && exit 3; sleep 0.02; done";
    let env = Env::new(&(service("base", base, "throttle = \"0s\"") + &service("top", slow, "after = [\"base\"]")));
    env.start_daemon();
    wait_file(&home(&env, "top"));
    env.wait_status("top", "up");
    // The stop of `base` waits for `top`, which takes its time.
    let stop = |name: &str| Guard(env.command(&["stop", name]).spawn().unwrap());
    let mut waits = stop("top");
    wait_for("the stop of top", || (env.service("top")["status"] == "stopping").then_some(()));
    ok(&env, &["stop", "base", "--no-wait"]);
    signal(env.daemon_pid().unwrap(), Signal::SIGTERM);
    // A start that comes before that is taken, and takes the stop back.
    let refused = |verb: &str| env.cli(&[verb, "base", "--no-wait"]).status.code() != Some(0);
    wait_for("the word on the way down", || refused("stop").then_some(()));
    assert!(refused("start"));
    std::fs::write(home(&env, "die"), "").unwrap();
    let crash =
        || env.rows("SELECT 1 FROM supervisor_events WHERE service_name = 'base' AND event_type = 'service_crash'");
    wait_for("its own end", || (!crash().is_empty()).then_some(()));
    std::fs::write(home(&env, "go"), "").unwrap();
    assert_eq!(env.stop_daemon(), Some(0));
    wait_for("the caller's answer", || waits.0.try_wait().unwrap());
    assert_eq!(std::fs::read_to_string(home(&env, "base")).unwrap().lines().count(), 1, "it was started again");
    std::fs::remove_file(home(&env, "die")).unwrap();
    env.start_daemon();
    assert_eq!(env.wait_status("base", "down")["pid"], serde_json::Value::Null);
}
