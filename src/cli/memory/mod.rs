//! `memory`: the history of a service's memory, drawn; all services in a line each; the leak detector over a recorded history.

pub(super) mod args;
mod chart;
mod list;
mod recorded;
mod replay;
mod svg;
mod terminal;
mod told;

use std::path::Path;

use serde_json::json;

use self::chart::{Chart, Mark, MarkKind};
use super::context::{MemoryKept, Place};
use super::table::harmless;
use super::{Context, Output, Stop, events, names, since};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::machine::words;
use crate::model::wire::HeapSnapshotBody;
use crate::model::{EventType, Growth, MemoryInfo, MemorySpec, MemoryVerdict, ServiceInfo, Status, UnitName};
use crate::store::{EventRow, Filter};
use args::{Memory, What};

/// What is shown when nobody says since when, milliseconds.
const LATELY_MS: i64 = 48 * 3_600_000;

/// So many events are looked at, the newest; in a picture more would be a black bar.
const MOST_EVENTS: usize = 2000;

pub(super) fn run(args: &Memory, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    match (&args.what, &args.name) {
        (Some(What::Replay(args)), _) => replay::run(args, context, output),
        (None, None) => list::run(context, output),
        (None, Some(name)) if args.snapshot => snapshot(names::one(name)?, context, output),
        (None, Some(name)) => one(&names::one(name)?, args, context, output),
    }
}

/// Has the daemon have a service write its heap to a file.
fn snapshot(name: UnitName, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let reply = context.place().daemon()?.heap_snapshot(&HeapSnapshotBody { name })?;
    match context.json {
        true => writeln!(output.out, "{}", serde_json::to_string(&reply).map_err(std::io::Error::other)?)?,
        false => writeln!(output.out, "the heap snapshot is in {}", harmless(&reply.file))?,
    }
    Ok(0)
}

fn one(name: &UnitName, args: &Memory, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let since_ms = match &args.since {
        Some(text) => since::parse(text, context.now_ms, context.zone())?,
        None => context.now_ms - LATELY_MS,
    };
    let place = context.place();
    let kept = context.sources.memory(&place.paths.database(), Some(name), since_ms)?;
    let kept = kept.and_then(|mut kept| kept.pop()).filter(|kept| kept.newest.is_some() || !kept.points.is_empty());
    // A service that is gone from services.toml still has its history, so only an empty answer makes a name doubtful.
    if kept.is_none() && place.fleet().is_some() && !place.names().contains(name) {
        return Err(names::unknown(name, &place.names()).into());
    }
    let spec = spec(&place, name);
    let limit = spec.and_then(|spec| spec.limit);
    let rows = rows(name, since_ms, context, &place)?;
    let kept = kept.unwrap_or_else(|| MemoryKept { service: name.clone(), newest: None, points: Vec::new() });
    let seen = Seen::of(name, &infos(&place), || last_known(&kept, &rows));
    let young_ms = young_ms(&kept, &rows);
    let chart = Chart::new(kept.points, marks(&rows), limit, since_ms, context.now_ms).with_trend(seen.info.as_ref());
    let lines = told::lines(name, &seen, young_ms, limit, context);
    let to_stdout = args.svg.as_deref().is_some_and(|path| path == Path::new("-"));
    if to_stdout && context.json {
        return Err(Error::new(ErrorKind::Usage, "--json and --svg - would both write to stdout")
            .hint("name a file for the picture, such as --svg memory.svg")
            .into());
    }
    if let Some(path) = args.svg.as_ref().filter(|_| !chart.points.is_empty()) {
        let svg = svg::draw(&chart, &format!("Memory of {name}"), &lines, context.zone());
        if to_stdout {
            write!(output.out, "{svg}")?;
            return Ok(0);
        }
        svg::write(path, &svg)?;
    }
    if context.json {
        let object = json!({ "schema": 1, "service": name, "since_ms": since_ms, "now": seen.info, "limit": limit,
            "trend": chart.trend, "points": chart.points.iter().map(point).collect::<Vec<_>>(), "marks": chart.marks });
        writeln!(output.out, "{object}")?;
        if args.svg.is_none() || !chart.points.is_empty() {
            return Ok(0);
        }
    }
    if chart.points.is_empty() {
        if place.fleet().is_some_and(|fleet| fleet.task(name).is_some()) {
            writeln!(output.notes, "note: {name} is a task, and tasks have no memory history")?;
            return Ok(0);
        }
        let since = words::local(since_ms, context.zone());
        writeln!(
            output.notes,
            "note: there are no samples of the memory of {name} since {since}{}",
            why_none(name, spec)
        )?;
        return Ok(0);
    }
    for line in &lines {
        writeln!(output.out, "{}", harmless(line))?;
    }
    match &args.svg {
        Some(path) => writeln!(output.out, "the picture is in {}", path.display())?,
        None => {
            let picture = terminal::draw(&chart, context.width, context.color, context.zone());
            write!(output.out, "\n{picture}")?;
        }
    }
    Ok(0)
}

