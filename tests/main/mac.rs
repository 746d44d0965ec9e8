//! A Mac of one's own for each test: a folder of plists, and the stand-in for launchd (tests/launchd), which ends all that it has
//! started when the test is over, however that ends.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use plist::{Dictionary, Value};
use supervisor::manager::driver::{Driver, JobState};
use supervisor::manager::job::{Job, Role};
use supervisor::manager::launchctl::{Launchctl, Limits};
use supervisor::model::ProcessType;

use crate::support::wait_for;

/// Bounds for a loaded machine, and pauses for an idle one.
pub const LIMITS: Limits = Limits {
    answer: Duration::from_secs(20),
    kickstart: Duration::from_secs(20),
    teardown: Duration::from_secs(20),
    start: Duration::from_secs(20),
    retry_every: Duration::from_millis(10),
    look_every: Duration::from_millis(10),
};

/// See the file names in tests/launchd/standin.rs for what kind of Mac it can be.
pub struct Mac {
    dir: PathBuf,
    launchctl: PathBuf,
    _folder: tempfile::TempDir,
}

impl Mac {
    /// Somebody is logged in at its screen, and nothing is loaded.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("sv").tempdir_in("/tmp").unwrap();
        let dir = folder.path().canonicalize().unwrap();
        for name in ["standin", "LaunchAgents"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        // The driver gives it no environment of its own, and tests share theirs.
        let launchctl = dir.join("launchctl");
        let standin = dir.join("standin");
        let script = format!("#!/bin/sh\nSTANDIN_DIR='{}' exec '{}' \"$@\"\n", standin.display(), program().display());
        std::fs::write(&launchctl, script).unwrap();
        std::fs::set_permissions(&launchctl, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mac = Self { dir, launchctl, _folder: folder };
        mac.is("parent", &std::process::id().to_string());
        mac
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Of the stand-in.
    pub fn standin_dir(&self) -> PathBuf {
        self.dir.join("standin")
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.join("LaunchAgents")
    }

    /// Says what kind of Mac it is from now on.
    pub fn is(&self, name: &str, content: &str) {
        std::fs::write(self.standin_dir().join(name), content).unwrap();
    }

    /// It is not so any more.
    pub fn is_not(&self, name: &str) {
        std::fs::remove_file(self.standin_dir().join(name)).unwrap();
    }

    pub fn launchctl_path(&self) -> &Path {
        &self.launchctl
    }

    pub fn driver(&self) -> Launchctl {
        self.driver_with(LIMITS)
    }

    pub fn driver_with(&self, limits: Limits) -> Launchctl {
        Launchctl::new(self.launchctl.clone(), self.folder(), uid(), limits)
    }

    /// launchctl, called by hand.
    pub fn launchctl(&self, args: &[&str]) -> Output {
        #[expect(clippy::disallowed_methods, reason = "the stand-in for launchctl")]
        let mut command = Command::new(&self.launchctl);
        command.args(args).output().unwrap()
    }

    /// launchctl, called by hand, without trouble.
    pub fn ctl(&self, args: &[&str]) -> String {
        let output = self.launchctl(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// All calls of launchctl so far: what was asked, and the answer.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.standin_dir().join("calls.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A job that runs this script, as a runner's would be.
    pub fn job(&self, name: &str, script: &str) -> Job {
        let label = format!("org.example.{name}");
        Job {
            log: self.dir.join(format!("{label}.log")),
            label,
            name: name.to_owned(),
            role: Role::Runner,
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("NODE_ENV".to_owned(), "production".to_owned())]),
            throttle_s: 1,
            exit_timeout_s: 20,
            process_type: ProcessType::Interactive,
            calendar: Vec::new(),
            catch_up: false,
            timezone: None,
            user: None,
        }
    }

    /// Puts the plist of a job into the folder, with or without some keys.
    pub fn write(&self, job: &Job, more: &[(&str, Value)]) -> PathBuf {
        let log = Value::from(job.log.to_str().unwrap());
        let mut keys: Dictionary = [
            ("Label", Value::from(job.label.as_str())),
            ("ProgramArguments", Value::Array(job.argv.iter().map(|a| Value::from(a.as_str())).collect())),
            ("ThrottleInterval", Value::from(job.throttle_s)),
            ("ExitTimeOut", Value::from(job.exit_timeout_s)),
            ("StandardOutPath", log.clone()),
            ("StandardErrorPath", log),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let env = job.env.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        keys.insert("EnvironmentVariables".into(), Value::Dictionary(env.collect()));
        if job.is_kept() {
            keys.insert("KeepAlive".into(), Value::from(true));
            keys.insert("RunAtLoad".into(), Value::from(true));
        }
        for (key, value) in more {
            keys.insert((*key).to_owned(), value.clone());
        }
        let path = self.folder().join(format!("{}.plist", job.label));
        Value::Dictionary(keys).to_file_xml(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// `gui/UID/LABEL`.
    pub fn target(&self, job: &Job) -> String {
        format!("gui/{}/{}", uid(), job.label)
    }

    /// Waits until the job is as it should be.
    pub fn wait_until(&self, job: &Job, what: &str, is_so: impl Fn(&JobState) -> bool) -> JobState {
        let driver = self.driver();
        wait_for(what, || Some(driver.look(job).unwrap()).filter(&is_so))
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.standin_dir().join("standin.log")).unwrap_or_default();
            eprintln!("--- calls:\n{}\n--- launchd:\n{log}", self.calls().join("\n"));
        }
        std::fs::remove_file(self.standin_dir().join("hang")).ok();
        std::fs::remove_file(self.standin_dir().join("answer")).ok();
        self.launchctl(&["shutdown"]);
    }
}

pub fn uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

/// The stand-in. Cargo builds examples for `cargo test`, and not for `cargo test --test main`.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let program = profile.join("examples/standin-launchctl");
        if is_stale(&program) {
            let name = match profile.file_name().and_then(|name| name.to_str()) {
                Some("debug") | None => "dev",
                Some(name) => name,
            };
            #[expect(clippy::disallowed_methods, reason = "builds what stands in for launchctl")]
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["build", "--quiet", "--example", "standin-launchctl", "--profile", name, "--target-dir"]);
            let status = cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR")).status();
            assert!(status.unwrap().success(), "`cargo build --example standin-launchctl` fails");
        }
        program
    })
}

/// Whether it is older than any of its sources.
fn is_stale(program: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|stat| stat.modified());
    let Ok(built) = changed(program) else { return true };
    let sources = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/launchd")).unwrap();
    sources.flatten().any(|file| changed(&file.path()).is_ok_and(|at| at > built))
}
