//! When a calendar job is due, in words.

use crate::model::{CalendarFields, CalendarRule, Schedule, TaskSpec};
use crate::policy::calendar::table_fields;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// More times of day than these are said as minutes of hours.
const MOST_TIMES: usize = 6;

/// `every day at 07:55 and Monday to Friday at 22:00 (Europe/Berlin)`.
pub fn calendar_words(spec: &TaskSpec) -> String {
    union(&spec.calendar, spec.timezone.as_deref())
}

fn union(entries: &[Schedule], zone: Option<&str>) -> String {
    let mut said: Vec<String> = Vec::new();
    for entry in entries {
        let entry = entry_words(entry);
        if !said.contains(&entry) {
            said.push(entry);
        }
    }
    let zone = zone.map(|zone| format!(" ({zone})")).unwrap_or_default();
    // What holds commas of its own is told apart by more than one.
    let between = if said.iter().any(|entry| entry.contains(',')) { "; " } else { ", " };
    match said.as_slice() {
        [] => "never".into(),
        [one] => format!("{one}{zone}"),
        [first @ .., last] => format!("{} and {last}{zone}", first.join(between)),
    }
}

/// One entry.
pub(super) fn entry_words(entry: &Schedule) -> String {
    match entry {
        Schedule::Words { rule: CalendarRule::Every { minutes }, .. } => every(*minutes),
        Schedule::Words { rule: CalendarRule::Fields(fields), .. } => of_fields(fields),
        Schedule::Table(table) => of_fields(&table_fields(table)),
    }
}

fn every(minutes: u32) -> String {
    match (minutes / 60, minutes % 60) {
        (1, 0) => "every hour".into(),
        (hours, 0) => format!("every {hours} hours"),
        (0, 1) => "every minute".into(),
        _ => format!("every {minutes} minutes"),
    }
}

fn of_fields(fields: &CalendarFields) -> String {
    let days = days(fields);
    match (times(fields), days) {
        (Times::Of(times), days) => format!("{} {times}", days.unwrap_or_else(|| "every day".into())),
        (Times::Through(times), None) => times,
        (Times::Through(times), Some(days)) => format!("{times}, {days}"),
    }
}

/// The times of a day.
enum Times {
    /// `at 07:55`.
    Of(String),
    /// `every 20 minutes`.
    Through(String),
}

fn times(fields: &CalendarFields) -> Times {
    let minutes = numbers(fields.minutes, 0..60);
    let hours = numbers(fields.hours.into(), 0..24);
    if hours.len() == 24 {
        return Times::Through(match (step(&minutes, 60), minutes.as_slice()) {
            (Some(step), _) => every(step),
            (None, [one]) => format!("every hour at {one} past"),
            (None, _) => format!("every hour at {} past", listed(&minutes)),
        });
    }
    if let (Some(step), [0]) = (step(&hours, 24), minutes.as_slice())
        && hours.len() > 2
    {
        return Times::Through(every(step * 60));
    }
    if minutes.len() * hours.len() <= MOST_TIMES {
        let at = |hour: &u32| minutes.iter().map(|minute| format!("{hour:02}:{minute:02}")).collect::<Vec<_>>();
        return Times::Of(format!("at {}", listed(&hours.iter().flat_map(at).collect::<Vec<_>>())));
    }
    let hours = match (hours.first(), hours.last()) {
        (Some(first), Some(last)) if last - first == steps(&hours) => {
            format!("from {first:02}:00 to {last:02}:59")
        }
        _ => format!("in the hours {}", listed(&hours)),
    };
    Times::Through(match step(&minutes, 60) {
        Some(step) => format!("{} {hours}", every(step)),
        None => format!("at the minutes {} {hours}", listed(&minutes)),
    })
}

/// The days; `None` where it is due on each.
fn days(fields: &CalendarFields) -> Option<String> {
    let days = numbers(fields.days.into(), 1..32);
    let months = numbers(fields.months.into(), 1..13);
    // A week that begins on Monday, as people count.
    let weekdays: Vec<u32> = (1..8).filter(|day| fields.weekdays >> (day % 7) & 1 == 1).collect();
    let named = |names: &[&str], number: u32| {
        usize::try_from(number).ok().and_then(|at| names.get(at)).map_or_else(String::new, |name| (*name).to_owned())
    };
    let week = (weekdays.len() < 7).then(|| match weekdays.as_slice() {
        [one] => format!("every {}", named(&DAYS, one % 7)),
        [first, .., last] if weekdays.len() > 2 && last - first == steps(&weekdays) => {
            format!("{} to {}", named(&DAYS, first % 7), named(&DAYS, last % 7))
        }
        _ => listed(&weekdays.iter().map(|day| named(&DAYS, day % 7)).collect::<Vec<_>>()),
    });
    let of_months =
        (months.len() < 12).then(|| listed(&months.iter().map(|month| named(&MONTHS, month - 1)).collect::<Vec<_>>()));
    let date = (days.len() < 31).then(|| {
        let all: Vec<String> = days.iter().map(|day| nth(*day)).collect();
        let of = of_months.clone().unwrap_or_else(|| "every month".into());
        format!("on the {} of {of}", listed(&all))
    });
    match (date, week, of_months) {
        (None, None, None) => None,
        (None, None, Some(months)) => Some(format!("every day in {months}")),
        (None, Some(week), None) => Some(week),
        (None, Some(week), Some(months)) => Some(format!("{week} in {months}")),
        (Some(date), None, _) => Some(date),
        (Some(date), Some(week), None) => Some(format!("{date} as well as {week}")),
        (Some(date), Some(week), Some(months)) => Some(format!("{date} as well as {week} in {months}")),
    }
}

