//! What a changed file means for what is running.

use super::fleet;
use crate::config::{changed_globals, changed_keys, diff, needs_restart};
use crate::model::UnitKind;
use crate::model::wire::ReloadAction;

fn service(lines: &str) -> crate::model::ServiceSpec {
    fleet(&format!("[service.a]\n{lines}\n")).services.remove(0)
}

#[test]
fn what_the_process_was_started_from_needs_a_restart_and_nothing_else() {
    let old = service("command = [\"x\"]");
    for (line, key) in [
        ("command = [\"y\"]", "command"),
        ("command = [\"x\", \"-v\"]", "command"),
        ("builtin = \"emit-server\"", "command"),
        ("command = [\"x\"]\ncwd = \"/tmp\"", "cwd"),
        ("command = [\"x\"]\nenv.A = \"1\"", "env"),
        ("command = [\"x\"]\nenv_file = \"/e\"", "env_file"),
        ("command = [\"x\"]\nnotify = true", "notify"),
    ] {
        let new = service(line);
        assert!(needs_restart(&old, &new), "{line}");
        assert!(changed_keys(&old, &new).contains(&key.to_owned()), "{line}");
    }
    for (line, key) in [
        ("restart = \"never\"", "restart"),
        ("success_exit_codes = [0, 1]", "success_exit_codes"),
        ("hold_exit_codes = []", "hold_exit_codes"),
        ("throttle = \"0s\"", "throttle"),
        ("backoff_max = \"1m\"", "backoff_max"),
        ("min_uptime = \"1s\"", "min_uptime"),
        ("start_timeout = \"1s\"", "start_timeout"),
        ("stop_signal = \"INT\"", "stop_signal"),
        ("drain_timeout = \"1s\"", "drain_timeout"),
        ("ports = [1]", "ports"),
        ("sweep = \"group\"", "sweep"),
        ("watch_config = [\"/x\"]", "watch_config"),
        ("process_type = \"standard\"", "process_type"),
        ("log.keep = 1", "log"),
        ("health.tcp = \"127.0.0.1:1\"", "health"),
        ("memory = {}", "memory"),
        ("memory = { limit = \"1GiB\", quiet = [\"03:00-05:00\"], snapshot_signal = \"PROF\" }", "memory"),
    ] {
        let new = service(&format!("command = [\"x\"]\n{line}"));
        assert!(!needs_restart(&old, &new), "{line}");
        assert_eq!(changed_keys(&old, &new), [key], "{line}");
    }
}

/// It is told at its start how often to give a sign of life: by another measure it would be too late although it is well.
#[test]
fn how_often_it_is_to_give_a_sign_of_life_is_part_of_its_start() {
    let watched = |lines: &str| service(&format!("command = [\"x\"]\nnotify = true\nhealth.notify = true\n{lines}"));
    let old = watched("");
    for line in ["health.interval = \"1s\"", "health.timeout = \"2s\"", "health.failures = 9"] {
        assert!(needs_restart(&old, &watched(line)), "{line}");
    }
    assert!(needs_restart(&service("command = [\"x\"]\nnotify = true"), &old));
    assert!(!needs_restart(&old, &watched("start_timeout = \"9s\"")));
}

