//! Services that behave oddly as processes: what becomes of them, and of what they leave behind.

use nix::sys::signal::Signal;

use super::support::{Env, wait_for};
use super::tools::*;

#[test]
fn one_that_ignores_term_is_killed_in_the_end_and_the_row_says_so() {
    let env = Env::new(&service(
        "stubborn",
        "trap '' TERM; : >$HOME/ready; exec sleep 1000",
        "stop_timeout = \"300ms\"\ndrain_timeout = \"300ms\"",
    ));
    env.start_daemon();
    wait_file(&home(&env, "ready"));
    let pid = main_pid(&env, "stubborn");
    ok(&env, &["stop", "stubborn"]);
    assert!(!alive(pid), "stop returned while {pid} lived");
    assert_eq!(env.service("stubborn")["status"], "down");
    let end = wait_row(&env, "stubborn", |row| row.is("service_exit"));
    assert_eq!(end.data["class"], "requested", "{end:?}");
    assert_eq!(end.data["signal"], "SIGKILL");
    assert!(end.data["exit_code"].is_null());
    assert_eq!(end.data["killed_after_timeout"], true);
    assert_eq!(end.data["cause"], "operator");
    assert_eq!(count(&env, "stubborn", "service_crash"), 0);

    // One that obeys is not said to have been killed.
    let _ = std::fs::remove_file(home(&env, "ready"));
    ok(&env, &["start", "stubborn"]);
    assert_eq!(env.service("stubborn")["run_id"], 2);
}

#[test]
fn grandchildren_do_not_outlive_a_service_that_ends() {
    let script = "sleep 1000 & echo $! >$HOME/meek; (trap '' TERM; exec sleep 1000) & echo $! >$HOME/stubborn; exit 3";
    let env = Env::new(&service("parent", script, "restart = \"never\""));
    env.start_daemon();
    env.wait_status("parent", "failed");
    let (meek, stubborn) = (number_in(&env, "meek"), number_in(&env, "stubborn"));
    wait_dead(meek);
    wait_dead(stubborn);
    let end = wait_row(&env, "parent", |row| row.is("service_crash"));
    assert_eq!(end.data["exit_code"], 3);
}

/// A main process that has two helpers: one in its group, one in a session of its own.
const TWO: &str = "sleep 1000 & echo $! >$HOME/near; perl $HOME/away $HOME/far & exec sleep 1000";

#[test]
fn what_left_the_session_is_ended_at_a_stop_and_after_a_crash() {
    let env = with_away(Env::new(&service("roamer", TWO, "throttle = \"0s\"")));
    env.start_daemon();
    let (near, far, pid) = (number_in(&env, "near"), number_in(&env, "far"), main_pid(&env, "roamer"));
    std::fs::remove_file(home(&env, "far")).unwrap();
    end(pid, Signal::SIGKILL);
    wait_dead(near);
    wait_dead(far);
    up_after(&env, "roamer", 1);
    // The second run's own stray was not taken for one of the first.
    let far = number_in(&env, "far");
    assert!(alive(far));
    ok(&env, &["stop", "roamer"]);
    assert!(!alive(far), "stop returned while the stray {far} lived");
}

