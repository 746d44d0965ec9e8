//! What a service looked like before it was ended: for a person who asks later why it was silent.
//!
//! A process that hangs takes what it knows with it when it is killed, so it is looked at before, and what is seen is written into a
//! file beside the ledger. Looking must not become a reason to wait: it ends after a given time, whatever the system does, fills no
//! disk, and asks for little where memory is short. A part that cannot be had says why in its place, and the others are there all the
//! same. No environment is ever in it, and every text of a service's goes through [`redact`] first.

mod page;
mod parts;
mod tails;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::machine::words;
use crate::model::{Moment, Mono, PartInfo, ProcessState, Signal, UnitName};
use crate::policy::redact;
use crate::process::{clock, files, host, signal, vitals, wait};

use page::Page;

/// So many files are kept, and so many bytes of them.
const FILES: usize = 100;
const BYTES: u64 = 32 << 20;

/// Longest line of what others have said, in characters.
const LINE: usize = 2000;

/// How long a service may take to write what a diagnostic signal asks for, and how long it is quiet when it is through.
const ANSWER: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(100);

/// What is written down of each log, bytes: of its end, and where a signal has asked for more.
const TAIL: usize = 16 << 10;
const TAIL_ASKED_FOR: usize = 48 << 10;

/// Who is looked at, and what is known already.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The service.
    pub service: UnitName,
    /// Its run.
    pub run_id: u64,
    /// Its main process.
    pub pid: i32,
    /// When it was decided to look.
    pub at: Moment,
    /// Why, in words.
    pub reason: String,
    /// The last probes, one line each, the oldest first.
    pub probes: Vec<String>,
    /// What probes said of its parts.
    pub parts: Vec<PartInfo>,
    /// Its logs.
    pub logs: [PathBuf; 2],
    /// Asks the main process to write down what it does, and does nothing else to it.
    pub diagnostic_signal: Option<Signal>,
    /// The main process's start token: without it, it is not known that the pid is still its own, and no signal is sent.
    pub started_token: Option<u64>,
}

/// What looking may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Time, all in all.
    pub time: Duration,
    /// Size of the file, bytes.
    pub bytes: usize,
    /// With less free memory than this, bytes, only the cheap parts are taken.
    pub free_memory: u64,
}

