//! Procfiles: `name: command` a line.

use super::unit::{Place, Unit};
use super::{Found, Wrong, command};

/// The name and the command of a line.
fn split(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (!name.is_empty() && name.chars().all(fits) && !command.trim().is_empty()).then(|| (name, command.trim()))
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Whether the text looks like one: every line does.
pub(super) fn is_one(text: &str) -> bool {
    // A URL's scheme or a key of YAML on a line of its own is none.
    let fits = |line: &str| split(line).is_some_and(|(_, command)| !command.starts_with("//"));
    lines(text).next().is_some() && lines(text).all(|(_, line)| fits(line))
}

pub(super) fn read(text: &str, place: &Place<'_>) -> Found {
    let mut found = Found::default();
    for (number, line) in lines(text) {
        match split(line) {
            Some((name, command)) => found.units.push(unit(name, command, place)),
            None => {
                let wrong = Wrong::new("the line is not NAME: COMMAND", "write e.g. web: node server.js");
                found.wrong.push(wrong.at(number));
            }
        }
    }
    if found.units.is_empty() && found.wrong.is_empty() {
        found.wrong.push(Wrong::new("it declares no process", "write e.g. web: node server.js"));
    }
    found
}

fn unit(name: &str, text: &str, place: &Place<'_>) -> Unit {
    let mut unit = Unit::new(place, name);
    if let Some(folder) = place.folder().to_str() {
        unit.path("cwd", folder, place.folder());
    }
    if name == "release" {
        unit.say("restart", "a release phase is run once, before the others");
        unit.set_text("restart", "never");
        unit.turn_off("it is run by hand, at each release");
    }
    if text.contains("$PORT") || text.contains("${PORT") {
        unit.warn("env", "whoever read the Procfile set PORT: set it here");
        unit.turn_off("PORT is not set; write it into env");
    }
    command::set_text(&mut unit, text, place);
    if place.folder().to_str().is_some() {
        unit.say("", "A .env file beside the Procfile is not read: name it with env_file (mode 0600) if it is needed.");
    }
    unit
}
