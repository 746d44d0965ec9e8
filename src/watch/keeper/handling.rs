//! From a file that rests to the end of its handler.

use std::time::Duration;

use super::super::handler::{End, Job};
use super::super::items::Key;
use super::super::look::{self, Found};
use super::super::set;
use super::super::table::{Outcome, Told};
use super::hints::{path, split};
use super::{BLOCKED_FOR, Keeper, Running};
use crate::model::{Moment, WatchOn};
use crate::policy::backed_off;
use crate::process::clock;

/// Longest time between two tries of a handler that fails.
const RETRY_MOST: Duration = Duration::from_secs(3600);

/// Works that are brought to mind in one turn.
const LOADED: usize = 1_000;

impl Keeper {
    /// Settling files whose time has come are looked at.
    pub(super) fn look_at_settling(&mut self, now: Moment) -> Told<()> {
        while let Some(key) = self.items.pop_due(now.mono) {
            self.look_again(&key, now)?;
        }
        Ok(())
    }

    /// A file that settles is looked at.
    pub(super) fn look_again(&mut self, key: &Key, now: Moment) -> Told<()> {
        let set = self.roots[key.0].set;
        let at = self.real_path(key);
        match look::at(&at) {
            Found::File(stat) => {
                let seen = self.seen(key, stat);
                self.items.seen(key, set, seen, now.mono, self.sets[set].spec.settle);
                Ok(())
            }
            _ => {
                self.items.remove_settling(key, set);
                self.is_gone(key, &at, now)
            }
        }
    }

    /// What is down and due comes to mind.
    pub(super) fn load_due(&mut self, now: Moment) -> Told<()> {
        if std::mem::take(&mut self.reload) {
            let running: Vec<i64> = self.running.keys().copied().collect();
            self.table.begin()?;
            self.table.resume(&running)?;
            self.work_due = Some(0);
        }
        if self.work_due.is_none_or(|due| due > now.wall_ms) || self.items.is_full() {
            return Ok(());
        }
        for root in 0..self.roots.len() {
            // Of one that is not there nothing can be said.
            if self.roots[root].there.is_none() {
                continue;
            }
            for work in self.table.due(self.roots[root].id, now.wall_ms, LOADED)? {
                let key = (root, work.path.clone());
                self.table.begin()?;
                self.table.in_mind(work.id)?;
                self.items.ready(key, self.roots[root].set, work, now.mono);
            }
        }
        // Of roots that are not there some may be due all the time: they are asked for when their roots come.
        self.work_due = self.table.next_due()?.filter(|due| *due > now.wall_ms || self.items.is_full());
        Ok(())
    }

    /// Handlers begin: their beginnings go down now, and they are started when that is committed.
    pub(super) fn dispatch(&mut self, now: Moment) -> Told<()> {
        for set in 0..self.sets.len() {
            if let Some((until, _)) = &self.blocked[set] {
                if *until > now.mono {
                    continue;
                }
                self.blocked[set] = None;
            }
            while let Some(key) = self.items.pop_ready(set, self.sets[set].spec.concurrency) {
                self.begin_handler(set, key, now)?;
            }
        }
        Ok(())
    }

    fn begin_handler(&mut self, set: usize, key: Key, now: Moment) -> Told<()> {
        let Some(item) = self.items.get(&key).cloned() else { return Ok(()) };
        let at = self.real_path(&key);
        let stat = match look::at(&at) {
            Found::File(stat) => Some(stat),
            _ => None,
        };
        self.table.begin()?;
        if stat.is_none() && item.event != WatchOn::Removed {
            // It has gone before its turn came.
            self.items.remove(&key, set);
            if let Some(work) = &item.work {
                self.table.ended(work, &Outcome::Done, now.wall_ms)?;
            }
            return self.is_gone(&key, &at, now);
        }
        let root = &self.roots[key.0];
        let work = match item.work {
            Some(mut work) => {
                self.table.begin_again(&mut work, now.wall_ms)?;
                work
            }
            None => self.table.begin_new(root.id, &key.1, item.event, now.wall_ms)?,
        };
        let told = set::Told {
            event: work.event,
            path: root.declared.join(path(&key.1)),
            from: work.origin.as_deref().map(|origin| root.declared.join(path(origin))),
            stat,
            attempt: work.attempts,
        };
        let of = &self.sets[set];
        let job = Job { id: work.id, argv: of.argv(&told), stdin: of.stdin(&told), timeout: of.spec.timeout };
        self.items.runs(&key, set);
        self.launches.push((job, key.clone()));
        self.running.insert(work.id, Running { key, work, stat });
        Ok(())
    }

