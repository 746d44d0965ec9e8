//! Names: the labels' common prefix, what is left of each, and one name for one unit.

use std::collections::{BTreeMap, BTreeSet};

use super::unit::{Unit, Value};
use crate::model::UnitName;

/// The supervisor's own, which no service may have.
const TAKEN: &str = "supervisor";

/// Gives every unit its name, and the launchd labels' prefix, if they have one that services.toml can say.
pub(super) fn settle(units: &mut [Unit]) -> Option<String> {
    let labels: Vec<&str> = units.iter().filter_map(|unit| unit.label.as_deref()).collect();
    let prefix = prefix(&labels);
    let mut taken = BTreeSet::from([TAKEN.to_owned()]);
    for unit in units {
        let rest = prefix.as_deref().and_then(|prefix| unit.wanted.strip_prefix(prefix)?.strip_prefix('.'));
        let wanted = match unit.label {
            Some(_) => rest.unwrap_or(&unit.wanted).to_owned(),
            None => unit.wanted.clone(),
        };
        let valid = valid(&wanted);
        let name = free(&valid, &taken);
        taken.insert(name.to_ascii_lowercase());
        if name != valid {
            let who = if valid.eq_ignore_ascii_case(TAKEN) { "the supervisor itself" } else { "another one here" };
            unit.warn("", format!("It is called {name}, as {who} is called {valid}."));
        } else if valid != wanted {
            unit.warn("", format!("It is called {name}: {wanted:?} cannot be a name."));
        }
        if let (Some(label), Some(prefix)) = (&unit.label, &prefix)
            && *label != format!("{prefix}.{name}")
        {
            let text = format!("Its launchd label was {label}; `supervisor install` will call it {prefix}.{name}.");
            unit.say("", text);
        }
        unit.name = name;
        unit.tell_secrets();
    }
    prefix
}

/// What most labels begin with, whole words of it: of all of them if they have two words or more in common, else of those
/// that share the first two.
fn prefix(labels: &[&str]) -> Option<String> {
    let words = |label: &&str| label.split('.').map(str::to_owned).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = labels.iter().map(words).filter(|words| words.len() > 1).collect();
    let mut groups: BTreeMap<&[String], Vec<&Vec<String>>> = BTreeMap::new();
    for words in &all {
        groups.entry(&words[..(words.len() - 1).min(2)]).or_default().push(words);
    }
    let (_, largest) = groups.iter().rev().max_by_key(|(_, group)| group.len())?;
    let shortest = largest.iter().map(|words| words.len() - 1).min()?;
    let first = largest.first()?;
    let common = (0..shortest).take_while(|at| largest.iter().all(|words| words[*at] == first[*at])).count();
    let prefix = first[..common].join(".");
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    (prefix.split('.').all(word) && prefix.len() <= 128).then_some(prefix)
}

/// The nearest text that is a name.
fn valid(wanted: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text: String = wanted.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let text = text.trim_matches(['-', '_', '.']);
    let text: String = text.chars().take(UnitName::MAX).collect();
    if text.is_empty() { "unnamed".into() } else { text }
}

/// `name`, or with the first number that nobody has. File systems of a Mac do not tell upper from lower case.
fn free(name: &str, taken: &BTreeSet<String>) -> String {
    let is_free = |name: &String| !taken.contains(&name.to_ascii_lowercase());
    let numbered = |n: usize| {
        let tail = format!("-{n}");
        format!("{}{tail}", name.get(..UnitName::MAX - tail.len()).unwrap_or(name))
    };
    std::iter::once(name.to_owned()).chain((2..).map(numbered)).find(is_free).unwrap_or_default()
}

/// Writes `after`: of what a unit waits for, the services that are here, enabled, and do not wait for it in turn.
pub(super) fn settle_after(units: &mut [Unit]) {
    let known: Vec<(Vec<String>, String, bool)> = units
        .iter()
        .map(|unit| {
            let known_as = [Some(unit.wanted.clone()), unit.label.clone(), Some(format!("{}.service", unit.wanted))];
            (known_as.into_iter().flatten().collect(), unit.name.clone(), unit.is_task || !unit.is_enabled())
        })
        .collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for unit in units {
        let mut names: Vec<String> = Vec::new();
        for wanted in std::mem::take(&mut unit.after) {
            let Some((_, name, useless)) = known.iter().find(|(known_as, ..)| known_as.contains(&wanted)) else {
                unit.say("after", format!("it was to be started after {wanted}, which is not among these files"));
                continue;
            };
            if unit.is_task || *useless {
                let why =
                    if unit.is_task { "a task waits for nothing but its time" } else { "that is no enabled service" };
                unit.warn("after", format!("it was to be started after {name}: {why}"));
            } else if *name == unit.name || reaches(&edges, name, &unit.name) {
                unit.warn("after", format!("`after` {name} is left out: that one waits for this one"));
            } else if !names.contains(name) {
                edges.entry(unit.name.clone()).or_default().insert(name.clone());
                names.push(name.clone());
                unit.after.push(wanted);
            }
        }
        if names.is_empty() {
            unit.keys.remove("after");
        } else {
            unit.set("after", Value::texts(names.iter().map(String::as_str)));
        }
    }
}

/// Whether there is a way from one to the other.
fn reaches(edges: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            next.extend(edges.get(at).into_iter().flatten().map(String::as_str));
        }
    }
    false
}
