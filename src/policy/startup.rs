//! How long a start may take, from what was asked for and what was learned; and whether it makes progress.

use std::time::Duration;

use super::nearest_rank;
use crate::model::Facts;

/// Former starts that are remembered.
pub const STARTS: usize = 20;

/// A start may take this many times what nineteen in twenty former ones took.
const MARGIN: u32 = 3;

/// Above this share of one processor a start works; an idle gateway uses 1.2 to 1.4 %.
const WORKS: f64 = 0.05;

/// Bounds of how long a start over its budget may stand still.
const STILL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// Nineteen in twenty former starts took no longer; `None` before there were any.
pub fn learned(starts: &[Duration]) -> Option<Duration> {
    let mut sorted = starts.to_vec();
    sorted.sort_unstable();
    nearest_rank(&sorted, 95)
}

/// How long a start may take before it has to show that it makes progress. The first start of a new state of its program has twice
/// as long: it may have to build caches and to migrate data.
pub fn budget(start_timeout: Duration, starts: &[Duration], first_of_program: bool) -> Duration {
    let learned = learned(starts).map_or(Duration::ZERO, |p95| p95.saturating_mul(MARGIN));
    start_timeout.max(learned).saturating_mul(if first_of_program { 2 } else { 1 })
}

/// How long a start that is over its budget may stand still.
pub fn patience(budget: Duration) -> Duration {
    (budget / 10).clamp(STILL.0, STILL.1)
}

/// Whether a start did something between two looks: it worked, or it said something in its logs.
pub fn progressed(before: &Facts, now: &Facts) -> bool {
    if now.logged != before.logged {
        return true;
    }
    let (Some(then), Some(vitals)) = (&before.vitals, &now.vitals) else { return false };
    let span = vitals.at.since(then.at).as_secs_f64();
    // A new process in the tree is a step on the way, and one that has ended takes its time with it.
    let worked = vitals.cpu.saturating_sub(then.cpu).as_secs_f64() > WORKS * span;
    (span > 0.0 && worked) || vitals.processes != then.processes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostLoad, Mono, ProcessState, Vitals};

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_budget_is_what_was_asked_for_or_what_was_learned() {
        assert_eq!(learned(&[]), None);
        assert_eq!(learned(&[3 * S]), Some(3 * S));
        let twenty: Vec<Duration> = (1..=20).map(|n| n * S).collect();
        assert_eq!(learned(&twenty), Some(19 * S));
        assert_eq!(budget(60 * S, &[], false), 60 * S);
        assert_eq!(budget(60 * S, &[15 * S], false), 60 * S);
        assert_eq!(budget(60 * S, &[25 * S], false), 75 * S);
        assert_eq!(budget(60 * S, &[25 * S], true), 150 * S);
        assert_eq!([10, 60, 300, 3000].map(|s| patience(s * S).as_secs()), [2, 6, 30, 30]);
    }

    #[test]
    fn work_words_and_new_processes_are_progress() {
        let facts = |at_s: u64, cpu_ms: u64, processes: u32, logged: u64| Facts {
            vitals: Some(Vitals {
                at: Mono(at_s * 1_000_000_000),
                cpu: Duration::from_millis(cpu_ms),
                ran: None,
                waited: None,
                state: ProcessState::Sleeping,
                processes,
            }),
            host: HostLoad { load: 0.0, processors: 1, memory_stall: None },
            logged,
        };
        let before = facts(0, 100, 1, 10);
        assert!(!progressed(&before, &facts(10, 240, 1, 10)), "1.4 % of a core: an idle gateway");
        assert!(progressed(&before, &facts(10, 700, 1, 10)));
        assert!(progressed(&before, &facts(10, 100, 1, 11)));
        assert!(progressed(&before, &facts(10, 100, 1, 0)), "its log was rotated");
        assert!(progressed(&before, &facts(10, 100, 2, 10)));
        assert!(!progressed(&before, &Facts { vitals: None, ..before.clone() }));
    }
}
