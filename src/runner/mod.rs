//! The runner, `supervisor exec NAME...`: the parent of services. It owns their lives: spawn, reap, restart, stop, log.
//!
//! Small on purpose: one thread, one loop over epoll or kqueue, no tick, no runtime, no database, no HTTP. What is to be done
//! is decided by `ServiceMachine`; this room performs it and reports back. In a storm each turn reaps everything, then spawns
//! everything, then serves sockets, so that neither the control socket nor SIGTERM is ever starved.
//!
//! Order of writing, so that SIGKILL at any point leaves nothing doubled and nothing lost (`begin` reads it back):
//! - the end of a run: seen (but not reaped) → journal → reaped → adoption record;
//! - the start of a run: adoption record (it is about to be) → spawned → adoption record → journal. A process spawned but
//!   not written down is found by its mark in the process table; one that has ended by then is on record as lost.
//!
//! Nothing here probes, judges health or memory, or writes SQLite: that is the daemon's.

mod begin;
mod changes;
mod control;
pub mod environment;
mod guard;
mod last_words;
mod launch;
mod notified;
mod orders;
mod perform;
mod poll;
mod reload;
mod service;
mod signals;
mod start;
pub mod sweep;
mod task;
mod upgrade;

pub use task::Wanted;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::path::PathBuf;

use changes::Changes;
use control::Control;
use environment::Base;
use poll::{Poll, Token};
use service::Service;
use signals::Signals;
use sweep::Sweeper;

use crate::error::{Error, ErrorKind};
use crate::journal;
use crate::logs::Block;
use crate::machine::{Input, Phase, SavedPhase};
use crate::model::paths::{EMBEDDED_RUNNER, Paths, Stream};
use crate::model::{Exit, Moment, Mono, ProgramId, UnitName};
use crate::policy::{may_be_kill, recognise_kill};
use crate::process::lock::Lock;
use crate::process::oom::Kills;
use crate::process::watch::Ended;
use crate::process::{clock, notify, reap, table, wait};

/// How a runner is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// services.toml, absolute.
    pub config: PathBuf,
    /// What expands in it.
    pub surroundings: crate::config::Surroundings,
    /// The services it is to own.
    pub names: Vec<UnitName>,
    /// Whether the daemon's embedded manager started it: then it also ends what earlier embedded runners left.
    pub embedded: bool,
    /// The descriptor of what was handed over by the program that this process was before.
    pub handover: Option<i32>,
    /// Named for a calendar job: which run of it.
    pub wanted: Wanted,
}

/// How long journal lines may wait for fdatasync.
const SYNC_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Between two looks at a lock that another runner has, and at services of other runners in `after`.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// In place of a machine's epoch, in timers that are about something else: an adopted process has ended, and its status is to come;
const WATCH_AGAIN: u64 = u64::MAX;

/// signs of life were held back.
const TELL_BEAT: u64 = u64::MAX - 1;

/// How long the status of an adopted process may take to arrive after its end.
const STATUS_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) struct Runner {
    id: String,
    options: Options,
    paths: Paths,
    boot_id: String,
    base: Base,
    poll: Poll,
    signals: Signals,
    services: Vec<Option<Service>>,
    names: BTreeMap<UnitName, usize>,
    pids: HashMap<i32, usize>,
    timers: BinaryHeap<Reverse<(Mono, usize, u64)>>,
    journal: journal::Writer,
    /// Through which all output goes.
    block: Block,
    synced_by: Option<Mono>,
    look_again: Option<Mono>,
    control: Control,
    guard: guard::Guard,
    changes: Changes,
    sweeper: Sweeper,
    kills: Kills,
    orders: orders::Orders,
    troubles: BTreeSet<String>,
    going_down: bool,
    /// Whether a successor is to have the services, alive as they are.
    leaving: bool,
    upgrade: Option<upgrade::Wanted>,
    /// How often this process has become another program.
    upgrades: u32,
    /// The file that it is.
    program: Option<ProgramId>,
    lock: Lock,
}

/// One turn of the loop: its time, and what waits for the second half.
pub(crate) struct Turn {
    pub(crate) now: Moment,
    /// Spawns asked for: (service, run, attempt).
    pub(crate) spawns: Vec<(usize, u64, u32)>,
    /// Services whose machines changed.
    pub(crate) changed: BTreeSet<usize>,
    /// The process table, once somebody has asked for it: to stop a thousand services it is read once.
    table: Option<Vec<table::Entry>>,
}

impl Turn {
    fn new() -> Self {
        Self { now: clock::now(), spawns: Vec::new(), changed: BTreeSet::new(), table: None }
    }

    /// The process table as of this turn; empty where it cannot be read.
    fn table(&mut self) -> &[table::Entry] {
        self.table.get_or_insert_with(|| table::scan().unwrap_or_default())
    }
}

