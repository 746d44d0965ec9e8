//! The first step of a machine: taking over from a predecessor.

use super::records::{self, End};
use super::service::{ServiceMachine, Step};
use super::types::{Effect, Fate, Found, Phase, Run, Saved, SavedPhase, Then};
use crate::model::{EventType, Exit, ExitClass, LastExit, StopCause};
use crate::policy::{classify, stop_plan};

impl ServiceMachine {
    pub(super) fn begin(
        &mut self,
        saved: Option<Saved>,
        fate: Fate,
        alive: Option<Found>,
        same_boot: bool,
        step: &mut Step,
    ) {
        let mut phase = SavedPhase::Idle;
        if let Some(saved) = saved {
            self.run_id = saved.run_id;
            self.last_exit = saved.last_exit;
            // Awake times mean nothing in another boot; and a machine that was switched off owes nobody a pause.
            if same_boot {
                self.backoff = saved.backoff;
            }
            phase = saved.phase;
        }
        let (stopping, old) = match phase {
            SavedPhase::Starting(run) | SavedPhase::Up(run) => (None, Some(run)),
            SavedPhase::Stopping { run, cause, then } => (Some((cause, then)), Some(run)),
            SavedPhase::Idle => return self.take_over(None, alive, step),
            SavedPhase::Waiting { until } if same_boot && self.intent.up && alive.is_none() => {
                return self.enter(Phase::Delayed { until }, step);
            }
            SavedPhase::Held { hold, until } if same_boot && self.intent.up && alive.is_none() => {
                self.told_hold = Some(hold.reason.clone());
                return self.enter(Phase::Held { hold, until }, step);
            }
            SavedPhase::Done if same_boot && self.intent.up && alive.is_none() => return self.enter(Phase::Done, step),
            SavedPhase::Failed if same_boot && self.intent.up && alive.is_none() => {
                return self.enter(Phase::Failed, step);
            }
            SavedPhase::Waiting { .. }
            | SavedPhase::Held { .. }
            | SavedPhase::Done
            | SavedPhase::Failed
            | SavedPhase::Down => return self.take_over(None, alive, step),
        };
        let end = match fate {
            Fate::Fine => return self.take_over(stopping, alive, step),
            Fate::Recorded(end) => {
                self.last_exit = Some(LastExit::new(end.class, end.exit, end.at_ms));
                if same_boot {
                    self.backoff.ended(&self.spec, end.class, end.uptime, step.at.mono);
                }
                Some((end.class, end.exit))
            }
            Fate::Gone => old.map(|run| (self.lose(&run, stopping.map(|(cause, _)| cause), step), Exit::Unknown)),
        };
        if let Some(found) = alive {
            return self.adopt(found, None, step);
        }
        match (stopping.map(|(_, then)| then), end) {
            // A new boot is a fresh start; within one boot what would have followed follows.
            (None | Some(Then::Again), Some((class, exit))) if same_boot && self.intent.up => {
                self.follow(class, exit, step);
            }
            _ => self.want_start(false, step),
        }
    }

    fn take_over(&mut self, stopping: Option<(StopCause, Then)>, alive: Option<Found>, step: &mut Step) {
        match alive {
            Some(found) => self.adopt(found, stopping, step),
            None => self.want_start(false, step),
        }
    }

    fn adopt(&mut self, found: Found, stopping: Option<(StopCause, Then)>, step: &mut Step) {
        let run = Run { adopted: true, ..found.run };
        self.run_id = run.id;
        // A run that was never written down has left its start time with its process only.
        if self.backoff.last_start.is_none_or(|last| last < run.started.mono) {
            self.backoff.started(run.started.mono, run.attempt > 0);
        }
        if !found.start_recorded {
            step.record(EventType::ServiceStart, records::start(&run));
        }
        step.record(EventType::RunnerAdopted, records::adopted(&run));
        match stopping {
            // Who wanted to leave it is gone, and an order may have been stored after this was: what is wanted now counts.
            Some((cause, Then::Down | Then::Leave)) if self.intent.up => self.stop(run, cause, Then::Start, step),
            Some((cause, _)) if !self.intent.up => self.stop(run, cause, Then::Down, step),
            Some((cause, then)) => self.stop(run, cause, then, step),
            None if !self.intent.up => self.stop(run, StopCause::Operator, Then::Down, step),
            None if self.was_ready => self.enter(Phase::Up(run), step),
            None => self.enter_started(run, step),
        }
    }

    fn lose(&mut self, run: &Run, cause: Option<StopCause>, step: &mut Step) -> ExitClass {
        let class = classify(Exit::Unknown, cause, &self.spec.success_exit_codes, &self.spec.hold_exit_codes);
        let end = End { run, exit: Exit::Unknown, class, cause, killed: false };
        let mut data = records::end(&end, step.at);
        // How long it lived is not known: it may have ended at any time since its runner was last seen.
        data.insert("uptime_ms".into(), serde_json::Value::Null);
        self.last_exit = Some(LastExit::new(class, Exit::Unknown, step.at.wall_ms));
        step.effects.push(Effect::Record {
            event: EventType::of_end(class),
            data,
            with_tail: class != ExitClass::Requested,
        });
        step.effects.push(Effect::Sweep { run_id: run.id, process: run.process });
        class
    }

    /// A stop that is under way ends by when one that begins now would: whoever asks last may have less time.
    pub(super) fn hasten(&mut self, cause: StopCause, step: &Step) {
        let latest = step.at.mono.plus(stop_plan(&self.spec, cause, false).wait);
        if let Phase::Stopping { until, .. } = &mut self.phase {
            *until = latest.min(*until);
            self.epoch += 1;
        }
    }

    /// The step of the ladder that ends `run`.
    pub(super) fn stop(&mut self, run: Run, cause: StopCause, then: Then, step: &mut Step) {
        let plan = stop_plan(&self.spec, cause, matches!(then, Then::Start | Then::Again));
        step.effects.push(Effect::Signal { process: run.process, signal: plan.signal });
        let until = step.at.mono.plus(plan.wait);
        self.enter(Phase::Stopping { run, cause, killed: false, until, then }, step);
    }
}
