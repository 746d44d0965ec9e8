//! The start of a run: how long it may take, and whether it makes progress.

use std::time::Duration;

use serde_json::json;

use super::{Begun, MonitorMachine, Step};
use crate::machine::records::millis;
use crate::machine::words::{lasting_time, size};
use crate::model::{EventType, Facts, Learned, Mono, StartInfo, StopCause};
use crate::policy::startup;

/// Progress that was made so long ago is still under way.
const JUST_NOW: Duration = Duration::from_secs(5);

/// A start that is under way, or was.
#[derive(Debug, Clone)]
pub(super) struct Start {
    first_of_program: bool,
    /// When it was last seen to make progress.
    moved: Mono,
    /// Whether it was seen to do something.
    works: bool,
    /// Whether a connection was accepted.
    pub(super) is_open: bool,
    /// The first look and the last.
    looks: Option<(Facts, Facts)>,
    /// Time that passed while nothing could make progress.
    lost: Duration,
    /// Whether we have not seen it begin.
    is_guess: bool,
}

impl Start {
    pub(super) fn new(now: Mono, first_of_program: bool, begun: Begun) -> Self {
        let Begun { lost, is_guess, .. } = begun;
        Self { first_of_program, moved: now, works: false, is_open: false, looks: None, lost, is_guess }
    }

    /// What of its time is not counted, and whether that is because we have not seen it begin.
    pub(super) fn lost(&self) -> (Duration, bool) {
        (self.lost, self.is_guess)
    }

    /// The machine stood still for so long.
    pub(super) fn forgive(&mut self, stalled: Duration, now: Mono) {
        self.lost = self.lost.saturating_add(stalled);
        (self.moved, self.looks) = (now, None);
    }

    /// Whether it is the first of its program, as is known now.
    pub(super) fn is_first_of_program(&mut self, is_first: bool) {
        self.first_of_program = is_first;
    }

    /// Nothing was learned of it, for want of something on our side or on the machine's: standing still is not held against it.
    pub(super) fn excuse(&mut self, now: Mono) {
        self.moved = now;
    }

    /// What was seen of it last, while it is under way.
    pub(super) fn last_look(&self) -> Option<&Facts> {
        self.looks.as_ref().map(|(_, last)| last)
    }

    /// It is up after so long.
    pub(super) fn teach(&self, took: Duration, learned: &mut Learned) {
        if self.first_of_program || self.is_guess {
            return;
        }
        learned.starts.push(took.saturating_sub(self.lost));
        let extra = learned.starts.len().saturating_sub(startup::STARTS);
        learned.starts.drain(..extra);
    }

    /// What it has done so far, in words; `None` before anything was seen of it.
    fn work(&self) -> Option<String> {
        let mut said = Vec::new();
        if let Some((first, last)) = &self.looks {
            if let (Some(first), Some(last)) = (&first.vitals, &last.vitals) {
                let cpu = last.cpu.saturating_sub(first.cpu).as_secs_f64();
                said.push(format!("CPU {cpu:.1} s"));
            }
            if let Some(more) = last.logged.checked_sub(first.logged).filter(|more| *more > 0) {
                said.push(format!("log +{}", size(more)));
            }
        }
        if self.is_open {
            said.push("port open".into());
        }
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// How it gets on: `working (CPU 41.0 s, log +12.3 KiB)`, `no progress for 20s (CPU 0.1 s)`.
    fn progress(&self, now: Mono) -> Option<String> {
        let work = self.work()?;
        let still = now.since(self.moved);
        Some(match still > JUST_NOW {
            true => format!("no progress for {} ({work})", lasting_time(still)),
            false => format!("working ({work})"),
        })
    }
}

impl MonitorMachine {
    fn budget(&self, start: &Start) -> Duration {
        startup::budget(self.spec.start_timeout, &self.learned.starts, start.first_of_program)
    }

