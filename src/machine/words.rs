//! Facts into words: why a service is as it is, in a few words for the table and in a paragraph for `why`.
//!
//! Pure: the time and the zone are arguments, and only the model is used.

mod calendar;
mod health;
mod memory;
mod tasks;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::tz::TimeZone;

pub use self::calendar::calendar_words;
pub use self::health::{latencies, millis, part, start};
pub use self::memory::{amount, clock, hours, memory, memory_short, rate, why_memory, why_memory_troubles};
pub use self::tasks::{
    JobClock, Starter, TaskSeen, day_time, files_from, last_run, schedule, so_far, task, under_way, why_task,
};
use crate::model::{
    ExitClass, HealthInfo, HealthSpec, LastExit, RestartCounts, RunView, ServiceInfo, ServiceSpec, Status, UnitKind,
    UnitName, Unusable,
};

/// When and where the words are read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// For times of day.
    pub zone: &'a TimeZone,
}

/// What the ledger adds to a service. `None` where the ledger could not be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// Ends by class; zeros for a service without rows.
    pub restarts: Option<RestartCounts>,
    /// The newest end on record.
    pub last_exit: Option<LastExit>,
}

/// A length of time in its two greatest units: `3h 2m`, `12s`, `4d`.
pub fn lasting(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let (name, size) = units[first];
    let mut text = format!("{}{name}", seconds / size);
    if let Some((name, smaller)) = units.get(first + 1).filter(|(_, smaller)| seconds % size >= *smaller) {
        text.push_str(&format!(" {}{name}", seconds % size / smaller));
    }
    text
}

