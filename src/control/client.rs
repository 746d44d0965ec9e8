//! The asking side: blocking, one request a connection to the daemon, JSON lines to a runner.

mod watcher;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{http, routes};
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::wire::{
    AlertBody, AlertReply, DigestBody, HeapSnapshotBody, HeapSnapshotReply, MAX_REQUEST, OrderBody, OrderReply,
    ReloadBody, ReloadReply, RunnerReply, RunnerRequest, TaskRunBody, TaskRunReply, UpgradeBody, UpgradeReply,
    VersionReply, WhyReply, WireError,
};
use crate::model::{Standing, StatusReport, UnitName};
use crate::process::socket;

pub use watcher::Watcher;

/// How long a connection may take: a living server accepts at once, so more means that it is stopped or drowned.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an answer that needs no waiting may take, from byte to byte.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest answer.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The answer is known at once; ten seconds of silence mean that something is wrong.
    Short,
    /// The answer comes when an order is done: a drain alone may take minutes. The other side's death ends the wait.
    UntilDone,
}

impl Patience {
    /// For an order that waits, or does not.
    pub fn of_wait(wait: bool) -> Self {
        if wait { Self::UntilDone } else { Self::Short }
    }

    fn time_out(self) -> Option<Duration> {
        match self {
            Self::Short => Some(ANSWER),
            Self::UntilDone => None,
        }
    }
}

/// A connection to the daemon, good for one request.
#[derive(Debug)]
pub struct Daemon {
    line: Line,
}

impl Daemon {
    /// Connects to the daemon of this state directory; without one the error is `Unreachable`.
    pub fn connect(paths: &Paths) -> Result<Self, Error> {
        Line::open(Who::Daemon, &paths.daemon_socket()).map(|line| Self { line })
    }

    /// The same for callers that have another way: `None` when there is none.
    pub fn connect_if_running(paths: &Paths) -> Result<Option<Self>, Error> {
        Line::open_if_running(Who::Daemon, &paths.daemon_socket()).map(|line| line.map(|line| Self { line }))
    }

    /// What everything is doing.
    pub fn status(self) -> Result<StatusReport, Error> {
        self.get(routes::STATUS)
    }

    /// The same in the daemon's own words, which are JSON on one line, and what they come to.
    pub fn status_as_said(mut self) -> Result<(Vec<u8>, Standing), Error> {
        let said = self.line.exchange("GET", routes::STATUS, None, Patience::Short)?;
        let standing = self.line.read(&said)?;
        Ok((said, standing))
    }

    /// What one service is doing, in words.
    pub fn why(self, name: &UnitName) -> Result<WhyReply, Error> {
        self.get(&format!("{}{name}", routes::WHY))
    }

    /// Starts, stops, restarts.
    pub fn order(self, body: &OrderBody) -> Result<OrderReply, Error> {
        self.post(routes::ORDER, body, Patience::of_wait(body.wait))
    }

    /// Takes over a changed services.toml. What is restarted for it is drained first, so it may take minutes.
    pub fn reload(self, body: &ReloadBody) -> Result<ReloadReply, Error> {
        self.post(routes::RELOAD, body, Patience::of_wait(!body.dry_run))
    }

    /// Has the runners become `body.program`, and then the daemon.
    pub fn upgrade(self, body: &UpgradeBody) -> Result<UpgradeReply, Error> {
        self.post(routes::UPGRADE, body, Patience::UntilDone)
    }

    /// Acknowledges, silences, tries sinks. A test ends when each sink was tried, which takes as long as they may.
    pub fn alert(self, body: &AlertBody) -> Result<AlertReply, Error> {
        self.post(routes::ALERTS, body, Patience::of_wait(matches!(body, AlertBody::Test { .. })))
    }

    /// Has a report sent the way that the report of the week goes. Answered when it is on record: then it is sent, in time.
    pub fn digest(self, body: &DigestBody) -> Result<AlertReply, Error> {
        self.post(routes::DIGEST, body, Patience::Short)
    }

    /// Has a service write its heap to a file, and waits for that: up to five minutes.
    pub fn heap_snapshot(self, body: &HeapSnapshotBody) -> Result<HeapSnapshotReply, Error> {
        self.post(routes::HEAP_SNAPSHOT, body, Patience::UntilDone)
    }

