use std::io::Read;
use std::os::unix::process::CommandExt;
use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::model::{Moment, Signal, SlotState, Timing, Trigger};
use crate::process::testing::{Guard, sh, wait_for};

const DUE: SlotKey = SlotKey::Due(1_795_334_100_000);

fn slots(folder: &Path) -> TaskSlots {
    TaskSlots::of(&Paths::new(folder), &UnitName::new("job").unwrap())
}

/// Of this process.
fn claim(slot: SlotKey) -> Claim {
    let pid = i32::try_from(std::process::id()).unwrap();
    Claim {
        slot,
        trigger: Trigger::Manager,
        timing: Timing::InTime,
        pid,
        start_token: identity::start_token(pid).unwrap(),
        boot_id: clock::boot_id(),
        at: Moment::default(),
        resumes: None,
    }
}

/// Of one that is dead.
fn dead(slot: SlotKey) -> Claim {
    Claim { start_token: 1, ..claim(slot) }
}

fn end() -> SlotEnd {
    SlotEnd { state: SlotState::Ran, why: String::new(), ended_ms: 5, awake_ms: 3, frozen_ms: 0 }
}

fn accounted(through_ms: i64) -> Accounted {
    Accounted { v: 1, through_ms, open_ms: None, calendar: Vec::new(), timezone: None }
}

fn ours(taken: Taken) -> Holding {
    match taken {
        Taken::Ours(holding) => holding,
        Taken::Before => panic!("somebody was first"),
    }
}

