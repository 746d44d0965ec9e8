//! Whether the floor rises along a straight line that nothing shows an end of.
//!
//! A window of the last hours is cut into twelve blocks, of each the least is taken. What grows by itself and ends looks different in one
//! of these ways: caches and warm-ups get slower, days rise in the middle and fall again, configuration changes are one step, what was
//! paged out comes back to where it was. The shorter the window, the straighter and the steeper the line has to be.

use super::floor::{Floor, HOUR};

/// Blocks of a window.
const BLOCKS: usize = 12;

/// KiB of a MiB.
const MIB: f64 = 1024.0;

/// Growth of less than this is none, KiB.
pub(super) const LEAST: f64 = 4.0 * MIB;

/// How often in a row (each quarter of an hour) a window has to say so.
const FAVOUR: u8 = 2;

/// The age of a life, in windows, after which the logarithm of the age is nearly straight itself.
const LOG_UNTIL: f64 = 2.5;

/// Which lives a window is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// Those whose whole time is one line: no daily load begins with the process.
    Young,
    /// Those that were within narrow bounds for a day before.
    Settled,
    /// All.
    Any,
}

/// How a window is judged.
struct Horizon {
    hours: usize,
    of: For,
    /// Growth, as a share of the level at the window's start.
    growth: f64,
    /// Each third of the way, as a share of its mean.
    each: f64,
    /// The last third, likewise.
    last: f64,
    /// The last two blocks, as a share of the mean slope: what stands still is over.
    still: f64,
    /// How much the middle third may have above the others, as a share of the mean: a day's rise is steepest there.
    bulge: f64,
    /// Pairs of blocks that are in order less those that are not, as a share (Mann-Kendall).
    order: f64,
}

const fn short(hours: usize, of: For, growth: f64, each: f64, last: f64) -> Horizon {
    Horizon { hours, of, growth, each, last, still: 0.6, bulge: 0.2, order: 0.85 }
}

const fn long(hours: usize, growth: f64, each: f64, last: f64) -> Horizon {
    let (still, bulge) = if hours <= 12 { (0.55, 0.2) } else { (0.2, if hours <= 16 { 0.2 } else { 1.0 }) };
    Horizon { hours, of: For::Any, growth, each, last, still, bulge, order: 0.75 }
}

const HORIZONS: [Horizon; 15] = [
    short(3, For::Young, 0.3, 0.85, 0.9),
    short(4, For::Young, 0.3, 0.8, 0.85),
    short(4, For::Settled, 0.3, 0.8, 0.85),
    short(6, For::Young, 0.3, 0.8, 0.85),
    short(6, For::Settled, 0.25, 0.8, 0.85),
    short(10, For::Young, 0.15, 0.75, 0.85),
    long(12, 0.06, 0.8, 0.8),
    long(16, 0.06, 0.5, 0.7),
    long(20, 0.06, 0.35, 0.5),
    long(24, 0.06, 0.3, 0.4),
    long(36, 0.08, 0.3, 0.5),
    long(48, 0.08, 0.3, 0.5),
    long(64, 0.08, 0.5, 0.7),
    long(80, 0.08, 0.5, 0.7),
    long(96, 0.08, 0.5, 0.7),
];

/// How many windows there are.
pub(super) const WINDOWS: usize = HORIZONS.len();

/// A line that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    /// Hours awake of its window.
    pub(super) hours: f64,
    /// KiB per hour.
    pub(super) slope: f64,
    /// What that is at least and at most.
    pub(super) bounds: (f64, f64),
    /// KiB by which it has grown in the window.
    pub(super) grown: f64,
}

/// What is known beside the floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    /// How far this life and former ones have fallen gradually, KiB.
    pub(super) swing: f64,
    /// The highest level of former lives that had settled, KiB.
    pub(super) settled: f64,
    /// Stretches that nothing was told of yet.
    pub(super) fresh: usize,
    /// Growth per hour from which a short window says something, KiB.
    pub(super) fast: f64,
    /// KiB that are left.
    pub(super) room: Option<f64>,
}

/// The line of the shortest window that has shown one often enough in a row; `favour` counts that.
pub(super) fn find(floor: &Floor, beside: &Beside, favour: &mut [u8; WINDOWS]) -> Option<Line> {
    let mut found = None;
    for (horizon, favour) in HORIZONS.iter().zip(favour) {
        let line = beside.fresh.checked_sub(horizon.hours * HOUR + 2).and_then(|_| line(floor, beside, horizon));
        *favour = if line.is_some() { favour.saturating_add(1) } else { 0 };
        if *favour >= FAVOUR {
            found = found.or(line);
        }
    }
    found
}

