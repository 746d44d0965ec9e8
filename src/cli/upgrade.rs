//! `upgrade`: has daemon and runners become the program that this one is.

use std::path::PathBuf;
use std::time::Duration;

use super::context::Place;
use super::gather::ask_runners;
use super::{Context, Output, Stop};
use crate::control::client::{Daemon, Patience, Runner};
use crate::error::{Error, ErrorKind};
use crate::model::RunnerInfo;
use crate::model::paths::Paths;
use crate::model::wire::{RunnerRequest, UpgradeBody, UpgradeReply, Upgraded, VersionReply};
use crate::process::{clock, handover};

/// How long the daemon may take to become the new program, once the runners have: orders under way are waited for first,
/// and the longest of them is a drain.
const WITHIN: Duration = Duration::from_secs(15 * 60);

/// Between two questions whether it has.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// What is printed with --json.
#[derive(serde::Serialize)]
struct Report {
    runners: Vec<Upgraded>,
    /// `None` where no daemon runs.
    daemon: Option<Upgraded>,
}

pub(super) fn run(context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let program = handover::own_program()
        .map_err(|e| Error::new(ErrorKind::Internal, format!("it cannot be found out where this program is: {e}")))?;
    let place = context.place();
    let report = match Daemon::connect_if_running(&place.paths)? {
        Some(daemon) => with_daemon(daemon, program, &place.paths)?,
        None => without_daemon(&program, &place, output)?,
    };
    if context.json {
        let line = serde_json::to_string(&report).map_err(std::io::Error::other)?;
        writeln!(output.out, "{line}")?;
    } else {
        let runners = report.runners.iter().map(|one| (format!("runner {}", one.id), one));
        for (who, one) in runners.chain(report.daemon.iter().map(|one| ("daemon".to_owned(), one))) {
            let Upgraded { pid, from, to, why_not, .. } = one;
            match why_not {
                None => writeln!(output.out, "{who} (pid {pid}): {from} → {to}")?,
                Some(why) => {
                    writeln!(output.out, "{who} (pid {pid}): still {from}: {}", super::table::harmless(why))?;
                }
            }
        }
    }
    let all = report.runners.iter().chain(&report.daemon).all(|one| one.ok);
    Ok(if all { 0 } else { ErrorKind::Refused.exit_code() })
}

fn with_daemon(daemon: Daemon, program: PathBuf, paths: &Paths) -> Result<Report, Error> {
    let reply = daemon.upgrade(&UpgradeBody { program }).map_err(|error| match error.kind {
        // It does not know the path.
        ErrorKind::Usage => {
            Error::new(ErrorKind::Refused, "the daemon is of a version that cannot be upgraded in place")
                .hint("kill -9 it and start the new one: runners and services go on meanwhile, and it finds them again")
        }
        _ => error,
    })?;
    let UpgradeReply { runners, daemon: before } = reply;
    let VersionReply { version: from, pid, .. } = before.clone();
    let pid = i32::try_from(pid).unwrap_or_default();
    let daemon = match wait_for_daemon(&before, paths) {
        Ok(now) => Upgraded { id: "daemon".into(), pid, ok: true, from, to: now.version, why_not: None },
        Err(why) => Upgraded { id: "daemon".into(), pid, ok: false, to: from.clone(), from, why_not: Some(why) },
    };
    Ok(Report { runners, daemon: Some(daemon) })
}

/// Asks until another program answers under the same pid.
fn wait_for_daemon(before: &VersionReply, paths: &Paths) -> Result<VersionReply, String> {
    let until = clock::now().mono.plus(WITHIN);
    loop {
        match Daemon::connect(paths).and_then(Daemon::version) {
            Ok(now) if now.pid != before.pid => return Err(format!("it ended; pid {} has taken its place", now.pid)),
            Ok(now) if now.upgrades > before.upgrades => return Ok(now),
            Ok(VersionReply { upgrade_failed: Some(why), .. }) => return Err(why),
            Err(e) if e.kind == ErrorKind::Unreachable && !lives(before.pid) => return Err("it ended".into()),
            // Not yet; or it was about to become the other one just when it was asked.
            Ok(_) | Err(_) => {}
        }
        if clock::now().mono >= until {
            return Err("it is still busy; `supervisor status` tells with what".into());
        }
        pause();
    }
}

fn lives(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| crate::process::identity::start_token(pid).is_some())
}

#[expect(clippy::disallowed_methods, reason = "a short process that waits for another one to become something else")]
fn pause() {
    std::thread::sleep(ASK_EVERY);
}

fn without_daemon(program: &std::path::Path, place: &Place<'_>, output: &mut Output<'_>) -> Result<Report, Stop> {
    let asked = ask_runners(&place.paths)?;
    if asked.infos.is_empty() {
        let message = "there is nothing to upgrade: neither the daemon nor a runner is running";
        return Err(Error::new(ErrorKind::Unreachable, message).hint("start them with `supervisor run`").into());
    }
    writeln!(output.notes, "note: the daemon is not running; the runners are told directly")?;
    let runners = asked.infos.iter().map(|info| upgrade_runner(info, program, &place.paths)).collect();
    Ok(Report { runners, daemon: None })
}

fn upgrade_runner(info: &RunnerInfo, program: &std::path::Path, paths: &Paths) -> Upgraded {
    let ask = |request: &RunnerRequest| {
        Runner::connect(&paths.runner_socket(&info.id)).and_then(|mut runner| runner.ask(request, Patience::Short))
    };
    let done = ask(&RunnerRequest::Upgrade { program: program.to_path_buf() });
    let (id, pid, from) = (info.id.clone(), info.pid, info.version.clone());
    match done {
        Ok(_) => Upgraded { id, pid, ok: true, from, to: env!("CARGO_PKG_VERSION").into(), why_not: None },
        Err(e) => Upgraded { id, pid, ok: false, to: from.clone(), from, why_not: Some(e.message) },
    }
}
