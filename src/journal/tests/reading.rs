use proptest::prelude::*;

use super::*;

#[test]
fn garbage_is_passed_over_and_counted_and_an_unfinished_line_is_left() {
    let dir = dir();
    let mut first = writer(dir.path());
    put(&mut first, 0);
    put(&mut first, 1);
    let good = fs::read_to_string(current(dir.path())).unwrap();
    let (one, two) = good.split_once('\n').unwrap();
    let newer = two.trim_end().replacen("\"v\":1", "\"v\":2", 1);
    let endless = "z".repeat(3 << 20);
    let text = format!("\u{0}\u{0}\n{one}\nnot json\n{{}}\n{newer}\n{endless}\n{two}");
    fs::write(current(dir.path()), text.trim_end()).unwrap();
    let mut reader = Reader::open(dir.path(), "gateway").unwrap();
    assert_eq!(numbers(&reader.read_new(9).unwrap()), [0]);
    assert_eq!(reader.skipped(), 5);
    assert!(reader.read_new(9).unwrap().is_empty(), "an unfinished line is no line");
    fs::write(current(dir.path()), text).unwrap();
    assert_eq!(numbers(&reader.read_new(9).unwrap()), [1]);
    assert_eq!(reader.skipped(), 5);
}

#[test]
fn a_file_cut_short_is_read_from_its_beginning() {
    let dir = dir();
    let mut writer = writer(dir.path());
    (0..3).for_each(|n| _ = put(&mut writer, n));
    let mut reader = Reader::open(dir.path(), "gateway").unwrap();
    assert_eq!(reader.read_new(9).unwrap().len(), 3);
    fs::OpenOptions::new().write(true).open(current(dir.path())).unwrap().set_len(0).unwrap();
    put(&mut writer, 3);
    assert_eq!(numbers(&reader.read_new(9).unwrap()), [3]);
}

#[test]
fn only_what_was_read_and_acknowledged_is_removed() {
    let dir = dir();
    let mut writer = small(dir.path());
    let seqs: Vec<u64> = (0..12).map(|n| put(&mut writer, n)).collect();
    let before = files(dir.path()).len();
    let mut reader = Reader::open(dir.path(), "gateway").unwrap();
    assert_eq!(reader.drop_acked(BOOT, u64::MAX).unwrap(), 0, "nothing was read");
    let records = reader.read_new(usize::MAX).unwrap();
    assert_eq!(reader.drop_acked("boot-of-others", u64::MAX).unwrap(), 0);
    assert_eq!(reader.drop_acked(BOOT, seqs[0]).unwrap(), 0, "its segment has more lines");
    let in_oldest = records.iter().position(|r| dir.path().join(format!("gateway.journal.{:020}", r.seq)).exists());
    assert_eq!(in_oldest, Some(0));
    assert_eq!(reader.drop_acked(BOOT, *seqs.last().unwrap()).unwrap(), before - 1);
    assert_eq!(files(dir.path()), ["gateway.journal"]);
    put(&mut writer, 12);
    assert_eq!(numbers(&reader.read_new(9).unwrap()), [12]);
}

/// The current segment may lose all it has with the power; without any line the seqs would begin anew.
#[test]
fn the_newest_old_segment_stays_until_a_line_after_it_was_read() {
    let dir = dir();
    let mut writer = Writer::open(dir.path(), "gateway", BOOT, AWAKE).unwrap();
    let first = put(&mut writer, 1);
    fs::rename(current(dir.path()), dir.path().join(format!("gateway.journal.{first:020}"))).unwrap();
    let mut reader = Reader::open(dir.path(), "gateway").unwrap();
    assert_eq!(reader.read_new(9).unwrap().len(), 1);
    reader.sync().unwrap();
    assert_eq!(reader.drop_acked(BOOT, first).unwrap(), 0);
    let second = put(&mut writer, 2);
    assert_eq!(reader.read_new(9).unwrap().len(), 1);
    reader.sync().unwrap();
    assert_eq!(reader.drop_acked(BOOT, second).unwrap(), 1);
    assert!(second > first);
}

