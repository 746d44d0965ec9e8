//! `[service.NAME.health]`: which probe asks what, and how often. Every address is one of this machine: a probe decides
//! over life and death, and a network in between would take part in that.

use std::path::Path;

use toml::de::DeValue;

use super::bounds::{self, secs};
use super::fault::code;
use super::fields::Fields;
use super::loopback;
use super::reader::{Ctx, Field, integer};
use super::units::{Wrong, quoted};
use crate::model::{Builtin, HealthSpec, ProbeKind, ProbeSpec, Program, Signal};

pub(super) const KEYS: &[&str] = &[
    "http",
    "tcp",
    "unix",
    "path",
    "ws",
    "mcp",
    "exec",
    "heartbeat_file",
    "notify",
    "expect_status",
    "expect_json",
    "interval",
    "timeout",
    "failures",
    "startup",
    "parts",
    "diagnostic_signal",
];
pub(super) const STARTUP_KEYS: &[&str] =
    &["http", "tcp", "unix", "path", "ws", "mcp", "exec", "heartbeat_file", "expect_status", "expect_json"];
pub(super) const PARTS_KEYS: &[&str] = &["http", "unix", "path", "exec"];

/// The keys that say which probe it is.
const KINDS: [&str; 8] = ["http", "tcp", "unix", "ws", "mcp", "exec", "heartbeat_file", "notify"];

const HTTP_EXAMPLE: &str = "http://127.0.0.1:18789/healthz";
const PARTS_EXAMPLE: &str = "{ http = \"http://127.0.0.1:18789/readyz\" }";

/// What else of a service its health table has to agree with.
pub(super) struct Owner<'a> {
    pub(super) program: &'a Program,
    pub(super) stop_signal: Signal,
    /// Without it no NOTIFY_SOCKET is there to be heard from.
    pub(super) notify: bool,
}

pub(super) fn read(ctx: &mut Ctx<'_>, service: &Fields<'_>, owner: &Owner<'_>) -> Option<HealthSpec> {
    let f = service.inner(ctx, "health", KEYS, &format!("{{ http = \"{HTTP_EXAMPLE}\" }}"))?;
    let probe = probe(ctx, &f);
    if matches!(&probe, Some(ProbeSpec { kind: ProbeKind::Notify, .. })) && !owner.notify {
        let help = "write notify = true in the service's own table too";
        let message = "WATCHDOG=1 can only come over the NOTIFY_SOCKET that the service's `notify` offers".to_owned();
        f.conflict(ctx, "notify", message, "`notify` of the service is off", help);
    }
    let interval = f.duration(ctx, "interval", secs(10), &bounds::PROBE_INTERVAL);
    // A short interval shortens the default; what was written may not contradict.
    let timeout = f.duration(ctx, "timeout", secs(5).min(interval), &bounds::PROBE_TIMEOUT);
    if timeout > interval {
        let default = if f.get("interval").is_none() { " (10s by default)" } else { "" };
        let message = format!("it is above `interval`{default}, so one probe would run into the next");
        f.conflict(ctx, "timeout", message, "above interval", "write a timeout that is at most the interval");
    }
    let failures = f.number(ctx, "failures", 4, 1..=1000);
    let startup = f
        .inner(ctx, "startup", STARTUP_KEYS, "{ http = \"http://127.0.0.1:18789/startupz\" }")
        .and_then(|startup| self::probe(ctx, &startup));
    let parts = f.inner(ctx, "parts", PARTS_KEYS, PARTS_EXAMPLE);
    let parts = parts.and_then(|parts| answering(ctx, &parts, "tells of no parts", "/readyz"));
    let diagnostic_signal = f.get("diagnostic_signal").and_then(|field| {
        let help = "write \"QUIT\", or what the program documents for this";
        signal_to(ctx, &field, owner, ("\"QUIT\"", "write down what it is doing", help))
    });
    Some(HealthSpec { probe: probe?, interval, timeout, failures, startup, parts, diagnostic_signal })
}

/// Of a service that is part of this binary, where nothing else is said: the emit-server is asked at the address where it listens,
/// the file-watcher at its socket, where it tells of its folders, too.
pub(super) fn of_builtin(builtin: Builtin, listen: Option<&str>, watcher: &Path) -> Option<HealthSpec> {
    let good = |kind| ProbeSpec { kind, expect_status: 200, expect_json: None };
    let watcher = |path: &str| good(ProbeKind::HttpUnix { socket: watcher.to_owned(), path: path.to_owned() });
    let (probe, parts) = match builtin {
        Builtin::EmitServer => (good(ProbeKind::Http(format!("http://{}/healthz", listen?))), None),
        Builtin::FileWatcher => (watcher("/healthz"), Some(watcher("/parts"))),
    };
    Some(HealthSpec {
        probe,
        interval: secs(10),
        timeout: secs(5),
        failures: 4,
        startup: None,
        parts,
        diagnostic_signal: None,
    })
}

