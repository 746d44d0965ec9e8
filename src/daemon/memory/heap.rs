//! Heap snapshots: a process writes its heap to a file when it is sent its signal. One at a time, only where there is room for it, and
//! meanwhile nobody calls it hung: it does nothing else.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

use crate::control::server::Answer;
use crate::daemon::{Daemon, Event};
use crate::machine::{MemoryAct, MemorySeen, Seen};
use crate::model::wire::{HeapSnapshotReply, WireError};
use crate::model::{Signal, UnitName};
use crate::process::{clock, host, identity, signal};

/// What takes longer is given up.
const WITHIN: Duration = Duration::from_secs(300);

/// Between two looks at the folder.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A file that so many looks found as it was is whole: V8 writes one without pausing for that long.
const STILL: u32 = 4;

/// The free memory that is needed, in sizes of the tree: V8 builds the whole picture before it writes it.
const MEMORY_TIMES: u64 = 2;

/// The free disk space that is needed, in sizes of the tree.
const DISK_TIMES: u64 = 3;

const SUFFIX: &str = ".heapsnapshot";

/// The one under way, and who waits for one.
#[derive(Default)]
pub(super) struct Snapshots {
    under_way: Option<UnderWay>,
    waiting: Vec<(UnitName, Answer<HeapSnapshotReply>)>,
}

struct UnderWay {
    name: UnitName,
    run_id: u64,
    /// Dropping it ends the wait.
    _end: Sender<()>,
}

impl Snapshots {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    fn is_of(&self, name: &UnitName) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.name == *name)
    }
}

impl Daemon {
    /// An operator wants one; answered when it is there.
    pub(in crate::daemon) fn want_heap_snapshot(&mut self, name: UnitName, answer: Answer<HeapSnapshotReply>) {
        if self.memories.snapshots.is_of(&name) {
            self.memories.snapshots.waiting.push((name, answer));
            return;
        }
        let refused = match self.fleet.service(&name) {
            None => Some((2, format!("services.toml has no service called {name}"), None)),
            Some(service) if service.memory.as_ref().and_then(|memory| memory.snapshot_signal).is_none() => Some((
                6,
                format!("{name} declares no signal upon which it writes a heap snapshot"),
                Some(
                    "write snapshot_signal = \"PROF\" in its memory table, and start Node with --heapsnapshot-signal=SIGPROF",
                ),
            )),
            Some(_) => None,
        };
        if let Some((code, message, hint)) = refused {
            return drop(answer.send(Err(WireError { code, message, hint: hint.map(str::to_owned) })));
        }
        let acts = self.memories.step(&name, MemorySeen::SnapshotWanted);
        if acts.iter().any(|act| matches!(act, MemoryAct::Snapshot { .. })) {
            self.memories.snapshots.waiting.push((name.clone(), answer));
        } else {
            // Its own word, as it goes on record.
            let said = acts.iter().find_map(|act| match act {
                MemoryAct::Record { data, .. } => data.get("failed")?.as_str(),
                _ => None,
            });
            let why = said.unwrap_or("its memory is not looked at now");
            let message = format!("{name} writes no heap snapshot: {why}");
            let hint =
                Some("`supervisor status` tells whether it is up; its memory is looked at soon after its start".into());
            // Who asked may have gone.
            let _ = answer.send(Err(WireError { code: 6, message, hint }));
        }
        for act in acts {
            self.act_on_memory(&name, act);
        }
    }

    /// Has the main process of a run write one, or tells why not.
    pub(super) fn take_heap_snapshot(&mut self, name: &UnitName, run_id: u64, whom: Whom) {
        if self.memories.snapshots.is_of(name) {
            return;
        }
        let Whom { pid, signal, .. } = whom;
        let other = self.memories.snapshots.under_way.as_ref();
        let refused = match (other, self.fleet.service(name)) {
            (Some(other), _) => format!("{} is writing one, and one at a time is enough for a machine", other.name),
            _ if self.is_upgrading() => "the supervisor is being upgraded".into(),
            (_, Some(service)) => {
                let (end, ended) = channel();
                let taking = Taking { whom, folder: service.cwd.clone() };
                let (whose, events) = (name.clone(), self.events.clone());
                let take = move || {
                    let taken = taking.take(&ended).map(|file| file.display().to_string());
                    // When nobody listens the daemon is gone.
                    let _ = events.blocking_send(taken_event(whose, run_id, taken));
                };
                match std::thread::Builder::new().name("heap-snapshot".into()).spawn(take) {
                    Ok(_) => {
                        tracing::info!(service = %name, run_id, pid, "it is asked for a heap snapshot by {signal}");
                        self.memories.snapshots.under_way = Some(UnderWay { name: name.clone(), run_id, _end: end });
                        let until = clock::now().mono.plus(WITHIN);
                        return self.monitor(name, Seen::Excused { run_id, until });
                    }
                    Err(e) => format!("no thread can be started that waits for it: {e}"),
                }
            }
            _ => "services.toml has it no more".into(),
        };
        // Its own word comes after ours, as with any other answer.
        let (events, event) = (self.events.clone(), taken_event(name.clone(), run_id, Err(refused)));
        tokio::spawn(async move { drop(events.send(event).await) });
    }

