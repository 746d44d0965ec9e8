//! A job as files of systemd: LABEL.service, and LABEL.timer for a calendar job. Pure.
//!
//! systemd guards the runner, and the runner its services: so `KillMode=process` and `OOMPolicy=continue`, or the death of
//! a runner would be the death of what its successor is to adopt. What systemd knows of starts, limits and memory of services it
//! leaves to us. Directives are as of version 244 (`ExecStart=:`); what older ones do not know they pass over with a warning.

use std::fmt::Write;

use super::driver::JobFile;
use super::job::{Job, Role, Unfit};
use crate::model::{CalendarTable, ProcessType};

/// Longest name of a unit, bytes, with its suffix (systemd.unit(5)).
const LONGEST_NAME: usize = 255;

/// Weight of what runs in the background; 100 is what everybody has (systemd.resource-control(5)).
const BACKGROUND_WEIGHT: u32 = 20;

/// Descriptors that a service may have unless it asks for more. systemd's 1024 is for programs that still use select(2).
const DESCRIPTORS: u32 = 8192;

/// More times than these nobody reads in a timer.
const MOST_LINES: usize = 1500;

const WEEKDAYS: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The files of `job`; the service first.
pub fn render(job: &Job) -> Result<Vec<JobFile>, Unfit> {
    let unfit = |why: String| Unfit { name: job.name.clone(), why };
    check(job).map_err(unfit)?;
    let mut files = vec![file(service_name(&job.label), service(job))];
    if !job.is_kept() {
        let lines = calendar_lines(job).map_err(unfit)?;
        files.push(file(timer_name(&job.label), timer(job, &lines)));
    }
    Ok(files)
}

/// The unit that starts a job's program.
pub fn service_name(label: &str) -> String {
    format!("{label}.service")
}

/// The unit that has a calendar job's times.
pub fn timer_name(label: &str) -> String {
    format!("{label}.timer")
}

fn file(name: String, text: String) -> JobFile {
    JobFile { name, bytes: text.into_bytes() }
}

/// What systemd has no way to say, or reads as something else.
fn check(job: &Job) -> Result<(), String> {
    let label = &job.label;
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '-'));
    if label.is_empty() || label.contains(odd) || label.starts_with(['-', '.']) {
        return Err(format!(
            "{label:?} cannot be the name of a systemd unit: it is made of letters, digits, ':', '_', '.' and '-'; change label_prefix"
        ));
    }
    let longest = LONGEST_NAME - ".service".len();
    if label.len() > longest {
        return Err(format!("its label has {} bytes and a systemd unit's may have {longest}: {label}", label.len()));
    }
    let Some(program) = job.argv.first() else { return Err("it has no program".into()) };
    if !program.starts_with('/') || program.ends_with('/') {
        return Err(format!("systemd starts programs by their absolute path only, not {program:?}"));
    }
    // In arguments they can be had; in the path they are refused however they are written.
    if program.contains(['"', '\'', '\\']) {
        return Err(format!("systemd starts no program with quotes or a backslash in its path: {program}; move it"));
    }
    let texts = job.argv.iter().chain(job.env.values()).chain(&job.user).chain(&job.timezone);
    if let Some(text) = texts.into_iter().find(|text| text.contains(char::is_control)) {
        return Err(format!("a systemd unit can hold no control character, and this has one: {text:?}"));
    }
    let name = |key: &&String| {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        !key.starts_with(letter) || key.contains(|c: char| !(letter(c) || c.is_ascii_digit()))
    };
    if let Some(key) = job.env.keys().find(name) {
        return Err(format!("systemd takes no variable of the name {key:?}"));
    }
    // That line is taken as it stands: no quotes, blanks at its end are cut off, a backslash joins it with the next one.
    if let Some(home) = job.env.get("HOME").filter(|home| !home.starts_with('/') || home.ends_with([' ', '\\'])) {
        return Err(format!("HOME is {home:?}, and systemd cannot take that for a working directory"));
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if let Some(user) = job.user.as_ref().filter(|user| user.is_empty() || user.contains(odd) || user.starts_with('-'))
    {
        return Err(format!("systemd takes no user of the name {user:?}"));
    }
    Ok(())
}

fn service(job: &Job) -> String {
    let mut text = head(job);
    // Never given up: that a start limit is reached would mean that nobody looks after the service any more.
    text.push_str("StartLimitIntervalSec=0\n\n[Service]\n");
    text.push_str(match job.role {
        // Whatever the steps need; the task itself has a time limit and keeps it.
        Role::Task => "Type=oneshot\n",
        Role::Daemon | Role::Runner => "Type=notify\nNotifyAccess=main\n",
    });
    // Without the colon systemd would expand `$`, in the arguments and not in the path.
    let argv: Vec<String> = job.argv.iter().map(|argument| quoted(argument)).collect();
    line(&mut text, "ExecStart", format_args!(":{}", argv.join(" ")));
    // It ends in order when it is told to. The four signals are clean ends to systemd; to us they mean that somebody ended it before
    // it could take notice.
    if job.is_kept() {
        text.push_str("Restart=on-failure\nRestartForceExitStatus=SIGHUP SIGINT SIGTERM SIGPIPE\nRestartSec=100ms\n");
    }
    // It is ready once it has taken over, which no service can hold up. Ending it when a slow disk does would end its services.
    text.push_str("TimeoutStartSec=infinity\n");
    line(&mut text, "TimeoutStopSec", job.exit_timeout_s);
    text.push_str(match job.role {
        // Nobody takes over what is left of a run.
        Role::Task => "KillMode=mixed\n",
        Role::Daemon | Role::Runner => "KillMode=process\n",
    });
    text.push_str("OOMPolicy=continue\n");
    if let Some(user) = &job.user {
        line(&mut text, "User", user);
    }
    // Without it rather than not at all.
    if let Some(home) = job.env.get("HOME") {
        line(&mut text, "WorkingDirectory", format_args!("-{}", home.replace('%', "%%")));
    }
    for (key, value) in &job.env {
        line(&mut text, "Environment", quoted(&format!("{key}={value}")));
    }
    text.push_str("UMask=0077\n");
    // The hard limit stays: nobody may raise it that far, and then systemd keeps to what there is.
    line(&mut text, "LimitNOFILE", format_args!("{DESCRIPTORS}:infinity"));
    if job.process_type == ProcessType::Background {
        line(&mut text, "CPUWeight", BACKGROUND_WEIGHT);
        line(&mut text, "IOWeight", BACKGROUND_WEIGHT);
    }
    // Panics and what keeps it from starting, no more. A file would have to be rotated by somebody, and one that cannot be opened would
    // keep it from starting.
    text.push_str("StandardOutput=journal\nStandardError=journal\n");
    if job.is_kept() {
        let target = if job.user.is_some() { "multi-user.target" } else { "default.target" };
        text.push_str("\n[Install]\n");
        line(&mut text, "WantedBy", target);
    }
    text
}

