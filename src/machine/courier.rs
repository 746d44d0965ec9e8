//! How one sink is served: what goes out next, when, and what follows from how it ended.
//!
//! Waiting is counted on the clock since boot with sleep: a wall clock that is put forward hurries nothing. What is put on
//! record is the wall clock's moment, as the next life may be after a reboot.
//!
//! A try that may or may not have reached its receiver (no answer, or a life that ended while it was under way) is done again
//! as the message it was, under the same key, before anything else goes out: whoever takes keys seriously sees no double.

use std::time::Duration;

use crate::model::{Breaker, Delivery, Fraction, Message, Moment, OutboxRow, RowState, SinkState};
use crate::policy::{breaker, delivery};

/// After an outage more than so many go as one message.
const FEW: usize = 3;

/// The most notices in one message.
const MOST: usize = 200;

/// One sink's deliveries, one at a time.
#[derive(Debug, Clone)]
pub struct Courier {
    state: SinkState,
    /// As `state.not_before_ms`, in nanoseconds since boot.
    not_before: u64,
    under_way: Option<UnderWay>,
}

/// A try that was begun and has not ended.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    last_id: i64,
    /// What was in doubt before: a try that is known to have failed says nothing of the one before it.
    in_doubt: Option<i64>,
    is_digest: bool,
    /// Whether it carries so little of what was pending that the rest is one more digest.
    leaves_many: bool,
    /// How the breaker stood when it was last told of.
    breaker: Breaker,
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
    /// How many pending rows [`Self::begin`] is to be shown where there are as many: it sees then whether more than a few are
    /// left over.
    pub const LOOK: usize = MOST + FEW + 1;

    /// As the last life left it.
    pub fn new(saved: SinkState, at: Moment) -> Self {
        let mut courier = Self { state: saved, not_before: 0, under_way: None };
        if let Some(not_before_ms) = courier.state.not_before_ms {
            let left = u64::try_from(not_before_ms.saturating_sub(at.wall_ms)).unwrap_or(0);
            courier.wait(at, Duration::from_millis(left).min(delivery::LONGEST));
        }
        courier.state.behind |= courier.state.in_doubt.is_some();
        courier
    }

    /// When the first of what is pending may be sent (milliseconds since 1970 UTC as seen from `at`; in the past: now);
    /// `None` while a try is under way.
    pub fn due(&self, at: Moment) -> Option<i64> {
        if self.under_way.is_some() {
            return None;
        }
        let left = self.not_before.saturating_sub(at.boot_ns).div_ceil(1_000_000);
        Some(at.wall_ms.saturating_add_unsigned(left))
    }

    /// What is to be sent now of `pending` (oldest first, this sink's), if it is time to. The state is to be put on record
    /// before it is sent: killed meanwhile, a successor does not come sooner than it should.
    pub fn begin(&mut self, at: Moment, rng: Fraction, pending: &[OutboxRow]) -> Option<Message> {
        if self.under_way.is_some() || at.boot_ns < self.not_before {
            return None;
        }
        let now = &pending[..self.next(pending)];
        let last_id = now.last()?.id;
        if self.state.breaker == Breaker::Open {
            self.state.breaker = Breaker::HalfOpen;
        }
        self.under_way = Some(UnderWay {
            last_id,
            in_doubt: self.state.in_doubt,
            is_digest: now.len() > 1,
            leaves_many: pending.len() - now.len() > FEW,
            breaker: self.state.breaker,
        });
        self.state.in_doubt = Some(last_id);
        // As if it had failed already.
        let failures = self.state.failures.saturating_add(1);
        self.wait(at, pause(breaker::after_failure(self.state.breaker, failures), failures, rng));
        Some(match now {
            [row] => Message::One(Box::new(row.notice.clone())),
            rows => Message::Digest {
                key: delivery::digest_key(rows.iter().map(|row| row.notice.key.as_str())),
                notices: rows.iter().map(|row| row.notice.clone()).collect(),
            },
        })
    }

    /// Takes in how the try ended; without one that was begun nothing changes.
    pub fn ended(&mut self, at: Moment, rng: Fraction, delivery: &Delivery) -> Settled {
        let Some(sent) = self.under_way.take() else {
            return Settled { rows: RowState::Pending, error: None, breaker: None };
        };
        let error = match delivery {
            Delivery::Done { .. } => None,
            Delivery::Later { why, .. } | Delivery::Failed(why) | Delivery::Unknown(why) | Delivery::Refused(why) => {
                Some(why.clone())
            }
        };
        match delivery {
            Delivery::Unknown(_) => {}
            Delivery::Later { .. } | Delivery::Failed(_) => self.state.in_doubt = sent.in_doubt,
            Delivery::Done { .. } | Delivery::Refused(_) => self.state.in_doubt = None,
        }
        self.state.error.clone_from(&error);
        let rows = match delivery {
            Delivery::Done { plain } => {
                self.answered(sent.last_id);
                self.state.behind &= sent.leaves_many;
                self.state.delivered_ms = Some(at.wall_ms);
                self.state.note = plain.then(|| "it takes plain text only: the rich form was refused".into());
                RowState::Delivered
            }
            Delivery::Refused(_) => {
                self.answered(sent.last_id);
                if sent.is_digest {
                    self.state.singly = Some(sent.last_id);
                    RowState::Pending
                } else {
                    RowState::Refused
                }
            }
            Delivery::Later { after, .. } => {
                self.failed(at, self.state.failures.max(1));
                self.wait(at, delivery::asked_for(*after));
                RowState::Pending
            }
            Delivery::Failed(_) | Delivery::Unknown(_) => {
                self.failed(at, self.state.failures.saturating_add(1));
                self.state.breaker = breaker::after_failure(self.state.breaker, self.state.failures);
                self.wait(at, pause(self.state.breaker, self.state.failures, rng));
                RowState::Pending
            }
        };
        let breaker = (sent.breaker != self.state.breaker).then_some((sent.breaker, self.state.breaker));
        Settled { rows, error, breaker }
    }

    /// What is to be remembered.
    pub fn state(&self) -> &SinkState {
        &self.state
    }

    /// How many of `pending`, from the oldest on, go as the next message.
    fn next(&self, pending: &[OutboxRow]) -> usize {
        let up_to = |last: i64| pending.iter().take(MOST).take_while(|row| row.id <= last).count();
        // Those that were given up meanwhile are not there any more; if that is all of them, nothing is in doubt.
        match self.state.in_doubt.map_or(0, up_to) {
            0 => {}
            same => return same,
        }
        if self.state.singly.is_some_and(|last| up_to(last) > 0) || !self.state.behind || pending.len() <= FEW {
            return pending.len().min(1);
        }
        pending.len().min(MOST)
    }

    /// The receiver is there, and this was its last word on the rows up to that id.
    fn answered(&mut self, last_id: i64) {
        self.state.singly = self.state.singly.filter(|last| *last > last_id);
        self.state.breaker = Breaker::Closed;
        self.state.failures = 0;
        self.state.failing_since_ms = None;
        self.state.not_before_ms = None;
        self.not_before = 0;
    }

    fn failed(&mut self, at: Moment, failures: u32) {
        self.state.failures = failures;
        self.state.failing_since_ms.get_or_insert(at.wall_ms);
        self.state.behind = true;
    }

    fn wait(&mut self, at: Moment, pause: Duration) {
        self.not_before = at.boot_ns.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
        // The wall clock's reading was cut to a millisecond, and so will be the next life's: one more, not to be too soon.
        let millis = u64::try_from(pause.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).saturating_add(1);
        self.state.not_before_ms = Some(at.wall_ms.saturating_add_unsigned(millis));
    }
}

/// How long a sink is left alone after so many failures in a row, with its breaker as it stands then.
fn pause(is: Breaker, failures: u32, rng: Fraction) -> Duration {
    let wait = delivery::backoff(failures, rng);
    if is == Breaker::Open { wait.max(breaker::OPEN_FOR) } else { wait }
}

#[cfg(test)]
#[path = "courier_tests.rs"]
mod tests;
