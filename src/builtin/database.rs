//! `vacuum` and `verify-backup`: the database's file, and the copies of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Work, failed};
use crate::error::Error;
use crate::machine::words;
use crate::model::{BuiltinStep, Fleet, StepAction, StepSpec, UnitName};
use crate::process::lock::Lock;
use crate::process::{clock, files, host, wait};
use crate::store::{Reader, StoreError, Upkeep, Verified, verify_copy};

/// Between two transactions or parts of a copy: others have their turn.
const PAUSE: Duration = Duration::from_millis(10);

/// Room on the disk that a copy leaves.
const LEFT: u64 = 256 << 20;

/// How long a check of the file itself may take, where no copy is made that could be checked.
const CHECK: Duration = Duration::from_secs(300);

/// Tries to empty the -wal file, with a second between them.
const TRIES: usize = 5;

const BEGINNING: &str = "observability-";
const ENDING: &str = ".sqlite";
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// Gives free pages back, empties the -wal file, and makes a copy that is read back.
pub(super) fn vacuum(backups: u32, work: &mut Work<'_>) -> Result<(), Error> {
    let database = work.paths.database();
    if !database.try_exists().map_err(|e| Error::io("cannot look at", &database, &e))? {
        work.say(format!(
            "there is no database yet at {}, so there is nothing to vacuum and nothing to copy",
            database.display()
        ));
        return Ok(());
    }
    let folder = work.paths.database_copies();
    files::ensure_dir(&folder).map_err(|e| Error::io("cannot make", &folder, &e).hint("see to its owner and mode"))?;
    let lock = folder.join("lock");
    let _alone = Lock::acquire(&lock).map_err(|e| {
        let message = format!("cannot work on {}: {} is {e}", database.display(), lock.display());
        failed(message, "wait until the other vacuum has ended")
    })?;
    clear(&folder);
    let upkeep = Upkeep::open(&database)?;
    shrink(&upkeep, work)?;
    if backups == 0 {
        return check_in_place(&database, work);
    }
    let copy = copy(&upkeep, &folder, work)?;
    let verified = verify_copy(&copy.scratch).map_err(Error::from).and_then(|verified| sound(&database, verified));
    if verified.is_err() {
        // The copies that are there are all the more precious.
        std::fs::remove_file(&copy.scratch).ok();
    }
    let rows = verified?;
    std::fs::rename(&copy.scratch, &copy.path)
        .and_then(|()| std::fs::File::open(&folder)?.sync_all())
        .map_err(|e| Error::io("cannot finish", &copy.path, &e))?;
    work.say(format!("copy: {} ({}), read back: {rows}", copy.path.display(), words::size(copy.bytes)));
    let mut old = copies(&folder);
    old.truncate(old.len().saturating_sub(backups as usize));
    for (_, path) in old {
        std::fs::remove_file(&path).map_err(|e| Error::io("cannot remove the old copy", &path, &e))?;
        work.say(format!("copy: {} removed, {backups} are kept", path.display()));
    }
    Ok(())
}

fn shrink(upkeep: &Upkeep, work: &mut Work<'_>) -> Result<(), Error> {
    let before = upkeep.room()?;
    upkeep.give_back(&mut pause)?;
    let mut emptied = upkeep.empty_wal()?;
    for _ in 1..TRIES {
        if emptied {
            break;
        }
        let _ = wait::until(Duration::from_secs(1), || None::<()>);
        emptied = upkeep.empty_wal()?;
    }
    let after = upkeep.room()?;
    let (is, free) = (words::size(after.bytes), words::size(after.free));
    work.say(match (before.can_give_back, after.free) {
        (_, 0) => format!("database: {is}, {} given back", words::size(before.bytes.saturating_sub(after.bytes))),
        (true, _) => {
            format!("database: {is}, {} given back, {free} free", words::size(before.bytes.saturating_sub(after.bytes)))
        }
        (false, _) => format!(
            "database: {is}, {free} of it free, which new rows fill; it was made without auto_vacuum, and to make it smaller all \
             programs that use it have to be stopped first, for `sqlite3 FILE 'PRAGMA auto_vacuum = 2; VACUUM'`"
        ),
    });
    if !emptied {
        work.say(
            "database: its -wal file could not be emptied, as somebody was reading all the time; that is done later",
        );
    }
    Ok(())
}

fn check_in_place(database: &Path, work: &mut Work<'_>) -> Result<(), Error> {
    let check = Reader::open(database).and_then(|reader| reader.check(CHECK))?;
    if !check.finished {
        work.say(format!("database: not all of it could be read within {}", words::lasting_time(CHECK)));
    }
    sound(database, Verified { troubles: check.troubles, rows: Vec::new() })?;
    work.say("database: checked; no copy is made (backups = 0)");
    Ok(())
}

/// What was counted, in words; an error when it is damaged.
fn sound(path: &Path, verified: Verified) -> Result<String, Error> {
    if let Some(first) = verified.troubles.first() {
        let all = verified.troubles.len();
        let message = format!("{} is damaged: {first} ({})", path.display(), words::count(all, "complaint"));
        return Err(failed(
            message,
            "save what can be read (`sqlite3 FILE .recover`), or put the newest copy that verify-backup passes in its place while the \
             daemon is stopped",
        ));
    }
    let rows: u64 = verified.rows.iter().map(|(_, rows)| rows).sum();
    Ok(format!("{} with {rows} rows", words::count(verified.rows.len(), "table")))
}

