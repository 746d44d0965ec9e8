//! The rules: what a record means.

use std::time::Duration;

use serde_json::{Map, Value};

use super::identity::{Family, Key, Origin};
use super::lapse::DOUBTED;
use super::life::{Draft, Step, has_counted, mark};
use super::service::{Pending, Planned, Service, Standing};
use super::windows::cause_of;
use super::words::{self, Gap, LoopFacts};
use super::{AlertMachine, GAPS};
use crate::model::{AlertChange, Cause, CrashKind, EventType, ExitClass, NoticeKind, Record, Rule, Severity, UnitName};

/// What is over when a service is not wanted any more; the rest is about other things than its run.
const OF_RUNS: [Rule; 7] = [
    Rule::Held,
    Rule::MemoryGrowth,
    Rule::MemoryLimit,
    Rule::ProbeMisconfigured,
    Rule::PartFailing,
    Rule::StartTimeout,
    Rule::RestartFailed,
];

/// One record, and where it is from.
pub(super) struct Heard<'a> {
    pub(super) origin: Origin,
    pub(super) record: &'a Record,
}

impl AlertMachine {
    pub(super) fn hear(&mut self, step: &mut Step, runner: &str, record: &Record) {
        // What had come to its end before this happened did so, whoever was there to see it.
        self.lapse(step, record.service.as_ref());
        let heard = Heard { origin: Origin::new(runner, record), record };
        let data = &record.data;
        let run_id = run_id(data);
        let name = record.service.as_ref();
        match (record.event, name) {
            (EventType::ServiceStart, Some(name)) => {
                let now = step.now.clone();
                let text = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
                let service = self.service(name);
                service.started(run_id, &now, text("program").zip(text("program_id")));
                if service.planned == Some(Planned::Ended) {
                    service.planned = Some(Planned::Begun { since: now, origin: heard.origin });
                }
            }
            (EventType::ServiceReady, Some(name)) => {
                self.service(name).planned = None;
                for rule in [Rule::RestartFailed, Rule::StartTimeout] {
                    self.resolve(step, &Key::new(rule, Some(name), None), "it is up");
                }
            }
            (EventType::RunnerAdopted, Some(name)) => {
                let now = step.now.clone();
                let service = self.service(name);
                if service.runs_since(&now).is_none() {
                    service.started(run_id, &now, None);
                }
            }
            (EventType::ServiceRestart, Some(name)) => self.service(name).ordered = true,
            (event, Some(name)) if event.is_run_end() => self.ended(step, name, &heard),
            (EventType::ServiceHung, Some(name)) => self.hung(step, name, &heard),
            (EventType::ServiceHeld, Some(name)) => self.held(step, name, &heard),
            (EventType::MemoryGrowth, Some(name)) => self.memory(step, Rule::MemoryGrowth, name, &heard),
            (EventType::MemoryLimit, Some(name)) => self.memory(step, Rule::MemoryLimit, name, &heard),
            (EventType::ProbeMisconfigured, Some(_)) => self.plain(step, Rule::ProbeMisconfigured, &heard),
            (EventType::ProbeDegraded, Some(name)) => self.degraded(step, name, &heard),
            (EventType::TaskMissed, Some(name)) => self.task_missed(step, name, &heard),
            (EventType::TaskFinished, Some(name)) => self.task_finished(step, name, &heard),
            (EventType::ExposureFailed, Some(_)) => self.plain(step, Rule::ExposureDown, &heard),
            (EventType::ExposureUndone, Some(_)) if data.get("result").and_then(Value::as_str) == Some("failed") => {
                self.plain(step, Rule::ExposureDown, &heard);
            }
            (EventType::ExposureUp | EventType::ExposureUndone, Some(name)) => {
                let outcome =
                    if record.event == EventType::ExposureUp { "it holds" } else { "it is not wanted any more" };
                self.resolve(step, &Key::new(Rule::ExposureDown, Some(name), None), outcome);
            }
            (EventType::DriftFound, name) => self.drifted(step, name, &heard),
            (EventType::SupervisorStart, _) => self.came_back(step, &heard),
            _ => {}
        }
    }

