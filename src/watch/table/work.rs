//! What cannot be seen by looking at the files: handlers that have begun, that are tried again, that were given up.

use rusqlite::{Row, params};

use super::{Table, Told, unsigned};
use crate::model::{DeadLetter, WatchOn};

/// Nobody is at it. The index `work_due` has these.
const WAITING: i64 = 0;
/// Its handler runs.
const RUNNING: i64 = 1;
/// It was given up.
const DEAD: i64 = 2;

/// A file that is to be handled, or is being handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Work {
    pub(in crate::watch) id: i64,
    pub(in crate::watch) root: i64,
    /// The file, below the root.
    pub(in crate::watch) path: Vec<u8>,
    pub(in crate::watch) event: WatchOn,
    /// Its former name, below the root.
    pub(in crate::watch) origin: Option<Vec<u8>>,
    /// How often its handler was started.
    pub(in crate::watch) attempts: u32,
    /// How often it failed.
    pub(in crate::watch) failures: u32,
}

/// How a handler's run goes down in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) enum Outcome {
    /// There is nothing more to do.
    Done,
    /// It failed, and is tried again then; milliseconds since 1970.
    Again { due_ms: i64, why: String },
    /// It never came to run: that counts for nothing.
    NotBegun { due_ms: i64, why: String },
    /// It failed for the last time.
    Dead { why: String },
}

fn event(word: &str) -> WatchOn {
    let all = [WatchOn::Created, WatchOn::Modified, WatchOn::Removed, WatchOn::Renamed];
    all.into_iter().find(|event| event.as_str() == word).unwrap_or(WatchOn::Created)
}

fn work(row: &Row<'_>) -> Told<Work> {
    Ok(Work {
        id: row.get("id")?,
        root: row.get("root")?,
        path: row.get("path")?,
        event: event(&row.get::<_, String>("event")?),
        origin: row.get("origin")?,
        attempts: row.get("attempts")?,
        failures: row.get("failures")?,
    })
}

impl Table {
    /// What was in mind, or ran when the watcher was killed, is due again; but for these, which run.
    pub(in crate::watch) fn resume(&self, running: &[i64]) -> Told<()> {
        let ids = running.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let sql =
            format!("UPDATE work SET state = {WAITING}, due_ms = 0 WHERE state = {RUNNING} AND id NOT IN ({ids})");
        self.conn.execute(&sql, []).map(|_| ())
    }

    /// Whether something is under way with a file, or waits to be tried again.
    pub(in crate::watch) fn is_under_way(&self, root: i64, path: &[u8]) -> Told<bool> {
        let mut ask = self.conn.prepare_cached("SELECT 1 FROM work WHERE root = ?1 AND path = ?2 AND state <> ?3")?;
        ask.exists(params![root, path, DEAD])
    }

