//! Slots on disk: who takes one makes its file, with its claim in it, under a name that can be taken once only. Whatever triggers a
//! job (launchd, systemd, the daemon, a person), the run is one.
//!
//! ```text
//! slots/<task>/lock                     held for a moment by whoever decides about a slot of the job
//! slots/<task>/accounted                up to where all slots have their end on record; the daemon writes it
//! slots/<task>/20261122T075500Z         a slot that was taken: JSON lines (model::SlotLine); its run holds a lock on it
//! slots/<task>/extra-20261122T075503.250Z   a run that a person asked for
//! slots/<task>/stop                     why the run that it names is to end: written before its process gets SIGTERM
//! ```
//!
//! No decision in here, no calendar, no SQLite.

mod leftover;
mod stop;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use leftover::{Left, run_mark};
pub use stop::StopNote;

use crate::model::paths::Paths;
use crate::model::{Accounted, Claim, Moment, SlotEnd, SlotFile, SlotKey, SlotLine, Timing, Trigger, UnitName};
use crate::policy::{is_outlived, slots_kept_from};
use crate::process::identity::{self, State};
use crate::process::lock::{Lock, NotLocked};
use crate::process::{clock, files, wait};

/// What a claim is written to before it gets its name.
const SCRATCH: &str = ".claim-";

/// So long somebody who decides about a slot is waited for.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);

/// Runs that live are looked for among what was taken within this, milliseconds, whatever is accounted for.
const RECENT_MS: i64 = 86_400_000;

/// Of a slot's name, its time to the second: `20261122T075500`.
const TIME: usize = 15;

/// Longest line of a slot's file, bytes: a step's record, with room.
const LONGEST_LINE: u64 = 64 << 10;

/// The slots of one job.
#[derive(Debug, Clone)]
pub struct TaskSlots {
    folder: PathBuf,
    task: UnitName,
    state_dir: PathBuf,
}

/// A slot's file, to go on with.
#[derive(Debug)]
pub struct Holding {
    file: File,
    /// The last line was not written, or in part.
    torn: bool,
}

/// What came of taking a slot.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Holding),
    /// Somebody was first.
    Before,
}

impl TaskSlots {
    /// Those of `task`; nothing is made on disk.
    pub fn of(paths: &Paths, task: &UnitName) -> Self {
        Self { folder: paths.slots(task), task: task.clone(), state_dir: paths.state_dir().to_path_buf() }
    }

    /// Makes sure that nobody else decides about a slot of the job meanwhile.
    ///
    /// # Errors
    /// Somebody does, or the folder cannot be used.
    pub fn alone(&self) -> Result<Lock, NotLocked> {
        self.ensure_folder()?;
        Lock::acquire(&self.folder.join("lock"))
    }

    /// [`Self::alone`], and who has it is waited for. Blocks.
    ///
    /// # Errors
    /// As there: whoever decides does so in milliseconds, and who still does after ten seconds is on a disk that stands still.
    pub fn alone_soon(&self) -> Result<Lock, NotLocked> {
        let mut held = None;
        let alone = wait::until(DECIDED_WITHIN, || match self.alone() {
            Err(NotLocked::Held { pid }) => {
                held = pid;
                None
            }
            other => Some(other),
        });
        alone.unwrap_or(Err(NotLocked::Held { pid: held }))
    }

