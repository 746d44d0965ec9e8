//! What a new runner concludes from what was left behind: the adoption record, the journals' lines, and the living processes
//! that carry a service's mark. The runner looks and watches; which process is whose, and what became of the last run, is
//! decided here.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::types::{Fate, Found, Input, ProcessRef, RecordedEnd, Run, Saved, SavedPhase};
use crate::model::{EventType, Exit, ExitClass, Moment, Record, Signal, UnitName};

/// What the journals say of all services, fed line by line: all journals, as a service may have had another runner before.
#[derive(Debug, Default)]
pub struct Past {
    /// Who reads them, and has a journal itself.
    runner: String,
    services: HashMap<UnitName, Recorded>,
    /// seq of the oldest line that each journal still has.
    oldest: HashMap<String, u64>,
}

/// The last run of a service whose start the journals have, and the last whose end.
#[derive(Debug, Clone, Copy, Default)]
struct Recorded {
    start: u64,
    end: Option<(u64, RecordedEnd)>,
    /// Their seqs, where they are in the journal of the runner that reads; otherwise 0.
    seqs: (u64, u64),
}

impl Recorded {
    /// The last run that the journals speak of; 0 for none.
    fn last(&self) -> u64 {
        self.start.max(self.end.map_or(0, |(run, _)| run))
    }

    /// A record that is older than the journals (the power went before the disk had the newer one, or the disk was full)
    /// knows nothing of the last run: that one was about to be started when this one was true, and its number is taken.
    fn catch_up(&self, left: Option<Left>) -> Option<Left> {
        match left {
            Some(mut left) if left.saved.run_id < self.last() => {
                if left.saved.run_id + 1 == self.last() && matches!(left.saved.phase, SavedPhase::Spawning { .. }) {
                    return Some(left);
                }
                left.saved.run_id = self.last() - 1;
                left.saved.phase = SavedPhase::Spawning { automatic: true };
                Some(left)
            }
            left => left,
        }
    }

    /// Whether the start of the last run that the record knows to have been is in the journals, or was.
    fn has_start(&self, left: &Left, past: &Past) -> bool {
        self.start >= left.saved.run_id || past.has_dropped(&left.runner, left.start_seq)
    }

    /// A record of another boot that is newer than the journals speaks of runs whose lines went with the power: how those ended
    /// nothing says any more. (A death of processes alone takes no line away.)
    fn missed(&self, left: &Left, past: &Past, boot_id: &str) -> RangeInclusive<u64> {
        let saved = &left.saved;
        let closed = if saved.run().is_some() { saved.run_id.saturating_sub(1) } else { saved.run_id };
        let last_end = self.end.map_or(0, |(run, _)| run);
        if saved.boot_id == boot_id || closed <= last_end || past.has_dropped(&left.runner, left.end_seq) {
            return RangeInclusive::new(1, 0);
        }
        // Without any line of the service here the earlier ones were taken in and dropped.
        let known = self.start > 0 || last_end > 0;
        let from = if known { self.start.max(last_end + 1) } else { closed };
        from..=closed
    }
}

impl Past {
    /// As `runner` is to find it.
    pub fn of(runner: &str) -> Self {
        Self { runner: runner.to_owned(), ..Self::default() }
    }

    /// Takes in one line of `runner`'s journal.
    pub fn take(&mut self, runner: &str, record: &Record) {
        match self.oldest.get_mut(runner) {
            Some(seq) => *seq = record.seq.min(*seq),
            None => {
                self.oldest.insert(runner.to_owned(), record.seq);
            }
        }
        let run = record.data.get("run_id").and_then(Value::as_u64);
        let (Some(service), Some(run)) = (&record.service, run) else { return };
        let recorded = self.services.entry(service.clone()).or_default();
        let seq = if runner == self.runner { record.seq } else { 0 };
        if record.event == EventType::ServiceStart && recorded.start <= run {
            (recorded.start, recorded.seqs.0) = (run, seq);
        } else if record.event.is_run_end() && recorded.end.is_none_or(|(last, _)| last <= run) {
            recorded.end = recorded_end(record).map(|end| (run, end));
            recorded.seqs.1 = seq;
        }
    }

    /// Whether line `seq` of a runner's journal is so old that it was taken into the ledger and dropped.
    fn has_dropped(&self, runner: &str, seq: u64) -> bool {
        self.oldest.get(runner).is_some_and(|oldest| seq < *oldest)
    }
}

