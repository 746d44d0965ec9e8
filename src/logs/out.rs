//! The open log file: its identity, its size, and how bytes get into it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::block::Spot;
use crate::process::files;

/// The current log file, open, with the end of the file as the place of the next byte.
#[derive(Debug)]
pub(super) struct Out {
    file: File,
    device: u64,
    /// Names the file also after it was renamed.
    pub(super) inode: u64,
    /// Its size, which is where the next byte goes.
    pub(super) size: u64,
}

/// What is at the file's path now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Our file, of the size that we know.
    Same,
    /// Our file; somebody else has made it longer or shorter, to this size.
    Resized(u64),
    /// Nothing, or another file.
    Gone,
}

impl Out {
    /// Opens the file at `path`, making it (0600) and its folder (0700) when they are not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let options =
            |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = match options(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    files::ensure_dir(folder)?;
                }
                options(path)?
            }
            opened => opened?,
        };
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, device: data.dev(), inode: data.ino(), size })
    }

    /// Where the next byte goes.
    pub(super) fn spot(&self) -> Spot {
        Spot { device: self.device, inode: self.inode, offset: self.size }
    }

    /// Whether `path` still is this file.
    pub(super) fn place(&self, path: &Path) -> Place {
        match fs::metadata(path) {
            Ok(data) if (data.dev(), data.ino()) == (self.device, self.inode) => {
                if data.len() == self.size {
                    Place::Same
                } else {
                    Place::Resized(data.len())
                }
            }
            _ => Place::Gone,
        }
    }

    /// Goes on at `size`.
    pub(super) fn go_on_at(&mut self, size: u64) -> io::Result<()> {
        self.size = self.file.seek(SeekFrom::Start(size))?;
        Ok(())
    }

    /// Whether what is in the file ends with a whole line.
    pub(super) fn ends_at_line(&self) -> bool {
        let mut last = [0];
        match self.size.checked_sub(1) {
            Some(at) => self.file.read_exact_at(&mut last, at).is_ok() && last == *b"\n",
            None => true,
        }
    }

    /// Writes the beginning of `bytes`, as much as the system takes; never zero.
    pub(super) fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.size += n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes all of `text` or nothing.
    pub(super) fn write_whole(&mut self, text: &[u8]) -> io::Result<()> {
        let before = self.size;
        let mut rest = text;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(n) => rest = &rest[n..],
                Err(error) => {
                    self.file.set_len(before)?;
                    self.go_on_at(before)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
