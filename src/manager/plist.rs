//! A job as launchd's property list (launchd.plist(5)). Pure.
//!
//! Decision: launchd's conditions are used as little as can be. It respawns a runner that died, and every ten minutes starts a
//! daemon that it held back; when a service is started again is decided by its runner, for which launchd has no words.

use std::collections::BTreeSet;

use ::plist::{Dictionary, Value};

use super::job::{self, Job, Role, Unfit};
use super::lint;
use crate::model::{CalendarTable, ProcessType};

/// launchd's default is 256 (launchctl limit maxfiles), too little for a server; the hard limit is none unless somebody sets one.
const DESCRIPTORS: u64 = 8192;

/// Of so many tables the file still has a size that launchd and people can read: every minute of a day is 1440.
const MOST_TABLES: usize = 1500;

/// umask(2): nothing for the group, nothing for others. A property list knows no octal.
const UMASK: u64 = 0o077;

/// The name of the job's file.
pub fn file_name(label: &str) -> String {
    format!("{label}.plist")
}

/// The job's file, XML, always the same bytes for the same job. What our own linter would not take is not written.
pub fn render(job: &Job) -> Result<Vec<u8>, Unfit> {
    let unfit = |why: String| Unfit { name: job.name.clone(), why };
    let dictionary = dictionary(job).map_err(unfit)?;
    let mut bytes = Vec::new();
    Value::Dictionary(dictionary)
        .to_writer_xml(&mut bytes)
        .map_err(|e| unfit(format!("its property list cannot be written: {e}")))?;
    bytes.push(b'\n');
    match lint::lint_file(&bytes, &file_name(&job.label)).into_iter().find(|finding| finding.is_error()) {
        Some(finding) => Err(unfit(format!("launchd would not take it: {finding}"))),
        None => Ok(bytes),
    }
}

/// What launchd does other than a person might think, and what can be done about it.
pub fn warnings(job: &Job) -> Vec<String> {
    let mut warnings = Vec::new();
    let days: BTreeSet<u8> = job.calendar.iter().filter_map(|table| table.day).filter(|day| *day > 28).collect();
    if let Some(day) = days.first() {
        warnings.push(format!(
            "day {day} is not in every month; launchd may start it on the first of the next month then (use a day up to 28)"
        ));
    }
    let hours: BTreeSet<u8> =
        job.calendar.iter().filter_map(|t| t.hour).filter(|hour| (1..=3).contains(hour)).collect();
    if let Some(hour) = hours.first() {
        warnings.push(format!(
            "on the days when the clock is changed, launchd may start it an hour late, twice, or not at all at {hour} o'clock \
             (use an hour that every day has once, such as 04:00 or later)"
        ));
    }
    warnings
}

/// When launchd is told to start a job: as [`Job::calendar`], with hours and minutes written out, sorted, each once.
pub fn calendar(job: &Job) -> Result<Vec<CalendarTable>, String> {
    tables(&job.calendar, job.timezone.as_deref())
}

/// What launchd is told of `calendar`, or why it cannot be told.
pub(super) fn tables(calendar: &[CalendarTable], timezone: Option<&str>) -> Result<Vec<CalendarTable>, String> {
    if let (Some(zone), false) = (timezone, calendar.is_empty()) {
        return Err(format!("launchd knows the machine's own time zone only, and its timezone is {zone:?}"));
    }
    if calendar.iter().any(|table| table.weekday.is_some() && table.month.is_some()) {
        return Err("launchd ignores the month of an entry that has a weekday".into());
    }
    let tables = job::written_out(calendar);
    if tables.len() > MOST_TABLES {
        return Err(format!("its calendar makes {} entries for launchd, more than {MOST_TABLES}", tables.len()));
    }
    let table =
        |[month, day, weekday, hour, minute]: [Option<u8>; 5]| CalendarTable { minute, hour, day, weekday, month };
    Ok(tables.into_iter().map(table).collect())
}

fn dictionary(job: &Job) -> Result<Dictionary, String> {
    let mut all = Dictionary::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    let log = job.log.to_str().ok_or("the path of its log is no UTF-8, which a property list has to be")?;
    put("Label", text(&job.label)?);
    put("ProgramArguments", Value::Array(job.argv.iter().map(|word| text(word)).collect::<Result<_, _>>()?));
    let mut env = Dictionary::new();
    for (key, value) in &job.env {
        text(key)?;
        env.insert(key.clone(), text(value)?);
    }
    put("EnvironmentVariables", Value::Dictionary(env));
    if let Some(home) = job.env.get("HOME") {
        put("WorkingDirectory", text(home)?);
    }
    match &job.user {
        // Only root's launchd heeds it; sessions mean nothing there.
        Some(user) => put("UserName", text(user)?),
        // One file for a person's desktop and for a login over SSH.
        None => put("LimitLoadToSessionType", Value::Array(vec!["Aqua".into(), "Background".into()])),
    };
    match job.role {
        Role::Daemon => put("KeepAlive", true.into()),
        // It ends with 0 when everything it owns was stopped on purpose.
        Role::Runner => put("KeepAlive", Value::Dictionary(Dictionary::from_iter([("SuccessfulExit", false)]))),
        Role::Task => None,
    };
    if job.is_kept() {
        put("RunAtLoad", true.into());
        put("ThrottleInterval", job.throttle_s.max(1).into());
        // What it started outlives it, and its successor finds it again.
        put("AbandonProcessGroup", true.into());
        put("SoftResourceLimits", Value::Dictionary(Dictionary::from_iter([("NumberOfFiles", DESCRIPTORS)])));
    }
    let tables = calendar(job)?;
    if !tables.is_empty() {
        put("StartCalendarInterval", Value::Array(tables.iter().map(interval).collect()));
    }
    put("ExitTimeOut", job.exit_timeout_s.max(1).into());
    put("ProcessType", process_type(job.process_type).into());
    put("Umask", UMASK.into());
    put("StandardOutPath", text(log)?);
    put("StandardErrorPath", text(log)?);
    Ok(all)
}

fn interval(table: &CalendarTable) -> Value {
    let fields = [
        ("Month", table.month),
        ("Day", table.day),
        ("Weekday", table.weekday),
        ("Hour", table.hour),
        ("Minute", table.minute),
    ];
    let written = fields.into_iter().filter_map(|(key, value)| Some((key, u64::from(value?))));
    Value::Dictionary(written.collect())
}

fn process_type(kind: ProcessType) -> &'static str {
    match kind {
        ProcessType::Interactive => "Interactive",
        ProcessType::Standard => "Standard",
        ProcessType::Adaptive => "Adaptive",
        ProcessType::Background => "Background",
    }
}

/// A string, unless XML 1.0 has no way to write it.
fn text(text: &str) -> Result<Value, String> {
    let illegal =
        |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    match text.chars().find(|c| illegal(*c)) {
        Some(c) => Err(format!("{text:?} holds the character {c:?}, which a property list cannot hold")),
        None => Ok(text.into()),
    }
}

#[cfg(test)]
#[path = "plist_tests.rs"]
mod tests;
