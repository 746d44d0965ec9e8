//! Restarts for hangs that do not help, and how much rarer they get.

use std::time::Duration;

use crate::model::{Hang, Mono};

/// Former hangs that are remembered.
pub const HANGS: usize = 20;

/// From so many restarts on that did not help, the next one waits.
pub const UNHELPED: u32 = 3;

/// How long the first one that waits does; each further one twice as long ...
const FIRST_WAIT: Duration = Duration::from_secs(5 * 60);

/// ... up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// A service that ran for longer than this before it hung again was helped by its restart.
const HELPED: Duration = Duration::from_secs(60 * 60);

/// A service needs this long to show anything at all.
const LEAST: Duration = Duration::from_secs(60);

/// The gateway comes up without its channels after three unclean boots within five minutes: of ends by force it gets fewer.
const UNCLEAN: (usize, Duration) = (2, Duration::from_secs(5 * 60));

/// How many restarts in a row did not help, now that the last of `hangs` has happened (the newest last): the service hung again within twice
/// the time it had taken before, and within the hour.
pub fn unhelped(hangs: &[Hang]) -> u32 {
    let relapses = hangs.windows(2).rev().take_while(|pair| {
        let limit = pair[0].after.max(LEAST).saturating_mul(2).min(HELPED);
        pair[1].after <= limit
    });
    u32::try_from(relapses.count()).unwrap_or(u32::MAX)
}

/// How long the restart for a hang waits. `unclean`: when runs of the service ended without being asked to, or by force, the
/// newest last.
pub fn wait(unhelped: u32, unclean: &[Mono], now: Mono) -> Duration {
    let rarer = match unhelped.checked_sub(UNHELPED) {
        None => Duration::ZERO,
        Some(n) => FIRST_WAIT.saturating_mul(1 << n.min(10)).min(LONGEST_WAIT),
    };
    let (most, within) = UNCLEAN;
    let recent: Vec<Mono> = unclean.iter().copied().filter(|end| now.since(*end) < within).collect();
    // When this one has left the window, there are fewer than `most` in it.
    let crowded = recent.len().checked_sub(most).map_or(Duration::ZERO, |extra| recent[extra].plus(within).since(now));
    rarer.max(crowded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hangs(after_s: &[u64]) -> Vec<Hang> {
        after_s.iter().map(|s| Hang { run_id: 0, at_ms: 0, after: Duration::from_secs(*s) }).collect()
    }

    #[test]
    fn a_restart_that_is_followed_by_the_same_hang_did_not_help() {
        assert_eq!(unhelped(&hangs(&[])), 0);
        assert_eq!(unhelped(&hangs(&[1_800_000])), 0);
        assert_eq!(unhelped(&hangs(&[1_800_000, 700])), 1, "within the hour");
        assert_eq!(unhelped(&hangs(&[1_800_000, 700, 720, 710])), 3);
        assert_eq!(unhelped(&hangs(&[700, 720, 90_000])), 0, "a day: it helped");
        assert_eq!(unhelped(&hangs(&[700, 90_000, 100])), 1);
        assert_eq!(unhelped(&hangs(&[600, 1500])), 0, "more than twice as long");
        assert_eq!(unhelped(&hangs(&[90_000, 91_000, 92_000])), 0, "daily hangs are helped by restarts");
        assert_eq!(unhelped(&hangs(&[1, 100, 3])), 2, "a minute is nothing");
    }

    #[test]
    fn restarts_get_rarer_and_ends_by_force_stay_apart() {
        let now = Mono(1_000_000_000_000);
        let minutes = |n: u32| wait(n, &[], now).as_secs() / 60;
        assert_eq!([0, 2, 3, 4, 5, 6, 7, 90].map(minutes), [0, 0, 5, 10, 20, 40, 60, 60]);
        let ago = |s: u64| Mono(now.0 - s * 1_000_000_000);
        assert_eq!(wait(0, &[ago(10)], now), Duration::ZERO);
        assert_eq!(wait(0, &[ago(400), ago(10)], now), Duration::ZERO);
        assert_eq!(wait(0, &[ago(200), ago(10)], now), Duration::from_secs(100));
        assert_eq!(wait(0, &[ago(250), ago(200), ago(10)], now), Duration::from_secs(100));
    }
}
