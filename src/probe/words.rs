//! What answers say to people.

use std::time::Duration;

use crate::model::{Answer, ProbeKind};

/// What is asked, as it stands before what came of it. Without a query, which may hold a token.
pub(super) fn subject(kind: &ProbeKind) -> String {
    match kind {
        ProbeKind::Http(url) | ProbeKind::Mcp(url) | ProbeKind::Ws(url) => without_query(url),
        ProbeKind::Tcp(address) => address.clone(),
        ProbeKind::Unix(path) => path.display().to_string(),
        ProbeKind::HttpUnix { socket, path } => format!("{} of the socket {}", without_query(path), socket.display()),
        ProbeKind::Exec(argv) => argv.first().map_or_else(|| "the check".into(), |program| excerpt(program, 200)),
        ProbeKind::HeartbeatFile(path) => path.display().to_string(),
        ProbeKind::Notify => "WATCHDOG=1".into(),
    }
}

/// A URL up to its query.
pub(super) fn without_query(url: &str) -> String {
    match url.split_once(['?', '#']) {
        Some((before, _)) => format!("{before}?..."),
        None => url.to_owned(),
    }
}

/// The answer with its subject before its text.
pub(super) fn about(subject: &str, answer: Answer) -> Answer {
    let with = |text: String| format!("{subject}: {text}");
    match answer {
        Answer::Unwell(text) => Answer::Unwell(with(text)),
        Answer::Slow(text) => Answer::Slow(with(text)),
        Answer::Misasked(text) => Answer::Misasked(with(text)),
        Answer::Silent(text) => Answer::Silent(with(text)),
        Answer::Failed(text) => Answer::Failed(with(text)),
        Answer::NotAsked(text) => Answer::NotAsked(with(text)),
        Answer::Good | Answer::Beat(_) => answer,
    }
}

/// What an answer that is not good says.
pub(super) fn text_of(answer: Answer) -> String {
    match answer {
        Answer::Unwell(text)
        | Answer::Slow(text)
        | Answer::Misasked(text)
        | Answer::Silent(text)
        | Answer::Failed(text)
        | Answer::NotAsked(text) => text,
        Answer::Good | Answer::Beat(_) => String::new(),
    }
}

/// The first line with something in it, at most `most` characters; what a terminal would obey is taken out.
pub(super) fn excerpt(text: &str, most: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut plain = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut kept: String = plain.by_ref().take(most).collect();
    if plain.next().is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

/// A length of time, in milliseconds.
pub(super) fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
