//! What a text of a service's must not carry outside: secrets of known shapes and names, long words that look like luck, and
//! characters that do something to a terminal or to the direction of reading.
//!
//! A secret that looks like a word is not seen, and a word that looks like a secret is lost: where it cannot be known, it is
//! taken for one. Paths, stack traces, versions, UUIDs, times and digests that say what they are stay as they are.

const GONE: &str = "[redacted]";

/// The line as it may be shown to anybody: what looks like a secret is replaced by `[redacted]`, control characters (line ends
/// included) by a space or nothing.
pub fn redact(line: &str) -> String {
    let mut text = hide(&plain(line));
    // What stands before something that is now gone may look different without it; that it stays the same is seldom one try
    // more, and what never stays the same is not there.
    for _ in 0..2 {
        let again = hide(&text);
        if again == text {
            break;
        }
        text = again;
    }
    text
}

/// Without escape sequences, control characters, and what turns the direction of reading or is not seen.
fn plain(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => kept.push(' '),
            '\x1b' => match chars.next_if(char::is_ascii_graphic) {
                Some('[') => skip_control_sequence(&mut chars),
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut chars),
                _ => {}
            },
            '\u{9b}' => skip_control_sequence(&mut chars),
            c if c.is_control() => {}
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {}
            '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => {}
            c => kept.push(c),
        }
    }
    kept
}

/// Parameters, then one letter.
fn skip_control_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// A title, a link: up to BEL or ESC and a backslash. Where that does not come soon it was no such thing, and is shown.
fn skip_string(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut ahead = chars.clone();
    let end = ahead.by_ref().take(512).find(|c| matches!(c, '\x07' | '\x1b' | '\u{9c}'));
    if let Some(end) = end {
        if end == '\x1b' {
            ahead.next_if_eq(&'\\');
        }
        *chars = ahead;
    }
}

/// How tokens of known makers begin, and how many characters at least follow.
const SHAPES: [(&str, usize); 36] = [
    ("sk-", 16),
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("rk_live_", 8),
    ("rk_test_", 8),
    ("whsec_", 8),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
    ("github_pat_", 16),
    ("glpat-", 16),
    ("xoxa-", 8),
    ("xoxb-", 8),
    ("xoxe-", 8),
    ("xoxp-", 8),
    ("xoxr-", 8),
    ("xoxs-", 8),
    ("xapp-", 8),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ya29.", 16),
    ("npm_", 30),
    ("hf_", 20),
    ("gsk_", 20),
    ("xai-", 20),
    ("pypi-", 16),
    ("dop_v1_", 16),
    ("SG.", 20),
    ("tk_", 20),
    ("shpat_", 16),
    ("lin_api_", 16),
    ("eyJ", 20),
    ("AGE-SECRET-KEY-", 16),
];

/// Addresses whose paths are secrets.
const SECRET_PATHS: [&str; 6] = [
    "hooks.slack.com/",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    "hc-ping.com/",
    "api.telegram.org/bot",
    "webhook.office.com/",
];

/// The last words of names whose values are secrets.
const NAMES: [&str; 22] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "authkey",
    "signingkey",
    "encryptionkey",
    "masterkey",
    "credential",
    "credentials",
    "authorization",
    "cookie",
    "signature",
    "apitoken",
    "authtoken",
];

fn hide(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut scan = Scan { text, bytes: text.as_bytes(), shown: 0, run_end: 0, word_end: 0, url: None };
    let mut at = 0;
    while at < text.len() {
        match scan.secret(at) {
            // From `from` to `to` stands a secret.
            Some((from, to)) => {
                out.push_str(&text[scan.shown..from]);
                out.push_str(GONE);
                (scan.shown, scan.run_end, at) = (to, to, to);
            }
            None => at += scan.step(at),
        }
    }
    out.push_str(&text[scan.shown..]);
    out
}

