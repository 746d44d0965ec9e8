//! Signals as bytes in a pipe, for the loop: it becomes readable with SIGCHLD, SIGTERM and SIGINT. SIGHUP is taken and ignored: it
//! is a terminal's, and a runner has none.
//!
//! A signalfd would save six calls into the kernel for each end of a service; but services would then begin with our signals
//! blocked, as std hands the mask on to children (measured: SIGTERM did not end them).

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::os::unix::net::UnixStream;

/// What SIGTERM and SIGINT write into the pipe; SIGCHLD writes another byte.
const STOP: u8 = b'T';

/// The reading end.
pub(super) struct Signals(UnixStream);

impl Signals {
    #[expect(unsafe_code, reason = "signal-hook's raw handlers, to tell the signals apart in one pipe")]
    pub(super) fn open() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        // The handlers need it as long as the process lives.
        let fd = write.into_raw_fd();
        for (signal, byte) in [(libc::SIGCHLD, b'C'), (libc::SIGTERM, STOP), (libc::SIGINT, STOP)] {
            let tell = move || {
                // SAFETY: send(2) is async-signal-safe, the byte lives on the stack, and the descriptor is never closed. A
                // full pipe needs no further byte, as it is readable already; SIGTERM has room because it is sent rarely
                // and the pipe is emptied at every turn.
                unsafe { libc::send(fd, (&raw const byte).cast(), 1, libc::MSG_DONTWAIT) };
            };
            // SAFETY: the handler above only calls send(2).
            unsafe { signal_hook::low_level::register(signal, tell)? };
        }
        // SAFETY: the handler does nothing.
        unsafe { signal_hook::low_level::register(libc::SIGHUP, || {})? };
        // Where we have just become this program, they were held back.
        crate::process::handover::accept_signals();
        Ok(Self(read))
    }

    /// Takes what has come; whether we are to go.
    pub(super) fn take(&mut self) -> bool {
        let mut bytes = [0u8; 256];
        let mut go = false;
        while let Ok(n) = self.0.read(&mut bytes) {
            go |= bytes[..n].contains(&STOP);
            if n < bytes.len() {
                break;
            }
        }
        go
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
