use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::gather::{look, program};
use super::*;
use crate::manager::driver::{JobState, Standing, Trouble, TroubleKind};
use crate::manager::job::{self, Role, Unfit};
use crate::manager::owners::{Owner, OwnerKind};
use crate::model::{ManagerKind, Moment, Mono, UnitName};
use crate::process::ports;
use crate::store::Check;

/// A Mac on which everything is well.
fn well() -> Facts {
    Facts {
        is_mac: true,
        home: "/Users/u".into(),
        user: "u".into(),
        uid: 501,
        now: Moment { mono: Mono(1_000_000_000), boot_ns: 2_000_000_000, wall_ms: 1_795_341_780_000 },
        zone: Ok(()),
        config: ConfigFacts { path: "/c/services.toml".into(), faults: 0, mode_and_owner: Some((0o600, 501)) },
        own_program: "/Users/u/.cargo/bin/supervisor".into(),
        state: vec![StateFolder {
            path: "/s".into(),
            what: "the state directory",
            writable: Ok(()),
            mode: Some(0o700),
        }],
        disk: Some(Disk { folder: "/s".into(), free: 50 << 30, size: 100 << 30 }),
        database: DatabaseFacts { path: "/s/db".into(), check: Some(Ok(Check { finished: true, ..Check::default() })) },
        programs: vec![found("/opt/homebrew/bin/openclaw")],
        places: vec![place("/Users/u/x", Seen::Fine)],
        env_files: vec![EnvFile { unit: "gateway".into(), path: "/e".into(), read: Ok(()) }],
        ports: vec![PortFacts { unit: "gateway".into(), port: 1, stranger: None }],
        manager: ManagerKind::Launchd,
        jobs: vec![with(Standing::Running, |_| {})],
        unfit: Vec::new(),
        owners: Vec::new(),
        alerts: AlertFacts::default(),
        has_session: Some(true),
        lingers: None,
    }
}

fn found(path: &str) -> ProgramFacts {
    ProgramFacts {
        unit: "gateway".into(),
        argv: vec![path.into()],
        found: Ok(path.into()),
        real: Some(path.into()),
        leads_nowhere: None,
        interpreter: None,
        node: None,
        venv: None,
    }
}

fn place(path: &str, seen: Seen) -> Place {
    Place {
        unit: "gateway".into(),
        what: "its working directory",
        path: path.into(),
        needed: true,
        seen,
        program: Some("/v/bin/python".into()),
    }
}

fn with(standing: Standing, change: impl FnOnce(&mut JobFacts)) -> JobFacts {
    let (mut jobs, _) = job::jobs(&job::tests::fleet(), &job::tests::site(), false);
    let job = jobs.remove(1);
    assert_eq!((job.name.as_str(), job.role), ("gateway", Role::Runner));
    let pid = (standing == Standing::Running).then_some(7);
    let state = JobState { standing, pid, domain: Some("gui/501".into()), ..JobState::absent(false) };
    let mut facts = JobFacts {
        job,
        wanted: true,
        manager: ManagerKind::Launchd,
        state: Ok(state),
        runner: Some(7),
        warnings: vec![],
    };
    change(&mut facts);
    facts
}

#[test]
fn where_all_is_well_nothing_else_is_said() {
    let found = examine(&well());
    assert!(found.iter().all(|finding| finding.level == Level::Ok && finding.remedy.is_none()), "{found:#?}");
    assert!(found.len() >= 12, "{found:#?}");
}

type Change = fn(&mut Facts);

