//! Steps on real files and a real database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;
use crate::model::paths::Stream;
use crate::model::{
    Accounted, AlertSpec, Claim, EventType, ManagerKind, PruneSpec, Record, SlotEnd, SlotKey, SlotLine, SlotState,
};
use crate::slots::{Taken, TaskSlots};
use crate::store::{Filter, Ledger, Reader};

/// 2026-11-22 10:03:00 UTC, a Sunday.
const NOW: i64 = 1_795_341_780_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

struct World {
    dir: tempfile::TempDir,
    paths: Paths,
    fleet: Fleet,
    findings: Vec<Finding>,
    said: Vec<String>,
    seq: u64,
}

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sv").tempdir_in("/tmp").unwrap();
        let paths = Paths::new(&dir.path().join("s"));
        for folder in [paths.logs(), paths.evidence(), paths.runners(), dir.path().join("job-logs")] {
            fs::create_dir_all(folder).unwrap();
        }
        let fleet = Fleet {
            state_dir: paths.state_dir().into(),
            label_prefix: "ai.openclaw".into(),
            manager: ManagerKind::Embedded,
            services: vec![
                crate::model::ServiceSpec::for_tests("gateway"),
                crate::model::ServiceSpec::for_tests("quiet"),
            ],
            tasks: Vec::new(),
            exposures: Vec::new(),
            unusable: Vec::new(),
            alerts: AlertSpec::default(),
        };
        Self { dir, paths, fleet, findings: Vec::new(), said: Vec::new(), seq: 0 }
    }

    fn perform(&mut self, step: &BuiltinStep) -> Vec<Error> {
        let job_logs = self.dir.path().join("job-logs");
        let mut said = Vec::new();
        let findings = self.findings.clone();
        let mut work = Work {
            paths: &self.paths,
            fleet: &self.fleet,
            task: &name("weekly-tasks"),
            slot: Some("20261122T030000Z"),
            now: Moment { wall_ms: NOW, ..Moment::default() },
            zone: &TimeZone::UTC,
            job_logs: &job_logs,
            examine: &|| findings.clone(),
            say: &mut |line| said.push(line.to_owned()),
        };
        let wrong = perform(step, &mut work);
        self.said = said;
        wrong
    }

    fn well(&mut self, step: &BuiltinStep) {
        let wrong = self.perform(step);
        assert_eq!(wrong, [], "{:?}", self.said);
    }

    fn said(&self, what: &str) -> bool {
        self.said.iter().any(|line| line.contains(what))
    }

    /// A record of the gateway, or of whom `data` names.
    fn record(&mut self, at_ms: i64, event: EventType, data: serde_json::Value) {
        self.seq += 1;
        let service = data["of"].as_str().or((event != EventType::SupervisorStart).then_some("gateway")).map(name);
        let data = data.as_object().unwrap().clone();
        let record = Record {
            v: 1,
            boot_id: "boot".into(),
            seq: self.seq,
            wall_ms: at_ms,
            boot_ns: self.seq,
            mono: None,
            event,
            service,
            data,
        };
        Ledger::open(&self.paths.database()).unwrap().ingest("runner", &[record]).unwrap();
    }

    fn file(&self, path: &Path, length: usize, age_days: i64) {
        fs::write(path, "x".repeat(length)).unwrap();
        let then = UNIX_EPOCH + Duration::from_millis((NOW - age_days * DAY).unsigned_abs());
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
}

fn names(folder: &Path) -> String {
    let mut all: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all.join(" ")
}

fn prune(events: u64, logs_size: u64, evidence_size: u64) -> BuiltinStep {
    let (logs, evidence, samples) = (days(30), days(30), days(30));
    BuiltinStep::Prune(PruneSpec { events: days(events), logs, logs_size, evidence, evidence_size, samples })
}

