//! A command line into a unit: a shell around it is taken away where it does nothing, its path made one that
//! services.toml can say, and its secrets hidden.

use std::path::Path;

use super::secret;
use super::shell::{self, Simple};
use super::unit::{Place, Unit, Value};

/// Sets `command`, or for a task one of its `steps`, and what a shell around it says of directory and variables. Call it
/// when `cwd` is set.
pub(super) fn set(unit: &mut Unit, argv: Vec<String>, place: &Place<'_>) {
    let argv = unwrapped(unit, argv, place);
    finish(unit, argv, place);
}

/// Sets the command to the words of a text for `sh -c`: those of a simple one, else the shell with the text.
pub(super) fn set_text(unit: &mut Unit, text: &str, place: &Place<'_>) {
    set(unit, ["/bin/sh", "-c", text].map(str::to_owned).to_vec(), place);
}

fn key(unit: &Unit) -> &'static str {
    if unit.is_task { "steps" } else { "command" }
}

fn finish(unit: &mut Unit, mut argv: Vec<String>, place: &Place<'_>) {
    let base = unit.cwd().unwrap_or_else(|| place.folder().to_path_buf());
    let key = key(unit);
    let Some(first) = argv.first_mut() else { return unit.void("it has no program") };
    match program(first, &base) {
        Ok(path) => {
            if path.starts_with('/') && !first.starts_with('/') {
                unit.warn(key, format!("{first} is a relative path, taken from {}", base.display()));
            }
            *first = path;
        }
        Err(why) => return unit.void(why),
    }
    if argv.iter().any(|arg| arg.contains('\0')) {
        return unit.void("an argument holds a NUL character, which no program can be given");
    }
    let hidden = secret::hide_in_arguments(&mut argv);
    if !hidden.is_empty() {
        let (what, mark) = (hidden.join(", "), secret::HIDDEN);
        unit.turn_off(format!(
            "in its command {what} looks like a secret, and is not printed: put it into an env_file if the program takes \
             it as a variable, else in place of {mark} (and let nobody else read this file)"
        ));
    }
    let argv = Value::texts(argv.iter().map(String::as_str));
    if !unit.is_task {
        return unit.set("command", argv);
    }
    let limit = unit.keys.get("max_runtime").cloned().unwrap_or(Value::text("1h"));
    let step = Value::Table(vec![("run", argv), ("timeout", limit)]);
    match unit.keys.get_mut("steps") {
        Some(Value::List(steps)) => steps.push(step),
        _ => unit.set("steps", Value::List(vec![step])),
    }
}

/// A program as services.toml has it: a bare name or an absolute path.
fn program(text: &str, base: &Path) -> Result<String, String> {
    if text.is_empty() {
        return Err("its program has no name".into());
    }
    if !text.contains('/') {
        let odd = text.starts_with('~') || text.contains("${") || text.chars().any(char::is_whitespace);
        return if odd { Err(format!("{text:?} cannot be the name of a program here")) } else { Ok(text.to_owned()) };
    }
    if text.starts_with("~/") {
        return Ok(text.replace("${", "$${"));
    }
    let path = base.join(text.trim_start_matches("./"));
    let path = path.to_str().ok_or_else(|| format!("{text:?} is relative to a folder that is not UTF-8"))?;
    Ok(path.replace("${", "$${"))
}

/// The command without a shell that does nothing but start it.
fn unwrapped(unit: &mut Unit, argv: Vec<String>, place: &Place<'_>) -> Vec<String> {
    let key = key(unit);
    let Some(wrapper) = shell::wrapper(&argv) else { return argv };
    let simple = match shell::simple(wrapper.text, place.home()) {
        Ok(simple) => simple,
        Err(why) => {
            unit.say(key, format!("the shell stays: {why}"));
            if wrapper.login {
                unit.say(key, "it reads the profile of a login first");
            }
            hints(unit, wrapper.text);
            return argv;
        }
    };
    let Simple { cwd, env, argv: words, redirected } = simple;
    unit.say(key, "a shell around it is gone: it did nothing else");
    if wrapper.login {
        unit.warn(
            key,
            "it was a login shell, which read the profile first: what that set has to stand in env now, PATH above all",
        );
    }
    for (name, value) in env {
        unit.variable(&name, &value);
    }
    if let Some(cwd) = cwd {
        let base = unit.cwd().unwrap_or_else(|| place.folder().to_path_buf());
        unit.remarks.retain(|remark| remark.key != "cwd");
        unit.path("cwd", &cwd, &base);
    }
    if !redirected.is_empty() {
        unit.say(key, format!("what it wrote went {}; it goes to <state>/logs now", redirected.join(" ")));
    }
    words
}

/// What a shell is often used for, and what does it here.
fn hints(unit: &mut Unit, text: &str) {
    let key = key(unit);
    let watchers = ["fswatch", "inotifywait", "watchexec", "entr "];
    if watchers.iter().any(|watcher| text.contains(watcher)) {
        unit.warn(
            key,
            "it watches files: builtin = \"file-watcher\" does that without a shell, a handler run for each file \
             ([[service.NAME.watch]] with paths and run)",
        );
    }
    if text.trim_end().ends_with('&') && !text.trim_end().ends_with("&&") {
        unit.turn_off("its shell puts the program into the background and ends; take out the & so that it can be held");
    }
    if text.contains("activate") && text.contains("bin/") {
        unit.say(key, "instead of activating a virtual environment, name its own bin/python as the program");
    }
}
