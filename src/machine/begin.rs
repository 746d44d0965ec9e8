//! The first step of a machine: taking over from a predecessor.

use serde_json::{Map, Value};

use super::records::{self, End};
use super::service::{ServiceMachine, Step};
use super::types::{Effect, Fate, Found, Phase, ProcessRef, RecordedEnd, Run, Saved, SavedPhase, Then};
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
            (self.run_id, self.safe_starts) = (saved.run_id, saved.safe_starts);
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
            SavedPhase::Spawning { automatic } if alive.is_none() => {
                self.run_id += 1;
                self.backoff.started(step.at.mono, automatic);
                let end = match fate {
                    Fate::Recorded(end) => self.recall(end, same_boot, step),
                    Fate::Fine => self.miss_last(false, step),
                    Fate::Gone { start_recorded } => self.miss_last(start_recorded, step),
                };
                return self.go_on(end, same_boot, step);
            }
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
            | SavedPhase::Spawning { .. }
            | SavedPhase::Down => return self.take_over(None, alive, step),
        };
        let end = match fate {
            Fate::Fine => return self.take_over(stopping, alive, step),
            Fate::Recorded(end) => {
                self.sweep(old.filter(|_| same_boot), step);
                Some(self.recall(end, same_boot, step))
            }
            Fate::Gone { start_recorded } => old.map(|run| {
                if !start_recorded {
                    step.record(EventType::ServiceStart, records::start(&run));
                }
                let class = self.lose(&run, stopping.map(|(cause, _)| cause), step);
                self.sweep(same_boot.then_some(run), step);
                (class, Exit::Unknown)
            }),
        };
        if let Some(found) = alive {
            return self.adopt(found, None, step);
        }
        match (stopping.map(|(_, then)| then), end) {
            (None | Some(Then::Again), Some(end)) => self.go_on(end, same_boot, step),
            _ => self.want_start(false, step),
        }
    }

    /// What follows a run that ended before its successor's time: within one boot the same as if we had seen it; a new boot is
    /// a fresh start.
    fn go_on(&mut self, (class, exit): (ExitClass, Exit), same_boot: bool, step: &mut Step) {
        if same_boot && self.intent.up {
            self.follow(class, exit, step);
        } else {
            self.want_start(false, step);
        }
    }

    /// Takes an end in that the predecessor had put on record.
    fn recall(&mut self, end: RecordedEnd, same_boot: bool, step: &Step) -> (ExitClass, Exit) {
        self.last_exit = Some(LastExit::new(end.class, end.exit, end.at_ms));
        if same_boot {
            self.backoff.ended(&self.spec, end.class, end.uptime, step.at.mono);
        }
        (end.class, end.exit)
    }

    /// A run that was about to be started when its runner died and of which nothing is there: it may have lived for a moment.
    /// It is put on record as one that did, without what nobody can know.
    fn miss_last(&mut self, start_recorded: bool, step: &mut Step) -> (ExitClass, Exit) {
        self.miss(self.run_id, start_recorded, step);
        self.last_exit = Some(LastExit::new(ExitClass::Lost, Exit::Unknown, step.at.wall_ms));
        (ExitClass::Lost, Exit::Unknown)
    }

    /// The records of a run of which nothing but its number is known.
    pub(super) fn miss(&self, id: u64, start_recorded: bool, step: &mut Step) {
        let nobody = ProcessRef { pid: 0, start: 0 };
        let run = Run { id, process: nobody, started: step.at, attempt: self.backoff.attempts, adopted: false };
        let unknown = |mut data: Map<String, Value>| {
            for key in ["pid", "uptime_ms", "started_ms"] {
                data.entry(key).and_modify(|value| *value = Value::Null);
            }
            data.insert("seen".into(), false.into());
            data
        };
        let class = ExitClass::Lost;
        if !start_recorded {
            step.record(EventType::ServiceStart, unknown(records::start(&run)));
        }
        let end = End { run: &run, exit: Exit::Unknown, class, cause: None, killed: false };
        step.record(EventType::of_end(class), unknown(records::end(&end, step.at)));
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
        class
    }

    /// What a run of this boot has left behind; a pid of another boot is somebody else's now.
    fn sweep(&self, run: Option<Run>, step: &mut Step) {
        step.effects.extend(run.map(|run| Effect::Sweep { run_id: run.id, process: run.process }));
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
