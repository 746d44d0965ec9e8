//! The files of slots that are of no use any more go by themselves, whether or not a job has a `prune` step.

use std::io;

use crate::model::{Accounted, UnitName};
use crate::policy::is_day_of_clearing;
use crate::slots::TaskSlots;

/// Writes down up to where everything is accounted for; once a day what is outlived by then is removed.
///
/// # Errors
/// When it cannot be written. What cannot be removed is told in our log, and again the next day.
pub(super) fn account(slots: &TaskSlots, job: &UnitName, accounted: &Accounted) -> io::Result<()> {
    // One that cannot be read is written anew.
    let before = slots.accounted().ok().flatten();
    slots.account(accounted)?;
    if before.is_some_and(|before| is_day_of_clearing(&before, accounted)) {
        match slots.forget() {
            Ok(0) => {}
            Ok(count) => tracing::debug!(%job, count, "old files of slots removed"),
            Err(e) => tracing::warn!(%job, "old files of slots cannot be removed: {e}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::paths::Paths;
    use crate::model::{Claim, SlotEnd, SlotKey, SlotLine, SlotState};
    use crate::slots::Taken;

    const DAY: i64 = 86_400_000;

    #[test]
    fn each_day_what_is_outlived_goes() {
        let folder = tempfile::tempdir().unwrap();
        let job = UnitName::new("job").unwrap();
        let slots = TaskSlots::of(&Paths::new(folder.path()), &job);
        for n in 1..=103 {
            let slot = SlotKey::Due(n * 60_000);
            let claim = Claim::for_tests(slot);
            let Taken::Ours(mut holding) = slots.take(&claim).unwrap() else { panic!("{slot} is taken") };
            // One was cut off, and waits for its end.
            if n > 1 {
                let state = SlotState::Ran;
                let end = SlotEnd { state, why: String::new(), ended_ms: 0, awake_ms: 0, frozen_ms: 0 };
                holding.note(&SlotLine::End(end)).unwrap();
            }
        }
        let left = |through_ms: i64| {
            let accounted = Accounted { v: 1, through_ms, open_ms: None, calendar: Vec::new(), timezone: None };
            account(&slots, &job, &accounted).unwrap();
            assert_eq!(slots.accounted().unwrap(), Some(accounted));
            slots.read(0).unwrap().len()
        };
        assert_eq!(left(DAY), 103);
        assert_eq!(left(40 * DAY), 103, "none is older than that");
        assert_eq!(left(41 * DAY - 1), 103, "this day has been looked at");
        assert_eq!(left(41 * DAY), 101, "the newest hundred stay, and what has no end");
    }
}
