//! A plan is played to its end: time jumps from one event to the next, and what has to hold is looked at after each.

use supervisor::model::{Exit, Mono, Record, Signal};

use crate::clock::{HOUR, MINUTE, SECOND};
use crate::daemon::{Daemon, Rows};
use crate::oracle::Broken;
use crate::plan::Plan;
use crate::runner::{Message, Runner};
use crate::world::{Actor, Event, World};

/// After the last fault everything has to be well again by then: a hold, the longest back-off, waiting for others.
const RECOVERY: u64 = 40 * MINUTE;

/// So many turns without time going by are a loop.
const BUSY: u32 = 20_000;

/// What a story came to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Told {
    pub years: f64,
    /// Effects of runners and the daemon.
    pub steps: u64,
    pub runs: u64,
    pub faults: u64,
}

pub struct Story {
    pub w: World,
    pub runners: Vec<Option<Runner>>,
    pub daemon: Option<Daemon>,
    rows: Rows,
    /// No faults any more.
    pub resting: bool,
}

/// Plays it; what did not hold.
pub fn play(plan: &Plan, trace: bool) -> (Told, Option<Broken>) {
    let mut story = Story {
        w: World::new(plan, trace),
        runners: plan.slots().iter().map(|_| None).collect(),
        daemon: None,
        rows: Rows::default(),
        resting: false,
    };
    story.run();
    let told =
        Told { years: plan.years(), steps: story.w.steps, runs: story.w.oracle.runs, faults: plan.faults.len() as u64 };
    (told, story.w.oracle.broken.take())
}

impl Story {
    fn run(&mut self) {
        let begin = self.w.clock.now;
        for (n, timed) in self.w.plan.faults.clone().iter().enumerate() {
            self.w.at(begin + timed.at, Event::Fault(n));
        }
        self.power_on();
        self.until(begin + self.w.plan.length);
        self.heal();
        self.until(self.w.clock.now + RECOVERY);
        if self.w.oracle.broken.is_none() {
            self.judge();
        }
    }

    fn until(&mut self, end: u64) {
        let mut busy = 0;
        while self.w.oracle.broken.is_none() {
            let now = self.w.clock.now;
            let at = |due: Option<Mono>| due.map(|due| self.w.clock.at(due));
            let runners = self.runners.iter().flatten().filter_map(|r| at(r.due()));
            let daemon = self.daemon.as_ref().and_then(|d| at(d.due()));
            let alerts = self.daemon.as_ref().and_then(|_| self.w.told.due(&self.w.clock));
            let next = runners.chain(daemon).chain(alerts).chain(self.w.next_event_at()).min();
            let next = if self.somebody_waits() { Some(now) } else { next };
            let Some(next) = next.filter(|next| *next <= end) else { break };
            busy = if next > now { 0 } else { busy + 1 };
            if busy > BUSY {
                self.w.oracle.fail("time goes by", "the loop turns without end".into());
            }
            self.w.clock.now = now.max(next);
            self.step();
        }
        self.w.clock.now = self.w.clock.now.max(end);
    }

    fn somebody_waits(&self) -> bool {
        let woken = |r: &Runner| self.w.kernel.wake.contains(&r.pid) || !r.inbox.is_empty();
        self.runners.iter().flatten().any(woken) || self.daemon.as_ref().is_some_and(|d| d.look)
    }

    fn step(&mut self) {
        if let Some(event) = self.w.pop() {
            self.on_event(event);
            self.power_check();
        }
        for slot in 0..self.runners.len() {
            let now = self.w.clock.moment().mono;
            let due = |r: &Runner| r.due().is_some_and(|due| due <= now);
            let wants = |r: &Runner| due(r) || self.w.kernel.wake.contains(&r.pid) || !r.inbox.is_empty();
            if self.runners[slot].as_ref().is_some_and(wants) {
                self.turn(slot);
                self.power_check();
            }
        }
        if let Some(daemon) = &mut self.daemon {
            daemon.tick(&mut self.w);
            if daemon.look && daemon.take_in(&mut self.w, &mut self.rows).is_err() {
                self.daemon_dies();
                self.power_check();
            }
        }
        self.w.oracle.always(&self.w.kernel, &self.w.clock);
    }

    fn turn(&mut self, slot: usize) {
        let Some(mut runner) = self.runners[slot].take() else { return };
        self.w.kernel.wake.remove(&runner.pid);
        let alive = runner.turn(&mut self.w).is_ok();
        self.runners[slot] = Some(runner);
        self.after_turn(slot, alive);
    }

    fn after_turn(&mut self, slot: usize, alive: bool) {
        if !alive {
            let back = self.w.back_ms * 1_000_000;
            return self.runner_dies(slot, back);
        }
        self.nothing_is_forgotten(slot);
        let Some(runner) = &mut self.runners[slot] else { return };
        if let Some(daemon) = &mut self.daemon {
            daemon.look |= std::mem::take(&mut runner.grew);
            for (service, view) in runner.views(false, self.w.clock.moment()) {
                daemon.saw(&mut self.w, service, view);
            }
        }
        runner.told.clear();
        if runner.is_done() {
            self.w.say(&runner.id, || "is done".into());
            // A disk that is still full keeps its last lines: there is nothing that it could do about it.
            let _ = runner.sync_journal(&mut self.w);
            // What it left in order begins afresh.
            for service in &runner.services {
                self.w.oracle.excuse(service.id);
            }
            let back = self.w.back_ms * 1_000_000;
            self.runner_dies(slot, back);
        }
    }

