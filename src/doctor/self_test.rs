//! Tries the service manager with a job of its own: does it load, start, start again after a kill, and forget? What it says on this
//! machine and version is worth more than any manual. Works through [`Driver`] only, and takes away all that it made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::manager::driver::{Driver, JobState, Standing};
use crate::manager::drivers;
use crate::manager::job::{Job, Role};
use crate::model::{CalendarTable, DEFAULT_PATH, ManagerKind, Mono, ProcessType, Signal};
use crate::process::{clock, command, files, identity, signal};

/// The label's beginning; our pid follows, so that two tests do not meet.
const LABEL: &str = "ai.openclaw.supervisor.selftest";

/// From an act until the manager shows it: longer than launchd's throttle (10 s) and grace together.
const WITHIN: Duration = Duration::from_secs(60);

/// A slot is at most a minute and a half ahead, and launchd starts on the minute.
const SLOT_WITHIN: Duration = Duration::from_secs(180);

/// Between two looks; a look starts a process.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the manager says in its own words is for the report; it may hang.
const RAW_WITHIN: Duration = Duration::from_secs(5);

/// What is tried.
pub struct Trial<'a> {
    /// The service manager.
    pub driver: &'a dyn Driver,
    /// The user's home.
    pub home: &'a Path,
    /// An existing folder for what the jobs write.
    pub folder: &'a Path,
    /// The minute that a calendar job is tried at (local time, hour and minute); `None`: not tried.
    pub slot: Option<(u8, u8)>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which manager.
    pub manager: ManagerKind,
    /// The job's label.
    pub label: String,
    /// This program's version.
    pub version: &'static str,
    /// Whether all went well.
    pub ok: bool,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was tried.
    pub name: &'static str,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// What came of it.
    pub what: String,
    /// What the manager says of the job afterwards, in its own words.
    pub raw: String,
}

/// Does it all. `told` hears of each step as it ends.
pub fn run(trial: &Trial<'_>, told: &mut dyn FnMut(&Step)) -> Report {
    let label = format!("{LABEL}.{}", std::process::id());
    let mut steps = Vec::new();
    let ok = {
        let mut test = Test { trial, job: sleeper(trial, &label), steps: &mut steps, told };
        let ok = test.kept();
        test.clean_up() && ok
    };
    let ok = match trial.slot.filter(|_| ok) {
        Some(slot) => {
            let file = trial.folder.join(format!("{label}.slot"));
            let job = toucher(trial, &format!("{label}.calendar"), slot, &file);
            let mut test = Test { trial, job, steps: &mut steps, told };
            let ok = test.calendar(&file);
            std::fs::remove_file(file).ok();
            test.clean_up() && ok
        }
        None => ok,
    };
    Report { manager: trial.driver.kind(), label, version: env!("CARGO_PKG_VERSION"), ok, steps }
}

fn sleeper(trial: &Trial<'_>, label: &str) -> Job {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Job {
        label: label.to_owned(),
        name: "selftest".to_owned(),
        role: Role::Runner,
        argv: vec!["/bin/sleep".into(), "3600".into()],
        env: [("HOME".to_owned(), text(trial.home)), ("PATH".to_owned(), DEFAULT_PATH.to_owned())].into(),
        log: trial.folder.join(format!("{label}.log")),
        throttle_s: 1,
        exit_timeout_s: 5,
        process_type: ProcessType::Interactive,
        calendar: Vec::new(),
        catch_up: false,
        timezone: None,
        user: None,
    }
}

fn toucher(trial: &Trial<'_>, label: &str, (hour, minute): (u8, u8), file: &Path) -> Job {
    let slot = CalendarTable { hour: Some(hour), minute: Some(minute), ..Default::default() };
    Job {
        role: Role::Task,
        argv: vec!["/usr/bin/touch".into(), file.to_string_lossy().into_owned()],
        process_type: ProcessType::Background,
        calendar: vec![slot],
        ..sleeper(trial, label)
    }
}

/// A unit of ours is ready when its program says so, which `sleep` never does: systemd would wait for it for ever.
fn ready_at_once(file: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(file).replace("Type=notify\nNotifyAccess=main\n", "Type=exec\n").into_bytes()
}

struct Test<'a> {
    trial: &'a Trial<'a>,
    job: Job,
    steps: &'a mut Vec<Step>,
    told: &'a mut dyn FnMut(&Step),
}

