//! What is told of growth, and the heap snapshot that is taken for it.

use serde_json::{Value, json};

use super::kept::{Episode, Slept};
use super::sampling::{End, Judged, Newest, Said};
use super::{MemoryAct, MemoryMachine, SNAPSHOT_WITHIN, Step};
use crate::model::{EventType, Growth, MemoryVerdict, Severity};
use crate::policy::trend::FAST;

/// With less than this left, hours, a person should look at it. What does not wait until one comes by is for the detector to say.
const SOON: f64 = 24.0;

/// How much it matters.
fn severity(growth: &Growth, fast: Option<u64>) -> Severity {
    // A float holds what anybody declares closely enough.
    #[expect(clippy::cast_precision_loss, reason = "a rate beyond 2^53 bytes an hour is as fast as one near it")]
    let fast = fast.unwrap_or(FAST) as f64;
    let is_soon = growth.hours_left.is_some_and(|left| left < SOON);
    if growth.verdict == MemoryVerdict::Urgent {
        Severity::Critical
    } else if growth.bytes_per_hour >= fast || is_soon {
        Severity::Warning
    } else {
        Severity::Info
    }
}

impl MemoryMachine {
    pub(super) fn on_judged(&mut self, judged: Judged, step: &mut Step) {
        let Some(run) = &self.run else { return };
        let Some(newest) = run.newest else { return };
        let run_id = run.run_id;
        let is_new = judged.tree.new.is_some() || judged.heap.new.is_some();
        let (fast, limit) = (self.spec.growth, self.spec.limit);
        let kept = &mut self.kept;
        let by = By { fast, limit, slept: &kept.slept, restarts: self.restarts };
        let mut is_changed = tell(&mut kept.growing, judged.tree, (run_id, newest, false), by, step);
        is_changed |= tell(&mut kept.heap_growing, judged.heap, (run_id, newest, true), by, step);
        self.is_dirty |= is_changed;
        if !self.is_growing() {
            self.kept.has_snapshot = false;
        }
        if is_new && !self.kept.has_snapshot && self.spec.snapshot_signal.is_some() {
            // One that could not be taken is tried again when the growth is told again.
            let _ = self.take_snapshot(step);
        }
    }

    /// Whether growth was told and has not ended.
    pub(super) fn is_growing(&self) -> bool {
        self.kept.growing.is_some() || self.kept.heap_growing.is_some()
    }

    /// Has a heap snapshot written, or says why not.
    fn take_snapshot(&mut self, step: &mut Step) -> Result<(), &'static str> {
        let now = step.at.mono;
        let signal = self.spec.snapshot_signal.ok_or("no snapshot_signal is declared in its [memory]")?;
        let run = self.run.as_ref().ok_or("it does not run")?;
        let (newest, life) = run.newest.zip(self.life.as_ref()).ok_or("its memory has not been looked at yet")?;
        if self.snapshot.is_some_and(|since| since.plus(SNAPSHOT_WITHIN) > now) {
            return Err("one is being written");
        }
        self.snapshot = Some(now);
        let (run_id, pid, start, bytes) = (run.run_id, life.pid, life.start, newest.bytes);
        step.acts.push(MemoryAct::Snapshot { run_id, pid, start, signal, bytes });
        Ok(())
    }

    pub(super) fn on_snapshot_wanted(&mut self, step: &mut Step) {
        if let Err(why) = self.take_snapshot(step) {
            let run_id = self.run.as_ref().map(|run| run.run_id);
            step.record(EventType::MemorySnapshot, json!({ "run_id": run_id, "failed": why }));
        }
    }

    pub(super) fn on_snapshot(&mut self, run_id: u64, taken: Result<String, String>, step: &mut Step) {
        self.snapshot = None;
        let data = match taken {
            Ok(file) => {
                self.kept.has_snapshot |= self.is_growing();
                self.is_dirty = true;
                json!({ "run_id": run_id, "file": file })
            }
            Err(why) => json!({ "run_id": run_id, "failed": why }),
        };
        step.record(EventType::MemorySnapshot, data);
        // What it used meanwhile was the snapshot's.
        self.plan(run_id, step.at.mono);
    }
}

/// What growth is told by.
#[derive(Clone, Copy)]
struct By<'a> {
    fast: Option<u64>,
    limit: Option<u64>,
    slept: &'a [Slept],
    restarts: bool,
}

/// Puts what is new, and what is over, on record; whether there was anything.
fn tell(
    slot: &mut Option<Episode>,
    said: Said,
    (run_id, newest, is_heap): (u64, Newest, bool),
    By { fast, limit, slept, restarts }: By<'_>,
    step: &mut Step,
) -> bool {
    let mut data = match said {
        Said { new: Some(growth), .. } => {
            let began_ms = Slept::awake_before(slept, step.at.wall_ms, growth.hours);
            let since_ms = slot.as_ref().map_or(began_ms, |told| told.since_ms);
            // Without it what is left is what the machine has.
            let limit = limit.filter(|_| newest.end == Some(End::Limit));
            let data = json!({
                "run_id": run_id, "limit": limit, "bytes": newest.bytes, "metric": newest.metric,
                "severity": severity(&growth, fast), "since_ms": since_ms, "verdict": growth.verdict,
                "bytes_per_hour": growth.bytes_per_hour, "low": growth.low, "high": growth.high,
                "grown": growth.grown, "hours": growth.hours, "hours_left": growth.hours_left,
                "bytes_per_request": growth.bytes_per_request, "test": growth.test,
            });
            *slot = Some(Episode { since_ms, growth });
            data
        }
        Said { stands: true, .. } => return false,
        Said { .. } if slot.take().is_none() => return false,
        Said { .. } => json!({ "run_id": run_id, "bytes": newest.bytes, "metric": newest.metric, "cleared": true }),
    };
    if !restarts {
        data["restarts"] = false.into();
    }
    if is_heap {
        data["of"] = Value::from("heap");
    }
    step.record(EventType::MemoryGrowth, data);
    true
}
