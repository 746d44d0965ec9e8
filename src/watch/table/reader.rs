//! What somebody who only reads it can ask: beside the loop, and when there is none.

use rusqlite::{Connection, OpenFlags, params};

use super::work::{DEAD, WAITING, event};
use super::{LOCKED_FOR, Told, cannot, unsigned};
use crate::error::Error;
use crate::model::DeadLetter;

/// A table, for reading.
pub(in crate::watch) struct Reader {
    conn: Connection,
}

impl Reader {
    /// Opens it, if it is there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(in crate::watch) fn open(path: &std::path::Path) -> Result<Option<Self>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .and_then(|conn| conn.busy_timeout(LOCKED_FOR).map(|()| conn))
            .map_err(|e| cannot("open", path, &e))?;
        Ok(Some(Self { conn }))
    }

    /// Counts of one root: known files, those that are tried again, those that were given up.
    pub(in crate::watch) fn counts(&self, set: &str) -> Told<(u64, u64, u64)> {
        let count = |sql: &str| -> Told<u64> { self.conn.query_row(sql, [set], |row| row.get(0)).map(unsigned) };
        let known = count(
            "SELECT count(*) FROM file WHERE folder IN \
             (SELECT id FROM folder WHERE root IN (SELECT id FROM root WHERE watch_set = ?1))",
        )?;
        let of = "FROM work WHERE root IN (SELECT id FROM root WHERE watch_set = ?1)";
        let retrying = count(&format!("SELECT count(*) {of} AND state = {WAITING} AND failures > 0"))?;
        Ok((known, retrying, count(&format!("SELECT count(*) {of} AND state = {DEAD}"))?))
    }

    /// When all folders of a set had been scanned last, milliseconds since 1970.
    pub(in crate::watch) fn last_scan(&self, set: &str) -> Told<Option<i64>> {
        self.conn.query_row("SELECT min(scanned_ms) FROM root WHERE watch_set = ?1", [set], |row| row.get(0))
    }

    /// Those that were given up, the newest first.
    pub(in crate::watch) fn dead(&self, most: usize) -> Told<Vec<DeadLetter>> {
        let mut ask = self.conn.prepare(
            "SELECT w.id, r.watch_set, r.path AS root, w.path, w.event, w.attempts, w.at_ms, w.why FROM work w \
             JOIN root r ON r.id = w.root WHERE w.state = ?1 ORDER BY w.at_ms DESC, w.id DESC LIMIT ?2",
        )?;
        let rows = ask.query_map(params![DEAD, i64::try_from(most).unwrap_or(i64::MAX)], |row| {
            let (root, path): (Vec<u8>, Vec<u8>) = (row.get("root")?, row.get("path")?);
            Ok(DeadLetter {
                id: row.get("id")?,
                set: row.get("watch_set")?,
                path: format!("{}/{}", String::from_utf8_lossy(&root), String::from_utf8_lossy(&path)),
                event: event(&row.get::<_, String>("event")?),
                attempts: row.get("attempts")?,
                at_ms: row.get("at_ms")?,
                why: row.get::<_, Option<String>>("why")?.unwrap_or_default(),
            })
        })?;
        rows.collect()
    }
}
