//! `why`: one service in one paragraph.

use super::args::Why as Args;
use super::gather::{open_alerts, why_task, without_daemon};
use super::{Context, Output, Stop, names};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::machine::words;
use crate::model::UnitName;
use crate::model::wire::WhyReply;

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let name = names::one(&args.name)?;
    let place = context.place();
    let told = match Daemon::connect_if_running(&place.paths) {
        Ok(Some(daemon)) => daemon.why(&name).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    let mut reply = match told {
        Ok(Some(reply)) => reply,
        Ok(None) => found(context, &place, "the daemon is not running", &name, output)?,
        Err(error) if error.kind == ErrorKind::Unreachable => found(context, &place, &error.message, &name, output)?,
        Err(error) => {
            return Err(super::order::with_suggestion(error, &place.paths, std::slice::from_ref(&name)).into());
        }
    };
    let digits = |id: &str| id.chars().take(6).collect::<String>();
    for alert in open_alerts(context, &place.paths).iter().filter(|alert| alert.service.as_ref() == Some(&name)) {
        let id = digits(&alert.id);
        reply.text.push_str(&format!(" There is an alert: {} (`supervisor alerts show {id}`).", alert.title));
    }
    if context.json {
        let line = serde_json::to_string(&reply).map_err(std::io::Error::other)?;
        writeln!(output.out, "{line}")?;
    } else {
        writeln!(output.out, "{}", super::table::harmless(&reply.text))?;
    }
    Ok(0)
}

/// What can be said without the daemon.
fn found(
    context: &Context<'_>,
    place: &super::context::Place<'_>,
    because: &str,
    name: &UnitName,
    output: &mut Output<'_>,
) -> Result<WhyReply, Stop> {
    let found = without_daemon(context, place, because)?;
    let info = found.report.services.iter().find(|info| info.name == *name);
    let info =
        info.ok_or_else(|| -> Error { names::unknown(name, found.report.services.iter().map(|info| &info.name)) })?;
    // Two runners may know a service; the report has chosen between them by the process.
    let view = found.views.iter().find(|view| view.name == *name && view.pid == info.pid);
    let task = place.fleet().and_then(|fleet| fleet.task(name));
    let text = match (view, task) {
        (Some(view), _) => words::why(view, None, None, context.reader()),
        (None, Some(task)) => why_task(context, place, task),
        (None, None) => format!("{name} is {}: {}.", info.status, info.why),
    };
    for trouble in &found.report.troubles {
        writeln!(output.notes, "note: {}", super::table::harmless(trouble))?;
    }
    Ok(WhyReply { name: name.clone(), text })
}
