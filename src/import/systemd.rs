//! systemd's units: what a `.service` says.

use std::collections::BTreeMap;

use super::lines::{self, Section};
use super::supervisord::signal;
use super::systemd_text::{self as text, Word};
use super::systemd_words::{size, truth};
use super::unit::{Place, Unit, Value};
use super::{Found, Wrong, command, secret, systemd_restart as restart, systemd_timer};

/// Sections and keys that mean nothing here, or what happens anyway.
const WITHOUT_LOSS: [&str; 22] = [
    "Description",
    "Documentation",
    "WantedBy",
    "RequiredBy",
    "Alias",
    "Also",
    "DefaultDependencies",
    "StartLimitInterval",
    "StartLimitIntervalSec",
    "StartLimitBurst",
    "StartLimitAction",
    "NotifyAccess",
    "StandardInput",
    "SyslogIdentifier",
    "TasksAccounting",
    "MemoryAccounting",
    "CPUAccounting",
    "SendSIGKILL",
    "GuessMainPID",
    "Restart",
    "RestartSec",
    "Slice",
];

pub(super) fn read(text: &str, place: &Place<'_>) -> Result<Found, Wrong> {
    let (sections, wrong) = lines::systemd(text);
    let mut found = Found { wrong, ..Found::default() };
    let has = |name: &str| sections.iter().any(|section| section.name == name);
    if has("Timer") {
        found.timers.push(systemd_timer::read(&sections, place));
    } else if has("Service") {
        let mut unit = service(&sections, place, false);
        unit.as_task = Some(Box::new(service(&sections, place, true)));
        found.units.push(unit);
    } else if found.wrong.is_empty() {
        return Err(Wrong::new("it has neither a [Service] nor a [Timer]", "name a .service or a .timer unit"));
    }
    Ok(found)
}

pub(super) fn stem(place: &Place<'_>) -> String {
    place.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// All values of a key in the sections of this name; an empty one takes back those before it.
pub(super) fn list<'a>(sections: &'a [Section], section: &str, key: &str) -> Vec<&'a str> {
    let mut values = Vec::new();
    for value in sections.iter().filter(|s| s.name == section).flat_map(|section| section.all(key)) {
        if value.is_empty() {
            values.clear();
        } else {
            values.push(value);
        }
    }
    values
}

pub(super) fn last<'a>(sections: &'a [Section], section: &str, key: &str) -> Option<&'a str> {
    list(sections, section, key).pop()
}

fn service(sections: &[Section], place: &Place<'_>, is_task: bool) -> Unit {
    let mut unit = Unit::new(place, &stem(place));
    unit.is_task = is_task;
    if unit.wanted.ends_with('@') {
        unit.turn_off("it is a template: copy it to NAME@INSTANCE.service, and import that");
    }
    let one = |key: &str| last(sections, "Service", key);
    if let Some(dir) = one("WorkingDirectory") {
        let dir = dir.strip_prefix('-').unwrap_or(dir);
        match text::specifiers(dir, place) {
            Ok(dir) => unit.path("cwd", &dir, place.folder()),
            Err(unknown) => unit.turn_off(format!("WorkingDirectory has {unknown}, which is not known here")),
        }
    }
    let known = environment(&mut unit, sections, place);
    let kind = one("Type").unwrap_or("simple");
    if is_task {
        restart::limit(&mut unit, sections);
    }
    commands(&mut unit, sections, place, &known, kind == "oneshot");
    if !is_task {
        self::kind(&mut unit, kind);
        restart::set(&mut unit, sections);
        restart::times(&mut unit, sections, kind);
    }
    for key in ["After", "Requires", "BindsTo"] {
        for value in list(sections, "Unit", key) {
            let services = value.split_whitespace().filter(|name| name.ends_with(".service"));
            let services: Vec<String> =
                services.filter(|name| !unit.after.iter().any(|a| a == name)).map(str::to_owned).collect();
            unit.after.extend(services);
        }
    }
    let mut left: Vec<&str> = Vec::new();
    for section in sections {
        for entry in section.entries.iter().filter(|entry| !entry.value.is_empty()) {
            if !key(&mut unit, &entry.key, &entry.value) && !left.contains(&entry.key.as_str()) {
                left.push(&entry.key);
            }
        }
    }
    if !left.is_empty() {
        unit.say("", format!("Without a counterpart here, and left out: {}.", left.join(", ")));
    }
    unit
}

