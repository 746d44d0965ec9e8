//! launchd's property lists.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::time::Duration;

use plist::{Dictionary, Value as Plist};

use super::launchd_keys::{Agent, kind, nearest};
use super::unit::{Place, Unit};
use super::{Found, Wrong, command, launchd_when};
use crate::config::show_duration;

/// Bytes of a plist: they have some kilobytes. A binary one can refer to the same object again and again, so that few
/// bytes become very many values; that is what the second number is for, which bounds how often bytes are read.
const LARGEST: usize = 256 << 10;
const MOST_READ: usize = 4 * LARGEST;

pub(super) fn read(bytes: &[u8], place: &Place<'_>) -> Result<Found, Wrong> {
    if bytes.len() > LARGEST {
        let message = format!("it has {} bytes, and no agent has more than 256 KiB", bytes.len());
        return Err(Wrong::new(message, "name the property list of a launchd agent"));
    }
    let metered = Metered { cursor: Cursor::new(bytes), left: MOST_READ };
    let value = Plist::from_reader(metered).map_err(|error| {
        let what = error.as_io().map_or_else(|| error.to_string(), ToString::to_string);
        malformed(&what, bytes)
    })?;
    let mut found = Found::default();
    let mut rest = Vec::new();
    match value {
        Plist::Dictionary(dict) => {
            let read = unit(&dict, place, &mut found.notes);
            dismantle(dict, &mut rest);
            found.units.extend(read?);
        }
        other => {
            let message = format!("it holds {}, and an agent is a dict", kind(&other));
            rest.push(other);
            dismantle(Dictionary::new(), &mut rest);
            return Err(Wrong::new(
                message,
                "name the property list of a launchd agent, with Label and ProgramArguments",
            ));
        }
    }
    Ok(found)
}

