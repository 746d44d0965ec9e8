//! `install`, what it is good for, and `uninstall`, on a Mac of one's own (tests/launchd).

use std::path::PathBuf;
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;
use supervisor::model::paths::Paths;
use supervisor::model::{Accounted, CalendarTable, Schedule, UnitName};
use supervisor::slots::TaskSlots;

use crate::mac::{Mac, uid};
use crate::support::{Env, signal, wait_for};
use crate::tools::*;

const SLEEP: &str = "exec sleep 1000";

struct Installed {
    env: Env,
    mac: Mac,
}

fn services() -> String {
    let task = "[task.job]\ncalendar = [\"daily 07:55\"]\nstart_within = \"7d\"\nsteps = [{ run = [\"/bin/sh\", \"-c\", \"echo ran >> {dir}/ran\"] }]\n";
    service("a", SLEEP, "throttle = \"0s\"") + &service("b", SLEEP, "throttle = \"0s\"") + task
}

impl Installed {
    /// Nothing is installed yet.
    fn new() -> Self {
        let this = Self { env: Env::new(""), mac: Mac::new() };
        this.configure(&services());
        this
    }

    fn configure(&self, body: &str) {
        let head = format!(
            "[supervisor]\nstate_dir = \"{}\"\nlabel_prefix = \"org.example\"\n",
            self.env.state_dir().display()
        );
        self.env.write_config(&(head + &body.replace("{dir}", &self.env.dir().display().to_string())));
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.env.command(args);
        command.env("SUPERVISOR_LAUNCHCTL", self.mac.launchctl_path());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).output().unwrap()
    }

    fn says(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        text
    }

    fn install(&self) -> String {
        self.says(0, &["install", "--manager", "launchd"])
    }

    /// Installed, and its services are up.
    fn done() -> Self {
        let this = Self::new();
        this.install();
        for name in ["a", "b"] {
            this.env.wait_status(name, "up");
        }
        this
    }

    fn plist(&self, name: &str) -> PathBuf {
        self.env.dir().join(format!("Library/LaunchAgents/org.example.{name}.plist"))
    }

    fn runner(&self, name: &str) -> i32 {
        wait_for("its runner", || {
            self.env.try_status()?.pointer("/services")?.as_array()?.iter().find(|s| s["name"] == name)?["runner_pid"]
                .as_i64()
        })
        .try_into()
        .unwrap()
    }

    fn daemon(&self) -> Option<i32> {
        let status = self.env.try_status()?;
        status["daemon"]["pid"].as_i64()?.try_into().ok()
    }

    fn troubles(&self) -> String {
        self.env.try_status().map_or(String::new(), |status| status["troubles"].to_string())
    }

    fn drifts(&self) -> Vec<Value> {
        let rows = all_rows(&self.env).into_iter().filter(|row| row.is("drift_found"));
        rows.map(|row| row.data).collect()
    }

    /// Kills a runner and waits until its service is in the hands of the next.
    fn kill_runner(&self, name: &str) {
        let (runner, service) = (self.runner(name), main_pid(&self.env, name));
        signal(runner, Signal::SIGKILL);
        wait_for("the next runner", || {
            let status = self.env.try_status()?;
            let info = status["services"].as_array()?.iter().find(|s| s["name"] == name)?.clone();
            (info["runner_pid"].as_i64().is_some_and(|pid| pid != i64::from(runner)) && info["status"] == "up")
                .then_some(())
        });
        assert_eq!(main_pid(&self.env, name), service, "a service was touched");
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.env.terminal());
        }
        self.run(&["uninstall"]);
    }
}

/// As if the daemon had not looked at the calendar of `job` for two days.
fn never_accounted(env: &Env) {
    let table = CalendarTable { hour: Some(7), minute: Some(55), ..CalendarTable::default() };
    let through_ms = supervisor::process::clock::now().wall_ms - 2 * 24 * 3600 * 1000;
    let calendar = vec![Schedule::Table(table)];
    let accounted = Accounted { v: 1, through_ms, open_ms: None, calendar, timezone: None };
    let paths = Paths::new(&env.state_dir());
    TaskSlots::of(&paths, &UnitName::new("job").unwrap()).account(&accounted).unwrap();
}

