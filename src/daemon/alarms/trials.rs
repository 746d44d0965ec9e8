//! `alerts test`: a marked test goes the way that alerts go, and who asked is told what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Alarms, Heard, Only};
use crate::control::server::Answer;
use crate::model::wire::{AlertReply, TestDelivery, WireError};
use crate::model::{AlertSpec, Message, Moment, Mono, RowState};
use crate::process::clock;
use crate::store::{Ledger, StoreError};

/// How long the outcome is waited for. What is pending then is tried on for a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who waits for the outcome of a test.
pub(super) struct Trial {
    /// The notice's key.
    key: String,
    /// What became of it at each sink.
    sinks: BTreeMap<String, Option<TestDelivery>>,
    pub(super) until: Mono,
    answer: Answer<AlertReply>,
}

impl Alarms {
    /// Sends a test through all sinks, or one.
    pub(super) fn try_sinks(
        &mut self,
        ledger: Option<&mut Ledger>,
        at: Moment,
        only: Option<&str>,
        answer: Answer<AlertReply>,
    ) -> Result<(), StoreError> {
        let refuse = |answer: Answer<AlertReply>, message: String, hint: String| {
            drop(answer.send(Err(WireError { code: 2, message, hint: Some(hint) })));
        };
        let mut sinks: BTreeSet<String> = self.served.keys().cloned().collect();
        if let Some(only) = only {
            if !sinks.contains(only) {
                let known = sinks.into_iter().collect::<Vec<_>>().join(", ");
                refuse(answer, format!("there is no sink called {only}"), format!("there are: {known}"));
                return Ok(());
            }
            sinks.retain(|sink| sink == only);
        }
        // A test is for now: it is not to arrive days later.
        let through = Only { sinks, spec: AlertSpec { expire_after: PATIENCE * 4, ..self.spec.clone() } };
        // Two tests in one millisecond are two.
        let key = format!("test {} {}", at.wall_ms, clock::fraction().get());
        let told = self.hear_through(ledger, at, Heard::Test(&key), Some(&through))?;
        let sinks = through.sinks.into_iter().map(|sink| (sink, None)).collect();
        let key = told.into_iter().next().unwrap_or_default();
        self.trials.push(Trial { key, sinks, until: at.mono.plus(PATIENCE), answer });
        Ok(())
    }

    /// A message was tried at a sink.
    pub(super) fn note_trial(&mut self, sink: &str, message: &Message, state: RowState, error: Option<&str>) {
        let carries = |trial: &&mut Trial| message.notices().iter().any(|notice| notice.key == trial.key);
        for trial in self.trials.iter_mut().filter(carries) {
            if let Some(outcome) = trial.sinks.get_mut(sink) {
                let attempts = outcome.as_ref().map_or(1, |outcome| outcome.attempts + 1);
                let error = error.map(str::to_owned);
                *outcome = Some(TestDelivery { sink: sink.to_owned(), state, error, attempts });
            }
        }
    }

    /// Answers those whose tests have come to an end, or have waited for long enough.
    pub(super) fn answer_trials(&mut self, at: Moment) {
        let is_over =
            |trial: &mut Trial| trial.until <= at.mono || trial.sinks.values().all(|outcome| outcome.is_some());
        for trial in self.trials.extract_if(.., is_over) {
            let served = &self.served;
            let untried = |sink: String| TestDelivery {
                state: RowState::Pending,
                error: served.get(&sink).and_then(|served| served.held_back(at)),
                attempts: 0,
                sink,
            };
            let outcomes = trial.sinks.into_iter().map(|(sink, outcome)| outcome.unwrap_or_else(|| untried(sink)));
            let reply = AlertReply { deliveries: outcomes.collect(), key: Some(trial.key), ..AlertReply::default() };
            // Who has not waited does not want to know.
            let _ = trial.answer.send(Ok(reply));
        }
    }
}
