//! What the end of a run counts as, whether there is a next run, and when (DESIGN section 3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::window::Recent;
use crate::model::{CrashWindow, Exit, ExitClass, Fraction, Mono, RestartMode, ServiceSpec, StopCause};

/// A run that lived this long proves the service well: attempts and back-off begin anew.
pub const STABLE_UPTIME: Duration = Duration::from_secs(10 * 60);

/// From so many counted ends within so long on, starts are spaced further than `throttle`.
const STORM: CrashWindow = CrashWindow { count: 5, within: Duration::from_secs(10 * 60) };

/// What an end counts as. `cause` is set when we ended the run ourselves; it then decides alone, whatever the process
/// made of our signal.
pub fn classify(exit: Exit, cause: Option<StopCause>, success: &[i32], hold: &[i32]) -> ExitClass {
    match cause {
        Some(StopCause::Operator | StopCause::Reload | StopCause::Upgrade | StopCause::Shutdown) => {
            return ExitClass::Requested;
        }
        Some(StopCause::Hung) => return ExitClass::Hung,
        Some(StopCause::StartTimeout) => return ExitClass::StartTimeout,
        Some(StopCause::OverMemory) => return ExitClass::OverMemory,
        None => {}
    }
    match exit {
        Exit::Unknown => ExitClass::Lost,
        Exit::Signal { .. } => ExitClass::Crash,
        // A code that stands in both lists holds: restarting a service that says 'do not' is the greater harm.
        Exit::Code(code) if hold.contains(&code) => ExitClass::Refused,
        Exit::Code(code) if success.contains(&code) => ExitClass::Recycled,
        Exit::Code(_) => ExitClass::Crash,
    }
}

/// What follows the end of a run while its service is wanted up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another run, as soon as the back-off allows.
    Again,
    /// Held until something changes.
    Hold,
    /// A good last run.
    Done,
    /// A bad last run.
    Failed,
}

/// Whether there is a next run.
pub fn next_after(class: ExitClass, mode: RestartMode) -> Next {
    match (class, mode) {
        (ExitClass::Refused, RestartMode::Always | RestartMode::OnFailure) => Next::Hold,
        (ExitClass::Recycled, RestartMode::OnFailure | RestartMode::Never) => Next::Done,
        // `restart` is about ends that nobody asked for; whoever asks for one and wants it up wants another run.
        (ExitClass::Requested, _) => Next::Again,
        (_, RestartMode::Never) => Next::Failed,
        (_, RestartMode::Always | RestartMode::OnFailure) => Next::Again,
    }
}

/// What is remembered between runs to space them; kept in the adoption record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// When the last run was started.
    pub last_start: Option<Mono>,
    /// Automatic starts since the last operator start or 10 minutes of uptime.
    pub attempts: u32,
    /// Exponent of the storm delay; 0 outside of storms.
    pub storm: u32,
    recent: Recent,
}

impl Backoff {
    /// Takes in the end of a run that lived for `uptime`.
    pub fn ended(&mut self, spec: &ServiceSpec, class: ExitClass, uptime: Duration, now: Mono) {
        if uptime >= STABLE_UPTIME {
            self.attempts = 0;
            self.storm = 0;
            self.recent.clear();
        }
        if class.is_crash() || (class == ExitClass::Recycled && uptime < spec.min_uptime) {
            self.count(now);
        }
    }

    /// Takes in a start that failed for want of something that may come back (memory, process slots).
    pub fn failed_start(&mut self, now: Mono) {
        self.count(now);
    }

    fn count(&mut self, now: Mono) {
        self.recent.push(now);
        // Once in a storm, every further counted end doubles the delay: the growing delay itself would otherwise empty the
        // window that noticed the storm.
        if self.storm > 0 || self.recent.fills(STORM, now) {
            self.storm = self.storm.saturating_add(1);
        }
    }

    /// Takes in an operator's wish to have it started now.
    pub fn forgive(&mut self) {
        self.attempts = 0;
        self.storm = 0;
        self.recent.clear();
    }

    /// Takes in a start.
    pub fn started(&mut self, now: Mono, automatic: bool) {
        self.last_start = Some(now);
        if automatic {
            self.attempts = self.attempts.saturating_add(1);
        }
    }

    /// The earliest moment of the next automatic start; may lie in the past.
    pub fn due(&self, spec: &ServiceSpec, rng: Fraction) -> Mono {
        let Some(last) = self.last_start else { return Mono(0) };
        last.plus(backed_off(spec.throttle, spec.backoff_max, self.storm, rng))
    }
}

