//! When the report of the week is due.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The last Monday, 9 o'clock, at or before `now_ms`; both are milliseconds since 1970 UTC.
pub fn weekly_slot(now_ms: i64, zone: &TimeZone) -> i64 {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or_default().to_zoned(zone.clone());
    let back = i64::from(now.weekday().since(Weekday::Monday));
    // Dates at the ends of the calendar have no week before them: then it is due now.
    let monday = |weeks: i64| {
        let date = now.date().checked_sub((back + 7 * weeks).days()).ok()?;
        date.at(9, 0, 0, 0).to_zoned(zone.clone()).ok()
    };
    let slot = monday(0).filter(|slot| *slot <= now).or_else(|| monday(1));
    slot.map_or(now_ms, |slot| slot.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_monday_at_nine() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        for (now, slot) in [
            ("2026-11-22T12:00:00Z", "2026-11-16T07:00:00Z"), // a Sunday
            ("2026-11-23T06:59:59Z", "2026-11-16T07:00:00Z"),
            ("2026-11-23T07:00:00Z", "2026-11-23T07:00:00Z"),
            ("2026-11-23T21:59:00Z", "2026-11-23T07:00:00Z"),
            ("2026-01-01T00:00:00Z", "2025-12-29T07:00:00Z"),
        ] {
            assert_eq!(weekly_slot(ms(now), &zone), ms(slot), "{now}");
        }
    }
}
