//! What a run said before it ended, for people.

use crate::policy::redact;

/// The last two lines of what was said on stderr, as far as they fit into a sentence. Two, because the gateway's very last one is about the
/// audit of its configuration file, and the one before says why it does not start. They end up in `status` and in logs,
/// so what looks like a secret is not in them.
pub(super) fn of(tail: &str) -> String {
    let shown = |line: &str| redact(line).chars().take(160).collect::<String>();
    let lines: Vec<&str> = tail.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last: Vec<String> = lines.iter().rev().take(2).rev().map(|line| shown(line)).collect();
    last.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn last_words_are_two_lines_without_what_looks_like_a_secret() {
        let said = "first\nOPENAI_API_KEY=sk-proj-0123456789abcdefghij\n\n  \x1b[31mError: no such file\x1b[0m\n";
        assert_eq!(of(said), "OPENAI_API_KEY=[redacted] | Error: no such file");
        assert_eq!(of(""), "");
    }
}
