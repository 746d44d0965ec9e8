//! supervisord.conf: its `[program:x]` sections.

use std::time::Duration;

use super::lines::{self, Section};
use super::unit::{Place, Unit, Value, literal};
use super::{Found, Wrong, command, secret, shell};
use crate::config::show_duration;
use crate::model::Signal;

/// Keys that mean nothing here, or what happens anyway.
const WITHOUT_LOSS: [&str; 5] = ["redirect_stderr", "stopasgroup", "killasgroup", "process_name", "numprocs_start"];

pub(super) fn read(text: &str, place: &Place<'_>) -> Result<Found, Wrong> {
    let (sections, wrong) = lines::supervisord(text);
    let mut found = Found { wrong, ..Found::default() };
    for section in &sections {
        match section.name.split_once(':') {
            Some(("program", name)) => found.units.push(program(name.trim(), section, place)),
            Some((kind @ ("eventlistener" | "fcgi-program"), name)) => {
                found.notes.push(format!("[{kind}:{name}] has no counterpart in services.toml, and is left out"));
            }
            Some(("group", name)) => {
                found.notes.push(format!("[group:{name}] is left out: there are no groups; `after` orders starts"));
            }
            _ if section.name == "include" => {
                let files = section.last("files").unwrap_or_default();
                found.notes.push(format!("[include] is not followed: import these as well: {files}"));
            }
            _ => {}
        }
    }
    if found.units.is_empty() && found.wrong.is_empty() {
        return Err(Wrong::new("it has no [program:NAME]", "name the supervisord.conf that declares the programs"));
    }
    Ok(found)
}

/// `%(...)s` replaced. Variables of the environment become `${...}` where services.toml expands them, which `expands` says.
struct Expander<'a> {
    name: &'a str,
    place: &'a Place<'a>,
    unknown: Vec<String>,
}

impl Expander<'_> {
    /// `escape` is what other text has to go through to mean just itself; `None` where services.toml expands nothing.
    fn expand(&mut self, text: &str, expands: bool) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            push(&mut out, &rest[..at], expands);
            let after = &rest[at + 1..];
            let named = after.strip_prefix('(').and_then(|after| after.split_once(')'));
            if let Some(after) = after.strip_prefix('%') {
                out.push('%');
                rest = after;
            } else if let Some((name, after)) = named.filter(|(_, after)| after.starts_with(['s', 'd'])) {
                let value = self.value(name, expands);
                out.push_str(&value.unwrap_or_else(|| {
                    self.unknown.push(name.to_owned());
                    format!("%({name})s")
                }));
                rest = &after[1..];
            } else if let Some((name, after)) = named.filter(|(name, _)| *name == "process_num") {
                // `%(process_num)02d`
                let end = after.find('d').map_or(0, |end| end + 1);
                out.push_str(&self.value(name, expands).unwrap_or_default());
                rest = &after[end..];
            } else {
                out.push('%');
                rest = after;
            }
        }
        push(&mut out, rest, expands);
        out
    }

    fn value(&self, name: &str, expands: bool) -> Option<String> {
        let literal = |text: &str| if expands { text.replace("${", "$${") } else { text.to_owned() };
        match name {
            "program_name" | "group_name" => Some(literal(self.name)),
            "process_num" => Some("0".into()),
            "here" => self.place.folder().to_str().map(literal),
            "ENV_HOME" => Some(literal(self.place.home())),
            _ => {
                let name = name.strip_prefix("ENV_")?;
                (expands && self.place.around.vars.contains_key(name)).then(|| format!("${{{name}}}"))
            }
        }
    }
}

fn push(out: &mut String, text: &str, expands: bool) {
    if expands { out.push_str(&text.replace("${", "$${")) } else { out.push_str(text) }
}

fn program(name: &str, section: &Section, place: &Place<'_>) -> Unit {
    let mut unit = Unit::new(place, name);
    let mut expander = Expander { name, place, unknown: Vec::new() };
    match section.last("directory") {
        Some(text) => unit.path("cwd", &expander.expand(text, false), place.folder()),
        None => {
            unit.say("cwd", "supervisord ran it where supervisord itself was started; here it is the home directory")
        }
    }
    environment(&mut unit, section, &mut expander);
    let text = expander.expand(section.last("command").unwrap_or_default(), false);
    match shell::words(&text) {
        Some(argv) if !argv.is_empty() => command::set(&mut unit, argv, place),
        Some(_) => unit.void("it has no command"),
        None => unit.void("a quote in its command is not closed"),
    }
    for name in std::mem::take(&mut expander.unknown) {
        unit.turn_off(format!(
            "it uses %({name})s, which stands for something that is not known here: write the value in its place"
        ));
    }
    restart(&mut unit, section);
    let mut left: Vec<&str> = Vec::new();
    for entry in &section.entries {
        if !key(&mut unit, &entry.key, &entry.value) && !left.contains(&entry.key.as_str()) {
            left.push(&entry.key);
        }
    }
    if !left.is_empty() {
        unit.say("", format!("Without a counterpart here, and left out: {}.", left.join(", ")));
    }
    unit
}