    /// Has a calendar job run now; answered when the run has begun.
    pub fn run_task(self, body: &TaskRunBody) -> Result<TaskRunReply, Error> {
        self.post(routes::TASKS_RUN, body, Patience::UntilDone)
    }

    /// Which program the daemon is.
    pub fn version(self) -> Result<VersionReply, Error> {
        self.get(routes::VERSION)
    }

    /// Has the ledger take in what is in the journals; bounded, as a database that is not well is no reason to wait.
    pub fn sync(self) -> Result<(), Error> {
        self.post::<serde_json::Value>(routes::SYNC, &serde_json::json!({}), Patience::Short).map(drop)
    }

    /// GET `path`.
    pub fn get<T: DeserializeOwned>(self, path: &str) -> Result<T, Error> {
        self.line.ask("GET", path, None, Patience::Short)
    }

    /// POST `body` to `path`.
    pub fn post<T: DeserializeOwned>(self, path: &str, body: &impl Serialize, patience: Patience) -> Result<T, Error> {
        self.line.post(path, body, patience)
    }
}

/// A connection to a runner. Requests are answered in order.
#[derive(Debug)]
pub struct Runner {
    line: Line,
    reader: BufReader<UnixStream>,
}

impl Runner {
    /// Connects to the runner behind `socket`; without one the error is `Unreachable`.
    pub fn connect(socket: &Path) -> Result<Self, Error> {
        Self::new(Line::open(Who::Runner, socket)?)
    }

    /// The same for callers that look for runners: `None` when it is gone and only its socket was left behind.
    pub fn connect_if_running(socket: &Path) -> Result<Option<Self>, Error> {
        Line::open_if_running(Who::Runner, socket)?.map(Self::new).transpose()
    }

    fn new(line: Line) -> Result<Self, Error> {
        let reader = line.stream.try_clone().map_err(|error| line.failed("read from", &error))?;
        Ok(Self { line, reader: BufReader::new(reader) })
    }

    /// Says `request` and takes the answer. An `error` reply is an error here.
    pub fn ask(&mut self, request: &RunnerRequest, patience: Patience) -> Result<RunnerReply, Error> {
        self.send(request)?;
        self.receive(patience)
    }

    /// Says `request`. With [`Runner::receive`] apart from it, several runners work at the same time.
    pub fn send(&mut self, request: &RunnerRequest) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(request).map_err(unwritable)?;
        bytes.push(b'\n');
        if bytes.len() > MAX_REQUEST {
            let message = format!("the order names too many services for one line ({} bytes)", bytes.len());
            return Err(Error::new(ErrorKind::Refused, message).hint("name fewer of them, or say --all"));
        }
        self.line.write(&bytes)
    }

    /// Takes the next answer.
    pub fn receive(&mut self, patience: Patience) -> Result<RunnerReply, Error> {
        self.line.be_patient(patience)?;
        let mut bytes = Vec::new();
        let most = MAX_ANSWER as u64;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut bytes);
        read.map_err(|error| self.line.failed("read from", &error))?;
        if bytes.last() != Some(&b'\n') {
            return Err(if bytes.len() == MAX_ANSWER {
                self.line.misspoke(&format!("the answer is longer than {MAX_ANSWER} bytes"))
            } else {
                self.line.went_away()
            });
        }
        match serde_json::from_slice(&bytes) {
            Ok(RunnerReply::Error(error)) => Err(from_wire(error)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.line.misspoke(&format!("{error}{}", excerpt(&bytes)))),
        }
    }
}

/// The body of an answer that is an error.
#[derive(serde::Deserialize)]
struct ErrorBody {
    error: Said,
}

/// A [`WireError`] of one that may not know our exit codes: what it does not do, it refuses.
#[derive(serde::Deserialize)]
struct Said {
    code: Option<u8>,
    message: String,
    hint: Option<String>,
}

fn from_wire(error: WireError) -> Error {
    Error { kind: ErrorKind::from_exit_code(error.code), message: error.message, hint: error.hint }
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("the request cannot be put into JSON: {error}"))
}

/// The beginning of what came instead of an answer, fit for one line.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text:?}") }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Daemon,
    Runner,
    Watcher,
}

