//! Random schedules, zones and moments for which others are asked what they would do.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whole hours, half and quarter hours, gaps of half an hour, at midnight, changes in both halves of the year, for Ramadan, and the
/// place that left out a day.
pub const ZONES: [&str; 30] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Moscow",
    "Europe/Istanbul",
    "America/New_York",
    "America/Los_Angeles",
    "America/Phoenix",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Caracas",
    "America/Havana",
    "America/Asuncion",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Johannesburg",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Asia/Pyongyang",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Antarctica/Troll",
];

/// Steele, Lea and Flood's SplitMix64, with a fixed seed, so that a failure is found again.
pub struct Numbers(pub u64);

impl Numbers {
    /// One of `limit` numbers, from 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap() % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high + 1 - low)
    }

    /// A cron field, open in `open` of 10 cases.
    fn field(&mut self, low: usize, high: usize, open: usize) -> String {
        if self.below(10) < open {
            return "*".into();
        }
        let (a, b) = (self.within(low, high), self.within(low, high));
        let (first, last) = (a.min(b), a.max(b));
        match self.below(8) {
            0 => format!("*/{}", self.within(2, high)),
            1 => format!("{first}-{last}"),
            2 => format!("{first}-{last}/{}", self.within(2, 7)),
            3 => format!("{first},{last}"),
            4 => format!("{first},{last},{}", self.within(low, high)),
            _ => a.to_string(),
        }
    }

    /// A cron line that some day comes true.
    pub fn cron(&mut self) -> String {
        let minute = self.field(0, 59, 1);
        // Where clocks are set.
        let hour = if self.below(2) == 0 { self.within(0, 4).to_string() } else { self.field(0, 23, 3) };
        let (day, month) = match self.below(40) {
            0 => ("29".to_owned(), "2".to_owned()),
            // Every month has these.
            1..20 => (self.field(1, 28, 6), self.field(1, 12, 6)),
            _ => (self.field(1, 31, 6), "*".to_owned()),
        };
        let weekday = if self.below(6) == 0 {
            self.one(&["mon", "TUE-fri", "sun", "7", "5-7", "mon,Wed,fri"]).to_owned()
        } else {
            self.field(0, 6, 7)
        };
        format!("{minute} {hour} {day} {month} {weekday}")
    }

    /// A minute of settled years, in half of all cases in the two days before a change of the zone's clock. Minutes since 1970.
    pub fn moment(&mut self, zone: &TimeZone) -> i64 {
        let (first, last): (Timestamp, Timestamp) =
            ("2011-12-01T00:00:00Z".parse().unwrap(), "2024-12-01T00:00:00Z".parse().unwrap());
        let minutes = usize::try_from((last.as_second() - first.as_second()) / 60).unwrap();
        let any = first.as_second() / 60 + i64::try_from(self.below(minutes)).unwrap();
        let before = i64::try_from(self.below(2 * 1440)).unwrap();
        let change = zone.following(Timestamp::from_second(any * 60).unwrap()).next();
        match change.map(|change| change.timestamp().as_second() / 60).filter(|at| *at < last.as_second() / 60) {
            Some(change) if self.below(2) == 0 => change - before,
            _ => any,
        }
    }
}
