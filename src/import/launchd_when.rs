//! launchd's StartCalendarInterval and StartInterval to a task's calendar, and what people mistake in them.

use plist::{Dictionary, Value as Plist};

use super::calendar;
use super::launchd_keys::{Agent, kind, nearest, number};
use super::unit::{Unit, Value};
use crate::model::CalendarTable;

const KEYS: [&str; 5] = ["Minute", "Hour", "Day", "Weekday", "Month"];
/// Days of each month in the year that has most.
const LONGEST: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Whether it is started at certain times.
pub(super) fn is_timed(agent: &Agent<'_>) -> bool {
    agent.has("StartCalendarInterval") || agent.has("StartInterval")
}

/// Sets `calendar`.
pub(super) fn set(unit: &mut Unit, agent: &mut Agent<'_>) {
    let mut written = Vec::new();
    if let Some(value) = agent.take("StartCalendarInterval") {
        let dicts: Vec<&Plist> = match value {
            Plist::Array(members) => members.iter().collect(),
            other => vec![other],
        };
        let tables: Vec<CalendarTable> = dicts.into_iter().filter_map(|value| table(unit, value)).collect();
        remarks(unit, &tables);
        written = calendar::entries(&tables);
    }
    if let Some(seconds) = agent.number(unit, "StartInterval") {
        let (words, exact) = calendar::every(u64::try_from(seconds).unwrap_or(0));
        if exact {
            unit.say("calendar", format!("launchd counted {seconds} s from when it was loaded"));
        } else {
            unit.turn_off(format!(
                "it was started every {seconds} s, and the calendar has whole minutes from 1m to 24h: \"{words}\" is the nearest"
            ));
        }
        written.push(Value::Text(words));
    }
    if written.is_empty() {
        unit.void("nothing is left of its calendar");
    }
    unit.set("calendar", Value::List(written));
}

/// One dict; what cannot be understood is left out, and switches the task off.
fn table(unit: &mut Unit, value: &Plist) -> Option<CalendarTable> {
    let Some(dict) = value.as_dictionary() else {
        unit.turn_off(format!("an entry of StartCalendarInterval is {}, not a dict, and is left out", kind(value)));
        return None;
    };
    for key in dict.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let near = nearest(key, &KEYS).map(|near| format!(": did you mean {near}?")).unwrap_or_default();
        unit.turn_off(format!("StartCalendarInterval has a key {key}, which launchd does not know{near}"));
    }
    let mut field = |key, bounds| field(unit, dict, key, bounds);
    let minute = field("Minute", 0..=59);
    let hour = field("Hour", 0..=23);
    let day = field("Day", 1..=31);
    let weekday = field("Weekday", 0..=7);
    let month = field("Month", 1..=12);
    let table = CalendarTable { minute: minute?, hour: hour?, day: day?, weekday: weekday?, month: month? };
    let longest = table.month.and_then(|month| LONGEST.get(usize::from(month) - 1)).copied().unwrap_or(31);
    if table.weekday.is_none() && table.day.is_some_and(|day| day > longest) {
        unit.turn_off("an entry of StartCalendarInterval names a day that its month never has, and is left out");
        return None;
    }
    Some(table)
}

/// A member of the dict; the outer `None` where it is there and is nothing that could be meant.
fn field(unit: &mut Unit, dict: &Dictionary, key: &str, bounds: std::ops::RangeInclusive<i64>) -> Option<Option<u8>> {
    let Some(value) = dict.get(key) else { return Some(None) };
    let found = number(value).filter(|n| bounds.contains(n)).and_then(|n| u8::try_from(n).ok());
    if found.is_none() {
        let (low, high) = (bounds.start(), bounds.end());
        let what = number(value).map_or_else(|| kind(value).to_owned(), |n| n.to_string());
        unit.turn_off(format!(
            "{key} of StartCalendarInterval is {what}, not a number from {low} to {high}: that entry is left out"
        ));
    }
    found.map(Some)
}

/// What surprises people.
fn remarks(unit: &mut Unit, tables: &[CalendarTable]) {
    let any = |test: &dyn Fn(&CalendarTable) -> bool| tables.iter().any(test);
    if any(&|t| t.minute.is_none()) {
        let at = tables.iter().find(|t| t.minute.is_none()).and_then(|t| t.hour);
        let when = at.map_or_else(|| "all the time".to_owned(), |hour| format!("from {hour:02}:00 to {hour:02}:59"));
        unit.warn(
            "calendar",
            format!("no Minute: it starts EVERY minute, {when}; if once was meant, write the minute too"),
        );
    }
    if any(&|t| t.hour.is_none() && t.minute.is_some()) {
        unit.warn("calendar", "no Hour: it starts every hour of the day; if once was meant, write the hour too");
    }
    if any(&|t| t.day.is_some() && t.weekday.is_some()) {
        unit.warn("calendar", "Day and Weekday: it starts when EITHER matches, as with cron, not only when both do");
    }
    if any(&|t| t.weekday.is_some() && t.month.is_some()) {
        unit.warn(
            "calendar",
            "Weekday with Month: launchd has been known to ignore the month; here both have to match",
        );
    }
    if any(&|t| t.day.is_some_and(|day| day > 28)) {
        unit.warn(
            "calendar",
            "not every month has this day: launchd may then run on the 1st; here such a month is left out",
        );
    }
    let plain = |t: &CalendarTable| t.hour.is_some() && t.weekday.is_none() && t.day.is_none() && t.month.is_none();
    if unit.wanted.to_lowercase().contains("week") && !tables.is_empty() && tables.iter().all(plain) {
        let time = tables.first().map(|t| format!("{:02}:{:02}", t.hour.unwrap_or(0), t.minute.unwrap_or(0)));
        let time = time.unwrap_or_default();
        unit.warn(
            "calendar",
            format!("it is called weekly and has no Weekday: it runs DAILY; if weekly was meant, write \"weekly Sun {time}\""),
        );
    }
}
