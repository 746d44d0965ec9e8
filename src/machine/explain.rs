//! Sentences: why a service is in the state it is in, and what would change it.

use super::service::ServiceMachine;
use super::types::Phase;
use crate::model::{ExitClass, LastExit, Readiness, RestartMode, StopCause};

/// What an exit code in `hold_exit_codes` says. Names of the codes from 64 on are those of sysexits.h.
pub fn refused(code: i32) -> String {
    match sysexit(code) {
        Some(name) => format!("exit code {code} ({name})"),
        None => format!("exit code {code}"),
    }
}

fn sysexit(code: i32) -> Option<&'static str> {
    const NAMES: [&str; 15] = [
        "EX_USAGE",
        "EX_DATAERR",
        "EX_NOINPUT",
        "EX_NOUSER",
        "EX_NOHOST",
        "EX_UNAVAILABLE",
        "EX_SOFTWARE",
        "EX_OSERR",
        "EX_OSFILE",
        "EX_CANTCREAT",
        "EX_IOERR",
        "EX_TEMPFAIL",
        "EX_PROTOCOL",
        "EX_NOPERM",
        "EX_CONFIG",
    ];
    NAMES.get(usize::try_from(code - 64).ok()?).copied()
}

/// How a run ended, in a few words: `exit code 1`, `SIGKILL`.
pub fn ended(last: &LastExit) -> String {
    let how = match (&last.signal, last.code) {
        (Some(signal), _) => signal.clone(),
        (None, Some(code)) => refused(code),
        (None, None) => "an end nobody saw".into(),
    };
    match last.class {
        ExitClass::Crash | ExitClass::Refused | ExitClass::Lost => how,
        ExitClass::Requested => format!("{how}, as asked"),
        ExitClass::Recycled => format!("{how}, a normal end"),
        ExitClass::Hung => format!("{how}, ended because it hung"),
        ExitClass::StartTimeout => format!("{how}, ended because it never became ready"),
        ExitClass::OverMemory => format!("{how}, ended because of its memory"),
    }
}

/// The reason for the machine's phase without any time in it, and what would change it; either may be empty.
pub(super) fn reason(machine: &ServiceMachine) -> (String, String) {
    let spec = machine.spec();
    let name = &spec.name;
    let last = || machine.last_exit.as_ref().map(ended);
    match machine.phase() {
        Phase::Idle => ("its runner is not running it".into(), String::new()),
        Phase::LockedOut { owner } => {
            let who = owner.map_or("another runner".into(), |pid| format!("another runner (pid {pid})"));
            (format!("{who} already runs it"), "it is taken over when that one ends".into())
        }
        Phase::Blocked { .. } => {
            let names: Vec<_> = spec.after.iter().map(ToString::to_string).collect();
            (
                format!("it starts when {} is ready", names.join(", ")),
                "it starts without waiting any longer then".into(),
            )
        }
        Phase::Delayed { .. } => {
            let times = match machine.backoff.attempts {
                0 => String::new(),
                1 => " after 1 automatic start".into(),
                n => format!(" after {n} automatic starts"),
            };
            let why = match (&machine.short_of, last()) {
                (Some(what), _) => format!("it could not be started: {what}"),
                (None, Some(end)) => format!("last run: {end}{times}"),
                (None, None) => "the time between two starts is kept".into(),
            };
            (why, format!("`supervisor start {name}` starts it now"))
        }
        Phase::Spawning { .. } => (String::new(), String::new()),
        Phase::Starting(_) => match spec.readiness() {
            Readiness::Probe => ("its probe has not answered well yet".into(), String::new()),
            Readiness::Notify => ("it has not sent READY=1 yet".into(), String::new()),
            Readiness::Exec => (String::new(), String::new()),
        },
        Phase::Up(run) if run.adopted => ("taken over from an earlier runner".into(), String::new()),
        Phase::Up(_) => (String::new(), String::new()),
        Phase::Stopping { cause, killed, .. } => {
            let why = match cause {
                StopCause::Operator => "as asked",
                StopCause::Reload => "services.toml changed",
                StopCause::Upgrade => "a new program version",
                StopCause::Shutdown => "everything goes down",
                StopCause::Hung => "it hung",
                StopCause::StartTimeout => "it never became ready",
                StopCause::OverMemory => "it used too much memory",
            };
            let next = if *killed { "SIGKILL was sent" } else { "SIGKILL follows if it does not end" };
            (why.into(), next.into())
        }
        Phase::Held { hold, .. } => {
            let mut ways = Vec::new();
            if !hold.remedy.is_empty() {
                ways.push(hold.remedy.clone());
            }
            if !spec.watch_config.is_empty() {
                let files: Vec<_> = spec.watch_config.iter().map(|p| p.display().to_string()).collect();
                ways.push(format!("it is tried at once when {} changes", files.join(" or ")));
            }
            ways.push(format!("`supervisor start {name}` tries it now"));
            (hold.reason.clone(), ways.join("; "))
        }
        Phase::Down => {
            let why = if machine.intent.up { String::new() } else { format!("stopped by {}", machine.intent.by) };
            (why, format!("`supervisor start {name}` starts it"))
        }
        Phase::Done | Phase::Failed => {
            let end = last().unwrap_or_default();
            let mode = match spec.restart {
                RestartMode::Always => "always",
                RestartMode::OnFailure => "on-failure",
                RestartMode::Never => "never",
            };
            (format!("{end}; restart = \"{mode}\""), format!("`supervisor start {name}` starts it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysexits_have_their_names() {
        assert_eq!(refused(78), "exit code 78 (EX_CONFIG)");
        assert_eq!(refused(64), "exit code 64 (EX_USAGE)");
        assert_eq!(refused(63), "exit code 63");
        assert_eq!(refused(79), "exit code 79");
    }
}
