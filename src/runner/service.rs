//! One service in the runner's hands: its machine, its descriptors, and what is on disk about it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::changes::Look;
use super::last_words;
use super::launch::ProgramFile;
use super::notified::{Beat, Beats};
use super::poll::{Poll, Token};
use crate::logs::{Block, Position, Sink, fifo};
use crate::machine::{ProcessRef, Saved, ServiceMachine};
use crate::model::paths::{Paths, Stream};
use crate::model::{Intent, Moment, Mono, RunView, ServiceSpec, UnitName};
use crate::process::handover::{Parcel, Received};
use crate::process::lock::Lock;
use crate::process::record::{self, RecordFile};
use crate::process::watch::Watch;
use crate::process::{files, intent, socket};

/// Most bytes moved for one stream in one turn of the loop, so that a flood starves nobody.
const PUMP_BUDGET: usize = 1 << 20;

pub(super) struct Service {
    pub(super) machine: ServiceMachine,
    /// Held while the service is ours.
    pub(super) lock: Option<Lock>,
    streams: Option<[Output; 2]>,
    adoption: RecordFile,
    /// On a process that is not our child.
    pub(super) watch: Option<Watch>,
    /// Its end was seen, and until then its status is waited for.
    pub(super) await_status: Option<Mono>,
    /// On the process that holds a port of ours.
    pub(super) port_owner: Option<Watch>,
    pub(super) notify: Option<(UnixDatagram, PathBuf)>,
    /// Descendants seen when a stop began: they are swept even if they have left group and environment.
    pub(super) descendants: Vec<ProcessRef>,
    /// What the files that it may be held for looked like when the current run was started.
    pub(super) look: Look,
    /// What the last run was started from.
    pub(super) program: Option<ProgramFile>,
    pub(super) beats: Beats,
    /// Whether the last start found something missing before it asked for a process.
    pub(super) unprepared: bool,
    /// A word for the system's kill for lack of memory that ended the run which is ending.
    pub(super) killed_by: Option<&'static str>,
    /// The epoch that is on disk.
    pub(super) saved_epoch: u64,
    /// The least seq that the start of the current run can have in the journal; 0 when it is there for sure.
    pub(super) start_seq: u64,
    /// The same for the end of the last run.
    pub(super) end_seq: u64,
    /// The epoch that the timer was armed for.
    pub(super) armed_epoch: u64,
    /// Whether it is to be forgotten once it is idle.
    pub(super) retiring: bool,
    /// Whether the spec on disk is the one in force.
    pub(super) spec_saved: bool,
    /// What is wanted could not be stored, and is tried again.
    pub(super) intent_unsaved: bool,
}

/// What the program that this one becomes is told of a service; its descriptors go beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServiceNote {
    machine: ServiceMachine,
    began: [Position; 2],
    start_seq: u64,
    end_seq: u64,
    spec_saved: bool,
    retiring: bool,
    unprepared: bool,
    look: Look,
    descendants: Vec<ProcessRef>,
    /// Whether its process is not our child.
    pub(super) watched: bool,
    notify: Option<PathBuf>,
    #[serde(default)]
    program: Option<ProgramFile>,
    #[serde(default)]
    beat: Option<Beat>,
    port_owner: Option<ProcessRef>,
}

struct Output {
    fifo: OwnedFd,
    inode: u64,
    sink: Sink,
    /// Where the current run's output begins.
    began: Position,
}

/// The adoption record: what a successor has to know of the service and of its pipes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Adoption {
    pub(super) saved: Saved,
    /// Inodes of the stdout and stderr FIFOs that the run writes to.
    fifos: [u64; 2],
    /// Where the run's output begins in the two logs.
    began: [Position; 2],
    /// Whose journal `start_seq` and `end_seq` are about.
    #[serde(default)]
    pub(super) runner: String,
    /// As in [`Service`]: what is older than the journal's oldest line was taken in and dropped.
    #[serde(default)]
    pub(super) start_seq: u64,
    /// The same for the end of the last run.
    #[serde(default)]
    pub(super) end_seq: u64,
    #[serde(default)]
    program: Option<ProgramFile>,
}

