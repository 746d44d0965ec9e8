//! The daemon: takes journals into the ledger (mirrors src/daemon/ledger.rs `try_take_in` and `take_in_one`), and asks how
//! services are through the real `MonitorMachine` (mirrors src/daemon/monitors.rs). It can be killed between reading,
//! committing and acknowledging.

use std::collections::BTreeMap;
use std::time::Duration;

use supervisor::journal;
use supervisor::machine::{Act, MonitorMachine, MonitorSpec, Seen};
use supervisor::model::{Answer, Fraction, Moment, Mono, Probed, Record, RunView};
use supervisor::policy::gap::gap;
use supervisor::store::Ledger;

use crate::clock::SECOND;
use crate::kernel::{INIT, Manners};
use crate::world::{Actor, Dead, Event, World};

/// Once a run has answered so often nothing is asked until something happens: an answer of a service that is well teaches
/// nothing, and there are three million of them in a year.
const ASKED: u32 = 3;

/// The database, in memory: the same rule as `store::Ledger`.
#[derive(Debug, Default)]
pub struct Rows {
    positions: BTreeMap<(String, String), u64>,
}

impl Rows {
    fn take(&mut self, runner: &str, record: &Record) -> bool {
        let position = self.positions.entry((runner.into(), record.boot_id.clone())).or_default();
        let new = record.seq > *position;
        *position = record.seq.max(*position);
        new
    }
}

pub struct Daemon {
    pub pid: i32,
    /// And how often each was well since something happened; `None` where there is nothing to watch.
    monitors: Vec<(Option<MonitorMachine>, u32)>,
    /// When the loop last went round, and when it wanted to.
    before: (Moment, Option<Mono>),
    /// Something was journaled, or the database is well again.
    pub look: bool,
    /// Numbers of the next lines to be read.
    read: BTreeMap<String, usize>,
    unsaved: BTreeMap<String, Vec<Record>>,
    ledger: Option<Ledger>,
    readers: BTreeMap<String, journal::Reader>,
}

impl Daemon {
    pub fn start(w: &mut World) -> Self {
        let token = w.clock.token();
        let pid = w.kernel.spawn(INIT, None, None, token, Manners { ends_within: None, exits: true });
        w.say("manager", || format!("starts the daemon as pid {pid}"));
        w.told.begin(&w.clock);
        Self {
            pid,
            monitors: w.plan.services.iter().map(|s| (MonitorSpec::of(s).map(MonitorMachine::new), 0)).collect(),
            before: (w.clock.moment(), None),
            look: true,
            read: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            ledger: None,
            readers: BTreeMap::new(),
        }
    }

    /// Takes in what is journaled.
    pub fn take_in(&mut self, w: &mut World, rows: &mut Rows) -> Result<(), Dead> {
        self.look = false;
        if w.database_ill {
            // As after an error: what was read is read again.
            (self.ledger, self.look) = (None, false);
            self.read.clear();
            self.unsaved.clear();
            self.readers.clear();
            return Ok(());
        }
        if w.disk.real.is_some() { self.take_in_files(w) } else { self.take_in_memory(w, rows) }
    }

    fn take_in_memory(&mut self, w: &mut World, rows: &mut Rows) -> Result<(), Dead> {
        let ids: Vec<String> = w.disk.journals.keys().cloned().collect();
        for id in ids {
            w.op(Actor::Daemon)?;
            let Some(lines) = w.disk.journals.get(&id) else { continue };
            // A loss of power may have taken lines that were read; a new daemon begins with the oldest there is.
            let next = (*self.read.get(&id).unwrap_or(&0)).clamp(lines.first, lines.end());
            let new: Vec<Record> = lines.lines.iter().skip(next - lines.first).cloned().collect();
            let end = lines.end();
            self.read.insert(id.clone(), end);
            let unsaved = self.unsaved.entry(id.clone()).or_default();
            unsaved.extend(new);
            if unsaved.is_empty() {
                continue;
            }
            w.op(Actor::Daemon)?;
            // As `journal::Reader::sync`.
            if let Some(lines) = w.disk.journals.get_mut(&id) {
                lines.synced = lines.synced.max(end);
            }
            w.op(Actor::Daemon)?;
            for record in std::mem::take(unsaved) {
                if rows.take(&id, &record) {
                    w.row(&record);
                }
            }
            w.op(Actor::Daemon)?;
            if let Some(lines) = w.disk.journals.get_mut(&id) {
                lines.drop_acked(end);
            }
        }
        Ok(())
    }

