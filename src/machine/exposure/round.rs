//! What is run when, and what its end means.

use serde_json::json;

use super::{ExposureAct, ExposureMachine, Failing, Failure, Flight, TOLD_AFTER, TOLD_AFTER_TRIES, UNDO_TRIES, Work};
use crate::model::wire::Verb;
use crate::model::{EventType, Fraction, Moment, Mono};
use crate::policy::backed_off;

impl ExposureMachine {
    /// Begins what is due, where nothing is under way.
    pub(super) fn go_on(&mut self, at: Moment, acts: &mut Vec<ExposureAct>) {
        if self.flight.is_some() {
            return;
        }
        if self.is_to_be_undone() {
            let undo = self.made.as_ref().filter(|made| made.undo.is_some()).cloned();
            match undo {
                Some(made) if self.next <= at.mono => {
                    self.flight = Some(Flight { work: Work::Undo, void: false });
                    // From now on nobody knows before it is looked at again.
                    (self.up_since_ms, self.seen) = (None, false);
                    acts.push(ExposureAct::Run(Work::Undo, Box::new(made)));
                }
                Some(_) => {}
                None => {
                    self.undone("nothing", None, acts);
                    self.go_on(at, acts);
                }
            }
            return;
        }
        if !self.is_wanted() {
            if self.leaving != Some(false) {
                (self.up_since_ms, self.failing, self.seen, self.anew) = (None, None, false, false);
            }
            let result = self.not_undone.as_ref().map_or_else(|| Ok("down".into()), |failure| Err(not_undone(failure)));
            return self.settle(result, acts);
        }
        if self.anew {
            // Straight to `ensure`: what a look would see may be the old one, where nothing undoes that.
            (self.anew, self.seen, self.up_since_ms, self.failing) = (false, false, None, None);
            (self.round_from, self.backoff) = (at.mono, 0);
            return self.ensure(acts);
        }
        if self.next <= at.mono {
            (self.round_from, self.ensured) = (at.mono, false);
            match self.spec.check {
                Some(_) => self.run(Work::Check, acts),
                None => self.ensure(acts),
            }
        }
    }

    fn run(&mut self, work: Work, acts: &mut Vec<ExposureAct>) {
        self.flight = Some(Flight { work, void: false });
        acts.push(ExposureAct::Run(work, Box::new(self.spec.clone())));
    }

    fn ensure(&mut self, acts: &mut Vec<ExposureAct>) {
        self.own(acts);
        self.ensured = true;
        self.run(Work::Ensure, acts);
    }

    /// From here on it is ours to undo.
    fn own(&mut self, acts: &mut Vec<ExposureAct>) {
        if self.made.as_ref() != Some(&self.spec) {
            self.made = Some(self.spec.clone());
            acts.push(ExposureAct::Save);
        }
    }

    pub(super) fn ended(
        &mut self,
        at: Moment,
        rng: Fraction,
        result: Result<(), Failure>,
        acts: &mut Vec<ExposureAct>,
    ) {
        let Some(Flight { work, void }) = self.flight.take() else { return };
        if void {
            return;
        }
        match (work, result) {
            (Work::Undo, Ok(())) => self.undone("done", None, acts),
            (Work::Undo, Err(failure)) => {
                self.undo_tries += 1;
                if self.undo_tries < UNDO_TRIES {
                    self.next = at.mono.plus(self.delay(self.undo_tries - 1, rng));
                } else {
                    self.undone("failed", Some(failure), acts);
                }
            }
            (Work::Check, Ok(())) => {
                self.own(acts);
                self.holds(at, acts);
            }
            (Work::Ensure, Ok(())) if self.spec.check.is_none() => self.holds(at, acts),
            (Work::Ensure, Ok(())) => self.run(Work::Check, acts),
            (Work::Check, Err(failure)) if !self.ensured => {
                self.lost(at, work, &failure, acts);
                self.ensure(acts);
            }
            (work, Err(failure)) => {
                self.lost(at, work, &failure, acts);
                self.failed(at, rng, work, failure, acts);
            }
        }
    }

