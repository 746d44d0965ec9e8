//! `install`, `uninstall` and what is between, as a user types them, under a real `systemd --user`.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::manager::UserManager;
use super::{daemon_pid, pids, service_processes, up};
use crate::support::{Env, signal, wait_for, wait_within};

const SERVICES: &str = r#"
[service.steady]
command = ["/bin/sleep", "1000"]

[service.other]
command = ["/bin/sleep", "1000"]
throttle = "0s"

[task.tick]
calendar = ["every 1m"]
steps = [{ run = ["/bin/sh", "-c", "echo ticked >> $HOME/ticks"] }]
"#;

/// services.toml with the manager left to what is installed.
fn configure(env: &Env, services: &str) {
    env.write_config(&format!("[supervisor]\nstate_dir = \"{}\"\n{services}", env.state_dir().display()));
}

/// What the program says, ending with `code`.
fn says(env: &Env, manager: &UserManager, code: i32, args: &[&str]) -> String {
    let mut command = manager.command(Path::new(env!("CARGO_BIN_EXE_supervisor")));
    let output = command.arg("--config").arg(env.config()).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

#[test]
#[ignore = "needs a systemd --user of its own; .ci/run runs it"]
fn the_commands_install_and_uninstall() {
    let env = Env::new("");
    configure(&env, SERVICES);
    let manager = UserManager::start(&env);
    let text = says(&env, &manager, 0, &["install", "--dry-run"]);
    assert!(text.contains("+ExecStart=:") && text.contains("ai.openclaw.steady: to be written and loaded"), "{text}");
    assert_eq!(std::fs::read_dir(manager.units()).unwrap().count(), 0);
    let text = says(&env, &manager, 0, &["install"]);
    for line in ["supervisor: running, pid", "steady: up, pid", "other: up, pid", "tick: scheduled"] {
        assert!(text.contains(line), "no {line:?} in: {text}");
    }
    let (steady, other) = (up(&env, "steady"), up(&env, "other"));
    let text = says(&env, &manager, 0, &["install"]);
    assert!(text.contains("nothing was changed"), "{text}");
    assert_eq!((up(&env, "steady"), up(&env, "other")), (steady, other));

    // Runner, daemon, service: each is there again, and of the services only the one that was killed.
    signal(steady.1, Signal::SIGKILL);
    let steady = wait_for("a new runner", || pids(&env, "steady").filter(|now| now.0 == steady.0 && now.1 != steady.1));
    let daemon = daemon_pid(&env).unwrap();
    signal(daemon, Signal::SIGKILL);
    wait_for("a new daemon", || daemon_pid(&env).filter(|pid| *pid != daemon));
    signal(other.0, Signal::SIGKILL);
    wait_for("a new process", || pids(&env, "other").filter(|now| now.0 != other.0 && now.1 == other.1));
    assert_eq!(up(&env, "steady"), steady);

    // A changed job is handed over; `reload` alone says what is to be done about it.
    let changed =
        SERVICES.replacen("[\"/bin/sleep\", \"1000\"]", "[\"/bin/sleep\", \"1000\"]\nstop_timeout = \"40s\"", 1);
    configure(&env, &changed);
    says(&env, &manager, 0, &["reload"]);
    let text = says(&env, &manager, 0, &["install"]);
    assert!(text.contains("ai.openclaw.steady: written and loaded anew"), "{text}");
    let now = up(&env, "steady");
    assert_eq!(now.0, steady.0, "the service was touched");
    assert_ne!(now.1, steady.1);
    // Stopped by hand through systemd: that is somebody's wish.
    assert!(manager.systemctl(&["stop", "ai.openclaw.other.service"]).status.success());
    wait_for("it is told", || {
        let troubles = env.try_status()?["troubles"].to_string();
        troubles.contains("ai.openclaw.other: it was stopped by somebody else").then_some(())
    });
    let text = says(&env, &manager, 0, &["install"]);
    assert!(text.contains("ai.openclaw.other: started"), "{text}");
    up(&env, "other");

    wait_within("the timer", Duration::from_secs(90), || {
        std::fs::read_to_string(env.dir().join("ticks")).ok().filter(|text| text.contains("ticked"))
    });
    // A boot.
    manager.shut_down();
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    manager.boot();
    up(&env, "steady");
    up(&env, "other");
    wait_for("the daemon", || daemon_pid(&env));
    assert_eq!(service_processes(&env).len(), 2);

    let text = says(&env, &manager, 0, &["uninstall"]);
    assert!(text.contains("nothing is installed any more"), "{text}");
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    let left: Vec<_> = std::fs::read_dir(manager.units()).unwrap().flatten().map(|entry| entry.path()).collect();
    let units = left.iter().filter(|path| path.is_file()).count();
    assert_eq!(units, 0, "{left:?}");
}