impl Service {
    /// What is wanted of it is read once its lock is ours.
    pub(super) fn new(spec: ServiceSpec, paths: &Paths) -> Self {
        Self {
            adoption: RecordFile::new(&paths.adopt(&spec.name)),
            machine: ServiceMachine::new(spec, Intent::default()),
            lock: None,
            streams: None,
            watch: None,
            await_status: None,
            port_owner: None,
            notify: None,
            descendants: Vec::new(),
            look: Look::new(),
            program: None,
            beats: Beats::default(),
            unprepared: false,
            killed_by: None,
            saved_epoch: 0,
            start_seq: 0,
            end_seq: 0,
            armed_epoch: 0,
            retiring: false,
            spec_saved: false,
            intent_unsaved: false,
        }
    }

    pub(super) fn name(&self) -> &UnitName {
        &self.machine.spec().name
    }

    /// For the program that this one becomes.
    pub(super) fn note<'a>(&'a self, parcel: &mut Parcel<'a>) -> serde_json::Value {
        let key = |what: &str| format!("{}/{what}", self.name());
        if let Some(lock) = &self.lock {
            parcel.add(key("lock"), lock);
        }
        if let Some([stdout, stderr]) = &self.streams {
            parcel.add(key("stdout"), &stdout.fifo);
            parcel.add(key("stderr"), &stderr.fifo);
        }
        if let Some((socket, _)) = &self.notify {
            parcel.add(key("notify"), socket);
        }
        if let Some(watch) = &self.watch {
            parcel.add(key("watch"), watch);
        }
        let owner = self.port_owner.as_ref().and_then(|watch| {
            Some(ProcessRef { pid: watch.pid(), start: crate::process::identity::start_token(watch.pid())? })
        });
        let note = ServiceNote {
            machine: self.machine.clone(),
            began: self.began(),
            start_seq: self.start_seq,
            end_seq: self.end_seq,
            spec_saved: self.spec_saved,
            retiring: self.retiring,
            unprepared: self.unprepared,
            look: self.look.clone(),
            descendants: self.descendants.clone(),
            watched: self.watch.is_some(),
            notify: self.notify.as_ref().map(|(_, path)| path.clone()),
            program: self.program.clone(),
            beat: self.beats.last,
            port_owner: owner,
        };
        // Plain data with text as keys always becomes a value; if it did not, the successor would use the adoption record.
        serde_json::to_value(note).unwrap_or_default()
    }

    /// As the program that this one was before had it; and what could not be had again, in words.
    pub(super) fn resumed(
        note: ServiceNote,
        received: &mut Received,
        paths: &Paths,
        poll: &Poll,
        index: usize,
    ) -> (Self, Vec<String>) {
        let mut service = Self::new(note.machine.spec().clone(), paths);
        service.machine = note.machine;
        let mut fd = |what: &str| received.fd(&format!("{}/{what}", service.machine.spec().name));
        let mut troubles = Vec::new();
        service.lock = fd("lock").map(Lock::from);
        let fifos = fd("stdout").zip(fd("stderr"));
        let notify = fd("notify").map(UnixDatagram::from).zip(note.notify);
        let watch = fd("watch");
        if let Err(e) = service.open_from(paths, poll, index, fifos.map(<[OwnedFd; 2]>::from), notify) {
            troubles.push(format!("its pipes cannot be made: {e}"));
        }
        service.resume_logs(note.began);
        if let Some(run) = service.machine.run().filter(|_| note.watched) {
            let watch = Watch::handed_over(run.process.pid, run.process.start, watch);
            service.watch = watch.map_err(|e| troubles.push(format!("its process cannot be watched: {e}"))).ok();
        }
        // One that is gone: the next look at the port says so.
        service.port_owner = note.port_owner.and_then(|owner| Watch::open(owner.pid, owner.start).ok());
        service.saved_epoch = service.machine.epoch();
        service.start_seq = note.start_seq;
        service.end_seq = note.end_seq;
        service.spec_saved = note.spec_saved;
        service.retiring = note.retiring;
        service.unprepared = note.unprepared;
        service.look = note.look;
        service.program = note.program;
        service.beats = Beats::resumed(note.beat);
        service.descendants = note.descendants;
        (service, troubles)
    }

    /// Opens FIFOs, logs and the notify socket, and puts them under `poll`.
    pub(super) fn open(&mut self, paths: &Paths, poll: &Poll, index: usize) -> io::Result<()> {
        self.open_from(paths, poll, index, None, None)
    }

    /// The same with descriptors that are there already.
    fn open_from(
        &mut self,
        paths: &Paths,
        poll: &Poll,
        index: usize,
        fifos: Option<[OwnedFd; 2]>,
        notify: Option<(UnixDatagram, PathBuf)>,
    ) -> io::Result<()> {
        let spec = self.machine.spec();
        let open = |stream: Stream, fifo: Option<OwnedFd>| -> io::Result<Output> {
            let path = paths.fifo(&spec.name, stream);
            let fifo = match fifo {
                Some(fifo) => fifo,
                None => {
                    fifo::ensure(&path)?;
                    fifo::open_reader(&path)?
                }
            };
            let sink = Sink::open(&paths.log(&spec.name, stream), &paths.log_index(&spec.name, stream), spec.log);
            let inode = nix::sys::stat::fstat(&fifo).map_or(0, |stat| stat.st_ino);
            Ok(Output { fifo, inode, sink, began: Position::default() })
        };
        if self.streams.is_none() {
            let [stdout, stderr] = fifos.map_or([None, None], |fifos| fifos.map(Some));
            let outputs = [open(Stream::Stdout, stdout)?, open(Stream::Stderr, stderr)?];
            poll.add(&outputs[0].fifo, Token::Stdout(index), false)?;
            poll.add(&outputs[1].fifo, Token::Stderr(index), false)?;
            self.streams = Some(outputs);
        }
        if spec.notify && self.notify.is_none() {
            let (socket, bound) = match notify {
                Some(handed) => handed,
                None => socket::bind_datagram(&paths.notify_socket(&spec.name))?,
            };
            // It is read until it is empty, and the loop must not wait there.
            socket.set_nonblocking(true)?;
            poll.add(&socket, Token::Notify(index), false)?;
            self.notify = Some((socket, bound));
        }
        Ok(())
    }

    /// Takes everything out of `poll` that `open` and the watches put there.
    pub(super) fn close(&mut self, poll: &Poll) {
        if let Some(outputs) = self.streams.take() {
            for output in &outputs {
                poll.remove(&output.fifo);
            }
        }
        for watch in [self.watch.take(), self.port_owner.take()].into_iter().flatten() {
            poll.remove(&watch);
        }
        if let Some((socket, _)) = self.notify.take() {
            poll.remove(&socket);
        }
    }

    /// Moves what one stream has to its log.
    pub(super) fn pump(&mut self, stream: Stream, block: &mut Block, now: Moment) {
        if let Some(outputs) = &mut self.streams {
            let output = &mut outputs[stream as usize];
            output.sink.pump(block, output.fifo.as_fd(), PUMP_BUDGET, now);
        }
    }

    /// Moves all that the ended run has written: its FIFOs never show an end of file, since we hold them open ourselves.
    pub(super) fn drain(&mut self, block: &mut Block, now: Moment) {
        if let Some(outputs) = &mut self.streams {
            // One question for both: most services end without a last word, and the next start waits for this.
            let mut ends =
                [&outputs[0].fifo, &outputs[1].fifo].map(|fifo| PollFd::new(fifo.as_fd(), PollFlags::POLLIN));
            if poll(&mut ends, PollTimeout::ZERO) == Ok(0) {
                return;
            }
            for output in outputs {
                output.sink.drain(block, output.fifo.as_fd(), now);
            }
        }
    }

    /// Marks the logs: the tail of the run that begins now shows nothing from before.
    pub(super) fn mark(&mut self) {
        if let Some(outputs) = &mut self.streams {
            for output in outputs {
                output.began = output.sink.mark();
            }
        }
    }

    /// The last `most` bytes of the current run's stderr, or of its stdout where stderr is silent.
    pub(super) fn tail(&self, most: usize) -> String {
        let Some([stdout, stderr]) = &self.streams else { return String::new() };
        let mut tail = stderr.sink.tail(most);
        if tail.is_empty() {
            tail = stdout.sink.tail(most);
        }
        String::from_utf8_lossy(&tail).into_owned()
    }

    /// What it said last on stderr, for a sentence.
    pub(super) fn last_words(&self) -> String {
        last_words::of(&self.tail(1024))
    }

    pub(super) fn set_log_spec(&mut self) {
        let spec = self.machine.spec().log;
        for output in self.streams.iter_mut().flatten() {
            output.sink.set_spec(spec);
        }
    }

    /// Bytes that could not be logged, and why not.
    pub(super) fn dropped(&self) -> u64 {
        self.streams.iter().flatten().map(|output| output.sink.dropped()).sum()
    }

    pub(super) fn log_trouble(&self) -> Option<String> {
        self.streams.iter().flatten().find_map(|output| output.sink.trouble())
    }

    pub(super) fn view(&self, now: Moment) -> RunView {
        let run_id = self.machine.run().map(|run| run.id);
        let beat = self.beats.last.filter(|beat| Some(beat.run_id) == run_id).map(|beat| beat.at);
        let program = self.program().map(|program| program.version.clone());
        RunView { beat, program, ..self.machine.view(now, self.dropped()) }
    }

    /// What the run that lives was started from.
    pub(super) fn program(&self) -> Option<&ProgramFile> {
        let run = self.machine.run()?;
        self.program.as_ref().filter(|program| program.run_id == run.id)
    }

    /// Writes the adoption record.
    pub(super) fn persist(&mut self, paths: &Paths, boot_id: &str, runner: &str) -> io::Result<()> {
        let saved = self.machine.save(boot_id);
        let runs = saved.run().is_some();
        let (fifos, start_seq, end_seq) = (self.fifo_inodes(), self.start_seq, self.end_seq);
        let (began, program) = (self.began(), self.program.clone().filter(|_| runs));
        let record = Adoption { saved, fifos, began, runner: runner.into(), start_seq, end_seq, program };
        self.adoption.write(&serde_json::to_vec(&record)?)?;
        self.saved_epoch = self.machine.epoch();
        if !self.spec_saved && runs {
            write_json(&paths.spec(self.name()), self.machine.spec(), false)?;
            self.spec_saved = true;
        }
        Ok(())
    }

    fn began(&self) -> [Position; 2] {
        self.streams.as_ref().map_or_else(Default::default, |outputs| [outputs[0].began, outputs[1].began])
    }

    fn fifo_inodes(&self) -> [u64; 2] {
        self.streams.as_ref().map_or([0, 0], |[stdout, stderr]| [stdout.inode, stderr.inode])
    }

    /// Goes on where the predecessor's logs began. Whether its run writes to pipes that are no longer ours.
    pub(super) fn resume(&mut self, record: &Adoption) -> bool {
        self.resume_logs(record.began);
        self.program = record.program.clone();
        record.saved.run().is_some() && record.fifos != self.fifo_inodes()
    }

    fn resume_logs(&mut self, began: [Position; 2]) {
        for (output, began) in self.streams.iter_mut().flatten().zip(began) {
            output.sink.resume(began);
            output.began = began;
        }
    }

    /// Stores the intent, and does not return before it is on the disk.
    pub(super) fn save_intent(&self, paths: &Paths) -> io::Result<()> {
        intent::write(paths, self.name(), self.machine.intent())
    }
}

fn write_json(path: &std::path::Path, value: &impl serde::Serialize, fsync: bool) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    files::write_atomic(path, &bytes, fsync)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The predecessor's adoption record; `None` where there is none that can be read.
pub(super) fn read_adoption(paths: &Paths, name: &UnitName) -> Option<Adoption> {
    let path = paths.adopt(name);
    let found = record::read(&path).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // Version 0.1 wrote the bare JSON.
    found.or_else(|| read_json(&path)).filter(|record: &Adoption| record.saved.v == Saved::VERSION)
}

/// The specification that the predecessor's run was started from.
pub(super) fn read_spec(paths: &Paths, name: &UnitName) -> Option<ServiceSpec> {
    read_json(&paths.spec(name))
}