/// Runs until SIGTERM, SIGINT or a `shutdown` request, and then until everything is down; or until it is asked to leave its
/// services to a successor. Named for a calendar job it runs that once.
pub fn run(options: Options) -> Result<(), Error> {
    if matches!(options.wanted, Wanted::Extra(_)) {
        let (fleet, place) = task::named(&options).ok_or_else(|| no_such_task(&options))?;
        return task::run(&options, &fleet, place);
    }
    match Runner::start(&options) {
        Ok(mut runner) => runner.serve(),
        // No service is called so.
        Err(error) => match task::named(&options) {
            Some((fleet, place)) => task::run(&options, &fleet, place),
            None => {
                wait::before_failing(&options.config);
                Err(error)
            }
        },
    }
}

fn no_such_task(options: &Options) -> Error {
    let fault = reload::load(options).err();
    let names = options.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    fault.unwrap_or_else(|| Error::new(ErrorKind::Usage, format!("services.toml has no task called {names}")))
}

/// Whether an adoption record speaks of a run of `name` that may still live.
pub fn may_live(paths: &Paths, name: &UnitName) -> bool {
    let started = |phase: &SavedPhase| matches!(phase, SavedPhase::Spawning { .. });
    service::read_adoption(paths, name).is_some_and(|r| r.saved.run().is_some() || started(&r.saved.phase))
}

/// The id of a runner for these services.
pub fn runner_id(names: &[UnitName], embedded: bool) -> String {
    match names {
        [one] if !embedded => one.to_string(),
        _ => EMBEDDED_RUNNER.into(),
    }
}

impl Runner {
    fn serve(&mut self) -> Result<(), Error> {
        let mut ready = Vec::new();
        loop {
            if self.going_down && self.is_down() {
                self.sync_journal();
                self.block.remove();
                self.control.close();
                return Ok(());
            }
            let timeout = self.next_due().map(|due| due.since(clock::now().mono));
            self.poll
                .wait(timeout, &mut ready)
                .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot wait for events: {e}")))?;
            let mut turn = Turn::new();
            // Deaths and due starts first, sockets last: what is asked then sees what is.
            for token in &ready {
                match *token {
                    Token::Signals => self.on_signals(&mut turn),
                    Token::Watch(index) => self.on_watch(index, &mut turn),
                    Token::PortOwner(index) => self.on_port_free(index, &mut turn),
                    Token::Changes => {
                        for name in self.changes.take() {
                            self.on_index(&name, Input::Changed, &mut turn);
                        }
                    }
                    _ => {}
                }
            }
            self.on_time(&mut turn);
            self.spawn_all(&mut turn);
            for token in &ready {
                match *token {
                    Token::Stdout(index) => self.pump(index, Stream::Stdout, &mut turn),
                    Token::Stderr(index) => self.pump(index, Stream::Stderr, &mut turn),
                    Token::Notify(index) => self.on_notify(index, &mut turn),
                    Token::Listener => self.control.accept(&self.poll),
                    Token::Connection(key) => self.on_connection(key, &mut turn),
                    _ => {}
                }
            }
            let now = turn.now.mono;
            self.finish(turn);
            // Nothing that is to be started waits any more.
            self.kills.remember(now);
            if self.leaving {
                // As after a SIGKILL, but for the journal: what is in the block is written by the successor.
                self.sync_journal();
                self.control.close();
                return Ok(());
            }
            if let Some(wanted) = self.upgrade.take() {
                self.become_program(&wanted);
            }
        }
    }

    /// Spawns what is due, tells who waits, and arms what is to come.
    fn finish(&mut self, mut turn: Turn) {
        self.spawn_all(&mut turn);
        self.settle(&mut turn);
        self.spawn_all(&mut turn);
        self.publish(&turn);
    }

    fn is_down(&self) -> bool {
        self.services.iter().flatten().all(|s| s.machine.run().is_none()) && self.sweeper.is_done()
    }

