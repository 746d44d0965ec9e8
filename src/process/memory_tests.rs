use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Stdio;

use super::*;
use crate::model::{Metric, Signal};
use crate::process::testing::{Guard, sh, wait_for};
use crate::process::{identity, signal};

/// A process table by hand.
#[derive(Default)]
struct Table {
    shown: BTreeMap<i32, Shown>,
    /// Who is gone by the time somebody asks for it.
    vanished: BTreeSet<i32>,
    asked: usize,
}

impl Table {
    fn of(lines: &[(i32, i32, u64, u64)]) -> Self {
        let shown = lines.iter().map(|&(pid, ppid, start, bytes)| (pid, Shown { ppid, start, bytes: Some(bytes) }));
        Self { shown: shown.collect(), ..Self::default() }
    }

    fn set(&mut self, pid: i32, change: impl FnOnce(&mut Shown)) {
        change(self.shown.get_mut(&pid).unwrap());
    }
}

impl Processes for Table {
    fn show(&mut self, pid: i32) -> Option<Shown> {
        self.asked += 1;
        self.shown.get(&pid).copied().filter(|_| !self.vanished.contains(&pid))
    }

    fn children(&mut self, pid: i32) -> Vec<i32> {
        self.shown.iter().filter(|(_, shown)| shown.ppid == pid).map(|(pid, _)| *pid).collect()
    }
}

fn pids(list: &[ProcessMemory]) -> Vec<i32> {
    list.iter().map(|one| one.pid).collect()
}

#[test]
fn who_was_once_seen_in_it_belongs_to_it() {
    let mut table = Table::of(&[(10, 1, 5, 100), (11, 10, 6, 20), (12, 11, 7, 3), (99, 1, 8, 4000)]);
    let mut tree = Tree::default();
    let (bytes, list, count) = tree.gather(10, 5, &mut table).unwrap();
    assert_eq!((bytes, pids(&list), count), (123, vec![10, 11, 12], 3));
    // Its parent ends: it is init's now, and has a child there.
    table.shown.remove(&11);
    table.set(12, |shown| shown.ppid = 1);
    table.shown.insert(13, Shown { ppid: 12, start: 9, bytes: Some(50) });
    let (bytes, list, count) = tree.gather(10, 5, &mut table).unwrap();
    assert_eq!((bytes, pids(&list), count), (153, vec![10, 13, 12], 3), "the main one first, then the largest");
    // Somebody else has its pid.
    table.set(12, |shown| shown.start = 30);
    table.set(13, |shown| shown.ppid = 1);
    assert_eq!(tree.gather(10, 5, &mut table).unwrap().0, 150);
    table.set(12, |shown| shown.start = 7);
    assert_eq!(tree.gather(10, 5, &mut table).unwrap().0, 150, "who was once dropped is forgotten");
    assert_eq!(Tree::default().gather(10, 5, &mut table).unwrap().0, 100);
}

#[test]
fn another_life_begins_without_who_outlived_the_former() {
    let mut table = Table::of(&[(10, 1, 5, 100), (11, 10, 6, 20)]);
    let mut tree = Tree::default();
    assert_eq!(tree.gather(10, 5, &mut table).unwrap().2, 2);
    table.set(11, |shown| shown.ppid = 1);
    table.set(10, |shown| shown.start = 50);
    assert_eq!(tree.gather(10, 5, &mut table), None, "the pid is another's");
    assert_eq!(tree.gather(10, 50, &mut table).unwrap().0, 100);
    table.shown.remove(&10);
    assert_eq!(tree.gather(10, 50, &mut table), None);
}

#[test]
fn who_shows_no_number_is_left_out_and_the_main_one_cannot_be() {
    let mut table = Table::of(&[(10, 1, 5, 100), (11, 10, 6, 20), (12, 11, 7, 3)]);
    table.set(11, |shown| shown.bytes = None);
    let mut tree = Tree::default();
    let (bytes, list, count) = tree.gather(10, 5, &mut table).unwrap();
    assert_eq!((bytes, pids(&list), count), (103, vec![10, 12], 2));
    table.set(11, |shown| (shown.bytes, shown.ppid) = (Some(20), 1));
    assert_eq!(tree.gather(10, 5, &mut table).unwrap().0, 123, "it is known all the same");
    table.vanished.insert(12);
    assert_eq!(tree.gather(10, 5, &mut table).unwrap().0, 120);
    table.set(10, |shown| shown.bytes = None);
    assert_eq!(tree.gather(10, 5, &mut table), None);
}

