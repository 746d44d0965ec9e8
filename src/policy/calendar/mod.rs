//! When a calendar job is due. Pure: time and zone are arguments, all `_ms` are milliseconds since 1970 UTC and slots whole minutes.
//!
//! A time that a change of the clock leaves out is due at the first minute after the gap, one that comes twice is due once, the first
//! time; what is meant as an interval runs in both halves of a fold, and nothing of it is moved.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{CalendarFields, CalendarRule, Schedule};

/// The union of a job's schedules, ready to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    rules: Vec<CalendarRule>,
}

impl Calendar {
    /// Of these entries.
    pub fn new(entries: &[Schedule]) -> Self {
        let rule = |entry: &Schedule| match entry {
            Schedule::Words { rule, .. } => *rule,
            Schedule::Table(table) => {
                let bit = |value: Option<u8>, all: u64| value.map_or(all, |value| 1_u64 << value);
                CalendarRule::Fields(CalendarFields {
                    minutes: bit(table.minute, (1 << 60) - 1),
                    hours: u32::try_from(bit(table.hour, 0xff_ffff)).unwrap_or(u32::MAX),
                    days: u32::try_from(bit(table.day, 0xffff_fffe)).unwrap_or(u32::MAX),
                    months: u16::try_from(bit(table.month, 0x1ffe)).unwrap_or(u16::MAX),
                    weekdays: u8::try_from(bit(table.weekday.map(|day| day % 7), 0x7f)).unwrap_or(u8::MAX),
                    stepped: table.hour.is_none(),
                })
            }
        };
        Self { rules: entries.iter().map(rule).collect() }
    }

    /// The first slot after `ms`; `None` when there is none within the calendar's years.
    pub fn next_after(&self, ms: i64, zone: &TimeZone) -> Option<i64> {
        let first = ms.div_euclid(60_000) + 1;
        (first..first + 400 * 1440).map(|minute| minute * 60_000).find(|ms| self.is_due(*ms, zone))
    }

    /// The last slot at or before `ms`.
    pub fn last_until(&self, ms: i64, zone: &TimeZone) -> Option<i64> {
        let last = ms.div_euclid(60_000);
        (last - 400 * 1440..=last).rev().map(|minute| minute * 60_000).find(|ms| self.is_due(*ms, zone))
    }

    fn is_due(&self, ms: i64, zone: &TimeZone) -> bool {
        let at = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(zone.clone());
        let has = |set: u64, value: i8| set >> value & 1 == 1;
        self.rules.iter().any(|rule| match rule {
            CalendarRule::Every { minutes } => ms.div_euclid(60_000) % i64::from(*minutes) == 0,
            CalendarRule::Fields(fields) => {
                has(fields.minutes, at.minute())
                    && has(fields.hours.into(), at.hour())
                    && has(fields.months.into(), at.month())
                    && has(fields.days.into(), at.day())
                    && has(fields.weekdays.into(), at.weekday().to_sunday_zero_offset())
            }
        })
    }
}
