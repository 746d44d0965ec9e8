use super::*;
use crate::manager::job::tests::{fleet, site, task};
use crate::manager::job::{self, DAEMON, Site};
use crate::model::{Fleet, Schedule};

fn jobs(fleet: &Fleet, site: &Site) -> Vec<Job> {
    job::jobs(fleet, site, true).0
}

fn named(name: &str) -> Job {
    jobs(&fleet(), &site()).into_iter().find(|job| job.name == name).unwrap()
}

fn rendered(job: &Job) -> Dictionary {
    let bytes = render(job).unwrap_or_else(|unfit| panic!("{unfit:?}"));
    Value::from_reader(std::io::Cursor::new(bytes)).unwrap().into_dictionary().unwrap()
}

fn keys(dictionary: &Dictionary) -> Vec<&str> {
    dictionary.keys().map(String::as_str).collect()
}

fn at(minute: Option<u8>, hour: Option<u8>) -> CalendarTable {
    CalendarTable { minute, hour, ..Default::default() }
}

fn with_calendar(tables: &[CalendarTable]) -> Job {
    Job { calendar: tables.to_vec(), ..named("daily") }
}

#[test]
fn a_runner_is_kept_alive_unless_it_ends_well() {
    let gateway = rendered(&named("gateway"));
    assert_eq!(
        keys(&gateway),
        [
            "Label",
            "ProgramArguments",
            "EnvironmentVariables",
            "WorkingDirectory",
            "LimitLoadToSessionType",
            "KeepAlive",
            "RunAtLoad",
            "ThrottleInterval",
            "AbandonProcessGroup",
            "SoftResourceLimits",
            "ExitTimeOut",
            "ProcessType",
            "Umask",
            "StandardOutPath",
            "StandardErrorPath"
        ]
    );
    let keep = gateway["KeepAlive"].as_dictionary().unwrap();
    assert_eq!((keep.len(), keep["SuccessfulExit"].as_boolean()), (1, Some(false)));
    assert_eq!(gateway["RunAtLoad"].as_boolean(), Some(true));
    assert_eq!(gateway["ExitTimeOut"].as_unsigned_integer(), Some(66));
    assert_eq!(gateway["ThrottleInterval"].as_unsigned_integer(), Some(10));
    assert_eq!(gateway["Umask"].as_unsigned_integer(), Some(63));
    assert_eq!(gateway["StandardOutPath"], gateway["StandardErrorPath"]);
    assert_eq!(gateway["StandardOutPath"].as_string(), Some("/Users/u/Library/Logs/ai.openclaw.gateway.log"));
    let env = gateway["EnvironmentVariables"].as_dictionary().unwrap();
    assert_eq!(keys(env), ["HOME", "NODE_ENV", "PATH"], "no secret");
    assert_eq!(env["PATH"].as_string(), Some("/opt/x & y:/bin"));
}

#[test]
fn the_daemon_is_always_kept_alive_and_looked_after_by_the_calendar_too() {
    let daemon = rendered(&named(DAEMON));
    assert_eq!(daemon["KeepAlive"].as_boolean(), Some(true));
    assert_eq!(daemon["AbandonProcessGroup"].as_boolean(), Some(true));
    assert_eq!(daemon["ProcessType"].as_string(), Some("Interactive"));
    let slots = daemon["StartCalendarInterval"].as_array().unwrap();
    assert_eq!(slots.len(), 144);
    let (first, last) = (slots[0].as_dictionary().unwrap(), slots[143].as_dictionary().unwrap());
    let number = |slot: &Dictionary, key: &str| slot[key].as_unsigned_integer().unwrap();
    assert_eq!((number(first, "Hour"), number(first, "Minute")), (0, 0));
    assert_eq!((number(last, "Hour"), number(last, "Minute")), (23, 50));
}

#[test]
fn a_calendar_job_is_started_by_the_calendar_only() {
    let weekly = rendered(&named("weekly"));
    for key in ["KeepAlive", "RunAtLoad", "ThrottleInterval", "AbandonProcessGroup"] {
        assert!(!weekly.contains_key(key), "{key}");
    }
    assert_eq!(weekly["ProcessType"].as_string(), Some("Background"));
    let slots = weekly["StartCalendarInterval"].as_array().unwrap();
    let [slot] = slots.as_slice() else { panic!("{slots:?}") };
    let slot: Vec<_> = slot.as_dictionary().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_signed_integer())).collect();
    assert_eq!(slot, [("Weekday", Some(0)), ("Hour", Some(3)), ("Minute", Some(55))]);
}

#[test]
fn roots_launchd_is_told_the_user_and_no_session() {
    let root = Site { user: Some("u".into()), ..site() };
    for job in jobs(&fleet(), &root) {
        let plist = rendered(&job);
        assert_eq!(plist["UserName"].as_string(), Some("u"));
        assert!(!plist.contains_key("LimitLoadToSessionType"));
    }
}