#[test]
fn a_circle_ends_and_sums_do_not_wrap() {
    let mut table = Table::of(&[(10, 12, 5, u64::MAX), (11, 10, 6, 20), (12, 11, 7, 3)]);
    assert_eq!(Tree::default().gather(10, 5, &mut table).unwrap(), {
        let one = |pid, start, bytes| ProcessMemory { pid, start, bytes };
        (u64::MAX, vec![one(10, 5, u64::MAX), one(11, 6, 20), one(12, 7, 3)], 3)
    });
}

#[test]
fn five_thousand_are_summed_and_64_listed_and_above_the_cap_nobody_known_is_left_out() {
    // A hundred with fifty each, and a chain.
    let wide = (0..5000).map(|i| (100 + i, if i < 100 { 10 } else { 100 + i % 100 }, 9, 1000));
    let mut lines: Vec<_> = std::iter::once((10, 1, 5, 1)).chain(wide).collect();
    let mut table = Table::of(&lines);
    let mut tree = Tree::default();
    let (bytes, list, count) = tree.gather(10, 5, &mut table).unwrap();
    assert_eq!((bytes, list.len(), count), (5_000_001, LISTED, 5001));
    assert_eq!((list[0].pid, table.asked), (10, 5001));
    // The later ones, with lower pids than most, are many more than there is room for.
    lines.extend((0..20_000).map(|i| (10_000 + i, 10, 20, 1)));
    let mut table = Table::of(&lines);
    let (bytes, _, count) = tree.gather(10, 5, &mut table).unwrap();
    assert_eq!(count as usize, MOST_MEMBERS);
    assert_eq!(bytes, 5_000_001 + (MOST_MEMBERS as u64 - 5001));
    assert!(table.asked <= MOST_MEMBERS + 1, "{}", table.asked);
    assert_eq!(tree.members.len(), MOST_MEMBERS - 1);
}

const STATUS: &str = "Name:\tnode\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t7\nPPid:\t1\nFDSize:\t64\nGroups:\t0 \n\
    VmPeak:\t 1234567 kB\nVmRSS:\t   90000 kB\nRssAnon:\t   70000 kB\nRssFile:\t   20000 kB\nRssShmem:\t       0 kB\n\
    VmData:\t  100000 kB\nVmSwap:\t     500 kB\nThreads:\t11\nnonvoluntary_ctxt_switches:\t3\n";

#[test]
fn recorded_texts_are_read() {
    assert_eq!(anon_and_swap(STATUS.as_bytes()), Some(70_500 * 1024));
    let kernel_thread = "Name:\tkthreadd\nState:\tS (sleeping)\nThreads:\t1\n";
    assert_eq!(anon_and_swap(kernel_thread.as_bytes()), Some(0));
    // A name is what the process likes it to be; the kernel writes its newlines as \n.
    let named = STATUS.replace("Name:\tnode", "Name:\tRssAnon: 5 kB\\nVmSwap: 7 kB");
    assert_eq!(anon_and_swap(named.as_bytes()), Some(70_500 * 1024));
    assert_eq!(anon_and_swap(STATUS.replace("70000 kB", "0 kB").as_bytes()), Some(500 * 1024));
}

#[test]
fn what_is_malformed_or_absurd_is_no_number() {
    for wrong in [
        "-1 kB",
        "+1 kB",
        "99999999999999999999 kB",
        "18446744073709551615 kB",
        "9999999999999 kB",
        "70000",
        "70000 MB",
        "kB",
        "",
        "7e3 kB",
        "70 000 kB",
    ] {
        for right in ["   70000 kB", "     500 kB"] {
            let text = STATUS.replace(right, wrong);
            assert_eq!(anon_and_swap(text.as_bytes()), None, "{text}");
        }
    }
    for line in ["RssAnon:\t   70000 kB\n", "VmSwap:\t     500 kB\n"] {
        assert_eq!(anon_and_swap(STATUS.replace(line, "").as_bytes()), None, "a number of another kind is not taken");
    }
    for cut in 0..STATUS.len() {
        let said = anon_and_swap(&STATUS.as_bytes()[..cut]);
        assert!(said.is_none_or(|bytes| bytes == 70_500 * 1024 || !STATUS[..cut].contains("Vm")), "{cut}: {said:?}");
    }
    assert_eq!((anon_and_swap(b""), anon_and_swap(&[0xff; 99])), (None, None));
}