/// The text, and what is known of where the scan is.
struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// Up to here it is written.
    shown: usize,
    /// Up to here the word of luck that stands here was judged.
    run_end: usize,
    /// Where the word between white space ends that the last run was in, and where the URL in it begins.
    word_end: usize,
    url: Option<usize>,
}

impl Scan<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(b' ')
    }

    /// Whether a name may begin here.
    fn is_start(&self, at: usize) -> bool {
        at == 0 || !is_name(self.byte(at - 1))
    }

    /// How far it may go on when nothing is found: a character.
    fn step(&self, at: usize) -> usize {
        if self.text[at..].starts_with(GONE) {
            return GONE.len();
        }
        self.text[at..].chars().next().map_or(1, char::len_utf8)
    }

    fn while_in(&self, from: usize, most: usize, keep: impl Fn(u8) -> bool) -> usize {
        let most = self.bytes.len().min(from.saturating_add(most));
        (from..most).find(|&at| !keep(self.bytes[at])).unwrap_or(most)
    }

    /// The secret that begins at `at` or is the value of what does.
    fn secret(&mut self, at: usize) -> Option<(usize, usize)> {
        let here = self.byte(at);
        if here == b'-' && self.text[at..].starts_with("-----BEGIN ") {
            return self.key_block(at);
        }
        if here == b':' && self.text[at..].starts_with("://") {
            return self.user_info(at + 3);
        }
        if !here.is_ascii_alphanumeric() && !matches!(here, b'_' | b'+' | b'/') {
            return None;
        }
        if self.is_start(at) {
            let found =
                self.shape(at).or_else(|| self.secret_path(at)).or_else(|| self.scheme(at)).or_else(|| self.named(at));
            if found.is_some() {
                return found;
            }
        }
        if at >= self.run_end {
            return self.luck(at);
        }
        None
    }

    /// A private key: nothing of it stays on this line.
    fn key_block(&self, at: usize) -> Option<(usize, usize)> {
        let label = at + "-----BEGIN ".len();
        let dashes = self.while_in(label, 40, |c| c.is_ascii_uppercase() || c == b' ');
        let body = dashes + "-----".len();
        let is_key = self.text[label..dashes].ends_with("PRIVATE KEY") && self.starts_with(dashes, "-----");
        (is_key && body < self.text.len() && !self.text[body..].starts_with(GONE)).then_some((body, self.text.len()))
    }

    /// `user:password@` of a URL, or `token@`.
    fn user_info(&self, from: usize) -> Option<(usize, usize)> {
        let end = self.while_in(from, usize::MAX, |c| {
            !matches!(c, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>') && !is_space(c)
        });
        let at = from + self.text[from..end].rfind('@')?;
        let begin = self.text[from..at].find(':').map_or(from, |colon| from + colon + 1);
        (begin < at && &self.text[begin..at] != GONE).then_some((begin, at))
    }

    fn shape(&self, at: usize) -> Option<(usize, usize)> {
        let (prefix, least) = SHAPES.iter().find(|(prefix, _)| self.text[at..].starts_with(prefix))?;
        let begin = at + prefix.len();
        let is_part = |c: u8| is_name(c) || matches!(c, b'-' | b'.' | b'+' | b'=');
        let seen = self.while_in(begin, 64, is_part);
        let has_digit = self.bytes[begin..seen].iter().any(u8::is_ascii_digit);
        (seen - begin >= *least && has_digit).then(|| (at, self.while_in(begin, usize::MAX, is_part)))
    }

    fn secret_path(&self, at: usize) -> Option<(usize, usize)> {
        let host = SECRET_PATHS.iter().find(|host| self.text[at..].starts_with(**host))?;
        let begin = at + host.len();
        let end = self
            .while_in(begin, usize::MAX, |c| !is_space(c) && !matches!(c, b'"' | b'\'' | b'<' | b'>' | b')' | b'`'));
        (begin < end && !self.text[begin..].starts_with(GONE)).then_some((begin, end))
    }

    /// `Bearer ...`, `Basic ...`, wherever they stand.
    fn scheme(&self, at: usize) -> Option<(usize, usize)> {
        let scheme = ["bearer", "basic"].into_iter().find(|name| self.starts_with(at, name))?;
        let gap = at + scheme.len();
        let begin = self.while_in(gap, 8, is_space);
        let is_part = |c: u8| is_name(c) || matches!(c, b'-' | b'.' | b'~' | b'+' | b'/' | b'=');
        let seen = self.while_in(begin, 64, is_part);
        let head = &self.bytes[begin..seen];
        // "Basic authentication" is no secret.
        let looks =
            head.iter().any(|c| c.is_ascii_digit() || *c == b'=') || head.iter().skip(1).any(u8::is_ascii_uppercase);
        (begin > gap && head.len() >= 8 && looks).then(|| (begin, self.while_in(begin, usize::MAX, is_part)))
    }

    /// Whether this word in lower case stands here, in any.
    fn starts_with(&self, at: usize, lower: &str) -> bool {
        self.bytes.get(at..at + lower.len()).is_some_and(|there| there.eq_ignore_ascii_case(lower.as_bytes()))
    }

    /// The value of a name that says that it is secret: `name=value`, `name: value`, `"name": "value"`, `--name value`.
    fn named(&self, at: usize) -> Option<(usize, usize)> {
        let end = self.while_in(at, 80, |c| is_name(c) || matches!(c, b'-' | b'.'));
        let name = secret_name(&self.text[at..end])?;
        let quote = self.while_in(end, 2, |c| matches!(c, b'\\' | b'"' | b'\''));
        let gap = self.while_in(quote, usize::MAX, is_space);
        let sign = self.while_in(gap, 2, |c| matches!(c, b'=' | b':' | b'>'));
        let is_option = at >= 2 && self.starts_with(at - 2, "--") && sign == gap && gap > quote;
        if (sign == gap && !is_option) || (sign == gap + 2 && !matches!(&self.text[gap..sign], "=>" | ":=")) {
            return None;
        }
        let begin = self.while_in(sign, usize::MAX, is_space);
        let is_quote = |at: usize| matches!(self.byte(at), b'"' | b'\'' | b'`');
        let opening = match self.byte(begin) == b'\\' && is_quote(begin + 1) {
            true => begin + 2,
            false => begin + usize::from(is_quote(begin)),
        };
        let head = &self.text[opening..];
        if head.starts_with(GONE) || head.starts_with('$') || (is_option && head.starts_with('-')) {
            return None;
        }
        let (from, to) = match opening > begin {
            true => (opening, self.closing(opening, self.byte(opening - 1))),
            false => (begin, self.bare_end(begin, at, matches!(name, "authorization" | "cookie"))),
        };
        let value = &self.text[from..to];
        let is_nothing =
            matches!(value, "" | "null" | "nil" | "None" | "none" | "undefined" | "true" | "false" | "***");
        // "invalid token: expected ..." is a sentence, unless what follows looks like one.
        let is_sentence = opening == begin
            && matches!(name, "token" | "secret" | "signature")
            && self.byte(sign - 1) == b':'
            && begin > sign
            && self.text[..at].trim_end().ends_with(|c: char| c.is_alphabetic())
            && value.len() < 16
            && !value.contains(|c: char| c.is_ascii_digit());
        (!is_nothing && !is_sentence).then_some((from, to))
    }

    /// Where the quoted value ends; where it does not, the text.
    fn closing(&self, from: usize, quote: u8) -> usize {
        let mut at = from;
        while at < self.bytes.len() {
            match self.bytes[at] {
                b'\\' if self.byte(at + 1) == quote && self.byte(from.saturating_sub(2)) == b'\\' => return at,
                b'\\' => at += 2,
                c if c == quote => return at,
                _ => at += 1,
            }
        }
        // After a backslash at the end, or within a character.
        self.bytes.len()
    }

    /// Where a value without quotes ends: at white space, or before what separates it from the next.
    fn bare_end(&self, from: usize, name: usize, whole: bool) -> usize {
        let is_end = |c: u8| matches!(c, b'"' | b'\'' | b'`');
        if whole {
            return self.while_in(from, usize::MAX, |c| !is_end(c));
        }
        let in_query = name > 0 && matches!(self.byte(name - 1), b'?' | b'&');
        let mut at = from;
        loop {
            let c = self.byte(at);
            if is_space(c) || is_end(c) || (c == b'&' && in_query) {
                return at;
            }
            if matches!(c, b',' | b';' | b'&' | b')' | b'}' | b']' | b'.') {
                let next =
                    self.while_in(at, usize::MAX, |c| matches!(c, b',' | b';' | b'&' | b')' | b'}' | b']' | b'.'));
                let word = self.while_in(next, 80, |c| is_name(c) || c == b'-');
                if is_space(self.byte(next))
                    || is_end(self.byte(next))
                    || (c != b'.' && word > next && self.byte(word) == b'=')
                {
                    return at;
                }
                at = next;
            } else {
                at += 1;
            }
        }
    }

    /// A long word without sense. Paths have sense, and so have digests that say what they are.
    fn luck(&mut self, at: usize) -> Option<(usize, usize)> {
        if at >= self.word_end {
            self.word_end = self.while_in(at, usize::MAX, |c| !is_space(c));
            self.url = self.text[at..self.word_end].find("://").map(|found| at + found);
        }
        let end = self.while_in(at, usize::MAX, |c| is_name(c) || matches!(c, b'-' | b'+' | b'/' | b'='));
        self.run_end = end;
        let run = &self.text[at..end];
        if run.len() < 32 {
            return None;
        }
        let is_path = run.starts_with('/') && self.url.is_none_or(|url| url > at);
        let says = |name: &&str| at >= name.len() && self.starts_with(at - name.len(), name);
        let is_digest = ["sha1:", "sha256:", "sha384:", "sha512:", "md5:"].iter().any(says)
            || ["sha1-", "sha256-", "sha384-", "sha512-", "_ZN", "__ZN", "_R"].iter().any(|name| run.starts_with(name));
        if is_path || is_digest {
            return None;
        }
        let is_secret =
            run.split(['/', '-', '=']).any(|part| part.len() >= 32 && is_lucky(part, 2)) || is_lucky(run, 3);
        is_secret.then_some((at, end))
    }
}