    /// Something is to be done with a file, as soon as may be.
    pub(in crate::watch) fn put(
        &self,
        root: i64,
        path: &[u8],
        event: WatchOn,
        origin: Option<&[u8]>,
        now_ms: i64,
    ) -> Told<()> {
        let mut put = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO work (root, path, event, origin, state, attempts, failures, due_ms, at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?6)",
        )?;
        put.execute(params![root, path, event.as_str(), origin, WAITING, now_ms])?;
        Ok(())
    }

    /// A handler begins with a file of which nothing is down yet.
    pub(in crate::watch) fn begin_new(&self, root: i64, path: &[u8], event: WatchOn, now_ms: i64) -> Told<Work> {
        let mut put = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO work (root, path, event, state, attempts, failures, due_ms, at_ms) \
             VALUES (?1, ?2, ?3, ?4, 1, 0, 0, ?5)",
        )?;
        let id = put.insert(params![root, path, event.as_str(), RUNNING, now_ms])?;
        Ok(Work { id, root, path: path.to_vec(), event, origin: None, attempts: 1, failures: 0 })
    }

    /// A handler begins with what is down already.
    pub(in crate::watch) fn begin_again(&self, work: &mut Work, now_ms: i64) -> Told<()> {
        work.attempts = work.attempts.saturating_add(1);
        let mut set =
            self.conn.prepare_cached("UPDATE work SET state = ?2, attempts = ?3, at_ms = ?4 WHERE id = ?1")?;
        set.execute(params![work.id, RUNNING, work.attempts, now_ms])?;
        Ok(())
    }

    /// What became of it.
    pub(in crate::watch) fn ended(&self, work: &Work, outcome: &Outcome, now_ms: i64) -> Told<()> {
        let (state, failed, due_ms, why) = match outcome {
            Outcome::Done => {
                self.conn.prepare_cached("DELETE FROM work WHERE id = ?1")?.execute([work.id])?;
                return Ok(());
            }
            Outcome::Again { due_ms, why } => (WAITING, 1, *due_ms, why),
            Outcome::NotBegun { due_ms, why } => (WAITING, 0, *due_ms, why),
            Outcome::Dead { why } => (DEAD, 1, now_ms, why),
        };
        let begun = i64::from(!matches!(outcome, Outcome::NotBegun { .. }));
        let mut set = self.conn.prepare_cached(
            "UPDATE work SET state = ?2, failures = failures + ?3, attempts = attempts - 1 + ?4, due_ms = ?5, at_ms = ?6, \
             why = ?7 WHERE id = ?1",
        )?;
        set.execute(params![work.id, state, failed, begun, due_ms, now_ms, why])?;
        Ok(())
    }

    /// What waits and is due by `now_ms`, of one root.
    pub(in crate::watch) fn due(&self, root: i64, now_ms: i64, most: usize) -> Told<Vec<Work>> {
        let mut ask = self.conn.prepare_cached(
            // The number stands there for the index.
            "SELECT id, root, path, event, origin, attempts, failures FROM work \
             WHERE state = 0 AND due_ms <= ?1 AND root = ?2 ORDER BY due_ms, id LIMIT ?3",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        ask.query_map(params![now_ms, root, most], work)?.collect()
    }

    /// It is in mind from now on, and not due again until it has been begun or the watcher starts anew.
    pub(in crate::watch) fn in_mind(&self, id: i64) -> Told<()> {
        self.conn.prepare_cached("UPDATE work SET state = ?2 WHERE id = ?1")?.execute([id, RUNNING])?;
        Ok(())
    }

    /// When the next one is due, milliseconds since 1970.
    pub(in crate::watch) fn next_due(&self) -> Told<Option<i64>> {
        let mut ask = self.conn.prepare_cached("SELECT min(due_ms) FROM work WHERE state = 0")?;
        ask.query_row([], |row| row.get(0))
    }

    /// Those that were given up are tried again: these, or all, of these roots.
    pub(in crate::watch) fn retry(&self, ids: &[i64], roots: &[i64], now_ms: i64) -> Told<u64> {
        let list = |ids: &[i64]| ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let which = if ids.is_empty() { String::new() } else { format!(" AND id IN ({})", list(ids)) };
        let sql = format!(
            "UPDATE work SET state = {WAITING}, failures = 0, due_ms = {now_ms} WHERE state = {DEAD} AND root IN ({}){which}",
            list(roots)
        );
        Ok(self.conn.execute(&sql, [])? as u64)
    }

    /// Files of a root that were handled or given up since then are to be handled again.
    pub(in crate::watch) fn replay(&self, root: i64, since_ms: i64, now_ms: i64) -> Told<u64> {
        let given_up = self.conn.execute(
            "UPDATE work SET state = ?1, failures = 0, due_ms = ?2 WHERE state = ?3 AND root = ?4 AND at_ms >= ?5",
            params![WAITING, now_ms, DEAD, root, since_ms],
        )?;
        let handled = self.conn.execute(
            "INSERT OR IGNORE INTO work (root, path, event, state, attempts, failures, due_ms, at_ms) \
             SELECT ?1, CASE WHEN d.path = x'' THEN f.name ELSE CAST(d.path || x'2f' || f.name AS BLOB) END, 'created', ?2, \
             0, 0, ?3, ?3 FROM file f JOIN folder d ON d.id = f.folder \
             WHERE d.root = ?1 AND f.handled_ms >= ?4 AND f.gone_ms IS NULL",
            params![root, WAITING, now_ms, since_ms],
        )?;
        Ok((given_up + handled) as u64)
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

    /// How many were given up.
    pub(in crate::watch) fn dead_count(&self) -> Told<u64> {
        let mut ask = self.conn.prepare_cached("SELECT count(*) FROM work WHERE state = ?1")?;
        ask.query_row([DEAD], |row| row.get(0)).map(unsigned)
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

    /// What is down of a file, for tests.
    #[cfg(test)]
    pub(in crate::watch) fn work_of(&self, root: i64, path: &[u8]) -> Told<Option<(i64, u32, u32)>> {
        let mut ask =
            self.conn.prepare_cached("SELECT state, attempts, failures FROM work WHERE root = ?1 AND path = ?2")?;
        rusqlite::OptionalExtension::optional(
            ask.query_row(params![root, path], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))),
        )
    }
}