/// What is done to a Mac on which everything is well, how bad that is, what is said, and what mends it.
const AILMENTS: &[(Change, Level, &str, &str)] = &[
    (|f| f.config.faults = 2, Level::Bad, "has 2 faults", "supervisor check"),
    (|f| f.config.mode_and_owner = Some((0o644, 501)), Level::Note, "others can read", "chmod 600"),
    (|f| f.own_program = "/src/target/debug/supervisor".into(), Level::Warn, "a folder of builds", "cargo install"),
    (|f| f.own_program = "/tmp/supervisor".into(), Level::Warn, "is emptied", "cargo install"),
    (
        |f| f.own_program = "/opt/homebrew/Cellar/supervisor/0.3.0/bin/supervisor".into(),
        Level::Warn,
        "goes at the next upgrade",
        "/opt/homebrew/bin",
    ),
    (|f| f.state[0].writable = Err("denied".into()), Level::Bad, "cannot be written: denied", "chown"),
    (|f| f.state[0].mode = Some(0o777), Level::Bad, "others can write into", "chmod go-w '/s'"),
    (|f| f.disk.as_mut().unwrap().free = 5 << 20, Level::Bad, "5 MiB are free", "make room"),
    (|f| f.disk.as_mut().unwrap().free = 500 << 20, Level::Warn, "500 MiB are free", "make room"),
    (|f| f.database.check = Some(Err("no database".into())), Level::Bad, "no database", "mv '/s/db'"),
    (|f| check(f).troubles = vec!["row 7 missing".into()], Level::Bad, "damaged: row 7 missing", ".recover"),
    (|f| check(f).finished = false, Level::Note, "too large", "quick_check"),
    (|f| check(f).foreign = Some("made by another".into()), Level::Note, "made by another", ""),
    (|f| check(f).newest_ms = Some(1_795_341_900_000), Level::Warn, "set back", "set the clock right"),
    (|f| f.now.wall_ms = 1_000_000_000_000, Level::Bad, "its clock says 2001-09-09", "set it"),
    (|f| f.now.boot_ns = 200_000_000_000_000_000, Level::Warn, "up for 2314 days", "set it"),
    (|f| f.now.mono = Mono(3_000_000_000), Level::Warn, "out of order", ""),
    (|f| f.manager = ManagerKind::Systemd, Level::Bad, "manager = \"systemd\"", "manager = \"auto\""),
    (|f| f.is_mac = false, Level::Bad, "manager = \"launchd\"", "manager = \"auto\""),
    (|f| f.zone = Err("no such zone".into()), Level::Warn, "no such zone", "TZ"),
    (|f| f.has_session = Some(false), Level::Warn, "agents do not run", "supervisor install --system"),
    (|f| f.lingers = Some(false), Level::Warn, "at log-out", "loginctl enable-linger u"),
    (|f| f.programs[0].found = Err("it is not there".into()), Level::Bad, "it is not there", "install it"),
    (
        |f| {
            f.programs[0].found = Err("x".into());
            f.programs[0].leads_nowhere = Some(("/v/bin/python".into(), "/gone/python3.11".into()));
        },
        Level::Bad,
        "/v/bin/python is a link to /gone/python3.11, which has gone",
        "python3 -m venv --clear",
    ),
    (
        |f| f.programs[0].venv = Some(("/gone/bin".into(), false)),
        Level::Bad,
        "from a Python in /gone/bin",
        "venv --clear",
    ),
    (|f| f.programs[0].node = Some(Ok("v20.19.0".into())), Level::Bad, "Node is v20.19.0", "brew install node"),
    (|f| f.programs[0].node = Some(Ok("22".into())), Level::Warn, "says \"22\"", ""),
    (|f| f.programs[0].node = Some(Err("killed".into())), Level::Warn, "killed", ""),
    (
        |f| f.programs[0].interpreter = Some(("/usr/bin/env node".into(), Err("not on PATH".into()))),
        Level::Bad,
        "begins with #!/usr/bin/env node, and that is not there: not on PATH",
        "env.PATH",
    ),
    (
        |f| f.programs[0].interpreter = Some(("x".into(), Ok("/Users/u/.nvm/versions/node/v22.1.0/bin/node".into()))),
        Level::Warn,
        "its interpreter /Users/u/.nvm",
        "Homebrew",
    ),
    (|f| f.places = vec![place("/x", Seen::Absent)], Level::Bad, "/x does not exist", "mkdir -p '/x'"),
    (
        |f| f.places = vec![Place { needed: false, ..place("/x", Seen::Absent) }],
        Level::Warn,
        "/x does not exist",
        "mkdir",
    ),
    (|f| f.places = vec![place("/x", Seen::Denied)], Level::Bad, "may not be read", "ls -ld"),
    (
        |f| f.places = vec![place("/Users/u/Desktop/a", Seen::Denied)],
        Level::Bad,
        "may not be read",
        "Full Disk Access: add /v/bin/python",
    ),
    (
        |f| f.places = vec![place("/Users/u/Downloads", Seen::Fine)],
        Level::Warn,
        "~/Downloads, which macOS guards",
        "Full Disk",
    ),
    (|f| f.places = vec![place("/Volumes/x", Seen::Fine)], Level::Warn, "/Volumes, which macOS guards", "Full Disk"),
    (|f| f.places = vec![place("/n", Seen::Slow)], Level::Bad, "does not answer", "network volume"),
    (|f| f.places = vec![place("/n", Seen::Other("loop".into()))], Level::Bad, "/n: loop", ""),
    (|f| f.env_files[0].read = Err("run: chmod 600 /e".into()), Level::Bad, "chmod 600 /e", ""),
    (
        |f| f.ports[0].stranger = Some(ports::Owner { pid: Some(9), command: "nginx".into() }),
        Level::Bad,
        "port 1 is taken by nginx (pid 9)",
        "kill 9",
    ),
    (
        |f| f.ports[0].stranger = Some(ports::Owner { pid: None, command: "somebody".into() }),
        Level::Bad,
        "by somebody",
        "lsof -nP -iTCP:1",
    ),
    (
        |f| f.unfit.push(Unfit { name: "t".into(), why: "launchd cannot say it".into() }),
        Level::Bad,
        "cannot be installed: launchd cannot say it",
        "",
    ),
    (
        |f| f.jobs = vec![with(Standing::Absent, |_| {})],
        Level::Warn,
        "ai.openclaw.gateway is not installed",
        "supervisor install",
    ),
    (
        |f| f.jobs = vec![with(Standing::Absent, |job| job.wanted = false)],
        Level::Note,
        "after a log-in or boot nothing starts it",
        "supervisor install",
    ),
    (
        |f| f.jobs = vec![with(Standing::CannotStart("78: EX_CONFIG".into()), |_| {})],
        Level::Bad,
        "cannot be started: 78: EX_CONFIG",
        "log folder",
    ),
    (
        |f| f.jobs = vec![with(Standing::Pended("speculative".into()), |_| {})],
        Level::Bad,
        "held back (speculative)",
        "launchctl kickstart gui/501/ai.openclaw.gateway",
    ),
    (
        |f| f.jobs = vec![with(Standing::Running, |job| job.runner = Some(8))],
        Level::Warn,
        "pid 7, and another runner (pid 8)",
        "kill 8",
    ),
    (|f| f.jobs = vec![with(Standing::Delayed, |_| {})], Level::Warn, "waits for its next start", ""),
    (|f| f.jobs = vec![with(Standing::Stopping, |_| {})], Level::Note, "is being ended", ""),
    (|f| f.jobs = vec![with(Standing::Stopped, |_| {})], Level::Warn, "does not run", "kickstart"),
    (
        |f| f.jobs = vec![with(Standing::Running, |job| job.state.as_mut().unwrap().disabled = true)],
        Level::Warn,
        "switched off",
        "launchctl enable gui/501/ai.openclaw.gateway",
    ),
    (|f| f.jobs = vec![with(Standing::Running, |job| job.warnings = vec!["day 31".into()])], Level::Note, "day 31", ""),
    (
        |f| {
            let trouble = Trouble::new(TroubleKind::TimedOut, "launchctl did not answer").hint("try again");
            f.jobs = vec![with(Standing::Running, |job| job.state = Err(trouble))];
        },
        Level::Warn,
        "launchctl did not answer",
        "try again",
    ),
    (
        |f| {
            f.owners.push(Owner {
                service: UnitName::new("gateway").unwrap(),
                kind: OwnerKind::Launchd,
                who: "launchd job x".into(),
                same_label: true,
                file: None,
                stop: "launchctl bootout".into(),
            });
        },
        Level::Bad,
        "somebody else starts it too, under the label that ours is to have: launchd job x",
        "launchctl bootout",
    ),
];