#[test]
fn of_many_who_take_a_slot_one_has_it_and_its_claim_is_whole_at_once() {
    const MANY: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    for round in 0..20 {
        let slot = SlotKey::Due(DUE.at_ms() + round * 60_000);
        let barrier = Barrier::new(MANY + 1);
        let won: usize = std::thread::scope(|scope| {
            let take = |_| {
                scope.spawn(|| {
                    barrier.wait();
                    let taken = slots.take(&claim(slot)).unwrap();
                    // Whoever was not first finds the first one's claim.
                    assert!(slots.read_one(slot).is_some_and(|found| found.running && found.claim.slot == slot));
                    usize::from(matches!(taken, Taken::Ours(_)))
                })
            };
            let takers: Vec<_> = (0..MANY).map(take).collect();
            barrier.wait();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
    let found = slots.read(DUE.at_ms() + 60_000).unwrap();
    assert_eq!(found.len(), 19, "from a time on");
    assert!(found.windows(2).all(|pair| pair[0].claim.slot < pair[1].claim.slot));
    let names = fs::read_dir(folder.path().join("supervisor/slots/job")).unwrap();
    assert_eq!(names.count(), 20, "no scratch is left");
}

#[test]
fn a_claim_is_on_disk_with_all_the_folders_that_it_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let names = [at("supervisor/slots"), at("supervisor"), folder.path().into()];
    // Whoever comes first makes them.
    let firsts: [fn(&TaskSlots); 3] = [
        |slots| drop(slots.take(&dead(DUE)).unwrap()),
        |slots| drop(slots.alone().unwrap()),
        |slots| slots.account(&accounted(9)).unwrap(),
    ];
    for first in firsts {
        fs::remove_dir_all(at("supervisor")).ok();
        files::SYNCED.take();
        first(&slots(folder.path()));
        let synced = files::SYNCED.take();
        assert!(synced.starts_with(&names), "{synced:?}");
        ours(slots(folder.path()).take(&dead(SlotKey::Extra(1))).unwrap());
        assert_eq!(files::SYNCED.take(), [at("supervisor/slots/job")]);
    }
}

#[test]
fn what_a_run_writes_is_read_back_also_after_half_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    assert_eq!(slots.read(0).unwrap(), []);
    assert_eq!(slots.read_one(DUE), None);
    let mut holding = ours(slots.take(&dead(DUE)).unwrap());
    holding.note(&SlotLine::Began(7)).unwrap();
    holding.note(&SlotLine::Spawned { pid: 1, token: 2 }).unwrap();
    drop(holding);
    let path = folder.path().join("supervisor/slots/job").join(DUE.to_string());
    let whole = fs::read(&path).unwrap();
    // Killed in the middle of a line: what is before it counts.
    let mut torn = whole.clone();
    torn.extend_from_slice(b"{\"step\":{\"step\":1,\"wh");
    fs::write(&path, &torn).unwrap();
    let found = slots.read_one(DUE).unwrap();
    assert_eq!((found.began_ms, found.running, found.end.is_none()), (Some(7), false, true));
    slots.end_for_the_dead(DUE, &end()).unwrap();
    assert_eq!(slots.read_one(DUE).unwrap().end, Some(end()));
    // A second end changes nothing.
    slots.end_for_the_dead(DUE, &SlotEnd { state: SlotState::Failed, ..end() }).unwrap();
    assert_eq!(slots.read_one(DUE).unwrap().end, Some(end()));
    // One that has its end does not run, whoever has its pid.
    let next = SlotKey::Extra(DUE.at_ms() + 1);
    let mut holding = ours(slots.take(&claim(next)).unwrap());
    assert!(slots.read_one(next).unwrap().running);
    holding.note(&SlotLine::End(end())).unwrap();
    assert!(!slots.read_one(next).unwrap().running);
    // Another slot's claim is none of this one.
    let other = SlotKey::Due(DUE.at_ms() + 60_000);
    fs::write(folder.path().join("supervisor/slots/job").join(other.to_string()), &whole).unwrap();
    assert!(slots.read_one(other).unwrap().unreadable.is_some());
}

#[test]
fn a_file_that_cannot_be_read_is_a_run_that_was_cut_off_until_it_has_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    ours(slots.take(&dead(DUE)).unwrap());
    let path = folder.path().join("supervisor/slots/job").join(DUE.to_string());
    let whole = fs::read(&path).unwrap();
    let no_claim = "its first line is no claim";
    for (garbage, why) in [
        (&b""[..], "it is empty"),
        (&b"\n"[..], no_claim),
        (&b"{}"[..], no_claim),
        (&b"\xff\xff"[..], no_claim),
        (&[0; 5000][..], no_claim),
        (&whole[..20], no_claim),
    ] {
        fs::write(&path, garbage).unwrap();
        let written = File::options().write(true).open(&path).unwrap();
        written.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(7)).unwrap();
        let found = slots.read_one(DUE).unwrap();
        assert_eq!(found.unreadable.as_deref(), Some(why));
        assert_eq!((found.claim.slot, found.claim.pid, found.claim.at.wall_ms), (DUE, 0, 7000));
        assert!(!found.running && found.end.is_none());
        assert_eq!(slots.read(0).unwrap(), [found]);
        assert!(matches!(slots.take(&claim(DUE)).unwrap(), Taken::Before), "nobody runs it");
        slots.end_for_the_dead(DUE, &end()).unwrap();
        let found = slots.read_one(DUE).unwrap();
        assert_eq!((found.end, found.unreadable, found.claim.pid), (Some(end()), None, 0));
    }
    // The end that a run has written counts, also after a beginning that is spoiled since.
    let mut spoiled = b"\xff\xff\n".to_vec();
    spoiled.extend(encoded(&SlotLine::End(end())).unwrap());
    fs::write(&path, spoiled).unwrap();
    assert_eq!(slots.read_one(DUE).unwrap().end, Some(end()));
    // What cannot be opened at all, and is no file that anybody could write to.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(slots.read_one(DUE).unwrap().unreadable.is_some());
    slots.end_for_the_dead(DUE, &end()).unwrap();
    assert_eq!(slots.read_one(DUE).unwrap().end, Some(end()));
}

#[test]
fn a_claim_gets_its_name_where_files_have_one_name_only() {
    let folder = tempfile::tempdir().unwrap();
    let (scratch, path) = (folder.path().join("scratch"), folder.path().join("slot"));
    let unsupported = |_: &Path, _: &Path| Err(io::Error::from_raw_os_error(libc::EPERM));
    fs::write(&scratch, "first").unwrap();
    name_it(&scratch, &path, unsupported).unwrap();
    fs::write(&scratch, "second").unwrap();
    assert_eq!(name_it(&scratch, &path, unsupported).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    // Who cannot make a name at all has nothing.
    name_it(&scratch, &folder.path().join("no/slot"), unsupported).unwrap_err();
}

#[test]
fn one_decides_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    let lock = slots.alone().unwrap();
    assert!(matches!(slots.alone(), Err(NotLocked::Held { .. })));
    drop(lock);
    slots.alone().unwrap();
    assert_eq!(slots.accounted().unwrap(), None);
    let accounted = accounted(9);
    slots.account(&accounted).unwrap();
    assert_eq!(slots.accounted().unwrap(), Some(accounted));
}

