//! What outlives processes: adoption records, intents, journals. Each knows what a loss of power leaves of it.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};
use supervisor::journal;
use supervisor::machine::SavedPhase;
use supervisor::machine::past::Left;
use supervisor::model::{EventType, Intent, Moment, Record, UnitName};

use crate::clock::SECOND;
use crate::rng::Rng;

/// A file that was renamed into place without fsync is on the platter by then.
const WRITEBACK: u64 = 30 * SECOND;

/// Lines in a segment of the journal in memory.
const SEGMENT: usize = 64;

/// A small file that is replaced as a whole.
#[derive(Debug, Default)]
pub struct Replaced<T> {
    /// The content, and what the platter may still have in its place: (since, content), oldest first.
    versions: VecDeque<(u64, T)>,
}

impl<T: Clone> Replaced<T> {
    pub fn read(&self) -> Option<&T> {
        self.versions.back().map(|(_, content)| content)
    }

    pub fn write(&mut self, now: u64, content: T, fsync: bool) {
        while self.versions.get(1).is_some_and(|(since, _)| since + WRITEBACK <= now)
            || (fsync && self.read().is_some())
        {
            self.versions.pop_front();
        }
        self.versions.push_back((now, content));
    }

    fn power_loss(&mut self, now: u64, rng: &mut Rng) {
        while self.versions.get(1).is_some_and(|(since, _)| since + WRITEBACK <= now) {
            self.versions.pop_front();
        }
        let kept = usize::try_from(rng.below(self.versions.len() as u64)).unwrap_or(0);
        self.versions.truncate(kept + 1);
        // What is there after a loss of power is on the platter.
        self.versions = self.versions.pop_back().into_iter().collect();
    }
}

/// A journal's lines on disk.
#[derive(Debug, Default)]
pub struct Lines {
    pub lines: VecDeque<Record>,
    /// Number of the first of `lines`.
    pub first: usize,
    /// Lines before this number survive a loss of power.
    pub synced: usize,
}

impl Lines {
    pub fn end(&self) -> usize {
        self.first + self.lines.len()
    }

    /// Drops whole segments whose lines are all before `taken`; the one being written stays.
    pub fn drop_acked(&mut self, taken: usize) {
        while self.lines.len() > 2 * SEGMENT && self.first + SEGMENT <= taken {
            self.lines.drain(..SEGMENT);
            self.first += SEGMENT;
        }
    }
}

/// The files of one supervisor.
#[derive(Debug)]
pub struct Disk {
    /// Writes fail.
    pub full: bool,
    /// They did at some time.
    pub was_full: bool,
    pub adopt: Vec<Replaced<Left>>,
    pub intent: Vec<Replaced<Intent>>,
    /// By runner id; with real files they hold only what is synced of the current segment, in bytes.
    pub journals: BTreeMap<String, Lines>,
    pub real: Option<Real>,
}

/// The folder of the real journals and of the real database.
#[derive(Debug)]
pub struct Real {
    pub dir: tempfile::TempDir,
    /// Bytes of each current journal file that are synced.
    synced: BTreeMap<String, u64>,
}

impl Real {
    pub fn journals(&self) -> std::path::PathBuf {
        self.dir.path().join("runners")
    }

    pub fn database(&self) -> std::path::PathBuf {
        self.dir.path().join("observability.sqlite")
    }

    fn current(&self, id: &str) -> std::path::PathBuf {
        self.journals().join(format!("{id}.journal"))
    }

    /// The tail of the current file that was not synced is gone, or half of a line of it is there.
    fn power_loss(&mut self, rng: &mut Rng) -> std::io::Result<()> {
        for (id, synced) in std::mem::take(&mut self.synced) {
            let path = self.current(&id);
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let length = bytes.len() as u64;
            let kept = synced.min(length) + rng.below(length.saturating_sub(synced) + 1);
            std::fs::OpenOptions::new().write(true).open(&path)?.set_len(kept)?;
        }
        Ok(())
    }
}

impl Disk {
    pub fn new(services: usize, real: Option<tempfile::TempDir>) -> Self {
        let real = real.map(|dir| Real { dir, synced: BTreeMap::new() });
        let adopt = (0..services).map(|_| Replaced { versions: VecDeque::new() }).collect();
        let intent = (0..services).map(|_| Replaced { versions: VecDeque::new() }).collect();
        Self { full: false, was_full: false, adopt, intent, journals: BTreeMap::new(), real }
    }

    pub fn wanted(&self, service: usize) -> Intent {
        self.intent[service].read().cloned().unwrap_or_default()
    }

    /// All that stands in a real journal is safe now.
    pub fn synced(&mut self, id: &str) {
        if let Some(real) = &mut self.real {
            let length = std::fs::metadata(real.current(id)).map_or(0, |meta| meta.len());
            real.synced.insert(id.to_owned(), length);
        }
    }

    /// The last run of a service that anything on the disk speaks of.
    pub fn last_known_run(&self, service: usize, name: &UnitName) -> u64 {
        let saved = self.adopt[service]
            .read()
            .map_or(0, |left| left.saved.run_id + u64::from(matches!(left.saved.phase, SavedPhase::Spawning { .. })));
        let lines = self.journaled();
        let ours = lines.iter().filter(|(_, record)| record.service.as_ref() == Some(name));
        let runs = ours.filter(|(_, r)| r.event == EventType::ServiceStart || r.event.is_run_end());
        runs.filter_map(|(_, r)| r.data.get("run_id").and_then(Value::as_u64)).fold(saved, u64::max)
    }

