//! What was installed: by whom services are started from now on, which files were written, and what was there before.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::manager::driver::JobFile;
use crate::manager::job::{Role, Site};
use crate::model::paths::Paths;
use crate::model::{Fleet, ManagerKind, UnitName};
use crate::process::files;

/// `supervisor/installed.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form: 1.
    pub v: u32,
    /// Who loads the jobs: launchd or systemd.
    pub manager: ManagerKind,
    /// Whether the daemon starts the services itself, and is the only job.
    pub embedded: bool,
    /// Whether the jobs were loaded, and not only written.
    pub loaded: bool,
    /// Where the files are.
    pub folder: PathBuf,
    /// The program that the service manager is asked through.
    pub tool: PathBuf,
    /// As in [`Site`].
    pub program: PathBuf,
    /// As in [`Site`].
    pub config: PathBuf,
    /// As in [`Site`].
    pub home: PathBuf,
    /// As in [`Site`].
    pub logs: PathBuf,
    /// The command that starts the daemon's job when the daemon is gone, for the runners.
    pub revive: Vec<String>,
    /// All jobs, the daemon's first.
    pub jobs: Vec<RecordedJob>,
}

/// One job in a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedJob {
    /// Its label.
    pub label: String,
    /// The service or calendar job.
    pub name: String,
    /// What it starts.
    pub role: Role,
    /// Whether somebody else's job of this label was loaded before, which is to be loaded again when ours goes.
    #[serde(default)]
    pub displaced: bool,
    /// Whether it is not yet so on disk and in the service manager: whoever wrote this may have been killed meanwhile.
    #[serde(default)]
    pub pending: bool,
    /// Its files.
    pub files: Vec<RecordedFile>,
}

/// One file in a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Its name in the folder.
    pub name: String,
    /// CRC-32 of what we wrote.
    pub crc: u32,
    /// Where that is kept which somebody else had there before us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<PathBuf>,
}

impl Record {
    /// The form's version.
    pub const VERSION: u32 = 1;

    /// What is installed for this state directory; `None` when nothing is.
    ///
    /// # Errors
    /// `Internal` when it is there and cannot be read: then it is not known who starts the services.
    pub fn read(paths: &Paths) -> Result<Option<Self>, Error> {
        let path = paths.installed();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("cannot read what is installed from", &path, &e)),
        };
        serde_json::from_slice::<Self>(&bytes).map(Some).map_err(|e| {
            Error::new(ErrorKind::Internal, format!("{} cannot be understood: {e}", path.display()))
                .hint("`supervisor install` writes it anew")
        })
    }

    /// Writes it down, synced.
    pub fn write(&self, paths: &Paths) -> Result<(), Error> {
        let path = paths.installed();
        let failed = |e: io::Error| Error::io("cannot write down what is installed in", &path, &e);
        files::ensure_dir(&paths.supervisor()).map_err(failed)?;
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other).map_err(failed)?;
        files::write_atomic(&path, &bytes, true).map_err(failed)
    }

    /// The job with this label.
    pub fn job(&self, label: &str) -> Option<&RecordedJob> {
        self.jobs.iter().find(|job| job.label == label)
    }

    /// The service manager that starts the calendar job `name`, if one does.
    pub fn starter_of(&self, name: &UnitName) -> Option<ManagerKind> {
        let installed = self.jobs.iter().any(|job| job.role == Role::Task && job.name == name.as_str());
        (self.loaded && installed).then_some(self.manager)
    }

    /// Where things are, as they were when it was installed.
    pub fn site(&self, state_dir: &Path) -> Site {
        Site {
            program: self.program.clone(),
            config: self.config.clone(),
            state_dir: state_dir.to_owned(),
            home: self.home.clone(),
            logs: self.logs.clone(),
            user: None,
            embedded: self.embedded,
            manager: self.manager,
        }
    }
}

impl RecordedJob {
    /// Its file of this name.
    pub fn file(&self, name: &str) -> Option<&RecordedFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// The number by which content is known again.
pub fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Whether what is on disk is what was recorded.
pub fn is_ours(recorded: Option<&RecordedFile>, bytes: &[u8]) -> bool {
    recorded.is_some_and(|file| file.crc == crc(bytes))
}

/// Who starts the services of `fleet`: what services.toml says, and for `auto` what is installed and loaded.
pub fn manager_of(fleet: &Fleet, installed: Option<&Record>) -> ManagerKind {
    match fleet.manager {
        ManagerKind::Auto => installed
            .filter(|record| record.loaded && !record.embedded)
            .map_or(ManagerKind::Embedded, |record| record.manager),
        said => said,
    }
}

/// Files as they are recorded once they are written; a backup that was made earlier is kept in mind.
pub fn recorded(files: &[JobFile], before: Option<&RecordedJob>) -> Vec<RecordedFile> {
    let one = |file: &JobFile| {
        let backup = before.and_then(|job| job.file(&file.name)).and_then(|file| file.backup.clone());
        RecordedFile { name: file.name.clone(), crc: crc(&file.bytes), backup }
    };
    files.iter().map(one).collect()
}