/// What the record of an end says of it.
fn recorded_end(record: &Record) -> Option<RecordedEnd> {
    let text = |key: &str| record.data.get(key).and_then(Value::as_str);
    let number = |key: &str| record.data.get(key).and_then(Value::as_i64);
    let class = text("class").and_then(|class| ExitClass::ALL.into_iter().find(|c| c.as_str() == class))?;
    let exit = match (text("signal").and_then(Signal::parse), number("exit_code")) {
        (Some(signal), _) => Exit::Signal { signal, core: record.data.contains_key("core_dumped") },
        (None, Some(code)) => Exit::Code(i32::try_from(code).unwrap_or(-1)),
        (None, None) => Exit::Unknown,
    };
    let uptime = Duration::from_millis(number("uptime_ms").and_then(|ms| ms.try_into().ok()).unwrap_or(0));
    Some(RecordedEnd { class, exit, uptime, at_ms: record.wall_ms })
}

/// A living process that carries a service's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// The run that it was started in.
    pub run_id: u64,
    /// Itself.
    pub process: ProcessRef,
    /// Its parent's pid.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// How long after its run it was started.
    pub late: Duration,
}

/// A run's first process is there within this time of being asked for. What was started later is a child of it; an earlier child
/// that leads its own group cannot be told from it. Where a machine stalls for longer, a run that nobody wrote down is ended
/// and started anew instead of being adopted.
pub const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The latest run after `after` of which something in `marked` lives, and its leader: it was started with the run, leads its own
/// group and descends from no other process of that run.
fn latest(marked: &[Marked], after: u64) -> Option<&Marked> {
    let run_id = marked.iter().map(|m| m.run_id).filter(|run| *run > after).max()?;
    let members = || marked.iter().filter(|m| m.run_id == run_id);
    let leads = |m: &&Marked| {
        m.late <= FIRST_WITHIN && m.pgid == m.process.pid && !members().any(|other| other.process.pid == m.ppid)
    };
    members().filter(leads).min_by_key(|m| m.process.start)
}

/// The runs of which something in `marked` lives, other than `current`; each with the oldest of its processes.
pub fn leftovers(marked: &[Marked], current: Option<u64>) -> BTreeMap<u64, ProcessRef> {
    let mut oldest: BTreeMap<u64, ProcessRef> = BTreeMap::new();
    for found in marked.iter().filter(|m| Some(m.run_id) != current) {
        let known = oldest.entry(found.run_id).or_insert(found.process);
        if found.process.start < known.start {
            *known = found.process;
        }
    }
    oldest
}

/// One service as a new runner finds it, from taking its lock to the machine's first input.
#[derive(Debug)]
pub struct Takeover {
    saved: Option<Saved>,
    same_boot: bool,
    recorded: Recorded,
    /// Whether the start of the last run in the record is in the journals, or was; one that is only about to be has none.
    told: bool,
    /// Runs whose ends went with the power.
    missed: RangeInclusive<u64>,
    seqs: (u64, u64),
}

/// The predecessor's adoption record.
#[derive(Debug, Clone)]
pub struct Left {
    /// What its machine wrote down.
    pub saved: Saved,
    /// Whose journal `start_seq` is about.
    pub runner: String,
    /// The least seq that the start of its run can have there.
    pub start_seq: u64,
    /// The same for the end of its last run; 0 when it is there for sure.
    pub end_seq: u64,
}

impl Takeover {
    /// Of the service `name`, in this boot of the machine.
    pub fn new(name: &UnitName, left: Option<Left>, past: &Past, boot_id: &str) -> Self {
        let recorded = past.services.get(name).copied().unwrap_or_default();
        let older = left.as_ref().is_some_and(|left| left.saved.run_id < recorded.last());
        let left = recorded.catch_up(left);
        let told = left.as_ref().is_some_and(|left| recorded.has_start(left, past));
        let missed =
            left.as_ref().filter(|_| !older).map_or(RangeInclusive::new(1, 0), |l| recorded.missed(l, past, boot_id));
        let mut seqs = recorded.seqs;
        if let Some(left) = left.as_ref().filter(|left| left.runner == past.runner) {
            seqs = (left.start_seq.max(seqs.0), left.end_seq.max(seqs.1));
        }
        let saved = left.map(|left| left.saved);
        let same_boot = saved.as_ref().is_some_and(|saved| saved.boot_id == boot_id);
        Self { saved, same_boot, recorded, told, missed, seqs }
    }

