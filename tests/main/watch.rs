//! The built-in file-watcher from outside: folders in which things happen, and what its handler was run for.

mod files;
mod folders;
mod handlers;
mod restarts;
#[path = "../real/watch/watcher.rs"]
pub(super) mod watcher;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use supervisor::model::{WatchSetStatus, WatchState, WatcherStatus};
use supervisor::process::clock;

use super::support::{Env, Guard, signal, try_wait, wait_for, wait_within};

/// One that does nothing but tell that it was started.
const TELLS: &str = "";

/// One that ends when the gate is open.
const GATED: &str = "while [ ! -e \"$HOME/gate\" ]; do sleep 0.05; done";

/// Files of this name are made to see that all that came before them is dealt with.
const LAST: &str = "the-last-";

/// A watcher of its own in a folder of its own: `in` is what is watched, all else is beside it.
struct Watched {
    env: Env,
    watcher: RefCell<Option<Guard>>,
    lasts: Cell<u32>,
}

/// A watch set of `in` and below: `more` overrides nothing of what stands here. What its handler does is [`Watched::new`]'s matter.
fn set(name: &str, more: &str) -> String {
    let timeout = if more.contains("timeout") { "" } else { "timeout = \"30s\"\n" };
    let settle = if more.contains("settle") { "" } else { "settle = \"0s\"\n" };
    let paths = if more.contains("paths") { "" } else { "paths = [\"{dir}/in\"]\n" };
    let run = "run = [\"/bin/sh\", \"{dir}/handler\", \"{event}\", \"{attempt}\", \"{path}\", \"{from}\"]\n";
    let run = if more.contains("run =") { "" } else { run };
    format!(
        "[[service.watcher.watch]]\nname = \"{name}\"\nrecursive = true\nretry_delay = \"0s\"\n\
         {paths}{settle}{run}{timeout}{more}\n"
    )
}

impl Watched {
    /// Not started yet. Each start of a handler is a line in a file; then it does what `script` says, with $1 event, $2 attempt,
    /// $3 path, $4 former path.
    fn new(sets: &[String], script: &str) -> Self {
        let head = "[service.watcher]\nbuiltin = \"file-watcher\"\nstop_timeout = \"20s\"\n";
        let env = Env::new(&(head.to_owned() + &sets.concat()));
        let tells = "printf '%s %s %s%s\\n' \"$1\" \"$2\" \"$3\" \"${4:+ from $4}\" >> \"$HOME/handled\"";
        std::fs::write(env.dir().join("handler"), format!("{tells}\n{script}\n")).unwrap();
        for folder in ["in", "out"] {
            std::fs::create_dir(env.dir().join(folder)).unwrap();
        }
        Self { env, watcher: RefCell::default(), lasts: Cell::default() }
    }

    /// Waits until what is there is older than a watcher that is started now: what is made within some hundredths of a second before
    /// its first start may be taken as new.
    fn grow_old(&self) {
        let made = clock::now().wall_ms;
        wait_for("some time", || (clock::now().wall_ms > made + 50).then_some(()));
    }

    /// The same, and it watches.
    fn started(sets: &[String], script: &str) -> Self {
        let watched = Self::new(sets, script);
        watched.start();
        watched
    }

    fn path(&self, below: &str) -> PathBuf {
        self.env.dir().join(below)
    }