#[test]
fn prune_removes_what_is_old_and_what_is_too_much_and_never_a_current_log() {
    let mut world = World::new();
    world.well(&prune(90, 1 << 30, 1 << 30));
    assert!(!world.paths.database().exists(), "it makes no database");
    for age in [1, 100, 200] {
        world.record(NOW - age * DAY, EventType::ServiceStart, json!({"run_id": age}));
    }
    let logs = world.paths.logs();
    for (file, length, age) in [
        ("gateway-stdout.log", 100, 300),
        ("gateway-stdout.log.1", 100, 2),
        ("gateway-stdout.log.2", 100, 3),
        ("gateway-stdout.log.3", 100, 31),
        ("gone-stderr.log.1", 100, 4),
        ("supervisor.log.1", 100, 40),
        ("theirs.log.1", 100, 400),
        ("theirs.log", 10_000, 400),
    ] {
        world.file(&logs.join(file), length, age);
    }
    let evidence = world.paths.evidence();
    for (file, age) in [("hung-gateway-1.txt", 31), ("hung-gateway-2.txt", 1), (".begun.tmp", 0), (".left.tmp", 32)] {
        world.file(&evidence.join(file), 10, age);
    }
    world.well(&prune(90, 1 << 30, 1 << 30));
    assert_eq!(
        names(&logs),
        "gateway-stdout.log gateway-stdout.log.1 gateway-stdout.log.2 gone-stderr.log.1 theirs.log theirs.log.1"
    );
    assert_eq!(names(&evidence), ".begun.tmp hung-gateway-2.txt");
    let left = Reader::open(&world.paths.database()).unwrap().events(&Filter::default()).unwrap();
    assert_eq!(left.len(), 1);
    assert!(
        world.said("events: 2 older than 90d removed") && world.said("rotated logs: 2 files (200 B) removed"),
        "{:?}",
        world.said
    );
    // By size: the oldest goes first, and what is current counts.
    world.well(&prune(90, 250, 1 << 30));
    assert_eq!(names(&logs), "gateway-stdout.log gateway-stdout.log.1 theirs.log theirs.log.1");
    world.well(&prune(90, 1, 1));
    assert_eq!(
        (names(&logs).as_str(), names(&evidence).as_str()),
        ("gateway-stdout.log theirs.log theirs.log.1", ".begun.tmp")
    );
}

#[test]
fn slots_go_when_they_are_old_accounted_for_and_over() {
    let mut world = World::new();
    let task = name("nightly");
    let slots = TaskSlots::of(&world.paths, &task);
    let take = |at_ms: i64, ends: bool| {
        let claim = Claim::for_tests(SlotKey::Due(at_ms));
        let Taken::Ours(mut holding) = slots.take(&claim).unwrap() else { panic!("{at_ms} is taken") };
        if ends {
            let end = SlotEnd { state: SlotState::Ran, why: String::new(), ended_ms: at_ms, awake_ms: 1, frozen_ms: 0 };
            holding.note(&SlotLine::End(end)).unwrap();
        }
    };
    let minute = NOW - NOW % 60_000;
    for (age, ends) in [(100, true), (70, false), (60, true), (44, true), (30, true)] {
        take(minute - age * DAY, ends);
    }
    let left =
        || slots.read(i64::MIN).unwrap().iter().map(|s| (minute - s.claim.slot.at_ms()) / DAY).collect::<Vec<_>>();
    world.well(&prune(90, 1, 1));
    assert_eq!(left(), [100, 70, 60, 44, 30], "nothing is accounted for");
    let accounted =
        Accounted { v: 1, through_ms: minute - 5 * DAY, open_ms: None, calendar: Vec::new(), timezone: None };
    slots.account(&accounted).unwrap();
    world.well(&prune(90, 1, 1));
    assert_eq!(left(), [100, 70, 60, 44, 30], "they are the newest");
    (0..98).for_each(|n| take(minute - n * 60_000, true));
    world.well(&prune(90, 1, 1));
    assert!(world.said("slots: 2 files removed, all older than 40d"), "{:?}", world.said);
    assert_eq!(left()[..4], [70, 44, 30, 0]);
    assert_eq!(slots.accounted().unwrap(), Some(accounted));
}

