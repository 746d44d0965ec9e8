//! How HTTP is served here, whoever serves it: connections that are taken while there is a slot for them, a client that has to be
//! quick with its head, and an end at which those who are here still have their answers.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::process::socket;

/// Out of descriptors, or a client that has gone again: it is tried anew after so long.
const PAUSE: Duration = Duration::from_millis(50);

/// What clients are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at a time; the next ones wait in the listener's queue.
    pub connections: usize,
    /// How long a client may take for the head of its request.
    pub patience: Duration,
    /// Most bytes of one connection that are read ahead; a head has to fit in.
    pub buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 64, patience: Duration::from_secs(10), buffer: 16 << 10 }
    }
}

/// A place for one connection; free again when it is dropped.
pub type Slot = OwnedSemaphorePermit;

/// Serves a router until `closing` is told: then no connection is taken any more (who comes waits in the listener's queue for whoever
/// has it next), and [`Self::done`] returns when those that are open have had their answers.
#[derive(Debug)]
pub struct Serving {
    router: Router,
    limits: Limits,
    slots: Arc<Semaphore>,
    closing: watch::Receiver<()>,
}

impl Serving {
    /// Nobody is served yet.
    pub fn new(router: Router, limits: Limits, closing: watch::Receiver<()>) -> Self {
        Self { router, limits, slots: Arc::new(Semaphore::new(limits.connections)), closing }
    }

    /// The next connection of a program of the same user; `None` once `closing` is told.
    pub async fn unix(&self, listener: &UnixListener) -> Option<(UnixStream, Slot)> {
        let slot = self.slot().await?;
        loop {
            match self.unless_closing(listener.accept()).await? {
                Ok((stream, _)) if socket::same_uid(&stream) => return Some((stream, slot)),
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The next connection; `None` once `closing` is told.
    pub async fn tcp(&self, listener: &TcpListener) -> Option<(TcpStream, Slot)> {
        let slot = self.slot().await?;
        loop {
            match self.unless_closing(listener.accept()).await? {
                Ok((stream, _)) => {
                    // An answer is one write: nothing is gained by waiting for more.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, slot));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Answers what comes over `stream`, beside everything else.
    pub fn attend<S>(&self, stream: S, slot: Slot)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, limits, mut closing) = (self.router.clone(), self.limits, self.closing.clone());
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(limits.patience).max_buf_size(limits.buffer);
            // Who closes its end after asking is answered all the same.
            http.half_close(true);
            // A client that goes away, or speaks no HTTP, has its answer from hyper; nobody else needs to know.
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
            tokio::select! {
                _ = &mut connection => {}
                _ = closing.changed() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop(slot);
        });
    }

    /// Returns when nobody is attended to any more.
    pub async fn done(self) {
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = self.slots.acquire_many(all).await;
    }

    async fn slot(&self) -> Option<Slot> {
        self.unless_closing(self.slots.clone().acquire_owned()).await?.ok()
    }

    async fn unless_closing<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closing.changed() => None,
            done = what => Some(done),
        }
    }
}

/// Serves programs of the same user until `closing` is told, and then until those that are here have had their answers.
pub async fn serve_unix(listener: UnixListener, router: Router, closing: watch::Receiver<()>) {
    let serving = Serving::new(router, Limits::default(), closing);
    while let Some((stream, slot)) = serving.unix(&listener).await {
        serving.attend(stream, slot);
    }
    serving.done().await;
}

/// An answer: JSON, and a line's end for those who read it in a terminal.
pub fn respond<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    let mut bytes = serde_json::to_vec(body).unwrap_or_default();
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// An answer that says why there is no other.
pub fn refuse(status: StatusCode, message: &str) -> Response {
    respond(status, &serde_json::json!({ "error": { "message": message } }))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(path: &std::path::Path) -> (UnixStream, String) {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (mut answer, mut part) = (String::new(), [0; 1024]);
        while !answer.contains("}\n") {
            let count = stream.read(&mut part).await.unwrap();
            assert!(count > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&part[..count]).unwrap());
        }
        (stream, answer)
    }

    #[tokio::test]
    async fn it_answers_until_it_is_told_to_close_and_lets_those_finish_who_are_here() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (close, closing) = watch::channel(());
        let (let_go, hold) = watch::channel(());
        let slow = move || {
            let mut hold = hold.clone();
            async move {
                let _ = hold.changed().await;
                respond(StatusCode::OK, "slow")
            }
        };
        let router = Router::new()
            .route("/", get(|| async { refuse(StatusCode::CONFLICT, "not now") }))
            .route("/slow", get(slow));
        let serving = tokio::spawn(serve_unix(listener, router, closing));
        // One that is idle is closed, one that waits for its answer has it.
        let (mut idle, answer) = ask(&path).await;
        assert!(
            answer.starts_with("HTTP/1.1 409 ") && answer.ends_with("{\"error\":{\"message\":\"not now\"}}\n"),
            "{answer}"
        );
        let mut waits = UnixStream::connect(&path).await.unwrap();
        waits.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // It is attended to before the one who comes later.
        ask(&path).await;
        drop(close);
        assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
        assert!(!serving.is_finished(), "somebody waits for an answer");
        drop(let_go);
        let mut answer = String::new();
        waits.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\"slow\"\n"), "{answer}");
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn who_finds_no_slot_waits_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (_close, closing) = watch::channel(());
        let router = Router::new().route("/", get(|| async { refuse(StatusCode::CONFLICT, "not now") }));
        let serving = Serving::new(router, Limits { connections: 1, ..Limits::default() }, closing);
        let (first, second) = (UnixStream::connect(&path).await.unwrap(), UnixStream::connect(&path).await.unwrap());
        let (stream, slot) = serving.unix(&listener).await.unwrap();
        serving.attend(stream, slot);
        let mut next = pin!(serving.unix(&listener));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
        assert!(early.is_err(), "there is one slot");
        drop(first);
        assert!(next.await.is_some());
        drop(second);
    }
}
