//! The ledger's thread: takes journals into SQLite, exactly once, and waits while the database is not well. Whatever is taken
//! in is shown to the alert rules in the same transaction ([`Alarms`]).
//!
//! Nobody waits for it: the journals hold what is not in the database yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::alarms::Alarms;
use super::samples::Samples;
use crate::control::server::Answer;
use crate::journal;
use crate::machine::MemorySaved;
use crate::model::paths::Paths;
use crate::model::wire::{AlertBody, AlertReply, DigestBody};
use crate::model::{Delivery, Fleet, LastExit, Mono, OpenAlert, Record, RestartCounts, RunView, Status, UnitName};
use crate::process::clock;
use crate::store::{KeptSample, LastSlots, Ledger, StoreError};

/// Records taken in one transaction.
const BATCH: usize = 2000;

/// Between two tries while the database is not well.
const RETRY: Duration = Duration::from_secs(1);

/// What is kept: `events` is asked for years back, but not without end.
const MAX_AGE: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

/// And no more rows than this.
const MAX_ROWS: u64 = 2_000_000;

/// Between two clean-ups, in records taken in.
const PRUNE_EVERY: usize = 50_000;

/// What readers may know of the ledger at any time.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Whether the last try succeeded.
    pub(super) ok: bool,
    /// What is wrong, or a note on how `events` is filled.
    pub(super) note: Option<String>,
    /// Records read and not in the database.
    pub(super) waiting: u64,
    /// Ends of runs by service.
    pub(super) counts: BTreeMap<UnitName, RestartCounts>,
    /// The last end of each service, as it was when the database was opened; a runner's view is newer.
    pub(super) last_exits: BTreeMap<UnitName, LastExit>,
    /// How each calendar job stands; the files of its slots are newer.
    pub(super) last_slots: BTreeMap<UnitName, LastSlots>,
    /// Alerts that hold.
    pub(super) alerts: Vec<OpenAlert>,
    /// What is wrong with the ways out, one line each.
    pub(super) alert_troubles: Vec<String>,
    /// The database file, as it was when opened.
    inode: Option<u64>,
}

pub(super) enum Call {
    Look,
    Sync(oneshot::Sender<bool>),
    /// services.toml was read.
    Declared(Box<Fleet>),
    /// The operator wants this service down, and it is.
    Stopped(UnitName),
    /// Somebody acknowledges, silences or tries.
    Alert(AlertBody, Answer<AlertReply>),
    /// A calendar job has made a report.
    Digest(DigestBody, Answer<AlertReply>),
    /// A message was sent, or was not: through which sink, and which of our flights.
    Sent(String, u64, Delivery),
    /// The dead man's switch was called.
    Pinged(Result<(), String>),
    /// What a service uses, and how often it is looked at.
    Memory(Box<KeptSample>, Duration),
    /// What is known of how it grows, in place of what was known before.
    Trend(UnitName, Box<MemorySaved>),
    /// Write what waits of these now; answered when that was tried.
    Written(oneshot::Sender<()>),
    /// Send nothing more; answered when nothing is on its way.
    Pause(Sender<()>),
    /// Go on sending.
    Resume,
    /// A last look, and no more.
    End,
}

/// How long a message on its way is waited for at the end: what comes of it is better known than sent twice.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The daemon's handle on the thread; dropping it ends the thread after a last look.
pub(super) struct LedgerThread {
    calls: Sender<Call>,
    known: Arc<Mutex<Known>>,
    /// When the daemon's loop last went round, nanoseconds of the awake clock.
    beat: Arc<AtomicU64>,
    database: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LedgerThread {
    pub(super) fn start(paths: &Paths, boot_id: &str, fleet: &Fleet, has_faults: bool) -> std::io::Result<Self> {
        let (calls, inbox) = channel();
        let beat = Arc::new(AtomicU64::new(clock::now().mono.0));
        let known = Arc::new(Mutex::new(Known::default()));
        let database = paths.database();
        let keeper = Keeper {
            paths: paths.clone(),
            known: known.clone(),
            ledger: None,
            alarms: Alarms::new(paths, boot_id, fleet, has_faults, calls.clone(), Arc::clone(&beat)),
            readers: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            samples: Samples::default(),
            // The first look cleans up: an installation that records little would never come to the count.
            since_prune: PRUNE_EVERY,
            unread: false,
        };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || keeper.serve(&inbox))?;
        Ok(Self { calls, known, beat, database, thread: Some(thread) })
    }

