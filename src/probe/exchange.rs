//! One HTTP/1.1 request and its reply, over any connection.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use hyper_util::rt::TokioIo;

use super::connect::{self, Place, Progress};
use super::words::{excerpt, without_query};
use crate::model::Answer;

/// Most of an answer that is read, bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Most of an answer's head, bytes.
const MAX_HEAD: usize = 16 * 1024;

pub(super) type Request = hyper::Request<Full<Bytes>>;

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Where another address is named.
    pub(super) location: Option<String>,
    /// Whether its body is an event stream.
    pub(super) is_events: bool,
    pub(super) body: Vec<u8>,
    /// Why the body is not whole, if it broke.
    pub(super) end: Result<(), Answer>,
}

/// Asks, and reads the reply until it ends or is `enough`. An error is what it means that there is none.
pub(super) async fn exchange(
    place: &Place,
    request: Request,
    progress: &Arc<Progress>,
    enough: impl Fn(&Reply) -> bool,
) -> Result<Reply, Answer> {
    let stream = TokioIo::new(place.connect(progress).await?);
    let wrong = |error: hyper::Error| broken(&error, progress);
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(stream).await.map_err(wrong)?;
    let reply = async {
        let (head, mut body) = sender.send_request(request).await.map_err(wrong)?.into_parts();
        let mut reply = Reply::new(head.status.as_u16(), &head.headers);
        reply.end = read(&mut reply, &mut body, enough, progress).await;
        Ok(reply)
    };
    beside(connection, reply).await
}

/// Reads the body into the reply.
async fn read(
    reply: &mut Reply,
    body: &mut Incoming,
    enough: impl Fn(&Reply) -> bool,
    progress: &Progress,
) -> Result<(), Answer> {
    while !enough(reply) {
        let Some(frame) = body.frame().await else { return Ok(()) };
        let Ok(data) = frame.map_err(|error| broken(&error, progress))?.into_data() else { continue };
        if reply.body.len() + data.len() > MAX_BODY {
            let text = format!("the answer is longer than {} KiB; check the path", MAX_BODY / 1024);
            return Err(Answer::Misasked(text));
        }
        reply.body.extend_from_slice(&data);
    }
    Ok(())
}

/// Polls a connection and what is asked over it in one task, until that has its reply.
async fn beside<T>(connection: impl Future, reply: impl Future<Output = T>) -> T {
    let (mut connection, mut reply) = (pin!(connection), pin!(reply));
    let mut is_open = true;
    poll_fn(|cx| {
        if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
            return Poll::Ready(reply);
        }
        if is_open {
            // How it ended is told to who waits for the reply.
            is_open = connection.as_mut().poll(cx).is_pending();
        }
        reply.as_mut().poll(cx)
    })
    .await
}

impl Reply {
    pub(super) fn new(status: u16, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Self {
            status,
            location: text(LOCATION).map(|location| excerpt(&without_query(&location), 100)),
            is_events: text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/event-stream")),
            body: Vec::new(),
            end: Ok(()),
        }
    }

    /// What it means that the status is not the one that was expected.
    pub(super) fn other_status(&self, wanted: &str) -> Answer {
        let status = self.status;
        match status {
            500..=599 => Answer::Unwell(format!("it answered {status} instead of {wanted}{}", self.said())),
            300..=399 => {
                let to = self.location.as_ref().map_or(String::new(), |location| format!(" to {location}"));
                Answer::Misasked(format!(
                    "it answered {status}{to}, and a probe follows no redirect; write the address that answers by itself"
                ))
            }
            400 if contains(&self.body, b"HTTPS") => speaks_tls(),
            401 | 403 | 407 => Answer::Misasked(format!(
                "it answered {status}, it wants to know who asks; write a path that answers without a login"
            )),
            404 | 410 => Answer::Misasked(format!("it answered {status}, there is no such path; check the path")),
            _ => Answer::Misasked(format!(
                "it answered {status} instead of {wanted}; check the address and what is expected{}",
                self.said()
            )),
        }
    }

    /// The beginning of its text, in brackets.
    fn said(&self) -> String {
        match excerpt(&String::from_utf8_lossy(&self.body), 120) {
            text if text.is_empty() || text.starts_with('<') => String::new(),
            text => format!(" ({text})"),
        }
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// What it means that the connection broke, or that what came over it is no HTTP.
fn broken(error: &hyper::Error, progress: &Progress) -> Answer {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(connect::ours) {
            return Answer::NotAsked(format!("the connection broke on our side ({error})"));
        }
        cause = error.source();
    }
    if let Some(answer) = no_http(progress) {
        return answer;
    }
    Answer::Misasked(if error.is_parse_too_large() {
        format!(
            "the head of its answer is longer than {} KiB or has more than 100 lines; check the address",
            MAX_HEAD / 1024
        )
    } else if error.is_parse() {
        "its answer is broken HTTP; check the address".into()
    } else {
        "its answer is cut off; check the address and the service's log".into()
    })
}

/// What the first bytes say, when they are not those of an HTTP answer.
pub(super) fn no_http(progress: &Progress) -> Option<Answer> {
    let first = progress.first();
    match first[..] {
        [] => Some(Answer::Unwell("it closed the connection without an answer".into())),
        // A record of TLS: an alert, or its handshake.
        [0x15 | 0x16, 0x03, ..] => Some(speaks_tls()),
        _ if first.starts_with(b"HTTP/") => None,
        _ => {
            let begins = first.escape_ascii();
            Some(Answer::Misasked(format!(
                "it does not speak HTTP, its answer begins with \"{begins}\"; check the port"
            )))
        }
    }
}

fn speaks_tls() -> Answer {
    Answer::Misasked(
        "it speaks TLS, and a probe speaks plain HTTP; write an address where it is asked without TLS".into(),
    )
}
