//! The ways that alerts go out.

use super::facts::AlertFacts;
use super::{Finding, Level};
use crate::model::Breaker;

/// What alerts are called as a subject.
const ALERTS: &str = "alerts";

pub(super) fn alerts(facts: &AlertFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    for sink in &facts.sinks {
        let (name, test) = (&sink.name, format!("supervisor alerts test {}", sink.name));
        if let Some(why) = &sink.unusable {
            let what = format!("nobody is told through {name}: {why}");
            found.push(Finding::new(Level::Bad, ALERTS, what).remedy(format!("mend that, then: {test}")));
            continue;
        }
        let failing = sink.state.as_ref().filter(|state| state.failures > 0);
        if let Some(state) = failing {
            let error = state.error.as_deref().unwrap_or("it failed");
            let breaker = if state.breaker == Breaker::Closed { "" } else { ", and is tried once in a while only" };
            let what = format!("{name} has failed {}{breaker}: {error}", in_a_row(state.failures));
            found.push(Finding::new(Level::Bad, ALERTS, what).remedy(format!("mend that, then: {test}")));
        } else if let Some(error) = sink.state.as_ref().and_then(|state| state.error.as_deref()) {
            let what = format!("{name} did not take the last message: {error}");
            found.push(Finding::new(Level::Bad, ALERTS, what).remedy(format!("mend that, then: {test}")));
        } else if sink.never_used {
            found.push(Finding::new(Level::Note, ALERTS, format!("{name} was never used")).remedy(test));
        } else {
            found.push(Finding::ok(ALERTS, format!("{name} takes messages")));
        }
    }
    if let Some(why) = &facts.only_through_our_own {
        let remedy = "add a sink that needs none of our services: [[alerts.sink]] in services.toml";
        found.push(Finding::new(Level::Warn, ALERTS, why.clone()).remedy(remedy));
    }
    for (name, many) in &facts.given_up {
        let notices = if *many == 1 { "1 notice".to_owned() } else { format!("{many} notices") };
        let what = format!("{notices} of the last week did not arrive through {name}: refused, or tried for too long");
        found.push(Finding::new(Level::Warn, ALERTS, what).remedy("supervisor alerts"));
    }
    found
}

fn in_a_row(failures: u32) -> String {
    if failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") }
}
