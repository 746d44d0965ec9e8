//! Answer by answer, what is done next.

use super::*;
use crate::manager::job::{Role, tests as jobs};

const LABEL: &str = "ai.openclaw.gateway";
const FILE: &str = "/Users/u/Library/LaunchAgents/ai.openclaw.gateway.plist";

fn answer(code: i32) -> Answer {
    Answer {
        code: Some(code),
        out: String::new(),
        err: format!("X failed: {code}: text\nTry re-running the command as root.\n"),
    }
}

fn seen(standing: Standing) -> JobState {
    JobState { standing, file: Some(FILE.into()), pid: None, domain: Some("gui/501".into()), ..JobState::absent(false) }
}

fn absent() -> JobState {
    JobState::absent(false)
}

/// Loading into gui/501 with an allowance for user/501, in time, and nothing wrong with the file.
fn loading(seen: &JobState) -> Loading<'_> {
    Loading {
        label: LABEL,
        domain: "gui/501",
        file: Path::new(FILE),
        file_fault: None,
        seen,
        has_other_domain: true,
        has_time: true,
    }
}

fn kind(next: &Next) -> TroubleKind {
    match next {
        Next::Fail(trouble) => trouble.kind,
        next => panic!("{next:?}"),
    }
}

fn words(next: &Next) -> String {
    match next {
        Next::Fail(trouble) => trouble.to_string(),
        next => panic!("{next:?}"),
    }
}

#[test]
fn after_bootstrap_what_is_seen_counts_for_more_than_the_number() {
    let here = seen(Standing::Running);
    let private = JobState { file: Some(format!("/private{FILE}").into()), ..seen(Standing::Stopped) };
    let other = JobState { file: Some("/tmp/other.plist".into()), pid: Some(7), ..seen(Standing::Running) };
    let going = JobState { pid: Some(7), ..seen(Standing::Stopping) };
    let off = JobState::absent(true);
    for code in [5, 36, 37, 130] {
        let next = |seen: &JobState, has_time| after_bootstrap(&answer(code), &Loading { has_time, ..loading(seen) });
        assert_eq!(next(&here, true), Next::Done, "{code}: somebody else has loaded it");
        assert_eq!(next(&private, false), Next::Done, "{code}: launchd resolves links");
        assert_eq!(next(&absent(), true), Next::Again, "{code}: it was still torn down, or so");
        assert_eq!(next(&going, true), Next::Again, "{code}: it is torn down, and not loaded");
        assert_eq!(next(&other, true), Next::Again, "{code}");
        assert_eq!(kind(&next(&off, true)), TroubleKind::SwitchedOff, "{code}");
        assert_eq!(kind(&next(&absent(), false)), TroubleKind::Other, "{code}");
        let late = next(&other, false);
        assert_eq!(kind(&late), TroubleKind::TimedOut, "{code}");
        assert!(words(&late).contains("process 7") && words(&late).contains("/tmp/other.plist"), "{late:?}");
        let faulty = |seen| Loading { file_fault: Some("chmod it"), ..loading(seen) };
        let next = after_bootstrap(&answer(code), &faulty(&off));
        assert_eq!(kind(&next), TroubleKind::BadFile, "{code}: what can be mended comes first");
        assert!(words(&next).contains("chmod it"));
        assert_eq!(after_bootstrap(&answer(code), &faulty(&here)), Next::Done, "{code}");
    }
}

