//! What readers are told.

use super::{MonitorMachine, Watched};
use crate::machine::words::lasting;
use crate::model::{HealthInfo, Moment};
use crate::policy::gap::GRACE;
use crate::policy::relapse::UNHELPED;

impl MonitorMachine {
    /// How the service is; `None` without a run.
    pub fn info(&self, now: Moment) -> Option<HealthInfo> {
        let watched = self.watched.as_ref()?;
        let row = &watched.row;
        let waits = watched.convicted.as_ref().filter(|convicted| convicted.waits(now.mono));
        let in_ms =
            |until: crate::model::Mono| i64::try_from(until.since(now.mono).as_millis()).unwrap_or(i64::MAX / 2);
        Some(HealthInfo {
            verdict: self.verdict(now.mono),
            latency_ms: row.latency_ms,
            checked_ms: row.checked_ms,
            failing_since_ms: row.bad.as_ref().map(|(since, _)| since.wall_ms),
            failure: row.bad.as_ref().map(|(_, why)| why.clone()),
            note: self.note(watched, now),
            latencies: row.latencies(),
            start: self.start_info(now.mono),
            parts: self.parts.list(),
            restart_at_ms: waits.map(|convicted| now.wall_ms.saturating_add(in_ms(convicted.restart_at))),
        })
    }

    fn note(&self, watched: &Watched, now: Moment) -> Option<String> {
        let convicted = watched.convicted.as_ref().filter(|convicted| convicted.waits(now.mono));
        if let Some(convicted) = convicted {
            return Some(match convicted.unhelped {
                times if times >= UNHELPED => format!("{times} restarts did not help"),
                _ => "it was ended by force a moment ago, more than once".into(),
            });
        }
        if let Some(woke) = self.woke.filter(|woke| now.mono.since(woke.at) < GRACE) {
            let ago = |d: std::time::Duration| lasting(i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
            let who = if woke.gap.slept.is_zero() { "the supervisor stood still for" } else { "the machine slept for" };
            let (long, since) = (ago(woke.gap.length()), ago(now.mono.since(woke.at)));
            return Some(format!("{who} {long} until {since} ago"));
        }
        watched.row.void.as_ref().map(|(why, _)| why.clone())
    }
}
