//! What is in a picture, and where: the same for the terminal and for SVG.

use serde::Serialize;

use crate::machine::words;
use crate::model::MemoryInfo;
use crate::store::HistoryPoint;
use jiff::tz::TimeZone;

/// A picture to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// Its left edge, milliseconds since 1970 UTC.
    pub(super) from_ms: i64,
    /// Its right edge.
    pub(super) to_ms: i64,
    /// Oldest first.
    pub(super) points: Vec<HistoryPoint>,
    /// Oldest first.
    pub(super) marks: Vec<Mark>,
    pub(super) trend: Option<Line>,
    /// Where it is restarted for its memory, bytes.
    pub(super) limit: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Mark {
    pub(super) at_ms: i64,
    pub(super) kind: MarkKind,
    pub(super) text: String,
}

/// What kind of thing; what matters more comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MarkKind {
    /// A run began.
    Start,
    /// Its heap was written to a file, or that failed.
    Snapshot,
    /// Growth was told.
    Growth,
    /// It was, or was about to be, above its limit.
    Limit,
}

impl MarkKind {
    pub(super) const ALL: [Self; 4] = [Self::Start, Self::Snapshot, Self::Growth, Self::Limit];

    /// Its letter in the picture.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Start => 'R',
            Self::Snapshot => 'S',
            Self::Growth => '!',
            Self::Limit => 'L',
        }
    }

    /// What the letter means.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Start => "a run began",
            Self::Snapshot => "a heap snapshot",
            Self::Growth => "growth was told",
            Self::Limit => "its limit",
        }
    }
}

/// A straight line between two points in time, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) from_ms: i64,
    pub(super) from_bytes: f64,
    pub(super) to_ms: i64,
    pub(super) to_bytes: f64,
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: f64 = 3_600_000.0;
/// From here on labels of times have the year, and not the time of day.
const LONG_MS: i64 = 21 * 24 * 60 * MINUTE_MS;
/// Below this they have seconds.
const SHORT_MS: i64 = 10 * MINUTE_MS;

impl Chart {
    /// What there is since then, up to now. Points of the future, from a clock that was wrong, are left out.
    pub(super) fn new(
        mut points: Vec<HistoryPoint>,
        marks: Vec<Mark>,
        limit: Option<u64>,
        since_ms: i64,
        now_ms: i64,
    ) -> Self {
        points.retain(|point| point.at_ms <= now_ms.saturating_add(MINUTE_MS));
        let first = points.first().map_or(since_ms, |point| point.at_ms);
        let to_ms = points.last().map_or(now_ms, |point| point.at_ms.max(now_ms));
        // A service that is new would else be a dot at the right edge.
        let from_ms = since_ms.max(first).min(to_ms.saturating_sub(MINUTE_MS));
        let marks = marks.into_iter().filter(|mark| (from_ms..=to_ms).contains(&mark.at_ms)).collect();
        Self { from_ms, to_ms, points, marks, trend: None, limit }
    }

    /// The line of what is told of growth. It lies under most of what was seen since: what is there after each collection of garbage is
    /// what grows.
    pub(super) fn with_trend(mut self, info: Option<&MemoryInfo>) -> Self {
        let told = info.and_then(|info| Some((info.growth.as_ref()?, info.growing_since_ms?)));
        let Some((growth, since_ms)) = told else { return self };
        let since_ms = since_ms.clamp(self.from_ms, self.to_ms);
        let per_ms = growth.bytes_per_hour / HOUR_MS;
        let rise = |at_ms: i64| per_ms * at_ms.saturating_sub(since_ms) as f64;
        let since = self.points.iter().filter(|point| point.at_ms >= since_ms);
        let mut above: Vec<f64> = since.map(|point| point.bytes as f64 - rise(point.at_ms)).collect();
        above.sort_by(f64::total_cmp);
        let Some(from_bytes) = above.get(above.len() / 4).copied().filter(|bytes| bytes.is_finite()) else {
            return self;
        };
        let to_bytes = from_bytes + rise(self.to_ms);
        if to_bytes.is_finite() {
            self.trend = Some(Line { from_ms: since_ms, from_bytes, to_ms: self.to_ms, to_bytes });
        }
        self
    }

