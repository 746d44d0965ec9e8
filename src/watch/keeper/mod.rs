//! The watcher's loop: hints, ends of handlers, times and requests in; looks, rows and handlers out. One thread has all of it, and waits
//! when there is nothing to do.
//!
//! What is written in a turn is committed before anything that follows from it happens: a handler begins when its beginning is down. A
//! turn that cannot be written is as if it had not been: what it had in mind is forgotten, and found again by a scan.

mod handling;
mod hints;
mod inbox;
mod roots;
mod scanning;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) use inbox::{Inbox, Post, inbox};
pub(super) use roots::Root;

use super::canary::Canary;
use super::eye::{Eye, Hint};
use super::handler::{End, Handlers};
use super::items::{Items, Key};
use super::own::Own;
use super::set::Set;
use super::standing::{self, Live, Standing};
use super::table::{Place, Table, Told, Work};
use crate::model::{Again, Moment, Mono, ReplayRequest, RetryRequest};
use crate::policy::gap::gap;
use crate::process::clock;

/// Between two scans of everything, in which directories are compared by their times where that is enough.
const SCAN_EVERY: Duration = Duration::from_secs(3600);

/// Between two looks at the folders of services.toml, and two proofs.
const CHECK_EVERY: Duration = Duration::from_secs(300);

/// A file that is not there may be found under another name for so long.
const GRACE: Duration = Duration::from_secs(2);

/// After the table could not be written.
const UNWELL_FOR: Duration = Duration::from_secs(5);

/// After a handler could not be started.
const BLOCKED_FOR: Duration = Duration::from_secs(30);

/// Entries of folders in one turn.
const ENTRIES: usize = 256;

/// What a request comes to.
pub(super) type Answer = Result<Again, String>;

/// What comes to the loop.
pub(super) enum Input {
    /// There are hints.
    Hints,
    /// Somebody asks for something.
    Retry(RetryRequest, oneshot::Sender<Result<Again, String>>),
    /// Somebody asks for something.
    Replay(ReplayRequest, oneshot::Sender<Result<Again, String>>),
    /// It is enough.
    Stop,
}

/// A handler that runs.
pub(super) struct Running {
    key: Key,
    work: Work,
    stat: Option<super::judge::Stat>,
    /// Where its beginning stands, when it has no row.
    begun: Option<Place>,
}

/// The loop and all it has.
pub(super) struct Keeper {
    pub(super) sets: Vec<Set>,
    pub(super) roots: Vec<Root>,
    pub(super) table: Table,
    pub(super) eye: Option<Eye>,
    pub(super) no_eye: Option<String>,
    pub(super) handlers: Handlers,
    pub(super) items: Items,
    /// By the numbers of their jobs.
    running: HashMap<u64, Running>,
    jobs: u64,
    pub(super) canary: Canary,
    pub(super) own: Own,
    pub(super) standing: Arc<Mutex<Standing>>,
    pub(super) busy: Arc<standing::Busy>,
    /// What was told and is not looked at yet.
    hints: Vec<(PathBuf, Hint)>,
    ends: Vec<(u64, End)>,
    launches: Vec<(super::handler::Job, Key)>,
    /// A set whose handler cannot be started: until when, and why.
    blocked: Vec<Option<(Mono, String)>>,
    handled: Vec<(u64, Option<i64>)>,
    gone_due: Option<Mono>,
    work_due: Option<i64>,
    next_scan: Mono,
    next_check: Mono,
    unwell: Option<(Mono, String)>,
    /// Files whose handlers have ended and of which something was told meanwhile, to be looked at.
    recheck: Vec<Key>,
    /// What was in mind is not any more: it is due again.
    reload: bool,
    /// Something is due with a file whose handler runs.
    put_off: bool,
    /// How many were given up.
    dead: u64,
    /// No handler begins any more.
    closing: Option<Mono>,
}

/// What a keeper is made from.
pub(super) struct Parts {
    pub(super) sets: Vec<Set>,
    pub(super) roots: Vec<Root>,
    pub(super) table: Table,
    pub(super) eye: notify::Result<Eye>,
    pub(super) handlers: Handlers,
    pub(super) canary: Canary,
    pub(super) own: Own,
    pub(super) standing: Arc<Mutex<Standing>>,
    pub(super) busy: Arc<standing::Busy>,
}

