//! A receiver of alerts: HTTP on a port of its own, which answers as the test tells it to and keeps what it was sent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::support::wait_for;
use supervisor::model::Moment;

/// What was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When it was there as a whole.
    pub at: Moment,
    /// `POST /hook`.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Sent {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.body))
    }

    /// The keys of all notices in it, and how each stands.
    pub fn notices(&self) -> Vec<(String, String)> {
        let json = self.json();
        let of = |notice: &Value| {
            (
                notice["key"].as_str().unwrap_or_default().to_owned(),
                notice["kind"].as_str().unwrap_or_default().to_owned(),
            )
        };
        match json["notices"].as_array() {
            Some(notices) => notices.iter().map(of).collect(),
            None => vec![of(&json)],
        }
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This status with these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// Takes it and says nothing until the other side gives up.
    Hang,
    /// Closes without an answer.
    Reset,
}

pub const OK: Reply = Reply::Status(200, &[]);

pub struct Receiver {
    pub port: u16,
    sent: Arc<Mutex<Vec<Sent>>>,
    ending: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// Answers the n-th request, from 0, as `reply` says.
    pub fn start(reply: impl FnMut(usize, &Sent) -> Reply + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), reply)
    }

    pub fn on(listener: TcpListener, mut reply: impl FnMut(usize, &Sent) -> Reply + Send + 'static) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (sent, ending) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, end) = (Arc::clone(&sent), Arc::clone(&ending));
        let serve = move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let Some(request) = read(&mut stream) else { continue };
                let number = {
                    let mut all = kept.lock().unwrap();
                    all.push(request.clone());
                    all.len() - 1
                };
                match reply(number, &request) {
                    Reply::Status(status, headers) => {
                        let mut text = format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\nConnection: close\r\n");
                        for (name, value) in headers {
                            text.push_str(&format!("{name}: {value}\r\n"));
                        }
                        // Who was killed meanwhile does not read it.
                        let _ = stream.write_all(format!("{text}\r\nok").as_bytes());
                    }
                    Reply::Hang => {
                        let _ = stream.read(&mut [0; 1]);
                    }
                    Reply::Reset => {}
                }
            }
        };
        Self { port, sent, ending, thread: Some(std::thread::spawn(serve)) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// Waits for the first request that fits.
    pub fn wait(&self, what: &str, fits: impl Fn(&Sent) -> bool) -> Sent {
        wait_for(what, || self.sent().into_iter().find(|sent| fits(sent)))
    }

    /// Waits for a notice of this kind.
    pub fn wait_kind(&self, kind: &str) -> Value {
        self.wait(kind, |sent| sent.json()["kind"] == kind).json()
    }

    /// Waits for a notice of this kind and rule.
    pub fn wait_notice(&self, kind: &str, rule: &str) -> Value {
        let is = |sent: &Sent| sent.json()["kind"] == kind && sent.json()["alert"]["rule"] == rule;
        self.wait(&format!("{kind} {rule}"), is).json()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request; `None` when the other side goes away before it is whole.
fn read(stream: &mut TcpStream) -> Option<Sent> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut lines = head.lines();
            let line = lines.next().unwrap_or_default().to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&bytes[end + 4..end + 4 + length]).into_owned();
                return Some(Sent { at: supervisor::process::clock::now(), line, headers, body });
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