#[test]
fn once_installed_everything_runs_and_a_second_time_changes_nothing() {
    let this = Installed::new();
    let text = this.says(0, &["install", "--manager", "launchd", "--dry-run"]);
    assert!(text.contains("+\t<key>Label</key>") && text.contains("org.example.a: to be written and loaded"), "{text}");
    assert!(!this.plist("a").exists());
    let text = this.install();
    for line in [
        "org.example.supervisor: written and loaded",
        "supervisor: running, pid",
        "a: up, pid",
        "b: up, pid",
        "job: scheduled",
    ] {
        assert!(text.contains(line), "no {line:?} in: {text}");
    }
    let calls = this.mac.calls().len();
    let text = this.install();
    assert!(text.contains("nothing was changed"), "{text}");
    assert!(this.mac.calls()[calls..].iter().all(|call| call.starts_with("print")), "{:?}", this.mac.calls());
    let status = this.env.status();
    assert_eq!(status["daemon"]["running"], true);
    let of = |name: &str| status["services"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    assert_eq!((&of("job")["status"], &of("job")["pid"]), (&"scheduled".into(), &Value::Null));
    assert!(of("job")["why"].as_str().unwrap().contains("daily 07:55"), "{status}");
    assert_ne!(this.runner("a"), this.runner("b"), "they fail apart");
    // The calendar starts the job, and not us. By the stand-in's clock; by the real one the last 07:55 is due, as nobody has
    // accounted for it.
    never_accounted(&this.env);
    this.mac.ctl(&["tick", "2026-11-22T07:50"]);
    this.mac.ctl(&["tick", "2026-11-22T07:56"]);
    wait_for("the job", || std::fs::read_to_string(this.env.dir().join("ran")).ok().filter(|ran| ran == "ran\n"));
    let pids = ["a", "b"].map(|name| main_pid(&this.env, name));
    let text = this.says(0, &["uninstall"]);
    assert!(text.contains("org.example.a: ended and removed"), "{text}");
    pids.into_iter().for_each(wait_dead);
    assert!(!this.plist("a").exists() && !this.plist("supervisor").exists());
    assert_eq!(this.mac.driver().look(&this.mac.job("a", SLEEP)).unwrap().pid, None);
    assert!(this.says(0, &["uninstall"]).contains("nothing is installed"));
}

use supervisor::manager::driver::Driver;

#[test]
fn whoever_is_killed_comes_back_and_no_service_is_touched() {
    let this = Installed::done();
    this.kill_runner("a");
    let (daemon, pids) = (this.daemon().unwrap(), ["a", "b"].map(|name| main_pid(&this.env, name)));
    signal(daemon, Signal::SIGKILL);
    wait_for("the next daemon", || this.daemon().filter(|pid| *pid != daemon));
    assert_eq!(["a", "b"].map(|name| main_pid(&this.env, name)), pids);
    // A service's end is its runner's matter.
    let run = run_id(&this.env, "b");
    signal(pids[1], Signal::SIGKILL);
    up_after(&this.env, "b", run);
}

#[test]
fn starts_that_launchd_holds_back_are_made_by_the_others() {
    let this = Installed::done();
    this.mac.is("pend", "");
    this.kill_runner("a");
    let (daemon, pids) = (this.daemon().unwrap(), ["a", "b"].map(|name| main_pid(&this.env, name)));
    signal(daemon, Signal::SIGKILL);
    wait_for("the next daemon, started by a runner", || this.daemon().filter(|pid| *pid != daemon));
    assert_eq!(["a", "b"].map(|name| main_pid(&this.env, name)), pids);
    assert!(
        this.mac
            .calls()
            .iter()
            .any(|call| call.starts_with(&format!("kickstart gui/{}/org.example.supervisor", uid())))
    );
    sync(&this.env);
    let drifts = this.drifts();
    assert!(drifts.iter().any(|drift| drift["repair"] == "kick" && drift["label"] == "org.example.a"), "{drifts:?}");
}

#[test]
fn a_label_that_launchd_has_forgotten_is_loaded_again_and_one_that_was_switched_off_is_not() {
    let this = Installed::done();
    this.mac.ctl(&["vanish", "org.example.a"]);
    this.kill_runner("a");
    // Switched off by hand: told, and left alone until somebody installs it.
    let service = main_pid(&this.env, "b");
    this.mac.ctl(&["disable", &format!("gui/{}/org.example.b", uid())]);
    this.mac.ctl(&["bootout", &format!("gui/{}/org.example.b", uid())]);
    wait_dead(service);
    wait_for("it is told", || this.troubles().contains("org.example.b: somebody has switched it off").then_some(()));
    let loads = || {
        this.mac.calls().iter().filter(|call| call.starts_with("bootstrap") && call.contains("org.example.b")).count()
    };
    assert_eq!(loads(), 1);
    this.install();
    this.env.wait_status("b", "up");
    assert_eq!(loads(), 2);
}

#[test]
fn a_changed_job_is_handed_over_and_its_service_goes_on() {
    let this = Installed::done();
    let (a, b) = (main_pid(&this.env, "a"), main_pid(&this.env, "b"));
    let (runner_a, runner_b) = (this.runner("a"), this.runner("b"));
    // Taken over by reload, it would be restarted; this is about the job alone.
    this.configure(&services().replacen("throttle = \"0s\"", "throttle = \"0s\"\nstop_timeout = \"40s\"", 1));
    let text = this.says(0, &["install", "--manager", "launchd"]);
    assert!(
        text.contains("org.example.a: written and loaded anew") && text.contains("org.example.b: as it is"),
        "{text}"
    );
    assert_eq!((main_pid(&this.env, "a"), main_pid(&this.env, "b")), (a, b));
    assert_ne!(this.runner("a"), runner_a);
    assert_eq!(this.runner("b"), runner_b);
    // Under another label: the old job makes room, and the service does not notice.
    let there = std::fs::read_to_string(this.env.config()).unwrap();
    this.env.write_config(&there.replace("\"org.example\"", "\"org.other\""));
    let text = this.says(0, &["install", "--manager", "launchd"]);
    assert!(
        text.contains("org.example.b: ended and removed") && text.contains("org.other.b: written and loaded"),
        "{text}"
    );
    assert_eq!((main_pid(&this.env, "a"), main_pid(&this.env, "b")), (a, b));
    this.env.write_config(&there);
    this.install();
    assert_eq!((main_pid(&this.env, "a"), main_pid(&this.env, "b")), (a, b));
    // Not wanted any more.
    let body = services();
    this.configure(&body[body.find("[service.b]").unwrap()..]);
    let text = this.install();
    assert!(text.contains("org.example.a: ended and removed"), "{text}");
    wait_dead(a);
    assert!(!this.plist("a").exists());
    assert_eq!(main_pid(&this.env, "b"), b);
}

#[test]
fn what_somebody_else_has_written_is_told_and_not_touched() {
    let this = Installed::new();
    // Before we come: nothing is installed without a word.
    std::fs::create_dir_all(this.plist("b").parent().unwrap()).unwrap();
    let theirs = this.mac.write(&this.mac.job("b", "sleep 777"), &[]);
    std::fs::copy(&theirs, this.plist("b")).unwrap();
    this.mac.ctl(&["bootstrap", &format!("gui/{}", uid()), this.plist("b").to_str().unwrap()]);
    let text = this.says(6, &["install", "--manager", "launchd"]);
    assert!(
        text.contains("nothing was installed")
            && text.contains("org.example.b.plist is there and was not written by us"),
        "{text}"
    );
    assert!(!this.plist("a").exists());
    let text = this.says(0, &["install", "--manager", "launchd", "--adopt"]);
    assert!(text.contains("org.example.b: written and loaded anew"), "{text}");
    // After: the file is theirs again, and is theirs to explain.
    let ours = std::fs::read(this.plist("a")).unwrap();
    std::fs::write(this.plist("a"), String::from_utf8_lossy(&ours).replace("Interactive", "Background")).unwrap();
    this.kill_runner("b");
    wait_for("it is told", || {
        this.troubles()
            .contains("org.example.a: org.example.a.plist was changed by somebody else; run `supervisor install`")
            .then_some(())
    });
    sync(&this.env);
    let drifts = this.drifts();
    let drift = drifts.iter().find(|drift| drift["label"] == "org.example.a").unwrap();
    assert_eq!((&drift["layer"], &drift["repair"]), (&"disk".into(), &"by_hand".into()));
    let text = this.says(0, &["uninstall"]);
    assert!(text.contains("the job that was there before is loaded again"), "{text}");
    assert_eq!(std::fs::read(this.plist("b")).unwrap(), std::fs::read(theirs).unwrap());
    let state = this.mac.driver().look(&this.mac.job("b", "sleep 777")).unwrap();
    assert!(state.pid.is_some() && state.argv.unwrap().contains(&"sleep 777".to_owned()));
    this.mac.ctl(&["bootout", &format!("gui/{}/org.example.b", uid())]);
}

#[test]
fn nobody_at_the_screen_and_files_that_cannot_be_loaded() {
    let this = Installed::new();
    this.mac.is("no-gui", "");
    this.install();
    this.env.wait_status("a", "up");
    assert!(this.mac.calls().iter().any(|call| call.starts_with(&format!("bootstrap user/{}", uid()))));
    this.says(0, &["uninstall"]);
    // What fails leaves nothing behind.
    this.mac.is_not("no-gui");
    this.mac.is("btm", "org.example.a\n");
    let text = this.says(6, &["install", "--manager", "launchd"]);
    assert!(text.contains("Login Items") && text.contains("what was there before is back"), "{text}");
    assert!(!this.plist("a").exists() && this.plist("b").exists());
    this.mac.is_not("btm");
    this.install();
    // A daemon that starts services itself would be in the way.
    this.says(0, &["uninstall"]);
    this.configure(&services());
    this.env.spawn_daemon();
    this.env.wait_status("a", "up");
    let text = this.says(6, &["install", "--manager", "launchd"]);
    assert!(text.contains("a daemon is running that starts the services itself"), "{text}");
}

#[test]
fn under_other_labels_the_services_go_on_and_a_faulty_one_stays() {
    let this = Installed::done();
    let (a, b) = (main_pid(&this.env, "a"), main_pid(&this.env, "b"));
    let relabelled = |body: &str| {
        this.configure(body);
        let path = this.env.dir().join("services.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("org.example", "org.other")).unwrap();
    };
    relabelled(&services());
    let text = this.install();
    assert!(text.contains("org.example.a: ended and removed"), "{text}");
    assert!(text.contains("org.other.a: written and loaded"), "{text}");
    assert!(!this.plist("a").exists() && !this.plist("supervisor").exists());
    assert_eq!((main_pid(&this.env, "a"), main_pid(&this.env, "b")), (a, b));
    // With a fault in it, it is not installed anew, and not ended either.
    relabelled(&services().replacen("throttle", "throtle", 1));
    let text = this.says(6, &["install", "--manager", "launchd"]);
    assert!(text.contains("note: a is not installed:") && !text.contains("org.other.a: "), "{text}");
    assert_eq!(main_pid(&this.env, "a"), a);
}

#[test]
fn what_is_not_in_the_jobs_is_taken_over_too() {
    let this = Installed::done();
    let (a, b) = (main_pid(&this.env, "a"), main_pid(&this.env, "b"));
    this.configure(&services().replacen("throttle = \"0s\"", "throttle = \"0s\"\nenv = { X = \"1\" }", 1));
    let text = this.install();
    assert!(text.contains("a: restarted (env)") && !text.contains("nothing was changed"), "{text}");
    assert!(main_pid(&this.env, "a") != a && main_pid(&this.env, "b") == b);
    let text = this.install();
    assert!(text.contains("nothing was changed"), "{text}");
    this.configure(&services().replacen("throttle = \"0s\"", "throttle = \"0s\"\nenabled = false", 1));
    this.install();
    wait_for("the daemon", || {
        this.env.status()["services"][0]["status"].as_str().filter(|s| *s == "disabled").map(drop)
    });
    assert_eq!(this.troubles(), "[]");
}
