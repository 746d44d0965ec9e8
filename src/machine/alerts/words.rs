//! What an alert says. Every text that comes from outside goes through [`redact`] here.

mod health;
mod memory;
mod tasks;

use std::time::Duration;

use serde_json::{Map, Value};

pub(super) use self::health::{of_hang, of_part, of_slow_start, restart_in_ms, unhelped};
pub(super) use self::memory::{is_restart, of_growth, of_limit, of_what, severity_of};
pub(super) use self::tasks::{is_left_out, of_task};
use super::kinds::cut;
use crate::machine::words::{exit_text, lasting, lasting_time};
use crate::model::{Alert, Cause, CrashKind, ExitClass, LastExit, Rule, Severity, UnitName};
use crate::policy::{HOLD_RETRY, redact};

/// Lines of stderr that an alert carries.
const TAIL_LINES: usize = 10;

/// Characters of one of them, and of anything else that is quoted.
const LINE: usize = 200;

/// An alert's texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Text {
    pub(super) title: String,
    pub(super) facts: Vec<String>,
    pub(super) tail: Vec<String>,
    pub(super) doing: String,
    pub(super) advice: Vec<String>,
}

impl Text {
    pub(super) fn put_into(self, alert: &mut Alert) {
        let Self { title, facts, tail, doing, advice } = self;
        (alert.title, alert.facts, alert.tail, alert.doing, alert.advice) = (title, facts, tail, doing, advice);
    }
}

/// How much each rule matters, where it alone decides: loops have it from their window, an unclean end from its gap.
pub(super) fn severity(rule: Rule) -> Severity {
    match rule {
        Rule::Held | Rule::Hung | Rule::Storm | Rule::Database | Rule::RestartFailed => Severity::Critical,
        Rule::Weekly | Rule::Test => Severity::Info,
        _ => Severity::Warning,
    }
}

/// A member of a record as it may be shown.
pub(super) fn quoted(data: &Map<String, Value>, key: &str) -> Option<String> {
    let text = data.get(key)?.as_str().filter(|text| !text.trim().is_empty())?;
    Some(cut(redact(text).trim(), LINE))
}

/// The end of a run as its record has it.
pub(super) fn end_of(data: &Map<String, Value>, at_ms: i64) -> Option<LastExit> {
    let class = data.get("class")?.as_str()?;
    let class = ExitClass::ALL.into_iter().find(|known| known.as_str() == class)?;
    let code = data.get("exit_code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    let signal = data.get("signal").and_then(Value::as_str).map(redact);
    Some(LastExit { class, code, signal, at_ms, out_of_memory: quoted(data, "out_of_memory") })
}

/// The last lines of stderr in a record.
pub(super) fn tail(data: &Map<String, Value>) -> Vec<String> {
    let text = data.get("stderr_tail").and_then(Value::as_str).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| cut(redact(line).trim_end(), LINE)).collect()
}

fn commands(name: &UnitName) -> Vec<String> {
    vec![format!("supervisor why {name}"), format!("supervisor logs {name} --stderr")]
}

/// What is known of a loop when it is told of.
pub(super) struct LoopFacts<'a> {
    pub(super) name: &'a UnitName,
    pub(super) cause: Cause,
    pub(super) count: u64,
    pub(super) since_ms: i64,
    /// Now.
    pub(super) last_ms: i64,
    /// The record of the last end.
    pub(super) data: &'a Map<String, Value>,
    pub(super) kind: Option<&'a CrashKind>,
    pub(super) min_uptime: Duration,
}