    /// Takes a slot: exactly one caller ever gets it, and what it gets has the claim in it already. For who is [`Self::alone`].
    ///
    /// # Errors
    /// When the folder cannot be written to: then nobody has it.
    pub fn take(&self, claim: &Claim) -> io::Result<Taken> {
        self.ensure_folder()?;
        let path = self.path(claim.slot);
        let scratch = self.folder.join(format!("{SCRATCH}{}-{}", std::process::id(), clock::now().boot_ns));
        let made = self.make(&scratch, &path, claim);
        // Gone already, or left to the next one that clears the folder.
        let _ = fs::remove_file(&scratch);
        match made {
            Ok(file) => Ok(Taken::Ours(Holding { file, torn: false })),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Taken::Before),
            Err(e) => Err(e),
        }
    }

    /// Written first and named then: a claim that is half written has no name.
    fn make(&self, scratch: &Path, path: &Path, claim: &Claim) -> io::Result<File> {
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(scratch)?;
        file.write_all(&encoded(&SlotLine::Claim(claim.clone()))?)?;
        file.sync_all()?;
        name_it(scratch, path, |from, to| fs::hard_link(from, to))?;
        // The name is to survive a power loss: else the slot would be run a second time. Who cannot see to that does not have it.
        files::sync_folder(&self.folder).inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(file)
    }

    /// What is on disk of the slots at or after `from_ms`, by time.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn read(&self, from_ms: i64) -> io::Result<Vec<SlotFile>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        // Names sort as their times do: of the many that are older none is taken apart.
        let first = SlotKey::Due(from_ms.max(0)).to_string();
        let is_new = |name: &str| name.trim_start_matches("extra-").get(..TIME) >= first.get(..TIME);
        let key = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            SlotKey::parse(name.to_str().filter(|name| is_new(name))?)
        };
        let mut keys: Vec<SlotKey> = entries.filter_map(key).filter(|key| key.at_ms() >= from_ms).collect();
        keys.sort_unstable_by_key(|key| key.at_ms());
        keys.into_iter().filter_map(|key| self.look(key).transpose()).collect()
    }

    /// The runs that live.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn running(&self) -> io::Result<Vec<SlotFile>> {
        // The clock may have been set back since.
        let recent_ms = clock::now().wall_ms.saturating_sub(RECENT_MS);
        let from_ms = self.accounted()?.map_or(i64::MIN, |accounted| accounted.from_ms().min(recent_ms));
        Ok(self.read(from_ms)?.into_iter().filter(|slot| slot.running).collect())
    }

    /// One slot; `None` when nobody has taken it, or we have no descriptors to look with.
    pub fn read_one(&self, key: SlotKey) -> Option<SlotFile> {
        self.look(key).ok().flatten()
    }

    fn look(&self, key: SlotKey) -> io::Result<Option<SlotFile>> {
        let Some(slot) = self.parse(key)? else { return Ok(None) };
        if slot.end.is_some() {
            return Ok(Some(slot));
        }
        // Whether it lives is asked first and its lines are read after that: what ended in between has written its end.
        let lives = is_alive(&slot.claim);
        Ok(self.parse(key)?.map(|slot| SlotFile { running: lives && slot.end.is_none(), ..slot }))
    }

    /// What is in a slot's file, as far as it can be read; whether its run lives is not in it.
    ///
    /// A name that is there is a slot that nobody else can take, whatever is in the file: it is a run of which nobody knows more.
    fn parse(&self, key: SlotKey) -> io::Result<Option<SlotFile>> {
        let file = match File::open(self.path(key)) {
            Ok(file) => Ok(file),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            // That is no fault of the file.
            Err(e) if is_want(&e) => return Err(e),
            Err(e) => Err(e.to_string()),
        };
        let mut lines =
            file.as_ref().ok().map(|file| BufReader::new(io::Read::take(file, 256 * LONGEST_LINE)).split(b'\n'));
        let mut lines = lines.iter_mut().flatten();
        let (claim, unreadable) = match &file {
            Err(why) => Err(why.clone()),
            Ok(_) => match lines.next() {
                None => Err("it is empty".to_owned()),
                Some(Err(e)) if is_want(&e) => return Err(e),
                Some(Err(e)) => Err(e.to_string()),
                Some(Ok(line)) => match serde_json::from_slice(&line) {
                    Ok(SlotLine::Claim(claim)) if claim.slot == key => Ok(claim),
                    _ => Err("its first line is no claim".to_owned()),
                },
            },
        }
        .map_or_else(|why| (self.guess(key), Some(why)), |claim| (claim, None));
        let mut slot = SlotFile { claim, began_ms: None, steps: Vec::new(), end: None, running: false, unreadable };
        // What cannot be read is half a line of somebody who was cut off.
        for line in lines.map_while(Result::ok).filter_map(|line| serde_json::from_slice(&line).ok()) {
            match line {
                SlotLine::Claim(_) | SlotLine::Spawned { .. } => {}
                SlotLine::Began(ms) => slot.began_ms = Some(ms),
                SlotLine::Step(record) => slot.steps.push(record),
                SlotLine::End(end) => slot.end = slot.end.or(Some(end)),
            }
        }
        Ok(Some(slot))
    }

    /// The claim of a file that cannot be read: nobody's who lives, taken when it was written last.
    fn guess(&self, slot: SlotKey) -> Claim {
        let written_ms = fs::symlink_metadata(self.path(slot)).map_or(slot.at_ms(), |data| data.mtime() * 1000);
        let trigger = match slot {
            SlotKey::Due(_) => Trigger::Manager,
            SlotKey::Extra(_) => Trigger::Operator,
        };
        let at = Moment { wall_ms: written_ms, ..Moment::default() };
        Claim {
            slot,
            trigger,
            timing: Timing::InTime,
            pid: 0,
            start_token: 0,
            boot_id: String::new(),
            at,
            resumes: None,
        }
    }

    /// Writes the end of a run that cannot do so any more.
    ///
    /// # Errors
    /// When its file cannot be written to.
    pub fn end_for_the_dead(&self, key: SlotKey, end: &SlotEnd) -> io::Result<()> {
        if self.look(key)?.is_some_and(|slot| slot.running) {
            return Err(io::Error::other(format!("the run {key} lives")));
        }
        if let Some(slot) = self.look(key)?.filter(|slot| slot.unreadable.is_some() && slot.end.is_none()) {
            // Nothing can be added to what cannot be read: there is a file in its place that can.
            let lines = [encoded(&SlotLine::Claim(slot.claim))?, encoded(&SlotLine::End(end.clone()))?];
            return files::write_atomic(&self.path(key), &lines.concat(), true);
        }
        let file = OpenOptions::new().append(true).open(self.path(key))?;
        Holding { file, torn: true }.note(&SlotLine::End(end.clone()))
    }

    /// Up to where all slots have their end on record; `None` before the first time.
    ///
    /// # Errors
    /// When it is there and cannot be read: whoever took that for the first time would leave out what is due since.
    pub fn accounted(&self) -> io::Result<Option<Accounted>> {
        match fs::read(self.folder.join("accounted")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn account(&self, accounted: &Accounted) -> io::Result<()> {
        self.ensure_folder()?;
        files::write_atomic(&self.folder.join("accounted"), &serde_json::to_vec(accounted)?, true)
    }

    /// Removes the files of slots that have their end and are of no use any more ([`is_outlived`]); gives how many. What was begun under
    /// a scratch name, and left so long ago, goes too.
    ///
    /// # Errors
    /// When the folder cannot be read, or a file not be removed.
    pub fn forget(&self) -> io::Result<usize> {
        let Some(accounted) = self.accounted()? else { return Ok(0) };
        let kept_from_ms = slots_kept_from(&accounted);
        let (mut keys, mut doomed) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            match SlotKey::parse(name) {
                Some(key) => keys.push(key),
                None if name.starts_with('.') => {
                    let is_left = entry.metadata().is_ok_and(|data| data.mtime() < kept_from_ms / 1000);
                    doomed.extend(is_left.then(|| entry.path()));
                }
                None => {}
            }
        }
        keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.at_ms()));
        let old = keys.iter().enumerate().filter(|(newer, key)| is_outlived(&accounted, key.at_ms(), *newer));
        let is_over = |key: SlotKey| self.read_one(key).is_some_and(|slot| slot.end.is_some());
        doomed.extend(old.filter(|(_, key)| is_over(**key)).map(|(_, key)| self.path(*key)));
        let mut count = 0;
        for path in doomed {
            match fs::remove_file(path) {
                Ok(()) => count += 1,
                // Two do so at a time.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(count)
    }

    /// A claim is to outlive a power loss, and so is the folder that it is in.
    fn ensure_folder(&self) -> io::Result<()> {
        files::ensure_lasting_dir(&self.folder, &self.state_dir)
    }

    fn path(&self, key: SlotKey) -> PathBuf {
        self.folder.join(key.to_string())
    }
}

impl Holding {
    /// Puts a line into it. The last one survives a power loss.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&mut self, line: &SlotLine) -> io::Result<()> {
        let mut bytes = encoded(line)?;
        if std::mem::replace(&mut self.torn, true) {
            // Half a line may stand before it.
            bytes.insert(0, b'\n');
        }
        self.file.write_all(&bytes)?;
        self.torn = false;
        if matches!(line, SlotLine::End(_)) { self.file.sync_all() } else { Ok(()) }
    }
}

/// Gives a claim its name, unless somebody has it. Where the file system has no second names (exFAT, some of a network) the lock of
/// [`TaskSlots::alone`] keeps others away between looking and naming.
fn name_it(scratch: &Path, path: &Path, link: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    match link(scratch, path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists && e.kind() != ErrorKind::NotFound => {
            if path.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(scratch, path)
        }
        result => result,
    }
}

fn encoded(line: &SlotLine) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Whether it is us who lack something, which passes.
fn is_want(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN))
}

/// Whether the process that took it lives.
fn is_alive(claim: &Claim) -> bool {
    claim.boot_id == clock::boot_id()
        && identity::start_token(claim.pid) == Some(claim.start_token)
        && matches!(identity::state(claim.pid), State::Running(_))
}
