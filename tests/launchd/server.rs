//! The launchd: what is loaded, what time brings, who has ended; and its end, which nothing survives.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use supervisor::process::reap;

use crate::calendar;
use crate::job::{Around, Job};
use crate::{Call, Reply, verbs};

/// How often it looks at what time has brought.
const TICK: Duration = Duration::from_millis(5);

pub fn socket(dir: &Path) -> PathBuf {
    dir.join("sock")
}

/// The lines of a file that says what kind of Mac this is.
pub fn words(dir: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Everything it knows.
pub struct State {
    pub dir: PathBuf,
    pub jobs: Vec<Job>,
    /// Switched off (`true`) or on, by `system/LABEL` or `UID/LABEL`.
    pub switched: BTreeMap<String, bool>,
    /// How often each line of `answer` was used.
    pub answered: BTreeMap<String, u64>,
    /// Until when the calendar has been looked at.
    pub looked_until: DateTime,
    /// The time that `tick` has set.
    pub clock: Option<DateTime>,
    pub ids: u64,
    pub is_ending: bool,
    /// Groups of all that was started.
    groups: Vec<i32>,
}

/// Woken whenever something may have changed.
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the state until something may have changed.
    pub fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    pub fn log(&self, line: &str) {
        append(&self.dir.join("standin.log"), line);
    }

    pub fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    pub fn job(&mut self, domain: &str, label: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.domain == domain && job.spec.label == label)
    }

    /// Whether the calendar has anything between then and now; all that is due is one start.
    pub fn look_at_calendar(&mut self, now: DateTime, at: Instant) {
        for job in &mut self.jobs {
            // One that runs is not started twice: that slot is lost.
            if job.process.is_none() && !job.is_removed && calendar::is_due(&job.spec.slots, self.looked_until, now) {
                job.demand(at, "launch event");
            }
        }
        self.looked_until = now;
    }

    fn tick(&mut self) {
        let now = Instant::now();
        while let Some((pid, _)) = reap::peek() {
            let job = self.jobs.iter_mut().find(|job| job.process.as_ref().is_some_and(|process| process.pid == pid));
            match job {
                Some(job) => {
                    job.sweep();
                    let exit = reap::reap(pid);
                    job.ended(exit, now);
                    let line = format!("{} has ended: {exit}", job.spec.label);
                    self.log(&line);
                }
                // An orphan, as all orphans are launchd's.
                None => drop(reap::reap(pid)),
            }
        }
        self.jobs.retain(|job| !job.is_removed || job.process.is_some());
        if self.clock.is_none() {
            let wall = calendar::wall();
            if (wall.hour(), wall.minute()) != (self.looked_until.hour(), self.looked_until.minute()) {
                self.look_at_calendar(wall, now);
            }
        }
        let pend = std::fs::read_to_string(self.dir.join("pend")).ok();
        let around = Around { dir: &self.dir, pend: pend.as_deref().map(str::trim) };
        let mut said = Vec::new();
        for job in &mut self.jobs {
            said.extend(job.tick(now, &around));
            self.groups.extend(job.process.as_ref().map(|process| process.pid));
        }
        self.groups.sort_unstable();
        self.groups.dedup();
        said.iter().for_each(|line| self.log(line));
    }

    /// Whether those for whom it is there are.
    fn is_wanted(&self) -> bool {
        let parent = words(&self.dir, "parent").first().and_then(|pid| pid.parse().ok());
        let lives = |pid| kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH);
        !self.is_ending && self.dir.exists() && parent.is_none_or(lives)
    }
}

pub fn append(path: &Path, line: &str) {
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = writeln!(file, "{line}");
    }
}

fn lock(dir: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(dir.join("lock"))
}

/// Waits until the launchd of `dir` has ended.
pub fn wait_for_end(dir: &Path) -> io::Result<()> {
    Flock::lock(lock(dir)?, FlockArg::LockExclusive).map(drop).map_err(|(_, e)| e.into())
}

/// Is the launchd of `dir`, until it is told to end.
pub fn serve(dir: &Path) -> io::Result<()> {
    // Another one is there: good.
    let Ok(_lock) = Flock::lock(lock(dir)?, FlockArg::LockExclusiveNonblock) else { return Ok(()) };
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    let path = socket(dir);
    std::fs::remove_file(&path).ok();
    let switched = std::fs::read(dir.join("switched.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let state = State {
        dir: dir.to_owned(),
        jobs: Vec::new(),
        switched: switched.unwrap_or_default(),
        answered: BTreeMap::new(),
        looked_until: calendar::wall(),
        clock: None,
        ids: 0,
        is_ending: false,
        groups: Vec::new(),
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
    let listener = UnixListener::bind(&path)?;
    let at_door = shared.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = at_door.clone();
            std::thread::spawn(move || answer(&stream, &shared));
        }
    });
    let mut state = shared.lock();
    while state.is_wanted() {
        state.tick();
        shared.changed.notify_all();
        state = shared.wait(state);
    }
    std::fs::remove_file(&path).ok();
    // Nobody starts anything any more: the lock is kept.
    end_all(&state.groups);
    Ok(())
}

fn answer(mut stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let call: Call = serde_json::from_str(&line)?;
    let reply: Reply = verbs::answer(&call, shared);
    let (args, code) = (call.args.join(" "), reply.code);
    append(&shared.lock().dir.join("calls.log"), &format!("{args} -> {code}"));
    stream.write_all(&serde_json::to_vec(&reply)?)
}

/// SIGKILL for everything that was started, until nothing of it is left.
fn end_all(groups: &[i32]) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        for group in groups {
            killpg(Pid::from_raw(*group), Signal::SIGKILL).ok();
        }
        // What has left its group, or was an orphan: on Linux it is a child of ours by now, or becomes one.
        let children = children();
        for child in &children {
            kill(Pid::from_raw(*child), Signal::SIGKILL).ok();
        }
        while let Some((pid, _)) = reap::peek() {
            reap::reap(pid);
        }
        if children.is_empty() || Instant::now() >= end {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Processes whose parent is this one.
#[cfg(target_os = "linux")]
fn children() -> Vec<i32> {
    let parent_of = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, also brackets.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let us = nix::unistd::getpid().as_raw();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| parent_of(*pid) == Some(us)).collect()
}

#[cfg(not(target_os = "linux"))]
fn children() -> Vec<i32> {
    Vec::new()
}
