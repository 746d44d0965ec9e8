//! What is too much memory, and when a service may be restarted for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::DayHours;

/// Samples that are looked at together.
const LOOKED_AT: usize = 5;

/// So many of them have to be above a bound for the service to be.
///
/// Why three of the last five, and no mean: a mean is lifted over the limit by one reading that is far above, and that is what a
/// garbage collector, a report or a misreading gives. Why not three in a row: a collector's sawtooth around the limit never stays
/// above, and most of the time is. It is the same as the median of five, and does without the fourth and the fifth sample.
const ABOVE: usize = 3;

/// Nearer to the limit than this, parts of a hundred, is told beforehand ...
const NEAR: u64 = 90;

/// ... and is over below this: what wavers around the one is not told time and again.
const FAR: u64 = 85;

/// A machine that has left less than this part of what the service uses goes down with the next spike.
const HARDLY_ANY: u64 = 20;

/// A restart that is followed by the same within this time did not help.
pub const HELPED: Duration = Duration::from_secs(10 * 60);

/// From restart to restart, once one did not help; twice as long with each further one ...
const FIRST_WAIT: Duration = Duration::from_secs(10 * 60);

/// ... up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);

/// How much a service uses beside its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// There is room.
    #[default]
    Below,
    /// It will soon be too much.
    Near,
    /// It is too much.
    Over,
}

impl Stage {
    /// As in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Near => "near",
            Self::Over => "over",
        }
    }
}

/// The bounds of one service, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What it may use at most.
    pub limit: u64,
    /// Above this nothing is waited for.
    pub ceiling: u64,
}

/// The last samples of one run, and what follows from them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Level {
    /// The newest last.
    last: [u64; LOOKED_AT],
    count: usize,
    stage: Stage,
    beyond: bool,
}

impl Level {
    /// One of a run that was at `stage` when it was last looked at.
    pub fn at(stage: Stage) -> Self {
        Self { stage, ..Self::default() }
    }

    /// Takes in a sample. `free`: what the machine has left, bytes, where it tells.
    pub fn sample(&mut self, bytes: u64, free: Option<u64>, bounds: Bounds) -> Stage {
        self.last.rotate_left(1);
        self.last[LOOKED_AT - 1] = bytes;
        self.count = (self.count + 1).min(LOOKED_AT);
        // Two samples may be a spike, as they may be one over the limit, unless the machine itself says the same.
        let crowded = free.is_some_and(|free| free < bytes / HARDLY_ANY);
        self.beyond = (bytes > bounds.ceiling && crowded) || self.held().is_some_and(|held| held > bounds.ceiling);
        let part =
            |percent: u64| u64::try_from(u128::from(bounds.limit) * u128::from(percent) / 100).unwrap_or(u64::MAX);
        let Some(held) = self.held() else {
            if self.beyond {
                self.stage = Stage::Over;
            }
            return self.stage;
        };
        self.stage = match self.stage {
            _ if held > bounds.limit || self.beyond => Stage::Over,
            Stage::Over if held >= part(NEAR) => Stage::Over,
            Stage::Near | Stage::Over if held >= part(FAR) => Stage::Near,
            _ if held >= part(NEAR) => Stage::Near,
            _ => Stage::Below,
        };
        self.stage
    }

    /// How it stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether it is too much now: what was said of it before the first of these samples is not enough once the newest are far below.
    pub fn wants_restart(&self, bounds: Bounds) -> bool {
        self.stage == Stage::Over && (self.count >= ABOVE || self.is_tense(bounds))
    }

    /// Whether it is above its ceiling.
    pub fn is_beyond(&self) -> bool {
        self.beyond
    }

    /// Whether the newest sample may be the first of too many: then the next one is not to be waited for long.
    pub fn is_tense(&self, bounds: Bounds) -> bool {
        self.newest().is_some_and(|bytes| u128::from(bytes) * 100 >= u128::from(bounds.limit) * u128::from(NEAR))
    }

    fn newest(&self) -> Option<u64> {
        (self.count > 0).then(|| self.last[LOOKED_AT - 1])
    }

    /// What enough of the last samples reach; `None` while there are too few.
    fn held(&self) -> Option<u64> {
        let mut last = self.last;
        let known = &mut last[LOOKED_AT - self.count..];
        known.sort_unstable_by(|a, b| b.cmp(a));
        known.get(ABOVE - 1).copied()
    }
}