    fn pump(&mut self, index: usize, stream: Stream, turn: &mut Turn) {
        if let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) {
            let look = |service: &Service| (service.dropped(), service.log_trouble().is_some());
            let before = look(service);
            service.pump(stream, &mut self.block, turn.now);
            // Output that is lost is seen by those who ask how the service is.
            if look(service) != before {
                turn.changed.insert(index);
            }
        }
    }

    fn on_signals(&mut self, turn: &mut Turn) {
        let down = self.signals.take();
        if down {
            self.go_down(turn);
        }
        while let Some((pid, told)) = reap::peek() {
            // The dead leader is not reaped yet, so this number is still its group's and nobody else's.
            let index = self.pids.get(&pid).copied();
            if index.is_some() {
                crate::process::signal::group(pid, crate::model::Signal::TERM);
            }
            match told {
                Some(exit) => {
                    self.on_end(index, pid, exit, turn);
                    reap::reap(pid);
                }
                None => {
                    self.kills.ended(pid);
                    let exit = reap::reap(pid);
                    self.on_end(index, pid, exit, turn);
                }
            }
        }
    }

    fn on_end(&mut self, index: Option<usize>, pid: i32, exit: Exit, turn: &mut Turn) {
        let Some(index) = index else { return };
        self.pids.remove(&pid);
        let Some(service) = self.services[index].as_mut() else { return };
        service.drain(&mut self.block, turn.now);
        let run_id = service.machine.run().filter(|run| run.process.pid == pid).map(|run| run.id);
        if let Some(run_id) = run_id {
            self.ended(index, run_id, exit, turn);
        }
    }

    /// An adopted process may have ended.
    fn on_watch(&mut self, index: usize, turn: &mut Turn) {
        let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) else { return };
        let Some(watch) = &service.watch else { return };
        let exit = match watch.poll_end() {
            Ended::NotYet => return,
            Ended::Exited(exit) => exit,
            Ended::AwaitReap => {
                let until = *service.await_status.get_or_insert(turn.now.mono.plus(STATUS_WITHIN));
                if turn.now.mono < until {
                    // The descriptor stays readable: it is muted, and asked again by the timer.
                    let _ = self.poll.mute(watch, Token::Watch(index));
                    let again = turn.now.mono.plus(std::time::Duration::from_millis(5));
                    self.timers.push(Reverse((again, index, WATCH_AGAIN)));
                    return;
                }
                Exit::Unknown
            }
        };
        service.await_status = None;
        if let Some(watch) = service.watch.take() {
            self.poll.remove(&watch);
        }
        service.drain(&mut self.block, turn.now);
        if let Some(run_id) = service.machine.run().map(|run| run.id) {
            self.ended(index, run_id, exit, turn);
        }
    }

    fn ended(&mut self, index: usize, run_id: u64, exit: Exit, turn: &mut Turn) {
        // What it said before it ended is not the next run's.
        self.on_notify(index, turn);
        let Some(service) = self.services[index].as_mut() else { return };
        let ours = matches!(service.machine.phase(), Phase::Stopping { .. });
        service.killed_by = service
            .machine
            .run()
            .filter(|_| may_be_kill(exit, ours))
            .and_then(|run| recognise_kill(exit, ours, self.kills.evidence(run.process.pid, run.started)));
        let refused = exit.code().is_some_and(|code| service.machine.spec().hold_exit_codes.contains(&code));
        if refused {
            let words = service.last_words();
            self.drive(index, Input::LastWords(words), turn);
        }
        self.drive(index, Input::Exited { run_id, exit }, turn);
        self.stop_ended(index, turn);
    }

    fn on_port_free(&mut self, index: usize, turn: &mut Turn) {
        let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) else { return };
        let over = service.port_owner.as_ref().is_some_and(|watch| watch.poll_end() != Ended::NotYet);
        if over {
            if let Some(watch) = service.port_owner.take() {
                self.poll.remove(&watch);
            }
            self.drive(index, Input::Changed, turn);
        }
    }

    fn on_index(&mut self, name: &UnitName, input: Input, turn: &mut Turn) {
        if let Some(&index) = self.names.get(name) {
            self.drive(index, input, turn);
        }
    }

    fn on_time(&mut self, turn: &mut Turn) {
        let now = turn.now.mono;
        while let Some(Reverse((due, index, epoch))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            match epoch {
                WATCH_AGAIN => self.on_watch(index, turn),
                TELL_BEAT => self.tell_beat(index, turn),
                _ if self.services.get(index).and_then(Option::as_ref).is_some_and(|s| s.machine.epoch() == epoch) => {
                    self.drive(index, Input::Tick, turn);
                }
                _ => {}
            }
        }
        if self.synced_by.is_some_and(|due| due <= now) {
            self.sync_journal();
        }
        if self.look_again.is_some_and(|due| due <= now) {
            self.look_again = None;
            self.retry_locks(turn);
            self.update_deps(turn);
        }
        self.look_for_daemon(now);
        if self.sweeper.pass(&self.paths, now) {
            turn.changed.extend(self.names.values());
        }
    }

    fn next_due(&self) -> Option<Mono> {
        let timer = self.timers.peek().map(|Reverse((due, _, _))| *due);
        let all = [
            timer,
            self.synced_by,
            self.look_again,
            self.sweeper.due(),
            self.orders.due(),
            self.control.due(),
            self.guard.due(),
        ];
        all.into_iter().flatten().min()
    }

    /// Everything is to end; intent stays as it is.
    pub(crate) fn go_down(&mut self, turn: &mut Turn) {
        if self.going_down {
            return;
        }
        self.going_down = true;
        notify::tell("STOPPING=1\nSTATUS=stopping");
        let all: Vec<usize> = self.names.values().copied().collect();
        self.orders.leave(all);
        turn.changed.extend(self.names.values());
    }

    fn trouble(&mut self, what: String) {
        self.troubles.insert(what);
    }
}
