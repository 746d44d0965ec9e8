//! Jobs under a real `systemd --user`: what it makes of our units, and what happens when somebody dies.

mod commands;
pub mod manager;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use supervisor::config::{Surroundings, parse, read};
use supervisor::manager::driver::{Driver, JobState, Standing, TroubleKind};
use supervisor::manager::job::{Job, Site, jobs};
use supervisor::manager::unit;
use supervisor::model::{CalendarTable, ManagerKind};

use crate::support::{Env, signal, wait_for, wait_within};
use manager::{UserManager, command};

const SERVICES: &str = r#"
[service.steady]
command = ["/bin/sleep", "1000"]
env = { NODE_ENV = "production" }

[service.other]
command = ["/bin/sleep", "1000"]
throttle = "0s"

[task.tick]
calendar = [{ hour = 7, minute = 55 }]
timezone = "Europe/Vienna"
steps = [{ run = ["/bin/true"], timeout = "10s" }]
"#;

/// An [`Env`] whose runners are started by systemd.
fn env(services: &str) -> Env {
    let env = Env::new("");
    let head = format!("[supervisor]\nstate_dir = \"{}\"\nmanager = \"systemd\"\n", env.state_dir().display());
    env.write_config(&(head + services));
    env
}

/// The jobs of its services.toml; the daemon's first.
fn jobs_of(env: &Env) -> Vec<Job> {
    let around = Surroundings { home: env.dir().into(), vars: [].into(), state_dir: None };
    let parsed = parse(&read(&env.config()).unwrap(), &around);
    assert_eq!(parsed.faults, []);
    let site = Site {
        program: env!("CARGO_BIN_EXE_supervisor").into(),
        config: env.config(),
        state_dir: env.state_dir(),
        home: env.dir().into(),
        logs: env.dir().join("logs"),
        user: None,
        embedded: false,
        manager: ManagerKind::Systemd,
    };
    let (jobs, unfit) = jobs(&parsed.fleet.unwrap(), &site, false);
    assert_eq!(unfit, []);
    jobs
}

fn named(jobs: &[Job], name: &str) -> Job {
    jobs.iter().find(|job| job.name == name).unwrap().clone()
}

fn write_files(driver: &dyn Driver, job: &Job) {
    for file in driver.render(job).unwrap() {
        std::fs::write(driver.folder().join(file.name), file.bytes).unwrap();
    }
}

fn remove_files(driver: &dyn Driver, job: &Job) {
    for file in driver.render(job).unwrap() {
        std::fs::remove_file(driver.folder().join(file.name)).unwrap();
    }
}

fn install(driver: &dyn Driver, job: &Job) {
    write_files(driver, job);
    driver.load(job, true).unwrap();
}

/// Pid of service and runner, as the daemon knows them, when both are up.
fn pids(env: &Env, name: &str) -> Option<(i32, i32)> {
    let services = env.try_status()?["services"].clone();
    let service = services.as_array()?.iter().find(|service| service["name"] == name)?.clone();
    let pid = |key: &str| i32::try_from(service[key].as_i64()?).ok();
    (service["status"] == "up").then_some(())?;
    pid("pid").zip(pid("runner_pid"))
}

fn up(env: &Env, name: &str) -> (i32, i32) {
    wait_for(&format!("{name} is up"), || pids(env, name))
}

fn daemon_pid(env: &Env) -> Option<i32> {
    i32::try_from(env.try_status()?["daemon"]["pid"].as_i64()?).ok()
}

/// Those of our services, without runners and daemon.
fn service_processes(env: &Env) -> Vec<i32> {
    let mut pids: Vec<i32> = env.processes().iter().filter(|process| process.marked).map(|p| p.pid).collect();
    pids.sort_unstable();
    pids
}

fn state(driver: &dyn Driver, job: &Job) -> JobState {
    driver.look(job).unwrap()
}

