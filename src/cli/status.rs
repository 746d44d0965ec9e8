//! `status`: what everything is doing, as a table or as JSON.

use super::args::Status as Args;
use super::context::Place;
use super::gather::{Known, known};
use super::table::Grid;
use super::{Context, Output, Stop, names, style};
use crate::control::client::Daemon;
use crate::error::ErrorKind;
use crate::machine::words::{self, JobClock};
use crate::model::{OpenAlert, ServiceInfo, Standing, Status, StatusReport, UnitKind, UnitName};

/// Up to so many named services are told in detail, and so many alerts named: they still fit on a screen.
const FEW: usize = 4;

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let names = names::parse(&args.names)?;
    let place = context.place();
    let mut report = if context.json && names.is_empty() {
        match known(context, &place, Daemon::status_as_said)? {
            Known::Told((said, standing)) => return pass_on(&said, &standing, output),
            Known::Found(found) => found.report,
        }
    } else {
        match known(context, &place, Daemon::status)? {
            Known::Told(report) => report,
            Known::Found(found) => found.report,
        }
    };
    if let Some(name) = names.iter().find(|name| report.services.iter().all(|info| info.name != **name)) {
        return Err(names::unknown(name, report.services.iter().map(|info| &info.name)).into());
    }
    if !names.is_empty() {
        let mut services = std::mem::take(&mut report.services);
        services.retain(|info| names.contains(&info.name));
        services.sort_by_key(|info| names.iter().position(|name| *name == info.name));
        report.services = services;
        report.alerts.retain(|alert| alert.service.as_ref().is_some_and(|service| names.contains(service)));
    }
    if context.json {
        // The types of the report have no member that JSON could not hold.
        let line = serde_json::to_string(&report).map_err(std::io::Error::other)?;
        writeln!(output.out, "{line}")?;
    } else {
        output.out.write_all(text(&report, &names, &place, context).as_bytes())?;
    }
    Ok(exit_code(report.services.iter().map(|info| (info.enabled, info.status))))
}

/// Prints the daemon's report as it is: reading all of it only to write the same again would double the time at a
/// thousand services.
fn pass_on(said: &[u8], standing: &Standing, output: &mut Output<'_>) -> Result<u8, Stop> {
    output.out.write_all(said.trim_ascii_end())?;
    output.out.write_all(b"\n")?;
    Ok(exit_code(standing.services.iter().map(|unit| (unit.enabled, unit.status))))
}

/// From whether each is wanted, and what it is doing.
fn exit_code(mut units: impl Iterator<Item = (bool, Status)>) -> u8 {
    if units.all(|(enabled, status)| !enabled || status.is_well()) { 0 } else { ErrorKind::NotUp.exit_code() }
}

fn text(report: &StatusReport, names: &[UnitName], place: &Place<'_>, context: &Context<'_>) -> String {
    let mut text = if report.services.is_empty() {
        "services.toml declares no services\n".to_owned()
    } else {
        table(&report.services, context.width, context.color)
    };
    if (1..=FEW).contains(&names.len()) {
        for info in &report.services {
            text.push_str(&details(info, place, context));
        }
    }
    let tail = tail(report);
    if !tail.is_empty() {
        text.push('\n');
    }
    for line in tail {
        text.push_str(&format!("{}\n", super::table::harmless(&line)));
    }
    text
}

/// One row a service.
pub(super) fn table(services: &[ServiceInfo], width: Option<u16>, color: bool) -> String {
    // Where nobody's memory is looked at the column would only take room from the others.
    let has_memory = services.iter().any(|info| info.memory.is_some());
    let header: &[&str] = match has_memory {
        true => &["NAME", "STATUS", "PID", "UPTIME", "RESTARTS", "MEM", "WHY"],
        false => &["NAME", "STATUS", "PID", "UPTIME", "RESTARTS", "WHY"],
    };
    let grid = Grid {
        header,
        right: &[2, 4],
        painted: (1, |word| serde_json::from_value::<Status>(word.into()).ok().map(style::of_status)),
    };
    let rows: Vec<_> = services.iter().map(|info| row(info, has_memory)).collect();
    grid.render(&rows, width, color)
}

fn row(info: &ServiceInfo, has_memory: bool) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let automatic = info.restarts.map(|counts| {
        counts.crash + counts.hung + counts.start_timeout + counts.over_memory + counts.recycled + counts.lost
    });
    let mut cells = vec![
        info.name.to_string(),
        info.status.to_string(),
        or_dash(info.pid.map(|pid| pid.to_string())),
        or_dash(info.uptime_s.map(seconds)),
        or_dash(automatic.map(|count| count.to_string())),
    ];
    if has_memory {
        cells.push(or_dash(info.memory.as_ref().map(words::memory_short)));
    }
    cells.push(info.why.clone());
    cells
}

