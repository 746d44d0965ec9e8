//! What runners have journaled and no daemon has taken into the ledger yet, as the rows it will become.

use crate::journal;
use crate::model::Record;
use crate::model::paths::Paths;
use crate::store::{EVIDENCE, EventRow, Filter, Reader, StoreError};

/// Most records looked at per journal: enough for hours without a daemon, and bounded in memory.
const MOST: usize = 20_000;

/// The rows to be, as far as `filter` wants them, in no order.
pub(super) fn rows(ledger: &Reader, paths: &Paths, filter: &Filter) -> Result<Vec<EventRow>, StoreError> {
    let mut rows = Vec::new();
    // A journal that cannot be read now has nothing to show.
    for id in journal::ids(&paths.runners()).unwrap_or_default() {
        let Ok(mut reader) = journal::Reader::open(&paths.runners(), &id) else { continue };
        let mut position: Option<(String, Option<u64>)> = None;
        for record in reader.read_new(MOST).unwrap_or_default() {
            if position.as_ref().is_none_or(|(boot, _)| *boot != record.boot_id) {
                position = Some((record.boot_id.clone(), ledger.position(&id, &record.boot_id)?));
            }
            let taken = position.as_ref().and_then(|(_, seq)| *seq).is_some_and(|seq| record.seq <= seq);
            if !taken && wanted(&record, filter) {
                rows.push(row(record));
            }
        }
    }
    Ok(rows)
}

fn wanted(record: &Record, filter: &Filter) -> bool {
    filter.since_ms.is_none_or(|since| record.wall_ms >= since)
        && filter.service.as_ref().is_none_or(|name| record.service.as_ref() == Some(name))
        && (filter.event_type.is_empty() || filter.event_type.contains(&record.event))
        && (!filter.evidence || record.data.get(EVIDENCE).is_some_and(serde_json::Value::is_string))
}

fn row(record: Record) -> EventRow {
    EventRow {
        id: 0,
        timestamp_ms: record.wall_ms,
        event_type: record.event_name().into(),
        service_name: record.service.map(|name| name.to_string()),
        run_id: record.data.get("run_id").and_then(serde_json::Value::as_u64),
        metadata: serde_json::Value::Object(record.data),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::EventType;

    #[test]
    fn what_waits_is_filtered_as_the_ledger_is() {
        let record = |evidence: Value| Record {
            v: 1,
            boot_id: "boot".into(),
            seq: 1,
            wall_ms: 5,
            boot_ns: 1,
            mono: None,
            event: EventType::ServiceStart,
            service: None,
            data: serde_json::Map::from_iter([(EVIDENCE.to_owned(), evidence)]),
        };
        let all = Filter::default();
        let evidence = Filter { evidence: true, ..all.clone() };
        assert!(wanted(&record(json!("a.txt")), &evidence));
        assert!(!wanted(&record(json!(null)), &evidence) && wanted(&record(json!(null)), &all));
        assert!(!wanted(&record(json!("a.txt")), &Filter { since_ms: Some(6), ..evidence }));
        assert!(!wanted(&record(json!("a.txt")), &Filter { event_type: vec![EventType::ServiceCrash], ..all }));
    }
}
