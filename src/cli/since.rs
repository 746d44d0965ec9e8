//! `--since`: a length of time back from now, or a point in time.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned, civil};

use crate::error::{Error, ErrorKind};

/// Milliseconds since 1970 UTC of what `text` says. Times without a zone are in `zone`; days back are its days.
pub(super) fn parse(text: &str, now_ms: i64, zone: &TimeZone) -> Result<i64, Error> {
    let at = back(text, now_ms, zone).or_else(|| point(text, zone));
    at.map(Timestamp::as_millisecond).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("--since {text:?} is neither a duration nor a time"))
            .hint("type a duration such as 10m, 24h or 7d, or a time such as 2026-11-22 or 2026-11-22T10:00")
    })
}

fn back(text: &str, now_ms: i64, zone: &TimeZone) -> Option<Timestamp> {
    let span: Span = text.parse().ok()?;
    let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
    now.checked_sub(span.abs()).ok().map(|then| then.timestamp())
}

fn point(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Ok(at) = text.parse::<Zoned>() {
        return Some(at.timestamp());
    }
    text.parse::<civil::DateTime>().ok()?.to_zoned(zone.clone()).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_780_000; // 2026-11-22 10:03:00 UTC

    fn at(text: &str) -> i64 {
        parse(text, NOW, &TimeZone::UTC).unwrap()
    }

    #[test]
    fn durations_count_back_from_now() {
        let minute = 60_000;
        for (text, minutes) in [("10m", 10), ("24h", 24 * 60), ("7d", 7 * 24 * 60), ("1h30m", 90), ("2w", 14 * 24 * 60)]
        {
            assert_eq!(at(text), NOW - minutes * minute, "{text}");
        }
        assert_eq!(at("90s"), NOW - 90_000);
    }

    #[test]
    fn times_stand_for_themselves() {
        let midnight = NOW - (10 * 60 + 3) * 60_000;
        assert_eq!(at("2026-11-22"), midnight);
        assert_eq!(at("2026-11-22T10:03"), NOW);
        assert_eq!(at("2026-11-22 10:03:00"), NOW);
        assert_eq!(at("2026-11-22T10:03:00Z"), NOW);
        assert_eq!(at("2026-11-22T12:03:00+02:00"), NOW);
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(parse("2026-11-22T12:03", NOW, &east), Ok(NOW));
    }

    #[test]
    fn what_is_neither_is_refused_with_examples() {
        for text in ["", "10", "yesterday", "10 apples", "2026-13-01", "999999999y"] {
            let error = parse(text, NOW, &TimeZone::UTC).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2, "{text}");
            assert!(error.hint.unwrap().contains("24h"));
        }
    }
}
