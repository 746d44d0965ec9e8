//! The parts that decide, read and write, each for itself: `cargo bench --bench pure [-- FILTER]`.
//!
//! No marks: these figures tell where time goes when a figure of `benches/whole` has changed.

#[path = "pure/calendar.rs"]
mod calendar;
#[path = "../tests/oracles/schedules.rs"]
#[expect(clippy::unwrap_used, reason = "written for tests")]
mod schedules;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use serde_json::{Map, Value, json};

use supervisor::config::{self, Source, Surroundings};
use supervisor::journal;
use supervisor::logs::{Block, Sink, fifo};
use supervisor::machine::words::{self, Reader, Recorded};
use supervisor::machine::{Act, Fate, Input, MonitorMachine, MonitorSpec, Phase, ProcessRef, Seen, ServiceMachine};
use supervisor::model::{
    Answer, CrashWindow, DaemonInfo, EventType, Exit, ExitClass, Fleet, Fraction, Intent, LedgerInfo, LogSpec, Moment,
    Mono, Probed, Record, RestartCounts, ServiceSpec, StatusReport,
};
use supervisor::policy::trend::{Point, Trend, TrendSpec};
use supervisor::policy::{Backoff, Recent};
use supervisor::store::Ledger;

fn main() {
    divan::main();
}

/// Numbers of services.
const SIZES: [usize; 3] = [6, 100, 1000];
const RECORDS: usize = 1000;
/// 2026-11-22T03:19:34Z.
const WALL_MS: i64 = 1_795_317_574_000;

fn at(seconds: u64) -> Moment {
    let wall_ms = WALL_MS + i64::try_from(seconds).expect("a short time") * 1000;
    Moment { mono: Mono(seconds * 1_000_000_000), boot_ns: seconds * 1_000_000_000, wall_ms }
}

fn middle() -> Fraction {
    Fraction::new(0.5)
}

/// A services.toml of so many services, with some of everything.
fn source(services: usize) -> Source {
    let mut text = "[supervisor]\nstate_dir = \"/var/lib/bench\"\nmanager = \"embedded\"\n".to_owned();
    for i in 0..services {
        let after = if i == 0 { String::new() } else { format!("after = [\"s{}\"]\n", i - 1) };
        let port = 10_000 + i;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[service.s{i}]\ncommand = [\"/usr/local/bin/server\", \"--port\", \"{port}\"]\ncwd = \"~/work\"\n\
             env = {{ MODE = \"production\", CACHE = \"${{HOME}}/cache\" }}\nthrottle = \"5s\"\nports = [{port}]\n{after}\
             log = {{ max_size = \"20MiB\", keep = 3 }}\n\
             [service.s{i}.health]\nhttp = \"http://127.0.0.1:{port}/healthz\"\ninterval = \"5s\"\ntimeout = \"2s\"\n"
        );
    }
    Source { path: PathBuf::from("/etc/services.toml"), text }
}

fn around() -> Surroundings {
    let vars = BTreeMap::from([("HOME".to_owned(), "/home/user".to_owned())]);
    Surroundings { home: "/home/user".into(), vars, state_dir: None }
}

fn fleet(services: usize) -> Fleet {
    let parsed = config::parse(&source(services), &around());
    assert_eq!(parsed.faults, [], "the text of the benchmark");
    parsed.fleet.expect("a fleet")
}

fn spec() -> ServiceSpec {
    fleet(1).services.remove(0)
}

/// A machine whose process runs; it waits for no other.
fn running(spec: ServiceSpec) -> ServiceMachine {
    let mut machine = ServiceMachine::new(ServiceSpec { after: Vec::new(), ..spec }, Intent::default());
    let begin = Input::Begin { saved: None, fate: Fate::Fine, alive: None, same_boot: true };
    machine.step(at(1000), middle(), begin);
    machine.step(at(1000), middle(), Input::Spawned { process: ProcessRef { pid: 100, start: 1 } });
    assert!(machine.run().is_some(), "{:?}", machine.phase());
    machine
}