#[test]
fn vacuum_makes_copies_keeps_some_and_verify_backup_reads_the_newest() {
    let mut world = World::new();
    let vacuum = BuiltinStep::Vacuum { backups: 2 };
    world.well(&vacuum);
    assert!(world.said("there is no database yet") && world.said("nothing to vacuum"), "{:?}", world.said);
    let verify = BuiltinStep::VerifyBackup { max_age: days(8) };
    world.well(&verify);
    assert!(world.said("there is no copy of it to read"), "{:?}", world.said);
    world.record(NOW - DAY, EventType::ServiceStart, json!({"run_id": 1}));
    let wrong = world.perform(&verify);
    assert!(wrong[0].message.contains("there is no copy") && wrong[0].hint.as_ref().unwrap().contains("vacuum"));
    let copies = world.paths.database_copies();
    fs::create_dir_all(&copies).unwrap();
    for (file, length) in [
        ("observability-20251101T000000Z.sqlite", 1),
        ("observability-20251102T000000Z.sqlite", 1),
        (".observability-20251102T000000Z.sqlite.7.tmp", 1),
        (".observability-20251102T000000Z.sqlite.7.tmp-wal", 1),
        ("notes.txt", 1),
    ] {
        world.file(&copies.join(file), length, 0);
    }
    world.well(&vacuum);
    let made = "observability-20261122T100300Z.sqlite";
    assert_eq!(names(&copies), format!("lock notes.txt observability-20251102T000000Z.sqlite {made}"));
    assert_eq!(fs::metadata(copies.join(made)).unwrap().permissions().mode() & 0o777, 0o600);
    world.well(&verify);
    assert!(world.said("made 0s ago"), "{:?}", world.said);
    // An old one.
    fs::rename(copies.join(made), copies.join("observability-20261101T000000Z.sqlite")).unwrap();
    assert!(world.perform(&verify)[0].message.contains("is 21d 10h old, and 8d is the most"));
    // A damaged one is told, and a damaged database costs none of the copies.
    let newest = copies.join("observability-20261121T000000Z.sqlite");
    fs::write(&newest, "this is no database at all, whatever its name says").unwrap();
    assert_eq!(world.perform(&verify)[0].kind, ErrorKind::Internal);
    fs::remove_file(&newest).unwrap();
    let before = names(&copies);
    let database = world.paths.database();
    let mut bytes = fs::read(&database).unwrap();
    let length = bytes.len();
    bytes[4096..length].fill(0x55);
    fs::write(&database, bytes).unwrap();
    let wrong = world.perform(&vacuum);
    assert_eq!(wrong.len(), 1, "{:?}", world.said);
    assert_eq!(names(&copies), before);
    assert!(!world.perform(&BuiltinStep::Vacuum { backups: 0 }).is_empty(), "in place, too");
}

