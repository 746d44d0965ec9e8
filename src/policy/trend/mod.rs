//! Whether memory grows in a way that does not end by itself: a leak detector for one service, seen from outside.
//!
//! Pure and incremental: [`Trend::sample`] takes one number at a time, keeps a few kilobytes, and outlives the daemon by serde.
//!
//! ```text
//! sample ──► floor: the least of each 15 min awake ──► line: a straight rise in one of 15 windows of 3 to 96 h ──┐
//!        └─► days: the least of each hour ──────────► the same rise over the day before in nearly every hour ────┴─► told
//! ```
//! What was seen before, in this life or in those that had settled, is where growth begins: what is within it is none. What was told once
//! is not told again for the same rise: later windows begin after it.

mod days;
mod floor;
mod line;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Growth, MemoryVerdict};
use days::Days;
use floor::{Floor, HOUR, Taken};
use line::{Beside, Line, WINDOWS};

/// With less time left than this, awake hours, growth is urgent.
pub const URGENT_HOURS: f64 = 6.0;

/// Growth is told at most once in that time of the wall clock, seconds; what becomes urgent is told at once.
const AGAIN: f64 = 86_400.0;

/// What counts as fast where nothing is declared, bytes per hour: short windows are for such growth only.
pub const FAST: u64 = 10_000_000;

/// Former lives teach for that long, seconds of the wall clock.
const LIVES_TEACH: f64 = 8.0 * 86_400.0;

/// And no more of them than this.
const LIVES: usize = 16;

/// What of a service's declaration matters to the detector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrendSpec {
    /// What counts as fast growth, bytes per hour.
    pub growth: Option<u64>,
    /// A declared cap, bytes: below it nothing is told.
    pub plateau: Option<u64>,
    /// It is replaced so often on purpose.
    pub recycle: Option<Duration>,
}

/// One number, and when it was so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds of the clock that stands still in sleep, from any origin that is the same for one boot. What jumps ahead by far more than
    /// usual counts as sleep; what goes back is not taken.
    pub awake: f64,
    /// Seconds since 1970 of the wall clock, for the hours of the day.
    pub wall: f64,
    /// Bytes. None at all, or more than 4 TiB, is a reading gone wrong, and is not taken.
    pub bytes: u64,
    /// Another number when the main process is another one.
    pub life: u64,
    /// Bytes that are left until the limit, or until the machine has no more.
    pub room: Option<u64>,
    /// Requests served so far, where the service tells.
    pub requests: Option<f64>,
}

/// The detector of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    floor: Floor,
    days: Days,
    /// How often in a row each window has shown a line.
    favour: [u8; WINDOWS],
    lives: Vec<Life>,
    told: Option<Told>,
    /// When growth was last told, seconds of the wall clock, and how many stretches this life had then.
    last_told: Option<(f64, usize)>,
}

/// What a former life teaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Life {
    /// When it ended, seconds of the wall clock.
    ended: f64,
    /// How far it has fallen gradually, KiB.
    swing: f64,
    /// Its highest level, KiB, if it did not grow to its end.
    settled: Option<f64>,
}

/// Growth that was told and has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    growth: Growth,
    /// Where it began, KiB.
    from: f64,
    /// Where it was when it was told first, KiB.
    level: f64,
    /// The age of the life when it began, hours awake.
    began: f64,
}

