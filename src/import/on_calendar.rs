//! systemd's OnCalendar to the words of services.toml: weekdays, a date, a time. What has no words becomes a cron line,
//! as long as that means the same.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::calendar;
use super::unit::Value;
use crate::model::CalendarTable;

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What its short names stand for.
const SHORT: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

/// The numbers of a field; `None` is all.
type Set = Option<BTreeSet<u8>>;

/// The entry, and the time zone at its end. The error says why there are no words for it.
pub(super) fn entry(text: &str) -> Result<(Value, Option<String>), String> {
    let lower = text.trim().to_lowercase();
    let expanded = SHORT.iter().find(|(name, _)| *name == lower).map_or(text.trim(), |(_, meaning)| meaning);
    let mut parts: Vec<&str> = expanded.split_whitespace().collect();
    let is_zone = |part: &&str| part.contains('/') && part.starts_with(char::is_alphabetic) || *part == "UTC";
    let zone = parts.pop_if(|part| is_zone(&&**part)).map(str::to_owned);
    let (mut weekdays, mut date, mut time): (Set, (Set, Set), (Set, Set)) = (None, (None, None), zero());
    let unclear = || format!("{text:?} is not understood");
    for (at, part) in parts.iter().enumerate() {
        if part.contains(':') && at + 1 == parts.len() {
            time = self::time(part)?;
        } else if part.starts_with(char::is_alphabetic) && at == 0 {
            weekdays = self::weekdays(part).ok_or_else(unclear)?;
        } else if part.contains('-') && !part.contains(':') {
            date = self::date(part)?;
        } else {
            return Err(unclear());
        }
    }
    if parts.is_empty() {
        return Err(unclear());
    }
    let (month, day) = date;
    if weekdays.is_some() && day.is_some() {
        return Err("both weekday and day of the month have to match, and there are no words for that".into());
    }
    Ok((value(time, day, month, weekdays), zone))
}

fn zero() -> (Set, Set) {
    (Some([0].into()), Some([0].into()))
}

fn value((hour, minute): (Set, Set), day: Set, month: Set, weekdays: Set) -> Value {
    // `Some(None)`: all; `None`: several, which a table cannot say.
    let single = |set: &Set| match set {
        None => Some(None),
        Some(set) => set.first().filter(|_| set.len() == 1).map(|n| Some(*n)),
    };
    let table = || {
        let (minute, hour) = (single(&minute)?, single(&hour)?);
        let (day, month, weekday) = (single(&day)?, single(&month)?, single(&weekdays)?);
        Some(CalendarTable { minute, hour, day, weekday, month })
    };
    if let Some(table) = table() {
        return calendar::entries(&[table]).pop().unwrap_or(Value::text("every 1m"));
    }
    if let (Some(Some(hour)), Some(Some(minute)), None, None, Some(days)) =
        (single(&hour), single(&minute), &day, &month, &weekdays)
    {
        return Value::Text(calendar::weekly(days, hour, minute));
    }
    let fields = [(&minute, 0..=59), (&hour, 0..=23), (&day, 1..=31), (&month, 1..=12), (&weekdays, 0..=6)];
    Value::Text(fields.map(|(set, bounds)| cron(set, bounds)).join(" "))
}

/// A cron field.
fn cron(set: &Set, bounds: RangeInclusive<u8>) -> String {
    let Some(set) = set else { return "*".into() };
    let numbers: Vec<u8> = set.iter().copied().collect();
    if let [first, second, ..] = numbers.as_slice() {
        let step = second - first;
        let all: Vec<u8> = bounds.clone().step_by(usize::from(step)).collect();
        if numbers == all {
            return format!("*/{step}");
        }
    }
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

fn weekdays(text: &str) -> Option<Set> {
    let day = |name: &str| {
        let name = name.trim().to_lowercase();
        let full = name.len() == 3 || ["day", "sday", "nesday", "rsday", "urday"].iter().any(|end| name.ends_with(end));
        DAYS.iter().position(|day| full && name.starts_with(day)).and_then(|at| u8::try_from(at).ok())
    };
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match part.split_once("..").or_else(|| part.split_once('-')) {
            Some((first, last)) => {
                let (first, last) = (day(first)?, day(last)?);
                set.extend((0..=(last + 7 - first) % 7).map(|n| (first + n) % 7));
            }
            None => _ = set.insert(day(part)?),
        }
    }
    Some((!set.is_empty() && set.len() < 7).then_some(set))
}

