//! The life of an alert: fired, told, reminded of, kept quiet, over.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::AlertMachine;
use super::identity::{Key, Origin, part};
use super::words::{Text, severity};
use crate::model::{Alert, AlertChange, AlertState, Cause, EventType, Notice, NoticeKind, Rule, Severity, UnitName};
use crate::policy::Stamp;

/// The member of an alert's memory that says that its restarts were told to get rarer.
pub(super) const RARER: &str = "rarer";

/// Between two times that an open alert is put on record for nothing but another of the same.
const KEEP_EVERY_MS: i64 = 60_000;

/// What comes of one step, on its way.
#[derive(Debug)]
pub(super) struct Step {
    /// When what is heard happened.
    pub(super) now: Stamp,
    /// When it is heard, milliseconds since 1970 UTC.
    pub(super) wall_ms: i64,
    /// It was taken in by an earlier life, which has done all that follows.
    pub(super) is_past: bool,
    /// Whether who is told may have changed.
    pub(super) moved: bool,
    /// Open alerts that are to be put on record.
    pub(super) kept: BTreeSet<Key>,
    closed: Vec<Alert>,
    tells: Vec<Notice>,
    pub(super) more: Vec<AlertChange>,
}

impl Step {
    pub(super) fn new(now: Stamp, wall_ms: i64, is_past: bool) -> Self {
        let (kept, closed, tells, more) = (BTreeSet::new(), Vec::new(), Vec::new(), Vec::new());
        Self { now, wall_ms, is_past, moved: false, kept, closed, tells, more }
    }

    fn tell(&mut self, kind: NoticeKind, what: &str, alert: &Alert) {
        let key = format!("{}.{what}", alert.id);
        self.tells.push(Notice { key, kind, at_ms: self.wall_ms, alert: alert.clone(), beyond: None });
    }

    /// It is worse than it was told to be: those who did not want to hear of less hear of it now.
    pub(super) fn tell_worse(&mut self, before: Severity, alert: &Alert) {
        let key = format!("{}.{}", alert.id, alert.severity);
        let (kind, at_ms) = (NoticeKind::Fired, self.wall_ms);
        self.tells.push(Notice { key, kind, at_ms, alert: alert.clone(), beyond: Some(before) });
    }

    fn row(&mut self, event: EventType, alert: &Alert) {
        let run_id = alert.memory.get("run_id").cloned().unwrap_or(Value::Null);
        let data = json!({
            "run_id": run_id, "alert": alert.id, "rule": alert.rule, "severity": alert.severity, "title": alert.title,
            "count": alert.count, "since_ms": alert.since_ms, "cause": alert.cause,
        });
        let Value::Object(mut data) = data else { return };
        if !alert.outcome.is_empty() {
            data.insert("outcome".into(), alert.outcome.clone().into());
        }
        self.more.push(AlertChange::Record { event, service: alert.service.clone(), data });
    }

    /// Everything, alerts before what is told of them.
    pub(super) fn into_changes(self, open: &BTreeMap<Key, Alert>) -> Vec<AlertChange> {
        let kept = self.kept.iter().filter_map(|key| open.get(key)).cloned();
        let alerts = self.closed.into_iter().chain(kept).map(|alert| AlertChange::Keep(Box::new(alert)));
        let tells = self.tells.into_iter().map(|notice| AlertChange::Tell(Box::new(notice)));
        alerts.chain(tells).chain(self.more).collect()
    }
}

/// What fires.
pub(super) struct Draft {
    pub(super) rule: Rule,
    pub(super) service: Option<UnitName>,
    pub(super) cause: Option<Cause>,
    pub(super) severity: Severity,
    pub(super) since_ms: i64,
    pub(super) last_ms: i64,
    pub(super) count: u64,
    pub(super) text: Text,
    pub(super) memory: Map<String, Value>,
}

impl Draft {
    /// Of a rule that is about one thing that happened.
    pub(super) fn of(rule: Rule, service: Option<&UnitName>, at_ms: i64, text: Text) -> Self {
        Self {
            rule,
            service: service.cloned(),
            cause: None,
            severity: severity(rule),
            since_ms: at_ms,
            last_ms: at_ms,
            count: 1,
            text,
            memory: Map::new(),
        }
    }

    pub(super) fn key(&self) -> Key {
        Key::new(self.rule, self.service.as_ref(), self.cause).of_part(part(&self.memory))
    }

    fn into_alert(self, id: String, fired_ms: i64) -> Alert {
        let Text { title, facts, tail, doing, advice } = self.text;
        Alert {
            id,
            rule: self.rule,
            service: self.service,
            cause: self.cause,
            severity: self.severity,
            state: AlertState::Open,
            since_ms: self.since_ms,
            fired_ms,
            last_ms: self.last_ms,
            count: self.count,
            title,
            facts,
            tail,
            doing,
            advice,
            fingerprint: None,
            told: false,
            quiet: None,
            reminders: 0,
            remind_ms: None,
            acknowledged_ms: None,
            resolved_ms: None,
            outcome: String::new(),
            memory: self.memory,
        }
    }
}

