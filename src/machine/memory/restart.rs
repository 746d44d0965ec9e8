//! Too much memory: told, and the service restarted for it when that may be.

use std::time::Duration;

use serde_json::{Value, json};

use super::kept::{LevelTold, Restarted};
use super::{Flight, MemoryAct, MemoryMachine, Step};
use crate::machine::records::millis;
use crate::model::{EventType, Moment, Mono, OnGrowth, Severity};
use crate::policy::limit::{self, Bounds, Chance, Stage, Wait};

/// How often it is asked whether it is idle, and the hour looked at, while a restart waits.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// An answer that takes longer says that it is busy.
const IDLE_WITHIN: Duration = Duration::from_secs(10);

/// An order that shows no effect is given again: its runner may have died with it.
const AGAIN: Duration = Duration::from_secs(10);

/// For growth alone it is restarted at most so often, milliseconds.
const GROWTH_EVERY_MS: i64 = 24 * 3_600_000;

/// What a restart is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// It is above its limit.
    Limit,
    /// It grows, and `on_growth` says so.
    Growth,
}

/// A restart that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) aim: Aim,
    since: Moment,
    /// How long it had waited before, by the word of a former daemon.
    before: Duration,
    /// Restarts that do not help get rarer.
    not_before: Mono,
    /// When it was last looked at whether it may be.
    looked: Mono,
    asked: Option<Mono>,
    pub(super) ordered: Option<Mono>,
}

impl Waiting {
    /// When it is to be looked at next.
    pub(super) fn due(&self) -> Mono {
        match self.ordered {
            Some(ordered) => ordered.plus(AGAIN),
            None => self.looked.plus(LOOK_EVERY).max(self.not_before),
        }
    }

    /// Whether it would not even be restarted if it were idle.
    pub(super) fn is_held_back(&self) -> bool {
        self.not_before > self.looked
    }

    /// When it is put off to, milliseconds since 1970 UTC.
    pub(super) fn put_off_to_ms(&self) -> i64 {
        let rest = self.not_before.since(self.since.mono);
        self.since.wall_ms.saturating_add(i64::try_from(rest.as_millis()).unwrap_or(i64::MAX))
    }

    /// When it has waited for as long as it may, milliseconds since 1970 UTC.
    pub(super) fn latest_ms(&self, max_wait: Duration) -> i64 {
        let left = max_wait.saturating_sub(self.before).as_millis();
        self.since.wall_ms.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)).max(self.put_off_to_ms())
    }

    fn waited(&self, now: Moment) -> Duration {
        self.before.saturating_add(Duration::from_nanos(now.boot_ns.saturating_sub(self.since.boot_ns)))
    }
}

impl MemoryMachine {
    pub(super) fn bounds(&self) -> Option<Bounds> {
        let limit = self.spec.limit?;
        Some(Bounds { limit, ceiling: self.spec.ceiling.unwrap_or(u64::MAX) })
    }

    /// Tells that it comes near its limit, is above it, and no more is.
    pub(super) fn on_level(&mut self, bytes: u64, free: Option<u64>, step: &mut Step) {
        let bounds = self.bounds();
        let Some(run) = &mut self.run else { return };
        let run_id = run.run_id;
        let told = self.kept.level.filter(|told| told.run_id == run_id);
        let before = told.map_or(Stage::Below, |told| told.stage);
        let stage = bounds.map_or(Stage::Below, |bounds| run.level.sample(bytes, free, bounds));
        if stage == before {
            return;
        }
        let was_open = told.is_some_and(|told| told.is_open);
        let is_open = stage == Stage::Over || (stage == Stage::Near && before == Stage::Below);
        self.kept.level = Some(LevelTold { run_id, stage, is_open, since_ms: step.at.wall_ms });
        self.is_dirty = true;
        if stage == Stage::Over {
            self.count_unhelped(step.at);
        }
        let Some(bounds) = bounds.filter(|_| is_open) else {
            if was_open {
                let data = json!({ "run_id": run_id, "bytes": bytes, "cleared": true });
                step.record(EventType::MemoryLimit, data);
            }
            return;
        };
        let mut data = self.row(run_id, stage.as_str(), bytes, bounds);
        if stage == Stage::Over && self.restarts {
            data["ceiling"] = self.spec.ceiling.into();
            data["unhelped"] = self.kept.unhelped.into();
            let rest = self.rest(step.at);
            // With nothing held back, one that waits is not restarted in 0 s.
            if !rest.is_zero() || (self.spec.idle.is_none() && self.spec.quiet.is_empty()) {
                data["restart_in_ms"] = millis(rest).into();
            }
            data["idle"] = self.spec.idle.is_some().into();
            data["quiet"] = (!self.spec.quiet.is_empty()).into();
            data["max_wait_ms"] = millis(self.spec.max_wait).into();
        }
        step.record(EventType::MemoryLimit, data);
    }

    fn row(&self, run_id: u64, stage: &str, bytes: u64, bounds: Bounds) -> Value {
        let severity = if self.kept.unhelped > 0 { Severity::Critical } else { Severity::Warning };
        let metric = self.run.as_ref().and_then(|run| run.newest).map(|newest| newest.metric);
        let mut data = json!({
            "run_id": run_id, "stage": stage, "severity": severity, "bytes": bytes, "limit": bounds.limit, "metric": metric,
        });
        if !self.restarts {
            data["restarts"] = false.into();
        }
        data
    }

