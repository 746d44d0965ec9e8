//! What became of the files, by the handler's records.

use std::collections::BTreeMap;
use std::fmt;

use super::watcher::Made;
use super::watcher::record::Record;

/// When a watcher was killed: after the one moment; before the other there was another watcher.
#[derive(Debug, Clone, Copy)]
pub struct Kill {
    pub from: u64,
    pub to: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Files that were made.
    pub files: usize,
    /// Never handled.
    pub missed: usize,
    /// Handlers for files that nobody has made.
    pub unknown: usize,
    /// Handled again though the watcher was not killed in between.
    pub without_kill: usize,
    /// Handled again by a handler that was not told of the earlier attempt.
    pub not_told: usize,
    /// Handled again because of each of the kills.
    pub for_a_kill: Vec<usize>,
}

pub fn judge(made: &[Made], records: &[Record], kills: &[Kill]) -> Judged {
    let mut judged = Judged { files: made.len(), for_a_kill: vec![0; kills.len()], ..Judged::default() };
    let mut of_files: BTreeMap<u64, Vec<Record>> = made.iter().map(|made| (made.path, Vec::new())).collect();
    for record in records {
        match of_files.get_mut(&record.path) {
            Some(of_file) => of_file.push(*record),
            None => judged.unknown += 1,
        }
    }
    for of_file in of_files.values_mut() {
        of_file.sort_by_key(|record| record.began);
        judged.missed += usize::from(of_file.is_empty());
        for pair in of_file.windows(2) {
            judged.not_told += usize::from(pair[1].attempt <= pair[0].attempt);
            // The first one that can have cut it off. A handler may have begun while its watcher died.
            match kills.iter().position(|kill| pair[0].began < kill.to && kill.from < pair[1].began) {
                Some(which) => judged.for_a_kill[which] += 1,
                None => judged.without_kill += 1,
            }
        }
    }
    judged
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, missed, unknown, without_kill, not_told, for_a_kill } = self;
        write!(f, "of {files} files {missed} missed; handled again after each kill: {for_a_kill:?}; ")?;
        write!(f, "without one: {without_kill}, without being told: {not_told}; unknown: {unknown}")
    }
}

#[test]
fn what_was_missed_or_doubled_is_seen() {
    let made = [1, 2, 3].map(|path| Made { path, closed: 0 });
    let record = |path, began, attempt| Record { began, path, attempt, pid: 1 };
    let kills = [Kill { from: 20, to: 21 }, Kill { from: 40, to: 41 }];
    let judged = |records: &[Record]| judge(&made, records, &kills);
    let well = Judged { files: 3, for_a_kill: vec![0, 0], ..Judged::default() };
    assert_eq!(judged(&[record(1, 10, 1), record(3, 11, 1), record(2, 30, 2)]), well);
    assert_eq!(judged(&[record(1, 10, 1), record(3, 11, 1)]), Judged { missed: 1, ..well });
    let all = [record(1, 10, 1), record(2, 11, 1), record(3, 12, 1)];
    let and = |more: &[Record]| judged(&[&all[..], more].concat());
    let well = || Judged { files: 3, for_a_kill: vec![0, 0], ..Judged::default() };
    assert_eq!(and(&[record(9, 30, 1)]), Judged { unknown: 1, ..well() });
    assert_eq!(and(&[record(1, 15, 2)]), Judged { without_kill: 1, ..well() });
    assert_eq!(and(&[record(1, 30, 1)]), Judged { not_told: 1, for_a_kill: vec![1, 0], ..well() });
    assert_eq!(
        and(&[record(1, 30, 2), record(1, 50, 3), record(2, 60, 2)]),
        Judged { for_a_kill: vec![2, 1], ..well() }
    );
}
