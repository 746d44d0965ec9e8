//! The form of a calendar entry: words, a cron line, or launchd's table. Only what can be said without a clock is said
//! here; when an entry is due is the calendar policy's matter.
//!
//! Words, in any case: `daily HH:MM`; `DAYS HH:MM` with days such as `Mon`, `Mon..Fri` or `Mon,Wed,Fri`;
//! `weekly DAY HH:MM`; `monthly D HH:MM`; `every DURATION` in whole minutes up to a day. Else five cron fields: minute,
//! hour, day, month, weekday, each `*`, `N`, `N-M`, either of them with `/STEP`, or a list of those with commas; months
//! and weekdays by their three-letter names too.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::code;
use super::units::{self, Wrong, quoted};
use crate::model::{CalendarFields, CalendarRule, CalendarTable};

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Days of each month in the year that has most.
const LONGEST: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const FORMS: &str = "write \"daily 07:55\", \"Mon..Fri 22:00\", \"weekly Sun 03:00\", \"monthly 1 09:00\", \"every 6h\", \
                     five cron fields such as \"55 7 * * *\", or a table such as { hour = 7, minute = 55 }";

fn wrong(message: String) -> Wrong {
    Wrong::new(code::CALENDAR, message, "not a calendar entry").help(FORMS)
}

/// More than this many tables say nothing to whoever reads the plist or the timer.
const MOST_TABLES: usize = 1500;

/// Checks the form of a text entry, and says the same as launchd's tables, as far as those can say it: an interval that does
/// not fit evenly into a day cannot be said so.
pub(super) fn words(text: &str) -> Result<(CalendarRule, Option<Vec<CalendarTable>>), Wrong> {
    let tables = tables(text)?;
    let lower = text.trim().to_ascii_lowercase();
    let rule = match lower.strip_prefix("every").map(|interval| units::duration(interval.trim())) {
        Some(Ok(interval)) => {
            CalendarRule::Every { minutes: u32::try_from(interval.as_secs() / 60).unwrap_or(u32::MAX) }
        }
        _ => CalendarRule::Fields(fields(tables.as_deref().unwrap_or_default())),
    };
    Ok((rule, tables))
}

/// The product of what the tables have.
fn fields(tables: &[CalendarTable]) -> CalendarFields {
    let set = |of: fn(&CalendarTable) -> Option<u8>, all: u64| {
        let bit = |table: &CalendarTable| of(table).map_or(all, |value| 1 << value);
        tables.iter().map(bit).fold(0, |set, bits| set | bits)
    };
    let hours = set(|table| table.hour, 0xff_ffff);
    CalendarFields {
        minutes: set(|table| table.minute, (1 << 60) - 1),
        hours: u32::try_from(hours).unwrap_or(u32::MAX),
        days: u32::try_from(set(|table| table.day, 0xffff_fffe)).unwrap_or(u32::MAX),
        months: u16::try_from(set(|table| table.month, 0x1ffe)).unwrap_or(u16::MAX),
        weekdays: u8::try_from(set(|table| table.weekday, 0x7f)).unwrap_or(u8::MAX),
        stepped: hours == 0xff_ffff,
    }
}

fn tables(text: &str) -> Result<Option<Vec<CalendarTable>>, Wrong> {
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split_ascii_whitespace().collect();
    match parts.as_slice() {
        ["daily", at] => Ok(Some(vec![time(at)?])),
        ["weekly", on, at] => Ok(Some(vec![CalendarTable { weekday: Some(day(on)?), ..time(at)? }])),
        ["monthly", on, at] => match on.parse::<u8>() {
            Ok(number @ 1..=31) if on.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Some(vec![CalendarTable { day: Some(number), ..time(at)? }]))
            }
            _ => Err(wrong(format!("{} is no day of a month, 1 to 31", quoted(on)))),
        },
        ["every", interval] => every(interval),
        ["daily" | "weekly" | "monthly" | "every", ..] => Err(wrong(format!("{} is not complete", quoted(text)))),
        [on, at] => {
            let (days, at) = (days(on)?, time(at)?);
            Ok(Some(days.into_iter().map(|day| CalendarTable { weekday: Some(day), ..at }).collect()))
        }
        [minute, hour, day, month, weekday] => cron([minute, hour, day, month, weekday]),
        _ => Err(wrong(format!("{} is not understood", quoted(text)))),
    }
}

