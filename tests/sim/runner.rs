//! The runner's hands around the real machines: what `src/runner` does, in the same order, with the world's files and
//! processes. Each effect that others can see goes through [`World::op`], so that anything can come between two of them.
//!
//! Mirrors, function by function: [`Runner::start`] `Runner::start` and `take_over`; [`Runner::begin`] `begin.rs`;
//! [`Runner::turn`] `serve`; `reap` `on_signals`; `on_watch`, `on_end`, `ended` (mod.rs); the rest is in `hands.rs`
//! (perform.rs, orders.rs). What is decided is decided by the real code: `ServiceMachine`, `Takeover`, `Sweeper`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use supervisor::machine::past::{self, Marked, Past, Takeover};
use supervisor::machine::{Input, ProcessRef, ServiceMachine};
use supervisor::model::{EventType, Exit, Moment, Mono, RunView, Signal, StopCause, Sweep, wire::Verb};
use supervisor::runner::sweep::{Job, Sweeper};

use crate::disk::Writer;
use crate::kernel::Watched;
use crate::world::{Actor, Dead, World};

/// As in src/runner/mod.rs.
const STATUS_WITHIN: Duration = Duration::from_secs(1);

/// What was sent to a runner.
#[derive(Debug, Clone)]
pub enum Message {
    Order { service: usize, verb: Verb, cause: Option<StopCause> },
    Ready { service: usize, run_id: u64 },
    Term,
}

pub struct Service {
    /// Its place in the plan.
    pub id: usize,
    pub machine: ServiceMachine,
    pub begun: bool,
    pub watch: Option<u64>,
    await_status: Option<Mono>,
    pub descendants: Vec<ProcessRef>,
    /// What its files looked like when the current run was started; 0: nobody looked.
    pub look: u64,
    /// What they looked like when they began to be watched.
    pub watching: Option<u64>,
    pub unprepared: bool,
    pub intent_unsaved: bool,
    pub saved_epoch: u64,
    pub start_seq: u64,
    pub end_seq: u64,
    pub armed_epoch: u64,
}

pub struct Runner {
    pub slot: usize,
    pub id: String,
    pub pid: i32,
    pub boot_id: String,
    pub services: Vec<Service>,
    pub pids: HashMap<i32, usize>,
    pub timers: BinaryHeap<Reverse<(Mono, usize, u64)>>,
    pub journal: Writer,
    pub synced_by: Option<Mono>,
    pub look_again: Option<Mono>,
    pub sweeper: Sweeper,
    pub stops: BTreeMap<usize, Input>,
    pub inbox: VecDeque<Message>,
    pub going_down: bool,
    /// What the daemon has not seen yet.
    pub told: BTreeSet<usize>,
    pub grew: bool,
    /// That it was started is on record, and synced.
    pub start_safe: bool,
}

/// One turn of the loop.
pub struct Turn {
    pub now: Moment,
    pub spawns: Vec<(usize, u64, u32)>,
    pub changed: BTreeSet<usize>,
}

impl Turn {
    fn new(w: &World) -> Self {
        Self { now: w.clock.moment(), spawns: Vec::new(), changed: BTreeSet::new() }
    }
}

impl Runner {
    pub fn actor(&self) -> Actor {
        Actor::Runner(self.slot)
    }