fn check(facts: &mut Facts) -> &mut Check {
    facts.database.check.as_mut().unwrap().as_mut().unwrap()
}

#[test]
fn each_ailment_is_told_once_with_what_mends_it() {
    for (number, (change, level, what, remedy)) in AILMENTS.iter().enumerate() {
        let mut facts = well();
        change(&mut facts);
        let mut ill = examine(&facts);
        ill.retain(|finding| finding.level != Level::Ok);
        let [one] = ill.as_slice() else { panic!("{number} ({what}): {ill:#?}") };
        assert!(one.level == *level && one.what.contains(what), "{number}: {one:#?}");
        let mends = one.remedy.as_deref().unwrap_or_default();
        assert!(mends.contains(remedy) && (mends.is_empty() == remedy.is_empty()), "{number} ({what}): {mends:?}");
    }
    let mut facts = well();
    facts.jobs = vec![with(Standing::Pended("x".into()), |job| job.manager = ManagerKind::Systemd)];
    let pended = examine(&facts).into_iter().find(|finding| finding.level == Level::Bad).unwrap();
    assert_eq!(pended.remedy.as_deref(), Some("systemctl --user start ai.openclaw.gateway"));
}

#[test]
fn paths_that_go_at_an_upgrade_are_told_and_lasting_ones_are_not() {
    let of = |path: &str, real: &str| {
        let facts = ProgramFacts { real: Some(real.into()), ..found(path) };
        programs::program(&facts).into_iter().find(|finding| finding.level == Level::Warn).map(|f| f.remedy.unwrap())
    };
    let same = |path: &str| of(path, path);
    for (path, word) in [
        ("/Users/u/.nvm/versions/node/v22.1.0/bin/node", "Homebrew"),
        ("/Users/u/.local/share/fnm/node-versions/v22/installation/bin/node", "aliases/default"),
        ("/Users/u/.local/state/fnm_multishells/123/bin/node", "when that shell ends"),
        ("/Users/u/.asdf/installs/nodejs/22.1.0/bin/node", "shims"),
        ("/Users/u/.local/share/mise/installs/node/22.1.0/bin/node", "shims"),
        ("/Users/u/.volta/tools/image/node/22.1.0/bin/node", ".volta/bin"),
        ("/Users/u/.pyenv/versions/3.12.1/bin/python", "virtual environment"),
        ("/Users/u/.rbenv/versions/3.3.0/bin/ruby", "shims"),
        ("/opt/homebrew/Cellar/node/22.1.0/bin/node", "/opt/homebrew/bin"),
        ("/usr/local/Cellar/node/22.1.0/bin/node", "/usr/local/bin"),
        ("/snap/node/8123/bin/node", "/snap/node/current/"),
    ] {
        assert!(same(path).is_some_and(|remedy| remedy.contains(word)), "{path}: {:?}", same(path));
    }
    for path in [
        "/opt/homebrew/bin/node",
        "/usr/bin/python3",
        "/Users/u/.volta/bin/node",
        "/snap/node/current/bin/node",
        "/snap/bin/node",
    ] {
        assert_eq!(same(path), None, "{path}");
    }
    // Homebrew renews its links; nobody renews one that somebody made to nvm's folder.
    assert_eq!(of("/opt/homebrew/bin/node", "/opt/homebrew/Cellar/node/22.1.0/bin/node"), None);
    assert!(of("/Users/u/.local/bin/node", "/Users/u/.nvm/versions/node/v22.1.0/bin/node").is_some());
}

