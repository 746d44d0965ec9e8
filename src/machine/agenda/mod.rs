//! One calendar job as the daemon looks after it: which slot is started by whom and when, and what became of those that nobody
//! started. The same decision serves `supervisor exec TASK`, whoever started that.
//!
//! - Only the latest slot that is due is ever started. Older ones that nobody took are told (task_missed) when it is settled what
//!   becomes of the latest: then it is known which run stands for them. When that takes too long they are told without.
//! - A slot is due by the calendar that is in [`Accounted`], and by the machine's zone as it is at the first look after the slot.
//!   When the job is declared otherwise, or the zone changes, what was due by the old one and is not taken yet is left.
//! - The clock set back: slots whose file is there stay done; those that were told missed in a future that was none are due
//!   again, as a run replaces a missed one on record. What had come a second time before anybody looked has its end from the first
//!   time, and keeps it. The clock set forward: what it was set over is missed, and caught up like
//!   everything that is missed.

mod due;
mod telling;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::model::{Accounted, Moment, Mono, Schedule, SlotEnd, SlotFile, SlotKey, SlotState, TaskSpec, Timing};
use crate::policy::{Calendar, Presence, Ruling, rule};

pub use due::decide;

use due::{Latest, Look, after, ended_ms, is_absent, is_ahead, running, steps_ms, taken};
use telling::{Telling, why_latest};

/// Two looks are never further apart, in awake time: the wall clock may be set and the zone changed meanwhile.
const LOOKS: Duration = Duration::from_secs(30);

/// Between the first start of a slot that nobody takes and the second; doubled for each further one.
const PAUSE: Duration = Duration::from_secs(30);

/// The longest time between two.
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// So long it is waited what becomes of the latest slot before those before it are told, in awake time.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// When nothing else is to be written down, this is what `Accounted` may lag behind, milliseconds: whoever comes later goes by the
/// zone of their time and by absences that are not kept for ever.
const LAG_MS: i64 = 3_600_000;

/// What is known of a job when somebody decides about its slots.
#[derive(Debug, Clone, Copy)]
pub struct SlotsSeen<'a> {
    /// Its slots that were taken, at or after [`Accounted::from_ms`], by time; extra ones too.
    pub slots: &'a [SlotFile],
    /// What the last daemon left behind, or this one knows.
    pub presence: Option<&'a Presence>,
    /// The boot we are in.
    pub boot_id: &'a str,
    /// Whether a person holds the job back (`supervisor stop`).
    pub held: bool,
    /// The zone that [`Accounted::timezone`] names (for the daemon: [`Agenda::timezone`]), as it is now.
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

/// One job's slots, in the daemon.
#[derive(Debug)]
pub struct Agenda {
    task: Arc<TaskSpec>,
    native: bool,
    accounted: Accounted,
    /// That of `accounted`.
    calendar: Arc<Calendar>,
    /// `accounted` is not on disk as it is here.
    unsaved: bool,
    /// The look was not at everything: the next is due at once.
    more: bool,
    /// Files may matter that were not shown.
    blind: bool,
    /// Every slot at or before this is told or taken; `accounted` may lag behind.
    settled_ms: i64,
    /// When it was looked last, by the wall clock, and in which zone.
    looked: Option<(i64, TimeZone)>,
    trying: Option<Trying>,
    /// Since when slots wait to be told.
    untold: Option<Mono>,
    /// The run that went on at the last look, and when that was.
    alive: Option<(SlotKey, i64)>,
}

/// What is done about the latest slot.
#[derive(Debug, Clone, Copy)]
struct Trying {
    slot: i64,
    /// It replaces the run under way.
    replaces: bool,
    /// The next try is due then.
    next: Mono,
    pause: Duration,
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
        /// In order, as many as one record holds.
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

impl AgendaAct {
    /// Whether it is put on record, which comes before anything is written down.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Missed { .. } | Self::CutOff(..))
    }
}

