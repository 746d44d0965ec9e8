//! Places of this machine and connections to them, which count what comes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::words::millis;
use crate::model::Answer;
use crate::process::socket;

/// How long a Unix socket whose queue is full is left alone before it is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(20);

/// How far a question has come. Written by its connection, read by who waits.
#[derive(Debug, Default)]
pub(super) struct Progress {
    connected: AtomicBool,
    /// Bytes that have come.
    heard: AtomicU64,
    /// The first eight of them, zeros where there are none yet.
    first: AtomicU64,
}

impl Progress {
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Relaxed)
    }

    fn hear(&self, bytes: &[u8]) {
        let before = self.heard.fetch_add(bytes.len() as u64, Relaxed);
        if before < 8 {
            let mut first = self.first.load(Relaxed).to_ne_bytes();
            for (place, byte) in first.iter_mut().skip(before as usize).zip(bytes) {
                *place = *byte;
            }
            self.first.store(u64::from_ne_bytes(first), Relaxed);
        }
    }

    /// The first bytes that have come, at most eight.
    pub(super) fn first(&self) -> Vec<u8> {
        let heard = usize::try_from(self.heard()).unwrap_or(usize::MAX);
        self.first.load(Relaxed).to_ne_bytes().into_iter().take(heard).collect()
    }

    /// What is to be said when the time is over.
    pub(super) fn out_of_time(&self, timeout: Duration) -> Answer {
        let time = millis(timeout);
        match (self.connected.load(Relaxed), self.heard()) {
            (false, _) => Answer::Silent(format!("it let nobody connect within {time}")),
            (true, 0) => Answer::Silent(format!("it was connected to and said nothing within {time}")),
            (true, n) => Answer::Slow(format!("{n} bytes came within {time}, and not the whole answer")),
        }
    }
}

/// Where somebody listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A port of 127.0.0.1, and of ::1 when nobody listens there.
    Localhost(u16),
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// Whether only this machine can be there.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Localhost(_) | Self::Unix(_) => true,
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
        }
    }

    pub(super) fn of_url(url: &Uri) -> Result<Self, Answer> {
        url.authority().map_or_else(|| Err(not_a_place(&url.to_string())), |a| Self::of_authority(a.as_str()))
    }

    /// Of `HOST` or `HOST:PORT`. No name is looked up: a resolver that hangs would look like a service that does.
    pub(super) fn of_authority(text: &str) -> Result<Self, Answer> {
        let wrong = || not_a_place(text);
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (text, 80),
        };
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(Self::Localhost(port));
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self::Tcp(SocketAddr::new(host.parse::<IpAddr>().map_err(|_| wrong())?, port)))
    }

    pub(super) async fn connect(&self, progress: &Arc<Progress>) -> Result<Stream, Answer> {
        let wire = match self {
            Self::Tcp(address) => TcpStream::connect(address).await.map(Wire::Tcp),
            Self::Localhost(port) => localhost(*port).await.map(Wire::Tcp),
            Self::Unix(path) => unix(path).await.map(Wire::Unix),
        };
        let wire = wire.map_err(|error| unreached(&error))?;
        progress.connected.store(true, Relaxed);
        Ok(Stream { wire, progress: Arc::clone(progress) })
    }
}

fn not_a_place(text: &str) -> Answer {
    Answer::Misasked(format!(
        "{text:?} is no address of this machine; write 127.0.0.1:PORT, localhost:PORT or [::1]:PORT"
    ))
}

async fn localhost(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
            // Where there is no IPv6 the first error says more than the second.
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| refused)
        }
        other => other,
    }
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    // Where the path is too long for a socket, a small file of ours says where it really is.
    let place = socket::place_of(path)?;
    loop {
        match UnixStream::connect(&place).await {
            // Linux: whoever listens has not taken those before us yet. They wait as we would over TCP.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_FULL).await,
            connected => return connected,
        }
    }
}

/// What it means that there is no connection.
pub(super) fn unreached(error: &io::Error) -> Answer {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        // Of our own library's errors there is one: the path is none that the system takes.
        return Answer::Misasked(format!("the path is no socket's: {error}; check the address"));
    };
    match errno {
        Errno::ECONNREFUSED => Answer::Failed("nobody listens there (connection refused)".into()),
        Errno::ENOENT => Answer::Failed("nobody listens there (there is no such socket)".into()),
        Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE => {
            Answer::Unwell("it dropped the connection at once".into())
        }
        Errno::ETIMEDOUT => Answer::Silent("it let nobody connect".into()),
        Errno::ENOTSOCK | Errno::EPROTOTYPE | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::EINVAL => {
            Answer::Misasked(format!("there is no socket of that kind ({}); check the address", errno.desc()))
        }
        Errno::EACCES | Errno::EPERM => {
            Answer::NotAsked(format!("this user may not connect to it ({}); check the rights on it", errno.desc()))
        }
        // Descriptors, memory, ports, the network itself: ours, not the service's.
        _ => Answer::NotAsked(format!("no connection could be made from here ({})", errno.desc())),
    }
}

/// Whether an error of a connection that stood is our own want of something.
pub(super) fn ours(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EACCES | Errno::EPERM))
}

/// A connection that counts what comes.
#[derive(Debug)]
pub(super) struct Stream {
    wire: Wire,
    progress: Arc<Progress>,
}

/// Both kinds in one type, so that what speaks over them is compiled once.
#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            self.progress.hear(new);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever is done drops it, which says the same to the other side with one call less.
        Poll::Ready(Ok(()))
    }
}
