use std::sync::mpsc::{Receiver, channel};

use serde_json::json;

use super::*;
use crate::model::{Delivery, EventType, ManagerKind, Mono, RowState, SinkKind, SinkSpec, Unusable};
use crate::store::{OutboxFilter, Reader};

const DONE: Delivery = Delivery::Done { plain: false };

/// Alarms with one sink, and one service.
struct World {
    alarms: Alarms,
    calls: Receiver<Call>,
    paths: Paths,
    fleet: Fleet,
    seq: u64,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        crate::process::files::ensure_dir(paths.database().parent().unwrap()).unwrap();
        let gateway = Unusable { name: UnitName::new("gateway").unwrap(), is_task: false, why: String::new() };
        let fleet = Fleet {
            state_dir: folder.path().to_owned(),
            label_prefix: "local".into(),
            manager: ManagerKind::Embedded,
            services: Vec::new(),
            tasks: Vec::new(),
            exposures: Vec::new(),
            unusable: vec![gateway],
            alerts: AlertSpec { sinks: vec![SinkSpec::new(SinkKind::Log)], ..AlertSpec::default() },
        };
        let (back, calls) = channel();
        let beat = Arc::new(AtomicU64::new(clock::now().mono.0));
        let alarms = Alarms::new(&paths, "boot", &fleet, false, back, beat);
        Self { alarms, calls, paths, fleet, seq: 0, _folder: folder }
    }

    fn ledger(&mut self) -> Ledger {
        let mut ledger = Ledger::open(&self.paths.database()).unwrap();
        self.alarms.opened(&mut ledger).unwrap();
        ledger
    }

    /// What the message that is on its way has come to, and through which flight.
    fn landed(&self) -> u64 {
        match self.calls.recv_timeout(Duration::from_secs(20)).unwrap() {
            Call::Sent(_, flight, _) => flight,
            _ => panic!("another call"),
        }
    }

    /// The next crash, `ago_ms` ago.
    fn crash(&mut self, ago_ms: i64) -> Record {
        self.seq += 1;
        let Moment { mono, boot_ns, wall_ms } = clock::now();
        let ago_ns = u64::try_from(ago_ms).unwrap() * 1_000_000;
        let data = json!({ "run_id": self.seq, "class": "crash", "exit_code": 1, "uptime_ms": 5 });
        Record {
            v: Record::VERSION,
            boot_id: "boot".into(),
            seq: self.seq,
            wall_ms: wall_ms - ago_ms,
            boot_ns: boot_ns.saturating_sub(ago_ns),
            mono: Some(Mono(mono.0.saturating_sub(ago_ns))),
            event: EventType::ServiceCrash,
            service: Some(UnitName::new("gateway").unwrap()),
            data: data.as_object().unwrap().clone(),
        }
    }

    fn rows(&self, state: RowState) -> Vec<String> {
        let filter = OutboxFilter { states: vec![state], ..OutboxFilter::default() };
        let rows = Reader::open(&self.paths.database()).unwrap().outbox(&filter).unwrap();
        rows.into_iter().map(|row| format!("{} {}", row.notice.kind.as_str(), row.notice.alert.rule)).collect()
    }
}

#[test]
fn a_try_that_cannot_be_put_on_record_does_not_keep_its_sink_from_the_next() {
    let mut world = World::new();
    let mut ledger = world.ledger();
    world.alarms.hear(Some(&mut ledger), Heard::Test("a")).unwrap();
    world.alarms.tick(Some(&mut ledger)).unwrap();
    let flight = world.landed();
    world.alarms.sent(Some(&mut ledger), "log", flight, &DONE).unwrap();
    world.alarms.hear(Some(&mut ledger), Heard::Test("b")).unwrap();
    std::fs::remove_file(world.paths.database()).unwrap();
    world.alarms.send(Some(&mut ledger), clock::now()).unwrap_err();
    assert!(!world.alarms.is_sending(), "it was sent without being on record");
    drop(ledger);
    world.alarms.without_ledger("gone", &BTreeMap::new());
    let mut ledger = world.ledger();
    world.alarms.hear(Some(&mut ledger), Heard::Test("c")).unwrap();
    world.alarms.tick(Some(&mut ledger)).unwrap();
    assert!(world.alarms.is_sending());
    world.landed();
}

#[test]
fn nothing_is_due_again_and_again_while_there_is_no_database() {
    let mut world = World::new();
    world.alarms.without_ledger("full", &BTreeMap::new());
    let due = world.alarms.due(clock::now()).unwrap();
    assert!(due > Duration::from_secs(1), "{due:?}");
}

