//! A database that is locked, read-only, full, corrupt or gone: services go on, `status` says so, and every row is there
//! exactly once when it is well again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::support::{Env, signal, wait_for};
use super::tools::*;

fn one() -> Env {
    let env = Env::new(&service("a", "exec sleep 1000", "throttle = \"0s\""));
    env.start_daemon();
    main_pid(&env, "a");
    env
}

fn database(env: &Env) -> PathBuf {
    env.state_dir().join("observability.sqlite")
}

/// The files of the database: itself, its write-ahead log, its index.
fn database_files(env: &Env) -> Vec<PathBuf> {
    ["", "-wal", "-shm"].map(|end| env.state_dir().join(format!("observability.sqlite{end}"))).into()
}

/// Kills the current run, and waits for the next one. The run that was killed.
fn crash(env: &Env) -> u64 {
    let run = run_id(env, "a");
    end(main_pid(env, "a"), Signal::SIGKILL);
    up_after(env, "a", run);
    run
}

/// Waits until `status` says what is wrong with the ledger.
fn wait_trouble(env: &Env, words: &[&str]) -> Value {
    wait_for(&format!("{words:?} about the ledger"), || {
        let ledger = env.status()["ledger"].clone();
        let note = ledger["note"].as_str().unwrap_or_default();
        (ledger["ok"] == false && words.iter().any(|word| note.contains(word))).then_some(ledger)
    })
}

fn wait_well(env: &Env) {
    wait_for("a ledger that is well", || {
        let ledger = env.status()["ledger"].clone();
        (ledger["ok"] == true && ledger["waiting"] == 0).then_some(())
    });
}