    /// All journaled lines, as a new runner reads them.
    pub fn journaled(&self) -> Vec<(String, Record)> {
        let mut all = Vec::new();
        if let Some(real) = &self.real {
            for id in journal::ids(&real.journals()).expect("the journals' folder") {
                let mut reader = journal::Reader::open(&real.journals(), &id).expect("a journal");
                loop {
                    let records = reader.read_new(100).expect("lines");
                    if records.is_empty() {
                        break;
                    }
                    all.extend(records.into_iter().map(|record| (id.clone(), record)));
                }
            }
        }
        for (id, lines) in &self.journals {
            all.extend(lines.lines.iter().map(|record| (id.clone(), record.clone())));
        }
        all
    }

    pub fn power_loss(&mut self, now: u64, rng: &mut Rng) {
        for file in &mut self.adopt {
            file.power_loss(now, rng);
        }
        for lines in self.journals.values_mut() {
            let unsynced = lines.end().saturating_sub(lines.synced.max(lines.first));
            let lost = usize::try_from(rng.below(unsynced as u64 + 1)).unwrap_or(0);
            lines.lines.truncate(lines.lines.len() - lost);
            lines.synced = lines.end();
        }
        if let Some(real) = &mut self.real {
            real.power_loss(rng).expect("cutting a journal");
        }
    }
}

/// The writing side of a journal, in a runner's memory.
#[derive(Debug)]
pub enum Writer {
    /// Follows the rule of `journal::Writer`: lines that cannot be written wait in memory.
    Memory {
        id: String,
        boot_id: String,
        next_seq: u64,
        pending: Vec<Record>,
    },
    Real {
        id: String,
        writer: Box<journal::Writer>,
    },
}

impl Writer {
    pub fn open(disk: &mut Disk, id: &str, boot_id: &str, at: Moment) -> Self {
        if let Some(real) = &disk.real {
            // Small, and still more than what is journaled while the disk may keep an old adoption record.
            let limits = journal::Limits { segment: 32 << 10, ..journal::Limits::default() };
            let writer = journal::Writer::open_with(&real.journals(), id, boot_id, at.boot_ns, limits);
            return Self::Real { id: id.into(), writer: Box::new(writer.expect("a journal")) };
        }
        let lines = disk.journals.entry(id.into()).or_default();
        let last = lines.lines.back().map_or(0, |record| record.seq + 1);
        let next_seq = last.max(at.boot_ns / 1000);
        Self::Memory { id: id.into(), boot_id: boot_id.into(), next_seq, pending: Vec::new() }
    }

    pub fn next_seq(&self) -> u64 {
        match self {
            Self::Memory { next_seq, .. } => *next_seq,
            Self::Real { writer, .. } => writer.next_seq(),
        }
    }

    /// Lines that wait in memory, and are lost with the runner.
    pub fn pending(&self) -> &[Record] {
        match self {
            Self::Memory { pending, .. } => pending,
            Self::Real { .. } => &[],
        }
    }

    pub fn append(
        &mut self,
        disk: &mut Disk,
        at: Moment,
        event: EventType,
        service: Option<&UnitName>,
        data: Map<String, Value>,
    ) {
        match self {
            Self::Memory { boot_id, next_seq, pending, .. } => {
                pending.push(Record {
                    v: Record::VERSION,
                    boot_id: boot_id.clone(),
                    seq: *next_seq,
                    wall_ms: at.wall_ms,
                    boot_ns: at.boot_ns,
                    mono: Some(at.mono),
                    event,
                    service: service.cloned(),
                    data,
                });
                *next_seq += 1;
                self.retry(disk);
            }
            Self::Real { id, writer } => {
                let length = |real: &Real| std::fs::metadata(real.current(id)).map_or(0, |meta| meta.len());
                let before = disk.real.as_ref().map_or(0, length);
                writer.append(at, event, service, data);
                assert_eq!(writer.pending(), 0, "{:?}", writer.trouble());
                if let Some(real) = &mut disk.real {
                    // What is synced of a segment that was set aside says nothing about the new one.
                    let most = if length(real) < before { 0 } else { before };
                    let synced = real.synced.entry(id.clone()).or_insert(before);
                    *synced = (*synced).min(most);
                }
            }
        }
    }

    fn retry(&mut self, disk: &mut Disk) {
        if let Self::Memory { id, pending, .. } = self
            && !disk.full
        {
            disk.journals.entry(id.clone()).or_default().lines.extend(pending.drain(..));
        }
    }

    /// `sync_journal`: what waits is written, and what was written is safe.
    pub fn sync(&mut self, disk: &mut Disk) {
        self.retry(disk);
        match self {
            Self::Memory { id, .. } => {
                let lines = disk.journals.entry(id.clone()).or_default();
                lines.synced = lines.end();
            }
            Self::Real { id, writer } => {
                writer.retry();
                writer.sync().expect("fdatasync");
                disk.synced(id);
            }
        }
    }
}
