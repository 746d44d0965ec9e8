//! A message in plain text: for mail, the evidence file, and wherever nothing richer is taken.

use jiff::tz::TimeZone;

use crate::model::{AlertState, Message, Notice, NoticeKind};

/// What of it fits a line: the title, with what has become of it before.
pub(super) fn headline(notice: &Notice) -> String {
    let title = &notice.alert.title;
    match notice.kind {
        NoticeKind::Fired | NoticeKind::Note => title.clone(),
        NoticeKind::Reminder => format!("Still: {title}"),
        NoticeKind::Changed => format!("Changed: {title}"),
        NoticeKind::Resolved => format!("Resolved: {title}"),
    }
}

/// The headline of the whole message.
pub(super) fn subject(message: &Message) -> String {
    match message {
        Message::One(notice) => headline(notice),
        Message::Digest { notices, .. } => {
            format!("{} alerts that could not be told before", notices.len())
        }
    }
}

/// The time as this machine's clocks show it.
fn at(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => format!("{ms} ms after 1970"),
    }
}

/// The time for machines.
pub(super) fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// A notice of a digest on a line of at most so many characters.
pub(super) fn line(notice: &Notice, most: usize) -> String {
    let time = at(notice.at_ms);
    // Without the year and the zone.
    let time = time.get(5..16).unwrap_or(&time);
    shorten(&format!("{time} {}: {}", notice.alert.severity, headline(notice)), most)
}

/// The keys of what a message delivers.
pub(super) fn keys(message: &Message) -> String {
    let keys: Vec<&str> = message.notices().iter().map(|notice| notice.key.as_str()).collect();
    keys.join(" ")
}

/// All of a message, as a person reads it.
pub(super) fn full(message: &Message, host: &str) -> String {
    match message {
        Message::One(notice) => one(notice, host),
        Message::Digest { key, notices } => {
            let mut text = format!("{} from {host}:\n\n", subject(message));
            for notice in notices {
                text.push_str(&format!("- {}\n", line(notice, 300)));
            }
            text.push_str(&format!("\nDigest {key} of: {}\n", keys(message)));
            text
        }
    }
}

fn one(notice: &Notice, host: &str) -> String {
    let mut text = format!("{}\n\n", headline(notice));
    text.push_str(&body(notice));
    if !notice.alert.tail.is_empty() {
        text.push_str("\nLast lines of stderr:\n");
        for line in &notice.alert.tail {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text.push_str(&format!("\n{}\n", foot(notice, host)));
    text
}

/// What is known, what is done about it, and what could be; without the tail.
pub(super) fn body(notice: &Notice) -> String {
    let alert = &notice.alert;
    let mut text = String::new();
    if alert.state == AlertState::Resolved && !alert.outcome.is_empty() {
        text.push_str(&format!("{}\n", alert.outcome));
    }
    for fact in &alert.facts {
        text.push_str(&format!("{fact}\n"));
    }
    if alert.count > 1 {
        text.push_str(&format!("{} times since {}, last {}\n", alert.count, at(alert.since_ms), at(alert.last_ms)));
    } else {
        text.push_str(&format!("Since {}\n", at(alert.since_ms)));
    }
    if !alert.doing.is_empty() {
        text.push_str(&format!("\nMeanwhile: {}\n", alert.doing));
    }
    if !alert.advice.is_empty() {
        text.push_str("\nWhat you can do:\n");
        for line in &alert.advice {
            text.push_str(&format!("- {line}\n"));
        }
    }
    text
}

/// By what it can be found again.
pub(super) fn foot(notice: &Notice, host: &str) -> String {
    format!("{} on {host}, alert {} ({}), {}", notice.alert.severity, notice.alert.id, notice.alert.rule, notice.key)
}

/// No longer than so many characters; what is cut off is seen to be.
pub(super) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// No longer than so many bytes, cut between characters.
pub(super) fn shorten_bytes(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub('…'.len_utf8())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::testing::{digest, notice};
    use crate::model::NoticeKind;

    #[test]
    fn a_notice_says_all_and_its_key() {
        let notice = notice(NoticeKind::Fired);
        let text = full(&Message::One(Box::new(notice.clone())), "mac");
        for part in
            ["gateway crashed", "exit 1", "3 times since 20", "Meanwhile: starts it", "- look at", "    Error: listen"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.ends_with("critical on mac, alert 0123456789ab (crash-loop), 0123456789ab.0\n"), "{text}");
        let resolved = crate::alert::testing::notice(NoticeKind::Resolved);
        assert_eq!(headline(&resolved), format!("Resolved: {}", notice.alert.title));
        assert!(body(&resolved).starts_with("healthy for 10 min\n"));
    }

    #[test]
    fn a_digest_has_a_line_and_a_key_of_each() {
        let text = full(&digest(50), "mac");
        assert!(text.starts_with("50 alerts that could not be told before from mac:"));
        assert_eq!(text.lines().filter(|line| line.starts_with("- ")).count(), 50);
        assert!(digest(50).notices().iter().all(|notice| text.contains(&notice.key)));
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
        assert_eq!(shorten_bytes("äöü", 6), "äöü");
        assert_eq!(shorten_bytes("äöüß", 6), "ä…");
        assert_eq!(shorten_bytes("äöüß", 1), "…");
    }
}
