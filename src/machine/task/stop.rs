//! Ending a step before it ends by itself: with its whole run, or at its time limit.

use super::{Ended, Phase, TaskEffect, TaskMachine};
use crate::machine::ProcessRef;
use crate::machine::words::exactly_time;
use crate::model::{Exit, Fraction, Moment, Mono, Signal, StepOutcome};
use crate::policy::KILL_AGAIN;

impl TaskMachine {
    /// Somebody wants the run to end.
    pub(super) fn stop(
        &mut self,
        why: String,
        at_once: bool,
        phase: &Phase,
        at: Moment,
        effects: &mut Vec<TaskEffect>,
    ) {
        if *phase != Phase::Over {
            self.ended.get_or_insert(Ended::Stopped(why));
        }
        self.at_once |= at_once && !matches!(phase, Phase::Stopping { killed: true, .. });
        match *phase {
            Phase::Running { process, since, .. } => self.ask_to_end(process, since, false, at, effects),
            Phase::Stopping { process, since, timed_out, .. } if at_once => {
                self.kill(process, since, timed_out, at, effects);
            }
            Phase::Pausing(_) => {
                let why = self.why_ended();
                self.note(StepOutcome::Cancelled, Exit::Unknown, Some(why), effects);
                self.proceed(at, effects);
            }
            Phase::Idle | Phase::Waiting(_) => self.proceed(at, effects),
            // It is asked to end already, or not started yet: what comes next finds the word.
            Phase::Stopping { .. } | Phase::Starting | Phase::Over => {}
        }
    }

    /// Sends the step its stop signal; it has `stop_timeout` from then on, unless it is to end at once.
    pub(super) fn ask_to_end(
        &mut self,
        process: ProcessRef,
        since: Mono,
        timed_out: bool,
        at: Moment,
        effects: &mut Vec<TaskEffect>,
    ) {
        if self.at_once {
            return self.kill(process, since, timed_out, at, effects);
        }
        effects.push(TaskEffect::Signal(process, self.spec.stop_signal));
        let killed = self.spec.stop_signal == Signal::KILL;
        let wait = if killed { KILL_AGAIN } else { self.spec.stop_timeout };
        self.phase = Phase::Stopping { process, since, killed, timed_out, until: at.mono.plus(wait) };
    }

    /// Again and again, should something be left that is in the kernel's hands.
    pub(super) fn kill(
        &mut self,
        process: ProcessRef,
        since: Mono,
        timed_out: bool,
        at: Moment,
        effects: &mut Vec<TaskEffect>,
    ) {
        effects.push(TaskEffect::Signal(process, Signal::KILL));
        self.phase = Phase::Stopping { process, since, killed: true, timed_out, until: at.mono.plus(KILL_AGAIN) };
    }

    /// What was to end has ended.
    pub(super) fn was_stopped(
        &mut self,
        exit: Exit,
        (timed_out, killed): (bool, bool),
        at: Moment,
        rng: Fraction,
        effects: &mut Vec<TaskEffect>,
    ) {
        let signal = self.spec.stop_signal;
        // Whom SIGKILL is the polite signal of has ignored nothing.
        let how = match (killed, self.at_once) {
            (true, true) => Some("was killed at once".to_owned()),
            (true, false) if signal != Signal::KILL => Some(format!("ignored {signal} and was killed")),
            _ => None,
        };
        let it = how.as_ref().map_or(String::new(), |how| format!("; it {how}"));
        if timed_out {
            let why = format!("it did not end within its timeout of {}{it}", exactly_time(self.current_limit()));
            self.tried(StepOutcome::TimedOut, exit, why, at, rng, effects);
            return;
        }
        let outcome = match self.ended {
            Some(Ended::Stopped(_)) => StepOutcome::Cancelled,
            Some(Ended::TooLong) | None => StepOutcome::TimedOut,
        };
        self.killed = how.map(|how| format!("{} {how}", self.place()));
        let why = self.why_ended() + &it;
        self.note(outcome, exit, Some(why), effects);
        self.proceed(at, effects);
    }
}