/// Of ends that come again and again.
pub(super) fn of_loop(facts: &LoopFacts<'_>) -> Text {
    let LoopFacts { name, cause, data, .. } = facts;
    let what = match cause {
        Cause::Crash => "crashed",
        Cause::CleanExit => "ended by itself",
        Cause::Hung => "hung",
        Cause::StartTimeout => "did not come up",
        Cause::OverMemory => "was above its memory limit",
    };
    let often = match facts.count {
        1 => String::new(),
        many => format!(" {many} times in {}", lasting(facts.last_ms - facts.since_ms)),
    };
    let mut said = Vec::new();
    if let Some(end) = end_of(data, facts.last_ms) {
        let lived = data.get("uptime_ms").and_then(Value::as_i64);
        let lived = lived.map_or(String::new(), |ms| format!(" after {}", lasting(ms)));
        said.push(format!("The last run {}{lived}.", exit_text(&end)));
    }
    if *cause == Cause::CleanExit {
        said.push(format!("Runs shorter than min_uptime ({}) count.", lasting_time(facts.min_uptime)));
    }
    said.extend(facts.kind.map(|kind| of_kind(kind, facts.last_ms)).into_iter().flatten());
    Text {
        title: format!("{name} {what}{often}"),
        facts: said,
        tail: tail(data),
        doing: "The supervisor starts it again each time, with pauses that grow while it fails so soon.".into(),
        advice: commands(name),
    }
}

fn of_kind(kind: &CrashKind, now_ms: i64) -> Vec<String> {
    let seen = match kind.count {
        0 | 1 => "not seen before".into(),
        many => format!("seen {many} times, first {} ago", lasting(now_ms - kind.first_ms)),
    };
    let mut said = vec![format!("Kind {} ({}): {seen}.", kind.fingerprint, kind.sample)];
    said.extend(kind.after_change_of.as_ref().map(|path| format!("First seen after {} changed.", redact(path))));
    said
}

/// In UTC: whoever reads it may be elsewhere.
fn utc(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// With what the record says of it.
fn because(title: String, data: &Map<String, Value>) -> String {
    let keys = ["reason", "why", "what", "failure", "error", "message"];
    match keys.iter().find_map(|key| quoted(data, key)) {
        Some(why) => format!("{title}: {why}"),
        None => title,
    }
}

/// Of a restart that was asked for.
pub(super) fn of_restart(name: &UnitName, budget: Duration) -> Text {
    Text {
        title: format!("{name} is not up {} after it was restarted as asked", lasting_time(budget)),
        facts: vec!["A restart that was asked for did not lead to a service that is ready.".into()],
        doing: "The supervisor goes on starting it.".into(),
        advice: commands(name),
        ..Text::default()
    }
}

/// Of a supervisor that had been gone.
pub(super) fn of_gap(data: &Map<String, Value>, gap: &Gap) -> Text {
    let (alive, up) = (utc(gap.last_alive_ms), utc(gap.up_ms));
    let mut facts = vec![format!("It was last seen alive at {alive}, and was up again at {up}.")];
    if let Some(boot_ms) = gap.rebooted_ms {
        facts.push(format!(
            "The machine was started again at {}, {} before the supervisor was.",
            utc(boot_ms),
            lasting(gap.up_ms - boot_ms)
        ));
    }
    facts.extend(quoted(data, "why").map(|why| format!("Why: {why}")));
    Text {
        // When it was last seen alive is known to the minute.
        title: format!(
            "The supervisor was gone for up to {} and had not said goodbye",
            lasting(gap.up_ms - gap.last_alive_ms)
        ),
        facts,
        tail: Vec::new(),
        doing: "It runs again; services that ran on were taken over.".into(),
        advice: vec!["supervisor events --since 24h".into(), "supervisor doctor".into()],
    }
}

/// How long the supervisor was gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) last_alive_ms: i64,
    pub(super) up_ms: i64,
    /// When the machine was started, if that was meanwhile.
    pub(super) rebooted_ms: Option<i64>,
}

impl Gap {
    pub(super) fn read(data: &Map<String, Value>) -> Option<Self> {
        let number = |key: &str| data.get(key).and_then(Value::as_i64);
        let (last_alive_ms, up_ms) = (number("last_alive_ms")?, number("up_ms")?);
        let rebooted = data.get("rebooted").and_then(Value::as_bool);
        let meanwhile = |boot_ms: &i64| rebooted.unwrap_or(*boot_ms > last_alive_ms);
        Some(Self { last_alive_ms, up_ms, rebooted_ms: number("boot_ms").filter(meanwhile) })
    }

