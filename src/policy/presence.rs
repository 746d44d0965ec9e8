//! Whether the machine, and we on it, were there at a time.

use serde::{Deserialize, Serialize};

use crate::model::Moment;

/// A note is left each minute: an older one says that nobody was there to leave the next, milliseconds.
const STALE_MS: i64 = 3 * 60_000;

/// The clock that counts sleep has run ahead of the other by more than this: the machine slept. Milliseconds.
const SLEPT_MS: i64 = 2000;

/// The wall clock has run ahead of the time that passed by more than this: it was set. Milliseconds; time services step it by less,
/// and who is set over by so little has missed nothing.
const SET_MS: i64 = 2 * 60_000;

/// Absences that are kept; the look at a job's slots is never further back than a few of them while a daemon lives.
const KEPT: usize = 128;

/// Older ones are not kept, milliseconds.
const KEPT_MS: i64 = 60 * 86_400_000;

/// What a daemon leaves behind each minute, and what it knows of the times before: so that whoever comes later can say whether
/// somebody was there. All `_ms` are milliseconds since 1970 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// In which boot.
    pub boot_id: String,
    /// When it was left.
    #[serde(flatten)]
    pub at: Moment,
    /// The daemon has said goodbye.
    pub ended: bool,
    /// Times before in which nobody was there, oldest first.
    #[serde(default)]
    pub absences: Vec<Absence>,
}

/// A stretch of time in which nobody was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Its beginning.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// Of what kind.
    pub kind: Attendance,
}

/// Who was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attendance {
    /// The machine was awake, as far as is known, and a daemon lived.
    There,
    /// The machine slept.
    Asleep,
    /// The machine was off.
    Off,
    /// The machine was awake, as far as is known, and no daemon lived.
    Unwatched,
    /// There was no such time: the clock was set forward over it.
    SetOver,
}

impl Presence {
    /// The note to leave now, in the boot `boot_id`, by a daemon that begins or goes on: with what was left last (by itself or by the
    /// one before), and the absence since then if there was one.
    pub fn noted(left: Option<Self>, now: Moment, boot_id: &str) -> Self {
        let Some(mut left) = left else {
            return Self { boot_id: boot_id.to_owned(), at: now, ended: false, absences: Vec::new() };
        };
        let since = left.since(now, boot_id);
        if now.wall_ms < left.at.wall_ms - SET_MS {
            // The clock was set back: these hours come once more, and what is known is known of the first time.
            left.absences.retain(|absence| absence.from_ms < now.wall_ms);
            left.absences.iter_mut().for_each(|absence| absence.to_ms = absence.to_ms.min(now.wall_ms));
        }
        for absence in since.into_iter().flatten() {
            left.add(absence);
        }
        let oldest = now.wall_ms.saturating_sub(KEPT_MS);
        left.absences.retain(|absence| absence.to_ms >= oldest);
        let over = left.absences.len().saturating_sub(KEPT);
        left.absences.drain(..over);
        Self { boot_id: boot_id.to_owned(), at: now, ended: false, absences: left.absences }
    }

    /// Who was there at `ms`, as seen now, in the boot `boot_id`; `known` is what was left last.
    pub fn at(known: Option<&Self>, ms: i64, now: Moment, boot_id: &str) -> Attendance {
        let Some(known) = known else {
            return if ms < begun(now) { Attendance::Off } else { Attendance::Unwatched };
        };
        let since = known.since(now, boot_id);
        // The newest knows best: when the clock was set, times come twice.
        let mut all = known.absences.iter().chain(since.iter().flatten()).rev();
        all.find(|absence| absence.from_ms < ms && ms <= absence.to_ms)
            .map_or(Attendance::There, |absence| absence.kind)
    }

    /// What is known of the time between this note and now; oldest first.
    fn since(&self, now: Moment, boot_id: &str) -> [Option<Absence>; 2] {
        let absence = |from_ms: i64, to_ms: i64, kind| (from_ms < to_ms).then_some(Absence { from_ms, to_ms, kind });
        let (left, now_ms) = (self.at.wall_ms, now.wall_ms);
        if self.boot_id != boot_id {
            let begun = begun(now);
            // Who comes with the machine is there as soon as anybody could be.
            let up = if now_ms - begun > STALE_MS { begun } else { now_ms };
            // When the last clock was ahead of this one, nothing is known of the times before this boot.
            let from = if left < up { left } else { i64::MIN };
            return [absence(from, up, Attendance::Off), absence(up.max(left), now_ms, Attendance::Unwatched)];
        }
        let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
        let passed = ms(now.boot_ns.saturating_sub(self.at.boot_ns));
        let awake = ms(u64::try_from(now.mono.since(self.at.mono).as_nanos()).unwrap_or(u64::MAX));
        let (slept, set) = (passed.saturating_sub(awake), now_ms.saturating_sub(left).saturating_sub(passed));
        let at_least = |length: i64, least: i64, kind| (length > least).then_some((length, kind));
        let most = [
            at_least(awake, if self.ended { 0 } else { STALE_MS }, Attendance::Unwatched),
            at_least(slept, SLEPT_MS, Attendance::Asleep),
            at_least(set, SET_MS, Attendance::SetOver),
        ];
        // What most of it was, all of it is called: when in it the machine fell asleep, nobody knows.
        let most = most.into_iter().flatten().max_by_key(|(length, _)| *length);
        [most.and_then(|(_, kind)| absence(left, now_ms, kind)), None]
    }

