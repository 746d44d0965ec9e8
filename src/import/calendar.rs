//! launchd's calendar tables to the words of services.toml, where they mean the same.

use std::collections::BTreeSet;

use super::unit::Value;
use crate::model::CalendarTable;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Entries as they are written: words if there are some for it, else a table. Days at the same time become one.
pub(super) fn entries(tables: &[CalendarTable]) -> Vec<Value> {
    let mut written: Vec<Value> = Vec::new();
    let mut done: BTreeSet<(u8, u8)> = BTreeSet::new();
    for table in tables {
        let entry = match *table {
            CalendarTable { minute: Some(minute), hour: Some(hour), day: None, weekday: Some(_), month: None } => {
                if !done.insert((hour, minute)) {
                    continue;
                }
                let same = |t: &&CalendarTable| t.hour == Some(hour) && t.minute == Some(minute);
                let pure = |t: &&CalendarTable| t.day.is_none() && t.month.is_none();
                let days = tables.iter().filter(same).filter(pure).filter_map(|t| t.weekday).map(|day| day % 7);
                Value::Text(weekly(&days.collect(), hour, minute))
            }
            other => one(&other),
        };
        if !written.contains(&entry) {
            written.push(entry);
        }
    }
    written
}

fn one(table: &CalendarTable) -> Value {
    match *table {
        CalendarTable { minute: Some(minute), hour: Some(hour), day: None, weekday: None, month: None } => {
            Value::Text(format!("daily {hour:02}:{minute:02}"))
        }
        CalendarTable { minute: Some(minute), hour: Some(hour), day: Some(day), weekday: None, month: None } => {
            Value::Text(format!("monthly {day} {hour:02}:{minute:02}"))
        }
        // A table without keys is refused in services.toml, as most people mean something else by it.
        CalendarTable { minute: None, hour: None, day: None, weekday: None, month: None } => Value::text("every 1m"),
        CalendarTable { minute, hour, day, weekday, month } => {
            let members = [("minute", minute), ("hour", hour), ("day", day), ("weekday", weekday), ("month", month)];
            let number = |(name, number): (_, Option<u8>)| Some((name, Value::Number(number?.into())));
            Value::Table(members.into_iter().filter_map(number).collect())
        }
    }
}

/// `weekly Sun 03:00`, `Mon..Fri 22:00`, `Mon,Wed 08:00`, and of all seven `daily 08:00`.
pub(super) fn weekly(days: &BTreeSet<u8>, hour: u8, minute: u8) -> String {
    let time = format!("{hour:02}:{minute:02}");
    // A week that begins on Monday, as people count.
    let days: Vec<usize> = (1..=7).filter(|day| days.contains(&(day % 7))).map(usize::from).collect();
    let name = |day: usize| DAYS[day % 7];
    match days.as_slice() {
        [day] => format!("weekly {} {time}", name(*day)),
        days if days.len() == 7 => format!("daily {time}"),
        [first, .., last] if days.len() > 2 && last - first + 1 == days.len() => {
            format!("{}..{} {time}", name(*first), name(*last))
        }
        days => format!("{} {time}", days.iter().map(|day| name(*day)).collect::<Vec<_>>().join(",")),
    }
}

/// An interval in seconds: as `every N` where that can be said; else the nearest that can, and `false`.
pub(super) fn every(seconds: u64) -> (String, bool) {
    let minutes = seconds.div_ceil(60).clamp(1, 24 * 60);
    let shown = match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("every {minutes}m"),
        (hours, 0) => format!("every {hours}h"),
        (hours, minutes) => format!("every {hours}h{minutes}m"),
    };
    (shown, minutes * 60 == seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(minute: Option<u8>, hour: Option<u8>, weekday: Option<u8>) -> CalendarTable {
        CalendarTable { minute, hour, weekday, ..CalendarTable::default() }
    }

    #[test]
    fn tables_become_words_where_there_are_some() {
        let at = |weekday| table(Some(0), Some(22), Some(weekday));
        let words = |tables: &[CalendarTable]| match entries(tables).as_slice() {
            [Value::Text(text)] => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(words(&[table(Some(55), Some(7), None)]), "daily 07:55");
        assert_eq!(words(&[at(7)]), "weekly Sun 22:00");
        assert_eq!(words(&[at(0), at(7)]), "weekly Sun 22:00");
        assert_eq!(words(&[at(5), at(1), at(2), at(3), at(4)]), "Mon..Fri 22:00");
        assert_eq!(words(&[at(1), at(3)]), "Mon,Wed 22:00");
        assert_eq!(words(&(0..7).map(at).collect::<Vec<_>>()), "daily 22:00");
        assert_eq!(words(&[CalendarTable { day: Some(1), ..table(Some(0), Some(9), None) }]), "monthly 1 09:00");
        assert_eq!(words(&[CalendarTable::default()]), "every 1m");
        assert_eq!(
            entries(&[table(None, Some(3), None), at(1)]),
            [Value::Table(vec![("hour", Value::Number(3))]), Value::text("weekly Mon 22:00")]
        );
    }

    #[test]
    fn intervals_are_whole_minutes_up_to_a_day() {
        for (seconds, wanted) in [
            (3600, ("every 1h", true)),
            (5400, ("every 1h30m", true)),
            (60, ("every 1m", true)),
            (86_400, ("every 24h", true)),
            (0, ("every 1m", false)),
            (90, ("every 2m", false)),
            (90_000, ("every 24h", false)),
            (u64::MAX, ("every 24h", false)),
        ] {
            assert_eq!(every(seconds), (wanted.0.to_owned(), wanted.1), "{seconds}");
        }
    }
}
