//! So many within so long.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::model::{CrashWindow, Mono};

/// The latest stamps of something on the awake clock, at most as many as the windows over it ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    stamps: VecDeque<Mono>,
}

impl Recent {
    /// The most stamps kept: no window may count further.
    pub const MOST: usize = 64;

    /// Adds one; `at` must not be earlier than the last.
    pub fn push(&mut self, at: Mono) {
        if self.stamps.len() == Self::MOST {
            self.stamps.pop_front();
        }
        self.stamps.push_back(at);
    }

    /// Whether `window` is full now. The old edge belongs to it: 3 within 5 min holds for stamps exactly 5 min apart.
    pub fn fills(&self, window: CrashWindow, now: Mono) -> bool {
        let inside = self.stamps.iter().rev().take_while(|stamp| now.since(**stamp) <= window.within).count();
        inside >= window.count as usize
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.stamps.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_old_edge_belongs_to_the_window() {
        let window = CrashWindow { count: 3, within: Duration::from_secs(300) };
        let mut recent = Recent::default();
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
        let mut recent = Recent::default();
        for n in 0..1000 {
            recent.push(Mono(n));
        }
        assert_eq!(recent.stamps.len(), Recent::MOST);
    }
}
