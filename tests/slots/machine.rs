//! The machine: its clocks, and what is on its disk.

use supervisor::model::{Accounted, Moment, Mono, SlotFile, SlotKey};
use supervisor::policy::{Presence, is_day_of_clearing, is_outlived};

/// Clocks. Milliseconds.
#[derive(Debug)]
pub struct Clock {
    /// What really passed.
    pub t: i64,
    /// By how much the wall clock is ahead of that.
    pub ahead: i64,
    /// When this boot began.
    booted: i64,
    /// How long it has slept.
    slept: i64,
    boots: u32,
    pub boot_id: String,
}

impl Clock {
    pub fn new(t: i64) -> Self {
        Self { t, ahead: 0, booted: t - 1000, slept: 0, boots: 0, boot_id: "boot-0".to_owned() }
    }

    pub fn wall(&self) -> i64 {
        self.t + self.ahead
    }

    pub fn now(&self) -> Moment {
        self.at(self.t)
    }

    /// At another time of the same stretch awake.
    pub fn at(&self, t: i64) -> Moment {
        let ns = |ms: i64| u64::try_from(ms).unwrap_or(0) * 1_000_000;
        Moment { mono: Mono(ns(t - self.booted - self.slept)), boot_ns: ns(t - self.booted), wall_ms: t + self.ahead }
    }

    pub fn sleep(&mut self, ms: i64) {
        self.t += ms;
        self.slept += ms;
    }

    pub fn boot(&mut self, after_ms: i64) {
        self.t += after_ms;
        self.boots += 1;
        (self.booted, self.slept, self.boot_id) = (self.t - 1000, 0, format!("boot-{}", self.boots));
    }
}

/// What is on disk of a job.
#[derive(Debug, Default)]
pub struct Disk {
    /// By time.
    pub files: Vec<SlotFile>,
    pub accounted: Option<Accounted>,
    pub presence: Option<Presence>,
}

impl Disk {
    /// What is shown of the slots from `from_ms` on.
    pub fn from(&self, from_ms: i64) -> &[SlotFile] {
        &self.files[self.files.partition_point(|file| file.claim.slot.at_ms() < from_ms)..]
    }

    /// Takes a slot, if nobody has.
    pub fn take(&mut self, file: SlotFile) -> bool {
        if self.find(file.claim.slot).is_some() {
            return false;
        }
        let at = self.files.partition_point(|other| other.claim.slot.at_ms() <= file.claim.slot.at_ms());
        self.files.insert(at, file);
        true
    }

    pub fn find(&mut self, slot: SlotKey) -> Option<&mut SlotFile> {
        let from = self.files.partition_point(|file| file.claim.slot.at_ms() < slot.at_ms());
        let same = self.files[from..].iter_mut().take_while(|file| file.claim.slot.at_ms() == slot.at_ms());
        same.into_iter().find(|file| file.claim.slot == slot)
    }

    /// Writes it down, and deletes once a day what nobody asks for any more.
    pub fn account(&mut self, accounted: Accounted) {
        let before = self.accounted.replace(accounted.clone());
        if !before.is_some_and(|before| is_day_of_clearing(&before, &accounted)) {
            return;
        }
        let mut newer = self.files.len();
        self.files.retain(|file| {
            newer -= 1;
            file.end.is_none() || !is_outlived(&accounted, file.claim.slot.at_ms(), newer)
        });
    }
}
