//! What the probes of a run have come to: silence in a row, and how it answers otherwise.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;

use super::{Act, MonitorMachine, Step, Watched};
use crate::model::{Answer, EventType, Facts, HealthSpec, Latencies, Moment, Mono, Probed, Verdict};
use crate::policy::gap::{Gap, STALLED};
use crate::policy::nearest_rank;
use crate::policy::verdict::{Weight, Window, verdict, weigh};

/// Answers whose times are kept.
const LATENCIES: usize = 128;

/// Probes that are remembered for the evidence.
const NOTES: usize = 20;

/// Probes among which slow ones are counted.
const RECENT: usize = 10;

/// The probes of one run.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    /// Signs of life that did not come, in a row; void ones are not counted.
    pub(super) failures: u32,
    /// When the first of them was asked for.
    pub(super) since: Option<Moment>,
    /// What was seen beside the first and the last of them.
    pub(super) facts: Option<(Facts, Facts)>,
    /// When the first probe was asked that was not good, until one is; and what the last said.
    pub(super) bad: Option<(Moment, String)>,
    /// Answers in a row that say that it is not well.
    unwell: u32,
    /// The first answer in a row that says that the question is wrong, and how many.
    misasked: Option<(Moment, u32, String)>,
    /// Whether each of the last probes was slow, late or missing.
    weak: VecDeque<bool>,
    latencies: VecDeque<f64>,
    pub(super) latency_ms: Option<f64>,
    pub(super) checked_ms: Option<i64>,
    /// Why the last probe was void, and whether the machine is to blame.
    pub(super) void: Option<(String, bool)>,
    notes: VecDeque<Note>,
    /// Since when the verdict is what it is.
    pub(super) verdict: Option<(Verdict, Moment)>,
}

/// A probe as it is remembered.
#[derive(Debug, Clone)]
struct Note {
    at_ms: i64,
    took: Duration,
    /// `None` for a good one.
    said: Option<String>,
}

impl Row {
    /// The silence is over, or says nothing any more.
    pub(super) fn clear(&mut self) {
        (self.failures, self.since, self.facts, self.void) = (0, None, None, None);
    }

    /// What was answered before says nothing of how it answers now.
    pub(super) fn forget_answers(&mut self) {
        self.weak.clear();
        (self.unwell, self.misasked, self.bad) = (0, None, None);
    }

    fn push_weak(&mut self, is_weak: bool) {
        if self.weak.len() == RECENT {
            self.weak.pop_front();
        }
        self.weak.push_back(is_weak);
    }

    fn push_latency(&mut self, took: Duration) {
        if self.latencies.len() == LATENCIES {
            self.latencies.pop_front();
        }
        let ms = took.as_secs_f64() * 1000.0;
        self.latencies.push_back(ms);
        self.latency_ms = Some(ms);
    }

    fn note(&mut self, at_ms: i64, took: Duration, said: Option<String>) {
        if self.notes.len() == NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(Note { at_ms, took, said });
    }

    /// One more sign of life that did not come.
    fn fail(&mut self, asked: Moment, facts: Option<Facts>) {
        self.void = None;
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(asked);
        self.facts = match (self.facts.take(), facts) {
            (Some((first, _)), Some(now)) => Some((first, now)),
            (None, Some(now)) => Some((now.clone(), now)),
            (kept, None) => kept,
        };
    }

    fn is_bad(&mut self, at: Moment, why: &str) {
        let since = self.bad.take().map_or(at, |(since, _)| since);
        self.bad = Some((since, why.to_owned()));
    }

    /// Whether it was asked the wrong question for as long as a hang takes.
    fn is_misasked(&self, health: &HealthSpec, now: Mono) -> bool {
        let least = health.interval.saturating_mul(health.failures.saturating_sub(1));
        self.misasked
            .as_ref()
            .is_some_and(|(since, count, _)| *count >= health.failures && now.since(since.mono) >= least)
    }

    /// What the last answer to a wrong question said.
    pub(super) fn misasked(&self) -> Option<String> {
        self.misasked.as_ref().map(|(.., why)| why.clone())
    }

    pub(super) fn probes(&self) -> Vec<String> {
        let one = |note: &Note| {
            let at = jiff::Timestamp::from_millisecond(note.at_ms).unwrap_or_default();
            let ms = note.took.as_secs_f64() * 1000.0;
            format!("{at:.3}  {ms:9.1} ms  {}", note.said.as_deref().unwrap_or("well"))
        };
        self.notes.iter().map(one).collect()
    }

    pub(super) fn latencies(&self) -> Option<Latencies> {
        let mut sorted: Vec<f64> = self.latencies.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let answers = u32::try_from(sorted.len()).unwrap_or(u32::MAX);
        let rank = |percent| nearest_rank(&sorted, percent);
        Some(Latencies { p50_ms: rank(50)?, p95_ms: rank(95)?, p99_ms: rank(99)?, answers })
    }
}

