use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::job::tests::{fleet, site, task};
use super::super::job::{Site, jobs};
use super::*;
use crate::model::{CatchUp, ManagerKind, Schedule};

/// The jobs of a machine with Linux; HOME is the same everywhere, so that the golden files are.
fn all() -> Vec<Job> {
    let mut fleet = fleet();
    fleet.services[0].env.insert("PATH".into(), "/opt/x & \"y\" 100%:\\bin $HOME 😀".into());
    let table = |day, weekday| CalendarTable { day, weekday, hour: Some(3), ..Default::default() };
    let mut odd = task("odd", vec![Schedule::Table(table(Some(1), Some(7))), Schedule::Table(table(None, Some(0)))]);
    odd.timezone = Some("Europe/Vienna".into());
    odd.catch_up = CatchUp::Skip;
    fleet.tasks.push(odd);
    let site = Site {
        program: "/home/USER/.cargo/bin/supervisor".into(),
        config: "/home/USER/my 100% config/services.toml".into(),
        state_dir: "/home/USER/.openclaw".into(),
        home: "/home/USER".into(),
        logs: "/home/USER/.openclaw/logs".into(),
        manager: ManagerKind::Systemd,
        ..site()
    };
    let (jobs, unfit) = jobs(&fleet, &site, false);
    assert_eq!(unfit, []);
    jobs
}

fn job(name: &str) -> Job {
    all().into_iter().find(|job| job.name == name).unwrap()
}

fn texts(job: &Job) -> BTreeMap<String, String> {
    let files = render(job).unwrap();
    files.into_iter().map(|file| (file.name, String::from_utf8(file.bytes).unwrap())).collect()
}

/// With UPDATE_GOLDEN=1 they are written.
#[test]
fn every_job_reads_as_it_should() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manager/golden");
    let mut names = Vec::new();
    for (name, text) in all().iter().flat_map(texts) {
        let path = folder.join(&name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}");
        names.push(name);
    }
    let ours = |name: &String| name.ends_with(".service") || name.ends_with(".timer");
    let there = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<String> = there.filter(ours).collect();
    names.sort();
    there.sort();
    assert_eq!(names, there);
    assert_eq!(names.len(), 8, "the daemon's times are launchd's alone: {names:?}");
}

#[test]
fn for_the_whole_machine_it_names_its_user() {
    let system = |name: &str| Job { user: Some("u".into()), ..job(name) };
    let text = &texts(&system("gateway"))["ai.openclaw.gateway.service"];
    assert!(text.contains("\nUser=u\n") && text.contains("\nWantedBy=multi-user.target\n"), "{text}");
    let timer = &texts(&system("daily"))["ai.openclaw.daily.timer"];
    assert!(timer.contains("\nWantedBy=timers.target\n"));
}

#[test]
fn what_systemd_cannot_hold_is_refused() {
    let refused = |job: Job, why: &str| {
        let unfit = render(&job).unwrap_err();
        assert!(unfit.name == job.name && unfit.why.contains(why), "{unfit:?}");
    };
    let gateway = || job("gateway");
    for label in ["", "ai open.x", "ai@x", "a/b", "é", ".x", "-x", "a\nb"] {
        refused(Job { label: label.into(), ..gateway() }, "name of a systemd unit");
    }
    refused(Job { label: "x".repeat(248), ..gateway() }, "248 bytes");
    render(&Job { label: "x".repeat(247), ..gateway() }).unwrap();
    refused(Job { argv: Vec::new(), ..gateway() }, "no program");
    for program in ["supervisor", "./supervisor", "", "/usr/bin/"] {
        refused(Job { argv: vec![program.into()], ..gateway() }, "absolute path");
    }
    for program in ["/it's", "/a\"b", "/a\\b"] {
        refused(Job { argv: vec![program.into()], ..gateway() }, "quotes or a backslash");
    }
    refused(Job { argv: vec!["/x".into(), "a\nUser=root".into()], ..gateway() }, "control character");
    let env = |key: &str, value: &str| Job { env: [(key.to_owned(), value.to_owned())].into(), ..gateway() };
    refused(env("A", "b\r"), "control character");
    refused(env("A B", "x"), "variable");
    refused(env("", "x"), "variable");
    refused(env("HOME", "/home/u "), "HOME");
    refused(env("HOME", "/home/u\\"), "HOME");
    refused(Job { user: Some("a b".into()), ..gateway() }, "user");
    let at = |table| Job { calendar: vec![table], ..job("daily") };
    refused(at(CalendarTable { minute: Some(60), ..Default::default() }), "no minute 60");
    refused(at(CalendarTable { day: Some(0), ..Default::default() }), "no day 0");
    refused(at(CalendarTable { weekday: Some(8), ..Default::default() }), "no weekday 8");
    refused(Job { calendar: Vec::new(), ..job("daily") }, "no times");
    refused(Job { timezone: Some("Europe/Vienna *".into()), ..job("daily") }, "no time zone");
}

