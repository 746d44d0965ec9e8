//! The thread that writes: what has come while it wrote is its next transaction, so that many who send singly share one commit. Nobody
//! has an answer before their events are kept: in the database, or, while that is not well, in the spool.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::spool::{NotKept, ROOM, Spool};
use crate::model::{Emitted, Mono};
use crate::process::clock;
use crate::store::{Ledger, StoreError, StoreErrorKind};

/// Events in one transaction.
const BATCH: usize = 5_000;

/// Bytes of the spool in one transaction: the first ones go in where there is little room for them.
const BATCH_BYTES: u64 = 4 << 20;

/// Between two tries while the database is not well, or while something waits in the spool.
const RETRY: Duration = Duration::from_secs(1);

/// How long another program's lock is waited for: there is the spool.
const LOCKED_FOR: Duration = Duration::from_millis(500);

/// Events that have come and are not written yet; who brings more is sent away for now.
const MOST_EVENTS: usize = 50_000;

/// Their bodies, bytes.
const MOST_BYTES: usize = 32 << 20;

/// Requests that wait at the same time.
const MOST_REQUESTS: usize = 1024;

/// What became of a request's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// New ones, in the database.
    pub(super) stored: usize,
    /// Those that have come before under their keys.
    pub(super) duplicates: usize,
    /// Those that wait in the spool.
    pub(super) spooled: usize,
}

/// Why they are not kept; the sender has to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// More comes than is written.
    Busy,
    /// Neither the database nor the spool takes them: why.
    Nowhere(String),
}

/// How things stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// What is wrong with the database.
    pub(super) trouble: Option<String>,
    /// Events in the spool.
    pub(super) spooled: u64,
    /// Bytes of it.
    pub(super) spool_bytes: u64,
    /// The spool takes nothing more: why.
    pub(super) full: Option<String>,
}

/// A request's events.
struct Job {
    events: Vec<Emitted>,
    bytes: usize,
    answer: oneshot::Sender<Result<Kept, Refused>>,
}

/// What the thread works with.
pub(super) struct Setting {
    /// The database.
    pub(super) database: PathBuf,
    /// The spool's file.
    pub(super) spool: PathBuf,
    /// Whether what is answered for outlives a loss of power.
    pub(super) outlive_power: bool,
}

/// The handle on the thread; it ends, with everything written, when the last one is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: SyncSender<Job>,
    waiting: Arc<(AtomicUsize, AtomicUsize)>,
    standing: Arc<Mutex<Standing>>,
    /// The number of the event that was written last.
    last: watch::Receiver<i64>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started, or the spool cannot be opened.
    pub(super) fn start(setting: Setting) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let mark = format!("{}-{}", std::process::id(), clock::now().wall_ms);
        let spool = Spool::open(&setting.spool, mark, setting.outlive_power)?;
        let (jobs, inbox) = sync_channel(MOST_REQUESTS);
        let (tell, last) = watch::channel(0);
        let waiting = Arc::default();
        // What a former life has left is known before anybody asks.
        let standing = Standing { spooled: spool.waiting(), spool_bytes: spool.bytes(), ..Standing::default() };
        let standing = Arc::new(Mutex::new(standing));
        let keeper = Keeper {
            setting,
            spool,
            ledger: None,
            retry: None,
            tell,
            waiting: Arc::clone(&waiting),
            standing: Arc::clone(&standing),
        };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || keeper.serve(&inbox))?;
        Ok((Self { jobs, waiting, standing, last }, thread))
    }

    /// Has events written; answers when they are kept.
    pub(super) async fn keep(&self, events: Vec<Emitted>, bytes: usize) -> Result<Kept, Refused> {
        let (answer, answered) = oneshot::channel();
        let count = events.len();
        let (waiting_events, waiting_bytes) = &*self.waiting;
        if waiting_events.load(Ordering::Relaxed) > MOST_EVENTS || waiting_bytes.load(Ordering::Relaxed) > MOST_BYTES {
            return Err(Refused::Busy);
        }
        waiting_events.fetch_add(count, Ordering::Relaxed);
        waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(e) = self.jobs.try_send(Job { events, bytes, answer }) {
            waiting_events.fetch_sub(count, Ordering::Relaxed);
            waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(match e {
                TrySendError::Full(_) => Refused::Busy,
                TrySendError::Disconnected(_) => Refused::Nowhere("the writing thread has ended".into()),
            });
        }
        answered.await.unwrap_or_else(|_| Err(Refused::Nowhere("the writing thread has ended".into())))
    }

    /// How things stand.
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Is told the number of each event that was written last.
    pub(super) fn last(&self) -> watch::Receiver<i64> {
        self.last.clone()
    }
}

