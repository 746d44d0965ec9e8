//! Of memory that grows, and of memory above its limit.

use serde_json::{Map, Value};

use super::{Text, quoted, utc};
use crate::machine::words::{amount, count, hours, lasting, rate, size};
use crate::model::{Rule, Severity, UnitName};

/// Which number of a service is meant, where it is not the memory of all its processes.
pub(in crate::machine::alerts) fn of_what(data: &Map<String, Value>) -> Option<&str> {
    data.get("of")?.as_str()
}

/// Whether a row tells of a restart for what was told before.
pub(in crate::machine::alerts) fn is_restart(data: &Map<String, Value>) -> bool {
    data.get("stage").and_then(Value::as_str) == Some("restart")
}

/// How much it matters, by the word of the row; what another version wrote may say nothing of it.
pub(in crate::machine::alerts) fn severity_of(rule: Rule, data: &Map<String, Value>) -> Severity {
    let said = data.get("severity").cloned().and_then(|said| serde_json::from_value(said).ok());
    said.unwrap_or_else(|| super::severity(rule))
}

fn bytes(data: &Map<String, Value>, key: &str) -> Option<String> {
    data.get(key).and_then(Value::as_u64).map(size)
}

fn number(data: &Map<String, Value>, key: &str) -> Option<f64> {
    data.get(key).and_then(Value::as_f64)
}

/// Whether the supervisor restarts it for its memory at all.
fn restarts(data: &Map<String, Value>) -> bool {
    data.get("restarts") != Some(&Value::Bool(false))
}

/// What is done where nothing would start it again.
const ONLY_TOLD: &str = "Nothing restarts it: restart = \"never\". The supervisor only tells of it.";

fn advice(name: &UnitName) -> Vec<String> {
    vec![format!("supervisor memory {name}"), format!("supervisor restart {name}")]
}

/// What it uses, and by which measure.
fn uses(data: &Map<String, Value>) -> Option<String> {
    let metric = quoted(data, "metric").map(|metric| format!(" ({metric})")).unwrap_or_default();
    bytes(data, "bytes").map(|bytes| format!("It uses {bytes}{metric}."))
}

/// Of growth.
pub(in crate::machine::alerts) fn of_growth(name: &UnitName, data: &Map<String, Value>) -> Text {
    let who = match of_what(data) {
        Some(_) => format!("the heap of {name}"),
        None => name.to_string(),
    };
    let Some(slope) = number(data, "bytes_per_hour") else {
        // A row of another version.
        let title = super::because(format!("{who} uses more and more memory"), data);
        return Text { title, doing: "Supervision goes on as before.".into(), advice: advice(name), ..Text::default() };
    };
    let end = match bytes(data, "limit") {
        Some(limit) => format!("to its limit of {limit}"),
        None => "until the machine has no more".into(),
    };
    let left = number(data, "hours_left").map(|left| format!(", {} {end}", hours(left))).unwrap_or_default();
    let mut facts: Vec<String> = uses(data).into_iter().collect();
    if let (Some(grown), Some(span)) = (number(data, "grown"), number(data, "hours")) {
        let since = data.get("since_ms").and_then(Value::as_i64).map(|ms| format!(", since {}", utc(ms)));
        facts.push(format!("It has grown by {} in {}{}.", amount(grown), hours(span), since.unwrap_or_default()));
    }
    if let (Some(low), Some(high)) = (number(data, "low"), number(data, "high")) {
        facts.push(format!("That is {} to {}, counted without sleep.", rate(low), rate(high)));
    }
    if let Some(each) = number(data, "bytes_per_request") {
        facts.push(format!("That is {} for each request it has served meanwhile.", amount(each)));
    }
    let doing = if restarts(data) {
        "The supervisor watches it. It restarts it above its limit, and for growth alone only where on_growth says so."
    } else {
        ONLY_TOLD
    };
    Text {
        title: format!("{who} grows by {}{left}", rate(slope)),
        facts,
        doing: doing.into(),
        advice: advice(name),
        ..Text::default()
    }
}

