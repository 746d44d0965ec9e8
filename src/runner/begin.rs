//! Taking over: what a predecessor left on disk and in the process table becomes the first input of each machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::poll::Token;
use super::service::{self, Service};
use super::sweep::Job;
use super::{Runner, Turn};
use crate::journal;
use crate::logs::Sink;
use crate::machine::past::{self, Left, Marked, Past, Takeover};
use crate::machine::{Input, Phase, ProcessRef, Run, Saved, SavedPhase};
use crate::model::paths::{Paths, Stream};
use crate::model::{Moment, Record, ServiceSpec, Signal, Sweep, UnitName};
use crate::process::lock::Lock;
use crate::process::table;
use crate::process::watch::Watch;
use crate::process::{clock, files, identity, intent, signal};

/// A process that is younger may be one that our predecessor was starting when it was killed, in the middle of exec.
const YOUNG: Duration = Duration::from_secs(10);

/// How often in all such processes are looked at again, a millisecond apart.
const PATIENCE: u32 = 100;

/// What a look at the machine found of our services.
pub(super) struct Traces {
    /// Living processes that carry our mark, by service.
    marked: HashMap<String, Vec<Marked>>,
    past: Past,
}

impl Traces {
    /// Reads the process table and the journals.
    pub(super) fn read(paths: &Paths, runner: &str) -> Self {
        let ours = paths.state_dir().to_string_lossy();
        let mut marked: HashMap<String, Vec<Marked>> = HashMap::new();
        let (now, mut patience) = (clock::now(), PATIENCE);
        for entry in table::scan().unwrap_or_default() {
            if entry.zombie {
                continue;
            }
            let young = identity::age(entry.start, now) < YOUNG;
            let mark = if young { table::marker_in_time(entry.pid, &mut patience) } else { table::marker(entry.pid) };
            if let Some(mark) = mark
                && mark.state_dir == ours
            {
                let process = ProcessRef { pid: entry.pid, start: entry.start };
                let late = mark.started.map_or(Duration::ZERO, |started| identity::between(started, entry.start));
                let found = Marked { run_id: mark.run_id, process, ppid: entry.ppid, pgid: entry.pgid, late };
                marked.entry(mark.service).or_default().push(found);
            }
        }
        let mut past = Past::of(runner);
        for (id, record) in journaled(paths) {
            past.take(&id, &record);
        }
        Self { marked, past }
    }

    /// Services that nobody has declared and of which something lives, or did when it was last written of.
    pub(super) fn undeclared(&self, declared: &BTreeSet<UnitName>, paths: &Paths) -> BTreeSet<UnitName> {
        let marked = self.marked.keys().cloned();
        let folders = std::fs::read_dir(paths.services()).into_iter().flatten().flatten();
        let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
        let recorded = names.filter(|name| UnitName::new(name).is_ok_and(|name| super::may_live(paths, &name)));
        let names = marked.chain(recorded).filter_map(|name| UnitName::new(&name).ok());
        names.filter(|name| !declared.contains(name)).collect()
    }

    fn of(&self, name: &UnitName) -> &[Marked] {
        self.marked.get(name.as_str()).map_or(&[], Vec::as_slice)
    }
}

/// Whether a record says that its writer did not go down in order: then what it ran from counts, should services.toml be
/// faulty now.
pub(super) fn was_cut_off(saved: &Saved, boot_id: &str) -> bool {
    saved.boot_id == boot_id && saved.phase != SavedPhase::Idle
}

impl Runner {
    /// What the services that nobody has declared any more were started from; they are the embedded runner's to end.
    pub(super) fn undeclared(&self, traces: &Traces, declared: &BTreeSet<UnitName>) -> Vec<ServiceSpec> {
        if !self.options.embedded {
            return Vec::new();
        }
        traces
            .undeclared(declared, &self.paths)
            .iter()
            .filter_map(|name| service::read_spec(&self.paths, name))
            .collect()
    }