/// min(`most`, `throttle` x 2^n), with full jitter downwards to `throttle`. Zero throttle means no back-off at all.
pub fn backed_off(throttle: Duration, most: Duration, n: u32, rng: Fraction) -> Duration {
    if throttle.is_zero() || n == 0 {
        return throttle;
    }
    let factor = 1u32.checked_shl(n.min(31)).unwrap_or(u32::MAX);
    let top = throttle.saturating_mul(factor).min(most).max(throttle);
    throttle + (top - throttle).mul_f64(1.0 - rng.get())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes() {
        let table: &[(Exit, Option<StopCause>, ExitClass)] = &[
            (Exit::Code(0), None, ExitClass::Recycled),
            (Exit::Code(1), None, ExitClass::Crash),
            (Exit::Code(78), None, ExitClass::Refused),
            (Exit::Code(134), None, ExitClass::Crash),
            (Exit::Signal { signal: crate::model::Signal::KILL, core: false }, None, ExitClass::Crash),
            (Exit::Unknown, None, ExitClass::Lost),
            (Exit::Code(78), Some(StopCause::Operator), ExitClass::Requested),
            (Exit::Unknown, Some(StopCause::Operator), ExitClass::Requested),
            (Exit::Code(0), Some(StopCause::Shutdown), ExitClass::Requested),
            (Exit::Code(0), Some(StopCause::Reload), ExitClass::Requested),
            (Exit::Code(0), Some(StopCause::Upgrade), ExitClass::Requested),
            (Exit::Code(0), Some(StopCause::Hung), ExitClass::Hung),
            (Exit::Code(1), Some(StopCause::StartTimeout), ExitClass::StartTimeout),
            (Exit::Code(0), Some(StopCause::OverMemory), ExitClass::OverMemory),
        ];
        for (exit, cause, class) in table {
            assert_eq!(classify(*exit, *cause, &[0], &[78]), *class, "{exit} {cause:?}");
        }
        assert_eq!(classify(Exit::Code(78), None, &[78], &[78]), ExitClass::Refused);
    }

    #[test]
    fn what_follows() {
        use RestartMode::{Always, Never, OnFailure};
        let table = [
            (ExitClass::Recycled, [Next::Again, Next::Done, Next::Done]),
            (ExitClass::Refused, [Next::Hold, Next::Hold, Next::Failed]),
            (ExitClass::Crash, [Next::Again, Next::Again, Next::Failed]),
            (ExitClass::Hung, [Next::Again, Next::Again, Next::Failed]),
            (ExitClass::StartTimeout, [Next::Again, Next::Again, Next::Failed]),
            (ExitClass::OverMemory, [Next::Again, Next::Again, Next::Failed]),
            (ExitClass::Lost, [Next::Again, Next::Again, Next::Failed]),
            (ExitClass::Requested, [Next::Again, Next::Again, Next::Again]),
        ];
        for (class, wanted) in table {
            assert_eq!([Always, OnFailure, Never].map(|mode| next_after(class, mode)), wanted, "{class}");
        }
    }

    #[test]
    fn a_storm_begins_at_the_fifth_and_ends_with_ten_minutes_of_uptime() {
        let spec = ServiceSpec::for_tests("s");
        let mut backoff = Backoff::default();
        let mut now = Mono(0);
        for n in 1..=8u32 {
            backoff.started(now, n > 1);
            now = now.plus(Duration::from_secs(10));
            backoff.ended(&spec, ExitClass::Crash, Duration::from_secs(10), now);
            assert_eq!(backoff.storm, n.saturating_sub(4), "after {n} ends");
            assert_eq!(backoff.attempts, n - 1);
        }
        backoff.ended(&spec, ExitClass::Crash, STABLE_UPTIME, now.plus(STABLE_UPTIME));
        assert_eq!((backoff.storm, backoff.attempts), (0, 0));
    }

    #[test]
    fn long_good_runs_are_no_storm_but_short_ones_are() {
        let spec = ServiceSpec::for_tests("s");
        let mut long = Backoff::default();
        let mut short = Backoff::default();
        for n in 1..20 {
            let now = Mono(n * 1_000_000_000);
            long.ended(&spec, ExitClass::Recycled, spec.min_uptime, now);
            short.ended(&spec, ExitClass::Recycled, spec.min_uptime - Duration::from_nanos(1), now);
        }
        assert_eq!(long.storm, 0);
        assert!(short.storm > 0);
    }

    proptest! {
        #[test]
        fn the_delay_lies_between_throttle_and_the_most(
            throttle in 0u64..100_000, most in 0u64..1_000_000, n in 0u32..100, rng in 0.0f64..1.0
        ) {
            let (throttle, most) = (Duration::from_millis(throttle), Duration::from_millis(most));
            let delay = backed_off(throttle, most, n, Fraction::new(rng));
            prop_assert!(delay >= throttle);
            prop_assert!(delay <= most.max(throttle));
            if throttle.is_zero() { prop_assert!(delay.is_zero()); }
        }
    }
}
