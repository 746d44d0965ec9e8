//! From a file that rests to the end of its handler.

use std::time::Duration;

use super::super::eye::Hint;
use super::super::handler::{End, Job};
use super::super::items::{Key, Stage};
use super::super::look::{self, Found};
use super::super::set;
use super::super::table::{Beginning, Outcome, Told, Work, split};
use super::hints::path;
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
            let running: Vec<i64> = self.running.values().filter_map(|running| running.work.row).collect();
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
                // What has happened to a file whose handler runs has its turn when that has ended.
                let Some(row) = work.row.filter(|_| !self.items.is_running(&key)) else {
                    self.put_off = true;
                    continue;
                };
                self.table.begin()?;
                self.table.in_mind(row)?;
                self.items.ready(key, self.roots[root].set, work, now.mono);
            }
        }
        // Of roots that are not there some may be due all the time: they are asked for when their roots come. So are those whose
        // files are being handled, when that has ended.
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
        let stat = match item.stage {
            // In this turn.
            Stage::Ready { seen: Some((stat, at)) } if at == now.mono => Some(stat),
            _ => match look::at(&at) {
                Found::File(stat) => Some(stat),
                _ => None,
            },
        };
        if stat.is_none() && item.event != WatchOn::Removed {
            // It has gone before its turn came.
            self.table.begin()?;
            self.items.remove(&key, set);
            if let Some(work) = &item.work {
                self.table.ended(work, &Outcome::Done, now.wall_ms)?;
            }
            return self.is_gone(&key, &at, now);
        }
        let root = &self.roots[key.0];
        let work = match item.work {
            Some(mut work) => {
                self.table.begin()?;
                self.table.begin_again(&mut work, now.wall_ms)?;
                work
            }
            None => {
                let (root, path) = (root.id, key.1.clone());
                Work { row: None, root, path, event: item.event, origin: None, attempts: 1, failures: 0 }
            }
        };
        let begun = match (work.row, stat) {
            (None, Some(stat)) => Some(self.table.begins(&Beginning {
                root: work.root,
                path: work.path.clone(),
                event: work.event,
                attempts: work.attempts,
                stat,
            })?),
            _ => None,
        };
        let told = set::Told {
            event: work.event,
            path: root.declared.join(path(&key.1)),
            from: work.origin.as_deref().map(|origin| root.declared.join(path(origin))),
            stat,
            attempt: work.attempts,
        };
        let of = &self.sets[set];
        self.jobs += 1;
        let job = Job { id: self.jobs, argv: of.argv(&told), stdin: of.stdin(&told), timeout: of.spec.timeout };
        self.items.runs(&key, set);
        self.launches.push((job, key.clone()));
        self.running.insert(self.jobs, Running { key, work, stat, begun });
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
        for (job, end) in &self.ends {
            let Some(running) = self.running.get(job) else { continue };
            let (outcome, row) = self.record(running, end, now)?;
            recorded.push((*job, outcome, row, *end == End::Well));
        }
        self.table.commit()?;
        self.ends.clear();
        let mut erased = Ok(());
        for (job, outcome, row, is_well) in recorded {
            let Some(running) = self.running.remove(&job) else { continue };
            // A successor knows by the table that it has ended, as long as nothing happens to the file.
            erased = erased.and(running.begun.map_or(Ok(()), |place| self.table.is_over(place)));
            self.settle_end(running, outcome, row, is_well, now);
        }
        erased
    }

    /// Gives the row that is left of it, too.
    fn record(&self, running: &Running, end: &End, now: Moment) -> Told<(Outcome, Option<i64>)> {
        let Running { key, work, stat, .. } = running;
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
        let row = self.table.ended(work, &outcome, now.wall_ms)?;
        let is_over = matches!(outcome, Outcome::Done | Outcome::Dead { .. });
        if let Some(stat) = stat.filter(|_| is_over && work.event != WatchOn::Removed) {
            let (folder, name) = split(&key.1);
            let folder = self.table.folder_id(root.id, folder)?;
            // As it was when the handler began: what was changed since is seen.
            self.table.know(folder, name, &stat, Some(now.wall_ms))?;
        }
        Ok((outcome, row))
    }

    /// What follows from an end that is down.
    fn settle_end(&mut self, running: Running, outcome: Outcome, row: Option<i64>, is_well: bool, now: Moment) {
        let Running { key, work, .. } = running;
        let set = self.roots[key.0].set;
        let was_told = self.items.remove(&key, set);
        if std::mem::take(&mut self.put_off) {
            self.work_due = Some(0);
        }
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
                    "{}: {why}; it was given up after {} attempts (`supervisor watch retry {}`)",
                    shown(),
                    work.attempts,
                    row.unwrap_or_default()
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
            self.look(&key, Hint::default(), now)?;
        }
        Ok(())
    }
}
