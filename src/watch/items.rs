//! Files that are on their way to a handler: those that settle, those that wait, those whose handler runs. Bounded; pure.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::judge::Stat;
use super::table::Work;
use crate::model::{Mono, WatchOn};

/// Most that are kept in mind: the rest is found again by a scan.
const MOST: usize = 10_000;

/// While a file is open for writing it is looked at again after this at the soonest, and at the latest.
const OPEN_LEAST: Duration = Duration::from_secs(1);
const OPEN_MOST: Duration = Duration::from_secs(30);

/// A file: the number of its root in services.toml's order, and its path below it.
pub(super) type Key = (usize, Vec<u8>);

/// Where it is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its size and time have to stay as they are for a while.
    Settling {
        /// As it was seen last.
        seen: Stat,
        /// Since when.
        unchanged: Mono,
        /// When it is looked at again.
        due: Mono,
    },
    /// It waits for its turn.
    Ready {
        /// As it was seen last, and when; `None`: it was not looked at.
        seen: Option<(Stat, Mono)>,
    },
    /// Its handler runs.
    Running,
}

/// A file on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) event: WatchOn,
    pub(super) stage: Stage,
    /// When it was seen first.
    pub(super) since: Mono,
    /// What is down of it.
    pub(super) work: Option<Work>,
    /// Something was told of it since it was ready, or its handler began.
    pub(super) told: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Items {
    all: HashMap<Key, Item>,
    due: BinaryHeap<Reverse<(Mono, Key)>>,
    ready: Vec<VecDeque<Key>>,
    running: Vec<u32>,
    /// How many there are of each set.
    count: Vec<u64>,
}

/// What a look at a settling file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) stat: Stat,
    /// Whether somebody has it open for writing.
    pub(super) is_open: bool,
}

impl Items {
    /// None yet, of so many sets.
    pub(super) fn new(sets: usize) -> Self {
        Self {
            all: HashMap::new(),
            due: BinaryHeap::new(),
            ready: vec![VecDeque::new(); sets],
            running: vec![0; sets],
            count: vec![0; sets],
        }
    }

