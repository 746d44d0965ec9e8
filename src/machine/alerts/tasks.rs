//! The rules about calendar jobs.

use serde_json::Value;

use super::hear::Heard;
use super::identity::Key;
use super::life::{Draft, Step};
use super::{AlertMachine, words};
use crate::model::{Rule, Severity, SlotState, UnitName};

/// So many failures in a row are no accident.
const IN_A_ROW: u64 = 3;

impl AlertMachine {
    /// A run has ended.
    pub(super) fn task_finished(&mut self, step: &mut Step, name: &UnitName, heard: &Heard<'_>) {
        let data = &heard.record.data;
        let is_extra = data.get("extra").and_then(Value::as_bool) == Some(true);
        match data.get("result").and_then(Value::as_str).and_then(SlotState::parse) {
            Some(SlotState::Ran | SlotState::CaughtUp) => {
                let outcome = if is_extra { "it was run again, and well" } else { "it ran" };
                self.task_is_well(step, name, &[Rule::TaskFailed, Rule::TaskMissed, Rule::TaskLate], outcome);
            }
            Some(SlotState::Late) => {
                self.task_is_well(step, name, &[Rule::TaskFailed, Rule::TaskMissed], "it ran");
                self.task(step, Rule::TaskLate, name, heard);
            }
            // Whoever asked for it waits for what becomes of it.
            _ if is_extra => {}
            Some(SlotState::Failed | SlotState::TooShort) => self.task(step, Rule::TaskFailed, name, heard),
            Some(SlotState::TooLong) => self.task(step, Rule::TaskLate, name, heard),
            // A person's word, or of a newer version.
            _ => {}
        }
    }

    /// Slots that are not run. What a run stands for is that run's affair.
    pub(super) fn task_missed(&mut self, step: &mut Step, name: &UnitName, heard: &Heard<'_>) {
        let data = &heard.record.data;
        if data.get("made_up_by").is_some_and(Value::is_string) {
            return;
        }
        match data.get("result").and_then(Value::as_str).and_then(SlotState::parse) {
            Some(SlotState::MissedAsleep | SlotState::MissedOff) => self.task(step, Rule::TaskMissed, name, heard),
            Some(SlotState::SkippedOverlap) => self.task(step, Rule::TaskLate, name, heard),
            _ => {}
        }
    }

    fn task_is_well(&mut self, step: &mut Step, name: &UnitName, rules: &[Rule], outcome: &str) {
        for rule in rules {
            self.resolve(step, &Key::new(*rule, Some(name), None), outcome);
        }
    }

    fn task(&mut self, step: &mut Step, rule: Rule, name: &UnitName, heard: &Heard<'_>) {
        if !self.is_judged(name) {
            return;
        }
        let Heard { origin, record } = heard;
        let zone = self.declared.units.get(name).and_then(|unit| unit.zone.as_ref());
        let text = words::of_task(rule, name, record, zone);
        let mut draft = Draft::of(rule, Some(name), step.now.wall_ms, text);
        let before = self.open.get(&draft.key()).map_or(0, |alert| alert.count);
        if rule == Rule::TaskFailed && before + 1 >= IN_A_ROW {
            draft.severity = Severity::Critical;
        }
        if words::is_left_out(&record.data) {
            draft.severity = Severity::Info;
        }
        draft.count = record.data.get("count").and_then(Value::as_u64).unwrap_or(1).max(1);
        self.raise(step, origin, draft);
    }
}
