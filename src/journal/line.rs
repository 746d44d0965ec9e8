//! One line of a journal: how it is written, and the little that a writer reads back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{EventType, Moment, Mono, Record, UnitName};

/// Longest line. Evidence in a record is a few KiB; what is longer than this is a fault, and must not make a reader
/// hold it in memory.
pub(super) const MAX_LINE: usize = 1 << 20;

/// Longest text that is kept when a record has to be cut down.
const MAX_KEPT_TEXT: usize = 1024;

/// `Record` by reference: the same members, without a copy of anything.
#[derive(Serialize)]
struct Borrowed<'a> {
    v: u32,
    boot_id: &'a str,
    seq: u64,
    wall_ms: i64,
    boot_ns: u64,
    mono_ns: Mono,
    event: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a UnitName>,
    data: &'a Map<String, Value>,
}

/// What a line is about, apart from its data.
pub(super) struct Heading<'a> {
    pub(super) boot_id: &'a str,
    pub(super) seq: u64,
    pub(super) at: Moment,
    pub(super) event: EventType,
    pub(super) service: Option<&'a UnitName>,
}

/// Puts the whole line, with its end, into `into` (emptied before). A record that is too long loses its longest parts
/// and says so, as a record of what happened without its evidence is better than none.
pub(super) fn encode(into: &mut Vec<u8>, heading: &Heading<'_>, data: &Map<String, Value>) {
    put(into, heading, data);
    if into.len() <= MAX_LINE {
        return;
    }
    let short = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= MAX_KEPT_TEXT,
        Value::Array(_) | Value::Object(_) => false,
    };
    // Bounded in number too: a thousand short members still are a line of less than `MAX_LINE`.
    let kept = data.iter().filter(|(name, value)| name.len() <= 64 && short(value)).take(500);
    let mut kept: Map<String, Value> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    kept.insert("cut_from_bytes".into(), into.len().into());
    put(into, heading, &kept);
}

fn put(into: &mut Vec<u8>, heading: &Heading<'_>, data: &Map<String, Value>) {
    into.clear();
    let &Heading { boot_id, seq, at, event, service } = heading;
    let Moment { wall_ms, boot_ns, mono: mono_ns } = at;
    let line = Borrowed { v: Record::VERSION, boot_id, seq, wall_ms, boot_ns, mono_ns, event, service, data };
    // Writing plain data to memory cannot fail; if it did, the reader would count an empty line as garbage.
    if serde_json::to_writer(&mut *into, &line).is_err() {
        into.clear();
    }
    into.push(b'\n');
}

/// The members that a writer needs of a line it finds on disk.
#[derive(Deserialize)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) wall_ms: i64,
}

/// Reads a line's mark; `None` for garbage.
pub(super) fn mark(line: &[u8]) -> Option<Mark> {
    serde_json::from_slice(line).ok().filter(|mark: &Mark| mark.seq <= MAX_SEQ)
}

/// Reads a line without its end; `None` for garbage and for forms newer than ours.
pub(super) fn decode(line: &[u8]) -> Option<Record> {
    let record: Record = serde_json::from_slice(line).ok().or_else(|| decode_newer(line))?;
    (record.v == Record::VERSION && record.seq <= MAX_SEQ).then_some(record)
}

/// A line with a type that this version does not know: runner and daemon may be of different versions, and what the newer one
/// put on record is to reach the ledger all the same, under its own name.
fn decode_newer(line: &[u8]) -> Option<Record> {
    let mut record: Value = serde_json::from_slice(line).ok()?;
    let name = record.get("event")?.as_str().filter(|name| EventType::parse(name).is_none())?.to_owned();
    record["event"] = EventType::Unknown.as_str().into();
    record.get_mut("data")?.as_object_mut()?.insert(Record::UNKNOWN_TYPE.into(), name.into());
    serde_json::from_value(record).ok()
}

/// The largest seq that is taken for one: SQLite's integers end here, and a damaged number must not end all counting.
const MAX_SEQ: u64 = i64::MAX as u64;
