//! What is posted to the event server, whatever it is: events or a fault, never a panic; and what is taken can be written out and read
//! again to the same events.
#![no_main]

#[path = "../../src/emit/body.rs"]
mod body;
#[path = "../../src/model/emitted.rs"]
#[allow(dead_code)]
mod emitted;

/// Where `body` looks for it.
mod model {
    pub use crate::emitted::Emitted;
}

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

use body::{Fault, MOST_EVENTS, read};
use model::Emitted;

const NOW: i64 = 1_795_334_100_000;

/// A fault repeats little of what was sent.
const LONGEST_MESSAGE: usize = 4096;

fuzz_target!(|input: &[u8]| {
    // The first line, where it begins so, is the request's key.
    let (key, body) =
        match input.strip_prefix(b"#").and_then(|rest| rest.split_at_checked(rest.iter().position(|b| *b == b'\n')?)) {
            Some((key, body)) => (std::str::from_utf8(key).ok(), &body[1..]),
            None => (None, input),
        };
    match read(body, NOW, key) {
        Ok(events) => taken(body, &events, key),
        Err(fault) => refused(&fault),
    }
});

fn taken(body: &[u8], events: &[Emitted], key: Option<&str>) {
    assert!(events.len() <= MOST_EVENTS && events.len() * 2 <= body.len().max(2), "more events than were sent");
    let mut size = 0;
    for event in events {
        assert!(!event.event_type.is_empty() && !event.category.is_empty());
        for name in [Some(&event.event_type), Some(&event.category), event.service.as_ref(), event.key.as_ref()]
            .into_iter()
            .flatten()
        {
            assert!(name.len() <= 256 && !name.contains('\0'), "{name:?}");
        }
        assert!(key.is_none() || event.key.is_some(), "a request's key is a key for each of its events");
        size += serde_json::to_vec(event).unwrap().len();
    }
    // A number may be written longer than it was sent (1e9, 1E400 are told apart by serde_json), names of members are not repeated.
    assert!(size <= body.len() * 24 + events.len() * 1024, "{size} bytes of {}", body.len());
    let again =
        |body: String| read(body.as_bytes(), NOW + 1, None).unwrap_or_else(|fault| panic!("{} {body}", fault.message));
    let values: Vec<Value> = events.iter().map(written).collect();
    assert_eq!(again(Value::from(values.clone()).to_string()), events, "as an array");
    if !values.is_empty() {
        assert_eq!(again(values.iter().map(|value| format!("{value}\n")).collect()), events, "one a line");
    }
    // As it waits in the spool.
    for event in events {
        let line = serde_json::to_string(event).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Emitted>(&line).unwrap(), *event);
    }
}

/// As a sender would write it.
fn written(event: &Emitted) -> Value {
    assert!(event.timestamp_ms >= 0);
    // A number before 1973 would be taken for seconds.
    let at = jiff::Timestamp::from_millisecond(event.timestamp_ms).unwrap();
    let timestamp =
        if event.timestamp_ms < 100_000_000_000 { json!(at.to_string()) } else { json!(event.timestamp_ms) };
    let mut value = json!({
        "timestamp": timestamp,
        "category": event.category,
        "event_type": event.event_type,
        "metadata": event.metadata,
    });
    for (name, text) in [("service_name", &event.service), ("idempotency_key", &event.key)] {
        if let Some(text) = text {
            value[name] = text.as_str().into();
        }
    }
    value
}

fn refused(fault: &Fault) {
    assert!(!fault.message.is_empty() && fault.message.len() <= LONGEST_MESSAGE, "{} bytes", fault.message.len());
    assert!(fault.event.is_none_or(|number| (1..=MOST_EVENTS).contains(&number)));
    assert!(fault.member.is_none() || fault.event.is_some(), "a member without its event");
    let whole = |member: &String| fault.message.contains(&format!("`{member}`"));
    assert!(fault.member.as_ref().is_none_or(whole), "{fault:?}");
}