fn numbers(set: u64, bounds: std::ops::Range<u32>) -> Vec<u32> {
    bounds.filter(|number| set >> number & 1 == 1).collect()
}

/// How many steps there are from the first to the last.
fn steps(numbers: &[u32]) -> u32 {
    u32::try_from(numbers.len()).unwrap_or(u32::MAX).saturating_sub(1)
}

/// The one distance that these have, from 0 on and over the end of `all` too.
fn step(numbers: &[u32], all: u32) -> Option<u32> {
    let count = steps(numbers) + 1;
    let step = all.checked_div(count).filter(|step| step * count == all)?;
    numbers.iter().zip((0..all).step_by(usize::try_from(step).ok()?)).all(|(is, wanted)| *is == wanted).then_some(step)
}

fn nth(number: u32) -> String {
    let suffix = match (number % 10, number / 10) {
        (_, 1) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    match all.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => all.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CalendarTable;

    const ANY: CalendarFields = CalendarFields::ANY;

    fn set(numbers: &[u32]) -> u64 {
        numbers.iter().fold(0, |set, number| set | 1 << number)
    }

    fn low(numbers: &[u32]) -> u32 {
        u32::try_from(set(numbers)).unwrap()
    }

    #[test]
    fn fields_are_said_as_people_do() {
        let morning = CalendarFields { hours: 1 << 7, minutes: 1 << 55, ..ANY };
        let weekly = |days: &[u32]| CalendarFields { weekdays: u8::try_from(set(days)).unwrap(), ..morning };
        let months = |months: &[u32]| u16::try_from(set(months)).unwrap();
        for (fields, words) in [
            (morning, "every day at 07:55"),
            (CalendarFields { hours: low(&[7, 19]), ..morning }, "every day at 07:55 and 19:55"),
            (weekly(&[0]), "every Sunday at 07:55"),
            (weekly(&[1, 2, 3, 4, 5]), "Monday to Friday at 07:55"),
            (weekly(&[6, 0]), "Saturday and Sunday at 07:55"),
            (weekly(&[1, 3, 5]), "Monday, Wednesday and Friday at 07:55"),
            (CalendarFields { days: low(&[1, 22]), ..morning }, "on the 1st and 22nd of every month at 07:55"),
            (CalendarFields { days: low(&[13]), months: months(&[2]), ..morning }, "on the 13th of February at 07:55"),
            (
                CalendarFields { days: low(&[13]), ..weekly(&[5]) },
                "on the 13th of every month as well as every Friday at 07:55",
            ),
            (CalendarFields { months: months(&[6, 7]), ..weekly(&[1]) }, "every Monday in June and July at 07:55"),
            (ANY, "every minute"),
            (CalendarFields { hours: low(&[3]), ..ANY }, "every minute from 03:00 to 03:59"),
            (CalendarFields { hours: low(&[3, 9]), ..ANY }, "every minute in the hours 3 and 9"),
            (CalendarFields { minutes: set(&[0, 20, 40]), ..ANY }, "every 20 minutes"),
            (CalendarFields { minutes: set(&[5, 25, 45]), ..ANY }, "every hour at 5, 25 and 45 past"),
            (CalendarFields { minutes: 1, ..ANY }, "every hour"),
            (CalendarFields { minutes: 1, hours: low(&[0, 6, 12, 18]), ..ANY }, "every 6 hours"),
            (
                CalendarFields { minutes: set(&[0, 15, 30, 45]), hours: low(&[8, 9, 10]), ..weekly(&[1]) },
                "every 15 minutes from 08:00 to 10:59, every Monday",
            ),
        ] {
            assert_eq!(of_fields(&fields), words);
        }
        assert_eq!(
            (every(90), every(420), every(1)),
            ("every 90 minutes".into(), "every 7 hours".into(), "every minute".into())
        );
    }

    #[test]
    fn several_entries_are_one_sentence_with_its_zone() {
        let at = |hour, weekday| {
            Schedule::Table(CalendarTable { hour: Some(hour), minute: Some(0), weekday, ..CalendarTable::default() })
        };
        let mut all = vec![at(7, None), at(3, Some(7)), at(3, Some(0)), at(9, Some(1))];
        assert_eq!(union(&all, None), "every day at 07:00, every Sunday at 03:00 and every Monday at 09:00");
        all.truncate(1);
        assert_eq!(union(&all, Some("Europe/Berlin")), "every day at 07:00 (Europe/Berlin)");
        assert_eq!(union(&[], None), "never");
    }
}
