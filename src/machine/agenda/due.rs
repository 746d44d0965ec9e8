//! What becomes of the latest slot: the one decision that `supervisor exec TASK` and the daemon share, so that two triggers never
//! disagree.

use crate::model::{Accounted, Moment, SlotFile, SlotKey, TaskSpec};
use crate::policy::{Attendance, Calendar, Presence, Ruling, SlotFacts, rule};

use super::{Decision, SlotsSeen};

/// Everything a look at a job's slots goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub task: &'a TaskSpec,
    pub calendar: &'a Calendar,
    pub seen: SlotsSeen<'a>,
    pub now: Moment,
}

/// What is accounted for lies this far ahead of now: the clock was set back, milliseconds. Time services step it by less, and so
/// little makes no slot due twice.
pub(super) const SET_BACK_MS: i64 = 2 * 60_000;

/// Slots that are older are none, milliseconds: a clock that was wrong by more than a year has missed nothing in it, and no job makes
/// up for what is so old.
pub(super) const OLDEST_MS: i64 = 400 * 86_400_000;

/// The latest slot that is due.
#[derive(Debug)]
pub(super) struct Latest<'a> {
    pub ms: i64,
    pub taken: Option<&'a SlotFile>,
    pub facts: SlotFacts,
}

/// Decides, for `supervisor exec TASK`: the caller keeps everybody else from deciding meanwhile.
///
/// What is due goes by the calendar in `Accounted`, also when the job is declared otherwise by now: it changes when the daemon has
/// seen the new one. Before a daemon has ever looked nothing is due.
pub fn decide(task: &TaskSpec, accounted: Option<&Accounted>, seen: SlotsSeen<'_>, now: Moment) -> Decision {
    let Some(accounted) = accounted.filter(|_| task.enabled) else { return Decision::Nothing };
    let calendar = Calendar::new(&accounted.calendar);
    let look = Look { task, calendar: &calendar, seen, now };
    match look.latest(after(accounted.through_ms, now)) {
        Some(latest) if latest.taken.is_none() => match rule(task, &latest.facts) {
            Ruling::Run(timing) => Decision::Run { slot: SlotKey::Due(latest.ms), timing },
            Ruling::Wait | Ruling::Replace => Decision::Busy,
            Ruling::Leave(_) => Decision::Nothing,
        },
        _ if running(seen.slots).is_some() => Decision::Busy,
        _ => Decision::Nothing,
    }
}

/// From where on slots are due, when everything up to `through_ms` is accounted for.
pub(super) fn after(through_ms: i64, now: Moment) -> i64 {
    let through_ms = if is_ahead(through_ms, now) { now.wall_ms } else { through_ms };
    through_ms.max(now.wall_ms.saturating_sub(OLDEST_MS))
}

/// Whether the clock was set back since that was accounted for.
pub(super) fn is_ahead(through_ms: i64, now: Moment) -> bool {
    through_ms > now.wall_ms.saturating_add(SET_BACK_MS)
}

impl<'a> Look<'a> {
    /// The latest slot after `after_ms` that is due now.
    pub(super) fn latest(self, after_ms: i64) -> Option<Latest<'a>> {
        let ms = self.calendar.last_until(self.now.wall_ms, self.seen.zone).filter(|ms| *ms > after_ms)?;
        Some(Latest { ms, taken: taken(self.seen.slots, ms), facts: self.facts(ms, false) })
    }

    /// What is known of the slot at `ms`.
    pub(super) fn facts(self, ms: i64, superseded: bool) -> SlotFacts {
        let seen = self.seen;
        let others = || seen.slots.iter().filter(|file| file.claim.slot != SlotKey::Due(ms));
        SlotFacts {
            due_ms: ms,
            now_ms: self.now.wall_ms,
            superseded,
            attendance: Presence::at(seen.presence, ms, self.now, seen.boot_id),
            busy_then: others().any(|file| file.claim.at.wall_ms <= ms && (file.running || ms < ended_ms(file))),
            busy_now: others().any(|file| file.running),
            held: seen.held,
        }
    }
}

/// Whether somebody was missing when the slot was due.
pub(super) fn is_absent(facts: &SlotFacts) -> bool {
    facts.attendance != Attendance::There
}

/// The file of the slot at `ms`.
pub(super) fn taken(slots: &[SlotFile], ms: i64) -> Option<&SlotFile> {
    let from = slots.partition_point(|file| file.claim.slot.at_ms() < ms);
    let mut at = slots[from..].iter().take_while(|file| file.claim.slot.at_ms() == ms);
    at.find(|file| file.claim.slot == SlotKey::Due(ms))
}

/// The run that goes on.
pub(super) fn running(slots: &[SlotFile]) -> Option<SlotKey> {
    slots.iter().find(|file| file.running).map(|file| file.claim.slot)
}

/// When a run ended, or is last known to have lived. By how long it took: the clock may have been set meanwhile.
pub(super) fn ended_ms(file: &SlotFile) -> i64 {
    let begun = file.began_ms.unwrap_or(file.claim.at.wall_ms);
    let took = file.end.as_ref().map_or_else(|| steps_ms(file), |end| end.awake_ms.saturating_add(end.frozen_ms));
    let known = begun.saturating_add_unsigned(took);
    file.end.as_ref().map_or(known, |end| end.ended_ms.min(known))
}

/// How long the steps took that have ended, in awake time, milliseconds.
pub(super) fn steps_ms(file: &SlotFile) -> u64 {
    file.steps.iter().fold(0, |sum, step| sum.saturating_add(step.awake_ms))
}