impl Watched {
    /// When it will have been silent for longer than is tolerated, should nothing come: its failures are enough.
    pub(super) fn verdict_due(&self, health: &HealthSpec) -> Option<Mono> {
        let enough = self.is_ready && self.convicted.is_none() && self.row.failures >= health.failures;
        self.row.since.filter(|_| enough).map(|since| since.mono.plus(health.tolerated()))
    }
}

impl MonitorMachine {
    pub(super) fn on_probed(&mut self, run_id: u64, probed: &Probed, facts: Option<Facts>, step: &mut Step) {
        let flight = self.in_flight.take();
        if !self.is_watched(run_id) {
            // An answer of an earlier run says nothing about this one.
            return;
        }
        let is_known = flight.is_some_and(|flight| flight.is_void);
        let stalled = probed.late > STALLED;
        if stalled && !is_known {
            self.on_gap(Gap { slept: Duration::ZERO, stalled: probed.late }, step);
        }
        let asked = flight.filter(|flight| flight.run_id == run_id).map_or(step.at, |flight| flight.at);
        let is_void = stalled || is_known;
        let in_grace = self.forgives(asked.mono, step.at.mono);
        let Some(health) = self.spec.health.as_ref() else { return };
        let Some(watched) = &mut self.watched else { return };
        let earlier = watched.row.facts.as_ref().map(|(_, last)| last).or(watched.start.last_look());
        let weight = match probed.answer {
            Answer::Beat(beat) => Self::read_beat(watched, beat).map_or_else(Weight::Dead, |()| Weight::Well),
            _ => weigh(probed, health.timeout, earlier, facts.as_ref()).redacted(),
        };
        let weight = match weight {
            Weight::Dead(_) if is_void => {
                Weight::Void { why: "the machine or the supervisor stood still meanwhile".into(), starved: true }
            }
            weight => weight,
        };
        watched.row.checked_ms = Some(step.at.wall_ms);
        let said = match &weight {
            Weight::Well => None,
            Weight::Unwell(why) | Weight::Slow(why) | Weight::Misasked(why) | Weight::Dead(why) => Some(why.clone()),
            Weight::Void { why, .. } => Some(format!("void: {why}")),
        };
        watched.row.note(asked.wall_ms, probed.took, said);
        match weight {
            Weight::Void { why, starved } => {
                watched.row.void = Some((why, starved));
                watched.start.excuse(step.at.mono);
                if !watched.is_ready {
                    self.on_facts_of_start(facts, false, step);
                }
            }
            Weight::Dead(why) if watched.is_ready => {
                if in_grace {
                    watched.row.is_bad(asked, &why);
                } else {
                    // A look between two beats is none that came late.
                    if !matches!(probed.answer, Answer::Beat(_)) {
                        watched.row.push_weak(true);
                    }
                    watched.row.is_bad(asked, &why);
                    // Asked before it last showed life, it is silent since then only.
                    let since = watched.lived.filter(|lived| lived.mono > asked.mono).unwrap_or(asked);
                    watched.row.fail(since, facts);
                }
                self.after_answer(step);
            }
            Weight::Dead(why) => {
                // Who accepts and is silent has got further than who does not listen yet.
                let is_open = matches!(probed.answer, Answer::Silent(_));
                let opened = is_open && !std::mem::replace(&mut watched.start.is_open, true);
                watched.row.void = None;
                watched.row.is_bad(asked, &why);
                self.on_facts_of_start(facts, opened, step);
            }
            alive => self.on_life(alive, asked, probed.took, facts, step),
        }
        if let Some(parts) = &probed.parts {
            self.on_parts(parts.clone(), step);
        }
    }