    /// Starts what has gone down as begun.
    pub(super) fn launch(&mut self, now: Moment) {
        for (job, _) in std::mem::take(&mut self.launches) {
            if let Err(why) = self.handlers.begin(&job, now.mono) {
                // Seen to in the next turn, which is at once.
                self.ends.push((job.id, End::NotStarted(why)));
            }
        }
    }

    /// What became of handlers goes down, in a transaction of its own: it is told to us once only.
    pub(super) fn record_ends(&mut self, now: Moment) -> Told<()> {
        if self.ends.is_empty() {
            return Ok(());
        }
        self.table.begin()?;
        let mut recorded = Vec::with_capacity(self.ends.len());
        for (id, end) in &self.ends {
            let Some(running) = self.running.get(id) else { continue };
            recorded.push((*id, self.record(running, end, now)?, *end == End::Well));
        }
        self.table.commit()?;
        self.ends.clear();
        for (id, outcome, is_well) in recorded {
            self.settle_end(id, outcome, is_well, now);
        }
        Ok(())
    }

    fn record(&self, running: &Running, end: &End, now: Moment) -> Told<Outcome> {
        let Running { key, work, stat } = running;
        let root = &self.roots[key.0];
        let spec = &self.sets[root.set].spec;
        let later = |after: Duration| now.wall_ms.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
        let is_there = || work.event == WatchOn::Removed || matches!(look::at(&self.real_path(key)), Found::File(_));
        let outcome = match end {
            End::Well => Outcome::Done,
            // It waits with the others of its set: when its handler is to be started again, that says.
            End::NotStarted(why) => Outcome::NotBegun { due_ms: now.wall_ms, why: why.clone() },
            // There is nothing to try again with.
            End::Failed(_) if !is_there() => Outcome::Done,
            End::Failed(why) if work.failures >= spec.retries => Outcome::Dead { why: why.clone() },
            End::Failed(why) => {
                let delay = backed_off(spec.retry_delay, RETRY_MOST, work.failures, clock::fraction());
                Outcome::Again { due_ms: later(delay), why: why.clone() }
            }
        };
        self.table.ended(work, &outcome, now.wall_ms)?;
        let is_over = matches!(outcome, Outcome::Done | Outcome::Dead { .. });
        if let Some(stat) = stat.filter(|_| is_over && work.event != WatchOn::Removed) {
            let (folder, name) = split(&key.1);
            let folder = self.table.folder_id(root.id, folder)?;
            // As it was when the handler began: what was changed since is seen.
            self.table.know(folder, name, &stat, Some(now.wall_ms))?;
        }
        Ok(outcome)
    }

    /// What follows from an end that is down.
    fn settle_end(&mut self, id: i64, outcome: Outcome, is_well: bool, now: Moment) {
        let Some(Running { key, work, .. }) = self.running.remove(&id) else { return };
        let set = self.roots[key.0].set;
        let was_told = self.items.remove(&key, set);
        let shown = || self.roots[key.0].declared.join(path(&key.1)).display().to_string();
        match outcome {
            Outcome::Done if is_well => self.handled[set] = (self.handled[set].0 + 1, Some(now.wall_ms)),
            Outcome::Done => {}
            Outcome::Again { due_ms, why } => {
                let seconds = due_ms.saturating_sub(now.wall_ms) / 1000;
                anstream::eprintln!("{}: {why}; it is tried again in {seconds} s", shown());
                self.is_due(due_ms);
            }
            Outcome::NotBegun { due_ms, why } => {
                if self.blocked[set].is_none() {
                    anstream::eprintln!("the handler of {} cannot be started: {why}", self.sets[set].spec.name);
                }
                self.blocked[set] = Some((now.mono.plus(BLOCKED_FOR), why));
                self.is_due(due_ms);
            }
            Outcome::Dead { why } => {
                self.dead += 1;
                anstream::eprintln!(
                    "{}: {why}; it was given up after {} attempts (`supervisor watch retry {id}`)",
                    shown(),
                    work.attempts
                );
            }
        }
        // What was told meanwhile was not looked at.
        if was_told {
            self.recheck.push(key);
        }
    }

    fn is_due(&mut self, due_ms: i64) {
        self.work_due = Some(self.work_due.map_or(due_ms, |due| due.min(due_ms)));
    }

    /// Files of which something was told while their handlers ran are looked at.
    pub(super) fn look_after_ends(&mut self, now: Moment) -> Told<()> {
        for key in std::mem::take(&mut self.recheck) {
            self.look(&key, false, now)?;
        }
        Ok(())
    }
}
