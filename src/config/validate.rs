//! What can only be seen by looking at several services and tasks at once: names, `after`, ports.

use std::collections::{BTreeMap, VecDeque};

use super::fault::code;
use super::reader::{Ctx, Span};
use super::service::ServiceDraft;
use super::units::{Wrong, quoted};
use crate::model::{ExposureSpec, TaskSpec, UnitName};

/// The last part of the daemon's own launchd label and unit name.
const OWN_NAME: &str = "supervisor";

/// A service or task as read.
pub(super) struct Unit {
    pub(super) name: UnitName,
    /// Of the name in its header.
    pub(super) at: Span,
    /// Whether `name` is what stands in the file; else a fault has been reported and nothing may refer to it.
    pub(super) named: bool,
    pub(super) draft: Draft,
}

pub(super) enum Draft {
    Service(Box<ServiceDraft>),
    Task(Box<TaskSpec>),
    Exposure(Box<ExposureSpec>),
    /// Its name stands for something that is no table.
    Nothing {
        is_task: bool,
    },
}

impl Unit {
    fn service(&self) -> Option<&ServiceDraft> {
        match &self.draft {
            Draft::Service(draft) => Some(draft),
            Draft::Task(_) | Draft::Exposure(_) | Draft::Nothing { .. } => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.draft {
            Draft::Service(_) | Draft::Nothing { is_task: false } => "service",
            Draft::Task(_) | Draft::Exposure(_) | Draft::Nothing { is_task: true } => "task",
        }
    }

    pub(super) fn is_task(&self) -> bool {
        matches!(self.draft, Draft::Task(_) | Draft::Exposure(_) | Draft::Nothing { is_task: true })
    }

    pub(super) fn is_enabled(&self) -> bool {
        match &self.draft {
            Draft::Service(draft) => draft.spec.enabled,
            Draft::Task(spec) => spec.enabled,
            Draft::Exposure(spec) => spec.enabled,
            Draft::Nothing { .. } => true,
        }
    }
}

/// Reports what is wrong between `units`, which are in the order of the text. Of two that clash the later one is at fault:
/// the earlier one has been running all along.
pub(super) fn check(ctx: &mut Ctx<'_>, units: &[Unit]) {
    names(ctx, units);
    after(ctx, units);
    cycles(ctx, units);
    ports(ctx, units);
    ctx.enter(None);
}

fn enter(ctx: &mut Ctx<'_>, index: usize, unit: &Unit) {
    ctx.enter(Some((index, unit.named.then(|| unit.name.clone()))));
}

/// Names are file names and launchd labels, and the file systems of a Mac do not tell upper from lower case.
fn names(ctx: &mut Ctx<'_>, units: &[Unit]) {
    let mut seen: BTreeMap<String, &Unit> = BTreeMap::new();
    for (index, unit) in units.iter().enumerate().filter(|(_, unit)| unit.named) {
        enter(ctx, index, unit);
        let folded = unit.name.as_str().to_ascii_lowercase();
        if folded == OWN_NAME {
            let message = format!(
                "a {} cannot be called \"{}\": its label would be the supervisor's own",
                unit.kind(),
                unit.name
            );
            ctx.report(&unit.at, Wrong::new(code::NAME, message, "taken").help("give it another name"));
        }
        if let Some(first) = seen.get(folded.as_str()) {
            let line = ctx.line(first.at.start);
            let message = format!(
                "\"{}\" has the same files and the same launchd label as {} \"{}\" on line {line}",
                unit.name,
                first.kind(),
                first.name
            );
            ctx.report(
                &unit.at,
                Wrong::new(code::NAME, message, "a second one of this name").help("give it another name"),
            );
        } else {
            seen.insert(folded, unit);
        }
    }
}

fn after(ctx: &mut Ctx<'_>, units: &[Unit]) {
    let named = || units.iter().filter(|unit| unit.named);
    for (index, unit) in units.iter().enumerate() {
        let Some(draft) = unit.service() else { continue };
        enter(ctx, index, unit);
        for (name, at) in draft.spec.after.iter().zip(&draft.after_at) {
            // A service and a (faulty) task may bear one name: the service is meant.
            let found = named().filter(|u| u.name == *name).min_by_key(|u| u.is_task());
            let told = |message: String, label: &str, help: String| {
                let message = format!("`service.{}.after`: {message}", unit.name);
                Wrong::new(code::AFTER, message, label).help(help)
            };
            let wrong = match found {
                None => {
                    let others = named().filter(|u| !u.is_task()).map(|u| u.name.as_str());
                    let help = match super::fields::nearest(name.as_str(), others) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!("write a [service.{name}], or take the name out of `after`"),
                    };
                    told(format!("there is no service {}", quoted(name.as_str())), "no such service", help)
                }
                Some(u) if u.is_task() => told(
                    format!("\"{name}\" is a task, and is never ready"),
                    "a task",
                    "name services only; a task's own calendar says when it runs".into(),
                ),
                Some(u) if !u.is_enabled() && unit.is_enabled() => told(
                    format!("\"{name}\" is disabled (line {}), so it never becomes ready", ctx.line(u.at.start)),
                    "disabled",
                    format!("enable \"{name}\", or take it out of `after`"),
                ),
                Some(_) => continue,
            };
            ctx.report(at, wrong);
        }
    }
}