/// All starts and ends of `runs` are in both tables, once.
fn assert_once(env: &Env, runs: std::ops::RangeInclusive<u64>) {
    let last = *runs.end();
    wait_row(env, "a", |row| row.is("service_start") && row.run() == last + 1);
    let mut seen: BTreeMap<(String, u64), u32> = BTreeMap::new();
    for row in rows_of(env, "a") {
        *seen.entry((row.event.clone(), row.run())).or_default() += 1;
    }
    for run in runs {
        assert_eq!(seen.get(&("service_crash".into(), run)), Some(&1), "the end of run {run}: {seen:?}");
        assert_eq!(seen.get(&("service_start".into(), run + 1)), Some(&1), "the start of run {}: {seen:?}", run + 1);
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    let ours = env.rows("SELECT count(*) FROM supervisor_events");
    let shared = env.rows("SELECT count(*) FROM events WHERE category = 'system'");
    assert_eq!(ours, shared);
    let seqs = env.rows("SELECT runner, boot_id, seq FROM supervisor_events GROUP BY 1, 2, 3 HAVING count(*) > 1");
    assert!(seqs.is_empty(), "{seqs:?}");
}

#[test]
fn locked_by_another_program_for_longer_than_we_wait() {
    let env = one();
    wait_well(&env);
    crash(&env);
    wait_row(&env, "a", |row| row.is("service_start") && row.run() == 2);
    let other = rusqlite::Connection::open(database(&env)).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE; INSERT INTO events (category) VALUES ('theirs')").unwrap();
    crash(&env);
    // Nobody waits for the database: the service is up again, status answers, orders are obeyed.
    ok(&env, &["restart", "a"]);
    wait_trouble(&env, &["locked"]);
    crash(&env);
    other.execute_batch("COMMIT").unwrap();
    wait_well(&env);
    wait_row(&env, "a", |row| row.is("service_start") && row.run() == 5);
    let ends: Vec<(String, u64)> = rows_of(&env, "a")
        .into_iter()
        .filter(|row| row.is("service_crash") || row.is("service_exit"))
        .map(|row| (row.event.clone(), row.run()))
        .collect();
    let wanted = [("service_crash", 1), ("service_crash", 2), ("service_exit", 3), ("service_crash", 4)];
    assert_eq!(ends, wanted.map(|(event, run)| (event.to_owned(), run)));
    assert_eq!(env.rows("SELECT count(*) FROM events WHERE category = 'theirs'"), [[Value::from(1)]]);
    let info = env.service("a");
    assert_eq!((&info["restarts"]["crash"], &info["restarts"]["requested"]), (&3.into(), &1.into()));
}

#[test]
fn something_else_is_in_its_place_for_a_while() {
    let env = one();
    wait_well(&env);
    let away = env.dir().join("away");
    std::fs::create_dir(&away).unwrap();
    let files = database_files(&env);
    for file in files.iter().filter(|file| file.exists()) {
        std::fs::rename(file, away.join(file.file_name().unwrap())).unwrap();
    }
    std::fs::create_dir(&files[0]).unwrap();
    crash(&env);
    wait_trouble(&env, &["not a regular file", "deleted", "unable to open"]);
    crash(&env);
    std::fs::remove_dir(&files[0]).unwrap();
    for file in std::fs::read_dir(&away).unwrap().flatten() {
        std::fs::rename(file.path(), env.state_dir().join(file.file_name())).unwrap();
    }
    wait_well(&env);
    assert_once(&env, 1..=2);
}

#[test]
fn read_only_for_a_while() {
    let env = one();
    wait_row(&env, "a", |row| row.is("service_start"));
    env.kill_daemon();
    let Some(disk) = Disk::read_only(&database(&env)) else { return };
    env.start_daemon();
    crash(&env);
    wait_trouble(&env, &["readonly", "read-only", "Read-only"]);
    crash(&env);
    drop(disk);
    wait_well(&env);
    assert_once(&env, 1..=2);
}

#[test]
fn deleted_under_us_a_new_one_is_begun() {
    let env = one();
    wait_row(&env, "a", |row| row.is("service_start"));
    for file in database_files(&env) {
        let _ = std::fs::remove_file(file);
    }
    let first = env.status();
    assert!(first["ledger"]["ok"] == true || first["ledger"]["note"].as_str().unwrap().contains("deleted"), "{first}");
    crash(&env);
    crash(&env);
    wait_well(&env);
    assert_once(&env, 1..=2);
    assert_eq!(env.rows("PRAGMA journal_mode"), [["wal"]]);
}

#[test]
fn garbage_from_the_start_until_it_is_moved_away() {
    let env = one();
    wait_row(&env, "a", |row| row.is("service_start"));
    env.kill_daemon();
    for file in database_files(&env) {
        let _ = std::fs::remove_file(file);
    }
    std::fs::write(database(&env), "this is no database".repeat(1000)).unwrap();
    env.start_daemon();
    crash(&env);
    let ledger = wait_trouble(&env, &["not a database"]);
    assert!(ledger["note"].as_str().unwrap().contains("move the file away"), "no remedy: {ledger}");
    crash(&env);
    let before = std::fs::read(database(&env)).unwrap();
    assert_eq!(before, "this is no database".repeat(1000).into_bytes(), "somebody else's file was written to");
    std::fs::rename(database(&env), env.dir().join("garbage")).unwrap();
    wait_well(&env);
    assert_once(&env, 1..=2);
}

#[test]
fn overwritten_with_garbage_under_us() {
    let env = one();
    wait_row(&env, "a", |row| row.is("service_start"));
    // As another program would that takes it for a file of its own: the same inode, other bytes. All at once: a daemon that
    // sees one file of the three overwritten closes it, and mends that from the two others.
    let daemon = env.daemon_pid().unwrap();
    signal(daemon, Signal::SIGSTOP);
    for file in database_files(&env).iter().filter(|file| file.exists()) {
        let length = std::fs::metadata(file).unwrap().len().max(4096);
        let garbage = "garbage ".repeat(usize::try_from(length).unwrap() / 8);
        let mut open = std::fs::File::options().write(true).open(file).unwrap();
        std::io::Write::write_all(&mut open, garbage.as_bytes()).unwrap();
    }
    signal(daemon, Signal::SIGCONT);
    crash(&env);
    crash(&env);
    wait_trouble(&env, &["malformed", "not a database", "disk I/O", "corrupt"]);
    assert_eq!(env.service("a")["status"], "up");
    for file in database_files(&env).iter().filter(|file| file.exists()) {
        std::fs::rename(file, env.dir().join(file.file_name().unwrap())).unwrap();
    }
    wait_well(&env);
    assert_once(&env, 1..=2);
}

#[test]
fn a_full_disk_for_everything_of_ours() {
    let env = Env::new(&service("a", "exec sleep 1000", "throttle = \"0s\""));
    let Some(disk) = Disk::mount(&env.state_dir(), "2m") else { return };
    env.start_daemon();
    main_pid(&env, "a");
    wait_row(&env, "a", |row| row.is("service_start"));
    let filler = disk.0.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|n| n > 0) {}
    drop(file);
    for _ in 0..3 {
        crash(&env);
    }
    wait_trouble(&env, &["full", "No space", "disk I/O"]);
    crash(&env);
    std::fs::remove_file(&filler).unwrap();
    wait_well(&env);
    crash(&env);
    assert_once(&env, 1..=5);
}