    /// A start was looked at. `answered`: it has given an answer of some kind, or its port is newly open.
    pub(super) fn on_facts_of_start(&mut self, facts: Option<Facts>, answered: bool, step: &mut Step) {
        let now = step.at.mono;
        let in_grace = self.is_in_grace(now);
        let Some(watched) = &mut self.watched else { return };
        let start = &mut watched.start;
        let mut moved = answered;
        if let Some(facts) = facts {
            start.looks = Some(match start.looks.take() {
                // One look says nothing of what it did before.
                None => {
                    moved = true;
                    (facts.clone(), facts)
                }
                Some((first, last)) if startup::progressed(&last, &facts) => {
                    moved = true;
                    start.works = true;
                    (first, facts)
                }
                // Small work counts when it adds up: the next look is compared with the same one before.
                Some((first, last)) if short(&last, &facts) => (first, last),
                Some((first, _)) => (first, facts),
            });
        }
        if moved {
            start.moved = now;
        }
        let start = watched.start.clone();
        let begun = watched.begun;
        let budget = self.budget(&start);
        let spent = now.since(begun).saturating_sub(start.lost);
        if spent <= budget || in_grace {
            return;
        }
        let is_still = now.since(start.moved) > startup::patience(budget);
        let over = format!("its start has taken {} and may take {}", lasting_time(spent), lasting_time(budget));
        let work = start.work().unwrap_or_default();
        let Some(watched) = &mut self.watched else { return };
        if is_still && watched.convicted.is_none() {
            let failure = watched.row.bad.as_ref().map_or(String::new(), |(_, why)| format!(": {why}"));
            let reason = format!("{over}, and it makes no progress{failure}");
            let data = json!({ "start": true, "over": true, "since_ms": watched.started_ms, "spent_ms": millis(spent), "budget_ms": millis(budget) });
            self.told.start = true;
            self.convict(StopCause::StartTimeout, (0, Duration::ZERO), reason, data, step);
        } else if !is_still {
            // Of one that is asked the wrong question that is told, and one that was only looked at once is not known yet.
            let tells = !self.told.misasked && (answered || watched.row.void.is_some() || watched.start.works);
            if tells && !std::mem::replace(&mut self.told.start, true) {
                let how = match &watched.row.void {
                    Some((why, _)) => format!("nobody knows how it gets on ({why})"),
                    None if work.is_empty() => "it answers".into(),
                    None => format!("it still works ({work})"),
                };
                let reason = format!("{over}; {how}, so it is left alone");
                let data = json!({
                    "run_id": watched.run_id, "start": true, "reason": reason,
                    "spent_ms": millis(spent), "budget_ms": millis(budget),
                });
                step.record(EventType::ProbeDegraded, data);
            }
            self.acquit(step);
        }
        self.pass_sentence(step);
    }

    /// It has come up.
    pub(super) fn start_is_over(&mut self, step: &mut Step) {
        let Some(watched) = &mut self.watched else { return };
        watched.start.looks = None;
        if std::mem::take(&mut self.told.start) {
            let data = json!({ "run_id": watched.run_id, "start": true, "cleared": true, "reason": "it is up" });
            step.record(EventType::ProbeDegraded, data);
        }
    }

    /// What readers are told of starts; `None` where a start has nothing to wait for.
    pub(super) fn start_info(&self, now: Mono) -> Option<StartInfo> {
        let watched = self.watched.as_ref().filter(|_| self.spec.is_gated)?;
        let start = &watched.start;
        let progress = (!watched.is_ready).then(|| start.progress(now)).flatten();
        Some(StartInfo {
            budget_ms: millis(self.budget(start)),
            learned_p95_ms: startup::learned(&self.learned.starts).map(millis),
            learned_from: u32::try_from(self.learned.starts.len()).unwrap_or(u32::MAX),
            first_of_program: start.first_of_program,
            progress,
        })
    }
}

/// Whether the two looks are too near to each other to tell idling from small work: clocks of processes tick a hundred times a
/// second.
fn short(before: &Facts, now: &Facts) -> bool {
    let span = before.vitals.as_ref().zip(now.vitals.as_ref()).map(|(before, now)| now.at.since(before.at));
    span.is_some_and(|span| span < Duration::from_secs(1))
}
