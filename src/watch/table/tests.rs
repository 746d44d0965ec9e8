use super::*;
use crate::model::WatchOn;
use crate::watch::judge::Stat;

fn table() -> (tempfile::TempDir, Table, Root) {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::open(&folder.path().join("watched.sqlite")).unwrap();
    let root = table.root("set", b"/folder", "shape", 77).unwrap();
    (folder, table, root)
}

fn stat(ino: u64) -> Stat {
    Stat { dev: 1, ino, born: 2, size: 3, modified: 4, changed: 0, links: 0 }
}

#[test]
fn a_root_is_taken_once_and_again_when_its_shape_is_another() {
    let (_folder, table, root) = table();
    assert_eq!(root.since, Some(77));
    assert_eq!(table.root("set", b"/folder", "shape", 99).unwrap(), root, "it was not seen to its end");
    table.taken(root.id).unwrap();
    assert_eq!(table.root("set", b"/folder", "shape", 99).unwrap().since, None);
    table.is_alive(5).unwrap();
    assert_eq!(table.root("set", b"/folder", "another", 99).unwrap().since, Some(5_000_000));
    assert_ne!(table.root("other", b"/folder", "shape", 99).unwrap().id, root.id);
    table.keep_roots(&[root.id]).unwrap();
    assert_eq!(table.root("other", b"/folder", "shape", 123).unwrap().since, Some(123));
}

#[test]
fn files_are_known_moved_gone_and_forgotten() {
    let (_folder, table, root) = table();
    let top = table.folder_id(root.id, b"").unwrap();
    let sub = table.folder_id(root.id, b"a/b").unwrap();
    assert_eq!(table.folder(root.id, b"a").unwrap().unwrap().path, b"a", "what is above it is known too");
    table.know(sub, b"x", &stat(u64::MAX), Some(9)).unwrap();
    let known = |path: &[u8]| table.known(root.id, path).unwrap();
    let file = Some((stat(u64::MAX), false));
    assert_eq!(known(b"a/b/x"), Known { folder: Some(sub), file, is_under_way: false });
    assert_eq!(known(b"c/x"), Known::default());
    assert_eq!(table.by_number(root.id, &stat(u64::MAX)).unwrap()[0].path, b"a/b");
    table.move_file((sub, b"x"), (top, b"y\xff"), &stat(u64::MAX)).unwrap();
    assert_eq!((known(b"a/b/x").file, table.count_in(top).unwrap()), (None, 1));
    assert_eq!(table.replay(root.id, 9, 10).unwrap(), 1, "when it was handled goes along");
    assert_eq!(table.due(root.id, 10, 9).unwrap()[0].path, b"y\xff");
    assert!(known(b"y\xff").is_under_way);
    assert!(table.gone(top, b"y\xff", 50).unwrap() && !table.gone(top, b"y\xff", 60).unwrap());
    assert!(known(b"y\xff").file.unwrap().1, "it is gone");
    assert_eq!((table.count_in(top).unwrap(), table.gone_files(9).unwrap().len()), (0, 1));
    table.back(top, b"y\xff").unwrap();
    assert_eq!(table.names_in(top, None, 9).unwrap(), [(b"y\xff".to_vec(), 1)]);
}

#[test]
fn a_folder_that_is_gone_takes_what_is_below_it_along_and_nothing_beside_it() {
    let (_folder, table, root) = table();
    for path in ["a", "a/b", "a.txt", "ab"] {
        let folder = table.folder_id(root.id, path.as_bytes()).unwrap();
        table.listed(folder, 1, 5, 6).unwrap();
        table.know(folder, b"file", &stat(1), None).unwrap();
    }
    table.folder_gone(root.id, b"a", 10).unwrap();
    let mut gone: Vec<_> = table.gone_files(9).unwrap().into_iter().map(|gone| gone.path).collect();
    gone.sort();
    assert_eq!(gone, [b"a".to_vec(), b"a/b".to_vec()]);
    for gone in table.gone_files(9).unwrap() {
        table.forget(gone.folder, &gone.name).unwrap();
    }
    table.forget_empty_folders().unwrap();
    let mut left: Vec<_> = table.folders(root.id, 0, 9).unwrap().into_iter().map(|folder| folder.path).collect();
    left.sort();
    assert_eq!(left, [b"".to_vec(), b"a.txt".to_vec(), b"ab".to_vec()]);
}

