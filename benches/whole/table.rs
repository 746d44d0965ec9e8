//! What is printed: a row for each figure, judged by its mark.

use std::fmt::Write;

/// What must hold of our median.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    /// At most so many times the floor's.
    AtMostTimes(f64),
    /// At least so many times the floor's.
    AtLeastTimes(f64),
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
    /// Nothing of it, in no sample; does not depend on time.
    Never,
    /// To be known only.
    None,
}

/// One figure, of the floor and of ours. A side that has no such figure has no samples.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub floor: Vec<f64>,
    pub ours: Vec<f64>,
    pub mark: Mark,
}

impl Row {
    pub fn new(what: impl Into<String>, unit: &'static str, floor: Vec<f64>, ours: Vec<f64>, mark: Mark) -> Self {
        Self { what: what.into(), unit, floor, ours, mark }
    }

    /// Whether the mark holds; `None` when there is none, or it is not to be judged.
    pub fn holds(&self, judge_times: bool) -> Option<bool> {
        if !judge_times && !matches!(self.mark, Mark::Never) {
            return None;
        }
        // A figure that cannot be had on this system misses no mark.
        let ours = median(&self.ours)?;
        let times = || median(&self.floor).map(|floor| ours / floor);
        match self.mark {
            Mark::AtMostTimes(n) => times().map(|t| t <= n),
            Mark::AtLeastTimes(n) => times().map(|t| t >= n),
            Mark::AtMost(n) => Some(ours <= n),
            Mark::AtLeast(n) => Some(ours >= n),
            Mark::Never => Some(self.ours.iter().all(|x| *x == 0.0)),
            Mark::None => None,
        }
    }

    fn mark_text(&self) -> String {
        match self.mark {
            Mark::AtMostTimes(n) => format!("≤ {n} ×"),
            Mark::AtLeastTimes(n) => format!("≥ {n} ×"),
            Mark::AtMost(n) => format!("≤ {n}"),
            Mark::AtLeast(n) => format!("≥ {n}"),
            Mark::Never => "0".into(),
            Mark::None => String::new(),
        }
    }
}

/// `other`: what ours is held against.
pub fn markdown(rows: &[Row], other: &str, judge_times: bool) -> String {
    let mut text = format!(
        "| figure | unit | n | {other}: median[, p95], range | ours: median[, p95], range | ratio | mark | |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let ratio = match (median(&row.floor), median(&row.ours)) {
            (Some(floor), Some(ours)) if floor > 0.0 => format!("{:.2}", ours / floor),
            _ => String::new(),
        };
        let verdict = match row.holds(judge_times) {
            Some(true) => "holds",
            Some(false) => "**MISSED**",
            None => "",
        };
        let (floor, ours, mark) = (samples(&row.floor), samples(&row.ours), row.mark_text());
        let Row { what, unit, .. } = row;
        let n = row.ours.len();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {what} | {unit} | {n} | {floor} | {ours} | {ratio} | {mark} | {verdict} |");
    }
    text
}

fn samples(of: &[f64]) -> String {
    let (Some(low), Some(middle), Some(p95), Some(high)) =
        (quantile(of, 0.0), median(of), quantile(of, 0.95), quantile(of, 1.0))
    else {
        return "–".into();
    };
    match of.len() {
        _ if low == high => number(middle),
        // Of so few the 95th percentile would be the greatest.
        2..20 => format!("{}, {}–{}", number(middle), number(low), number(high)),
        _ => format!("{}, {}, {}–{}", number(middle), number(p95), number(low), number(high)),
    }
}

fn number(x: f64) -> String {
    let digits = match x.abs() {
        x if x == x.round() || x >= 1000.0 => 0,
        x if x >= 100.0 => 1,
        x if x >= 0.1 => 2,
        _ => 4,
    };
    format!("{x:.digits$}")
}

/// The median; of an even number of samples the mean of the two in the middle.
pub fn median(of: &[f64]) -> Option<f64> {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

pub fn quantile(of: &[f64], q: f64) -> Option<f64> {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * q) as usize;
    sorted.get(place.min(sorted.len().checked_sub(1)?)).copied()
}