/// How its memory is judged, by services.toml.
fn spec<'a>(place: &'a Place<'_>, name: &UnitName) -> Option<&'a MemorySpec> {
    place.fleet()?.services.iter().find(|service| service.name == *name)?.memory.as_ref()
}

/// What can be typed where there are no samples.
fn why_none(name: &UnitName, spec: Option<&MemorySpec>) -> String {
    match spec {
        Some(spec) => {
            format!("; while it is up the daemon takes one each {}", words::lasting_time(spec.interval))
        }
        None => format!(
            "; it is looked at once services.toml has this, and after `supervisor reload`:\n\n[service.{name}.memory]\n\
             growth = \"10MB/h\"\nlimit = \"3GiB\""
        ),
    }
}

/// What the daemon says of each service; `None` without a daemon that answers.
fn infos(place: &Place<'_>) -> Option<Vec<ServiceInfo>> {
    let daemon = Daemon::connect_if_running(&place.paths).ok().flatten()?;
    Some(daemon.status().ok()?.services)
}

/// How a service's memory stands.
struct Seen {
    info: Option<MemoryInfo>,
    /// What the daemon says that it is doing; `None` without a daemon, or one that does not know it.
    status: Option<Status>,
}

impl Seen {
    /// What the daemon says of it, else what is on record.
    fn of(name: &UnitName, said: &Option<Vec<ServiceInfo>>, recorded: impl FnOnce() -> Option<MemoryInfo>) -> Self {
        let said = said.as_ref().and_then(|said| said.iter().find(|info| info.name == *name));
        let info = said.and_then(|said| said.memory.clone()).or_else(recorded);
        Self { info, status: said.map(|said| said.status) }
    }
}

/// For how long a run has been looked at, where that is known: when its beginning is among the rows. Milliseconds.
fn young_ms(kept: &MemoryKept, rows: &[EventRow]) -> Option<i64> {
    let newest = kept.newest.as_ref()?;
    let is_start = |row: &EventRow| row.event_type == EventType::ServiceStart.as_str();
    rows.iter().find(|row| is_start(row) && row.run_id == Some(newest.run_id))?;
    let first = kept.points.iter().find(|point| point.run_id == newest.run_id)?;
    Some(newest.sample.at.wall_ms.saturating_sub(first.at_ms).max(0))
}

/// What happened to a service that its picture shows.
fn rows(name: &UnitName, since_ms: i64, context: &Context<'_>, place: &Place<'_>) -> Result<Vec<EventRow>, Error> {
    let mut event_type =
        vec![EventType::ServiceStart, EventType::MemoryGrowth, EventType::MemoryLimit, EventType::MemorySnapshot];
    event_type.extend(EventType::ALL.into_iter().filter(|event| event.is_run_end()));
    let filter = Filter {
        since_ms: Some(since_ms),
        service: Some(name.clone()),
        event_type,
        evidence: false,
        limit: Some(MOST_EVENTS),
    };
    Ok(context.sources.events(&place.paths, &filter)?.unwrap_or_default())
}

fn point(point: &crate::store::HistoryPoint) -> serde_json::Value {
    json!({ "at_ms": point.at_ms, "span_ms": point.span_ms, "run_id": point.run_id, "bytes": point.bytes })
}