    /// Whether no more can be taken in.
    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= MOST
    }

    /// Whether so many have left that a scan may bring more.
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < MOST / 2
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Item> {
        self.all.get(key)
    }

    /// How many of a set settle or wait.
    pub(super) fn waiting(&self, set: usize) -> u64 {
        self.count[set].saturating_sub(u64::from(self.running[set]))
    }

    /// Whether its handler runs.
    pub(super) fn is_running(&self, key: &Key) -> bool {
        self.all.get(key).is_some_and(|item| item.stage == Stage::Running)
    }

    /// How many handlers of a set run.
    pub(super) fn running(&self, set: usize) -> u32 {
        self.running[set]
    }

    /// How many handlers run.
    pub(super) fn all_running(&self) -> u32 {
        self.running.iter().sum()
    }

    /// A file has come, or has changed.
    pub(super) fn settle(&mut self, key: Key, set: usize, event: WatchOn, seen: Seen, now: Mono, for_: Duration) {
        let settling = Stage::Settling { seen: seen.stat, unchanged: now, due: now };
        self.insert(key.clone(), set, Item { event, stage: settling, since: now, work: None, told: false });
        self.seen(&key, set, seen, now, for_);
    }

    /// One that settles was looked at.
    pub(super) fn seen(&mut self, key: &Key, set: usize, seen: Seen, now: Mono, for_: Duration) {
        let Some(item) = self.all.get_mut(key) else { return };
        let Stage::Settling { seen: before, unchanged, due } = &mut item.stage else { return };
        if !seen.stat.is_file(before) || !seen.stat.has_content_of(before) {
            (*before, *unchanged) = (seen.stat, now);
        }
        let rests = unchanged.plus(for_);
        let again = match seen.is_open {
            true => Some(now.plus((now.since(item.since) / 2).clamp(OPEN_LEAST, OPEN_MOST).max(for_))),
            false => (rests > now).then_some(rests),
        };
        if let Some(again) = again {
            *due = again;
            self.due.push(Reverse((again, key.clone())));
        } else {
            item.stage = Stage::Ready { seen: Some((seen.stat, now)) };
            self.ready[set].push_back(key.clone());
        }
    }

    /// What is down already waits for its turn.
    pub(super) fn ready(&mut self, key: Key, set: usize, work: Work, now: Mono) {
        self.ready[set].push_back(key.clone());
        let item =
            Item { event: work.event, stage: Stage::Ready { seen: None }, since: now, work: Some(work), told: false };
        self.insert(key, set, item);
    }

    fn insert(&mut self, key: Key, set: usize, item: Item) {
        if self.all.insert(key, item).is_none() {
            self.count[set] += 1;
        }
    }

    /// The next one that is due to be looked at.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<Key> {
        while let Some(Reverse((at, _))) = self.due.peek() {
            if *at > now {
                return None;
            }
            let Reverse((at, key)) = self.due.pop()?;
            // What was looked at in between has another time.
            let is_due =
                self.all.get(&key).is_some_and(|i| matches!(i.stage, Stage::Settling { due, .. } if due == at));
            if is_due {
                return Some(key);
            }
        }
        None
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// The next one of a set whose handler may run.
    pub(super) fn pop_ready(&mut self, set: usize, most: u32) -> Option<Key> {
        if self.running[set] >= most {
            return None;
        }
        while let Some(key) = self.ready[set].pop_front() {
            if self.all.get(&key).is_some_and(|item| matches!(item.stage, Stage::Ready { .. })) {
                return Some(key);
            }
        }
        None
    }

    /// Its handler runs.
    pub(super) fn runs(&mut self, key: &Key, set: usize) {
        if let Some(item) = self.all.get_mut(key) {
            item.stage = Stage::Running;
            // It was looked at just now.
            item.told = false;
            self.running[set] += 1;
        }
    }

    /// Something was told of it; gives whether it is on its way.
    pub(super) fn is_told(&mut self, key: &Key) -> bool {
        self.all.get_mut(key).map(|item| item.told = true).is_some()
    }

    /// It is not on its way any more; gives whether something was told of it meanwhile.
    pub(super) fn remove(&mut self, key: &Key, set: usize) -> bool {
        let Some(item) = self.all.remove(key) else { return false };
        self.count[set] = self.count[set].saturating_sub(1);
        if item.stage == Stage::Running {
            self.running[set] = self.running[set].saturating_sub(1);
        }
        item.told
    }

    /// A file that settles has gone.
    pub(super) fn remove_settling(&mut self, key: &Key, set: usize) {
        if self.all.get(key).is_some_and(|item| matches!(item.stage, Stage::Settling { .. })) {
            self.remove(key, set);
        }
    }

    /// All of these roots but those whose handlers run are forgotten: they are found again. `set` tells a root's set.
    pub(super) fn forget(&mut self, is_meant: impl Fn(usize) -> bool, set: impl Fn(usize) -> usize) {
        let count = &mut self.count;
        self.all.retain(|key, item| {
            let stays = item.stage == Stage::Running || !is_meant(key.0);
            if !stays {
                count[set(key.0)] = count[set(key.0)].saturating_sub(1);
            }
            stays
        });
        let all = &self.all;
        for ready in &mut self.ready {
            ready.retain(|key| all.contains_key(key));
        }
        self.due.retain(|Reverse((_, key))| all.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (0, name.as_bytes().to_vec())
    }

    fn seen(size: u64, is_open: bool) -> Seen {
        Seen { stat: Stat { dev: 1, ino: 1, born: 1, size, modified: 1, changed: 1, links: 1 }, is_open }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    const TWO: Duration = Duration::from_secs(2);

    #[test]
    fn a_file_rests_before_it_is_handled() {
        let mut items = Items::new(1);
        items.settle(key("a"), 0, WatchOn::Created, seen(1, false), at(10), TWO);
        assert_eq!((items.pop_ready(0, 1), items.pop_due(at(11)), items.next_due()), (None, None, Some(at(12))));
        assert_eq!(items.pop_due(at(12)), Some(key("a")));
        // It has grown.
        items.seen(&key("a"), 0, seen(2, false), at(12), TWO);
        assert_eq!(items.pop_due(at(13)), None);
        assert_eq!(items.pop_due(at(14)), Some(key("a")));
        items.seen(&key("a"), 0, seen(2, false), at(14), TWO);
        assert_eq!(items.pop_ready(0, 1), Some(key("a")));
        assert_eq!(items.next_due(), None);
    }

    #[test]
    fn who_writes_is_waited_for_ever_longer_and_his_end_is_taken_at_once() {
        let mut items = Items::new(1);
        items.settle(key("a"), 0, WatchOn::Created, seen(1, true), at(0), Duration::ZERO);
        let (mut now, mut looks) = (at(0), 0);
        while now < at(600) {
            now = items.next_due().unwrap();
            assert_eq!(items.pop_due(now), Some(key("a")));
            items.seen(&key("a"), 0, seen(1, true), now, Duration::ZERO);
            looks += 1;
        }
        assert!((20..40).contains(&looks), "{looks}");
        items.seen(&key("a"), 0, seen(1, false), now, Duration::ZERO);
        assert_eq!(items.pop_ready(0, 1), Some(key("a")));
        // The look that was to be is none any more.
        assert_eq!(items.pop_due(at(10_000)), None);
    }

    #[test]
    fn so_many_run_at_a_time_in_the_order_of_their_coming() {
        let mut items = Items::new(2);
        for name in ["a", "b", "c"] {
            items.settle(key(name), 0, WatchOn::Created, seen(1, false), at(0), Duration::ZERO);
        }
        for name in ["a", "b"] {
            assert_eq!(items.pop_ready(0, 2), Some(key(name)));
            items.runs(&key(name), 0);
        }
        assert_eq!((items.pop_ready(0, 2), items.running(0), items.waiting(0)), (None, 2, 1));
        items.forget(|_| true, |_| 0);
        assert_eq!((items.waiting(0), items.all_running()), (0, 2), "what runs is not forgotten");
        items.remove(&key("a"), 0);
        assert_eq!(items.running(0), 1);
        assert_eq!(items.pop_ready(1, 1), None);
    }
}
