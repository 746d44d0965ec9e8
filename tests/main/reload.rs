//! `reload` and SIGHUP: a changed services.toml is taken over, and only what changed is touched.

use nix::sys::signal::Signal;

use super::support::{Env, signal, wait_for};
use super::tools::*;

const SLEEP: &str = "exec sleep 1000";

fn three() -> [String; 3] {
    ["a", "b", "c"].map(|name| service(name, SLEEP, "throttle = \"0s\""))
}

/// An Env whose three services are up, and their pids.
fn running() -> (Env, [i32; 3]) {
    let env = Env::new(&three().concat());
    env.start_daemon();
    let pids = ["a", "b", "c"].map(|name| main_pid(&env, name));
    (env, pids)
}

fn reloads(env: &Env) -> usize {
    all_rows(env).iter().filter(|row| row.is("config_reloaded")).count()
}

#[test]
fn a_faulty_file_is_told_with_its_place_and_changes_nothing() {
    let (env, pids) = running();
    let [a, b, c] = three();
    env.configure(&format!("{a}{b}min_uptime = \"soon\"\n{c}\n[service.d]\ncomand = [\"x\"]\n"));
    let text = ends_with(&env, 5, &["reload"]);
    assert!(text.contains("\"soon\"") && text.contains('^'), "no caret: {text}");
    assert!(text.contains("comand") && text.contains("services.toml:"), "not all faults with their places: {text}");
    assert!(text.contains("nothing was changed"), "{text}");
    let text = ends_with(&env, 5, &["reload", "--dry-run"]);
    assert!(text.contains("comand"), "{text}");
    // SIGHUP has nobody to tell but the log.
    signal(env.daemon_pid().unwrap(), Signal::SIGHUP);
    wait_for("the word in the log", || env.terminal().contains("services.toml was not reloaded").then_some(()));
    assert_eq!(["a", "b", "c"].map(|name| main_pid(&env, name)), pids);
    assert_eq!(env.status()["services"].as_array().unwrap().len(), 3);

    env.write_config("this is not toml [");
    // Nobody can tell any more where the daemon is; that is not said to be the trouble.
    ends_with(&env, 5, &["reload"]);
    let state = env.state_dir().display().to_string();
    let text = ends_with(&env, 5, &["--state-dir", &state, "reload"]);
    assert!(text.contains('^') && text.contains("nothing was changed"), "{text}");
    std::fs::remove_file(env.config()).unwrap();
    ends_with(&env, 5, &["--state-dir", &state, "reload"]);
    env.configure(&three().concat());
    assert_eq!(["a", "b", "c"].map(|name| main_pid(&env, name)), pids);
    assert_eq!(reloads(&env), 0);
}

#[test]
fn a_dry_run_says_what_a_reload_then_does() {
    let (env, [a, b, c]) = running();
    let [first, _, third] = three();
    let added = service("d", SLEEP, "");
    env.configure(&format!(
        "{first}stop_timeout = \"5s\"\ndrain_timeout = \"30s\"\n{third}env = {{ X = \"1\" }}\n{added}"
    ));
    let text = ok(&env, &["reload", "--dry-run"]);
    for line in [
        "a: would be taken over without a restart (stop_timeout)",
        "b: would be stopped and removed",
        "c: would be restarted (env)",
        "d: would be added",
        "nothing was done: this was a dry run",
    ] {
        assert!(text.lines().any(|said| said == line), "no {line:?} in:\n{text}");
    }
    assert_eq!(["a", "b", "c"].map(|name| main_pid(&env, name)), [a, b, c]);
    assert_eq!(env.status()["services"].as_array().unwrap().len(), 3);
    assert_eq!(reloads(&env), 0);

    let text = ok(&env, &["reload"]);
    for line in
        ["a: taken over without a restart (stop_timeout)", "b: stopped and removed", "c: restarted (env)", "d: added"]
    {
        assert!(text.lines().any(|said| said == line), "no {line:?} in:\n{text}");
    }
    wait_dead(b);
    wait_dead(c);
    up_after(&env, "c", 1);
    main_pid(&env, "d");
    assert_eq!(main_pid(&env, "a"), a, "a change of policy touched the process");
    wait_for("b to be forgotten", || {
        env.status()["services"].as_array()?.iter().all(|info| info["name"] != "b").then_some(())
    });
    let end = wait_row(&env, "c", |row| row.is("service_exit"));
    assert_eq!((&end.data["class"], &end.data["cause"]), (&"requested".into(), &"reload".into()));
    let end = wait_row(&env, "b", |row| row.is("service_exit"));
    assert_eq!(end.data["class"], "requested");
    assert_eq!(count(&env, "c", "service_restart"), 0, "no operator asked for this restart");
    wait_for("its row", || (reloads(&env) == 1).then_some(()));
    assert_eq!(ok(&env, &["reload"]), "nothing has changed\n");
}