fn token(pid: i32) -> u64 {
    identity::start_token(pid).unwrap()
}

fn me() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

#[test]
fn what_we_allocate_is_seen() {
    let before = Tree::default().look(me(), token(me())).unwrap();
    let block = vec![7_u8; 64 << 20];
    let mut tree = Tree::default();
    let after = tree.look(me(), token(me())).unwrap();
    assert!(std::hint::black_box(&block)[1 << 20] == 7);
    let own = |sample: &MemorySample| (sample.processes[0].pid, sample.processes[0].bytes);
    assert_eq!((own(&before).0, own(&after).0), (me(), me()));
    // Tests beside this one free and take theirs.
    assert!(own(&after).1 > own(&before).1 + (32 << 20), "{before:?} {after:?}");
    let metric = if cfg!(target_os = "linux") { Metric::AnonSwap } else { Metric::Footprint };
    assert!(after.metric == metric && after.at.mono >= before.at.mono);
}

#[test]
fn one_whose_parent_has_died_is_counted_until_it_ends() {
    // The one in the middle tells the pid of its child, and ends when it is told to.
    let script = "sh -c 'sleep 60 & echo $!; read _' & wait; exec sleep 60";
    let mut child = sh(&format!("exec 3<&0; {}", script.replace("read _", "read _ <&3")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Guard)
        .unwrap();
    let (root, start) = (child.pid(), token(child.pid()));
    let mut said = String::new();
    let mut stdout = child.0.stdout.take().unwrap();
    while !said.ends_with('\n') {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        said.push(char::from(byte[0]));
    }
    let orphan: i32 = said.trim().parse().unwrap();
    let mut tree = Tree::default();
    let first = wait_for("all three", || tree.look(root, start).filter(|sample| sample.count == 3));
    assert_eq!(first.processes[0].pid, root);
    assert_eq!(first.bytes, first.processes.iter().map(|one| one.bytes).sum::<u64>());
    let lost = first.processes.iter().find(|one| one.pid == orphan).unwrap();
    assert_eq!(lost.start, token(orphan));
    child.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    let second = wait_for("the end of its parent", || tree.look(root, start).filter(|sample| sample.count == 2));
    assert!(pids(&second.processes).contains(&orphan), "{second:?}");
    let stranger = Tree::default().look(root, start).unwrap();
    assert!(!pids(&stranger.processes).contains(&orphan), "who comes later cannot know");
    signal::process(orphan, lost.start, Signal::KILL);
    wait_for("its end", || tree.look(root, start).filter(|sample| pids(&sample.processes) == [root]));
    assert_eq!(tree.look(root, start + 1), None);
}

#[test]
fn a_wide_tree_is_counted_whole_and_one_that_ended_is_no_tree() {
    let script = "i=0; while [ $i -lt 150 ]; do sleep 60 & all=\"$all $!\" i=$((i+1)); done; read _; kill $all";
    let mut child = Guard(sh(script).stdin(Stdio::piped()).spawn().unwrap());
    let (root, start) = (child.pid(), token(child.pid()));
    let mut tree = Tree::default();
    let sample = wait_for("all of them", || tree.look(root, start).filter(|sample| sample.count == 151));
    assert_eq!(sample.processes.len(), LISTED);
    assert!(sample.processes[1..].is_sorted_by(|one, other| one.bytes >= other.bytes));
    assert!(sample.bytes > sample.processes.iter().map(|one| one.bytes).sum());
    drop(child.0.stdin.take());
    wait_for("its end", || tree.look(root, start).is_none().then_some(()));
    assert_eq!(tree.look(root, start), None, "its zombie is not it");
    child.0.wait().unwrap();
    for pid in [0, -1, i32::MAX] {
        assert_eq!(tree.look(pid, 0), None, "{pid}");
    }
}
