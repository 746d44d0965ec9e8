//! What is posted, read: one object, an array of objects, or one object after the other (NDJSON). A body is taken as a whole or not at
//! all, and what is wrong with it is said with the event's number and the member's name.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::model::Emitted;

/// Events in one body.
pub(super) const MOST_EVENTS: usize = 10_000;

/// One event's metadata as JSON, bytes.
const LONGEST_METADATA: usize = 256 << 10;

/// A name (`event_type`, `category`, `service_name`) or a key, bytes.
const LONGEST_NAME: usize = 256;

/// Characters of a name or a text that an answer repeats.
const SHOWN: usize = 80;

/// In place of a category.
const CATEGORY: &str = "app";

/// Before this (1973) a number of milliseconds is rather one of seconds.
const LEAST_MS: i64 = 100_000_000_000;

/// From here on (the year 10000) it is rather one of microseconds.
const MOST_MS: i64 = 253_402_300_800_000;

/// Members that have a column of their own, with what they are called in tables that other programs have made.
const EVENT_TYPE: [&str; 2] = ["event_type", "action"];

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which event, from 1; `None` when the body cannot be read at all.
    pub(super) event: Option<usize>,
    /// Which of its members.
    pub(super) member: Option<String>,
    /// What is wrong, and what to do.
    pub(super) message: String,
}

/// Reads a body that came at `now_ms`. `key` stands for the request as a whole: its events get keys of their own by it.
pub(super) fn read(body: &[u8], now_ms: i64, key: Option<&str>) -> Result<Vec<Emitted>, Fault> {
    let whole = |message: String| Fault { event: None, member: None, message };
    let longest_key = LONGEST_NAME - 8;
    let wrong = match key {
        Some("") => Some("is empty"),
        Some(key) if key.len() > longest_key => Some("is too long"),
        Some(key) if key.contains('\0') => Some("holds a NUL character"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(whole(format!("the header Idempotency-Key {wrong}; it has 1 to {longest_key} bytes")));
    }
    let mut values = Vec::new();
    let mut is_list = false;
    for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        let value = value.map_err(|e| {
            let what = if e.is_eof() { "it ends too early" } else { "it is no JSON" };
            whole(format!("the body cannot be read, {what}: {e}"))
        })?;
        match value {
            _ if is_list => {
                return Err(whole("something follows the array: send one array, or one object a line".into()));
            }
            Value::Array(list) if values.is_empty() => (values, is_list) = (list, true),
            other => values.push(other),
        }
        if values.len() > MOST_EVENTS {
            return Err(whole(format!("the body has more than {MOST_EVENTS} events: send it in parts")));
        }
    }
    if values.is_empty() && !is_list {
        return Err(whole("the body is empty: send an object, an array of objects, or one object a line".into()));
    }
    let single = values.len() == 1;
    let event = |(at, value): (usize, Value)| {
        let mut event = one(value, now_ms).map_err(|wrong| wrong.in_event(at + 1))?;
        if let Some(key) = key.filter(|_| event.key.is_none()) {
            event.key = Some(if single { key.to_owned() } else { format!("{key}#{}", at + 1) });
        }
        Ok(event)
    };
    values.into_iter().enumerate().map(event).collect()
}

/// What is wrong with one event.
struct Wrong {
    member: Option<String>,
    message: String,
}

impl Wrong {
    fn of(member: &str, message: impl AsRef<str>) -> Self {
        let member = shown(member);
        Self { member: Some(member.to_string()), message: format!("`{member}` {}", message.as_ref()) }
    }

    fn in_event(self, number: usize) -> Fault {
        let message = format!("event {number}: {}", self.message);
        Fault { event: Some(number), member: self.member, message }
    }
}