impl Test<'_> {
    fn kept(&mut self) -> bool {
        let Some(()) = self.step("write its files", Self::write) else { return false };
        let Some(first) = self.step("load it", Self::load) else { return false };
        let Some(()) = self.step("kick it while it runs", |test| test.kick(first)) else { return false };
        let Some(second) = self.step("kill -9, until it runs again", |test| test.respawn(first)) else { return false };
        let gone = self.step("unload it, until it is gone", |test| test.unload(second));
        gone.is_some()
    }

    fn calendar(&mut self, file: &Path) -> bool {
        let Some(()) = self.step("write a calendar job", Self::write) else { return false };
        let loaded = self.step("load it", |test| {
            test.trial.driver.load(&test.job, true).map_err(|trouble| trouble.to_string())?;
            match test.look()?.standing {
                Standing::Absent => Err("it is not there afterwards".into()),
                _ if file.exists() => Err("it was started at once, and not by the calendar".into()),
                standing => Ok(((), format!("{standing:?}"))),
            }
        });
        if loaded.is_none() {
            return false;
        }
        let started = self.step("wait for its minute", |test| {
            test.until(SLOT_WITHIN, |_| Ok(file.exists().then_some(())))?;
            Ok(((), "it was started".into()))
        });
        started.is_some()
    }

    /// Whatever happened, nothing stays.
    fn clean_up(&mut self) -> bool {
        let cleaned = self.step("clean up", |test| {
            let unloaded = test.trial.driver.unload(&test.job);
            for path in test.paths() {
                std::fs::remove_file(path).ok();
            }
            std::fs::remove_file(&test.job.log).ok();
            unloaded.and_then(|()| test.trial.driver.forget(&test.job)).map_err(|trouble| trouble.to_string())?;
            Ok(((), "nothing of it is left".into()))
        });
        cleaned.is_some()
    }

    /// Does one step, and keeps how it went.
    fn step<T>(&mut self, name: &'static str, act: impl FnOnce(&mut Self) -> Result<(T, String), String>) -> Option<T> {
        let began = clock::now().mono;
        let done = act(self);
        let took = clock::now().mono.since(began);
        let (value, ok, what) = match done {
            Ok((value, what)) => (Some(value), true, what),
            Err(why) => (None, false, why),
        };
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let step = Step { name, ok, took_ms, what, raw: self.raw() };
        (self.told)(&step);
        self.steps.push(step);
        value
    }

    fn paths(&self) -> Vec<PathBuf> {
        let files = self.trial.driver.render(&self.job).unwrap_or_default();
        files.into_iter().map(|file| self.trial.driver.folder().join(file.name)).collect()
    }

    fn write(&mut self) -> Result<((), String), String> {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.trial.driver.folder();
        let rendered = self.trial.driver.render(&self.job).map_err(|unfit| unfit.why)?;
        std::fs::create_dir_all(folder).map_err(|e| format!("{} cannot be made: {e}", folder.display()))?;
        for file in &rendered {
            let path = folder.join(&file.name);
            // Some versions of macOS refuse agents that not everybody can read.
            files::write_atomic(&path, &ready_at_once(&file.bytes), true)
                .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)))
                .map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
        }
        Ok(((), format!("{} in {}", rendered.len(), folder.display())))
    }

    fn load(&mut self) -> Result<(i32, String), String> {
        self.trial.driver.load(&self.job, true).map_err(|trouble| trouble.to_string())?;
        let pid = self.until(WITHIN, |state| Ok(running(state)))?;
        Ok((pid, format!("it runs, pid {pid}")))
    }

    fn kick(&mut self, pid: i32) -> Result<((), String), String> {
        self.trial.driver.kick(&self.job).map_err(|trouble| trouble.to_string())?;
        match running(&self.look()?) {
            Some(now) if now == pid => Ok(((), "it was left alone".into())),
            other => Err(format!("it ran as {pid}, and runs as {other:?} now")),
        }
    }

    /// A start that is held back is kicked, and that it had to be is told.
    fn respawn(&mut self, before: i32) -> Result<(i32, String), String> {
        let start = identity::start_token(before).ok_or_else(|| format!("pid {before} has gone by itself"))?;
        signal::process(before, start, Signal::KILL);
        let driver = self.trial.driver;
        let job = self.job.clone();
        let mut pended = None;
        let pid = self.until(WITHIN, |state| {
            if let (Standing::Pended(why), None) = (&state.standing, &pended) {
                pended = Some(why.clone());
                driver.kick(&job).map_err(|trouble| trouble.to_string())?;
            }
            Ok(running(state).filter(|pid| *pid != before))
        })?;
        let held = pended.map(|why| format!(", after its start was held back ({why}) and kicked")).unwrap_or_default();
        Ok((pid, format!("it runs again, pid {pid}{held}")))
    }

    fn unload(&mut self, pid: i32) -> Result<((), String), String> {
        self.trial.driver.unload(&self.job).map_err(|trouble| trouble.to_string())?;
        let state = self.look()?;
        if state.standing != Standing::Absent && state.standing != Standing::Stopped {
            return Err(format!("it is still there: {:?}", state.standing));
        }
        match identity::start_token(pid) {
            None => Ok(((), "it has gone".into())),
            Some(_) => Err(format!("pid {pid} still runs")),
        }
    }

    fn look(&self) -> Result<JobState, String> {
        self.trial.driver.look(&self.job).map_err(|trouble| trouble.to_string())
    }

    fn until<T>(
        &self,
        limit: Duration,
        mut ready: impl FnMut(&JobState) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let end: Mono = clock::now().mono.plus(limit);
        loop {
            let state = self.look()?;
            if let Some(value) = ready(&state)? {
                return Ok(value);
            }
            if clock::now().mono >= end {
                return Err(format!("not within {} s; it is {:?}", limit.as_secs(), state.standing));
            }
            pause();
        }
    }

    fn raw(&self) -> String {
        let Ok(state) = self.look() else { return String::new() };
        let label = &self.job.label;
        let tool = drivers::tool(self.trial.driver.kind());
        let said = match self.trial.driver.kind() {
            ManagerKind::Launchd => {
                let target = format!("{}/{label}", state.domain.as_deref().unwrap_or("gui/0"));
                command::run(&tool, &["print", &target], &[], RAW_WITHIN)
            }
            ManagerKind::Systemd => {
                let unit = format!("{label}.service");
                command::run(&tool, &["--user", "show", &unit], &[], RAW_WITHIN)
            }
            ManagerKind::Auto | ManagerKind::Embedded => return format!("{state:?}"),
        };
        match said {
            Ok(said) => format!("{}{}", said.stdout, said.stderr),
            Err(error) => error.to_string(),
        }
    }
}

fn running(state: &JobState) -> Option<i32> {
    state.pid.filter(|_| state.standing == Standing::Running)
}

#[expect(clippy::disallowed_methods, reason = "nobody tells when a service manager has done something")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

#[cfg(test)]
#[path = "self_test_tests.rs"]
mod tests;