    pub(super) fn service(&mut self, name: &UnitName) -> &mut Service {
        self.services.entry(Some(name.clone())).or_default()
    }

    /// Whether anybody wants to hear of it: what is declared no more only ends.
    pub(super) fn is_judged(&self, name: &UnitName) -> bool {
        self.declared.units.contains_key(name)
    }

    /// A rule that is about what one record says.
    fn plain(&mut self, step: &mut Step, rule: Rule, heard: &Heard<'_>) {
        let Heard { origin, record } = heard;
        let name = record.service.as_ref();
        if is_cleared(record) {
            return self.resolve(step, &Key::new(rule, name, None), "it is over");
        }
        if !name.is_some_and(|name| self.is_judged(name)) {
            return;
        }
        let text = words::of_record(rule, name, &record.data);
        let mut draft = Draft::of(rule, name, step.now.wall_ms, text);
        copy_run_id(&record.data, &mut draft.memory);
        self.raise(step, origin, draft);
    }

    fn ended(&mut self, step: &mut Step, name: &UnitName, heard: &Heard<'_>) {
        let data = &heard.record.data;
        let now = step.now.clone();
        let class = words::end_of(data, now.wall_ms).map_or(ExitClass::Lost, |end| end.class);
        let run_id = run_id(data);
        let min_uptime = self.declared.units.get(name).map_or(Duration::ZERO, |unit| unit.min_uptime);
        let uptime = data.get("uptime_ms").and_then(Value::as_u64).map(Duration::from_millis);
        let service = self.service(name);
        service.standing = Standing::Ended { class, at: now.clone() };
        if matches!(class, ExitClass::Requested | ExitClass::Refused | ExitClass::Lost) {
            service.loops.values_mut().for_each(|one| one.well_from = None);
        }
        match class {
            ExitClass::Requested => {
                let ordered = std::mem::take(&mut service.ordered);
                match data.get("cause").and_then(Value::as_str) {
                    Some("reload" | "upgrade") => service.planned = Some(Planned::Ended),
                    Some("operator") if ordered => service.planned = Some(Planned::Ended),
                    Some("operator") => self.stopped(step, name),
                    _ => service.planned = None,
                }
            }
            ExitClass::Refused => {
                service.refused_run = run_id;
                service.planned = None;
                let key = Key::new(Rule::Held, Some(name), None);
                self.one_more(step, &key, &heard.origin);
            }
            _ => {}
        }
        if let Some(cause) = cause_of(class, uptime.is_some_and(|uptime| uptime < min_uptime))
            && self.is_judged(name)
        {
            self.count(step, name, cause, min_uptime, heard);
        }
    }

    /// What an open alert is about has happened again, in a way that adds nothing but the number.
    pub(super) fn one_more(&mut self, step: &mut Step, key: &Key, origin: &Origin) {
        let at_ms = step.now.wall_ms;
        if let Some(alert) = self.open.get_mut(key)
            && !(step.is_past && has_counted(alert, origin, at_ms))
        {
            alert.count += 1;
            alert.last_ms = at_ms;
            mark(&mut alert.memory, origin);
            self.keep(step, key, false);
        }
    }

