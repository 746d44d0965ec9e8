//! StartCalendarInterval.

use jiff::ToSpan;
use jiff::civil::DateTime;

/// One table of StartCalendarInterval: what is absent matches everything.
#[derive(Clone, Default)]
pub struct Slot {
    pub minute: Option<i64>,
    pub hour: Option<i64>,
    pub day: Option<i64>,
    pub weekday: Option<i64>,
    pub month: Option<i64>,
}

impl Slot {
    fn is_at(&self, time: DateTime) -> bool {
        let fits = |wanted: Option<i64>, is: i8| wanted.is_none_or(|wanted| wanted == i64::from(is));
        let sunday_is_0 = time.date().weekday().to_sunday_zero_offset();
        let weekday = self.weekday.map(|day| day % 7);
        // Both given: either will do, as in cron.
        let day = match (self.day, weekday) {
            (Some(_), Some(_)) => fits(self.day, time.day()) || fits(weekday, sunday_is_0),
            _ => fits(self.day, time.day()) && fits(weekday, sunday_is_0),
        };
        fits(self.minute, time.minute()) && fits(self.hour, time.hour()) && fits(self.month, time.month()) && day
    }
}

/// Whether any of `slots` lies after `before` and not after `now`.
pub fn is_due(slots: &[Slot], before: DateTime, now: DateTime) -> bool {
    let whole = |time: DateTime| time.with().second(0).subsec_nanosecond(0).build().unwrap_or(time);
    let mut time = whole(before);
    while let Ok(next) = time.checked_add(1.minute()) {
        if next > now {
            return false;
        }
        time = next;
        if slots.iter().any(|slot| slot.is_at(time)) {
            return true;
        }
    }
    false
}

/// The wall clock of this machine.
pub fn wall() -> DateTime {
    jiff::Zoned::now().datetime()
}
