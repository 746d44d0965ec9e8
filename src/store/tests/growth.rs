//! What a storm of crashes leaves in the file.

use super::alerts::complains;
use super::*;

#[test]
fn ten_thousand_crashes_of_one_thing_do_not_fill_the_disk() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let tail = "Error: cannot find module './é'\n".repeat(250);
    assert!(tail.len() >= 8000);
    for first in (1..=10_000u64).step_by(2000) {
        let lines: Vec<Record> = (first..first + 2000).map(|run| complains(run, &tail)).collect();
        assert_eq!(ledger.ingest("gateway", &lines).unwrap(), 2000);
    }
    assert_eq!((scratch.count("events"), scratch.count("supervisor_events")), (10_000, 10_000));
    assert_eq!(ledger.counters().unwrap()[&name("gateway")].crash, 10_000, "the ledger is complete");
    let used = number(&ledger.conn, "PRAGMA page_count") * number(&ledger.conn, "PRAGMA page_size");
    // Two rows of some 450 bytes each and their places in four indexes; whole tails would be 160 MB.
    assert!(used < 16 << 20, "{used} bytes");
    let rows = scratch.reader().events(&Filter { limit: Some(1), ..Filter::default() }).unwrap();
    let last = &rows[0].metadata;
    assert_eq!((&last["run_id"], &last["same_tail_as_run"]), (&json!(10_000), &json!(1)));
    let kept = last["stderr_tail"].as_str().unwrap();
    assert!(tail.ends_with(kept) && (250..=256).contains(&kept.len()), "{}", kept.len());
    // For the rules it is the whole again.
    let past = ledger.past(&[name("gateway")], 256, 0).unwrap();
    assert_eq!(past.len(), 256);
    assert!(past.iter().all(|(_, record)| record.data["stderr_tail"] == tail.as_str()));
}

#[test]
fn a_storm_that_says_something_else_each_time_does_not_fill_the_disk_either() {
    let scratch = Scratch::new();
    let mut ledger = scratch.ledger();
    let tail = |run: u64| format!("{run} {}{run}", "Error: cannot find module './é'\n".repeat(250));
    for first in (1..=10_000u64).step_by(2000) {
        let lines: Vec<Record> = (first..first + 2000).map(|run| complains(run, &tail(run))).collect();
        assert_eq!(ledger.ingest("gateway", &lines).unwrap(), 2000);
    }
    let used = number(&ledger.conn, "PRAGMA page_count") * number(&ledger.conn, "PRAGMA page_size");
    assert!(used < 48 << 20, "{used} bytes");
    let rows = scratch.reader().events(&Filter { limit: Some(1), ..Filter::default() }).unwrap();
    let last = &rows[0].metadata;
    let kept = last["stderr_tail"].as_str().unwrap();
    assert!(tail(10_000).ends_with(kept) && (1000..=1024).contains(&kept.len()), "{}", kept.len());
    assert_eq!(last["stderr_tail_cut"], true);
}