#[test]
fn a_live_change_of_policy_holds_for_the_process_that_runs() {
    let env = Env::new(&service("a", "trap '' TERM; : >$HOME/ready; exec sleep 1000", "stop_timeout = \"10m\""));
    env.start_daemon();
    wait_file(&home(&env, "ready"));
    let pid = main_pid(&env, "a");
    env.configure(&service("a", "trap '' TERM; : >$HOME/ready; exec sleep 1000", "stop_timeout = \"200ms\""));
    signal(env.daemon_pid().unwrap(), Signal::SIGHUP);
    wait_for("the row of the reload", || (reloads(&env) == 1).then_some(()));
    assert_eq!(main_pid(&env, "a"), pid);
    ok(&env, &["stop", "a"]);
    assert!(!alive(pid));
    assert_eq!(wait_row(&env, "a", |row| row.is("service_exit")).data["killed_after_timeout"], true);
}

#[test]
fn a_changed_environment_restarts_with_drain_and_the_new_run_has_it() {
    let script = "trap 'until test -e $HOME/drained; do sleep 0.02; done; exit 0' TERM; \
                  echo \"$X\" >$HOME/x; while :; do sleep 0.02; done";
    let env = Env::new(&service(
        "a",
        script,
        "env = { X = \"old\" }\nthrottle = \"0s\"\nstop_timeout = \"100ms\"\ndrain_timeout = \"10m\"",
    ));
    env.start_daemon();
    let said = |word: &str| {
        wait_for(word, || (std::fs::read_to_string(home(&env, "x")).ok()?.trim() == word).then_some(()));
    };
    said("old");
    let pid = main_pid(&env, "a");
    env.configure(&service(
        "a",
        script,
        "env = { X = \"new\" }\nthrottle = \"0s\"\nstop_timeout = \"100ms\"\ndrain_timeout = \"10m\"",
    ));
    signal(env.daemon_pid().unwrap(), Signal::SIGHUP);
    env.wait_status("a", "stopping");
    assert!(alive(pid));
    std::fs::write(home(&env, "drained"), "").unwrap();
    up_after(&env, "a", 1);
    said("new");
    let end = wait_row(&env, "a", |row| row.is("service_exit"));
    assert_eq!((&end.data["exit_code"], &end.data["killed_after_timeout"]), (&0.into(), &serde_json::Value::Null));
}

#[test]
fn disabled_is_stopped_shown_and_comes_back() {
    let (env, [a, b, c]) = running();
    let [first, second, third] = three();
    env.configure(&format!("{first}{second}enabled = false\n{third}"));
    assert_eq!(ok(&env, &["reload"]), "b: stopped and disabled\n");
    wait_dead(b);
    env.wait_status("b", "disabled");
    ok(&env, &["status"]);
    let text = ends_with(&env, 3, &["start", "b"]);
    assert!(text.contains("disabled in services.toml"), "{text}");
    env.configure(&three().concat());
    wait_for("its removal to be over", || (run(&env, &["reload"]).2 == 0).then_some(()));
    main_pid(&env, "b");
    assert_eq!((main_pid(&env, "a"), main_pid(&env, "c")), (a, c));
    sync(&env);
    let runs: Vec<u64> = rows_of(&env, "b").iter().filter(|row| row.is("service_start")).map(Row::run).collect();
    assert_eq!(runs, [1, 2], "a run's number was given twice");
}

#[test]
fn what_a_running_daemon_cannot_take_over_is_refused_and_nothing_else_is_done_either() {
    let (env, pids) = running();
    let other = env.dir().join("elsewhere").display().to_string();
    let body = format!("{}{}", three()[0], service("d", SLEEP, ""));
    env.write_config(&format!("[supervisor]\nstate_dir = \"{other}\"\nmanager = \"embedded\"\n{body}"));
    // The command line would look for the daemon in the new place.
    let state = env.state_dir().display().to_string();
    let text = ends_with(&env, 6, &["--state-dir", &state, "reload"]);
    assert!(text.contains("`state_dir`") && text.contains("nothing was changed"), "{text}");
    env.write_config(&format!("[supervisor]\nstate_dir = \"{state}\"\nmanager = \"systemd\"\n{body}"));
    let text = ends_with(&env, 6, &["reload"]);
    assert!(text.contains("`manager`"), "{text}");
    env.configure(&three().concat());
    assert_eq!(["a", "b", "c"].map(|name| main_pid(&env, name)), pids);
    assert!(!home(&env, "elsewhere").exists());
    assert_eq!(ok(&env, &["reload"]), "nothing has changed\n");
}

#[test]
fn reloads_at_the_same_time_restart_once() {
    let (env, [_, b, _]) = running();
    let [first, second, third] = three();
    env.configure(&format!("{first}{second}env = {{ X = \"1\" }}\n{third}"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ok(&env, &["reload"]));
        }
    });
    wait_dead(b);
    up_after(&env, "b", 1);
    assert_eq!(env.service("b")["run_id"], 2);
    sync(&env);
    let ends = rows_of(&env, "b").into_iter().filter(|row| row.is("service_exit")).count();
    assert_eq!(ends, 1);
    assert_eq!((run_id(&env, "a"), run_id(&env, "c")), (1, 1));
}
