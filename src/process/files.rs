//! Files of ours: whole or not at all, and for nobody else's eyes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::stat::{Mode, fchmod, umask};

use crate::model::UnitName;

/// Puts `bytes` at `path` so that a reader, and we after any kind of death, find either what was there before or all of
/// it: a new file (0600) in the same folder, renamed. With `fsync`, it also is on the disk when this returns.
pub fn write_atomic(path: &Path, bytes: &[u8], fsync: bool) -> io::Result<()> {
    write(path, bytes, fsync, 0o600)
}

/// The same for what others are to read (0644), synced.
pub fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, true, 0o644)
}

fn write(path: &Path, bytes: &[u8], fsync: bool, mode: u32) -> io::Result<()> {
    let scratch = scratch_name(path)?;
    let result = fill(&scratch, bytes, fsync, mode).and_then(|()| fs::rename(&scratch, path));
    if result.is_err() {
        fs::remove_file(&scratch).ok();
        return result;
    }
    match path.parent() {
        // Only the folder's own sync makes the new name last.
        Some(folder) if fsync => sync_folder(folder),
        _ => Ok(()),
    }
}

/// Puts the names in `folder` on the disk: what was made or renamed in it survives a power loss from then on.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    SYNCED.with_borrow_mut(|synced| synced.push(folder.to_path_buf()));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
thread_local! {
    /// The folders that this thread has synced: no test can cut the power.
    pub static SYNCED: std::cell::RefCell<Vec<PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// The services or jobs that have a folder of their own in `folder`, by name.
///
/// # Errors
/// When it cannot be read.
pub fn units_in(folder: &Path) -> io::Result<Vec<UnitName>> {
    let mut names: Vec<UnitName> =
        fs::read_dir(folder)?.flatten().filter_map(|entry| UnitName::new(entry.file_name().to_str()?).ok()).collect();
    names.sort();
    Ok(names)
}

/// Removes what writers that were killed have left in `folder`. Only for whoever is its one writer now.
pub fn clear_scratch(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let scratch = |name: &std::ffi::OsStr| name.to_str().is_some_and(|n| n.starts_with('.') && n.ends_with(".tmp"));
    for entry in entries.filter(|entry| scratch(&entry.file_name())) {
        // What stays is tried again by the next one; it harms nobody.
        fs::remove_file(entry.path()).ok();
    }
}

/// Removes the oldest of those files in `folder` whose names `is_ours`, until at most `most` of them and `bytes` bytes are left. The
/// newest stays, however large.
pub fn keep_newest(folder: &Path, is_ours: impl Fn(&str) -> bool, most: usize, bytes: u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(&is_ours))
        .filter_map(|entry| {
            let data = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((data.modified().ok()?, entry.path(), data.len()))
        })
        .collect();
    files.sort();
    let mut room = bytes;
    for (place, (_, path, length)) in files.iter().rev().enumerate() {
        let fits = length <= &room;
        // Nothing that is older stays when this does not.
        room = if fits { room - length } else { 0 };
        if place >= most || (!fits && place > 0) {
            fs::remove_file(path).ok();
        }
    }
}

/// Makes the folder and what is missing above it, 0700. One that is there stays as it is.
pub fn ensure_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The same for a folder whose files are to survive a power loss: when it had to be made, its name and those of the folders above it
/// are on the disk when this returns, up to what is in `root`.
pub fn ensure_lasting_dir(path: &Path, root: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    ensure_dir(path)?;
    // Those above may be new as well, made by whoever did not need them to last.
    let mut above = path.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
    let synced = above.try_for_each(sync_folder);
    if synced.is_err() {
        // So that the next one does it again. What is in it already keeps it.
        fs::remove_dir(path).ok();
    }
    synced
}

/// A name of this process's own, so that two writers never share a scratch file. One of the same name is left from an
/// earlier process with our pid, and dead.
fn scratch_name(path: &Path) -> io::Result<PathBuf> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let mut scratch = std::ffi::OsString::from(".");
    scratch.push(name);
    scratch.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(scratch))
}

