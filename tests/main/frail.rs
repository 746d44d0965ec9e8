//! A small HTTP server that falls ill when it is told to: this test binary, started once more as a service.
//!
//! One thread does everything, as in the gateway: what keeps it from answering one keeps it from answering all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use supervisor::process::clock;

use super::support::pass;

/// Its port, in its environment.
const PORT: &str = "FRAIL_PORT";

/// What it does before it listens: `work MS`, `nothing`, or what makes it listen at once.
const START: &str = "FRAIL_START";

/// What it does with the next requests.
enum Mood {
    /// Answers with this status and this body, after so long.
    Answers(u16, &'static str, Duration),
    /// Takes them and says nothing.
    Silent(Vec<TcpStream>),
}

/// A server to be, and where it is to be found.
pub struct Frail {
    pub name: String,
    port: u16,
}

impl Frail {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), port: free_port() }
    }

    /// Its table in services.toml. It is asked each 200 ms, has 100 ms, and is hung after four failures: H is 700 ms.
    pub fn table(&self, start: &str, more: &str) -> String {
        let Self { name, port } = self;
        let program = std::env::current_exe().unwrap();
        format!(
            "[service.{name}]\n\
             command = [\"{}\", \"frail::server\", \"--exact\", \"--nocapture\", \"--test-threads=1\"]\n\
             env = {{ {PORT} = \"{port}\", {START} = \"{start}\" }}\nthrottle = \"0s\"\n{more}\n\
             [service.{name}.health]\nhttp = \"http://127.0.0.1:{port}/\"\nexpect_json = {{ ok = true }}\n\
             interval = \"200ms\"\ntimeout = \"100ms\"\nfailures = 4\n",
            program.display()
        )
    }

    /// Makes it fall ill, or well again. Returns when it has.
    pub fn be(&self, how: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /be/{how} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{how}: {answer:?}");
    }
}

/// One that no connection is given by chance: below the ranges of Linux and macOS.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests of other processes look elsewhere.
    let first = u16::try_from(std::process::id() % 200 * 100).unwrap_or(0);
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The server itself. As a test among others it is over at once.
#[test]
fn server() {
    let Some(port) = std::env::var(PORT).ok().and_then(|port| port.parse::<u16>().ok()) else { return };
    let start = std::env::var(START).unwrap_or_default();
    match start.split_once(' ') {
        Some(("work", ms)) => work(Duration::from_millis(ms.parse().unwrap())),
        _ if start == "nothing" => nix::unistd::pause(),
        _ => {}
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut mood = mood("well");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        // Who connects and says nothing must not keep the others waiting.
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let Some(path) = read(&mut stream) else { continue };
        if let Some(how) = path.strip_prefix("/be/") {
            answer(&mut stream, 200, "{}");
            drop(stream);
            match how {
                "busy" => work(Duration::MAX),
                "deadlock" => deadlock(),
                how => mood = self::mood(how),
            }
            continue;
        }
        match &mut mood {
            Mood::Answers(status, body, after) => {
                pass(*after, || ());
                answer(&mut stream, *status, body);
            }
            Mood::Silent(held) => held.push(stream),
        }
    }
}

fn mood(how: &str) -> Mood {
    const WELL: &str = "{\"ok\":true}";
    let slow = how.strip_prefix("slow-").map(|ms| ms.parse().unwrap());
    match how {
        "silent" => Mood::Silent(Vec::new()),
        "well" => Mood::Answers(200, WELL, Duration::ZERO),
        "page" => Mood::Answers(200, "<!doctype html><title>Control</title>", Duration::ZERO),
        _ if slow.is_some() => Mood::Answers(200, WELL, Duration::from_millis(slow.unwrap_or(0))),
        status => Mood::Answers(status.parse().unwrap(), "{\"ok\":false}", Duration::ZERO),
    }
}

fn read(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 1024]);
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).split(' ').nth(1)?.to_owned())
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    let kind = if body.starts_with('<') { "text/html" } else { "application/json" };
    let length = body.len();
    // Who has asked may have gone.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

/// Uses a processor.
fn work(time: Duration) {
    let began = clock::now().mono;
    while clock::now().mono.since(began) < time {
        std::hint::spin_loop();
    }
}

/// Two threads, each of which waits for what the other one has.
fn deadlock() {
    let (first, second, both) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())), Arc::new(Barrier::new(2)));
    let (theirs, ours, ready) = (first.clone(), second.clone(), both.clone());
    std::thread::spawn(move || {
        let _ours = ours.lock();
        ready.wait();
        let _theirs = theirs.lock();
    });
    let _first = first.lock();
    both.wait();
    let _second = second.lock();
}
