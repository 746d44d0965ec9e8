//! Doing what was planned: files first, then the service manager. What fails half-way is put back as it was.

use std::fs;
use std::io::{self, ErrorKind as IoKind};
use std::path::{Path, PathBuf};

use super::handover;
use super::plan::{Disk, Load, Seen, Step, Wanted};
use super::record::{Record, RecordedFile, RecordedJob, is_ours, recorded};
use crate::error::Error;
use crate::manager::driver::{Driver, JobState, Standing, Trouble, TroubleKind};
use crate::manager::job::{Job, Role};
use crate::model::paths::Paths;
use crate::model::{ManagerKind, ProcessType};
use crate::process::files;

/// From SIGTERM to SIGKILL of a job of which only the record is left, seconds: no less than any `stop_timeout` usually is.
const UNKNOWN_EXIT_TIMEOUT_S: u64 = 120;

/// Where it is done.
pub struct Hands<'a> {
    /// The service manager.
    pub driver: &'a dyn Driver,
    /// The state directory.
    pub paths: &'a Paths,
    /// Where the files of jobs are.
    pub folder: &'a Path,
    /// Whether the service manager is told, or only files are written.
    pub load: bool,
    /// Whether a person has just asked for it, which overrides that a job was switched off.
    pub by_hand: bool,
}

impl Hands<'_> {
    /// What there is now under the label of a job.
    pub fn look(&self, wanted: &Wanted) -> Result<Seen, Trouble> {
        let read = |file: &crate::manager::driver::JobFile| read_if_there(&self.folder.join(&file.name));
        let disk = wanted.files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let state = self.load.then(|| self.driver.look(&wanted.job)).transpose()?;
        Ok(Seen { disk, state })
    }

    /// Does one step, and notes it in `record`, which is written with `save`: after each step, as the next may be the last.
    pub fn perform(&self, step: &Step, seen: &Seen, record: &mut Record, save: bool) -> Result<(), Trouble> {
        let Step { wanted, write, foreign, load } = step;
        let job = &wanted.job;
        let before = record.job(&job.label).cloned();
        let mut files = recorded(&wanted.files, before.as_ref());
        for place in write {
            let file = &wanted.files[*place];
            if let Some(there) = &seen.disk[*place]
                && !is_ours(before.as_ref().and_then(|job| job.file(&file.name)), there)
            {
                let kept = self.keep(&file.name, there)?;
                if foreign.contains(place) {
                    files[*place].backup = Some(kept);
                }
            }
        }
        let was_loaded = seen.state.as_ref().is_some_and(|state| state.standing != Standing::Absent);
        let displaced = before.as_ref().is_some_and(|job| job.displaced) || (!foreign.is_empty() && was_loaded);
        let one = RecordedJob {
            label: job.label.clone(),
            name: job.name.clone(),
            role: job.role,
            displaced,
            pending: true,
            files,
        };
        let note = |record: &mut Record, one: Option<RecordedJob>| {
            let place = record.jobs.iter().position(|known| known.label == job.label);
            match (place, one) {
                (Some(place), Some(one)) => record.jobs[place] = one,
                (None, Some(one)) => record.jobs.push(one),
                (Some(place), None) => drop(record.jobs.remove(place)),
                (None, None) => {}
            }
            if save { record.write(self.paths).map_err(other) } else { Ok(()) }
        };
        // Before anything is overwritten: what was there is known of from here on, whoever is killed when. And before it is loaded:
        // the daemon reads there who starts the services.
        note(record, Some(one.clone()))?;
        let written = write.iter().try_for_each(|place| {
            let file = &wanted.files[*place];
            put(&self.folder.join(&file.name), &file.bytes)
        });
        let left = written.and_then(|()| self.leave_first(job, *load));
        let was_told = left.is_ok();
        match left.and_then(|()| self.tell_left(job, *load, foreign.is_empty())) {
            Ok(()) => note(record, Some(RecordedJob { pending: false, ..one })),
            Err(trouble) => {
                let trouble = self.undo(step, seen, was_loaded && was_told, was_told, trouble);
                note(record, before)?;
                Err(trouble)
            }
        }
    }

    /// Tells the service manager of a job that is ours.
    pub fn tell(&self, job: &Job, load: Load) -> Result<(), Trouble> {
        self.leave_first(job, load)?;
        self.tell_left(job, load, true)
    }

    /// Before a job is loaded anew its runner leaves. One that does not keeps its service: nothing was done then.
    fn leave_first(&self, job: &Job, load: Load) -> Result<(), Trouble> {
        match (load, job.role) {
            (Load::Reload, Role::Runner) => handover::leave(self.paths, &job.name).map(drop).map_err(other),
            _ => Ok(()),
        }
    }

    fn tell_left(&self, job: &Job, load: Load, is_ours: bool) -> Result<(), Trouble> {
        match load {
            Load::Nothing => Ok(()),
            Load::Load => {
                files::ensure_dir(job.log.parent().unwrap_or(Path::new("/")))
                    .map_err(|e| io_trouble("make the folder of", &job.log, &e))?;
                self.driver.load(job, self.by_hand)
            }
            Load::Reload => {
                // systemd takes a new version without being told to forget the old one, which would switch it off: whoever is
                // killed between the two would leave a job that looks as if a person did not want it.
                if self.driver.kind() != ManagerKind::Systemd || !is_ours {
                    self.driver.unload(job)?;
                }
                self.tell_left(job, Load::Load, is_ours)
            }
            Load::Kick => self.driver.kick(job),
        }
    }

    /// Puts back what was there; the trouble says whether that worked. A service manager that `was_told` nothing yet is not told
    /// anything now either.
    fn undo(&self, step: &Step, seen: &Seen, was_loaded: bool, was_told: bool, trouble: Trouble) -> Trouble {
        if step.write.is_empty() {
            return trouble;
        }
        let back = step.write.iter().try_for_each(|place| {
            let path = self.folder.join(&step.wanted.files[*place].name);
            match &seen.disk[*place] {
                Some(bytes) => put(&path, bytes),
                None => remove(&path),
            }
        });
        let job = &step.wanted.job;
        let loaded = |()| match was_loaded {
            _ if !was_told => Ok(()),
            true => self.driver.unload(job).and_then(|()| self.driver.load(job, self.by_hand)),
            false => self.driver.unload(job).and_then(|()| self.driver.forget(job)),
        };
        let Trouble { kind, message, hint } = trouble;
        let message = match back.and_then(loaded) {
            Ok(()) => format!("{message}; what was there before is back"),
            Err(worse) => format!("{message}; and what was there before could not be put back: {worse}"),
        };
        Trouble { kind, message, hint }
    }

    /// Ends a job whose service comes back under another label: its runner leaves it, alive, to that one.
    pub fn make_room(&self, known: &RecordedJob) -> Result<String, Trouble> {
        if self.load {
            self.leave_first(&skeleton(known), Load::Reload)?;
        }
        self.remove(known)
    }

    /// Ends a job that was installed, and puts back what others had in its place; what was done, in words.
    pub fn remove(&self, known: &RecordedJob) -> Result<String, Trouble> {
        let job = skeleton(known);
        let is_loaded = self.load && self.driver.look(&job)?.standing != Standing::Absent;
        if self.load {
            self.driver.unload(&job)?;
        }
        let mut put_back = false;
        for file in &known.files {
            let path = self.folder.join(&file.name);
            if let Some(bytes) = read_if_there(&path)?.filter(|bytes| !is_ours(Some(file), bytes)) {
                self.keep(&file.name, &bytes)?;
            }
            match file.backup.as_deref().map(read_if_there).transpose()?.flatten() {
                Some(theirs) => {
                    put(&path, &theirs)?;
                    put_back = true;
                }
                None => remove(&path)?,
            }
        }
        if !self.load {
            return Ok("removed".into());
        }
        match (put_back, known.displaced) {
            (true, true) => self
                .driver
                .load(&job, self.by_hand)
                .map(|()| "removed; the job that was there before is loaded again".into()),
            (true, false) => Ok("removed; the file that was there before is back".into()),
            (false, _) => {
                self.driver.forget(&job)?;
                Ok(if is_loaded { "ended and removed".into() } else { "removed".into() })
            }
        }
    }

    /// Keeps what somebody else wrote; where.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Trouble> {
        let path = self.paths.backups().join(format!("{name}.{:08x}", super::record::crc(bytes)));
        files::ensure_dir(&self.paths.backups()).map_err(|e| io_trouble("make the folder of", &path, &e))?;
        files::write_atomic(&path, bytes, true).map_err(|e| io_trouble("keep what was there as", &path, &e))?;
        Ok(path)
    }

    /// What is on disk of a job that was installed, and what the service manager has of it.
    pub fn look_at(&self, known: &RecordedJob, job: &Job) -> Result<(Disk, JobState), Trouble> {
        let read = |file: &RecordedFile| read_if_there(&self.folder.join(&file.name));
        let disk = known.files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok((disk, self.driver.look(job)?))
    }
}

