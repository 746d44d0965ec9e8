//! Memory samples and detectors' states on their way into the ledger: collected for a while, so that a commit serves many; kept, as far
//! as there is room, while the database is not well.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::machine::MemorySaved;
use crate::model::{Moment, Mono, UnitName};
use crate::store::{KeptSample, Ledger, StoreError};

/// Samples that wait at most; of more the oldest are dropped. With six services that is a day.
const MOST: usize = 10_000;

/// Samples written in one transaction: others who wait for the ledger's thread wait no longer.
const BATCH: usize = 1000;

/// For how long a sample waits for others, to be written with them: for its interval, within these. What waits is lost when the
/// supervisor is killed; and a commit a minute is cheap enough for any disk.
const TOGETHER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// After a write that has failed.
const AGAIN: Duration = Duration::from_secs(60);

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Samples {
    kept: VecDeque<KeptSample>,
    /// The latest state of each service, and when it was so, milliseconds since 1970 UTC.
    saved: BTreeMap<UnitName, (i64, Box<MemorySaved>)>,
    due: Option<Mono>,
    /// The last write failed: nothing is tried before.
    not_before: Mono,
}

impl Samples {
    pub(super) fn keep(&mut self, sample: KeptSample, interval: Duration, now: Mono) {
        if self.kept.len() >= MOST {
            self.kept.pop_front();
        }
        self.kept.push_back(sample);
        let [least, most] = TOGETHER;
        self.be_due(now.plus(interval.clamp(least, most)));
    }

    fn be_due(&mut self, at: Mono) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn save(&mut self, name: UnitName, saved: Box<MemorySaved>, now: Moment) {
        self.saved.insert(name, (now.wall_ms, saved));
        self.be_due(now.mono.plus(TOGETHER[0]));
    }

    /// When something is to be written.
    pub(super) fn due(&self) -> Option<Mono> {
        Some(self.due?.max(self.not_before))
    }

    /// Writes a batch. What is not written is kept.
    pub(super) fn write(&mut self, ledger: &mut Ledger, now: Moment) -> Result<(), StoreError> {
        self.not_before = now.mono.plus(AGAIN);
        let count = self.kept.len().min(BATCH);
        if let Some(batch) = self.kept.make_contiguous().get(..count).filter(|batch| !batch.is_empty()) {
            ledger.keep_memory(batch, now.wall_ms)?;
            self.kept.drain(..count);
        }
        while let Some(entry) = self.saved.first_entry() {
            let (at_ms, saved) = entry.get();
            match serde_json::to_string(saved) {
                Ok(state) => ledger.save_trend(entry.key(), *at_ms, &state)?,
                Err(e) => tracing::warn!(service = %entry.key(), "what is known of its memory cannot be kept: {e}"),
            }
            entry.remove();
        }
        self.not_before = Mono(0);
        self.due = (!self.kept.is_empty()).then_some(now.mono);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Life, MemorySample, Metric};
    use crate::store::Reader;

    const S: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        let ns = seconds * 1_000_000_000;
        Moment { mono: Mono(ns), boot_ns: ns, wall_ms: 1_795_317_574_000 + i64::try_from(seconds * 1000).unwrap() }
    }

    fn sample(seconds: u64) -> KeptSample {
        let life = Life { boot_id: "b".into(), pid: 7, start: 11 };
        let sample = MemorySample {
            at: at(seconds),
            metric: Metric::AnonSwap,
            bytes: seconds << 20,
            processes: vec![],
            count: 1,
        };
        KeptSample { service: UnitName::new("a").unwrap(), run_id: 1, life, sample }
    }

    fn written(path: &std::path::Path) -> usize {
        Reader::open(path).unwrap().memory_history(&UnitName::new("a").unwrap(), 0).unwrap().len()
    }

    #[test]
    fn what_comes_within_an_interval_is_written_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.db");
        let mut ledger = Ledger::open(&path).unwrap();
        let mut samples = Samples::default();
        assert_eq!(samples.due(), None);
        samples.keep(sample(100), 60 * S, at(100).mono);
        samples.keep(sample(130), 3600 * S, at(130).mono);
        assert_eq!(samples.due(), Some(at(160).mono));
        samples.keep(sample(131), S, at(131).mono);
        assert_eq!(samples.due(), Some(at(136).mono));
        samples.write(&mut ledger, at(136)).unwrap();
        assert_eq!((samples.due(), written(&path)), (None, 3));
    }

    #[test]
    fn what_waits_is_bounded_and_written_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.db");
        let mut ledger = Ledger::open(&path).unwrap();
        let mut samples = Samples::default();
        for second in 0..12_000 {
            samples.keep(sample(second + 1), S, at(second + 1).mono);
        }
        assert_eq!(samples.kept.len(), MOST);
        assert_eq!(samples.kept[0], sample(2001), "the oldest are dropped");
        samples.write(&mut ledger, at(12_001)).unwrap();
        assert_eq!((samples.kept.len(), written(&path)), (MOST - BATCH, BATCH));
        assert_eq!(samples.due(), Some(at(12_001).mono), "the next part at once");
    }

    #[test]
    fn what_cannot_be_written_is_kept_and_tried_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.db");
        let mut ledger = Ledger::open(&path).unwrap();
        let mut samples = Samples::default();
        samples.keep(sample(1), S, at(1).mono);
        std::fs::remove_file(&path).unwrap();
        assert!(samples.write(&mut ledger, at(6)).is_err());
        samples.keep(sample(7), S, at(7).mono);
        assert_eq!(samples.due(), Some(at(66).mono));
        drop(ledger);
        samples.write(&mut Ledger::open(&path).unwrap(), at(66)).unwrap();
        assert_eq!((samples.due(), written(&path)), (None, 2));
    }
}
