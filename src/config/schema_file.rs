//! services.toml with its services as data structures, for its JSON schema and for nothing else: no file is read through them. Doc comments
//! become the descriptions that an editor shows, `Default` the defaults; tests hold keys and defaults to the reader's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::schema::{DurationText, PathText, SizeText};
use super::schema_memory::Memory;
use super::schema_rest::{Alerts, AnyTask};
use crate::model::{Builtin, Durability, Initial, ManagerKind, ProcessType, RestartMode, Sweep, WatchOn};

/// The services that the supervisor keeps alive, its calendar jobs, and where alerts go.
#[derive(Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "services.toml")]
pub(super) struct File {
    /// The supervisor itself.
    pub(super) supervisor: Supervisor,
    /// Long-running services, by name: letters, digits, '-', '_' and '.', at most 64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) service: BTreeMap<String, Service>,
    /// Calendar jobs, and what is made to hold, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) task: BTreeMap<String, AnyTask>,
    /// When crashes become an alert, and where alerts go.
    pub(super) alerts: Alerts,
}

/// The supervisor itself.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Supervisor {
    /// Where the database, the logs and the supervisor's own files are. --state-dir and OPENCLAW_STATE_DIR override it.
    state_dir: PathText,
    /// A service's launchd label is this, a dot, and its name.
    label_prefix: &'static str,
    /// Who starts the runners: launchd on macOS and systemd on Linux once installed there, else the daemon itself (embedded).
    manager: ManagerKind,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self { state_dir: PathText("~/.openclaw"), label_prefix: "ai.openclaw", manager: ManagerKind::Auto }
    }
}

/// A long-running service.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Service {
    /// Program and arguments, without a shell. The program is a bare name (looked up on the service's own PATH), an absolute path, or ~/...
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub(super) command: Vec<String>,
    /// In place of command: a service that is part of this binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    builtin: Option<Builtin>,
    /// Working directory.
    cwd: PathText,
    /// Environment. In the values ~ and ${VAR} are expanded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    /// File with KEY=value lines, mode 0600, read at each start. Its content is never copied or shown: secrets belong there.
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<PathText>,
    /// Whether it is to run at all.
    enabled: bool,
    /// When to start it again after an end that nobody asked for.
    restart: RestartMode,
    /// Exit codes that are a good end and no crash.
    success_exit_codes: Vec<u8>,
    /// Exit codes that say 'restarting will not help': the service is held, tried again slowly and when a file in watch_config changes.
    hold_exit_codes: Vec<u8>,
    /// Least time between two automatic starts, 0s to 1h; 0s switches back-off off too.
    throttle: DurationText,
    /// Longest pause in a storm of crashes, 1s to 24h.
    backoff_max: DurationText,
    /// A run shorter than this counts toward the loop windows whatever its exit code.
    min_uptime: DurationText,
    /// How long it may take to become ready.
    start_timeout: DurationText,
    /// First step of a stop, with or without SIG.
    stop_signal: &'static str,
    /// From that signal to SIGKILL.
    stop_timeout: DurationText,
    /// The same for restarts that the supervisor orders; by default as stop_timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<DurationText>,
    /// TCP ports that have to be free before each start.
    #[schemars(inner(range(min = 1)))]
    ports: Vec<u16>,
    /// How far a stop reaches: every descendant that can be found, or the process group only.
    sweep: Sweep,
    /// Offer NOTIFY_SOCKET and wait for READY=1; by default true for a builtin.
    notify: bool,
    /// Started when these services are ready, stopped before them.
    after: Vec<String>,
    /// A held service is tried again when one of these files changes.
    watch_config: Vec<PathText>,
    /// launchd ProcessType.
    process_type: ProcessType,
    /// Rotation of its two log files.
    log: Log,
    /// How its health is probed; without this table it is not, unless it is a builtin, which is asked at its own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    /// How its memory is judged; without this table it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    /// Watched folders (builtin = "file-watcher" only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    watch: Vec<Watch>,
    /// Where it listens, an address of this machine; 127.0.0.1:18790 by default (builtin = "emit-server" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// What its answer of 200 stands for: the events outlive every process (the default), or a loss of power, too (builtin =
    /// "emit-server" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<Durability>,
    /// File (0600) with the token that senders have to bring (builtin = "emit-server" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathText>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            builtin: None,
            cwd: PathText("~"),
            env: BTreeMap::new(),
            env_file: None,
            enabled: true,
            restart: RestartMode::Always,
            success_exit_codes: vec![0],
            hold_exit_codes: vec![78],
            throttle: DurationText("10s"),
            backoff_max: DurationText("5m"),
            min_uptime: DurationText("10s"),
            start_timeout: DurationText("60s"),
            stop_signal: "TERM",
            stop_timeout: DurationText("30s"),
            drain_timeout: None,
            ports: Vec::new(),
            sweep: Sweep::Tree,
            notify: false,
            after: Vec::new(),
            watch_config: Vec::new(),
            process_type: ProcessType::Interactive,
            log: Log::default(),
            health: None,
            memory: None,
            watch: Vec::new(),
            listen: None,
            durability: None,
            token_file: None,
        }
    }
}

