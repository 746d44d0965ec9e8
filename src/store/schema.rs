//! Our own tables and their number.

use rusqlite::{Connection, OptionalExtension};

/// The number of the tables below, kept in `supervisor_meta`.
pub(super) const SCHEMA: i64 = 1;

/// Idempotent, so that a table somebody dropped comes back at the next open.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS supervisor_meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_events (
  id INTEGER PRIMARY KEY,
  timestamp_ms INTEGER NOT NULL,
  event_type TEXT NOT NULL,
  service_name TEXT,
  run_id INTEGER,
  class TEXT,
  metadata TEXT NOT NULL,
  runner TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  mirror_rowid INTEGER,
  UNIQUE (runner, boot_id, seq)
);
CREATE INDEX IF NOT EXISTS supervisor_events_by_time ON supervisor_events (timestamp_ms);
CREATE INDEX IF NOT EXISTS supervisor_events_by_service ON supervisor_events (service_name, timestamp_ms);
CREATE INDEX IF NOT EXISTS supervisor_events_learned ON supervisor_events (service_name, id)
  WHERE event_type IN ('service_ready', 'service_hung');
CREATE TABLE IF NOT EXISTS supervisor_journal (
  runner TEXT NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (runner, boot_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_counters (
  service TEXT NOT NULL, class TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (service, class)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_last_exits (
  service TEXT PRIMARY KEY, class TEXT NOT NULL, code INTEGER, signal TEXT, at_ms INTEGER NOT NULL,
  boot_id TEXT NOT NULL, boot_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_alerts (
  id TEXT PRIMARY KEY, rule TEXT NOT NULL, service TEXT, severity TEXT NOT NULL, state TEXT NOT NULL,
  fired_ms INTEGER NOT NULL, resolved_ms INTEGER, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, key TEXT NOT NULL, alert TEXT NOT NULL, state TEXT NOT NULL,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, settled_ms INTEGER,
  error TEXT, digest TEXT, body TEXT NOT NULL, UNIQUE (sink, key)
);
CREATE INDEX IF NOT EXISTS supervisor_outbox_pending ON supervisor_outbox (sink, id) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS supervisor_sinks (sink TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_silences (id INTEGER PRIMARY KEY, until_ms INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS supervisor_crash_kinds (
  service TEXT NOT NULL, fingerprint TEXT NOT NULL, last_ms INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (service, fingerprint)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_memory_lives (
  id INTEGER PRIMARY KEY, service TEXT NOT NULL, boot_id TEXT NOT NULL, pid INTEGER NOT NULL, start INTEGER NOT NULL,
  run_id INTEGER NOT NULL, metric TEXT NOT NULL, UNIQUE (service, boot_id, pid, start, run_id, metric)
);
CREATE TABLE IF NOT EXISTS supervisor_memory (
  life INTEGER NOT NULL, span_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL, bytes INTEGER NOT NULL,
  awake_ns INTEGER NOT NULL, count INTEGER NOT NULL, processes TEXT, PRIMARY KEY (life, span_ms, at_ms)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS supervisor_memory_by_age ON supervisor_memory (span_ms, at_ms);
CREATE TABLE IF NOT EXISTS supervisor_memory_trends (
  service TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisor_slots (
  task TEXT NOT NULL, slot TEXT NOT NULL, due_ms INTEGER NOT NULL, extra INTEGER NOT NULL, state TEXT, \"trigger\" TEXT,
  timing TEXT, started_ms INTEGER, ended_ms INTEGER, awake_ms INTEGER, frozen_ms INTEGER, why TEXT NOT NULL DEFAULT '',
  made_up_by TEXT, resumes TEXT, steps TEXT NOT NULL DEFAULT '[]', pid INTEGER, PRIMARY KEY (task, slot)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS supervisor_slots_by_time ON supervisor_slots (task, due_ms);
CREATE INDEX IF NOT EXISTS supervisor_slots_under_way ON supervisor_slots (task, due_ms) WHERE state IS NULL;
CREATE TABLE IF NOT EXISTS supervisor_emitted (
  id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp_ms INTEGER NOT NULL, category TEXT NOT NULL, event_type TEXT NOT NULL,
  service_name TEXT, metadata TEXT NOT NULL, key TEXT UNIQUE, mirror_rowid INTEGER
);
CREATE INDEX IF NOT EXISTS supervisor_emitted_by_time ON supervisor_emitted (timestamp_ms);
";

/// Columns of `supervisor_events` that came later: empty in rows that were written before, and by versions that do not
/// know them.
const LATER: [&str; 2] = ["boot_ns", "mono_ns"];

/// The schema number found, where it is above ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newer(pub(super) i64);

/// Whether there is a table (or view) of this name.
pub(super) fn exists(conn: &Connection, table: &str) -> rusqlite::Result<bool> {
    conn.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)", [table], |r| r.get(0))
}

/// Makes our tables what this version needs; to be called inside a transaction.
pub(super) fn migrate(tx: &Connection) -> rusqlite::Result<Result<(), Newer>> {
    let user_version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let objects: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if let Some(found) = number(tx)?
        && found > SCHEMA
    {
        return Ok(Err(Newer(found)));
    }
    tx.execute_batch(TABLES)?;
    for column in LATER {
        let known = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('supervisor_events') WHERE name = ?1)";
        if !tx.query_row(known, [column], |row| row.get::<_, bool>(0))? {
            tx.execute_batch(&format!("ALTER TABLE supervisor_events ADD COLUMN {column} INTEGER"))?;
        }
    }
    tx.execute("INSERT OR REPLACE INTO supervisor_meta (key, value) VALUES ('schema', ?1)", [SCHEMA])?;
    if user_version == 0 && objects == 0 {
        tx.pragma_update(None, "user_version", SCHEMA)?;
    }
    Ok(Ok(()))
}

/// The schema number in the file; `None` where there are no tables of ours.
fn number(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    if !exists(conn, "supervisor_meta")? {
        return Ok(None);
    }
    conn.query_row("SELECT value FROM supervisor_meta WHERE key = 'schema'", [], |row| row.get(0)).optional()
}