    /// One more end that counts.
    fn count(&mut self, step: &mut Step, name: &UnitName, cause: Cause, min_uptime: Duration, heard: &Heard<'_>) {
        let Heard { origin, record } = heard;
        let data = &record.data;
        let now = step.now.clone();
        let spec = self.declared.spec.clone();
        let service = self.services.entry(Some(name.clone())).or_default();
        if service.was_stopped_since(&now) {
            return;
        }
        let one = service.loops.entry(cause).or_default();
        let counted = one.count(&now, &spec);
        if one.crossed.is_some() {
            service.planned = None;
        }
        let same_hang = cause == Cause::Hung && service.hung_run.is_some() && service.hung_run == run_id(data);
        // What is said of restarts that do not help says more than that it hung again.
        let is_unhelped = cause == Cause::Hung && service.unhelped;
        let mut kind: Option<CrashKind> = None;
        let mut fills = false;
        if cause == Cause::Crash
            && let Some(end) = words::end_of(data, now.wall_ms)
        {
            let text = |key: &str| data.get(key).and_then(Value::as_str);
            let told = super::kinds::kind(&end, text("out_of_memory"), text("stderr_tail").unwrap_or_default());
            let (seen, full) = service.saw_kind(name, &told, &now, spec.crash_loop, step.is_past);
            fills = full;
            if !step.is_past
                && (seen.known.count.is_power_of_two() || step.wall_ms.saturating_sub(seen.kept_ms) >= 60_000)
            {
                seen.kept_ms = step.wall_ms;
                step.more.push(AlertChange::KeepKind(seen.known.clone()));
            }
            kind = Some(seen.known.clone());
        }
        let key = Key::new(Rule::CrashLoop, Some(name), Some(cause));
        let facts = |count, since_ms| {
            let kind = kind.as_ref();
            words::of_loop(&LoopFacts { name, cause, count, since_ms, last_ms: now.wall_ms, data, kind, min_uptime })
        };
        let mut memory = Map::new();
        copy_run_id(data, &mut memory);
        mark(&mut memory, origin);
        if let Some(crossing) = counted.crossed {
            memory.insert("window".into(), crossing.window.as_str().into());
            memory.insert("within_ms".into(), u64::try_from(crossing.within.as_millis()).unwrap_or(u64::MAX).into());
        }
        let Some(alert) = self.open.get_mut(&key) else {
            let Some(crossing) = counted.crossed.filter(|_| !step.is_past) else { return };
            memory.insert("from_ms".into(), now.wall_ms.into());
            let draft = Draft {
                rule: crossing.rule(cause),
                service: Some(name.clone()),
                cause: Some(cause),
                severity: crossing.severity(cause),
                since_ms: counted.since_ms,
                last_ms: now.wall_ms,
                count: counted.count,
                text: facts(counted.count, counted.since_ms),
                memory,
            };
            self.fire(step, &origin.seed(), draft);
            if let Some(alert) = self.open.get_mut(&key) {
                alert.fingerprint = kind.map(|kind| kind.fingerprint);
            }
            return;
        };
        if step.is_past && has_counted(alert, origin, now.wall_ms) {
            return;
        }
        let mut is_worse = None;
        alert.count += u64::from(!same_hang);
        alert.last_ms = now.wall_ms;
        alert.memory.extend(memory);
        if let Some(crossing) = counted.crossed {
            alert.rule = crossing.rule(cause);
            let before = alert.severity;
            alert.severity = before.max(crossing.severity(cause));
            is_worse = (alert.severity > before && alert.told).then_some(before);
            // What a storm holds back for others may be more than a loop did.
            step.moved = true;
        }
        // Of a single hang the verdict says more than the end.
        if alert.rule != Rule::Hung && !is_unhelped {
            facts(alert.count, alert.since_ms).put_into(alert);
        }
        if let Some(before) = is_worse.filter(|_| !step.is_past && alert.quiet.is_none()) {
            step.tell_worse(before, alert);
        }
        let from_ms = alert.memory.get("from_ms").and_then(Value::as_i64).unwrap_or(alert.fired_ms);
        let is_new = fills && kind.as_ref().is_some_and(|kind| kind.first_ms > from_ms);
        self.keep(step, &key, counted.crossed.is_some());
        if let Some(kind) = kind.filter(|_| is_new && !step.is_past) {
            self.change(step, &key, &kind.fingerprint);
        }
    }