/// A loss of power may bring an adoption record back that is older than what was removed.
#[test]
fn what_was_written_lately_stays() {
    let dir = dir();
    let limits = Limits { segment: 1, ..Limits::default() };
    let mut old = Writer::open_with(dir.path(), "gateway", "boot-a", AWAKE, limits).unwrap();
    let line = |writer: &mut Writer, seconds: u64| {
        let at = Moment { boot_ns: AWAKE + seconds * 1_000_000_000, ..at(0) };
        writer.append(at, EventType::ServiceStart, None, Map::new())
    };
    let mut reader = Reader::open(dir.path(), "gateway").unwrap();
    let removed = |reader: &mut Reader, boot: &str, seq: u64| {
        reader.read_new(usize::MAX).unwrap();
        reader.drop_acked(boot, seq).unwrap()
    };
    for (seconds, expected) in [(0, 0), (1, 0), (59, 0), (60, 1), (61, 1), (70, 0)] {
        let seq = line(&mut old, seconds);
        assert_eq!(removed(&mut reader, "boot-a", seq), expected, "after {seconds} s");
    }
    let mut new = Writer::open_with(dir.path(), "gateway", "boot-b", 1, limits).unwrap();
    let seq = line(&mut new, 3000);
    assert_eq!(removed(&mut reader, "boot-b", seq), 0, "whoever took over has only just put it on record");
    let seq = line(&mut new, 3059);
    assert_eq!(removed(&mut reader, "boot-b", seq), 0);
    let seq = line(&mut new, 3060);
    assert_eq!(removed(&mut reader, "boot-b", seq), 5);
    let last = (0..40).map(|_| line(&mut new, 3061)).last().unwrap();
    assert_eq!(removed(&mut reader, "boot-b", last), 41 - 16, "a journal that grows fast has no room for it");
}

#[test]
fn segments_of_an_older_boot_go_once_a_newer_one_is_acknowledged() {
    let dir = dir();
    let limits = Limits { segment: 500, ..Limits::default() };
    let mut old = Writer::open_with(dir.path(), "gateway", "boot-a", AWAKE, limits).unwrap();
    (0..6).for_each(|n| _ = put(&mut old, n));
    let mut new = Writer::open_with(dir.path(), "gateway", "boot-b", 1, limits).unwrap();
    let seqs: Vec<u64> = (6..12).map(|n| put(&mut new, n)).collect();
    let mut reader = Reader::open(dir.path(), "gateway").unwrap();
    reader.read_new(usize::MAX).unwrap();
    let all_segments = files(dir.path()).len() - 1;
    let removed = reader.drop_acked("boot-b", seqs[0]).unwrap();
    assert!(removed >= 2 && removed < all_segments, "{removed} of {all_segments}");
    assert_eq!(reader.drop_acked("boot-b", *seqs.last().unwrap()).unwrap(), all_segments - removed);
}

#[test]
fn journals_are_found_by_their_files() {
    let dir = dir();
    assert!(ids(&dir.path().join("none")).unwrap().is_empty());
    for name in [
        "b.journal",
        "_daemon.journal",
        "a.journal.00000000000000000007",
        "a.journal.00000000000000000009",
        "a.b.journal.journal",
        "x.journal.7",
        "y.sock",
        ".journal",
        "z.00000000000000000007",
    ] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    assert_eq!(ids(dir.path()).unwrap(), ["_daemon", "a", "a.b.journal", "b"]);
}

#[test]
fn a_reader_beside_a_busy_writer_misses_nothing() {
    let dir = dir();
    let limits = Limits { segment: 300, ..Limits::default() };
    let mut reader = Reader::open(dir.path(), "gateway").unwrap();
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writer = Writer::open_with(dir.path(), "gateway", BOOT, AWAKE, limits).unwrap();
            (0..3000).for_each(|n| _ = put(&mut writer, n));
            writer.trouble()
        });
        // Whatever is read after the writer has ended is the rest.
        while !writer.is_finished() {
            seen.extend(reader.read_new(3).unwrap());
            let last = seen.last().map_or(0, |record: &Record| record.seq);
            reader.drop_acked(BOOT, last).unwrap();
        }
        assert_eq!(writer.join().unwrap(), None);
    });
    seen.extend(reader.read_new(usize::MAX).unwrap());
    assert_eq!((numbers(&seen), reader.skipped()), ((0..3000).collect(), 0));
}

