//! What readers are told.

use super::MemoryMachine;
use super::restart::{Aim, Waiting};
use crate::machine::words::{Reader, clock, count, size};
use crate::model::MemoryInfo;

impl MemoryMachine {
    /// For `status`, in times of day of `at`; `None` until a run was looked at.
    pub fn info(&self, at: Reader<'_>) -> Option<MemoryInfo> {
        let run = self.run.as_ref()?;
        let newest = run.newest?;
        // Of the heap only what is told of it is shown: the numbers are those of the tree.
        let growing = self.kept.growing.as_ref();
        Some(MemoryInfo {
            bytes: newest.bytes,
            metric: newest.metric,
            bytes_per_hour: self.trends.tree.bytes_per_hour(),
            verdict: Some(growing.map_or_else(|| self.trends.tree.verdict(), |told| told.growth.verdict)),
            processes: newest.processes,
            sampled_ms: newest.at.wall_ms,
            growth: growing.map(|told| told.growth.clone()),
            growing_since_ms: growing.map(|told| told.since_ms),
            waiting: run.waiting.as_ref().map(|waiting| self.waiting(waiting, at)),
            heap_bytes: newest.heap,
            troubles: self.troubles.told(),
        })
    }

    fn waiting(&self, waiting: &Waiting, at: Reader<'_>) -> String {
        if waiting.ordered.is_some() {
            return "it is being restarted for its memory".into();
        }
        let why = match (waiting.aim, self.spec.limit) {
            (Aim::Limit, Some(limit)) => format!("it is above its limit of {}", size(limit)),
            _ => "it grows".into(),
        };
        if waiting.is_held_back() {
            let times = usize::try_from(self.kept.unhelped).unwrap_or(usize::MAX);
            let until = clock(waiting.put_off_to_ms(), at);
            let helped = format!("{} for that did not help", count(times, "restart"));
            return format!("{why}, and {helped}: the next one is put off until {until}");
        }
        let mut until: Vec<String> = self.spec.idle.iter().map(|_| "until it is idle".into()).collect();
        let hours: Vec<String> = self.spec.quiet.iter().map(ToString::to_string).collect();
        if !hours.is_empty() {
            until.push(format!("for {}", hours.join(", ")));
        }
        let most = match waiting.aim {
            Aim::Limit => format!(", at {} at the latest", clock(waiting.latest_ms(self.spec.max_wait), at)),
            Aim::Growth => String::new(),
        };
        format!("{why}: its restart waits {}{most}", until.join(" or "))
    }
}