    /// It is above its limit: whether the restart before this run helped.
    fn count_unhelped(&mut self, at: Moment) {
        let (Some(run), Some(restarted)) = (&self.run, &mut self.kept.restarted) else { return };
        if restarted.run_id == run.run_id || restarted.judged_by == Some(run.run_id) {
            return;
        }
        restarted.judged_by = Some(run.run_id);
        let ran = Duration::from_millis(u64::try_from(at.wall_ms.saturating_sub(run.started_ms)).unwrap_or(0));
        // Who is looked at rarely is found above it that much later.
        let helped = limit::HELPED.saturating_add(self.spec.interval);
        self.kept.unhelped = if ran < helped { self.kept.unhelped.saturating_add(1) } else { 0 };
    }

    /// How long the next restart is held back.
    fn rest(&self, at: Moment) -> Duration {
        let Some(restarted) = self.kept.restarted.filter(|_| self.spaced) else { return Duration::ZERO };
        let ago = Duration::from_millis(u64::try_from(at.wall_ms.saturating_sub(restarted.at_ms)).unwrap_or(0));
        limit::rest(self.kept.unhelped).saturating_sub(ago)
    }

    /// What it is to be restarted for, if for anything.
    fn aim(&self, at: Moment) -> Option<Aim> {
        // Ended for its memory it would stay down.
        let run = self.run.as_ref().filter(|_| self.restarts)?;
        if self.bounds().is_some_and(|bounds| run.level.wants_restart(bounds)) {
            return Some(Aim::Limit);
        }
        let rested = self.kept.growth_restart_ms.is_none_or(|last| {
            // A clock that was set back does not hold it for ever.
            !(last..last.saturating_add(GROWTH_EVERY_MS)).contains(&at.wall_ms)
        });
        let wants = self.spec.on_growth == OnGrowth::RestartWhenIdle && self.is_growing();
        (wants && rested).then_some(Aim::Growth)
    }

    /// Has it restarted, if that is due and may be; `idle` is what it has just said.
    pub(super) fn consider(&mut self, idle: Option<bool>, step: &mut Step) {
        let now = step.at;
        let aim = self.aim(now);
        let kept_since = self.kept.level.filter(|told| told.stage == Stage::Over).map(|told| told.since_ms);
        let rest = self.rest(now);
        let Some(run) = &mut self.run else { return };
        // One that is ordered for growth is carried out, whatever is wanted after it.
        let ordered = run.waiting.filter(|waiting| waiting.aim == Aim::Growth && waiting.ordered.is_some());
        let aim = aim.or(ordered.map(|waiting| waiting.aim));
        let (Some(aim), Some(newest)) = (aim, run.newest) else {
            run.waiting = None;
            return;
        };
        if run.waiting.is_none_or(|waiting| waiting.aim != aim) {
            let before = kept_since.filter(|_| aim == Aim::Limit).map_or(0, |since| now.wall_ms.saturating_sub(since));
            let before = Duration::from_millis(u64::try_from(before).unwrap_or(0)).min(self.spec.max_wait);
            let rest = if aim == Aim::Limit { rest } else { Duration::ZERO };
            let (not_before, looked) = (now.mono.plus(rest), now.mono);
            run.waiting = Some(Waiting { aim, since: now, before, not_before, looked, asked: None, ordered: None });
        }
        // A program that writes down its heap is not cut off.
        if self.snapshot.is_some() {
            return;
        }
        let (run_id, is_beyond) = (run.run_id, run.level.is_beyond());
        let Some(waiting) = &mut run.waiting else { return };
        if let Some(ordered) = waiting.ordered {
            if now.mono >= ordered.plus(AGAIN) {
                waiting.ordered = Some(now.mono);
                step.restart = Some(run_id);
            }
            return;
        }
        waiting.looked = now.mono;
        if now.mono < waiting.not_before {
            return;
        }
        let wait = Wait {
            quiet: &self.spec.quiet,
            asks_idle: self.spec.idle.is_some(),
            minute: newest.minute(now),
            idle,
            waited: waiting.waited(now),
            max_wait: self.spec.max_wait,
            beyond: is_beyond,
        };
        let chance = match aim {
            Aim::Limit => limit::may_restart(&wait),
            Aim::Growth => limit::is_good_time(&wait),
        };
        if let Some(chance) = chance {
            waiting.ordered = Some(now.mono);
            let waited = waiting.waited(now);
            return self.order(run_id, aim, (chance, waited), newest.bytes, step);
        }
        let is_time = waiting.asked.is_none_or(|asked| now.mono.since(asked) >= LOOK_EVERY);
        if self.spec.idle.is_some() && self.asking.is_none() && is_time {
            waiting.asked = Some(now.mono);
            self.asking = Some(Flight { run_id, is_void: false });
            step.acts.push(MemoryAct::AskIdle { run_id, timeout: IDLE_WITHIN });
        }
    }

    fn order(&mut self, run_id: u64, aim: Aim, (chance, waited): (Chance, Duration), bytes: u64, step: &mut Step) {
        let at_ms = step.at.wall_ms;
        let (event, mut data) = match (aim, self.bounds()) {
            (Aim::Limit, Some(bounds)) => {
                self.kept.restarted = Some(Restarted { run_id, at_ms, judged_by: None });
                (EventType::MemoryLimit, self.row(run_id, "restart", bytes, bounds))
            }
            _ => {
                self.kept.growth_restart_ms = Some(at_ms);
                (EventType::MemoryGrowth, json!({ "run_id": run_id, "stage": "restart", "bytes": bytes }))
            }
        };
        self.is_dirty = true;
        data["chance"] = chance.as_str().into();
        data["waited_ms"] = millis(waited).into();
        step.record(event, data);
        step.restart = Some(run_id);
    }
}
