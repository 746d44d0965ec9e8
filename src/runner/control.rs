//! The runner's socket: one JSON object a line in, one a line out (`model::wire`). Only for processes of the same user.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::orders::{Asked, refuse};
use super::perform::cause_of;
use super::poll::{Poll, Token};
use super::upgrade::Wanted;
use super::{Runner, Turn};
use crate::machine::Input;
use crate::model::wire::{MAX_REQUEST, Outcome, RunnerReply, RunnerRequest, WireError};
use crate::model::{Mono, RunnerInfo, paths::Paths};
use crate::process::handover::{Parcel, Received};
use crate::process::socket;

/// A subscriber that has not read this much is cut off; it subscribes again and gets everything.
const MAX_UNSENT: usize = 8 << 20;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// Subscribers are told of a change after this: what they do about it (a transaction, for one) is not to take the processor
/// away from a service that is just starting.
const PUSH_AFTER: std::time::Duration = std::time::Duration::from_millis(5);

/// While changes come thick and fast, subscribers are told at this interval.
const PUSH_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

pub(super) struct Control {
    listener: UnixListener,
    /// Given up for a moment when there is no other descriptor left.
    spare: Option<std::fs::File>,
    path: PathBuf,
    connections: BTreeMap<usize, Connection>,
    next_id: u64,
    journal_seq: Option<u64>,
    unpushed: BTreeSet<usize>,
    pushed: Option<Mono>,
    due: Option<Mono>,
}

struct Connection {
    id: u64,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    subscribed: bool,
    waits_for_room: bool,
    closing: bool,
}

/// See [`Control::note`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ControlNote {
    pub(super) path: PathBuf,
    next_id: u64,
    connections: Vec<ConnectionNote>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConnectionNote {
    id: u64,
    input: Vec<u8>,
    output: Vec<u8>,
    subscribed: bool,
    closing: bool,
}

impl Control {
    /// Listens where the runner `id` is to be found; `handed` is the listener of the program that this one was before, so that
    /// nobody finds the door closed meanwhile.
    pub(super) fn open(
        paths: &Paths,
        id: &str,
        poll: &Poll,
        handed: Option<(UnixListener, PathBuf)>,
    ) -> io::Result<Self> {
        let (listener, path) = match handed {
            Some(handed) => handed,
            None => socket::bind(&paths.runner_socket(id))?,
        };
        listener.set_nonblocking(true)?;
        poll.add(&listener, Token::Listener, false)?;
        Ok(Self {
            listener,
            spare: std::fs::File::open("/dev/null").ok(),
            path,
            connections: BTreeMap::new(),
            next_id: 0,
            journal_seq: None,
            unpushed: BTreeSet::new(),
            pushed: None,
            due: None,
        })
    }

    pub(super) fn close(&mut self) {
        // Who connects from now on finds nobody, and a successor makes its own.
        let _ = std::fs::remove_file(&self.path);
    }

    pub(super) fn accept(&mut self, poll: &Poll) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    // A caller that cannot be let in would be announced without end: it is let in with the spare descriptor,
                    // and sent away.
                    self.spare = None;
                    drop(self.listener.accept());
                    self.spare = std::fs::File::open("/dev/null").ok();
                    return;
                }
                Err(_) => return,
            };
            if !socket::same_uid(&stream) || self.connections.len() >= MAX_CONNECTIONS {
                continue;
            }
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let key = (0..).find(|key| !self.connections.contains_key(key)).unwrap_or_default();
            if poll.add(&stream, Token::Connection(key), false).is_err() {
                continue;
            }
            self.next_id += 1;
            let connection = Connection {
                id: self.next_id,
                stream,
                input: Vec::new(),
                output: Vec::new(),
                subscribed: false,
                waits_for_room: false,
                closing: false,
            };
            self.connections.insert(key, connection);
        }
    }

    /// Connections and what was said on them, for the program that this one becomes.
    pub(super) fn note<'a>(&'a self, parcel: &mut Parcel<'a>) -> ControlNote {
        parcel.add("listener", &self.listener);
        let one = |connection: &'a Connection| {
            parcel.add(format!("connection/{}", connection.id), &connection.stream);
            ConnectionNote {
                id: connection.id,
                input: connection.input.clone(),
                output: connection.output.clone(),
                subscribed: connection.subscribed,
                closing: connection.closing,
            }
        };
        let connections = self.connections.values().map(one).collect();
        ControlNote { path: self.path.clone(), next_id: self.next_id, connections }
    }

    /// Goes on with the connections of the program that this one was before.
    pub(super) fn resume(&mut self, note: ControlNote, received: &mut Received, poll: &Poll) {
        self.next_id = note.next_id;
        for (key, note) in note.connections.into_iter().enumerate() {
            let Some(fd) = received.fd(&format!("connection/{}", note.id)) else { continue };
            let stream = UnixStream::from(fd);
            let waits_for_room = !note.output.is_empty();
            // One that cannot be watched is closed, and asks again.
            if poll.add(&stream, Token::Connection(key), waits_for_room).is_ok() {
                let ConnectionNote { id, input, output, subscribed, closing } = note;
                let connection = Connection { id, stream, input, output, subscribed, waits_for_room, closing };
                self.connections.insert(key, connection);
            }
        }
    }

    /// Whether somebody has subscribed: the daemon.
    pub(super) fn is_followed(&self) -> bool {
        self.connections.values().any(|connection| connection.subscribed)
    }

    /// All connections, as keys.
    pub(super) fn keys(&self) -> Vec<usize> {
        self.connections.keys().copied().collect()
    }

    pub(super) fn journal_grew(&mut self, seq: u64) {
        self.journal_seq = Some(seq);
    }

    /// When changes that were held back are to be told.
    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }
}

