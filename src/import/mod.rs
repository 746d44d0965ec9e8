//! What others wrote to services.toml text: launchd plists, systemd units, Procfiles, supervisord.conf, PM2's JSON.
//!
//! What belongs here: reading those formats, finding the words of services.toml for what they say, and saying in
//! comments where the meaning changes. What does not: files and terminals. [`import`] is a function of bytes; nothing
//! that it reads is ever executed, and no program is looked for.
//!
//! Three rules. What cannot be said in services.toml is not left out in silence: it stands in a comment, and the service
//! is switched off where it would be another one without it. Values that look like secrets are not printed. And whatever
//! comes out is accepted by [`config::parse`](crate::config::parse()): a unit that is not is commented out with the reason.

mod calendar;
mod command;
mod launchd;
mod launchd_keys;
mod launchd_when;
mod lines;
mod names;
mod on_calendar;
mod pm2;
mod procfile;
mod secret;
mod shell;
mod supervisord;
mod systemd;
mod systemd_restart;
mod systemd_text;
mod systemd_timer;
mod systemd_words;
#[cfg(test)]
mod tests;
mod unit;
mod write;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{self, Source, Surroundings};
use unit::{Place, Unit};

/// Which kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A property list of launchd, XML or binary.
    Launchd,
    /// A `.service` or `.timer`.
    Systemd,
    /// A Procfile, as Foreman and Heroku read it.
    Procfile,
    /// A supervisord.conf.
    Supervisord,
    /// An ecosystem file of PM2, as JSON.
    Pm2,
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub struct File {
    /// As it was named, for messages.
    pub shown: String,
    /// Absolute: what is relative in it is taken from its folder.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// What a person should know of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file it comes from.
    pub file: String,
    /// The service or task it is about.
    pub unit: Option<String>,
    /// The key in services.toml that it stands above, if it is about one.
    pub key: Option<String>,
    /// Whether a person has to look at it; else it only explains.
    pub attention: bool,
    /// One or a few sentences, on one line.
    pub text: String,
}

/// A file that could not be imported, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// From 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// A whole services.toml.
    pub text: String,
    /// How many services it declares.
    pub services: usize,
    /// How many calendar jobs.
    pub tasks: usize,
    /// In the order of the text.
    pub notes: Vec<Note>,
    /// In the order of the files.
    pub faults: Vec<Fault>,
}

/// Why a file, or a part of it, cannot be read, before it is known which file.
#[derive(Debug)]
pub(in crate::import) struct Wrong {
    line: Option<usize>,
    message: String,
    hint: String,
}

impl Wrong {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line: None, message: message.into(), hint: hint.into() }
    }

    fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

/// What a reader makes of one file.
#[derive(Default)]
pub(in crate::import) struct Found {
    units: Vec<Unit>,
    timers: Vec<systemd_timer::Timer>,
    wrong: Vec<Wrong>,
    /// About the file as a whole.
    notes: Vec<String>,
}

/// Turns `files` into one services.toml. `format` is for all of them; without it each one is recognised by its name and
/// its content. `around` is what the result will be read with.
pub fn import(files: &[File], format: Option<Format>, around: &Surroundings) -> Imported {
    let (mut units, mut timers, mut notes, mut faults) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let shown = write::plain(&file.shown);
        let place = Place { shown: &shown, path: &file.path, around };
        let found = read(file, format, &place).unwrap_or_else(|wrong| Found { wrong: vec![wrong], ..Found::default() });
        let note = |text| Note { file: shown.clone(), unit: None, key: None, attention: true, text };
        notes.extend(found.notes.into_iter().map(|text| note(write::plain(&text))));
        faults.extend(found.wrong.into_iter().map(|wrong| fault(&shown, wrong)));
        if units.len() + found.units.len() > MOST_UNITS {
            let message = format!("with it there would be more than {MOST_UNITS} services");
            faults.push(fault(&shown, Wrong::new(message, "import fewer files at once")));
            continue;
        }
        units.extend(found.units);
        timers.extend(found.timers);
    }
    for (file, wrong) in systemd_timer::join(timers, &mut units) {
        faults.push(fault(&file, wrong));
    }
    let prefix = names::settle(&mut units);
    let shown: Vec<&str> = files.iter().map(|file| file.shown.as_str()).collect();
    let text = accepted(&mut units, &shown, prefix.as_deref(), around);
    let count = |is_task| units.iter().filter(|unit| unit.void.is_none() && unit.is_task == is_task).count();
    let (services, tasks) = (count(false), count(true));
    notes.extend(units.iter().flat_map(Unit::notes));
    Imported { text, services, tasks, notes, faults }
}

fn fault(file: &str, wrong: Wrong) -> Fault {
    let Wrong { line, message, hint } = wrong;
    Fault { file: file.to_owned(), line, message: write::plain(&message), hint: write::plain(&hint) }
}

