//! `logs`: what a service has written, byte for byte.

use std::io;

use super::args::Logs as Args;
use super::context::{LogFrom, LogWanted};
use super::{Context, Output, Stop, names, since};
use crate::error::Error;
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
    let read = context.sources.log(&wanted, &mut |bytes| {
        let written = output.out.write_all(bytes).and_then(|()| output.out.flush());
        written.map_err(|error| {
            unwritten = Some(error);
            io::Error::other("nobody reads on")
        })
    });
    match (unwritten, read) {
        (Some(error), _) => Err(error.into()),
        (None, Ok(())) => Ok(0),
        (None, Err(error)) => Err(Error::io("cannot read the log", &wanted.log, &error).into()),
    }
}
