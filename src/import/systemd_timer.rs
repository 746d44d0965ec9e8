//! systemd's timers: each makes a task of the service that it starts.

use super::lines::Section;
use super::systemd::{last, list, stem};
use super::systemd_words::{Span, span, truth};
use super::unit::{Place, Unit, Value};
use super::{Wrong, calendar, on_calendar};

/// A timer that waits for its service.
pub(super) struct Timer {
    file: String,
    /// The service it starts.
    starts: String,
    calendar: Vec<Value>,
    keys: Vec<(&'static str, Value)>,
    remarks: Vec<String>,
    off: Vec<String>,
}

/// What a `.timer` says.
pub(super) fn read(sections: &[Section], place: &Place<'_>) -> Timer {
    let starts = last(sections, "Timer", "Unit").map_or_else(|| format!("{}.service", stem(place)), str::to_owned);
    let mut timer = Timer {
        file: place.shown.to_owned(),
        starts,
        calendar: Vec::new(),
        keys: Vec::new(),
        remarks: Vec::new(),
        off: Vec::new(),
    };
    let mut zones: Vec<Option<String>> = Vec::new();
    for text in list(sections, "Timer", "OnCalendar") {
        match on_calendar::entry(text) {
            Ok((value, zone)) => {
                timer.calendar.push(value);
                zones.push(zone);
            }
            Err(why) => timer.off.push(format!("OnCalendar={text} is left out: {why}")),
        }
    }
    match zones.first().cloned().flatten() {
        Some(zone) if zones.iter().all(|other| other.as_ref() == Some(&zone)) => {
            timer.keys.push(("timezone", Value::Text(zone)))
        }
        _ if zones.iter().any(Option::is_some) => {
            timer.off.push("its entries have different time zones, and a task has one".into())
        }
        _ => {}
    }
    let seconds = |text: &str| match span(text) {
        Some(Span::Of(time)) => time.as_secs(),
        _ => 0,
    };
    for key in ["OnUnitActiveSec", "OnUnitInactiveSec"] {
        for text in list(sections, "Timer", key) {
            let (words, exact) = calendar::every(seconds(text));
            timer.remarks.push(format!("{key} {text} was counted from its last run"));
            if !exact {
                timer
                    .off
                    .push(format!("{key} {text} is not from 1m to 24h in whole minutes: \"{words}\" is the nearest"));
            }
            timer.calendar.push(Value::Text(words));
        }
    }
    for key in ["OnBootSec", "OnStartupSec", "OnActiveSec"] {
        if let Some(text) = last(sections, "Timer", key) {
            timer
                .remarks
                .push(format!("{key} {text} is left out: a run after the start of the machine has no words here"));
        }
    }
    if last(sections, "Timer", "Persistent").and_then(truth) != Some(true) {
        timer.keys.push(("catch_up", Value::text("skip")));
    }
    let left = ["RandomizedDelaySec", "FixedRandomDelay", "WakeSystem", "OnClockChange", "OnTimezoneChange"];
    let left: Vec<&str> = left.into_iter().filter(|key| last(sections, "Timer", key).is_some()).collect();
    if !left.is_empty() {
        timer.remarks.push(format!("without a counterpart here, and left out: {}", left.join(", ")));
    }
    timer
}

/// Makes tasks of the services that `timers` start; tells of timers whose service is not there, each with its file.
pub(super) fn join(timers: Vec<Timer>, units: &mut [Unit]) -> Vec<(String, Wrong)> {
    let mut wrong = Vec::new();
    for timer in timers {
        let Timer { file, starts, calendar, keys, remarks, off } = timer;
        let named = |unit: &&mut Unit| {
            format!("{}.service", unit.wanted) == starts && (unit.as_task.is_some() || unit.by_timer)
        };
        let Some(unit) = units.iter_mut().find(named) else {
            let message = format!("it starts {starts}, which is not among these files");
            wrong.push((file, Wrong::new(message, format!("name {starts} on the same command line"))));
            continue;
        };
        if let Some(task) = unit.as_task.take() {
            *unit = *task;
            unit.by_timer = true;
        }
        unit.file = format!("{} and {file}", unit.file);
        remarks.into_iter().for_each(|remark| unit.say("calendar", remark));
        off.into_iter().for_each(|why| unit.turn_off(why));
        keys.into_iter().for_each(|(key, value)| unit.set(key, value));
        match unit.keys.get_mut("calendar") {
            Some(Value::List(entries)) => entries.extend(calendar),
            _ if calendar.is_empty() => unit.void("nothing is left of its timer's calendar"),
            _ => unit.set("calendar", Value::List(calendar)),
        }
    }
    wrong
}
