//! What services.toml declares, checked and with all defaults filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AlertSpec, Builtin, Durability, ExposureSpec, Signal, TaskSpec, UnitName, WatchSpec};

/// The PATH of a service that sets none (DESIGN section 4): Homebrew's folders, then the system's.
pub const DEFAULT_PATH: &str = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Everything that services.toml declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// Where our files and the database are.
    pub state_dir: PathBuf,
    /// launchd label = this + "." + name.
    pub label_prefix: String,
    /// Who starts the runners.
    pub manager: ManagerKind,
    /// Long-running services, in file order, disabled ones too.
    pub services: Vec<ServiceSpec>,
    /// Calendar jobs, in file order, disabled ones too.
    pub tasks: Vec<TaskSpec>,
    /// What is to be made to hold, in file order, disabled ones too.
    pub exposures: Vec<ExposureSpec>,
    /// Services and tasks whose part of the file has faults: not run, the others are.
    pub unusable: Vec<Unusable>,
    /// Alert rules and sinks.
    pub alerts: AlertSpec,
}

impl Fleet {
    /// The service called `name`.
    pub fn service(&self, name: &UnitName) -> Option<&ServiceSpec> {
        self.services.iter().find(|s| s.name == *name)
    }

    /// The calendar job called `name`.
    pub fn task(&self, name: &UnitName) -> Option<&TaskSpec> {
        self.tasks.iter().find(|task| task.name == *name)
    }
}

/// A service or task that cannot be run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusable {
    /// Its name.
    pub name: UnitName,
    /// Whether it is a calendar job.
    pub is_task: bool,
    /// One line: the first fault with its place.
    pub why: String,
}

/// Who starts runners at boot and after their death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ManagerKind {
    /// launchd or systemd once installed there, else embedded.
    Auto,
    /// The daemon itself.
    Embedded,
    /// macOS.
    Launchd,
    /// `systemd --user`.
    Systemd,
}

impl std::fmt::Display for ManagerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
            Self::Launchd => "launchd",
            Self::Systemd => "systemd",
        })
    }
}

/// A long-running service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name.
    pub name: UnitName,
    /// What runs.
    pub program: Program,
    /// Working directory, absolute.
    pub cwd: PathBuf,
    /// Environment from services.toml (`~` and `${VAR}` expanded).
    pub env: BTreeMap<String, String>,
    /// File with KEY=value lines, read at each start.
    pub env_file: Option<PathBuf>,
    /// Whether it is to run at all.
    pub enabled: bool,
    /// When to start it again.
    pub restart: RestartMode,
    /// Exit codes that are a good end.
    pub success_exit_codes: Vec<i32>,
    /// Exit codes that say 'restarting will not help'.
    pub hold_exit_codes: Vec<i32>,
    /// Least time between two automatic starts; zero switches back-off off too.
    pub throttle: Duration,
    /// Longest back-off in a storm.
    pub backoff_max: Duration,
    /// A shorter run counts toward the loop windows whatever its exit code.
    pub min_uptime: Duration,
    /// How long it may take to become ready.
    pub start_timeout: Duration,
    /// First step of the stop ladder.
    pub stop_signal: Signal,
    /// From that signal to SIGKILL when the operator stops it or everything goes down.
    pub stop_timeout: Duration,
    /// The same for restarts that we order (hung excepted).
    pub drain_timeout: Duration,
    /// TCP ports that have to be free before a start.
    pub ports: Vec<u16>,
    /// How far a stop reaches.
    pub sweep: Sweep,
    /// Offer NOTIFY_SOCKET and wait for READY=1.
    pub notify: bool,
    /// Started when these are ready, stopped before them.
    pub after: Vec<UnitName>,
    /// A held service is tried again when one of these changes.
    pub watch_config: Vec<PathBuf>,
    /// launchd ProcessType.
    pub process_type: ProcessType,
    /// Log rotation.
    pub log: LogSpec,
    /// How its health is probed, if at all.
    pub health: Option<HealthSpec>,
    /// How its memory is judged, if at all.
    pub memory: Option<MemorySpec>,
    /// Watched folders (built-in file-watcher only).
    pub watch: Vec<WatchSpec>,
    /// Listening address (built-in emit-server only).
    pub listen: Option<String>,
    /// What an answer of it stands for (built-in emit-server only).
    #[serde(default)]
    pub durability: Durability,
    /// File with the token that senders have to bring (built-in emit-server only).
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

/// What a service runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// argv, no shell; the first is looked up on the service's own PATH.
    Command(Vec<String>),
    /// Part of this binary.
    Builtin(Builtin),
}

/// When a service is started again after an end that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// Whatever the end.
    Always,
    /// Unless it ended with a success code.
    OnFailure,
    /// Not at all.
    Never,
}

/// How far a stop and the clean-up after a crash reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sweep {
    /// Every descendant that can be found.
    Tree,
    /// The process group only.
    Group,
}

/// launchd's ProcessType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProcessType {
    /// As an app: no throttling.
    Interactive,
    /// Light limits.
    Standard,
    /// By XPC activity.
    Adaptive,
    /// Throttled hard.
    Background,
}

/// Log rotation of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Bytes after which a file is rotated (at the next line end).
    pub max_size: u64,
    /// Rotated files kept beside the current one.
    pub keep: u32,
}

/// How health is probed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// The probe.
    pub probe: ProbeSpec,
    /// Start to start.
    pub interval: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// Consecutive failures for a verdict; H = (failures - 1) * interval + timeout.
    pub failures: u32,
    /// Separate "came up" probe.
    pub startup: Option<ProbeSpec>,
    /// Separate probe of named parts, asked after each good answer; whatever it says, nothing is restarted for it.
    #[serde(default)]
    pub parts: Option<ProbeSpec>,
    /// Sent to a hung service before the logs are copied, for a program that then writes down what it is doing.
    #[serde(default)]
    pub diagnostic_signal: Option<Signal>,
}

