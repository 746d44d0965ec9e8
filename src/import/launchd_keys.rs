//! A launchd agent's keys: how Apple spells them, what is near to one that nobody knows, and values of the wanted type.

use std::collections::BTreeMap;

use plist::{Dictionary, Value};

use super::unit::Unit;

/// All keys of launchd.plist(5), those of older versions too.
const KEYS: [&str; 58] = [
    "Label",
    "Disabled",
    "UserName",
    "GroupName",
    "inetdCompatibility",
    "LimitLoadToHosts",
    "LimitLoadFromHosts",
    "LimitLoadToSessionType",
    "LimitLoadToHardware",
    "LimitLoadFromHardware",
    "Program",
    "BundleProgram",
    "ProgramArguments",
    "EnableGlobbing",
    "EnableTransactions",
    "EnablePressuredExit",
    "OnDemand",
    "ServiceIPC",
    "KeepAlive",
    "RunAtLoad",
    "RootDirectory",
    "WorkingDirectory",
    "EnvironmentVariables",
    "Umask",
    "TimeOut",
    "ExitTimeOut",
    "ThrottleInterval",
    "InitGroups",
    "WatchPaths",
    "QueueDirectories",
    "StartOnMount",
    "StartInterval",
    "StartCalendarInterval",
    "StandardInPath",
    "StandardOutPath",
    "StandardErrorPath",
    "Debug",
    "WaitForDebugger",
    "SoftResourceLimits",
    "HardResourceLimits",
    "Nice",
    "ProcessType",
    "POSIXSpawnType",
    "AbandonProcessGroup",
    "LowPriorityIO",
    "LowPriorityBackgroundIO",
    "MaterializeDatalessFiles",
    "LaunchOnlyOnce",
    "MachServices",
    "Sockets",
    "LaunchEvents",
    "LaunchConstraint",
    "HopefullyExitsLast",
    "HopefullyExitsFirst",
    "SessionCreate",
    "LegacyTimers",
    "AssociatedBundleIdentifiers",
    "SandboxProfile",
];

/// An agent's keys under the names that Apple gives them.
pub(super) struct Agent<'a> {
    values: BTreeMap<&'static str, &'a Value>,
    /// Keys that nobody has asked for yet.
    left: Vec<&'static str>,
}

impl<'a> Agent<'a> {
    /// Says of each key that is not spelt as Apple spells it what may have come of that.
    pub(super) fn new(dict: &'a Dictionary, unit: &mut Unit) -> Self {
        let mut values = BTreeMap::new();
        for (key, value) in dict {
            if let Some(known) = KEYS.iter().find(|known| *known == key) {
                values.insert(*known, value);
            }
        }
        for (key, value) in dict.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
            match KEYS.iter().find(|known| known.eq_ignore_ascii_case(key)) {
                Some(known) if values.contains_key(known) => {
                    unit.warn("", format!("The key {key} is left out: {known}, the right spelling, is there too."));
                }
                Some(known) => {
                    let text = format!("The key {key} is misspelt, it is {known}: launchd may have ignored it. It counts here.");
                    unit.warn("", text);
                    values.insert(known, value);
                }
                None => match nearest(key, &KEYS) {
                    Some(near) => unit.warn(
                        "",
                        format!("The key {key} is unknown to launchd, which ignores it, and left out here: did you mean {near}?"),
                    ),
                    None => unit.warn("", format!("The key {key} is unknown to launchd, and left out.")),
                },
            }
        }
        let left = values.keys().copied().collect();
        Self { values, left }
    }

    /// The value of `key`, as it is.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        debug_assert!(KEYS.contains(&key), "{key}");
        self.left.retain(|left| *left != key);
        self.values.get(key).copied()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// What nobody has asked for.
    pub(super) fn left(&self) -> &[&'static str] {
        &self.left
    }

    fn typed<T>(
        &mut self,
        unit: &mut Unit,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let read = read(value);
        if read.is_none() {
            unit.warn("", format!("{key} is {}, not {wanted}: launchd ignores it, and it is left out.", kind(value)));
        }
        read
    }

    pub(super) fn text(&mut self, unit: &mut Unit, key: &'static str) -> Option<&'a str> {
        self.typed(unit, key, "a text", Value::as_string)
    }

    pub(super) fn truth(&mut self, unit: &mut Unit, key: &'static str) -> Option<bool> {
        self.typed(unit, key, "true or false", Value::as_boolean)
    }

    pub(super) fn number(&mut self, unit: &mut Unit, key: &'static str) -> Option<i64> {
        self.typed(unit, key, "a whole number", number)
    }

    pub(super) fn dict(&mut self, unit: &mut Unit, key: &'static str) -> Option<&'a Dictionary> {
        self.typed(unit, key, "a dict", Value::as_dictionary)
    }

    pub(super) fn texts(&mut self, unit: &mut Unit, key: &'static str) -> Option<Vec<&'a str>> {
        self.typed(unit, key, "an array of texts", |value| value.as_array()?.iter().map(Value::as_string).collect())
    }
}

/// A whole number; what does not fit is as large as one can be.
pub(super) fn number(value: &Value) -> Option<i64> {
    value.as_signed_integer().or_else(|| value.as_unsigned_integer().map(|_| i64::MAX))
}

/// What a value is, for people.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "an array",
        Value::Dictionary(_) => "a dict",
        Value::Boolean(_) => "true or false",
        Value::Data(_) => "data",
        Value::Date(_) => "a date",
        Value::Real(_) | Value::Integer(_) => "a number",
        Value::String(_) => "a text",
        _ => "something else",
    }
}

/// The word most like `key`, if one is.
pub(super) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |known: &&str| strsim::jaro_winkler(&key.to_lowercase(), &known.to_lowercase());
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.87).then_some(best)
}
