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
    assert_eq!(table.file(sub, b"x").unwrap(), Some((stat(u64::MAX), false)));
    assert_eq!(table.by_number(root.id, &stat(u64::MAX)).unwrap()[0].path, b"a/b");
    table.move_file((sub, b"x"), (top, b"y\xff"), &stat(u64::MAX)).unwrap();
    assert_eq!((table.file(sub, b"x").unwrap(), table.count_in(top).unwrap()), (None, 1));
    assert_eq!(table.replay(root.id, 9, 10).unwrap(), 1, "when it was handled goes along");
    assert_eq!(table.due(root.id, 10, 9).unwrap()[0].path, b"y\xff");
    assert!(table.gone(top, b"y\xff", 50).unwrap() && !table.gone(top, b"y\xff", 60).unwrap());
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
    let (_folder, table, root) = table();
    table.begin_new(root.id, b"x", WatchOn::Created, 1).unwrap();
    assert!(table.is_under_way(root.id, b"x").unwrap() && table.due(root.id, i64::MAX, 9).unwrap().is_empty());
    // Killed: its beginning counts.
    table.resume(&[]).unwrap();
    let mut work = table.due(root.id, 1, 9).unwrap().remove(0);
    assert_eq!((work.attempts, work.failures), (1, 0));
    table.begin_again(&mut work, 2).unwrap();
    table.ended(&work, &Outcome::NotBegun { due_ms: 5, why: "no program".into() }, 3).unwrap();
    assert_eq!(table.work_of(root.id, b"x").unwrap(), Some((0, 1, 0)), "who never ran has not tried");
    table.begin_again(&mut work, 6).unwrap();
    table.ended(&work, &Outcome::Again { due_ms: 9, why: "exit code 1".into() }, 7).unwrap();
    assert_eq!((table.next_due().unwrap(), table.counts("set").unwrap()), (Some(9), (0, 1, 0)));
    table.ended(&work, &Outcome::Dead { why: "exit code 1".into() }, 8).unwrap();
    assert!(!table.is_under_way(root.id, b"x").unwrap());
    let letter = table.dead(9).unwrap().remove(0);
    assert_eq!((letter.path.as_str(), letter.why.as_str(), letter.at_ms), ("/folder/x", "exit code 1", 8));
    let retry = |ids: &[i64]| table.retry(ids, &[root.id], 9).unwrap();
    assert_eq!((retry(&[letter.id + 1]), retry(&[])), (0, 1));
    assert_eq!(table.due(root.id, 9, 9).unwrap().len(), 1);
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
