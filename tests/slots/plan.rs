//! Schedules, zones and faults, from a seed.

use std::time::Duration;

use jiff::tz::TimeZone;
use supervisor::model::{CalendarRule, CalendarTable, CatchUp, Overlap, Schedule, TaskSpec, UnitName};

use crate::rng::Rng;

pub const SECOND: i64 = 1000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// With and without changes of the clock, of half an hour too, at midnight, backwards in winter, days left out.
pub const ZONES: [&str; 30] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Moscow",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Johannesburg",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Australia/Eucla",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Honolulu",
    "America/Los_Angeles",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Asuncion",
    "America/Nuuk",
];

/// A zone by its name.
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("the machine has a time zone database")
}

/// A calendar, and about how far its slots are apart, milliseconds.
pub fn calendar(rng: &mut Rng) -> (Vec<Schedule>, i64) {
    let minute = Some(u8::try_from(rng.below(60)).unwrap_or(0));
    // Often where clocks change.
    let hour = if rng.chance(40) { rng.below(4) } else { rng.below(24) };
    let hour = Some(u8::try_from(hour).unwrap_or(0));
    let weekday = Some(u8::try_from(rng.below(8)).unwrap_or(0));
    let day = Some(u8::try_from(1 + rng.below(31)).unwrap_or(1));
    let table = CalendarTable { minute, hour, ..CalendarTable::default() };
    let (tables, apart) = match rng.below(1000) {
        0..2 => (vec![CalendarTable::default()], MINUTE),
        2..8 => return (every(1 + u32::try_from(rng.below(20)).unwrap_or(1)), 10 * MINUTE),
        8..18 => (vec![CalendarTable { hour: None, ..table }], HOUR),
        18..120 => return (every(60 * u32::try_from(rng.range(5, 30)).unwrap_or(6)), 12 * HOUR),
        120..450 => (vec![table], DAY),
        450..750 => (vec![CalendarTable { weekday, ..table }], 7 * DAY),
        750..830 => (vec![CalendarTable { weekday, day, ..table }], 6 * DAY),
        _ => (vec![CalendarTable { day, ..table }], 31 * DAY),
    };
    (tables.into_iter().map(Schedule::Table).collect(), apart)
}

fn every(minutes: u32) -> Vec<Schedule> {
    vec![Schedule::Words { text: format!("every {minutes}m"), rule: CalendarRule::Every { minutes }, tables: None }]
}

/// A job, and about how far its slots are apart.
pub fn task(rng: &mut Rng) -> (TaskSpec, i64) {
    let (calendar, apart) = calendar(rng);
    let within = rng.range(60, 4 * 86_400);
    let task = TaskSpec {
        enabled: true,
        calendar,
        timezone: rng.chance(50).then(|| rng.pick(&ZONES).to_owned()),
        catch_up: rng.pick(&[
            CatchUp::Skip,
            CatchUp::Once,
            CatchUp::Once,
            CatchUp::Within(Duration::from_secs(within)),
        ]),
        overlap: rng.pick(&[Overlap::Skip, Overlap::Queue, Overlap::Replace]),
        start_within: Duration::from_secs(rng.pick(&[1, 60, 600, 600, 3600])),
        ..TaskSpec::undeclared(UnitName::new("job").expect("a name"))
    };
    (task, apart)
}

/// What goes wrong, or is done by people. Milliseconds.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Sleep(i64),
    Off(i64),
    /// The clock is set by so much; and back after the other, if there is one.
    Set(i64, Option<i64>),
    KillDaemon(i64),
    /// It says goodbye before.
    StopDaemon(i64),
    KillRun,
    Zone,
    Edit,
    Disable,
    Hold(i64),
    Extra,
    /// Nothing can be started.
    Broken(i64),
    /// The journals take nothing: what is to go on record cannot.
    Refuse(i64),
}

impl Fault {
    pub fn draw(rng: &mut Rng, apart: i64) -> Self {
        let apart = apart.max(20 * MINUTE);
        let mut between = |from: i64, to: i64| from + i64::try_from(rng.below((to - from).max(1) as u64)).unwrap_or(0);
        let length = match between(0, 4) {
            0 => between(3 * SECOND, 10 * MINUTE),
            1 => between(10 * MINUTE, 12 * HOUR),
            2 => between(MINUTE, apart),
            _ => between(apart, (3 * apart).min(90 * DAY)),
        };
        let short = between(SECOND, 5 * MINUTE);
        let step = match between(0, 3) {
            0 => between(SECOND, 3 * MINUTE),
            1 => between(MINUTE, 5 * HOUR),
            _ => length,
        };
        match between(0, 100) {
            0..22 => Self::Sleep(length),
            22..37 => Self::Off(length),
            37..42 => Self::Set(step, None),
            42..47 => Self::Set(-step, None),
            47..52 => Self::Set(step, Some(length)),
            52..54 => Self::Set(-step, Some(length)),
            54..64 => Self::KillDaemon(if between(0, 2) == 0 { short } else { length }),
            64..67 => Self::StopDaemon(if between(0, 2) == 0 { short } else { length }),
            67..76 => Self::KillRun,
            76..81 => Self::Zone,
            81..84 => Self::Edit,
            84..86 => Self::Disable,
            86..90 => Self::Hold(length / 4),
            90..94 => Self::Extra,
            94..97 => Self::Broken(between(SECOND, HOUR)),
            // As long as a run waits for its journal, or longer.
            _ => Self::Refuse(if between(0, 3) == 0 { between(SECOND, 20 * SECOND) } else { between(SECOND, HOUR) }),
        }
    }
}
