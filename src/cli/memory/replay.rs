//! `memory replay`: what the leak detector makes of a recorded history.
//!
//! Lines are read and forgotten one by one, into one buffer: a week takes milliseconds, a year no more memory than a day.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::args::Replay;
use crate::cli::{Context, Output, Stop};
use crate::config;
use crate::error::{Error, ErrorKind};
use crate::model::Growth;
use crate::policy::trend::{Point, Trend, TrendSpec};

const LINE_HINT: &str = "a line is `t_seconds,rss_bytes,pid`, such as `3600,125829120,4711`; times go forward, and all numbers are 0 or more";

/// No line is longer, bytes: what has none that ends is no text.
const LONGEST: usize = 1024;

/// Numbers above this are not exact in every program that writes them, and no memory is so large.
const LARGEST: u64 = 1 << 53;

pub(super) fn run(args: &Replay, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let size =
        |option: &str, text: &Option<String>| text.as_ref().map(|text| config::typed_size(option, text)).transpose();
    let spec = TrendSpec {
        growth: Some(config::typed_rate("--growth", &args.growth)?),
        plateau: size("--plateau", &args.plateau)?,
        limit: size("--limit", &args.limit)?,
        recycle: args.recycle.as_ref().map(|text| config::typed_duration("--recycle", text)).transpose()?,
    };
    let mut trend = Trend::new();
    let mut detect = |mut point: Point| {
        point.room = spec.limit.map(|limit| limit.saturating_sub(point.bytes));
        trend.sample(&spec, point)
    };
    match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        None => replay(&mut io::stdin().lock(), "stdin", &mut detect, context.json, output)?,
        Some(path) => {
            let shown = path.display().to_string();
            let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
            replay(&mut BufReader::with_capacity(1 << 16, file), &shown, &mut detect, context.json, output)?;
        }
    }
    Ok(0)
}

fn unreadable(shown: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Usage, format!("cannot read {shown}: {error}"))
        .hint("name a file with one sample a line, or - for stdin")
}

/// Hands each sample to `detect`, and prints what it tells.
fn replay(
    input: &mut impl BufRead,
    shown: &str,
    detect: &mut impl FnMut(Point) -> Option<Growth>,
    json: bool,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let mut line = Vec::with_capacity(LONGEST + 1);
    let (mut number, mut life, mut header) = (0_u64, 0_u64, false);
    let mut last: Option<Sample<'static>> = None;
    loop {
        line.clear();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
        let read = (&mut *input).take(most).read_until(b'\n', &mut line).map_err(|error| unreadable(shown, &error))?;
        if read == 0 {
            break;
        }
        number += 1;
        let wrong =
            |reason: String| Error::new(ErrorKind::Usage, format!("{shown}, line {number}: {reason}")).hint(LINE_HINT);
        if read > LONGEST {
            return Err(wrong(format!("it is longer than {LONGEST} bytes")).into());
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        if last.is_none() && !header && is_header(text) {
            header = true;
            continue;
        }
        let sample = Sample::parse(text).map_err(wrong)?;
        if let Some(last) = &last {
            if sample.at < last.at {
                return Err(wrong(format!("time goes back from {} to {} s", last.at, sample.at)).into());
            }
            life += u64::from(sample.pid != last.pid);
        }
        last = Some(Sample { text: "", ..sample });
        let point = Point { awake: sample.at, wall: sample.at, bytes: sample.bytes, life, room: None, requests: None };
        if let Some(growth) = detect(point) {
            match json {
                true => writeln!(output.out, "{}", object(&sample, &growth))?,
                false => {
                    let rate = growth.bytes_per_hour.round() as i64;
                    writeln!(output.out, "{} {} {rate}", sample.text, growth.verdict.as_str())?;
                }
            }
            // Whoever watches what is being recorded sees it at once.
            output.out.flush()?;
        }
    }
    match last {
        Some(_) => Ok(()),
        None => Err(Error::new(ErrorKind::Usage, format!("{shown} has no samples")).hint(LINE_HINT).into()),
    }
}

/// All of the growth, and when it was told.
fn object(sample: &Sample<'_>, growth: &Growth) -> Value {
    let mut object = json!(growth);
    // As it was written, unless JSON has no such number (`5.`).
    object["t_seconds"] = serde_json::from_str(sample.text).unwrap_or_else(|_| json!(sample.at));
    object
}

/// One line.
struct Sample<'a> {
    /// The time as it was written.
    text: &'a str,
    at: f64,
    bytes: u64,
    pid: u32,
}

