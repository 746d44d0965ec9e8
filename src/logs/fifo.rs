//! The named pipe between a service and its log.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// Makes the FIFO (0600) if it is not there. What is there stays, with what is in it: a service that outlived its runner
/// may hold it. Anything else at that place is replaced.
pub fn ensure(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.file_type().is_fifo() => return Ok(()),
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        // Runner and daemon may come at the same moment.
        Err(nix::errno::Errno::EEXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// The runner's end: never blocks, and as it could write as well it never sees an end of file.
pub fn open_reader(path: &Path) -> io::Result<OwnedFd> {
    let fd = open(path, libc::O_NONBLOCK)?;
    #[cfg(target_os = "linux")]
    enlarge(&fd);
    Ok(fd)
}

/// The service's end: blocks when the FIFO is full, and reads as well, so that no death of a reader breaks it. It is an
/// open file of its own: the reader's non-blocking mode is not shared with it.
///
/// One that is missing is made, and what else is there replaced: it is looked for only then, as the next start of a service
/// waits for this.
pub fn open_writer(path: &Path) -> io::Result<OwnedFd> {
    open(path, 0).or_else(|_| ensure(path).and_then(|()| open(path, 0)))
}

/// A third party's end, which keeps what is in the FIFO while neither runner nor service lives.
pub fn open_keeper(path: &Path) -> io::Result<OwnedFd> {
    open(path, libc::O_NONBLOCK)
}

fn open(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let file: File = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no FIFO", path.display())));
    }
    Ok(file.into())
}

/// Gives the FIFO room for 1 MiB, which is what a service may write while no runner reads. Only the first 16 of a
/// process get it: all pipes of a user share a budget of 64 MiB, and whoever comes after it is used up has pipes of one
/// or two pages (pipe(7), pipe-user-pages-soft); that would be taken from every program of the user.
#[cfg(target_os = "linux")]
fn enlarge(fd: &OwnedFd) {
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::fcntl::{FcntlArg, fcntl};

    static LEFT: AtomicU32 = AtomicU32::new(16);
    if LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        fcntl(fd, FcntlArg::F_SETPIPE_SZ(1 << 20)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::process::testing::{Guard, sh, wait_for};

    #[test]
    fn a_fifo_is_made_once_and_whatever_else_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.fifo");
        ensure(&path).unwrap();
        let first = fs::symlink_metadata(&path).unwrap();
        assert!(first.file_type().is_fifo());
        assert_eq!(first.mode() & 0o777, 0o600);
        ensure(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), first.ino());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        open_reader(&path).unwrap_err();
        ensure(&path).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        ensure(folder.path()).unwrap_err();
    }

    #[test]
    fn a_service_writes_on_without_a_reader_and_its_bytes_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.fifo");
        ensure(&path).unwrap();
        let reader = open_reader(&path).unwrap();
        let writer = open_writer(&path).unwrap();
        let gate = folder.path().join("gate");
        let script = format!(
            "echo one; while [ ! -e {0} ]; do sleep 0.01; done; echo two; touch {0}.done; exec sleep 60",
            gate.display()
        );
        let _child = Guard(sh(&script).stdout(writer).spawn().unwrap());
        let mut text = [0; 100];
        let n = wait_for("the first line", || nix::unistd::read(&reader, &mut text).ok());
        assert_eq!(&text[..n], b"one\n");
        assert_eq!(nix::unistd::read(&reader, &mut text), Err(nix::errno::Errno::EAGAIN));
        drop(reader);
        fs::write(&gate, "").unwrap();
        wait_for("a write without a reader", || fs::metadata(folder.path().join("gate.done")).ok());
        let reader = open_reader(&path).unwrap();
        let n = nix::unistd::read(&reader, &mut text).unwrap();
        assert_eq!(&text[..n], b"two\n");
    }

    #[test]
    fn the_writers_end_is_closed_on_exec_and_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.fifo");
        ensure(&path).unwrap();
        let reader = open_reader(&path).unwrap();
        let mut writer = File::from(open_writer(&path).unwrap());
        let filled = wait_for("a full pipe", || {
            let sizes = std::iter::from_fn(|| nix::unistd::write(&reader, &[b'x'; 4096]).ok());
            Some(sizes.sum::<usize>())
        });
        assert!(filled >= 4096);
        let blocked = std::thread::spawn(move || writer.write_all(b"last\n"));
        let mut text = vec![0; 1 << 20];
        let mut got = Vec::new();
        wait_for("what the blocked writer had to say", || {
            while let Ok(n) = nix::unistd::read(&reader, &mut text) {
                got.extend_from_slice(&text[..n]);
            }
            got.ends_with(b"last\n").then_some(())
        });
        assert_eq!(got.len(), filled + 5);
        blocked.join().unwrap().unwrap();
    }
}