/// Of a limit.
pub(in crate::machine::alerts) fn of_limit(name: &UnitName, data: &Map<String, Value>, at_ms: i64) -> Text {
    let limit = bytes(data, "limit").map(|limit| format!(" of {limit}")).unwrap_or_default();
    let said = |key: &str| data.get(key).and_then(Value::as_str);
    let is = |key: &str| data.get(key) == Some(&Value::Bool(true));
    let millis = |key: &str| data.get(key).and_then(Value::as_i64).unwrap_or(0);
    let unhelped = data.get("unhelped").and_then(Value::as_u64).unwrap_or(0);
    let waits = [(is("idle"), "is idle"), (is("quiet"), "has its quiet hours")];
    let waits: Vec<&str> = waits.into_iter().filter(|(has, _)| *has).map(|(_, what)| what).collect();
    let latest = || utc(at_ms.saturating_add(millis("max_wait_ms")));
    let when = (!waits.is_empty()).then(|| format!(" when it {}, at {} at the latest", waits.join(" or "), latest()));
    let (title, doing) = match said("stage") {
        Some("near") => (
            format!("{name} comes near its memory limit{limit}"),
            "The supervisor restarts it, drained, when it stays above the limit.".to_owned(),
        ),
        Some("restart") => {
            let why = match said("chance") {
                Some("idle") => ", as it is idle",
                Some("quiet") => ", as it is one of its quiet hours",
                Some("waited") => ", as it has waited for as long as it may",
                Some("ceiling") => ", as it is above its ceiling",
                _ => "",
            };
            let waited = if millis("waited_ms") >= 1000 {
                format!(" after {}", lasting(millis("waited_ms")))
            } else {
                String::new()
            };
            (
                format!("{name} was above its memory limit{limit} and is restarted"),
                format!("The supervisor restarts it{waited}{why}, and lets it finish its work first."),
            )
        }
        Some("over") if unhelped > 0 => {
            let times = count(usize::try_from(unhelped).unwrap_or(usize::MAX), "restart");
            let next = match millis("restart_in_ms") {
                0 => format!("The supervisor restarts it once more{}.", when.unwrap_or_default()),
                wait => {
                    let from = utc(at_ms.saturating_add(wait));
                    format!("Restarts get rarer, the next is not before {from} (in {}).", lasting(wait))
                }
            };
            (format!("{name} is above its memory limit{limit} again, {times} did not help"), next)
        }
        Some("over") => {
            let doing = match when {
                None => "The supervisor restarts it, and lets it finish its work first.".to_owned(),
                Some(when) => format!("The supervisor restarts it{when}."),
            };
            (format!("{name} is above its memory limit{limit}"), doing)
        }
        _ => (
            super::because(format!("{name} was above its memory limit"), data),
            "The supervisor restarts it, and lets it finish its work first.".to_owned(),
        ),
    };
    let doing = if restarts(data) { doing } else { ONLY_TOLD.to_owned() };
    let mut advice = advice(name);
    if unhelped > 0 {
        advice
            .insert(1, format!("raise limit in [service.{name}.memory] if it needs that much, then supervisor reload"));
    }
    Text { title, facts: uses(data).into_iter().collect(), doing, advice, ..Text::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn doing(data: &Value) -> String {
        of_limit(&UnitName::new("a").unwrap(), data.as_object().unwrap(), 0).doing
    }

    #[test]
    fn of_what_nothing_starts_again_no_restart_is_promised() {
        for stage in ["near", "over"] {
            assert!(doing(&json!({ "stage": stage })).contains("restarts it"));
            assert_eq!(doing(&json!({ "stage": stage, "restarts": false, "unhelped": 1 })), ONLY_TOLD);
        }
        let data = json!({ "bytes_per_hour": 14e6, "restarts": false });
        assert_eq!(of_growth(&UnitName::new("a").unwrap(), data.as_object().unwrap()).doing, ONLY_TOLD);
    }

    #[test]
    fn a_restart_that_waits_says_until_when() {
        let over = |unhelped: u64, in_ms: u64| {
            doing(&json!({
                "stage": "over", "idle": true, "quiet": true, "max_wait_ms": 90_000, "unhelped": unhelped,
                "restart_in_ms": in_ms,
            }))
        };
        let until = "when it is idle or has its quiet hours, at 1970-01-01 00:01:30 UTC at the latest.";
        assert_eq!(over(0, 0), format!("The supervisor restarts it {until}"));
        assert_eq!(over(1, 0), format!("The supervisor restarts it once more {until}"));
        assert_eq!(over(2, 590_000), "Restarts get rarer, the next is not before 1970-01-01 00:09:50 UTC (in 9m 50s).");
    }
}
