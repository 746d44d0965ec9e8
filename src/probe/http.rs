//! GET over loopback or a Unix socket, and what the answer means.

use std::path::Path;
use std::sync::Arc;

use http_body_util::Full;
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Uri};
use serde_json::{Map, Value};

use super::connect::{Place, Progress};
use super::exchange::{Reply, Request, exchange};
use super::words::{excerpt, without_query};
use crate::model::{Answer, ProbeSpec};

/// So much of the text of an answer is read that is not the expected one, bytes.
const EXCERPT: usize = 512;

/// What a good answer has.
#[derive(Debug)]
pub(super) struct Expect {
    status: u16,
    members: Option<Map<String, Value>>,
}

impl Expect {
    pub(super) fn of(probe: &ProbeSpec) -> Self {
        Self { status: probe.expect_status, members: probe.expect_json.clone() }
    }
}

/// GET of a URL.
pub(super) fn of_url(url: &str) -> Result<(Place, Request), Answer> {
    let (place, uri, host) = parse(url)?;
    Ok((place, request(Method::GET, uri, &host, Full::default())))
}

/// GET of a path over a Unix socket.
pub(super) fn of_socket(socket: &Path, path: &str) -> Result<(Place, Request), Answer> {
    let uri = path.parse().map_err(|e| wrong_url(path, &e))?;
    Ok((Place::Unix(socket.to_owned()), request(Method::GET, uri, "localhost", Full::default())))
}

/// Where a URL leads, its path, and its host with the port.
pub(super) fn parse(url: &str) -> Result<(Place, Uri, String), Answer> {
    let uri: Uri = url.parse().map_err(|e| wrong_url(url, &e))?;
    let place = Place::of_url(&uri)?;
    let host = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let path = uri.into_parts().path_and_query.map_or_else(Uri::default, Uri::from);
    Ok((place, path, host))
}

pub(super) fn wrong_url(url: &str, error: &dyn std::fmt::Display) -> Answer {
    Answer::Misasked(format!(
        "{:?} is no address: {error}; write e.g. http://127.0.0.1:18789/healthz",
        without_query(url)
    ))
}

/// Each question has a connection of its own: one that was kept open would not show that nobody is let in any more.
pub(super) fn request(method: Method, uri: Uri, host: &str, body: Full<hyper::body::Bytes>) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    // It was an authority, or `localhost`.
    if let Ok(host) = host.parse() {
        headers.insert(HOST, host);
    }
    headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
    request
}

pub(super) async fn ask(place: &Place, request: Request, expect: &Expect, progress: &Arc<Progress>) -> Answer {
    let other = |reply: &Reply| reply.status != expect.status && reply.body.len() >= EXCERPT;
    match exchange(place, request, progress, other).await {
        Ok(reply) => judge(reply, expect),
        Err(answer) => answer,
    }
}

fn judge(reply: Reply, expect: &Expect) -> Answer {
    if reply.status != expect.status {
        return reply.other_status(&expect.status.to_string());
    }
    match (reply.end, &expect.members) {
        (Err(answer), _) => answer,
        (Ok(()), None) => Answer::Good,
        (Ok(()), Some(wanted)) => members(wanted, &reply.body),
    }
}

fn members(wanted: &Map<String, Value>, body: &[u8]) -> Answer {
    let Ok(found) = serde_json::from_slice::<Value>(body) else {
        return Answer::Misasked("the answer is not JSON; check the path (a web page answers on a wrong one)".into());
    };
    if let Some(name) = wanted.keys().find(|name| found.get(name).is_none()) {
        return Answer::Misasked(format!("the answer has no member `{name}`; check the path and `expect_json`"));
    }
    match wanted.iter().find(|(name, value)| found.get(name) != Some(value)) {
        Some((name, value)) => {
            let got = excerpt(&found[name].to_string(), 80);
            Answer::Unwell(format!("`{name}` is {got} instead of {value}"))
        }
        None => Answer::Good,
    }
}
