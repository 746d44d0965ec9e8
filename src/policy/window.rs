//! So many within so long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{CrashWindow, Mono};

/// A reading of a clock that counts awake time.
pub trait Reading {
    /// Time from `earlier` to here; zero when `earlier` is later.
    fn since(&self, earlier: &Self) -> Duration;
}

impl Reading for Mono {
    fn since(&self, earlier: &Self) -> Duration {
        Mono::since(*self, *earlier)
    }
}

/// The awake clock of one boot, with what tells its age in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Which boot of the machine.
    pub boot: Arc<str>,
    /// Its awake clock.
    pub mono: Mono,
    /// Milliseconds since 1970 UTC.
    pub wall_ms: i64,
}

impl Reading for Stamp {
    /// Across boots the wall clock counts: how long the machine slept in the earlier one is not known.
    fn since(&self, earlier: &Self) -> Duration {
        if self.boot == earlier.boot {
            return self.mono.since(earlier.mono);
        }
        Duration::from_millis(u64::try_from(self.wall_ms.saturating_sub(earlier.wall_ms)).unwrap_or(0))
    }
}

/// The latest readings of something on the awake clock, at most as many as the windows over it ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent<S = Mono> {
    stamps: VecDeque<S>,
}

impl<S> Default for Recent<S> {
    fn default() -> Self {
        Self { stamps: VecDeque::new() }
    }
}

impl<S: Reading> Recent<S> {
    /// The most stamps that [`Recent::push`] keeps.
    pub const MOST: usize = 64;

    /// Adds one; `at` must not be earlier than the last.
    pub fn push(&mut self, at: S) {
        self.push_of(at, Self::MOST);
    }

    /// Adds one, and keeps the last `most`: what the largest window over them counts to.
    pub fn push_of(&mut self, at: S, most: usize) {
        while self.stamps.len() >= most.max(1) {
            self.stamps.pop_front();
        }
        self.stamps.push_back(at);
    }

    /// Whether `window` is full now. The old edge belongs to it: 3 within 5 min holds for stamps exactly 5 min apart.
    pub fn fills(&self, window: CrashWindow, now: S) -> bool {
        self.within(window.within, &now).count() >= window.count as usize
    }

    /// Those that are no older than `within`, the newest first.
    pub fn within<'a>(&'a self, within: Duration, now: &'a S) -> impl Iterator<Item = &'a S> {
        self.stamps.iter().rev().take_while(move |stamp| now.since(stamp) <= within)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.stamps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.stamps.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_edge_belongs_to_the_window() {
        let window = CrashWindow { count: 3, within: Duration::from_secs(300) };
        let mut recent: Recent = Recent::default();
        let start = Mono(7);
        recent.push(start);
        recent.push(start.plus(Duration::from_secs(100)));
        let edge = start.plus(window.within);
        assert!(!recent.fills(window, edge));
        recent.push(edge);
        assert!(recent.fills(window, edge));
        assert!(!recent.fills(window, Mono(edge.0 + 1)));
    }

    #[test]
    fn it_does_not_grow() {
        let mut recent: Recent = Recent::default();
        for n in 0..1000 {
            recent.push(Mono(n));
        }
        assert_eq!(recent.len(), Recent::<Mono>::MOST);
        recent.push_of(Mono(1000), 3);
        assert_eq!(recent.len(), 3);
    }

    #[test]
    fn sleep_does_not_age_a_stamp_and_another_boot_ages_it_by_the_wall_clock() {
        let stamp =
            |boot: &str, mono_ms: u64, wall_ms| Stamp { boot: boot.into(), mono: Mono(mono_ms * 1_000_000), wall_ms };
        let then = stamp("a", 1000, 5_000);
        assert_eq!(stamp("a", 1010, 9_000_000).since(&then), Duration::from_millis(10));
        assert_eq!(stamp("b", 3, 65_000).since(&then), Duration::from_secs(60));
        assert_eq!(stamp("b", 3, 4_000).since(&then), Duration::ZERO);
    }
}
