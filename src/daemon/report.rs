//! The report behind `status` and the paragraph behind `why`, from what runners, monitors and the ledger say.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::Daemon;
use super::ledger::Known;
use crate::install::Record;
use crate::machine::words::{self, Reader, Recorded, Starter, TaskSeen};
use crate::model::wire::WireError;
use crate::model::{
    DaemonInfo, HealthInfo, LedgerInfo, RunView, ServiceInfo, ServiceSpec, Status, StatusReport, TaskSpec, UnitName,
    Verdict,
};
use crate::process::{clock, intent};
use crate::slots::TaskSlots;

/// A runner's pid, its view of a service, and what probes add.
type Judged = (i32, RunView, Option<HealthInfo>);

impl Daemon {
    pub(super) fn report(&self) -> StatusReport {
        let now = clock::now();
        let zone = TimeZone::system();
        let at = Reader { now_ms: now.wall_ms, zone: &zone };
        let known = self.ledger.known();
        let recorded = |name: &UnitName| Recorded {
            restarts: Some(known.counts.get(name).copied().unwrap_or_default()),
            last_exit: known.last_exits.get(name).cloned(),
        };
        let mut services: Vec<ServiceInfo> = Vec::with_capacity(self.fleet.services.len());
        for spec in &self.fleet.services {
            services.push(self.service_info(spec, &recorded(&spec.name), at));
        }
        // Read each time: somebody may have installed it a moment ago.
        let installed = (!self.fleet.tasks.is_empty()).then(|| Record::read(&self.paths).ok().flatten()).flatten();
        for task in &self.fleet.tasks {
            let seen = self.task_seen(task, &known, installed.as_ref(), at);
            services.push(words::task(task, &seen, &recorded(&task.name), at));
        }
        services.extend(self.exposure_infos(recorded, at));
        for unit in &self.fleet.unusable {
            let judged = self.judged(&unit.name);
            let info = judged.map(|judged| self.told(&judged, true, &recorded(&unit.name), at));
            services.push(info.unwrap_or_else(|| words::unusable(unit, &recorded(&unit.name))));
        }
        let declared: BTreeSet<&UnitName> = services.iter().map(|info| &info.name).collect();
        let others: BTreeSet<UnitName> = self
            .runners
            .values()
            .flat_map(|linked| linked.views.values())
            .filter(|view| !declared.contains(&view.name) && view.pid.is_some())
            .map(|view| view.name.clone())
            .collect();
        for name in others {
            let judged = self.judged(&name);
            services.extend(judged.map(|judged| self.told(&judged, false, &recorded(&name), at)));
        }
        StatusReport {
            schema: StatusReport::SCHEMA,
            daemon: DaemonInfo {
                running: true,
                pid: i32::try_from(std::process::id()).ok(),
                version: Some(env!("CARGO_PKG_VERSION").into()),
                uptime_s: Some(now.mono.since(self.started.mono).as_secs()),
                upgrades: self.upgrades,
                config: Some(self.options.config.display().to_string()),
            },
            services,
            ledger: LedgerInfo { ok: known.ok, note: known.note.clone(), waiting: known.waiting },
            alerts: known.alerts.clone(),
            troubles: self.troubles().into_iter().chain(known.alert_troubles.iter().cloned()).collect(),
        }
    }

    fn task_seen(&self, task: &TaskSpec, known: &Known, installed: Option<&Record>, at: Reader<'_>) -> TaskSeen {
        let by = installed.and_then(|record| record.starter_of(&task.name)).map_or(Starter::Daemon, Starter::Manager);
        let rows = known.last_slots.get(&task.name).cloned().unwrap_or_default().into_rows();
        // Where they cannot be read, the ledger's word is the newest.
        let files = TaskSlots::of(&self.paths, &task.name).read(words::files_from(task, &rows)).unwrap_or_default();
        TaskSeen::new(task, by, rows, &files, at.now_ms, &clock::zone(task.timezone.as_deref()))
            .with_intent(&intent::read(&self.paths, &task.name))
    }