#[test]
fn what_left_the_session_with_an_empty_environment_is_ended_at_a_stop() {
    let script = "env -i perl $HOME/away $HOME/far & exec sleep 1000";
    let env = with_away(Env::new(&service("roamer", script, "")));
    env.start_daemon();
    let (far, pid) = (number_in(&env, "far"), main_pid(&env, "roamer"));
    let environ = std::fs::read(format!("/proc/{far}/environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environ).contains("SUPERVISOR_"), "it has no mark to be found by");
    ok(&env, &["stop", "roamer"]);
    assert!(!alive(far) && !alive(pid));
}

#[test]
fn with_sweep_group_what_left_the_session_is_left_alone() {
    let env = with_away(Env::new(&service("roamer", TWO, "sweep = \"group\"")));
    env.start_daemon();
    main_pid(&env, "roamer");
    let (near, far) = (number_in(&env, "near"), number_in(&env, "far"));
    ok(&env, &["stop", "roamer"]);
    assert!(!alive(near), "the group was not ended");
    assert!(alive(far), "the stray was ended although only the group was to be");
    end(far, Signal::SIGKILL);
}

#[test]
fn a_closed_stdout_and_an_empty_stdin_are_survived() {
    let env = Env::new(&format!(
        "{}{}",
        service("mute", "exec >&-; echo still here >&2; : >$HOME/closed; exec sleep 1000", ""),
        service("reader", "read line; echo \"$?\" >$HOME/eof; exec sleep 1000", ""),
    ));
    env.start_daemon();
    wait_file(&home(&env, "closed"));
    // 1: the end of the file, at once.
    assert_eq!(number_in(&env, "eof"), 1);
    wait_for("the line on stderr", || ok(&env, &["logs", "mute", "--stderr"]).contains("still here").then_some(()));
    assert_eq!(env.service("mute")["status"], "up");
    assert_eq!(env.service("mute")["run_id"], 1);
    assert_eq!(env.service("reader")["status"], "up");
}

#[test]
fn a_name_made_to_confuse_readers_of_proc_confuses_nobody() {
    // The kernel's table shows the name in parentheses, and the fields after it.
    let script = "exec perl -e '$0 = \"x) R 1 1 (\"; open(F, \">\", \"$ENV{HOME}/named\"); close F; sleep 1000'";
    let env = Env::new(&service("impostor", script, ""));
    env.start_daemon();
    wait_file(&home(&env, "named"));
    let (pid, runner) = (main_pid(&env, "impostor"), env.runner_pid().unwrap());
    end(runner, Signal::SIGKILL);
    wait_for("its adoption by another runner", || (env.service("impostor")["runner_pid"] != runner).then_some(()));
    assert_eq!(main_pid(&env, "impostor"), pid, "it was not known again by the runner's successor");
    assert_eq!(env.service("impostor")["run_id"], 1);
    ok(&env, &["stop", "impostor"]);
    assert!(!alive(pid));
}

#[test]
fn one_that_ends_well_again_and_again_is_recycled_at_the_pace_of_the_throttle() {
    let env = Env::new(&service("brief", "exit 0", "throttle = \"300ms\""));
    env.start_daemon();
    wait_row(&env, "brief", |row| row.is("service_exit") && row.run() == 4);
    let rows = rows_of(&env, "brief");
    for end in rows.iter().filter(|row| row.is("service_exit")) {
        assert_eq!((&end.data["class"], &end.data["exit_code"]), (&"recycled".into(), &0.into()));
    }
    assert!(rows.iter().all(|row| !row.is("service_crash")), "{rows:?}");
    let starts: Vec<&Row> = rows.iter().filter(|row| row.is("service_start")).collect();
    for pair in starts.windows(2) {
        // The rows have whole milliseconds.
        assert!(pair[1].at_ms - pair[0].at_ms >= 299, "{pair:?}");
    }
    for (row, attempt) in starts.iter().zip(0u64..) {
        assert_eq!((row.run(), row.data["restart_attempt"].as_u64()), (attempt + 1, Some(attempt)));
    }
    let info = wait_for("its counts", || {
        let info = env.service("brief");
        (info["restarts"]["recycled"].as_u64()? >= 4).then_some(info)
    });
    assert_eq!(info["restarts"]["crash"], 0);
}

#[test]
fn a_notify_service_is_starting_until_it_says_ready() {
    let talk = "use IO::Socket::UNIX; use Socket; \
        my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET}) or die; \
        $s->send('STATUS=warming up'); until (-e \"$ENV{HOME}/go\") { select(undef, undef, undef, 0.02) } \
        $s->send(\"STATUS=well\\nREADY=1\"); sleep 1000";
    let env = Env::new(&format!(
        "[service.slow]\ncommand = [\"perl\", \"-e\", '''{talk}''']\nnotify = true\n{}",
        service("next", ": >$HOME/next; exec sleep 1000", "after = [\"slow\"]")
    ));
    env.start_daemon();
    env.wait_status("slow", "starting");
    env.wait_status("next", "waiting");
    assert!(env.service("next")["why"].as_str().unwrap().contains("slow"), "{}", env.service("next"));
    assert!(!home(&env, "next").exists());
    std::fs::write(home(&env, "go"), "").unwrap();
    env.wait_status("slow", "up");
    env.wait_status("next", "up");
    let ready = wait_row(&env, "slow", |row| row.is("service_ready"));
    let start = wait_row(&env, "next", |row| row.is("service_start"));
    assert!(ready.seq < start.seq, "{ready:?} {start:?}");
    assert!(count(&env, "next", "service_start") == 1);
}
