//! When a sink that fails is left alone for a while.

use std::time::Duration;

use crate::model::Breaker;

/// So many failures in a row open it.
pub const OPENS_AT: u32 = 5;

/// It stays open for no less.
pub const OPEN_FOR: Duration = Duration::from_secs(60);

/// How it stands after a try that failed, `failures` in a row by now, this one included.
pub fn after_failure(was: Breaker, failures: u32) -> Breaker {
    match was {
        Breaker::Closed if failures < OPENS_AT => Breaker::Closed,
        // One message was let through, to see: there is nothing new to be learned by another.
        Breaker::Closed | Breaker::Open | Breaker::HalfOpen => Breaker::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_at_the_fifth_and_again_whenever_it_was_not_closed() {
        let table = [
            (Breaker::Closed, 1, Breaker::Closed),
            (Breaker::Closed, 4, Breaker::Closed),
            (Breaker::Closed, 5, Breaker::Open),
            (Breaker::Closed, 900, Breaker::Open),
            (Breaker::HalfOpen, 1, Breaker::Open),
            (Breaker::HalfOpen, 6, Breaker::Open),
            (Breaker::Open, 6, Breaker::Open),
        ];
        for (was, failures, is) in table {
            assert_eq!(after_failure(was, failures), is, "{was:?} after {failures}");
        }
    }
}
