//! The form of a calendar entry: words, a cron line, or launchd's table. Only what can be said without a clock is said
//! here; when an entry is due is the calendar policy's matter.
//!
//! Words, in any case: `daily HH:MM`; `DAYS HH:MM` with days such as `Mon`, `Mon..Fri` or `Mon,Wed,Fri`;
//! `weekly DAY HH:MM`; `monthly D HH:MM`; `every DURATION` in whole minutes up to a day. Else five cron fields
//! ([`cron`]). What is none of that is answered with something near it that is ([`near`]).

mod cron;
mod near;

use std::ops::Range;
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

/// More than this many tables say nothing to whoever reads the plist or the timer.
const MOST_TABLES: usize = 1500;

const ANY: CalendarFields = CalendarFields::ANY;

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) wrong: Wrong,
    /// The bytes of the entry that are at fault.
    pub(super) part: Range<usize>,
}

impl Malformed {
    fn at(part: &Part<'_>, message: String) -> Self {
        let wrong = Wrong::new(code::CALENDAR, message, "not a calendar entry");
        Self { wrong, part: part.at..part.at + part.text.len() }
    }
}

/// Some of the text of an entry, and where it begins.
#[derive(Debug, Clone, Copy)]
struct Part<'t> {
    at: usize,
    text: &'t str,
}

