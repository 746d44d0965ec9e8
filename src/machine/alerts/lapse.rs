//! What time alone brings about.

use std::time::Duration;

use serde_json::{Value, json};

use super::identity::{Family, Key};
use super::life::{Draft, Step};
use super::service::{Pending, Planned};
use super::windows::Loop;
use super::{AFTER_BUDGET, AlertMachine, DRIFT_AGAIN, DRIFT_FOR, words};
use crate::machine::words::lasting;
use crate::model::{Alert, Cause, Mono, Rule, UnitName};
use crate::policy::{HOLD_OVER, Reading, Stamp};

/// Since when an open alert about a drift is to be confirmed, in its memory.
pub(super) const DOUBTED: &str = "doubted";

/// Since when what an open alert is about is said to be over, in its memory: it may be back in a moment.
pub(super) const CLEARED: &str = "cleared";

pub(super) fn doubted_since(alert: &Alert) -> Option<Stamp> {
    noted(alert, DOUBTED)
}

/// Puts a moment by, as [`noted`] reads it.
pub(super) fn note_of(now: &Stamp) -> Value {
    json!({ "boot": &*now.boot, "mono_ns": now.mono, "wall_ms": now.wall_ms })
}

fn noted(alert: &Alert, key: &str) -> Option<Stamp> {
    let since = alert.memory.get(key)?;
    Some(Stamp {
        boot: since.get("boot")?.as_str()?.into(),
        mono: Mono(since.get("mono_ns")?.as_u64()?),
        wall_ms: since.get("wall_ms")?.as_i64()?,
    })
}

