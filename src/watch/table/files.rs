//! Files that are dealt with.

use rusqlite::{OptionalExtension, Row, params};

use super::work::DEAD;
use super::{Table, Told, signed, split, unsigned};
use crate::watch::judge::Stat;

/// A file that is known under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Elsewhere {
    /// Its folder's number.
    pub(in crate::watch) folder: i64,
    /// The folder, below the root.
    pub(in crate::watch) path: Vec<u8>,
    /// Its name there.
    pub(in crate::watch) name: Vec<u8>,
    /// As it was seen.
    pub(in crate::watch) stat: Stat,
}

/// What is down of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::watch) struct Known {
    /// Its folder's number, when that is known.
    pub(in crate::watch) folder: Option<i64>,
    /// The file as it was dealt with, and whether it is gone.
    pub(in crate::watch) file: Option<(Stat, bool)>,
    /// Something is to be done with it, or is being done.
    pub(in crate::watch) is_under_way: bool,
}

/// A file that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Gone {
    /// Its folder's number.
    pub(in crate::watch) folder: i64,
    /// Its name there.
    pub(in crate::watch) name: Vec<u8>,
    /// Its root's number.
    pub(in crate::watch) root: i64,
    /// The folder, below the root.
    pub(in crate::watch) path: Vec<u8>,
}

/// From the columns dev, ino, born, size, modified, which begin at `first`.
fn stat(row: &Row<'_>, first: usize) -> Told<Stat> {
    Ok(Stat {
        dev: unsigned(row.get(first)?),
        ino: unsigned(row.get(first + 1)?),
        born: row.get(first + 2)?,
        size: unsigned(row.get(first + 3)?),
        modified: row.get(first + 4)?,
        changed: 0,
        links: 0,
    })
}

impl Table {
    /// What is down of a file of a root, by its path below it.
    pub(in crate::watch) fn known(&self, root: i64, path: &[u8]) -> Told<Known> {
        // One question for what is asked of each file that is told of.
        let mut ask = self.conn.prepare_cached(
            "SELECT d.id, f.gone_ms, f.dev, f.ino, f.born, f.size, f.modified, \
             EXISTS (SELECT 1 FROM work WHERE root = ?1 AND path = ?4 AND state <> ?5) \
             FROM (SELECT 1) LEFT JOIN folder d ON d.root = ?1 AND d.path = ?2 \
             LEFT JOIN file f ON f.folder = d.id AND f.name = ?3",
        )?;
        let (folder, name) = split(path);
        ask.query_row(params![root, folder, name, path, DEAD], |row| {
            let is_known = row.get::<_, Option<i64>>(2)?.is_some();
            let file = if is_known { Some((stat(row, 2)?, row.get::<_, Option<i64>>(1)?.is_some())) } else { None };
            Ok(Known { folder: row.get(0)?, file, is_under_way: row.get(7)? })
        })
    }

    /// Files of one root that have this number.
    pub(in crate::watch) fn by_number(&self, root: i64, now: &Stat) -> Told<Vec<Elsewhere>> {
        // In two steps: SQLite plans a join of these anew for each number.
        let mut ask = self.conn.prepare_cached(
            "SELECT folder, name, dev, ino, born, size, modified FROM file WHERE ino = ?1 AND dev = ?2 LIMIT 16",
        )?;
        let mut of = self.conn.prepare_cached("SELECT path FROM folder WHERE id = ?1 AND root = ?2")?;
        let mut found = Vec::new();
        let mut rows = ask.query(params![signed(now.ino), signed(now.dev)])?;
        while let Some(row) = rows.next()? {
            let folder: i64 = row.get(0)?;
            if let Some(path) = of.query_row([folder, root], |row| row.get(0)).optional()? {
                found.push(Elsewhere { folder, path, name: row.get(1)?, stat: stat(row, 2)? });
            }
        }
        Ok(found)
    }

