//! Who is answered, and what: the routes, and what a request has to be like.
//!
//! A browser that shows some page can reach us: so the name it has asked for has to be this machine's (no rebinding of names), and a
//! page's origin has to be this machine's, too.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinError;

use super::writer::{Kept, Refused, Writer};
use super::{Door, body, stream};
use crate::control::serving::{Limits, Serving, refuse, respond};
use crate::process::clock;
use crate::store::{EmittedFilter, Reader, StoreError, StoreErrorKind};

/// Longest body, bytes.
const MAX_BODY: usize = 4 << 20;

/// Of a body that is refused for its length so much is listened to, bytes.
const HEARD_OUT: usize = 4 * MAX_BODY;

/// All bodies that are on their way or being read, in KiB.
const BODIES_KIB: usize = 32 << 10;

/// How long a client may take for the head, and for the body, of its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a body comes in is larger than what a head needs.
const LIMITS: Limits = Limits { connections: 256, patience: PATIENCE, buffer: 256 << 10 };

/// Who reads the database at the same time, the others wait for a moment: SQLite keeps the descriptors of as many as there were at once.
const READERS: usize = 4;

/// Events in one answer, unless fewer are asked for.
const PAGE: usize = 1_000;

/// Who is sent away comes again after so many seconds.
const COME_AGAIN: &str = "1";

const ROUTES: &str = "POST /events, GET /events, GET /events/stream, GET /healthz";

#[derive(Clone)]
pub(super) struct Desk {
    pub(super) writer: Writer,
    database: PathBuf,
    pub(super) closing: watch::Receiver<()>,
    bodies: Arc<Semaphore>,
    pub(super) streams: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl Desk {
    /// Asks the database; one that nobody has made yet has nothing.
    pub(super) async fn ask<T, Q>(&self, question: Q) -> Result<Result<T, StoreError>, JoinError>
    where
        T: Default + Send + 'static,
        Q: FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    {
        // The semaphore is never closed.
        let place = self.readers.clone().acquire_owned().await;
        let database = self.database.clone();
        tokio::task::spawn_blocking(move || {
            // Held until it has read, also when who asked has gone meanwhile.
            let _place = place;
            match Reader::open(&database) {
                Ok(reader) => question(&reader),
                Err(e) if e.kind == StoreErrorKind::Gone => Ok(T::default()),
                Err(e) => Err(e),
            }
        })
        .await
    }
}

pub(super) fn router(writer: Writer, database: PathBuf, door: Door, closing: watch::Receiver<()>) -> Router {
    let bodies = Arc::new(Semaphore::new(BODIES_KIB));
    let streams = Arc::new(Semaphore::new(stream::MOST));
    let readers = Arc::new(Semaphore::new(READERS));
    let desk = Desk { writer, database, closing, bodies, streams, readers };
    Router::new()
        .route("/events", post(take).get(list))
        .route("/events/stream", get(stream::follow))
        .route("/healthz", get(health))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(door, let_in))
        .with_state(desk)
}

/// Serves until `closing` is told, and then until those who are here have their answers.
pub(super) async fn serve(tcp: TcpListener, unix: UnixListener, router: Router, closing: watch::Receiver<()>) {
    let serving = Serving::new(router, LIMITS, closing);
    let over_tcp = async {
        while let Some((stream, slot)) = serving.tcp(&tcp).await {
            serving.attend(stream, slot);
        }
    };
    let over_unix = async {
        while let Some((stream, slot)) = serving.unix(&unix).await {
            serving.attend(stream, slot);
        }
    };
    tokio::join!(over_tcp, over_unix);
    serving.done().await;
}

/// Only requests that are meant for us, of programs of this machine.
async fn let_in(State(door): State<Door>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let asked = request.uri().host().or_else(|| text(header::HOST));
    if !asked.is_some_and(is_local) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "the Host of the request is not this machine's (127.0.0.1, localhost)",
        );
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
        if !origin.is_some_and(|(_, host)| is_local(host)) {
            return refuse(StatusCode::FORBIDDEN, "pages of other origins are not answered");
        }
    }
    if let Some(token) = door.token.as_ref().filter(|_| request.uri().path() != "/healthz") {
        let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        // Digests are compared, so that the time it takes tells nothing.
        if given.is_none_or(|given| Sha256::digest(given.trim()) != Sha256::digest(token)) {
            let mut response =
                refuse(StatusCode::UNAUTHORIZED, "the header `Authorization: Bearer TOKEN` is missing or wrong");
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            return response;
        }
    }
    next.run(request).await
}

/// Whether a host, with or without a port, is this machine by its own name.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || ["127.0.0.1", "::1"].contains(&name)
}

