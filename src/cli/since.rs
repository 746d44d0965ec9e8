//! Times as they are typed: `--since` (a length of time back from now, or a point in time), and lengths ahead.

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

/// Longest time ahead, seconds: who types more has meant something else.
const FAR_S: u64 = 366 * 24 * 3600;

/// Seconds from now on of the length of time that `text` says.
pub(super) fn ahead(text: &str, now_ms: i64, zone: &TimeZone) -> Result<u64, Error> {
    let span = text.parse::<Span>().ok().filter(|span| span.is_positive());
    let until = span.and_then(|span| {
        let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
        now.checked_add(span).ok()
    });
    let seconds = until.and_then(|until| u64::try_from((until.timestamp().as_millisecond() - now_ms) / 1000).ok());
    seconds.filter(|seconds| (1..=FAR_S).contains(seconds)).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("{text:?} is not a length of time from a second to a year"))
            .hint("type a duration such as 30m, 2h or 7d")
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
    fn lengths_ahead_are_bounded() {
        let hour = 3600;
        for (text, seconds) in [("30m", hour / 2), ("2h", 2 * hour), ("7d", 7 * 24 * hour), ("90s", 90)] {
            assert_eq!(ahead(text, NOW, &TimeZone::UTC), Ok(seconds), "{text}");
        }
        for text in ["", "2", "-2h", "0s", "tomorrow", "2y", "2026-11-22", "2h ago"] {
            let error = ahead(text, NOW, &TimeZone::UTC).unwrap_err();
            assert!(error.kind.exit_code() == 2 && error.hint.unwrap().contains("2h"), "{text}");
        }
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
