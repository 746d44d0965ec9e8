//! The lower envelope of one life of a process: the least of each quarter of an hour that the machine was awake.
//!
//! Garbage collectors, buffers and requests make memory go up and down; what they leave behind each time is the floor, and only that is
//! looked at. Sleep, page-outs (where the metric shows them) and readings that cannot be are kept out of it here.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Seconds awake of one stretch.
pub(super) const STRETCH: f64 = 900.0;

/// Stretches of one hour.
pub(super) const HOUR: usize = 4;

/// Stretches that are kept: ten days.
const KEPT: usize = 960;

/// A time between two samples that is so many times longer than usual was slept through.
const SLEPT_TIMES: f64 = 5.0;

/// No time shorter than this counts as sleep, seconds.
const SLEPT: f64 = 300.0;

/// A tree of processes that uses more than this (4 TiB) was misread, KiB.
const ABSURD: u64 = u32::MAX as u64;

/// What was paged out comes back within that many seconds awake, or is gone for good.
const DIP_LASTS: f64 = 12.0 * 3600.0;

/// The floor of the present life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Floor {
    /// The last sample: its time on the caller's clock, and its life.
    last: Option<(f64, u64)>,
    /// The usual time between two samples, seconds.
    step: f64,
    /// Seconds awake of this life.
    age: f64,
    /// The age at which the open stretch began.
    open_at: f64,
    /// The least of the open stretch, KiB; `None` when it has no sample yet.
    open: Option<u32>,
    dip: Option<Dip>,
    /// KiB, the oldest first; 0 where it is hidden by a dip.
    minima: VecDeque<u32>,
    /// Stretches of this life that are not kept any more.
    gone: usize,
    /// The highest of those, KiB.
    gone_high: u32,
    /// Requests served in each stretch, where they are told.
    served: VecDeque<u32>,
    served_open: f64,
    served_last: Option<f64>,
    /// KiB that a request in a stretch costs while it lasts; 0 when load explains nothing.
    per_load: f64,
}

/// The floor fell suddenly below everything of the last hours: paged out, or freed; time tells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Dip {
    /// Where it was before, KiB.
    level: u32,
    /// The age at which it fell.
    since: f64,
}

/// What a sample has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing: it could not be taken.
    Nothing,
    /// It belongs to the open stretch.
    Open,
    /// A stretch ended before it.
    Closed,
    /// It is the first of another life; what was known is of the one before until [`Floor::begin`].
    NewLife,
}

impl Floor {
    pub(super) fn new() -> Self {
        Self {
            last: None,
            step: 60.0,
            age: 0.0,
            open_at: 0.0,
            open: None,
            dip: None,
            minima: VecDeque::with_capacity(KEPT),
            gone: 0,
            gone_high: 0,
            served: VecDeque::new(),
            served_open: 0.0,
            served_last: None,
            per_load: 0.0,
        }
    }

    /// Takes in one sample; on [`Taken::NewLife`] it has to be given again after [`Self::begin`].
    pub(super) fn sample(&mut self, awake: f64, bytes: u64, life: u64, served: Option<f64>) -> Taken {
        let kib = match u32::try_from(bytes / 1024) {
            Ok(kib) if kib > 0 && u64::from(kib) < ABSURD && awake.is_finite() => kib,
            _ => return Taken::Nothing,
        };
        let mut closed = false;
        if let Some((at, of)) = self.last {
            if of != life {
                return Taken::NewLife;
            }
            let passed = awake - at;
            if passed <= 0.0 {
                // A clock that was put back for good begins a new count; one reading out of order does not.
                if passed < -SLEPT {
                    self.last = Some((awake, life));
                }
                return Taken::Nothing;
            }
            if passed > (SLEPT_TIMES * self.step).max(SLEPT) {
                // A short stretch before a sleep says little.
                closed |= self.age - self.open_at >= STRETCH / 2.0 && self.close();
                self.open = None;
                self.age += self.step;
                self.open_at = self.age;
                // Whoever samples that rarely is found out after a few samples.
                self.step = (self.step * 2.0).min(passed);
            } else {
                self.step += (passed - self.step) * 0.1;
                self.age += passed;
            }
        }
        self.last = Some((awake, life));
        while self.age - self.open_at >= STRETCH {
            closed |= self.close();
            self.open_at += STRETCH;
        }
        self.open = Some(self.open.map_or(kib, |open| open.min(kib)));
        if let Some(served) = served.filter(|served| served.is_finite()) {
            // A counter that went back began anew.
            self.served_open += served - self.served_last.filter(|last| *last <= served).unwrap_or(served);
            self.served_last = Some(served);
        }
        if closed { Taken::Closed } else { Taken::Open }
    }

    /// Forgets the life before.
    pub(super) fn begin(&mut self) {
        self.minima.clear();
        self.served.clear();
        *self = Self {
            step: self.step,
            minima: std::mem::take(&mut self.minima),
            served: std::mem::take(&mut self.served),
            ..Self::new()
        };
    }

