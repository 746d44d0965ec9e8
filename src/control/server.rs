//! The daemon's side of the control socket: HTTP/1.1 with JSON bodies over a Unix socket, for the same user only.
//!
//! It understands requests and puts answers into words; what is done about them is the daemon's, which gets each as a
//! [`Request`] with a place for the answer.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::routes;
use super::serving::{Limits, Serving, respond};
use crate::model::wire::{
    AlertBody, AlertReply, DigestBody, HeapSnapshotBody, HeapSnapshotReply, OrderBody, OrderReply, ReloadBody,
    ReloadReply, TaskRunBody, TaskRunReply, UpgradeBody, UpgradeReply, VersionReply, WhyReply, WireError,
};
use crate::model::{StatusReport, UnitName};

/// Longest body of a request, bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long a client may take for the body of its request.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

const ROUTES: &str = "GET /v1/status, GET /v1/why/NAME, GET /v1/version, POST /v1/order, POST /v1/reload, POST /v1/upgrade, POST /v1/alerts, POST /v1/digest, POST /v1/heap-snapshot, POST /v1/tasks/run, POST /v1/sync";

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, WireError>>;

/// What is asked of the daemon.
#[derive(Debug)]
pub enum Request {
    /// Everything.
    Status(Answer<StatusReport>),
    /// One paragraph about one service.
    Why(UnitName, Answer<String>),
    /// Start, stop, restart.
    Order(OrderBody, Answer<OrderReply>),
    /// Read services.toml again.
    Reload(ReloadBody, Answer<ReloadReply>),
    /// Become another program in place, the runners first.
    Upgrade(UpgradeBody, Answer<UpgradeReply>),
    /// Acknowledge, silence, try a sink.
    Alert(AlertBody, Answer<AlertReply>),
    /// Send a report.
    Digest(DigestBody, Answer<AlertReply>),
    /// Have a service write its heap to a file.
    HeapSnapshot(UnitName, Answer<HeapSnapshotReply>),
    /// Run a calendar job now.
    RunTask(TaskRunBody, Answer<TaskRunReply>),
    /// Which program we are.
    Version(Answer<VersionReply>),
    /// Take everything that is in the journals into the ledger before answering.
    Sync(Answer<()>),
    /// Somebody has connected: a runner that was just started makes itself known so.
    Knock,
}

type To = mpsc::Sender<Request>;

/// Serves until the daemon is gone, or until `closing` is told: then no connection is taken any more (who comes waits in the
/// listener's queue for whoever has it next), and it returns when those that are open have had their answers.
pub async fn serve(listener: UnixListener, to: To, closing: watch::Receiver<()>) {
    let router = Router::new()
        .route(routes::STATUS, get(status))
        .route(&format!("{}{{name}}", routes::WHY), get(why))
        .route(routes::VERSION, get(version))
        .route(routes::ORDER, post(order))
        .route(routes::RELOAD, post(reload))
        .route(routes::UPGRADE, post(upgrade))
        .route(routes::ALERTS, post(alerts))
        .route(routes::DIGEST, post(digest))
        .route(routes::HEAP_SNAPSHOT, post(heap_snapshot))
        .route(routes::TASKS_RUN, post(run_task))
        .route(routes::SYNC, post(sync))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(to.clone());
    let serving = Serving::new(router, Limits::default(), closing);
    while let Some((stream, slot)) = serving.unix(&listener).await {
        if to.send(Request::Knock).await.is_err() {
            return;
        }
        serving.attend(stream, slot);
    }
    serving.done().await;
}

async fn status(State(to): State<To>) -> Response {
    answer(ask(&to, Request::Status).await)
}

async fn why(State(to): State<To>, Path(name): Path<String>) -> Response {
    answer(match UnitName::new(&name) {
        Ok(name) => {
            let text = ask(&to, |answer| Request::Why(name.clone(), answer)).await;
            text.map(|text| WhyReply { name, text })
        }
        Err(e) => Err(wire(2, format!("{name:?} is no name: {e}"))),
    })
}