    /// One is written, or is not: silence counts again, and who waits is told.
    pub(super) fn on_heap_snapshot(&mut self, name: &UnitName, run_id: u64, taken: &Result<String, String>) {
        let snapshots = &mut self.memories.snapshots;
        let waiting: Vec<_> = snapshots.waiting.extract_if(.., |(whose, _)| whose == name).collect();
        let is_over = snapshots.under_way.take_if(|it| it.name == *name && it.run_id == run_id).is_some();
        match taken {
            Ok(file) => tracing::info!(service = %name, run_id, file, "it has written a heap snapshot"),
            Err(why) => tracing::warn!(service = %name, run_id, "it has written no heap snapshot: {why}"),
        }
        for (_, answer) in waiting {
            let reply = taken.clone().map(|file| HeapSnapshotReply { file }).map_err(|why| {
                let message = format!("{name} has written no heap snapshot: {why}");
                WireError { code: 6, message, hint: None }
            });
            // Who asked may have gone.
            let _ = answer.send(reply);
        }
        if is_over {
            self.monitor(name, Seen::Excused { run_id, until: clock::now().mono });
        }
    }
}

fn taken_event(name: UnitName, run_id: u64, taken: Result<String, String>) -> Event {
    Event::Memory(name, Box::new(MemorySeen::SnapshotTaken { run_id, taken }))
}

/// What a file was at a look.
type Stamp = (u64, Option<SystemTime>);

/// Who is to write one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whom {
    pub(super) pid: i32,
    pub(super) start: u64,
    pub(super) signal: Signal,
    /// What the tree uses.
    pub(super) bytes: u64,
}

/// A snapshot to be taken.
#[derive(Debug)]
struct Taking {
    whom: Whom,
    /// Where it is written.
    folder: PathBuf,
}

impl Taking {
    /// Asks for it, and waits until the file is whole or `ended` tells that nobody waits. Blocks.
    fn take(&self, ended: &Receiver<()>) -> Result<PathBuf, String> {
        let Whom { pid, start, signal, bytes } = self.whom;
        has_room("memory", host::free_memory(), MEMORY_TIMES, bytes)?;
        let disk = format!("disk space at {}", self.folder.display());
        has_room(&disk, host::free_disk(&self.folder), DISK_TIMES, bytes)?;
        let before = snapshots_in(&self.folder);
        if signal::takes(pid, signal) == Some(false) {
            return Err(format!(
                "its process {pid} has no handler for {signal}, which would end it; is it started so that it writes a heap snapshot \
                 upon {signal} (Node: --heapsnapshot-signal={signal}), and is it the service's first process?"
            ));
        }
        if !signal::process(pid, start, signal) {
            return Err(format!("its process {} is gone, or may not be signalled", pid));
        }
        let until = clock::now().mono.plus(WITHIN);
        let mut last: Option<(PathBuf, Stamp)> = None;
        let mut still = 0;
        while clock::now().mono < until {
            match ended.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err("the supervisor went down".into()),
            }
            if identity::start_token(pid) != Some(start) {
                return Err(format!(
                    "its process {pid} ended after {signal}; does it write a heap snapshot upon that?"
                ));
            }
            let found = newest(&before, snapshots_in(&self.folder), pid);
            still = if found.is_some() && found == last { still + 1 } else { 0 };
            if let Some((file, (length, _))) = &found
                && *length > 0
                && still >= STILL
            {
                // What cannot be closed to others is told of all the same.
                let _ = close_to_others(file);
                return Ok(file.clone());
            }
            last = found;
        }
        let (folder, seconds) = (self.folder.display(), WITHIN.as_secs());
        Err(match last {
            Some((file, _)) => format!("{} was still being written after {seconds} s", file.display()),
            None => format!("no file *{SUFFIX} came into {folder} within {seconds} s of {}", signal),
        })
    }
}

/// It holds whatever the process had in its memory. In a folder where others may write, a link could have taken its place meanwhile.
fn close_to_others(file: &Path) -> std::io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Whether there is so many times as much as the tree uses.
fn has_room(of: &str, free: Option<u64>, times: u64, bytes: u64) -> Result<(), String> {
    const MIB: u64 = 1 << 20;
    let needed = bytes.saturating_mul(times);
    match free {
        Some(free) if free >= needed => Ok(()),
        Some(free) => {
            let (free, needed) = (free / MIB, needed.div_ceil(MIB));
            Err(format!(
                "there is not enough free {of}: {free} MiB, and {needed} MiB are needed, {times} times what it uses"
            ))
        }
        None => Err(format!("the system does not tell how much free {of} there is")),
    }
}

/// The heap snapshots in a folder, as they are now. Of a folder that cannot be read there are none.
fn snapshots_in(folder: &Path) -> BTreeMap<PathBuf, Stamp> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().as_encoded_bytes().ends_with(SUFFIX.as_bytes()));
    let stamp = |entry: fs::DirEntry| {
        let file = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((entry.path(), (file.len(), file.modified().ok())))
    };
    ours.filter_map(stamp).collect()
}

