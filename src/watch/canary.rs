//! The watcher's proof on a file of its own: it is made, and somebody has to tell us so. A stream of events that has died in a living
//! process shows by this and by nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{self, Moment, Mono};

/// Within this it has to be told.
const WITHIN: Duration = Duration::from_secs(20);

/// The proof.
#[derive(Debug)]
pub(super) struct Canary {
    folder: PathBuf,
    /// The same with all links followed: as it is told.
    real: PathBuf,
    /// Until when it has to be told.
    until: Option<Mono>,
    proved_ms: Option<i64>,
    trouble: Option<String>,
}

impl Canary {
    /// In a folder of its own, which is there.
    pub(super) fn new(folder: PathBuf) -> Self {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        Self { folder, real, until: None, proved_ms: None, trouble: None }
    }

    /// Where it is, for whoever watches it.
    pub(super) fn real_folder(&self) -> &Path {
        &self.real
    }

    /// Makes the file.
    pub(super) fn begin(&mut self, now: Moment) {
        let file = self.folder.join("canary");
        // One that is there still is no new one.
        let _ = fs::remove_file(&file);
        match fs::write(&file, b"") {
            Ok(()) => self.until = Some(now.mono.plus(WITHIN)),
            // That says nothing about who tells of changes.
            Err(e) => anstream::eprintln!("{} cannot be written: {e}", file.display()),
        }
    }

    /// Whether `path` is of it; then it is the proof.
    pub(super) fn sees(&mut self, path: &Path, now: Moment) -> bool {
        if !path.starts_with(&self.real) {
            return false;
        }
        self.until = None;
        self.proved_ms = Some(now.wall_ms);
        if self.trouble.take().is_some() {
            anstream::eprintln!("changes are told of again");
        }
        true
    }

    /// Whether nobody has told, for the first time: its time is over.
    pub(super) fn is_silent(&mut self, now: Mono) -> bool {
        if self.until.is_none_or(|until| until > now) {
            return false;
        }
        self.until = None;
        let seconds = WITHIN.as_secs();
        self.trouble = Some(format!("a file of our own was written, and nobody told of it within {seconds} s"));
        true
    }

    /// When its time is over.
    pub(super) fn due(&self) -> Option<Mono> {
        self.until
    }

    /// As a person is told.
    pub(super) fn told(&self) -> model::Canary {
        model::Canary { proved_ms: self.proved_ms, trouble: self.trouble.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment { mono: Mono(seconds * 1_000_000_000), boot_ns: 0, wall_ms: i64::try_from(seconds).unwrap() * 1000 }
    }

    #[test]
    fn silence_is_told_once_and_is_over_when_somebody_tells() {
        let folder = tempfile::tempdir().unwrap();
        let mut canary = Canary::new(folder.path().to_owned());
        canary.begin(at(10));
        assert!(folder.path().join("canary").exists());
        assert!(!canary.is_silent(at(29).mono) && canary.due() == Some(at(30).mono));
        assert!(canary.is_silent(at(30).mono) && !canary.is_silent(at(31).mono));
        assert!(canary.told().trouble.is_some_and(|why| why.contains("20 s")));
        canary.begin(at(40));
        assert!(!canary.sees(Path::new("/elsewhere"), at(41)));
        assert!(canary.sees(&canary.real_folder().join("canary"), at(41)));
        assert_eq!(canary.told(), model::Canary { proved_ms: Some(41_000), trouble: None });
        assert_eq!(canary.due(), None);
    }
}
