//! From the verdict to the restart: put on record at once, then evidence, then the order, unless it answers before.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Act, Conviction, MonitorMachine, Step, words};
use crate::machine::records::millis;
use crate::model::{EventType, Hang, Mono, StopCause};
use crate::policy::relapse;

/// Evidence that has not come by then is not waited for.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(20);

/// An order that shows no effect is given again: its runner may have died with it.
const AGAIN: Duration = Duration::from_secs(10);

/// A run that is to be ended.
#[derive(Debug, Clone)]
pub(super) struct Convicted {
    cause: StopCause,
    at: Mono,
    pub(super) restart_at: Mono,
    has_evidence: bool,
    ordered: Option<Mono>,
    /// It has shown life since the order: when the run is still there, the order did not get through.
    has_answered: bool,
    pub(super) unhelped: u32,
}

impl Convicted {
    pub(super) fn is_hang(&self) -> bool {
        self.cause == StopCause::Hung
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Mono {
        match self.ordered {
            Some(ordered) => ordered.plus(AGAIN),
            None if self.has_evidence => self.restart_at,
            None => self.at.plus(EVIDENCE_WITHIN).max(self.restart_at),
        }
    }

    /// Whether the restart waits for more than the evidence.
    pub(super) fn waits(&self, now: Mono) -> bool {
        self.ordered.is_none() && self.restart_at > now
    }
}

impl MonitorMachine {
    /// What is due of a verdict: that it is passed, and that it is carried out.
    pub(super) fn pass_sentence(&mut self, step: &mut Step) {
        let now = step.at.mono;
        let due = self.spec.health.as_ref().zip(self.watched.as_ref());
        if due.and_then(|(health, watched)| watched.verdict_due(health)).is_some_and(|due| due <= now) {
            self.convict_hang(step);
        }
        let grace_end = self.grace_end();
        let is_lost = |convicted: &Convicted| convicted.has_answered && convicted.due() <= now;
        if self.watched.as_ref().and_then(|watched| watched.convicted.as_ref()).is_some_and(is_lost) {
            self.clear_conviction(step);
        }
        let Some(watched) = &mut self.watched else { return };
        let run_id = watched.run_id;
        if let Some(convicted) = watched.convicted.as_mut().filter(|convicted| convicted.due().max(grace_end) <= now) {
            convicted.ordered = Some(now);
            step.acts.push(Act::Restart { run_id, cause: convicted.cause });
        }
    }

    fn convict_hang(&mut self, step: &mut Step) {
        let (Some(health), Some(watched)) = (&self.spec.health, &self.watched) else { return };
        let since = watched.row.since.unwrap_or(step.at);
        let after = since.mono.since(watched.begun);
        // A daemon before us may have told of it already: it is the same hang, and its wait goes on.
        let told = self.learned.hangs.last().filter(|hang| hang.run_id == watched.run_id).map(|hang| hang.at_ms);
        if told.is_none() {
            self.learned.hangs.push(Hang { run_id: watched.run_id, at_ms: step.at.wall_ms, after });
            let extra = self.learned.hangs.len().saturating_sub(relapse::HANGS);
            self.learned.hangs.drain(..extra);
        }
        let ago = told.map_or(0, |told| step.at.wall_ms.saturating_sub(told).max(0));
        let waited = Duration::from_millis(u64::try_from(ago).unwrap_or(0));
        let unhelped = relapse::unhelped(&self.learned.hangs);
        let failure = watched.row.bad.as_ref().map_or("", |(_, why)| why.as_str());
        let reason = words::hang(failure, watched.row.facts.as_ref());
        let data = json!({
            "failing_since_ms": since.wall_ms,
            "failed_probes": watched.row.failures,
            "tolerated_ms": millis(health.tolerated()),
            "uptime_ms": millis(after),
            "unhelped": unhelped,
        });
        self.convict(StopCause::Hung, (unhelped, waited), reason, data, step);
    }

    /// The run is to be ended. `waited`: how much of its wait is over already.
    pub(super) fn convict(
        &mut self,
        cause: StopCause,
        (unhelped, waited): (u32, Duration),
        reason: String,
        mut data: Value,
        step: &mut Step,
    ) {
        let now = step.at.mono;
        let parts = self.parts.list();
        let wait = if self.spec.spaced { relapse::wait(unhelped, &self.unclean, now) } else { Duration::ZERO };
        let wait = wait.saturating_sub(waited);
        let Some(watched) = &mut self.watched else { return };
        let Value::Object(data) = &mut data else { return };
        for (key, value) in [
            ("run_id", json!(watched.run_id)),
            ("pid", json!(watched.pid)),
            ("reason", json!(reason)),
            ("restart_in_ms", json!(millis(wait))),
        ] {
            data.insert(key.into(), value);
        }
        let restart_at = now.plus(wait);
        watched.convicted = Some(Convicted {
            cause,
            at: now,
            restart_at,
            has_evidence: false,
            ordered: None,
            has_answered: false,
            unhelped,
        });
        let event = if cause == StopCause::Hung { EventType::ServiceHung } else { EventType::ProbeDegraded };
        step.acts.push(Act::Convict(Box::new(Conviction {
            run_id: watched.run_id,
            pid: watched.pid,
            cause,
            reason,
            event,
            data: std::mem::take(data),
            probes: watched.row.probes(),
            parts,
        })));
    }

    pub(super) fn on_evidence(&mut self, run_id: u64, step: &mut Step) {
        if let Some(convicted) = self.watched.as_mut().filter(|w| w.run_id == run_id).and_then(|w| w.convicted.as_mut())
        {
            convicted.has_evidence = true;
        }
        self.pass_sentence(step);
    }

    /// It has shown life: nothing is done to it, unless its restart is ordered and under way.
    pub(super) fn acquit(&mut self, step: &mut Step) {
        let Some(convicted) = self.watched.as_mut().and_then(|watched| watched.convicted.as_mut()) else { return };
        if convicted.ordered.is_some() {
            convicted.has_answered = true;
        } else {
            self.clear_conviction(step);
        }
    }

    fn clear_conviction(&mut self, step: &mut Step) {
        let Some(watched) = &mut self.watched else { return };
        let Some(convicted) = watched.convicted.take() else { return };
        if convicted.is_hang() {
            self.learned.hangs.pop_if(|hang| hang.run_id == watched.run_id);
            let reason = "it answered again before it was restarted";
            step.record(EventType::ServiceHung, json!({ "run_id": watched.run_id, "cleared": true, "reason": reason }));
        }
    }
}
