//! What the detector says to shapes that people know, to readings that cannot be, and after a daemon's death.
//!
//! How well it tells leaks from the rest, on many labelled traces, is what `tests/traces` asks.

use proptest::prelude::*;

use super::*;

const MIB_BYTES: f64 = 1024.0 * 1024.0;
const MINUTE: f64 = 60.0;

fn spec() -> TrendSpec {
    TrendSpec { growth: Some(10_000_000), plateau: None, recycle: None }
}

fn point(minute: f64, mib: f64) -> Point {
    let at = minute * MINUTE;
    Point { awake: at, wall: at, bytes: (mib * MIB_BYTES) as u64, life: 1, room: None, requests: None }
}

/// A number that looks random, -1 to 1.
fn noise(k: u32) -> f64 {
    let mixed = (k ^ (k >> 5)).wrapping_mul(2_654_435_761);
    f64::from((mixed ^ (mixed >> 13)).wrapping_mul(2_246_822_519) >> 8) / f64::from(1 << 23) - 1.0
}

/// The hours at which growth is told, of `hours` hours of a minute each.
fn told_at(trend: &mut Trend, spec: &TrendSpec, hours: u32, mib: impl Fn(f64) -> f64) -> Vec<(f64, Growth)> {
    let points = (0..hours * 60).map(|minute| point(f64::from(minute), mib(f64::from(minute) / 60.0) + noise(minute)));
    fed(trend, spec, points)
}

fn fed(trend: &mut Trend, spec: &TrendSpec, points: impl Iterator<Item = Point>) -> Vec<(f64, Growth)> {
    points.filter_map(|point| Some((point.awake / 3600.0, trend.sample(spec, point)?))).collect()
}

#[test]
fn a_leak_is_told_within_half_a_day_with_its_slope_and_its_size() {
    let mut trend = Trend::new();
    let told = told_at(&mut trend, &spec(), 20, |hour| 300.0 + 12.0 * hour);
    let [(hour, growth)] = told.as_slice() else { panic!("{told:?}") };
    assert!((10.0..13.0).contains(hour), "{told:?}");
    let per_hour = growth.bytes_per_hour / MIB_BYTES;
    assert!(
        (11.5..12.5).contains(&per_hour) && growth.low <= growth.bytes_per_hour && growth.bytes_per_hour <= growth.high
    );
    assert!((growth.grown / MIB_BYTES - 12.0 * growth.hours).abs() < 15.0, "{growth:?}");
    assert_eq!((growth.verdict, growth.hours_left), (MemoryVerdict::Growing, None));
    assert_eq!(trend.verdict(), MemoryVerdict::Growing);
}

#[test]
fn a_leak_that_goes_on_is_told_once_a_day() {
    let told = told_at(&mut Trend::new(), &spec(), 120, |hour| 300.0 + 8.0 * hour);
    assert!((4..=5).contains(&told.len()), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 24.0), "{told:?}");
    let (hour, last) = told.last().unwrap();
    assert!((last.hours - hour).abs() < 4.0, "it began with the process: {last:?}");
}

#[test]
fn what_ends_by_itself_is_not_told() {
    type Shape = fn(f64) -> f64;
    let shapes: [(&str, Shape); 8] = [
        ("flat", |_| 300.0),
        ("a collector's teeth", |hour| 300.0 + 120.0 * (hour % 1.7) / 1.7),
        ("long teeth", |hour| 300.0 + 90.0 * ((hour + 3.0) % 7.0) / 7.0),
        ("a warm-up", |hour| 400.0 - 150.0 * (-hour / 2.0).exp()),
        ("a slow warm-up", |hour| 300.0 + 40.0 * (1.0 + hour).ln()),
        ("a cache of eight hours", |hour| 300.0 + 15.0 * (hour - 30.0).clamp(0.0, 8.0)),
        ("days", |hour| 400.0 - 100.0 * ((hour + 2.0) / 24.0 * std::f64::consts::TAU).cos()),
        ("a step", |hour| if hour < 60.0 { 300.0 } else { 360.0 }),
    ];
    for (what, mib) in shapes {
        let told = told_at(&mut Trend::new(), &spec(), 168, mib);
        assert!(told.is_empty(), "{what}: {told:?}");
    }
}

#[test]
fn a_leak_under_days_that_are_larger_is_found_by_comparing_them() {
    let mib = |hour: f64| 500.0 + 3.0 * hour - 110.0 * (hour / 24.0 * std::f64::consts::TAU).cos();
    let told = told_at(&mut Trend::new(), &spec(), 96, mib);
    assert!(told.iter().any(|(hour, growth)| *hour < 60.0 && growth.test == "day-over-day"), "{told:?}");
}