    /// A probe was answered after its time: there was a pause, and no hang.
    pub(super) fn on_late(&mut self, run_id: u64, probed: &Probed, step: &mut Step) {
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.run_id == run_id) else { return };
        let weight = match weigh(probed, Duration::MAX, None, None) {
            Weight::Well => Weight::Slow("its answer came after the deadline".into()),
            Weight::Dead(_) | Weight::Void { .. } => return,
            alive => alive,
        };
        // The probe that it answers was counted as weak when its time was over.
        let asked = watched.row.since.unwrap_or(step.at);
        watched.row.push_latency(probed.took);
        watched.row.checked_ms = Some(step.at.wall_ms);
        watched.row.note(asked.wall_ms, probed.took, Some("answered after its time".into()));
        self.lives(step);
        let Some(watched) = &mut self.watched else { return };
        if let Weight::Slow(why) = weight {
            watched.row.is_bad(asked, &why);
        }
        if !watched.is_ready {
            self.on_facts_of_start(None, true, step);
        }
        self.after_answer(step);
    }

    /// It has answered.
    fn on_life(&mut self, weight: Weight, asked: Moment, took: Duration, facts: Option<Facts>, step: &mut Step) {
        self.lives(step);
        let Some(watched) = &mut self.watched else { return };
        let row = &mut watched.row;
        if !matches!(weight, Weight::Misasked(_)) {
            row.misasked = None;
        }
        match &weight {
            Weight::Well => {
                row.unwell = 0;
                row.bad = None;
                row.push_weak(false);
                // A beat takes no time.
                if !took.is_zero() {
                    row.push_latency(took);
                }
            }
            Weight::Unwell(why) => {
                row.unwell = row.unwell.saturating_add(1);
                row.is_bad(asked, why);
                row.push_weak(false);
            }
            Weight::Slow(why) => {
                row.is_bad(asked, why);
                row.push_weak(true);
            }
            Weight::Misasked(why) => {
                let (since, count, _) = row.misasked.take().unwrap_or((asked, 0, String::new()));
                row.misasked = Some((since, count.saturating_add(1), why.clone()));
                row.unwell = 0;
                row.is_bad(asked, why);
            }
            Weight::Dead(_) | Weight::Void { .. } => return,
        }
        let (run_id, is_ready) = (watched.run_id, watched.is_ready);
        match (is_ready, weight) {
            (false, Weight::Well) => step.acts.push(Act::TellReady { run_id }),
            (false, _) => self.on_facts_of_start(facts, true, step),
            (true, Weight::Well) => self.ask_parts(step),
            (true, _) => {}
        }
        self.after_answer(step);
    }

    /// Any byte is a sign of life: what was counted against it is void, and it is not restarted.
    fn lives(&mut self, step: &mut Step) {
        if let Some(woke) = &mut self.woke {
            woke.is_answered = true;
        }
        if let Some(watched) = &mut self.watched {
            watched.row.clear();
            watched.lived = Some(step.at);
        }
        self.acquit(step);
    }

    /// What follows from what was just learned: sentences, and what is told once.
    fn after_answer(&mut self, step: &mut Step) {
        self.pass_sentence(step);
        let now_verdict = self.verdict(step.at.mono);
        let Some(health) = &self.spec.health else { return };
        let Some(watched) = &mut self.watched else { return };
        let run_id = watched.run_id;
        let reason = watched.row.bad.as_ref().map(|(_, why)| why.clone()).unwrap_or_default();
        let is_misasked = now_verdict == Verdict::Misconfigured;
        let told = &mut self.told;
        let since = match watched.row.verdict {
            Some((before, since)) if before == now_verdict => since,
            _ => step.at,
        };
        watched.row.verdict = Some((now_verdict, since));
        if is_misasked && !told.misasked {
            told.misasked = true;
            let first = watched.row.misasked.as_ref();
            let since_ms = first.map(|(since, ..)| since.wall_ms);
            let reason = first.map_or(reason.as_str(), |(.., why)| why.as_str());
            let data = json!({ "run_id": run_id, "reason": reason, "failing_since_ms": since_ms });
            step.record(EventType::ProbeMisconfigured, data);
        } else if told.misasked && watched.row.bad.is_none() {
            told.misasked = false;
            step.record(EventType::ProbeMisconfigured, json!({ "run_id": run_id, "cleared": true }));
        }
        let lasts = step.at.mono.since(since.mono) >= health.tolerated();
        if now_verdict == Verdict::Degraded && lasts && !told.degraded {
            told.degraded = true;
            let latencies = watched.row.latencies();
            let reason = if reason.is_empty() { "its answers are slow" } else { reason.as_str() };
            let data = json!({ "run_id": run_id, "reason": reason, "latencies": latencies });
            step.record(EventType::ProbeDegraded, data);
        } else if now_verdict == Verdict::Healthy && std::mem::take(&mut told.degraded) {
            step.record(EventType::ProbeDegraded, json!({ "run_id": run_id, "cleared": true }));
        }
    }

    /// What is thought of it; `Unknown` without a run.
    pub(super) fn verdict(&self, now: Mono) -> Verdict {
        let (Some(watched), Some(health)) = (&self.watched, &self.spec.health) else {
            return match &self.watched {
                Some(watched) if !watched.is_ready => Verdict::Starting,
                _ => Verdict::Unknown,
            };
        };
        let row = &watched.row;
        verdict(&Window {
            is_ready: watched.is_ready,
            is_checked: row.checked_ms.is_some(),
            is_convicted: watched.convicted.as_ref().is_some_and(|convicted| convicted.is_hang()),
            is_waking: self.is_waking(now) && self.woke.is_some_and(|woke| !woke.is_answered),
            is_misasked: row.is_misasked(health, now),
            failures: row.failures,
            unwell: row.unwell,
            weak: u32::try_from(row.weak.iter().filter(|is_weak| **is_weak).count()).unwrap_or(u32::MAX),
            is_starved: row.void.as_ref().is_some_and(|(_, starved)| *starved),
            is_unasked: row.void.as_ref().is_some_and(|(_, starved)| !*starved),
        })
    }
}
