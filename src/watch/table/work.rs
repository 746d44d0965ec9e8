//! What cannot be seen by looking at the files: what has gone or has another name, handlers that are tried again, that were given up.

use rusqlite::{Row, params};

use super::{Table, Told, unsigned};
use crate::model::WatchOn;

/// Nobody is at it. The index `work_due` has these.
pub(super) const WAITING: i64 = 0;
/// It is in mind, or its handler runs.
const RUNNING: i64 = 1;
/// It was given up.
pub(super) const DEAD: i64 = 2;

/// A file that is to be handled, or is being handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Work {
    /// Its row; `None`: there is none.
    pub(in crate::watch) row: Option<i64>,
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

pub(super) fn event(word: &str) -> WatchOn {
    let all = [WatchOn::Created, WatchOn::Modified, WatchOn::Removed, WatchOn::Renamed];
    all.into_iter().find(|event| event.as_str() == word).unwrap_or(WatchOn::Created)
}

fn work(row: &Row<'_>) -> Told<Work> {
    Ok(Work {
        row: row.get("id")?,
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

    /// Whether anything is in mind, or runs.
    pub(super) fn any_runs(&self) -> Told<bool> {
        let mut ask = self.conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM work WHERE state = ?1)")?;
        ask.query_row([RUNNING], |row| row.get(0))
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

    /// A handler begins with what is down already.
    pub(in crate::watch) fn begin_again(&self, work: &mut Work, now_ms: i64) -> Told<()> {
        work.attempts = work.attempts.saturating_add(1);
        let mut set =
            self.conn.prepare_cached("UPDATE work SET state = ?2, attempts = ?3, at_ms = ?4 WHERE id = ?1")?;
        set.execute(params![work.row, RUNNING, work.attempts, now_ms])?;
        Ok(())
    }

    /// What became of it. Gives the row that is left of it.
    pub(in crate::watch) fn ended(&self, work: &Work, outcome: &Outcome, now_ms: i64) -> Told<Option<i64>> {
        let (state, failed, due_ms, why) = match outcome {
            Outcome::Done => {
                // That of a file that was given up before, and has changed since; none of what has happened meanwhile.
                let mut done =
                    self.conn.prepare_cached("DELETE FROM work WHERE root = ?1 AND path = ?2 AND state <> ?3")?;
                done.execute(params![work.root, work.path, WAITING])?;
                return Ok(None);
            }
            Outcome::Again { due_ms, why } => (WAITING, 1, *due_ms, why),
            Outcome::NotBegun { due_ms, why } => (WAITING, 0, *due_ms, why),
            Outcome::Dead { why } => (DEAD, 1, now_ms, why),
        };
        let attempts = work.attempts.saturating_sub(matches!(outcome, Outcome::NotBegun { .. }).into());
        let mut put = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO work (id, root, path, event, origin, state, attempts, failures, due_ms, at_ms, why) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let (path, event, failures) = (&work.path, work.event.as_str(), work.failures + failed);
        put.insert(params![
            work.row,
            work.root,
            path,
            event,
            work.origin,
            state,
            attempts,
            failures,
            due_ms,
            now_ms,
            why
        ])
        .map(Some)
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

    /// How many were given up.
    pub(in crate::watch) fn dead_count(&self) -> Told<u64> {
        let mut ask = self.conn.prepare_cached("SELECT count(*) FROM work WHERE state = ?1")?;
        ask.query_row([DEAD], |row| row.get(0)).map(unsigned)
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
