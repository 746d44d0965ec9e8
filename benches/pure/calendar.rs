//! When a calendar job is due next: `cargo bench --bench pure calendar`. Bearable are 5 us in the median, and 100 us in the slowest case.

use std::cell::Cell;
use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use jiff::tz::TimeZone;

use supervisor::config::{self, Source};
use supervisor::policy::calendar::Calendar;

use crate::schedules::{Numbers, ZONES};

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
/// 2026-01-01T00:00Z, and so long.
const YEAR: (i64, i64) = (1_767_225_600 * SECOND, 365 * 24 * HOUR);
/// 2026-03-29T01:00Z: Berlin's clocks go from 2 to 3.
const GAP: i64 = 1_774_746_000 * SECOND;
/// 2026-10-25T01:00Z: they go from 3 to 2.
const FOLD: i64 = 1_792_890_000 * SECOND;
/// From 2096-03-01T00:00Z, and so long: the year 2100 has no 29 February.
const LEAP: (i64, i64) = (3_981_398_400 * SECOND, (4_233_513_600 - 3_981_398_400) * SECOND);

/// Schedules of the last two cases.
const RANDOM: usize = 10_000;
/// Each is asked for so often.
const TIMES: u32 = 8;

fn calendar(words: &str) -> Calendar {
    let text = format!("[task.t]\nsteps = [{{ run = [\"x\"] }}]\ncalendar = [\"{words}\"]\n");
    let parsed = config::parse(&Source { path: "bench".into(), text }, &super::around());
    Calendar::new(&parsed.fleet.expect("a job").tasks[0].calendar)
}

/// From moments that go round in `length` after `from`, each time `step` further.
fn from(bencher: Bencher, words: &str, (from, length): (i64, i64), step: i64) {
    let (calendar, zone) = (calendar(words), TimeZone::get("Europe/Berlin").expect("a zone"));
    let mut past = 0;
    bencher.bench_local(|| {
        past = (past + step) % length;
        calendar.next_after(black_box(from + past), &zone)
    });
}

/// From anywhere in a year, in a zone whose clock changes: the step meets every time of day.
#[divan::bench(args = ["daily 07:55", "Mon..Fri 22:00", "*/15 0-6/2 1,15 jan-MAR sun", "every 90m", "every 7h"])]
fn calendar_next(bencher: Bencher, words: &str) {
    from(bencher, words, YEAR, 8_641_237 * SECOND);
}

/// From the hours around the moment at which the clock is set forward.
#[divan::bench(args = ["daily 02:30", "*/15 * * * *", "30 2 * * sun", "every 90m"])]
fn calendar_near_a_gap(bencher: Bencher, words: &str) {
    from(bencher, words, (GAP - 3 * HOUR, 4 * HOUR), 61 * SECOND);
}

/// From the hours around the moment at which it is set back.
#[divan::bench(args = ["daily 02:30", "*/15 * * * *", "30 2 * * sun", "every 90m"])]
fn calendar_near_a_fold(bencher: Bencher, words: &str) {
    from(bencher, words, (FOLD - 3 * HOUR, 4 * HOUR), 61 * SECOND);
}

/// The rarest: 29 February, from anywhere between that of 2096 and the next one, which is that of 2104.
#[divan::bench(args = ["30 2 29 2 *", "0 0 29 feb *"])]
fn calendar_leap_day_2096_to_2104(bencher: Bencher, words: &str) {
    from(bencher, words, LEAP, 8_641_237 * SECOND);
}

/// A schedule, a zone, and a moment from which it is asked for.
struct Case {
    calendar: Calendar,
    zone: TimeZone,
    ms: i64,
}

/// The same each time; half of the moments lie in the two days before a change of the zone's clock.
fn cases() -> Vec<Case> {
    let mut numbers = Numbers(11);
    let mut case = || {
        let zone = TimeZone::get(ZONES[numbers.below(ZONES.len())]).expect("a zone");
        let ms = numbers.moment(&zone) * 60 * SECOND;
        let line = numbers.cron();
        Case { calendar: calendar(&line), zone, ms }
    };
    (0..RANDOM).map(|_| case()).collect()
}

impl Case {
    fn next(&self) -> Option<i64> {
        self.calendar.next_after(black_box(self.ms), &self.zone)
    }

    /// The least time of some, so that nothing else that the machine does is in it.
    #[expect(clippy::disallowed_methods, reason = "a benchmark")]
    fn least(&self) -> Duration {
        let once = || {
            let began = Instant::now();
            black_box(self.next());
            began.elapsed()
        };
        (0..TIMES).map(|_| once()).min().unwrap_or_default()
    }
}

/// Ten thousand random schedules, a sample each: `median` and `slowest` are those of schedules. What is slow by an interruption of the
/// machine is not so in the next case.
#[divan::bench(sample_count = 10_000, sample_size = 8)]
fn calendar_10000_random(bencher: Bencher) {
    let (cases, asked) = (cases(), Cell::new(0));
    let case = || {
        let at = asked.replace(asked.get() + 1);
        &cases[at / TIMES as usize % RANDOM]
    };
    bencher.with_inputs(case).bench_local_values(Case::next);
}

/// The slowest of them.
#[divan::bench]
fn calendar_slowest_of_10000_random(bencher: Bencher) {
    let cases = cases();
    let slowest = cases.iter().max_by_key(|case| case.least()).expect("some");
    bencher.bench_local(|| slowest.next());
}
