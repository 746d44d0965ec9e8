//! The tiny service of the benchmarks: `svc MODE NAME EVENTS [ARGS]`.
//!
//! Its first act is a stamp of CLOCK_MONOTONIC, its second one record of 32 bytes appended to the file EVENTS, in one
//! write(2): stamp (u64, nanoseconds), pid (u32), parent's pid (u32), NAME (16 bytes, zero-filled), in native byte order.
//! Then, by MODE:
//!
//! - `sleep`: for ever, and until SIGTERM;
//! - `crash`: exits with code 1, unless there is a file EVENTS.calm; then it sleeps;
//! - `flood BYTES COUNTERS`: writes lines of 100 bytes to stdout, each beginning with its number in 12 digits, as fast as it
//!   can; then it sleeps. COUNTERS is made by it (when the file is there already it sleeps at once: it floods only once) and
//!   holds u64s, kept while it runs: lines written, stamp of the beginning, stamp of the end, pid.
//!
//! It starts in the time of its C twin when it is linked statically (`benches/whole` does so on Linux), and about 0.3 ms
//! slower when the dynamic loader has to find libc first.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{getpid, getppid, pause};

fn main() -> io::Result<ExitCode> {
    let began = now();
    let args: Vec<String> = std::env::args().collect();
    let [_, mode, name, events, rest @ ..] = args.as_slice() else { return Ok(ExitCode::from(2)) };
    record(events, name, began)?;
    match (mode.as_str(), rest) {
        ("crash", []) if File::open(format!("{events}.calm")).is_err() => return Ok(ExitCode::FAILURE),
        ("sleep" | "crash", []) => {}
        ("flood", [bytes, counters]) => flood(bytes.parse().map_err(io::Error::other)?, counters)?,
        _ => return Ok(ExitCode::from(2)),
    }
    loop {
        pause();
    }
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec());
    u64::try_from(time).unwrap_or(0)
}

fn record(events: &str, name: &str, began: u64) -> io::Result<()> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&began.to_ne_bytes());
    bytes[8..12].copy_from_slice(&getpid().as_raw().to_ne_bytes());
    bytes[12..16].copy_from_slice(&getppid().as_raw().to_ne_bytes());
    let name = &name.as_bytes()[..name.len().min(16)];
    bytes[16..16 + name.len()].copy_from_slice(name);
    OpenOptions::new().append(true).create(true).open(events)?.write_all(&bytes)
}

const LINE: usize = 100;
/// As many as go into a pipe whole or not at all (PIPE_BUF is 4096 on Linux; 512 on macOS, where a kill may cut a line).
const LINES: usize = 40;

fn flood(bytes: u64, counters: &str) -> io::Result<()> {
    let Ok(file) = OpenOptions::new().read(true).write(true).create_new(true).open(counters) else { return Ok(()) };
    let [lines, start, end, pid] = map(&file)?;
    pid.store(u64::from(std::process::id()), Ordering::Relaxed);
    start.store(now(), Ordering::Release);
    let mut block = [b'x'; LINE * LINES];
    let mut written = 0;
    // The descriptor itself: std's stdout would look for line ends.
    let mut out = File::from(nix::unistd::dup(io::stdout())?);
    while written * (LINE as u64) < bytes {
        for (line, number) in block.chunks_exact_mut(LINE).zip(written..) {
            let mut rest = number;
            for digit in line[..12].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            line[12] = b' ';
            line[LINE - 1] = b'\n';
        }
        out.write_all(&block)?;
        written += LINES as u64;
        lines.store(written, Ordering::Release);
    }
    end.store(now(), Ordering::Release);
    Ok(())
}

/// The counters, in memory shared with whoever reads the file: they are right also when this process is killed.
#[expect(unsafe_code, reason = "shared memory")]
fn map(file: &File) -> io::Result<&'static [AtomicU64; 4]> {
    use std::os::fd::AsRawFd;
    file.set_len(4096)?;
    let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
    // SAFETY: a new mapping, which is never undone.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is aligned to a page and zero-filled, and whoever else looks at it only reads.
    Ok(unsafe { &*memory.cast() })
}
