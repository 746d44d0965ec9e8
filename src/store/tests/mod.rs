//! What the ledger promises, by subject.

mod alerts;
mod faults;
mod foreign;
mod growth;
mod learned;
mod memory;
mod outbox;
mod reading;
mod retention;
mod slots;
mod taking_in;
mod torture;
mod upkeep;

use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::*;
use crate::model::{EventType, Record, SlotRow, UnitName};

/// A scratch state directory.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// One where another program has been before.
    fn with(sql: &str) -> Self {
        let scratch = Self::new();
        scratch.other().execute_batch(sql).unwrap();
        scratch
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("observability.sqlite")
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.path()).unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    /// Another program's connection.
    fn other(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn count(&self, table: &str) -> i64 {
        number(&self.other(), &format!("SELECT count(*) FROM {table}"))
    }
}

fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn text(conn: &Connection, sql: &str) -> String {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

/// 2026-11-22T03:19:34.000Z and `seq` milliseconds.
const T0: i64 = 1_795_317_574_000;

fn record(seq: u64, event: EventType, data: Value) -> Record {
    let Value::Object(data) = data else { panic!("{data} is no object") };
    let service = (event != EventType::SupervisorStart).then(|| name("gateway"));
    let (wall_ms, boot_id) = (T0 + seq as i64, "boot-a".to_owned());
    Record { v: 1, boot_id, seq, wall_ms, boot_ns: seq * 1_000_000, mono: None, event, service, data }
}

fn start(seq: u64) -> Record {
    record(seq, EventType::ServiceStart, json!({"run_id": seq}))
}

fn crash(seq: u64) -> Record {
    let data = json!({"run_id": seq, "class": "crash", "exit_code": null, "signal": "SIGKILL", "restart_attempt": 2});
    record(seq, EventType::ServiceCrash, data)
}
