//! How one sink is served: what goes out next, when, and what follows from how it ended.

use crate::model::{Breaker, Delivery, Fraction, Message, Moment, OutboxRow, RowState, SinkState};

/// One sink's deliveries, one at a time.
#[derive(Debug, Clone)]
pub struct Courier {
    state: SinkState,
}

/// What follows from the end of a try.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Where the rows that were sent stand now; `Pending` when they are to be sent again.
    pub rows: RowState,
    /// What went wrong, for the rows' record.
    pub error: Option<String>,
    /// From what to what the breaker went.
    pub breaker: Option<(Breaker, Breaker)>,
}

impl Courier {
    /// As the last life left it.
    pub fn new(saved: SinkState, at: Moment) -> Self {
        let _ = at;
        Self { state: saved }
    }

    /// When the first of what is pending may be sent (milliseconds since 1970 UTC as seen from `at`; in the past: now);
    /// `None` while a try is under way.
    pub fn due(&self, at: Moment) -> Option<i64> {
        Some(at.wall_ms)
    }

    /// What is to be sent now of `pending` (oldest first, this sink's), if it is time to. The state is to be put on record
    /// before it is sent: killed meanwhile, a successor does not come sooner than it should.
    pub fn begin(&mut self, at: Moment, rng: Fraction, pending: &[OutboxRow]) -> Option<Message> {
        let _ = (at, rng, pending);
        None
    }

    /// Takes in how the try ended.
    pub fn ended(&mut self, at: Moment, rng: Fraction, delivery: &Delivery) -> Settled {
        let _ = (at, rng, delivery);
        Settled { rows: RowState::Pending, error: None, breaker: None }
    }

    /// What is to be remembered.
    pub fn state(&self) -> &SinkState {
        &self.state
    }
}