/// How far an alert has counted.
pub(super) fn mark(memory: &mut Map<String, Value>, origin: &Origin) {
    memory.insert("runner".into(), origin.runner.clone().into());
    memory.insert("boot_id".into(), origin.boot_id.clone().into());
    memory.insert("seq".into(), origin.seq.into());
}

/// Whether the alert as it was put on record has this in its count.
pub(super) fn has_counted(alert: &Alert, origin: &Origin, at_ms: i64) -> bool {
    let same = |key: &str, value: &str| alert.memory.get(key).and_then(Value::as_str) == Some(value);
    match alert.memory.get("seq").and_then(Value::as_u64) {
        Some(seq) if same("runner", &origin.runner) && same("boot_id", &origin.boot_id) => origin.seq <= seq,
        _ => at_ms <= alert.last_ms,
    }
}

impl AlertMachine {
    /// Opens an alert. Nobody is told before the end of the step.
    pub(super) fn fire(&mut self, step: &mut Step, seed: &str, draft: Draft) {
        let key = draft.key();
        let alert = draft.into_alert(key.id(seed), step.wall_ms);
        step.row(EventType::AlertFired, &alert);
        step.moved = true;
        self.open.insert(key.clone(), alert);
        self.keep(step, &key, true);
    }

    /// Opens an alert, or counts one more for the one that is open.
    pub(super) fn raise(&mut self, step: &mut Step, origin: &Origin, mut draft: Draft) {
        let key = draft.key();
        mark(&mut draft.memory, origin);
        let Some(alert) = self.open.get_mut(&key) else {
            if !step.is_past {
                self.fire(step, &origin.seed(), draft);
            }
            return;
        };
        if step.is_past && has_counted(alert, origin, draft.last_ms) {
            return;
        }
        alert.count += 1;
        alert.last_ms = draft.last_ms;
        draft.text.put_into(alert);
        alert.memory.extend(draft.memory);
        let is_worse = draft.severity > alert.severity;
        alert.severity = alert.severity.max(draft.severity);
        if is_worse && alert.told && alert.quiet.is_none() && !step.is_past {
            // Who has heard that there is time hears that there is none.
            let severity = alert.severity;
            step.tell(NoticeKind::Changed, severity.as_str(), alert);
        }
        self.keep(step, &key, is_worse);
    }

    /// The same, in other words.
    pub(super) fn reword(&mut self, step: &mut Step, key: &Key, text: Text) {
        if let Some(alert) = self.open.get_mut(key).filter(|_| !step.is_past) {
            text.put_into(alert);
            self.keep(step, key, true);
        }
    }

    /// Something that is over as soon as it is told.
    pub(super) fn note(&mut self, step: &mut Step, kind: NoticeKind, seed: &str, draft: Draft) {
        let key = draft.key();
        let mut alert = draft.into_alert(key.id(seed), step.wall_ms);
        alert.state = AlertState::Resolved;
        alert.resolved_ms = Some(step.wall_ms);
        // Who tries a sink wants to see it.
        alert.quiet = if alert.rule == Rule::Test { None } else { self.quiet(&alert, step.wall_ms) };
        alert.told = alert.quiet.is_none();
        if kind != NoticeKind::Note {
            step.row(EventType::AlertFired, &alert);
            step.row(EventType::AlertResolved, &alert);
        }
        if alert.told {
            step.tell(kind, "0", &alert);
        }
        alert.memory.clear();
        step.closed.push(alert);
    }

    /// Has an open alert put on record: at once, or if it is worth it. Ten thousand crashes are not worth ten thousand rows.
    pub(super) fn keep(&mut self, step: &mut Step, key: &Key, at_once: bool) {
        let Some(alert) = self.open.get(key).filter(|_| !step.is_past) else { return };
        let kept_ms = self.kept_ms.get(key).copied().unwrap_or(i64::MIN);
        let is_due = step.wall_ms.saturating_sub(kept_ms) >= KEEP_EVERY_MS;
        if at_once || is_due || alert.count.is_power_of_two() {
            self.kept_ms.insert(key.clone(), step.wall_ms);
            step.kept.insert(key.clone());
        }
    }

    /// It is over.
    pub(super) fn resolve(&mut self, step: &mut Step, key: &Key, outcome: &str) {
        if step.is_past {
            return;
        }
        let Some(mut alert) = self.open.remove(key) else { return };
        self.kept_ms.remove(key);
        alert.state = AlertState::Resolved;
        alert.resolved_ms = Some(step.wall_ms);
        alert.outcome = outcome.into();
        alert.remind_ms = None;
        step.row(EventType::AlertResolved, &alert);
        alert.memory.clear();
        // Nobody is told of the end of what nobody was told of; and a silence is a person's word, whoever's trouble it is.
        if alert.told && self.silenced(&alert, step.wall_ms).is_none() {
            step.tell(NoticeKind::Resolved, "ok", &alert);
        }
        step.closed.push(alert);
        step.moved = true;
    }