impl Keeper {
    pub(super) fn new(parts: Parts) -> Self {
        let (eye, no_eye) = match parts.eye {
            Ok(eye) => (Some(eye), None),
            Err(e) => (None, Some(e.to_string())),
        };
        let sets = parts.sets.len();
        let now = clock::now();
        Self {
            items: Items::new(sets),
            sets: parts.sets,
            roots: parts.roots,
            table: parts.table,
            eye,
            no_eye,
            handlers: parts.handlers,
            running: HashMap::new(),
            jobs: 0,
            canary: parts.canary,
            own: parts.own,
            standing: parts.standing,
            busy: parts.busy,
            hints: Vec::new(),
            ends: Vec::new(),
            launches: Vec::new(),
            blocked: vec![None; sets],
            handled: vec![(0, None); sets],
            gone_due: Some(now.mono.plus(GRACE)),
            work_due: Some(0),
            next_scan: now.mono.plus(SCAN_EVERY),
            next_check: now.mono,
            unwell: None,
            recheck: Vec::new(),
            reload: true,
            put_off: false,
            dead: 0,
            closing: None,
        }
    }

    /// Runs until it is told to stop, and then until the handlers have ended, for at most `patience`.
    pub(super) fn run(mut self, inbox: &Inbox, patience: Duration) {
        let mut before = clock::now();
        loop {
            let due = self.next_due(before.mono);
            self.busy.rests(due);
            inbox.wait(self.handlers.descriptors(), due.map(|due| due.since(clock::now().mono)));
            let now = clock::now();
            self.busy.works(now.mono);
            if let Some(gap) = gap(before, due, now) {
                anstream::eprintln!(
                    "after {} s in which nothing could be seen, all folders are scanned",
                    gap.length().as_secs()
                );
                self.scan_all(true);
                self.next_check = now.mono;
            }
            before = now;
            let mut requests = Vec::new();
            // All that has come is one turn's.
            for input in inbox.take() {
                match input {
                    Input::Hints => {}
                    Input::Stop => self.closing = self.closing.or(Some(now.mono.plus(patience))),
                    request @ (Input::Retry(..) | Input::Replay(..)) => requests.push(request),
                }
            }
            self.ends.extend(self.handlers.ended(now.mono));
            self.turn(now, requests);
            if self.closing.is_some_and(|until| self.items.all_running() == 0 || now.mono >= until) {
                // What has not ended by now ends with us, and is done again.
                let _ = self.table.is_alive(now.wall_ms).and_then(|()| self.table.commit());
                return;
            }
        }
    }

    fn turn(&mut self, now: Moment, requests: Vec<Input>) {
        if self.unwell.as_ref().is_none_or(|(until, _)| *until <= now.mono) {
            let done = self.record_ends(now).and_then(|()| self.write_turn(now, requests));
            match done {
                Ok(()) => {
                    if self.unwell.take().is_some() {
                        anstream::eprintln!("the table can be written again");
                    }
                    self.launch(now);
                }
                Err(e) => self.give_up_turn(now, &e),
            }
        }
        self.publish();
    }

    /// Everything of a turn but the ends of handlers, in one transaction.
    fn write_turn(&mut self, now: Moment, requests: Vec<Input>) -> Told<()> {
        let mut answers: Vec<(oneshot::Sender<Answer>, Answer)> = Vec::new();
        for request in requests {
            self.table.begin()?;
            match request {
                Input::Retry(wanted, answer) => answers.push((answer, self.retry(&wanted, now)?)),
                Input::Replay(wanted, answer) => answers.push((answer, self.replay(&wanted, now)?)),
                Input::Hints | Input::Stop => {}
            }
        }
        if self.next_check <= now.mono {
            self.next_check = now.mono.plus(CHECK_EVERY);
            self.table.begin()?;
            self.table.is_alive(now.wall_ms)?;
            self.dead = self.table.dead_count()?;
            self.canary.begin(now);
            for root in 0..self.roots.len() {
                self.check_root(root, now)?;
                self.roots[root].scan_troubles();
            }
        }
        self.look_after_ends(now)?;
        self.take_hints(now)?;
        if self.canary.is_silent(now.mono) {
            anstream::eprintln!("a file of our own was written, and nobody told us: all folders are scanned");
            self.scan_all(true);
        }
        if self.next_scan <= now.mono {
            self.next_scan = now.mono.plus(SCAN_EVERY);
            self.scan_all(false);
        }
        self.poll_roots(now.mono);
        // Before the scan: what was begun before a kill comes first.
        self.load_due(now)?;
        self.scan(now)?;
        self.look_at_settling(now)?;
        self.finish_gone(now)?;
        if self.closing.is_none() {
            self.dispatch(now)?;
        }
        self.table.commit()?;
        for (answer, result) in answers {
            // Who has gone away needs no answer.
            let _ = answer.send(result);
        }
        Ok(())
    }

