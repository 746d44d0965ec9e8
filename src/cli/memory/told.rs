//! How a service's memory stands, in words.

use super::Seen;
use crate::cli::Context;
use crate::machine::words;
use crate::model::{MemoryInfo, MemoryVerdict, Status, UnitName};

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes per hour: `+14.2 MiB/h`.
pub(super) fn rate(bytes_per_hour: f64) -> String {
    format!("{:+.1} MiB/h", bytes_per_hour / MIB)
}

/// How old a sample is, milliseconds, of what is not sampled now; `None` where it is what the service uses.
pub(super) fn age_ms(info: &MemoryInfo, status: Option<Status>, context: &Context<'_>) -> Option<i64> {
    let age_ms = context.now_ms.saturating_sub(info.sampled_ms).max(0);
    // Until the next sample the last one is what it uses.
    (age_ms >= 5 * 60_000 || !status.is_some_and(has_processes)).then_some(age_ms)
}

fn has_processes(status: Status) -> bool {
    use Status::{Degraded, Hung, Running, Starting, Stopping, Up};
    matches!(status, Up | Starting | Degraded | Stopping | Hung | Running)
}

/// Two lines: what it uses, and where that leads. `young_ms` is for how long this run has been looked at, where that is known.
pub(super) fn lines(
    name: &UnitName,
    seen: &Seen,
    young_ms: Option<i64>,
    limit: Option<u64>,
    context: &Context<'_>,
) -> Vec<String> {
    let limit = limit.map(|limit| format!("limit {}", words::size(limit)));
    let Some(info) = &seen.info else {
        let parts = ["there is no sample of the last two days".to_owned()].into_iter().chain(limit);
        return vec![format!("{name}: {}", parts.collect::<Vec<_>>().join(", "))];
    };
    let processes = if info.processes == 1 { "1 process".into() } else { format!("{} processes", info.processes) };
    let (size, of) = (words::size(info.bytes), format!("({}, {processes})", info.metric.as_str()));
    let first = match age_ms(info, seen.status, context) {
        None => format!("{name}: {size} now {of}"),
        Some(age_ms) => {
            let is = match seen.status.filter(|status| !has_processes(*status)) {
                Some(Status::Failed) => "; it has failed".into(),
                Some(status) => format!("; it is {status}"),
                None => String::new(),
            };
            format!("{name}: last {size} {of}, {} ago{is}", words::lasting(age_ms))
        }
    };
    // What waits may name the limit itself.
    let limit = limit.filter(|_| !info.waiting.as_ref().is_some_and(|waiting| waiting.contains("its limit of ")));
    let parts: Vec<String> =
        [trend(info, young_ms, context)].into_iter().chain(limit).chain(info.waiting.clone()).collect();
    vec![first, parts.join(", ")]
}

/// About so many hours awake are looked at before anything is told of a trend.
const TREND_HOURS: i64 = 4;

fn too_early(young_ms: Option<i64>) -> String {
    match young_ms.filter(|young_ms| *young_ms < TREND_HOURS * 3_600_000) {
        Some(young_ms) => format!("too early for a trend: {} of about {TREND_HOURS}h", words::lasting(young_ms)),
        None => "too early for a trend".into(),
    }
}

fn trend(info: &MemoryInfo, young_ms: Option<i64>, context: &Context<'_>) -> String {
    let slope = info.bytes_per_hour.map(rate);
    let Some(growth) = &info.growth else {
        return match (info.verdict, slope) {
            (Some(MemoryVerdict::Early), _) => too_early(young_ms),
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