async fn take(State(desk): State<Desk>, headers: HeaderMap, body: Body) -> Response {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY) {
        hear_out(body).await;
        return too_long();
    }
    // Who does not say how much comes is given room for the most.
    let kib = u32::try_from(length.unwrap_or(MAX_BODY).div_ceil(1024).max(1)).unwrap_or(u32::MAX);
    let Ok(_room) = desk.bodies.clone().try_acquire_many_owned(kib) else {
        hear_out(body).await;
        return busy();
    };
    let bytes = match tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) if length.is_none() => return too_long(),
        Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the body has ended too early"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
    };
    let key = match headers.get("idempotency-key").map(|value| value.to_str()) {
        Some(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the header Idempotency-Key is not plain ASCII"),
        Some(Ok(key)) => Some(key),
        None => None,
    };
    let events = match body::read(&bytes, clock::now().wall_ms, key) {
        Ok(events) => events,
        Err(fault) => {
            let error = json!({ "message": fault.message, "event": fault.event, "member": fault.member });
            return respond(StatusCode::BAD_REQUEST, &json!({ "error": error }));
        }
    };
    match desk.writer.keep(events, bytes.len()).await {
        Ok(Kept { stored, duplicates, spooled }) => {
            respond(StatusCode::OK, &json!({ "stored": stored, "duplicates": duplicates, "spooled": spooled }))
        }
        Err(Refused::Busy) => busy(),
        Err(Refused::Nowhere(why)) => {
            let why = match desk.writer.standing().trouble {
                Some(trouble) => format!("the events are not kept: {trouble}; and {why}"),
                None => format!("the events are not kept: {why}"),
            };
            again(refuse(StatusCode::SERVICE_UNAVAILABLE, &why))
        }
    }
}

/// Reads a body and forgets it: who is still sending when the connection is closed finds it broken, and never reads the answer.
async fn hear_out(body: Body) {
    let mut body = Limited::new(body, HEARD_OUT);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(PATIENCE, all).await;
}

/// What may stand behind `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Milliseconds since 1970, or ISO 8601.
    since: Option<String>,
    /// The number of an event.
    after: Option<i64>,
    limit: Option<usize>,
    category: Option<String>,
    event_type: Option<String>,
    service_name: Option<String>,
}

impl Asked {
    /// As the database is asked.
    pub(super) fn filter(self) -> Result<(EmittedFilter, usize), String> {
        let since = |text: String| {
            let at = || text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond());
            text.parse::<i64>().ok().or_else(at).ok_or_else(|| {
                format!("since={text} is neither milliseconds since 1970 nor ISO 8601 (2026-11-22T07:55:00Z)")
            })
        };
        let filter = EmittedFilter {
            after: self.after.unwrap_or_default(),
            since_ms: self.since.map(since).transpose()?,
            category: self.category,
            event_type: self.event_type,
            service: self.service_name,
        };
        Ok((filter, self.limit.unwrap_or(PAGE).clamp(1, PAGE)))
    }
}

/// What is asked for in an address that cannot be read.
type Unreadable = axum::extract::rejection::QueryRejection;

/// Puts an address's questions as the database is asked.
pub(super) fn asked(query: Result<Query<Asked>, Unreadable>) -> Result<(EmittedFilter, usize), Box<Response>> {
    let asked = query.map_err(|e| e.body_text()).and_then(|Query(asked)| asked.filter());
    asked.map_err(|why| Box::new(refuse(StatusCode::BAD_REQUEST, &why)))
}

async fn list(State(desk): State<Desk>, query: Result<Query<Asked>, Unreadable>) -> Response {
    let (filter, limit) = match asked(query) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let after = filter.after;
    let found = desk.ask(move |reader| reader.emitted(&filter, limit)).await;
    match found {
        Ok(Ok(rows)) => {
            let next = rows.last().map_or(after, |row| row.id);
            respond(StatusCode::OK, &json!({ "events": rows, "next": next }))
        }
        Ok(Err(e)) => again(refuse(StatusCode::SERVICE_UNAVAILABLE, &e.to_string())),
        Err(e) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

async fn health(State(desk): State<Desk>) -> Response {
    let standing = desk.writer.standing();
    let status = if standing.full.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({
        "ok": standing.full.is_none(),
        "database": standing.trouble.unwrap_or_else(|| "well".into()),
        "spooled": standing.spooled,
        "spool_bytes": standing.spool_bytes,
        "why": standing.full,
    });
    respond(status, &body)
}

async fn unknown(uri: Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("there is no {}; there are: {ROUTES}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("{method} is not served at {}; there are: {ROUTES}", uri.path()))
}

fn busy() -> Response {
    again(refuse(StatusCode::TOO_MANY_REQUESTS, "more comes than is written just now; come again in a second"))
}

fn too_long() -> Response {
    let message = format!("the body may have {} MiB: send the events in parts", MAX_BODY >> 20);
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &message)
}

fn again(mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(COME_AGAIN));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_own_names_only() {
        for host in ["localhost", "LocalHost:18790", "127.0.0.1", "127.0.0.1:1", "[::1]:5", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["", "example.org", "127.0.0.1.example.org", "localhost.example.org:18790", "10.0.0.1", "[::2]", "::1"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