#[test]
fn only_one_vacuum_works_at_a_time() {
    let mut world = World::new();
    world.record(NOW, EventType::ServiceStart, json!({"run_id": 1}));
    let lock = world.paths.database_copies().join("lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = crate::process::lock::Lock::acquire(&lock).unwrap();
    assert!(world.perform(&BuiltinStep::Vacuum { backups: 1 })[0].hint.as_ref().unwrap().contains("wait"));
    drop(held);
    world.well(&BuiltinStep::Vacuum { backups: 1 });
}

#[test]
fn rotate_puts_aside_what_nobody_else_does() {
    let mut world = World::new();
    let logs = world.paths.logs();
    let ours = world.paths.log(&name("gateway"), Stream::Stdout);
    for file in [ours.clone(), world.paths.own_log(), logs.join("theirs.log"), logs.join("data.json")] {
        world.file(&file, 2000, 0);
    }
    world.file(&logs.join("short.log"), 10, 0);
    let beside = world.dir.path().join("job-logs");
    world.file(&beside.join("ai.openclaw.gateway.log"), 3000, 0);
    world.file(&beside.join("com.apple.x.log"), 3000, 0);
    world.well(&BuiltinStep::Rotate { max_size: 1000, keep: 2 });
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    assert_eq!((length(&ours), length(&world.paths.own_log()), length(&logs.join("data.json"))), (2000, 2000, 2000));
    assert_eq!((length(&logs.join("theirs.log")), length(&logs.join("theirs.log.1"))), (0, 2000));
    assert_eq!(names(&beside), "ai.openclaw.gateway.log ai.openclaw.gateway.log.1 com.apple.x.log");
    assert!(world.said("2 logs of more than 1000 B put aside"), "{:?}", world.said);
}

#[test]
fn doctor_fails_for_what_does_not_work_only() {
    let mut world = World::new();
    let finding = |level, what: &str| Finding {
        level,
        subject: "gateway".into(),
        what: what.into(),
        remedy: Some("mend".into()),
    };
    use crate::doctor::Level::{Bad, Note, Ok, Warn};
    world.findings = vec![finding(Ok, "fine"), finding(Note, "by the way"), finding(Warn, "little room")];
    world.well(&BuiltinStep::Doctor);
    assert_eq!(
        world.said,
        [
            "note  gateway: by the way (mend)",
            "warn  gateway: little room (mend)",
            "0 bad, 1 to be warned of, 1 to be known"
        ]
    );
    world.findings.push(finding(Bad, "gone"));
    let wrong = world.perform(&BuiltinStep::Doctor);
    assert_eq!((wrong[0].message.as_str(), wrong[0].hint.as_deref()), ("gateway: gone", Some("mend")));
}

/// A week in which everything happens.
fn eventful() -> World {
    let mut world = World::new();
    let at = |days: i64, hours: i64| NOW - days * DAY + hours * HOUR;
    let start = |run: u64| json!({"run_id": run});
    world.record(NOW - 40 * DAY, EventType::ServiceStart, json!({"run_id": 1, "of": "quiet"}));
    world.record(NOW - 40 * DAY, EventType::ServiceStart, start(1));
    world.record(at(6, 0), EventType::ServiceCrash, json!({"run_id": 1, "class": "crash"}));
    world.record(at(6, 1), EventType::ServiceStart, start(2));
    for (hour, start_ms) in [(1, 4000), (2, 4500), (3, 41_000)] {
        world.record(at(6, hour), EventType::ServiceReady, json!({"run_id": 2, "start_ms": start_ms}));
    }
    world.record(at(5, 0), EventType::ServiceHung, json!({"run_id": 2}));
    world.record(at(5, 0), EventType::ServiceCrash, json!({"run_id": 2, "class": "hung"}));
    world.record(at(5, 0), EventType::ServiceStart, start(3));
    world.record(at(4, 0), EventType::MemoryGrowth, start(3));
    world.record(at(4, 2), EventType::ClockGap, json!({"slept_ms": 2 * HOUR}));
    // A loss of power that nobody saw, and a start twelve hours later.
    world.record(at(3, 0), EventType::MemoryLimit, start(3));
    world.record(at(3, 12), EventType::SupervisorStart, json!({}));
    world.record(at(3, 12) + 1000, EventType::ServiceLost, json!({"run_id": 3, "class": "lost"}));
    world.record(at(3, 12) + 1000, EventType::ServiceStart, start(4));
    let slot = |day: i64| SlotKey::Due(at(day, 0)).to_string();
    for (day, result) in [(6, "ran"), (5, "ran"), (4, "failed"), (2, "caught-up"), (2, "caught-up")] {
        let data = json!({"of": "nightly", "slot": slot(day), "result": result});
        world.record(at(2, 1), EventType::TaskFinished, data);
    }
    let missed = json!({"of": "nightly", "slot": slot(3), "count": 2, "result": "missed-off"});
    world.record(at(2, 2), EventType::TaskMissed, missed);
    let kind = json!({"service": "gateway", "fingerprint": "a1b2c3", "sample": "Error: token=hunter2hunter2 out of file descriptors",
                      "first_ms": NOW - 20 * DAY, "last_ms": at(6, 0), "count": 3});
    let db = rusqlite::Connection::open(world.paths.database()).unwrap();
    let put =
        "INSERT INTO supervisor_crash_kinds (service, fingerprint, last_ms, body) VALUES ('gateway', 'a1b2c3', ?1, ?2)";
    db.execute(put, rusqlite::params![at(6, 0), kind.to_string()]).unwrap();
    world
}

#[test]
fn a_digest_is_a_page_of_all_that_happened() {
    let mut world = eventful();
    let wrong = world.perform(&BuiltinStep::Digest { period: days(7), keep: 2 });
    assert!(wrong[0].message.contains("was written, and could not be sent"), "{wrong:?}");
    let path = world.paths.reports().join("digest-2026-11-22.md");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    // What depends on this machine's disk.
    let text: String =
        text.lines().filter(|line| !line.starts_with("- disk:")).map(|line| format!("{line}\n")).collect();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/builtin/digest/golden.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap_or_default());
    // Reports of other days: the newest stay, and what is not ours.
    for (day, age) in [("2026-11-01", 21), ("2026-11-08", 14), ("2026-11-15", 7)] {
        world.file(&world.paths.reports().join(format!("digest-{day}.md")), 1, age);
    }
    world.file(&world.paths.reports().join("digest-notes.md"), 1, 99);
    let now = UNIX_EPOCH + Duration::from_millis(NOW.unsigned_abs());
    fs::File::options().write(true).open(&path).unwrap().set_modified(now).unwrap();
    world.perform(&BuiltinStep::Digest { period: days(7), keep: 2 });
    assert_eq!(names(&world.paths.reports()), "digest-2026-11-15.md digest-2026-11-22.md digest-notes.md");
}

#[test]
fn a_digest_without_a_database_says_that_nothing_is_known() {
    let mut world = World::new();
    world.perform(&BuiltinStep::Digest { period: days(7), keep: 2 });
    let text = fs::read_to_string(world.paths.reports().join("digest-2026-11-22.md")).unwrap();
    assert!(text.contains("- no service was started\n- what was before 2026-11-22 10:03 is not on record\n"), "{text}");
    assert!(!world.paths.database().exists());
}
