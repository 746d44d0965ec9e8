use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[test]
fn a_line_is_read_back_as_the_record_it_was() {
    let dir = dir();
    let mut writer = writer(dir.path());
    assert_eq!(put(&mut writer, 42), AWAKE / 1000);
    let seq = writer.append(at(43), EventType::RunnerStarted, None, Map::new());
    let (records, skipped) = all(dir.path());
    let expected = Record {
        v: 1,
        boot_id: BOOT.into(),
        seq: AWAKE / 1000,
        wall_ms: 42,
        boot_ns: at(42).boot_ns,
        mono: Some(at(42).mono),
        event: EventType::ServiceStart,
        service: Some(UnitName::new("gateway").unwrap()),
        data: data(json!({"run_id": 42, "text": "ä\n\"ö"})),
    };
    assert_eq!(records[0], expected);
    assert_eq!((records[1].seq, &records[1].service, skipped), (seq, &None, 0));
    assert_eq!(fs::metadata(current(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_was_torn() {
    let dir = dir();
    let mut first = writer(dir.path());
    (0..3).for_each(|n| _ = put(&mut first, n));
    let bytes = fs::read(current(dir.path())).unwrap();
    for length in 0..=bytes.len() {
        fs::write(current(dir.path()), &bytes[..length]).unwrap();
        let whole = bytes[..length].iter().filter(|b| **b == b'\n').count() as i64;
        put(&mut writer(dir.path()), 9);
        let (records, skipped) = all(dir.path());
        let expected: Vec<i64> = (0..whole).chain([9]).collect();
        assert_eq!((numbers(&records), skipped, rises(&records)), (expected, 0, true), "cut at {length}");
    }
}

#[test]
fn seq_goes_on_after_what_is_on_disk_and_never_below_the_time_since_boot() {
    let dir = dir();
    let first = put(&mut writer(dir.path()), 1);
    assert_eq!(put(&mut writer(dir.path()), 2), first + 1);
    let mut rebooted = Writer::open(dir.path(), "gateway", "boot-b", 1000).unwrap();
    assert_eq!(put(&mut rebooted, 3), first + 2, "a younger boot goes on all the same");
    let mut later = Writer::open(dir.path(), "gateway", "boot-b", 2 * AWAKE).unwrap();
    assert_eq!(put(&mut later, 4), 2 * AWAKE / 1000);
    fs::remove_file(current(dir.path())).unwrap();
    let mut after_loss = Writer::open(dir.path(), "gateway", "boot-b", 3 * AWAKE).unwrap();
    assert_eq!(put(&mut after_loss, 5), 3 * AWAKE / 1000, "no seq is given twice in one boot");
}

#[test]
fn seq_goes_on_after_old_segments_when_the_current_one_is_gone() {
    let dir = dir();
    let mut first = small(dir.path());
    let last = (0..12).map(|n| put(&mut first, n)).last().unwrap();
    fs::remove_file(current(dir.path())).unwrap();
    let in_old = all(dir.path()).0.last().unwrap().seq;
    assert!(in_old < last);
    let next = put(&mut Writer::open(dir.path(), "gateway", "boot-b", 0).unwrap(), 99);
    assert_eq!(next, in_old + 1);
}

#[test]
fn full_segments_are_set_aside_in_order() {
    let dir = dir();
    let mut writer = small(dir.path());
    let first = put(&mut writer, 0);
    (1..12).for_each(|n| _ = put(&mut writer, n));
    let names = files(dir.path());
    assert_eq!(names[..2], ["gateway.journal".to_owned(), format!("gateway.journal.{first:020}")]);
    for name in &names {
        let meta = fs::metadata(dir.path().join(name)).unwrap();
        assert!(meta.len() <= 1000 && meta.permissions().mode() & 0o777 == 0o600, "{name}");
    }
    let (records, skipped) = all(dir.path());
    assert_eq!((numbers(&records), skipped), ((0..12).collect(), 0));
    writer.sync().unwrap();
    assert!(!writer.dirty());
}

#[test]
fn a_full_disk_costs_nothing_until_memory_is_full_and_then_one_gap_tells() {
    let dir = dir();
    let mut writer = small(dir.path());
    put(&mut writer, 0);
    writer.room = Some(10); // in the middle of the next line
    (1..9).for_each(|n| _ = put(&mut writer, n));
    assert_eq!((writer.pending(), writer.lost()), (5, 3));
    let trouble = writer.trouble().unwrap();
    assert!(trouble.contains("gateway.journal") && trouble.contains("No space left"), "{trouble}");
    assert_eq!(numbers(&all(dir.path()).0), [0]);
    assert!(fs::read(current(dir.path())).unwrap().ends_with(b"\n"), "half a line was left");
    assert!(!writer.retry());
    let waiting = fs::metadata(current(dir.path())).unwrap().len() as usize * 5;
    writer.room = Some(waiting + 20); // for what waits, but not for the gap's own line
    assert!(!writer.retry());
    assert_eq!((writer.pending(), writer.lost()), (0, 3));
    writer.room = None;
    put(&mut writer, 9);
    assert_eq!((writer.pending(), writer.lost(), writer.trouble()), (0, 3, None));
    let (records, skipped) = all(dir.path());
    assert_eq!((numbers(&records), skipped, rises(&records)), (vec![0, 1, 2, 3, 4, 5, 8, 9], 0, true));
    let gap = &records[6];
    assert_eq!(gap.event, EventType::JournalGap);
    assert_eq!((&gap.data["lines"], &gap.data["since_ms"]), (&json!(3), &json!(6)));
    assert!(gap.data["reason"].as_str().unwrap().contains("No space left"));
}

#[test]
fn a_disk_that_fills_up_at_any_byte_leaves_no_garbage() {
    for room in 0..400 {
        let dir = dir();
        let mut writer = writer(dir.path());
        put(&mut writer, 0);
        writer.room = Some(room);
        put(&mut writer, 1);
        put(&mut writer, 2);
        assert!(fs::read(current(dir.path())).unwrap().ends_with(b"\n"), "room {room}");
        writer.room = None;
        assert!(writer.retry());
        let (records, skipped) = all(dir.path());
        assert_eq!((numbers(&records), skipped), (vec![0, 1, 2], 0), "room {room}");
    }
}

#[test]
fn a_deleted_file_or_folder_is_made_again() {
    let outer = dir();
    let dir = outer.path().join("state").join("runners");
    let mut writer = writer(&dir);
    let mut reader = Reader::open(&dir, "gateway").unwrap();
    let mut seen = Vec::new();
    put(&mut writer, 0);
    seen.extend(reader.read_new(9).unwrap());
    fs::remove_file(current(&dir)).unwrap();
    put(&mut writer, 1);
    seen.extend(reader.read_new(9).unwrap());
    fs::remove_dir_all(outer.path().join("state")).unwrap();
    assert!(reader.read_new(9).unwrap().is_empty());
    put(&mut writer, 2);
    seen.extend(reader.read_new(9).unwrap());
    fs::rename(current(&dir), dir.join("elsewhere")).unwrap();
    put(&mut writer, 3);
    seen.extend(reader.read_new(9).unwrap());
    assert_eq!((numbers(&seen), rises(&seen), reader.skipped()), (vec![0, 1, 2, 3], true, 0));
    assert_eq!(writer.trouble(), None);
}

#[test]
fn a_replaced_file_is_gone_on_with_behind_its_last_whole_line() {
    let dir = dir();
    let mut writer = writer(dir.path());
    put(&mut writer, 0);
    let mut other = fs::read(current(dir.path())).unwrap();
    let next = put(&mut writer, 1);
    other.extend_from_slice(b"{\"v\":1,\"boo");
    fs::write(dir.path().join("other"), other).unwrap();
    fs::rename(dir.path().join("other"), current(dir.path())).unwrap();
    assert_eq!(put(&mut writer, 2), next + 1);
    let (records, skipped) = all(dir.path());
    assert_eq!((numbers(&records), skipped), (vec![0, 2], 0));
}

#[test]
fn a_path_that_cannot_be_a_journal_is_a_trouble_and_lines_wait() {
    let dir = dir();
    let target = dir.path().join("target");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, current(dir.path())).unwrap();
    let mut writer = writer(dir.path());
    assert!(writer.trouble().is_some());
    put(&mut writer, 0);
    assert_eq!((writer.pending(), writer.lost()), (1, 0));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    fs::remove_file(current(dir.path())).unwrap();
    assert!(writer.retry());
    assert_eq!((writer.trouble(), numbers(&all(dir.path()).0)), (None, vec![0]));
    for bad in ["", ".", "../x", "a/b", "a b"] {
        assert!(Writer::open(dir.path(), bad, BOOT, AWAKE).is_err(), "{bad:?}");
        assert!(Reader::open(dir.path(), bad).is_err(), "{bad:?}");
    }
}

#[test]
fn setting_a_segment_aside_overwrites_nothing() {
    let dir = dir();
    let mut writer = small(dir.path());
    let first = put(&mut writer, 0);
    let in_the_way = dir.path().join(format!("gateway.journal.{first:020}"));
    fs::create_dir(&in_the_way).unwrap();
    // Its number is taken, so the name is the next one: nothing is overwritten.
    (1..9).for_each(|n| _ = put(&mut writer, n));
    assert!(dir.path().join(format!("gateway.journal.{:020}", first + 1)).is_file());
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(numbers(&all(dir.path()).0), (0..9).collect::<Vec<_>>());
}

#[test]
fn beyond_the_total_the_oldest_segment_goes_and_is_told() {
    let dir = dir();
    let mut writer = small(dir.path());
    for n in 0..40 {
        put(&mut writer, n);
        let total: u64 = files(dir.path()).iter().map(|name| fs::metadata(dir.path().join(name)).unwrap().len()).sum();
        assert!(total <= 3000, "{total} bytes");
    }
    let (records, _) = all(dir.path());
    let kept = records.iter().filter(|r| r.event == EventType::ServiceStart).count() as u64;
    assert!(writer.lost() > 0 && rises(&records));
    // Gap lines can be dropped in turn; then they are counted, like any line.
    assert!(kept + writer.lost() >= 40, "{kept} kept, {} lost", writer.lost());
    let gap = records.iter().rev().find(|r| r.event == EventType::JournalGap).unwrap();
    assert!(gap.data["reason"].as_str().unwrap().contains("3000 bytes"), "{gap:?}");
    assert!(gap.data["since_ms"].as_i64().unwrap() < records[0].wall_ms);
}

#[test]
fn a_record_that_is_too_long_loses_its_evidence_only() {
    let dir = dir();
    let mut writer = writer(dir.path());
    let long = json!({"run_id": 7, "class": "crash", "exit_code": null, "stderr_tail": "x".repeat(2 << 20)});
    writer.append(at(1), EventType::ServiceCrash, None, data(long));
    let mut many = Map::new();
    (0..200_000).for_each(|n| _ = many.insert(format!("m{n}"), json!("y".repeat(20))));
    writer.append(at(2), EventType::ServiceCrash, None, many);
    let (records, skipped) = all(dir.path());
    assert_eq!((records.len(), skipped), (2, 0));
    assert_eq!((&records[0].data["run_id"], &records[0].data["class"]), (&json!(7), &json!("crash")));
    assert!(records[0].data["cut_from_bytes"].as_u64().unwrap() > 2 << 20);
    assert!(!records[0].data.contains_key("stderr_tail"));
}

#[test]
fn a_file_that_others_could_read_is_made_private() {
    let dir = dir();
    fs::write(current(dir.path()), "").unwrap();
    fs::set_permissions(current(dir.path()), fs::Permissions::from_mode(0o644)).unwrap();
    writer(dir.path());
    assert_eq!(fs::metadata(current(dir.path())).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_written_is_dirty_until_it_is_synced_also_across_rotation() {
    let dir = dir();
    let mut writer = small(dir.path());
    writer.sync().unwrap();
    assert!(!writer.dirty());
    (0..60).for_each(|n| _ = put(&mut writer, n));
    assert!(writer.dirty());
    writer.sync().unwrap();
    assert!(!writer.dirty());
}
