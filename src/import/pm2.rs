//! PM2's ecosystem file, as JSON.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::unit::{Place, Unit, Value};
use super::{Found, Wrong, command, shell};
use crate::config::show_duration;

/// Keys that mean nothing here, or what happens anyway.
const WITHOUT_LOSS: [&str; 12] = [
    "version",
    "namespace",
    "merge_logs",
    "combine_logs",
    "time",
    "source_map_support",
    "vizion",
    "autostart",
    "treekill",
    "pmx",
    "automation",
    "disable_logs",
];

/// What is said of a file in JavaScript.
pub(super) fn script(path: &str) -> Wrong {
    let quoted = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "'\\''");
    Wrong::new(
        "it is JavaScript, which would have to be executed",
        format!(
            "have node print it as JSON, and import that: node -e 'console.log(JSON.stringify(require(\"{quoted}\")))' > pm2.json"
        ),
    )
}

pub(super) fn read(text: &str, place: &Place<'_>) -> Result<Found, Wrong> {
    if text.contains("module.exports") || text.contains("export default") {
        return Err(script(&place.path.display().to_string()));
    }
    let json: Json = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line").next().unwrap_or(&message).to_owned();
        Wrong::new(
            format!("it is not JSON: {message}"),
            "mend it there (JSON has no comments and no commas at the end)",
        )
        .at(error.line())
    })?;
    let apps = match &json {
        Json::Array(apps) => apps.as_slice(),
        Json::Object(object) => match object.get("apps") {
            Some(Json::Array(apps)) => apps.as_slice(),
            Some(app) => std::slice::from_ref(app),
            None => std::slice::from_ref(&json),
        },
        _ => &[],
    };
    let mut found = Found::default();
    for (at, app) in apps.iter().enumerate() {
        match app.as_object().filter(|app| app.contains_key("script") || app.contains_key("cmd")) {
            Some(app) => found.units.push(unit(app, place)),
            None => found.wrong.push(Wrong::new(
                format!("app {} has no script", at + 1),
                "an ecosystem file is {\"apps\": [{\"name\": ..., \"script\": ...}]}",
            )),
        }
    }
    if apps.is_empty() {
        return Err(Wrong::new(
            "it declares no apps",
            "an ecosystem file is {\"apps\": [{\"name\": ..., \"script\": ...}]}",
        ));
    }
    if json.get("deploy").is_some() {
        found.notes.push("its deploy part is left out".into());
    }
    Ok(found)
}

/// A text, or a number or truth value as one.
fn word(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(json.to_string()),
        _ => None,
    }
}

/// Words in a text or a list.
fn words(json: Option<&Json>) -> Option<Vec<String>> {
    match json {
        None | Some(Json::Null) => Some(Vec::new()),
        Some(Json::Array(members)) => members.iter().map(word).collect(),
        Some(Json::String(text)) => shell::words(text),
        Some(_) => None,
    }
}

fn unit(app: &Map<String, Json>, place: &Place<'_>) -> Unit {
    let text = |key: &str| app.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
    let script = text("script").or_else(|| text("cmd")).unwrap_or_default();
    let stem = script.rsplit('/').next().unwrap_or(script).split('.').next().unwrap_or(script);
    let mut unit = Unit::new(place, text("name").unwrap_or(stem));
    match text("cwd") {
        Some(cwd) => unit.path("cwd", cwd, place.folder()),
        None => {
            unit.say("cwd", "PM2 ran it where `pm2 start` was typed; this file's folder is taken");
            if let Some(folder) = place.folder().to_str() {
                unit.path("cwd", folder, place.folder());
            }
        }
    }
    environment(&mut unit, app);
    match argv(&mut unit, app, script) {
        Some(argv) => command::set(&mut unit, argv, place),
        None => unit.void("its args or interpreter are not texts"),
    }
    unit.say("stop_signal", "PM2 stops with SIGINT, not SIGTERM");
    unit.set_text("stop_signal", "INT");
    let mut left: Vec<&str> = Vec::new();
    for (key, value) in app {
        if !self::key(&mut unit, key, value) {
            left.push(key);
        }
    }
    if !left.is_empty() {
        unit.say("", format!("Without a counterpart here, and left out: {}.", left.join(", ")));
    }
    unit
}