    /// What the next adoption record is to say as [`Left::start_seq`] and [`Left::end_seq`]. What the machine concludes from a
    /// line may reach the disk, and the line itself go with the power: it need not be synced yet.
    pub fn seqs(&self) -> (u64, u64) {
        self.seqs
    }

    /// The runs that may live, to be watched in this order until one can be: the one in the record, and a later one that its
    /// runner had no time to write down. One whose end is on record has ended, whatever somebody sees: it would end twice. `began` tells when a process with this start token was started.
    pub fn candidates(&self, marked: &[Marked], began: impl Fn(u64) -> Moment) -> Vec<Found> {
        let known = self.saved.as_ref().and_then(Saved::run).filter(|_| self.same_boot);
        let known = known.map(|run| Found { run: *run, start_recorded: self.told });
        let saved = self.saved.as_ref();
        let later = latest(marked, saved.map_or(0, |saved| saved.run_id)).map(|marked| Found {
            run: Run {
                id: marked.run_id,
                process: marked.process,
                started: began(marked.process.start),
                attempt: saved.map_or(0, |saved| saved.backoff.attempts),
                adopted: true,
            },
            start_recorded: self.recorded.start >= marked.run_id,
        });
        let open = |found: &Found| self.recorded.end.is_none_or(|(run, _)| run < found.run.id);
        known.into_iter().chain(later).filter(open).collect()
    }

    /// What the machine is told, `alive` being the candidate that lives: runs whose ends nobody wrote down, and how it begins.
    pub fn inputs(mut self, alive: Option<Found>, marked: &[Marked]) -> Vec<Input> {
        let mut missed: Vec<u64> = self.missed.clone().collect();
        let told = self.saved.as_ref().filter(|_| self.told).map_or(0, |saved| saved.run_id);
        let safe = self.saved.as_ref().map_or(0, |saved| saved.safe_starts);
        let told = told.max(self.recorded.start).max(safe);
        if alive.is_none() {
            missed.extend(self.trust_marks(marked));
        }
        let input = |run_id| Input::Missed { run_id, start_recorded: run_id <= told };
        let mut inputs: Vec<Input> = missed.into_iter().map(input).collect();
        let fate = self.fate(alive.map(|found| found.run.id));
        inputs.push(Input::Begin { saved: self.saved.map(Box::new), fate, alive, same_boot: self.same_boot });
        inputs
    }

    /// A run of which only children live, and that is later than any that was written down (the disk was full), takes the
    /// place of the record's: its number is taken, and whoever sweeps up after it must not meet a new run of that number. The
    /// runs before it that have no end are returned.
    fn trust_marks(&mut self, marked: &[Marked]) -> RangeInclusive<u64> {
        let nothing = RangeInclusive::new(1, 0);
        let Some(newest) = marked.iter().map(|m| m.run_id).max() else { return nothing };
        let Some(saved) = self.saved.as_mut().filter(|saved| newest > saved.last_number()) else { return nothing };
        let open = saved.run().is_some() || matches!(saved.phase, SavedPhase::Spawning { .. });
        let first = if open { saved.last_number() } else { saved.run_id + 1 };
        saved.run_id = newest - 1;
        saved.phase = SavedPhase::Spawning { automatic: true };
        self.told = false;
        first.max(self.recorded.end.map_or(0, |(run, _)| run + 1))..=newest - 1
    }

    /// What became of the run in the record, or of the one that was about to be started.
    fn fate(&self, alive: Option<u64>) -> Fate {
        let Some(saved) = &self.saved else { return Fate::Fine };
        let (run, told) = match saved.phase {
            SavedPhase::Spawning { .. } => (saved.run_id + 1, false),
            _ => match saved.run() {
                Some(run) if alive == Some(run.id) => return Fate::Fine,
                Some(run) => (run.id, self.told),
                None => return Fate::Fine,
            },
        };
        match self.recorded.end.filter(|(id, _)| *id >= run) {
            Some((_, end)) => Fate::Recorded(end),
            None => Fate::Gone { start_recorded: told || self.recorded.start >= run },
        }
    }
}
