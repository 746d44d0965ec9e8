//! The supervisor's own log file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::rotate;
use crate::model::LogSpec;
use crate::process::files;

/// A file (0600) that rotates itself, for whole lines. Daemon and runners write to the same one, so it is appended to, and
/// only who holds its lock rotates. `Mutex<OwnLog>` is what tracing-subscriber takes as a writer.
#[derive(Debug)]
pub struct OwnLog {
    path: PathBuf,
    spec: LogSpec,
    file: Option<File>,
}

impl OwnLog {
    /// A log at `path`. It is opened with the first line, and again whenever that is needed.
    pub fn new(path: &Path, spec: LogSpec) -> Self {
        Self { path: path.to_path_buf(), spec, file: None }
    }

    /// The current file, with room for `more` bytes if that can be made.
    fn file(&mut self, more: u64) -> io::Result<&mut File> {
        if !self.file.as_ref().is_some_and(|file| self.is_current(file)) {
            self.file = Some(self.open()?);
        }
        let full = |file: &File| {
            let size = file.metadata().map_or(0, |data| data.len());
            size > 0 && size + more > self.spec.max_size
        };
        // Whoever else is about to rotate holds the lock, or has rotated by the time we get it.
        if let Some(file) = &self.file
            && full(file)
            && file.try_lock().is_ok()
        {
            let rotated = if self.is_current(file) { rotate::rotate(&self.path, self.spec.keep) } else { Ok(()) };
            file.unlock().ok();
            // A log that cannot be rotated grows; that is better than being silent about why.
            if rotated.is_ok() {
                self.file = Some(self.open()?);
            }
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_current(&self, file: &File) -> bool {
        let identity = |data: &fs::Metadata| (data.dev(), data.ino());
        matches!((fs::metadata(&self.path), file.metadata()), (Ok(a), Ok(b)) if identity(&a) == identity(&b))
    }

    fn open(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            files::ensure_dir(folder)?;
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)
    }
}

impl Write for OwnLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file(line.len() as u64)?.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::read;

    fn spec(max_size: u64, keep: u32) -> LogSpec {
        LogSpec { max_size, keep }
    }

    #[test]
    fn several_writers_rotate_one_file_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/supervisor.log");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let mut log = OwnLog::new(path, spec(500, 1000));
                    for n in 0..200 {
                        log.write_all(format!("writer {writer} line {n:03}\n").as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = String::from_utf8(read::last_lines(&path, usize::MAX).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 800);
        for writer in 0..4 {
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&format!("writer {writer}"))).collect();
            assert_eq!(lines.len(), 200);
        }
        let numbers = rotate::numbers(&path).unwrap();
        assert!(numbers.len() > 3, "{numbers:?}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn it_is_bounded_and_comes_back_when_it_was_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("supervisor.log");
        let mut log = OwnLog::new(&path, spec(100, 2));
        for n in 0..100 {
            log.write_all(format!("line {n:03}\n").as_bytes()).unwrap();
        }
        assert_eq!(rotate::numbers(&path).unwrap(), [1, 2]);
        for n in 0..3 {
            assert!(fs::metadata(rotate::numbered(&path, n)).unwrap().len() <= 100);
        }
        fs::remove_file(&path).unwrap();
        log.write_all(b"again\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "again\n");
    }
}