fn timer(job: &Job, lines: &[String]) -> String {
    let mut text = head(job);
    text.push_str("\n[Timer]\n");
    for at in lines {
        line(&mut text, "OnCalendar", at);
    }
    // Else it may come a minute late.
    text.push_str("AccuracySec=1s\n");
    line(&mut text, "Persistent", job.catch_up);
    text.push_str("\n[Install]\nWantedBy=timers.target\n");
    text
}

fn head(job: &Job) -> String {
    let what = match job.role {
        Role::Daemon => "supervisor".to_owned(),
        Role::Runner => format!("supervisor: {}", job.name),
        Role::Task => format!("supervisor: calendar job {}", job.name),
    };
    let mut text = String::from("# Written by `supervisor install`, which writes it anew.\n[Unit]\n");
    line(&mut text, "Description", what.replace('%', "%%"));
    text
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // A String takes everything.
    let _ = writeln!(text, "{key}={value}");
}

/// One word as systemd.syntax(7) and `ExecStart=` have it. `%` is taken for a specifier also within quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

/// What the timer of a calendar job says, in systemd's own normal form, one line for each time and none twice.
pub(super) fn calendar_lines(job: &Job) -> Result<Vec<String>, String> {
    if job.calendar.is_empty() {
        return Err("it has no times at which it would be started".into());
    }
    lines(&job.calendar, job.timezone.as_deref())
}

/// What systemd is told of `calendar`, or why it cannot be told.
pub(super) fn lines(calendar: &[CalendarTable], timezone: Option<&str>) -> Result<Vec<String>, String> {
    let zone = match timezone {
        Some(zone) if zone.contains(|c: char| !(c.is_ascii_alphanumeric() || "/_+-".contains(c))) => {
            return Err(format!("{zone:?} is no time zone"));
        }
        Some(zone) => format!(" {zone}"),
        None => String::new(),
    };
    let mut lines: Vec<String> = Vec::new();
    for table in calendar {
        for each in either(table) {
            let line = at(&each)? + &zone;
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    if lines.len() > MOST_LINES {
        return Err(format!("its calendar makes {} lines of a timer, more than {MOST_LINES}", lines.len()));
    }
    Ok(lines)
}

/// launchd starts a job when the day *or* the weekday matches, systemd when both do.
fn either(table: &CalendarTable) -> Vec<CalendarTable> {
    match (table.day, table.weekday) {
        (Some(_), Some(_)) => vec![CalendarTable { weekday: None, ..*table }, CalendarTable { day: None, ..*table }],
        _ => vec![*table],
    }
}

fn at(table: &CalendarTable) -> Result<String, String> {
    let part = |what: &str, value: Option<u8>, least: u8, most: u8| match value {
        None => Ok("*".to_owned()),
        Some(value) if (least..=most).contains(&value) => Ok(format!("{value:02}")),
        Some(value) => Err(format!("there is no {what} {value}")),
    };
    let weekday = match table.weekday {
        None => String::new(),
        Some(day) => match WEEKDAYS.get(usize::from(day)) {
            Some(day) => format!("{day} "),
            None => return Err(format!("there is no weekday {day}")),
        },
    };
    Ok(format!(
        "{weekday}*-{}-{} {}:{}:00",
        part("month", table.month, 1, 12)?,
        part("day", table.day, 1, 31)?,
        part("hour", table.hour, 0, 23)?,
        part("minute", table.minute, 0, 59)?
    ))
}

/// The table that a line of [`calendar_lines`] stands for, with 0 for Sunday; `None` for what such a table cannot say. A zone
/// is passed over.
pub(super) fn read_line(line: &str) -> Option<CalendarTable> {
    let mut words = line.split_whitespace().peekable();
    let day_of_week = |word: &str| WEEKDAYS.iter().position(|day| *day == word);
    let weekday = words.peek().and_then(|word| day_of_week(word));
    if weekday.is_some() {
        words.next();
    }
    let number = |text: &str| match text {
        "*" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let mut date = words.next()?.split('-');
    let mut time = words.next()?.split(':');
    if date.next() != Some("*") {
        return None;
    }
    let (month, day) = (number(date.next()?)?, number(date.next()?)?);
    let (hour, minute) = (number(time.next()?)?, number(time.next()?)?);
    let exact = time.next() == Some("00") && date.next().is_none() && time.next().is_none();
    let weekday = weekday.and_then(|day| u8::try_from(day).ok());
    exact.then_some(CalendarTable { minute, hour, day, weekday, month })
}

#[cfg(test)]
#[path = "unit_tests.rs"]
mod tests;
