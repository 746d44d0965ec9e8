//! The daemon, `supervisor run`: it judges. It probes, tells runners what is ready, takes their journals into the ledger,
//! answers the control socket, and with the embedded manager starts the runner and watches it.
//!
//! It is the parent of no service: killing it touches nothing, and a new one finds everything again. What is decided about
//! a service is decided in `machine`; here inputs come in, effects go out, and nothing waits for anything slow.

mod alarms;
mod alive;
mod api;
mod down;
mod embedded;
mod exposures;
mod hangs;
mod jobs;
mod keep;
mod ledger;
mod link;
mod memory;
mod monitors;
mod own_log;
mod reload;
mod report;
mod runners;
mod samples;
mod signals;
mod soonest;
mod tasks;
mod upgrade;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::Surroundings;
use crate::control::server::{self, Answer, Request};
use crate::error::{Error, ErrorKind};
use crate::install::Record;
use crate::install::record::manager_of;
use crate::journal;
use crate::machine::{ExposureInput, Failure, MemorySaved, MemorySeen, Seen};
use crate::model::paths::{DAEMON_JOURNAL, Paths};
use crate::model::wire::{OrderBody, OrderReply, ReloadBody, ReloadReply, UpgradeReply, Upgraded, WireError};
use crate::model::{EventType, Fleet, Learned, ManagerKind, Moment, ProgramId, RunView, RunnerInfo, UnitName};
use crate::process::handover::{Received, own_program};
use crate::process::lock::{Lock, NotLocked};
use crate::process::{clock, command, files, identity, notify, socket, tune, wait};
use embedded::Embedded;
use ledger::LedgerThread;
use memory::Memories;
use monitors::Monitors;
use signals::{Signals, Told};

/// How a daemon is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// services.toml, absolute.
    pub config: PathBuf,
    /// What expands in it.
    pub surroundings: Surroundings,
    /// Whether transitions are told on the terminal in more detail.
    pub verbose: bool,
    /// The descriptor of what was handed over by the program that this process was before.
    pub handover: Option<i32>,
}

/// Everything that can happen to the daemon.
enum Event {
    Asked(Request),
    RunnerPush(String, Box<RunnerInfo>),
    RunnerGone(String),
    Journaled,
    /// The embedded manager started a process.
    RunnerStarted(i32),
    /// The embedded runner's process ended (and is reaped).
    RunnerExited(String),
    /// The embedded manager got through to its runner, or could not.
    Attached(Result<embedded::Attached, String>),
    /// Something that a monitor waits for.
    Seen(UnitName, Box<Seen>),
    /// Something that who watches a service's memory waits for.
    Memory(UnitName, Box<MemorySeen>),
    /// What the ledger knows of memory as it was watched before.
    Remembered(BTreeMap<UnitName, MemorySaved>),
    /// What the ledger knows of former starts and hangs.
    Learned(BTreeMap<UnitName, Learned>),
    Ordered(OrderBody, Result<OrderReply, WireError>),
    RunnersReloaded(Box<reload::Reloading>, Vec<WireError>),
    RunnersUpgraded(PathBuf, Vec<Upgraded>, Answer<UpgradeReply>),
    /// A calendar job's slots were looked at.
    TaskSeen(UnitName, Box<tasks::Looked>),
    /// What came of that is written down, or could not be.
    TaskSettled(UnitName, Result<tasks::Settled, String>),
    /// Whether what the runs of a calendar job have journaled is in the ledger.
    TaskTakenIn(UnitName, bool),
    /// The service manager's jobs were looked at.
    JobsSeen(Box<Result<jobs::Seen, String>>),
    /// A command of something that is made to hold has ended.
    Exposed(UnitName, Result<(), Failure>),
    /// The control socket's last answers are out.
    Closed,
    /// The runners have had their time to say how things stand.
    Waited,
}

/// Events that one turn of the loop takes in at most: signals and what is due wait for no more than these.
const AT_ONCE: usize = 64;

/// What the loop has waited for.
enum Next {
    Told(Told),
    Event(Option<Event>),
    Due,
}

/// A runner that is connected, or was.
struct Linked {
    info: RunnerInfo,
    views: BTreeMap<UnitName, RunView>,
    connected: bool,
}

