//! `alerts ack`, `silence`, `unsilence` and `test`: what a person has to say, told to the daemon.

use super::args::{One, Silence, Test, Unsilence};
use crate::cli::context::{AlertsWanted, Place};
use crate::cli::table::harmless;
use crate::cli::{Context, Output, Stop, names, since};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::model::wire::{AlertBody, AlertReply, TestDelivery};
use crate::model::{RowState, UnitName};

pub(super) fn ack(args: &One, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let id = super::id(&args.id)?;
    let place = context.place();
    let daemon = Daemon::connect(&place.paths)?;
    let seen = context.sources.alerts(&place.paths.database(), &AlertsWanted::One(id.clone()), context.now_ms)?;
    let alert = super::one(&id, seen.unwrap_or_default().alerts)?;
    told(&daemon.alert(&AlertBody::Ack { id: alert.id })?, context, output)?;
    Ok(0)
}

pub(super) fn silence(args: &Silence, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let (service, time) = match (args.all, &args.time) {
        (true, None) => (None, &args.name),
        (false, Some(time)) => (Some(declared(&args.name, &place)?), time),
        (true, Some(_)) => return Err(wrong("--all and a name exclude each other").into()),
        (false, None) => return Err(wrong("it takes a name and a time, or --all and a time").into()),
    };
    let rule = args.rule.as_ref().map(|text| super::rule(text)).transpose()?;
    let for_s = since::ahead(time, context.now_ms, context.zone())?;
    let daemon = Daemon::connect(&place.paths)?;
    told(&daemon.alert(&AlertBody::Silence { service, rule, for_s })?, context, output)?;
    Ok(0)
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Usage, what).hint("type `supervisor alerts silence gateway 2h`, or `... silence --all 30m`")
}

/// A name that services.toml has; where that cannot be read, any.
fn declared(name: &str, place: &Place<'_>) -> Result<UnitName, Error> {
    let name = names::one(name)?;
    let known = place.names();
    if place.fleet().is_some() && !known.contains(&name) {
        return Err(names::unknown(&name, &known));
    }
    Ok(name)
}

pub(super) fn unsilence(args: &Unsilence, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let mut daemon = Some(Daemon::connect(&place.paths)?);
    let seen = context.sources.alerts(&place.paths.database(), &AlertsWanted::Open, context.now_ms)?;
    let silences = seen.unwrap_or_default().silences;
    let ids: Vec<u64> = match args.which.parse::<u64>() {
        Ok(id) => silences.iter().filter(|silence| silence.id == id).map(|silence| silence.id).collect(),
        Err(_) => {
            let name = names::one(&args.which)?;
            silences.iter().filter(|s| s.service.as_ref() == Some(&name)).map(|silence| silence.id).collect()
        }
    };
    if ids.is_empty() {
        let there: Vec<_> = silences
            .iter()
            .map(|s| format!("{} ({})", s.id, s.service.as_ref().map_or("all services", UnitName::as_str)))
            .collect();
        let hint =
            if there.is_empty() { "none is in force".into() } else { format!("there are: {}", there.join(", ")) };
        return Err(Error::new(ErrorKind::Usage, format!("there is no silence {}", args.which)).hint(hint).into());
    }
    for id in ids {
        // A connection is good for one request.
        let daemon = daemon.take().map_or_else(|| Daemon::connect(&place.paths), Ok)?;
        told(&daemon.alert(&AlertBody::Unsilence { id })?, context, output)?;
    }
    Ok(0)
}

pub(super) fn test(args: &Test, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    // Where services.toml has faults here, such as a variable that only the daemon has, the daemon may know more of them.
    if let (Some(sink), Some(fleet)) = (&args.sink, place.flawless()) {
        known_sink(sink, fleet.alerts.sinks.iter().map(|sink| sink.name.as_str()))?;
    }
    let daemon = Daemon::connect(&place.paths)?;
    let reply = daemon.alert(&AlertBody::Test { sink: args.sink.clone() })?;
    told(&reply, context, output)?;
    let all = !reply.deliveries.is_empty() && reply.deliveries.iter().all(|to| to.state == RowState::Delivered);
    if !context.json {
        for delivery in &reply.deliveries {
            writeln!(output.out, "{}", harmless(&outcome(delivery)))?;
        }
        if reply.deliveries.is_empty() {
            writeln!(output.notes, "note: no sink was tried")?;
        }
    }
    Ok(if all { 0 } else { ErrorKind::Refused.exit_code() })
}

/// The error for a sink that is not declared.
pub(super) fn known_sink<'a>(sink: &str, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), Error> {
    if known.clone().any(|name| name == sink) {
        return Ok(());
    }
    Err(names::unknown_word(format!("there is no sink `{sink}` in services.toml"), "there are", sink, known))
}

fn outcome(delivery: &TestDelivery) -> String {
    let TestDelivery { sink, state, error, attempts } = delivery;
    let why = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let tries = if *attempts == 1 { "1 try".to_owned() } else { format!("{attempts} tries") };
    match state {
        RowState::Delivered => format!("{sink}: delivered"),
        RowState::Pending => format!("{sink}: not delivered after {tries}{why}; it is tried again"),
        state => format!("{sink}: {}{why}", state.as_str()),
    }
}

/// Prints what the daemon has done.
fn told(reply: &AlertReply, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    if context.json {
        writeln!(output.out, "{}", serde_json::to_string(reply).map_err(std::io::Error::other)?)?;
        return Ok(());
    }
    for line in &reply.done {
        writeln!(output.out, "{}", harmless(line))?;
    }
    Ok(())
}
