//! When a systemd service is started again, and how long things may take.

use std::time::Duration;

use super::lines::Section;
use super::systemd::{last, list};
use super::systemd_words::{Span, exit_code, span};
use super::unit::{Unit, Value};
use crate::config::show_duration;

/// When it is started again, and which exit codes count as what.
pub(super) fn set(unit: &mut Unit, sections: &[Section]) {
    let one = |key: &str| last(sections, "Service", key);
    let text = one("Restart").unwrap_or("no");
    match text {
        "always" => {}
        "on-failure" => unit.set_text("restart", "on-failure"),
        "on-abnormal" | "on-abort" | "on-watchdog" => {
            unit.warn(
                "restart",
                format!("Restart={text} left it down after an exit code; here that counts as a failure too"),
            );
            unit.set_text("restart", "on-failure");
        }
        "on-success" => {
            unit.warn("restart", "Restart=on-success left it down after a failure; here it is always started again")
        }
        _ => {
            if one("Restart").is_none() {
                unit.say("restart", "systemd does not start it again unless Restart= says so");
            }
            unit.set_text("restart", "never");
        }
    }
    let codes = |unit: &mut Unit, key: &'static str, ours: &'static str| {
        let words: Vec<&str> = list(sections, "Service", key).into_iter().flat_map(str::split_whitespace).collect();
        let (codes, others): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|word| exit_code(word).is_some());
        if !others.is_empty() {
            unit.warn(ours, format!("{key} {}: only exit codes count here", others.join(" ")));
        }
        let mut codes: Vec<i64> = codes.into_iter().filter_map(exit_code).map(i64::from).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    };
    let mut success = codes(unit, "SuccessExitStatus", "success_exit_codes");
    let mut hold = codes(unit, "RestartPreventExitStatus", "hold_exit_codes");
    if !success.is_empty() {
        success.insert(0, 0);
        success.dedup();
    }
    if !hold.is_empty() {
        unit.say(
            "hold_exit_codes",
            "after one of these it is held: tried again every 15 min, or when watch_config changes",
        );
        if hold.contains(&0) {
            unit.turn_off("exit 0 is in RestartPreventExitStatus: restart = \"on-failure\" says that");
        }
        hold.retain(|code| *code != 0);
        success.retain(|code| !hold.contains(code));
        unit.set("hold_exit_codes", Value::List(hold.iter().map(|code| Value::Number(*code)).collect()));
    } else if success.contains(&78) {
        unit.set("hold_exit_codes", Value::List(Vec::new()));
    }
    if !success.is_empty() {
        unit.set("success_exit_codes", Value::List(success.into_iter().map(Value::Number).collect()));
    }
}

/// A time for `key` between these bounds, in milliseconds; beyond them it is the nearer bound.
fn time(unit: &mut Unit, key: &'static str, theirs: &str, text: &str, (low, high): (u64, u64)) -> Option<Duration> {
    let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
    let Some(span) = span(text) else {
        unit.warn(key, format!("{theirs}={text} is no span of time, and left out"));
        return None;
    };
    let time = match span {
        // Zero is systemd's other word for endless.
        Span::Of(time) if !time.is_zero() || low.is_zero() => time,
        _ => high,
    };
    let within = time.clamp(low, high);
    if within != time || matches!(span, Span::Endless) || time == high {
        unit.warn(
            key,
            format!("{theirs} was {text}; here {} to {} can be said", show_duration(low), show_duration(high)),
        );
    }
    unit.set_text(key, show_duration(within));
    Some(within)
}

/// How long a run of a task may take.
pub(super) fn limit(unit: &mut Unit, sections: &[Section]) {
    const WEEK: u64 = 7 * 24 * 3_600_000;
    let one = |key: &str| last(sections, "Service", key);
    match one("TimeoutStartSec").or(one("TimeoutSec")) {
        Some(text) => _ = time(unit, "max_runtime", "TimeoutStartSec", text, (100, WEEK)),
        None => unit.say("steps", "a step has its timeout, and the whole job max_runtime (1h)"),
    }
}

/// How long things may take.
pub(super) fn times(unit: &mut Unit, sections: &[Section], kind: &str) {
    const HOUR: u64 = 3_600_000;
    let one = |key: &str| last(sections, "Service", key);
    let both = one("TimeoutSec");
    if let Some(text) = one("TimeoutStopSec").or(both) {
        time(unit, "stop_timeout", "TimeoutStopSec", text, (100, HOUR));
    }
    // For the others nothing is waited for.
    if let Some(text) = one("TimeoutStartSec").or(both).filter(|_| kind.starts_with("notify")) {
        time(unit, "start_timeout", "TimeoutStartSec", text, (100, 24 * HOUR));
    }
    if let Some(text) = one("RestartSec")
        && !unit.keys.get("restart").is_some_and(|word| *word == Value::text("never"))
    {
        if matches!(span(text), Some(Span::Of(time)) if time < Duration::from_secs(1)) {
            // A throttle of nothing is no back-off either, and there is no StartLimitBurst to end such a storm.
            unit.say("throttle", format!("RestartSec {text} is left out: what ran for 10 s is started again at once"));
        } else {
            unit.say("throttle", "RestartSec is counted from the end; throttle is the least time from start to start");
            time(unit, "throttle", "RestartSec", text, (1000, HOUR));
        }
    }
    if let Some(text) = one("WatchdogSec")
        && let Some(Span::Of(time)) = span(text).filter(|span| *span != Span::Of(Duration::ZERO))
    {
        // A pause of (failures - 1) * interval + timeout is a hang, and a timeout is at most two minutes.
        let failures = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).div_ceil(120_000).clamp(1, 1000);
        let interval =
            (time / u32::try_from(failures).unwrap_or(1)).clamp(Duration::from_millis(10), Duration::from_secs(120));
        let interval = show_duration(interval);
        unit.say("health", format!("WatchdogSec={text}: WATCHDOG=1 on NOTIFY_SOCKET, as before"));
        unit.set("notify", Value::Truth(true));
        unit.set(
            "health",
            Value::Table(vec![
                ("notify", Value::Truth(true)),
                ("interval", Value::text(interval.clone())),
                ("timeout", Value::Text(interval)),
                ("failures", Value::Number(i64::try_from(failures).unwrap_or(1))),
            ]),
        );
    }
}