impl<'t> Part<'t> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// What stands between `separator`s.
    fn split(self, separator: &'t str) -> impl Iterator<Item = Part<'t>> {
        let offset = move |part: &str| part.as_ptr() as usize - self.text.as_ptr() as usize;
        self.text.split(separator).map(move |text| Part { at: self.at + offset(text), text })
    }

    fn split_once(self, separator: &'t str) -> Option<(Part<'t>, Part<'t>)> {
        let (first, rest) = self.text.split_once(separator)?;
        let rest_at = self.at + first.len() + separator.len();
        Some((Part { at: self.at, text: first }, Part { at: rest_at, text: rest }))
    }

    /// A number in nothing but digits.
    fn number(&self) -> Option<u8> {
        self.text.parse().ok().filter(|_| self.text.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// Checks the form of a text entry, and says the same as launchd's tables, as far as those can say it: an interval that does
/// not fit evenly into a day cannot be said so.
pub(super) fn words(text: &str) -> Result<(CalendarRule, Option<Vec<CalendarTable>>), Malformed> {
    match rule(text) {
        Ok(rule) => Ok((rule, tables(&rule))),
        Err(mut malformed) => {
            // What is offered is itself read before, so it can be typed.
            let near = |text: &str| near::candidates(text).into_iter().find(|near| rule(near).is_ok());
            let several: Option<Vec<String>> = near::several(text).iter().map(|text| near(text)).collect();
            malformed.wrong.help = Some(match (several.filter(|all| all.len() > 1), near(text)) {
                (Some(all), _) => {
                    let all: Vec<String> = all.iter().map(|entry| quoted(entry)).collect();
                    format!("make an entry of each time: {}", all.join(", "))
                }
                (None, Some(near)) => format!("write {}", quoted(&near)),
                (None, None) => FORMS.to_owned(),
            });
            Err(malformed)
        }
    }
}

/// The number that a table has for what somebody wrote as a text: `Mon` for `weekday`, `March` for `month`, `7` for any.
pub(super) fn number(key: &str, text: &str) -> Option<u8> {
    let lower = text.trim().to_ascii_lowercase();
    let named = |names: &[&str], first: usize| {
        let short = lower.get(..3)?;
        names.iter().position(|name| *name == short).and_then(|at| u8::try_from(at + first).ok())
    };
    let named = match key {
        "weekday" => named(&DAYS, 0),
        "month" => named(&MONTHS, 1),
        _ => None,
    };
    named.or_else(|| lower.parse().ok())
}

/// What an entry says.
fn rule(text: &str) -> Result<CalendarRule, Malformed> {
    let whole = Part { at: 0, text };
    let parts: Vec<Part<'_>> =
        whole.split(" ").flat_map(|part| part.split("\t")).filter(|p| !p.text.is_empty()).collect();
    let is_one_of = |words: &[&str]| parts.first().is_some_and(|first| words.iter().any(|word| first.is(word)));
    let fields = match parts.as_slice() {
        [first, at] if first.is("daily") => time(at)?,
        [first, on, at] if first.is("weekly") => CalendarFields { weekdays: 1 << day(on)?, ..time(at)? },
        [first, on, at] if first.is("monthly") => match on.number() {
            Some(number @ 1..=31) => CalendarFields { days: 1 << number, ..time(at)? },
            _ => return Err(Malformed::at(on, format!("{} is no day of a month, 1 to 31", quoted(on.text)))),
        },
        [first, interval] if first.is("every") => return every(interval),
        _ if is_one_of(&["daily", "weekly", "monthly", "every"]) => {
            let whole_form = if is_one_of(&["daily", "every"]) { 2 } else { 3 };
            let why = if parts.len() > whole_form { "has more than belongs there" } else { "is not complete" };
            return Err(Malformed::at(&whole, format!("{} {why}", quoted(text))));
        }
        [on, at] => {
            let weekdays = days(*on)?;
            CalendarFields { weekdays, ..time(at)? }
        }
        [minute, hour, day, month, weekday] => cron::fields(whole, [*minute, *hour, *day, *month, *weekday])?,
        _ => return Err(Malformed::at(&whole, format!("{} is not understood", quoted(text)))),
    };
    Ok(CalendarRule::Fields(fields))
}

fn time(text: &Part<'_>) -> Result<CalendarFields, Malformed> {
    let two = |part: Part<'_>| part.number().filter(|_| part.text.len() == 2);
    match text.split_once(":").map(|(hour, minute)| (two(hour), two(minute))) {
        Some((Some(hour @ 0..=23), Some(minute @ 0..=59))) => {
            Ok(CalendarFields { hours: 1 << hour, minutes: 1 << minute, ..ANY })
        }
        _ => Err(Malformed::at(text, format!("{} is no time of day from 00:00 to 23:59", quoted(text.text)))),
    }
}

/// 0 is Sunday.
fn day(text: &Part<'_>) -> Result<u8, Malformed> {
    (0..).zip(DAYS).find_map(|(number, name)| text.is(name).then_some(number)).ok_or_else(|| {
        let why = "is no day of the week; those are Mon, Tue, Wed, Thu, Fri, Sat and Sun";
        Malformed::at(text, format!("{} {why}", quoted(text.text)))
    })
}

fn days(text: Part<'_>) -> Result<u8, Malformed> {
    let mut found = 0;
    for part in text.split(",") {
        let (first, last) = match part.split_once("..") {
            Some((first, last)) => (day(&first)?, day(&last)?),
            None => (day(&part)?, day(&part)?),
        };
        // `Fri..Mon` goes over the week's end.
        let through = (first..).take(usize::from((last + 7 - first) % 7) + 1);
        found = through.fold(found, |found, day| found | 1 << (day % 7));
    }
    Ok(found)
}

fn every(text: &Part<'_>) -> Result<CalendarRule, Malformed> {
    let interval =
        units::duration(text.text).map_err(|w| Malformed::at(text, format!("after `every`: {}", w.message)))?;
    let whole = interval.as_secs().is_multiple_of(60) && interval.subsec_nanos() == 0;
    if !whole || interval < Duration::from_secs(60) || interval > Duration::from_secs(24 * 60 * 60) {
        return Err(Malformed::at(text, format!("{} is not from 1m to 24h in whole minutes", quoted(text.text))));
    }
    Ok(CalendarRule::Every { minutes: u32::try_from(interval.as_secs() / 60).unwrap_or(u32::MAX) })
}

/// The same as launchd's tables, as far as those can say it.
fn tables(rule: &CalendarRule) -> Option<Vec<CalendarTable>> {
    let within = |number: u32| u8::try_from(number).ok();
    match *rule {
        CalendarRule::Fields(fields) => product(&fields),
        CalendarRule::Every { minutes } if 60 % minutes == 0 => {
            let at = |minute| CalendarTable { minute: within(minute), ..CalendarTable::default() };
            Some((0..60).step_by(usize::try_from(minutes).ok()?).map(at).collect())
        }
        CalendarRule::Every { minutes } if 1440 % minutes == 0 => {
            let at =
                |m: u32| CalendarTable { minute: within(m % 60), hour: within(m / 60), ..CalendarTable::default() };
            Some((0..1440).step_by(usize::try_from(minutes).ok()?).map(at).collect())
        }
        CalendarRule::Every { .. } => None,
    }
}

/// Each of the numbers with each of the others; `None` when those are too many.
fn product(fields: &CalendarFields) -> Option<Vec<CalendarTable>> {
    let set = |bits: u64, all: u64| match bits == all {
        true => vec![None],
        false => (0..60).filter(|number| bits >> number & 1 == 1).map(Some).collect::<Vec<Option<u8>>>(),
    };
    let minutes = set(fields.minutes, ANY.minutes);
    let hours = set(fields.hours.into(), ANY.hours.into());
    let days = set(fields.days.into(), ANY.days.into());
    let months = set(fields.months.into(), ANY.months.into());
    let weekdays = set(fields.weekdays.into(), ANY.weekdays.into());
    let count = [&minutes, &hours, &days, &months, &weekdays].map(Vec::len).into_iter().product::<usize>();
    if count > MOST_TABLES {
        return None;
    }
    let mut tables = Vec::with_capacity(count);
    for &month in &months {
        for &day in &days {
            for &weekday in &weekdays {
                for &hour in &hours {
                    tables.extend(minutes.iter().map(|&minute| CalendarTable { minute, hour, day, weekday, month }));
                }
            }
        }
    }
    Some(tables)
}

/// Checks a table whose numbers are within their bounds.
pub(super) fn table(table: &CalendarTable) -> Result<(), Wrong> {
    let wrong = |message: String, help: String| Wrong::new(code::CALENDAR, message, "not a calendar entry").help(help);
    if *table == CalendarTable::default() {
        let help = "write \"every 1m\" if that is meant, or a time of day such as { hour = 7, minute = 55 }";
        return Err(wrong("an empty table means every minute".into(), help.into()));
    }
    // With a weekday it is due on that too.
    if let (Some(day), Some(month), None) = (table.day, table.month, table.weekday)
        && LONGEST.get(usize::from(month).wrapping_sub(1)).is_some_and(|longest| day > *longest)
    {
        let numbers = [
            ("minute", table.minute),
            ("hour", table.hour),
            ("day", Some(near::last_day(month))),
            ("month", table.month),
        ];
        let written = numbers.into_iter().filter_map(|(key, number)| Some(format!("{key} = {}", number?)));
        let help = format!("write {{ {} }}", written.collect::<Vec<_>>().join(", "));
        return Err(wrong(format!("month {month} has no day {day}, so it would never run"), help));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
