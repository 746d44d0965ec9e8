//! A real `systemd --user` for one test, with nothing around it: see the script `user_manager` beside this file.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use supervisor::manager::systemctl::{Limits, Scope, Systemctl};

use crate::installed;
use crate::support::{Env, Guard, pid_of, signal, wait_for, wait_within};

/// A manager in the folder of an [`Env`], which has to live longer: declare it before.
pub struct UserManager {
    dir: PathBuf,
    process: Mutex<Option<Guard>>,
}

impl UserManager {
    /// Starts one and waits until it has reached its default target.
    pub fn start(env: &Env) -> Self {
        let manager = Self { dir: env.dir().to_path_buf(), process: Mutex::new(None) };
        manager.script("systemctl", "run");
        manager.boot();
        manager
    }

    /// What a program that is to meet this manager has in its environment; HOME is the [`Env`]'s folder.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let at = |below: &str| self.dir.join(below).display().to_string();
        vec![
            ("HOME", self.dir.display().to_string()),
            ("PATH", "/usr/bin:/bin".into()),
            ("XDG_RUNTIME_DIR", at("run")),
            ("XDG_CONFIG_HOME", at("config")),
            ("XDG_DATA_HOME", at("data")),
            ("SYSTEMD_UNIT_PATH", format!("{}:{}", at("config/systemd/user"), at("targets"))),
        ]
    }

    /// `program`, where this manager and no other is to be seen.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = command("nsenter");
        let pid = self.pid().expect("the manager does not run").to_string();
        command.args(["--target", &pid, "--mount", "--"]).arg(program).env_clear().envs(self.env());
        command.stdin(Stdio::null());
        command
    }

    /// `systemctl --user` to its end.
    pub fn systemctl(&self, args: &[&str]) -> Output {
        self.command(Path::new("/usr/bin/systemctl")).arg("--user").args(args).output().unwrap()
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let output = self.systemctl(&["show", "--value", "-p", name, "--", unit]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A systemctl that goes to this manager whoever calls it.
    pub fn driver(&self) -> Systemctl {
        Systemctl::new(self.dir.join("systemctl"), self.units(), Scope::User, Limits::default())
    }

    /// One that finds no manager.
    pub fn lost_driver(&self) -> Systemctl {
        self.script("lost_systemctl", "nowhere");
        Systemctl::new(self.dir.join("lost_systemctl"), self.units(), Scope::User, Limits::default())
    }

    /// Where it looks for units.
    pub fn units(&self) -> PathBuf {
        self.dir.join("config/systemd/user")
    }

    /// Where it keeps the time at which a persistent timer last started something.
    pub fn stamp(&self, label: &str) -> PathBuf {
        self.dir.join(format!("data/systemd/timers/stamp-{label}.timer"))
    }

    pub fn pid(&self) -> Option<i32> {
        self.process.lock().unwrap().as_ref().map(|guard| pid_of(&guard.0))
    }

    /// Ends it in order, as a log-out or a shutdown does; everything that it runs ends before.
    pub fn shut_down(&self) {
        let mut guard = self.process.lock().unwrap().take().expect("the manager does not run");
        signal(pid_of(&guard.0), Signal::SIGTERM);
        let done = wait_within("the end of systemd --user", Duration::from_secs(60), || guard.0.try_wait().unwrap());
        assert!(done.success(), "{done:?}; it said:\n{}", self.log());
    }

    /// Starts it, as a log-in or a boot does.
    pub fn boot(&self) {
        let log = File::options().create(true).append(true).open(self.dir.join("systemd.log")).unwrap();
        let mut run = user_manager("run", &self.dir);
        run.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = run.env("REAL_SYSTEMD", installed("REAL_SYSTEMD")).spawn().unwrap();
        *self.process.lock().unwrap() = Some(Guard(child));
        wait_for("systemd --user", || {
            let ended = self.process.lock().unwrap().as_mut().and_then(|guard| guard.0.try_wait().unwrap());
            assert!(ended.is_none(), "systemd --user ended with {ended:?}; it said:\n{}", self.log());
            // Before it has its mounts it is to be found nowhere.
            let socket = self.dir.join("run/systemd/private");
            (socket.exists() && self.systemctl(&["is-active", "default.target"]).status.success()).then_some(())
        });
    }

    /// What it said before it had a journal to say it to.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("systemd.log")).unwrap_or_default()
    }

    /// A systemctl in our folder that asks the manager whose runtime folder is `runtime`.
    fn script(&self, name: &str, runtime: &str) {
        let runtime = self.dir.join(runtime).display().to_string();
        let env = self.env().into_iter().map(|(key, value)| match key {
            "XDG_RUNTIME_DIR" => format!("{key}={runtime}"),
            _ => format!("{key}={value}"),
        });
        let env = env.collect::<Vec<_>>().join(" ");
        let pid = self.dir.join("manager.pid").display().to_string();
        let path = self.dir.join(name);
        let text = format!(
            "#!/bin/sh\nexec nsenter --target \"$(cat {pid})\" --mount -- env {env} /usr/bin/systemctl \"$@\"\n"
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}

impl Drop for UserManager {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what systemd said:\n{}", self.log());
            let mut status = command(self.dir.join("systemctl"));
            let units = status.args(["--user", "status", "--no-pager", "--all", "ai.openclaw.*"]).output();
            eprintln!("{}", String::from_utf8_lossy(&units.map(|output| output.stdout).unwrap_or_default()));
        }
        // Not in order: it, and all that it has started, at once.
        drop(self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        let cleaned = user_manager("clean", &self.dir).status();
        if !std::thread::panicking() {
            assert!(cleaned.unwrap().success());
        }
    }
}

fn user_manager(verb: &str, dir: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/systemd/user_manager");
    let mut command = command(script);
    command.arg(verb).arg(dir);
    command
}

#[expect(clippy::disallowed_methods, reason = "systemd and its tools")]
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}
