//! The `ping` of an MCP server over HTTP: JSON-RPC, answered with JSON or with an event of a stream.

use std::sync::Arc;

use http_body_util::Full;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use super::connect::{Place, Progress};
use super::exchange::{Reply, Request, exchange};
use super::http;
use crate::model::Answer;

const PING: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

pub(super) fn of_url(url: &str) -> Result<(Place, Request), Answer> {
    let (place, uri, host) = http::parse(url)?;
    let mut request = http::request(Method::POST, uri, &host, Full::new(Bytes::from_static(PING)));
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A server may choose either, and refuses who does not take both.
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    Ok((place, request))
}

pub(super) async fn ask(place: &Place, request: Request, progress: &Arc<Progress>) -> Answer {
    // An event stream may stay open for ever.
    let answered = |reply: &Reply| reply.is_events && in_events(&reply.body);
    match exchange(place, request, progress, answered).await {
        Ok(reply) => judge(reply),
        Err(answer) => answer,
    }
}

/// An error of JSON-RPC is an answer as well, whatever the status: a server that wants a session first has read the question.
fn judge(reply: Reply) -> Answer {
    if if reply.is_events { in_events(&reply.body) } else { is_answer(&reply.body) } {
        return Answer::Good;
    }
    match reply.status {
        200..=299 => reply.end.err().unwrap_or_else(|| {
            Answer::Misasked("it answered without JSON-RPC; check the path (a web page answers on a wrong one)".into())
        }),
        _ => reply.other_status("a JSON-RPC answer"),
    }
}

fn is_answer(json: &[u8]) -> bool {
    let Ok(Value::Object(message)) = serde_json::from_slice::<Value>(json) else { return false };
    message.get("jsonrpc").is_some_and(|version| version == "2.0")
        && (message.contains_key("result") || message.contains_key("error"))
}

/// Whether one of the events that have come whole is an answer. Others may come before it.
fn in_events(stream: &[u8]) -> bool {
    let mut data: Vec<u8> = Vec::new();
    let mut lines = stream.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    lines.any(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(more) = line.strip_prefix(b"data:") {
            data.extend_from_slice(more);
            data.push(b'\n');
        }
        line.is_empty() && is_answer(&std::mem::take(&mut data))
    })
}
