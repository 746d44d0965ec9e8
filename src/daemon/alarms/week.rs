//! The report of the week.

use jiff::tz::TimeZone;

use super::{Alarms, Heard};
use crate::machine::alerts::{Week, WeekOf, weekly_lines};
use crate::model::Moment;
use crate::policy::{periodic, weekly_slot};
use crate::store::{Ledger, StoreError};

const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

impl Alarms {
    /// The report of the week, once it is Monday.
    pub(super) fn report_week(&mut self, ledger: &mut Ledger, at: Moment) -> Result<(), StoreError> {
        const SLOT: &str = "weekly_report_ms";
        /// More ends than this in a week are no habit.
        const MOST: u64 = 50;
        if !self.spec.weekly {
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
}