impl Connection {
    fn say(&mut self, reply: &RunnerReply) {
        // Replies are made of strings, numbers and lists: they always serialise.
        if let Ok(mut line) = serde_json::to_vec(reply) {
            line.push(b'\n');
            self.output.extend_from_slice(&line);
        }
    }

    /// Sends what there is room for; `false` when the other side is gone.
    fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        !(self.closing && self.output.is_empty()) && self.output.len() <= MAX_UNSENT
    }

    /// Reads what has come; `false` at the end of the stream.
    fn fill(&mut self) -> bool {
        let mut bytes = [0u8; 8192];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(n) => self.input.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            // One request is read at a time; the rest waits in the socket.
            if self.input.len() > MAX_REQUEST {
                return true;
            }
        }
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|b| *b == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

fn bad(message: String) -> RunnerReply {
    RunnerReply::Error(WireError {
        code: 2,
        message,
        hint: Some("send one JSON object per line, such as {\"op\":\"snapshot\"}".into()),
    })
}

impl Runner {
    pub(super) fn on_connection(&mut self, key: usize, turn: &mut Turn) {
        let Some(connection) = self.control.connections.get_mut(&key) else { return };
        let open = connection.fill();
        while let Some(connection) = self.control.connections.get_mut(&key) {
            if connection.closing {
                break;
            }
            let Some(line) = connection.next_line() else {
                if connection.input.len() > MAX_REQUEST {
                    connection.say(&bad(format!("a request has at most {MAX_REQUEST} bytes")));
                    connection.closing = true;
                }
                break;
            };
            let id = connection.id;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let reply = match serde_json::from_slice::<RunnerRequest>(&line) {
                Ok(request) => self.request(key, id, request, turn),
                Err(e) => {
                    if let Some(connection) = self.control.connections.get_mut(&key) {
                        connection.closing = true;
                    }
                    Some(bad(format!("the request cannot be read: {e}")))
                }
            };
            if let (Some(reply), Some(connection)) = (reply, self.control.connections.get_mut(&key)) {
                connection.say(&reply);
            }
        }
        // Who has nothing more to say may still listen.
        self.flush(key);
        if !open {
            self.hang_up(key);
        }
    }

    fn request(&mut self, key: usize, id: u64, request: RunnerRequest, turn: &mut Turn) -> Option<RunnerReply> {
        match request {
            RunnerRequest::Snapshot => Some(RunnerReply::Snapshot(self.info(None, turn))),
            RunnerRequest::Subscribe => {
                if let Some(connection) = self.control.connections.get_mut(&key) {
                    connection.subscribed = true;
                }
                self.guard.seen();
                Some(RunnerReply::Push(self.info(None, turn)))
            }
            RunnerRequest::Order { verb, names, by, cause, run_id, wait } => {
                self.order(id, Asked { verb, names, by, cause: cause_of(cause), run_id, wait }, turn)
            }
            RunnerRequest::Ready { name, run_id } => {
                let Some(&index) = self.names.get(&name) else {
                    return Some(refuse(format!("this runner has no service called {name}")));
                };
                self.drive(index, Input::Ready { run_id }, turn);
                Some(RunnerReply::Done(Vec::new()))
            }
            RunnerRequest::Reload { names } => Some(match self.reload(names, turn) {
                Ok(changed) => RunnerReply::Done(
                    changed
                        .into_iter()
                        .map(|(name, text)| Outcome { name, ok: true, text, view: None, refused: false })
                        .collect(),
                ),
                Err(e) => RunnerReply::Error(WireError { code: e.kind.exit_code(), message: e.message, hint: e.hint }),
            }),
            RunnerRequest::Upgrade { program } => match self.may_upgrade() {
                Ok(()) => {
                    // The answer comes from the new program.
                    self.upgrade = Some(Wanted { program, connection: id });
                    None
                }
                Err(why) => Some(refuse(why)),
            },
            RunnerRequest::Leave => {
                if self.going_down {
                    return Some(refuse("this runner is stopping its services".into()));
                }
                self.leaving = true;
                Some(RunnerReply::Done(Vec::new()))
            }
            RunnerRequest::Shutdown => {
                self.go_down(turn);
                Some(RunnerReply::Done(Vec::new()))
            }
        }
    }