/// Drops values within values without recursion, which a hostile file could make as deep as it likes.
fn dismantle(dict: Dictionary, values: &mut Vec<Plist>) {
    values.extend(dict.into_iter().map(|(_, value)| value));
    while let Some(value) = values.pop() {
        match value {
            Plist::Array(members) => values.extend(members),
            Plist::Dictionary(dict) => values.extend(dict.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

/// A reader that ends with an error when more was read of it than is reasonable.
struct Metered<'a> {
    cursor: Cursor<&'a [u8]>,
    left: usize,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.cursor.read(buffer)?;
        self.left =
            self.left.checked_sub(n).ok_or_else(|| io::Error::other("it unfolds to far more than an agent has"))?;
        Ok(n)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.cursor.seek(to)
    }
}

/// The reader's error: a word such as UnclosedXmlElement and the offset in bytes.
fn malformed(error: &str, bytes: &[u8]) -> Wrong {
    let (what, offset) = match error.rsplit_once(" (offset ") {
        Some((what, offset)) => (what, offset.trim_end_matches(')').parse::<usize>().ok()),
        None => (error, None),
    };
    let mut words = String::new();
    for c in what.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() && words.chars().all(|c| c.is_alphanumeric() || c == ' ') {
            words.push(' ');
        }
        words.push(c);
    }
    let wrong = Wrong::new(
        format!("it is no property list: {words}"),
        "on a Mac `plutil -lint FILE` tells more; mend it, and import it again",
    );
    let is_text = !bytes.starts_with(b"bplist");
    match offset.filter(|offset| is_text && *offset <= bytes.len()) {
        Some(offset) => wrong.at(bytes[..offset].iter().filter(|b| **b == b'\n').count() + 1),
        None => wrong,
    }
}

fn unit(dict: &Dictionary, place: &Place<'_>, notes: &mut Vec<String>) -> Result<Option<Unit>, Wrong> {
    let mut unit = Unit::new(place, "");
    let mut agent = Agent::new(dict, &mut unit);
    let stem = place.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let is_agent = ["Label", "Program", "ProgramArguments", "BundleProgram"].iter().any(|key| agent.has(key));
    if !is_agent {
        return Err(Wrong::new(
            "it is a property list, but no launchd agent: it has neither Label nor ProgramArguments",
            "name one of ~/Library/LaunchAgents",
        ));
    }
    let label = agent.text(&mut unit, "Label").map(str::to_owned).unwrap_or_else(|| {
        unit.warn("", "It has no Label, without which launchd does not load it: its file's name is taken.");
        stem
    });
    unit.wanted.clone_from(&label);
    unit.label = Some(label);
    let argv = argv(&mut unit, &mut agent);
    if is_ours(&argv) {
        notes.push("it starts the supervisor itself, and is left out".into());
        return Ok(None);
    }
    unit.is_task = launchd_when::is_timed(&agent);
    surroundings(&mut unit, &mut agent, place);
    if unit.is_task {
        task(&mut unit, &mut agent);
    } else {
        service(&mut unit, &mut agent);
    }
    command::set(&mut unit, argv, place);
    output(&mut unit, &mut agent);
    oddities(&mut unit, &mut agent);
    if !agent.left().is_empty() {
        unit.say("", format!("Without a counterpart here, and left out: {}.", agent.left().join(", ")));
    }
    Ok(Some(unit))
}

fn argv(unit: &mut Unit, agent: &mut Agent<'_>) -> Vec<String> {
    let arguments = agent.texts(unit, "ProgramArguments");
    let program = agent.text(unit, "Program");
    let mut argv: Vec<String> = arguments.unwrap_or_default().into_iter().map(str::to_owned).collect();
    if let Some(program) = program {
        match argv.first_mut() {
            Some(first) if *first == program => {}
            Some(first) => {
                unit.warn(
                    "command",
                    format!("Program was executed under the name {first:?}; here the program's own name is given"),
                );
                *first = program.to_owned();
            }
            None => argv.push(program.to_owned()),
        }
    }
    if argv.is_empty() && agent.take("BundleProgram").is_some() {
        unit.void("its program is part of an app (BundleProgram): name it by its absolute path");
    }
    if agent.truth(unit, "EnableGlobbing") == Some(true) && argv.iter().any(|arg| arg.contains(['*', '?', '['])) {
        unit.turn_off("launchd expanded patterns in its arguments (EnableGlobbing); write the files themselves");
    }
    argv
}

/// An agent that starts our own daemon or one of our runners.
fn is_ours(argv: &[String]) -> bool {
    let is_program = argv.first().is_some_and(|program| program.rsplit('/').next() == Some("supervisor"));
    is_program && argv.iter().skip(1).any(|arg| arg == "run" || arg == "exec")
}

fn surroundings(unit: &mut Unit, agent: &mut Agent<'_>, place: &Place<'_>) {
    match agent.text(unit, "WorkingDirectory") {
        Some(text) => unit.path("cwd", text, place.folder()),
        None => {
            unit.say("cwd", "launchd's default, as there is no WorkingDirectory");
            unit.set_text("cwd", "/");
        }
    }
    for (name, value) in agent.dict(unit, "EnvironmentVariables").into_iter().flatten() {
        match value.as_string() {
            Some(text) => unit.variable(name, text),
            None => unit.warn("env", format!("{name} is {}, which launchd ignores; left out", kind(value))),
        }
    }
}

fn task(unit: &mut Unit, agent: &mut Agent<'_>) {
    launchd_when::set(unit, agent);
    unit.say("steps", "launchd set no limit to a run; here a step has its timeout, and the whole job max_runtime (1h)");
    if agent.take("KeepAlive").is_some_and(|value| value.as_boolean() != Some(false)) {
        unit.warn(
            "calendar",
            "KeepAlive made launchd start it at once and again after each end, whatever the calendar said; here only the \
             calendar starts it",
        );
    }
    if agent.truth(unit, "RunAtLoad") == Some(true) {
        unit.warn("calendar", "RunAtLoad also started it at each login; here only the calendar does");
    }
}

fn service(unit: &mut Unit, agent: &mut Agent<'_>) {
    let at_load = agent.truth(unit, "RunAtLoad") == Some(true);
    match agent.take("KeepAlive") {
        Some(Plist::Boolean(true)) => {}
        Some(Plist::Dictionary(conditions)) if !conditions.is_empty() => keep_alive(unit, conditions),
        other => {
            if let Some(value) = other.filter(|value| !matches!(value, Plist::Boolean(false) | Plist::Dictionary(_))) {
                unit.warn("restart", format!("KeepAlive is {}, which launchd ignores", kind(value)));
            }
            unit.set_text("restart", "never");
            if at_load {
                unit.say("restart", "launchd started it once, at login (RunAtLoad without KeepAlive)");
            } else {
                unit.turn_off("launchd did not start it by itself: it has no KeepAlive, no RunAtLoad and no calendar");
            }
        }
    }
    if let Some(seconds) = agent.number(unit, "ThrottleInterval") {
        match u64::try_from(seconds) {
            // The default, there and here.
            Ok(10) => {}
            Ok(0) | Err(_) => {
                unit.say("throttle", format!("ThrottleInterval {seconds} is ignored by launchd, which takes 10 s"))
            }
            Ok(n) if n > 3600 => {
                unit.warn("throttle", format!("ThrottleInterval was {n} s; 1h is the most here"));
                unit.set_text("throttle", "1h");
            }
            Ok(n) => unit.set_text("throttle", show_duration(Duration::from_secs(n))),
        }
    }
    if let Some(seconds) = agent.number(unit, "ExitTimeOut") {
        match u64::try_from(seconds) {
            Ok(n @ 1..=3600) => unit.set_text("stop_timeout", show_duration(Duration::from_secs(n))),
            Ok(n) => {
                let was = if n == 0 { "endless (ExitTimeOut 0)".into() } else { format!("{n} s") };
                unit.warn("stop_timeout", format!("it was {was}; 1h is the most here"));
                unit.set_text("stop_timeout", "1h");
            }
            Err(_) => unit.warn("stop_timeout", format!("ExitTimeOut {seconds} is no time, and left out")),
        }
    }
    process_type(unit, agent);
}

fn process_type(unit: &mut Unit, agent: &mut Agent<'_>) {
    let Some(text) = agent.text(unit, "ProcessType") else { return };
    let kinds = ["Interactive", "Standard", "Adaptive", "Background"];
    match kinds.iter().find(|kind| kind.eq_ignore_ascii_case(text)) {
        Some(kind) => {
            if *kind == "Background" {
                unit.warn(
                    "process_type",
                    "Background: macOS holds back its CPU, disk and timers. For what answers others, \"interactive\" is better",
                );
            }
            unit.set_text("process_type", kind.to_lowercase());
        }
        None => {
            let near = nearest(text, &kinds).map(|near| format!(": did you mean {near}?")).unwrap_or_default();
            unit.warn("process_type", format!("ProcessType {text:?} is unknown to launchd, and left out{near}"));
        }
    }
}

/// The conditions are joined by or: any of them that holds has launchd start it again.
fn keep_alive(unit: &mut Unit, conditions: &Dictionary) {
    let truth = |key: &str| conditions.get(key).and_then(Plist::as_boolean);
    let (on_success, crashed) = (truth("SuccessfulExit"), truth("Crashed"));
    let outer =
        ["PathState", "OtherJobEnabled"].into_iter().filter(|key| conditions.contains_key(key)).collect::<Vec<_>>();
    let known = ["SuccessfulExit", "Crashed", "PathState", "OtherJobEnabled", "NetworkState", "AfterInitialDemand"];
    for (key, value) in conditions {
        match key.as_str() {
            "NetworkState" => unit.say("restart", "KeepAlive NetworkState: launchd has ignored it for years; left out"),
            "AfterInitialDemand" => unit.warn(
                "restart",
                "KeepAlive AfterInitialDemand: launchd waited for a first start by hand; here it is started at once",
            ),
            "SuccessfulExit" | "Crashed" if value.as_boolean().is_none() => {
                unit.warn("restart", format!("KeepAlive {key} is {}, not true or false; left out", kind(value)));
            }
            key if !known.contains(&key) => {
                let near = nearest(key, &known).map(|near| format!(": did you mean {near}?")).unwrap_or_default();
                unit.warn("restart", format!("KeepAlive {key} is unknown to launchd, and left out{near}"));
            }
            _ => {}
        }
    }
    if !outer.is_empty() {
        unit.warn(
            "restart",
            format!(
                "launchd kept it alive depending on files or other agents (KeepAlive {}), which nothing here does: it is \
                 always kept alive; `after` orders starts",
                outer.join(", ")
            ),
        );
        return;
    }
    match (on_success, crashed) {
        (Some(true), Some(true) | None) => unit.warn(
            "restart",
            "KeepAlive SuccessfulExit true: launchd left it down after an exit code but 0; here it is always started again, \
             and \"never\" is the only other word that comes near",
        ),
        (Some(true), Some(false)) | (Some(false), Some(false)) => {}
        (Some(false), _) => {
            let about = if looks_like_gateway(unit) {
                ". OpenClaw's gateway exits with 0 in order to be started again, and would stay down: \"always\" is right for it"
            } else {
                ""
            };
            let text = format!("KeepAlive SuccessfulExit false: after exit 0 it stays down, after anything else it is started again{about}");
            unit.say_or_warn(!about.is_empty(), "restart", text);
            unit.set_text("restart", "on-failure");
        }
        (None, Some(true)) => {
            unit.warn(
                "restart",
                "KeepAlive Crashed true: launchd started it again only after a signal such as SIGSEGV; here also after \
                 SIGKILL and any exit code but 0",
            );
            unit.set_text("restart", "on-failure");
        }
        (None, Some(false)) => unit.warn(
            "restart",
            "KeepAlive Crashed false: launchd started it again after everything but a crash; here after a crash too",
        ),
        (None, None) => {}
    }
}

fn looks_like_gateway(unit: &Unit) -> bool {
    unit.wanted.to_lowercase().contains("gateway")
}

/// Where its output went.
fn output(unit: &mut Unit, agent: &mut Agent<'_>) {
    let mut went: Vec<String> = Vec::new();
    for key in ["StandardOutPath", "StandardErrorPath"] {
        if let Some(path) = agent.text(unit, key)
            && !went.iter().any(|before| before == path)
            && path != "/dev/null"
        {
            went.push(path.to_owned());
        }
    }
    if !went.is_empty() && !unit.is_task {
        unit.say(
            "log",
            format!("its output went to {}; now <state>/logs, rotated (`supervisor logs`)", went.join(" and ")),
        );
    } else if !went.is_empty() {
        unit.say("steps", format!("its output went to {}", went.join(" and ")));
    }
}

/// Keys that change what it is.
fn oddities(unit: &mut Unit, agent: &mut Agent<'_>) {
    if agent.truth(unit, "Disabled") == Some(true) {
        unit.turn_off("the plist says Disabled (launchctl enable may have overruled that)");
    }
    for key in ["WatchPaths", "QueueDirectories"] {
        if let Some(paths) = agent.texts(unit, key) {
            let list = paths.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(", ");
            unit.warn(
                "",
                format!(
                    "launchd started it when one of these changed ({key}). The built-in file-watcher does that: builtin = \
                     \"file-watcher\" in place of command, and [[service.NAME.watch]] with paths = [{list}] and run = the command."
                ),
            );
        }
    }
    for key in ["Sockets", "MachServices", "LaunchEvents", "inetdCompatibility"] {
        if agent.take(key).is_some() {
            unit.turn_off(format!("launchd hands it its {key}, and nothing here does"));
        }
    }
    for key in ["UserName", "GroupName"] {
        if let Some(name) = agent.text(unit, key) {
            unit.warn("", format!("{key} {name}: here it runs as whoever runs the supervisor."));
        }
    }
    if agent.take("Umask").is_some() {
        unit.warn("", "Umask: here it is 077 for everything, so that what it writes is for its owner alone.");
    }
    if agent.take("RootDirectory").is_some() {
        unit.turn_off("it ran with another root directory (RootDirectory), which nothing here does");
    }
    if agent.truth(unit, "AbandonProcessGroup") == Some(true) && !unit.is_task {
        unit.warn("sweep", "AbandonProcessGroup let what it started live on after its end; here that ends with it");
    }
    if agent.truth(unit, "LaunchOnlyOnce") == Some(true) && !unit.is_task {
        unit.set_text("restart", "never");
    }
}
