//! What `launchctl print` and `launchctl print-disabled` say, read. Pure.
//!
//! Apple calls these texts no interface, and they change from one macOS to the next; they are all there is. So the reader takes what
//! it knows and passes over the rest. Blocks are told by their indentation and not by counting braces, since an argument may end
//! with one: a line that begins with exactly one tab is the service's own, and everything deeper belongs to the block above it
//! (which has a `state` and a `pid` of its own).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::driver::{JobState, Standing};
use crate::model::CalendarTable;

/// launchd's own number for "could not be started", EX_CONFIG of sysexits.
const EX_CONFIG: i32 = 78;

/// What launchd tells of a service. `None` and empty: it does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Printed {
    /// The first line: `gui/501/LABEL`, on old macOS only `LABEL`.
    pub target: Option<String>,
    /// Its domain, such as `gui/501`.
    pub domain: Option<String>,
    /// `running`, `not running`, `spawn scheduled`, `SIGTERMed` and so on.
    pub state: Option<String>,
    /// `running`, `exited` or `spawn failed`.
    pub job_state: Option<String>,
    /// Its process.
    pub pid: Option<i32>,
    /// How it ended last; `None` also when it never did.
    pub last_exit: Option<ExitCode>,
    /// What ended it last, such as `Killed: 9`, instead of an exit code.
    pub last_signal: Option<String>,
    /// What ended it last, such as `OS_REASON_CODESIGNING`, instead of an exit code.
    pub last_reason: Option<String>,
    /// Starts since it was loaded.
    pub runs: Option<u64>,
    /// Ends by a crash one after the other.
    pub successive_crashes: Option<u64>,
    /// Why a start that is due is held back: `speculative`, `inefficient`, `semaphore`.
    pub pended: Option<String>,
    /// Why it was started last, such as `non-ipc demand`.
    pub reason: Option<String>,
    /// Least time between two starts, seconds.
    pub minimum_runtime_s: Option<u64>,
    /// The same as its plist has it; less than `minimum_runtime_s` after crashes.
    pub base_minimum_runtime_s: Option<u64>,
    /// From SIGTERM to SIGKILL, seconds.
    pub exit_timeout_s: Option<u64>,
    /// The file it was loaded from.
    pub path: Option<PathBuf>,
    /// What is started.
    pub program: Option<String>,
    /// argv.
    pub arguments: Option<Vec<String>>,
    /// Names of its own variables, sorted. Their values may be secrets, and are not kept.
    pub environment: Option<Vec<String>>,
    /// `keepalive`, `runatload`, `needs LWCR update` and so on.
    pub properties: Vec<String>,
    /// When the calendar starts it; `None` when no trigger is told, or one that is not understood.
    pub calendar: Option<Vec<CalendarTable>>,
}

/// An exit code, with its name in sysexits.h where launchd gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitCode {
    /// The number.
    pub code: i32,
    /// Such as `EX_CONFIG`.
    pub name: Option<String>,
}

/// The block whose lines are being read.
enum Block {
    Other,
    Arguments,
    Environment,
    Properties,
    Triggers(Trigger),
}

/// One entry of `event triggers`.
#[derive(Default)]
struct Trigger {
    in_descriptor: bool,
    is_calendar: bool,
    table: CalendarTable,
    is_strange: bool,
}