/// The one probe of a table.
fn probe(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<ProbeSpec> {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|key| f.has_key(key)).collect();
    let present: Vec<&str> = kinds.iter().copied().filter(|key| f.get(key).is_some()).collect();
    if present.is_empty() {
        let help = format!("write one of {}; e.g. http = \"{HTTP_EXAMPLE}\"", kinds.join(", "));
        f.missing(ctx, "the probe", &help);
    }
    for extra in present.iter().skip(1) {
        let message = format!("there is a probe already, `{}`, and a table has one", present[0]);
        f.conflict(ctx, extra, message, "a second probe", "keep one of them (`startup` may be of another kind)");
    }
    let path = f.get("path").and_then(|field| path(ctx, &field));
    if f.get("path").is_some() && !present.is_empty() && !present.contains(&"unix") {
        let help = "take it out; the path of an http, ws or mcp probe is in its address";
        f.conflict(ctx, "path", "it is what is asked for over the socket of `unix`".into(), "no unix probe", help);
    }
    // All are read, so that a fault in the second one is told as well.
    let read: Vec<Option<ProbeKind>> =
        present.iter().map(|key| f.get(key).and_then(|field| kind(ctx, key, &field))).collect();
    let answers = present.first().is_none_or(|key| *key == "http" || (*key == "unix" && f.get("path").is_some()));
    for key in ["expect_status", "expect_json"].into_iter().filter(|key| f.has_key(key)) {
        if f.get(key).is_some() && !answers {
            let message = "only an `http` probe, or `unix` with `path`, has an answer to look at".into();
            f.conflict(ctx, key, message, "no http probe", "take it out");
        }
    }
    let expected = |ctx: &mut Ctx<'_>| f.number(ctx, "expect_status", 200, 100..=599);
    let expect_status = if f.has_key("expect_status") { expected(ctx) } else { 200 };
    let expect_json = f.has_key("expect_json").then(|| f.get("expect_json")).flatten().and_then(|field| {
        field.table(ctx, "{ ok = true }")?;
        json(ctx, &field)?.as_object().cloned()
    });
    let kind = match (read.into_iter().next().flatten()?, path) {
        (ProbeKind::Unix(socket), Some(path)) => ProbeKind::HttpUnix { socket, path },
        (kind, _) => kind,
    };
    Some(ProbeSpec { kind, expect_status: u16::try_from(expect_status).unwrap_or(200), expect_json })
}

/// A probe whose answer has a text in which something can stand. `lacks`: what a connection alone does not say.
pub(super) fn answering(ctx: &mut Ctx<'_>, f: &Fields<'_>, lacks: &str, path: &str) -> Option<ProbeSpec> {
    let probe = probe(ctx, f)?;
    if matches!(probe.kind, ProbeKind::Unix(_)) && f.get("path").is_none() {
        let message = format!("a connection alone {lacks}");
        f.conflict(ctx, "unix", message, "no answer", &format!("write path = \"{path}\" beside it"));
        return None;
    }
    Some(probe)
}

fn kind(ctx: &mut Ctx<'_>, key: &str, field: &Field<'_>) -> Option<ProbeKind> {
    let address = |ctx: &mut Ctx<'_>, example: &str, check: &dyn Fn(&str) -> Result<(), Wrong>| {
        let text = field.text(ctx, "an address in quotes", &format!("\"{example}\""))?;
        check(text).map(|()| text.to_owned()).map_err(|wrong| field.wrong(ctx, wrong)).ok()
    };
    let url = |ctx: &mut Ctx<'_>, scheme: &str, example: &str| {
        address(ctx, example, &|text| loopback::url(text, scheme, example))
    };
    match key {
        "http" => url(ctx, "http", HTTP_EXAMPLE).map(ProbeKind::Http),
        "mcp" => url(ctx, "http", "http://127.0.0.1:3001/mcp").map(ProbeKind::Mcp),
        "ws" => url(ctx, "ws", "ws://127.0.0.1:18789").map(ProbeKind::Ws),
        "tcp" => {
            let example = "127.0.0.1:18789";
            address(ctx, example, &|text| loopback::host_with_port(text, example).map(drop)).map(ProbeKind::Tcp)
        }
        "unix" => {
            /// sun_path of macOS has 104 bytes with the closing NUL, that of Linux 108.
            const LONGEST: usize = 103;
            let path = field.path(ctx)?;
            if path.as_os_str().len() > LONGEST {
                let message =
                    format!("the path has {} bytes, and a socket's has at most {LONGEST}", path.as_os_str().len());
                let wrong = Wrong::new(code::OUT_OF_BOUNDS, message, "too long for a socket");
                field.wrong(ctx, wrong.help("let the service make its socket at a shorter path"));
                return None;
            }
            Some(ProbeKind::Unix(path))
        }
        "exec" => field.argv(ctx, "[\"/usr/local/bin/is-it-well\"]").map(ProbeKind::Exec),
        "heartbeat_file" => field.path(ctx).map(ProbeKind::HeartbeatFile),
        _ => {
            if !field.boolean(ctx)? {
                let wrong = Wrong::new(code::BAD_FORM, "false is no probe", "not a probe");
                field.wrong(ctx, wrong.help("write notify = true, or another probe in its place"));
                return None;
            }
            Some(ProbeKind::Notify)
        }
    }
}

