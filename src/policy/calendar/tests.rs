use super::*;
use crate::model::testing::Numbers;

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Tehran",
    "Antarctica/Troll",
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn said(ms: Option<i64>) -> String {
    ms.map_or("never".into(), |ms| Timestamp::from_millisecond(ms).unwrap().to_string())
}

fn some(numbers: &mut Numbers, from: u32, to: u32, most: usize) -> u64 {
    let all = usize::try_from(to - from + 1).unwrap();
    (0..=numbers.below(most)).fold(0, |set, _| set | 1 << (usize::try_from(from).unwrap() + numbers.below(all)))
}

/// Any rule, with fields that are restricted or not.
fn any(numbers: &mut Numbers) -> CalendarFields {
    let mut set = |from: u32, to: u32, most: usize, all: u64, odds: usize| {
        if numbers.below(odds) == 0 { some(numbers, from, to, most) } else { all }
    };
    let hours = set(0, 23, 4, 0xff_ffff, 2);
    CalendarFields {
        minutes: set(0, 59, 4, (1 << 60) - 1, 1),
        hours: u32::try_from(hours).unwrap(),
        days: u32::try_from(set(1, 31, 3, 0xffff_fffe, 3)).unwrap(),
        months: u16::try_from(set(1, 12, 3, 0x1ffe, 4)).unwrap(),
        weekdays: u8::try_from(set(0, 6, 2, 0x7f, 3)).unwrap(),
        stepped: numbers.below(2) == 0,
    }
}

/// What the words of the module say, minute by minute.
fn brute(fields: &CalendarFields, from: i64, to: i64, zone: &TimeZone) -> Vec<i64> {
    let has = |set: u64, value: i8| set >> value & 1 == 1;
    let matches = |at: DateTime| {
        let (day, weekday) =
            (has(fields.days.into(), at.day()), has(fields.weekdays.into(), at.weekday().to_sunday_zero_offset()));
        let on_day = match (fields.days == 0xffff_fffe, fields.weekdays == 0x7f) {
            (false, false) => day || weekday,
            _ => day && weekday,
        };
        on_day
            && has(fields.months.into(), at.month())
            && has(fields.hours.into(), at.hour())
            && has(fields.minutes, at.minute())
    };
    let mut found = Vec::new();
    let mut furthest = reading(from - MINUTE_MS, zone).unwrap();
    for ms in (from..=to).step_by(60_000) {
        let now = reading(ms, zone).unwrap();
        let due = if fields.stepped {
            matches(now)
        } else {
            // All readings that are new: more than one after a gap, none in the second half of a fold.
            let mut due = false;
            while furthest < now {
                furthest = furthest.checked_add(MINUTE).unwrap();
                due |= matches(furthest);
            }
            due
        };
        if due {
            found.push(ms);
        }
    }
    found
}

#[test]
fn it_finds_what_looking_at_every_minute_finds() {
    let mut numbers = Numbers(7);
    for round in 0..240 {
        let fields = any(&mut numbers);
        let name = ZONES[round % ZONES.len()];
        let zone = zone(name);
        let calendar = Calendar { rules: vec![Rule::of(&CalendarRule::Fields(fields))] };
        // Days around a change of the clock, where there is one.
        let around = ms("2011-12-29T00:00:00Z") + i64::try_from(numbers.below(15 * 365)).unwrap() * 86_400_000;
        let changed = zone.following(Timestamp::from_millisecond(around).unwrap()).next();
        let middle =
            changed.map_or(around, |change| change.timestamp().as_millisecond()).div_euclid(MINUTE_MS) * MINUTE_MS;
        let (from, to) = (middle - 3 * 86_400_000, middle + 3 * 86_400_000);
        let wanted = brute(&fields, from, to, &zone);
        let mut at = from - MINUTE_MS;
        let mut found = Vec::new();
        while let Some(next) = calendar.next_after(at, &zone).filter(|next| *next <= to) {
            found.push(next);
            assert!(next > at);
            at = next;
        }
        let text = |all: &[i64]| all.iter().map(|ms| said(Some(*ms))).collect::<Vec<_>>();
        assert_eq!(text(&found), text(&wanted), "{name} {fields:?}");
        let mut back = Vec::new();
        let mut at = to;
        while let Some(last) = calendar.last_until(at, &zone).filter(|last| *last >= from) {
            back.push(last);
            assert!(last <= at);
            at = last - 1;
        }
        back.reverse();
        assert_eq!(text(&back), text(&wanted), "backwards, {name} {fields:?}");
    }
}

#[test]
fn what_is_far_away_and_what_never_comes() {
    let utc = TimeZone::UTC;
    let leap = CalendarFields { minutes: 1, hours: 1, days: 1 << 29, months: 1 << 2, weekdays: 0x7f, stepped: false };
    let calendar = |fields| Calendar { rules: vec![Rule::of(&CalendarRule::Fields(fields))] };
    let next = |fields, from: &str| said(calendar(fields).next_after(ms(from), &utc));
    assert_eq!(next(leap, "2096-02-29T00:00:00Z"), "2104-02-29T00:00:00Z", "2100 is no leap year");
    assert_eq!(said(calendar(leap).last_until(ms("2104-02-28T23:59:00Z"), &utc)), "2096-02-29T00:00:00Z");
    assert_eq!(next(CalendarFields { days: 1 << 30, ..leap }, "2026-01-01T00:00:00Z"), "never");
    assert_eq!(next(leap, "9999-03-01T00:00:00Z"), "never");
    // Either the day or the weekday.
    let either = CalendarFields { days: 1 << 13, months: 0x1ffe, weekdays: 1 << 5, ..leap };
    assert_eq!(next(either, "2026-03-14T00:00:00Z"), "2026-03-20T00:00:00Z");
    assert_eq!(next(either, "2026-04-10T00:00:00Z"), "2026-04-13T00:00:00Z");
}

