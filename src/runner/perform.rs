//! Effects of the machines, performed.

use std::cmp::Reverse;

use serde_json::{Map, Value};

use super::launch::{self, Launched, NotStarted, Surroundings};
use super::poll::Token;
use super::sweep::Job;
use super::{LOOK_AGAIN, Runner, SYNC_WITHIN, Turn, changes};
use crate::machine::{Effect, Input, Phase, ProcessRef, Refusal};
use crate::model::{EventType, ExitClass, Signal, StopCause, Sweep, UnitName};
use crate::policy::recognise_oom;
use crate::process::watch::Watch;
use crate::process::{clock, identity, signal, table};

/// Bytes of stderr kept in the row of a crash.
const TAIL: usize = 8 * 1024;

impl Runner {
    /// One input for one service, and all that follows except spawns, which wait for the second half of the turn.
    pub(super) fn drive(&mut self, index: usize, input: Input, turn: &mut Turn) {
        let spawned = matches!(input, Input::Spawned { .. });
        let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) else { return };
        let effects = service.machine.step(turn.now, clock::fraction(), input);
        turn.changed.insert(index);
        // A run is written down before it is reported: its successor must find it whatever happens next.
        if spawned {
            service.start_seq = self.journal.next_seq();
            self.persist(index);
        }
        for effect in effects {
            self.perform(index, effect, turn);
        }
        // That a process is about to be started, too: it may have come and gone before we could write down that it is there.
        if !spawned {
            self.persist(index);
        }
    }

    fn perform(&mut self, index: usize, effect: Effect, turn: &mut Turn) {
        let Some(service) = self.services[index].as_mut() else { return };
        match effect {
            Effect::Spawn { run_id, attempt } => turn.spawns.push((index, run_id, attempt)),
            Effect::SaveIntent => self.save_intent(index),
            Effect::Signal { process, signal } => {
                // Should we be killed now, its end is to be known as the one that was asked for.
                self.persist(index);
                self.signal(index, process, signal, turn);
            }
            Effect::Record { event, mut data, with_tail } => {
                if with_tail {
                    let tail = service.tail(TAIL);
                    let killed_by = service.killed_by.take();
                    if let Some(what) = add_tail(&mut data, tail, killed_by) {
                        service.machine.ran_out_of_memory(what);
                    }
                }
                let seq = self.journal.next_seq();
                match event {
                    EventType::ServiceStart => {
                        service.start_seq = seq;
                        if let Some(program) = service.program() {
                            data.insert("program".into(), program.path.to_string_lossy().into());
                            data.insert("program_id".into(), program.version.clone().into());
                        }
                    }
                    event if event.is_run_end() => service.end_seq = seq,
                    _ => {}
                }
                let name = service.name().clone();
                self.record(event, Some(&name), data, turn);
            }
            Effect::Sweep { run_id, process } => {
                let job = Job {
                    service: service.name().clone(),
                    run_id,
                    leader: process,
                    reach: service.machine.spec().sweep,
                    descendants: std::mem::take(&mut service.descendants),
                };
                self.sweeper.add(job, turn.now.mono);
            }
        }
    }

    fn save_intent(&mut self, index: usize) {
        let Some(service) = self.services[index].as_mut() else { return };
        let saved = service.save_intent(&self.paths);
        service.intent_unsaved = saved.is_err();
        let about = format!("what is wanted of {} ", service.name());
        match saved {
            Ok(()) => self.troubles.retain(|t| !t.starts_with(&about)),
            Err(e) => {
                self.synced_by.get_or_insert(clock::now().mono.plus(SYNC_WITHIN));
                self.trouble(format!("{about}could not be stored: {e}"));
            }
        }
    }

    /// Signals a run's group. An adopted leader is not our child, so its pid could be anybody's: the start time tells.
    fn signal(&mut self, index: usize, process: ProcessRef, what: Signal, turn: &mut Turn) {
        let Some(service) = self.services[index].as_mut() else { return };
        let ours = self.pids.contains_key(&process.pid);
        if !ours && identity::start_token(process.pid) != Some(process.start) {
            return;
        }
        // Who descends from it now may have left its group by the time it ends.
        if service.machine.spec().sweep == Sweep::Tree {
            let found = table::descendants(turn.table(), process.pid);
            service.descendants.extend(found.iter().map(|e| ProcessRef { pid: e.pid, start: e.start }));
        }
        signal::group(process.pid, what);
        // A stopped process acts on no signal but SIGKILL until it is continued.
        if what != Signal::KILL {
            signal::group(process.pid, Signal(libc::SIGCONT));
        }
    }

    /// Starts everything that was asked for in this turn.
    pub(super) fn spawn_all(&mut self, turn: &mut Turn) {
        while !turn.spawns.is_empty() {
            for (index, run_id, attempt) in std::mem::take(&mut turn.spawns) {
                let phase = self.services.get(index).and_then(Option::as_ref).map(|s| s.machine.phase());
                // It may have been told meanwhile to stop or to be left.
                if !matches!(phase, Some(Phase::Spawning { .. })) {
                    continue;
                }
                let input = self.spawn(index, run_id, attempt);
                self.drive(index, input, turn);
            }
        }
    }

    fn spawn(&mut self, index: usize, run_id: u64, attempt: u32) -> Input {
        if let Some(Some(service)) = self.services.get_mut(index)
            && let Some(watch) = service.port_owner.take()
        {
            self.poll.remove(&watch);
        }
        let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) else {
            return Input::NotSpawned(Refusal::Short("it is no longer declared".into()));
        };
        if let Err(e) = service.open(&self.paths, &self.poll, index) {
            return Input::NotSpawned(Refusal::Short(format!("its pipes cannot be made: {e}")));
        }
        service.mark();
        let spec = service.machine.spec();
        service.look = changes::look(spec);
        let around = Surroundings {
            paths: &self.paths,
            base: &self.base,
            run_id,
            attempt,
            notify_socket: service.notify.as_ref().filter(|_| spec.notify).map(|(_, path)| path.as_path()),
            options: &self.options,
        };
        match launch::launch(spec, &around) {
            Ok(Launched { pid, program }) => {
                service.unprepared = false;
                service.program = Some(program);
                self.pids.insert(pid, index);
                // The child is not reaped yet, so it is in the process table even if it has ended already.
                let start = match identity::state(pid) {
                    identity::State::Running(token) | identity::State::Zombie(token) => token,
                    identity::State::Gone => 0,
                };
                Input::Spawned { process: ProcessRef { pid, start } }
            }
            Err(NotStarted { refusal, port_owner, unprepared }) => {
                service.unprepared = unprepared;
                if let Some(pid) = port_owner
                    && let Some(token) = identity::start_token(pid)
                    && let Ok(watch) = Watch::open(pid, token)
                    && self.poll.add(&watch, Token::PortOwner(index), false).is_ok()
                {
                    service.port_owner = Some(watch);
                }
                Input::NotSpawned(refusal)
            }
        }
    }

    /// Puts something on record. Once this returns it survives our death.
    pub(super) fn record(
        &mut self,
        event: EventType,
        service: Option<&UnitName>,
        data: Map<String, Value>,
        turn: &Turn,
    ) {
        let seq = self.journal.append(turn.now, event, service, data);
        self.control.journal_grew(seq);
        self.synced_by.get_or_insert(turn.now.mono.plus(SYNC_WITHIN));
    }

    pub(super) fn sync_journal(&mut self) {
        self.journal.retry();
        // A disk that cannot sync shows in the journal's own trouble.
        if self.journal.sync().is_ok() && self.journal.pending() == 0 {
            let ours = self.services.iter_mut().flatten().filter(|s| s.lock.is_some());
            ours.for_each(|s| s.machine.starts_are_safe());
        }
        // What could not be written is tried again: a record that stays behind does not know the run that lives.
        for index in 0..self.services.len() {
            if self.services[index].as_ref().is_some_and(|s| s.intent_unsaved) {
                self.save_intent(index);
            }
            self.persist(index);
        }
        let behind = |s: &super::Service| s.intent_unsaved || (s.lock.is_some() && s.saved_epoch != s.machine.epoch());
        let waits = self.journal.pending() > 0 || self.services.iter().flatten().any(behind);
        self.synced_by = waits.then(|| clock::now().mono.plus(SYNC_WITHIN));
    }

    fn persist(&mut self, index: usize) {
        let Some(service) = self.services[index].as_mut() else { return };
        // Without the lock the record is another runner's.
        if service.lock.is_none() || service.saved_epoch == service.machine.epoch() {
            return;
        }
        match service.persist(&self.paths, &self.boot_id, &self.id) {
            Ok(()) => {
                let cured = format!("the record of {} ", service.name());
                self.troubles.retain(|t| !t.starts_with(&cured));
            }
            Err(e) => {
                let what = format!("the record of {} could not be written: {e}", service.name());
                self.synced_by.get_or_insert(clock::now().mono.plus(SYNC_WITHIN));
                self.trouble(what);
            }
        }
    }

    /// What changed has consequences for others: timers, dependents, watchers, waiting callers, services that are to go.
    pub(super) fn settle(&mut self, turn: &mut Turn) {
        loop {
            let changed: Vec<usize> = turn.changed.iter().copied().collect();
            for index in &changed {
                self.arm(*index);
                self.watch_files(*index, turn);
            }
            let before = turn.changed.len();
            self.proceed_orders(turn);
            self.update_deps(turn);
            self.forget_retired();
            // What was started may be what others wait for.
            if turn.changed.len() == before && turn.spawns.is_empty() {
                break;
            }
            self.spawn_all(turn);
        }
        let all: Vec<usize> = turn.changed.iter().copied().collect();
        for index in all {
            self.arm(index);
            self.watch_files(index, turn);
        }
        if self.services.iter().flatten().any(|s| s.lock.is_none()) {
            self.look_again.get_or_insert(turn.now.mono.plus(LOOK_AGAIN));
        }
    }

    fn arm(&mut self, index: usize) {
        let Some(service) = self.services[index].as_mut() else { return };
        let epoch = service.machine.epoch();
        if service.armed_epoch != epoch {
            service.armed_epoch = epoch;
            if let Some(due) = service.machine.due() {
                self.timers.push(Reverse((due, index, epoch)));
            }
        }
    }

    fn watch_files(&mut self, index: usize, turn: &mut Turn) {
        let Some(service) = self.services[index].as_ref() else { return };
        let name = service.name().clone();
        if !matches!(service.machine.phase(), Phase::Held { .. }) {
            self.changes.unwatch(&name);
            return;
        }
        if self.changes.watches(&name) {
            return;
        }
        self.changes.watch(service.machine.spec());
        // A file that was mended between the start of the refused run and now sends no further event.
        let before = &service.look;
        let mended = !before.is_empty() && *before != changes::look(service.machine.spec());
        if mended || (service.unprepared && launch::is_prepared(service.machine.spec())) {
            self.drive(index, Input::Changed, turn);
        }
    }

    /// Tells each service that waits for others whether they are ready.
    pub(super) fn update_deps(&mut self, turn: &mut Turn) {
        let waiting = |s: &super::Service| !s.machine.spec().after.is_empty();
        let indexes: Vec<usize> =
            self.names.values().copied().filter(|i| self.services[*i].as_ref().is_some_and(waiting)).collect();
        for index in indexes {
            let Some(service) = &self.services[index] else { continue };
            let mut patience = std::time::Duration::ZERO;
            let mut all_ready = true;
            let mut foreign = false;
            for dep in &service.machine.spec().after {
                match self.names.get(dep).and_then(|i| self.services[*i].as_ref()) {
                    Some(other) if is_ready(other.machine.phase()) => {}
                    Some(other) => {
                        all_ready = false;
                        patience = patience.max(other.machine.spec().start_timeout);
                    }
                    // Services of other runners are looked at on disk, and only when it matters.
                    None if service.machine.run().is_some() => {}
                    None => {
                        let phase = super::service::read_adoption(&self.paths, dep).map(|record| record.saved.phase);
                        if !matches!(phase, Some(crate::machine::SavedPhase::Up(_) | crate::machine::SavedPhase::Done))
                        {
                            foreign = true;
                            all_ready = false;
                            patience = patience.max(service.machine.spec().start_timeout);
                        }
                    }
                }
            }
            let blocked = matches!(service.machine.phase(), Phase::Blocked { .. });
            // Services of other runners tell nobody when they are ready: while one is waited for, we look.
            if foreign && blocked {
                self.look_again.get_or_insert(turn.now.mono.plus(LOOK_AGAIN));
            }
            if service.machine.deps() != (all_ready, patience) {
                self.drive(index, Input::Deps { ready: all_ready, patience }, turn);
            }
        }
    }

    fn forget_retired(&mut self) {
        let gone = |s: &super::Service| s.retiring && s.machine.run().is_none();
        let gone: Vec<usize> =
            (0..self.services.len()).filter(|i| self.services[*i].as_ref().is_some_and(gone)).collect();
        for index in gone {
            let Some(service) = &self.services[index] else { continue };
            if self.sweeper.concerns(service.name()) {
                continue;
            }
            self.orders.forget_service(index);
            if let Some(mut service) = self.services[index].take() {
                self.changes.unwatch(service.name());
                self.names.remove(service.name());
                service.close(&self.poll);
            }
        }
    }
}

