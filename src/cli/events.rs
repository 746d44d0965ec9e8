//! `events`: the ledger, as a table or as one JSON object a line.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::args::Events as Args;
use super::table::Grid;
use super::{Context, Output, Stop, names, since, style};
use crate::control::client::Daemon;
use crate::error::Error;
use crate::machine::words;
use crate::model::EventType;
use crate::store::{EVIDENCE, EventRow, Filter};

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let filter = Filter {
        since_ms: args.since.as_ref().map(|text| since::parse(text, context.now_ms, context.zone())).transpose()?,
        service: args.service.as_ref().map(|name| names::one(name)).transpose()?,
        event_type: args.types.iter().map(|text| event_type(text)).collect::<Result<_, _>>()?,
        evidence: args.evidence,
        limit: Some(args.limit),
    };
    let place = context.place();
    let folder = args.evidence.then(|| place.paths.evidence());
    let database = place.paths.database();
    // The ledger is a moment behind the journals. A daemon that does not answer is no reason not to print what is there.
    if let Ok(Some(daemon)) = Daemon::connect_if_running(&place.paths) {
        drop(daemon.sync());
    }
    let Some(rows) = context.sources.events(&place.paths, &filter)? else {
        writeln!(output.notes, "note: there is no database yet at {}", database.display())?;
        return Ok(0);
    };
    // A service that is gone from services.toml still has its rows, so only an empty answer makes a name doubtful.
    if let (true, Some(name)) = (rows.is_empty(), &filter.service) {
        let known = place.names();
        if place.fleet().is_some() && !known.contains(name) {
            return Err(names::unknown(name, &known).into());
        }
    }
    if context.json {
        for row in &rows {
            writeln!(output.out, "{}", object(row, folder.as_deref()))?;
        }
    } else if rows.is_empty() {
        writeln!(output.notes, "note: no such events are on record")?;
    } else {
        output.out.write_all(table(&rows, folder.as_deref(), context).as_bytes())?;
    }
    Ok(0)
}

fn event_type(text: &str) -> Result<EventType, Error> {
    let message = || format!("there is no event type `{text}`");
    EventType::parse(text)
        .ok_or_else(|| names::unknown_word(message(), "the types are", text, EventType::ALL.map(EventType::as_str)))
}

/// The file with what was seen when this happened, and its size in bytes; `None` for a file that is gone.
fn evidence(row: &EventRow, folder: &Path) -> Option<(PathBuf, Option<u64>)> {
    let name = Path::new(row.metadata.get(EVIDENCE)?.as_str()?);
    // A database that somebody else wrote leads to no other folder.
    let path = folder.join(name.file_name()?);
    let size = path.symlink_metadata().ok().filter(Metadata::is_file).map(|file| file.len());
    Some((path, size))
}

fn object(row: &EventRow, folder: Option<&Path>) -> Value {
    let mut object = json!({
        "timestamp": row.timestamp_ms,
        "event_type": row.event_type,
        "service_name": row.service_name,
        "run_id": row.run_id,
        "metadata": row.metadata,
    });
    if let Some((path, size)) = folder.and_then(|folder| evidence(row, folder)) {
        object["evidence_path"] = json!(path.to_string_lossy());
        object["evidence_bytes"] = json!(size);
    }
    object
}

fn table(rows: &[EventRow], folder: Option<&Path>, context: &Context<'_>) -> String {
    let grid = Grid {
        header: &["TIME", "EVENT", "SERVICE", "WHAT"],
        right: &[],
        painted: (1, |word| EventType::parse(word).and_then(style::of_event)),
    };
    let cells = |row: &EventRow| {
        vec![
            words::local_seconds(row.timestamp_ms, context.zone()),
            row.event_type.clone(),
            row.service_name.clone().unwrap_or_else(|| "-".into()),
            what(row, folder),
        ]
    };
    grid.render(&rows.iter().map(cells).collect::<Vec<_>>(), context.width, context.color)
}

/// The words for a row, and where its evidence is if that is asked for.
fn what(row: &EventRow, folder: Option<&Path>) -> String {
    let Some((path, size)) = folder.and_then(|folder| evidence(row, folder)) else { return digest(row) };
    let mut row = row.clone();
    if let Some(data) = row.metadata.as_object_mut() {
        data.remove(EVIDENCE);
    }
    let size = size.map_or_else(|| "gone".to_owned(), words::size);
    format!("{}: {} ({size})", digest(&row), path.display())
}