fn time(text: &str) -> Result<CalendarTable, Wrong> {
    let number =
        |part: &str| part.parse::<u8>().ok().filter(|_| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()));
    let (hour, minute) = text.split_once(':').unwrap_or((text, ""));
    match (number(hour), number(minute)) {
        (hour @ Some(0..=23), minute @ Some(0..=59)) => Ok(CalendarTable { hour, minute, ..CalendarTable::default() }),
        _ => Err(wrong(format!("{} is no time of day from 00:00 to 23:59", quoted(text)))),
    }
}

/// 0 is Sunday.
fn day(text: &str) -> Result<u8, Wrong> {
    (0..).zip(DAYS).find_map(|(number, name)| (name == text).then_some(number)).ok_or_else(|| {
        wrong(format!("{} is no day of the week; those are Mon, Tue, Wed, Thu, Fri, Sat and Sun", quoted(text)))
    })
}

fn days(text: &str) -> Result<BTreeSet<u8>, Wrong> {
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once("..") {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // `Fri..Mon` goes over the week's end.
        found.extend((first..).take(usize::from((last + 7 - first) % 7) + 1).map(|day| day % 7));
    }
    Ok(found)
}

fn every(text: &str) -> Result<Option<Vec<CalendarTable>>, Wrong> {
    let interval = units::duration(text).map_err(|w| wrong(format!("after `every`: {}", w.message)))?;
    let whole = interval.as_secs().is_multiple_of(60) && interval.subsec_nanos() == 0;
    if !whole || interval < Duration::from_secs(60) || interval > Duration::from_secs(24 * 60 * 60) {
        return Err(wrong(format!("{} is not from 1m to 24h in whole minutes", quoted(text))));
    }
    let minutes = u16::try_from(interval.as_secs() / 60).unwrap_or(u16::MAX);
    let within = |number: u16| u8::try_from(number).ok();
    Ok(match minutes {
        _ if 60 % minutes == 0 => {
            let at = |minute| CalendarTable { minute: within(minute), ..CalendarTable::default() };
            Some((0..60).step_by(usize::from(minutes)).map(at).collect())
        }
        _ if 1440 % minutes == 0 => {
            let at =
                |m: u16| CalendarTable { minute: within(m % 60), hour: within(m / 60), ..CalendarTable::default() };
            Some((0..1440).step_by(usize::from(minutes)).map(at).collect())
        }
        _ => None,
    })
}

fn cron([minute, hour, day, month, weekday]: [&str; 5]) -> Result<Option<Vec<CalendarTable>>, Wrong> {
    let minutes = field(minute, "minute", 0..=59, &[])?;
    let hours = field(hour, "hour", 0..=23, &[])?;
    let days = field(day, "day", 1..=31, &[])?;
    let months = field(month, "month", 1..=12, &MONTHS)?;
    let weekdays = field(weekday, "weekday", 0..=7, &DAYS)?;
    // Cron and launchd take day *or* weekday where both are given, so a weekday makes any day come true.
    let all_days = weekdays.len() == 8;
    if all_days && !months.iter().any(|month| days.iter().any(|day| *day <= LONGEST[usize::from(*month) - 1])) {
        return Err(wrong("no such date exists, so it would never run".into()));
    }
    // Sunday has two numbers.
    let weekdays = weekdays.into_iter().map(|day| day % 7).collect();
    let fields = [(minutes, 60), (hours, 24), (days, 31), (months, 12), (weekdays, 7)];
    let [minutes, hours, days, months, weekdays] = fields.map(|(numbers, all)| {
        let numbers: BTreeSet<u8> = numbers.into_iter().collect();
        if numbers.len() == all { vec![None] } else { numbers.into_iter().map(Some).collect() }
    });
    let count = [&minutes, &hours, &days, &months, &weekdays].map(Vec::len).into_iter().product::<usize>();
    if count > MOST_TABLES {
        return Ok(None);
    }
    let mut tables = vec![CalendarTable::default()];
    let mut spread = |numbers: &[Option<u8>], set: fn(&mut CalendarTable, Option<u8>)| {
        let each = |table: &CalendarTable| {
            let table = *table;
            let with = move |number: &Option<u8>| {
                let mut table = table;
                set(&mut table, *number);
                table
            };
            numbers.iter().map(with).collect::<Vec<_>>()
        };
        tables = tables.iter().flat_map(each).collect();
    };
    spread(&months, |table, month| table.month = month);
    spread(&days, |table, day| table.day = day);
    spread(&weekdays, |table, weekday| table.weekday = weekday);
    spread(&hours, |table, hour| table.hour = hour);
    spread(&minutes, |table, minute| table.minute = minute);
    Ok(Some(tables))
}

