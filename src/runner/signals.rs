//! Signals as bytes in a pipe, for the loop.

use std::os::unix::net::UnixStream;

/// What SIGTERM and SIGINT write into the pipe; SIGCHLD writes another byte.
pub(super) const STOP: u8 = b'T';

/// A pipe that becomes readable with SIGCHLD, SIGTERM and SIGINT. SIGHUP is taken and ignored: it is a terminal's, and a
/// runner has none.
#[expect(unsafe_code, reason = "signal-hook's raw handlers, to tell the signals apart in one pipe")]
pub(super) fn pipe() -> std::io::Result<UnixStream> {
    use std::os::fd::IntoRawFd;
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    // The handlers need it as long as the process lives.
    let fd = write.into_raw_fd();
    for (signal, byte) in [(libc::SIGCHLD, b'C'), (libc::SIGTERM, STOP), (libc::SIGINT, STOP)] {
        let tell = move || {
            // SAFETY: send(2) is async-signal-safe, the byte lives on the stack, and the descriptor is never closed. A full
            // pipe needs no further byte, as it is readable already; SIGTERM has room because it is sent rarely and the
            // pipe is emptied at every turn.
            unsafe { libc::send(fd, (&raw const byte).cast(), 1, libc::MSG_DONTWAIT) };
        };
        // SAFETY: the handler above only calls send(2).
        unsafe { signal_hook::low_level::register(signal, tell)? };
    }
    // SAFETY: the handler does nothing.
    unsafe { signal_hook::low_level::register(libc::SIGHUP, || {})? };
    Ok(read)
}
