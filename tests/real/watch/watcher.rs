//! A file-watcher of one's own, and what its handler (`examples/handled`) has written down. For tests and benchmarks.
#![allow(dead_code, reason = "each takes what it needs")]

#[path = "../../../examples/handled/record.rs"]
pub mod record;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use supervisor::model::WatcherStatus;

use crate::support::{Env, Guard, pid_of, wait_within};
use record::{LENGTH, Record, hash};

/// CLOCK_MONOTONIC in nanoseconds: what the handler stamps with.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).expect("the clock")
}

/// What a service called `watcher` is declared as, that runs `run` for each new file in `tree`.
pub fn declared(tree: &Path, run: &[&str], concurrency: usize) -> String {
    format!(
        "[service.watcher]\nbuiltin = \"file-watcher\"\nthrottle = \"0s\"\nmin_uptime = \"0s\"\n\
         [[service.watcher.watch]]\npaths = [{tree:?}]\nrecursive = true\nsettle = \"0s\"\nrun = {run:?}\n\
         concurrency = {concurrency}\ntimeout = \"30s\"\n"
    )
}

/// What the watcher of this state directory says of itself; `None` when it does not answer.
pub fn status(env: &Env) -> Option<WatcherStatus> {
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(env.state_dir().join("supervisor/services/watcher/watch.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().ok()?;
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    serde_json::from_slice(&answer[body..]).ok()
}

/// Waits until all folders are watched and the first scan is over: what comes from now on is new.
pub fn wait_until_it_watches(env: &Env, within: Duration) -> WatcherStatus {
    wait_within("the watcher watches", within, || {
        let status = status(env)?;
        let is_ready = status.sets.iter().all(|set| set.scanned_ms.is_some() && !set.scanning);
        (is_ready && !status.sets.is_empty()).then_some(status)
    })
}

/// The watcher alone, without daemon and runner.
pub fn start(env: &Env) -> Guard {
    Guard(env.command(&["serve", "watcher"]).spawn().expect("the watcher starts"))
}

/// Its pid.
pub fn pid(watcher: &Guard) -> i32 {
    let child: &Child = &watcher.0;
    pid_of(child)
}

/// The file of records, read as it grows.
pub struct Records {
    file: File,
    /// In the order in which they were written.
    pub all: Vec<Record>,
    piece: Vec<u8>,
}

impl Records {
    /// Makes the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        Ok(Self { file: File::open(path)?, all: Vec::new(), piece: Vec::new() })
    }

    /// Takes in what is new; how many that were.
    pub fn poll(&mut self) -> io::Result<usize> {
        let before = self.all.len();
        self.file.read_to_end(&mut self.piece)?;
        let (records, rest) = self.piece.as_chunks::<LENGTH>();
        self.all.extend(records.iter().map(Record::of));
        self.piece = rest.to_vec();
        Ok(self.all.len() - before)
    }
}

/// A tree of folders in which files are made.
pub struct Tree {
    root: PathBuf,
    folders: Vec<PathBuf>,
}

/// A file that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The hash of its path.
    pub path: u64,
    /// When it was about to be closed.
    pub closed: u64,
}

impl Tree {
    /// A tree without folders in `root`, which is there.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), folders: Vec::new() }
    }

    /// How many folders it has.
    pub fn folders(&self) -> usize {
        self.folders.len()
    }

    /// The root, and all its folders.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.root).chain(&self.folders).map(PathBuf::as_path)
    }

    /// Makes a folder: in one of those that are there, or at the top; which one, `luck` decides.
    pub fn grow(&mut self, luck: u64) -> io::Result<()> {
        let place = usize::try_from(luck).unwrap_or(usize::MAX) % (self.folders.len() + 1);
        let parent = self.folders.get(place).unwrap_or(&self.root);
        let folder = parent.join(format!("d{}", self.folders.len()));
        std::fs::create_dir(&folder)?;
        self.folders.push(folder);
        Ok(())
    }

    /// Makes a file with a line in it, in the folder of this number (or the last one, where there are not so many).
    pub fn put(&self, folder: usize, name: &str) -> io::Result<Made> {
        let folder = self.folders.get(folder).or(self.folders.last()).unwrap_or(&self.root);
        let path = folder.join(name);
        let mut file = File::create_new(&path)?;
        file.write_all(b"one line\n")?;
        let path = hash(path.as_os_str().as_encoded_bytes());
        let closed = now();
        drop(file);
        Ok(Made { path, closed })
    }
}