/// The name of [`NAMES`] that this one ends with, if it does.
fn secret_name(name: &str) -> Option<&'static str> {
    let lower: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let lower = ["base", "value", "hash"].iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
    NAMES.into_iter().find(|end| lower.ends_with(end))
}

/// Whether so many of digits, small and capital letters are mixed in it as words do not mix them.
fn is_lucky(word: &str, kinds: usize) -> bool {
    let kind = |c: u8| match c {
        b'0'..=b'9' => Some(0),
        b'a'..=b'z' => Some(1),
        b'A'..=b'Z' => Some(2),
        _ => None,
    };
    // Hexadecimal has two thirds of digits.
    let enough = if word.bytes().all(|c| c.is_ascii_hexdigit()) { 2 } else { 3 };
    let (mut seen, mut changes, mut count, mut last) = ([false; 3], 0, 0, None);
    for this in word.bytes().filter_map(kind) {
        seen[this] = true;
        count += 1;
        changes += usize::from(last.is_some_and(|last| last != this));
        last = Some(this);
    }
    seen[0] && seen.iter().filter(|seen| **seen).count() >= kinds && changes * 10 >= count * enough
}

fn is_name(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

fn is_space(c: u8) -> bool {
    c == b' '
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What goes in, and what comes out.
    const SECRETS: &[(&str, &str)] = &[
        ("key sk-ant-api03-AbCdEf0123456789xyz used", "key [redacted] used"),
        ("(sk_live_4eC39HqLyjWDarjtT1)", "([redacted])"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "[redacted]"),
        ("token github_pat_11ABCDEFG0_abcdefghijk!", "token [redacted]!"),
        ("xoxb-123456789012-abcdefABCDEF", "[redacted]"),
        ("AKIAIOSFODNN7EXAMPLE, AIzaSyA1234567890abcdefghijklmnopqrstuv", "[redacted], [redacted]"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def_1", "jwt [redacted]"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        ("curl -H \"Authorization: Basic dXNlcjpwYXNz\" http://x/", "curl -H \"Authorization: [redacted]\" http://x/"),
        ("sent bearer 0123456789abcdef to it", "sent bearer [redacted] to it"),
        ("Cookie: a=b; c=d", "Cookie: [redacted]"),
        ("GET /v1?a=1&api_key=hunter&b=2 404", "GET /v1?a=1&api_key=[redacted]&b=2 404"),
        ("{\"password\":\"hun\\\"ter\",\"user\":\"me\"}", "{\"password\":\"[redacted]\",\"user\":\"me\"}"),
        ("{\\\"token\\\": \\\"abc\\\", 1}", "{\\\"token\\\": \\\"[redacted]\\\", 1}"),
        ("{'client_secret': 'abc', x}", "{'client_secret': '[redacted]', x}"),
        ("OPENCLAW_GATEWAY_TOKEN=abc&d,e node", "OPENCLAW_GATEWAY_TOKEN=[redacted] node"),
        ("connect(user=a, password=b, host=c)", "connect(user=a, password=[redacted], host=c)"),
        ("host=c;password=b;user=a", "host=c;password=[redacted];user=a"),
        ("  password: correct horse", "  password: [redacted] horse"),
        ("wrong password: hunter2.", "wrong password: [redacted]."),
        ("- apiKey: abcdef", "- apiKey: [redacted]"),
        ("run --token abc --verbose", "run --token [redacted] --verbose"),
        ("run --password=abc x", "run --password=[redacted] x"),
        ("SECRET_KEY_BASE=abc", "SECRET_KEY_BASE=[redacted]"),
        ("//registry/:_authToken=abc", "//registry/:_authToken=[redacted]"),
        ("-----BEGIN RSA PRIVATE KEY----- MIIE abc", "-----BEGIN RSA PRIVATE KEY-----[redacted]"),
        ("postgres://me:hunter2@db:5432/x", "postgres://me:[redacted]@db:5432/x"),
        ("git clone https://abc123@host/x.git", "git clone https://[redacted]@host/x.git"),
        ("https://hooks.slack.com/services/T0/B0/XXXX ok", "https://hooks.slack.com/[redacted] ok"),
        ("POST https://hc-ping.com/5e0c-11/start", "POST https://hc-ping.com/[redacted]"),
        ("got 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "got [redacted]"),
        ("got d41d8cd98f00b204e9800998ecf8427e.", "got [redacted]."),
        ("https://h/hook/d41d8cd98f00b204e9800998ecf8427e", "https:[redacted]"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCY1x2y3z4w5v6", "[redacted]"),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7", "[redacted]"),
    ];

    /// What stays as it is.
    const ORDINARY: &[&str] = &[
        "",
        "    at Object.<anonymous> (/Users/me/.openclaw/node_modules/@openclaw/gateway/dist/server.js:10:5)",
        "/nix/store/8ha1dhmx807czjczmwy078s4r9s254il-glibc-2.37/lib/ld-linux-x86-64.so.2",
        "/var/lib/docker/overlay2/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08/merged",
        "thread 'main' panicked at library/core/src/option.rs:2013:5: called `Option::unwrap()` on a `None` value",
        "2026-07-31T10:11:12.345Z ERROR [gateway] listen EADDRINUSE: address already in use 127.0.0.1:18789",
        "run 550e8400-e29b-41d4-a716-446655440000 and E621E1F8-C36C-495A-93FC-0C247A3E6E5F",
        "v22.12.0 supervisor/0.2.0 (aarch64-apple-darwin) pid=4711 exit=1 port=8080",
        "usage: input_tokens: 300, max_tokens=4096, tokens: 12",
        "SyntaxError: Unexpected token: )",
        "SyntaxError: Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
        "token: undefined, password=None, secret=\"\", token=${TOKEN}",
        "password_file = /etc/x, secret_path: /etc/y",
        "the basic authentication failed; bearer authentication required",
        "image@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "\"integrity\": \"sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==\"",
        "_ZN4core3fmt9Formatter12pad_integral17h6d1a7b3c9e0f1a2bE",
        "if token == other && Token::Eof => x",
        "http://127.0.0.1:18789/health?deep=1 -> 503",
        "std::collections::hash::map::HashMap<alloc::string::String, core::option::Option<u64>>",
        "mail from me@example.com: ENOENT: no such file or directory, open '/Users/me/Library/x.json'",
        "a-very-long-name-of-a-service-that-goes-on-and-on-and-has-2-numbers-in-it",
        "😀 naïve café — 日本語",
    ];

    #[test]
    fn secrets_go() {
        let wrong: Vec<String> = SECRETS
            .iter()
            .filter(|(line, hidden)| redact(line) != *hidden)
            .map(|(line, hidden)| format!("{line}\n  gives  {}\n  not    {hidden}", redact(line)))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_rest_stays() {
        let wrong: Vec<String> = ORDINARY
            .iter()
            .filter(|line| redact(line) != **line)
            .map(|line| format!("{line}\n  gives  {}", redact(line)))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_acts_on_a_terminal_goes() {
        for (line, plain) in [
            ("\x1b[1;31mred\x1b[0m\ttab\r\nend\0\x07", "red tab  end"),
            ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\u{9b}2Jc", "abc"),
            ("a\x1b]never ended", "anever ended"),
            ("user\u{202e}txt.exe \u{2066}x\u{200b}y\u{feff}", "usertxt.exe xy"),
            ("pass\u{200b}word=abc", "password=[redacted]"),
            ("👩\u{200d}🚀", "👩\u{200d}🚀"),
        ] {
            assert_eq!(redact(line), plain, "{line:?}");
        }
    }

    /// What would take the square of its length to read, if anything does.
    #[test]
    fn long_lines_are_read_in_one_go() {
        for part in [
            "token=$",
            "sk-",
            "eyJ-",
            "://a@",
            "\x1b]",
            "--cookie ",
            "token: ",
            "bearer ",
            "password ",
            "a-",
            "token=null&",
            "\"",
            "-----BEGIN ",
            "token=\"$",
            "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV.",
            "hooks.slack.com/\"",
            "cookie: \"\" ",
            "/aB1",
        ] {
            let line = part.repeat((64 << 10) / part.len());
            let hidden = redact(&line);
            assert!(hidden.len() <= 3 * line.len() + GONE.len(), "{part}");
        }
    }

    /// Pieces that mean something to the scan, so that luck finds what they do together.
    fn line() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            proptest::sample::select(SECRETS).prop_map(|(line, _)| line.to_owned()),
            proptest::sample::select(ORDINARY).prop_map(str::to_owned),
            proptest::sample::select(vec![
                "token=",
                "password: ",
                "\"",
                "'",
                "\\",
                ",",
                ";",
                "&",
                "?",
                "://",
                "@",
                "[redacted]",
                "Bearer ",
                "sk-",
                " ",
                "/",
                "-",
                "--secret ",
                "\x1b[",
                "$",
                "ab12",
                "é",
                "=",
                ":",
                ")"
            ])
            .prop_map(str::to_owned),
            "[ -~]{0,12}",
            "\\PC{0,6}",
            "[a-zA-Z0-9]{20,50}",
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_without_control_characters_and_a_second_time_changes_nothing(line in line()) {
            let once = redact(&line);
            prop_assert!(once.len() <= 3 * line.len() + GONE.len());
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert_eq!(redact(&once), once);
        }
    }
}
