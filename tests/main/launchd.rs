//! launchd's driver against a stand-in that starts real processes (tests/launchd): what it does, sees and says on all kinds of Mac.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use plist::{Dictionary, Value};
use supervisor::manager::driver::{Driver, JobState, Standing, Trouble, TroubleKind};
use supervisor::manager::job::{Job, Role};
use supervisor::manager::launchctl::{Launchctl, Limits};
use supervisor::model::CalendarTable;

use crate::mac::{LIMITS, Mac, program, uid};
use crate::support::{Guard, pid_of, signal, wait_for};

const FOREVER: &str = "exec sleep 600";

/// Leaves a word when it is up, and takes a while to end after SIGTERM.
fn slow(mac: &Mac) -> String {
    format!("trap 'sleep 2; exit 0' TERM; echo > {}/up; while :; do sleep 0.05; done", mac.dir().display())
}

/// Waits until a script has said that its traps are set.
fn wait_up(mac: &Mac) {
    wait_for("the script to be up", || mac.dir().join("up").exists().then_some(()));
}

fn lives(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok()
}

fn both_sessions() -> (&'static str, Value) {
    ("LimitLoadToSessionType", Value::Array(vec!["Aqua".into(), "Background".into()]))
}

/// What went wrong, as people read it.
fn trouble(result: Result<(), Trouble>, kind: TroubleKind, words: &[&str]) -> String {
    let trouble = result.expect_err("it went well");
    let text = trouble.to_string();
    assert_eq!(trouble.kind, kind, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    text
}

/// Whether launchctl was called so (the beginning of the call).
fn was_called(mac: &Mac, call: &str) -> bool {
    mac.calls().iter().any(|line| line.starts_with(call))
}

#[test]
fn a_job_is_loaded_started_and_seen_as_it_is() {
    let mac = Mac::new();
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    assert_eq!(driver.look(&job).unwrap(), JobState::absent(false));
    let file = mac.write(&job, &[]);
    driver.load(&job, false).unwrap();
    let state = driver.look(&job).unwrap();
    let pid = state.pid.unwrap();
    let expected = JobState {
        standing: Standing::Running,
        pid: Some(pid),
        file: Some(file),
        argv: Some(job.argv.clone()),
        env_names: Some(vec!["NODE_ENV".into()]),
        calendar: None,
        disabled: false,
        last_exit: None,
        runs: Some(1),
        domain: Some(format!("gui/{}", uid())),
    };
    assert_eq!(state, expected);
    assert!(lives(pid));
    assert!(!was_called(&mac, "enable"), "nobody has asked for it: {:?}", mac.calls());
    // Loaded already is as good as loaded, and what runs goes on.
    driver.load(&job, false).unwrap();
    driver.kick(&job).unwrap();
    assert_eq!(driver.look(&job).unwrap(), state);
    driver.unload(&job).unwrap();
    assert!(!lives(pid));
    driver.unload(&job).unwrap();
    driver.forget(&job).unwrap();
    assert_eq!(driver.look(&job).unwrap(), JobState::absent(false));
}

#[test]
fn a_new_version_waits_until_the_old_one_is_gone() {
    let mac = Mac::new();
    let (driver, mut job) = (mac.driver(), mac.job("web", &slow(&mac)));
    mac.write(&job, &[]);
    driver.load(&job, false).unwrap();
    wait_up(&mac);
    let old = driver.look(&job).unwrap().pid.unwrap();
    job.argv[2] = format!("{FOREVER}.5");
    mac.write(&job, &[]);
    driver.unload(&job).unwrap();
    assert!(!lives(old), "unload has not waited");
    driver.load(&job, false).unwrap();
    assert_eq!(driver.look(&job).unwrap().argv, Some(job.argv));
}

#[test]
fn loading_goes_on_until_the_teardown_of_somebody_else_is_over() {
    for rich in [false, true] {
        let mac = Mac::new();
        if rich {
            mac.is("rich", "");
        }
        let (driver, job) = (mac.driver(), mac.job("web", &slow(&mac)));
        mac.write(&job, &[]);
        driver.load(&job, false).unwrap();
        wait_up(&mac);
        let old = driver.look(&job).unwrap().pid.unwrap();
        mac.ctl(&["bootout", &mac.target(&job)]);
        assert_eq!(driver.look(&job).unwrap().standing, Standing::Stopping);
        assert_eq!(mac.launchctl(&["bootout", &mac.target(&job)]).status.code(), Some(36));
        driver.load(&job, false).unwrap();
        let state = driver.look(&job).unwrap();
        assert!(state.standing == Standing::Running && state.pid != Some(old) && !lives(old), "{state:?}");
        let refusals =
            mac.calls().iter().filter(|line| line.starts_with("bootstrap") && !line.ends_with("-> 0")).count();
        let number = if rich { "-> 37" } else { "-> 5" };
        assert!(refusals > 0 && mac.calls().iter().any(|line| line.ends_with(number)), "{:?}", mac.calls());
    }
}

#[test]
fn another_file_under_the_label_is_no_success() {
    let mac = Mac::new();
    let job = mac.job("web", FOREVER);
    let path = mac.write(&job, &[]);
    let other = mac.dir().join("other.plist");
    std::fs::copy(path, &other).unwrap();
    mac.ctl(&["bootstrap", &format!("gui/{}", uid()), other.to_str().unwrap()]);
    let driver = mac.driver_with(Limits { teardown: Duration::ZERO, ..LIMITS });
    let job = Job { exit_timeout_s: 1, ..job };
    trouble(driver.load(&job, false), TroubleKind::TimedOut, &["other.plist", "answered 5"]);
}

#[test]
fn a_job_that_dies_comes_back_and_its_end_is_told() {
    let mac = Mac::new();
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    mac.write(&job, &[]);
    driver.load(&job, false).unwrap();
    let first = driver.look(&job).unwrap().pid.unwrap();
    signal(first, Signal::SIGKILL);
    let state = mac.wait_until(&job, "the second start", |s| s.runs == Some(2) && s.standing == Standing::Running);
    assert_eq!(state.last_exit.as_deref(), Some("Killed: 9"));
    assert_ne!(state.pid, Some(first));
}

#[test]
fn a_job_that_ends_at_once_is_told_with_how_and_where_to_look() {
    let mac = Mac::new();
    let driver = mac.driver();
    // So long that it has ended, and is not started again, whenever it is looked at.
    let job = Job { throttle_s: 600, ..mac.job("web", "exit 3") };
    let file = mac.write(&job, &[]);
    mac.ctl(&["bootstrap", &format!("gui/{}", uid()), file.to_str().unwrap()]);
    let state = mac.wait_until(&job, "its end", |s| s.last_exit.is_some());
    assert_eq!((state.standing, state.runs), (Standing::Delayed, Some(1)));
    let words = ["ended at once (exit code 3)", "org.example.web.log"];
    trouble(driver.load(&job, false), TroubleKind::Other, &words);
    let done = mac.job("done", "exit 0");
    mac.write(
        &done,
        &[("KeepAlive", Value::Dictionary(Dictionary::from_iter([("SuccessfulExit".to_owned(), Value::from(false))])))],
    );
    driver.load(&done, false).unwrap();
    mac.wait_until(&done, "its end", |s| s.standing == Standing::Stopped);
}

#[test]
fn a_label_that_vanishes_is_absent() {
    let mac = Mac::new();
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    mac.write(&job, &[]);
    driver.load(&job, false).unwrap();
    mac.ctl(&["vanish", &job.label]);
    assert_eq!(driver.look(&job).unwrap(), JobState::absent(false));
    trouble(driver.kick(&job), TroubleKind::Other, &["not loaded"]);
}

#[test]
fn what_a_person_has_switched_off_stays_off_until_a_person_says_otherwise() {
    for rich in [false, true] {
        let mac = Mac::new();
        if rich {
            mac.is("rich", "");
        }
        let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
        mac.write(&job, &[]);
        mac.ctl(&["disable", &mac.target(&job)]);
        assert_eq!(driver.look(&job).unwrap(), JobState::absent(true));
        let words = ["switched it off", &format!("launchctl enable {}", mac.target(&job))];
        trouble(driver.load(&job, false), TroubleKind::SwitchedOff, &words);
        assert!(!was_called(&mac, "enable"));
        driver.load(&job, true).unwrap();
        let state = driver.look(&job).unwrap();
        assert_eq!((state.standing, state.disabled), (Standing::Running, false));
        // Off while it runs: for the next login. Also as older systems tell it.
        mac.ctl(&["disable", &mac.target(&job)]);
        mac.is("old-texts", "");
        let state = driver.look(&job).unwrap();
        assert_eq!((state.standing, state.disabled), (Standing::Running, true));
    }
}

#[test]
fn what_login_items_forbid_is_told_with_where_to_allow_it() {
    let mac = Mac::new();
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    mac.write(&job, &[]);
    mac.is("btm", &job.label);
    trouble(driver.load(&job, true), TroubleKind::SwitchedOff, &["161", "System Settings > General > Login Items"]);
}

#[test]
fn a_file_that_others_can_write_is_refused_with_what_to_do() {
    for (rich, number) in [(false, "answered 5"), (true, "answered 122")] {
        let mac = Mac::new();
        if rich {
            mac.is("rich", "");
        }
        let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
        let path = mac.write(&job, &[]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        trouble(driver.load(&job, false), TroubleKind::BadFile, &[number, &format!("chmod 644 {}", path.display())]);
    }
}

#[test]
fn a_plist_that_is_none_is_a_bad_file() {
    let mac = Mac::new();
    mac.is("rich", "");
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    let path = mac.write(&job, &[]);
    std::fs::write(&path, "<plist><dict><key>Label</key></plist>").unwrap();
    trouble(driver.load(&job, false), TroubleKind::BadFile, &["109", "plutil -lint"]);
    std::fs::remove_file(&path).unwrap();
    trouble(driver.load(&job, false), TroubleKind::BadFile, &["108"]);
}

#[test]
fn without_a_login_at_the_screen_a_job_goes_where_it_may() {
    let mac = Mac::new();
    mac.is("no-gui", "");
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    mac.write(&job, &[]);
    trouble(driver.load(&job, false), TroubleKind::NoSession, &["not logged in at the screen", "log in"]);
    mac.write(&job, &[both_sessions()]);
    driver.load(&job, false).unwrap();
    let user = format!("user/{}", uid());
    assert_eq!(driver.look(&job).unwrap().domain.as_deref(), Some(user.as_str()));
    // Somebody logs in: it is found where it is, and unloaded from there.
    mac.is_not("no-gui");
    assert_eq!(driver.look(&job).unwrap().domain.as_deref(), Some(user.as_str()));
    driver.unload(&job).unwrap();
    assert_eq!(driver.look(&job).unwrap().standing, Standing::Absent);
    driver.load(&job, false).unwrap();
    assert_eq!(driver.look(&job).unwrap().domain, Some(format!("gui/{}", uid())));
}

#[test]
fn a_job_with_a_user_of_its_own_is_roots_launchds() {
    let mac = Mac::new();
    let driver = mac.driver();
    let job = Job { user: Some("u".into()), ..mac.job("web", FOREVER) };
    mac.write(&job, &[("UserName", "u".into())]);
    trouble(driver.load(&job, false), TroubleKind::Other, &["answered 1 (not permitted)", "as root"]);
    mac.is("rich", "");
    driver.load(&job, false).unwrap();
    assert_eq!(driver.look(&job).unwrap().domain.as_deref(), Some("system"));
}

#[test]
fn a_start_that_is_held_back_is_made_by_hand() {
    let mac = Mac::new();
    mac.is("pend", "");
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    mac.write(&job, &[]);
    driver.load(&job, false).unwrap();
    let pid = driver.look(&job).unwrap().pid.unwrap();
    assert!(was_called(&mac, "kickstart gui"), "{:?}", mac.calls());
    assert!(!was_called(&mac, "kickstart -k"), "what runs is not ended for it");
    signal(pid, Signal::SIGKILL);
    let state = mac.wait_until(&job, "the start to be held back", |s| matches!(s.standing, Standing::Pended(_)));
    let Standing::Pended(why) = state.standing else { unreachable!() };
    assert!(why.contains("inefficient"), "{why}");
    driver.kick(&job).unwrap();
    let state = driver.look(&job).unwrap();
    assert_eq!((state.standing, state.runs), (Standing::Running, Some(2)));
}

#[test]
fn what_cannot_be_started_is_told_and_does_not_take_for_ever() {
    let mac = Mac::new();
    let driver = mac.driver_with(Limits { kickstart: Duration::from_millis(200), ..LIMITS });
    let mut missing = mac.job("missing", FOREVER);
    missing.argv[0] = "/no/such/program".into();
    mac.write(&missing, &[]);
    trouble(driver.load(&missing, false), TroubleKind::Other, &["/no/such/program", "78: EX_CONFIG"]);
    let state = driver.look(&missing).unwrap();
    assert!(matches!(state.standing, Standing::CannotStart(_)), "{state:?}");
    // launchctl waits for a start that does not come.
    trouble(driver.kick(&missing), TroubleKind::Other, &["/no/such/program"]);
    let mut logless = mac.job("logless", FOREVER);
    logless.log = mac.dir().join("no/such/folder/log");
    mac.write(&logless, &[]);
    trouble(driver.load(&logless, false), TroubleKind::Other, &["78: EX_CONFIG", "no/such/folder/log"]);
}

#[test]
fn a_launchctl_that_hangs_is_given_up() {
    let mac = Mac::new();
    let driver = mac.driver_with(Limits { answer: Duration::from_secs(1), ..LIMITS });
    // launchd is up, so that only what hangs takes that long.
    mac.ctl(&["list"]);
    let job = mac.job("web", FOREVER);
    mac.write(&job, &[]);
    mac.is("hang", "bootstrap");
    let words = ["launchctl bootstrap", "did not end within 1 s"];
    trouble(driver.load(&job, false), TroubleKind::TimedOut, &words);
}

#[test]
fn a_kickstart_that_hangs_is_judged_by_what_it_has_done() {
    let mac = Mac::new();
    mac.is("pend", "");
    mac.is("hang", "kickstart");
    let limits = Limits { kickstart: Duration::from_millis(100), start: Duration::from_millis(300), ..LIMITS };
    let (driver, job) = (mac.driver_with(limits), Job { throttle_s: 0, ..mac.job("web", FOREVER) });
    mac.write(&job, &[]);
    trouble(driver.load(&job, false), TroubleKind::TimedOut, &["holds its start back", "launchctl kickstart"]);
    trouble(driver.kick(&job), TroubleKind::TimedOut, &["holds its start back"]);
}

#[test]
fn unloading_waits_for_the_end_and_says_who_does_not() {
    let mac = Mac::new();
    // The shell ignores SIGTERM, so that its ExitTimeOut passes.
    let script = format!("trap '' TERM; echo > {}/up; while :; do sleep 0.05; done", mac.dir().display());
    let job = Job { exit_timeout_s: 1, ..mac.job("web", &script) };
    mac.write(&job, &[]);
    let driver = mac.driver();
    driver.load(&job, false).unwrap();
    wait_up(&mac);
    let pid = driver.look(&job).unwrap().pid.unwrap();
    driver.unload(&job).unwrap();
    assert!(!lives(pid), "only SIGKILL could end it");
    // With ExitTimeOut 0 nobody ends it.
    mac.write(&job, &[("ExitTimeOut", Value::from(0))]);
    std::fs::remove_file(mac.dir().join("up")).unwrap();
    driver.load(&job, false).unwrap();
    wait_up(&mac);
    let pid = driver.look(&job).unwrap().pid.unwrap();
    let impatient = mac.driver_with(Limits { teardown: Duration::ZERO, ..LIMITS });
    trouble(impatient.unload(&job), TroubleKind::TimedOut, &[&format!("its process {pid} still lives"), "trap ''"]);
}

#[test]
fn a_calendar_job_is_loaded_and_started_by_the_calendar_only() {
    let mac = Mac::new();
    let ran = mac.dir().join("ran");
    let mut job = mac.job("nightly", &format!("echo ran >> {}", ran.display()));
    job.role = Role::Task;
    let number = |n: i64| Value::from(n);
    let slot = |minute, hour| {
        let keys = [("Minute".to_owned(), number(minute)), ("Hour".to_owned(), number(hour))];
        Value::Dictionary(keys.into_iter().collect())
    };
    mac.write(&job, &[("StartCalendarInterval", Value::Array(vec![slot(20, 3), slot(5, 4)]))]);
    let driver = mac.driver();
    driver.load(&job, false).unwrap();
    let state = driver.look(&job).unwrap();
    let table = |minute, hour| CalendarTable { minute: Some(minute), hour: Some(hour), ..Default::default() };
    assert_eq!(state.calendar, Some(vec![table(5, 4), table(20, 3)]));
    assert_eq!((state.standing, state.runs), (Standing::Stopped, Some(0)), "nothing is started at load");
    mac.ctl(&["tick", "2026-11-22T03:19"]);
    mac.ctl(&["tick", "2026-11-22T03:20"]);
    let once = |s: &JobState| s.runs == Some(1) && s.last_exit.as_deref() == Some("exit code 0");
    mac.wait_until(&job, "its first run", once);
    // Three nights asleep, one run.
    mac.ctl(&["tick", "2026-11-25T12:00"]);
    let state = mac.wait_until(&job, "its second run", |s| s.runs == Some(2) && s.standing == Standing::Stopped);
    assert_eq!(state.last_exit.as_deref(), Some("exit code 0"));
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\nran\n");
    assert!(!was_called(&mac, "kickstart"));
}

#[test]
fn the_numbers_of_launchd_become_words() {
    let mac = Mac::new();
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    mac.write(&job, &[]);
    mac.is("answer", "bootstrap 64 1\nbootout 150 1\nenable 1 1");
    trouble(driver.load(&job, false), TroubleKind::Other, &["does not understand"]);
    trouble(driver.load(&job, true), TroubleKind::Other, &["could not be switched on", "not permitted"]);
    driver.load(&job, false).unwrap();
    trouble(driver.unload(&job), TroubleKind::Other, &["could not be unloaded", "as root"]);
    driver.unload(&job).unwrap();
    mac.is("pend", "");
    mac.is("answer", "kickstart 119 1");
    trouble(driver.load(&job, false), TroubleKind::SwitchedOff, &["launchctl enable"]);
    mac.is("answer", "bootstrap 5 3\nprint 5 1");
    driver.unload(&job).expect_err("print is not to be trusted");
    driver.unload(&job).unwrap();
    driver.load(&job, false).unwrap();
    let none = Launchctl::new(PathBuf::from("/no/launchctl"), mac.folder(), uid(), LIMITS);
    trouble(none.load(&job, false), TroubleKind::NoManager, &["/no/launchctl could not be started"]);
}

#[test]
fn the_rest_of_a_group_gets_one_sigterm_unless_it_is_abandoned() {
    for abandon in [false, true] {
        let mac = Mac::new();
        let (driver, pid_file) = (mac.driver(), mac.dir().join("child"));
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; exec sleep 600", pid_file.display());
        let job = mac.job("web", &script);
        mac.write(&job, &[("AbandonProcessGroup", Value::from(abandon))]);
        driver.load(&job, false).unwrap();
        let read = || std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok();
        let child: i32 = wait_for("the child's pid", read);
        driver.unload(&job).unwrap();
        if abandon {
            assert!(lives(child));
        } else {
            wait_for("the child's end", || (!lives(child)).then_some(()));
        }
    }
}

#[test]
fn the_standin_answers_by_hand_as_launchctl_does() {
    let mac = Mac::new();
    let job = mac.job("web", FOREVER);
    // launchd passes over a key that is not spelt to the letter.
    let file = mac.write(&job, &[("ExitTimeout", Value::from(1)), ("ThrottleInterval", Value::from(600))]);
    let off = mac.job("off", FOREVER);
    mac.write(&off, &[]);
    let (target, domain) = (mac.target(&job), format!("gui/{}", uid()));
    let code = |args: &[&str]| mac.launchctl(args).status.code();
    let pid = || mac.driver().look(&job).unwrap().pid;

    mac.ctl(&["disable", &mac.target(&off)]);
    mac.ctl(&["login", mac.folder().to_str().unwrap()]);
    let first = wait_for("the start at login", pid);
    let list = mac.ctl(&["list"]);
    assert!(list.contains(&format!("{first}\t0\t{}\n", job.label)) && !list.contains(&off.label), "{list}");
    assert!(mac.ctl(&["print", &domain]).contains(&job.label));
    assert_eq!(mac.ctl(&["blame", &target]), "speculative\n");
    let log = std::fs::read_to_string(mac.standin_dir().join("standin.log")).unwrap();
    assert!(log.contains("Unknown key for plist importer (key: ExitTimeout)"), "{log}");

    assert_eq!(code(&["bootstrap", &domain, file.to_str().unwrap()]), Some(5));
    assert_eq!(code(&["bootstrap", "gui/4294967294", file.to_str().unwrap()]), Some(125));
    assert_eq!(code(&["kickstart", &format!("{target}.not")]), Some(113));
    assert_eq!(code(&["bootout", &format!("{target}.not")]), Some(3));
    assert_eq!(code(&["bootout", "--wait", &target]), Some(108), "no option of all systems");
    assert_eq!(code(&["load", file.to_str().unwrap()]), Some(64));
    assert_eq!(mac.ctl(&["error", "125"]), "125: Domain does not support specified action\n");

    // The throttle holds for a start by hand too, which waits for it: nothing comes of it here before the job is gone.
    mac.ctl(&["kill", "SIGKILL", &target]);
    let state = mac.wait_until(&job, "the throttle", |s| s.standing == Standing::Delayed);
    assert_eq!(state.last_exit.as_deref(), Some("Killed: 9"));
    #[expect(clippy::disallowed_methods, reason = "the stand-in for launchctl")]
    let mut kick = Guard(
        std::process::Command::new(mac.dir().join("launchctl")).args(["kickstart", "-k", &target]).spawn().unwrap(),
    );
    mac.driver().unload(&job).unwrap();
    assert_eq!(kick.0.wait().unwrap().code(), Some(113));

    // Switches outlive launchd, jobs do not.
    mac.ctl(&["login", mac.folder().to_str().unwrap()]);
    let second = wait_for("the start at the next login", pid);
    mac.ctl(&["shutdown"]);
    assert!(!lives(second));
    assert!(mac.driver().look(&off).unwrap().disabled);
    assert_eq!(mac.driver().look(&job).unwrap().standing, Standing::Absent);
}

#[test]
fn nothing_outlives_the_test_that_started_the_standin() {
    let mac = Mac::new();
    let (driver, job) = (mac.driver(), mac.job("web", FOREVER));
    #[expect(clippy::disallowed_methods, reason = "it stands for a test")]
    let test = Guard(std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap());
    mac.is("parent", &pid_of(&test.0).to_string());
    mac.write(&job, &[("AbandonProcessGroup", Value::from(true))]);
    driver.load(&job, false).unwrap();
    let pid = driver.look(&job).unwrap().pid.unwrap();
    drop(test);
    wait_for("the end of what was started", || (!lives(pid)).then_some(()));
    mac.is("parent", &std::process::id().to_string());
    assert!(program().exists());
}
