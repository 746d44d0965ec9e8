//! `digest`: what a stretch of time was like, as a file and as an alert of low severity.

mod fold;
mod gather;
mod report;

use std::time::Duration;

use super::{Work, failed};
use crate::control::client::Daemon;
use crate::error::Error;
use crate::model::wire::DigestBody;
use crate::model::{BuiltinStep, StepAction};
use crate::process::files;

/// What a name ends with, behind the day.
const ENDING: &str = ".md";
const BEGINNING: &str = "digest-";

/// Writes the report, then sends it: what was written and not sent is sent by the next try, which writes the same file.
pub(super) fn run(period: Duration, keep: u32, work: &mut Work<'_>) -> Result<(), Error> {
    // What is in the journals belongs to it; without a daemon they wait, and the report goes without their last lines.
    if let Ok(Some(daemon)) = Daemon::connect_if_running(work.paths) {
        let _ = daemon.sync();
    }
    let digest = gather::gather(period, work)?;
    let folder = work.paths.reports();
    files::ensure_dir(&folder).map_err(|e| Error::io("cannot make", &folder, &e).hint("see to its owner and mode"))?;
    let day = jiff::Timestamp::from_millisecond(work.now.wall_ms).unwrap_or_default().to_zoned(work.zone.clone());
    let path = folder.join(format!("{BEGINNING}{}{ENDING}", day.strftime("%Y-%m-%d")));
    let text = report::report(&digest, work.zone);
    let hint = "see to the owner and the mode of its folder, and to the room on its disk";
    files::write_atomic(&path, text.as_bytes(), true).map_err(|e| Error::io("cannot write", &path, &e).hint(hint))?;
    work.say(format!("report: {}", path.display()));
    let is_ours = |name: &str| {
        let day = name.strip_prefix(BEGINNING).and_then(|rest| rest.strip_suffix(ENDING));
        day.is_some_and(|day| day.parse::<jiff::civil::Date>().is_ok())
    };
    files::keep_newest(&folder, is_ours, keep as usize, u64::MAX);
    let step = BuiltinStep::Digest { period, keep };
    send(report::lines(&digest, work.zone), &step, work)
}

fn send(lines: Vec<String>, step: &BuiltinStep, work: &mut Work<'_>) -> Result<(), Error> {
    // Without a slot a person has asked, each time for another one.
    let slot = work.slot.map_or_else(|| work.now.wall_ms.to_string(), str::to_owned);
    let body = DigestBody { key: format!("{}-{slot}", work.task), lines };
    let sent = Daemon::connect(work.paths).and_then(|daemon| daemon.digest(&body));
    sent.map_err(|e| {
        let message = format!("the report was written, and could not be sent: {}", e.message);
        failed(message, format!("start the daemon (`supervisor run`), then `{}` sends it", again(step, work)))
    })?;
    work.say("sent: to whoever is told of the rule `weekly`");
    Ok(())
}

/// What to type to have this step done again: as part of its job, or as a person has started it.
fn again(step: &BuiltinStep, work: &Work<'_>) -> String {
    let steps = work.fleet.task(work.task).map_or(&[][..], |task| &task.steps);
    let is_this = |other: &StepAction| matches!(other, StepAction::Builtin(other) if other == step);
    match (work.slot, steps.iter().position(|step| is_this(&step.action))) {
        (None, Some(place)) => format!("supervisor step {} {}", work.task, place + 1),
        _ => format!("supervisor tasks run {} --resume", work.task),
    }
}
