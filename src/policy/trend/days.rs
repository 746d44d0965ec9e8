//! The floor of each hour beside that of the same hour a day before.
//!
//! Under a load that follows the day no window of hours is a line; but a leak adds the same to every hour of the day. What does not:
//! a step (one hour explains all), a warm-up (less and less), a working day after a holiday (some hours much, others nothing).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::line::LEAST;

/// Hours that are kept: 8 days.
const KEPT: usize = 192;

/// A day.
const DAY: usize = 24;

/// The first hours of a life are its start and compare with nothing.
const START: usize = 3;

/// The hours of one life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Days {
    /// The number of the newest hour, since 1970.
    newest: i64,
    /// The least of each hour, KiB, the newest last and not over; 0 where the machine slept.
    hours: VecDeque<u32>,
    /// The highest of those that are not kept any more, KiB.
    gone_high: u32,
    /// How often in a row growth was seen.
    favour: u8,
}

/// How alike the rises of different hours have to be.
#[derive(Clone, Copy)]
struct Alike {
    /// What one in eight may be below, as a share of their median.
    least: f64,
    /// What one in eight may be above.
    most: f64,
}

impl Days {
    pub(super) fn new() -> Self {
        Self { newest: 0, hours: VecDeque::with_capacity(KEPT), gone_high: 0, favour: 0 }
    }

    /// Forgets the life before.
    pub(super) fn begin(&mut self) {
        self.hours.clear();
        self.gone_high = 0;
        self.favour = 0;
    }

    /// Takes in one sample; whether an hour ended before it.
    pub(super) fn sample(&mut self, wall: f64, kib: u32) -> bool {
        let hour = (wall / 3600.0) as i64;
        match hour.saturating_sub(self.newest) {
            0 if !self.hours.is_empty() => {
                if let Some(open) = self.hours.back_mut() {
                    *open = (*open).min(kib);
                }
                false
            }
            // Summer time and small corrections: the hour is over, and seen twice.
            -2..=-1 if !self.hours.is_empty() => false,
            passed if !self.hours.is_empty() && (1..=KEPT as i64).contains(&passed) => {
                for hour in 1..=passed {
                    if self.hours.len() >= KEPT
                        && let Some(gone) = self.hours.pop_front()
                    {
                        self.gone_high = self.gone_high.max(gone);
                    }
                    self.hours.push_back(if hour == passed { kib } else { 0 });
                }
                self.newest = hour;
                true
            }
            _ => {
                self.begin();
                self.newest = hour;
                self.hours.push_back(kib);
                false
            }
        }
    }

    /// KiB by which it rises in a day, when nearly all of the last hours say so; to be asked once each hour.
    pub(super) fn rise(&mut self) -> Option<f64> {
        let rise = self
            .rise_of::<15>(Alike { least: 0.4, most: 1.8 })
            .or_else(|| self.rise_of::<9>(Alike { least: 0.7, most: 1.4 }));
        self.favour = if rise.is_some() { self.favour.saturating_add(1) } else { 0 };
        rise.filter(|_| self.favour >= 2)
    }

    fn at(&self, hour: usize) -> Option<f64> {
        self.hours.get(hour).filter(|kib| **kib > 0).map(|kib| f64::from(*kib))
    }

    /// How much higher an hour is than the one a day before.
    fn risen(&self, hour: usize) -> Option<f64> {
        Some(self.at(hour)? - self.at(hour.checked_sub(DAY)?)?)
    }

    fn range(&self, from: usize, until: usize) -> Option<(f64, f64)> {
        let known = || (from..until).filter_map(|hour| self.at(hour));
        Some((known().min_by(f64::total_cmp)?, known().max_by(f64::total_cmp)?))
    }

