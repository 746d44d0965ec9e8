//! What can be asked of a `ServiceMachine`, and the one thing it is told besides its inputs.

use super::service::ServiceMachine;
use super::types::{Phase, Run, Saved, SavedPhase, Then, Ticket, TicketState};
use crate::model::{Intent, Moment, Mono, RunView, ServiceSpec, Status, wire::Verb};

impl ServiceMachine {
    /// When the next `Tick` is wanted.
    pub fn due(&self) -> Option<Mono> {
        match self.phase {
            Phase::Blocked { since, .. } => Some(since.plus(self.deps.1)),
            Phase::Delayed { until } | Phase::Stopping { until, .. } | Phase::Held { until, .. } => Some(until),
            Phase::Idle
            | Phase::LockedOut { .. }
            | Phase::Spawning { .. }
            | Phase::Starting(_)
            | Phase::Up(_)
            | Phase::Down
            | Phase::Done
            | Phase::Failed => None,
        }
    }

    /// Rises with every change that a successor or a reader has to know of.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What is declared.
    pub fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    /// Whether all of `after` are ready, and how long those that are not are waited for: the last `Input::Deps`.
    pub fn deps(&self) -> (bool, std::time::Duration) {
        self.deps
    }

    /// What is wanted.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// What is wanted now, as it is stored: another runner may have had the service when somebody said so.
    pub fn set_intent(&mut self, intent: Intent) {
        self.intent = intent;
        self.epoch += 1;
    }

    /// What is happening.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The run whose process lives.
    pub fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Starting(run) | Phase::Up(run) | Phase::Stopping { run, .. } => Some(run),
            _ => None,
        }
    }

    /// The record for a successor.
    pub fn save(&self, boot_id: &str) -> Saved {
        let phase = match &self.phase {
            Phase::Idle | Phase::LockedOut { .. } => SavedPhase::Idle,
            // Asked for and not waiting for throttle: a successor starts it as one that nobody has started yet.
            Phase::Blocked { automatic: false, .. } => SavedPhase::Idle,
            Phase::Spawning { automatic, .. } => SavedPhase::Spawning { automatic: *automatic },
            Phase::Blocked { since, .. } => SavedPhase::Waiting { until: *since },
            Phase::Delayed { until } => SavedPhase::Waiting { until: *until },
            Phase::Starting(run) => SavedPhase::Starting(*run),
            Phase::Up(run) => SavedPhase::Up(*run),
            Phase::Stopping { run, cause, then, .. } => SavedPhase::Stopping { run: *run, cause: *cause, then: *then },
            Phase::Held { hold, until } => SavedPhase::Held { hold: hold.clone(), until: *until },
            Phase::Down => SavedPhase::Down,
            Phase::Done => SavedPhase::Done,
            Phase::Failed => SavedPhase::Failed,
        };
        Saved {
            v: Saved::VERSION,
            boot_id: boot_id.into(),
            run_id: self.run_id,
            phase,
            backoff: self.backoff.clone(),
            last_exit: self.last_exit.clone(),
            safe_starts: self.safe_starts,
        }
    }

    /// All that was put on record is safe from a loss of power. The next adoption record says so: that one of run 8 may be on
    /// the disk while the end of run 7 is not, and whether run 7's start is on record the journal does not say any more when
    /// it was dropped long ago.
    pub fn starts_are_safe(&mut self) {
        self.safe_starts = self.run_id;
    }

    /// What readers see. `now` turns awake deadlines into wall times.
    pub fn view(&self, now: Moment, log_dropped: u64) -> RunView {
        let run = self.run();
        let (reason, remedy) = super::explain::reason(self);
        let wall = |until: Mono| now.wall_ms + i64::try_from(until.since(now.mono).as_millis()).unwrap_or(i64::MAX / 2);
        RunView {
            name: self.spec.name.clone(),
            epoch: self.epoch,
            status: self.status(),
            reason,
            remedy,
            pid: run.map(|r| r.process.pid),
            run_id: self.run_id,
            ready: matches!(self.phase, Phase::Up(_)),
            since_ms: self.since_ms,
            started_ms: run.map(|r| r.started.wall_ms),
            next_start_ms: match self.phase {
                Phase::Blocked { .. } | Phase::Delayed { .. } | Phase::Held { .. } => self.due().map(wall),
                _ => None,
            },
            restart_attempt: self.backoff.attempts,
            last_exit: self.last_exit.clone(),
            intent: self.intent.clone(),
            adopted: run.is_some_and(|r| r.adopted),
            log_dropped,
            beat: None,
            program: None,
        }
    }

    /// The public word for the phase.
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::Idle | Phase::Down => Status::Down,
            Phase::LockedOut { .. } | Phase::Blocked { .. } | Phase::Delayed { .. } => Status::Waiting,
            Phase::Spawning { .. } | Phase::Starting(_) => Status::Starting,
            Phase::Up(_) => Status::Up,
            Phase::Stopping { .. } => Status::Stopping,
            Phase::Held { .. } => Status::Held,
            Phase::Done => Status::Done,
            Phase::Failed => Status::Failed,
        }
    }

    /// Whether the run that an order is about, if it is about one, lives no more: then it is not for what came after it.
    pub fn is_over(&self, run_id: Option<u64>) -> bool {
        run_id.is_some_and(|wanted| self.run().is_none_or(|run| run.id != wanted))
    }

    /// What somebody who asks for `verb` now, of this run or of the service, will wait for.
    pub fn ticket(&self, verb: Verb, run_id: Option<u64>) -> Ticket {
        // A restart that is joined is the one under way: it has not had its run yet either.
        Ticket { verb, run_id: self.run_id, over: run_id.filter(|_| self.is_over(run_id)) }
    }

    /// Whether what a ticket stands for holds.
    pub fn ticket_state(&self, ticket: Ticket) -> TicketState {
        if let Some(run) = ticket.over {
            return TicketState::Done(format!("run {run} is over"));
        }
        let reason = || super::explain::reason(self).0;
        match (ticket.verb, &self.phase) {
            (Verb::Stop, Phase::Down | Phase::Idle | Phase::Done | Phase::Failed) => TicketState::Done("down".into()),
            (Verb::Stop, Phase::LockedOut { .. }) => TicketState::Failed(reason()),
            (Verb::Stop, Phase::Stopping { .. }) => TicketState::Pending,
            (Verb::Stop, _) if self.intent.up => TicketState::Failed("somebody else started it again".into()),
            (Verb::Stop, _) => TicketState::Pending,
            (_, Phase::Stopping { then: Then::Down, .. } | Phase::Down) => {
                TicketState::Failed("somebody else stopped it".into())
            }
            (_, Phase::Stopping { then: Then::Leave, .. } | Phase::Idle) => {
                TicketState::Failed("its runner does not run it any more".into())
            }
            (Verb::Restart, _) if self.run_id == ticket.run_id && self.run().is_some() => TicketState::Pending,
            (_, Phase::Up(run)) => TicketState::Done(format!("up, pid {}", run.process.pid)),
            (_, Phase::Starting(_) | Phase::Spawning { .. } | Phase::Stopping { .. } | Phase::Blocked { .. }) => {
                TicketState::Pending
            }
            (_, Phase::LockedOut { .. } | Phase::Delayed { .. } | Phase::Held { .. } | Phase::Failed) => {
                TicketState::Failed(format!("{}: {}", self.status(), reason()))
            }
            (_, Phase::Done) => TicketState::Done("done: it ended with a success code".into()),
        }
    }
}
