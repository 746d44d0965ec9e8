//! When a message that did not get through is sent again, and what several of them are called together.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::Fraction;

/// The least time between a failure and the next try.
pub const SOONEST: Duration = Duration::from_secs(1);

/// The most that the back-off asks for.
const LATEST: Duration = Duration::from_secs(15 * 60);

/// The most that a receiver may ask for, and the furthest that a remembered moment may lie ahead: a clock that was wrong
/// when it was written down must not keep a sink silent for years.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long to wait after so many failures in a row: 1 s and a random part (full jitter) of what is left to
/// min(15 min, 1 s x 2^n), so that those who failed together do not come back together.
pub fn backoff(failures: u32, rng: Fraction) -> Duration {
    let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
    let top = SOONEST.saturating_mul(factor).min(LATEST);
    SOONEST + (top - SOONEST).mul_f64(rng.get())
}

/// How long to wait where the receiver has said it. Whoever says "now" again and again is still not asked without end.
pub fn asked_for(after: Duration) -> Duration {
    after.clamp(SOONEST, LONGEST)
}

/// The idempotency key of a message that carries notices of these keys: the same for the same ones in the same order.
pub fn digest_key<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for key in keys {
        hash.update(key.as_bytes());
        hash.update([0]); // no key has one: "a", "bc" is not "ab", "c"
    }
    let hex: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("digest-{hex}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bounds_of_the_backoff() {
        let seconds =
            [(0, 1), (1, 2), (2, 4), (3, 8), (5, 32), (9, 512), (10, 900), (31, 900), (32, 900), (u32::MAX, 900)];
        for (failures, most) in seconds {
            assert_eq!(backoff(failures, Fraction::new(0.0)), SOONEST, "{failures}");
            let slowest = backoff(failures, Fraction::new(1.0));
            let most = Duration::from_secs(most);
            assert!(slowest <= most && slowest + Duration::from_millis(1) > most, "{failures}: {slowest:?}");
        }
        assert_eq!(backoff(2, Fraction::new(0.5)), Duration::from_millis(2500));
    }

    #[test]
    fn what_a_receiver_may_ask_for() {
        let table = [(0, 1000), (999, 1000), (1001, 1001), (3_600_000, 3_600_000), (86_400_001, 86_400_000)];
        for (said, waited) in table {
            assert_eq!(asked_for(Duration::from_millis(said)), Duration::from_millis(waited), "{said} ms");
        }
        assert_eq!(asked_for(Duration::MAX), LONGEST);
    }

    #[test]
    fn the_key_of_several_is_that_of_just_these() {
        let key = |keys: &[&str]| digest_key(keys.iter().copied());
        assert_eq!(key(&["a.0", "b.0"]), key(&["a.0", "b.0"]));
        assert_eq!(key(&["a.0"]).len(), "digest-".len() + 16);
        let others = [key(&["b.0", "a.0"]), key(&["a.0b.0"]), key(&["a.0"]), key(&["a.", "0b.0"])];
        assert!(others.iter().all(|other| *other != key(&["a.0", "b.0"])), "{others:?}");
    }

    proptest! {
        #[test]
        fn more_failures_never_mean_a_lesser_wait_for_the_same_luck(failures in 0u32..100, luck in 0.0f64..1.0) {
            let luck = Fraction::new(luck);
            let wait = backoff(failures, luck);
            prop_assert!((SOONEST..=LATEST).contains(&wait));
            prop_assert!(backoff(failures + 1, luck) >= wait);
        }
    }
}
