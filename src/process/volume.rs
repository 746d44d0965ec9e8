//! What a volume tells of its files.

use std::fs::File;
use std::path::Path;

use super::sys;

/// Whether changes on the volume of `path` are told by the system. Those that other machines make on a network volume are not; what
/// cannot be asked is taken for one that tells.
pub fn tells_of_changes(path: &Path) -> bool {
    sys::is_local(path).unwrap_or(true)
}

/// Whether somebody has `file` open for writing; `None` where the system does not tell.
pub fn is_being_written(file: &File) -> Option<bool> {
    sys::is_being_written(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_folder_tells() {
        assert!(tells_of_changes(Path::new("/")));
        assert!(tells_of_changes(Path::new("/no/such/folder")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_writes_is_seen_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(is_being_written(&reader), Some(true));
        drop(writer);
        assert_eq!(is_being_written(&reader), Some(false));
        // Nobody who opens it afterwards is held up, and we are not told.
        drop(File::options().append(true).open(&path).unwrap());
    }
}
