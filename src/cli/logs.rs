//! `logs`: what a service has written, byte for byte.

use std::io::{self, Write};

use serde_json::json;

use super::args::Logs as Args;
use super::context::{LogFrom, LogWanted};
use super::{Context, Output, Stop, names, since};
use crate::error::Error;
use crate::model::UnitName;
use crate::model::paths::Stream;

pub(super) fn run(args: &Args, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let name = names::one(&args.name)?;
    let from = match &args.since {
        Some(text) => LogFrom::Since(since::parse(text, context.now_ms, context.zone())?),
        None => LogFrom::LastLines(args.lines),
    };
    let place = context.place();
    let stream = if args.stderr { Stream::Stderr } else { Stream::Stdout };
    let log = place.paths.log(&name, stream);
    if !log.exists() {
        // Services that are gone from services.toml may still have logs; so a name is only wrong without one.
        let known = place.names();
        if !known.contains(&name) {
            return Err(place.fault().unwrap_or_else(|| names::unknown(&name, &known)).into());
        }
        let wait = if args.follow { "; waiting for it" } else { "" };
        writeln!(output.notes, "note: {name} has no log yet at {}{wait}", log.display())?;
        if !args.follow {
            return Ok(0);
        }
    }
    let wanted = LogWanted { log, index: place.paths.log_index(&name, stream), from, follow: args.follow };
    // Errors of the two sides are told apart here: the log's come back, stdout's are kept.
    let mut unwritten = None;
    let mut lines = Lines { name: &name, stream, rest: Vec::new() };
    let read = context.sources.log(&wanted, &mut |bytes| {
        let written = match context.json {
            true => lines.write(bytes, output.out),
            false => output.out.write_all(bytes),
        };
        let written = written.and_then(|()| output.out.flush());
        written.map_err(|error| {
            unwritten = Some(error);
            io::Error::other("nobody reads on")
        })
    });
    if context.json && unwritten.is_none() {
        lines.end(output.out)?;
    }
    match (unwritten, read) {
        (Some(error), _) => Err(error.into()),
        (None, Ok(())) => Ok(0),
        (None, Err(error)) => Err(Error::io("cannot read the log", &wanted.log, &error).into()),
    }
}

/// A log as JSON, an object a line. What is no UTF-8 is replaced.
struct Lines<'a> {
    name: &'a UnitName,
    stream: Stream,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl Lines<'_> {
    fn write(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.put(out)?;
            }
        }
        Ok(())
    }

    /// What has no newline at its end is a line all the same.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.rest.is_empty() { Ok(()) } else { self.put(out) }
    }

    fn put(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.rest);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = json!({ "service": self.name, "stream": self.stream.as_str(), "line": line });
        self.rest.clear();
        writeln!(out, "{line}")
    }
}
