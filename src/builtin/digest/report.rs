//! The report in words: a page, and what of it is sent.

use jiff::tz::TimeZone;

use super::fold::ServicePart;
use super::gather::Digest;
use crate::machine::words;
use crate::model::SlotState;
use crate::policy::redact;

/// So many entries of each kind: it is a page, and all of it is in the ledger.
const MOST: usize = 20;

/// Characters of what a crash said.
const SAMPLE: usize = 120;

/// The page, as markdown.
pub(super) fn report(digest: &Digest, zone: &TimeZone) -> String {
    let time = |ms| words::local(ms, zone);
    let mut text = format!("# What the supervisor saw\n\n{} to {} ({})\n", time(digest.from_ms), time(digest.to_ms), {
        words::lasting(digest.to_ms - digest.from_ms)
    });
    for (title, lines) in parts(digest, zone) {
        text.push_str(&format!("\n## {title}\n\n"));
        for line in lines {
            text.push_str(&format!("- {line}\n"));
        }
    }
    text
}

/// The same lines without headings, for whoever is told.
pub(super) fn lines(digest: &Digest, zone: &TimeZone) -> Vec<String> {
    parts(digest, zone).into_iter().flat_map(|(_, lines)| lines).collect()
}

fn parts(digest: &Digest, zone: &TimeZone) -> Vec<(&'static str, Vec<String>)> {
    let mut parts = vec![("Services", services(digest, zone))];
    let kinds = digest.kinds.iter().map(|kind| {
        let said: String = redact(&kind.sample).chars().filter(|c| !c.is_control()).take(SAMPLE).collect();
        let (first, last) = (words::local(kind.first_ms, zone), words::local(kind.last_ms, zone));
        let since = if kind.count == 1 {
            format!("once, {last}")
        } else {
            format!("{} times since {first}, last {last}", kind.count)
        };
        format!("{} crashed [{}]: {said} ({since})", kind.service, kind.fingerprint)
    });
    parts.push(("Crashes by kind", bounded(kinds.collect())));
    let jobs = digest.folded.jobs.iter().map(|(name, states)| {
        let states =
            SlotState::ALL.into_iter().filter_map(|state| Some(format!("{} {}", state.as_str(), states.get(&state)?)));
        format!("job {name}: {}", states.collect::<Vec<_>>().join(", "))
    });
    parts.push(("Calendar jobs", bounded(jobs.collect())));
    let mut disk: Vec<String> =
        digest.disk.iter().map(|(what, bytes)| format!("{what} {}", words::size(*bytes))).collect();
    disk.extend(digest.free.map(|free| format!("{} free", words::size(free))));
    parts.push(("Disk", vec![format!("disk: {}", disk.join(", "))]));
    let fired = match digest.fired {
        0 => "no alert fired".to_owned(),
        1 => "1 alert fired".to_owned(),
        many => format!("{many} alerts fired"),
    };
    let open = bounded(digest.open.iter().map(|title| format!("still open: {}", redact(title))).collect());
    parts.push(("Alerts", std::iter::once(fired).chain(open).collect()));
    parts.retain(|(_, lines)| !lines.is_empty());
    parts
}

fn services(digest: &Digest, zone: &TimeZone) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Before that nothing is known, so nothing is said of it.
    let span_ms = digest.to_ms - digest.begins_ms.unwrap_or(digest.from_ms).clamp(digest.from_ms, digest.to_ms);
    for (name, part) in &digest.folded.services {
        lines.push(format!("{name}: {}", service(part, span_ms)));
    }
    let mut lines = bounded(lines);
    if lines.is_empty() {
        lines.push("no service was started".into());
    }
    if let Some(begins_ms) = digest.begins_ms {
        lines.push(format!("what was before {} is not on record", words::local(begins_ms, zone)));
    }
    if digest.folded.slept_ms >= 60_000 {
        lines.push(format!(
            "the machine slept for {}, which counts as it was before",
            words::lasting(digest.folded.slept_ms)
        ));
    }
    if digest.folded.daemon_starts > 0 {
        lines.push(format!("the supervisor was started {}", times(digest.folded.daemon_starts)));
    }
    lines
}

fn service(part: &ServicePart, span_ms: i64) -> String {
    let mut said = vec![up(part, span_ms)];
    let c = &part.ends;
    let counted = [
        (c.crash, "crashed"),
        (c.hung, "restarted for silence"),
        (c.start_timeout, "did not come up"),
        (c.over_memory, "ended for its memory"),
        (c.refused, "refused to run"),
        (c.recycled, "ended by itself"),
        (c.lost, "ended unseen"),
        (c.requested, "restarted or stopped as asked"),
        (part.hangs, "hung"),
        (part.leaks.0, "memory was told to grow"),
        (part.leaks.1, "memory was above its limit"),
    ];
    said.extend(counted.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{what} {}", times(n))));
    said.extend(slow(&part.starts_ms));
    said.join("; ")
}

fn up(part: &ServicePart, span_ms: i64) -> String {
    let known_ms = span_ms.saturating_sub(part.unknown_ms);
    let unknown =
        if part.unknown_ms > 0 { format!(", unknown for {}", words::lasting(part.unknown_ms)) } else { String::new() };
    if known_ms <= 0 {
        return format!("nobody knows whether it was up{unknown}");
    }
    // Hundredths of a percent, rounded down: 100 % is all of it.
    let hundredths = i128::from(part.up_ms.min(known_ms)) * 10_000 / i128::from(known_ms);
    let down_ms = known_ms.saturating_sub(part.up_ms).max(0);
    let down = if down_ms >= 1000 { format!(", down for {}", words::lasting(down_ms)) } else { String::new() };
    format!("up {}.{:02} %{down}{unknown}", hundredths / 100, hundredths % 100)
}

/// A start that took more than twice as long as usual, and not just a moment longer.
fn slow(starts_ms: &[i64]) -> Option<String> {
    let mut sorted = starts_ms.to_vec();
    sorted.sort_unstable();
    let (slowest, usual) = (*sorted.last()?, *sorted.get(sorted.len() / 2)?);
    let slow = sorted.iter().filter(|ms| **ms > usual.saturating_mul(2) && **ms - usual >= 5000).count();
    (slow > 0).then(|| {
        let (slowest, usual) = (words::lasting(slowest), words::exactly(usual));
        format!("started slowly {}, up to {slowest} instead of {usual}", times(slow as u64))
    })
}

fn times(n: u64) -> String {
    if n == 1 { "once".into() } else { format!("{n} times") }
}

fn bounded(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}
