//! The ledger's thread: takes journals into SQLite, exactly once, and waits while the database is not well.
//!
//! Nobody waits for it: the journals hold what is not in the database yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::journal;
use crate::model::paths::Paths;
use crate::model::{LastExit, Record, RestartCounts, UnitName};
use crate::process::clock;
use crate::store::Ledger;

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
    /// The database file, as it was when opened.
    inode: Option<u64>,
}

enum Call {
    Look,
    Sync(oneshot::Sender<()>),
}

/// The daemon's handle on the thread; dropping it ends the thread after a last look.
pub(super) struct LedgerThread {
    calls: Option<Sender<Call>>,
    known: Arc<Mutex<Known>>,
    database: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LedgerThread {
    pub(super) fn start(paths: &Paths) -> std::io::Result<Self> {
        let (calls, inbox) = channel();
        let known = Arc::new(Mutex::new(Known::default()));
        let database = paths.database();
        let keeper = Keeper {
            paths: paths.clone(),
            known: known.clone(),
            ledger: None,
            readers: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            // The first look cleans up: an installation that records little would never come to the count.
            since_prune: PRUNE_EVERY,
        };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || keeper.serve(&inbox))?;
        Ok(Self { calls: Some(calls), known, database, thread: Some(thread) })
    }

    /// Something was journaled.
    pub(super) fn look(&self) {
        self.call(Call::Look);
    }

    /// Answers once everything that is journaled now was tried to be taken in.
    pub(super) fn sync(&self, done: oneshot::Sender<()>) {
        self.call(Call::Sync(done));
    }

    fn call(&self, call: Call) {
        if let Some(calls) = &self.calls {
            // A thread that is gone shows in `known`.
            let _ = calls.send(call);
        }
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
        self.calls = None;
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
    readers: BTreeMap<String, journal::Reader>,
    unsaved: BTreeMap<String, Vec<Record>>,
    since_prune: usize,
}

impl Keeper {
    fn serve(mut self, inbox: &Receiver<Call>) {
        self.take_in();
        loop {
            let well = self.ledger.is_some();
            let call =
                if well { inbox.recv().map_err(|_| RecvTimeoutError::Disconnected) } else { inbox.recv_timeout(RETRY) };
            let mut waiting = Vec::new();
            match call {
                Ok(Call::Sync(done)) => waiting.push(done),
                Ok(Call::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.take_in();
                    return;
                }
            }
            // One look serves all who have called meanwhile.
            while let Ok(call) = inbox.try_recv() {
                if let Call::Sync(done) = call {
                    waiting.push(done);
                }
            }
            self.take_in();
            for done in waiting {
                let _ = done.send(());
            }
        }
    }

    fn take_in(&mut self) {
        match self.try_take_in() {
            Ok(()) => {}
            Err(e) => {
                self.ledger = None;
                let waiting = self.unsaved.values().map(|records| records.len() as u64).sum();
                self.tell(|known| {
                    known.ok = false;
                    known.note = Some(e.to_string());
                    known.waiting = waiting;
                });
            }
        }
    }

    fn try_take_in(&mut self) -> Result<(), crate::store::StoreError> {
        let database = self.paths.database();
        if self.ledger.is_none() {
            let ledger = Ledger::open(&database)?;
            let (counts, last_exits, note) = (ledger.counters()?, ledger.last_exits()?, ledger.note());
            let inode = std::fs::metadata(&database).ok().map(|m| m.ino());
            self.ledger = Some(ledger);
            // A database that was replaced lacks what the old one had: everything the journals still hold is offered again.
            self.readers.clear();
            self.unsaved.clear();
            self.tell(|known| {
                known.ok = true;
                (known.counts, known.last_exits, known.note, known.inode) = (counts, last_exits, note, inode);
            });
        }
        // A folder that cannot be read now is read later.
        for id in journal::ids(&self.paths.runners()).unwrap_or_default() {
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

    fn take_in_one(&mut self, id: &str) -> Result<(), crate::store::StoreError> {
        let runners = self.paths.runners();
        loop {
            let reader = match self.readers.entry(id.into()) {
                Entry::Occupied(entry) => entry.into_mut(),
                // A journal that cannot be opened now is read later.
                Entry::Vacant(entry) => match journal::Reader::open(&runners, id) {
                    Ok(reader) => entry.insert(reader),
                    Err(_) => return Ok(()),
                },
            };
            let unsaved = self.unsaved.entry(id.into()).or_default();
            if unsaved.len() < BATCH {
                // A journal that cannot be read now is read later.
                unsaved.extend(reader.read_new(BATCH - unsaved.len()).unwrap_or_default());
            }
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
            self.since_prune += ledger.ingest(id, unsaved)?;
            let (boot_id, seq) = (last.boot_id.clone(), last.seq);
            // What is still there is dropped at the next chance.
            let _ = reader.drop_acked(&boot_id, seq);
            let ended = unsaved.iter().any(|record| record.event.is_run_end());
            unsaved.clear();
            if ended {
                let counts = ledger.counters()?;
                self.tell(|known| known.counts = counts);
            }
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