/// [`lasting`] of a [`Duration`].
pub fn lasting_time(time: Duration) -> String {
    lasting(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// `1 service`, `2 services`.
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// [`lasting`], exact where it is short: `700ms`, `3.5s`, `35s`, `3h 2m`.
pub fn exactly(ms: i64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 if ms % 1000 != 0 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => lasting(ms),
    }
}

/// [`exactly`] of a [`Duration`].
pub fn exactly_time(time: Duration) -> String {
    exactly(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// A number of bytes: `512 B`, `12.3 KiB`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        // Tenths, rounded down: whole numbers are exact, whatever their size.
        Some((name, size)) => format!("{}.{} {name}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

/// A point in time to the minute, as clocks in `zone` show it.
pub fn local(ms: i64, zone: &TimeZone) -> String {
    in_zone(ms, zone, "%Y-%m-%d %H:%M")
}

/// The same to the second.
pub fn local_seconds(ms: i64, zone: &TimeZone) -> String {
    in_zone(ms, zone, "%Y-%m-%d %H:%M:%S")
}

fn in_zone(ms: i64, zone: &TimeZone, form: &str) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(zone.clone()).strftime(form).to_string(),
        // No calendar reaches that far.
        Err(_) => format!("{ms} ms after 1970"),
    }
}

/// `exit code 78 (EX_CONFIG)`: the names of sysexits.h and of the shell, where the number has one.
pub fn code_text(code: i32) -> String {
    let name = match code {
        64 => "EX_USAGE",
        65 => "EX_DATAERR",
        66 => "EX_NOINPUT",
        69 => "EX_UNAVAILABLE",
        70 => "EX_SOFTWARE",
        71 => "EX_OSERR",
        72 => "EX_OSFILE",
        73 => "EX_CANTCREAT",
        74 => "EX_IOERR",
        75 => "EX_TEMPFAIL",
        77 => "EX_NOPERM",
        78 => "EX_CONFIG",
        126 => "not executable",
        127 => "command not found",
        _ => return format!("exit code {code}"),
    };
    format!("exit code {code} ({name})")
}

/// How a run ended, without when: `SIGKILL`, `exit code 1`, `hung`.
pub fn exit_text(exit: &LastExit) -> String {
    let how = match (&exit.signal, exit.code) {
        (Some(signal), _) => Some(signal.clone()),
        (None, Some(code)) => Some(code_text(code)),
        (None, None) => None,
    };
    let class = match exit.class {
        ExitClass::Crash => "crashed",
        ExitClass::Requested => "ended as asked",
        ExitClass::Recycled => "ended by itself",
        ExitClass::Refused => "refused to run",
        ExitClass::Hung => "was hung and was ended",
        ExitClass::StartTimeout => "did not become ready in time and was ended",
        ExitClass::OverMemory => "was above its memory limit and was ended",
        ExitClass::Lost => "ended unseen",
    };
    match (how, exit.out_of_memory.as_deref().map(out_of_memory)) {
        (Some(how), Some(oom)) => format!("{class} ({how}: {oom})"),
        (Some(how), None) => format!("{class} ({how})"),
        (None, Some(oom)) => format!("{class} ({oom})"),
        (None, None) => class.to_owned(),
    }
}

/// A word of `out_of_memory` in words: `V8's heap was full`.
pub fn out_of_memory(word: &str) -> String {
    match word {
        "v8" => "V8's heap was full".into(),
        "python" => "Python had no memory left".into(),
        "allocator" => "memory was not to be had".into(),
        "kernel" => "the kernel killed it for lack of memory".into(),
        "kernel-likely" => {
            "likely the kernel killed it for lack of memory, as it did somebody on this machine then".into()
        }
        "jetsam" => "macOS killed it for lack of memory".into(),
        // Of a newer runner.
        other => format!("out of memory, {other}"),
    }
}

/// Why, in a few words for the table.
pub fn why_short(view: &RunView, health: Option<&HealthInfo>, at: Reader<'_>) -> String {
    let age = lasting(at.now_ms - view.since_ms);
    let reason = reason_of(view);
    if let Some(health) = health.filter(|_| is_probed(view)) {
        return health::short(view, health, reason, at);
    }
    match view.status {
        Status::Up | Status::Running => format!("{} for {age}", view.status),
        Status::Starting | Status::Degraded | Status::Hung => with_reason(format!("{} for {age}", view.status), reason),
        Status::Stopping => with_reason(format!("stopping for {age}"), reason),
        Status::Waiting => {
            let mut text = with_reason("waiting".into(), reason.or_else(|| view.last_exit.as_ref().map(exit_text)));
            if let Some(next) = view.next_start_ms {
                text.push_str(&format!(", next start {}", soon(next, at.now_ms)));
            }
            if view.restart_attempt > 1 {
                text.push_str(&format!("; {} automatic starts so far", view.restart_attempt));
            }
            text
        }
        Status::Held => format!("{}; {}", with_reason(format!("held for {age}"), reason), way_out(view, at)),
        Status::Down => {
            with_reason(format!("down since {}", local(view.since_ms, at.zone)), reason.or_else(|| stopped_by(view)))
        }
        Status::Done => with_reason(format!("done since {}", local(view.since_ms, at.zone)), end_of(view).or(reason)),
        Status::Failed => with_reason(format!("failed at {}", local(view.since_ms, at.zone)), end_of(view).or(reason)),
        Status::Scheduled => match view.next_start_ms {
            Some(next) => format!("next run {}", soon(next, at.now_ms)),
            None => with_reason("scheduled".into(), reason),
        },
        Status::Disabled => "disabled in services.toml".into(),
        Status::Invalid => with_reason("invalid".into(), reason),
    }
}

/// One paragraph: what it is doing, why, since when, what would change it.
///
/// `health` is what probes say, `spec` how they ask, where they do.
pub fn why(view: &RunView, health: Option<&HealthInfo>, spec: Option<&HealthSpec>, at: Reader<'_>) -> String {
    let name = &view.name;
    let since = format!("since {} ({})", local(view.since_ms, at.zone), lasting(at.now_ms - view.since_ms));
    let reason = reason_of(view);
    let probed = health.filter(|_| is_probed(view));
    let told = probed.map(|health| health::sentences(view, health, spec, reason.clone(), at));
    let mut said = Vec::new();
    match view.status {
        _ if told.is_some() => said.extend(told.into_iter().flatten()),
        Status::Up | Status::Running => said.push(format!("{name} is {} {since}", view.status)),
        Status::Starting => {
            said.push(with_reason(format!("{name} is starting {since} and is not ready yet"), reason));
        }
        Status::Degraded => said.push(with_reason(format!("{name} lives and is not quite well {since}"), reason)),
        Status::Hung => said.push(with_reason(format!("{name} gives no sign of life {since}"), reason)),
        Status::Stopping => said.push(with_reason(format!("{name} is being stopped {since}"), reason)),
        Status::Waiting => {
            said.push(with_reason(format!("{name} waits for its next start {since}"), reason));
            match view.restart_attempt {
                0 => {}
                1 => said.push("It has been started again once so far".into()),
                times => said.push(format!("It has been started again {times} times so far")),
            }
            said.push(match view.next_start_ms {
                Some(next) => {
                    format!("The next start is due {}; `supervisor start {name}` starts it at once", due(next, at))
                }
                None => format!("`supervisor start {name}` starts it at once"),
            });
        }
        Status::Held => {
            said.push(with_reason(format!("{name} is held {since}, as starting it again would not help"), reason));
            said.push(capital(&way_out(view, at)));
        }
        Status::Down => {
            said.push(with_reason(format!("{name} is down {since}"), reason.or_else(|| stopped_by(view))));
            said.push(format!("It stays down, also over a reboot, until `supervisor start {name}`"));
        }
        Status::Done => {
            said.push(with_reason(format!("{name} ended well and is not started again, {since}"), reason));
            said.push(format!("`supervisor start {name}` runs it once more"));
        }
        Status::Failed => {
            said.push(with_reason(format!("{name} failed and is not started again, {since}"), reason));
            said.push(format!("`supervisor start {name}` tries it once more"));
        }
        Status::Scheduled => said.push(match view.next_start_ms {
            Some(next) => format!("{name} is between two runs; the next is due {}", due(next, at)),
            None => with_reason(format!("{name} is between two runs"), reason),
        }),
        Status::Disabled => {
            said.push(format!("{name} is disabled in services.toml: `enabled = true` and `supervisor reload` start it"))
        }
        Status::Invalid => {
            said.push(with_reason(format!("{name} is not run, as its part of services.toml has faults"), reason))
        }
    }
    if view.adopted {
        said.push("Its run was taken over from a runner that had died".into());
    }
    if let Some(exit) = &view.last_exit {
        let run = if view.pid.is_some() { "The run before" } else { "Its last run" };
        said.push(format!("{run} {} {} ago", exit_text(exit), lasting(at.now_ms - exit.at_ms)));
    }
    if view.log_dropped > 0 {
        said.push(format!("{} bytes of its output could not be written to its log", view.log_dropped));
    }
    format!("{}.", said.join(". "))
}

/// A service as `status` shows it, from its runner's view.
pub fn service_info(
    view: &RunView,
    runner_pid: i32,
    enabled: bool,
    recorded: &Recorded,
    health: Option<&HealthInfo>,
    at: Reader<'_>,
) -> ServiceInfo {
    let alive = view.pid.is_some();
    let uptime = view.started_ms.filter(|_| alive).map(|start| (at.now_ms - start).max(0) / 1000);
    ServiceInfo {
        name: view.name.clone(),
        kind: UnitKind::Service,
        status: view.status,
        why: why_short(view, health, at),
        enabled,
        pid: view.pid,
        runner_pid: Some(runner_pid),
        run_id: (view.run_id > 0).then_some(view.run_id),
        since_ms: Some(view.since_ms),
        uptime_s: uptime.and_then(|s| u64::try_from(s).ok()),
        restart_attempt: Some(view.restart_attempt),
        restarts: recorded.restarts,
        last_exit: view.last_exit.clone().or_else(|| recorded.last_exit.clone()),
        health: health.cloned(),
        memory: None,
        next_run_ms: view.next_start_ms,
        log_dropped: Some(view.log_dropped),
    }
}

/// A service that services.toml has and no runner serves.
pub fn unserved(spec: &ServiceSpec, recorded: &Recorded) -> ServiceInfo {
    let (status, why) = if spec.enabled {
        (Status::Down, "no runner serves it; start one with `supervisor install` or `supervisor run`")
    } else {
        (Status::Disabled, "disabled in services.toml")
    };
    bare(&spec.name, UnitKind::Service, status, why.into(), spec.enabled, recorded)
}

/// A service that lives on without its runner: `pid` is its process, `run_id` its run.
pub fn orphaned(spec: &ServiceSpec, pid: i32, run_id: u64, recorded: &Recorded) -> ServiceInfo {
    let why = "it runs, but its runner is gone, so nothing would start it again; `supervisor run` takes it over";
    let info = bare(&spec.name, UnitKind::Service, Status::Degraded, why.into(), spec.enabled, recorded);
    ServiceInfo { pid: Some(pid), run_id: Some(run_id), ..info }
}

/// A service or task whose part of services.toml has faults.
pub fn unusable(unit: &Unusable, recorded: &Recorded) -> ServiceInfo {
    let kind = if unit.is_task { UnitKind::Task } else { UnitKind::Service };
    bare(&unit.name, kind, Status::Invalid, format!("invalid: {}", unit.why), true, recorded)
}

pub(super) fn bare(
    name: &UnitName,
    kind: UnitKind,
    status: Status,
    why: String,
    enabled: bool,
    recorded: &Recorded,
) -> ServiceInfo {
    ServiceInfo {
        name: name.clone(),
        kind,
        status,
        why,
        enabled,
        pid: None,
        runner_pid: None,
        run_id: None,
        since_ms: None,
        uptime_s: None,
        restart_attempt: None,
        restarts: recorded.restarts,
        last_exit: recorded.last_exit.clone(),
        health: None,
        memory: None,
        next_run_ms: None,
        log_dropped: None,
    }
}

/// Whether what probes say is about what it is doing now.
fn is_probed(view: &RunView) -> bool {
    matches!(view.status, Status::Up | Status::Starting | Status::Degraded | Status::Hung)
}

fn with_reason(text: String, reason: Option<String>) -> String {
    match reason {
        Some(reason) => format!("{text}: {reason}"),
        None => text,
    }
}

/// The runner's reason, an exit code with its name.
fn reason_of(view: &RunView) -> Option<String> {
    let reason = view.reason.trim_end_matches('.');
    match reason.strip_prefix("exit code ").and_then(|code| code.parse().ok()) {
        Some(code) => Some(code_text(code)),
        None => (!reason.is_empty()).then(|| reason.to_owned()),
    }
}

fn end_of(view: &RunView) -> Option<String> {
    let exit = view.last_exit.as_ref()?;
    exit.signal.clone().or_else(|| exit.code.map(code_text))
}

fn stopped_by(view: &RunView) -> Option<String> {
    (!view.intent.up).then(|| format!("stopped by {}", view.intent.by))
}

/// What ends a hold. The runner's remedy is a clause that fits after 'when'.
fn way_out(view: &RunView, at: Reader<'_>) -> String {
    let order = format!("you say `supervisor start {}`", view.name);
    let when = match view.remedy.trim_end_matches('.') {
        "" => order,
        remedy if remedy.contains("supervisor start") => remedy.to_owned(),
        remedy => format!("{remedy} or {order}"),
    };
    match view.next_start_ms {
        Some(next) => format!("next try {}, or at once when {when}", soon(next, at.now_ms)),
        None => format!("next try when {when}"),
    }
}

fn soon(then_ms: i64, now_ms: i64) -> String {
    if then_ms - now_ms < 1000 { "now".into() } else { format!("in {}", lasting(then_ms - now_ms)) }
}

pub(super) fn due(then_ms: i64, at: Reader<'_>) -> String {
    format!("{} ({})", soon(then_ms, at.now_ms), local(then_ms, at.zone))
}

pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
