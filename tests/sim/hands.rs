//! Effects of the machines, performed: mirrors src/runner/perform.rs (`drive`, `perform`, `signal`, `spawn_all`, `spawn`,
//! `record`, `sync_journal`, `persist`, `settle`, `arm`, `watch_files`, `update_deps`) and orders.rs (`order`,
//! `proceed_stops`, `is_needed`).

use std::cmp::Reverse;
use std::time::Duration;

use serde_json::{Map, Value};
use supervisor::machine::past::Left;
use supervisor::machine::{Effect, Hold, Input, Phase, ProcessRef, Refusal, SavedPhase};
use supervisor::model::{EventType, Fraction, Signal, StopCause, Sweep, UnitName, wire::Verb};
use supervisor::process::table;
use supervisor::runner::sweep::Job;

use crate::runner::{Runner, Turn};
use crate::world::{Dead, World};

/// As in src/runner/mod.rs.
const SYNC_WITHIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Runner {
    /// One input for one service, and all that follows except spawns, which wait for the second half of the turn.
    pub fn drive(&mut self, w: &mut World, index: usize, input: Input, turn: &mut Turn) -> Result<(), Dead> {
        let spawned = matches!(input, Input::Spawned { .. });
        let luck = Fraction::new(w.rng.fraction());
        let service = &mut self.services[index];
        let before = service.machine.status();
        let effects = service.machine.step(turn.now, luck, input);
        let after = service.machine.status();
        if before != after {
            w.say(&self.id, || format!("s{} is {after}, was {before}", self.services[index].id));
        }
        turn.changed.insert(index);
        if spawned {
            self.services[index].start_seq = self.journal.next_seq();
            self.persist(w, index)?;
        }
        for effect in effects {
            self.perform(w, index, effect, turn)?;
        }
        if !spawned {
            self.persist(w, index)?;
        }
        Ok(())
    }

    fn perform(&mut self, w: &mut World, index: usize, effect: Effect, turn: &mut Turn) -> Result<(), Dead> {
        let id = self.services[index].id;
        match effect {
            Effect::Spawn { run_id, attempt } => turn.spawns.push((index, run_id, attempt)),
            Effect::SaveIntent => self.save_intent(w, index)?,
            Effect::Signal { process, signal } => {
                self.persist(w, index)?;
                if let Some(run) = self.services[index].machine.run() {
                    w.oracle.told(id, run.id, &w.clock);
                }
                self.signal(w, index, process, signal)?;
            }
            Effect::Record { event, mut data, with_tail } => {
                if with_tail {
                    data.insert("stderr_tail".into(), "the last words".into());
                }
                let name = w.spec(id).name.clone();
                let seq = self.journal.next_seq();
                let service = &mut self.services[index];
                match event {
                    EventType::ServiceStart => service.start_seq = seq,
                    event if event.is_run_end() => service.end_seq = seq,
                    _ => {}
                }
                self.record(w, event, Some((id, &name)), data, turn)?;
            }
            Effect::Sweep { run_id, process } => {
                let service = &mut self.services[index];
                let job = Job {
                    service: service.machine.spec().name.clone(),
                    run_id,
                    leader: process,
                    reach: service.machine.spec().sweep,
                    descendants: std::mem::take(&mut service.descendants),
                };
                self.sweeper.add(job, turn.now.mono);
            }
        }
        Ok(())
    }

    fn save_intent(&mut self, w: &mut World, index: usize) -> Result<(), Dead> {
        w.op(self.actor())?;
        let service = &mut self.services[index];
        service.intent_unsaved = w.disk.full;
        if w.disk.full {
            w.oracle.intent_lost(service.id);
            self.synced_by.get_or_insert(w.clock.moment().mono.plus(SYNC_WITHIN));
        } else {
            let (id, intent) = (service.id, service.machine.intent().clone());
            w.say(&self.id, || format!("s{id} is wanted {}", if intent.up { "up" } else { "down" }));
            w.disk.intent[id].write(w.clock.now, intent, true);
        }
        Ok(())
    }

    fn signal(&mut self, w: &mut World, index: usize, process: ProcessRef, what: Signal) -> Result<(), Dead> {
        w.op(self.actor())?;
        let ours = self.pids.contains_key(&process.pid);
        let start = w.kernel.get(process.pid).filter(|p| p.zombie.is_none()).map(|p| p.start);
        if !ours && start != Some(process.start) {
            return Ok(());
        }
        let service = &mut self.services[index];
        if service.machine.spec().sweep == Sweep::Tree {
            let found = table::descendants(&w.kernel.table(), process.pid);
            service.descendants.extend(found.iter().map(|e| ProcessRef { pid: e.pid, start: e.start }));
        }
        w.say(&self.id, || format!("sends {what} to group {}", process.pid));
        w.signal_group(process.pid, what);
        Ok(())
    }

    pub fn spawn_all(&mut self, w: &mut World, turn: &mut Turn) -> Result<(), Dead> {
        while !turn.spawns.is_empty() {
            for (index, run_id, _) in std::mem::take(&mut turn.spawns) {
                // It may have been told meanwhile to stop or to be left.
                if !matches!(self.services[index].machine.phase(), Phase::Spawning { .. }) {
                    continue;
                }
                let input = self.spawn(w, index, run_id)?;
                self.drive(w, index, input, turn)?;
            }
        }
        Ok(())
    }

    fn spawn(&mut self, w: &mut World, index: usize, run_id: u64) -> Result<Input, Dead> {
        w.op(self.actor())?;
        let id = self.services[index].id;
        self.services[index].look = w.programs[id].files;
        if w.programs[id].missing {
            self.services[index].unprepared = true;
            let hold =
                Hold { reason: "its program is missing".into(), remedy: String::new(), last_words: String::new() };
            return Ok(Input::NotSpawned(Refusal::Hold(hold)));
        }
        if w.programs[id].short > 0 {
            w.programs[id].short -= 1;
            w.say(&self.id, || format!("s{id}: no process to be had"));
            return Ok(Input::NotSpawned(Refusal::Short("no process to be had".into())));
        }
        let pid = w.spawn_main(id, run_id, self.pid);
        self.services[index].unprepared = false;
        self.pids.insert(pid, index);
        let start = w.kernel.get(pid).map_or(0, |p| p.start);
        Ok(Input::Spawned { process: ProcessRef { pid, start } })
    }

    /// Puts something on record. Once this returns it survives our death, unless the disk is full.
    pub fn record(
        &mut self,
        w: &mut World,
        event: EventType,
        service: Option<(usize, &UnitName)>,
        data: Map<String, Value>,
        turn: &Turn,
    ) -> Result<(), Dead> {
        w.op(self.actor())?;
        w.say(&self.id, || format!("records {event} {}", Value::Object(data.clone())));
        let run = data.get("run_id").and_then(Value::as_u64);
        let class = data.get("class").and_then(Value::as_str).map(str::to_owned);
        let end = w.disk.journals.get(&self.id).map_or(0, |lines| lines.end());
        self.journal.append(&mut w.disk, turn.now, event, service.map(|(_, name)| name), data);
        if w.disk.real.is_some() {
            if let Some((id, _)) = service {
                w.oracle.journaled(id, (event, run, class.as_deref()), turn.now.boot_ns, &w.clock);
            }
        } else {
            self.written(w, end);
        }
        self.grew = true;
        self.synced_by.get_or_insert(turn.now.mono.plus(SYNC_WITHIN));
        Ok(())
    }

    /// Tells the account which lines are in the file now.
    fn written(&self, w: &mut World, end: usize) {
        let Some(lines) = w.disk.journals.get(&self.id) else { return };
        for record in lines.lines.iter().skip(end.saturating_sub(lines.first)) {
            let service = record.service.as_ref().and_then(|name| w.plan.services.iter().position(|s| s.name == *name));
            let run = record.data.get("run_id").and_then(Value::as_u64);
            let class = record.data.get("class").and_then(Value::as_str);
            if let Some(id) = service {
                w.oracle.journaled(id, (record.event, run, class), record.boot_ns, &w.clock);
            }
        }
    }

    pub fn sync_journal(&mut self, w: &mut World) -> Result<(), Dead> {
        w.op(self.actor())?;
        let end = w.disk.journals.get(&self.id).map_or(0, |lines| lines.end());
        self.journal.sync(&mut w.disk);
        if !std::mem::replace(&mut self.start_safe, true) {
            w.safe_starts += 1;
        }
        self.written(w, end);
        self.grew |= self.journal.pending().is_empty();
        if self.journal.pending().is_empty() {
            self.services.iter_mut().filter(|s| s.begun).for_each(|s| s.machine.starts_are_safe());
        }
        for index in 0..self.services.len() {
            if self.services[index].intent_unsaved {
                self.save_intent(w, index)?;
            }
            self.persist(w, index)?;
        }
        let behind = |s: &crate::runner::Service| s.intent_unsaved || s.begun && s.saved_epoch != s.machine.epoch();
        let waits = !self.journal.pending().is_empty() || self.services.iter().any(behind);
        self.synced_by = waits.then(|| w.clock.moment().mono.plus(SYNC_WITHIN));
        Ok(())
    }

    fn persist(&mut self, w: &mut World, index: usize) -> Result<(), Dead> {
        let service = &mut self.services[index];
        if !service.begun || service.saved_epoch == service.machine.epoch() {
            return Ok(());
        }
        w.op(self.actor())?;
        let service = &mut self.services[index];
        if w.disk.full {
            w.oracle.persisted(service.id, false);
            self.synced_by.get_or_insert(w.clock.moment().mono.plus(SYNC_WITHIN));
            return Ok(());
        }
        w.oracle.persisted(service.id, true);
        let saved = service.machine.save(&self.boot_id);
        if self.going_down && saved.phase == SavedPhase::Idle {
            // What is left in order begins afresh, also where its runner is killed before it is done with the others.
            w.oracle.excuse(service.id);
        }
        let (start_seq, end_seq) = (service.start_seq, service.end_seq);
        let left = Left { saved, runner: self.id.clone(), start_seq, end_seq };
        w.disk.adopt[service.id].write(w.clock.now, left, false);
        service.saved_epoch = service.machine.epoch();
        Ok(())
    }

    pub fn settle(&mut self, w: &mut World, turn: &mut Turn) -> Result<(), Dead> {
        loop {
            let changed: Vec<usize> = turn.changed.iter().copied().collect();
            for index in &changed {
                self.arm(*index);
                self.watch_files(w, *index, turn)?;
            }
            let before = turn.changed.len();
            self.proceed_stops(w, turn)?;
            self.update_deps(w, turn)?;
            if turn.changed.len() == before && turn.spawns.is_empty() {
                break;
            }
            self.spawn_all(w, turn)?;
        }
        let all: Vec<usize> = turn.changed.iter().copied().collect();
        for index in all {
            self.arm(index);
            self.watch_files(w, index, turn)?;
        }
        Ok(())
    }

    pub(super) fn arm(&mut self, index: usize) {
        let service = &mut self.services[index];
        let epoch = service.machine.epoch();
        if service.armed_epoch != epoch {
            service.armed_epoch = epoch;
            if let Some(due) = service.machine.due() {
                self.timers.push(Reverse((due, index, epoch)));
            }
        }
    }

    fn watch_files(&mut self, w: &mut World, index: usize, turn: &mut Turn) -> Result<(), Dead> {
        let service = &mut self.services[index];
        let program = &w.programs[service.id];
        if !matches!(service.machine.phase(), Phase::Held { .. }) {
            service.watching = None;
            return Ok(());
        }
        if service.watching.is_some() {
            return Ok(());
        }
        service.watching = Some(program.files);
        let mended = service.look != 0 && service.look != program.files;
        if mended || (service.unprepared && !program.missing) {
            self.drive(w, index, Input::Changed, turn)?;
        }
        Ok(())
    }

    /// Tells each service that waits for others whether they are ready.
    pub fn update_deps(&mut self, w: &mut World, turn: &mut Turn) -> Result<(), Dead> {
        for index in 0..self.services.len() {
            let spec = self.services[index].machine.spec();
            if spec.after.is_empty() {
                continue;
            }
            let (mut all_ready, mut foreign, mut patience) = (true, false, Duration::ZERO);
            for dep in &spec.after {
                let (ready, timeout) = match self.services.iter().find(|s| s.machine.spec().name == *dep) {
                    Some(other) => (
                        matches!(other.machine.phase(), Phase::Up(_) | Phase::Done),
                        other.machine.spec().start_timeout,
                    ),
                    None if self.services[index].machine.run().is_some() => continue,
                    None => {
                        foreign = true;
                        let record = w.index(dep).and_then(|id| w.disk.adopt[id].read());
                        let phase = record.map(|left| &left.saved.phase);
                        (matches!(phase, Some(SavedPhase::Up(_) | SavedPhase::Done)), spec.start_timeout)
                    }
                };
                if !ready {
                    all_ready = false;
                    patience = patience.max(timeout);
                }
            }
            // Services of other runners tell nobody when they are ready: while one is waited for, we look.
            if foreign && !all_ready && matches!(self.services[index].machine.phase(), Phase::Blocked { .. }) {
                self.look_again.get_or_insert(turn.now.mono.plus(LOOK_AGAIN));
            }
            if self.services[index].machine.deps() != (all_ready, patience) {
                self.drive(w, index, Input::Deps { ready: all_ready, patience }, turn)?;
            }
        }
        Ok(())
    }

    pub fn order(
        &mut self,
        w: &mut World,
        index: usize,
        verb: Verb,
        cause: Option<StopCause>,
        turn: &mut Turn,
    ) -> Result<(), Dead> {
        w.say(&self.id, || format!("is asked to {verb:?} s{} ({cause:?})", self.services[index].id));
        let input = Input::Order { verb, by: "operator".into(), cause, run_id: None };
        match verb {
            Verb::Stop => {
                self.stops.insert(index, input);
            }
            Verb::Start | Verb::Restart => {
                self.stops.remove(&index);
                self.drive(w, index, input, turn)?;
                self.done(w, index, verb, cause);
            }
        }
        self.spawn_all(w, turn)?;
        self.proceed_stops(w, turn)
    }

    /// The order has been taken in: what is wanted is certain from here on.
    fn done(&self, w: &mut World, index: usize, verb: Verb, cause: Option<StopCause>) {
        if cause.is_none() && !w.disk.full {
            w.oracle.ordered(self.services[index].id, verb != Verb::Stop);
        }
    }

    pub(super) fn stop_ended(&mut self, w: &mut World, index: usize, turn: &mut Turn) -> Result<(), Dead> {
        let Some(input) = self.stops.remove(&index) else { return Ok(()) };
        self.stop(w, index, input, turn)
    }

    fn stop(&mut self, w: &mut World, index: usize, input: Input, turn: &mut Turn) -> Result<(), Dead> {
        let stop = matches!(input, Input::Order { .. });
        self.drive(w, index, input, turn)?;
        if stop {
            self.done(w, index, Verb::Stop, None);
        }
        Ok(())
    }

    fn proceed_stops(&mut self, w: &mut World, turn: &mut Turn) -> Result<(), Dead> {
        loop {
            let free: Vec<usize> = self.stops.keys().copied().filter(|index| !self.is_needed(*index)).collect();
            if free.is_empty() {
                return Ok(());
            }
            for index in free {
                if let Some(input) = self.stops.remove(&index) {
                    self.stop(w, index, input, turn)?;
                }
            }
        }
    }

    fn is_needed(&self, index: usize) -> bool {
        let name = &self.services[index].machine.spec().name;
        (0..self.services.len()).any(|other| {
            let dependent = &self.services[other];
            let stopping =
                self.stops.contains_key(&other) || matches!(dependent.machine.phase(), Phase::Stopping { .. });
            other != index
                && stopping
                && dependent.machine.spec().after.contains(name)
                && dependent.machine.run().is_some()
        })
    }
}