/// Rotation of the two log files of a service.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// A file is rotated when it has this size.
    max_size: SizeText,
    /// Rotated files kept beside the current one.
    #[schemars(range(min = 1, max = 1000))]
    keep: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { max_size: SizeText("10MiB"), keep: 5 }
    }
}

/// How health is probed: exactly one of http, tcp, unix, ws, mcp, exec, heartbeat_file and notify. A service that gives no sign of
/// life for longer than (failures - 1) * interval + timeout is hung, and is restarted.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    /// GET of a URL on this machine, such as http://127.0.0.1:18789/healthz.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// A connection to HOST:PORT on this machine. It says little: the kernel accepts connections for a program that hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<String>,
    /// A Unix socket: with path a GET over it, else only a connection, which says as little as tcp.
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<PathText>,
    /// What is asked for over the socket of unix, such as /healthz.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The gateway's WebSocket greeting, such as ws://127.0.0.1:18789.
    #[serde(skip_serializing_if = "Option::is_none")]
    ws: Option<String>,
    /// The ping of an MCP server over HTTP, such as http://127.0.0.1:3001/mcp.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<String>,
    /// A program that exits 0 when all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exec: Vec<String>,
    /// A file that the service touches at least once in (failures - 1) * interval + timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_file: Option<PathText>,
    /// true: the service sends WATCHDOG=1 over its NOTIFY_SOCKET (needs notify = true in its own table),
    /// and finds in WATCHDOG_USEC how often it has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    notify: Option<bool>,
    /// HTTP status that means well.
    #[schemars(range(min = 100, max = 599))]
    expect_status: u16,
    /// Members that a JSON answer must have, with these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_json: Option<BTreeMap<String, Value>>,
    /// From the start of one probe to the start of the next.
    interval: DurationText,
    /// For one probe, 1ms to 120s, not above interval.
    timeout: DurationText,
    /// Silent probes in a row for a hang.
    #[schemars(range(min = 1, max = 1000))]
    failures: u32,
    /// A separate probe for 'came up'.
    #[serde(skip_serializing_if = "Option::is_none")]
    startup: Option<Startup>,
    /// A separate probe of named parts (channels, peers), asked after each good answer: they are shown and told one by one, and the
    /// service is not restarted for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Parts>,
    /// Sent to the service when it hangs, before it is ended, so that it writes down what it is doing: QUIT, or what the program
    /// documents for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostic_signal: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            http: None,
            tcp: None,
            unix: None,
            path: None,
            ws: None,
            mcp: None,
            exec: Vec::new(),
            heartbeat_file: None,
            notify: None,
            expect_status: 200,
            expect_json: None,
            interval: DurationText("10s"),
            timeout: DurationText("5s"),
            failures: 4,
            startup: None,
            parts: None,
            diagnostic_signal: None,
        }
    }
}

