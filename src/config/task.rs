//! `[task.NAME]`: a calendar job.

use toml::de::DeValue;

use super::bounds::{self, secs};
use super::fault::code;
use super::fields::Fields;
use super::reader::{Ctx, Field};
use super::service::{environment, stop_signal};
use super::units::{Wrong, quoted};
use super::{Surroundings, calendar_form, step};
use crate::model::{CalendarTable, CatchUp, Overlap, Schedule, TaskSpec, UnitName};

pub(super) const KEYS: &[&str] = &[
    "calendar",
    "timezone",
    "steps",
    "catch_up",
    "overlap",
    "start_within",
    "max_runtime",
    "min_runtime",
    "stop_signal",
    "stop_timeout",
    "enabled",
    "cwd",
    "env",
    "env_file",
];
pub(super) const CALENDAR_KEYS: &[&str] = &["minute", "hour", "day", "weekday", "month"];
pub(super) const CATCH_UP_KEYS: &[&str] = &["within"];

const OVERLAPS: &[(&str, Overlap)] =
    &[("skip", Overlap::Skip), ("queue", Overlap::Queue), ("replace", Overlap::Replace)];

const CALENDAR_EXAMPLE: &str = "\"daily 07:55\"";

pub(super) fn read(ctx: &mut Ctx<'_>, name: UnitName, f: &Fields<'_>) -> TaskSpec {
    for (key, example) in [("calendar", CALENDAR_EXAMPLE.to_owned()), ("steps", format!("[{}]", step::EXAMPLE))] {
        let Some(field) = f.get(key) else {
            f.missing(ctx, &format!("`{key}`"), &format!("write {key} = {example}"));
            continue;
        };
        if field.value().as_array().is_some_and(|array| array.is_empty()) {
            let wrong = Wrong::new(code::MISSING, "the list is empty, so nothing would ever run", "empty");
            field.wrong(ctx, wrong.help(format!("write {key} = {example}")));
        }
    }
    let max_runtime = f.duration(ctx, "max_runtime", secs(3600), &bounds::MAX_RUNTIME);
    let min_runtime = f.duration(ctx, "min_runtime", secs(0), &bounds::MIN_RUNTIME);
    if min_runtime > max_runtime {
        let message = "it is above `max_runtime`, so every run would be too short or too long".to_owned();
        f.conflict(ctx, "min_runtime", message, "above max_runtime", "write a min_runtime below max_runtime");
    }
    let home = ctx.around.home.clone();
    TaskSpec {
        name,
        enabled: f.boolean(ctx, "enabled", true),
        calendar: f.list_or_one(
            ctx,
            "calendar",
            ("a calendar entry or a list of them", CALENDAR_EXAMPLE),
            |value| matches!(value, DeValue::String(_) | DeValue::Table(_)),
            schedule,
        ),
        timezone: f.get("timezone").and_then(|field| timezone(ctx, &field)),
        steps: step::read(ctx, f, max_runtime),
        overlap: f.choice(ctx, "overlap", Overlap::Skip, OVERLAPS),
        stop_signal: stop_signal(ctx, f),
        stop_timeout: f.duration(ctx, "stop_timeout", secs(10), &bounds::STOP_TIMEOUT),
        catch_up: f.get("catch_up").and_then(|field| catch_up(ctx, &field)).unwrap_or(CatchUp::Once),
        start_within: f.duration(ctx, "start_within", secs(600), &bounds::START_WITHIN),
        max_runtime,
        min_runtime,
        cwd: f.path(ctx, "cwd").unwrap_or(home),
        env: environment(ctx, f),
        env_file: f.path(ctx, "env_file"),
    }
}

fn schedule(ctx: &mut Ctx<'_>, member: &Field<'_>) -> Option<Schedule> {
    if let DeValue::Table(table) = member.value() {
        let f = Fields::open(ctx, member, table, CALENDAR_KEYS);
        let entry = CalendarTable {
            minute: calendar_number(ctx, &f, "minute", 0, 59),
            hour: calendar_number(ctx, &f, "hour", 0, 23),
            day: calendar_number(ctx, &f, "day", 1, 31),
            weekday: calendar_number(ctx, &f, "weekday", 0, 7),
            month: calendar_number(ctx, &f, "month", 1, 12),
        };
        // A table whose only key is unknown or faulty has been reported as that already.
        if !table.is_empty() && entry == CalendarTable::default() {
            return None;
        }
        calendar_form::table(&entry).map_err(|wrong| member.wrong(ctx, wrong)).ok()?;
        return Some(Schedule::Table(entry));
    }
    let text = member.text(ctx, "a text or a table", "\"daily 07:55\"")?;
    let (rule, tables) = calendar_form::words(text)
        .map_err(|malformed| member.wrong_part(ctx, &malformed.part, malformed.wrong))
        .ok()?;
    Some(Schedule::Words { text: text.trim().to_owned(), rule, tables })
}

fn calendar_number(ctx: &mut Ctx<'_>, f: &Fields<'_>, key: &str, low: i64, high: i64) -> Option<u8> {
    let field = f.get(key)?;
    // What was meant by a name is shown as the number that it is.
    let meant = match field.value() {
        DeValue::String(text) => calendar_form::number(key, text),
        _ => None,
    };
    let example = meant.map(i64::from).filter(|meant| (low..=high).contains(meant)).unwrap_or(low);
    let number = field.number(ctx, low..=high, &example.to_string())?;
    u8::try_from(number).ok()
}

/// An IANA zone's name, as this machine knows it.
fn timezone(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    let text = field.text(ctx, "a time zone's name in quotes", "\"local\"")?;
    if text == "local" {
        return None;
    }
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    if !text.split('/').all(part) {
        let wrong = Wrong::new(code::BAD_FORM, format!("{} is no time zone's name", quoted(text)), "no zone");
        field.wrong(ctx, wrong.help("write \"local\", \"UTC\", or a name such as \"Europe/Berlin\""));
        return None;
    }
    match Surroundings::zone(text) {
        Ok(zone) => Some(zone),
        Err(near) => {
            let help = near.map_or_else(
                || "write \"local\", \"UTC\", or a name such as \"Europe/Berlin\"".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            let message = format!("this machine knows no time zone {}", quoted(text));
            field.wrong(ctx, Wrong::new(code::BAD_FORM, message, "not known").help(help));
            None
        }
    }
}

fn catch_up(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<CatchUp> {
    if let DeValue::Table(table) = field.value() {
        let f = Fields::open(ctx, field, table, CATCH_UP_KEYS);
        let Some(within) = f.get("within") else {
            f.missing(ctx, "`within`", "write catch_up = { within = \"6h\" }");
            return None;
        };
        return within.duration(ctx, &bounds::CATCH_UP).map(CatchUp::Within);
    }
    field.choice_beside(ctx, &[("once", CatchUp::Once), ("skip", CatchUp::Skip)], Some("{ within = \"6h\" }"))
}
