//! When a calendar job is due. Pure: time and zone are arguments, all `_ms` are milliseconds since 1970 UTC and slots whole minutes.
//!
//! A time that a change of the clock leaves out is due at the first minute after the gap, one that comes twice is due once, the first
//! time; what is meant as an interval runs in both halves of a fold, and nothing of it is moved.
//!
//! Minutes are searched on the civil calendar (`days`) and then placed in time, so that a search costs a few lookups of the zone,
//! however far away the next slot is.

mod days;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::model::{CalendarFields, CalendarRule, CalendarTable, Schedule};
use days::Days;

const MINUTE_MS: i64 = 60_000;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Longer than any clock was ever set back at once, but for the few places that changed the side of the date line.
const LONGEST_FOLD_MS: i64 = 25 * 60 * MINUTE_MS;

/// The union of a job's schedules, ready to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// Each of its minutes once, wherever the clock leads.
    Fixed(Days),
    /// Whenever the clock shows one of its minutes.
    Stepped(Days),
    /// So many minutes of elapsed time apart.
    Elapsed(i64),
}

impl Calendar {
    /// Of these entries.
    pub fn new(entries: &[Schedule]) -> Self {
        let rule = |entry: &Schedule| match entry {
            Schedule::Words { rule, .. } => Rule::of(rule),
            Schedule::Table(table) => Rule::of(&CalendarRule::Fields(table_fields(table))),
        };
        Self { rules: entries.iter().map(rule).collect() }
    }

    /// The first slot after `ms`; `None` when there is none within the calendar's years.
    pub fn next_after(&self, ms: i64, zone: &TimeZone) -> Option<i64> {
        let minute = ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        self.rules.iter().filter_map(|rule| rule.next_after(minute, zone)).min().map(slot)
    }

    /// The last slot at or before `ms`.
    pub fn last_until(&self, ms: i64, zone: &TimeZone) -> Option<i64> {
        let minute = ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        self.rules.iter().filter_map(|rule| rule.last_until(minute, zone)).max().map(slot)
    }
}

/// The slot of a moment: local minutes begin within those of UTC where the zone's offset has seconds (the last was Liberia's, to 1972).
fn slot(ms: i64) -> i64 {
    ms.div_euclid(MINUTE_MS) * MINUTE_MS + if ms.rem_euclid(MINUTE_MS) > 0 { MINUTE_MS } else { 0 }
}

/// What launchd's table says: what is absent is any.
pub fn table_fields(table: &CalendarTable) -> CalendarFields {
    let set = |value: Option<u8>, all: u64| value.map_or(all, |value| 1 << value);
    let low = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
    let any = CalendarFields::ANY;
    let weekday = table.weekday.map(|day| day % 7);
    CalendarFields {
        minutes: set(table.minute, any.minutes),
        hours: low(set(table.hour, any.hours.into())),
        days: low(set(table.day, any.days.into())),
        months: u16::try_from(set(table.month, any.months.into())).unwrap_or(any.months),
        weekdays: u8::try_from(set(weekday, any.weekdays.into())).unwrap_or(any.weekdays),
        stepped: table.hour.is_none() || table.minute.is_none(),
    }
}

impl Rule {
    fn of(rule: &CalendarRule) -> Self {
        match rule {
            CalendarRule::Fields(fields) if fields.stepped => Self::Stepped(Days::of_fields(fields)),
            CalendarRule::Fields(fields) => Self::Fixed(Days::of_fields(fields)),
            CalendarRule::Every { minutes } if *minutes > 0 && 1440 % minutes == 0 => {
                Self::Stepped(Days::every(*minutes))
            }
            CalendarRule::Every { minutes } => Self::Elapsed(i64::from(*minutes).max(1) * MINUTE_MS),
        }
    }

    fn next_after(&self, ms: i64, zone: &TimeZone) -> Option<i64> {
        match self {
            Self::Elapsed(step) => (ms.div_euclid(*step) + 1).checked_mul(*step),
            Self::Fixed(days) => {
                let mut from = minute_of(reading(ms, zone)?);
                loop {
                    from = days.first_from(from.checked_add(MINUTE).ok()?)?;
                    let due = placed(from, zone)?;
                    if due > ms {
                        return Some(due);
                    }
                    // The second half of a fold: what its readings stand for was in the first.
                    from = from.max(last_of_fold(from, zone)?);
                }
            }
            Self::Stepped(days) => next_shown(days, ms, zone),
        }
    }

    fn last_until(&self, ms: i64, zone: &TimeZone) -> Option<i64> {
        match self {
            Self::Elapsed(step) => ms.div_euclid(*step).checked_mul(*step),
            Self::Fixed(days) => {
                let now = minute_of(reading(ms, zone)?);
                // In the second half of a fold all of the first is past.
                let shown_twice = matches!(ambiguous(now, zone), AmbiguousOffset::Fold { after, .. } if offset(ms, zone) == Some(after));
                let until = if shown_twice { now.max(last_of_fold(now, zone)?) } else { now };
                placed(days.last_until(until)?, zone).filter(|due| *due <= ms)
            }
            Self::Stepped(days) => last_shown(days, ms, zone),
        }
    }
}