#[test]
fn without_a_service_manager_nobody_has_to_be_logged_in() {
    let mut facts = well();
    (facts.has_session, facts.lingers, facts.manager) = (Some(false), Some(false), ManagerKind::Embedded);
    assert_eq!(worst(&examine(&facts)), Level::Ok);
    (facts.manager, facts.jobs) = (ManagerKind::Auto, Vec::new());
    assert_eq!(worst(&examine(&facts)), Level::Note);
}

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_programs_interpreter_is_found_on_the_services_own_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let cwd = Path::new("/");
    let of = |name: &str| program("gateway", &[name.to_owned(), "gateway".into()], path, cwd);
    script(folder.path(), "openclaw", "#!/usr/bin/env node\n");
    let without = of("openclaw");
    assert!(without.interpreter.unwrap().1.unwrap_err().contains("\"node\" is not on the service's PATH"));
    assert_eq!(without.node, None);

    let node = script(folder.path(), "node", "#!/bin/sh\n[ \"$1\" = --version ] && echo v22.3.0\n");
    let facts = of("openclaw");
    assert_eq!(facts.interpreter, Some(("/usr/bin/env node".into(), Ok(node.clone()))));
    assert_eq!(facts.node, Some(Ok("v22.3.0".into())));
    script(folder.path(), "node", "#!/bin/sh\necho broken >&2; exit 1\n");
    assert_eq!(of("openclaw").node, Some(Err("broken".into())));

    script(folder.path(), "options", "#!/usr/bin/env -S A=1 node --flag\n");
    assert_eq!(of("options").interpreter.unwrap().1, Ok(node));
    assert_eq!(of("options").node, None, "whose version nobody asked for");
    script(folder.path(), "plain", "#! /no/such/interpreter -x\n");
    assert!(of("plain").interpreter.unwrap().1.unwrap_err().contains("/no/such/interpreter does not exist"));
    assert!(of("nowhere").found.is_err());
}

