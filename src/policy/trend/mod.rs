//! Whether memory grows in a way that does not end by itself: a leak detector for one service, seen from outside.
//!
//! Pure and incremental: [`Trend::sample`] takes one number at a time. The state is small, and outlives the daemon by serde.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Growth, MemoryVerdict};

/// What of a service's declaration matters to the detector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrendSpec {
    /// What counts as fast growth, bytes per hour.
    pub growth: Option<u64>,
    /// A declared cap, bytes: below it nothing is told.
    pub plateau: Option<u64>,
    /// It is replaced so often on purpose.
    pub recycle: Option<Duration>,
    /// Where it is restarted for its memory, bytes.
    pub limit: Option<u64>,
}

/// One number, and when it was so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds of the clock that stands still in sleep, from any origin that is the same for one boot. What jumps ahead by far more than
    /// usual counts as sleep; what goes back is not taken.
    pub awake: f64,
    /// Seconds since 1970 of the wall clock, for profiles of the day and the week.
    pub wall: f64,
    /// Bytes.
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
    last: Option<f64>,
}

impl Trend {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self { last: None }
    }

    /// Takes in one number. `Some` when growth is to be told: at most once in 24 h of the wall clock while it goes on, sooner only when
    /// it becomes urgent.
    pub fn sample(&mut self, spec: &TrendSpec, point: Point) -> Option<Growth> {
        let _ = spec;
        self.last = Some(point.awake);
        None
    }

    /// The growth that was told and has not ended.
    pub fn told(&self) -> Option<&Growth> {
        None
    }

    /// How it stands.
    pub fn verdict(&self) -> MemoryVerdict {
        MemoryVerdict::Early
    }

    /// The trend of the last hours, bytes per hour awake, where there is enough to say.
    pub fn bytes_per_hour(&self) -> Option<f64> {
        None
    }
}

impl Default for Trend {
    fn default() -> Self {
        Self::new()
    }
}