/// What a restart that is due waits for, and how that stands.
#[derive(Debug, Clone, Copy)]
pub struct Wait<'a> {
    /// Hours of the day in which it may be.
    pub quiet: &'a [DayHours],
    /// Whether the service can be asked whether it is idle.
    pub asks_idle: bool,
    /// Minutes since midnight, local time.
    pub minute: u16,
    /// What the service has just said; `None` when it was not asked or did not say.
    pub idle: Option<bool>,
    /// How long it has waited, sleep counted: who allows a day means a day.
    pub waited: Duration,
    /// How long it may wait.
    pub max_wait: Duration,
    /// It is above its ceiling.
    pub beyond: bool,
}

/// Why a restart may be now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chance {
    /// Nothing is declared that it could wait for.
    Any,
    /// The service says that it is idle.
    Idle,
    /// It is one of the quiet hours.
    Quiet,
    /// It has waited for as long as it may.
    Waited,
    /// The service is above its ceiling.
    Ceiling,
}

impl Chance {
    /// As in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Idle => "idle",
            Self::Quiet => "quiet",
            Self::Waited => "waited",
            Self::Ceiling => "ceiling",
        }
    }
}

/// Whether a service that is above its limit may be restarted now.
pub fn may_restart(wait: &Wait<'_>) -> Option<Chance> {
    if !wait.asks_idle && wait.quiet.is_empty() {
        return Some(Chance::Any);
    }
    if let Some(chance) = is_good_time(wait) {
        return Some(chance);
    }
    match wait {
        Wait { beyond: true, .. } => Some(Chance::Ceiling),
        Wait { waited, max_wait, .. } if waited >= max_wait => Some(Chance::Waited),
        _ => None,
    }
}

/// Whether it is idle or quiet: for growth alone a service is restarted at no other time.
pub fn is_good_time(wait: &Wait<'_>) -> Option<Chance> {
    if wait.asks_idle && wait.idle == Some(true) {
        return Some(Chance::Idle);
    }
    wait.quiet.iter().any(|hours| holds(*hours, wait.minute)).then_some(Chance::Quiet)
}

fn holds(hours: DayHours, minute: u16) -> bool {
    let DayHours { from, until } = hours;
    if from < until { (from..until).contains(&minute) } else { minute >= from || minute < until }
}

