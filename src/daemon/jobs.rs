//! The service manager's jobs, as the daemon keeps an eye on them: what is declared, on disk, loaded and running is compared every
//! minute, and at once when a runner is gone, since launchd may hold a respawn back for hours. What differs is told once; what the
//! service manager has lost or holds back is mended (which, `install::drift` decides).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Daemon, Event};
use crate::install::apply::{Hands, skeleton};
use crate::install::drift::{self, Drift, Facts, Repair};
use crate::install::plan::{Load, Wanted};
use crate::install::{self, Record};
use crate::manager::driver::Trouble;
use crate::manager::{drivers, job};
use crate::model::paths::Paths;
use crate::model::{EventType, Fleet, Mono, ProgramId, UnitName};
use crate::process::{clock, identity, lock};
use crate::runner;

/// Between two looks at everything.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Looks after a runner's death: by the first a service manager that starts it again by itself has done so.
const AFTER_A_DEATH: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(2), Duration::from_secs(10)];

/// The first look: what is started at the same time as we are has come up by then.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Jobs in one look, besides those whose runners are gone: each costs several calls of the service manager's program. With more of
/// them they come in turn.
const AT_A_TIME: usize = 40;

/// What is known of the jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// When they are to be looked at, the soonest last. Empty: never, as nothing is installed.
    due: Vec<Mono>,
    /// Whether somebody looks just now.
    looking: bool,
    /// Where the next look begins, as a place among all jobs.
    from: usize,
    /// Services whose runners are gone since the last look by the minute.
    dead: BTreeSet<String>,
    /// What differed when each was looked at last.
    drifts: Vec<Drift>,
    /// Why it could not be looked.
    trouble: Option<String>,
    /// Told to a look under way: nothing is to be mended any more.
    ending: Arc<AtomicBool>,
}

/// What a look has found, and done.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// All labels that there are; `None` when nobody looked.
    known: Option<BTreeSet<String>>,
    /// Those that were looked at.
    looked: BTreeSet<String>,
    drifts: Vec<(Drift, Option<Trouble>)>,
    /// Why it did not come to an end.
    trouble: Option<String>,
}