fn argv(unit: &mut Unit, app: &Map<String, Json>, script: &str) -> Option<Vec<String>> {
    let ending = script.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending);
    let interpreter = match app.get("interpreter").or_else(|| app.get("exec_interpreter")) {
        Some(Json::String(text)) if text == "none" => None,
        Some(Json::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Json::Null) | None | Some(Json::String(_)) => match ending {
            "js" | "mjs" | "cjs" => Some("node".to_owned()),
            "py" => Some("python3".to_owned()),
            "sh" => Some("bash".to_owned()),
            "rb" => Some("ruby".to_owned()),
            "pl" => Some("perl".to_owned()),
            "php" => Some("php".to_owned()),
            "ts" | "tsx" => Some("bun".to_owned()),
            _ => None,
        },
        Some(_) => return None,
    };
    let mut argv = Vec::new();
    if let Some(interpreter) = &interpreter {
        argv.push(interpreter.clone());
        for key in ["node_args", "interpreter_args", "interpreterArgs", "nodeArgs"] {
            argv.extend(words(app.get(key))?);
        }
    }
    let blank = script.contains(char::is_whitespace) && !script.contains('/');
    match (&interpreter, blank) {
        // PM2 hands such a text to bash.
        (None, true) => argv.extend(shell::words(script)?),
        _ => argv.push(script.to_owned()),
    }
    if interpreter.is_none() && script.contains('/') && ending.is_empty() {
        unit.say("command", "PM2 may have run it with node: if it has no #! line, put \"node\" before it");
    }
    argv.extend(words(app.get("args").or_else(|| app.get("script_args")))?);
    Some(argv)
}

fn environment(unit: &mut Unit, app: &Map<String, Json>) {
    for (name, value) in app.get("env").and_then(Json::as_object).into_iter().flatten() {
        match word(value) {
            Some(text) => unit.variable(name, &text),
            None => unit.warn("env", format!("{name} is neither text nor number, and is left out")),
        }
    }
}

/// Milliseconds, as a number or with a unit.
fn time(value: &Json) -> Option<Duration> {
    if let Some(ms) = value.as_u64() {
        return Some(Duration::from_millis(ms));
    }
    let text = value.as_str()?.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse::<u64>().ok()?;
    let factor = match text[end..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_millis)
}

/// PM2 counts in powers of 1024.
fn size(value: &Json) -> Option<String> {
    if let Some(bytes) = value.as_u64() {
        return Some(format!("{}KiB", bytes.div_ceil(1024)));
    }
    let text = value.as_str()?.trim().to_uppercase();
    let digits = text.trim_end_matches('B');
    let number = digits.trim_end_matches(['K', 'M', 'G']);
    let unit = digits.get(number.len()..).filter(|unit| unit.len() == 1)?;
    number.parse::<u64>().ok().map(|n| format!("{n}{unit}iB"))
}