    /// A process that is about to become a runner. Its first turn is [`Self::take_over`].
    pub fn start(w: &mut World, slot: usize) -> Self {
        let pid = w.kernel.spawn_runner(w.clock.token());
        let mine = w.plan.slots()[slot].clone();
        let id = if w.plan.embedded { "_embedded".to_owned() } else { w.spec(mine[0]).name.to_string() };
        w.say("manager", || format!("starts runner {id} as pid {pid}"));
        let at = w.clock.moment();
        let boot_id = w.clock.boot_id();
        let journal = Writer::open(&mut w.disk, &id, &boot_id, at);
        let service = |id: usize| Service {
            id,
            machine: ServiceMachine::new(w.plan.services[id].clone(), Default::default()),
            begun: false,
            watch: None,
            await_status: None,
            descendants: Vec::new(),
            look: 0,
            watching: None,
            unprepared: false,
            intent_unsaved: false,
            saved_epoch: 0,
            start_seq: 0,
            end_seq: 0,
            armed_epoch: 0,
        };
        let services = mine.into_iter().map(service).collect();
        Self {
            slot,
            id,
            pid,
            boot_id,
            services,
            pids: HashMap::new(),
            timers: BinaryHeap::new(),
            journal,
            synced_by: None,
            look_again: None,
            sweeper: Sweeper::default(),
            stops: BTreeMap::new(),
            inbox: VecDeque::new(),
            going_down: false,
            told: BTreeSet::new(),
            grew: false,
            start_safe: false,
        }
    }

    pub fn take_over(&mut self, w: &mut World) -> Result<(), Dead> {
        let mut turn = Turn::new(w);
        self.record(w, EventType::RunnerStarted, None, Default::default(), &turn)?;
        w.op(self.actor())?;
        if w.disk.was_full {
            // Not before: what could not be written down may end while its successor is on the way here.
            w.forget(&w.plan.slots()[self.slot]);
        }
        let mut marked: BTreeMap<usize, Vec<Marked>> = BTreeMap::new();
        for process in w.kernel.alive() {
            if let Some((service, run_id)) = process.mark {
                let found = ProcessRef { pid: process.pid, start: process.start };
                let late = w.clock.between(process.mark_token, process.start);
                let found = Marked { run_id, process: found, ppid: process.ppid, pgid: process.pgid, late };
                marked.entry(service).or_default().push(found);
            }
        }
        w.op(self.actor())?;
        let mut past = Past::of(&self.id);
        for (id, record) in w.disk.journaled() {
            past.take(&id, &record);
        }
        for index in 0..self.services.len() {
            let id = self.services[index].id;
            self.begin(w, index, marked.get(&id).map_or(&[], Vec::as_slice), &past, &mut turn)?;
            self.update_deps(w, &mut turn)?;
        }
        self.finish(w, turn)
    }

    fn begin(
        &mut self,
        w: &mut World,
        index: usize,
        marked: &[Marked],
        past: &Past,
        turn: &mut Turn,
    ) -> Result<(), Dead> {
        let id = self.services[index].id;
        w.op(self.actor())?;
        let service = &mut self.services[index];
        service.begun = true;
        service.machine.set_intent(w.disk.wanted(id));
        let left = w.disk.adopt[id].read().cloned();
        let takeover = Takeover::new(&w.spec(id).name.clone(), left, past, &self.boot_id);
        (self.services[index].start_seq, self.services[index].end_seq) = takeover.seqs();
        let candidates = takeover.candidates(marked, |start| w.clock.began(start));
        let mut alive = None;
        for found in candidates {
            w.op(self.actor())?;
            let watch = w.kernel.watch(found.run.process.pid, found.run.process.start, self.pid);
            if watch.is_some() {
                self.services[index].watch = watch;
                alive = Some(found);
                break;
            }
        }
        let leftovers = match w.spec(id).sweep {
            Sweep::Tree => past::leftovers(marked, alive.map(|found| found.run.id)),
            Sweep::Group => BTreeMap::new(),
        };
        for (run_id, leader) in leftovers {
            let service = w.spec(id).name.clone();
            let job = Job { service, run_id, leader, reach: Sweep::Tree, descendants: vec![leader] };
            self.sweeper.add(job, turn.now.mono);
        }
        for input in takeover.inputs(alive, marked) {
            w.say(&self.id, || format!("begins s{id}: {input:?}"));
            self.drive(w, index, input, turn)?;
        }
        Ok(())
    }