#[test]
fn absent_hours_and_minutes_are_written_out_each_once_and_sundays_are_one() {
    let count = |tables: &[CalendarTable]| calendar(&with_calendar(tables)).unwrap().len();
    assert_eq!(count(&[at(Some(5), Some(4))]), 1);
    assert_eq!(count(&[at(None, Some(4))]), 60);
    assert_eq!(count(&[at(Some(5), None)]), 24);
    assert_eq!(count(&[at(None, None)]), 1440);
    assert_eq!(count(&[at(Some(5), None), at(Some(5), Some(4)), at(Some(6), Some(4))]), 25);
    let sunday = |weekday| CalendarTable { weekday: Some(weekday), ..at(Some(0), Some(4)) };
    assert_eq!(calendar(&with_calendar(&[sunday(7), sunday(0)])).unwrap(), [sunday(0)]);
    let yearly = CalendarTable { month: Some(12), day: Some(24), ..at(Some(0), Some(18)) };
    assert_eq!(calendar(&with_calendar(&[yearly, at(Some(0), Some(4))])).unwrap(), [at(Some(0), Some(4)), yearly]);
}

#[test]
fn what_launchd_cannot_be_told_is_refused_with_the_reason() {
    let gateway = || named("gateway");
    let monday = CalendarTable { weekday: Some(1), ..at(Some(0), Some(4)) };
    let day = |day| CalendarTable { day: Some(day), ..at(None, None) };
    for (job, word) in [
        (Job { label: "ai.openclaw.ä".into(), ..gateway() }, "Label"),
        (Job { label: "a b".into(), ..gateway() }, "Label"),
        (Job { label: String::new(), ..gateway() }, "Label"),
        (Job { timezone: Some("Europe/Zurich".into()), ..named("daily") }, "Europe/Zurich"),
        (with_calendar(&[CalendarTable { month: Some(2), ..monday }]), "weekday"),
        (with_calendar(&[day(1), day(2)]), "2880"),
        (with_calendar(&[at(Some(60), Some(4))]), "60"),
        (Job { argv: vec!["supervisor".into()], ..gateway() }, "no absolute path"),
        (Job { argv: vec![], ..gateway() }, "ProgramArguments"),
        (Job { log: "~/x.log".into(), ..gateway() }, "StandardOutPath"),
        (Job { argv: vec!["/bin/x".into(), "a\u{1b}".into()], ..gateway() }, "u{1b}"),
        (Job { argv: vec!["/bin/x".into(), "\u{ffff}".into()], ..gateway() }, "u{ffff}"),
    ] {
        let unfit = render(&job).unwrap_err();
        assert!(unfit.name == job.name && unfit.why.contains(word), "{word}: {unfit:?}");
    }
}

#[test]
fn days_and_hours_that_some_months_and_days_lack_are_told() {
    let of = |tables: &[CalendarTable]| warnings(&with_calendar(tables));
    let day = |day| CalendarTable { day: Some(day), ..at(Some(0), Some(12)) };
    assert_eq!(of(&[day(28), at(Some(59), Some(0)), at(Some(0), Some(4)), at(Some(0), None)]), Vec::<String>::new());
    assert!(of(&[day(28), day(29)])[0].contains("day 29"));
    assert!(of(&[at(Some(30), Some(1))])[0].contains("1 o'clock"));
    assert!(of(&[at(Some(59), Some(3))])[0].contains("3 o'clock"));
    assert_eq!(of(&[day(31), at(Some(30), Some(2))]).len(), 2);
    assert!(render(&with_calendar(&[day(31), at(Some(30), Some(2))])).is_ok(), "told, not refused");
}

/// Values that spoil a file when somebody forgets to escape them, read back as they were and compared with a file that other readers
/// than ours look at too (.ci/plists). Set UPDATE_GOLDEN to write it anew.
#[test]
fn odd_values_survive() {
    let odd = "a&b <c> \"d\" 'e' ]]> &amp; \u{1f99e} \u{e9} \\ %h $$ --";
    let job = Job {
        label: "com.example.Odd_1-2".into(),
        argv: vec!["/Users/u/my programs/a&b".into(), odd.into(), String::new(), " ends in a blank ".into()],
        env: [("HOME", "/Users/\u{1f99e} & co"), ("PATH", "/opt/x & y:/bin"), ("EMPTY", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        log: "/Users/\u{1f99e} & co/<log>.log".into(),
        exit_timeout_s: 86_400,
        ..named("gateway")
    };
    let plist = rendered(&job);
    let words: Vec<_> = plist["ProgramArguments"].as_array().unwrap().iter().map(|w| w.as_string().unwrap()).collect();
    assert_eq!(words, job.argv);
    let env = plist["EnvironmentVariables"].as_dictionary().unwrap();
    assert!(job.env.iter().all(|(key, value)| env[key].as_string() == Some(value)), "{env:?}");
    assert_eq!(plist["StandardErrorPath"].as_string(), job.log.to_str());
    assert_eq!(plist["WorkingDirectory"].as_string(), Some("/Users/\u{1f99e} & co"));
    let bytes = render(&job).unwrap();
    assert_eq!(bytes, render(&job).unwrap(), "the same bytes each time");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manager/golden/com.example.Odd_1-2.plist");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    assert_eq!(String::from_utf8(bytes).unwrap(), std::fs::read_to_string(path).unwrap());
}

#[test]
fn every_minute_of_the_day_is_a_file_of_reasonable_size() {
    let mut fleet = fleet();
    fleet.tasks.push(task("often", vec![Schedule::Table(at(None, None))]));
    let job = jobs(&fleet, &site()).pop().unwrap();
    let bytes = render(&job).unwrap();
    assert!(bytes.len() < 300_000, "{} bytes", bytes.len());
}
