//! STAND-IN, to be dropped when `store` has `AlertFilter`, `OutboxFilter` and these methods of `Reader`: until then the database
//! has no alerts. Whoever drops it imports the two filters from `crate::store` in `sources.rs`.

use crate::model::{Alert, OutboxRow, RowState, Silence, SinkState};
use crate::store::{Reader, StoreError};

#[derive(Debug, Clone, Default)]
pub(super) struct AlertFilter {
    pub(super) open: bool,
    pub(super) since_ms: Option<i64>,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct OutboxFilter {
    pub(super) alert: Option<String>,
    pub(super) states: Vec<RowState>,
    pub(super) limit: Option<usize>,
}

pub(super) trait AlertReader {
    fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StoreError> {
        let _ = (filter.open, filter.since_ms, filter.limit);
        Ok(Vec::new())
    }

    fn alert(&self, prefix: &str) -> Result<Vec<Alert>, StoreError> {
        let _ = prefix;
        Ok(Vec::new())
    }

    fn outbox(&self, filter: &OutboxFilter) -> Result<Vec<OutboxRow>, StoreError> {
        let _ = (&filter.alert, &filter.states, filter.limit);
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
