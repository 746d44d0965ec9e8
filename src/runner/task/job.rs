//! The loop of one run: what `TaskMachine` asks for is done, and what comes of it is told.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::claim::Claimed;
use super::launch::Around;
use super::output::Output;
use super::tools::Tools;
use crate::journal;
use crate::machine::ProcessRef;
use crate::machine::task::{TaskEffect, TaskInput, TaskMachine, TaskPlan, finished, started};
use crate::model::{EventType, Moment, Mono, Signal, SlotEnd, SlotLine, StepOutcome, StepRecord};
use crate::process::{clock, reap, signal, socket, wait};
use crate::runner::signals::Signals;

/// How long what killed runs have left may take to end by itself.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(10);

/// How long a disk that takes nothing is waited for at the end: what cannot be put on record is accounted for as cut off.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);

/// Nobody has said why: log-out, shutdown, `systemctl stop`, `launchctl bootout`, or the daemon that goes down.
const BY_MANAGER: &str = "ended with the supervisor, or by its service manager";

pub(super) struct Job<'a> {
    around: Around<'a>,
    run: Box<Claimed>,
    machine: TaskMachine,
    journal: journal::Writer,
    output: Output,
    signals: Signals,
    /// The step that runs.
    child: Option<ProcessRef>,
    steps: Vec<StepRecord>,
    /// What the step that ended last has said.
    said: Option<String>,
    /// The same of the step that the job has failed by, and whether it goes on without it.
    tail: Option<(String, bool)>,
    end: Option<SlotEnd>,
}

impl<'a> Job<'a> {
    /// `place`: among all jobs. Nothing in here can fail: the slot is taken.
    pub(super) fn new(
        around: Around<'a>,
        mut run: Box<Claimed>,
        tools: Box<Tools>,
        place: u32,
        signals: Signals,
    ) -> Self {
        let Tools { journal, output } = *tools;
        let resumed = std::mem::take(&mut run.resumed);
        let (slot, timing) = (run.claim.slot, run.claim.timing);
        let resumes = run.claim.resumes.map(|run| (run, resumed));
        let machine = TaskMachine::new(around.task.clone(), TaskPlan { slot, timing, place, resumes });
        Self {
            around,
            run,
            machine,
            journal,
            output,
            signals,
            child: None,
            steps: Vec::new(),
            said: None,
            tail: None,
            end: None,
        }
    }

    pub(super) fn run(mut self) -> SlotEnd {
        if self.clear_away() || self.signals.take() {
            self.stop();
        } else {
            self.tell(TaskInput::Begin);
        }
        loop {
            if let Some(end) = self.end.take() {
                self.output.close(clock::now());
                self.run.lock.give_back();
                return end;
            }
            self.wait();
            // Before the children are looked at: one that ends from here on wakes us again.
            let stop = self.signals.take();
            self.output.pump(clock::now());
            self.reap();
            if stop {
                self.stop();
            }
            if self.machine.due().is_some_and(|due| due <= clock::now().mono) {
                self.tell(TaskInput::Tick);
            }
        }
    }

    /// Ends what dead runs have left, so that no step runs twice at a time; whether we were told to end meanwhile. What is left then is
    /// for whoever accounts for those runs, or for the next one.
    fn clear_away(&mut self) -> bool {
        let Self { around: Around { task, .. }, run, output, signals, .. } = self;
        let mut stop = false;
        let enough = || {
            output.pump(clock::now());
            stop |= signals.take();
            stop
        };
        let patience = task.stop_timeout.min(LEFTOVER_WITHIN);
        let ended = run.slots.end_leftovers(&std::mem::take(&mut run.cut_off), task.stop_signal, patience, enough);
        for (slot, count) in ended.iter().filter(|_| !stop) {
            output.say(&format!("ended what the run {slot}, which was killed, had left: {count}"), clock::now());
        }
        stop
    }

    /// We were told to end.
    fn stop(&mut self) {
        let (why, at_once) = match self.run.slots.stop_asked(self.run.claim.slot) {
            Some(note) => (note.why, note.at_once),
            None => (BY_MANAGER.to_owned(), false),
        };
        self.tell(TaskInput::Stop { why, at_once });
    }

    /// Until something happens, or is due.
    fn wait(&self) {
        let left = |due: Mono| due.since(clock::now().mono) + Duration::from_millis(1);
        let timeout = self
            .machine
            .due()
            .map_or(PollTimeout::NONE, |due| PollTimeout::try_from(left(due)).unwrap_or(PollTimeout::MAX));
        let [stdout, stderr] = self.output.fds();
        let mut fds = [self.signals.as_fd(), stdout, stderr].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A signal in between is a turn of the loop as any other.
        let _ = poll(&mut fds, timeout);
    }