fn line(floor: &Floor, beside: &Beside, h: &Horizon) -> Option<Line> {
    let window = h.hours * HOUR;
    let from = floor.len().checked_sub(window)?;
    let is_for = match h.of {
        For::Young => floor.is_whole() && floor.len() <= window + 6,
        For::Settled => from >= 24 * HOUR,
        For::Any => true,
    };
    if !is_for {
        return None;
    }
    let blocks = blocks(floor, from, window)?;
    let quarters = quarters(&blocks);
    let climbs: [f64; 3] = std::array::from_fn(|k| quarters[k + 1] - quarters[k]);
    let mean = (quarters[3] - quarters[0]) / 3.0;
    // From the middle of the first quarter to the middle of the last: that is three quarters of the window.
    let growth = mean * 4.0;
    let step = growth / BLOCKS as f64;
    let hours = h.hours as f64;
    let is_enough = growth >= LEAST.max(5.0 * spread(&blocks, &quarters, step));
    if !is_enough || !is_large(growth, quarters[0], h, beside) {
        return None;
    }
    if h.of == For::Settled && growth < 5.0 * range(floor, 2 * HOUR, from)? {
        return None;
    }
    // What follows the day falls as far as it rises; from a whole day on that shows in the window.
    let is_within_a_day = h.hours < 23;
    if is_within_a_day && growth < 1.3 * beside.swing {
        return None;
    }
    let is_straight = climbs.iter().all(|climb| *climb >= h.each * mean)
        && climbs[2] >= h.last * mean
        && climbs[1] - (climbs[0] + climbs[2]) / 2.0 <= h.bulge * mean
        && blocks[BLOCKS - 1] - blocks[BLOCKS - 3] >= 2.0 * h.still * step
        && order(&blocks) >= h.order
        && is_no_stair(&blocks, growth, step);
    if !is_straight {
        return None;
    }
    // Everything that was there before, in this life and in those that had settled, says where growth begins.
    let former = if is_within_a_day { beside.settled } else { 0.0 };
    if quarters[3] - floor.highest_held(from).max(former) < 0.45 * growth {
        return None;
    }
    if slows_down(&blocks, floor.hours(), hours) {
        return None;
    }
    let (low, slope, high) = slopes(&blocks, hours);
    Some(Line { hours, slope, bounds: (low, high), grown: growth })
}

/// Whether so much growth in a window matters. What leaves little time does so early.
fn is_large(growth: f64, level: f64, h: &Horizon, beside: &Beside) -> bool {
    let per_hour = growth / h.hours as f64;
    let is_short = h.hours < 9;
    let is_pressing = is_short && beside.room.is_some_and(|room| per_hour * super::URGENT_HOURS > room);
    if is_pressing {
        return growth >= 0.1 * level;
    }
    growth >= h.growth * level && (!is_short || per_hour >= beside.fast)
}

/// The least of each block, KiB; few that are hidden are filled in.
fn blocks(floor: &Floor, from: usize, window: usize) -> Option<[f64; BLOCKS]> {
    let edge = |k: usize| from + window * k / BLOCKS;
    let known: [Option<f64>; BLOCKS] = std::array::from_fn(|k| floor.least(edge(k), edge(k + 1)));
    let hidden = known.iter().filter(|block| block.is_none()).count();
    if hidden > 3 {
        return None;
    }
    let mut filled = [known[0]?; BLOCKS];
    for k in 1..BLOCKS {
        filled[k] = match known[k] {
            Some(kib) => kib,
            None => {
                let ahead = (k..BLOCKS).position(|j| known[j].is_some())?;
                filled[k - 1] + (known[k + ahead]? - filled[k - 1]) / (ahead + 1) as f64
            }
        };
    }
    Some(filled)
}

/// The median of each quarter of the window.
fn quarters(blocks: &[f64; BLOCKS]) -> [f64; 4] {
    let median = |a: f64, b: f64, c: f64| a.max(b).min(a.min(b).max(c));
    std::array::from_fn(|k| median(blocks[3 * k], blocks[3 * k + 1], blocks[3 * k + 2]))
}

