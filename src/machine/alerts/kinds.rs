//! Which crashes are the same crash: how it ended, with the complaint freed of what differs from time to time.

use super::identity::digest;
use crate::model::LastExit;
use crate::policy::redact;

/// Words that a line with the complaint has, lower case.
const COMPLAINTS: [&str; 10] =
    ["error", "exception", "fatal", "panic", "traceback", "failed", "cannot", "abort", "assert", "not found"];

/// How much of a complaint is kept, characters.
const SAMPLE: usize = 120;

/// Lines of a tail that are looked at, from its end.
const LINES: usize = 200;

/// One crash's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) fingerprint: String,
    pub(super) sample: String,
}

/// The kind of a crash. `oom`: what ran out of memory, where the end itself told so; nothing else it says matters then.
pub(super) fn kind(exit: &LastExit, oom: Option<&str>, tail: &str) -> Told {
    let how = match (&exit.signal, exit.code) {
        (Some(signal), _) => signal.clone(),
        (None, Some(code)) => crate::machine::words::code_text(code),
        (None, None) => "an end nobody saw".into(),
    };
    if let Some(oom) = oom {
        return Told {
            fingerprint: digest(&format!("{how}\nout of memory\n{oom}"), 8),
            sample: format!("{how}: out of memory ({oom})"),
        };
    }
    let complaint = complaint(tail);
    let fingerprint = digest(&format!("{how}\n{}", normalised(&complaint)), 8);
    let sample = if complaint.is_empty() { how } else { format!("{how}: {}", cut(&complaint, SAMPLE)) };
    Told { fingerprint, sample }
}

/// The first `most` characters, with a mark where there were more.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The last line that complains, or the last of all; what a line that ends with a colon announces belongs to it.
fn complaint(tail: &str) -> String {
    let lines: Vec<&str> = tail.lines().map(str::trim).filter(|line| is_speech(line)).collect();
    let lines = &lines[lines.len().saturating_sub(LINES)..];
    let complains = |line: &&str| {
        let line = line.to_ascii_lowercase();
        !is_frame(&line) && COMPLAINTS.iter().any(|word| line.contains(word))
    };
    let Some(at) = lines.iter().rposition(complains).or(lines.len().checked_sub(1)) else { return String::new() };
    // What a panic says follows its place.
    let announced = match (lines[at].ends_with(':'), lines.get(at + 1)) {
        (true, Some(next)) => format!("{} {next}", lines[at]),
        _ => lines[at].to_owned(),
    };
    redact(&announced)
}

/// Whether a line has words at all: not the carets and rulers that stand between.
fn is_speech(line: &str) -> bool {
    line.chars().any(char::is_alphabetic)
}

/// A line of a stack trace, or the hint on how to get one.
fn is_frame(line: &str) -> bool {
    line.starts_with("at ")
        || line.starts_with("file \"")
        || line.starts_with("note: ")
        || line.starts_with("node.js v")
}

