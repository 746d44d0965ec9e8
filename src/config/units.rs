//! Texts with a unit: durations, sizes, rates. Pure, without knowledge of the file around them.

use std::fmt::{Display, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::code;

/// What is wrong with a value, before its key and place are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) code: &'static str,
    /// Goes on after "`key`: ".
    pub(super) message: String,
    pub(super) label: String,
    pub(super) help: Option<String>,
}

impl Wrong {
    pub(super) fn new(code: &'static str, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { code, message: message.into(), label: label.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A user's text for a message: on one line, not too long, with its quotes.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let escaped: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    let more = if text.chars().nth(LONGEST).is_some() { "..." } else { "" };
    format!("\"{escaped}{more}\"")
}

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 6] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];

/// `250ms`, `10s`, `5m`, `1h30m`, `7d`: whole numbers, each unit once, the largest first.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = |message: String, help: String| Wrong::new(code::BAD_FORM, message, "not a duration").help(help);
    let forms = "durations look like \"250ms\", \"10s\", \"5m\", \"1h30m\" or \"7d\"";
    if text.parse::<u64>().is_ok() {
        return Err(wrong(
            format!("{} has no unit", quoted(text)),
            format!("write \"{text}s\" if seconds are meant; {forms}"),
        ));
    }
    let unreadable = || wrong(format!("{} is not a duration", quoted(text)), forms.to_owned());
    let mut rest = text;
    let mut total: u64 = 0;
    let mut larger = TIME_UNITS.as_slice();
    while !rest.is_empty() || larger.len() == TIME_UNITS.len() {
        let (number, after) = split_number(rest).ok_or_else(unreadable)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let index = larger.iter().position(|(name, _)| *name == unit).ok_or_else(unreadable)?;
        let (_, factor) = larger[index];
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| wrong(format!("{} is too long a time", quoted(text)), forms.to_owned()))?;
        larger = &larger[index + 1..];
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// A duration as it would be written in services.toml.
pub fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut shown = String::new();
    for (unit, factor) in TIME_UNITS.into_iter().skip(1) {
        let count = left / factor;
        left %= factor;
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{count}{unit}");
        }
    }
    if shown.is_empty() { "0s".into() } else { shown }
}

/// `64KiB`, `3GiB`, `10MB`: a whole number and a unit.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let forms = "sizes look like \"64KiB\", \"3GiB\" or \"10MB\"; the units are KiB, MiB, GiB (powers of 1024) and KB, MB, GB (powers of 1000)";
    let wrong = |message: String, help: String| Wrong::new(code::BAD_FORM, message, "not a size").help(help);
    let unreadable = || {
        let help = meant(text).map_or_else(|| forms.to_owned(), |size| format!("write \"{size}\""));
        wrong(format!("{} is not a size", quoted(text)), help)
    };
    let (number, unit) = split_number(text).ok_or_else(unreadable)?;
    if unit.is_empty() {
        return Err(wrong(
            format!("{} has no unit", quoted(text)),
            format!("write \"{number}MiB\" if that is meant; {forms}"),
        ));
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(unreadable)?;
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).filter(|n| i64::try_from(*n).is_ok());
    bytes.ok_or_else(|| wrong(format!("{} is too large", quoted(text)), forms.to_owned()))
}

/// A size with a slip in its unit (`10 mb`), as it should be written.
fn meant(text: &str) -> Option<String> {
    let (number, unit) = split_number(text.trim())?;
    let (unit, _) = SIZE_UNITS.iter().find(|(name, _)| unit.trim().eq_ignore_ascii_case(name))?;
    Some(format!("{number}{unit}"))
}