struct Daemon {
    options: Options,
    paths: Paths,
    fleet: Fleet,
    /// What is wrong with services.toml as it was last read, in one line each.
    faults: Vec<String>,
    started: Moment,
    ledger: LedgerThread,
    journal: journal::Writer,
    runners: BTreeMap<String, Linked>,
    embedded: Option<Embedded>,
    monitors: Monitors,
    memories: Memories,
    tasks: tasks::Tasks,
    boot_id: String,
    exposures: exposures::Exposures,
    jobs: jobs::Jobs,
    alive: alive::Alive,
    pipes: keep::Pipes,
    orders: HashMap<OrderBody, Vec<Answer<OrderReply>>>,
    /// Who wants a reload after the one under way; `None` while there is none.
    reloading: Option<Vec<Option<Answer<ReloadReply>>>>,
    events: mpsc::Sender<Event>,
    going_down: bool,
    progress: upgrade::Progress,
    /// Why the last upgrade came to nothing.
    upgrade_trouble: Option<String>,
    /// How often this process has become another program.
    upgrades: u32,
    listener: UnixListener,
    /// The file that this process runs.
    program: Option<ProgramId>,
    /// What is to be served once the runners have said how things stand.
    unserved: Option<UnixListener>,
    /// Tells the server to close, and tells when it has.
    server: Option<(watch::Sender<()>, JoinHandle<()>)>,
    lock: Lock,
}

/// Runs until SIGTERM or SIGINT, and then until everything it started is down.
pub fn run(options: Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot start the daemon's runtime: {e}")))?;
    let result = runtime.block_on(async {
        let (events, inbox) = mpsc::channel(256);
        let config = options.config.clone();
        let mut daemon = Daemon::start(options, events).inspect_err(|_| wait::before_failing(&config))?;
        // As a task of its own: what wakes the runtime's first future wakes the whole thread through the kernel, even from a task
        // beside it, and probes end by the hundred.
        let served = tokio::spawn(async move {
            let result = daemon.serve(inbox).await;
            daemon.finish();
            result
        });
        served
            .await
            .unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, format!("the daemon's loop has ended: {e}"))))
    });
    // A launchctl that hangs is nothing to wait for: launchd would kill us meanwhile.
    runtime.shutdown_background();
    result
}