/// The first time after `ms` at which the clock shows one of these minutes.
fn next_shown(days: &Days, ms: i64, zone: &TimeZone) -> Option<i64> {
    let mut ms = ms;
    loop {
        let here = offset(ms, zone)?;
        let from = minute_of(here.to_datetime(timestamp(ms)?)).checked_add(MINUTE).ok()?;
        let found = days.first_from(from)?;
        let due = at(found, here)?;
        if offset(ms + LONGEST_FOLD_MS, zone)? == here {
            // No clock is set soon, so nothing shown before comes again until then: the civil order is that of time.
            match ambiguous(found, zone) {
                AmbiguousOffset::Unambiguous { offset } => return at(found, offset),
                AmbiguousOffset::Fold { before, after } => {
                    return at(found, before).filter(|due| *due > ms).or_else(|| at(found, after));
                }
                // Never shown: on from the end of the gap, which itself may be one.
                AmbiguousOffset::Gap { before, .. } => ms = change_until(at(found, before)?, zone)? - MINUTE_MS,
            }
        } else {
            let change = zone.following(timestamp(ms)?).next()?.timestamp().as_millisecond();
            if due < change {
                return Some(due);
            }
            // From there on it goes by the new offset; the moment of the change is the first that does.
            let shown = offset(change, zone)?.to_datetime(timestamp(change)?);
            if days.first_from(minute_of(shown)) == Some(minute_of(shown)) {
                return Some(change);
            }
            ms = change;
        }
    }
}

/// The last time at or before `ms` at which the clock showed one of these minutes.
fn last_shown(days: &Days, ms: i64, zone: &TimeZone) -> Option<i64> {
    let mut ms = ms;
    loop {
        let here = offset(ms, zone)?;
        let found = days.last_until(minute_of(here.to_datetime(timestamp(ms)?)))?;
        let due = at(found, here)?;
        if offset(ms - LONGEST_FOLD_MS, zone)? == here {
            match ambiguous(found, zone) {
                AmbiguousOffset::Unambiguous { offset } => return at(found, offset),
                AmbiguousOffset::Fold { before, after } => {
                    return at(found, after).filter(|due| *due <= ms).or_else(|| at(found, before));
                }
                AmbiguousOffset::Gap { before, .. } => ms = change_until(at(found, before)?, zone)? - MINUTE_MS,
            }
        } else {
            let change = change_until(ms, zone)?;
            if due >= change {
                return Some(due);
            }
            ms = change - MINUTE_MS;
        }
    }
}

/// The last change of the clock at or before `ms`.
fn change_until(ms: i64, zone: &TimeZone) -> Option<i64> {
    Some(zone.preceding(timestamp(ms + 1)?).next()?.timestamp().as_millisecond())
}

/// When a minute of the civil calendar is due that is due once: after a gap that leaves it out, and the first time in a fold.
fn placed(minute: DateTime, zone: &TimeZone) -> Option<i64> {
    match ambiguous(minute, zone) {
        AmbiguousOffset::Unambiguous { offset } => at(minute, offset),
        AmbiguousOffset::Fold { before, .. } => at(minute, before),
        AmbiguousOffset::Gap { before, .. } => change_until(at(minute, before)?, zone),
    }
}

/// The last reading of the fold that `minute` is in; itself when it is in none.
fn last_of_fold(minute: DateTime, zone: &TimeZone) -> Option<DateTime> {
    let AmbiguousOffset::Fold { before, .. } = ambiguous(minute, zone) else { return Some(minute) };
    let first = timestamp(at(minute, before)?)?;
    let change = zone.following(first).next()?.timestamp();
    before.to_datetime(change).checked_sub(MINUTE).ok()
}

fn ambiguous(minute: DateTime, zone: &TimeZone) -> AmbiguousOffset {
    zone.to_ambiguous_timestamp(minute).offset()
}

fn timestamp(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

fn offset(ms: i64, zone: &TimeZone) -> Option<Offset> {
    Some(zone.to_offset(timestamp(ms)?))
}

fn reading(ms: i64, zone: &TimeZone) -> Option<DateTime> {
    Some(zone.to_datetime(timestamp(ms)?))
}

fn at(minute: DateTime, offset: Offset) -> Option<i64> {
    Some(offset.to_timestamp(minute).ok()?.as_millisecond())
}

/// The minute that a reading is in.
fn minute_of(reading: DateTime) -> DateTime {
    reading.date().at(reading.hour(), reading.minute(), 0, 0)
}

#[cfg(test)]
mod tests;
