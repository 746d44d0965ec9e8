//! Sinks: how a message gets out of the machine, by a program, over HTTP or by mail.
//!
//! Everything here blocks, is bounded in time, and is run on a thread of its own. Nothing here decides what is told, to whom or
//! when; a try ends as a [`Delivery`], never as an error. No text of it has a secret in it: neither what a [`SecretSpec`] keeps
//! nor the path of an address.
//!
//! [`SecretSpec`]: crate::model::SecretSpec

mod deadman;
mod desktop;
mod http;
mod mail;
mod ntfy;
mod program;
mod secret;
mod slack;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod webhook;

pub use deadman::{Ping, ping};
pub use secret::read_file as read_secret_file;

use std::path::Path;
use std::time::Duration;

use ureq::http::HeaderMap;

use crate::model::{Delivery, Message, SinkKind, SinkSpec};
use crate::process::clock;
use http::Address;

/// Where it happens.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The folder of evidence files; it is made when it is needed.
    pub evidence: &'a Path,
    /// What this machine is called.
    pub host: &'a str,
}

/// Tries to hand `message` to this sink. Takes no longer than the sink's `timeout` and a second.
pub fn deliver(sink: &SinkSpec, message: &Message, around: &Around<'_>) -> Delivery {
    match sink.kind {
        SinkKind::Command => program::run(&sink.command, message, around.host, sink.timeout),
        SinkKind::Desktop => desktop::show(message, around.evidence, around.host, sink.timeout),
        SinkKind::Log => log(message),
        SinkKind::Webhook | SinkKind::Slack | SinkKind::Ntfy => {
            over_http(sink, message, around).unwrap_or_else(Delivery::Failed)
        }
        SinkKind::Email => by_mail(sink, message, around).unwrap_or_else(Delivery::Failed),
    }
}

/// What keeps a sink from being reached, as far as it can be told without sending anything.
pub fn unreachable_why(sink: &SinkSpec) -> Option<String> {
    match sink.kind {
        SinkKind::Log => None,
        SinkKind::Desktop => desktop::unreachable_why(),
        SinkKind::Command => program::find(&sink.command).err(),
        SinkKind::Email => post_of(sink).err().or_else(|| secret_of(sink).err()),
        SinkKind::Webhook | SinkKind::Slack | SinkKind::Ntfy => {
            let secret = match secret_of(sink) {
                Ok(secret) => secret,
                Err(why) => return Some(why),
            };
            let address = url(sink, secret.as_deref()).and_then(|url| Address::parse(&url));
            address.err().or_else(|| headers_of(sink).err())
        }
    }
}

fn secret_of(sink: &SinkSpec) -> Result<Option<String>, String> {
    sink.secret.as_ref().map(|spec| secret::read(spec, sink.timeout)).transpose()
}

fn headers_of(sink: &SinkSpec) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &sink.headers {
        http::set(&mut headers, name, value)?;
    }
    Ok(headers)
}

fn post_of(sink: &SinkSpec) -> Result<mail::Post, String> {
    let post = mail::Post::parse(&url(sink, None)?)?;
    match post.lacks(sink.secret.is_some()) {
        Some(what) => Err(what.to_owned()),
        None => Ok(post),
    }
}

/// The address; Slack's may be the secret itself.
fn url(sink: &SinkSpec, secret: Option<&str>) -> Result<String, String> {
    let kept = secret.filter(|_| sink.kind == SinkKind::Slack).map(|secret| secret.trim().to_owned());
    kept.or_else(|| sink.url.clone()).ok_or_else(|| format!("the sink {} has no address: write `url`", sink.name))
}

fn log(message: &Message) -> Delivery {
    for notice in message.notices() {
        let (headline, alert) = (text::headline(notice), &notice.alert);
        if alert.is_open() && alert.severity > crate::model::Severity::Info {
            tracing::warn!(key = notice.key, severity = alert.severity.as_str(), "{headline}");
        } else {
            tracing::info!(key = notice.key, severity = alert.severity.as_str(), "{headline}");
        }
    }
    Delivery::Done { plain: false }
}

fn over_http(sink: &SinkSpec, message: &Message, around: &Around<'_>) -> Result<Delivery, String> {
    let end = clock::now().mono.plus(sink.timeout);
    let left = || end.since(clock::now().mono);
    let secret = secret_of(sink)?;
    let url = url(sink, secret.as_deref())?;
    let address = Address::parse(&url)?;
    let mut headers = headers_of(sink)?;
    http::set(&mut headers, "Content-Type", "application/json; charset=utf-8")?;
    http::set(&mut headers, "Idempotency-Key", message.key())?;
    let (to, body) = match sink.kind {
        SinkKind::Slack => (address.clone(), slack::rich(message, around.host).to_string()),
        SinkKind::Ntfy => {
            if let Some(token) = &secret {
                let refused = |_| "the access token has characters that no header has".to_owned();
                http::set(&mut headers, "Authorization", &format!("Bearer {token}")).map_err(refused)?;
            }
            let (server, payload) = ntfy::publish(&address, message, around.host)?;
            (server, payload.to_string())
        }
        _ => {
            let body = webhook::json(message, around.host);
            if let Some(secret) = &secret {
                let seconds = clock::now().wall_ms / 1000;
                http::set(&mut headers, "X-Supervisor-Signature", &webhook::signature(secret, seconds, &body))?;
            }
            (address.clone(), body)
        }
    };
    let mut secrets = address.secrets();
    secrets
        .extend([url.as_str()].into_iter().chain(secret.as_deref()).chain(sink.headers.values().map(String::as_str)));
    let judge = |ended| http::judge(ended, &to, &secrets, sink.secret.as_ref());
    let delivery = judge(http::post(&to, &headers, body.as_bytes(), left()));
    // The plain form is tried at once: who waits for the next try would wait for the same refusal.
    if sink.kind != SinkKind::Slack || !matches!(delivery, Delivery::Refused(_)) || left() < Duration::from_millis(100)
    {
        return Ok(delivery);
    }
    let body = slack::plain(message, around.host).to_string();
    Ok(match judge(http::post(&to, &headers, body.as_bytes(), left())) {
        Delivery::Done { .. } => Delivery::Done { plain: true },
        otherwise => otherwise,
    })
}

fn by_mail(sink: &SinkSpec, message: &Message, around: &Around<'_>) -> Result<Delivery, String> {
    let end = clock::now().mono.plus(sink.timeout);
    let post = post_of(sink)?;
    let password = secret_of(sink)?;
    Ok(mail::send(post, password, message, around.host, end.since(clock::now().mono)))
}

/// What this sink would be sent, for people. No secret is read for it: addresses are not in it, and no signature.
pub fn preview(sink: &SinkSpec, message: &Message, host: &str) -> String {
    let pretty = |json: serde_json::Value| serde_json::to_string_pretty(&json).unwrap_or_default();
    match sink.kind {
        SinkKind::Slack => pretty(slack::rich(message, host)),
        SinkKind::Webhook | SinkKind::Command => {
            pretty(serde_json::from_str(&webhook::json(message, host)).unwrap_or_default())
        }
        SinkKind::Ntfy => pretty(ntfy::body("TOPIC", message, host)),
        SinkKind::Log => format!("{} ({})", text::subject(message), message.key()),
        SinkKind::Desktop | SinkKind::Email => format!("{}\n\n{}", text::subject(message), text::full(message, host)),
    }
}