    /// The table does not take it: nothing of the turn has been.
    fn give_up_turn(&mut self, now: Moment, error: &rusqlite::Error) {
        self.table.roll_back();
        if self.unwell.is_none() {
            anstream::eprintln!(
                "the table of watched files cannot be written: {error}; no handler begins until it can"
            );
        }
        self.unwell = Some((now.mono.plus(UNWELL_FOR), error.to_string()));
        let launches = std::mem::take(&mut self.launches);
        for (job, key) in launches {
            let begun = self.running.remove(&job.id).and_then(|running| running.begun);
            // Where that cannot be written either, it was one try more when we are killed now.
            let _ = begun.map(|place| self.table.is_over(place));
            self.items.remove(&key, self.roots[key.0].set);
        }
        let roots = &self.roots;
        self.items.forget(|_| true, |root| roots[root].set);
        self.hints = Vec::new();
        self.scan_all(true);
        self.next_check = now.mono;
        self.reload = true;
        self.gone_due = Some(now.mono.plus(GRACE));
    }

    /// When something has to be done next; `None`: when something comes.
    fn next_due(&self, now: Mono) -> Option<Mono> {
        if let Some((until, _)) = &self.unwell {
            return Some(*until);
        }
        // A handler that could not be started has ended.
        if self.has_to_scan() || !self.ends.is_empty() || !self.hints.is_empty() {
            return Some(now);
        }
        // Who ends starts no handler: there is nothing to wake up for.
        let blocked = self.blocked.iter().flatten().map(|(until, _)| *until).filter(|_| self.closing.is_none());
        let polls = self.roots.iter().filter_map(|root| root.next_poll.or_else(|| Some(now.plus(root.poll()?))));
        let work = self.work_due.map(|due_ms| {
            let left = u64::try_from(due_ms.saturating_sub(clock::now().wall_ms)).unwrap_or(0);
            now.plus(Duration::from_millis(left))
        });
        let work = work.filter(|_| !self.items.is_full());
        // While a scan stands still nothing is known to be gone.
        let gone = self.gone_due.filter(|_| !self.is_scanning());
        [self.items.next_due(), self.handlers.next_due(now), gone, work, self.canary.due(), self.closing]
            .into_iter()
            .flatten()
            .chain([self.next_scan, self.next_check])
            .chain(blocked)
            .chain(polls)
            .min()
    }

    /// For whoever asks.
    fn publish(&self) {
        let live = |(number, set): (usize, &Set)| {
            let roots = || self.roots.iter().filter(move |root| root.set == number);
            Live {
                name: set.spec.name.clone(),
                folders: roots().map(Root::told).collect(),
                waiting: self.items.waiting(number),
                behind: roots().any(|root| root.scan.is_behind()),
                running: self.items.running(number),
                handled: self.handled[number].0,
                handled_ms: self.handled[number].1,
                scanning: roots().any(|root| root.scan.is_under_way()),
                blocked: self.blocked[number].as_ref().map(|(_, why)| why.clone()),
            }
        };
        let standing = Standing {
            sets: self.sets.iter().enumerate().map(live).collect(),
            canary: self.canary.told(),
            unwell: self.unwell.as_ref().map(|(_, why)| why.clone()),
            dead: self.dead,
        };
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    fn retry(&mut self, wanted: &RetryRequest, now: Moment) -> Told<Result<Again, String>> {
        let roots = match self.roots_of(wanted.set.as_deref()) {
            Ok(roots) => roots,
            Err(why) => return Ok(Err(why)),
        };
        let roots: Vec<i64> = roots.into_iter().map(|root| self.roots[root].id).collect();
        let files = self.table.retry(&wanted.ids, &roots, now.wall_ms)?;
        self.work_due = Some(0);
        self.dead = self.table.dead_count()?;
        if files == 0 && !wanted.ids.is_empty() {
            return Ok(Err("nothing was given up under this number".into()));
        }
        Ok(Ok(Again { files }))
    }

    fn replay(&mut self, wanted: &ReplayRequest, now: Moment) -> Told<Result<Again, String>> {
        let roots = match self.roots_of(wanted.set.as_deref()) {
            Ok(roots) => roots,
            Err(why) => return Ok(Err(why)),
        };
        let mut files = 0;
        for root in roots {
            files += self.table.replay(self.roots[root].id, wanted.since_ms, now.wall_ms)?;
        }
        self.work_due = Some(0);
        self.dead = self.table.dead_count()?;
        Ok(Ok(Again { files }))
    }

    fn roots_of(&self, set: Option<&str>) -> Result<Vec<usize>, String> {
        let is_meant = |root: &Root| set.is_none_or(|name| self.sets[root.set].spec.name == name);
        let found: Vec<usize> = (0..self.roots.len()).filter(|&root| is_meant(&self.roots[root])).collect();
        if found.is_empty() {
            let names: Vec<&str> = self.sets.iter().map(|set| set.spec.name.as_str()).collect();
            return Err(format!(
                "there is no watch set called {:?}; there are: {}",
                set.unwrap_or_default(),
                names.join(", ")
            ));
        }
        Ok(found)
    }
}