struct Copy {
    scratch: PathBuf,
    path: PathBuf,
    bytes: u64,
}

fn copy(upkeep: &Upkeep, folder: &Path, work: &Work<'_>) -> Result<Copy, Error> {
    let bytes = upkeep.room()?.bytes;
    let free = host::free_disk(folder).unwrap_or(u64::MAX);
    if free < bytes.saturating_add(LEFT) {
        let message = format!(
            "there is no room for a copy: {} has {} free, and {} with {} to spare are needed",
            folder.display(),
            words::size(free),
            words::size(bytes),
            words::size(LEFT)
        );
        return Err(failed(message, "free some space on that disk, or keep fewer copies (`backups`)"));
    }
    let time = jiff::Timestamp::from_millisecond(work.now.wall_ms).unwrap_or_default().strftime(TIME);
    let name = format!("{BEGINNING}{time}{ENDING}");
    let copy =
        Copy { scratch: folder.join(format!(".{name}.{}.tmp", std::process::id())), path: folder.join(name), bytes };
    let copied = upkeep.copy_to(&copy.scratch, &mut |_, _| pause());
    if copied.is_err() {
        clear(folder);
    }
    copied.map_err(|e: StoreError| Error::from(e))?;
    Ok(copy)
}

fn pause() {
    let _ = wait::until(PAUSE, || None::<()>);
}

/// Removes what was killed before it was whole, with what SQLite had beside it.
fn clear(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_begun = entry.file_name().to_str().is_some_and(|name| {
            name.strip_prefix('.').is_some_and(|name| name.starts_with(BEGINNING) && name.contains(".tmp"))
        });
        if is_begun {
            // What stays is tried again by the next one.
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

/// The copies that are there, with their times (milliseconds since 1970 UTC), the oldest first.
fn copies(folder: &Path) -> Vec<(i64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter_map(|entry| Some((made_ms(entry.file_name().to_str()?)?, entry.path()))).collect();
    found.sort();
    found
}

/// When a copy of this name was made.
fn made_ms(name: &str) -> Option<i64> {
    let time = name.strip_prefix(BEGINNING)?.strip_suffix(ENDING)?;
    let time = jiff::civil::DateTime::strptime(TIME, time).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// Reads all of the newest copy.
pub(super) fn verify_backup(max_age: Duration, work: &mut Work<'_>) -> Result<(), Error> {
    let folder = work.paths.database_copies();
    let Some((made_ms, path)) = copies(&folder).pop() else {
        if !work.paths.database().exists() {
            work.say("there is no database yet, so there is no copy of it to read");
            return Ok(());
        }
        let message = format!("there is no copy of the database in {}", folder.display());
        return Err(failed(message, who_copies(work.fleet, work.task)));
    };
    let begun = clock::now().mono;
    let rows = verify_copy(&path).map_err(Error::from).and_then(|verified| sound(&path, verified))?;
    let took = words::exactly(i64::try_from(clock::now().mono.since(begun).as_millis()).unwrap_or(i64::MAX));
    let age_ms = work.now.wall_ms.saturating_sub(made_ms);
    work.say(format!("{}: {rows}, made {} ago, read in {took}", path.display(), words::lasting(age_ms)));
    if age_ms > i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX) {
        let (age, most) = (words::lasting(age_ms), words::lasting_time(max_age));
        let message = format!("the newest copy, {}, is {age} old, and {most} is the most (`max_age`)", path.display());
        return Err(failed(
            message,
            "see why `vacuum` makes none: `supervisor tasks` tells of the job it is a step of",
        ));
    }
    Ok(())
}

/// What to do where there is no copy, for a step of `task`.
fn who_copies(fleet: &Fleet, task: &UnitName) -> String {
    let is = |step: &StepSpec, wanted: fn(&BuiltinStep) -> bool| matches!(&step.action, StepAction::Builtin(it) if wanted(it));
    let copies = |step: &StepSpec| is(step, |step| matches!(step, BuiltinStep::Vacuum { backups: 1.. }));
    let reads = |step: &StepSpec| is(step, |step| matches!(step, BuiltinStep::VerifyBackup { .. }));
    let ours = fleet.task(task).map_or(&[][..], |task| &task.steps);
    match (ours.iter().position(copies), ours.iter().position(reads)) {
        (Some(copies), Some(reads)) if copies < reads => format!(
            "its step {} (vacuum) makes one, and did not: `supervisor logs {task} --stderr` tells why; `supervisor tasks run {task}` \
             does both anew",
            copies + 1
        ),
        (Some(copies), _) => {
            format!("step {} of {task} (vacuum) makes one, and comes after this one: put it before", copies + 1)
        }
        (None, _) => match fleet.tasks.iter().find(|task| task.enabled && task.steps.iter().any(copies)) {
            Some(other) => format!("`supervisor tasks run {}` makes one, by its step `vacuum`", other.name),
            None => format!("nothing makes one: put a step {{ builtin = \"vacuum\" }} before this one of {task}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_tells_when_it_was_made() {
        assert_eq!(made_ms("observability-20261122T031934Z.sqlite"), Some(1_795_317_574_000));
        for other in
            ["observability.sqlite", ".observability-20261122T031934Z.sqlite.7.tmp", "observability-x.sqlite", "lock"]
        {
            assert_eq!(made_ms(other), None, "{other}");
        }
    }
}