    /// One turn of the loop: deaths and due starts first, messages last.
    pub fn turn(&mut self, w: &mut World) -> Result<(), Dead> {
        let mut turn = Turn::new(w);
        if self.inbox.iter().any(|message| matches!(message, Message::Term)) {
            self.inbox.retain(|message| !matches!(message, Message::Term));
            self.go_down(w, &mut turn);
        }
        self.reap(w, &mut turn)?;
        for index in 0..self.services.len() {
            self.on_watch(w, index, &mut turn)?;
        }
        for index in 0..self.services.len() {
            let files = w.programs[self.services[index].id].files;
            if self.services[index].watching.is_some_and(|seen| seen != files) {
                self.services[index].watching = Some(files);
                self.drive(w, index, Input::Changed, &mut turn)?;
            }
        }
        self.on_time(w, &mut turn)?;
        self.spawn_all(w, &mut turn)?;
        while let Some(message) = self.inbox.pop_front() {
            self.on_message(w, message, &mut turn)?;
        }
        self.finish(w, turn)
    }

    fn on_message(&mut self, w: &mut World, message: Message, turn: &mut Turn) -> Result<(), Dead> {
        w.op(self.actor())?;
        match message {
            Message::Term => {}
            Message::Ready { service, run_id } => {
                if let Some(index) = self.services.iter().position(|s| s.id == service) {
                    self.drive(w, index, Input::Ready { run_id }, turn)?;
                }
            }
            Message::Order { service, verb, cause } => {
                let index = self.services.iter().position(|s| s.id == service);
                if let Some(index) = index.filter(|_| !self.going_down) {
                    w.oracle.ordering(service, cause);
                    self.order(w, index, verb, cause, turn)?;
                }
            }
        }
        Ok(())
    }

    /// Spawns what is due, tells who waits, and arms what is to come.
    fn finish(&mut self, w: &mut World, mut turn: Turn) -> Result<(), Dead> {
        self.spawn_all(w, &mut turn)?;
        self.settle(w, &mut turn)?;
        self.spawn_all(w, &mut turn)?;
        self.told.append(&mut turn.changed);
        Ok(())
    }

    /// Whether it has ended everything, as it was told.
    pub fn is_done(&self) -> bool {
        self.going_down && self.services.iter().all(|s| s.machine.run().is_none()) && self.sweeper.is_done()
    }

    /// It becomes another program (`upgrade.rs`): its machines go along as text, and what they wait for is armed anew.
    pub fn upgrade(&mut self, w: &mut World) {
        w.say(&self.id, || "becomes a new version".into());
        for service in &mut self.services {
            let text = serde_json::to_string(&service.machine).expect("a machine is plain data");
            service.machine = serde_json::from_str(&text).expect("it reads back");
            service.armed_epoch = 0;
        }
        self.timers.retain(|Reverse((_, _, epoch))| *epoch == u64::MAX);
        (0..self.services.len()).for_each(|index| self.arm(index));
    }

    fn go_down(&mut self, w: &mut World, turn: &mut Turn) {
        if self.going_down {
            return;
        }
        w.say(&self.id, || "goes down".into());
        self.going_down = true;
        for service in &self.services {
            w.oracle.excuse(service.id);
        }
        for index in 0..self.services.len() {
            self.stops.entry(index).or_insert(Input::Leave { cause: StopCause::Shutdown });
        }
        turn.changed.extend(0..self.services.len());
    }

    fn reap(&mut self, w: &mut World, turn: &mut Turn) -> Result<(), Dead> {
        while let Some((pid, exit)) = w.kernel.dead_child(self.pid) {
            w.op(self.actor())?;
            // The dead leader is not reaped yet, so this number is still its group's and nobody else's.
            let index = self.pids.get(&pid).copied();
            if index.is_some() {
                w.signal_group(pid, Signal::TERM);
            }
            self.on_end(w, index, pid, exit, turn)?;
            w.op(self.actor())?;
            w.kernel.reap(pid);
        }
        Ok(())
    }