    fn service_info(&self, spec: &ServiceSpec, recorded: &Recorded, at: Reader<'_>) -> ServiceInfo {
        match self.judged(&spec.name) {
            Some(judged) if spec.enabled || judged.1.pid.is_some() => self.told(&judged, spec.enabled, recorded, at),
            _ => {
                let mut info = words::unserved(spec, recorded);
                if spec.enabled && self.embedded.is_some() {
                    info.status = Status::Waiting;
                    info.why = "its runner is being started".into();
                }
                info
            }
        }
    }

    /// What is told of a service that has a runner.
    fn told(&self, judged: &Judged, enabled: bool, recorded: &Recorded, at: Reader<'_>) -> ServiceInfo {
        let (pid, view, health) = judged;
        let memory = self.memories.info(&view.name, at);
        let mut info = words::service_info(view, *pid, enabled, recorded, health.as_ref(), at);
        // Until when, and for what, its memory's own line says.
        if memory.as_ref().is_some_and(|memory| memory.waiting.is_some()) {
            info.why.push_str("; a restart for its memory is due");
        }
        ServiceInfo { memory, ..info }
    }

    /// The runner's pid, its view, and what probes add: a service that is up and not well is degraded or hung.
    fn judged(&self, name: &UnitName) -> Option<Judged> {
        let linked = self.runners.get(self.runner_of(name)?)?;
        let mut view = linked.views.get(name)?.clone();
        let health = self.monitors.info(name, clock::now());
        if let Some(health) = health.as_ref().filter(|_| view.status == Status::Up) {
            // Of all other verdicts `why` tells; the service itself is as well as before.
            view.status = match health.verdict {
                Verdict::Degraded => Status::Degraded,
                Verdict::Hung => Status::Hung,
                _ => Status::Up,
            };
            if view.status != Status::Up {
                view.since_ms = health.since_ms.or(health.failing_since_ms).unwrap_or(view.since_ms);
            }
        }
        Some((linked.info.pid, view, health))
    }

    pub(super) fn why(&self, name: &UnitName) -> Result<String, WireError> {
        let zone = TimeZone::system();
        let at = Reader { now_ms: clock::now().wall_ms, zone: &zone };
        if let Some((_, view, health)) = self.judged(name) {
            let spec = self.fleet.service(name).and_then(|service| service.health.as_ref());
            let said = words::why(&view, health.as_ref(), spec, at);
            let info = self.memories.info(name, at);
            let memory = info.as_ref().and_then(|info| words::why_memory(info, at));
            let troubles = info.iter().flat_map(|info| words::why_memory_troubles(info, at));
            return Ok([said].into_iter().chain(memory).chain(troubles).collect::<Vec<_>>().join(" "));
        }
        if let Some(said) = self.why_exposure(name) {
            return Ok(said);
        }
        if let Some(task) = self.fleet.task(name) {
            let installed = Record::read(&self.paths).ok().flatten();
            return Ok(words::why_task(task, &self.task_seen(task, &self.ledger.known(), installed.as_ref(), at), at));
        }
        let report = self.report();
        match report.services.into_iter().find(|info| info.name == *name) {
            Some(info) => Ok(format!("{name}: {}.", info.why)),
            None => Err(WireError {
                code: 2,
                message: format!("services.toml has no service or task called {name}"),
                hint: None,
            }),
        }
    }

    fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = self.faults.iter().map(|fault| format!("services.toml: {fault}")).collect();
        for (id, linked) in &self.runners {
            troubles.extend(linked.info.troubles.iter().map(|what| format!("runner {id}: {what}")));
            if linked.info.journal_lost > 0 {
                troubles.push(format!("runner {id} had to drop {} records", linked.info.journal_lost));
            }
            if !linked.info.version.is_empty() && linked.info.version != env!("CARGO_PKG_VERSION") {
                let (theirs, ours) = (&linked.info.version, env!("CARGO_PKG_VERSION"));
                troubles.push(format!(
                    "runner {id} is version {theirs}, the daemon {ours}: `supervisor upgrade` makes them one"
                ));
            }
        }
        troubles.extend(self.embedded.as_ref().and_then(|embedded| embedded.trouble.clone()));
        troubles.extend(self.upgrade_trouble.clone());
        troubles.extend(self.jobs.troubles());
        troubles
    }
}