struct Keeper {
    setting: Setting,
    spool: Spool,
    ledger: Option<Ledger>,
    /// The database was not well; it is tried again then.
    retry: Option<Mono>,
    tell: watch::Sender<i64>,
    waiting: Arc<(AtomicUsize, AtomicUsize)>,
    standing: Arc<Mutex<Standing>>,
}

impl Keeper {
    fn serve(mut self, inbox: &Receiver<Job>) {
        self.drain();
        loop {
            let next = if self.spool.waiting() > 0 || self.retry.is_some() {
                inbox.recv_timeout(RETRY)
            } else {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(first) => self.turn(first, inbox),
                Err(RecvTimeoutError::Timeout) => self.drain(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.retry = None;
        self.drain();
        self.spool.close();
    }

    /// One transaction for all that has come.
    fn turn(&mut self, first: Job, inbox: &Receiver<Job>) {
        let mut count = first.events.len();
        let mut jobs = vec![first];
        while count < BATCH {
            let Ok(job) = inbox.try_recv() else { break };
            count += job.events.len();
            jobs.push(job);
        }
        self.drain();
        let written = if self.spool.waiting() > 0 { None } else { self.write(&jobs) };
        let results = written.unwrap_or_else(|| self.keep_for_later(&jobs));
        for (job, result) in jobs.into_iter().zip(results) {
            self.waiting.0.fetch_sub(job.events.len(), Ordering::Relaxed);
            self.waiting.1.fetch_sub(job.bytes, Ordering::Relaxed);
            // Who asked may have gone; their events are kept all the same.
            let _ = job.answer.send(result);
        }
    }

    /// Into the database; `None` when it does not take them.
    fn write(&mut self, jobs: &[Job]) -> Option<Vec<Result<Kept, Refused>>> {
        let events: Vec<Emitted>;
        let all = match jobs {
            [job] => &job.events,
            _ => {
                events = jobs.iter().flat_map(|job| job.events.iter().cloned()).collect();
                &events
            }
        };
        let ids = self.emit(all)?;
        let mut ids = ids.into_iter();
        let results = jobs.iter().map(|job| {
            let stored = ids.by_ref().take(job.events.len()).flatten().count();
            Ok(Kept { stored, duplicates: job.events.len() - stored, spooled: 0 })
        });
        Some(results.collect())
    }

    /// Into the spool, request by request.
    fn keep_for_later(&mut self, jobs: &[Job]) -> Vec<Result<Kept, Refused>> {
        let mut full = None;
        let keep = |job: &Job| match self.spool.put(&job.events) {
            Ok(()) => Ok(Kept { stored: 0, duplicates: 0, spooled: job.events.len() }),
            Err(why) => {
                let why = match why {
                    NotKept::Full => format!("the spool has its {} MiB", ROOM >> 20),
                    NotKept::Io(e) => format!("the spool cannot be written: {e}"),
                };
                full = Some(why.clone());
                Err(Refused::Nowhere(why))
            }
        };
        let results = jobs.iter().map(keep).collect();
        self.note(|standing| standing.full = full);
        results
    }

    /// From the spool into the database, as long as that takes it.
    fn drain(&mut self) {
        // Until then nothing is read from the spool in vain, for every request that comes.
        if self.rests() {
            return;
        }
        while self.spool.waiting() > 0 {
            let (events, lines) = match self.spool.next(BATCH, BATCH_BYTES) {
                Ok(next) => next,
                Err(e) => return self.note(|standing| standing.full = Some(format!("the spool cannot be read: {e}"))),
            };
            if self.emit(&events).is_none() {
                return;
            }
            if let Err(e) = self.spool.taken(&lines) {
                // They are offered again, and passed over.
                return self.note(|standing| standing.full = Some(format!("the spool cannot be emptied: {e}")));
            }
            self.note(|standing| standing.full = None);
        }
        if self.retry.is_some() {
            // Nothing waits; whether it is well again is to be known all the same, and opening it asks that.
            self.ledger = None;
            self.emit(&[]);
        }
    }

    /// Whether the database was not well a moment ago, and is left alone.
    fn rests(&self) -> bool {
        self.retry.is_some_and(|retry| clock::now().mono < retry)
    }

    fn emit(&mut self, events: &[Emitted]) -> Option<Vec<Option<i64>>> {
        if self.rests() {
            return None;
        }
        match self.try_emit(events) {
            Ok(ids) => {
                self.retry = None;
                self.note(|standing| standing.trouble = None);
                if let Some(last) = ids.iter().rev().copied().find_map(|id| id) {
                    self.tell.send_replace(last);
                }
                Some(ids)
            }
            Err(e) => {
                if e.kind != StoreErrorKind::Busy {
                    // What is wrong may be with the connection: it is opened anew.
                    self.ledger = None;
                }
                self.retry = Some(clock::now().mono.plus(RETRY));
                self.note(|standing| standing.trouble = Some(e.to_string()));
                None
            }
        }
    }

    fn try_emit(&mut self, events: &[Emitted]) -> Result<Vec<Option<i64>>, StoreError> {
        let ledger = match &mut self.ledger {
            Some(ledger) => ledger,
            none => {
                let ledger = Ledger::open_within(&self.setting.database, LOCKED_FOR)?;
                ledger.outlive_power(self.setting.outlive_power)?;
                none.insert(ledger)
            }
        };
        ledger.emit(events)
    }

    fn note(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut standing);
        (standing.spooled, standing.spool_bytes) = (self.spool.waiting(), self.spool.bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn start(folder: &Path) -> (Writer, std::thread::JoinHandle<()>) {
        let (database, spool) = (folder.join("observability.sqlite"), folder.join("spool"));
        Writer::start(Setting { database, spool, outlive_power: false }).unwrap()
    }

    /// The database, locked as long as this is there.
    fn locked(folder: &Path) -> rusqlite::Connection {
        let database = folder.join("observability.sqlite");
        drop(Ledger::open(&database).unwrap());
        let other = rusqlite::Connection::open(&database).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    }

    fn events(name: &str, count: usize) -> Vec<Emitted> {
        let event = |n| Emitted {
            timestamp_ms: 1,
            category: "app".into(),
            event_type: format!("{name}-{n}"),
            service: None,
            metadata: serde_json::Map::new(),
            key: None,
        };
        (0..count).map(event).collect()
    }

    #[tokio::test]
    async fn what_comes_faster_than_it_is_written_is_sent_away_and_what_was_let_in_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let held = locked(folder.path());
        let (writer, thread) = start(folder.path());
        // The thread waits for the lock with the first; the others queue behind it, until there are as many as may.
        let batches: Vec<_> = (0..20).map(|n| events(&n.to_string(), 5_000)).collect();
        let tasks: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let writer = writer.clone();
                tokio::spawn(async move { writer.keep(batch, 100).await })
            })
            .collect();
        let mut kept = 0;
        let mut sent_away = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(Kept { stored: 0, duplicates: 0, spooled }) => kept += spooled,
                Err(Refused::Busy) => sent_away += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(sent_away > 0 && kept == 100_000 - sent_away * 5_000, "{kept} {sent_away}");
        assert!(kept > MOST_EVENTS && kept <= MOST_EVENTS + 10_000, "{kept}");
        // Who was sent away is let in when they come again.
        assert_eq!(writer.keep(events("again", 1), 100).await.unwrap().spooled, 1);
        drop(held);
        drop(writer);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_a_lock_longer_than_it_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = start(folder.path());
        assert_eq!(writer.keep(events("before", 1), 100).await.unwrap().stored, 1);
        let held = locked(folder.path());
        let now = || clock::now().mono;
        let (begin, mut longest, mut count) = (now(), Duration::ZERO, 0_i64);
        while now().since(begin) < 3 * RETRY {
            let asked = now();
            let kept = writer.keep(events(&count.to_string(), 1), 100).await.unwrap();
            assert_eq!(kept, Kept { stored: 0, duplicates: 0, spooled: 1 });
            longest = longest.max(now().since(asked));
            count += 1;
        }
        assert!(longest < 4 * LOCKED_FOR, "{longest:?}");
        assert!(writer.standing().trouble.unwrap().contains("locked"));
        drop(held);
        // They go in by themselves, and it is known to be well then.
        let mut last = writer.last();
        last.wait_for(|last| *last == 1 + count).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), async {
            while writer.standing().spooled > 0 || writer.standing().trouble.is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        drop(writer);
        thread.join().unwrap();
    }
}