#[test]
fn a_run_is_told_why_it_is_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    assert!(!slots.stop(DUE, "why").unwrap(), "there is none");
    ours(slots.take(&dead(DUE)).unwrap());
    assert!(!slots.stop(DUE, "why").unwrap(), "it does not live");
    let mut child = Guard(sh("exec sleep 60").spawn().unwrap());
    let next = SlotKey::Extra(3);
    let start_token = identity::start_token(child.pid()).unwrap();
    ours(slots.take(&Claim { pid: child.pid(), start_token, ..claim(next) }).unwrap());
    assert_eq!(slots.stop_asked(next), None);
    assert!(slots.stop(next, "stopped by the operator").unwrap());
    assert!(!child.0.wait().unwrap().success());
    assert_eq!(slots.stop_asked(next).unwrap().why, "stopped by the operator");
    assert_eq!(slots.stop_asked(DUE), None, "another run's");
}

#[test]
fn only_a_person_who_says_it_again_wants_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    let script = "trap '' TERM; echo deaf; while :; do sleep 1; done";
    let mut child = Guard(sh(script).stdout(std::process::Stdio::piped()).spawn().unwrap());
    let mut said = [0; 5];
    child.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    let start_token = identity::start_token(child.pid()).unwrap();
    let run = |n: i64| {
        let slot = SlotKey::Extra(n);
        ours(slots.take(&Claim { pid: child.pid(), start_token, ..claim(slot) }).unwrap());
        slot
    };
    let by_daemon = |slot| slots.stop(slot, "replaced by a newer slot").unwrap();
    let by_person = |slot| slots.stop_by_person(slot, "stopped by the operator").unwrap();
    let wish = |slot| slots.stop_asked(slot).map(|note| (note.why, note.at_once)).unwrap();
    let (replaced, stopped) = ("replaced by a newer slot".to_owned(), "stopped by the operator".to_owned());
    // The daemon, however often, and then a person once.
    let first = run(1);
    assert!(by_daemon(first) && by_daemon(first) && by_person(first));
    assert_eq!(wish(first), (replaced.clone(), false));
    assert!(by_person(first));
    assert_eq!(wish(first), (replaced, true));
    // The daemon takes no wish back.
    let second = run(2);
    assert!(by_person(second) && by_daemon(second));
    assert_eq!(wish(second), (stopped.clone(), false));
    assert!(by_person(second) && by_daemon(second));
    assert_eq!(wish(second), (stopped.clone(), true));
    // Another run is another matter.
    let third = run(3);
    assert!(by_person(third));
    assert_eq!(wish(third), (stopped, false));
}

