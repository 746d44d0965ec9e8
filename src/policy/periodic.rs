//! What comes back about once a day is a habit, not a fault.

use std::time::Duration;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How far a gap may be from whole days.
const SLACK_MS: i64 = 4 * 60 * 60 * 1000;

/// Fewer ends tell of no habit.
const LEAST: usize = 4;

/// A gap of more days (a machine that was off over a long weekend) is none of a habit.
const MOST_DAYS: i64 = 3;

/// Whether ends at these times (milliseconds since 1970 UTC, oldest first, of about a week) come about daily: the mean time
/// from one day's to the next. Days on which nothing ran may be missing.
pub fn periodic(ends_ms: &[i64]) -> Option<Duration> {
    if ends_ms.len() < LEAST {
        return None;
    }
    let mut days = 0;
    for pair in ends_ms.windows(2) {
        let gap = pair[1].checked_sub(pair[0])?;
        let whole = (gap + DAY_MS / 2) / DAY_MS;
        if !(1..=MOST_DAYS).contains(&whole) || (gap - whole * DAY_MS).abs() > SLACK_MS {
            return None;
        }
        days += whole;
    }
    let whole = ends_ms.last()?.checked_sub(*ends_ms.first()?)?;
    u64::try_from(whole / days).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 60 * 60 * 1000;

    fn of_hours(hours: &[i64]) -> Option<u64> {
        let ends: Vec<i64> = hours.iter().map(|hour| 1_763_800_000_000 + hour * HOUR_MS).collect();
        periodic(&ends).map(|mean| mean.as_secs() / 3600)
    }

    #[test]
    fn about_daily_is_periodic_and_nothing_else() {
        let table: &[(&[i64], Option<u64>)] = &[
            (&[0, 24, 48, 72, 96, 120], Some(24)),
            (&[0, 26, 50, 78, 100], Some(25)),
            (&[0, 24, 72, 96], Some(24)),     // off for a day
            (&[0, 24, 120, 144, 168], None),  // off for four
            (&[0, 28, 56, 84], Some(28)),     // at the edge
            (&[0, 29, 58, 87], None),         // beyond it
            (&[0, 12, 24, 36, 48, 60], None), // twice a day
            (&[0, 24, 25, 48, 72], None),     // with one more
            (&[0, 24, 48], None),             // too few
            (&[], None),
        ];
        for (hours, wanted) in table {
            assert_eq!(of_hours(hours), *wanted, "{hours:?}");
        }
    }
}
