//! systemd's words for times, sizes and exit codes.

use std::time::Duration;

/// A span of time; `Endless` is `infinity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Of(Duration),
    Endless,
}

const UNITS: [(&[&str], f64); 9] = [
    (&["usec", "us", "µs", "μs"], 1e-6),
    (&["msec", "ms"], 1e-3),
    (&["seconds", "second", "sec", "s", ""], 1.0),
    (&["minutes", "minute", "min", "m"], 60.0),
    (&["hours", "hour", "hr", "h"], 3600.0),
    (&["days", "day", "d"], 86_400.0),
    (&["weeks", "week", "w"], 604_800.0),
    (&["months", "month", "M"], 2_629_800.0),
    (&["years", "year", "y"], 31_557_600.0),
];

/// `90`, `5min 20s`, `1.5h`, `infinity`.
pub(super) fn span(text: &str) -> Option<Span> {
    let mut rest = text.trim();
    if rest == "infinity" {
        return Some(Span::Endless);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        let after = rest[end..].trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (_, factor) = UNITS.iter().find(|(names, _)| names.contains(&&after[..end]))?;
        seconds += number * factor;
        rest = after[end..].trim_start();
    }
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    // What services.toml can say.
    Some(Span::Of(Duration::from_millis(u64::try_from(time.as_millis()).ok()?)))
}

/// `512M`, `2G`: powers of 1024, as services.toml writes them.
pub(super) fn size(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    match text[end..].trim() {
        unit @ ("K" | "M" | "G") => Some(format!("{number}{unit}iB")),
        "T" => Some(format!("{}GiB", number.checked_mul(1024)?)),
        "" => Some(format!("{}KiB", number.div_ceil(1024))),
        _ => None,
    }
}

/// The exit codes of sysexits.h, from 64 on; systemd takes the names with and without `EX_`.
const SYSEXITS: [&str; 15] = [
    "USAGE",
    "DATAERR",
    "NOINPUT",
    "NOUSER",
    "NOHOST",
    "UNAVAILABLE",
    "SOFTWARE",
    "OSERR",
    "OSFILE",
    "CANTCREAT",
    "IOERR",
    "TEMPFAIL",
    "PROTOCOL",
    "NOPERM",
    "CONFIG",
];

/// An exit status: a number or a name. `None` for signals, among others.
pub(super) fn exit_code(text: &str) -> Option<u8> {
    if let Ok(code) = text.parse() {
        return Some(code);
    }
    let name = text.strip_prefix("EX_").unwrap_or(text);
    let at = SYSEXITS.iter().position(|known| *known == name)?;
    u8::try_from(64 + at).ok()
}

/// true, false, or neither.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_sizes_and_codes() {
        for (text, ms) in
            [("90", 90_000), ("5min 20s", 320_000), ("1.5h", 5_400_000), ("100ms", 100), ("2 days", 172_800_000)]
        {
            assert_eq!(span(text), Some(Span::Of(Duration::from_millis(ms))), "{text}");
        }
        assert_eq!(span("infinity"), Some(Span::Endless));
        for bad in ["", "x", "5 parsecs", "-1", "1..2", "999999999999999999999999999y"] {
            assert_eq!(span(bad), None, "{bad}");
        }
        assert_eq!((size("2G"), size("1T"), size("50%")), (Some("2GiB".into()), Some("1024GiB".into()), None));
        let codes = ["0", "78", "EX_CONFIG", "TEMPFAIL", "SIGKILL", "256"].map(exit_code);
        assert_eq!(codes, [Some(0), Some(78), Some(78), Some(75), None, None]);
    }
}