/// Exactly one of http, tcp, unix, ws, mcp, exec and heartbeat_file, asked until it answers well for the first time.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Startup {
    /// GET of a URL on this machine, such as http://127.0.0.1:18789/startupz.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// A connection to HOST:PORT on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<String>,
    /// A Unix socket: with path a GET over it, else only a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<PathText>,
    /// What is asked for over the socket of unix, such as /startupz.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The gateway's WebSocket greeting, such as ws://127.0.0.1:18789.
    #[serde(skip_serializing_if = "Option::is_none")]
    ws: Option<String>,
    /// The ping of an MCP server over HTTP, such as http://127.0.0.1:3001/mcp.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<String>,
    /// A program that exits 0 when the service came up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exec: Vec<String>,
    /// A file that the service has touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_file: Option<PathText>,
    /// HTTP status that means well.
    #[schemars(range(min = 100, max = 599))]
    expect_status: u16,
    /// Members that a JSON answer must have, with these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_json: Option<BTreeMap<String, Value>>,
}

impl Default for Startup {
    fn default() -> Self {
        Self {
            http: None,
            tcp: None,
            unix: None,
            path: None,
            ws: None,
            mcp: None,
            exec: Vec::new(),
            heartbeat_file: None,
            expect_status: 200,
            expect_json: None,
        }
    }
}

/// Exactly one of http, unix with path, and exec.
#[derive(Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parts {
    /// GET of a URL on this machine whose JSON names what fails, such as the gateway's http://127.0.0.1:18789/readyz.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// The same over a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<PathText>,
    /// What is asked for over the socket of unix, such as /readyz.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// A program that prints JSON with the name of each part and "ok" or what is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exec: Vec<String>,
}

/// Watched folders and what is run for each file in them.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Watch {
    /// What its files are remembered under, and what `supervisor watch` knows it by; by default the first of its paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Folders. One that is not there is watched from when it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    paths: Vec<PathText>,
    /// What is reacted to.
    #[schemars(length(min = 1))]
    on: Vec<WatchOn>,
    /// Sub-folders too.
    recursive: bool,
    /// A file is taken up when its size and modification time have not changed for this long, 0s to 1h.
    settle: DurationText,
    /// Files that are left alone: globs in gitignore syntax. Partial downloads, .DS_Store and ._* are left alone in any case, unless
    /// the same glob stands here with ! before it.
    ignore: Vec<String>,
    /// Program and arguments, without a shell; {path}, {name}, {dir}, {event}, {from} and {attempt} stand for the file, what happened
    /// to it, and how often its handler was started. The same comes as JSON on stdin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    run: Vec<String>,
    /// Handlers at the same time.
    #[schemars(range(min = 1, max = 256))]
    concurrency: u32,
    /// For one handler: it is ended then, with all that it has started, and has failed.
    timeout: DurationText,
    /// How often a handler that fails is run again; then the file is given up, until `supervisor watch retry`.
    #[schemars(range(max = 100))]
    retries: u32,
    /// Pause before the first of them, 0s to 5m; twice as long before each further one, an hour at most.
    retry_delay: DurationText,
    /// What becomes of the files that are there when a folder is watched for the first time: seen, they are left alone; handle, they are
    /// new.
    initial: Initial,
    /// Scan the folders this often, 1s to 1h, in place of being told of changes; by default only volumes that tell of none are
    /// scanned, each 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    poll: Option<DurationText>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            name: None,
            paths: Vec::new(),
            on: vec![WatchOn::Created],
            recursive: false,
            settle: DurationText("2s"),
            ignore: Vec::new(),
            run: Vec::new(),
            concurrency: 1,
            timeout: DurationText("5m"),
            retries: 3,
            retry_delay: DurationText("10s"),
            initial: Initial::Seen,
            poll: None,
        }
    }
}