fn one(value: Value, now_ms: i64) -> Result<Emitted, Wrong> {
    let Value::Object(mut members) = value else {
        let message = format!("it is {}, not an object", kind(&value));
        return Err(Wrong { member: None, message });
    };
    let timestamp_ms = match members.remove("timestamp") {
        None => now_ms,
        Some(value) => timestamp(&value).map_err(|message| Wrong::of("timestamp", message))?,
    };
    let [named, older] = EVENT_TYPE;
    let event_type = match text(&mut members, named)? {
        Some(name) => name,
        None => text(&mut members, older)?.ok_or_else(|| {
            Wrong::of(named, "is missing: it is a text that says what happened, such as \"message_sent\"")
        })?,
    };
    let category = text(&mut members, "category")?.unwrap_or_else(|| CATEGORY.to_owned());
    let service = text(&mut members, "service_name")?;
    let key = text(&mut members, "idempotency_key")?;
    let mut metadata = match members.remove("metadata") {
        None => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => return Err(Wrong::of("metadata", format!("is {}, not an object", kind(&other)))),
    };
    for (name, value) in members {
        if metadata.contains_key(&name) {
            return Err(Wrong::of(&name, "stands in the event and in its metadata: leave one of them out"));
        }
        metadata.insert(name, value);
    }
    let length = serde_json::to_vec(&metadata).map_or(usize::MAX, |text| text.len());
    if length > LONGEST_METADATA {
        let message =
            format!("has {length} bytes with the members that are not known, and may have {LONGEST_METADATA}");
        return Err(Wrong::of("metadata", message));
    }
    Ok(Emitted { timestamp_ms, category, event_type, service, metadata, key })
}

/// A text that is not empty, where the member is there.
fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Wrong> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(Wrong::of(name, "is empty")),
        Some(Value::String(text)) if text.len() > LONGEST_NAME => {
            Err(Wrong::of(name, format!("has {} bytes, and may have {LONGEST_NAME}", text.len())))
        }
        Some(Value::String(text)) if text.contains('\0') => Err(Wrong::of(name, "holds a NUL character")),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null) => Err(Wrong::of(name, "is null: write a text, or leave it out")),
        Some(other) => Err(Wrong::of(name, format!("is {}, not a text", kind(&other)))),
    }
}

/// Milliseconds since 1970, or ISO 8601 with its offset.
fn timestamp(value: &Value) -> Result<i64, String> {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|ms| ms.fract() == 0.0 && ms.abs() < 1e18).map(|ms| ms as i64);
            match number.as_i64().or(whole) {
                Some(ms) if (LEAST_MS..MOST_MS).contains(&ms) => Ok(ms),
                Some(ms) if (0..LEAST_MS).contains(&ms) => {
                    Err(format!("is {ms}, which looks like seconds; it is in milliseconds since 1970"))
                }
                _ => {
                    Err(format!("is {number}; it is a whole number of milliseconds since 1970, before the year 10000"))
                }
            }
        }
        Value::String(text) => match text.parse::<jiff::Timestamp>() {
            // A clock that was never set says 1970, and what it tells is kept all the same.
            Ok(at) if at.as_millisecond() < 0 => Err(format!("is {:?}, which is before 1970", shown(text))),
            Ok(at) => Ok(at.as_millisecond()),
            Err(_) => Err(format!(
                "is {:?}; as a text it is ISO 8601 with its offset, such as \"2026-11-22T07:55:00.000Z\"",
                shown(text)
            )),
        },
        Value::Null => Err("is null: write a time, or leave it out".into()),
        other => Err(format!("is {}; it is milliseconds since 1970, or ISO 8601 as a text", kind(other))),
    }
}