/// The text, once services.toml's own reader finds nothing wrong with it.
fn accepted(units: &mut [Unit], files: &[&str], prefix: Option<&str>, around: &Surroundings) -> String {
    loop {
        names::settle_after(units);
        let text = write::file(units, files, prefix);
        let source = Source { path: "services.toml".into(), text };
        let faults = config::parse(&source, around).faults;
        let mut changed = false;
        for fault in faults {
            let named = fault.unit.as_ref().map(|name| name.as_str());
            let unit = units.iter_mut().find(|unit| unit.void.is_none() && named == Some(unit.name.as_str()));
            if let Some(unit) = unit {
                let help = fault.help.map(|help| format!("; {help}")).unwrap_or_default();
                unit.void = Some(format!("{}{help}", fault.message));
                changed = true;
            }
        }
        // Each round takes a unit out, so there is a last one.
        if !changed {
            return source.text;
        }
    }
}

/// Longest file that is read, in bytes. All of these formats are some kilobytes.
pub const LARGEST: usize = 1 << 20;

/// Services of one call. Whoever has more has another file in hand than they think.
const MOST_UNITS: usize = 1000;

fn read(file: &File, format: Option<Format>, place: &Place<'_>) -> Result<Found, Wrong> {
    if file.bytes.len() > LARGEST {
        let message = format!("it has {} bytes, more than 1 MiB", file.bytes.len());
        return Err(Wrong::new(message, "name the plist, unit, Procfile, supervisord.conf or JSON file itself"));
    }
    let format = match format {
        Some(format) => format,
        None => recognise(&file.path, &file.bytes)?,
    };
    if format == Format::Launchd {
        return launchd::read(&file.bytes, place);
    }
    let text = text(&file.bytes)?;
    match format {
        Format::Systemd => systemd::read(text, place),
        Format::Procfile => Ok(procfile::read(text, place)),
        Format::Supervisord => supervisord::read(text, place),
        Format::Pm2 | Format::Launchd => pm2::read(text, place),
    }
}

/// The bytes as text, without a byte order mark.
fn text(bytes: &[u8]) -> Result<&str, Wrong> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Wrong::new("it is not UTF-8 text", "save the file with the encoding UTF-8").at(line)
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Which kind of file it is, by its name first, as people name them, then by what is in it.
fn recognise(path: &Path, bytes: &[u8]) -> Result<Format, Wrong> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let drop_in = path.parent().and_then(Path::file_name).is_some_and(|folder| {
        let folder = folder.to_string_lossy();
        folder.ends_with(".service.d") || folder.ends_with(".timer.d")
    });
    if drop_in && ending == "conf" {
        return Err(Wrong::new(
            "it is a drop-in, which says only what it changes of a unit",
            "import the unit as a whole: systemctl --user cat NAME.service > NAME.service",
        ));
    }
    let begins = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let begins = begins.trim_start_matches('\u{feff}').trim_start();
    let has_line = |wanted: &dyn Fn(&str) -> bool| begins.lines().any(|line| wanted(line.trim()));
    match ending {
        "plist" => return Ok(Format::Launchd),
        "service" | "timer" => return Ok(Format::Systemd),
        "js" | "cjs" | "mjs" | "ts" => return Err(pm2::script(&path.display().to_string())),
        "socket" | "path" | "target" | "mount" | "slice" | "scope" if has_line(&|line| line == "[Unit]") => {
            return Err(Wrong::new(
                format!("a .{ending} unit has no counterpart in services.toml"),
                "import .service and .timer units; files are watched by the built-in file-watcher",
            ));
        }
        _ if name == "procfile" || name.starts_with("procfile.") || ending == "procfile" => {
            return Ok(Format::Procfile);
        }
        _ => {}
    }
    if bytes.starts_with(b"bplist") || begins.contains("<plist") || begins.contains("<!DOCTYPE plist") {
        return Ok(Format::Launchd);
    }
    if has_line(&|line| line.starts_with("[program:") || line == "[supervisord]") {
        return Ok(Format::Supervisord);
    }
    if has_line(&|line| matches!(line, "[Unit]" | "[Service]" | "[Timer]")) {
        return Ok(Format::Systemd);
    }
    if begins.starts_with('{') || (begins.starts_with('[') && ending == "json") {
        return Ok(Format::Pm2);
    }
    if begins.contains("module.exports") || begins.contains("export default") {
        return Err(pm2::script(&path.display().to_string()));
    }
    if procfile::is_one(begins) {
        return Ok(Format::Procfile);
    }
    Err(Wrong::new(
        "it is none of the kinds that can be imported: launchd plist, systemd .service or .timer, Procfile, \
         supervisord.conf, PM2 ecosystem JSON",
        "if it is one of them, say which with --format launchd|systemd|procfile|supervisord|pm2",
    ))
}