fn date(text: &str) -> Result<(Set, Set), String> {
    if text.contains('~') {
        return Err("days counted from the end of the month have no words".into());
    }
    let parts: Vec<&str> = text.split('-').collect();
    let (year, month, day) = match parts.as_slice() {
        [year, month, day] => (*year, *month, *day),
        [month, day] => ("*", *month, *day),
        _ => return Err(format!("{text:?} is no date")),
    };
    if year != "*" {
        return Err("a year has no words".into());
    }
    Ok((field(month, 1..=12)?, field(day, 1..=31)?))
}

fn time(text: &str) -> Result<(Set, Set), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, "00"),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return Err(format!("{text:?} is no time")),
    };
    if second.parse::<f64>() != Ok(0.0) {
        return Err("seconds have no words".into());
    }
    Ok((field(hour, 0..=23)?, field(minute, 0..=59)?))
}

/// `*`, `N`, `N..M`, `N/STEP`, `N..M/STEP`, and lists of these.
fn field(text: &str, bounds: RangeInclusive<u8>) -> Result<Set, String> {
    if text == "*" {
        return Ok(None);
    }
    let bad = || format!("{text:?} is not from {} to {}", bounds.start(), bounds.end());
    let number = |part: &str| part.parse::<u8>().ok().filter(|n| bounds.contains(n)).ok_or_else(bad);
    let mut set = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u8>().ok().filter(|step| *step > 0).ok_or_else(bad)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once("..") {
            _ if range == "*" => (*bounds.start(), *bounds.end()),
            Some((first, last)) => (number(first)?, number(last)?),
            None if part.contains('/') => (number(range)?, *bounds.end()),
            None => (number(range)?, number(range)?),
        };
        set.extend((first..=last).step_by(usize::from(step)));
    }
    if set.is_empty() {
        return Err(bad());
    }
    let is_all = set.len() == bounds.count();
    Ok((!is_all).then_some(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_words() {
        for (text, wanted) in [
            ("daily", "daily 00:00"),
            ("*-*-* 07:55:00", "daily 07:55"),
            ("07:55", "daily 07:55"),
            ("Mon..Fri 22:00", "Mon..Fri 22:00"),
            ("Mon,Wednesday *-*-* 08:00:00", "Mon,Wed 08:00"),
            ("Sat..Mon 08:00", "Mon,Sat,Sun 08:00"),
            ("weekly", "weekly Mon 00:00"),
            ("Sun *-*-* 03:00", "weekly Sun 03:00"),
            ("Sun", "weekly Sun 00:00"),
            ("*-*-01 09:00:00", "monthly 1 09:00"),
            ("minutely", "every 1m"),
            ("*:0/15", "*/15 * * * *"),
            ("*-*-* 00/6:00:00", "0 */6 * * *"),
            ("quarterly", "0 0 1 */3 *"),
            ("Mon..Fri *-*-* 9..17:30", "30 9,10,11,12,13,14,15,16,17 * * 1,2,3,4,5"),
        ] {
            assert_eq!(entry(text), Ok((Value::text(wanted), None)), "{text}");
        }
        let hourly = Value::Table(vec![("minute", Value::Number(0))]);
        assert_eq!(entry("hourly"), Ok((hourly, None)));
        assert_eq!(entry("03:00 Europe/Berlin").unwrap(), (Value::text("daily 03:00"), Some("Europe/Berlin".into())));
    }

    #[test]
    fn what_has_none() {
        for text in [
            "",
            "Mon *-*-13 03:00",
            "2027-01-01 00:00",
            "*-*~1 00:00",
            "*:*:30",
            "25:00",
            "foo",
            "1/0:00",
            "5..3:00",
            "Mon Tue 3:00",
        ] {
            assert!(entry(text).is_err(), "{text}");
        }
    }
}