/// Sets `env` and `env_file`; gives the variables that a command line may refer to.
fn environment(unit: &mut Unit, sections: &[Section], place: &Place<'_>) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for line in list(sections, "Service", "Environment") {
        for word in text::words(line).unwrap_or_default() {
            let Some((name, value)) = word.text.split_once('=') else { continue };
            match text::specifiers(value, place) {
                Ok(value) => {
                    unit.variable(name, &value);
                    if secret::is_one(name, &value).is_none() {
                        known.insert(name.to_owned(), value);
                    }
                }
                Err(unknown) => unit.turn_off(format!("{name} is left out: it has {unknown}, which is not known here")),
            }
        }
    }
    let files = list(sections, "Service", "EnvironmentFile");
    for (at, file) in files.iter().enumerate() {
        let path = text::specifiers(file.strip_prefix('-').unwrap_or(file), place);
        match path {
            Ok(path) if at + 1 == files.len() => {
                unit.say(
                    "env_file",
                    "it has to be there, with mode 0600; values as they stand, no quotes or escapes to rely on",
                );
                unit.path("env_file", &path, place.folder());
            }
            Ok(path) => unit.turn_off(format!("there is one env_file only: put what is in {path} into the other one")),
            Err(unknown) => unit.turn_off(format!("EnvironmentFile has {unknown}, which is not known here")),
        }
    }
    if !files.is_empty() {
        // It may set any of them anew.
        known.clear();
    }
    known
}

fn commands(
    unit: &mut Unit,
    sections: &[Section],
    place: &Place<'_>,
    known: &BTreeMap<String, String>,
    is_oneshot: bool,
) {
    let mut lines = list(sections, "Service", "ExecStart");
    let before = list(sections, "Service", "ExecStartPre");
    if unit.is_task {
        lines.splice(0..0, before);
    } else if !before.is_empty() {
        unit.turn_off(
            "it has an ExecStartPre, which nothing here does: let the program, or a script that ends with exec, do it",
        );
    }
    let mut commands: Vec<Vec<Word>> = Vec::new();
    for line in lines {
        let Some(words) = text::words(line) else {
            return unit.void("a command line cannot be read: a quote is not closed, or an escape is none");
        };
        let several = words.split(|word| is_oneshot && word.text == ";" && !word.quoted);
        commands.extend(several.map(<[Word]>::to_vec).filter(|words| !words.is_empty()));
    }
    if commands.len() > 1 && !unit.is_task {
        unit.turn_off("it has several commands, and a service has one: make a script of them, or a task with steps");
        commands.truncate(1);
    }
    if commands.is_empty() {
        unit.void("it has no ExecStart");
    }
    for words in commands {
        match argv(unit, words, place, known) {
            Ok(argv) => command::set(unit, argv, place),
            Err(why) => {
                unit.void(why);
            }
        }
    }
}

fn argv(
    unit: &mut Unit,
    mut words: Vec<Word>,
    place: &Place<'_>,
    known: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let key = if unit.is_task { "steps" } else { "command" };
    let first = words.first().map(|word| word.text.clone()).unwrap_or_default();
    let program = first.trim_start_matches(['-', '@', '+', '!', ':', '|']);
    let prefixes = &first[..first.len() - program.len()];
    if let Some(word) = words.first_mut() {
        word.text = program.to_owned();
    }
    if prefixes.contains('@') && words.len() > 1 {
        unit.warn(
            key,
            format!("it was executed under the name {:?}; here the program's own name is given", words[1].text),
        );
        words.remove(1);
    }
    if prefixes.contains('-') {
        unit.warn(key, "systemd took every end of it as a good one (the - before the program); here a failure is one");
    }
    if prefixes.contains(['+', '!']) {
        unit.warn(key, "systemd ran it with more rights (+ or ! before the program); here it runs as everything else");
    }
    if prefixes.contains('|') {
        unit.turn_off(
            "it is executed by the user's shell (the | before the program); write [\"/bin/sh\", \"-c\", ...]",
        );
    }
    let mut argv = Vec::new();
    for word in words {
        let expanded = text::specifiers(&word.text, place);
        let text = expanded.map_err(|unknown| format!("its command line has {unknown}, which is not known here"))?;
        let word = Word { text, ..word };
        if prefixes.contains(':') {
            argv.push(word.text);
            continue;
        }
        match text::variables(&word, known) {
            Ok(words) => argv.extend(words),
            Err(name) => {
                unit.turn_off(format!(
                    "its command line uses ${name}, and there is no shell: write the value in its place, or \
                     [\"/bin/sh\", \"-c\", \"exec ... \\\"${name}\\\"\"]"
                ));
                argv.push(word.text);
            }
        }
    }
    Ok(argv)
}

