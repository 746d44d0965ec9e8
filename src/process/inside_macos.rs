//! The macOS half: the system's own programs know how to look. `inside_linux.rs` has the same names.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::super::command;
use super::Open;

/// What is read of what `sample` wrote, bytes; the stacks stand at its beginning.
const SAMPLE: u64 = 128 << 10;

pub(super) fn open(pid: i32, most: usize, limit: Duration) -> Result<Open, String> {
    let pid = pid.to_string();
    let done = command::run(Path::new("/usr/sbin/lsof"), &["-n", "-P", "-w", "-p", &pid], &[], limit)
        .map_err(|error| error.to_string())?;
    // It ends with 1 when it found nothing, and also when it could not tell all that it was asked for.
    if done.stdout.is_empty() {
        return Err(format!("lsof shows nothing of pid {pid}: {}", done.stderr.trim()));
    }
    Ok(super::of_lsof(&done.stdout, most))
}

pub(super) fn stacks(pid: i32, _others: &[i32], scratch: &Path, limit: Duration) -> Result<Vec<String>, String> {
    let pid = pid.to_string();
    let file = scratch.to_str().ok_or("the folder for it has a name that is no text")?;
    // For one second. -mayDie: names of functions are read before, as it may be gone after.
    let asked = command::run(Path::new("/usr/bin/sample"), &[&pid, "1", "-mayDie", "-file", file], &[], limit);
    let mut text = Vec::new();
    let read = File::open(scratch).and_then(|file| file.take(SAMPLE).read_to_end(&mut text));
    fs::remove_file(scratch).ok();
    let done = asked.map_err(|error| error.to_string())?;
    if read.is_err() || text.is_empty() {
        return Err(format!("sample shows nothing of pid {pid}: {}", done.stderr.trim()));
    }
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}
