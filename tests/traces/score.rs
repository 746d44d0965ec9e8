//! How well a detector did: the rules by which traces are scored everywhere.
//!
//! - episodes: alerts of one trace within 24 h of an episode's first alert are one;
//! - false: an episode on a healthy trace, or one that begins before the onset;
//! - detected: there is an alert at or after the onset, whatever was told before;
//! - precision: detected leaks / (detected leaks + traces with a false episode); recall: detected / leaking traces;
//! - timely: detected within max(24 h, 3 x ideal delay) of the onset;
//! - false per week: false episodes per 168 h of healthy running (healthy traces, and leaking ones before the onset).

use std::collections::BTreeMap;

use crate::trace::{Group, Trace};

/// What alerts on one trace were worth.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The trace's.
    pub class: &'static str,
    /// The trace's.
    pub group: Group,
    /// Episodes without a leak.
    pub false_episodes: usize,
    /// Hours in which any alert would be false.
    pub healthy_hours: f64,
    /// Of a leaking trace.
    pub leak: Option<Found>,
    /// Hours from the start to the first alert.
    pub first: Option<f64>,
}

/// How a leak was found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Hours from the onset to the alert, where there was one.
    pub delay: Option<f64>,
    /// The same as a multiple of the ideal delay.
    pub ratio: Option<f64>,
    /// Soon enough.
    pub timely: bool,
    /// MiB per hour.
    pub slope: f64,
    /// MiB that it had added by then.
    pub grown: Option<f64>,
}

/// `alerts` are times in seconds since the trace's start, in their order.
pub fn judge(trace: &Trace, alerts: &[f64]) -> Judged {
    let end = trace.hours * 3600.0;
    let onset = trace.leak.map(|leak| leak.onset);
    let mut episodes: Vec<f64> = Vec::new();
    for &alert in alerts {
        if episodes.last().is_none_or(|last| alert - last > 86_400.0) {
            episodes.push(alert);
        }
    }
    let leak = trace.leak.map(|leak| {
        let delay = alerts.iter().find(|&&alert| alert >= leak.onset).map(|alert| (alert - leak.onset) / 3600.0);
        Found {
            delay,
            ratio: delay.map(|hours| hours / leak.ideal),
            timely: delay.is_some_and(|hours| hours <= (3.0 * leak.ideal).max(24.0)),
            slope: leak.slope,
            grown: delay.map(|hours| hours * leak.slope),
        }
    });
    Judged {
        class: trace.class,
        group: trace.group,
        false_episodes: episodes.iter().filter(|&&first| onset.is_none_or(|onset| first < onset)).count(),
        healthy_hours: onset.map_or(end, |onset| onset.min(end)) / 3600.0,
        leak,
        first: alerts.first().map(|alert| alert / 3600.0),
    }
}

/// The pooled score of some traces.
#[derive(Debug, Clone)]
pub struct Score {
    /// How many, with how many leaks.
    pub traces: usize,
    /// Of these leak.
    pub leaks: usize,
    /// Of these were found.
    pub detected: usize,
    /// See the rules above.
    pub precision: f64,
    /// See the rules above.
    pub recall: f64,
    /// Part of the leaks.
    pub timely: f64,
    /// Episodes without a leak.
    pub false_episodes: usize,
    /// Of healthy running.
    pub weeks: f64,
    /// Hours: median and nine of ten.
    pub delay: (f64, f64),
    /// The same as a multiple of the ideal delay.
    pub ratio: (f64, f64),
    /// Hours: the median of leaks over 60 MiB per hour.
    pub fast_delay: f64,
    /// MiB that leaks had added when they were told: median.
    pub grown: f64,
}

