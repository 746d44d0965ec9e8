use super::super::job::tests::{fleet, site};
use super::super::job::{Job, jobs};
use super::*;

/// A systemctl that says what it is told to, and writes down what it was asked.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        fake.link("systemctl");
        fake
    }

    fn link(&self, name: &str) {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manager/testing/systemctl");
        std::os::unix::fs::symlink(program, self.folder.path().join(name)).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// What it shows the nth time (from 1; 0: else), as (unit, state) for service and timer.
    fn shows(&self, nth: usize, service: &str, timer: &str) {
        let name = if nth == 0 { "show".to_owned() } else { format!("show.{nth}") };
        let unit = |suffix: &str, state: &str| {
            let id = format!("Id=x.{suffix}");
            format!("{id}\n{}\n", state.replace(' ', "\n"))
        };
        self.write(&name, &format!("{}\n{}", unit("service", service), unit("timer", timer)));
    }

    fn driver(&self) -> Systemctl {
        // Long enough for a machine that is busy.
        let limits = Limits { ask: Duration::from_secs(60), start: Duration::from_secs(60) };
        Systemctl::new(self.folder.path().join("systemctl"), self.folder.path().join("units"), Scope::User, limits)
    }

    /// What it was asked but how things are, without the options in between.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        let calls = text.lines().filter(|line| !line.starts_with("show"));
        calls.map(|line| line.replace("--quiet ", "").replace("-- ", "")).collect()
    }
}

fn job(name: &str) -> Job {
    let found = jobs(&fleet(), &site(), false).0.into_iter().find(|job| job.name == name).unwrap();
    Job { label: "x".into(), ..found }
}

const UP: &str = "LoadState=loaded ActiveState=active SubState=running MainPID=7 UnitFileState=enabled";
const IDLE: &str = "LoadState=loaded ActiveState=inactive SubState=dead MainPID=0 UnitFileState=disabled";
const NONE: &str = "LoadState=not-found ActiveState=inactive SubState=dead MainPID=0 UnitFileState=";

#[test]
fn a_load_reads_anew_enables_and_starts() {
    let fake = Fake::new();
    fake.shows(0, UP, NONE);
    fake.shows(1, NONE, NONE);
    fake.shows(2, IDLE, NONE);
    fake.driver().load(&job("gateway"), false).unwrap();
    assert_eq!(fake.calls(), ["daemon-reload", "enable x.service", "start x.service"]);
    let fake = Fake::new();
    fake.shows(0, IDLE, UP);
    fake.driver().load(&job("daily"), false).unwrap();
    assert_eq!(fake.calls(), ["daemon-reload", "enable x.timer", "restart x.timer"], "it had older times");
}

#[test]
fn what_a_person_has_masked_is_loaded_by_hand_only() {
    let masked = "LoadState=masked ActiveState=inactive SubState=dead MainPID=0 UnitFileState=masked";
    let fake = Fake::new();
    fake.shows(0, masked, NONE);
    let trouble = fake.driver().load(&job("gateway"), false).unwrap_err();
    assert_eq!((trouble.kind, fake.calls()), (TroubleKind::SwitchedOff, vec!["daemon-reload".to_owned()]));
    assert!(trouble.to_string().contains("systemctl --user unmask x.service"), "{trouble}");
    let fake = Fake::new();
    fake.shows(0, UP, NONE);
    fake.shows(1, masked, NONE);
    fake.driver().load(&job("gateway"), true).unwrap();
    assert_eq!(fake.calls()[..3], ["unmask x.service", "unmask --runtime x.service", "daemon-reload"]);
}

#[test]
fn what_is_refused_or_missing_is_not_started() {
    let fake = Fake::new();
    let bad = "LoadState=bad-setting LoadError=E ActiveState=inactive MainPID=0";
    fake.shows(0, bad, NONE);
    let trouble = fake.driver().load(&job("gateway"), true).unwrap_err();
    assert_eq!((trouble.kind, fake.calls().len()), (TroubleKind::BadFile, 1), "{trouble}");
    assert!(trouble.message.contains("units/x.service: E"), "{trouble}");
    // systemd's checker says more.
    fake.link("systemd-analyze");
    let trouble = fake.driver().load(&job("gateway"), true).unwrap_err();
    assert!(trouble.message.ends_with("units/x.service:4: Unknown key"), "{trouble}");
    fake.shows(0, NONE, NONE);
    let trouble = fake.driver().load(&job("gateway"), true).unwrap_err();
    assert!(trouble.kind == TroubleKind::Other && trouble.message.contains("finds no x.service"), "{trouble}");
}

#[test]
fn a_start_that_fails_says_how_the_program_ended() {
    let fake = Fake::new();
    fake.shows(0, &format!("{IDLE} ExecMainCode=1 ExecMainStatus=5"), NONE);
    fake.write("start.says", "Job for x.service failed because the control process exited with error code.\nSee it.\n");
    let trouble = fake.driver().load(&job("gateway"), false).unwrap_err();
    assert!(trouble.kind == TroubleKind::Other && trouble.message.contains("exited with 5"), "{trouble}");
    assert!(trouble.hint.unwrap().contains("journalctl --user -u x.service"));
}

