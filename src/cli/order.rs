//! `start`, `stop`, `restart` and `reload`: asks the daemon, or for the first three the runners themselves.

use super::args::{Order as Args, Reload};
use super::context::Place;
use super::gather::ask_runners;
use super::{Context, Output, Stop, names, style};
use crate::control::client::{Daemon, Patience, Runner};
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::wire::{
    OrderBody, OrderReply, Outcome, ReloadAction, ReloadBody, ReloadChange, ReloadReply, RunnerReply, RunnerRequest,
    Verb,
};
use crate::model::{RunnerInfo, Status, UnitKind, UnitName};
use crate::slots::TaskSlots;

/// Who gives the order, for the record.
const OPERATOR: &str = "operator";

pub(super) fn run(verb: Verb, args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let names = names::parse(&args.names)?;
    let place = context.place();
    let body = OrderBody { verb, names, wait: !args.no_wait };
    let reply = match Daemon::connect_if_running(&place.paths)? {
        Some(daemon) => daemon.order(&body).map_err(|error| with_suggestion(error, &place.paths, &body.names))?,
        None => order_runners(&body, &place, output)?,
    };
    if context.json {
        let line = serde_json::to_string(&reply).map_err(std::io::Error::other)?;
        writeln!(output.out, "{line}")?;
    } else {
        for outcome in &reply.outcomes {
            let text = super::table::harmless(&outcome.text);
            let status = if outcome.ok { Status::Up } else { Status::Failed };
            writeln!(output.out, "{}: {}", outcome.name, style::paint(&text, style::of_status(status), context.color))?;
        }
        if reply.outcomes.is_empty() {
            writeln!(output.notes, "note: there is nothing to {}", verb.as_str())?;
        }
    }
    Ok(exit_code(&reply.outcomes))
}

/// Refused only where nothing else went wrong: of that a second try may help.
fn exit_code(outcomes: &[Outcome]) -> u8 {
    let mut failed = outcomes.iter().filter(|outcome| !outcome.ok).peekable();
    match (failed.peek().is_some(), failed.all(|outcome| outcome.refused)) {
        (false, _) => 0,
        (true, true) => ErrorKind::Refused.exit_code(),
        (true, false) => ErrorKind::NotUp.exit_code(),
    }
}

/// A daemon that does not know a name may not say what was meant; what it does know is then asked for.
pub(super) fn with_suggestion(error: Error, paths: &Paths, names: &[UnitName]) -> Error {
    if error.kind != ErrorKind::Usage || error.hint.is_some() {
        return error;
    }
    let Ok(report) = Daemon::connect(paths).and_then(Daemon::status) else { return error };
    let known = || report.services.iter().map(|info| &info.name);
    match names.iter().find(|name| known().all(|other| other != *name)) {
        Some(name) => names::unknown(name, known()),
        None => error,
    }
}

/// Without the daemon: each runner is told its part, all of them before any answer is waited for.
fn order_runners(body: &OrderBody, place: &Place<'_>, output: &mut Output<'_>) -> Result<OrderReply, Stop> {
    let asked = ask_runners(&place.paths)?;
    let served = |name: &UnitName| asked.infos.iter().any(|info| serves(info, name));
    let mut declared = place.names();
    declared.extend(asked.infos.iter().flat_map(|info| &info.views).map(|view| view.name.clone()));
    if let Some(name) = body.names.iter().find(|name| !declared.contains(name)) {
        return Err(place.fault().unwrap_or_else(|| names::unknown(name, &declared)).into());
    }
    if asked.infos.is_empty() {
        if let Some(fault) = place.fault() {
            return Err(fault.into());
        }
        let message = format!("cannot {}: neither the daemon nor a runner is running", body.verb.as_str());
        return Err(Error::new(ErrorKind::Unreachable, message).hint("start them with `supervisor run`").into());
    }
    writeln!(output.notes, "note: the daemon is not running; the runners are told directly")?;
    for trouble in &asked.troubles {
        writeln!(output.notes, "note: {}", super::table::harmless(trouble))?;
    }
    let tell = |info| tell(info, body, &place.paths);
    let told: Vec<_> = asked.infos.iter().filter_map(tell).collect();
    let mut outcomes: Vec<Outcome> = told.into_iter().flat_map(|told| told.answer(body)).collect();
    let enabled = place.fleet().into_iter().flat_map(|fleet| &fleet.services).filter(|spec| spec.enabled);
    let wanted: Vec<&UnitName> =
        if body.names.is_empty() { enabled.map(|spec| &spec.name).collect() } else { body.names.iter().collect() };
    for name in wanted {
        if !served(name) {
            let text = "no runner serves it; start one with `supervisor install` or `supervisor run`".to_owned();
            outcomes.push(Outcome { name: name.clone(), ok: false, text, view: None, refused: false });
        }
    }
    outcomes.sort_by_key(|outcome| declared.iter().position(|name| *name == outcome.name));
    Ok(OrderReply { outcomes })
}

