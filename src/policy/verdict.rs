//! What one probe weighs, and what follows from a window of them. Only silence is a hang; whatever the service makes of the
//! processor is no excuse for it. Only what is known of the machine, or of ourselves, voids a probe.

use std::time::Duration;

use super::redact;
use crate::model::{Answer, Facts, Probed, ProcessState, Verdict};

/// Above this share of time in which all that could run waited for memory, the machine stalls (PSI `full`).
const MEMORY_STALL: f64 = 0.2;

/// A main thread that waited for a processor this share of the time, and ran no more than [`RAN`] of it, was not let run.
const WAITED: f64 = 0.8;

/// See [`WAITED`]. A thread that spins gets far more than this on any machine that is of use to it.
const RAN: f64 = 0.1;

/// Our timers are never exact: being late by less than this is nothing, however short the timeout.
const LATE: Duration = Duration::from_millis(20);

/// Of the last ten answers so many were slow, late or missing: it is slow, though it lives.
pub const WEAK: u32 = 3;

/// So many answers in a row say that it is not well, or do not come.
const UNWELL: u32 = 2;

/// What one probe is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weight {
    /// All is well.
    Well,
    /// It lives: it says that it is not well.
    Unwell(String),
    /// It lives, and is slow.
    Slow(String),
    /// It lives, and is asked the wrong question.
    Misasked(String),
    /// No sign of life.
    Dead(String),
    /// It says nothing about the service: why not, and whether the machine is to blame (or we are).
    Void {
        /// In words.
        why: String,
        /// The machine does not let the service run.
        starved: bool,
    },
}

impl Weight {
    /// The same without what looks like a secret: the words go to `status`, to logs and to the ledger.
    pub fn redacted(self) -> Self {
        match self {
            Self::Well => Self::Well,
            Self::Unwell(why) => Self::Unwell(redact(&why)),
            Self::Slow(why) => Self::Slow(redact(&why)),
            Self::Misasked(why) => Self::Misasked(redact(&why)),
            Self::Dead(why) => Self::Dead(redact(&why)),
            Self::Void { why, starved } => Self::Void { why: redact(&why), starved },
        }
    }
}

/// Weighs a probe that had `timeout`. `earlier` and `now` are what was seen beside the one before it in the row, and beside it. A beat
/// is not weighed here: whether it is a new one its watcher knows.
pub fn weigh(probed: &Probed, timeout: Duration, earlier: Option<&Facts>, now: Option<&Facts>) -> Weight {
    let why = match &probed.answer {
        Answer::Good | Answer::Beat(_) => return Weight::Well,
        Answer::Unwell(why) => return Weight::Unwell(why.clone()),
        Answer::Slow(why) => return Weight::Slow(why.clone()),
        Answer::Misasked(why) => return Weight::Misasked(why.clone()),
        Answer::NotAsked(why) => return Weight::Void { why: why.clone(), starved: false },
        Answer::Silent(why) | Answer::Failed(why) => why,
    };
    if probed.late > (timeout / 2).max(LATE) {
        let why = format!("the supervisor itself was late by {} ms", probed.late.as_millis());
        return Weight::Void { why, starved: true };
    }
    match now.and_then(|now| not_let_run(earlier, now)) {
        Some(why) => Weight::Void { why, starved: true },
        None => Weight::Dead(why.clone()),
    }
}

/// Why the service could not have answered, though nothing may be wrong with it.
fn not_let_run(earlier: Option<&Facts>, now: &Facts) -> Option<String> {
    if let Some(stall) = now.host.memory_stall.filter(|stall| *stall > MEMORY_STALL) {
        return Some(format!("the machine waits for memory {:.0} % of the time", stall * 100.0));
    }
    let vitals = now.vitals.as_ref()?;
    if vitals.state == ProcessState::Traced {
        return Some("a debugger has stopped it".into());
    }
    let before = earlier?.vitals.as_ref()?;
    let span = vitals.at.since(before.at).as_secs_f64();
    let share = |now: Option<Duration>, before: Option<Duration>| {
        (span > 0.0).then_some(())?;
        Some(now?.saturating_sub(before?).as_secs_f64() / span)
    };
    let (waited, ran) = (share(vitals.waited, before.waited)?, share(vitals.ran, before.ran)?);
    (waited >= WAITED && ran <= RAN).then(|| {
        format!(
            "its main thread waited for a processor {:.0} % of the time and got {:.0} %",
            waited * 100.0,
            ran * 100.0
        )
    })
}

/// What the verdict follows from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Whether the run has been up.
    pub is_ready: bool,
    /// Whether anything was learned from a probe of this run.
    pub is_checked: bool,
    /// Whether it has been silent for longer than is tolerated.
    pub is_convicted: bool,
    /// Whether the machine woke a moment ago and the service has not answered since.
    pub is_waking: bool,
    /// Whether it was asked the wrong question for as long as a hang takes.
    pub is_misasked: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Answers in a row that say that it is not well.
    pub unwell: u32,
    /// Of the last ten probes those that were slow, late or missing.
    pub weak: u32,
    /// The last probe was void as the machine does not let the service run.
    pub is_starved: bool,
    /// The last probe was void by our own fault.
    pub is_unasked: bool,
}

