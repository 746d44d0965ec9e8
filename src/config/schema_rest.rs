//! Tasks and alerts of services.toml as data structures, for its JSON schema as `schema_file` is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::{Calendars, CatchUp, DurationText, PathText, SizeText, StepBuiltin, When};
use crate::model::{Overlap, Severity, SinkKind};

/// A calendar job, or with `ensure` something that is made to hold.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is asked for")]
pub(super) enum AnyTask {
    Job(Task),
    Exposure(Exposure),
}

/// Something that is made to hold, looked at again and again, made to hold again when it does not, and undone when it is stopped: a
/// tailnet's serve (ensure = ["tailscale", "serve", "--bg", "18789"], undo = ["tailscale", "serve", "reset"]), or a port forward
/// (ensure = ["ssh", "-fNM", "-S", "/tmp/fwd.sock", "-o", "ExitOnForwardFailure=yes", "-L", "8080:localhost:80", "host"],
/// check = ["ssh", "-S", "/tmp/fwd.sock", "-O", "check", "host"], undo = ["ssh", "-S", "/tmp/fwd.sock", "-O", "exit", "host"]).
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Exposure {
    /// Makes it hold: program and arguments, without a shell. It ends by itself, and is tried again until it does so with 0; it may be run
    /// when it holds already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    ensure: Vec<String>,
    /// Ends with 0 while it holds. Without it, ensure is run each time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    check: Vec<String>,
    /// Undoes it, when it is stopped, disabled or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    undo: Vec<String>,
    /// Between two looks, start to start, 100ms to 24h.
    interval: DurationText,
    /// For each of the three; what takes longer is ended with all that it has started. 100ms to 1h.
    timeout: DurationText,
    /// Before the second try, 10ms to 1h; up to twice as long before each further one, with jitter.
    retry_delay: DurationText,
    /// The longest time between two tries, 1s to 24h.
    backoff_max: DurationText,
    /// Whether it is wanted at all.
    enabled: bool,
    /// Working directory.
    cwd: PathText,
    /// Environment. In the values ~ and ${VAR} are expanded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    /// File with KEY=value lines, mode 0600.
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<PathText>,
}

impl Default for Exposure {
    fn default() -> Self {
        Self {
            ensure: Vec::new(),
            check: Vec::new(),
            undo: Vec::new(),
            interval: DurationText("5m"),
            timeout: DurationText("30s"),
            retry_delay: DurationText("2s"),
            backoff_max: DurationText("5m"),
            enabled: true,
            cwd: PathText("~"),
            env: BTreeMap::new(),
            env_file: None,
        }
    }
}

/// A calendar job.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Task {
    /// When it is due: the union of these.
    #[serde(skip_serializing)]
    #[expect(dead_code, reason = "only its schema is asked for")]
    calendar: Calendars,
    /// "local", or an IANA name such as Europe/Berlin.
    timezone: &'static str,
    /// What it does, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    steps: Vec<Step>,
    /// What happens with slots that were missed: nothing, one run for all, or one run if the last is not too long ago.
    catch_up: CatchUp,
    /// What happens when it is due while its run before still goes on: it is left out, it runs after that one (of several the last),
    /// or that one is ended.
    overlap: Overlap,
    /// A slot that nobody has started by then is late.
    start_within: DurationText,
    /// A longer run is ended; counted in time in which the machine is awake.
    max_runtime: DurationText,
    /// A shorter run is suspicious.
    min_runtime: DurationText,
    /// What a step is sent when it is to end, with or without SIG.
    stop_signal: &'static str,
    /// From that signal to SIGKILL.
    stop_timeout: DurationText,
    /// Whether it is to run at all.
    enabled: bool,
    /// Working directory of its steps.
    cwd: PathText,
    /// Environment of its steps. In the values ~ and ${VAR} are expanded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    /// File with KEY=value lines, mode 0600.
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<PathText>,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            calendar: Calendars,
            timezone: "local",
            steps: Vec::new(),
            catch_up: CatchUp("once"),
            overlap: Overlap::Skip,
            start_within: DurationText("10m"),
            max_runtime: DurationText("1h"),
            min_runtime: DurationText("0s"),
            stop_signal: "TERM",
            stop_timeout: DurationText("10s"),
            enabled: true,
            cwd: PathText("~"),
            env: BTreeMap::new(),
            env_file: None,
        }
    }
}

