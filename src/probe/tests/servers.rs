//! Small servers, each on a thread that ends with its test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a server does with one connection. It is to look at `over` whenever it waits.
type Serve<S> = dyn Fn(&mut S, &Server) + Send + Sync;

/// Shared by a server and its test.
#[derive(Default)]
pub(super) struct Server {
    pub(super) over: AtomicBool,
    /// Connections that came.
    pub(super) connections: AtomicUsize,
    /// Bytes that could be sent.
    pub(super) sent: AtomicUsize,
    /// The other side has closed.
    pub(super) closed: AtomicBool,
    /// From now on there is an answer.
    pub(super) go: AtomicBool,
}

impl Server {
    /// Looks until `ready` or the test's end.
    pub(super) fn wait(&self, ready: impl Fn(&Self) -> bool) {
        while !self.over.load(Relaxed) && !ready(self) {
            pause(1);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a server that takes its time")]
pub(super) fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Ends its thread with it.
pub(super) struct Guard {
    pub(super) server: Arc<Server>,
    pub(super) port: u16,
    thread: Option<JoinHandle<()>>,
    wake: Box<dyn Fn() + Send>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.server.over.store(true, Relaxed);
        (self.wake)();
        let ended = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok(), "a server has panicked");
    }
}

pub(super) fn tcp(serve: impl Fn(&mut TcpStream, &Server) + Send + Sync + 'static) -> Guard {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = move || listener.accept().unwrap().0;
    let wake = move || drop(TcpStream::connect(address));
    guard(address.port(), accept, Box::new(serve), Box::new(wake))
}

pub(super) fn unix(path: &Path, serve: impl Fn(&mut UnixStream, &Server) + Send + Sync + 'static) -> Guard {
    unix_at(UnixListener::bind(path).unwrap(), path, serve)
}

/// The same for one that listens already, at `path`.
pub(super) fn unix_at(
    listener: UnixListener,
    path: &Path,
    serve: impl Fn(&mut UnixStream, &Server) + Send + Sync + 'static,
) -> Guard {
    let accept = move || listener.accept().unwrap().0;
    let path = path.to_owned();
    guard(0, accept, Box::new(serve), Box::new(move || drop(UnixStream::connect(&path))))
}

fn guard<S: 'static>(
    port: u16,
    accept: impl Fn() -> S + Send + 'static,
    serve: Box<Serve<S>>,
    wake: Box<dyn Fn() + Send>,
) -> Guard {
    let server = Arc::new(Server::default());
    let shared = Arc::clone(&server);
    let thread = std::thread::spawn(move || {
        loop {
            let mut stream = accept();
            if shared.over.load(Relaxed) {
                return;
            }
            shared.connections.fetch_add(1, Relaxed);
            serve(&mut stream, &shared);
        }
    });
    Guard { server, port, thread: Some(thread), wake }
}

/// Reads a request up to the end of its head, and as much of a body as has come with it.
pub(super) fn request(stream: &mut impl Read) -> String {
    let mut read = Vec::new();
    let mut block = [0; 4096];
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(n) => read.extend_from_slice(&block[..n]),
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Answers each request with these bytes, and closes.
pub(super) fn says(bytes: impl Into<Vec<u8>>) -> Guard {
    let bytes = bytes.into();
    tcp(move |stream, _| {
        request(stream);
        // Who asks may have closed already.
        let _ = stream.write_all(&bytes);
    })
}

/// A whole answer of HTTP.
pub(super) fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Sends `block` again and again, with a pause, until the other side closes.
pub(super) fn pour(stream: &mut impl Write, server: &Server, block: &[u8], most: usize, pause_ms: u64) {
    while !server.over.load(Relaxed) && server.sent.load(Relaxed) < most {
        match stream.write(block) {
            Ok(n) => _ = server.sent.fetch_add(n, Relaxed),
            Err(_) => {
                server.closed.store(true, Relaxed);
                return;
            }
        }
        if pause_ms > 0 {
            pause(pause_ms);
        }
    }
}
