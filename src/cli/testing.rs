//! For tests: commands as they are typed, against made up facts, a daemon and runners in threads.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;

use super::args::Color;
use super::context::{AlertsSeen, AlertsWanted, Context, Loaded, LogWanted, MemoryKept, Sources, Tallies};
use super::{Command, Output, execute_to, parse};
use crate::config::Surroundings;
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::wire::{Outcome, RunnerReply, RunnerRequest};
use crate::model::{
    AlertSpec, Builtin, Fleet, Intent, ManagerKind, Program, RunView, RunnerInfo, ServiceSpec, SlotRow, Status,
    UnitName,
};
use crate::store::{EventRow, Filter, SlotCounts, SlotFilter};

/// 2026-11-22 10:03:00 UTC.
pub(super) const NOW: i64 = 1_795_341_780_000;

pub(super) fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

/// Made up facts.
pub(super) struct Facts {
    pub(super) dir: tempfile::TempDir,
    pub(super) fleet: Result<Loaded, Error>,
    pub(super) tallies: Result<Option<Tallies>, Error>,
    pub(super) events: Option<Vec<EventRow>>,
    pub(super) alerts: Option<AlertsSeen>,
    pub(super) alerts_wanted: RefCell<Vec<AlertsWanted>>,
    pub(super) memory: Option<Vec<MemoryKept>>,
    pub(super) slots: Option<Vec<SlotRow>>,
    pub(super) width: Option<u16>,
    pub(super) filters: RefCell<Vec<Filter>>,
    pub(super) logs: RefCell<Vec<LogWanted>>,
    /// How often services.toml was read as a whole.
    pub(super) fleets_read: Cell<usize>,
}

/// What a command did.
#[derive(Debug, PartialEq)]
pub(super) struct Ran {
    pub(super) code: Result<u8, Error>,
    pub(super) out: String,
    pub(super) notes: String,
}

impl Facts {
    /// Services with these names, no daemon, no runners, no database.
    pub(super) fn new(services: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(Paths::new(dir.path()).runners()).unwrap();
        std::fs::create_dir_all(Paths::new(dir.path()).logs()).unwrap();
        let fleet = Fleet {
            state_dir: dir.path().into(),
            label_prefix: "ai.openclaw".into(),
            manager: ManagerKind::Auto,
            services: services.iter().map(|service| spec(service)).collect(),
            tasks: Vec::new(),
            exposures: Vec::new(),
            unusable: Vec::new(),
            alerts: AlertSpec::default(),
        };
        let path = dir.path().join("services.toml");
        let loaded = Loaded { path, fleet: Some(fleet), faults: vec![], rendered: String::new() };
        Self {
            dir,
            fleet: Ok(loaded),
            tallies: Ok(None),
            events: None,
            alerts: None,
            alerts_wanted: RefCell::default(),
            memory: None,
            slots: None,
            width: None,
            filters: RefCell::default(),
            logs: RefCell::default(),
            fleets_read: Cell::default(),
        }
    }

    pub(super) fn paths(&self) -> Paths {
        Paths::new(self.dir.path())
    }

    pub(super) fn loaded(&mut self) -> &mut Loaded {
        self.fleet.as_mut().unwrap()
    }

    pub(super) fn declared(&mut self) -> &mut Fleet {
        self.loaded().fleet.as_mut().unwrap()
    }

    /// Runs `supervisor LINE`.
    pub(super) fn run(&self, line: &str) -> Ran {
        let mut out = Vec::new();
        let (code, notes) = self.run_to(line, &mut out);
        Ran { code, out: String::from_utf8(out).unwrap(), notes }
    }

    pub(super) fn run_to(&self, line: &str, out: &mut dyn Write) -> (Result<u8, Error>, String) {
        let words = std::iter::once("supervisor").chain(line.split_whitespace()).map(OsString::from);
        let invocation = parse(words).unwrap();
        let Command::Ask(ask) = invocation.command else { panic!("{line} is not asking") };
        let context = Context {
            json: invocation.global.json,
            color: invocation.global.color == Color::Always,
            verbose: invocation.global.verbose,
            width: self.width,
            now_ms: NOW,
            zone: TimeZone::UTC.into(),
            path_var: Some("/nowhere".into()),
            sources: self,
        };
        let mut notes = Vec::new();
        let code = execute_to(&ask, &context, &mut Output { out, notes: &mut notes });
        (code, String::from_utf8(notes).unwrap())
    }