    /// The file is dealt with as it is now.
    pub(in crate::watch) fn know(&self, folder: i64, name: &[u8], now: &Stat, handled_ms: Option<i64>) -> Told<()> {
        let mut put = self.conn.prepare_cached(
            "INSERT INTO file (folder, name, dev, ino, born, size, modified, handled_ms, gone_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL) ON CONFLICT (folder, name) DO UPDATE SET dev = excluded.dev, \
             ino = excluded.ino, born = excluded.born, size = excluded.size, modified = excluded.modified, gone_ms = NULL, \
             handled_ms = coalesce(excluded.handled_ms, handled_ms)",
        )?;
        let (dev, ino) = (signed(now.dev), signed(now.ino));
        put.execute(params![folder, name, dev, ino, now.born, signed(now.size), now.modified, handled_ms])?;
        Ok(())
    }

    /// A file has another name; one that was known under that is forgotten.
    pub(in crate::watch) fn move_file(&self, from: (i64, &[u8]), to: (i64, &[u8]), now: &Stat) -> Told<()> {
        let mut handled = self.conn.prepare_cached("SELECT handled_ms FROM file WHERE folder = ?1 AND name = ?2")?;
        let handled: Option<Option<i64>> = handled.query_row(params![from.0, from.1], |row| row.get(0)).optional()?;
        self.forget(from.0, from.1)?;
        self.know(to.0, to.1, now, handled.flatten())
    }

    /// The file is not known any more.
    pub(in crate::watch) fn forget(&self, folder: i64, name: &[u8]) -> Told<()> {
        let mut delete = self.conn.prepare_cached("DELETE FROM file WHERE folder = ?1 AND name = ?2")?;
        delete.execute(params![folder, name])?;
        Ok(())
    }

    /// A file is not there: it may have another name, which is seen soon. Gives whether it was known.
    pub(in crate::watch) fn gone(&self, folder: i64, name: &[u8], now_ms: i64) -> Told<bool> {
        let mut set = self
            .conn
            .prepare_cached("UPDATE file SET gone_ms = ?3 WHERE folder = ?1 AND name = ?2 AND gone_ms IS NULL")?;
        Ok(set.execute(params![folder, name, now_ms])? > 0)
    }

    /// It is there after all.
    pub(in crate::watch) fn back(&self, folder: i64, name: &[u8]) -> Told<()> {
        let mut set = self.conn.prepare_cached("UPDATE file SET gone_ms = NULL WHERE folder = ?1 AND name = ?2")?;
        set.execute(params![folder, name])?;
        Ok(())
    }

    /// How many files of a folder are known, on volume `dev`, and not gone.
    pub(in crate::watch) fn count_in(&self, folder: i64) -> Told<u64> {
        let mut ask = self.conn.prepare_cached("SELECT count(*) FROM file WHERE folder = ?1 AND gone_ms IS NULL")?;
        ask.query_row([folder], |row| row.get(0)).map(unsigned)
    }

    /// Known files of a folder by name, after `after`, with their volume.
    pub(in crate::watch) fn names_in(
        &self,
        folder: i64,
        after: Option<&[u8]>,
        most: usize,
    ) -> Told<Vec<(Vec<u8>, u64)>> {
        let mut ask = self.conn.prepare_cached(
            "SELECT name, dev FROM file WHERE folder = ?1 AND (?2 IS NULL OR name > ?2) AND gone_ms IS NULL \
             ORDER BY name LIMIT ?3",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = ask.query_map(params![folder, after, most], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
        rows.collect()
    }

    /// Files that are gone.
    pub(in crate::watch) fn gone_files(&self, most: usize) -> Told<Vec<Gone>> {
        let mut ask = self.conn.prepare_cached(
            "SELECT f.folder, f.name, d.root, d.path FROM file f JOIN folder d ON d.id = f.folder \
             WHERE f.gone_ms IS NOT NULL LIMIT ?1",
        )?;
        let rows = ask.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| {
            Ok(Gone { folder: row.get(0)?, name: row.get(1)?, root: row.get(2)?, path: row.get(3)? })
        })?;
        rows.collect()
    }
}
