//! The Unix socket: how it is, for probes and for `supervisor watch`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::oneshot;

use super::keeper::{Input, Post};
use super::standing::{Busy, Standing};
use super::{eye, status_of};
use crate::control::serving::{refuse, respond};
use crate::model::{Again, ReplayRequest, RetryRequest, ServiceSpec};
use crate::process::clock;

/// A request is answered within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than any probe waits.
const SILENCE: Duration = Duration::from_secs(130);

#[derive(Clone)]
pub(super) struct Desk {
    pub(super) spec: Arc<ServiceSpec>,
    pub(super) table: PathBuf,
    pub(super) standing: Arc<Mutex<Standing>>,
    pub(super) busy: Arc<Busy>,
    pub(super) inbox: Post,
}

pub(super) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/parts", get(parts))
        .route("/status", get(status))
        .route("/retry", post(retry))
        .route("/replay", post(replay))
        .with_state(desk)
}

impl Desk {
    fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Result<Again, String>>) -> Input) -> Response {
        let (answer, answered) = oneshot::channel();
        let gone = || refuse(StatusCode::SERVICE_UNAVAILABLE, "the watcher is ending");
        if !self.inbox.send(request(answer)) {
            return gone();
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(again))) => respond(StatusCode::OK, &again),
            Ok(Ok(Err(why))) => refuse(StatusCode::NOT_FOUND, &why),
            Ok(Err(_)) => gone(),
            Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the watcher does not come to it; see its /healthz"),
        }
    }
}

async fn health(State(desk): State<Desk>) -> Response {
    match desk.standing().failure(&desk.busy, clock::now().mono) {
        None => respond(StatusCode::OK, &json!({ "ok": true })),
        Some(why) => {
            // Who says that he is not well lives, and is left alone. This one has to be started anew: to a probe it is silent.
            tokio::time::sleep(SILENCE).await;
            respond(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ok": false, "why": why }))
        }
    }
}

async fn parts(State(desk): State<Desk>) -> Response {
    respond(StatusCode::OK, &desk.standing().parts())
}

async fn status(State(desk): State<Desk>) -> Response {
    let standing = desk.standing();
    let asked = tokio::task::spawn_blocking(move || status_of(&desk.spec, &desk.table, Some(&standing))).await;
    match asked {
        Ok(Ok(mut status)) => {
            status.pid = Some(std::process::id());
            status.events = Some(eye::kind().to_owned());
            respond(StatusCode::OK, &status)
        }
        Ok(Err(e)) => refuse(StatusCode::SERVICE_UNAVAILABLE, &e.message),
        Err(e) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

async fn retry(State(desk): State<Desk>, body: Result<Json<RetryRequest>, JsonRejection>) -> Response {
    match body {
        Ok(Json(wanted)) => desk.ask(|answer| Input::Retry(wanted, answer)).await,
        Err(e) => refuse(StatusCode::BAD_REQUEST, &e.body_text()),
    }
}

async fn replay(State(desk): State<Desk>, body: Result<Json<ReplayRequest>, JsonRejection>) -> Response {
    match body {
        Ok(Json(wanted)) => desk.ask(|answer| Input::Replay(wanted, answer)).await,
        Err(e) => refuse(StatusCode::BAD_REQUEST, &e.body_text()),
    }
}