#[test]
fn a_new_life_begins_anew_and_the_old_one_teaches() {
    let mut trend = Trend::new();
    let day = |hour: f64| 400.0 - 100.0 * (hour / 24.0 * std::f64::consts::TAU).cos();
    assert!(told_at(&mut trend, &spec(), 60, day).is_empty());
    // It begins at the low of the day, and rises for twelve hours: as it did before.
    let risen = (60 * 60..80 * 60)
        .map(|minute| Point { life: 2, ..point(f64::from(minute), day(f64::from(minute) / 60.0 - 60.0)) });
    assert!(fed(&mut trend, &spec(), risen).is_empty());
    assert_eq!(trend.lives.len(), 1);
    assert!(trend.lives[0].swing / 1024.0 > 150.0 && trend.lives[0].settled.is_some(), "{:?}", trend.lives);
}

#[test]
fn told_growth_is_over_with_a_new_life_when_it_falls_back_and_when_it_stands() {
    let leak = |trend: &mut Trend| assert_eq!(told_at(trend, &spec(), 16, |hour| 300.0 + 12.0 * hour).len(), 1);
    let after = |mib: fn(f64) -> f64, hours: u32, life: u64| {
        let mut trend = Trend::new();
        leak(&mut trend);
        let minutes = 16 * 60..(16 + hours) * 60;
        let points = minutes
            .map(|minute| Point { life, ..point(f64::from(minute), mib(f64::from(minute) / 60.0) + noise(minute)) });
        assert!(fed(&mut trend, &spec(), points).is_empty());
        trend.told().is_none()
    };
    assert!(after(|_| 300.0, 1, 2), "a new life");
    assert!(!after(|_| 480.0, 4, 1), "it has just stopped");
    assert!(after(|_| 480.0, 40, 1), "it stands");
    assert!(after(|_| 330.0, 16, 1), "it fell back, and stayed there");
}

#[test]
fn what_was_declared_is_not_told() {
    let leak = |hour: f64| 300.0 + 12.0 * hour;
    let below = TrendSpec { plateau: Some((600.0 * MIB_BYTES) as u64), ..spec() };
    let told = told_at(&mut Trend::new(), &below, 48, leak);
    assert!((24.0..28.0).contains(&told[0].0), "beyond the cap it is told: {told:?}");
    let recycled = TrendSpec { recycle: Some(Duration::from_secs(20 * 3600)), ..spec() };
    let told = told_at(&mut Trend::new(), &recycled, 48, leak);
    assert!((20.0..22.0).contains(&told[0].0), "it was not recycled: {told:?}");
}

#[test]
fn with_little_room_it_is_told_early_and_as_urgent() {
    let limit = 1024.0;
    let points = |room: bool| {
        (0..12 * 60).map(move |minute| {
            let mib = 500.0 + 30.0 * f64::from(minute) / 60.0 + noise(minute);
            let room = room.then_some(((limit - mib) * MIB_BYTES) as u64);
            Point { room, ..point(f64::from(minute), mib) }
        })
    };
    let without = fed(&mut Trend::new(), &spec(), points(false));
    assert!((10.0..12.0).contains(&without[0].0), "{without:?}");
    let with = fed(&mut Trend::new(), &spec(), points(true));
    assert_eq!(with[0].1.verdict, MemoryVerdict::Growing, "{with:?}");
    let (hour, urgent) = with.last().unwrap();
    assert_eq!(urgent.verdict, MemoryVerdict::Urgent, "told, and told again when time is short: {with:?}");
    assert!(urgent.hours_left.unwrap() < URGENT_HOURS && *hour < 13.0);
}

#[test]
fn load_that_is_told_explains_what_follows_it() {
    let run = |tells: bool| {
        let mut served = 0.0;
        let points: Vec<Point> = (0..72 * 60)
            .map(|minute| {
                let hour = f64::from(minute) / 60.0;
                // One that rises for fourteen hours, as no day does that the detector knows of itself.
                let load = if hour % 24.0 < 14.0 { hour % 24.0 / 14.0 } else { 1.0 - (hour % 24.0 - 14.0) / 10.0 };
                served += 600.0 * load;
                let point = point(f64::from(minute), 300.0 + 200.0 * load + noise(minute));
                Point { requests: tells.then_some(served), ..point }
            })
            .collect();
        fed(&mut Trend::new(), &spec(), points.into_iter())
    };
    let told = run(true).into_iter().filter(|(hour, _)| *hour > 24.0).count();
    assert_eq!(told, 0);
    let mut served = 0.0;
    let leak = (0..24 * 60).map(|minute| {
        served += 300.0;
        Point {
            requests: Some(served),
            ..point(f64::from(minute), 300.0 + 12.0 * f64::from(minute) / 60.0 + noise(minute))
        }
    });
    let told = fed(&mut Trend::new(), &spec(), leak);
    let each = told[0].1.bytes_per_request.unwrap();
    assert!((600.0..800.0).contains(&each), "12 MiB and 18,000 requests an hour: {each}");
    assert!(run(false).iter().all(|(_, growth)| growth.bytes_per_request.is_none()));
}