    fn rise_of<const HOURS: usize>(&self, alike: Alike) -> Option<f64> {
        let end = self.hours.len().checked_sub(1)?;
        let from = end.checked_sub(HOURS).filter(|from| *from > DAY)?;
        let mut rises = [0.0; HOURS];
        let rises = sorted(&mut rises, (from..end).filter_map(|hour| self.risen(hour)));
        let count = rises.len();
        if count * 3 < HOURS * 2 {
            return None;
        }
        let (median, up) = (rises[count / 2], rises.iter().filter(|rise| **rise > 0.0).count());
        let before = (from..end).filter_map(|hour| self.at(hour - DAY)).sum::<f64>() / count as f64;
        let is_alike = rises[count / 4] >= 0.5 * median
            && rises[count / 8] >= alike.least * median
            && rises[count - 1 - count / 8] <= alike.most * median;
        if median < LEAST.max(0.06 * before) || up * 100 < count * 85 || !is_alike {
            return None;
        }
        let (low, high) = self.range(end - DAY, end)?;
        let highest = self.range(0, end - DAY)?.1.max(f64::from(self.gone_high));
        let is_new = high - highest >= 0.5 * median && median >= 0.3 * (high - low);
        let is_real = is_new && !self.is_step(from, end, median) && !self.slows_down::<HOURS>(from, end, median);
        is_real.then_some(median)
    }

    /// Whether the two largest leaps from hour to hour, as far as the day before had none there, explain most of the rise.
    fn is_step(&self, from: usize, end: usize, rise: f64) -> bool {
        let (mut most, mut second, mut between) = (0.0_f64, 0.0_f64, 0.0_f64);
        for hour in from - DAY + 1..end {
            let leap = |hour: usize| Some(self.at(hour)? - self.at(hour.checked_sub(1)?)?);
            let Some(today) = leap(hour) else { continue };
            let yesterday = hour.checked_sub(DAY).filter(|hour| *hour >= START).and_then(leap);
            let net = today - yesterday.unwrap_or(0.0).max(0.0);
            (most, second) = if net > most { (net, most) } else { (most, second.max(net)) };
            if hour > from {
                let rises = self.risen(hour).zip(self.risen(hour - 1));
                between = between.max(rises.map_or(0.0, |(now, before)| now - before));
            }
        }
        most + second > 0.45 * rise || between > 0.8 * rise
    }

    /// Whether the last hours rose less than the first of them, or than the day before.
    fn slows_down<const HOURS: usize>(&self, from: usize, end: usize, rise: f64) -> bool {
        let mean = |from: usize, until: usize| {
            let (sum, count) = (from..until)
                .filter_map(|hour| self.risen(hour))
                .fold((0.0, 0.0), |(sum, count), rise| (sum + rise, count + 1.0));
            (count >= 2.0).then_some(sum / count)
        };
        let third = HOURS / 3;
        let is_less = match (mean(from, from + third), mean(end - third, end)) {
            (Some(first), Some(last)) => last < 0.85 * first,
            _ => true,
        };
        let mut earlier = [0.0; HOURS];
        let day_before = from.saturating_sub(DAY)..end.saturating_sub(DAY);
        let earlier = sorted(&mut earlier, day_before.filter_map(|hour| self.risen(hour)));
        let median = (earlier.len() > HOURS / 2).then(|| earlier[earlier.len() / 2]);
        let was_more = median.is_some_and(|earlier| rise < 0.7 * earlier);
        // A cache that was filled yesterday is as much above the day before at any hour, and stands.
        let lately = HOURS / 2;
        let goes_on = self.at(end - 1).zip(self.at(end - 1 - lately));
        let goes_on = goes_on.is_some_and(|(now, then)| now - then >= 0.5 * rise * lately as f64 / DAY as f64);
        let did_before = median.is_some_and(|earlier| earlier >= 0.4 * rise);
        is_less || was_more || !(goes_on || did_before)
    }
}

/// The values in order, as many as there is room for.
fn sorted(room: &mut [f64], values: impl Iterator<Item = f64>) -> &[f64] {
    let mut count = 0;
    for (place, value) in room.iter_mut().zip(values) {
        *place = value;
        count += 1;
    }
    let values = &mut room[..count];
    values.sort_unstable_by(f64::total_cmp);
    values
}