/// As much of what was sent as an answer repeats: whoever sends megabytes is not sent them back.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_795_334_100_000;

    fn fault(body: &str) -> (Option<usize>, Option<String>, String) {
        let fault = read(body.as_bytes(), NOW, None).unwrap_err();
        (fault.event, fault.member, fault.message)
    }

    #[test]
    fn an_object_an_array_and_lines_are_the_same() {
        let event = json!({
            "timestamp": NOW - 5, "category": "hook", "event_type": "sent", "service_name": "gateway",
            "metadata": { "a": 1 }, "b": [2], "idempotency_key": "k",
        });
        let wanted = Emitted {
            timestamp_ms: NOW - 5,
            category: "hook".into(),
            event_type: "sent".into(),
            service: Some("gateway".into()),
            metadata: json!({ "a": 1, "b": [2] }).as_object().unwrap().clone(),
            key: Some("k".into()),
        };
        for (body, count) in [
            (event.to_string(), 1),
            (format!(" [{event}] \n"), 1),
            (format!("[{event},{event}]"), 2),
            (format!("{event}\n{event}\r\n\n{event}"), 3),
        ] {
            assert_eq!(read(body.as_bytes(), NOW, None).unwrap(), vec![wanted.clone(); count], "{body}");
        }
        assert_eq!(read(b"[]", NOW, None).unwrap(), []);
        let least = read(br#"{"action":"x"}"#, NOW, None).unwrap().remove(0);
        assert_eq!((least.timestamp_ms, least.category.as_str(), least.event_type.as_str()), (NOW, "app", "x"));
    }

    #[test]
    fn a_number_is_the_one_that_was_sent_also_after_it_has_waited_in_the_spool() {
        let body =
            br#"{"event_type":"x","a":1234567890123456789012345678,"b":18446744073709551615,"c":-0.0,"d":1e308}"#;
        let event = read(body, NOW, None).unwrap().remove(0);
        assert_eq!(event.metadata["a"].as_f64(), Some(1_234_567_890_123_456_789_012_345_678.0));
        let waited: Emitted = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        assert_eq!(waited, event);
    }

    #[test]
    fn a_request_with_a_key_gives_its_events_keys() {
        let keys = |body: &str| {
            let events = read(body.as_bytes(), NOW, Some("r")).unwrap();
            events.into_iter().map(|event| event.key.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(keys(r#"{"event_type":"x"}"#), ["r"]);
        assert_eq!(keys(r#"[{"event_type":"x"},{"event_type":"y","idempotency_key":"own"}]"#), ["r#1", "own"]);
        assert!(read(b"{}", NOW, Some("")).is_err() && read(b"{}", NOW, Some(&"k".repeat(300))).is_err());
        assert!(read(b"{}", NOW, Some("a\0")).unwrap_err().message.contains("NUL"));
    }

    #[test]
    fn times_are_milliseconds_or_iso() {
        let at = |value: &str| {
            let body = format!(r#"{{"event_type":"x","timestamp":{value}}}"#);
            read(body.as_bytes(), NOW, None).map(|events| events[0].timestamp_ms).map_err(|fault| fault.message)
        };
        assert_eq!(at("1795334100000"), Ok(NOW));
        assert_eq!(at("1795334100000.0"), Ok(NOW));
        assert_eq!(at("\"2026-11-22T07:55:00Z\""), Ok(NOW));
        assert_eq!(at("\"1970-01-01T00:00:00Z\""), Ok(0));
        assert_eq!(at("\"2026-11-22T08:55:00.250+01:00\""), Ok(NOW + 250));
        for (value, says) in [
            ("1795334100", "looks like seconds"),
            ("1795334100000000", "before the year 10000"),
            ("1.5", "whole number"),
            ("-1", "whole number"),
            ("1e300", "whole number"),
            ("\"yesterday\"", "ISO 8601"),
            ("\"1969-12-31T23:59:59.999Z\"", "before 1970"),
            ("\"2026-11-22T07:55:00\"", "with its offset"),
            ("null", "is null"),
            ("[]", "is an array"),
        ] {
            let message = at(value).unwrap_err();
            assert!(message.starts_with("event 1: `timestamp` ") && message.contains(says), "{value}: {message}");
        }
    }

    #[test]
    fn null_is_no_value_of_any_member_that_has_a_column_and_one_of_those_that_have_none() {
        for member in ["timestamp", "event_type", "action", "category", "service_name", "idempotency_key"] {
            let mut event = json!({ "event_type": "x", member: null });
            if member == "action" {
                event.as_object_mut().unwrap().remove("event_type");
            }
            let (number, named, message) = fault(&event.to_string());
            assert_eq!((number, named.as_deref()), (Some(1), Some(member)), "{message}");
            assert!(message.contains("is null: write a ") && message.contains("leave it out"), "{message}");
        }
        assert!(fault(r#"{"event_type":"x","metadata":null}"#).2.contains("`metadata` is null, not an object"));
        let unknown = read(br#"{"event_type":"x","a":null,"metadata":{"b":null}}"#, NOW, None).unwrap().remove(0);
        assert_eq!(Value::from(unknown.metadata), json!({ "a": null, "b": null }));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_events_number_and_the_members_name() {
        for (body, event, member, says) in [
            ("", None, None, "is empty"),
            ("  \n", None, None, "is empty"),
            ("{", None, None, "ends too early"),
            ("{]", None, None, "no JSON"),
            ("[] []", None, None, "follows the array"),
            ("[{\"event_type\":\"x\"}]{}", None, None, "follows the array"),
            ("3", Some(1), None, "a number, not an object"),
            ("null", Some(1), None, "null, not an object"),
            ("[[]]", Some(1), None, "an array, not an object"),
            ("{}", Some(1), Some("event_type"), "is missing"),
            ("{\"event_type\":\"x\"}\n{\"event_type\":null}", Some(2), Some("event_type"), "is null"),
            ("{\"event_type\":\"\"}", Some(1), Some("event_type"), "is empty"),
            ("{\"event_type\":7}", Some(1), Some("event_type"), "a number, not a text"),
            ("{\"event_type\":\"a\\u0000\"}", Some(1), Some("event_type"), "NUL"),
            ("{\"event_type\":\"x\",\"service_name\":null}", Some(1), Some("service_name"), "leave it out"),
            ("{\"event_type\":\"x\",\"category\":{}}", Some(1), Some("category"), "an object, not a text"),
            ("{\"event_type\":\"x\",\"metadata\":\"{}\"}", Some(1), Some("metadata"), "a text, not an object"),
            ("{\"event_type\":\"x\",\"a\":1,\"metadata\":{\"a\":2}}", Some(1), Some("a"), "leave one of them out"),
        ] {
            let (found, named, message) = fault(body);
            assert_eq!((found, named.as_deref()), (event, member), "{body}: {message}");
            assert!(message.contains(says), "{body}: {message}");
        }
        let long = format!(r#"{{"event_type":"x","a":"{}"}}"#, "y".repeat(LONGEST_METADATA));
        assert_eq!(fault(&long).1.as_deref(), Some("metadata"));
        let name = format!(r#"{{"event_type":"{}"}}"#, "y".repeat(LONGEST_NAME + 1));
        assert!(fault(&name).2.contains("may have 256"));
        for long in [
            format!(r#"{{"event_type":"x","timestamp":"{}"}}"#, "é".repeat(1 << 20)),
            format!(r#"{{"event_type":"x","{0}":1,"metadata":{{"{0}":1}}}}"#, "é".repeat(1 << 20)),
        ] {
            let (_, member, message) = fault(&long);
            assert!(member.unwrap().len() < 300 && message.len() < 600, "little of it is sent back");
        }
        let many = "{\"event_type\":\"x\"}".repeat(MOST_EVENTS + 1);
        assert!(fault(&many).2.contains("in parts"));
        let deep = format!("{{\"event_type\":\"x\",\"a\":{}", "[".repeat(100_000));
        assert_eq!(fault(&deep).0, None, "it does not use up the stack");
    }

    proptest! {
        #[test]
        fn whatever_comes_it_is_events_or_a_fault(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(events) = read(&body, NOW, None) {
                prop_assert!(events.iter().all(|event| !event.event_type.is_empty()));
            }
        }

        #[test]
        fn what_is_nearly_right_is_events_or_a_fault_with_its_place(
            body in r#"(\{("(event_type|timestamp|metadata|category|action|idempotency_key|x)":(null|1|"x"|\{\}|\[1\]|1795334100000),?){0,4}\}[\n ]?){1,3}"#
        ) {
            match read(body.as_bytes(), NOW, None) {
                Ok(events) => prop_assert!(!events.is_empty()),
                Err(fault) => prop_assert!(fault.event.is_some() || fault.message.contains("the body"), "{}", fault.message),
            }
        }
    }
}
