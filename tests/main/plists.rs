//! `plists/` is what our services.toml becomes for launchd, for people to read and to compare with; and each file of it is one that
//! launchd takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plist::{Dictionary, Value};
use supervisor::config::{self, Source, Surroundings};
use supervisor::manager::job::{self, Job, Role, Site};
use supervisor::manager::{lint, plist as launchd};
use supervisor::model::{Fleet, ManagerKind};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Our services.toml, as a user called USER would have it.
fn fleet() -> Fleet {
    let text = std::fs::read_to_string(root().join("services.toml")).unwrap();
    let around = Surroundings { home: "/Users/USER".into(), vars: BTreeMap::new(), state_dir: None };
    let parsed = config::parse(&Source { path: "services.toml".into(), text }, &around);
    assert!(parsed.faults.is_empty(), "{:?}", parsed.faults);
    parsed.fleet.unwrap()
}

fn jobs(fleet: &Fleet) -> Vec<Job> {
    let home = Path::new("/Users/USER");
    let site = Site {
        program: home.join(".cargo/bin/supervisor"),
        config: home.join(".config/supervisor/services.toml"),
        state_dir: fleet.state_dir.clone(),
        home: home.into(),
        logs: home.join("Library/Logs"),
        user: None,
        embedded: false,
        manager: ManagerKind::Launchd,
    };
    let (jobs, unfit) = job::jobs(fleet, &site, true);
    assert_eq!(unfit, []);
    jobs
}

/// Set UPDATE_GOLDEN to write the files anew, then read the difference.
#[test]
fn they_are_what_our_services_become() {
    let folder = root().join("plists");
    let fleet = fleet();
    let jobs = jobs(&fleet);
    assert_eq!(jobs.len(), 1 + fleet.services.len() + fleet.tasks.len());
    let files: BTreeMap<String, Vec<u8>> =
        jobs.iter().map(|job| (launchd::file_name(&job.label), launchd::render(job).unwrap())).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let mut there: Vec<String> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort_unstable();
    assert_eq!(there, files.keys().cloned().collect::<Vec<_>>());
    for (name, bytes) in files {
        let golden = std::fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!(golden, String::from_utf8(bytes).unwrap(), "{name}");
    }
}

#[test]
fn launchd_takes_each_of_them() {
    for job in jobs(&fleet()) {
        let name = launchd::file_name(&job.label);
        let bytes = std::fs::read(root().join("plists").join(&name)).unwrap();
        // The weekly job's time, and that the calendar looks after a daemon that runs all the time, are as they are meant.
        let expected = match job.name.as_str() {
            job::DAEMON => vec!["KeepAlive: with", "Hour 1"],
            "weekly-tasks" => vec!["Hour 3"],
            _ => vec![],
        };
        let found = lint::lint_file(&bytes, &name);
        assert!(!found.iter().any(lint::Finding::is_error), "{name}: {found:?}");
        let mut said: Vec<String> = found.iter().map(ToString::to_string).collect();
        for word in expected {
            let at =
                said.iter().position(|text| text.contains(word)).unwrap_or_else(|| panic!("{name}: {word}: {found:?}"));
            said.remove(at);
        }
        assert_eq!(said, Vec::<String>::new(), "{name}");
    }
}

/// By another way than they were written: crate plist's reader.
#[test]
fn read_back_they_say_what_was_meant() {
    for job in jobs(&fleet()) {
        let path = root().join("plists").join(launchd::file_name(&job.label));
        let read: Dictionary = Value::from_file(path).unwrap().into_dictionary().unwrap();
        let words: Vec<_> =
            read["ProgramArguments"].as_array().unwrap().iter().map(|w| w.as_string().unwrap()).collect();
        assert_eq!(words, job.argv);
        assert_eq!(read["Label"].as_string(), Some(job.label.as_str()));
        assert_eq!(read["ExitTimeOut"].as_unsigned_integer(), Some(job.exit_timeout_s));
        assert_eq!(read["Umask"].as_signed_integer(), Some(0o077));
        let keep = read.get("KeepAlive");
        match job.role {
            Role::Daemon => assert_eq!(keep, Some(&Value::Boolean(true))),
            Role::Runner => assert!(keep.unwrap().as_dictionary().is_some()),
            Role::Task => assert_eq!(keep, None),
        }
        for key in ["RunAtLoad", "ThrottleInterval", "AbandonProcessGroup", "SoftResourceLimits"] {
            assert_eq!(read.contains_key(key), job.is_kept(), "{}: {key}", job.name);
        }
        assert_eq!(read.contains_key("StartCalendarInterval"), job.role != Role::Runner, "{}", job.name);
        let env = read["EnvironmentVariables"].as_dictionary().unwrap();
        assert!(job.env.iter().all(|(key, value)| env[key].as_string() == Some(value)) && env.len() == job.env.len());
    }
}

#[test]
fn launchd_gives_each_service_the_time_that_services_toml_does() {
    let fleet = fleet();
    let jobs = jobs(&fleet);
    for spec in &fleet.services {
        let job = jobs.iter().find(|job| job.name == spec.name.as_str()).unwrap();
        assert!(job.exit_timeout_s > spec.stop_timeout.as_secs(), "{}", spec.name);
    }
}
