//! Tests of the sink with real FIFOs, real writers, and real trouble.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::logs::fifo;
use crate::process::clock;
#[cfg(target_os = "linux")]
use crate::process::testing::{Guard, sh, wait_for};

#[cfg(test)]
#[path = "sink_kill_tests.rs"]
mod killed;

/// A FIFO with both its ends, and a log beside it.
struct Bench {
    folder: tempfile::TempDir,
    reader: OwnedFd,
    writer: File,
    block: Block,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        fifo::ensure(&path).unwrap();
        let reader = fifo::open_reader(&path).unwrap();
        let writer = fifo::open_writer(&path).unwrap().into();
        Self { folder, reader, writer, block: Block::private().unwrap() }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("logs/x.log")
    }

    fn sink(&self, max_size: u64, keep: u32) -> Sink {
        Sink::open(&self.log(), &self.folder.path().join("index"), LogSpec { max_size, keep })
    }

    fn write(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).unwrap();
    }

    /// What goes in now must all come through.
    fn through(&mut self, sink: &mut Sink, text: &str) {
        self.write(text);
        let pumped = self.pump(sink, at(0));
        assert_eq!(pumped, Pumped { moved: text.len() as u64, dropped: 0, more: false });
    }

    fn pump(&mut self, sink: &mut Sink, at: Moment) -> Pumped {
        sink.pump(&mut self.block, self.reader.as_fd(), 1 << 20, at)
    }

    /// Number and content of all files, newest first.
    fn files(&self) -> Vec<(u32, String)> {
        files(&self.log())
    }
}

fn files(log: &Path) -> Vec<(u32, String)> {
    let numbers = [0].into_iter().chain(rotate::numbers(log).unwrap());
    numbers.filter_map(|n| Some((n, fs::read_to_string(rotate::numbered(log, n)).ok()?))).collect()
}

fn whole(log: &Path) -> String {
    files(log).into_iter().rev().map(|(_, text)| text).collect()
}

fn at(seconds: u64) -> Moment {
    let wall_ms = 1_763_800_000_000 + i64::try_from(seconds).unwrap() * 1000;
    Moment { mono: Mono(seconds * 1_000_000_000), boot_ns: 0, wall_ms }
}

#[test]
fn a_line_without_end_is_cut_at_last_and_files_stay_bounded() {
    let mut bench = Bench::new();
    let mut sink = bench.sink(1000, 50);
    let block = "x".repeat(32 * 1024);
    for _ in 0..100 {
        bench.through(&mut sink, &block);
    }
    let sizes: Vec<usize> = bench.files().iter().map(|(_, text)| text.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 100 * block.len());
    assert!(sizes.iter().all(|size| *size <= 1000 + (1 << 20)), "{sizes:?}");
    assert_eq!(sizes.len(), 4);
}

