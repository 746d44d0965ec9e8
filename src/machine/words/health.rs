//! What probes say, in words.

use super::{Reader, count, exactly, in_zone, lasting, local};
use crate::model::{HealthInfo, HealthSpec, PartInfo, RunView, StartInfo, Status, Verdict};

/// So many troubled parts are named in the table.
const FEW: usize = 2;

/// A length of time in milliseconds as answers take it: `2.1 ms`, `80 ms`, `6.2 s`.
pub fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// How long its answers take, where that is known.
pub fn latencies(health: &HealthInfo) -> Option<String> {
    let known = health.latencies.filter(|known| known.answers > 0)?;
    let (p50, p95, p99) = (millis(known.p50_ms), millis(known.p95_ms), millis(known.p99_ms));
    Some(format!("p50 {p50}, p95 {p95}, p99 {p99} of the last {}", count(known.answers as usize, "answer")))
}

/// How a start stands to those before it.
pub fn start(start: &StartInfo) -> String {
    let mut text = format!("budget {}", span(start.budget_ms));
    if start.first_of_program {
        text.push_str(", twice as long as usual, as its program is new");
    }
    if let Some(p95) = start.learned_p95_ms {
        let of = count(start.learned_from as usize, "former start");
        text.push_str(&format!("; p95 of {of} {}", span(p95)));
    }
    text
}

/// A part that is not well, in a few words.
pub fn part(part: &PartInfo, now_ms: i64) -> String {
    let trouble = part.trouble.as_deref().unwrap_or("not well");
    format!("{}: {trouble} for {}", part.name, lasting(now_ms - part.since_ms))
}

