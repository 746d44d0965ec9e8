//! Times in which silence is not held against a service: after a wake, and while it does what we asked of it.

use super::{MonitorMachine, Step, Woke, asking};
use crate::model::Mono;
use crate::policy::gap::{GRACE, Gap};

impl MonitorMachine {
    /// We did not run: what was in flight says nothing, counting begins anew, and for a while failures do not count.
    pub(super) fn on_gap(&mut self, gap: Gap, step: &Step) {
        self.woke = Some(Woke { at: step.at.mono, gap, is_answered: false });
        if let Some(flight) = &mut self.in_flight {
            flight.is_void = true;
        }
        let interval = self.spec.health.as_ref().map_or(asking::START_INTERVAL, |health| health.interval);
        if let Some(watched) = &mut self.watched {
            watched.row.clear();
            watched.row.forget_answers();
            watched.start.forgive(gap.stalled, step.at.mono);
            // Missed ticks are one tick, and not all services' at once.
            let spread = interval.min(asking::WAKE_SPREAD).mul_f64(step.rng.get());
            watched.next = step.at.mono.plus(spread);
        }
    }

    /// The run is busy with what was asked of it, or is so no more: counting begins anew either way.
    pub(super) fn excuse(&mut self, run_id: u64, until: Mono) {
        self.excused = Some((run_id, until));
        if let Some(watched) = self.watched.as_mut().filter(|watched| watched.run_id == run_id) {
            watched.row.clear();
        }
    }

    /// Whether what was asked at `asked` and has come to nothing by `now` does not count.
    pub(super) fn forgives(&self, asked: Mono, now: Mono) -> bool {
        self.is_in_grace(now) || self.excuse_end() > asked
    }

    /// Whether the machine has woken a moment ago.
    pub(super) fn is_waking(&self, now: Mono) -> bool {
        self.woke.is_some_and(|woke| now.since(woke.at) < GRACE)
    }

    /// Whether failures do not count yet.
    pub(super) fn is_in_grace(&self, now: Mono) -> bool {
        self.is_waking(now) || self.is_excused(now)
    }

    /// Whether it is busy with what was asked of it.
    pub(super) fn is_excused(&self, now: Mono) -> bool {
        self.excuse_end() > now
    }

    /// When failures count again.
    pub(super) fn grace_end(&self) -> Mono {
        self.woke.map_or(Mono(0), |woke| woke.at.plus(GRACE)).max(self.excuse_end())
    }

    /// When the run that is there is to answer again.
    fn excuse_end(&self) -> Mono {
        let run_id = self.watched.as_ref().map(|watched| watched.run_id);
        self.excused.filter(|(excused, _)| Some(*excused) == run_id).map_or(Mono(0), |(_, until)| until)
    }
}