    /// A file with its own name in it.
    fn put(&self, below: &str) {
        std::fs::write(self.path(below), below).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Starts the watcher, and waits until all folders that there are have been scanned.
    fn start(&self) -> WatcherStatus {
        self.start_as(self.env.command(&["serve", "watcher"]))
    }

    fn start_as(&self, mut command: std::process::Command) -> WatcherStatus {
        // As a runner would; and what handlers leave behind is found by it.
        command.env("SUPERVISOR_STATE_DIR", self.env.state_dir());
        self.grow_old();
        *self.watcher.borrow_mut() = Some(Guard(command.spawn().unwrap()));
        wait_for("the watcher watches", || {
            let status = watcher::status(&self.env)?;
            let is_ready = |set: &WatchSetStatus| {
                let is_there = |state| matches!(state, WatchState::Watched | WatchState::Polled | WatchState::Partly);
                let states = || set.folders.iter().map(|folder| folder.state);
                let is_scanned = set.scanned_ms.is_some() || !states().any(is_there);
                is_scanned && !set.scanning && states().all(|state| state != WatchState::Unknown)
            };
            status.sets.iter().all(is_ready).then_some(status)
        })
    }

    fn pid(&self) -> i32 {
        watcher::pid(self.watcher.borrow().as_ref().expect("it was started"))
    }

    /// Its end, in order or not; the exit code.
    fn end(&self, by: Signal) -> Option<i32> {
        assert!(signal(self.pid(), by));
        let mut watcher = self.watcher.borrow_mut().take().expect("it was started");
        wait_for("the watcher's end", || watcher.0.try_wait().unwrap()).code()
    }

    fn lives(&self) -> bool {
        self.watcher.borrow_mut().as_mut().is_some_and(|watcher| watcher.0.try_wait().unwrap().is_none())
    }

    fn status(&self) -> WatcherStatus {
        wait_for("an answer from the watcher", || watcher::status(&self.env))
    }

    /// Its first set.
    fn set(&self) -> WatchSetStatus {
        self.status().sets.remove(0)
    }

    /// What its probe is told of its parts.
    fn parts(&self) -> Value {
        serde_json::from_str(&self.ask("GET /parts", "")).unwrap()
    }

    /// The body of its answer.
    fn ask(&self, what: &str, body: &str) -> String {
        let socket = self.env.state_dir().join("supervisor/services/watcher/watch.sock");
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json";
        let length = body.len();
        write!(stream, "{what} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Waits until its status says all that it knows now. The loop answers this, and tells how it stands after each turn.
    fn wait_told(&self) {
        for _ in 0..2 {
            let answer = self.ask("POST /retry", "{\"set\":\"no such\"}");
            assert!(answer.contains("there is no watch set"), "{answer}");
        }
    }

    /// `supervisor watch ...`.
    fn watch(&self, args: &[&str]) -> Output {
        self.env.cli(&[&["watch"], args].concat())
    }

    /// Each start of a handler but those for last files, as `EVENT ATTEMPT PATH[ from PATH]` with paths below the folder of all.
    fn handled(&self) -> Vec<String> {
        let text = text(&std::fs::read(self.path("handled")).unwrap_or_default());
        let above = format!("{}/", self.env.dir().display());
        // One that is being written is no line yet.
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.filter(|line| !line.contains(LAST)).map(|line| line.replace(&above, "")).collect()
    }

    fn is_handled(&self, line: &str) -> bool {
        self.handled().iter().any(|handled| handled == line)
    }

    /// Waits until a handler has been started so.
    fn wait_handled(&self, line: &str) {
        try_wait(Duration::from_secs(20), || self.is_handled(line).then_some(()))
            .unwrap_or_else(|| panic!("not handled: {line}\n{:#?}\n{:#?}", self.handled(), watcher::status(&self.env)));
    }

    /// Waits until nothing settles, waits, runs or is tried again.
    fn wait_idle(&self) {
        let is_idle = |set: &WatchSetStatus| {
            set.waiting + u64::from(set.running) + set.retrying == 0 && !set.scanning && !set.behind
        };
        self.wait_told();
        wait_for("nothing is left to be done", || self.status().sets.iter().all(is_idle).then_some(()));
    }

    /// Waits until a file that is made now is handled, and all that came before it is dealt with.
    fn wait_dealt_with(&self) {
        self.lasts.set(self.lasts.get() + 1);
        let last = format!("in/{LAST}{}", self.lasts.get());
        self.put(&last);
        wait_for("the last file is handled", || {
            text(&std::fs::read(self.path("handled")).ok()?).contains(&last).then_some(())
        });
        self.wait_idle();
    }

    /// Waits until handlers were started so, in whatever order, and says that they were not otherwise or more often: all that came
    /// before is dealt with. For sets that want new files.
    fn assert_handled(&self, wanted: &[&str]) {
        for line in wanted {
            self.wait_handled(line);
        }
        self.wait_dealt_with();
        self.assert_handled_so_far(wanted);
    }

    fn assert_handled_so_far(&self, wanted: &[&str]) {
        let mut handled = self.handled();
        let mut wanted = wanted.to_vec();
        handled.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(handled, wanted);
    }

    /// Has handlers that wait for it end.
    fn open_gate(&self) {
        self.put("gate");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn make_folders(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
}

#[test]
fn it_proves_itself_on_a_file_of_its_own() {
    let watched = Watched::new(&[set("set", "")], TELLS);
    let before = clock::now().wall_ms;
    watched.start();
    let canary = wait_within("the proof", Duration::from_secs(10), || {
        watched.status().canary.filter(|canary| canary.proved_ms.is_some())
    });
    assert!(canary.proved_ms.is_some_and(|proved| proved >= before), "{canary:?}, begun at {before}");
    assert_eq!(canary.trouble, None);
    let shown = text(&watched.watch(&["status"]).stdout);
    assert!(shown.contains("proved on a file of its own"), "{shown}");
    assert_eq!(watched.handled(), [] as [&str; 0]);
}