/// The rows as marks. A start names the end before it; what says that growth is over is no mark.
fn marks(rows: &[EventRow]) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut ended: Option<String> = None;
    for row in rows {
        let data = row.metadata.as_object().cloned().unwrap_or_default();
        let said = ["reason", "message", "text"].iter().find_map(|key| data.get(*key)?.as_str()).map(str::to_owned);
        let run = row.run_id.map(|run| format!("run {run}")).unwrap_or_else(|| "a run".into());
        let (kind, text) = match EventType::parse(&row.event_type) {
            Some(event) if event.is_run_end() => {
                ended = Some(format!("; {run} had ended with {}", events::end(&data)));
                continue;
            }
            Some(EventType::ServiceStart) => {
                (MarkKind::Start, format!("{run} began{}", ended.take().unwrap_or_default()))
            }
            _ if data.get("cleared").is_some_and(|cleared| cleared == true) => continue,
            Some(EventType::MemoryGrowth) => {
                let rate = data.get("bytes_per_hour").and_then(serde_json::Value::as_f64);
                let rate = rate.map(|rate| format!(": {}", told::rate(rate))).unwrap_or_default();
                let what = match (stage(row), is_of_heap(row)) {
                    (Some("restart"), _) => "restarted for its growth",
                    (_, true) => "its heap grows",
                    (_, false) => "it grows",
                };
                (MarkKind::Growth, said.unwrap_or_else(|| format!("{what}{rate}")))
            }
            Some(EventType::MemoryLimit) => {
                let bytes = data.get("bytes").and_then(serde_json::Value::as_u64).map(words::size);
                let bytes = bytes.map(|bytes| format!(": {bytes}")).unwrap_or_default();
                let what = match stage(row) {
                    Some("near") => "near its limit",
                    Some("restart") => "restarted for its limit",
                    _ => "above its limit",
                };
                (MarkKind::Limit, said.unwrap_or_else(|| format!("{what}{bytes}")))
            }
            Some(EventType::MemorySnapshot) => {
                let text = |key: &str| data.get(key).and_then(serde_json::Value::as_str);
                let what = match (text("file"), text("failed")) {
                    (Some(file), _) => format!("heap snapshot in {file}"),
                    (None, Some(why)) => format!("no heap snapshot: {why}"),
                    (None, None) => "heap snapshot".into(),
                };
                (MarkKind::Snapshot, what)
            }
            _ => continue,
        };
        marks.push(Mark { at_ms: row.timestamp_ms, kind, text });
    }
    marks
}

/// Which step a row about a limit, or about a restart, tells of.
fn stage(row: &EventRow) -> Option<&str> {
    row.metadata["stage"].as_str()
}

/// Whether a row is about the heap, and not about the memory of all processes.
fn is_of_heap(row: &EventRow) -> bool {
    row.metadata["of"] == "heap"
}

/// What the database knows of how it stands: the last sample, and growth that was told of the same run.
fn last_known(kept: &MemoryKept, rows: &[EventRow]) -> Option<MemoryInfo> {
    let newest = kept.newest.as_ref()?;
    let is_growth = |row: &&EventRow| row.event_type == EventType::MemoryGrowth.as_str();
    // The numbers are those of the tree, and a restart for growth does not say how it grows.
    let mut all = rows.iter().rev().filter(is_growth);
    let row = all.find(|row| !is_of_heap(row) && stage(row) != Some("restart"));
    let told = row.filter(|row| row.run_id == Some(newest.run_id) && row.metadata["cleared"] != true);
    let growth: Option<Growth> = told.and_then(|row| serde_json::from_value(row.metadata.clone()).ok());
    let since = told.and_then(|row| row.metadata["since_ms"].as_i64());
    Some(MemoryInfo {
        bytes: newest.sample.bytes,
        metric: newest.sample.metric,
        bytes_per_hour: growth.as_ref().map(|growth| growth.bytes_per_hour),
        verdict: growth.as_ref().map(|growth| growth.verdict),
        processes: newest.sample.count,
        sampled_ms: newest.sample.at.wall_ms,
        growth,
        growing_since_ms: since,
        waiting: None,
        heap_bytes: None,
        troubles: Vec::new(),
    })
}

/// Whether somebody should look at it.
fn is_growing(verdict: MemoryVerdict) -> bool {
    matches!(verdict, MemoryVerdict::Growing | MemoryVerdict::Urgent)
}