/// Three words and no number: what a line of numbers is never taken for.
fn is_header(line: &[u8]) -> bool {
    let is_word = |field: &[u8]| field.trim_ascii().first().is_some_and(u8::is_ascii_alphabetic);
    line.split(|byte| *byte == b',').count() == 3 && line.split(|byte| *byte == b',').all(is_word)
}

impl<'a> Sample<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, String> {
        let line = std::str::from_utf8(line).map_err(|_| "it is no text".to_owned())?;
        let mut fields = line.split(',').map(str::trim_ascii);
        let (Some(text), Some(bytes), Some(pid), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(format!("{} has {} fields, not 3", quoted(line), line.split(',').count()));
        };
        let at: f64 = text.parse().map_err(|_| format!("the time {} is no number", quoted(text)))?;
        let bytes = whole("rss_bytes", bytes, LARGEST)?;
        let pid = whole("the pid", pid, u64::from(u32::MAX))?;
        match at {
            at if !at.is_finite() => Err(format!("the time {} is no number", quoted(text))),
            at if at < 0.0 => Err(format!("the time {} is negative", quoted(text))),
            at if at > LARGEST as f64 => Err(format!("the time {} is absurd", quoted(text))),
            at => Ok(Self { text, at, bytes, pid: u32::try_from(pid).unwrap_or(u32::MAX) }),
        }
    }
}

/// A whole number up to `most`.
fn whole(what: &str, text: &str, most: u64) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if number <= most => Ok(number),
        Err(_) if text.strip_prefix('-').is_some_and(|rest| rest.parse::<f64>().is_ok()) => {
            Err(format!("{what} {} is negative", quoted(text)))
        }
        Err(_) if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_digit()) => {
            Err(format!("{what} {} is no whole number", quoted(text)))
        }
        _ => Err(format!("{what} {} is above {most}, which is absurd", quoted(text))),
    }
}