#[test]
fn services_and_tasks_come_go_and_change() {
    const TASK: &str = "calendar = [\"daily 01:00\"]\nsteps = [{ builtin = \"prune\" }]\n";
    let old = fleet(&format!(
        "[service.same]\ncommand = [\"x\"]\n[service.gone]\ncommand = [\"x\"]\n[service.off]\ncommand = [\"x\"]\n[service.on]\ncommand = [\"x\"]\nenabled = false\n[service.moved]\ncommand = [\"x\"]\n[service.tuned]\ncommand = [\"x\"]\n[service.asleep]\ncommand = [\"x\"]\nenabled = false\n[task.t]\n{TASK}"
    ));
    let new = fleet(&format!(
        "[service.new]\ncommand = [\"x\"]\n[service.same]\ncommand = [\"x\"]\n[service.off]\ncommand = [\"x\"]\nenabled = false\n[service.on]\ncommand = [\"x\"]\n[service.moved]\ncommand = [\"x\"]\ncwd = \"/\"\nthrottle = \"1s\"\n[service.tuned]\ncommand = [\"x\"]\nthrottle = \"1s\"\n[service.asleep]\ncommand = [\"y\"]\nenabled = false\n[task.t]\n{TASK}cwd = \"/\"\n"
    ));
    let found = diff(&old, &new);
    let found: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.action, c.keys.join(","))).collect();
    let want = [
        ("new", ReloadAction::Add, ""),
        ("on", ReloadAction::Add, ""),
        ("moved", ReloadAction::Restart, "cwd,throttle"),
        ("tuned", ReloadAction::Live, "throttle"),
        ("gone", ReloadAction::Remove, ""),
        ("off", ReloadAction::Remove, ""),
        ("t", ReloadAction::Live, "cwd"),
    ];
    assert_eq!(found, want.map(|(name, action, keys)| (name, action, keys.to_owned())));
    assert_eq!(diff(&new, &new), []);
    let removed = diff(
        &old,
        &fleet(&format!("[service.gone]\ncommand = [\"x\"]\nenabled = false\n[task.t]\n{TASK}enabled = false\n")),
    );
    let removed = removed.iter().filter(|c| ["gone", "off", "t"].contains(&c.name.as_str()));
    let removed: Vec<_> = removed.map(|c| (c.name.as_str(), c.kind, c.action, c.disabled)).collect();
    let remove = ReloadAction::Remove;
    let want = [
        ("gone", UnitKind::Service, remove, true),
        ("off", UnitKind::Service, remove, false),
        ("t", UnitKind::Task, remove, true),
    ];
    assert_eq!(removed, want);
}

#[test]
fn what_makes_it_hold_is_undone_first_and_the_rest_is_taken_over() {
    let of = |lines: &str| fleet(&format!("[task.e]\n{lines}\n"));
    let old = of("ensure = [\"x\"]");
    for (lines, action, keys) in [
        ("ensure = [\"y\"]", ReloadAction::Restart, "ensure"),
        ("ensure = [\"x\"]\ncwd = \"/\"", ReloadAction::Restart, "cwd"),
        ("ensure = [\"x\"]\nenv.A = \"1\"", ReloadAction::Restart, "env"),
        ("ensure = [\"x\"]\nenv_file = \"/e\"", ReloadAction::Restart, "env_file"),
        ("ensure = [\"x\"]\ncheck = [\"c\"]\nundo = [\"u\"]", ReloadAction::Live, "check,undo"),
        ("ensure = [\"x\"]\ninterval = \"1s\"\ntimeout = \"1s\"", ReloadAction::Live, "interval,timeout"),
        ("ensure = [\"x\"]\nretry_delay = \"1s\"\nbackoff_max = \"1s\"", ReloadAction::Live, "retry_delay,backoff_max"),
        ("ensure = [\"x\"]\nenabled = false", ReloadAction::Remove, ""),
        ("calendar = [\"daily 01:00\"]\nsteps = [{ run = [\"x\"] }]", ReloadAction::Add, ""),
    ] {
        let found = diff(&old, &of(lines));
        assert_eq!((found[0].action, found[0].keys.join(",").as_str()), (action, keys), "{lines}");
    }
    assert_eq!(diff(&old, &old), []);
}

#[test]
fn what_stands_outside_of_services_is_told_apart() {
    let old = fleet("");
    let new = fleet("[supervisor]\nlabel_prefix = \"org.x\"\n[[alerts.sink]]\ntype = \"log\"\n");
    assert_eq!(changed_globals(&old, &new), ["label_prefix", "alerts.sink.desktop"]);
    let alerts = |lines: &str| fleet(&format!("[alerts]\n{lines}\n"));
    assert_eq!(changed_globals(&old, &alerts("weekly = false\nreminders = []")), ["alerts.reminders", "alerts.weekly"]);
    let sinks = |first: &str, second: &str| {
        alerts(&format!(
            "[[alerts.sink]]\ntype = \"log\"\nname = \"{first}\"\n[[alerts.sink]]\ntype = \"desktop\"\n{second}"
        ))
    };
    let changed = |new| changed_globals(&sinks("a", ""), &new);
    assert_eq!(changed(sinks("b", "timeout = \"5s\"")), ["alerts.sink.b", "alerts.sink.desktop", "alerts.sink.a"]);
    assert!(changed(sinks("a", "timeout = \"10s\"")).is_empty());
}
