//! Files that are dealt with.

use rusqlite::{OptionalExtension, Row, params};

use super::{Table, Told, signed, unsigned};
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

fn stat(row: &Row<'_>) -> Told<Stat> {
    Ok(Stat {
        dev: unsigned(row.get("dev")?),
        ino: unsigned(row.get("ino")?),
        born: row.get("born")?,
        size: unsigned(row.get("size")?),
        modified: row.get("modified")?,
        changed: 0,
        links: 0,
    })
}

impl Table {
    /// What is known of a file, and whether it was said to be gone.
    pub(in crate::watch) fn file(&self, folder: i64, name: &[u8]) -> Told<Option<(Stat, bool)>> {
        let mut ask = self.conn.prepare_cached(
            "SELECT dev, ino, born, size, modified, gone_ms FROM file WHERE folder = ?1 AND name = ?2",
        )?;
        ask.query_row(params![folder, name], |row| Ok((stat(row)?, row.get::<_, Option<i64>>("gone_ms")?.is_some())))
            .optional()
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
            let folder: i64 = row.get("folder")?;
            if let Some(path) = of.query_row([folder, root], |row| row.get(0)).optional()? {
                found.push(Elsewhere { folder, path, name: row.get("name")?, stat: stat(row)? });
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