#[test]
#[ignore = "needs a systemd --user of its own; .ci/run runs it"]
fn whoever_dies_everything_is_up_again_and_nothing_twice() {
    let env = env(SERVICES);
    let manager = UserManager::start(&env);
    let driver = manager.driver();
    let jobs = jobs_of(&env);
    assert_eq!(jobs.len(), 4);
    for job in &jobs {
        assert_eq!(state(&driver, job), JobState::absent(false), "{}", job.label);
        install(&driver, job);
    }
    let (daemon, steady) = (named(&jobs, "supervisor"), named(&jobs, "steady"));
    let both = |env: &Env| (up(env, "steady"), up(env, "other"));
    let before = both(&env);
    for job in &jobs {
        let state = state(&driver, job);
        let standing = if job.is_kept() { Standing::Running } else { Standing::Stopped };
        assert_eq!(
            (&state.standing, state.disabled, state.pid.is_some()),
            (&standing, false, job.is_kept()),
            "{state:?}"
        );
        assert_eq!(state.argv.unwrap(), job.argv);
        assert_eq!(state.env_names.unwrap(), job.env.keys().cloned().collect::<Vec<_>>());
        assert_eq!(state.file.unwrap(), manager.units().join(unit::service_name(&job.label)));
        assert_eq!(state.calendar, Some(job.calendar.clone()).filter(|_| !job.is_kept()));
        assert_eq!(state.runs, job.is_kept().then_some(1));
    }
    assert_eq!(state(&driver, &steady).pid, Some(before.0.1), "systemd's main process is the runner");
    assert_eq!(state(&driver, &daemon).pid, daemon_pid(&env));
    assert_eq!(manager.property("ai.openclaw.steady.service", "StatusText"), "runner for steady");

    // A runner: its successor takes over.
    signal(before.0.1, Signal::SIGKILL);
    let after = wait_for("a new runner for the same process", || {
        pids(&env, "steady").filter(|(pid, runner)| *pid == before.0.0 && *runner != before.0.1)
    });
    wait_for("systemd knows it", || (state(&driver, &steady).pid == Some(after.1)).then_some(()));
    assert_eq!(state(&driver, &steady).runs, Some(2));
    // All runners at once, each several times.
    for _ in 0..3 {
        let now = both(&env);
        signal(now.0.1, Signal::SIGKILL);
        signal(now.1.1, Signal::SIGKILL);
        wait_for("new runners", || {
            let (steady, other) = (pids(&env, "steady")?, pids(&env, "other")?);
            (steady.1 != now.0.1 && other.1 != now.1.1).then_some(())
        });
    }
    let now = both(&env);
    assert_eq!((now.0.0, now.1.0), (before.0.0, before.1.0));
    assert_eq!(service_processes(&env).len(), 2);

    // The daemon: nobody notices.
    let first = daemon_pid(&env).unwrap();
    signal(first, Signal::SIGKILL);
    wait_for("a new daemon", || daemon_pid(&env).filter(|pid| *pid != first));
    assert_eq!(both(&env), now);

    // A service: its runner starts it again, and systemd is not asked.
    signal(now.1.0, Signal::SIGKILL);
    let other = wait_for("a new process", || pids(&env, "other").filter(|(pid, _)| *pid != now.1.0));
    assert_eq!(other.1, now.1.1);

    // In place: the same processes, and systemd takes no notice.
    let runs = state(&driver, &steady).runs;
    let upgraded = env.cli(&["upgrade"]);
    assert_eq!(upgraded.status.code(), Some(0), "{}", String::from_utf8_lossy(&upgraded.stdout));
    assert_eq!((up(&env, "steady"), state(&driver, &steady).runs), (now.0, runs));
    assert_eq!(state(&driver, &steady).standing, Standing::Running);

    // A boot.
    manager.shut_down();
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    manager.boot();
    both(&env);
    wait_for("the daemon", || daemon_pid(&env));
    assert_eq!(state(&driver, &named(&jobs, "tick")).standing, Standing::Stopped);
    assert_eq!(service_processes(&env).len(), 2);

    for job in &jobs {
        driver.unload(job).unwrap();
        assert_eq!(state(&driver, job), JobState::absent(true), "{}", job.label);
    }
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    let links = command("find").arg(manager.units()).args(["-type", "l"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&links.stdout), "");
    for job in &jobs {
        driver.unload(job).unwrap();
        remove_files(&driver, job);
        driver.forget(job).unwrap();
        assert_eq!(state(&driver, job), JobState::absent(false), "{}", job.label);
    }
    let left = manager.systemctl(&["list-units", "--all", "--no-legend", "ai.openclaw.*"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

/// Hardly now.
const YEARLY: CalendarTable =
    CalendarTable { minute: Some(0), hour: Some(12), day: Some(29), month: Some(2), weekday: None };

/// `tick` under another name, at other times, writing a file.
fn toucher(env: &Env, jobs: &[Job], name: &str, calendar: CalendarTable, catch_up: bool) -> Job {
    let argv = vec!["/usr/bin/touch".into(), env.dir().join(format!("{name} was here")).display().to_string()];
    let label = format!("ai.openclaw.{name}");
    let timezone = None;
    Job { name: name.into(), label, argv, calendar: vec![calendar], catch_up, timezone, ..named(jobs, "tick") }
}

fn was_here(env: &Env, job: &Job) -> Option<()> {
    env.dir().join(&job.argv[1]).exists().then_some(())
}

#[test]
#[ignore = "needs a systemd --user of its own; .ci/run runs it"]
fn timers_fire_and_make_up_for_what_passed_while_the_machine_was_off() {
    let env = env(SERVICES);
    let manager = UserManager::start(&env);
    let driver = manager.driver();
    let jobs = jobs_of(&env);
    let every_minute = toucher(&env, &jobs, "minute", CalendarTable::default(), false);
    let made_up = toucher(&env, &jobs, "made-up", YEARLY, true);
    let passed_over = toucher(&env, &jobs, "passed-over", YEARLY, false);
    let kicked = toucher(&env, &jobs, "kicked", YEARLY, false);
    let all = [&every_minute, &made_up, &passed_over, &kicked];
    all.iter().for_each(|job| install(&driver, job));
    assert_eq!(was_here(&env, &made_up), None, "nothing has passed yet");

    driver.kick(&kicked).unwrap();
    wait_for("what was kicked", || was_here(&env, &kicked));
    let ended = wait_for("its end", || Some(state(&driver, &kicked)).filter(|s| s.standing == Standing::Stopped));
    assert_eq!(ended.last_exit.unwrap(), "exited with 0");

    // Off for ten years; the one without a stamp has no memory.
    manager.shut_down();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_480_000_000);
    let stamp = File::options().write(true).open(manager.stamp(&made_up.label)).unwrap();
    stamp.set_modified(long_ago).unwrap();
    assert!(!manager.stamp(&passed_over.label).exists());
    manager.boot();
    wait_for("what was made up for", || was_here(&env, &made_up));
    wait_within("the next minute", Duration::from_secs(80), || was_here(&env, &every_minute));
    assert_eq!(was_here(&env, &passed_over), None);
}

/// What a program has been given by systemd.
const GIVEN: &str = r#"#!/usr/bin/python3
import json, os, resource, sys
given = {"argv": sys.argv, "env": dict(os.environ), "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "cwd": os.getcwd()}
with open(os.environ["HOME"] + "/given.new", "w") as file:
    json.dump(given, file)
os.rename(os.environ["HOME"] + "/given.new", os.environ["HOME"] + "/given")
"#;

#[test]
#[ignore = "needs a systemd --user of its own; .ci/run runs it"]
fn systemd_reads_our_files_as_they_are_meant() {
    let env = env(SERVICES);
    let manager = UserManager::start(&env);
    let driver = manager.driver();
    let mut all = jobs_of(&env);
    // Whatever may stand in an argument or a value.
    let odd = [
        "a b", "$HOME", "${HOME}", "$$", "%h 100%", "'", "\"", "\\", "\\n", ";", "", "😀é", "#x", "-x", "{ ; }",
        "\u{a0}",
    ];
    let folder = env.dir().join("odd $HOME ${HOME} %h 100% 😀 #;");
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("giv$HOME %n");
    std::fs::write(&program, GIVEN).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut job = toucher(&env, &all, "odd", YEARLY, false);
    job.argv = [program.display().to_string()].into_iter().chain(odd.map(str::to_owned)).collect();
    job.env = odd.iter().enumerate().map(|(n, value)| (format!("ODD_{n}"), (*value).to_owned())).collect();
    job.env.insert("HOME".into(), folder.display().to_string());
    install(&driver, &job);
    driver.kick(&job).unwrap();
    let given = wait_for("what it was given", || std::fs::read(folder.join("given")).ok());
    let given: Value = serde_json::from_slice(&given).unwrap();
    assert_eq!(given["argv"], json!(job.argv));
    for (key, value) in &job.env {
        assert_eq!(given["env"][key], json!(value), "{key}");
    }
    assert_eq!((&given["descriptors"], &given["cwd"]), (&json!(8192), &json!(folder)));
    let shown = wait_for("its end", || Some(state(&driver, &job)).filter(|s| s.last_exit.is_some()));
    assert_eq!(shown.env_names.unwrap(), job.env.keys().cloned().collect::<Vec<_>>());
    assert_eq!(shown.argv.unwrap(), job.argv);

    // And every file of every job, by systemd's own checker, which tells of what it only passes over too.
    let at = |minute, hour, day, weekday, month| CalendarTable { minute, hour, day, weekday, month };
    job.calendar = vec![
        at(None, Some(3), None, None, None),
        at(Some(0), Some(0), Some(31), Some(7), Some(12)),
        at(Some(59), None, Some(1), None, Some(1)),
    ];
    job.calendar.extend((0..8).map(|weekday| at(Some(5), Some(23), None, Some(weekday), None)));
    job.timezone = Some("America/Argentina/Buenos_Aires".into());
    all.push(job);
    for job in &all {
        write_files(&driver, job);
        for file in driver.render(job).unwrap() {
            let mut verify = manager.command(Path::new("/usr/bin/systemd-analyze"));
            let output = verify.args(["--user", "verify"]).arg(manager.units().join(&file.name)).output().unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert_eq!((said.as_str(), output.status.code()), ("", Some(0)), "{}", file.name);
            for line in String::from_utf8(file.bytes).unwrap().lines().filter_map(|l| l.strip_prefix("OnCalendar=")) {
                let output = command("systemd-analyze").args(["calendar", line]).env("TZ", "UTC").output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let normal = format!("Normalized form: {line}\n");
                // It says nothing of a normal form where that is what it was asked about; older ones do all the same.
                let well = said.contains(&normal) || (said.contains("Original form") && !said.contains("Normalized"));
                assert!(output.status.success() && well && said.contains("Next elapse: "), "{line}: {said}");
            }
        }
    }
}

#[test]
#[ignore = "needs a systemd --user of its own; .ci/run runs it"]
fn what_does_not_work_is_told() {
    let env = env(SERVICES);
    let manager = UserManager::start(&env);
    let driver = manager.driver();
    let jobs = jobs_of(&env);
    let steady = named(&jobs, "steady");
    let unit = unit::service_name(&steady.label);
    let path = manager.units().join(&unit);

    let missing = driver.load(&steady, true).unwrap_err();
    assert!(missing.kind == TroubleKind::Other && missing.message.contains("systemd finds no"), "{missing}");

    write_files(&driver, &steady);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("ExecStart=:", "ExecStart=:relative/")).unwrap();
    let bad = driver.load(&steady, true).unwrap_err();
    assert!(bad.kind == TroubleKind::BadFile && bad.message.contains(&unit), "{bad}");
    assert!(matches!(state(&driver, &steady).standing, Standing::CannotStart(_)), "{:?}", state(&driver, &steady));

    // A program that is gone: told, and it starts once there is one.
    let program = env.dir().join("program");
    let gone =
        Job { argv: [vec![program.display().to_string()], steady.argv[1..].to_vec()].concat(), ..steady.clone() };
    write_files(&driver, &gone);
    let error = driver.load(&gone, true).unwrap_err();
    assert!(error.kind == TroubleKind::Other && error.message.contains("program is not there"), "{error}");
    let standing = state(&driver, &gone).standing;
    assert!(matches!(&standing, Standing::CannotStart(why) if why.contains("203")), "{standing:?}");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_supervisor"), &program).unwrap();
    wait_for("systemd tries again", || (state(&driver, &gone).standing == Standing::Running).then_some(()));

    // Older files: it is started anew by the newer ones.
    let before = state(&driver, &gone).pid;
    let newer =
        Job { env: [("HOME", "/"), ("NEWER", "yes")].map(|(k, v)| (k.into(), v.into())).into(), ..steady.clone() };
    install(&driver, &newer);
    let after = state(&driver, &newer);
    assert_ne!(after.pid, before);
    assert_eq!(after.env_names.unwrap(), ["HOME", "NEWER"]);

    // Stopped by hand: loaded still, and kicked.
    assert!(manager.systemctl(&["stop", &unit]).status.success());
    let stopped = state(&driver, &newer);
    assert_eq!((&stopped.standing, stopped.disabled), (&Standing::Stopped, false));
    assert_eq!(stopped.last_exit.unwrap(), "exited with 0");
    driver.kick(&newer).unwrap();
    let pid = wait_for("it runs", || state(&driver, &newer).pid);
    driver.kick(&newer).unwrap();
    assert_eq!(state(&driver, &newer).pid, Some(pid), "one that runs is left alone");

    // Switched off by hand.
    assert!(manager.systemctl(&["disable", "--now", &unit]).status.success());
    assert_eq!(state(&driver, &newer), JobState::absent(true));
    driver.unload(&newer).unwrap();
    remove_files(&driver, &newer);
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    let masked = driver.load(&newer, false).unwrap_err();
    assert_eq!(masked.kind, TroubleKind::SwitchedOff, "{masked}");
    assert_eq!(state(&driver, &newer), JobState::absent(true));
    // By hand it is no mask any more, but there is no file either.
    let missing = driver.load(&newer, true).unwrap_err();
    assert!(missing.message.contains("systemd finds no") && !path.is_symlink(), "{missing}");

    // Removed by somebody who does not know of links.
    install(&driver, &newer);
    driver.unload(&steady).unwrap();
    install(&driver, &newer);
    assert!(manager.systemctl(&["stop", &unit]).status.success());
    remove_files(&driver, &newer);
    let link = manager.units().join("default.target.wants").join(&unit);
    assert!(link.is_symlink());
    driver.forget(&newer).unwrap();
    assert!(!link.is_symlink());
    assert_eq!(state(&driver, &newer), JobState::absent(false));

    let nobody = manager.lost_driver().look(&newer).unwrap_err();
    assert!(nobody.kind == TroubleKind::NoManager && nobody.hint.is_some(), "{nobody:?}");
}