#[derive(Debug, Clone)]
enum Op {
    Append(usize),
    Read(usize),
    /// The runner dies and another one goes on.
    NewWriter,
    /// A power loss or kill in the middle of a write: half a line at the end.
    Torn(usize),
    Full(usize),
    Free,
    Ack,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..400).prop_map(Op::Append),
        4 => (1usize..9).prop_map(Op::Read),
        1 => Just(Op::NewWriter),
        1 => (1usize..60).prop_map(Op::Torn),
        1 => (0usize..300).prop_map(Op::Full),
        2 => Just(Op::Free),
        2 => Just(Op::Ack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_gets_every_line_once_and_in_order(ops in prop::collection::vec(op(), 1..120)) {
        let dir = dir();
        let limits = Limits { segment: 700, ..Limits::default() };
        let open = || Writer::open_with(dir.path(), "gateway", BOOT, AWAKE, limits).unwrap();
        let mut writer = open();
        let mut reader = Reader::open(dir.path(), "gateway").unwrap();
        let (mut written, mut read) = (Vec::new(), Vec::new());
        for op in ops {
            match op {
                Op::Append(size) => {
                    let text = "t".repeat(size);
                    let number = written.len() as i64;
                    written.push(writer.append(at(number), EventType::ServiceStart, None, data(json!({"t": text}))));
                }
                Op::Read(max) => read.extend(reader.read_new(max).unwrap()),
                Op::NewWriter => {
                    writer.room = None;
                    prop_assert!(writer.retry());
                    writer = open();
                }
                Op::Torn(length) => {
                    writer.room = None;
                    prop_assert!(writer.retry());
                    let mut bytes = fs::read(current(dir.path())).unwrap();
                    let half = &br#"{"v":1,"boot_id":"boot-a","seq":99999999999,"wall_ms":1,"boot_ns":2,"#[..length];
                    bytes.extend_from_slice(half);
                    // Written in place: the reader must keep its place in the same file.
                    fs::write(current(dir.path()), bytes).unwrap();
                    writer = open();
                }
                Op::Full(room) => writer.room = Some(room),
                Op::Free => writer.room = None,
                Op::Ack => if let Some(last) = read.last().map(|record: &Record| record.seq) {
                    reader.drop_acked(BOOT, last).unwrap();
                },
            }
        }
        writer.room = None;
        prop_assert!(writer.retry());
        while let records = reader.read_new(7).unwrap() && !records.is_empty() {
            read.extend(records);
        }
        let seqs: Vec<u64> = read.iter().map(|record| record.seq).collect();
        prop_assert_eq!(seqs, written);
        prop_assert_eq!(numbers(&read), (0..read.len() as i64).collect::<Vec<_>>());
        prop_assert_eq!((reader.skipped(), writer.lost()), (0, 0));
    }
}

#[test]
fn a_type_of_a_newer_version_keeps_its_name() {
    let folder = dir();
    let mut writer = writer(folder.path());
    put(&mut writer, 1);
    let text = fs::read_to_string(current(folder.path())).unwrap();
    let newer = text.replace("service_start", "service_hatched").replace("\"seq\":", "\"seq\":1");
    fs::write(current(folder.path()), text + &newer).unwrap();
    let (records, skipped) = all(folder.path());
    assert_eq!((records.len(), skipped), (2, 0));
    assert_eq!((records[0].event_name(), records[1].event_name()), ("service_start", "service_hatched"));
    assert_eq!(records[1].event, EventType::Unknown);
    assert_eq!(records[1].data["run_id"], 1);
}
