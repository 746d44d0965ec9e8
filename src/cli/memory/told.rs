//! How a service's memory stands, in words.

use crate::cli::Context;
use crate::machine::words;
use crate::model::{MemoryInfo, MemoryVerdict, UnitName};

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes per hour: `+14.2 MiB/h`.
pub(super) fn rate(bytes_per_hour: f64) -> String {
    format!("{:+.1} MiB/h", bytes_per_hour / MIB)
}

/// Two lines: what it uses, and where that leads.
pub(super) fn lines(
    name: &UnitName,
    info: Option<&MemoryInfo>,
    limit: Option<u64>,
    context: &Context<'_>,
) -> Vec<String> {
    let limit = limit.map(|limit| format!("limit {}", words::size(limit)));
    let Some(info) = info else {
        let parts = ["there is no sample of the last two days".to_owned()].into_iter().chain(limit);
        return vec![format!("{name}: {}", parts.collect::<Vec<_>>().join(", "))];
    };
    let processes = if info.processes == 1 { "1 process".into() } else { format!("{} processes", info.processes) };
    let age_ms = context.now_ms.saturating_sub(info.sampled_ms);
    // Until the next sample the last one is what it uses.
    let when = if age_ms < 5 * 60_000 { "now".to_owned() } else { format!("{} ago", words::lasting(age_ms)) };
    let first = format!("{name}: {} {when} ({}, {processes})", words::size(info.bytes), info.metric.as_str());
    let mut parts = vec![trend(info, context)];
    parts.extend(limit);
    parts.extend(info.waiting.clone());
    vec![first, parts.join(", ")]
}

fn trend(info: &MemoryInfo, context: &Context<'_>) -> String {
    let slope = info.bytes_per_hour.map(rate);
    let Some(growth) = &info.growth else {
        return match (info.verdict, slope) {
            (Some(MemoryVerdict::Early), _) => "there is not enough yet to tell a trend".into(),
            (Some(verdict), Some(slope)) => format!("{}, {slope}", verdict.as_str()),
            (Some(verdict), None) => verdict.as_str().into(),
            (None, _) => "no trend is known".into(),
        };
    };
    let mut text = format!(
        "{} by {} ({:.1} to {:.1})",
        growth.verdict.as_str(),
        rate(growth.bytes_per_hour),
        growth.low / MIB,
        growth.high / MIB
    );
    if let Some(since) = info.growing_since_ms {
        text.push_str(&format!(" since {}", words::local(since, context.zone())));
    }
    if let Some(hours) = growth.hours_left {
        text.push_str(&format!(", {} awake until there is no more room", words::hours(hours)));
    }
    text
}
