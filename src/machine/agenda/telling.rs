//! Slots that are not run any more, in groups that are told as one.

use crate::model::{CatchUp, SlotFile, SlotKey, SlotState, TaskSpec, Timing};
use crate::policy::{Attendance, Ruling, SlotFacts, rule};

use super::AgendaAct;
use super::due::{Look, is_absent, taken};

/// Slots in one record.
const GROUP: usize = 500;

/// Slots that are told in one look; the next goes on.
const AT_ONCE: usize = 20_000;

/// Groups that are being filled.
#[derive(Debug, Default)]
pub(super) struct Telling {
    open: Vec<Group>,
    acts: Vec<AgendaAct>,
    count: usize,
}

#[derive(Debug)]
struct Group {
    state: SlotState,
    why: String,
    made_up_by: Option<SlotKey>,
    slots: Vec<i64>,
}

impl Telling {
    /// Tells what nobody took of the slots after `after_ms` up to `until_ms`, all of them superseded; returns up to where it came.
    pub(super) fn superseded(&mut self, look: Look<'_>, after_ms: i64, until_ms: i64, stand: Option<&SlotFile>) -> i64 {
        let mut at = after_ms;
        while let Some(ms) = look.calendar.next_after(at, look.seen.zone).filter(|ms| *ms <= until_ms) {
            if self.count >= AT_ONCE {
                return at;
            }
            at = ms;
            self.count += 1;
            if taken(look.seen.slots, ms).is_some() {
                continue;
            }
            let facts = look.facts(ms, true);
            if let Ruling::Leave(state) = rule(look.task, &facts) {
                let missed = matches!(state, SlotState::MissedAsleep | SlotState::MissedOff);
                let stand = stand.filter(|stand| missed && stands(look.task, stand, ms));
                self.add(ms, state, why(state, facts.attendance).to_owned(), stand.map(|stand| stand.claim.slot));
            }
        }
        until_ms
    }

    /// Tells one.
    pub(super) fn add(&mut self, ms: i64, state: SlotState, why: String, made_up_by: Option<SlotKey>) {
        let same = |group: &Group| group.state == state && group.made_up_by == made_up_by && group.why == why;
        match self.open.iter_mut().find(|group| same(group)) {
            Some(group) => {
                group.slots.push(ms);
                if group.slots.len() >= GROUP {
                    let slots = std::mem::take(&mut group.slots);
                    self.acts.push(AgendaAct::Missed { slots, state, why, made_up_by });
                }
            }
            None => self.open.push(Group { state, why, made_up_by, slots: vec![ms] }),
        }
    }

    /// All of them.
    pub(super) fn told(self) -> Vec<AgendaAct> {
        let rest = self.open.into_iter().filter(|group| !group.slots.is_empty());
        let told =
            rest.map(|Group { slots, state, why, made_up_by }| AgendaAct::Missed { slots, state, why, made_up_by });
        self.acts.into_iter().chain(told).collect()
    }
}

/// Whether a run stands for the missed slot at `ms`: one that catches up does so for all of them.
fn stands(task: &TaskSpec, run: &SlotFile, ms: i64) -> bool {
    match task.catch_up {
        CatchUp::Skip => false,
        CatchUp::Once => true,
        CatchUp::Within(most) => {
            let age = u128::try_from(run.claim.at.wall_ms.saturating_sub(ms)).unwrap_or(0);
            run.claim.timing == Timing::CaughtUp || age <= most.as_millis()
        }
    }
}

/// Why a slot was left that a later one has superseded.
pub(super) fn why(state: SlotState, attendance: Attendance) -> &'static str {
    match (state, attendance) {
        (SlotState::SkippedOverlap, _) => "the run before still went on",
        (SlotState::Cancelled, _) => "the job was held back",
        (_, Attendance::Asleep) => "the machine slept",
        (_, Attendance::Off) => "the machine was off",
        (_, Attendance::Unwatched) => "the supervisor was not running",
        (_, Attendance::SetOver) => "the clock was set forward over it",
        (_, Attendance::There) => "it was not started before the next one was due",
    }
}

/// Why the latest slot was left.
pub(super) fn why_latest(task: &TaskSpec, state: SlotState, facts: &SlotFacts) -> String {
    let why = why(state, facts.attendance);
    match (state, task.catch_up) {
        (SlotState::MissedAsleep | SlotState::MissedOff, CatchUp::Within(_)) if is_absent(facts) => {
            format!("{why}, and it is longer ago than catch_up makes up for")
        }
        _ => why.to_owned(),
    }
}
