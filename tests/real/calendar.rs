//! Ten thousand random schedules as their timers have them, and what systemd makes of those: the same, but on days when the clock is
//! set, where it is known what it does otherwise. Those slots the daemon starts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use supervisor::config::{Source, Surroundings, parse};
use supervisor::manager::job::{Role, Site, jobs};
use supervisor::manager::unit;
use supervisor::model::{CalendarFields, CalendarRule, ManagerKind, Schedule};
use supervisor::policy::calendar::Calendar;

use crate::schedules::{Numbers, ZONES};

const COUNT: usize = 10_000;
/// Schedules that are asked for at one moment in one zone, in one call.
const AT_ONCE: usize = 25;
/// Starts that are compared.
const STARTS: usize = 3;
/// More lines than that of one schedule would say the same over and over.
const MOST_LINES: usize = 12;

/// A schedule and the lines of its timer.
struct Rendered {
    line: String,
    fields: CalendarFields,
    timer: Vec<String>,
}

/// As services.toml says them and as `install` writes them.
fn rendered(lines: &[String]) -> Vec<Rendered> {
    let task =
        |(i, line): (usize, &String)| format!("[task.t{i}]\nsteps = [{{ run = [\"x\"] }}]\ncalendar = [{line:?}]\n");
    let text: String = lines.iter().enumerate().map(task).collect();
    let around = Surroundings { home: "/".into(), vars: BTreeMap::new(), state_dir: None };
    let parsed = parse(&Source { path: "t".into(), text }, &around);
    assert_eq!(parsed.faults, []);
    let fleet = parsed.fleet.unwrap();
    let site = Site {
        manager: ManagerKind::Systemd,
        program: "/bin/supervisor".into(),
        config: "/c".into(),
        state_dir: "/s".into(),
        home: "/".into(),
        logs: "/l".into(),
        user: None,
        embedded: false,
    };
    let (jobs, unfit) = jobs(&fleet, &site, false);
    assert_eq!(unfit, []);
    let mut found = Vec::new();
    for job in jobs.iter().filter(|job| job.role == Role::Task) {
        let task = fleet.tasks.iter().find(|task| task.name.as_str() == job.name).unwrap();
        let [Schedule::Words { text, rule: CalendarRule::Fields(fields), .. }] = task.calendar.as_slice() else {
            panic!("{:?}", task.calendar);
        };
        let files = unit::render(job).unwrap();
        let timer = String::from_utf8(files[1].bytes.clone()).unwrap();
        let timer: Vec<String> =
            timer.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).map(str::to_owned).collect();
        found.push(Rendered { line: text.clone(), fields: *fields, timer });
    }
    found
}

/// The next starts of each expression after `start`, minutes since 1970; `None` where it gives up.
#[expect(clippy::disallowed_methods, reason = "asks systemd-analyze")]
fn systemd(zone: &str, start: i64, expressions: &[&String]) -> Vec<Option<Vec<i64>>> {
    let output = std::process::Command::new("systemd-analyze")
        .args(["calendar", &format!("--base-time=@{}", start * 60), &format!("--iterations={STARTS}")])
        .args(expressions)
        .env("TZ", zone)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<Vec<i64>> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(": ") else { continue };
        match key.trim() {
            "Normalized form" => found.push(Vec::new()),
            // In another zone the same follows in UTC.
            "Next elapse" | "(in UTC)" => found.last_mut().unwrap().extend(utc(value)),
            iteration if iteration.starts_with("Iter.") => found.last_mut().unwrap().extend(utc(value)),
            _ => {}
        }
    }
    let gave_up = |line: &str| errors.contains(&format!("Infinite loop in calendar calculation: {line}\n"));
    let mut answers = found.into_iter();
    // What it gives up it does not show at all.
    let found: Vec<_> = expressions.iter().map(|line| if gave_up(line) { None } else { answers.next() }).collect();
    assert!(answers.next().is_none(), "{text}{errors}");
    found
}

/// `Sun 2026-10-25 00:30:00 UTC`.
fn utc(text: &str) -> Option<i64> {
    let text = text.strip_suffix(" UTC")?.split_once(' ')?.1;
    let at: DateTime = text.replace(' ', "T").parse().unwrap();
    Some(at.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second() / 60)
}

fn ours(fields: CalendarFields, zone: &TimeZone, start: i64, keep: impl Fn(i64) -> bool) -> Vec<i64> {
    let calendar =
        Calendar::new(&[Schedule::Words { text: String::new(), rule: CalendarRule::Fields(fields), tables: None }]);
    let mut found = Vec::new();
    let mut at = start * 60_000;
    while found.len() < STARTS {
        let Some(next) = calendar.next_after(at, zone) else { break };
        if keep(next / 60_000) {
            found.push(next / 60_000);
        }
        at = next;
    }
    found
}

