//! A note that the daemon lives, written each minute: whoever comes next can say how long nobody watched.

use std::time::Duration;

use serde::Serialize;

use crate::model::paths::Paths;
use crate::model::{Moment, Mono};
use crate::policy::Presence;
use crate::process::record::{self, RecordFile};

/// Between two notes.
const EVERY: Duration = Duration::from_secs(60);

/// The time in which no daemon watched, after one that did not say goodbye. All `_ms` are milliseconds since 1970 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Gap {
    /// When the last daemon is known to have lived; it may have lived up to a minute longer.
    last_alive_ms: i64,
    /// When the machine was started.
    boot_ms: i64,
    /// When we came up.
    up_ms: i64,
    /// How long at least part of it was not watched, milliseconds.
    gap_ms: i64,
    /// Whether the machine was started in between.
    rebooted: bool,
    /// What is known of the reason, in words.
    why: &'static str,
}

/// Writes it.
pub(super) struct Alive {
    file: RecordFile,
    presence: Presence,
    due: Mono,
}

impl Alive {
    /// What the last one has left. The first note of ours is due at once, but after the gap is on record.
    pub(super) fn begin(paths: &Paths, boot_id: &str, now: Moment) -> (Self, Option<Gap>) {
        let path = paths.alive();
        let left = record::read(&path).and_then(|bytes| serde_json::from_slice::<Presence>(&bytes).ok());
        let gap = left.as_ref().and_then(|left| gap(left, boot_id, now));
        let presence = Presence::noted(left, now, boot_id);
        (Self { file: RecordFile::new(&path), presence, due: now.mono }, gap)
    }

    /// When somebody was there, as far as is known.
    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The machine or we stood still: that is to be known at once.
    pub(super) fn stood_still(&mut self, now: Moment) {
        self.due = now.mono;
        self.tick(now);
    }

    /// When the next note is due.
    pub(super) fn due(&self) -> Mono {
        self.due
    }

    /// Writes it, if it is time to.
    pub(super) fn tick(&mut self, now: Moment) {
        if self.due <= now.mono {
            self.due = now.mono.plus(EVERY);
            self.write(now, false);
        }
    }

    /// Says goodbye.
    pub(super) fn end(&mut self, now: Moment) {
        self.write(now, true);
    }

    fn write(&mut self, now: Moment, ended: bool) {
        let boot_id = self.presence.boot_id.clone();
        self.presence = Presence { ended, ..Presence::noted(Some(self.presence.clone()), now, &boot_id) };
        // On a full disk the gap will be told longer than it was.
        let _ = serde_json::to_vec(&self.presence).map(|bytes| self.file.write(&bytes));
    }
}

/// What lies between the last note and now; `None` after a goodbye.
fn gap(left: &Presence, boot_id: &str, now: Moment) -> Option<Gap> {
    if left.ended {
        return None;
    }
    let rebooted = left.boot_id != boot_id;
    let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
    // Within a boot the clock that nobody sets tells how long it was.
    let gap_ms = if rebooted { now.wall_ms - left.at.wall_ms } else { ms(now.boot_ns) - ms(left.at.boot_ns) };
    Some(Gap {
        last_alive_ms: now.wall_ms - gap_ms.max(0),
        boot_ms: now.wall_ms - ms(now.boot_ns),
        up_ms: now.wall_ms,
        gap_ms: gap_ms.max(0),
        rebooted,
        why: if rebooted {
            "the machine was started again without having been shut down, or did not wait for the supervisor"
        } else {
            "the supervisor was killed or has crashed"
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn at(boot_s: u64, wall_ms: i64) -> Moment {
        Moment { mono: Mono(boot_s * 1_000_000_000), boot_ns: boot_s * 1_000_000_000, wall_ms }
    }

    #[test]
    fn a_goodbye_leaves_no_gap_and_a_death_does() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        crate::process::files::ensure_dir(&paths.supervisor()).unwrap();
        let (mut first, gap) = Alive::begin(&paths, "a", at(100, MINUTE_MS));
        assert_eq!(gap, None, "the very first");
        first.tick(at(100, MINUTE_MS));
        first.tick(at(160, 2 * MINUTE_MS));
        assert_eq!(first.due(), at(220, 0).mono);
        // The wall clock was set by an hour meanwhile.
        let (mut second, gap) = Alive::begin(&paths, "a", at(400, 64 * MINUTE_MS));
        let gap = gap.unwrap();
        assert_eq!((gap.gap_ms, gap.rebooted, gap.boot_ms), (240_000, false, 64 * MINUTE_MS - 400_000));
        assert_eq!(gap.last_alive_ms, 60 * MINUTE_MS);
        second.tick(at(400, 64 * MINUTE_MS));
        second.end(at(401, 64 * MINUTE_MS));
        assert_eq!(Alive::begin(&paths, "b", at(5, 70 * MINUTE_MS)).1, None);
        Alive::begin(&paths, "b", at(5, 70 * MINUTE_MS)).0.tick(at(5, 70 * MINUTE_MS));
        let gap = Alive::begin(&paths, "c", at(7, 90 * MINUTE_MS)).1.unwrap();
        assert_eq!((gap.gap_ms, gap.rebooted, gap.boot_ms), (20 * MINUTE_MS, true, 90 * MINUTE_MS - 7000));
    }
}