/// The numbers that a cron field stands for.
fn field(text: &str, what: &str, bounds: std::ops::RangeInclusive<u8>, names: &[&str]) -> Result<Vec<u8>, Wrong> {
    let (low, high) = (*bounds.start(), *bounds.end());
    let bad = |part: &str| wrong(format!("{} is no cron {what}, {low} to {high}", quoted(part)));
    let number = |part: &str| {
        let named = names.iter().position(|name| *name == part).and_then(|at| u8::try_from(at).ok());
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let value = match named {
            Some(at) => Some(at + low),
            None => part.parse::<u8>().ok().filter(|_| digits),
        };
        value.filter(|n| bounds.contains(n)).ok_or_else(|| bad(part))
    };
    let mut found = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let digits = step.bytes().all(|b| b.is_ascii_digit());
                (range, step.parse::<u8>().ok().filter(|step| digits && *step > 0).ok_or_else(|| bad(part))?)
            }
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((first, last)) => (number(first)?, number(last)?),
            // `5/10` is 5, 15, 25, ... in every cron that takes it.
            None => (number(range)?, if part.contains('/') { high } else { number(range)? }),
        };
        if first > last {
            return Err(wrong(format!("{} ends before it begins", quoted(part))));
        }
        found.extend((first..=last).step_by(usize::from(step)));
    }
    Ok(found)
}