    /// What the runner knows: of all services, or of some.
    fn info(&self, only: Option<&BTreeSet<usize>>, turn: &Turn) -> RunnerInfo {
        let wanted = |index: &&usize| only.is_none_or(|only| only.contains(*index));
        let services = self.names.values().filter(wanted).filter_map(|index| self.services[*index].as_ref());
        let views = services.map(|service| service.view(turn.now)).collect();
        let mut troubles: Vec<String> = self.troubles.iter().cloned().collect();
        troubles.extend(self.journal.trouble());
        for service in self.services.iter().flatten() {
            troubles.extend(service.log_trouble().map(|what| format!("logs of {}: {what}", service.name())));
        }
        RunnerInfo {
            id: self.id.clone(),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
            upgrades: self.upgrades,
            program: self.program,
            views,
            journal_lost: self.journal.lost(),
            troubles,
        }
    }

    /// Tells subscribers what changed; in a storm at intervals.
    pub(super) fn publish(&mut self, turn: &Turn) {
        self.control.unpushed.extend(&turn.changed);
        let changed = !self.control.unpushed.is_empty() || self.control.journal_seq.is_some();
        let subscribers = self.control.connections.values().any(|c| c.subscribed);
        if !changed || !subscribers {
            self.control.unpushed.clear();
            self.control.journal_seq = None;
            self.control.due = None;
            return;
        }
        let now = turn.now.mono;
        let soonest = self.control.pushed.map_or(Mono(0), |last| last.plus(PUSH_EVERY));
        let due = *self.control.due.get_or_insert(soonest.max(now.plus(PUSH_AFTER)));
        if due > now {
            return;
        }
        let indexes = std::mem::take(&mut self.control.unpushed);
        let push = (!indexes.is_empty()).then(|| RunnerReply::Push(self.info(Some(&indexes), turn)));
        let journal = self.control.journal_seq.take().map(|seq| RunnerReply::Journal { seq });
        self.control.pushed = Some(now);
        self.control.due = None;
        let keys: Vec<usize> =
            self.control.connections.iter().filter(|(_, c)| c.subscribed).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(connection) = self.control.connections.get_mut(&key) {
                for reply in [&push, &journal].into_iter().flatten() {
                    connection.say(reply);
                }
            }
            self.flush(key);
        }
    }

    /// Answers a caller that has waited, if it is still there.
    pub(super) fn answer(&mut self, id: u64, reply: &RunnerReply) {
        let found = self.control.connections.iter_mut().find(|(_, c)| c.id == id);
        if let Some((key, connection)) = found {
            let key = *key;
            connection.say(reply);
            self.flush(key);
        }
    }

    fn flush(&mut self, key: usize) {
        let Some(connection) = self.control.connections.get_mut(&key) else { return };
        if !connection.flush() {
            self.hang_up(key);
            return;
        }
        let wants = !connection.output.is_empty();
        if wants != connection.waits_for_room {
            connection.waits_for_room = wants;
            // A connection that cannot be watched for room is served at its next request.
            let _ = self.poll.set_writes(&connection.stream, Token::Connection(key), wants);
        }
    }

    fn hang_up(&mut self, key: usize) {
        if let Some(connection) = self.control.connections.remove(&key) {
            self.poll.remove(&connection.stream);
            self.orders.forget_connection(connection.id);
            if connection.subscribed && !self.control.connections.values().any(|c| c.subscribed) {
                self.guard.lost(crate::process::clock::now().mono);
            }
        }
    }
}