/// On one line, and not too long.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let more = if text.chars().nth(LONGEST).is_some() { "..." } else { "" };
    format!("`{}{more}`", text.chars().take(LONGEST).flat_map(char::escape_debug).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemoryVerdict;

    /// What is printed, and the points that the detector got; it tells of each number of bytes that ends in 7.
    fn ran(input: &[u8], json: bool) -> (Result<(), Error>, String, Vec<Point>) {
        let (mut out, mut notes, mut points) = (Vec::new(), Vec::new(), Vec::new());
        let mut detect = |point: Point| {
            points.push(point);
            let (verdict, bytes_per_hour) = (MemoryVerdict::Growing, 1.5e7 + 0.4);
            (point.bytes % 10 == 7).then(|| Growth {
                verdict,
                bytes_per_hour,
                low: 1e7,
                high: 2e7,
                grown: 1e8,
                hours: 7.0,
                hours_left: None,
                bytes_per_request: None,
                test: "fake".into(),
            })
        };
        let mut output = Output { out: &mut out, notes: &mut notes };
        let done = replay(&mut &input[..], "a.csv", &mut detect, json, &mut output);
        let done = done.map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Closed => panic!("closed"),
        });
        (done, String::from_utf8(out).unwrap(), points)
    }

    #[test]
    fn alerts_are_told_with_the_time_as_it_was_written() {
        let input = b"\xef\xbb\xbft_seconds,rss_bytes,pid\r\n\r\n0,100,7\r\n 60.50 , 107 ,7\n60.5,117,8\n\n1e3,120,7\n1060,127,7";
        let (done, out, points) = ran(input, false);
        assert_eq!(done, Ok(()));
        assert_eq!(out, "60.50 growing 15000000\n60.5 growing 15000000\n1060 growing 15000000\n");
        let seen: Vec<_> = points.iter().map(|p| (p.awake, p.bytes, p.life)).collect();
        assert_eq!(seen, [(0.0, 100, 0), (60.5, 107, 0), (60.5, 117, 1), (1000.0, 120, 2), (1060.0, 127, 2)]);
        assert!(points.iter().all(|p| p.wall == p.awake));
    }

    #[test]
    fn json_has_all_of_the_growth() {
        let (_, out, _) = ran(b"60,107,7\n61.50,117,7\n62.,127,7\n", true);
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["t_seconds"], &lines[1]["t_seconds"]), (&json!(60), &json!(61.5)));
        assert_eq!(lines[2]["t_seconds"], json!(62.0));
        assert_eq!(lines[0]["verdict"], "growing");
        assert_eq!((&lines[0]["test"], &lines[0]["hours_left"]), (&json!("fake"), &Value::Null));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        let long = format!("0,1,1\n{}", "1".repeat(5000));
        for (input, line, reason) in [
            ("0,1,1\n60,1\n", 2, "`60,1` has 2 fields, not 3"),
            ("0,1,1\n\n60,1,1,1\n", 3, "`60,1,1,1` has 4 fields, not 3"),
            ("t,rss,pid\nx,1,1\n", 2, "the time `x` is no number"),
            ("t,rss,pid\nt,rss,pid\n", 2, "the time `t` is no number"),
            ("0,1,1\nt,rss,pid\n", 2, "the time `t` is no number"),
            ("nan,1,1\n", 1, "the time `nan` is no number"),
            ("inf,1,1\n", 1, "the time `inf` is no number"),
            ("-1,1,1\n", 1, "the time `-1` is negative"),
            ("1e300,1,1\n", 1, "the time `1e300` is absurd"),
            ("0,-5,1\n", 1, "rss_bytes `-5` is negative"),
            ("0,1.5,1\n", 1, "rss_bytes `1.5` is no whole number"),
            ("0,,1\n", 1, "rss_bytes `` is no whole number"),
            ("0,NaN,1\n", 1, "rss_bytes `NaN` is no whole number"),
            ("0,9007199254740993,1\n", 1, "is above 9007199254740992, which is absurd"),
            ("0,99999999999999999999999999,1\n", 1, "is above 9007199254740992, which is absurd"),
            ("0,1,-3\n", 1, "the pid `-3` is negative"),
            ("0,1,4294967296\n", 1, "the pid `4294967296` is above"),
            ("60,1,1\n59.9,1,1\n", 2, "time goes back from 60 to 59.9 s"),
            ("0,1,1\u{7}\n", 1, "the pid `1\\u{7}` is no whole number"),
            (&long, 2, "it is longer than 1024 bytes"),
        ] {
            let error = ran(input.as_bytes(), false).0.unwrap_err();
            assert_eq!(error.kind.exit_code(), 2, "{input}");
            assert!(error.message.starts_with(&format!("a.csv, line {line}: ")), "{input}: {}", error.message);
            assert!(error.message.contains(reason), "{input}: {}", error.message);
            assert!(error.hint.unwrap().contains("t_seconds,rss_bytes,pid"));
        }
        assert!(ran(b"0,1,1\n60,\xff,1\n", false).0.unwrap_err().message.contains("line 2: it is no text"));
        for empty in ["", "\n\r\n", "t_seconds,rss_bytes,pid\n"] {
            assert_eq!(ran(empty.as_bytes(), false).0.unwrap_err().message, "a.csv has no samples");
        }
        assert_eq!(ran(b"9007199254740992,9007199254740992,0", false).0, Ok(()));
        let (done, out, _) = ran(b"0,7,1\n60,x,1\n", false);
        assert!(done.is_err() && out == "0 growing 15000000\n", "what was told before it stays told");
    }
}
