//! What ntfy gets: its JSON form, which takes any characters in a title, unlike headers.

use serde_json::{Value, json};

use super::http::Address;
use super::text;
use crate::model::{Message, Severity};

/// A longer body is made a file of, bytes.
const BODY: usize = 4096;
const TITLE: usize = 250;

/// Where it is posted, and what: the address of a topic is the server's, and the topic.
pub(super) fn publish(topic: &Address, message: &Message, host: &str) -> Result<(Address, Value), String> {
    let path = topic.path().trim_end_matches('/');
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() {
        return Err(format!("{} has no topic: write {}/TOPIC", topic.shown(), topic.shown()));
    }
    Ok((topic.with_path(&format!("{folder}/"))?, body(name, message, host)))
}

/// What is posted.
pub(super) fn body(topic: &str, message: &Message, host: &str) -> Value {
    let worst = message.notices().iter().filter(|n| n.alert.is_open()).map(|n| n.alert.severity).max();
    let (priority, tag) = match worst {
        Some(Severity::Critical) => (5, "rotating_light"),
        Some(Severity::Warning) => (4, "warning"),
        Some(Severity::Info) => (3, "information_source"),
        None => (3, "white_check_mark"),
    };
    // The key is at the end, and has to be there.
    let full = text::full(message, host);
    let foot = format!("\n{}", message.key());
    let told = match full.len() > BODY {
        true => format!("{}{foot}", text::shorten_bytes(&full, BODY - foot.len())),
        false => full,
    };
    let title = text::shorten(&text::subject(message), TITLE);
    json!({ "topic": topic, "title": title, "message": told, "priority": priority, "tags": [tag] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::testing::{digest, notice};
    use crate::model::NoticeKind;

    #[test]
    fn the_topic_is_the_last_part_and_the_rest_is_the_server() {
        let message = Message::One(Box::new(notice(NoticeKind::Fired)));
        let publish = |url: &str| publish(&Address::parse(url).unwrap(), &message, "mac");
        let (server, body) = publish("https://ntfy.sh/my-topic/").unwrap();
        assert_eq!((server.shown().as_str(), server.path()), ("https://ntfy.sh", "/"));
        assert_eq!(
            (&body["topic"], &body["priority"], &body["tags"]),
            (&json!("my-topic"), &json!(5), &json!(["rotating_light"]))
        );
        assert_eq!(publish("http://h:1/a/b").unwrap().0.path(), "/a/");
        assert!(publish("https://ntfy.sh/").err().unwrap().contains("write https://ntfy.sh/TOPIC"));
    }

    #[test]
    fn it_fits_and_keeps_its_key() {
        let mut long = notice(NoticeKind::Resolved);
        long.alert.tail = vec!["日本語".repeat(50); 100];
        long.alert.title = "é".repeat(1000);
        for message in [Message::One(Box::new(long)), digest(200)] {
            let (_, body) = publish(&Address::parse("http://h/t").unwrap(), &message, "mac").unwrap();
            let told = body["message"].as_str().unwrap();
            assert!(told.len() <= BODY && told.ends_with(message.key()), "{told}");
            assert!(body["title"].as_str().unwrap().chars().count() <= TITLE);
        }
    }
}