impl Who {
    fn as_str(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Runner => "runner",
            Self::Watcher => "file-watcher",
        }
    }

    fn start_hint(self) -> &'static str {
        match self {
            Self::Daemon => "start it with `supervisor run`",
            Self::Runner => "its service manager starts it; with the embedded manager that is `supervisor run`",
            Self::Watcher => "`supervisor status` tells how its service stands",
        }
    }
}

/// An open connection and what is needed to say what became of it.
#[derive(Debug)]
struct Line {
    who: Who,
    socket: PathBuf,
    stream: UnixStream,
}

impl Line {
    fn open(who: Who, socket: &Path) -> Result<Self, Error> {
        let stream = connect_in_time(socket).map_err(|error| unreachable(who, socket, &error))?;
        Self::new(who, socket, stream)
    }

    fn open_if_running(who: Who, socket: &Path) -> Result<Option<Self>, Error> {
        match connect_in_time(socket) {
            Ok(stream) => Self::new(who, socket, stream).map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(unreachable(who, socket, &error)),
        }
    }

    fn new(who: Who, socket: &Path, stream: UnixStream) -> Result<Self, Error> {
        let line = Self { who, socket: socket.to_path_buf(), stream };
        line.stream.set_write_timeout(Some(ANSWER)).map_err(|error| line.failed("write to", &error))?;
        Ok(line)
    }

    /// POST `body` to `path`.
    fn post<T: DeserializeOwned>(self, path: &str, body: &impl Serialize, patience: Patience) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(unwritable)?;
        self.ask("POST", path, Some(&body), patience)
    }

    fn ask<T: DeserializeOwned>(
        mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        patience: Patience,
    ) -> Result<T, Error> {
        let body = self.exchange(method, path, body, patience)?;
        self.read(&body)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| self.misspoke(&error.to_string()))
    }

    /// The body of a good answer.
    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        patience: Patience,
    ) -> Result<Vec<u8>, Error> {
        self.write(&http::request(method, path, body))?;
        self.be_patient(patience)?;
        let answer = http::read_answer(&mut self.stream, MAX_ANSWER).map_err(|fault| match fault {
            http::HttpFault::Io(error) => self.failed("read from", &error),
            http::HttpFault::ClosedEarly => self.went_away(),
            fault => self.misspoke(&fault.to_string()),
        })?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        Err(match serde_json::from_slice::<ErrorBody>(&answer.body) {
            Ok(ErrorBody { error: Said { code, message, hint } }) => {
                from_wire(WireError { code: code.unwrap_or(ErrorKind::Refused.exit_code()), message, hint })
            }
            Err(_) => self.misspoke(&format!("{} to {method} {path}{}", answer.status, excerpt(&answer.body))),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).map_err(|error| self.failed("write to", &error))
    }

    fn be_patient(&self, patience: Patience) -> Result<(), Error> {
        self.stream.set_read_timeout(patience.time_out()).map_err(|error| self.failed("read from", &error))
    }

    fn failed(&self, what: &str, error: &io::Error) -> Error {
        let (who, at) = (self.who.as_str(), self.socket.display());
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::new(
                ErrorKind::Unreachable,
                format!("the {who} at {at} has not answered for {} seconds", ANSWER.as_secs()),
            )
            .hint(
                "it is stopped, or its machine is overloaded; logs/supervisor.log in the state directory may say more",
            ),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.went_away(),
            _ => Error::new(ErrorKind::Unreachable, format!("cannot {what} the {who} at {at}: {error}")),
        }
    }

    fn went_away(&self) -> Error {
        let (who, at) = (self.who.as_str(), self.socket.display());
        Error::new(ErrorKind::Unreachable, format!("the {who} at {at} ended before it had answered"))
            .hint("ask again; `supervisor status` tells what is running")
    }

    fn misspoke(&self, what: &str) -> Error {
        let (who, at) = (self.who.as_str(), self.socket.display());
        Error::new(ErrorKind::Internal, format!("the {who} at {at} answered with something unexpected: {what}"))
            .hint(format!("it may be of another version than this program: restart the {who}"))
    }
}