    fn held(&mut self, step: &mut Step, name: &UnitName, heard: &Heard<'_>) {
        let key = Key::new(Rule::Held, Some(name), None);
        let service = self.service(name);
        service.standing = Standing::Held;
        // One message: this says more than that the restart was not well.
        service.planned = None;
        service.loops.values_mut().for_each(|one| one.well_from = None);
        let same = service.refused_run.take().is_some_and(|run| Some(run) == run_id(&heard.record.data));
        // Its end has been counted; the words may be others.
        if same && self.open.contains_key(&key) {
            let text = words::of_record(Rule::Held, Some(name), &heard.record.data);
            return self.reword(step, &key, text);
        }
        self.plain(step, Rule::Held, heard);
    }

    /// The operator wants it down.
    pub(super) fn stopped(&mut self, step: &mut Step, name: &UnitName) {
        self.service(name).stopped();
        self.resolve_runs(step, name, "it was stopped by the operator");
    }

    /// All alerts about a service's runs are over.
    fn resolve_runs(&mut self, step: &mut Step, name: &UnitName, outcome: &str) {
        let about = |key: &&Key| {
            let of_runs = key.cause.is_some() || OF_RUNS.iter().any(|rule| key.family == Family::of(*rule));
            key.service.as_ref() == Some(name) && of_runs
        };
        for key in self.open.keys().filter(about).cloned().collect::<Vec<_>>() {
            self.resolve(step, &key, outcome);
        }
    }

    fn drifted(&mut self, step: &mut Step, name: Option<&UnitName>, heard: &Heard<'_>) {
        let Heard { origin, record } = heard;
        let key = Key::new(Rule::Drift, name, None);
        let service = self.services.entry(name.cloned()).or_default();
        if is_cleared(record) {
            service.drift = None;
            return self.resolve(step, &key, "it is as declared again");
        }
        let text = |key: &str| record.data.get(key).and_then(Value::as_str);
        // What mends itself is nobody's business.
        if !matches!(text("repair"), Some("by_hand" | "upgrade")) && text("failed").is_none() {
            return;
        }
        if let Some(alert) = self.open.get_mut(&key) {
            let doubted = !step.is_past && alert.memory.remove(DOUBTED).is_some();
            self.keep(step, &key, doubted);
            let text = words::of_record(Rule::Drift, name, &record.data);
            return self.raise(step, origin, Draft::of(Rule::Drift, name, step.now.wall_ms, text));
        }
        let fresh = || Pending { since: step.now.clone(), origin: origin.clone(), data: Map::new() };
        service.drift.get_or_insert_with(fresh).data = record.data.clone();
    }

    /// The supervisor started, perhaps after an end that it could not put on record.
    fn came_back(&mut self, step: &mut Step, heard: &Heard<'_>) {
        self.doubt_drifts(step);
        let Some(data) = heard.record.data.get("gap").and_then(Value::as_object) else { return };
        let Some(gap) = Gap::read(data) else { return };
        self.gaps.push_of(step.now.clone(), GAPS.count as usize);
        if step.is_past {
            return;
        }
        let many = self.gaps.fills(GAPS, step.now.clone());
        let mut text = words::of_gap(data, &gap);
        if many {
            text.facts.push(format!("It was so {} times within a few minutes.", GAPS.count));
        }
        let severity = if many { gap.severity().max(Severity::Warning) } else { gap.severity() };
        let draft =
            Draft { severity, since_ms: gap.last_alive_ms, ..Draft::of(Rule::UncleanEnd, None, gap.up_ms, text) };
        self.note(step, NoticeKind::Fired, &heard.origin.seed(), draft);
    }
}

pub(super) fn is_cleared(record: &Record) -> bool {
    record.data.get("cleared") == Some(&Value::Bool(true))
}

pub(super) fn run_id(data: &Map<String, Value>) -> Option<u64> {
    data.get("run_id").and_then(Value::as_u64)
}

pub(super) fn copy_run_id(data: &Map<String, Value>, memory: &mut Map<String, Value>) {
    if let Some(id) = data.get("run_id") {
        memory.insert("run_id".into(), id.clone());
    }
}