/// A crash, the wait, the spawn: what the runner asks of it for one restart.
#[divan::bench(sample_size = 1000)]
fn service_machine_restart(bencher: Bencher) {
    let mut machine = running(spec());
    let mut now = 1000;
    bencher.bench_local(|| {
        // An hour's run each time, so that there is no storm.
        now += 3600;
        let run_id = machine.run().expect("a run").id;
        machine.step(at(now), middle(), Input::Exited { run_id, exit: Exit::Code(1) });
        if let Phase::Delayed { .. } = machine.phase() {
            now += 3600;
            machine.step(at(now), middle(), Input::Tick);
        }
        machine.step(at(now), middle(), Input::Spawned { process: ProcessRef { pid: 100, start: now } })
    });
}

/// One crash taken in, and the moment of the next start, in a storm.
#[divan::bench(sample_size = 1000)]
fn backoff_of_a_crash(bencher: Bencher) {
    let (spec, mut backoff, mut now) = (spec(), Backoff::default(), Mono(0));
    bencher.bench_local(|| {
        now = now.plus(Duration::from_secs(1));
        backoff.started(now, true);
        backoff.ended(&spec, ExitClass::Crash, Duration::from_millis(100), now);
        backoff.due(&spec, middle())
    });
}

/// One crash in the widest window, which is full.
#[divan::bench(sample_size = 1000)]
fn window_of_crashes(bencher: Bencher) {
    let window = CrashWindow { count: 64, within: Duration::from_secs(300) };
    let (mut recent, mut now) = (Recent::default(), Mono(0));
    bencher.bench_local(|| {
        now = now.plus(Duration::from_secs(1));
        recent.push(now);
        recent.fills(window, now)
    });
}

/// A probe that is due, and its good answer.
#[divan::bench(sample_size = 1000)]
fn monitor_machine_probe(bencher: Bencher) {
    let spec = spec();
    let mut monitor = MonitorMachine::new(MonitorSpec::of(&spec).expect("it is probed"));
    let view = running(spec).view(at(1000), 0);
    let run_id = view.run_id;
    monitor.step(at(1000), middle(), Seen::View(Box::new(view)));
    let mut now = 1000;
    bencher.bench_local(|| {
        now += 3600;
        let acts = monitor.step(at(now), middle(), Seen::Tick);
        assert!(matches!(acts[..], [Act::Probe { .. }]), "{acts:?}");
        monitor.step(
            at(now),
            middle(),
            Seen::Probed { run_id, probed: Probed::new(Answer::Good, Duration::from_millis(2)), facts: None },
        )
    });
}

/// A sample of memory each minute, of a service whose load follows the day: the whole detector, whatever it does each quarter of an hour.
#[divan::bench(sample_size = 10_080)]
fn trend_sample(bencher: Bencher) {
    let spec = TrendSpec { growth: Some(10_000_000), plateau: None, recycle: None };
    let (mut trend, mut minute) = (Trend::new(), 0_u32);
    bencher.bench_local(|| {
        minute += 1;
        let at = f64::from(minute) * 60.0;
        let load = 1.0 - (at / 86_400.0 * std::f64::consts::TAU).cos() + f64::from(minute % 37) / 37.0;
        let bytes = 300_000_000 + (load * 50_000_000.0) as u64;
        trend.sample(&spec, Point { awake: at, wall: at, bytes, life: 1, room: None, requests: None })
    });
}

#[divan::bench(args = SIZES)]
fn config_parse(bencher: Bencher, services: usize) {
    let (source, around) = (source(services), around());
    bencher.counter(BytesCount::of_str(&source.text)).bench(|| config::parse(black_box(&source), &around));
}

