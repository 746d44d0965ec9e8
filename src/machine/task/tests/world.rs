//! A run in a world of its own: what its steps do is given, and what is asked for is kept.

use std::time::Duration;

use super::super::*;
use crate::model::{Signal, SlotEnd, SlotKey};

pub(super) const START_MS: i64 = 1_795_334_100_000;

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn job(steps: Vec<StepSpec>) -> TaskSpec {
    TaskSpec { steps, ..TaskSpec::for_tests("job") }
}

pub(super) fn plan(timing: Timing) -> TaskPlan {
    TaskPlan { slot: SlotKey::Due(START_MS), timing, place: 0, resumes: None }
}

/// How a try goes: after so many seconds it ends so; `None` for a program that cannot be started.
pub(super) type Try = Option<(u64, Behaviour)>;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Behaviour {
    Code(i32),
    /// Runs until it is asked to end, and ends so many seconds after that.
    Hangs(u64),
    /// Ends upon SIGKILL only.
    Deaf,
}

/// The machine in a world of its own.
pub(super) struct World {
    pub(super) machine: TaskMachine,
    pub(super) now: Moment,
    pub(super) tries: Vec<Vec<Try>>,
    /// What the process that runs does by itself, and when; when it follows SIGTERM.
    pub(super) ends: Option<(Mono, Exit)>,
    pub(super) hang: Option<u64>,
    pub(super) deaf: bool,
    pub(super) process: Option<ProcessRef>,
    /// What its steps write to stderr.
    pub(super) stderr: Option<String>,
    pub(super) rng: f64,
    pub(super) said: Vec<String>,
    pub(super) signals: Vec<(u64, Signal)>,
    pub(super) starts: Vec<(usize, u32, u64)>,
    pub(super) records: Vec<StepRecord>,
    pub(super) began: u32,
    pub(super) end: Option<SlotEnd>,
}

impl World {
    pub(super) fn new(spec: TaskSpec, plan: TaskPlan, tries: Vec<Vec<Try>>) -> Self {
        Self {
            machine: TaskMachine::new(spec, plan),
            now: Moment { mono: Mono(0), boot_ns: 7, wall_ms: START_MS },
            tries,
            ends: None,
            hang: None,
            deaf: false,
            process: None,
            stderr: None,
            rng: 0.5,
            said: Vec::new(),
            signals: Vec::new(),
            starts: Vec::new(),
            records: Vec::new(),
            began: 0,
            end: None,
        }
    }

    pub(super) fn at(&self) -> u64 {
        self.now.mono.0 / 1_000_000_000
    }

    pub(super) fn pass(&mut self, to: Mono) {
        let time = to.since(self.now.mono);
        self.now.mono = self.now.mono.plus(time);
        self.now.boot_ns += u64::try_from(time.as_nanos()).unwrap();
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
    }

    pub(super) fn sleep(&mut self, time: Duration) {
        self.now.boot_ns += u64::try_from(time.as_nanos()).unwrap();
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
    }

    pub(super) fn tell(&mut self, input: TaskInput) {
        assert!(self.end.is_none() || self.machine.due().is_none());
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let effects = self.machine.step(self.now, Fraction::new(self.rng), input);
            for effect in effects {
                assert!(self.end.is_none(), "{effect:?} after the end");
                inputs.extend(self.perform(effect));
            }
        }
    }

    pub(super) fn stop(&mut self, why: &str, at_once: bool) {
        self.tell(TaskInput::Stop { why: why.into(), at_once });
    }

    pub(super) fn perform(&mut self, effect: TaskEffect) -> Option<TaskInput> {
        match effect {
            TaskEffect::Began => self.began += 1,
            TaskEffect::Start { step, attempt } => {
                assert!(self.process.is_none(), "two steps at a time");
                assert_eq!(self.records.len(), step, "the steps before are over");
                self.starts.push((step, attempt, self.at()));
                let tries = &self.tries[step];
                let nth = usize::try_from(attempt - 1).unwrap().min(tries.len() - 1);
                let Some((after, behaviour)) = tries[nth] else {
                    return Some(TaskInput::NotSpawned("it is missing".into()));
                };
                let process = ProcessRef { pid: i32::try_from(self.starts.len()).unwrap() + 1, start: 9 };
                (self.process, self.ends, self.hang, self.deaf) = (Some(process), None, None, false);
                match behaviour {
                    Behaviour::Code(code) => self.ends = Some((self.now.mono.plus(secs(after)), Exit::Code(code))),
                    Behaviour::Hangs(after) => self.hang = Some(after),
                    Behaviour::Deaf => self.deaf = true,
                }
                return Some(TaskInput::Spawned(process));
            }
            TaskEffect::Signal(process, signal) => {
                assert_eq!(Some(process), self.process, "a signal for somebody else");
                self.signals.push((self.at(), signal));
                if signal == Signal::KILL {
                    self.ends = Some((self.now.mono, Exit::Signal { signal, core: false }));
                } else if let Some(after) = self.hang {
                    self.ends = Some((self.now.mono.plus(secs(after)), Exit::Signal { signal, core: false }));
                }
            }
            TaskEffect::Say(text) => self.said.push(text),
            TaskEffect::Note(record) => {
                assert_eq!(record.step, self.records.len() + 1, "one record for each step, in order");
                assert!(self.process.is_none());
                self.records.push(record);
            }
            TaskEffect::End(end) => self.end = Some(end),
        }
        None
    }

    /// Goes on to whatever is next, at most up to `until`; whether it got there.
    pub(super) fn advance(&mut self, until: Mono) -> bool {
        let due = [self.machine.due(), self.ends.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(due) = due.filter(|due| *due <= until) else {
            self.pass(until);
            return true;
        };
        self.pass(due.max(self.now.mono));
        match self.ends.filter(|(at, _)| *at <= self.now.mono) {
            Some((_, exit)) => {
                (self.ends, self.process) = (None, None);
                self.tell(TaskInput::Exited { exit, said: self.stderr.clone() });
            }
            None => self.tell(TaskInput::Tick),
        }
        false
    }

    pub(super) fn run(&mut self) -> SlotEnd {
        self.tell(TaskInput::Begin);
        self.finish()
    }

    pub(super) fn finish(&mut self) -> SlotEnd {
        for _ in 0..10_000 {
            if let Some(end) = &self.end {
                assert_eq!(self.machine.due(), None);
                return end.clone();
            }
            assert!(!self.advance(Mono(u64::MAX / 2)), "it stands still: {:?}", self.machine);
        }
        panic!("it does not end");
    }
}

pub(super) fn ok() -> Vec<Try> {
    vec![Some((1, Behaviour::Code(0)))]
}

pub(super) fn fails(code: i32) -> Vec<Try> {
    vec![Some((1, Behaviour::Code(code)))]
}

pub(super) fn step() -> StepSpec {
    StepSpec::for_tests(&["/usr/local/bin/backup", "now"])
}

pub(super) fn outcomes(world: &World) -> Vec<StepOutcome> {
    world.records.iter().map(|record| record.outcome).collect()
}