fn serves(info: &RunnerInfo, name: &UnitName) -> bool {
    info.views.iter().any(|view| view.name == *name)
}

/// A runner that was told.
struct Told {
    names: Vec<UnitName>,
    line: Result<Runner, Error>,
}

fn tell(info: &RunnerInfo, body: &OrderBody, paths: &Paths) -> Option<Told> {
    let its: Vec<UnitName> = info.views.iter().map(|view| view.name.clone()).collect();
    let names: Vec<UnitName> = if body.names.is_empty() {
        its
    } else {
        body.names.iter().filter(|name| its.contains(name)).cloned().collect()
    };
    if names.is_empty() {
        return None;
    }
    let request = RunnerRequest::Order {
        verb: body.verb,
        names: body.names.iter().filter(|name| names.contains(name)).cloned().collect(),
        by: OPERATOR.into(),
        cause: None,
        run_id: None,
        wait: body.wait,
    };
    let line = Runner::connect(&paths.runner_socket(&info.id)).and_then(|mut runner| {
        runner.send(&request)?;
        Ok(runner)
    });
    Some(Told { names, line })
}

impl Told {
    fn answer(self, body: &OrderBody) -> Vec<Outcome> {
        let reply = self.line.and_then(|mut runner| runner.receive(Patience::of_wait(body.wait)));
        let text = match reply {
            Ok(RunnerReply::Done(outcomes)) => return outcomes,
            Ok(_) => "its runner answered something else than was asked".to_owned(),
            Err(error) => error.message,
        };
        self.names
            .into_iter()
            .map(|name| Outcome { name, ok: false, text: text.clone(), view: None, refused: false })
            .collect()
    }
}

pub(super) fn reload(args: &Reload, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let daemon = place.daemon()?;
    let reply = daemon.reload(&ReloadBody { dry_run: args.dry_run })?;
    if context.json {
        let line = serde_json::to_string(&reply).map_err(std::io::Error::other)?;
        writeln!(output.out, "{line}")?;
    } else {
        output.out.write_all(changes(&reply, &place.paths).as_bytes())?;
    }
    Ok(0)
}

pub(super) fn changes(reply: &ReloadReply, paths: &Paths) -> String {
    // The run of a job is no affair of the daemon's: its own file tells whether it goes on.
    let runs = |name: &UnitName| TaskSlots::of(paths, name).running().is_ok_and(|runs| !runs.is_empty());
    if reply.changes.is_empty() && reply.globals.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    let mut text = String::new();
    for change in &reply.changes {
        let what = match (change.action, reply.applied) {
            (ReloadAction::Remove, applied) if change.kind != UnitKind::Service || change.disabled => {
                text.push_str(&format!("{}: {}\n", change.name, removed(change, applied, runs(&change.name))));
                continue;
            }
            (ReloadAction::Add, true) => "added",
            (ReloadAction::Add, false) => "would be added",
            (ReloadAction::Remove, true) => "stopped and removed",
            (ReloadAction::Remove, false) => "would be stopped and removed",
            (ReloadAction::Restart, true) => "restarted",
            (ReloadAction::Restart, false) => "would be restarted",
            (ReloadAction::Live, true) => "taken over without a restart",
            (ReloadAction::Live, false) => "would be taken over without a restart",
        };
        let keys = if change.keys.is_empty() { String::new() } else { format!(" ({})", change.keys.join(", ")) };
        text.push_str(&format!("{}: {what}{keys}\n", change.name));
    }
    let done = if reply.applied { "taken over" } else { "would be taken over" };
    for key in &reply.globals {
        text.push_str(&format!("{key}: {done}\n"));
    }
    if !reply.applied {
        text.push_str("nothing was done: this was a dry run\n");
    }
    text
}

/// What becomes of one that is gone from the file, or switched off in it.
fn removed(change: &ReloadChange, applied: bool, runs: bool) -> String {
    let what = if change.disabled { "disabled" } else { "removed" };
    let done = match (applied, change.kind) {
        (true, UnitKind::Service) => format!("stopped and {what}"),
        (false, UnitKind::Service) => format!("would be stopped and {what}"),
        (true, _) => what.to_owned(),
        (false, _) => format!("would be {what}"),
    };
    let then = match (change.kind, runs, applied) {
        (UnitKind::Task, true, true) => "; its run goes on",
        (UnitKind::Task, true, false) => "; its run would go on",
        (UnitKind::Exposure, _, true) => "; it is undone where it has an `undo`",
        (UnitKind::Exposure, _, false) => "; it would be undone where it has an `undo`",
        _ => "",
    };
    format!("{done}{then}")
}
