//! What Slack gets: blocks, and the same in plain text.
//!
//! Nothing that comes from a service is put where Slack reads marks: blocks hold it as `plain_text` or as elements of
//! `rich_text`, and the `text` that stands for the blocks in notifications is escaped and has no marks read in it. Lengths are
//! counted as the longest that anybody could count: UTF-16, after escaping.

use serde_json::{Value, json};

use super::text;
use crate::model::{Message, Notice, Severity};

/// Slack's own bounds.
const HEADER: usize = 150;
const SECTION: usize = 3000;
/// Of the text that stands for the blocks. Slack takes more, and cuts it.
const TEXT: usize = 3500;
/// Of the tail: what a message is refused for is the sum of its blocks, which is not written down; it is known to be
/// above 13 000.
const TAIL: usize = 2500;
/// Of all lines of a digest together, for the same reason.
const LINES: usize = 7000;

/// Blocks, with the text that stands for them.
pub(super) fn rich(message: &Message, host: &str) -> Value {
    let mut blocks = match message {
        Message::One(notice) => one(notice, host),
        Message::Digest { key, .. } => {
            let mut blocks = vec![header(&text::subject(message))];
            blocks.extend(sections(&digest_lines(message)));
            blocks.extend(sections(&format!("{host}, digest {key} of {}", text::keys(message))));
            blocks
        }
    };
    // There are never so many; if there were, it would be refused as a whole.
    blocks.truncate(50);
    let mut payload = plain(message, host);
    payload["text"] = json!(escape(&format!("{} ({host})", text::subject(message)), TEXT));
    payload["blocks"] = json!(blocks);
    payload
}

/// The same without blocks.
pub(super) fn plain(message: &Message, host: &str) -> Value {
    let told = match message {
        Message::One(_) => text::full(message, host),
        Message::Digest { key, .. } => format!(
            "{} ({host})\n{}\ndigest {key} of {}",
            text::subject(message),
            digest_lines(message),
            text::keys(message)
        ),
    };
    // Every key of a digest has to be in it.
    let most = if matches!(message, Message::One(_)) { TEXT } else { usize::MAX };
    json!({ "text": escape(&told, most), "mrkdwn": false, "unfurl_links": false, "unfurl_media": false })
}

fn one(notice: &Notice, host: &str) -> Vec<Value> {
    let mark = match (notice.alert.is_open(), notice.alert.severity) {
        (false, _) => "\u{2705}",
        (true, Severity::Critical) => "\u{1f534}",
        (true, Severity::Warning) => "\u{1f7e0}",
        (true, Severity::Info) => "\u{2139}\u{fe0f}",
    };
    let mut blocks = vec![header(&format!("{mark} {}", text::headline(notice)))];
    blocks.extend(sections(&cut(&text::body(notice), 2 * SECTION)));
    let tail = cut(&notice.alert.tail.join("\n"), TAIL);
    // An element without text is refused.
    if !tail.trim().is_empty() {
        let element = json!({ "type": "text", "text": tail });
        blocks.push(json!({
            "type": "rich_text",
            "elements": [{ "type": "rich_text_preformatted", "elements": [element] }],
        }));
    }
    let foot = cut(&text::foot(notice, host), SECTION);
    blocks.push(json!({ "type": "context", "elements": [plain_text(&foot)] }));
    blocks
}

fn digest_lines(message: &Message) -> String {
    let notices = message.notices();
    let most = (LINES / notices.len().max(1)).clamp(30, 200);
    let lines: Vec<String> =
        notices.iter().map(|notice| format!("\u{2022} {}", cut(&text::line(notice, most), most))).collect();
    lines.join("\n")
}

fn plain_text(text: &str) -> Value {
    // Words between colons stay words.
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

fn header(text: &str) -> Value {
    json!({ "type": "header", "text": plain_text(&cut(text, HEADER)) })
}

/// The text in as many sections as it takes, each ending at the end of a line or word where it can.
fn sections(text: &str) -> Vec<Value> {
    let mut blocks = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut end = fitting(rest, SECTION);
        if end < rest.len() {
            let gap = rest[..end].rfind('\n').or_else(|| rest[..end].rfind(' '));
            end = gap.filter(|gap| *gap > 0).unwrap_or(end);
        }
        blocks.push(json!({ "type": "section", "text": plain_text(rest[..end].trim_end()) }));
        rest = rest[end..].trim_start();
    }
    blocks
}

/// How long a character is for Slack.
fn length(c: char) -> usize {
    match c {
        '&' => 5,
        '<' | '>' => 4,
        // As JSON writes them.
        c if c.is_control() => 6,
        c => c.len_utf16(),
    }
}

/// How many bytes of the text fit.
fn fitting(text: &str, most: usize) -> usize {
    let mut used = 0;
    let over = text.char_indices().find(|(_, c)| {
        used += length(*c);
        used > most
    });
    over.map_or(text.len(), |(at, _)| at)
}

fn cut(text: &str, most: usize) -> String {
    match fitting(text, most) {
        whole if whole == text.len() => text.to_owned(),
        _ => format!("{}…", &text[..fitting(text, most - 1)]),
    }
}

/// For where `&`, `<` and `>` mean something.
fn escape(text: &str, most: usize) -> String {
    cut(text, most).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[path = "slack_tests.rs"]
mod tests;
