//! Who watches the services' memory, and what they want done: trees looked at, numbers kept, runs restarted, heap snapshots written.
//!
//! What the processes use is read on a thread of its own ([`look`]); the loop only passes it on.

mod heap;
mod look;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::soonest::Soonest;
use super::{Daemon, Event};
use crate::machine::{MemoryAct, MemoryMachine, MemorySaved, MemorySeen, words};
use crate::model::{Answer, FigureSpec, Fleet, MemoryInfo, MemorySpec, Mono, ProbeSpec, RestartMode, UnitName};
use crate::probe;
use crate::process::clock;
use crate::store::{KeptSample, Reader};
use heap::{Snapshots, Whom};
use look::{Look, Looker};

/// A figure that takes longer is done without: the sample is not to wait for it.
const FIGURE_WITHIN: Duration = Duration::from_secs(2);

/// For so long a restart waits until it is written down that it is ordered: a database that is not well holds none up.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Memories {
    by_name: BTreeMap<UnitName, Memory>,
    soonest: Soonest,
    looker: Looker,
    snapshots: Snapshots,
    /// What the ledger knows has come: who goes on where another daemon ended is not to begin without it.
    is_restored: bool,
}

struct Memory {
    machine: MemoryMachine,
    asks: Asks,
}

/// The questions of one service, as tasks of their own need them.
#[derive(Clone)]
struct Asks {
    idle: Option<Arc<ProbeSpec>>,
    heap: Option<Arc<FigureSpec>>,
    requests: Option<Arc<FigureSpec>>,
}

impl Memory {
    fn new(machine: MemoryMachine) -> Self {
        let MemorySpec { idle, heap, requests, .. } = machine.spec();
        let asks = Asks {
            idle: idle.clone().map(Arc::new),
            heap: heap.clone().map(Arc::new),
            requests: requests.clone().map(Arc::new),
        };
        Self { machine, asks }
    }
}

impl Memories {
    pub(super) fn new(fleet: &Fleet, events: mpsc::Sender<Event>) -> std::io::Result<Self> {
        let mut memories = Self {
            by_name: BTreeMap::new(),
            soonest: Soonest::default(),
            looker: Looker::start(events)?,
            snapshots: Snapshots::default(),
            is_restored: false,
        };
        memories.follow(fleet);
        Ok(memories)
    }

    /// Takes a changed fleet over; what is known of a service is kept.
    pub(super) fn follow(&mut self, fleet: &Fleet) {
        let mut old = std::mem::take(&mut self.by_name);
        for service in &fleet.services {
            let (name, Some(spec)) = (&service.name, &service.memory) else { continue };
            let mut memory = match old.remove(name) {
                Some(known) if known.machine.spec() == spec => known,
                Some(known) => Memory::new(known.machine.redeclared(spec.clone())),
                None => Memory::new(MemoryMachine::new(spec.clone())),
            };
            let machine = memory.machine.spaced(!service.throttle.is_zero());
            memory.machine = machine.restarts(service.restart != RestartMode::Never);
            self.soonest.note(memory.machine.due());
            self.by_name.insert(name.clone(), memory);
        }
        self.looker.follow(self.by_name.keys().cloned().collect());
    }

    /// Whether this service's memory is watched.
    pub(super) fn follows(&self, name: &UnitName) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn names(&self) -> Vec<UnitName> {
        self.by_name.keys().cloned().collect()
    }

    /// Something may be due then, and nothing before.
    pub(super) fn due(&self) -> Option<Mono> {
        self.soonest.at()
    }

    pub(super) fn info(&self, name: &UnitName, at: words::Reader<'_>) -> Option<MemoryInfo> {
        self.by_name.get(name)?.machine.info(at)
    }

    /// Whether a process is writing its heap to a file.
    pub(super) fn is_taking_snapshot(&self) -> bool {
        self.snapshots.is_under_way()
    }

    fn step(&mut self, name: &UnitName, seen: MemorySeen) -> Vec<MemoryAct> {
        // Whatever is told before comes again then.
        let Some(memory) = self.by_name.get_mut(name).filter(|_| self.is_restored) else { return Vec::new() };
        let acts = memory.machine.step(clock::now(), seen);
        self.soonest.note(memory.machine.due());
        acts
    }
}

impl Daemon {
    /// Tells who watches a service's memory, and does what it says.
    pub(super) fn memory(&mut self, name: &UnitName, seen: MemorySeen) {
        for act in self.memories.step(name, seen) {
            self.act_on_memory(name, act);
        }
    }

    /// Something that was waited for has come.
    pub(super) fn on_memory(&mut self, name: &UnitName, seen: MemorySeen) {
        if let MemorySeen::SnapshotTaken { run_id, taken } = &seen {
            self.on_heap_snapshot(name, *run_id, taken);
        }
        self.memory(name, seen);
    }

    /// Does what is due.
    pub(super) fn tick_memories(&mut self) {
        let all = self.memories.by_name.iter().map(|(name, memory)| (name, memory.machine.due()));
        for name in self.memories.soonest.due_by(clock::now().mono, all) {
            self.memory(&name, MemorySeen::Tick);
        }
    }

