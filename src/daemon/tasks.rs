//! Calendar jobs: who looks after their slots. What is decided about them is decided by each job's [`Agenda`]; here files are read for
//! it, `supervisor exec TASK` is started, and what nobody ran goes on record.
//!
//! A look at a job reads and locks files, so it is done beside the loop: the agenda goes there and comes back with what it wants.
//! From the decision until it is on record nobody else decides about a slot of that job (`TaskSlots::alone`).

mod look;
pub(super) mod orders;
mod start;
mod tidy;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{Daemon, Event};
use crate::install::Record;
use crate::machine::agenda::{Agenda, AgendaAct};
use crate::machine::task;
use crate::manager::job;
use crate::model::paths::Paths;
use crate::model::{EventType, Fleet, Mono, SlotFile, SlotKey, TaskSpec, UnitName};
use crate::process::lock::Lock;
use crate::process::{clock, files};
pub(super) use look::{Looked, Seen};

/// While a run is under way it is looked at this often: its end is to be on record soon, and its process can die.
const WHILE_RUNNING: Duration = Duration::from_secs(2);

/// Somebody else decides about a slot just now, or the disk cannot be used.
const AGAIN: Duration = Duration::from_secs(1);

/// So long it is waited for a database that is not well, before a run that died is ended without knowing whether it has journaled its
/// end: the job's next run waits for that.
const UNREAD_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks of which nothing can be written down, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is known of the jobs.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    by_name: BTreeMap<UnitName, Job>,
    /// Processes of ours that run jobs, until they are reaped.
    children: BTreeMap<i32, UnitName>,
}

/// One job.
#[derive(Debug)]
struct Job {
    task: TaskSpec,
    /// Whether launchd or systemd has its calendar.
    native: bool,
    /// services.toml has it no more: it stays until nothing of it is open.
    removed: bool,
    standing: Standing,
    /// When it is to be looked at.
    due: Mono,
    /// Something has happened since the look under way began.
    again: bool,
    /// The runs that live, as the last look has seen them.
    running: Vec<SlotFile>,
    /// What its runs have journaled is in the ledger: of one that is gone nothing more is to come.
    taken_in: bool,
    /// Since when that could not be had.
    unread_since: Option<Mono>,
    /// What was seen could not be written down: until the next look.
    pause: Duration,
}

/// What came of a look, when it is written down.
#[derive(Debug)]
pub(super) struct Settled {
    agenda: Box<Agenda>,
    /// What is to be started or ended.
    then: Vec<AgendaAct>,
}

/// Where its agenda is.
#[derive(Debug)]
enum Standing {
    /// Not made yet: what is on disk was not read.
    New,
    /// Nobody looks.
    Idle(Box<Agenda>),
    /// Somebody looks, or writes down what came of it.
    Away,
}

impl Tasks {
    /// Those that are declared.
    pub(super) fn new(fleet: &Fleet, paths: &Paths, installed: Option<&Record>) -> Self {
        let mut tasks = Self::default();
        tasks.follow(fleet, paths, installed);
        tasks
    }

    /// Goes on with what is declared now.
    pub(super) fn follow(&mut self, fleet: &Fleet, paths: &Paths, installed: Option<&Record>) {
        for name in left_over(fleet, paths) {
            if !self.by_name.contains_key(&name) {
                self.add(TaskSpec::undeclared(name), false, true);
            }
        }
        for job in self.by_name.values_mut().filter(|job| fleet.task(&job.task.name).is_none()) {
            // As with one that is not to run; what is left of it ends as it was declared.
            job.task.calendar.clear();
            (job.native, job.removed) = (false, true);
            job.look_soon(clock::now().mono);
        }
        for task in &fleet.tasks {
            let mut task = task.clone();
            if !task.enabled {
                // Nothing is due from now on; what was due until now has its end.
                task.calendar.clear();
            }
            // What was installed may have been declared otherwise since.
            let native = installed.is_some_and(|record| {
                let has_it = record.loaded && record.starter_of(&task.name).is_some();
                has_it && job::native(&task, record.manager).is_ok()
            });
            self.add(task, native, false);
        }
    }

    fn add(&mut self, task: TaskSpec, native: bool, removed: bool) {
        let now = clock::now().mono;
        let job = self.by_name.entry(task.name.clone()).or_insert_with(|| Job {
            task: task.clone(),
            native,
            removed,
            standing: Standing::New,
            due: now,
            again: false,
            running: Vec::new(),
            taken_in: false,
            unread_since: None,
            pause: AGAIN,
        });
        (job.task, job.native, job.removed) = (task, native, removed);
        job.look_soon(now);
    }

