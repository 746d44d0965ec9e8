//! Files and folders: services.toml, the state directory, the database, and what services read.

use std::path::Path;

use super::facts::{ConfigFacts, DatabaseFacts, Disk, EnvFile, Facts, Place, Seen, StateFolder};
use super::{Finding, Level, MACHINE, SELF};
use crate::model::Moment;

/// With less the ledger and the logs will soon fail.
const LITTLE: u64 = 100 << 20;

/// With less somebody should look.
const FEW: u64 = 1 << 30;

/// Clocks of programs that write to the ledger differ by less.
const LEEWAY_MS: i64 = 60_000;

const FILE: &str = "services.toml";

pub(super) fn config(config: &ConfigFacts) -> Vec<Finding> {
    let path = config.path.display();
    let mut found = vec![match config.faults {
        0 => Finding::ok(FILE, format!("{path} is fine")),
        n => Finding::new(Level::Bad, FILE, format!("{path} has {n} fault{}", if n == 1 { "" } else { "s" }))
            .remedy("supervisor check"),
    }];
    if let Some((mode, _)) = config.mode_and_owner.filter(|(mode, _)| mode & 0o044 != 0) {
        let what = format!("others can read {path} (mode {:03o}): keep tokens in an env_file", mode & 0o777);
        found.push(Finding::new(Level::Note, FILE, what).remedy(format!("chmod 600 '{path}'")));
    }
    found
}

pub(super) fn state(folders: &[StateFolder]) -> Vec<Finding> {
    let one = |folder: &StateFolder| {
        let (path, what) = (folder.path.display(), folder.what);
        match (&folder.writable, folder.mode) {
            (Err(why), _) => Finding::new(Level::Bad, SELF, format!("{what} {path} cannot be written: {why}"))
                .remedy(format!("sudo chown -R $(id -u) '{path}'; chmod u+rwX '{path}'")),
            (Ok(()), Some(mode)) if mode & 0o022 != 0 => {
                let what = format!("others can write into {what} {path} (mode {:03o})", mode & 0o777);
                Finding::new(Level::Bad, SELF, what).remedy(format!("chmod go-w '{path}'"))
            }
            (Ok(()), _) => Finding::ok(SELF, format!("{what} {path} can be written")),
        }
    };
    folders.iter().map(one).collect()
}

pub(super) fn disk(disk: &Disk) -> Finding {
    let mib = disk.free >> 20;
    let what = format!("{mib} MiB are free on the disk of {}", disk.folder.display());
    match disk.free {
        free if free < LITTLE => Finding::new(Level::Bad, MACHINE, what)
            .remedy("make room: what is not written is kept until then, and lost when the machine goes down"),
        free if free < FEW.min(disk.size / 20) => {
            Finding::new(Level::Warn, MACHINE, what).remedy("make room, before logs and the database cannot be written")
        }
        _ => Finding::ok(MACHINE, what),
    }
}

pub(super) fn database(database: &DatabaseFacts, now: Moment) -> Finding {
    let path = database.path.display();
    let check = match &database.check {
        None => return Finding::ok(SELF, format!("there is no database {path} yet")),
        Some(Err(why)) => {
            return Finding::new(Level::Bad, SELF, why.clone())
                .remedy(format!("supervisor stop --all; mv '{path}' '{path}.broken' (a new one is made; sqlite3 '{path}.broken' .recover reads the old one)"));
        }
        Some(Ok(check)) => check,
    };
    if let Some(trouble) = check.troubles.first() {
        let what = format!("the database {path} is damaged: {trouble}");
        return Finding::new(Level::Bad, SELF, what).remedy(format!(
            "stop the daemon, then: sqlite3 '{path}' .recover | sqlite3 '{path}.new', and put the new one in its place"
        ));
    }
    if check.newest_ms.is_some_and(|newest| newest > now.wall_ms + LEEWAY_MS) {
        let what = format!("the newest record in {path} is of a later time than now: the machine's clock was set back");
        return Finding::new(Level::Warn, SELF, what)
            .remedy("set the clock right (System Settings → Date & Time, or timedatectl set-ntp true)");
    }
    if !check.finished {
        return Finding::new(
            Level::Note,
            SELF,
            format!("the database {path} is too large to be checked in a few seconds"),
        )
        .remedy(format!("sqlite3 '{path}' 'PRAGMA quick_check'"));
    }
    match &check.foreign {
        Some(note) => Finding::new(Level::Note, SELF, format!("the database {path}: {note}")),
        None => Finding::ok(SELF, format!("the database {path} is whole")),
    }
}

pub(super) fn env_file(file: &EnvFile) -> Finding {
    match &file.read {
        Ok(()) => Finding::ok(&file.unit, format!("its env_file {} can be read, by us alone", file.path.display())),
        // It says what to run.
        Err(why) => Finding::new(Level::Bad, &file.unit, why.clone()),
    }
}

pub(super) fn place(place: &Place, facts: &Facts) -> Vec<Finding> {
    let (unit, path) = (place.unit.as_str(), place.path.display());
    let what = format!("{} {path}", place.what);
    let level = if place.needed { Level::Bad } else { Level::Warn };
    let mut found = vec![match &place.seen {
        Seen::Fine => Finding::ok(unit, format!("{what} can be read")),
        Seen::Absent => Finding::new(level, unit, format!("{what} does not exist"))
            .remedy(format!("mkdir -p '{path}', or correct services.toml")),
        Seen::Denied => Finding::new(Level::Bad, unit, format!("{what} is there, and may not be read")).remedy(
            if guarded(&place.path, facts).is_some() {
                grant(place)
            } else {
                format!("ls -ld '{path}', then chmod or chown it")
            },
        ),
        Seen::Slow => Finding::new(Level::Bad, unit, format!("{what} does not answer"))
            .remedy("is it a network volume that is not there, or a question for access that nobody answered?"),
        Seen::Other(why) => Finding::new(level, unit, format!("{what}: {why}")),
    }];
    if let (Seen::Fine, Some(where_)) = (&place.seen, guarded(&place.path, facts)) {
        let what = format!(
            "{what} is in {where_}, which macOS guards: that you can read it here does not mean that the service can"
        );
        found.push(Finding::new(Level::Warn, unit, what).remedy(grant(place)));
    }
    found
}

/// Where macOS asks the user before a program may read.
fn guarded(path: &Path, facts: &Facts) -> Option<&'static str> {
    if !facts.is_mac {
        return None;
    }
    let below = [("Desktop", "~/Desktop"), ("Documents", "~/Documents"), ("Downloads", "~/Downloads")];
    let home = below.into_iter().find(|(name, _)| path.starts_with(facts.home.join(name))).map(|(_, shown)| shown);
    home.or_else(|| path.starts_with("/Volumes").then_some("/Volumes"))
}

fn grant(place: &Place) -> String {
    let program = place.program.as_ref().map_or("its program".to_owned(), |path| path.display().to_string());
    format!(
        "System Settings → Privacy & Security → Full Disk Access: add {program} (and again when its path changes), or move the folder \
         elsewhere below your home"
    )
}
