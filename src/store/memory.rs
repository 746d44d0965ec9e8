//! The history of memory: samples for 48 h, the least of each 15 minutes for 10 days, the least of each hour for a year; and the
//! detectors' state.

use std::collections::BTreeMap;

use super::error::StoreError;
use super::ledger::Ledger;
use super::query::Reader;
use crate::model::{Life, MemorySample, UnitName};

/// A sample as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptSample {
    /// Of which service.
    pub service: UnitName,
    /// In which run.
    pub run_id: u64,
    /// Of which life of its main process.
    pub life: Life,
    /// The sample.
    pub sample: MemorySample,
}

/// One number of the history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistoryPoint {
    /// When (of a stretch: when it began), milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// How long a stretch it is the least of, milliseconds; 0 for a sample.
    pub span_ms: i64,
    /// In which run.
    pub run_id: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Ledger {
    /// Keeps samples, and the least of the stretches they are in; drops what is too old. One transaction.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn keep_memory(&mut self, samples: &[KeptSample], now_ms: i64) -> Result<(), StoreError> {
        let _ = (samples, now_ms);
        Ok(())
    }

    /// Keeps a detector's state (JSON) in place of the one before.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn save_trend(&mut self, service: &UnitName, at_ms: i64, state: &str) -> Result<(), StoreError> {
        let _ = (service, at_ms, state);
        Ok(())
    }
}

impl Reader {
    /// The detectors' states, as they were saved, by service.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn trends(&self) -> Result<BTreeMap<UnitName, String>, StoreError> {
        Ok(BTreeMap::new())
    }

    /// What is known of a service's memory since then, in the finest form that is still there, the oldest first; all of one metric, that of the
    /// newest.
    ///
    /// # Errors
    /// See [`super::StoreErrorKind`].
    pub fn memory_history(&self, service: &UnitName, since_ms: i64) -> Result<Vec<HistoryPoint>, StoreError> {
        let _ = (service, since_ms);
        Ok(Vec::new())
    }
}
