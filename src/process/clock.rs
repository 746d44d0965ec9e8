//! The only place that reads clocks and randomness; everybody else is given a [`Moment`] and a [`Fraction`].

use std::hash::{BuildHasher, Hasher, RandomState};

use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};

use super::sys;
use crate::model::{Fraction, Moment, Mono};

/// One reading of all clocks.
pub fn now() -> Moment {
    Moment {
        mono: Mono(nanoseconds(sys::AWAKE_CLOCK)),
        boot_ns: nanoseconds(sys::BOOT_CLOCK),
        wall_ms: i64::try_from(nanoseconds(ClockId::CLOCK_REALTIME) / 1_000_000).unwrap_or(i64::MAX),
    }
}

/// Which boot of the machine this is: two processes that read the same text live in the same boot, so that a pid and a
/// start time written down by one mean something to the other. Empty when the system does not tell.
pub fn boot_id() -> String {
    sys::boot_id().unwrap_or_default()
}

/// The zone of that IANA name, UTC where this machine does not know it; without a name the machine's own.
pub fn zone(name: Option<&str>) -> TimeZone {
    name.map_or_else(TimeZone::system, |name| TimeZone::get(name).unwrap_or(TimeZone::UTC))
}

/// A fresh random number in [0, 1), for jitter. The standard library seeds its hash keys from the kernel once for each
/// thread and changes them with every use, which is as random as jitter needs.
pub fn fraction() -> Fraction {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exactly what an f64 holds")]
    Fraction::new(bits as f64 / (1_u64 << 53) as f64)
}

/// Clocks that exist on every supported system cannot fail; a clock that does all the same stands at zero.
fn nanoseconds(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else { return 0 };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forward_and_awake_time_is_within_boot_time() {
        let first = now();
        let second = now();
        assert!(first.mono > Mono(0) && second.mono >= first.mono);
        assert!(second.boot_ns >= first.boot_ns);
        assert!(second.boot_ns >= first.mono.0);
        assert!(first.wall_ms > 1_600_000_000_000);
    }

    #[test]
    fn the_boot_id_is_there_and_stays() {
        assert!(boot_id().len() >= 8, "{:?}", boot_id());
        assert!(!boot_id().contains(char::is_whitespace));
        assert_eq!(boot_id(), boot_id());
    }

    #[test]
    fn fractions_differ_and_spread() {
        let many: Vec<f64> = (0..1000).map(|_| fraction().get()).collect();
        assert!(many.iter().all(|f| (0.0..1.0).contains(f)));
        let mean = many.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
        assert!(many.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
