//! What a person probably meant by an entry that cannot be read. These are guesses, the likeliest first; whoever asks
//! takes the first that is an entry.

use super::cron::FIELDS;
use super::{DAYS, LONGEST};

/// The last day that a month has in every year.
pub(super) fn last_day(month: u8) -> u8 {
    match month {
        2 => 28,
        _ => LONGEST.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or(31),
    }
}

/// Entries that are near `text`.
pub(super) fn candidates(text: &str) -> Vec<String> {
    let lower = text.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let words: Vec<&str> = lower.split_ascii_whitespace().collect();
    let mut found = Vec::new();
    if words.len() > 3 && lower.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '*' | '?')) {
        found.extend(cron(&words));
    }
    let lower = without_slip(&words).inspect(|mended| found.push(mended.clone())).unwrap_or(lower);
    let joined = lower.replace(", ", ",").replace(" - ", "-").replace(" to ", "-").replace(" and ", ",");
    found.extend(shorthand(&lower.split_ascii_whitespace().collect::<Vec<_>>()).map(str::to_owned));
    found.extend(spoken(&joined));
    found
}

/// One entry for each of several times, which no single entry can have; empty where there are not several.
pub(super) fn several(text: &str) -> Vec<String> {
    let lower = text.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let lower = lower.replace(", ", ",").replace(" and ", ",");
    let words: Vec<&str> = lower.split_ascii_whitespace().collect();
    if words.len() > 3 && lower.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '*' | '?')) {
        return Vec::new();
    }
    let times = |word: &str| word.split(',').map(|part| time(part, false)).collect::<Option<Vec<String>>>();
    let (at, rest): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| times(word).is_some());
    let all: Vec<String> = at.iter().filter_map(|word| times(word)).flatten().collect();
    if all.len() < 2 || rest.first() == Some(&"every") && rest.len() == 1 {
        return Vec::new();
    }
    let rest = if rest.is_empty() { "daily".to_owned() } else { rest.join(" ") };
    all.iter().map(|time| format!("{rest} {time}")).collect()
}

/// The words with the first one as it is spelt, where that is a slip away from one that entries begin with.
fn without_slip(words: &[&str]) -> Option<String> {
    const FIRST: [&str; 5] = ["daily", "weekly", "monthly", "every", "hourly"];
    let (first, rest) = words.split_first()?;
    if first.len() < 4 || FIRST.contains(first) {
        return None;
    }
    let meant = FIRST.iter().find(|word| strsim::damerau_levenshtein(first, word) <= 1)?;
    Some(std::iter::once(meant).chain(rest).copied().collect::<Vec<_>>().join(" "))
}

/// One word that is a schedule elsewhere.
fn shorthand(words: &[&str]) -> Option<&'static str> {
    let [word] = words else { return None };
    Some(match word.trim_start_matches('@') {
        "daily" | "midnight" | "nightly" => "daily 00:00",
        "hourly" | "hour" => "every 1h",
        "minutely" | "minute" => "every 1m",
        "weekly" => "weekly Sun 00:00",
        "monthly" => "monthly 1 00:00",
        "yearly" | "annually" => "0 0 1 1 *",
        "noon" => "daily 12:00",
        _ => return None,
    })
}

/// Cron lines with a field too many or too few, or with values that the field does not have.
fn cron(words: &[&str]) -> Vec<String> {
    let mut lines: Vec<Vec<&str>> = Vec::new();
    match words {
        [_, _, _, _, _] => lines.push(words.to_vec()),
        [_, _, _, _] => lines.push(words.iter().copied().chain(["*"]).collect()),
        // Six begin with seconds, or end with a year where the last is one; seven have both.
        [first @ .., last] if words.len() == 6 && last.len() == 4 => lines.push(first.to_vec()),
        [_, rest @ ..] if words.len() == 6 => lines.push(rest.to_vec()),
        [_, middle @ .., _] if words.len() == 7 => lines.push(middle.to_vec()),
        _ => {}
    }
    lines.iter().map(|line| mended(line)).collect()
}

