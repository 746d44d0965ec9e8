//! Loops: ends of one cause of one service, counted on the awake clock.

use std::time::Duration;

use crate::model::{AlertSpec, Cause, CrashWindow, ExitClass, Rule, Severity};
use crate::policy::{Recent, Stamp};

/// The ends of one cause.
#[derive(Debug, Clone, Default)]
pub(super) struct Loop {
    pub(super) recent: Recent<Stamp>,
    /// The worst window that was crossed, until it is over.
    pub(super) crossed: Option<Crossing>,
    /// From when on it counts as well: the first start after the last of these ends. `None` while it is not running.
    pub(super) well_from: Option<Stamp>,
}

/// A crossed window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crossing {
    /// `Storm`, `CrashLoop` or `SlowLoop`; `Hung` for a single hang.
    pub(super) window: Rule,
    pub(super) within: Duration,
}

impl Crossing {
    /// A hang is told without a window.
    pub(super) const HANG: Self = Self { window: Rule::Hung, within: Duration::ZERO };

    fn rank(self) -> u8 {
        match self.window {
            Rule::Storm => 3,
            Rule::CrashLoop => 2,
            Rule::SlowLoop => 1,
            _ => 0,
        }
    }

    /// What the alert is called.
    pub(super) fn rule(self, cause: Cause) -> Rule {
        if cause == Cause::StartTimeout { Rule::StartTimeout } else { self.window }
    }

    /// A loop of hangs is no less than one hang.
    pub(super) fn severity(self, cause: Cause) -> Severity {
        match (self.window, cause) {
            (_, Cause::Hung) | (Rule::Storm, _) => Severity::Critical,
            _ => Severity::Warning,
        }
    }
}

/// What one more end has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    /// Whether a window was crossed that is worse than all before.
    pub(super) crossed: Option<Crossing>,
    /// How many are in the crossed window.
    pub(super) count: u64,
    /// When the first of them was.
    pub(super) since_ms: i64,
}

impl Loop {
    /// Takes in one more.
    pub(super) fn count(&mut self, now: &Stamp, spec: &AlertSpec) -> Count {
        let most = windows(spec).map(|(_, window)| window.count).max().unwrap_or_default();
        self.recent.push_of(now.clone(), most as usize);
        self.well_from = None;
        let rank = |crossing: Option<Crossing>| crossing.map_or(0, |c| c.rank() + 1);
        let full = windows(spec)
            .find(|(_, window)| self.recent.fills(*window, now.clone()))
            .map(|(rule, window)| Crossing { window: rule, within: window.within });
        let crossed = full.filter(|full| rank(Some(*full)) > rank(self.crossed));
        self.crossed = crossed.or(self.crossed);
        let within = crossed.map_or(Duration::ZERO, |c| c.within);
        let inside = self.recent.within(within, now);
        let (count, since_ms) = inside.fold((0, now.wall_ms), |(count, _), stamp| (count + 1, stamp.wall_ms));
        Count { crossed, count, since_ms }
    }

    /// It runs (again).
    pub(super) fn started(&mut self, at: &Stamp) {
        // How much of the time since a start in another boot it was well nobody knows.
        if self.well_from.as_ref().is_none_or(|from| from.boot != at.boot) {
            self.well_from = Some(at.clone());
        }
    }

    /// It is over: counting begins anew.
    pub(super) fn reset(&mut self) {
        self.recent.clear();
        self.crossed = None;
    }
}

/// All windows, the worst first.
fn windows(spec: &AlertSpec) -> impl Iterator<Item = (Rule, CrashWindow)> {
    let slow = spec.slow_loop.iter().map(|window| (Rule::SlowLoop, *window));
    [(Rule::Storm, spec.storm), (Rule::CrashLoop, spec.crash_loop)].into_iter().chain(slow)
}

/// What an end is counted as, if it is; `short`: whether the run was shorter than `min_uptime`.
pub(super) fn cause_of(class: ExitClass, short: bool) -> Option<Cause> {
    match class {
        ExitClass::Crash => Some(Cause::Crash),
        ExitClass::Hung => Some(Cause::Hung),
        ExitClass::StartTimeout => Some(Cause::StartTimeout),
        ExitClass::OverMemory => Some(Cause::OverMemory),
        ExitClass::Recycled if short => Some(Cause::CleanExit),
        ExitClass::Recycled | ExitClass::Requested | ExitClass::Refused | ExitClass::Lost => None,
    }
}