impl Daemon {
    fn start(options: Options, events: mpsc::Sender<Event>) -> Result<Self, Error> {
        let received = options.handover.and_then(|fd| {
            let received = Received::take::<upgrade::Note>(fd);
            received.inspect_err(|e| anstream::eprintln!("the upgrade goes on as after a death: {e}")).ok()
        });
        let (mut note, mut received) = received.unzip();
        let mut fd = |name: &str| received.as_mut().and_then(|received| received.fd(name));
        let (handed_lock, handed_listener) = (fd("lock"), fd("listener"));
        let handed_fleet = note.as_mut().and_then(|note| Some((note.fleet()?, note.faults.clone())));
        let in_step = handed_fleet.is_some();
        let (fleet, faults) = match handed_fleet {
            Some(known) => known,
            None => reload::first_fleet(&options)?,
        };
        let paths = Paths::new(&fleet.state_dir);
        for dir in [paths.supervisor(), paths.runners(), paths.services(), paths.logs()] {
            files::ensure_dir(&dir).map_err(|e| Error::io("cannot make the folder", &dir, &e))?;
        }
        let lock = handed_lock.map(Lock::from).map_or_else(|| Lock::acquire(&paths.daemon_lock()), Ok);
        let lock = lock.map_err(|e| match e {
            NotLocked::Held { pid } => {
                let who = pid.map_or("another process".into(), |pid| format!("pid {pid}"));
                Error::new(
                    ErrorKind::Refused,
                    format!("the daemon of {} is already running: {who}", paths.state_dir().display()),
                )
                .hint("`supervisor status` asks it; stop it with SIGTERM, or use another --state-dir")
            }
            NotLocked::Io(e) => Error::io("cannot take the lock", &paths.daemon_lock(), &e),
        })?;
        own_log::start(&paths, options.verbose);
        tune::raise_descriptor_limit();
        // When our runner is killed its services become our children instead of init's until a successor has them: we reap at
        // once, and only then does the kernel tell their successor how they ended.
        tune::become_subreaper();
        let now = clock::now();
        let started = note.as_ref().map_or(now, |note| note.started);
        let boot_id = clock::boot_id();
        let journal = journal::Writer::open(&paths.runners(), DAEMON_JOURNAL, &boot_id, now.boot_ns)
            .map_err(|e| Error::io("cannot open the journal in", &paths.runners(), &e))?;
        let (alive, gap) = alive::Alive::begin(&paths, &boot_id, now);
        // Nobody was away while this process became another program.
        let gap = gap.filter(|_| note.is_none());
        let ledger = LedgerThread::start(&paths, &boot_id, &fleet, !faults.is_empty())
            .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot start the ledger's thread: {e}")))?;
        let installed = Record::read(&paths)?;
        let manager = manager_of(&fleet, installed.as_ref());
        let jobs = jobs::Jobs::new(installed.as_ref().is_some_and(|record| record.loaded));
        let embedded = match manager {
            ManagerKind::Auto | ManagerKind::Embedded => Some(Embedded::new(in_step)),
            ManagerKind::Launchd | ManagerKind::Systemd => None,
        };
        let monitors = Monitors::new(&fleet, &paths);
        let memories = Memories::new(&fleet, events.clone()).map_err(|e| {
            Error::new(ErrorKind::Internal, format!("cannot start the thread that looks at memory: {e}"))
        })?;
        let tasks = tasks::Tasks::new(&fleet, &paths, installed.as_ref());
        let exposures = exposures::Exposures::new(&fleet, &paths);
        let mut pipes = keep::Pipes::default();
        pipes.follow(&fleet, &paths);
        // The pipes that were held for us until now.
        drop(received);
        let listener = match handed_listener {
            Some(fd) => UnixListener::from(fd),
            None => bind(&paths)?,
        };
        let served = listener
            .try_clone()
            .map_err(|e| Error::io("cannot open the control socket", &paths.daemon_socket(), &e))?;
        let mut daemon = Self {
            options,
            paths,
            fleet,
            faults,
            started,
            ledger,
            journal,
            runners: BTreeMap::new(),
            embedded,
            monitors,
            memories,
            tasks,
            boot_id,
            exposures,
            jobs,
            alive,
            pipes,
            orders: HashMap::new(),
            reloading: None,
            events,
            going_down: false,
            progress: upgrade::Progress::None,
            upgrade_trouble: None,
            upgrades: note.as_ref().map_or(0, |note| note.upgrades.saturating_add(1)),
            listener,
            program: own_program().ok().and_then(|path| identity::program_id(&path)),
            unserved: None,
            server: None,
            lock,
        };
        match in_step {
            true => daemon.unserved = Some(served),
            false => daemon.serve_socket(served),
        }
        let data = serde_json::json!({
            "run_id": null, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"),
            "config": daemon.options.config, "services": daemon.fleet.services.len(),
            "upgraded_from": note.map(|note| note.from), "gap": gap,
            "unusable": daemon.fleet.unusable.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(),
        });
        daemon.record(EventType::SupervisorStart, data);
        tracing::info!(config = %daemon.options.config.display(), "supervisor {} started", env!("CARGO_PKG_VERSION"));
        Ok(daemon)
    }