    /// A restart of the supervisor alone, soon after: nothing that a person has to see to.
    pub(super) fn severity(self) -> Severity {
        let short = self.up_ms - self.last_alive_ms < 2 * 60 * 1000;
        if short && self.rebooted_ms.is_none() { Severity::Info } else { Severity::Warning }
    }
}

/// Of everything that one record tells by itself.
pub(super) fn of_record(rule: Rule, name: Option<&UnitName>, data: &Map<String, Value>) -> Text {
    let who =
        name.map_or_else(|| quoted(data, "label").unwrap_or_else(|| "the supervisor".into()), ToString::to_string);
    let because = |title: String| because(title, data);
    let (title, doing) = match rule {
        Rule::Held => (
            because(format!("{who} is held")),
            format!(
                "The supervisor keeps it down, as starting it again would not help; it is tried every {}, and at once when a file in its watch_config changes or you start it.",
                lasting_time(HOLD_RETRY)
            ),
        ),
        Rule::ProbeMisconfigured => (
            because(format!("the health probe of {who} asks the wrong question")),
            "The supervisor does not restart it for that: whoever answers is alive. Until the question is right, only silence is seen.".into(),
        ),
        // Only what could not be undone has a result.
        Rule::ExposureDown if data.contains_key("result") => (
            because(format!("{who} could not be undone, and may still hold")),
            "The supervisor tries it again when it is stopped once more, or when the daemon is started again.".into(),
        ),
        Rule::ExposureDown => {
            let tries = data.get("tries").and_then(Value::as_u64).unwrap_or(1);
            let often = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
            let again = if data.get("held") == Some(&Value::Bool(true)) { "does not hold any more" } else { "does not hold" };
            let title = format!("{who} {again}, tried {often}");
            (because(title), "The supervisor goes on trying, with pauses that grow, until it holds.".into())
        }
        Rule::Drift => {
            (because(format!("{who} is not installed as declared")), "The supervisor leaves it as it is.".into())
        }
        Rule::Database => (
            because("the ledger cannot be written".into()),
            "The supervisor keeps everything in its journals, and takes it in as soon as the database is well.".into(),
        ),
        // Told by functions of their own.
        _ => (because(who.clone()), String::new()),
    };
    let mut facts = Vec::new();
    if let Some(end) = end_of(data, 0) {
        facts.push(format!("The last run {}.", exit_text(&end)));
    }
    for (key, what) in [("result", "Result"), ("failed", "It could not be mended"), ("latency", "Latency")] {
        facts.extend(quoted(data, key).map(|said| format!("{what}: {said}.")));
    }
    let mut advice: Vec<String> = quoted(data, "remedy").into_iter().collect();
    match rule {
        Rule::Drift => {
            let upgrade = data.get("repair").and_then(Value::as_str) == Some("upgrade");
            advice.push(if upgrade { "supervisor upgrade".into() } else { "supervisor install --dry-run".into() });
        }
        Rule::Database => advice.push("supervisor doctor".into()),
        Rule::ProbeMisconfigured => {
            advice.extend(name.map(|name| format!("mend [service.{name}.health] in services.toml")));
            advice.push("supervisor reload".into());
        }
        Rule::Held => advice.extend(
            name.into_iter().flat_map(|name| commands(name).into_iter().chain([format!("supervisor start {name}")])),
        ),
        _ => advice.extend(name.into_iter().flat_map(commands)),
    }
    Text { title, facts, tail: tail(data), doing, advice }
}

/// Of a test.
pub(super) fn of_test() -> Text {
    Text {
        title: "This is a test of the alerts; nothing is wrong".into(),
        doing: "Nothing is to be done.".into(),
        ..Text::default()
    }
}

/// Of the report of the week.
pub(super) fn of_week(lines: &[String]) -> Text {
    let facts = lines.iter().map(|line| redact(line)).collect();
    Text { title: "The week of the supervisor".into(), facts, ..Text::default() }
}