    /// Writes what a predecessor that was killed had taken out of a pipe and not yet put into the log: before anything else is
    /// moved, since there is one block for all of us.
    pub(super) fn recover_output<'a>(&mut self, specs: impl Iterator<Item = &'a ServiceSpec>, now: Moment) {
        for (spec, stream) in specs.flat_map(|spec| [(spec, Stream::Stdout), (spec, Stream::Stderr)]) {
            let path = self.paths.log(&spec.name, stream);
            if !self.block.has_left(&path) {
                continue;
            }
            // Another runner may have the service by now; then it has its log too, and has gone on in it.
            let Ok(_lock) = Lock::acquire(&self.paths.service_lock(&spec.name)) else { return };
            Sink::open(&path, &self.paths.log_index(&spec.name, stream), spec.log).recover(&mut self.block, now);
            return;
        }
    }

    /// Makes `spec` one of our services and begins it.
    pub(super) fn admit(&mut self, spec: ServiceSpec, traces: &Traces, turn: &mut Turn) {
        let name = spec.name.clone();
        let index = match self.services.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.services.push(None);
                self.services.len() - 1
            }
        };
        self.services[index] = Some(Service::new(spec, &self.paths));
        self.names.insert(name.clone(), index);
        if let Err(e) = files::ensure_dir(&self.paths.service(&name)) {
            self.trouble(format!("the folder of {name} cannot be made: {e}"));
        }
        self.begin(index, traces, turn);
        self.update_deps(turn);
    }

    /// A service that is no longer declared but lives: adopted from what it was started from, and ended in order. It is not
    /// wanted, so that it is not started either should it have ended by now.
    pub(super) fn end_undeclared(&mut self, spec: ServiceSpec, traces: &Traces, turn: &mut Turn) {
        let name = spec.name.clone();
        self.admit(spec, traces, turn);
        self.retire(&name, turn);
    }

    /// Takes the lock and the predecessor's run over, or waits for the lock.
    pub(super) fn begin(&mut self, index: usize, traces: &Traces, turn: &mut Turn) {
        let now = turn.now;
        let Some(service) = self.services[index].as_mut() else { return };
        let name = service.name().clone();
        match Lock::acquire(&self.paths.service_lock(&name)) {
            Ok(lock) => {
                service.lock = Some(lock);
                files::clear_scratch(&self.paths.service(&name));
                // Until now another runner may have been told what is wanted.
                service.machine.set_intent(intent::read(&self.paths, &name));
            }
            Err(held) => {
                self.drive(index, Input::LockedOut { owner: held.pid() }, turn);
                return;
            }
        }
        if let Err(e) = service.open(&self.paths, &self.poll, index) {
            let what = format!("the pipes of {name} cannot be made: {e}");
            self.trouble(what);
        }
        let record = service::read_adoption(&self.paths, &name);
        let service = self.services[index].as_mut();
        if let Some((service, record)) = service.zip(record.as_ref())
            && service.resume(record)
        {
            let what = format!("the pipes of {name} were replaced; its output is not logged until its next start");
            self.trouble(what);
        }
        // What its last run had to say, before anything is told of it or comes after it.
        if let Some(service) = self.services[index].as_mut() {
            service.drain(&mut self.block, now);
        }
        let left = record.map(|r| {
            let (start_seq, end_seq) = (r.start_seq, r.end_seq);
            Left { saved: r.saved, runner: r.runner, start_seq, end_seq }
        });
        let takeover = Takeover::new(&name, left, &traces.past, &self.boot_id);
        if let Some(service) = self.services[index].as_mut() {
            (service.start_seq, service.end_seq) = takeover.seqs();
        }
        let marked = traces.of(&name);
        let candidates = takeover.candidates(marked, |start| started(start, now));
        let alive = candidates.into_iter().find(|found| self.watched(index, &found.run));
        let reach = self.services[index].as_ref().map(|s| s.machine.spec().sweep);
        // `sweep = "group"` spares what has left its group, and who led which group is not known any more.
        let leftovers = if reach == Some(Sweep::Tree) {
            past::leftovers(marked, alive.map(|found| found.run.id))
        } else {
            BTreeMap::new()
        };
        for (run_id, leader) in leftovers {
            let job = Job { service: name.clone(), run_id, leader, reach: Sweep::Tree, descendants: vec![leader] };
            self.sweeper.add(job, now.mono);
        }
        for input in takeover.inputs(alive, marked) {
            self.drive(index, input, turn);
        }
    }

    /// Watches the process of a run that lives; `false` when it has ended.
    fn watched(&mut self, index: usize, run: &Run) -> bool {
        let watch = match Watch::open(run.process.pid, run.process.start) {
            Ok(watch) => watch,
            Err(_) => {
                // Where it lives and cannot be watched it is ended: there are never two.
                if identity::start_token(run.process.pid) == Some(run.process.start) {
                    signal::group(run.process.pid, Signal::KILL);
                }
                return false;
            }
        };
        // A zombie has ended, but how can still be learnt: it is adopted, and its end comes in at once.
        if self.poll.add(&watch, Token::Watch(index), false).is_err() {
            return false;
        }
        let Some(service) = self.services[index].as_mut() else { return false };
        service.watch = Some(watch);
        true
    }

    /// Tries again for the services whose locks others had.
    pub(super) fn retry_locks(&mut self, turn: &mut Turn) {
        // What is to be left, alone or with all others, does not begin any more.
        let left = |s: &Service| s.retiring || *s.machine.phase() == Phase::Idle;
        let waiting = |service: &Option<Service>| service.as_ref().is_some_and(|s| s.lock.is_none() && !left(s));
        let waiting: Vec<usize> = (0..self.services.len()).filter(|i| waiting(&self.services[*i])).collect();
        for index in waiting {
            let Some(service) = &self.services[index] else { continue };
            let free = Lock::acquire(&self.paths.service_lock(service.name()));
            if free.is_ok() {
                drop(free);
                let traces = Traces::read(&self.paths, &self.id);
                self.begin(index, &traces, turn);
            }
        }
    }
}

/// All that runners have journaled. A journal that cannot be read has recorded nothing: its runs are then found again as lost,
/// not as never run.
fn journaled(paths: &Paths) -> impl Iterator<Item = (String, Record)> {
    let dir = paths.runners();
    let ids = journal::ids(&dir).unwrap_or_default();
    let readers = ids.into_iter().filter_map(move |id| Some((journal::Reader::open(&dir, &id).ok()?, id)));
    readers.flat_map(|(mut reader, id)| {
        let more = move || reader.read_new(4096).ok().filter(|records| !records.is_empty());
        std::iter::from_fn(more).flatten().map(move |record| (id.clone(), record))
    })
}

fn started(start: u64, now: Moment) -> Moment {
    let age = identity::age(start, now);
    let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    Moment {
        mono: crate::model::Mono(now.mono.0.saturating_sub(nanos)),
        boot_ns: now.boot_ns.saturating_sub(nanos),
        wall_ms: now.wall_ms - i64::try_from(age.as_millis()).unwrap_or(0),
    }
}