    /// When one is to be looked at.
    pub(super) fn due(&self) -> Option<Mono> {
        let idle = self.by_name.values().filter(|job| !matches!(job.standing, Standing::Away));
        idle.map(|job| job.due).min()
    }

    /// Whether `pid` ran a job for us; it is gone now.
    pub(super) fn reaped(&mut self, pid: i32) {
        if let Some(name) = self.children.remove(&pid) {
            self.look_at(&name);
        }
    }

    /// Something may have happened to all of them.
    pub(super) fn look_soon(&mut self) {
        let now = clock::now().mono;
        self.by_name.values_mut().for_each(|job| job.look_soon(now));
    }

    fn look_at(&mut self, name: &UnitName) {
        if let Some(job) = self.by_name.get_mut(name) {
            job.look_soon(clock::now().mono);
        }
    }

    /// Whether no run lives, as far as is known.
    pub(super) fn are_down(&self) -> bool {
        self.children.is_empty() && self.by_name.values().all(|job| job.running.is_empty())
    }
}

/// Jobs that services.toml has no more, and that something may be open of. Of what has faults nobody knows whether it is declared.
fn left_over(fleet: &Fleet, paths: &Paths) -> Vec<UnitName> {
    let names = files::units_in(&paths.all_slots()).unwrap_or_default();
    let is_known = |name: &UnitName| fleet.task(name).is_some() || fleet.unusable.iter().any(|unit| unit.name == *name);
    names.into_iter().filter(|name| !is_known(name)).collect()
}

impl Job {
    fn look_soon(&mut self, now: Mono) {
        self.due = now;
        self.again = true;
    }
}