fn environment(unit: &mut Unit, section: &Section, expander: &mut Expander<'_>) {
    let text = section.last("environment").unwrap_or_default();
    // A comma between two of them may have blanks around it, one within quotes belongs to the value.
    let mut quote = None;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ',') => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, value)) = part.split_once('=') else {
            unit.warn("env", "a part of `environment` is not NAME=value, and is left out");
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        let value = match value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => value.trim_matches(quote),
            None => value,
        };
        if let Some(reason) = secret::is_one(name, value) {
            unit.hide(name, reason);
        } else if value.contains("%(ENV_") {
            let value = expander.expand(value, true);
            unit.say(
                "env",
                format!("{name} takes a variable from the supervisor's own environment: it has to be set there"),
            );
            if literal(&value).is_some() && !value.contains('\0') && !name.is_empty() {
                unit.env.insert(name.to_owned(), value);
            }
        } else {
            unit.variable(name, &expander.expand(value, false));
        }
    }
}

/// Exit codes, comma-separated.
fn codes(text: &str) -> Option<Vec<Value>> {
    let code = |part: &str| part.trim().parse::<u8>().ok().map(|code| Value::Number(code.into()));
    text.split(',').map(code).collect()
}

fn restart(unit: &mut Unit, section: &Section) {
    match section.last("autorestart").unwrap_or("unexpected").to_lowercase().as_str() {
        "true" => {}
        "false" => unit.set_text("restart", "never"),
        _ => {
            unit.say("restart", "autorestart unexpected: after an expected exit code it stays down");
            unit.set_text("restart", "on-failure");
        }
    }
    if let Some(text) = section.last("exitcodes") {
        match codes(text) {
            Some(codes) => {
                if codes.contains(&Value::Number(78)) {
                    unit.set("hold_exit_codes", Value::List(Vec::new()));
                }
                unit.set("success_exit_codes", Value::List(codes));
            }
            None => {
                unit.warn("success_exit_codes", format!("exitcodes {text:?} is no list of exit codes, and left out"))
            }
        }
    }
}

/// One key; whether it is said here, or need not be.
fn key(unit: &mut Unit, key: &str, value: &str) -> bool {
    let seconds = value.parse::<u64>().ok();
    match key {
        "command" | "directory" | "environment" | "autorestart" | "exitcodes" => {}
        "autostart" if value.eq_ignore_ascii_case("false") => unit.turn_off("autostart was false"),
        "autostart" => {}
        "startsecs" => match seconds.filter(|n| *n <= 86_400) {
            Some(n) => unit.set_text("min_uptime", show_duration(Duration::from_secs(n))),
            None => unit.warn("min_uptime", format!("startsecs {value:?} is no time, and left out")),
        },
        "startretries" => {
            unit.say("restart", format!("supervisord gave up after {value} failed starts; here that never happens"))
        }
        "stopwaitsecs" => match seconds.filter(|n| (1..=3600).contains(n)) {
            Some(n) => unit.set_text("stop_timeout", show_duration(Duration::from_secs(n))),
            None => unit.warn("stop_timeout", format!("stopwaitsecs {value:?} is not from 1 to 3600 s, and left out")),
        },
        "stopsignal" => signal(unit, value),
        "numprocs" if value.trim() != "1" => {
            unit.warn(
                "",
                format!("numprocs {value}: one service is one process here; write a table for each of them."),
            );
        }
        "numprocs" => {}
        "user" => unit.warn("", format!("user {value}: here it runs as whoever runs the supervisor.")),
        "priority" => {
            unit.say("after", format!("priority {value}: starts are ordered by `after`, which names services"))
        }
        "umask" => unit.warn("", format!("umask {value}: here it is 077, as for all that the supervisor starts.")),
        "stdout_logfile" | "stderr_logfile" if !matches!(value, "AUTO" | "NONE") => {
            unit.say("log", format!("its {key} was {value}; now <state>/logs, rotated (`supervisor logs`)"));
        }
        key if key.starts_with("stdout_") || key.starts_with("stderr_") => {}
        key => return WITHOUT_LOSS.contains(&key),
    }
    true
}

/// `stop_signal`, if it is one that services.toml takes.
pub(super) fn signal(unit: &mut Unit, text: &str) {
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name).to_owned();
    match Signal::parse(&name) {
        Some(_) if name == "TERM" => {}
        Some(_) => unit.set_text("stop_signal", name),
        None => unit.warn("stop_signal", format!("{text:?} is no signal that is known here: it is TERM")),
    }
}