/// Checks a table whose numbers are within their bounds.
pub(super) fn table(table: &CalendarTable) -> Result<(), Wrong> {
    if *table == CalendarTable::default() {
        return Err(wrong("an empty table means every minute".into()));
    }
    if let (Some(day), Some(month), None) = (table.day, table.month, table.weekday)
        && LONGEST.get(usize::from(month).wrapping_sub(1)).is_some_and(|longest| day > *longest)
    {
        return Err(wrong(format!("month {month} has no day {day}, so it would never run")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_are_taken() {
        for good in [
            "daily 07:55",
            "Mon..Fri 22:00",
            "Fri..Mon 00:00",
            "Mon,Wed,Fri 08:00",
            "Sun 23:59",
            "mon..tue,sat 01:02",
            "weekly Sun 03:00",
            "monthly 31 09:00",
            "every 6h",
            "every 1h30m",
            "55 7 * * *",
            "*/15 0-6/2 1,15 jan-MAR sun",
            "0 0 29 2 *",
            "0 0 31 2 mon",
            "5/10 * * * 7",
        ] {
            assert!(words(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_they_say_as_tables() {
        // hour, minute, day, weekday, month; None is 99.
        let said = |text: &str| -> Vec<[u8; 5]> {
            let tables = words(text).unwrap().1.unwrap_or_default();
            let or = |number: Option<u8>| number.unwrap_or(99);
            tables.iter().map(|t| [or(t.hour), or(t.minute), or(t.day), or(t.weekday), or(t.month)]).collect()
        };
        assert_eq!(said("daily 07:55"), [[7, 55, 99, 99, 99]]);
        assert_eq!(said("weekly Sun 03:00"), [[3, 0, 99, 0, 99]]);
        assert_eq!(said("monthly 31 09:00"), [[9, 0, 31, 99, 99]]);
        assert_eq!(said("Fri..Mon 00:00").iter().map(|t| t[3]).collect::<Vec<_>>(), [0, 1, 5, 6]);
        assert_eq!(said("mon..tue,sat 01:02"), [[1, 2, 99, 1, 99], [1, 2, 99, 2, 99], [1, 2, 99, 6, 99]]);
        assert_eq!(said("Mon..Sun 01:02").len(), 7);
        assert_eq!(said("every 6h").iter().map(|t| t[0]).collect::<Vec<_>>(), [0, 6, 12, 18]);
        assert_eq!(said("every 20m"), [[99, 0, 99, 99, 99], [99, 20, 99, 99, 99], [99, 40, 99, 99, 99]]);
        assert_eq!(said("every 1h30m").last(), Some(&[22, 30, 99, 99, 99]));
        assert_eq!(said("every 24h"), [[0, 0, 99, 99, 99]]);
        assert_eq!(words("every 7h").unwrap().1, None, "it would begin anew each midnight");
        assert_eq!(said("55 7 * * *"), said("daily 07:55"));
        assert_eq!(said("0 3 * * 7"), said("weekly Sun 03:00"));
        assert_eq!(said("0 0 31 2 mon"), [[0, 0, 31, 1, 2]]);
        assert_eq!(said("*/30 1-2 1 * *").len(), 4);
        assert_eq!(words("0-58 0-22 1-30 * *").unwrap().1, None, "more than anybody reads");
    }

    #[test]
    fn forms_that_are_not_and_why() {
        for (bad, word) in [
            ("", "not understood"),
            ("daily", "not complete"),
            ("daily 7:55", "\"7:55\" is no time"),
            ("daily 24:00", "no time of day"),
            ("daily 07:60", "no time of day"),
            ("daily 07:55 08:55", "not complete"),
            ("hourly 00:05", "no day of the week"),
            ("sunday 03:00", "no day of the week"),
            ("Mon..Fry 03:00", "\"fry\""),
            ("Mon, 03:00", "no day of the week"),
            ("weekly 03:00", "not complete"),
            ("monthly 0 09:00", "no day of a month"),
            ("monthly 32 09:00", "no day of a month"),
            ("monthly +1 09:00", "no day of a month"),
            ("every 90s", "whole minutes"),
            ("every 25h", "1m to 24h"),
            ("every 6", "has no unit"),
            ("every 0m", "1m to 24h"),
            ("60 * * * *", "cron minute"),
            ("* 24 * * *", "cron hour"),
            ("* * 0 * *", "cron day"),
            ("* * * 13 *", "cron month"),
            ("* * * * 8", "cron weekday"),
            ("*/0 * * * *", "cron minute"),
            ("9-3 * * * *", "ends before"),
            ("1,,2 * * * *", "cron minute"),
            ("0 0 31 2 *", "never run"),
            ("0 0 31 4,6 *", "never run"),
            ("* * * *", "not understood"),
            ("* * * * * *", "not understood"),
        ] {
            let found = words(bad).unwrap_err();
            assert!(found.message.contains(word), "{bad}: {}", found.message);
            assert!(found.help.unwrap().contains("daily 07:55"));
        }
    }

    #[test]
    fn tables_that_never_come_true() {
        let entry = |day, month, weekday| CalendarTable { day, month, weekday, ..CalendarTable::default() };
        assert!(table(&CalendarTable::default()).is_err());
        assert!(table(&entry(Some(31), Some(4), None)).is_err());
        assert!(table(&entry(Some(30), Some(2), None)).is_err());
        assert_eq!(table(&entry(Some(29), Some(2), None)), Ok(()));
        assert_eq!(table(&entry(Some(31), Some(4), Some(1))), Ok(()));
    }
}
