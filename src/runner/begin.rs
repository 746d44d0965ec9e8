//! Taking over: what a predecessor left on disk and in the process table becomes the first input of each machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::poll::Token;
use super::service::{self, Service};
use super::sweep::Job;
use super::{Runner, Turn};
use crate::journal;
use crate::machine::{Fate, Found, Input, Phase, ProcessRef, RecordedEnd, Run, Saved, SavedPhase};
use crate::model::{EventType, Exit, ExitClass, Moment, Record, ServiceSpec, Signal, Sweep, UnitName, paths::Paths};
use crate::process::lock::Lock;
use crate::process::table::{self, Entry};
use crate::process::watch::Watch;
use crate::process::{files, identity, signal};

/// What a look at the machine found of our services.
pub(super) struct Traces {
    /// Living processes that carry our mark, by service.
    marked: HashMap<String, Vec<(u64, Entry)>>,
    /// The last run of each service whose start the journal has, and the last whose end.
    recorded: HashMap<UnitName, (u64, Option<(u64, RecordedEnd)>)>,
    /// seq of the oldest line that each journal still has.
    oldest: HashMap<String, u64>,
}

impl Traces {
    /// Reads the process table and the journals: all of them, as a service may have had another runner before.
    pub(super) fn read(paths: &Paths) -> Self {
        let ours = paths.state_dir().to_string_lossy();
        let mut marked: HashMap<String, Vec<(u64, Entry)>> = HashMap::new();
        for entry in table::scan().unwrap_or_default() {
            if entry.zombie {
                continue;
            }
            if let Some(mark) = table::marker(entry.pid)
                && mark.state_dir == ours
            {
                marked.entry(mark.service).or_default().push((mark.run_id, entry));
            }
        }
        let mut recorded: HashMap<UnitName, (u64, Option<(u64, RecordedEnd)>)> = HashMap::new();
        let mut oldest: HashMap<String, u64> = HashMap::new();
        for (id, record) in journaled(paths) {
            oldest.entry(id).and_modify(|seq| *seq = record.seq.min(*seq)).or_insert(record.seq);
            let run = record.data.get("run_id").and_then(serde_json::Value::as_u64);
            let (Some(service), Some(run)) = (&record.service, run) else { continue };
            let (start, end) = recorded.entry(service.clone()).or_default();
            if record.event == EventType::ServiceStart {
                *start = (*start).max(run);
            } else if record.event.is_run_end() && end.is_none_or(|(last, _)| last <= run) {
                *end = recorded_end(&record).map(|end| (run, end));
            }
        }
        Self { marked, recorded, oldest }
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

    /// Whether line `seq` of a runner's journal is so old that it was taken into the ledger and dropped.
    fn has_dropped(&self, runner: &str, seq: u64) -> bool {
        self.oldest.get(runner).is_some_and(|oldest| seq < *oldest)
    }

    /// The latest living run of `name` that is younger than `after`: its leader leads its own group and descends from no
    /// other process of that run.
    fn latest(&self, name: &UnitName, after: u64) -> Option<(u64, &Entry)> {
        let all = self.marked.get(name.as_str())?;
        let run_id = all.iter().map(|(run, _)| *run).filter(|run| *run > after).max()?;
        let members: Vec<&Entry> = all.iter().filter(|(run, _)| *run == run_id).map(|(_, entry)| entry).collect();
        let leads = |e: &&&Entry| e.pgid == e.pid && !members.iter().any(|other| other.pid == e.ppid);
        members.iter().filter(leads).min_by_key(|e| e.start).map(|entry| (run_id, *entry))
    }

    /// Runs of `name` of which something lives, other than `current`; each with the oldest of its processes.
    fn leftovers(&self, name: &UnitName, current: Option<u64>) -> BTreeMap<u64, ProcessRef> {
        let mut oldest: BTreeMap<u64, ProcessRef> = BTreeMap::new();
        for (run, entry) in self.marked.get(name.as_str()).into_iter().flatten() {
            let found = ProcessRef { pid: entry.pid, start: entry.start };
            let known = oldest.entry(*run).or_insert(found);
            if found.start < known.start {
                *known = found;
            }
        }
        oldest.retain(|run, _| Some(*run) != current);
        oldest
    }
}

/// Whether a record says that its writer did not go down in order: then what it ran from counts, should services.toml be
/// faulty now.
pub(super) fn was_cut_off(saved: &Saved, boot_id: &str) -> bool {
    saved.boot_id == boot_id && saved.phase != SavedPhase::Idle
}

impl Runner {
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
                service.machine.set_intent(service::read_intent(&self.paths, &name));
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
            service.drain(now);
        }
        let (runner, start_seq) = record.as_ref().map_or_else(Default::default, |r| (r.runner.clone(), r.start_seq));
        let saved = record.map(|record| record.saved);
        let same_boot = saved.as_ref().is_some_and(|saved| saved.boot_id == self.boot_id);
        let (start_recorded, end_recorded) = traces.recorded.get(&name).copied().unwrap_or_default();
        let saved_run = saved.as_ref().and_then(Saved::run).copied();
        let told = saved_run.is_some_and(|run| start_recorded >= run.id || traces.has_dropped(&runner, start_seq));
        let mut alive = None;
        if let Some(run) = saved_run.filter(|_| same_boot) {
            alive = self.watched(index, run, told);
        }
        let starting =
            saved.as_ref().filter(|saved| matches!(saved.phase, SavedPhase::Spawning { .. })).map(|s| s.run_id + 1);
        let fate = match saved_run.map(|run| run.id).or(starting) {
            Some(run) if alive.is_none() => match end_recorded.filter(|(id, _)| *id >= run) {
                Some((_, end)) => Fate::Recorded(end),
                None => Fate::Gone { start_recorded: told || start_recorded >= run },
            },
            _ => Fate::Fine,
        };
        if alive.is_none()
            && let Some((run_id, entry)) = traces.latest(&name, saved.as_ref().map_or(0, |s| s.run_id))
        {
            let run = Run {
                id: run_id,
                process: ProcessRef { pid: entry.pid, start: entry.start },
                started: started(entry, now),
                attempt: saved.as_ref().map_or(0, |s| s.backoff.attempts),
                adopted: true,
            };
            alive = self.watched(index, run, start_recorded >= run_id);
        }
        let current = alive.map(|found| found.run.id);
        let reach = self.services[index].as_ref().map(|s| s.machine.spec().sweep);
        // `sweep = "group"` spares what has left its group, and who led which group is not known any more.
        let leftovers = if reach == Some(Sweep::Tree) { traces.leftovers(&name, current) } else { BTreeMap::new() };
        for (run_id, leader) in leftovers {
            let job = Job { service: name.clone(), run_id, leader, reach: Sweep::Tree, descendants: vec![leader] };
            self.sweeper.add(job, now.mono);
        }
        self.drive(index, Input::Begin { saved: saved.map(Box::new), fate, alive, same_boot }, turn);
    }

    /// Watches the process of a run that lives; `None` when it has ended.
    fn watched(&mut self, index: usize, run: Run, start_recorded: bool) -> Option<Found> {
        let watch = match Watch::open(run.process.pid, run.process.start) {
            Ok(watch) => watch,
            Err(_) => {
                // Where it lives and cannot be watched it is ended: there are never two.
                if identity::start_token(run.process.pid) == Some(run.process.start) {
                    signal::group(run.process.pid, Signal::KILL);
                }
                return None;
            }
        };
        // A zombie has ended, but how can still be learnt: it is adopted, and its end comes in at once.
        self.poll.add(&watch, Token::Watch(index), false).ok()?;
        let service = self.services[index].as_mut()?;
        service.watch = Some(watch);
        Some(Found { run, start_recorded })
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
                let traces = Traces::read(&self.paths);
                self.begin(index, &traces, turn);
            }
        }
    }
}