#[test]
fn only_so_many_files_are_kept_and_none_when_none_is_wanted() {
    let mut bench = Bench::new();
    let mut sink = bench.sink(10, 3);
    for n in 10..40 {
        bench.through(&mut sink, &format!("line {n}...\n"));
    }
    let expected = [39, 38, 37, 36].map(|n| format!("line {n}...\n"));
    assert_eq!(bench.files(), (0..).zip(expected).collect::<Vec<_>>(), "a full file is rotated when more comes");
    sink.set_spec(LogSpec { max_size: 10, keep: 1 });
    bench.through(&mut sink, "line 40...\n");
    assert_eq!(bench.files(), [(0, "line 40...\n".to_owned()), (1, "line 39...\n".to_owned())]);
    sink.set_spec(LogSpec { max_size: 100, keep: 0 });
    bench.through(&mut sink, &"line 41...\n".repeat(10));
    assert_eq!(bench.files(), [(0, "line 41...\n".to_owned())]);
    bench.through(&mut sink, "line 42...\n");
    assert_eq!(bench.files(), [(0, "line 41...\nline 42...\n".to_owned())]);
    assert_eq!(fs::metadata(bench.log()).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn the_tail_is_of_this_run_only_and_crosses_rotations() {
    let mut bench = Bench::new();
    let mut sink = bench.sink(20, 9);
    assert_eq!(sink.tail(100), b"");
    bench.through(&mut sink, "of an earlier run\n");
    let start = sink.mark();
    assert_eq!(sink.tail(100), b"");
    let mut text = String::new();
    for n in 0..8 {
        let line = format!("line {n}\n");
        bench.through(&mut sink, &line);
        text.push_str(&line);
        assert_eq!(sink.tail(1000), text.as_bytes());
    }
    assert!(bench.files().len() > 2);
    assert_eq!(sink.tail(9), b"6\nline 7\n");

    // A successor knows it by the position.
    let mut successor = bench.sink(20, 9);
    assert_eq!(successor.tail(1000), b"");
    successor.resume(start);
    assert_eq!(successor.tail(1000), text.as_bytes());
    successor.resume(Position { inode: 1, offset: 0 });
    assert_eq!(successor.tail(1000), whole(&bench.log()).as_bytes(), "its file has gone, so all is newer");
}

#[test]
fn a_log_that_is_taken_away_emptied_or_added_to_goes_on() {
    let mut bench = Bench::new();
    let mut sink = bench.sink(10_000, 3);
    let log = bench.log();
    bench.through(&mut sink, "one\n");
    fs::remove_file(&log).unwrap();
    bench.through(&mut sink, "two\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "two\n");
    assert_eq!(sink.tail(100), b"two\n");

    fs::remove_dir_all(log.parent().unwrap()).unwrap();
    bench.through(&mut sink, "three\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "three\n");

    fs::rename(&log, log.with_extension("mine")).unwrap();
    bench.through(&mut sink, "four\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "four\n");

    fs::write(&log, "").unwrap();
    bench.through(&mut sink, "five\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "five\n", "no hole before it");
    assert_eq!(sink.tail(100), b"five\n");

    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"by hand\n").unwrap();
    bench.through(&mut sink, "six\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "five\nby hand\nsix\n");
    assert_eq!(sink.dropped(), 0);
    assert_eq!(sink.trouble(), None);
}

#[test]
fn output_that_cannot_be_written_is_counted_and_told_and_nobody_waits() {
    let mut bench = Bench::new();
    let log = bench.log();
    let folder = log.parent().unwrap().to_path_buf();
    fs::write(&folder, "a file where the folder should be").unwrap();
    let mut sink = bench.sink(10_000, 3);
    assert!(sink.trouble().unwrap().contains("Not a directory"), "{:?}", sink.trouble());
    bench.write("lost 1\n");
    assert_eq!(bench.pump(&mut sink, at(10)), Pumped { moved: 0, dropped: 7, more: false });
    bench.write("lost 2\n");
    assert_eq!(bench.pump(&mut sink, at(11)).dropped, 7);
    fs::remove_file(&folder).unwrap();
    bench.write("lost 3\n");
    assert_eq!(bench.pump(&mut sink, at(11)).dropped, 7, "it is tried once a second only");
    assert!(sink.trouble().unwrap().contains("21 bytes of output lost"));
    bench.write("again\n");
    assert_eq!(bench.pump(&mut sink, at(12)), Pumped { moved: 6, dropped: 0, more: false });
    let note = "[supervisor: 21 bytes of output could not be written between 2025-11-22T08:26:50Z and \
                2025-11-22T08:26:52Z: Not a directory]\n";
    assert_eq!(fs::read_to_string(&log).unwrap(), format!("{note}again\n"));
    assert_eq!((sink.trouble(), sink.dropped()), (None, 21));
    assert!(sink.tail(10_000).ends_with(b"again\n"));
}

#[test]
fn a_log_that_cannot_be_rotated_grows_rather_than_losing_output() {
    let mut bench = Bench::new();
    let mut sink = bench.sink(10, 3);
    // A folder with something in it stands where the rotated file should go.
    fs::create_dir_all(rotate::numbered(&bench.log(), 1).join("x")).unwrap();
    fs::create_dir_all(rotate::numbered(&bench.log(), 2).join("x")).unwrap();
    fs::create_dir_all(rotate::numbered(&bench.log(), 3).join("x")).unwrap();
    for n in 10..20 {
        bench.through(&mut sink, &format!("line {n}...\n"));
    }
    assert!(sink.trouble().unwrap().contains("cannot be rotated"));
    assert_eq!(fs::read_to_string(bench.log()).unwrap().lines().count(), 10);
    for n in 1..=3 {
        fs::remove_dir_all(rotate::numbered(&bench.log(), n)).unwrap();
    }
    bench.write("after\n");
    bench.pump(&mut sink, at(5));
    assert_eq!(sink.trouble(), None);
    assert_eq!(bench.files().len(), 2);
    assert_eq!(whole(&bench.log()).lines().count(), 11);
}

/// A file system of one megabyte, where the system lets us have one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_output_but_not_the_service() {
    let mut bench = Bench::new();
    let logs = bench.log().parent().unwrap().to_path_buf();
    fs::create_dir(&logs).unwrap();
    let mounted = sh(&format!("mount -t tmpfs -o size=1m none '{}'", logs.display())).status().unwrap();
    if !mounted.success() {
        eprintln!("SKIPPED: no file system can be mounted here, so the full disk is not tested");
        return;
    }
    let _unmount = Unmount(logs.clone());
    let mut sink = bench.sink(100 << 20, 3);
    let script = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo \"line $i $i $i $i $i $i $i $i\"; done";
    let writer = bench.writer.try_clone().unwrap();
    let mut service = Guard(sh(script).stdout(writer).spawn().unwrap());
    let mut total = Pumped::default();
    let mut add = |pumped: Pumped| {
        total.moved += pumped.moved;
        total.dropped += pumped.dropped;
    };
    wait_for("the end of the service, which nothing holds up", || {
        add(bench.pump(&mut sink, at(1)));
        service.0.try_wait().unwrap()
    });
    add(sink.drain(&mut bench.block, bench.reader.as_fd(), at(1)));
    let written: u64 = (1..=40_000_u64).map(|i| format!("line{}\n", format!(" {i}").repeat(8)).len() as u64).sum();
    assert_eq!(total.moved + total.dropped, written);
    assert!(total.dropped > 0 && total.dropped == sink.dropped());
    assert!(sink.trouble().unwrap().contains("No space left on device"), "{:?}", sink.trouble());

    // Still full but for a few bytes: it is tried, and not half of the note stays in the file.
    let mut before = fs::read(bench.log()).unwrap();
    assert_eq!(before.len() as u64, total.moved);
    before.truncate(before.len() - 20);
    fs::OpenOptions::new().write(true).open(bench.log()).unwrap().set_len(before.len() as u64).unwrap();
    (&bench.writer).write_all(b"lost\n").unwrap();
    assert_eq!(bench.pump(&mut sink, at(3)).dropped, 5);
    assert_eq!(fs::read(bench.log()).unwrap(), before);

    // Room again: what was said before the trouble has gone, the note tells of it.
    fs::write(bench.log(), "").unwrap();
    (&bench.writer).write_all(b"again\n").unwrap();
    assert_eq!(bench.pump(&mut sink, at(5)).moved, 6);
    let text = fs::read_to_string(bench.log()).unwrap();
    assert!(text.starts_with(&format!("[supervisor: {} bytes of output", total.dropped + 5)), "{text}");
    assert!(text.ends_with(": No space left on device]\nagain\n"), "{text}");
    assert_eq!(sink.trouble(), None);
}

#[cfg(target_os = "linux")]
struct Unmount(PathBuf);

#[cfg(target_os = "linux")]
impl Drop for Unmount {
    fn drop(&mut self) {
        sh(&format!("umount -l '{}'", self.0.display())).status().ok();
    }
}

#[test]
fn times_lead_back_to_what_was_written() {
    let mut bench = Bench::new();
    let mut sink = bench.sink(100, 9);
    let index = bench.folder.path().join("index");
    let now = clock::now();
    for n in 0..20_u64 {
        bench.write(&format!("line {n:02}\n"));
        // A minute for each line, the last one now.
        let ago = (19 - n) * 60;
        let mono = Mono(now.mono.0 + n * 60_000_000_000);
        let wall_ms = now.wall_ms - i64::try_from(ago).unwrap() * 1000;
        bench.pump(&mut sink, Moment { mono, boot_ns: 0, wall_ms });
    }
    let text = |minutes: i64| {
        String::from_utf8(read::since(&bench.log(), &index, now.wall_ms - minutes * 60_000).unwrap()).unwrap()
    };
    assert_eq!(text(0), "line 19\n");
    assert_eq!(text(3), "line 16\nline 17\nline 18\nline 19\n");
    assert!(bench.files().len() > 1 && text(18).starts_with("line 01\n"), "{}", text(18));
}
