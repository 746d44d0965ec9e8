//! Each layer that can differ, and what mends it.

use super::*;
use crate::install::record::recorded;
use crate::manager::driver::JobFile;
use crate::manager::job::{Job, Role};
use crate::model::ProcessType;

pub(in crate::install) fn job(role: Role) -> Job {
    Job {
        label: "p.a".into(),
        name: "a".into(),
        role,
        argv: ["/bin/supervisor", "--config", "/c", "--state-dir", "/s", "exec", "a"].map(String::from).into(),
        env: [("HOME", "/h"), ("PATH", "/bin")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        log: "/l/p.a.log".into(),
        throttle_s: 10,
        exit_timeout_s: 35,
        process_type: ProcessType::Interactive,
        calendar: Vec::new(),
        catch_up: false,
        timezone: None,
        user: None,
    }
}

pub(in crate::install) fn wanted(role: Role) -> Wanted {
    Wanted { job: job(role), files: vec![JobFile { name: "p.a.plist".into(), bytes: b"new".to_vec() }] }
}

pub(in crate::install) fn state(standing: Standing) -> JobState {
    JobState { standing, ..JobState::absent(false) }
}

fn looked(wanted: Option<&Wanted>, disk: Option<&[u8]>, state: &JobState) -> Option<(Layer, Repair)> {
    let was = self::wanted(Role::Runner);
    let before = RecordedJob {
        label: "p.a".into(),
        name: "a".into(),
        role: Role::Runner,
        displaced: false,
        pending: false,
        files: recorded(&was.files, None),
    };
    let disk = [disk.map(<[u8]>::to_vec)];
    let found =
        of_job(Facts { declared: wanted, recorded: &before, disk: &disk, state, replaced: false, orphaned: false });
    found.map(|drift| (drift.layer, drift.repair))
}

#[test]
fn the_first_layer_that_differs_is_told_with_what_mends_it() {
    let is = wanted(Role::Runner);
    let here = Some(&b"new"[..]);
    let running = state(Standing::Running);
    assert_eq!(looked(Some(&is), here, &running), None);
    assert_eq!(looked(Some(&is), None, &running), Some((Layer::Disk, Repair::ByHand)));
    assert_eq!(looked(Some(&is), Some(b"old"), &running), Some((Layer::Disk, Repair::ByHand)));
    assert_eq!(looked(None, here, &running), Some((Layer::Declared, Repair::ByHand)));
    let mut other = is.clone();
    other.files[0].bytes = b"newer".to_vec();
    assert_eq!(looked(Some(&other), here, &running), Some((Layer::Declared, Repair::ByHand)));
    let off = JobState { disabled: true, ..state(Standing::Absent) };
    assert_eq!(looked(Some(&is), here, &off), Some((Layer::Loaded, Repair::ByHand)), "a person's wish");
    assert_eq!(looked(Some(&is), here, &state(Standing::Absent)), Some((Layer::Loaded, Repair::Load)));
    let elder = JobState { argv: Some(vec!["/bin/sh".into()]), ..state(Standing::Running) };
    assert_eq!(looked(Some(&is), here, &elder), Some((Layer::Loaded, Repair::Reload)));
    let more = JobState { env_names: Some(vec!["HOME".into()]), ..state(Standing::Running) };
    assert_eq!(looked(Some(&is), here, &more), Some((Layer::Loaded, Repair::Reload)));
    let pended = state(Standing::Pended("inefficient".into()));
    assert_eq!(looked(Some(&is), here, &pended), Some((Layer::Running, Repair::Kick)));
    assert_eq!(looked(Some(&is), here, &state(Standing::Stopped)), Some((Layer::Running, Repair::Kick)));
    let in_order = JobState { last_exit: Some("exit code 0".into()), ..state(Standing::Stopped) };
    assert_eq!(looked(Some(&is), here, &in_order), Some((Layer::Running, Repair::ByHand)));
    let broken = state(Standing::CannotStart("78: EX_CONFIG".into()));
    assert_eq!(looked(Some(&is), here, &broken), Some((Layer::Running, Repair::ByHand)));
    for fine in [Standing::Delayed, Standing::Stopping] {
        assert_eq!(looked(Some(&is), here, &state(fine)), None);
    }
    let task = wanted(Role::Task);
    assert_eq!(looked(Some(&task), here, &state(Standing::Stopped)), None, "between its runs");
}

#[test]
fn a_program_that_was_replaced_is_upgraded_by_a_person() {
    let is = wanted(Role::Runner);
    let files = recorded(&is.files, None);
    let before = RecordedJob {
        label: "p.a".into(),
        name: "a".into(),
        role: Role::Runner,
        displaced: false,
        pending: false,
        files,
    };
    let disk = [Some(b"new".to_vec())];
    let facts = |state, replaced| Facts {
        declared: Some(&is),
        recorded: &before,
        disk: &disk,
        state,
        replaced,
        orphaned: false,
    };
    let running = state(Standing::Running);
    let drift = of_job(facts(&running, true)).unwrap();
    assert_eq!((drift.layer, drift.repair), (Layer::Running, Repair::Upgrade));
    assert_eq!(drift.words(), "p.a: its program was replaced since it was started; run `supervisor upgrade`");
    assert_eq!(of_job(facts(&running, false)), None);
    assert_eq!(of_job(facts(&state(Standing::Delayed), true)), None, "it is started from the new one");
}

#[test]
fn a_service_whose_runner_has_left_gets_another_one() {
    let is = wanted(Role::Runner);
    let files = recorded(&is.files, None);
    let before = RecordedJob {
        label: "p.a".into(),
        name: "a".into(),
        role: Role::Runner,
        displaced: false,
        pending: false,
        files,
    };
    let disk = [Some(b"new".to_vec())];
    let ended = JobState { last_exit: Some("exit code 0".into()), ..state(Standing::Stopped) };
    let repair = |orphaned, state: &JobState| {
        let facts = Facts { declared: Some(&is), recorded: &before, disk: &disk, state, replaced: false, orphaned };
        of_job(facts).map(|drift| drift.repair)
    };
    assert_eq!(repair(true, &ended), Some(Repair::Kick), "who installed was killed after it had left");
    assert_eq!(repair(false, &ended), Some(Repair::ByHand), "told to end");
    let off = JobState { disabled: true, ..ended };
    assert_eq!(repair(true, &off), Some(Repair::ByHand), "a person's wish");
}