/// The median distance of the blocks from the line.
fn spread(blocks: &[f64; BLOCKS], quarters: &[f64; 4], step: f64) -> f64 {
    let middle = quarters.iter().sum::<f64>() / 4.0;
    let mut off: [f64; BLOCKS] = std::array::from_fn(|k| (blocks[k] - middle - step * (k as f64 - 5.5)).abs());
    off.sort_unstable_by(f64::total_cmp);
    (off[BLOCKS / 2 - 1] + off[BLOCKS / 2]) / 2.0
}

fn order(blocks: &[f64; BLOCKS]) -> f64 {
    let mut sum = 0.0;
    for (k, earlier) in blocks.iter().enumerate() {
        for later in &blocks[k + 1..] {
            sum += if later > earlier {
                1.0
            } else if later < earlier {
                -1.0
            } else {
                0.0
            };
        }
    }
    sum / (BLOCKS * (BLOCKS - 1) / 2) as f64
}

/// Whether most blocks rise, and none by far the most.
fn is_no_stair(blocks: &[f64; BLOCKS], growth: f64, step: f64) -> bool {
    let steps = || blocks.windows(2).map(|pair| pair[1] - pair[0]);
    steps().filter(|rise| *rise > 0.2 * step).count() >= 6 && steps().all(|rise| rise <= 0.45 * growth)
}

/// How far the floor was from its lowest to its highest between these stretches, KiB.
fn range(floor: &Floor, from: usize, until: usize) -> Option<f64> {
    let known = || (from..until).filter_map(|k| floor.at(k));
    Some(known().max_by(f64::total_cmp)? - known().min_by(f64::total_cmp)?)
}

/// Whether a curve that gets flatter with age fits better than a straight line. All ages in hours.
fn slows_down(blocks: &[f64; BLOCKS], age: f64, window: f64) -> bool {
    if age >= LOG_UNTIL * window {
        return false;
    }
    let at = |k: usize| age - window + window * (k as f64 + 0.5) / BLOCKS as f64;
    // Half-way, in effect, between the logarithm of the age and a line: what bends that much has begun to end.
    let bent = misfit(blocks, |k| (at(k) + 0.6 * window).max(0.1).ln());
    bent < misfit(blocks, |k| k as f64)
}

/// What is left of the blocks' squares when they are explained by `x`.
fn misfit(blocks: &[f64; BLOCKS], x: impl Fn(usize) -> f64) -> f64 {
    let count = BLOCKS as f64;
    let mean_x = (0..BLOCKS).map(&x).sum::<f64>() / count;
    let mean_y = blocks.iter().sum::<f64>() / count;
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (k, y) in blocks.iter().enumerate() {
        let (dx, dy) = (x(k) - mean_x, y - mean_y);
        xx += dx * dx;
        xy += dx * dy;
        yy += dy * dy;
    }
    yy - xy * xy / xx
}

/// KiB per hour: the median of the slopes of all pairs of blocks (Theil and Sen), and the bounds within which 95 of 100 would be.
fn slopes(blocks: &[f64; BLOCKS], hours: f64) -> (f64, f64, f64) {
    const PAIRS: usize = BLOCKS * (BLOCKS - 1) / 2;
    // Sen 1968: the ranks (PAIRS -+ 1.96 sqrt(n (n - 1) (2 n + 5) / 18)) / 2.
    const REACH: usize = 14;
    let mut all = [0.0; PAIRS];
    let pairs = (0..BLOCKS).flat_map(|k| (k + 1..BLOCKS).map(move |j| (k, j)));
    for (slope, (k, j)) in all.iter_mut().zip(pairs) {
        *slope = (blocks[j] - blocks[k]) / ((j - k) as f64 * hours / BLOCKS as f64);
    }
    all.sort_unstable_by(f64::total_cmp);
    (all[PAIRS / 2 - REACH], all[PAIRS / 2], all[PAIRS / 2 + REACH])
}

/// KiB per hour of the last `hours` at most; `None` when there are fewer than three.
pub(super) fn present_slope(floor: &Floor, hours: usize) -> Option<f64> {
    let window = floor.len().min(hours * HOUR);
    if window < 3 * HOUR {
        return None;
    }
    let blocks = blocks(floor, floor.len() - window, window)?;
    Some(slopes(&blocks, window as f64 / HOUR as f64).1)
}
