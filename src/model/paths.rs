//! Where our files are in the state directory (DESIGN section 5). Joins only; nothing here touches the disk.

use std::path::{Path, PathBuf};

use super::UnitName;

/// The id of the runner that the embedded manager starts for all services. No service can be called so.
pub const EMBEDDED_RUNNER: &str = "_embedded";

/// The id under which the daemon journals its own records. No service can be called so.
pub const DAEMON_JOURNAL: &str = "_daemon";

/// All paths of one state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

/// One of a service's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// The word in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Paths {
    /// Paths under `state_dir` (absolute).
    pub fn new(state_dir: &Path) -> Self {
        Self { root: state_dir.to_path_buf() }
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        &self.root
    }

    /// The shared database.
    pub fn database(&self) -> PathBuf {
        self.root.join("observability.sqlite")
    }

    /// Folder of all logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The supervisor's own log.
    pub fn own_log(&self) -> PathBuf {
        self.logs().join("supervisor.log")
    }

    /// What runners have to say before they have a log.
    pub fn runner_log(&self) -> PathBuf {
        self.logs().join("runner.log")
    }

    /// The current log file of one stream of a service; rotated ones have `.1`, `.2`, ... appended, 1 the newest.
    pub fn log(&self, name: &UnitName, stream: Stream) -> PathBuf {
        self.logs().join(format!("{name}-{}.log", stream.as_str()))
    }

    /// Our own folder.
    pub fn supervisor(&self) -> PathBuf {
        self.root.join("supervisor")
    }

    /// Held by the daemon; its pid is in it.
    pub fn daemon_lock(&self) -> PathBuf {
        self.supervisor().join("daemon.lock")
    }

    /// The daemon's control socket.
    pub fn daemon_socket(&self) -> PathBuf {
        self.supervisor().join("daemon.sock")
    }

    /// What was installed, and by whom services are started since.
    pub fn installed(&self) -> PathBuf {
        self.supervisor().join("installed.json")
    }

    /// The daemon's note that it lives.
    pub fn alive(&self) -> PathBuf {
        self.supervisor().join("alive")
    }

    /// What was written down for a person to look at.
    pub fn evidence(&self) -> PathBuf {
        self.supervisor().join("evidence")
    }

    /// Held by whoever changes what is installed.
    pub fn install_lock(&self) -> PathBuf {
        self.supervisor().join("install.lock")
    }

    /// What others had where our jobs' files are now.
    pub fn backups(&self) -> PathBuf {
        self.supervisor().join("backups")
    }

    /// Copies of the database.
    pub fn database_copies(&self) -> PathBuf {
        self.supervisor().join("backups-db")
    }

    /// Reports of calendar jobs' `digest` steps.
    pub fn reports(&self) -> PathBuf {
        self.root.join("reports")
    }

    /// Folder of all calendar jobs' slots.
    pub fn all_slots(&self) -> PathBuf {
        self.supervisor().join("slots")
    }

    /// Folder of one calendar job's slots.
    pub fn slots(&self, task: &UnitName) -> PathBuf {
        self.all_slots().join(task)
    }

    /// Folder of runner sockets and journals.
    pub fn runners(&self) -> PathBuf {
        self.supervisor().join("runners")
    }

    /// A runner's control socket.
    pub fn runner_socket(&self, id: &str) -> PathBuf {
        self.runners().join(format!("{id}.sock"))
    }

    /// Held by a runner; its pid is in it.
    pub fn runner_lock(&self, id: &str) -> PathBuf {
        self.runners().join(format!("{id}.lock"))
    }

    /// Folder of all services.
    pub fn services(&self) -> PathBuf {
        self.supervisor().join("services")
    }

    /// Folder of one service.
    pub fn service(&self, name: &UnitName) -> PathBuf {
        self.services().join(name)
    }

    /// Where the built-in emit-server listens besides its port.
    pub fn event_socket(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("events.sock")
    }

    /// Where the built-in file-watcher answers.
    pub fn watch_socket(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("watch.sock")
    }

    /// What the built-in file-watcher called `name` has seen and handled.
    pub fn watched(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("watched.sqlite")
    }

    /// Events that the database does not take just now.
    pub fn spool(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("spool")
    }

    /// Held by the runner that owns the service; its pid is in it.
    pub fn service_lock(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("lock")
    }

    /// What the operator wants.
    pub fn intent(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("intent")
    }

    /// The adoption record.
    pub fn adopt(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("adopt")
    }

    /// What was made to hold, for whoever has to undo it.
    pub fn exposure(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("exposure")
    }

    /// The process of what is run for it at this moment.
    pub fn exposure_process(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("process")
    }

    /// What the current run was started from (for a successor that finds services.toml broken).
    pub fn spec(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("spec")
    }

    /// The FIFO of one output stream.
    pub fn fifo(&self, name: &UnitName, stream: Stream) -> PathBuf {
        self.service(name).join(format!("{}.fifo", stream.as_str()))
    }

    /// Which time stands where in a log: for `logs --since`.
    pub fn log_index(&self, name: &UnitName, stream: Stream) -> PathBuf {
        self.service(name).join(format!("{}.index", stream.as_str()))
    }

    /// The socket a `notify` service tells its readiness to.
    pub fn notify_socket(&self, name: &UnitName) -> PathBuf {
        self.service(name).join("notify.sock")
    }
}
