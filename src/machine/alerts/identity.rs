//! What makes an alert the same alert for whoever works it out anew: ids and keys.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::model::{Alert, Cause, Record, Rule, UnitName};

/// What an alert is filed under while it is open: there is one at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) family: Family,
    pub(super) service: Option<UnitName>,
    pub(super) cause: Option<Cause>,
    /// Which part of the service, where it is about one.
    pub(super) part: Option<String>,
}

/// Rules that turn into each other while an alert is open are one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// Ends of runs: loops of all kinds, and the hang that ends one.
    Ends,
    /// Any other rule alone.
    Only(Rule),
}

impl Family {
    pub(super) fn of(rule: Rule) -> Self {
        match rule {
            Rule::CrashLoop | Rule::Storm | Rule::SlowLoop | Rule::StartTimeout | Rule::Hung => Self::Ends,
            rule => Self::Only(rule),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ends => "ends",
            Self::Only(rule) => rule.as_str(),
        }
    }
}

impl Key {
    pub(super) fn new(rule: Rule, service: Option<&UnitName>, cause: Option<Cause>) -> Self {
        Self { family: Family::of(rule), service: service.cloned(), cause, part: None }
    }

    /// The same, about one part of it only.
    pub(super) fn of_part(self, part: Option<&str>) -> Self {
        Self { part: part.map(str::to_owned), ..self }
    }

    /// What an open alert is filed under.
    pub(super) fn of(alert: &Alert) -> Self {
        Self::new(alert.rule, alert.service.as_ref(), alert.cause).of_part(part(&alert.memory))
    }

    /// The id of the alert that `seed` fires under this key.
    pub(super) fn id(&self, seed: &str) -> String {
        let service = self.service.as_ref().map_or("", UnitName::as_str);
        let mut text = format!("{}\n{service}\n{:?}\n{seed}", self.family.name(), self.cause);
        // Nothing is added where there is none: ids of alerts that are open live through an upgrade.
        if let Some(part) = &self.part {
            text.push_str(&format!("\n{part}"));
        }
        digest(&text, 12)
    }
}

/// The part that an alert with this memory is about.
pub(super) fn part(memory: &Map<String, Value>) -> Option<&str> {
    memory.get("part")?.as_str()
}

/// Which record it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) runner: String,
    pub(super) boot_id: String,
    pub(super) seq: u64,
}

impl Origin {
    pub(super) fn new(runner: &str, record: &Record) -> Self {
        Self { runner: runner.into(), boot_id: record.boot_id.clone(), seq: record.seq }
    }

    pub(super) fn seed(&self) -> String {
        format!("{}\n{}\n{}", self.runner, self.boot_id, self.seq)
    }
}

/// The first `digits` hex digits of the SHA-256 of `text`.
pub(super) fn digest(text: &str, digits: usize) -> String {
    let mut hex: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_change_between_versions() {
        let gateway = UnitName::new("gateway").unwrap();
        let key = Key::new(Rule::CrashLoop, Some(&gateway), Some(Cause::Crash));
        assert_eq!(key, Key::new(Rule::Storm, Some(&gateway), Some(Cause::Crash)));
        assert_eq!(key.id("r\nb\n7"), digest("ends\ngateway\nSome(Crash)\nr\nb\n7", 12));
        assert_eq!(digest("abc", 12), "ba7816bf8f01");
        assert_ne!(key.id("r\nb\n7"), key.id("r\nb\n8"));
        let part = |part| Key::new(Rule::PartFailing, Some(&gateway), None).of_part(part);
        assert_eq!(part(None).id("r\nb\n7"), digest("part-failing\ngateway\nNone\nr\nb\n7", 12));
        assert_ne!(part(Some("telegram")).id("r\nb\n7"), part(Some("slack")).id("r\nb\n7"));
    }
}
