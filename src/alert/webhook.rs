//! The JSON that webhooks and commands get.
//!
//! ```text
//! { "schema": 1, "key": ..., "kind": "fired" | "reminder" | "changed" | "resolved" | "note", "at_ms": ..., "at": RFC 3339,
//!   "host": ..., "supervisor_version": ..., "alert": {
//!     "id", "rule", "service" (or null), "cause"?, "severity", "state", "title", "since_ms", "fired_ms", "last_ms", "count",
//!     "facts": [...], "tail": [...], "doing", "advice": [...], "fingerprint"?, "reminders", "acknowledged_ms"?, "resolved_ms"?,
//!     "outcome" } }
//! { "schema": 1, "kind": "digest", "key": ..., "host": ..., "supervisor_version": ..., "notices": [
//!     { "key", "kind", "at_ms", "at", "alert" }, ... ] }
//! ```
//! Members are added without a new number; `schema` rises when one changes its meaning.
//!
//! The same notice always has the same `key`, which is also the header `Idempotency-Key`. A digest has a key of its own, and
//! delivers every notice in it. With a secret, `X-Supervisor-Signature: t=<seconds since 1970>,v1=<hex>` is the HMAC-SHA256 of
//! `<t>.<body>`: a receiver works it out anew over the bytes that came, compares, and refuses what is older than some minutes.

use ring::hmac;
use serde::Serialize;

use super::text;
use crate::model::{Alert, AlertState, Cause, Message, Notice, NoticeKind, Rule, Severity, UnitName};

const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a> {
    schema: u32,
    #[serde(flatten)]
    told: Told<'a>,
    host: &'a str,
    supervisor_version: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    One(Box<OneNotice<'a>>),
    Digest { kind: &'static str, key: &'a str, notices: Vec<OneNotice<'a>> },
}

#[derive(Serialize)]
struct OneNotice<'a> {
    key: &'a str,
    kind: NoticeKind,
    at_ms: i64,
    at: String,
    alert: Shown<'a>,
}

/// What of an alert is for others.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    rule: Rule,
    service: Option<&'a UnitName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    severity: Severity,
    state: AlertState,
    title: &'a str,
    since_ms: i64,
    fired_ms: i64,
    last_ms: i64,
    count: u64,
    facts: &'a [String],
    tail: &'a [String],
    doing: &'a str,
    advice: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<&'a str>,
    reminders: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_ms: Option<i64>,
    outcome: &'a str,
}

impl<'a> Shown<'a> {
    fn of(alert: &'a Alert) -> Self {
        Self {
            id: &alert.id,
            rule: alert.rule,
            service: alert.service.as_ref(),
            cause: alert.cause,
            severity: alert.severity,
            state: alert.state,
            title: &alert.title,
            since_ms: alert.since_ms,
            fired_ms: alert.fired_ms,
            last_ms: alert.last_ms,
            count: alert.count,
            facts: &alert.facts,
            tail: &alert.tail,
            doing: &alert.doing,
            advice: &alert.advice,
            fingerprint: alert.fingerprint.as_deref(),
            reminders: alert.reminders,
            acknowledged_ms: alert.acknowledged_ms,
            resolved_ms: alert.resolved_ms,
            outcome: &alert.outcome,
        }
    }
}

impl<'a> OneNotice<'a> {
    fn of(notice: &'a Notice) -> Self {
        let at = text::rfc3339(notice.at_ms);
        Self { key: &notice.key, kind: notice.kind, at_ms: notice.at_ms, at, alert: Shown::of(&notice.alert) }
    }
}

/// The message as JSON.
pub(super) fn json(message: &Message, host: &str) -> String {
    let told = match message {
        Message::One(notice) => Told::One(Box::new(OneNotice::of(notice))),
        Message::Digest { key, notices } => {
            Told::Digest { kind: "digest", key, notices: notices.iter().map(OneNotice::of).collect() }
        }
    };
    let envelope = Envelope { schema: SCHEMA, told, host, supervisor_version: env!("CARGO_PKG_VERSION") };
    // Maps with other keys than text are all that this can fail at, and there are none.
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// The value of `X-Supervisor-Signature` for what is sent at `seconds` since 1970.
pub(super) fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::alert::testing::{digest, notice};

    #[test]
    fn a_notice_has_the_documented_members_and_no_other() {
        let notice = notice(NoticeKind::Fired);
        let told: Value = serde_json::from_str(&super::json(&Message::One(Box::new(notice.clone())), "mac")).unwrap();
        let expected = json!({
            "schema": 1, "key": "0123456789ab.0", "kind": "fired", "at_ms": notice.at_ms, "at": "2026-07-31T10:00:00.5Z",
            "host": "mac", "supervisor_version": env!("CARGO_PKG_VERSION"),
            "alert": {
                "id": "0123456789ab", "rule": "crash-loop", "service": "gateway", "cause": "crash", "severity": "critical",
                "state": "open", "title": notice.alert.title, "since_ms": notice.alert.since_ms,
                "fired_ms": notice.alert.fired_ms, "last_ms": notice.alert.last_ms, "count": 3,
                "facts": notice.alert.facts, "tail": notice.alert.tail, "doing": notice.alert.doing,
                "advice": notice.alert.advice, "fingerprint": "f00d", "reminders": 0, "outcome": "",
            },
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_digest_has_each_notice_under_a_key_of_its_own() {
        let digest = digest(3);
        let told: Value = serde_json::from_str(&super::json(&digest, "mac")).unwrap();
        assert_eq!((&told["kind"], &told["key"], &told["schema"]), (&json!("digest"), &json!(digest.key()), &json!(1)));
        let notices = told["notices"].as_array().unwrap();
        assert_eq!(notices.len(), 3);
        assert!(notices.iter().zip(digest.notices()).all(|(told, notice)| told["key"] == notice.key.as_str()));
        let members: Vec<&String> = told.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 6, "{members:?}");
    }

    /// Worked out with `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret`.
    #[test]
    fn the_signature_is_what_others_work_out() {
        assert_eq!(
            signature("s3cret", 1_700_000_000, "{\"a\":1}"),
            "t=1700000000,v1=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940"
        );
    }
}