fn unreachable(who: Who, socket: &Path, error: &io::Error) -> Error {
    let (word, at) = (who.as_str(), socket.display());
    let new = |message| Error::new(ErrorKind::Unreachable, message);
    match error.kind() {
        io::ErrorKind::NotFound => {
            new(format!("the {word} is not running: there is no socket {at}")).hint(who.start_hint())
        }
        io::ErrorKind::ConnectionRefused => {
            new(format!("the {word} is not running: nobody listens at {at}")).hint(who.start_hint())
        }
        io::ErrorKind::PermissionDenied => new(format!("the {word} at {at} belongs to another user: {error}"))
            .hint("run this command as the user that the services run as"),
        io::ErrorKind::TimedOut => {
            new(format!("the {word} at {at} has taken no connection for {} seconds", CONNECT.as_secs()))
                .hint("it is stopped, or its machine is overloaded")
        }
        _ => new(format!("cannot connect to the {word} at {at}: {error}")),
    }
}

/// A connection, given up after two seconds. It is there at once, or nobody listens, or the listener's queue is full; the
/// wait for room in the queue has no time-out of its own, so it happens in a thread, which ends with this short process
/// when it is given up.
fn connect_in_time(socket: &Path) -> io::Result<UnixStream> {
    match socket::connect_at_once(socket) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        result => return result,
    }
    let (tell, told) = mpsc::sync_channel(1);
    let path = socket.to_path_buf();
    std::thread::Builder::new().name("connect".into()).spawn(move || {
        // Nobody listens any more when this took too long.
        let _ = tell.send(socket::connect(&path));
    })?;
    told.recv_timeout(CONNECT).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::*;
    use crate::model::wire::{Outcome, Verb};

    struct Server {
        dir: tempfile::TempDir,
        thread: Option<JoinHandle<String>>,
    }

    impl Server {
        /// Takes one connection, reads what is sent until `enough`, answers `answer`, closes; gives back what it read.
        fn new(socket: &str, enough: fn(&str) -> bool, answer: &'static str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("supervisor/runners")).unwrap();
            let listener = UnixListener::bind(dir.path().join("supervisor").join(socket)).unwrap();
            let thread = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut heard = String::new();
                let mut block = [0; 1024];
                while !enough(&heard) {
                    let n = stream.read(&mut block).unwrap();
                    assert!(n > 0, "closed after {heard:?}");
                    heard.push_str(std::str::from_utf8(&block[..n]).unwrap());
                }
                // The client may have given up already.
                let _ = stream.write_all(answer.as_bytes());
                heard
            });
            Self { dir, thread: Some(thread) }
        }

        fn daemon(answer: &'static str) -> Self {
            Self::new("daemon.sock", |heard| heard.contains("\r\n\r\n"), answer)
        }

        fn paths(&self) -> Paths {
            Paths::new(self.dir.path())
        }

        fn heard(mut self) -> String {
            self.thread.take().unwrap().join().unwrap()
        }
    }

    fn get(answer: &'static str) -> Result<serde_json::Value, Error> {
        let server = Server::daemon(answer);
        let got = Daemon::connect(&server.paths()).unwrap().get("/v1/status");
        assert!(server.heard().starts_with("GET /v1/status HTTP/1.1\r\n"));
        got
    }

    #[test]
    fn answers_are_read_in_both_codings() {
        let plain = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(get(plain).unwrap()["a"], 1);
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(get(chunked).unwrap()["a"], 1);
    }

    #[test]
    fn an_error_of_the_daemon_ends_with_its_exit_code() {
        let answer = "HTTP/1.1 404 Not Found\r\n\r\n\
             {\"error\":{\"code\":2,\"message\":\"there is no service `gatewy`\",\"hint\":\"did you mean `gateway`?\"}}";
        let error = get(answer).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert_eq!(error.message, "there is no service `gatewy`");
        assert_eq!(error.hint.as_deref(), Some("did you mean `gateway`?"));
    }

    #[test]
    fn whatever_is_no_answer_says_so() {
        for (answer, kind, part) in [
            ("", ErrorKind::Unreachable, "ended before"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\":1}", ErrorKind::Unreachable, "ended before"),
            ("SSH-2.0-OpenSSH_9.9\r\n", ErrorKind::Internal, "not HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\nfine", ErrorKind::Internal, "unexpected"),
            (
                "HTTP/1.1 404 Not Found\r\n\r\nno such page",
                ErrorKind::Internal,
                "404 to GET /v1/status: \"no such page\"",
            ),
            ("HTTP/1.1 500 Oh\r\n\r\n", ErrorKind::Internal, "500 to GET /v1/status"),
        ] {
            let error = get(answer).unwrap_err();
            assert_eq!(error.kind, kind, "{answer:?}");
            assert!(error.message.contains(part), "{answer:?}: {}", error.message);
        }
    }

    #[test]
    fn no_daemon_is_unreachable_and_says_how_to_start_one() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let absent = Daemon::connect(&paths).unwrap_err();
        std::fs::create_dir_all(paths.supervisor()).unwrap();
        drop(UnixListener::bind(paths.daemon_socket()).unwrap());
        let refused = Daemon::connect(&paths).unwrap_err();
        assert!(Daemon::connect_if_running(&paths).unwrap().is_none());
        assert!(Runner::connect_if_running(&paths.runner_socket("a")).unwrap().is_none());
        for (error, part) in [(absent, "there is no socket"), (refused, "nobody listens")] {
            assert_eq!(error.kind, ErrorKind::Unreachable);
            assert!(error.message.contains(part), "{}", error.message);
            assert_eq!(error.hint.as_deref(), Some("start it with `supervisor run`"));
        }
    }

    #[test]
    fn an_order_is_posted_as_json() {
        let server = Server::new(
            "daemon.sock",
            |heard| heard.ends_with('}'),
            "HTTP/1.1 200 OK\r\n\r\n{\"outcomes\":[{\"name\":\"a\",\"ok\":true,\"text\":\"up, pid 7\",\"view\":null}]}",
        );
        let body = OrderBody { verb: Verb::Start, names: vec![UnitName::new("a").unwrap()], wait: false };
        let reply = Daemon::connect(&server.paths()).unwrap().order(&body).unwrap();
        assert_eq!(reply.outcomes[0].text, "up, pid 7");
        let heard = server.heard();
        assert!(heard.starts_with("POST /v1/order HTTP/1.1\r\n"), "{heard}");
        assert!(heard.ends_with("\r\n\r\n{\"verb\":\"start\",\"names\":[\"a\"],\"wait\":false}"), "{heard}");
    }

    fn runner(answer: &'static str) -> Result<RunnerReply, Error> {
        let server = Server::new("runners/a.sock", |heard| heard.ends_with('\n'), answer);
        let mut runner = Runner::connect(&server.paths().runner_socket("a")).unwrap();
        let reply = runner.ask(&RunnerRequest::Snapshot, Patience::Short);
        assert_eq!(server.heard(), "{\"op\":\"snapshot\"}\n");
        reply
    }

    #[test]
    fn a_runner_speaks_lines() {
        let outcome =
            Outcome { name: UnitName::new("a").unwrap(), ok: true, text: "up".into(), view: None, refused: false };
        let done = "{\"done\":[{\"name\":\"a\",\"ok\":true,\"text\":\"up\",\"view\":null}]}\n";
        assert_eq!(runner(done).unwrap(), RunnerReply::Done(vec![outcome]));

        let refused = runner("{\"error\":{\"code\":6,\"message\":\"no\"}}\n").unwrap_err();
        assert_eq!((refused.kind, refused.message.as_str()), (ErrorKind::Refused, "no"));

        let garbage = runner("hello\n").unwrap_err();
        assert!(garbage.message.contains("\"hello\""), "{}", garbage.message);

        for torn in ["", "{\"done\":[]}"] {
            assert_eq!(runner(torn).unwrap_err().kind, ErrorKind::Unreachable, "{torn:?}");
        }
    }

    #[test]
    fn a_line_longer_than_a_runner_takes_is_not_sent() {
        let server = Server::new("runners/a.sock", |heard| heard.ends_with('\n'), "");
        let mut runner = Runner::connect(&server.paths().runner_socket("a")).unwrap();
        let names = (0..2000).map(|i| UnitName::new(&format!("{i:064}")).unwrap()).collect();
        let order = RunnerRequest::Order {
            verb: Verb::Stop,
            names,
            by: "operator".into(),
            cause: None,
            run_id: None,
            wait: true,
        };
        assert_eq!(runner.send(&order).unwrap_err().kind, ErrorKind::Refused);
        runner.send(&RunnerRequest::Shutdown).unwrap();
        assert_eq!(server.heard(), "{\"op\":\"shutdown\"}\n");
    }
}
