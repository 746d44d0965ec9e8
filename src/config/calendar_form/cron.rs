//! Five cron fields: minute, hour, day, month, weekday, each `*`, `N`, `N-M`, either of them with `/STEP`, or a list of
//! those with commas; months and weekdays by their three-letter names too.

use std::ops::RangeInclusive;

use super::{ANY, DAYS, LONGEST, MONTHS, Malformed, Part};
use crate::config::units::quoted;
use crate::model::CalendarFields;

/// Name, bounds and names of the values, of each field.
pub(super) const FIELDS: [(&str, RangeInclusive<u8>, &[&str]); 5] = [
    ("minute", 0..=59, &[]),
    ("hour", 0..=23, &[]),
    ("day", 1..=31, &[]),
    ("month", 1..=12, &MONTHS),
    ("weekday", 0..=7, &DAYS),
];

/// What the five say; `whole` is the line.
pub(super) fn fields(whole: Part<'_>, parts: [Part<'_>; 5]) -> Result<CalendarFields, Malformed> {
    let mut sets = [0_u64; 5];
    for ((set, part), (what, bounds, names)) in sets.iter_mut().zip(parts).zip(FIELDS) {
        *set = field(part, what, bounds, names)?;
    }
    let [minutes, hours, days, months, weekdays] = sets;
    let low = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
    let hours = low(hours);
    // Sunday has two numbers.
    let weekdays = u8::try_from((weekdays | weekdays >> 7) & 0x7f).unwrap_or(ANY.weekdays);
    // Whoever names numbers names times; a range, a step and an asterisk are intervals (croner's rule).
    let [minute, hour, day, ..] = parts;
    let is_interval =
        |part: Part<'_>, count: u32| part.text.contains(['*', '/']) || part.text.contains('-') && count > 1;
    let stepped =
        hours == ANY.hours || is_interval(minute, minutes.count_ones()) || is_interval(hour, hours.count_ones());
    let fields = CalendarFields {
        minutes,
        hours,
        days: low(days),
        months: u16::try_from(months).unwrap_or(ANY.months),
        weekdays,
        stepped,
    };
    // Cron and launchd take day *or* weekday where both are given, so a weekday makes any day come true.
    let exists = |month: usize, longest: u8| fields.months >> (month + 1) & 1 == 1 && days & ((2 << longest) - 1) != 0;
    if weekdays == ANY.weekdays && !LONGEST.into_iter().enumerate().any(|(month, longest)| exists(month, longest)) {
        let month = parts[3];
        let dates = Part { at: day.at, text: &whole.text[day.at..month.at + month.text.len()] };
        let why = format!("no month of {} has a day {}, so it would never run", quoted(month.text), day.text);
        return Err(Malformed::at(&dates, why));
    }
    Ok(fields)
}

/// The numbers that a field stands for, as bits.
fn field(field: Part<'_>, what: &str, bounds: RangeInclusive<u8>, names: &[&str]) -> Result<u64, Malformed> {
    let (low, high) = (*bounds.start(), *bounds.end());
    let bad = |part: &Part<'_>| {
        let place = if part.text.is_empty() { &field } else { part };
        Malformed::at(place, format!("{} is no cron {what}, {low} to {high}", quoted(part.text)))
    };
    let number = |part: &Part<'_>| {
        let named = (low..).zip(names).find_map(|(number, name)| part.is(name).then_some(number));
        named.or_else(|| part.number()).filter(|n| bounds.contains(n)).ok_or_else(|| bad(part))
    };
    let mut found = 0;
    for part in field.split(",") {
        let (range, step) = match part.split_once("/") {
            Some((range, step)) => (range, Some(step.number().filter(|step| *step > 0).ok_or_else(|| bad(&part))?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once("-") {
            _ if range.text == "*" => (low, high),
            Some((first, last)) => (number(&first)?, number(&last)?),
            // `5/10` is 5, 15, 25, ... in every cron that takes it.
            None => (number(&range)?, if step.is_some() { high } else { number(&range)? }),
        };
        if first > last {
            return Err(Malformed::at(&range, format!("{} ends before it begins", quoted(range.text))));
        }
        let numbers = (first..=last).step_by(usize::from(step.unwrap_or(1)));
        found = numbers.fold(found, |found, number| found | 1 << number);
    }
    Ok(found)
}