impl Agenda {
    /// Of a job; `native`: launchd or systemd has its calendar, so that the daemon starts only what they have not within
    /// `start_within`. `accounted` as it is on disk; without it everything due until now is none of ours.
    pub fn new(task: TaskSpec, native: bool, accounted: Option<Accounted>, now: Moment) -> Self {
        let unsaved = accounted.is_none();
        let accounted = accounted.unwrap_or_else(|| Accounted {
            v: 1,
            through_ms: now.wall_ms,
            open_ms: None,
            calendar: calendar_of(&task).to_vec(),
            timezone: task.timezone.clone(),
        });
        Self {
            task: Arc::new(task),
            native,
            settled_ms: accounted.through_ms,
            calendar: Arc::new(Calendar::new(&accounted.calendar)),
            accounted,
            unsaved,
            more: true,
            blind: false,
            looked: None,
            trying: None,
            untold: None,
            alive: None,
        }
    }

    /// It is declared otherwise from now on.
    pub fn declare(&mut self, task: TaskSpec, native: bool) {
        (self.task, self.native) = (Arc::new(task), native);
    }

    /// Whether nothing is open, as of the last look: every slot has come to something, and no run goes on.
    pub fn is_settled(&self) -> bool {
        !self.more && self.trying.is_none() && self.accounted.open_ms.is_none() && self.alive.is_none()
    }

    /// Slots before this need not be shown: milliseconds since 1970 UTC. At first all are to be: while nobody looked the clock may have
    /// been behind what is accounted for, and a run that a person asked for then may have died.
    pub fn from_ms(&self) -> i64 {
        if self.looked.is_none() { i64::MIN } else { self.accounted.from_ms() }
    }

    /// The zone by which slots are due now, as services.toml names it: what [`SlotsSeen::zone`] has to be.
    pub fn timezone(&self) -> Option<&str> {
        self.accounted.timezone.as_deref()
    }

    /// How long the daemon may wait before it looks again, in awake time: the wall clock may be set and the zone changed meanwhile.
    pub fn wait(&self, now: Moment, zone: &TimeZone) -> Duration {
        if self.more {
            return Duration::ZERO;
        }
        let next = self.calendar.next_after(now.wall_ms, zone);
        let next = next.and_then(|ms| u64::try_from(ms.saturating_sub(now.wall_ms)).ok()).map(Duration::from_millis);
        let again = self.trying.map(|trying| trying.next.since(now.mono));
        [next, again].into_iter().flatten().fold(LOOKS, Duration::min)
    }

    /// Looks. The acts are to be done in their order, and nobody may take a slot meanwhile.
    pub fn step(&mut self, now: Moment, seen: SlotsSeen<'_>) -> Vec<AgendaAct> {
        let (task, calendar) = (Arc::clone(&self.task), Arc::clone(&self.calendar));
        let seen = SlotsSeen { slots: self.that_matter(seen.slots), ..seen };
        let look = Look { task: &task, calendar: &calendar, seen, now };
        self.more = false;
        let mut acts: Vec<AgendaAct> = self.cut_off(seen, now).collect();
        let mut telling = Telling::default();
        self.follow_clock(now);
        let start = if self.change(&mut telling, look) { self.look(&mut telling, look) } else { None };
        self.alive = running(seen.slots).map(|slot| (slot, now.wall_ms));
        let told = telling.told();
        let account = self.account(!told.is_empty(), seen);
        acts.extend(told);
        acts.extend(account.map(AgendaAct::Account));
        // Who is started goes by what is written down.
        acts.extend(start);
        acts
    }

