//! What the sink leaves to its successor when it is killed: at each point by chance, and for real.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::logs::block::{Fuse, Killed};
use crate::process::testing::{Guard, again, sh, wait_for};

#[derive(Debug, Clone)]
enum Act {
    /// Lines of these lengths, the last one unfinished.
    Write(Vec<usize>),
    /// Pump with this budget.
    Pump(usize),
    /// The runner is killed while it pumps: at this point of it, having written at most so many bytes at once, and after so many
    /// acts of a rotation if it has come to one. So is its first successor while it does what was left undone.
    Kill { point: usize, write_most: usize, rotation: usize, again: Option<usize> },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => prop::collection::vec(0_usize..60, 1..12).prop_map(Act::Write),
        3 => prop_oneof![1_usize..40, Just(4096)].prop_map(Act::Pump),
        2 => (0_usize..32, prop_oneof![1_usize..50, Just(usize::MAX)], 0_usize..4, prop::option::of(0_usize..8)).prop_map(
            |(point, write_most, rotation, again)| Act::Kill { point, write_most, rotation, again }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    /// Every byte is in exactly one file, in order; no line is cut; a file is too large by less than a line.
    #[test]
    fn rotation_loses_doubles_and_cuts_nothing(acts in prop::collection::vec(act(), 1..40), limit in 1_u64..150) {
        let mut bench = Bench::new();
        let mut sink = bench.sink(limit, 5000);
        let mut written = String::new();
        for act in acts {
            match act {
                Act::Write(lengths) => {
                    let lines: Vec<String> = lengths.iter().map(|n| format!("{:x<n$}", written.len())).collect();
                    let text = lines.join("\n");
                    bench.write(&text);
                    written.push_str(&text);
                }
                Act::Pump(budget) => {
                    let pumped = sink.pump(&mut bench.block, bench.reader.as_fd(), budget, at(0));
                    prop_assert!(pumped.moved <= budget as u64 && pumped.dropped == 0);
                    prop_assert_eq!(pumped.more, pumped.moved == budget as u64);
                }
                Act::Kill { point, write_most, rotation, again } => {
                    let fd = bench.reader.as_fd();
                    bench.block.fuse = Fuse { points: Some(point), write_most };
                    let pump = AssertUnwindSafe(|| sink.pump(&mut bench.block, fd, 4096, at(0)));
                    if let Err(cause) = catch_unwind(pump) {
                        prop_assert!(cause.is::<Killed>());
                    }
                    if bench.block.died_between_files() {
                        let plan = rotate::plan(&rotate::numbers(&bench.log()).unwrap(), 5000);
                        for act in plan.into_iter().take(rotation) {
                            rotate::perform(&bench.log(), act).unwrap();
                        }
                    }
                    for points in [again, None] {
                        bench.block.reborn();
                        bench.block.fuse = Fuse { points, write_most };
                        sink = bench.sink(limit, 5000);
                        let recover = AssertUnwindSafe(|| sink.recover(&mut bench.block, at(0)));
                        match catch_unwind(recover) {
                            Err(cause) => prop_assert!(cause.is::<Killed>()),
                            Ok(recovered) => prop_assert_eq!(recovered.dropped, 0),
                        }
                    }
                    bench.block.fuse = Fuse::default();
                }
            }
        }
        while sink.pump(&mut bench.block, bench.reader.as_fd(), 4096, at(0)).moved > 0 {}
        prop_assert_eq!(whole(&bench.log()), written);
        for (number, text) in bench.files() {
            prop_assert!(number == 0 || text.ends_with('\n'), "{} is cut: {:?}", number, text);
            let before_last = text[..text.len().saturating_sub(1)].rfind('\n').map_or(0, |at| at + 1);
            prop_assert!((before_last as u64) < limit, "{} has a line too much: {:?}", number, text);
        }
    }
}

/// The runner's part is played by this test binary, which is killed without warning again and again.
#[test]
fn a_killed_runner_loses_not_one_byte() {
    const INNER: &str = "SUPERVISOR_TEST_SINK";
    const ROUNDS: usize = 30;
    // Not a multiple of a line, of a page, or of what is pumped at once.
    let spec = LogSpec { max_size: 150_001, keep: 9000 };
    let sink = |folder: &Path| Sink::open(&folder.join("x.log"), &folder.join("index"), spec);
    if let Some(folder) = std::env::var_os("SUPERVISOR_TEST_FOLDER") {
        let folder = PathBuf::from(folder);
        let reader = fifo::open_reader(&folder.join("fifo")).unwrap();
        let mut block = Block::open(&folder, "killed").unwrap();
        let mut sink = sink(&folder);
        if sink.recover(&mut block, clock::now()).moved > 0 {
            File::options().create(true).append(true).open(folder.join("recovered")).unwrap().write_all(b"x").unwrap();
        }
        wait_for("death", || {
            while sink.pump(&mut block, reader.as_fd(), 100_000, clock::now()).more {}
            None::<()>
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut block = Block::open(folder, "killed").unwrap();
    if !block.outlives_us() {
        eprintln!("SKIPPED: there is no shared memory here, so a block may be lost");
        return;
    }
    let fifo_path = folder.join("fifo");
    fifo::ensure(&fifo_path).unwrap();
    // It stays until somebody reads for good: what is in a FIFO goes with the last process that has it open.
    let keeper = fifo::open_keeper(&fifo_path).unwrap();
    let log = folder.join("x.log");
    let writer = fifo::open_writer(&fifo_path).unwrap();
    let mut service = Guard(sh("exec seq 1 1000000000").stdout(writer).spawn().unwrap());
    let rotated = || rotate::numbers(&log).unwrap().len();
    for _ in 0..ROUNDS {
        let before = rotated();
        let mut runner = again("logs::sink::tests::killed::a_killed_runner", INNER);
        let runner = runner.env("SUPERVISOR_TEST_FOLDER", folder).stdout(std::process::Stdio::null());
        let _runner = Guard(runner.spawn().unwrap());
        wait_for("some rotations", || (rotated() >= before + 3).then_some(()));
    }
    // The last one goes on for a while, so that what was lost before would show as a gap.
    service.0.kill().unwrap();
    service.0.wait().unwrap();
    block.reborn();
    let mut sink = sink(folder);
    sink.recover(&mut block, clock::now());
    assert!(!sink.drain(&mut block, keeper.as_fd(), clock::now()).more);
    block.remove();
    let text = whole(&log);
    let (lines, unfinished) = text.rsplit_once('\n').unwrap();
    for (line, number) in lines.split('\n').zip(1_u64..) {
        assert_eq!(line, number.to_string());
    }
    assert!(unfinished.len() < 10 && files(&log).iter().all(|(n, text)| *n == 0 || text.ends_with('\n')));
    // Otherwise nobody was killed at a moment that counts.
    let recovered = fs::read(folder.join("recovered")).map_or(0, |marks| marks.len());
    eprintln!("{recovered} of {ROUNDS} successors found something in the block");
    assert!(recovered > 0);
}

#[test]
fn what_a_killed_one_had_in_hand_goes_to_its_own_file_only() {
    type Meanwhile = fn(&Path);
    let cases: [(&str, Meanwhile, &str); 5] = [
        ("nothing", |_| {}, "one\ntwo\n"),
        ("the log was taken away", |log| fs::remove_file(log).unwrap(), ""),
        (
            "it was moved and another one is there",
            |log| {
                // The same size, which only the file itself tells apart.
                fs::rename(log, log.with_extension("mine")).unwrap();
                fs::write(log, "six\n").unwrap();
            },
            "six\n",
        ),
        ("it was emptied", |log| fs::write(log, "").unwrap(), ""),
        (
            "it was added to",
            |log| File::options().append(true).open(log).unwrap().write_all(b"long\n").unwrap(),
            "one\nlong\n",
        ),
    ];
    for (what, meanwhile, expected) in cases {
        let mut bench = Bench::new();
        let mut sink = bench.sink(10_000, 3);
        bench.through(&mut sink, "one\n");
        bench.write("two\n");
        // Emptied, noted, read.
        bench.block.fuse.points = Some(2);
        let pump = AssertUnwindSafe(|| bench.pump(&mut sink, at(0)));
        assert!(catch_unwind(pump).is_err_and(|cause| cause.is::<Killed>()));
        meanwhile(&bench.log());
        bench.block.reborn();
        let mut other = Sink::open(&bench.folder.path().join("logs/y.log"), &bench.folder.path().join("y"), sink.spec);
        assert_eq!(other.recover(&mut bench.block, at(0)), Pumped::default(), "another log's");
        for _ in 0..2 {
            let mut successor = bench.sink(10_000, 3);
            successor.recover(&mut bench.block, at(0));
            assert_eq!(
                (fs::read_to_string(bench.log()).unwrap().as_str(), successor.dropped()),
                (expected, 0),
                "{what}"
            );
        }
    }
}

#[test]
fn what_cannot_be_written_by_a_successor_either_is_counted() {
    let mut bench = Bench::new();
    let mut sink = bench.sink(1, 3);
    bench.through(&mut sink, "one\n");
    bench.write("two\n");
    // Emptied, noted, read, noted, and once more as the file is full: it is to be rotated.
    bench.block.fuse.points = Some(4);
    let pump = AssertUnwindSafe(|| bench.pump(&mut sink, at(0)));
    assert!(catch_unwind(pump).is_err_and(|cause| cause.is::<Killed>()));
    assert!(bench.block.died_between_files());
    bench.block.reborn();
    let folder = bench.log().parent().unwrap().to_path_buf();
    fs::rename(&folder, folder.with_extension("away")).unwrap();
    fs::write(&folder, "a file where the folder should be").unwrap();
    let mut successor = bench.sink(1, 3);
    assert_eq!(successor.recover(&mut bench.block, at(0)), Pumped { moved: 0, dropped: 4, more: false });
    assert!(successor.dropped() == 4 && successor.trouble().unwrap().contains("4 bytes of output lost"));
}