#[test]
fn a_state_that_was_put_by_goes_on_as_if_nothing_had_been() {
    let course = |minute: u32| {
        let hour = f64::from(minute) / 60.0;
        point(f64::from(minute), 300.0 + 6.0 * hour + 40.0 * (hour % 1.3) + noise(minute))
    };
    let (mut whole, mut cut) = (Trend::new(), Trend::new());
    for minute in 0..60 * 60 {
        if minute % 777 == 0 {
            let text = serde_json::to_string(&cut).unwrap();
            assert!(text.len() < 32 << 10, "{} bytes", text.len());
            cut = serde_json::from_str(&text).unwrap();
        }
        assert_eq!(whole.sample(&spec(), course(minute)), cut.sample(&spec(), course(minute)), "minute {minute}");
    }
    assert_eq!(whole, cut);
    assert!(whole.told().is_some());
}

#[test]
fn sleep_counts_for_nothing_and_what_was_paged_out_is_no_growth() {
    // Eight hours of every day asleep; on waking a third is paged out, and comes back within three hours.
    let day = |slept: f64, minute: u32| {
        let hour = f64::from(minute) / 60.0;
        let (day, of_day) = ((hour / 16.0).floor(), hour % 16.0);
        let out = if day > 0.0 { 100.0 * (-of_day).exp() } else { 0.0 };
        let at = hour + slept * day;
        Point { wall: at * 3600.0, awake: at * 3600.0, ..point(0.0, 300.0 - out + noise(minute)) }
    };
    let mut trend = Trend::new();
    assert!(fed(&mut trend, &spec(), (0..100 * 60).map(|minute| day(8.0, minute))).is_empty());
    assert!((trend.floor.hours() - 100.0).abs() < 0.5, "{}", trend.floor.hours());
}

#[test]
fn rare_samples_are_not_taken_for_sleep() {
    let told = fed(
        &mut Trend::new(),
        &spec(),
        (0..96).map(|hour| point(f64::from(hour) * 60.0, 300.0 + 12.0 * f64::from(hour))),
    );
    assert!(told.first().is_some_and(|(hour, _)| *hour < 30.0), "{told:?}");
}

#[test]
fn readings_that_cannot_be_change_nothing() {
    let mut trend = Trend::new();
    told_at(&mut trend, &spec(), 5, |_| 300.0);
    let before = trend.clone();
    let good = point(5.0 * 60.0, 300.0);
    for bad in [
        Point { bytes: 0, ..good },
        Point { bytes: u64::MAX, ..good },
        Point { awake: f64::NAN, ..good },
        Point { wall: f64::INFINITY, ..good },
        Point { awake: good.awake - 120.0, ..good },
    ] {
        assert_eq!(trend.sample(&spec(), bad), None);
        assert_eq!(trend, before, "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_makes_it_fail(points in proptest::collection::vec(
        (any::<f64>(), any::<f64>(), any::<u64>(), 0_u64..3, any::<Option<u64>>(), any::<Option<f64>>()), 0..200)) {
        let mut trend = Trend::new();
        for (awake, wall, bytes, life, room, requests) in points {
            trend.sample(&spec(), Point { awake, wall, bytes, life, room, requests });
            let _ = (trend.verdict(), trend.bytes_per_hour());
        }
    }

    #[test]
    fn steady_memory_is_never_told(base in 5.0..3000.0_f64, amplitude in 0.0..0.4_f64, period in 3.0..90.0_f64, hours in 20_u32..80) {
        let told = told_at(&mut Trend::new(), &spec(), hours, |hour| base * (1.0 + amplitude * (hour * 60.0 % period) / period));
        prop_assert!(told.is_empty(), "{:?}", told);
    }

    #[test]
    fn a_straight_leak_is_always_told(base in 20.0..2000.0_f64, share in 0.02..0.3_f64) {
        let told = told_at(&mut Trend::new(), &spec(), 20, |hour| base.max(100.0) * (1.0 + share * hour));
        prop_assert!(!told.is_empty());
    }
}