    /// Puts by what is known, for the daemon after this one.
    pub(super) fn put_memory_by(&mut self) {
        for name in self.memories.names() {
            self.memory(&name, MemorySeen::Ending);
        }
    }

    /// Asks the ledger what was known when a daemon last ran; nothing else waits for it.
    pub(super) fn remember(&self) {
        let (database, events) = (self.paths.database(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            // Without a ledger everything is learned anew.
            let states = Reader::open(&database).and_then(|ledger| ledger.trends()).unwrap_or_default();
            let read = |(name, state): (UnitName, String)| match serde_json::from_str(&state) {
                Ok(saved) => Some((name, saved)),
                Err(e) => {
                    tracing::warn!(service = %name, "what was known of its memory cannot be read, and is learned anew: {e}");
                    None
                }
            };
            let saved = states.into_iter().filter_map(read).collect();
            let _ = events.blocking_send(Event::Remembered(saved));
        });
    }

    /// Takes over what was known when a daemon last ran; from now on memory is looked at.
    pub(super) fn on_remembered(&mut self, saved: BTreeMap<UnitName, MemorySaved>) {
        self.memories.is_restored = true;
        for (name, saved) in saved {
            self.memory(&name, MemorySeen::Restored(Box::new(saved)));
        }
        for view in self.known_views() {
            let name = view.name.clone();
            self.memory(&name, MemorySeen::View(Box::new(view)));
        }
    }

    fn act_on_memory(&mut self, name: &UnitName, act: MemoryAct) {
        match act {
            MemoryAct::Sample { run_id, pid } => self.look_at_memory(name, run_id, pid),
            MemoryAct::Keep { run_id, life, sample } => {
                let interval = self.memories.by_name.get(name).map(|memory| memory.machine.spec().interval);
                let sample = KeptSample { service: name.clone(), run_id, life, sample };
                self.ledger.keep(sample, interval.unwrap_or_default());
            }
            MemoryAct::Save(saved) => self.ledger.save(name.clone(), saved),
            MemoryAct::AskIdle { run_id, timeout } => self.ask_idle(name, run_id, timeout),
            MemoryAct::Record { event, data } => self.record_of(event, Some(name.clone()), data.into()),
            MemoryAct::Restart { run_id, cause } => {
                let (done, written) = oneshot::channel();
                self.ledger.written(done);
                let after = async { drop(tokio::time::timeout(WRITTEN_WITHIN, written).await) };
                self.restart_run(name, run_id, cause, after);
            }
            MemoryAct::Snapshot { run_id, pid, start, signal, bytes } => {
                self.take_heap_snapshot(name, run_id, Whom { pid, start, signal, bytes });
            }
        }
    }

    fn look_at_memory(&self, name: &UnitName, run_id: u64, pid: i32) {
        let Some(memory) = self.memories.by_name.get(name) else { return };
        let look = Look { name: name.clone(), run_id, pid, heap: None, requests: None };
        let Asks { heap, requests, .. } = memory.asks.clone();
        if heap.is_none() && requests.is_none() {
            return self.memories.looker.look(look);
        }
        let looker = self.memories.looker.clone();
        tokio::spawn(async move {
            let (heap, requests) = tokio::join!(figure(heap), figure(requests));
            looker.look(Look { heap, requests, ..look });
        });
    }

    fn ask_idle(&self, name: &UnitName, run_id: u64, timeout: Duration) {
        let probe = self.memories.by_name.get(name).and_then(|memory| memory.asks.idle.clone());
        let (name, events) = (name.clone(), self.events.clone());
        tokio::spawn(async move {
            let idle = match probe {
                Some(probe) => is_idle(probe::ask(&probe, timeout).await.probed.answer),
                None => Err("services.toml declares no such question".into()),
            };
            // When nobody listens the daemon is gone.
            let _ = events.send(Event::Memory(name, Box::new(MemorySeen::Idle { run_id, idle }))).await;
        });
    }
}

/// What an answer to the question whether it is idle says; an error tells why that is not known.
fn is_idle(answer: Answer) -> Result<bool, String> {
    match answer {
        Answer::Good => Ok(true),
        Answer::Unwell(_) | Answer::Failed(_) => Ok(false),
        Answer::Slow(why) | Answer::Silent(why) | Answer::Misasked(why) | Answer::NotAsked(why) => Err(why),
        Answer::Beat(_) => Err("a heartbeat says nothing of it".into()),
    }
}

/// A number by the service's own word; without it the sample is as good as one of a service that tells none.
async fn figure(spec: Option<Arc<FigureSpec>>) -> Option<Result<f64, String>> {
    let spec = spec?;
    Some(probe::figure(&spec, FIGURE_WITHIN).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_answer_says_whether_it_is_idle() {
        let text = || "x".to_owned();
        for (answer, idle) in [
            (Answer::Good, Ok(true)),
            (Answer::Unwell(text()), Ok(false)),
            (Answer::Failed(text()), Ok(false)),
            (Answer::Slow(text()), Err(text())),
            (Answer::Silent(text()), Err(text())),
            (Answer::Misasked(text()), Err(text())),
            (Answer::NotAsked(text()), Err(text())),
        ] {
            assert_eq!(is_idle(answer), idle);
        }
        assert!(is_idle(Answer::Beat(None)).is_err());
    }
}
