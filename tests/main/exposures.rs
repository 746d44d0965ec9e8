//! What is made to hold: `[task.NAME]` with `ensure`. Here it holds while the file `up` is there.

use nix::sys::signal::Signal;

use super::support::{Env, signal, wait_for};
use super::tools::*;

/// One called `expose`, with these scripts and further lines. Each notes that it was run.
fn exposure(ensure: &str, check: &str, undo: &str, more: &str) -> String {
    let key = |key: &str, script: &str| match script {
        "" => String::new(),
        script => format!("{key} = [\"/bin/sh\", \"-c\", '''echo {key} >>$HOME/ran; {script}''']\n"),
    };
    format!(
        "[task.expose]\n{}{}{}retry_delay = \"20ms\"\nbackoff_max = \"1s\"\n{more}\n",
        key("ensure", ensure),
        key("check", check),
        key("undo", undo)
    )
}

const UP: &str = "touch $HOME/up";
const IS_UP: &str = "test -e $HOME/up";
const DOWN: &str = "rm $HOME/up";

/// What was run so far.
fn ran(env: &Env) -> Vec<String> {
    std::fs::read_to_string(home(env, "ran")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn times(env: &Env, what: &str) -> usize {
    ran(env).iter().filter(|line| *line == what).count()
}

fn events(env: &Env) -> Vec<String> {
    sync(env);
    let rows = rows_of(env, "expose").into_iter();
    rows.map(|row| row.event).filter(|event| event.starts_with("exposure") || event.starts_with("alert")).collect()
}

#[test]
fn it_fails_at_first_and_then_holds_and_is_undone_by_a_stop_and_by_the_end_of_the_daemon() {
    let ensure = "echo not yet >&2; echo x >>$HOME/tries; test $(wc -l <$HOME/tries) -gt 3 && touch $HOME/up";
    let env = Env::new(&exposure(ensure, IS_UP, DOWN, ""));
    env.start_daemon();
    let up = env.wait_status("expose", "up");
    assert_eq!((&up["kind"], &up["pid"]), (&"exposure".into(), &serde_json::Value::Null));
    assert!(up["why"].as_str().unwrap().starts_with("holds for "), "{up}");
    assert_eq!((times(&env, "ensure"), times(&env, "check")), (4, 5));
    assert_eq!(events(&env), ["exposure_up"]);
    let (log, _, code) = run(&env, &["logs", "expose", "--stderr"]);
    assert!(code == 0 && log.matches("not yet").count() == 4, "{log}");
    assert!(ok(&env, &["why", "expose"]).contains("looked at again every 5m"));
    assert!(ok(&env, &["start", "expose"]).contains("it holds already"));

    assert!(ok(&env, &["stop", "expose"]).contains("expose: down"));
    assert!(!home(&env, "up").exists());
    assert_eq!((env.service("expose")["status"].as_str(), times(&env, "undo")), (Some("down"), 1));
    // The operator's word holds over the daemon's death.
    env.kill_daemon();
    let alone = env.service("expose");
    assert_eq!((alone["status"].as_str(), alone["kind"].as_str()), (Some("down"), Some("exposure")));
    assert!(alone["why"].as_str().unwrap().contains("nobody looks after it"), "{alone}");
    env.start_daemon();
    assert_eq!(env.wait_status("expose", "down")["why"], "stopped by operator");
    assert!(ok(&env, &["start", "expose"]).contains("it holds"));
    assert!(ok(&env, &["restart", "expose"]).contains("restarted"));
    assert_eq!(times(&env, "undo"), 2);
    assert_eq!(env.stop_daemon(), Some(0));
    assert!(!home(&env, "up").exists() && times(&env, "undo") == 3);
    // That was nobody's wish to have it down.
    env.start_daemon();
    env.wait_status("expose", "up");
}

#[test]
fn what_does_not_hold_any_more_is_told_when_it_lasts_and_when_it_is_over() {
    let ensure = "test ! -e $HOME/broken && touch $HOME/up";
    let env = Env::new(&exposure(
        ensure,
        "echo token=abcdefghij0123456789XYZ >&2; test -e $HOME/up",
        "",
        "interval = \"100ms\"",
    ));
    env.start_daemon();
    env.wait_status("expose", "up");
    std::fs::write(home(&env, "broken"), "").unwrap();
    std::fs::remove_file(home(&env, "up")).unwrap();
    let failed = env.wait_status("expose", "failed");
    let why = failed["why"].as_str().unwrap();
    assert!(why.contains("does not hold") && why.contains("`ensure` ended with exit code 1; next try"), "{why}");
    wait_for("the alert", || events(&env).contains(&"alert_fired".to_owned()).then_some(()));
    assert!(ok(&env, &["alerts"]).contains("exposure-down"));
    let row = wait_row(&env, "expose", |row| row.is("exposure_down"));
    assert_eq!((&row.data["work"], &row.data["why"]), (&"check".into(), &"ended with exit code 1".into()));
    assert!(!row.data["stderr_tail"].as_str().unwrap().contains("abcdefghij"), "{}", row.data);
    std::fs::remove_file(home(&env, "broken")).unwrap();
    env.wait_status("expose", "up");
    wait_for("its end", || events(&env).contains(&"alert_resolved".to_owned()).then_some(()));
    let events = events(&env);
    let count = |wanted: &str| events.iter().filter(|event| *event == wanted).count();
    assert_eq!(["exposure_up", "exposure_down", "exposure_failed"].map(count), [2, 1, 1], "{events:?}");
    assert_eq!(env.stop_daemon(), Some(0));
    assert!(home(&env, "up").exists(), "nothing undoes it, so nothing is done");
}

#[test]
fn a_command_that_is_missing_and_one_that_hangs_are_told_and_nothing_of_them_is_left() {
    let hangs = "sleep 1000 & echo $! >>$HOME/hung; wait";
    let gone = "[task.gone]\nensure = [\"{dir}/no-such-program\"]\nretry_delay = \"20ms\"\nbackoff_max = \"1s\"\n";
    let off = "[task.off]\nensure = [\"/bin/sh\", \"-c\", \"touch $HOME/off\"]\nenabled = false\n";
    let env = Env::new(&format!("{}{gone}{off}", exposure(hangs, "", "", "timeout = \"200ms\"")));
    env.start_daemon();
    let why = |name: &str| env.wait_status(name, "failed")["why"].as_str().unwrap().to_owned();
    assert!(why("gone").contains("no-such-program does not exist"), "{}", why("gone"));
    let said = why("expose");
    assert!(said.contains("`ensure` did not end within 0.2 s, and was ended with all that it had started"), "{said}");
    let hung = std::fs::read_to_string(home(&env, "hung")).unwrap();
    let first: i32 = hung.lines().next().unwrap().parse().unwrap();
    wait_dead(first);
    assert_eq!(env.service("off")["status"], "disabled");
    assert!(ends_with(&env, 3, &["start", "off"]).contains("disabled in services.toml"));
    ok(&env, &["stop", "expose", "gone"]);
    assert!(!home(&env, "off").exists());
    let hung = std::fs::read_to_string(home(&env, "hung")).unwrap();
    hung.lines().for_each(|pid| wait_dead(pid.parse().unwrap()));
}

#[test]
fn a_killed_daemons_successor_does_not_run_two_at_once() {
    let ensure = "echo $$ >>$HOME/pids; test -e $HOME/go && exit 0; exec sleep 1000";
    let env = Env::new(&exposure(ensure, "", "", "timeout = \"10m\""));
    env.start_daemon();
    let pid =
        |n: usize| -> Option<i32> { std::fs::read_to_string(home(&env, "pids")).ok()?.lines().nth(n)?.parse().ok() };
    let first = wait_for("the first", || pid(0));
    let record = env.state_dir().join("supervisor/services/expose/process");
    wait_file(&record);
    env.kill_daemon();
    assert!(alive(first), "it is no part of the daemon");
    std::fs::write(home(&env, "go"), "").unwrap();
    env.start_daemon();
    env.wait_status("expose", "up");
    wait_dead(first);
    assert!(pid(1).is_some() && !record.exists());
    // And a stop ends what is under way.
    std::fs::remove_file(home(&env, "go")).unwrap();
    let told = std::thread::scope(|scope| {
        let restart = scope.spawn(|| run(&env, &["restart", "expose"]));
        let third = wait_for("the third", || pid(2));
        assert!(ok(&env, &["stop", "expose"]).contains("down"));
        wait_dead(third);
        restart.join().unwrap()
    });
    assert!(told.2 == 3 && told.0.contains("the order to stop it came meanwhile"), "{told:?}");
}

#[test]
fn a_reload_undoes_the_old_first_and_what_is_gone_is_undone() {
    let env = Env::new(&exposure("touch $HOME/old", "test -e $HOME/old", "rm $HOME/old", ""));
    env.start_daemon();
    env.wait_status("expose", "up");
    env.configure(&exposure("test ! -e $HOME/old && touch $HOME/new", "test -e $HOME/new", "rm $HOME/new", ""));
    assert_eq!(ok(&env, &["reload"]), "expose: restarted (ensure, check, undo)\n");
    wait_file(&home(&env, "new"));
    env.wait_status("expose", "up");
    assert!(!home(&env, "old").exists());
    let of = &ran(&env)[3..];
    assert_eq!(of, ["undo", "ensure", "check"]);
    // The same while no daemon looks: by what it was made, and not by what is declared now.
    env.kill_daemon();
    env.configure(&exposure(UP, IS_UP, DOWN, ""));
    env.start_daemon();
    wait_file(&home(&env, "up"));
    assert!(!home(&env, "new").exists());
    env.wait_status("expose", "up");
    env.configure(&exposure(UP, IS_UP, DOWN, "enabled = false"));
    assert_eq!(ok(&env, &["reload"]), "expose: disabled; it is undone where it has an `undo`\n");
    env.wait_status("expose", "disabled");
    assert!(!home(&env, "up").exists());
    env.configure(&exposure(UP, IS_UP, DOWN, ""));
    ok(&env, &["reload"]);
    env.wait_status("expose", "up");
    env.configure("");
    ok(&env, &["reload"]);
    wait_for("it to be forgotten", || env.status()["services"].as_array().unwrap().is_empty().then_some(()));
    assert!(!home(&env, "up").exists() && !env.state_dir().join("supervisor/services/expose/exposure").exists());
}

#[test]
fn one_that_floods_is_ended_and_told() {
    let env = Env::new(&exposure("exec yes", "", "", "").replace("retry_delay = \"20ms\"", "retry_delay = \"1s\""));
    assert!(ok(&env, &["check"]).contains("0 services, 0 tasks, 1 exposure"));
    env.start_daemon();
    wait_for("its end", || {
        let info = env.service("expose");
        info["why"].as_str()?.contains("`ensure` wrote more than 16 MiB, and was ended").then_some(())
    });
    ok(&env, &["stop", "expose"]);
}

/// Under launchd and systemd another daemon comes at once: it looks, and finds that it holds.
#[test]
fn a_daemon_that_comes_again_looks_and_touches_nothing() {
    let env = Env::new("");
    let head = format!("[supervisor]\nstate_dir = \"{}\"\nmanager = \"systemd\"\n", env.state_dir().display());
    env.write_config(&(head + &exposure(UP, IS_UP, DOWN, "")));
    env.start_daemon();
    env.wait_status("expose", "up");
    for _ in 0..2 {
        assert_eq!(env.stop_daemon(), Some(0));
        assert!(home(&env, "up").exists());
        env.start_daemon();
        env.wait_status("expose", "up");
    }
    signal(env.daemon_pid().unwrap(), Signal::SIGHUP);
    env.wait_status("expose", "up");
    assert_eq!(ran(&env), ["check", "ensure", "check", "check", "check"]);
    assert_eq!(events(&env), ["exposure_up"]);
}