fn fill(scratch: &Path, bytes: &[u8], fsync: bool, mode: u32) -> io::Result<()> {
    match fs::remove_file(scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(scratch)?;
    // Our umask would take the bits of the others away.
    if mode != 0o600 {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.write_all(bytes)?;
    if fsync { file.sync_all() } else { Ok(()) }
}

/// From now on nobody else can read or write what this process makes. Services inherit it.
pub fn private_umask() {
    let users = umask(Mode::from_bits_truncate(0o077));
    // Only the first time is it the user's.
    let _ = USERS.set(users);
}

/// The umask that we were started with.
static USERS: OnceLock<Mode> = OnceLock::new();

/// Gives a new file that is the user's own, and none of ours, the mode that their umask gives it.
pub fn for_the_user(file: &File) -> io::Result<()> {
    match USERS.get() {
        Some(mask) => Ok(fchmod(file, Mode::from_bits_truncate(0o666) - *mask)?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_killed_writers_left_is_cleared_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adopt");
        write_atomic(&path, b"whole", false).unwrap();
        fs::write(folder.path().join(".adopt.4711.tmp"), "hal").unwrap();
        clear_scratch(folder.path());
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["adopt"]);
        clear_scratch(&path);
    }

    #[test]
    fn a_file_is_replaced_whole_and_private_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("intent");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for (fsync, text) in [(false, "one"), (true, "two")] {
            fs::write(scratch_name(&path).unwrap(), "left by somebody who died").unwrap();
            write_atomic(&path, text.as_bytes(), fsync).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(mode(&path), 0o600);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        write_atomic(&path, b"text", false).unwrap_err();
        assert!(path.join("x").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomic(&folder.path().join("no/such"), b"text", false).unwrap_err();
    }

    #[test]
    fn the_newest_files_stay_and_what_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, age_s: u64, length: usize| {
            let path = folder.path().join(name);
            fs::write(&path, "x".repeat(length)).unwrap();
            let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 - age_s);
            File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        };
        let left = || {
            let mut names: Vec<String> =
                fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        };
        for (age, name) in ["a1", "a2", "a3", "a4", "a5", "b9"].iter().enumerate() {
            file(name, age as u64, 10);
        }
        fs::create_dir(folder.path().join("a-folder")).unwrap();
        let ours = |name: &str| name.starts_with('a');
        keep_newest(folder.path(), ours, 4, u64::MAX);
        assert_eq!(left(), "a-folder a1 a2 a3 a4 b9");
        keep_newest(folder.path(), ours, 4, 30);
        assert_eq!(left(), "a-folder a1 a2 a3 b9");
        // An older one that would fit does not stay in the place of a newer one.
        file("a2", 1, 100);
        keep_newest(folder.path(), ours, 4, 30);
        assert_eq!(left(), "a-folder a1 b9");
        keep_newest(folder.path(), ours, 4, 1);
        assert_eq!(left(), "a-folder a1 b9");
        keep_newest(&folder.path().join("no"), ours, 1, 1);
    }

    #[test]
    fn folders_are_made_private_all_the_way() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        ensure_dir(&deep).unwrap();
        assert_eq!((mode(&deep), mode(&root.path().join("a"))), (0o700, 0o700));
        ensure_dir(&deep).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        ensure_dir(&root.path().join("file")).unwrap_err();
    }

    #[test]
    fn a_folder_that_is_to_last_is_named_on_disk_once_with_all_above_it() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        fs::create_dir(root.path().join("a")).unwrap();
        SYNCED.take();
        ensure_lasting_dir(&deep, root.path()).unwrap();
        assert_eq!(SYNCED.take(), [root.path().join("a/b"), root.path().join("a"), root.path().into()]);
        assert_eq!((mode(&deep), mode(&root.path().join("a/b"))), (0o700, 0o700));
        ensure_lasting_dir(&deep, root.path()).unwrap();
        assert!(SYNCED.take().is_empty());
        fs::write(root.path().join("file"), "").unwrap();
        ensure_lasting_dir(&root.path().join("file"), root.path()).unwrap_err();
    }
}