fn kind(unit: &mut Unit, kind: &str) {
    match kind {
        "simple" | "exec" => {}
        "notify" => unit.set("notify", Value::Truth(true)),
        "notify-reload" => {
            unit.say("notify", "a reload by SIGHUP, as notify-reload has it, is not done here");
            unit.set("notify", Value::Truth(true));
        }
        "forking" => unit.turn_off(
            "Type=forking: it puts itself into the background, where nothing can hold it; most programs have an option to \
             stay in the foreground",
        ),
        "oneshot" => unit.say("restart", "Type=oneshot: it runs to its end, and is `done`; others that wait for it wait until it is started only"),
        other => unit.say("", format!("Type={other} is taken as simple: up as soon as it is started.")),
    }
}

/// One of the keys that no other function asks for; whether it is said here, or need not be.
fn key(unit: &mut Unit, key: &str, value: &str) -> bool {
    let is_service = !unit.is_task;
    match key {
        "Type" | "ExecStart" | "ExecStartPre" | "Environment" | "EnvironmentFile" | "WorkingDirectory" | "After"
        | "Requires" | "BindsTo" | "TimeoutSec" | "TimeoutStartSec" => {}
        "SuccessExitStatus" | "RestartPreventExitStatus" | "TimeoutStopSec" | "WatchdogSec" if is_service => {}
        "UMask" => {
            unit.warn("", "UMask: here it is 077 for everything, so that what it writes is for its owner alone.")
        }
        "KillSignal" if is_service => signal(unit, value),
        "KillMode" if is_service && matches!(value, "process" | "none") => {
            unit.warn(
                "sweep",
                format!("KillMode={value} let what it started live on after its end; here that ends with it"),
            );
        }
        "KillMode" => {}
        "MemoryMax" | "MemoryLimit" if is_service => match size(value) {
            Some(limit) => {
                unit.say("memory", format!("{key}: systemd killed it there; here it is drained and started again"));
                unit.set("memory", Value::Table(vec![("limit", Value::Text(limit))]));
            }
            None => unit.warn("memory", format!("{key}={value} is left out")),
        },
        "User" | "Group" => unit.warn("", format!("{key}={value}: here it runs as whoever runs the supervisor.")),
        "DynamicUser" if truth(value) == Some(true) => {
            unit.warn("", "DynamicUser: here it runs as whoever runs the supervisor.")
        }
        "ExecStop" | "ExecStopPost" | "ExecStartPost" | "ExecReload" => {
            unit.warn("", format!("{key} is left out: there is the signal to stop it, and no command."));
        }
        "StandardOutput" | "StandardError" if value.contains('/') && is_service => {
            unit.say("log", format!("{key} was {value}; now <state>/logs, rotated (`supervisor logs`)"));
        }
        "StandardOutput" | "StandardError" => {}
        "RemainAfterExit" if is_service && truth(value) == Some(true) => {
            unit.say("restart", "RemainAfterExit: after its end it is shown as `done`");
        }
        "RestartForceExitStatus" => unit.say("restart", format!("RestartForceExitStatus {value} is left out")),
        "Wants" | "PartOf" | "Before" | "Conflicts"
            if value.split_whitespace().all(|name| name.ends_with(".target")) => {}
        key => return WITHOUT_LOSS.contains(&key),
    }
    true
}
