//! What is to be done, case by case.

use super::*;
use crate::install::drift::tests::{state, wanted};
use crate::install::record::recorded;
use crate::manager::job::Role;
use crate::model::CalendarTable;

fn planned(
    disk: Option<&[u8]>,
    state: Option<JobState>,
    installed: bool,
    adopt: bool,
) -> Result<(Load, bool, bool), String> {
    let wanted = wanted(Role::Runner);
    let old = [JobFile { name: "p.a.plist".into(), bytes: b"old".to_vec() }];
    let files = recorded(&old, None);
    let before = RecordedJob {
        label: "p.a".into(),
        name: "a".into(),
        role: Role::Runner,
        displaced: false,
        pending: false,
        files,
    };
    let seen = Seen { disk: vec![disk.map(<[u8]>::to_vec)], state };
    let step = step(wanted, &seen, installed.then_some(&before), Path::new("/agents"), adopt);
    step.map(|s| (s.load, !s.write.is_empty(), !s.foreign.is_empty())).map_err(|in_the_way| in_the_way.what)
}

#[test]
fn files_that_are_ours_are_written_and_others_only_when_adopted() {
    assert_eq!(planned(None, None, false, false), Ok((Load::Nothing, true, false)));
    assert_eq!(planned(Some(b"new"), None, false, false), Ok((Load::Nothing, false, false)));
    assert_eq!(planned(Some(b"old"), None, true, false), Ok((Load::Nothing, true, false)));
    assert_eq!(planned(Some(b"changed since"), None, true, false), Ok((Load::Nothing, true, false)));
    let refused = planned(Some(b"somebody else's"), None, false, false).unwrap_err();
    assert!(refused.contains("/agents/p.a.plist is there and was not written by us"), "{refused}");
    assert_eq!(planned(Some(b"somebody else's"), None, false, true), Ok((Load::Nothing, true, true)));
    let earlier = b"/old/supervisor --config /c --state-dir /gone exec a";
    assert_eq!(planned(Some(earlier), None, false, false), Ok((Load::Nothing, true, false)), "an earlier install's");
}

#[test]
fn what_is_loaded_is_left_alone_when_it_is_the_same() {
    let load = |disk: Option<&[u8]>, seen| planned(disk, Some(seen), true, false).unwrap().0;
    let same = Some(&b"new"[..]);
    assert_eq!(load(same, state(Standing::Running)), Load::Nothing);
    assert_eq!(load(same, state(Standing::Absent)), Load::Load);
    assert_eq!(load(same, state(Standing::Stopped)), Load::Kick);
    assert_eq!(load(same, state(Standing::Pended("speculative".into()))), Load::Kick);
    assert_eq!(load(same, state(Standing::CannotStart("78".into()))), Load::Reload);
    assert_eq!(load(Some(b"old"), state(Standing::Running)), Load::Reload);
    let other = JobState { argv: Some(vec!["x".into()]), ..state(Standing::Running) };
    assert_eq!(load(same, other), Load::Reload);
    let elsewhere = JobState { file: Some("/Library/LaunchAgents/p.a.plist".into()), ..state(Standing::Running) };
    let refused = planned(same, Some(elsewhere.clone()), true, false).unwrap_err();
    assert!(refused.contains("is loaded from /Library/LaunchAgents/p.a.plist"), "{refused}");
    assert!(planned(same, Some(elsewhere), true, true).is_ok());
}

#[test]
fn calendars_are_the_same_in_whatever_form() {
    let at = |hour, minute, weekday| CalendarTable { hour, minute, weekday, ..Default::default() };
    assert_eq!(written_out(&[at(None, Some(5), None)]).len(), 24);
    assert_eq!(written_out(&[at(Some(3), Some(0), Some(7))]), written_out(&[at(Some(3), Some(0), Some(0))]));
    let all: Vec<CalendarTable> = (0..24).rev().map(|hour| at(Some(hour), Some(5), None)).collect();
    assert_eq!(written_out(&all), written_out(&[at(None, Some(5), None)]));
}
