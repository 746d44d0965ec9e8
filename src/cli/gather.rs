//! The state of everything: from the daemon, or without one from the runners, services.toml and the database.

use std::collections::BTreeSet;

use super::Context;
use super::context::{AlertsWanted, Place, Tallies};
use crate::control::client::{Daemon, Patience, Runner};
use crate::error::{Error, ErrorKind};
use crate::install::Record;
use crate::machine::words::{self, Recorded, Starter, TaskSeen};
use crate::machine::{Saved, unattended};
use crate::model::paths::Paths;
use crate::model::wire::{RunnerReply, RunnerRequest};
use crate::model::{
    DaemonInfo, LedgerInfo, OpenAlert, RunView, RunnerInfo, ServiceInfo, StatusReport, TaskSpec, UnitName,
};
use crate::process::{clock, identity, intent, record, socket};
use crate::slots::TaskSlots;

/// What the daemon said, or what was found without it.
pub(super) enum Known<T> {
    /// The daemon's own report.
    Told(T),
    /// Put together here.
    Found(Box<Found>),
}

/// What was found without the daemon.
pub(super) struct Found {
    pub(super) report: StatusReport,
    /// What the runners said, for longer words than the report has.
    pub(super) views: Vec<RunView>,
}

/// Asks the daemon in the way of `ask`, else everybody else. A daemon that is there and does not answer is like none:
/// whoever asks what is going on should be told, most of all then.
pub(super) fn known<T>(
    context: &Context<'_>,
    place: &Place<'_>,
    ask: impl FnOnce(Daemon) -> Result<T, Error>,
) -> Result<Known<T>, Error> {
    let found = |because: &str| without_daemon(context, place, because).map(|found| Known::Found(Box::new(found)));
    let told = match Daemon::connect_if_running(&place.paths) {
        Ok(Some(daemon)) => ask(daemon),
        Ok(None) => return found("the daemon is not running"),
        Err(error) => Err(error),
    };
    match told {
        Ok(told) => Ok(Known::Told(told)),
        Err(error) if error.kind == ErrorKind::Unreachable => found(&error.message),
        Err(error) => Err(error),
    }
}

/// The report without the daemon; `because` says why.
pub(super) fn without_daemon(context: &Context<'_>, place: &Place<'_>, because: &str) -> Result<Found, Error> {
    let asked = ask_runners(&place.paths)?;
    if let (true, Some(fault)) = (asked.infos.is_empty(), place.fault()) {
        return Err(fault);
    }
    let count = asked.infos.len();
    let runners = if count == 1 { "1 runner".to_owned() } else { format!("{count} runners") };
    let mut tallies = None;
    let mut troubles = Vec::new();
    match context.sources.tallies(&place.paths.database()) {
        Ok(Some(read)) => {
            troubles.push(format!("{because}; asked {runners} and the database"));
            tallies = Some(read);
        }
        Ok(None) => troubles.push(format!("{because}; asked {runners}, and there is no database yet")),
        Err(error) => {
            troubles.push(format!("{because}; asked {runners}"));
            troubles.push(error.message);
        }
    }
    troubles.extend(place.fault().map(|fault| fault.message));
    troubles.extend(asked.troubles);
    let note = "nothing is written while the daemon is not there; the runners' journals keep what happens";
    let report = StatusReport {
        schema: StatusReport::SCHEMA,
        daemon: DaemonInfo::default(),
        services: services(context, place, &asked.infos, tallies.as_ref()),
        ledger: LedgerInfo { ok: false, note: Some(note.into()), waiting: 0 },
        alerts: open_alerts(context, &place.paths),
        troubles,
    };
    Ok(Found { report, views: asked.infos.into_iter().flat_map(|info| info.views).collect() })
}

/// Alerts that are open, the newest first. A database that cannot be read is told where it is asked for more.
pub(super) fn open_alerts(context: &Context<'_>, paths: &Paths) -> Vec<OpenAlert> {
    let seen = context.sources.alerts(&paths.database(), &AlertsWanted::Open, context.now_ms);
    let mut alerts = seen.ok().flatten().unwrap_or_default().alerts;
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.fired_ms));
    alerts.iter().map(OpenAlert::from).collect()
}

