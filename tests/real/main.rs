//! The programs that this one is made for: the OpenClaw gateway and uvicorn; small servers that leak; the version before this
//! one; systemd; our own servers for a week; and the file-watcher with a great many files. They have to be installed first and take
//! their time, so a plain `cargo test` leaves them out; `.ci/run` installs them and says where they are.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calendar;
mod emit;
#[path = "../main/emit_client.rs"]
mod emit_client;
#[path = "../main/emit_load.rs"]
mod emit_load;
mod gateway;
mod memory;
mod minutely;
#[path = "../oracles/schedules.rs"]
mod schedules;
mod skew;
#[path = "../main/support.rs"]
mod support;
mod systemd;
mod uvicorn;
mod watch;
mod week;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where `.ci/run` has installed something.
fn installed(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.unwrap_or_else(|| panic!("{variable} is not set; .ci/run does it"));
    assert!(path.exists(), "{variable}: there is no {}", path.display());
    path
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// GET, from outside: status code and body, or `None` when nobody answered in time.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").ok()?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    let text = loop {
        let count = stream.read(&mut part).ok()?;
        answer.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&answer);
        // Not everybody closes the connection when that is asked for.
        if count == 0 || is_whole(&text) {
            break text;
        }
    };
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Whether the body is as long as the answer says; one that does not say it ends with the connection.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok();
    head.lines().find_map(length).is_some_and(|length| body.len() >= length)
}

/// Asks until there is an answer. Slower than the one for small programs: what is waited for takes seconds, and asking takes
/// the processor time that it needs to start.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn wait<T>(what: &str, within: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", within.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}