/// One step of a calendar job: either run or builtin.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Step {
    /// Program and arguments, without a shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    run: Vec<String>,
    /// Maintenance that is part of this binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    builtin: Option<StepBuiltin>,
    /// What it is called; by default as its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    name: Option<String>,
    /// For this step and one try, not above max_runtime; counted in time in which the machine is awake.
    timeout: DurationText,
    /// Tries after the first.
    #[schemars(range(max = 100))]
    retries: u32,
    /// Before the first further try, 0s to 5m; doubled for each one after it, up to 5m.
    retry_delay: DurationText,
    /// Its failure does not end the job, and does not make it a failed one.
    continue_on_failure: bool,
    /// By default a step is done unless the job has failed. ok: only when the last step that was done ended well; failed: only when
    /// it failed, also when that has made the job a failed one.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    when: Option<When>,
    /// Exit codes that are no failure.
    #[schemars(length(min = 1))]
    success_exit_codes: Vec<u8>,
    /// Added to the job's environment. In the values ~ and ${VAR} are expanded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    /// Working directory; by default the job's.
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<PathText>,
    /// How old the oldest event may be, 90d by default (builtin = "prune" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<DurationText>,
    /// How old the oldest rotated log may be, 30d by default (builtin = "prune" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<DurationText>,
    /// How large all logs may be together, 1GiB by default (builtin = "prune" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    logs_size: Option<SizeText>,
    /// How old the oldest piece of evidence may be, 30d by default (builtin = "prune" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<DurationText>,
    /// How large all evidence may be together, 256MiB by default (builtin = "prune" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence_size: Option<SizeText>,
    /// How old the oldest memory sample may be, 365d by default (builtin = "prune" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<DurationText>,
    /// Copies of the database that are kept, 3 by default, 0: none is made (builtin = "vacuum" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    backups: Option<u32>,
    /// How far the report looks back, 7d by default (builtin = "digest" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<DurationText>,
    /// Reports that are kept, 12 by default (builtin = "digest"); rotated files that are kept of each log, 5 by default
    /// (builtin = "rotate").
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    keep: Option<u32>,
    /// A log of this size is put aside, 10MiB by default (builtin = "rotate" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    max_size: Option<SizeText>,
    /// An older copy of the database is a failure, 8d by default (builtin = "verify-backup" only).
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<DurationText>,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            run: Vec::new(),
            builtin: None,
            name: None,
            timeout: DurationText("10m"),
            retries: 0,
            retry_delay: DurationText("5s"),
            continue_on_failure: false,
            when: None,
            success_exit_codes: vec![0],
            env: BTreeMap::new(),
            cwd: None,
            events: None,
            logs: None,
            logs_size: None,
            evidence: None,
            evidence_size: None,
            samples: None,
            backups: None,
            period: None,
            keep: None,
            max_size: None,
            max_age: None,
        }
    }
}

/// When somebody is told, and where.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Alerts {
    /// So many crashes within so long are a crash loop.
    crash_loop: Window,
    /// So many are a storm.
    storm: Window,
    /// Crashes that come more slowly, and still again and again.
    slow_loop: Vec<Window>,
    /// The gaps between an alert, its first reminder, the next, and so on, 1m to 30d each; the last one repeats. Empty: no reminders.
    reminders: Vec<DurationText>,
    /// How long a service has to be well before its alert is over, 1m to 24h.
    resolve_after: DurationText,
    /// How long a sink that cannot be reached is tried before a message is given up, 1h to 60d.
    expire_after: DurationText,
    /// Whether a report goes out each Monday at 9. A calendar job with a `digest` step makes its own, and there is no other one then.
    weekly: bool,
    /// A URL that is called while all is well, so that silence is noticed elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadman: Option<Deadman>,
    /// Where alerts go; without one to the desktop and the supervisor's log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sink: Vec<Sink>,
}

impl Default for Alerts {
    fn default() -> Self {
        let window = |count, within| Window { count, within: DurationText(within) };
        Self {
            crash_loop: window(3, "5m"),
            storm: window(5, "10m"),
            slow_loop: vec![window(4, "1h"), window(6, "24h")],
            reminders: ["1h", "4h", "24h"].map(DurationText).into(),
            resolve_after: DurationText("10m"),
            expire_after: DurationText("7d"),
            weekly: true,
            deadman: None,
            sink: Vec::new(),
        }
    }
}

/// So many within so long.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    count: u32,
    /// Within how long.
    within: DurationText,
}

/// A URL that is called while all is well. Exactly one of url and the three places for a secret.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Deadman {
    /// The address, such as that of a check of healthchecks.io; /start and /fail are put behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// File with the address, mode 0600.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_file: Option<PathText>,
    /// Variable of the daemon's environment with the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_env: Option<String>,
    /// Item of the macOS keychain with the address, by its service name.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_keychain: Option<String>,
    /// How often it is called, 10s to 24h.
    interval: DurationText,
}

impl Default for Deadman {
    fn default() -> Self {
        Self { url: None, secret_file: None, secret_env: None, secret_keychain: None, interval: DurationText("1m") }
    }
}

/// One place alerts go to. At most one of secret_file, secret_env and secret_keychain.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sink {
    /// Which kind: it decides which other keys there are.
    #[serde(rename = "type")]
    kind: SinkKind,
    /// What it is called in `supervisor alerts`: letters, digits, '-' and '_'; by default its type, with a number from the second on.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// It takes alerts of this severity and above; by default warning, for type log info.
    #[serde(skip_serializing_if = "Option::is_none")]
    min_severity: Option<Severity>,
    /// How long one try may take, 1s to 2m.
    #[serde(default = "ten_seconds")]
    timeout: DurationText,
    /// Program that gets the alert as JSON on stdin (type command).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    /// Address (types webhook, slack, ntfy and email; email: smtps://user@host/?to=me@example.org&from=it@example.org).
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Extra headers (type webhook). In the values ~ and ${VAR} are expanded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// File with the secret, mode 0600: the webhook's HMAC key, Slack's URL, ntfy's access token, the mail password.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_file: Option<PathText>,
    /// Variable of the daemon's environment with the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_env: Option<String>,
    /// Item of the macOS keychain with the secret, by its service name.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_keychain: Option<String>,
}

fn ten_seconds() -> DurationText {
    DurationText("10s")
}