    fn add(&mut self, new: Absence) {
        match self.absences.last_mut() {
            // A machine that is woken for a moment every quarter of an hour would fill the list in a few nights.
            Some(last) if last.kind == new.kind && new.from_ms.saturating_sub(last.to_ms) <= STALE_MS => {
                last.to_ms = last.to_ms.max(new.to_ms);
                last.from_ms = last.from_ms.min(new.from_ms);
            }
            _ => self.absences.push(new),
        }
    }
}

/// When this boot began.
fn begun(now: Moment) -> i64 {
    now.wall_ms.saturating_sub(i64::try_from(now.boot_ns / 1_000_000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::Attendance::{Asleep, Off, SetOver, There, Unwatched};
    use super::*;
    use crate::model::Mono;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    /// So long after a start at the wall clock's 0, by the wall clock, by the clock that nobody sets, and awake.
    fn at(wall_ms: i64, passed_ms: i64, awake_ms: i64) -> Moment {
        let ns = |ms: i64| u64::try_from(ms).unwrap() * 1_000_000;
        Moment { mono: Mono(ns(awake_ms)), boot_ns: ns(passed_ms), wall_ms }
    }

    fn there(ms: i64) -> Moment {
        at(ms, ms, ms)
    }

    fn asked(known: &Presence, now: Moment, times: &[(i64, Attendance)]) {
        for (ms, attendance) in times {
            assert_eq!(Presence::at(Some(known), *ms, now, "a"), *attendance, "at {ms} of {known:?}");
            // Whoever notes it meanwhile changes nothing.
            let noted = Presence::noted(Some(known.clone()), now, "a");
            assert_eq!(Presence::at(Some(&noted), *ms, now, "a"), *attendance, "at {ms} of {noted:?}");
        }
    }

    #[test]
    fn what_most_of_the_time_since_the_last_note_was() {
        let left = Presence::noted(None, there(HOUR), "a");
        asked(&left, there(HOUR + 3 * MINUTE), &[(HOUR, There), (HOUR + 3 * MINUTE, There)]);
        let later = there(HOUR + 4 * MINUTE);
        asked(&left, later, &[(HOUR, There), (HOUR + 1, Unwatched), (HOUR + 4 * MINUTE, Unwatched)]);
        let slept = at(3 * HOUR, 3 * HOUR, HOUR + MINUTE);
        asked(&left, slept, &[(HOUR, There), (2 * HOUR, Asleep), (3 * HOUR, Asleep)]);
        let set = at(3 * HOUR, HOUR + MINUTE, HOUR + MINUTE);
        asked(&left, set, &[(HOUR, There), (2 * HOUR, SetOver), (3 * HOUR, SetOver)]);
        let stepped = at(HOUR + 3 * MINUTE, HOUR + MINUTE, HOUR + MINUTE);
        asked(&left, stepped, &[(HOUR + 2 * MINUTE, There)]);
        let set_back = at(0, HOUR + MINUTE, HOUR + MINUTE);
        asked(&left, set_back, &[(0, There)]);
        let goodbye = Presence { ended: true, ..left };
        asked(&goodbye, there(HOUR + MINUTE), &[(HOUR, There), (HOUR + 1, Unwatched)]);
    }

    #[test]
    fn another_boot_was_preceded_by_being_off() {
        let left = Presence { boot_id: "z".to_owned(), ..Presence::noted(None, there(HOUR), "z") };
        let booted = at(10 * HOUR, MINUTE, MINUTE);
        asked(&left, booted, &[(HOUR, There), (2 * HOUR, Off), (10 * HOUR, Off)]);
        let long_up = at(10 * HOUR, 2 * HOUR, 2 * HOUR);
        asked(&left, long_up, &[(HOUR, There), (8 * HOUR, Off), (8 * HOUR + 1, Unwatched), (10 * HOUR, Unwatched)]);
        let behind = at(10 * MINUTE, MINUTE, MINUTE);
        asked(&left, behind, &[(5 * MINUTE, Off), (10 * MINUTE, Off)]);
        assert_eq!(Presence::at(None, 8 * HOUR, long_up, "a"), Unwatched);
        assert_eq!(Presence::at(None, 8 * HOUR - 1, long_up, "a"), Off);
    }

    #[test]
    fn the_list_is_bounded_and_goes_back_with_the_clock() {
        let mut known = Presence::noted(None, there(0), "a");
        let mut awake = 0;
        // Woken for a minute each hour, for three days; then one absence a day.
        let naps = (1..=72).map(|n| n * HOUR);
        for ms in naps.chain((1..400).map(|n| (n + 3) * 24 * HOUR)) {
            known = Presence::noted(Some(known), at(ms, ms, awake), "a");
            awake += MINUTE;
            known = Presence::noted(Some(known), at(ms + MINUTE, ms + MINUTE, awake), "a");
        }
        assert!(known.absences.len() <= KEPT);
        let now = known.at;
        assert!(known.absences.iter().all(|one| one.to_ms >= now.wall_ms - KEPT_MS && one.kind == Asleep));
        assert_eq!(Presence::at(Some(&known), now.wall_ms - 40 * 24 * HOUR, now, "a"), Asleep);
        let back = Moment { wall_ms: now.wall_ms - 30 * 24 * HOUR, ..now };
        let known = Presence::noted(Some(known), back, "a");
        assert!(known.absences.iter().all(|one| one.to_ms <= back.wall_ms), "what comes again is not slept over yet");
    }
}