    /// Ends the open stretch; one without a sample is as the one before.
    fn close(&mut self) -> bool {
        let Some(new) = self.open.take().or_else(|| self.minima.back().copied()) else { return false };
        if self.minima.len() >= KEPT
            && let Some(gone) = self.minima.pop_front()
        {
            self.gone_high = self.gone_high.max(gone);
            self.gone += 1;
            self.served.pop_front();
        }
        match self.dip {
            Some(dip) if f64::from(new) < f64::from(dip.level) * 0.995 && self.age - dip.since <= DIP_LASTS => {}
            Some(_) => self.dip = None,
            None => self.dip = self.dips(new),
        }
        self.minima.push_back(if self.dip.is_some() { 0 } else { new });
        if self.served_last.is_some() {
            let served = std::mem::take(&mut self.served_open).min(f64::from(u32::MAX));
            // Stretches before the first word on requests are of no use beside those after it.
            self.served.resize(self.minima.len() - 1, 0);
            self.served.push_back(served as u32);
            self.per_load = self.load_costs();
        }
        true
    }

    /// Whether this is a sudden fall below all of the last six hours. A daily fall comes gradually.
    fn dips(&self, new: u32) -> Option<Dip> {
        let recent = || self.minima.range(self.len().saturating_sub(6 * HOUR)..).copied().filter(|kib| *kib > 0);
        let low = recent().min()?;
        let mut newest = self.minima.iter().rev().copied().filter(|kib| *kib > 0).map(f64::from);
        let (last, before) = (newest.next()?, newest.next()?);
        let sudden = last - f64::from(new) > 3.0 * (before - last).abs();
        let is_deep = f64::from(new) < f64::from(low) * 0.96;
        (recent().count() >= 2 * HOUR && is_deep && sudden).then_some(Dip { level: low, since: self.age })
    }

    /// KiB for each request in a stretch, from how both change from stretch to stretch: what grows slowly does not show there.
    fn load_costs(&self) -> f64 {
        let (mut both, mut load, mut memory) = (0.0, 0.0, 0.0);
        let pairs = self.minima.iter().zip(&self.served);
        for ((m0, r0), (m1, r1)) in pairs.clone().zip(pairs.skip(1)) {
            if *m0 > 0 && *m1 > 0 {
                let (m, r) = (f64::from(*m1) - f64::from(*m0), f64::from(*r1) - f64::from(*r0));
                both += m * r;
                load += r * r;
                memory += m * m;
            }
        }
        let explains = both * both >= 0.3 * load * memory && both > 0.0;
        if self.len() >= 8 * HOUR && explains { both / load } else { 0.0 }
    }

    /// Stretches that are kept.
    pub(super) fn len(&self) -> usize {
        self.minima.len()
    }

    /// Stretches of this life so far.
    pub(super) fn total(&self) -> usize {
        self.gone + self.len()
    }

    /// Whether all of this life is kept.
    pub(super) fn is_whole(&self) -> bool {
        self.gone == 0
    }

    /// Hours awake of this life.
    pub(super) fn hours(&self) -> f64 {
        self.age / 3600.0
    }

    /// The floor of a stretch, KiB, without what its load explains; `None` where it is hidden.
    pub(super) fn at(&self, stretch: usize) -> Option<f64> {
        let kib = self.minima.get(stretch).copied().filter(|kib| *kib > 0)?;
        let load = self.served.get(stretch).map_or(0.0, |served| f64::from(*served) * self.per_load);
        Some((f64::from(kib) - load).max(1.0))
    }

    /// The least of the stretches from `from` to before `until`, KiB.
    pub(super) fn least(&self, from: usize, until: usize) -> Option<f64> {
        (from..until).filter_map(|k| self.at(k)).min_by(f64::total_cmp)
    }

    /// The highest before `until` that was held for half an hour, KiB: a spike is no level. All of this life counts.
    pub(super) fn highest_held(&self, until: usize) -> f64 {
        let held = (1..until).filter_map(|k| Some(self.at(k - 1)?.min(self.at(k)?)));
        held.fold(f64::from(self.gone_high), f64::max)
    }

    /// The highest of this life, KiB, if it got near that long before its end: such a life does not grow.
    pub(super) fn settled(&self) -> Option<f64> {
        let known = || (0..self.len()).filter_map(|k| self.at(k));
        let (high, low) = (known().max_by(f64::total_cmp)?, known().min_by(f64::total_cmp)?);
        let near = high - (high - low) / 8.0;
        let first = (0..self.len()).position(|k| self.at(k).is_some_and(|kib| kib >= near))?;
        (self.is_whole() && self.len() > 4 * HOUR && first * 10 < self.len() * 7).then_some(high)
    }

    /// How far it has fallen gradually, KiB: what follows the day falls as much as it rises. Sudden falls are a collector's.
    pub(super) fn swing(&self) -> f64 {
        let (mut swing, mut fall, mut largest) = (0.0_f64, 0.0_f64, 0.0_f64);
        let mut last: Option<f64> = None;
        let hours = (0..self.len()).step_by(HOUR).filter_map(|k| self.least(k, (k + HOUR).min(self.len())));
        for hour in hours {
            let fell = last.map_or(0.0, |last| last - hour);
            if fell > 0.0 {
                largest = largest.max(fell);
                fall += fell;
            } else if -fell > 0.3 * fall {
                (fall, largest) = (0.0, 0.0);
            } else {
                fall += fell;
            }
            if largest <= 0.6 * fall {
                swing = swing.max(fall);
            }
            last = Some(hour);
        }
        swing
    }

    /// Requests served in the last stretches, so many of them.
    pub(super) fn served(&self, stretches: usize) -> Option<f64> {
        let served: f64 = self.served.iter().rev().take(stretches).copied().map(f64::from).sum();
        (served > 0.0).then_some(served)
    }
}
