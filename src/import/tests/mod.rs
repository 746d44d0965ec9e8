//! Whole files in, services.toml out.

mod launchd;
mod openclaw;
mod others;
mod random;
mod systemd;

use super::{File, Imported, import};
use crate::config::{self, Source, Surroundings};
use crate::model::{Fleet, Program, Schedule, ServiceSpec, TaskSpec, UnitName};

fn around() -> Surroundings {
    let vars = [("PATH", "/usr/bin:/bin"), ("HOME", "/Users/u")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Surroundings { home: "/Users/u".into(), vars: vars.into(), state_dir: None }
}

fn file(name: &str, bytes: impl Into<Vec<u8>>) -> File {
    File { shown: name.to_owned(), path: std::path::Path::new("/Users/u/files").join(name), bytes: bytes.into() }
}

/// Imports, and holds what comes out against services.toml's own reader.
fn read(files: &[File]) -> (Imported, Fleet) {
    let imported = import(files, None, &around());
    let source = Source { path: "services.toml".into(), text: imported.text.clone() };
    let parsed = config::parse(&source, &around());
    assert!(parsed.faults.is_empty(), "{}\n{}", config::render(&parsed.faults, &source, false), imported.text);
    let fleet = parsed.fleet.unwrap();
    assert_eq!((fleet.services.len(), fleet.tasks.len()), (imported.services, imported.tasks), "{}", imported.text);
    (imported, fleet)
}

/// The one service of one file.
fn service(name: &str, text: &str) -> (Imported, ServiceSpec) {
    let (imported, mut fleet) = read(&[file(name, text)]);
    assert!(imported.faults.is_empty(), "{:?}", imported.faults);
    assert_eq!((fleet.services.len(), fleet.tasks.len()), (1, 0), "{}", imported.text);
    (imported, fleet.services.remove(0))
}

/// The one task of one file.
fn task(name: &str, text: &str) -> (Imported, TaskSpec) {
    let (imported, mut fleet) = read(&[file(name, text)]);
    assert!(imported.faults.is_empty(), "{:?}", imported.faults);
    assert_eq!((fleet.services.len(), fleet.tasks.len()), (0, 1), "{}", imported.text);
    (imported, fleet.tasks.remove(0))
}

fn command(service: &ServiceSpec) -> Vec<&str> {
    match &service.program {
        Program::Command(argv) => argv.iter().map(String::as_str).collect(),
        Program::Builtin(builtin) => panic!("{builtin:?}"),
    }
}

fn named<'a>(fleet: &'a Fleet, name: &str) -> &'a ServiceSpec {
    fleet.service(&UnitName::new(name).unwrap()).unwrap_or_else(|| panic!("no {name}"))
}

/// Whether a person is told to look at something with these words.
fn is_told(imported: &Imported, words: &str) -> bool {
    imported.notes.iter().any(|note| note.attention && note.text.contains(words))
}

/// Whether a comment has these words, which may be on several lines.
fn is_said(imported: &Imported, words: &str) -> bool {
    imported.notes.iter().any(|note| note.text.contains(words))
}

/// A calendar that is all words.
fn words_of(task: &TaskSpec) -> Vec<String> {
    let words = |entry: &Schedule| match entry {
        Schedule::Words { text, .. } => text.clone(),
        Schedule::Table(table) => panic!("{table:?}"),
    };
    task.calendar.iter().map(words).collect()
}