/// The line with numbers, ids, addresses, times and temporary paths taken out.
fn normalised(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if let Some(temporary) = ["/tmp/", "/var/tmp/", "/var/folders/"].iter().find(|p| rest.starts_with(**p)) {
            let end = rest.find(|c: char| c.is_whitespace() || "'\"`:,;)>".contains(c)).unwrap_or(rest.len());
            out.push_str(temporary);
            out.push('*');
            rest = &rest[end.max(temporary.len())..];
            continue;
        }
        if !is_word(first) {
            // Columns are as wide as the numbers in them.
            if !(first.is_whitespace() && out.ends_with(char::is_whitespace)) {
                out.push(first);
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        push_word(&mut out, &rest[..end]);
        rest = &rest[end..];
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

fn push_word(out: &mut String, word: &str) {
    const NAMES: [&str; 19] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Mon", "Tue", "Wed", "Thu",
        "Fri", "Sat", "Sun",
    ];
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let bare = word.strip_prefix("0x").unwrap_or(word);
    let is_hex = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let turns = word.as_bytes().windows(2).filter(|p| p[0].is_ascii_digit() != p[1].is_ascii_digit()).count();
    if NAMES.contains(&word) {
        out.push('#');
    } else if is_hex && digits > 0 && (bare.len() != word.len() || (bare.len() >= 8 && digits < bare.len()))
        || (word.len() >= 8 && turns >= 4 && !word.contains(['-', '_']))
    {
        out.push_str("<id>");
    } else {
        let mut in_number = false;
        for c in word.chars() {
            if c.is_ascii_digit() && !in_number {
                out.push('#');
            } else if !c.is_ascii_digit() {
                out.push(c);
            }
            in_number = c.is_ascii_digit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Exit, ExitClass, Signal};

    fn of(code: i32, tail: &str) -> Told {
        kind(&LastExit::new(ExitClass::Crash, Exit::Code(code), 0), None, tail)
    }

    #[test]
    fn what_differs_from_time_to_time_makes_no_kind() {
        let pairs = [
            (
                "Error: listen EADDRINUSE: address already in use 127.0.0.1:18789",
                "Error: listen EADDRINUSE: address already in use 10.0.0.12:80",
            ),
            ("2026-11-22T10:03:00.123Z ERROR worker 12 failed", "2026-01-02T23:59:59.9Z ERROR worker 7 failed"),
            ("Nov  2 10:03:00 host app[123]: fatal: gone", "Dec 31 23:00:01 host app[9]: fatal: gone"),
            (
                "request 5f0c1c3e-9f0b-4c57-8a54-0d5b8a0e7b11 failed",
                "request 00000000-9f0b-4c57-8a54-0d5b8a0e7b12 failed",
            ),
            ("segfault error at 0xdeadbeef", "segfault error at 0x1"),
            ("cannot open '/tmp/abcXyZ/socket'", "cannot open '/tmp/q/socket'"),
            ("cannot open /var/folders/zz/zy/T/x1 now", "cannot open /var/folders/aa/b/T/y now"),
            ("commit 9fceb02d0ae598e9 not found", "commit 1a2b3c4d5e6f7a8b not found"),
            ("lock of a1b2c3d4e5 failed", "lock of z9y8x7w6v5 failed"),
            ("Error: x\n    at f (/app/a.js:10:3)\n    at g", "Error: x\n    at h (/app/b.js:1:99)"),
            (
                "thread 'main' panicked at src/main.rs:5:9:\nboom\nnote: run with `RUST_BACKTRACE=1`",
                "thread 'main' panicked at src/main.rs:77:1:\nboom\n",
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    x()\nValueError: no 3",
                "Traceback (most recent call last):\n  File \"b.py\", line 9, in g\n    y()\nValueError: no 4",
            ),
        ];
        for (one, other) in pairs {
            assert_eq!(
                of(1, one).fingerprint,
                of(1, other).fingerprint,
                "{one:?} and {other:?}: {} / {}",
                normalised(&complaint(one)),
                normalised(&complaint(other))
            );
        }
    }

    #[test]
    fn another_end_or_another_complaint_makes_another_kind() {
        let texts = [
            "Error: listen EADDRINUSE",
            "Error: listen EACCES",
            "ValueError: no",
            "KeyError: no",
            "",
            "bye",
            "thread 'main' panicked at src/main.rs:5:9:\nboom",
            "thread 'main' panicked at src/main.rs:5:9:\nbang",
            "cannot read utf8",
            "cannot read sha256 sums",
        ];
        let kinds: std::collections::BTreeSet<String> = texts.iter().map(|text| of(1, text).fingerprint).collect();
        assert_eq!(kinds.len(), texts.len());
        assert_ne!(of(1, "bye").fingerprint, of(2, "bye").fingerprint);
        let killed = LastExit::new(ExitClass::Crash, Exit::Signal { signal: Signal::KILL, core: false }, 0);
        assert_ne!(kind(&killed, None, "bye").fingerprint, of(1, "bye").fingerprint);
    }

    #[test]
    fn the_sample_is_short_and_says_how_it_ended() {
        assert_eq!(of(78, "\n^^^\nError: bad\n   at x").sample, "exit code 78 (EX_CONFIG): Error: bad");
        assert_eq!(of(3, "").sample, "exit code 3");
        let long = of(1, &format!("Error: {}", "ä".repeat(500))).sample;
        assert!(long.chars().count() < 150 && long.ends_with('…'), "{long}");
        let abort = LastExit::new(ExitClass::Crash, Exit::Signal { signal: Signal::ABRT, core: true }, 0);
        let told = kind(&abort, Some("v8"), "FATAL ERROR: 1 MB");
        assert_eq!(told.sample, "SIGABRT: out of memory (v8)");
        assert_eq!(told.fingerprint, kind(&abort, Some("v8"), "FATAL ERROR: other").fingerprint);
    }
}