/// Services and tasks in file order, then what runners serve beside the file.
fn services(
    context: &Context<'_>,
    place: &Place<'_>,
    infos: &[RunnerInfo],
    tallies: Option<&Tallies>,
) -> Vec<ServiceInfo> {
    let at = context.reader();
    let recorded = |name: &UnitName| recorded(tallies, name);
    let served = |name: &UnitName, enabled: bool| {
        view_of(infos, name).map(|(pid, view)| words::service_info(view, pid, enabled, &recorded(name), None, at))
    };
    let mut all = Vec::new();
    if let Some(fleet) = place.fleet() {
        for spec in &fleet.services {
            let info = served(&spec.name, spec.enabled);
            all.push(info.unwrap_or_else(|| match orphan(&place.paths, &spec.name) {
                Some((pid, run_id)) => words::orphaned(spec, pid, run_id, &recorded(&spec.name)),
                None => words::unserved(spec, &recorded(&spec.name)),
            }));
        }
        // Where that cannot be read nothing is known of it; `doctor` says so.
        let installed = Record::read(&place.paths).ok().flatten();
        all.extend(fleet.tasks.iter().map(|task| {
            let seen = task_seen(context, &place.paths, task, installed.as_ref(), tallies);
            words::task(task, &seen, &recorded(&task.name), at)
        }));
        let exposures = fleet.exposures.iter();
        all.extend(exposures.map(|spec| unattended(spec, &recorded(&spec.name))));
        for unit in &fleet.unusable {
            // A run from before the fault goes on, and must be seen.
            let info = served(&unit.name, true);
            all.push(info.unwrap_or_else(|| words::unusable(unit, &recorded(&unit.name))));
        }
    }
    let declared: BTreeSet<UnitName> = all.iter().map(|info| info.name.clone()).collect();
    // Without a file that can be read nobody knows what is wanted; what runs is then taken as wanted.
    let wanted = place.fleet().is_none();
    let others = infos.iter().flat_map(|info| &info.views).map(|view| &view.name);
    let others: BTreeSet<&UnitName> = others.filter(|name| !declared.contains(*name)).collect();
    all.extend(others.into_iter().filter_map(|name| served(name, wanted)));
    all
}

/// A calendar job, without the daemon.
pub(super) fn task_seen(
    context: &Context<'_>,
    paths: &Paths,
    task: &TaskSpec,
    installed: Option<&Record>,
    tallies: Option<&Tallies>,
) -> TaskSeen {
    let by = installed.and_then(|record| record.starter_of(&task.name)).map_or(Starter::Nobody, Starter::Manager);
    let rows = tallies.and_then(|tallies| tallies.last_slots.get(&task.name).cloned()).unwrap_or_default().into_rows();
    // Where they cannot be read, the ledger's word is the newest.
    let files = TaskSlots::of(paths, &task.name).read(words::files_from(task, &rows)).unwrap_or_default();
    TaskSeen::new(task, by, rows, &files, context.now_ms, &context.zone_of(task))
        .with_intent(&intent::read(paths, &task.name))
}

/// One paragraph about a calendar job, without the daemon.
pub(super) fn why_task(context: &Context<'_>, place: &Place<'_>, task: &TaskSpec) -> String {
    let installed = Record::read(&place.paths).ok().flatten();
    let tallies = context.sources.tallies(&place.paths.database()).ok().flatten();
    let seen = task_seen(context, &place.paths, task, installed.as_ref(), tallies.as_ref());
    words::why_task(task, &seen, context.reader())
}

/// The process and the run of a service whose runner has died and which lives on: its adoption record names it.
fn orphan(paths: &Paths, name: &UnitName) -> Option<(i32, u64)> {
    let record: serde_json::Value = serde_json::from_slice(&record::read(&paths.adopt(name))?).ok()?;
    let saved: Saved = serde_json::from_value(record.get("saved")?.clone()).ok()?;
    let run = saved.run().filter(|_| saved.boot_id == clock::boot_id())?;
    let lives = identity::start_token(run.process.pid) == Some(run.process.start);
    lives.then_some((run.process.pid, run.id))
}

fn recorded(tallies: Option<&Tallies>, name: &UnitName) -> Recorded {
    let Some(tallies) = tallies else { return Recorded::default() };
    Recorded {
        restarts: Some(tallies.counters.get(name).copied().unwrap_or_default()),
        last_exit: tallies.last_exits.get(name).cloned(),
    }
}

/// The view of the runner that has the service's process; while two runners know it, the other one waits for the lock.
fn view_of<'a>(infos: &'a [RunnerInfo], name: &UnitName) -> Option<(i32, &'a RunView)> {
    let mut views = infos.iter().flat_map(|info| info.views.iter().map(move |view| (info.pid, view)));
    let mut best = views.find(|(_, view)| view.name == *name)?;
    for other in views.filter(|(_, view)| view.name == *name) {
        if best.1.pid.is_none() && other.1.pid.is_some() {
            best = other;
        }
    }
    Some(best)
}

/// What the runners said.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) infos: Vec<RunnerInfo>,
    pub(super) troubles: Vec<String>,
}

/// Asks every runner that is there. A socket whose runner is gone is passed over.
pub(super) fn ask_runners(paths: &Paths) -> Result<Asked, Error> {
    let mut asked = Asked::default();
    let folder = paths.runners();
    let ids = socket::names_in(&folder).map_err(|e| Error::io("cannot read the folder of runners", &folder, &e))?;
    for id in ids {
        let reply = Runner::connect_if_running(&paths.runner_socket(&id))
            .and_then(|runner| runner.map(|mut it| it.ask(&RunnerRequest::Snapshot, Patience::Short)).transpose());
        match reply {
            Ok(None) => {}
            Ok(Some(RunnerReply::Snapshot(info))) => {
                asked.troubles.extend(info.troubles.iter().map(|trouble| format!("runner {id}: {trouble}")));
                if info.journal_lost > 0 {
                    asked.troubles.push(format!("runner {id} had to drop {} records", info.journal_lost));
                }
                asked.infos.push(info);
            }
            Ok(Some(_)) => asked.troubles.push(format!("runner {id} answered something else than was asked")),
            Err(error) => asked.troubles.push(error.message),
        }
    }
    Ok(asked)
}
