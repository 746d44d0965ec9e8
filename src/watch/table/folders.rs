//! Roots, and the folders below them.

use rusqlite::{OptionalExtension, params};

use super::{Table, Told, signed, unsigned};

/// A folder of services.toml, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Root {
    /// Its number.
    pub(in crate::watch) id: i64,
    /// Files that are older, nanoseconds since 1970, were there when watching began; `None`: all of them have been seen once.
    pub(in crate::watch) since: Option<i64>,
}

/// A folder below a root, as it was listed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::watch) struct Folder {
    /// Its number.
    pub(in crate::watch) id: i64,
    /// Below the root.
    pub(in crate::watch) path: Vec<u8>,
    /// Its volume.
    pub(in crate::watch) dev: u64,
    /// Its number there.
    pub(in crate::watch) ino: u64,
    /// When it was changed last, as of then, nanoseconds since 1970; 0: it may have been changed since.
    pub(in crate::watch) modified: i64,
}

impl Table {
    /// A folder of services.toml. One that is new begins at `since`; one whose shape (what is taken for its files) has changed begins
    /// again where the watcher was last alive.
    pub(in crate::watch) fn root(&self, set: &str, path: &[u8], shape: &str, since: i64) -> Told<Root> {
        let mut ask =
            self.conn.prepare_cached("SELECT id, shape, since, taken FROM root WHERE watch_set = ?1 AND path = ?2")?;
        let known: Option<(i64, String, i64, bool)> = ask
            .query_row(params![set, path], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let Some((id, known_shape, known_since, taken)) = known else {
            let mut put = self
                .conn
                .prepare_cached("INSERT INTO root (watch_set, path, shape, since, taken) VALUES (?1, ?2, ?3, ?4, 0)")?;
            let id = put.insert(params![set, path, shape, since])?;
            return Ok(Root { id, since: Some(since) });
        };
        if known_shape == shape {
            return Ok(Root { id, since: (!taken).then_some(known_since) });
        }
        let since = self.alive()?.unwrap_or(since);
        let mut set = self.conn.prepare_cached("UPDATE root SET shape = ?2, since = ?3, taken = 0 WHERE id = ?1")?;
        set.execute(params![id, shape, since])?;
        Ok(Root { id, since: Some(since) })
    }

    /// All that was there when watching began has been seen.
    pub(in crate::watch) fn taken(&self, root: i64) -> Told<()> {
        self.conn.prepare_cached("UPDATE root SET taken = 1 WHERE id = ?1")?.execute([root])?;
        Ok(())
    }

    /// A scan of the whole root has ended.
    pub(in crate::watch) fn scanned(&self, root: i64, now_ms: i64) -> Told<()> {
        self.conn.prepare_cached("UPDATE root SET scanned_ms = ?2 WHERE id = ?1")?.execute(params![root, now_ms])?;
        Ok(())
    }

    /// Roots that are in services.toml no more are forgotten, with all that is below them.
    pub(in crate::watch) fn keep_roots(&self, ids: &[i64]) -> Told<()> {
        let ids = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        self.conn.execute_batch(&format!(
            "DELETE FROM file WHERE folder IN (SELECT id FROM folder WHERE root NOT IN ({ids}));
             DELETE FROM folder WHERE root NOT IN ({ids});
             DELETE FROM work WHERE root NOT IN ({ids});
             DELETE FROM root WHERE id NOT IN ({ids});"
        ))
    }

    /// When the watcher was last alive, nanoseconds since 1970.
    pub(in crate::watch) fn alive(&self) -> Told<Option<i64>> {
        let mut ask = self.conn.prepare_cached("SELECT value FROM meta WHERE key = 'alive'")?;
        ask.query_row([], |row| row.get(0)).optional()
    }

    /// It is alive now.
    pub(in crate::watch) fn is_alive(&self, now_ms: i64) -> Told<()> {
        let mut put = self.conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('alive', ?1)")?;
        put.execute([now_ms.saturating_mul(1_000_000)])?;
        Ok(())
    }

    /// The number of a folder, which is known from then on.
    pub(in crate::watch) fn folder_id(&self, root: i64, path: &[u8]) -> Told<i64> {
        let mut ask = self.conn.prepare_cached("SELECT id FROM folder WHERE root = ?1 AND path = ?2")?;
        if let Some(id) = ask.query_row(params![root, path], |row| row.get(0)).optional()? {
            return Ok(id);
        }
        let parent = match path.iter().rposition(|byte| *byte == b'/') {
            _ if path.is_empty() => None,
            Some(at) => Some(self.folder_id(root, &path[..at])?),
            None => Some(self.folder_id(root, b"")?),
        };
        let mut put = self.conn.prepare_cached(
            "INSERT INTO folder (root, path, parent, dev, ino, modified) VALUES (?1, ?2, ?3, 0, 0, 0)",
        )?;
        put.insert(params![root, path, parent])
    }

    /// A folder, if it is known.
    pub(in crate::watch) fn folder(&self, root: i64, path: &[u8]) -> Told<Option<Folder>> {
        let mut ask = self
            .conn
            .prepare_cached("SELECT id, path, dev, ino, modified FROM folder WHERE root = ?1 AND path = ?2")?;
        ask.query_row(params![root, path], folder).optional()
    }

    /// It was listed, and was so before that.
    pub(in crate::watch) fn listed(&self, id: i64, dev: u64, ino: u64, modified: i64) -> Told<()> {
        let mut set = self.conn.prepare_cached("UPDATE folder SET dev = ?2, ino = ?3, modified = ?4 WHERE id = ?1")?;
        set.execute(params![id, signed(dev), signed(ino), modified])?;
        Ok(())
    }

    /// The folders of a root in the order of their numbers, after `after`.
    pub(in crate::watch) fn folders(&self, root: i64, after: i64, most: usize) -> Told<Vec<Folder>> {
        let mut ask = self.conn.prepare_cached(
            "SELECT id, path, dev, ino, modified FROM folder WHERE root = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        ask.query_map(params![root, after, most], folder)?.collect()
    }

    /// The folders in a folder.
    pub(in crate::watch) fn folders_in(&self, parent: i64) -> Told<Vec<Folder>> {
        let mut ask = self.conn.prepare_cached("SELECT id, path, dev, ino, modified FROM folder WHERE parent = ?1")?;
        ask.query_map([parent], folder)?.collect()
    }

    /// A folder is not there, nor is what was in it: its files may be elsewhere. Gives the folders that are forgotten.
    pub(in crate::watch) fn folder_gone(&self, root: i64, path: &[u8], now_ms: i64) -> Told<u64> {
        // All that begins with `path/`: '0' is the byte after '/'.
        let (from, to) = ([path, b"/"].concat(), [path, b"0"].concat());
        let mut files = self.conn.prepare_cached(
            "UPDATE file SET gone_ms = ?5 WHERE gone_ms IS NULL AND folder IN \
             (SELECT id FROM folder WHERE root = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4)))",
        )?;
        files.execute(params![root, path, from, to, now_ms])?;
        // They stay until their files have been dealt with; nothing is known of them.
        let mut folders = self.conn.prepare_cached(
            "UPDATE folder SET modified = 0, ino = 0 WHERE root = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4))",
        )?;
        Ok(folders.execute(params![root, path, from, to])? as u64)
    }

    /// Folders that are gone, and have no files any more, are forgotten.
    pub(in crate::watch) fn forget_empty_folders(&self) -> Told<()> {
        let mut delete = self.conn.prepare_cached(
            "DELETE FROM folder WHERE ino = 0 AND path <> x'' AND NOT EXISTS (SELECT 1 FROM file WHERE file.folder = folder.id) \
             AND NOT EXISTS (SELECT 1 FROM folder AS below WHERE below.parent = folder.id)",
        )?;
        while delete.execute([])? > 0 {}
        Ok(())
    }
}

fn folder(row: &rusqlite::Row<'_>) -> Told<Folder> {
    Ok(Folder {
        id: row.get(0)?,
        path: row.get(1)?,
        dev: unsigned(row.get(2)?),
        ino: unsigned(row.get(3)?),
        modified: row.get(4)?,
    })
}