/// Tables that other programs have made before us.
fn foreign(create: &str) -> Env {
    let env = Env::new(&service("a", "exec sleep 1000", "throttle = \"0s\""));
    std::fs::create_dir(env.state_dir()).unwrap();
    let theirs = rusqlite::Connection::open(database(&env)).unwrap();
    theirs.execute_batch(create).unwrap();
    drop(theirs);
    env.start_daemon();
    main_pid(&env, "a");
    crash(&env);
    wait_row(&env, "a", |row| row.is("service_start") && row.run() == 2);
    env
}

#[test]
fn a_table_events_with_milliseconds_made_by_others_is_filled() {
    let env = foreign(
        "CREATE TABLE events (timestamp INTEGER, category TEXT, event_type TEXT, service_name TEXT, metadata TEXT);
         INSERT INTO events VALUES (1, 'theirs', 'x', 'y', '{}');",
    );
    let rows = env.rows(
        "SELECT typeof(timestamp), category, json_extract(metadata, '$.signal') FROM events \
         WHERE event_type = 'service_crash' AND service_name = 'a'",
    );
    assert_eq!(rows, [["integer", "system", "SIGKILL"]]);
    assert_eq!(env.rows("SELECT * FROM events WHERE category = 'theirs'").len(), 1);
    assert_eq!(env.status()["ledger"], serde_json::json!({ "ok": true, "note": null, "waiting": 0 }));
}

#[test]
fn a_table_events_with_text_times_and_actions_made_by_others_is_filled() {
    let env = foreign(
        "CREATE TABLE events (trace_id TEXT, timestamp TEXT NOT NULL, category TEXT NOT NULL, action TEXT NOT NULL, \
         metadata TEXT);
         INSERT INTO events VALUES ('t', '2026-01-01T00:00:00.000Z', 'theirs', 'x', NULL);",
    );
    let rows = env.rows(
        "SELECT trace_id, timestamp, category, json_extract(metadata, '$.signal') FROM events WHERE action = 'service_crash'",
    );
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0][0], &rows[0][2], &rows[0][3]), (&Value::Null, &"system".into(), &"SIGKILL".into()));
    let crash = wait_row(&env, "a", |row| row.is("service_crash"));
    let same = format!(
        "SELECT 1 FROM events WHERE timestamp = strftime('%Y-%m-%dT%H:%M:%fZ', {} / 1000.0, 'unixepoch')",
        crash.at_ms
    );
    assert!(!env.rows(&same).is_empty(), "another time than the row's own: {rows:?}");
    let ledger = env.status()["ledger"].clone();
    let note = ledger["note"].as_str().unwrap();
    assert!(ledger["ok"] == true && note.contains("timestamp, category, action, metadata"), "{ledger}");
    assert_eq!(env.rows("SELECT * FROM events WHERE category = 'theirs'").len(), 1);
}
