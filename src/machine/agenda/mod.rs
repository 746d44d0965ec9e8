//! One calendar job as the daemon looks after it: which slot is started by whom and when, and what became of those that nobody
//! started. The same decision serves `supervisor exec TASK`, whoever started that.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::model::{Accounted, Moment, SlotEnd, SlotFile, SlotKey, SlotState, TaskSpec, Timing};
use crate::policy::Presence;

/// What is known of a job when somebody decides about its slots.
#[derive(Debug, Clone, Copy)]
pub struct SlotsSeen<'a> {
    /// Its slots that were taken, at or after [`Agenda::from_ms`], by time; extra ones too.
    pub slots: &'a [SlotFile],
    /// What the last daemon left behind, or this one knows.
    pub presence: Option<&'a Presence>,
    /// The boot we are in.
    pub boot_id: &'a str,
    /// Whether a person holds the job back (`supervisor stop`).
    pub held: bool,
    /// The zone of its calendar, as it is now.
    pub zone: &'a TimeZone,
}

/// What whoever was started for a job is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Take this slot and run it.
    Run {
        /// The latest that is due.
        slot: SlotKey,
        /// How it stands to its time.
        timing: Timing,
    },
    /// Nothing now: a run is under way, and the daemon sees to the rest.
    Busy,
    /// Nothing is due that was not taken or accounted for.
    Nothing,
}

/// Decides, for `supervisor exec TASK`: the caller keeps everybody else from deciding meanwhile.
pub fn decide(task: &TaskSpec, accounted: Option<&Accounted>, seen: SlotsSeen<'_>, now: Moment) -> Decision {
    let _ = (task, accounted, seen, now);
    Decision::Nothing
}

/// One job's slots, in the daemon.
#[derive(Debug)]
pub struct Agenda {
    task: TaskSpec,
    native: bool,
    accounted: Accounted,
}

/// What the daemon is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgendaAct {
    /// Start `supervisor exec TASK`; asked for again, with growing pauses, until a slot is taken or left.
    Start,
    /// End the run under way: a newer slot replaces it.
    Replace(SlotKey),
    /// These slots are not run any more (task_missed): milliseconds since 1970 UTC.
    Missed {
        /// In order.
        slots: Vec<i64>,
        /// What they all end as.
        state: SlotState,
        /// In words.
        why: String,
        /// The run that stands for them.
        made_up_by: Option<SlotKey>,
    },
    /// A run whose process died before it could write its end: write it, and put it on record (task_finished).
    CutOff(SlotKey, SlotEnd),
    /// Write down up to where everything is accounted for, after what was asked for before this.
    Account(Accounted),
}

impl Agenda {
    /// Of a job; `native`: launchd or systemd has its calendar, so that the daemon starts only what they have not within
    /// `start_within`. `accounted` as it is on disk; without it everything due until now is none of ours.
    pub fn new(task: TaskSpec, native: bool, accounted: Option<Accounted>, now: Moment) -> Self {
        let accounted = accounted.unwrap_or_else(|| Accounted {
            v: 1,
            through_ms: now.wall_ms,
            calendar: task.calendar.clone(),
            timezone: task.timezone.clone(),
        });
        Self { task, native, accounted }
    }

    /// It is declared otherwise from now on.
    pub fn declare(&mut self, task: TaskSpec, native: bool) {
        (self.task, self.native) = (task, native);
    }

    /// Slots before this need not be shown: milliseconds since 1970 UTC.
    pub fn from_ms(&self) -> i64 {
        self.accounted.through_ms
    }

    /// The next slot after now, milliseconds since 1970 UTC.
    pub fn next_ms(&self, now_ms: i64, zone: &TimeZone) -> Option<i64> {
        crate::policy::Calendar::new(&self.task.calendar).next_after(now_ms, zone)
    }

    /// How long the daemon may wait before it looks again, in awake time: the wall clock may be set and the zone changed meanwhile.
    pub fn wait(&self, now: Moment, zone: &TimeZone) -> Duration {
        let _ = (now, zone, self.native);
        Duration::from_secs(30)
    }

    /// Looks.
    pub fn step(&mut self, now: Moment, seen: SlotsSeen<'_>) -> Vec<AgendaAct> {
        let _ = (now, seen);
        Vec::new()
    }
}