/// What is thought of the service.
pub fn verdict(window: &Window) -> Verdict {
    match *window {
        Window { is_convicted: true, .. } => Verdict::Hung,
        Window { is_waking: true, .. } => Verdict::Asleep,
        Window { is_misasked: true, .. } => Verdict::Misconfigured,
        Window { is_ready: false, .. } => Verdict::Starting,
        Window { is_starved: true, .. } => Verdict::Starved,
        Window { failures, unwell, weak, .. } if failures >= UNWELL || unwell >= UNWELL || weak >= WEAK => {
            Verdict::Degraded
        }
        Window { is_unasked: true, .. } | Window { is_checked: false, .. } => Verdict::Unknown,
        Window { .. } => Verdict::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostLoad, Mono, Vitals};

    const T: Duration = Duration::from_secs(5);

    fn facts(at_ms: u64, ran_ms: u64, waited_ms: u64, state: ProcessState, memory_stall: f64) -> Facts {
        let vitals = Vitals {
            at: Mono(at_ms * 1_000_000),
            cpu: Duration::from_millis(ran_ms),
            ran: Some(Duration::from_millis(ran_ms)),
            waited: Some(Duration::from_millis(waited_ms)),
            state,
            processes: 1,
        };
        let host = HostLoad { load: 1.0, processors: 2, memory_stall: Some(memory_stall) };
        Facts { vitals: Some(vitals), host, logged: 0 }
    }

    fn silent() -> Probed {
        Probed::new(Answer::Silent("no byte".into()), T)
    }

    fn is_void(weight: &Weight) -> bool {
        matches!(weight, Weight::Void { .. })
    }

    #[test]
    fn silence_counts_whatever_the_service_does_with_the_processor() {
        let before = facts(0, 0, 0, ProcessState::Running, 0.0);
        for (ran, state) in [(10_000, ProcessState::Running), (0, ProcessState::Sleeping), (0, ProcessState::Stopped)] {
            let now = facts(10_000, ran, 0, state, 0.0);
            assert_eq!(weigh(&silent(), T, Some(&before), Some(&now)), Weight::Dead("no byte".into()));
        }
        assert_eq!(weigh(&silent(), T, None, None), Weight::Dead("no byte".into()), "nothing is known beside");
        // It spins on a machine that is three times too busy.
        let now = facts(10_000, 3_300, 6_700, ProcessState::Running, 0.0);
        assert!(!is_void(&weigh(&silent(), T, Some(&before), Some(&now))));
    }

    #[test]
    fn what_the_machine_or_we_are_to_blame_for_is_void() {
        let before = facts(0, 0, 0, ProcessState::Running, 0.0);
        let starved = facts(10_000, 500, 9_500, ProcessState::Running, 0.0);
        assert!(is_void(&weigh(&silent(), T, Some(&before), Some(&starved))));
        assert!(!is_void(&weigh(&silent(), T, None, Some(&starved))), "of one look alone nothing follows");
        assert!(is_void(&weigh(&silent(), T, None, Some(&facts(0, 0, 0, ProcessState::Sleeping, 0.3)))));
        assert!(is_void(&weigh(&silent(), T, None, Some(&facts(0, 0, 0, ProcessState::Traced, 0.0)))));
        let late = |late| weigh(&Probed { late, ..silent() }, T, None, None);
        assert!(is_void(&late(Duration::from_millis(2501))) && !is_void(&late(Duration::from_millis(2499))));
        assert!(is_void(&weigh(&Probed::new(Answer::NotAsked("no descriptor".into()), T), T, None, None)));
    }

    #[test]
    fn whatever_answers_lives() {
        let now = facts(0, 0, 0, ProcessState::Running, 0.9);
        let weight = |answer| weigh(&Probed::new(answer, T), T, None, Some(&now));
        assert_eq!(weight(Answer::Good), Weight::Well);
        assert_eq!(weight(Answer::Unwell("503".into())), Weight::Unwell("503".into()));
        assert_eq!(weight(Answer::Slow("half".into())), Weight::Slow("half".into()));
        assert_eq!(weight(Answer::Misasked("404".into())), Weight::Misasked("404".into()));
    }

    #[test]
    fn the_verdicts() {
        let up = Window { is_ready: true, is_checked: true, ..Window::default() };
        let table = [
            (Window::default(), Verdict::Starting),
            (Window { is_ready: true, ..Window::default() }, Verdict::Unknown),
            (up, Verdict::Healthy),
            (Window { failures: 1, ..up }, Verdict::Healthy),
            (Window { failures: 2, ..up }, Verdict::Degraded),
            (Window { unwell: 2, ..up }, Verdict::Degraded),
            (Window { weak: 3, ..up }, Verdict::Degraded),
            (Window { is_starved: true, failures: 2, ..up }, Verdict::Starved),
            (Window { is_unasked: true, ..up }, Verdict::Unknown),
            (Window { is_misasked: true, ..up }, Verdict::Misconfigured),
            (Window { is_misasked: true, ..Window::default() }, Verdict::Misconfigured),
            (Window { is_waking: true, ..up }, Verdict::Asleep),
            (Window { is_convicted: true, is_waking: true, ..up }, Verdict::Hung),
        ];
        for (window, wanted) in table {
            assert_eq!(verdict(&window), wanted, "{window:?}");
        }
    }
}