fn mended(line: &[&str]) -> String {
    let mut parts: Vec<String> = line.iter().enumerate().map(|(place, part)| mended_field(place, part)).collect();
    if let [_, _, day, month, weekday] = parts.as_mut_slice()
        && weekday == "*"
        && let Ok(number) = day.parse::<u8>()
    {
        let months = month.split([',', '-']).filter_map(|month| {
            let named = FIELDS[3].2.iter().position(|name| month.starts_with(name)).map(|at| at + 1);
            named.and_then(|month| u8::try_from(month).ok()).or_else(|| month.parse().ok())
        });
        if let Some(longest) = months.map(last_day).min().filter(|longest| number > *longest) {
            *day = longest.to_string();
        }
    }
    parts.join(" ")
}

fn mended_field(place: usize, field: &str) -> String {
    let Some((_, bounds, names)) = FIELDS.get(place) else { return field.to_owned() };
    let (low, high) = (*bounds.start(), *bounds.end());
    let number = |text: &str| match text.parse::<u32>() {
        // The hour 24 and the minute 60 are the next one's first.
        Ok(number) if place < 2 && number > high.into() => low.to_string(),
        Ok(number) => number.clamp(low.into(), high.into()).to_string(),
        Err(_) => {
            let named = names.iter().find(|name| text.starts_with(**name));
            named.map_or_else(|| text.to_owned(), |name| (*name).to_owned())
        }
    };
    let one = |part: &str| -> String {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let range = match range.replace("..", "-").split_once('-') {
            _ if matches!(range, "*" | "?") => "*".to_owned(),
            Some((first, last)) => {
                let (first, last) = (number(first), number(last));
                match (first.parse::<u8>(), last.parse::<u8>()) {
                    // It goes over the end, where the next hour or day begins.
                    (Ok(from), Ok(to)) if from > to => format!("{first}-{high},{low}-{last}"),
                    _ => format!("{first}-{last}"),
                }
            }
            None => number(range),
        };
        match step.map(str::parse::<u8>) {
            Some(Ok(step)) if step > 0 => format!("{range}/{step}"),
            _ => range,
        }
    };
    let parts: Vec<String> = field.split(',').filter(|part| !part.is_empty()).map(one).collect();
    if parts.is_empty() { "*".into() } else { parts.join(",") }
}

/// Times, days and intervals as people say them.
fn spoken(text: &str) -> Vec<String> {
    let words: Vec<&str> = text
        .split_ascii_whitespace()
        .filter(|word| !matches!(*word, "at" | "on" | "each" | "the" | "o'clock"))
        .collect();
    let time = words.iter().rev().find_map(|word| time(word, false));
    let is_every = words.first() == Some(&"every");
    let in_month = words.iter().any(|word| matches!(*word, "monthly" | "month"));
    let days = words.iter().find_map(|word| days(word));
    let number = words.iter().find_map(|word| {
        let digits = word.trim_end_matches(['.', 't', 'h', 's', 'n', 'd', 'r']);
        digits.parse::<u32>().ok().filter(|_| !word.ends_with("sec"))
    });
    let mut found = Vec::new();
    if is_every
        && days.is_none()
        && !in_month
        && let Some(interval) = interval(&words[1..])
    {
        found.push(interval);
    }
    // A bare number is a time where nothing else is one.
    let time =
        time.or_else(|| if in_month { None } else { words.iter().rev().find_map(|word| self::time(word, true)) });
    let at = time.unwrap_or_else(|| "00:00".into());
    if in_month {
        found.push(format!("monthly {} {at}", number.unwrap_or(1).clamp(1, 31)));
    }
    match days {
        Some(days) if days.contains(['.', ',']) => found.push(format!("{days} {at}")),
        Some(day) => found.push(format!("weekly {day} {at}")),
        None if words.iter().any(|word| matches!(*word, "weekly" | "week")) => found.push(format!("weekly Sun {at}")),
        None => {}
    }
    if words.first() == Some(&"hourly") {
        found.push("every 1h".into());
    }
    let daily = words.iter().any(|word| matches!(*word, "daily" | "day" | "nightly" | "night" | "morning" | "evening"));
    if daily || words.iter().any(|word| self::time(word, words.len() == 1).is_some()) {
        found.push(format!("daily {at}"));
    }
    found
}

