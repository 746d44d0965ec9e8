//! Messages and receivers for the tests of this room.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::model::{Alert, AlertState, Cause, Message, Notice, NoticeKind, Rule, Severity, UnitName};

/// A notice of an alert with something in every part.
pub(super) fn notice(kind: NoticeKind) -> Notice {
    let at_ms = 1_785_492_000_500;
    let is_over = kind == NoticeKind::Resolved;
    let alert = Alert {
        id: "0123456789ab".into(),
        rule: Rule::CrashLoop,
        service: Some(UnitName::new("gateway").unwrap()),
        cause: Some(Cause::Crash),
        severity: Severity::Critical,
        state: if is_over { AlertState::Resolved } else { AlertState::Open },
        since_ms: at_ms - 60_000,
        fired_ms: at_ms,
        last_ms: at_ms,
        count: 3,
        title: "gateway crashed 3 times within 5 min".into(),
        facts: vec!["the last end: exit 1".into()],
        tail: vec!["Error: listen EADDRINUSE".into(), "    at Server".into()],
        doing: "starts it again in 8 s".into(),
        advice: vec!["look at its log: supervisor logs gateway".into()],
        fingerprint: Some("f00d".into()),
        told: true,
        quiet: Some("not for others".into()),
        reminders: 0,
        remind_ms: Some(at_ms + 1),
        acknowledged_ms: None,
        resolved_ms: is_over.then_some(at_ms),
        outcome: if is_over { "healthy for 10 min".into() } else { String::new() },
        memory: [("not".to_owned(), "for others".into())].into_iter().collect(),
    };
    Notice { key: "0123456789ab.0".into(), kind, at_ms, alert, beyond: None }
}

/// A digest of so many.
pub(super) fn digest(count: usize) -> Message {
    let notices = (0..count).map(|n| {
        let mut notice = notice(NoticeKind::Fired);
        notice.alert.id = format!("{n:012x}");
        notice.key = format!("{n:012x}.r{n}");
        notice
    });
    Message::Digest { key: "digest-1".into(), notices: notices.collect() }
}

/// How long anything in a test may take.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// What a server under test does with a connection.
#[derive(Clone)]
pub(super) enum Act {
    /// Reads the request and answers with these bytes.
    Answer(String),
    /// Reads some of it and closes.
    Break,
    /// Reads it and says nothing until the other side has enough.
    Hang,
}

/// An answer of this status with these headers (each with its line end) and this body.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
}

/// A request as it came.
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) body: String,
}

impl Asked {
    /// The value of a header; its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (there, value) = line.split_once(": ")?;
            there.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A server that does one thing for each connection, and tells what it was asked.
pub(super) struct Server {
    pub(super) port: u16,
    asked: Receiver<Asked>,
}

impl Server {
    pub(super) fn start(acts: Vec<Act>) -> Self {
        Self::start_with(acts, |stream| Box::new(stream))
    }

    /// The same over TLS, with a certificate that nobody knows.
    pub(super) fn start_tls(acts: Vec<Act>) -> Self {
        let (certificate, key) = self_signed();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        Self::start_with(acts, move |stream| {
            let talk = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(rustls::StreamOwned::new(talk, stream))
        })
    }

    fn start_with(acts: Vec<Act>, wrap: impl Fn(TcpStream) -> Box<dyn Talk> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            for act in acts {
                let Ok((stream, _)) = listener.accept() else { return };
                stream.set_read_timeout(Some(LONG)).unwrap();
                serve(wrap(stream), &act, &tell);
            }
        });
        Self { port, asked }
    }

    /// The next request; a panic when there is none.
    pub(super) fn asked(&self) -> Asked {
        self.asked.recv_timeout(LONG).unwrap()
    }
}

pub(super) trait Talk: Read + Write {}

impl<T: Read + Write> Talk for T {}

fn serve(mut stream: Box<dyn Talk>, act: &Act, tell: &Sender<Asked>) {
    if matches!(act, Act::Break) {
        let _ = stream.read(&mut [0]);
        return;
    }
    let Some(asked) = request(&mut stream) else { return };
    tell.send(asked).ok();
    match act {
        Act::Answer(text) => {
            let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        }
        _ => {
            let _ = stream.read(&mut [0]);
        }
    }
}

fn request(stream: &mut dyn Talk) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let asked = Asked { head: head.to_owned(), body: body.to_owned() };
            if asked.header("content-length").is_some_and(|length| length == body.len().to_string()) {
                return Some(asked);
            }
        }
        match stream.read(&mut block) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&block[..n]),
            _ => return None,
        }
    }
}

/// A certificate for `localhost` until the year 2126 that has signed itself, and its key.
pub(super) fn self_signed() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let pem = include_bytes!("self_signed.pem");
    (CertificateDer::from_pem_slice(pem).unwrap(), PrivateKeyDer::from_pem_slice(pem).unwrap())
}