/// Of the files that are new or have changed the one that is of process `pid` by its name, or else the newest.
fn newest(before: &BTreeMap<PathBuf, Stamp>, now: BTreeMap<PathBuf, Stamp>, pid: i32) -> Option<(PathBuf, Stamp)> {
    let pid = pid.to_string();
    let names_it = |file: &Path| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.split(|c: char| !c.is_ascii_digit()).any(|number| number == pid)
    };
    let changed = now.into_iter().filter(|(file, stamp)| before.get(file) != Some(stamp));
    changed.max_by_key(|(file, (_, modified))| (names_it(file), *modified))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::{Guard, sh, wait_for};

    fn taking(child: &Guard, folder: &Path, bytes: u64) -> Taking {
        let pid = child.pid();
        let start = identity::start_token(pid).unwrap();
        let whom = Whom { pid, start, signal: Signal::parse("USR2").unwrap(), bytes };
        Taking { whom, folder: folder.to_path_buf() }
    }

    /// A shell that has set its trap.
    fn ready(script: &str, folder: &Path) -> Guard {
        let child = Guard(sh(script).current_dir(folder).spawn().unwrap());
        wait_for("its trap", || folder.join("ready").exists().then_some(()));
        child
    }

    fn write(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn room_is_several_times_what_it_uses() {
        assert_eq!(has_room("memory", Some(200), 2, 100), Ok(()));
        let said = has_room("memory", Some(5 << 20), 2, 3 << 20).unwrap_err();
        assert!(said.contains("5 MiB, and 6 MiB are needed"), "{said}");
        assert!(has_room("memory", Some(u64::MAX - 1), 2, u64::MAX).is_err());
        assert!(has_room("disk space", None, 3, 1).unwrap_err().contains("does not tell"));
    }

    #[test]
    fn a_new_file_or_one_that_changed_is_it_and_best_one_with_the_pid() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "old.7.heapsnapshot", "x");
        write(dir.path(), "fixed.heapsnapshot", "x");
        let before = snapshots_in(dir.path());
        assert_eq!(before.len(), 2);
        let found = || newest(&before, snapshots_in(dir.path()), 7).map(|(file, _)| file);
        assert_eq!(found(), None);
        write(dir.path(), "note.txt", "x");
        fs::create_dir(dir.path().join("folder.heapsnapshot")).unwrap();
        assert_eq!(found(), None);
        write(dir.path(), "fixed.heapsnapshot", "longer");
        assert_eq!(found(), Some(dir.path().join("fixed.heapsnapshot")));
        write(dir.path(), "Heap.7.1.heapsnapshot", "x");
        write(dir.path(), "Heap.77.1.heapsnapshot", "x");
        assert_eq!(found(), Some(dir.path().join("Heap.7.1.heapsnapshot")));
        assert_eq!(snapshots_in(&dir.path().join("none")), BTreeMap::new());
    }

    #[test]
    fn what_was_written_is_closed_to_others_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        for name in ["a.heapsnapshot", "other"] {
            write(dir.path(), name, "x");
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o644)).unwrap();
        }
        close_to_others(&dir.path().join("a.heapsnapshot")).unwrap();
        std::os::unix::fs::symlink("other", dir.path().join("link.heapsnapshot")).unwrap();
        assert!(close_to_others(&dir.path().join("link.heapsnapshot")).is_err());
        assert_eq!((mode("a.heapsnapshot"), mode("other")), (0o600, 0o644));
    }

    #[test]
    fn nobody_is_signalled_without_room_and_a_death_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (_end, ended) = channel();
        let mut child = Guard(sh("read _").stdin(std::process::Stdio::piped()).spawn().unwrap());
        let said = taking(&child, dir.path(), 1 << 50).take(&ended).unwrap_err();
        assert!(said.contains("not enough free memory"), "{said}");
        assert!(child.0.try_wait().unwrap().is_none());
        // It has no handler.
        let said = taking(&child, dir.path(), 1).take(&ended).unwrap_err();
        if cfg!(target_os = "linux") {
            assert!(said.contains("has no handler for SIGUSR2"), "{said}");
            assert!(child.0.try_wait().unwrap().is_none());
        } else {
            assert!(said.contains("ended after"), "{said}");
        }
        // It has one, and ends all the same.
        let mut child = ready("trap exit USR2; echo > ready; while :; do sleep 0.01; done", dir.path());
        let said = taking(&child, dir.path(), 1).take(&ended).unwrap_err();
        assert!(said.contains("ended after"), "{said}");
        child.0.wait().unwrap();
    }

    #[test]
    fn who_waits_no_more_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (end, ended) = channel();
        let child = ready("trap : USR2; echo > ready; while :; do sleep 0.01; done", dir.path());
        drop(end);
        assert!(taking(&child, dir.path(), 1).take(&ended).unwrap_err().contains("went down"));
    }
}