    /// Without what has ended and is accounted for.
    fn that_matter<'a>(&self, slots: &'a [SlotFile]) -> &'a [SlotFile] {
        let from_ms = self.accounted.from_ms();
        let open = slots.iter().position(|file| file.end.is_none() || file.claim.slot.at_ms() >= from_ms);
        &slots[open.unwrap_or(slots.len())..]
    }

    /// Runs that died without a word.
    fn cut_off<'a>(&self, seen: SlotsSeen<'a>, now: Moment) -> impl Iterator<Item = AgendaAct> + use<'a> {
        let alive = self.alive;
        let dead = seen.slots.iter().filter(|file| !file.running && file.end.is_none());
        dead.map(move |file| {
            let seen_alive = alive.filter(|(slot, _)| *slot == file.claim.slot).map(|(_, ms)| ms);
            let ended_ms = seen_alive.map_or_else(|| ended_ms(file), |ms| ms.max(ended_ms(file)));
            let interrupted = || match file.claim.boot_id == seen.boot_id {
                true => "interrupted: its process was killed or has crashed".to_owned(),
                false => "interrupted: the machine lost power or was shut down".to_owned(),
            };
            let end = SlotEnd {
                state: SlotState::Failed,
                why: file.why_cut_off(interrupted),
                ended_ms: ended_ms.min(now.wall_ms.max(file.claim.at.wall_ms)),
                awake_ms: steps_ms(file),
                frozen_ms: 0,
            };
            AgendaAct::CutOff(file.claim.slot, end)
        })
    }

    /// Goes back with the clock, as what was told of a future that was none is due again; and leaves alone what is too old.
    fn follow_clock(&mut self, now: Moment) {
        if is_ahead(self.settled_ms, now) || is_ahead(self.accounted.through_ms, now) {
            (self.unsaved, self.more, self.blind) = (true, true, true);
            (self.trying, self.untold) = (None, None);
        }
        self.settled_ms = after(self.settled_ms, now);
    }

    /// Leaves the calendar that holds no more, and the zone; returns whether the look can go on.
    fn change(&mut self, telling: &mut Telling, look: Look<'_>) -> bool {
        let declared = (calendar_of(look.task), &look.task.timezone);
        if (self.accounted.calendar.as_slice(), &self.accounted.timezone) != declared {
            if self.leave(telling, look, look.now.wall_ms, "the calendar was changed before it was started") {
                (self.accounted.calendar, self.accounted.timezone) = (declared.0.to_vec(), declared.1.clone());
                self.calendar = Arc::new(Calendar::new(declared.0));
                // The zone that is seen is that of the calendar before.
                (self.looked, self.unsaved) = (None, true);
            }
            self.more = true;
            return false;
        }
        let before = self.looked.replace((look.now.wall_ms, look.seen.zone.clone()));
        let Some((looked_ms, zone)) = before.filter(|(_, zone)| zone != look.seen.zone) else { return true };
        let then = Look { seen: SlotsSeen { zone: &zone, ..look.seen }, ..look };
        let until_ms = looked_ms.min(look.now.wall_ms);
        if !self.leave(telling, then, until_ms, "the time zone was changed before it was started") {
            self.looked = Some((looked_ms, zone));
            return false;
        }
        self.unsaved = true;
        true
    }

    /// Leaves what is not taken up to `until_ms`; returns whether that was all.
    fn leave(&mut self, telling: &mut Telling, look: Look<'_>, until_ms: i64, why: &str) -> bool {
        (self.trying, self.untold) = (None, None);
        let last = look.calendar.last_until(until_ms, look.seen.zone).filter(|ms| *ms > self.settled_ms);
        if let Some(last) = last {
            if !self.tell(telling, look, last - 1, None) {
                return false;
            }
            let facts = look.facts(last, false);
            match rule(look.task, &facts) {
                _ if taken(look.seen.slots, last).is_some() => {}
                Ruling::Leave(state) => telling.add(last, state, why_latest(look.task, state, &facts), None),
                _ if is_absent(&facts) => {
                    self.tell(telling, look, last, None);
                }
                // It would have been run: that it is not is somebody's word.
                _ => telling.add(last, SlotState::Cancelled, why.to_owned(), None),
            }
        }
        self.settled_ms = self.settled_ms.max(until_ms);
        true
    }

    /// What becomes of the latest slot, and, when that is settled, of those before it.
    fn look(&mut self, telling: &mut Telling, look: Look<'_>) -> Option<AgendaAct> {
        let Some(latest) = look.latest(self.settled_ms) else {
            self.settle(look.now);
            return None;
        };
        let (stand, left) = match (latest.taken, rule(look.task, &latest.facts)) {
            (Some(file), _) => (Some(file), None),
            (None, Ruling::Leave(state)) => (None, Some(state)),
            (None, ruling) => {
                self.be_patient(telling, look, latest.ms);
                return self.start(look, &latest, ruling);
            }
        };
        if self.tell(telling, look, latest.ms - 1, stand) {
            if let Some(state) = left {
                telling.add(latest.ms, state, why_latest(look.task, state, &latest.facts), None);
            }
            self.settle(look.now);
        }
        None
    }

    /// Nothing up to now is open.
    fn settle(&mut self, now: Moment) {
        (self.trying, self.untold) = (None, None);
        self.settled_ms = self.settled_ms.max(now.wall_ms);
    }

    /// Tells what is before the latest slot when that has not been settled for too long.
    fn be_patient(&mut self, telling: &mut Telling, look: Look<'_>, latest_ms: i64) {
        let first = look.calendar.next_after(self.settled_ms, look.seen.zone);
        if first.is_none_or(|ms| ms >= latest_ms) {
            self.untold = None;
            return;
        }
        let since = *self.untold.get_or_insert(look.now.mono);
        if look.now.mono.since(since) >= PATIENCE && self.tell(telling, look, latest_ms - 1, None) {
            self.untold = None;
        }
    }

    /// Tells what is superseded up to `until_ms`; returns whether that was all.
    fn tell(&mut self, telling: &mut Telling, look: Look<'_>, until_ms: i64, stand: Option<&SlotFile>) -> bool {
        let reached = telling.superseded(look, self.settled_ms, until_ms, stand);
        self.more |= reached < until_ms;
        self.settled_ms = self.settled_ms.max(reached);
        reached >= until_ms
    }

    /// Sees to it that the latest slot is taken.
    fn start(&mut self, look: Look<'_>, latest: &Latest<'_>, ruling: Ruling) -> Option<AgendaAct> {
        let replaces = match ruling {
            Ruling::Run(_) => false,
            Ruling::Replace => true,
            Ruling::Wait | Ruling::Leave(_) => {
                self.trying = None;
                return None;
            }
        };
        let mono = look.now.mono;
        let same = self.trying.filter(|trying| trying.slot == latest.ms);
        let mut trying = same.filter(|trying| trying.replaces == replaces).unwrap_or_else(|| {
            let at_once = replaces || same.is_some();
            let left = if at_once { Duration::ZERO } else { self.left_to_others(look, latest) };
            Trying { slot: latest.ms, replaces, next: mono.plus(left), pause: PAUSE }
        });
        let due = trying.next <= mono;
        if due {
            trying.next = mono.plus(trying.pause);
            trying.pause = trying.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.trying = Some(trying);
        match (due, replaces) {
            (false, _) => None,
            (true, true) => running(look.seen.slots).map(AgendaAct::Replace),
            (true, false) => Some(AgendaAct::Start),
        }
    }

    /// How long others are left to start the slot: whoever has its calendar starts it by itself, if it was there and nothing was in
    /// the way when the slot was due. But it is not waited until the next one is due.
    fn left_to_others(&self, look: Look<'_>, latest: &Latest<'_>) -> Duration {
        if !self.native || is_absent(&latest.facts) || latest.facts.busy_then {
            return Duration::ZERO;
        }
        let next = look.calendar.next_after(latest.ms, look.seen.zone);
        let half = next.map_or(i64::MAX, |next| next.saturating_sub(latest.ms) / 2);
        let within = i64::try_from(look.task.start_within.as_millis()).unwrap_or(i64::MAX).min(half);
        let left = latest.ms.saturating_add(within).saturating_sub(look.now.wall_ms);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// What is to be written down now.
    fn account(&mut self, told: bool, seen: SlotsSeen<'_>) -> Option<Accounted> {
        let blind = std::mem::take(&mut self.blind);
        // Who died without a word has its end before this is written down.
        let open =
            seen.slots.iter().filter(|file| file.running && file.end.is_none()).map(|file| file.claim.slot.at_ms());
        // After the clock was set back, runs that go on may have been taken at times that were not looked at.
        let open_ms = if blind { Some(0) } else { open.min().filter(|ms| *ms <= self.settled_ms) };
        let new = self.accounted.through_ms.saturating_add(1)..=self.settled_ms;
        let passed = seen.slots.iter().any(|file| new.contains(&file.claim.slot.at_ms()));
        let lags = self.settled_ms > self.accounted.through_ms.saturating_add(LAG_MS);
        if !(told || passed || lags || self.unsaved || open_ms != self.accounted.open_ms) {
            return None;
        }
        self.unsaved = false;
        (self.accounted.through_ms, self.accounted.open_ms) = (self.settled_ms, open_ms);
        Some(self.accounted.clone())
    }
}

/// By which a job is due: one that is not to run is never.
fn calendar_of(task: &TaskSpec) -> &[Schedule] {
    if task.enabled { &task.calendar } else { &[] }
}
