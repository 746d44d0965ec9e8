//! `[service.NAME]`: a long-running service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::bounds::{self, secs};
use super::fault::code;
use super::fields::Fields;
use super::reader::{Ctx, Field, Span};
use super::units::{Wrong, quoted};
use super::{expand, health, loopback, memory, watch};
use crate::model::paths::Paths;
use crate::model::{
    Builtin, Durability, LogSpec, ProcessType, Program, RestartMode, ServiceSpec, Signal, Sweep, UnitName,
};

pub(super) const KEYS: &[&str] = &[
    "command",
    "builtin",
    "cwd",
    "env",
    "env_file",
    "enabled",
    "restart",
    "success_exit_codes",
    "hold_exit_codes",
    "throttle",
    "backoff_max",
    "min_uptime",
    "start_timeout",
    "stop_signal",
    "stop_timeout",
    "drain_timeout",
    "ports",
    "sweep",
    "notify",
    "after",
    "watch_config",
    "process_type",
    "log",
    "health",
    "memory",
    "watch",
    "listen",
    "durability",
    "token_file",
];
pub(super) const LOG_KEYS: &[&str] = &["max_size", "keep"];

/// Where the emit-server listens unless `listen` says otherwise.
const EMIT_SERVER_LISTEN: &str = "127.0.0.1:18790";

const BUILTINS: &[(&str, Builtin)] = &[("file-watcher", Builtin::FileWatcher), ("emit-server", Builtin::EmitServer)];
const RESTARTS: &[(&str, RestartMode)] =
    &[("always", RestartMode::Always), ("on-failure", RestartMode::OnFailure), ("never", RestartMode::Never)];
const DURABILITIES: &[(&str, Durability)] = &[("process", Durability::Process), ("full", Durability::Full)];
const SWEEPS: &[(&str, Sweep)] = &[("tree", Sweep::Tree), ("group", Sweep::Group)];
const PROCESS_TYPES: &[(&str, ProcessType)] = &[
    ("interactive", ProcessType::Interactive),
    ("standard", ProcessType::Standard),
    ("adaptive", ProcessType::Adaptive),
    ("background", ProcessType::Background),
];
/// A service as read, with the places of what is checked against other services.
pub(super) struct ServiceDraft {
    pub(super) spec: ServiceSpec,
    /// Of each member of `after`, in its order.
    pub(super) after_at: Vec<Span>,
    /// Ports it binds, `listen` among them.
    pub(super) ports_at: Vec<(u16, Span)>,
}

/// `paths`: where the file has state be.
pub(super) fn read(ctx: &mut Ctx<'_>, name: UnitName, f: &Fields<'_>, paths: &Paths) -> ServiceDraft {
    let program = program(ctx, f);
    let builtin = match program {
        Program::Builtin(builtin) => Some(builtin),
        Program::Command(_) => None,
    };
    let (success_exit_codes, hold_exit_codes) = exit_codes(ctx, f);
    let throttle = f.duration(ctx, "throttle", secs(10), &bounds::THROTTLE);
    // A throttle above the default back-off moves that default; below one that was written it is a contradiction.
    let backoff_max = f.duration(ctx, "backoff_max", secs(300).max(throttle), &bounds::BACKOFF_MAX);
    if backoff_max < throttle {
        let help = "write a backoff_max that is at least the throttle";
        f.conflict(ctx, "backoff_max", "it is below `throttle`, the least it can be".into(), "below throttle", help);
    }
    let stop_timeout = f.duration(ctx, "stop_timeout", secs(30), &bounds::STOP_TIMEOUT);
    // It says itself when it can be reached.
    let notify = f.boolean(ctx, "notify", builtin.is_some());
    let (ports, mut ports_at) = ports(ctx, f);
    let (listen, listen_at) = listen(ctx, f, builtin);
    ports_at.extend(listen_at);
    let durability = f.choice(ctx, "durability", Durability::Process, DURABILITIES);
    let token_file = f.path(ctx, "token_file");
    for key in ["durability", "token_file"] {
        only_for(ctx, f, key, builtin, Builtin::EmitServer);
    }
    let (after, after_at) = after(ctx, f);
    let stop_signal = stop_signal(ctx, f);
    let owner = health::Owner { program: &program, stop_signal, notify };
    let health = health::read(ctx, f, &owner);
    let own = builtin.filter(|_| f.get("health").is_none());
    let health =
        health.or_else(|| own.and_then(|own| health::of_builtin(own, listen.as_deref(), &paths.watch_socket(&name))));
    let memory = memory::read(ctx, f, &owner);
    let home = ctx.around.home.clone();
    let spec = ServiceSpec {
        name,
        program,
        cwd: f.path(ctx, "cwd").unwrap_or(home),
        env: environment(ctx, f),
        env_file: f.path(ctx, "env_file"),
        enabled: f.boolean(ctx, "enabled", true),
        restart: f.choice(ctx, "restart", RestartMode::Always, RESTARTS),
        success_exit_codes,
        hold_exit_codes,
        throttle,
        backoff_max,
        min_uptime: f.duration(ctx, "min_uptime", secs(10), &bounds::MIN_UPTIME),
        start_timeout: f.duration(ctx, "start_timeout", secs(60), &bounds::START_TIMEOUT),
        stop_signal,
        stop_timeout,
        drain_timeout: f.duration(ctx, "drain_timeout", stop_timeout, &bounds::DRAIN_TIMEOUT),
        ports,
        sweep: f.choice(ctx, "sweep", Sweep::Tree, SWEEPS),
        notify,
        after,
        watch_config: watched_config(ctx, f),
        process_type: f.choice(ctx, "process_type", ProcessType::Interactive, PROCESS_TYPES),
        log: log(ctx, f),
        health,
        memory,
        watch: watch::read(ctx, f, builtin),
        listen,
        durability,
        token_file,
    };
    ServiceDraft { spec, after_at, ports_at }
}

