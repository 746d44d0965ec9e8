//! Telling systemd how we are, as sd_notify(3) does. launchd asks for nothing of the kind, and no socket is named then.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, UnixAddr, sendto};

/// Names the socket: a path, or `@` and an abstract name (Linux). It stays in our environment, so that the program that we become in
/// an upgrade finds it; who starts other programs takes it out.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// How long a manager that is busy may keep us waiting: to the runner, being there for its services matters more.
const WITHIN: Duration = Duration::from_secs(1);

/// Tells the service manager `state`, lines of sd_notify(3) such as `READY=1`. Where nobody wants to be told, and where it cannot
/// be sent, nothing happens: supervision does not depend on it.
pub fn tell(state: &str) {
    if let Some(socket) = std::env::var_os(SOCKET) {
        // There is nobody to complain to.
        let _ = send(&socket, state);
    }
}

fn send(to: &OsStr, state: &str) -> io::Result<()> {
    let to = address(to.as_bytes())?;
    // Closed on exec, as all of std's.
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(WITHIN))?;
    sendto(socket.as_raw_fd(), state.as_bytes(), &to, MsgFlags::empty())?;
    Ok(())
}

fn address(name: &[u8]) -> io::Result<UnixAddr> {
    match name {
        [b'/', ..] => Ok(UnixAddr::new(name)?),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => Ok(UnixAddr::new_abstract(name)?),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 100];
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn what_is_told_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1\nSTATUS=well").unwrap();
        assert_eq!(heard(&socket), "READY=1\nSTATUS=well");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_understood() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("supervisor-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_ref(), "STOPPING=1").unwrap();
        assert_eq!(heard(&socket), "STOPPING=1");
    }

    #[test]
    fn where_it_cannot_be_sent_it_is_an_error_and_no_more() {
        for nowhere in ["", "relative", "/no/such/socket", "vsock:2:1234"] {
            assert!(send(nowhere.as_ref(), "READY=1").is_err(), "{nowhere}");
        }
    }

    /// Else one that hears nothing would hold up a runner for good.
    #[test]
    fn who_does_not_listen_is_not_waited_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deaf");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let full = (0..100_000).find_map(|_| send(path.as_os_str(), "STATUS=again").err()).unwrap();
        assert!(
            matches!(full.kind(), io::ErrorKind::WouldBlock) || full.raw_os_error() == Some(libc::ENOBUFS),
            "{full}"
        );
    }
}
