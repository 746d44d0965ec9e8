//! Named parts that a probe reports on: they show and are told of on their own, and nothing is restarted for them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{Act, MonitorMachine, Step};
use crate::model::{EventType, Moment, Part, PartInfo};
use crate::policy::redact;

/// How the parts were last. They are kept from run to run: a channel that was down before a restart is still told of as the
/// same trouble after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    by_name: BTreeMap<String, State>,
    /// Parts that somebody before us has told of.
    pub(super) told_before: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct State {
    trouble: Option<String>,
    since_ms: i64,
    /// The first of the reports in a row that say so, and how many.
    bad: Option<(Moment, u32)>,
    told: bool,
}

impl Parts {
    /// Those that somebody was told of, and that are not well again.
    pub(super) fn told(&self) -> BTreeSet<String> {
        let told = self.by_name.iter().filter(|(_, state)| state.told).map(|(name, _)| name.clone());
        told.chain(self.told_before.iter().cloned()).collect()
    }

    /// For readers: those that are not well first.
    pub(super) fn list(&self) -> Vec<PartInfo> {
        let info = |(name, state): (&String, &State)| PartInfo {
            name: name.clone(),
            ok: state.trouble.is_none(),
            since_ms: state.since_ms,
            trouble: state.trouble.clone(),
        };
        let mut all: Vec<PartInfo> = self.by_name.iter().map(info).collect();
        all.sort_by_key(|part| part.ok);
        all
    }
}

impl MonitorMachine {
    pub(super) fn ask_parts(&mut self, step: &mut Step) {
        let (Some(health), Some(watched)) = (&self.spec.health, &self.watched) else { return };
        if health.parts.is_some() && !self.parts_in_flight {
            self.parts_in_flight = true;
            step.acts.push(Act::Parts { run_id: watched.run_id, timeout: health.timeout });
        }
    }

    /// A report; a part that it does not mention is well.
    pub(super) fn on_parts(&mut self, parts: Vec<Part>, step: &mut Step) {
        let (Some(health), Some(watched)) = (&self.spec.health, &self.watched) else { return };
        let run_id = watched.run_id;
        let now = step.at;
        let counts = !self.is_in_grace(now.mono);
        let mut old = std::mem::take(&mut self.parts.by_name);
        // A list of what fails has all else well; a report that has well ones too says nothing of what it leaves out.
        let is_list = parts.iter().all(|part| part.trouble.is_some());
        for Part { name, trouble } in parts {
            let trouble = trouble.map(|text| redact(&text));
            let before = old.remove(&name);
            let was_ok = before.as_ref().map(|state| state.trouble.is_none());
            let mut state = before.unwrap_or_else(|| State {
                trouble: None,
                since_ms: now.wall_ms,
                bad: None,
                told: self.parts.told_before.remove(&name),
            });
            if was_ok == Some(trouble.is_some()) {
                state.since_ms = now.wall_ms;
            }
            match &trouble {
                Some(why) if counts => {
                    let (since, count) = state.bad.unwrap_or((now, 0));
                    state.bad = Some((since, count.saturating_add(1)));
                    // As long as a hang takes to be one: a channel that connects again at once is nobody's trouble.
                    let lasts = count + 1 >= health.failures && now.mono.since(since.mono) >= health.tolerated();
                    if lasts && !state.told {
                        state.told = true;
                        let data = json!({ "run_id": run_id, "part": name, "reason": why, "since_ms": since.wall_ms });
                        step.record(EventType::ProbeDegraded, data);
                    }
                }
                Some(_) => {}
                None => {
                    state.bad = None;
                    if std::mem::take(&mut state.told) {
                        well_again(run_id, &name, step);
                    }
                }
            }
            state.trouble = trouble;
            self.parts.by_name.insert(name, state);
        }
        if !is_list {
            self.parts.by_name.extend(old.into_iter().filter(|(_, state)| state.told));
            return;
        }
        let gone = old.into_iter().filter(|(_, state)| state.told).map(|(name, _)| name);
        for name in gone.chain(std::mem::take(&mut self.parts.told_before)) {
            well_again(run_id, &name, step);
        }
    }
}

fn well_again(run_id: u64, part: &str, step: &mut Step) {
    let data = json!({ "run_id": run_id, "part": part, "cleared": true, "reason": "it is well again" });
    step.record(EventType::ProbeDegraded, data);
}