#[test]
fn intervals_are_of_the_day_when_they_fit_into_it_and_of_elapsed_time_when_not() {
    let berlin = zone("Europe/Berlin");
    let calendar = |minutes| Calendar { rules: vec![Rule::of(&CalendarRule::Every { minutes })] };
    let next = |minutes, from: &str| said(calendar(minutes).next_after(ms(from), &berlin));
    assert_eq!(next(360, "2026-11-22T00:00:00Z"), "2026-11-22T05:00:00Z");
    assert_eq!(next(90, "2026-11-22T00:00:00Z"), "2026-11-22T00:30:00Z");
    assert_eq!(next(420, "1970-01-01T00:00:00Z"), "1970-01-01T07:00:00Z");
    assert_eq!(said(calendar(420).last_until(ms("1970-01-01T20:59:59Z"), &berlin)), "1970-01-01T14:00:00Z");
    // An hour that comes twice has twice as many; one that is left out none.
    assert_eq!(next(30, "2026-10-25T00:30:00Z"), "2026-10-25T01:00:00Z");
    assert_eq!(next(30, "2026-10-25T01:00:00Z"), "2026-10-25T01:30:00Z");
    assert_eq!(next(30, "2026-03-29T00:30:00Z"), "2026-03-29T01:00:00Z");
}

#[test]
fn a_time_in_a_gap_is_due_after_it_and_one_in_a_fold_once() {
    let new_york = zone("America/New_York");
    let at = |hour: u32, minute: u32| CalendarFields {
        minutes: 1 << minute,
        hours: 1 << hour,
        days: 0xffff_fffe,
        months: 0x1ffe,
        weekdays: 0x7f,
        stepped: false,
    };
    let calendar = |fields| Calendar { rules: vec![Rule::of(&CalendarRule::Fields(fields))] };
    let next = |fields, from: &str| said(calendar(fields).next_after(ms(from), &new_york));
    assert_eq!(next(at(2, 30), "2026-03-08T05:00:00Z"), "2026-03-08T07:00:00Z");
    assert_eq!(next(at(2, 30), "2026-03-08T07:00:00Z"), "2026-03-09T06:30:00Z");
    assert_eq!(next(at(1, 30), "2026-11-01T04:00:00Z"), "2026-11-01T05:30:00Z");
    assert_eq!(next(at(1, 30), "2026-11-01T05:30:00Z"), "2026-11-02T06:30:00Z");
    assert_eq!(said(calendar(at(1, 30)).last_until(ms("2026-11-01T06:10:00Z"), &new_york)), "2026-11-01T05:30:00Z");
}

#[test]
fn it_agrees_with_what_launchd_and_systemd_agree_on() {
    let mut seen = 0;
    for line in include_str!("vectors.tsv").lines().filter(|line| !line.starts_with(['#', 't'])) {
        let parts: Vec<&str> = line.split('\t').collect();
        let [name, now, month, day, weekday, hour, minute, next] = parts[..] else { panic!("{line}") };
        let number = |text: &str| text.parse::<u8>().ok();
        let table = CalendarTable {
            minute: number(minute),
            hour: number(hour),
            day: number(day),
            weekday: number(weekday),
            month: number(month),
        };
        let (calendar, zone) = (Calendar::new(&[Schedule::Table(table)]), zone(name));
        let mut at = now.parse::<i64>().unwrap() * 1000;
        for wanted in next.split(',') {
            let found = calendar.next_after(at, &zone).unwrap();
            assert_eq!(said(Some(found)), said(Some(wanted.parse::<i64>().unwrap() * 1000)), "{line}");
            assert_eq!(calendar.last_until(found + 59_999, &zone), Some(found), "{line}");
            assert!(calendar.last_until(found - 1, &zone).unwrap() <= at, "{line}");
            at = found;
        }
        seen += 1;
    }
    assert_eq!(seen, 137);
}

#[test]
fn slots_are_whole_minutes_also_where_the_offset_has_seconds() {
    // 44 minutes and 30 seconds behind, until 1972.
    let monrovia = zone("Africa/Monrovia");
    let fields =
        CalendarFields { minutes: 1, hours: 1 << 8, days: 0xffff_fffe, months: 0x1ffe, weekdays: 0x7f, stepped: false };
    for stepped in [false, true] {
        let rule = Rule::of(&CalendarRule::Fields(CalendarFields { stepped, ..fields }));
        let calendar = Calendar { rules: vec![rule] };
        let next = |from: &str| said(calendar.next_after(ms(from), &monrovia));
        assert_eq!(next("1971-06-01T00:00:00Z"), "1971-06-01T08:45:00Z");
        assert_eq!(next("1971-06-01T08:44:30Z"), "1971-06-01T08:45:00Z");
        assert_eq!(next("1971-06-01T08:45:00Z"), "1971-06-02T08:45:00Z");
        assert_eq!(said(calendar.last_until(ms("1971-06-01T08:44:59Z"), &monrovia)), "1971-05-31T08:45:00Z");
        assert_eq!(said(calendar.last_until(ms("1971-06-01T08:45:00Z"), &monrovia)), "1971-06-01T08:45:00Z");
    }
}