/// What systemd's parser makes of a line of quoted words (extract_first_word with UNQUOTE and CUNESCAPE, and specifiers).
fn unquoted(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        let mut quote = false;
        while let Some(c) = chars.next() {
            match c {
                '"' => quote = !quote,
                '\\' => word.push(chars.next().unwrap()),
                '%' => {
                    assert_eq!(chars.next(), Some('%'), "a specifier in {line}");
                    word.push('%');
                }
                ' ' if !quote => break,
                c => {
                    assert!(quote || !"'#;$".contains(c), "{c} has a meaning of its own in {line}");
                    word.push(c);
                }
            }
        }
        assert!(!quote, "{line}");
        words.push(word);
    }
    words
}

proptest! {
    #[test]
    fn every_argument_and_value_comes_through(arguments in prop::collection::vec("\\PC*", 0..6), value in "\\PC*") {
        let mut job = job("gateway");
        job.argv.truncate(1);
        job.argv.extend(arguments);
        job.env.insert("X".into(), value);
        let fits = job.argv.iter().chain(job.env.values()).all(|text| !text.contains(char::is_control));
        prop_assume!(fits);
        let text = texts(&job).remove("ai.openclaw.gateway.service").unwrap();
        let of = |key: &str| -> Vec<String> { text.lines().filter_map(|l| l.strip_prefix(key)).map(str::to_owned).collect() };
        prop_assert_eq!(unquoted(of("ExecStart=:")[0].as_str()), job.argv);
        let env: Vec<String> = of("Environment=").iter().flat_map(|line| unquoted(line)).collect();
        let wanted: Vec<String> = job.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        prop_assert_eq!(env, wanted);
    }

    #[test]
    fn times_are_read_back(
        minute in prop::option::of(0_u8..60),
        hour in prop::option::of(0_u8..24),
        day in prop::option::of(1_u8..32),
        weekday in prop::option::of(0_u8..7),
        month in prop::option::of(1_u8..13),
        zone in prop::option::of(Just("America/Argentina/Buenos_Aires".to_owned())),
    ) {
        let table = CalendarTable { minute, hour, day, weekday, month };
        let job = Job { calendar: vec![table], timezone: zone, ..job("daily") };
        let lines = calendar_lines(&job).unwrap();
        let read: Vec<CalendarTable> = lines.iter().map(|line| read_line(line).unwrap()).collect();
        prop_assert_eq!(read, either(&table));
    }

    #[test]
    fn whatever_is_read_is_no_trouble(line in "\\PC*") {
        let _ = read_line(&line);
    }
}

#[test]
fn times_of_others_are_not_mistaken() {
    for line in
        ["*-*-* 00/2:00:00", "Mon..Fri *-*-* 07:00:00", "2026-*-* 07:00:00", "*-*-* 07:00:30", "*-*-1,2 07:00:00", ""]
    {
        assert_eq!(read_line(line), None, "{line}");
    }
}
