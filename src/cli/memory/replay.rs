//! `memory replay`: what the leak detector makes of a recorded history.
//!
//! Lines are read and forgotten one by one, into one buffer: a week takes milliseconds, a year no more memory than a day.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::args::Replay;
use super::recorded::{HINT, Line, Sample};
use crate::cli::{Context, Output, Stop};
use crate::config;
use crate::error::{Error, ErrorKind};
use crate::machine::words;
use crate::model::Growth;
use crate::policy::trend::{Point, Trend, TrendSpec};

/// No line is longer, bytes: what has none that ends is no text.
const LONGEST: usize = 1024;

/// So many lines that are left out are named.
const NAMED: u64 = 5;

pub(super) fn run(args: &Replay, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let size =
        |option: &str, text: &Option<String>| text.as_ref().map(|text| config::typed_size(option, text)).transpose();
    let spec = TrendSpec {
        growth: Some(config::typed_rate("--growth", &args.growth)?),
        plateau: size("--plateau", &args.plateau)?,
        recycle: args.recycle.as_ref().map(|text| config::typed_duration("--recycle", text)).transpose()?,
    };
    let limit = size("--limit", &args.limit)?;
    if let (Some(plateau), Some(limit)) = (spec.plateau, limit)
        && plateau >= limit
    {
        let message = "--plateau: it is not below --limit, so it would be restarted before it is reached";
        return Err(Error::new(ErrorKind::Usage, message)
            .hint("write a plateau below the limit, or a higher limit")
            .into());
    }
    let mut trend = Trend::new();
    let mut detect = |mut point: Point| {
        point.room = limit.map(|limit| limit.saturating_sub(point.bytes));
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
    let mut number = 0_u64;
    let mut history = History::default();
    loop {
        line.clear();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
        let read = (&mut *input).take(most).read_until(b'\n', &mut line).map_err(|error| unreadable(shown, &error))?;
        if read == 0 {
            break;
        }
        number += 1;
        let wrong =
            |reason: String| Error::new(ErrorKind::Usage, format!("{shown}, line {number}: {reason}")).hint(HINT);
        if read > LONGEST {
            return Err(wrong(format!("it is longer than {LONGEST} bytes")).into());
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let is_first = !std::mem::replace(&mut history.has_begun, true);
        let sample = match Line::read(text, is_first).map_err(wrong)? {
            Line::Header => continue,
            Line::Sample(sample) => history.take(&sample).map(|point| (sample, point)),
            Line::Untrue(reason) => Err(reason),
        };
        let (sample, point) = match sample {
            Ok(sample) => sample,
            Err(reason) => {
                history.left_out += 1;
                if history.left_out <= NAMED {
                    writeln!(output.notes, "note: {shown}, line {number} is left out: {reason}")?;
                }
                continue;
            }
        };
        if let Some(growth) = detect(point) {
            history.told += 1;
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
    history.end(shown, number, output)
}

/// What was read so far.
#[derive(Debug, Default)]
struct History {
    /// Whether there was a line.
    has_begun: bool,
    /// Time and pid of the sample that came last.
    last: Option<(f64, u32)>,
    /// Time of the first.
    first: Option<f64>,
    samples: u64,
    /// Counts what has another pid than the one before.
    life: u64,
    /// Lines that cannot be true.
    left_out: u64,
    /// How often growth was told.
    told: u64,
}

impl History {
    /// What the detector gets of it, or why it cannot be true.
    fn take(&mut self, sample: &Sample<'_>) -> Result<Point, String> {
        if let Some((at, pid)) = self.last {
            if sample.at < at {
                return Err(format!("time goes back from {at} to {} s", sample.at));
            }
            self.life += u64::from(sample.pid != pid);
        }
        self.last = Some((sample.at, sample.pid));
        self.first.get_or_insert(sample.at);
        self.samples += 1;
        let Sample { at, bytes, .. } = *sample;
        Ok(Point { awake: at, wall: at, bytes, life: self.life, room: None, requests: None })
    }

    /// What is to be said after the last line, which has this number.
    fn end(&self, shown: &str, number: u64, output: &mut Output<'_>) -> Result<(), Stop> {
        if self.samples == 0 && self.left_out == 0 {
            let what = if number == 0 { "it is empty" } else { "it ends here, and there was no sample" };
            let message = format!("{shown}, line {}: {what}", number.max(1));
            return Err(Error::new(ErrorKind::Usage, message).hint(HINT).into());
        }
        match self.left_out.saturating_sub(NAMED) {
            0 => {}
            1 => writeln!(output.notes, "note: 1 more line of {shown} is left out")?,
            more => writeln!(output.notes, "note: {more} more lines of {shown} are left out")?,
        }
        if self.told == 0 {
            let span = self.first.zip(self.last).map_or(0.0, |(first, (last, _))| last - first);
            let samples = if self.samples == 1 { "sample" } else { "samples" };
            let span = words::hours(span / 3600.0);
            writeln!(output.notes, "note: {} {samples} over {span}: nothing to tell", self.samples)?;
        }
        Ok(())
    }
}

/// All of the growth, and when it was told.
fn object(sample: &Sample<'_>, growth: &Growth) -> Value {
    let mut object = json!(growth);
    // As it was written, unless JSON has no such number (`5.`).
    object["t_seconds"] = serde_json::from_str(sample.text).unwrap_or_else(|_| json!(sample.at));
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemoryVerdict;

    /// What is printed, and the points that the detector got; it tells of each number of bytes that ends in 7.
    fn ran(input: &[u8], json: bool) -> (Result<(), Error>, String, Vec<Point>) {
        let (done, out, _, points) = noted(input, json);
        (done, out, points)
    }

    /// The same with the notes before the points.
    fn noted(input: &[u8], json: bool) -> (Result<(), Error>, String, String, Vec<Point>) {
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
        (done, String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap(), points)
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
            ("0,1.5,1\n", 1, "rss_bytes `1.5` is no whole number"),
            ("x,1,1\n", 1, "`x,1,1` is neither a sample nor a header"),
            ("7\n", 1, "`7` has 1 fields, not 3"),
            ("{\"a\": 1}\n", 1, "is neither a sample nor a header"),
            ("pid,rss_bytes,t_seconds\n0,1,1\n", 1, "t_seconds, rss_bytes and pid are wanted, in this order"),
            ("t_seconds,pid,rss_bytes\n0,1,1\n", 1, "in this order"),
            ("rss_bytes,t_seconds,pid\n0,1,1\n", 1, "in this order"),
            ("t_seconds,rss_bytes,pid,name\n0,1,1\n", 1, "in this order"),
            ("t_seconds,rss_kb,pid\n0,1,1\n", 1, "time is in seconds and memory in bytes"),
            ("t_ms,rss_bytes,pid\n0,1,1\n", 1, "time is in seconds and memory in bytes"),
            ("0,,1\n", 1, "rss_bytes `` is no whole number"),
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
        for (empty, message) in [
            ("", "a.csv, line 1: it is empty"),
            ("\n\r\n", "a.csv, line 2: it ends here, and there was no sample"),
            ("t_seconds,rss_bytes,pid\n", "a.csv, line 1: it ends here, and there was no sample"),
        ] {
            let error = ran(empty.as_bytes(), false).0.unwrap_err();
            assert_eq!((error.kind.exit_code(), error.message.as_str()), (2, message));
        }
        for header in ["Time,RSS,PID", "\"t\",\"bytes\",\"pid\"", "t_s, footprint_bytes , main pid"] {
            let input = format!("{header}\n0,1,1\n");
            assert_eq!(ran(input.as_bytes(), false).2.len(), 1, "{header}");
        }
        assert_eq!(ran(b"9007199254740992,9007199254740992,0", false).0, Ok(()));
        let (done, out, _) = ran(b"0,7,1\n60,x,1\n", false);
        assert!(done.is_err() && out == "0 growing 15000000\n", "what was told before it stays told");
    }

    #[test]
    fn what_cannot_be_true_is_left_out_and_named() {
        for (line, reason) in [
            ("nan,1,1", "the time `nan` is no number"),
            ("inf,1,1", "the time `inf` is no number"),
            ("-1,1,1", "the time `-1` is negative"),
            ("1e300,1,1", "the time `1e300` is absurd"),
            ("60,-5,1", "rss_bytes `-5` is negative"),
            ("60,-5.5,1", "rss_bytes `-5.5` is negative"),
            ("60,NaN,1", "rss_bytes `NaN` is no number"),
            ("60,-inf,1", "rss_bytes `-inf` is no number"),
            ("60,9007199254740993,1", "is above 9007199254740992, which is absurd"),
            ("60,99999999999999999999999999,1", "is above 9007199254740992, which is absurd"),
            ("60,1,-3", "the pid `-3` is negative"),
            ("60,1,4294967296", "the pid `4294967296` is above 4294967295, which is absurd"),
            ("29.9,1,2", "time goes back from 30 to 29.9 s"),
        ] {
            let (done, out, notes, points) = noted(format!("t,rss,pid\n30,1,1\n{line}\n90,17,1\n").as_bytes(), false);
            assert_eq!((done, out.as_str()), (Ok(()), "90 growing 15000000\n"), "{line}");
            assert!(notes.starts_with("note: a.csv, line 3 is left out: ") && notes.contains(reason), "{notes}");
            assert_eq!(notes.lines().count(), 1, "{notes}");
            let seen: Vec<_> = points.iter().map(|p| (p.awake, p.life)).collect();
            assert_eq!(seen, [(30.0, 0), (90.0, 0)], "{line}");
        }
        let first = noted(b"nan,1,1\n60,17,1\n", false);
        assert!(first.0.is_ok() && first.3.len() == 1 && first.2.contains("line 1 is left out"), "{}", first.2);
        // What programs write that know no whole numbers.
        assert_eq!(
            ran(b"0,1e3,7.0\n60,1000.0,7\n", false).2.iter().map(|p| (p.bytes, p.life)).collect::<Vec<_>>(),
            [(1000, 0); 2]
        );
    }

    #[test]
    fn few_of_them_are_named_and_nothing_is_said_to_be_nothing() {
        let many = |count: usize| noted(format!("0,1,1\n{}604740,1,1\n", "0,-1,1\n".repeat(count)).as_bytes(), false).2;
        let notes = many(5);
        assert_eq!(notes.lines().count(), 6);
        assert!(notes.ends_with("note: 2 samples over 6d 23h: nothing to tell\n"), "{notes}");
        assert_eq!(many(6).lines().nth(5), Some("note: 1 more line of a.csv is left out"));
        assert_eq!(many(12).lines().nth(5), Some("note: 7 more lines of a.csv are left out"));
        assert_eq!(many(12).lines().count(), 7);
        let (done, out, notes, _) = noted(b"0,-1,1\n", true);
        assert_eq!((done, out.as_str()), (Ok(()), ""));
        assert!(notes.ends_with("note: 0 samples over 0s: nothing to tell\n"), "{notes}");
        assert!(noted(b"0,1,1\n", false).2.starts_with("note: 1 sample over 0s"));
        assert_eq!(noted(b"0,7,1\n", false).2, "", "something was told");
    }
}
