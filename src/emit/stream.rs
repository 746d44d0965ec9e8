//! Events as they come (server-sent events): who follows is shown what is on record, at their own pace, so that a slow one costs nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_core::Stream;
use tokio::sync::mpsc;

use super::http::{Asked, Desk, asked};
use crate::control::serving::refuse;
use crate::store::{EmittedFilter, Reader};

/// Who may follow at the same time.
pub(super) const MOST: usize = 64;

/// Rows in one look.
const LOOK: usize = 500;

/// Between two looks, so that many commits are one.
const BREATH: Duration = Duration::from_millis(20);

/// After so long without an event a line says that we are still there: who reads through a proxy would else be cut off.
const STILL_HERE: Duration = Duration::from_secs(15);

/// What was asked for behind `?`, or why it cannot be read.
type Question = Result<Query<Asked>, axum::extract::rejection::QueryRejection>;

/// `GET /events/stream`: from `after` (or the header Last-Event-ID) or `since` on; without them what comes from now on.
pub(super) async fn follow(State(desk): State<Desk>, headers: HeaderMap, query: Question) -> Response {
    let (mut filter, _) = match asked(query) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let Ok(place) = desk.streams.clone().try_acquire_owned() else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, &format!("{MOST} follow the events already"));
    };
    let last_seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    filter.after = last_seen.unwrap_or(filter.after);
    if filter.after == 0 && filter.since_ms.is_none() {
        match desk.ask(Reader::last_emitted).await {
            Ok(Ok(last)) => filter.after = last,
            Ok(Err(e)) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
            Err(e) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
        }
    }
    // One look ahead of who reads.
    let (pages, inbox) = mpsc::channel(1);
    tokio::spawn(async move {
        show(desk, filter, pages).await;
        drop(place);
    });
    let mut response = Response::new(Body::from_stream(Pages(inbox)));
    for (name, value) in [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn show(desk: Desk, mut filter: EmittedFilter, pages: mpsc::Sender<Bytes>) {
    let mut last = desk.writer.last();
    let mut closing = desk.closing.clone();
    // The head goes out at once.
    let mut page = String::from(": events\n\n");
    loop {
        if !page.is_empty() && pages.send(std::mem::take(&mut page).into()).await.is_err() {
            return;
        }
        last.mark_unchanged();
        let wanted = filter.clone();
        let found = desk.ask(move |reader| reader.emitted(&wanted, LOOK)).await;
        // While the database cannot be read nothing is shown, and nothing passed over.
        let rows = found.ok().and_then(Result::ok).unwrap_or_default();
        for row in &rows {
            let data = serde_json::to_string(row).unwrap_or_default();
            page.push_str(&format!("id: {}\nevent: event\ndata: {data}\n\n", row.id));
        }
        filter.after = rows.last().map_or(filter.after, |row| row.id);
        if rows.len() >= LOOK {
            continue;
        }
        if !page.is_empty() {
            // Shown first, and waited for after that.
            if pages.send(std::mem::take(&mut page).into()).await.is_err() {
                return;
            }
        }
        tokio::select! {
            _ = closing.changed() => return,
            () = pages.closed() => return,
            changed = last.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(BREATH).await;
            }
            () = tokio::time::sleep(STILL_HERE) => page.push_str(": still here\n\n"),
        }
    }
}

/// What is shown, as a body.
struct Pages(mpsc::Receiver<Bytes>);

impl Stream for Pages {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|page| page.map(Ok))
    }
}
