//! What the journal promises, by side.

mod reading;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::*;
use crate::model::{EventType, Moment, Mono, Record, UnitName};

const BOOT: &str = "boot-a";
const AWAKE: u64 = 5_000_000_000;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A minute lies between two, so that a segment may be removed once a line after it was read.
fn at(n: i64) -> Moment {
    Moment { mono: Mono(1), boot_ns: AWAKE + 7 + u64::try_from(n).unwrap_or(0) * 60_000_000_000, wall_ms: n }
}

fn data(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn writer(dir: &Path) -> Writer {
    Writer::open(dir, "gateway", BOOT, AWAKE).unwrap()
}

fn small(dir: &Path) -> Writer {
    let limits = Limits { segment: 1000, total: 3000, waiting_lines: 5, waiting_bytes: 2000 };
    Writer::open_with(dir, "gateway", BOOT, AWAKE, limits).unwrap()
}

fn put(writer: &mut Writer, n: i64) -> u64 {
    let name = UnitName::new("gateway").unwrap();
    writer.append(at(n), EventType::ServiceStart, Some(&name), data(json!({"run_id": n, "text": "ä\n\"ö"})))
}

fn all(dir: &Path) -> (Vec<Record>, u64) {
    let mut reader = Reader::open(dir, "gateway").unwrap();
    let records = reader.read_new(usize::MAX).unwrap();
    (records, reader.skipped())
}

fn numbers(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.wall_ms).collect()
}

fn rises(records: &[Record]) -> bool {
    records.windows(2).all(|pair| pair[0].seq < pair[1].seq)
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn current(dir: &Path) -> PathBuf {
    dir.join("gateway.journal")
}
