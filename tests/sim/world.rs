//! Everything outside of the programs: kernel, disk, clocks, what is yet to happen, and the account of what did.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use supervisor::machine::past::FIRST_WITHIN;
use supervisor::model::{Exit, Record, ServiceSpec, Signal, UnitName};

use crate::clock::{Clock, SECOND};
use crate::disk::Disk;
use crate::kernel::{Consequence, INIT, Kernel, Manners};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::told::Told;

/// The program that was doing something is gone, between two of its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dead;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Runner(usize),
    Daemon,
}

/// What happens once an actor has had so many further effects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    Kill { back_ms: u64 },
    Exit { service: usize, exit: Exit },
    Power { off_s: u64 },
}

#[derive(Debug)]
struct Armed {
    actor: Actor,
    left: u64,
    action: Action,
}

/// What comes by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Fault(usize),
    Exit { pid: i32, uid: u64, code: i32, signal: i32, core: bool },
    StartRunner(usize),
    StartDaemon,
    Mended(usize),
    Unstuck { pid: i32 },
    DiskHasRoom,
    DatabaseWell,
    Probed { service: usize, run_id: u64, daemon: i32 },
    PowerOn,
}

/// How the next runs of a service go.
#[derive(Debug, Clone, Copy)]
pub struct Mood {
    pub uptime_ms: u64,
    pub exit: Exit,
}

/// A service's program and its files.
#[derive(Debug, Default)]
pub struct Program {
    pub moods: VecDeque<Mood>,
    /// It refuses to run until it is mended.
    pub refuses: bool,
    pub missing: bool,
    pub short: u64,
    /// Rises with each change of its watched files.
    pub files: u64,
    /// Its main process.
    pub main: Option<i32>,
}

pub struct World {
    pub plan: Plan,
    pub clock: Clock,
    pub kernel: Kernel,
    pub disk: Disk,
    pub oracle: Oracle,
    pub programs: Vec<Program>,
    pub rng: Rng,
    pub database_ill: bool,
    /// The power went; everybody is dead.
    pub power_off: Option<u64>,
    /// How long the killed actor stays away.
    pub back_ms: u64,
    /// Effects so far.
    pub steps: u64,
    /// Starts of runners whose records were synced.
    pub safe_starts: u64,
    pub told: Told,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    queued: u64,
    armed: Vec<Armed>,
    pub trace: bool,
}

impl World {
    pub fn new(plan: &Plan, trace: bool) -> Self {
        let real = plan.real.then(scratch);
        Self {
            clock: Clock::new(),
            kernel: Kernel::new(plan.tells_status, plan.subreaper),
            disk: Disk::new(plan.services.len(), real),
            oracle: Oracle::new(&plan.services, plan.tells_status),
            programs: plan.services.iter().map(|_| Program { files: 1, ..Program::default() }).collect(),
            rng: Rng::new(plan.seed, 2),
            database_ill: false,
            power_off: None,
            back_ms: 0,
            steps: 0,
            safe_starts: 0,
            told: Told::new(&plan.services),
            queue: BinaryHeap::new(),
            queued: 0,
            armed: Vec::new(),
            trace,
            plan: plan.clone(),
        }
    }

    pub fn spec(&self, service: usize) -> &ServiceSpec {
        &self.plan.services[service]
    }

    pub fn index(&self, name: &UnitName) -> Option<usize> {
        self.plan.services.iter().position(|spec| spec.name == *name)
    }

    /// One line of the trace.
    pub fn say(&self, who: &str, what: impl FnOnce() -> String) {
        if self.trace {
            let (now, boots) = (self.clock.now, self.clock.boots());
            let (day, rest) = (now / crate::clock::DAY, now % crate::clock::DAY);
            let (h, m, s) = (rest / (3600 * SECOND), rest / (60 * SECOND) % 60, rest / SECOND % 60);
            let micros = rest / 1000 % 1_000_000;
            println!("day {day:3} {h:02}:{m:02}:{s:02}.{micros:06} boot {boots:2}  {who:<9} {what}", what = what());
        }
    }

