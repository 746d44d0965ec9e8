//! The report of the week, in lines.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machine::words::lasting;
use crate::model::{RestartCounts, UnitName};
use crate::policy::redact;

/// What the report is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Week {
    /// Services and tasks with what ended in that week.
    pub units: BTreeMap<UnitName, WeekOf>,
    /// Alerts that fired in it.
    pub fired: u64,
    /// Titles of those that are open now.
    pub open: Vec<String>,
}

/// One service's week.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WeekOf {
    /// Its ends by class.
    pub counts: RestartCounts,
    /// Of those that nobody asked for, the time from one day's to the next, where they come about daily
    /// ([`crate::policy::periodic`]).
    pub periodic: Option<Duration>,
}

/// The report, a line each.
pub fn weekly_lines(week: &Week) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, of) in &week.units {
        let c = &of.counts;
        let counted = [
            (c.crash, "crashed"),
            (c.hung, "hung"),
            (c.start_timeout, "did not come up"),
            (c.over_memory, "above its memory limit"),
            (c.recycled, "ended by itself"),
            (c.lost, "ended unseen"),
            (c.requested, "restarted or stopped as asked"),
        ];
        let parts: Vec<String> =
            counted.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{what} {}", times(n))).collect();
        let habit = of.periodic.map(|mean| {
            let mean = lasting(i64::try_from(mean.as_millis()).unwrap_or(i64::MAX));
            format!("; about daily (every {mean}), which raises no alert")
        });
        if !parts.is_empty() {
            lines.push(format!("{name}: {}{}", parts.join(", "), habit.unwrap_or_default()));
        }
    }
    if lines.is_empty() {
        lines.push("Nothing ended that was to run.".into());
    }
    lines.push(match week.fired {
        0 => "No alert fired.".into(),
        1 => "1 alert fired.".into(),
        many => format!("{many} alerts fired."),
    });
    lines.extend(week.open.iter().map(|title| format!("Still open: {}", redact(title))));
    lines
}

fn times(n: u64) -> String {
    if n == 1 { "once".into() } else { format!("{n} times") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_in_lines() {
        let unit = |name: &str| UnitName::new(name).unwrap();
        let mut week = Week::default();
        assert_eq!(weekly_lines(&week), ["Nothing ended that was to run.", "No alert fired."]);
        let counts = RestartCounts { crash: 1, recycled: 7, requested: 2, ..RestartCounts::default() };
        week.units.insert(unit("gateway"), WeekOf { counts, periodic: Some(Duration::from_secs(86_400)) });
        week.units.insert(unit("quiet"), WeekOf::default());
        week.fired = 2;
        week.open = vec!["gateway is held: exit code 78".into()];
        assert_eq!(
            weekly_lines(&week),
            [
                "gateway: crashed once, ended by itself 7 times, restarted or stopped as asked 2 times; about daily \
                 (every 1d), which raises no alert",
                "2 alerts fired.",
                "Still open: gateway is held: exit code 78",
            ]
        );
    }
}
