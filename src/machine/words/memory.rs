//! Memory in words.

use super::{Reader, lasting, local, local_seconds, size};
use crate::model::{Growth, MemoryInfo, MemoryTrouble};

/// A size that was reckoned: `14.0 MiB`, `-1.2 MiB`.
pub fn amount(bytes: f64) -> String {
    let sign = if bytes < 0.0 { "-" } else { "" };
    format!("{sign}{}", size(whole(bytes.abs())))
}

/// A rate: `14.0 MiB/h`, `-1.2 MiB/h`.
pub fn rate(bytes_per_hour: f64) -> String {
    format!("{}/h", amount(bytes_per_hour))
}

/// A point in time: the time of day to the second where it is today, else also which day.
pub fn clock(ms: i64, at: Reader<'_>) -> String {
    let then = local_seconds(ms, at.zone);
    match then.split_once(' ').filter(|(day, _)| local(at.now_ms, at.zone).starts_with(day)) {
        Some((_, time)) => time.to_owned(),
        None => then,
    }
}

/// A number of hours, as [`lasting`] tells it.
pub fn hours(hours: f64) -> String {
    lasting(i64::try_from(whole(hours * 3_600_000.0)).unwrap_or(i64::MAX))
}

/// Whole bytes, or milliseconds; nothing of what is no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is not below zero")]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

/// `14.0 MiB/h (12.6 MiB/h to 15.4 MiB/h), +210.0 MiB in 15h, 3h 6m left`.
fn growth_text(growth: &Growth) -> String {
    let Growth { bytes_per_hour, low, high, grown, .. } = growth;
    let left = growth.hours_left.map(|left| format!(", {} left", hours(left))).unwrap_or_default();
    let each = growth.bytes_per_request.map(|each| format!(", {} for each request", size(whole(each))));
    format!(
        "{} ({} to {}), +{} in {}{left}{}",
        rate(*bytes_per_hour),
        rate(*low),
        rate(*high),
        size(whole(*grown)),
        hours(growth.hours),
        each.unwrap_or_default()
    )
}

/// What `status NAME` says of it, one line each.
pub fn memory(info: &MemoryInfo, at: Reader<'_>) -> Vec<String> {
    let plus = |trend: f64| if trend < 0.0 { rate(trend) } else { format!("+{}", rate(trend)) };
    let trend = info.bytes_per_hour.map(|trend| format!(", {}", plus(trend))).unwrap_or_default();
    let verdict = info.verdict.as_ref().map(|verdict| format!(", {}", verdict.as_str())).unwrap_or_default();
    let mut lines = vec![format!("{} ({}){trend}{verdict}", size(info.bytes), info.metric.as_str())];
    if let Some(growth) = &info.growth {
        let since = info.growing_since_ms.map(|ms| format!("since {}: ", local(ms, at.zone))).unwrap_or_default();
        lines.push(format!("grows {since}{}", growth_text(growth)));
    }
    lines.extend(info.waiting.clone());
    lines.extend(info.heap_bytes.map(|bytes| format!("heap {}", size(bytes))));
    lines.extend(info.troubles.iter().map(|trouble| trouble_text(trouble, at)));
    lines
}

/// `its heap is not known since 2026-11-22 21:02: http://127.0.0.1:8080/stats: nothing listens there`.
fn trouble_text(trouble: &MemoryTrouble, at: Reader<'_>) -> String {
    let what = match trouble.of.as_str() {
        "idle" => "whether it is idle is not known",
        "requests" => "how many requests it has served is not known",
        _ => "its heap is not known",
    };
    format!("{what} since {}: {}", local(trouble.since_ms, at.zone), trouble.why)
}