#[test]
fn an_unload_leaves_nothing_of_it() {
    let fake = Fake::new();
    fake.shows(0, IDLE, IDLE);
    fake.shows(1, &UP.replace("enabled", "static"), UP);
    fake.write("clean.says", "Failed to connect to bus: No such file or directory\n");
    fake.write("reset-failed.says", "Unit x.timer not loaded.\n");
    fake.driver().unload(&job("daily")).unwrap();
    let ended = ["disable x.timer", "disable x.service", "stop x.timer"];
    let after = ["clean --what=state x.timer", "reset-failed x.timer", "stop x.service", "reset-failed x.service"];
    assert_eq!(fake.calls(), [&ended[..], &after[..]].concat());
    let fake = Fake::new();
    fake.shows(0, NONE, NONE);
    fake.driver().unload(&job("gateway")).unwrap();
    assert_eq!(fake.calls(), ["reset-failed x.timer", "reset-failed x.service"], "what is not there is no trouble");
    fake.shows(0, UP, NONE);
    assert_eq!(fake.driver().unload(&job("gateway")).unwrap_err().kind, TroubleKind::TimedOut);
}

#[test]
fn a_kick_is_not_waited_for() {
    let fake = Fake::new();
    fake.driver().kick(&job("daily")).unwrap();
    assert_eq!(fake.calls(), ["start --no-block x.service"]);
}

#[test]
fn links_to_what_is_gone_are_removed() {
    let fake = Fake::new();
    let wants = fake.folder.path().join("units/default.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    for (name, to) in [("x.service", "/no/such/file"), ("y.service", "/no/such/file")] {
        std::os::unix::fs::symlink(to, wants.join(name)).unwrap();
    }
    fake.driver().forget(&job("gateway")).unwrap();
    assert!(!wants.join("x.service").is_symlink() && wants.join("y.service").is_symlink());
    assert_eq!(fake.calls()[0], "daemon-reload");
    // One that is there is no business of this.
    std::fs::write(fake.folder.path().join("units/x.service"), "").unwrap();
    std::os::unix::fs::symlink("../x.service", wants.join("x.service")).unwrap();
    fake.driver().forget(&job("gateway")).unwrap();
    assert!(wants.join("x.service").exists());
}

#[test]
fn without_a_manager_nothing_is_attempted() {
    let fake = Fake::new();
    for said in [
        "Failed to connect to bus: No medium found",
        "Failed to connect to user scope bus via local transport: No such file or directory",
        "System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down",
    ] {
        fake.write("daemon-reload.says", said);
        let trouble = fake.driver().forget(&job("gateway")).unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::NoManager, "{said}");
        assert!(trouble.hint.unwrap().contains("enable-linger"));
    }
    fake.write("reset-failed.says", "Failed to connect to bus: No medium found");
    fake.shows(0, NONE, NONE);
    assert_eq!(fake.driver().unload(&job("gateway")).unwrap_err().kind, TroubleKind::NoManager);
    let none = Systemctl::new("/no/systemctl".into(), "/u".into(), Scope::User, Limits::default());
    let trouble = none.look(&job("gateway")).unwrap_err();
    assert!(trouble.kind == TroubleKind::NoManager && trouble.message.contains("no systemctl"), "{trouble}");
}

#[test]
fn what_hangs_is_given_up() {
    let fake = Fake::new();
    fake.write("daemon-reload.hangs", "");
    let limits = Limits { ask: Duration::from_millis(200), start: Duration::from_millis(200) };
    let trouble = Systemctl { limits, ..fake.driver() }.forget(&job("gateway")).unwrap_err();
    assert!(trouble.kind == TroubleKind::TimedOut && trouble.message.contains("daemon-reload"), "{trouble}");
}

#[test]
fn other_troubles_are_told_in_its_words() {
    let fake = Fake::new();
    for (said, kind) in [
        ("Failed to start x.service: Unit x.service is masked.", TroubleKind::SwitchedOff),
        ("Failed to start x.service: Unit x.service has a bad unit file setting.", TroubleKind::BadFile),
        ("Failed to start x.service: Access denied", TroubleKind::Other),
        ("", TroubleKind::Other),
    ] {
        fake.write("start.says", said);
        let trouble = fake.driver().kick(&job("gateway")).unwrap_err();
        assert!(trouble.kind == kind && trouble.message.contains(said), "{trouble}");
        assert!(trouble.message.starts_with("systemctl --user start"), "{trouble}");
    }
}

#[test]
fn a_user_is_for_the_machines_systemd_alone() {
    let fake = Fake::new();
    let (own, with_user) = (job("gateway"), Job { user: Some("u".into()), ..job("gateway") });
    let system = Systemctl { scope: Scope::System, ..fake.driver() };
    assert!(fake.driver().render(&own).is_ok() && system.render(&with_user).is_ok());
    assert!(fake.driver().render(&with_user).unwrap_err().why.contains("cannot start it as u"));
    assert!(system.render(&own).unwrap_err().why.contains("name a user"));
    let folder = |scope, config: Option<&str>| Systemctl::folder_of(scope, Path::new("/h"), config.map(Path::new));
    assert_eq!(folder(Scope::User, None), Path::new("/h/.config/systemd/user"));
    assert_eq!(folder(Scope::User, Some("relative")), Path::new("/h/.config/systemd/user"));
    assert_eq!(folder(Scope::User, Some("/c")), Path::new("/c/systemd/user"));
    assert_eq!(folder(Scope::System, Some("/c")), Path::new("/etc/systemd/system"));
}