#[test]
fn work_is_counted_resumed_and_given_up() {
    let (folder, table, root) = table();
    let reader = Reader::open(&folder.path().join("watched.sqlite")).unwrap().unwrap();
    table.put(root.id, b"x", WatchOn::Renamed, Some(b"y"), 1).unwrap();
    let next = |now_ms| table.due(root.id, now_ms, 9).unwrap().remove(0);
    let mut work = next(1);
    table.begin_again(&mut work, 1).unwrap();
    let is_under_way = || table.known(root.id, b"x").unwrap().is_under_way;
    assert!(is_under_way() && table.due(root.id, i64::MAX, 9).unwrap().is_empty());
    // Killed: its beginning counts.
    table.resume(&[]).unwrap();
    let mut work = next(1);
    assert_eq!((work.attempts, work.failures), (1, 0));
    table.begin_again(&mut work, 2).unwrap();
    let row = table.ended(&work, &Outcome::NotBegun { due_ms: 5, why: "no program".into() }, 3).unwrap();
    assert_eq!(
        (row, table.work_of(root.id, b"x").unwrap()),
        (work.row, Some((0, 1, 0))),
        "who never ran has not tried"
    );
    let mut work = next(5);
    table.begin_again(&mut work, 6).unwrap();
    table.ended(&work, &Outcome::Again { due_ms: 9, why: "exit code 1".into() }, 7).unwrap();
    assert_eq!((table.next_due().unwrap(), reader.counts("set").unwrap()), (Some(9), (0, 1, 0)));
    let again = next(9);
    assert_eq!((again.failures, again.origin.as_deref()), (1, Some(b"y".as_slice())));
    table.ended(&again, &Outcome::Dead { why: "exit code 1".into() }, 8).unwrap();
    assert!(!is_under_way());
    let letter = reader.dead(9).unwrap().remove(0);
    assert_eq!((letter.path.as_str(), letter.why.as_str(), letter.at_ms), ("/folder/x", "exit code 1", 8));
    let retry = |ids: &[i64]| table.retry(ids, &[root.id], 9).unwrap();
    assert_eq!((retry(&[letter.id + 1]), retry(&[])), (0, 1));
    assert_eq!(table.due(root.id, 9, 9).unwrap().len(), 1);
}

#[test]
fn what_has_no_row_has_one_when_it_is_not_done() {
    let (_folder, table, root) = table();
    let work = |attempts| Work {
        row: None,
        root: root.id,
        path: b"x".to_vec(),
        event: WatchOn::Created,
        origin: None,
        attempts,
        failures: 0,
    };
    assert_eq!(table.ended(&work(1), &Outcome::Done, 1).unwrap(), None);
    assert_eq!(table.work_of(root.id, b"x").unwrap(), None);
    let row = table.ended(&work(1), &Outcome::Again { due_ms: 5, why: "exit code 1".into() }, 1).unwrap();
    let due = table.due(root.id, 5, 9).unwrap().remove(0);
    assert_eq!((due.row, due.attempts, due.failures), (row, 1, 1));
    // What happens meanwhile stays.
    table.ended(&work(1), &Outcome::Done, 6).unwrap();
    assert_eq!(table.work_of(root.id, b"x").unwrap(), Some((0, 1, 1)));
    // A letter goes when the file, changed since, has been handled.
    table.ended(&work(2), &Outcome::Dead { why: "exit code 1".into() }, 7).unwrap();
    table.ended(&work(1), &Outcome::Done, 8).unwrap();
    assert_eq!(table.work_of(root.id, b"x").unwrap(), None);
}

