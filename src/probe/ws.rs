//! The gateway's greeting: it opens the WebSocket and says `connect.challenge` at once, to anybody.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream as _;
use hyper::Uri;
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::connect::{self, Place, Progress, Stream};
use super::exchange::{MAX_BODY, Reply, no_http};
use super::http::wrong_url;
use super::words::excerpt;
use crate::model::Answer;

/// What the gateway says first.
const GREETING: &str = "connect.challenge";

/// For saying good-bye.
const GOODBYE: Duration = Duration::from_millis(50);

pub(super) fn of_url(url: &str) -> Result<(Place, Request), Answer> {
    let uri: Uri = url.parse().map_err(|e| wrong_url(url, &e))?;
    Ok((Place::of_url(&uri)?, uri.into_client_request().map_err(|e| wrong_url(url, &e))?))
}

pub(super) async fn ask(place: &Place, request: Request, progress: &Arc<Progress>) -> Answer {
    match greeting(place, request, progress).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn greeting(place: &Place, request: Request, progress: &Arc<Progress>) -> Result<Answer, Answer> {
    let stream = place.connect(progress).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(MAX_BODY))
        .max_frame_size(Some(MAX_BODY));
    let wrong = |error| broken(error, progress);
    let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(wrong)?;
    let first = loop {
        match poll_fn(|cx| Pin::new(&mut socket).poll_next(cx)).await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(message) => break message.map_err(wrong)?,
            None => break Message::Close(None),
        }
    };
    close(&mut socket).await;
    Ok(judge(&first))
}

/// Says good-bye, without waiting for the answer: what was asked is answered.
async fn close(socket: &mut WebSocketStream<Stream>) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    // Who has closed already needs none.
    let _ = tokio::time::timeout(GOODBYE, socket.close(Some(frame))).await;
}

fn judge(first: &Message) -> Answer {
    match first {
        Message::Text(text) => {
            let message: Value = serde_json::from_str(text).unwrap_or_default();
            match (message["type"].as_str(), message["event"].as_str()) {
                (Some("event"), Some(GREETING)) => Answer::Good,
                (Some("event"), Some("shutdown")) => Answer::Unwell("it says that it is shutting down".into()),
                _ => Answer::Misasked(format!(
                    "its first message is not {GREETING} but {}; is this the gateway's port?",
                    excerpt(text, 80)
                )),
            }
        }
        Message::Close(frame) => {
            let (code, reason) = frame.as_ref().map_or((1005, ""), |f| (f.code.into(), f.reason.as_str()));
            let said = format!("it closed the WebSocket with {code} {}", excerpt(reason, 80)).trim_end().to_owned();
            match code {
                // An error of its own, a restart, come again later.
                1001 | 1011..=1014 => Answer::Unwell(said),
                _ => Answer::Misasked(format!("{said} before it said {GREETING}; is this the gateway's port?")),
            }
        }
        _ => Answer::Misasked(format!("its first message is not text with {GREETING}; is this the gateway's port?")),
    }
}

fn broken(error: Error, progress: &Progress) -> Answer {
    match error {
        Error::Io(error) if connect::ours(&error) => {
            Answer::NotAsked(format!("the connection broke on our side ({error})"))
        }
        Error::Http(answer) => {
            let mut reply = Reply::new(answer.status().as_u16(), answer.headers());
            reply.body = answer.into_body().unwrap_or_default();
            reply.other_status("opening a WebSocket")
        }
        Error::Capacity(_) => {
            Answer::Misasked(format!("its answer is longer than {} KiB; check the port", MAX_BODY / 1024))
        }
        error => no_http(progress).unwrap_or_else(|| match error {
            Error::Protocol(ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake)
            | Error::Io(_)
            | Error::ConnectionClosed => {
                Answer::Misasked("its answer is cut off; check the address and the service's log".into())
            }
            error => Answer::Misasked(format!("it does not open a WebSocket as it should ({error}); check the port")),
        }),
    }
}