fn program(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Program {
    let command = f.get("command");
    let argv = command.as_ref().and_then(|field| field.argv(ctx, "[\"program\", \"argument\"]")).unwrap_or_default();
    let Some(field) = f.get("builtin") else {
        if command.is_none() {
            let help = "write command = [\"program\", \"argument\"], or builtin = \"file-watcher\" or \"emit-server\"";
            f.missing(ctx, "`command` (or `builtin`)", help);
        }
        return Program::Command(argv);
    };
    let builtin = field.choice(ctx, BUILTINS);
    if command.is_some() {
        let message = "a service has either a `command` or a `builtin`".to_owned();
        f.conflict(ctx, "builtin", message, "beside `command`", "take out one of the two lines");
    }
    builtin.map_or(Program::Command(argv), Program::Builtin)
}

/// Success and hold codes, which may have none in common.
fn exit_codes(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> (Vec<i32>, Vec<i32>) {
    let mut read = |key: &str, default: i32| {
        if f.get(key).is_none() {
            return (vec![default], Vec::new());
        }
        let found = f.list(ctx, key, ("a list of exit codes", "[0]"), |ctx, member| {
            let code = member.number(ctx, 0..=255, "0")?;
            Some((i32::try_from(code).ok()?, member.clone()))
        });
        let codes = found.iter().map(|(code, _)| *code).collect::<Vec<_>>();
        (codes, found)
    };
    let (success, success_at) = read("success_exit_codes", 0);
    let (hold, hold_at) = read("hold_exit_codes", 78);
    // Where only one of the lists was written, its member is what clashes with the other's default.
    let written = if hold_at.is_empty() { (&success_at, &hold) } else { (&hold_at, &success) };
    for (code, member) in written.0 {
        if written.1.contains(code) {
            let message =
                format!("exit code {code} is in both success_exit_codes and hold_exit_codes ([78] by default)");
            let wrong = Wrong::new(code::CONFLICT, message, "in both lists");
            member.wrong(ctx, wrong.help("let each code stand in one list; hold_exit_codes = [] holds on none"));
        }
    }
    (success, hold)
}

/// `stop_signal`: also used by tasks.
pub(super) fn stop_signal(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Signal {
    /// Those that do not end a process by themselves and that none handles in order to end.
    const USELESS: [&str; 7] = ["STOP", "TSTP", "TTIN", "TTOU", "CONT", "CHLD", "URG"];
    let Some(field) = f.get("stop_signal") else { return Signal::TERM };
    let Some(signal) = field.signal(ctx, "\"TERM\"") else { return Signal::TERM };
    if USELESS.iter().any(|name| Signal::parse(name) == Some(signal)) {
        let wrong = Wrong::new(code::BAD_FORM, format!("{signal} does not ask a process to end"), "ends nothing");
        field.wrong(ctx, wrong.help("write \"TERM\", or what the program documents, such as \"INT\" or \"QUIT\""));
    }
    signal
}

fn ports(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> (Vec<u16>, Vec<(u16, Span)>) {
    let found = f.list(ctx, "ports", ("a list of port numbers", "[18789]"), |ctx, member| {
        let port = member.number(ctx, 1..=65_535, "18789")?;
        Some((u16::try_from(port).ok()?, member.span.clone()))
    });
    (found.iter().map(|(port, _)| *port).collect(), found)
}

fn after(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> (Vec<UnitName>, Vec<Span>) {
    let found = f.list(ctx, "after", ("a list of service names", "[\"gateway\"]"), |ctx, member| {
        let text = member.text(ctx, "a service's name in quotes", "\"gateway\"")?;
        match UnitName::new(text) {
            Ok(name) => Some((name, member.span.clone())),
            Err(bad) => {
                let wrong = Wrong::new(code::NAME, bad.to_string(), "not a name");
                member.wrong(ctx, wrong.help("write the NAME of a [service.NAME] of this file"));
                None
            }
        }
    });
    found.into_iter().unzip()
}

/// `env`: also used by tasks.
pub(super) fn environment(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let pairs = f.get("env").and_then(|field| field.strings(ctx, "{ NODE_ENV = \"production\" }")).unwrap_or_default();
    for (field, name, text) in pairs {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("{} cannot be the name of a variable", quoted(name));
            let wrong = Wrong::new(code::BAD_FORM, message, "the value of a badly named variable");
            field.wrong(ctx, wrong.help("a name is not empty and holds neither `=` nor NUL"));
            continue;
        }
        let value = expand::nul_free(text).and_then(|()| expand::expand(text, ctx.around));
        match value {
            Ok(value) => _ = env.insert(name.to_owned(), value),
            Err(wrong) => field.wrong(ctx, wrong),
        }
    }
    env
}

fn watched_config(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Vec<PathBuf> {
    f.list(ctx, "watch_config", ("a list of paths", "[\"~/some/path\"]"), |ctx, member| member.path(ctx))
}

fn log(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> LogSpec {
    let mut spec = LogSpec { max_size: 10 << 20, keep: 5 };
    if let Some(log) = f.inner(ctx, "log", LOG_KEYS, "{ max_size = \"10MiB\", keep = 5 }") {
        let max_size = log.get("max_size").and_then(|field| field.size(ctx, ("1KiB", "100GiB"), "\"10MiB\""));
        spec.max_size = max_size.unwrap_or(spec.max_size);
        spec.keep = log.number(ctx, "keep", spec.keep, 1..=1000);
    }
    spec
}

/// A fault where `key` is there although the service is not that built-in one.
pub(super) fn only_for(ctx: &mut Ctx<'_>, f: &Fields<'_>, key: &str, is: Option<Builtin>, wanted: Builtin) -> bool {
    if is == Some(wanted) {
        return true;
    }
    if f.get(key).is_some() {
        let name = BUILTINS.iter().find(|(_, b)| *b == wanted).map_or("", |(name, _)| name);
        let help = format!("take it out, or write builtin = \"{name}\" in place of `command`");
        f.conflict(ctx, key, format!("only builtin = \"{name}\" has this key"), "not for this service", &help);
    }
    false
}

/// What `read` gives; a fault where the list at `key` was written and is empty.
pub(super) fn non_empty<T>(
    ctx: &mut Ctx<'_>,
    f: &Fields<'_>,
    key: &str,
    so: &str,
    read: impl FnOnce(&mut Ctx<'_>) -> Vec<T>,
) -> Vec<T> {
    let is_empty = |field: &Field<'_>| field.value().as_array().is_some_and(|array| array.is_empty());
    if let Some(field) = f.get(key).filter(is_empty) {
        field.wrong(
            ctx,
            Wrong::new(code::MISSING, format!("the list is empty, so {so}"), "empty").help("name at least one"),
        );
    }
    read(ctx)
}

fn listen(ctx: &mut Ctx<'_>, f: &Fields<'_>, builtin: Option<Builtin>) -> (Option<String>, Option<(u16, Span)>) {
    let is_server = only_for(ctx, f, "listen", builtin, Builtin::EmitServer);
    let Some(field) = f.get("listen") else {
        return (is_server.then(|| EMIT_SERVER_LISTEN.to_owned()), None);
    };
    let example = format!("\"{EMIT_SERVER_LISTEN}\"");
    let Some(text) = field.text(ctx, "an address in quotes", &example) else { return (None, None) };
    match loopback::host_with_port(text, EMIT_SERVER_LISTEN) {
        Ok(port) => (Some(text.to_owned()), Some((port, field.span.clone()))),
        Err(wrong) => {
            field.wrong(ctx, wrong);
            (None, None)
        }
    }
}
