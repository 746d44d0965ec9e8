//! The rules about what lives and is not well: hangs, starts that take long, parts, memory.

use serde_json::Value;

use super::hear::{Heard, copy_run_id, is_cleared, run_id};
use super::identity::Key;
use super::lapse::{CLEARED, note_of};
use super::life::{Draft, Step};
use super::windows::Crossing;
use super::{AlertMachine, words};
use crate::model::{Cause, Rule, UnitName};

impl AlertMachine {
    pub(super) fn hung(&mut self, step: &mut Step, name: &UnitName, heard: &Heard<'_>) {
        let Heard { origin, record } = heard;
        let key = Key::new(Rule::Hung, Some(name), Some(Cause::Hung));
        let now = step.now.clone();
        let is_judged = self.is_judged(name);
        let service = self.service(name);
        let runs = service.runs_since(&now).is_some();
        let one = service.loops.entry(Cause::Hung).or_default();
        if is_cleared(record) {
            one.reset();
            service.unhelped = false;
            return self.resolve(step, &key, "it answers again");
        }
        let data = &record.data;
        let (waits, unhelped) = (words::restart_in_ms(data) > 0, words::unhelped(data) > 0);
        if is_judged {
            one.crossed.get_or_insert(Crossing::HANG);
            // While its restart waits it only runs, and is not well.
            one.well_from = (runs && !waits).then(|| now.clone());
        }
        let told_before = run_id(data).is_some() && service.hung_run == run_id(data);
        service.hung_run = run_id(data);
        service.unhelped = unhelped;
        service.planned = None;
        if !is_judged {
            return;
        }
        let text = words::of_hang(name, data, now.wall_ms);
        let gets_rarer = unhelped && waits && self.open.contains_key(&key);
        let is_loop = self.open.get(&key).map(|alert| alert.rule != Rule::Hung);
        if is_loop == Some(true) || (is_loop.is_some() && told_before) {
            if !told_before {
                self.one_more(step, &key, origin);
            }
            // A loop of hangs keeps its words, unless there is more to say.
            if is_loop == Some(false) || unhelped {
                self.reword(step, &key, text);
            }
            if gets_rarer {
                self.rarer(step, &key);
            }
            return;
        }
        let mut draft = Draft { cause: Some(Cause::Hung), ..Draft::of(Rule::Hung, Some(name), now.wall_ms, text) };
        copy_run_id(data, &mut draft.memory);
        draft.memory.insert("window".into(), Rule::Hung.as_str().into());
        if unhelped && waits {
            // What fires says so itself.
            draft.memory.insert(super::life::RARER.into(), true.into());
        }
        self.raise(step, origin, draft);
        if gets_rarer {
            self.rarer(step, &key);
        }
    }

    /// What is not well and is not the whole: a part of it, or a start that takes long.
    pub(super) fn degraded(&mut self, step: &mut Step, name: &UnitName, heard: &Heard<'_>) {
        let data = &heard.record.data;
        let part = words::quoted(data, "part");
        let (rule, text, over) = match &part {
            Some(_) => (Rule::PartFailing, words::of_part(name, data), "it is well again"),
            None if data.get("start") == Some(&Value::Bool(true)) => {
                (Rule::StartTimeout, words::of_slow_start(name, data), "it is up")
            }
            None => return,
        };
        if is_cleared(heard.record) {
            return self.resolve(step, &Key::new(rule, Some(name), None).of_part(part.as_deref()), over);
        }
        if !self.is_judged(name) {
            return;
        }
        let mut draft = Draft::of(rule, Some(name), step.now.wall_ms, text);
        copy_run_id(data, &mut draft.memory);
        draft.memory.extend(part.map(|part| ("part".to_owned(), part.into())));
        self.raise(step, &heard.origin, draft);
    }

    /// Memory: it grows, or there is too much of it.
    pub(super) fn memory(&mut self, step: &mut Step, rule: Rule, name: &UnitName, heard: &Heard<'_>) {
        let data = &heard.record.data;
        let part = words::of_what(data).map(str::to_owned);
        let key = Key::new(rule, Some(name), None).of_part(part.as_deref());
        if is_cleared(heard.record) {
            return self.cleared(step, &key);
        }
        if !self.is_judged(name) {
            return;
        }
        let is_growth = rule == Rule::MemoryGrowth;
        if words::is_restart(data) {
            // The same trouble, and its end; of growth the slope says more.
            if !is_growth {
                self.reword(step, &key, words::of_limit(name, data, step.now.wall_ms));
            }
            return;
        }
        let text = if is_growth { words::of_growth(name, data) } else { words::of_limit(name, data, step.now.wall_ms) };
        let severity = words::severity_of(rule, data);
        let mut draft = Draft { severity, ..Draft::of(rule, Some(name), step.now.wall_ms, text) };
        copy_run_id(data, &mut draft.memory);
        draft.memory.extend(part.map(|part| ("part".to_owned(), part.into())));
        // Whoever looks it up reads what holds now: how often it did not help stands in the words.
        let is_back = self.open.get_mut(&key).is_some_and(|alert| alert.memory.remove(CLEARED).is_some());
        let is_other = self.open.get(&key).is_some_and(|alert| alert.title != draft.text.title);
        self.raise(step, &heard.origin, draft);
        if is_back || is_other {
            self.keep(step, &key, true);
        }
    }

    /// It is said to be over. What wavers would be another alert each time: it is over once it stays so.
    fn cleared(&mut self, step: &mut Step, key: &Key) {
        let since = note_of(&step.now);
        let Some(alert) = self.open.get_mut(key) else { return };
        if !alert.memory.contains_key(CLEARED) {
            alert.memory.insert(CLEARED.into(), since);
            self.keep(step, key, true);
        }
    }
}