    /// Something was journaled.
    pub(super) fn look(&self) {
        self.call(Call::Look);
    }

    /// Answers once everything that is journaled now was tried to be taken in: whether it is.
    pub(super) fn sync(&self, done: oneshot::Sender<bool>) {
        self.call(Call::Sync(done));
    }

    /// Something else is declared.
    pub(super) fn declared(&self, fleet: &Fleet) {
        self.call(Call::Declared(Box::new(fleet.clone())));
    }

    /// A service has changed: that it is down, as the operator wants it, no record need tell.
    pub(super) fn saw(&self, before: Option<&RunView>, now: &RunView) {
        // One that is down because its runner goes is wanted all the same.
        let is_stopped = |view: &RunView| view.status == Status::Down && !view.intent.up;
        if is_stopped(now) && !before.is_some_and(is_stopped) {
            self.call(Call::Stopped(now.name.clone()));
        }
    }

    /// Acknowledges, silences, tries.
    pub(super) fn alert(&self, body: AlertBody, answer: Answer<AlertReply>) {
        self.call(Call::Alert(body, answer));
    }

    /// Has a calendar job's report told.
    pub(super) fn digest(&self, body: DigestBody, answer: Answer<AlertReply>) {
        self.call(Call::Digest(body, answer));
    }

    /// Keeps what a service uses, which is looked at each `interval`; written with what comes within that.
    pub(super) fn keep(&self, sample: KeptSample, interval: Duration) {
        self.call(Call::Memory(Box::new(sample), interval));
    }

    /// Keeps what is known of how a service's memory grows.
    pub(super) fn save(&self, name: UnitName, saved: Box<MemorySaved>) {
        self.call(Call::Trend(name, saved));
    }

    /// Writes what is kept and saved now; answers once that was tried.
    pub(super) fn written(&self, done: oneshot::Sender<()>) {
        self.call(Call::Written(done));
    }

    /// The daemon's loop went round: who is called while all is well can rely on it.
    pub(super) fn beat(&self) {
        self.beat.store(clock::now().mono.0, Ordering::Relaxed);
    }

    /// Sends nothing more until [`Self::resume`]; returns when nothing is on its way, or after a few seconds.
    pub(super) fn pause(&self) {
        let (done, is_done) = channel();
        self.call(Call::Pause(done));
        let _ = is_done.recv_timeout(LAST_WORDS);
    }

    /// Goes on sending.
    pub(super) fn resume(&self) {
        self.call(Call::Resume);
    }

    fn call(&self, call: Call) {
        // A thread that is gone shows in `known`.
        let _ = self.calls.send(call);
    }

    /// What is known now. Sees at once when the file was deleted or replaced, without waiting for the next record.
    pub(super) fn known(&self) -> Known {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let inode = std::fs::metadata(&self.database).ok().map(|m| m.ino());
        if known.ok && known.inode.is_some() && inode != known.inode {
            known.ok = false;
            known.note = Some(format!("{} was deleted or replaced; it is being opened again", self.database.display()));
            self.look();
        }
        known
    }
}

impl Drop for LedgerThread {
    fn drop(&mut self) {
        self.call(Call::End);
        if let Some(thread) = self.thread.take() {
            // A panic there has been told on stderr.
            let _ = thread.join();
        }
    }
}

struct Keeper {
    paths: Paths,
    known: Arc<Mutex<Known>>,
    ledger: Option<Ledger>,
    alarms: Alarms,
    readers: BTreeMap<String, journal::Reader>,
    unsaved: BTreeMap<String, Vec<Record>>,
    samples: Samples,
    since_prune: usize,
    /// A journal could not be read in the last look.
    unread: bool,
}

