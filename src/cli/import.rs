//! `import`: what other service managers have, as services.toml.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{Import, ImportFormat};
use super::{Context, Output, Stop};
use crate::error::{Error, ErrorKind};
use crate::import::{self, Fault, Format, Imported, LARGEST, Note};
use crate::machine::words::count;

/// `import --json`.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    /// The file that was written.
    output: Option<&'a Path>,
    services: usize,
    tasks: usize,
    /// services.toml, unless it was written.
    text: Option<&'a str>,
    notes: &'a [Note],
    faults: &'a [Fault],
}

pub(super) fn run(args: &Import, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let (mut files, mut unread) = (Vec::new(), Vec::new());
    for path in &args.files {
        match read(path) {
            Ok(file) => files.push(file),
            Err(fault) => unread.push(fault),
        }
    }
    let mut imported = import::import(&files, args.format.map(format), &context.sources.surroundings());
    imported.faults.splice(0..0, unread);
    let found = imported.services + imported.tasks > 0;
    // A file of comments alone would only be in the way of the next try.
    let written = args.output.as_deref().filter(|_| found);
    if let Some(path) = written {
        write(path, &imported.text)?;
    }
    if context.json {
        let report = Report {
            ok: imported.faults.is_empty(),
            output: written,
            services: imported.services,
            tasks: imported.tasks,
            text: written.is_none().then_some(&imported.text),
            notes: &imported.notes,
            faults: &imported.faults,
        };
        writeln!(output.out, "{}", serde_json::to_string(&report).map_err(io::Error::other)?)?;
    } else {
        if args.output.is_none() && (found || imported.faults.is_empty()) {
            output.out.write_all(imported.text.as_bytes())?;
            // Where both go to one terminal, what to look at comes after the text.
            output.out.flush()?;
        }
        output.notes.write_all(told(&imported, written).as_bytes())?;
    }
    Ok(if imported.faults.is_empty() { 0 } else { ErrorKind::Config.exit_code() })
}

fn format(format: ImportFormat) -> Format {
    match format {
        ImportFormat::Launchd => Format::Launchd,
        ImportFormat::Systemd => Format::Systemd,
        ImportFormat::Procfile => Format::Procfile,
        ImportFormat::Supervisord => Format::Supervisord,
        ImportFormat::Pm2 => Format::Pm2,
    }
}

/// Reads a file, or stdin. It is not asked who may write it: nothing of it is used before a person has read it.
fn read(path: &Path) -> Result<import::File, Fault> {
    let is_stdin = path == Path::new("-");
    let shown = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let fault = |message: String, hint: &str| Fault { file: shown.clone(), line: None, message, hint: hint.to_owned() };
    // What is relative in what comes through stdin is taken from here.
    let absolute = std::path::absolute(if is_stdin { Path::new("stdin") } else { path });
    let absolute: PathBuf = absolute.map_err(|e| fault(e.to_string(), "name a file"))?;
    let mut bytes = Vec::new();
    // One byte more than is used, so that a longer file is seen to be longer.
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    let done = match is_stdin {
        true => io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    match done {
        Ok(_) => Ok(import::File { shown, path: absolute, bytes }),
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "check its path",
                io::ErrorKind::IsADirectory => "name the files in it",
                _ => "make it readable for you, or name another file",
            };
            Err(fault(format!("it cannot be read: {error}"), hint))
        }
    }
}

/// Writes a file that was not there: what a person has written is never lost.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::Refused, format!("{} is there already, and is not overwritten", path.display()))
                .hint("name another file with --output, or move that one away")
        }
        _ => Error::io("cannot write", path, &error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half of it is worth nothing, and would be in the way of the next try.
        std::fs::remove_file(path).ok();
        Error::io("cannot write", path, &error)
    })
}

/// What people read on stderr: what could not be imported, what to look at, and how much there is.
fn told(imported: &Imported, written: Option<&Path>) -> String {
    let mut text = String::new();
    for Fault { file, line, message, hint } in &imported.faults {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        text.push_str(&format!("supervisor: cannot import {file}{line}: {message}\n  hint: {hint}\n"));
    }
    for note in imported.notes.iter().filter(|note| note.attention) {
        let about = note.unit.as_deref().unwrap_or(&note.file);
        let key = note.key.as_ref().map(|key| format!(" {key}:")).unwrap_or_default();
        text.push_str(&format!("note: {about}:{key} {}\n", note.text));
    }
    let (services, tasks) = (count(imported.services, "service"), count(imported.tasks, "task"));
    let rest = imported.notes.iter().filter(|note| !note.attention).count();
    let where_to = written.map(|path| format!(" in {}", path.display())).unwrap_or_default();
    let more = if rest == 0 { String::new() } else { format!("; {} in the text", count(rest, "more comment")) };
    text.push_str(&format!("imported {services} and {tasks}{where_to}{more}\n"));
    text
}