/// Each service that waits for itself by way of others, with the way.
fn cycles(ctx: &mut Ctx<'_>, units: &[Unit]) {
    let mut index_of: BTreeMap<&UnitName, usize> = BTreeMap::new();
    for (index, unit) in units.iter().enumerate() {
        if unit.named && unit.service().is_some() {
            index_of.entry(&unit.name).or_insert(index);
        }
    }
    let edges: Vec<Vec<usize>> = units
        .iter()
        .map(|unit| {
            unit.service().map_or(&[][..], |d| &d.spec.after).iter().filter_map(|n| index_of.get(n).copied()).collect()
        })
        .collect();
    for (start, unit) in units.iter().enumerate() {
        let Some(draft) = unit.service() else { continue };
        let Some(way) = way_back(start, &edges) else { continue };
        let step = way.get(1).copied().unwrap_or(start);
        let at = draft.spec.after.iter().zip(&draft.after_at).find(|(name, _)| **name == units[step].name);
        let names: Vec<&str> = way.iter().map(|i| units[*i].name.as_str()).collect();
        let message = format!("service \"{}\" waits for itself: {} -> {}", unit.name, names.join(" -> "), unit.name);
        enter(ctx, start, unit);
        let wrong =
            Wrong::new(code::CYCLE, message, "closes the circle").help("take one of these names out of an `after`");
        ctx.report(at.map_or(&unit.at, |(_, at)| at), wrong);
    }
}

/// The shortest way along `edges` from `start` back to it, without the return.
fn way_back(start: usize, edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut from: Vec<Option<usize>> = vec![None; edges.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in edges[at].iter().copied() {
            if next == start {
                let mut way = vec![at];
                while way.last() != Some(&start) {
                    way.push(from[*way.last()?]?);
                }
                way.reverse();
                return Some(way);
            }
            if from[next].is_none() {
                from[next] = Some(at);
                queue.push_back(next);
            }
        }
    }
    None
}

fn ports(ctx: &mut Ctx<'_>, units: &[Unit]) {
    let mut taken: BTreeMap<u16, (usize, &Span)> = BTreeMap::new();
    for (index, unit) in units.iter().enumerate().filter(|(_, unit)| unit.is_enabled()) {
        let Some(draft) = unit.service() else { continue };
        enter(ctx, index, unit);
        for (port, at) in &draft.ports_at {
            let Some((first, first_at)) = taken.get(port) else {
                taken.insert(*port, (index, at));
                continue;
            };
            let line = ctx.line(first_at.start);
            let (who, help) = if *first == index {
                ("this service itself".to_owned(), "write each port once")
            } else {
                (format!("service \"{}\"", units[*first].name), "give one of the two another port, or disable it")
            };
            let message = format!("port {port} of service \"{}\" belongs to {who} already (line {line})", unit.name);
            ctx.report(at, Wrong::new(code::PORT, message, "taken").help(help));
        }
    }
}