impl Jobs {
    /// Of a service manager, or of none.
    pub(super) fn new(are_installed: bool) -> Self {
        let due = if are_installed { vec![clock::now().mono.plus(FIRST_LOOK)] } else { Vec::new() };
        Self { due, ..Self::default() }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Option<Mono> {
        self.due.last().copied().filter(|_| !self.looking)
    }

    /// We go down.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// The runner of this service is gone.
    pub(super) fn runner_gone(&mut self, name: &str, now: Mono) {
        if !self.due.is_empty() {
            self.dead.insert(name.to_owned());
            self.due.extend(AFTER_A_DEATH.map(|after| now.plus(after)));
            self.sort();
        }
    }

    /// Something else is declared: what was found before may hold no more.
    pub(super) fn declared_anew(&mut self, now: Mono) {
        if !self.due.is_empty() {
            self.due.push(now.plus(AFTER_A_DEATH[0]));
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.due.sort_unstable_by(|a, b| b.cmp(a));
        self.due.dedup();
        // The last one comes again by itself; many deaths need no more looks than a few.
        if self.due.len() > 16 {
            self.due.drain(..self.due.len() - 16);
        }
    }

    /// What differs, for `status`.
    pub(super) fn troubles(&self) -> impl Iterator<Item = String> {
        self.drifts.iter().map(Drift::words).chain(self.trouble.clone())
    }
}

impl Daemon {
    /// Looks, if it is time to.
    pub(super) fn look_at_jobs(&mut self) {
        let now = clock::now().mono;
        if self.going_down || self.jobs.due().is_none_or(|due| due > now) {
            return;
        }
        self.jobs.due.retain(|due| *due > now);
        let dead = self.jobs.dead.clone();
        if self.jobs.due.is_empty() {
            self.jobs.due.push(now.plus(LOOK_EVERY));
            self.jobs.dead.clear();
        }
        let from = self.jobs.from;
        self.jobs.from = from.wrapping_add(AT_A_TIME);
        self.jobs.looking = true;
        let (fleet, paths, events) = (self.fleet.clone(), self.paths.clone(), self.events.clone());
        let programs = self.runners.iter().filter_map(|(id, linked)| Some((id.clone(), linked.info.program?)));
        let programs = programs.chain(self.program.map(|own| (job::DAEMON.to_owned(), own))).collect();
        let ending = Arc::clone(&self.jobs.ending);
        tokio::spawn(async move {
            let looked =
                tokio::task::spawn_blocking(move || look(&fleet, &paths, &Around { programs, from, dead, ending }))
                    .await;
            let seen = looked.unwrap_or_else(|e| Err(format!("the jobs could not be looked at: {e}")));
            let _ = events.send(Event::JobsSeen(Box::new(seen))).await;
        });
    }

    pub(super) fn on_jobs_seen(&mut self, seen: Result<Seen, String>) {
        self.jobs.looking = false;
        // Children that ended while ours were waited for.
        self.reap_orphans();
        let Seen { known, looked, drifts, trouble } = match seen {
            Ok(seen) => seen,
            Err(why) => {
                self.jobs.trouble = Some(why);
                return;
            }
        };
        self.jobs.trouble = trouble;
        let (before, unlooked) = std::mem::take(&mut self.jobs.drifts)
            .into_iter()
            .partition::<Vec<_>, _>(|drift| looked.contains(&drift.label));
        self.jobs.drifts = unlooked;
        self.jobs.drifts.retain(|drift| known.as_ref().is_none_or(|known| known.contains(&drift.label)));
        let mut before: BTreeMap<String, Drift> =
            before.into_iter().map(|drift| (drift.label.clone(), drift)).collect();
        for (drift, failed) in drifts {
            // What is mended each time anew is told each time.
            let is_new = before.remove(&drift.label).as_ref() != Some(&drift) || !is_by_hand(&drift);
            if is_new {
                let failed = failed.as_ref().map(ToString::to_string);
                tracing::warn!(failed, "drift: {}", drift.words());
                let data = serde_json::json!({
                    "run_id": null, "label": drift.label, "layer": drift.layer, "what": drift.what,
                    "repair": drift.repair, "failed": failed,
                });
                self.record_of(EventType::DriftFound, service_of(&drift), data);
            }
            // What was mended is none any more.
            if is_by_hand(&drift) || failed.is_some() {
                self.jobs.drifts.push(drift);
            }
        }
        for drift in before.into_values() {
            tracing::info!("no drift any more: {}", drift.label);
            let data = serde_json::json!({ "run_id": null, "label": drift.label, "cleared": true });
            self.record_of(EventType::DriftFound, service_of(&drift), data);
        }
    }
}

/// Whom it concerns; nobody when it is the daemon's own job.
fn service_of(drift: &Drift) -> Option<UnitName> {
    UnitName::new(&drift.name).ok().filter(|_| drift.name != job::DAEMON)
}

/// Whether it stays until a person does something.
fn is_by_hand(drift: &Drift) -> bool {
    matches!(drift.repair, Repair::ByHand | Repair::Upgrade)
}

/// Whether a service lives, as far as is written down, and no runner has it.
fn is_orphaned(paths: &Paths, name: &str) -> bool {
    let has_no_runner = lock::standing(&paths.runner_lock(name)) != lock::Standing::Held;
    has_no_runner && UnitName::new(name).is_ok_and(|name| runner::may_live(paths, &name))
}

/// What a look has to know besides what is installed.
struct Around {
    /// Which file each runner, and the daemon, runs.
    programs: BTreeMap<String, ProgramId>,
    from: usize,
    dead: BTreeSet<String>,
    ending: Arc<AtomicBool>,
}

/// Whether the job at `place` of `count` is looked at by a look that begins at `from`.
fn is_due(place: usize, count: usize, from: usize) -> bool {
    (place + count - from % count.max(1)) % count.max(1) < AT_A_TIME
}

/// Compares the installed jobs, or as many as are due, and mends what may be mended.
fn look(fleet: &Fleet, paths: &Paths, around: &Around) -> Result<Seen, String> {
    let record = Record::read(paths).map_err(|e| e.message)?;
    let Some(record) = record.filter(|record| record.loaded) else {
        return Ok(Seen { known: Some(BTreeSet::new()), ..Seen::default() });
    };
    // Somebody is changing them just now; and while we look and mend nobody does.
    let Some(_alone) = install::alone_if_nobody_is(paths) else {
        return Ok(Seen::default());
    };
    let driver = drivers::driver(record.manager, &record.tool, &record.folder).map_err(|t| t.to_string())?;
    let hands = Hands { driver: driver.as_ref(), paths, folder: &record.folder, load: true, by_hand: false };
    let (jobs, _) = job::jobs(fleet, &record.site(paths.state_dir()), false);
    // What cannot be rendered was told when it was installed.
    let render = |job| driver.render(&job).ok().map(|files| Wanted { job, files });
    let wanted: BTreeMap<String, Wanted> =
        jobs.into_iter().filter_map(render).map(|wanted| (wanted.job.label.clone(), wanted)).collect();
    let (mut looked, mut drifts, mut trouble) = (BTreeSet::new(), Vec::new(), None);
    for (place, known) in record.jobs.iter().enumerate() {
        if !is_due(place, record.jobs.len(), around.from) && !around.dead.contains(&known.name) {
            continue;
        }
        let declared = wanted.get(&known.label);
        let job = declared.map_or_else(|| skeleton(known), |wanted| wanted.job.clone());
        let (disk, state) = match hands.look_at(known, &job) {
            Ok(found) => found,
            // What was mended until now is told all the same. A launchctl that hangs is not asked a second time.
            Err(why) => {
                trouble = Some(why.to_string());
                break;
            }
        };
        looked.insert(known.label.clone());
        let now = job.argv.first().and_then(|program| identity::program_id(Path::new(program)));
        let replaced = now.is_some() && around.programs.get(&known.name).is_some_and(|runs| Some(*runs) != now);
        let orphaned = known.role == job::Role::Runner && is_orphaned(paths, &known.name);
        let facts = Facts { declared, recorded: known, disk: &disk, state: &state, replaced, orphaned };
        let Some(drift) = drift::of_job(facts) else { continue };
        // What ends now may be meant to: a log-out, an uninstall.
        if around.ending.load(Ordering::Relaxed) {
            break;
        }
        let told = match drift.repair {
            Repair::ByHand | Repair::Upgrade => Ok(()),
            Repair::Load => hands.tell(&job, Load::Load),
            Repair::Reload => hands.tell(&job, Load::Reload),
            Repair::Kick => hands.tell(&job, Load::Kick),
        };
        drifts.push((drift, told.err()));
    }
    let missing = wanted.values().filter(|wanted| record.job(&wanted.job.label).is_none());
    for wanted in missing {
        looked.insert(wanted.job.label.clone());
        drifts.push((drift::uninstalled(wanted), None));
    }
    let known = record.jobs.iter().map(|job| job.label.clone()).chain(wanted.into_keys()).collect();
    Ok(Seen { known: Some(known), looked, drifts, trouble })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_jobs_are_looked_at_each_time_and_many_in_turn() {
        let due =
            |count: usize, from: usize| (0..count).filter(|place| is_due(*place, count, from)).collect::<Vec<_>>();
        for from in [0, 40, 4000] {
            assert_eq!(due(40, from).len(), 40);
            assert_eq!(due(1, from), [0]);
        }
        let mut seen = BTreeSet::new();
        for turn in 0..3 {
            let now = due(100, turn * AT_A_TIME);
            assert_eq!(now.len(), AT_A_TIME);
            seen.extend(now);
        }
        assert_eq!(seen.len(), 100);
        assert!(due(0, 7).is_empty());
    }
}
