//! `alerts`: what a person should look at, what stands in the way of telling them, and what they have to say to it.

pub(super) mod args;
mod list;
mod preview;
mod say;
mod show;

use super::context::{AlertsSeen, AlertsWanted};
use super::{Context, Output, Stop, names};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::model::{Alert, Rule};
use args::{Alerts, Say};

pub(super) fn run(args: &Alerts, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    match &args.say {
        None => list::run(args, context, output),
        Some(Say::Show(one)) => show::run(one, context, output),
        Some(Say::Ack(one)) => say::ack(one, context, output),
        Some(Say::Silence(args)) => say::silence(args, context, output),
        Some(Say::Unsilence(args)) => say::unsilence(args, context, output),
        Some(Say::Test(args)) => say::test(args, context, output),
        Some(Say::Preview(args)) => preview::run(args, context, output),
    }
}

/// What the database has; `None` without one. Says so when no daemon is there to add to it.
fn seen(wanted: &AlertsWanted, context: &Context<'_>, output: &mut Output<'_>) -> Result<Option<AlertsSeen>, Stop> {
    let paths = context.place().paths;
    match Daemon::connect_if_running(&paths) {
        // The ledger is a moment behind the journals; one that does not answer is no reason not to print what is there.
        Ok(Some(daemon)) => drop(daemon.sync()),
        _ => writeln!(
            output.notes,
            "note: the daemon does not answer; this is what the database has, and nobody is told of anything meanwhile"
        )?,
    }
    let seen = context.sources.alerts(&paths.database(), wanted, context.now_ms)?;
    if seen.is_none() {
        writeln!(output.notes, "note: there is no database yet at {}", paths.database().display())?;
    }
    Ok(seen)
}

/// The one alert that is meant by the beginning of its id.
fn one(typed: &str, mut found: Vec<Alert>) -> Result<Alert, Error> {
    const HINT: &str = "`supervisor alerts --all` shows all ids";
    if let Some(whole) = found.iter().position(|alert| alert.id == typed) {
        return Ok(found.swap_remove(whole));
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(Error::new(ErrorKind::Usage, format!("there is no alert whose id begins with {typed:?}")).hint(HINT)),
        _ => {
            let ids: Vec<&str> = found.iter().map(|alert| alert.id.as_str()).collect();
            let message = format!("{} ids begin with {typed:?}: {}", ids.len(), ids.join(", "));
            Err(Error::new(ErrorKind::Usage, message).hint("type more of the one you mean"))
        }
    }
}

/// Checks the form of the beginning of an id.
fn id(typed: &str) -> Result<String, Error> {
    let id = typed.to_ascii_lowercase();
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!("{typed:?} cannot be the id of an alert, which is made of the digits 0-9 and a-f");
        return Err(Error::new(ErrorKind::Usage, message).hint("`supervisor alerts` shows the ids"));
    }
    Ok(id)
}

fn rule(text: &str) -> Result<Rule, Error> {
    let message = || format!("there is no rule `{text}`");
    Rule::parse(text).ok_or_else(|| names::unknown_word(message(), "the rules are", text, Rule::ALL.map(Rule::as_str)))
}