/// The metadata in a few words: `run 7: SIGKILL after 3h 2m (attempt 2)`.
fn digest(row: &EventRow) -> String {
    let empty = Map::new();
    let data = row.metadata.as_object().unwrap_or(&empty);
    let what = match EventType::parse(&row.event_type) {
        Some(event) if event.is_run_end() => end(data),
        Some(event) if event.is_of_slots() && data.contains_key("slot") => slot(event, data),
        _ => members(data),
    };
    match (row.run_id, what.is_empty()) {
        (Some(run), true) => format!("run {run}"),
        (Some(run), false) => format!("run {run}: {what}"),
        (None, _) => what,
    }
}

/// How a run ended.
pub(super) fn end(data: &Map<String, Value>) -> String {
    let number = |key: &str| data.get(key).and_then(Value::as_i64);
    let word = |key: &str| data.get(key).and_then(Value::as_str);
    let code = number("exit_code").and_then(|code| i32::try_from(code).ok());
    let mut text = match (word("signal"), code) {
        (Some(signal), _) => signal.to_owned(),
        (None, Some(code)) => words::code_text(code),
        (None, None) => "an end nobody saw".to_owned(),
    };
    if let Some(what) = word("out_of_memory").filter(|what| !what.is_empty()) {
        text.push_str(&format!(" ({})", words::out_of_memory(what)));
    }
    // The event type says 'crash' and 'lost' already.
    if let Some(class) = word("class").filter(|class| !matches!(*class, "crash" | "lost")) {
        text.push_str(&format!(", {class}"));
    }
    if let Some(uptime) = number("uptime_ms") {
        text.push_str(&format!(" after {}", words::lasting(uptime)));
    }
    if let Some(attempt) = number("restart_attempt").filter(|attempt| *attempt > 0) {
        text.push_str(&format!(" (attempt {attempt})"));
    }
    text
}

/// What a calendar job's row tells of its slot: `20261122T075500Z: failed after 12s: step 2 (pg_dump): exit code 1`.
fn slot(event: EventType, data: &Map<String, Value>) -> String {
    let number = |key: &str| data.get(key).and_then(Value::as_i64);
    let word = |key: &str| data.get(key).and_then(Value::as_str).filter(|word| !word.is_empty());
    let slot = word("slot").unwrap_or_default();
    if event == EventType::TaskStarted {
        let late =
            number("late_ms").filter(|late| *late >= 60_000).map(|late| format!(", {} late", words::lasting(late)));
        let by = word("trigger").map(|by| format!(" by {by}")).unwrap_or_default();
        let resumes = word("resumes").map(|run| format!(", going on with {run}")).unwrap_or_default();
        return format!("{slot}: started{by}{}{resumes}", late.unwrap_or_default());
    }
    let mut text = match number("count").filter(|count| *count > 1) {
        Some(count) => format!("{count} slots up to {slot}"),
        None => slot.to_owned(),
    };
    text.push_str(&word("result").map(|result| format!(": {result}")).unwrap_or_default());
    text.push_str(&number("awake_ms").map(|ms| format!(" after {}", words::exactly(ms))).unwrap_or_default());
    text.push_str(&word("why").map(|why| format!(": {why}")).unwrap_or_default());
    text.push_str(&word("made_up_by").map(|run| format!("; {run} stands for it")).unwrap_or_default());
    text
}

/// Any other row: its words first, then what else fits in a line.
fn members(data: &Map<String, Value>) -> String {
    // The row has the run's number; which file a program is matters when it changes, and is in the JSON.
    const HIDDEN: [&str; 3] = ["run_id", "program", "program_id"];
    const WORDS: [&str; 3] = ["reason", "message", "text"];
    let words = WORDS.iter().filter_map(|key| data.get(*key)?.as_str()).filter(|text| !text.is_empty());
    let mut parts: Vec<String> = words.map(str::to_owned).collect();
    for (key, value) in data.iter().filter(|(key, _)| !HIDDEN.contains(&key.as_str()) && !WORDS.contains(&key.as_str()))
    {
        let key_text = key.strip_suffix("_ms").unwrap_or(key).replace('_', " ");
        match value {
            Value::Number(n) if key.ends_with("_ms") && n.as_i64().is_some_and(|ms| ms < MONTH_MS) => {
                parts.push(format!("{key_text} {}", words::exactly(n.as_i64().unwrap_or_default())));
            }
            // The row has its own time; another one as a number helps nobody, and is in the JSON.
            Value::Number(_) if key.ends_with("_ms") => {}
            Value::Number(n) => parts.push(format!("{key_text} {n}")),
            Value::String(s) if !s.is_empty() && s.len() <= 80 && !s.contains('\n') => {
                parts.push(format!("{key_text} {s}"));
            }
            Value::Bool(true) => parts.push(key_text),
            _ => {}
        }
    }
    parts.join(", ")
}