#[test]
fn what_ran_when_the_watcher_was_killed_is_due_again_unless_its_end_is_down() {
    let (folder, mut table, root) = table();
    let top = table.folder_id(root.id, b"").unwrap();
    let mut begins = |path: &[u8], root: i64| {
        let beginning =
            Beginning { root, path: path.to_vec(), event: WatchOn::Created, attempts: 1, stat: stat(path[0].into()) };
        table.begins(&beginning).unwrap()
    };
    let [over, _killed, _known, _failed, _letter] = [b"a", b"b", b"c", b"d", b"e"].map(|path| begins(path, root.id));
    begins(b"f", root.id + 1);
    table.is_over(over).unwrap();
    table.know(top, b"c", &stat(b'c'.into()), Some(1)).unwrap();
    // Another file than that which was handled.
    table.know(top, b"b", &stat(b'c'.into()), Some(1)).unwrap();
    for (path, outcome) in [
        (b"d", Outcome::Again { due_ms: 70, why: "exit code 1".into() }),
        (b"e", Outcome::Dead { why: "exit code 1".into() }),
    ] {
        let (path, event) = (path.to_vec(), WatchOn::Created);
        let work = Work { row: None, root: root.id, path, event, origin: None, attempts: 5, failures: 1 };
        table.ended(&work, &outcome, 2).unwrap();
    }
    drop(table);
    let open = || Table::open(&folder.path().join("watched.sqlite")).unwrap();
    let begun = folder.path().join("watched.begun");
    let before = std::fs::read(&begun).unwrap();
    // The second one finds what it would if the first one had been killed in between.
    for _ in 0..2 {
        std::fs::write(&begun, &before).unwrap();
        let mut table = open();
        assert_eq!(table.left.len(), 5);
        table.take_over().unwrap();
        let work = |path: &[u8]| table.work_of(root.id, path).unwrap();
        assert_eq!([work(b"a"), work(b"b"), work(b"c")], [None, Some((0, 1, 0)), None]);
        assert_eq!(
            [work(b"d"), work(b"e")],
            [Some((0, 5, 2)), Some((0, 1, 0))],
            "what failed, and what was given up before"
        );
        assert_eq!(table.due(root.id + 1, i64::MAX, 9).unwrap(), [], "nobody watches that any more");
    }
    assert_eq!(open().left, []);
}

#[test]
fn what_is_committed_is_seen_by_others_and_the_log_is_used_again() {
    let (folder, table, root) = table();
    let path = folder.path().join("watched.sqlite");
    let top = table.folder_id(root.id, b"").unwrap();
    table.commit().unwrap();
    let known = || Reader::open(&path).unwrap().unwrap().counts("set").unwrap().0;
    table.begin().unwrap();
    table.know(top, b"x", &stat(1), None).unwrap();
    assert_eq!(known(), 0);
    table.commit().unwrap();
    assert_eq!(known(), 1);
    // Nobody has written in this one.
    table.commit().unwrap();
    table.begin().unwrap();
    table.know(top, b"y", &stat(2), None).unwrap();
    table.roll_back();
    table.commit().unwrap();
    assert_eq!(known(), 1);
    let mut longest = 0;
    for ino in 0..10_000 {
        table.begin().unwrap();
        table.know(top, format!("{ino}").as_bytes(), &stat(ino), None).unwrap();
        table.commit().unwrap();
        if ino % 1000 == 0 {
            longest = longest.max(std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len());
        }
    }
    // Some 30 MB have gone through it.
    assert!(longest < 20 << 20, "{longest}");
    assert_eq!(known(), 10_001);
}

#[test]
fn a_table_of_a_newer_version_and_one_that_is_none_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer");
    Table::open(&path).unwrap().conn.pragma_update(None, "user_version", 2).unwrap();
    let refused = Table::open(&path).map(|_| ()).unwrap_err();
    assert!(refused.kind == ErrorKind::Refused && refused.message.contains("newer"), "{refused:?}");
    let path = folder.path().join("none");
    std::fs::write(&path, "this is no database, but a text that is long enough to be taken for one".repeat(20))
        .unwrap();
    let refused = Table::open(&path).map(|_| ()).unwrap_err();
    assert!(refused.kind == ErrorKind::Refused && refused.hint.is_some(), "{refused:?}");
}