/// `10MB/h`: a size an hour.
pub(super) fn rate(text: &str) -> Result<u64, Wrong> {
    if let Some(Ok(bytes)) = text.strip_suffix("/h").map(size) {
        return Ok(bytes);
    }
    let (amount, time) = text.split_once('/').unwrap_or((text, "h"));
    let is_hour = ["h", "hr", "hour"].iter().any(|hour| time.trim().eq_ignore_ascii_case(hour));
    let help = match (meant(amount), split_number(amount.trim())) {
        (Some(amount), _) if is_hour && size(&amount).is_ok() => format!("write \"{amount}/h\""),
        (None, Some((number, ""))) if is_hour => format!("write \"{number}MB/h\" if that is meant"),
        _ => "rates are a size an hour, such as \"10MB/h\"".to_owned(),
    };
    Err(Wrong::new(code::BAD_FORM, format!("{} is not a rate", quoted(text)), "not a rate").help(help))
}

/// A value that can be read and is too small or too large.
pub(super) fn outside(value: &dyn Display, low: &dyn Display, high: &dyn Display) -> Wrong {
    Wrong::new(
        code::OUT_OF_BOUNDS,
        format!("{value} is outside its bounds, {low} to {high}"),
        format!("{low} to {high}"),
    )
    .help(format!("write a value from {low} to {high}"))
}

/// A duration within `bounds`.
pub(super) fn duration_within(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let (low, high) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
    duration(text).and_then(|value| bounds.contains(&value).then_some(value).ok_or_else(|| outside(&text, &low, &high)))
}

/// A size within bounds, which are told as they are written here.
pub(super) fn size_within(text: &str, (low, high): (&str, &str)) -> Result<u64, Wrong> {
    let value = size(text)?;
    let within = |bound: &str, keeps: fn(&u64, &u64) -> bool| size(bound).is_ok_and(|b| keeps(&value, &b));
    let is_within = within(low, u64::ge) && within(high, u64::le);
    is_within.then_some(value).ok_or_else(|| outside(&text, &low, &high))
}

/// Growth an hour; zero would tell of everything.
pub(super) fn growth(text: &str) -> Result<u64, Wrong> {
    rate(text).and_then(|value| (value > 0).then_some(value).ok_or_else(|| outside(&text, &"1KB/h", &"1000GB/h")))
}

/// The digits at the beginning and what follows them; `None` without digits.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        let good = [
            ("250ms", 250),
            ("10s", 10_000),
            ("0s", 0),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("90m", 5_400_000),
        ];
        for (text, ms) in good {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "1.5h",
            "10 s",
            "10sec",
            "5m1h",
            "1s1s",
            "10S",
            "1h30",
            "١s",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("10").unwrap_err().help.unwrap().contains("\"10s\""));
    }

    #[test]
    fn sizes_and_rates_are_read() {
        assert_eq!(size("64KiB").unwrap(), 65_536);
        assert_eq!(size("3GiB").unwrap(), 3 << 30);
        assert_eq!(size("10MB").unwrap(), 10_000_000);
        assert_eq!(rate("20MB/h").unwrap(), 20_000_000);
        for bad in ["", "10", "MB", "10M", "10 MB", "1.5GiB", "-1MB", "18446744073709551615GiB", "9300000000GB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["10MB", "10MB/s", "/h", "10/h", "10mb/h"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(size("10mb").unwrap_err().help.unwrap(), "write \"10MB\"");
        for slip in ["10MB", "10mb", "10mb/h", "10 MB/h", "10MB / h", " 10 mB/H", "10MB/hour"] {
            assert_eq!(rate(slip).unwrap_err().help.unwrap(), "write \"10MB/h\"", "{slip}");
        }
        assert_eq!(rate("10/h").unwrap_err().help.unwrap(), "write \"10MB/h\" if that is meant");
        for other in ["10MB/s", "1.5GiB/h", "9300000000GB/h", "9300000000gb/h", "/h", "x"] {
            let help = rate(other).unwrap_err().help.unwrap();
            assert_eq!(help, "rates are a size an hour, such as \"10MB/h\"", "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(ms in 0u64..1_000_000_000_000) {
            let d = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(d)).unwrap(), d);
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = (duration(&text), size(&text), rate(&text));
        }
    }
}
