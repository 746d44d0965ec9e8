//! One look at a job's slots, beside the loop.

use std::io;
use std::time::Duration;

use super::tidy;
use crate::machine::agenda::{Agenda, AgendaAct, SlotsSeen};
use crate::model::paths::Paths;
use crate::model::{Accounted, SlotEnd, SlotFile, SlotKey, TaskSpec};
use crate::policy::Presence;
use crate::process::lock::{Lock, NotLocked};
use crate::process::{clock, intent};
use crate::slots::TaskSlots;

/// What a run that was killed has left is given so long to end: nobody decides about the job meanwhile, and whoever wants to waits
/// for ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a look needs.
pub(super) struct Look {
    pub(super) paths: Paths,
    pub(super) task: TaskSpec,
    pub(super) native: bool,
    /// `None` before the first look.
    pub(super) agenda: Option<Box<Agenda>>,
    pub(super) presence: Presence,
    pub(super) boot_id: String,
}

/// What a look has come to.
pub(in crate::daemon) enum Looked {
    Seen(Seen),
    /// Somebody else decides just now, or the disk cannot be used.
    Nothing {
        agenda: Option<Box<Agenda>>,
        trouble: Option<String>,
    },
}

/// What there is, and what is to be done about it.
pub(in crate::daemon) struct Seen {
    pub(super) agenda: Box<Agenda>,
    pub(super) acts: Vec<AgendaAct>,
    /// Held until what is to be done is done.
    pub(super) lock: Lock,
    pub(super) running: Vec<SlotFile>,
    /// Runs that died without having written their end.
    pub(super) dead: Vec<SlotFile>,
    /// Until the next look.
    pub(super) wait: Duration,
}

impl Look {
    pub(super) fn perform(self) -> Looked {
        let Self { paths, task, native, agenda, presence, boot_id } = self;
        let slots = TaskSlots::of(&paths, &task.name);
        let lock = match slots.alone() {
            Ok(lock) => lock,
            Err(NotLocked::Held { .. }) => return Looked::Nothing { agenda, trouble: None },
            Err(e @ NotLocked::Io(_)) => return Looked::Nothing { agenda, trouble: Some(e.to_string()) },
        };
        // What is accounted for is read now that nobody else writes it.
        let mut agenda = match agenda {
            Some(mut agenda) => {
                agenda.declare(task.clone(), native);
                agenda
            }
            None => match slots.accounted() {
                Ok(accounted) => Box::new(Agenda::new(task.clone(), native, accounted, clock::now())),
                Err(e) => return Looked::Nothing { agenda: None, trouble: Some(e.to_string()) },
            },
        };
        let files = match slots.read(agenda.from_ms()) {
            Ok(files) => files,
            Err(e) => return Looked::Nothing { agenda: Some(agenda), trouble: Some(e.to_string()) },
        };
        let zone = clock::zone(agenda.timezone());
        let held = !intent::read(&paths, &task.name).up;
        let now = clock::now();
        let seen = SlotsSeen { slots: &files, presence: Some(&presence), boot_id: &boot_id, held, zone: &zone };
        let acts = agenda.step(now, seen);
        let wait = agenda.wait(now, &zone);
        let (running, dead) = files.into_iter().filter(|slot| slot.end.is_none()).partition(|slot| slot.running);
        Looked::Seen(Seen { agenda, acts, lock, running, dead, wait })
    }
}

/// What is to be written down after a look, in this order.
#[derive(Debug, Default)]
pub(super) struct Settle {
    pub(super) ends: Vec<(SlotKey, SlotEnd)>,
    pub(super) accounted: Option<Accounted>,
}

impl Settle {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.accounted.is_none()
    }

    /// Writes it down. Whoever is started for the job looks for what a run has left only as long as that run has no end: so it is
    /// ended before.
    pub(super) fn perform(self, paths: &Paths, task: &TaskSpec) -> io::Result<()> {
        let slots = TaskSlots::of(paths, &task.name);
        for (slot, end) in &self.ends {
            slots.end_leftover(*slot, task.stop_signal, task.stop_timeout.min(PATIENCE));
            slots.end_for_the_dead(*slot, end)?;
        }
        match &self.accounted {
            Some(accounted) => tidy::account(&slots, &task.name, accounted),
            None => Ok(()),
        }
    }
}