impl Trend {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self {
            floor: Floor::new(),
            days: Days::new(),
            favour: [0; WINDOWS],
            lives: Vec::new(),
            told: None,
            last_told: None,
        }
    }

    /// Takes in one number. `Some` when growth is to be told: at most once in 24 h of the wall clock while it goes on, sooner only when
    /// it becomes urgent.
    pub fn sample(&mut self, spec: &TrendSpec, point: Point) -> Option<Growth> {
        if !point.wall.is_finite() {
            return None;
        }
        let taken = match self.floor.sample(point.awake, point.bytes, point.life, point.requests) {
            Taken::NewLife => {
                self.begin(point.wall);
                self.floor.sample(point.awake, point.bytes, point.life, point.requests)
            }
            taken => taken,
        };
        if taken == Taken::Nothing {
            return None;
        }
        let kib = u32::try_from(point.bytes / 1024).unwrap_or(u32::MAX);
        let risen = self.days.sample(point.wall, kib).then(|| self.days.rise()).flatten();
        let line = (taken == Taken::Closed).then(|| self.line(spec, &point)).flatten();
        if taken == Taken::Closed {
            self.look_for_end();
        }
        let found =
            line.map(|line| (line, "line")).or_else(|| Some((self.of_days(risen?, point.wall)?, "day-over-day")));
        match found {
            Some((line, test)) => self.tell(spec, &point, line, test),
            None if taken == Taken::Closed => self.press(spec, &point),
            None => None,
        }
    }

    /// The growth that was told and has not ended.
    pub fn told(&self) -> Option<&Growth> {
        self.told.as_ref().map(|told| &told.growth)
    }

    /// How it stands.
    pub fn verdict(&self) -> MemoryVerdict {
        match &self.told {
            Some(told) => told.growth.verdict,
            None if self.bytes_per_hour().is_none() => MemoryVerdict::Early,
            None => MemoryVerdict::Flat,
        }
    }

    /// The trend of the last day, or of this life when that is shorter, bytes per hour awake; `None` in the first three hours.
    pub fn bytes_per_hour(&self) -> Option<f64> {
        Some(line::present_slope(&self.floor, 24)? * 1024.0)
    }

    /// Another life begins: what the one before teaches is kept, all else is forgotten.
    fn begin(&mut self, wall: f64) {
        self.lives.retain(|life| (0.0..LIVES_TEACH).contains(&(wall - life.ended)));
        if self.floor.len() > 2 * HOUR {
            if self.lives.len() >= LIVES {
                self.lives.remove(0);
            }
            self.lives.push(Life { ended: wall, swing: self.floor.swing(), settled: self.floor.settled() });
        }
        self.floor.begin();
        self.days.begin();
        self.favour = [0; WINDOWS];
        self.told = None;
        if let Some((_, stretches)) = &mut self.last_told {
            *stretches = 0;
        }
    }

    fn line(&mut self, spec: &TrendSpec, point: &Point) -> Option<Line> {
        let most = |of: fn(&Life) -> f64| self.lives.iter().map(of).fold(0.0, f64::max);
        let beside = Beside {
            swing: most(|life| life.swing).max(self.floor.swing()),
            settled: most(|life| life.settled.unwrap_or(0.0)),
            fresh: self.untold(),
            fast: 4.0 * spec.growth.unwrap_or(FAST) as f64 / 1024.0,
            room: point.room.map(|room| room as f64 / 1024.0),
        };
        line::find(&self.floor, &beside, &mut self.favour)
    }

    /// The rise of days as a line; it looks two days back, and none of that may have been told.
    fn of_days(&self, risen: f64, wall: f64) -> Option<Line> {
        if self.last_told.is_some_and(|(at, _)| (0.0..2.0 * AGAIN).contains(&(wall - at))) {
            return None;
        }
        let slope = risen / 24.0;
        Some(Line { hours: 24.0, slope, bounds: (slope, slope), grown: risen })
    }

    /// Growth is told, unless it was declared, or told not long ago.
    fn tell(&mut self, spec: &TrendSpec, point: &Point, line: Line, test: &str) -> Option<Growth> {
        let level = self.level()?;
        if is_below_cap(spec, level) || self.is_recycled_in_time(spec, point, line) {
            return None;
        }
        let hours_left = hours_left(point, line.slope);
        let is_early = self.last_told.is_some_and(|(at, _)| (0.0..AGAIN).contains(&(point.wall - at)));
        // What is urgent is told at once, unless it is what was told.
        if is_early && (self.told.is_some() || verdict(hours_left) != MemoryVerdict::Urgent) {
            return None;
        }
        let age = self.floor.hours();
        let (from, began) = match &self.told {
            Some(told) => (told.from, told.began),
            None => (level - line.grown, age - line.hours),
        };
        let growth = Growth {
            verdict: verdict(hours_left),
            bytes_per_hour: line.slope * 1024.0,
            low: line.bounds.0 * 1024.0,
            high: line.bounds.1 * 1024.0,
            grown: (level - from) * 1024.0,
            hours: age - began,
            hours_left,
            bytes_per_request: self.per_request(line),
            test: test.into(),
        };
        self.last_told = Some((point.wall, self.floor.total()));
        self.told = Some(Told { growth: growth.clone(), from, level, began });
        Some(growth)
    }

    /// Growth that was told becomes urgent.
    fn press(&mut self, spec: &TrendSpec, point: &Point) -> Option<Growth> {
        let slope = line::present_slope(&self.floor, 6)?;
        let (level, age) = (self.level()?, self.floor.hours());
        let told = self.told.as_mut()?;
        let left = hours_left(point, slope);
        let is_new = told.growth.verdict == MemoryVerdict::Growing && verdict(left) == MemoryVerdict::Urgent;
        if !is_new || is_below_cap(spec, level) {
            return None;
        }
        told.growth = Growth {
            verdict: MemoryVerdict::Urgent,
            bytes_per_hour: slope * 1024.0,
            low: told.growth.low.min(slope * 1024.0),
            high: told.growth.high.max(slope * 1024.0),
            grown: (level - told.from) * 1024.0,
            hours: age - told.began,
            hours_left: left,
            ..told.growth.clone()
        };
        Some(told.growth.clone())
    }

    /// Growth that was told is over when half of it is gone again, or when it has stood still for a day.
    fn look_for_end(&mut self) {
        let Some(told) = &self.told else { return };
        let Some(level) = self.level() else { return };
        let is_gone = level < told.from + 0.5 * (told.level - told.from);
        let expected = told.growth.bytes_per_hour / 1024.0 * 24.0;
        let day_ago = self.floor.len().checked_sub(24 * HOUR).filter(|_| self.untold() >= 24 * HOUR);
        let then = day_ago.and_then(|from| self.floor.least(from, from + 2 * HOUR));
        let stands = then.is_some_and(|then| level - then < 0.1 * expected);
        if is_gone || stands {
            self.told = None;
        }
    }

    /// Stretches of this life since growth was last told.
    fn untold(&self) -> usize {
        self.floor.total().saturating_sub(self.last_told.map_or(0, |(_, stretches)| stretches))
    }

    /// Bytes for each request served while it grew, where requests are told.
    fn per_request(&self, line: Line) -> Option<f64> {
        let served = self.floor.served((line.hours * HOUR as f64) as usize)?;
        Some(line.slope * line.hours * 1024.0 / served)
    }

    /// The least of the last two hours, KiB.
    fn level(&self) -> Option<f64> {
        self.floor.least(self.floor.len().saturating_sub(2 * HOUR), self.floor.len())
    }

    /// Whether it is replaced on purpose before this growth comes to anything.
    fn is_recycled_in_time(&self, spec: &TrendSpec, point: &Point, line: Line) -> bool {
        let Some(recycle) = spec.recycle else { return false };
        let left = recycle.as_secs_f64() / 3600.0 - self.floor.hours();
        left > 0.0 && hours_left(point, line.slope).is_none_or(|hours| hours > left)
    }
}

impl Default for Trend {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this level, KiB, is within the declared cap.
fn is_below_cap(spec: &TrendSpec, level: f64) -> bool {
    spec.plateau.is_some_and(|cap| level * 1024.0 < cap as f64)
}

/// Hours awake until there is no more room, at so many KiB per hour.
fn hours_left(point: &Point, slope: f64) -> Option<f64> {
    let room = point.room? as f64 / 1024.0;
    (slope > 0.0).then(|| room / slope)
}

fn verdict(hours_left: Option<f64>) -> MemoryVerdict {
    match hours_left {
        Some(hours) if hours < URGENT_HOURS => MemoryVerdict::Urgent,
        _ => MemoryVerdict::Growing,
    }
}