impl HealthSpec {
    /// The pause that is tolerated, H: a service that gives no sign of life for longer is hung.
    pub fn tolerated(&self) -> Duration {
        self.interval.saturating_mul(self.failures.saturating_sub(1)).saturating_add(self.timeout)
    }
}

/// One probe with what it expects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// What is asked.
    pub kind: ProbeKind,
    /// HTTP status that means well.
    pub expect_status: u16,
    /// Members that a JSON answer must have, with these values.
    pub expect_json: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// GET of a loopback URL.
    Http(String),
    /// A connection to HOST:PORT.
    Tcp(String),
    /// A connection to a Unix socket.
    Unix(PathBuf),
    /// GET of a path over a Unix socket.
    HttpUnix {
        /// The socket.
        socket: PathBuf,
        /// The path and query, `/healthz`.
        path: String,
    },
    /// The `ping` of an MCP server over HTTP, at a loopback URL.
    Mcp(String),
    /// The gateway's WebSocket greeting at a loopback URL.
    Ws(String),
    /// argv that exits 0.
    Exec(Vec<String>),
    /// A file whose modification time may be at most H old.
    HeartbeatFile(PathBuf),
    /// sd_notify WATCHDOG=1.
    Notify,
}

/// How memory is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemorySpec {
    /// What counts as fast growth, bytes per hour: slower growth that is certain is told too, at lower severity.
    pub growth: Option<u64>,
    /// Restart above this, bytes.
    pub limit: Option<u64>,
    /// Between two samples.
    pub interval: Duration,
    /// A declared cap: growth below it is a cache that fills, bytes.
    pub plateau: Option<u64>,
    /// It (or its worker) is replaced so often on purpose: growth that would not reach the limit within that time is not told.
    pub recycle: Option<Duration>,
    /// What is done about growth.
    pub on_growth: OnGrowth,
    /// Says whether it is idle: a restart for memory waits for that. A good answer means idle.
    pub idle: Option<ProbeSpec>,
    /// Hours of the day, local time, in which a restart for memory may be; without `idle` and `quiet` it waits for nothing.
    pub quiet: Vec<DayHours>,
    /// How long a restart waits for one of the two.
    pub max_wait: Duration,
    /// Above this it waits no more, bytes.
    pub ceiling: Option<u64>,
    /// Heap in use, by the service's own word: judged beside the processes' memory.
    pub heap: Option<FigureSpec>,
    /// Requests served so far, by the service's own word: what load explains is no leak.
    pub requests: Option<FigureSpec>,
    /// Has its main process write a heap snapshot, once for each growth that is told and on request.
    pub snapshot_signal: Option<Signal>,
}

/// What is done about sustained growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnGrowth {
    /// It is told.
    #[default]
    Alert,
    /// It is told, and the service is restarted when it is idle, or in its quiet hours.
    RestartWhenIdle,
}

/// A stretch of each day, local time, as minutes since midnight; `until` before `from` goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayHours {
    /// Its first minute.
    pub from: u16,
    /// The minute after its last.
    pub until: u16,
}

impl std::fmt::Display for DayHours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

/// A number in a JSON answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FigureSpec {
    /// A loopback URL.
    pub url: String,
    /// Where in the answer it stands, as a JSON pointer (RFC 6901): `/memory/heapUsed`.
    pub pointer: String,
}

/// What makes a run ready (DESIGN section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The first good startup or health probe; the daemon tells.
    Probe,
    /// READY=1 on NOTIFY_SOCKET.
    Notify,
    /// That the program could be executed.
    Exec,
}

impl ServiceSpec {
    /// What makes a run of it ready.
    pub fn readiness(&self) -> Readiness {
        let probe = self.health.as_ref().map(|health| &health.startup.as_ref().unwrap_or(&health.probe).kind);
        // One that is watched for WATCHDOG=1 is ready when it says so.
        let asked = probe.is_some_and(|kind| *kind != ProbeKind::Notify);
        match (asked, self.notify) {
            (true, _) => Readiness::Probe,
            (false, true) => Readiness::Notify,
            (false, false) => Readiness::Exec,
        }
    }

    /// How long a run may say nothing over its NOTIFY_SOCKET, where it is watched for that; it is told at its start.
    pub fn watchdog(&self) -> Option<Duration> {
        self.health.as_ref().filter(|health| health.probe.kind == ProbeKind::Notify).map(HealthSpec::tolerated)
    }

    /// CONTRACT's defaults with `/bin/true` as the command.
    #[cfg(test)]
    pub fn for_tests(name: &str) -> Self {
        Self {
            name: UnitName::new(name).unwrap(),
            program: Program::Command(vec!["/bin/true".into()]),
            cwd: "/".into(),
            env: BTreeMap::new(),
            env_file: None,
            enabled: true,
            restart: RestartMode::Always,
            success_exit_codes: vec![0],
            hold_exit_codes: vec![78],
            throttle: Duration::from_secs(10),
            backoff_max: Duration::from_secs(300),
            min_uptime: Duration::from_secs(10),
            start_timeout: Duration::from_secs(60),
            stop_signal: Signal::TERM,
            stop_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            ports: Vec::new(),
            sweep: Sweep::Tree,
            notify: false,
            after: Vec::new(),
            watch_config: Vec::new(),
            process_type: ProcessType::Interactive,
            log: LogSpec { max_size: 10 << 20, keep: 5 },
            health: None,
            memory: None,
            watch: Vec::new(),
            listen: None,
            durability: Durability::Process,
            token_file: None,
        }
    }
}