/// `7:55`, `7.55`, `7am`, `7:55pm`, `24:00`, `07:55:00`, `0755`, and a bare `7` where `bare` numbers are times.
fn time(word: &str, bare: bool) -> Option<String> {
    match word {
        "noon" => return Some("12:00".into()),
        "midnight" => return Some("00:00".into()),
        _ => {}
    }
    let (digits, half) = match (word.strip_suffix("am"), word.strip_suffix("pm")) {
        (Some(digits), _) => (digits, Some(0)),
        (_, Some(digits)) => (digits, Some(12)),
        _ => (word, None),
    };
    let parts: Vec<&str> = match digits.split([':', '.', 'h']).collect::<Vec<_>>().as_slice() {
        [four] if four.len() == 4 && four.is_ascii() => vec![&four[..2], &four[2..]],
        [_] if half.is_none() && !bare => return None,
        [hour, ""] => vec![hour],
        parts => parts.to_vec(),
    };
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() <= 2);
    let hour = number(parts.first()?)?;
    let minute = parts.get(1).map_or(Some(0), |text| number(text))?;
    let hour = half.map_or(hour, |half| hour % 12 + half);
    // 24:00 is the midnight of the next day; what is further is a slip.
    let hour = if hour > 23 { 0 } else { hour };
    Some(format!("{hour:02}:{:02}", if minute > 59 { 0 } else { minute }))
}

/// `sunday`, `mondays`, `mon-fri`, `mon,wed`, `weekdays`.
fn days(word: &str) -> Option<String> {
    match word {
        "weekdays" | "weekday" | "workdays" => return Some("Mon..Fri".into()),
        "weekends" | "weekend" => return Some("Sat,Sun".into()),
        _ => {}
    }
    let name = |text: &str| {
        let short = text.get(..3)?;
        let is_near = |day: &&&str| strsim::damerau_levenshtein(short, day) <= 1;
        let all = || DAYS.iter();
        let day = all().find(|day| **day == short).or_else(|| all().find(is_near).filter(|_| text.len() <= 4))?;
        let (first, rest) = day.split_at(1);
        Some(first.to_ascii_uppercase() + rest)
    };
    let one = |part: &str| {
        let part = part.replace("..", "-").replace('–', "-");
        match part.split_once('-') {
            Some((first, last)) => Some(format!("{}..{}", name(first)?, name(last.trim_start_matches('-'))?)),
            None => name(&part),
        }
    };
    let parts: Option<Vec<String>> = word.split(',').filter(|part| !part.is_empty()).map(one).collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(","))
}

/// `90s`, `25h`, `6`, `30 minutes`, `hour`: the next interval that there is.
fn interval(words: &[&str]) -> Option<String> {
    let text = words.concat();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = if number.is_empty() { 1 } else { number.parse::<u64>().ok()? };
    let seconds = match unit.chars().next() {
        _ if unit.starts_with("ms") || unit.starts_with("mil") => 1,
        Some('s') => number,
        Some('m') if !unit.starts_with("mo") => number.checked_mul(60)?,
        Some('h') => number.checked_mul(3600)?,
        Some('d') if number > 1 => 86_400,
        None if number <= 24 => number * 3600,
        None => number.checked_mul(60)?,
        _ => return None,
    };
    let minutes = seconds.div_ceil(60).clamp(1, 1440);
    Some(match minutes % 60 {
        0 => format!("every {}h", minutes / 60),
        _ => format!("every {minutes}m"),
    })
}