impl Keeper {
    fn serve(mut self, inbox: &Receiver<Call>) {
        self.take_in();
        let mut ending = None;
        loop {
            let now = clock::now();
            if ending.is_some_and(|end| now.mono >= end || !self.alarms.is_sending()) {
                return;
            }
            let retry = self.ledger.is_none().then_some(RETRY);
            let last = ending.map(|end: Mono| end.since(now.mono));
            let samples = self.samples.due().filter(|_| retry.is_none()).map(|due| due.since(now.mono));
            let wait = [retry, last, samples, self.alarms.due(now)].into_iter().flatten().min();
            let call = match wait {
                Some(wait) => inbox.recv_timeout(wait),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            // One look serves all who have called meanwhile.
            let mut waiting = Vec::new();
            for call in call.into_iter().chain(inbox.try_iter()) {
                match call {
                    Call::Look => {}
                    Call::Sync(done) => waiting.push(done),
                    Call::Declared(fleet) => self.with_alarms(|alarms, ledger| alarms.declared(ledger, &fleet)),
                    Call::Stopped(name) => self.with_alarms(|alarms, ledger| alarms.stopped(ledger, &name)),
                    Call::Alert(body, answer) => {
                        self.with_alarms(|alarms, ledger| alarms.asked(ledger, body, answer));
                    }
                    Call::Digest(body, answer) => {
                        self.with_alarms(|alarms, ledger| alarms.digested(ledger, body, answer));
                    }
                    Call::Sent(sink, flight, delivery) => {
                        self.with_alarms(|alarms, ledger| alarms.sent(ledger, &sink, flight, &delivery));
                    }
                    Call::Pinged(result) => self.alarms.pinged(result),
                    Call::Memory(sample, interval) => self.samples.keep(*sample, interval, now.mono),
                    Call::Trend(name, saved) => self.samples.save(name, saved, now),
                    Call::Written(done) => {
                        self.write_samples(true);
                        // Who waited may have gone on.
                        let _ = done.send(());
                    }
                    Call::Pause(done) => {
                        // Who waits for it becomes another program, and has nothing of ours then.
                        self.write_samples(true);
                        self.alarms.pause(Some(done));
                    }
                    Call::Resume => self.alarms.resume(),
                    Call::End => {
                        self.write_samples(true);
                        self.alarms.pause(None);
                        ending = Some(now.mono.plus(LAST_WORDS));
                    }
                }
            }
            self.take_in();
            self.write_samples(false);
            for done in waiting {
                let _ = done.send(self.ledger.is_some() && !self.unread);
            }
        }
    }

    /// Has the alarms do something that they put on record, where there is one.
    fn with_alarms(&mut self, act: impl FnOnce(&mut Alarms, Option<&mut Ledger>) -> Result<(), StoreError>) {
        if let Err(e) = act(&mut self.alarms, self.ledger.as_mut()) {
            self.failed(&e);
        }
    }

    /// Writes the memory samples that are due, or all of them.
    fn write_samples(&mut self, all: bool) {
        loop {
            let now = clock::now();
            let is_due = self.samples.due().is_some_and(|due| all || due <= now.mono);
            let Some(ledger) = self.ledger.as_mut().filter(|_| is_due) else { return };
            if let Err(e) = self.samples.write(ledger, now) {
                return self.failed(&e);
            }
            if !all {
                return;
            }
        }
    }

    fn take_in(&mut self) {
        self.unread = false;
        let mut done = self.try_take_in();
        if done.is_ok() {
            done = self.alarms.tick(self.ledger.as_mut());
        }
        match done {
            Ok(()) => {}
            Err(e) => self.failed(&e),
        }
        let (alerts, alert_troubles) = self.alarms.standing();
        self.tell(|known| (known.alerts, known.alert_troubles) = (alerts, alert_troubles));
    }

    /// The database is not well: what is new in the journals is shown to the rules all the same, as far as it is kept.
    fn failed(&mut self, e: &StoreError) {
        self.ledger = None;
        for id in journal::ids(&self.paths.runners()).unwrap_or_default() {
            self.read_on(&id);
        }
        let waiting = self.unsaved.values().map(|records| records.len() as u64).sum();
        self.tell(|known| {
            known.ok = false;
            known.note = Some(e.to_string());
            known.waiting = waiting;
        });
        self.alarms.without_ledger(&e.to_string(), &self.unsaved);
    }

    fn try_take_in(&mut self) -> Result<(), StoreError> {
        let database = self.paths.database();
        if self.ledger.is_none() {
            let mut ledger = Ledger::open(&database)?;
            let (counts, last_exits, note) = (ledger.counters()?, ledger.last_exits()?, ledger.note());
            let last_slots = ledger.last_slots()?;
            let inode = std::fs::metadata(&database).ok().map(|m| m.ino());
            self.alarms.opened(&mut ledger)?;
            self.ledger = Some(ledger);
            // A database that was replaced lacks what the old one had: everything the journals still hold is offered again.
            self.readers.clear();
            self.unsaved.clear();
            self.tell(|known| {
                known.ok = true;
                (known.counts, known.last_exits, known.note, known.inode) = (counts, last_exits, note, inode);
                known.last_slots = last_slots;
            });
        }
        // A folder that cannot be read now is read later.
        let ids = journal::ids(&self.paths.runners());
        self.unread |= ids.is_err();
        for id in ids.unwrap_or_default() {
            self.take_in_one(&id)?;
        }
        if self.since_prune >= PRUNE_EVERY
            && let Some(ledger) = &mut self.ledger
        {
            ledger.prune(clock::now().wall_ms, MAX_AGE, MAX_ROWS)?;
            self.since_prune = 0;
        }
        Ok(())
    }

    /// Reads what is new in a journal, as far as there is room. A journal that cannot be opened or read now is read later.
    fn read_on(&mut self, id: &str) {
        let reader = match self.readers.entry(id.into()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match journal::Reader::open(&self.paths.runners(), id) {
                Ok(reader) => entry.insert(reader),
                Err(_) => {
                    self.unread = true;
                    return;
                }
            },
        };
        let unsaved = self.unsaved.entry(id.into()).or_default();
        if unsaved.len() < BATCH {
            let read = reader.read_new(BATCH - unsaved.len());
            self.unread |= read.is_err();
            unsaved.extend(read.unwrap_or_default());
        }
    }

    fn take_in_one(&mut self, id: &str) -> Result<(), StoreError> {
        loop {
            self.read_on(id);
            let (Some(unsaved), Some(reader)) = (self.unsaved.get_mut(id), self.readers.get_mut(id)) else {
                return Ok(());
            };
            let Some(last) = unsaved.last() else {
                let note = self.ledger.as_ref().and_then(Ledger::note);
                self.tell(|known| {
                    known.ok = true;
                    known.waiting = 0;
                    known.note = note;
                });
                return Ok(());
            };
            let Some(ledger) = &mut self.ledger else { return Ok(()) };
            // A disk that cannot sync keeps nothing from being told.
            let _ = reader.sync();
            self.since_prune += self.alarms.take_in(ledger, id, unsaved)?;
            let (boot_id, seq) = (last.boot_id.clone(), last.seq);
            // What is still there is dropped at the next chance.
            let _ = reader.drop_acked(&boot_id, seq);
            let ended = unsaved.iter().any(|record| record.event.is_run_end());
            let of_jobs = unsaved.iter().any(|record| record.event.is_of_slots());
            unsaved.clear();
            let counts = ended.then(|| ledger.counters()).transpose()?;
            let last_slots = of_jobs.then(|| ledger.last_slots()).transpose()?;
            if counts.is_some() || last_slots.is_some() {
                self.tell(|known| {
                    known.counts = counts.unwrap_or_else(|| std::mem::take(&mut known.counts));
                    known.last_slots = last_slots.unwrap_or_else(|| std::mem::take(&mut known.last_slots));
                });
            }
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
