//! The thread that looks at the services' processes: reading about many of them may take longer than the loop has time for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use crate::daemon::Event;
use crate::machine::MemorySeen;
use crate::model::{Life, MemorySample, UnitName};
use crate::process::memory::Tree;
use crate::process::{clock, host, identity};

/// One look at a service's tree, and what it has said of itself a moment ago.
pub(super) struct Look {
    pub(super) name: UnitName,
    pub(super) run_id: u64,
    pub(super) pid: i32,
    pub(super) heap: Option<Result<f64, String>>,
    pub(super) requests: Option<Result<f64, String>>,
}

enum Wanted {
    Look(Look),
    /// These are all that there are.
    Only(BTreeSet<UnitName>),
}

/// The handle on the thread, which sleeps until something is wanted and ends with the last handle. Its queue is as long as there are
/// services: each has one look at a time.
#[derive(Clone)]
pub(super) struct Looker {
    wanted: Sender<Wanted>,
}

impl Looker {
    pub(super) fn start(events: mpsc::Sender<Event>) -> std::io::Result<Self> {
        let (wanted, inbox) = channel();
        let eyes = Eyes { trees: BTreeMap::new(), boot_id: clock::boot_id(), events };
        std::thread::Builder::new().name("memory".into()).spawn(move || eyes.serve(&inbox))?;
        Ok(Self { wanted })
    }

    /// Looks, and tells with [`MemorySeen::Sampled`].
    pub(super) fn look(&self, look: Look) {
        self.ask(Wanted::Look(look));
    }

    /// Forgets all but these.
    pub(super) fn follow(&self, names: BTreeSet<UnitName>) {
        self.ask(Wanted::Only(names));
    }

    fn ask(&self, wanted: Wanted) {
        // The thread ends with the daemon only.
        let _ = self.wanted.send(wanted);
    }
}

struct Eyes {
    trees: BTreeMap<UnitName, Known>,
    boot_id: String,
    events: mpsc::Sender<Event>,
}

/// The processes of one run.
struct Known {
    run_id: u64,
    pid: i32,
    /// The main process's start token, as it was when it was first looked at: with another one the pid is used anew.
    start: u64,
    tree: Tree,
}

impl Eyes {
    fn serve(mut self, inbox: &Receiver<Wanted>) {
        while let Ok(first) = inbox.recv() {
            let mut seen = Vec::new();
            // What the machine has left is the same for all who are looked at together.
            let mut free = None;
            for wanted in std::iter::once(first).chain(inbox.try_iter()) {
                match wanted {
                    Wanted::Only(names) => self.trees.retain(|name, _| names.contains(name)),
                    Wanted::Look(look) => {
                        let free = *free.get_or_insert_with(host::free_memory);
                        let (sample, life) = self.look(&look).unzip();
                        let Look { name, run_id, heap, requests, .. } = look;
                        let minute = minute_of_day(clock::now().wall_ms, &TimeZone::system());
                        let sampled = MemorySeen::Sampled { run_id, sample, life, free, heap, requests, minute };
                        seen.push(Event::Memory(name, Box::new(sampled)));
                    }
                }
            }
            // All at once, so that the loop is woken once.
            for event in seen {
                if self.events.blocking_send(event).is_err() {
                    return;
                }
            }
        }
    }

    /// What the run's tree uses; `None` when its main process is gone.
    fn look(&mut self, look: &Look) -> Option<(MemorySample, Life)> {
        let is_known = |known: &&mut Known| (known.run_id, known.pid) == (look.run_id, look.pid);
        if self.trees.get_mut(&look.name).filter(is_known).is_none() {
            let start = identity::start_token(look.pid)?;
            let known = Known { run_id: look.run_id, pid: look.pid, start, tree: Tree::default() };
            self.trees.insert(look.name.clone(), known);
        }
        let known = self.trees.get_mut(&look.name)?;
        let sample = known.tree.look(known.pid, known.start)?;
        Some((sample, Life { boot_id: self.boot_id.clone(), pid: known.pid, start: known.start }))
    }
}

/// The minute of the day in `zone`.
fn minute_of_day(wall_ms: i64, zone: &TimeZone) -> u16 {
    let local = Timestamp::from_millisecond(wall_ms).unwrap_or_default().to_zoned(zone.clone());
    u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minute_is_that_of_the_place() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // 2026-11-22T22:34:47Z is 23:34 there, and an hour and a half later it is the next day.
        assert_eq!(minute_of_day(1_795_386_887_000, &zone), 23 * 60 + 34);
        assert_eq!(minute_of_day(1_795_386_887_000 + 5_400_000, &zone), 64);
        assert_eq!(minute_of_day(1_795_386_887_000, &TimeZone::UTC), 22 * 60 + 34);
    }
}
