//! Whether what was loaded really runs: the daemon answers, each runner has its service up, each calendar job is known.

use std::time::Duration;

use serde::Serialize;

use crate::control::client::{Daemon, Patience, Runner};
use crate::manager::driver::{Driver, Standing};
use crate::manager::job::{Job, Role};
use crate::model::paths::Paths;
use crate::model::wire::{RunnerReply, RunnerRequest};
use crate::model::{RunView, Status};
use crate::process::clock;
use crate::process::wait::until;

/// How a job was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its label.
    pub label: String,
    /// The service or calendar job.
    pub name: String,
    /// Whether it is as it is to be; a service that is still starting is.
    pub ok: bool,
    /// In words.
    pub text: String,
}

/// Looks at all `jobs` until each is as it is to be, for at most `within` in all.
pub fn verify(driver: &dyn Driver, jobs: &[Job], paths: &Paths, within: Duration) -> Vec<Found> {
    let end = clock::now().mono.plus(within);
    let one = |job: &Job| {
        let mut last = Err("it was not looked at".to_owned());
        let left = Duration::from_nanos(end.0.saturating_sub(clock::now().mono.0));
        // What is settled is not waited for: a service that is held stays so.
        until(left, || {
            last = look(driver, job, paths);
            last.as_ref().is_ok_and(|(_, settled)| *settled).then_some(())
        });
        let found = |ok, text| Found { label: job.label.clone(), name: job.name.clone(), ok, text };
        match last {
            Ok((Looked { ok, text }, _)) => found(ok, text),
            Err(text) => found(false, text),
        }
    };
    jobs.iter().map(one).collect()
}

struct Looked {
    ok: bool,
    text: String,
}

/// How a job stands, and whether waiting would change nothing; or why it cannot be told (yet).
fn look(driver: &dyn Driver, job: &Job, paths: &Paths) -> Result<(Looked, bool), String> {
    match job.role {
        Role::Daemon => {
            let daemon = Daemon::connect_if_running(paths).map_err(|e| e.message)?;
            let version = daemon.ok_or_else(|| no_answer(driver, job))?.version().map_err(|e| e.message)?;
            Ok((Looked { ok: true, text: format!("running, pid {}", version.pid) }, true))
        }
        Role::Runner => {
            let runner = Runner::connect_if_running(&paths.runner_socket(&job.name)).map_err(|e| e.message)?;
            let mut runner = runner.ok_or_else(|| no_answer(driver, job))?;
            let reply = runner.ask(&RunnerRequest::Snapshot, Patience::Short).map_err(|e| e.message)?;
            let RunnerReply::Snapshot(info) = reply else { return Err("its runner answers something else".into()) };
            let view = info.views.first().ok_or("its runner does not have it")?;
            Ok(of_view(view))
        }
        Role::Task => {
            let state = driver.look(job).map_err(|trouble| trouble.to_string())?;
            match state.standing {
                Standing::Absent => Err("the service manager does not have it".into()),
                Standing::CannotStart(why) => {
                    Ok((Looked { ok: false, text: format!("cannot be started: {why}") }, true))
                }
                _ => Ok((Looked { ok: true, text: "scheduled".into() }, true)),
            }
        }
    }
}

fn of_view(view: &RunView) -> (Looked, bool) {
    let pid = view.pid.map_or(String::new(), |pid| format!(", pid {pid}"));
    let text = format!("{}{pid}", view.status.as_str());
    match view.status {
        Status::Up | Status::Degraded | Status::Running | Status::Done => (Looked { ok: true, text }, true),
        // It is on its way; how long that may take is its start_timeout's matter.
        Status::Starting | Status::Waiting => (Looked { ok: true, text }, false),
        Status::Down if !view.intent.up => (Looked { ok: true, text: "down, as it was told to be".into() }, true),
        _ => (Looked { ok: false, text: format!("{text}: {}", view.reason) }, view.status == Status::Held),
    }
}

/// What the service manager says of a job that does not answer.
fn no_answer(driver: &dyn Driver, job: &Job) -> String {
    let state = match driver.look(job) {
        Ok(state) => state,
        Err(trouble) => return trouble.to_string(),
    };
    let last = state.last_exit.map_or(String::new(), |how| format!("; it ended with {how}"));
    match state.standing {
        Standing::Absent => "the service manager does not have it".into(),
        Standing::CannotStart(why) => format!("it cannot be started: {why}"),
        Standing::Pended(why) => format!("its start is held back: {why}"),
        Standing::Running => "it runs, and does not answer yet".into(),
        Standing::Delayed => format!("its next start is delayed{last}"),
        Standing::Stopping => "it is being ended".into(),
        Standing::Stopped => format!("it does not run{last}"),
    }
}