    /// Serves the control socket.
    fn serve_socket(&mut self, listener: UnixListener) {
        let listener = match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(e) => return tracing::error!("the control socket cannot be served: {e}"),
        };
        let (requests, mut inbox) = mpsc::channel(64);
        let (close, closing) = watch::channel(());
        self.server = Some((close, tokio::spawn(server::serve(listener, requests, closing))));
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(request) = inbox.recv().await {
                if events.send(Event::Asked(request)).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn serve(&mut self, mut inbox: mpsc::Receiver<Event>) -> Result<(), Error> {
        let mut signals = Signals::new()?;
        self.learn();
        self.remember();
        self.find_runners();
        self.attach();
        self.await_runners();
        notify::tell("READY=1\nSTATUS=daemon");
        loop {
            if self.going_down && self.is_down() {
                return Ok(());
            }
            let due =
                [self.monitors.due(), self.memories.due(), self.jobs.due(), self.tasks.due(), self.exposures.due()];
            let due = due.into_iter().chain([Some(self.alive.due())]).flatten().min();
            let before = clock::now();
            let next = tokio::select! {
                biased;
                told = signals.next() => Next::Told(told),
                event = inbox.recv() => Next::Event(event),
                () = until(due) => Next::Due,
            };
            // Before anything is made of what was seen: it may be of a time in which nobody ran.
            self.look_for_gap(before, due);
            match next {
                Next::Told(Told::Stop) => self.go_down(),
                Next::Told(Told::Child) => self.reap_orphans(),
                Next::Told(Told::Reload) => self.reload(ReloadBody::default(), None),
                Next::Event(Some(event)) => {
                    self.on_event(event);
                    // What has come meanwhile comes under the same turn: probes of many services end together.
                    for event in (1..AT_ONCE).map_while(|_| inbox.try_recv().ok()) {
                        self.on_event(event);
                    }
                }
                Next::Event(None) => return Ok(()),
                Next::Due => {}
            }
            self.look_at_jobs();
            self.tick_monitors();
            self.tick_memories();
            self.look_at_tasks();
            self.tick_exposures();
            self.alive.tick(clock::now());
            self.ledger.beat();
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Asked(request) => self.on_request(request),
            Event::RunnerPush(id, info) => self.on_push(id, *info),
            Event::RunnerGone(id) => self.on_gone(&id),
            Event::Journaled => self.ledger.look(),
            Event::RunnerStarted(pid) => {
                if let Some(embedded) = &mut self.embedded {
                    embedded.child = Some(pid);
                }
            }
            Event::RunnerExited(how) => self.on_runner_exited(&how),
            Event::Attached(result) => self.on_attached(result),
            Event::Seen(name, seen) => self.monitor(&name, *seen),
            Event::Learned(learned) => self.on_learned(learned),
            Event::Memory(name, seen) => self.on_memory(&name, *seen),
            Event::Remembered(saved) => self.on_remembered(saved),
            Event::Ordered(body, result) => self.on_ordered(&body, &result),
            Event::RunnersReloaded(reloading, errors) => self.on_reloaded(*reloading, errors),
            Event::RunnersUpgraded(program, done, answer) => self.on_runners_upgraded(program, done, answer),
            Event::TaskSeen(name, looked) => self.on_task_seen(&name, *looked),
            Event::TaskSettled(name, result) => self.on_task_settled(&name, result),
            Event::TaskTakenIn(name, taken_in) => self.on_task_taken_in(&name, taken_in),
            Event::JobsSeen(seen) => self.on_jobs_seen(*seen),
            Event::Exposed(name, result) => self.expose(&name, ExposureInput::Ended(result)),
            Event::Closed => self.become_program(),
            Event::Waited => self.serve_unserved(),
        }
        self.serve_when_known();
        self.proceed_upgrade();
    }

    /// Reaps what became our child by the death of a runner. The runner itself is waited for by who started it.
    fn reap_orphans(&mut self) {
        while let Some((pid, _)) = crate::process::reap::peek() {
            // A command that is waited for is reaped by who asked it; we look again when that one has its answer.
            if self.embedded.as_ref().is_some_and(|embedded| embedded.started(pid)) || command::is_claimed(pid) {
                return;
            }
            crate::process::reap::reap(pid);
            self.tasks.reaped(pid);
        }
    }

    fn record(&mut self, event: EventType, data: serde_json::Value) {
        self.record_of(event, None, data);
    }

    fn record_of(&mut self, event: EventType, service: Option<UnitName>, data: serde_json::Value) {
        let data = data.as_object().cloned().unwrap_or_default();
        self.journal.append(clock::now(), event, service.as_ref(), data);
        self.ledger.look();
    }
}

/// Listens where the daemon is to be found.
fn bind(paths: &Paths) -> Result<UnixListener, Error> {
    let path = paths.daemon_socket();
    let bound = socket::bind(&path).and_then(|(listener, _)| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|e| Error::io("cannot open the control socket", &path, &e))
}

async fn until(due: Option<crate::model::Mono>) {
    match due {
        Some(due) => tokio::time::sleep(due.since(clock::now().mono)).await,
        None => std::future::pending().await,
    }
}