impl Daemon {
    /// Looks at the jobs whose time it is.
    pub(super) fn look_at_tasks(&mut self) {
        let now = clock::now().mono;
        let due = self.tasks.by_name.iter().filter(|(_, job)| job.due <= now);
        let names: Vec<UnitName> = due.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.look_at_task(&name);
        }
    }

    fn look_at_task(&mut self, name: &UnitName) {
        let Some(job) = self.tasks.by_name.get_mut(name) else { return };
        let agenda = match std::mem::replace(&mut job.standing, Standing::Away) {
            Standing::Away => return,
            Standing::New => None,
            Standing::Idle(agenda) => Some(agenda),
        };
        job.again = false;
        let look = look::Look {
            paths: self.paths.clone(),
            task: job.task.clone(),
            native: job.native,
            agenda,
            presence: self.alive.presence().clone(),
            boot_id: self.boot_id.clone(),
        };
        let (name, events) = (name.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            // A daemon that is gone needs no answer.
            let _ = events.blocking_send(Event::TaskSeen(name, Box::new(look.perform())));
        });
    }

    /// What a look has come to.
    pub(super) fn on_task_seen(&mut self, name: &UnitName, looked: Looked) {
        let Some(job) = self.tasks.by_name.get_mut(name) else { return };
        let now = clock::now().mono;
        let Seen { agenda, acts, lock, running, dead, wait } = match looked {
            Looked::Seen(seen) => seen,
            Looked::Nothing { agenda, trouble } => {
                if let Some(trouble) = trouble {
                    tracing::warn!(job = %name, "the slots cannot be looked at: {trouble}");
                }
                // What runs is not known anew.
                job.standing = agenda.map_or(Standing::New, Standing::Idle);
                job.due = now.plus(AGAIN);
                return;
            }
        };
        job.running = running;
        let wait = if job.running.is_empty() { wait } else { wait.min(WHILE_RUNNING) };
        job.due = if job.again { now } else { now.plus(wait) };
        // A run writes its own journal and has nobody to tell; a short one begins and ends between two looks.
        self.ledger.look();
        let cut_off = acts.iter().any(|act| matches!(act, AgendaAct::CutOff(..)));
        if cut_off && !std::mem::take(&mut job.taken_in) {
            return self.take_in_before(name);
        }
        let records = acts.iter().any(AgendaAct::is_recorded);
        if records && !self.journal.retry() {
            return self.not_settled(name, &self.why_unrecorded());
        }
        let (mut settle, mut then) = (look::Settle::default(), Vec::new());
        for act in acts {
            match act {
                AgendaAct::Start | AgendaAct::Replace(_) => then.push(act),
                AgendaAct::Missed { slots, state, why, made_up_by } => {
                    let data = json!({
                        "run_id": null, "slot": slots.last().copied().map(SlotKey::Due), "slots": slots,
                        "count": slots.len(), "result": state, "why": why, "made_up_by": made_up_by,
                    });
                    self.record_of(EventType::TaskMissed, Some(name.clone()), data);
                }
                AgendaAct::CutOff(slot, end) => {
                    if let Some(run) = dead.iter().find(|run| run.claim.slot == slot) {
                        let data = task::finished(&run.claim, &run.steps, &end, None);
                        self.record_of(EventType::TaskFinished, Some(name.clone()), data.into());
                    }
                    settle.ends.push((slot, end));
                }
                AgendaAct::Account(accounted) => settle.accounted = Some(accounted),
            }
        }
        // What is on record is to outlive a power loss before anything on disk says that it is.
        if records && !(self.journal.retry() && self.journal.sync().is_ok()) {
            return self.not_settled(name, &self.why_unrecorded());
        }
        self.settle(name, lock, settle, Settled { agenda, then });
    }

    fn why_unrecorded(&self) -> String {
        let why = self.journal.trouble().unwrap_or_else(|| "the disk does not take it".into());
        format!("the journal cannot be written: {why}")
    }

    /// A run died without having written its end. It may have journaled it: that comes first, and then the job is looked at anew.
    fn take_in_before(&mut self, name: &UnitName) {
        let (done, is_done) = tokio::sync::oneshot::channel();
        self.ledger.sync(done);
        let (name, events) = (name.clone(), self.events.clone());
        tokio::spawn(async move {
            // A ledger that is gone takes nothing in any more.
            let taken_in = is_done.await.unwrap_or(false);
            let _ = events.send(Event::TaskTakenIn(name, taken_in)).await;
        });
    }

    /// The look can be taken again; in a while, if what the dead have journaled could not be taken in.
    pub(super) fn on_task_taken_in(&mut self, name: &UnitName, taken_in: bool) {
        let Some(job) = self.tasks.by_name.get_mut(name) else { return };
        let now = clock::now().mono;
        let since = *job.unread_since.get_or_insert(now);
        // What the agenda has decided was not done.
        job.standing = Standing::New;
        job.taken_in = taken_in || now.since(since) >= UNREAD_WITHIN;
        if job.taken_in {
            job.unread_since = None;
            job.look_soon(now);
        } else {
            job.due = now.plus(AGAIN);
        }
    }

    /// Writes down what came of a look; the agenda comes back after that, and what is to be started is started then.
    fn settle(&mut self, name: &UnitName, lock: Lock, settle: look::Settle, settled: Settled) {
        if settle.is_empty() {
            drop(lock);
            return self.on_task_settled(name, Ok(settled));
        }
        let Some(job) = self.tasks.by_name.get(name) else { return };
        let (paths, task, name, events) = (self.paths.clone(), job.task.clone(), name.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let done = settle.perform(&paths, &task);
            drop(lock);
            let result = done.map(|()| settled).map_err(|e| e.to_string());
            let _ = events.blocking_send(Event::TaskSettled(name, result));
        });
    }

    /// What came of a look is written down, or could not be.
    pub(super) fn on_task_settled(&mut self, name: &UnitName, result: Result<Settled, String>) {
        let settled = match result {
            Ok(settled) => settled,
            Err(trouble) => return self.not_settled(name, &trouble),
        };
        let Some(job) = self.tasks.by_name.get_mut(name) else { return };
        if job.removed && !job.again && job.running.is_empty() && settled.agenda.is_settled() {
            tracing::info!(job = %name, "nothing of the job is open any more: it is forgotten");
            self.tasks.by_name.remove(name);
            return;
        }
        (job.standing, job.pause) = (Standing::Idle(settled.agenda), AGAIN);
        for act in settled.then {
            match act {
                _ if self.going_down => {}
                AgendaAct::Replace(slot) => self.stop_run(name, slot, "replaced by a newer slot"),
                _ => self.start_task(name),
            }
        }
    }

    /// Nothing is started for what is not written down. What is on disk counts, and it is looked at anew: the ledger drops what it has
    /// already.
    fn not_settled(&mut self, name: &UnitName, trouble: &str) {
        tracing::warn!(job = %name, "the slots cannot be written down: {trouble}");
        let Some(job) = self.tasks.by_name.get_mut(name) else { return };
        // Each look is at all of its files, and what the journal has taken stands in it again.
        (job.standing, job.due) = (Standing::New, clock::now().mono.plus(job.pause));
        job.pause = job.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}