    pub fn at(&mut self, when: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((when, self.queued, event)));
    }

    pub fn after(&mut self, nanos: u64, event: Event) {
        self.at(self.clock.now.saturating_add(nanos), event);
    }

    pub fn next_event_at(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    pub fn pop(&mut self) -> Option<Event> {
        let due = self.next_event_at().is_some_and(|at| at <= self.clock.now);
        due.then(|| self.queue.pop().map(|Reverse((_, _, event))| event)).flatten()
    }

    pub fn arm(&mut self, actor: Actor, left: u64, action: Action) {
        self.armed.push(Armed { actor, left, action });
    }

    pub fn disarm(&mut self, actor: Option<Actor>) {
        self.armed.retain(|armed| actor.is_some_and(|actor| armed.actor != actor));
    }

    /// An actor is about to do something that others can see: whatever is to come between two of those comes here.
    pub fn op(&mut self, actor: Actor) -> Result<(), Dead> {
        self.steps += 1;
        if self.armed.is_empty() {
            return Ok(());
        }
        let mut due = Vec::new();
        self.armed.retain_mut(|armed| {
            if armed.actor != actor {
                return true;
            }
            if armed.left == 0 {
                due.push(armed.action);
                return false;
            }
            armed.left -= 1;
            true
        });
        let mut dead = Ok(());
        for action in due {
            match action {
                Action::Kill { back_ms } => {
                    self.say("KILL", || format!("{actor:?} in the middle of what it did"));
                    self.back_ms = back_ms;
                    dead = Err(Dead);
                }
                Action::Exit { service, exit } => self.exit_main(service, exit),
                Action::Power { off_s } => {
                    self.power_off = Some(off_s);
                    dead = Err(Dead);
                }
            }
        }
        dead
    }

    fn manners(&mut self) -> Manners {
        let ms = self.rng.below(300);
        Manners { ends_within: Some(ms * 1_000_000), exits: self.rng.chance(50) }
    }

    /// A runner starts a service's main process.
    pub fn spawn_main(&mut self, service: usize, run_id: u64, runner: i32) -> i32 {
        let token = self.clock.token();
        let manners = self.manners();
        let pid = self.kernel.spawn(runner, None, Some((service, run_id)), token, manners);
        let uid = self.kernel.get(pid).map_or(0, |p| p.uid);
        self.say("kernel", || format!("s{service} run {run_id} is pid {pid}"));
        self.oracle.spawned(service, run_id, pid, &self.kernel, &self.clock);
        let program = &mut self.programs[service];
        program.main = Some(pid);
        let mood =
            if program.refuses { Some(Mood { uptime_ms: 3, exit: Exit::Code(78) }) } else { program.moods.pop_front() };
        if let Some(mood) = mood {
            let event = exit_event(pid, uid, mood.exit);
            self.after(mood.uptime_ms * 1_000_000, event);
        }
        pid
    }

    /// The pid of a service's living main process.
    pub fn main(&self, service: usize) -> Option<i32> {
        let pid = self.programs[service].main?;
        self.kernel.get(pid).filter(|p| p.zombie.is_none() && p.mark.is_some_and(|(s, _)| s == service)).map(|p| p.pid)
    }

    pub fn exit_main(&mut self, service: usize, exit: Exit) {
        if let Some(pid) = self.main(service) {
            self.exit(pid, exit);
        }
    }

    /// A process ends.
    pub fn exit(&mut self, pid: i32, exit: Exit) {
        let Some(process) = self.kernel.get(pid).filter(|p| p.zombie.is_none()) else { return };
        let (mark, seen) = (process.mark, self.kernel.is_seen(process));
        let is_main = mark.filter(|(service, _)| self.programs[*service].main == Some(pid));
        if let Some((service, run_id)) = is_main {
            self.programs[service].main = None;
            self.oracle.ended(service, run_id, exit, seen);
            self.say("kernel", || format!("s{service} run {run_id} (pid {pid}) ends: {exit}"));
        }
        self.kernel.exit(pid, exit);
    }

    /// A signal to one process.
    pub fn signal(&mut self, pid: i32, signal: Signal) {
        let uid = self.kernel.get(pid).map_or(0, |p| p.uid);
        match self.kernel.signal(pid, signal) {
            Consequence::Nothing => {}
            Consequence::Ends(0, exit) => self.exit(pid, exit),
            Consequence::Ends(nanos, exit) => self.after(nanos, exit_event(pid, uid, exit)),
        }
    }

    pub fn signal_group(&mut self, pgid: i32, signal: Signal) {
        for pid in self.kernel.group(pgid) {
            self.signal(pid, signal);
        }
    }

    /// A child of a service's main process.
    pub fn fork(&mut self, service: usize, leaves: bool, deaf: bool) {
        let Some(main) = self.main(service) else { return };
        let Some((group, mark)) = self.kernel.get(main).map(|p| (p.pgid, p.mark)) else { return };
        // So young, it would be taken for the main process if nobody had written that one down (see there).
        let young =
            self.kernel.get(main).is_none_or(|p| self.clock.between(p.start, self.clock.token()) <= FIRST_WITHIN);
        if leaves && young {
            return;
        }
        let ends_within = (!deaf).then_some(SECOND / 10);
        let manners = Manners { ends_within, exits: false };
        let token = self.clock.token();
        let child = self.kernel.spawn(main, (!leaves).then_some(group), mark, token, manners);
        self.say("kernel", || format!("s{service} forks pid {child}, leaves: {leaves}, deaf: {deaf}"));
    }

    /// Processes of other people.
    pub fn strangers(&mut self, count: u64) {
        for n in 0..count {
            let token = self.clock.token() + n / 8;
            let manners = Manners { ends_within: Some(0), exits: true };
            let pid = self.kernel.spawn(INIT, None, None, token, manners);
            let uid = self.kernel.get(pid).map_or(0, |p| p.uid);
            let for_nanos = self.rng.below(100) * SECOND / 10;
            self.after(for_nanos, exit_event(pid, uid, Exit::Code(0)));
        }
    }

    /// Runs of which there is no trace need not be known to anybody.
    pub fn forget(&mut self, services: &[usize]) {
        for &service in services {
            let known = self.disk.last_known_run(service, &self.plan.services[service].name);
            self.oracle.unknown_after(service, known);
        }
    }

    /// Whether somebody was told who should not be, or not who should.
    pub fn judge_told(&mut self) {
        if let Some(wrong) = self.told.wrong.take() {
            self.oracle.fail("an alert if and only if a window is crossed", wrong);
        }
    }

    /// A row is in the ledger.
    pub fn row(&mut self, record: &Record) {
        if let Some(service) = record.service.as_ref().and_then(|name| self.index(name)) {
            self.oracle.row(service, record);
        }
        // Rows of the real database are read at the end, all at once.
        if !self.plan.real {
            self.told.row(&self.clock, record);
            self.judge_told();
        }
    }
}

pub fn exit_event(pid: i32, uid: u64, exit: Exit) -> Event {
    match exit {
        Exit::Code(code) => Event::Exit { pid, uid, code, signal: 0, core: false },
        Exit::Signal { signal, core } => Event::Exit { pid, uid, code: 0, signal: signal.0, core },
        Exit::Unknown => Event::Exit { pid, uid, code: 1, signal: 0, core: false },
    }
}

/// In memory where the system has a folder for that: what is synced is what the story says.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.expect("a scratch folder");
    std::fs::create_dir(dir.path().join("runners")).expect("a folder for journals");
    dir
}