    pub fn runner_dies(&mut self, slot: usize, back: u64) {
        let Some(runner) = self.runners[slot].take() else { return };
        self.w.say("kernel", || format!("runner {} (pid {}) is gone", runner.id, runner.pid));
        self.w.kernel.exit(runner.pid, Exit::Signal { signal: Signal::KILL, core: false });
        self.w.disarm(Some(Actor::Runner(slot)));
        let pending = runner.journal.pending();
        for service in &runner.services {
            let wanted = self.w.disk.wanted(service.id).up;
            let name = &service.machine.spec().name;
            let lost = pending.iter().filter(|record| record.service.as_ref() == Some(name));
            let run = |record: &Record| record.data.get("run_id").and_then(serde_json::Value::as_u64);
            let lost = lost.filter_map(|record| Some((record.event, run(record)?)));
            self.w.oracle.runner_gone(service.id, wanted, lost);
            if let Some(daemon) = &mut self.daemon {
                daemon.lost(&mut self.w, service.id);
            }
        }
        self.w.after(back, Event::StartRunner(slot));
    }

    pub fn daemon_dies(&mut self) {
        let Some(daemon) = self.daemon.take() else { return };
        self.w.say("kernel", || "the daemon is gone".into());
        self.w.told.end();
        self.w.kernel.exit(daemon.pid, Exit::Signal { signal: Signal::KILL, core: false });
        self.w.disarm(Some(Actor::Daemon));
        let back = self.w.back_ms * 1_000_000;
        self.w.after(back, Event::StartDaemon);
    }

    fn power_check(&mut self) {
        let Some(off_s) = self.w.power_off.take() else { return };
        self.w.say("POWER", || format!("is gone, for {off_s} s"));
        for slot in 0..self.runners.len() {
            if self.runners[slot].is_some() {
                self.runner_dies(slot, 0);
            }
        }
        self.daemon = None;
        self.w.told.end();
        self.w.oracle.power_loss();
        self.w.kernel.power_loss();
        self.w.disarm(None);
        for program in &mut self.w.programs {
            program.main = None;
        }
        let now = self.w.clock.now;
        let mut rng = self.w.rng.clone();
        self.w.disk.power_loss(now, &mut rng);
        self.w.rng = rng;
        let all: Vec<usize> = (0..self.w.plan.services.len()).collect();
        self.w.forget(&all);
        for service in 0..self.w.plan.services.len() {
            if self.w.oracle.wanted(service).is_none() {
                let up = self.w.disk.wanted(service).up;
                self.w.oracle.ordered(service, up);
            }
        }
        self.w.clock.reboot(off_s * SECOND);
        self.w.after(0, Event::PowerOn);
    }

    fn power_on(&mut self) {
        for slot in 0..self.runners.len() {
            let late = self.w.rng.below(5 * SECOND);
            self.w.after(late, Event::StartRunner(slot));
        }
        let late = self.w.rng.below(5 * SECOND);
        self.w.after(late, Event::StartDaemon);
    }

    pub fn on_event(&mut self, event: Event) {
        match event {
            Event::Fault(n) => {
                let fault = self.w.plan.faults[n].fault.clone();
                if !self.resting {
                    self.w.say("FAULT", || format!("#{n} {fault:?}"));
                    self.on_fault(fault);
                }
            }
            Event::Exit { pid, uid, code, signal, core } => {
                if self.w.kernel.get(pid).is_some_and(|p| p.uid == uid) {
                    let by_signal = Exit::Signal { signal: Signal(signal), core };
                    self.w.exit(pid, if signal == 0 { Exit::Code(code) } else { by_signal });
                }
            }
            Event::StartRunner(slot) => {
                if self.runners[slot].is_none() {
                    let mut runner = Runner::start(&mut self.w, slot);
                    let alive = runner.take_over(&mut self.w).is_ok();
                    runner.told.extend(0..runner.services.len());
                    self.runners[slot] = Some(runner);
                    self.after_turn(slot, alive);
                }
            }
            Event::StartDaemon => {
                if self.daemon.is_none() {
                    let mut daemon = Daemon::start(&mut self.w);
                    for runner in self.runners.iter().flatten() {
                        for (service, view) in runner.views(true, self.w.clock.moment()) {
                            daemon.saw(&mut self.w, service, view);
                        }
                    }
                    self.daemon = Some(daemon);
                }
            }
            Event::Mended(service) => {
                let program = &mut self.w.programs[service];
                (program.refuses, program.missing) = (false, false);
                program.files += 1;
                self.w.oracle.mended(service);
                self.wake(service);
                self.w.say("somebody", || format!("mends the files of s{service}"));
            }
            Event::Unstuck { pid } => {
                if self.w.kernel.unstick(pid) {
                    self.w.exit(pid, Exit::Signal { signal: Signal::KILL, core: false });
                }
            }
            Event::DiskHasRoom => self.w.disk.full = false,
            Event::DatabaseWell => {
                self.w.database_ill = false;
                if let Some(daemon) = &mut self.daemon {
                    daemon.look = true;
                }
            }
            Event::Probed { service, run_id, daemon } => {
                let Some(asker) = self.daemon.as_mut().filter(|d| d.pid == daemon) else { return };
                if let Some(run_id) = asker.probed(&mut self.w, service, run_id) {
                    let slot = self.w.plan.slot_of(service);
                    self.send(slot, Message::Ready { service, run_id });
                }
            }
            Event::PowerOn => self.power_on(),
        }
    }

    fn wake(&mut self, service: usize) {
        if let Some(runner) = &self.runners[self.w.plan.slot_of(service)] {
            self.w.kernel.wake.insert(runner.pid);
        }
    }

    pub fn send(&mut self, slot: usize, message: Message) {
        if let Some(runner) = &mut self.runners[slot] {
            runner.inbox.push_back(message);
        }
    }
}

/// The longest that a story waits for nothing; kept here so that nobody makes the recovery shorter than a hold.
const _: () = assert!(RECOVERY > 15 * MINUTE && RECOVERY < HOUR);
