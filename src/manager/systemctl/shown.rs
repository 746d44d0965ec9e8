//! What `systemctl show` answers, and what it means. Pure, and takes whatever comes: the answer of a version that nobody has
//! seen may leave things unknown, no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::manager::driver::{JobState, Standing};
use crate::manager::job::Job;
use crate::manager::unit::{calendar_lines, read_line};
use crate::model::{CalendarTable, Signal};

/// What is asked for.
pub(super) const PROPERTIES: &str = "Id,LoadState,LoadError,ActiveState,SubState,MainPID,ExecMainPID,NRestarts,ExecMainCode,\
     ExecMainStatus,Result,FragmentPath,UnitFileState,ExecStart,Environment,NeedDaemonReload,Job,TimersCalendar";

/// Exit codes by which systemd says that it could not start a program (systemd.exec(5)).
const OWN_CODES: std::ops::RangeInclusive<i64> = 200..=245;

/// The properties of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown(BTreeMap<String, Vec<String>>);

/// One for each unit, in the order in which they were asked for.
pub(super) fn read(text: &str) -> Vec<Shown> {
    let mut units = vec![Shown::default()];
    for line in text.lines() {
        match (line.split_once('='), units.last_mut()) {
            (Some((key, value)), Some(unit)) => unit.0.entry(key.into()).or_default().push(value.into()),
            // An empty line, and then the next one.
            (None, Some(unit)) if line.is_empty() && !unit.0.is_empty() => units.push(Shown::default()),
            _ => {}
        }
    }
    units.retain(|unit| !unit.0.is_empty());
    units
}

impl Shown {
    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    fn get(&self, key: &str) -> &str {
        self.all(key).next().unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.get(key).trim().parse().ok()
    }

    /// The unit's name.
    pub(super) fn id(&self) -> &str {
        self.get("Id")
    }

    /// Whether it runs, is about to, or has not ended yet; of a timer, whether it waits.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "activating" | "reloading" | "refreshing" | "deactivating")
    }

    /// Whether it has been started, and whoever waited for that waits no longer.
    pub(super) fn is_started(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "reloading" | "refreshing")
    }

    /// Whether somebody has masked it.
    pub(super) fn is_masked(&self) -> bool {
        self.get("LoadState") == "masked" || self.get("UnitFileState").starts_with("masked")
    }

    /// Whether there is no file of this name.
    pub(super) fn is_missing(&self) -> bool {
        self.get("LoadState") == "not-found"
    }

    /// Why its file is refused, if it is.
    pub(super) fn refusal(&self) -> Option<String> {
        if !matches!(self.get("LoadState"), "bad-setting" | "error") {
            return None;
        }
        // org.freedesktop.systemd1.BadUnitSetting "Unit x has a bad unit file setting."
        let error = self.get("LoadError");
        let words = error.split_once('"').map_or(error, |(_, rest)| rest.trim_end_matches('"'));
        Some(if words.is_empty() { "its file cannot be loaded".into() } else { words.to_owned() })
    }

    fn is_enabled(&self) -> bool {
        self.get("UnitFileState").starts_with("enabled")
    }

    fn is_off(&self) -> bool {
        self.is_masked() || self.get("UnitFileState") == "disabled"
    }

    fn pid(&self) -> Option<i32> {
        i32::try_from(self.number("MainPID")?).ok().filter(|pid| *pid > 0)
    }

    /// How its process ended last, as (whether by itself, code or signal).
    fn end(&self) -> Option<(bool, i64)> {
        let status = self.number("ExecMainStatus")?;
        match self.get("ExecMainCode").trim() {
            "1" | "exited" => Some((true, status)),
            "2" | "3" | "killed" | "dumped" => Some((false, status)),
            _ => None,
        }
    }

    /// In words.
    pub(super) fn last_exit(&self) -> Option<String> {
        let (by_itself, status) = self.end()?;
        if !by_itself {
            let signal = i32::try_from(status).map_or_else(|_| status.to_string(), |number| Signal(number).to_string());
            return Some(match self.get("Result") {
                "timeout" => format!("killed with {signal}, as it did not end in time"),
                "oom-kill" => format!("killed with {signal}, as memory ran out"),
                _ => format!("killed with {signal}"),
            });
        }
        Some(own_failure(status).unwrap_or_else(|| format!("exited with {status}")))
    }

    /// Why its program could not be started, if that was so the last time and it has not been since.
    fn start_failure(&self) -> Option<String> {
        let waits = self.get("ActiveState") == "failed" || self.get("SubState").starts_with("auto-restart");
        let (by_itself, status) = self.end().filter(|_| waits)?;
        own_failure(status).filter(|_| by_itself)
    }

    fn argv(&self, expected: &[String]) -> Option<Vec<String>> {
        let line = self.all("ExecStart").last()?;
        let (_, rest) = line.split_once("argv[]=")?;
        let (words, _) = rest.rsplit_once(" ; ignore_errors=")?;
        // systemctl leaves out where an argument ends, so what may be as it should be is taken for it.
        Some(match words == expected.join(" ") {
            true => expected.to_vec(),
            false => words.split(' ').map(str::to_owned).collect(),
        })
    }

    fn env_names(&self) -> Option<Vec<String>> {
        let values = self.0.get("Environment")?;
        let words = values.iter().flat_map(|line| words(line));
        let names: BTreeSet<String> =
            words.filter_map(|word| word.split_once('=').map(|(name, _)| name.to_owned())).collect();
        Some(names.into_iter().collect())
    }

    fn calendar(&self, job: &Job) -> Option<Vec<CalendarTable>> {
        // { OnCalendar=*-*-* 07:55:00 ; next_elapse=... }
        let line = |text| Some(str::split_once(text, "OnCalendar=")?.1.split(" ; ").next()?.to_owned());
        let loaded: BTreeSet<String> = self.all("TimersCalendar").filter_map(line).collect();
        // One table may be two lines, which are no longer that table when they are read back.
        let same = calendar_lines(job).is_ok_and(|lines| loaded == lines.into_iter().collect());
        let mut tables: Vec<CalendarTable> = match same {
            true => job.calendar.clone(),
            false => loaded.iter().filter_map(|line| read_line(line)).collect(),
        };
        tables.sort_by_key(|t| (t.minute, t.hour, t.day, t.weekday, t.month));
        Some(tables)
    }
}