fn is_ready(phase: &Phase) -> bool {
    matches!(phase, Phase::Up(_) | Phase::Done)
}

/// Adds the last words, and what was out of memory where that ended it; tells the latter.
fn add_tail(data: &mut Map<String, Value>, tail: String, killed_by: Option<&'static str>) -> Option<&'static str> {
    let code = data.get("exit_code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    let signal = data.get("signal").and_then(Value::as_str).and_then(Signal::parse);
    let exit = match (code, signal) {
        (Some(code), _) => crate::model::Exit::Code(code),
        (None, Some(signal)) => crate::model::Exit::Signal { signal, core: false },
        (None, None) => crate::model::Exit::Unknown,
    };
    let crashed = data.get("class").and_then(Value::as_str) == Some(ExitClass::Crash.as_str());
    let what = recognise_oom(exit, &tail).or(killed_by).filter(|_| crashed);
    if let Some(what) = what {
        data.insert("out_of_memory".into(), what.into());
    }
    data.insert("stderr_tail".into(), tail.into());
    what
}

/// The cause a restart is recorded with when the daemon asks for one.
pub(super) fn cause_of(cause: Option<StopCause>) -> Option<StopCause> {
    cause.filter(|cause| {
        matches!(cause, StopCause::Hung | StopCause::StartTimeout | StopCause::OverMemory | StopCause::Upgrade)
    })
}
