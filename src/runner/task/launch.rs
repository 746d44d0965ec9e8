//! From a step's declaration to its process.

use std::collections::BTreeMap;

use super::claim::Claimed;
use crate::logs::fifo;
use crate::machine::ProcessRef;
use crate::model::paths::{Paths, Stream};
use crate::model::{StepAction, TaskSpec};
use crate::process::spawn::{self, Launch};
use crate::process::{clock, handover, identity};
use crate::runner::Options;
use crate::runner::environment::{self, Base, RunFacts};
use crate::slots::run_mark;

/// Everything a step needs besides its declaration.
pub(super) struct Around<'a> {
    pub(super) task: &'a TaskSpec,
    pub(super) options: &'a Options,
    pub(super) paths: &'a Paths,
    pub(super) base: Base,
}

impl Around<'_> {
    /// Starts the step at this place of the list, from 0; or says why it could not be.
    pub(super) fn launch(&self, run: &Claimed, step: usize, attempt: u32) -> Result<ProcessRef, String> {
        let task = self.task;
        let Some(spec) = task.steps.get(step) else { return Err("there is no such step".into()) };
        let file = match &task.env_file {
            Some(path) => environment::read_env_file(path)?,
            None => BTreeMap::new(),
        };
        let cwd = spec.cwd.as_ref().unwrap_or(&task.cwd);
        let mut own = task.env.clone();
        own.extend(spec.env.clone());
        let slot = run.claim.slot;
        let facts = RunFacts {
            name: &task.name,
            run_id: run_mark(slot),
            attempt: attempt.saturating_sub(1),
            token: identity::token_at(clock::now()),
            state_dir: self.paths.state_dir(),
            notify_socket: None,
            watchdog: None,
        };
        let mut env: BTreeMap<String, String> = environment::compose(&own, &file, &self.base, facts);
        let time = jiff::Timestamp::from_millisecond(slot.at_ms()).unwrap_or_default();
        for (name, value) in [
            ("SUPERVISOR_TASK", task.name.to_string()),
            ("SUPERVISOR_SLOT", slot.to_string()),
            ("SUPERVISOR_SLOT_TIME", time.to_string()),
            ("SUPERVISOR_STEP", (step + 1).to_string()),
            ("SUPERVISOR_ATTEMPT", attempt.to_string()),
        ] {
            env.insert(name.into(), value);
        }
        let (program, argv) = match &spec.action {
            StepAction::Run(argv) => {
                let path_var = environment::search_path(&own, &file);
                let program = spawn::find_program(argv.first().map_or("", String::as_str), path_var, cwd)?;
                (program, argv.clone())
            }
            StepAction::Builtin(_) => {
                environment::add_surroundings(&mut env, &self.options.surroundings.vars);
                let program = handover::own_program().map_err(|e| format!("our own program cannot be found: {e}"))?;
                let mut words = vec![program.display().to_string()];
                words.extend(environment::own_arguments(&self.options.config, self.paths));
                words.extend(["step".into(), task.name.to_string(), (step + 1).to_string()]);
                (program, words)
            }
        };
        let pipe = |stream: Stream| {
            fifo::open_writer(&self.paths.fifo(&task.name, stream))
                .map_err(|e| format!("its pipe cannot be opened: {e}"))
        };
        let (stdout, stderr) = (pipe(Stream::Stdout)?, pipe(Stream::Stderr)?);
        let launch = Launch { program, argv, env: env.into_iter().collect(), cwd: cwd.clone(), stdout, stderr };
        let pid = spawn::spawn(launch).map_err(|e| e.to_string())?.pid;
        // It is not reaped yet, so it is in the process table even if it has ended already.
        let start = match identity::state(pid) {
            identity::State::Running(token) | identity::State::Zombie(token) => token,
            identity::State::Gone => 0,
        };
        Ok(ProcessRef { pid, start })
    }
}
