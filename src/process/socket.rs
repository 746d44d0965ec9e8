//! Unix sockets by path, also where the path is longer than the system takes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::unistd::geteuid;

use super::{files, sys};
use crate::model::stable_hash;

/// Longest path that fits everywhere: macOS has 104 bytes with the final NUL (unix(4)), Linux 108 (unix(7)).
const LONGEST: usize = 103;

/// Listens at `path` (0600), and says where the socket really is: a path that is too long is replaced by a short one in
/// the runtime directory, which [`connect`] finds. A socket file that is there is taken for a dead one's and replaced,
/// so call this only while holding the lock that says who may listen here.
pub fn bind(path: &Path) -> io::Result<(UnixListener, PathBuf)> {
    let real = prepare(path)?;
    let listener = UnixListener::bind(&real)?;
    make_private(&real)?;
    Ok((listener, real))
}

/// The same for datagrams, as sd_notify sends them. The path returned is what the sender must be told.
pub fn bind_datagram(path: &Path) -> io::Result<(UnixDatagram, PathBuf)> {
    let real = prepare(path)?;
    let socket = UnixDatagram::bind(&real)?;
    make_private(&real)?;
    Ok((socket, real))
}

/// Connects to who listens at `path` by [`bind`]. On Linux this waits while the listener's queue is full.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(place_of(path)?)
}

/// The same without waiting: `WouldBlock` while the listener's queue is full (Linux; on macOS that is `ConnectionRefused`
/// either way).
pub fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    let address = UnixAddr::new(place_of(path)?.as_ref())?;
    let stream = UnixStream::from(socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?);
    fcntl(&stream, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    stream.set_nonblocking(true)?;
    nix::sys::socket::connect(stream.as_raw_fd(), &address)?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Where the socket really is that [`bind`] was to make at `path`; `NotFound` while nobody has.
pub fn place_of(path: &Path) -> io::Result<Cow<'_, Path>> {
    if fits(path) {
        return Ok(path.into());
    }
    let real = fs::read(record_of(path))?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(real)).into())
}

/// Whether the process at the other end is of our own user; nobody else may give orders.
pub fn same_uid(socket: impl AsFd) -> bool {
    sys::peer_uid(socket.as_fd()) == Some(geteuid().as_raw())
}

/// The path to bind, with nothing there.
fn prepare(path: &Path) -> io::Result<PathBuf> {
    let real = if fits(path) { path.to_path_buf() } else { runtime_dir()?.join(short_name(path)) };
    match fs::remove_file(&real) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if real != path {
        files::write_atomic(&record_of(path), real.as_os_str().as_bytes(), false)?;
    }
    Ok(real)
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= LONGEST
}

/// Linux checks the socket file's permissions at connect; the folders above are private in any case.
fn make_private(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// The file beside the socket's own place that says where it really is.
fn record_of(path: &Path) -> PathBuf {
    let mut record = path.as_os_str().to_owned();
    record.push(".path");
    record.into()
}

/// The same path always gets the same name, whichever version of us asks.
fn short_name(path: &Path) -> String {
    format!("{:016x}.sock", stable_hash(path.as_os_str().as_bytes().iter().copied()))
}

/// A short folder that is ours alone: in $XDG_RUNTIME_DIR where there is one, else in /tmp, where anybody could have made
/// it before us, so it is looked at closely.
fn runtime_dir() -> io::Result<PathBuf> {
    let uid = geteuid().as_raw();
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usable = |dir: &PathBuf| dir.is_absolute() && dir.as_os_str().len() <= 64 && is_private(dir, uid);
    let dir = match session.filter(usable) {
        Some(session) => session.join("supervisor"),
        None => PathBuf::from(format!("/tmp/supervisor-{uid}")),
    };
    files::ensure_dir(&dir)?;
    if is_private(&dir, uid) {
        return Ok(dir);
    }
    let text = format!("{} is not a folder of ours alone (0700); remove it or make it so", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn is_private(dir: &Path, uid: u32) -> bool {
    // Of the link itself, if it is one: a link could be turned elsewhere later.
    fs::symlink_metadata(dir).is_ok_and(|data| data.is_dir() && data.uid() == uid && data.mode() & 0o077 == 0)
}

/// The names, without `.sock`, of all sockets in `folder` that [`connect`] could be asked for; none where there is no such
/// folder. One whose path was too long is known by the record of where it is.
pub fn names_in(folder: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        names.extend(name.strip_suffix(".path").unwrap_or(name).strip_suffix(".sock").map(str::to_owned));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use nix::fcntl::OFlag;

    use super::*;
    use crate::process::testing::wait_for;

    fn round_trip(path: &Path) -> PathBuf {
        let (listener, real) = bind(path).unwrap();
        for connect in [connect, connect_at_once] {
            let mut client = connect(path).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            assert!(same_uid(&server) && same_uid(&client));
            let waits = OFlag::from_bits_retain(fcntl(&client, FcntlArg::F_GETFL).unwrap()) & OFlag::O_NONBLOCK;
            assert!(waits.is_empty(), "reading from it waits");
            assert_eq!(fcntl(&client, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
            client.write_all(b"hello").unwrap();
            drop(client);
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        }
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o600);
        real
    }

    #[test]
    fn a_short_path_is_used_as_it_is_and_a_dead_socket_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        assert_eq!(round_trip(&path), path);
        assert!(path.exists());
        // Soon, not at once: a child that another test forks has the listener until it calls exec.
        let error = wait_for("a dead socket", || connect(&path).err());
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(round_trip(&path), path);
        for connect in [connect, connect_at_once] {
            assert_eq!(connect(&folder.path().join("b.sock")).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_full_queue_is_told_at_once() {
        use nix::sys::socket::{Backlog, bind, listen};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let mut queued = Vec::new();
        let error = loop {
            match connect_at_once(&path) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
            assert!(queued.len() < 1000, "the queue has no end");
        };
        let told = if cfg!(target_os = "macos") { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::WouldBlock };
        assert_eq!(error.kind(), told);
        assert!(!queued.is_empty());
    }

    #[test]
    fn a_long_path_gets_a_short_place_that_connect_finds() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(100));
        files::ensure_dir(&deep).unwrap();
        let path = deep.join("runner.sock");
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let real = round_trip(&path);
        assert!(fits(&real) && real != path);
        assert_eq!(round_trip(&path), real);
        let other = deep.join("other.sock");
        let (_socket, place) = bind_datagram(&other).unwrap();
        assert_ne!(place, real);
        UnixDatagram::unbound().unwrap().send_to(b"READY=1", &place).unwrap();
        for path in [real, place] {
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_folder_that_others_can_enter_is_not_private() {
        let folder = tempfile::tempdir().unwrap();
        let uid = geteuid().as_raw();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(is_private(folder.path(), uid));
        assert!(!is_private(folder.path(), uid + 1));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(!is_private(&link, uid));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!is_private(folder.path(), uid));
    }
}