impl AlertMachine {
    /// What time alone brings about for one service, up to `step.now`.
    pub(super) fn lapse(&mut self, step: &mut Step, name: Option<&UnitName>) {
        let now = step.now.clone();
        let slot = name.cloned();
        let Some(service) = self.services.get_mut(&slot) else { return };
        let resolve_after = self.declared.spec.resolve_after;
        let is_over = |one: &Loop| {
            let (from, wait) = service.loop_over(one, resolve_after, &now)?;
            (now.since(&from) >= wait).then_some(wait)
        };
        let loops: Vec<(Cause, Duration)> =
            service.loops.iter().filter_map(|(cause, one)| Some((*cause, is_over(one)?))).collect();
        let mut over = Vec::new();
        for (cause, wait) in loops {
            service.loops.entry(cause).and_modify(|one| one.crossed = None);
            over.push((Key::new(Rule::CrashLoop, name, Some(cause)), wait));
        }
        for (key, alert) in self.open.iter().filter(|(key, _)| key.service.as_ref() == name && name.is_some()) {
            if let Some((from, wait)) = self.over_in(key, alert, &now)
                && now.since(&from) >= wait
            {
                over.push((key.clone(), wait));
            }
        }
        for (key, wait) in over {
            let wait = lasting(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
            self.resolve(step, &key, &format!("it has been well for {wait}"));
        }
        self.lapse_planned(step, name);
        self.lapse_drift(step, name);
    }

    /// From when on and for how long a service has to be well for an alert other than a loop to be over.
    pub(super) fn over_in(&self, key: &Key, alert: &Alert, now: &Stamp) -> Option<(Stamp, Duration)> {
        if let Some(since) = noted(alert, CLEARED) {
            return Some((since, self.declared.spec.resolve_after));
        }
        let service = self.services.get(&key.service)?;
        let since = service.runs_since(now)?.clone();
        let unit = self.declared.units.get(key.service.as_ref()?)?;
        let run_id = alert.memory.get("run_id").and_then(Value::as_u64);
        let is = |rule| key.family == Family::of(rule);
        if is(Rule::Held) {
            Some((since, HOLD_OVER))
        } else if is(Rule::RestartFailed) && !unit.has_ready {
            Some((since, HOLD_OVER.max(unit.min_uptime)))
        } else if (is(Rule::MemoryGrowth) || is(Rule::MemoryLimit) || is(Rule::PartFailing))
            && run_id.is_some()
            && run_id != service.run_id()
        {
            // What grew or failed was of the run before; should it be so in this one too, that is told anew.
            Some((since, self.declared.spec.resolve_after))
        } else {
            None
        }
    }

    /// How long a restart that was asked for may take.
    pub(super) fn budget(&self, name: &UnitName) -> Option<Duration> {
        Some(self.declared.units.get(name)?.start_timeout.saturating_add(AFTER_BUDGET))
    }

    fn lapse_planned(&mut self, step: &mut Step, name: Option<&UnitName>) {
        let Some(name) = name else { return };
        let Some(budget) = self.budget(name) else { return };
        let service = self.service(name);
        let Some(Planned::Begun { since, origin }) = service.planned.clone() else { return };
        // The machine went down meanwhile; what starts then was asked for by nobody.
        let elsewhere = since.boot != step.now.boot;
        if !elsewhere && step.now.since(&since) < budget {
            return;
        }
        service.planned = None;
        let runs = service.runs_since(&step.now).is_some();
        let has_ready = self.declared.units.get(name).is_some_and(|unit| unit.has_ready);
        if elsewhere || step.is_past || (runs && !has_ready) {
            return;
        }
        let draft = Draft::of(Rule::RestartFailed, Some(name), since.wall_ms, words::of_restart(name, budget));
        if !self.open.contains_key(&draft.key()) {
            self.fire(step, &origin.seed(), draft);
        }
    }

    fn lapse_drift(&mut self, step: &mut Step, name: Option<&UnitName>) {
        let key = Key::new(Rule::Drift, name, None);
        if self.open.get(&key).and_then(doubted_since).is_some_and(|from| step.now.since(&from) >= DRIFT_AGAIN) {
            self.resolve(step, &key, "it was not found again");
        }
        let Some(service) = self.services.get_mut(&name.cloned()) else { return };
        let is_due = |pending: &mut Pending| step.now.since(&pending.since) >= DRIFT_FOR;
        let Some(Pending { since, origin, data }) = service.drift.take_if(is_due) else { return };
        if !step.is_past {
            let text = words::of_record(Rule::Drift, name, &data);
            let draft = Draft { last_ms: step.now.wall_ms, ..Draft::of(Rule::Drift, name, since.wall_ms, text) };
            self.fire(step, &origin.seed(), draft);
        }
    }

    /// The supervisor was away: whether what differed still does is found out again.
    pub(super) fn doubt_drifts(&mut self, step: &mut Step) {
        self.services.values_mut().for_each(|service| service.drift = None);
        if step.is_past {
            return;
        }
        let since = note_of(&step.now);
        for key in self.open.keys().filter(|key| key.family == Family::of(Rule::Drift)).cloned().collect::<Vec<_>>() {
            if let Some(alert) = self.open.get_mut(&key) {
                alert.memory.insert(DOUBTED.into(), since.clone());
            }
            self.keep(step, &key, true);
        }
    }

    /// What services.toml does not have any more troubles nobody.
    pub(super) fn forget_undeclared(&mut self, step: &mut Step) {
        let units = &self.declared.units;
        let gone = |name: Option<&UnitName>| name.is_some_and(|name| !units.contains_key(name));
        // That something is installed and not declared is a drift.
        let drift = Family::of(Rule::Drift);
        let keys: Vec<Key> =
            self.open.keys().filter(|key| gone(key.service.as_ref()) && key.family != drift).cloned().collect();
        // An open alert about one that is kept has to be able to lapse.
        let differs = |name: &Option<UnitName>| {
            let key = Key::new(Rule::Drift, name.as_ref(), None);
            self.open.contains_key(&key)
        };
        self.services.retain(|name, service| !gone(name.as_ref()) || service.drift.is_some() || differs(name));
        for key in keys {
            self.resolve(step, &key, "it is declared no more");
        }
    }
}