#[test]
fn a_database_that_opens_and_takes_nothing_in_is_sick_since_the_first_time() {
    let mut world = World::new();
    world.alarms.without_ledger("malformed", &BTreeMap::new());
    world.alarms.sick.as_mut().unwrap().since_ms -= 50_000;
    let since_ms = world.alarms.sick.as_ref().unwrap().since_ms;
    drop(world.ledger());
    world.alarms.without_ledger("malformed", &BTreeMap::new());
    assert_eq!(world.alarms.sick.as_ref().unwrap().since_ms, since_ms);
    world.alarms.sick.as_mut().unwrap().since_ms -= 60_000;
    let mut ledger = world.ledger();
    world.alarms.tick(Some(&mut ledger)).unwrap();
    assert!(world.alarms.sick.is_none());
    let all: Vec<_> = [RowState::Pending, RowState::Delivered].iter().flat_map(|state| world.rows(*state)).collect();
    assert_eq!(all, ["fired database", "resolved database"]);
    world.landed();
}

#[test]
fn the_end_of_an_outage_is_told_by_the_next_life_if_this_one_could_not() {
    let mut world = World::new();
    let mut ledger = world.ledger();
    let since_ms = clock::now().wall_ms - 120_000;
    world.alarms.hear(Some(&mut ledger), Heard::Database(Some((since_ms, "full")))).unwrap();
    assert_eq!(world.alarms.open().count(), 1);
    // Killed between the two words.
    let (back, calls) = channel();
    let beat = Arc::new(AtomicU64::new(clock::now().mono.0));
    world.alarms = Alarms::new(&world.paths, "boot", &world.fleet, false, back, beat);
    world.calls = calls;
    drop(ledger);
    drop(world.ledger());
    assert_eq!(world.alarms.open().count(), 0);
}

#[test]
fn what_is_heard_late_is_reminded_of_an_hour_after_it_is_told() {
    let mut world = World::new();
    let mut ledger = world.ledger();
    let records = [7_202_000, 7_201_000, 7_200_000].map(|ago_ms| world.crash(ago_ms));
    world.alarms.take_in(&mut ledger, "r", &records).unwrap();
    world.alarms.tick(Some(&mut ledger)).unwrap();
    assert_eq!(world.rows(RowState::Pending), ["fired crash-loop"]);
    world.landed();
}

#[test]
fn the_outcome_of_a_message_is_no_other_message_s() {
    let mut world = World::new();
    let mut ledger = world.ledger();
    world.alarms.hear(Some(&mut ledger), Heard::Test("a")).unwrap();
    world.alarms.tick(Some(&mut ledger)).unwrap();
    let first = world.landed();
    // It is taken out of services.toml and put back meanwhile.
    let mut without = world.fleet.clone();
    without.alerts.sinks.clear();
    world.alarms.declared(Some(&mut ledger), &without).unwrap();
    world.alarms.declared(Some(&mut ledger), &world.fleet).unwrap();
    world.alarms.hear(Some(&mut ledger), Heard::Test("b")).unwrap();
    world.alarms.tick(Some(&mut ledger)).unwrap();
    let second = world.landed();
    world.alarms.sent(Some(&mut ledger), "log", first, &DONE).unwrap();
    assert!(world.alarms.is_sending());
    assert_eq!(world.rows(RowState::Delivered).len(), 0);
    // It is another one meanwhile: what is on its way goes on its way, and nothing else before it has ended.
    let mut other = world.fleet.clone();
    other.alerts.sinks[0].min_severity = Severity::Warning;
    world.alarms.declared(Some(&mut ledger), &other).unwrap();
    world.alarms.tick(Some(&mut ledger)).unwrap();
    assert!(world.calls.try_recv().is_err());
    world.alarms.sent(Some(&mut ledger), "log", second, &DONE).unwrap();
    assert_eq!(world.rows(RowState::Delivered).len(), 1);
    assert_eq!(world.rows(RowState::Pending).len(), 0);
}

#[test]
fn what_waits_for_a_sink_is_dropped_by_a_file_without_faults_only() {
    let mut world = World::new();
    let mut ledger = world.ledger();
    world.alarms.hear(Some(&mut ledger), Heard::Test("a")).unwrap();
    drop(ledger);
    world.fleet.alerts.sinks.clear();
    let (back, calls) = channel();
    let beat = Arc::new(AtomicU64::new(clock::now().mono.0));
    world.alarms = Alarms::new(&world.paths, "boot", &world.fleet, true, back, beat);
    world.calls = calls;
    let mut ledger = world.ledger();
    assert_eq!(world.rows(RowState::Pending).len(), 1);
    world.alarms.declared(Some(&mut ledger), &world.fleet).unwrap();
    assert_eq!(world.rows(RowState::Dropped).len(), 1);
}
