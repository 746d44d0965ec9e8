//! What readers are told.

use super::convict::Convicted;
use super::{MonitorMachine, Watched};
use crate::machine::words::lasting_time;
use crate::model::{HealthInfo, Moment, Mono, Verdict};
use crate::policy::relapse::UNHELPED;

impl MonitorMachine {
    /// How the service is; `None` without a run.
    pub fn info(&self, now: Moment) -> Option<HealthInfo> {
        let watched = self.watched.as_ref()?;
        let row = &watched.row;
        let waits = watched.convicted.as_ref().filter(|convicted| convicted.waits(now.mono));
        let in_ms = |until: Mono| i64::try_from(until.since(now.mono).as_millis()).unwrap_or(i64::MAX / 2);
        let verdict = self.verdict(now.mono);
        let bad = || row.bad.as_ref().map(|(_, why)| why.clone());
        Some(HealthInfo {
            verdict,
            latency_ms: row.latency_ms,
            checked_ms: row.checked_ms,
            failing_since_ms: row.bad.as_ref().map(|(since, _)| since.wall_ms),
            failure: match verdict {
                Verdict::Misconfigured => row.misasked().or_else(bad),
                _ => bad(),
            },
            since_ms: row.verdict.filter(|(known, _)| *known == verdict).map(|(_, since)| since.wall_ms),
            // One question without an answer yet may be one that is late.
            silent_since_ms: row.since.filter(|_| row.failures > 1).map(|since| since.wall_ms),
            note: self.note(watched, waits, now),
            latencies: row.latencies(),
            start: self.start_info(now.mono),
            parts: self.parts.list(),
            restart_at_ms: waits.map(|convicted| now.wall_ms.saturating_add(in_ms(convicted.restart_at))),
        })
    }

    fn note(&self, watched: &Watched, waits: Option<&Convicted>, now: Moment) -> Option<String> {
        if let Some(convicted) = waits {
            return Some(match convicted.unhelped {
                times if times >= UNHELPED => format!("{times} restarts did not help"),
                _ => "it crashed or was restarted for a hang more than once within 5 min".into(),
            });
        }
        if let Some(woke) = self.woke.filter(|_| self.is_waking(now.mono)) {
            let who = if woke.gap.slept.is_zero() { "the supervisor stood still for" } else { "the machine slept for" };
            let (long, since) = (lasting_time(woke.gap.length()), lasting_time(now.mono.since(woke.at)));
            return Some(format!("{who} {long} until {since} ago"));
        }
        if self.is_excused(now.mono) {
            return Some("it writes a heap snapshot, and may be silent meanwhile".into());
        }
        let void = watched.row.void.as_ref().map(|(why, _)| why.clone());
        void.or_else(|| self.parts_unknown.as_ref().map(|why| format!("its parts are not known: {why}")))
    }
}