    fn take_in_files(&mut self, w: &mut World) -> Result<(), Dead> {
        let Some(real) = &w.disk.real else { return Ok(()) };
        let (journals, database) = (real.journals(), real.database());
        if self.ledger.is_none() {
            self.ledger = Some(Ledger::open(&database).expect("the database"));
            self.readers.clear();
            self.unsaved.clear();
        }
        for id in journal::ids(&journals).expect("the journals' folder") {
            loop {
                w.op(Actor::Daemon)?;
                let reader = self
                    .readers
                    .entry(id.clone())
                    .or_insert_with(|| journal::Reader::open(&journals, &id).expect("a journal"));
                let unsaved = self.unsaved.entry(id.clone()).or_default();
                unsaved.extend(reader.read_new(50).expect("lines"));
                let Some(last) = unsaved.last() else { break };
                let (boot_id, seq) = (last.boot_id.clone(), last.seq);
                w.op(Actor::Daemon)?;
                reader.sync().expect("fdatasync");
                w.disk.synced(&id);
                w.op(Actor::Daemon)?;
                if let Some(ledger) = &mut self.ledger {
                    ledger.ingest(&id, unsaved).expect("a commit");
                }
                w.op(Actor::Daemon)?;
                reader.drop_acked(&boot_id, seq).expect("dropping a segment");
                unsaved.clear();
            }
        }
        Ok(())
    }

    /// A runner's push.
    pub fn saw(&mut self, w: &mut World, service: usize, view: RunView) {
        self.monitors[service].1 = 0;
        w.told.saw(&w.clock, &view);
        self.step(w, service, Seen::View(Box::new(view)));
    }

    pub fn lost(&mut self, w: &mut World, service: usize) {
        self.step(w, service, Seen::RunnerGone);
    }

    /// The run that is to be told ready.
    pub fn probed(&mut self, w: &mut World, service: usize, run_id: u64) -> Option<u64> {
        let answers = w.main(service).and_then(|pid| w.kernel.get(pid)).is_some_and(|p| {
            p.mark == Some((service, run_id)) && w.clock.moment().boot_ns > p.start * crate::clock::TICK + SECOND / 2
        });
        let answer = if answers { Answer::Good } else { Answer::Failed("it does not answer".into()) };
        let probed = Probed::new(answer, Duration::from_millis(1));
        self.monitors[service].1 += u32::from(answers);
        self.step(w, service, Seen::Probed { run_id, probed, facts: None })
    }

    pub fn due(&self) -> Option<Mono> {
        self.monitors
            .iter()
            .filter(|(_, asked)| *asked < ASKED)
            .filter_map(|(monitor, _)| monitor.as_ref()?.due())
            .min()
    }

    pub fn tick(&mut self, w: &mut World) {
        w.told.tick(&w.clock);
        w.judge_told();
        let (before, due) = std::mem::replace(&mut self.before, (w.clock.moment(), None));
        if let Some(gap) = gap(before, due, w.clock.moment()) {
            for service in 0..self.monitors.len() {
                self.step(w, service, Seen::Gap(gap));
            }
        }
        let now = w.clock.moment().mono;
        for service in 0..self.monitors.len() {
            let (monitor, asked) = &self.monitors[service];
            if *asked < ASKED && monitor.as_ref().and_then(MonitorMachine::due).is_some_and(|due| due <= now) {
                self.step(w, service, Seen::Tick);
            }
        }
        self.before = (w.clock.moment(), self.due());
    }

    fn step(&mut self, w: &mut World, service: usize, seen: Seen) -> Option<u64> {
        let (at, luck) = (w.clock.moment(), Fraction::new(w.rng.fraction()));
        let mut ready = None;
        let Some(monitor) = &mut self.monitors[service].0 else { return None };
        for act in monitor.step(at, luck, seen) {
            match act {
                Act::TellReady { run_id } => ready = Some(run_id),
                // What lives here always answers.
                Act::Convict(conviction) => {
                    w.oracle.fail("who answers is left alone", format!("s{service}: {}", conviction.reason));
                }
                Act::Restart { .. }
                | Act::Record { .. }
                | Act::Parts { .. }
                | Act::AskRunner { .. }
                | Act::Look { .. } => {}
                Act::Probe { run_id, .. } => {
                    let nanos = w.rng.below(SECOND / 10) + 1;
                    w.after(nanos, Event::Probed { service, run_id, daemon: self.pid });
                }
            }
        }
        ready
    }
}
