use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::*;

/// Rows of some length, so that there are pages.
fn fill(ledger: &mut Ledger, rows: u64) {
    let long = "x".repeat(2000);
    let lines: Vec<Record> =
        (1..=rows).map(|seq| record(seq, EventType::ServiceStart, json!({"run_id": seq, "note": long}))).collect();
    ledger.ingest("gateway", &lines).unwrap();
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn free_pages_of_a_file_of_ours_are_given_back_beside_a_writer() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    fill(&mut ledger, 400);
    ledger.prune(T0 + 1000, Duration::ZERO, 0).unwrap();
    let upkeep = Upkeep::open(&scratch.path()).unwrap();
    let before = upkeep.room().unwrap();
    assert!(before.can_give_back && before.free > before.bytes / 2, "{before:?}");
    let mut times = 0;
    upkeep
        .give_back(&mut || {
            times += 1;
            if times == 1 {
                ledger.ingest("gateway", &[start(1000)]).unwrap();
            }
        })
        .unwrap();
    assert!(times > 1, "in several transactions");
    let after = upkeep.room().unwrap();
    assert_eq!((after.free, scratch.count("supervisor_events")), (0, 1), "{after:?}");
    // Who reads keeps the file from being emptied, and is not waited for.
    let other = scratch.other();
    other.execute_batch("BEGIN; SELECT count(*) FROM supervisor_events").unwrap();
    ledger.ingest("gateway", &[start(1001)]).unwrap();
    assert!(!upkeep.empty_wal().unwrap());
    other.execute_batch("COMMIT").unwrap();
    assert!(upkeep.empty_wal().unwrap());
    assert_eq!(std::fs::metadata(scratch.path()).unwrap().len(), upkeep.room().unwrap().bytes);
    assert_eq!(std::fs::metadata(scratch.path().with_extension("sqlite-wal")).unwrap().len(), 0);
}

#[test]
fn a_file_of_somebody_else_keeps_its_free_pages() {
    let scratch = Scratch::with("CREATE TABLE theirs (x)");
    let mut ledger = scratch.ledger();
    fill(&mut ledger, 100);
    ledger.prune(T0 + 1000, Duration::ZERO, 0).unwrap();
    let upkeep = Upkeep::open(&scratch.path()).unwrap();
    let before = upkeep.room().unwrap();
    assert!(!before.can_give_back && before.free > 0);
    upkeep.give_back(&mut || panic!("nothing is done")).unwrap();
    assert_eq!(upkeep.room().unwrap(), before);
}

#[test]
fn a_copy_is_of_one_moment_whoever_writes_meanwhile() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    // More than one part.
    fill(&mut ledger, 3000);
    let folder = scratch.dir.path().join("copies");
    std::fs::create_dir(&folder).unwrap();
    let to = folder.join("copy");
    let mut parts = Vec::new();
    Upkeep::open(&scratch.path())
        .unwrap()
        .copy_to(&to, &mut |done, all| {
            parts.push((done, all));
            ledger.ingest("gateway", &[start(10_000 + parts.len() as u64)]).unwrap();
        })
        .unwrap();
    assert!(parts.len() > 1 && parts.windows(2).all(|pair| pair[0].0 < pair[1].0), "it never begins anew: {parts:?}");
    assert_eq!(files(&folder), ["copy"], "it needs no file beside it");
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let verified = verify_copy(&to).unwrap();
    assert_eq!(verified.troubles, [""; 0]);
    assert!(verified.rows.contains(&("supervisor_events".into(), 3000)), "{:?}", verified.rows);
    assert_eq!(scratch.count("supervisor_events"), 3000 + parts.len() as i64);
    assert_eq!(files(&folder), ["copy"], "and reading it makes none");
    // It is a ledger again when it is put in the place of the old one.
    assert_eq!(Ledger::open(&to).unwrap().position("gateway", "boot-a").unwrap(), Some(3000));
}

#[test]
fn a_damaged_copy_is_told_and_what_is_there_is_not_written_over() {
    let scratch = Scratch::new();
    fill(&mut scratch.ledger(), 500);
    let to = scratch.dir.path().join("copy");
    let upkeep = Upkeep::open(&scratch.path()).unwrap();
    upkeep.copy_to(&to, &mut |_, _| {}).unwrap();
    upkeep.copy_to(&to, &mut |_, _| {}).unwrap_err();
    let mut bytes = std::fs::read(&to).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_000].fill(0x55);
    std::fs::write(&to, bytes).unwrap();
    assert!(verify_copy(&to).map_or(true, |verified| !verified.troubles.is_empty()));
    std::fs::write(&to, "no database, however one looks at it").unwrap();
    assert_eq!(verify_copy(&to).unwrap_err().kind, StoreErrorKind::Corrupt);
    assert_eq!(Upkeep::open(&scratch.dir.path().join("none")).unwrap_err().kind, StoreErrorKind::Gone);
}