/// The least time from the last restart for memory to the next, now that so many in a row did not help.
pub fn rest(unhelped: u32) -> Duration {
    match unhelped.checked_sub(1) {
        None => Duration::ZERO,
        Some(n) => FIRST_WAIT.saturating_mul(1 << n.min(10)).min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { limit: 1000, ceiling: 1250 };

    fn stages(samples: &[u64]) -> Vec<Stage> {
        let mut level = Level::default();
        samples.iter().map(|bytes| level.sample(*bytes, None, BOUNDS)).collect()
    }

    #[test]
    fn one_spike_is_nothing_and_three_of_five_are_the_limit() {
        use Stage::{Below, Near, Over};
        assert_eq!(stages(&[500, 9000, 500, 500, 500, 500, 9000]), [Below; 7]);
        assert_eq!(stages(&[9000]), [Below], "a first sample alone is a spike as well");
        assert_eq!(stages(&[1001, 1001, 1001]), [Below, Below, Over]);
        assert_eq!(stages(&[1001, 500, 1001, 500, 1001]), [Below, Below, Below, Below, Over], "a sawtooth");
        assert_eq!(stages(&[1000, 1000, 1000, 1000]), [Below, Below, Near, Near], "at the limit is not above it");
        assert_eq!(stages(&[899, 899, 899, 900, 900, 900]), [Below, Below, Below, Below, Below, Near]);
    }

    #[test]
    fn what_wavers_is_told_once() {
        use Stage::{Below, Near, Over};
        let mut samples = vec![920; 5];
        samples.extend([880, 910, 860, 905, 855, 860, 870]);
        assert!(stages(&samples)[2..].iter().all(|stage| *stage == Near));
        samples.extend([849; 3]);
        assert_eq!(stages(&samples).last(), Some(&Below));
        // Too much stays too much until there is some room again.
        let mut samples = vec![1100; 5];
        samples.extend([990, 950, 920, 905, 910]);
        assert!(stages(&samples)[2..].iter().all(|stage| *stage == Over));
        samples.extend([890; 3]);
        assert_eq!(stages(&samples).last(), Some(&Near));
    }

    #[test]
    fn above_the_ceiling_three_times_of_five_or_once_without_room_nothing_is_waited_for() {
        let mut level = Level::default();
        for bytes in [2000, 2000, 500, 500, 2000] {
            assert!(!level.is_beyond());
            level.sample(bytes, Some(1_000_000), BOUNDS);
        }
        assert!(level.is_beyond());
        assert_eq!(level.sample(500, None, BOUNDS), Stage::Below);
        assert!(!level.is_beyond(), "two of the last five");
        for bytes in [2000, 2000] {
            level.sample(bytes, None, BOUNDS);
        }
        assert_eq!((level.is_beyond(), level.stage()), (true, Stage::Over));
        let mut level = Level::default();
        assert_eq!(level.sample(2000, Some(99), BOUNDS), Stage::Over);
        assert!(level.is_beyond(), "the machine has hardly anything left");
        let mut level = Level::default();
        level.sample(1200, Some(0), BOUNDS);
        assert!(!level.is_beyond(), "somebody else has it");
    }

    #[test]
    fn when_a_restart_may_be() {
        const NIGHT: [DayHours; 2] = [DayHours { from: 180, until: 300 }, DayHours { from: 1410, until: 15 }];
        let wait = Wait {
            quiet: &NIGHT,
            asks_idle: true,
            minute: 720,
            idle: None,
            waited: Duration::ZERO,
            max_wait: Duration::from_secs(60),
            beyond: false,
        };
        assert_eq!(may_restart(&wait), None);
        assert_eq!(may_restart(&Wait { quiet: &[], asks_idle: false, ..wait }), Some(Chance::Any));
        assert_eq!(may_restart(&Wait { idle: Some(true), ..wait }), Some(Chance::Idle));
        assert_eq!(may_restart(&Wait { idle: Some(false), ..wait }), None);
        for (minute, is_quiet) in [
            (179, false),
            (180, true),
            (299, true),
            (300, false),
            (1409, false),
            (1410, true),
            (1439, true),
            (0, true),
            (14, true),
            (15, false),
        ] {
            assert_eq!(may_restart(&Wait { minute, ..wait }).is_some(), is_quiet, "{minute}");
        }
        let late = Wait { waited: Duration::from_secs(60), ..wait };
        assert_eq!((may_restart(&late), is_good_time(&late)), (Some(Chance::Waited), None));
        let beyond = Wait { beyond: true, ..wait };
        assert_eq!((may_restart(&beyond), is_good_time(&beyond)), (Some(Chance::Ceiling), None));
        let none = Wait { quiet: &[], asks_idle: false, ..wait };
        assert_eq!(is_good_time(&none), None, "what cannot be idle is not restarted for growth alone");
    }

    #[test]
    fn restarts_that_do_not_help_get_rarer() {
        let minutes = |n: u32| rest(n).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 90].map(minutes), [0, 10, 20, 40, 80, 160, 320, 360, 360]);
    }

    proptest! {
        /// Whatever the sizes: two samples never decide, and what is always below 85 % is below.
        #[test]
        fn two_of_five_never_decide(samples in proptest::collection::vec((0u64..850, any::<u64>()), 1..60)) {
            let mut level = Level::default();
            let bounds = Bounds { limit: 1000, ceiling: 1250 };
            for (n, (low, high)) in samples.into_iter().enumerate() {
                // Of each five at most two are high.
                let bytes = if n % 5 < 2 { high } else { low };
                prop_assert_eq!(level.sample(bytes, None, bounds), Stage::Below);
                prop_assert!(!level.is_beyond());
            }
        }

        #[test]
        fn what_stays_above_is_over_whatever_was_before(before in proptest::collection::vec(any::<u64>(), 0..20), limit in 1u64..u64::MAX) {
            let mut level = Level::default();
            let bounds = Bounds { limit, ceiling: limit.saturating_add(limit / 4) };
            for bytes in before {
                level.sample(bytes, None, bounds);
            }
            for _ in 0..3 {
                level.sample(limit + 1, None, bounds);
            }
            prop_assert_eq!(level.stage(), Stage::Over);
            for _ in 0..3 {
                level.sample(0, None, bounds);
            }
            prop_assert_eq!(level.stage(), Stage::Below);
            prop_assert!(!level.is_beyond());
        }
    }
}
