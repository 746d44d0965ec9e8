//! When what is asked.

use std::time::Duration;

use super::row::Row;
use super::{Act, Begun, Flight, MonitorMachine, Start, Step, Watched};
use crate::model::{Answer, Moment, Mono, Probed, RunView, Status};
use crate::policy::relapse;

/// While a start is under way it is probed at least this often: nobody wants to wait a whole interval to see it up.
pub(super) const START_INTERVAL: Duration = Duration::from_secs(1);

/// After a gap the services are asked within this long of each other.
pub(super) const WAKE_SPREAD: Duration = Duration::from_secs(5);

/// A start is not looked at more closely before: most are over by then.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// An interval has so many moments at which services are asked, the same for all with this interval: that they are asked together costs
/// a quarter of what it costs to be woken for each (20 to 26 against 100 microseconds of processor time for a bare GET, measured).
const SLOTS: u32 = 2;

/// How far the clock behind a file's time may lag.
const COARSE: i64 = 20;

/// A run that is first seen so long after its start did not begin before our eyes.
const UNSEEN: Duration = Duration::from_secs(5);

/// When a run began that we see for the first time. The wall clock is all that there is: it may have been set since, and has counted
/// what the machine slept. So a start that we have not seen begin has its whole budget from now on.
fn guess(view: &RunView, now: Moment) -> Begun {
    let age = now.wall_ms.saturating_sub(view.started_ms.unwrap_or(now.wall_ms));
    let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
    let at = Mono(now.mono.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
    let is_guess = age > UNSEEN;
    let lost = if is_guess { now.mono.since(at) } else { Duration::ZERO };
    Begun { run_id: view.run_id, at, lost, is_guess }
}

impl Watched {
    pub(super) fn begun(&self) -> Begun {
        let (lost, is_guess) = self.start.lost();
        Begun { run_id: self.run_id, at: self.begun, lost, is_guess }
    }
}

impl MonitorMachine {
    pub(super) fn on_view(&mut self, view: &RunView, step: &mut Step) {
        self.count_end(view, step.at.mono);
        let runs = matches!(view.status, Status::Starting | Status::Up);
        let Some(pid) = view.pid.filter(|_| runs) else {
            self.watched = None;
            return;
        };
        if !self.is_watched(view.run_id) {
            let now = step.at;
            let begun = self.left.filter(|left| left.run_id == view.run_id).unwrap_or_else(|| guess(view, now));
            let first_of_program = self.is_new_program(view.program.as_ref());
            // What starts is asked at once; what is already up after a restart of the daemon at its own moment.
            let next = match view.ready {
                true => slot(now.mono.plus(self.spread(step)), self.interval()).max(now.mono),
                false => now.mono,
            };
            self.watched = Some(Watched {
                run_id: view.run_id,
                pid,
                is_ready: view.ready,
                begun: begun.at,
                started_ms: view.started_ms.unwrap_or(now.wall_ms),
                program: view.program.clone(),
                next,
                row: Row::default(),
                start: Start::new(now.mono, first_of_program, begun),
                convicted: None,
                beat: None,
                last_beat: None,
                lived: None,
            });
        }
        let came_up = view.ready && self.watched.as_ref().is_some_and(|watched| !watched.is_ready);
        if let Some(watched) = &mut self.watched {
            watched.beat = view.beat.map(|beat| beat.0);
            watched.is_ready = view.ready;
        }
        if came_up {
            self.came_up(view.adopted, step);
        }
    }

    /// Whether another program came up the last time, as far as is known.
    pub(super) fn is_new_program(&self, program: Option<&String>) -> bool {
        self.learned.program.as_ref().zip(program).is_some_and(|(known, program)| known != program)
    }

    /// Ends that took force, or that nobody asked for.
    fn count_end(&mut self, view: &RunView, now: Mono) {
        let Some(end) = view.last_exit.as_ref().filter(|end| Some(end.at_ms) != self.last_end_ms) else { return };
        let is_new = self.last_end_ms.replace(end.at_ms).is_some() || self.watched.is_some();
        if is_new && end.class.is_crash() {
            self.unclean.push(now);
            let extra = self.unclean.len().saturating_sub(relapse::HANGS);
            self.unclean.drain(..extra);
        }
    }

    fn interval(&self) -> Duration {
        self.spec.health.as_ref().map_or(START_INTERVAL, |health| health.interval)
    }

    /// A part of an interval.
    fn spread(&self, step: &Step) -> Duration {
        self.interval().mul_f64(step.rng.get())
    }

    /// The first good answer, or READY=1, has come.
    fn came_up(&mut self, adopted: bool, step: &mut Step) {
        let (spread, interval) = (self.spread(step), self.interval());
        let Some(watched) = &mut self.watched else { return };
        watched.next = slot(step.at.mono.plus(spread), interval).max(step.at.mono);
        watched.row = Row::default();
        watched.convicted = None;
        if !adopted {
            watched.start.teach(step.at.mono.since(watched.begun), &mut self.learned);
            if watched.program.is_some() {
                self.learned.program.clone_from(&watched.program);
            }
        }
        self.start_is_over(step);
    }

    pub(super) fn tick(&mut self, step: &mut Step) {
        self.pass_sentence(step);
        let now = step.at.mono;
        let is_notify = self.is_notify();
        let interval = self.interval();
        if self.watched.as_ref().is_none_or(|watched| !self.asks(watched)) {
            return;
        }
        let Some(watched) = &mut self.watched else { return };
        if self.in_flight.is_some() || watched.next > now {
            return;
        }
        let run_id = watched.run_id;
        let interval = if watched.is_ready { interval } else { interval.min(START_INTERVAL) };
        // Start to start, whatever a turn of ours was late by.
        let on_time = now.since(watched.next) < interval / SLOTS;
        watched.next = if on_time { watched.next.plus(interval) } else { slot(now.plus(interval), interval) };
        self.in_flight = Some(Flight { run_id, at: step.at, is_void: false });
        let Some(health) = &self.spec.health else {
            step.acts.push(Act::Look { run_id, pid: watched.pid });
            return;
        };
        let startup = !watched.is_ready && health.startup.is_some();
        if is_notify && !startup {
            if !watched.is_ready {
                step.acts.push(Act::Look { run_id, pid: watched.pid });
            } else if watched.beat.is_some() && watched.beat != watched.last_beat {
                let probed = Probed::new(Answer::Beat(watched.beat), Duration::ZERO);
                self.on_probed(run_id, &probed, None, step);
            } else {
                // What was not heard may lie with its runner: it is asked, and one that does not answer has told nothing.
                step.acts.push(Act::AskRunner { run_id, timeout: health.timeout });
            }
            return;
        }
        let facts = watched.is_ready || now.since(watched.begun) >= LOOK_AFTER;
        // Whatever is answered within the pause that is tolerated is a sign of life, however late.
        let linger = Some(health.tolerated().saturating_sub(health.timeout)).filter(|rest| !rest.is_zero());
        let pid = watched.pid;
        step.acts.push(Act::Probe { run_id, pid, startup, timeout: health.timeout, linger, facts });
    }

    /// What a beat says: whether there was a new one since the last look.
    pub(super) fn read_beat(watched: &mut Watched, beat: Option<u64>) -> Result<(), String> {
        let Some(stamp) = beat else {
            let gone = watched.last_beat.is_some();
            let said = if gone { "its sign of life is gone" } else { "it has not given a sign of life yet" };
            return Err(said.into());
        };
        let is_new = watched.last_beat != Some(stamp);
        if !watched.is_ready && watched.last_beat.is_none() {
            // A file of the run before is none of this one's. Only the first that is seen is told by its time: the clock may be
            // set back after the start.
            watched.last_beat = Some(stamp);
            let at_ms = i64::try_from(stamp / 1_000_000).unwrap_or(i64::MAX);
            if at_ms.saturating_add(COARSE) < watched.started_ms {
                return Err("its last sign of life is older than its start".into());
            }
        }
        watched.last_beat = Some(stamp);
        if is_new { Ok(()) } else { Err("no sign of life since the last look".into()) }
    }
}

/// The last moment before `at` at which services with this interval are asked.
fn slot(at: Mono, interval: Duration) -> Mono {
    let grid = u64::try_from((interval / SLOTS).as_nanos()).unwrap_or(u64::MAX).max(1);
    Mono(at.0 - at.0 % grid)
}
