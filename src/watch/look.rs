//! Looks at files and folders.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::judge::Stat;
use crate::process::volume;

/// What is there.
#[derive(Debug)]
pub(super) enum Found {
    /// A file, or a link to one.
    File(Stat),
    /// A folder.
    Folder(Stat),
    /// Something that is neither: a socket, a pipe, a link to a folder or to nothing.
    Other,
    /// Nothing.
    Absent,
    /// It cannot be looked at.
    Denied(io::Error),
}

/// Looks at `path`; a link is looked at itself.
pub(super) fn at(path: &Path) -> Found {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_file() => Found::File(stat(&data)),
        Ok(data) if data.is_dir() => Found::Folder(stat(&data)),
        Ok(data) if data.is_symlink() && fs::metadata(path).is_ok_and(|data| data.is_file()) => {
            Found::File(stat(&data))
        }
        Ok(_) => Found::Other,
        Err(e) if is_absent(&e) => Found::Absent,
        Err(e) => Found::Denied(e),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What tells one file from another.
pub(super) fn stat(data: &Metadata) -> Stat {
    let nanos = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let born = data.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Stat {
        dev: data.dev(),
        ino: data.ino(),
        born: born.and_then(|born| i64::try_from(born.as_nanos()).ok()).unwrap_or(0),
        size: data.size(),
        modified: nanos(data.mtime(), data.mtime_nsec()),
        changed: nanos(data.ctime(), data.ctime_nsec()),
        links: data.nlink(),
    }
}

/// Whether somebody has the file open for writing, where the system tells.
pub(super) fn is_being_written(path: &Path) -> bool {
    // A pipe that has come in its place must not hold us up.
    let open = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    open.is_ok_and(|file| volume::is_being_written(&file) == Some(true))
}

/// What is at the place of a folder of services.toml.
#[derive(Debug)]
pub(super) enum Place {
    /// A folder: where it really is, and what it is.
    There(PathBuf, Stat),
    /// Nothing, or no folder.
    Absent,
    /// It cannot be read: why, and what to do.
    Denied(String, String),
}

/// Looks at a folder of services.toml, through links.
pub(super) fn place(path: &Path) -> Place {
    let found = path.canonicalize().and_then(|real| {
        let data = fs::metadata(&real)?;
        if !data.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // To be listed is more than to be there.
        fs::read_dir(&real)?;
        Ok((real, stat(&data)))
    });
    match found {
        Ok((real, stat)) => Place::There(real, stat),
        Err(e) if is_absent(&e) => Place::Absent,
        Err(e) => {
            let (why, remedy) = denied(path, &e);
            Place::Denied(why, remedy)
        }
    }
}

/// Why a folder cannot be read, and what to do. macOS guards the folders of the desktop beside what their modes say: it answers EPERM,
/// where a mode that forbids answers EACCES.
pub(super) fn denied(path: &Path, error: &io::Error) -> (String, String) {
    let shown = path.display();
    match error.raw_os_error() {
        Some(libc::EPERM) if cfg!(target_os = "macos") => {
            let own = std::env::current_exe().map_or_else(|_| "supervisor".into(), |own| own.display().to_string());
            (
                format!("macOS does not let the supervisor read {shown} (privacy protection)"),
                format!(
                    "in System Settings, Privacy & Security, Files and Folders (or Full Disk Access) allow {own}, then \
                     `supervisor restart` the service"
                ),
            )
        }
        Some(libc::EACCES | libc::EPERM) => (
            format!("{shown} cannot be read: permission denied"),
            format!("give this user the right to read and enter it (ls -ld {shown})"),
        ),
        _ => (format!("{shown} cannot be read: {error}"), "it is tried again every 5 minutes".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| super::at(&folder.path().join(name));
        fs::write(folder.path().join("file"), "abc").unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        link("file", "to-file");
        link(".", "to-folder");
        link("nowhere", "to-nothing");
        let Found::File(file) = at("file") else { panic!() };
        assert_eq!((file.size, file.links), (3, 1));
        assert!(matches!(at("to-file"), Found::File(link) if link.ino != file.ino));
        assert!(matches!(at("to-folder"), Found::Other) && matches!(at("to-nothing"), Found::Other));
        assert!(matches!(at(""), Found::Folder(_)) && matches!(at("none"), Found::Absent));
        assert!(matches!(at("file/below"), Found::Absent));
        assert!(
            matches!(place(&folder.path().join("to-folder")), Place::There(real, _) if real.ends_with(folder.path().file_name().unwrap()))
        );
        assert!(matches!(place(&folder.path().join("file")), Place::Absent));
    }

    #[test]
    fn who_may_not_read_is_told_what_to_do() {
        let (why, remedy) = denied(Path::new("/folder"), &io::Error::from_raw_os_error(libc::EACCES));
        assert!(why.contains("/folder") && why.contains("permission denied") && remedy.contains("ls -ld"), "{remedy}");
    }
}