    fn on_end(
        &mut self,
        w: &mut World,
        index: Option<usize>,
        pid: i32,
        exit: Exit,
        turn: &mut Turn,
    ) -> Result<(), Dead> {
        let Some(index) = index else { return Ok(()) };
        self.pids.remove(&pid);
        let run = self.services[index].machine.run().filter(|run| run.process.pid == pid).map(|run| run.id);
        match run {
            Some(run_id) => self.ended(w, index, run_id, exit, turn),
            None => Ok(()),
        }
    }

    /// An adopted process may have ended.
    fn on_watch(&mut self, w: &mut World, index: usize, turn: &mut Turn) -> Result<(), Dead> {
        let Some(watch) = self.services[index].watch else { return Ok(()) };
        let exit = match w.kernel.poll_watch(watch) {
            Watched::NotYet => return Ok(()),
            Watched::Exited(exit) => exit,
            Watched::AwaitReap => {
                let until = *self.services[index].await_status.get_or_insert(turn.now.mono.plus(STATUS_WITHIN));
                if turn.now.mono < until {
                    let again = turn.now.mono.plus(Duration::from_millis(5));
                    self.timers.push(Reverse((again, index, u64::MAX)));
                    return Ok(());
                }
                Exit::Unknown
            }
        };
        let service = &mut self.services[index];
        (service.await_status, service.watch) = (None, None);
        w.kernel.unwatch(watch);
        match self.services[index].machine.run().map(|run| run.id) {
            Some(run_id) => self.ended(w, index, run_id, exit, turn),
            None => Ok(()),
        }
    }

    fn ended(&mut self, w: &mut World, index: usize, run_id: u64, exit: Exit, turn: &mut Turn) -> Result<(), Dead> {
        if exit.code().is_some_and(|code| self.services[index].machine.spec().hold_exit_codes.contains(&code)) {
            self.drive(w, index, Input::LastWords("it refuses".into()), turn)?;
        }
        self.drive(w, index, Input::Exited { run_id, exit }, turn)?;
        self.stop_ended(w, index, turn)
    }

    fn on_time(&mut self, w: &mut World, turn: &mut Turn) -> Result<(), Dead> {
        let now = turn.now.mono;
        while let Some(Reverse((due, index, epoch))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            if epoch == u64::MAX {
                self.on_watch(w, index, turn)?;
            } else if self.services[index].machine.epoch() == epoch {
                self.drive(w, index, Input::Tick, turn)?;
            }
        }
        if self.synced_by.is_some_and(|due| due <= now) {
            self.sync_journal(w)?;
        }
        if self.look_again.is_some_and(|due| due <= now) {
            self.look_again = None;
            self.update_deps(w, turn)?;
        }
        if self.sweeper.due().is_some_and(|due| due <= now) {
            w.op(self.actor())?;
            let mark = |p: &crate::kernel::Process| {
                p.mark.map(|(service, run)| (p.pid, (w.plan.services[service].name.to_string(), run)))
            };
            let marks = w.kernel.alive().filter_map(mark).collect();
            let signals = self.sweeper.look(&w.kernel.table(), &marks, now);
            turn.changed.extend(0..self.services.len());
            for (process, signal) in signals {
                w.op(self.actor())?;
                if w.kernel.get(process.pid).is_some_and(|p| p.start == process.start) {
                    w.signal(process.pid, signal);
                }
            }
        }
        Ok(())
    }

    /// When the loop is to wake by itself.
    pub fn due(&self) -> Option<Mono> {
        let timer = self.timers.peek().map(|Reverse((due, ..))| *due);
        [timer, self.synced_by, self.look_again, self.sweeper.due()].into_iter().flatten().min()
    }

    /// What the daemon is pushed.
    pub fn views(&self, all: bool, now: Moment) -> Vec<(usize, RunView)> {
        let wanted = |index: &usize| all || self.told.contains(index);
        (0..self.services.len())
            .filter(wanted)
            .map(|index| (self.services[index].id, self.services[index].machine.view(now, 0)))
            .collect()
    }
}