    /// A daemon that expects these requests in turn (method and path) and answers each with a status and a body.
    pub(super) fn daemon(&self, script: &[(&'static str, u16, String)]) -> Heard<String> {
        self.answering(&self.paths().daemon_socket(), script)
    }

    /// The same for a file-watcher, which is declared, too.
    pub(super) fn watcher(&mut self, service: &str, script: &[(&'static str, u16, String)]) -> Heard<String> {
        self.declare_watcher(service);
        self.answering(&self.paths().watch_socket(&name(service)), script)
    }

    /// Declares a file-watcher that does not run.
    pub(super) fn declare_watcher(&mut self, service: &str) {
        let program = Program::Builtin(Builtin::FileWatcher);
        self.declared().services.push(ServiceSpec { program, ..spec(service) });
        std::fs::create_dir_all(self.paths().service(&name(service))).unwrap();
    }

    fn answering(&self, socket: &Path, script: &[(&'static str, u16, String)]) -> Heard<String> {
        let listener = UnixListener::bind(socket).unwrap();
        let heard = Heard::default();
        let (told, mut script) = (heard.clone(), VecDeque::from(script.to_vec()));
        std::thread::spawn(move || {
            while let Some((expected, status, body)) = script.pop_front() {
                let (stream, _) = listener.accept().unwrap();
                let request = http_request(&stream);
                let body =
                    if request.starts_with(expected) { body } else { format!("{expected} was due, not {request}") };
                told.0.lock().unwrap().push(request);
                write!(&stream, "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            }
        });
        heard
    }

    /// A runner that does all that it is told.
    pub(super) fn runner(&self, id: &str, pid: i32, views: Vec<RunView>) -> Heard<RunnerRequest> {
        let listener = UnixListener::bind(self.paths().runner_socket(id)).unwrap();
        let info = RunnerInfo {
            program: None,
            id: id.into(),
            pid,
            version: "0.1.0".into(),
            upgrades: 0,
            views,
            journal_lost: 0,
            troubles: vec![],
        };
        let heard = Heard::default();
        let told = heard.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let request: RunnerRequest = serde_json::from_str(&line).unwrap();
                let reply = match &request {
                    RunnerRequest::Snapshot => RunnerReply::Snapshot(info.clone()),
                    RunnerRequest::Order { names, .. } => {
                        let all = info.views.iter().map(|view| view.name.clone());
                        let names = if names.is_empty() { all.collect() } else { names.clone() };
                        let done = |name| Outcome {
                            name,
                            ok: true,
                            text: format!("up, pid {pid}"),
                            view: None,
                            refused: false,
                        };
                        RunnerReply::Done(names.into_iter().map(done).collect())
                    }
                    RunnerRequest::Upgrade { .. } => RunnerReply::Done(Vec::new()),
                    other => panic!("{other:?}"),
                };
                told.0.lock().unwrap().push(request);
                writeln!(&stream, "{}", serde_json::to_string(&reply).unwrap()).unwrap();
            }
        });
        heard
    }
}

/// What a thread was asked.
pub(super) struct Heard<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Heard<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Heard<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Heard<T> {
    pub(super) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
}

fn http_request(mut stream: &UnixStream) -> String {
    let mut heard = Vec::new();
    let mut block = [0; 4096];
    loop {
        let n = stream.read(&mut block).unwrap();
        heard.extend_from_slice(&block[..n]);
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_none_or(|length| body.len() >= length.parse().unwrap()) {
            return text;
        }
    }
}

impl Sources for Facts {
    fn fleet(&self, _color: bool) -> Result<Loaded, Error> {
        self.fleets_read.set(self.fleets_read.get() + 1);
        self.fleet.clone()
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().into()
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings { home: "/home/u".into(), vars: std::collections::BTreeMap::new(), state_dir: None }
    }

    fn schema(&self) -> String {
        "{\"title\":\"services.toml\"}".into()
    }

    fn tallies(&self, database: &Path) -> Result<Option<Tallies>, Error> {
        assert_eq!(database, self.paths().database());
        self.tallies.clone()
    }

    fn events(&self, paths: &Paths, filter: &Filter) -> Result<Option<Vec<EventRow>>, Error> {
        assert_eq!(*paths, self.paths());
        self.filters.borrow_mut().push(filter.clone());
        Ok(self.events.clone())
    }

    fn alerts(&self, database: &Path, wanted: &AlertsWanted, now_ms: i64) -> Result<Option<AlertsSeen>, Error> {
        assert_eq!((database, now_ms), (self.paths().database().as_path(), NOW));
        self.alerts_wanted.borrow_mut().push(wanted.clone());
        let Some(mut seen) = self.alerts.clone() else { return Ok(None) };
        match wanted {
            AlertsWanted::Open => seen.alerts.retain(crate::model::Alert::is_open),
            AlertsWanted::Listed { .. } => {}
            AlertsWanted::One(id) => seen.alerts.retain(|alert| alert.id.starts_with(id.as_str())),
        }
        Ok(Some(seen))
    }

    fn memory(&self, database: &Path, of: Option<&UnitName>, since_ms: i64) -> Result<Option<Vec<MemoryKept>>, Error> {
        assert_eq!(database, self.paths().database());
        let Some(mut kept) = self.memory.clone() else { return Ok(None) };
        kept.retain(|kept| of.is_none_or(|of| kept.service == *of));
        kept.iter_mut().for_each(|kept| kept.points.retain(|point| point.at_ms >= since_ms));
        Ok(Some(kept))
    }

    fn slots(&self, database: &Path, filter: &SlotFilter) -> Result<Option<Vec<SlotRow>>, Error> {
        assert_eq!(database, self.paths().database());
        let Some(mut rows) = self.slots.clone() else { return Ok(None) };
        rows.retain(|row| filter.task.as_ref().is_none_or(|task| row.task == *task));
        rows.retain(|row| filter.since_ms.is_none_or(|since_ms| row.due_ms >= since_ms));
        rows.drain(..filter.limit.map_or(0, |limit| rows.len().saturating_sub(limit)));
        Ok(Some(rows))
    }

    fn slot_counts(&self, database: &Path, since_ms: i64) -> Result<Option<SlotCounts>, Error> {
        let Some(rows) = self.slots(database, &SlotFilter { since_ms: Some(since_ms), ..SlotFilter::default() })?
        else {
            return Ok(None);
        };
        let mut counts = SlotCounts::new();
        for (task, state) in rows.into_iter().filter_map(|row| Some((row.task, row.state?))) {
            *counts.entry(task).or_default().entry(state).or_default() += 1;
        }
        Ok(Some(counts))
    }

    fn log(&self, wanted: &LogWanted, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.logs.borrow_mut().push(wanted.clone());
        to(&std::fs::read(&wanted.log)?)
    }
}

pub(super) fn no_config() -> Error {
    Error::new(ErrorKind::Config, "there is no services.toml").hint("write one")
}

pub(super) fn view(service: &str, status: Status) -> RunView {
    RunView {
        name: name(service),
        epoch: 0,
        status,
        reason: String::new(),
        remedy: String::new(),
        pid: None,
        run_id: 7,
        ready: false,
        since_ms: NOW - 720_000,
        started_ms: None,
        next_start_ms: None,
        restart_attempt: 0,
        last_exit: None,
        intent: Intent::default(),
        adopted: false,
        log_dropped: 0,
        beat: None,
        program: None,
    }
}

pub(super) fn up(service: &str, pid: i32) -> RunView {
    RunView { pid: Some(pid), ready: true, started_ms: Some(NOW - 720_000), ..view(service, Status::Up) }
}

fn spec(service: &str) -> ServiceSpec {
    ServiceSpec { program: Program::Command(vec!["/bin/sh".into()]), ..ServiceSpec::for_tests(service) }
}