/// Reads `launchctl print DOMAIN/LABEL`.
pub fn service(text: &str) -> Printed {
    let mut found = Printed::default();
    let mut block = Block::Other;
    let mut is_calendar_known = true;
    for (number, line) in text.lines().enumerate() {
        let depth = line.bytes().take_while(|b| *b == b'\t').count();
        let rest = &line[depth..];
        match (depth, &mut block) {
            (0, _) if number == 0 => found.target = rest.strip_suffix(" = {").map(str::to_owned),
            (0, _) => {}
            (1, _) => block = own_line(&mut found, rest),
            // An argument may itself begin with tabs.
            (_, Block::Arguments) => found.arguments.get_or_insert_default().push(line[2..].to_owned()),
            (2, Block::Environment) => {
                if let Some((name, _)) = rest.split_once(" => ") {
                    found.environment.get_or_insert_default().push(name.to_owned());
                }
            }
            (2, Block::Properties) => {
                if let Some((name, "1" | "true" | "yes")) = rest.split_once(" = ") {
                    found.properties.push(name.to_owned());
                }
            }
            (_, Block::Triggers(trigger)) => {
                if let Some(done) = trigger.line(depth, rest) {
                    match done {
                        Ok(table) => found.calendar.get_or_insert_default().push(table),
                        Err(()) => is_calendar_known = false,
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(environment) = &mut found.environment {
        environment.sort_unstable();
        environment.dedup();
    }
    found.calendar = found.calendar.filter(|_| is_calendar_known);
    if let Some(calendar) = &mut found.calendar {
        calendar.sort_unstable_by_key(|t| (t.minute, t.hour, t.day, t.weekday, t.month));
    }
    found
}

/// A line with one tab; the block that it opens.
fn own_line(found: &mut Printed, line: &str) -> Block {
    // Only the first is a separator: values may hold another.
    let Some((key, value)) = line.split_once(" = ") else { return Block::Other };
    if value == "{" {
        return match key {
            "arguments" => {
                found.arguments.get_or_insert_default();
                Block::Arguments
            }
            "environment" => {
                found.environment.get_or_insert_default();
                Block::Environment
            }
            "properties" => Block::Properties,
            "event triggers" => Block::Triggers(Trigger::default()),
            _ => Block::Other,
        };
    }
    let text = || Some(value.to_owned());
    match key {
        "state" => found.state = text(),
        "job state" => found.job_state = text(),
        "pid" => found.pid = value.parse().ok().filter(|pid| *pid > 0),
        "domain" => found.domain = value.split(" [").next().map(str::to_owned),
        "last exit code" => found.last_exit = exit_code(value),
        "last terminating signal" => found.last_signal = text(),
        "last exit reason" => found.last_reason = text(),
        "runs" => found.runs = value.parse().ok(),
        "successive crashes" => found.successive_crashes = value.parse().ok(),
        "pended nondemand spawn" => found.pended = text().filter(|why| !matches!(why.as_str(), "false" | "(none)")),
        "immediate reason" => found.reason = text(),
        "minimum runtime" => found.minimum_runtime_s = seconds(value),
        "base minimum runtime" => found.base_minimum_runtime_s = seconds(value),
        "exit timeout" => found.exit_timeout_s = seconds(value),
        // Jobs of other programs say `(submitted by NAME[PID])` here.
        "path" => found.path = value.starts_with('/').then(|| value.into()),
        "program" => found.program = text(),
        "properties" => found.properties = value.split(" | ").map(str::to_owned).collect(),
        _ => {}
    }
    Block::Other
}

fn seconds(value: &str) -> Option<u64> {
    value.split(' ').next()?.parse().ok()
}

/// `0`, `78: EX_CONFIG`; `(never exited)` is none.
fn exit_code(value: &str) -> Option<ExitCode> {
    let (code, name) = value.split_once(": ").map_or((value, None), |(code, name)| (code, Some(name.to_owned())));
    Some(ExitCode { code: code.parse().ok()?, name })
}

impl Trigger {
    /// A line inside of `event triggers`; when a calendar trigger is over, its table, or that it was not understood.
    fn line(&mut self, depth: usize, line: &str) -> Option<Result<CalendarTable, ()>> {
        match (depth, line) {
            (2, "}") => {
                let done = std::mem::take(self);
                return done.is_calendar.then_some(if done.is_strange { Err(()) } else { Ok(done.table) });
            }
            (2, _) => *self = Self::default(),
            (3, "descriptor = {") => self.in_descriptor = true,
            (3, "stream = com.apple.launchd.calendarinterval") => self.is_calendar = true,
            (3, _) => self.in_descriptor = false,
            (4, _) if self.in_descriptor => {
                let entry = line.split_once(" => ").and_then(|(key, n)| Some((key.trim_matches('"'), n.parse().ok()?)));
                let place = match entry {
                    Some(("Minute", _)) => &mut self.table.minute,
                    Some(("Hour", _)) => &mut self.table.hour,
                    Some(("Day", _)) => &mut self.table.day,
                    Some(("Weekday", _)) => &mut self.table.weekday,
                    Some(("Month", _)) => &mut self.table.month,
                    _ => {
                        self.is_strange = true;
                        return None;
                    }
                };
                *place = entry.map(|(_, n)| n);
            }
            _ => {}
        }
        None
    }
}

/// Reads `launchctl print-disabled DOMAIN`: each label that somebody has switched off (`true`) or on. Old macOS says `true` and
/// `false` there, newer ones `disabled` and `enabled`.
pub fn disabled(text: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        match line {
            "disabled services = {" => is_inside = true,
            // Other lists follow, of login items for example.
            "}" => is_inside = false,
            _ if !is_inside => {}
            _ => {
                let Some((label, value)) = line.rsplit_once(" => ") else { continue };
                let is_off = match value {
                    "disabled" | "true" => true,
                    "enabled" | "false" => false,
                    _ => continue,
                };
                found.insert(label.trim_matches('"').to_owned(), is_off);
            }
        }
    }
    found
}

/// How a job stands of which launchd tells `printed` (`None`: it does not know the label), and that was asked for in `domain`.
pub fn verdict(printed: Option<&Printed>, disabled: bool, domain: &str) -> JobState {
    let Some(printed) = printed else { return JobState::absent(disabled) };
    let environment = printed.environment.as_ref().map(|names| {
        // What launchd itself adds; also to jobs whose plist has no environment at all.
        let is_launchds = |name: &str| name.starts_with("XPC_") || name == "OSLogRateLimit";
        names.iter().filter(|name| !is_launchds(name)).cloned().collect()
    });
    JobState {
        standing: standing(printed),
        pid: printed.pid,
        file: printed.path.clone(),
        argv: printed.arguments.clone(),
        env_names: environment,
        calendar: printed.calendar.clone(),
        disabled,
        last_exit: printed.last_end(),
        runs: printed.runs,
        domain: Some(domain.to_owned()),
    }
}

fn standing(printed: &Printed) -> Standing {
    let state = printed.state.as_deref().unwrap_or_default();
    if let Some(why) = printed.spawn_failure() {
        return Standing::CannotStart(why);
    }
    match (&printed.pended, printed.pid, state) {
        // A start by the calendar may be held back beside a process; that harms nobody.
        (Some(why), None, _) => Standing::Pended(format!("launchd holds its start back ({why})")),
        (_, Some(_), "SIGTERMed" | "SIGKILLed") => Standing::Stopping,
        // launchd's helper, which opens the log and becomes the program, or does not.
        (_, _, "xpcproxy" | "spawning") => Standing::Delayed,
        (_, Some(_), _) => Standing::Running,
        (_, None, "spawn scheduled") => Standing::Delayed,
        (_, None, _) => Standing::Stopped,
    }
}

impl Printed {
    /// Why launchd could not start it, if the last start failed.
    fn spawn_failure(&self) -> Option<String> {
        let refused = ["OS_REASON_CODESIGNING", "OS_REASON_EXEC", "OS_REASON_DYLD"]
            .into_iter()
            .find(|reason| self.last_reason.as_deref().is_some_and(|last| last.starts_with(reason)));
        if self.job_state.as_deref() != Some("spawn failed") && (refused.is_none() || self.pid.is_some()) {
            return None;
        }
        let end = self.last_end().unwrap_or_else(|| "spawn failed".to_owned());
        let program = self.program.as_deref().unwrap_or("its program");
        Some(match (refused, self.last_exit.as_ref().map(|exit| exit.code)) {
            (Some("OS_REASON_CODESIGNING"), _) => format!(
                "macOS refuses {program} ({end}): it is another one than when the job was loaded; unload and load the job again"
            ),
            (Some("OS_REASON_DYLD"), _) => format!("a library that {program} needs cannot be loaded ({end})"),
            (Some(_), _) => format!("macOS refuses {program} ({end})"),
            (None, Some(EX_CONFIG)) => format!(
                "launchd could not start {program} ({end}): it is missing or not allowed, or its log or working directory cannot be opened"
            ),
            (None, _) => format!("launchd could not start {program} ({end})"),
        })
    }

    /// How it ended last, in launchd's words.
    pub fn last_end(&self) -> Option<String> {
        let code = self.last_exit.as_ref().map(|exit| match &exit.name {
            Some(name) => format!("exit code {}: {name}", exit.code),
            None => format!("exit code {}", exit.code),
        });
        self.last_reason.clone().or_else(|| self.last_signal.clone()).or(code)
    }
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
