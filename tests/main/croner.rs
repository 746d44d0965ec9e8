//! Ten thousand random cron lines, and croner's word for each. It says the same, but for the few cases that are named here.
//!
//! What croner said is kept in a file, as its macros take longer to build than all of these tests to run. `tests/oracles/croner` is the
//! program that asks it: with `CRONER_ANSWERS=PROGRAM` it is asked anew, and with `UPDATE_GOLDEN=1` too the file is written.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use jiff::tz::TimeZone;
use supervisor::config::{Source, Surroundings, parse};
use supervisor::model::{CalendarFields, CalendarRule, Schedule};
use supervisor::policy::calendar::Calendar;

use crate::schedules::{Numbers, ZONES};

const COUNT: usize = 10_000;

struct Asked {
    line: String,
    zone: &'static str,
    start: i64,
}

fn all() -> Vec<Asked> {
    let zones: Vec<TimeZone> = ZONES.iter().map(|name| TimeZone::get(name).unwrap()).collect();
    let mut numbers = Numbers(8);
    let one = |_| {
        let zone = numbers.below(ZONES.len());
        Asked { line: numbers.cron(), zone: ZONES[zone], start: numbers.moment(&zones[zone]) }
    };
    (0..COUNT).map(one).collect()
}

fn kept() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/croner.txt")
}

/// What croner says, a line for each that was asked.
#[expect(clippy::disallowed_methods, reason = "asks the program that .ci/run has built")]
fn answers(asked: &[Asked]) -> Vec<String> {
    let lines = |text: String| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let Some(program) = std::env::var_os("CRONER_ANSWERS") else {
        return lines(std::fs::read_to_string(kept()).unwrap());
    };
    let mut child = std::process::Command::new(program)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let requests: String = asked.iter().map(|a| format!("{}\t{}\t{}\n", a.line, a.zone, a.start)).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(requests.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let head = "# Minutes to the next start and from each to the one after: croner 4.0.3 on what tests/main/croner.rs asks.\n";
        std::fs::write(kept(), format!("{head}{text}")).unwrap();
    }
    lines(text)
}

/// The entries as services.toml has them.
fn read(asked: &[Asked]) -> Vec<Schedule> {
    let entries: Vec<String> = asked.iter().map(|asked| format!("{:?}", asked.line)).collect();
    let text = format!("[task.t]\nsteps = [{{ run = [\"x\"] }}]\ncalendar = [{}]\n", entries.join(",\n"));
    let around = Surroundings { home: "/".into(), vars: BTreeMap::new(), state_dir: None };
    let parsed = parse(&Source { path: "t".into(), text }, &around);
    assert_eq!(parsed.faults, []);
    parsed.fleet.unwrap().tasks.remove(0).calendar
}

/// What we say, in the same form.
fn ours(fields: CalendarFields, zone: &TimeZone, start: i64) -> String {
    let entry = Schedule::Words { text: String::new(), rule: CalendarRule::Fields(fields), tables: None };
    let calendar = Calendar::new(&[entry]);
    let mut last = start;
    let mut steps = Vec::new();
    for _ in 0..3 {
        let Some(next) = calendar.next_after(last * 60_000, zone) else { break };
        steps.push((next / 60_000 - last).to_string());
        last = next / 60_000;
    }
    steps.join(",")
}

/// What croner takes otherwise: for each the schedule that it makes of ours. Each difference has to be one of these, exactly.
fn readings(line: &str, fields: CalendarFields) -> Vec<(&'static str, CalendarFields)> {
    let parts: Vec<&str> = line.split(' ').collect();
    let mut found = Vec::new();
    if !fields.stepped && parts[..2].iter().any(|field| field.contains([',', '-'])) {
        let why = "a list of times is an interval to it: not moved out of a gap, and in both halves of a fold";
        found.push((why, CalendarFields { stepped: true, ..fields }));
    }
    let any = CalendarFields::ANY;
    if fields.days != any.days && fields.weekdays == any.weekdays && parts[4] != "*" {
        let why = "all weekdays written out are some weekdays to it, so that beside a day either counts";
        found.push((why, CalendarFields { days: any.days, ..fields }));
    }
    if fields.weekdays != any.weekdays && fields.days == any.days && parts[2] != "*" {
        let why = "all days written out are some days to it, so that beside a weekday either counts";
        found.push((why, CalendarFields { weekdays: any.weekdays, ..fields }));
    }
    found
}

/// Whether 30 December 2011 is ahead in Apia, which changed the side of the date line.
fn left_out(asked: &Asked) -> bool {
    asked.zone == "Pacific/Apia" && asked.start < 22_088_160
}

#[test]
fn croner_says_the_same() {
    let asked = all();
    let said = answers(&asked);
    assert_eq!(said.len(), COUNT);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut odd = Vec::new();
    for ((asked, said), entry) in asked.iter().zip(&said).zip(read(&asked)) {
        let zone = TimeZone::get(asked.zone).unwrap();
        let Schedule::Words { rule: CalendarRule::Fields(fields), .. } = entry else { panic!("{}", asked.line) };
        let ours = ours(fields, &zone, asked.start);
        if ours == *said {
            continue;
        }
        // It looks two hours ahead for the end of a gap.
        if said == "error TimeSearchLimitExceeded" && !fields.stepped && left_out(asked) {
            *reasons.entry("a time on a day that is left out as a whole is an error to it").or_default() += 1;
            continue;
        }
        let readings = readings(&asked.line, fields);
        match readings.iter().find(|(_, reading)| self::ours(*reading, &zone, asked.start) == *said) {
            Some((why, _)) => *reasons.entry(why).or_default() += 1,
            None => odd.push(format!("{} {} {}: {said}, and we say {ours}", asked.line, asked.zone, asked.start)),
        }
    }
    println!("croner disagrees in {} of {COUNT}: {reasons:#?}", reasons.values().sum::<usize>());
    assert!(odd.is_empty(), "{}: {:#?}", odd.len(), &odd[..odd.len().min(40)]);
    assert!(reasons.values().sum::<usize>() < COUNT / 50, "{reasons:?}");
}
