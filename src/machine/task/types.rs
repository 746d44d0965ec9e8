//! What goes into a `TaskMachine`, and what comes out.

use crate::machine::ProcessRef;
use crate::model::{Exit, Signal, SlotEnd, SlotKey, StepRecord, Timing};

/// What a run is made of besides the job's declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPlan {
    /// Which run.
    pub slot: SlotKey,
    /// How it stands to its time.
    pub timing: Timing,
    /// The job's place among all jobs, from 0: those that make up for missed runs do not all begin at once.
    pub place: u32,
    /// The run that it goes on with, and the steps that ended in that one.
    pub resumes: Option<(SlotKey, Vec<StepRecord>)>,
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskInput {
    /// The slot is ours. Comes first, and once.
    Begin,
    /// The step that was to be started runs.
    Spawned(ProcessRef),
    /// It could not be started: why, in words.
    NotSpawned(String),
    /// The first process of the step that runs has ended. What it left in its group has been killed.
    Exited {
        /// How.
        exit: Exit,
        /// What it wrote to stderr last, without secrets.
        said: Option<String>,
    },
    /// End the run. Whoever repeats that changes nothing, unless it is wished now that it end at once.
    Stop {
        /// The reason, in words; that of the first time counts.
        why: String,
        /// The step is killed rather than asked.
        at_once: bool,
    },
    /// The time of [`super::TaskMachine::due`] has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEffect {
    /// The first step is about to be started: put that on record.
    Began,
    /// Start this step (its place in the list, from 0), for this time (from 1); answer with `Spawned` or `NotSpawned`.
    Start {
        /// Which.
        step: usize,
        /// Of how many tries so far.
        attempt: u32,
    },
    /// Send this to the group of the step that runs.
    Signal(ProcessRef, Signal),
    /// Put a line into the job's own log.
    Say(String),
    /// A step is over: put that on record.
    Note(StepRecord),
    /// The run is over: put that on record. Nothing comes after it.
    End(SlotEnd),
}