/// A `_ms` member below this is a length of time, above it a point in time.
const MONTH_MS: i64 = 31 * 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(event: &str, run_id: Option<u64>, metadata: Value) -> String {
        digest(&EventRow { id: 1, timestamp_ms: 0, event_type: event.into(), service_name: None, run_id, metadata })
    }

    #[test]
    fn metadata_becomes_a_few_words() {
        let killed = json!({"run_id": 7, "class": "crash", "exit_code": null, "signal": "SIGKILL",
            "restart_attempt": 2, "uptime_ms": 10_920_000, "pid": 5, "stderr_tail": "boom\nboom"});
        assert_eq!(digest_of("service_crash", Some(7), killed), "run 7: SIGKILL after 3h 2m (attempt 2)");
        let full = json!({"class": "crash", "signal": "SIGABRT", "uptime_ms": 400, "out_of_memory": "v8"});
        assert_eq!(digest_of("service_crash", Some(8), full), "run 8: SIGABRT (V8's heap was full) after 0s");
        let refused = json!({"class": "refused", "exit_code": 78, "uptime_ms": 900, "restart_attempt": 0});
        assert_eq!(digest_of("service_exit", Some(1), refused), "run 1: exit code 78 (EX_CONFIG), refused after 0s");
        let lost = json!({"class": "lost"});
        assert_eq!(digest_of("service_lost", Some(3), lost), "run 3: an end nobody saw");
        let start = json!({"run_id": 4, "pid": 4711, "restart_attempt": 1});
        assert_eq!(digest_of("service_start", Some(4), start), "run 4: pid 4711, restart attempt 1");
        let held = json!({"reason": "port 18789 is taken", "retry_ms": 900_000, "tail": "a\nb", "again": true});
        assert_eq!(digest_of("service_held", None, held), "port 18789 is taken, again, retry 15m");
        let hung = json!({"reason": "not one byte came in 5 s", "failing_since_ms": 1_795_341_780_000_i64, "failed_probes": 4,
            "tolerated_ms": 35_000, "uptime_ms": 720_000, "evidence": "gateway-7.txt"});
        assert_eq!(
            digest_of("service_hung", Some(7), hung),
            "run 7: not one byte came in 5 s, evidence gateway-7.txt, failed probes 4, tolerated 35s, uptime 12m"
        );
        assert_eq!(digest_of("from_the_future", Some(2), Value::Null), "run 2");
        let slot = "20261122T075500Z";
        let started = json!({"slot": slot, "trigger": "daemon", "late_ms": 120_000, "timing": "late", "resumes": null});
        assert_eq!(digest_of("task_started", None, started), "20261122T075500Z: started by daemon, 2m late");
        let failed = json!({"slot": slot, "result": "failed", "awake_ms": 12_000, "why": "step 2 (pg_dump): exit code 1",
            "steps": [], "stderr_tail": "x"});
        assert_eq!(
            digest_of("task_finished", None, failed),
            "20261122T075500Z: failed after 12s: step 2 (pg_dump): exit code 1"
        );
        let missed = json!({"slot": slot, "slots": [1, 2, 3], "count": 3, "result": "missed-asleep", "why": "the machine slept",
            "made_up_by": "20261122T080000Z"});
        assert_eq!(
            digest_of("task_missed", None, missed),
            "3 slots up to 20261122T075500Z: missed-asleep: the machine slept; 20261122T080000Z stands for it"
        );
    }

    #[test]
    fn types_are_checked() {
        assert_eq!(event_type("service_crash"), Ok(EventType::ServiceCrash));
        let near = event_type("service_crashed").unwrap_err();
        assert_eq!(near.kind.exit_code(), 2);
        assert!(near.hint.unwrap().starts_with("did you mean `service_crash`"));
        assert_eq!(event_type("crash").unwrap_err().hint.as_deref(), Some("did you mean `service_crash`?"));
        assert!(event_type("zzz").unwrap_err().hint.unwrap().contains("clock_gap"));
    }
}