#[test]
fn after_bootstrap_each_number_has_its_meaning() {
    use TroubleKind::{BadFile, NoSession, Other, SwitchedOff};
    let nothing = absent();
    let next = |code| after_bootstrap(&answer(code), &Loading { has_other_domain: false, ..loading(&nothing) });
    assert_eq!(next(0), Next::Done);
    let table: [(i32, TroubleKind, &str); 16] = [
        (1, Other, "as root"),
        (3, Other, "no such process"),
        (64, Other, "does not understand"),
        (108, BadFile, "ends with .plist"),
        (109, BadFile, "plutil -lint"),
        (110, BadFile, "label"),
        (111, BadFile, "program"),
        (112, NoSession, "log in"),
        (119, SwitchedOff, "launchctl enable gui/501/ai.openclaw.gateway"),
        (122, BadFile, "chmod 644"),
        (125, NoSession, "log in"),
        (134, BadFile, "LimitLoadToSessionType"),
        (150, Other, "as root"),
        (159, BadFile, "sandbox"),
        (161, SwitchedOff, "System Settings > General > Login Items"),
        (9999, Other, "launchctl error"),
    ];
    for (code, expected, word) in table {
        let next = next(code);
        let text = words(&next);
        assert_eq!(kind(&next), expected, "{text}");
        let said = [word, LABEL, "gui/501", &format!("answered {code}"), &format!("X failed: {code}: text")];
        assert!(said.iter().all(|word| text.contains(word)), "{code}: {text}");
        assert!(!text.contains("Try re-running"), "{text}");
    }
    for code in [112, 125] {
        assert_eq!(after_bootstrap(&answer(code), &loading(&nothing)), Next::OtherDomain);
    }
    let killed = Answer { code: None, ..answer(0) };
    assert!(words(&after_bootstrap(&killed, &loading(&nothing))).contains("ended by a signal"));
}

#[test]
fn after_bootout_what_is_gone_is_well() {
    let next = |code, has_time| after_bootout(&answer(code), LABEL, "gui/501", has_time);
    for code in [0, 3, 36, 37, 112, 113, 125] {
        assert_eq!(next(code, false), Next::Done, "{code}");
    }
    assert_eq!(next(5, true), Next::Again);
    for code in [1, 5, 64, 150] {
        assert_eq!(kind(&next(code, false)), TroubleKind::Other, "{code}");
        assert!(words(&next(code, false)).contains("gui/501"));
    }
    assert!(words(&next(1, true)).contains("as root"));
}

#[test]
fn after_kickstart_only_refusals_are_final() {
    let next = |code| after_kickstart(&answer(code), LABEL, "gui/501");
    for code in [0, 36, 37] {
        assert_eq!(next(code), Next::Done, "{code}");
    }
    for (code, expected, word) in [
        (1, TroubleKind::Other, "as root"),
        (3, TroubleKind::Other, "not loaded"),
        (64, TroubleKind::Other, "does not understand"),
        (113, TroubleKind::Other, "not loaded"),
        (119, TroubleKind::SwitchedOff, "launchctl enable"),
        (125, TroubleKind::NoSession, "log in"),
        (161, TroubleKind::SwitchedOff, "Login Items"),
    ] {
        assert_eq!(kind(&next(code)), expected, "{code}");
        assert!(words(&next(code)).contains(word), "{}", words(&next(code)));
    }
}