/// A job of which only the record is known, good for ending it.
pub fn skeleton(known: &RecordedJob) -> Job {
    Job {
        label: known.label.clone(),
        name: known.name.clone(),
        role: known.role,
        argv: Vec::new(),
        env: Default::default(),
        log: PathBuf::from("/dev/null"),
        throttle_s: 1,
        exit_timeout_s: UNKNOWN_EXIT_TIMEOUT_S,
        process_type: ProcessType::Interactive,
        calendar: Vec::new(),
        catch_up: false,
        timezone: None,
        user: None,
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Trouble> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == IoKind::NotFound => Ok(None),
        Err(e) => Err(io_trouble("read", path, &e)),
    }
}

/// Readable by all, as some launchds refuse agents that are not, and there is no secret in it.
fn put(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    files::ensure_dir(folder).map_err(|e| io_trouble("make the folder", folder, &e))?;
    files::write_public(path, bytes).map_err(|e| io_trouble("write", path, &e))
}

fn remove(path: &Path) -> Result<(), Trouble> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != IoKind::NotFound => Err(io_trouble("remove", path, &e)),
        _ => Ok(()),
    }
}

fn io_trouble(what: &str, path: &Path, error: &io::Error) -> Trouble {
    Trouble::new(TroubleKind::Other, format!("cannot {what} {}: {error}", path.display()))
}

fn other(error: Error) -> Trouble {
    Trouble { kind: TroubleKind::Other, message: error.message, hint: error.hint }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