/// What is asked for over a Unix socket: a path with its query.
fn path(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    let text = field.text(ctx, "the path of a URL in quotes", "\"/healthz\"")?;
    let message = match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(bad) => format!("{bad:?} cannot stand in the path of a URL"),
        None if text.starts_with('/') => return Some(text.to_owned()),
        None => format!("{} does not begin with /", quoted(text)),
    };
    field.wrong(ctx, Wrong::new(code::ADDRESS, message, "no path of a URL").help("write e.g. \"/healthz\""));
    None
}

/// A signal upon which a program does something, and lives on for the moment.
pub(super) fn signal_to(
    ctx: &mut Ctx<'_>,
    field: &Field<'_>,
    owner: &Owner<'_>,
    (example, does, help): (&str, &str, &str),
) -> Option<Signal> {
    let signal = field.signal(ctx, example)?;
    let is = |names: &[&str]| names.iter().any(|name| Signal::parse(name) == Some(signal));
    let message = if is(&["KILL", "TERM", "INT", "HUP", "PIPE", "ALRM"]) {
        format!("{signal} ends a process instead of having it {does}")
    } else if is(&["STOP", "TSTP", "TTIN", "TTOU"]) {
        format!("{signal} stops a process, which then does not {does}")
    } else if is(&["CONT", "CHLD", "URG", "WINCH"]) {
        format!("no program takes {signal} for the order to {does}")
    } else if signal == owner.stop_signal {
        format!("{signal} is the service's `stop_signal`, upon which it ends")
    } else if is(&["USR1", "USR2"]) && is_openclaw(owner.program) {
        format!("upon {signal} OpenClaw opens its debugger or restarts, depending on its version")
    } else {
        return Some(signal);
    };
    field.wrong(ctx, Wrong::new(code::BAD_FORM, message, "not for this").help(help));
    None
}

/// Whether OpenClaw is what runs, as far as the command says. What only lies in its state directory is another program.
fn is_openclaw(program: &Program) -> bool {
    let names = |word: &String| {
        let word = word.to_ascii_lowercase();
        word.split('/').any(|part| part.contains("openclaw") && part != ".openclaw")
    };
    matches!(program, Program::Command(argv) if argv.iter().any(names))
}

/// The value as JSON. A date has no place there, nor has a number that is none.
fn json(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<serde_json::Value> {
    use serde_json::Value;
    let member = |name: String, value| Field::new(format!("{}{name}", field.name), value);
    match field.value() {
        DeValue::String(text) => Some(Value::String(text.to_string())),
        DeValue::Boolean(truth) => Some(Value::Bool(*truth)),
        DeValue::Integer(number) if integer(number).is_some() => integer(number).map(Value::from),
        DeValue::Float(number) if number.as_str().parse().is_ok_and(f64::is_finite) => {
            number.as_str().parse::<f64>().ok().map(Value::from)
        }
        DeValue::Array(array) => {
            let members = array.iter().enumerate().map(|(i, v)| json(ctx, &member(format!("[{i}]"), v)));
            Some(Value::Array(members.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?))
        }
        DeValue::Table(table) => {
            let members = table
                .iter()
                .map(|(k, v)| Some((k.get_ref().to_string(), json(ctx, &member(format!(".{}", k.get_ref()), v))?)));
            Some(Value::Object(members.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => {
            field.wrong_type(ctx, "a value that JSON has", "\"text\", 1, true, or a list or table of these");
            None
        }
    }
}