#[test]
fn a_loaded_job_is_started_waited_for_or_given_up() {
    let (jobs, _) = crate::manager::job::jobs(&jobs::fleet(), &jobs::site(), false);
    let (gateway, daily) = (&jobs[1], jobs.iter().find(|job| job.role == Role::Task).unwrap());
    let next = |seen: &JobState, kicked, has_time| after_look(gateway, seen, kicked, has_time);
    let runs = |standing, runs, last: Option<&str>| JobState {
        runs: Some(runs),
        last_exit: last.map(str::to_owned),
        ..seen(standing)
    };
    let failed = |start: Start| match start {
        Start::Fail(trouble) => (trouble.kind, trouble.to_string()),
        start => panic!("{start:?}"),
    };
    let held = || Standing::Pended("speculative".into());
    assert_eq!(next(&seen(Standing::Running), false, false), Start::Started);
    assert_eq!(next(&seen(held()), true, true), Start::Kick, "as often as it takes");
    assert_eq!(failed(next(&seen(held()), true, false)).0, TroubleKind::TimedOut);
    for standing in [Standing::Stopped, Standing::Delayed] {
        assert_eq!(next(&runs(standing.clone(), 0, None), false, true), Start::Kick);
        assert_eq!(next(&runs(standing.clone(), 0, None), true, true), Start::Wait);
        assert_eq!(failed(next(&runs(standing.clone(), 0, None), true, false)).0, TroubleKind::TimedOut);
        assert_eq!(next(&runs(standing.clone(), 1, Some("exit code 0")), false, true), Start::Started, "nothing to do");
        assert_eq!(next(&runs(standing.clone(), 1, None), false, true), Start::Wait);
        let (kind, text) = failed(next(&runs(standing, 4, Some("Killed: 9")), false, true));
        assert!(kind == TroubleKind::Other && text.contains("Killed: 9") && text.contains("gateway.log"), "{text}");
    }
    assert_eq!(next(&seen(Standing::Stopping), false, true), Start::Wait);
    assert_eq!(failed(next(&seen(Standing::Stopping), false, false)).0, TroubleKind::TimedOut);
    let (_, text) = failed(next(&seen(Standing::CannotStart("no program".into())), false, true));
    assert!(text.contains("no program") && text.contains("gateway.log"), "{text}");
    let (_, text) = failed(next(&absent(), false, true));
    assert!(text.contains("Login Items"), "{text}");
    for standing in [Standing::Stopped, Standing::Running, Standing::Delayed, held()] {
        assert_eq!(after_look(daily, &seen(standing), false, true), Start::Started, "the calendar starts it");
    }
    assert!(matches!(after_look(daily, &absent(), false, true), Start::Fail(_)));
}

#[test]
fn after_a_kick_the_job_runs_or_there_is_a_reason() {
    let next = |standing, answered| after_kick(LABEL, &seen(standing), answered).map_err(|trouble| trouble.kind);
    assert_eq!(next(Standing::Running, false), Ok(()));
    assert_eq!(next(Standing::Stopped, true), Ok(()), "it has ended again");
    for standing in [Standing::Stopped, Standing::Delayed, Standing::Stopping, Standing::Pended("x".into())] {
        assert_eq!(next(standing, false), Err(TroubleKind::TimedOut));
    }
    for answered in [true, false] {
        assert_eq!(next(Standing::CannotStart("x".into()), answered), Err(TroubleKind::Other));
        assert_eq!(next(Standing::Absent, answered), Err(TroubleKind::Other));
    }
}

#[test]
fn what_launchd_would_not_like_about_a_file() {
    let fault = |is_regular, mode, owner| file_fault(Path::new("/x.plist"), is_regular, mode, owner, 501);
    for mode in [0o100_644, 0o100_600, 0o100_755] {
        assert_eq!((fault(true, mode, 501), fault(true, mode, 0)), (None, None));
    }
    for (is_regular, mode, owner, word) in [
        (true, 0o100_664, 501, "chmod 644 /x.plist"),
        (true, 0o100_646, 0, "chmod 644 /x.plist"),
        (true, 0o100_644, 502, "sudo chown 501 /x.plist"),
        (false, 0o040_755, 501, "regular"),
    ] {
        let found = fault(is_regular, mode, owner).unwrap();
        assert!(found.contains(word), "{found}");
    }
}

#[test]
fn absence_is_told_by_number_or_by_words() {
    let old = |err: &str| Answer { code: Some(64), out: String::new(), err: err.into() };
    assert!(old("Could not find service \"x\" in domain for user gui: 501").is_absent());
    assert!(old("Could not find domain for user gui: 501").is_absent());
    assert!(!old("Usage: launchctl print").is_absent());
    for code in [3, 112, 113, 125] {
        assert!(answer(code).is_absent(), "{code}");
    }
    for code in [0, 1, 5, 37, 64] {
        assert!(!answer(code).is_absent(), "{code}");
    }
}

#[test]
fn what_launchctl_says_is_shown_in_one_clean_line() {
    let wild =
        Answer { code: Some(5), out: String::new(), err: format!("a\u{1b}[31m\n\n  b\t\0{}\n", "x".repeat(5000)) };
    let text = wild.words("bootstrap");
    assert!(text.contains("a[31m; b") && text.len() < 500 && !text.chars().any(char::is_control), "{text:?}");
}