/// What the record of an end says of it.
fn recorded_end(record: &Record) -> Option<RecordedEnd> {
    let text = |key: &str| record.data.get(key).and_then(serde_json::Value::as_str);
    let number = |key: &str| record.data.get(key).and_then(serde_json::Value::as_i64);
    let class = text("class").and_then(|class| ExitClass::ALL.into_iter().find(|c| c.as_str() == class))?;
    let exit = match (text("signal").and_then(Signal::parse), number("exit_code")) {
        (Some(signal), _) => Exit::Signal { signal, core: record.data.contains_key("core_dumped") },
        (None, Some(code)) => Exit::Code(i32::try_from(code).unwrap_or(-1)),
        (None, None) => Exit::Unknown,
    };
    let uptime = std::time::Duration::from_millis(number("uptime_ms").and_then(|ms| ms.try_into().ok()).unwrap_or(0));
    Some(RecordedEnd { class, exit, uptime, at_ms: record.wall_ms })
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

fn started(entry: &Entry, now: Moment) -> Moment {
    let age = identity::age(entry.start, now);
    let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    Moment {
        mono: crate::model::Mono(now.mono.0.saturating_sub(nanos)),
        boot_ns: now.boot_ns.saturating_sub(nanos),
        wall_ms: now.wall_ms - i64::try_from(age.as_millis()).unwrap_or(0),
    }
}