#[test]
fn what_a_dead_run_has_left_is_found_and_ended_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    let group = |script: &str| Guard(sh(script).process_group(0).spawn().unwrap());
    let deaf = "trap '' TERM; sleep 1000 & sleep 1000 & wait; wait; wait";
    let (mut step, mut other) = (group(deaf), group("exec sleep 1000"));
    let token = identity::start_token(step.pid()).unwrap();
    let mut holding = ours(slots.take(&dead(DUE)).unwrap());
    assert_eq!(slots.leftover(DUE), []);
    holding.note(&SlotLine::Spawned { pid: step.pid(), token: token + 1 }).unwrap();
    assert_eq!(slots.leftover(DUE), [], "its pid is another process's now");
    holding.note(&SlotLine::Spawned { pid: step.pid(), token }).unwrap();
    let left = wait_for("the step and what it started", || Some(slots.leftover(DUE)).filter(|left| left.len() == 3));
    assert!(left.contains(&Left { pid: step.pid(), token }));
    // Its leader alone is gone: the rest is still its group.
    step.0.kill().unwrap();
    step.0.wait().unwrap();
    assert_eq!(slots.leftover(DUE).len(), 2);
    assert_eq!(slots.end_leftover(DUE, Signal::TERM, Duration::from_millis(100)), 2);
    assert_eq!(slots.leftover(DUE), []);
    assert!(other.0.try_wait().unwrap().is_none());
    // What has left the group is known by its mark.
    let state_dir = folder.path().display().to_string();
    let mark = run_mark(DUE).to_string();
    let marks = [("SUPERVISOR_SERVICE", "job"), ("SUPERVISOR_RUN_ID", &mark), ("SUPERVISOR_STATE_DIR", &state_dir)];
    let mut away = sh("exec sleep 1000");
    let away = Guard(away.process_group(0).envs(marks).spawn().unwrap());
    if cfg!(target_os = "linux") {
        wait_for("its mark", || Some(slots.leftover(DUE)).filter(|left| left.len() == 1 && left[0].pid == away.pid()));
    }
    // Nor does a clock hide it that has been set back since the run began, where the times of starts are by the wall clock.
    let late = SlotKey::Due(DUE.at_ms() + 60_000);
    let mut holding = ours(slots.take(&Claim { start_token: u64::MAX, ..claim(late) }).unwrap());
    holding.note(&SlotLine::Spawned { pid: other.pid(), token: identity::start_token(other.pid()).unwrap() }).unwrap();
    assert_eq!(slots.leftover(late).iter().map(|left| left.pid).collect::<Vec<_>>(), [other.pid()]);
    let marked = SlotKey::Due(DUE.at_ms() + 120_000);
    ours(slots.take(&Claim { start_token: u64::MAX, ..claim(marked) }).unwrap());
    let mark = run_mark(marked).to_string();
    let marks = [("SUPERVISOR_SERVICE", "job"), ("SUPERVISOR_RUN_ID", &mark), ("SUPERVISOR_STATE_DIR", &state_dir)];
    let mut away = sh("exec sleep 1000");
    let away = Guard(away.process_group(0).envs(marks).spawn().unwrap());
    if cfg!(target_os = "linux") {
        let found = || Some(slots.leftover(marked)).filter(|left| left.len() == 1 && left[0].pid == away.pid());
        wait_for("its mark, whenever it was started", found);
        // Nor is it hidden by a file that cannot be read any more.
        fs::write(folder.path().join("supervisor/slots/job").join(marked.to_string()), "").unwrap();
        assert_eq!(slots.leftover(marked).len(), 1);
    }
    // While the run itself lives, nothing of it is left over.
    ours(slots.take(&claim(SlotKey::Extra(1))).unwrap());
    assert_eq!(slots.leftover(SlotKey::Extra(1)), []);
    assert_eq!(slots.end_leftover(SlotKey::Extra(1), Signal::KILL, Duration::ZERO), 0);
}

#[test]
fn what_several_dead_runs_have_left_is_ended_at_once_and_not_past_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let slots = slots(folder.path());
    let at = |name: &str| folder.path().join(name);
    let left = |slot: SlotKey, name: &str, trap: &str| {
        let ready = at(name).display().to_string();
        let mut step = sh(&format!("trap '{trap}' TERM; : > {ready}; while :; do sleep 0.05; done"));
        let step = Guard(step.process_group(0).spawn().unwrap());
        let mut holding = ours(slots.take(&dead(slot)).unwrap());
        let token = identity::start_token(step.pid()).unwrap();
        holding.note(&SlotLine::Spawned { pid: step.pid(), token }).unwrap();
        wait_for("its trap", || at(name).exists().then_some(()));
        step
    };
    let next = SlotKey::Due(DUE.at_ms() + 60_000);
    let mut deaf = left(DUE, "deaf", "");
    let mut polite = left(next, "polite", &format!(": > {}; exit 0", at("told").display()));
    let patience = Duration::from_secs(20);
    let ended = slots.end_leftovers(&[DUE, next], Signal::TERM, patience, || at("told").exists());
    assert_eq!(ended.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [DUE, next]);
    // Nobody has waited for the first to tell the second, nor for the end of the first after the word.
    assert!(at("told").exists() && deaf.0.try_wait().unwrap().is_none());
    assert!(polite.0.wait().unwrap().success());
    assert_eq!(slots.end_leftovers(&[next], Signal::TERM, patience, || panic!("there is none")), []);
    assert_eq!(slots.end_leftovers(&[DUE], Signal::KILL, patience, || false).len(), 1);
}
