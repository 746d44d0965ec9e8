//! The tiny handler of the watcher's measurements and tests: `handled RECORDS PATH [ATTEMPT]`, and `handled RECORDS -`.
//!
//! Its first act is a stamp of CLOCK_MONOTONIC, its second one record ([`record`]) for PATH, appended to the file RECORDS in one
//! write(2). With `-` the paths come on stdin, in the JSON that watchexec gives: a record for each of them, in one write too.

mod record;

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use nix::time::{ClockId, clock_gettime};
use record::Record;

fn main() -> io::Result<ExitCode> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec());
    let began = u64::try_from(time).unwrap_or(0);
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let (records, path, attempt) = match args.as_slice() {
        [records, path] => (records, path, 1),
        [records, path, attempt] => {
            let number = attempt.to_str().and_then(|text| text.parse().ok());
            (records, path, number.ok_or(io::ErrorKind::InvalidInput)?)
        }
        _ => return Ok(ExitCode::from(2)),
    };
    let of = |path: &[u8]| Record { began, path: record::hash(path), attempt, pid: std::process::id() }.bytes();
    let bytes = if path == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        // One tag of each event names the file; names without a quote or a backslash in them stand there as they are.
        let paths = text.split("\"absolute\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        paths.flat_map(|path| of(path.as_bytes())).collect()
    } else {
        of(path.as_bytes()).to_vec()
    };
    OpenOptions::new().append(true).create(true).open(records)?.write_all(&bytes)?;
    Ok(ExitCode::SUCCESS)
}