    fn reap(&mut self) {
        while let Some((pid, _)) = reap::peek() {
            if self.child.is_none_or(|child| child.pid != pid) {
                // Orphans of a step come to us on Linux.
                reap::reap(pid);
                continue;
            }
            // Not reaped yet, so the number is still its group's: what it left there does not outlive it.
            signal::group(pid, Signal::KILL);
            let exit = reap::reap(pid);
            self.child = None;
            self.output.drain(clock::now());
            let said = self.output.complaint();
            self.said = said.clone().or_else(|| self.output.remark());
            self.tell(TaskInput::Exited { exit, said });
        }
    }

    fn tell(&mut self, input: TaskInput) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let now = clock::now();
            for effect in self.machine.step(now, clock::fraction(), input) {
                next = self.perform(effect, now).or(next);
            }
        }
    }

    fn perform(&mut self, effect: TaskEffect, now: Moment) -> Option<TaskInput> {
        match effect {
            TaskEffect::Began => {
                self.record(EventType::TaskStarted, now, started(&self.run.claim, now.wall_ms));
                self.line(&SlotLine::Began(now.wall_ms));
            }
            TaskEffect::Start { step, attempt } => return Some(self.start(step, attempt)),
            TaskEffect::Signal(process, what) => {
                if self.child == Some(process) {
                    signal::group(process.pid, what);
                    // A stopped process acts on no signal but SIGKILL until it is continued.
                    signal::group(process.pid, Signal(libc::SIGCONT));
                }
            }
            TaskEffect::Say(what) => self.output.say(&what, now),
            TaskEffect::Note(record) => self.note(record),
            TaskEffect::End(end) => self.finish(end, now),
        }
        None
    }

    fn start(&mut self, step: usize, attempt: u32) -> TaskInput {
        self.output.mark();
        self.said = None;
        match self.around.launch(&self.run, step, attempt) {
            Ok(process) => {
                self.child = Some(process);
                self.line(&SlotLine::Spawned { pid: process.pid, token: process.start });
                TaskInput::Spawned(process)
            }
            Err(why) => TaskInput::NotSpawned(why),
        }
    }

    fn note(&mut self, record: StepRecord) {
        let tolerated = self.around.task.steps.get(record.step - 1).is_some_and(|step| step.continue_on_failure);
        let bad = !matches!(record.outcome, StepOutcome::Ok | StepOutcome::Skipped);
        // The one that the job has failed by counts; before there is one, the last that it goes on without.
        if bad && self.tail.as_ref().is_none_or(|(_, tolerated)| *tolerated) {
            self.tail = self.said.take().map(|tail| (tail, tolerated));
        }
        self.line(&SlotLine::Step(record.clone()));
        self.steps.push(record);
    }

    fn finish(&mut self, end: SlotEnd, now: Moment) {
        let tail = self.tail.as_ref().map(|(tail, _)| tail.as_str());
        self.record(EventType::TaskFinished, now, finished(&self.run.claim, &self.steps, &end, tail));
        let journal = &mut self.journal;
        let recorded = wait::until(RECORDED_WITHIN, || (journal.retry() && journal.sync().is_ok()).then_some(()));
        match recorded {
            Some(()) => {
                // Without it whoever accounts for the run would have to guess.
                let (holding, line) = (&mut self.run.holding, SlotLine::End(end.clone()));
                if wait::until(RECORDED_WITHIN, || holding.note(&line).ok()).is_none() {
                    self.line(&line);
                }
            }
            // Without its end it is accounted for as cut off, rather than not at all.
            None => {
                let why = self.journal.trouble().unwrap_or_else(|| "the disk does not take it".into());
                anstream::eprintln!("task {}: its end is not on record: {why}", self.around.task.name);
            }
        }
        self.end = Some(end);
    }

    fn record(&mut self, event: EventType, at: Moment, data: serde_json::Map<String, serde_json::Value>) {
        self.journal.append(at, event, Some(&self.around.task.name), data);
        // The daemon, where there is one, looks when it is knocked at.
        drop(socket::connect(&self.around.paths.daemon_socket()));
    }

    /// Into the slot's file.
    fn line(&mut self, line: &SlotLine) {
        if let Err(e) = self.run.holding.note(line) {
            let slot = self.run.claim.slot;
            self.output.say(&format!("the file of the slot {slot} cannot be written: {e}"), clock::now());
        }
    }
}
