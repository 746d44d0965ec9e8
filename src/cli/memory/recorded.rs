//! A line of a recorded history: a sample, a header, or numbers that cannot be true.

pub(super) const HINT: &str =
    "a line is `t_seconds,rss_bytes,pid`, such as `3600,125829120,4711`; the first may name these columns";

/// Numbers above this are not exact in every program that writes them, and no memory is so large.
const LARGEST: u64 = 1 << 53;

/// What a line is.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// The names of the columns.
    Header,
    Sample(Sample<'a>),
    /// It can be read, but cannot be: why.
    Untrue(String),
}

/// A line that may be true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<'a> {
    /// The time as it was written.
    pub(super) text: &'a str,
    /// The time, seconds.
    pub(super) at: f64,
    /// What was used then.
    pub(super) bytes: u64,
    /// Of the main process.
    pub(super) pid: u32,
}

/// A number that is in its bounds, or one that is not and why.
type Read<T> = Result<Result<T, String>, String>;

impl<'a> Line<'a> {
    /// Reads one; an error is a line that cannot be read at all.
    pub(super) fn read(line: &'a [u8], is_first: bool) -> Result<Self, String> {
        let line = std::str::from_utf8(line).map_err(|_| "it is no text".to_owned())?;
        let mut fields = line.split(',').map(str::trim_ascii);
        let fields = [(); 4].map(|()| fields.next());
        if is_first && fields[0].is_some_and(|first| first.parse::<f64>().is_err()) {
            return header(line, fields).map(|()| Self::Header);
        }
        let [Some(text), Some(bytes), Some(pid), None] = fields else {
            return Err(format!("{} has {} fields, not 3", quoted(line), line.split(',').count()));
        };
        let (at, bytes, pid) =
            (time(text)?, whole("rss_bytes", bytes, LARGEST)?, whole("the pid", pid, u32::MAX.into())?);
        let sample =
            || Ok(Sample { text, at: at?, bytes: bytes?, pid: pid.map(|pid| u32::try_from(pid).unwrap_or(u32::MAX))? });
        Ok(sample().map_or_else(Self::Untrue, Self::Sample))
    }
}

/// Whether this names the columns as they are read: what stands in another order would be taken for something else.
fn header(line: &str, fields: [Option<&str>; 4]) -> Result<(), String> {
    let wanted = "the columns t_seconds, rss_bytes and pid are wanted, in this order";
    let [Some(time), Some(bytes), Some(pid), None] = fields.map(|field| field.map(str::to_ascii_lowercase)) else {
        return Err(format!("{} is neither a sample nor a header: {wanted}", quoted(line)));
    };
    let is_in_order = pid.contains("pid")
        && !["pid", "rss", "byte"].iter().any(|other| time.contains(other))
        && !["pid", "time"].iter().any(|other| bytes.contains(other))
        && !bytes.starts_with("t_");
    if !is_in_order {
        return Err(format!("{} is neither a sample nor a header: {wanted}", quoted(line)));
    }
    let ends = |name: &str, units: &[&str]| units.iter().any(|unit| name.trim_end_matches('"').ends_with(unit));
    if ends(&time, &["_ms", "_ns", "_us"]) || ends(&bytes, &["kb", "kib", "mb", "mib", "gb", "gib", "pages"]) {
        return Err(format!("{} has other units: time is in seconds and memory in bytes", quoted(line)));
    }
    Ok(())
}

fn time(text: &str) -> Read<f64> {
    let at: f64 = text.parse().map_err(|_| format!("the time {} is no number", quoted(text)))?;
    Ok(match at {
        at if !at.is_finite() => Err(format!("the time {} is no number", quoted(text))),
        at if at < 0.0 => Err(format!("the time {} is negative", quoted(text))),
        at if at > LARGEST as f64 => Err(format!("the time {} is absurd", quoted(text))),
        at => Ok(at),
    })
}

/// A whole number up to `most`, which is at most [`LARGEST`].
fn whole(what: &str, text: &str, most: u64) -> Read<u64> {
    let above = || Err(format!("{what} {} is above {most}, which is absurd", quoted(text)));
    if let Ok(number) = text.parse::<u64>() {
        return Ok(if number <= most { Ok(number) } else { above() });
    }
    // `1e3` and `1000.0` are whole, too.
    match text.parse::<f64>() {
        Ok(number) if !number.is_finite() => Ok(Err(format!("{what} {} is no number", quoted(text)))),
        Ok(number) if number < 0.0 => Ok(Err(format!("{what} {} is negative", quoted(text)))),
        Ok(number) if number > most as f64 => Ok(above()),
        Ok(number) if number.fract() == 0.0 => Ok(Ok(number as u64)),
        _ => Err(format!("{what} {} is no whole number", quoted(text))),
    }
}

/// On one line, and not too long.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let more = if text.chars().nth(LONGEST).is_some() { "..." } else { "" };
    format!("`{}{more}`", text.chars().take(LONGEST).flat_map(char::escape_debug).collect::<String>())
}
