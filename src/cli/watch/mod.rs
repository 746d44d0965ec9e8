//! `watch`: how the built-in file-watcher stands, and what it is told to handle again.

pub(super) mod args;
mod show;

use super::context::Place;
use super::{Context, Output, Stop, names, since};
use crate::control::client::Watcher;
use crate::error::{Error, ErrorKind};
use crate::machine::words::count;
use crate::model::{Again, Builtin, Program, ReplayRequest, RetryRequest, ServiceSpec, UnitName, WatcherStatus};
use args::{Replay, Retry, Shown, Watch, What};

pub(super) fn run(args: &Watch, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    match &args.what {
        What::Status(args) => status(args, context, output),
        What::Retry(args) => retry(args, context, output),
        What::Replay(args) => replay(args, context, output),
    }
}

fn status(args: &Shown, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let spec = watcher(&place, args.name.as_deref())?;
    let name = &spec.name;
    let (status, runs) = match Watcher::connect_if_running(&place.paths.watch_socket(name))? {
        Some(watcher) => (Some(watcher.status()?), true),
        None => (crate::watch::offline(spec, &place.paths)?, false),
    };
    if !runs {
        let what = if status.is_some() { "this is what it has written down" } else { "it has never run so far" };
        writeln!(output.notes, "note: {name} does not run; {what}")?;
    }
    if context.json {
        let nothing = || WatcherStatus { schema: 1, service: name.to_string(), ..WatcherStatus::default() };
        let status = status.unwrap_or_else(nothing);
        writeln!(output.out, "{}", serde_json::to_string(&status).map_err(std::io::Error::other)?)?;
    } else if let Some(status) = &status {
        output.out.write_all(show::text(status, context).as_bytes())?;
    }
    Ok(if runs { 0 } else { ErrorKind::NotUp.exit_code() })
}

fn retry(args: &Retry, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let watcher = connect(&context.place(), args.service.as_deref())?;
    let again = watcher.retry(&RetryRequest { ids: args.ids.clone(), set: args.set.clone() })?;
    told(&again, "no such file is given up, so none is handled again", context, output)
}

fn replay(args: &Replay, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let since_ms = since::parse(&args.since, context.now_ms, context.zone())?;
    let watcher = connect(&context.place(), args.service.as_deref())?;
    let again = watcher.replay(&ReplayRequest { since_ms, set: args.set.clone() })?;
    told(&again, "no file was handled since then, so none is handled again", context, output)
}

fn told(again: &Again, none: &str, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let files = usize::try_from(again.files).unwrap_or(usize::MAX);
    match files {
        _ if context.json => {
            writeln!(output.out, "{}", serde_json::to_string(again).map_err(std::io::Error::other)?)?;
        }
        0 => writeln!(output.out, "{none}")?,
        1 => writeln!(output.out, "1 file is handled again")?,
        _ => writeln!(output.out, "{} are handled again", count(files, "file"))?,
    }
    Ok(0)
}

/// The file-watcher, for what only a living one can do.
fn connect(place: &Place<'_>, typed: Option<&str>) -> Result<Watcher, Error> {
    let name = &watcher(place, typed)?.name;
    let socket = place.paths.watch_socket(name);
    Watcher::connect_if_running(&socket)?.ok_or_else(|| {
        let message = format!("{name} does not run: nobody listens at {}", socket.display());
        Error::new(ErrorKind::Unreachable, message).hint(format!(
            "`supervisor why {name}` tells why, `supervisor start {name}` starts it; what it has on record is kept meanwhile"
        ))
    })
}

/// The service that is meant: the one that was named, else the only one there is, or that is enabled.
fn watcher<'p>(place: &'p Place<'_>, typed: Option<&str>) -> Result<&'p ServiceSpec, Error> {
    if let Some(fault) = place.fault() {
        return Err(fault);
    }
    let services = place.fleet().map(|fleet| fleet.services.as_slice()).unwrap_or_default();
    let is_watcher = |spec: &&ServiceSpec| spec.program == Program::Builtin(Builtin::FileWatcher);
    let all: Vec<&ServiceSpec> = services.iter().filter(is_watcher).collect();
    let names = || all.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
    let wrong = |message: String| Error::new(ErrorKind::Usage, message);
    if let Some(typed) = typed {
        let name: UnitName = names::one(typed)?;
        return match services.iter().find(|spec| spec.name == name) {
            Some(spec) if is_watcher(&spec) => Ok(spec),
            Some(_) if all.is_empty() => Err(none(place)),
            Some(_) => Err(wrong(format!("service {name} is no file-watcher")).hint(format!("there are: {}", names()))),
            None => Err(names::unknown(&name, all.iter().map(|spec| &spec.name))),
        };
    }
    let enabled: Vec<&ServiceSpec> = all.iter().copied().filter(|spec| spec.enabled).collect();
    match (all.as_slice(), enabled.as_slice()) {
        ([one], _) | (_, [one]) => Ok(one),
        ([], _) => Err(none(place)),
        _ => Err(wrong("there is more than one file-watcher".into()).hint(format!("name one of {}", names()))),
    }
}

fn none(place: &Place<'_>) -> Error {
    let error = Error::new(ErrorKind::Usage, "services.toml declares no file-watcher");
    match place.flawless() {
        Some(_) => error.hint(
            "write a service with builtin = \"file-watcher\" and watch = [{ paths = [\"~/Downloads\"], run = [\"program\", \
             \"{path}\"] }]",
        ),
        None => error.hint("it has faults, maybe in that service: `supervisor check` tells them"),
    }
}