    /// What is joined by lines: of one run, without a gap (sleep, or nobody looked).
    pub(super) fn stretches(&self) -> Vec<&[HistoryPoint]> {
        let after = |pair: &[HistoryPoint]| pair[1].at_ms.saturating_sub(pair[0].at_ms);
        let mut steps: Vec<i64> = self.points.windows(2).map(after).collect();
        steps.sort_unstable();
        let usual = steps.get(steps.len() / 2).copied().unwrap_or_default();
        let is_joined = |a: &HistoryPoint, b: &HistoryPoint| {
            let most = usual.max(a.span_ms).max(b.span_ms).saturating_mul(3);
            a.run_id == b.run_id && b.at_ms.saturating_sub(a.at_ms) <= most
        };
        self.points.chunk_by(is_joined).collect()
    }

    /// How far to the right a time is, from 0 to 1.
    pub(super) fn across(&self, at_ms: i64) -> f64 {
        let width = self.to_ms.saturating_sub(self.from_ms).max(1) as f64;
        (at_ms.saturating_sub(self.from_ms) as f64 / width).clamp(0.0, 1.0)
    }

    /// Sizes from below to above all that is drawn.
    pub(super) fn axis(&self) -> Axis {
        let least = self.points.iter().map(|point| point.bytes).min().unwrap_or_default();
        let most = self.points.iter().map(|point| point.bytes).max().unwrap_or_default();
        // A limit that is far away would press everything else flat; it is told in words.
        let limit = self.limit.filter(|limit| *limit <= most.saturating_add(most / 2));
        Axis::new(least as f64, limit.map_or(most, |limit| limit.max(most)) as f64)
    }

    /// The limit, where the picture reaches up to it.
    pub(super) fn limit_within(&self, axis: &Axis) -> Option<f64> {
        self.limit.map(|limit| limit as f64).filter(|limit| (axis.low..=axis.high).contains(limit))
    }

    /// Where the limit is, in words, when the picture does not reach to it.
    pub(super) fn limit_beyond(&self, axis: &Axis) -> Option<String> {
        let limit = self.limit.filter(|_| self.limit_within(axis).is_none())?;
        let side = if (limit as f64) < axis.low { "below" } else { "above" };
        Some(format!("the limit of {} is {side} the picture", words::size(limit)))
    }

    /// A label for a time: to the minute, the day where the picture is of many, the second where it is of few minutes.
    pub(super) fn label(&self, at_ms: i64, zone: &TimeZone) -> String {
        let span_ms = self.to_ms.saturating_sub(self.from_ms);
        let is_long = span_ms > LONG_MS;
        let is_short = span_ms < SHORT_MS;
        let whole = if is_short { words::local_seconds(at_ms, zone) } else { words::local(at_ms, zone) };
        let part = if is_long { whole.get(..10) } else { whole.get(5..) };
        part.map_or(whole.clone(), str::to_owned)
    }
}

/// Sizes from `low` to `high`, bytes, with a line each `step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    step: f64,
}

const UNITS: [(&str, f64); 5] =
    [("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0), ("TiB", 1_099_511_627_776.0)];

impl Axis {
    /// At least a tenth of the size is shown, so that what is quiet looks quiet.
    pub(super) fn new(least: f64, most: f64) -> Self {
        let span = (most - least).max(most / 10.0).max(4.0);
        let low = (least - (span - (most - least)) / 2.0).max(0.0);
        let high = low + span;
        let (_, unit) = unit_of(span / 4.0);
        let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1024.0];
        let step = steps.into_iter().map(|factor| factor * unit).find(|step| *step >= span / 4.0);
        // Beyond TiB there is no unit, and no machine.
        let step = step.unwrap_or(span / 4.0);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    /// How far up a size is, from 0 to 1.
    pub(super) fn up(&self, bytes: f64) -> f64 {
        ((bytes - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Sizes with their labels, the smallest first.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let (name, unit) = unit_of(self.step);
        let count = ((self.high - self.low) / self.step).round() as u32;
        let at = |n: u32| self.low + f64::from(n) * self.step;
        (0..=count).map(|n| (at(n), format!("{:.0} {name}", at(n) / unit))).collect()
    }
}

/// The largest unit that is not larger.
fn unit_of(bytes: f64) -> (&'static str, f64) {
    UNITS.into_iter().rev().find(|(_, unit)| *unit <= bytes).unwrap_or(UNITS[0])
}