    fn undone(&mut self, result: &str, failure: Option<Failure>, acts: &mut Vec<ExposureAct>) {
        let undo = self.made.as_ref().and_then(|made| made.undo.clone());
        let mut data = json!({ "result": result, "undo": undo });
        match failure {
            // What it was is kept: a further stop and the next daemon try again.
            Some(failure) => {
                data["why"] = failure.why.clone().into();
                data["stderr_tail"] = failure.stderr_tail.clone().into();
                self.not_undone = Some(failure);
            }
            None => (self.made, self.not_undone) = (None, None),
        }
        self.up_since_ms = None;
        self.record(EventType::ExposureUndone, data, acts);
        acts.push(ExposureAct::Save);
    }

    /// It holds.
    fn holds(&mut self, at: Moment, acts: &mut Vec<ExposureAct>) {
        if self.up_since_ms.is_none() {
            self.up_since_ms = Some(at.wall_ms);
            let tries = self.failing.as_ref().map_or(0, |failing| failing.tries) + u32::from(self.ensured);
            self.record(EventType::ExposureUp, json!({ "tries": tries }), acts);
            acts.push(ExposureAct::Save);
        }
        (self.seen, self.checked_ms, self.failing) = (true, Some(at.wall_ms), None);
        (self.backoff, self.not_undone) = (0, None);
        // From start to start; what took longer than that is looked at again at once, and not twice.
        self.next = self.round_from.plus(self.spec.interval).max(at.mono);
        let how = if self.ensured { "it holds" } else { "it held already" };
        let how = if self.asked == Some(Verb::Restart) { "restarted, and it holds" } else { how };
        self.settle(Ok(how.into()), acts);
    }

    /// It held, and does not.
    fn lost(&mut self, at: Moment, work: Work, failure: &Failure, acts: &mut Vec<ExposureAct>) {
        self.checked_ms = Some(at.wall_ms);
        let Some(since_ms) = self.up_since_ms.take() else { return };
        let data = json!({
            "work": work.as_str(), "why": failure.why, "stderr_tail": failure.stderr_tail, "held_ms": at.wall_ms - since_ms,
        });
        self.record(EventType::ExposureDown, data, acts);
        acts.push(ExposureAct::Save);
        let last = failure.clone();
        self.seen = true;
        self.failing = Some(Failing { since: at, tries: 0, told: false, last, work, last_ms: at.wall_ms });
    }

    /// A try has come to nothing.
    fn failed(&mut self, at: Moment, rng: Fraction, work: Work, failure: Failure, acts: &mut Vec<ExposureAct>) {
        let settled = format!("`{}` {}; it is tried again", work.as_str(), failure.why);
        let (tries, since, told) = match &self.failing {
            Some(failing) => (failing.tries, failing.since, failing.told),
            None => (0, at, false),
        };
        let tries = tries.saturating_add(1);
        self.failing = Some(Failing { since, tries, told, last: failure, work, last_ms: at.wall_ms });
        self.next = at.mono.plus(self.delay(self.backoff, rng));
        self.backoff = self.backoff.saturating_add(1);
        self.settle(Err(settled), acts);
    }

    fn delay(&self, n: u32, rng: Fraction) -> std::time::Duration {
        backed_off(self.spec.retry_delay, self.spec.backoff_max, n, rng)
    }

    /// Tells somebody, once, when it has gone on for long.
    pub(super) fn tell_if_long(&mut self, at: Moment, acts: &mut Vec<ExposureAct>) {
        if !self.is_wanted() || self.anew {
            return;
        }
        let Some(failing) = self.failing.as_mut().filter(|failing| !failing.told) else { return };
        if failing.tries < TOLD_AFTER_TRIES && at.mono.since(failing.since.mono) < TOLD_AFTER {
            return;
        }
        failing.told = true;
        let data = json!({
            "tries": failing.tries, "since_ms": failing.since.wall_ms, "held": self.seen, "work": failing.work.as_str(),
            "why": failing.last.why, "stderr_tail": failing.last.stderr_tail,
        });
        self.record(EventType::ExposureFailed, data, acts);
    }

    /// When the next try is due, if one is waited for.
    pub(super) fn next_try(&self) -> Option<Mono> {
        (self.flight.is_none() && self.failing.is_some() && self.is_wanted()).then_some(self.next)
    }
}

pub(super) fn not_undone(failure: &Failure) -> String {
    format!("it could not be undone: `undo` {}", failure.why)
}