#[test]
fn a_virtual_environment_tells_where_its_python_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let python = script(&bin, "python", "#!/bin/sh\n");
    let of = || program("e", &[python.to_str().unwrap().to_owned()], "", Path::new("/"));
    assert_eq!(of().venv, None);
    let home = |home: &Path| {
        std::fs::write(folder.path().join("pyvenv.cfg"), format!("version = 3\nhome = {}\n", home.display()))
    };
    home(&bin).unwrap();
    assert_eq!(of().venv, Some((bin.clone(), true)));
    home(Path::new("/gone/bin")).unwrap();
    assert_eq!(of().venv, Some(("/gone/bin".into(), false)));
    std::fs::remove_file(&python).unwrap();
    std::os::unix::fs::symlink("/gone/python3", &python).unwrap();
    assert_eq!(of().leads_nowhere, Some((python.clone(), "/gone/python3".into())));
}

#[test]
fn a_folder_that_is_absent_is_told_from_one_that_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(look(folder.path()), Seen::Fine);
    assert_eq!(look(&folder.path().join("none")), Seen::Absent);
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(look(&folder.path().join("file")), Seen::Other(_)));
    if !nix::unistd::geteuid().is_root() {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(look(folder.path()), Seen::Denied);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn the_ledger_is_looked_at_as_a_whole() {
    use crate::store::{Ledger, Reader};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observability.sqlite");
    drop(Ledger::open(&path).unwrap());
    let check = Reader::open(&path).unwrap().check(std::time::Duration::from_secs(20)).unwrap();
    assert_eq!(check, Check { finished: true, ..Check::default() });

    // A page in the middle that is nobody's.
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.len() / 2 / 4096 * 4096;
    bytes[page..page + 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let broken = Reader::open(&path).and_then(|reader| reader.check(std::time::Duration::from_secs(20)));
    assert!(broken.is_err() || broken.is_ok_and(|check| !check.troubles.is_empty()));
}

#[test]
fn each_sink_is_told_as_it_fares() {
    use crate::model::SinkState;
    let sink = |name: &str, unusable: Option<&str>, never_used, failures| SinkFacts {
        name: name.into(),
        unusable: unusable.map(Into::into),
        never_used,
        state: (!never_used).then(|| SinkState { failures, error: Some("refused".into()), ..SinkState::default() }),
    };
    let alerts = AlertFacts {
        sinks: vec![
            sink("once", None, false, 1),
            sink("often", None, false, 5),
            sink("broken", Some("its secret is not there"), true, 0),
            sink("unused", None, true, 0),
        ],
        only_through_our_own: None,
        given_up: vec![("often".into(), 1), ("old".into(), 12)],
    };
    let found: Vec<_> =
        super::alerts::alerts(&alerts).into_iter().map(|finding| (finding.level, finding.what)).collect();
    let expected = [
        (Level::Bad, "once has failed once: refused"),
        (Level::Bad, "often has failed 5 times in a row: refused"),
        (Level::Bad, "nobody is told through broken: its secret is not there"),
        (Level::Note, "unused was never used"),
        (Level::Warn, "1 notice of the last week did not arrive through often: refused, or tried for too long"),
        (Level::Warn, "12 notices of the last week did not arrive through old: refused, or tried for too long"),
    ];
    assert_eq!(found, expected.map(|(level, what)| (level, what.to_owned())));
}
