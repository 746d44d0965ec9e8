//! How long the files of a job's slots are kept after their end.
//!
//! While a slot's file is there nobody runs it again. The calendar alone keeps nobody from that when the clock is set back: what is
//! due a second time then was run once already (see [`crate::model::Accounted`], which goes back with the clock). So they are kept for as
//! far as a clock may be set back; of a clock that was wrong by more, what has run last is known still. A failed run can be gone on
//! with for as long.

use std::time::Duration;

use crate::model::Accounted;

/// By so much may a clock be set back without any slot being run twice.
pub const SLOTS_KEPT: Duration = Duration::from_secs(40 * 86_400);

/// So many of each job are kept, however old.
const NEWEST: usize = 100;

const DAY_MS: i64 = 86_400_000;

/// The files of all slots from there on are kept: milliseconds since 1970 UTC.
pub fn slots_kept_from(accounted: &Accounted) -> i64 {
    let kept_ms = i64::try_from(SLOTS_KEPT.as_millis()).unwrap_or(i64::MAX);
    accounted.from_ms().min(accounted.through_ms.saturating_sub(kept_ms))
}

/// Whether the file of a slot that was due at `at_ms`, and has ended, is of no use any more; `newer`: files of the job that are newer.
pub fn is_outlived(accounted: &Accounted, at_ms: i64, newer: usize) -> bool {
    newer >= NEWEST && at_ms < slots_kept_from(accounted)
}

/// Whether it is time to look which are, when `now` is written down after `before`: once a day.
pub fn is_day_of_clearing(before: &Accounted, now: &Accounted) -> bool {
    before.through_ms.div_euclid(DAY_MS) != now.through_ms.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_and_not_among_the_newest_is_outlived() {
        let now = 1_000 * DAY_MS;
        let accounted =
            |through_ms, open_ms| Accounted { v: 1, through_ms, open_ms, calendar: Vec::new(), timezone: None };
        for (age, newer, open, outlived) in [
            (41, 100, None, true),
            (41, 99, None, false),
            (40, 5000, None, false),
            // A run that goes on: what was due since it began is looked at.
            (41, 100, Some(45), false),
            (46, 100, Some(45), true),
        ] {
            let accounted = accounted(now, open.map(|age| now - age * DAY_MS));
            assert_eq!(is_outlived(&accounted, now - age * DAY_MS, newer), outlived, "{age} {newer} {open:?}");
        }
        for (before, after, is_time) in [
            (0, DAY_MS - 1, false),
            (DAY_MS - 1, DAY_MS, true),
            (DAY_MS, 0, true),
            (-1, 0, true),
            (5, 9 * DAY_MS, true),
        ] {
            let (before, after) = (accounted(before, None), accounted(after, None));
            assert_eq!(is_day_of_clearing(&before, &after), is_time, "{before:?} {after:?}");
        }
    }
}