async fn version(State(to): State<To>) -> Response {
    answer(ask(&to, Request::Version).await)
}

async fn upgrade(State(to): State<To>, body: Body) -> Response {
    answer(match read(body).await {
        Ok(body) => ask(&to, |answer| Request::Upgrade(body, answer)).await,
        Err(e) => Err(e),
    })
}

async fn order(State(to): State<To>, body: Body) -> Response {
    answer(match read(body).await {
        Ok(body) => ask(&to, |answer| Request::Order(body, answer)).await,
        Err(e) => Err(e),
    })
}

async fn reload(State(to): State<To>, body: Body) -> Response {
    answer(match read(body).await {
        Ok(body) => ask(&to, |answer| Request::Reload(body, answer)).await,
        Err(e) => Err(e),
    })
}

async fn alerts(State(to): State<To>, body: Body) -> Response {
    answer(match read(body).await {
        Ok(body) => ask(&to, |answer| Request::Alert(body, answer)).await,
        Err(e) => Err(e),
    })
}

async fn digest(State(to): State<To>, body: Body) -> Response {
    answer(match read(body).await {
        Ok(body) => ask(&to, |answer| Request::Digest(body, answer)).await,
        Err(e) => Err(e),
    })
}

async fn heap_snapshot(State(to): State<To>, body: Body) -> Response {
    answer(match read::<HeapSnapshotBody>(body).await {
        Ok(body) => ask(&to, |answer| Request::HeapSnapshot(body.name, answer)).await,
        Err(e) => Err(e),
    })
}

async fn run_task(State(to): State<To>, body: Body) -> Response {
    answer(match read::<TaskRunBody>(body).await {
        Ok(body) => ask(&to, |answer| Request::RunTask(body, answer)).await,
        Err(e) => Err(e),
    })
}

async fn sync(State(to): State<To>) -> Response {
    answer(ask(&to, Request::Sync).await.map(|()| serde_json::json!({ "ok": true })))
}

async fn unknown(uri: Uri) -> Response {
    respond(StatusCode::NOT_FOUND, &error(wire(2, format!("there is no {}; there are: {ROUTES}", uri.path()))))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let e = wire(2, format!("{method} is not served at {}; there are: {ROUTES}", uri.path()));
    respond(StatusCode::METHOD_NOT_ALLOWED, &error(e))
}

async fn ask<T>(to: &To, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, WireError> {
    let (sender, receiver) = oneshot::channel();
    let gone = || wire(4, "the daemon is going down".into());
    to.send(request(sender)).await.map_err(|_| gone())?;
    receiver.await.map_err(|_| gone())?
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, WireError> {
    let bytes = tokio::time::timeout(MAX_PATIENCE, axum::body::to_bytes(body, MAX_BODY))
        .await
        .map_err(|_| wire(2, "the body of the request did not arrive in time".into()))?
        .map_err(|_| wire(2, format!("the body of a request has at most {MAX_BODY} bytes")))?;
    let bytes = if bytes.is_empty() { b"{}".as_slice().into() } else { bytes };
    serde_json::from_slice(&bytes).map_err(|e| wire(2, format!("the body of the request cannot be read: {e}")))
}

fn wire(code: u8, message: String) -> WireError {
    WireError { code, message, hint: None }
}

fn error(error: WireError) -> serde_json::Value {
    serde_json::json!({ "error": error })
}

fn answer<T: Serialize>(result: Result<T, WireError>) -> Response {
    match result {
        Ok(body) => respond(StatusCode::OK, &body),
        Err(e) => {
            let status = match e.code {
                2 => StatusCode::BAD_REQUEST,
                4 => StatusCode::SERVICE_UNAVAILABLE,
                5 => StatusCode::UNPROCESSABLE_ENTITY,
                3 | 6 => StatusCode::CONFLICT,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            respond(status, &error(e))
        }
    }
}