impl Score {
    /// Of all of them.
    pub fn of<'a>(all: impl Iterator<Item = &'a Judged>) -> Self {
        let all: Vec<&Judged> = all.collect();
        let leaks: Vec<Found> = all.iter().filter_map(|judged| judged.leak).collect();
        let delays: Vec<f64> = leaks.iter().filter_map(|leak| leak.delay).collect();
        let ratios: Vec<f64> = leaks.iter().filter_map(|leak| leak.ratio).collect();
        let grown: Vec<f64> = leaks.iter().filter_map(|leak| leak.grown).collect();
        let fast: Vec<f64> = leaks.iter().filter(|leak| leak.slope > 60.0).filter_map(|leak| leak.delay).collect();
        let flagged = all.iter().filter(|judged| judged.false_episodes > 0).count();
        let part = |of: usize, all: usize| if all == 0 { f64::NAN } else { of as f64 / all as f64 };
        Self {
            traces: all.len(),
            leaks: leaks.len(),
            detected: delays.len(),
            precision: part(delays.len(), delays.len() + flagged),
            recall: part(delays.len(), leaks.len()),
            timely: part(leaks.iter().filter(|leak| leak.timely).count(), leaks.len()),
            false_episodes: all.iter().map(|judged| judged.false_episodes).sum(),
            weeks: all.iter().map(|judged| judged.healthy_hours).sum::<f64>() / 168.0,
            delay: (quantile(&delays, 0.5), quantile(&delays, 0.9)),
            ratio: (quantile(&ratios, 0.5), quantile(&ratios, 0.9)),
            fast_delay: quantile(&fast, 0.5),
            grown: quantile(&grown, 0.5),
        }
    }

    /// False episodes in each week of healthy running.
    pub fn false_per_week(&self) -> f64 {
        self.false_episodes as f64 / self.weeks
    }

    /// In one line.
    pub fn line(&self) -> String {
        format!(
            "P {:.3} R {:.3} ({}/{} of {}) timely {:.3} | false/week {:.3} ({} in {:.1}) | delay h {:.1} p90 {:.1}, ratio {:.1} p90 {:.1} | over 60 MiB/h {:.1} h | grown {:.0} MiB",
            self.precision,
            self.recall,
            self.detected,
            self.leaks,
            self.traces,
            self.timely,
            self.false_per_week(),
            self.false_episodes,
            self.weeks,
            self.delay.0,
            self.delay.1,
            self.ratio.0,
            self.ratio.1,
            self.fast_delay,
            self.grown
        )
    }
}

/// With linear interpolation; nothing of nothing.
pub fn quantile(of: &[f64], part: f64) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = part * last as f64;
    let below = at as usize;
    sorted[below] + (sorted[(below + 1).min(last)] - sorted[below]) * (at - below as f64)
}

/// A line for each class, then for each group, then for all that can be told.
pub fn report(all: &[Judged]) -> Score {
    let mut by_class: BTreeMap<(Group, bool, &str), Vec<&Judged>> = BTreeMap::new();
    for judged in all {
        by_class.entry((judged.group, judged.leak.is_some(), judged.class)).or_default().push(judged);
    }
    for ((group, leaks, class), of) in &by_class {
        let wrong: usize = of.iter().map(|judged| judged.false_episodes).sum();
        let flagged = of.iter().filter(|judged| judged.false_episodes > 0).count();
        if *leaks {
            let delays: Vec<String> = of
                .iter()
                .map(|judged| {
                    judged
                        .leak
                        .and_then(|leak| leak.delay)
                        .map_or_else(|| "-".to_owned(), |hours| format!("{hours:.0}"))
                })
                .collect();
            let found = delays.iter().filter(|delay| *delay != "-").count();
            let early = if wrong > 0 { format!("  FALSE before {wrong}") } else { String::new() };
            println!(
                "  {:9} {class:22} found {found}/{}  delay h {}{early}",
                group.to_string(),
                of.len(),
                delays.join(" ")
            );
        } else {
            let wrong = if wrong > 0 {
                format!("FALSE {wrong} episodes on {flagged}/{}", of.len())
            } else {
                format!("quiet on {}", of.len())
            };
            println!("  {:9} {class:22} {wrong}", group.to_string());
        }
    }
    for group in [Group::Core, Group::Further] {
        let score = Score::of(all.iter().filter(|judged| judged.group == group));
        if score.traces > 0 {
            println!("{:9} {}", group.to_string(), score.line());
        }
    }
    let unclear: Vec<&Judged> = all.iter().filter(|judged| judged.group == Group::Ambiguous).collect();
    if !unclear.is_empty() {
        println!(
            "ambiguous told {} of {}",
            unclear.iter().filter(|judged| judged.first.is_some()).count(),
            unclear.len()
        );
    }
    let pooled = Score::of(all.iter().filter(|judged| judged.group != Group::Ambiguous));
    println!("{:9} {}", "all", pooled.line());
    pooled
}