/// The words of a list as systemctl shows it: each may be in quotes, with a backslash before what would end them.
fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = line.chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '"' => quoted = !quoted,
                '\\' => word.extend(chars.next()),
                ' ' if !quoted => break,
                // $'...' is for what cannot be seen.
                '$' | '\'' if !quoted => {}
                c => word.push(c),
            }
        }
        found.push(word);
    }
    found
}

/// What systemd means by an exit code that it has made itself; ours are below 200.
fn own_failure(code: i64) -> Option<String> {
    if !OWN_CODES.contains(&code) {
        return None;
    }
    let what = match code {
        200 => "its working directory is not there",
        203 => "its program is not there, or cannot be executed",
        205 => "a limit could not be set",
        209 => "its standard output could not be opened",
        210 => "its root directory could not be entered",
        216 => "its group does not exist, or is not ours to take",
        217 => "its user does not exist, or is not ours to take",
        222 => "its standard error could not be opened",
        226 => "its view of the file system could not be made",
        _ => "systemd could not set up its process; its journal says why",
    };
    Some(format!("{what} (exit code {code} of systemd)"))
}

/// What systemd has of `job`: its service, and its timer where it is started by one.
pub(super) fn state(job: &Job, service: &Shown, timer: Option<&Shown>, domain: &str) -> JobState {
    let starter = timer.unwrap_or(service);
    let standing = standing(service, timer);
    if standing == Standing::Absent {
        return JobState::absent(starter.is_off());
    }
    let path = Some(service.get("FragmentPath")).filter(|path| !path.is_empty());
    // Only those are counted that it made by itself; a calendar job's are not.
    let ever = service.number("ExecMainPID").map(|pid| u64::from(pid > 0));
    let again = service.number("NRestarts").and_then(|n| u64::try_from(n).ok());
    JobState {
        standing,
        pid: service.pid(),
        file: path.map(Into::into),
        argv: service.argv(&job.argv),
        env_names: service.env_names(),
        calendar: timer.and_then(|timer| timer.calendar(job)),
        disabled: starter.is_off(),
        last_exit: service.last_exit(),
        runs: again.zip(ever).map(|(again, ever)| again.saturating_add(ever)).filter(|_| job.is_kept()),
        domain: Some(domain.to_owned()),
    }
}

fn standing(service: &Shown, timer: Option<&Shown>) -> Standing {
    let queued = |unit: &Shown| !matches!(unit.get("Job").trim(), "" | "0");
    let refused = |unit: &Shown| unit.refusal().map(|why| format!("systemd refuses {}: {why}", unit.id()));
    if service.pid().is_none()
        && let Some(why) = refused(service).or_else(|| timer.and_then(refused))
    {
        return Standing::CannotStart(why);
    }
    if let Some(why) = service.start_failure() {
        return Standing::CannotStart(why);
    }
    match (service.get("ActiveState"), service.get("SubState")) {
        (_, sub) if sub.starts_with("auto-restart") => Standing::Delayed,
        ("deactivating", _) => Standing::Stopping,
        ("activating", _) if service.pid().is_none() => Standing::Pended("systemd prepares its start".into()),
        ("active" | "activating" | "reloading" | "refreshing", _) if service.pid().is_some() => Standing::Running,
        _ if queued(service) => Standing::Pended("its start waits for other units of systemd".into()),
        ("failed", _) => Standing::Stopped,
        _ => {
            // That there is a file says little: systemd reads one as soon as somebody asks for its name.
            let starter = timer.unwrap_or(service);
            match starter.is_enabled() || starter.is_active() {
                true => Standing::Stopped,
                false => Standing::Absent,
            }
        }
    }
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