    /// The same crash loop, another crash: told once a kind, and not without end.
    pub(super) fn change(&mut self, step: &mut Step, key: &Key, fingerprint: &str) {
        const MOST: usize = 3;
        let Some(alert) = self.open.get_mut(key) else { return };
        let mut told = alert.memory.get("kinds").and_then(Value::as_array).cloned().unwrap_or_default();
        let known = alert.fingerprint.as_deref() == Some(fingerprint) || told.iter().any(|kind| kind == fingerprint);
        if known || told.len() >= MOST || !alert.told || alert.quiet.is_some() {
            return;
        }
        told.push(fingerprint.into());
        let number = told.len();
        alert.fingerprint = Some(fingerprint.into());
        alert.memory.insert("kinds".into(), told.into());
        step.tell(NoticeKind::Changed, &format!("c{number}"), alert);
        self.keep(step, key, true);
    }

    /// Its restarts get rarer: told once.
    pub(super) fn rarer(&mut self, step: &mut Step, key: &Key) {
        let Some(alert) = self.open.get_mut(key) else { return };
        if alert.memory.contains_key(RARER) || !alert.told || alert.quiet.is_some() || step.is_past {
            return;
        }
        alert.memory.insert(RARER.into(), true.into());
        step.tell(NoticeKind::Changed, "rarer", alert);
        self.keep(step, key, true);
    }

    /// Who may be told is told.
    pub(super) fn settle_quiet(&mut self, step: &mut Step) {
        let keys: Vec<Key> = self.open.keys().cloned().collect();
        for key in keys {
            let Some(quiet) = self.open.get(&key).map(|alert| self.quiet(alert, step.wall_ms)) else { continue };
            let gap = self.declared.spec.reminders.first().copied();
            let Some(alert) = self.open.get_mut(&key) else { continue };
            let tells = quiet.is_none() && !alert.told && alert.state == AlertState::Open;
            if tells {
                alert.told = true;
                alert.remind_ms = gap.map(|gap| after(step.wall_ms, gap));
            }
            if tells || alert.quiet != quiet {
                alert.quiet = quiet;
                if tells {
                    step.tell(NoticeKind::Fired, "0", alert);
                }
                self.keep(step, &key, true);
            }
        }
    }

    /// Tells again of what is due. After a long sleep that is one reminder, not all that were missed.
    pub(super) fn remind(&mut self, step: &mut Step) {
        let gaps = self.declared.spec.reminders.clone();
        for key in self.open.keys().cloned().collect::<Vec<_>>() {
            let Some(alert) = self.open.get_mut(&key) else { continue };
            if alert.quiet.is_some() || alert.remind_ms.is_none_or(|due| due > step.wall_ms) {
                continue;
            }
            let next = gaps.get(alert.reminders as usize + 1).or(gaps.last());
            alert.remind_ms = next.map(|gap| after(step.wall_ms, *gap));
            if next.is_some() {
                alert.reminders += 1;
                step.tell(NoticeKind::Reminder, &format!("r{}", alert.reminders), alert);
            }
            self.keep(step, &key, true);
        }
    }

    pub(super) fn acknowledge(&mut self, step: &mut Step, id: &str) {
        let Some((key, alert)) = self.open.iter_mut().find(|(_, alert)| alert.id == id) else { return };
        if alert.state == AlertState::Open {
            alert.state = AlertState::Acknowledged;
            alert.acknowledged_ms = Some(step.wall_ms);
            alert.remind_ms = None;
            let key = key.clone();
            self.keep(step, &key, true);
        }
    }

    /// Why nobody is told of it now.
    fn quiet(&self, alert: &Alert, wall_ms: i64) -> Option<String> {
        self.silenced(alert, wall_ms).or_else(|| {
            let (name, rule) = self.inhibitor(alert.service.as_ref()?)?;
            Some(format!("{name} comes first, and is in trouble itself ({rule})"))
        })
    }

    fn silenced(&self, alert: &Alert, wall_ms: i64) -> Option<String> {
        let covers = |rule| self.silences.values().find(|s| s.covers(rule, alert.service.as_ref(), wall_ms));
        covers(alert.rule).map(|silence| format!("silence {}", silence.id))
    }

    /// The service this one needs, near or far, whose trouble explains its own.
    fn inhibitor(&self, name: &UnitName) -> Option<(&UnitName, Rule)> {
        let mut seen = BTreeSet::from([name]);
        let mut ahead = vec![name];
        while let Some(next) = ahead.pop() {
            for other in self.declared.units.get(next).iter().flat_map(|unit| &unit.after) {
                if !seen.insert(other) {
                    continue;
                }
                let explains = |rule| matches!(rule, Rule::Held | Rule::CrashLoop | Rule::Storm | Rule::Hung);
                let trouble = self.open.values().find(|a| a.service.as_ref() == Some(other) && explains(a.rule));
                if let Some(alert) = trouble {
                    return Some((other, alert.rule));
                }
                ahead.push(other);
            }
        }
        None
    }
}

/// So long after, milliseconds since 1970 UTC.
pub(super) fn after(wall_ms: i64, gap: std::time::Duration) -> i64 {
    // What is left of a millisecond is waited for, too.
    let ms = gap.as_nanos().div_ceil(1_000_000);
    wall_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}
