//! The files of a journal: their names, their order, how they are opened, and what stands at their two ends.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::line;

const SUFFIX: &str = ".journal";
const DIGITS: usize = 20;

/// The ids of all journals in `dir`, sorted. A folder that does not exist has none.
pub fn ids(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for name in names(dir)? {
        let current = name.strip_suffix(SUFFIX);
        let id = current.or_else(|| split_number(&name).and_then(|(base, _)| base.strip_suffix(SUFFIX)));
        if let Some(id) = id.filter(|id| is_safe(id)) {
            found.insert(id.to_owned());
        }
    }
    Ok(found.into_iter().collect())
}

/// Where the segments of one journal are.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    current: PathBuf,
    base: String,
}

impl Segments {
    /// Of the journal `id` in `dir`; an id that is no file name is refused.
    pub(super) fn new(dir: &Path, id: &str) -> io::Result<Self> {
        if !is_safe(id) {
            let what = format!("{id:?} cannot be the name of a journal");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let base = format!("{id}{SUFFIX}");
        Ok(Self { current: dir.join(&base), dir: dir.to_path_buf(), base })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The segment that is being written.
    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    /// An older one.
    pub(super) fn old(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{}.{number:0DIGITS$}", self.base))
    }

    /// The numbers of the older ones, rising.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let of_ours = |name: String| split_number(&name).filter(|(base, _)| *base == self.base).map(|(_, n)| n);
        let mut numbers: Vec<u64> = names(&self.dir)?.into_iter().filter_map(of_ours).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes the folder if it is not there, private.
    pub(super) fn make_dir(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }

    /// Opens the current segment for appending; makes it if it is not there.
    pub(super) fn open_to_append(&self) -> io::Result<File> {
        // O_NONBLOCK: a FIFO in the file's place must not stop the runner.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut how = OpenOptions::new();
        let file = how.read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(&self.current)?;
        let meta = regular(&file)?;
        if meta.mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }
}

/// Opens a segment for reading; `None` when it is not there.
pub(super) fn open_to_read(path: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => regular(&file).map(|_| Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn regular(file: &File) -> io::Result<Metadata> {
    let meta = file.metadata()?;
    if meta.is_file() { Ok(meta) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file")) }
}

/// What makes a file the same file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self { dev: meta.dev(), ino: meta.ino() }
    }
}

/// The file that `path` itself is (no link is followed); `None` when there is none.
pub(super) fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What stands at the two ends of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// seq of the first good line.
    pub(super) first: Option<u64>,
    /// seq of the last good line.
    pub(super) last: Option<u64>,
    /// Bytes up to the end of the last whole line, good or not.
    pub(super) whole: u64,
}

/// Looks at the ends of a segment's bytes; lines in the middle are not parsed.
pub(super) fn ends(bytes: &[u8]) -> Ends {
    let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else { return Ends::default() };
    let lines = || bytes[..end].split(|b| *b == b'\n');
    let seq = |line: &[u8]| line::mark(line).map(|mark| mark.seq);
    Ends { first: lines().find_map(seq), last: lines().rev().find_map(seq), whole: end as u64 + 1 }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A name that is no UTF-8 is none of ours.
    entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
}

fn split_number(name: &str) -> Option<(&str, u64)> {
    let (base, digits) = name.rsplit_once('.')?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().map(|number| (base, number))
}

/// Runner ids are service names, or ours, which begin with `_`.
fn is_safe(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && !id.starts_with('.') && id.chars().all(fits)
}