/// One key; whether it is said here, or need not be.
fn key(unit: &mut Unit, key: &str, value: &Json) -> bool {
    let is_true = value.as_bool() == Some(true);
    let within = |low: u64, high: u64| {
        time(value).filter(|t| (low..=high).contains(&u64::try_from(t.as_millis()).unwrap_or(u64::MAX)))
    };
    const HOUR: u64 = 3_600_000;
    match key {
        "name" | "script" | "cmd" | "args" | "script_args" | "cwd" | "env" | "interpreter" | "exec_interpreter"
        | "node_args" | "interpreter_args" | "nodeArgs" | "interpreterArgs" => {}
        "autorestart" if value.as_bool() == Some(false) => unit.set_text("restart", "never"),
        "autorestart" => {}
        "max_memory_restart" => match size(value) {
            Some(limit) => {
                unit.say("memory", "measured over all of its processes together, and it is drained before the restart");
                unit.set("memory", Value::Table(vec![("limit", Value::Text(limit))]));
            }
            None => unit.warn("memory", format!("max_memory_restart {value} is no size, and left out")),
        },
        "kill_timeout" => match within(100, HOUR) {
            Some(t) => unit.set_text("stop_timeout", show_duration(t)),
            None => unit.warn("stop_timeout", format!("kill_timeout {value} is not from 100 ms to 1 h, and left out")),
        },
        // Nothing, which is the default, would be no back-off here.
        "restart_delay" if value.as_u64() == Some(0) => {}
        "restart_delay" => match within(0, HOUR) {
            Some(t) => {
                unit.say(
                    "throttle",
                    "PM2 waited so long after each end; here it is the least time from start to start",
                );
                unit.set_text("throttle", show_duration(t));
            }
            None => unit.warn("throttle", format!("restart_delay {value} is not up to 1 h, and left out")),
        },
        "exp_backoff_restart_delay" => {
            unit.say(
                "backoff_max",
                "PM2 let the delay grow to 15 s; here it grows from throttle to backoff_max, in storms only",
            );
            if !unit.keys.contains_key("throttle") {
                unit.set_text("backoff_max", "15s");
            }
        }
        "min_uptime" => match within(0, 24 * HOUR) {
            Some(t) => unit.set_text("min_uptime", show_duration(t)),
            None => unit.warn("min_uptime", format!("min_uptime {value} is no time, and left out")),
        },
        "max_restarts" => unit.say("restart", format!("PM2 gave up after {value} restarts; here that never happens")),
        "stop_exit_codes" => stop_exit_codes(unit, value),
        "instances" | "exec_mode" => cluster(unit, key, value),
        "cron_restart" | "cron" => {
            unit.warn("", format!("PM2 restarted it at {value}: a [task.NAME] with that calendar and `supervisor restart` as its step does that."));
        }
        "watch" | "watch_options" | "ignore_watch" | "watch_delay" => {
            if key == "watch" && (is_true || value.is_array()) {
                unit.warn("", "PM2 restarted it when its files changed (watch); here only `supervisor restart` does.");
            }
        }
        "user" | "uid" | "gid" => unit.warn("", format!("{key} {value}: here it runs as whoever runs the supervisor.")),
        "out_file" | "error_file" | "log_file" | "output" | "error" | "log" => {
            unit.say("log", format!("its {key} was {value}; now <state>/logs, rotated (`supervisor logs`)"));
        }
        "wait_ready" | "listen_timeout" => {
            if is_true {
                unit.warn("health", "PM2 waited for process.send('ready'); here a health probe tells when it is ready");
            }
        }
        "shutdown_with_message" if is_true => {
            unit.warn("stop_signal", "PM2 told it to end by a message; here it gets the signal")
        }
        "pid_file" | "pid" => {}
        key if key.starts_with("env_") => {
            unit.warn("env", format!("{key} is left out: merge it into env if it is the one you run"));
        }
        key => return WITHOUT_LOSS.contains(&key),
    }
    true
}

fn stop_exit_codes(unit: &mut Unit, value: &Json) {
    let members = match value {
        Json::Array(members) => members.as_slice(),
        one => std::slice::from_ref(one),
    };
    let code = |member: &Json| member.as_u64().filter(|code| *code < 256).and_then(|code| i64::try_from(code).ok());
    match members.iter().map(code).collect::<Option<Vec<_>>>() {
        Some(codes) => {
            if codes.contains(&78) {
                unit.set("hold_exit_codes", Value::List(Vec::new()));
            }
            unit.say("restart", "after one of the stop_exit_codes it stays down");
            unit.set_text("restart", "on-failure");
            unit.set("success_exit_codes", Value::List(codes.into_iter().map(Value::Number).collect()));
        }
        None => unit.warn("success_exit_codes", format!("stop_exit_codes {value} are no exit codes, and left out")),
    }
}

fn cluster(unit: &mut Unit, key: &str, value: &Json) {
    let single = value.as_u64() == Some(1) || matches!(value.as_str(), Some("1" | "fork" | "fork_mode"));
    if !single {
        unit.warn(
            "",
            format!("{key} {value}: one service is one process here; for more, write a table and a port for each."),
        );
    }
}