impl Default for Budget {
    fn default() -> Self {
        // `sample` looks for a second, and takes some more to find names.
        let seconds = if cfg!(target_os = "macos") { 8 } else { 3 };
        Self { time: Duration::from_secs(seconds), bytes: 256 << 10, free_memory: 64 << 20 }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Size of the file.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// The parts that are not there or not whole, each with its reason.
    pub left_out: Vec<String>,
}

/// The name of the file for what happened (`hung`) to a run: known before it is written, so that a record can name it.
pub fn file_name(service: &UnitName, run_id: u64, at_ms: i64, what: &str) -> String {
    format!("{what}-{service}-{run_id}-{at_ms}.txt")
}

/// Looks, and writes what it saw to `file` in `folder`, whole or not at all, for nobody else's eyes. Blocks, for about the budget's time
/// at most.
///
/// # Errors
/// When the file cannot be written. What cannot be seen is no error.
pub fn take(folder: &Path, file: &str, scene: &Scene, budget: &Budget) -> io::Result<Taken> {
    let begun = clock::now();
    let end = begun.mono.plus(budget.time);
    if Path::new(file).file_name() != Some(file.as_ref()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{file}` is no plain file name")));
    }
    files::ensure_dir(folder)?;
    let free = host::free_memory();
    let is_cheap = free.is_some_and(|free| free < budget.free_memory);
    let mut page = Page::new(budget.bytes, heading(scene, begun, free));

    // What is left for the logs when the processes have been looked at.
    let reserve = Duration::from_millis(100) + if scene.diagnostic_signal.is_some() { ANSWER } else { Duration::ZERO };
    let looked = begun.mono.plus(budget.time.saturating_sub(reserve.min(budget.time / 2)));
    let look = parts::Look {
        pid: scene.pid,
        started: scene.started_token,
        is_cheap,
        until: looked,
        scratch: folder.join(format!(".{file}.sample.tmp")),
    };
    if is_cheap {
        page.leave_out("threads, descriptors, sockets, stacks and the diagnostic signal: memory is short");
    }
    add_all(&mut page, look_beside(look), is_cheap, looked);

    page.section("last probes", 16 << 10, Ok(scene.probes.iter().map(|text| shown(text, LINE)).collect()));
    page.section("parts", 16 << 10, Ok(scene.parts.iter().map(|part| part_line(part, begun)).collect()));
    let asked = match scene.diagnostic_signal {
        Some(signal) if !is_cheap => {
            let outcome = ask(scene, signal, end);
            let said = outcome.is_ok();
            page.section("diagnostic signal", 1 << 10, outcome.map(|text| vec![text]));
            said
        }
        _ => false,
    };
    for (at, log) in scene.logs.iter().enumerate() {
        // The first one leaves half of the room for the second.
        let room = page.room() / (scene.logs.len() - at);
        let most = if asked { TAIL_ASKED_FOR } else { TAIL };
        let name = log.file_name().unwrap_or_default().to_string_lossy();
        page.section(&format!("end of {}", shown(&name, LINE)), room, tails::of(log, most, room));
    }
    let (text, left_out) = page.finish();
    files::write_atomic(&folder.join(file), text.as_bytes(), false)?;
    Ok(Taken { bytes: text.len() as u64, took: clock::now().mono.since(begun.mono), left_out })
}

/// Removes the oldest files of `folder` that [`take`] has written, until a hundred of them and 32 MiB are left. What the sinks of alerts
/// keep there is theirs.
pub fn prune(folder: &Path) {
    let is_ours = |name: &str| {
        let ends = |end| Path::new(name).extension().is_some_and(|found| found == end);
        !name.starts_with("alert-") && !name.starts_with(".alert-") && (ends("txt") || ends("tmp"))
    };
    files::keep_newest(folder, is_ours, FILES, BYTES);
}

fn heading(scene: &Scene, now: Moment, free: Option<u64>) -> Vec<String> {
    let zone = jiff::tz::TimeZone::system();
    let utc = words::local_seconds(scene.at.wall_ms, &jiff::tz::TimeZone::UTC);
    let load = host::load();
    let mut machine = format!("load {:.2} on {} processors", load.load, load.processors);
    if let Some(share) = load.memory_stall {
        machine.push_str(&format!(", {:.1} % of the last ten seconds lost waiting for memory", share * 100.0));
    }
    let memory = free.map_or_else(|| "nobody knows how much".to_owned(), words::size);
    vec![
        format!("{}, run {}, pid {}", scene.service, scene.run_id, scene.pid),
        format!("why      {}", shown(&scene.reason, LINE)),
        format!("when     {utc} UTC, {} here", words::local_seconds(scene.at.wall_ms, &zone)),
        format!("looked   {} ms later", now.mono.since(scene.at.mono).as_millis()),
        format!("machine  {machine}"),
        format!("memory   {memory} could be had"),
    ]
}

/// The sections of [`parts::TITLES`], one by one as they come. Whoever looks may be held up by the system (a process that waits for a dead
/// disk has files in /proc that do so), and is then left behind.
fn look_beside(look: parts::Look) -> Receiver<parts::Section> {
    let (tell, told) = mpsc::channel();
    // Where no thread can be had, the channel is closed at once, and that is told of each part.
    let started = std::thread::Builder::new().name("evidence".into()).spawn(move || look.all(&tell));
    if let Err(error) = started {
        tracing::warn!("no thread to look at a service's processes with: {error}");
    }
    told
}

fn add_all(page: &mut Page, told: Receiver<parts::Section>, is_cheap: bool, until: Mono) {
    let count = if is_cheap { 1 } else { parts::TITLES.len() };
    for title in &parts::TITLES[..count] {
        let left = until.since(clock::now().mono);
        let lines = match told.recv_timeout(left) {
            Ok(section) => section,
            Err(RecvTimeoutError::Timeout) => Err("that took too long".into()),
            Err(RecvTimeoutError::Disconnected) => Err("there was no time for it".into()),
        };
        page.section(title, parts::MOST_BYTES, lines);
    }
}

/// A text of anybody's as it may be shown: on one line, without secrets, at most `most` characters of it.
fn shown(text: &str, most: usize) -> String {
    // Looking for secrets takes time. One that is cut here is known by its beginning, and what is cut is mostly not shown below.
    cut(&redact(&cut(text, 4 * most)), most)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn part_line(part: &PartInfo, now: Moment) -> String {
    let since = words::lasting(now.wall_ms.saturating_sub(part.since_ms));
    let how = if part.ok { "well" } else { "not well" };
    let trouble = part.trouble.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
    shown(&format!("{}: {how} for {since}{trouble}", part.name), LINE)
}

/// Sends the signal to the main process, and waits for its logs to grow. What came of it, in words.
fn ask(scene: &Scene, with: Signal, end: Mono) -> Result<String, String> {
    let pid = scene.pid;
    let token = scene.started_token.ok_or("it is not known whether the process is still the same: none was sent")?;
    let state = vitals::tree(pid, 1).first().map(|main| main.state);
    if matches!(state, Some(ProcessState::Stopped | ProcessState::Traced)) {
        return Err(format!("pid {pid} is stopped and would not act on it: none was sent"));
    }
    let before = lengths(&scene.logs);
    if !signal::process(pid, token, with) {
        return Err(format!("pid {pid} is gone, or may not be sent {with}"));
    }
    let left = |most: Duration| end.since(clock::now().mono).min(most);
    let answer = clock::now().mono.plus(left(ANSWER));
    let grown = wait::until(left(ANSWER), || Some(lengths(&scene.logs)).filter(|now| *now != before));
    let Some(mut last) = grown else {
        return Ok(format!("{with} was sent to pid {pid}, and its logs did not grow"));
    };
    // Until it has written all.
    loop {
        let rest = answer.since(clock::now().mono).min(QUIET);
        match wait::until(rest, || Some(lengths(&scene.logs)).filter(|now| *now != last)) {
            Some(now) => last = now,
            None => return Ok(format!("{with} was sent to pid {pid}, and its logs grew")),
        }
    }
}

/// What tells whether something was written: a log that was rotated is another file.
fn lengths(logs: &[PathBuf; 2]) -> [Option<(u64, u64)>; 2] {
    use std::os::unix::fs::MetadataExt;
    logs.each_ref().map(|log| log.metadata().ok().map(|data| (data.ino(), data.len())))
}

#[cfg(test)]
mod tests;