/// What the daemon does for each `status`: words for every service, and the JSON.
#[divan::bench(args = SIZES)]
fn status_json(bencher: Bencher, services: usize) {
    let machines: Vec<_> = fleet(services).services.into_iter().map(running).collect();
    let views: Vec<_> = machines.iter().map(|machine| machine.view(at(5000), 0)).collect();
    let recorded = Recorded { restarts: Some(RestartCounts::default()), last_exit: None };
    let zone = jiff::tz::TimeZone::UTC;
    bencher.counter(ItemsCount::new(services)).bench_local(|| {
        let reader = Reader { now_ms: at(9000).wall_ms, zone: &zone };
        let info = |view| words::service_info(view, 4711, true, &recorded, None, reader);
        let report = StatusReport {
            schema: StatusReport::SCHEMA,
            daemon: DaemonInfo::default(),
            services: views.iter().map(info).collect(),
            ledger: LedgerInfo::default(),
            alerts: Vec::new(),
            troubles: Vec::new(),
        };
        serde_json::to_vec(&report).expect("JSON")
    });
}

/// The metadata of a crash, with the tail of its stderr.
fn crash(run_id: usize) -> Map<String, Value> {
    let tail = "Error: listen EADDRINUSE: address already in use 127.0.0.1:18789\n".repeat(8);
    let data = json!({"run_id": run_id, "class": "crash", "exit_code": 1, "signal": null, "restart_attempt": run_id,
        "uptime_ms": 1234, "pid": 4711, "stderr_tail": tail});
    data.as_object().cloned().unwrap_or_default()
}

/// A record on its way to the disk: the line, and its write(2).
#[divan::bench]
fn journal_append(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = journal::Writer::open(folder.path(), "bench", "boot", 1).expect("a journal");
    let name = spec().name;
    bencher
        .with_inputs(|| crash(7))
        .bench_local_values(|data| writer.append(at(1000), EventType::ServiceCrash, Some(&name), data));
    assert_eq!((writer.lost(), writer.pending()), (0, 0));
}

/// A thousand records read back from the disk.
#[divan::bench]
fn journal_read_1000(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = journal::Writer::open(folder.path(), "bench", "boot", 1).expect("a journal");
    let name = spec().name;
    for i in 0..RECORDS {
        writer.append(at(1000), EventType::ServiceCrash, Some(&name), crash(i));
    }
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut reader = journal::Reader::open(folder.path(), "bench").expect("the journal");
        let records = reader.read_new(RECORDS).expect("its lines");
        assert_eq!(records.len(), RECORDS);
        records
    });
}

/// A thousand new ends of runs taken in at once, by a ledger that grows.
#[divan::bench(sample_size = 1, sample_count = 50)]
fn ledger_ingest_1000(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = Ledger::open(&folder.path().join("observability.sqlite")).expect("a ledger");
    let (service, mut seq) = (spec().name, 0);
    let mut record = || {
        seq += 1;
        Record {
            v: Record::VERSION,
            boot_id: "boot".into(),
            seq,
            wall_ms: WALL_MS,
            boot_ns: seq,
            mono: None,
            event: EventType::ServiceCrash,
            service: Some(service.clone()),
            data: crash(7),
        }
    };
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| std::iter::repeat_with(&mut record).take(RECORDS).collect::<Vec<_>>())
        .bench_local_values(|records| {
            let taken = ledger.ingest("bench", &records).expect("the ledger");
            assert_eq!(taken, RECORDS);
        });
}

/// 64 KiB from a service's pipe into its log, and now and then a rotation.
#[divan::bench(sample_size = 1, sample_count = 1000)]
fn log_pump_64k(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fifo");
    fifo::ensure(&path).expect("a FIFO");
    let reader = fifo::open_reader(&path).expect("its end to read");
    let mut writer = File::from(fifo::open_writer(&path).expect("its end to write"));
    let spec = LogSpec { max_size: 20_000_000, keep: 1 };
    let mut sink = Sink::open(&folder.path().join("bench.log"), &folder.path().join("index"), spec);
    let mut block = Block::open(folder.path(), "bench").expect("memory");
    let output = b"a line of output, as long as lines of output are, which is not very long\n".repeat(1000);
    let output = &output[..1 << 16];
    bencher
        .counter(BytesCount::new(output.len()))
        .with_inputs(|| writer.write_all(output).expect("room in the FIFO"))
        .bench_local_values(|()| {
            let pumped = sink.pump(&mut block, reader.as_fd(), 1 << 20, at(1000));
            assert_eq!((pumped.moved, pumped.dropped), (output.len() as u64, 0));
        });
    block.remove();
}