/// Whether the clock shows this minute for the second time.
fn is_again(minute: i64, zone: &TimeZone) -> bool {
    let at = Timestamp::from_second(minute * 60).unwrap();
    let shown = zone.to_datetime(at);
    matches!(zone.to_ambiguous_timestamp(shown).offset(), AmbiguousOffset::Fold { after, .. } if zone.to_offset(at) == after)
}

/// Whether a gap comes, from `start` until a day after `last`, that begins within an hour: at 02:45 (Chatham), or at 00:01 (St. John's
/// until 2011).
fn is_gap_within_an_hour(zone: &TimeZone, start: i64, last: i64) -> bool {
    let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
    let coming = zone.following(at(start)).take_while(|change| change.timestamp() <= at(last + 1440));
    coming.into_iter().any(|change| {
        let before = zone.to_offset(change.timestamp() - SignedDuration::from_secs(1));
        change.offset() > before && before.to_datetime(change.timestamp()).minute() != 0
    })
}

#[test]
fn a_gap_that_begins_within_an_hour_is_found() {
    for (name, day, is) in [
        ("Pacific/Chatham", "2012-09-29T12:00:00Z", true),
        ("Pacific/Chatham", "2013-04-06T00:00:00Z", false),
        ("America/St_Johns", "2010-03-13T20:00:00Z", true),
        ("America/St_Johns", "2013-03-09T20:00:00Z", false),
        ("Australia/Lord_Howe", "2012-10-06T00:00:00Z", false),
    ] {
        let start = day.parse::<Timestamp>().unwrap().as_second() / 60;
        assert_eq!(is_gap_within_an_hour(&TimeZone::get(name).unwrap(), start, start), is, "{name} {day}");
    }
}

#[test]
#[ignore = "asks systemd-analyze ten thousand times; .ci/run does it"]
fn systemd_says_the_same_but_for_days_when_the_clock_is_set() {
    let mut numbers = Numbers(9);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut seen, mut odd) = (0, Vec::new());
    while seen < COUNT {
        let name = ZONES[numbers.below(ZONES.len())];
        assert!(Path::new("/usr/share/zoneinfo").join(name).exists(), "systemd knows no {name}; install tzdata");
        let zone = TimeZone::get(name).unwrap();
        let start = numbers.moment(&zone);
        let lines: Vec<String> = (0..AT_ONCE * 2).map(|_| numbers.cron()).collect();
        let mut some = rendered(&lines);
        some.retain(|rendered| rendered.timer.len() <= MOST_LINES);
        some.truncate(AT_ONCE);
        let expressions: Vec<&String> = some.iter().flat_map(|rendered| &rendered.timer).collect();
        let mut answers = systemd(name, start, &expressions).into_iter();
        for rendered in &some {
            seen += 1;
            // A timer starts at each of its lines.
            let theirs: Option<Vec<Vec<i64>>> =
                answers.by_ref().take(rendered.timer.len()).collect::<Vec<_>>().into_iter().collect();
            let said = ours(rendered.fields, &zone, start, |_| true);
            let Some(theirs) = theirs else {
                let last = said.last().copied().unwrap_or(start);
                assert!(is_gap_within_an_hour(&zone, start, last), "it gives up: {} {name} {start}", rendered.line);
                *reasons
                    .entry("it gives up before a gap that begins within an hour: an infinite loop, it says")
                    .or_default() += 1;
                continue;
            };
            let theirs: BTreeSet<i64> = theirs.into_iter().flatten().collect();
            let theirs: Vec<i64> = theirs.into_iter().take(STARTS).collect();
            if said == theirs {
                continue;
            }
            // To it a time that is left out is none, and what the clock shows for the second time does not count.
            let civil = CalendarFields { stepped: true, ..rendered.fields };
            if ours(civil, &zone, start, |minute| !is_again(minute, &zone)) == theirs {
                let why = if rendered.fields.stepped {
                    "of an hour that comes twice it takes the first only, also for intervals"
                } else {
                    "a time that is left out on a day is not made up for on that day"
                };
                *reasons.entry(why).or_default() += 1;
                continue;
            }
            let show = |minutes: &[i64]| {
                minutes
                    .iter()
                    .map(|m| Timestamp::from_second(m * 60).unwrap().to_string())
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            odd.push(format!(
                "{} {name} after {}: {}, and we say {}",
                rendered.line,
                show(&[start]),
                show(&theirs),
                show(&said)
            ));
        }
    }
    println!("systemd disagrees in {} of {seen}: {reasons:#?}", reasons.values().sum::<usize>());
    assert!(odd.is_empty(), "{}: {:#?}", odd.len(), &odd[..odd.len().min(40)]);
}
