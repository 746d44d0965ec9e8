//! STAND-IN, to be dropped when `store` has `AlertFilter`, `OutboxFilter` and these methods of `Reader`: until then the database
//! has no alerts. Whoever drops it imports the two filters from `crate::store` in `sources.rs`.

use crate::model::{Alert, OutboxRow, Silence, SinkState, UnitName};
use crate::store::{Reader, StoreError};

#[derive(Debug, Clone, Default)]
pub(super) struct AlertFilter {
    pub(super) open_only: bool,
    pub(super) since_ms: Option<i64>,
    #[expect(dead_code, reason = "part of the interface")]
    pub(super) service: Option<UnitName>,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct OutboxFilter {
    pub(super) alert: Option<String>,
    pub(super) pending_only: bool,
    pub(super) limit: Option<usize>,
}

pub(super) trait AlertReader {
    fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
        let _ = (filter.open_only, filter.since_ms, filter.limit);
        Ok(Vec::new())
    }

    fn alert(&self, prefix: &str) -> Result<Vec<Alert>, StoreError> {
        let _ = prefix;
        Ok(Vec::new())
    }

    fn outbox(&self, filter: &OutboxFilter) -> Result<Vec<OutboxRow>, StoreError> {
        let _ = (&filter.alert, filter.pending_only, filter.limit);
        Ok(Vec::new())
    }

    fn sink_states(&self) -> Result<Vec<SinkState>, StoreError> {
        Ok(Vec::new())
    }

    fn silences(&self, now_ms: i64) -> Result<Vec<Silence>, StoreError> {
        let _ = now_ms;
        Ok(Vec::new())
    }
}

impl AlertReader for Reader {}