fn span(ms: u64) -> String {
    exactly(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// The parts that are not well.
fn troubled(health: &HealthInfo) -> impl Iterator<Item = &PartInfo> {
    health.parts.iter().filter(|part| !part.ok)
}

/// What is to be said in the table of a service that runs, has the status `status` for `age`, and is probed.
pub(super) fn short(view: &RunView, health: &HealthInfo, reason: Option<String>, at: Reader<'_>) -> String {
    let age = lasting(at.now_ms - view.since_ms);
    let failure = health.failure.clone();
    let or_note = || failure.clone().or_else(|| health.note.clone());
    let first = match (view.status, health.verdict) {
        (Status::Starting, _) => return starting(health, &age, reason),
        (Status::Hung, _) => {
            let told = super::with_reason(format!("hung for {age}"), failure.or(reason));
            match health.restart_at_ms {
                Some(when) => format!("{told}; restarted at {}, {}", clock(when, at), as_noted(health)),
                None => told,
            }
        }
        (Status::Degraded, _) if health.silent_since_ms.is_some() => {
            let silent = lasting(at.now_ms - health.silent_since_ms.unwrap_or(at.now_ms));
            super::with_reason(format!("silent for {silent}"), failure)
        }
        (Status::Degraded, _) => {
            let slow = || latencies(health).map(|took| format!("its answers are slow ({took})"));
            super::with_reason(format!("degraded for {age}"), or_note().or_else(slow).or(reason))
        }
        (_, Verdict::Healthy) => format!("healthy for {age}"),
        (_, Verdict::Starved) => super::with_reason(
            format!("up for {age}; the machine does not let it run"),
            health.note.clone().or(failure),
        ),
        (_, Verdict::Asleep) => {
            format!("up for {age}; {}", health.note.as_deref().unwrap_or("the machine slept a moment ago"))
        }
        (_, Verdict::Misconfigured) => {
            super::with_reason(format!("up for {age}; its probe asks the wrong question"), or_note())
        }
        (_, Verdict::Unknown) if or_note().is_some() => {
            super::with_reason(format!("up for {age}; its health is not known"), or_note())
        }
        _ => format!("up for {age}"),
    };
    let mut all = vec![first];
    all.extend(troubled(health).take(FEW).map(|it| part(it, at.now_ms)));
    match troubled(health).count().saturating_sub(FEW) {
        0 => {}
        more => all.push(format!("{} not well", count(more, "more part"))),
    }
    all.join("; ")
}

/// `starting for 2m 10s of 5m, working (CPU 41 s)`.
fn starting(health: &HealthInfo, age: &str, reason: Option<String>) -> String {
    let Some(start) = &health.start else { return super::with_reason(format!("starting for {age}"), reason) };
    let told = format!("starting for {age} of {}", span(start.budget_ms));
    if health.verdict == Verdict::Misconfigured {
        return super::with_reason(format!("{told}; its probe asks the wrong question"), health.failure.clone());
    }
    match &start.progress {
        Some(progress) => format!("{told}, {progress}"),
        None => super::with_reason(told, reason),
    }
}

/// Why a restart waits.
fn as_noted(health: &HealthInfo) -> String {
    match &health.note {
        Some(note) => format!("as {note}"),
        None => "as restarts did not help".into(),
    }
}

/// A time of day that is not far away.
fn clock(ms: i64, at: Reader<'_>) -> String {
    in_zone(ms, at.zone, "%H:%M")
}

/// What a stranger should know of a service that runs and is probed: a sentence each, without their full stops.
pub(super) fn sentences(
    view: &RunView,
    health: &HealthInfo,
    spec: Option<&HealthSpec>,
    reason: Option<String>,
    at: Reader<'_>,
) -> Vec<String> {
    let name = &view.name;
    let since = format!("since {} ({})", local(view.since_ms, at.zone), lasting(at.now_ms - view.since_ms));
    let failure = health.failure.clone();
    let tolerated = spec.map(|spec| exactly(i64::try_from(spec.tolerated().as_millis()).unwrap_or(i64::MAX)));
    let only_silence = || match &tolerated {
        Some(h) => format!("It is not restarted for that, only after {h} without any sign of life"),
        None => "It is not restarted for that, only when it gives no sign of life".into(),
    };
    let noted = |text: &str| super::with_reason(text.to_owned(), health.note.clone());
    let mut note_is_told = false;
    let mut said = Vec::new();
    let fails = |said: &mut Vec<String>| {
        if let Some(from) = health.failing_since_ms {
            let text = format!(
                "The first probe that failed began {} ago, and until then it answered",
                lasting(at.now_ms - from)
            );
            said.push(super::with_reason(text, failure.clone()));
        }
    };
    match (view.status, health.verdict) {
        (Status::Starting, _) => {
            let age = lasting(at.now_ms - view.since_ms);
            said.push(format!("{name} is not ready yet: it is {}", starting(health, &age, reason)));
            said.extend(failure.map(|failure| format!("Its probe says: {failure}")));
            if let Some(start) = &health.start {
                if let Some(p95) = start.learned_p95_ms {
                    let of = count(start.learned_from as usize, "former start");
                    said.push(format!("Of {of} 19 in 20 took no more than {}", span(p95)));
                }
                if start.first_of_program {
                    said.push("Its program is new, so it has twice the time".into());
                }
                said.push(format!(
                    "It is restarted only if it is not ready after {} and shows no progress any more",
                    span(start.budget_ms)
                ));
            }
        }
        (Status::Hung, _) => {
            said.push(super::with_reason(format!("{name} gives no sign of life {since}"), failure.or(reason)));
            said.push("Until then it answered".into());
            said.extend(
                tolerated.as_ref().map(|h| format!("Silence is tolerated for {h}; longer than that it is hung")),
            );
            said.push(match health.restart_at_ms {
                Some(when) => format!(
                    "It is restarted at {} (in {}), {}; an answer before then ends the matter, and `supervisor restart {name}` does not wait",
                    clock(when, at),
                    lasting(when - at.now_ms),
                    as_noted(health)
                ),
                None => "It is restarted for that once it has been looked at; see `supervisor events --evidence`".into(),
            });
            note_is_told = health.restart_at_ms.is_some();
        }
        (Status::Degraded, _) if health.silent_since_ms.is_some() => {
            let silent = lasting(at.now_ms - health.silent_since_ms.unwrap_or(at.now_ms));
            said.push(super::with_reason(format!("{name} has given no sign of life for {silent}"), failure));
            said.extend(
                tolerated
                    .as_ref()
                    .map(|h| format!("Silence is tolerated for {h}; longer than that it is hung, and restarted")),
            );
        }
        (Status::Degraded, _) => {
            let slow = || latencies(health).map(|took| format!("its answers are slow ({took})"));
            said.push(super::with_reason(
                format!("{name} lives and is not quite well {since}"),
                failure.or_else(slow).or(reason),
            ));
            said.push(only_silence());
        }
        (_, Verdict::Healthy) => {
            said.push(format!("{name} is up and healthy {since}"));
            if health.failing_since_ms.is_some() {
                fails(&mut said);
                said.extend(
                    tolerated
                        .as_ref()
                        .map(|h| format!("Silence is tolerated for {h}; longer than that it is restarted")),
                );
            }
        }
        (_, Verdict::Starved) => {
            said.push(format!("{name} is up {since}"));
            said.push(noted("It does not answer because the machine does not let it run"));
            fails(&mut said);
            said.push(
                "That says nothing about it, so nothing is done; it is judged again once the machine has time for it"
                    .into(),
            );
            note_is_told = true;
        }
        (_, Verdict::Asleep) => {
            said.push(format!("{name} is up {since}"));
            let note = health.note.clone().unwrap_or_else(|| "the machine slept a moment ago".into());
            said.push(format!("{}, and it has not answered since", super::capital(&note)));
            said.push("It is given time to wake up before silence counts again".into());
            note_is_told = true;
        }
        (_, Verdict::Misconfigured) => {
            said.push(format!("{name} is up {since}"));
            said.push(super::with_reason("It answers, and its probe asks the wrong question".into(), failure));
            said.push(only_silence());
            said.push(format!("Mend [service.{name}.health] in services.toml, and say `supervisor reload`"));
        }
        (_, Verdict::Unknown) => {
            said.push(format!("{name} is up {since}"));
            said.push(match (failure, health.checked_ms) {
                (Some(failure), _) => format!("How it is, is not known: {failure}"),
                (None, Some(_)) => "How it is, is not known".into(),
                (None, None) => "It has not been asked yet how it is".into(),
            });
        }
        _ => said.push(format!("{name} is up {since}")),
    }
    if !note_is_told {
        said.extend(health.note.as_deref().map(super::capital));
    }
    if view.status != Status::Starting {
        said.extend(
            latencies(health).map(|took| format!("Its answers took {took}")).filter(|_| view.status != Status::Hung),
        );
    }
    for it in troubled(health) {
        said.push(format!("Its part {}; the whole is not restarted for that", part(it, at.now_ms)));
    }
    for sentence in &mut said {
        sentence.truncate(sentence.trim_end_matches('.').len());
    }
    said
}
