//! The report of the week, and those that calendar jobs make: they are told in one way, and where a job makes them, by that alone.

use jiff::tz::TimeZone;

use super::{Alarms, Answer, Heard, not_on_record};
use crate::machine::alerts::{Week, WeekOf, weekly_lines};
use crate::model::wire::{AlertReply, DigestBody};
use crate::model::{BuiltinStep, Fleet, Moment, StepAction};
use crate::policy::{periodic, weekly_slot};
use crate::store::{Ledger, StoreError};

const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

impl Alarms {
    /// The report of the week, once it is Monday.
    pub(super) fn report_week(&mut self, ledger: &mut Ledger, at: Moment) -> Result<(), StoreError> {
        const SLOT: &str = "weekly_report_ms";
        /// More ends than this in a week are no habit.
        const MOST: u64 = 50;
        if !self.spec.weekly || self.has_digest {
            return Ok(());
        }
        let slot = weekly_slot(at.wall_ms, &TimeZone::system());
        // One that is still to come was written down by a clock that was wrong.
        match ledger.meta_get::<i64>(SLOT)?.filter(|last| *last <= at.wall_ms) {
            Some(last) if last >= slot => {}
            // The first week begins with the first start.
            None => ledger.meta_set(SLOT, &slot)?,
            Some(last) => {
                // After a holiday the report is about the last week, and not about all of them.
                let from = last.max(slot - WEEK_MS);
                let ends = ledger.ends(from, slot, MOST)?.into_iter();
                let units =
                    ends.map(|ends| (ends.unit, WeekOf { counts: ends.counts, periodic: periodic(&ends.unwanted_ms) }));
                let open = self.open().map(|alert| alert.title.clone()).collect();
                let lines = weekly_lines(&Week { units: units.collect(), fired: ledger.fired(from, slot)?, open });
                let key = format!("week-{slot}");
                self.hear(Some(&mut *ledger), Heard::Weekly { key: &key, lines })?;
                ledger.meta_set(SLOT, &slot)?;
            }
        }
        Ok(())
    }

    /// A calendar job has made a report.
    pub(in crate::daemon) fn digested(
        &mut self,
        ledger: Option<&mut Ledger>,
        body: DigestBody,
        answer: Answer<AlertReply>,
    ) -> Result<(), StoreError> {
        // From memory it might go out twice: whoever sends it tries again.
        let Some(ledger) = ledger else {
            drop(answer.send(Err(not_on_record())));
            return Ok(());
        };
        let key = format!("digest-{}", body.key);
        self.hear(Some(ledger), Heard::Weekly { key: &key, lines: body.lines })?;
        drop(answer.send(Ok(AlertReply { done: vec!["the report is on its way".into()], ..AlertReply::default() })));
        Ok(())
    }
}

/// Whether a calendar job of these makes reports.
pub(super) fn has_digest(fleet: &Fleet) -> bool {
    let steps = fleet.tasks.iter().filter(|task| task.enabled).flat_map(|task| &task.steps);
    let mut actions = steps.map(|step| &step.action);
    actions.any(|action| matches!(action, StepAction::Builtin(BuiltinStep::Digest { .. })))
}
