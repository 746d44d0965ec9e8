//! The civil side of a rule: which minutes of which days, without any zone. Searching jumps by months, days, hours.

use jiff::civil::{Date, DateTime};

use crate::model::CalendarFields;

const ALL_DAYS: u32 = CalendarFields::ANY.days;
const ALL_WEEKDAYS: u8 = CalendarFields::ANY.weekdays;

/// Years that are searched: 29 February may be eight years away, and with a weekday nothing is further away than this.
const YEARS: i32 = 400;

/// Minutes of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Days {
    /// For each hour the set of its minutes.
    times: [u64; 24],
    days: u32,
    months: u16,
    weekdays: u8,
}

impl Days {
    pub(super) fn of_fields(fields: &CalendarFields) -> Self {
        let hour = |hour: usize| if fields.hours >> hour & 1 == 1 { fields.minutes } else { 0 };
        Self {
            times: std::array::from_fn(hour),
            days: fields.days & ALL_DAYS,
            months: fields.months,
            weekdays: fields.weekdays & ALL_WEEKDAYS,
        }
    }

    /// Every day from midnight on, so many minutes apart.
    pub(super) fn every(minutes: u32) -> Self {
        let mut times = [0_u64; 24];
        for minute in (0..1440).step_by(usize::try_from(minutes).unwrap_or(1440).max(1)) {
            times[minute / 60] |= 1 << (minute % 60);
        }
        Self { times, days: ALL_DAYS, months: CalendarFields::ANY.months, weekdays: ALL_WEEKDAYS }
    }

    /// The first of its minutes at or after `from`, which is a whole minute.
    pub(super) fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let date = self.day_from(from.date())?;
        if date == from.date()
            && let Some(at) = self.time_from(date, from.hour(), from.minute())
        {
            return Some(at);
        }
        let date = if date == from.date() { self.day_from(date.tomorrow().ok()?)? } else { date };
        self.time_from(date, 0, 0)
    }

    /// The last of its minutes at or before `until`, which is a whole minute.
    pub(super) fn last_until(&self, until: DateTime) -> Option<DateTime> {
        let date = self.day_until(until.date())?;
        if date == until.date()
            && let Some(at) = self.time_until(date, until.hour(), until.minute())
        {
            return Some(at);
        }
        let date = if date == until.date() { self.day_until(date.yesterday().ok()?)? } else { date };
        self.time_until(date, 23, 59)
    }

    fn time_from(&self, date: Date, hour: i8, minute: i8) -> Option<DateTime> {
        let mut left = u64::MAX << minute;
        for (hour, minutes) in (0_i8..).zip(self.times).skip(usize::try_from(hour).ok()?) {
            let found = minutes & left;
            if found != 0 {
                return Some(date.at(hour, i8::try_from(found.trailing_zeros()).ok()?, 0, 0));
            }
            left = u64::MAX;
        }
        None
    }

    fn time_until(&self, date: Date, hour: i8, minute: i8) -> Option<DateTime> {
        let mut left = u64::MAX >> (63 - minute);
        for hour in (0..=hour).rev() {
            let found = self.times[usize::try_from(hour).ok()?] & left;
            if found != 0 {
                return Some(date.at(hour, i8::try_from(found.ilog2()).ok()?, 0, 0));
            }
            left = u64::MAX;
        }
        None
    }

    fn day_from(&self, from: Date) -> Option<Date> {
        let (mut year, mut month, mut left) = (i32::from(from.year()), from.month(), u32::MAX << from.day());
        let last = year + YEARS;
        while year <= last {
            if self.months >> month & 1 == 1 {
                let found = self.days_of(year, month)? & left;
                if found != 0 {
                    return date(year, month, found.trailing_zeros());
                }
            }
            left = u32::MAX;
            month += 1;
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        None
    }

    fn day_until(&self, until: Date) -> Option<Date> {
        let (mut year, mut month, mut left) = (i32::from(until.year()), until.month(), u32::MAX >> (31 - until.day()));
        let first = year - YEARS;
        while year >= first {
            if self.months >> month & 1 == 1 {
                let found = self.days_of(year, month)? & left;
                if found != 0 {
                    return date(year, month, found.ilog2());
                }
            }
            left = u32::MAX;
            month -= 1;
            if month < 1 {
                (year, month) = (year - 1, 12);
            }
        }
        None
    }

    /// The days of a month on which it is due: bit n is day n. `None` beyond the calendar's years.
    fn days_of(&self, year: i32, month: i8) -> Option<u32> {
        let first = Date::new(i16::try_from(year).ok()?, month, 1).ok()?;
        let there = (u32::MAX >> (31 - first.days_in_month())) & ALL_DAYS;
        // Day n has the weekday of the first, n - 1 further.
        let on_weekdays = (0..7).filter(|day| self.weekdays >> day & 1 == 1).fold(0_u32, |days, weekday| {
            let offset = (7 + weekday - i32::from(first.weekday().to_sunday_zero_offset())) % 7;
            // The days 1, 8, 15, 22 and 29, as many further.
            days | 0x2040_8102 << offset
        });
        let days = match (self.days == ALL_DAYS, self.weekdays == ALL_WEEKDAYS) {
            (true, true) => ALL_DAYS,
            (true, false) => on_weekdays,
            (false, true) => self.days,
            (false, false) => self.days | on_weekdays,
        };
        Some(days & there)
    }
}

fn date(year: i32, month: i8, day: u32) -> Option<Date> {
    Date::new(i16::try_from(year).ok()?, month, i8::try_from(day).ok()?).ok()
}