/// A sentence for `why`, where there is more to say than a number.
pub fn why_memory(info: &MemoryInfo, at: Reader<'_>) -> Option<String> {
    let growth = info.growth.as_ref().map(|growth| {
        let since = info.growing_since_ms.map(|ms| format!(" since {}", local(ms, at.zone))).unwrap_or_default();
        let left = growth.hours_left.map(|left| format!(", {} are left", hours(left))).unwrap_or_default();
        format!("Its memory grows by {}{since}{left}.", rate(growth.bytes_per_hour))
    });
    let waiting = info.waiting.as_ref().map(|waiting| format!("{}.", super::capital(waiting)));
    let said: Vec<String> = growth.into_iter().chain(waiting).collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// A sentence for `why` about each question that is answered in no way that is of use.
pub fn why_memory_troubles(info: &MemoryInfo, at: Reader<'_>) -> impl Iterator<Item = String> {
    info.troubles.iter().map(move |trouble| format!("{}.", super::capital(&trouble_text(trouble, at))))
}

/// For a narrow column: `598M`, `1.5G`, and `1.5G +14M/h` while it grows.
pub fn memory_short(info: &MemoryInfo) -> String {
    let growth = info.growth.as_ref();
    let growth = growth.map(|growth| format!(" +{}/h", short(whole(growth.bytes_per_hour)))).unwrap_or_default();
    format!("{}{growth}", short(info.bytes))
}

/// The most telling unit, with a tenth where it stands for less than ten: `9.5M`, `12M`.
fn short(bytes: u64) -> String {
    let units = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((name, size)) if bytes / size < 10 => format!("{}.{}{name}", bytes / size, bytes % size * 10 / size),
        Some((name, size)) => format!("{}{name}", bytes / size),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::{MemoryVerdict, Metric};

    #[test]
    fn memory_and_its_growth_in_words() {
        const MIB: f64 = 1_048_576.0;
        let mut info = MemoryInfo {
            bytes: 598 << 20,
            metric: Metric::Footprint,
            bytes_per_hour: Some(-1.25 * MIB),
            verdict: Some(MemoryVerdict::Flat),
            processes: 3,
            sampled_ms: 0,
            growth: None,
            growing_since_ms: None,
            waiting: None,
            heap_bytes: None,
            troubles: Vec::new(),
        };
        let at = Reader { now_ms: 54_000_000, zone: &TimeZone::UTC };
        assert_eq!(memory(&info, at), ["598.0 MiB (footprint), -1.2 MiB/h, flat"]);
        assert_eq!((memory_short(&info).as_str(), why_memory(&info, at)), ("598M", None));
        info.growth = Some(Growth {
            verdict: MemoryVerdict::Growing,
            bytes_per_hour: 14.0 * MIB,
            low: 12.5 * MIB,
            high: 15.5 * MIB,
            grown: 210.0 * MIB,
            hours: 15.0,
            hours_left: Some(3.1),
            bytes_per_request: None,
            test: "level".into(),
        });
        info.growing_since_ms = Some(0);
        info.waiting = Some("it grows: its restart waits until it is idle".into());
        let lines = memory(&info, at);
        let grows =
            "grows since 1970-01-01 00:00: 14.0 MiB/h (12.5 MiB/h to 15.5 MiB/h), +210.0 MiB in 15h, 3h 6m left";
        assert_eq!(lines[1..], [grows, "it grows: its restart waits until it is idle"]);
        let trouble = |of: &str| MemoryTrouble { of: of.into(), since_ms: 0, why: "http://h/: it is shut".into() };
        info.heap_bytes = Some(120 << 20);
        info.troubles = vec![trouble("heap"), trouble("idle"), trouble("requests")];
        let said = memory(&info, at).split_off(3);
        assert_eq!(
            said[..2],
            ["heap 120.0 MiB", "its heap is not known since 1970-01-01 00:00: http://h/: it is shut"]
        );
        assert!(said[2].starts_with("whether it is idle is not known since"), "{said:?}");
        assert_eq!(memory_short(&info), "598M +14M/h");
        let why = "Its memory grows by 14.0 MiB/h since 1970-01-01 00:00, 3h 6m are left. It grows: its restart waits until it is idle.";
        assert_eq!(why_memory(&info, at).unwrap(), why);
        assert_eq!([999, 1 << 10, 3 << 29, 20 << 30].map(short), ["999B", "1.0K", "1.5G", "20G"]);
    }
}
