//! The runner's half of an explanation: why the machine is in its phase, without any time in it. `words` makes sentences of
//! it for whoever reads.

use super::service::ServiceMachine;
use super::types::Phase;
use super::words::exit_text;
use crate::model::{Readiness, RestartMode, StopCause};

/// The reason for the machine's phase; and for a held service what would end the hold, as a clause that fits after 'when'.
/// Either may be empty.
pub(super) fn reason(machine: &ServiceMachine) -> (String, String) {
    if let Phase::Held { hold, .. } = machine.phase() {
        let files: Vec<_> = machine.spec().watch_config.iter().map(|p| p.display().to_string()).collect();
        let remedy = if files.is_empty() { String::new() } else { format!("{} changes", files.join(" or ")) };
        let mut reason = hold.reason.clone();
        if !hold.last_words.is_empty() {
            reason.push_str(&format!(", its last words: {}", hold.last_words));
        }
        if !hold.remedy.is_empty() {
            reason.push_str(&format!("; {}", hold.remedy));
        }
        return (reason, remedy);
    }
    (reason_of(machine), String::new())
}

fn reason_of(machine: &ServiceMachine) -> String {
    let spec = machine.spec();
    let last = || machine.last_exit.as_ref().map(exit_text);
    match machine.phase() {
        Phase::Idle if machine.last_exit.is_some() => "its runner does not run it any more".into(),
        Phase::Idle => "its runner has not started it".into(),
        Phase::LockedOut { owner: Some(pid) } => format!("another runner (pid {pid}) already runs it"),
        Phase::LockedOut { owner: None } => "another runner already runs it".into(),
        Phase::Blocked { .. } => {
            let names: Vec<_> = spec.after.iter().map(ToString::to_string).collect();
            format!("it comes after {}, which is not ready", names.join(", "))
        }
        Phase::Delayed { .. } => match (&machine.short_of, last()) {
            (Some(what), _) => format!("it could not be started: {what}"),
            (None, Some(end)) => format!("the last run {end}"),
            (None, None) => "the time between two starts is kept".into(),
        },
        Phase::Starting(_) => match spec.readiness() {
            Readiness::Probe => "its probe has not had a good answer yet".into(),
            Readiness::Notify => "it has not sent READY=1 yet".into(),
            Readiness::Exec => String::new(),
        },
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
            format!("{why}; {next}")
        }
        Phase::Down if !machine.intent.up => format!("stopped by {}", machine.intent.by),
        Phase::Done | Phase::Failed => {
            let mode = match spec.restart {
                RestartMode::Always => "always",
                RestartMode::OnFailure => "on-failure",
                RestartMode::Never => "never",
            };
            format!("{}, and restart = \"{mode}\"", last().unwrap_or_default())
        }
        Phase::Spawning { .. } | Phase::Up(_) | Phase::Down | Phase::Held { .. } => String::new(),
    }
}
