//! `prune`: removes what is old or too much.

use std::time::Duration;

use super::Work;
use super::remove::{self, Found, Removed};
use crate::error::{Error, ErrorKind};
use crate::machine::words;
use crate::model::{PruneSpec, UnitName};
use crate::policy::SLOTS_KEPT;
use crate::process::files;
use crate::slots::TaskSlots;
use crate::store::{Ledger, StoreError};

/// What is begun under a name of its own is finished within this, or never.
const SCRATCH: Duration = Duration::from_secs(24 * 3600);

/// Each part for itself: what cannot be done keeps nothing else from being done.
pub(super) fn run(spec: &PruneSpec, work: &mut Work<'_>) -> Vec<Error> {
    let mut wrong = Vec::new();
    wrong.extend(rows(spec, work).err());
    wrong.extend(logs(spec, work));
    wrong.extend(evidence(spec, work));
    wrong.extend(slots(work));
    wrong
}

fn rows(spec: &PruneSpec, work: &mut Work<'_>) -> Result<(), Error> {
    let database = work.paths.database();
    // Opening it would make one.
    if !database.try_exists().map_err(|e| Error::io("cannot look at", &database, &e))? {
        work.say("database: there is none yet");
        return Ok(());
    }
    let told = |e: StoreError| Error::from(e);
    let mut ledger = Ledger::open(&database).map_err(told)?;
    let pruned = ledger.prune(work.now.wall_ms, spec.events, u64::MAX).map_err(told)?;
    work.say(format!("events: {} older than {} removed", pruned.events, words::lasting_time(spec.events)));
    for (table, count) in &pruned.others {
        let what = table.strip_prefix("supervisor_").unwrap_or(table).replace('_', " ");
        work.say(format!("{what}: {} that are over removed", words::count(*count, "row")));
    }
    let samples = ledger.prune_memory(work.now.wall_ms, spec.samples).map_err(told)?;
    work.say(format!("memory samples: {samples} older than {} removed", words::lasting_time(spec.samples)));
    Ok(())
}

fn logs(spec: &PruneSpec, work: &mut Work<'_>) -> Vec<Error> {
    let all = match remove::files(&work.paths.logs()) {
        Ok(all) => all,
        Err(error) => return vec![error],
    };
    let name = |file: &Found| file.path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let ours = all.into_iter().filter_map(|file| Some((log_of(&name(&file)?)?, file)));
    let (rotated, current): (Vec<_>, Vec<_>) = ours.partition(|(is_rotated, _)| *is_rotated);
    // What is written now stays, and takes its part of the room.
    let fixed = current.iter().map(|(_, file)| file.bytes).sum();
    let rotated = rotated.into_iter().map(|(_, file)| file).collect();
    let doomed = remove::doomed(rotated, fixed, work.now.wall_ms, spec.logs, spec.logs_size);
    gone(work, "rotated logs", &doomed)
}

/// Whether a file of this name is a rotated log of ours; `None` when it is no log of ours at all.
pub(super) fn log_of(name: &str) -> Option<bool> {
    let (base, is_rotated) = match name.rsplit_once('.') {
        Some((base, number)) if number.parse::<u32>().is_ok_and(|n| n > 0 && n.to_string() == number) => (base, true),
        _ => (name, false),
    };
    let of_unit = || {
        let unit = base.strip_suffix("-stdout.log").or_else(|| base.strip_suffix("-stderr.log"))?;
        UnitName::new(unit).ok()
    };
    (base == "supervisor.log" || of_unit().is_some()).then_some(is_rotated)
}

fn evidence(spec: &PruneSpec, work: &mut Work<'_>) -> Vec<Error> {
    let mut all = match remove::files(&work.paths.evidence()) {
        Ok(all) => all,
        Err(error) => return vec![error],
    };
    let begun_ms = work.now.wall_ms.saturating_sub(i64::try_from(SCRATCH.as_millis()).unwrap_or(i64::MAX));
    let is_begun = |file: &Found| file.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    all.retain(|file| !is_begun(file) || file.written_ms < begun_ms);
    let doomed = remove::doomed(all, 0, work.now.wall_ms, spec.evidence, spec.evidence_size);
    gone(work, "evidence", &doomed)
}

fn gone(work: &mut Work<'_>, what: &str, doomed: &[Found]) -> Vec<Error> {
    let (Removed { files, bytes }, wrong) = remove::remove(doomed);
    work.say(format!("{what}: {} ({}) removed", words::count(files, "file"), words::size(bytes)));
    wrong
}

/// Of all jobs, declared or not.
fn slots(work: &mut Work<'_>) -> Vec<Error> {
    let folder = work.paths.all_slots();
    let names = match files::units_in(&folder) {
        Ok(names) => names,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return vec![Error::io("cannot read", &folder, &e)],
    };
    let (mut count, mut wrong) = (0, Vec::new());
    for name in names {
        match TaskSlots::of(work.paths, &name).forget() {
            Ok(gone) => count += gone,
            Err(e) => {
                let message = format!("cannot remove the old slots of {name}: {e}");
                let hint = format!("make {} writable for this user", work.paths.slots(&name).display());
                wrong.push(Error::new(ErrorKind::NotUp, message).hint(hint));
            }
        }
    }
    let kept = words::lasting_time(SLOTS_KEPT);
    work.say(format!("slots: {} removed, all older than {kept}", words::count(count, "file")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_of_ours_count_and_only_rotated_ones_may_go() {
        for (name, is_rotated) in [
            ("gateway-stdout.log", Some(false)),
            ("gateway-stdout.log.1", Some(true)),
            ("a-b-stderr.log.12", Some(true)),
            ("supervisor.log", Some(false)),
            ("supervisor.log.3", Some(true)),
            ("supervisor.log.0", None),
            ("gateway-stdout.log.01", None),
            ("gateway-stdout.log.gz", None),
            ("gateway.err.log.1", None),
            ("-stdout.log.1", None),
            ("observability.sqlite", None),
        ] {
            assert_eq!(log_of(name), is_rotated, "{name}");
        }
    }
}