fn seconds(s: u64) -> String {
    words::lasting(i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// What the table has no room for.
fn details(info: &ServiceInfo, place: &Place<'_>, context: &Context<'_>) -> String {
    let when = |ms| words::local_seconds(ms, context.zone());
    let mut lines: Vec<(&str, String)> = vec![("why", info.why.clone())];
    if let Some(run) = info.run_id {
        let attempt = info.restart_attempt.filter(|attempt| *attempt > 0);
        let attempt = attempt.map(|attempt| format!(", automatic start {attempt}")).unwrap_or_default();
        lines.push(("run", format!("{run}{attempt}")));
    }
    if let Some(pid) = info.runner_pid {
        lines.push(("runner", format!("pid {pid}")));
    }
    // A job's ends are told by its slots (`supervisor tasks`); only a service has ends of its own.
    let is_service = info.kind == UnitKind::Service;
    if let Some(exit) = info.last_exit.as_ref().filter(|_| is_service) {
        let ago = words::lasting(context.now_ms - exit.at_ms);
        lines.push(("last exit", format!("{}, {} ({ago} ago)", words::exit_text(exit), when(exit.at_ms))));
    }
    if let Some(next) = info.next_run_ms {
        lines.push(match info.kind {
            UnitKind::Task => {
                let task = place.fleet().and_then(|fleet| fleet.task(&info.name));
                let own = task.and_then(|task| context.own_zone(task));
                ("next run", JobClock::of(own.as_ref(), context.reader()).time(next))
            }
            UnitKind::Service | UnitKind::Exposure => ("next start", when(next)),
        });
    }
    if let Some(counts) = info.restarts.filter(|_| is_service) {
        let counts = [
            ("crash", counts.crash),
            ("hung", counts.hung),
            ("start_timeout", counts.start_timeout),
            ("over_memory", counts.over_memory),
            ("recycled", counts.recycled),
            ("requested", counts.requested),
            ("refused", counts.refused),
            ("lost", counts.lost),
        ];
        let some: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).map(|(class, n)| format!("{n} {class}")).collect();
        lines.push(("ends", if some.is_empty() { "none on record".into() } else { some.join(", ") }));
    }
    if let Some(health) = &info.health {
        let latency = health.latency_ms.map(|ms| format!(", {}", words::millis(ms))).unwrap_or_default();
        let failure = health.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
        lines.push(("health", format!("{}{latency}{failure}", health.verdict)));
        lines.extend(health.note.clone().map(|note| ("", note)));
        lines.extend(words::latencies(health).map(|took| ("latency", took)));
        lines.extend(health.start.as_ref().map(|start| ("start", words::start(start))));
        let parts = health.parts.iter().map(|part| match part.ok {
            true => format!("{}: ok for {}", part.name, words::lasting(context.now_ms - part.since_ms)),
            false => words::part(part, context.now_ms),
        });
        lines.extend(
            parts.zip(std::iter::once("parts").chain(std::iter::repeat(""))).map(|(part, title)| (title, part)),
        );
    }
    if let Some(memory) = &info.memory {
        let titles = std::iter::once("memory").chain(std::iter::repeat(""));
        lines
            .extend(words::memory(memory, context.reader()).into_iter().zip(titles).map(|(line, title)| (title, line)));
    }
    let mut text = format!("\n{}\n", info.name);
    for (title, line) in lines {
        text.push_str(&format!("  {title:<11}{}\n", super::table::harmless(&line)));
    }
    text
}

/// How many alerts are open, and the first of them.
fn alerts(open: &[OpenAlert]) -> Option<String> {
    if open.is_empty() {
        return None;
    }
    let of = |alert: &OpenAlert| match &alert.service {
        Some(service) => format!("{service} {}", alert.rule),
        None => alert.rule.to_string(),
    };
    let first = open.iter().take(FEW).map(of).collect::<Vec<_>>().join(", ");
    let more = if open.len() > FEW { ", ..." } else { "" };
    Some(format!("alerts: {} open ({first}{more}): supervisor alerts", open.len()))
}

/// What is wrong beyond single services.
fn tail(report: &StatusReport) -> Vec<String> {
    let mut lines: Vec<String> = alerts(&report.alerts).into_iter().collect();
    lines.extend(report.troubles.iter().cloned());
    let ours = env!("CARGO_PKG_VERSION");
    if let Some(theirs) = report.daemon.version.as_deref().filter(|theirs| *theirs != ours) {
        lines.push(format!("the daemon is version {theirs}, this program {ours}: `supervisor upgrade` makes them one"));
    }
    let ledger = &report.ledger;
    if report.daemon.running && !ledger.ok {
        let note = ledger.note.as_deref().unwrap_or("rows cannot be written");
        lines.push(format!("ledger: {note}; {} records wait", ledger.waiting));
    }
    for info in &report.services {
        if let Some(bytes) = info.log_dropped.filter(|bytes| *bytes > 0) {
            lines.push(format!("{}: {bytes} bytes of output could not be written to its log", info.name));
        }
    }
    lines
}
